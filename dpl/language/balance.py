"""Equations and unknowns: whether there are as many of one as of the other, and each finds its partner.

Works on the AST alone, so that `dpl check` needs no algebra.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from dpl.language import modes, syntax
from dpl.language.depend import Read, reads
from dpl.language.diagnostics import Diagnostic, Label
from dpl.language.graph import components, cycle, match
from dpl.language.model import Equation, Lagrangian, Scoped, System, Variable
from dpl.language.modes import Configuration, configurations, configured, overlap, rules

MOST_PRIMES = 20

Unknown = tuple[Variable, int]
"""A variable, or its derivative of that order."""


@dataclass
class Structure:
    """The unknowns of a system and the equations that determine them.

    Of a system with modes, `within` gives the structure in one configuration; that of the whole holds the equations of
    all modes, and its `matching` only one of the equations that determine an unknown: `givers` has them all.
    """

    system: System
    whole: Structure | None = None
    """Of a system in one of its configurations: the structure of the whole, whose orders hold here too"""

    def within(self, configuration: Configuration) -> Structure:
        """The structure in one configuration."""
        return Structure(configured(self.system, configuration), self)

    @cached_property
    def configurations(self) -> tuple[Structure, ...]:
        """The structure in each configuration, the one where a run begins first; itself where there are no modes."""
        if not self.modal:
            return (self,)
        return tuple(map(self.within, configurations(self.system)))

    @property
    def modal(self) -> bool:
        """Whether this is the whole of a system with modes."""
        return bool(self.system.automata) and not self.system.configuration

    @cached_property
    def orders(self) -> dict[Variable, int]:
        """The order of each continuous state: the highest derivative in any equation, at least 1; of a Lagrangian's 2.

        It is the same in all modes.
        """
        if self.whole is not None:
            return self.whole.orders
        found = {v: 1 for v in self.system.variables if v.kind == "state" and v.clock is None}
        for equation in self.equations:
            for variable, order in self.derivatives(equation):
                if variable in found:
                    found[variable] = max(found[variable], order)
        for lagrangian in self.system.lagrangians:
            found |= {q: max(found[q], 2) for q in lagrangian.coordinates}
        return found

    def derivatives(self, equation: Equation) -> set[Unknown]:
        """Every variable in an equation with its order, through the values of names: in `let v = x'`, `v'` is `x''`."""
        waiting = [(r.what, r.order) for r in (*reads(equation.left), *reads(equation.right))]
        seen: set[Unknown] = set()
        while waiting:
            what, order = waiting.pop()
            if isinstance(what, Variable) and (what, order) not in seen and order <= MOST_PRIMES:
                seen.add((what, order))
                if order:
                    waiting += [(r.what, r.order + order) for value in self.values(what) for r in reads(value)]
        return seen

    def values(self, variable: Variable) -> list[Scoped]:
        """What the text says that a name equals: one value, or one in each of the modes that declare it."""
        if variable.kind not in ("let", "output", "input"):
            return []
        return [variable.value] if variable.value is not None else self._by_mode.get(variable, [])

    @cached_property
    def _by_mode(self) -> dict[Variable, list[Scoped]]:
        found: dict[Variable, list[Scoped]] = {}
        for equation in self.equations:
            if equation.target is not None:
                found.setdefault(equation.target, []).append(equation.right)
        return found

    # ------------------------------------------------------------ unknowns

    @cached_property
    def unknowns(self) -> list[Unknown]:
        """What equations must determine: highest derivatives of what moves, and names without a value."""
        states = [(v, n) for v, n in self.orders.items() if v not in self.held]
        return [*states, *self.names, *((c.force, 0) for c in self.system.constraints)]

    @cached_property
    def names(self) -> list[Unknown]:
        """The `let`s and `output`s without a value that rule here, energies and forces of constraints aside."""
        kinds, configuration = ("let", "output"), self.system.configuration
        open_ = [v for v in self.system.variables if v.kind in kinds and v.value is None and v.energy is None]
        return [(v, 0) for v in open_ if not is_force(v) and (not configuration or rules(v.during, configuration))]

    @cached_property
    def held(self) -> tuple[Variable, ...]:
        """The continuous states that hold their values here: those that nothing moves, if events or modes may."""
        return tuple(v for v in self.orders if v not in self.moved) if self.system.hybrid else ()

    @cached_property
    def moved(self) -> frozenset[Variable]:
        """The continuous states that an equation or a Lagrangian moves, here or in any of the modes."""
        if self.modal:
            return frozenset[Variable]().union(*(s.moved for s in self.configurations))
        matched = (v for v, n in self.matching if self.orders.get(v) == n)
        return frozenset((*matched, *(q for found in self.coordinates.values() for q in found)))

    @cached_property
    def coordinates(self) -> dict[Lagrangian, tuple[Variable, ...]]:
        """The states that each Lagrangian moves: those of its coordinates that no equation does."""
        matching = {} if self.modal else self.matching
        return {
            lagrangian: tuple(q for q in lagrangian.coordinates if (q, self.orders[q]) not in matching)
            for lagrangian in self.system.lagrangians
        }

    @cached_property
    def idle(self) -> frozenset[Variable]:
        """The forces of constraints that do not rule here: they are 0."""
        ruling = {c.force for c in self.system.constraints}
        return frozenset(v for v in self.system.variables if is_force(v) and v not in ruling)

    # ------------------------------------------------------------ matching

    @cached_property
    def equations(self) -> list[Equation]:
        return [e for e in self.system.equations if e.kind == "equation"]

    @cached_property
    def matching(self) -> dict[Unknown, Equation]:
        if self.modal:
            return {unknown: equations[0] for unknown, equations in self.givers.items()}
        return match(self.equations, self.candidates)

    @cached_property
    def givers(self) -> dict[Unknown, list[Equation]]:
        """The equations that determine each unknown, in one mode or another."""
        found: dict[Unknown, dict[int, Equation]] = {}
        for structure in self.configurations:
            for unknown, equation in structure.matching.items():
                found.setdefault(unknown, {})[id(equation)] = equation
        return {unknown: list(equations.values()) for unknown, equations in found.items()}

    def candidates(self, equation: Equation) -> list[Unknown]:
        """The unknowns that an equation could determine; what stands alone on its left side comes first.

        Where states may be moved otherwise, or hold, names come before derivatives.
        """
        found = self.reach(equation.left) | self.reach(equation.right)
        alone = self.alone(equation)
        late = self.system.hybrid or bool(self.system.lagrangians)
        mine = sorted((u for u in found if u[0].clock == equation.clock), key=self._possible.__getitem__)
        return sorted(mine, key=lambda u: (u != alone, late and u[0] in self.orders))

    @cached_property
    def _possible(self) -> dict[Unknown, int]:
        return {u: i for i, u in enumerate(dict.fromkeys((*self.orders.items(), *self.names)))}

    def alone(self, equation: Equation) -> Unknown | None:
        order, expr = 0, equation.left.expr
        while isinstance(expr, syntax.Prime):
            order, expr = order + 1, expr.operand
        read = next(iter(reads(Scoped(expr, equation.left.scope))), None)
        if isinstance(expr, syntax.Name | syntax.Member) and read and isinstance(read.what, Variable):
            return (read.what, order)
        return None

    def reach(self, value: Scoped) -> frozenset[Unknown]:
        """The unknowns in an expression, through the values of the names it reads."""
        found: set[Unknown] = set()
        waiting = [(r.what, r.order) for r in reads(value)]
        seen: set[tuple[object, int]] = set()
        while waiting:
            what, order = waiting.pop()
            if (what, order) in seen or not isinstance(what, Variable):
                continue
            seen.add((what, order))
            if (what, order) in self._possible:
                found.add((what, order))
            else:
                waiting += [(r.what, r.order + order) for v in self.values(what) for r in reads(v)]
        return frozenset(found)


def is_force(variable: Variable) -> bool:
    """Whether the variable is the force of a constraint."""
    return isinstance(variable.scope.item, syntax.Constraint)


def check_balance(system: System, problems: list[Diagnostic]) -> None:
    """Every unknown has its equation, every state its start and its motion; no tick waits for itself."""
    structure = Structure(system)
    for configuration in structure.configurations:
        _complete(configuration, problems)
    _turned(structure, problems)
    _moved(structure, problems)
    _starts(structure, problems)
    _sampled(structure, problems)
    _static(structure, problems)


def _complete(structure: Structure, problems: list[Diagnostic]) -> None:
    """As many equations as unknowns, in one configuration."""
    matching = structure.matching
    mechanical = {q for found in structure.coordinates.values() for q in found}
    mechanical |= {c.force for c in structure.system.constraints}
    mode = modes.name(structure.system.configuration)
    for variable, order in structure.unknowns:
        if (variable, order) not in matching and variable not in mechanical:
            problems.append(_missing(variable, mode))
    used = {id(e) for e in matching.values()}
    for equation in structure.equations:
        if id(equation) not in used:
            problems.append(_surplus(structure, equation, mode))


def _turned(structure: Structure, problems: list[Diagnostic]) -> None:
    """No equation that moves a state in one mode gives a name in another, while that state holds."""
    orders = structure.orders
    moves = {id(e): v for s in structure.configurations for (v, _), e in s.matching.items() if v in orders}
    for here in structure.configurations:
        for (variable, _), equation in here.matching.items():
            if variable not in orders and moves.get(id(equation)) in here.held:
                problems.append(_forgotten(variable, moves[id(equation)], equation, here))


def _forgotten(variable: Variable, state: Variable, equation: Equation, here: Structure) -> Diagnostic:
    name, rate = variable.declaration.name, state.declaration.name + "'" * here.orders[state]
    mode = modes.name(here.system.configuration)
    return Diagnostic(
        "missing-equation",
        f"no equation determines `{variable.path}` in mode `{mode}`",
        Label(variable.span, "has no value and no equation there"),
        related=(Label(equation.left.span.to(equation.right.span), f"moves `{state.path}` in another mode"),),
        help=f"write `{name} = …` in that mode, or `{rate} = 0` if `{state.path}` holds there",
    )


def _moved(structure: Structure, problems: list[Diagnostic]) -> None:
    """With events and modes: every state is moved in some mode, or assigned."""
    assigned = {a.target for e in structure.system.events for a in e.assignments}
    for variable in structure.orders if structure.system.hybrid else ():
        if variable in structure.held and variable not in assigned:
            problems.append(_missing(variable, ""))


def _missing(variable: Variable, mode: str) -> Diagnostic:
    name = variable.declaration.name
    during = f" in mode `{mode}`" if mode else ""
    if variable.kind == "state" and variable.clock is not None:
        return Diagnostic(
            "missing-equation",
            f"nothing moves the state `{variable.path}`",
            Label(variable.span, "has no next value"),
            help=f"write `next {name} = …`",
        )
    if variable.kind == "state":
        return Diagnostic(
            "missing-equation",
            f"nothing moves the state `{variable.path}`",
            Label(variable.span, "has no equation"),
            help=f"write `{name}' = …`, or declare it `param` if it stays as it is",
        )
    return Diagnostic(
        "missing-equation",
        f"no equation determines `{variable.path}`{during}",
        Label(variable.span, f"has no value and no equation{' there' if mode else ''}"),
        help=f"write `{variable.kind} {name} = …`, or an equation that holds it",
    )


def _surplus(structure: Structure, equation: Equation, mode: str) -> Diagnostic:
    during = f" in mode `{mode}`" if mode else ""
    candidates = structure.candidates(equation)
    span = equation.left.span.to(equation.right.span)
    if not candidates:
        target = structure.alone(equation)
        known = target[0] if target else None
        help_text = None
        if known is not None and known.value is not None and known.kind in ("let", "output", "const"):
            help_text = f"`{known.path}` has its value already"
        elif known is not None and known.kind == "param":
            help_text = f"`{known.path}` is a param: write `param {known.declaration.name} = …` to give it its value"
        elif known is not None and known.kind == "state" and known.clock is not None:
            help_text = f"the state of a sampled block moves by `next {known.declaration.name} = …`"
        elif target is not None and known is not None and structure.orders.get(known, 0) > target[1]:
            highest = known.declaration.name + "'" * structure.orders[known]
            help_text = (
                f"elsewhere `{known.path}` is moved by its `{highest}`, and so it is here: write `{highest} = …`"
            )
        return Diagnostic(
            "surplus-equation",
            f"this equation holds no unknown that it could determine{during}",
            Label(span, "all that it names is known"),
            related=(Label(known.span, "declared here"),) if known else (),
            help=help_text or "unknowns are derivatives of states, and `let`s and `output`s without a value",
        )
    names = ", ".join(unknown_text(u) for u in candidates)
    others = [structure.matching[u] for u in candidates if u in structure.matching]
    return Diagnostic(
        "surplus-equation",
        f"one equation too many: {names} {'is' if len(candidates) == 1 else 'are'} determined already{during}",
        Label(span, "nothing is left for it to determine"),
        related=tuple(Label(o.left.span.to(o.right.span), "determined here") for o in others[:3]),
    )


def unknown_text(unknown: Unknown) -> str:
    return f"`{unknown[0].path}{chr(39) * unknown[1]}`"


def _starts(structure: Structure, problems: list[Diagnostic]) -> None:
    """Every state starts somewhere: at its value, or where the `initial` equations put it."""
    system, beginning = structure.system, structure.configurations[0]
    initial = [e for e in system.equations if e.kind == "initial"]
    free = [(v, 0) for v in system.variables if v.kind == "state" and v.value is None]
    lowered = [(v, k) for v, n in structure.orders.items() for k in range(1, n)]
    wanted: set[Unknown] = {*free, *lowered}

    def candidates(equation: Equation) -> list[Unknown]:
        found: dict[Unknown, None] = {}
        waiting = [*reads(equation.left), *reads(equation.right)]
        seen: set[Unknown] = set()
        while waiting:
            read = waiting.pop(0)
            key = (read.what, read.order)
            if not isinstance(read.what, Variable) or key in seen:
                continue
            seen.add((read.what, read.order))
            if (read.what, read.order) in wanted:
                found[read.what, read.order] = None
            deeper = beginning.matching.get((read.what, read.order))
            if deeper is not None:
                waiting += [*reads(deeper.left), *reads(deeper.right)]
            elif read.order == structure.orders.get(read.what):
                waiting += [r for v in _energies_of(read.what, beginning.system) for r in reads(v)]
            else:
                values = beginning.values(read.what)
                waiting += [Read(r.what, r.order + read.order) for v in values for r in reads(v)]
        return sorted(found, key=lambda u: u in lowered)

    matched = match(initial, candidates)
    used = {id(e) for e in matched.values()}
    for equation in initial:
        if id(equation) not in used:
            problems.append(
                Diagnostic(
                    "surplus-initial",
                    "nothing is left for this `initial` equation to determine",
                    Label(equation.left.span.to(equation.right.span), "the starts are known without it"),
                    help="leave out the start (`= …`) of the state that it should determine",
                )
            )
    for variable, _ in free:
        entered = variable in structure.moved and variable not in beginning.moved
        if (variable, 0) not in matched and not entered:
            name = variable.declaration.name
            steady = f", or `initial({name}') = 0` to start it at rest" if variable in structure.moved else ""
            problems.append(
                Diagnostic(
                    "missing-start",
                    f"the state `{variable.path}` starts nowhere",
                    Label(variable.span, "has no start"),
                    help=f"write `state {name} = …`{steady}",
                )
            )


def _energies_of(variable: Variable, system: System) -> list[Scoped]:
    """What an acceleration follows from where a Lagrangian gives it."""
    mine = [lagrangian for lagrangian in system.lagrangians if variable in lagrangian.coordinates]
    together = {q for lagrangian in mine for q in lagrangian.coordinates}
    return [*(lagrangian.value for lagrangian in mine), *(a.value for a in system.applied if a.target in together)]


def _sampled(structure: Structure, problems: list[Diagnostic]) -> None:
    """Each sampled state has one next value; nothing goes round within a tick."""
    system = structure.system
    moves: dict[Variable, list[Equation]] = {}
    for equation in system.equations:
        if equation.kind == "next" and equation.target is not None:
            earlier = moves.setdefault(equation.target, [])
            rival = next((e for e in earlier if overlap(e.during, equation.during)), None)
            if rival is not None:
                problems.append(
                    Diagnostic(
                        "set-twice",
                        f"`{equation.target.path}` is given two next values",
                        Label(equation.left.span.to(equation.right.span), "given again here"),
                        related=(Label(rival.left.span, "first given here"),),
                    )
                )
            earlier.append(equation)
    assigned = {a.target for e in system.events for a in e.assignments}
    for variable in system.variables:
        fixed = variable not in moves and variable not in assigned
        if variable.kind == "state" and variable.clock is not None and fixed:
            problems.append(_missing(variable, ""))

    def successors(variable: Variable) -> Iterable[Variable]:
        found = (r.what for value in structure.values(variable) for r in reads(value))
        return [what for what in found if isinstance(what, Variable) and what.kind != "state"]

    for component in components(system.variables, successors):
        sampled = any(v.clock is not None for v in component)
        if sampled and (len(component) > 1 or component[0] in successors(component[0])):
            ring = cycle(component, successors)
            first = ring[0]
            problems.append(
                Diagnostic(
                    "cycle-in-tick",
                    "what happens at one tick goes round in a circle: " + " -> ".join(f"`{v.path}`" for v in ring),
                    Label(first.value.span if first.value else first.span, f"`{first.path}` waits for itself"),
                    related=tuple(Label(v.value.span, f"gives `{v.path}`") for v in ring[1:-1] if v.value),
                    help="keep one of them in a state, so that it is read a tick later",
                )
            )


def _static(structure: Structure, problems: list[Diagnostic]) -> None:
    """Without a run nothing moves."""
    system = structure.system
    states = [Label(v.span, f"`{v.path}` moves") for v in system.variables if v.kind == "state"]
    noises = [Label(v.span, f"`{v.path}` is drawn") for v in system.variables if v.noise]
    events = [Label(e.span, "never happens") for e in system.events]
    what = "states" if states else "noise" if noises else "events"
    if system.closed and not system.runs and (states or noises or events):
        problems.append(
            Diagnostic(
                "no-run",
                f"scenario `{system.name}` has {what} but does not say how long it runs",
                Label(system.item.name_span, "has no `run`"),
                related=tuple((states or noises or events)[:1]),
                help="write `run for 10 [s]`",
            )
        )
