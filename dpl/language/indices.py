"""Indices: what `for i in 1..n-2` binds, which elements `T[i+1]` names, and which part `cell[i].x` is in.

For whoever walks over expressions:

- The value of a `Piece` or `Comprehension` is read in `index_scope(scope, indices)`, where each index is an `Index`.
- `subscript(expr, scope)` says what stands between `[` and `]`.
- `located(expr, scope)` says what a path with indices names: `T[i]`, `cell[i].x`, `cell[i].v[j]`; `read_shape` what
  shape a variable has where it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import product
from typing import cast

from dpl.language import syntax
from dpl.language.constants import MATH, BadConstant, NotConstant, Number, constant, no_value
from dpl.language.model import Binding, Bound, Index, Scope, Scoped, Variable

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
    if len(numbers) < 2 or any(n != int(n) for n in numbers):
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
            if isinstance(holder.binding, Variable) and any(_whole(s) for s in holder.subscripts):
                return None  # the subscripts are of what was read, not of the variable
            return Located(holder.binding, (*holder.subscripts, *subscripts))
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
    """Any other expression of indices and constants: `T[mod(i+1, n)]`, `x[neighbour[i]]`."""

    indices: tuple[Index, ...]
    """Those that it depends on, in the order in which the text names them"""
    expr: syntax.Expr = field(repr=False)
    scope: Scope = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(index.size for index in self.indices)

    @cached_property
    def values(self) -> tuple[int, ...]:
        """The element at each combination of the indices, the last index fastest (flat, of `shape`)."""
        return cast("tuple[int, ...]", tuple(map(_int, numbers(self.expr, self.scope, self.indices))))


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


# ---------------------------------------------------------------- tables


Reader = Callable[[tuple[int, ...]], Number]
"""The value of an expression at one combination of indices"""


def numbers(expr: syntax.Expr, scope: Scope, indices: tuple[Index, ...]) -> Iterator[Number]:
    """The values of an expression at every combination of the indices, the last fastest."""
    read = reader(expr, scope, {index: place for place, index in enumerate(indices)})
    return map(read, product(*(range(index.low, index.high + 1) for index in indices)))


def reader(expr: syntax.Expr, scope: Scope, places: dict[Index, int]) -> Reader:
    """The expression as a function of its indices; `places` says where in its argument each of them stands.

    Raises:
        NotConstant, BadConstant: as `subscript`.
    """
    if not indices_in(expr, scope):
        value = constant(Scoped(expr, scope))
        exact = int(value) if value == int(value) else value
        return lambda _: exact
    match expr:
        case syntax.Name(name):
            found = scope.find(name)
            if isinstance(found, Bound):
                return reader(found.value.expr, found.value.scope, places)
            place = places[cast(Index, found)]
            return lambda at: at[place]
        case syntax.Unary("-", operand):
            inner = reader(operand, scope, places)
            return lambda at: -inner(at)
        case syntax.Binary(op, left, right) if op in OPERATORS:
            a, b, combine = reader(left, scope, places), reader(right, scope, places), OPERATORS[op]
            return lambda at: combine(a(at), b(at))
        case syntax.Call(syntax.Name(name), arguments) if name in _FUNCTIONS and scope.find(name) is None:
            readers, function = [reader(a.value, scope, places) for a in arguments], _FUNCTIONS[name]
            return lambda at: function(*(r(at) for r in readers))
        case syntax.Index(inner, subscripts):
            return _element(expr, inner, subscripts, scope, places)
        case _:
            raise NotConstant(expr)


def first_value(value: Scoped) -> Number:
    """The value of a constant expression, of one with indices at the first of each.

    Raises:
        NotConstant, BadConstant: as `subscript`.
    """
    indices = indices_in(value.expr, value.scope)
    if not indices:
        return constant(value)
    try:
        return reader(value.expr, value.scope, {i: n for n, i in enumerate(indices)})(tuple(i.low for i in indices))
    except (ArithmeticError, ValueError):
        raise BadConstant(no_value(value.expr)) from None


def _element(
    expr: syntax.Index,
    inner: syntax.Expr,
    subscripts: tuple[syntax.Expr, ...],
    scope: Scope,
    places: dict[Index, int],
) -> Reader:
    """An element of a const array."""
    found = located(inner, scope)
    variable = found.binding if found is not None and not found.subscripts else None
    if not isinstance(variable, Variable) or variable.kind != "const" or len(subscripts) != len(variable.shape):
        raise NotConstant(expr)
    values, shape = elements(variable), variable.shape
    readers = [reader(s, scope, places) for s in subscripts]

    def read(at: tuple[int, ...]) -> Number:
        flat = 0
        for size, each in zip(shape, readers, strict=True):
            flat = flat * size + int(each(at))
        return values[flat]

    return read


def elements(variable: Variable) -> tuple[Number, ...]:
    """The values of a const array in SI, flat, the last axis fastest.

    Raises:
        NotConstant, BadConstant: its value is not known beforehand.
    """
    if variable.elements is None:
        assert variable.value is not None
        variable.elements = tuple(_elements(variable.value, variable))
    return variable.elements


def _elements(value: Scoped, variable: Variable) -> list[Number]:
    count = 1
    for size in variable.shape:
        count *= size
    match value.expr:
        case syntax.List():
            return list(_items(value.expr, value))
        case syntax.Pieces(pieces):
            found: list[Number] = [0] * count
            for piece in pieces:
                inner = index_scope(value.scope, piece.indices)
                indices = indices_of(value.scope, piece.indices)
                where = located(piece.target, inner)
                assert where is not None
                spots = [list(numbers(cast(syntax.Expr, s), inner, indices)) for s in where.subscripts]
                literal = (
                    constant(Scoped(piece.value, inner, value.unit)) if not indices_in(piece.value, inner) else None
                )
                values = numbers(piece.value, inner, indices) if literal is None else [literal] * len(spots[0])
                for *spot, number in zip(*spots, values, strict=True):
                    flat = 0
                    for size, place in zip(variable.shape, spot, strict=True):
                        flat = flat * size + int(place)
                    found[flat] = number
            return found
        case _:
            return [constant(value)] * count


def _items(expr: syntax.List, value: Scoped) -> Iterator[Number]:
    from dpl.language.units import read_unit

    unit = read_unit(expr.unit, []) if expr.unit else value.unit
    for item in expr.items:
        if isinstance(item, syntax.List):
            yield from _items(item, Scoped(item, value.scope, unit))
        else:
            yield constant(Scoped(item, value.scope, unit))


def _int(value: Number) -> int:
    return int(value)


def _divide(a: Number, b: Number) -> Number:
    return Fraction(a) / Fraction(b) if not isinstance(a, float) and not isinstance(b, float) else a / b


def _round(value: Number) -> int:
    return round(value)


OPERATORS: dict[str, Callable[[Number, Number], Number]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _divide,
    "^": lambda a, b: a**b,
}
_FUNCTIONS: dict[str, Callable[..., Number]] = {
    **MATH,
    "floor": lambda a: a // 1,
    "ceil": lambda a: -(-a // 1),
    "round": _round,
    "clip": lambda a, low, high: min(max(a, low), high),
}
"""What is computed with indices beforehand; whole numbers stay exact"""


# ---------------------------------------------------------------- how far subscripts reach


@dataclass(frozen=True)
class Reach:
    """The least and greatest value of an expression over all its indices; `whole`: every value is a whole number."""

    low: Number
    high: Number
    whole: bool


def reach(expr: syntax.Expr, scope: Scope) -> Reach | None:
    """Bounds of an expression of indices and constants, found without counting; None if they are not clear from it.

    Raises:
        NotConstant, BadConstant: as `subscript`.
    """
    found = affine(expr, scope)
    if found is not None:
        ends = [sorted((f * i.low, f * i.high)) for i, f in found.factors.items()]
        low, high = (found.constant + sum(e[side] for e in ends) for side in (0, 1))
        return Reach(low, high, all(n.denominator == 1 for n in (found.constant, *found.factors.values())))
    match expr:
        case syntax.Call(syntax.Name("mod"), (one, two)) if scope.find("mod") is None:
            inner, outer = reach(one.value, scope), reach(two.value, scope)
            if inner is None or outer is None or outer.low != outer.high or outer.low <= 0:
                return None
            whole = inner.whole and outer.whole
            return Reach(0, outer.low - 1 if whole else outer.low, whole)
        case syntax.Call(syntax.Name("min" | "max" as name), arguments) if scope.find(name) is None:
            found = [reach(a.value, scope) for a in arguments]
            if None in found or not found:
                return None
            known = cast("list[Reach]", found)
            pick = min if name == "min" else max
            return Reach(pick(r.low for r in known), pick(r.high for r in known), all(r.whole for r in known))
        case syntax.Call(syntax.Name("floor" | "ceil" | "round" as name), (one,)) if scope.find(name) is None:
            inner = reach(one.value, scope)
            return inner and Reach(_FUNCTIONS[name](inner.low), _FUNCTIONS[name](inner.high), True)
        case syntax.Index(inner):
            found = located(inner, scope)
            if found is None or not isinstance(found.binding, Variable):
                return None
            return _reach_of_array(found.binding)
        case _:
            return None


def _reach_of_array(variable: Variable) -> Reach | None:
    if variable.kind != "const" or variable.value is None:
        return None
    value = variable.value
    if isinstance(value.expr, syntax.Pieces):
        found = [reach(p.value, index_scope(value.scope, p.indices)) for p in value.expr.pieces]
    else:
        found = [Reach(n, n, n == int(n)) for n in elements(variable)]
    if None in found or not found:
        return None
    known = cast("list[Reach]", found)
    return Reach(min(r.low for r in known), max(r.high for r in known), all(r.whole for r in known))


def astray(expr: syntax.Expr, scope: Scope, size: int) -> tuple[Number, dict[Index, int]] | None:
    """The first value of a subscript that is no element of an axis, and the indices that lead to it."""
    found = reach(expr, scope)
    if found is not None and found.whole and found.low >= 0 and found.high < size:
        return None
    line = affine(expr, scope)
    if found is not None and line is not None and found.whole:
        below = found.low < 0
        corner = {i: i.low if (f > 0) == below else i.high for i, f in line.factors.items()}
        return (found.low if below else found.high), corner
    names = indices_in(expr, scope)
    read = reader(expr, scope, {index: place for place, index in enumerate(names)})
    for at in product(*(range(index.low, index.high + 1) for index in names)):
        value = read(at)
        if value != int(value) or not 0 <= value < size:
            return value, dict(zip(names, at, strict=True))
    return None
