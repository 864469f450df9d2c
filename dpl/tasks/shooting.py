"""`window` of a fit: multiple shooting, from which an ordinary fit goes on.

The states at the beginning of every window are free numbers, and how far a window ends from the next is observed to be
0. Its standard deviation falls in stages: at first the windows follow the data, at the end they are one run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import bounds, landing, shooting
from dpl.runtime.program import Scenario
from dpl.runtime.shooting import LOOSE, Windows
from dpl.tasks import scoring
from dpl.tasks.fitting import Fitting, Numbers
from dpl.tasks.vary import Freedom

Array = np.ndarray

STAGES = 1.0, 0.1, 0.01, 0.001
"""Standard deviations of the gaps, as shares of the sizes of the states"""
ITERATIONS = 100
"""Of each stage at the most"""


def shot(fitting: Fitting, numbers: Numbers, starts: Array, length: float) -> Array:
    """Where the windows [of `length`, s] lead from the starts [starts, p]; a start from where they fail stays.

    Raises:
        ValueError: the scenario has no run that can be cut, or it is no longer than one window.
    """
    scenario = fitting.scenario
    if why := shooting.hindrance(scenario):
        raise ValueError(f"`window` cannot cut the run of {scenario.name}: {why}")
    windows = shooting.count(scenario, numbers.cases, length)
    if windows < 2:
        raise ValueError(f"`window` is as long as the data of {scenario.name}: say a shorter one")
    begins = jax.vmap(_guess(fitting, numbers, length, windows))(jnp.asarray(starts))
    begins = {name: np.nan_to_num(np.asarray(v)) for name, v in begins.items()}
    sizes = {o.name: np.abs(begins[shooting.begin(o.name)]).max() or o.unit.scale for o in scenario.spec.states}
    scales = {name: float(size) for name, size in sizes.items()}
    cut = Windows(scenario, length, scales)
    each = fitting.runs > 1
    more = tuple(Freedom(param, bounds.of(param), each) for param in cut.begins(windows))
    wide = replace(fitting, scenario=cut, free=(*fitting.free, *more))
    x = np.asarray(jax.vmap(lambda x, own: _wider(fitting, wide, x, own))(jnp.asarray(starts), begins))
    cases, reached = shooting.cut(cut, numbers.cases), np.ones(len(starts), bool)
    for loose in STAGES:
        stage = Numbers({**numbers.base, LOOSE: np.asarray(loose)}, cases)
        solved = scoring.solve(wide, x, stage, steps=ITERATIONS)
        reached &= np.asarray(solved.state) != scoring.FAILED
        x = np.where(reached[:, None], solved.x, x)
    back = jax.vmap(lambda x: fitting.outward(wide.inward(x)))(jnp.asarray(x))
    return np.where(reached[:, None], np.asarray(back), starts)


def _guess(fitting: Fitting, numbers: Numbers, length: float, windows: int) -> Any:
    """(x [p]) -> the states at the beginning of every window but the first, by name: [windows - 1], or [runs, …]."""
    scenario: Scenario = fitting.scenario
    spec, method = scenario.spec, scenario.method
    assert spec.run is not None
    times = spec.run.start + length * np.arange(1, windows)

    def guess(x: Any) -> dict[str, Any]:
        values = fitting.inward(x)
        shared = {**numbers.base, **{f.name: values[f.name] for f in fitting.free if not f.each}}
        own = {f.name: values[f.name] for f in fitting.free if f.each} | numbers.cases.values

        def run(own: Any, _: Any) -> dict[str, Any]:
            point, _ = landing.landed(spec, spec.fixed({**shared, **own}), method, jnp.asarray(times), "forward")
            return {shooting.begin(o.name): a for o, a in zip(spec.states, point.x, strict=True)}

        told = jax.vmap(run)(own, jnp.arange(fitting.runs))
        return told if fitting.runs > 1 else jax.tree.map(lambda a: a[0], told)

    return jax.jit(guess)


def _wider(fitting: Fitting, wide: Fitting, x: Any, begins: dict[str, Any]) -> Any:
    return wide.outward({**fitting.inward(x), **begins})
