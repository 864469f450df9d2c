"""What `simulate` shows: every observed quantity on an output grid, and notes about ranges and limits.

The output grid never changes a measure: those are taken on the solver's own points.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import hybrid, solve, using
from dpl.runtime.plan import Plan
from dpl.runtime.solve import Point, Problem
from dpl.runtime.spec import Method, Scenario, Unit, Values
from dpl.runtime.ticks import Tuple

POINTS = 200
"""Intervals of the output grid where none are asked for"""
TICKS = 1000
"""Sampled runs of at most so many ticks are shown tick by tick"""


def grid(scenario: Scenario, method: Method, points: int | None) -> np.ndarray:
    """Output times [s], known before the run; `points` intervals where given."""
    run = scenario.run
    if run is None:
        return np.zeros(1)
    if points is None and not scenario.states and run.base is not None:
        ticks = solve.plan(scenario, method).grid()
        if len(ticks) <= TICKS + 1:
            return ticks
    return run.start + np.arange((points or POINTS) + 1) / (points or POINTS) * run.duration


def trajectory(
    scenario: Scenario, method: Method, times: np.ndarray, values: Values
) -> tuple[dict[str, Any], Any, Any]:
    """Every observed quantity [SI] over the times, the ranges [SI], and the status.

    Where tables and signals are read is told as what is observed (`drive 1`), their ends as ranges (`drive`).
    """
    c, method = scenario.fixed(values), using.applied(method, values)
    ranges = scenario.ranges(c) if scenario.ranges is not None else {}
    ranges |= {name: (values[name][0][0], values[name][0][-1]) for name in looked_up(scenario)}
    if scenario.run is None:
        row = scenario.observe(0.0, (), (), (), c)
        return {name: jnp.asarray(v)[None] for name, v in row.items()}, ranges, jnp.asarray(solve.OK)
    if scenario.modes:
        rows, status = hybrid.observed(scenario, values, method, times)
        return rows, ranges, status
    p = solve.problem(scenario, c, method)
    plan = solve.plan(scenario, method, len(times) - 1)
    out = solve.solve(p, method, plan, record=lambda point: point, ends=False)
    point = _on_grid(p, plan, out.series, times)
    observed = jax.vmap(lambda q: scenario.observe(q.t, q.x, q.z, q.held, c))(point)
    return observed, ranges, out.status


def looked_up(scenario: Scenario) -> dict[str, Unit]:
    """The tables and signals that a scenario reads, and the unit of what they are functions of."""
    time = scenario.run.unit if scenario.run is not None else Unit("s")
    return {t.name: t.input_unit for t in scenario.tables} | dict.fromkeys(scenario.signals, time)


def _on_grid(p: Problem, plan: Plan, series: Point, times: np.ndarray) -> Point:
    """The run at the output times: as it is at steps, cubic Hermite between them; sampled values as last set."""
    if plan.step is not None:
        return between(p, series, times, plan.times(), plan.last(), 1e-9 * plan.base)
    steps = plan.grid()
    slack = 1e-9 * plan.base
    left = np.clip(np.searchsorted(steps, times + slack, side="right") - 1, 0, len(steps) - 1)
    at_left: Point = jax.tree.map(lambda a: a[left], series)
    t = jnp.asarray(times, p.dtype)
    if np.all(np.abs(steps[left] - times) <= slack) or not at_left.x:
        return at_left._replace(t=t)
    right = np.minimum(left + 1, len(steps) - 1)
    at_right: Point = jax.tree.map(lambda a: a[right], series)
    width = np.where(right > left, steps[right] - steps[left], 1.0)
    share = jnp.asarray((times - steps[left]) / width, p.dtype)
    x = jax.vmap(lambda a, b, s, w: _hermite(p, a, b, s, w))(at_left, at_right, share, jnp.asarray(width, p.dtype))
    return at_left._replace(t=t, x=x)


def between(p: Problem, series: Point, times: Any, steps: Any, last: Any, slack: float) -> Point:
    """The same where steps or times are traced: `steps` [s] are those up to index `last`."""
    t, steps = jnp.asarray(times, p.dtype), jnp.asarray(steps, p.dtype)
    left = jnp.clip(jnp.searchsorted(steps, times + slack, side="right") - 1, 0, last)
    right = jnp.minimum(left + 1, last)
    at_left, at_right = (jax.tree.map(lambda a, where=where: a[where], series) for where in (left, right))
    if not at_left.x:
        return at_left._replace(t=t)
    width = jnp.where(right > left, steps[right] - steps[left], 1.0).astype(p.dtype)
    share = jnp.maximum(jnp.asarray(times) - steps[left], 0.0).astype(p.dtype) / width
    x = jax.vmap(lambda a, b, s, w: _hermite(p, a, b, s, w))(at_left, at_right, share, width)
    return at_left._replace(t=t, x=x)


def _hermite(p: Problem, a: Point, b: Point, s: Any, width: Any) -> Tuple:
    assert p.scenario.rhs is not None
    before, _ = p.scenario.rhs(a.t, a.x, a.z, a.held, p.c)
    after, _ = p.scenario.rhs(b.t, b.x, a.z, a.held, p.c)
    smooth = s * s * (3 - 2 * s)
    between = lambda u, v, d, e: u + smooth * (v - u) + width * s * (1 - s) * ((1 - s) * d - s * e)  # noqa: E731
    return jax.tree.map(between, a.x, b.x, before, after)


# ---------------------------------------------------------------- what the run has to say


def notes(scenario: Scenario, times: np.ndarray, rows: Mapping[str, Any], ranges: Mapping[str, Any]) -> list[str]:
    """Where, when and how far invariants are left, and the share of time that an actuator spends at its limits."""
    said: list[str] = []
    for quantity in scenario.observed:
        if quantity.name not in ranges:
            continue
        low, high = (None if b is None else np.asarray(b) for b in ranges[quantity.name])
        values = np.asarray(rows[quantity.name])
        unit = _spaced(quantity.unit)
        if quantity.range:
            said += _left(quantity.name, unit, quantity.unit.scale, times, values, low, high, scenario)
        if quantity.limit:
            said += _limited(quantity.name, values, low, high)
    for name, unit in looked_up(scenario).items():
        said += _beyond(name, unit, times, rows, ranges, scenario)
    return said


def _beyond(
    name: str,
    unit: Unit,
    times: np.ndarray,
    rows: Mapping[str, Any],
    ranges: Mapping[str, Any],
    scenario: Scenario,
) -> list[str]:
    """Whether something is looked up where there are no points, from when on, and how far from them."""
    low, high = map(float, ranges[name])
    found = [np.asarray(row, float) for key, row in rows.items() if key.partition(" ")[0] == name and key != name]
    excess = [np.fmax(low - x, x - high).reshape(len(times), -1) for x in found]
    most = np.fmax.reduce(np.concatenate([np.zeros((len(times), 1)), *excess], axis=1), axis=1)
    outside = most > 1e-9 * max(abs(low), abs(high), high - low)
    if not outside.any():
        return []
    since = _since(times, outside, scenario)
    by = f"{most.max() / unit.scale:.4g}{_spaced(unit)}"
    return [f"{name} is read beyond its ends{since}, by up to {by}: there it holds its last value"]


def _left(
    name: str, unit: str, scale: float, times: np.ndarray, values: np.ndarray, low: Any, high: Any, scenario: Scenario
) -> list[str]:
    below = np.zeros_like(values) if low is None else low - values
    above = np.zeros_like(values) if high is None else values - high
    excess = np.maximum(below, above).reshape(len(times), -1).max(axis=1)
    size = max((float(np.max(np.abs(b))) for b in (low, high) if b is not None and np.all(np.isfinite(b))), default=0.0)
    outside = excess > 1e-9 * size
    if not outside.any():
        return []
    since = _since(times, outside, scenario)
    return [f"{name} leaves its range{since}, by up to {np.nanmax(excess) / scale:.4g}{unit}"]


def _since(times: np.ndarray, outside: np.ndarray, scenario: Scenario) -> str:
    """` from 12 s on`; empty where nothing moves."""
    if scenario.run is None or len(times) < 2:
        return ""
    time = scenario.run.unit
    return f" from {times[outside.argmax()] / time.scale:.4g} {time.text} on"


def _spaced(unit: Unit) -> str:
    return f" {unit.text}" if unit.text not in ("", "1") else ""


def _limited(name: str, values: np.ndarray, low: Any, high: Any) -> list[str]:
    at_low = np.zeros(values.shape, bool) if low is None else values <= low + 1e-9 * np.abs(low)
    at_high = np.zeros(values.shape, bool) if high is None else values >= high - 1e-9 * np.abs(high)
    share = float(np.mean(at_low | at_high))
    return [f"{name} is at its limit {100 * share:.3g} % of the time"] if share > 0 else []
