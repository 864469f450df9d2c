"""How well data determine what was fitted: Fisher's information at the estimate, and what follows from it.

The information is AᵀA of the rows; its inverse comes from the singular values of A with columns of length 1, so that
units do not matter and no digits are lost by squaring. What lies on a bound is held there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special

from dpl.runtime import compiling
from dpl.runtime.spec import Network, Observation, Unit
from dpl.tasks.fitted import Direction, Estimate
from dpl.tasks.fitting import Fitting, Numbers, Term, complete
from dpl.tasks.scoring import NOTHING
from dpl.tasks.vary import AT_BOUND, Freedom

TOUCHED = 1e-6
"""A number with so much weight in such a direction is not determined"""
WEIGHT = 0.1
"""Weights so small against the largest are left out of a direction in words"""
NORMAL = 1.959963984540054
"""The 97.5 % quantile of the normal distribution"""

EXACT, NEAR = 1e-14, 1e-6
"""A scale that is so small a share of the data is rounding: they are met exactly; where no data are left over, it is
what iterations left"""


class Seen(NamedTuple):
    """What a look at one point tells: `Fitting.told`, with the logarithms of estimated scales free as well, the SI
    values of the free numbers [p], their slopes and how their bijections bend."""

    arguments: Any
    A: Any
    z: Any
    values: Any
    slope: Any
    bend: Any
    scales: Any
    nll: Any
    log_likelihood: Any


@lru_cache(maxsize=16)
def _looker(fitting: Fitting) -> Any:
    def look(x: Any, numbers: Numbers) -> Seen:
        told = fitting.told(x, numbers, joint=True)
        rows, values = told.rows, fitting.each(lambda f, u: f.inward(u), x)
        bends = fitting.slope(x), fitting.bend(x)
        return Seen(told.arguments, rows.A, rows.z, values, *bends, told.scales, rows.nll, told.log_likelihood)

    return compiling.jit(look, True, ("look", fitting))


def look(fitting: Fitting, x: Any, numbers: Numbers) -> Seen:
    """In NumPy, by one program for all that is asked of single points, which is soon compiled rather than fast."""
    return jax.device_get(_looker(fitting)(np.asarray(x), numbers))


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Of the p free numbers and, after them, the logarithms of the estimated scales."""

    x: np.ndarray
    covariance: np.ndarray
    """[p + scales, p + scales]; NaN on a bound, infinite on the diagonal where no data tell"""
    factor: np.ndarray
    """[r, p + scales]: its squares add up to the covariance, but for directions that nothing determines"""
    slope: np.ndarray
    """Of each value [SI] by its free number [p]"""
    at_bound: np.ndarray
    """[p]"""
    directions: tuple[Direction, ...]
    scales: Mapping[str, float]
    """Estimated [SI], by observation; of least squares with n - rank degrees of freedom"""
    quantile: float
    """How many standard errors the ends of a 95 % interval are away"""
    nll: float
    log_likelihood: float
    arguments: Mapping[str, Any]
    """What each observation says at its data, as `Fitting.arguments` returns it"""
    squares: bool
    """Whether it is that of least squares"""
    undetermined: int
    """How many directions of the free numbers no data tell"""
    freedom: int
    """How many data are left: n less the numbers that they tell"""
    exact: tuple[str, ...]
    """Observations that are met exactly, so that the likelihood of a scale near 0 has no end"""
    unseen: tuple[str, ...]
    """Observations all of which are beyond a limit of detection: nothing tells their estimated scale"""

    @property
    def se(self) -> np.ndarray:
        """Of the free numbers [p + scales]."""
        with np.errstate(invalid="ignore"):
            return np.sqrt(np.diag(self.covariance))


def uncertainty(fitting: Fitting, x: Any, numbers: Numbers, labels: Sequence[str]) -> Uncertainty:
    """Fisher's information at x [p], turned into covariances; `labels` of the runs."""
    seen = look(fitting, x, numbers)
    p = fitting.size
    at_bound, lacking = _at_bound(fitting, np.asarray(x), seen), aside(fitting, numbers)
    covariance, factor, null = _inverted(seen.A, at_bound | lacking)
    squares, count = _least_squares(fitting), sum(int(np.sum(known)) for known in numbers.cases.known.values())
    undetermined = int(np.any(null[:, :p] != 0, axis=1).sum()) + int(lacking.sum())
    freedom = count - (p - int(at_bound.sum()) - undetermined)
    inflation = count / freedom if squares and freedom > 0 else math.nan if squares else 1.0
    unseen = tuple(o.name for o in fitting.estimated if _unseen(o, numbers, seen))
    names = (*fitting.called(labels), *(f"σ({o.name})" for o in fitting.estimated))
    weights = [True] * p
    for f in fitting.free:
        if isinstance(f.declaration, Network):
            weights = [w and not n.startswith(f"{f.name}[") for n, w in zip(names, weights, strict=False)]
    return Uncertainty(
        np.asarray(x),
        covariance * inflation,
        factor * math.sqrt(inflation),
        seen.slope,
        at_bound,
        tuple(d for row in null if (d := _direction(row, names, weights)) is not None),
        {n: math.nan if n in unseen else float(s) * math.sqrt(inflation) for n, s in seen.scales.items()},
        student_quantile(freedom) if squares and freedom > 0 else NORMAL,
        float(seen.nll),
        float(seen.log_likelihood),
        seen.arguments,
        squares,
        undetermined,
        freedom,
        _exact(fitting, numbers, seen, freedom),
        unseen,
    )


def aside(fitting: Fitting, numbers: Numbers) -> np.ndarray:
    """The free numbers [p] of runs of which no cell counts."""
    known = [np.asarray(k).reshape((fitting.runs, -1)).any(axis=1) for k in numbers.cases.known.values()]
    own = np.repeat(~np.any(known, axis=0), fitting.own.size)
    return np.concatenate([np.zeros(fitting.shared.size, bool), own])


def _least_squares(fitting: Fitting) -> bool:
    """One unknown scale of all data, normal or lognormal, and nothing else: its square is RSS/(n - rank)."""
    if len(fitting.observations) != 1 or len(fitting.estimated) != 1 or fitting.with_prior:
        return False
    (o,) = fitting.estimated
    return o.distribution in ("normal", "lognormal") and not (o.below or o.above)


def _exact(fitting: Fitting, numbers: Numbers, seen: Seen, freedom: int) -> tuple[str, ...]:
    """The observations whose estimated scale is that of rounding."""
    told: list[str] = []
    for o in fitting.estimated:
        y = np.asarray(numbers.cases.observed[o.name])[np.asarray(numbers.cases.known[o.name])]
        size = 1.0 if o.distribution == "lognormal" else float(np.sqrt(np.mean(y**2))) if y.size else 0.0
        if not _unseen(o, numbers, seen) and seen.scales[o.name] <= (EXACT if freedom > 0 else NEAR) * size:
            told.append(o.name)
    return tuple(told)


def _unseen(o: Observation, numbers: Numbers, seen: Seen) -> bool:
    y, known = np.asarray(numbers.cases.observed[o.name]), np.asarray(numbers.cases.known[o.name])
    _, below, above = Term(o).split(complete(o, seen.arguments[o.name], seen.scales[o.name]))
    return bool(np.all(np.asarray(Term(o).beyond(y, below, above))[known]))


def _at_bound(fitting: Fitting, x: np.ndarray, seen: Seen) -> np.ndarray:
    """Which free numbers [p] are next to a bound and pressed against it: there its bijection bends more than the
    likelihood does."""
    A = seen.A[:, : fitting.size]
    pressed = np.maximum((A.T @ seen.z) * seen.bend, 0.0) > np.sum(A**2, axis=0)

    def share(f: Freedom, u: Any) -> Any:
        limit, value = f.bounds, f.inward(u)
        near = jnp.full(jnp.shape(value), jnp.inf)
        for ends in limit.ends if limit is not None else []:
            assert limit is not None
            near = jnp.minimum(near, limit.share(value, *ends))
        return near

    near = np.asarray(fitting.each(share, jnp.asarray(x)))
    return pressed & (near <= AT_BOUND)


def _inverted(A: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inverse of AᵀA over the columns that are not held, its factor, the directions [·, p] without information."""
    p = A.shape[1]
    counted = np.ones(p, bool)
    counted[: len(held)] = ~held
    norms = np.linalg.norm(A, axis=0)
    silent, alive = counted & (norms == 0), counted & (norms > 0)
    covariance = np.full((p, p), np.nan)
    null = [np.eye(p)[i] for i in np.flatnonzero(silent)]
    factor = np.zeros((0, p))
    covariance[silent, silent] = np.inf
    if alive.any():
        scaled = A[:, alive] / norms[alive]
        _, s, right = np.linalg.svd(np.linalg.qr(scaled, mode="r"))
        s = np.concatenate([s, np.zeros(right.shape[0] - len(s))])
        known = s > NOTHING * s[0]
        inner = (right[known].T / s[known]) / norms[alive][:, None]
        found = inner @ inner.T
        factor = np.zeros((inner.shape[1], p))
        factor[:, alive] = inner.T
        for row in right[~known]:
            direction = np.zeros(p)
            direction[alive] = row / norms[alive]
            null.append(direction / np.linalg.norm(direction))
            touched = np.flatnonzero(np.abs(row) > TOUCHED)
            found[touched, touched] = np.inf
        covariance[np.ix_(alive, alive)] = found
    return covariance, factor, np.array(null).reshape((-1, p))


def _direction(row: np.ndarray, names: tuple[str, ...], counted: list[bool]) -> Direction | None:
    """In words; None of one that only weights of networks make up."""
    row = row[: len(counted)] * np.asarray(counted)
    size = np.abs(row).max(initial=0.0)
    if size < WEIGHT * 1e-2:
        return None
    order = [i for i in np.argsort(-np.abs(row)).tolist() if abs(row[i]) >= WEIGHT * size]
    return Direction(tuple((names[i], float(row[i])) for i in order), math.inf)


def student_quantile(freedom: float, share: float = 0.975) -> float:
    """The quantile of Student's t, by bisection."""

    def beyond(t: float) -> float:
        return float(special.betainc(0.5 * freedom, 0.5, freedom / (freedom + t * t))) / 2

    low, high = 0.0, 1e4
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if beyond(middle) > 1 - share else (low, middle)
    return 0.5 * (low + high)


# ---------------------------------------------------------------- in declared units


def units(fitting: Fitting) -> np.ndarray:
    """The scale of the declared unit of each free number [p]."""
    told = fitting.each(lambda f, u: jnp.full_like(u, unit_of(f).scale), jnp.zeros(fitting.size))
    return np.asarray(told)


def unit_of(f: Freedom) -> Unit:
    return Unit() if isinstance(f.declaration, Network) else f.declaration.unit


def estimates(fitting: Fitting, found: Uncertainty, start: Any, labels: tuple[str, ...]) -> dict[str, Estimate]:
    """Of everything but networks, in declared units; `start` [p] is where the best start began."""
    p, scale = fitting.size, units(fitting)
    se = np.where(found.at_bound, np.nan, found.se[:p])
    values, began = (fitting.values(x) for x in (found.x, start))
    ends = [fitting.values(found.x + sign * found.quantile * se) for sign in (-1.0, 1.0)]
    errors = fitting.unflat(jnp.asarray(np.abs(found.slope) * se / scale))
    bound = fitting.unflat(jnp.asarray(found.at_bound))
    told: dict[str, Estimate] = {}
    for f in fitting.free:
        if isinstance(f.declaration, Network):
            continue
        unit, limit = unit_of(f), f.bounds
        low, high = (np.asarray(end[f.name]) / unit.scale for end in ends)
        told[f.name] = Estimate(
            _plain(np.asarray(values[f.name]) / unit.scale),
            _plain(errors[f.name]),
            (_plain(np.minimum(low, high)), _plain(np.maximum(low, high))),
            unit.text,
            _plain(np.asarray(began[f.name]) / unit.scale),
            None if limit is None or limit.low is None else limit.low / unit.scale,
            None if limit is None or limit.high is None else limit.high / unit.scale,
            limit is not None and limit.log,
            bool(np.any(bound[f.name])),
            labels if f.each else (),
            f.declaration.origin,
        )
    return told


def scales(fitting: Fitting, found: Uncertainty) -> dict[str, Estimate]:
    """The estimated scales in declared units, with intervals on a scale of logarithms."""
    told: dict[str, Estimate] = {}
    for n, o in enumerate(fitting.estimated):
        unit = Unit() if o.distribution == "lognormal" else o.unit
        value, spread = found.scales[o.name] / unit.scale, float(found.se[fitting.size + n])
        with np.errstate(over="ignore"):
            ends = value * float(np.exp(-NORMAL * spread)), value * float(np.exp(NORMAL * spread))
        told[o.name] = Estimate(value, value * spread, ends, unit.text, origin=o.origin)
    return told


def covariance(
    fitting: Fitting, found: Uncertainty, labels: Sequence[str]
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Names, covariance [declared units] and correlation of all numbers but the weights of networks."""
    networks = [f"{f.name}[" for f in fitting.free if isinstance(f.declaration, Network)]
    names = fitting.called(labels)
    kept = [i for i, name in enumerate(names) if not any(name.startswith(n) for n in networks)]
    slope = (found.slope / units(fitting))[kept]
    of_free = found.covariance[np.ix_(kept, kept)]
    with np.errstate(invalid="ignore"):
        sd = np.sqrt(np.diag(of_free))
        correlation = of_free / sd[:, None] / sd[None, :] * np.sign(slope)[:, None] * np.sign(slope)[None, :]
        return tuple(names[i] for i in kept), of_free * slope[:, None] * slope[None, :], correlation


def _plain(value: Any) -> Any:
    array = np.asarray(value, float)
    return float(array) if array.ndim == 0 else array
