"""`subject to`: constraints by an augmented Lagrangian, around any method of `methods.py`.

Nocedal and Wright (2006), Numerical optimization, sections 17.3 and 17.4; the measure of progress is that of Birgin
and Martínez (2014), Practical augmented Lagrangian methods, algorithm 4.1. With g <= 0 in units of its typical size,
multipliers λ and a weight ρ, what is minimised is f/|f at the start| + ρ/2 Σ max(0, g + λ/ρ)², of equalities without
the max.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime.spec import Comparison, Objective
from dpl.tasks.comparison import gaps
from dpl.tasks.result import Quantity, declared

TOLERANCE = 1e-6
"""Share of its typical size by which an equality may be missed. Inequalities aim as much inside, so that they hold."""
WEIGHT, HEAVIER, HEAVIEST = 10.0, 10.0, 1e9
"""The weight ρ at first, its growth, and what ends the search for values that comply"""
ENOUGH = 0.25
"""A violation that is not reduced to this share makes the weight grow"""
ROUGH, FINE = 1e-4, 1e-10
"""Relative decreases at which the minimisation between two updates ends: at first, and at last"""
INNER = 50
"""It ends after so many iterations, too"""


class Penalty(NamedTuple):
    """What the augmented Lagrangian of one lane remembers."""

    multipliers: Any
    """λ >= 0 of g/size [k], of equalities of any sign, in units of `scale`"""
    weight: Any
    size: Any
    """Typical size of each gap [k]"""
    scale: Any
    """Typical size of the objective"""
    violation: Any
    """The greatest one at the latest update"""
    tolerance: Any
    inner: Any
    """Iterations since then"""


class Complying(NamedTuple):
    """The best values on the way of one lane with which all its constraints hold."""

    theta: Any
    loss: Any
    """Infinite where there are none yet"""

    def met(self, theta: Any, loss: Any, complied: Any) -> Complying:
        """These or those, whichever comply with the lower loss."""
        better = complied & (loss < self.loss)
        return jax.tree.map(lambda new, old: jnp.where(better, new, old), Complying(theta, loss), self)


def all_gaps(constraints: Sequence[Comparison], results: Mapping[str, Any], runs: int) -> Any:
    """By how much each comparison of each constraint fails [k]: at most 0 where it holds; one per run if `per_run`."""
    return jnp.concatenate([_each(c, runs, gap) for c in constraints for gap in gaps(c.ops, c.operands(results))])


def equalities(constraints: Sequence[Comparison], runs: int) -> np.ndarray:
    """Which of `all_gaps` are of equalities [k]."""
    return np.concatenate([np.full(runs if c.per_run else 1, op == "==") for c in constraints for op in c.ops])


def _each(c: Comparison, runs: int, one: Any) -> Any:
    return jnp.broadcast_to(one, (runs if c.per_run else 1,))


def _sizes(constraints: Sequence[Comparison], results: Mapping[str, Any], runs: int) -> Any:
    """The typical size of each gap [k]: that of a constant limit, else of what is compared, else the unit."""
    found: list[Any] = []
    for c in constraints:
        operands = c.operands(results)
        for a, b in pairwise(operands):
            limits = [abs(x) for x in (a, b) if constant(x) and x != 0]
            size = limits[0] if limits else jnp.maximum(jnp.max(jnp.abs(a)), jnp.max(jnp.abs(b)))
            found.append(_each(c, runs, jnp.where(jnp.isfinite(size) & (size > 0), size, c.unit.scale)))
    return jnp.concatenate(found)


def constant(operand: Any) -> bool:
    """A number of the text, such as a limit."""
    return isinstance(operand, int | float)


def begin(constraints: Sequence[Comparison], results: Mapping[str, Any], runs: int, objective: Any) -> Penalty:
    """Nothing is pressed at first."""
    size = _sizes(constraints, results, runs)
    scale = jnp.where(jnp.isfinite(objective) & (objective != 0), jnp.abs(objective), 1.0)
    return Penalty(
        jnp.zeros_like(size),
        jnp.asarray(WEIGHT),
        size,
        scale,
        jnp.asarray(jnp.inf),
        jnp.asarray(ROUGH),
        jnp.zeros((), int),
    )


def pressed(penalty: Penalty, found: Any, equal: np.ndarray) -> Any:
    """√(ρ/2) max(0, g + λ/ρ) of each gap [k]: their squares are what the augmented Lagrangian adds."""
    pressure = _scaled(penalty, found, equal) + penalty.multipliers / penalty.weight
    return jnp.sqrt(penalty.weight / 2) * jnp.where(equal, pressure, jnp.maximum(pressure, 0.0))


def _scaled(penalty: Penalty, found: Any, equal: np.ndarray) -> Any:
    return found / penalty.size + jnp.where(equal, 0.0, TOLERANCE)


def complied(penalty: Penalty, found: Any, equal: np.ndarray) -> Any:
    """Whether all constraints hold, equalities within the tolerance."""
    return jnp.all(jnp.where(equal, jnp.abs(found) <= TOLERANCE * penalty.size, found <= 0))


def updated(penalty: Penalty, found: Any, equal: np.ndarray, still: Any) -> tuple[Penalty, Any, Any]:
    """The penalty after an iteration, whether to go on under a new one, and whether nothing is left to be done."""
    inner = penalty.inner + 1
    g, pressure = _scaled(penalty, found, equal), penalty.multipliers / penalty.weight
    violation = jnp.max(jnp.abs(jnp.where(equal, g, jnp.maximum(g, -pressure))))
    over = still | (inner >= INNER)
    solved = still & (violation <= TOLERANCE) & (penalty.tolerance <= FINE * 1.01)
    hopeless = over & (penalty.weight >= HEAVIEST)
    multipliers = penalty.weight * jnp.where(equal, g + pressure, jnp.maximum(g + pressure, 0.0))
    heavier = (violation > ENOUGH * penalty.violation) & (violation > TOLERANCE)
    later = Penalty(
        multipliers,
        penalty.weight * jnp.where(heavier, HEAVIER, 1.0),
        penalty.size,
        penalty.scale,
        violation,
        jnp.maximum(penalty.tolerance * 0.1, FINE),
        jnp.zeros_like(inner),
    )
    same = penalty._replace(inner=inner)
    renewed = over & ~solved & ~hopeless
    chosen = Penalty(*(jnp.where(renewed, new, old) for new, old in zip(later, same, strict=True)))
    chosen = chosen._replace(multipliers=jnp.where(solved, multipliers, chosen.multipliers))
    return chosen, renewed, solved | hopeless


# ---------------------------------------------------------------- what came of it


@dataclass(frozen=True, eq=False)
class Constrained:
    """One comparison of a constraint as found, in its declared unit: arrays over the runs that it was held in.

    `slack` is what is left to the limit, below 0 where it is violated; `multiplier` is the decrease of the objective
    per unit by which the limit gives way, NaN where the search did not end where the constraints hold.
    """

    text: str
    holds: np.ndarray
    value: Quantity
    limit: Quantity
    slack: Quantity
    multiplier: Quantity


def constrained(
    constraints: Sequence[Comparison], found: Sequence[Sequence[Any]], penalty: Penalty, objective: Objective
) -> tuple[Constrained, ...]:
    """Every constraint at what was found.

    Args:
        found: SI operands of each, arrays [problems] or [problems, runs], or numbers of the text.
        penalty: that of each problem, stacked.
    """
    rows: list[Constrained] = []
    multipliers = np.asarray(penalty.multipliers * penalty.scale[:, None] / penalty.size)
    at = 0
    for c, operands in zip(constraints, found, strict=True):
        for op, a, b, gap in zip(c.ops, operands, operands[1:], gaps(c.ops, operands), strict=False):
            gap = np.reshape(gap, (len(multipliers), -1))
            part = slice(at, at + gap.shape[1])
            at = part.stop
            value, limit = (b, a) if constant(a) and not constant(b) else (a, b)
            equal = op == "=="
            misses = np.abs(gap) > TOLERANCE * np.asarray(penalty.size)[:, part] if equal else ~(gap <= 0)
            worth = Quantity(
                multipliers[:, part].ravel() * c.unit.scale / objective.unit.scale,
                _per(objective.unit.text, c.unit.text),
            )
            slack = declared(-np.abs(gap) if equal else -gap, c.unit)
            rows.append(Constrained(c.text, ~misses.ravel(), _flat(value, gap, c), _flat(limit, gap, c), slack, worth))
    return tuple(rows)


def _flat(operand: Any, gap: np.ndarray, c: Comparison) -> Quantity:
    whole = np.asarray(operand, float)
    whole = whole[:, None] if whole.ndim == 1 else whole
    return declared(np.broadcast_to(whole, gap.shape).ravel(), c.unit)


def _per(top: str, bottom: str) -> str:
    """The unit of a multiplier."""
    if not bottom:
        return top
    below = f"({bottom})" if any(sign in bottom for sign in "*/ ") else bottom
    return f"{top or '1'}/{below}"
