"""A mode as a flow of packed states: its right-hand side, its margins, and the steps of the method."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from dpl.runtime import implicit, rosenbrock
from dpl.runtime.hybrid import steps
from dpl.runtime.hybrid.march import Flow, Steps
from dpl.runtime.hybrid.moment import Hybrid, Moment
from dpl.runtime.solve import Layout, tolerance
from dpl.runtime.spec import Method, Mode
from dpl.runtime.ticks import Sampled, Tuple, as_type_of

GREATEST_STEPS = 4096 * 4

SHARED = 20
"""Operations of a right-hand side from which the stages of a step share one copy of it"""

TIMED_STEPS = 1000
"""Least steps of an adaptive run whose right-hand side reads the time"""


def adaptive(method: Method) -> bool:
    return method.name in steps.EMBEDDED or method.name == "rodas5p"


def prescribed(h: Hybrid) -> Array:
    """The step of a fixed-step method [s]."""
    run = h.scenario.run
    assert run is not None
    step = h.method.arguments.get("step", run.base)
    if step is None:
        raise ValueError(f"the method `{h.method.name}` needs a step, as in `{h.method.name}(step = 0.01)`")
    base = step if run.base is None else run.base
    return base / jnp.ceil(base / jnp.asarray(step, h.dtype) * (1 - 1e-9))


def _steps(h: Hybrid, mode: Mode, layout: Layout, m: Moment) -> Steps:
    greatest = int(h.method.arguments.get("max_steps", GREATEST_STEPS))
    if not adaptive(h.method):
        return Steps(1, None, (), math.inf, 0.0, greatest, h.start, prescribed(h))
    single = h.dtype == jnp.float32
    rtol = tolerance(h.method, "rtol", 1e-5 if single else 1e-8, h.dtype)
    atol = tolerance(h.method, "atol", 1e-6 if single else 1e-10, h.dtype)
    scales = [h.scenario.states[n].unit.scale for n in mode.moved]
    states = tuple(jnp.full(jnp.shape(m.x[n]), atol * u, h.dtype) for n, u in zip(mode.moved, scales, strict=True))
    # An integral has no declared unit: it is held to a share of what the integrand at the start gives over the run.
    first = ()
    if m.totals:
        begin = h.first
        _, first = h.scenario.modes[0].rhs(begin.t, begin.x, begin.sampled.z, begin.sampled.held, h.constants[0])
    totals = tuple(lax.stop_gradient(atol + rtol * h.duration * jnp.abs(jnp.nan_to_num(e))) for e in first)
    longest = h.duration / min(TIMED_STEPS, max(1, greatest // 4)) if mode.timed else math.inf
    shortest = 2 * float(jnp.finfo(h.dtype).eps) * h.duration
    order = rosenbrock.ORDER if h.method.name == "rodas5p" else steps.tableau(h.method.name).order
    return Steps(order, rtol, layout.pack(states, totals), longest, shortest, greatest)


def flow_of(h: Hybrid, index: int, m: Moment) -> tuple[Flow, Layout]:
    """A mode on the packed states that it moves; the others stay as they are in `m`."""
    mode, c, s = h.scenario.modes[index], h.constants[index], m.sampled
    layout = Layout(tuple(m.x[n] for n in mode.moved), m.totals, h.dtype, flat=False, apart=True)

    def whole(y: steps.State) -> Tuple:
        return replaced(m.x, mode.moved, layout.unpack(y)[0])

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

    lengths = _steps(h, mode, layout, m)
    packed = layout.pack(*parts(mode, m))
    if h.method.name == "rodas5p" and mode.moved:
        integrals = sum(a.size for a in m.totals)
        step = linearly_implicit(slope, m.t, packed, integrals, mode.timed, lengths.shortest)
    elif h.method.name == "semi_implicit":
        step = _with_middle(partial(_semi_implicit, mode, layout, slope, whole, s, c))
    else:
        table = steps.tableau("tsit5" if h.method.name == "rodas5p" else h.method.name)
        form = steps.step_by_stages if _large(slope, m.t, packed) else steps.step
        step = _with_middle(partial(form, table, slope))
    return Flow(step, margins, lengths, None if mode.project is None else project), layout


def _with_middle(form: Callable[..., tuple[steps.State, steps.State, steps.State]]) -> Callable[..., Any]:
    """The step with the state in its middle, by the cubic through its ends."""

    def step(t: Any, y: steps.State, first: steps.State, h: Any, last: Any) -> Any:
        new, slope, error = form(t, y, first, h, last)
        return new, slope, error, steps.halfway(y, new, first, slope, h)

    return step


def linearly_implicit(
    slope: steps.Slope, t: Any, y: steps.State, integrals: int, timed: bool, shortest: float
) -> Callable[..., Any]:
    """Steps of Rodas5P on all states as one vector; one of no length stays where it is."""
    shapes = [a.shape for a in y]
    ends = np.cumsum([a.size for a in y])[:-1].tolist()

    def joined(y: steps.State) -> Array:
        return jnp.concatenate([a.ravel() for a in y])

    def split(vector: Array) -> steps.State:
        return tuple(a.reshape(shape) for a, shape in zip(jnp.split(vector, ends), shapes, strict=True))

    def flat(t: Any, vector: Array) -> Array:
        return joined(slope(t, split(vector)))

    vector = joined(y)
    system = implicit.system(flat, vector.size - integrals, integrals, timed, (t, vector), None)

    def step(t: Any, y: steps.State, first: steps.State, h: Any, last: Any) -> Any:
        begin, moves = joined(y), h > 0
        out = rosenbrock.step(system, t, begin, jnp.where(moves, h, shortest), last)
        new = split(jnp.where(moves, out.new, begin))
        middle = jnp.where(moves, rosenbrock.between(begin, out.new, out.increments, 0.5), begin)
        error = split(lax.stop_gradient(out.error))
        return new, slope(jnp.minimum(t + h, last), new), error, split(middle)

    return step


def parts(mode: Mode, m: Moment) -> tuple[Tuple, Tuple]:
    return tuple(m.x[n] for n in mode.moved), m.totals


def _large(slope: Callable[..., Any], t: Any, y: steps.State) -> bool:
    return len(jax.make_jaxpr(slope)(t, y).jaxpr.eqns) > SHARED


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


def replaced(values: Tuple, where: tuple[int, ...], new: Tuple) -> Tuple:
    replaced = list(values)
    for n, value in zip(where, new, strict=True):
        replaced[n] = as_type_of(value, values[n])
    return tuple(replaced)
