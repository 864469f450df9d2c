"""Indices: what `for i in 1..n-2` binds, which elements `T[i+1]` names, and which part `cell[i].x` is in.

For whoever walks over expressions:

- The value of a `Piece` or `Comprehension` is read in `index_scope(scope, indices)`, where each index is an `Index`.
- `subscript(expr, scope)` says what stands between `[` and `]`.
- `located(expr, scope)` says what a path with indices names: `T[i]`, `cell[i].x`, `cell[i].v[j]`; `read_shape` what
  shape a variable has where it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

from dpl.language import syntax
from dpl.language.constants import BadConstant, NotConstant, constant, whole
from dpl.language.model import Binding, Bound, Index, Scope, Scoped, Variable

MOST_CELLS = 10_000_000
"""Numbers in an array, elements that indices count"""

# ---------------------------------------------------------------- scopes


def index_scope(scope: Scope, sets: tuple[syntax.IndexSet, ...]) -> Scope:
    """The scope in which the indices of `for` are bound: one and the same for the same `sets` in the same `scope`.

    Without indices it is `scope` itself. Ends that are no constants are reported by `Rules.counted`; here such an
    index counts 0 alone.
    """
    if not sets:
        return scope
    found = scope.within.get(id(sets))
    if found is None:
        inner = Scope(scope.path, scope.item, scope, scope.clock, scope.span, axes=scope.axes)
        for index in sets:
            low, high = ends(index, scope) or (0, 0)
            inner.names[index.name] = Index(index.name, low, high, index.span)
        found = scope.within[id(sets)] = (sets, inner)
    return found[1]


def indices_of(scope: Scope, sets: tuple[syntax.IndexSet, ...]) -> tuple[Index, ...]:
    """The indices that `for` binds, in the order of the text."""
    inner = index_scope(scope, sets)
    return tuple(cast(Index, inner.names[index.name]) for index in sets)


def ends(index: syntax.IndexSet, scope: Scope) -> tuple[int, int] | None:
    """The first and last number that an index counts; None if they are not whole numbers known beforehand."""
    low, high = index.range.low, index.range.high
    try:
        numbers = [constant(Scoped(e, scope)) for e in (low, high) if e is not None]
    except (NotConstant, BadConstant):
        return None
    if len(numbers) < 2 or not all(map(whole, numbers)):
        return None
    return int(numbers[0]), int(numbers[1])


# ---------------------------------------------------------------- paths


@dataclass(frozen=True)
class Located:
    """What a path names, and a subscript for each axis that the path goes through, parts before their quantities.

    A subscript is None where an axis is read whole; axes after the last subscript are read whole too.
    """

    binding: Binding | Scope
    subscripts: tuple[syntax.Expr | None, ...] = ()


def located(expr: syntax.Expr, scope: Scope) -> Located | None:
    """What a path with indices names: `x`, `T[i]`, `cell[i].x`, `cell[i].v[j]`; None if it is no such path."""
    match expr:
        case syntax.Name(name):
            found = scope.find(name)
            return None if found is None else Located(found)
        case syntax.Member(inner, name):
            holder = located(inner, scope)
            if holder is None or not isinstance(holder.binding, Scope):
                return None
            found = holder.binding.names.get(name)
            axes = len(holder.binding.axes) - shared(scope, holder.binding)
            rest = (None,) * (axes - len(holder.subscripts))
            return None if found is None else Located(found, (*holder.subscripts, *rest))
        case syntax.Index(inner, subscripts):
            holder = located(inner, scope)
            if holder is None or not isinstance(holder.binding, Variable | Scope):
                return None
            if not isinstance(holder.binding, Variable) or not any(map(_whole, holder.subscripts)):
                return Located(holder.binding, (*holder.subscripts, *subscripts))
            if all(s is None for s in holder.subscripts):
                return Located(holder.binding, subscripts)  # `cell.x[i]` is `cell[i].x`
            return None  # the subscripts are of what was read, not of the variable
        case _:
            return None


def _whole(subscript: syntax.Expr | None) -> bool:
    return subscript is None or isinstance(subscript, syntax.Range)


def without_subscripts(expr: syntax.Expr) -> syntax.Expr:
    """The path of the whole array that an element is in: `T` of `T[i]`, `cell.x` of `cell[i].x`."""
    match expr:
        case syntax.Index(inner):
            return without_subscripts(inner)
        case syntax.Member(inner, name):
            return syntax.Member(without_subscripts(inner), name, span=expr.span)
        case _:
            return expr


def primed(expr: syntax.Expr, order: int) -> syntax.Expr:
    """The derivative of an order of what a path names."""
    for _ in range(order):
        expr = syntax.Prime(expr, span=expr.span)
    return expr


def shared(scope: Scope, other: Scope) -> int:
    """How many axes of arrays of parts two scopes have in common: they are in the same part of each."""
    pairs = zip(scope.axes, other.axes, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a is not b), min(len(scope.axes), len(other.axes)))


def read_shape(variable: Variable, scope: Scope) -> tuple[int, ...]:
    """The shape of a variable read by its plain path: without the axes of the parts that the reader is in."""
    return variable.shape[shared(scope, variable.scope) :]


def own_shape(variable: Variable) -> tuple[int, ...]:
    """The shape of a variable in one part."""
    return variable.shape[len(variable.scope.axes) :]


# ---------------------------------------------------------------- subscripts


@dataclass(frozen=True)
class Constant:
    """One element: `T[0]`, `T[n-1]`."""

    value: int


@dataclass(frozen=True)
class Offset:
    """An index and a constant: `T[i]`, `T[i+1]`, `T[i-1]`."""

    index: Index
    constant: int = 0


@dataclass(frozen=True)
class Slice:
    """From `low` to `high`, both included; `high` is None at the end of the axis."""

    low: int
    high: int | None


@dataclass(frozen=True)
class Table:
    """Any other expression of indices and constants: `T[mod(i+1, n)]`, `x[neighbour[i]]`. `reach.py` computes it."""

    indices: tuple[Index, ...]
    """Those that it depends on, in the order in which the text names them"""
    expr: syntax.Expr = field(repr=False)
    scope: Scope = field(repr=False)


Subscript = Constant | Offset | Slice | Table


def subscript(expr: syntax.Expr, scope: Scope) -> Subscript:
    """What a subscript says. Of a checked model it is within the array; that it is is the caller's to check before.

    Raises:
        NotConstant: it reads something that is known only when the program runs.
        BadConstant: it has no usable value.
    """
    if isinstance(expr, syntax.Range):
        high = None if expr.high is None else int(constant(Scoped(expr.high, scope)))
        return Slice(int(constant(Scoped(expr.low, scope))), high)
    names = indices_in(expr, scope)
    if not names:
        return Constant(int(constant(Scoped(expr, scope))))
    found = affine(expr, scope)
    if found is not None and found.whole:
        (index, factor), *others = found.factors.items()
        if factor == 1 and not others:
            return Offset(index, int(found.constant))
    return Table(names, expr, scope)


def indices_in(expr: syntax.Expr, scope: Scope) -> tuple[Index, ...]:
    """The indices that an expression names, each once, in the order of the text."""
    return tuple(dict.fromkeys(_indices_in(expr, scope)))


def _indices_in(expr: syntax.Expr, scope: Scope) -> Iterator[Index]:
    if isinstance(expr, syntax.Name):
        found = scope.find(expr.id)
        if isinstance(found, Index):
            yield found
        elif isinstance(found, Bound):
            yield from _indices_in(found.value.expr, found.value.scope)
        return
    for child in syntax.children(expr):
        yield from _indices_in(child, scope)


@dataclass(frozen=True)
class Affine:
    """`2*i + j - 1`: a factor of each index, none of them 0, and a constant."""

    factors: dict[Index, Fraction]
    constant: Fraction

    @property
    def whole(self) -> bool:
        return all(n.denominator == 1 for n in (*self.factors.values(), self.constant)) and bool(self.factors)

    def plus(self, other: Affine, sign: int) -> Affine:
        factors = dict(self.factors)
        for index, factor in other.factors.items():
            factors[index] = factors.get(index, Fraction(0)) + sign * factor
        return Affine({i: f for i, f in factors.items() if f}, self.constant + sign * other.constant)

    def times(self, factor: Fraction) -> Affine:
        return Affine({i: f * factor for i, f in self.factors.items() if factor}, self.constant * factor)


def affine(expr: syntax.Expr, scope: Scope) -> Affine | None:
    """An expression as a sum of indices with constant factors; None if it is none.

    Raises:
        NotConstant, BadConstant: as `subscript`.
    """
    if not indices_in(expr, scope):
        value = constant(Scoped(expr, scope))
        return Affine({}, Fraction(value)) if abs(value) != float("inf") else None
    match expr:
        case syntax.Name(name):
            found = scope.find(name)
            if isinstance(found, Bound):
                return affine(found.value.expr, found.value.scope)
            return Affine({found: Fraction(1)}, Fraction(0)) if isinstance(found, Index) else None
        case syntax.Unary("-", operand):
            inner = affine(operand, scope)
            return inner and inner.times(Fraction(-1))
        case syntax.Binary("+" | "-" | "*" | "/" as op, left, right):
            a, b = affine(left, scope), affine(right, scope)
            if a is None or b is None:
                return None
            if op in ("+", "-"):
                return a.plus(b, 1 if op == "+" else -1)
            if op == "*":
                return b.times(a.constant) if not a.factors else a.times(b.constant) if not b.factors else None
            return a.times(1 / b.constant) if not b.factors and b.constant else None
        case _:
            return None
