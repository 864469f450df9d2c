"""`train`: stochastic descent on fresh runs in each step, or on a fixed set of runs in epochs.

What it finds becomes the program's current values, also when it is interrupted; a numerical failure leaves them alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import bounds
from dpl.runtime.bounds import Bounds
from dpl.runtime.program import Program, Scenario
from dpl.runtime.spec import Network, Objective, Param, Task
from dpl.tasks import engine, optimisers
from dpl.tasks import problem as problems
from dpl.tasks.context import Context, Setup, setup
from dpl.tasks.failure import explain
from dpl.tasks.result import Quantity, Result, declared
from dpl.tasks.sampling import stream, varying

BATCH, STEPS = 64, 1_000


@dataclass(frozen=True, eq=False, kw_only=True)
class Trained(Result):
    """`losses` (in `unit`) are those of each step, of the best start; `found` are the varied params."""

    objective: str
    losses: np.ndarray
    unit: str
    kept: int
    """The step whose values are kept"""
    found: Mapping[str, Quantity]
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
    limits = varied(ready.scenario, task)
    pinned = ready.pinned - {name for name, _ in limits}
    problem = problems.problem(
        ready.scenario, task.objective, limits, descent, plan.batch, plan.samples, plan.starts, pinned
    )
    starts = [start(ready, task, limits, k) for k in range(plan.starts)]
    schedule = engine.Schedule(plan.steps, descent.rate, ready.seed)
    context.progress.begin(f"train {task.name}", plan.steps)
    try:
        found = engine.minimise(problem, starts, ready.base, schedule, context.progress)
    except engine.NotFinite as failure:
        raise explain(f"train {task.name}", problem, ready.base, ready.seed, failure) from None
    finally:
        context.progress.end()
    ready.keep(found.values)
    return _result(task, ready, task.objective, found, plan, chosen + plan.defaults)


def _result(
    task: Task, ready: Setup, objective: Objective, found: engine.Minimum, plan: Plan, defaults: tuple[str, ...]
) -> Trained:
    units = {p.name: p.unit for p in ready.scenario.spec.params}
    return Trained(
        kind=task.kind,
        name=task.name,
        scenario=task.scenario,
        seed=ready.seed,
        seconds=found.seconds,
        status="interrupted" if found.interrupted else "done",
        defaults=defaults,
        notes=_notes(found, plan),
        objective=objective.text,
        losses=found.losses / objective.unit.scale,
        unit=objective.unit.text,
        kept=found.kept,
        found={name: declared(value, units[name]) for name, value in found.values.items() if name in units},
        networks=tuple(name for name in found.values if name not in units),
        params=ready.scenario.params,
    )


def _notes(found: engine.Minimum, plan: Plan) -> tuple[str, ...]:
    notes: list[str] = []
    if found.kept < found.losses.size:
        notes.append(f"the loss rose: kept the values after step {found.kept:_}")
    if plan.starts > 1:
        notes.append(f"start {found.start + 1} of {plan.starts} was the best")
    if found.unended:
        runs = found.losses.size * plan.batch * plan.starts
        notes.append(f"{found.unended:_} of {runs:_} runs did not end well")
    return tuple(notes)


def counts(task: Task, ready: Setup) -> Plan:
    """How many runs and steps, and what was chosen."""
    said, defaults = task.counts, list[str]()
    samples = said.get("samples") if task.fixed_samples else None
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


def varied(scenario: Scenario, task: Task) -> tuple[tuple[str, Bounds | None], ...]:
    """What the task varies with its bounds: those of the declaration, narrowed by the task's; None for a network."""
    params = {p.name: p for p in scenario.spec.params}
    known = params.keys() | {n.name for n in scenario.spec.networks}
    if unknown := [v.name for v in task.vary if v.name not in known]:
        raise ValueError(f"{task.name} varies {', '.join(unknown)}, which {scenario.spec.name} does not have")
    return tuple((v.name, bounds.of(params[v.name], v.low, v.high) if v.name in params else None) for v in task.vary)


def start(ready: Setup, task: Task, limits: tuple[tuple[str, Bounds | None], ...], k: int) -> dict[str, Any]:
    """Where start `k` begins [SI]: the first where the task says, all others at random."""
    how = task.start if k == 0 else "random"
    if how == "current":
        return {name: ready.base[name] for name, _ in limits}
    spec = ready.scenario.spec
    declarations: dict[str, Param | Network] = {d.name: d for d in (*spec.params, *spec.networks)}
    seed = stream(ready.seed, f"start {k}")
    values: dict[str, Any] = {}
    for name, limit in limits:
        fresh = ready.program.fresh(declarations[name], ready.seed if how == "fresh" else seed)
        values[name] = ready.base[name] if fresh is None else fresh
        if how == "random" and limit is not None:
            key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
            values[name] = _anywhere(limit, values[name], key)
    return values


def _anywhere(limit: Bounds, value: Any, key: Any) -> Any:
    """A value drawn evenly between both bounds (on a log scale if it has one); if one is open, near the present one."""
    shape = jnp.shape(value)
    if limit.low is None or limit.high is None:
        return limit.inward(limit.outward(value) + jax.random.normal(key, shape))
    share = jax.random.uniform(key, shape)
    if limit.log:
        return jnp.exp(jnp.log(limit.low) + share * (jnp.log(limit.high) - jnp.log(limit.low)))
    return limit.low + share * (limit.high - limit.low)
