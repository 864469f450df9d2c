"""`evaluate`: how losses and metrics are spread over fresh runs. It judges nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dpl.runtime.program import Program
from dpl.runtime.spec import Measure, Task
from dpl.tasks.context import Context
from dpl.tasks.result import Result
from dpl.tasks.verify import SHOWN, Failing, did_not_end, fresh_runs

NORMAL = 1.96
"""Half the width of a 95 % interval, in standard errors"""


@dataclass(frozen=True)
class Spread:
    """One loss or metric over the runs that ended, in its declared unit; `error` is that of the mean."""

    name: str
    unit: str
    runs: int
    mean: float
    error: float
    """Half the width of the 95 % interval of the mean"""
    sd: float
    lowest: float
    low: float
    """The quantile 0.05"""
    median: float
    high: float
    """The quantile 0.95"""
    highest: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluated(Result):
    samples: int
    spreads: tuple[Spread, ...]
    unended: tuple[Failing, ...] = ()
    unended_count: int = 0


def evaluate(program: Program, task: Task, context: Context) -> Evaluated:
    """Tabulates every loss and metric."""
    ready, found, defaults, runs = fresh_runs(program, task, context)
    ended = found.status == 0
    unended = np.flatnonzero(~ended)
    return Evaluated(
        kind=task.kind,
        name=task.name,
        scenario=task.scenario,
        seed=ready.seed,
        seconds=found.seconds,
        notes=found.notes(ready.scenario),
        defaults=defaults,
        plot=task.plot,
        runs=runs,
        samples=ended.size,
        spreads=tuple(spread(m, found.results[m.name][ended]) for m in ready.scenario.spec.measures),
        unended=tuple(did_not_end(ready.scenario, found, int(i)) for i in unended[:SHOWN]),
        unended_count=int(unended.size),
    )


def spread(measure: Measure, values: np.ndarray) -> Spread:
    """How the values [SI] of a measure are spread over runs."""
    values = np.asarray(values, float) / measure.unit.scale
    sd = float(np.std(values, ddof=1)) if values.size > 1 else math.nan
    quantiles = np.quantile(values, [0.0, 0.05, 0.5, 0.95, 1.0]) if values.size else np.full(5, math.nan)
    mean = float(values.mean()) if values.size else math.nan
    error = NORMAL * sd / math.sqrt(max(values.size, 1))
    return Spread(measure.name, measure.unit.text, values.size, mean, error, sd, *map(float, quantiles))
