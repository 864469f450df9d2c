"""A mode as a flow of packed states: its right-hand side, its margins, and the steps of the method."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

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
    return method.name in steps.EMBEDDED


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
    table = steps.tableau(h.method.name)
    return Steps(table.order, rtol, layout.pack(states, totals), longest, shortest, greatest)


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

    if h.method.name == "semi_implicit":
        step = partial(_semi_implicit, mode, layout, slope, whole, s, c)
    else:
        form = steps.step_by_stages if _large(slope, m.t, layout.pack(*parts(mode, m))) else steps.step
        step = partial(form, steps.tableau(h.method.name), slope)
    return Flow(step, margins, _steps(h, mode, layout, m), None if mode.project is None else project), layout


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
