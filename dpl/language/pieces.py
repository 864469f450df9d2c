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

from dpl.language import syntax, words
from dpl.language.assembly import Assembly, not_settable
from dpl.language.coverage import check_coverage
from dpl.language.diagnostics import Diagnostic, Label
from dpl.language.indices import Located, index_scope, located, primed, without_subscripts
from dpl.language.model import During, Equation, Index, Scope, Scoped, Variable
from dpl.language.rules import unknown_name
from dpl.language.source import Span

Role = Literal["equation", "next", "initial", "set"]
"""An equation of an unknown, of a sampled state's next value or of a start; or the wiring of an input"""


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

    @property
    def form(self) -> str:
        """How the text gives an element."""
        primed = "{}" + "'" * self.element.order
        return {"next": "next {}", "initial": f"initial({primed})"}.get(self.role, primed)


@dataclass
class Gathering(Assembly):
    """Statements about elements of arrays, gathered until all are read."""

    gathered: dict[object, Gathered] = field(default_factory=dict[object, Gathered])
    unclear: set[Variable] = field(default_factory=set[Variable])
    """Arrays of which some equation is wrong: what they lack is not said as well"""

    def undeclared(self, left: syntax.Expr, inner: Scope) -> bool:
        """Whether an equation of elements gives what nothing declares: that is said alone."""
        name = left
        while not isinstance(name, syntax.Name):
            match name:
                case syntax.Prime(operand):
                    name = operand
                case syntax.Index(held) | syntax.Member(held):
                    name = held
                case _:
                    return False
        known = inner.find(name.id) is not None or name.id in words.PREDECLARED
        if not known and not inner.is_broken(name.id):
            self.problems.append(unknown_name(name, inner))
        return not known

    @abstractmethod
    def advances(self, variable: Variable | None, statement: syntax.Next) -> bool:
        """Whether the variable is a state that `next` moves; reported if it is not."""

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
        initial = _initial(left)
        if sets and self.undeclared(initial or left, inner):
            return True
        if initial is not None:
            return self.element_start(scope, statement, initial, during)
        settable = ("input", "param", "state") if overrides else ("input", "param")
        alone = element(left, inner)
        outer = alone is not None and isinstance(without_subscripts(alone.target), syntax.Member)
        settable = settable if outer else ("input",)
        if alone is not None and alone.order == 0 and alone.variable.kind in settable:
            piece = syntax.Piece(alone.target, left, right, sets, span=statement.span)
            self.gather("set", alone, piece, scope, during, overrides=overrides)
            return True
        unknown = list({(e.variable, e.target): e for e in unknowns(left, inner)}.values())
        if len(unknown) == 1:
            piece = syntax.Piece(unknown[0].target, left, right, sets, span=statement.span)
            self.gather("equation", unknown[0], piece, scope, during)
            return True
        if alone is not None and outer and alone.variable.kind == "const":
            self.problems.append(not_settable(alone.variable, left.span))
            return True
        self.unclear.update(e.variable for e in unknown or [alone] if e is not None)
        if unknown:
            self.problems.append(two_unknowns(left, unknown, inner))
        elif sets or (alone is not None and alone.variable.kind == "state"):
            self.problems.append(no_unknown(left, alone, sets))
        return bool(unknown or sets) or (alone is not None and alone.variable.kind == "state")

    def element_start(
        self, scope: Scope, statement: syntax.Equation, inside: syntax.Expr, during: During | None
    ) -> bool:
        """Whether an `initial` equation is one of elements."""
        sets = statement.indices
        found = element(inside, index_scope(scope, sets))
        if found is None or found.variable.kind != "state":
            if sets:
                self.problems.append(no_unknown(inside, found, sets))
            return bool(sets)
        if during is not None:
            self.misplaced("a run starts once: `initial` stands outside the modes", statement.span)
        piece = syntax.Piece(found.target, inside, statement.right, sets, span=statement.span)
        self.gather("initial", found, piece, scope, None)
        return True

    def element_next(self, scope: Scope, statement: syntax.Next, during: During | None) -> bool:
        """Whether the next value is that of elements."""
        inner = index_scope(scope, statement.indices)
        if statement.indices and self.undeclared(statement.target, inner):
            return True
        found = element(statement.target, inner)
        if found is None:
            if statement.indices:
                self.problems.append(no_unknown(statement.target, None, statement.indices, "next {}"))
            return bool(statement.indices)
        if not self.advances(found.variable, statement):
            return True
        piece = syntax.Piece(
            statement.target, statement.target, statement.value, statement.indices, span=statement.span
        )
        self.gather("next", found, piece, scope, during)
        return True

    def check_orders(self) -> None:
        """All elements of a state are moved by derivatives of one order."""
        for found in self.gathered.values():
            others = [g for g in self.gathered.values() if g.element.variable is found.element.variable]
            highest = max((g for g in others if g.role == "equation"), key=lambda g: g.element.order, default=found)
            if found.role == "equation" and found.element.order < highest.element.order:
                self.unclear.add(found.element.variable)
                self.problems.append(two_orders(found, highest))

    def settle_pieces(self) -> None:
        """Each array that is given piece by piece gets its one equation."""
        self.check_orders()
        for found in self.gathered.values():
            variable, scope = found.element.variable, found.scope
            whole = without_subscripts(found.element.target)
            pieces = Scoped(syntax.Pieces(tuple(found.pieces), span=found.span), scope)
            twice = found.role == "set" and variable.wired is not None and not found.overrides
            if variable not in self.unclear and not twice:  # that is said alone
                check_coverage(found.pieces, variable, scope, found.form, self.problems)
            match found.role:
                case "set":
                    unit = variable.unit if variable.kind in ("param", "state") else None
                    value = Scoped(pieces.expr, scope, unit)
                    self.set(variable, value, found.span, overrides=found.overrides)
                case "next":
                    left = Scoped(whole, scope)
                    equation = Equation("next", left, pieces, variable.clock, variable, found.during)
                    self.system.equations.append(equation)
                case "equation" | "initial":
                    left = Scoped(primed(whole, found.element.order), scope)
                    clock = scope.clock if found.role == "equation" else None
                    self.system.equations.append(Equation(found.role, left, pieces, clock, None, found.during))


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


def _initial(left: syntax.Expr) -> syntax.Expr | None:
    """What stands in `initial(…)`."""
    match left:
        case syntax.Call(syntax.Name("initial"), (argument,)):
            return argument.value
        case _:
            return None


# ---------------------------------------------------------------- what is said


def two_unknowns(left: syntax.Expr, found: list[Element], scope: Scope) -> Diagnostic:
    names = list(dict.fromkeys(_named(each) for each in found))
    middle = next((e for e in found if all(_is_index(s, scope) for s in e.found.subscripts)), found[0])
    return Diagnostic(
        "two-unknowns",
        f"the left side holds {len(names)} unknown elements, {', '.join(names[:-1])} and {names[-1]}, and gives one",
        Label(left.span, "is not clear about which"),
        help=f"write {_named(middle)} alone on the left, and the others on the right",
    )


def _named(each: Element) -> str:
    return "`" + each.target.span.text + "'" * each.order + "`"


def _is_index(subscript: syntax.Expr | None, scope: Scope) -> bool:
    return isinstance(subscript, syntax.Name) and isinstance(scope.find(subscript.id), Index)


def two_orders(found: Gathered, highest: Gathered) -> Diagnostic:
    name, rate = found.element.target.span.text, "'" * highest.element.order
    label = Label(found.pieces[0].left.span, "gives a lower derivative")
    related = (Label(highest.pieces[0].left.span, "gives the highest"),)
    message = f"the elements of `{found.element.variable.path}` are moved by derivatives of one order"
    return Diagnostic("two-orders", message, label, related, f"write `{name}{rate} = …` here as well")


def no_unknown(
    left: syntax.Expr, alone: Element | None, sets: tuple[syntax.IndexSet, ...], form: str = "{}'"
) -> Diagnostic:
    """An equation of elements whose left side gives none."""
    variable = alone.variable if alone is not None else None
    name = alone.target.span.text if alone is not None else left.span.text
    index = ", ".join(s.name for s in sets)
    message = f"the left side of an equation `for` each `{index}` holds no unknown element that it gives"
    whole = left.span.text.rstrip("'") if isinstance(left, syntax.Prime | syntax.Name) else "x"
    help_text = f"write the element alone on the left: `{form.format(f'{whole}[{index}]')} = …`"
    if variable is not None and variable.kind == "state" and variable.clock is None:
        message = f"`{name}` is an element of a state: an equation gives its derivative"
        help_text = f"write `{name}' = …`; one that stays as it starts has `{name}' = 0`"
    elif variable is not None and variable.kind == "state":
        message = f"`{name}` is an element of a sampled state, which advances in steps"
        help_text = f"write `next {name} = …`"
    elif variable is not None and variable.value is not None:
        message = f"`{variable.path}` has its value already"
        help_text = None
    related = (Label(variable.span, "declared here"),) if variable is not None else ()
    return Diagnostic("no-unknown-element", message, Label(left.span, "stands on the left"), related, help_text)
