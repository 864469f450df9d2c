"""How far numbers in 32 bits are from those in 64: some runs repeated, their losses, metrics and gradients compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime.program import Program, Scenario
from dpl.tasks.sampling import drawn, stream

RUNS = 8
"""So many runs of each scenario are repeated"""


@dataclass(frozen=True)
class Precision:
    """The largest deviations of a scenario's numbers over some runs, relative to the largest of each over the runs."""

    scenario: str
    runs: int
    measures: Mapping[str, float]
    gradient: float | None
    """Of any loss (of any metric, without losses) with respect to any param; None without params"""
    unended: int
    """Runs that end well in one precision only"""

    def __str__(self) -> str:
        worst = max(self.measures, key=lambda name: self.measures[name], default="")
        said = [f"{worst} {self.measures[worst]:.1g}"] if worst else []
        said += [f"gradients {self.gradient:.1g}"] if self.gradient is not None else []
        said += [f"{self.unended} of {self.runs} runs end well in one of them only"] if self.unended else []
        return f"{self.scenario}: float32 differs from float64, relatively and at the most, by {', '.join(said)}"


def precision(program: Program, scenario: Scenario) -> Precision:
    """Some fresh runs with the current values, in both precisions."""
    scenario.method  # noqa: B018  chosen here, outside any trace
    base = scenario.values_si()
    runs = jax.device_get(drawn(scenario, frozenset(), base, stream(program.seed, "precision"), jnp.arange(RUNS)))
    single = _found(scenario, base, runs, "float32")
    double = _found(scenario, base, runs, "float64")
    fine = (single[2] == 0) & (double[2] == 0)
    apart = {name: _apart(single[0][name][fine], double[0][name][fine]) for name in double[0]}
    slopes = [_apart(a[fine], b[fine]) for a, b in zip(single[1], double[1], strict=True)]
    unended = int(np.sum((single[2] == 0) != (double[2] == 0)))
    return Precision(scenario.name, RUNS, apart, max(slopes, default=None), unended)


def _found(scenario: Scenario, base: Mapping[str, Any], runs: Mapping[str, Any], dtype: str) -> tuple[Any, Any, Any]:
    """Every measure [runs], the gradients of all losses to the params [runs, …], and the status [runs]."""
    spec = scenario.spec
    params = {p.name: base[p.name] for p in spec.params if p.name in base}
    losses = [m.name for m in spec.measures if m.kind == "loss"] or [m.name for m in spec.measures]

    def one(row: Any, _: Any) -> tuple[Any, Any, Any]:
        def measured(params: Any) -> tuple[Any, Any]:
            results, status = scenario.measured_in(dtype, {**base, **params, **row})
            return [results[name] for name in losses], (results, status)

        slopes, (results, status) = jax.jacrev(measured, has_aux=True)(params)
        return {m.name: results[m.name] for m in spec.measures}, jax.tree.leaves(slopes), status

    return jax.device_get(jax.jit(partial(jax.vmap(one), dict(runs)))(jnp.arange(RUNS)))


def _apart(found: Any, exact: Any) -> float:
    """The largest deviation relative to the largest value."""
    size = float(np.max(np.abs(exact), initial=0.0))
    off = float(np.max(np.abs(found - exact), initial=0.0))
    return off / size if size else off
