"""Reductions over time of a run with instants: what is recorded as smooth pieces, none of which spans an instant.

Between the ends of a piece a quantity is the cubic (Hermite) through both with their slopes; one that is held keeps
its first value. Pieces may be empty (of no length); they stand in the order of time. Times in seconds, all in SI.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax


class Pieces(NamedTuple):
    """`times` [pieces, 2], and of one quantity values and slopes there [pieces, 2]."""

    times: Array
    values: Array
    slopes: Array


def of(times: Array, values: Array, slopes: Array, held: bool) -> Pieces:
    """The pieces of one quantity."""
    if held:
        return Pieces(times, jnp.stack([values[:, 0], values[:, 0]], 1), jnp.zeros_like(slopes))
    return Pieces(times, values, slopes)


def at(p: Pieces, t: Any) -> Array:
    """The value at time `t`, after what happens at that instant; beyond the end of the run as it was there."""
    t = jnp.asarray(t, p.values.dtype)
    where = lax.stop_gradient(t)
    start, end = lax.stop_gradient(p.times[:, 0]), lax.stop_gradient(p.times[:, 1])
    slack = 1e-9 * (jnp.max(end) - jnp.min(start))
    number = jnp.arange(len(start))
    i = jnp.maximum(jnp.max(jnp.where((end > start) & (start <= where + slack), number, -1)), 0)
    width = p.times[i, 1] - p.times[i, 0]
    share = jnp.clip((t - p.times[i, 0]) / jnp.where(width > 0, width, 1.0), 0.0, 1.0)
    (a, b), (d, e) = p.values[i], p.slopes[i]
    return a + share**2 * (3 - 2 * share) * (b - a) + width * share * (1 - share) * ((1 - share) * d - share * e)


def _window(p: Pieces, start: Any, until: Any) -> tuple[Array, Array]:
    """All values that count between two times, borders included, and which of them do."""
    slack = 1e-9 * (jnp.max(p.times) - jnp.min(p.times))
    inside = jnp.broadcast_to((p.times[:, 1] > p.times[:, 0])[:, None], p.times.shape)
    values, counts = [p.values.ravel()], []
    for border, sign in ((start, 1.0), (until, -1.0)):
        if border is not None:
            inside = inside & (sign * (p.times - border) >= -slack)
            values.append(at(p, border)[None])
            counts.append(jnp.ones(1, bool))
    return jnp.concatenate(values), jnp.concatenate([inside.ravel(), *counts])


def _value_at(p: Pieces, begin: Any, end: Any, start: Any, until: Any, t: Any) -> Array:
    return at(p, t)


def _peak(p: Pieces, begin: Any, end: Any, start: Any, until: Any) -> Array:
    values, inside = _window(p, start, until)
    return jnp.max(jnp.where(inside, values, -jnp.inf))


def _lowest(p: Pieces, begin: Any, end: Any, start: Any, until: Any) -> Array:
    values, inside = _window(p, start, until)
    return jnp.min(jnp.where(inside, values, jnp.inf))


def _fraction(p: Pieces, begin: Any, end: Any, start: Any, until: Any) -> Array:
    """Share of the window's time in which a condition holds: by its values at the ends of each piece."""
    overlap = jnp.minimum(p.times[:, 1], end) - jnp.maximum(p.times[:, 0], begin)
    return jnp.sum(0.5 * jnp.sum(p.values, 1) * jnp.maximum(overlap, 0.0)) / (end - begin)


def _settling_time(p: Pieces, begin: Any, end: Any, start: Any, until: Any, goal: Any, band: Any) -> Array:
    """Time from the window's start after which |e - goal| stays within the band; the window's length if it never does.

    Located by linear interpolation within the last piece that has an end outside, so that it has a derivative.
    """
    times = p.times
    counts = ((times[:, 1] > times[:, 0]) & (times[:, 1] > begin) & (times[:, 0] < end))[:, None]
    excess = jnp.abs(p.values - goal) - band
    outside = jnp.any(counts & (excess > 0), 1)
    number = jnp.arange(len(times))
    last = jnp.max(jnp.where(outside, number, -1))
    i = jnp.maximum(last, 0)
    drop = excess[i, 0] - excess[i, 1]
    share = jnp.clip(excess[i, 0] / jnp.where(drop > 0, drop, 1.0), 0.0, 1.0)
    settled = times[i, 0] + jnp.where(excess[i, 1] > 0, 1.0, share) * (times[i, 1] - times[i, 0])
    never = (excess[i, 1] > 0) & (lax.stop_gradient(times[i, 1]) >= lax.stop_gradient(end) * (1 - 1e-9))
    within = jnp.clip(settled, begin, end) - begin
    return jnp.where(last < 0, 0.0, jnp.where(never, end - begin, within))


REDUCTIONS: Mapping[str, Callable[..., Array]] = {
    "value_at": _value_at,
    "peak": _peak,
    "lowest": _lowest,
    "fraction": _fraction,
    "settling_time": _settling_time,
}
"""(pieces, begin, end, from, until, further arguments) -> one number; `begin` and `end` [s] of the window in the run"""
