"""What the data determine: before a fit, parameters that nothing could tell apart; after it, directions hardly seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime.spec import Network, Param
from dpl.tasks import identifiability
from dpl.tasks.fitted import Direction
from dpl.tasks.fitting import Fitting, Numbers
from dpl.tasks.identifiability import Group, Parameter, Point
from dpl.tasks.uncertainty import look
from dpl.tasks.vary import Freedom

Array = np.ndarray

AROUND = 0.5
"""How far from the start the other points are looked at, standard deviation in free numbers"""
OTHERS, TRIES = 2, 6
"""Points besides the start, and so many are tried for them"""
SLOPPY = 1.0
"""A direction whose standard deviation, as `shares` measure it, is above it is hardly determined: a factor e of values,
or half of an interval's middle"""
SMALL = 0.15
"""Weights so small against the largest are left out of a direction"""
DIRECTIONS = 5


def undetermined(
    fitting: Fitting, x: Array, numbers: Numbers, labels: Sequence[str], seed: int, held: Array | None = None
) -> tuple[Group, ...]:
    """The groups of parameters that the data cannot tell apart, looked for around the start x [p].

    The weights of networks are left out: they are never unique, and nobody asks for them. So is what is `held` [p].
    """
    told = parameters(fitting, labels)
    asked = np.array([parameter is not None for parameter in told]) & (True if held is None else ~held)
    if not asked.any():
        return ()
    outward = jax.jit(lambda values: fitting.outward(fitting.unflat(values)))
    data = slice(fitting.size if fitting.with_prior else 0, None)  # the rows of priors come first
    points, draws = list[Point](), np.random.default_rng(seed)
    current = look(fitting, x, numbers).values
    for n in range(1 + TRIES):
        at = x + (n > 0) * np.where(asked, AROUND * draws.standard_normal(len(x)), 0.0)
        seen = look(fitting, at, numbers)
        with np.errstate(invalid="ignore", divide="ignore"):
            sensitivities = seen.A[data, : len(x)][:, asked] / seen.slope[asked]
        if np.isfinite(sensitivities).all():
            points.append(Point(seen.values[asked], sensitivities))
        if len(points) > OTHERS:
            break

    def expected(values: Array) -> list[Array]:
        si = current.copy()
        si[asked] = values
        seen = look(fitting, outward(si), numbers)
        inside = bool(np.all(np.abs(seen.values - si) <= 1e-9 * np.abs(si) + 1e-300))
        told = [(numbers.cases.known[name], a) for name, every in seen.arguments.items() for a in every]
        return [np.where(known, a, 0.0) if inside else np.full(np.shape(a), np.nan) for known, a in told]

    return identifiability.groups(
        [p for p, a in zip(told, asked, strict=True) if p is not None and a], points, expected
    )


def parameters(fitting: Fitting, labels: Sequence[str]) -> list[Parameter | None]:
    """Every free number [p] as one parameter; None for the weights of networks."""
    free = {f.name: f for f in fitting.free}
    names = [name.partition("[")[0] for name in fitting.names]
    return [_parameter(fitting, free[name], label) for name, label in zip(names, labels, strict=True)]


def _parameter(fitting: Fitting, free: Freedom, label: str) -> Parameter | None:
    d = free.declaration
    if isinstance(d, Network):
        return None
    prior = fitting.priors and isinstance(d, Param) and d.prior is not None
    return Parameter(d.name, label, d.origin, d.unit.scale, prior)


def shares(fitting: Fitting, x: Array, slope: Array) -> Array:
    """What one of each free number [p] is as a share of its value: free numbers alone may be in units of their start.

    Within an interval it is at most the free number itself, and of an unbounded number a share of the value or of its
    start, whichever is larger, for such a number may well be 0.

    Args:
        slope: of each value [SI] by its free number [p].
    """

    def size(f: Freedom, u: Any) -> Any:
        value, limits = jnp.abs(f.inward(u)), f.bounds
        match limits.ends if limits else ():
            case [(end, None)]:
                return value if limits and limits.log else jnp.maximum(value, jnp.abs(f.inward(u) - end))
            case []:
                return value if limits and limits.log else jnp.maximum(value, limits.scale if limits else 1.0)
            case _:
                return value

    def most(f: Freedom, u: Any) -> Any:
        within = f.bounds is not None and not f.bounds.log and len(f.bounds.ends) == 2
        return jnp.full_like(u, 1.0 if within else jnp.inf)

    sizes, limit = (np.asarray(fitting.each(of, jnp.asarray(x))) for of in (size, most))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.minimum(np.abs(slope) / sizes, limit)


def directions(labels: Sequence[str], factor: Array) -> tuple[Direction, ...]:
    """What the data hardly determine, the worst first: the axes of the ellipsoid of the covariance.

    Args:
        factor: [r, p], whose squares add up to the covariance of the numbers, each as a share (see `shares`).
    """
    if not np.isfinite(factor).all() or not factor.size:
        return ()
    _, sds, axes = np.linalg.svd(factor, full_matrices=False)
    return tuple(
        Direction(_parts(labels, axis), float(sd))
        for sd, axis in zip(sds[:DIRECTIONS], axes, strict=False)
        if sd > SLOPPY
    )


def _parts(labels: Sequence[str], weights: Array) -> tuple[tuple[str, float], ...]:
    order = [int(i) for i in np.argsort(-np.abs(weights), kind="stable")]
    sign = np.sign(weights[order[0]])
    least = SMALL * np.abs(weights[order[0]])
    return tuple((labels[i], float(sign * weights[i])) for i in order if np.abs(weights[i]) >= least)
