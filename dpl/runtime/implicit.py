"""A right-hand side as a linearly implicit step needs it: its Jacobian, by expressions of the compiler or by products
of one colour each, and the solves that suit its pattern.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dpl.runtime import linear, sparsity
from dpl.runtime.rosenbrock import System
from dpl.runtime.spec import Jacobian

BAND = 8
"""A band counts as narrow where the states are more than so many times its width"""
Slope = Callable[[Any, Array], Array]


@dataclass(frozen=True)
class Linearised:
    """The parts of ∂f/∂y: of the states by the states in the form in which it is solved, and of the integrals."""

    states: Any
    integrals: Any
    """[integral, state]; None without integrals"""


jax.tree_util.register_dataclass(Linearised, ["states", "integrals"], [])


def system(
    slope: Slope, size: int, integrals: int, timed: bool, start: tuple[Any, Any], entries: Entries | None
) -> System:
    """The system of y' = f(t, y), where y is `size` states and then `integrals`, on which nothing depends.

    Args:
        timed: whether f reads the time itself.
        start: a time and a state, for their types.
        entries: the Jacobian as the compiler has it; else its pattern is read off f.
    """
    found = entries or probed(slope, size, timed, start)

    def jacobian(t: Any, y: Array) -> tuple[Linearised, Array | None]:
        values, totals, drift = found.at(t, y)
        return Linearised(found.form.of(values), totals), drift

    def solver(matrix: Linearised, shift: Any) -> linear.Solve:
        solve = linear.solver(found.form, matrix.states, shift)
        if not integrals:
            return solve

        def with_integrals(right: Array) -> Array:
            states = solve(right[:size])
            return jnp.concatenate([states, (right[size:] + matrix.integrals @ states) / shift])

        return with_integrals

    return System(slope, jacobian, solver)


@dataclass(frozen=True)
class Entries:
    """The Jacobian's nonzero entries, and the form they go into."""

    form: linear.Form
    at: Callable[[Any, Array], tuple[Array, Array | None, Array | None]]
    """(t, y) -> entries of the states by the states, of the integrals [integral, state], ∂f/∂t"""


# ---------------------------------------------------------------- from the compiler


def written(
    declared: Jacobian, evaluate: Callable[[Any, Array], tuple[Any, ...]], size: int, integrals: int
) -> Entries:
    """The entries that the compiler wrote as expressions."""
    rows, columns = np.asarray(declared.rows, int), np.asarray(declared.columns, int)
    inner = (rows < size) & (columns < size)
    form = suited(rows[inner], columns[inner], size)
    places = np.full((size + integrals, size + 1), len(rows))
    places[rows, columns] = np.arange(len(rows))
    timed = bool(np.any(columns == size))

    def at(t: Any, y: Array) -> tuple[Array, Array | None, Array | None]:
        values = [jnp.asarray(v, y.dtype) for v in evaluate(t, y)]
        padded = jnp.stack([*values, jnp.zeros((), y.dtype)])
        totals = padded[places[size:, :size]] if integrals else None
        return padded[np.flatnonzero(inner)], totals, padded[places[:, size]] if timed else None

    return Entries(form, at)


def suited(rows: np.ndarray, columns: np.ndarray, size: int) -> linear.Form:
    """A band where there is a narrow one, else dense."""
    found = np.eye(size, dtype=bool)
    found[rows, columns] = True
    order, width = sparsity.banded_order(found)
    if size > linear.INVERTED and size > BAND * max(width, 1):
        return linear.Banded.made(rows, columns, order)
    return linear.Dense.made(rows, columns, size)


# ---------------------------------------------------------------- from the function


def probed(slope: Slope, size: int, timed: bool, start: tuple[Any, Any]) -> Entries:
    """The entries by products with the Jacobian, as many as its pattern has colours."""
    t, y = start
    whole = jax.eval_shape(lambda t, y: slope(t, y), t, y).shape[0]
    found = np.ones((size, size), bool)
    if size <= sparsity.MOST_STATES:
        found = sparsity.pattern(lambda x: slope(t, jnp.append(x, jnp.zeros(whole - size, x.dtype)))[:size], y[:size])
    rows, columns = np.nonzero(found)
    form, given = suited(rows, columns, size), sparsity.colours(found)
    seeds = np.zeros((int(given.max(initial=0)) + 1, whole))
    seeds[given, np.arange(size)] = 1.0

    def at(t: Any, y: Array) -> tuple[Array, Array | None, Array | None]:
        _, along = jax.linearize(lambda y: slope(t, y), y)
        products = jax.vmap(along)(jnp.asarray(seeds, y.dtype))
        totals = None
        if whole > size:
            totals = jax.jacrev(lambda x: slope(t, jnp.concatenate([x, y[size:]]))[size:])(y[:size])
        drift = jax.jvp(lambda t: slope(t, y), (t,), (jnp.ones_like(t),))[1] if timed else None
        return products[given[columns], rows], totals, drift

    return Entries(form, at)
