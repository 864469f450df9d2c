"""One step of an explicit method, from the slope at its start to the slope at its end.

Every method is written as one that is "first same as last": its last stage is the slope at the new state. So a step
hands on what the next one begins with, and both ends of a step have a value and a slope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

State = tuple[Array, ...]
Slope = Callable[[Any, State], State]
"""dy/dt at a time and a state"""


@dataclass(frozen=True)
class Tableau:
    """An explicit Runge-Kutta method of `s` stages and the slope at its end.

    `nodes` [s + 1] and `stages` [s + 1, s + 1] are its Butcher tableau with the weights as its last row; `error`
    [s + 1] weighs all slopes to the difference from the embedded method, None where steps are prescribed.
    """

    order: int
    nodes: np.ndarray
    stages: np.ndarray
    error: np.ndarray | None = None


def _plain(order: int, nodes: Sequence[float], rows: Sequence[Sequence[float]]) -> Tableau:
    count = len(nodes)
    stages = np.zeros((count, count))
    for i, row in enumerate(rows, 1):
        stages[i, : len(row)] = row
    return Tableau(order, np.asarray(nodes, float), stages)


PRESCRIBED: Mapping[str, Tableau] = {
    "euler": _plain(1, [0, 1], [[1]]),
    "sampled": _plain(1, [0, 1], [[1]]),
    # Kutta (1901), Z. Math. Phys. 46, 435: the midpoint rule and the classical method.
    "midpoint": _plain(2, [0, 0.5, 1], [[0.5], [0, 1]]),
    "rk4": _plain(4, [0, 0.5, 0.5, 1, 1], [[0.5], [0, 0.5], [0, 0, 1], [1 / 6, 1 / 3, 1 / 3, 1 / 6]]),
}
"""Methods whose steps are prescribed"""

EMBEDDED: Mapping[str, tuple[str, int]] = {
    # Tsitouras (2011), Comput. Math. Appl. 62, 770.
    "tsit5": ("Tsit5", 5),
    # Dormand and Prince (1980), J. Comput. Appl. Math. 6, 19.
    "dopri5": ("Dopri5", 5),
    # Prince and Dormand (1981), J. Comput. Appl. Math. 7, 67.
    "dopri8": ("Dopri8", 8),
}
"""Methods with an embedded one for the error: their name in diffrax, and their order"""


@cache
def tableau(name: str) -> Tableau:
    """Of a method of either kind; embedded ones have diffrax's coefficients, as published."""
    if name in PRESCRIBED:
        return PRESCRIBED[name]
    import diffrax  # takes longer to import than JAX

    solver, order = EMBEDDED[name]
    table: Any = getattr(diffrax, solver).tableau
    plain = _plain(order, [0.0, *table.c], table.a_lower)
    return Tableau(order, plain.nodes, plain.stages, np.asarray(table.b_error, float))


METHODS = (*PRESCRIBED, *EMBEDDED, "semi_implicit", "rodas5p")


def along(y: State, slope: State, h: Any) -> State:
    return tuple(a + h * b for a, b in zip(y, slope, strict=True))


def weighed(weights: np.ndarray, slopes: Sequence[State]) -> State | None:
    """The sum of slopes by their weights; None where all of these are 0."""
    terms = [(float(w), k) for w, k in zip(weights, slopes, strict=True) if w]
    if not terms:
        return None
    return tuple(sum((w * a for w, a in rest), terms[0][0] * first) for first, rest in _columns(terms))


def _columns(terms: list[tuple[float, State]]) -> list[tuple[Array, list[tuple[float, Array]]]]:
    return [(terms[0][1][n], [(w, k[n]) for w, k in terms[1:]]) for n in range(len(terms[0][1]))]


def step(table: Tableau, slope: Slope, t: Any, y: State, first: State, h: Any, last: Any) -> tuple[State, State, State]:
    """The state after a step of length `h` [s], the slope there, and the error's estimate (empty without one).

    Args:
        first: the slope at the start.
        last: no stage looks at a later time, so that a jump that begins there is not seen.
    """
    slopes, new = [first], y
    for i in range(1, len(table.nodes)):
        move = weighed(table.stages[i, :i], slopes)
        new = y if move is None else along(y, move, h)
        slopes.append(slope(jnp.minimum(t + float(table.nodes[i]) * h, last), new))
    return new, slopes[-1], _error(table, slopes, h)


def _error(table: Tableau, slopes: list[State], h: Any) -> State:
    if table.error is None:
        return ()
    difference = weighed(table.error, [lax.stop_gradient(k) for k in slopes])
    return tuple(h * e for e in difference or ())


def step_by_stages(
    table: Tableau, slope: Slope, t: Any, y: State, first: State, h: Any, last: Any
) -> tuple[State, State, State]:
    """The same with one copy of the right-hand side, so that a large one compiles in a fraction of the time.

    The slopes stand in a row that each stage shifts on by one, and its weights are in that order: so every slope stays
    an array of its own, which a batch computes with at full width.
    """
    dtype, count = first[0].dtype, len(table.nodes)
    shares = np.zeros(count) if table.error is None else table.error
    columns = (table.nodes, _latest_first(table.stages), shares)
    rows = tuple(jnp.asarray(column[1:], dtype) for column in columns)
    still = tuple(jnp.zeros_like(a) for a in first)

    def stage(carry: Any, row: Any) -> tuple[Any, None]:
        slopes, _, error = carry
        node, weights, share = row
        sums = zip(*slopes, strict=True)
        move = tuple(sum((weights[n] * k for n, k in enumerate(ks)), jnp.zeros_like(ks[0])) for ks in sums)
        new = along(y, move, h)
        latest = slope(jnp.minimum(t + node * h, last), new)
        return ((latest, *slopes[:-1]), new, along(error, jax.tree.map(lax.stop_gradient, latest), share)), None

    before = (first, *([still] * (count - 2)))
    error = tuple(float(shares[0]) * lax.stop_gradient(a) for a in first)
    (slopes, new, error), _ = lax.scan(jax.checkpoint(stage, prevent_cse=False), (before, y, error), rows)
    return new, slopes[0], () if table.error is None else tuple(h * e for e in error)


def _latest_first(stages: np.ndarray) -> np.ndarray:
    """Of each row the weights of the slopes so far, the latest first."""
    rows = np.zeros_like(stages)
    for i in range(1, len(stages)):
        rows[i, :i] = stages[i, i - 1 :: -1]
    return rows[:, : len(stages) - 1]


def halfway(a: State, b: State, before: State, after: State, h: Any) -> State:
    """The middle of a step by the cubic (Hermite) through its ends and their slopes."""
    return tuple(0.5 * (u + v) + (0.125 * h) * (d - e) for u, v, d, e in zip(a, b, before, after, strict=True))
