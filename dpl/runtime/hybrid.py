"""A run with events and modes: each mode's own smooth motion (`march`), and what happens at the instants between.

A run is a sequence of visits: one mode's march up to an event, an alarm, a jump, a tick or the end, then what happens
there. In a visit only members that are in its mode take part; so many runs at once stay one program, and no run mixes
the right-hand sides of two modes. What goes wrong is a status in the result, never an exception.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from equinox.internal import while_loop
from jax import Array, lax

from dpl.runtime import directions, measure, pieces, solve, steps
from dpl.runtime import plan as plans
from dpl.runtime.march import ARRIVED, AT_ONCE, BROKEN, LOCATED, TIRED, Flow, Loop, Steps, Watch, march
from dpl.runtime.solve import CHATTERING, NEVER, NONFINITE, NOT_ENDED, OK, Layout
from dpl.runtime.spec import Method, Mode, Reduction, Scenario, Transition
from dpl.runtime.ticks import Sampled, Ticker, Tuple, as_type_of

ALREADY, GRAZED = 1, 2
"""Bits of what is told of an event: it was true when its mode began; it only grazed its border"""

PIECES, MEASURING = 4, 500
"""Most pieces between two halts of a run that is measured, and about how many halts that has"""

FIRINGS, CASCADE, SHRINKING = 1000, 100, 5
"""Most firings of a run, most rounds at one instant, successive shrinking gaps before what is left of them counts"""


class Moment(NamedTuple):
    """Where a run with events is at one instant. Per event where not said otherwise.

    `armed`: its condition does not hold. `fresh`: it fired at this instant. `entered`: its mode began at this instant.
    `tested`: its condition held at the last tick. `once`, `last`, `gap`, `shrinking`: when it happened first and
    last, how long after the time before, and how often in succession this became shorter.
    """

    t: Array
    x: Tuple
    totals: Tuple
    sampled: Sampled
    mode: Array
    ended: Array
    """Whether a `stop` ended it"""
    status: Array
    counts: Array
    times: Tuple
    """Of each event its first times [s], as many as are kept; NaN until it happens"""
    told: Array
    armed: Array
    fresh: Array
    entered: Array
    tested: Array
    once: Array
    last: Array
    gap: Array
    shrinking: Array
    rounds: Array
    """Of this instant"""
    size: Array
    """Length of the next step [s]"""
    attempts: Array
    traced: Any
    """A `Trace` where something is recorded, else None"""


class Trace(NamedTuple):
    """The smooth pieces of a run since it halted last, at most `PIECES` of them: an end each, [pieces, 2].

    Values and slopes [pieces, 2, quantities] are of what is recorded, then of the quadratures.
    """

    times: Array
    values: Array
    slopes: Array
    number: Array


@dataclass(frozen=True)
class Hybrid:
    """A scenario with modes, its constants, and how it is solved."""

    scenario: Scenario
    constants: tuple[Tuple, ...]
    """`c` of each mode"""
    method: Method
    dtype: Any
    first: Moment
    loop: Loop = lax.while_loop

    @property
    def start(self) -> float:
        assert self.scenario.run is not None
        return self.scenario.run.start

    @property
    def duration(self) -> float:
        assert self.scenario.run is not None
        return self.scenario.run.duration

    @cached_property
    def places(self) -> tuple[np.ndarray, ...]:
        """Of each mode the events that watch the state, as indices of `events`, in the order of its margins."""
        return tuple(np.asarray([t.event for t in _watching(m, "state")], int) for m in self.scenario.modes)

    @cached_property
    def rules(self) -> np.ndarray:
        """Whether an event belongs to a mode [modes, events]."""
        return _rules(self.scenario)

    @property
    def same(self) -> float:
        """Times [s] closer than this are one instant."""
        return 64 * float(jnp.finfo(self.dtype).eps) * max(abs(self.start) + self.duration, 1e-300)


def _rules(scenario: Scenario) -> np.ndarray:
    table = np.zeros((len(scenario.modes), len(scenario.events)), bool)
    for row, mode in zip(table, scenario.modes, strict=True):
        row[[t.event for t in mode.transitions]] = True
    return table


def _watching(mode: Mode, watch: str) -> tuple[Transition, ...]:
    return tuple(t for t in mode.transitions if t.watch == watch)


# ---------------------------------------------------------------- the start


def prepare(scenario: Scenario, values: Any, method: Method) -> Hybrid:
    """Where a run begins, and the constants of all its modes."""
    run = scenario.run
    assert run is not None and scenario.start is not None, "a static scenario has no events; this is a bug in DPL"
    if method.name not in METHODS:
        raise ValueError(f"`{method.name}` does not solve runs with events or modes; {', '.join(METHODS)} do")
    constants = tuple(mode.fixed(values) for mode in scenario.modes)
    starts = scenario.start(constants[0])
    dtype = solve.float_type(constants, starts)
    x, z, held = (tuple(solve.floats(v, dtype) for v in part) for part in starts)
    t = jnp.asarray(run.start, dtype)
    first = scenario.modes[0]
    held = solve.typed_held(first.clocks, t, x, z, held, constants[0])
    shapes = jax.eval_shape(lambda *a: first.rhs(*a)[1], t, x, z, held, constants[0])
    totals = tuple(jnp.zeros(s.shape, dtype) for s in shapes)
    return Hybrid(scenario, constants, method, dtype, _beginning(scenario, t, x, totals, Sampled(z, z, held), dtype))


def _beginning(scenario: Scenario, t: Array, x: Tuple, totals: Tuple, sampled: Sampled, dtype: Any) -> Moment:
    assert scenario.run is not None
    events = len(scenario.events)
    no, none = jnp.zeros(events, bool), jnp.zeros(events, jnp.int32)
    zero = jnp.asarray(0, jnp.int32)
    return Moment(
        t, x, totals, sampled, mode=zero, ended=jnp.asarray(False), status=jnp.asarray(OK, jnp.int32), counts=none,
        times=tuple(jnp.full(e.kept, jnp.nan, dtype) for e in scenario.events),
        told=none, armed=no, fresh=no, entered=jnp.asarray(_rules(scenario)[0]), tested=no,
        once=jnp.full(events, jnp.nan, dtype), last=jnp.full(events, -jnp.inf, dtype),
        gap=jnp.full(events, jnp.inf, dtype), shrinking=none, rounds=zero,
        size=jnp.asarray(1e-4 * scenario.run.duration, dtype), attempts=zero, traced=None,
    )  # fmt: skip


# ---------------------------------------------------------------- methods

METHODS = (*steps.PRESCRIBED, *steps.EMBEDDED, "semi_implicit")
GREATEST_STEPS = 4096 * 4
CHECKPOINTS = 64
TIMED_STEPS = 1000
"""Least steps of an adaptive run whose right-hand side reads the time"""


def adaptive(method: Method) -> bool:
    return method.name in steps.EMBEDDED


def prescribed(h: Hybrid) -> float:
    """The step of a fixed-step method [s]."""
    run = h.scenario.run
    assert run is not None
    step = h.method.arguments.get("step", run.base)
    if step is None:
        raise ValueError(f"the method `{h.method.name}` needs a step, as in `{h.method.name}(step = 0.01)`")
    base = float(step) if run.base is None else run.base
    return base / math.ceil(base / float(step) * (1 - 1e-9))


def _steps(h: Hybrid, mode: Mode, layout: Layout, m: Moment) -> Steps:
    greatest = int(h.method.arguments.get("max_steps", GREATEST_STEPS))
    if not adaptive(h.method):
        return Steps(1, None, (), math.inf, 0.0, greatest, h.start, prescribed(h))
    single = h.dtype == jnp.float32
    rtol = float(h.method.arguments.get("rtol", 1e-5 if single else 1e-8))
    atol = float(h.method.arguments.get("atol", 1e-6 if single else 1e-10))
    scales = [h.scenario.states[n].unit.scale for n in mode.moved]
    states = tuple(jnp.full(jnp.shape(m.x[n]), atol * u, h.dtype) for n, u in zip(mode.moved, scales, strict=True))
    # An integral has no declared unit: it is held to a share of what the integrand at the start gives over the run.
    first = h.scenario.modes[0].rhs(h.first.t, h.first.x, h.first.sampled.z, h.first.sampled.held, h.constants[0])[1]
    totals = tuple(lax.stop_gradient(atol + rtol * h.duration * jnp.abs(jnp.nan_to_num(e))) for e in first)
    longest = h.duration / min(TIMED_STEPS, max(1, greatest // 4)) if mode.timed else math.inf
    shortest = 2 * float(jnp.finfo(h.dtype).eps) * h.duration
    table = steps.tableau(h.method.name)
    return Steps(table.order, rtol, layout.pack(states, totals), longest, shortest, greatest)


def _flow(h: Hybrid, index: int, m: Moment) -> tuple[Flow, Layout]:
    """A mode on the packed states that it moves; the others stay as they are in `m`."""
    mode, c, s = h.scenario.modes[index], h.constants[index], m.sampled
    layout = Layout(tuple(m.x[n] for n in mode.moved), m.totals, h.dtype, flat=True, apart=False)

    def whole(y: steps.State) -> Tuple:
        return _replaced(m.x, mode.moved, layout.unpack(y)[0])

    def slope(t: Any, y: steps.State) -> steps.State:
        slopes, integrands = mode.rhs(t, whole(y), s.z, s.held, c)
        return layout.pack(tuple(slopes[n] for n in mode.moved), integrands)

    def margins(t: Any, y: steps.State) -> Array:
        if mode.margins is None:
            return jnp.zeros(0, h.dtype)
        return jnp.stack([jnp.asarray(g, h.dtype) for g in mode.margins(t, whole(y), s.z, s.held, c)])

    def project(t: Any, y: steps.State) -> steps.State:
        assert mode.project is not None
        x = mode.project(t, whole(y), s.z, s.held, c)
        return layout.pack(tuple(x[n] for n in mode.moved), layout.unpack(y)[1])

    if h.method.name == "semi_implicit":
        step = partial(_semi_implicit, mode, layout, slope, whole, s, c)
    else:
        form = steps.step_by_stages if _large(slope, m.t, layout.pack(*_parts(mode, m))) else steps.step
        step = partial(form, steps.tableau(h.method.name), slope)
    return Flow(step, margins, _steps(h, mode, layout, m), None if mode.project is None else project), layout


def _parts(mode: Mode, m: Moment) -> tuple[Tuple, Tuple]:
    return tuple(m.x[n] for n in mode.moved), m.totals


def _large(slope: Callable[..., Any], t: Any, y: steps.State) -> bool:
    return len(jax.make_jaxpr(slope)(t, y).jaxpr.eqns) > solve.LARGE


def _semi_implicit(
    mode: Mode, layout: Layout, slope: steps.Slope, whole: Any, s: Sampled, c: Tuple,
    t: Any, y: steps.State, first: steps.State, h: Any, last: Any,
) -> tuple[steps.State, steps.State, steps.State]:  # fmt: skip
    """Rates first, with old values; then the other states with the new rates. Quadratures on the old state."""
    states, totals = layout.unpack(y)
    slopes, integrands = layout.unpack(first)
    kicked = tuple(a + h * d if n in mode.rates else a for n, a, d in zip(mode.moved, states, slopes, strict=True))
    later, _ = mode.rhs(t, whole(layout.pack(kicked, totals)), s.z, s.held, c)
    states = tuple(a if n in mode.rates else a + h * later[n] for n, a in zip(mode.moved, kicked, strict=True))
    new = layout.pack(states, tuple(a + h * b for a, b in zip(totals, integrands, strict=True)))
    return new, slope(jnp.minimum(t + h, last), new), ()


def _replaced(values: Tuple, where: tuple[int, ...], new: Tuple) -> Tuple:
    replaced = list(values)
    for n, value in zip(where, new, strict=True):
        replaced[n] = as_type_of(value, values[n])
    return tuple(replaced)


# ---------------------------------------------------------------- one visit of a mode


def visit(h: Hybrid, index: int, m: Moment, end: Any, active: Any) -> tuple[Moment, Array]:
    """The mode's march towards `end` [s], and what happens where it stops; whether it arrived and nothing happened.

    Where not `active` it marches nowhere, and what it returns is not meant.
    """
    mode = h.scenario.modes[index]
    flow, layout = _flow(h, index, m)
    place = h.places[index]
    rings = _rings(h, index, m)
    stop = end
    for ring in (*rings, *_jumps(h, index, m)):
        stop = jnp.where(lax.stop_gradient(ring) < lax.stop_gradient(stop), ring, stop)
    at_once = np.asarray([r.at_once for r in _watching(mode, "state")], bool)
    watch = Watch(m.armed[place], m.fresh[place], m.entered[place], at_once)
    y = layout.pack(*_parts(mode, m))
    if flow.project is not None:
        y = flow.project(m.t, y)
    out = march(flow, m.t, y, m.size, watch, stop, active, h.loop)
    states, totals = layout.unpack(out.y)
    settle = lambda old, new: old.at[place].set(new) if place.size else old  # noqa: E731
    told = jnp.where(out.already, ALREADY, 0) + jnp.where(out.grazed, GRAZED, 0)
    status = jnp.where(out.phase == BROKEN, NONFINITE, jnp.where(out.phase == TIRED, solve.MAX_STEPS, m.status))
    attempts = m.attempts + out.attempts
    greatest = flow.steps.greatest
    status = jnp.where(
        (status == OK) & (attempts >= greatest) & jnp.asarray(adaptive(h.method)), solve.MAX_STEPS, status
    )
    moved = m._replace(
        t=out.t, x=_replaced(m.x, mode.moved, states), totals=totals, size=out.size,
        told=settle(m.told, m.told[place] | told), armed=settle(m.armed, ~out.positive),
        fresh=settle(m.fresh, out.fresh), entered=settle(m.entered, out.entered),
        status=status.astype(jnp.int32), attempts=attempts,
        rounds=jnp.where(out.phase == AT_ONCE, m.rounds, 0),
    )  # fmt: skip
    if m.traced is not None:
        moved = moved._replace(traced=_with_piece(h, index, m, moved))
    fired = _fired(h, index, m, moved, out, rings)
    new = _instant(h, index, moved, fired)
    return new, (out.phase == ARRIVED) & ~jnp.any(fired) & (lax.stop_gradient(new.t - end) >= -h.same)


def _with_piece(h: Hybrid, index: int, before: Moment, after: Moment) -> Trace:
    """The trace with the piece from one moment to another; those that are too many take the place of the last."""
    trace: Trace = after.traced
    ends = [(m.t, m.x, m.totals) for m in (before, after)]
    points = jax.tree.map(lambda a, b: jnp.stack([a, b]), *ends)
    values, slopes = jax.vmap(lambda p: _recorded(h, index, after.sampled, *p))(points)
    slot = jnp.minimum(trace.number, PIECES - 1)
    new = Trace(
        trace.times.at[slot].set(points[0]), trace.values.at[slot].set(values), trace.slopes.at[slot].set(slopes),
        trace.number + 1,
    )  # fmt: skip
    longer = lax.stop_gradient(after.t - before.t) > 0
    return jax.tree.map(lambda a, b: jnp.where(longer, a, b), new, trace)


def _recorded(h: Hybrid, index: int, s: Sampled, t: Any, x: Tuple, totals: Tuple) -> tuple[Array, Array]:
    """What reductions read at an instant, and how fast it changes [quantities]."""
    mode, c = h.scenario.modes[index], h.constants[index]
    slopes, integrands = mode.rhs(t, x, s.z, s.held, c)

    def look(t: Any, x: Tuple) -> Tuple:
        recorded = mode.recorded(t, x, s.z, s.held, c) if mode.recorded is not None else ()
        return tuple(jnp.asarray(v).astype(h.dtype) for v in recorded)

    moving = tuple(as_type_of(d, a) for d, a in zip(slopes, x, strict=True))
    values, rates = jax.jvp(look, (t, x), (jnp.ones_like(t), moving))
    integrands = tuple(as_type_of(d, a) for d, a in zip(integrands, totals, strict=True))
    return _row((*values, *totals), h.dtype), _row((*rates, *integrands), h.dtype)


def _row(values: Tuple, dtype: Any) -> Array:
    return jnp.stack(values) if values else jnp.zeros(0, dtype)


def _untraced(h: Hybrid, m: Moment) -> Trace:
    """A trace without pieces."""
    count = jax.eval_shape(lambda m: _recorded(h, 0, m.sampled, m.t, m.x, m.totals)[0], m).shape[0]
    none = jnp.zeros((PIECES, 2, count), h.dtype)
    return Trace(jnp.full((PIECES, 2), m.t), none, none, jnp.asarray(0, jnp.int32))


def _rings(h: Hybrid, index: int, m: Moment) -> list[Array]:
    """When each alarm of the mode rings next, infinite where it does not."""
    mode = h.scenario.modes[index]
    if mode.alarms is None:
        return []
    now = lax.stop_gradient(m.t)
    rings: list[Array] = []
    for alarm, r in zip(mode.alarms(h.constants[index]), _watching(mode, "time"), strict=True):
        first, period, last = (jnp.asarray(a, h.dtype) for a in alarm)
        start, every, until = (lax.stop_gradient(a) for a in (first, period, last))
        # What is due now rings now, unless it has.
        since = jnp.maximum(now - h.same, m.last[r.event] + h.same)
        turns = jnp.maximum(jnp.ceil((since - start) / jnp.where(every > 0, every, 1.0)), 0.0)
        turns = jnp.where(every > 0, turns, 0.0)
        due = first + turns * period
        at = lax.stop_gradient(due)
        rings.append(jnp.where((at > since) & (at <= until + h.same), due, jnp.inf))
    return rings


def _jumps(h: Hybrid, index: int, m: Moment) -> list[Array]:
    """Known times at which the mode's right-hand side jumps, of those still to come."""
    jumps = h.scenario.modes[index].jumps
    if jumps is None:
        return []
    times = [jnp.asarray(a, h.dtype) for a in jumps(h.constants[index])]
    return [jnp.where(lax.stop_gradient(a - m.t) > h.same, a, jnp.inf) for a in times]


def _fired(h: Hybrid, index: int, before: Moment, m: Moment, out: Any, rings: list[Array]) -> Array:
    """Which transitions of the mode act at this instant, in their order; those of ticks never."""
    mode = h.scenario.modes[index]
    ended = (out.phase == LOCATED) | (out.phase == AT_ONCE) | (out.phase == ARRIVED)
    watched, alarms = iter(range(out.fired.size)), iter(rings)
    fired: list[Any] = []
    for r in mode.transitions:
        if r.watch == "state":
            fired.append(out.fired[next(watched)] & ended)
        elif r.watch == "time":
            due = lax.stop_gradient(next(alarms) - m.t) <= h.same
            fired.append(due & ended & (out.phase != AT_ONCE))
        else:
            fired.append(jnp.asarray(False))
    return jnp.stack(fired) if fired else jnp.zeros(0, bool)


# ---------------------------------------------------------------- what happens at an instant


def _instant(h: Hybrid, index: int, m: Moment, fired: Array) -> Moment:
    """The moment after transitions of a mode have acted together; all of them read what was before."""
    mode, c = h.scenario.modes[index], h.constants[index]
    if not mode.transitions:
        return m
    x, z, pending, ended = list(m.x), list(m.sampled.z), list(m.sampled.pending), m.ended
    digits: list[Any] = list(_digits(h.scenario, index))
    for r, now in zip(mode.transitions, fired, strict=True):
        if r.assign is not None:
            states, sampled = r.assign(m.t, m.x, m.sampled.z, m.sampled.held, c)
            for n, value in zip(r.states, states, strict=True):
                x[n] = jnp.where(now, as_type_of(value, m.x[n]), x[n])
            for n, value in zip(r.sampled, sampled, strict=True):
                value = as_type_of(value, m.sampled.z[n])
                z[n], pending[n] = jnp.where(now, value, z[n]), jnp.where(now, value, pending[n])
        if r.go is not None:
            digits[r.go[0]] = jnp.where(now, r.go[1], digits[r.go[0]])
        if r.stop:
            ended = ended | now
    new = _counted(h, mode, m, fired)
    number = jnp.asarray(_number(h.scenario, digits), jnp.int32)
    begun = jnp.asarray(h.rules)[number] & ~jnp.asarray(h.rules[index])
    return new._replace(
        x=tuple(x), sampled=Sampled(tuple(z), tuple(pending), m.sampled.held), ended=ended, mode=number,
        entered=new.entered | begun, fresh=new.fresh & ~begun, rounds=new.rounds + jnp.any(fired).astype(jnp.int32),
    )  # fmt: skip


def _counted(h: Hybrid, mode: Mode, m: Moment, fired: Array) -> Moment:
    """Counts, times and the watch for chattering after an instant."""
    event = np.asarray([r.event for r in mode.transitions], int)
    now = jnp.zeros(len(h.scenario.events), bool).at[event].max(fired)
    times = tuple(
        jnp.where((np.arange(kept.size, dtype=np.int32) == m.counts[e]) & now[e], m.t, kept) if kept.size else kept
        for e, kept in enumerate(m.times)
    )
    t = lax.stop_gradient(m.t)
    gap = jnp.where(now, t - m.last, m.gap)
    shrinking = jnp.where(now, jnp.where(gap < m.gap, m.shrinking + 1, 0), m.shrinking)
    shorter = jnp.where(gap < m.gap, m.gap - gap, 1.0)
    # Were the gaps a geometric series, all those to come would take gap·r/(1 - r).
    left = jnp.where(gap < m.gap, gap * gap / shorter, jnp.inf)
    small = float(jnp.finfo(h.dtype).eps) ** 0.5 * h.duration
    zeno = jnp.any(now & (shrinking >= SHRINKING) & (left <= small) & (gap > 0))
    count = m.counts + now.astype(jnp.int32)
    endless = zeno | (jnp.sum(count) > FIRINGS) | (m.rounds >= CASCADE)
    status = jnp.where((m.status == OK) & endless, CHATTERING, m.status)
    return m._replace(
        counts=count, times=times, once=jnp.where(now & (m.counts == 0), t, m.once),
        last=jnp.where(now, t, m.last), gap=gap, shrinking=shrinking,
        status=status.astype(jnp.int32), fresh=m.fresh | now, armed=m.armed & ~now, entered=m.entered & ~now,
    )  # fmt: skip


def _digits(scenario: Scenario, index: int) -> tuple[int, ...]:
    """The mode of each automaton in a combination; the last one's changes fastest."""
    digits: list[int] = []
    for modes in reversed(scenario.automata):
        index, digit = divmod(index, len(modes))
        digits.append(digit)
    return tuple(reversed(digits))


def _number(scenario: Scenario, digits: list[Any]) -> Any:
    number: Any = 0
    for digit, modes in zip(digits, scenario.automata, strict=True):
        number = number * len(modes) + digit
    return number


# ---------------------------------------------------------------- ticks


def tick(h: Hybrid, i: Any, m: Moment) -> Moment:
    """The moment after base tick `i`: sampled states, then events that are tested at ticks, then blocks."""
    going = ~m.ended & (m.status == OK)
    new = _in_mode(h, m, lambda index, m: _tested(h, index, i, m))
    new = _in_mode(h, new, lambda index, m: _evaluated(h, index, i, m))
    return jax.tree.map(lambda a, b: jnp.where(going, a, b), new, m)


def _in_mode(h: Hybrid, m: Moment, act: Callable[[int, Moment], Any]) -> Any:
    """What `act` makes of a moment in the mode that it is in."""
    branches = [partial(act, index) for index in range(len(h.scenario.modes))]
    return branches[0](m) if len(branches) == 1 else lax.switch(m.mode, branches, m)


def _tested(h: Hybrid, index: int, i: Any, m: Moment) -> Moment:
    mode, c = h.scenario.modes[index], h.constants[index]
    m = m._replace(sampled=Ticker(mode.clocks, m.sampled).committed(i, m.sampled))
    if mode.tests is None:
        return m
    place = np.asarray([r.event for r in _watching(mode, "tick")], int)
    at_once = np.asarray([r.at_once for r in _watching(mode, "tick")], bool)
    tests = mode.tests(m.t, m.x, m.sampled.z, m.sampled.held, c)
    holds = lax.stop_gradient(jnp.stack([jnp.asarray(g, h.dtype) for g in tests])) > 0
    entered = m.entered[place]
    now = holds & jnp.where(entered, at_once, ~m.tested[place])
    told = m.told.at[place].set(m.told[place] | jnp.where(holds & entered & ~at_once, ALREADY, 0))
    m = m._replace(
        told=told, tested=m.tested.at[place].set(holds), entered=m.entered.at[place].set(False), rounds=m.rounds * 0
    )
    order = iter(range(len(place)))
    fired = [now[next(order)] if r.watch == "tick" else jnp.asarray(False) for r in mode.transitions]
    return _instant(h, index, m, jnp.stack(fired))


def _evaluated(h: Hybrid, index: int, i: Any, m: Moment) -> Moment:
    mode = h.scenario.modes[index]
    return m._replace(sampled=Ticker(mode.clocks, m.sampled).evaluated(i, m.t, m.x, m.sampled, h.constants[index]))


# ---------------------------------------------------------------- the run


def advance(h: Hybrid, m: Moment, end: Any) -> Moment:
    """The moment at time `end` [s], or where the run ended before."""
    if straight(h.scenario):
        return _passed(h, m, jnp.asarray(False), end)[0]
    going = lambda carry: ~carry[1] & _moves(carry[0])  # noqa: E731
    return h.loop(going, lambda carry: _passed(h, *carry, end), (m, jnp.asarray(False)))[0]


def _moves(m: Moment) -> Array:
    return ~m.ended & (m.status == OK)


def _passed(h: Hybrid, m: Moment, arrived: Array, end: Any) -> tuple[Moment, Array]:
    """Each mode visited once, in order, by what is then in it."""
    for index in range(len(h.scenario.modes)):
        active = ~arrived & _moves(m) & (m.mode == index)
        visited = partial(_visited, h, index, end, active)
        if len(h.scenario.modes) == 1:
            m, arrived = visited(m, arrived)
        else:
            m, arrived = lax.cond(active, visited, lambda m, arrived: (m, arrived), m, arrived)
    return m, arrived


def _visited(h: Hybrid, index: int, end: Any, active: Array, m: Moment, _: Array) -> tuple[Moment, Array]:
    return visit(h, index, m, end, active)


def straight(scenario: Scenario) -> bool:
    """Whether every transition of every mode stops the run or begins a later mode, so that one pass suffices."""

    def leaves(index: int, r: Transition) -> bool:
        digits = list(_digits(scenario, index))
        if r.go is not None:
            digits[r.go[0]] = r.go[1]
        return r.stop or _number(scenario, digits) > index

    modes = enumerate(scenario.modes)
    return len(scenario.automata) <= 1 and all(leaves(i, r) for i, mode in modes for r in mode.transitions)


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
        m = advance(h, m._replace(traced=_untraced(h, m)), to)
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


def _ended(h: Hybrid, m: Moment) -> Moment:
    assert h.scenario.run is not None
    finite = jnp.stack([jnp.all(jnp.isfinite(a)) for a in (m.t, *m.x, *m.totals)]).all()
    status = jnp.where((m.status == OK) & ~finite, NONFINITE, m.status)
    if h.scenario.run.until_stop:
        status = jnp.where((status == OK) & ~m.ended, NOT_ENDED, status)
    return m._replace(status=status.astype(jnp.int32))


# ---------------------------------------------------------------- measures


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
        backward = partial(_course, scenario, method, _reversible)
        reduced, said, status = directions.differentiable(forward, backward, led, reads)
    c = scenario.fixed(led)
    results = {name: jnp.asarray(v) for name, v in scenario.results(reduced, c).items()}
    return results | said, status.astype(jnp.int32)


def _reversible(going: Callable[[Any], Any], body: Callable[[Any], Any], first: Any) -> Any:
    """A loop with reverse-mode derivatives from stored states."""
    return while_loop(going, body, first, max_steps=GREATEST_STEPS, kind="checkpointed", checkpoints=CHECKPOINTS)


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
    status = last.status
    for value, r in zip(reduced, scenario.reductions, strict=True):
        if r.kind == "event_time":
            status = jnp.where((status == OK) & jnp.isnan(value), NEVER, status)
    return reduced, told(scenario, last), status.astype(h.dtype)


def observed(scenario: Scenario, values: Any, method: Method, times: np.ndarray) -> tuple[dict[str, Any], Array]:
    """Every observed quantity [SI] over the times, as its mode has it, and the status. What is stopped stays."""
    h = prepare(scenario, values, method)

    def row(index: int, m: Moment) -> dict[str, Any]:
        seen = h.scenario.modes[index].observe(m.t, m.x, m.sampled.z, m.sampled.held, h.constants[index])
        return {name: jnp.asarray(value, h.dtype) for name, value in seen.items()}

    course = run(h, times, lambda m: _in_mode(h, m, row))
    return course.series, course.last.status


def told(scenario: Scenario, m: Moment) -> dict[str, Array]:
    """How often each event happened, when first and last [s], and the bits of what is to be said of it."""
    said: dict[str, Array] = {}
    for e, event in enumerate(scenario.events):
        said[f"event {event.name}"] = m.counts[e].astype(m.t.dtype)
        said[f"told {event.name}"] = m.told[e].astype(m.t.dtype)
        said[f"first {event.name}"], said[f"last {event.name}"] = m.once[e], m.last[e]
    return said


SAID = ("event ", "told ", "first ", "last ")
"""What the names of results begin with that tell of events"""


def notes(scenario: Scenario, results: Any) -> list[str]:
    """What is to be said of the events of a run, in words; times in the unit of the run."""
    assert scenario.run is not None
    unit, said = scenario.run.unit, list[str]()
    for event in scenario.events:
        name = f"`{event.name}`" if event.named else f"the event of {event.name}"
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

    return _in_mode(h, m, at)
