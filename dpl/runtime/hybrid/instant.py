"""What happens at an instant: assignments, modes that begin, the end of the run, and whether events come too fast."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dpl.runtime.hybrid.moment import Hybrid, Moment, digits_of, number_of
from dpl.runtime.solve import CHATTERING, OK
from dpl.runtime.spec import Mode
from dpl.runtime.ticks import Sampled, as_type_of

FIRINGS, CASCADE, SHRINKING = 1000, 100, 5
"""Most firings of a run, most rounds at one instant, successive shrinking gaps before what is left of them counts"""


def act(h: Hybrid, index: int, m: Moment, fired: Array) -> Moment:
    """The moment after transitions of a mode have acted together; all of them read what was before."""
    mode, c = h.scenario.modes[index], h.constants[index]
    if not mode.transitions:
        return m
    x, z, pending, ended = list(m.x), list(m.sampled.z), list(m.sampled.pending), m.ended
    digits: list[Any] = list(digits_of(h.scenario, index))
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
    number = jnp.asarray(number_of(h.scenario, digits), jnp.int32)
    begun = jnp.zeros(len(h.scenario.events), bool)
    for other, rules in enumerate(h.rules):
        if np.any(rules & ~h.rules[index]):
            begun = begun | ((number == other) & (rules & ~h.rules[index]))
    return new._replace(
        x=tuple(x), sampled=Sampled(tuple(z), tuple(pending), m.sampled.held), ended=ended, mode=number,
        entered=new.entered | begun, fresh=new.fresh & ~begun, rounds=new.rounds + jnp.any(fired).astype(jnp.int32),
    )  # fmt: skip


def _counted(h: Hybrid, mode: Mode, m: Moment, fired: Array) -> Moment:
    """Counts, times and the watch for chattering after an instant."""
    now = jnp.zeros(len(h.scenario.events), bool)
    for place, r in enumerate(mode.transitions):
        now = now | (fired[place] & (np.arange(len(now)) == r.event))
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
