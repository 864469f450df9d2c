"""`verify`: expectations on fresh runs, which no training with the same seed has met.

A run that does not end well fails the task, whatever its numbers; a comparison with what is not finite does not hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dpl.runtime.program import Program, Run, Scenario
from dpl.runtime.solve import STATUS
from dpl.runtime.spec import Comparison, Task
from dpl.tasks.bootstrap import Interval, intervals
from dpl.tasks.comparison import holds
from dpl.tasks.context import Context, Setup, setup
from dpl.tasks.result import Quantity, Result, Sample, declared
from dpl.tasks.sampling import Evaluated, evaluate, rows, sample, stream, varying
from dpl.tasks.simulate import pictured

SAMPLES = 1_000
SHOWN = 5
"""So many failing runs are returned of each kind; all are counted"""


@dataclass(frozen=True, eq=False)
class Failing:
    """A run that fails an expectation, or did not end well; `values` are the operands, or empty."""

    sample: Sample
    values: tuple[Quantity, ...]
    why: str = ""


@dataclass(frozen=True, eq=False)
class Checked:
    """An expectation as found: the operands in its unit (of `per_run`, the lowest and highest over runs)."""

    text: str
    holds: bool
    ops: tuple[str, ...]
    operands: tuple[tuple[float, float], ...]
    unit: str
    per_run: bool
    intervals: tuple[Interval | None, ...] = ()
    """The 95 % interval of each operand, by the bootstrap; None of what is not reduced over runs, or is certain"""
    failing: tuple[Failing, ...] = ()
    failing_count: int = 0


@dataclass(frozen=True, eq=False, kw_only=True)
class Verified(Result):
    samples: int
    checked: tuple[Checked, ...]
    unended: tuple[Failing, ...] = ()
    unended_count: int = 0


def verify(program: Program, task: Task, context: Context) -> Verified:
    """Whether all that the task expects holds."""
    ready, found, defaults, runs = fresh_runs(program, task, context)
    sure = intervals(task.expectations, found.results, ready.seed)
    checked = tuple(check(e, ready.scenario, found, i) for e, i in zip(task.expectations, sure, strict=True))
    unended = np.flatnonzero(found.status != 0)
    return Verified(
        kind=task.kind,
        name=task.name,
        scenario=task.scenario,
        seed=ready.seed,
        seconds=found.seconds,
        status="done" if all(c.holds for c in checked) and not unended.size else "failed",
        notes=found.notes(ready.scenario),
        defaults=defaults,
        plot=task.plot,
        runs=runs,
        samples=found.status.size,
        checked=checked,
        unended=tuple(did_not_end(ready.scenario, found, int(i)) for i in unended[:SHOWN]),
        unended_count=int(unended.size),
    )


def fresh_runs(
    program: Program, task: Task, context: Context
) -> tuple[Setup, Evaluated, tuple[str, ...], dict[str, Run]]:
    """A task's scenario on runs that no training with the same seed has met; what was chosen; what is to be drawn."""
    ready = setup(program, task, context)
    different = varying(ready.scenario, ready.pinned)
    samples = task.counts.get("samples", rows(ready.scenario, ready.pinned) or SAMPLES) if different else 1
    context.progress.begin(f"{task.kind} {task.name}", samples)
    try:
        seed = stream(ready.seed, "verify")
        found = evaluate(ready.scenario, ready.base, ready.pinned, seed, samples, context.progress.advance)
    finally:
        context.progress.end()
    return ready, found, _defaults(task, samples, bool(different)), pictured(ready, task, task.name)


def _defaults(task: Task, samples: int, different: bool) -> tuple[str, ...]:
    if not different:
        return ("one run: nothing differs from run to run",)
    return () if "samples" in task.counts else (f"samples {samples:_}",)


def check(expectation: Comparison, scenario: Scenario, found: Evaluated, sure: tuple[Interval | None, ...]) -> Checked:
    """One expectation on all runs; one that is no comparison is a truth value."""
    operands = [np.asarray(x) for x in expectation.operands(found.results)]
    found_to_hold = holds(expectation.ops, operands)
    failing = np.flatnonzero(~found_to_hold) if expectation.per_run else np.empty(0, int)
    scaled = [np.asarray(x, dtype=float) / expectation.unit.scale for x in operands]
    return Checked(
        text=expectation.text,
        holds=bool(np.all(found_to_hold)),
        ops=expectation.ops,
        operands=tuple(_ends(x) for x in scaled),
        unit=expectation.unit.text,
        per_run=expectation.per_run,
        intervals=tuple(i and (i[0] / expectation.unit.scale, i[1] / expectation.unit.scale) for i in sure),
        failing=tuple(_failing(expectation, scenario, found, operands, int(i)) for i in failing[:SHOWN]),
        failing_count=int(failing.size),
    )


def _ends(values: np.ndarray) -> tuple[float, float]:
    """The lowest and highest over the runs that have a value."""
    known = values[~np.isnan(values)] if values.ndim else values
    return (float(known.min()), float(known.max())) if known.size else (math.nan, math.nan)


def _failing(
    expectation: Comparison, scenario: Scenario, found: Evaluated, operands: list[np.ndarray], i: int
) -> Failing:
    values = tuple(declared(x[i] if x.ndim else x, expectation.unit) for x in operands)
    return Failing(sample(scenario, found.givens, i, i), values)


def did_not_end(scenario: Scenario, found: Evaluated, i: int) -> Failing:
    """Run `i` with why it has no results."""
    return Failing(sample(scenario, found.givens, i, i), (), STATUS[int(found.status[i])])
