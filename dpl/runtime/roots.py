"""Equations without a formula: small linear systems, and Newton's method with exact derivatives.

The derivative of a root is that of the implicit function, in forward and reverse mode and at any order; it does not
depend on the number of iterations. A root that is not found is NaN, which the run reports.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

ITERATIONS = 50


# ---------------------------------------------------------------- linear systems


def linear_solve(rows: Sequence[Sequence[Any]], right: Sequence[Any]) -> tuple[Array, ...]:
    """The unknowns x of `rows @ x = right`, all as separate numbers; up to three of them by Cramer's rule."""
    if len(rows) == 1:
        return (right[0] / rows[0][0],)
    if len(rows) == 2:
        return _cramer2(rows, right)
    if len(rows) == 3:
        return _cramer3(rows, right)
    matrix = jnp.stack([jnp.stack([jnp.asarray(e) for e in row]) for row in _same_type(rows)])
    solution = jnp.linalg.solve(matrix, jnp.stack([jnp.asarray(e, matrix.dtype) for e in right]))
    return tuple(solution[i] for i in range(len(rows)))


def _same_type(rows: Sequence[Sequence[Any]]) -> list[list[Array]]:
    dtype = jnp.result_type(*(e for row in rows for e in row))
    return [[jnp.asarray(e, dtype) for e in row] for row in rows]


def _cramer2(rows: Sequence[Sequence[Any]], right: Sequence[Any]) -> tuple[Array, ...]:
    (a, b), (c, d) = rows
    p, q = right
    inverse = 1.0 / (a * d - b * c)
    return (p * d - b * q) * inverse, (a * q - p * c) * inverse


def _cramer3(rows: Sequence[Sequence[Any]], right: Sequence[Any]) -> tuple[Array, ...]:
    (a, b, c), (d, e, f), (g, h, i) = rows
    p, q, r = right
    ei, di, dh = e * i - f * h, d * i - f * g, d * h - e * g
    inverse = 1.0 / (a * ei - b * di + c * dh)
    qi, qh = q * i - f * r, q * h - e * r
    dr = d * r - q * g
    x = (p * ei - b * qi + c * qh) * inverse
    y = (a * qi - p * di + c * dr) * inverse
    z = (-a * qh - b * dr + p * dh) * inverse
    return x, y, z


# ---------------------------------------------------------------- Newton


def newton(residual: Callable[[Any], Any], guess: Any, low: Any = None, high: Any = None) -> Any:
    """The root of `residual` that Newton finds from `guess`; a tuple of numbers, a number or a 1-D array, as the guess.

    Args:
        residual: maps the unknowns to as many numbers that are to be zero.
        guess: where the search begins (moved between the bounds).
        low: lower bounds, shaped as the unknowns (or None, as may be their entries).
        high: upper bounds. One unknown between two bounds over which the residual changes sign is bracketed, and so
        is found.
    """
    start, restore = _flatten(guess)
    lower, upper = _bound(low, start, -math.inf), _bound(high, start, math.inf)

    def flat(u: Array) -> Array:
        return _flatten(residual(restore(u)))[0].astype(u.dtype)

    def solve(f: Callable[[Array], Array], u: Array) -> Array:
        search = _bracketed if start.shape[0] == 1 and _given(low) and _given(high) else _damped
        return search(f, _inside(u, lower, upper), lower, upper)

    return restore(lax.custom_root(flat, start, solve, _tangent_solve))


def _flatten(value: Any) -> tuple[Array, Callable[[Array], Any]]:
    if isinstance(value, (tuple, list)):
        dtype = jnp.result_type(float, *value) if not _has_dtype(value) else jnp.result_type(*value)
        flat = jnp.stack([jnp.asarray(e, dtype) for e in value])
        return flat, lambda u: tuple(u[i] for i in range(u.shape[0]))
    array = jnp.asarray(value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(float)
    return jnp.ravel(array), lambda u: jnp.reshape(u, array.shape)


def _has_dtype(values: Sequence[Any]) -> bool:
    return any(jnp.issubdtype(getattr(v, "dtype", jnp.int32), jnp.floating) for v in values)


def _inside(u: Array, low: Array, high: Array) -> Array:
    """A guess beyond a bound is mirrored at it."""
    return jnp.clip(jnp.where(u > high, 2 * high - u, jnp.where(u < low, 2 * low - u, u)), low, high)


def _given(bound: Any) -> bool:
    """Whether the bound of a single unknown is there and finite, as far as can be known before the run."""
    value = bound[0] if isinstance(bound, (tuple, list)) else bound
    return value is not None and not (isinstance(value, (int, float)) and math.isinf(value))


def _bound(bound: Any, like: Array, open_end: float) -> Array:
    if bound is None:
        return jnp.full_like(like, open_end)
    if isinstance(bound, (tuple, list)):
        return jnp.stack([jnp.asarray(open_end if b is None else b, like.dtype) for b in bound])
    return jnp.broadcast_to(jnp.asarray(bound, like.dtype), like.shape)


def _tangent_solve(linear: Callable[[Array], Array], y: Array) -> Array:
    if y.shape[0] == 1:
        return y / linear(jnp.ones_like(y))
    return _solve(jax.jacfwd(linear)(jnp.zeros_like(y)), y)


def _solve(matrix: Array, right: Array) -> Array:
    n = right.shape[0]
    rows = tuple(tuple(matrix[i, j] for j in range(n)) for i in range(n)) if n <= 3 else ()
    return (
        jnp.stack(linear_solve(rows, tuple(right[i] for i in range(n)))) if n <= 3 else jnp.linalg.solve(matrix, right)
    )


def _step_of(f: Callable[[Array], Array], u: Array) -> tuple[Array, Array]:
    """Newton's step at `u` and the residual there."""
    if u.shape[0] == 1:
        value, slope = jax.jvp(f, (u,), (jnp.ones_like(u),))
        return -value / slope, value
    value = f(u)
    return -_solve(jax.jacfwd(f)(u), value), value


class _Search(NamedTuple):
    u: Array
    move: Array  # Newton's step at u
    value: Array  # the residual at u
    damping: Array
    scale: Array  # the size of recent iterates: what the last step is small against
    done: Array
    rounds: Array


def _tolerance(dtype: Any) -> float:
    return 1e-12 if dtype == jnp.float64 else 1e-6


def _damped(f: Callable[[Array], Array], u: Array, low: Array, high: Array) -> Array:
    """Newton with step halving until the residual falls, projected on the bounds."""
    size = lambda v: jnp.max(jnp.abs(v))  # noqa: E731

    def step_of(u: Array) -> tuple[Array, Array]:
        move, value = _step_of(f, u)
        aside = jnp.where(u >= high, -0.1, 0.1) * jnp.maximum(jnp.abs(u), 1.0)  # off a point without a slope
        return jnp.where(jnp.isfinite(move), move, aside), value

    move, value = step_of(u)
    one = jnp.ones((), u.dtype)
    first = _Search(u, move, value, one, size(u), jnp.all(value == 0), jnp.zeros((), jnp.int32))

    def advance(s: _Search) -> _Search:
        trial = jnp.clip(s.u + s.damping * s.move, low, high)
        scale = jnp.maximum(size(trial), 0.5 * s.scale)
        small = size(s.move) <= _tolerance(u.dtype) * scale
        move, value = step_of(trial)
        better = size(value) < size(s.value)
        done = small | jnp.all(value == 0)
        keep = better | done
        damping = jnp.where(better, jnp.minimum(one, 2 * s.damping), 0.5 * s.damping)
        pick = lambda new, old: jnp.where(keep, new, old)  # noqa: E731
        return _Search(
            pick(trial, s.u),
            pick(move, s.move),
            pick(value, s.value),
            damping,
            pick(scale, s.scale),
            done,
            s.rounds + 1,
        )

    last = lax.while_loop(lambda s: ~s.done & (s.rounds < ITERATIONS), advance, first)
    return jnp.where(last.done, last.u, jnp.nan)


class _Bracket(NamedTuple):
    u: Array
    low: Array
    high: Array
    size: Array
    done: Array
    rounds: Array


def _bracketed(f: Callable[[Array], Array], u: Array, low: Array, high: Array) -> Array:
    """One unknown between two bounds: Newton's step where it stays inside and pays, else the middle."""
    at_low, at_high = f(low), f(high)
    rising = at_high > at_low
    first = _Bracket(u, low, high, jnp.full_like(u, jnp.inf), jnp.zeros((), bool), jnp.zeros((), jnp.int32))

    def advance(s: _Bracket) -> _Bracket:
        move, value = _step_of(f, s.u)
        right_of_root = (value > 0) == rising
        low, high = jnp.where(right_of_root, s.low, s.u), jnp.where(right_of_root, s.u, s.high)
        trial = s.u + move
        poor = ~((trial >= low) & (trial <= high)) | (jnp.abs(value) > 0.5 * s.size)
        trial = jnp.where(poor, 0.5 * (low + high), trial)
        scale = jnp.maximum(jnp.abs(trial), 1e-3 * jnp.minimum(high - low, jnp.abs(trial) + 1.0))
        done = jnp.all((value == 0) | (jnp.abs(trial - s.u) <= _tolerance(u.dtype) * scale))
        trial = jnp.where(value == 0, s.u, trial)
        return _Bracket(trial, low, high, jnp.abs(value), done, s.rounds + 1)

    last = lax.while_loop(lambda s: ~s.done & (s.rounds < 2 * ITERATIONS), advance, first)
    opposite = (jnp.sign(at_low) * jnp.sign(at_high) <= 0) & last.done
    found = jnp.where(at_low == 0, low, jnp.where(at_high == 0, high, last.u))
    return jnp.where(opposite, found, jnp.nan)
