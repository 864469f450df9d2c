"""Where a run with events and modes is at one instant, and where it begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dpl.runtime import solve, using
from dpl.runtime.hybrid.march import Loop
from dpl.runtime.hybrid.steps import METHODS
from dpl.runtime.solve import OK
from dpl.runtime.spec import Method, Mode, Scenario, Transition
from dpl.runtime.ticks import Sampled, Tuple

ALREADY, GRAZED = 1, 2
"""Bits of what is told of an event: it was true when its mode began; it only grazed its border"""

PIECES, MEASURING = 4, 500
"""Most pieces between two halts of a run that is measured, and about how many halts that has"""


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
        return tuple(np.asarray([t.event for t in watching(m, "state")], int) for m in self.scenario.modes)

    @cached_property
    def rules(self) -> np.ndarray:
        """Whether an event belongs to a mode [modes, events]."""
        return rules(self.scenario)

    @property
    def same(self) -> float:
        """Times [s] closer than this are one instant."""
        return 64 * float(jnp.finfo(self.dtype).eps) * max(abs(self.start) + self.duration, 1e-300)


def rules(scenario: Scenario) -> np.ndarray:
    table = np.zeros((len(scenario.modes), len(scenario.events)), bool)
    for row, mode in zip(table, scenario.modes, strict=True):
        row[[t.event for t in mode.transitions]] = True
    return table


def pick(values: Array, place: np.ndarray) -> Array:
    """Some entries of a short vector, as slices: a gather of so little is dear in a batch."""
    return jnp.stack([values[n] for n in place.tolist()]) if place.size else values[:0]


def put(values: Array, place: np.ndarray, new: Array) -> Array:
    """A short vector with some entries replaced."""
    entries = list(values)
    for i, n in enumerate(place.tolist()):
        entries[n] = new[i]
    return jnp.stack(entries) if place.size else values


def watching(mode: Mode, watch: str) -> tuple[Transition, ...]:
    return tuple(t for t in mode.transitions if t.watch == watch)


def prepare(scenario: Scenario, values: Any, method: Method) -> Hybrid:
    """Where a run begins, and the constants of all its modes."""
    run = scenario.run
    assert run is not None and scenario.start is not None, "a static scenario has no events; this is a bug in DPL"
    method = using.applied(method, values)
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
        told=none, armed=no, fresh=no, entered=jnp.asarray(rules(scenario)[0]), tested=no,
        once=jnp.full(events, jnp.nan, dtype), last=jnp.full(events, -jnp.inf, dtype),
        gap=jnp.full(events, jnp.inf, dtype), shrinking=none, rounds=zero,
        size=jnp.asarray(1e-4 * scenario.run.duration, dtype), attempts=zero, traced=None,
    )  # fmt: skip


def in_mode(h: Hybrid, m: Moment, act: Callable[[int, Moment], Any]) -> Any:
    """What `act` makes of a moment in the mode that it is in."""
    branches = [partial(act, index) for index in range(len(h.scenario.modes))]
    return branches[0](m) if len(branches) == 1 else lax.switch(m.mode, branches, m)


def digits_of(scenario: Scenario, index: int) -> tuple[int, ...]:
    """The mode of each automaton in a combination; the last one's changes fastest."""
    digits: list[int] = []
    for modes in reversed(scenario.automata):
        index, digit = divmod(index, len(modes))
        digits.append(digit)
    return tuple(reversed(digits))


def number_of(scenario: Scenario, digits: list[Any]) -> Any:
    number: Any = 0
    for digit, modes in zip(digits, scenario.automata, strict=True):
        number = number * len(modes) + digit
    return number
