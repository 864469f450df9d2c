"""Who is the best so far: the objective over one set of runs, for every start, a few times in a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import compiling, devices
from dpl.runtime.program import Scenario
from dpl.runtime.spec import Comparison, Objective
from dpl.tasks.comparison import holds
from dpl.tasks.engine import Loop, copied
from dpl.tasks.keeper import State
from dpl.tasks.result import Quantity, declared, number
from dpl.tasks.sampling import drawn, stream, varying
from dpl.tasks.vary import Freedoms, inward

LOOKS = 20
"""The starts are compared so often, after equal parts of a task."""
JUDGED = 256
"""So many runs decide, if runs differ; of a fixed set of runs, all do."""


@dataclass(frozen=True)
class Standard:
    """By what starts are compared. Equal standards share one compiled program."""

    scenario: Scenario
    objective: Objective
    until: Comparison | None
    free: Freedoms
    pinned: frozenset[str]
    runs: int


@lru_cache(maxsize=16)
def _judged(standard: Standard) -> Callable[..., tuple[Any, Any]]:
    """(theta of all lanes, base, seed) -> the objective [lanes] and the operands of `until`, arrays over lanes."""

    def one(theta: Any, base: Any, givens: Any, indices: Any) -> tuple[Any, Any]:
        values = {**base, **inward(standard.free, theta)}
        results, _ = jax.vmap(lambda row, _: standard.scenario.measures_si({**values, **row}))(givens, indices)
        value = standard.objective.function(results)
        operands = standard.until.operands(results) if standard.until else ()
        return -value if standard.objective.maximize else value, tuple(jnp.asarray(x, float) for x in operands)

    def all_lanes(theta: Any, base: Any, seed: Any) -> tuple[Any, Any]:
        indices = devices.spread(jnp.arange(standard.runs))
        givens = drawn(standard.scenario, standard.pinned, base, seed, indices)
        return jax.lax.map(lambda lane: one(lane, base, givens, indices), theta)

    return compiling.jit(all_lanes, standard.scenario.pieces, standard)


@dataclass(eq=False)
class Best:
    """The values [SI] of a lane after a step, and the objective at them."""

    loss: float = float("inf")
    lane: int = 0
    step: int = 0
    values: dict[str, Any] = field(default_factory=dict[str, Any])


class Judge:
    """Watches a descent and remembers its best lane, the first step included. Ends it where `until` holds for one."""

    def __init__(self, standard: Standard, base: Any, seed: int, samples: int | None, every: int):
        self.standard, self.base, self.every = standard, base, every
        self.seed = seed if samples else stream(seed, "judge")
        self.best = Best()
        self.latest: np.ndarray = np.empty(0)
        """The objective of each lane at the last look, to be minimised"""
        self.reached = False
        self.first: Any = None

    def begin(self, loop: Loop) -> bool:
        """Remembers where the lanes start; they are judged at the first look, which may come after many a step."""
        self.first = copied(loop.carry.theta)
        return self.standard.until is not None and self._judge(loop, self.first, 0)

    def look(self, loop: Loop) -> bool:
        if not self.best.values:
            self._judge(loop, self.first, 0)
        return self._judge(loop, loop.carry.theta, loop.step)

    def _judge(self, loop: Loop, theta: Any, step: int) -> bool:
        losses, operands = _judged(self.standard)(theta, self.base, self.seed)
        self.latest = np.where(np.isfinite(losses), losses, np.inf)
        reached = self._reached(operands)
        lane = int(np.argmin(np.where(reached, self.latest, np.inf) if reached.any() else self.latest))
        self.reached = bool(reached.any())
        if self.latest[lane] <= self.best.loss or self.reached:
            values = loop.programs.values(theta, lane)
            self.best = Best(float(self.latest[lane]), lane, step, jax.device_get(values))
        return self.reached

    def _reached(self, operands: Any) -> np.ndarray:
        if self.standard.until is None:
            return np.zeros(self.latest.size, bool)
        per_lane = zip(*(np.asarray(x) for x in operands), strict=True)
        return np.array([bool(np.all(holds(self.standard.until.ops, lane))) for lane in per_lane])

    def declared(self, loss: float) -> Quantity:
        """A loss as the user reads it."""
        objective = self.standard.objective
        return declared(-loss if objective.maximize else loss, objective.unit)

    def words(self) -> dict[str, str]:
        return {"kept": number(self.declared(self.best.loss).value)} if self.best.values else {}

    def state(self) -> State:
        leaves = jax.tree.leaves(self.best.values)
        kept = {f"best/{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}  # none before the first look
        scalars = np.array([self.best.loss, self.best.lane, self.best.step, self.reached], float)
        return kept | {"scalars": scalars, "latest": self.latest}

    def restore(self, state: State, loop: Loop) -> None:
        if "best/0" not in state:
            return
        tree = jax.tree.structure(loop.values(0))
        loss, lane, step, reached = (float(x) for x in state["scalars"])
        values = jax.tree.unflatten(tree, [np.array(state[f"best/{i}"]) for i in range(tree.num_leaves)])
        self.best, self.reached = Best(loss, int(lane), int(step), values), bool(reached)
        self.latest = np.array(state["latest"])


def standard(
    scenario: Scenario,
    objective: Objective,
    until: Comparison | None,
    free: Freedoms,
    pinned: frozenset[str],
    samples: int | None,
) -> Standard:
    """The standard of a task: on its fixed runs, else on fresh ones, or on the only one."""
    runs = samples or (JUDGED if varying(scenario, pinned) else 1)
    return Standard(scenario, objective, until, free, pinned, runs)
