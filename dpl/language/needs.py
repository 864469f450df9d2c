"""Which tasks change what others start from: what a task needs, so that it can be run alone."""

from __future__ import annotations

from collections.abc import Sequence

from dpl.language import syntax
from dpl.language.diagnostics import Diagnostic, Label
from dpl.language.model import System, TaskUse

Key = tuple[str, int]
"""A path and the identity of what declares it: equal names may be different things"""


def needs_of(tasks: Sequence[TaskUse], problems: list[Diagnostic]) -> dict[str, tuple[str, ...]]:
    """By name of each task the earlier ones that find what it uses, or record what it reads.

    Of the tasks that a `refine` repeats, those after it need the `refine`. What differs from run to run is not kept,
    and so is needed by none.
    """
    needs: dict[str, tuple[str, ...]] = {}
    for position, task in enumerate(tasks):
        if task.item.kind != "refine":
            needs[task.item.name] = _needs(task, tasks, position)
            _recorded_before(task, tasks, position, problems)
    for position, task in enumerate(tasks):
        if task.item.kind == "refine":
            earlier = {t.item.name for t in tasks[:position]} - {*task.repeat}
            wanted = [n for name in task.repeat for n in needs.get(name, ()) if n in earlier]
            needs[task.item.name] = tuple(dict.fromkeys(wanted))
    return needs


def _needs(task: TaskUse, tasks: Sequence[TaskUse], position: int) -> tuple[str, ...]:
    if task.of:
        return task.of
    found: dict[str, None] = {}
    by_name = {t.item.name: t for t in tasks}
    loops = [t for t in tasks[:position] if t.repeat and task.item.name not in t.repeat]
    within = {name for loop in loops for name in loop.repeat}
    for other in tasks[:position]:
        changes = [by_name[n] for n in other.repeat if n in by_name] if other in loops else [other]
        if other.item.name not in within and any(_gives(t, task) for t in changes):
            found[other.item.name] = None
    return tuple(found)


def _gives(other: TaskUse, task: TaskUse) -> bool:
    """Whether a task finds or records what another uses."""
    if task.system is None or other.system is None:
        return False
    recorded = other.item.kind == "record" and other.item.name in records_of(task.system)
    return recorded or bool(_finds(other) & _declared(task.system))


def _finds(task: TaskUse) -> set[Key]:
    paths = {q.path for q in task.vary if not q.each} | {a.path for a in task.anneal}
    return {(path, key) for path, key in _declared(task.system) if path in paths} if task.system and paths else set()


def _declared(system: System) -> set[Key]:
    """What a scenario can vary and what is kept of it: starts are not."""
    owned = [v for v in system.variables if v.kind == "param"]
    found = {(v.path, id(v.value.expr) if v.value else id(v.declaration)) for v in owned}
    return found | {(n.path, id(n.item)) for n in system.networks}


def records_of(system: System) -> set[str]:
    """The names of the tasks whose records a scenario reads."""
    return {data.name for data in system.data if isinstance(data.item, syntax.Task) and not data.broken}


def _recorded_before(task: TaskUse, tasks: Sequence[TaskUse], position: int, problems: list[Diagnostic]) -> None:
    """What a task reads of records is there when it begins: an earlier task made it, or one of the same round."""
    if task.system is None:
        return
    there = {t.item.name for t in tasks[:position] if t.item.kind == "record"}
    there |= {name for t in tasks if task.item.name in t.repeat for name in t.repeat}
    there |= {name for t in tasks[:position] for name in t.repeat}
    by_name = {t.item.name: t.item for t in tasks}
    for name in sorted(records_of(task.system) - there - {task.item.name}):
        related = (Label(by_name[name].name_span, "stands here"),) if name in by_name else ()
        message = f"`{task.item.name}` reads what `{name}` records, and stands before it"
        place = Label(task.item.name_span, "would find nothing")
        problems.append(Diagnostic("order-of-tasks", message, place, related, f"put it after `record {name} {{ … }}`"))
