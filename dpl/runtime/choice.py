"""Which solver a run gets where its text names none, and why, in words with numbers."""

from __future__ import annotations

import math

import jax

from dpl.runtime import stiffness
from dpl.runtime.solve import problem
from dpl.runtime.spec import Method, Run, Scenario, Values

STIFF = 1e4
"""Decay times within a run beyond which explicit steps, bounded by stability, are too many"""
SPREAD = 100.0
"""Decay times within one step that accuracy allows from which the step counts as stiff"""
SMALL = 100
"""States up to which stiffness is judged along the run; else at its start, by the fastest mode"""
MOST_STATES = 1000
"""States beyond which a Jacobian without a narrow band is too dear"""
EXPLICIT = "adaptive explicit steps"
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
    size = sum(math.prod(state.shape) for state in scenario.states)
    with jax.ensure_compile_time_eval():
        p = problem(scenario, scenario.fixed(values), Method("rodas5p"))
        if size > MOST_STATES and not stiffness.banded(p):
            words = f"more than {MOST_STATES} states, and a Jacobian without a narrow band"
            return Method("tsit5"), f"{words}: {EXPLICIT}"
        if size > SMALL:
            decay = stiffness.fastest(p)
            rates = stiffness.Rates(decay * run.duration, decay, run.duration, run.start)
        else:
            rates = stiffness.along(*stiffness.field(p), run.start, run.duration, SPREAD)
    return _by_stiffness(rates, scenario, run, size)


def jacobian(scenario: Scenario) -> str:
    """Where an implicit method has its Jacobian from."""
    found, size = scenario.jacobian, len(scenario.states)
    if found is None:
        return "with the Jacobian by derivatives of the program"
    count = sum(i < size > j for i, j in zip(found.rows, found.columns, strict=True))
    return f"with {count} of the {size * size} entries of the Jacobian as expressions, the others 0"


def advice(scenario: Scenario, values: Values, method: Method) -> str | None:
    """Of a run whose explicit steps ran out: that it is stiff, with numbers, where it is."""
    if scenario.modes or method.name not in ("tsit5", "dopri5", "dopri8"):
        return None
    better, words = choose(scenario, values)
    return f"{words.rsplit(': ', 1)[0]}: write `using {better.name}()`" if better.name == "rodas5p" else None


def _by_stiffness(rates: stiffness.Rates, scenario: Scenario, run: Run, size: int) -> tuple[Method, str]:
    """Times are told in the unit of the run."""
    if not math.isfinite(rates.turns):
        words = "the rates at the start are not finite, so stiffness could not be judged"
        return Method("tsit5"), f"{words}: adaptive explicit steps"
    if rates.decay * run.duration < 1e-9:
        return Method("tsit5"), f"not stiff: nothing decays in a run of {_with_unit(run.duration, run)}: {EXPLICIT}"
    within = f"a mode decays within {_with_unit(1 / rates.decay, run)}"
    if size > SMALL:
        words = f"{within} at the start of a run of {_with_unit(run.duration, run)}"
    else:
        words = (
            f"{within} at {_with_unit(rates.time, run)}, where accuracy allows steps of {_with_unit(rates.step, run)}"
        )
    if rates.turns > STIFF:
        return Method("rodas5p"), f"stiff: {words}: adaptive linearly implicit steps, {jacobian(scenario)}"
    return Method("tsit5"), f"not stiff: {words}: {EXPLICIT}"


def _with_unit(time: float, run: Run) -> str:
    return f"{time / run.unit.scale:.3g} {run.unit.text}".rstrip()
