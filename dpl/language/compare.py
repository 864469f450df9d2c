"""`compare`: one table over what earlier tasks reached."""

from __future__ import annotations

from dpl.language import syntax
from dpl.language.clauses import read_count
from dpl.language.diagnostics import Diagnostic, Label, did_you_mean
from dpl.language.model import TaskUse

COMPARED = ("train", "optimize")
"""The tasks that reach something which can be compared"""
SHOWN = ("iterations", "wall_time")
"""What may be shown besides losses and metrics"""


def read_compare(
    item: syntax.Task, on: syntax.On, earlier: list[TaskUse], problems: list[Diagnostic]
) -> TaskUse | None:
    """The task with its clauses read; None if it names what cannot be compared."""
    tasks = [task for name in on.names if (task := _task(name, on, earlier, problems)) is not None]
    if on.settings:
        place = Label(on.settings[0].span, "set here")
        help_text = "say it in the tasks that are compared: `on SCENARIO with …`"
        problems.append(Diagnostic("misplaced-clause", "`compare` sets nothing by itself", place, help=help_text))
    if len(tasks) < len(on.names):
        return None
    said = {c.word: read_count(c, problems) for c in item.clauses if isinstance(c, syntax.Count)}
    counts = {word: count for word, count in said.items() if count is not None}
    show = next((c for c in item.clauses if isinstance(c, syntax.Show)), None)
    return TaskUse(item, None, counts=counts, of=on.names, show=_shown(show, tasks, problems))


def _task(name: str, on: syntax.On, earlier: list[TaskUse], problems: list[Diagnostic]) -> TaskUse | None:
    found = next((t for t in earlier if t.item.name == name), None)
    place = Label(on.span, f"names `{name}`")
    if on.names.count(name) > 1:
        problems.append(Diagnostic("said-twice", f"`{name}` is compared with itself", place))
        return None
    if found is None:
        help_text = did_you_mean(name, [t.item.name for t in earlier]) or "`compare` names tasks, and stands after them"
        message = f"there is no task `{name}` before this one"
        problems.append(Diagnostic("unknown-task", message, place, help=help_text))
        return None
    if found.item.kind not in COMPARED:
        problems.append(
            Diagnostic(
                "not-comparable",
                f"`compare` takes {' and '.join(f'`{k}`' for k in COMPARED)} tasks, and `{name}` is none",
                place,
                related=(Label(found.item.name_span, f"is a `{found.item.kind}`"),),
            )
        )
        return None
    return found


def _shown(show: syntax.Show | None, tasks: list[TaskUse], problems: list[Diagnostic]) -> tuple[str, ...]:
    """What the table shows: as said, else all that the tasks have in common."""
    measures = [[m.item.name for m in t.system.measures] for t in tasks if t.system is not None]
    if show is None:
        return (*(name for name in measures[0] if all(name in names for names in measures)), *SHOWN)
    known = {name: None for names in measures for name in names} | dict.fromkeys(SHOWN)
    for name in show.names:
        if name not in known:
            message = f"no compared task has a loss or metric `{name}`"
            help_text = did_you_mean(name, known) or f"there are {', '.join(known)}"
            problems.append(Diagnostic("unknown-name", message, Label(show.span, f"shows `{name}`"), help=help_text))
        elif show.names.count(name) > 1:
            problems.append(Diagnostic("said-twice", f"`{name}` is shown twice", Label(show.span, "said here")))
            break
    return tuple(name for name in show.names if name in known)
