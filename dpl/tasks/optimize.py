"""`optimize`: deterministic minimisation over runs that are drawn once, each on its own or all together.

Where all that varies does so run by run, the runs are problems of their own, side by side; `verify` meets the same
ones. Else there is one problem over all runs, which are those of `train`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import compiling
from dpl.runtime.program import Program, Scenario
from dpl.runtime.spec import Free, Given, Objective, Task
from dpl.tasks import deterministic, engine, methods, vary
from dpl.tasks.constrained import TOLERANCE, Constrained, constrained
from dpl.tasks.context import Context, Setup, setup
from dpl.tasks.deterministic import FAILED, Constants, Found, Minimisation
from dpl.tasks.engine import RUNNING, Loop
from dpl.tasks.failure import explain_lane
from dpl.tasks.methods import Chosen
from dpl.tasks.result import Quantity, Result, Seconds, declared, number
from dpl.tasks.sampling import drawn, rows, stream, varying
from dpl.tasks.simulate import pictured
from dpl.tasks.vary import Freedoms

SAMPLES = 100
"""Runs, if they differ and the text does not say how many"""
SECOND_STEPS, FIRST_STEPS, CONSTRAINED_STEPS = 100, 1_000, 500
"""Iterations at the most: of methods of second and first order, and of the former under constraints"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Optimized(Result):
    """What was found, for every problem: one per run if `separate`, else one over all runs together."""

    method: str
    samples: int
    separate: bool
    objective: str
    unit: str
    before: np.ndarray
    """The objective [problems] at the start"""
    after: np.ndarray
    losses: np.ndarray
    """The objective before each iteration: of problems side by side the mean, an ended one as it ended"""
    iterations: np.ndarray
    """[problems], from the start that was the best"""
    until: str
    reached: np.ndarray | None
    """Whether `until` holds [problems]; None without one"""
    found: Mapping[str, Quantity]
    """The varied numbers"""
    by_run: tuple[str, ...]
    """The names of those that are arrays over runs"""
    networks: tuple[str, ...]
    measures: Mapping[str, Quantity]
    """Every loss and metric, arrays over runs"""
    constraints: tuple[Constrained, ...]
    params: Mapping[str, Any]
    """All params [declared units] and networks of the scenario as they are now"""


@dataclass(frozen=True)
class Plan:
    """How many of what, from the text or by default."""

    samples: int
    starts: int
    steps: int
    separate: bool

    @property
    def problems(self) -> int:
        return self.samples if self.separate else 1

    @property
    def runs(self) -> int:
        """Of each problem."""
        return 1 if self.separate else self.samples


def optimize(program: Program, task: Task, context: Context) -> Optimized:
    """Minimises the objective over what the task varies."""
    if task.objective is None:
        raise ValueError(f"optimize {task.name} says nothing to minimize")
    ready = setup(program, task, context)
    separate = all(varied.each for varied in task.vary)
    return minimised(ready, task, context, stream(ready.seed, "verify") if separate else ready.seed, separate)


def minimised(ready: Setup, task: Task, context: Context, seed: int, separate: bool) -> Optimized:
    """What `optimize` does from where it is ready to: on the runs of stream `seed`, each a problem if `separate`."""
    assert task.objective is not None
    free = vary.freedoms(ready.scenario, task)
    pinned = ready.pinned | {f.name for f in free}
    samples, defaults = _samples(task, ready.scenario, pinned)
    givens, current = _met(ready.scenario, pinned, free, samples)(ready.base, seed)
    count = task.counts.get("starts", 1)
    starts = vary.starts(ready, task, free, count, current)
    size = sum(leaf[0].size for leaf in jax.tree.leaves(starts)) // (samples if separate else 1)
    chosen = methods.choose(task.method, task.objective.residuals is not None, bool(task.constraints), size)
    plan = Plan(samples, count, _steps(task, chosen), separate)
    mode = methods.mode_of(chosen.method, size, plan.runs)
    defaults += (f"derivatives {mode}, of {size:_} number{'s' * (size > 1)}",)
    defaults += chosen.defaults if "steps" in task.counts else (*chosen.defaults, f"steps {plan.steps:_}")
    problem = Minimisation(
        ready.scenario,
        task.objective,
        free,
        task.until,
        task.constraints,
        chosen.method,
        plan.runs,
        plan.problems * count,
    )
    constants = Constants(ready.base, _tiled(givens, plan), np.asarray(plan.steps), chosen.numbers)
    first = _first(free, givens, _lane(starts, 0))
    loop, interrupted = _descended(task, context, problem, _in_lanes(starts, free, plan), constants, plan)
    result = _result(task, ready, problem, constants, plan, loop, chosen, defaults, interrupted, first)
    started = vary.on_bounds(free, current) if task.start == "current" else ()
    return replace(result, notes=(*started, *result.notes))


def _descended(
    task: Task, context: Context, problem: Minimisation, starts: Any, constants: Constants, plan: Plan
) -> tuple[Loop, bool]:
    """The loop at its end, and whether the user ended it."""
    title = f"optimize {task.name}"
    context.progress.begin(title, plan.steps)
    assert task.objective is not None
    try:
        loop = Loop(problem, starts, constants, plan.steps + 1)  # a lane is looked at once more than it moves
        watch = engine.Ended(loop)
        unit, sign = task.objective.unit, -1.0 if task.objective.maximize else 1.0
        shown = lambda loss: declared(sign * loss, unit)  # noqa: E731
        interrupted = engine.descend(loop, watch, context.progress, context.keeper, task.name, shown)
    except engine.NotFinite as failure:
        run = failure.lane % plan.problems
        indices = np.array([run]) if plan.separate else np.arange(plan.samples)
        own = {name: value[failure.lane] for name, value in constants.givens.items()}
        raise explain_lane(title, problem, constants.base, own, indices, failure) from None
    finally:
        context.progress.end()
    return loop, interrupted


# ---------------------------------------------------------------- how many, and from where


def _samples(task: Task, scenario: Scenario, pinned: frozenset[str]) -> tuple[int, tuple[str, ...]]:
    if "samples" in task.counts:
        return task.counts["samples"], ()
    if not varying(scenario, pinned):
        return 1, ()
    samples = rows(scenario, pinned) or SAMPLES
    return samples, (f"samples {samples:_}",)


def _steps(task: Task, chosen: Chosen) -> int:
    second = CONSTRAINED_STEPS if task.constraints else SECOND_STEPS
    return task.counts.get("steps", second if chosen.second else FIRST_STEPS)


@lru_cache(maxsize=16)
def _met(scenario: Scenario, pinned: frozenset[str], free: Freedoms, samples: int) -> Any:
    """(base, seed) -> the givens [runs] in which runs differ, and where what varies is without the task, compiled.

    What varies run by run has a leading axis of runs. A given is as drawn in each run, one that all share is nominal;
    a freed let is what its equation says.
    """
    lets = {f.name for f in free if isinstance(f.declaration, Free)}

    def let(base: Any, row: Any) -> dict[str, Any]:
        return scenario.spec.freed(scenario.spec.fixed({**base, **row})) if scenario.spec.freed and lets else {}

    def run(base: Any, seed: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        indices = jnp.arange(samples)
        givens = drawn(scenario, pinned, base, seed, indices)
        every = scenario.draw(seed, indices, base)
        own = {f.name: every[f.name] for f in free if isinstance(f.declaration, Given)}
        own |= jax.vmap(lambda row, _: let(base, row))(givens, indices)
        shared = {**base, **let(base, {})}
        current: dict[str, Any] = {}
        for f in free:
            repeated = jax.tree.map(lambda x: jnp.broadcast_to(x, (samples, *jnp.shape(x))), shared[f.name])
            current[f.name] = own.get(f.name, repeated) if f.each else shared[f.name]
        return givens, current

    return compiling.jit(run, False, (scenario, pinned, free, samples))


def _tiled(givens: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """The givens of every lane [lanes, runs]: starts come one after the other."""
    rows = {name: value[:, None] if plan.separate else value[None] for name, value in givens.items()}
    return {name: jnp.tile(value, (plan.starts, *[1] * (value.ndim - 1))) for name, value in rows.items()}


def _in_lanes(starts: Any, free: Freedoms, plan: Plan) -> Any:
    """The starts [starts, …] as lanes: problems of their own have one run each."""
    if not plan.separate:
        return starts
    lanes = plan.starts * plan.problems
    return jax.tree.map(lambda leaf: leaf.reshape((lanes, 1, *leaf.shape[2:])), starts)


def _lane(stacked: Any, lane: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[lane], stacked)


def _first(free: Freedoms, givens: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a run to be drawn: the first one, if anything varies run by run."""
    if not any(f.each for f in free):
        return dict(values)
    row = {name: value[0] for name, value in givens.items()}
    return row | {f.name: _lane(values[f.name], 0) if f.each else values[f.name] for f in free}


# ---------------------------------------------------------------- what came of it


def _mean(losses: np.ndarray) -> np.ndarray:
    """Over problems [steps, problems], without those that failed."""
    return np.ma.masked_invalid(losses.reshape((len(losses), -1))).mean(axis=1).filled(np.nan)


def _result(
    task: Task,
    ready: Setup,
    problem: Minimisation,
    constants: Constants,
    plan: Plan,
    loop: Loop,
    chosen: Chosen,
    defaults: tuple[str, ...],
    interrupted: bool,
    first: dict[str, Any],
) -> Optimized:
    objective, free = problem.objective, problem.free
    began = perf_counter()
    every, strayed = deterministic.found(problem, loop.carry, constants)
    carry = jax.device_get(loop.carry)
    best = _best(problem, every, carry.penalty, plan)
    found, penalty, count, state = _lane((every, carry.penalty, carry.count, carry.state), best)
    if strayed.any():
        priced = np.where(strayed[best][:, None], np.nan, penalty.multipliers)
        penalty = penalty._replace(multipliers=priced)
    values = {f.name: _unlaned(found.values[f.name], f.each, plan) for f in free}
    limits = _limited(task, found, penalty, objective)
    held = not limits or all(c.holds.all() for c in limits)
    kept = {f.name: values[f.name] for f in free if not f.each and f.name in ready.scenario.keys}
    if held:
        ready.keep(kept)
    losses = loop.losses[:1] if loop.step else every.seen.loss[None]
    sign = (-1.0 if objective.maximize else 1.0) / objective.unit.scale
    compiled = (loop.seconds.compile or 0.0) + perf_counter() - began
    notes = _notes(problem, plan, every, best, found, values, state, count)
    notes += _complying(plan, int(strayed[best].sum()), held, tuple(kept))
    of_runs = {name: value[: plan.problems] for name, value in constants.givens.items()}
    drawn_runs = {name: value.reshape((-1, *value.shape[2:])) for name, value in of_runs.items()}
    return Optimized(
        kind=task.kind,
        name=task.name,
        scenario=task.scenario,
        seed=ready.seed,
        seconds=Seconds(compiled, loop.seconds.run),
        status="interrupted" if interrupted else "done" if held else "failed",
        defaults=defaults,
        notes=notes,
        plot=task.plot,
        runs=pictured(ready, task, "before", first) | pictured(ready, task, "after", _first(free, drawn_runs, values)),
        method=chosen.name,
        samples=plan.samples,
        separate=plan.separate,
        objective=objective.text,
        unit=objective.unit.text,
        before=sign * losses[0][best],
        after=sign * found.seen.loss,
        losses=_mean(sign * loop.losses[:, best]),
        iterations=count,
        until=task.until.text if task.until else "",
        reached=found.seen.reached if task.until else None,
        found=vary.quantities(free, values),
        by_run=tuple(f.name for f in free if f.each),
        networks=vary.networks(free),
        measures={m.name: declared(found.results[m.name].ravel(), m.unit) for m in ready.scenario.spec.measures},
        constraints=limits,
        params=ready.scenario.params,
    )


def _best(problem: Minimisation, every: Found, penalty: Any, plan: Plan) -> np.ndarray:
    """The lane of the best start of each problem: of those that comply least badly, that of the lowest objective."""
    lanes = plan.starts, plan.problems
    violation = np.zeros(lanes)
    if problem.constraints:
        gaps = every.seen.gaps / penalty.size
        excess = np.where(problem.equal, np.maximum(np.abs(gaps) - TOLERANCE, 0.0), np.maximum(gaps, 0.0))
        violation = np.where(np.isfinite(excess), excess, np.inf).max(axis=1).reshape(lanes)
    loss = np.where(np.isfinite(every.seen.loss), every.seen.loss, np.inf).reshape(lanes)
    start = np.lexsort((loss, violation), axis=0)[0]
    return start * plan.problems + np.arange(plan.problems)


def _unlaned(value: Any, each: bool, plan: Plan) -> Any:
    """SI values of the best lanes [problems, …] as one value, or as arrays over runs."""
    return jax.tree.map(lambda leaf: leaf[:, 0] if each and plan.separate else leaf[0], value)


def _limited(task: Task, found: Found, penalty: Any, objective: Objective) -> tuple[Constrained, ...]:
    if not task.constraints:
        return ()
    numbers = {name: value[0] for name, value in found.results.items()}
    said = [
        [x if isinstance(x, int | float) else operand for x, operand in zip(c.operands(numbers), operands, strict=True)]
        for c, operands in zip(task.constraints, found.operands, strict=True)
    ]
    return constrained(task.constraints, said, penalty, objective)


def _complying(plan: Plan, strayed: int, held: bool, kept: tuple[str, ...]) -> tuple[str, ...]:
    """In words, what became of values that do not comply."""
    notes = list[str]()
    if strayed:
        where = f"in {strayed:_} of {plan.problems:_} runs the" if plan.problems > 1 else "the"
        notes.append(f"{where} search ended where the constraints do not hold, and went back to where they do")
    if not held and kept:
        notes.append(f"tasks that follow go on from the values before this one, not from these of {', '.join(kept)}")
    return tuple(notes)


def _notes(
    problem: Minimisation,
    plan: Plan,
    every: Found,
    best: np.ndarray,
    found: Found,
    values: Mapping[str, Any],
    state: np.ndarray,
    count: np.ndarray,
) -> tuple[str, ...]:
    notes = list[str]()
    of = f" of {plan.problems:_} runs" if plan.problems > 1 else ""
    failed = int((state == FAILED).sum())
    if failed:
        notes.append(f"{f'{failed:_}{of}' if of else 'it'} met what is not finite: the last good values are kept")
    used = int(((state == RUNNING) & (count >= plan.steps)).sum())
    if used:
        notes.append(f"{f'{used:_}{of}' if of else 'it'} used up all {plan.steps:_} iterations")
    if plan.starts > 1 and plan.problems == 1:
        unit, sign = problem.objective.unit, -1.0 if problem.objective.maximize else 1.0
        ended = ", ".join(number(declared(sign * x, unit).value) for x in every.seen.loss)
        notes.append(f"start {int(best[0]) + 1} of {plan.starts} was the best; they ended at {ended}")
    unended = int((found.status != 0).sum())
    if unended:
        notes.append(f"{unended:_} of {plan.samples:_} runs did not end well at what was found")
    return (*notes, *vary.at_bounds(problem.free, values))
