"""Methods of deterministic minimisation, each as one pure iteration over the free numbers [n] of one lane.

A method looks at the point where it stands, then moves; `search` tries steps until one lowers what is minimised, so
that the least-squares methods and L-BFGS never get worse and never step onto what is not finite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from dpl.runtime.spec import Method as Asked
from dpl.tasks import optimisers
from dpl.tasks.optimisers import Numbers, Rule

FEW = 8
"""So few numbers are differentiated forward, one at a time"""
TRIES = 12
"""Steps that one iteration tries at the most"""
DECREASE = 1e-4
"""The share of the promised decrease that a step must bring: Nocedal and Wright (2006), equation 3.4"""
SMALLEST = 1e-8
"""A step that is so small against the numbers themselves is the last"""
RANK = 1e-10
"""Singular values so small against the largest count as none"""
EASY = 1e-3
"""The damping of the first step, as a share of the largest singular value squared"""
PAIRS = 10
"""Steps that L-BFGS remembers"""


@dataclass(frozen=True)
class Merit:
    """What is minimised in one lane, as functions of its free numbers; each returns beside it what was seen there.

    `value(x, forward)` is a number. `residuals(x, forward)` [m] are those whose squares add up to it, if it is a sum of
    squares. `forward` says which derivatives will be taken.
    """

    value: Callable[[Any, bool], tuple[Any, Any]]
    residuals: Callable[[Any, bool], tuple[Any, Any]]
    tolerance: Any
    """A relative decrease below it is the last"""
    reach: Any
    """How far one step may go [n]; infinite where nothing bounds a number"""

    def within(self, step: Any) -> Any:
        """The share of a step [n] that is not too far."""
        return 1.0 / jnp.maximum(1.0, jnp.max(jnp.abs(step) / self.reach))

    def gradient(self, x: Any) -> tuple[Any, Any, Any]:
        """The value, what was seen, the gradient [n]."""
        forward = x.size <= FEW

        def valued(x: Any) -> Any:
            value, seen = self.value(x, forward)
            return value, (value, seen)

        derive = jax.jacfwd if forward else jax.grad
        gradient, (value, seen) = derive(valued, has_aux=True)(x)
        return value, seen, gradient

    def jacobian(self, x: Any) -> tuple[Any, Any, Any]:
        """The residuals [m], what was seen, the Jacobian [m, n]; in the mode that needs fewer passes."""
        rows = jax.eval_shape(lambda x: self.residuals(x, True)[0], x).size
        forward = x.size <= max(FEW, rows)

        def valued(x: Any) -> Any:
            residuals, seen = self.residuals(x, forward)
            return residuals, (residuals, seen)

        derive = jax.jacfwd if forward else jax.jacrev
        jacobian, (residuals, seen) = derive(valued, has_aux=True)(x)
        return residuals, seen, jacobian


class Moved(NamedTuple):
    """Where an iteration leads, and what was seen where it began."""

    x: Any
    memory: Any
    seen: Any
    still: Any
    """Whether nothing more is to be gained"""
    good: Any
    """Whether the value and its derivative, where it began, are finite; if not, `x` is the last good point"""


class Method(Protocol):
    """`active` is False where a lane has ended, so that it is not searched in vain; equal methods share programs."""

    def begin(self, x: Any, numbers: Numbers) -> Any:
        """What the method remembers at first."""
        ...

    def renewed(self, memory: Any, x: Any, numbers: Numbers) -> Any:
        """What it still remembers where another function is to be minimised, which resembles the one before."""
        ...

    def step(self, merit: Merit, x: Any, memory: Any, numbers: Numbers, done: Any, active: Any) -> Moved:
        """One iteration; `done` are the iterations before it."""
        ...


def search(
    value_at: Callable[[Any], Any],
    x: Any,
    value: Any,
    step: Callable[[Any], tuple[Any, Any]],
    strength: Any,
    weaker: Callable[[Any, Any], Any],
    active: Any,
) -> tuple[Any, Any, Any, Any]:
    """The first step that lowers the value enough: its point, the ratio of decrease to promise, its strength, or none.

    Args:
        step: a strength to a step [n] and the decrease that it promises.
        weaker: the next strength, from one that failed and how many did.
    Returns:
        The point, the ratio (0 if no step was found), the decrease, and the strength tried last.
    """

    def more(state: Any) -> Any:
        return (state[1] <= 0) & (state[0] < TRIES) & active

    def attempt(state: Any) -> Any:
        tries, _, _, _, strength = state
        move, promised = step(strength)
        decrease = value - value_at(x + move)
        ratio = decrease / jnp.where(promised > 0, promised, 1.0)
        fine = (promised > 0) & (decrease > 0) & (ratio >= DECREASE)  # not where anything is NaN
        ratio, decrease = jnp.where(fine, ratio, 0.0), jnp.where(fine, decrease, 0.0)
        after = jnp.where(fine, strength, weaker(strength, tries))
        return tries + 1, ratio, decrease, jnp.where(fine, x + move, x), after

    zero = jnp.zeros_like(value)
    _, ratio, decrease, point, strength = jax.lax.while_loop(more, attempt, (0, zero, zero, x, strength))
    return point, ratio, decrease, strength


def _finite(*parts: Any) -> Any:
    return jnp.stack([jnp.all(jnp.isfinite(part)) for part in parts]).all()


def _short(x: Any, point: Any) -> Any:
    """Whether a step is too short to matter."""
    return jnp.linalg.norm(point - x) <= SMALLEST * (jnp.linalg.norm(x) + SMALLEST)


# ---------------------------------------------------------------- least squares


@dataclass(frozen=True)
class LeastSquares:
    """Levenberg-Marquardt if `damped`, else Gauss-Newton with halved steps.

    The free numbers are of one size, so the damping is even. One singular value decomposition serves all steps tried;
    it gives the shortest step where the residuals leave some direction open.

    Madsen, Nielsen and Tingleff (2004), Methods for non-linear least squares problems, algorithms 3.16 and 3.1.
    """

    damped: bool

    def begin(self, x: Any, numbers: Numbers) -> Any:
        """The damping; below 0 before the first Jacobian gives it its size."""
        return jnp.full((), -1.0)

    def renewed(self, memory: Any, x: Any, numbers: Numbers) -> Any:
        return memory

    def step(self, merit: Merit, x: Any, memory: Any, numbers: Numbers, done: Any, active: Any) -> Moved:
        residuals, seen, jacobian = merit.jacobian(x)
        good = _finite(residuals, jacobian)
        left, s, right = jnp.linalg.svd(jnp.where(good, jacobian, 0.0), full_matrices=False)
        along, value = left.T @ jnp.where(good, residuals, 0.0), residuals @ residuals
        size = jnp.max(s)
        kept = s > RANK * size

        def damped(strength: Any) -> tuple[Any, Any]:
            share = jnp.where(kept, s**2 / jnp.where(kept, s**2 + strength, 1.0), 0.0)
            step = -right.T @ (share * along / jnp.where(kept, s, 1.0))
            t = merit.within(step)
            return t * step, jnp.sum(along**2 * t * share * (2.0 - t * share))

        def halved(strength: Any) -> tuple[Any, Any]:
            step = -right.T @ jnp.where(kept, along / jnp.where(kept, s, 1.0), 0.0)
            t = strength * merit.within(step)
            return t * step, 2.0 * t * jnp.sum(jnp.where(kept, along**2, 0.0))

        def value_at(x: Any) -> Any:
            found, _ = merit.residuals(x, x.size <= max(FEW, residuals.size))
            return found @ found

        first = jnp.where(memory < 0, EASY * size**2, memory) if self.damped else jnp.ones_like(value)
        step, weaker = (damped, _stronger_damping) if self.damped else (halved, lambda strength, _: strength / 2)
        point, ratio, decrease, strength = search(value_at, x, value, step, first, weaker, active & good)
        eased = strength * jnp.maximum(1 / 3, 1.0 - (2.0 * ratio - 1.0) ** 3)
        gain = jnp.maximum(decrease, jnp.sum(jnp.where(kept, along**2, 0.0)))  # what a full step would bring
        free = strength <= EASY * size**2 if self.damped else True  # else it is the damping that makes the step short
        still = (ratio <= 0) | (_short(x, point) & free) | (gain <= merit.tolerance * value)
        return Moved(point, jnp.where(ratio > 0, eased, first), seen, still, good)


def _stronger_damping(damping: Any, tries: Any) -> Any:
    """Nielsen's rule: 2, then 4, then 8 times as much."""
    return damping * 2.0 ** (tries + 1.0)


# ---------------------------------------------------------------- L-BFGS


class Pairs(NamedTuple):
    """The latest steps and changes of gradient [PAIRS, n], newest last; zeros where there is none yet."""

    steps: Any
    changes: Any
    x: Any
    gradient: Any


@dataclass(frozen=True)
class LBFGS:
    """Limited-memory BFGS; a pair without curvature is left out, so that backtracking will do as line search.

    Where no step is found, the pairs are forgotten; where there are none, nothing more is to be gained.

    Nocedal and Wright (2006), Numerical optimization, algorithms 7.4 and 3.1.
    """

    def begin(self, x: Any, numbers: Numbers) -> Pairs:
        none = jnp.zeros((PAIRS, *x.shape))
        return Pairs(none, none, x, jnp.zeros_like(x))

    def renewed(self, memory: Pairs, x: Any, numbers: Numbers) -> Pairs:
        return self.begin(x, numbers)  # its gradients are of the function before

    def step(self, merit: Merit, x: Any, memory: Pairs, numbers: Numbers, done: Any, active: Any) -> Moved:
        value, seen, gradient = merit.gradient(x)
        good = _finite(value, gradient)
        gradient = jnp.where(good, gradient, 0.0)
        pairs = _remembered(memory, x, gradient)
        direction = -_preconditioned(pairs, gradient)
        direction = direction * merit.within(direction)
        slope = -(gradient @ direction)

        def step(strength: Any) -> tuple[Any, Any]:
            return strength * direction, strength * slope

        def value_at(x: Any) -> Any:
            return merit.value(x, x.size <= FEW)[0]

        one = jnp.ones_like(value)
        shorter = lambda strength, tries: strength / 4  # noqa: E731
        point, ratio, decrease, _ = search(value_at, x, value, step, one, shorter, active & good)
        lost, bare = ratio <= 0, ~jnp.any(pairs.steps != 0)
        still = (lost & bare) | (~lost & (jnp.maximum(decrease, slope) <= merit.tolerance * jnp.abs(value)))
        forgotten = jax.tree.map(lambda new, old: jnp.where(lost, new, old), self.begin(x, numbers), pairs)
        return Moved(point, forgotten, seen, still, good)


def _remembered(memory: Pairs, x: Any, gradient: Any) -> Pairs:
    """The pairs with the latest one, if it shows curvature."""
    step, change = x - memory.x, gradient - memory.gradient
    curved = (step @ change > SMALLEST * jnp.linalg.norm(step) * jnp.linalg.norm(change)) & jnp.any(
        memory.gradient != 0
    )

    def pushed(rows: Any, row: Any) -> Any:
        return jnp.where(curved, jnp.concatenate([rows[1:], row[None]]), rows)

    return Pairs(pushed(memory.steps, step), pushed(memory.changes, change), x, gradient)


def _preconditioned(pairs: Pairs, gradient: Any) -> Any:
    """The gradient times the inverse Hessian that the pairs tell of; without any, a step of length 1."""
    curvature = jnp.sum(pairs.steps * pairs.changes, axis=1)
    known = curvature > 0
    weight = jnp.where(known, 1.0 / jnp.where(known, curvature, 1.0), 0.0)

    def back(q: Any, row: Any) -> Any:
        step, change, weight = row
        share = weight * (step @ q)
        return q - share * change, share

    def forth(r: Any, row: Any) -> Any:
        step, change, weight, share = row
        return r + step * (share - weight * (change @ r)), None

    q, shares = jax.lax.scan(back, gradient, (pairs.steps, pairs.changes, weight), reverse=True)
    norm, bend = jnp.linalg.norm(gradient), pairs.changes[-1] @ pairs.changes[-1]
    scale = jnp.where(known[-1], curvature[-1] / jnp.where(bend > 0, bend, 1.0), 1.0 / jnp.where(norm > 0, norm, 1.0))
    found, _ = jax.lax.scan(forth, scale * q, (pairs.steps, pairs.changes, weight, shares))
    return found


# ---------------------------------------------------------------- first order


class Rolling(NamedTuple):
    """An optimiser's memory, and the point before: the last good one."""

    optimiser: Any
    before: Any


@dataclass(frozen=True)
class FirstOrder:
    """The optimisers of `train`, with the whole gradient. They may get worse on their way."""

    rule: Rule

    def begin(self, x: Any, numbers: Numbers) -> Rolling:
        return Rolling(self.rule.direction(numbers).init(x), x)

    def renewed(self, memory: Rolling, x: Any, numbers: Numbers) -> Rolling:
        return memory

    def step(self, merit: Merit, x: Any, memory: Rolling, numbers: Numbers, done: Any, active: Any) -> Moved:
        value, seen, gradient = merit.gradient(x)
        good = _finite(value, gradient)
        rate = self.rule.rate(numbers, done, numbers["limit"])
        point, later = self.rule.moved(numbers, rate, x, gradient, memory.optimiser)
        point = jnp.where(good, point, jnp.where(jnp.isfinite(value), x, memory.before))
        return Moved(point, Rolling(later, x), seen, _short(x, point), good)


# ---------------------------------------------------------------- what the text asks for


@dataclass(frozen=True)
class Chosen:
    """A method with its numbers and name; `second`: of second order, so that it needs few iterations."""

    method: Method
    name: str
    numbers: Numbers
    second: bool
    defaults: tuple[str, ...] = ()


SECOND: dict[str, Method] = {
    "levenberg_marquardt": LeastSquares(damped=True),
    "gauss_newton": LeastSquares(damped=False),
    "lbfgs": LBFGS(),
}
MANY = 2_000
"""So many numbers are too many for a least-squares method that nobody asked for"""


def mode_of(method: Method, size: int, runs: int) -> str:
    """Which derivatives a method takes of so many numbers; least squares have a residual for each run at least."""
    return "forward" if size <= max(FEW, runs if isinstance(method, LeastSquares) else 0) else "reverse"


def choose(asked: Asked, squares: bool, constrained: bool, size: int) -> Chosen:
    """The method that `using` names, else least squares where the objective is a sum of squares, else L-BFGS.

    Args:
        squares: whether the objective is a sum of squares.
        constrained: whether there are constraints, between whose updates a method must converge.
        size: how many numbers vary together.
    """
    name = asked.name
    if name in ("levenberg_marquardt", "gauss_newton") and not squares:
        raise ValueError(f"{name} minimises a mean of squares, such as `minimize error²`; use lbfgs here")
    if name in SECOND and asked.arguments:
        raise ValueError(f"{name} takes no numbers, not {', '.join(asked.arguments)}")
    if name and name not in SECOND:
        if name not in optimisers.OPTIMISERS:
            raise ValueError(f"no method is called `{name}`; there are {', '.join([*SECOND, *optimisers.OPTIMISERS])}")
        if constrained:
            raise ValueError(f"`subject to` works with {', '.join(SECOND)}, not with {name}")
        descent, defaults = optimisers.descent(asked)
        return Chosen(FirstOrder(descent.rule), str(descent), descent.numbers, False, defaults)
    chosen = name or ("levenberg_marquardt" if squares and size <= MANY else "lbfgs")
    return Chosen(SECOND[chosen], chosen, {}, True, () if name else (f"using {chosen}",))
