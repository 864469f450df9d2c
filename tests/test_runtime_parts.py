"""Laws of the runtime's parts: functions, roots, networks, distributions, bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dpl.runtime import distributions, functions, networks, roots, spec
from dpl.runtime.bounds import Bounds
from dpl.runtime.once import once_in_derivatives


@pytest.mark.parametrize(
    "function", [functions.sqrt, functions.cbrt, lambda x: functions.hypot(x, 0.0), lambda x: functions.power(x, 0.5)]
)
def test_derivatives_at_zero_are_finite(function) -> None:
    assert float(function(0.0)) == 0.0
    assert float(jax.grad(function)(0.0)) == 0.0
    numeric = (function(2.0 + 1e-6) - function(2.0 - 1e-6)) / 2e-6
    assert float(jax.grad(function)(2.0)) == pytest.approx(float(numeric), rel=1e-8)


def test_power_has_true_derivatives_where_they_exist() -> None:
    assert float(jax.grad(functions.power)(0.0, 1.0)) == 1.0
    assert float(jax.grad(jax.grad(functions.power))(3.0, 2.5)) == pytest.approx(2.5 * 1.5 * 3**0.5)
    assert float(jax.grad(functions.power, argnums=1)(3.0, 2.5)) == pytest.approx(3**2.5 * np.log(3))


def test_wrap_is_the_same_angle_above_minus_pi() -> None:
    angles = jnp.linspace(-20, 20, 401)
    wrapped = functions.wrap(angles)
    assert jnp.all((wrapped > -np.pi) & (wrapped <= np.pi))
    assert jnp.cos(wrapped) == pytest.approx(np.cos(np.asarray(angles)), abs=1e-12)
    assert float(functions.wrap(-np.pi)) == np.pi


def test_chosen_derivatives() -> None:
    f = lambda z: functions.straight_through(jnp.sign(z), 3 * z)  # noqa: E731
    assert (float(f(0.2)), float(jax.grad(f)(0.2))) == (1.0, 3.0)


def test_huber_is_quadratic_then_linear() -> None:
    assert functions.huber(jnp.asarray([0.5, -3.0]), 1.0) == pytest.approx([0.125, 2.5])
    assert jax.vmap(jax.grad(functions.huber), (0, None))(jnp.asarray([0.5, -3.0]), 1.0) == pytest.approx([0.5, -1.0])


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_linear_solve_agrees_with_numpy(n: int) -> None:
    random = np.random.default_rng(n)
    a, b = random.standard_normal((n, n)), random.standard_normal(n)
    rows = tuple(tuple(map(float, row)) for row in a)
    assert np.array(roots.linear_solve(rows, tuple(map(float, b)))) == pytest.approx(np.linalg.solve(a, b))


def cubic(p):
    """The root of x³ + x = p."""
    return roots.newton(lambda u: (u[0] ** 3 + u[0] - p,), (0.0 * p,))[0]


def test_newton_has_implicit_derivatives_of_any_order() -> None:
    x = float(cubic(2.0))
    first, second = 1 / (3 * x**2 + 1), -6 * x / (3 * x**2 + 1) ** 3
    assert x == pytest.approx(1.0, abs=1e-14)
    assert float(jax.grad(cubic)(2.0)) == pytest.approx(first)
    assert float(jax.jacfwd(cubic)(2.0)) == pytest.approx(first)
    assert float(jax.grad(jax.grad(cubic))(2.0)) == pytest.approx(second)
    assert float(jax.jacfwd(jax.grad(cubic))(2.0)) == pytest.approx(second)
    many = jnp.asarray([-30.0, 0.0, 2.0, 1000.0])
    found = jax.vmap(cubic)(many)
    assert found**3 + found == pytest.approx(np.asarray(many), abs=1e-10)
    assert jax.vmap(jax.grad(cubic))(many) == pytest.approx(np.asarray(1 / (3 * found**2 + 1)))


def test_newton_keeps_between_bounds_and_finds_the_wanted_root() -> None:
    root = lambda low, high: roots.newton(lambda u: (u[0] ** 2 - 4,), (0.1,), low=(low,), high=(high,))[0]  # noqa: E731
    assert float(root(0.0, 10.0)) == pytest.approx(2.0)
    assert float(root(-10.0, 0.0)) == pytest.approx(-2.0)
    assert float(root(None, 0.0)) == pytest.approx(-2.0)
    wild = roots.newton(lambda u: (jnp.arctan(u[0]),), (20.0,), low=(-100.0,), high=(200.0,))[0]
    assert float(wild) == pytest.approx(0.0, abs=1e-9)


def test_newton_in_several_unknowns() -> None:
    def pair(p):
        return roots.newton(lambda u: (u[0] ** 2 + u[1] ** 2 - p, u[0] - 2 * u[1]), (1.0, 1.0))

    x, y = pair(5.0)
    assert (float(x), float(y)) == pytest.approx((2.0, 1.0))
    assert float(jax.grad(lambda p: pair(p)[0])(5.0)) == pytest.approx(0.2)


def test_a_root_that_is_not_there_is_nan() -> None:
    assert jnp.isnan(roots.newton(lambda u: (u[0] ** 2 + 1,), (0.5,))[0])
    assert jnp.isnan(roots.newton(lambda u: (u[0] ** 2 + 1,), (0.5,), low=(0.0,), high=(1.0,))[0])


def test_a_network_keeps_its_ranges_and_is_a_matrix_product_when_batched() -> None:
    ports = (spec.Port("a", -1.0, 1.0), spec.Port("v", shape=(2,)))
    outputs = (spec.Port("lo", 5.0, 6.0), spec.Port("up", 3.0, float("inf"), scale=1e-6), spec.Port("w", shape=(2, 2)))
    net = spec.Network("net", ports, outputs, hidden=(8,))
    weights = networks.init(net, 0)
    a, v = jnp.linspace(-50, 50, 7), jnp.ones((7, 2))
    low, up, w = jax.vmap(lambda a, v: networks.apply(net, weights, a, v))(a, v)
    assert jnp.all((low > 5) & (low < 6) & (up >= 3) & (up < 3.001))
    assert w.shape == (7, 2, 2)
    assert w[3] == pytest.approx(np.asarray(networks.apply(net, weights, a[3], v[3])[2]), abs=1e-12)


@pytest.mark.parametrize(("low", "high", "value"), [(-1, 3, 0), (2, 4, 2), (-4, -2, -2), (0, None, 0), (None, None, 0)])
def test_start_zero_begins_at_the_value_nearest_zero(low, high, value) -> None:
    net = spec.Network("net", (spec.Port("x"),), (spec.Port("y", low, high),), start_zero=True)
    y = networks.apply(net, networks.init(net, 1), 0.7)
    assert float(y) == pytest.approx(value, abs=0.021)


SCIPY = {
    "normal": ((1.0, 2.0), lambda mean, sd: stats.norm(mean, sd)),
    "lognormal": ((3.0, 0.4), lambda median, spread: stats.lognorm(spread, scale=median)),
    "uniform": ((-2.0, 5.0), lambda low, high: stats.uniform(low, high - low)),
    "student": ((1.0, 2.0, 4.0), lambda mean, sd, df: stats.t(df, mean, sd)),
    "poisson": ((3.5,), lambda mean: stats.poisson(mean)),
    "negative_binomial": ((3.5, 2.0), lambda mean, size: stats.nbinom(size, size / (size + mean))),
    "beta": ((2.0, 3.0), lambda a, b: stats.beta(a, b)),
    "exponential": ((2.5,), lambda mean: stats.expon(scale=mean)),
    "gumbel": ((1.0, 2.0), lambda location, scale: stats.gumbel_r(location, scale)),
}


@pytest.mark.parametrize("name", SCIPY)
def test_a_distribution_agrees_with_scipy(name: str) -> None:
    arguments, reference = SCIPY[name]
    family, expected = distributions.FAMILIES[name], reference(*arguments)
    given = spec.Given("g", 0.0, distribution=spec.Distribution(name, arguments))
    sample = np.asarray(distributions.draws({given.name: given}, 0, jnp.arange(4000))[given.name])
    counts = name in ("poisson", "negative_binomial")
    if counts:
        assert sample.mean() == pytest.approx(expected.mean(), rel=0.05)
        assert sample.var() == pytest.approx(expected.var(), rel=0.1)
    else:
        assert stats.kstest(sample, expected.cdf).pvalue > 1e-3
    log_density = expected.logpmf if counts else expected.logpdf
    x = sample[:5]
    assert family.log_density(jnp.asarray(x), *arguments) == pytest.approx(log_density(x))
    assert float(family.median(*arguments)) == pytest.approx(expected.median())
    if family.quantile is not None:
        assert float(family.quantile(0.9, *arguments)) == pytest.approx(expected.ppf(0.9))


def test_listed_givens_are_met_in_turn() -> None:
    given = spec.Given("load", 1.0, listed=(1.0, 2.0, 5.0))
    assert list(distributions.draws({given.name: given}, 0, jnp.arange(4))[given.name]) == [1.0, 2.0, 5.0, 1.0]


@pytest.mark.parametrize(
    ("bounds", "values"),
    [
        (Bounds(2.0, 5.0), [2.5, 4.99]),
        (Bounds(0.0, None, scale=1e-3), [1e-4, 7.0]),
        (Bounds(None, -1.0), [-9.0, -1.01]),
        (Bounds(), [-3.0, 4.0]),
        (Bounds(1e-5, 1e5, log=True), [2e-5, 1.0, 9e4]),
        (Bounds(None, None, log=True), [1e-9, 1e9]),
    ],
)
def test_bounds_are_bijections(bounds: Bounds, values: list[float]) -> None:
    assert bounds.inward(bounds.outward(jnp.asarray(values))) == pytest.approx(values)
    assert jnp.all(jnp.diff(bounds.inward(jnp.linspace(-5, 5, 11))) != 0)
    border = bounds.low if bounds.low is not None else bounds.high
    if border is not None:
        assert jnp.isfinite(bounds.outward(border))
        assert float(bounds.inward(bounds.outward(border))) == pytest.approx(border, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("exponent", [-2.5, -0.5, 0.5, 1.5, 3.5])
def test_powers_that_are_products_with_a_root_are_powers(exponent):
    x = np.array([0.0, 1e-9, 0.3, 2.0, 1e5])
    half, power = (lambda x: functions.power(x, exponent)), (lambda x: functions.power(x, jnp.asarray(exponent)))
    for one, other in [(half, power), (jax.grad(half), jax.grad(power)), (jax.jacfwd(half), jax.jacfwd(power))]:
        np.testing.assert_allclose(jax.vmap(one)(x), jax.vmap(other)(x), rtol=4e-15)


def test_a_value_kept_in_derivatives_is_itself_in_runs_of_a_batch():
    x = jnp.linspace(0.1, 2.0, 7)
    slope = jax.vmap(jax.value_and_grad(lambda x: once_in_derivatives(x * x) * x))
    value, gradient = jax.jit(slope)(x)
    np.testing.assert_allclose(value, x**3, rtol=1e-15)
    np.testing.assert_allclose(gradient, 3 * x**2, rtol=1e-15)
