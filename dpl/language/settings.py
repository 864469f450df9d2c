"""What a scenario's `run` says, read and checked: how long, from when, by which method; and constants with units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from dpl.language import syntax
from dpl.language.builtins import DECAYS, SOLVERS, ArgumentKind, MethodRow
from dpl.language.constants import BadConstant, NotConstant, constant, is_infinite
from dpl.language.diagnostics import Label, did_you_mean
from dpl.language.infer import Inference
from dpl.language.model import (
    DataUse,
    MethodUse,
    RunSettings,
    Scope,
    Scoped,
    System,
    Variable,
)
from dpl.language.source import Span
from dpl.language.units import Unit, read_unit

_LARGEST_COUNT = 10**9
MOST_TICKS = 10**8


def read_run(system: System, inference: Inference) -> None:
    """The run of a scenario: how long, from when, by which method."""
    statement = system.run_item
    timed = [use for use in system.data if use.time is not None]
    observed = [observation.data for observation in system.observations]
    timed = [use for use in timed if use in observed] or timed
    if timed and (statement is None or not (statement.duration or statement.until or statement.within)):
        _run_of_data(system, inference, timed)
        return
    if statement is None:
        system.time = Unit(inference.time, Fraction(1), "" if inference.pure else "s")
        return
    system.time = _clock(timed) or system.time
    reader = Reader(inference, system.root)
    longest = _longest(system, inference, statement)
    if longest is None:
        return
    duration = reader.time(longest, "the duration of a run")
    start = reader.time(statement.start, "the start of a run") if statement.start else Fraction(0)
    method = reader.method(statement.using, SOLVERS, "solver") if statement.using else None
    unit = _clock(timed) or unit_of(longest) or Unit(inference.time, Fraction(1), "" if inference.pure else "s")
    system.time = unit
    if duration is None or start is None:
        return
    if duration <= 0:
        inference.report("not-positive", "a run lasts longer than 0", longest.span, "is not above 0")
        return
    system.run = RunSettings(start, duration, unit, method, statement.span, statement.until is not None)
    _fits(system, inference)


def _fits(system: System, inference: Inference) -> None:
    if system.run is not None:
        _step_fits(system, inference, system.run_item)
        _ticks_fit(system, inference)
        _instants_fit(system.run, inference)


def _clock(timed: list[DataUse]) -> Unit | None:
    """The unit of the time of data."""
    column = timed[0].scope.names.get(timed[0].time or "") if timed else None
    return column.unit if isinstance(column, Variable) else None


def _run_of_data(system: System, inference: Inference, timed: list[DataUse]) -> None:
    """A run that ends with its data."""
    statement, reader, first = system.run_item, Reader(inference, system.root), timed[0]
    unit = system.time = _clock(timed) or Unit()
    said = statement.start if statement else None
    start = reader.time(said, "the start of a run") if said else Fraction(0)
    method = reader.method(statement.using, SOLVERS, "solver") if statement and statement.using else None
    column = first.scope.names[first.time or ""]
    assert isinstance(column, Variable)
    span = statement.span if statement else column.span
    made = next((use for use in timed if isinstance(use.item, syntax.Task)), None)
    if made is not None:
        message = f"how long `{made.name}` goes on is known only once it is recorded"
        place = statement.span if statement else system.item.name_span
        inference.report("no-duration", message, place, "has no duration", help="write `run for 10 [s]`")
        return
    times = [time for use in timed for time in use.columns.get(use.time or "", ())]
    if any(use.broken for use in timed) or not times or start is None:
        return
    low, high = (Fraction(end) for end in (min(times), max(times)))
    if said is None and low != 0:
        begin = _in_unit(low, unit)
        zero = f"`run from {_in_unit(Fraction(0), unit)}` or " if low > 0 else ""
        message = f"the times of `{first.name}` begin at {begin}: when does the run?"
        place = "begins" if statement else "the time of the data"
        inference.report("no-start", message, span, place, help=f"write {zero}`run from {begin}`")
        return
    if high <= start:
        message = f"the data end at {_in_unit(high, unit)}, and the run begins no earlier"
        inference.report("not-positive", message, said.span if said else span, "the run has no length")
        return
    system.run = RunSettings(start, high - start, unit, method, span)
    _fits(system, inference)


def _in_unit(time: Fraction, unit: Unit) -> str:
    return f"{float(time) / float(unit.scale):.10g}" + (f" [{unit.text}]" if unit.text else "")


def _longest(system: System, inference: Inference, statement: syntax.Run) -> syntax.Expr | None:
    """How long a run lasts at most: what stands after `for`, or after `within` where it waits for something."""

    def wrong(code: str, message: str, span: Span, label: str, help: str) -> None:
        inference.report(code, message, span, label, help=help)

    until, within, duration = statement.until, statement.within, statement.duration
    if until is None and within is not None:
        way_out = "write `run for …`, or say what ends the run: `run until … within …`"
        wrong("within-without-until", "`within` belongs to `until`", within.span, "limits nothing", way_out)
        return None
    if until is None:
        if duration is None:
            message = "this run does not say how long it lasts"
            wrong("no-duration", message, statement.span, "has no duration", "write `run for 10 [s]`")
        return duration
    if duration is not None:
        message = "a run lasts for a time or until something happens, not both"
        way_out = "write `run until … within …`: the run fails if it lasts longer"
        wrong("for-and-until", message, duration.span, "said beside `until`", way_out)
        return None
    if within is None:
        message = "this run does not say how long it waits"
        way_out = f"write `run until {until.span.text} within 30 [s]`: the run fails if it lasts longer"
        wrong("missing-within", message, until.span, "might never happen", way_out)
        return None
    if isinstance(until, syntax.Stop) and not any(event.stop for event in system.events):
        message = "this run waits for a `stop`, and no event stops it"
        way_out = "write `stop` in the actions of an event, or `run until CONDITION within …`"
        wrong("nothing-stops", message, until.span, "never comes", way_out)
        return None
    return within


def _ticks_fit(system: System, inference: Inference) -> None:
    """A run has a bounded number of ticks."""
    for clock in system.clocks:
        if system.run and system.run.duration / clock.period > MOST_TICKS:
            count = float(system.run.duration / clock.period)
            place = Label(system.run.span, "how long it lasts")
            inference.report(
                "too-many-steps",
                f"this run would have {count:.3g} ticks",
                clock.span,
                "the period is too short",
                related=(place,),
            )


def _instants_fit(run: RunSettings, inference: Inference) -> None:
    """Times that losses and metrics name lie within the run."""
    for instant in inference.instants:
        time = value_of(instant)
        slack = 1e-9 * float(run.duration)
        if time is not None and not run.start - slack <= time <= run.start + run.duration + slack:
            inference.report(
                "outside-the-run",
                "this time lies outside the run",
                instant.span,
                "is never reached",
                related=(Label(run.span, "how long it lasts"),),
            )


def _step_fits(system: System, inference: Inference, statement: syntax.Run | None) -> None:
    """A prescribed solver step must divide every period, and not be longer than the run."""
    method = system.run.method if system.run else None
    if system.run is None or method is None or "step" not in method.arguments:
        return
    if statement is None or statement.using is None:
        return
    step = Fraction(method.arguments["step"]).limit_denominator(10**12)
    if step > system.run.duration:
        inference.report(
            "step-too-long",
            "the solver's step is longer than the run",
            statement.using.span,
            f"steps of {float(step):g} s",
        )
    elif system.run.duration / step > _LARGEST_COUNT:
        inference.report(
            "too-many-steps",
            f"this run would take {float(system.run.duration / step):.3g} steps",
            statement.using.span,
            "the step is too short",
        )
    for clock in system.clocks:
        ratio = clock.period / step
        if abs(ratio - round(ratio)) > Fraction(1, 10**9) or round(ratio) < 1:
            inference.report(
                "step-and-period",
                "a solver's step must divide every period",
                statement.using.span,
                f"steps of {float(step):g} s",
                related=(Label(clock.span, f"a period of {float(clock.period):g} s"),),
            )


def shown(number: Fraction | float, unit: Unit) -> str:
    """A number in SI as the user meets it: `5 h`."""
    return f"{float(number) / float(unit.scale):g} {unit.text}".strip()


def unit_of(expr: syntax.Expr) -> Unit | None:
    match expr:
        case syntax.Number(_, unit) if unit is not None:
            return read_unit(unit, [])
        case syntax.Unary(_, operand):
            return unit_of(operand)
        case _:
            return None


@dataclass
class Reader:
    """Constants of one scope, with their units checked."""

    inference: Inference
    scope: Scope

    def time(self, expr: syntax.Expr, what: str) -> Fraction | None:
        """In SI; one without a unit is told to have that of the clock, `1902 [year]`."""
        found, clock = self.inference.infer(expr, self.scope), self.inference.system.time.text
        if not self.inference.same(self.inference.time, found.dimension, expr.span, expr.span, "time", clock):
            return None
        value = self.inference.constant(Scoped(expr, self.scope), what)
        return None if value is None else Fraction(value)

    def method(self, method: syntax.Method, rows: dict[str, MethodRow], kind: str) -> MethodUse | None:
        row = rows.get(method.name)
        report = self.inference.report
        if row is None:
            help_text = did_you_mean(method.name, rows) or f"there are {', '.join(rows)}"
            report(f"unknown-{kind}", f"there is no {kind} `{method.name}`", method.span, "named here", help=help_text)
            return None
        names = [name for name, _ in row.arguments]
        given = self.inference.arranged(method.arguments, names, method.span, row.name, len(names) - row.required)
        if not given and row.required:
            return None
        values: dict[str, float | str] = {}
        for name, expr in given.items():
            value = self.argument(name, dict(row.arguments)[name], expr, row)
            if value is not None:
                values[name] = value
        if "final" in given and values.get("decay", "constant") == "constant":
            report(
                "missing-argument",
                "`final` says where the rate ends up, but no `decay` takes it there",
                given["final"].span,
                "is never reached",
                help="write `decay = cosine`, or linear or exponential",
            )
        elif values.get("final") == 0 and values.get("decay") == "exponential":
            message = "an exponential decay never reaches 0"
            report("out-of-range", message, given["final"].span, "is 0", help="write a small share, `final = 0.01`")
        return MethodUse(row, values)

    def argument(self, name: str, kind: ArgumentKind, expr: syntax.Expr, row: MethodRow) -> float | str | None:
        if kind == "decay":
            if isinstance(expr, syntax.Name) and expr.id in DECAYS:
                return expr.id
            self.inference.report(
                "unknown-option", f"`{name}` is one of {', '.join(DECAYS)}", expr.span, "is none of them"
            )
            return None
        if kind == "time":
            value = self.time(expr, f"the {name} of `{row.name}`")
        else:
            found = self.inference.infer(expr, self.scope)
            self.inference.must_be_pure(found, expr.span, f"`{name}`")
            value = self.inference.constant(Scoped(expr, self.scope), f"the {name} of `{row.name}`")
        if value is None:
            return None
        holds, limits = _LIMITS[kind]
        if not holds(value):
            code = "not-positive" if limits == "above 0" else "out-of-range"
            message = f"the {name} of `{row.name}` must be {limits}"
            self.inference.report(code, message, expr.span, f"is not {limits}")
            return None
        return float(value)


_LIMITS: dict[ArgumentKind, tuple[Callable[[Fraction | float], bool], str]] = {
    "time": (lambda x: x > 0, "above 0"),
    "positive": (lambda x: x > 0, "above 0"),
    "nonnegative": (lambda x: x >= 0, "0 or above"),
    "share": (lambda x: 0 <= x < 1, "from 0 to below 1"),
    "part": (lambda x: 0 <= x <= 1, "from 0 to 1"),
}


def value_of(value: Scoped) -> float | None:
    """The constant's SI value, if it is one."""
    try:
        return float(constant(value))
    except (NotConstant, BadConstant):
        return None


def bound_of(variable: Variable, expr: syntax.Expr, range_: syntax.Range) -> float | None:
    """The SI value of a bound, if it is constant; infinite where it says so."""
    if is_infinite(expr):
        return float("-inf") if isinstance(expr, syntax.Unary) else float("inf")
    unit = read_unit(range_.unit, []) if range_.unit else variable.unit
    return value_of(Scoped(expr, variable.scope, unit))
