"""The tasks of a program in file order: each leaves what it finds for the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np

from dpl.runtime.program import Program, Scenario
from dpl.runtime.spec import Task
from dpl.tasks.compare import Compared, compare
from dpl.tasks.context import Context, of_scenario, settable
from dpl.tasks.evaluate import Evaluated, evaluate
from dpl.tasks.fit import fit
from dpl.tasks.fitted import Fitted
from dpl.tasks.keeper import Keeper, Nowhere
from dpl.tasks.optimize import Optimized, optimize
from dpl.tasks.record import Recorded, record
from dpl.tasks.refine import Refined, refine
from dpl.tasks.result import Progress, Result, Silent
from dpl.tasks.simulate import Simulated, simulate
from dpl.tasks.suggest import Suggested, suggest
from dpl.tasks.train import Trained, train
from dpl.tasks.verify import Verified, verify

AnyResult = Simulated | Trained | Optimized | Verified | Evaluated | Compared | Fitted | Recorded | Suggested | Refined


def _refine(program: Program, task: Task, context: Context) -> Refined:
    return refine(program, task, context, lambda one, inner: TASKS[one.kind](program, one, inner))


TASKS: Mapping[str, Callable[[Program, Task, Context], AnyResult]] = {
    "simulate": simulate,
    "train": train,
    "optimize": optimize,
    "verify": verify,
    "evaluate": evaluate,
    "compare": compare,
    "fit": fit,
    "record": record,
    "suggest": suggest,
    "refine": _refine,
}
"""One row per kind of task"""


def run_tasks(
    program: Program,
    names: Sequence[str] = (),
    *,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    keeper: Keeper | None = None,
) -> Iterator[AnyResult]:
    """The result of each task as it ends: of all tasks, or of the named ones and those that they need.

    A file without tasks gets one nominal run of each scenario. An interrupted task is the last. A `verify` that fails
    stops nothing.

    Args:
        seed: rules over the seeds of the text.
        settings: SI values by dotted name that rule over those of the text.
        keeper: where tasks keep their states; a task whose state it has goes on from there.
    Raises:
        ValueError: no such task, or a setting that no scenario has.
        NumericalFailure: a loss or gradient is not finite.
    """
    chosen = order(program.module.tasks, names) or tuple(Task("simulate", name, "", name) for name in program.scenarios)
    results: dict[str, Result] = {}
    context = Context(seed, settings or {}, progress or Silent(), keeper or Nowhere(), results)
    _settle(program, context.settings)
    for task in chosen:
        result = TASKS[task.kind](program, task, context)
        results |= {**(result.latest if isinstance(result, Refined) else {}), task.name: result}
        yield result
        if result.status == "interrupted":
            return


def order(tasks: Sequence[Task], names: Sequence[str]) -> tuple[Task, ...]:
    """The named tasks and all that they need, in file order; without names, all.

    What a `refine` repeats is not done by itself, unless it is named or something before the `refine` needs it.
    """
    by_name = {task.name: task for task in tasks}
    for name in names:
        if name not in by_name:
            raise ValueError(f"there is no task `{name}`{_near(name, list(by_name))}")
    wanted, todo = set[str](), list(names or by_name)
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += by_name[name].needs
    wanted -= _repeated([task for task in tasks if task.name in wanted]) - {*names}
    chosen = tuple(task for task in tasks if task.name in wanted)
    for task in chosen:
        if task.kind not in TASKS:
            raise ValueError(f"`{task.name}` is of kind {task.kind}, which cannot be run; {', '.join(TASKS)} can")
    return chosen


def _repeated(tasks: Sequence[Task]) -> set[str]:
    """What the rounds of a `refine` do, and nothing before it needs but themselves."""
    found, needed = set[str](), set[str]()
    inside = {name for task in tasks for name in task.repeat}
    for task in tasks:
        found |= {*task.repeat} - needed
        needed |= {*task.needs} if task.name not in inside else set()
    return found


def _near(word: str, known: list[str]) -> str:
    close = get_close_matches(word, known, n=1)
    if close:
        return f"; did you mean `{close[0]}`?"
    return f"; there are {', '.join(known)}" if known else "; the file has no tasks"


def _settle(program: Program, settings: Mapping[str, Any]) -> None:
    """Makes settings of params their current values, from which tasks go on; refuses those that nothing has."""
    known: set[str] = set()
    for scenario in program.scenarios.values():
        own = settable(scenario, settings)
        known |= own | {f"{scenario.name}.{name}" for name in own}
        for name, value in of_scenario(settings, scenario).items():
            if name in scenario.keys:
                key = scenario.keys[name]
                program.values[key] = np.broadcast_to(np.asarray(value, float), _shape(scenario, name))
    for name in settings:
        if name not in known:
            raise ValueError(f"nothing that can be set is called `{name}`{_near(name, sorted(known))}")


def _shape(scenario: Scenario, name: str) -> tuple[int, ...]:
    return next(param.shape for param in scenario.spec.params if param.name == name)
