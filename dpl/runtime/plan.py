"""The times of a run, known before it starts: ticks, solver steps, the grid on which quantities are recorded.

Times are products of an index and a step, never sums of steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

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
    step: Any = None
    """The step [s], traced, where `steps` and `rest_steps` only say how many there is room for. Those that are not
    needed have no length."""
    clocked: bool = False
    """Whether a traced step is to divide `base`"""

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

    # -- where the step is traced

    def begins(self, length: float, steps: int) -> tuple[Array, Array]:
        """Where the steps of an interval begin, and its end [steps + 1], from its beginning [s]; how many are real."""
        step = jnp.asarray(self.step)
        count = jnp.ceil(length / step * (1 - SLACK)).astype(jnp.int32)
        step = length / count.astype(step.dtype) if self.clocked else step
        number = jnp.arange(steps + 1, dtype=jnp.int32)
        return jnp.where(number < count, number.astype(step.dtype) * step, length), count

    def real(self) -> Array:
        """Which grid points are those of real steps, in the order of `solve`'s series."""

        def first(length: float, steps: int) -> Array:
            return jnp.arange(steps, dtype=jnp.int32) < self.begins(length, steps)[1]

        parts = [jnp.tile(first(self.base, self.steps), self.intervals)]
        parts += [first(self.rest, self.rest_steps)] if self.rest_steps else []
        return jnp.concatenate([*parts, jnp.ones(1, bool)])

    def order(self) -> Array:
        """The indices of the grid points, those of real steps first."""
        return jnp.argsort(~self.real(), stable=True)

    def last(self) -> Any:
        """The index of the end among `times`."""
        return len(self.grid()) - 1 if self.step is None else jnp.sum(self.real(), dtype=jnp.int32) - 1

    def times(self) -> Any:
        """`grid`; where the step is traced the real points, followed by as many more after the end as there is room."""
        if self.step is None:
            return self.grid()
        within = self.begins(self.base, self.steps)[0][:-1]
        ticks = self.start + np.arange(self.intervals) * self.base
        parts = [(jnp.asarray(ticks, within.dtype)[:, None] + within[None]).ravel()]
        if self.rest_steps:
            parts.append(self.start + self.intervals * self.base + self.begins(self.rest, self.rest_steps)[0][:-1])
        every = jnp.concatenate([*parts, jnp.full(1, self.end, within.dtype)])[self.order()]
        after = (jnp.arange(len(every), dtype=jnp.int32) - self.last()).astype(every.dtype)
        return jnp.where(after > 0, self.end + after * (self.base / self.steps), every)


def fixed(run: Run, method: Method) -> Plan:
    """Steps of the length that the method prescribes; the last one shortened where they do not fill the run."""
    step = method.arguments.get("step", run.base)
    if step is None:
        raise ValueError(f"the method `{method.name}` needs a step, as in `{method.name}(step = 0.01)`")
    places = method.arguments.get("places")
    if places is not None:
        room: int = np.shape(places)[0]
        base = run.duration if run.base is None else run.base
        plan = _plan(run, base, room)
        return replace(plan, rest_steps=room if plan.rest_steps else 0, step=step, clocked=run.base is not None)
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
