"""How far subscripts reach: the values of expressions of indices and constants, bounded or computed.

That a subscript stays within its array is seen from bounds, whatever the size of the array; only where bounds do not
tell are its values computed, one by one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product
from math import prod
from typing import cast

from dpl.language import syntax
from dpl.language.builtins import FUNCTIONS
from dpl.language.constants import MATH, BadConstant, NotConstant, Number, constant, no_value, whole
from dpl.language.indices import affine, index_scope, indices_in, indices_of, located, read_shape
from dpl.language.model import Bound, Index, Scope, Scoped, Variable, target_of
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
        if not whole(value) or not 0 <= value < size:
            return value, dict(zip(names, at, strict=True))
    return None


# ---------------------------------------------------------------- values


Reader = Callable[[tuple[int, ...]], Number]
"""The value of an expression at one combination of indices"""


def reader(expr: syntax.Expr, scope: Scope, places: dict[Index, int]) -> Reader:
    """The expression as a function of its indices; `places` says where in its argument each of them stands.

    Raises:
        NotConstant, BadConstant: as `subscript`.
    """
    if not indices_in(expr, scope):
        value = constant(Scoped(expr, scope))
        exact = int(value) if whole(value) else value
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
        case syntax.If(condition, then, otherwise):
            test, one, two = (reader(e, scope, places) for e in (condition, then, otherwise))
            return lambda at: one(at) if test(at) else two(at)
        case syntax.Compare(operands, ops):
            sides = [reader(o, scope, places) for o in operands]
            tests = [COMPARISONS[op] for op in ops]
            return lambda at: all(t(a(at), b(at)) for t, (a, b) in zip(tests, pairwise(sides), strict=True))
        case syntax.Call(syntax.Name(name), arguments) if name in _FUNCTIONS and scope.find(name) is None:
            least, most = (2, None) if name in ("min", "max") else FUNCTIONS[name].arity
            if not least <= len(arguments) <= (most or len(arguments)) or any(a.name for a in arguments):
                raise NotConstant(expr)  # a wrong call, which is said where it is read
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
        variable.elements = array_of(variable.value, variable.shape)
    return variable.elements


def shape_of(value: Scoped) -> tuple[int, ...]:
    """The shape of a constant that is an array without being a list: of pieces, or of a const's; () of others."""
    if isinstance(value.expr, syntax.Pieces):
        piece = value.expr.pieces[0]
        found = located(piece.target, index_scope(value.scope, piece.indices))
        given = found is not None and isinstance(found.binding, Variable) and found.binding
        return read_shape(given, value.scope) if given else ()
    const = target_of(value.expr, value.scope)
    return const.shape if const is not None and const.kind == "const" else ()


def array_of(value: Scoped, shape: tuple[int, ...]) -> tuple[Number, ...]:
    """The values in SI of a constant array of a shape, or of a row that stands for all: flat, the last axis fastest.

    Raises:
        NotConstant, BadConstant: it is not known beforehand.
    """
    const = target_of(value.expr, value.scope)
    if const is not None and const.kind == "const" and const.shape:
        return elements(const)
    match value.expr:
        case syntax.List():
            return tuple(map(constant, _items(value)))
        case syntax.Pieces(pieces):
            result: list[Number] = [0] * prod(shape)
            for piece in pieces:
                for place, number in _piece(piece, value, shape):
                    result[place] = number
            return tuple(result)
        case _:
            return (constant(value),) * prod(shape)


def _piece(piece: syntax.Piece, value: Scoped, shape: tuple[int, ...]) -> Iterator[tuple[int, Number]]:
    """The elements that a piece gives, each with its place in the flat array."""
    inner = index_scope(value.scope, piece.indices)
    indices = indices_of(value.scope, piece.indices)
    found = located(piece.target, inner)
    subscripts = () if found is None else found.subscripts
    if any(s is None or isinstance(s, syntax.Range) for s in subscripts):
        raise NotConstant(piece.target)
    places = {index: place for place, index in enumerate(indices)}
    spots = [reader(cast(syntax.Expr, s), inner, places) for s in subscripts]
    row = list(_items(Scoped(piece.value, inner, value.unit)))
    values = [_constant_reader(item, places) for item in row]
    count = prod(shape[len(subscripts) :])
    for at in product(*(range(index.low, index.high + 1) for index in indices)):
        flat = 0
        for size, spot in zip(shape, spots, strict=False):
            flat = flat * size + int(spot(at))
        for k in range(count):
            yield flat * count + k, _at(values[k % len(values)], at, piece.value)


def _constant_reader(value: Scoped, places: dict[Index, int]) -> Reader:
    if indices_in(value.expr, value.scope):
        return reader(value.expr, value.scope, places)
    number = constant(value)
    return lambda _: number


def _items(value: Scoped) -> Iterator[Scoped]:
    """The items of a list, of the lists in it too; of another value itself."""
    expr = value.expr
    if not isinstance(expr, syntax.List):
        yield value
        return
    unit = read_unit(expr.unit, []) if expr.unit else value.unit
    for item in expr.items:
        yield from _items(Scoped(item, value.scope, unit))


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
COMPARISONS: dict[str, Callable[[Number, Number], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_FUNCTIONS: dict[str, Callable[..., Number]] = {
    **MATH,
    "floor": _floor,
    "ceil": _ceil,
    "round": _round,
    "clip": _clip,
}
"""What is computed with indices beforehand; whole numbers stay exact"""
