"""Where the starts of a fit lie: spread over the priors, else over the bounds, else around the value.

The first is where the text says. The others are points of a Kronecker sequence of generalised golden ratios with a
random shift, which fill a box evenly however many they are: Niederreiter (1992), Random number generation and
quasi-Monte Carlo methods, chapter 3. Start k does not depend on how many there are.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import distributions
from dpl.runtime.spec import Distribution, Free, Network, Param
from dpl.tasks.context import Setup
from dpl.tasks.fitting import Fitting
from dpl.tasks.sampling import stream
from dpl.tasks.vary import Freedom, off_bound

INSIDE = 0.01, 0.99
"""Of a prior without ends, starts lie between these quantiles; of bounds so far inside"""
AROUND = 2.0
"""Numbers without prior or bounds start within so many times their size, those on a log scale within so many decades"""
REDRAWN = 1_000
"""Starts that are drawn again go on with the points so much later in the sequence"""


def points(size: int, seed: int, which: np.ndarray) -> np.ndarray:
    """Points [which, size] of the unit cube."""
    ratio = 2.0
    for _ in range(64):
        ratio = (1.0 + ratio) ** (1.0 / (size + 1))
    shift = np.random.default_rng(seed).random(size)
    return (shift + which[:, None] * ratio ** -np.arange(1.0, size + 1)) % 1.0


def starts(ready: Setup, fitting: Fitting, current: Mapping[str, Any], how: str, which: np.ndarray) -> np.ndarray:
    """The free numbers [which, p] where the starts of these numbers begin.

    Args:
        current: SI values that tasks go on from.
        how: `current`, `fresh` or `random`: of start 0.
    """
    numbers = [f for f in fitting.free if not isinstance(f.declaration, Network)]
    sizes = {f.name: int(np.size(current[f.name])) for f in numbers}
    shares = points(max(sum(sizes.values()), 1), stream(ready.seed, "starts"), which)
    ends = dict(zip(sizes, np.cumsum(list(sizes.values())).tolist(), strict=True))
    told: list[np.ndarray] = []
    for k, share in zip(which.tolist(), shares, strict=True):
        own = how if k == 0 else "random"
        values = {f.name: _network(ready, f, own, k, current[f.name]) for f in fitting.free if f.name not in sizes}
        for f in numbers:
            place = share[ends[f.name] - sizes[f.name] : ends[f.name]].reshape(np.shape(current[f.name]))
            values[f.name] = _number(ready, f, own, current[f.name], place)
        told.append(fitting.numbers(values))
    return np.stack(told)


def _network(ready: Setup, f: Freedom, how: str, k: int, current: Any) -> Any:
    if how == "current":
        return current
    assert isinstance(f.declaration, Network)
    seed = ready.seed if how == "fresh" else stream(ready.seed, f"start {k}")
    return ready.program.fresh(f.declaration, seed)


def _number(ready: Setup, f: Freedom, how: str, current: Any, share: np.ndarray) -> Any:
    assert f.bounds is not None and not isinstance(f.declaration, Network)
    if how == "current":
        return off_bound(f, current)
    if how == "fresh":
        value = None if isinstance(f.declaration, Free) else f.declaration.value
        return off_bound(
            f, current if value is None else jnp.broadcast_to(jnp.asarray(value, float), jnp.shape(current))
        )
    limit = f.bounds
    inside = INSIDE[0] + share * (INSIDE[1] - INSIDE[0])
    if isinstance(f.declaration, Param) and f.declaration.prior is not None:
        return _within(f, _quantile(f.declaration.prior, inside, ready.seed, f.name))
    way = AROUND * (2.0 * share - 1.0)
    match limit.ends:
        case [both, _]:
            return limit.within(jnp.asarray(inside), *both)
        case _ if limit.log:
            return _within(f, current * 10.0**way)
        case [(end, other)]:
            distance = jnp.maximum(jnp.abs(jnp.asarray(current) - end), 1e-3 * limit.scale)
            return limit.within(distance / limit.scale * 10.0 ** (way / 2), end, other)
        case _:
            return current + way * jnp.where(jnp.asarray(current) != 0, jnp.abs(current), limit.scale)


def _within(f: Freedom, value: Any) -> Any:
    """Not beyond a bound."""
    limit = f.bounds
    assert limit is not None
    low = -jnp.inf if limit.low is None else limit.low
    return off_bound(f, jnp.clip(value, low, jnp.inf if limit.high is None else limit.high))


def _quantile(prior: Distribution, share: np.ndarray, seed: int, name: str) -> Any:
    family = distributions.FAMILIES[prior.name]
    if family.quantile is not None:
        return family.quantile(jnp.asarray(share), *prior.arguments)
    key = jax.random.fold_in(jax.random.key(stream(seed, "starts")), zlib.crc32(name.encode()))
    keys = jax.vmap(lambda part: jax.random.fold_in(key, part))((np.ravel(share) * 2**31).astype(np.uint32))
    return jax.vmap(lambda key: family.sample(key, *prior.arguments))(keys).reshape(share.shape)
