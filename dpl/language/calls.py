"""What calls are: functions of the language and of the user, networks, reductions over time and over runs."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import assert_never

from dpl.language import syntax
from dpl.language.builtins import FUNCTIONS, RUN_REDUCTIONS, TIME_REDUCTIONS, Builtin
from dpl.language.constants import BadConstant, NotConstant, constant, whole
from dpl.language.diagnostics import Label, did_you_mean
from dpl.language.indices import indices_in
from dpl.language.model import Bound, Event, FunctionUse, NetworkUse, Scope, Scoped, TableUse, named
from dpl.language.rules import Rules, Type, derivative_help, has_measure, shape_text
from dpl.language.units import PURE, Dimension

MOST_ARGUMENTS = 1_000
REDUCTIONS = ("sum", "mean", "product", "norm", "min", "max")
"""What takes `e for i in …`"""


class Calls(Rules):
    """Calls, by what their function is."""

    def call(self, expr: syntax.Call, scope: Scope) -> Type:
        if not isinstance(expr.function, syntax.Name):
            self.report("not-a-function", "only a name can be called", expr.function.span, "called here")
            return self.open()
        name = expr.function.id
        found = scope.find(name)
        match found:
            case NetworkUse():
                return self.network_call(expr, found, scope)
            case TableUse():
                return self.table_call(expr, found, scope)
            case FunctionUse():
                return self.function_call(expr, found, scope)
            case None:
                return self.builtin_call(expr, name, scope)
            case _:
                self.report("not-a-function", f"`{name}` is not a function", expr.function.span, "called here")
                for argument in expr.arguments:
                    self.infer(argument.value, scope)
                return self.open()

    def builtin_call(self, expr: syntax.Call, name: str, scope: Scope) -> Type:
        if self.over_runs and name in RUN_REDUCTIONS and (len(expr.arguments) == 1 or name not in FUNCTIONS):
            return self.run_reduction(expr, name, scope)
        if name in TIME_REDUCTIONS:
            return self.time_reduction(expr, name, scope)
        if name in FUNCTIONS:
            return self.function(expr, FUNCTIONS[name], scope)
        if scope.is_broken(name):
            return self.open()
        known = [*FUNCTIONS, *TIME_REDUCTIONS, *(RUN_REDUCTIONS if self.over_runs else ())]
        known += [n for n in scope.known() if isinstance(scope.find(n), NetworkUse | TableUse | FunctionUse)]
        help_text = derivative_help(name) or did_you_mean(name, known)
        if name in RUN_REDUCTIONS:
            help_text = f"`{name}` reduces over runs and belongs in a task"
        self.report(
            "unknown-function", f"there is no function `{name}`", expr.function.span, "called here", help=help_text
        )
        for argument in expr.arguments:
            self.infer(argument.value, scope)
        return self.open()

    def network_call(self, expr: syntax.Call, use: NetworkUse, scope: Scope) -> Type:
        self.used.add(use)
        ports = {p.name: p for p in use.inputs}
        if len(ports) < len(use.inputs):
            return self.open()  # two ports of one name: reported where they are declared
        for name, value in self.arranged(expr.arguments, list(ports), expr.span, use.item.name, 0).items():
            found = self.infer(value, scope)
            self.number_only(found, value)
            port = ports[name]
            place = next(p.span for p in use.item.inputs if p.name == name)
            self.same(port.dimension, found.dimension, value.span, place, "argument")
            if found.shape != port.shape:
                self.wrongshape_text(port.shape, found.shape, value.span)
        if len(use.outputs) == 1:
            return Type(use.outputs[0].dimension, use.outputs[0].shape)
        return Type(record=use)

    def table_call(self, expr: syntax.Call, use: TableUse, scope: Scope) -> Type:
        """Of an array, the value at each element."""
        self.used.add(use)
        ports = [port.name for port in use.item.inputs]
        given = self.arranged(expr.arguments, ports, expr.span, use.item.name, 0)
        types = [self.infer(value, scope) for value in given.values()]
        if len(ports) != 1 or not given:
            return self.open()
        (value,), (found,) = given.values(), types
        self.number_only(found, value)
        self.same(use.input.dimension, found.dimension, value.span, use.item.inputs[0].span, "argument")
        return Type(use.output.dimension, found.shape)

    def function_call(self, expr: syntax.Call, use: FunctionUse, scope: Scope) -> Type:
        item = use.item
        if item in self.calls:
            self.report(
                "recursion",
                f"`{item.name}` calls itself",
                expr.span,
                "called here",
                related=(Label(item.name_span, "declared here"),),
            )
            return self.open()
        arguments = self.arranged(expr.arguments, list(item.parameters), expr.span, item.name, 0)
        if len(arguments) != len(item.parameters):
            return self.open()
        inner = function_scope(use, {n: Scoped(v, scope) for n, v in arguments.items()}, scope)
        for bound in inner.names.values():
            assert isinstance(bound, Bound)
            self.bound[id(bound)] = self.infer(bound.value.expr, bound.value.scope)
        self.calls.append(item)
        self.call_scopes.append(inner)
        found = self.infer(item.value, inner)
        self.calls.pop()
        return found

    def function(self, expr: syntax.Call, row: Builtin, scope: Scope) -> Type:
        least, most = row.arity
        named = next((a for a in expr.arguments if a.name is not None), None)
        if row.names:
            given = self.arranged(expr.arguments, list(row.names), expr.span, row.name, len(row.names) - least)
            return self.choice(row, given, expr, scope) if given else self.open()
        if named is not None:
            self.report("unknown-argument", f"the arguments of `{row.name}` have no names", named.span, "given here")
        values = [a.value for a in expr.arguments]
        if len(values) > MOST_ARGUMENTS:
            self.report(
                "wrong-arguments",
                f"`{row.name}` takes at most {MOST_ARGUMENTS:,} arguments",
                expr.function.span,
                f"{len(values):,} given",
                help="put them in an array",
            )
            return self.open()
        if len(values) < least or (most is not None and len(values) > most):
            count = str(least) if least == most else f"{least} or more"
            self.report(
                "wrong-arguments",
                f"`{row.name}` takes {count} argument{'' if count == '1' else 's'}",
                expr.span,
                f"{len(values)} given",
            )
            for value in values:
                self.infer(value, scope)
            return self.open()
        if len(values) == 1 and isinstance(values[0], syntax.Comprehension) and row.name in REDUCTIONS:
            each = values[0]
            found = self.infer(each.value, self.counted(each.indices, scope))
            self.number_only(found, each.value)
            return Type(self.dimension_of(row, [each.value], [found]), found.shape)
        types = [self.infer(v, scope) for v in values]
        for value, found in zip(values, types, strict=True):
            if row.name not in ("smooth", "surrogate", "straight_through"):
                self.number_only(found, value)
        self.constant_in_range(expr, scope)
        if row.name == "straight_through":
            return self.straight_through(expr, values[0], types[0], scope)
        if row.name == "smooth":
            return self.smoothed(values, types, scope)
        return Type(self.dimension_of(row, values, types), self.shape_of(row, expr, types))

    def dimension_of(self, row: Builtin, values: list[syntax.Expr], types: list[Type]) -> Dimension:
        match row.rule:
            case "pure":
                for value, found in zip(values, types, strict=True):
                    self.must_be_pure(found, value.span, f"the argument of `{row.name}`")
                return PURE
            case "same" | "ratio" | "square" | "table":
                first = types[0].dimension
                last = len(types) - 1 if row.rule == "table" else len(types)
                for value, found in zip(values[1:last], types[1:last], strict=True):
                    self.same(first, found.dimension, value.span, values[0].span, row.name)
                return {"same": first, "ratio": PURE, "square": first**2, "table": types[-1].dimension}[row.rule]
            case "choice":
                for i in (0, *range(2, len(types))):
                    self.must_be_pure(types[i], values[i].span, f"`{row.names[i]}` of `{row.name}`")
                return types[1].dimension
            case "sqrt":
                return types[0].dimension ** Fraction(1, 2)
            case "cbrt":
                return types[0].dimension ** Fraction(1, 3)
            case "product":
                return types[0].dimension * types[1].dimension
            case "special":
                raise AssertionError(f"no rule for {row.name}: a bug in DPL")
            case _:
                assert_never(row.rule)

    def shape_of(self, row: Builtin, expr: syntax.Call, types: list[Type]) -> tuple[int, ...]:
        if row.shape == "reduce" or (row.name in ("min", "max") and len(types) == 1):
            inside = expr.arguments[0].span
            told = any(p.label and inside.start <= p.label.span.start < inside.end for p in self.problems)
            if not types[0].shape and not told:
                self.report("not-an-array", f"`{row.name}` reduces an array", inside, "is one number")
            return ()
        if row.name == "transpose":
            return tuple(reversed(types[0].shape))
        if row.name == "dot":
            if types[0].shape != types[1].shape or len(types[0].shape) != 1:
                self.report(
                    "wrong-shape",
                    "`dot` takes two vectors of one length",
                    expr.span,
                    f"{shape_text(types[0].shape)} and {shape_text(types[1].shape)}",
                )
            return ()
        if row.name == "conv":
            return self.convolved(types[0], types[1], expr.span)
        if row.name == "interpolate":
            if len(types[1].shape) != 1 or types[1].shape != types[2].shape:
                self.report(
                    "wrong-shape", "`interpolate(x, xs, ys)` takes two lists of one length", expr.span, "they are not"
                )
            return types[0].shape
        shape = types[0].shape
        for found in types[1:]:
            shape = self.broadcast(Type(shape=shape), found, expr.span)
        return shape

    def choice(self, row: Builtin, given: dict[str, syntax.Expr], expr: syntax.Call, scope: Scope) -> Type:
        """`choose(scores, values, temperature)`: one of the values."""
        values = [given[name] for name in row.names if name in given]
        types = [self.infer(value, scope) for value in values]
        for value, found in zip(values, types, strict=True):
            self.number_only(found, value)
        scores, choices, *temperature = (found.shape for found in types)
        if len(scores) != 1 or scores != choices:
            message = f"`{row.name}` takes as many scores as values, each in an array with one axis"
            self.report("wrong-shape", message, expr.span, f"{shape_text(scores)} and {shape_text(choices)}")
        if any(temperature):
            self.wrongshape_text((), temperature[0], given["temperature"].span)
        return Type(self.dimension_of(row, values, types))

    def straight_through(self, expr: syntax.Call, value: syntax.Expr, found: Type, scope: Scope) -> Type:
        if not isinstance(value, syntax.Call) or not value.arguments:
            self.report(
                "not-a-call",
                "`straight_through(f(z))` takes a call: value of f(z), derivative of z",
                value.span,
                "is not a call",
                help="write `straight_through(sign(z))`, or `surrogate(exact, smooth)`",
            )
            return found
        inner = self.infer(value.arguments[0].value, scope)
        self.same(found.dimension, inner.dimension, value.arguments[0].span, value.span, "straight_through")
        return found

    def smoothed(self, values: list[syntax.Expr], types: list[Type], scope: Scope) -> Type:
        hard = first_hard(values[0])
        if hard is None:
            self.report(
                "nothing-to-smooth",
                "there is no jump or kink to smooth in this expression",
                values[0].span,
                "is smooth already",
                help="`smooth` rounds sign, step, abs, min, max, clip, relu and `if a < b`",
            )
        else:
            inner = self.infer(hard, scope)
            self.same(inner.dimension, types[1].dimension, values[1].span, hard.span, "smooth")
        return types[0]

    def time_reduction(self, expr: syntax.Call, name: str, scope: Scope) -> Type:
        row = TIME_REDUCTIONS[name]
        if self.over_runs:
            self.report(
                "misplaced-reduction",
                f"`{name}` reduces over time and belongs in a loss or metric of the scenario",
                expr.span,
                "used here",
                help=f"declare `metric m = {expr.span.text}` there and name it here",
            )
            return self.open()
        if not self.reductions:
            where = f", and `{self.along}` is observed along it" if self.along else " and belongs in a loss or metric"
            help_text = "write the quantity itself: it is read at the time of each row" if self.along else None
            message = f"`{name}` reduces a whole run{where}"
            self.report("misplaced-reduction", message, expr.span, "used here", help=help_text)
        arguments = self.arranged(expr.arguments, ["e", *row.arguments], expr.span, name, row.optional)
        if not arguments:
            return self.open()
        index = next(iter(indices_in(expr, scope)), None)
        if index is not None:
            self.report(
                "reduction-of-index",
                f"`{name}` reduces one number over time, and not one for each `{index.name}`",
                expr.span,
                f"is another for each `{index.name}`",
                related=(Label(index.span, "counted here"),),
                help=f"reduce over `{index.name}` first: `{name}(sum(… for {index.span.text}))`",
            )
            return self.open()
        value = arguments.pop("e")
        if row.reads == "event":
            self.has_run(expr, name)
            self.happening(value, arguments.get("k"), name, scope)
            return Type(self.time) if row.result == "time" else Type()
        outside, self.reductions = self.reductions, False
        if isinstance(value, syntax.Window):
            for bound in (value.start, value.until):
                if bound is not None:
                    self.same(self.time, self.infer(bound, scope).dimension, bound.span, bound.span, "time")
                    self.instants.append(Scoped(bound, scope))
            self.window_fits(value, scope)
            value = value.value
        found = self.infer(value, scope)
        others = {n: self.infer(v, scope) for n, v in arguments.items()}
        self.reductions = outside
        self.has_run(expr, name)
        if row.condition:
            self.truth_only(found, value)
        else:
            self.number_only(found, value)
        for other, kind in others.items():
            wanted = self.time if other == "t" else found.dimension
            if other == "t":
                self.instants.append(Scoped(arguments[other], scope))
            self.same(wanted, kind.dimension, arguments[other].span, value.span, "time" if other == "t" else name)
        if found.shape:
            self.report(
                "not-a-number",
                f"`{name}` reduces one number over time",
                value.span,
                f"is an array of {shape_text(found.shape)}",
            )
        match row.result:
            case "same":
                return Type(found.dimension)
            case "times time":
                return Type(found.dimension * self.time)
            case "pure":
                return Type()
            case "time":
                return Type(self.time)
            case _:
                assert_never(row.result)

    def has_run(self, expr: syntax.Call, name: str) -> None:
        """What reduces a run needs one; what it reads may be data, by which the scenario runs."""
        if self.reductions and not self.system.runs:
            message, help_text = f"`{name}` needs a run, and this scenario has none", "say how long: `run for 10 [s]`"
            self.report("no-run", message, expr.span, "used here", help=help_text)

    def happening(self, value: syntax.Expr, number: syntax.Expr | None, name: str, scope: Scope) -> None:
        """What `event_time` and `count` ask about: an event by its name, and which time of it."""
        if not isinstance(named(value, scope), Event):
            known = [e.path for e in self.system.events if e.named]
            self.report(
                "not-an-event",
                f"`{name}` asks about an event, and `{value.span.text}` names none",
                value.span,
                "is no event",
                help=did_you_mean(value.span.text, known)
                or (f"there are {', '.join(known)}" if known else "name the event: `when landing: h < 0 { … }`"),
            )
        if number is not None:
            which = self.constant(Scoped(number, scope), "which time of an event")
            if which is not None and (not whole(which) or which < 1):
                self.report("bad-count", "the times of an event are counted 1, 2, 3, …", number.span, "is none of them")

    def window_fits(self, window: syntax.Window, scope: Scope) -> None:
        if window.start is None or window.until is None:
            return
        try:
            upside = constant(Scoped(window.start, scope)) >= constant(Scoped(window.until, scope))
        except (NotConstant, BadConstant):
            return
        if upside:
            self.report("range-upside-down", "this window ends before it begins", window.span, "written here")

    def run_reduction(self, expr: syntax.Call, name: str, scope: Scope) -> Type:
        arguments = self.arranged(expr.arguments, ["e", *RUN_REDUCTIONS[name][0]], expr.span, name, 0)
        if not arguments:
            return self.open()
        before = len(self.problems)
        found = self.infer(arguments["e"], scope)
        if not has_measure(arguments["e"], scope) and len(self.problems) == before:
            self.report("no-measure", f"`{name}` reduces a loss or metric over runs", arguments["e"].span, "names none")
        if "share" in arguments:
            share = self.constant(Scoped(arguments["share"], scope), "a quantile's share")
            if share is not None and not 0 <= share <= 1:
                self.report(
                    "bad-quantile", "a quantile's share lies between 0 and 1", arguments["share"].span, "does not"
                )
        return Type(found.dimension)


def function_scope(use: FunctionUse, arguments: dict[str, Scoped], caller: Scope) -> Scope:
    """The scope of one call of a user's function: its parameters stand for the arguments."""
    scope = Scope(use.scope.path, use.item, use.scope, caller.clock, axes=use.scope.axes)
    scope.names.update({name: Bound(value) for name, value in arguments.items()})
    return scope


def comparisons(condition: syntax.Expr) -> Iterator[syntax.Compare]:
    """The comparisons of a condition, through `and`, `or` and `not`."""
    if isinstance(condition, syntax.Compare):
        yield condition
    elif isinstance(condition, syntax.Unary | syntax.Binary):
        for child in syntax.children(condition):
            yield from comparisons(child)


def first_hard(expr: syntax.Expr) -> syntax.Expr | None:
    """What the first jump or kink of an expression depends on: the argument of sign, one side of a comparison."""
    hard = ("sign", "step", "abs", "min", "max", "clip", "relu")
    match expr:
        case syntax.Call(syntax.Name(name), arguments) if name in hard and arguments:
            return arguments[0].value
        case syntax.If(condition, then, otherwise):
            compared = next((c.operands[0] for c in comparisons(condition)), None)
            return compared or first_hard(then) or first_hard(otherwise)
        case _:
            found = (first_hard(c) for c in syntax.children(expr))
            return next((f for f in found if f is not None), None)
