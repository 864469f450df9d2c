"""A loop of any number of iterations with reverse-mode derivatives, in bounded memory.

On the way forward some of the carries are stored. On the way back a segment of iterations is computed again from the
latest stored carry before it, and then walked back, from the last segment to the first. When the store is full every
second carry is dropped: further iterations cost time, and no memory (Griewank and Walther 2008, Evaluating
Derivatives, chapter 12).

The members of a batch go in step, until none goes on: what counts iterations is one number for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_batching import custom_vmap
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun

CAPACITY = 128
"""Carries that are stored; even"""
SEGMENT = 32
"""Iterations that are computed again together"""

Arrays = list[Array]

_Filling = tuple[Arrays, Any, Any, Arrays]


@dataclass(frozen=True)
class _Moving:
    """Indices of the parts of the carry, and of the constants, that have a tangent."""

    carried: tuple[int, ...]
    closed: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Loop:
    """What a loop does, as functions of all that they read: constants, then the carry."""

    going: Jaxpr
    body: Jaxpr
    known: dict[_Moving, _Moving] = field(default_factory=lambda: dict[_Moving, _Moving]())
    """What has been found by `_moving`, in the order of its being asked"""

    def goes(self, constants: Arrays, carry: Arrays) -> Array:
        return jaxpr_as_fun(ClosedJaxpr(self.going, constants))(*carry)[0]

    def next(self, constants: Arrays, carry: Arrays) -> Arrays:
        return list(jaxpr_as_fun(ClosedJaxpr(self.body, constants))(*carry))


def stored(going: Callable[[Any], Any], body: Callable[[Any], Any], first: Any) -> Any:
    """`lax.while_loop(going, body, first)`, with derivatives in reverse mode only.

    They are with respect to `first` and to all that `body` closes over.
    """
    leaves, structure = jax.tree.flatten(first)
    leaves = _strong(leaves)
    tested = jax.make_jaxpr(lambda *carry: going(jax.tree.unflatten(structure, carry)))(*leaves)
    moved = jax.make_jaxpr(lambda *carry: _strong(jax.tree.leaves(body(jax.tree.unflatten(structure, carry)))))(*leaves)
    same = [(a.shape, a.dtype) for a in moved.out_avals] == [(a.shape, a.dtype) for a in leaves]
    assert same, f"a loop's body makes {moved.out_avals} of {moved.in_avals}; this is a bug in DPL"
    loop = _Loop(tested.jaxpr, moved.jaxpr)
    return jax.tree.unflatten(structure, _last(loop, leaves, list(moved.consts), list(tested.consts)))


def _strong(leaves: Sequence[Any]) -> Arrays:
    """Arrays of settled types."""
    arrays = [jnp.asarray(a) for a in leaves]
    return [lax.convert_element_type(a, a.dtype) for a in arrays]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _last(loop: _Loop, first: Arrays, constants: Arrays, tested: Arrays) -> Arrays:
    # In the same form as `_forward` has it: in a batch, JAX wants the same parts of both to be one for all members.
    going = lambda carry: _anyone(loop.goes(tested, carry))  # noqa: E731
    return lax.while_loop(going, partial(_moved, loop, constants, tested), first)


@custom_vmap
def _anyone(goes: Array) -> Array:
    """Whether any member of the batch goes on: one flag for all of them."""
    return goes


@_anyone.def_vmap
def _(_size: int, batched: Sequence[bool], goes: Array) -> tuple[Array, bool]:
    return (_anyone(jnp.any(goes, axis=0)) if batched[0] else goes), False


def _moved(loop: _Loop, constants: Arrays, tested: Arrays, carry: Arrays) -> Arrays:
    """The carry after one more iteration; as it is where its own loop has ended."""
    goes = loop.goes(tested, carry)
    return [jnp.where(goes, new, old) for new, old in zip(loop.next(constants, carry), carry, strict=True)]


def _rows(carry: Arrays, number: int) -> Arrays:
    return [jnp.broadcast_to(a, (number, *a.shape)) for a in carry]


def _put(rows: Arrays, carry: Arrays, n: Any) -> Arrays:
    return [lax.dynamic_update_index_in_dim(r, a, n, 0) for r, a in zip(rows, carry, strict=True)]


def _row(rows: Arrays, n: Any) -> Arrays:
    return [lax.dynamic_index_in_dim(r, n, 0, keepdims=False) for r in rows]


# ---------------------------------------------------------------- what moves


def _moving(loop: _Loop, begin: _Moving, constants: Arrays, carry: Arrays) -> _Moving:
    """Which of the carry ever has a tangent, where at first `begin` has. What the body stops, and what only holds
    counts or times of the solver, has none: so no operation on it needs a derivative."""
    if begin not in loop.known:
        found = begin
        while True:
            told = _told(loop, found, constants, carry)
            wider = _Moving(tuple(sorted({*found.carried, *told})), found.closed)
            if wider == found:
                break
            found = wider
        loop.known[begin] = found
    return loop.known[begin]


def _smooth(a: Array) -> bool:
    return jnp.issubdtype(a.dtype, jnp.inexact)


def _told(loop: _Loop, moving: _Moving, constants: Arrays, carry: Arrays) -> list[int]:
    """Which of the next carry has a tangent where `moving` has."""
    told = list[int]()
    floats = [n for n, a in enumerate(carry) if _smooth(a)]

    @jax.custom_jvp
    def tell(new: Arrays) -> Arrays:
        return new

    def rule(primals: Any, tangents: Any) -> tuple[Any, Any]:
        still = [isinstance(tangent, SymbolicZero) for tangent in tangents[0]]
        told.extend(n for n, zero in zip(floats, still, strict=True) if not zero)
        return primals[0], primals[0]

    tell.defjvp(rule, symbolic_zeros=True)

    def smooth(carried: Arrays, closed: Arrays) -> Arrays:
        new = loop.next(_with(constants, moving.closed, closed), _with(carry, moving.carried, carried))
        return tell([new[n] for n in floats])

    at = [carry[n] for n in moving.carried], [constants[n] for n in moving.closed]
    jax.eval_shape(lambda *at: jax.jvp(smooth, at, at), *at)
    return told


# ---------------------------------------------------------------- forward


def _forward(loop: _Loop, first: Any, constants: Any, tested: Any) -> tuple[Arrays, Any]:
    """The last carry, and every carry whose number is a multiple of `apart`; the row after the last is for others."""
    begin = _Moving(
        *(tuple(n for n, a in enumerate(part) if a.perturbed and _smooth(a.value)) for part in (first, constants))
    )
    first, constants, tested = ([a.value for a in part] for part in (first, constants, tested))
    _moving(loop, begin, constants, first)
    # JAX keeps one structure for what is kept, that of what it differentiated by last. So nothing in it may say what
    # moves; the shape of an array does.
    which = jnp.zeros((list(loop.known).index(begin), 0))

    def goes(s: _Filling) -> Array:
        return _anyone(loop.goes(tested, s[0]))

    def step(s: _Filling) -> _Filling:
        carry, count, apart, rows = s
        rows = _put(rows, carry, jnp.where(count % apart == 0, count // apart, CAPACITY))
        return _moved(loop, constants, tested, carry), count + 1, apart, rows

    def fill(s: _Filling) -> _Filling:
        carry, count, apart, rows = s
        full = count > 0
        thin = [r.at[: CAPACITY // 2].set(r[:CAPACITY:2]) for r in rows]
        rows = [jnp.where(full, a, b) for a, b in zip(thin, rows, strict=True)]
        apart = jnp.where(full, 2 * apart, apart)
        return lax.while_loop(lambda s: goes(s) & (s[1] < CAPACITY * s[2]), step, (carry, count, apart, rows))

    zero, apart = jnp.asarray(0, jnp.int32), jnp.asarray(SEGMENT, jnp.int32)
    last, count, apart, rows = lax.while_loop(goes, fill, (first, zero, apart, _rows(first, CAPACITY + 1)))
    return last, (which, count, apart, rows, constants, tested)


# ---------------------------------------------------------------- backward


def _backward(loop: _Loop, kept: Any, cotangent: Any) -> tuple[Any, Any, Any]:
    which, count, apart, rows, constants, tested = kept
    moving = list(loop.known.values())[which.shape[0]]

    def segment(s: tuple[Any, Arrays, Arrays, Arrays]) -> tuple[Any, Arrays, Arrays, Arrays]:
        number, pulled, sums, trail = s
        begin, end = number * SEGMENT, jnp.minimum(count, (number + 1) * SEGMENT)
        slot = begin // apart

        def again(s: tuple[Any, Arrays, Arrays]) -> tuple[Any, Arrays, Arrays]:
            n, carry, trail = s
            trail = _put(trail, carry, jnp.maximum(n - begin, 0))
            return n + 1, _moved(loop, constants, tested, carry), trail

        def walk(s: tuple[Any, Arrays, Arrays]) -> tuple[Any, Arrays, Arrays]:
            n, pulled, sums = s
            return n - 1, *_pulled(loop, moving, constants, tested, _row(trail, n - 1 - begin), pulled, sums)

        n, _, trail = lax.while_loop(lambda s: s[0] < end, again, (slot * apart, _row(rows, slot), trail))
        _, pulled, sums = lax.while_loop(lambda s: s[0] > begin, walk, (n, pulled, sums))
        return number - 1, pulled, sums, trail

    ends = [
        jnp.zeros_like(rows[n][0]) if isinstance(cotangent[n], SymbolicZero) else cotangent[n] for n in moving.carried
    ]
    start = (count - 1) // SEGMENT, ends, [jnp.zeros_like(constants[n]) for n in moving.closed]
    _, pulled, sums, _ = lax.while_loop(lambda s: s[0] >= 0, segment, (*start, _rows(_row(rows, 0), SEGMENT)))
    none = [None] * len(rows), [None] * len(constants)
    return _with(none[0], moving.carried, pulled), _with(none[1], moving.closed, sums), [None] * len(tested)


def _pulled(
    loop: _Loop, moving: _Moving, constants: Arrays, tested: Arrays, carry: Arrays, pulled: Arrays, sums: Arrays
) -> tuple[Arrays, Arrays]:
    """Cotangents before the iteration that began at `carry`, from those after it; `sums` are those of the constants."""

    def smooth(carried: Arrays, closed: Arrays) -> Arrays:
        new = loop.next(_with(constants, moving.closed, closed), _with(carry, moving.carried, carried))
        return [new[n] for n in moving.carried]

    goes = loop.goes(tested, carry)
    _, pull = jax.vjp(smooth, [carry[n] for n in moving.carried], [constants[n] for n in moving.closed])
    before, more = pull(pulled)
    # An iteration that was none may have any slope, also none that is a number.
    before = [jnp.where(goes, a, b) for a, b in zip(before, pulled, strict=True)]
    return before, [s + jnp.where(goes, a, jnp.zeros_like(a)) for s, a in zip(sums, more, strict=True)]


def _with(values: Sequence[Any], where: Sequence[int], new: Sequence[Any]) -> list[Any]:
    values = list(values)
    for n, value in zip(where, new, strict=True):
        values[n] = value
    return values


_last.defvjp(_forward, _backward, symbolic_zeros=True)
