"""Bounds kept by a smooth bijection: any real number on one side, the allowed interval on the other.

`inward(outward(x)) = x` inside the bounds; a value on or beyond a border is first moved slightly inside, so that
nothing is infinite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from dpl.runtime.spec import Free, Given, Param, Start

MARGIN = 1e-6
"""How far inside, as a share of the interval (of the scale, if it has one end), a value at a border is moved."""


@dataclass(frozen=True)
class Bounds:
    """An interval [SI], open where None, on a log scale if `log`.

    `scale` is the size of a typical change where an end is open.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    scale: float = 1.0

    def inward(self, u: Any) -> Array:
        """The value within the bounds that belongs to any real number(s) `u`."""
        if self.log:
            return jnp.exp(_inward(u, *self._logs(), 1.0))
        return _inward(u, self.low, self.high, self.scale)

    def outward(self, x: Any) -> Array:
        """The real number(s) that `inward` maps to `x`."""
        if self.log:
            return _outward(jnp.log(jnp.maximum(x, 1e-300 if self.low is None else self.low)), *self._logs(), 1.0)
        return _outward(x, self.low, self.high, self.scale)

    @property
    def ends(self) -> list[tuple[float, float | None]]:
        """Each end that is not open, with the one across."""
        return [(a, b) for a, b in ((self.low, self.high), (self.high, self.low)) if a is not None]

    def share(self, x: Any, end: float, other: float | None) -> Array:
        """How far `x` is from one of the `ends`, as a share of the interval (of the scale, if it has one end)."""
        if self.log and other is not None:
            return jnp.abs(jnp.log(x) - math.log(end)) / abs(math.log(other) - math.log(end))
        return jnp.abs(x - end) / (self.scale if other is None else abs(other - end))

    def within(self, share: Any, end: float, other: float | None) -> Array:
        """The value so far inside from one of the `ends`."""
        if self.log and other is not None:
            return jnp.exp(jnp.log(end) + share * (jnp.log(other) - jnp.log(end)))
        if other is None:
            return end + (share if end == self.low else -share) * self.scale
        return end + share * (other - end)

    def _logs(self) -> tuple[float | None, float | None]:
        return _log(self.low), _log(self.high)


def of(declaration: Param | Given | Free | Start, low: float | None = None, high: float | None = None) -> Bounds:
    """The bounds of what varies, narrowed by a task's own."""
    value = None if isinstance(declaration, Free) else declaration.value
    if isinstance(declaration, Start):
        return Bounds(_tighter(None, low, max), _tighter(None, high, min), False, _size(value, declaration.unit.scale))
    log = not isinstance(declaration, Given) and declaration.log
    scale = _size(value, declaration.unit.scale)
    return Bounds(_tighter(declaration.low, low, max), _tighter(declaration.high, high, min), log, scale)


def _size(value: Any, unit: float) -> float:
    return max((abs(v) for v in _leaves(value)), default=0.0) or unit


def _tighter(a: float | None, b: float | None, pick: Any) -> float | None:
    finite = [v for v in (a, b) if v is not None and math.isfinite(v)]
    return pick(finite) if finite else None


def _leaves(value: Any) -> list[float]:
    if value is None:
        return []
    return [leaf for v in value for leaf in _leaves(v)] if isinstance(value, tuple) else [float(value)]


def _log(bound: float | None) -> float | None:
    return math.log(bound) if bound is not None and 0 < bound < math.inf else None


def _inward(u: Any, low: float | None, high: float | None, scale: float) -> Array:
    if low is not None and high is not None:
        return low + (high - low) * jax.nn.sigmoid(u)
    if low is not None:
        return low + scale * jax.nn.softplus(u)
    if high is not None:
        return high - scale * jax.nn.softplus(u)
    return scale * u


def _outward(x: Any, low: float | None, high: float | None, scale: float) -> Array:
    if low is not None and high is not None:
        share = jnp.clip((x - low) / (high - low), MARGIN, 1 - MARGIN)
        return jnp.log(share) - jnp.log1p(-share)
    if low is not None:
        return _inverse_softplus(jnp.maximum((x - low) / scale, MARGIN))
    if high is not None:
        return _inverse_softplus(jnp.maximum((high - x) / scale, MARGIN))
    return x / scale


def _inverse_softplus(y: Array) -> Array:
    return y + jnp.log(-jnp.expm1(-y))
