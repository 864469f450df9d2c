"""A fit by the gradient of the likelihood alone: many free numbers, or an optimiser that the text asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dpl.tasks.engine import RUNNING
from dpl.tasks.fitting import Fitting, Numbers
from dpl.tasks.methods import Merit, Method
from dpl.tasks.optimisers import Numbers as Optimiser
from dpl.tasks.problem import each_lane
from dpl.tasks.scoring import FAILED, FINE, SETTLED


class Constants(NamedTuple):
    numbers: Numbers
    optimiser: Optimiser
    limit: Any
    """Iterations of a lane at the most"""


class Carry(NamedTuple):
    """What goes from step to step, with a leading axis of lanes."""

    theta: Any
    nll: Any
    memory: Any
    count: Any
    state: Any


@dataclass(frozen=True)
class Descent:
    """Lanes of one `Fitting`, each by a method that looks at its value and gradient."""

    fitting: Fitting
    method: Method
    lanes: int

    @property
    def pieces(self) -> bool:
        return self.fitting.scenario.pieces

    def begin(self, starts: Any, constants: Constants) -> Carry:
        memory = each_lane(self.lanes, lambda x: self.method.begin(x, self._numbers(constants)))(starts)
        none = jnp.zeros(self.lanes, int)
        return Carry(starts, jnp.full(self.lanes, jnp.inf), memory, none, none)

    def step(self, carry: Carry, constants: Constants, step: Any) -> tuple[Carry, Any]:
        return each_lane(self.lanes, lambda lane: self._one(lane, constants))(carry)

    def _one(self, lane: Carry, constants: Constants) -> tuple[Carry, Any]:
        """One lane after an iteration, if it goes on, and its nll before it: NaN of one that failed."""

        def value(x: Any, forward: bool) -> tuple[Any, Any]:
            nll = self.fitting.nll(x, constants.numbers, "forward" if forward else "reverse")
            return nll, nll

        running = lane.state == RUNNING
        more = running & (lane.count < constants.limit)
        merit = Merit(value, value, jnp.asarray(FINE**2), self.fitting.reach(lane.theta))
        moved = self.method.step(merit, lane.theta, lane.memory, self._numbers(constants), lane.count, more)
        fresh = jnp.isinf(lane.nll)
        ended = jnp.where(
            moved.good, jnp.where(moved.still & more, SETTLED, RUNNING), jnp.where(fresh, FAILED, SETTLED)
        )
        state = jnp.where(running, ended, lane.state)
        goes_on = more & moved.good
        x, memory = jax.tree.map(
            lambda new, old: jnp.where(goes_on, new, old), (moved.x, moved.memory), (lane.theta, lane.memory)
        )
        nll = jnp.where(running & moved.good, moved.seen, lane.nll)
        count = jnp.where(goes_on, lane.count + 1, lane.count)
        loss = jnp.where(jnp.isinf(nll), jnp.nan, nll)
        return Carry(x, nll, memory, count, state.astype(lane.state.dtype)), loss

    def _numbers(self, constants: Constants) -> Optimiser:
        return {**constants.optimiser, "limit": constants.limit.astype(float)}

    def ended(self, carry: Carry) -> Any:
        return jnp.all(carry.state != RUNNING)

    def values(self, theta: Any) -> dict[str, Any]:
        return self.fitting.inward(theta)
