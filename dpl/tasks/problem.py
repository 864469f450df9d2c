"""Stochastic descent as a pure step: fresh runs each time, or a fixed set of them in epochs.

A problem compiles one program, whatever its numbers and however many steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from dpl.runtime import devices
from dpl.runtime.program import Scenario
from dpl.runtime.solve import ADAPTIVE, Mode
from dpl.runtime.spec import Objective
from dpl.tasks import anneal
from dpl.tasks.optimisers import Rule
from dpl.tasks.sampling import drawn
from dpl.tasks.vary import Freedoms, inward, outward

Values = Mapping[str, Any]


class Carry(NamedTuple):
    """What goes from step to step; `theta` and `memory` have a leading axis of starts."""

    theta: Any
    memory: Any
    order: Any
    """The order [samples] in which this epoch meets a fixed set of runs; empty for fresh runs"""


class Constants(NamedTuple):
    base: Values
    seed: Any
    steps: Any
    numbers: Mapping[str, Any]
    """Of the optimiser and its schedule"""
    anneal: anneal.Paths | None = None

    def at(self, step: Any) -> Constants:
        """With what is annealed as it is in a step."""
        if not self.anneal:
            return self
        share = jnp.asarray(step).astype(self.steps.dtype) / jnp.maximum(self.steps - 1.0, 1.0)
        return self._replace(base=anneal.at(self.base, self.anneal, share))


@dataclass(frozen=True)
class Problem:
    """What is minimised and how, without its numbers. Equal problems share one compiled program.

    `samples` is the size of a fixed set of runs, met in a new order in each epoch; None means fresh runs in each step.
    `lanes` are starts that go side by side and meet the same runs.
    """

    scenario: Scenario
    objective: Objective
    free: Freedoms
    rule: Rule
    batch: int
    samples: int | None = None
    lanes: int = 1
    pinned: frozenset[str] = frozenset()

    def loss(self, theta: Any, base: Values, givens: Values, indices: Any, mode: Mode = "reverse") -> Any:
        """The objective over some runs, to be minimised; NaN if one of them does not end well."""
        values = {**base, **inward(self.free, theta)}
        results, _ = jax.vmap(lambda row, _: self.scenario.measures_si({**values, **row}, mode))(givens, indices)
        value = self.objective.function(results)
        return -value if self.objective.maximize else value

    def slope(self, theta: Any, base: Values, givens: Values, indices: Any) -> tuple[Any, Any]:
        """The loss and its gradient, in the mode that suits how many numbers vary."""
        if mode_of(theta, self.scenario) == "reverse":
            return jax.value_and_grad(self.loss)(theta, base, givens, indices)
        x, back = ravel_pytree(theta)

        def valued(x: Any) -> tuple[Any, Any]:
            loss = self.loss(back(x), base, givens, indices, "forward")
            return loss, loss

        gradient, loss = jax.jacfwd(valued, has_aux=True)(x)
        return loss, back(gradient)

    # -- what the engine repeats

    def begin(self, starts: Any, constants: Constants) -> Carry:
        theta = jax.vmap(lambda values: outward(self.free, values))(starts)
        memory = jax.vmap(self.rule.direction(constants.numbers).init)(theta)
        return Carry(theta, memory, jnp.arange(self.samples or 0))

    @property
    def pieces(self) -> bool:
        return self.scenario.pieces

    def step(self, carry: Carry, constants: Constants, step: Any) -> tuple[Carry, Any]:
        constants = constants.at(step)
        order = self._order(carry.order, constants.seed, step)
        indices = devices.spread(self.indices(order, step))
        givens = drawn(self.scenario, self.pinned, constants.base, constants.seed, indices)
        rate = self.rule.rate(constants.numbers, step, constants.steps)

        def one(theta: Any, memory: Any) -> Any:
            loss, gradient = self.slope(theta, constants.base, givens, indices)
            return *self.rule.moved(constants.numbers, rate, theta, gradient, memory), loss

        theta, memory, loss = each_lane(self.lanes, one)(carry.theta, carry.memory)
        return Carry(theta, memory, order), loss

    def ended(self, carry: Carry) -> Any:
        return jnp.asarray(False)

    def values(self, theta: Any) -> dict[str, Any]:
        return inward(self.free, theta)

    # -- which runs

    @property
    def epoch(self) -> int:
        """Steps of an epoch. What does not fill a batch is left out: other runs in each epoch."""
        return (self.samples or self.batch) // self.batch

    def indices(self, order: Any, step: Any) -> Any:
        """The indices [batch] of the runs that a step meets."""
        if self.samples is None:
            return step * self.batch + jnp.arange(self.batch)
        return jax.lax.dynamic_slice(order, ((step % self.epoch) * self.batch,), (self.batch,))

    def _order(self, order: Any, seed: Any, step: Any) -> Any:
        if self.samples is None:
            return order
        return jax.lax.cond(step % self.epoch == 0, lambda: self.shuffled(seed, step // self.epoch), lambda: order)

    def shuffled(self, seed: Any, epoch: Any) -> Any:
        """The order of the runs in an epoch; empty for fresh runs."""
        return jax.random.permutation(jax.random.fold_in(jax.random.key(seed), epoch), self.samples or 0)

    def met(self, seed: int, step: int) -> Any:
        """The indices [batch] of the runs that a step met, for a look back."""
        return self.indices(self.shuffled(seed, step // self.epoch), step)


FEW, FEW_STEPS = 8, 2
"""So many numbers are differentiated forward where the solver chooses its steps, and where they are prescribed"""


def mode_of(theta: Any, scenario: Scenario) -> Mode:
    """Forward for few numbers, which costs one pass for each and stores nothing; else reverse.

    Going back through prescribed steps costs about two passes, through an adaptive solver eight.
    """
    size = sum(jnp.size(leaf) for leaf in jax.tree.leaves(theta))
    adaptive = scenario.spec.run is not None and scenario.method.name in ADAPTIVE
    return "forward" if size <= (FEW if adaptive else FEW_STEPS) else "reverse"


def each_lane(lanes: int, one: Any) -> Any:
    """`one` over the leading axis of lanes; a single lane is spared the cost of a batched program."""
    if lanes > 1:
        return jax.vmap(one)

    def single(*arguments: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[None], one(*jax.tree.map(lambda leaf: leaf[0], arguments)))

    return single
