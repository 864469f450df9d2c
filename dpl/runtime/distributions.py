"""The distributions of the language, one row each, by what a modeller knows of them; and the draws of givens.

Draw i of a given depends on the seed, the given's name and i alone.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy import special, stats

from dpl.runtime import noise
from dpl.runtime.spec import Distribution, Given


@dataclass(frozen=True)
class Family:
    """A distribution as functions of its arguments (numbers or arrays, in the order of `arguments`)."""

    arguments: tuple[str, ...]
    sample: Callable[..., Array]
    """sample(key, *arguments) -> one draw"""
    log_density: Callable[..., Array]
    """log_density(x, *arguments); of the probability itself for counts"""
    median: Callable[..., Any]
    quantile: Callable[..., Array] | None = None
    """quantile(p, *arguments), where it has a formula"""


def _normal_quantile(p: Any, mean: Any, sd: Any) -> Array:
    return mean + sd * special.ndtri(p)


def _lognormal_density(x: Any, median: Any, spread: Any) -> Array:
    inside = x > 0
    log_x = jnp.log(jnp.where(inside, x, 1.0))
    return jnp.where(inside, stats.norm.logpdf(log_x, jnp.log(median), spread) - log_x, -jnp.inf)


def _uniform_density(x: Any, low: Any, high: Any) -> Array:
    return jnp.where((x >= low) & (x <= high), -jnp.log(jnp.asarray(high) - low), -jnp.inf)


def _negative_binomial_sample(key: Array, mean: Any, size: Any) -> Array:
    """A Poisson count whose mean is gamma distributed: variance mean + mean²/size."""
    first, second = jax.random.split(key)
    rate = jax.random.gamma(first, size) * (mean / size)
    return jax.random.poisson(second, rate).astype(rate.dtype)


def _negative_binomial_density(x: Any, mean: Any, size: Any) -> Array:
    ways = special.gammaln(x + size) - special.gammaln(x + 1.0) - special.gammaln(size)
    return ways + _times_log(x, mean / (mean + size)) - size * jnp.log1p(mean / size)


def _poisson_sample(key: Array, mean: Any) -> Array:
    return jax.random.poisson(key, mean).astype(float)


def _poisson_density(x: Any, mean: Any) -> Array:
    return _times_log(x, mean) - mean - special.gammaln(x + 1.0)


def _times_log(x: Any, y: Any) -> Array:
    """x log y, 0 where x is, and so are its derivatives."""
    some = jnp.asarray(x) != 0
    return jnp.where(some, x * jnp.log(jnp.where(some, y, 1.0)), 0.0)


def _bernoulli_density(x: Any, p: Any) -> Array:
    return _times_log(x, p) + _times_log(1.0 - x, 1.0 - p)


def _poisson_median(mean: float) -> float:
    """Smallest count at which the cumulative probability reaches one half."""
    return _count_median(lambda k: k * math.log(mean) - mean - math.lgamma(k + 1) if mean > 0 else -math.inf * k)


def _negative_binomial_median(mean: float, size: float) -> float:
    return _count_median(lambda k: float(_negative_binomial_density(float(k), mean, size)))


def _count_median(log_probability: Callable[[int], float]) -> float:
    total, count = math.exp(log_probability(0)) if log_probability(0) == log_probability(0) else 1.0, 0
    while total < 0.5:
        count += 1
        total += math.exp(log_probability(count))
    return float(count)


def _beta_median(a: float, b: float) -> float:
    """By bisection of the cumulative probability."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if float(special.betainc(a, b, middle)) < 0.5 else (low, middle)
    return 0.5 * (low + high)


def _gumbel_density(x: Any, location: Any, scale: Any) -> Array:
    z = (x - location) / scale
    return -z - jnp.exp(-z) - jnp.log(jnp.asarray(scale, float))


FAMILIES: dict[str, Family] = {
    "normal": Family(
        ("mean", "sd"),
        sample=lambda key, mean, sd: mean + sd * jax.random.normal(key),
        log_density=lambda x, mean, sd: stats.norm.logpdf(x, mean, sd),
        median=lambda mean, sd: mean,
        quantile=_normal_quantile,
    ),
    "lognormal": Family(
        ("median", "spread"),
        sample=lambda key, median, spread: median * jnp.exp(spread * jax.random.normal(key)),
        log_density=_lognormal_density,
        median=lambda median, spread: median,
        quantile=lambda p, median, spread: median * jnp.exp(spread * special.ndtri(p)),
    ),
    "uniform": Family(
        ("low", "high"),
        sample=lambda key, low, high: low + (high - low) * jax.random.uniform(key),
        log_density=_uniform_density,
        median=lambda low, high: 0.5 * (low + high),
        quantile=lambda p, low, high: low + (high - low) * jnp.asarray(p),
    ),
    # `sd` is the scale of Student's t: the standard deviation that it has for many degrees of freedom.
    "student": Family(
        ("mean", "sd", "df"),
        sample=lambda key, mean, sd, df: mean + sd * jax.random.t(key, df),
        log_density=lambda x, mean, sd, df: stats.t.logpdf(x, df, mean, sd),
        median=lambda mean, sd, df: mean,
    ),
    "poisson": Family(("mean",), _poisson_sample, _poisson_density, _poisson_median),
    "negative_binomial": Family(
        ("mean", "size"), _negative_binomial_sample, _negative_binomial_density, _negative_binomial_median
    ),
    "bernoulli": Family(
        ("p",),
        sample=lambda key, p: jax.random.bernoulli(key, p).astype(float),
        log_density=_bernoulli_density,
        median=lambda p: 1.0 if p > 0.5 else 0.0,
    ),
    "beta": Family(
        ("a", "b"),
        sample=lambda key, a, b: jax.random.beta(key, a, b),
        log_density=lambda x, a, b: stats.beta.logpdf(x, a, b),
        median=_beta_median,
    ),
    "exponential": Family(
        ("mean",),
        sample=lambda key, mean: mean * jax.random.exponential(key),
        log_density=lambda x, mean: stats.expon.logpdf(x, 0.0, mean),
        median=lambda mean: mean * math.log(2.0),
        quantile=lambda p, mean: -mean * jnp.log1p(-jnp.asarray(p)),
    ),
    "gumbel": Family(
        ("location", "scale"),
        sample=lambda key, location, scale: location + scale * jax.random.gumbel(key),
        log_density=_gumbel_density,
        median=lambda location, scale: location - scale * math.log(math.log(2.0)),
        quantile=lambda p, location, scale: location - scale * jnp.log(-jnp.log(jnp.asarray(p))),
    ),
}


def log_density(distribution: Distribution, x: Any) -> Array:
    """The log density (or log probability of a count) of a declared distribution at `x`."""
    return FAMILIES[distribution.name].log_density(x, *distribution.arguments)


def draws(givens: Mapping[str, Given], seed: Any, indices: Array) -> dict[str, Array]:
    """The givens [SI] in the runs `indices` [n]: each drawn, picked from its list in turn, or its nominal value."""
    by_share = [g.name for g in givens.values() if _has_quantile(g)]
    shares = dict(zip(by_share, _shares(_keys(by_share, seed), indices), strict=True)) if by_share else {}
    return {name: _draws(given, seed, indices, shares.get(given.name)) for name, given in givens.items()}


def _draws(given: Given, seed: Any, indices: Array, shares: Array | None) -> Array:
    if given.listed:
        return jnp.asarray(given.listed)[indices % len(given.listed)]
    if given.distribution is None:
        return jnp.full(indices.shape, math.nan if given.value is None else given.value)
    family, arguments = FAMILIES[given.distribution.name], given.distribution.arguments
    if family.quantile is not None and shares is not None:
        return family.quantile(shares, *arguments)
    (key,) = _keys([given.name], seed)
    return jax.vmap(lambda i: family.sample(jax.random.fold_in(key, i), *arguments))(indices)


def _has_quantile(given: Given) -> bool:
    if given.listed or given.distribution is None:
        return False
    return FAMILIES[given.distribution.name].quantile is not None


def _keys(names: Sequence[str], seed: Any) -> Array:
    """A key for each name [names], of the seed and that name alone."""
    words = jnp.asarray([zlib.crc32(name.encode()) for name in names], jnp.uint32)
    return jax.vmap(lambda word: jax.random.fold_in(jax.random.key(seed), word))(words)


def _shares(keys: Array, indices: Array) -> Array:
    """Even draws from (0, 1) [keys, n], one hash of a key per index: a third of the time of a key for each of them.

    All keys go through one hash: XLA takes a twentieth of a second to compile the rounds of each.
    """
    counts = indices.astype(jnp.uint32)
    words = jax.vmap(lambda key: noise.words(jax.random.key_data(key), counts, jnp.zeros_like(counts)))(keys)
    return noise.shares(*words, jnp.result_type(float))
