"""The optimisation loop: many steps of a pure update as one compiled call.

Python returns between chunks of steps, only to show progress, to look for an interrupt and for a loss that is not
finite. Results do not depend on the chunks.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.tasks.problem import LONGEST_CHUNK, Constants, Problem, Values, compiled
from dpl.tasks.result import Progress, Quantity, Seconds, declared, number

CHUNK_SECONDS = 0.3
WINDOWS = 20
"""The loss is compared by its means over so many equal parts of the task."""


@dataclass(frozen=True)
class Schedule:
    """The numbers of a problem: changing one compiles nothing."""

    steps: int
    rate: float
    seed: int


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where the loop ended. `values` [SI] are those of step `kept`, `losses` those of all steps of the best start."""

    values: dict[str, Any]
    losses: np.ndarray
    kept: int
    start: int
    unended: int
    """How many of all runs did not end well"""
    seconds: Seconds
    interrupted: bool = False


@dataclass(frozen=True, eq=False)
class Best:
    """The values [SI] of a start after a step, and the mean loss of the window that they end."""

    loss: float = float("inf")
    start: int = 0
    step: int = 0
    values: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(eq=False)
class NotFinite(Exception):
    """No start has a finite loss and gradient at `step`; `values` are the last good ones of the start that lasted."""

    step: int
    values: dict[str, Any]
    losses: np.ndarray


def minimise(
    problem: Problem,
    starts: Sequence[Values],
    base: Values,
    schedule: Schedule,
    progress: Progress,
    chunk: int | None = None,
) -> Minimum:
    """Descends from each of the starts and returns the best.

    What the last step left is kept, unless the mean loss of the last window is above that of the first: then the
    values at the end of the best window are.

    Args:
        starts: SI values of what is varied, one mapping per start.
        chunk: steps per compiled call; by default it adapts to the clock.
    Raises:
        NotFinite: no start has a finite loss and gradient any more.
    """
    loop = _Loop(problem, starts, base, schedule)
    with _interrupts() as interrupted:
        while loop.step < schedule.steps and not interrupted():
            loop.advance(chunk)
            progress.advance(
                loop.step, loss=str(loop.declared(loop.shown)), best=number(loop.declared(loop.lowest).value)
            )
    return loop.minimum(interrupted())


class _Loop:
    """The state of a descent on Python's side: histories, windows and the pace."""

    def __init__(self, problem: Problem, starts: Sequence[Values], base: Values, schedule: Schedule):
        began = perf_counter()
        self.problem, self.schedule = problem, schedule
        self.constants = _constants(base, schedule)
        self.compiled = compiled(problem)
        self.carry = self.compiled.begin(starts)
        self.step, self.count = 0, 1
        self.window = max(1, schedule.steps // WINDOWS)
        self.losses = np.empty((0, problem.starts))
        self.shown = self.lowest = float("inf")
        """The mean loss of the best start in the last chunk, and the lowest of these"""
        self.best = Best()
        self.carry, _ = self.compiled.run(self.carry, self.constants, 0)
        jax.block_until_ready(self.carry)
        self.compile_seconds = perf_counter() - began
        self.run_seconds = 0.0

    def advance(self, chunk: int | None) -> None:
        """One compiled call, of no more steps than remain in the window."""
        began = perf_counter()
        before, border = self.step, (self.step // self.window + 1) * self.window
        until = min(before + min(chunk or self.count, LONGEST_CHUNK), border, self.schedule.steps)
        self.carry, losses = self.compiled.run(self.carry, self.constants, until)
        self.step = int(self.carry.step)
        failed = self.step < until
        fresh = np.asarray(losses)[: self.step - before + failed]
        self.losses = np.concatenate([self.losses, fresh])
        self._pace(until - before, perf_counter() - began)
        if failed:
            raise NotFinite(self.step, self.values(int(np.argmax(self._lasted()))), self.losses)
        self.shown = float(np.nanmin(fresh.mean(axis=0)))
        self.lowest = min(self.lowest, self.shown)
        if self.step == min(border, self.schedule.steps):
            self._compare()

    def _pace(self, steps: int, seconds: float) -> None:
        self.run_seconds += seconds
        wanted = steps * CHUNK_SECONDS / max(seconds, 1e-6)
        self.count = int(min(max(wanted, 1), 8 * self.count, LONGEST_CHUNK))

    def _compare(self) -> None:
        """Remembers the values at the end of the best window."""
        means = self._means(self.step)
        start = int(np.argmin(means))
        if means[start] < self.best.loss:
            self.best = Best(float(means[start]), start, self.step, self.values(start))

    def _means(self, step: int) -> np.ndarray:
        """The mean loss of each start over the window that ends at `step`; infinite for starts that failed."""
        part = self.losses[max(0, (step - 1) // self.window * self.window) : step]
        if not part.size:
            return np.zeros(self.problem.starts)
        return np.where(np.isfinite(part).all(axis=0), part.mean(axis=0), np.inf)

    def _lasted(self) -> np.ndarray:
        return np.isfinite(self.losses).sum(axis=0)

    def values(self, start: int) -> dict[str, Any]:
        """The SI values of one start, in arrays that outlive the carry."""
        return self.compiled.values(self.carry.theta, start)

    def declared(self, loss: float) -> Quantity:
        objective = self.problem.objective
        return declared(-loss if objective.maximize else loss, objective.unit)

    def minimum(self, interrupted: bool) -> Minimum:
        last, first = self._means(self.step), self._means(min(self.window, self.step))
        start = int(np.argmin(last))
        end = Best(float(last[start]), start, self.step, self.values(start))
        kept = self.best if last[start] > first.min() and self.best.values else end
        sign = -1.0 if self.problem.objective.maximize else 1.0
        return Minimum(
            values=kept.values,
            losses=sign * self.losses[:, kept.start],
            kept=kept.step,
            start=kept.start,
            unended=int(self.carry.unended),
            seconds=Seconds(self.compile_seconds, self.run_seconds),
            interrupted=interrupted,
        )


def _constants(base: Values, schedule: Schedule) -> Constants:
    rate, steps = jnp.asarray(schedule.rate, float), jnp.asarray(schedule.steps, float)
    return Constants(base, jnp.asarray(schedule.seed, int), steps, rate)


# ---------------------------------------------------------------- interrupts


@contextmanager
def _interrupts() -> Generator[Callable[[], bool]]:
    """Within it, a first Ctrl-C sets a flag to be seen between chunks; a second one interrupts at once."""
    seen: list[int] = []
    before = signal.getsignal(signal.SIGINT) or signal.SIG_DFL

    def first(number: int, frame: Any) -> None:
        seen.append(number)
        signal.signal(signal.SIGINT, before)

    try:
        signal.signal(signal.SIGINT, first)
    except ValueError:  # only the main thread may
        yield lambda: False
        return
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, before)
