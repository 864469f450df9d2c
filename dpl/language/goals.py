"""What a task wants, in losses and metrics over all runs: objectives and comparisons, read and checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from dpl.language import syntax
from dpl.language.builtins import FUNCTIONS, RUN_REDUCTIONS, TIME_REDUCTIONS
from dpl.language.change import varying
from dpl.language.diagnostics import Label, with_article
from dpl.language.infer import Inference
from dpl.language.model import (
    Comparison,
    Measure,
    NetworkUse,
    Objective,
    Scope,
    System,
    TableUse,
    Variable,
    named,
    si_unit,
    target_of,
)
from dpl.language.rules import has_measure
from dpl.language.settings import unit_of
from dpl.language.squares import squares
from dpl.language.units import Dimension, Unit


def over_runs(system: System) -> Scope:
    """The names that a task may use: the scenario's losses and metrics, and those of the file."""
    scope = Scope("", system.root.item, system.root.file)
    scope.names.update({m.item.name: m for m in system.measures})
    return scope


def is_run_reduction(name: str, count: int) -> bool:
    """`max(e)` reduces over runs in a task; `max(a, b)` does not."""
    return name in RUN_REDUCTIONS and (count == 1 or name not in FUNCTIONS)


def outside_reductions(expr: syntax.Expr, scope: Scope) -> bool:
    """Whether a loss or metric stands outside every reduction over runs."""
    match expr:
        case syntax.Name(name):
            return isinstance(scope.find(name), Measure)
        case syntax.Call(syntax.Name(name), arguments) if is_run_reduction(name, len(arguments)):
            return False
        case _:
            return any(outside_reductions(c, scope) for c in syntax.children(expr))


@dataclass
class Goals:
    """Reads what one task says of losses and metrics. `sound`: the scenario is right so far."""

    inference: Inference
    sound: bool
    scope: Scope = field(init=False)

    def __post_init__(self) -> None:
        self.scope = over_runs(self.inference.system)

    def objective(self, clause: syntax.Goal) -> Objective:
        dimension = self.inferred(clause.value, clause.sense, number=True)
        minimised = clause.sense == "minimize"
        return Objective(
            clause, self.unit_of_goal(clause.value, dimension), squares(clause.value, self.scope) if minimised else None
        )

    def unit_of_goal(self, goal: syntax.Expr, dimension: Dimension) -> Unit:
        """That of the loss or metric which the goal is, over runs or not; of anything else the coherent SI unit."""
        match goal:
            case syntax.Call(syntax.Name(name), arguments) if is_run_reduction(name, len(arguments)):
                goal = arguments[0].value
            case _:
                pass
        own = self.unit_of_measure(goal) if isinstance(goal, syntax.Name) else None
        return own if own is not None and own.dimension == dimension else si_unit(dimension)

    def comparison(self, condition: syntax.Expr, word: str) -> Comparison | None:
        """`word` is the clause in which it stands."""
        if not isinstance(condition, syntax.Compare):
            both = isinstance(condition, syntax.Binary) and condition.op in ("and", "or")
            self.inference.report(
                "not-a-comparison",
                f"`{word}` takes a comparison",
                condition.span,
                "is more than one" if both else "compares nothing",
                help=_APART.get(word, f"say one in each `{word}`") if both else f"write `{word} mean(error) < 5 [cm]`",
            )
            return None
        if word == "subject to" and "!=" in condition.ops:
            self.inference.report(
                "bad-constraint",
                "a constraint with `!=` leaves nothing to hold on to: almost every value complies",
                condition.span,
                "said here",
                help="write `<` or `>` for the side that you want",
            )
            return None
        self.inferred(condition, word, number=False)
        per_run = any(outside_reductions(o, self.scope) for o in condition.operands)
        unit = next((u for u in map(unit_of, condition.operands) if u), None) or self.unit_of_measure(condition)
        return Comparison(condition.operands, condition.ops, per_run, unit or Unit(), condition.span)

    def unit_of_measure(self, expr: syntax.Expr) -> Unit | None:
        """The unit of the first loss or metric of the expression."""
        if isinstance(expr, syntax.Name):
            found = self.scope.find(expr.id)
            return found.display if isinstance(found, Measure) else None
        return next((u for u in map(self.unit_of_measure, syntax.children(expr)) if u), None)

    def inferred(self, expr: syntax.Expr, word: str, *, number: bool) -> Dimension:
        """The dimension of an expression over runs, with everything wrong in it reported."""
        strangers = list(self.strangers(expr))
        for place, what in strangers:
            self.stranger(place, what, word)
        if strangers:
            return Dimension()
        self.inference.over_runs = True
        found = self.inference.infer(expr, self.scope)
        self.inference.over_runs = False
        if number:
            self.inference.number_only(found, expr)
        if not has_measure(expr, self.scope) and not self.inference.problems:
            known = ", ".join(m.item.name for m in self.inference.system.measures)
            self.inference.report(
                "no-measure",
                "this names no loss or metric of the scenario",
                expr.span,
                "depends on no run",
                help=f"it has {known}" if known else "declare `loss name = …` in the scenario",
            )
        return self.inference.final(found.dimension)

    # ------------------------------------------------------------ what is no loss or metric

    def strangers(self, expr: syntax.Expr) -> Iterator[tuple[syntax.Expr, Variable | NetworkUse | TableUse | str]]:
        """What the expression names of the scenario that is neither a loss or metric nor a constant."""
        root = self.inference.system.root
        match expr:
            case syntax.Name("time" | "period" as name) if root.find(name) is None:
                yield expr, name
            case syntax.Name(name):
                found = self.scope.find(name) or root.find(name)
                if isinstance(found, Variable) and not self.constant(found):
                    yield expr, found
            case syntax.Member(inner):
                found = target_of(expr, root) or target_of(inner, root)
                if found is not None and not self.constant(found):
                    yield expr, found
                elif found is None and not isinstance(named(inner, root), Scope):
                    yield from self.strangers(inner)
            case syntax.Call(syntax.Name(name)) if name in TIME_REDUCTIONS and root.find(name) is None:
                return  # says itself what is wrong
            case syntax.Call(function, arguments):
                found = named(function, root)
                if isinstance(found, NetworkUse | TableUse):
                    yield expr, found
                for argument in arguments:
                    yield from self.strangers(argument.value)
            case _:
                for child in syntax.children(expr):
                    yield from self.strangers(child)

    def constant(self, variable: Variable) -> bool:
        """Whether a task may read it as it is: a const of the file."""
        return variable.kind == "const" and self.scope.find(variable.declaration.name) is variable

    def stranger(self, place: syntax.Expr, what: Variable | NetworkUse | TableUse | str, word: str) -> None:
        text = place.span.text
        if isinstance(what, Variable):
            kind, moves = with_article(what.kind), self.sound and what in varying(self.inference.system)
        else:
            kind, moves = "neither", False
            if not isinstance(what, str):
                kind = f"a call of a {'network' if isinstance(what, NetworkUse) else 'table'}"
        takes = "takes" if word in ("minimize", "maximize") else "compares"
        self.inference.report(
            "not-a-measure",
            f"`{word}` {takes} losses and metrics; `{text}` is {kind}",
            place.span,
            "is none of them",
            related=(Label(what.span, "declared here"),) if isinstance(what, Variable) else (),
            help=f"declare `metric name = {f'final({text})' if moves else text}` in the scenario, and name it here"
            if not isinstance(what, str)
            else "a metric of the scenario may read it, inside a reduction such as `average(…)`",
        )


_APART = {
    "subject to": "separate constraints by commas: `subject to a < 1, b < 2`",
    "until": "say one comparison, of a metric that holds all that matters",
}
