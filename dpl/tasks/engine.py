"""The optimisation loop: many steps of a pure update as one compiled call.

A problem compiles one program, whatever its numbers and however many steps. Python returns between chunks of steps,
only to show progress, to look for an interrupt and for a loss that is not finite. Results do not depend on the chunks.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime.bounds import Bounds
from dpl.runtime.program import Scenario
from dpl.runtime.spec import Objective
from dpl.tasks.optimisers import DECAYS, Descent
from dpl.tasks.result import Progress, Seconds, declared
from dpl.tasks.sampling import drawn

CHUNK_SECONDS = 0.3
LONGEST_CHUNK = 4096
WINDOWS = 20
"""The loss is compared by its means over so many equal parts of the task."""

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """What is minimised and how, without its numbers. Equal problems share one compiled program.

    `bounds` names what is varied; None for networks, whose weights have no bounds. `samples` is the size of a fixed set
    of runs, met in a new order in each epoch; None means fresh runs in each step. `starts` go side by side.
    """

    scenario: Scenario
    objective: Objective
    bounds: tuple[tuple[str, Bounds | None], ...]
    batch: int
    descent: tuple[str, tuple[tuple[str, float], ...]]
    decay: str
    samples: int | None = None
    starts: int = 1
    pinned: frozenset[str] = frozenset()

    def outward(self, values: Values) -> dict[str, Any]:
        """Free numbers from SI values."""
        return {name: b.outward(values[name]) if b else values[name] for name, b in self.bounds}

    def inward(self, theta: Values) -> dict[str, Any]:
        """SI values from free numbers."""
        return {name: b.inward(theta[name]) if b else theta[name] for name, b in self.bounds}

    def loss(self, theta: Any, base: Values, givens: Values, indices: Any) -> tuple[Any, Any]:
        """The objective over some runs, to be minimised, and how many of them did not end well."""
        values = {**base, **self.inward(theta)}
        results, status = jax.vmap(lambda row, _: self.scenario.measures_si({**values, **row}))(givens, indices)
        value = self.objective.function(results)
        return -value if self.objective.maximize else value, jnp.sum(status != 0)


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


class Carry(NamedTuple):
    """What goes from step to step; `theta` and `memory` have a leading axis of starts, `alive` one flag per start."""

    step: Any
    theta: Any
    memory: Any
    order: Any
    alive: Any
    unended: Any


class Constants(NamedTuple):
    base: Values
    seed: Any
    steps: Any
    rate: Any


def problem(
    scenario: Scenario,
    objective: Objective,
    bounds: tuple[tuple[str, Bounds | None], ...],
    descent: Descent,
    batch: int,
    samples: int | None = None,
    starts: int = 1,
    pinned: frozenset[str] = frozenset(),
) -> Problem:
    """The problem that a descent solves in batches of runs."""
    batch = batch if samples is None else min(batch, samples)
    method = (descent.name, descent.options)
    return Problem(scenario, objective, bounds, batch, method, descent.decay, samples, starts, pinned)


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
            progress.advance(loop.step, loss=loop.written(loop.shown), best=loop.written(loop.best.loss))
    return loop.minimum(interrupted())


class _Loop:
    """The state of a descent on Python's side: histories, windows and the pace."""

    def __init__(self, problem: Problem, starts: Sequence[Values], base: Values, schedule: Schedule):
        began = perf_counter()
        self.problem, self.schedule = problem, schedule
        self.constants = _constants(base, schedule)
        self.compiled = _compiled(problem)
        self.carry = self.compiled.begin(starts)
        self.step, self.count = 0, 1
        self.window = max(1, schedule.steps // WINDOWS)
        self.losses = np.empty((0, problem.starts))
        self.shown = float("inf")
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
        self.losses = np.concatenate([self.losses, np.asarray(losses)[: self.step - before + failed]])
        self._pace(until - before, perf_counter() - began)
        if failed:
            raise NotFinite(self.step, self.values(int(np.argmax(self._lasted()))), self.losses)
        self._compare()

    def _pace(self, steps: int, seconds: float) -> None:
        self.run_seconds += seconds
        wanted = steps * CHUNK_SECONDS / max(seconds, 1e-6)
        self.count = int(min(max(wanted, 1), 8 * self.count, LONGEST_CHUNK))

    def _compare(self) -> None:
        means = self._means(self.step)
        start = int(np.argmin(means))
        self.shown = float(means[start])
        at_border = self.step % self.window == 0 or self.step == self.schedule.steps
        if at_border and self.shown < self.best.loss:
            self.best = Best(self.shown, start, self.step, self.values(start))

    def _means(self, step: int) -> np.ndarray:
        """The mean loss of each start over the window that ends at `step`; infinite for starts that failed."""
        part = self.losses[max(0, (step - 1) // self.window * self.window) : step]
        return np.where(np.isfinite(part).all(axis=0), part.mean(axis=0), np.inf)

    def _lasted(self) -> np.ndarray:
        return np.isfinite(self.losses).sum(axis=0)

    def values(self, start: int) -> dict[str, Any]:
        """The SI values of one start, in arrays that outlive the carry."""
        return self.compiled.values(self.carry.theta, start)

    def written(self, loss: float) -> str:
        objective = self.problem.objective
        return str(declared(-loss if objective.maximize else loss, objective.unit))

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


# ---------------------------------------------------------------- compiled


def _constants(base: Values, schedule: Schedule) -> Constants:
    rate, steps = jnp.asarray(schedule.rate, float), jnp.asarray(schedule.steps, float)
    return Constants(base, jnp.asarray(schedule.seed, int), steps, rate)


def _direction(problem: Problem) -> Any:
    name, options = problem.descent
    return Descent(name, options, 0.0, problem.decay).direction()


class Compiled(NamedTuple):
    """The programs of a problem, compiled when first called."""

    begin: Callable[[Sequence[Values]], Carry]
    """The first carry, from the SI values of each start"""
    run: Callable[[Carry, Constants, Any], tuple[Carry, Any]]
    """Steps up to a given one or the failure of all starts, and their losses; the carry it receives is given up"""
    values: Callable[[Any, int], dict[str, Any]]
    """The SI values of one start"""


@lru_cache(maxsize=16)
def _compiled(problem: Problem) -> Compiled:
    def begin(starts: Sequence[Values]) -> Carry:
        theta = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[problem.outward(values) for values in starts])
        memory = jax.vmap(_direction(problem).init)(theta)
        order = jnp.arange(problem.samples or 0)
        return Carry(jnp.zeros((), int), theta, memory, order, jnp.ones(problem.starts, bool), jnp.zeros((), int))

    def run(carry: Carry, constants: Constants, until: Any) -> tuple[Carry, Any]:
        def unfinished(state: tuple[Carry, Any]) -> Any:
            return (state[0].step < until) & jnp.any(state[0].alive)

        def step(state: tuple[Carry, Any]) -> tuple[Carry, Any]:
            before, losses = state
            after, loss = _step(problem, constants, before)
            return after, losses.at[before.step - carry.step].set(loss)

        losses = jnp.zeros((LONGEST_CHUNK, problem.starts), constants.rate.dtype)
        return jax.lax.while_loop(unfinished, step, (carry, losses))

    def values(theta: Any, start: Any) -> dict[str, Any]:
        return problem.inward(jax.tree.map(lambda leaf: leaf[start], theta))

    return Compiled(jax.jit(begin), jax.jit(run, donate_argnums=0), jax.jit(values))


def _step(problem: Problem, constants: Constants, carry: Carry) -> tuple[Carry, Any]:
    """One step of every start on one batch of runs. The step that kills the last start is not counted."""
    order, indices = batch_indices(problem, carry.order, constants.seed, carry.step)
    givens = drawn(problem.scenario, problem.pinned, constants.seed, indices)
    rate = constants.rate * DECAYS[problem.decay](carry.step.astype(constants.steps.dtype) / constants.steps)

    def one(theta: Any, memory: Any, alive: Any) -> Any:
        value = jax.value_and_grad(problem.loss, has_aux=True)
        (loss, unended), gradient = value(theta, constants.base, givens, indices)
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes integers and floats
            direction, later = _direction(problem).update(gradient, memory, theta)
        good = alive & jnp.isfinite(loss) & _finite(gradient)
        moved = jax.tree.map(lambda x, d: x - rate * d, theta, direction)
        kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), (moved, later), (theta, memory))
        return *kept, good, jnp.where(good, loss, jnp.nan), unended

    theta, memory, alive, loss, unended = _each_start(problem, one)(carry.theta, carry.memory, carry.alive)
    step = carry.step + jnp.any(alive).astype(carry.step.dtype)
    return Carry(step, theta, memory, order, alive, carry.unended + jnp.sum(unended, dtype=carry.step.dtype)), loss


def _each_start(problem: Problem, one: Callable[..., Any]) -> Callable[..., Any]:
    """`one` over the leading axis of starts; a single start is spared the cost of a batched program."""
    if problem.starts > 1:
        return jax.vmap(one)

    def single(*arguments: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[None], one(*jax.tree.map(lambda leaf: leaf[0], arguments)))

    return single


def _finite(tree: Any) -> Any:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def batch_indices(problem: Problem, order: Any, seed: Any, step: Any) -> tuple[Any, Any]:
    """The order of this epoch and the indices of the runs of a step.

    An epoch over fixed samples leaves out what does not fill a batch: another part in each epoch.
    """
    if problem.samples is None:
        return order, step * problem.batch + jnp.arange(problem.batch)
    per_epoch = problem.samples // problem.batch
    epoch, position = step // per_epoch, step % per_epoch

    def shuffled(_: Any) -> Any:
        return jax.random.permutation(jax.random.fold_in(jax.random.key(seed), epoch), order.size).astype(order.dtype)

    order = jax.lax.cond(position == 0, shuffled, lambda old: old, order)
    return order, jax.lax.dynamic_slice(order, (position * problem.batch,), (problem.batch,))


def indices_at(problem: Problem, seed: int, step: int) -> Any:
    """The indices of the runs that a step meets."""
    order = jnp.arange(problem.samples or 0)
    if problem.samples is not None:
        per_epoch = problem.samples // problem.batch
        order, _ = batch_indices(problem, order, seed, step // per_epoch * per_epoch)
    return batch_indices(problem, order, seed, step)[1]


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
