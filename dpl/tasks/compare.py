"""`compare`: what earlier tasks reached, on the same runs: those that `verify` and `optimize` run by run meet.

An optimisation of single runs that has not met all of them is done again for these, what it varied for all runs held
as it was found; all else is evaluated on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dpl.runtime.program import Program
from dpl.runtime.spec import Free, Given, Task
from dpl.tasks import vary
from dpl.tasks.context import Context, Setup, of_scenario, setup
from dpl.tasks.optimize import Optimized, minimised, optimize
from dpl.tasks.result import Quantity, Result, Seconds, declared
from dpl.tasks.sampling import evaluate, stream, varying
from dpl.tasks.train import Trained

SAMPLES = 100
ITERATIONS, WALL_TIME = "iterations", "wall_time"


@dataclass(frozen=True, eq=False)
class Row:
    """What one task reached: its losses and metrics over the common runs, and what one run cost."""

    task: str
    measures: Mapping[str, Quantity]
    """Arrays over runs; NaN where a run did not end well"""
    iterations: float
    """A run, on average: 0 where nothing is left to be done for it"""
    wall_time: float
    """A run [s], without compiling"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Compared(Result):
    samples: int
    show: tuple[str, ...]
    """Names of losses and metrics, `iterations`, `wall_time`"""
    rows: tuple[Row, ...]


def compare(program: Program, task: Task, context: Context) -> Compared:
    """One row for each task of `of`."""
    seed = task.counts.get("seed", program.seed) if context.seed is None else context.seed
    if unknown := [name for name in task.of if name not in context.results]:
        raise ValueError(f"compare {task.name} needs the results of {', '.join(unknown)}")
    before = [context.results[name] for name in task.of]
    met = [r.samples for r in before if isinstance(r, Optimized) and r.separate]
    samples = task.counts.get("samples", min(met, default=SAMPLES))
    context.progress.begin(f"compare {task.name}", len(before))
    rows: list[Row] = []
    notes: list[str] = []
    try:
        for result in before:
            rows.append(_row(program, result, seed, samples, context, notes))
            context.progress.advance(len(rows))
    finally:
        context.progress.end()
    shared = [name for name in rows[0].measures if all(name in row.measures for row in rows)] if rows else []
    return Compared(
        kind=task.kind,
        name=task.name,
        scenario="",
        seed=seed,
        seconds=Seconds(None, sum(row.wall_time * samples for row in rows)),
        defaults=() if "samples" in task.counts else (f"samples {samples:_}",),
        notes=tuple(notes),
        samples=samples,
        show=task.show or (*shared, ITERATIONS, WALL_TIME),
        rows=tuple(rows),
    )


def _row(program: Program, result: Result, seed: int, samples: int, context: Context, notes: list[str]) -> Row:
    if isinstance(result, Optimized) and result.separate:
        return _own(program, result, seed, samples, context, notes)
    if isinstance(result, Optimized) and result.by_run:
        return _rest(program, result, seed, samples, context, notes)
    return _evaluated(program, result, seed, samples, context)


def _own(program: Program, result: Optimized, seed: int, samples: int, context: Context, notes: list[str]) -> Row:
    """Of a task that does its work anew in each run."""
    if result.seed != seed or result.samples < samples or result.status == "interrupted":
        task = program.tasks[result.name]
        again = replace(task, counts={**task.counts, "samples": samples, "seed": seed}, plot=())
        result = optimize(program, again, Context(seed, context.settings))
        notes.append(f"{result.name} was done again for the runs that are compared")
    return _optimised(result, samples)


def _rest(program: Program, result: Optimized, seed: int, samples: int, context: Context, notes: list[str]) -> Row:
    """Of a task that found something for all runs, and the rest for each: the rest again, as one problem as before."""
    task = program.tasks[result.name]
    ready = setup(program, task, Context(seed, context.settings))
    base, found = _then(ready, task, result)
    ready = replace(ready, base=base, pinned=(ready.pinned - _trained_with(ready, task, context)) | found)
    each = tuple(varied for varied in task.vary if varied.each)
    again = replace(task, vary=each, counts={**task.counts, "samples": samples}, plot=())
    reached = minimised(ready, again, Context(seed, context.settings), stream(seed, "verify"), separate=False)
    notes.append(f"{result.name} found {', '.join(v.name for v in each)} again for the runs that are compared")
    return _optimised(reached, samples)


def _optimised(result: Optimized, samples: int) -> Row:
    """Of the first runs of an optimisation."""
    measures = {name: Quantity(q.value[:samples], q.unit) for name, q in result.measures.items()}
    wall_time = result.seconds.run / result.samples
    return Row(result.name, measures, float(np.mean(result.iterations[:samples])), wall_time)


def _evaluated(program: Program, result: Result, seed: int, samples: int, context: Context) -> Row:
    """Of a task after which nothing is left to be done in a run: with the values that it found then."""
    task = program.tasks[result.name]
    ready = setup(program, task, context)
    base, found = _then(ready, task, result)
    pinned = (ready.pinned - _trained_with(ready, task, context)) | found
    different = varying(ready.scenario, pinned)
    arguments = ready.scenario, base, pinned, stream(seed, "verify"), samples if different else 1
    reached = evaluate(*arguments)
    again = evaluate(*arguments).seconds
    runs = {m.name: np.broadcast_to(reached.results[m.name], samples) for m in ready.scenario.spec.measures}
    measures = {m.name: declared(runs[m.name], m.unit) for m in ready.scenario.spec.measures}
    return Row(result.name, measures, 0.0, ((again.compile or 0.0) + again.run) / reached.status.size)


def _trained_with(ready: Setup, task: Task, context: Context) -> frozenset[str]:
    """Drawn givens that the task held fixed for itself: on the common runs they are drawn."""
    own = frozenset(name for name, _ in task.settings) - of_scenario(context.settings, ready.scenario).keys()
    return own & varying(ready.scenario, frozenset())


def _then(ready: Setup, task: Task, result: Result) -> tuple[dict[str, Any], frozenset[str]]:
    """The SI values that a task left, whatever came later, and which of them are no params."""
    base, params = dict(ready.base), {}
    if isinstance(result, Trained | Optimized):
        params = ready.scenario.values_si(result.params)
        base |= {name: params[name] for name in result.params if name not in ready.pinned}
    if not isinstance(result, Optimized):
        return base, frozenset()
    shared = (f.declaration for f in vary.freedoms(ready.scenario, task) if not f.each)
    others = [d for d in shared if isinstance(d, Given | Free)]
    found = {d.name: result.found[d.name].value * d.unit.scale for d in others}
    return base | found, frozenset(found)
