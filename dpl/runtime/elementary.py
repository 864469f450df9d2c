"""Sine, cosine and tangent as polynomials that XLA vectorises on CPUs; elsewhere XLA's own. They follow the dtype.

On a CPU XLA works out its own sine number by number. Here the angle is reduced to -π/4..π/4 by a multiple of π/2, in
its own precision, and the sine and cosine of what is left are two polynomials; quadrant and sign are set by
logic on bits. Where sin and cos of one angle meet, XLA shares what they share.

Error on CPUs: at most 2 ulp, of the tangent 3.1, for |x| ≤ 4e5 in single and |x| ≤ 1e13 in double precision. Beyond,
the whole array is given to XLA's own functions: 1 ulp, but for the few doubles that lie nearest to a multiple of π/2,
whose sine or cosine of 1e-17 may be off by 1e-28.

That choice is a branch, around which XLA merges no loops. So there is a second form for the slopes of a model,
`sin_near` and so on, without it: beyond, they are as if the angle were off by half of its last digit at most; above
2^22 and 2^49, where an angle has next to no digits left, they are NaN. A run that meets NaN is repeated with the
first form (`program.py`, `anywhere.py`).

Each function is one primitive of JAX: one operation to trace, to batch and to differentiate, whose platform is known
when it is lowered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from dpl.runtime.once import once

# ---------------------------------------------------------------- the functions


def sin(x: Any) -> Array:
    """Sine of any angle."""
    return _sin.bind(inexact(x))


def cos(x: Any) -> Array:
    """Cosine of any angle."""
    return _cos.bind(inexact(x))


def tan(x: Any) -> Array:
    """Tangent of any angle."""
    return _tan.bind(inexact(x))


def sin_near(x: Any) -> Array:
    """Sine without a branch; on CPUs NaN where |x| is above 2^22 in single and 2^49 in double precision."""
    return _sin_near.bind(inexact(x))


def cos_near(x: Any) -> Array:
    """Cosine, likewise."""
    return _cos_near.bind(inexact(x))


def tan_near(x: Any) -> Array:
    """Tangent, likewise: within 3.1 ulp on CPUs."""
    return _tan_near.bind(inexact(x))


def inexact(x: Any) -> Array:
    """Whole numbers and truth values become floating-point numbers of the default size."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(float)


# ---------------------------------------------------------------- on a CPU


@dataclass(frozen=True)
class _Series:
    """What is needed for one precision. Coefficients are minimax in relative error over |r| a little beyond π/4, where
    the multiple of π/2 is one too few or too many for a large angle; z = r²."""

    bits: Any
    """The unsigned integers of this size"""
    digits: int
    """Of the mantissa: a whole number n plus 1.5 2^digits ends in n's lowest bits"""
    sure: float
    """Up to here the error is at most 2 ulp"""
    largest: float
    """Up to here the multiple of π/2 is told well enough"""
    sin: Sequence[float]
    """sin r = r + r z (a + b z + …)"""
    cos: Sequence[float]
    """cos r = 1 - z/2 + z² (a + b z + …)"""
    quarter: Sequence[float]
    """π/2 as a sum, each part with all its digits: n times a part is subtracted by one fused multiply-add, which the
    first time is exact (Cody and Waite 1980, Software Manual for the Elementary Functions, ch. 8)"""


_SERIES = {
    "float32": _Series(
        jnp.uint32, 23, 4e5, 2.0**22,
        (-0.16666649283569696, 0.008331838102110719, -0.0001947333494460545),
        (0.041666636262091654, -0.0013886877349720188, 2.4385153977025626e-05),
        (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    ),
    "float64": _Series(
        jnp.uint64, 52, 1e13, 2.0**49,
        (
            -0.16666666666666624, 0.008333333333320229, -0.00019841269828042073,
            2.7557313074002844e-06, -2.5050660633597772e-08, 1.5891108339724003e-10,
        ),
        (
            0.041666666666666574, -0.001388888888887036, 2.4801587287147023e-05,
            -2.755731368174455e-07, 2.08756326162048e-09, -1.1354977709153342e-11,
        ),
        (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
    ),
}  # fmt: skip


def _reduced(x: Array, series: _Series) -> tuple[Array, Array, Array]:
    """sin r and cos r of x = r + n π/2 with |r| ≤ π/4, and bits of which the lowest two are those of n."""
    n = lax.round(x * (2 / math.pi), lax.RoundingMethod.TO_NEAREST_EVEN)
    r = x
    for part in series.quarter:
        r = r - n * part
    z = r * r
    sine, cosine = r + (r * z) * horner(series.sin, z), (1 - 0.5 * z) + (z * z) * horner(series.cos, z)
    return sine, cosine, lax.bitcast_convert_type(n + 1.5 * 2.0**series.digits, series.bits)


def horner(coefficients: Sequence[float], z: Array) -> Array:
    """The polynomial with these coefficients, the constant first."""
    value = jnp.full_like(z, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * z + coefficient
    return value


def _polynomial_sin(x: Array, series: _Series) -> Array:
    """sin r or cos r as n is even or odd, negated by each second n; 0 keeps its sign."""
    sine, cosine, n = _reduced(x, series)
    value = _negated(lax.select(_odd(n), cosine, sine), n >> 1)
    return lax.select(x == 0, x, _told(x, value, series))


def _polynomial_cos(x: Array, series: _Series) -> Array:
    """The sine of the next quadrant."""
    sine, cosine, n = _reduced(x, series)
    return _told(x, _negated(lax.select(_odd(n), sine, cosine), (n + 1) >> 1), series)


def _polynomial_tan(x: Array, series: _Series) -> Array:
    """sin r / cos r, or -cos r / sin r where n is odd; 0 keeps its sign."""
    sine, cosine, n = _reduced(x, series)
    value = lax.select(_odd(n), -cosine, sine) / lax.select(_odd(n), sine, cosine)
    return lax.select(x == 0, x, _told(x, value, series))


def _told(x: Array, value: Array, series: _Series) -> Array:
    """The value, or NaN where there is none to tell."""
    return lax.select(jnp.abs(x) <= series.largest, value, jnp.full_like(value, math.nan))


def _odd(n: Array) -> Array:
    return (n & 1) == 1


def _negated(value: Array, times: Array) -> Array:
    """With its sign changed so many times."""
    sign = times << (8 * times.dtype.itemsize - 1)
    return lax.bitcast_convert_type(lax.bitcast_convert_type(value, times.dtype) ^ sign, value.dtype)


# ---------------------------------------------------------------- as JAX knows them


_Polynomial = Callable[[Array, _Series], Array]


def _near(usual: Callable[[Any], Any], polynomial: _Polynomial) -> Callable[[Array], Array]:
    """The polynomial for the precisions of `_SERIES`, else `usual`."""

    def on_cpu(x: Array) -> Array:
        series = _SERIES.get(x.dtype.name)
        return usual(x) if series is None else once(polynomial(x, series))

    return on_cpu


def _anywhere(usual: Callable[[Any], Any], polynomial: _Polynomial) -> Callable[[Array], Array]:
    """The polynomial where all numbers are small enough for it, else `usual`."""

    def on_cpu(x: Array) -> Array:
        series = _SERIES.get(x.dtype.name)
        if series is None:
            return usual(x)
        return lax.cond(jnp.all(jnp.abs(x) <= series.sure), lambda x: polynomial(x, series), usual, x)

    return on_cpu


def elementwise(name: str, usual: Callable[..., Any], on_cpu: Callable[..., Array]) -> Primitive:
    """An elementwise function of arrays of one shape and type: `on_cpu` there, else `usual`."""
    primitive = Primitive(name)
    primitive.def_abstract_eval(lambda x, *_: x)
    primitive.def_impl(jax.jit(primitive.bind))
    batching.defvectorized(primitive)
    mlir.register_lowering(primitive, mlir.lower_fun(usual, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(jax.jit(on_cpu), multiple_results=False), platform="cpu")
    return primitive


_sin = elementwise("sin", lax.sin, _anywhere(lax.sin, _polynomial_sin))
_cos = elementwise("cos", lax.cos, _anywhere(lax.cos, _polynomial_cos))
_tan = elementwise("tan", lax.tan, _anywhere(lax.tan, _polynomial_tan))
_sin_near = elementwise("sin", lax.sin, _near(lax.sin, _polynomial_sin))
_cos_near = elementwise("cos", lax.cos, _near(lax.cos, _polynomial_cos))
_tan_near = elementwise("tan", lax.tan, _near(lax.tan, _polynomial_tan))

ad.defjvp(_sin, lambda tangent, x: tangent * cos(x))
ad.defjvp(_cos, lambda tangent, x: -tangent * sin(x))
ad.defjvp(_sin_near, lambda tangent, x: tangent * cos_near(x))
ad.defjvp(_cos_near, lambda tangent, x: -tangent * sin_near(x))
for _each in (_tan, _tan_near):
    ad.defjvp2(_each, lambda tangent, value, x: tangent * (1 + value * value))
