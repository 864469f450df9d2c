"""How far subscripts reach: the values of expressions of indices and constants, bounded or computed.

That a subscript stays within its array is seen from bounds, whatever the size of the array; only where bounds do not
tell are its values computed, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import prod
from typing import cast

from dpl.language import syntax
from dpl.language.constants import MATH, BadConstant, NotConstant, Number, constant, no_value
from dpl.language.indices import affine, index_scope, indices_in, indices_of, located
from dpl.language.model import Bound, Index, Scope, Scoped, Variable
from dpl.language.units import read_unit

# ---------------------------------------------------------------- bounds


@dataclass(frozen=True)
class Reach:
    """The least and greatest value of an expression over all its indices; `whole`: every value is a whole number."""

    low: Number
    high: Number
    whole: bool


def reach(expr: syntax.Expr, scope: Scope, made: tuple[Variable, ...] = ()) -> Reach | None:
    """Bounds of an expression of indices and constants, found without counting; None if they are not clear from it.

    `made` are the arrays whose reach is being found.

    Raises:
        NotConstant, BadConstant: as `subscript`.
    """
    found = affine(expr, scope)
    if found is not None:
        ends = [sorted((f * i.low, f * i.high)) for i, f in found.factors.items()]
        low, high = (found.constant + sum(e[side] for e in ends) for side in (0, 1))
        return Reach(low, high, all(n.denominator == 1 for n in (found.constant, *found.factors.values())))
    match expr:
        case syntax.Binary("+" | "-" | "*" as op, left, right):
            one, two = reach(left, scope, made), reach(right, scope, made)
            if one is None or two is None:
                return None
            corners = [OPERATORS[op](a, b) for a in (one.low, one.high) for b in (two.low, two.high)]
            return Reach(min(corners), max(corners), one.whole and two.whole)
        case syntax.Call(syntax.Name("mod"), (one, two)) if scope.find("mod") is None:
            inner, outer = reach(one.value, scope, made), reach(two.value, scope, made)
            if inner is None or outer is None or outer.low != outer.high or outer.low <= 0:
                return None
            whole = inner.whole and outer.whole
            return Reach(0, outer.low - 1 if whole else outer.low, whole)
        case syntax.Call(syntax.Name("min" | "max" as name), arguments) if scope.find(name) is None:
            found = [reach(a.value, scope, made) for a in arguments]
            if None in found or not found:
                return None
            known = cast("list[Reach]", found)
            pick = min if name == "min" else max
            return Reach(pick(r.low for r in known), pick(r.high for r in known), all(r.whole for r in known))
        case syntax.Call(syntax.Name("floor" | "ceil" | "round" as name), (one,)) if scope.find(name) is None:
            inner = reach(one.value, scope, made)
            return inner and Reach(_FUNCTIONS[name](inner.low), _FUNCTIONS[name](inner.high), True)
        case syntax.Index(inner):
            found = located(inner, scope)
            if found is None or not isinstance(found.binding, Variable):
                return None
            return _reach_of_array(found.binding, made)
        case _:
            return None


def _reach_of_array(variable: Variable, made: tuple[Variable, ...]) -> Reach | None:
    if variable.kind != "const" or variable.value is None or variable in made:
        return None
    value = variable.value
    if isinstance(value.expr, syntax.Pieces):
        found = [reach(p.value, index_scope(value.scope, p.indices), (*made, variable)) for p in value.expr.pieces]
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
        value = _at(read, at, expr)
        if value != int(value) or not 0 <= value < size:
            return value, dict(zip(names, at, strict=True))
    return None


# ---------------------------------------------------------------- values


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
    read = reader(value.expr, value.scope, {index: place for place, index in enumerate(indices)})
    return _at(read, tuple(index.low for index in indices), value.expr)


def _at(read: Reader, at: tuple[int, ...], expr: syntax.Expr) -> Number:
    try:
        return read(at)
    except (ArithmeticError, ValueError):
        raise BadConstant(no_value(expr)) from None


def element(expr: syntax.Index, scope: Scope) -> Number:
    """The value of an element of a const array, its subscripts constants.

    Raises:
        NotConstant, BadConstant: as `subscript`.
    """
    if indices_in(expr, scope):
        raise NotConstant(expr)
    return _element(expr, expr.object, expr.subscripts, scope, {})(())


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
    if prod(shape) != len(values):
        raise NotConstant(expr)  # it is of a wrong shape, which is said where it is declared
    readers = [reader(s, scope, places) for s in subscripts]

    def read(at: tuple[int, ...]) -> Number:
        flat = 0
        for size, each in zip(shape, readers, strict=True):
            place = int(each(at))
            if not 0 <= place < size:
                raise ValueError("out of range, which is said where it is read")
            flat = flat * size + place
        return values[flat]

    return read


def elements(variable: Variable) -> tuple[Number, ...]:
    """The values of a const array in SI, flat, the last axis fastest.

    Raises:
        NotConstant, BadConstant: its value is not known beforehand.
    """
    if variable.elements is None:
        assert variable.value is not None
        variable.elements = ()  # for who asks meanwhile: an array that is made of itself has no value
        variable.elements = tuple(_elements(variable.value, variable))
    return variable.elements


def _elements(value: Scoped, variable: Variable) -> list[Number]:
    count = prod(variable.shape)
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
    unit = read_unit(expr.unit, []) if expr.unit else value.unit
    for item in expr.items:
        if isinstance(item, syntax.List):
            yield from _items(item, Scoped(item, value.scope, unit))
        else:
            yield constant(Scoped(item, value.scope, unit))


def _divide(a: Number, b: Number) -> Number:
    return Fraction(a) / Fraction(b) if not isinstance(a, float) and not isinstance(b, float) else a / b


def _round(value: Number) -> int:
    return round(value)


def _floor(value: Number) -> Number:
    return value // 1


def _ceil(value: Number) -> Number:
    return -(-value // 1)


def _clip(value: Number, low: Number, high: Number) -> Number:
    return min(max(value, low), high)


OPERATORS: dict[str, Callable[[Number, Number], Number]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _divide,
    "^": lambda a, b: a**b,
}
_FUNCTIONS: dict[str, Callable[..., Number]] = {
    **MATH,
    "floor": _floor,
    "ceil": _ceil,
    "round": _round,
    "clip": _clip,
}
"""What is computed with indices beforehand; whole numbers stay exact"""
