"""One run of a scenario from its constants: fixed steps as one scan, adaptive ones by diffrax, clocks around either.

Everything is traced once per scenario, method and what is asked for; the values of params, givens and starts are
arguments. A failure is a status in the result, never an exception.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend.core import Var

from dpl.runtime import groups
from dpl.runtime import plan as plans
from dpl.runtime.once import once, once_in_derivatives
from dpl.runtime.plan import Plan
from dpl.runtime.spec import Clock, Method, Scenario
from dpl.runtime.ticks import Sampled, Ticker, Tuple, as_type_of

if TYPE_CHECKING:
    import diffrax

OK, MAX_STEPS, NONFINITE, FAILED, CHATTERING, NOT_ENDED, NEVER, UNSET = range(8)
STATUS = {
    OK: "ok",
    MAX_STEPS: "the solver reached its greatest number of steps: for a stiff model write `using rodas5p()`, "
    "for one that chatters at a jump `smooth(…)` it, else give a larger `max_steps`",
    NONFINITE: "a value is not finite",
    FAILED: "the solver failed",
    CHATTERING: "events follow each other without end: what they do must take the run away from their condition, "
    "as a rest of its own that a `mode` describes does",
    NOT_ENDED: "what `run until` waits for did not come `within` its longest time",
    NEVER: "an event whose time is asked for did not happen",
    UNSET: "a loss or metric reads what has no value in the mode in which the run ended",
}
SOFT = (NOT_ENDED, NEVER, UNSET)
"""Runs that came to an end that was not wanted: they have no results for a user, but numbers that a training may meet
on its way: what no event has set yet is 0, and what does not change has no gradient"""

LARGE = 150
"""Operations of a right-hand side from which Runge-Kutta stages share one copy of it"""

LONG = 4096
"""Steps from which the gradient of a run with fixed steps stores not every state"""

SIMPLE = {"alone": 20, "batch": 150, "unknown": 0}
"""Operations of a right-hand side up to which a run keeps each state for itself"""

LIGHT = 10
"""Operations of a right-hand side up to which a value without derivatives is worked out again for each of its readers:
that takes less time than memory (measured: 1,024 runs of prey and predators in 0.7 of the time, gradients in 1.2)"""

CHEAP = frozenset("add sub mul neg integer_pow square convert_element_type broadcast_in_dim reshape squeeze".split())
"""Operations of which a light right-hand side consists"""

ELEMENTARY = frozenset(
    "add sub mul div neg integer_pow square max min abs sign lt le gt ge eq ne select_n sin cos tan "
    "convert_element_type broadcast_in_dim reshape squeeze".split()
)
"""Operations that XLA turns into straight vector code; the runs of a batch need that"""

Company = Literal["alone", "batch", "unknown"]
"""Whether a run is one of many under `jax.vmap`"""

Mode = Literal["reverse", "forward"]
"""Which derivatives an adaptive solve offers; fixed-step runs offer both always."""


class Point(NamedTuple):
    """Where a run is at one instant, after that instant's tick."""

    t: Any
    x: Tuple
    z: Tuple
    held: Tuple
    totals: Tuple
    """Integrals of the quadratures so far"""


Record = Callable[[Point], Any]


class Solution(NamedTuple):
    """`series` has what `record` returned, with a leading axis over the plan's grid."""

    first: Point | None
    last: Point | None
    totals: Tuple
    series: Any
    status: Array


class Carry(NamedTuple):
    """Where a run is just before a tick: its packed continuous state, its sampled part, its status so far."""

    y: tuple[Array, ...]
    kept: Any
    status: Array


# ---------------------------------------------------------------- the state as arrays


class Layout:
    """States and quadratures as few arrays: all scalars in one vector, arrays as they are; `flat`: all in one.

    One vector makes the step one fused loop for XLA, which repeats nothing. A simple right-hand side keeps its scalars
    `apart`: XLA then makes one kernel of the whole loop of a run that is alone (measured on 500 steps of a pendulum: a
    gradient in a fifth of the time), and vector code for a batch (1,024 double pendulums: a quarter of the time).
    """

    def __init__(self, x: Tuple | groups.Joined, totals: Tuple, dtype: Any, flat: bool, apart: bool) -> None:
        self._vector = isinstance(x, groups.Joined)  # as the functions of a large scenario have it
        states = [()] * len(x) if isinstance(x, groups.Joined) else list(map(jnp.shape, x))
        self._shapes = [*states, *map(jnp.shape, totals)]
        self._states = len(x)
        self._dtype = dtype
        self._joined = [flat or (shape == () and not apart) for shape in self._shapes]

    def pack(self, x: Tuple | groups.Joined, totals: Tuple) -> tuple[Array, ...]:
        if self._vector:
            return (_join([groups.joined(x).astype(self._dtype), *(jnp.asarray(t, self._dtype) for t in totals)]),)
        shaped = zip((*x, *totals), self._shapes, strict=True)
        leaves = [jnp.broadcast_to(jnp.asarray(leaf, self._dtype), shape) for leaf, shape in shaped]
        joined = [leaf for leaf, join in zip(leaves, self._joined, strict=True) if join]
        apart = [leaf for leaf, join in zip(leaves, self._joined, strict=True) if not join]
        return (_join(joined), *apart) if joined else tuple(apart)

    def unpack(self, packed: tuple[Array, ...]) -> tuple[Any, Tuple]:
        if self._vector:
            vector, at, totals = packed[0], self._states, list[Array]()
            for shape in self._shapes[self._states :]:
                totals.append(vector[at : at + math.prod(shape)].reshape(shape))
                at += math.prod(shape)
            return groups.Joined(vector[: self._states]), tuple(totals)
        vector = packed[0] if any(self._joined) else None
        apart = iter(packed if vector is None else packed[1:])
        leaves: list[Array] = []
        at = 0
        for shape, join in zip(self._shapes, self._joined, strict=True):
            if vector is None or not join:
                leaves.append(next(apart))
                continue
            size = math.prod(shape)
            leaves.append(vector[at] if shape == () else vector[at : at + size].reshape(shape))
            at += size
        return tuple(leaves[: self._states]), tuple(leaves[self._states :])


def _join(leaves: list[Array]) -> Array:
    if len(leaves) == 1 and leaves[0].ndim == 1:
        return leaves[0]
    if all(leaf.shape == () for leaf in leaves):
        return jnp.stack(leaves)
    return jnp.concatenate([leaf.ravel() for leaf in leaves])


def float_type(*trees: Any) -> Any:
    """The floating type of a run: 32 bits if all its values are, else 64."""
    leaves = [leaf for leaf in jax.tree.leaves(trees) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]
    return jnp.result_type(*leaves) if leaves else jnp.result_type(float)


def floats(value: Any, dtype: Any) -> Array:
    """A value in a run's floating type; a truth value stays one."""
    array = jnp.asarray(value)
    return array if array.dtype == bool else array.astype(dtype)


# ---------------------------------------------------------------- the run


@dataclass(frozen=True)
class Problem:
    """A scenario with its constants: the start, and the derivative in the solver's own shapes."""

    scenario: Scenario
    c: Tuple
    dtype: Any
    layout: Layout
    ticker: Ticker
    y: tuple[Array, ...]
    sampled: Sampled
    large: bool
    """Whether the right-hand side has so many operations that stages share one copy of it"""
    shared: frozenset[int] = frozenset()
    """The slopes that XLA would work out again for each of their readers"""
    light: bool = False
    """Whether they may be, where no derivative is taken"""

    def time(self, i: Any, start: float, step: float) -> Array:
        return start + jnp.asarray(i).astype(self.dtype) * step

    def derivative(self, t: Any, y: tuple[Array, ...], s: Sampled) -> tuple[Array, ...]:
        """dy/dt between ticks."""
        if self.scenario.rhs is None:
            return y
        x, _ = self.layout.unpack(y)
        slopes, integrands = self.scenario.rhs(t, x, s.z, s.held, self.c)
        if self.shared:
            kept = once_in_derivatives if self.light else once
            slopes = tuple(kept(jnp.asarray(slope)) if n in self.shared else slope for n, slope in enumerate(slopes))
        return self.layout.pack(slopes, integrands)

    def point(self, t: Any, y: tuple[Array, ...], s: Sampled) -> Point:
        return Point(t, *_states_first(self.layout.unpack(y), s))


def _states_first(unpacked: tuple[Tuple, Tuple], s: Sampled) -> tuple[Tuple, Tuple, Tuple, Tuple]:
    return unpacked[0], s.z, s.held, unpacked[1]


def problem(scenario: Scenario, c: Tuple, method: Method, company: Company = "unknown") -> Problem:
    """Where a run begins, with the types that it keeps."""
    run = scenario.run
    assert run is not None and scenario.start is not None, "a static scenario is not solved; this is a bug in DPL"
    starts = scenario.start(c)
    dtype = float_type(c, starts)
    x, z, held = (jax.tree.map(lambda v: floats(v, dtype), part) for part in starts)
    held = typed_held(scenario.clocks, jnp.asarray(run.start, dtype), x, z, held, c)
    totals: Tuple = ()
    operations, elementary, light, shared = 0, True, True, frozenset[int]()
    if scenario.rhs is not None:
        closed, shapes = jax.make_jaxpr(scenario.rhs, return_shape=True)(jnp.asarray(run.start, dtype), x, z, held, c)
        totals = tuple(jnp.zeros(shape.shape, dtype) for shape in shapes[1])
        operations = len(closed.jaxpr.eqns)
        elementary = all(e.primitive.name in ELEMENTARY for e in closed.jaxpr.eqns)
        light = operations <= LIGHT and all(e.primitive.name in CHEAP for e in closed.jaxpr.eqns)
        shared = _repeated(closed.jaxpr, len(x)) if isinstance(x, tuple) else shared
    keep = operations <= SIMPLE[company] and (elementary or company == "alone")
    layout = Layout(x, totals, dtype, flat=method.name in ADAPTIVE, apart=keep)
    sampled = Sampled(z, z, held)
    y, large, shared = layout.pack(x, totals), operations > LARGE, shared if keep else frozenset[int]()
    return Problem(scenario, c, dtype, layout, Ticker(scenario.clocks, sampled), y, sampled, large, shared, light)


def _repeated(jaxpr: Any, states: int) -> frozenset[int]:
    """Which of the slopes are worked out, and by something else than a division, which XLA never repeats."""
    last = {out: e.primitive.name for e in jaxpr.eqns for out in e.outvars}
    names = [last.get(out) if isinstance(out, Var) else None for out in jaxpr.outvars[:states]]
    return frozenset(n for n, name in enumerate(names) if name not in (None, "div"))


def typed_held(clocks: Sequence[Clock], t: Array, x: Tuple, z: Tuple, held: Tuple, c: Tuple) -> Tuple:
    """Truth values stay truth values whatever the placeholder at the start was."""
    for clock in clocks:
        new, _ = jax.eval_shape(clock.evaluate, t, x, z, held, c)
        held = tuple(
            jnp.broadcast_to(h.astype(bool) if n.dtype == bool else h, n.shape) for n, h in zip(new, held, strict=True)
        )
    return held


def solve(
    problem: Problem,
    method: Method,
    plan: Plan,
    record: Record | None = None,
    ends: bool = True,
    mode: Mode = "reverse",
) -> Solution:
    """One run on a plan made for the method.

    Args:
        problem: the run's start and equations.
        method: its name is in `FIXED` or `ADAPTIVE`.
        plan: ticks and steps.
        record: what to keep at every grid point; nothing is kept without.
        ends: whether `first` and `last` are wanted.
        mode: which derivatives will be taken.
    """
    p = problem
    interval = _interval(p, method, plan, record, mode)
    carry = beginning(p)
    whole = lambda carry, i: interval(carry, i, plan.base, plan.steps)[:2]  # noqa: E731
    parts: list[Any] = []
    cut_short = None
    if plan.intervals:
        carry, series = _repeat(whole, carry, plan.intervals)
        parts.append(jax.tree.map(lambda a: a.reshape((-1, *a.shape[2:])), series))
    if plan.rest_steps:
        carry, series, cut_short = interval(carry, plan.intervals, plan.rest, plan.rest_steps)
        parts.append(series)
    return _solution(p, plan, carry, cut_short, parts, record, ends)


def beginning(p: Problem) -> Carry:
    """Where a run is before its first tick."""
    return Carry(p.y, p.ticker.carried(p.sampled), jnp.asarray(OK, jnp.int32))


def _interval(
    p: Problem, method: Method, plan: Plan, record: Record | None, mode: Mode
) -> Callable[[Carry, Any, float, int], tuple[Carry, Any, Sampled]]:
    """(carry, i, length, steps) -> the carry after the interval that tick `i` begins, what was recorded, the tick."""
    span = _fixed_span(p, method, plan) if method.name in FIXED else _adaptive_span(p, method, mode)
    # The gradient recomputes what a tick works out (measured: 0.7 times the time with a network and 1,024 runs).
    tick = jax.checkpoint(p.ticker.tick, prevent_cse=False)

    def interval(carry: Carry, i: Any, length: float, steps: int) -> tuple[Carry, Any, Sampled]:
        y, kept, status = carry
        t = p.time(i, plan.start, plan.base)
        s = tick(i, t, p.layout.unpack(y)[0], p.ticker.restored(kept), p.c)
        y, worst, series = span(t, y, s, length, steps, record)
        if worst is not None:
            status = jnp.where(status == OK, worst, status)
        return Carry(y, p.ticker.carried(s), status), series, s

    return interval


def piece(p: Problem, method: Method, plan: Plan, carry: Carry, first: Any, count: int) -> tuple[Carry, Carry]:
    """`count` whole intervals of a run from tick `first` on, from where it is: the end, and where each of them began.

    Args:
        carry: as `beginning` or an earlier piece left it.
        first: the number of the tick, traced or not.
    """
    interval = _interval(p, method, plan, None, "reverse")
    step = lambda carry, i: (interval(carry, i, plan.base, plan.steps)[0], carry)  # noqa: E731
    return lax.scan(step, carry, first + jnp.arange(count))


def _repeat(body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, count: int) -> tuple[Any, Any]:
    if count == 1:
        carry, series = body(carry, 0)
        return carry, jax.tree.map(lambda a: a[None], series)
    return checkpointed(body, carry, jnp.arange(count, dtype=jnp.int32))


def checkpointed(body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, rows: Any) -> tuple[Any, Any]:
    """`lax.scan(body, carry, rows)`; a long one is cut, so that its gradient stores about 2 √n carries and not n.

    The gradient of a part computes it again from its beginning: one more pass forward (Griewank and Walther 2008,
    Evaluating Derivatives, chapter 12, with two levels).
    """
    count = jax.tree.leaves(rows)[0].shape[0]
    if count < LONG:
        return lax.scan(body, carry, rows)
    parts, length = cut(count)
    whole = jax.tree.map(lambda a: a[: parts * length].reshape((parts, length, *a.shape[1:])), rows)
    part = jax.checkpoint(lambda carry, rows: lax.scan(body, carry, rows), prevent_cse=False)
    carry, series = lax.scan(part, carry, whole)
    series = jax.tree.map(lambda a: a.reshape((-1, *a.shape[2:])), series)
    if parts * length == count:
        return carry, series
    carry, rest = part(carry, jax.tree.map(lambda a: a[parts * length :], rows))
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), series, rest)


def cut(count: int) -> tuple[int, int]:
    """How many parts, of how many steps each: about √n, without a rest where a divisor is near."""
    root = math.isqrt(count)
    divisor = next((n for n in range(root, root // 2, -1) if count % n == 0), root)
    return count // divisor, divisor


def _solution(
    p: Problem, plan: Plan, carry: Any, cut_short: Sampled | None, parts: list[Any], record: Record | None, ends: bool
) -> Solution:
    """What a run leaves. A run that ends between two ticks (`cut_short`) ends as the last of them left it."""
    y, kept, status = carry
    end = jnp.asarray(plan.end, p.dtype)
    finite = jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in y]).all() if y else jnp.asarray(True)
    status = jnp.where((status == OK) & ~finite, NONFINITE, status)
    last = first = series = None
    if ends or record is not None:
        s = cut_short or p.ticker.tick(plan.intervals, end, p.layout.unpack(y)[0], p.ticker.restored(kept), p.c)
        last = p.point(end, y, s)
    if ends:
        start = jnp.asarray(plan.start, p.dtype)
        first = p.point(start, p.y, p.ticker.tick(0, start, p.layout.unpack(p.y)[0], p.sampled, p.c))
    if record is not None and last is not None:
        final = jax.tree.map(lambda a: jnp.asarray(a)[None], record(last))
        series = jax.tree.map(lambda *a: jnp.concatenate(a), *parts, final)
        if plan.step is not None:
            order = plan.order()
            series = jax.tree.map(lambda a: a[order], series)
    return Solution(first, last, p.layout.unpack(y)[1], series, status)


# ---------------------------------------------------------------- fixed steps

Flow = Callable[[Any, tuple[Array, ...]], tuple[Array, ...]]


def _along(y: tuple[Array, ...], slope: tuple[Array, ...], h: Any) -> tuple[Array, ...]:
    return tuple(a + h * b for a, b in zip(y, slope, strict=True))


def _euler(p: Problem, t: Any, y: tuple[Array, ...], s: Sampled, h: float) -> tuple[Array, ...]:
    """y + h f(t, y); also one rectangle per tick where everything is sampled."""
    return _along(y, p.derivative(t, y, s), h)


def _semi_implicit(p: Problem, t: Any, y: tuple[Array, ...], s: Sampled, h: float) -> tuple[Array, ...]:
    """Rates first, with old values; then the other states with the new rates. Quadratures on the old state."""
    rhs, rates = p.scenario.rhs, p.scenario.rates
    if rhs is None or not rates:
        return _euler(p, t, y, s, h)
    x, totals = p.layout.unpack(y)
    slopes, integrands = rhs(t, x, s.z, s.held, p.c)
    moved = tuple(a + h * slopes[n] if n in rates else a for n, a in enumerate(x))
    later, _ = rhs(t, moved, s.z, s.held, p.c)
    x = tuple(moved[n] if n in rates else a + h * later[n] for n, a in enumerate(x))
    return p.layout.pack(x, tuple(a + h * b for a, b in zip(totals, integrands, strict=True)))


def _midpoint(p: Problem, t: Any, y: tuple[Array, ...], s: Sampled, h: float) -> tuple[Array, ...]:
    """The explicit midpoint rule, second order."""
    half = _along(y, p.derivative(t, y, s), 0.5 * h)
    return _along(y, p.derivative(t + 0.5 * h, half, s), h)


def _rk4(p: Problem, t: Any, y: tuple[Array, ...], s: Sampled, h: float) -> tuple[Array, ...]:
    """The classical Runge-Kutta method, fourth order (Kutta 1901)."""
    if p.large:
        return _rk4_stage_by_stage(p, t, y, s, h)
    k1 = p.derivative(t, y, s)
    k2 = p.derivative(t + 0.5 * h, _along(y, k1, 0.5 * h), s)
    k3 = p.derivative(t + 0.5 * h, _along(y, k2, 0.5 * h), s)
    k4 = p.derivative(t + h, _along(y, k3, h), s)
    return tuple(a + (h / 6) * (e1 + 2 * (e2 + e3) + e4) for a, e1, e2, e3, e4 in zip(y, k1, k2, k3, k4, strict=True))


def _rk4_stage_by_stage(p: Problem, t: Any, y: tuple[Array, ...], s: Sampled, h: float) -> tuple[Array, ...]:
    """The same with one copy of the right-hand side, so that a large one compiles in a third of the time."""

    def stage(carry: Any, row: Any) -> tuple[Any, None]:
        slope, total = carry
        share, weight = row
        slope = p.derivative(t + share * h, _along(y, slope, share * h), s)
        return (slope, _along(total, slope, weight * h)), None

    shares, weights = jnp.asarray([0, 0.5, 0.5, 1], p.dtype), jnp.asarray([1 / 6, 1 / 3, 1 / 3, 1 / 6], p.dtype)
    still = tuple(jnp.zeros_like(a) for a in y)
    (_, total), _ = lax.scan(jax.checkpoint(stage, prevent_cse=False), (still, y), (shares, weights))
    return total


Stepper = Callable[[Problem, Any, tuple[Array, ...], Sampled, float], tuple[Array, ...]]

FIXED: Mapping[str, Stepper] = {
    "euler": _euler,
    "semi_implicit": _semi_implicit,
    "midpoint": _midpoint,
    "rk4": _rk4,
    "sampled": _euler,
}


def _fixed_span(p: Problem, method: Method, plan: Plan) -> Callable[..., tuple[Any, Any, Any]]:
    if plan.step is not None:
        return _masked_span(p, method, plan)
    stepper = FIXED[method.name]

    def span(
        t: Any, y: tuple[Array, ...], s: Sampled, length: float, steps: int, record: Record | None
    ) -> tuple[Any, Any, Any]:
        h = length / steps

        def step(y: tuple[Array, ...], j: Any) -> tuple[tuple[Array, ...], Any]:
            now = t if steps == 1 else t + jnp.asarray(j).astype(p.dtype) * h
            new = stepper(p, now, y, s, h) if y else y
            new = tuple(as_type_of(a, b) for a, b in zip(new, y, strict=True))
            return new, None if record is None else record(p.point(now, y, s))

        # The gradient keeps the state at each step and recomputes the rest (measured: half the time of keeping it all).
        y, series = _repeat(jax.checkpoint(step, prevent_cse=False), y, steps)
        return y, None, series

    return span


def _masked_span(p: Problem, method: Method, plan: Plan) -> Callable[..., tuple[Any, Any, Any]]:
    """The same where the step is traced: `steps` is the room for steps, and those that are not real change nothing."""
    stepper = FIXED[method.name]

    def span(
        t: Any, y: tuple[Array, ...], s: Sampled, length: float, steps: int, record: Record | None
    ) -> tuple[Any, Any, Any]:
        begins, count = plan.begins(length, steps)
        begins = begins.astype(p.dtype)

        def step(y: tuple[Array, ...], row: Any) -> tuple[tuple[Array, ...], Any]:
            j, begin, end = row
            now = t + begin
            new = stepper(p, now, y, s, end - begin) if y else y
            new = tuple(jnp.where(j < count, as_type_of(a, b), b) for a, b in zip(new, y, strict=True))
            return new, None if record is None else record(p.point(now, y, s))

        rows = jnp.arange(steps, dtype=jnp.int32), begins[:-1], begins[1:]
        y, series = checkpointed(jax.checkpoint(step, prevent_cse=False), y, rows)
        return y, None, series

    return span


# ---------------------------------------------------------------- adaptive steps

ADAPTIVE: Mapping[str, str] = {
    "tsit5": "Tsit5", "dopri5": "Dopri5", "dopri8": "Dopri8", "kvaerno5": "Kvaerno5", "rodas5p": "",
}  # fmt: skip
"""Names of solvers in diffrax, which takes longer to import than JAX and is imported where a run needs it; empty for
the one of our own (`stiff.py`)"""

GREATEST_STEPS = 4096 * 4
TIMED_STEPS = 1000
"""Least steps of an adaptive run whose right-hand side reads the time: a longer step could pass over a pulse unseen"""


def tolerance(method: Method, name: str, otherwise: float, dtype: Any) -> Array:
    """A tolerance as the method says it, traced or not; where it says none, or NaN, the other."""
    said = lax.stop_gradient(jnp.asarray(method.arguments.get(name, math.nan), dtype))
    return jnp.where(jnp.isnan(said), jnp.asarray(otherwise, dtype), said)


def tolerances(p: Problem, method: Method) -> tuple[Array, Array]:
    """rtol, and atol of every entry of y [SI]: the method's own number is in each state's declared unit."""
    single = p.dtype == jnp.float32
    rtol = tolerance(method, "rtol", 1e-5 if single else 1e-8, p.dtype)
    atol = tolerance(method, "atol", 1e-6 if single else 1e-10, p.dtype)
    x, totals = p.layout.unpack(p.y)
    scales = [atol * o.unit.scale for o in p.scenario.states]
    if isinstance(x, groups.Joined):
        per_state = groups.Joined(jnp.asarray(scales, p.dtype))
    else:
        per_state = tuple(jnp.full(jnp.shape(a), scale, p.dtype) for a, scale in zip(x, scales, strict=True))
    return rtol, p.layout.pack(per_state, _total_tolerances(p, totals, rtol, atol))[0]


def _total_tolerances(p: Problem, totals: Tuple, rtol: Array, atol: Array) -> Tuple:
    """An integral has no declared unit: it is held to a share of what the integrand at the start gives over the run."""
    if not totals or p.scenario.rhs is None or p.scenario.run is None:
        return totals
    start = jnp.asarray(p.scenario.run.start, p.dtype)
    s = p.ticker.tick(0, start, p.layout.unpack(p.y)[0], p.sampled, p.c)
    _, integrands = p.scenario.rhs(start, p.layout.unpack(p.y)[0], s.z, s.held, p.c)
    duration = p.scenario.run.duration
    return tuple(lax.stop_gradient(atol + rtol * duration * jnp.abs(jnp.nan_to_num(e))) for e in integrands)


def _adaptive_span(p: Problem, method: Method, mode: Mode) -> Callable[..., tuple[Any, Any, Any]]:
    import diffrax

    rtol, atol = tolerances(p, method)
    adjoint = diffrax.ForwardMode() if mode == "forward" else diffrax.RecursiveCheckpointAdjoint()
    greatest = int(method.arguments.get("max_steps", GREATEST_STEPS))
    # Time within the interval: its ends are then known before the run, and exact.
    term = diffrax.ODETerm(lambda within, y, tick: p.derivative(tick[0] + within, y, tick[1]))

    def span(
        t: Any, y: tuple[Array, ...], s: Sampled, length: float, steps: int, record: Record | None
    ) -> tuple[Any, Any, Any]:
        controller = _step_sizes(p, rtol, atol, t, length, greatest)
        times = np.arange(steps + 1) * (length / steps)
        times[-1] = length
        save = diffrax.SaveAt(t1=True) if record is None else diffrax.SaveAt(ts=jnp.asarray(times, p.dtype))
        out = diffrax.diffeqsolve(
            term, solver_of(p, method, t, y, s), jnp.asarray(0, p.dtype), jnp.asarray(length, p.dtype), None, y, (t, s),
            saveat=save, stepsize_controller=controller, adjoint=adjoint, max_steps=greatest, throw=False,
        )  # fmt: skip
        ys = out.ys
        assert ys is not None
        series = None
        if record is not None:
            ts = t + jnp.asarray(times[:-1], p.dtype)
            series = jax.vmap(lambda t, y: record(p.point(t, y, s)))(ts, tuple(a[:-1] for a in ys))
        return tuple(a[-1] for a in ys), status_of(out.result), series

    return span


def solver_of(p: Problem, method: Method, t: Any, y: tuple[Array, ...], s: Sampled) -> Any:
    import diffrax

    from dpl.runtime import stiff  # builds on this module

    named = ADAPTIVE[method.name]
    return getattr(diffrax, named)() if named else stiff.rodas5p(p, t, y, s)


def _step_sizes(p: Problem, rtol: Array, atol: Array, t: Any, length: float, greatest: int) -> Any:
    """Step sizes by the error; bounded above where time acts by itself, and below so that a jump is got across."""
    import diffrax

    run, s = p.scenario.run, p.scenario
    assert run is not None
    longest = run.duration / min(TIMED_STEPS, max(1, greatest // 4)) if s.timed else None
    shortest = 2 * float(jnp.finfo(p.dtype).eps) * length
    sizes = diffrax.PIDController(rtol=rtol, atol=atol, dtmin=shortest, dtmax=longest)
    at = kinks(s, p.c, p.dtype)
    return sizes if at is None else diffrax.ClipStepSizeController(sizes, jump_ts=jnp.sort(at) - t)


def kinks(scenario: Scenario, c: Tuple, dtype: Any) -> Array | None:
    """The times [s] at which the right-hand side jumps or has a kink; None without any."""
    told = (times(c) for times in (scenario.jumps, scenario.knots) if times is not None)
    parts = [jnp.ravel(jnp.asarray(t, dtype)) for part in told for t in part]
    return lax.stop_gradient(jnp.concatenate(parts)) if parts else None


def status_of(result: diffrax.RESULTS) -> Array:
    import diffrax

    failure = jnp.where(result == diffrax.RESULTS.max_steps_reached, MAX_STEPS, FAILED)
    return jnp.where(result == diffrax.RESULTS.successful, OK, failure).astype(jnp.int32)


# ---------------------------------------------------------------- plans


MEASURING = 1000
"""Intervals of the grid on which an adaptive run is measured."""


def plan(scenario: Scenario, method: Method, points: int | None = None) -> Plan:
    """Ticks and steps of a run; `points` recording intervals where the solver chooses its own steps."""
    run = scenario.run
    assert run is not None, "a static scenario has no plan; this is a bug in DPL"
    if method.name in FIXED:
        return plans.fixed(run, method)
    if method.name in ADAPTIVE:
        return plans.adaptive(run, points or 1)
    known = ", ".join((*FIXED, *ADAPTIVE))
    raise ValueError(f"there is no method `{method.name}`; there are {known}")


def passes(plan: Plan) -> str:
    """In words, what the gradient of a long run with fixed steps stores; empty of a short one."""
    count = max(plan.intervals, plan.steps)
    if count < LONG:
        return ""
    parts, length = cut(count)
    return f"of its {count:_} steps a gradient stores {parts:_} and computes {length:_} again from each"
