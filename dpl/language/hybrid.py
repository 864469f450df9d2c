"""Modes as a whole: which are reached, what has a value in each, what must be set on the way into one.

Works on the AST alone. What single events say is checked by `happenings.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dpl.language import syntax
from dpl.language.balance import Structure
from dpl.language.depend import reads
from dpl.language.diagnostics import Diagnostic, Label
from dpl.language.model import Automaton, During, Event, Scope, Scoped, System, Variable, named
from dpl.language.source import Span


def check_modes(system: System, problems: list[Diagnostic]) -> None:
    """Every mode is reached, every name read where it has a value, every state set before a mode moves it."""
    for automaton in system.automata:
        reached = _reached(automaton, system)
        for mode, span in zip(automaton.modes, automaton.spans, strict=True):
            if mode not in reached:
                problems.append(unreachable(automaton, mode, span))
    for reader in _readers(system):
        problems += reader.problems()
    _entries(system, problems)


# ---------------------------------------------------------------- ways between modes


@dataclass(frozen=True)
class _Way:
    """An event that leads from one mode of an automaton into another."""

    event: Event
    source: str
    target: str


def _ways(automaton: Automaton, system: System) -> list[_Way]:
    found: list[_Way] = []
    for event in system.events:
        if event.go is not None and event.go[0] is automaton:
            inside = event.during is not None and event.during.automaton is automaton
            sources = event.during.modes if inside and event.during else automaton.modes
            found += [_Way(event, mode, event.go[1]) for mode in automaton.modes if mode in sources]
    return found


def _reached(automaton: Automaton, system: System) -> set[str]:
    """The modes that a run may come to."""
    ways = _ways(automaton, system)
    reached = {automaton.modes[0]}
    waiting = [automaton.modes[0]]
    while waiting:
        mode = waiting.pop()
        for target in (w.target for w in ways if w.source == mode):
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    return reached


def unreachable(automaton: Automaton, mode: str, span: Span) -> Diagnostic:
    first = automaton.modes[0]
    return Diagnostic(
        "unreachable-mode",
        f"no event leads to mode `{mode}`",
        Label(span, "is never reached"),
        (Label(automaton.spans[0], f"it begins in `{first}`, the mode that is named first"),),
        f"write `go {mode}` in the actions of an event",
    )


# ---------------------------------------------------------------- what has a value where


@dataclass(frozen=True)
class _Reader:
    """Text that is read during some modes; `start`: when the run begins."""

    value: Scoped
    during: During | None
    start: bool = False

    def problems(self) -> Iterator[Diagnostic]:
        told: set[Variable] = set()
        for read in reads(self.value):
            variable = read.what
            if isinstance(variable, Variable) and variable.during is not None and variable not in told:
                told.add(variable)
                missing = [m for m in self.modes(variable.during.automaton) if m not in variable.during.modes]
                if missing:
                    yield not_in_mode(variable, variable.during, missing, self)

    def modes(self, automaton: Automaton) -> tuple[str, ...]:
        """The modes in which it is read."""
        if self.start:
            return automaton.modes[:1]
        inside = self.during is not None and self.during.automaton is automaton
        return tuple(m for m in automaton.modes if not inside or (self.during and m in self.during.modes))


def _readers(system: System) -> Iterator[_Reader]:
    for variable in system.variables:
        if variable.kind == "state" and variable.value is not None:
            yield _Reader(variable.value, None, start=True)
    for equation in system.equations:
        if equation.kind != "definition":
            yield _Reader(equation.left, equation.during, equation.kind == "initial")
        yield _Reader(equation.right, equation.during, equation.kind == "initial")
    for event in system.events:
        for value in (event.condition, event.every, event.start, event.until, event.at):
            if value is not None:
                yield _Reader(value, event.during)
        for assignment in event.assignments:
            yield _Reader(assignment.value, event.during)
    for lagrangian in system.lagrangians:
        yield _Reader(lagrangian.value, lagrangian.during)
    for applied in system.applied:
        yield _Reader(applied.value, applied.during)
    for constraint in system.constraints:
        yield _Reader(constraint.left, constraint.during)
        yield _Reader(constraint.right, constraint.during)
    for measure in system.measures:
        yield _Reader(Scoped(measure.item.value, measure.scope), None)


def not_in_mode(variable: Variable, during: During, missing: list[str], reader: _Reader) -> Diagnostic:
    modes = [f"`{m}`" for m in during.automaton.modes if m in during.modes]
    name = variable.declaration.name
    where = ", ".join(f"`{m}`" for m in missing)
    keep = "assign it to a state, which keeps it, in an event of its modes"
    declare = f"declare `{name}` in {where} too, or {keep}"
    return Diagnostic(
        "not-in-mode",
        f"`{variable.path}` has a value in mode {' and '.join(modes)} only",
        Label(_place(reader.value.expr, reader.value.scope, variable), f"read in mode {where} as well"),
        (Label(variable.span, "declared for those modes"),),
        declare if variable.energy is None else keep,
    )


def _place(expr: syntax.Expr, scope: Scope, variable: Variable) -> Span:
    """Where an expression names the variable."""
    waiting = [expr]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, syntax.Name | syntax.Member) and named(node, scope) is variable:
            return node.span
        waiting += syntax.children(node)
    return expr.span


# ---------------------------------------------------------------- states without a start


def _entries(system: System, problems: list[Diagnostic]) -> None:
    """A state without a start is set on every way into a mode that moves it, unless it has a value by then."""
    open_ = [v for v in system.variables if v.kind == "state" and v.clock is None and v.value is None]
    if not system.automata or not open_:
        return
    structure = Structure(system)
    beginning = structure.configurations[0]
    for variable in open_:
        if variable in beginning.moved or variable not in structure.moved:
            continue
        for automaton in system.automata:
            moving = {s.system.configuration[automaton] for s in structure.configurations if variable in s.moved}
            if automaton.modes[0] not in moving:
                problems += _unset(variable, automaton, moving, system)
                break


def _unset(variable: Variable, automaton: Automaton, moving: set[str], system: System) -> Iterator[Diagnostic]:
    reached = _reached(automaton, system)
    ways = [w for w in _ways(automaton, system) if w.source in reached]
    unset = {automaton.modes[0]}  # where it may have no value yet; a mode that moves it is blamed on its entry alone
    while True:
        bare = {w.target for w in ways if w.source in unset and not _sets(w.event, variable)} - moving - unset
        if not bare:
            break
        unset |= bare
    told: set[Event] = set()
    for way in ways:
        lacks = way.source in unset and not _sets(way.event, variable)
        if way.target in moving and lacks and way.event not in told:
            told.add(way.event)
            yield missing_entry(variable, way.event, way.target)


def _sets(event: Event, variable: Variable) -> bool:
    return any(a.target is variable and a.order == 0 for a in event.assignments)


def missing_entry(variable: Variable, event: Event, mode: str) -> Diagnostic:
    name = variable.declaration.name
    actions = event.item.actions if event.item else ()
    span = next((a.span for a in actions if isinstance(a, syntax.Go)), event.span)
    return Diagnostic(
        "missing-entry",
        f"mode `{mode}` moves `{variable.path}`, which has no value when this event leads there",
        Label(span, f"leaves `{name}` unset"),
        (Label(variable.span, "declared without a start"),),
        f"write `{name} := …` beside `go {mode}`, or give it a start: `state {name} = …`",
    )
