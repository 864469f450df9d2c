"""Whether a system is complete and makes sense: equations and unknowns, ticks, ranges, what losses depend on.

Works on the AST alone, so that `dpl check` needs no algebra. What passes here is handed to the compiler.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from dpl.language import syntax
from dpl.language.builtins import DISTRIBUTIONS
from dpl.language.constants import BadConstant, NotConstant, constant, is_infinite
from dpl.language.depend import Read, reads
from dpl.language.diagnostics import Diagnostic, Label
from dpl.language.graph import components, cycle, match
from dpl.language.model import Equation, Measure, NetworkUse, Scoped, System, TaskUse, Variable
from dpl.language.rules import upside_down
from dpl.language.settings import bound_of, value_of

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
        for equation in self.system.equations:
            if equation.kind == "equation":
                for read in (*reads(equation.left), *reads(equation.right)):
                    if isinstance(read.what, Variable) and read.what in found:
                        found[read.what] = max(found[read.what], read.order)
        return found

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


def check_system(system: System, problems: list[Diagnostic]) -> None:
    """Every problem of one system beyond names and units."""
    structure = Structure(system)
    _complete(structure, problems)
    _starts(structure, problems)
    _sampled(system, problems)
    _ranges(system, problems)
    _constants(system, problems)
    _static(structure, problems)


# ---------------------------------------------------------------- equations and unknowns


def _complete(structure: Structure, problems: list[Diagnostic]) -> None:
    matching = structure.matching
    determined = set(matching)
    missing = [u for u in structure.unknowns if u not in determined]
    for variable, order in missing:
        problems.append(_missing(variable, order))
    used = {id(e) for e in matching.values()}
    for equation in structure.equations:
        if id(equation) not in used:
            problems.append(_surplus(structure, equation))


def _missing(variable: Variable, order: int) -> Diagnostic:
    name = variable.declaration.name
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
            help_text = f"`{known.path}` is a param: its value stands in its declaration"
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
            name = variable.declaration.name
            problems.append(
                Diagnostic(
                    "missing-equation",
                    f"nothing moves the state `{variable.path}`",
                    Label(variable.span, "has no next value"),
                    help=f"write `next {name} = …`",
                )
            )

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


# ---------------------------------------------------------------- ranges


def _constants(system: System, problems: list[Diagnostic]) -> None:
    """Values of consts, params and givens, and arguments of distributions, are known when the model is compiled."""
    for variable in system.variables:
        if variable.kind in ("const", "param", "given") and variable.value is not None:
            _constant(variable.value, f"the value of a {variable.kind}", problems)
        prior = variable.declaration.prior
        if isinstance(prior, syntax.Call):
            for argument in prior.arguments:
                value = Scoped(argument.value, variable.scope, variable.unit)
                _constant(value, "an argument of a distribution", problems)
            _distribution(variable, prior, problems)


def _constant(value: Scoped, what: str, problems: list[Diagnostic]) -> None:
    if isinstance(value.expr, syntax.List):
        for item in value.expr.items:
            _constant(Scoped(item, value.scope, value.unit), what, problems)
        return
    if is_infinite(value.expr):
        return
    try:
        constant(value)
    except NotConstant as error:
        problems.append(
            Diagnostic(
                "not-constant",
                f"{what} must be known when the model is compiled",
                Label(error.node.span, "is not a constant"),
                help="a `let` may depend on anything",
            )
        )
    except BadConstant as error:
        problems.append(error.diagnostic)


def _distribution(variable: Variable, prior: syntax.Call, problems: list[Diagnostic]) -> None:
    """A spread is above 0, a low end below its high end."""
    assert isinstance(prior.function, syntax.Name)
    row = DISTRIBUTIONS.get(prior.function.id)
    if row is None:
        return
    names = [n for n, _ in row.arguments]
    given = {a.name or names[i]: a.value for i, a in enumerate(prior.arguments[: len(names)])}
    values = {n: value_of(Scoped(e, variable.scope, variable.unit)) for n, e in given.items()}
    for name in row.positive:
        value = values.get(name)
        if value is not None and value <= 0:
            message = f"the {name} of `{row.name}` must be above 0"
            problems.append(Diagnostic("not-positive", message, Label(given[name].span, "is not above 0")))
    low, high = values.get("low"), values.get("high")
    if low is not None and high is not None and not low < high:
        message = "this range is upside down: its low end must be below its high end"
        problems.append(Diagnostic("range-upside-down", message, Label(prior.span, "drawn from here")))
    domain = variable.declaration.domain
    if isinstance(domain, syntax.Range) and low is not None and high is not None:
        ends = bound_of(variable, domain.low, domain), bound_of(variable, domain.high, domain) if domain.high else None
        slack = 1e-9 * (high - low)
        if (ends[0] is not None and low < ends[0] - slack) or (ends[1] is not None and high > ends[1] + slack):
            problems.append(
                Diagnostic(
                    "out-of-range",
                    f"`{variable.path}` is drawn from beyond its own range",
                    Label(prior.span, f"reaches outside {domain.span.text}"),
                    related=(Label(domain.span, "its range"),),
                )
            )


def _ranges(system: System, problems: list[Diagnostic]) -> None:
    for variable in system.variables:
        item = variable.declaration
        for range_ in (item.domain, item.limit):
            if isinstance(range_, syntax.Range):
                _range(variable, range_, problems)
        if item.log and isinstance(item.domain, syntax.Range):
            low = bound_of(variable, item.domain.low, item.domain)
            if low is not None and low <= 0:
                problems.append(
                    Diagnostic(
                        "log-range",
                        "a range on a log scale lies above 0",
                        Label(item.domain.low.span, "is not above 0"),
                    )
                )
        if variable.kind == "given" and item.prior is None and item.domain is None and variable.value is None:
            problems.append(
                Diagnostic(
                    "given-without-value",
                    f"the given `{variable.path}` has no value",
                    Label(variable.span, "declared here"),
                    help="say what it is drawn from (`~ uniform(0, 1)`), its values (`in [1, 2]`), "
                    "or its nominal value (`= 1`)",
                )
            )


def _range(variable: Variable, range_: syntax.Range, problems: list[Diagnostic]) -> None:
    low = bound_of(variable, range_.low, range_)
    high = bound_of(variable, range_.high, range_) if range_.high else float("inf")
    if low is not None and high is not None and not low < high:
        problems.append(upside_down(range_))
        return
    if variable.value is None or range_ is variable.declaration.limit:
        return
    start = value_of(variable.value)
    if start is None or variable.kind not in ("param", "state", "given"):
        return
    slack = 1e-9 * max(abs(b) for b in (low or 0.0, high if high and abs(high) != float("inf") else 0.0, 1e-300))
    if (low is not None and start < low - slack) or (high is not None and start > high + slack):
        what = "starts" if variable.kind == "state" else "lies"
        problems.append(
            Diagnostic(
                "out-of-range",
                f"`{variable.path}` {what} outside its own range",
                Label(variable.value.span, f"is outside {range_.span.text}"),
                related=(Label(range_.span, "its range"),),
            )
        )


# ---------------------------------------------------------------- losses and what they depend on


def varying(system: System) -> set[Variable]:
    """The variables that change during a run: all that depend on time, on a state, or on an unknown that does."""
    structure = Structure(system)
    owners = structure.matching
    readers: dict[Variable, list[Variable]] = {}
    changing: set[Variable] = set()
    for variable in system.variables:
        if variable.kind == "state":
            changing.add(variable)
            continue
        sources = [variable.value] if variable.value and variable.kind not in ("param", "given") else []
        equation = owners.get((variable, 0))
        sources += [equation.left, equation.right] if equation else []
        for source in sources:
            for read in reads(source):
                if read.what == "time" or read.order > 0:
                    changing.add(variable)
                elif isinstance(read.what, Variable) and read.what is not variable:
                    readers.setdefault(read.what, []).append(variable)
    waiting = list(changing)
    while waiting:
        for reader in readers.get(waiting.pop(), ()):
            if reader not in changing:
                changing.add(reader)
                waiting.append(reader)
    return changing


def check_measures(system: System, problems: list[Diagnostic]) -> None:
    changing = varying(system)
    for measure in system.measures:
        for read in reads(Scoped(measure.item.value, measure.scope)):
            if read.reduced:
                continue
            moving = read.what == "time" or (isinstance(read.what, Variable) and (read.what in changing or read.order))
            if moving:
                name = read.what.path if isinstance(read.what, Variable) else "time"
                what = f"the {measure.item.kind} `{measure.item.name}`"
                problems.append(
                    Diagnostic(
                        "varies-in-time",
                        f"{what} is one number per run, but `{name}` changes during it",
                        Label(measure.item.value.span, f"reads `{name}` without a reduction over time"),
                        help=f"write `final({name})`, `average(…)`, `integral(…)`, `peak(…)` or another reduction",
                    )
                )
                break


def check_task(task: TaskUse, earlier: list[TaskUse], problems: list[Diagnostic]) -> None:
    """The objective depends on what varies, by a path with a derivative; params that must be given are."""
    system = task.system
    found = [q.path for t in earlier if t.item.name in task.needs for q in t.vary]
    given = {*found, *(path for path, _ in task.settings), *(q.path for q in task.vary)}
    for variable in system.variables:
        if variable.kind == "param" and variable.value is None and variable.path not in given:
            problems.append(
                Diagnostic(
                    "param-without-value",
                    f"`{variable.path}` has no value in scenario `{system.name}`, which `{task.item.name}` runs",
                    Label(task.item.name_span, "needs it"),
                    related=(Label(variable.span, "declared without a value"),),
                    help=f"set it where its part is made, give it a default, or `vary {variable.path}`",
                )
            )
    if task.objective is None or not task.vary:
        return
    measures = [m for m in system.measures if _names(task.objective.value, m)]
    if not measures:
        return
    touched, smoothly = _reached(system, measures)
    if not any(q.path in touched for q in task.vary):
        problems.append(
            Diagnostic(
                "does-not-depend",
                f"`{task.objective.value.span.text}` does not depend on anything that `{task.item.name}` varies",
                Label(task.objective.value.span, "would not change"),
                related=tuple(Label(q.span, f"`{q.path}` varies") for q in task.vary[:3]),
                help="check the wiring of the scenario: what varies must reach the loss",
            )
        )
        return
    goal = task.objective.value.span
    for quantity in task.vary:
        if quantity.path in touched and quantity.path not in smoothly:
            problems.append(
                Diagnostic(
                    "no-gradient",
                    f"`{goal.text}` reaches `{quantity.path}` only through operations whose derivative is zero",
                    Label(goal, "gives no gradient"),
                    related=(Label(quantity.span, "varied here"),),
                    help="say what derivative to use: `straight_through(sign(z))`, `surrogate(exact, smooth)` "
                    "or `smooth(e, width)`",
                    severity="warning",
                )
            )


def _names(expr: syntax.Expr, measure: Measure) -> bool:
    if isinstance(expr, syntax.Name):
        return expr.id == measure.item.name
    return any(_names(c, measure) for c in syntax.children(expr))


def _reached(system: System, measures: list[Measure]) -> tuple[set[str], set[str]]:
    """The paths that the measures depend on at all, and those they depend on with a derivative."""
    structure = Structure(system)
    sources: dict[object, list[Scoped]] = {}
    for variable in system.variables:
        if variable.value is not None and variable.kind not in ("param", "given"):
            sources.setdefault(variable, []).append(variable.value)
        limit = variable.declaration.limit
        if limit is not None:
            sources.setdefault(variable, []).append(Scoped(limit, variable.scope))
    for (variable, _), equation in structure.matching.items():
        sources.setdefault(variable, []).extend((equation.left, equation.right))
    for equation in system.equations:
        if equation.kind in ("next", "initial"):
            targets = [equation.target] if equation.target else [r.what for r in reads(equation.left)]
            for target in targets:
                sources.setdefault(target, []).extend((equation.left, equation.right))
    reached: dict[object, bool] = {}
    waiting: list[tuple[object, bool]] = [(m, True) for m in measures]
    while waiting:
        node, smooth = waiting.pop()
        if node in reached and (reached[node] or not smooth):
            continue
        reached[node] = smooth
        values = [Scoped(node.item.value, node.scope)] if isinstance(node, Measure) else sources.get(node, [])
        for value in values:
            waiting += [(r.what, smooth and not r.flat) for r in reads(value)]
    nodes = [n for n in reached if isinstance(n, Variable | NetworkUse)]
    return {n.path for n in nodes}, {n.path for n in nodes if reached[n]}
