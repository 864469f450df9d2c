"""Shapes of expressions, so that one number that stands for every element of an array is spread over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dpl.compiler import ir, noise
from dpl.compiler.algebra import Expr, Symbol, function_name, network_path, next_of, opaque, sp, start_of
from dpl.compiler.symbolic import Translator
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.model import NetworkUse, PortType

Shape = tuple[int, ...]

_TO_ONE = {"sum", "mean", "product", "norm", "dot", "array_min", "array_max", "pick"}


def shaped(statements: Iterable[ir.Statement], translator: Translator) -> tuple[ir.Statement, ...]:
    """The statements, each of which gives its targets their declared shape.

    Raises:
        CompileError: an equation cannot determine the arrays that it is solved for.
    """
    shapes = Shapes(translator)
    problems: list[Diagnostic] = []
    result: list[ir.Statement] = []
    for statement in statements:
        problem = _unsolvable(statement, shapes)
        if problem is not None:
            problems.append(problem)
            continue
        result.append(_spread(statement, shapes))
    if problems:
        raise CompileError(problems)
    return tuple(result)


def _spread(statement: ir.Statement, shapes: Shapes) -> ir.Statement:
    match statement:
        case ir.Assign(target, value, origin):
            return ir.Assign(target, _full(value, shapes.of_symbol(target), shapes), origin)
        case ir.Solve(targets, rows, right, origin):
            first = _full(right[0], shapes.of_symbol(targets[0]), shapes)
            return ir.Solve(targets, rows, (first, *right[1:]), origin)
        case ir.Root():
            return statement


def _full(value: Expr, shape: Shape, shapes: Shapes) -> Expr:
    if not shape or shapes.of(value) == shape or function_name(value) == "full":
        return value
    return opaque("full")(value, *map(sp.Integer, shape))


def _unsolvable(statement: ir.Statement, shapes: Shapes) -> Diagnostic | None:
    """Arrays are solved for one at a time, or up to three of one shape together, element by element."""
    targets = ir.targets(statement)
    wanted = [shapes.of_symbol(t) for t in targets]
    if isinstance(statement, ir.Assign) or not any(wanted):
        return None
    quantities = [shapes.translator.quantities[t][0] for t in targets]
    names = ", ".join(f"`{v.path}`" for v in quantities)
    most = 3 if isinstance(statement, ir.Solve) else 1
    if len(targets) > most or len(set(wanted)) > 1:
        message = f"equations that determine several arrays together are not supported: {names}"
        return Diagnostic("not-supported", message, Label(quantities[0].span, "one of them"))
    if isinstance(statement, ir.Root) and shapes.of(statement.residuals[0]) != wanted[0]:
        message = f"one number cannot determine the array {names}"
        return Diagnostic("wrong-shape", message, Label(quantities[0].span, "has more elements than equations"))
    return None


class Shapes:
    """Shapes in one system, by symbol and by expression."""

    def __init__(self, translator: Translator):
        self.translator = translator
        self._named: dict[Symbol, Shape] = {}
        self._records: dict[Symbol, NetworkUse] = {}
        for variable in translator.system.variables:
            if variable.shape:
                found = translator.symbol(variable)
                for made in (next_of(found), start_of(variable.path)):
                    self._named[made] = variable.shape
        self._known: dict[Expr, Shape] = {}

    def of_symbol(self, symbol: Symbol) -> Shape:
        quantity = self.translator.quantities.get(symbol)
        return quantity[0].shape if quantity else self._named.get(symbol, ())

    def learn(self, symbol: Symbol, value: Expr) -> None:
        """What a symbol that is no quantity of the text stands for."""
        path = network_path(value)
        if path is not None:
            self._records[symbol] = self.translator.networks[path]
        elif symbol not in self.translator.quantities:
            self._named[symbol] = self.of(value)

    def numbers(self, statements: Iterable[ir.Statement]) -> Callable[[Expr], bool]:
        """Whether an expression is one number; the names that the statements give are learnt first."""
        for statement in statements:
            if isinstance(statement, ir.Assign):
                self.learn(statement.target, statement.value)
        return lambda expr: not self.of(expr) and network_path(expr) is None and expr not in self._records

    def of(self, expr: Expr) -> Shape:
        if expr.is_Symbol:
            return self.of_symbol(expr)
        if not expr.args:
            return ()
        if expr not in self._known:
            self._known[expr] = self._of(expr)
        return self._known[expr]

    def _of(self, expr: Expr) -> Shape:
        name, args = function_name(expr), expr.args
        if name in _TO_ONE:
            return ()
        if name in ("zeros", "full"):
            return tuple(int(a) for a in args[name == "full" :])
        if name in noise.STANDARD:
            return tuple(int(a) for a in args[2:])
        if name == "result":
            return self._result(args[0], int(args[1]))
        inner = [self.of(a) for a in args]
        if name == "array":
            return (len(args), *_broadcast(inner))
        if name.startswith("element "):
            return _indexed(inner[0], name.removeprefix("element ").split(", "))
        if name in _RULES:
            return _RULES[name](inner)
        return _broadcast(inner)

    def ports(self, call: Expr) -> tuple[PortType, ...]:
        """The outputs of the network that is called, or whose several results a symbol names."""
        path = network_path(call)
        if path is not None:
            return self.translator.networks[path].outputs
        record = self._records.get(call) or self.translator.quantities[call][0].record
        return record.outputs if record else ()

    def _result(self, call: Expr, position: int) -> Shape:
        ports = self.ports(call)
        return ports[position].shape if ports else ()


def _broadcast(shapes: Iterable[Shape]) -> Shape:
    return max(shapes, key=len, default=())


def _indexed(shape: Shape, subscripts: list[str]) -> Shape:
    kept: list[int] = []
    for size, subscript in zip(shape, subscripts, strict=False):
        low, colon, high = subscript.partition(":")
        if colon:
            kept.append((int(high) if high else size) - int(low))
    return (*kept, *shape[len(subscripts) :])


_RULES: dict[str, Callable[[list[Shape]], Shape]] = {
    "transpose": lambda s: s[0][::-1],
    "matmul": lambda s: (*s[0][:-1], *(s[1][:-2] + s[1][-1:] if len(s[1]) > 1 else ())),
    "interpolate": lambda s: s[0],
}
