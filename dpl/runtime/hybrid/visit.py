"""One visit of a mode: its march up to an event, an alarm, a jump or the end, then what happens there."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dpl.runtime import solve
from dpl.runtime.hybrid.flows import adaptive, flow_of, parts, replaced
from dpl.runtime.hybrid.instant import act
from dpl.runtime.hybrid.march import ARRIVED, AT_ONCE, BROKEN, LOCATED, TIRED, Watch, march
from dpl.runtime.hybrid.moment import ALREADY, GRAZED, PIECES, Hybrid, Moment, Trace, pick, put, watching
from dpl.runtime.solve import NONFINITE, OK
from dpl.runtime.ticks import Sampled, Tuple, as_type_of


def visit(h: Hybrid, index: int, m: Moment, end: Any, active: Any) -> tuple[Moment, Array]:
    """The mode's march towards `end` [s], and what happens where it stops; whether it arrived and nothing happened.

    Where not `active` it marches nowhere, and what it returns is not meant.
    """
    mode = h.scenario.modes[index]
    flow, layout = flow_of(h, index, m)
    place = h.places[index]
    rings = _rings(h, index, m)
    stop = end
    for ring in (*rings, *_jumps(h, index, m)):
        stop = jnp.where(lax.stop_gradient(ring) < lax.stop_gradient(stop), ring, stop)
    at_once = np.asarray([r.at_once for r in watching(mode, "state")], bool)
    watch = Watch(pick(m.armed, place), pick(m.fresh, place), pick(m.entered, place), at_once)
    out = march(flow, m.t, layout.pack(*parts(mode, m)), m.size, watch, stop, active, h.loop)
    states, totals = layout.unpack(out.y)
    told = jnp.where(out.already, ALREADY, 0) + jnp.where(out.grazed, GRAZED, 0)
    status = jnp.where(out.phase == BROKEN, NONFINITE, jnp.where(out.phase == TIRED, solve.MAX_STEPS, m.status))
    attempts = m.attempts + out.attempts
    greatest = flow.steps.greatest
    status = jnp.where(
        (status == OK) & (attempts >= greatest) & jnp.asarray(adaptive(h.method)), solve.MAX_STEPS, status
    )
    moved = m._replace(
        t=out.t, x=replaced(m.x, mode.moved, states), totals=totals, size=out.size,
        told=put(m.told, place, pick(m.told, place) | told), armed=put(m.armed, place, ~out.positive),
        fresh=put(m.fresh, place, out.fresh), entered=put(m.entered, place, out.entered),
        status=status.astype(jnp.int32), attempts=attempts,
        rounds=jnp.where(out.phase == AT_ONCE, m.rounds, 0),
    )  # fmt: skip
    if m.traced is not None:
        moved = moved._replace(traced=_with_piece(h, index, m, moved))
    fired = _fired(h, index, m, moved, out, rings)
    new = act(h, index, moved, fired)
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


def untraced(h: Hybrid, m: Moment) -> Trace:
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
    for alarm, r in zip(mode.alarms(h.constants[index]), watching(mode, "time"), strict=True):
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
    """Known times at which the mode's right-hand side jumps or has a kink: the next of each kind, if one is to come."""
    mode, c = h.scenario.modes[index], h.constants[index]
    told = [jnp.asarray(a, h.dtype) for times in (mode.jumps, mode.knots) if times is not None for a in times(c)]
    return [jnp.min(jnp.where(lax.stop_gradient(a - m.t) > h.same, a, jnp.inf)) for a in told]


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
