"""A whole run: visits up to each halt that is known before it (ticks, times at which something is recorded)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dpl.runtime import plan as plans
from dpl.runtime.hybrid.instant import act
from dpl.runtime.hybrid.moment import ALREADY, Hybrid, Moment, digits_of, in_mode, number_of, pick, put, watching
from dpl.runtime.hybrid.visit import untraced, visit
from dpl.runtime.solve import NONFINITE, NOT_ENDED, OK
from dpl.runtime.spec import Scenario, Transition
from dpl.runtime.ticks import Ticker


class Course(NamedTuple):
    """A run: its first moment, after what happens at the first tick, its last one, and what was recorded on the way."""

    first: Moment
    last: Moment
    series: Any


@dataclass(frozen=True)
class Stops:
    """Times [s] at which a run halts, known before it: ticks, and times at which something is recorded."""

    times: np.ndarray
    ticks: np.ndarray
    """Of each time the number of its tick, -1 for none"""
    kept: np.ndarray
    """Indices of the times that are recorded"""


def stops(h: Hybrid, times: np.ndarray) -> Stops:
    """The ticks of a run, its ends and `times` [s], in order."""
    spec = h.scenario.run
    assert spec is not None
    sampled = spec.base is not None and any(mode.clocks or mode.tests for mode in h.scenario.modes)
    plan = plans.adaptive(spec, 1)
    ticks = plan.start + np.arange(plan.intervals + 1) * plan.base if sampled else np.empty(0)
    slack = 1e-9 * (plan.base if sampled else plan.duration / max(len(times), 1))
    ends = np.asarray([plan.start, plan.end])
    every = np.concatenate([ticks, ends, times])
    order = np.argsort(every, kind="stable")
    new = np.concatenate([[True], np.diff(every[order]) > slack])
    place = np.empty(len(every), int)
    place[order] = np.cumsum(new) - 1
    number = np.full(place.max() + 1, -1)
    number[place[: len(ticks)]] = np.arange(len(ticks))
    at = np.empty(place.max() + 1)
    at[place[::-1]] = every[::-1]
    return Stops(at, number.astype(np.int32), place[len(ticks) + 2 :])


def run(
    h: Hybrid,
    times: np.ndarray | None = None,
    record: Callable[[Moment], Any] = lambda m: None,
    measuring: bool = False,
) -> Course:
    """The whole run; `record(moment)` at each of `times` [s], after what happens there.

    Where it is `measuring` the series is the traces between all times and ticks instead.
    """
    halts = stops(h, np.empty(0) if times is None else times)
    clocked = bool(np.any(halts.ticks >= 0))

    def begun(m: Moment, number: Any) -> Moment:
        if not clocked:
            return m
        return lax.cond(number >= 0, lambda m: tick(h, number, m), lambda m: m, m)

    def interval(m: Moment, row: Any) -> tuple[Moment, Any]:
        number, to = row
        m = begun(m, number)
        if not measuring:
            return advance(h, m, to), record(m)
        m = advance(h, m._replace(traced=untraced(h, m)), to)
        return m._replace(traced=None), m.traced

    to = jnp.asarray(halts.times[1:], h.dtype)
    first = begun(h.first, jnp.asarray(0, jnp.int32))
    if len(to) == 1 and times is None:
        last, series = advance(h, first, to[0]), None
    else:
        last, series = lax.scan(interval, h.first, (jnp.asarray(halts.ticks[:-1]), to))
    last = begun(last, jnp.asarray(halts.ticks[-1]))
    if times is not None and not measuring:
        whole = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), series, record(last))
        series = jax.tree.map(lambda a: a[halts.kept], whole)
    return Course(first, _ended(h, last), series)


def looked_at(h: Hybrid, times: Array, record: Callable[[Moment], Any]) -> tuple[Moment, Any]:
    """Where a run is at the last of `times`, and `record(moment)` at each, after what happens there.

    Args:
        times: traced, ascending, within the run [s]; some may be the same.
    """
    spec = h.scenario.run
    assert spec is not None
    sampled = spec.base is not None and any(mode.clocks or mode.tests for mode in h.scenario.modes)
    plan = plans.adaptive(spec, 1)
    number = np.arange(plan.intervals + 1 if sampled else 1)
    ticks = jnp.asarray(plan.start + number * plan.base, h.dtype)
    times = lax.stop_gradient(times)
    # A row at a tick is of what the tick has made, whichever way its time was rounded.
    near = ticks[jnp.clip(jnp.round((times - plan.start) / plan.base), 0.0, float(number[-1])).astype(int)]
    every = jnp.concatenate([ticks, jnp.where(jnp.abs(times - near) <= 1e-9 * plan.base, near, times)])
    order = jnp.argsort(every, stable=True)
    every = jnp.minimum(every[order], times[-1])
    numbers = jnp.concatenate([number, np.full(times.shape, -1)])[order].astype(jnp.int32)

    def interval(m: Moment, row: Any) -> tuple[Moment, Any]:
        number, to, there = row
        if sampled:
            m = lax.cond((number >= 0) & there, lambda m: tick(h, number, m), lambda m: m, m)
        return advance(h, m, to), record(m)

    there = jnp.asarray(numbers < 0) | (ticks[jnp.maximum(numbers, 0)] <= times[-1])
    last, series = lax.scan(interval, h.first, (numbers, jnp.append(every[1:], every[-1]), there))
    finite = jnp.stack([jnp.all(jnp.isfinite(a)) for a in (last.t, *last.x)]).all()
    status = jnp.where((last.status == OK) & ~finite, NONFINITE, last.status).astype(jnp.int32)
    return last._replace(status=status), jax.tree.map(lambda a: a[jnp.argsort(order)[len(number) :]], series)


def _ended(h: Hybrid, m: Moment) -> Moment:
    assert h.scenario.run is not None
    finite = jnp.stack([jnp.all(jnp.isfinite(a)) for a in (m.t, *m.x, *m.totals)]).all()
    status = jnp.where((m.status == OK) & ~finite, NONFINITE, m.status)
    if h.scenario.run.until_stop:
        status = jnp.where((status == OK) & ~m.ended, NOT_ENDED, status)
    return m._replace(status=status.astype(jnp.int32))


def advance(h: Hybrid, m: Moment, end: Any) -> Moment:
    """The moment at time `end` [s], or where the run ended before."""
    if straight(h.scenario):
        return _passed(h, m, jnp.asarray(False), end)[0]
    going = lambda carry: ~carry[1] & _moves(carry[0])  # noqa: E731
    return h.loop(going, lambda carry: _passed(h, carry[0], carry[1], end), (m, jnp.asarray(False)))[0]


def _moves(m: Moment) -> Array:
    return ~m.ended & (m.status == OK)


def _passed(h: Hybrid, m: Moment, arrived: Array, end: Any) -> tuple[Moment, Array]:
    """Each mode visited once, in order, by what is then in it."""
    for index in range(len(h.scenario.modes)):
        active = ~arrived & _moves(m) & (m.mode == index)
        visited = partial(_visited, h, index, end, active)
        m, arrived = lax.cond(active, visited, lambda m, arrived: (m, arrived), m, arrived)
    return m, arrived


def _visited(h: Hybrid, index: int, end: Any, active: Array, m: Moment, _: Array) -> tuple[Moment, Array]:
    return visit(h, index, m, end, active)


def straight(scenario: Scenario) -> bool:
    """Whether every transition of every mode stops the run or begins a later mode, so that one pass suffices."""

    def leaves(index: int, r: Transition) -> bool:
        digits = list(digits_of(scenario, index))
        if r.go is not None:
            digits[r.go[0]] = r.go[1]
        return r.stop or number_of(scenario, digits) > index

    if any(mode.jumps is not None or mode.knots is not None for mode in scenario.modes):
        return False  # a march halts at each
    modes = enumerate(scenario.modes)
    return len(scenario.automata) <= 1 and all(leaves(i, r) for i, mode in modes for r in mode.transitions)


def tick(h: Hybrid, i: Any, m: Moment) -> Moment:
    """The moment after base tick `i`: sampled states, then events that are tested at ticks, then blocks."""
    going = ~m.ended & (m.status == OK)
    new = in_mode(h, m, lambda index, m: _tested(h, index, i, m))
    new = in_mode(h, new, lambda index, m: _evaluated(h, index, i, m))
    return jax.tree.map(lambda a, b: jnp.where(going, a, b), new, m)


def _tested(h: Hybrid, index: int, i: Any, m: Moment) -> Moment:
    mode, c = h.scenario.modes[index], h.constants[index]
    m = m._replace(sampled=Ticker(mode.clocks, m.sampled).committed(i, m.sampled))
    if mode.tests is None:
        return m
    place = np.asarray([r.event for r in watching(mode, "tick")], int)
    at_once = np.asarray([r.at_once for r in watching(mode, "tick")], bool)
    tests = mode.tests(m.t, m.x, m.sampled.z, m.sampled.held, c)
    holds = lax.stop_gradient(jnp.stack([jnp.asarray(g, h.dtype) for g in tests])) > 0
    entered = pick(m.entered, place)
    now = holds & jnp.where(entered, at_once, ~pick(m.tested, place))
    told = put(m.told, place, pick(m.told, place) | jnp.where(holds & entered & ~at_once, ALREADY, 0))
    m = m._replace(
        told=told,
        tested=put(m.tested, place, holds),
        entered=put(m.entered, place, jnp.zeros(place.size, bool)),
        rounds=m.rounds * 0,
    )
    order = iter(range(len(place)))
    fired = [now[next(order)] if r.watch == "tick" else jnp.asarray(False) for r in mode.transitions]
    return act(h, index, m, jnp.stack(fired))


def _evaluated(h: Hybrid, index: int, i: Any, m: Moment) -> Moment:
    mode = h.scenario.modes[index]
    ticker = Ticker(mode.clocks, m.sampled)
    return m._replace(sampled=ticker.evaluated(i, m.t, m.x, m.sampled, h.constants[index]))
