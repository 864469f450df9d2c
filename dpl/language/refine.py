"""`refine`: a declared loop over other tasks, from a map to the territory and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dpl.language import syntax
from dpl.language.clauses import read_count
from dpl.language.diagnostics import Diagnostic, Label, did_you_mean
from dpl.language.model import System, TaskUse
from dpl.language.needs import records_of

REPEATED = ("train", "optimize", "record", "fit")
"""The tasks that may be repeated: those that leave something"""


def read_refine(
    item: syntax.Task,
    on: syntax.On,
    pair: Sequence[System],
    found: Mapping[str, TaskUse],
    declared: Sequence[syntax.Task],
    problems: list[Diagnostic],
) -> TaskUse | None:
    """The task with its clauses read; None if it has no map or no territory.

    `found` are the file's tasks as far as they could be read, `declared` all of them.
    """
    place = Label(on.span, "named here")
    if len(pair) != 2 or pair[0] is pair[1]:
        message = "`refine` works on a map and on the territory that it is to be true of"
        help_text = "name two scenarios: `on Map, Real`"
        problems.append(Diagnostic("map-and-territory", message, place, help=help_text))
        return None
    if on.settings:
        message, where = "`refine` sets nothing by itself", Label(on.settings[0].span, "set here")
        help_text = "say it in the tasks that it repeats: `on SCENARIO with …`"
        problems.append(Diagnostic("misplaced-clause", message, where, help=help_text))
    the_map, territory = pair
    repeat = next((c for c in item.clauses if isinstance(c, syntax.Repeat)), None)
    tasks = _repeated(repeat, item, found, declared, problems)
    if repeat is not None and tasks is not None:
        _closes(repeat, tasks, territory, problems)
    said = {c.word: read_count(c, problems) for c in item.clauses if isinstance(c, syntax.Count)}
    show = next((c for c in item.clauses if isinstance(c, syntax.Show)), None)
    return TaskUse(
        item,
        the_map,
        territory=territory,
        counts={word: count for word, count in said.items() if count is not None},
        show=_shown(show, on, the_map, territory, problems),
        repeat=repeat.names if repeat else (),
    )


# ---------------------------------------------------------------- what is repeated


def _repeated(
    repeat: syntax.Repeat | None,
    item: syntax.Task,
    found: Mapping[str, TaskUse],
    declared: Sequence[syntax.Task],
    problems: list[Diagnostic],
) -> list[TaskUse] | None:
    """The tasks that are repeated, in order; None if one of them is wrong."""
    known = [task.name for task in declared if task.kind in REPEATED]
    if repeat is None:
        names = ", ".join(known) or "practise, shots, refit"
        message = f"the task `{item.name}` does not say which tasks it repeats"
        way_out = f"write `repeat {names}`"
        problems.append(Diagnostic("missing-clause", message, Label(item.name_span, "declared here"), help=way_out))
        return None
    kinds = {task.name: task for task in declared}
    sound = True
    for position, name in enumerate(repeat.names):
        problem = _unfit(name, repeat, kinds, known, again=name in repeat.names[:position])
        if problem is not None:
            problems.append(problem)
        sound = sound and problem is None and name in found
    return [found[name] for name in repeat.names] if sound else None


def _unfit(
    name: str, repeat: syntax.Repeat, kinds: Mapping[str, syntax.Task], known: list[str], *, again: bool
) -> Diagnostic | None:
    """What is wrong with one of the names, if anything."""
    place, task = Label(repeat.span, f"names `{name}`"), kinds.get(name)
    if task is None:
        help_text = did_you_mean(name, known) or (f"there are {', '.join(known)}" if known else None)
        return Diagnostic("unknown-task", f"there is no task `{name}` in this file", place, help=help_text)
    if task.kind not in REPEATED:
        message = f"`{name}` leaves nothing for the next round: `refine` repeats {', '.join(REPEATED)}"
        return Diagnostic("not-repeatable", message, place, (Label(task.name_span, f"is a `{task.kind}`"),))
    if again:
        return Diagnostic("said-twice", f"`{name}` is repeated twice in one round", place)
    return None


def _closes(repeat: syntax.Repeat, tasks: list[TaskUse], territory: System, problems: list[Diagnostic]) -> None:
    """A round measures the territory, then learns from what it measured."""
    place = Label(repeat.span, "repeats this")
    records = [task for task in tasks if task.item.kind == "record"]
    fits = [task for task in tasks if task.item.kind == "fit"]
    if not records or not fits:
        lacking = " and no ".join(f"`{kind}`" for kind, some in (("record", records), ("fit", fits)) if not some)
        message = f"a round measures the territory and learns from it; this one has no {lacking}"
        problems.append(Diagnostic("missing-clause", message, place, help="write `repeat practise, shots, refit`"))
        return
    for task in records:
        if task.system is not None and task.system is not territory:
            where = next((c.span for c in task.item.clauses if isinstance(c, syntax.On)), task.item.name_span)
            message = (
                f"`{task.item.name}` records scenario `{task.system.name}`, and the territory is `{territory.name}`"
            )
            problems.append(Diagnostic("not-the-territory", message, place, (Label(where, "recorded here"),)))
    names = [task.item.name for task in records]
    learning = [task for task in fits if task.system is not None and records_of(task.system) & {*names}]
    if not learning:
        message = f"no fit learns from what {', '.join(f'`{name}`' for name in names)} records"
        help_text = f"observe it in the scenario of the fit: `observe {names[0]}.… ~ normal(…)`"
        related = tuple(Label(task.item.name_span, "fits other data") for task in fits[:1])
        problems.append(Diagnostic("open-loop", message, place, related, help_text))
    order = list(repeat.names)
    for task in learning:
        late = [
            n
            for n in names
            if task.system and n in records_of(task.system) and order.index(n) > order.index(task.item.name)
        ]
        if late:
            message = f"`{task.item.name}` learns from what `{late[0]}` records, and stands before it"
            help_text = f"write `{late[0]}` first"
            problems.append(Diagnostic("order-of-tasks", message, place, help=help_text))


# ---------------------------------------------------------------- what is shown


def _shown(
    show: syntax.Show | None, on: syntax.On, the_map: System, territory: System, problems: list[Diagnostic]
) -> tuple[str, ...]:
    """The losses and metrics that both have: as said, else all."""
    here, there = ([m.item.name for m in system.measures] for system in (the_map, territory))
    both = tuple(name for name in here if name in there)
    if show is None:
        if not both:
            message = f"`{the_map.name}` and `{territory.name}` have no loss or metric in common to tell their gap"
            help_text = "declare one metric in both, `metric error = …`, of what the map is to be right about"
            problems.append(Diagnostic("no-measure", message, Label(on.span, "named here"), help=help_text))
        return both
    for position, name in enumerate(show.names):
        place = Label(show.span, f"shows `{name}`")
        if name in show.names[:position]:
            problems.append(Diagnostic("said-twice", f"`{name}` is shown twice", place))
        elif name not in both:
            lacking = [s.name for s, names in ((the_map, here), (territory, there)) if name not in names]
            message = f"there is no loss or metric `{name}` in {' and '.join(f'`{n}`' for n in lacking)}"
            listed = f"both have {', '.join(both)}" if both else f"declare `metric {name} = …` in both"
            problems.append(Diagnostic("unknown-name", message, place, help=did_you_mean(name, both) or listed))
    return tuple(name for name in show.names if name in both)
