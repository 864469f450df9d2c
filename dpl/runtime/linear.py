"""Solves with s I - J, for J dense or in a band, from its structurally nonzero entries.

Derivatives go through the product with the matrix, not through its factors: a solve's derivative is another solve.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

UNROLLED = 4
"""States up to which a matrix is inverted by code of our own, at full width for a batch (measured, at 3 states: a sixth
of the time of LAPACK's calls)"""
INVERTED = 16
"""States up to which a step works out the inverse once; its products are then refined once (measured, at 8: half the
time of eight solves with factors)"""

Solve = Callable[[Array], Array]


class Form(Protocol):
    """How J is kept and solved. J itself is what `of` returns."""

    def of(self, entries: Array) -> Any:
        """J from its entries, in the order of the pattern."""
        ...

    def times(self, matrix: Any, vector: Array) -> Array:
        """J v"""
        ...

    def factored(self, matrix: Any, shift: Any) -> tuple[Solve, Solve]:
        """Solves with s I - J and with its transpose."""
        ...


def solver(form: Form, matrix: Any, shift: Any) -> Solve:
    """b -> the solution u of (s I - J) u = b, with derivatives of both modes in J, s and b."""
    forward, backward = form.factored(*jax.tree.map(lax.stop_gradient, (matrix, shift)))

    def solve(right: Array) -> Array:
        return lax.custom_linear_solve(
            lambda v: shift * v - form.times(matrix, v), right, lambda _, b: forward(b), lambda _, b: backward(b)
        )

    return solve


# ---------------------------------------------------------------- dense


@dataclass(frozen=True, eq=False)
class Dense:
    """A matrix [n, n] with its zeros."""

    places: np.ndarray
    """[n, n] index of each entry; beyond the last for those that are zero"""

    @staticmethod
    def made(rows: np.ndarray, columns: np.ndarray, size: int) -> Dense:
        places = np.full((size, size), len(rows))
        places[rows, columns] = np.arange(len(rows))
        return Dense(places)

    def of(self, entries: Array) -> Array:
        return jnp.append(entries, jnp.zeros((), entries.dtype))[self.places]

    def times(self, matrix: Array, vector: Array) -> Array:
        return matrix @ vector

    def factored(self, matrix: Array, shift: Any) -> tuple[Solve, Solve]:
        whole = shift * jnp.eye(matrix.shape[0], dtype=matrix.dtype) - matrix
        # Rows of one size: pivots among rows in very different units would lose digits.
        scale = 1 / jnp.max(jnp.abs(whole), axis=1)
        forward, backward = _factored(whole * scale[:, None])
        return lambda b: forward(scale * b), lambda b: scale * backward(b)


def _factored(matrix: Array) -> tuple[Solve, Solve]:
    """Solves with a dense matrix and with its transpose."""
    size = matrix.shape[0]
    if size <= INVERTED:
        return _by_inverse(matrix, inverse(matrix) if size <= UNROLLED else jnp.linalg.inv(matrix))
    factors = jax.scipy.linalg.lu_factor(matrix)
    return lambda b: jax.scipy.linalg.lu_solve(factors, b), lambda b: jax.scipy.linalg.lu_solve(factors, b, trans=1)


def _by_inverse(matrix: Array, inverted: Array) -> tuple[Solve, Solve]:
    def solve(matrix: Array, inverted: Array, b: Array) -> Array:
        u = inverted @ b
        return u + inverted @ (b - matrix @ u)

    return lambda b: solve(matrix, inverted, b), lambda b: solve(matrix.T, inverted.T, b)


def inverse(matrix: Array) -> Array:
    """A small matrix's inverse by Gauss and Jordan with pivots in the column: no call, so a batch is vector code."""
    size = matrix.shape[0]
    rows = np.arange(size)
    both = jnp.concatenate([matrix, jnp.eye(size, dtype=matrix.dtype)], axis=1)
    for k in range(size):
        sizes = jnp.where(rows >= k, jnp.abs(both[:, k]), -1)
        chosen = (rows == jnp.argmax(sizes)).astype(both.dtype)
        here = (rows == k).astype(both.dtype)
        pivot, old = chosen @ both, both[k]
        both = both + jnp.outer(here, pivot - old) + jnp.outer(chosen * (1 - here), old - pivot)
        both = both - jnp.outer(both[:, k] - here, pivot / pivot[k])
    return both[:, size:]


# ---------------------------------------------------------------- in a band


class Blocks(NamedTuple):
    """A matrix of blocks [k, b, b] on the diagonal, below it (the first is zero) and above it (the last is)."""

    diagonal: Array
    below: Array
    above: Array


@dataclass(frozen=True, eq=False)
class Banded:
    """A matrix in a band, in an order of its own: blocks of the width of the band, those that touch each other.

    Blocks are eliminated one after the other, without exchange between them, as is right where neighbours weigh less
    than what is on the diagonal; a band of width 1 is a tridiagonal solve, with pivots.
    """

    order: np.ndarray
    """[n] which state stands at each place"""
    width: int
    places: tuple[np.ndarray, np.ndarray, np.ndarray]
    """As `Blocks`, indices of entries; beyond the last for those that are zero"""

    @staticmethod
    def made(rows: np.ndarray, columns: np.ndarray, order: np.ndarray) -> Banded:
        size = len(order)
        place = np.empty(size, int)
        place[order] = np.arange(size)
        i, j = place[rows], place[columns]
        width = max(1, int(np.max(np.abs(i - j), initial=0)))
        count = -(-size // width)
        places = np.full((3, count, width, width), len(rows))
        places[(j // width - i // width) % 3, i // width, i % width, j % width] = np.arange(len(rows))
        return Banded(order, width, (places[0], places[2], places[1]))

    def of(self, entries: Array) -> Blocks:
        padded = jnp.append(entries, jnp.zeros((), entries.dtype))
        return Blocks(*(padded[p] for p in self.places))

    def _cut(self, vector: Array) -> Array:
        spare = self.places[0].shape[0] * self.width - len(self.order)
        ordered = vector if self._as_it_is else vector[self.order]
        return jnp.pad(ordered, (0, spare)).reshape(-1, self.width)

    def _joined(self, blocks: Array) -> Array:
        vector = blocks.reshape(-1)
        return vector[: len(self.order)] if self._as_it_is else vector[np.argsort(self.order)]

    @property
    def _as_it_is(self) -> bool:
        return bool(np.all(self.order[1:] > self.order[:-1]))

    def times(self, matrix: Blocks, vector: Array) -> Array:
        v = self._cut(vector)
        none = jnp.zeros_like(v[:1])
        before, after = jnp.concatenate([none, v[:-1]]), jnp.concatenate([v[1:], none])
        return self._joined(_each(matrix.diagonal, v) + _each(matrix.below, before) + _each(matrix.above, after))

    def factored(self, matrix: Blocks, shift: Any) -> tuple[Solve, Solve]:
        unit = jnp.eye(self.width, dtype=matrix.diagonal.dtype)[None]
        whole = Blocks(shift * unit - matrix.diagonal, -matrix.below, -matrix.above)
        forward, backward = _tridiagonal(whole) if self.width == 1 else _block_tridiagonal(whole)
        return lambda b: self._joined(forward(self._cut(b))), lambda b: self._joined(backward(self._cut(b)))


def _each(blocks: Array, vectors: Array) -> Array:
    return blocks[:, 0] * vectors if blocks.shape[-1] == 1 else jnp.einsum("kij,kj->ki", blocks, vectors)


def _tridiagonal(m: Blocks) -> tuple[Solve, Solve]:
    below, diagonal, above = (a[:, 0, 0] for a in (m.below, m.diagonal, m.above))
    none = jnp.zeros_like(below[:1])
    # The transpose has what was above below, one row on.
    under, over = jnp.concatenate([none, above[:-1]]), jnp.concatenate([below[1:], none])
    return (
        lambda b: lax.linalg.tridiagonal_solve(below, diagonal, above, b),
        lambda b: lax.linalg.tridiagonal_solve(under, diagonal, over, b),
    )


def _block_tridiagonal(m: Blocks) -> tuple[Solve, Solve]:
    """Block elimination (Golub and Van Loan 2013, Matrix Computations, 4.5.1)."""
    width = m.diagonal.shape[-1]
    inverted = inverse if width <= UNROLLED else jnp.linalg.inv
    none = jnp.zeros((1, width, width), m.diagonal.dtype)

    def eliminate(before: Array, row: tuple[Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        diagonal, below, above = row  # `above` of the row before
        factor = below @ before
        new = inverted(diagonal - factor @ above)
        return new, (new, factor)

    rows = (m.diagonal, m.below, jnp.concatenate([none, m.above[:-1]]))
    _, (pivots, factors) = lax.scan(eliminate, none[0], rows)

    def forward(b: Array) -> Array:
        reduced = _swept(factors, b)
        return _swept_back(_products(pivots, m.above), _each(pivots, reduced))

    def backward(b: Array) -> Array:
        turned = jnp.swapaxes(pivots, 1, 2)
        above = jnp.concatenate([none, jnp.swapaxes(m.above[:-1], 1, 2)])
        reduced = _swept(_products(turned, above), _each(turned, b))
        return _swept_back(jnp.concatenate([jnp.swapaxes(factors[1:], 1, 2), none]), reduced)

    return forward, backward


def _products(a: Array, b: Array) -> Array:
    return jnp.einsum("kij,kjl->kil", a, b)


def _swept(factors: Array, b: Array) -> Array:
    """x_k = b_k - F_k x_(k-1)"""

    def along(x: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        new = row[1] - row[0] @ x
        return new, new

    return lax.scan(along, jnp.zeros_like(b[0]), (factors, b))[1]


def _swept_back(factors: Array, b: Array) -> Array:
    """x_k = b_k - F_k x_(k+1)"""

    def along(x: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        new = row[1] - row[0] @ x
        return new, new

    return lax.scan(along, jnp.zeros_like(b[0]), (factors, b), reverse=True)[1]
