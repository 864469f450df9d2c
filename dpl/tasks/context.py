"""What a task starts from: the current values, its settings, its seed, and whom it tells how it gets on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dpl.runtime import bounds, using
from dpl.runtime.program import Program, Scenario
from dpl.runtime.spec import Task
from dpl.tasks.keeper import Keeper, Nowhere
from dpl.tasks.result import Progress, Result, Silent


@dataclass(frozen=True)
class Context:
    """What the caller says: a seed and settings (SI, by dotted name) that rule over those of the text.

    `results` are those of the tasks that came before, by name.
    """

    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    progress: Progress = field(default_factory=Silent)
    keeper: Keeper = field(default_factory=Nowhere)
    results: Mapping[str, Result] = field(default_factory=dict[str, Result])


@dataclass(frozen=True, eq=False)
class Setup:
    """A task ready to go: `base` are all SI values of its scenario, `pinned` the names that a setting holds fixed."""

    program: Program
    scenario: Scenario
    base: dict[str, Any]
    pinned: frozenset[str]
    seed: int

    def keep(self, found: Mapping[str, Any]) -> None:
        """Makes SI values of params and networks the program's current ones."""
        self.program.values.update({self.scenario.keys[name]: value for name, value in found.items()})


def setup(program: Program, task: Task, context: Context) -> Setup:
    """The scenario's current values under the settings of the task, and over these those of the caller.

    The caller's settings of params are among the current values already, for tasks go on from them; they come
    again here only where the task's own text says otherwise.
    """
    scenario = program.scenarios[task.scenario]
    scenario.method  # noqa: B018  chosen here, outside any trace
    base = scenario.values_si(_guesses(scenario, task))
    text, caller = dict(task.settings), of_scenario(context.settings, scenario)
    said = text | {name: value for name, value in caller.items() if name in text or name not in scenario.keys}
    base |= scenario.solver_si({name: said.pop(name) for name in list(said) if name.startswith(using.PREFIX)})
    fixed = {name: np.broadcast_to(np.asarray(value, float), np.shape(base[name])) for name, value in said.items()}
    seed = task.counts.get("seed", program.seed) if context.seed is None else context.seed
    return Setup(program, scenario, base | fixed, frozenset(fixed), seed)


def of_scenario(settings: Mapping[str, Any], scenario: Scenario) -> dict[str, Any]:
    """The settings that a scenario has, by its own names: `speed`, or `Descent.speed` to mean one scenario only."""
    own = settable(scenario, settings)
    short = {name.removeprefix(f"{scenario.name}."): value for name, value in settings.items()}
    return {name: value for name, value in short.items() if name in own}


def settable(scenario: Scenario, settings: Mapping[str, Any]) -> set[str]:
    """The names that can be set; the solver's only where a setting is of one, for they make it be chosen."""
    spec = scenario.spec
    own = {declared.name for declared in (*spec.params, *spec.givens, *spec.starts)}
    return own | {*scenario.solver} if any(using.PREFIX in name for name in settings) else own


def _guesses(scenario: Scenario, task: Task) -> dict[str, Any]:
    """Values [declared units] of params without any yet: of varied ones the middle of their bounds."""
    params = {param.name: param for param in scenario.spec.params}
    guesses: dict[str, Any] = {}
    for annealed in task.anneal:
        param = params[annealed.name]
        if scenario.program.values[scenario.keys[param.name]] is None:
            guesses[param.name] = np.full(param.shape, annealed.start / param.unit.scale)
    for varied in task.vary:
        param = params.get(varied.name)
        if param is not None and scenario.program.values[scenario.keys[param.name]] is None:
            middle = bounds.of(param, varied.low, varied.high).inward(0.0)
            guesses[param.name] = np.full(param.shape, float(middle) / param.unit.scale)
    return guesses
