"""The clauses of `fit`: what of the data is kept aside, windows of multiple shooting, priors, profiles."""

from __future__ import annotations

from collections.abc import Iterator

from dpl.language import syntax
from dpl.language.clauses import Reading
from dpl.language.diagnostics import Diagnostic, Label, did_you_mean
from dpl.language.infer import Inference
from dpl.language.model import DataUse, NetworkUse, Scope, System, Variable
from dpl.language.settings import Reader, shown
from dpl.language.source import Span
from dpl.language.vary import MOST_LISTED, find


def read_without(clause: syntax.Without, reading: Reading) -> None:
    """`without priors`"""
    reading.priors = clause.word != "priors"
    if reading.priors:
        message = f"`fit` does nothing that `without {clause.word}` would leave out"
        help_text = "write `without priors`: what was measured decides alone"
        reading.inference.report("unknown-option", message, clause.span, "said here", help=help_text)


def read_hold_out(clause: syntax.HoldOut, reading: Reading) -> None:
    """`hold out 3`, so many runs; or `hold out after 15 [day]`"""
    if clause.after is not None:
        found = Reader(reading.inference, reading.system.root).time(clause.after, "when held-out data begin")
        reading.hold_after = None if found is None else float(found)
    elif clause.count is not None:
        if clause.count.denominator == 1 and clause.count >= 1:
            reading.hold_out = int(clause.count)
        else:
            message = "`hold out` takes a whole number of runs from 1"
            reading.inference.report("bad-count", message, clause.span, "is not")


def read_span(clause: syntax.TrainingWindow, reading: Reading) -> None:
    """`window 5 [h]`: how long a window of multiple shooting is."""
    report, length = reading.inference.report, clause.length
    if clause.value is not None:
        message = "a window of a `fit` goes on into the next one, and needs no network for what comes after it"
        help_text = f"write `window {length.span.text}`; `with value` belongs to `train`"
        report("misplaced-clause", message, clause.value.span, "said here", help=help_text)
    found = reading.span_of_time(length, "the length of a window", "a window is longer than 0")
    if found is None:
        return
    reading.span = float(found)
    run = reading.system.run
    if run is not None and found >= run.duration:
        report(
            "window-too-long",
            "this window is as long as the run",
            length.span,
            f"is {shown(found, run.unit)}",
            related=(Label(run.span, f"lasts {shown(run.duration, run.unit)}"),),
            help="make it shorter, or leave `window` out to go through whole runs",
        )


def check_fit(reading: Reading) -> None:
    """Whether there is something to fit, to something, and whether what is kept aside leaves any of it."""
    system, item = reading.system, reading.item
    if not observed_data(system):
        if reading.sound and not any(data.broken for data in system.data):  # else an `observe` may be what is wrong
            _nothing_observed(reading)
        return
    if "vary" not in reading.clauses:
        message, way_out = f"the task `{item.name}` says no `vary`", "write `vary all`: every param and network"
        named = list(_unknowns(reading.inference))
        if named:
            way_out += f"; or name what is not known, `vary {', '.join(named[:MOST_LISTED])}`"
        reading.missing(message, "declared here", way_out)
    _some_runs_left(reading)
    _some_times_left(reading)
    if reading.span is not None and system.hybrid:
        reading.inference.report(
            "not-supported",
            "a `window` in a scenario with events, modes or constraints is not supported by this version of DPL",
            reading.place("window"),
            "asked for here",
            help="leave `window` out: `fit` then goes through whole runs, with their events",
        )
    elif reading.span is not None and not _timed(system):
        message = "windows are cut along the time, and nothing is observed along it"
        help_text = "leave `window` out: each run is observed once"
        reading.inference.report("no-time", message, reading.place("window"), "asked for here", help=help_text)
    for clause in reading.item.clauses:
        if isinstance(clause, syntax.Profile):
            for path in clause.paths:
                _profile(path, clause, reading)


def observed_data(system: System) -> tuple[DataUse, ...]:
    """The data that a scenario observes, each once."""
    return tuple(dict.fromkeys(o.data for o in system.observations if o.data is not None))


def _timed(system: System) -> bool:
    return any(o.timed for o in system.observations if o.data is not None)


def _unknowns(inference: Inference) -> Iterator[str]:
    """What `vary` may name: params, and the networks that are called."""
    system = inference.system
    yield from (v.path for v in system.variables if v.kind == "param")
    yield from (n.path for n in system.networks if n in inference.used)


# ---------------------------------------------------------------- what is observed


def _nothing_observed(reading: Reading) -> None:
    system = reading.system
    message = f"scenario `{system.name}` observes no data, so that there is nothing to fit it to"
    sensors = [o for o in system.observations if o.data is None]
    columns = list(columns_of(system))
    way_out = 'declare `data points(x, y) from "points.csv"` in the file, and in the scenario `observe points.y ~ …`'
    if columns:
        way_out = f"say in the scenario what was measured: `observe {columns[0].path} ~ normal(…)`"
    elif sensors:
        name = sensors[0].name
        way_out = f"`{name}` is a sensor, which `record shots` reads: a scenario observes `shots.{name} ~ …`"
    reading.inference.report("nothing-observed", message, reading.place("on"), "named here", help=way_out)


def columns_of(system: System) -> Iterator[Variable]:
    """The columns of values of all data that the file declares."""
    names = system.root.file.names if system.root.file else {}
    for holder in names.values():
        data = holder.data if isinstance(holder, Scope) else None
        for name, column in data.scope.names.items() if data is not None else ():
            if isinstance(column, Variable) and data and name not in (data.time, data.group):
                yield column


# ---------------------------------------------------------------- what is kept aside


def _some_runs_left(reading: Reading) -> None:
    runs = {data: data.runs for data in observed_data(reading.system) if data.columns}
    if not runs or reading.hold_out < max(runs.values()):
        return
    data = max(runs, key=lambda data: runs[data])
    reading.inference.problems.append(none_left(reading.hold_out, runs[data], reading.place("hold out"), data))


def none_left(held_out: int, runs: int, place: Span, data: DataUse) -> Diagnostic:
    count = f"{held_out} run{'s' if held_out > 1 else ''}"
    help_text = "hold out fewer"
    if data.time is not None and runs == 1:
        help_text = "hold out what is late in it, `hold out after …`, or say which column tells the runs: `as group`"
    return Diagnostic(
        "nothing-left",
        f"holding out {count} of {runs} leaves nothing to fit to",
        Label(place, "said here"),
        (Label(data.item.name_span, f"is of {runs} run{'s' if runs > 1 else ''}"),),
        help_text,
    )


def _some_times_left(reading: Reading) -> None:
    after = reading.hold_after
    if after is None:
        return
    place, report = reading.place("hold out after"), reading.inference.report
    timed = [data for data in observed_data(reading.system) if data.time is not None]
    if not timed:
        message = "nothing of the data has a time after which it could be held out"
        report("no-time", message, place, "said here", help="say how many runs: `hold out 2`")
        return
    times = [t for data in timed for t in data.columns.get(data.time or "", ()) if t == t]
    if _start_alone(times, after, reading) and len(timed) == len(observed_data(reading.system)):
        start = f"begins at {shown(min(times), reading.system.time)}"
        report(
            "nothing-left",
            "holding out all that is so late leaves only what was measured where the run starts",
            place,
            "keeps no later time",
            related=(Label(timed[0].item.name_span, start),),
            help="hold out what is later still",
        )
        return
    if not times or min(times) <= after < max(times):
        return
    ends = [shown(end, reading.system.time) for end in (min(times), max(times))]
    early = after < min(times)
    report(
        "nothing-left",
        "holding out all that is so late leaves nothing to fit to"
        if early
        else "nothing is so late: it holds out no data",
        place,
        "is before the first time" if early else "is not before the last time",
        related=(Label(timed[0].item.name_span, f"goes from {ends[0]} to {ends[1]}"),),
    )


def _start_alone(times: list[float], after: float, reading: Reading) -> bool:
    """Whether of many times the run's start alone is kept, where the model has said nothing yet."""
    run = reading.system.run
    return run is not None and {t for t in times if t <= after} == {float(run.start)} and after < max(times)


# ---------------------------------------------------------------- profiles


def _profile(path: tuple[str, ...], clause: syntax.Profile, reading: Reading) -> None:
    """The quantity whose profile likelihood is wanted: one number that all runs share, and that varies."""
    name, report = ".".join(path), reading.inference.report
    varied = next((q for q in reading.vary if q.path == name), None)
    found = find(path, clause.span, reading.inference)
    if found is None:
        return
    message = way_out = None
    if isinstance(found, NetworkUse | Scope):
        what = "a network, whose weights mean nothing one by one" if isinstance(found, NetworkUse) else "a part"
        message = f"`{name}` is {what}: a profile is of one number"
    elif varied is None:
        message = f"`{name}` does not vary, so that it has no profile"
        close = did_you_mean(name, [q.path for q in reading.vary])
        way_out = close or f"write `vary {name}`, too"
    elif varied.each:
        message = f"each run has a `{name}` of its own: a profile is of one number"
        way_out = f"leave it out, or write `vary {name}`: one value for all runs"
    elif isinstance(found, Variable) and found.shape:
        message = f"`{name}` is an array: a profile is of one number"
    elif name in reading.profile:
        report("said-twice", f"`profile {name}` is said twice", clause.span, "said again here")
    if message is not None:
        report("no-profile", message, clause.span, f"asks for `{name}`", help=way_out)
        return
    reading.profile[name] = None
