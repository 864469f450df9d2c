"""What expressions are: one walk over the AST, each node in its scope."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import assert_never

from dpl.language import syntax
from dpl.language.builtins import FUNCTIONS, TIME_REDUCTIONS
from dpl.language.calls import REDUCTIONS
from dpl.language.constants import BadConstant, NotConstant, constant, division_by_zero
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.indices import Located
from dpl.language.model import (
    Bound,
    DataUse,
    Event,
    FunctionUse,
    Index,
    Measure,
    NetworkUse,
    Observation,
    Scope,
    Scoped,
    TableUse,
    Variable,
    target_of,
)
from dpl.language.paths import Paths
from dpl.language.rules import Type, shape_text, unknown_name
from dpl.language.units import PURE, read_unit

BUDGET = 20_000
"""Nodes that calls of functions may expand to"""


class Expressions(Paths):
    """Every form of expression but calls and paths."""

    def infer(self, expr: syntax.Expr, scope: Scope) -> Type:
        """The type of an expression; problems are reported and answered with an open type."""
        if self.calls:
            self.spent += 1
            if self.spent > BUDGET:
                message = "the functions of this model call each other too many times"
                raise CompileError(
                    [*self.problems, Diagnostic("too-large", message, Label(expr.span, "expanded here"))]
                )
        match expr:
            case syntax.Number(value, unit):
                if unit is not None:
                    return Type(read_unit(unit, self.problems).dimension)
                return self.open() if value == 0 else Type()
            case syntax.Name():
                return self.name(expr, scope)
            case syntax.Unary(op, operand):
                found = self.infer(operand, scope)
                if op == "not":
                    self.truth_only(found, operand)
                    return Type(truth=True, shape=found.shape)
                self.number_only(found, operand)
                return found
            case syntax.Binary():
                return self.binary(expr, scope)
            case syntax.Compare(operands):
                types = [self.infer(o, scope) for o in operands]
                for operand, found in zip(operands, types, strict=True):
                    self.number_only(found, operand)
                shape = ()
                for i, (a, b) in enumerate(pairwise(types)):
                    self.same(a.dimension, b.dimension, operands[i + 1].span, operands[i].span, "comparison")
                    shape = self.broadcast(a, b, expr.span)
                return Type(truth=True, shape=shape)
            case syntax.If(condition, then, otherwise):
                self.truth_only(self.infer(condition, scope), condition)
                a, b = self.infer(then, scope), self.infer(otherwise, scope)
                self.same(a.dimension, b.dimension, otherwise.span, then.span, "if")
                return Type(a.dimension, self.broadcast(a, b, expr.span), truth=a.truth and b.truth)
            case syntax.Call():
                return self.call(expr, scope)
            case syntax.Member():
                return self.member(expr, scope)
            case syntax.Index():
                return self.index(expr, scope)
            case syntax.Prime(operand):
                return self.prime(expr, operand, scope)
            case syntax.List(items, unit):
                return self.list_of(expr, items, unit, scope)
            case syntax.Range():
                self.report(
                    "misplaced-range",
                    "`..` stands only after `in`, after `limit` and in an index",
                    expr.span,
                    "stands here",
                )
                return self.open()
            case syntax.Comprehension():
                self.report(
                    "misplaced-for",
                    "within an expression `for` stands in a reduction, as in `sum(x[i] for i in 0..9)`",
                    expr.span,
                    "stands here",
                    help=f"the reductions are {', '.join(REDUCTIONS)}",
                )
                return self.open()
            case syntax.Pieces():
                raise AssertionError("pieces are looked at one by one: a bug in DPL")
            case syntax.Window(value):
                self.report(
                    "misplaced-window", "`from` and `until` belong in a time reduction", expr.span, "stands here"
                )
                return self.infer(value, scope)
            case _:
                assert_never(expr)

    def name(self, expr: syntax.Name, scope: Scope) -> Type:
        found = scope.find(expr.id)
        match found:
            case Variable():
                if self.over_runs and found.kind != "const":
                    self.problems.append(unknown_name(expr, scope, over_runs=True))
                return self.read(Located(found), expr, scope)
            case Index():
                return Type()
            case Bound(value):
                if id(found) not in self.bound:
                    self.bound[id(found)] = self.infer(value.expr, value.scope)
                return self.bound[id(found)]
            case Measure():
                if not self.reductions and not self.over_runs:
                    self.report(
                        "measure-as-value",
                        f"`{expr.id}` is one number per run and cannot stand in an equation",
                        expr.span,
                        "used here",
                        related=(Label(found.item.name_span, "declared here"),),
                    )
                return Type(found.dimension)
            case None:
                return self.predeclared(expr, scope)
            case Event():
                self.report_event(expr)
            case Scope(item=syntax.Constraint()):
                self.report(
                    "part-as-value",
                    f"`{expr.id}` is a constraint; the force that keeps it is `{expr.id}.force`",
                    expr.span,
                    "used here",
                )
            case Scope(data=DataUse() as use):
                what = "a row of data" if isinstance(found.item, syntax.GivenRow) else "data"
                columns = [name for name in use.scope.names if name not in (use.time, use.group)]
                message = f"`{expr.id}` is {what}; its columns are read as `{expr.id}.{(columns or ['name'])[0]}`"
                self.report("part-as-value", message, expr.span, "used here")
            case Scope():
                self.report(
                    "part-as-value",
                    f"`{expr.id}` is a part; what it holds is read as `{expr.id}.name`",
                    expr.span,
                    "used here",
                )
            case Observation():
                message = f"`{expr.id}` is what a sensor shows, which `record` writes down and nothing reads"
                related = (Label(found.span, "observed here"),)
                self.report("sensor-as-value", message, expr.span, "used here", related=related)
            case NetworkUse() | FunctionUse() | TableUse():
                self.report(
                    "function-as-value", f"`{expr.id}` is a function: call it, `{expr.id}(…)`", expr.span, "used here"
                )
            case syntax.Task(kind="record"):
                message = f"`{expr.id}` is data once it is recorded, which only a scenario reads, row by row"
                way_out = f"write `given row from {expr.id}` in the scenario, and read a column as `row.name`"
                self.report("data-as-value", message, expr.span, "used here", help=way_out)
            case syntax.Model() | syntax.Scenario() | syntax.Task():
                self.report("not-a-value", f"`{expr.id}` is not a quantity", expr.span, "used here")
            case _:
                assert_never(found)
        return self.open()

    def predeclared(self, expr: syntax.Name, scope: Scope) -> Type:
        match expr.id:
            case "π" | "pi":
                return Type()
            case "inf":
                return self.open()
            case "true" | "false":
                return Type(truth=True)
            case "time" if not self.over_runs:
                return Type(self.time)
            case "period" if not self.over_runs:
                if scope.clock is None:
                    self.report(
                        "no-period",
                        "`period` has a meaning only in a block with a clock",
                        expr.span,
                        "used here",
                        help="write `every 10 [ms]` after the block's name",
                    )
                return Type(self.time)
            case name if name in FUNCTIONS or name in TIME_REDUCTIONS:
                self.report(
                    "function-as-value", f"`{name}` is a function: call it, `{name}(…)`", expr.span, "used here"
                )
                return self.open()
            case _:
                told = (expr.id, expr.span.origin)
                if not scope.is_broken(expr.id) and (self.counted_to is None or told not in self.uncounted):
                    self.uncounted.add(told)
                    last = self.counted_to
                    self.problems.append(unknown_name(expr, scope, over_runs=self.over_runs, counted_to=last))
                return self.open()

    def binary(self, expr: syntax.Binary, scope: Scope) -> Type:
        if expr.op in ("and", "or"):
            a, b = self.infer(expr.left, scope), self.infer(expr.right, scope)
            self.truth_only(a, expr.left)
            self.truth_only(b, expr.right)
            return Type(truth=True, shape=self.broadcast(a, b, expr.span))
        if expr.op == "^":
            return self.power(expr, scope)
        a, b = self.infer(expr.left, scope), self.infer(expr.right, scope)
        self.number_only(a, expr.left)
        self.number_only(b, expr.right)
        if expr.op == "@":
            return Type(a.dimension * b.dimension, self.matmul(a, b, expr.span))
        shape = self.broadcast(a, b, expr.span)
        if expr.op == "*":
            return Type(a.dimension * b.dimension, shape)
        if expr.op == "/":
            self.no_zero_division(expr, scope)
            return Type(a.dimension / b.dimension, shape)
        self.same(a.dimension, b.dimension, expr.right.span, expr.left.span, "sum" if expr.op == "+" else "difference")
        return Type(a.dimension, shape)

    def no_zero_division(self, expr: syntax.Binary, scope: Scope) -> None:
        try:
            if constant(Scoped(expr.right, scope)) == 0:
                self.problems.append(division_by_zero(expr.right))
        except (NotConstant, BadConstant):
            pass

    def power(self, expr: syntax.Binary, scope: Scope) -> Type:
        base, exponent = self.infer(expr.left, scope), self.infer(expr.right, scope)
        self.number_only(base, expr.left)
        self.number_only(exponent, expr.right)
        if not self.must_be_pure(exponent, expr.right.span, "an exponent"):
            return self.open()
        shape = self.broadcast(base, exponent, expr.span)
        try:
            value = constant(Scoped(expr.right, scope))
        except NotConstant:
            self.must_be_pure(base, expr.left.span, "what is raised to a power that varies")
            return Type(PURE, shape)
        except BadConstant as error:
            self.problems.append(error.diagnostic)
            return self.open()
        if self.unifier.resolve(base.dimension).pure:
            self.constant_in_range(expr, scope)
            return Type(PURE, shape)
        if not isinstance(value, Fraction) or value.denominator > 60:
            self.report(
                "irrational-power",
                "a quantity with a unit takes a rational power",
                expr.right.span,
                "is not a small fraction",
            )
            return self.open()
        return Type(base.dimension**value, shape)

    def prime(self, expr: syntax.Prime, operand: syntax.Expr, scope: Scope) -> Type:
        found = self.infer(operand, scope)
        self.number_only(found, operand)
        inner = operand
        while isinstance(inner, syntax.Prime):
            inner = inner.operand
        variable = target_of(inner, scope)
        if variable is not None and variable.clock is not None and variable.kind == "state":
            self.report(
                "sampled-derivative",
                f"`{variable.path}` advances in steps and has no derivative",
                expr.span,
                "used here",
                help=f"write `next {variable.declaration.name} = …`",
            )
        if variable is not None and variable.kind == "column":
            message = f"`{variable.path}` is linear between its rows, and its derivative would jump at each"
            self.report("sampled-derivative", message, expr.span, "used here")
        if variable is not None and variable.noise:
            self.report(
                "sampled-derivative",
                f"the noise `{variable.path}` jumps where it is drawn and has no derivative",
                expr.span,
                "used here",
                related=(Label(variable.span, "declared here"),),
                help=f"let it drive a state, `state s = 0` and `s' = ({variable.declaration.name} - s)/τ`",
            )
        return Type(found.dimension / self.time, found.shape)

    def list_of(
        self, expr: syntax.List, items: tuple[syntax.Expr, ...], unit: syntax.Unit | None, scope: Scope
    ) -> Type:
        if not items:
            self.report("empty-list", "a list has at least one item", expr.span, "has none")
            return self.open()
        own = read_unit(unit, self.problems) if unit else None
        types = [self.infer(item, scope) for item in items]
        first = types[0]
        for item, found in zip(items[1:], types[1:], strict=True):
            self.same(first.dimension, found.dimension, item.span, items[0].span, "list")
            if found.shape != first.shape:
                self.report(
                    "ragged-list",
                    "the items of a list must be of one shape",
                    item.span,
                    f"is {shape_text(found.shape)}",
                )
        if own is not None:
            self.must_be_pure(first, items[0].span, "an item of a list with a unit")
        return Type(own.dimension if own else first.dimension, (len(items), *first.shape))
