"""The tasks of a file, their clauses read and checked: what varies, what is wanted, by which method, how often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import assert_never

from dpl.language import fits, records, syntax
from dpl.language.anneal import read_anneal
from dpl.language.builtins import OPTIMISERS
from dpl.language.clauses import Reading, fitting, read_count, word_of
from dpl.language.compare import read_compare
from dpl.language.demands import check_demands
from dpl.language.diagnostics import Diagnostic, Label, did_you_mean
from dpl.language.goals import Goals
from dpl.language.infer import Inference
from dpl.language.model import Comparison, System, TaskUse
from dpl.language.needs import needs_of
from dpl.language.plots import plotted
from dpl.language.presets import read_setting
from dpl.language.refine import read_refine
from dpl.language.settings import Reader
from dpl.language.source import Span
from dpl.language.suggest import read_of
from dpl.language.vary import Vary
from dpl.language.windows import Windows, critic_of


def read_tasks(
    items: Sequence[syntax.Item], inferences: dict[str, Inference], problems: list[Diagnostic]
) -> tuple[TaskUse, ...]:
    """The tasks among the items of a file, in its order; those that name nothing to work on are left out.

    `inferences` are those of its scenarios and models. A `refine` may repeat tasks that stand after it, and so is
    read last.
    """
    declared = [item for item in items if isinstance(item, syntax.Task)]
    found: dict[str, TaskUse] = {}
    for item in sorted(declared, key=lambda item: item.kind == "refine"):
        task = _read(item, inferences, found, declared, problems)
        if task is not None:
            found[item.name] = task
    tasks = [found[item.name] for item in declared if item.name in found and found[item.name].item is item]
    needs = needs_of(tasks, problems)
    return tuple(replace(task, needs=needs[task.item.name]) for task in tasks)


def _read(
    item: syntax.Task,
    inferences: dict[str, Inference],
    found: dict[str, TaskUse],
    declared: Sequence[syntax.Task],
    problems: list[Diagnostic],
) -> TaskUse | None:
    clauses = fitting(item, problems)
    on = clauses.get("on")
    if not isinstance(on, syntax.On):
        problems.append(_without_on(item))
        return None
    if item.kind == "compare":
        return read_compare(item, on, list(found.values()), problems)
    scenarios = {name: i for name, i in inferences.items() if i.system.closed}
    known = [scenarios.get(name) for name in on.names]
    for name, inference in zip(on.names, known, strict=True):
        if inference is None:
            problems.append(_unknown_scenario(name, on, scenarios))
    if item.kind == "refine":
        pair = [i.system for i in known if i is not None]
        return read_refine(item, on, pair, found, declared, problems) if len(pair) == len(known) else None
    if len(on.names) > 1:
        problems.append(
            Diagnostic("one-scenario", f"`{item.kind}` works on one scenario", Label(on.span, "names several"))
        )
    inference = known[0]
    if inference is None:
        return None
    sound = not any(p.severity == "error" for p in inference.problems)
    before, inference.problems = inference.problems, problems
    task = _TaskReader(Reading(item, inference, sound, clauses)).read(on)
    inference.problems = before
    return task


def _without_on(item: syntax.Task) -> Diagnostic:
    message = f"the task `{item.name}` does not say on which scenario it works"
    help_text = "write `on SCENARIO`"
    if item.kind == "compare":
        message, help_text = f"`{item.name}` does not say which tasks it compares", "write `on TASK, TASK`"
    if item.kind == "refine":
        message, help_text = f"`{item.name}` does not say on which map and territory it works", "write `on Map, Real`"
    return Diagnostic("missing-clause", message, Label(item.name_span, "declared here"), help=help_text)


def _unknown_scenario(name: str, on: syntax.On, known: dict[str, Inference]) -> Diagnostic:
    message, close = f"there is no scenario `{name}`", did_you_mean(name, known)
    return Diagnostic("unknown-scenario", message, Label(on.span, "named here"), help=close)


class _TaskReader:
    """Reads one task on one scenario."""

    def __init__(self, reading: Reading):
        self.reading, self.inference = reading, reading.inference
        self.goals = Goals(reading.inference, reading.sound)

    @property
    def system(self) -> System:
        return self.inference.system

    def read(self, on: syntax.On) -> TaskUse:
        said, item = self.reading, self.reading.item
        for clause in item.clauses:
            if word_of(clause) in said.clauses:
                self.clause(clause)
        window = said.clauses.get("window")
        critic = None
        if isinstance(window, syntax.TrainingWindow):
            self.window(window)
            critic = critic_of(window, self.system.root)
        vary = Vary(self.inference, item.kind, said.sound, critic, frozenset(said.anneal)).read(said.varied)
        said.vary = vary
        settings = tuple(s for setting in on.settings for s in read_setting(setting, self.inference))
        self.annealed_alone({q.path: q.span for q in vary}, "varies", "`vary`")
        self.annealed_alone({path: value.span for path, value in settings}, "is set", "`with`")
        check_demands(said)
        return TaskUse(
            item,
            self.system,
            settings=settings,
            vary=vary,
            objective=said.objective,
            constraints=tuple(said.constraints),
            expectations=tuple(said.expectations),
            until=said.until,
            window=said.window,
            anneal=tuple(said.anneal.values()),
            method=said.method,
            counts=said.counts,
            fixed_samples=said.fixed,
            start=said.start,
            plot=tuple(said.plot),
            priors=said.priors,
            hold_out=said.hold_out,
            hold_after=said.hold_after,
            span=said.span,
            profile=tuple(said.profile),
            every=said.every,
            network=said.network,
        )

    def clause(self, clause: syntax.Clause) -> None:
        said = self.reading
        match clause:
            case syntax.Vary(items):
                said.varied += items
            case syntax.Goal():
                said.objective = self.goals.objective(clause)
            case syntax.Expect(condition):
                said.expectations += self.compared([condition], "expect")
            case syntax.Subject(conditions):
                said.constraints += self.compared(conditions, "subject to")
            case syntax.Until(condition):
                said.until = next(self.compared([condition], "until"), None)
            case syntax.Using(used):
                said.method = Reader(self.inference, self.system.root).method(used, OPTIMISERS, "optimiser")
            case syntax.Count():
                value = read_count(clause, self.inference.problems)
                said.counts |= {} if value is None else {clause.word: value}
                said.fixed = said.fixed or clause.modifier == "fixed"
            case syntax.Start(word):
                said.start = self.start_word(clause, word)
            case syntax.Plot(values):
                said.plot |= dict.fromkeys(p for v in values for p in plotted(v, self.inference))
            case syntax.Anneal():
                self.anneal(clause)
            case syntax.Without():
                fits.read_without(clause, said)
            case syntax.HoldOut():
                fits.read_hold_out(clause, said)
            case syntax.Sampled():
                records.read_every(clause, said)
            case syntax.Of():
                read_of(clause, said)
            case syntax.TrainingWindow() | syntax.Profile():
                pass  # which ask what the other clauses said
            case syntax.On() | syntax.Show() | syntax.Repeat():
                pass
            case _:
                assert_never(clause)

    def window(self, clause: syntax.TrainingWindow) -> None:
        said = self.reading
        if said.item.kind == "fit":
            fits.read_span(clause, said)
        elif clause.value is None:
            length = clause.length.span.text
            self.inference.report(
                "missing-clause",
                "`train` in windows asks a network what comes after each, and this names none",
                clause.span,
                "has no value",
                help=f"write `window {length} with value critic(…)`; a window of a length alone belongs to `fit`",
            )
        else:
            said.window = Windows(self.inference, said.sound, clause, clause.value).read(said.objective)
            if said.window is not None:
                self.system.windows[said.item.name] = said.window

    def compared(self, conditions: Sequence[syntax.Expr], word: str) -> Iterator[Comparison]:
        return (c for c in (self.goals.comparison(condition, word) for condition in conditions) if c is not None)

    def anneal(self, clause: syntax.Anneal) -> None:
        found = read_anneal(clause, self.inference)
        if found is None:
            return
        first = self.reading.anneal.setdefault(found.path, found)
        if first is not found:
            message, related = f"`{found.path}` is annealed twice", (Label(first.span, "first said here"),)
            self.inference.report("said-twice", message, found.span, "said again here", related=related)

    def annealed_alone(self, others: dict[str, Span], does: str, word: str) -> None:
        """What goes its own way neither varies nor is set."""
        for path, found in self.reading.anneal.items():
            if path in others:
                self.inference.report(
                    "contradiction",
                    f"`{path}` {does} and is annealed, too",
                    others[path],
                    f"{does} here",
                    related=(Label(found.span, "annealed here"),),
                    help=f"leave it out of {word}, or leave `anneal` out",
                )

    def start_word(self, clause: syntax.Start, word: str) -> str:
        if word not in ("random", "fresh"):
            self.inference.report(
                "unknown-option",
                "`start` is `random` or `fresh`",
                clause.span,
                f"is `{word}`",
                help=did_you_mean(word, ("random", "fresh")),
            )
            return "current"
        return word
