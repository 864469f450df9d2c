"""A value that XLA works out once on CPUs, however many loops read it.

XLA merges what it thinks cheap with every loop that reads it, and so repeats it there: a sine in the slope of three
states is worked out three times over all runs of a batch. A division it thinks dear. So the value is divided by a 1
that XLA's simplifier does not see through, for it follows no single bits; LLVM, which comes after, does, and drops the
division. In a compiler that judged otherwise the value would still be the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def once(x: Any) -> Array:
    """x, kept in memory on CPUs where it is an array of floating-point numbers; its derivatives too."""
    return _once.bind(x)


def once_in_derivatives(x: Any) -> Array:
    """x as it is; where it is differentiated, `once` of it and of its derivative."""
    return _once_in_derivatives.bind(x)


_ONE = {"float32": (jnp.uint32, 0x3F800000), "float64": (jnp.uint64, 0x3FF0000000000000)}


def _divided_by_one(x: Array) -> Array:
    if x.dtype.name not in _ONE or x.shape == ():
        return x
    unsigned, one = _ONE[x.dtype.name]
    half = jnp.full(x.shape, 4 * x.dtype.itemsize, unsigned)
    nothing = lax.bitcast_convert_type(x, unsigned)
    for _ in range(2):  # no bit is left
        nothing = lax.shift_right_logical(nothing, half)
    return x / lax.bitcast_convert_type(nothing | unsigned(one), x.dtype)


_once = Primitive("once")
_once.def_impl(lambda x: x)
_once.def_abstract_eval(lambda x: x)
batching.defvectorized(_once)
ad.deflinear(_once, lambda tangent: [once(tangent)])
mlir.register_lowering(_once, lambda _, x: [x])
mlir.register_lowering(_once, mlir.lower_fun(_divided_by_one, multiple_results=False), platform="cpu")


def _once_and_tangent(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Array, Any]:
    (x,), (tangent,) = primals, tangents
    return once(x), tangent if isinstance(tangent, ad.Zero) else once(tangent)


_once_in_derivatives = Primitive("once_in_derivatives")
_once_in_derivatives.def_impl(lambda x: x)
_once_in_derivatives.def_abstract_eval(lambda x: x)
batching.defvectorized(_once_in_derivatives)
ad.primitive_jvps[_once_in_derivatives] = _once_and_tangent
mlir.register_lowering(_once_in_derivatives, lambda _, x: [x])
