"""Sampled blocks: what happens at a tick, and what has to be carried from one to the next.

At base tick i the clocks that are due first let their states take their pending `next` values; then their groups are
evaluated in the given order on these states. Between ticks a sampled state and a held output read as of the latest
tick.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from dpl.runtime.spec import Clock

Tuple = tuple[Any, ...]


class Sampled(NamedTuple):
    """The sampled part of a run just after a tick."""

    z: Tuple
    pending: Tuple
    held: Tuple


class Ticker:
    """The clocks of a scenario, or of one of its modes, as one function of the tick's number."""

    def __init__(self, clocks: tuple[Clock, ...], start: Sampled) -> None:
        self._clocks = clocks
        self._start = start
        self._uniform = all(clock.every == 1 for clock in clocks)

    def carried(self, s: Sampled) -> Any:
        """What the next tick needs of the last one: all, unless every clock ticks always."""
        return s.pending if self._uniform else s

    def restored(self, carried: Any) -> Sampled:
        return Sampled(carried, carried, self._start.held) if self._uniform else Sampled(*carried)

    def due(self, i: Any, carried: Any) -> Tuple:
        """The sampled states as they will be at base tick `i`."""
        z, pending, _ = self.restored(carried)
        return pending if self._uniform else _committed(self._clocks, i, z, pending)

    def tick(self, i: Any, t: Any, x: Tuple, s: Sampled, c: Tuple) -> Sampled:
        """The sampled part after base tick `i` (an integer, traced or not) at time `t` [s]."""
        return self.evaluated(i, t, x, self.committed(i, s), c)

    def committed(self, i: Any, s: Sampled) -> Sampled:
        """The same when the states that are due at base tick `i` have taken their next values."""
        return s._replace(z=s.pending if self._uniform else _committed(self._clocks, i, s.z, s.pending))

    def evaluated(self, i: Any, t: Any, x: Tuple, s: Sampled, c: Tuple) -> Sampled:
        """The same when the blocks that tick at base tick `i` have looked at `x` and at the sampled states."""
        z, pending, held = s
        for every, group in groupby(self._clocks, key=lambda clock: clock.every):
            clocks = tuple(group)
            if every == 1:
                pending, held = _evaluated(clocks, t, x, z, pending, held, c)
            else:
                pending, held = lax.cond(
                    i % every == 0,
                    lambda p, h, clocks=clocks: _evaluated(clocks, t, x, z, p, h, c),
                    lambda p, h: (p, h),
                    pending,
                    held,
                )
        return Sampled(z, pending, held)


def _committed(clocks: Sequence[Clock], i: Any, z: Tuple, pending: Tuple) -> Tuple:
    every = {index: clock.every for clock in clocks for index in clock.states}
    due = [i % every.get(n, 1) == 0 for n in range(len(z))]
    return tuple(jax.tree.map(partial(jnp.where, now), new, old) for now, new, old in zip(due, pending, z, strict=True))


def _evaluated(
    clocks: Sequence[Clock], t: Any, x: Tuple, z: Tuple, pending: Tuple, held: Tuple, c: Tuple
) -> tuple[Tuple, Tuple]:
    for clock in clocks:
        new, following = clock.evaluate(t, x, z, held, c)
        held = tuple(as_type_of(a, b) for a, b in zip(new, held, strict=True))
        pending = tuple(
            as_type_of(following[n], pending[n]) if n in clock.states else pending[n] for n in range(len(pending))
        )
    return pending, held


def as_type_of(value: Any, like: Array) -> Array:
    """`value` with the dtype and shape of `like`, so that a loop's carry keeps its type."""
    return jnp.broadcast_to(jnp.asarray(value, like.dtype), like.shape)
