"""What a task starts from: the current values, its settings, its seed, and whom it tells how it gets on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp

from dpl.runtime.program import Program, Scenario
from dpl.runtime.spec import Task
from dpl.tasks.result import Progress, Silent


@dataclass(frozen=True)
class Context:
    """What the caller says: a seed and settings (SI, by dotted name) that rule over those of the text."""

    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    progress: Progress = field(default_factory=Silent)


@dataclass(frozen=True, eq=False)
class Setup:
    """A task ready to go: `base` are all SI values of its scenario, `pinned` the names that a setting holds fixed."""

    scenario: Scenario
    base: dict[str, Any]
    pinned: frozenset[str]
    seed: int


def setup(program: Program, task: Task, context: Context) -> Setup:
    """The scenario's current values under the settings of the task, and over these those of the caller.

    A setting of the caller gives a param that earlier tasks have found no new value: it is where they started.
    """
    scenario = program.scenarios[task.scenario]
    own = {p.name for p in scenario.spec.params}
    said = {**dict(task.settings), **{name: v for name, v in context.settings.items() if name not in own}}
    said |= {name: v for name, v in context.settings.items() if name in dict(task.settings)}
    base = scenario.values_si({}, {}, {})
    fixed = {name: jnp.asarray(value, float) for name, value in said.items() if name in base}
    seed = task.counts.get("seed", program.seed) if context.seed is None else context.seed
    return Setup(scenario, {**base, **fixed}, frozenset(fixed), seed)
