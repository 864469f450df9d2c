"""A run looked at at given times, which may be traced: the times of data are arguments of a program like any values.

Adaptive steps end exactly at each time, so that what is seen there has the accuracy of the solver and not that of an
interpolant. Prescribed steps stay where they are; between them is the cubic (Hermite) through their ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from dpl.runtime import solve, trajectory
from dpl.runtime.hybrid import steps
from dpl.runtime.hybrid.flows import SHARED, linearly_implicit
from dpl.runtime.hybrid.loops import stored
from dpl.runtime.hybrid.march import LEAST, MOST, SAFETY
from dpl.runtime.solve import MAX_STEPS, NONFINITE, OK, TIMED_STEPS, Layout, Mode, Point, Problem
from dpl.runtime.spec import Method, Scenario
from dpl.runtime.ticks import Tuple

FEW_STATES = 32
"""States up to which each is an array of its own in a step, which XLA then makes one kernel of"""


def landed(scenario: Scenario, c: Tuple, method: Method, times: Array, mode: Mode) -> tuple[Point, Array]:
    """Where a run without modes is at each of `times` [n], and its status.

    Args:
        times: ascending, within the run [s]; some may be the same. The run goes no further than the last.
        mode: which derivatives an adaptive run is to have.
    """
    if method.name in solve.FIXED:
        return _between_steps(scenario, c, method, times)
    if method.name == "kvaerno5":
        return _by_diffrax(scenario, c, method, times, mode)
    return _onto(scenario, c, method, times, mode)


def _between_steps(scenario: Scenario, c: Tuple, method: Method, times: Array) -> tuple[Point, Array]:
    p, plan = solve.problem(scenario, c, method), solve.plan(scenario, method)
    out = solve.solve(p, method, plan, record=lambda point: point, ends=False)
    point = trajectory.between(p, out.series, times, plan.times(), plan.last(), 1e-9 * plan.base / plan.steps)
    return point, out.status


# ---------------------------------------------------------------- adaptive steps


class Place(NamedTuple):
    """Where a run is: the time [s], the packed state, the length of the next step, how many were tried."""

    t: Array
    y: steps.State
    slope: steps.State
    size: Array
    tried: Array
    broken: Array


@dataclass(frozen=True)
class _Pace:
    """How far a step may go [s], and what error it may have; `atol` as the packed state."""

    order: int
    rtol: Array
    atol: steps.State
    longest: float
    shortest: float
    greatest: int


def _onto(scenario: Scenario, c: Tuple, method: Method, times: Array, mode: Mode) -> tuple[Point, Array]:
    """By steps that end at each time, and at those at which the right-hand side jumps or has a kink."""
    p, run = solve.problem(scenario, c, method), scenario.run
    x, _ = p.layout.unpack(p.y)
    assert run is not None
    if len(x) == 0 or scenario.rhs is None:
        return _still(p, times), jnp.asarray(OK, jnp.int32)
    layout = Layout(x, (), p.dtype, flat=False, apart=len(x) <= FEW_STATES)
    step, slope, pace = _stepping(p, layout, method)
    loop = lax.while_loop if mode == "forward" else stored
    halts, places = _halts(p, times)

    def interval(at: Place, end: Array) -> tuple[Place, tuple[Array, steps.State]]:
        at = at._replace(slope=slope(at.t, at.y))  # a jump may begin here
        last = jnp.maximum(jnp.nextafter(end, -jnp.inf), at.t)
        going = lambda at: (at.t < end) & ~at.broken & (at.tried < pace.greatest)  # noqa: E731
        at = loop(going, lambda at: _attempt(step, pace, end, last, at), at)
        return at, (at.t, at.y)

    start, size = jnp.asarray(run.start, p.dtype), jnp.asarray(1e-4 * run.duration, p.dtype)
    y = layout.pack(x, ())
    nothing = tuple(jnp.zeros_like(a) for a in y)
    first = Place(start, y, nothing, size, jnp.asarray(0, jnp.int32), jnp.asarray(False))
    at, (_, ys) = lax.scan(interval, first, halts)
    ys = ys if places is None else jax.tree.map(lambda a: a[places], ys)
    status = jnp.where(at.broken, NONFINITE, jnp.where(at.tried >= pace.greatest, MAX_STEPS, OK))
    states = jax.vmap(lambda y: layout.unpack(y)[0])(ys)
    return _still(p, times)._replace(x=states), status.astype(jnp.int32)


def _still(p: Problem, times: Array) -> Point:
    """The start at all times: of a run without clocks that is what it holds."""
    s = p.sampled
    held = p.layout.unpack(p.y)[0], s.z, s.held
    x, z, held = jax.tree.map(lambda a: jnp.broadcast_to(a, (*times.shape, *jnp.shape(a))), held)
    return Point(times, x, z, held, ())


def _halts(p: Problem, times: Array) -> tuple[Array, Array | None]:
    """Where steps end, ascending, and which of these are `times`; None: all, in order."""
    run, kinks = p.scenario.run, solve.kinks(p.scenario, p.c, p.dtype)
    if kinks is None or run is None:
        return lax.stop_gradient(times), None
    halts = lax.stop_gradient(jnp.concatenate([times, jnp.clip(kinks, run.start, times[-1])]))
    order = jnp.argsort(halts, stable=True)
    return halts[order], jnp.argsort(order)[: times.shape[0]]


def _stepping(p: Problem, layout: Layout, method: Method) -> tuple[Callable[..., Any], steps.Slope, _Pace]:
    """A step of the method, the slope, and how long steps may be."""
    scenario, s, run = p.scenario, p.sampled, p.scenario.run
    assert run is not None and scenario.rhs is not None
    rhs = scenario.rhs

    def slope(t: Any, y: steps.State) -> steps.State:
        return layout.pack(rhs(t, layout.unpack(y)[0], s.z, s.held, p.c)[0], ())

    rtol, atol = solve.tolerances(p, method)
    greatest = int(method.arguments.get("max_steps", solve.GREATEST_STEPS))
    longest = run.duration / min(TIMED_STEPS, max(1, greatest // 4)) if scenario.timed else math.inf
    shortest = 2 * float(jnp.finfo(p.dtype).eps) * max(abs(run.start), run.duration)
    x, _ = p.layout.unpack(p.y)
    y, start = layout.pack(x, ()), jnp.asarray(run.start, p.dtype)
    if method.name == "rodas5p":
        step, order = linearly_implicit(slope, start, y, 0, scenario.timed, shortest), 5
    else:
        table = steps.tableau(method.name)
        large = len(jax.make_jaxpr(slope)(start, y).jaxpr.eqns) > SHARED
        form, order = steps.step_by_stages if large else steps.step, table.order
        step = lambda *a: form(table, slope, *a)  # noqa: E731
    return step, slope, _Pace(order, rtol, layout.pack(p.layout.unpack((atol,))[0], ()), longest, shortest, greatest)


def _attempt(step: Callable[..., Any], pace: _Pace, end: Array, last: Array, at: Place) -> Place:
    """One step towards `end` [s], kept if its error is small enough. Its length has no derivative."""
    rest = end - at.t
    wanted = jnp.minimum(at.size, pace.longest)
    reaches = wanted >= rest
    # Two steps of half the way where one would leave a step too short to be of use.
    length = jnp.where(reaches, rest, jnp.where(2 * wanted > rest, 0.5 * rest, wanted))
    new, slope, error = step(at.t, at.y, at.slope, length, last)[:3]
    total: Any = 0.0
    for e, a, b, least in zip(error, at.y, new, pace.atol, strict=True):
        size = jnp.maximum(jnp.abs(lax.stop_gradient(a)), jnp.abs(lax.stop_gradient(b)))
        total = total + jnp.sum((e / (least + pace.rtol * size)) ** 2)
    squared = total / sum(a.size for a in at.y)
    known = jnp.isfinite(squared)
    short = length <= pace.shortest
    fine = known & ((squared <= 1) | short)
    power = jnp.exp2(-0.5 / pace.order * jnp.log2(jnp.maximum(jnp.where(known, squared, 1e18), 1e-30)))
    proposed = length * jnp.clip(SAFETY * power, LEAST, MOST)
    size = jnp.where(fine & (length < wanted), jnp.maximum(at.size, proposed), proposed)
    chosen = lambda new, old: tuple(jnp.where(fine, a, b) for a, b in zip(new, old, strict=True))  # noqa: E731
    t = jnp.where(fine, jnp.where(reaches, end, at.t + length), at.t)
    return Place(
        t, chosen(new, at.y), chosen(slope, at.slope), lax.stop_gradient(jnp.maximum(size, pace.shortest)),
        at.tried + 1, at.broken | (~known & short),
    )  # fmt: skip


def _by_diffrax(scenario: Scenario, c: Tuple, method: Method, times: Array, mode: Mode) -> tuple[Point, Array]:
    """Methods that only diffrax has: its steps end at each time."""
    import diffrax

    p = solve.problem(scenario, c, method)
    assert scenario.run is not None
    t, s = jnp.asarray(scenario.run.start, p.dtype), p.sampled
    rtol, atol = solve.tolerances(p, method)
    halts, _ = _halts(p, times)
    greatest = int(method.arguments.get("max_steps", solve.GREATEST_STEPS))
    longest = scenario.run.duration / min(TIMED_STEPS, max(1, greatest // 4)) if scenario.timed else None
    sizes = diffrax.PIDController(rtol=rtol, atol=atol, dtmax=longest)
    controller = diffrax.ClipStepSizeController(sizes, step_ts=halts)
    out = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, tick: p.derivative(t, y, tick)), solve.solver_of(p, method, t, p.y, s),
        t, halts[-1], None, p.y, s, saveat=diffrax.SaveAt(ts=lax.stop_gradient(times)), stepsize_controller=controller,
        adjoint=diffrax.ForwardMode() if mode == "forward" else diffrax.RecursiveCheckpointAdjoint(),
        max_steps=greatest, throw=False,
    )  # fmt: skip
    ys = out.ys
    assert ys is not None
    states = jax.vmap(lambda y: p.layout.unpack(y)[0])(ys)
    return _still(p, times)._replace(x=states), solve.status_of(out.result)
