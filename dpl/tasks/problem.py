"""What is minimised, as compiled programs: a problem without its numbers, and pure steps of its descent.

A problem compiles one program, whatever its numbers and however many steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dpl.runtime.bounds import Bounds
from dpl.runtime.program import Scenario
from dpl.runtime.spec import Objective
from dpl.tasks.optimisers import DECAYS, Descent
from dpl.tasks.sampling import drawn

LONGEST_CHUNK = 4096
"""Steps of one compiled call at the most"""
BLOCK_STEPS, BLOCK_RUNS = 16, 4096
"""Fresh runs are drawn for so many steps at once, if they are no more than so many runs: drawing a few is wasteful"""

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

    @property
    def block(self) -> int:
        """The number of steps whose runs are drawn at once: an epoch of a fixed set of runs."""
        if self.samples is not None:
            return self.samples // self.batch
        return max(1, min(BLOCK_STEPS, BLOCK_RUNS // self.batch))

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


class Carry(NamedTuple):
    """What goes from step to step; `theta` and `memory` have a leading axis of starts, `alive` one flag per start."""

    step: Any
    theta: Any
    memory: Any
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


class Compiled(NamedTuple):
    """The programs of a problem, compiled when first called."""

    begin: Callable[[Sequence[Values]], Carry]
    """The first carry, from the SI values of each start"""
    run: Callable[[Carry, Constants, Any], tuple[Carry, Any]]
    """Steps up to a given one or the failure of all starts, and their losses; the carry it receives is given up"""
    values: Callable[[Any, int], dict[str, Any]]
    """The SI values of one start"""


@lru_cache(maxsize=16)
def compiled(problem: Problem) -> Compiled:
    """The programs of a problem."""

    def begin(starts: Sequence[Values]) -> Carry:
        theta = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[problem.outward(values) for values in starts])
        memory = jax.vmap(_direction(problem).init)(theta)
        return Carry(jnp.zeros((), int), theta, memory, jnp.ones(problem.starts, bool), jnp.zeros((), int))

    def run(carry: Carry, constants: Constants, until: Any) -> tuple[Carry, Any]:
        losses = jnp.zeros((LONGEST_CHUNK, problem.starts), constants.rate.dtype)
        return _steps(problem, constants, until, (carry, losses))

    def values(theta: Any, start: Any) -> dict[str, Any]:
        return problem.inward(jax.tree.map(lambda leaf: leaf[start], theta))

    return Compiled(jax.jit(begin), jax.jit(run, donate_argnums=0), jax.jit(values))


def _direction(problem: Problem) -> Any:
    name, options = problem.descent
    return Descent(name, options, 0.0, problem.decay).direction()


# ---------------------------------------------------------------- steps


def _steps(problem: Problem, constants: Constants, until: Any, state: tuple[Carry, Any]) -> tuple[Carry, Any]:
    """Steps up to `until` or the failure of all starts: a loop over blocks of runs, in it a loop over their steps."""
    begun = state[0].step

    def unfinished(until: Any) -> Callable[[tuple[Carry, Any]], Any]:
        return lambda state: (state[0].step < until) & jnp.any(state[0].alive)

    def block(state: tuple[Carry, Any]) -> tuple[Carry, Any]:
        number = state[0].step // problem.block
        first = number * problem.block
        indices = block_indices(problem, constants.seed, number)
        givens = drawn(problem.scenario, problem.pinned, constants.seed, indices.ravel())
        runs = jax.tree.map(lambda leaf: leaf.reshape((*indices.shape, *leaf.shape[1:])), (givens, indices.ravel()))

        def step(state: tuple[Carry, Any]) -> tuple[Carry, Any]:
            before, losses = state
            now = jax.tree.map(lambda leaf: leaf[before.step - first], runs)
            after, loss = _step(problem, constants, before, *now)
            return after, losses.at[before.step - begun].set(loss)

        return jax.lax.while_loop(unfinished(jnp.minimum(until, first + problem.block)), step, state)

    return jax.lax.while_loop(unfinished(until), block, state)


def _step(problem: Problem, constants: Constants, carry: Carry, givens: Values, indices: Any) -> tuple[Carry, Any]:
    """One step of every start on one batch of runs. The step that kills the last start is not counted."""
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
    return Carry(step, theta, memory, alive, carry.unended + jnp.sum(unended, dtype=carry.step.dtype)), loss


def _each_start(problem: Problem, one: Callable[..., Any]) -> Callable[..., Any]:
    """`one` over the leading axis of starts; a single start is spared the cost of a batched program."""
    if problem.starts > 1:
        return jax.vmap(one)

    def single(*arguments: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[None], one(*jax.tree.map(lambda leaf: leaf[0], arguments)))

    return single


def _finite(tree: Any) -> Any:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def block_indices(problem: Problem, seed: Any, number: Any) -> Any:
    """The indices [steps, batch] of the runs that the steps of a block meet.

    An epoch over fixed samples leaves out what does not fill a batch: another part in each epoch.
    """
    size = problem.block * problem.batch
    if problem.samples is None:
        indices = number * size + jnp.arange(size)
    else:
        key = jax.random.fold_in(jax.random.key(seed), number)
        indices = jax.random.permutation(key, problem.samples)[:size]
    return indices.reshape((problem.block, problem.batch))


def step_indices(problem: Problem, seed: int, step: int) -> Any:
    """The indices [batch] of the runs that a step meets."""
    return block_indices(problem, seed, step // problem.block)[step % problem.block]
