"""Whether the rows of data and the runs of a scenario belong together.

What is read of data is found here too: cells beside what is observed (`System.row`), functions of time
(`System.signals`), and whether a sensor is read along the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from dpl.language import syntax
from dpl.language.builtins import TIME_REDUCTIONS
from dpl.language.change import varying
from dpl.language.check import moves
from dpl.language.data import runs_of
from dpl.language.depend import Read, reads
from dpl.language.diagnostics import Diagnostic, Label
from dpl.language.happenings import event_sources
from dpl.language.model import DataUse, Observation, Scoped, System, Variable
from dpl.language.settings import value_of
from dpl.language.source import Span


def check_rows(system: System, problems: list[Diagnostic]) -> None:
    """Every problem of what a scenario reads of data and observes."""
    changing = varying(system)
    for observation in system.observations:
        _timed(observation, system, changing, problems)
    system.row = tuple(dict.fromkeys(_beside(system)))
    system.signals = tuple(dict.fromkeys(_signals(system)))
    if not system.closed:
        return
    if not _together(system, problems):
        return
    for variable in system.variables:
        if variable.row is not None:
            _one_value(variable, variable.row, problems)
    for column in system.signals:
        _known_somewhere(column, problems)
    for observation in system.observations:
        _within(observation, system, problems)
        _possible(observation, problems)


# ---------------------------------------------------------------- when


def _timed(observation: Observation, system: System, changing: set[Variable], problems: list[Diagnostic]) -> None:
    """Whether an observation is read along the run. What is observed once in a run does not change during it."""
    data = observation.data
    found = [read for value in parts(observation) for read in reads(value)]
    moving = [read for read in found if not read.reduced and moves(read, changing)]
    if data is not None and data.time is not None:
        observation.timed = True
        return
    reduced = any(read.reduced for read in found) or any(map(_reduces, _nodes(observation.item.distribution)))
    if data is None and not reduced:
        observation.timed = bool(moving) and system.runs
    if not moving or observation.timed:
        return
    name = _name_of(moving[0])
    span = observation.item.distribution.span
    once = "it reduces the run elsewhere"
    if data is not None:
        once = "each group is a run" if data.group is not None else "each row is a run"
    message = f"`{observation.name}` is observed once in a run, as {once}, but `{name}` changes during it"
    help_text = f"write `final({name})`, `peak({name})` or another reduction"
    if data is not None:
        help_text += "; rows along one run have their time in a column: `t: s as time`"
    label = Label(span, f"reads `{name}` without a reduction over time")
    problems.append(Diagnostic("varies-in-time", message, label, help=help_text))


def parts(observation: Observation) -> Iterator[Scoped]:
    """The expressions of an observation."""
    yield from observation.arguments
    yield from (limit for limit in (observation.below, observation.above) if limit is not None)


def _name_of(read: Read) -> str:
    return read.what.path + "'" * read.order if isinstance(read.what, Variable) else "time"


def _reduces(expr: syntax.Expr) -> bool:
    return isinstance(expr, syntax.Call) and expr.function.span.text in TIME_REDUCTIONS


def _nodes(expr: syntax.Expr) -> Iterator[syntax.Expr]:
    yield expr
    for child in syntax.children(expr):
        yield from _nodes(child)


# ---------------------------------------------------------------- which columns


def _columns(value: Scoped) -> Iterator[Variable]:
    yield from (r.what for r in reads(value) if isinstance(r.what, Variable) and r.what.kind == "column")


def _beside(system: System) -> Iterator[Variable]:
    """The columns of observed data themselves that the right sides of observations name."""
    for observation in system.observations:
        for value in parts(observation):
            yield from (column for column in _columns(value) if column.data is observation.data)


def _signals(system: System) -> Iterator[Variable]:
    """The columns that are read as functions of time."""
    for observation in system.observations:
        for value in parts(observation):
            yield from (column for column in _columns(value) if column.data is not observation.data)
    for value in _equations(system):
        yield from _columns(value)


def _equations(system: System) -> Iterator[Scoped]:
    """All that a system computes with, observations aside."""
    for equation in system.equations:
        yield from (equation.left, equation.right)
    for variable in system.variables:
        if variable.value is not None:
            yield variable.value
    yield from (Scoped(measure.item.value, measure.scope) for measure in system.measures)
    yield from (lagrangian.value for lagrangian in system.lagrangians)
    yield from (applied.value for applied in system.applied)
    for constraint in system.constraints:
        yield from (constraint.left, constraint.right)
    yield from (value for _, value in event_sources(system))
    yield from (event.condition for event in system.events if event.condition is not None)


# ---------------------------------------------------------------- runs


def _together(system: System, problems: list[Diagnostic]) -> bool:
    """Several data of one scenario are of the same runs; functions of time without groups are of any."""
    if any(use.broken for use in system.data):
        return False
    observed = [observation.data for observation in system.observations]
    uses = [use for use in system.data if use.group is not None or use.time is None or use in observed]
    if not uses:
        return True
    first, *others = uses
    for use in others:
        message = None
        if (use.group is None) != (first.group is None):
            grouped, alone = (use, first) if use.group else (first, use)
            message = f"`{grouped.name}` has groups, each a run of its own, and `{alone.name}` has none"
        elif use.group is None and (use.time is None or first.time is None):
            message = f"each row of `{first.name}` is a run, and each of `{use.name}` another"
            if use.time is not None or first.time is not None:
                rows, alone = (first, use) if first.time is None else (use, first)
                message = f"each row of `{rows.name}` is a run, and all rows of `{alone.name}` are along one run"
        elif set(use.groups) != set(first.groups) and not _recorded(use) and not _recorded(first):
            rest = sorted(set(use.groups) ^ set(first.groups))
            owner = use if rest[0] in use.groups else first
            other = first if owner is use else use
            message = f"`{use.name}` and `{first.name}` have different groups: `{rest[0]}` is in `{owner.name}` alone"
            message += f", not in `{other.name}`"
        if message is not None:
            label = Label(system.item.name_span, "reads both")
            related = tuple(Label(u.item.name_span, "declared here") for u in (first, use))
            help_text = "data of one scenario are of the same runs: the same groups, or one run in all"
            problems.append(Diagnostic("different-runs", message, label, related, help_text))
            return False
    return True


def _recorded(use: DataUse) -> bool:
    return isinstance(use.item, syntax.Task)


def _one_value(given: Variable, column: Variable, problems: list[Diagnostic]) -> None:
    """What a row says of a run is one number. A run of which it is not known is left out when it comes to that."""
    use, name = column.data, column.declaration.name
    if use is None or not use.columns or use.place is None:
        return
    values = use.columns[name]
    for run, rows in runs_of(use):
        known = [row for row in rows if not math.isnan(values[row])]
        other = next((row for row in known[1:] if values[row] != values[known[0]]), None)
        if other is not None:
            message = f"`{given.path}` is one number in a run, and the group `{use.groups[run]}` has several"
            label = Label(use.place(other, name), "is another number")
            related = (Label(use.place(known[0], name), "is the first"), Label(given.span, "given here"))
            help_text = f"what changes along the run is read as `{column.path}`"
            problems.append(Diagnostic("not-constant-in-group", message, label, related, help_text))
            return


def _known_somewhere(column: Variable, problems: list[Diagnostic]) -> None:
    """A function of time has a value in each run."""
    use, name = column.data, column.declaration.name
    if use is None or not use.columns or use.place is None:
        return
    for run, rows in runs_of(use):
        if all(math.isnan(use.columns[name][row]) for row in rows):
            message = f"the group `{use.groups[run]}` says nothing of `{name}`, which is read as a function of time"
            label = Label(use.place(rows[0], name), "is missing, as in all rows of the group")
            problems.append(Diagnostic("missing-given", message, label, (Label(column.span, "declared here"),)))
            return


# ---------------------------------------------------------------- cells


def _known(observation: Observation) -> Iterator[int]:
    """The rows in which something is observed."""
    use, column = observation.data, observation.column
    if use is not None and column is not None and use.columns and use.place is not None:
        values = use.columns[column.declaration.name]
        yield from (row for row in range(use.rows) if not math.isnan(values[row]))


def _place(observation: Observation, row: int, name: str) -> Span:
    assert observation.data is not None and observation.data.place is not None
    return observation.data.place(row, name)


def _within(observation: Observation, system: System, problems: list[Diagnostic]) -> None:
    """What is observed along a run is observed while it lasts."""
    use, run = observation.data, system.run
    if use is None or use.time is None or run is None:
        return
    start, end = float(run.start), float(run.start + run.duration)
    slack = 1e-9 * max(end - start, abs(start), abs(end))
    times = use.columns.get(use.time, ())
    outside = [row for row in _known(observation) if not start - slack <= times[row] <= end + slack]
    if not outside:
        return
    row = outside[0]
    early = times[row] < start
    scale = float(run.unit.scale)
    unit = f" [{run.unit.text}]" if run.unit.text else ""
    edge = f"{(start if early else end) / scale:.10g}{unit}"
    message = (
        f"`{observation.name}` is observed {'before the run begins' if early else 'after the run ends'}, at {edge}"
    )
    if len(outside) > 1:
        message += f", in {len(outside)} rows"
    limit = min(times[r] for r in outside) if early else max(times[r] for r in outside)
    word = f"run from {limit / scale:.10g}{unit}"
    help_text = (
        f"write `{word}`" if early else f"let it last until {limit / scale:.10g}{unit}; without `run for` it does"
    )
    related = (Label(run.span, "how long it lasts"),)
    label = Label(_place(observation, row, use.time), "is outside of the run")
    problems.append(Diagnostic("outside-the-run", message, label, related, help_text))


_SUPPORTS: dict[str, tuple[Callable[[float], bool], str]] = {
    "lognormal": (lambda x: x > 0, "is above 0"),
    "exponential": (lambda x: x >= 0, "is 0 or above"),
    "poisson": (lambda x: x >= 0 and x == int(x), "is a whole number from 0"),
    "negative_binomial": (lambda x: x >= 0 and x == int(x), "is a whole number from 0"),
    "bernoulli": (lambda x: x in (0, 1), "is 0 or 1"),
    "beta": (lambda x: 0 < x < 1, "lies between 0 and 1"),
}
"""What a distribution draws at all"""


def _possible(observation: Observation, problems: list[Diagnostic]) -> None:
    """What was measured is something that the distribution draws, limits of detection aside."""
    support, column = _SUPPORTS.get(observation.distribution), observation.column
    if support is None or column is None or observation.data is None:
        return
    holds, words = support
    values = observation.data.columns.get(column.declaration.name, ())
    low, high = (limit and value_of(limit) for limit in (observation.below, observation.above))
    for row in _known(observation):
        value = values[row]
        censored = (observation.below and (low is None or value <= low)) or (
            observation.above and (high is None or value >= high)
        )
        if not censored and not holds(value):
            message = f"what is drawn from `{observation.distribution}` {words}, and this is not"
            related = (Label(observation.item.span, "observed here"),)
            help_text = None
            if observation.distribution == "lognormal":
                help_text = "write `normal(…)`, or a limit of detection after it: `… below 0.1`"
            label = Label(_place(observation, row, column.declaration.name), "cannot be")
            problems.append(Diagnostic("impossible-value", message, label, related, help_text))
            return
