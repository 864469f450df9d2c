"""What a run with events leaves: measures, what is told of its events, trajectories."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dpl.runtime import measure, solve
from dpl.runtime.hybrid import directions, pieces
from dpl.runtime.hybrid.course import looked_at, run
from dpl.runtime.hybrid.loops import stored
from dpl.runtime.hybrid.march import Loop
from dpl.runtime.hybrid.moment import ALREADY, GRAZED, MEASURING, Hybrid, Moment, Trace, in_mode, prepare
from dpl.runtime.solve import NEVER, OK, UNSET
from dpl.runtime.spec import Event, Method, Reduction, Scenario
from dpl.runtime.ticks import Tuple

SAID = ("event ", "told ", "first ", "last ")
"""What the names of results begin with that tell of events"""


def measured(scenario: Scenario, values: Any, method: Method, mode: solve.Mode) -> tuple[dict[str, Array], Array]:
    """Every measure [SI], what is told of each event (see `told`), and the status.

    Args:
        mode: `forward` where only forward-mode derivatives will be taken.
    """
    led = {**values, **(scenario.leading(values) if scenario.leading is not None else {})}
    forward = partial(_course, scenario, method, lax.while_loop)
    if mode == "forward":
        reduced, said, status = forward(led)
    else:
        reads = directions.read(lambda v: [_read_of(scenario, v)], led)
        backward = partial(_course, scenario, method, stored)
        reduced, said, status = directions.differentiable(forward, backward, led, reads)
    c = scenario.fixed(led)
    results = {name: jnp.asarray(v) for name, v in scenario.results(reduced, c).items()}
    return results | said, status.astype(jnp.int32)


def _read_of(scenario: Scenario, values: Any) -> Any:
    """All of the values that a run reads."""
    constants = [mode.fixed(values) for mode in scenario.modes]
    start = scenario.start(constants[0]) if scenario.start is not None else ()
    return constants, start, _arguments(scenario, scenario.fixed(values))


def _arguments(scenario: Scenario, c: Tuple) -> tuple[Any, ...]:
    if scenario.reduction_arguments is None:
        return tuple((None, None, ()) for _ in scenario.reductions)
    return tuple(scenario.reduction_arguments(c))


def _course(scenario: Scenario, method: Method, loop: Loop, values: Any) -> tuple[Tuple, dict[str, Array], Array]:
    """Every reduction, what is told of events, and the status as a float: all of which have tangents."""
    h = replace(prepare(scenario, values, method), loop=loop)
    arguments = _arguments(scenario, scenario.fixed(values))
    pieced = [
        r.kind in pieces.REDUCTIONS or (r.kind in measure.INTEGRALS and (a[0] is not None or a[1] is not None))
        for r, a in zip(scenario.reductions, arguments, strict=True)
    ]
    if any(pieced):
        course = run(h, h.start + np.arange(MEASURING + 1) / MEASURING * h.duration, measuring=True)
    else:
        course = run(h)
    first, last, traces = course
    reduced = tuple(
        _pieced(h, last, traces, r, a) if cut else _reduced(h, first, last, r, a)
        for r, a, cut in zip(scenario.reductions, arguments, pieced, strict=True)
    )
    status = jnp.where((last.status == OK) & _unset(scenario, last), UNSET, last.status)
    for value, r in zip(reduced, scenario.reductions, strict=True):
        if r.kind == "event_time":
            status = jnp.where((status == OK) & jnp.isnan(value), NEVER, status)
    return reduced, told(scenario, last), status.astype(h.dtype)


def _unset(scenario: Scenario, last: Moment) -> Array:
    """Whether something is read at the run's start or end that has no value in the mode in which it then is."""
    first = {r.index for r in scenario.reductions if r.kind == "initial"}
    final = {r.index for r in scenario.reductions if r.kind == "final"}
    begun = bool(first & set(scenario.modes[0].valueless))
    return jnp.asarray([begun or bool(final & set(mode.valueless)) for mode in scenario.modes])[last.mode]


def observed(scenario: Scenario, values: Any, method: Method, times: np.ndarray) -> tuple[dict[str, Any], Array]:
    """Every observed quantity [SI] over the times, as its mode has it, and the status. What is stopped stays."""
    h = prepare(scenario, values, method)

    def row(index: int, m: Moment) -> dict[str, Any]:
        seen = h.scenario.modes[index].observe(m.t, m.x, m.sampled.z, m.sampled.held, h.constants[index])
        return {name: jnp.asarray(value, h.dtype) for name, value in seen.items()}

    course = run(h, times, lambda m: in_mode(h, m, row))
    return course.series, course.last.status


def sensed(
    scenario: Scenario, values: Any, method: Method, times: Array, rows: tuple[Array, ...], mode: solve.Mode
) -> tuple[tuple[tuple[Array, ...], ...], Array]:
    """The arguments of every timed observation at `times` [n], as the run's mode has them then, and the status.

    Args:
        times: traced, ascending, within the run [s].
        rows: what the right sides read of the data at each time [n].
        mode: which derivatives it is to have.
    """
    led = {**values, **(scenario.leading(values) if scenario.leading is not None else {})}
    forward = partial(_sensed, scenario, method, lax.while_loop)
    given = led, times, rows
    if mode == "forward":
        told, status = forward(given)
    else:
        read = directions.read(lambda v: [*_read_of(scenario, v), *jax.tree.leaves(scenario.fixed(v))], led)
        reads = [*read, False, *(False for _ in rows)]
        backward = partial(_sensed, scenario, method, stored)
        told, status = directions.differentiable(forward, backward, given, reads)
    return told, status.astype(jnp.int32)


def _sensed(scenario: Scenario, method: Method, loop: Loop, given: Any) -> tuple[Any, Array]:
    """The arguments, and the status as a float: all of which have tangents."""
    led, times, rows = given
    h = replace(prepare(scenario, led, method), loop=loop)
    last, moments = looked_at(h, times, lambda m: (m.t, m.x, m.sampled, m.mode))
    shared = scenario.fixed(led)

    def seen(index: int, moment: Any, row: Any) -> Any:
        t, x, s, _ = moment
        own = scenario.modes[index].sensors
        told = own(t, x, s.z, s.held, h.constants[index], row) if own else _sensors(scenario, t, x, s, shared, row)
        return jax.tree.map(lambda v: jnp.asarray(v, h.dtype), told)

    def look(moment: Any, row: Any) -> Any:
        branches = [partial(seen, index) for index in range(len(scenario.modes))]
        return branches[0](moment, row) if len(branches) == 1 else lax.switch(moment[3], branches, moment, row)

    return jax.vmap(look)(moments, rows), last.status.astype(h.dtype)


def _sensors(scenario: Scenario, t: Any, x: Tuple, s: Any, c: Tuple, row: Any) -> Any:
    assert scenario.sensors is not None
    return scenario.sensors(t, x, s.z, s.held, c, row)


def ended(scenario: Scenario, values: Any, method: Method) -> Moment:
    """Where a run stands at its end, or where it could not go on."""
    return run(prepare(scenario, values, method)).last


def told(scenario: Scenario, m: Moment) -> dict[str, Array]:
    """How often each event happened, when first and last [s], and the bits of what is to be said of it."""
    said: dict[str, Array] = {}
    for e, event in enumerate(scenario.events):
        said[f"event {event.name}"] = m.counts[e].astype(m.t.dtype)
        said[f"told {event.name}"] = m.told[e].astype(m.t.dtype)
        said[f"first {event.name}"], said[f"last {event.name}"] = m.once[e], m.last[e]
    return said


def _shown(event: Event) -> str:
    return f"`{event.name}`" if event.named else f"the event of {event.name}"


def notes(scenario: Scenario, results: Any) -> list[str]:
    """What is to be said of the events of a run, in words; times in the unit of the run."""
    assert scenario.run is not None
    unit, said = scenario.run.unit, list[str]()
    for event in scenario.events:
        name = _shown(event)
        count, told, first, last = (np.asarray(results[f"{word}{event.name}"]).item() for word in SAID)
        at = [f"{t / unit.scale:.4g} {unit.text}" for t in (first, last)]
        if count == 0:
            said.append(f"{name} never happened")
        elif count == 1:
            said.append(f"{name} happened once, at {at[0]}")
        else:
            said.append(f"{name} happened {count:.0f} times, first at {at[0]}, last at {at[1]}")
        if int(told) & ALREADY:
            said.append(f"{name} was true already when its mode began and so did not fire: `at once` makes it fire")
        if int(told) & GRAZED:
            said.append(f"{name} only grazed its border: derivatives are not defined there")
    return said


def notes_of_many(scenario: Scenario, results: Any, runs: int) -> list[str]:
    """What is to be said of the events of many runs, whose results are arrays over them."""
    said = list[str]()
    for event in scenario.events:
        name = _shown(event)
        told = np.asarray(results[f"told {event.name}"]).astype(int)
        for words, which in (
            ("never happened", np.asarray(results[f"event {event.name}"]) == 0),
            ("was true already when its mode began and so did not fire", told & ALREADY > 0),
            ("only grazed its border", told & GRAZED > 0),
        ):
            if which.any():
                said.append(f"{name} {words} in {which.sum():_} of {runs:_} runs")
    return said


def _reduced(h: Hybrid, first: Moment, last: Moment, r: Reduction, arguments: Any) -> Array:
    if r.kind == "count":
        return last.counts[r.index].astype(h.dtype)
    if r.kind == "event_time":
        which = arguments[2][0] if arguments[2] else 1
        return last.times[r.index][jnp.asarray(which, jnp.int32) - 1]
    if r.kind in ("initial", "final"):
        return _instants(h, first if r.kind == "initial" else last)[r.index]
    total = last.totals[r.index]
    return total if r.kind == "integral" else total / (last.t - h.start)


def _pieced(h: Hybrid, last: Moment, traces: Trace, r: Reduction, arguments: Any) -> Array:
    """A reduction of what was recorded along the run, or of a quadrature in a window; both end where the run does."""
    start, until, further = arguments
    times, values, slopes = (a.reshape(-1, *a.shape[2:]) for a in traces[:3])
    integral = r.kind in measure.INTEGRALS
    quantity = values.shape[-1] - len(last.totals) + r.index if integral else r.index
    one = pieces.of(times, values[..., quantity], slopes[..., quantity], r.held and not integral)
    begin = jnp.asarray(h.start if start is None else start, h.dtype)
    end = last.t if until is None else jnp.minimum(jnp.asarray(until, h.dtype), last.t)
    if not integral:
        return pieces.REDUCTIONS[r.kind](one, begin, end, start, until, *further)
    total = pieces.at(one, end) - pieces.at(one, begin)
    return total if r.kind == "integral" else total / (end - begin)


def _instants(h: Hybrid, m: Moment) -> Tuple:
    def at(index: int, m: Moment) -> Tuple:
        mode = h.scenario.modes[index]
        values = mode.instants(m.t, m.x, m.sampled.z, m.sampled.held, h.constants[index]) if mode.instants else ()
        return tuple(jnp.asarray(v, h.dtype) for v in values)

    return in_mode(h, m, at)
