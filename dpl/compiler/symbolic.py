"""Equations as SymPy: every quantity of a system is one real symbol, all in SI.

Functions that SymPy would rewrite into forms without a derivative or without a JAX counterpart stay opaque.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import assert_never

from dpl.compiler import noise
from dpl.compiler.algebra import (
    COMPARE,
    INFINITY,
    ONE,
    TIME,
    Expr,
    Sizes,
    Symbol,
    network_path,
    number,
    opaque,
    points_of,
    sp,
    weights_of,
)
from dpl.compiler.algebra import symbol as make_symbol
from dpl.compiler.arrays import at
from dpl.compiler.indexed import Indexed
from dpl.compiler.lookups import looked_up
from dpl.compiler.motion import Motion
from dpl.compiler.rewrite import choice, smoothed
from dpl.language import syntax
from dpl.language.balance import Structure
from dpl.language.builtins import DISTRIBUTIONS, FUNCTIONS, TIME_REDUCTIONS
from dpl.language.calls import function_scope
from dpl.language.constants import LARGEST, BadConstant, NotConstant, constant, is_infinite, literal, scaled
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.goals import is_run_reduction
from dpl.language.model import (
    Bound,
    Clock,
    Event,
    FunctionUse,
    Index,
    Measure,
    NetworkUse,
    PortType,
    Scope,
    Scoped,
    Square,
    System,
    TableUse,
    Variable,
    named,
)
from dpl.language.units import read_unit

MOST_VISITS = 300_000
MOST_NODES = 50_000
"""Of one expression as a tree; a `let` starts a new one"""


@dataclass(frozen=True)
class Reduction:
    """A time reduction met in a loss or metric: what it reduces, further arguments, its window; all symbolic."""

    kind: str
    value: Expr
    arguments: tuple[Expr, ...]
    start: Expr | None
    until: Expr | None
    symbol: Symbol


@dataclass
class Translator:
    """AST to SymPy in one system. It remembers which symbol is which quantity, and what was met on the way."""

    system: System
    structure: Structure
    over_runs: bool = False
    """In a task: `mean(e)` is over runs"""
    quantities: dict[Symbol, tuple[Variable, int]] = field(default_factory=dict[Symbol, "tuple[Variable, int]"])
    looked_up: dict[Symbol, str] = field(default_factory=dict[Symbol, str])
    """Losses and metrics, and what is squared in them, by their keys among the results of a run"""
    networks: dict[str, NetworkUse] = field(default_factory=dict[str, NetworkUse])
    tables: dict[str, TableUse] = field(default_factory=dict[str, TableUse])
    signals: dict[str, Variable] = field(default_factory=dict[str, Variable])
    """Columns of data that are read as functions of time"""
    row: dict[str, Variable] | None = None
    """While what is observed along the run is read: the columns of the row that it is compared with"""
    reductions: list[Reduction] = field(default_factory=list[Reduction])
    leads: frozenset[str] = frozenset()
    """Paths of the names that may be given before the run, as those that tasks free"""
    components: dict[str, Variable] = field(default_factory=dict[str, Variable])
    """The several results of networks that a `let` names, each as a quantity of its own"""

    def __post_init__(self) -> None:
        self.motion = Motion(self)
        self.indexed = Indexed(self)
        self._paths: dict[str, list[Variable]] = {}
        self._symbols: dict[tuple[Variable, int], Symbol] = {}
        self._unknowns: dict[Clock | None, tuple[Symbol, ...]] = {}
        self._bound: dict[int, Expr] = {}
        self._scopes: list[Scope] = []  # kept alive: `_bound` is keyed by identity
        self._values: dict[Variable, Expr] = {}
        self._size = Sizes()
        self._visits = 0

    # ------------------------------------------------------------ symbols

    def symbol(self, variable: Variable, order: int = 0) -> Symbol:
        """The symbol of a variable or of its derivative."""
        if (variable, order) not in self._symbols:
            self._symbols[variable, order] = self._made(variable, order)
        return self._symbols[variable, order]

    def unknowns(self, clock: Clock | None) -> tuple[Symbol, ...]:
        """What the equations of a clock, or those between ticks, must determine; the same tuple each time."""
        if clock not in self._unknowns:
            mine = [u for u in self.structure.unknowns if u[0].clock == clock]
            self._unknowns[clock] = tuple(self.symbol(*u) for u in mine)
        return self._unknowns[clock]

    def _made(self, variable: Variable, order: int) -> Symbol:
        same = self._paths.setdefault(variable.path, [])
        if variable not in same:
            same.append(variable)
        shadowed = f"~{same.index(variable) + 1}" if variable is not same[0] else ""
        found = make_symbol(variable.path + shadowed + "'" * order)
        self.quantities[found] = (variable, order)
        return found

    def component(self, record: Variable, port: PortType) -> Symbol:
        """One of the several results that the `let` `record` names."""
        path = f"{record.path}.{port.name}"
        if path not in self.components:
            item, scope = record.declaration, record.scope
            shape = (*(index.size for index in scope.axes), *port.shape)
            made = Variable(path, "let", item, scope, port.unit, dimension=port.dimension, shape=shape)
            self.components[path] = made
        return self.symbol(self.components[path])

    def measure(self, measure: Measure) -> Symbol:
        """The symbol of a loss or metric."""
        found = make_symbol(f"measure {measure.item.name}")
        self.looked_up[found] = measure.item.name
        return found

    def squared(self, square: Square) -> Symbol:
        """The symbol of what is squared in a loss."""
        found = make_symbol(f"measure {square.key}")
        self.looked_up[found] = square.key
        return found

    def value_of(self, variable: Variable) -> Expr:
        """What a defined variable equals, with its limit applied."""
        if variable not in self._values:
            assert variable.value is not None
            value = self.noise(variable) if variable.noise else self.indexed.of_variable(variable, variable.value)
            self._values[variable] = self._limited(variable, value)
        return self._values[variable]

    def noise(self, variable: Variable) -> Expr:
        """What a noise is at the ticks of its clock."""
        value, clock = variable.value, variable.drawn
        assert value is not None and isinstance(value.expr, syntax.Call) and clock is not None
        assert isinstance(value.expr.function, syntax.Name)
        row = DISTRIBUTIONS[value.expr.function.id]
        given = _arranged(value.expr, [name for name, _ in row.arguments])
        arguments = tuple(
            self.in_unit(Scoped(given[name], value.scope, variable.unit if in_unit else None))
            for name, in_unit in row.arguments
        )
        start = self.system.run.start if self.system.run else Fraction(0)
        return noise.drawn(row.name, arguments, variable.path, clock, start, variable.shape)

    def _limited(self, variable: Variable, value: Expr) -> Expr:
        limit = variable.declaration.limit
        if limit is None:
            return value
        ends = [self.bound(b, variable, limit.unit) for b in (limit.low, limit.high) if b is not None]
        low, high = (*ends, INFINITY)[:2]
        clipped = opaque("clip")(value, low, high)
        through = variable.declaration.limit_method == "straight_through"
        return opaque("straight_through")(clipped, value) if through else clipped

    def bound(self, expr: syntax.Expr, variable: Variable, unit: syntax.Unit | None) -> Expr:
        """An end of a range, in SI."""
        if is_infinite(expr):
            return -INFINITY if isinstance(expr, syntax.Unary) else INFINITY
        return self.in_unit(Scoped(expr, variable.scope, read_unit(unit, []) if unit else variable.unit))

    def in_unit(self, value: Scoped) -> Expr:
        """An expression where bare literals are in the declared unit; over all parts of an array of parts."""
        return self.indexed.whole(value.scope, lambda: self.local(value))

    def local(self, value: Scoped) -> Expr:
        """The same of one part, for the indices that are being counted."""
        expr, unit = value.expr, value.unit
        bare = literal(expr)
        if bare is not None:
            return number(scaled(bare, unit))
        if isinstance(expr, syntax.List):
            inner = read_unit(expr.unit, []) if expr.unit else unit
            return opaque("array")(*(self.local(Scoped(i, value.scope, inner)) for i in expr.items))
        if isinstance(expr, syntax.Pieces):
            return self.indexed.pieces(expr, value.scope, unit)
        return self.expr(expr, value.scope)

    # ------------------------------------------------------------ expressions

    def scoped(self, value: Scoped) -> Expr:
        """An expression over all parts of an array of parts."""
        return self.indexed.whole(value.scope, lambda: self.expr(value.expr, value.scope))

    def expr(self, expr: syntax.Expr, scope: Scope) -> Expr:
        """The expression in SymPy. Raises CompileError where it is too large or has no real value."""
        self._visits += 1
        if self._visits > MOST_VISITS:
            raise _too_large("this model", expr)
        found = self._expr(expr, scope)
        if self._size(found) > MOST_NODES:
            raise _too_large("this expression", expr)
        if _has_no_value(found):
            message = "this expression has no finite real value"
            raise CompileError([Diagnostic("no-value", message, Label(expr.span, "has no value"))])
        return found

    def _expr(self, expr: syntax.Expr, scope: Scope) -> Expr:
        match expr:
            case syntax.Number(value, unit):
                return number(scaled(value, read_unit(unit, [])) if unit else value)
            case syntax.Name():
                return self.name(expr, scope)
            case syntax.Unary(op, operand):
                inner = self.expr(operand, scope)
                return -inner if op == "-" else opaque("not")(inner)
            case syntax.Binary(op):
                return self.chain(expr, scope) if op in _CHAINS else self.binary(expr, scope)
            case syntax.Compare(operands, ops):
                values = [self.expr(o, scope) for o in operands]
                tests = [opaque(COMPARE[op])(a, b) for op, a, b in zip(ops, values, values[1:], strict=False)]
                return tests[0] if len(tests) == 1 else opaque("and")(*tests)
            case syntax.If(condition, then, otherwise):
                return choice(self.expr(condition, scope), self.expr(then, scope), self.expr(otherwise, scope))
            case syntax.Call():
                return self.call(expr, scope)
            case syntax.Member():
                return self.member(expr, scope)
            case syntax.Index():
                return self.element(expr, scope)
            case syntax.Prime():
                return self.prime(expr, scope)
            case syntax.List() | syntax.Pieces():
                return self.local(Scoped(expr, scope))
            case syntax.Range() | syntax.Comprehension() | syntax.Window():
                raise AssertionError(f"{type(expr).__name__} passed the checks: a bug in DPL")
            case _:
                assert_never(expr)

    def read(self, variable: Variable, scope: Scope, subscripts: Sequence[syntax.Expr | None] = ()) -> Expr:
        """What the name of a quantity means; a column is a function of time, but where rows are compared."""
        if variable.kind != "column":
            return self.indexed.read(self.symbol(variable), variable, scope, subscripts)
        if self.row is None:
            return self.signal(variable)
        self.row[variable.path] = variable
        return self.symbol(variable)

    def signal(self, column: Variable) -> Expr:
        """A column of data along time: linear between its rows."""
        self.signals[column.path] = column
        return looked_up(points_of(column.path), TIME, "linear")

    def element(self, expr: syntax.Index, scope: Scope) -> Expr:
        found = self.indexed.path(expr, scope)
        if found is not None:
            return self.read(found[0], scope, found[1])
        return at(self.expr(expr.object, scope), [self.indexed.subscript(s, scope) for s in expr.subscripts])

    def name(self, expr: syntax.Name, scope: Scope) -> Expr:
        found = scope.find(expr.id)
        match found:
            case Variable():
                return self.read(found, scope)
            case Index():
                return self.indexed.index(found)
            case Bound(value):
                if id(found) not in self._bound:
                    self._bound[id(found)] = self.expr(value.expr, value.scope)
                return self._bound[id(found)]
            case Measure():
                return self.measure(found)
            case _:
                return self.predeclared(expr.id, scope)

    def predeclared(self, name: str, scope: Scope) -> Expr:
        match name:
            case "time":
                return TIME
            case "period" if scope.clock is not None:
                return number(scope.clock.period)
            case "π" | "pi":
                return sp.pi
            case "inf":
                return INFINITY
            case "true" | "false":
                return opaque(name)()
            case _:
                raise AssertionError(f"`{name}` passed the checks: a bug in DPL")

    # ------------------------------------------------------------ arithmetic

    def chain(self, expr: syntax.Binary, scope: Scope) -> Expr:
        """A whole sum or product at once: `a + b - c`, `a*b/c`."""
        one, two = _CHAINS[expr.op]
        operands: list[Expr] = []
        inner: syntax.Expr = expr
        while isinstance(inner, syntax.Binary) and inner.op in (one, two):
            operand = self.expr(inner.right, scope)
            operands.append(operand if inner.op == one else -operand if one == "+" else sp.Pow(operand, -1))
            inner = inner.left
        operands.append(self.expr(inner, scope))
        return sp.Add(*operands) if one == "+" else sp.Mul(*operands)

    def binary(self, expr: syntax.Binary, scope: Scope) -> Expr:
        left = self.expr(expr.left, scope)
        match expr.op:
            case "^":
                return power(left, self.exponent(expr.right, scope))
            case "@":
                return opaque("matmul")(left, self.expr(expr.right, scope))
            case _:
                return opaque(expr.op)(left, self.expr(expr.right, scope))

    def exponent(self, expr: syntax.Expr, scope: Scope) -> Expr:
        """A constant exponent as its exact number, so that `x^n` with `const n = 2` is a square."""
        try:
            return number(constant(Scoped(expr, scope)))
        except (NotConstant, BadConstant):
            return self.expr(expr, scope)

    def prime(self, expr: syntax.Prime, scope: Scope) -> Expr:
        order, inner = 1, expr.operand
        while isinstance(inner, syntax.Prime):
            order, inner = order + 1, inner.operand
        found = self.indexed.path(inner, scope)
        if found is not None:
            rate = self.motion.derivative(found[0], order, expr)
            return rate if rate == 0 else self.indexed.read(rate, found[0], scope, found[1])
        result = self.expr(inner, scope)
        for _ in range(order):
            result = self.motion.along(result, expr)
        return result

    # ------------------------------------------------------------ calls

    def call(self, expr: syntax.Call, scope: Scope) -> Expr:
        assert isinstance(expr.function, syntax.Name)
        name = expr.function.id
        found = scope.find(name)
        if isinstance(found, NetworkUse):
            return self.network_call(expr, found, scope)
        if isinstance(found, TableUse):
            return self.table_call(expr, found, scope)
        if isinstance(found, FunctionUse):
            arguments = {n: Scoped(v, scope) for n, v in _arranged(expr, list(found.item.parameters)).items()}
            inner = function_scope(found, arguments, scope)
            self._scopes.append(inner)
            return self.expr(found.item.value, inner)
        if self.over_runs and is_run_reduction(name, len(expr.arguments)):
            return opaque(f"runs_{name}")(*(self.expr(a.value, scope) for a in expr.arguments))
        if name in TIME_REDUCTIONS:
            return self.reduction(expr, name, scope)
        return self.builtin(expr, name, scope)

    def builtin(self, expr: syntax.Call, name: str, scope: Scope) -> Expr:
        values = [a.value for a in expr.arguments]
        if name == "choose":  # inside the compiler that is the conditional
            given = _arranged(expr, list(FUNCTIONS[name].names))
            picked = [self.expr(given[n], scope) for n in FUNCTIONS[name].names if n in given]
            return opaque("pick")(*picked, *[ONE] * (3 - len(picked)))
        if name == "straight_through":
            inner = values[0]
            assert isinstance(inner, syntax.Call)
            return opaque(name)(self.expr(inner, scope), self.expr(inner.arguments[0].value, scope))
        if len(values) == 1 and isinstance(values[0], syntax.Comprehension):
            return self.indexed.reduction(name, values[0], scope)
        arguments = [self.expr(v, scope) for v in values]
        match name:
            case "surrogate":
                return opaque("straight_through")(*arguments)
            case "smooth":
                return smoothed(*arguments)
            case "sqrt":
                return power(arguments[0], sp.Rational(1, 2))
            case "min" | "max" if len(values) == 1:
                return opaque(f"array_{name}")(*arguments)
            case "min" | "max":
                result = arguments[0]
                for other in arguments[1:]:
                    result = opaque(name)(result, other)
                return result
            case _:
                form = FUNCTIONS[name].sympy
                return _evaluated(getattr(sp, form)(*arguments)) if form else opaque(name)(*arguments)

    def network_call(self, expr: syntax.Call, use: NetworkUse, scope: Scope) -> Expr:
        self.networks[use.path] = use
        given = _arranged(expr, [p.name for p in use.inputs])
        arguments = (self.expr(given[p.name], scope) for p in use.inputs)
        call = opaque(f"network {use.path}")(weights_of(use.path), *arguments)
        return opaque("result")(call, sp.Integer(0)) if len(use.outputs) == 1 else call

    def table_call(self, expr: syntax.Call, use: TableUse, scope: Scope) -> Expr:
        self.tables[use.path] = use
        x = self.expr(_arranged(expr, [use.input.name])[use.input.name], scope)
        return looked_up(points_of(use.path), x, use.using)

    def member(self, expr: syntax.Member, scope: Scope) -> Expr:
        found = self.indexed.path(expr, scope)
        if found is not None:
            return self.read(found[0], scope, found[1])
        holder = self.indexed.path(expr.object, scope)
        if holder is not None and holder[0].record is not None:
            record, subscripts = holder
            assert record.record is not None
            component = self.component(record, next(p for p in record.record.outputs if p.name == expr.name))
            return self.indexed.read(component, record, scope, subscripts)
        call = self.expr(expr.object, scope)
        path = network_path(call)
        assert path is not None
        position = [p.name for p in self.networks[path].outputs].index(expr.name)
        return opaque("result")(call, sp.Integer(position))

    def reduction(self, expr: syntax.Call, name: str, scope: Scope) -> Expr:
        given = _arranged(expr, ["e", *TIME_REDUCTIONS[name].arguments])
        value, start, until = given["e"], None, None
        if isinstance(value, syntax.Window):
            start = self.expr(value.start, scope) if value.start else None
            until = self.expr(value.until, scope) if value.until else None
            value = value.value
        if TIME_REDUCTIONS[name].reads == "event":
            return self.of_event(name, value, given.get("k"), scope)
        arguments = tuple(self.expr(given[n], scope) for n in TIME_REDUCTIONS[name].arguments)
        key = (name, self.expr(value, scope), arguments, start, until)
        return self.reduced(*key)

    def of_event(self, name: str, event: syntax.Expr, k: syntax.Expr | None, scope: Scope) -> Symbol:
        """`event_time(e, k)` and `count(e)`: the event by its place in the whole system."""
        found = named(event, scope)
        assert isinstance(found, Event)
        which = sp.Integer((self.system.whole or self.system).events.index(found))
        arguments = (self.exponent(k, scope) if k is not None else ONE,) if name == "event_time" else ()
        return self.reduced(name, which, arguments, None, None)

    def reduced(
        self, kind: str, value: Expr, arguments: tuple[Expr, ...], start: Expr | None, until: Expr | None
    ) -> Symbol:
        """The symbol of a reduction; of equal ones the same."""
        key = (kind, value, arguments, start, until)
        for found in self.reductions:
            if (found.kind, found.value, found.arguments, found.start, found.until) == key:
                return found.symbol
        made = make_symbol(f"reduced {kind} {len(self.reductions) + 1}")
        self.reductions.append(Reduction(*key, made))
        return made


_CHAINS = {"+": ("+", "-"), "-": ("+", "-"), "*": ("*", "/"), "/": ("*", "/")}


def _arranged(expr: syntax.Call, names: list[str]) -> dict[str, syntax.Expr]:
    """The arguments of a call by name."""
    return {a.name or names[i]: a.value for i, a in enumerate(expr.arguments)}


def power(base: Expr, exponent: Expr) -> Expr:
    """A power; of numbers, it is exact where that is short, else a double."""
    if not (base.is_number and exponent.is_number):
        return sp.Pow(base, exponent)
    if base.is_Rational and exponent.is_Integer:
        bits = max(int(base.p).bit_length(), int(base.q).bit_length())
        if abs(int(exponent)) * bits <= 512:
            return sp.Pow(base, exponent)
    if base.is_Rational and exponent == sp.Rational(1, 2) and base >= 0:
        p, q = math.isqrt(int(base.p)), math.isqrt(int(base.q))
        if p * p == base.p and q * q == base.q:
            return sp.Rational(p, q)
    try:
        value = float(base) ** float(exponent)
    except (OverflowError, ZeroDivisionError):
        return sp.zoo
    return sp.zoo if isinstance(value, complex) or not math.isfinite(value) else sp.Float(value)


def _evaluated(expr: Expr) -> Expr:
    """A function of numbers as its number: exact if SymPy has a rational, else the nearest double."""
    if expr.is_Symbol or not expr.is_number or expr.is_Rational or expr.is_NumberSymbol:
        return expr
    try:
        value = complex(expr.evalf(20))
    except OverflowError:
        return sp.zoo
    return sp.Float(value.real) if value.imag == 0 and math.isfinite(value.real) else sp.zoo


_VALUELESS = (sp.I, sp.zoo, sp.nan, sp.oo, -sp.oo)


def _has_no_value(expr: Expr) -> bool:
    """Whether an operation just made an infinite, complex or far too large number, or a product with one."""
    numbers = [a for a in (expr, *expr.args) if isinstance(a, sp.Number)]
    huge = any(a not in _VALUELESS and abs(a) > sp.Float(LARGEST) ** 2 for a in numbers)
    return huge or expr in _VALUELESS or any(a in _VALUELESS for a in expr.args if a.is_Atom)


def _too_large(what: str, expr: syntax.Expr) -> CompileError:
    help_text = "give parts of it names with `let`, or use arrays"
    return CompileError([Diagnostic("too-large", f"{what} is too large to compile", Label(expr.span), help=help_text)])
