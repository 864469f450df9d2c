"""Inverse sine, cosine and tangent against many digits, in both precisions, their special values and derivatives."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from dpl.runtime import functions

DIGITS = {"float32": 24, "float64": 53}
USUAL = {"asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2}
both = pytest.mark.parametrize("dtype", DIGITS)


def ulps(name: str, *arguments: np.ndarray) -> float:
    """The greatest error, in units of the last digit of the exact value."""
    values = np.asarray(getattr(functions, name)(*arguments))
    worst = 0.0
    with mpmath.workprec(200):
        for value, *numbers in zip(values.tolist(), *(a.tolist() for a in arguments), strict=True):
            exact = getattr(mpmath, name)(*map(mpmath.mpf, numbers))
            unit = mpmath.mpf(2) ** (mpmath.frexp(exact)[1] - DIGITS[arguments[0].dtype.name])
            worst = max(worst, float(abs(value - exact) / unit))
    return worst


def spread(dtype: str, low: float, high: float, count: int) -> np.ndarray:
    random = np.random.default_rng(0)
    return (random.choice([-1, 1], count) * np.exp(random.uniform(np.log(low), np.log(high), count))).astype(dtype)


@both
@pytest.mark.parametrize("name", ["asin", "acos"])
def test_of_sines_within_two_ulp(name: str, dtype: str) -> None:
    random = np.random.default_rng(1)
    assert ulps(name, random.uniform(-1, 1, 3000).astype(dtype)) <= 2
    assert ulps(name, spread(dtype, 1e-30, 1, 1000)) <= 2
    assert ulps(name, (1 - np.abs(spread("float64", 1e-15, 1, 1000))).astype(dtype)[:900]) <= 2


@both
def test_of_tangents_within_two_ulp(dtype: str) -> None:
    for low, high in ((0.1, 10), (1e-37, 1e37)):
        x, y = spread(dtype, low, high, 3000), spread(dtype, low, high, 3000)[::-1].copy()
        assert ulps("atan", x) <= 2
        normal = np.abs(y.astype(float) / x) > 1e-37
        assert ulps("atan2", y[normal], x[normal]) <= 2


@both
def test_special_values_are_those_of_ieee(dtype: str) -> None:
    info = np.finfo(dtype)
    x = np.array(
        [0, -0.0, 0.5, -0.6, 1, -1, 2, info.tiny, -info.tiny, info.max, info.min, np.inf, -np.inf, np.nan], dtype
    )
    y, x2 = (a.ravel() for a in np.meshgrid(x, x))
    for name, usual in USUAL.items():
        arguments = (y, x2) if name == "atan2" else (x,)
        with np.errstate(all="ignore"):
            expected = usual(*arguments)
        found = np.asarray(getattr(functions, name)(*arguments))
        assert found.dtype == dtype and np.array_equal(
            np.signbit(found) & ~np.isnan(found), np.signbit(expected) & ~np.isnan(found)
        )
        assert np.allclose(found, expected, rtol=4 * info.eps, atol=info.tiny, equal_nan=True)


def test_derivatives() -> None:
    x, y = jnp.linspace(-0.9, 0.9, 8), jnp.linspace(2.0, -3.0, 8)
    for name, usual in {"asin": jnp.arcsin, "acos": jnp.arccos, "atan": jnp.arctan}.items():
        found = getattr(functions, name)
        assert np.allclose(jax.vmap(jax.grad(found))(x), jax.vmap(jax.grad(usual))(x), rtol=1e-12)
        assert np.allclose(jax.vmap(jax.hessian(found))(x), jax.vmap(jax.hessian(usual))(x), rtol=1e-12)
    for over in (0, 1):
        slopes = (jax.vmap(jax.grad(f, over))(y, x) for f in (functions.atan2, jnp.arctan2))
        assert np.allclose(*slopes, rtol=1e-12)


def test_they_follow_dtypes_and_shapes() -> None:
    assert functions.atan2(jnp.ones((3, 1), jnp.float32), 2).dtype == jnp.float32
    assert functions.atan2(jnp.ones((3, 1)), jnp.ones(2)).shape == (3, 2)
    assert jax.vmap(functions.atan2, (0, None))(jnp.ones(3), 2.0).shape == (3,)
    assert functions.atan(1).dtype == jnp.result_type(float) and functions.asin(jnp.float16(0.5)).dtype == jnp.float16
    assert np.allclose(functions.atan(1 + 2j), np.arctan(1 + 2j))
