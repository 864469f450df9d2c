"""Sine and cosine against many digits, in both precisions, and their derivatives."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import dpl
from dpl.runtime import elementary, functions
from dpl.runtime.once import once

EXACT = {"sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan}
MOST = {"sin": 2, "cos": 2, "tan": 3.1}
"""Units of the last place"""
DIGITS = {"float32": 24, "float64": 53}
LARGEST = {"float32": 4e5, "float64": 1e13}
"""Up to here that is kept"""
both = pytest.mark.parametrize("dtype", DIGITS)
each = pytest.mark.parametrize("name", ["sin", "cos"])
every = pytest.mark.parametrize("name", EXACT)


def ulps(name: str, x: np.ndarray, of: object = functions) -> float:
    """The greatest error of a function at x, in units of the last digit of the exact value."""
    worst = 0.0
    with mpmath.workprec(1300):  # π to more digits than the largest number has
        for angle, value in zip(x.tolist(), np.asarray(getattr(of, name)(x)).tolist(), strict=True):
            exact = EXACT[name](mpmath.mpf(angle))
            unit = mpmath.mpf(2) ** (mpmath.frexp(exact)[1] - DIGITS[x.dtype.name])
            worst = max(worst, float(abs(value - exact) / unit))
    return worst


def next_to_zeros(dtype: str, largest: float) -> np.ndarray:
    """The numbers nearest to a multiple of π/2: for each exponent, numerators of the continued fraction of its size.

    A number of this dtype is m 2^e with an integer m of so many digits; m 2^e = n π/2 is best approximated where m/n is
    a convergent of π/2 / 2^e.
    """
    found: list[float] = []
    with mpmath.workprec(400):
        for e in range(-DIGITS[dtype], int(np.log2(largest)) - DIGITS[dtype] + 1):
            ratio = mpmath.pi / 2 / mpmath.mpf(2) ** e
            before, numerator, rest = 1, int(ratio), ratio - int(ratio)
            while numerator < 2 ** DIGITS[dtype]:
                found.append(float(numerator) * 2.0**e)
                digit = int(1 / rest)
                rest = 1 / rest - digit
                before, numerator = numerator, digit * numerator + before
    return np.asarray([x for x in found if 0 < x <= largest]).astype(dtype)


@every
@both
@pytest.mark.parametrize("largest", [1.0, 10.0, 1e5, None])
def test_within_a_few_ulp(name: str, dtype: str, largest: float | None) -> None:
    largest = largest or LARGEST[dtype]
    random = np.random.default_rng(0)
    assert ulps(name, random.uniform(-largest, largest, 2000).astype(dtype)) <= MOST[name]


@every
@both
def test_within_a_few_ulp_where_it_is_hardest(name: str, dtype: str) -> None:
    quarters = np.floor(np.geomspace(1, LARGEST[dtype] / 2, 1000))
    around = np.concatenate([quarters * np.pi / 2, (quarters + 0.5) * np.pi / 2])
    smallest = np.finfo(dtype).tiny
    for x in (around.astype(dtype), next_to_zeros(dtype, LARGEST[dtype]), np.geomspace(smallest, 1, 500).astype(dtype)):
        assert ulps(name, x) <= MOST[name]


@each
@both
def test_beyond_that_they_are_off_by_less_than_their_angles(name: str, dtype: str) -> None:
    x = np.geomspace(LARGEST[dtype], {"float32": 2.0**22, "float64": 2.0**49}[dtype], 500).astype(dtype)
    with mpmath.workprec(300):
        exact = np.array([float(EXACT[name](mpmath.mpf(angle))) for angle in x.tolist()])
    assert np.all(np.abs(np.asarray(getattr(functions, name)(x)) - exact) <= 0.5 * np.spacing(x))


@every
@both
def test_no_number_where_there_is_no_angle(name: str, dtype: str) -> None:
    largest = np.finfo(dtype).max
    x = np.array([2.0**50, 1e30, largest, np.inf, np.nan], dtype)
    assert np.all(np.isnan(getattr(functions, name)(x))) and np.all(np.isnan(getattr(functions, name)(-x)))


@every
@both
def test_any_angle_outside_models(name: str, dtype: str) -> None:
    largest = np.finfo(dtype).max
    x = np.concatenate([np.geomspace(1, 0.9 * float(largest), 500), [1e10, largest]]).astype(dtype)
    function, zeros = getattr(elementary, name), next_to_zeros(dtype, 1e30)
    assert ulps(name, x, elementary) <= 1 and ulps(name, x[:50], elementary) <= MOST[name]
    with mpmath.workprec(300):
        exact = np.array([float(EXACT[name](mpmath.mpf(angle))) for angle in zeros.tolist()])
    assert np.allclose(function(zeros), exact, rtol=1e-11 if dtype == "float64" else 4e-7, atol=0)
    assert np.all(np.isnan(function(np.array([np.inf, -np.inf, np.nan, 1.0], dtype))[:3]))
    assert jax.jit(jax.vmap(function))(x).tolist() == function(x).tolist()
    slope = {"sin": elementary.cos, "cos": lambda x: -elementary.sin(x), "tan": lambda x: 1 + elementary.tan(x) ** 2}
    assert np.allclose(jax.vmap(jax.grad(function))(x), jax.vmap(slope[name])(x), rtol=1e-5)


SPUN = """
model Spun {
  param turns = 3e15
  state y = 0
  y' = cos(turns)*1[1/s]
  let z = sin(turns)
}
scenario Long {
  part m = Spun()
  run for 1 [s] using rk4(0.1 [s])
  metric end = final(m.y)
}
scenario Still {
  part m = Spun2()
  metric here = m.z
}
model Spun2 { param turns = 3e15; let z = sin(turns) }
"""


@both
def test_a_run_with_huge_angles_is_repeated(dtype: str) -> None:
    program = dpl.compile(SPUN, dtype=dtype)
    long, still = program.scenarios["Long"], program.scenarios["Still"]
    for turns in (3e15, 1e9, 2.0):
        angle = float(np.asarray(turns, dtype))
        with mpmath.workprec(300):
            sine, cosine = float(mpmath.sin(mpmath.mpf(angle))), float(mpmath.cos(mpmath.mpf(angle)))
        run = long.simulate(values={"m.turns": turns})
        assert run.status == "ok" and run["m.z"] == pytest.approx(sine, rel=2e-6)
        assert run.metrics["end"] == pytest.approx(cosine, rel=2e-6)
        assert float(long.evaluate({"m.turns": turns})["end"]) == run.metrics["end"]
        assert float(still.evaluate({"m.turns": turns})["here"]) == pytest.approx(sine, rel=2e-6)
    program.set("m.turns", 1e16)
    assert program.anywhere is not None and program.anywhere.values is program.values
    assert dpl.compile("scenario None { given a = 1; metric b = a*2 }").anywhere is None


@both
def test_symmetry_is_exact(dtype: str) -> None:
    x = np.concatenate([[0.0], np.geomspace(1e-30, 4e6, 2000), np.arange(50) * np.pi / 4]).astype(dtype)
    sin, cos = np.asarray(functions.sin(x)), np.asarray(functions.cos(x))
    assert np.asarray(functions.tan(-x)).tobytes() == (-np.asarray(functions.tan(x))).tobytes()
    assert np.asarray(functions.sin(-x)).tobytes() == (-sin).tobytes()  # the sign of 0 too
    assert np.asarray(functions.cos(-x)).tobytes() == cos.tobytes()
    assert np.all(np.abs(sin) <= 1) and np.all(np.abs(cos) <= 1)


@every
def test_they_follow_the_dtype(name: str) -> None:
    function, usual = getattr(functions, name), getattr(jnp, name)
    for x in (2, 2.0, np.float32(2), np.arange(3), jnp.float16(2), jnp.ones((2, 0)), 1 + 2j):
        assert function(x).dtype == usual(x).dtype and function(x).shape == usual(x).shape
        assert jnp.allclose(function(x), usual(x), rtol=1e-3 if function(x).dtype == jnp.float16 else 1e-6)
    assert (function(2.0) * jnp.float32(1)).dtype == jnp.float32, "Python's floats stay weak"


def test_derivatives_are_the_other_function() -> None:
    x = jnp.linspace(-9.0, 9.0, 7)
    assert jnp.all(jax.vmap(jax.grad(functions.sin))(x) == functions.cos(x))
    assert jnp.all(jax.vmap(jax.jacfwd(jax.grad(functions.sin)))(x) == -functions.sin(x))
    assert np.allclose(jax.vmap(jax.grad(functions.tan))(x), 1 + functions.tan(x) ** 2, rtol=1e-14)
    assert jnp.all(jax.vmap(jax.grad(jax.grad(functions.cos)))(x) == -functions.cos(x))
    assert jnp.all(jax.jit(jax.vmap(jax.value_and_grad(functions.cos)))(x)[1] == -functions.sin(x))


@both
def test_each_is_worked_out_once_for_a_batch(dtype: str) -> None:
    """However many loops read it: XLA rounds once for every time that an angle is reduced."""

    def read_by_three(x: jax.Array) -> tuple[jax.Array, ...]:
        s = functions.sin(x)
        return s + x, jnp.cumsum(s), s[::-1] * x

    def roundings(function: object, x: jax.Array) -> int:
        return jax.jit(function).lower(x).compile().as_text().count("round-nearest-even(")  # type: ignore[arg-type]

    x = jnp.ones(64, dtype)
    assert roundings(read_by_three, x) == roundings(functions.sin, x) == 1


@both
def test_what_is_kept_is_the_same(dtype: str) -> None:
    x = np.array([0.0, -0.0, 1.5, -(2.0**-140), np.finfo(dtype).max, np.inf, -np.inf, np.nan], dtype)
    assert np.asarray(jax.jit(once)(x)).tobytes() == x.tobytes()
    assert jax.jit(jax.grad(lambda x: jnp.sum(once(x) ** 2)))(jnp.ones(3, dtype)).tolist() == [2.0] * 3


def test_without_double_precision_they_are_right_too() -> None:
    with jax.enable_x64(False):
        assert float(functions.sin(jnp.float32(1e5))) == pytest.approx(np.sin(1e5), rel=1e-6)
