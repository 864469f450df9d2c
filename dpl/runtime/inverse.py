"""Inverse sine, cosine and tangent as polynomials that XLA vectorises on CPUs; elsewhere XLA's own.

The angle of a point is brought near to 0, π/4 or π/2 by a quotient, an inverse sine below that of 0.6 by a root;
the rest is one polynomial. Numbers of any size; special values are those of IEEE 754. Numbers below the smallest normal
one count as 0, as in XLA's arithmetic on CPUs.

Error on CPUs: at most 2 ulp. Each is one primitive of JAX, like those of `elementary.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.interpreters import ad, batching

from dpl.runtime.elementary import elementwise, horner, inexact

# ---------------------------------------------------------------- the functions


def asin(x: Any) -> Array:
    """Inverse sine; NaN beyond ±1."""
    return _asin.bind(inexact(x))


def acos(x: Any) -> Array:
    """Inverse cosine; NaN beyond ±1."""
    return _acos.bind(inexact(x))


def atan(x: Any) -> Array:
    """Inverse tangent."""
    return _atan.bind(inexact(x))


def atan2(y: Any, x: Any) -> Array:
    """Angle of the point (x, y), in -π..π; its derivative at the origin is NaN."""
    dtype, shape = jnp.result_type(y, x), jnp.broadcast_shapes(jnp.shape(y), jnp.shape(x))
    return _atan2.bind(*(inexact(jnp.broadcast_to(jnp.asarray(v, dtype), shape)) for v in (y, x)))


# ---------------------------------------------------------------- on a CPU


@dataclass(frozen=True)
class _Series:
    """What is needed for one precision."""

    bits: Any
    """The unsigned integers of this size"""
    atan: Sequence[float]
    """atan t = t + t z (a + b z + …) with z = t², near minimax in relative error over |t| ≤ ½"""
    asin: Sequence[float]
    """asin s = s + s z (a + b z + …) with z = s² ≤ 0.36"""
    quarter: tuple[float, float]
    """π/4 as a sum, the first part rounded to the nearest"""
    large: float
    """Above it, and below 1 over it, a point is brought nearer by `scale`"""
    scale: float


_SERIES = {
    "float32": _Series(
        jnp.uint32,
        (
            -0.33333332900544843, 0.19999875028124872, -0.1427979292132035, 0.11006776996857187,
            -0.08234976284155203, 0.04224749976425588,
        ),
        (
            0.1666666704591215, 0.07499897116966829, 0.044687827687943535, 0.029656653542542814,
            0.027809150472185757, -0.0026538702654118397, 0.04661625734417015,
        ),
        (0.7853981852531433, -2.1855694143368964e-08),
        1e30, 2.0**-30,
    ),
    "float64": _Series(
        jnp.uint64,
        (
            -0.3333333333333333, 0.19999999999999485, -0.1428571428559874, 0.11111111100881761,
            -0.09090908618865388, 0.07692294677482635, -0.06666435144143137, 0.05879573107799684,
            -0.052400641544110685, 0.04627870086418654, -0.03806224794996687, 0.024999689507521367,
            -0.009211063504627926,
        ),
        (
            0.16666666666666666, 0.07500000000000448, 0.04464285714180206, 0.030381944542298193,
            0.022372154339655, 0.01735290343515675, 0.013962184965174181, 0.01158676291123754,
            0.00943549128267844, 0.01058649284840243, -0.0034303158180036966, 0.04440788173573313,
            -0.08921553269962462, 0.1661489491378198, -0.16430273567383072, 0.0912844570595224,
        ),
        (0.7853981633974483, 3.061616997868383e-17),
        1e300, 2.0**-60,
    ),
}  # fmt: skip


def _angle(y: Array, x: Array, left: Array | None, series: _Series) -> Array:
    """Angle of (x, y) with x, y ≥ 0, or where `left`, that of (-x, y). Where y - x is taken it is exact."""
    low, high = y < 0.5 * x, y > 2 * x
    t = jnp.where(low, y, jnp.where(high, -x, y - x)) / jnp.where(low, x, jnp.where(high, y, y + x))
    z = t * t
    rest = t + (t * z) * horner(series.atan, z)
    eighths = jnp.where(low, 0.0, jnp.where(high, 2.0, 1.0)).astype(t.dtype)
    if left is not None:
        eighths, rest = jnp.where(left, 4 - eighths, eighths), jnp.where(left, -rest, rest)
    return eighths * series.quarter[0] + (rest + eighths * series.quarter[1])


def _polynomial_atan(x: Array, series: _Series) -> Array:
    return _signed(_angle(jnp.abs(x), jnp.ones_like(x), None, series), x, series)


def _polynomial_atan2(y: Array, x: Array, series: _Series) -> Array:
    """The origin and points at infinity lie on the axes or halfway between them."""
    a, b = jnp.abs(y), jnp.abs(x)
    size = jnp.maximum(a, b)
    scale = jnp.where(size > series.large, series.scale, jnp.where(size < 1 / series.large, 1 / series.scale, 1.0))
    endless = size == math.inf
    a = jnp.where(endless, (a == math.inf).astype(x.dtype), a * scale.astype(x.dtype))
    b = jnp.where(endless, (b == math.inf).astype(x.dtype), b * scale.astype(x.dtype))
    return _signed(_angle(a, jnp.where(size == 0, 1.0, b).astype(x.dtype), jnp.signbit(x), series), y, series)


def _polynomial_asin(x: Array, series: _Series) -> Array:
    """Beyond 0.6, π/2 less twice the inverse sine of √((1 - x)/2)."""
    large, value = _least(jnp.abs(x), series)
    quarter, rest = series.quarter
    return _signed(jnp.where(large, 2 * quarter + (2 * rest - 2 * value), value), x, series)


def _polynomial_acos(x: Array, series: _Series) -> Array:
    """From 0, π/2 or π."""
    large, value = _least(jnp.abs(x), series)
    eighths = jnp.where(large, jnp.where(x < 0, 4.0, 0.0), 2.0).astype(x.dtype)
    value = jnp.where(large, 2 * value, -value)
    return eighths * series.quarter[0] + (eighths * series.quarter[1] + jnp.where(x < 0, -value, value))


def _least(a: Array, series: _Series) -> tuple[Array, Array]:
    """Whether 0 ≤ a is above 0.6; and the inverse sine of a, or where it is, of √((1 - a)/2)."""
    large = a > 0.6
    z = jnp.where(large, 0.5 - 0.5 * a, a * a)
    s = jnp.where(large, jnp.sqrt(z), a)
    return large, s + (s * z) * horner(series.asin, z)


def _signed(value: Array, like: Array, series: _Series) -> Array:
    """A value ≥ 0 with another's sign."""
    last = 8 * value.dtype.itemsize - 1
    sign = (lax.bitcast_convert_type(like, series.bits) >> last) << last
    return lax.bitcast_convert_type(lax.bitcast_convert_type(value, series.bits) | sign, value.dtype)


# ---------------------------------------------------------------- as JAX knows them


def _on_cpu(usual: Callable[..., Any], polynomial: Callable[..., Array]) -> Callable[..., Array]:
    def on_cpu(*arguments: Array) -> Array:
        series = _SERIES.get(arguments[0].dtype.name)
        return usual(*arguments) if series is None else polynomial(*arguments, series)

    return on_cpu


_asin = elementwise("asin", lax.asin, _on_cpu(lax.asin, _polynomial_asin))
_acos = elementwise("acos", lax.acos, _on_cpu(lax.acos, _polynomial_acos))
_atan = elementwise("atan", lax.atan, _on_cpu(lax.atan, _polynomial_atan))
_atan2 = elementwise("atan2", lax.atan2, _on_cpu(lax.atan2, _polynomial_atan2))
batching.defbroadcasting(_atan2)

ad.defjvp(_asin, lambda tangent, x: tangent * lax.rsqrt((1 - x) * (1 + x)))
ad.defjvp(_acos, lambda tangent, x: -tangent * lax.rsqrt((1 - x) * (1 + x)))
ad.defjvp(_atan, lambda tangent, x: tangent / (1 + x * x))
ad.defjvp(
    _atan2,
    lambda tangent, y, x: tangent * (x / (x * x + y * y)),
    lambda tangent, y, x: tangent * (-y / (x * x + y * y)),
)
