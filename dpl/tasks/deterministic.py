"""Deterministic minimisation as a pure step: several problems side by side, each over its own runs.

A lane is one problem from one start: either one run with values of its own, or all runs together. A lane is looked at
before each iteration and ends there, with its values as they are, where `until` holds, where nothing more is to be
gained, where its iterations are used up, or where its loss or gradient is not finite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from dpl.runtime import compiling
from dpl.runtime.program import Scenario
from dpl.runtime.spec import Comparison, Objective
from dpl.tasks import constrained
from dpl.tasks.comparison import holds
from dpl.tasks.engine import RUNNING
from dpl.tasks.methods import Merit, Method
from dpl.tasks.problem import each_lane
from dpl.tasks.vary import Freedom, Freedoms, inward, outward

Values = Mapping[str, Any]

REACHED, SETTLED, FAILED = range(RUNNING + 1, 4)
"""Why a lane ended"""


HALVINGS = 20
"""So finely is searched, on the way back to values that comply, where the constraints begin to hold"""
REACH = 2.0
"""How far one step may take a bounded number from where the bijection that keeps its bounds is steepest"""


class Carry(NamedTuple):
    """What goes from step to step, with a leading axis of lanes; numbers of single runs have an axis of runs next."""

    theta: Any
    memory: Any
    penalty: Any
    """Of the constraints, if there are any"""
    complying: Any
    """What complies with them, likewise"""
    count: Any
    """Iterations done"""
    state: Any


class Constants(NamedTuple):
    base: Values
    givens: Values
    """[lanes, runs] each"""
    limit: Any
    """Iterations of a lane at the most"""
    numbers: Mapping[str, Any]


class Seen(NamedTuple):
    """What one lane shows where it stands: the objective, to be minimised; the gaps of its constraints; `until`."""

    loss: Any
    gaps: Any
    reached: Any


class Found(NamedTuple):
    """What all lanes came to, arrays over lanes; `values` and `results` in SI, `operands` those of the constraints."""

    values: dict[str, Any]
    seen: Seen
    results: dict[str, Any]
    status: Any
    operands: Any


@dataclass(frozen=True)
class Minimisation:
    """What is minimised and how, without its numbers. Equal ones share one compiled program.

    `runs` are those of each lane. A number of a single run (`Freedom.each`) has a value for each of them.
    """

    scenario: Scenario
    objective: Objective
    free: Freedoms
    until: Comparison | None
    constraints: tuple[Comparison, ...]
    method: Method
    runs: int
    lanes: int

    @property
    def pieces(self) -> bool:
        return self.scenario.pieces

    # -- one lane

    def results(self, theta: Any, base: Values, givens: Values, forward: bool = False) -> tuple[dict[str, Any], Any]:
        """Every loss and metric of the lane's runs [runs], and their status."""
        values = {**base, **inward(self.free, theta)}
        own = {f.name: values.pop(f.name) for f in self.free if f.each}

        def one(row: Any, _: Any) -> Any:
            return self.scenario.measures_si({**values, **row}, "forward" if forward else "reverse")

        return each_lane(self.runs, one)({**own, **givens}, jnp.arange(self.runs))

    def seen(self, results: Mapping[str, Any], penalty: Any) -> Seen:
        loss = self.objective.function(results)
        reached = self.until is not None and jnp.all(holds(self.until.ops, self.until.operands(results)))
        gaps = jnp.zeros(0)
        if self.constraints:
            gaps = constrained.all_gaps(self.constraints, results, self.runs)
            reached = reached & constrained.complied(penalty, gaps, self.equal)
        return Seen(-loss if self.objective.maximize else loss, gaps, jnp.asarray(reached))

    @property
    def equal(self) -> np.ndarray:
        """Which gaps are of equalities."""
        return constrained.equalities(self.constraints, self.runs)

    def merit(self, theta: Any, penalty: Any, base: Values, givens: Values) -> tuple[Merit, Any, Any]:
        """What the method minimises, the free numbers [n] of the lane, and how they are put back in place."""
        flat, unravel = ravel_pytree(theta)

        def looked(x: Any, forward: bool) -> tuple[Mapping[str, Any], Seen, Any]:
            results, _ = self.results(unravel(x), base, givens, forward)
            seen = self.seen(results, penalty)
            extra = constrained.pressed(penalty, seen.gaps, self.equal) if self.constraints else seen.gaps
            return results, seen, extra

        scale = penalty.scale if self.constraints else jnp.ones(())

        def value(x: Any, forward: bool) -> tuple[Any, Seen]:
            _, seen, extra = looked(x, forward)
            return seen.loss / scale + extra @ extra, seen

        def residuals(x: Any, forward: bool) -> tuple[Any, Seen]:
            results, seen, extra = looked(x, forward)
            assert self.objective.residuals is not None, "least squares without residuals: a bug in DPL"
            parts = [jnp.ravel(jnp.asarray(part)) for part in self.objective.residuals(results)]
            return jnp.concatenate([*(part / jnp.sqrt(self.runs * scale) for part in parts), extra]), seen

        tolerance = penalty.tolerance if self.constraints else jnp.asarray(constrained.FINE)
        return Merit(value, residuals, tolerance, ravel_pytree(_reaches(self.free, theta))[0]), flat, unravel

    # -- what the engine repeats

    def begin(self, starts: Any, constants: Constants) -> Carry:
        def one(values: Any, givens: Any) -> Any:
            theta = outward(self.free, values)
            memory = self.method.begin(ravel_pytree(theta)[0], self._numbers(constants))
            if not self.constraints:
                return theta, memory, (), ()
            results, _ = self.results(theta, constants.base, givens)
            objective = self.objective.function(results)
            penalty = constrained.begin(self.constraints, results, self.runs, objective)
            return theta, memory, penalty, constrained.Complying(theta, jnp.asarray(jnp.inf))

        theta, memory, penalty, complying = each_lane(self.lanes, one)(starts, constants.givens)
        none = jnp.zeros(self.lanes, int)
        return Carry(theta, memory, penalty, complying, none, none)

    def step(self, carry: Carry, constants: Constants, step: Any) -> tuple[Carry, Any]:
        def one(lane: Carry, givens: Any) -> tuple[Carry, Any]:
            return self._one(lane, givens, constants)

        return each_lane(self.lanes, one)(carry, constants.givens)

    def _one(self, lane: Carry, givens: Any, constants: Constants) -> tuple[Carry, Any]:
        """One lane after an iteration, if it goes on, and its loss before it: NaN from where it failed."""
        numbers, running = self._numbers(constants), lane.state == RUNNING
        merit, x, unravel = self.merit(lane.theta, lane.penalty, constants.base, givens)
        more = running & (lane.count < constants.limit)
        moved = self.method.step(merit, x, lane.memory, numbers, lane.count, more)
        held = moved.seen.reached
        goes_on = more & moved.good & ~held
        memory, penalty, complying, over = moved.memory, lane.penalty, lane.complying, moved.still
        if self.constraints:
            complied = constrained.complied(penalty, moved.seen.gaps, self.equal)
            complying = complying.met(lane.theta, moved.seen.loss, complied & running & moved.good)
            later, renewed, over = constrained.updated(penalty, moved.seen.gaps, self.equal, moved.still)
            anew = self.method.renewed(moved.memory, moved.x, numbers)
            memory = jax.tree.map(lambda new, old: jnp.where(renewed, new, old), anew, memory)
            penalty = jax.tree.map(lambda new, old: jnp.where(goes_on, new, old), later, penalty)
        ended = jnp.where(~moved.good, FAILED, jnp.where(held, REACHED, jnp.where(over & more, SETTLED, RUNNING)))
        state = jnp.where(running, ended, lane.state)
        point = jnp.where(goes_on | (running & ~moved.good), moved.x, x)
        kept = jax.tree.map(lambda new, old: jnp.where(goes_on, new, old), memory, lane.memory)
        after = Carry(unravel(point), kept, penalty, complying, jnp.where(goes_on, lane.count + 1, lane.count), state)
        return after, jnp.where(state == FAILED, jnp.nan, moved.seen.loss)

    def _numbers(self, constants: Constants) -> Mapping[str, Any]:
        return {**constants.numbers, "limit": constants.limit.astype(float)}

    def ended(self, carry: Carry) -> Any:
        return jnp.all(carry.state != RUNNING)

    def values(self, theta: Any) -> dict[str, Any]:
        return inward(self.free, theta)


def _reaches(free: Freedoms, theta: Mapping[str, Any]) -> dict[str, Any]:
    """How far one step may take each free number: from the middle of its interval to 12 or 88 % of it, or twice as far.

    Far out, where its bounds hold it, a number hardly moves any more: no single step must end there.
    """

    def reach(freedom: Freedom, leaf: Any) -> Any:
        limit = freedom.bounds
        bounded = limit is not None and (limit.low is not None or limit.high is not None)
        return REACH + jnp.abs(leaf) if bounded else jnp.full_like(leaf, jnp.inf)

    return {f.name: jax.tree.map(lambda leaf, f=f: reach(f, leaf), theta[f.name]) for f in free}


def found(problem: Minimisation, carry: Carry, constants: Constants) -> tuple[Found, np.ndarray]:
    """What all lanes came to, and which of them [lanes] ended where their constraints do not hold but once did.

    These go back as far as they must on the straight way to the best values that complied, or to these.
    """

    def looked(back: Any) -> tuple[Found, np.ndarray]:
        """All lanes, having gone back a share [lanes] of the way; whether they comply there."""

        def between(end: Any, kept: Any) -> Any:
            share = jnp.asarray(back).reshape((-1, *[1] * (end.ndim - 1)))
            return jnp.where(share > 0, end + share * (kept - end), end)

        theta = carry.theta if back is None else jax.tree.map(between, carry.theta, carry.complying.theta)
        every: Found = jax.device_get(finder(problem)(carry._replace(theta=theta), constants))
        complied = jax.vmap(lambda p, gaps: constrained.complied(p, gaps, problem.equal))
        return every, np.asarray(complied(carry.penalty, every.seen.gaps)) if problem.constraints else never

    never = np.zeros(problem.lanes, bool)
    every, fine = looked(None)
    best = np.asarray(carry.complying.loss) if problem.constraints else np.full(problem.lanes, np.inf)
    strayed = ~fine & np.isfinite(best)
    if not strayed.any():
        return every, never
    near, far = np.zeros(problem.lanes), strayed.astype(float)
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        _, fine = looked(middle)
        near, far = np.where(fine, near, middle), np.where(fine & strayed, middle, far)
    every, _ = looked(far)
    return looked(np.where(strayed & ~(every.seen.loss <= best), 1.0, far))[0], strayed


@lru_cache(maxsize=16)
def finder(problem: Minimisation) -> Any:
    """(carry, constants) -> `Found`, compiled."""

    def all_lanes(carry: Carry, constants: Constants) -> Found:
        def one(theta: Any, givens: Any, penalty: Any) -> Found:
            results, status = problem.results(theta, constants.base, givens)
            operands = tuple(tuple(jnp.asarray(x, float) for x in c.operands(results)) for c in problem.constraints)
            return Found(problem.values(theta), problem.seen(results, penalty), results, status, operands)

        return each_lane(problem.lanes, one)(carry.theta, constants.givens, carry.penalty)

    return compiling.jit(all_lanes, problem.scenario.pieces, problem)
