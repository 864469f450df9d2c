"""Fisher scoring in a trust region as a pure step: several fits side by side, each of one vector of free numbers [p].

A fit stands at a point whose rows A, z it knows; a step looks at one trial point, value and rows together, and goes
there or tightens the region. At first the trial point is the start itself: one program knows the model once.

The step minimises |A δ + z|² under |D δ| <= radius, by a QR decomposition of the rows and the singular values of its
triangle, never by AᵀA. For a normal distribution of known sd this is Levenberg-Marquardt, for counts iteratively
reweighted least squares. Column scaling D, radius and their updates: Moré (1978), The Levenberg-Marquardt algorithm:
implementation and theory, Lecture Notes in Mathematics 630, 105.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dpl.tasks import engine
from dpl.tasks.engine import RUNNING
from dpl.tasks.fitting import Fitting, Numbers, Rows
from dpl.tasks.problem import each_lane
from dpl.tasks.vary import networks

SETTLED, STUCK, FAILED = range(RUNNING + 1, 4)
"""Why a lane ended: converged; no step leads on; nothing is finite where it began"""

DECREASE = 1e-4
"""The share of the promised decrease that a step must bring"""
FACTOR = 1.0
"""The first radius, against |D x|; Moré's 100 lets hard starts jump to where nothing has a derivative any more"""
FINE = 1e-9
"""Converged: so close to the optimum, in standard errors and as a share of the numbers"""
CLOSE = 1e-8
"""A promised decrease of the nll so small (against 1 + |nll|) is judged by the gradient: values no longer tell"""
STEEPER = 0.8
"""A gradient counts as smaller if what a full step promises is this share of what it was"""
PATIENCE = 4
"""So many steps in a row may bring nothing before a lane that is close has converged"""
LITTLE, SPELL = 0.1, 20
"""Weights of networks have converged where so many iterations lower the nll by less than this: data hardly tell the
rest of them, and an optimum to the last digit would only learn the noise by heart"""
SMALLEST = 1e-14
"""A radius so small against the numbers leads nowhere"""
RENEWALS = 3
"""So often a lane that is stuck starts again with fresh scaling and radius"""
NEWTON = 30
"""Steps of the search for the damping"""
TINY = 1e-300
STEPS, STEPS_OF_MANY = 2_000, 500
"""Iterations at the most where the text does not say: of a single start, which may have a long valley to follow, and of
each of several"""
NOTHING = 1e-11
"""Singular values so small against the columns that make them up are rounding: no data tell"""
RANK = 1e-15
"""Singular values so small against the largest, after scaling, count as none in an undamped step"""


class Constants(NamedTuple):
    numbers: Numbers
    held: Any
    """[lanes, p]: free numbers that stay as they are"""
    limit: Any
    """Iterations of a lane at the most"""


class Seen(NamedTuple):
    """What is remembered of the rows at a point: D [p], and of A/D the singular values [p], the right singular vectors
    [p, p] as rows, and Uᵀz [p]."""

    scale: Any
    s: Any
    right: Any
    along: Any

    @property
    def plain(self) -> Any:
        """The undamped step in the coordinates of the singular vectors [p]."""
        kept = self.s > RANK * jnp.max(self.s)
        return jnp.where(kept, -self.along / jnp.where(kept, self.s, 1.0), 0.0)

    def renewed(self) -> Seen:
        """With D of these rows alone."""
        triangle = self.s[:, None] * self.right
        scale = jnp.linalg.norm(triangle, axis=0) * self.scale
        left, s, right = jnp.linalg.svd(triangle * (self.scale / jnp.where(scale > 0, scale, 1.0))[None])
        return Seen(scale, s, right, left.T @ self.along)


class Move(NamedTuple):
    """A step δ [p], its length |D δ|, the decrease of the nll that it promises, and whether it is undamped."""

    step: Any
    length: Any
    promise: Any
    whole: Any


class Carry(NamedTuple):
    """What goes from step to step, with a leading axis of lanes."""

    theta: Any
    """x [p]: the point where the lane stands"""
    nll: Any
    """Infinite before the first look"""
    seen: Seen
    radius: Any
    count: Any
    """Iterations"""
    lost: Any
    """Steps in a row that brought nothing"""
    renewed: Any
    """How often it started again"""
    before: Any
    """The nll where the present spell of iterations began"""
    state: Any


@dataclass(frozen=True)
class Scoring:
    """Lanes of one `Fitting`. `own`: each lane has its own observed values and known cells."""

    fitting: Fitting
    lanes: int
    own: bool = False

    @property
    def pieces(self) -> bool:
        return self.fitting.scenario.pieces

    def begin(self, starts: Any, constants: Constants) -> Carry:
        """From the free numbers [lanes, p]; nothing is evaluated yet."""
        lanes, p = jnp.shape(starts)
        none, zero, infinite = jnp.zeros((lanes, p)), jnp.zeros(lanes, int), jnp.full(lanes, jnp.inf)
        nothing = Seen(none, none, jnp.zeros((lanes, p, p)), none)
        return Carry(starts, infinite, nothing, infinite, zero, zero, zero, infinite, zero)

    def step(self, carry: Carry, constants: Constants, step: Any) -> tuple[Carry, Any]:
        numbers = constants.numbers
        if not self.own:
            return self._renewed(
                *each_lane(self.lanes, lambda lane, held: self._one(lane, held, numbers, constants.limit))(
                    carry, constants.held
                )
            )
        cases = numbers.cases

        def one(lane: Carry, held: Any, observed: Any, known: Any) -> Any:
            here = numbers._replace(cases=cases._replace(observed=observed, known=known))
            return self._one(lane, held, here, constants.limit)

        return self._renewed(*each_lane(self.lanes, one)(carry, constants.held, cases.observed, cases.known))

    def _renewed(self, carry: Carry, again: Any, loss: Any) -> tuple[Carry, Any]:
        """Lanes that start `again` with fresh scaling and radius. That is rare: a step does no work for it."""

        def anew(lane: Carry, again: Any) -> Carry:
            seen, x = lane.seen.renewed(), lane.theta
            first = FACTOR * 0.1 ** (1.0 + lane.renewed.astype(float)) * _length(seen.scale, self.fitting.extent(x))
            new = lane._replace(seen=seen, radius=first, renewed=lane.renewed + 1, lost=jnp.zeros_like(lane.lost))
            return jax.tree.map(lambda a, b: jnp.where(again, a, b), new, lane)

        every = each_lane(self.lanes, anew)
        return jax.lax.cond(jnp.any(again), lambda: every(carry, again), lambda: carry), loss

    def _one(self, lane: Carry, held: Any, numbers: Numbers, limit: Any) -> tuple[Carry, Any, Any]:
        """One lane after a look at one trial point, if it goes on; whether it starts again; its nll before it, NaN of
        one that failed."""
        fresh, move = jnp.isinf(lane.nll), self._move(lane.seen, lane.theta, lane.radius)
        trial = jnp.where(held, lane.theta, lane.theta + move.step)
        rows = self.fitting.rows(trial, numbers)
        seen = self._factored(rows, trial, jnp.where(fresh, 0.0, lane.seen.scale), held)
        taken, ratio = _judged(lane, seen, rows, move, fresh)
        radius = jnp.where(taken, _wider(lane, seen, move, ratio), _tighter(lane, move, rows.fine))
        first = FACTOR * _length(seen.scale, self.fitting.extent(trial))
        x, nll, seen = jax.tree.map(
            lambda a, b: jnp.where(taken, a, b), (trial, rows.nll, seen), (lane.theta, lane.nll, lane.seen)
        )
        radius = jnp.where(fresh, jnp.where(first > 0, first, FACTOR), radius)
        lost = jnp.where(taken, 0, lane.lost + 1)
        count = jnp.where(fresh, 0, lane.count + 1)
        new = Carry(x, nll, seen, radius, count, lost, lane.renewed, lane.before, lane.state)
        new, again = self._ended(new, fresh, taken)
        new = self._spell(new)
        running = (lane.state == RUNNING) & (lane.count < limit)
        loss = jnp.where(fresh, jnp.where(rows.fine, rows.nll, jnp.nan), lane.nll)
        again &= running & (new.state == RUNNING)
        return jax.tree.map(lambda a, b: jnp.where(running, a, b), new, lane), again, loss

    def _move(self, seen: Seen, x: Any, radius: Any) -> Move:
        """The step within the radius; within the reach of numbers that have bounds."""
        plain = seen.plain
        whole = jnp.linalg.norm(plain) <= radius
        damping = _damping(seen.s, seen.along, radius)
        damped = -seen.s * seen.along / (seen.s**2 + damping)
        damped = damped * jnp.minimum(1.0, 1.1 * radius / jnp.maximum(jnp.linalg.norm(damped), TINY))
        y = jnp.where(whole, plain, damped)
        step = (y @ seen.right) / jnp.where(seen.scale > 0, seen.scale, 1.0)
        share = 1.0 / jnp.maximum(1.0, jnp.max(jnp.abs(step) / self.fitting.reach(x)))
        left = seen.along + share * seen.s * y
        promise = 0.5 * jnp.sum(seen.along**2 - left**2)
        return Move(share * step, _length(seen.scale, share * step), promise, whole & (share >= 1.0))

    def _factored(self, rows: Rows, x: Any, scale: Any, held: Any) -> Seen:
        """What is remembered of the rows; of rows that are not finite as if they were zero.

        The bijection of a bounded number bends: where the likelihood presses against a bound its curvature there adds
        a row, so that steps are those of Newton and the bound is neared in equal steps. It vanishes at an optimum.
        """
        A, z = jnp.where(rows.fine & ~held[None], rows.A, 0.0), jnp.where(rows.fine, rows.z, 0.0)
        bend = jnp.maximum((A.T @ z) * self.fitting.bend(x), 0.0)
        p = A.shape[1]
        below = jnp.concatenate([jnp.diag(jnp.sqrt(bend)), jnp.zeros((p, 1))], axis=1)
        joined = jnp.concatenate([jnp.concatenate([A, z[:, None]], axis=1), below, jnp.zeros((1, p + 1))])
        scale = jnp.maximum(scale, jnp.linalg.norm(joined[:, :p], axis=0))
        triangle = jnp.linalg.qr(joined / jnp.append(jnp.where(scale > 0, scale, 1.0), 1.0)[None], mode="r")
        left, s, right = jnp.linalg.svd(triangle[:p, :p], full_matrices=False)
        sizes = jnp.sqrt(right**2 @ jnp.sum(triangle[:p, :p] ** 2, axis=0))
        along = left.T @ triangle[:p, p]  # where no data tell any part of the residuals: the triangle goes on into them
        return Seen(scale, s, right, jnp.where(s > NOTHING * sizes, along, 0.0))

    def _ended(self, lane: Carry, fresh: Any, taken: Any) -> tuple[Carry, Any]:
        """Whether the lane has ended, seen from where it now stands; or is to start again."""
        seen = lane.seen
        size = _length(seen.scale, self.fitting.extent(lane.theta))
        done = (jnp.linalg.norm(seen.along) <= FINE) & (jnp.linalg.norm(seen.plain) <= FINE * size)
        close = _within(seen) <= _slack(lane.nll)
        worn = close & (lane.lost >= PATIENCE)
        tight = (lane.radius <= SMALLEST * size) & ~taken
        again = tight & ~close & (lane.renewed < RENEWALS)
        ended = jnp.where(done | worn | (tight & close), SETTLED, jnp.where(tight & ~again, STUCK, RUNNING))
        state = jnp.where(fresh & ~taken, FAILED, ended).astype(lane.state.dtype)
        return lane._replace(state=state), again

    def _spell(self, lane: Carry) -> Carry:
        """At the end of a spell: whether it brought so little that networks have converged."""
        over = lane.count % SPELL == 0
        enough = over & (lane.before - lane.nll < LITTLE) & bool(networks(self.fitting.free)) & (lane.state == RUNNING)
        state = jnp.where(enough, SETTLED, lane.state).astype(lane.state.dtype)
        return lane._replace(before=jnp.where(over, lane.nll, lane.before), state=state)

    def ended(self, carry: Carry) -> Any:
        return jnp.all(carry.state != RUNNING)

    def values(self, theta: Any) -> dict[str, Any]:
        return self.fitting.inward(theta)


def _judged(lane: Carry, seen: Seen, rows: Rows, move: Move, fresh: Any) -> tuple[Any, Any]:
    """Whether a lane goes to the trial point, and the ratio of the decrease of the nll to what was promised.

    Near the optimum, where values no longer tell, a gradient that is clearly smaller is as good as a smaller value.
    """
    decrease = lane.nll - rows.nll
    ratio = jnp.where(move.promise > 0, decrease / jnp.where(move.promise > 0, move.promise, 1.0), 0.0)
    within, slack = _within(lane.seen), _slack(rows.nll)
    flatter = (within <= slack) & (_within(seen) < STEEPER * within) & (decrease >= -slack)
    return rows.fine & (fresh | (ratio >= DECREASE) | flatter), ratio


def _wider(lane: Carry, seen: Seen, move: Move, ratio: Any) -> Any:
    """The radius after a step that was taken, measured by the new scaling."""
    good = jnp.maximum(jnp.where((ratio > 0.75) | move.whole, 2.0 * move.length, 0.0), lane.radius)
    good = jnp.where(move.whole & (ratio <= 0.75), 2.0 * move.length, good)
    radius = jnp.where(ratio < 0.25, 0.5 * jnp.minimum(lane.radius, move.length), good)
    stretch = _length(seen.scale, move.step) / jnp.where(move.length > 0, move.length, 1.0)
    return radius * jnp.where(move.length > 0, stretch, 1.0)


def _tighter(lane: Carry, move: Move, fine: Any) -> Any:
    """The radius after a step that was not taken."""
    return jnp.where(fine, 0.25, 0.1) * jnp.minimum(move.length, lane.radius)


def _within(seen: Seen) -> Any:
    """The decrease of the nll that a full step promises: half its squared distance in standard errors."""
    return 0.5 * jnp.sum(seen.along**2)


def _slack(nll: Any) -> Any:
    return CLOSE * (1.0 + jnp.abs(nll))


def _length(scale: Any, step: Any) -> Any:
    return jnp.linalg.norm(scale * step)


def _damping(s: Any, along: Any, radius: Any) -> Any:
    """λ for which |y| is the radius, where y = -s along/(s² + λ): Newton's method on 1/|y|, from the left."""

    def better(_: Any, damping: Any) -> Any:
        y = s * along / (s**2 + damping)
        norm = jnp.linalg.norm(y)
        slope = jnp.sum(y**2 / (s**2 + damping)) / jnp.maximum(norm, TINY)
        return jnp.maximum(damping + (norm - radius) / radius * norm / jnp.maximum(slope, TINY), damping)

    least = (RANK * jnp.max(s)) ** 2 + TINY
    return jax.lax.fori_loop(0, NEWTON, better, least)


# ---------------------------------------------------------------- refits


class Solved(NamedTuple):
    """What lanes came to, NumPy arrays over lanes."""

    x: Any
    """[lanes, p]"""
    nll: Any
    """[lanes]; infinite of one that failed where it began"""
    state: Any
    """[lanes]: RUNNING (used up its iterations), SETTLED, STUCK or FAILED"""
    count: Any
    """[lanes]: iterations"""


def solve(
    fitting: Fitting, x: Any, numbers: Numbers, *, held: Any = None, own: bool = False, steps: int = STEPS
) -> Solved:
    """Fits lanes side by side, without progress: refits, profiles. Calls with equal shapes share a compiled program.

    Args:
        x: where the lanes start [lanes, p].
        held: which free numbers [lanes, p] stay as they are (bool); None: none.
        own: whether `numbers.cases.observed` and `.known` have a leading axis of lanes.
    """
    x = np.asarray(x, float)
    held = np.zeros(x.shape, bool) if held is None else np.asarray(held, bool)
    iteration = Scoring(fitting, len(x), own)
    programs = engine.compiled(iteration)
    constants = jax.device_put(Constants(numbers, held, np.asarray(steps)))
    carry, now, over = programs.begin(x, constants), 0, False
    while not over and now <= steps:
        until = np.asarray(min(now + engine.longest(iteration), steps + 1))
        carry, done, _, _, ended = programs.run(carry, constants, np.asarray(now), until)
        now, over = int(done), bool(ended)
    return Solved(*jax.device_get((carry.theta, carry.nll, carry.state, carry.count)))
