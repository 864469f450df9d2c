"""What is written with indices as terms of one element (`arrays.py`): `T[i+1]`, `for`, arrays of parts.

In an array of parts every expression means one part at a time; as a whole it is the array over all parts.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dpl.compiler.algebra import Expr, Symbol, function_name, opaque, sp, symbol
from dpl.compiler.arrays import ALL, Axis, Place, at, between, each, index_symbol, is_slice, offset, over, pieces
from dpl.compiler.shapes import Shapes
from dpl.compiler.structure import linear_parts
from dpl.language import syntax
from dpl.language.constants import BadConstant, NotConstant, constant
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.indices import (
    Constant,
    Offset,
    Slice,
    Table,
    index_scope,
    indices_of,
    located,
    own_shape,
    shared,
    subscript,
)
from dpl.language.model import Equation, Index, Scope, Scoped, Variable
from dpl.language.units import Unit

if TYPE_CHECKING:
    from dpl.compiler.symbolic import Translator


@dataclass(frozen=True)
class _Piece:
    place: Place
    axes: tuple[Axis, ...]
    target: Expr
    """The element that it gives, or the elements"""
    left: Expr
    value: Expr


class Indexed:
    """The indices of one system while what they count is read."""

    def __init__(self, translator: Translator):
        self._translator = translator
        self._active: dict[Index, Axis] = {}

    @cached_property
    def shapes(self) -> Shapes:
        return Shapes(self._translator)

    # ------------------------------------------------------------ arrays of parts

    def whole(self, scope: Scope, translate: Callable[[], Expr]) -> Expr:
        """What `translate` makes of an expression in the scope, as the array over all its parts."""
        with self._anew(), self._counting(scope.axes) as axes:
            return self._closed(translate(), axes)

    def of_variable(self, variable: Variable, value: Scoped) -> Expr:
        """A value of a variable, which may stand outside the part that the variable is in."""
        with self._anew(), self._counting(variable.scope.axes) as axes:
            return self._closed(self._of_one(self._translator.local(value), variable, value.scope), axes)

    def _of_one(self, value: Expr, variable: Variable, scope: Scope) -> Expr:
        """The share of one part in a value: its element where the value has one for each part, else all of it."""
        if not variable.scope.axes:
            return value
        rank, own = len(self.shapes.of(value)), own_shape(variable)
        inner = variable.scope.axes[shared(scope, variable.scope) :]
        if inner and rank == len(own) + len(inner):
            return at(value, [self._active[i].index for i in inner])
        return opaque("full")(value, *map(sp.Integer, own)) if own and not rank else value

    def _closed(self, value: Expr, axes: Sequence[Axis]) -> Expr:
        """The array over the axes; of elements in their places it is the array that they are of."""
        indices = tuple(axis.index for axis in axes)
        if axes and function_name(value) == "at" and value.args[1:] == indices:
            sizes = self.shapes.of(value.args[0])[: len(axes)]
            if sizes == tuple(axis.high + 1 for axis in axes) and not any(axis.low for axis in axes):
                return value.args[0]
        return each(value, axes)

    @contextmanager
    def _anew(self) -> Generator[None]:
        """For what is read as a whole, wherever it is asked for."""
        outer, self._active = self._active, {}
        try:
            yield
        finally:
            self._active = outer

    @contextmanager
    def _counting(self, indices: Sequence[Index]) -> Generator[tuple[Axis, ...]]:
        for index in indices:
            taken = [axis.index for axis in self._active.values()]
            self._active[index] = Axis(index_symbol(index.name, taken), index.low, index.high)
        try:
            yield tuple(self._active[index] for index in indices)
        finally:
            for index in indices:
                del self._active[index]

    # ------------------------------------------------------------ elements

    def index(self, found: Index) -> Symbol:
        return self._active[found].index

    def read(
        self, array: Expr, variable: Variable, scope: Scope, subscripts: Sequence[syntax.Expr | None] = ()
    ) -> Expr:
        """What a path means: of a quantity of the part that the reader is in, that of this part."""
        inside = [self._active[i].index for i in scope.axes[: shared(scope, variable.scope)]]
        return at(array, [*inside, *(ALL if s is None else self.subscript(s, scope) for s in subscripts)])

    def path(self, expr: syntax.Expr, scope: Scope) -> tuple[Variable, Sequence[syntax.Expr | None]] | None:
        """The variable that a path names, and the subscripts on the way."""
        found = located(expr, scope)
        if found is None or not isinstance(found.binding, Variable):
            return None
        return found.binding, found.subscripts

    def subscript(self, expr: syntax.Expr, scope: Scope) -> Expr:
        """A subscript as `at` has it."""
        match subscript(expr, scope):
            case Constant(value):
                return sp.Integer(value)
            case Offset(index, value):
                return self._active[index].index + value
            case Slice(low, high):
                return between(low, high)
            case Table(_, inner, inner_scope):
                return self._wrapped(inner, inner_scope) or opaque("table")(self._translator.expr(inner, inner_scope))

    def _wrapped(self, expr: syntax.Expr, scope: Scope) -> Expr | None:
        """`mod(i + c, n)`, which goes round."""
        match expr:
            case syntax.Call(syntax.Name("mod"), (first, second)) if scope.find("mod") is None:
                found = subscript(first.value, scope)
                try:
                    around = constant(Scoped(second.value, scope))
                except (NotConstant, BadConstant):
                    return None
                if isinstance(found, Offset) and around == int(around) and around > 0:
                    return opaque("wrapped")(self._active[found.index].index + found.constant, sp.Integer(int(around)))
            case _:
                pass
        return None

    # ------------------------------------------------------------ reductions and pieces

    def reduction(self, name: str, expr: syntax.Comprehension, scope: Scope) -> Expr:
        """`sum(e for j in 0..n-1)` and its like."""
        with self._counting(indices_of(scope, expr.indices)) as axes:
            return over(name, self._translator.expr(expr.value, index_scope(scope, expr.indices)), axes)

    def pieces(self, expr: syntax.Pieces, scope: Scope, unit: Unit | None) -> Expr:
        """An array that is given piece by piece."""
        found = [self._piece(p, scope, unit, None) for p in expr.pieces]
        return self._gathered(found, [p.value for p in found])

    def sides(self, equation: Equation) -> tuple[Expr, Expr]:
        """Both sides of an equation; of one in pieces, solved for the elements of its unknown where it is linear."""
        left, right = equation.left, equation.right
        if not isinstance(right.expr, syntax.Pieces):
            return self._translator.scoped(left), self._translator.scoped(right)
        with self._anew(), self._counting(left.scope.axes) as axes:
            unknown = self._translator.expr(left.expr, left.scope)
            found = [self._piece(p, right.scope, None, unknown) for p in right.expr.pieces]
            solved = [_solved(p, unknown) for p in found]
            if None not in solved:
                return self._closed(unknown, axes), self._closed(
                    self._gathered(found, [s for s in solved if s is not None]), axes
                )
            sides = [self._gathered(found, values) for values in ([p.left for p in found], [p.value for p in found])]
            return each(sides[0], axes), each(sides[1], axes)

    def _gathered(self, found: Sequence[_Piece], values: Sequence[Expr]) -> Expr:
        """The array of the pieces; a single one is the array."""
        if len(found) == 1 and not any(isinstance(p, int) for p in found[0].place):
            return self._closed(values[0], found[0].axes)
        return pieces([p.place for p in found], [each(v, p.axes) for p, v in zip(found, values, strict=True)])

    def _piece(self, piece: syntax.Piece, scope: Scope, unit: Unit | None, unknown: Expr | None) -> _Piece:
        where = located(piece.target, index_scope(scope, piece.indices))
        assert where is not None and isinstance(where.binding, Variable)
        inner, variable = index_scope(scope, piece.indices), where.binding
        with self._counting(indices_of(scope, piece.indices)) as axes:
            subscripts = [ALL if s is None else self.subscript(s, inner) for s in where.subscripts]
            sizes = variable.shape[shared(scope, variable.scope) :]
            place, order = _place(subscripts, sizes, axes, piece)
            value = self._translator.local(Scoped(piece.value, inner, unit))
            own = self.shapes.of(at(opaque("zeros")(*map(sp.Integer, sizes)), subscripts))
            if own and not self.shapes.of(value):
                value = opaque("full")(value, *map(sp.Integer, own))
            if unknown is None:
                return _Piece(place, order, value, value, value)
            return _Piece(place, order, at(unknown, subscripts), self._translator.expr(piece.left, inner), value)


def _place(
    subscripts: Sequence[Expr], sizes: Sequence[int], axes: Sequence[Axis], piece: syntax.Piece
) -> tuple[Place, tuple[Axis, ...]]:
    """Where a piece is, and its indices in the order of the axes of the array."""
    place: list[tuple[int, int] | int] = []
    order: list[Axis] = []
    known = {axis.index: axis for axis in axes}
    sliced = False
    for s, size in zip(subscripts, sizes, strict=False):
        found = offset(s)
        axis = known.get(found[0]) if found is not None else None
        if s.is_Integer:
            place.append(int(s))
        elif found is not None and axis is not None and axis not in order and not sliced:
            order.append(axis)
            place.append((axis.low + found[1], axis.high + found[1] + 1))
        elif s == ALL or is_slice(s):
            sliced = True
            low, high = map(int, s.args) if s != ALL else (0, -1)
            place.append((low, high if high >= 0 else size))
        else:
            message = "on the left of an equation each index stands once, alone or with a constant, and before slices"
            raise CompileError([Diagnostic("not-supported", message, Label(piece.target.span, "is not that"))])
    place += [(0, size) for size in sizes[len(place) :]]
    return tuple(place), tuple(order)


def _solved(piece: _Piece, unknown: Expr) -> Expr | None:
    """What the elements equal, where they alone of the unknown stand in the piece, linearly."""
    if piece.left == piece.target:
        return piece.value
    element = symbol("the element")
    residual = (piece.left - piece.value).xreplace({piece.target: element})
    parts = linear_parts(residual, frozenset({element}))
    if parts is None or element not in parts[0] or residual.free_symbols & unknown.free_symbols - {element}:
        return None
    return -parts[1] / parts[0][element]
