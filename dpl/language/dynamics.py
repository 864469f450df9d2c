"""Modes, events and the Lagrangian form of blocks, as they are elaborated.

What a block says of them becomes data of the system: automata, events with their actions, Lagrangians, constraints.
Whether it makes sense as a whole is asked later, by `hybrid.py` and `mechanics.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from dpl.language import syntax
from dpl.language.constants import literal
from dpl.language.coverage import completed
from dpl.language.diagnostics import Diagnostic, Label, did_you_mean, with_article
from dpl.language.indices import located
from dpl.language.model import (
    Applied,
    Assignment,
    Automaton,
    Binding,
    Constraint,
    During,
    Equation,
    Event,
    Lagrangian,
    Scope,
    Scoped,
    System,
    Variable,
    named,
)
from dpl.language.modes import overlap, union
from dpl.language.resolve import Namespace, duplicate_name
from dpl.language.rules import unknown_name
from dpl.language.source import Span
from dpl.language.units import Unit, read_unit

Branch = tuple[syntax.Declaration, During | None]
"""One of the declarations of a `let`, and the modes that it is for"""


@dataclass
class Dynamics(ABC):
    """What happens within blocks, beyond equations."""

    item: syntax.Scenario | syntax.Model
    problems: list[Diagnostic]
    system: System = field(init=False)
    automata: dict[Scope, Automaton] = field(default_factory=dict[Scope, Automaton])
    branches: dict[Variable, list[Branch]] = field(default_factory=dict[Variable, "list[Branch]"])
    finished: list[Scope] = field(default_factory=list[Scope])
    """Blocks, parts before the block that makes them"""

    @abstractmethod
    def declare(self, scope: Scope, body: list[syntax.Statement], space: Namespace, during: During | None) -> None:
        """Give every declared name of a block its meaning; keep the other statements for later."""

    @abstractmethod
    def bind(self, scope: Scope, name: str, span: Span, binding: Binding | Scope) -> None: ...

    @abstractmethod
    def variable(self, item: syntax.Declaration, scope: Scope) -> Variable: ...

    def misplaced(self, message: str, span: Span, help: str | None = None) -> None:
        self.problems.append(Diagnostic("misplaced", message, Label(span, "stands here"), help=help))

    # ------------------------------------------------------------ modes

    def mode(self, item: syntax.Mode, scope: Scope, space: Namespace, outer: During | None) -> None:
        """A block of modes: what it declares belongs to the block, what it says rules in these modes."""
        if outer is not None:
            way_out = "name every mode in the block that holds them: `mode a, b { … }`"
            self.misplaced("a mode has no modes of its own", item.name_spans[0], way_out)
            return
        automaton = self.automata.get(scope)
        if automaton is None:
            automaton = self.automata[scope] = Automaton(scope.path, scope)
            self.system.automata.append(automaton)
        for place, (name, span) in enumerate(zip(item.names, item.name_spans, strict=True)):
            if name in item.names[:place]:
                self.problems.append(duplicate_name(name, span, item.name_spans[item.names.index(name)]))
            elif name not in automaton.modes:
                automaton.modes += (name,)
                automaton.spans += (span,)
        self.declare(scope, list(item.body), space, During(automaton, frozenset(item.names)))

    def declared(self, item: syntax.Declaration, scope: Scope, during: During | None) -> None:
        """A declaration in a block or in one of its modes. Several modes may each have a `let` of one name."""
        if during is None or item.kind not in ("let", "output"):
            self.system.variables.append(self.variable(item, scope))
            return
        earlier = scope.names.get(item.name)
        if isinstance(earlier, Variable) and earlier.kind == item.kind and self.is_apart(earlier, during):
            self.branches[earlier].append((item, during))
            earlier.unit = self.unit_of_branches(earlier, item)
        else:
            variable = self.variable(item, scope)
            self.branches[variable] = [(item, during)]
            self.system.variables.append(variable)
            earlier = variable
        modes = (d.modes for _, d in self.branches[earlier] if d is not None)
        earlier.during = During(during.automaton, frozenset[str]().union(*modes))

    def is_apart(self, variable: Variable, during: During) -> bool:
        """Whether what declares the variable so far is for other modes."""
        return variable.during is not None and not (variable.during.modes & during.modes)

    def unit_of_branches(self, variable: Variable, item: syntax.Declaration) -> Unit | None:
        """The declared unit of a `let` of several modes, which must be of one dimension."""
        unit = read_unit(item.unit, self.problems) if item.unit else None
        if unit is not None and variable.unit is not None and unit.dimension != variable.unit.dimension:
            message = f"modes declare `{variable.path}` in different units"
            related = (Label(variable.span, f"is {variable.unit.dimension}"),)
            self.problems.append(
                Diagnostic("unit-mismatch", message, Label(item.name_span, f"is {unit.dimension}"), related)
            )
        return variable.unit or unit

    def several(self, variable: Variable) -> bool:
        """Whether several blocks of modes declare the variable, so that no one value is its own."""
        return len(self.branches.get(variable, ())) > 1

    def values_by_mode(self, variable: Variable) -> Iterable[Equation]:
        """What a `let` of several modes equals in each."""
        scope = variable.scope
        written = next((item.unit for item, _ in self.branches[variable] if item.unit), None)
        for item, during in self.branches[variable]:
            if item.value is not None:
                value = _in_unit(item.value, item.unit or written)
                left = Scoped(syntax.Name(item.name, span=item.name_span), scope)
                yield Equation("equation", left, Scoped(value, scope), variable.clock, variable, during)

    # ------------------------------------------------------------ events

    def event(self, item: syntax.When | syntax.Timed, scope: Scope, during: During | None) -> None:
        """An event, and its name if it has one; its actions are read once every name is known."""

        def scoped(expr: syntax.Expr | None) -> Scoped | None:
            return None if expr is None else Scoped(expr, scope)

        match item:
            case syntax.When(name, condition, at_once):
                path = scope.join(name) if name else self.path_of(condition.span)
                event = Event(path, scope, condition.span, during, scoped(condition), at_once)
                event.named = name is not None
                if name is not None:
                    self.bind(scope, name, item.name_span or item.span, event)
            case syntax.Timed(True, time, start, until):
                event = Event(self.path_of(time.span), scope, time.span, during, every=scoped(time))
                event.start, event.until = scoped(start), scoped(until)
            case syntax.Timed(_, time):
                event = Event(self.path_of(time.span), scope, time.span, during, at=scoped(time))
        event.item = item
        self.system.events.append(event)

    def path_of(self, span: Span) -> str:
        """Of an event without a name: its line, counted where several share it."""
        line = span.origin
        number = 1 + sum(e.path.partition("#")[0] == line for e in self.system.events)
        return line if number == 1 else f"{line}#{number}"

    def run_until(self, condition: syntax.Expr, scope: Scope) -> None:
        """What `run until` waits for: an event, or a condition that becomes one."""
        found = named(condition, scope)
        if isinstance(found, Event):
            found.stop = True
            return
        span = condition.span
        event = Event(self.path_of(span), scope, span, condition=Scoped(condition, scope), stop=True)
        self.system.events.append(event)

    def settle_events(self) -> None:
        """Read the actions of every event; parts come before the block that makes them."""
        order = {id(scope): place for place, scope in enumerate(self.finished)}
        self.system.events.sort(key=lambda e: order.get(id(e.scope), len(order)))
        for event in self.system.events:
            for action in event.item.actions if event.item else ():
                match action:
                    case syntax.Assign():
                        self.assign(action, event)
                    case syntax.Go():
                        self.go(action, event)
                    case syntax.Stop():
                        event.stop = True
            event.assignments = tuple(self.whole_assignment(a, event.scope) for a in event.assignments)

    def whole_assignment(self, found: Assignment, scope: Scope) -> Assignment:
        """One of elements as one of the array: the others stay as they are."""
        if not isinstance(found.value.expr, syntax.Pieces):
            return found
        pieces = completed(found.value.expr.pieces, found.target, found.order, scope, self.problems)
        return replace(found, value=Scoped(syntax.Pieces(pieces, span=found.span), scope))

    def assign_element(
        self, action: syntax.Assign, event: Event, path: syntax.Expr, target: Variable, order: int
    ) -> None:
        """`x[0] := 5`, gathered with what the event says of other elements."""
        piece = syntax.Piece(path, action.target, action.value, (), span=action.span)
        for place, other in enumerate(event.assignments):
            if other.target is target and other.order == order and isinstance(other.value.expr, syntax.Pieces):
                span = other.span.to(action.span)
                both = syntax.Pieces((*other.value.expr.pieces, piece), span=span)
                both = replace(other, value=Scoped(both, event.scope), span=span)
                event.assignments = (*event.assignments[:place], both, *event.assignments[place + 1 :])
                return
        pieces = syntax.Pieces((piece,), span=action.span)
        event.assignments += (Assignment(target, order, Scoped(pieces, event.scope), action.span),)

    def assign(self, action: syntax.Assign, event: Event) -> None:
        order, expr = 0, action.target
        while isinstance(expr, syntax.Prime):
            order, expr = order + 1, expr.operand
        found = located(expr, event.scope)
        target = named(expr, event.scope) if found is None or not found.subscripts else found.binding
        if target is None and isinstance(expr, syntax.Name) and event.scope.is_broken(expr.id):
            return
        if target is None and isinstance(expr, syntax.Name):
            self.problems.append(unknown_name(expr, event.scope))
        elif not isinstance(target, Variable) or target.kind != "state":
            self.problems.append(not_assignable(target, action))
        else:
            earlier = [a for a in event.assignments if a.target is target and a.order == order]
            element = found is not None and bool(found.subscripts)
            if element and all(isinstance(a.value.expr, syntax.Pieces) for a in earlier):
                self.assign_element(action, event, expr, target, order)
                return
            if earlier:
                name = action.target.span.text
                message = f"this event assigns `{name}` twice"
                related = (Label(earlier[0].span, "first assigned here"),)
                label = Label(action.span, "assigned again here")
                self.problems.append(Diagnostic("assigned-twice", message, label, related))
                return
            event.assignments += (Assignment(target, order, Scoped(action.value, event.scope), action.span),)

    def go(self, action: syntax.Go, event: Event) -> None:
        automaton = self.automata.get(event.scope)
        label = Label(action.span, "goes there")
        if automaton is None:
            message = f"there is no mode `{action.mode}`: this block has no modes"
            way_out = f"declare it, `mode {action.mode} {{ … }}`; an event goes to modes of its own block"
            self.problems.append(Diagnostic("unknown-mode", message, label, help=way_out))
        elif action.mode not in automaton.modes:
            close = did_you_mean(action.mode, automaton.modes) or f"there are {', '.join(automaton.modes)}"
            related = (Label(automaton.spans[0], "the modes begin here"),)
            message = f"there is no mode `{action.mode}`"
            self.problems.append(Diagnostic("unknown-mode", message, label, related, close))
        elif event.go is not None:
            first = next(a for a in event.item.actions if isinstance(a, syntax.Go)) if event.item else action
            message = "an event goes to one mode"
            related = (Label(first.span, "goes here first"),)
            self.problems.append(Diagnostic("two-modes", message, Label(action.span, "goes here too"), related))
        else:
            event.go = (automaton, action.mode)

    # ------------------------------------------------------------ the Lagrangian form

    def lagrangian(self, item: syntax.Lagrangian, scope: Scope, during: During | None) -> None:
        if scope.clock is not None:
            way_out = "leave out the clock: a Lagrangian moves states in continuous time"
            self.misplaced("a sampled block has no Lagrangian: its states advance by `next`", item.span, way_out)
            return
        found = Lagrangian(Scoped(item.value, scope), scope, item.span, during)
        for other in self.system.lagrangians:
            if other.scope is scope and overlap(other.during, during):
                message = "two Lagrangians rule at one time"
                related = (Label(other.span, "the other"),)
                way_out = "write their sum as one, or put each into a mode of its own"
                label = Label(item.span, "rules where another does")
                self.problems.append(Diagnostic("two-lagrangians", message, label, related, way_out))
                return
        self.system.lagrangians.append(found)

    def energies(self) -> None:
        """Each block with a Lagrangian has its energy, unless it declares one itself."""
        for lagrangian in self.system.lagrangians:
            scope = lagrangian.scope
            known = scope.names.get("energy")
            if known is None:
                item = syntax.Declaration("let", "energy", lagrangian.span, span=lagrangian.span)
                variable = Variable(scope.join("energy"), "let", item, scope, None, energy=lagrangian)
                variable.during = lagrangian.during
                scope.names["energy"] = variable
                self.system.variables.append(variable)
            elif isinstance(known, Variable) and known.energy is not None:
                known.during = union(known.during, lagrangian.during)

    def constraint(self, item: syntax.Constraint, scope: Scope, during: During | None) -> None:
        """A constraint; its name holds the force that keeps it."""
        numbers = (f"constraint{n or ''}" for n in range(len(self.system.constraints) + len(scope.names) + 1))
        taken = {c.force.scope.path for c in self.system.constraints}
        name = item.name or next(n for n in numbers if n not in scope.names and scope.join(n) not in taken)
        span = item.name_span or item.span
        inner = Scope(scope.join(name), item, scope.file, scope.clock, span)
        declaration = syntax.Declaration("let", "force", span, span=span)
        force = Variable(inner.join("force"), "let", declaration, inner, None)
        inner.names["force"] = force
        if item.name is not None:
            self.bind(scope, name, span, inner)
        self.system.variables.append(force)
        left, right = Scoped(item.left, scope), Scoped(item.right, scope)
        self.system.constraints.append(Constraint(left, right, force, scope, item.span, during))

    def applied(self, item: syntax.Applied, scope: Scope, during: During | None) -> None:
        target = named(item.target, scope)
        if target is None and isinstance(item.target, syntax.Name):
            if not scope.is_broken(item.target.id):
                self.problems.append(unknown_name(item.target, scope))
        elif not isinstance(target, Variable) or target.kind != "state":
            message = f"`{item.target.span.text}` is no state: a generalised force acts on a coordinate"
            related = (Label(target.span, "declared here"),) if isinstance(target, Variable) else ()
            self.problems.append(
                Diagnostic("not-a-coordinate", message, Label(item.target.span, "acts on it"), related)
            )
        else:
            self.system.applied.append(Applied(target, Scoped(item.value, scope), item.span, during))

    def check_mechanics(self) -> None:
        """What refers to a Lagrangian stands beside one."""
        blocks = {lagrangian.scope for lagrangian in self.system.lagrangians}
        for constraint in self.system.constraints:
            if constraint.scope not in blocks:
                self.problems.append(without_lagrangian("a constraint", constraint.span))
        for applied in self.system.applied:
            if applied.value.scope not in blocks:
                self.problems.append(without_lagrangian("an applied force", applied.span))


def _in_unit(value: syntax.Expr, unit: syntax.Unit | None) -> syntax.Expr:
    """A bare literal with the declared unit written to it."""
    match value:
        case syntax.Number(_, None):
            return replace(value, unit=unit)
        case syntax.Unary("-", operand) if literal(value) is not None:
            return replace(value, operand=_in_unit(operand, unit))
        case syntax.List(_, None):
            return replace(value, unit=unit)
        case _:
            return value


def not_assignable(target: Binding | Scope | None, action: syntax.Assign) -> Diagnostic:
    name = action.target.span.text
    label = Label(action.target.span, "assigned here")
    if not isinstance(target, Variable):
        message = f"`{name}` is no state: an event assigns states of its block and of its parts"
        return Diagnostic("not-assignable", message, label)
    way_out = {
        "param": f"declare it `state {target.declaration.name}`: it stays as it is between events",
        "const": f"declare it `state {target.declaration.name}`: it stays as it is between events",
        "given": "it is one number per run: start a state from it, and assign that",
        "input": "it is wired from outside: assign a state, and wire the input to that",
    }
    message = f"`{target.path}` is {with_article(target.word)}: events assign states only"
    related = (Label(target.span, "declared here"),)
    help_text = way_out.get(target.kind, "it follows from its equation: declare it `state` if events move it")
    return Diagnostic("not-assignable", message, label, related, help_text)


def without_lagrangian(what: str, span: Span) -> Diagnostic:
    message = f"{what} belongs beside a `lagrangian`, and this block has none"
    return Diagnostic("without-lagrangian", message, Label(span, "stands here"), help="write `lagrangian T - V`")
