"""`simulate`: one run with nominal givens, with its trajectories, losses and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from dpl.runtime import solve
from dpl.runtime.program import Program, Run
from dpl.runtime.spec import Task
from dpl.tasks.context import Context, Setup, setup
from dpl.tasks.failure import first_not_finite
from dpl.tasks.result import Quantity, Result, Seconds


@dataclass(frozen=True, eq=False, kw_only=True)
class Simulated(Result):
    """The run itself, and its losses and metrics by name."""

    run: Run
    measures: Mapping[str, Quantity]


def simulate(program: Program, task: Task, context: Context) -> Simulated:
    """Runs the scenario once. What differs from run to run has its nominal value, unless a setting gives another."""
    ready = setup(program, task, context)
    began = perf_counter()
    run = ready.scenario.simulate_si(ready.base, task.counts.get("points"))
    measures = {name: Quantity(value, run.units[name]) for name, value in {**run.losses, **run.metrics}.items()}
    cause = first_not_finite(ready.scenario, ready.base, run.code) if run.code != solve.OK else None
    told = run.status if run.code == solve.MAX_STEPS else None  # that adaptive steps ended is no news beside the cause
    notes = [note for note in run.notes if cause is None or note != told] + ([cause] if cause else [])
    return Simulated(
        kind=task.kind,
        name=task.name,
        scenario=task.scenario,
        seed=ready.seed,
        seconds=Seconds(None, perf_counter() - began),
        status="done" if run.code == solve.OK else "unended",
        notes=tuple(notes),
        plot=task.plot,
        runs={task.name: run} if task.plot else {},
        run=run,
        measures=measures,
    )


def pictured(ready: Setup, task: Task, word: str = "before", found: Mapping[str, Any] | None = None) -> dict[str, Run]:
    """The nominal run that a task is to draw, under a word; nothing if it draws nothing."""
    return {word: ready.scenario.simulate_si({**ready.base, **(found or {})})} if task.plot else {}
