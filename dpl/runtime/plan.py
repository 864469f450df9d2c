"""The times of a run, known before it starts: ticks, solver steps, the grid on which quantities are recorded.

Times are products of an index and a step, never sums of steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dpl.runtime.spec import Method, Run

SLACK = 1e-9
"""Relative error of a step within which a duration counts as its multiple."""


@dataclass(frozen=True)
class Plan:
    """`intervals` of length `base` [s], each of `steps` equal steps; then `rest` [s], in `rest_steps` equal ones."""

    start: float
    duration: float
    base: float
    intervals: int
    steps: int
    rest: float
    rest_steps: int

    @property
    def end(self) -> float:
        return self.start + self.duration

    def grid(self) -> np.ndarray:
        """The times [s] at which each step begins, and the end."""
        step = self.base / self.steps
        ticks = self.start + np.arange(self.intervals) * self.base
        times: list[np.ndarray] = [(ticks[:, None] + np.arange(self.steps) * step).ravel()]
        if self.rest_steps:
            times.append(
                self.start + self.intervals * self.base + np.arange(self.rest_steps) * (self.rest / self.rest_steps)
            )
        return np.concatenate([*times, [self.end]])


def fixed(run: Run, method: Method) -> Plan:
    """Steps of the length that the method prescribes; the last one shortened where they do not fill the run."""
    step = method.arguments.get("step", run.base)
    if step is None:
        raise ValueError(f"the method `{method.name}` needs a step, as in `{method.name}(step = 0.01)`")
    base = float(step) if run.base is None else run.base
    return _plan(run, base, _ceil(base / float(step)))


def adaptive(run: Run, points: int) -> Plan:
    """Intervals between ticks (or the whole run), each with its share of about `points` recording points."""
    base = run.duration if run.base is None else min(run.base, run.duration)
    share = points * base / run.duration
    nearest = round(share)
    steps = nearest if nearest >= 1 and abs(share - nearest) < SLACK * nearest else _ceil(share)
    return _plan(run, base, max(steps, 1))


def _plan(run: Run, base: float, steps: int) -> Plan:
    intervals = math.floor(run.duration / base * (1 + SLACK))
    rest = run.duration - intervals * base
    if rest <= SLACK * base:
        return Plan(run.start, run.duration, base, intervals, steps, 0.0, 0)
    return Plan(run.start, run.duration, base, intervals, steps, rest, _ceil(rest / (base / steps)))


def _ceil(ratio: float) -> int:
    return max(1, math.ceil(ratio * (1 - SLACK)))
