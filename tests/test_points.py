"""Functions given by points, against NumPy and SciPy; convolution against sums written out. As the runtime has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import gradient, source, static, value
from scipy.interpolate import PchipInterpolator

from dpl.runtime.functions import conv, lookup, lookup_slope

RANDOM = np.random.default_rng(4)


def points(n):
    return np.cumsum(RANDOM.uniform(0.1, 1, n)), RANDOM.normal(size=n)


@pytest.mark.parametrize("n", [1, 2, 3, 60])
@pytest.mark.parametrize("using", ["linear", "previous", "cubic"])
def test_values_are_those_of_other_libraries(n, using):
    knots, values = points(n)
    x = np.concatenate([np.linspace(knots[0] - 1, knots[-1] + 1, 41), knots])
    inside = np.clip(x, knots[0], knots[-1])
    match using if n > 1 else "previous":
        case "linear":
            wanted = np.interp(x, knots, values)
        case "previous":
            wanted = values[np.searchsorted(knots, inside, side="right") - 1]
        case _:
            wanted = PchipInterpolator(knots, values)(inside)
    np.testing.assert_allclose(lookup((knots, values), x, using), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("using", ["linear", "previous", "cubic"])
@pytest.mark.parametrize("order", [1, 2])
def test_slopes_are_the_derivatives_that_jax_takes(using, order):
    knots, values = points(7)
    x = jnp.asarray(np.concatenate([np.linspace(knots[0] - 1, knots[-1] + 1, 23), knots]))

    def below(t):
        return lookup_slope((knots, values), t, using, order - 1)

    found = lookup_slope((knots, values), x, using, order)
    np.testing.assert_allclose(found, jax.vmap(jax.grad(below))(x), atol=1e-10)


def test_a_slope_beyond_the_points_is_zero_and_at_a_point_that_of_the_next_piece():
    places = jnp.array([-1.0, 0.0, 1.0, 2.0, 3.0])
    found = lookup_slope((jnp.array([0.0, 1.0, 2.0]), jnp.array([0.0, 1.0, 5.0])), places, "linear")
    np.testing.assert_array_equal(found, [0, 1, 4, 4, 0])


@pytest.mark.parametrize("using", ["linear", "previous"])
def test_points_that_fill_up_an_array_change_nothing(using):
    knots, values = points(5)
    padded = np.pad(knots, (0, 3), "edge"), np.pad(values, (0, 3), "edge")
    for x in np.linspace(knots[0] - 1, knots[-1] + 1, 17):
        assert jax.value_and_grad(lambda t: lookup(padded, t, using))(x) == jax.value_and_grad(
            lambda t: lookup((knots, values), t, using)
        )(x)


def test_a_monotone_table_stays_monotone():
    knots, values = np.arange(6.0), np.array([0, 0.1, 0.1, 5, 5.1, 5.1])
    found = lookup((knots, values), jnp.linspace(0, 5, 301), "cubic")
    assert np.all(np.diff(found) >= -1e-15)


# ---------------------------------------------------------------- convolution


def direct(image, kernel):
    """Each place of the kernel by itself."""
    places = [range(n - k + 1) for n, k in zip(image.shape, kernel.shape, strict=True)]
    found = np.zeros([len(p) for p in places])
    for index in np.ndindex(*found.shape):
        part = tuple(slice(i, i + k) for i, k in zip(index, kernel.shape, strict=True))
        found[index] = np.sum(image[part] * kernel)
    return found


@pytest.mark.parametrize("sizes", [((5,), (2,)), ((4, 6), (3, 2)), ((3, 3), (3, 3)), ((4, 2), (1, 1))])
def test_conv_is_a_sum_of_products_at_each_place(sizes):
    image, kernel = (RANDOM.normal(size=s) for s in sizes)
    np.testing.assert_allclose(conv(image, kernel), direct(image, kernel), atol=1e-12)


def test_conv_is_bilinear_and_so_are_its_derivatives():
    image, kernel, way = RANDOM.normal(size=(5, 4)), RANDOM.normal(size=(2, 3)), RANDOM.normal(size=(4, 2))

    def total(image, kernel):
        return jnp.sum(conv(image, kernel) * way)

    along, across = jax.grad(total, (0, 1))(image, kernel)
    np.testing.assert_allclose(np.sum(along * image), total(image, kernel), rtol=1e-12)
    np.testing.assert_allclose(across, direct(image, way), atol=1e-12)


CONV = (
    "param a[3, 4] = [[1, 2, 3, 4], [5, 6, 7, 8], [0, 1, 0, 2]]",
    "param k[2, 2] = [[1, 2], [3, -1]]",
    "param s = 2",
    "let y = conv(a, k)",
    "let rows[3, 3] = conv(a[i], k[0]) for i in 0..2",
    "metric m = sum(conv(s*a, s*k))",
)


def test_conv_in_the_language():
    a, k = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [0, 1, 0, 2.0]]), np.array([[1, 2], [3, -1.0]])
    text = static(*CONV)
    np.testing.assert_allclose(value(text), direct(a, k))
    np.testing.assert_allclose(value(text, "rows"), [direct(row, k[0]) for row in a])
    assert gradient(text, "s", "m") == pytest.approx(2 * 2 * np.sum(direct(a, k)))
    assert "dpl.conv(a, k)" in source(text)
