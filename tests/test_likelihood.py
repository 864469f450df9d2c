"""Laws of the likelihood's rows: each is SciPy's distribution, and its information the mean square of its score."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dpl.runtime.likelihood import LIKELIHOODS, information, log_likelihood

ROWS: dict[str, tuple[tuple[float, ...], Any]] = {
    "normal": ((1.0, 2.0), lambda m, s: stats.norm(m, s)),
    "lognormal": ((2.0, 0.4), lambda m, s: stats.lognorm(s, scale=m)),
    "student": ((1.0, 2.0, 4.0), lambda m, s, df: stats.t(df, m, s)),
    "poisson": ((3.5,), lambda m: stats.poisson(m)),
    "negative_binomial": ((4.0, 2.5), lambda m, r: stats.nbinom(r, r / (r + m))),
    "bernoulli": ((0.3,), lambda p: stats.bernoulli(p)),
    "exponential": ((2.0,), lambda m: stats.expon(scale=m)),
    "beta": ((2.0, 3.0), lambda a, b: stats.beta(a, b)),
    "gumbel": ((1.0, 2.0), lambda m, s: stats.gumbel_r(m, s)),
}


def some(name: str) -> tuple[Any, tuple[float, ...], Any, np.ndarray]:
    arguments, make = ROWS[name]
    other = make(*arguments)
    return LIKELIHOODS[name], arguments, other, np.unique(other.ppf(np.linspace(0.001, 0.999, 41)))


def test_every_row_has_a_rival() -> None:
    assert ROWS.keys() == LIKELIHOODS.keys()


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_the_distribution(name: str) -> None:
    one, a, other, y = some(name)
    density = other.logpmf(y) if one.count else other.logpdf(y)
    assert jax.vmap(lambda y: one.log_density(y, *a))(y) == pytest.approx(density, rel=1e-9, abs=1e-12)
    assert jax.vmap(lambda y: one.log_cdf(y, *a))(y) == pytest.approx(other.logcdf(y), rel=1e-9, abs=1e-12)
    above = other.logsf(y - 1) if one.count else other.logsf(y)
    assert jax.vmap(lambda y: one.log_survival(y, *a))(y) == pytest.approx(above, rel=1e-8, abs=1e-12)
    shares = np.asarray([0.025, 0.3, 0.5, 0.9, 0.975])
    assert jax.vmap(lambda p: one.quantile(p, *a))(shares) == pytest.approx(other.ppf(shares), rel=1e-9)
    assert float(one.mean(*a)) == pytest.approx(other.mean())


def expectation(one: Any, other: Any, function: Any) -> np.ndarray:
    if one.count:
        y = np.arange(400.0)
        return np.einsum("n,nij->ij", other.pmf(y), np.asarray(jax.vmap(function)(y)))
    z = np.linspace(-7.0, 7.0, 1401)
    weights = stats.norm.pdf(z) * (z[1] - z[0])
    return np.einsum("n,nij->ij", weights, np.asarray(jax.vmap(function)(other.ppf(stats.norm.cdf(z)))))


@pytest.mark.parametrize("name", ROWS)
def test_the_information_is_the_mean_square_of_the_score(name: str) -> None:
    one, a, other, _ = some(name)
    score = jax.grad(lambda a, y: one.log_density(y, *a))
    square = expectation(one, other, lambda y: jnp.outer(*[score(jnp.asarray(a), y)] * 2))
    assert np.asarray(one.information(*a)) == pytest.approx(square, rel=2e-3, abs=1e-6)


EXTREMES = {
    "normal": [(1e300, 1e-90), (0.0, 1e-300)],
    "lognormal": [(1e-80, 1e-10), (1e40, 3.0)],
    "student": [(0.0, 1e-6, 1e6), (0.0, 1.0, 0.1), (0.0, 1.0, 50.0)],
    "poisson": [(0.0,), (1e9,)],
    "negative_binomial": [(0.0, 1.0), (1e6, 1e-3), (1e3, 1e6)],
    "bernoulli": [(0.0,), (1.0,)],
    "exponential": [(1e-30,)],
    "beta": [(1e-3, 1e3), (1e6, 1e6)],
    "gumbel": [(0.0, 1e-20)],
}


@pytest.mark.parametrize(("name", "a"), [(name, a) for name, some in EXTREMES.items() for a in some])
def test_an_information_has_a_root_at_extremes(name: str, a: tuple[float, ...]) -> None:
    assert np.isfinite(np.asarray(jnp.linalg.cholesky(LIKELIHOODS[name].information(*a)))).all()


# ---------------------------------------------------------------- limits of detection


@pytest.mark.parametrize(
    ("name", "a", "y", "other"),
    [
        ("normal", (0.0, 1.0), -60.0, -1804.0), ("student", (0.0, 1.0, 1e7), -45.0, stats.norm.logcdf(-45.0)),
        ("poisson", (5000.0,), 20.0, stats.poisson.logpmf(20, 5000) - np.log1p(-20 / 5000)),
        ("lognormal", (1.0, 0.1), 1e-3, stats.norm.logcdf(np.log(1e-3) / 0.1)),
    ],
)  # fmt: skip
def test_tails_have_numbers_and_slopes(name: str, a: tuple[float, ...], y: float, other: float) -> None:
    one = LIKELIHOODS[name]
    assert float(one.log_cdf(y, *a)) == pytest.approx(other, rel=1e-2)
    slope = jax.grad(lambda m: one.log_cdf(y, m, *a[1:]))(a[0])
    assert np.isfinite(float(slope)) and float(slope) < 0


@pytest.mark.parametrize(
    "name", ["normal", "lognormal", "student", "poisson", "negative_binomial", "exponential", "beta"]
)
def test_a_censored_datum(name: str) -> None:
    one, a, other, y = some(name)
    low, high = y[len(y) // 3], y[2 * len(y) // 3]
    places = jnp.asarray([y[0], y[len(y) // 2], y[-1]])  # hidden below, seen, hidden above

    def term(y: Any, a: Any) -> Any:
        return log_likelihood(one, y, tuple(a), below=low, above=high)

    at = jax.jit(jax.vmap(jax.value_and_grad(term, argnums=1), (0, None)))
    values, scores = at(places, jnp.asarray(a))
    seen = other.logpmf(places[1]) if one.count else other.logpdf(places[1])
    expected = np.asarray([other.logcdf(low), seen, np.log(other.sf(high - one.count))])
    assert np.asarray(values) == pytest.approx(expected, rel=1e-8)
    for n in range(len(a)):
        step = np.eye(len(a))[n] * 1e-5 * a[n]
        slopes = (at(places, a + step)[0] - at(places, a - step)[0]) / (2e-5 * a[n])
        assert np.asarray(scores[:, n]) == pytest.approx(np.asarray(slopes), rel=1e-5, abs=1e-7)
    told = jax.jit(jax.vmap(lambda y: information(one, y, a, low, high)))(places)
    assert np.isfinite(np.asarray(jnp.linalg.cholesky(told))).all()


def test_the_information_of_what_is_hidden_is_its_curvature() -> None:
    told = information(LIKELIHOODS["exponential"], 5.0, (2.0,), above=3.0)  # its term is -3/mean
    assert float(told[0, 0]) == pytest.approx(2 * 3.0 / 2.0**3, rel=1e-6)
    told = information(LIKELIHOODS["normal"], -3.0, (0.5, 1.0), below=-1.0)  # that bends upwards in one direction
    assert np.all(np.linalg.eigvalsh(np.asarray(told)) > 0)


def test_a_scale_that_is_left_out_has_its_place() -> None:
    assert LIKELIHOODS["student"].complete((1.0, 4.0), 2.0) == (1.0, 2.0, 4.0)
    assert LIKELIHOODS["normal"].complete((1.0,), 2.0) == (1.0, 2.0)


def test_a_sample_has_the_mean() -> None:
    for name in ("bernoulli", "negative_binomial"):
        one, a, other, _ = some(name)
        sample = jax.jit(jax.vmap(lambda key, one=one, a=a: one.sample(key, *a)))
        drawn = sample(jax.random.split(jax.random.key(0), 4000))
        assert float(jnp.mean(drawn)) == pytest.approx(other.mean(), abs=4 * other.std() / 4000**0.5)


@pytest.mark.parametrize(
    "name, arguments", [("normal", (1.0, -0.1)), ("lognormal", (1.0, -0.1)), ("student", (1.0, 0.1, -3.0))]
)
def test_nothing_is_likely_where_a_scale_is_not_positive(name: str, arguments: tuple[float, ...]) -> None:
    assert np.isnan(log_likelihood(LIKELIHOODS[name], 1.0, arguments))
