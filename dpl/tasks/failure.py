"""Which run, equation and line made a loss or a gradient that is not finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import blame, solve
from dpl.runtime.program import Scenario
from dpl.tasks.engine import NotFinite
from dpl.tasks.problem import Problem
from dpl.tasks.result import NumericalFailure, Sample, number
from dpl.tasks.sampling import drawn, sample
from dpl.tasks.vary import outward, quantities

Values = Mapping[str, Any]


def explain(task: str, problem: Problem, base: Values, seed: int, found: NotFinite) -> NumericalFailure:
    """The failure with the first run of its batch whose own loss or gradient is not finite."""
    indices = problem.met(seed, found.step)
    givens = drawn(problem.scenario, problem.pinned, seed, indices)
    losses, gradients = (np.asarray(x) for x in _each_run(problem, base, found.values, givens, indices))
    bad = ~losses if not losses.all() else ~gradients
    which: Sample | None = None
    cause: str | None = None
    if bad.any():
        position = int(np.argmax(bad))
        which = sample(problem.scenario, givens, int(indices[position]), position)
        row = {name: value[position] for name, value in givens.items()}
        cause = _cause(problem.scenario, {**base, **found.values, **row})
    what = "the gradient" if losses.all() and not gradients.all() else "the loss"
    params = quantities(problem.free, found.values)
    return NumericalFailure(task, found.step, what, which, found.values, params, cause)


def _each_run(problem: Problem, base: Values, values: Values, givens: Values, indices: Any) -> tuple[Any, Any]:
    """Whether the loss of each run alone is finite, and whether its gradient is."""

    def one(run: tuple[Any, Any]) -> tuple[Any, Any]:
        row, index = jax.tree.map(lambda leaf: leaf[None], run)
        loss, gradient = jax.value_and_grad(problem.loss)(theta, base, row, index)
        finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradient)]
        return jnp.isfinite(loss), jnp.all(jnp.stack(finite))

    theta = outward(problem.free, values)
    return jax.jit(lambda runs: jax.lax.map(one, runs))((dict(givens), indices))


def _cause(scenario: Scenario, values: Values) -> str | None:
    """Why the run has no loss: what its solver says, else the statement that spoils it."""
    _, status = scenario.measures_si(dict(values))
    if int(status) in (solve.MAX_STEPS, solve.FAILED):
        return solve.STATUS[int(status)]
    return first_not_finite(scenario, values)


def first_not_finite(scenario: Scenario, values: Values) -> str | None:
    """In words, which statement first gave what is not finite in a run with these values."""
    if not scenario.program.source:
        return None
    found = blame.blame(scenario.program.source, scenario.spec, scenario.method, values)
    if found is None:
        return None
    where = f" ({found.origin})" if found.origin else ""
    if "roots.newton" in found.line:
        when = f" at time {number(found.time)} s" if found.time is not None else ""
        return f"no root was found for {found.quantity}{where}{when}: check its range, or whether there is one"
    when = f" at time {number(found.time)} s" if found.time is not None else ""
    lines = [f"first not finite: {found.quantity}{where}{when}", f"  {found.line}"]
    small = [f"{name} = {number(value)}" for name, value in found.inputs.items() if np.size(value) <= 4]
    return "\n".join([*lines, *[f"  with {', '.join(small)} in SI units"] * bool(small)])
