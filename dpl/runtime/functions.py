"""The functions of the language that `jax.numpy` lacks or whose derivatives need care. Each follows the dtype it gets.

Where the value of a function is defined, so is its derivative: at a kink it is 0 or one of the two slopes, never NaN
or infinite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy import special

from dpl.runtime import elementary, inverse

sin, cos, tan = elementary.sin_near, elementary.cos_near, elementary.tan_near
asin, acos, atan, atan2 = inverse.asin, inverse.acos, inverse.atan, inverse.atan2

# ---------------------------------------------------------------- roots and powers


def sqrt(x: Any) -> Array:
    """Square root whose derivative at 0 is 0; NaN below 0."""
    positive = x > 0
    root = jnp.sqrt(jnp.where(positive, x, 1.0))
    return jnp.where(positive, root, jnp.where(x == 0, 0.0, math.nan))


def cbrt(x: Any) -> Array:
    """Real cube root, also of negative numbers; its derivative at 0 is 0."""
    return jnp.where(x == 0, 0.0, jnp.cbrt(jnp.where(x == 0, 1.0, x)))


def hypot(x: Any, y: Any) -> Array:
    """√(x² + y²) with derivative 0 at the origin."""
    return sqrt(x * x + y * y)


def norm(x: Any) -> Array:
    """Euclidean length of an array with derivative 0 at the origin."""
    return sqrt(jnp.sum(x * x))


def power(x: Any, y: Any) -> Array:
    """x to the power y; at x = 0 the derivative is 0 where it would be infinite (0 < y < 1)."""
    halves = isinstance(y, float) and 2 * y % 2 == 1 and abs(y) < MOST
    return _half_power(x, y) if halves else _power(x, y)


MOST = 4
"""Powers n + ½ up to this one are products with a root"""


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _half_power(x: Any, y: float) -> Array:
    """The same for y = n + ½ known beforehand: several times faster than by logarithms."""
    x = jnp.asarray(x)
    value = jnp.sqrt(x) * x ** math.floor(abs(y)) if abs(y) > 1 else jnp.sqrt(x)
    return value if y > 0 else 1 / value


@_half_power.defjvp
def _half_power_jvp(y: float, primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, dx = jnp.asarray(primals[0]), tangents[0]
    unbounded = (x == 0) & (y < 1)
    slope = y * _half_power(jnp.where(unbounded, jnp.ones_like(x), x), y - 1)
    return _half_power(x, y), jnp.where(unbounded, jnp.zeros_like(x), slope) * dx


@jax.custom_jvp
def _power(x: Any, y: Any) -> Array:
    return jnp.power(x, y)


@_power.defjvp
def _power_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, y = primals
    dx, dy = tangents
    value = _power(x, y)
    unbounded = (x == 0) & (y < 1)
    slope = y * _power(jnp.where(unbounded, 1.0, x), y - 1.0)
    growth = jnp.where(x > 0, value * jnp.log(jnp.where(x > 0, x, 1.0)), 0.0)
    return value, jnp.where(unbounded, 0.0, slope) * dx + growth * dy


# ---------------------------------------------------------------- shapes of one number


def wrap(angle: Any) -> Array:
    """The same angle in (-π, π]; slope 1 everywhere."""
    return angle - 2 * math.pi * jnp.ceil((angle - math.pi) / (2 * math.pi))


def mod(x: Any, y: Any) -> Array:
    """x - y*floor(x/y): the sign is the divisor's."""
    return jnp.mod(x, y)


def clip(x: Any, low: Any, high: Any) -> Array:
    """x kept between low and high; slope 1 inside, 0 outside."""
    return jnp.clip(x, low, high)


def sigmoid(x: Any) -> Array:
    """1/(1 + exp(-x)), without overflow."""
    return jax.nn.sigmoid(jnp.asarray(x))


def softplus(x: Any) -> Array:
    """log(1 + exp(x)), without overflow."""
    return jax.nn.softplus(jnp.asarray(x))


def relu(x: Any) -> Array:
    """max(x, 0) with slope 0 at 0."""
    return jax.nn.relu(jnp.asarray(x))


def step(x: Any) -> Array:
    """1 where x is positive, else 0; its derivative is 0."""
    x = jnp.asarray(x)
    return jnp.where(x > 0, jnp.ones_like(x), jnp.zeros_like(x))


def erf(x: Any) -> Array:
    """The error function."""
    return special.erf(jnp.asarray(x))


def gamma(x: Any) -> Array:
    """Euler's Γ, with its sign."""
    return special.gamma(jnp.asarray(x))


def lgamma(x: Any) -> Array:
    """log |Γ(x)|."""
    return special.gammaln(jnp.asarray(x))


def huber(e: Any, scale: Any) -> Array:
    """½e² within the scale, scale*(|e| - ½scale) beyond (Huber 1964, Ann. Math. Stat. 35(1), 73)."""
    size = jnp.abs(e)
    within = jnp.minimum(size, scale)
    return within * (size - 0.5 * within)


def interpolate(x: Any, xs: Any, ys: Any) -> Array:
    """Linear between the points (xs rising), the end values beyond; points with more axes than one are those of each
    element of x."""
    xs, ys = jnp.asarray(xs), jnp.asarray(ys)
    if xs.ndim == ys.ndim == 1:
        return jnp.interp(x, xs, ys)
    columns = (jnp.broadcast_to(c, (*jnp.shape(x), c.shape[-1])) for c in (xs, ys))
    return jnp.vectorize(jnp.interp, signature="(),(k),(k)->()")(x, *columns)


def lookup(table: tuple[Any, Any], x: Any, using: str) -> Array:
    """The value at x of a table (knots ascending [n], values [n]); beyond its ends the last value holds.

    Args:
        table: a knot that is there twice is a jump, and what holds there is the later value.
        x: a number, or an array of numbers.
        using: `linear` between the knots; `previous`: the value of the knot at or before x; `cubic`: through all knots
            with a continuous slope, and never beyond the values of two neighbours (Fritsch and Butland 1984, SIAM J.
            Sci. Stat. Comput. 5(2), 300: what is known as PCHIP).
    """
    x = jnp.asarray(x)
    knots, values = (jnp.asarray(a, jnp.result_type(x, float) if x.dtype != jnp.float32 else x.dtype) for a in table)
    count = knots.shape[0]
    method = "compare_all" if count <= COMPARED else "scan_unrolled"
    place = jnp.searchsorted(knots, lax.stop_gradient(x).astype(knots.dtype), side="right", method=method) - 1
    if using == "previous" or count == 1:
        return _entry(values, jnp.clip(place, 0, count - 1))
    place = jnp.clip(place, 0, count - 2)
    x = jnp.where(x < knots[0], knots[0], jnp.where(x > knots[-1], knots[-1], x))
    left, right, low, high = (_entry(a, place + n) for a in (knots, values) for n in (0, 1))
    width = jnp.where(right > left, right - left, 1.0)
    share = (x - left) / width
    if using == "linear":
        return low + share * (high - low)
    before, after = _slope(knots, values, place), _slope(knots, values, place + 1)
    bend = (1 - share) * before - share * after
    return low + share * share * (3 - 2 * share) * (high - low) + width * share * (1 - share) * bend


COMPARED = 128
"""Knots up to which all are compared with what is looked for, at once"""


def _entry(values: Array, place: Array) -> Array:
    return values.at[place].get(mode="promise_in_bounds")


def _slope(knots: Array, values: Array, place: Array) -> Array:
    """The slope of the cubic at a knot: 0 where the values turn, else a harmonic mean of those on both sides."""
    last = knots.shape[0] - 1
    if last == 1:
        return (values[1] - values[0]) / (knots[1] - knots[0])
    middle = jnp.clip(place, 1, last - 1)
    (a, b, c), (u, v, w) = ([_entry(e, middle + n) for n in (-1, 0, 1)] for e in (knots, values))
    h, k = b - a, c - b
    d, e = (v - u) / h, (w - v) / k
    same = d * e > 0
    p, q = jnp.where(same, d, 1.0), jnp.where(same, e, 1.0)
    inner = jnp.where(same, 3 * (h + k) / ((2 * k + h) / p + (k + 2 * h) / q), 0.0)
    return jnp.where(place == 0, _end_slope(h, k, d, e), jnp.where(place == last, _end_slope(k, h, e, d), inner))


def _end_slope(h: Array, k: Array, d: Array, e: Array) -> Array:
    """At an end: of the parabola through three points, kept from turning."""
    slope = ((2 * h + k) * d - h * e) / (h + k)
    slope = jnp.where(slope * d <= 0, 0.0, slope)
    return jnp.where((d * e <= 0) & (jnp.abs(slope) > 3 * jnp.abs(d)), 3 * d, slope)


def lookup_slope(table: tuple[Any, Any], x: Any, using: str, order: int = 1) -> Array:
    """The derivative of `lookup` to x, of some order: at a knot that of the piece after it."""

    def value(x: Array, /) -> Array:
        return lookup(table, x, using)

    for _ in range(order):
        value = _derivative(value)
    return value(jnp.asarray(x))


def _derivative(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Of a function that is applied to each element by itself."""
    return lambda x: jax.jvp(function, (x,), (jnp.ones_like(x),))[1]


def conv(image: Any, kernel: Any, rank: int | None = None) -> Array:
    """The sums of products of a kernel with the parts of an image that it fits into ("valid" cross-correlation).

    Both are lists [n], [k] or matrices [n, m], [k, l]; with `rank` such in their last axes, for each element of others.
    """
    letters = "ab" if (jnp.ndim(image) if rank is None else rank) == 2 else "a"
    sizes = [",".join(f"{letter}{i}" for letter in letters) for i in range(3)]
    return jnp.vectorize(_conv, signature="({}),({})->({})".format(*sizes))(image, kernel)


def _conv(image: Array, kernel: Array) -> Array:
    dtype = jnp.result_type(image, kernel)
    lhs, rhs = (jnp.asarray(a, dtype)[None, None] for a in (image, kernel))
    return lax.conv_general_dilated(lhs, rhs, (1,) * image.ndim, "VALID", precision=lax.Precision.HIGHEST)[0, 0]


def choose(condition: Any, a: Any, b: Any) -> Array:
    """a where the condition holds, else b. Both are evaluated: guard the argument of what may fail."""
    return jnp.where(condition, a, b)


def array(*elements: Any) -> Array:
    """The elements side by side along a new first axis."""
    shape = jnp.broadcast_shapes(*(jnp.shape(e) for e in elements))
    dtype = jnp.result_type(*elements)
    return jnp.stack([jnp.broadcast_to(jnp.asarray(e, dtype), shape) for e in elements])


FEW = 8
"""Terms that are added one to the other: XLA's reductions on a CPU take several times as long over short axes"""


def total(x: Array, axis: int | tuple[int, ...]) -> Array:
    """The sum along some axes."""
    if isinstance(axis, int) and 0 < x.shape[axis] <= FEW:
        return reduce(jnp.add, (lax.index_in_dim(x, i, axis, keepdims=False) for i in range(x.shape[axis])))
    return jnp.sum(x, axis=axis)


def count(low: int, high: int) -> Array:
    """The whole numbers from low to high, both included, as an index counts them."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.arange(low, high + 1) * 1.0  # weakly typed: it takes the precision of what it meets


def whole(x: Any) -> Array:
    """Whole numbers as places of elements."""
    return jnp.round(x).astype(int)


# ---------------------------------------------------------------- what a task says


def freed(values: Mapping[str, Any], name: str, otherwise: Any) -> Any:
    """The value that a task gives to a freed name, else the one that its equation gives."""
    return values.get(name, otherwise)


def runs_sd(e: Any) -> Array:
    """The standard deviation over runs (divided by their number, not by one less); derivative 0 where all agree."""
    return sqrt(jnp.mean(jnp.square(e - jnp.mean(e))))


def runs_cvar(e: Any, share: Any) -> Array:
    """The mean of the runs at or above their `share`-quantile (Rockafellar and Uryasev 2000, J. Risk 2(3), 21).

    The derivative is that of the mean of those runs, as of the optimum of their equation (10).
    """
    worst = e >= jnp.quantile(e, share, method="higher")  # one of the runs: interpolated ones are rounded
    return jnp.mean(e, where=worst)


# ---------------------------------------------------------------- chosen derivatives


@jax.custom_jvp
def straight_through(value: Any, gradient: Any) -> Array:
    """The first argument's value with the second one's derivative."""
    dtype = jnp.result_type(gradient)
    return jnp.asarray(value, dtype if jnp.issubdtype(dtype, jnp.floating) else None)


@straight_through.defjvp
def _straight_through_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    value, gradient = primals
    out = straight_through(value, gradient)
    return out, jnp.broadcast_to(tangents[1], out.shape).astype(out.dtype)


surrogate: Callable[[Any, Any], Array] = straight_through
"""`surrogate(exact, smooth)`: the exact value with the smooth expression's derivative."""


def pick(scores: Any, values: Any, temperature: Any = 1.0) -> Array:
    """The value whose score is greatest, the first of several; both are arrays of n numbers along their last axis.

    The derivative is that of the values weighted by the softmax of the scores over the temperature. With Gumbel noise
    on the scores: Jang et al. (2017), Categorical reparameterization with Gumbel-softmax, arXiv:1611.01144.
    """
    weights = jax.nn.softmax(scores / temperature)
    values = jnp.asarray(values, weights.dtype)
    if jnp.ndim(weights) == 1:
        return straight_through(values[jnp.argmax(scores)], jnp.sum(weights * values))
    weights, values = jnp.broadcast_arrays(weights, values)
    chosen = jnp.take_along_axis(values, jnp.argmax(weights, axis=-1)[..., None], axis=-1)[..., 0]
    return straight_through(chosen, jnp.sum(weights * values, axis=-1))


# ---------------------------------------------------------------- smooth stand-ins


def smooth_abs(x: Any, width: Any) -> Array:
    """√(x² + width²): at most `width` above |x|."""
    return jnp.sqrt(x * x + width * width)


def smooth_sign(x: Any, width: Any) -> Array:
    """tanh(x/width)."""
    return jnp.tanh(x / width)


def smooth_step(x: Any, width: Any) -> Array:
    """A logistic step of that width; 1/2 at 0."""
    return sigmoid(x / width)


def smooth_max(a: Any, b: Any, width: Any) -> Array:
    """Half of a + b + `smooth_abs(a - b)`: at most width/2 above the greater."""
    return 0.5 * (a + b + smooth_abs(a - b, width))


def smooth_min(a: Any, b: Any, width: Any) -> Array:
    """Half of a + b - `smooth_abs(a - b)`: at most width/2 below the lesser."""
    return 0.5 * (a + b - smooth_abs(a - b, width))


def smooth_relu(x: Any, width: Any) -> Array:
    """`smooth_max(x, 0)`."""
    return 0.5 * (x + smooth_abs(x, width))


def smooth_clip(x: Any, low: Any, high: Any, width: Any) -> Array:
    """x between low and high with rounded corners."""
    return smooth_min(smooth_max(x, low, width), high, width)


def smooth_choose(margin: Any, a: Any, b: Any, width: Any) -> Array:
    """Blends from b (margin well below 0) to a (well above)."""
    share = smooth_step(margin, width)
    return share * a + (1.0 - share) * b
