"""Which solver a run gets where its text names none, and why, in words with numbers."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from dpl.runtime.solve import Problem, problem
from dpl.runtime.spec import Method, Run, Scenario, Values

STIFF = 1e4
"""A decay rate times the run's duration beyond which explicit steps are bounded by stability, not accuracy"""
SPREAD = 100.0
"""Ratio of fastest to slowest rate from which a system counts as stiff"""
MOST_STATES = 1000
"""States beyond which a dense Jacobian is too dear"""
SMOOTH_STEPS = 1000
"""Steps of a run that has no states and so only integrates"""


def choose(scenario: Scenario, values: Values) -> tuple[Method, str]:
    """A method for the scenario and the reason for it, judged at the nominal values."""
    run = scenario.run
    assert run is not None, "a static scenario needs no method; this is a bug in DPL"
    if scenario.modes:
        return Method("tsit5"), "events and modes: adaptive explicit steps, each event at its own instant"
    if not scenario.states:
        if run.base is not None:
            return Method("sampled"), "everything is sampled: one step per tick"
        step = run.duration / SMOOTH_STEPS
        return Method("rk4", {"step": step}), f"nothing has a derivative: {SMOOTH_STEPS} intervals of {step:.3g} s"
    if sum(math.prod(state.shape) for state in scenario.states) > MOST_STATES:
        return Method("tsit5"), f"more than {MOST_STATES} states, so stiffness was not judged: adaptive explicit steps"
    with jax.ensure_compile_time_eval():
        fastest, slowest = _rates(problem(scenario, scenario.fixed(values), Method()))
    return _by_stiffness(fastest, slowest, run)


def _by_stiffness(fastest: float, slowest: float, run: Run) -> tuple[Method, str]:
    """`fastest` and `slowest` [1/s]; told in the unit of the run."""
    turns = fastest * run.duration
    spread = fastest / max(slowest, 1.0 / run.duration)
    if not math.isfinite(turns):
        words = "the rates at the start are not finite, so stiffness could not be judged"
        return Method("tsit5"), f"{words}: adaptive explicit steps"
    if turns > STIFF and spread > SPREAD:
        within = _with_unit(1 / fastest, run)
        words = f"the fastest mode decays within {within}, {spread:.3g} times as fast as the slowest"
        return Method("kvaerno5"), f"stiff: {words}: adaptive implicit steps"
    if fastest * run.duration < 1e-9:
        words = f"nothing decays at the start, in a run of {_with_unit(run.duration, run)}"
    else:
        within = _with_unit(1 / fastest, run)
        words = f"the fastest decay takes {within} in a run of {_with_unit(run.duration, run)}"
    return Method("tsit5"), f"not stiff: {words}: adaptive explicit steps"


def _with_unit(time: float, run: Run) -> str:
    return f"{time / run.unit.scale:.3g} {run.unit.text}".rstrip()


def _rates(p: Problem) -> tuple[float, float]:
    """The fastest decay |Re λ| and the slowest |λ| [1/s] among Jacobians at the start and near it."""
    start = jnp.asarray(p.scenario.run.start if p.scenario.run else 0.0, p.dtype)
    x, totals = p.layout.unpack(p.y)
    s = p.ticker.tick(0, start, x, p.sampled, p.c)
    flat, restore = _ravel(x)

    def slopes(flat: Any) -> Any:
        return _ravel(p.layout.unpack(p.derivative(start, p.layout.pack(restore(flat), totals), s))[0])[0]

    jacobian = jax.jit(jax.jacfwd(slopes))
    random = np.random.default_rng(0)
    sizes = np.maximum(
        np.abs(np.asarray(flat)),
        [o.unit.scale for o, leaf in zip(p.scenario.states, x, strict=True) for _ in range(leaf.size)],
    )
    spots = [np.asarray(flat), *(np.asarray(flat) + 0.1 * sizes * random.standard_normal(flat.size) for _ in range(3))]
    fastest, slowest = 0.0, math.inf
    for spot in spots:
        matrix = np.asarray(jacobian(jnp.asarray(spot, p.dtype)))
        if not np.all(np.isfinite(matrix)):
            continue
        eigenvalues = np.linalg.eigvals(matrix)
        fastest = max(fastest, float(np.max(-eigenvalues.real)))
        moving = np.abs(eigenvalues)[np.abs(eigenvalues) > 1e-12 * max(fastest, 1e-300)]
        slowest = min(slowest, float(np.min(moving, initial=math.inf)))
    return fastest, slowest


def _ravel(x: tuple[Any, ...]) -> tuple[Any, Any]:
    return ravel_pytree(x)
