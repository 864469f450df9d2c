"""Whether a system makes sense: its equations, its ranges and constants, what its losses depend on.

Works on the AST alone, so that `dpl check` needs no algebra. What passes here is handed to the compiler.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dpl.language import syntax
from dpl.language.balance import Structure, check_balance
from dpl.language.builtins import DISTRIBUTIONS, Distribution
from dpl.language.change import made_of, varying
from dpl.language.constants import BadConstant, NotConstant, is_infinite
from dpl.language.depend import Read, reads
from dpl.language.diagnostics import Diagnostic, Label
from dpl.language.fits import none_left, observed_data
from dpl.language.happenings import check_events, event_sources
from dpl.language.hybrid import check_modes
from dpl.language.indices import index_scope
from dpl.language.mechanics import check_mechanics
from dpl.language.model import Measure, NetworkUse, Scoped, System, TaskUse, Variable, target_of
from dpl.language.reach import first_value
from dpl.language.rules import upside_down
from dpl.language.settings import bound_of, value_of
from dpl.language.source import Span


def check_system(system: System, problems: list[Diagnostic]) -> None:
    """Every problem of one system beyond names and units."""
    check_balance(system, problems)
    check_mechanics(system, problems)
    check_modes(system, problems)
    check_events(system, problems)
    _ranges(system, problems)
    _constants(system, problems)
    _observations(system, problems)


# ---------------------------------------------------------------- ranges


def _constants(system: System, problems: list[Diagnostic]) -> None:
    """Values of consts, params and givens, and arguments of distributions, are known when the model is compiled."""
    for variable in system.variables:
        if variable.kind in ("const", "param", "given") and variable.value is not None:
            _constant(variable.value, f"the value of a {variable.kind}", problems)
        prior = variable.declaration.prior
        if isinstance(prior, syntax.Call):
            for argument in prior.arguments if not variable.noise else ():
                value = Scoped(argument.value, variable.scope, variable.unit)
                _constant(value, "an argument of a distribution", problems)
            _distribution(variable, prior, problems)


def _constant(value: Scoped, what: str, problems: list[Diagnostic]) -> None:
    if isinstance(value.expr, syntax.List):
        for item in value.expr.items:
            _constant(Scoped(item, value.scope, value.unit), what, problems)
        return
    if isinstance(value.expr, syntax.Pieces):
        for piece in value.expr.pieces:
            _constant(Scoped(piece.value, index_scope(value.scope, piece.indices), value.unit), what, problems)
        return
    if is_infinite(value.expr):
        return
    array = target_of(value.expr, value.scope)
    try:
        first_value(value)
    except NotConstant as error:
        if array is not None and array.kind == "const":
            return  # an array of constants, looked at where it is declared
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


def _not_positive(row: Distribution, arguments: dict[str, Scoped]) -> Iterator[Diagnostic]:
    for name in row.positive:
        value = value_of(arguments[name]) if name in arguments else None
        if value is not None and value <= 0:
            message = f"the {name} of `{row.name}` must be above 0"
            yield Diagnostic("not-positive", message, Label(arguments[name].span, "is not above 0"))


def _observations(system: System, problems: list[Diagnostic]) -> None:
    """Scales and the like that are numbers are above 0; what is computed is looked at when it is fitted."""
    for observation in system.observations:
        row = DISTRIBUTIONS.get(observation.distribution)
        if row is not None:
            names = [n for n, _ in row.arguments if not (observation.estimated and n == row.scale)]
            problems += _not_positive(row, dict(zip(names, observation.arguments, strict=False)))


def _distribution(variable: Variable, prior: syntax.Call, problems: list[Diagnostic]) -> None:
    """A spread is above 0, a low end below its high end."""
    assert isinstance(prior.function, syntax.Name)
    row = DISTRIBUTIONS.get(prior.function.id)
    if row is None:
        return
    names = [n for n, _ in row.arguments]
    given = {a.name or names[i]: a.value for i, a in enumerate(prior.arguments[: len(names)])}
    values = {n: value_of(Scoped(e, variable.scope, variable.unit)) for n, e in given.items()}
    problems += _not_positive(row, {n: Scoped(e, variable.scope, variable.unit) for n, e in given.items()})
    low, high = values.get("low"), values.get("high")
    if low is not None and high is not None and not low < high:
        message = "this range is upside down: its low end must be below its high end"
        problems.append(Diagnostic("range-upside-down", message, Label(prior.span, "drawn from here")))
    _drawn_start(variable, row.name, values, prior, problems)
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


def _drawn_start(
    variable: Variable, name: str, values: Mapping[str, float | None], prior: syntax.Call, problems: list[Diagnostic]
) -> None:
    """A param starts where its prior does not say that it cannot be."""
    if variable.kind != "param" or variable.value is None:
        return
    start, low, high = value_of(variable.value), values.get("low"), values.get("high")
    if name in ("lognormal", "exponential"):
        low = 0.0
    elif name == "beta":
        low, high = 0.0, 1.0
    if start is None or low is None:
        return
    slack = 1e-9 * max(abs(low), abs(high or 0.0))
    if start < low - slack or (high is not None and start > high + slack) or (name == "lognormal" and start <= 0):
        message = f"`{variable.path}` starts where its distribution says that it cannot be"
        label = Label(variable.value.span, f"is outside of {prior.span.text}")
        related = (Label(prior.span, "its distribution"),)
        problems.append(Diagnostic("out-of-range", message, label, related, "start within it, or widen it"))


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
        alone = item.prior is None and item.domain is None and variable.value is None and variable.row is None
        if variable.kind == "given" and alone:
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


def check_measures(system: System, problems: list[Diagnostic]) -> None:
    changing = varying(system)
    for measure in system.measures:
        for read in reads(Scoped(measure.item.value, measure.scope)):
            if read.reduced:
                continue
            if moves(read, changing):
                if read.what == "time" and not system.runs:
                    problems.append(no_run(measure))
                    break
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


def moves(read: Read, changing: set[Variable]) -> bool:
    """Whether what is read changes during a run."""
    what = read.what
    return what == "time" or (
        isinstance(what, Variable) and (what in changing or what.kind == "column" or read.order > 0)
    )


def no_run(measure: Measure) -> Diagnostic:
    message = f"the {measure.item.kind} `{measure.item.name}` reads `time`, but this scenario does not run"
    label = Label(measure.item.value.span, "depends on time")
    return Diagnostic("no-run", message, label, help="say how long: `run for 10 [s]`")


def check_task(task: TaskUse, tasks: Sequence[TaskUse], problems: list[Diagnostic]) -> None:
    """What is wanted depends on what varies, by a path with a derivative; params that must be given are.

    `tasks` are all of the file.
    """
    if task.system is None:
        return
    _values_given(task, tasks, problems)
    _records_left(task, tasks, problems)
    wanted = _wanted(task)
    if wanted is None or not task.vary:
        return
    touched = _reached(task.system, wanted.sources, {q.path for q in task.vary})
    if not any(q.path in touched for q in task.vary):
        problems.append(
            Diagnostic(
                "does-not-depend",
                f"{wanted.text} does not depend on anything that `{task.item.name}` varies",
                Label(wanted.span, "would not change"),
                related=tuple(Label(q.span, f"`{q.path}` varies") for q in task.vary[:3]),
                help=wanted.help,
            )
        )
        return
    for quantity in task.vary:
        blocked = touched.get(quantity.path)
        if blocked is not None:
            problems.append(
                Diagnostic(
                    "no-gradient",
                    f"{wanted.text} reaches `{quantity.path}` only through operations whose derivative is zero",
                    Label(wanted.span, "gives no gradient"),
                    related=(Label(blocked, "its derivative is zero"), Label(quantity.span, "varied here")),
                    help="say what derivative to use: `straight_through(sign(z))`, `surrogate(exact, smooth)` "
                    "or `smooth(e, width)`",
                    severity="warning",
                )
            )


def _values_given(task: TaskUse, tasks: Sequence[TaskUse], problems: list[Diagnostic]) -> None:
    """Every param has a value: its own, or one that this task or one before it finds or sets."""
    system = task.system
    assert system is not None
    before = {*task.needs, *task.repeat}
    before |= {name for t in tasks if t.item.name in before for name in t.repeat}
    finders = [task, *(t for t in tasks if t.item.name in before)]
    given = {q.path for t in finders for q in (*t.vary, *t.anneal)} | {path for path, _ in task.settings}
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


def _records_left(task: TaskUse, tasks: Sequence[TaskUse], problems: list[Diagnostic]) -> None:
    """A fit does not hold out all that another task records for it."""
    place = next((c.span for c in task.item.clauses if isinstance(c, syntax.HoldOut) and c.count is not None), None)
    for data in observed_data(task.system) if task.system is not None and place is not None else ():
        made = next((t.counts.get("samples") for t in tasks if t.item is data.item), None)
        if made is not None and task.hold_out >= made and place is not None:
            problems.append(none_left(task.hold_out, made, place, data))


@dataclass(frozen=True)
class _Wanted:
    """What a task makes as small or as likely as it can: `text` says it in words, `sources` are read for it."""

    text: str
    span: Span
    sources: list[Scoped]
    help: str


def _wanted(task: TaskUse) -> _Wanted | None:
    system, objective = task.system, task.objective
    assert system is not None
    if task.item.kind == "fit":
        observed = [o for o in system.observations if o.data is not None]
        sources = [a for o in observed for a in (*o.arguments, o.below, o.above) if a is not None]
        way_out = "check the wiring of the scenario: what varies must reach the right side of an `observe`"
        return _Wanted("what is observed", observed[0].span, sources, way_out) if observed else None
    if objective is None:
        return None
    wanted = [objective.goal.value, *(o for c in task.constraints for o in c.operands)]
    sources = [Scoped(m.item.value, m.scope) for m in system.measures if any(_names(e, m) for e in wanted)]
    goal = objective.goal.value.span
    way_out = "check the wiring of the scenario: what varies must reach the loss"
    return _Wanted(f"`{goal.text}`", goal, sources, way_out) if sources else None


def _names(expr: syntax.Expr, measure: Measure) -> bool:
    if isinstance(expr, syntax.Name):
        return expr.id == measure.item.name
    return any(_names(c, measure) for c in syntax.children(expr))


def freed_paths(variable: Variable) -> list[str]:
    """The paths under which a `let` is freed: one for each result of a network."""
    if variable.record is None:
        return [variable.path]
    return [f"{variable.path}.{port.name}" for port in variable.record.outputs]


def _behind(system: System, given: set[Variable]) -> dict[object, list[Scoped]]:
    """What every variable and event follows from, in any mode and over the whole run."""
    structure = Structure(system)
    found: dict[object, list[Scoped]] = {v: made_of(v, structure) for v in system.variables if v not in given}
    for (variable, order), equations in structure.givers.items():
        if order:
            found.setdefault(variable, []).extend(side for e in equations for side in (e.left, e.right))
    for equation in system.equations:
        if equation.kind in ("next", "initial"):
            targets = [equation.target] if equation.target else [r.what for r in reads(equation.left)]
            for target in targets:
                found.setdefault(target, []).extend((equation.left, equation.right))
    for lagrangian in system.lagrangians:
        for q in lagrangian.coordinates:
            found.setdefault(q, []).append(lagrangian.value)
    for side, value in event_sources(system):
        found.setdefault(side, []).append(value)
    return found


def _reached(system: System, sources: list[Scoped], varied: set[str]) -> dict[str, Span | None]:
    """The paths that these expressions depend on; where they do so without a derivative, the first text that takes it.

    What lies behind a `let` that is `varied`, and so freed from its equation, is not reached through it.
    """
    freed = {path: f.variable for path, f in system.freed.items()}
    given = {v for v in freed.values() if varied.issuperset(freed_paths(v))}
    behind = _behind(system, given)
    reached: dict[object, Span | None] = {}
    waiting: list[tuple[object, Span | None]] = [(r.what, r.flat) for source in sources for r in reads(source)]
    while waiting:
        node, blocked = waiting.pop()
        if node in reached and (reached[node] is None or blocked is not None):
            continue
        reached[node] = blocked
        values = [Scoped(node.item.value, node.scope)] if isinstance(node, Measure) else behind.get(node, [])
        for value in values:
            waiting += [(r.what, blocked or r.flat) for r in reads(value)]
    paths: dict[str, Span | None] = {}
    for node, blocked in reached.items():
        if isinstance(node, Variable | NetworkUse):
            paths[node.path] = blocked
        for path in (p for p, v in freed.items() if v is node):
            paths[path] = blocked
    return paths
