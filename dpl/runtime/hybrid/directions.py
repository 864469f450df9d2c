"""Reverse-mode derivatives, at forward-mode cost, of a function of few numbers whose loops only run forward.

The columns of the Jacobian are found together in forward mode, while the function itself is computed once; the product
with tangents is linear, and so JAX can transpose it. Each number that is differentiated costs time, so a function of
large arrays, as the weights of a network are, is computed by other loops, which store what reverse mode needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Literal

FEW = 16
"""Most entries of an array whose directions are pushed forward"""

Function = Callable[[Any], Any]


def read(function: Function, tree: Any) -> list[bool]:
    """Which leaves of its argument a function's value depends on, by the operations that it consists of."""
    closed = jax.make_jaxpr(function)(tree)
    jaxpr = closed.jaxpr
    needed = {v for v in jaxpr.outvars if not isinstance(v, Literal)}
    for eqn in reversed(jaxpr.eqns):
        if any(v in needed for v in eqn.outvars):
            needed |= {v for v in eqn.invars if not isinstance(v, Literal)}
    return [v in needed for v in jaxpr.invars]


def differentiable(function: Function, many: Function, tree: Any, reads: Sequence[bool]) -> Any:
    """The value of `function` at a tree of arrays, a tree of floats, with derivatives in both modes.

    Args:
        many: the same function by other loops, which is taken where an array that it reads is large; its derivatives
            may be in reverse mode only.
        reads: which leaves of the tree the function depends on.
    """
    leaves, structure = jax.tree.flatten(tree)
    if any(read and jnp.size(leaf) > FEW for read, leaf in zip(reads, leaves, strict=True)):
        return many(tree)

    @jax.custom_jvp
    def value(leaves: list[Array]) -> Any:
        return function(jax.tree.unflatten(structure, leaves))

    def rule(primals: Any, tangents: Any) -> tuple[Any, Any]:
        (leaves,), (moved,) = primals, tangents
        active = [n for n, tangent in enumerate(moved) if reads[n] and not isinstance(tangent, SymbolicZero)]

        def of_active(chosen: tuple[Array, ...]) -> Any:
            full = list(leaves)
            for n, leaf in zip(active, chosen, strict=True):
                full[n] = leaf
            return function(jax.tree.unflatten(structure, full))

        at, tangent = tuple(leaves[n] for n in active), tuple(moved[n] for n in active)
        if not active:
            out = of_active(at)
            return out, jax.tree.map(jnp.zeros_like, out)
        return _pushed(of_active, at, tangent)

    value.defjvp(rule, symbolic_zeros=True)
    return value(leaves)


def _pushed(function: Function, at: tuple[Array, ...], tangent: tuple[Array, ...]) -> tuple[Any, Any]:
    """Value and tangent; the tangent as a product of the Jacobian, whose columns are found in forward mode."""
    size = sum(leaf.size for leaf in at)
    dtype = jnp.result_type(*at)
    rows, offset = [], 0
    for leaf in at:
        ones = jnp.zeros((size, leaf.size), dtype).at[offset + jnp.arange(leaf.size), jnp.arange(leaf.size)].set(1)
        rows.append(ones.reshape(size, *leaf.shape).astype(leaf.dtype))
        offset += leaf.size
    push = lambda *direction: jax.jvp(function, (at,), (direction,))  # noqa: E731
    out, columns = jax.vmap(push, out_axes=(None, 0))(*rows)
    flat = jnp.concatenate([leaf.reshape(math.prod(leaf.shape)).astype(dtype) for leaf in tangent])
    return out, jax.tree.map(lambda c: jnp.tensordot(flat.astype(c.dtype), c, 1), columns)
