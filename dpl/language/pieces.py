"""Arrays that a text gives piece by piece: `T[0]' = 0`, `T[i]' = … for i in 1..n-1`.

The equations whose left sides are elements of one array become one equation of the whole array, whose right side is
its `Pieces`. Together they cover the array, each element once: decided by the boxes that they cover, not element by
element.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from dpl.language import syntax
from dpl.language.assembly import Assembly
from dpl.language.indices import Located, index_scope, located, without_subscripts
from dpl.language.model import During, Equation, Scope, Scoped, Variable
from dpl.language.source import Span

Role = Literal["equation", "next", "set"]
"""An equation of an unknown, the next value of a sampled state, or the wiring of an input"""


@dataclass(frozen=True)
class Element:
    """An element of an array on the left of an equation, with its primes."""

    target: syntax.Expr
    found: Located
    variable: Variable
    order: int


@dataclass(eq=False)
class Gathered:
    """The pieces of one array in one block and, where modes rule, in one of them."""

    role: Role
    element: Element
    scope: Scope
    during: During | None
    overrides: bool
    pieces: list[syntax.Piece] = field(default_factory=list[syntax.Piece])

    @property
    def span(self) -> Span:
        return self.pieces[0].span


@dataclass
class Gathering(Assembly):
    """Statements about elements of arrays, gathered until all are read."""

    gathered: dict[object, Gathered] = field(default_factory=dict[object, Gathered])

    @abstractmethod
    def equation(
        self,
        scope: Scope,
        left: syntax.Expr,
        right: syntax.Expr,
        statement: syntax.Equation,
        during: During | None,
        *,
        overrides: bool,
    ) -> None:
        """An equation of whole quantities."""

    def gather(
        self,
        role: Role,
        element: Element,
        piece: syntax.Piece,
        scope: Scope,
        during: During | None,
        *,
        overrides: bool = False,
    ) -> None:
        modes = (during.automaton, during.modes) if during else None
        key = (role, element.variable, element.order, scope, modes)
        found = self.gathered.setdefault(key, Gathered(role, element, scope, during, overrides))
        found.pieces.append(piece)

    def element_equation(
        self, scope: Scope, statement: syntax.Equation, during: During | None, *, overrides: bool
    ) -> bool:
        """Whether the equation is one of elements; it is gathered then, or reported."""
        left, right, sets = statement.left, statement.right, statement.indices
        inner = index_scope(scope, sets)
        settable = ("input", "param", "state") if overrides else ("input", "param")
        alone = element(left, inner)
        outer = alone is not None and isinstance(without_subscripts(alone.target), syntax.Member)
        settable = settable if outer else ("input",)
        if alone is not None and alone.order == 0 and alone.variable.kind in settable:
            piece = syntax.Piece(alone.target, left, right, sets, span=statement.span)
            self.gather("set", alone, piece, scope, during, overrides=overrides)
            return True
        unknown = list(unknowns(left, inner))
        if not unknown:
            return False
        piece = syntax.Piece(unknown[0].target, left, right, sets, span=statement.span)
        self.gather("equation", unknown[0], piece, scope, during)
        return True

    def element_next(self, scope: Scope, statement: syntax.Next, during: During | None) -> bool:
        """Whether the next value is that of elements."""
        inner = index_scope(scope, statement.indices)
        found = element(statement.target, inner)
        if found is None:
            return False
        piece = syntax.Piece(
            statement.target, statement.target, statement.value, statement.indices, span=statement.span
        )
        self.gather("next", found, piece, scope, during)
        return True

    def settle_pieces(self) -> None:
        """Each array that is given piece by piece gets its one equation."""
        for found in self.gathered.values():
            variable, scope = found.element.variable, found.scope
            whole = without_subscripts(found.element.target)
            pieces = Scoped(syntax.Pieces(tuple(found.pieces), span=found.span), scope)
            match found.role:
                case "set":
                    unit = variable.unit if variable.kind in ("param", "state") else None
                    value = Scoped(pieces.expr, scope, unit)
                    self.set(variable, value, found.span, overrides=found.overrides)
                case "next":
                    left = Scoped(whole, scope)
                    equation = Equation("next", left, pieces, variable.clock, variable, found.during)
                    self.system.equations.append(equation)
                case "equation":
                    left = Scoped(primed(whole, found.element.order), scope)
                    self.system.equations.append(Equation("equation", left, pieces, scope.clock, None, found.during))


def declared_pieces(item: syntax.Declaration) -> syntax.Expr | None:
    """The value of a declaration; one with `for` is the piece that covers its array."""
    if item.value is None or not item.indices:
        return item.value
    name = syntax.Name(item.name, span=item.name_span)
    subscripts = tuple(syntax.Name(index.name, span=index.span) for index in item.indices)
    target = syntax.Index(name, subscripts, span=item.name_span)
    piece = syntax.Piece(target, target, item.value, item.indices, span=item.value.span)
    return syntax.Pieces((piece,), span=item.value.span)


def element(expr: syntax.Expr, scope: Scope) -> Element | None:
    """The element of an array that an expression is, with its primes."""
    order = 0
    while isinstance(expr, syntax.Prime):
        order, expr = order + 1, expr.operand
    found = located(expr, scope)
    if found is None or not found.subscripts or not isinstance(found.binding, Variable):
        return None
    return Element(expr, found, found.binding, order)


def elements(expr: syntax.Expr, scope: Scope) -> Iterator[Element]:
    """The elements that an expression names, each with its primes."""
    found = element(expr, scope)
    if found is not None:
        yield found
        return
    for child in syntax.children(expr):
        yield from elements(child, scope)


def unknowns(expr: syntax.Expr, scope: Scope) -> Iterator[Element]:
    """Those of the elements that an equation may determine; of a state only its highest derivative there."""
    found = list(elements(expr, scope))
    for each in found:
        variable = each.variable
        highest = max(e.order for e in found if e.variable is variable)
        moved = variable.kind == "state" and variable.clock is None and 0 < each.order == highest
        if moved or (variable.kind in ("let", "output") and variable.value is None and not variable.noise):
            yield each


def primed(expr: syntax.Expr, order: int) -> syntax.Expr:
    for _ in range(order):
        expr = syntax.Prime(expr, span=expr.span)
    return expr
