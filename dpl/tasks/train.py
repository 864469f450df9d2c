"""`train`: stochastic descent on fresh runs in each step, or on a fixed set of runs in epochs.

What it finds becomes the program's current values, also when it is interrupted; a numerical failure leaves them alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from dpl.runtime import devices, using
from dpl.runtime.program import Program
from dpl.runtime.spec import Objective, Task
from dpl.tasks import anneal, engine, judge, optimisers, vary, windows
from dpl.tasks.context import Context, Setup, setup
from dpl.tasks.failure import explain
from dpl.tasks.judge import Judge
from dpl.tasks.problem import Constants, Problem, mode_of
from dpl.tasks.result import Quantity, Result, number
from dpl.tasks.sampling import rows, varying
from dpl.tasks.simulate import pictured
from dpl.tasks.windows import Windowed

BATCH, STEPS = 64, 1_000


@dataclass(frozen=True, eq=False, kw_only=True)
class Trained(Result):
    """`losses` (in `unit`) are those of each step, of the start that is kept; `found` are the varied numbers."""

    objective: str
    losses: np.ndarray
    unit: str
    kept: int
    """The step whose values are kept: the best on the runs that decide"""
    judged: Quantity
    """The objective there, on the runs that decide"""
    judged_on: int
    """How many runs decide"""
    found: Mapping[str, Quantity]
    window: float | None
    """The length [s] of the windows that the losses are of; None where they are of whole runs"""
    networks: tuple[str, ...]
    """The names of the varied networks"""
    params: Mapping[str, Any]
    """All params [declared units] and networks of the scenario as they are now, for its `evaluate`"""


@dataclass(frozen=True)
class Plan:
    """How many of what, from the text or by default."""

    batch: int
    steps: int
    samples: int | None
    starts: int
    defaults: tuple[str, ...]


def train(program: Program, task: Task, context: Context) -> Trained:
    """Minimises the objective over what the task varies."""
    if task.objective is None:
        raise ValueError(f"train {task.name} says nothing to minimize")
    ready = setup(program, task, context)
    descent, chosen = optimisers.descent(task.method)
    plan = counts(task, ready)
    free = vary.freedoms(ready.scenario, task)
    pinned = ready.pinned | {f.name for f in free}
    problem = Problem(ready.scenario, task.objective, free, descent.rule, plan.batch, plan.samples, plan.starts, pinned)
    led = anneal.paths(ready, task, context)
    numbers = descent.numbers
    constants = Constants(ready.base, np.asarray(ready.seed), np.asarray(plan.steps, float), numbers, led)
    ended = anneal.last(ready.base, led)
    starts = vary.starts(ready, task, free, plan.starts, ready.base)
    iteration: engine.Iteration = problem
    if task.window is not None:
        if using.STEP in ready.base:
            raise ValueError(f"train {task.name} counts steps in its windows: `{using.STEP}` is that of the text")
        iteration = Windowed(problem, task.window)
        constants = constants._replace(numbers={**descent.numbers, "discount": task.window.discount})
        starts |= windows.critics(program, ready.scenario, task.window, ready.seed, plan.starts)
    title = f"train {task.name}"
    context.progress.begin(title, plan.steps)
    try:
        loop = engine.Loop(iteration, starts, constants, plan.steps)
        every = max(1, plan.steps // judge.LOOKS)
        standard = judge.standard(ready.scenario, task.objective, task.until, free, pinned, plan.samples)
        watch = Judge(standard, {**ready.base, **ended}, ready.seed, plan.samples, every)
        interrupted = engine.descend(loop, watch, context.progress, context.keeper, task.name, watch.declared)
    except engine.NotFinite as failure:
        raise explain(title, problem, constants.at(failure.step).base, ready.seed, failure) from None
    finally:
        context.progress.end()
    ready.keep({f.name: watch.best.values[f.name] for f in free} | ended)
    if task.window is not None:
        critic = task.window.critic
        program.values[program.register(ready.scenario.name, critic)] = watch.best.values[critic.name]
    defaults = chosen + plan.defaults + _scale(problem, starts, task)
    found = _result(task, ready, task.objective, loop, watch, plan, defaults, interrupted)
    return replace(found, notes=(*anneal.notes(ready, led), *found.notes))


def _scale(problem: Problem, starts: Any, task: Task) -> tuple[str, ...]:
    """In words, which derivatives are taken, and what shares the work."""
    one = {f.name: jax.tree.map(lambda leaf: leaf[0], starts[f.name]) for f in problem.free}
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(one))
    mode = "reverse" if task.window else mode_of(one, problem.scenario)
    devices_said = devices.shared(problem.batch)
    return (f"derivatives {mode}, of {size:_} number{'s' * (size > 1)}", *([devices_said] if devices_said else []))


def _result(
    task: Task,
    ready: Setup,
    objective: Objective,
    loop: engine.Loop,
    watch: Judge,
    plan: Plan,
    defaults: tuple[str, ...],
    interrupted: bool,
) -> Trained:
    free, best = watch.standard.free, watch.best
    sign = -1.0 if objective.maximize else 1.0
    return Trained(
        kind=task.kind,
        name=task.name,
        scenario=task.scenario,
        seed=ready.seed,
        seconds=loop.seconds,
        status="interrupted" if interrupted else "done",
        defaults=defaults,
        notes=_notes(task, loop, watch, plan, vary.on_bounds(free, ready.base) if task.start == "current" else ()),
        plot=task.plot,
        runs=pictured(ready, task) | pictured(ready, task, "after", {**watch.base, **best.values}),
        objective=objective.text,
        losses=sign * loop.losses[:, best.lane] / objective.unit.scale,
        unit=objective.unit.text,
        kept=best.step,
        judged=watch.declared(best.loss),
        judged_on=watch.standard.runs,
        found=vary.quantities(free, best.values),
        window=task.window.duration if task.window else None,
        networks=vary.networks(free),
        params=ready.scenario.params,
    )


def _notes(task: Task, loop: engine.Loop, watch: Judge, plan: Plan, started: tuple[str, ...]) -> tuple[str, ...]:
    best, notes = watch.best, list(started)
    if watch.reached:
        notes.append(f"`until {task.until.text if task.until else ''}` holds after step {loop.step:_}")
    elif best.step < loop.step:
        after = f"after step {best.step:_}" if best.step else "from before the first step"
        notes.append(f"the values {after} are the best and are kept")
    if plan.starts > 1:
        ended = ", ".join(number(watch.declared(x).value) for x in watch.latest)
        notes.append(f"start {best.lane + 1} of {plan.starts} was the best; they ended at {ended}")
    return (*notes, *vary.at_bounds(watch.standard.free, best.values))


def _of_data(task: Task, ready: Setup) -> int | None:
    """The rows of data that are the runs, unless something else differs too, of which each step then draws afresh."""
    said = {*(given.name for given in ready.scenario.spec.givens if given.data), *ready.scenario.spec.signals}
    fresh = "samples" in task.counts or (varying(ready.scenario, ready.pinned) - said and "epochs" not in task.counts)
    return None if fresh else rows(ready.scenario, ready.pinned)


def counts(task: Task, ready: Setup) -> Plan:
    """How many runs and steps, and what was chosen."""
    said, defaults = task.counts, list[str]()
    samples = said.get("samples") if task.fixed_samples else None
    if samples is None and (samples := _of_data(task, ready)) is not None:
        defaults.append(f"samples {samples:_} fixed")
    if "epochs" in said and samples is None:
        raise ValueError(f"train {task.name} counts epochs, which need `samples N fixed`")
    batch = said.get("batch")
    if batch is None:
        batch = BATCH if varying(ready.scenario, ready.pinned) else 1
        defaults.append(f"batch {batch}")
    batch = min(batch, samples or batch)
    steps = said.get("steps")
    if "epochs" in said and samples is not None:
        steps = said["epochs"] * (samples // batch)
    if steps is None:
        steps = STEPS
        defaults.append(f"steps {steps:_}")
    return Plan(batch, steps, samples, said.get("starts", 1), tuple(defaults))
