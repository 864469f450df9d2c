"""What a task's clauses say, read and checked: what varies, what is wanted, by which method, how often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from dpl.language import syntax
from dpl.language.anneal import read_anneal
from dpl.language.builtins import OPTIMISERS
from dpl.language.compare import read_compare
from dpl.language.constants import literal
from dpl.language.diagnostics import Diagnostic, Label, did_you_mean, unsupported, with_article
from dpl.language.goals import Goals
from dpl.language.infer import Inference
from dpl.language.model import (
    Annealed,
    Comparison,
    FreeLet,
    MethodUse,
    Objective,
    Scope,
    Scoped,
    System,
    TaskUse,
    Variable,
    WindowUse,
    named,
)
from dpl.language.settings import Reader
from dpl.language.source import Span
from dpl.language.vary import Vary, find
from dpl.language.windows import Windows, critic_of

CLAUSES: dict[str, tuple[str, ...]] = {
    "simulate": ("on", "points", "seed", "plot"),
    "train": tuple(
        "on vary minimize maximize using batch steps epochs samples seed start starts until window anneal plot".split()
    ),
    "optimize": (
        *("on", "vary", "minimize", "maximize", "subject to"),
        *("using", "steps", "samples", "seed", "start", "starts", "until", "plot"),
    ),
    "verify": ("on", "expect", "samples", "seed"),
    "evaluate": ("on", "samples", "seed", "plot"),
    "compare": ("on", "show", "samples", "seed"),
}
"""The tasks that are supported, and the clauses that each takes."""

_ALL_WORDS = {word for words in CLAUSES.values() for word in words}
_REPEATED = ("expect", "subject to", "vary", "plot", "anneal")
"""Clauses of which there may be several"""
_WAYS_OUT = {
    ("train", "subject to"): "write `optimize`, which keeps to constraints",
    ("optimize", "batch"): "`optimize` meets all its `samples` in each step; `train` draws fresh runs in batches",
    ("optimize", "epochs"): "`optimize` meets all its `samples` in each step: say how many `steps`",
    ("optimize", "anneal"): "write `train`, which leads a param along its steps",
    ("optimize", "window"): "write `train`, which learns in windows",
    ("evaluate", "expect"): "write `verify`, which passes or fails",
}
_LARGEST_COUNT = 10**9


def read_task(
    item: syntax.Task,
    systems: dict[str, System],
    inferences: dict[str, Inference],
    earlier: list[TaskUse],
    problems: list[Diagnostic],
) -> TaskUse | None:
    """A task with its clauses read; None if it names nothing to work on."""
    allowed = CLAUSES.get(item.kind)
    if allowed is None:
        problems.append(unsupported(f"the task `{item.kind}` is", item.name_span))
        return None
    on = _clauses_fit(item, allowed, problems)
    if on is None:
        return None
    if item.kind == "compare":
        return read_compare(item, on, earlier, problems)
    system = systems.get(on.names[0])
    if system is None:
        problems.append(
            Diagnostic(
                "unknown-scenario",
                f"there is no scenario `{on.names[0]}`",
                Label(on.span, "named here"),
                help=did_you_mean(on.names[0], systems),
            )
        )
        return None
    inference = inferences[on.names[0]]
    sound = not any(p.severity == "error" for p in inference.problems)
    before, inference.problems = inference.problems, problems
    task = _TaskReader(item, system, inference, sound).read(on, earlier)
    inference.problems = before
    return task


def _clauses_fit(item: syntax.Task, allowed: tuple[str, ...], problems: list[Diagnostic]) -> syntax.On | None:
    seen: dict[str, syntax.Clause] = {}
    for clause in item.clauses:
        word = word_of(clause)
        if word not in allowed:
            known = word in _ALL_WORDS
            message = (
                f"`{item.kind}` takes no `{word}`" if known else f"`{word}` is not supported by this version of DPL"
            )
            way_out = _WAYS_OUT.get((item.kind, word), f"it takes {', '.join(allowed)}")
            code = "misplaced-clause" if known else "not-supported"
            problems.append(Diagnostic(code, message, Label(clause.span, "said here"), help=way_out))
        elif word in seen and word not in _REPEATED:
            problems.append(
                Diagnostic(
                    "said-twice",
                    f"`{word}` is said twice",
                    Label(clause.span, "said again here"),
                    related=(Label(seen[word].span, "first said here"),),
                )
            )
        seen.setdefault(word, clause)
    on = seen.get("on")
    if not isinstance(on, syntax.On):
        message = f"the task `{item.name}` does not say on which scenario it works"
        help_text = "write `on SCENARIO`"
        if item.kind == "compare":
            message, help_text = f"`{item.name}` does not say which tasks it compares", "write `on TASK, TASK`"
        problems.append(Diagnostic("missing-clause", message, Label(item.name_span, "declared here"), help=help_text))
        return None
    if len(on.names) > 1 and item.kind != "compare":
        problems.append(
            Diagnostic("one-scenario", f"`{item.kind}` works on one scenario", Label(on.span, "names several"))
        )
    return on


def word_of(clause: syntax.Clause) -> str:
    """The word that opens a clause."""
    match clause:
        case syntax.Goal():
            return clause.sense
        case syntax.Count():
            return clause.word
        case syntax.Subject():
            return "subject to"
        case syntax.TrainingWindow():
            return "window"
        case syntax.HoldOut():
            return "hold out"
        case syntax.Sampled():
            return "every"
        case _:
            return type(clause).__name__.lower()


@dataclass
class _Said:
    """What the clauses of one task say."""

    varied: list[syntax.Varied] = field(default_factory=list[syntax.Varied])
    objective: Objective | None = None
    constraints: list[Comparison] = field(default_factory=list[Comparison])
    expectations: list[Comparison] = field(default_factory=list[Comparison])
    until: Comparison | None = None
    window: WindowUse | None = None
    anneal: dict[str, Annealed] = field(default_factory=dict[str, Annealed])
    method: MethodUse | None = None
    counts: dict[str, int] = field(default_factory=dict[str, int])
    fixed: bool = False
    start: str = "current"
    plot: dict[str, None] = field(default_factory=dict[str, None])


@dataclass
class _TaskReader:
    """Reads one task. `sound`: its scenario is right so far, so that its equations can be asked."""

    item: syntax.Task
    system: System
    inference: Inference
    sound: bool

    def read(self, on: syntax.On, earlier: list[TaskUse]) -> TaskUse:
        item = self.item
        self.goals = Goals(self.inference, self.sound)
        self.said = said = _Said()
        allowed = CLAUSES[item.kind]
        for clause in item.clauses:
            if word_of(clause) in allowed:
                self.clause(clause)
        window = next((c for c in item.clauses if isinstance(c, syntax.TrainingWindow)), None)
        if window is not None and item.kind == "train":
            said.window = Windows(self.inference, self.sound, window).read(said.objective)
        if said.window is not None:
            self.system.windows[item.name] = said.window
        critic = critic_of(window, self.system.root) if window is not None else None
        vary = Vary(self.inference, item.kind, self.sound, critic, frozenset(said.anneal)).read(said.varied)
        settings = tuple(s for setting in on.settings for s in self.setting(setting))
        self.annealed_alone({q.path: q.span for q in vary}, "varies", "`vary`")
        self.annealed_alone({path: value.span for path, value in settings}, "is set", "`with`")
        self.complete()
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
            needs=self.needs(earlier),
        )

    def clause(self, clause: syntax.Clause) -> None:
        said = self.said
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
                said.counts |= self.count(clause)
                said.fixed = said.fixed or clause.modifier == "fixed"
            case syntax.Start(word):
                said.start = self.start_word(clause, word)
            case syntax.Plot(values):
                said.plot |= dict.fromkeys(p for v in values for p in self.plotted(v))
            case syntax.Anneal():
                self.anneal(clause)
            case syntax.TrainingWindow() | syntax.On() | syntax.Show():
                pass
            case (
                syntax.Without()
                | syntax.HoldOut()
                | syntax.Profile()
                | syntax.Sampled()
                | syntax.Of()
                | syntax.Repeat()
            ):
                pass
            case _:
                assert_never(clause)

    def compared(self, conditions: Sequence[syntax.Expr], word: str) -> Iterator[Comparison]:
        return (c for c in (self.goals.comparison(condition, word) for condition in conditions) if c is not None)

    def anneal(self, clause: syntax.Anneal) -> None:
        found = read_anneal(clause, self.inference)
        if found is None:
            return
        first = self.said.anneal.setdefault(found.path, found)
        if first is not found:
            message, related = f"`{found.path}` is annealed twice", (Label(first.span, "first said here"),)
            self.inference.report("said-twice", message, found.span, "said again here", related=related)

    def annealed_alone(self, others: dict[str, Span], does: str, word: str) -> None:
        """What goes its own way neither varies nor is set."""
        for path, found in self.said.anneal.items():
            if path in others:
                self.inference.report(
                    "contradiction",
                    f"`{path}` {does} and is annealed, too",
                    others[path],
                    f"{does} here",
                    related=(Label(found.span, "annealed here"),),
                    help=f"leave it out of {word}, or leave `anneal` out",
                )

    # ------------------------------------------------------------ what must be said, and what must not

    def complete(self) -> None:
        """What a task cannot do without."""
        item = self.item
        words = {word_of(c) for c in item.clauses}
        optimises = ("vary", "minimize")
        wanted = {"train": optimises, "optimize": optimises, "verify": ("expect",)}.get(item.kind, ())
        for word in wanted:
            if word not in words and not (word == "minimize" and "maximize" in words):
                self.missing(f"the task `{item.name}` says no `{word}`", "declared here", f"write `{word} …`")
        if {"minimize", "maximize"} <= words:
            self.refuse(f"`{item.name}` both minimises and maximises", "says both", "say one expression to minimise")
        if item.kind == "evaluate" and not self.system.measures:
            message = f"scenario `{self.system.name}` has neither loss nor metric to tabulate"
            help_text = "declare `metric name = …` in the scenario"
            self.inference.report("no-measure", message, self.place("on"), "named here", help=help_text)
        if item.kind == "train":
            self.training()
        if item.kind == "optimize":
            self.squared()
            self.constrained()

    def training(self) -> None:
        counts, fixed, method = self.said.counts, self.said.fixed, self.said.method
        if "epochs" in counts and "steps" in counts:
            self.refuse("say either how many `steps` or how many `epochs`", "says both", None)
        if "epochs" in counts and not fixed:
            self.missing("`epochs` go through fixed samples", "has none", "write `samples 1_000 fixed`")
        if "samples" in counts and not fixed:
            self.inference.report(
                "misplaced-clause",
                "`train` draws fresh samples at each step: `batch` says how many",
                self.place("samples"),
                "says `samples`",
                help="write `samples N fixed` to draw once",
            )
        if fixed and counts.get("batch", 0) > counts.get("samples", _LARGEST_COUNT):
            self.refuse(
                f"a batch of {counts['batch']} is more than all {counts['samples']} fixed samples",
                "larger than there are runs",
                "make `batch` smaller, or leave it out",
                "batch",
            )
        if method is not None and not method.row.stochastic:
            fit = ", ".join(name for name, row in OPTIMISERS.items() if row.stochastic)
            self.inference.report(
                "unfit-optimiser",
                f"`{method.row.name}` needs the same runs at each step, and `train` draws fresh ones",
                self.place("using"),
                "named here",
                help=f"write `optimize` to use it; `train` takes {fit}",
            )

    def squared(self) -> None:
        """Gauss-Newton methods minimise sums of squares."""
        method, objective = self.said.method, self.said.objective
        squares = objective.squares if objective is not None else None
        for square in squares or ():
            if square.measure is not None:
                self.system.squares.setdefault(square.key, square)
        if method is None or not method.row.squares or objective is None or squares is not None:
            return
        self.inference.report(
            "not-a-sum-of-squares",
            f"`{method.row.name}` minimises a sum of squares",
            objective.goal.value.span,
            "is not evidently one",
            related=(Label(self.place("using"), "asked for here"),),
            help="write a square, such as `minimize error²`, or take `using lbfgs`",
        )

    def constrained(self) -> None:
        """Between two updates of the multipliers a method must converge."""
        method = self.said.method
        if method is None or not method.row.stochastic or not self.said.constraints:
            return
        fit = ", ".join(name for name, row in OPTIMISERS.items() if not row.stochastic)
        self.inference.report(
            "unfit-optimiser",
            f"`{method.row.name}` does not converge well enough for `subject to`",
            self.place("using"),
            "named here",
            related=(Label(self.place("subject to"), "the constraints"),),
            help=f"take {fit}, or leave `using` out",
        )

    def missing(self, message: str, label: str, way_out: str) -> None:
        self.inference.report("missing-clause", message, self.item.name_span, label, help=way_out)

    def refuse(self, message: str, label: str, way_out: str | None, word: str | None = None) -> None:
        place = self.place(word) if word else self.item.name_span
        self.inference.report("contradiction", message, place, label, help=way_out)

    def place(self, word: str) -> Any:
        return next(c.span for c in self.item.clauses if word_of(c) == word)

    # ------------------------------------------------------------ settings

    def setting(self, item: syntax.Setting) -> Iterator[tuple[str, Scoped]]:
        found = find(item.path, item.span, self.inference)
        if isinstance(found, FreeLet) or not (
            isinstance(found, Variable) and found.kind in ("param", "state", "given")
        ):
            if found is not None:
                self.not_settable(found, item)
            return
        value = Scoped(item.value, self.system.root, found.display)
        if literal(item.value) is None:
            type_ = self.inference.infer(item.value, self.system.root)
            self.inference.same(found.dimension, type_.dimension, item.value.span, found.span, "value")
        if self.inference.constant(value, "a setting") is not None:
            yield found.path, value

    def not_settable(self, found: object, item: syntax.Setting) -> None:
        quantity = found if isinstance(found, Variable | FreeLet) else None
        kind = found.kind if isinstance(found, Variable) else "let" if quantity else "no quantity"
        name = item.path[0] if isinstance(found, FreeLet) else ".".join(item.path)
        inherit = f"scenario Other like {self.system.name} {{ let {name} = … }}"
        self.inference.report(
            "not-settable",
            f"`{'.'.join(item.path)}` is {with_article(kind) if quantity else kind}: "
            "a task sets params, givens and starts",
            item.span,
            "set here",
            related=(Label(quantity.span, "declared here"),) if quantity else (),
            help=f"give it another equation in a scenario of its own: `{inherit}`"
            if kind == "let" and len(item.path) == 1 + isinstance(found, FreeLet)
            else None,
        )

    # ------------------------------------------------------------ the rest

    def count(self, clause: syntax.Count) -> dict[str, int]:
        value = clause.value
        least = 0 if clause.word == "seed" else 1
        if value.denominator != 1 or not least <= value <= _LARGEST_COUNT:
            limits = f"`{clause.word}` is a whole number from {least} to {_LARGEST_COUNT:_}"
            self.inference.report("bad-count", limits, clause.span, "is not")
            return {}
        if clause.modifier is not None and (clause.word, clause.modifier) != ("samples", "fixed"):
            self.inference.report(
                "unknown-option", f"`{clause.word}` takes no `{clause.modifier}`", clause.span, "said here"
            )
        return {clause.word: int(value)}

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

    def plotted(self, expr: syntax.Expr) -> Iterator[str]:
        """The observed quantities that a name stands for: itself, several results, or all that a part is seen by."""
        report = self.inference.report
        if not self.system.runs:
            report(
                "no-run",
                f"nothing changes with time in scenario `{self.system.name}`: there is nothing to draw",
                expr.span,
                "drawn here",
                help="say how long it runs, `run for 10 [s]`, or leave `plot` out",
            )
            return
        found = named(expr, self.system.root)
        if isinstance(expr, syntax.Member) and found is None:
            record = named(expr.object, self.system.root)
            ports = record.record.outputs if isinstance(record, Variable) and record.record else ()
            if isinstance(record, Variable) and expr.name in [p.name for p in ports]:
                yield f"{record.path}.{expr.name}"
                return
        match found:
            case Variable(record=record) if record is not None:
                yield from (f"{found.path}.{port.name}" for port in record.outputs)
            case Variable(kind="state" | "input" | "output" | "let"):
                yield found.path
            case Variable():
                message = f"`{found.path}` is {with_article(found.kind)}, which stays as it is"
                report("not-plottable", message, expr.span, "does not change", help="draw what depends on it")
            case Scope():
                kinds = ("let",) if isinstance(found.item, syntax.Constraint) else ("state", "output")
                seen = [v.path for v in self.system.variables if v.scope is found and v.kind in kinds]
                yield from seen
            case _:
                self.not_plottable(expr)

    def not_plottable(self, expr: syntax.Expr) -> None:
        measures = {measure.item.name: measure.item for measure in self.system.measures}
        if isinstance(expr, syntax.Name) and (measure := measures.get(expr.id)):
            self.inference.report(
                "not-plottable",
                f"`{expr.id}` is a {measure.kind}: one number per run, which has no course to draw",
                expr.span,
                "is one number",
                related=(Label(measure.name_span, "declared here"),),
                help="plot what it is computed from; `evaluate` tells its values",
            )
            return
        close = None
        if isinstance(expr, syntax.Name | syntax.Member):
            holder = named(expr.object, self.system.root) if isinstance(expr, syntax.Member) else self.system.root
            word = expr.name if isinstance(expr, syntax.Member) else expr.id
            names = holder.names if isinstance(holder, Scope) else ()
            close = did_you_mean(word, names)
        self.inference.report(
            "not-plottable",
            "`plot` takes names of the scenario and its parts that change with time",
            expr.span,
            "is not one",
            help=close or "give it a name in the scenario, `let name = …`, and plot that",
        )

    def needs(self, earlier: list[TaskUse]) -> tuple[str, ...]:
        """Earlier tasks that find what this scenario uses; what differs from run to run is not kept."""
        mine = _declared(self.system)
        return tuple(t.item.name for t in earlier if t.system is not None and _found(t, t.system) & mine)


def _found(task: TaskUse, system: System) -> set[tuple[str, int]]:
    paths = {q.path for q in task.vary if not q.each} | {a.path for a in task.anneal}
    return {(path, key) for path, key in _declared(system) if path in paths}


def _declared(system: System) -> set[tuple[str, int]]:
    """What a scenario can vary: by path and by the very declaration, since equal names may be different things."""
    params = [v for v in system.variables if v.kind == "param"]
    found = {(v.path, id(v.value.expr) if v.value else id(v.declaration)) for v in params}
    return found | {(n.path, id(n.item)) for n in system.networks}
