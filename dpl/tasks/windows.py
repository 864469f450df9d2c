"""Training in windows of a long run, whose remaining value a network learns.

Gradients through a whole run explode or vanish; through a window they do not. A batch of runs goes on from window to
window, each until its end, then anew; what comes after a window is the critic's value of the state there, fitted to its
own discounted targets. Xu et al. (2022), Accelerated policy learning with parallel differentiable simulation,
arXiv:2204.07137, algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import networks, solve, using
from dpl.runtime.program import Program, Scenario
from dpl.runtime.spec import Window
from dpl.tasks.problem import Constants, Problem, Values, each_lane
from dpl.tasks.sampling import drawn, stream
from dpl.tasks.vary import inward, outward

CRITIC_STEPS = 2
"""Steps of the critic for each step of what is varied"""


class Pool(NamedTuple):
    """Runs on their way, with a leading axis [batch]."""

    givens: Values
    tick: Any
    """The tick at which the next window begins"""
    left: Any
    """Ticks until the run is begun anew"""
    state: solve.Carry


class Carry(NamedTuple):
    """What goes from step to step; everything has a leading axis of starts. `theta` holds the critic by its name."""

    theta: Any
    memory: Any
    pool: Pool


@dataclass(frozen=True)
class Windowed:
    """The windows of a problem. Equal ones share one compiled program; the discount is among its numbers."""

    problem: Problem
    window: Window

    @property
    def lanes(self) -> int:
        return self.problem.lanes

    @property
    def pieces(self) -> bool:
        return self.problem.pieces

    # -- what the engine repeats

    def begin(self, starts: Any, constants: Constants) -> Carry:
        names = [f.name for f in self.problem.free]
        critics = starts[self.window.critic.name]
        theta = jax.vmap(lambda values: outward(self.problem.free, values))({name: starts[name] for name in names})
        direction = self.problem.rule.direction(constants.numbers)
        memory = jax.vmap(direction.init)(theta), jax.vmap(direction.init)(critics)
        pool = jax.vmap(lambda theta: self._begun(theta, constants.at(0)))(theta)
        return Carry({**theta, self.window.critic.name: critics}, memory, pool)

    def step(self, carry: Carry, constants: Constants, step: Any) -> tuple[Carry, Any]:
        problem, critic = self.problem, self.window.critic.name
        constants = constants.at(step)
        rate = problem.rule.rate(constants.numbers, step, constants.steps)
        # New runs have indices of their own: those of the first step come first.
        indices = (step + 1) * problem.batch + jnp.arange(problem.batch)
        fresh = drawn(problem.scenario, problem.pinned, constants.base, constants.seed, indices)

        def one(theta: Any, memory: Any, pool: Pool) -> Any:
            value, free = theta[critic], {name: leaf for name, leaf in theta.items() if name != critic}
            total = jax.value_and_grad(self.loss, has_aux=True)
            (loss, (pool, met, costs)), gradient = total(free, value, constants, pool)
            free, of_free = problem.rule.moved(constants.numbers, rate, free, gradient, memory[0])
            value, of_critic = self._fitted(value, memory[1], met, costs, constants, rate)
            pool = self._renewed(pool, fresh, free, constants)
            return {**free, critic: value}, (of_free, of_critic), pool, loss

        theta, memory, pool, loss = each_lane(self.lanes, one)(carry.theta, carry.memory, carry.pool)
        return Carry(theta, memory, pool), loss

    def ended(self, carry: Carry) -> Any:
        return jnp.asarray(False)

    def values(self, theta: Any) -> dict[str, Any]:
        return {**inward(self.problem.free, theta), self.window.critic.name: theta[self.window.critic.name]}

    # -- a window of each run

    def loss(self, free: Any, critic: Any, constants: Constants, pool: Pool) -> tuple[Any, Any]:
        """The mean of the discounted costs of one window and of the critic's value at its end.

        With it the pool at the windows' ends, the critic's arguments [batch, ticks + 1] and the costs [batch, ticks].
        """
        values = {**constants.base, **inward(self.problem.free, free)}
        state, met, costs = jax.vmap(lambda run: self._unrolled(values, run))(pool)
        discount, ticks = constants.numbers["discount"], self.ticks
        last = jax.tree.map(lambda leaf: leaf[:, -1], met)
        value = jax.vmap(lambda arguments: self._value(critic, arguments))(last)
        loss = (
            self._share(discount) * costs @ discount ** jnp.arange(ticks, dtype=costs.dtype) + discount**ticks * value
        )
        pool = pool._replace(state=state, tick=pool.tick + ticks, left=pool.left - ticks)
        sign = -1.0 if self.problem.objective.maximize else 1.0
        return sign * jnp.mean(loss), jax.lax.stop_gradient((pool, met, costs))

    def _unrolled(self, values: Values, run: Pool) -> tuple[solve.Carry, Any, Any]:
        """One window of one run: its end, the critic's arguments at each tick and at the end, the cost of each tick."""
        scenario = self.problem.scenario
        p, plan = self._solver({**values, **run.givens})
        method = using.applied(scenario.method, values)
        end, begins = solve.piece(p, method, plan, run.state, run.tick, self.ticks)
        ticks = run.tick + jnp.arange(self.ticks + 1)
        states = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), begins, end)
        row = scenario.spec.reductions[self.window.reduction].index

        def seen(i: Any, state: solve.Carry) -> tuple[Any, Any]:
            x, totals = p.layout.unpack(state.y)
            z, held = p.ticker.due(i, state.kept), p.ticker.restored(state.kept).held
            arguments = self.window.arguments(p.time(i, plan.start, plan.base), x, z, held, p.c)
            return tuple(jnp.asarray(a, p.dtype) for a in arguments), totals[row]

        met, totals = jax.vmap(seen)(ticks, states)
        return end, met, jnp.diff(totals) / (plan.base if self._average else 1.0)

    def _solver(self, values: Values) -> tuple[solve.Problem, Any]:
        scenario = self.problem.scenario
        return solve.problem(scenario.spec, scenario.spec.fixed(values), scenario.method), self._plan

    @property
    def ticks(self) -> int:
        """Ticks (or steps, if nothing is sampled) of a window."""
        return max(1, round(self.window.duration / self._plan.base))

    @property
    def _plan(self) -> Any:
        scenario = self.problem.scenario
        return solve.plan(scenario.spec, scenario.method, None)

    @property
    def _average(self) -> bool:
        return self.problem.scenario.spec.reductions[self.window.reduction].kind == "average"

    def _share(self, discount: Any) -> Any:
        """A discounted average weighs its costs so that all weights make one; a discounted integral adds them."""
        return 1.0 - discount if self._average else 1.0

    # -- the critic

    def _value(self, critic: Any, arguments: Any) -> Any:
        return networks.apply(self.window.critic, critic, *arguments)

    def _fitted(
        self, critic: Any, memory: Any, met: Any, costs: Any, constants: Constants, rate: Any
    ) -> tuple[Any, Any]:
        """Some steps of the critic towards what it and the costs [batch, ticks] say of every state that was met."""
        discount = constants.numbers["discount"]
        states = jax.tree.map(lambda leaf: leaf[:, :-1], met)
        last = jax.tree.map(lambda leaf: leaf[:, -1], met)
        values = jax.vmap(lambda arguments: self._value(critic, arguments))(last)
        targets = _discounted(self._share(discount) * costs, values, discount)

        def misfit(critic: Any) -> Any:
            found = jax.vmap(jax.vmap(lambda arguments: self._value(critic, arguments)))(states)
            return jnp.mean((found - targets) ** 2)

        def step(state: Any, _: Any) -> tuple[Any, None]:
            critic, memory = state
            gradient = jax.grad(misfit)(critic)
            return self.problem.rule.moved(constants.numbers, rate, critic, gradient, memory), None

        return jax.lax.scan(step, (critic, memory), None, length=CRITIC_STEPS)[0]

    # -- the runs on their way

    def _begun(self, free: Any, constants: Constants) -> Pool:
        """The first runs; their ends are spread evenly, so that windows of all ages are met from then on."""
        batch = self.problem.batch
        givens = drawn(self.problem.scenario, self.problem.pinned, constants.base, constants.seed, jnp.arange(batch))
        left = jnp.asarray(-(-(np.arange(batch) + 1) * self._plan.intervals // batch))
        return Pool(givens, jnp.zeros(batch, int), left, self._starts(givens, free, constants))

    def _starts(self, givens: Values, free: Any, constants: Constants) -> solve.Carry:
        values = {**constants.base, **inward(self.problem.free, free)}
        row = jnp.arange(self.problem.batch)
        return jax.vmap(lambda row, _: solve.beginning(self._solver({**values, **row})[0]))(givens, row)

    def _renewed(self, pool: Pool, fresh: Values, free: Any, constants: Constants) -> Pool:
        """The pool with new runs in the place of those that have no whole window left."""
        over = pool.left < self.ticks
        new = Pool(
            fresh,
            jnp.zeros_like(pool.tick),
            jnp.full_like(pool.left, self._plan.intervals),
            self._starts(fresh, free, constants),
        )
        pick = lambda a, b: jnp.where(over.reshape((-1,) + (1,) * (a.ndim - 1)), a, b)  # noqa: E731
        return jax.tree.map(pick, new, pool)


def _discounted(costs: Any, values: Any, discount: Any) -> Any:
    """The discounted sum [batch, ticks] of the costs from each tick on, and of the value [batch] at the end."""

    def step(later: Any, cost: Any) -> tuple[Any, Any]:
        now = cost + discount * later
        return now, now

    return jax.lax.scan(step, values, costs.T, reverse=True)[1].T


def critics(program: Program, scenario: Scenario, window: Window, seed: int, count: int) -> dict[str, Any]:
    """The weights of the critic by its name, stacked over starts; the first goes on from the current ones."""
    current = program.values[program.register(scenario.name, window.critic)]
    others = (program.fresh(window.critic, stream(seed, f"start {k}")) for k in range(1, count))
    return {window.critic.name: jax.tree.map(lambda *leaves: jnp.stack(leaves), current, *others)}
