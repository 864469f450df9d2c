"""What every expression of a system is: its dimension, its shape, whether it is a truth value.

One walk over each expression, in its scope, finds unknown names, wrong arguments, shapes and dimensions that do not
fit. Afterwards every variable has its dimension; what nothing determines is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import assert_never

from dpl.language import syntax
from dpl.language.builtins import ACTIVATIONS, DISTRIBUTIONS, EVENT_REDUCTIONS, FUNCTIONS, RUN_REDUCTIONS, TIME_REDUCTIONS, Builtin
from dpl.language.constants import BadConstant, NotConstant, constant, division_by_zero, is_infinite, literal
from dpl.language.diagnostics import CompileError, Diagnostic, Label, did_you_mean
from dpl.language.elaborate import part_of, target_of, unsupported
from dpl.language.model import Bound, FunctionUse, Measure, NetworkOptions, NetworkUse, PortType, Scope, Scoped, System, Variable
from dpl.language.resolve import duplicate_name
from dpl.language.source import Span
from dpl.language.units import PURE, Dimension, Unifier, Unit, read_unit

SECOND = Dimension((("s", Fraction(1)),))
_BUDGET = 20_000
"""Nodes that calls of functions may expand to"""
_MOST_ARGUMENTS = 1_000


@dataclass(frozen=True)
class Type:
    """What an expression is. `record` is set on a call of a network with several results."""

    dimension: Dimension = PURE
    shape: tuple[int, ...] = ()
    truth: bool = False
    record: NetworkUse | None = None


@dataclass
class Inference:
    """The walk over one system; `pure` says that the file names no unit at all."""

    system: System
    pure: bool
    problems: list[Diagnostic]
    unifier: Unifier = field(default_factory=Unifier)
    used: set[object] = field(default_factory=set[object])

    def __post_init__(self) -> None:
        self.time = PURE if self.pure else SECOND
        self.bound: dict[int, Type] = {}
        self.visiting: list[Variable] = []
        self.known: set[Variable] = set()
        self.bare: list[tuple[Variable, syntax.Expr, Dimension, bool]] = []
        self.reductions = False
        self.over_runs = False
        self.calls: list[syntax.Function] = []
        self.call_scopes: list[Scope] = []  # kept alive: `bound` is keyed by identity
        self.instants: list[Scoped] = []
        """Times that reductions name: they must lie within the run"""
        self.spent = 0

    # ------------------------------------------------------------ the system

    def run(self, *, everything: bool = False) -> None:
        """Infer the whole system; with `everything`, what stands at file level too, used or not."""
        system = self.system
        file_level = [v for v in _file_variables(system) if v not in system.variables]
        for variable in (*system.variables, *file_level):
            variable.dimension = variable.unit.dimension if variable.unit else self.unifier.fresh()
        for use in (*system.networks, *_file_networks(system)):
            self.network(use)
        for variable in system.variables:
            self.declaration(variable)
        for equation in system.equations:
            if equation.target in file_level and equation.kind == "definition":
                continue
            if equation.kind == "definition" and equation.target is not None:
                self.type_of(equation.target)
            else:
                self.equation(equation.left, equation.right)
        for period in system.periods:
            self.same(self.time, self.infer(period.expr, period.scope).dimension, period.span, period.span, "time")
        with self.reducing():
            for measure in system.measures:
                self.measure(measure)
        if everything:
            self.functions()
        for variable in file_level:
            if everything or variable in self.used:
                self.declaration(variable)
                self.type_of(variable)
        self.keep_used(file_level)
        self.settle()

    def functions(self) -> None:
        """The bodies of file-level functions, whatever their arguments are."""
        for binding in _file_bindings(self.system):
            if isinstance(binding, FunctionUse):
                scope = Scope("", binding.item, binding.scope)
                for name in binding.item.parameters:
                    bound = Bound(Scoped(syntax.Name(name, span=binding.item.name_span), scope))
                    scope.names[name], self.bound[id(bound)] = bound, self.open()
                self.call_scopes.append(scope)
                self.calls.append(binding.item)
                self.infer(binding.item.value, scope)
                self.calls.pop()

    def keep_used(self, file_level: list[Variable]) -> None:
        """Of what stands at file level, a system holds only what it uses."""
        system = self.system
        system.variables += [v for v in file_level if v in self.used]
        system.networks += [n for n in _file_networks(system) if n in self.used]
        unused = {v for v in file_level if v not in self.used}
        system.equations = [e for e in system.equations if e.target not in unused]

    def declaration(self, variable: Variable) -> None:
        """Start or default, range, limit and prior of a variable."""
        item, scope = variable.declaration, variable.scope
        unit = variable.unit
        if variable.value is not None and variable.kind in ("param", "given", "state", "const"):
            self.fits(variable, variable.value, "start" if variable.kind == "state" else "value")
        for domain in (item.domain, item.limit):
            if domain is None:
                continue
            if isinstance(domain, syntax.List):
                bounds: list[syntax.Expr] = list(domain.items)
            else:
                bounds = [domain.low, *([domain.high] if domain.high else [])]
            own = read_unit(domain.unit, self.problems) if domain.unit else unit
            if domain.unit and own:
                self.same(variable.dimension, own.dimension, domain.span, variable.span, "range")
            for bound in bounds:
                self.fits(variable, Scoped(bound, scope, own), "range")
        if item.prior is not None:
            self.prior(variable, item.prior)

    def prior(self, variable: Variable, prior: syntax.Expr) -> None:
        if not isinstance(prior, syntax.Call) or not isinstance(prior.function, syntax.Name):
            self.report("not-a-distribution", "after `~` stands a distribution", prior.span, f"is none of {', '.join(DISTRIBUTIONS)}")
            return
        row = DISTRIBUTIONS.get(prior.function.id)
        if row is None:
            self.report(
                "unknown-distribution",
                f"there is no distribution `{prior.function.id}`",
                prior.function.span,
                "named here",
                help=did_you_mean(prior.function.id, DISTRIBUTIONS),
            )
            return
        names = [name for name, _ in row.arguments]
        for name, argument in self.arranged(prior.arguments, names, prior.span, row.name, optional=0).items():
            in_unit = dict(row.arguments)[name]
            if in_unit:
                self.fits(variable, Scoped(argument, variable.scope, variable.unit), "distribution")
            else:
                self.must_be_pure(self.infer(argument, variable.scope), argument.span, f"`{name}` of `{row.name}`")

    def fits(self, variable: Variable, value: Scoped, role: str) -> None:
        """`value` must be of the variable's dimension; a bare literal is in its declared unit."""
        expr = value.expr
        if isinstance(expr, syntax.List):
            self.list_fits(variable, value, expr, role)
            return
        bare = literal(expr)
        if bare is not None or is_infinite(expr):
            if value.unit is None and bare:
                wired = variable.wired is not None and role in ("value", "start")
                self.bare.append((variable, expr, variable.dimension, wired))
            return
        found = self.infer(expr, value.scope)
        self.number_only(found, expr)
        if found.shape not in ((), variable.shape):
            self.wrong_shape(variable.shape, found.shape, expr.span)
        self.same(variable.dimension, found.dimension, expr.span, variable.span, role)

    def list_fits(self, variable: Variable, value: Scoped, expr: syntax.List, role: str) -> None:
        unit = read_unit(expr.unit, self.problems) if expr.unit else value.unit
        if expr.unit and unit:
            self.same(variable.dimension, unit.dimension, expr.span, variable.span, role)
        if role != "range":
            shape = self.shape_of_list(expr)
            if shape is not None and shape != variable.shape:
                self.wrong_shape(variable.shape, shape, expr.span)
        for item in expr.items:
            if isinstance(item, syntax.List):
                self.list_fits(variable, Scoped(item, value.scope, unit), item, "range")
            else:
                self.fits(replace_shape(variable), Scoped(item, value.scope, unit), role)

    def shape_of_list(self, expr: syntax.List) -> tuple[int, ...] | None:
        if not expr.items:
            return (0,)
        inner = [self.shape_of_list(i) if isinstance(i, syntax.List) else () for i in expr.items]
        if len(set(inner)) != 1 or inner[0] is None:
            self.report("ragged-list", "the rows of a list must be of one length", expr.span, "are not")
            return None
        return (len(expr.items), *inner[0])

    def type_of(self, variable: Variable) -> Type:
        """The type of a variable; of a `let` without declared shape, that of its value."""
        self.used.add(variable)
        if variable not in self.known and variable.kind in ("let", "output", "input", "param", "const"):
            self.known.add(variable)
            if variable.value is not None and variable.kind != "param":
                self.definition(variable, variable.value)
        return Type(variable.dimension, variable.shape, record=variable.record)

    def definition(self, variable: Variable, value: Scoped) -> None:
        expr = value.expr
        if literal(expr) is not None or is_infinite(expr) or isinstance(expr, syntax.List):
            if isinstance(expr, syntax.List) and not variable.shape:
                variable.shape = self.shape_of_list(expr) or ()
            self.fits(variable, value, "value")
            return
        outside = self.reductions
        self.reductions = False
        found = self.infer(expr, value.scope)
        self.reductions = outside
        if found.record is not None:
            variable.record = found.record
            if variable.unit is not None:
                self.report("record-unit", "several results have no one unit", variable.span, "declared with one")
            return
        self.number_only(found, expr)
        if not variable.declaration.shape:
            variable.shape = found.shape
        elif found.shape not in ((), variable.shape):
            self.wrong_shape(variable.shape, found.shape, expr.span)
        role = "input" if variable.kind == "input" else "value"
        self.same(variable.dimension, found.dimension, expr.span, variable.span, role)

    def equation(self, left: Scoped, right: Scoped) -> None:
        one, two = self.infer(left.expr, left.scope), self.infer(right.expr, right.scope)
        self.number_only(one, left.expr)
        self.number_only(two, right.expr)
        if one.shape != two.shape and () not in (one.shape, two.shape):
            self.wrong_shape(one.shape, two.shape, right.span)
        self.same(one.dimension, two.dimension, right.span, left.span, "equation")

    def measure(self, measure: Measure) -> None:
        item = measure.item
        found = self.infer(item.value, measure.scope)
        self.number_only(found, item.value)
        if found.shape:
            self.report(
                "not-a-number",
                f"the {item.kind} `{item.name}` is one number per run",
                item.value.span,
                f"is an array of {_shape(found.shape)}",
                help="take its `sum`, `mean` or `norm`",
            )
        measure.dimension = measure.unit.dimension if measure.unit else found.dimension
        if measure.unit:
            self.same(measure.dimension, found.dimension, item.value.span, item.name_span, "value")

    @contextmanager
    def reducing(self) -> Iterator[None]:
        self.reductions = True
        yield
        self.reductions = False

    def settle(self) -> None:
        """Resolve every dimension; report bare numbers whose dimension turned out not to be pure."""
        for variable, expr, dimension, wired in self.bare:
            found = self.unifier.resolve(dimension)
            if found.unknowns:
                if self.system.closed:  # a model by itself stays generic
                    self.unifier.unify(found, PURE, expr.span)
            elif not found.pure:
                self.missing_unit(variable, found, dimension, expr, wired)
        for variable in self.system.variables:
            own = variable.scope is self.system.root
            unresolved = variable.dimension
            variable.dimension = self.final(variable.dimension)
            reported = any(variable is v for v, *_ in self.bare)
            if variable.unit is None and own and variable.kind in ("param", "given") and not reported:
                if not variable.dimension.pure and not self.unifier.resolve(unresolved).unknowns:
                    self.missing_unit(variable, variable.dimension, unresolved, None, False)
        for measure in self.system.measures:
            measure.dimension = self.final(measure.dimension)
        for use in self.system.networks:
            use.inputs = tuple(replace(p, dimension=self.final(p.dimension)) for p in use.inputs)
            use.outputs = tuple(replace(p, dimension=self.final(p.dimension)) for p in use.outputs)

    def final(self, dimension: Dimension) -> Dimension:
        found = self.unifier.resolve(dimension)
        return Dimension(tuple((n, p) for n, p in found.powers if not n.startswith("?")))

    def missing_unit(
        self, variable: Variable, found: Dimension, unresolved: Dimension, expr: syntax.Expr | None, wired: bool
    ) -> None:
        item = variable.declaration
        if wired and expr is not None:
            help_text = f"write `{item.name} = {expr.span.text} [{found}]`"
        else:
            value = f" = {item.value.span.text}" if item.value is not None else ""
            help_text = f"write `{item.kind} {item.name}: {found}{value}`, if that is its unit"
        decided = self.unifier.decided_at(unresolved)
        self.problems.append(
            Diagnostic(
                "missing-unit",
                f"`{variable.path}` needs a unit: its equations make it {found}",
                Label(expr.span if wired and expr else variable.span, "a bare number is pure" if expr else "has no unit"),
                related=(Label(decided, "decided here"),) if decided else (),
                help=help_text,
            )
        )

    # ------------------------------------------------------------ networks

    def network(self, use: NetworkUse) -> None:
        use.inputs = tuple(self.port(p, use) for p in use.item.inputs)
        use.outputs = tuple(self.port(p, use) for p in use.item.outputs)
        use.options = self.options(use.item)
        for ports, what in ((use.item.inputs, "inputs"), (use.item.outputs, "results")):
            if not ports:
                self.report("empty-network", f"the network `{use.item.name}` has no {what}", use.item.name_span, "declared here")
            seen: dict[str, Span] = {}
            for port in ports:
                if port.name in seen:
                    self.problems.append(duplicate_name(port.name, port.span, seen[port.name]))
                seen.setdefault(port.name, port.span)

    def options(self, item: syntax.Network) -> NetworkOptions:
        """`hidden`, `activation` and `start zero`, with their defaults."""
        found = NetworkOptions()
        said: set[str] = set()
        for option in item.options:
            if option.name in said:
                self.report("said-twice", f"`{option.name}` is said twice", option.span, "said again here")
            said.add(option.name)
            match option.name, option.values:
                case "hidden", sizes if all(isinstance(n, Fraction) and n.denominator == 1 and 1 <= n <= 10_000 for n in sizes) and len(sizes) <= 50:
                    found = replace(found, hidden=tuple(int(n) for n in sizes if isinstance(n, Fraction)))
                case "hidden", _:
                    self.report("bad-option", "`hidden` takes the sizes of at most 50 layers, whole numbers from 1 to 10,000", option.span, "is not that", help="write `hidden 32, 32`")
                case "activation", (str() as name,) if name in ACTIVATIONS:
                    found = replace(found, activation=name)
                case "activation", values:
                    close = did_you_mean(str(values[0]), ACTIVATIONS) if values else None
                    self.report("bad-option", "there is no such activation", option.span, "named here", help=close or f"there are {', '.join(ACTIVATIONS)}")
                case "start", ("zero",):
                    found = replace(found, start_zero=True)
                case "start", _:
                    self.report("bad-option", "a network starts at random, or near zero with `start zero`", option.span, "says something else")
                case name, _:
                    self.report("bad-option", f"a network has no option `{name}`", option.span, "said here", help=did_you_mean(name, ("hidden", "activation", "start")) or "it has `hidden`, `activation` and `start zero`")
        return found

    def port(self, port: syntax.Port, use: NetworkUse) -> PortType:
        unit = read_unit(port.unit, self.problems) if port.unit else None
        shape: list[int] = []
        for size in port.shape:
            value = self.constant(Scoped(size, use.scope), "an array's size")
            if value is not None and (value != int(value) or value < 1):
                self.report("bad-size", "an array's size is a whole number from 1", size.span, "is not")
            elif value is not None:
                shape.append(int(value))
        low = high = None
        dimension = unit.dimension if unit else PURE if port.range else self.unifier.fresh()
        if port.range is not None:
            own = read_unit(port.range.unit, self.problems) if port.range.unit else unit
            if own and unit:
                self.same(unit.dimension, own.dimension, port.range.span, port.span, "range")
            low = self.bound_value(port.range.low, use, own)
            high = self.bound_value(port.range.high, use, own) if port.range.high else float("inf")
            if low is not None and high is not None and not low < high:
                self.problems.append(upside_down(port.range))
        return PortType(port.name, dimension, tuple(shape), low, high)

    def bound_value(self, expr: syntax.Expr, use: NetworkUse, unit: Unit | None) -> float | None:
        if is_infinite(expr):
            return float("-inf" if isinstance(expr, syntax.Unary) else "inf")
        if literal(expr) is None:
            found = self.infer(expr, use.scope)
            self.same(unit.dimension if unit else PURE, found.dimension, expr.span, expr.span, "range")
        value = self.constant(Scoped(expr, use.scope, unit), "a network's range")
        return None if value is None else float(value)

    def constant(self, value: Scoped, what: str) -> Fraction | float | None:
        try:
            return constant(value)
        except NotConstant as error:
            self.report("not-constant", f"{what} must be known when the model is compiled", error.node.span, "is not a constant")
        except BadConstant as error:
            self.problems.append(error.diagnostic)
        return None

    # ------------------------------------------------------------ expressions

    def infer(self, expr: syntax.Expr, scope: Scope) -> Type:
        """The type of an expression; problems are reported and answered with an open type."""
        if self.calls:
            self.spent += 1
            if self.spent > _BUDGET:
                message = "the functions of this model call each other too many times"
                raise CompileError([*self.problems, Diagnostic("too-large", message, Label(expr.span, "expanded here"))])
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
                for i, (a, b) in enumerate(zip(types, types[1:], strict=False)):
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
                self.report("misplaced-range", "`..` stands only after `in`, after `limit` and in an index", expr.span, "stands here")
                return self.open()
            case syntax.Comprehension():
                self.problems.append(unsupported("`for` within an expression is", expr.span))
                return self.open()
            case syntax.Window(value):
                self.report("misplaced-window", "`from` and `until` belong in a time reduction", expr.span, "stands here")
                return self.infer(value, scope)
            case _:
                assert_never(expr)

    def open(self) -> Type:
        return Type(self.unifier.fresh())

    def name(self, expr: syntax.Name, scope: Scope) -> Type:
        found = scope.find(expr.id)
        match found:
            case Variable():
                if self.over_runs and found.kind != "const":
                    self.problems.append(unknown_name(expr, scope, over_runs=True))
                return self.type_of(found)
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
            case Scope():
                self.report("part-as-value", f"`{expr.id}` is a part; what it holds is read as `{expr.id}.name`", expr.span, "used here")
            case NetworkUse() | FunctionUse():
                self.report("function-as-value", f"`{expr.id}` is a function: call it, `{expr.id}(…)`", expr.span, "used here")
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
                    self.report("no-period", "`period` has a meaning only in a block with a clock", expr.span, "used here", help="write `every 10 [ms]` after the block's name")
                return Type(self.time)
            case name if name in FUNCTIONS or name in TIME_REDUCTIONS:
                self.report("function-as-value", f"`{name}` is a function: call it, `{name}(…)`", expr.span, "used here")
                return self.open()
            case _:
                self.problems.append(unknown_name(expr, scope, over_runs=self.over_runs))
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
            self.report("irrational-power", "a quantity with a unit takes a rational power", expr.right.span, "is not a small fraction")
            return self.open()
        return Type(base.dimension**value, shape)

    def constant_in_range(self, expr: syntax.Expr, scope: Scope) -> None:
        try:
            constant(Scoped(expr, scope))
        except NotConstant:
            pass
        except BadConstant as error:
            self.problems.append(error.diagnostic)

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
        return Type(found.dimension / self.time, found.shape)

    def list_of(self, expr: syntax.List, items: tuple[syntax.Expr, ...], unit: syntax.Unit | None, scope: Scope) -> Type:
        if not items:
            self.report("empty-list", "a list has at least one item", expr.span, "has none")
            return self.open()
        own = read_unit(unit, self.problems) if unit else None
        types = [self.infer(item, scope) for item in items]
        first = types[0]
        for item, found in zip(items[1:], types[1:], strict=True):
            self.same(first.dimension, found.dimension, item.span, items[0].span, "list")
            if found.shape != first.shape:
                self.report("ragged-list", "the items of a list must be of one shape", item.span, f"is {_shape(found.shape)}")
        if own is not None:
            self.must_be_pure(first, items[0].span, "an item of a list with a unit")
        return Type(own.dimension if own else first.dimension, (len(items), *first.shape))

    def member(self, expr: syntax.Member, scope: Scope) -> Type:
        record = self.record_of(expr.object, scope)
        if record is not None:
            return self.result_of(record, expr)
        holder = part_of(expr.object, scope)
        if holder is None:
            self.report_no_members(expr, scope)
            return self.open()
        found = holder.names.get(expr.name)
        if isinstance(found, Variable):
            return self.type_of(found)
        if found is None:
            if holder.names or isinstance(holder.item, syntax.Model):
                self.report(
                    "unknown-member",
                    f"`{expr.object.span.text}` has no `{expr.name}`",
                    expr.span,
                    "read here",
                    help=did_you_mean(expr.name, holder.names),
                )
        else:
            self.report("not-a-value", f"`{expr.span.text}` is not a quantity", expr.span, "used here")
        return self.open()

    def report_no_members(self, expr: syntax.Member, scope: Scope) -> None:
        root = expr.object
        while isinstance(root, syntax.Member):
            root = root.object
        if isinstance(root, syntax.Name) and scope.find(root.id) is None:
            self.infer(root, scope)  # reports the unknown name
            return
        self.infer(expr.object, scope)
        self.report("no-members", f"`{expr.object.span.text}` has no members", expr.span, "read here")

    def record_of(self, expr: syntax.Expr, scope: Scope) -> NetworkUse | None:
        """The network whose several results the expression stands for."""
        match expr:
            case syntax.Call(syntax.Name(name)) if isinstance(scope.find(name), NetworkUse):
                return self.infer(expr, scope).record
            case syntax.Name() | syntax.Member():
                variable = target_of(expr, scope)
                return self.type_of(variable).record if variable else None
            case _:
                return None

    def result_of(self, record: NetworkUse, expr: syntax.Member) -> Type:
        for port in record.outputs:
            if port.name == expr.name:
                return Type(port.dimension, port.shape)
        names = [p.name for p in record.outputs]
        self.report(
            "unknown-member",
            f"the network `{record.item.name}` has no result `{expr.name}`",
            expr.span,
            "read here",
            help=did_you_mean(expr.name, names) or f"it has {', '.join(names)}",
        )
        return self.open()

    def index(self, expr: syntax.Index, scope: Scope) -> Type:
        found = self.infer(expr.object, scope)
        if not found.shape:
            self.report("not-an-array", f"`{expr.object.span.text}` is one number and has no index", expr.span, "indexed here", help="units stand after numbers only: `5 [m]`" if isinstance(expr.object, syntax.Name) else None)
            return self.open()
        if len(expr.subscripts) > len(found.shape):
            self.report("too-many-indices", f"`{expr.object.span.text}` has {len(found.shape)} axes", expr.span, f"{len(expr.subscripts)} indices")
            return self.open()
        shape: list[int] = []
        for subscript, size in zip(expr.subscripts, found.shape, strict=False):
            if isinstance(subscript, syntax.Range):
                low = self.subscript(subscript.low, size, scope)
                high = self.subscript(subscript.high, size, scope) if subscript.high else size - 1
                if low is not None and high is not None:
                    if high < low:
                        self.problems.append(upside_down(subscript))
                    shape.append(max(1, high - low + 1))
            else:
                self.subscript(subscript, size, scope)
        return Type(found.dimension, (*shape, *found.shape[len(expr.subscripts) :]))

    def subscript(self, expr: syntax.Expr, size: int, scope: Scope) -> int | None:
        value = self.constant(Scoped(expr, scope), "an index")
        if value is None:
            return None
        if value != int(value) or not 0 <= value < size:
            self.report("index-out-of-range", f"indices here run from 0 to {size - 1}", expr.span, f"is {float(value):g}")
            return None
        return int(value)

    # ------------------------------------------------------------ calls

    def call(self, expr: syntax.Call, scope: Scope) -> Type:
        if not isinstance(expr.function, syntax.Name):
            self.report("not-a-function", "only a name can be called", expr.function.span, "called here")
            return self.open()
        name = expr.function.id
        found = scope.find(name)
        match found:
            case NetworkUse():
                return self.network_call(expr, found, scope)
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
        if name in EVENT_REDUCTIONS:
            self.problems.append(unsupported(f"`{name}` is", expr.span))
            return self.open()
        if name in TIME_REDUCTIONS:
            return self.time_reduction(expr, name, scope)
        if name in FUNCTIONS:
            return self.function(expr, FUNCTIONS[name], scope)
        known = [*FUNCTIONS, *TIME_REDUCTIONS, *(RUN_REDUCTIONS if self.over_runs else ())]
        known += [n for n in scope.known() if isinstance(scope.find(n), NetworkUse | FunctionUse)]
        help_text = did_you_mean(name, known)
        if name in RUN_REDUCTIONS:
            help_text = f"`{name}` reduces over runs and belongs in a task"
        self.report("unknown-function", f"there is no function `{name}`", expr.function.span, "called here", help=help_text)
        for argument in expr.arguments:
            self.infer(argument.value, scope)
        return self.open()

    def arranged(
        self, arguments: tuple[syntax.Argument, ...], names: list[str], span: Span, what: str, optional: int
    ) -> dict[str, syntax.Expr]:
        """Arguments by name, positional ones first; wrong ones reported."""
        result: dict[str, syntax.Expr] = {}
        for position, argument in enumerate(arguments):
            name = argument.name
            if name is None:
                if position >= len(names):
                    break
                name = names[position]
            if name not in names:
                self.report("unknown-argument", f"`{what}` has no argument `{name}`", argument.span, "given here", help=did_you_mean(name, names) or f"it takes {', '.join(names)}")
                return {}
            if name in result:
                self.report("set-twice", f"the argument `{name}` is given twice", argument.span, "given again here")
            result[name] = argument.value
        missing = [n for n in names[: len(names) - optional] if n not in result]
        if missing or len(arguments) > len(names):
            self.report("wrong-arguments", f"`{what}` takes {_count(names, optional)}", span, f"{len(arguments)} given")
            return {}
        return result

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
                self.wrong_shape(port.shape, found.shape, value.span)
        if len(use.outputs) == 1:
            return Type(use.outputs[0].dimension, use.outputs[0].shape)
        return Type(record=use)

    def function_call(self, expr: syntax.Call, use: FunctionUse, scope: Scope) -> Type:
        item = use.item
        if item in self.calls:
            self.report("recursion", f"`{item.name}` calls itself", expr.span, "called here", related=(Label(item.name_span, "declared here"),))
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
        if named is not None:
            self.report("unknown-argument", f"the arguments of `{row.name}` have no names", named.span, "given here")
        values = [a.value for a in expr.arguments]
        if len(values) > _MOST_ARGUMENTS:
            self.report("wrong-arguments", f"`{row.name}` takes at most {_MOST_ARGUMENTS:,} arguments", expr.function.span, f"{len(values):,} given", help="put them in an array")
            return self.open()
        if len(values) < least or (most is not None and len(values) > most):
            count = str(least) if least == most else f"{least} or more"
            self.report("wrong-arguments", f"`{row.name}` takes {count} argument{'' if count == '1' else 's'}", expr.span, f"{len(values)} given")
            for value in values:
                self.infer(value, scope)
            return self.open()
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
            if not types[0].shape:
                self.report("not-an-array", f"`{row.name}` reduces an array", expr.arguments[0].span, "is one number")
            return ()
        if row.name == "transpose":
            return tuple(reversed(types[0].shape))
        if row.name == "dot":
            if types[0].shape != types[1].shape or len(types[0].shape) != 1:
                self.report("wrong-shape", "`dot` takes two vectors of one length", expr.span, f"{_shape(types[0].shape)} and {_shape(types[1].shape)}")
            return ()
        if row.name == "interpolate":
            if len(types[1].shape) != 1 or types[1].shape != types[2].shape:
                self.report("wrong-shape", "`interpolate(x, xs, ys)` takes two lists of one length", expr.span, "they are not")
            return types[0].shape
        shape = types[0].shape
        for found in types[1:]:
            shape = self.broadcast(Type(shape=shape), found, expr.span)
        return shape

    def straight_through(self, expr: syntax.Call, value: syntax.Expr, found: Type, scope: Scope) -> Type:
        if not isinstance(value, syntax.Call) or not value.arguments:
            self.report("not-a-call", "`straight_through(f(z))` takes a call: value of f(z), derivative of z", value.span, "is not a call", help="write `straight_through(sign(z))`, or `surrogate(exact, smooth)`")
            return found
        inner = self.infer(value.arguments[0].value, scope)
        self.same(found.dimension, inner.dimension, value.arguments[0].span, value.span, "straight_through")
        return found

    def smoothed(self, values: list[syntax.Expr], types: list[Type], scope: Scope) -> Type:
        hard = first_hard(values[0])
        if hard is None:
            self.report("nothing-to-smooth", "there is no jump or kink to smooth in this expression", values[0].span, "is smooth already", help="`smooth` rounds sign, step, abs, min, max, clip, relu and `if a < b`")
        else:
            inner = self.infer(hard, scope)
            self.same(inner.dimension, types[1].dimension, values[1].span, hard.span, "smooth")
        return types[0]

    def time_reduction(self, expr: syntax.Call, name: str, scope: Scope) -> Type:
        row = TIME_REDUCTIONS[name]
        if self.over_runs:
            self.report("misplaced-reduction", f"`{name}` reduces over time and belongs in a loss or metric of the scenario", expr.span, "used here", help=f"declare `metric m = {expr.span.text}` there and name it here")
            return self.open()
        if not self.reductions:
            where = "belongs in a loss or metric"
            self.report("misplaced-reduction", f"`{name}` reduces a whole run and {where}", expr.span, "used here")
        elif self.system.run_item is None:
            self.report("no-run", f"`{name}` needs a run, and this scenario has none", expr.span, "used here", help="say how long: `run for 10 [s]`")
        arguments = self.arranged(expr.arguments, ["e", *row.arguments], expr.span, name, 0)
        if not arguments:
            return self.open()
        value = arguments.pop("e")
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
            self.report("not-a-number", f"`{name}` reduces one number over time", value.span, f"is an array of {_shape(found.shape)}")
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
                self.report("bad-quantile", "a quantile's share lies between 0 and 1", arguments["share"].span, "does not")
        return Type(found.dimension)

    # ------------------------------------------------------------ rules

    def same(self, a: Dimension, b: Dimension, span: Span, other: Span, role: str) -> bool:
        """Both dimensions must be one; `span` is the text to blame, `other` the place it is compared with."""
        if self.unifier.unify(a, b, span):
            return True
        one, two = self.unifier.resolve(a), self.unifier.resolve(b)
        message = _MISMATCH.get(role, f"`{role}` needs arguments of one unit")
        decided = self.unifier.decided_at(b) or self.unifier.decided_at(a)
        related = (Label(other, f"is {one}"),) if other != span else ()
        if decided and decided not in (span, other):
            related += (Label(decided, "its unit follows from here"),)
        self.problems.append(Diagnostic("unit-mismatch", f"{message}: {one} and {two}", Label(span, f"is {two}"), related, self.unit_help(one, two, span)))
        return False

    def unit_help(self, wanted: Dimension, found: Dimension, span: Span) -> str | None:
        text = span.text
        if found.pure and text.replace(".", "").replace("_", "").isdigit():
            return f"a bare number is pure: write `{text} [{wanted}]`"
        if (wanted / found) in (self.time, self.time**-1) and not self.time.pure:
            return f"they differ by a time: {wanted / found}"
        return None

    def must_be_pure(self, found: Type, span: Span, what: str) -> bool:
        if self.unifier.unify(found.dimension, PURE, span):
            return True
        dimension = self.unifier.resolve(found.dimension)
        self.report("not-pure", f"{what} must be a pure number", span, f"is {dimension}", help="divide it by a reference quantity")
        return False

    def number_only(self, found: Type, expr: syntax.Expr) -> None:
        if found.truth:
            self.report("truth-as-number", "a comparison is not a number", expr.span, "is true or false", help="write `if … then 1 else 0`")
        if found.record is not None:
            names = ", ".join(p.name for p in found.record.outputs)
            self.report("record-as-number", f"the network `{found.record.item.name}` has several results: {names}", expr.span, "is not one number", help=f"write `{expr.span.text}.{found.record.outputs[0].name}`" if found.record.outputs else None)

    def truth_only(self, found: Type, expr: syntax.Expr) -> None:
        if not found.truth:
            self.report("not-a-condition", "a condition is a comparison", expr.span, "is a number")

    def broadcast(self, a: Type, b: Type, span: Span) -> tuple[int, ...]:
        if a.shape == b.shape or not b.shape:
            return a.shape
        if not a.shape:
            return b.shape
        self.report("wrong-shape", "arrays of different shapes do not combine", span, f"{_shape(a.shape)} and {_shape(b.shape)}")
        return a.shape

    def matmul(self, a: Type, b: Type, span: Span) -> tuple[int, ...]:
        if len(a.shape) in (1, 2) and len(b.shape) in (1, 2) and a.shape[-1] == b.shape[0]:
            return (*a.shape[:-1], *b.shape[1:])
        self.report("wrong-shape", "`@` multiplies a matrix and a vector or matrix that fit", span, f"{_shape(a.shape)} and {_shape(b.shape)}")
        return ()

    def wrong_shape(self, wanted: tuple[int, ...], found: tuple[int, ...], span: Span) -> None:
        self.report("wrong-shape", f"{_shape(wanted)} expected".capitalize(), span, f"is {_shape(found)}")

    def report(self, code: str, message: str, span: Span, label: str, *, related: tuple[Label, ...] = (), help: str | None = None) -> None:
        self.problems.append(Diagnostic(code, message, Label(span, label), related, help))


_MISMATCH = {
    "sum": "quantities of different units cannot be added",
    "difference": "quantities of different units cannot be subtracted",
    "comparison": "quantities of different units cannot be compared",
    "equation": "the two sides of this equation have different units",
    "if": "the two branches have different units",
    "input": "an input is wired to a quantity of another unit",
    "value": "a value has another unit than its name",
    "start": "a start has another unit than its state",
    "range": "a range has another unit than its name",
    "distribution": "a distribution has another unit than what is drawn",
    "argument": "an argument has another unit than declared",
    "list": "the items of a list have different units",
    "time": "this must be a time",
    "straight_through": "value and gradient of `straight_through` have different units",
    "smooth": "the width must have the unit of what is smoothed",
}


def replace_shape(variable: Variable) -> Variable:
    """The variable as one of its elements, for the items of a list."""
    element = Variable(variable.path, variable.kind, variable.declaration, variable.scope, variable.unit)
    element.dimension, element.wired = variable.dimension, variable.wired
    return element


def function_scope(use: FunctionUse, arguments: dict[str, Scoped], caller: Scope) -> Scope:
    """The scope of one call of a user's function: its parameters stand for the arguments."""
    scope = Scope(use.scope.path, use.item, use.scope, caller.clock)
    scope.names.update({name: Bound(value) for name, value in arguments.items()})
    return scope


def first_hard(expr: syntax.Expr) -> syntax.Expr | None:
    """What the first jump or kink of an expression depends on: the argument of sign, one side of a comparison."""
    hard = ("sign", "step", "abs", "min", "max", "clip", "relu")
    match expr:
        case syntax.Call(syntax.Name(name), arguments) if name in hard and arguments:
            return arguments[0].value
        case syntax.If(syntax.Compare(operands)):
            return operands[0]
        case _:
            found = (first_hard(c) for c in syntax.children(expr))
            return next((f for f in found if f is not None), None)


def has_measure(expr: syntax.Expr, scope: Scope) -> bool:
    """Whether a loss or metric is named in the expression."""
    if isinstance(expr, syntax.Name):
        return isinstance(scope.find(expr.id), Measure)
    return any(has_measure(c, scope) for c in syntax.children(expr))


def upside_down(range_: syntax.Range) -> Diagnostic:
    return Diagnostic("range-upside-down", "this range is upside down: its low end must be below its high end", Label(range_.span, "written here"))


def unknown_name(node: syntax.Name, scope: Scope, *, over_runs: bool = False) -> Diagnostic:
    where = "is no loss or metric of the scenario" if over_runs else "is not declared here"
    known = [*scope.known(), *(() if over_runs else ("time", "π", "pi", "inf"))]
    help_text = did_you_mean(node.id, known)
    if over_runs and help_text is None:
        help_text = "declare `metric name = …` in the scenario, and name it here"
    return Diagnostic("unknown-name", f"`{node.id}` {where}", Label(node.span, "used here"), help=help_text)


def _file_variables(system: System) -> list[Variable]:
    return [b for b in _file_bindings(system) if isinstance(b, Variable)]


def _file_networks(system: System) -> list[NetworkUse]:
    return [b for b in _file_bindings(system) if isinstance(b, NetworkUse) and b not in system.networks]


def _file_bindings(system: System) -> list[object]:
    seen: dict[int, object] = {}
    scopes = [system.root, *system.parts]
    for scope in scopes:
        if scope.file is not None:
            for binding in scope.file.names.values():
                seen.setdefault(id(binding), binding)
    return list(seen.values())


def _shape(shape: tuple[int, ...]) -> str:
    return " by ".join(str(n) for n in shape) if shape else "one number"


def _count(names: list[str], optional: int) -> str:
    need = len(names) - optional
    text = f"{need} argument{'' if need == 1 else 's'}" if not optional else f"{need} to {len(names)} arguments"
    return f"{text}: {', '.join(names)}"
