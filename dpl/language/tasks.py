"""What a task's clauses say, read and checked: what varies, what is wanted, by which method, how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from dpl.language import syntax
from dpl.language.builtins import FUNCTIONS, OPTIMISERS, RUN_REDUCTIONS
from dpl.language.constants import literal
from dpl.language.diagnostics import Diagnostic, Label, did_you_mean, unsupported, with_article
from dpl.language.infer import Inference
from dpl.language.model import (
    Comparison,
    Measure,
    MethodUse,
    NetworkUse,
    Scope,
    Scoped,
    System,
    TaskUse,
    Variable,
    VariedQuantity,
    part_of,
    target_of,
)
from dpl.language.rules import has_measure, upside_down
from dpl.language.settings import Reader, bound_of, unit_of
from dpl.language.source import Span
from dpl.language.units import Unit, read_unit

CLAUSES: dict[str, tuple[str, ...]] = {
    "simulate": ("on", "points", "seed"),
    "train": ("on", "vary", "minimize", "maximize", "using", "batch", "steps", "epochs", "samples", "seed", "start"),
    "verify": ("on", "expect", "samples", "seed"),
}
"""The tasks that are supported, and the clauses that each takes."""

_LARGEST_COUNT = 10**9


def read_task(
    item: syntax.Task,
    systems: dict[str, System],
    inferences: dict[str, Inference],
    earlier: list[TaskUse],
    problems: list[Diagnostic],
) -> TaskUse | None:
    """A task with its clauses read; None if it names no scenario to work on."""
    allowed = CLAUSES.get(item.kind)
    if allowed is None:
        problems.append(unsupported(f"the task `{item.kind}` is", item.name_span))
        return None
    on = _clauses_fit(item, allowed, problems)
    if on is None:
        return None
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
    before, inference.problems = inference.problems, problems
    task = _TaskReader(item, system, inference).read(on, earlier)
    inference.problems = before
    return task


def _clauses_fit(item: syntax.Task, allowed: tuple[str, ...], problems: list[Diagnostic]) -> syntax.On | None:
    seen: dict[str, syntax.Clause] = {}
    for clause in item.clauses:
        word = _word(clause)
        if word not in allowed:
            problems.append(
                Diagnostic(
                    "misplaced-clause" if word in _ALL_WORDS else "not-supported",
                    f"`{item.kind}` takes no `{word}`"
                    if word in _ALL_WORDS
                    else f"`{word}` is not supported by this version of DPL",
                    Label(clause.span, "said here"),
                    help=f"it takes {', '.join(allowed)}",
                )
            )
        elif word in seen and word not in ("expect",):
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
        problems.append(
            Diagnostic(
                "missing-clause",
                f"the task `{item.name}` does not say on which scenario it works",
                Label(item.name_span, "declared here"),
                help="write `on SCENARIO`",
            )
        )
        return None
    if len(on.names) > 1:
        problems.append(
            Diagnostic("one-scenario", f"`{item.kind}` works on one scenario", Label(on.span, "names several"))
        )
    return on


_ALL_WORDS = {word for words in CLAUSES.values() for word in words}


def _word(clause: syntax.Clause) -> str:
    match clause:
        case syntax.Goal():
            return clause.sense
        case (
            syntax.Count()
            | syntax.Using()
            | syntax.On()
            | syntax.Vary()
            | syntax.Start()
            | syntax.Expect()
            | syntax.Plot()
            | syntax.Until()
            | syntax.Show()
        ):
            return clause.word if isinstance(clause, syntax.Count) else type(clause).__name__.lower()
        case syntax.Subject():
            return "subject to"
        case syntax.TrainingWindow():
            return "window"


@dataclass
class _TaskReader:
    item: syntax.Task
    system: System
    inference: Inference

    def __post_init__(self) -> None:
        self.scope = Scope("", self.system.root.item, self.system.root.file)
        self.scope.names.update({m.item.name: m for m in self.system.measures})

    def read(self, on: syntax.On, earlier: list[TaskUse]) -> TaskUse:
        item = self.item
        vary: list[VariedQuantity] = []
        objective: syntax.Goal | None = None
        objective_unit = Unit()
        expectations: list[Comparison] = []
        method: MethodUse | None = None
        counts: dict[str, int] = {}
        fixed, start, plot = False, "current", ()
        for clause in item.clauses:
            match clause:
                case syntax.Vary(items):
                    vary += [q for v in items for q in self.varied(v)]
                case syntax.Goal():
                    objective, objective_unit = clause, self.goal(clause)
                case syntax.Expect(condition):
                    found = self.expect(condition)
                    expectations += [found] if found else []
                case syntax.Using(used):
                    method = Reader(self.inference, self.system.root).method(used, OPTIMISERS, "optimiser")
                case syntax.Count():
                    counts |= self.count(clause)
                    fixed = fixed or clause.modifier == "fixed"
                case syntax.Start(word):
                    start = self.start_word(clause, word)
                case syntax.Plot(values):
                    plot = tuple(p for v in values for p in self.plotted(v))
                case _:
                    pass
        seen: set[str] = set()
        for quantity in vary:
            if quantity.path in seen:
                self.inference.report(
                    "said-twice", f"`{quantity.path}` varies already", quantity.span, "said again here"
                )
            seen.add(quantity.path)
        self.complete(counts, fixed, vary, objective, expectations)
        settings = tuple(s for setting in on.settings for s in self.setting(setting))
        return TaskUse(
            item,
            self.system,
            settings,
            tuple(vary),
            objective,
            objective_unit,
            tuple(expectations),
            method,
            counts,
            fixed,
            start,
            plot,
            self.needs(earlier),
        )

    def complete(
        self,
        counts: dict[str, int],
        fixed: bool,
        vary: list[VariedQuantity],
        objective: syntax.Goal | None,
        expectations: list[Comparison],
    ) -> None:
        """What a task cannot do without."""
        item, report = self.item, self.inference.report
        words = {_word(c) for c in item.clauses}
        wanted = {"train": ("vary", "minimize"), "verify": ("expect",)}.get(item.kind, ())
        for word in wanted:
            if word not in words and not (word == "minimize" and "maximize" in words):
                report(
                    "missing-clause",
                    f"the task `{item.name}` says no `{word}`",
                    item.name_span,
                    "declared here",
                    help=f"write `{word} …`",
                )
        if item.kind == "train":
            if "epochs" in counts and "steps" in counts:
                report("said-twice", "say either how many `steps` or how many `epochs`", item.name_span, "says both")
            if "epochs" in counts and not fixed:
                report(
                    "missing-clause",
                    "`epochs` go through fixed samples",
                    item.name_span,
                    "has none",
                    help="write `samples 1_000 fixed`",
                )
            if "samples" in counts and not fixed:
                report(
                    "misplaced-clause",
                    "`train` draws fresh samples at each step: `batch` says how many",
                    item.name_span,
                    "says `samples`",
                    help="write `samples N fixed` to draw once",
                )

    # ------------------------------------------------------------ what varies

    def varied(self, item: syntax.Varied) -> Iterator[VariedQuantity]:
        if item.each:
            self.inference.problems.append(unsupported("`vary each` is", item.span))
            return
        if not item.path:
            yield from self.all_of(self.system.root, item.span, everything=True)
            return
        found = self.find(item.path, item.span)
        match found:
            case None:
                return
            case Scope():
                quantities = list(self.all_of(found, item.span))
                if not quantities:
                    self.inference.report(
                        "nothing-varies", f"`{found.path}` has neither params nor networks", item.span, "named here"
                    )
                yield from quantities
            case NetworkUse():
                if item.range:
                    self.inference.report(
                        "misplaced-range", "a network has no range to narrow", item.range.span, "stands here"
                    )
                yield VariedQuantity(found.path, None, None, item.span)
            case Variable(kind="param"):
                yield self.narrowed(found, item)
            case Variable():
                if found.kind in ("given", "let"):
                    self.inference.problems.append(unsupported(f"to vary a {found.kind} is", item.span))
                    return
                self.inference.report(
                    "not-variable",
                    f"`{found.path}` is {with_article(found.kind)}: only params and networks vary",
                    item.span,
                    "named here",
                    related=(Label(found.span, "declared here"),),
                    help="declare it `param`",
                )
            case _:
                self.inference.report("not-variable", f"`{'.'.join(item.path)}` cannot vary", item.span, "named here")

    def all_of(self, scope: Scope, span: Span, *, everything: bool = False) -> Iterator[VariedQuantity]:
        inside = f"{scope.path}."
        for variable in self.system.variables:
            if variable.kind == "param" and (everything or variable.path.startswith(inside)):
                yield VariedQuantity(variable.path, None, None, span)
        for use in self.system.networks:
            if everything or use.path.startswith(inside):
                yield VariedQuantity(use.path, None, None, span)

    def find(self, path: tuple[str, ...], span: Span) -> object:
        scope: object = self.system.root
        for i, name in enumerate(path):
            holder = scope if isinstance(scope, Scope) else None
            found = holder.find(name) if holder and i == 0 else holder.names.get(name) if holder else None
            if found is None:
                known = holder.known() if holder and i == 0 else (holder.names if holder else ())
                self.inference.report(
                    "unknown-name",
                    f"`{'.'.join(path)}` is not in scenario `{self.system.name}`",
                    span,
                    "named here",
                    help=did_you_mean(name, known),
                )
                return None
            scope = found
        return scope

    def narrowed(self, variable: Variable, item: syntax.Varied) -> VariedQuantity:
        low = high = None
        if item.range is not None:
            own = read_unit(item.range.unit, self.inference.problems) if item.range.unit else variable.display
            self.inference.same(variable.dimension, own.dimension, item.range.span, variable.span, "range")
            low = self.bound(item.range.low, own, variable)
            high = self.bound(item.range.high, own, variable) if item.range.high else None
            if low is not None and high is not None and not low < high:
                self.inference.problems.append(upside_down(item.range))
            self.inside(variable, item.range, low, high)
        return VariedQuantity(variable.path, low, high, item.span)

    def inside(self, variable: Variable, range_: syntax.Range, low: float | None, high: float | None) -> None:
        """A task narrows a range; it does not widen it."""
        own = variable.declaration.domain
        if not isinstance(own, syntax.Range):
            return
        ends = bound_of(variable, own.low, own), bound_of(variable, own.high, own) if own.high else None
        slack = 1e-9 * max(abs(e) for e in (low or 0.0, high or 0.0))
        below = low is not None and ends[0] is not None and low < ends[0] - slack
        above = high is not None and ends[1] is not None and high > ends[1] + slack
        if below or above:
            self.inference.report(
                "out-of-range",
                f"`{variable.path}` may not leave its own range",
                range_.span,
                f"reaches outside {own.span.text}",
                related=(Label(own.span, "its range"),),
            )

    def bound(self, expr: syntax.Expr, unit: Unit, variable: Variable) -> float | None:
        if literal(expr) is None:
            found = self.inference.infer(expr, self.system.root)
            self.inference.same(variable.dimension, found.dimension, expr.span, variable.span, "range")
        value = self.inference.constant(Scoped(expr, self.system.root, unit), "a bound")
        return None if value is None else float(value)

    def setting(self, item: syntax.Setting) -> Iterator[tuple[str, Scoped]]:
        found = self.find(item.path, item.span)
        if not isinstance(found, Variable):
            return
        if found.kind not in ("param", "state", "given"):
            self.inference.report(
                "not-settable",
                f"`{found.path}` is {with_article(found.kind)}: a task sets params, givens and starts",
                item.span,
                "set here",
                related=(Label(found.span, "declared here"),),
            )
            return
        value = Scoped(item.value, self.system.root, found.display)
        if literal(item.value) is None:
            type_ = self.inference.infer(item.value, self.system.root)
            self.inference.same(found.dimension, type_.dimension, item.value.span, found.span, "value")
        if self.inference.constant(value, "a setting") is not None:
            yield found.path, value

    # ------------------------------------------------------------ what is wanted

    def goal(self, clause: syntax.Goal) -> Unit:
        dimension = self.over_runs(clause.value, clause.value.span, number=True)
        return Unit(dimension, Fraction(1), "" if dimension.pure else str(dimension))

    def over_runs(self, expr: syntax.Expr, span: Span, *, number: bool):
        self.inference.over_runs = True
        found = self.inference.infer(expr, self.scope)
        self.inference.over_runs = False
        if number:
            self.inference.number_only(found, expr)
        if not has_measure(expr, self.scope) and not self.inference.problems:
            known = ", ".join(m.item.name for m in self.system.measures)
            self.inference.report(
                "no-measure",
                "this names no loss or metric of the scenario",
                span,
                "depends on no run",
                help=f"it has {known}" if known else "declare `loss name = …` in the scenario",
            )
        return self.inference.final(found.dimension)

    def expect(self, condition: syntax.Expr) -> Comparison | None:
        if not isinstance(condition, syntax.Compare):
            self.inference.report(
                "not-a-comparison",
                "`expect` takes a comparison",
                condition.span,
                "compares nothing",
                help="write `expect mean(error) < 5 [cm]`",
            )
            return None
        self.over_runs(condition, condition.span, number=False)
        per_run = any(outside_reductions(o, self.scope) for o in condition.operands)
        unit = next((u for u in map(unit_of, condition.operands) if u), None)
        if unit is None:
            first = self.first_measure(condition)
            unit = first.display if first else Unit()
        return Comparison(condition.operands, condition.ops, per_run, unit, condition.span)

    def first_measure(self, expr: syntax.Expr) -> Measure | None:
        if isinstance(expr, syntax.Name):
            found = self.scope.find(expr.id)
            return found if isinstance(found, Measure) else None
        return next((m for m in map(self.first_measure, syntax.children(expr)) if m), None)

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
        root = self.system.root
        variable = target_of(expr, root)
        if variable is not None:
            yield variable.path
        elif part_of(expr, root) is None:
            self.inference.report(
                "not-plottable", "`plot` takes names of the scenario and its parts", expr.span, "is not one"
            )

    def needs(self, earlier: list[TaskUse]) -> tuple[str, ...]:
        """Earlier tasks that vary what this scenario uses."""
        mine = _declared(self.system)
        return tuple(
            t.item.name
            for t in earlier
            if any((q.path, d) in mine for q in t.vary for p, d in _declared(t.system) if p == q.path)
        )


def _declared(system: System) -> set[tuple[str, int]]:
    """What a scenario can vary: by path and by the very declaration, since equal names may be different things."""
    params = [v for v in system.variables if v.kind == "param"]
    found = {(v.path, id(v.value.expr) if v.value else id(v.declaration)) for v in params}
    return found | {(n.path, id(n.item)) for n in system.networks}


def outside_reductions(expr: syntax.Expr, scope: Scope) -> bool:
    """Whether a loss or metric stands outside every reduction over runs."""

    match expr:
        case syntax.Name(name):
            return isinstance(scope.find(name), Measure)
        case syntax.Call(syntax.Name(name), arguments) if is_run_reduction(name, len(arguments)):
            return False
        case _:
            return any(outside_reductions(c, scope) for c in syntax.children(expr))


def is_run_reduction(name: str, count: int) -> bool:
    """`max(e)` reduces over runs in a task; `max(a, b)` does not."""

    return name in RUN_REDUCTIONS and (count == 1 or name not in FUNCTIONS)
