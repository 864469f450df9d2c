"""Which entry of a function's result may depend on which entry of its argument: read off its operations, so that it
holds for all values; and what follows for its Jacobian.

Where an operation is not known here, all of its results are taken to depend on all that it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.extend.core import Jaxpr, Literal

MOST_STATES = 4_000
"""Entries of the argument beyond which no pattern is looked for"""

Bits = np.ndarray
"""[*shape, bytes] for each entry of an array the set of entries of the argument that it may depend on"""

_INSIDE = frozenset(
    "pjit jit closed_call custom_jvp_call custom_vjp_call remat checkpoint custom_vjp_call_jaxpr".split()
)
_MOVING = frozenset(
    "slice reshape transpose squeeze broadcast_in_dim rev copy concatenate pad gather dynamic_slice "
    "dynamic_update_slice scatter expand_dims convert_element_type copy_p split".split()
)
"""Operations that only move entries about"""
_REDUCING = frozenset(["reduce_sum", "reduce_max", "reduce_min", "reduce_prod"])
_ENTRYWISE = frozenset(
    "add sub mul div rem neg sign abs max min pow integer_pow sqrt rsqrt cbrt exp exp2 expm1 log log1p sin cos tan "
    "asin acos atan atan2 sinh cosh tanh asinh acosh atanh logistic erf erf_inv erfc lgamma digamma floor ceil round "
    "clamp select_n eq ne lt le gt ge and or not xor is_finite nextafter square stop_gradient add_any".split()
)


def pattern(function: Callable[[Any], Any], argument: Any) -> np.ndarray:
    """[result, argument] truth values: whether the result may depend on the argument; both are vectors.

    Args:
        argument: an array or its shape and type.
    """
    closed = jax.make_jaxpr(function)(argument)
    size = argument.shape[0]
    first = np.packbits(np.eye(size, dtype=bool), axis=1)
    (bits,) = _through(closed.jaxpr, closed.consts, [first], first.shape[1])
    return np.unpackbits(bits, axis=1, count=size).astype(bool)


def _through(jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Bits | None], width: int) -> list[Bits]:
    """The bits of the results from those of the arguments; None stands for what does not depend at all."""
    known: dict[Any, Bits | None] = dict(zip(jaxpr.invars, arguments, strict=True))
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))

    def bits(v: Any) -> Bits | None:
        return None if isinstance(v, Literal) else known.get(v)

    def value(v: Any) -> Any:
        return v.val if isinstance(v, Literal) else values.get(v)

    for eqn in jaxpr.eqns:
        read, held = [bits(v) for v in eqn.invars], [value(v) for v in eqn.invars]
        if all(b is None for b in read):
            _evaluated(eqn, held, values)
            continue
        for v, b in zip(eqn.outvars, _results(eqn, read, held, width), strict=True):
            known[v] = b
    return [_full(bits(v), shape, width) for v, shape in zip(jaxpr.outvars, _shapes(jaxpr.outvars), strict=True)]


def _shapes(variables: Sequence[Any]) -> list[tuple[int, ...]]:
    return [v.aval.shape for v in variables]


def _evaluated(eqn: Any, held: list[Any], values: dict[Any, Any]) -> None:
    """Indices are worked out where they do not depend on anything, as those of a slice are."""
    small = all(np.issubdtype(v.aval.dtype, np.integer) or v.aval.dtype == bool for v in eqn.outvars)
    if small and all(h is not None and not isinstance(h, Tracer) for h in held) and "jaxpr" not in eqn.params:
        with jax.ensure_compile_time_eval():
            out = eqn.primitive.bind(*held, **eqn.params)
        out = out if eqn.primitive.multiple_results else [out]
        values.update(zip(eqn.outvars, out, strict=True))


def _results(eqn: Any, read: list[Bits | None], held: list[Any], width: int) -> list[Bits]:
    name, shapes = eqn.primitive.name, [v.aval.shape for v in eqn.outvars]
    if name in _ENTRYWISE:
        total = np.zeros((*shapes[0], width), np.uint8)
        for b, v in zip(read, eqn.invars, strict=True):
            if b is not None:
                total |= b if v.aval.shape else np.broadcast_to(b, total.shape)
        return [total]
    if name in _MOVING:
        moved = _moved(eqn, read, held, width)
        if moved is not None:
            return moved
    if name in _REDUCING:
        (b,) = read
        assert b is not None
        return [np.bitwise_or.reduce(b, axis=eqn.params["axes"])]
    inner = eqn.params.get("jaxpr") or eqn.params.get("call_jaxpr") or eqn.params.get("fun_jaxpr")
    if name in _INSIDE and inner is not None:
        jaxpr, consts = (inner.jaxpr, inner.consts) if hasattr(inner, "jaxpr") else (inner, ())
        return _through(jaxpr, consts, read, width)
    union = np.zeros(width, np.uint8)
    for b in read:
        if b is not None:
            union |= np.bitwise_or.reduce(b.reshape(-1, width), axis=0)
    return [np.broadcast_to(union, (*shape, width)) for shape in shapes]


def _moved(eqn: Any, read: list[Bits | None], held: list[Any], width: int) -> list[Bits] | None:
    """The same operation on the numbers of the entries tells where each goes; None where an index is unknown."""
    operands: list[Any] = []
    rows = [np.zeros((1, width), np.uint8)]
    count = 1
    for v, b, h in zip(eqn.invars, read, held, strict=True):
        shape, dtype = v.aval.shape, v.aval.dtype
        if np.issubdtype(dtype, np.integer) and h is not None and not isinstance(h, Tracer):
            operands.append(np.asarray(h))  # an index
        elif np.issubdtype(dtype, np.integer):
            return None
        elif b is None:
            operands.append(np.zeros(shape))
        else:
            size = int(np.prod(shape))
            operands.append((count + np.arange(size, dtype=float)).reshape(shape))
            rows.append(b.reshape(size, width))
            count += size
    params = {k: v for k, v in eqn.params.items() if k != "new_dtype"}
    if eqn.primitive.name == "convert_element_type":
        return [_full(read[0], eqn.outvars[0].aval.shape, width)]
    with jax.enable_x64(True), jax.ensure_compile_time_eval():
        out = eqn.primitive.bind(*(jax.numpy.asarray(o) for o in operands), **params)
    every = np.concatenate(rows)
    results = [np.asarray(a) for a in (out if eqn.primitive.multiple_results else [out])]
    return [every[np.where(np.isfinite(a), a, 0).astype(int)] for a in results]


def _full(bits: Bits | None, shape: tuple[int, ...], width: int) -> Bits:
    return np.zeros((*shape, width), np.uint8) if bits is None else np.broadcast_to(bits, (*shape, width))


# ---------------------------------------------------------------- what follows from a pattern


def colours(found: np.ndarray) -> np.ndarray:
    """[argument] numbers, such that no result depends on two entries of one colour.

    One product with the Jacobian then gives all columns of a colour (Curtis, Powell and Reid 1974, IMA J. Appl. Math.
    13, 117); first fit, in order.
    """
    at, rows = np.nonzero(found.T)
    starts = np.searchsorted(at, np.arange(found.shape[1] + 1))
    taken: list[set[int]] = [set() for _ in range(len(found))]
    given = np.zeros(found.shape[1], int)
    for j in range(found.shape[1]):
        mine = rows[starts[j] : starts[j + 1]].tolist()
        used = set[int]().union(*(taken[i] for i in mine))
        given[j] = next(c for c in range(len(used) + 1) if c not in used)
        for i in mine:
            taken[i].add(int(given[j]))
    return given


def banded_order(found: np.ndarray) -> tuple[np.ndarray, int]:
    """An order of the states in which neighbours are near, and the width of the band in it.

    That of the text where it is narrow already, else Cuthill and McKee's (1969, Proc. 24th ACM Conf., 157), reversed.
    """
    both = found | found.T
    own = np.arange(len(found))
    best = own, _width(both, own)
    if best[1] > 1:
        order = _cuthill_mckee(both)
        width = _width(both, order)
        best = min(best, (order, width), key=lambda b: b[1])
    return best


def _width(both: np.ndarray, order: np.ndarray) -> int:
    i, j = np.nonzero(both[np.ix_(order, order)])
    return int(np.max(np.abs(i - j), initial=0))


def _cuthill_mckee(both: np.ndarray) -> np.ndarray:
    degrees = both.sum(axis=1)
    left = np.ones(len(both), bool)
    order: list[int] = []
    while left.any():
        candidates = np.flatnonzero(left)
        start = int(candidates[np.argmin(degrees[candidates])])
        left[start] = False
        order.append(start)
        at = len(order) - 1
        while at < len(order):
            near = np.flatnonzero(both[order[at]] & left)
            near = near[np.argsort(degrees[near], kind="stable")]
            left[near] = False
            order += near.tolist()
            at += 1
    return np.array(order[::-1], int)
