"""Many numbers at once: what the functions of a large scenario, grouped by the compiler, are made of.

A `Table` is a constant sparse matrix: it picks numbers from vectors, or adds some of them up. Its derivative is the
transposed matrix, which again only picks and adds: nothing is scattered, which on a CPU would be done one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

WIDTHS = (1, 2, 3, 4, 6, 8)
"""How many numbers one pass of a sum may add to each other"""


@jax.tree_util.register_pytree_node_class
class Joined:
    """Numbers that are kept in one vector and read like a tuple."""

    def __init__(self, vector: Any) -> None:
        self.vector = vector

    def __len__(self) -> int:
        return self.vector.shape[-1]

    def __getitem__(self, index: int) -> Any:
        return self.vector[..., index]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def tree_flatten(self) -> tuple[tuple[Any], None]:
        return (self.vector,), None

    @classmethod
    def tree_unflatten(cls, _: None, leaves: tuple[Any]) -> Joined:
        return cls(*leaves)


def joined(numbers: Any) -> Array:
    """The vector of numbers that may be in one already."""
    return numbers.vector if isinstance(numbers, Joined) else jnp.stack([jnp.asarray(n) for n in numbers])


def looked_up(values: Mapping[str, Any], names: Sequence[str]) -> Array:
    """The vector of the values of these names."""
    return values.vector(names) if isinstance(values, Packed) else joined([values[name] for name in names])


def constants(numbers: Sequence[float], like: Any = 0.0) -> Array:
    """Numbers in the floating type of others."""
    return jnp.asarray(numbers, jnp.result_type(like))


# ---------------------------------------------------------------- many values as one

LEAST_PACKED = 64
"""Numbers from which those that a program is given travel in one vector"""


@jax.tree_util.register_pytree_node_class
class Packed(Mapping[str, Any]):
    """A mapping that keeps its numbers in one vector, for what is compiled takes long over many arguments."""

    def __init__(self, names: tuple[str, ...], numbers: Any, others: Mapping[str, Any]) -> None:
        self.names, self.numbers, self.others = names, numbers, others
        self._places = {name: i for i, name in enumerate(names)}

    def __getitem__(self, name: str) -> Any:
        return self.numbers[self._places[name]] if name in self._places else self.others[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self.names, *self.others))

    def __len__(self) -> int:
        return len(self.names) + len(self.others)

    def __contains__(self, name: object) -> bool:
        return name in self._places or name in self.others

    def vector(self, names: Sequence[str]) -> Array:
        """The numbers of these names."""
        if all(name in self._places for name in names):
            return Table(len(self.names), [self._places[name] for name in names])(self.numbers)
        return joined([self[name] for name in names])

    def tree_flatten(self) -> tuple[tuple[Any, Any], tuple[str, ...]]:
        return (self.numbers, self.others), self.names

    @classmethod
    def tree_unflatten(cls, names: tuple[str, ...], leaves: tuple[Any, Any]) -> Packed:
        return cls(names, *leaves)


def packed(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values with those that are single numbers of one type in one vector, if they are many."""
    if isinstance(values, Packed):
        return values
    found: dict[Any, list[str]] = {}
    for name, value in values.items():
        if hasattr(value, "dtype") and value.shape == ():
            found.setdefault(value.dtype, []).append(name)
    names = tuple(max(found.values(), key=len, default=[]))
    if len(names) < LEAST_PACKED:
        return values
    inside = set(names)
    others = {name: value for name, value in values.items() if name not in inside}
    return Packed(names, _stack.bind(*(values[name] for name in names)), others)


# ---------------------------------------------------------------- sparse matrices


class Table:
    """A constant sparse matrix: `rows` of the columns that are added up, out of `size`; `weights` are theirs, else 1.

    A row may be the number of a single column.
    """

    def __init__(
        self,
        size: int,
        rows: Sequence[int | Sequence[int]],
        weights: Sequence[Sequence[float]] | None = None,
        split: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.size, self.split = size, tuple(split)
        own = [(row,) if isinstance(row, int) else tuple(row) for row in rows]
        given = [(1.0,) * len(row) for row in own] if weights is None else [tuple(w) for w in weights]
        self._entries = [list(zip(row, w, strict=True)) for row, w in zip(own, given, strict=True)]
        turned: list[list[tuple[int, float]]] = [[] for _ in range(size)]
        for number, entries in enumerate(self._entries):
            for column, weight in entries:
                turned[column].append((number, weight))
        self.forward, self.backward = _Sum(self._entries, size), _Sum(turned, len(own))

    def __call__(self, *parts: Any) -> Array:
        """The matrix times the vector that the parts, vectors and numbers, make together."""
        return _apply(self.forward, self.backward, _beside(parts))

    def apart(self, *parts: Any) -> list[Array]:
        """The same, as vectors: so many of such a length for each pair in `split`."""
        found: list[Array] = []
        pieces = lax.split(self(*parts), [count * length for count, length in self.split])
        for piece, (count, length) in zip(pieces, self.split, strict=True):
            # The derivative of a group then comes in one piece, and is one kernel.
            rows = lax.split(piece.reshape(count, length), (1,) * count)
            found += [row.reshape(length) for row in rows]
        return found

    def numbers(self, *parts: Any) -> list[Array]:
        """The same, as single numbers."""
        vector = self(*parts)
        return [vector[i] for i in range(len(self._entries))]


def _beside(parts: Sequence[Any]) -> Array:
    vectors = [jnp.reshape(part, (-1,)) for part in parts]
    if len(vectors) == 1:
        return vectors[0]
    dtype = jnp.result_type(*vectors)
    return jnp.concatenate([v.astype(dtype) for v in vectors])


class _Sum:
    """How a sparse matrix is applied: passes, each of which adds up to `width` numbers of the one before."""

    def __init__(self, rows: list[list[tuple[int, float]]], size: int) -> None:
        self.shape = len(rows), size
        columns = [[c for c, _ in row] for row in rows]
        flat = [c for row in columns for c in row]
        plain = all(len(row) == 1 and row[0][1] == 1.0 for row in rows)
        self.slice = (
            (flat[0], flat[0] + len(flat))
            if plain and flat and flat == list(range(flat[0], flat[0] + len(flat)))
            else None
        )
        self.passes: list[tuple[np.ndarray, np.ndarray | None, np.ndarray | None]] = []
        width = min(WIDTHS, key=lambda w: _work([len(row) for row in rows], w))
        weights: list[list[float]] | None = [[w for _, w in row] for row in rows]
        while True:
            most = max(map(len, columns), default=0)
            if most <= max(width, 1):
                self._pass(columns, weights, max(most, 1))
                return
            chunks: list[list[int]] = []
            chunk_weights: list[list[float]] = []
            following: list[list[int]] = []
            for i, row in enumerate(columns):
                following.append([])
                for at in range(0, len(row), width):
                    following[-1].append(len(chunks))
                    chunks.append(row[at : at + width])
                    chunk_weights.append(weights[i][at : at + width] if weights else [1.0] * len(chunks[-1]))
            self._pass(chunks, chunk_weights, width)
            columns, weights = following, None
            width = max(width, 2)

    def _pass(self, rows: list[list[int]], weights: list[list[float]] | None, width: int) -> None:
        index, weight = np.zeros((len(rows), width), np.int32), np.ones((len(rows), width))
        there = np.zeros((len(rows), width), bool)
        for i, row in enumerate(rows):
            index[i, : len(row)], there[i, : len(row)] = row, True
            if weights is not None:
                weight[i, : len(row)] = weights[i]
        self.passes.append((index, None if np.all(there) else there, None if np.all(weight == 1.0) else weight))

    def __call__(self, vector: Array) -> Array:
        if self.slice is not None:
            return lax.slice_in_dim(vector, *self.slice, axis=vector.ndim - 1)
        rank = (1,) * (vector.ndim - 1)
        for index, there, weight in self.passes:
            total: Any = None
            for j in range(index.shape[1]):
                term = vector.at[..., index[:, j]].get(mode="promise_in_bounds")
                if there is not None and not there[:, j].all():
                    term = jnp.where(there[:, j].reshape(*rank, -1), term, jnp.zeros((), vector.dtype))
                if weight is not None and np.any(weight[:, j] != 1.0):
                    term = term * jnp.asarray(weight[:, j].reshape(*rank, -1), vector.dtype)
                total = term if total is None else total + term
            vector = total
        return vector


def _work(lengths: list[int], width: int) -> float:
    """Numbers that are read if sums are taken so many at a time, with something for each further pass."""
    total = 0.0
    while True:
        if max(lengths, default=0) <= width:
            return total + len(lengths) * max(lengths, default=0)
        if width == 1:
            return math.inf
        lengths = [max(1, -(-n // width)) for n in lengths]
        total += sum(lengths) * width + 50


# ---------------------------------------------------------------- as an operation of JAX

_linear = Primitive("dpl_table")


def _apply(forward: _Sum, backward: _Sum, vector: Any) -> Any:
    return _linear.bind(vector, forward=forward, backward=backward)


@_linear.def_impl
def _impl(vector: Any, *, forward: _Sum, backward: _Sum) -> Any:
    return forward(jnp.asarray(vector))


@_linear.def_abstract_eval
def _abstract(vector: Any, *, forward: _Sum, backward: _Sum) -> Any:
    return ShapedArray((*vector.shape[:-1], forward.shape[0]), vector.dtype)


def _transposed(cotangent: Any, vector: Any, *, forward: _Sum, backward: _Sum) -> list[Any]:
    return [_apply(backward, forward, cotangent)]


def _batched(vectors: Any, axes: Any, *, forward: _Sum, backward: _Sum) -> tuple[Any, int]:
    moved = jnp.moveaxis(vectors[0], axes[0], 0)
    return _apply(forward, backward, moved), 0


ad.deflinear2(_linear, _transposed)
batching.primitive_batchers[_linear] = _batched
mlir.register_lowering(_linear, mlir.lower_fun(_impl, multiple_results=False))


# Numbers into a vector and back. Outside of compiled programs NumPy does it, for XLA would
# compile a kernel for each number.

_stack, _unstack = Primitive("dpl_stack"), Primitive("dpl_unstack")
_unstack.multiple_results = True


@_stack.def_impl
def _stacked(*numbers: Any) -> Any:
    return jnp.asarray(np.asarray([np.asarray(n) for n in numbers]))


@_unstack.def_impl
def _unstacked(vector: Any) -> list[Any]:
    return list(np.asarray(vector))


_stack.def_abstract_eval(lambda *numbers: ShapedArray((len(numbers),), numbers[0].dtype))
_unstack.def_abstract_eval(lambda vector: [ShapedArray((), vector.dtype)] * vector.shape[0])
mlir.register_lowering(_stack, mlir.lower_fun(lambda *numbers: jnp.stack(numbers), multiple_results=False))
mlir.register_lowering(_unstack, mlir.lower_fun(lambda vector: [vector[i] for i in range(vector.shape[0])], True))


def _stack_jvp(numbers: Any, tangents: Any) -> tuple[Any, Any]:
    full = [ad.instantiate_zeros(t) for t in tangents]
    return _stack.bind(*numbers), _stack.bind(*full)


def _stack_transposed(cotangent: Any, *numbers: Any) -> list[Any]:
    parts = _unstack.bind(cotangent)
    return [part if ad.is_undefined_primal(n) else None for part, n in zip(parts, numbers, strict=True)]


def _stack_batched(numbers: Any, axes: Any) -> tuple[Any, int]:
    size = next(n.shape[a] for n, a in zip(numbers, axes, strict=True) if a is not None)
    full = [jnp.broadcast_to(n, (size,)) if a is None else n for n, a in zip(numbers, axes, strict=True)]
    return jnp.stack(full, axis=1), 0


ad.primitive_jvps[_stack] = _stack_jvp
ad.primitive_transposes[_stack] = _stack_transposed
ad.deflinear2(_unstack, lambda cotangents, vector: [_stack.bind(*map(ad.instantiate_zeros, cotangents))])
batching.primitive_batchers[_stack] = _stack_batched
batching.primitive_batchers[_unstack] = lambda vectors, axes: (
    list(jnp.moveaxis(vectors[0], axes[0], 1)),
    [0] * (vectors[0].size // vectors[0].shape[axes[0]]),
)
