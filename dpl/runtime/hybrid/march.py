"""One mode's smooth motion from where a run is to a given time, or to the first event before it.

One loop whose body is one attempt: a step, and the margins at its middle and end. The attempt is accepted, or retried
shorter because its error was too large, because a margin would peak above zero inside it, or because a margin became
positive and the instant is being located. So a batch whose members switch at different times stays one loop.

Lengths of steps carry no derivative. At the end one implicit step, -g/stop_gradient(dg/dt) along the flow, gives the
event's time and state theirs (Hiskens and Pai 2000, IEEE Trans. Circuits Syst. I 47(2), 204), and halves the digits
that locating has to find.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dpl.runtime.hybrid.steps import State, along

Loop = Callable[[Callable[[Any], Any], Callable[[Any], Any], Any], Any]
"""loop(going, body, first) -> the last"""

BEGIN, MOVING, LOCATING, ARRIVED, LOCATED, AT_ONCE, BROKEN, TIRED = range(8)
"""What an attempt is for (the first three), and how a march ended"""

SAFETY, LEAST, MOST = 0.9, 0.2, 10.0
"""Step size control (Hairer, Nørsett and Wanner 1993, Solving ODEs I, II.4)"""
TRIALS = 60
"""Attempts after which an instant counts as located however wide its bracket is"""


@dataclass(frozen=True)
class Steps:
    """How far one attempt goes: by the error, or (`rtol` None) to the next multiple of a prescribed step.

    `atol` is as the packed state. Times in seconds.
    """

    order: int
    rtol: Array | None
    atol: State
    longest: float
    shortest: float
    greatest: int
    start: float = 0.0
    prescribed: Any = 0.0


@dataclass(frozen=True)
class Flow:
    """A mode between two instants, on the packed state.

    `step(t, y, slope, h, last)` returns the new state, the slope there, the error's estimate and the state in the
    middle; `margins(t, y)` one number per watched event; `project(t, y)` the state on its constraints.
    """

    step: Callable[[Any, State, State, Any, Any], tuple[State, State, State, State]]
    margins: Callable[[Any, State], Array]
    steps: Steps
    project: Callable[[Any, State], State] | None = None


class Watch(NamedTuple):
    """What is known of each watched event before a march [events].

    `armed`: its condition did not hold before the instant. `fresh`: it fired at this instant. `entered`: its mode
    begins here. `at_once`: it then fires also where its condition holds already.
    """

    armed: Array
    fresh: Array
    entered: Array
    at_once: Any


class March(NamedTuple):
    """Where a march ended and why. All but `t` and `y` carry no derivative."""

    t: Array
    y: State
    phase: Array
    fired: Array
    """Which events happen there; the condition of those in `positive` holds there"""
    positive: Array
    fresh: Array
    entered: Array
    """Of these flags of `Watch` those that no step has settled yet"""
    already: Array
    """Events that were true before they were watched, and so did not fire"""
    grazed: Array
    size: Array
    attempts: Array


class Bracket(NamedTuple):
    """Lengths [s] of steps around an instant with the margins there; `third` was replaced last."""

    low: Array
    high: Array
    third: Array
    at_low: Array
    at_high: Array
    at_third: Array


class Trial(NamedTuple):
    """What one attempt hands to the next."""

    t: Array
    y: State
    slope: State
    margin: Array
    size: Array
    limit: Array
    """The next attempt goes no further, so that a peak of a margin is met; infinite otherwise"""
    bracket: Bracket
    length: Array
    """Of the next attempt while locating"""
    watched: Array
    level: Array
    """Which margins began at zero, and so are divided by the length while locating"""
    onset: Array
    """How fast each margin moves at the start"""
    rate: Array
    """How fast each margin moves by its size over the step in which the instant lies"""
    loose: Array
    already: Array
    fired: Array
    phase: Array
    tries: Array
    attempts: Array


def march(
    flow: Flow, t: Array, y: State, size: Array, watch: Watch, stop: Any, active: Any, loop: Loop = lax.while_loop
) -> March:
    """From `t` to `stop` [s] or to the first event; nowhere where not `active`.

    Args:
        size: the step length to try first.
        loop: which derivatives the loop has; those of `lax.while_loop` are forward.
    """
    end = lax.stop_gradient(stop)
    first = _first(t, y, size, watch)
    going = lambda c: active & (c.phase <= LOCATING) & (c.attempts < flow.steps.greatest)  # noqa: E731
    c = loop(going, lambda c: _attempt(flow, watch, end, c), first)
    t, y, fired, grazed = _corrected(flow, c, stop)
    return March(
        t, y, jnp.where(active & (c.phase <= LOCATING), TIRED, c.phase), fired, c.margin > 0, watch.fresh & c.loose,
        watch.entered & c.loose, c.already, grazed, c.size, c.attempts,
    )  # fmt: skip


def _first(t: Array, y: State, size: Array, watch: Watch) -> Trial:
    zero, none = jnp.zeros_like(t), jnp.zeros(watch.armed.shape, t.dtype)
    false = jnp.zeros(watch.armed.shape, bool)
    t, size = jnp.asarray(t), lax.stop_gradient(size)
    count = jnp.asarray(0, jnp.int32)
    return Trial(
        t, y, tuple(jnp.zeros_like(a) for a in y), none, size, jnp.full_like(zero, jnp.inf),
        Bracket(zero, zero, zero, none, none, none), zero, false, false, none, none,
        watch.fresh | watch.entered, false, false, jnp.asarray(BEGIN, jnp.int32), count, count,
    )  # fmt: skip


# ---------------------------------------------------------------- one attempt


def _attempt(flow: Flow, watch: Watch, end: Any, c: Trial) -> Trial:
    """One step and what follows from it. The first has no length: it moves the state onto the constraints, and finds
    the slope and the margins at the start."""
    beginning, locating = c.phase == BEGIN, c.phase == LOCATING
    here = lax.stop_gradient(c.t)
    rest = end - here
    wanted = jnp.minimum(_wanted(flow.steps, c, here), c.limit)
    reaches = (wanted >= rest) & ~beginning & ~locating
    length = jnp.where(beginning, 0.0, jnp.where(locating, c.length, jnp.minimum(wanted, rest)))
    t = c.t + length
    y, slope, error, middle = flow.step(c.t, c.y, c.slope, length, jnp.maximum(jnp.nextafter(end, -jnp.inf), here))
    y = tuple(jnp.where(beginning, a, b) for a, b in zip(c.y, y, strict=True))  # whatever the slope is
    if flow.project is not None:
        y = flow.project(t, y)
    # Without a step to look into, the second look is a little way on: it tells which way each margin moves.
    ahead = _root_of_rounding(here.dtype) * jnp.maximum(jnp.minimum(wanted, rest), flow.steps.shortest)
    between = jax.tree.map(partial(jnp.where, beginning), along(y, slope, ahead), middle)
    there, middle = _looked(flow, (t, y), (c.t + jnp.where(beginning, ahead, 0.5 * length), between))
    onset = jnp.where(beginning, (middle - there) / jnp.where(ahead > 0, ahead, 1.0), c.onset)

    armed, level = _armed(watch, c, middle, there)
    armed, level = jnp.where(locating, c.watched, armed), jnp.where(locating, c.level, level)
    crossed = jnp.any(armed & (there > 0))
    fine, size, broken = _judged(flow.steps, c, y, error, length, wanted)
    peak = _peak(armed, level, c.margin, middle, there)
    cut = (peak < 1) & jnp.isinf(c.limit)

    bracket, estimate, located = _located(flow.steps, c, armed, level, crossed, length, middle, there)
    now = (there > 0) & jnp.where(watch.entered, watch.at_once, watch.armed & ~watch.fresh)
    moving = ~beginning & ~locating
    catches = moving & fine & crossed
    accepted = beginning | (locating & located) | (moving & fine & ~crossed & ~cut)
    settled = accepted & moving
    phase = jnp.where(moving & broken, BROKEN, jnp.where(catches, LOCATING, c.phase))
    phase = jnp.where(settled & reaches, ARRIVED, jnp.where(locating & located, LOCATED, phase))
    phase = jnp.where(beginning, jnp.where(jnp.any(now), AT_ONCE, MOVING), phase)

    def chosen(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, old)

    cap = jnp.where(moving & fine & ~crossed & cut, peak * length, c.limit)
    return Trial(
        chosen(t, c.t), chosen(y, c.y), chosen(slope, c.slope), chosen(there, c.margin),
        jnp.where(moving, size, c.size), jnp.where(settled, jnp.inf, cap),
        bracket, estimate, armed, level, onset, jnp.where(catches, _rate(c, middle, there, length), c.rate),
        c.loose & ~(settled & (length > 0)), c.already | (settled & c.loose & watch.entered & ~armed),
        beginning & now, phase.astype(jnp.int32), c.tries + locating.astype(jnp.int32), c.attempts + 1,
    )  # fmt: skip


def _looked(flow: Flow, *points: tuple[Array, State]) -> tuple[Array, ...]:
    """The margins at each of some points, by one copy of them."""
    still: Any = jax.tree.map(lambda *a: lax.stop_gradient(jnp.stack(a)), *points)
    _, margins = lax.scan(lambda _, point: (None, flow.margins(*point)), None, still)
    return tuple(margins[n] for n in range(len(points)))


def _wanted(steps: Steps, c: Trial, here: Any) -> Any:
    if steps.rtol is not None:
        return jnp.minimum(c.size, steps.longest)
    done = jnp.floor((here - steps.start) / steps.prescribed + 1e-4)
    return steps.start + (done + 1) * steps.prescribed - here


def _judged(steps: Steps, c: Trial, y: State, error: State, length: Any, wanted: Any) -> tuple[Any, Any, Any]:
    """Whether a step's error is small enough, the length to try next, whether nothing can be done."""
    if steps.rtol is None:
        finite = jnp.stack([jnp.all(jnp.isfinite(a)) for a in y]).all() if y else jnp.asarray(True)
        return finite, c.size, ~finite
    total: Any = 0.0
    for e, a, b, least in zip(error, c.y, y, steps.atol, strict=True):
        size = jnp.maximum(jnp.abs(lax.stop_gradient(a)), jnp.abs(lax.stop_gradient(b)))
        total = total + jnp.sum((e / (least + steps.rtol * size)) ** 2)
    count = sum(a.size for a in y)
    ratio = jnp.sqrt(total / count) if count else jnp.zeros_like(length)
    finite = jnp.isfinite(ratio)
    short = length <= steps.shortest
    fine = finite & ((ratio <= 1) | short)
    power = jnp.exp2(-jnp.log2(jnp.maximum(jnp.where(finite, ratio, 1e9), 1e-30)) / steps.order)
    proposed = length * jnp.clip(SAFETY * power, LEAST, MOST)
    size = jnp.where(fine & (length < wanted), jnp.maximum(c.size, proposed), proposed)
    return fine, jnp.maximum(size, steps.shortest), ~finite & short


# ---------------------------------------------------------------- margins


def _tiny(dtype: Any) -> float:
    """Share of its change over a step below which a margin counts as zero."""
    return 1e-9 if dtype == jnp.float64 else 1e-4


def _root_of_rounding(dtype: Any) -> float:
    return float(np.sqrt(jnp.finfo(dtype).eps))


def _armed(watch: Watch, c: Trial, middle: Any, there: Any) -> tuple[Any, Any]:
    """Which events fire if their margin is positive at the step's end, and which margins begin at zero.

    One that has just fired starts at its own border: it is armed once it has moved back, however short that way was.
    """
    scale = jnp.maximum(jnp.abs(middle), jnp.abs(there))
    level = c.loose & (jnp.abs(c.margin) <= _tiny(scale.dtype) * scale)
    return jnp.where(level, ~watch.fresh | (c.onset < 0), c.margin <= 0), level


def _peak(armed: Any, level: Any, margin: Any, middle: Any, there: Any) -> Any:
    """Share of a step at which a margin is on the other side than at both its ends, by a parabola; 1 where none is."""
    if not armed.size:
        return jnp.ones((), margin.dtype)
    rise = there - margin
    bend = 2 * (margin + there) - 4 * middle
    at = 0.5 - rise / jnp.where(bend == 0, jnp.inf, 2 * bend)
    top = margin - bend * at * at
    inside = (at > 0.02) & (at < 0.98) & ~level & (bend != 0)
    back = level & armed & (middle > 0) & (there <= 0)
    at, inside = jnp.where(back, 0.5, at), inside | back
    over = armed & (there <= 0) & ((bend < 0) & (top > 0) | back)
    under = ~armed & (there > 0) & (bend > 0) & (top < 0)
    return jnp.min(jnp.where(inside & (over | under), at, 1.0))


def _located(
    steps: Steps, c: Trial, armed: Any, level: Any, crossed: Any, length: Any, middle: Any, there: Any
) -> tuple[Bracket, Any, Any]:
    """The bracket after an attempt, the next length to try, and whether this attempt was close enough.

    A margin that began at zero is divided by the length: what is left has its next root where the margin has.
    """
    zero = jnp.zeros_like(length)
    old, locating = c.bracket, c.phase == LOCATING
    whole = jnp.where(length > 0, length, 1.0)
    there, middle = jnp.where(level, there / whole, there), jnp.where(level, 2 * middle / whole, middle)
    start = jnp.minimum(jnp.where(level, c.onset, c.margin), 0)
    fresh = Bracket(zero, length, 0.5 * length, start, there, middle)
    above = Bracket(old.low, length, old.high, old.at_low, there, old.at_high)
    below = Bracket(length, old.high, old.low, there, old.at_high, old.at_low)
    new = jax.tree.map(lambda f, a, b: jnp.where(locating, jnp.where(crossed, a, b), f), fresh, above, below)
    estimate = _estimate(new, armed & (new.at_high > 0))
    halved = (c.tries > 8) & (c.tries % 2 == 1)
    estimate = jnp.where(halved, 0.5 * (new.low + new.high), estimate)
    step = c.size if steps.rtol is not None else jnp.asarray(steps.prescribed, length.dtype)
    close = _root_of_rounding(length.dtype) * jnp.minimum(step, steps.longest)
    near = (jnp.abs(estimate - length) <= close) & ~halved
    return new, estimate, near | (new.high - new.low <= close) | (c.tries >= TRIALS)


def _estimate(b: Bracket, crossing: Any) -> Any:
    """The earliest root among crossing margins, each by the parabola through three points (Muller 1956)."""
    if not crossing.size:
        return b.high
    width = b.high - b.low
    share = (b.third - b.low) / jnp.where(width > 0, width, 1.0)
    rise = b.at_high - b.at_low
    curve = share * (share - 1)
    bend = jnp.where(curve == 0, 0.0, (b.at_third - b.at_low - rise * share) / jnp.where(curve == 0, 1.0, curve))
    p = rise - bend
    root = jnp.sqrt(jnp.maximum(p * p - 4 * bend * b.at_low, 0.0))
    falling = p >= 0
    top, bottom = jnp.where(falling, -2 * b.at_low, root - p), jnp.where(falling, p + root, 2 * bend)
    at = jnp.where(bottom == 0, 0.0, top / jnp.where(bottom == 0, 1.0, bottom))
    return b.low + width * jnp.min(jnp.where(crossing, jnp.clip(at, 0.0, 1.0), 1.0))


def _rate(c: Trial, middle: Any, there: Any, length: Any) -> Any:
    size = jnp.maximum(jnp.maximum(jnp.abs(c.margin), jnp.abs(middle)), jnp.abs(there))
    return size / jnp.where(length > 0, length, 1.0)


# ---------------------------------------------------------------- the instant itself


def _corrected(flow: Flow, c: Trial, stop: Any) -> tuple[Array, State, Array, Array]:
    """Time and state moved onto the instant, which events happen there, and which only graze their border."""
    located = c.phase == LOCATED
    shift = jnp.where(c.phase == ARRIVED, stop - c.t, 0.0)
    fired, grazed = c.fired, jnp.zeros(c.fired.shape, bool)
    slope = jax.tree.map(lax.stop_gradient, c.slope)
    if c.fired.size:
        margin, speed = jax.jvp(flow.margins, (c.t, c.y), (jnp.ones_like(c.t), slope))
        speed = lax.stop_gradient(speed)
        crossing = c.watched & (c.bracket.at_high > 0)
        flat = jnp.abs(speed) <= float(jnp.finfo(speed.dtype).eps) ** 0.25 * c.rate
        level = flat | (speed <= 0)
        away = jnp.where(level, 0.0, -margin / jnp.where(level, 1.0, speed))
        # A margin that does not rise here may have its own crossing later in the bracket: then it is not the first.
        ahead = jnp.where(level, jnp.maximum(-margin, 0.0) / jnp.where(c.rate > 0, c.rate, 1.0), away)
        first = jnp.argmin(jnp.where(crossing, lax.stop_gradient(ahead), jnp.inf))
        there = away[first]
        same = 64 * float(jnp.finfo(speed.dtype).eps) * jnp.maximum(jnp.abs(lax.stop_gradient(c.t)), c.bracket.high)
        # What only grazes is located no better than to the root of rounding.
        grazing = crossing & (lax.stop_gradient(ahead) <= 4 * _root_of_rounding(speed.dtype) * c.bracket.high)
        happens = c.watched & jnp.where(flat, grazing, lax.stop_gradient(away - there) <= same) & (speed > 0)
        happens = happens | (crossing & (jnp.arange(crossing.size) == first))
        fired, grazed = fired | (located & happens), located & happens & flat
        shift = jnp.where(located, there, shift)
    moved = located | (c.phase == ARRIVED)  # where a march breaks off its slope may be no number
    y = tuple(jnp.where(moved, a, b) for a, b in zip(along(c.y, slope, shift), c.y, strict=True))
    return c.t + shift, y, fired, grazed
