"""Reductions over time: from integrals and recorded series to one number each. Times in seconds, everything in SI.

What a reduction needs is recorded and no more: a run whose losses are averages keeps no series at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dpl.runtime.plan import Plan
from dpl.runtime.solve import Point, Solution
from dpl.runtime.spec import Reduction, Scenario
from dpl.runtime.ticks import Tuple

Arguments = tuple[Any, Any, tuple[Any, ...]]
"""`from`, `until` [s], None where not given; further arguments"""


class Series(NamedTuple):
    """A quantity on a grid of times; one that is held keeps a value until the next point."""

    times: Any
    values: Array
    held: bool
    last: Any
    """The index of the run's end: what is behind it is not of the run"""


# ---------------------------------------------------------------- between grid points


def _cell(times: Any, t: Any, last: Any) -> Array:
    """Index of the grid interval that holds `t`; an instant on the grid belongs to the interval it begins."""
    width = (times[last] - times[0]) / (max(last, 1) if isinstance(last, int) else last.astype(times.dtype))
    slack = 1e-9 * width
    grid = jnp.asarray(times - slack)
    index = jnp.searchsorted(grid, lax.stop_gradient(jnp.asarray(t, grid.dtype)), side="right") - 1
    return jnp.clip(index, 0, last - 1)


def at(series: Series, t: Any) -> Array:
    """The value at time `t`: the last one if held, else the cubic (or less) through the nearest four points."""
    times, values, held, last = series
    if len(times) == 1:
        return values[0]
    i = _cell(times, t, last)
    if held:
        return values[jnp.where(jnp.asarray(t) >= times[last] * (1 - 1e-12), last, i)]
    count = min(4, len(times))
    first = jnp.clip(i - 1, 0, jnp.maximum(last + 1 - count, 0).astype(i.dtype))
    nodes = [jnp.asarray(times, values.dtype)[first + k] for k in range(count)]
    total: Any = 0.0
    for k, node in enumerate(nodes):
        weight: Any = 1.0
        for other in (*nodes[:k], *nodes[k + 1 :]):
            weight = weight * (t - other) / (node - other)
        total = total + weight * values[first + k]
    return total


def _integral_until(series: Series, slopes: Array, t: Any) -> Array:
    """An integral at time `t`: linear if its integrand is held, else the cubic (Hermite) through both."""
    times, values, held, last = series
    i = _cell(times, t, last)
    grid = jnp.asarray(times, values.dtype)
    width = grid[i + 1] - grid[i]
    s = (t - grid[i]) / width
    a, b = values[i], values[i + 1]
    if held:
        return a + s * (b - a)
    return a + s * s * (3 - 2 * s) * (b - a) + width * s * (1 - s) * ((1 - s) * slopes[i] - s * slopes[i + 1])


def _window(series: Series, start: Any, until: Any) -> tuple[Array, Array]:
    """All values that count between two times, borders included, and which of them do."""
    times = series.times
    inside = jnp.arange(len(times), dtype=jnp.int32) <= series.last
    values = [series.values]
    masks = [inside]
    slack = 1e-9 * (times[series.last] - times[0])
    for border, sign in ((start, 1.0), (until, -1.0)):
        if border is not None:
            masks[0] = masks[0] & (sign * (times - border) >= -slack)
            values.append(at(series, border)[None])
            masks.append(jnp.ones(1, bool))
    return jnp.concatenate(values), jnp.concatenate(masks)


# ---------------------------------------------------------------- the reductions


@dataclass(frozen=True)
class Measured:
    """What a solve left for reductions to read."""

    times: Any
    last: Any
    solution: Solution
    initial: Tuple
    final: Tuple

    def recorded(self, r: Reduction) -> Series:
        return Series(self.times, jnp.asarray(self.solution.series.recorded[r.index]), r.held, self.last)


def _integral(m: Measured, r: Reduction, start: Any, until: Any) -> Array:
    if start is None and until is None:
        return m.solution.totals[r.index]
    kept = m.solution.series
    series = Series(m.times, kept.totals[r.index], r.held, m.last)
    low = 0.0 if start is None else _integral_until(series, kept.integrands[r.index], start)
    high = m.solution.totals[r.index] if until is None else _integral_until(series, kept.integrands[r.index], until)
    return high - low


def _average(m: Measured, r: Reduction, start: Any, until: Any) -> Array:
    begin, end = _span(m, start, until)
    return _integral(m, r, start, until) / (end - begin)


def _span(m: Measured, start: Any, until: Any) -> tuple[Any, Any]:
    first, last = (m.times[i].item() if isinstance(m.times, np.ndarray) else m.times[i] for i in (0, m.last))
    return first if start is None else start, last if until is None else until


def _initial(m: Measured, r: Reduction, start: Any, until: Any) -> Array:
    return m.initial[r.index]


def _final(m: Measured, r: Reduction, start: Any, until: Any) -> Array:
    return m.final[r.index]


def _value_at(m: Measured, r: Reduction, start: Any, until: Any, t: Any) -> Array:
    return at(m.recorded(r), t)


def _peak(m: Measured, r: Reduction, start: Any, until: Any) -> Array:
    values, inside = _window(m.recorded(r), start, until)
    return jnp.max(jnp.where(inside, values, -jnp.inf))


def _lowest(m: Measured, r: Reduction, start: Any, until: Any) -> Array:
    values, inside = _window(m.recorded(r), start, until)
    return jnp.min(jnp.where(inside, values, jnp.inf))


def _fraction(m: Measured, r: Reduction, start: Any, until: Any) -> Array:
    """Share of the window's time in which a condition holds: by its values at the ends of each grid interval."""
    begin, end = _span(m, start, until)
    series = m.recorded(r)
    truth = series.values.astype(m.solution.totals[0].dtype if m.solution.totals else float)
    per_cell = truth[:-1] if series.held else 0.5 * (truth[:-1] + truth[1:])
    overlap = jnp.minimum(m.times[1:], end) - jnp.maximum(m.times[:-1], begin)
    return jnp.sum(per_cell * jnp.maximum(overlap, 0.0)) / (end - begin)


def _settling_time(m: Measured, r: Reduction, start: Any, until: Any, goal: Any, band: Any) -> Array:
    """Time from the window's start after which |e - goal| stays within the band; the window's length if it never does.

    Located by linear interpolation between the last point outside and the next one, so that it has a derivative.
    """
    begin, end = _span(m, start, until)
    series = m.recorded(r)
    inside_window = jnp.asarray((m.times >= begin) & (m.times <= end))
    excess = jnp.abs(series.values - goal) - band
    outside = (excess > 0) & inside_window
    last = jnp.max(jnp.where(outside, jnp.arange(len(m.times)), -1))
    i = jnp.clip(last, 0, len(m.times) - 2)
    times = jnp.asarray(m.times, excess.dtype)
    drop = excess[i] - excess[i + 1]
    share = 1.0 if series.held else excess[i] / jnp.where(drop > 0, drop, 1.0)
    settled = times[i] + share * (times[i + 1] - times[i])
    ends_outside = jnp.where(inside_window, outside, False)[
        jnp.max(jnp.where(inside_window, jnp.arange(len(m.times)), 0))
    ]
    return jnp.where(ends_outside, end - begin, jnp.where(last < 0, 0.0, jnp.minimum(settled, end) - begin))


REDUCTIONS: Mapping[str, Callable[..., Array]] = {
    "average": _average,
    "integral": _integral,
    "initial": _initial,
    "final": _final,
    "value_at": _value_at,
    "peak": _peak,
    "lowest": _lowest,
    "fraction": _fraction,
    "settling_time": _settling_time,
}
INTEGRALS = {"average", "integral"}
INSTANTS = {"initial", "final"}


# ---------------------------------------------------------------- what to record


class Kept(NamedTuple):
    """What is recorded at each grid point; empty where no reduction reads it."""

    recorded: Tuple
    totals: Tuple
    integrands: Tuple


@dataclass(frozen=True)
class Needs:
    """What the reductions of a scenario read of a run."""

    ends: bool
    recorded: bool
    totals: bool

    @property
    def series(self) -> bool:
        return self.recorded or self.totals


def needs(reductions: Sequence[Reduction], arguments: Sequence[Arguments]) -> Needs:
    """Read from the kinds of the reductions and from which windows are given."""
    windowed = [a[0] is not None or a[1] is not None for a in arguments]
    return Needs(
        ends=any(r.kind in INSTANTS for r in reductions),
        recorded=any(r.kind not in INTEGRALS | INSTANTS for r in reductions),
        totals=any(w and r.kind in INTEGRALS for w, r in zip(windowed, reductions, strict=True)),
    )


def keep(scenario: Scenario, c: Tuple, need: Needs, point: Point) -> Kept:
    """What the reductions need of one instant."""
    t, x, z, held, totals = point
    recorded = scenario.recorded(t, x, z, held, c) if need.recorded and scenario.recorded is not None else ()
    integrands = scenario.rhs(t, x, z, held, c)[1] if need.totals and scenario.rhs is not None else ()
    return Kept(tuple(recorded), totals if need.totals else (), tuple(integrands))


def reduce(
    scenario: Scenario, c: Tuple, arguments: Sequence[Arguments], plan: Plan, solution: Solution
) -> tuple[Array, ...]:
    """Every reduction of the scenario, in its order."""
    ends = (_instants(scenario, c, point) for point in (solution.first, solution.last))
    measured = Measured(plan.times(), plan.last(), solution, *ends)
    return tuple(
        jnp.asarray(REDUCTIONS[r.kind](measured, r, a[0], a[1], *a[2]))
        for r, a in zip(scenario.reductions, arguments, strict=True)
    )


def _instants(scenario: Scenario, c: Tuple, point: Point | None) -> Tuple:
    if point is None or scenario.instants is None:
        return ()
    return tuple(scenario.instants(point.t, point.x, point.z, point.held, c))


def arguments_of(scenario: Scenario, c: Tuple) -> tuple[Arguments, ...]:
    """Windows and further arguments of each reduction; none at all where the module gives none."""
    if scenario.reduction_arguments is None:
        return tuple((None, None, ()) for _ in scenario.reductions)
    return tuple(scenario.reduction_arguments(c))
