"""Shapes of expressions, so that one number that stands for every element of an array is spread over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from dpl.compiler import ir, noise
from dpl.compiler.algebra import (
    Expr,
    Symbol,
    function_name,
    is_compound,
    network_path,
    next_of,
    opaque,
    sp,
    start_of,
)
from dpl.compiler.arrays import ALL, REDUCTIONS, bound_axes, extent, is_pieces, is_slice, places, reduction
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.model import NetworkUse, PortType

if TYPE_CHECKING:
    from dpl.compiler.symbolic import Translator

Shape = tuple[int, ...]

_TO_ONE = {"sum", "mean", "product", "norm", "dot", "array_min", "array_max"}


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
        case _:
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
        self._batches: dict[Symbol, tuple[NetworkUse, Shape]] = {}
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
            self._batches[symbol] = self.translator.networks[path], self.batch(value)
        elif symbol not in self.translator.quantities:
            self._named[symbol] = self.of(value)

    def numbers(self, statements: Iterable[ir.Statement]) -> Callable[[Expr], bool]:
        """Whether an expression is one number; the names that the statements give are learnt first."""
        for statement in statements:
            if isinstance(statement, ir.Assign):
                self.learn(statement.target, statement.value)
        return lambda expr: not (self.of(expr) or is_compound(expr) or network_path(expr) or expr in self._batches)

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
        if name == "zeros":
            return tuple(map(int, args))
        if name == "full":
            return tuple(map(int, args[1:]))
        if name == "count":
            return (int(args[1]) - int(args[0]) + 1,)
        if name in noise.STANDARD:
            return tuple(int(a) for a in args[2:])
        if name == "result":
            return self._result(args[0], int(args[1]))
        if name == "each":
            return (*(axis.size for axis in bound_axes(expr)), *self.of(args[0]))
        if reduction(expr) is not None:
            return self.of(args[0])
        if name == "at":
            return _at(self.of(args[0]), args[1:])
        if is_pieces(expr):
            return self._pieces(expr)
        inner = [self.of(a) for a in args]
        if name == "array":
            return (len(args), *_broadcast(inner))
        if name.startswith("written "):
            return tuple(int(a) for a in args if a.is_Integer)
        if name in _RULES:
            return _RULES[name](inner)
        start = next((s for s in _AXES if name.startswith(s)), None)
        return _AXES[start](inner, name.removeprefix(start)) if start is not None else _broadcast(inner)

    def _pieces(self, expr: Expr) -> Shape:
        sizes = extent(places(expr))
        ranks = [sum(not isinstance(p, int) for p in place) for place in places(expr)]
        own = [self.of(a)[rank:] for rank, a in zip(ranks, expr.args, strict=True)]
        return (*sizes, *_broadcast(own))

    def ports(self, call: Expr) -> tuple[PortType, ...]:
        """The outputs of the network that is called, or whose several results a symbol names."""
        path = network_path(call)
        if path is not None:
            return self.translator.networks[path].outputs
        if call in self._batches:
            return self._batches[call][0].outputs
        record = self.translator.quantities[call][0].record
        return record.outputs if record else ()

    def _result(self, call: Expr, position: int) -> Shape:
        ports, path = self.ports(call), network_path(call)
        own = ports[position].shape if ports else ()
        if path is not None:
            return (*self.batch(call), *own)
        if call in self._batches:
            return (*self._batches[call][1], *own)
        return (*(index.size for index in self.translator.quantities[call][0].scope.axes), *own)

    def batch(self, call: Expr) -> Shape:
        """The sizes of the axes over which a call applies its network."""
        use = self.translator.networks[network_path(call) or ""]
        shapes = [self.of(a) for a in call.args[1:]]
        return _broadcast([s[: len(s) - len(p.shape)] for s, p in zip(shapes, use.inputs, strict=True)])


def _broadcast(shapes: Iterable[Shape]) -> Shape:
    """The shape of an operation element by element: axes are aligned from the last on."""
    found = list(shapes)
    rank = max(map(len, found), default=0)
    padded = [(1,) * (rank - len(s)) + s for s in found]
    return tuple(map(max, zip(*padded, strict=True))) if rank else ()


def _indexed(shape: Shape, text: str) -> Shape:
    kept: list[int] = []
    subscripts = text.split(", ")
    for size, subscript in zip(shape, subscripts, strict=False):
        low, colon, high = subscript.partition(":")
        if colon:
            kept.append((int(high) if high else size) - int(low or 0))
    return (*kept, *shape[len(subscripts) :])


def _convolved(shapes: list[Shape], text: str) -> Shape:
    """Of an image and a kernel in so many axes, the last ones."""
    rank = int(text)
    places = (n - k + 1 for n, k in zip(*(s[-rank:] for s in shapes), strict=True))
    return (*_broadcast(s[:-rank] for s in shapes), *places)


def _at(shape: Shape, subscripts: tuple[Expr, ...]) -> Shape:
    kept: list[int] = []
    for size, s in zip(shape, subscripts, strict=False):
        if s == ALL:
            kept.append(size)
        elif is_slice(s):
            low, high = map(int, s.args)
            kept.append((high if high >= 0 else size) - low)
    return (*kept, *shape[len(subscripts) :])


def _aligned(shape: Shape, text: str) -> Shape:
    """`:, None`: an axis of one element at each None."""
    rest = list(shape)
    return (*(1 if part == "None" else rest.pop(0) for part in text.split(", ")), *rest)


def _reduced(shape: Shape, text: str) -> Shape:
    gone = {int(part) for part in text.split(", ")}
    return tuple(size for k, size in enumerate(shape) if k not in gone)


def _joined(shapes: list[Shape], text: str) -> Shape:
    axis = int(text)
    return tuple(sum(s[axis] for s in shapes) if k == axis else size for k, size in enumerate(shapes[0]))


def _contracted(shapes: list[Shape], text: str) -> Shape:
    inner, _, outer = text.partition("->")
    sizes = {
        letter: size
        for s, names in zip(shapes, inner.split(","), strict=True)
        for letter, size in zip(names, s, strict=True)
    }
    return tuple(sizes[letter] for letter in outer)


def _stacked(shapes: list[Shape], text: str) -> Shape:
    axis, shape = int(text), _broadcast(shapes)
    return (*shape[:axis], len(shapes), *shape[axis:])


_RULES: dict[str, Callable[[list[Shape]], Shape]] = {
    "transpose": lambda s: s[0][::-1],
    "matmul": lambda s: (*s[0][:-1], *(s[1][:-2] + s[1][-1:] if len(s[1]) > 1 else ())),
    "interpolate": lambda s: s[0],
    "conv": lambda s: _convolved(s, str(len(s[0]))),
    "pick": lambda s: _broadcast(s)[:-1],
    "gathered": lambda s: (*_broadcast(s[1:]), *s[0][len(s) - 1 :]),
}
_AXES: dict[str, Callable[[list[Shape], str], Shape]] = {
    "element ": lambda s, text: _indexed(s[0], text),
    "axes ": lambda s, text: _aligned(s[0], text),
    "transposed ": lambda s, text: tuple(s[0][int(k)] for k in text.split(", ")),
    "joined ": _joined,
    "stacked ": _stacked,
    "einsum ": _contracted,
    "conv ": _convolved,
    **{f"{kind} along ": (lambda s, text: _reduced(s[0], text)) for kind in REDUCTIONS},
}
"""By how the name begins, of the shapes of the arguments and the rest of the name"""
