"""What a fit has to know of a distribution: one row each, and the terms of a likelihood that are made of them.

Every function is of one datum: its value `y` and the arguments of its distribution, in the order of the language
reference; tasks map them over data. The information is Fisher's, of all arguments: E[s sᵀ], s = ∂ log p/∂arguments.
Numbers are SI; the density of a continuous quantity in another unit is greater by the unit's scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy import special

from dpl.runtime.distributions import FAMILIES, Family

FLOOR = 1e-12
"""Least mean of a count, least probability and so on of which an information is taken: it is finite at extremes"""
FAINT = 1e-8
"""Share of the information of what was seen that what is beyond a limit of detection has at least"""


@dataclass(frozen=True)
class Likelihood:
    """A distribution as that of an observable; each function takes the arguments after what is named here."""

    name: str
    log_cdf: Callable[..., Array]
    """log_cdf(y, …): of what is y or less"""
    log_survival: Callable[..., Array]
    """log_survival(y, …): of what is y or more"""
    information: Callable[..., Array]
    """information(…) [k, k], positive definite"""
    mean: Callable[..., Array]
    quantile: Callable[..., Array]
    """quantile(p, …): the least value at which the cumulative probability reaches p"""
    scale: int | None = None
    """Which argument is a scale that may be left out, and estimated"""
    count: bool = False
    """Whether its values are counts: their probability has no unit"""

    @property
    def family(self) -> Family:
        return FAMILIES[self.name]

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.family.arguments

    @property
    def log_density(self) -> Callable[..., Array]:
        """log_density(y, …); of the probability itself of counts"""
        return self.family.log_density

    @property
    def sample(self) -> Callable[..., Array]:
        """sample(key, …) -> one draw"""
        return self.family.sample

    def centre(self, *arguments: Any) -> Array:
        """What a curve of the model shows: the mean; of a lognormal quantity the median."""
        return jnp.asarray(arguments[0]) if self.name == "lognormal" else self.mean(*arguments)

    def complete(self, arguments: tuple[Any, ...], scale: Any) -> tuple[Any, ...]:
        """The arguments with the scale that was left out."""
        assert self.scale is not None, f"{self.name} has no scale; this is a bug in DPL"
        return *arguments[: self.scale], scale, *arguments[self.scale :]


# ---------------------------------------------------------------- terms of a likelihood

POSITIVE = frozenset("sd spread df size scale".split())
"""Arguments that are scales or shapes: nothing is so likely where they are not above 0"""


def log_likelihood(one: Likelihood, y: Any, arguments: tuple[Any, ...], below: Any = None, above: Any = None) -> Array:
    """The term of a datum: what is at or beyond a limit of detection only says that it is there.

    Args:
        below: what is no greater was not measured, and is at most this.
        above: what is no less was not measured, and is at least this.
    """
    low, high = _censored(y, below, above)
    term = one.log_density(jnp.where(low | high, one.centre(*map(jax.lax.stop_gradient, arguments)), y), *arguments)
    if below is not None:
        term = jnp.where(low, one.log_cdf(jnp.where(low, below, y), *arguments), term)
    if above is not None:
        term = jnp.where(high, one.log_survival(jnp.where(high, above, y), *arguments), term)
    for name, argument in zip(one.arguments, arguments, strict=True):
        if name in POSITIVE:  # formulas with the square of a scale would not notice
            term = jnp.where(jnp.asarray(argument) > 0, term, jnp.nan)
    return term


def _censored(y: Any, below: Any, above: Any) -> tuple[Array, Array]:
    no = jnp.zeros(jnp.shape(y), bool)
    return no if below is None else jnp.asarray(y <= below), no if above is None else jnp.asarray(y >= above)


def information(one: Likelihood, y: Any, arguments: tuple[Any, ...], below: Any = None, above: Any = None) -> Array:
    """The information [k, k] of a datum on its arguments, positive definite.

    Of what is beyond a limit it is the curvature of its own term, without directions in which that bends upwards.
    """
    seen = one.information(*arguments)
    if below is None and above is None:
        return seen
    low, high = _censored(y, below, above)
    told = seen
    for side, limit, tail in ((low, below, one.log_cdf), (high, above, one.log_survival)):
        if limit is not None:
            curvature = -jax.hessian(lambda a, limit=limit, tail=tail: tail(limit, *a))(jnp.stack(arguments))
            told = jnp.where(side, _positive(curvature) + FAINT * seen, told)
    return told


def _positive(matrix: Array) -> Array:
    """The nearest symmetric matrix without negative eigenvalues; 0 where it is not finite."""
    matrix = jnp.where(jnp.all(jnp.isfinite(matrix)), 0.5 * (matrix + matrix.T), 0.0)
    if matrix.shape[0] == 1:
        return jnp.maximum(matrix, 0.0)
    sizes, directions = jnp.linalg.eigh(matrix)
    return (directions * jnp.maximum(sizes, 0.0)[None]) @ directions.T


def _diagonal(*entries: Any) -> Array:
    return jnp.diag(jnp.stack([jnp.asarray(e, jnp.result_type(float)) for e in entries]))


def _symmetric(*rows: Any) -> Array:
    """Of the rows of a lower triangle."""
    size = len(rows)
    full = [[rows[max(i, j)][min(i, j)] for j in range(size)] for i in range(size)]
    return jnp.stack([jnp.stack([jnp.asarray(e, jnp.result_type(float)) for e in row]) for row in full])


def _least(x: Any, floor: float = FLOOR) -> Array:
    return jnp.maximum(jnp.asarray(x), floor)


TINY = 1e-100
"""Least scale [SI] of which an information is taken"""

# ---------------------------------------------------------------- normal and its like


def _normal_information(mean: Any, sd: Any) -> Array:
    sd = _least(sd, TINY)
    return _diagonal(1 / sd**2, 2 / sd**2)


def _lognormal_information(median: Any, spread: Any) -> Array:
    spread = _least(spread, TINY)
    return _diagonal(1 / (_least(median, TINY) * spread) ** 2, 2 / spread**2)


def _log_over(y: Any, median: Any, spread: Any) -> Array:
    return (jnp.log(_least(y, TINY)) - jnp.log(median)) / spread


# ---------------------------------------------------------------- tails that have no derivative of their own


def _by_differences(tail: Callable[..., Array], density: Callable[..., Array] | None = None) -> Callable[..., Array]:
    """A function of y and shape arguments whose derivatives by these JAX lacks: they are central differences of it.

    Of the shape a share of 1e-4 either way: eight digits of a slope and of a curvature, enough for a likelihood. All
    ends of the differences are one call: each call of an incomplete beta function takes seconds to compile.

    Args:
        density: density(value, y, …), the derivative by y if it is known, given the function's value.
    """

    @jax.custom_jvp
    def whole(y: Array, *shape: Array) -> Array:
        return tail(y, *shape)

    @whole.defjvp
    def _(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
        arguments = list(jnp.broadcast_arrays(*primals))
        first = 0 if density is None else 1
        steps = [1e-4 * jnp.maximum(jnp.abs(jax.lax.stop_gradient(a)), 1e-4) for a in arguments[first:]]
        moves = [(n, sign * step) for n, step in enumerate(steps, first) for sign in (1, -1)]
        places = [arguments, *([*arguments[:n], arguments[n] + e, *arguments[n + 1 :]] for n, e in moves)]
        value, *ends = whole(*(jnp.stack(column) for column in zip(*places, strict=True)))
        slopes = [(up - down) / (2 * step) for up, down, step in zip(ends[::2], ends[1::2], steps, strict=True)]
        if density is not None:
            slopes = [density(value, *primals), *slopes]
        return value, sum((s * t for s, t in zip(slopes, tangents, strict=True)), jnp.zeros_like(value))

    return whole


def _safe_log(probability: Array, otherwise: Array) -> Array:
    """The logarithm, or what it is about where the probability is too small to be a number."""
    there = probability > 1e-290
    return jnp.where(there, jnp.log(jnp.where(there, probability, 1.0)), otherwise)


def _student_tail(t: Array, df: Array) -> Array:
    """log P(T ≤ t). Far out by the density times Mills' ratio."""
    square = t * t
    outer = special.betainc(0.5 * df, 0.5, df / (df + square))
    inner = 1 - special.betainc(0.5, 0.5 * df, square / (df + square))
    half = 0.5 * jnp.where(square > df, outer, inner)
    lower = jnp.where(t < 0, -t, 1.0)
    far = _student_density(lower, df) + jnp.log((1 + lower * lower / df) / (lower * (1 + 1 / df)))
    return jnp.where(t < 0, _safe_log(half, far), jnp.log1p(-jnp.minimum(half, 0.5)))


def _student_density(t: Any, df: Any) -> Array:
    return FAMILIES["student"].log_density(t, 0.0, 1.0, df)


def _student_slope(log_cdf: Array, t: Array, df: Array) -> Array:
    return jnp.exp(_student_density(t, df) - log_cdf)


_student_log_cdf = _by_differences(_student_tail, _student_slope)


def _student_information(mean: Any, sd: Any, df: Any) -> Array:
    """Lange, Little and Taylor (1989), J. Am. Stat. Assoc. 84, 881, appendix B; of `df` at least what is left of it
    when `sd` is estimated, with a digit to spare."""
    sd, df = _least(sd, TINY), _least(df, 1e-3)
    spread, cross = 2 * df / ((df + 3) * sd**2), -2 / ((df + 1) * (df + 3) * sd)
    exact = 0.25 * (special.polygamma(1, 0.5 * df) - special.polygamma(1, 0.5 * (df + 1)))
    exact = exact - (df + 5) / (2 * df * (df + 1) * (df + 3))
    shape = jnp.maximum(jnp.where(df < 300, exact, 0.0), 1.5 * cross**2 / spread)
    zero = jnp.zeros_like(shape)
    return _symmetric(((df + 1) / ((df + 3) * sd**2),), (zero, spread), (zero, cross, shape))


def _between(low: Any, high: Any, p: Any, cdf: Callable[[Array], Array]) -> Array:
    """Where a continuous cumulative probability reaches p, by bisection."""
    low, high = (jnp.broadcast_to(jnp.asarray(e, jnp.result_type(float)), jnp.shape(p)) for e in (low, high))

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = 0.5 * (ends[0] + ends[1])
        less = cdf(middle) < p
        return jnp.where(less, middle, ends[0]), jnp.where(less, ends[1], middle)

    low, high = jax.lax.fori_loop(0, 80, halve, (low, high))
    return 0.5 * (low + high)


def _student_quantile(p: Any, mean: Any, sd: Any, df: Any) -> Array:
    df = jnp.asarray(df, jnp.result_type(float))
    cdf = lambda u: jnp.exp(_student_tail(jnp.sinh(u), df))  # noqa: E731  tails of few degrees of freedom are long
    return mean + sd * jnp.sinh(_between(-40.0, 40.0, jnp.asarray(p), cdf))


# ---------------------------------------------------------------- counts


def _poisson_cdf(y: Any, mean: Any) -> Array:
    """log P(Y ≤ y); far out the last term times the sum of a geometric series."""
    count, mean = jnp.floor(y), _least(mean, TINY)
    there = count >= 0
    count = jnp.where(there, count, 0.0)
    ratio = jnp.minimum(count / mean, 0.999)
    far = FAMILIES["poisson"].log_density(count, mean) - jnp.log1p(-ratio)
    return jnp.where(there, _safe_log(special.gammaincc(count + 1, mean), far), -jnp.inf)


def _poisson_survival(y: Any, mean: Any) -> Array:
    """log P(Y ≥ y)."""
    count, mean = jnp.ceil(y), _least(mean, TINY)
    some = count > 0
    count = jnp.where(some, count, 1.0)
    ratio = jnp.minimum(mean / (count + 1), 0.999)
    far = FAMILIES["poisson"].log_density(count, mean) - jnp.log1p(-ratio)
    return jnp.where(some, _safe_log(special.gammainc(count, mean), far), 0.0)


def _nb_lower(count: Array, mean: Array, size: Array) -> Array:
    ratio = jnp.minimum(count * (mean + size) / (mean * (count + size)), 0.999)
    far = FAMILIES["negative_binomial"].log_density(count, mean, size) - jnp.log1p(-ratio)
    return _safe_log(special.betainc(size, count + 1, size / (size + mean)), far)


def _nb_upper(count: Array, mean: Array, size: Array) -> Array:
    ratio = jnp.minimum(mean * (count + size) / ((mean + size) * (count + 1)), 0.999)
    far = FAMILIES["negative_binomial"].log_density(count, mean, size) - jnp.log1p(-ratio)
    return _safe_log(special.betainc(count, size, mean / (size + mean)), far)


_nb_log_cdf, _nb_log_survival = _by_differences(_nb_lower), _by_differences(_nb_upper)


def _nb_cdf(y: Any, mean: Any, size: Any) -> Array:
    count = jnp.floor(y)
    told = _nb_log_cdf(jnp.maximum(count, 0.0), _least(mean, TINY), jnp.asarray(size))
    return jnp.where(count >= 0, told, -jnp.inf)


def _nb_survival(y: Any, mean: Any, size: Any) -> Array:
    count = jnp.ceil(y)
    return jnp.where(count > 0, _nb_log_survival(jnp.maximum(count, 1.0), _least(mean, TINY), jnp.asarray(size)), 0.0)


NODES = 64
"""Counts at which the information on the size of a negative binomial is looked at"""


def _nb_information(mean: Any, size: Any) -> Array:
    """Of the mean exactly; of the size ψ'(r) - E ψ'(Y + r) - 1/r + 1/(μ + r), its mean over some of the counts.

    The first of them are all counts from 0 on, later ones lie further and further apart.
    """
    mean, size = _least(mean), _least(size)
    spread = jnp.sqrt(mean + mean * mean / size)
    most = jnp.maximum(mean + 12 * spread, NODES)
    first = np.arange(NODES, dtype=float)
    counts = jnp.where(most <= NODES, first, (most / NODES) ** (first / (NODES - 1)) * first)
    gaps = jnp.diff(counts)
    apart = 0.5 * (jnp.append(gaps[0], gaps) + jnp.append(gaps, gaps[-1]))
    chance = jnp.exp(FAMILIES["negative_binomial"].log_density(counts, mean, size)) * apart
    later = jnp.sum(chance * special.polygamma(1, counts + size)) / jnp.maximum(jnp.sum(chance), TINY)
    shape = special.polygamma(1, size) - later - 1 / size + 1 / (mean + size)
    least = 1e-6 * (mean / (size * (mean + size))) ** 2
    return _diagonal(size / (mean * (mean + size)), jnp.maximum(shape, least))


def _reached(p: Any, mean: Any, variance: Any, cdf: Callable[[Array], Array]) -> Array:
    """The least count at which the cumulative probability reaches p."""
    low = jnp.full(jnp.shape(p), -1.0)
    high = jnp.broadcast_to(jnp.ceil(mean + 60 * jnp.sqrt(variance) + 60), jnp.shape(p)) * 1.0

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = jnp.floor(0.5 * (ends[0] + ends[1]))
        less = cdf(middle) < p * (1 - 1e-12)
        return jnp.where(less, middle, ends[0]), jnp.where(less, ends[1], middle)

    return jax.lax.fori_loop(0, 60, halve, (low, high))[1]


def _poisson_quantile(p: Any, mean: Any) -> Array:
    return _reached(jnp.asarray(p), mean, mean, lambda k: jnp.exp(_poisson_cdf(k, mean)))


def _nb_quantile(p: Any, mean: Any, size: Any) -> Array:
    cdf = lambda k: jnp.exp(_nb_lower(k, _least(mean, TINY), jnp.asarray(size)))  # noqa: E731
    return _reached(jnp.asarray(p), mean, mean + mean * mean / size, cdf)


def _bernoulli_information(p: Any) -> Array:
    p = jnp.clip(p, FLOOR, 1 - FLOOR)
    return _diagonal(1 / (p * (1 - p)))


# ---------------------------------------------------------------- others


def _beta_information(a: Any, b: Any) -> Array:
    a, b = _least(a), _least(b)
    both = special.polygamma(1, a + b)
    # Its determinant is small where a and b are large.
    return _symmetric(
        (special.polygamma(1, a) * (1 + 1e-12) - both,), (-both, special.polygamma(1, b) * (1 + 1e-12) - both)
    )


_beta_lower = _by_differences(
    lambda y, a, b: _safe_log(
        special.betainc(a, b, y), a * jnp.log(_least(y, TINY)) - special.betaln(a, b) - jnp.log(a)
    )
)
EULER = float(np.euler_gamma)


def _floats(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda *a: function(*(jnp.asarray(e, jnp.result_type(float)) for e in a))


def _gumbel_information(location: Any, scale: Any) -> Array:
    s = _least(scale, TINY)
    return _symmetric((1 / s**2,), ((EULER - 1) / s**2, (math.pi**2 / 6 + (1 - EULER) ** 2) / s**2))


LIKELIHOODS: Mapping[str, Likelihood] = {
    one.name: one
    for one in (
        Likelihood(
            "normal",
            log_cdf=lambda y, mean, sd: special.log_ndtr((y - mean) / sd),
            log_survival=lambda y, mean, sd: special.log_ndtr((mean - y) / sd),
            information=_normal_information,
            mean=lambda mean, sd: jnp.asarray(mean),
            quantile=lambda p, mean, sd: mean + sd * special.ndtri(p),
            scale=1,
        ),
        Likelihood(
            "lognormal",
            log_cdf=lambda y, median, spread: jnp.where(
                y > 0, special.log_ndtr(_log_over(y, median, spread)), -jnp.inf
            ),
            log_survival=lambda y, median, spread: jnp.where(
                y > 0, special.log_ndtr(-_log_over(y, median, spread)), 0.0
            ),
            information=_lognormal_information,
            mean=lambda median, spread: median * jnp.exp(0.5 * spread**2),
            quantile=lambda p, median, spread: median * jnp.exp(spread * special.ndtri(p)),
            scale=1,
        ),
        Likelihood(
            "student",
            log_cdf=lambda y, mean, sd, df: _floats(_student_log_cdf)((y - mean) / sd, df),
            log_survival=lambda y, mean, sd, df: _floats(_student_log_cdf)((mean - y) / sd, df),
            information=_student_information,
            mean=lambda mean, sd, df: jnp.asarray(mean),
            quantile=_student_quantile,
            scale=1,
        ),
        Likelihood(
            "poisson",
            log_cdf=_poisson_cdf,
            log_survival=_poisson_survival,
            information=lambda mean: _diagonal(1 / _least(mean)),
            mean=lambda mean: jnp.asarray(mean),
            quantile=_poisson_quantile,
            count=True,
        ),
        Likelihood(
            "negative_binomial",
            log_cdf=_floats(_nb_cdf),
            log_survival=_floats(_nb_survival),
            information=_nb_information,
            mean=lambda mean, size: jnp.asarray(mean),
            quantile=_nb_quantile,
            count=True,
        ),
        Likelihood(
            "bernoulli",
            log_cdf=lambda y, p: jnp.where(y >= 1, 0.0, jnp.where(y >= 0, jnp.log1p(-p), -jnp.inf)),
            log_survival=lambda y, p: jnp.where(y <= 0, 0.0, jnp.where(y <= 1, jnp.log(p), -jnp.inf)),
            information=_bernoulli_information,
            mean=lambda p: jnp.asarray(p),
            quantile=lambda share, p: jnp.where(share <= 1 - p, 0.0, 1.0),
            count=True,
        ),
        Likelihood(
            "exponential",
            log_cdf=lambda y, mean: jnp.where(y > 0, jnp.log(-jnp.expm1(-_least(y, TINY) / mean)), -jnp.inf),
            log_survival=lambda y, mean: -jnp.maximum(y, 0.0) / mean,
            information=lambda mean: _diagonal(1 / _least(mean, TINY) ** 2),
            mean=lambda mean: jnp.asarray(mean),
            quantile=lambda p, mean: -mean * jnp.log1p(-jnp.asarray(p)),
        ),
        Likelihood(
            "beta",
            log_cdf=_floats(_beta_lower),
            log_survival=_floats(lambda y, a, b: _beta_lower(1 - y, b, a)),
            information=_beta_information,
            mean=lambda a, b: a / (a + b),
            quantile=lambda p, a, b: _between(0.0, 1.0, jnp.asarray(p), lambda y: special.betainc(a * 1.0, b * 1.0, y)),
        ),
        Likelihood(
            "gumbel",
            log_cdf=lambda y, location, scale: -jnp.exp(-(y - location) / scale),
            log_survival=lambda y, location, scale: jnp.log(-jnp.expm1(-jnp.exp(-(y - location) / scale))),
            information=_gumbel_information,
            mean=lambda location, scale: location + EULER * scale,
            quantile=lambda p, location, scale: location - scale * jnp.log(-jnp.log(jnp.asarray(p))),
        ),
    )
}
"""Those that something measured may follow; of a uniform one a datum says no more than that it is possible"""
