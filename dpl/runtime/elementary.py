"""Sine and cosine as polynomials that XLA vectorises on CPUs; elsewhere XLA's own. They follow the dtype.

On a CPU XLA works out its own sine number by number. Here the angle is reduced to -π/4..π/4 by a multiple of π/2, and
the sine and cosine of what is left are two polynomials. XLA finds by itself what sin and cos of one angle share.

Error on CPUs: at most 2 ulp for |x| ≤ 1e8. Beyond, as if the angle were off by 2e-16 |x| at most.
Above 2^49, where an angle in double precision has no fourth decimal left, the result is NaN.

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

# ---------------------------------------------------------------- the functions


def sin(x: Any) -> Array:
    """Sine."""
    return _sin.bind(_inexact(x))


def cos(x: Any) -> Array:
    """Cosine."""
    return _cos.bind(_inexact(x))


def _inexact(x: Any) -> Array:
    """Whole numbers and truth values become floating-point numbers of the default size."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(float)


# ---------------------------------------------------------------- on a CPU

LARGEST = 2.0**49
"""Up to here the multiple of π/2 is told rightly"""


@dataclass(frozen=True)
class _Series:
    """What is needed for one precision. Coefficients are minimax in relative error over |r| ≤ π/4, z = r²."""

    sin: Sequence[float]
    """sin r = r + r z (a + b z + …)"""
    cos: Sequence[float]
    """cos r = 1 - z/2 + z² (a + b z + …)"""
    quarter: Sequence[float]
    """π/2 as a sum whose parts but the last have 27 bits at most: their products with integers up to 2^26 are exact,
    with or without fused multiply-add (Cody and Waite 1980, Software Manual for the Elementary Functions, ch. 8)."""


_SERIES = {
    "float32": _Series(
        (-0.1666665457323774, 0.00833215840938012, -0.00019514957275368946),
        (0.04166664561898964, -0.0013887313071868892, 2.4432786044856052e-05),
        (1.570796325802803, 9.920935796805404e-10),
    ),
    "float64": _Series(
        (
            -0.1666666666666663, 0.008333333333322063, -0.00019841269829542612,
            2.7557313604512826e-06, -2.5050745034328742e-08, 1.5896067258223704e-10,
        ),
        (
            0.041666666666666595, -0.0013888888888872975, 2.4801587288799974e-05,
            -2.7557314163955454e-07, 2.0875698705096964e-09, -1.1358423319286531e-11,
        ),
        (1.570796325802803, 9.92093629470503e-10, -4.97899623147991e-17, -1.9034889620193266e-25),
    ),
}  # fmt: skip


def _reduced(x: Array, series: _Series) -> tuple[Array, Array, Array]:
    """sin r and cos r of x = r + n π/2 with |r| ≤ π/4, and n modulo 4 as one of -2, -1, 0, 1, 2.

    Both precisions reduce in double precision, which lets single precision do with two parts.
    """
    wide = x.astype(jnp.float64)
    n = lax.round(wide * (2 / math.pi), lax.RoundingMethod.TO_NEAREST_EVEN)
    r = wide
    for part in series.quarter:
        r = r - n * part
    r = jnp.where(jnp.abs(wide) <= LARGEST, r, math.nan).astype(x.dtype)
    turn = (n - 4 * lax.round(0.25 * n, lax.RoundingMethod.TO_NEAREST_EVEN)).astype(x.dtype)
    z = r * r
    return r + r * z * _horner(series.sin, z), (1 - 0.5 * z) + z * z * _horner(series.cos, z), turn


def _horner(coefficients: Sequence[float], z: Array) -> Array:
    value = jnp.full_like(z, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * z + coefficient
    return value


def _polynomial_sin(x: Array, series: _Series) -> Array:
    s, c, turn = _reduced(x, series)
    size = jnp.abs(turn)
    return jnp.where(x == 0, x, jnp.where(size == 1, c * turn, s * (1 - size)))  # 0 keeps its sign


def _polynomial_cos(x: Array, series: _Series) -> Array:
    s, c, turn = _reduced(x, series)
    size = jnp.abs(turn)
    return jnp.where(size == 1, -(s * turn), c * (1 - size))


# ---------------------------------------------------------------- as JAX knows them


def _primitive(name: str, usual: Callable[[Any], Any], polynomial: Callable[[Array, _Series], Array]) -> Primitive:
    """An elementwise function: `polynomial` on CPUs for the precisions of `_SERIES`, else `usual`."""

    def on_cpu(x: Array) -> Array:
        series = _SERIES.get(x.dtype.name) if jax.config.read("jax_enable_x64") else None
        return usual(x) if series is None else polynomial(x, series)

    primitive = Primitive(name)
    primitive.def_abstract_eval(lambda x: x)
    primitive.def_impl(jax.jit(primitive.bind))
    batching.defvectorized(primitive)
    mlir.register_lowering(primitive, mlir.lower_fun(usual, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(jax.jit(on_cpu), multiple_results=False), platform="cpu")
    return primitive


_sin = _primitive("sin", lax.sin, _polynomial_sin)
_cos = _primitive("cos", lax.cos, _polynomial_cos)

ad.defjvp(_sin, lambda tangent, x: tangent * cos(x))
ad.defjvp(_cos, lambda tangent, x: -tangent * sin(x))
