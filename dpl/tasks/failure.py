"""Which run, equation and line made a loss or a gradient that is not finite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import blame, rows, solve
from dpl.runtime.likelihood import LIKELIHOODS
from dpl.runtime.program import Scenario
from dpl.runtime.spec import Observation, Param
from dpl.tasks.deterministic import Minimisation
from dpl.tasks.engine import NotFinite
from dpl.tasks.fitting import Fitting, Numbers, Term, complete, prior_nll
from dpl.tasks.problem import Problem
from dpl.tasks.result import NumericalFailure, Sample, number
from dpl.tasks.sampling import drawn, sample
from dpl.tasks.vary import Freedoms, outward, quantities

Values = Mapping[str, Any]


def explain(task: str, problem: Problem, base: Values, seed: int, found: NotFinite) -> NumericalFailure:
    """The failure with the first run of its batch whose own loss or gradient is not finite."""
    indices = problem.met(seed, found.step)
    givens = drawn(problem.scenario, problem.pinned, base, seed, indices)
    theta = outward(problem.free, found.values)

    def one(run: tuple[Any, Any]) -> tuple[Any, Any]:
        row, index = jax.tree.map(lambda leaf: leaf[None], run)
        return _finite(lambda theta: problem.loss(theta, base, row, index), theta)

    fine = jax.jit(lambda runs: jax.lax.map(one, runs))((dict(givens), indices))
    return _explained(task, problem.scenario, problem.free, base, givens, indices, found, fine)


def explain_lane(
    task: str, problem: Minimisation, base: Values, givens: Values, indices: Any, found: NotFinite
) -> NumericalFailure:
    """The failure with the first run of a lane whose own loss or gradient is not finite.

    Args:
        givens: those of the lane [runs].
        indices: which runs they are.
    """
    alone = replace(problem, runs=1, lanes=1, until=None, constraints=())

    def one(run: tuple[Any, Any, Any]) -> tuple[Any, Any]:
        row, own, _ = jax.tree.map(lambda leaf: leaf[None], run)
        theta = outward(problem.free, {**found.values, **own})
        return _finite(lambda theta: alone.seen(alone.results(theta, base, row)[0], ()).loss, theta)

    own = {f.name: found.values[f.name] for f in problem.free if f.each}
    fine = jax.jit(lambda runs: jax.lax.map(one, runs))((dict(givens), own, indices))
    return _explained(task, problem.scenario, problem.free, base, givens, indices, found, fine)


def explain_fit(
    task: str, fitting: Fitting, numbers: Numbers, labels: tuple[str, ...], found: NotFinite
) -> NumericalFailure:
    """The failure of a fit, none of whose starts leads to a finite likelihood, with the first run that spoils it."""
    cases = numbers.cases
    arguments, status = jax.device_get(jax.jit(fitting.arguments)(fitting.outward(found.values), numbers))
    bad = status != solve.OK
    for name, parts in arguments.items():
        for part in parts:
            wrong = np.asarray(cases.known[name]) & ~np.isfinite(part)
            bad = bad | wrong.reshape((len(bad), -1)).any(axis=1)
    which: Sample | None = None
    cause: str | None = None
    if bad.any():
        run = int(np.argmax(bad))
        own = {f.name for f in fitting.free if f.each}
        row = {name: jax.tree.map(lambda leaf: np.asarray(leaf)[run], of) for name, of in cases.values.items()}
        row |= {name: jax.tree.map(lambda leaf: leaf[run], found.values[name]) for name in own}
        which = sample(fitting.scenario, {n: v for n, v in cases.values.items() if np.ndim(v) == 1}, run, run)
        shared = {name: value for name, value in found.values.items() if name not in own}
        cause = _cause(fitting.scenario, {**numbers.base, **shared, **row})
        cause = f"{cause or 'no finite value'} in the run of {labels[run]}" if labels[run] else cause
    else:
        cause = _unlikely(fitting, numbers, arguments, found.values)
    return NumericalFailure(
        task, 0, "the likelihood", which, found.values, quantities(fitting.free, found.values), cause
    )


SHARE = ("bernoulli", "p")
ABOVE = {"poisson": ("mean",), "negative_binomial": ("mean", "size"), "lognormal": ("median", "spread")} | {
    "normal": ("sd",),
    "student": ("sd", "df"),
    "exponential": ("mean",),
    "beta": ("a", "b"),
    "gumbel": ("scale",),
}
"""The arguments of distributions that must be above 0"""


def _unlikely(fitting: Fitting, numbers: Numbers, arguments: Mapping[str, Any], values: Values) -> str | None:
    """In words, which prior or which cell of the data has no likelihood, though all arguments are finite."""
    for f in fitting.with_prior:
        if not np.isfinite(prior_nll(f, np.asarray(values[f.name]))).all():
            assert isinstance(f.declaration, Param) and f.declaration.prior is not None
            told = f"{f.name} starts where its prior, `{f.declaration.prior.name}`, says that it cannot be"
            return f"{told} ({f.declaration.origin}): start it elsewhere, or widen its prior"
    scales = fitting.scales(fitting.outward(values), numbers)
    for o in fitting.observations:
        y, known = np.asarray(numbers.cases.observed[o.name]), np.asarray(numbers.cases.known[o.name])
        every = [np.broadcast_to(a, y.shape) for a in complete(o, arguments[o.name], scales.get(o.name))]
        density = np.asarray(jax.vmap(Term.of(o))(y.ravel(), *(a.ravel() for a in every))).reshape(y.shape)
        wrong = known & ~np.isfinite(density)
        if wrong.any():
            at = tuple(np.argwhere(wrong)[0].tolist())
            where = f" ({o.origin})" if o.origin else ""
            return f"{o.name} in row {_row(fitting.scenario, o, at):_} of the data: {_argument(o, every, at)}{where}"
    return None


def _argument(o: Observation, every: Sequence[Any], at: tuple[int, ...]) -> str:
    """What is wrong with the arguments at one datum."""
    given = {n: float(a[at]) for n, a in zip(LIKELIHOODS[o.distribution].arguments, every, strict=False)}
    for name, value in given.items():
        if (o.distribution, name) == SHARE and not 0 < value < 1:
            return f"the {name} of `{o.distribution}` is {number(value)}, and it must lie between 0 and 1"
        if name in ABOVE.get(o.distribution, ()) and not value > 0:
            return f"the {name} of `{o.distribution}` is {number(value)} in SI units, and it must be above 0"
    told = ", ".join(f"{name} = {number(value)}" for name, value in given.items())
    return f"what was measured is impossible under `{o.distribution}` with {told} in SI units"


def _row(scenario: Scenario, o: Observation, at: tuple[int, ...]) -> int:
    """Which row of its data a datum is, from 1."""
    data = [other.data for other in scenario.spec.observations if other.data]
    runs = rows.said(scenario.spec, scenario.program.data, data).runs
    return int(runs.rows[o.data][at[0]][at[1] if len(at) > 1 else 0]) + 1


def _finite(loss: Callable[[Any], Any], theta: Any) -> tuple[Any, Any]:
    """Whether a loss is finite, and whether its gradient is."""
    value, gradient = jax.value_and_grad(loss)(theta)
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradient)]
    return jnp.isfinite(value), jnp.all(jnp.stack(finite))


def _explained(
    task: str,
    scenario: Scenario,
    free: Freedoms,
    base: Values,
    givens: Values,
    indices: Any,
    found: NotFinite,
    fine: tuple[Any, Any],
) -> NumericalFailure:
    """The failure in the first of the runs `indices` whose loss, else whose gradient, is not `fine`."""
    losses, gradients = (np.asarray(x) for x in fine)
    bad = ~losses if not losses.all() else ~gradients
    which: Sample | None = None
    cause: str | None = None
    if bad.any():
        position = int(np.argmax(bad))
        which = sample(scenario, givens, int(indices[position]), position)
        own = {f.name: found.values[f.name] for f in free if f.each}
        row = {name: value[position] for name, value in (*givens.items(), *own.items())}
        cause = _cause(scenario, {**base, **found.values, **row})
    what = "the gradient" if losses.all() and not gradients.all() else "the loss"
    return NumericalFailure(task, found.step, what, which, found.values, quantities(free, found.values), cause)


def _cause(scenario: Scenario, values: Values) -> str | None:
    """Why the run has no loss: what its solver says, else the statement that spoils it."""
    _, status = scenario.measures_si(dict(values))
    cause = first_not_finite(scenario, values, int(status))
    return solve.STATUS[int(status)] if cause is None and int(status) not in (solve.OK, solve.NONFINITE) else cause


ORDINARY = 1e12
"""Beyond this a value in SI may be that of a replay that runs away"""


def first_not_finite(scenario: Scenario, values: Values, status: int) -> str | None:
    """In words, which statement first gave what is not finite in a run with these values, if one did.

    Adaptive steps get no further at such a place, as at a stiff one; a replay, which is explicit, may run away from
    stiff ones: so a statement is believed there only if what it read was of ordinary size.
    """
    if not scenario.program.source or status not in (solve.OK, solve.NONFINITE, solve.MAX_STEPS):
        return None
    found = blame.blame(scenario.program.source, scenario.spec, scenario.method, values)
    if found is None:
        return None
    ordinary = all(np.all(np.abs(value) <= ORDINARY) for value in found.inputs.values())
    if status == solve.MAX_STEPS and (found.time is None or not ordinary):
        return None
    where = f" ({found.origin})" if found.origin else ""
    if "roots.newton" in found.line:
        when = f" at time {number(found.time)} s" if found.time is not None else ""
        return f"no root was found for {found.quantity}{where}{when}: check its range, or whether there is one"
    when = f" at time {number(found.time)} s" if found.time is not None else ""
    lines = [f"first not finite: {found.quantity}{where}{when}", f"  {found.line}"]
    small = [f"{name} = {number(value)}" for name, value in found.inputs.items() if np.size(value) <= 4]
    return "\n".join([*lines, *[f"  with {', '.join(small)} in SI units"] * bool(small)])
