"""Equations and unknowns: whether there are as many of one as of the other, and each finds its partner.

Works on the AST alone, so that `dpl check` needs no algebra.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from dpl.language import syntax
from dpl.language.depend import Read, reads
from dpl.language.diagnostics import Diagnostic, Label
from dpl.language.graph import components, cycle, match
from dpl.language.model import Equation, Scoped, System, Variable

MOST_PRIMES = 20

Unknown = tuple[Variable, int]
"""A variable, or its derivative of that order."""


@dataclass
class Structure:
    """The unknowns of a system and the equations that determine them."""

    system: System
    _known: dict[int, frozenset[Unknown]] = field(default_factory=dict[int, frozenset[Unknown]])

    @cached_property
    def orders(self) -> dict[Variable, int]:
        """The order of each continuous state: the highest derivative in any equation, at least 1."""
        found = {v: 1 for v in self.system.variables if v.kind == "state" and v.clock is None}
        for equation in self.equations:
            for variable, order in self.derivatives(equation):
                if variable in found:
                    found[variable] = max(found[variable], order)
        return found

    def derivatives(self, equation: Equation) -> set[Unknown]:
        """Every variable in an equation with its order, through the values of names: in `let v = x'`, `v'` is `x''`."""
        waiting = [(r.what, r.order) for r in (*reads(equation.left), *reads(equation.right))]
        seen: set[Unknown] = set()
        while waiting:
            what, order = waiting.pop()
            if isinstance(what, Variable) and (what, order) not in seen and order <= MOST_PRIMES:
                seen.add((what, order))
                if order and what.value is not None and what.kind in ("let", "output", "input"):
                    waiting += [(r.what, r.order + order) for r in reads(what.value)]
        return seen

    @cached_property
    def unknowns(self) -> list[Unknown]:
        """What equations must determine: highest derivatives, and names without a value."""
        result: list[Unknown] = [(v, n) for v, n in self.orders.items()]
        result += [(v, 0) for v in self.system.variables if v.kind in ("let", "output") and v.value is None]
        return result

    @cached_property
    def equations(self) -> list[Equation]:
        return [e for e in self.system.equations if e.kind == "equation"]

    @cached_property
    def matching(self) -> dict[Unknown, Equation]:
        return match(self.equations, self.candidates)

    def candidates(self, equation: Equation) -> list[Unknown]:
        """The unknowns that an equation could determine; what stands alone on its left side comes first."""
        found = self.reach(equation.left) | self.reach(equation.right)
        alone = self.alone(equation)
        mine = [u for u in self.unknowns if u in found and u[0].clock == equation.clock]
        return sorted(mine, key=lambda u: u != alone)

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
        unknowns = set(self.unknowns)
        while waiting:
            what, order = waiting.pop()
            if (what, order) in seen or not isinstance(what, Variable):
                continue
            seen.add((what, order))
            if (what, order) in unknowns:
                found.add((what, order))
            elif what.value is not None and what.kind in ("let", "output", "input"):
                waiting += [(r.what, r.order + order) for r in reads(what.value)]
        return frozenset(found)


def check_balance(system: System, problems: list[Diagnostic]) -> None:
    """Every unknown has its equation, every state its start and its motion; no tick waits for itself."""
    structure = Structure(system)
    _complete(structure, problems)
    _starts(structure, problems)
    _sampled(system, problems)
    _static(structure, problems)


def _complete(structure: Structure, problems: list[Diagnostic]) -> None:
    matching = structure.matching
    determined = set(matching)
    missing = [u for u in structure.unknowns if u not in determined]
    for variable, _ in missing:
        problems.append(_missing(variable))
    used = {id(e) for e in matching.values()}
    for equation in structure.equations:
        if id(equation) not in used:
            problems.append(_surplus(structure, equation))


def _missing(variable: Variable) -> Diagnostic:
    name = variable.declaration.name
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
        f"no equation determines `{variable.path}`",
        Label(variable.span, "has no value and no equation"),
        help=f"write `{variable.kind} {name} = …`, or an equation that holds it",
    )


def _surplus(structure: Structure, equation: Equation) -> Diagnostic:
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
        return Diagnostic(
            "surplus-equation",
            "this equation holds no unknown that it could determine",
            Label(span, "all that it names is known"),
            related=(Label(known.span, "declared here"),) if known else (),
            help=help_text or "unknowns are derivatives of states, and `let`s and `output`s without a value",
        )
    names = ", ".join(unknown_text(u) for u in candidates)
    others = [structure.matching[u] for u in candidates if u in structure.matching]
    return Diagnostic(
        "surplus-equation",
        f"one equation too many: {names} {'is' if len(candidates) == 1 else 'are'} determined already",
        Label(span, "nothing is left for it to determine"),
        related=tuple(Label(o.left.span.to(o.right.span), "determined here") for o in others[:3]),
    )


def unknown_text(unknown: Unknown) -> str:
    return f"`{unknown[0].path}{chr(39) * unknown[1]}`"


def _starts(structure: Structure, problems: list[Diagnostic]) -> None:
    """Every state starts somewhere: at its value, or where the `initial` equations put it."""
    system = structure.system
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
            deeper = structure.matching.get((read.what, read.order))
            if deeper is not None:
                waiting += [*reads(deeper.left), *reads(deeper.right)]
            elif read.what.value is not None and read.what.kind in ("let", "output", "input"):
                waiting += [Read(r.what, r.order + read.order) for r in reads(read.what.value)]
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
        if (variable, 0) not in matched:
            name = variable.declaration.name
            problems.append(
                Diagnostic(
                    "missing-start",
                    f"the state `{variable.path}` starts nowhere",
                    Label(variable.span, "has no start"),
                    help=f"write `state {name} = …`, or `initial({name}') = 0` to start it at rest",
                )
            )


def _sampled(system: System, problems: list[Diagnostic]) -> None:
    """Each sampled state has one next value; nothing goes round within a tick."""
    moves: dict[Variable, Equation] = {}
    for equation in system.equations:
        if equation.kind == "next" and equation.target is not None:
            if equation.target in moves:
                problems.append(
                    Diagnostic(
                        "set-twice",
                        f"`{equation.target.path}` is given two next values",
                        Label(equation.left.span.to(equation.right.span), "given again here"),
                        related=(Label(moves[equation.target].left.span, "first given here"),),
                    )
                )
            moves[equation.target] = equation
    for variable in system.variables:
        if variable.kind == "state" and variable.clock is not None and variable not in moves:
            problems.append(_missing(variable))

    def successors(variable: Variable) -> Iterable[Variable]:
        if variable.value is None or variable.kind not in ("let", "output", "input"):
            return ()
        return [r.what for r in reads(variable.value) if isinstance(r.what, Variable) and r.what.kind != "state"]

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
    states = [v for v in system.variables if v.kind == "state"]
    if system.closed and system.run_item is None and states:
        problems.append(
            Diagnostic(
                "no-run",
                f"scenario `{system.name}` has states but does not say how long it runs",
                Label(system.item.name_span, "has no `run`"),
                related=(Label(states[0].span, f"`{states[0].path}` moves"),),
                help="write `run for 10 [s]`",
            )
        )
