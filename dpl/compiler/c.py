"""Expressions and statements of the IR as C99: numbers are doubles, arrays are flat and unrolled into loops.

The text of a number follows that of `plain.py` operation by operation, so that both round alike. An array is never a
value: its element at an index is text, and what needs all of it at once (sums, products, tables) is first written into
an array of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial

from dpl.compiler import ir
from dpl.compiler.algebra import CONDITIONS, INFINITY, TIME, Expr, Symbol, function_name, network_path, sp
from dpl.compiler.codegen import plain
from dpl.compiler.lookups import lookup_of
from dpl.compiler.plain import NotPlain
from dpl.compiler.points import columns
from dpl.compiler.printer import Printer
from dpl.compiler.scalars_c import FUNCTIONS
from dpl.compiler.shapes import Shape, Shapes
from dpl.language.model import NetworkUse, TableUse

INDICES = ("i", "j", "k", "l", "m", "n")
"""Of loops over the axes of an array"""

_SUM, _PRODUCT, _SIGN, _ATOM = 0, 1, 2, 4
_NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?")
_LIBRARY = {
    **{n: n for n in "exp log log10 log2 sqrt sin cos tan asin acos atan atan2 sinh cosh tanh".split()},
    **{n: n for n in "asinh acosh atanh erf floor ceil lgamma pow".split()},
    **{"abs": "fabs", "Abs": "fabs", "round": "rint", "gamma": "tgamma", "power": "pow"},
}
"""Functions of the language by their names in <math.h>"""
_OWN = {"min": "minimum", "max": "maximum", "mod": "modulo", "hypot": "hypotenuse", "cbrt": "cube_root"}
"""Functions of `scalars_c.py` by other names than their own, which <math.h> has"""
_REDUCED = {"array_min": "least", "array_max": "greatest", **{n: n for n in ("sum", "mean", "product", "norm")}}


Target = Callable[..., str]
"""What stands at an index, given as texts"""


@dataclass(frozen=True)
class Called:
    """A network as C has it: `name(inputs…, out)` writes all its outputs into one array."""

    name: str
    use: NetworkUse

    @property
    def size(self) -> int:
        return sum(math.prod(p.shape) for p in self.use.outputs)


class CPrinter(Printer):
    """Prints expressions of one function. `used` gathers the functions of `scalars_c.py` that the text calls.

    `before` gathers the lines that must stand before the statement in which the text is used.
    """

    def __init__(
        self,
        names: dict[Symbol, str],
        networks: Mapping[str, Called],
        shapes: Shapes,
        used: set[str],
        tables: Mapping[Symbol, TableUse],
    ):
        super().__init__(names, {path: (c.name, len(c.use.outputs) > 1) for path, c in networks.items()})
        self.called, self.shapes, self.used, self.tables = networks, shapes, used, tables
        self.before: list[str] = []
        self._index: tuple[str, ...] = ()
        self._arrays: dict[Expr, str] = {}
        self._taken: set[str] = set(names.values())

    # ------------------------------------------------------------ numbers

    def element(self, expr: Expr, index: Sequence[str], outer: int = _SUM) -> str:
        """The text of a number, or of an array's element."""
        before, self._index = self._index, tuple(index)
        text = self.text(expr, outer)
        self._index = before
        return text

    def symbol(self, symbol: Symbol) -> str:
        if symbol == INFINITY:
            return "INFINITY"
        if symbol == TIME:
            return "t"
        shape = self.shapes.of_symbol(symbol)
        return at(self.names[symbol], shape, self.here(shape)) if shape else self.names[symbol]

    def here(self, shape: Shape) -> tuple[str, ...]:
        """The index within what has this shape: axes align from the last on, and one of one element is for all."""
        index = self._index[len(self._index) - len(shape) :]
        return tuple("0" if size == 1 else i for size, i in zip(shape, index, strict=True))

    def number(self, expr: Expr) -> tuple[str, int]:
        if isinstance(expr, sp.NumberSymbol):
            return repr(float(expr)), _ATOM
        text, level = super().number(expr)
        return _NUMBER.sub(lambda m: real(m[0]), text), level

    def quotient(self, expr: Expr, top: str, bottom: str) -> tuple[str, int]:
        return f"{real(top)}/{bottom}", _PRODUCT

    def power(self, expr: Expr) -> tuple[str, int]:
        base, exponent = expr.base, expr.exp
        if expr.is_number:
            return repr(float(expr)), _ATOM
        if exponent.is_number and exponent.is_negative:
            return self.quotient(expr, "1", self.text(sp.Pow(base, -exponent), _SIGN))
        if exponent == sp.Rational(1, 2):
            return f"sqrt({self.text(base)})", _ATOM
        if base.is_Symbol and exponent == sp.Rational(3, 2):
            return f"{self.symbol(base)}*sqrt({self.symbol(base)})", _PRODUCT
        if base.is_Symbol and exponent in (2, 3):
            return "*".join([self.symbol(base)] * int(exponent)), _PRODUCT
        return f"pow({self.text(base)}, {self.text(exponent)})", _ATOM

    def function(self, expr: Expr) -> tuple[str, int]:
        name, args = function_name(expr), expr.args
        match name:
            case "true" | "false":
                return str(int(name == "true")), _ATOM
            case "nan":
                return "NAN", _ATOM
            case "not":
                return f"(!{self.text(args[0], _ATOM)})", _ATOM
            case "and" | "or":
                return (
                    f"({' && '.join(map(self.text, args)) if name == 'and' else ' || '.join(map(self.text, args))})",
                    _ATOM,
                )
            case "choose":
                return f"({self.text(args[0])} ? {self.text(args[1])} : {self.text(args[2])})", _ATOM
            case "cot":
                return f"1.0/tan({self.text(args[0])})", _PRODUCT
            case "argument":
                return self.text(args[0]), _ATOM
            case "min" | "max":
                return self.pairwise(self.own(name), [self.text(a) for a in args]), _ATOM
            case _ if name in CONDITIONS or lookup_of(expr) is not None:
                return super().function(expr)
            case _ if name in _LIBRARY or (_OWN.get(name, name) in FUNCTIONS and name not in _WHOLE):
                return f"{_LIBRARY.get(name) or self.own(name)}({', '.join(map(self.text, args))})", _ATOM
            case _:
                return self.of_arrays(name, expr), _ATOM

    def lookup(self, points: Symbol, x: Expr, using: str, order: int) -> str:
        if order:
            raise NotPlain("slope of a table")
        use = self.tables[points]
        name, called = self.names[points], "interpolate" if using == "linear" else using
        arrays = ", ".join(f"{name}_{word}" for word in columns(use))
        return f"{self.own(called)}({self.text(x)}, {len(use.knots)}, {arrays})"

    def own(self, name: str) -> str:
        """A function of `scalars_c.py`, which the file then holds."""
        name = _OWN.get(name, name)
        self.used.add(name)
        return name

    # ------------------------------------------------------------ arrays

    def of_arrays(self, name: str, expr: Expr) -> str:
        args, shape = expr.args, self.shapes.of(expr)
        kind, _, rest = name.partition(" ")
        if name in _REDUCED:
            return f"{self.own(_REDUCED[name])}({self.size(args[0])}, {self.held(args[0])})"
        if rest.startswith("along ") or kind in _PLACED:
            return at(self.held(expr), shape or (1,), self.here(shape) or ("0",))
        index = self.here(shape)
        match kind:
            case "dot" | "pick":
                return f"{self.own(name)}({self.size(args[0])}, {self.held(args[0])}, {self.held(args[1])})"
            case "interpolate":
                table = f"{self.size(args[1])}, {self.held(args[1])}, {self.held(args[2])}"
                return f"{self.own(name)}({self.text(args[0])}, {table})"
            case "zeros":
                return "0.0"
            case "full":
                return self.text(args[0])
            case "whole":
                return f"rint({self.text(args[0])})"
            case "count":
                return f"(double)({added(index[0], int(args[0]))})"
            case "result":
                if shape != self.shapes.ports(args[0])[int(args[1])].shape:
                    raise NotPlain("a network at each index")
                return self.result(*args)
            case "matmul":
                return at(self.product(expr), shape or (1,), index or ("0",))
            case "array" if not index[0].isdigit():
                return at(self.held(expr), shape, index)
            case _:
                return self.element(*self.elsewhere(kind, rest, expr, index))

    def elsewhere(self, kind: str, rest: str, expr: Expr, index: tuple[str, ...]) -> tuple[Expr, Sequence[str]]:
        """What an element of the expression is an element of, and at which index."""
        args = expr.args
        match kind:
            case "array":
                return args[int(index[0])], index[1:]
            case "transpose":
                return args[0], index[::-1]
            case "transposed":
                found = dict(zip(map(int, rest.split(", ")), index, strict=True))
                return args[0], [found[axis] for axis in range(len(found))]
            case "element":
                return args[0], within(rest.split(", "), index)
            case "axes":
                parts = rest.split(", ")
                kept = [i for part, i in zip(parts, index, strict=False) if part != "None"]
                return args[0], [*kept, *index[len(parts) :]]
            case "gathered":
                places = len(index) - len(self.shapes.of(args[0])) + len(args) - 1
                return args[0], [*(f"(int){self.element(a, index[:places], _ATOM)}" for a in args[1:]), *index[places:]]
            case _:
                raise NotPlain(kind)

    def size(self, expr: Expr) -> int:
        return math.prod(self.shapes.of(expr))

    def held(self, expr: Expr) -> str:
        """The name of a C array that holds all elements of an array, row by row."""
        if expr.is_Symbol:
            return self.names[expr]
        if expr not in self._arrays:
            name, shape = self.fresh("a"), self.shapes.of(expr)
            lines = self.filled(name, expr, shape)
            self.before += [f"double {name}[{math.prod(shape)}];", *lines]
            self._arrays[expr] = name
        return self._arrays[expr]

    def filled(self, name: str, expr: Expr, shape: Shape, start: int = 0) -> list[str]:
        """The lines that write every element of an array, from `name[start]` on."""
        kind, _, rest = function_name(expr).partition(" ")

        def target(*index: str) -> str:
            return f"{name}[{added(flat(shape, index), start)}]"

        match kind:
            case "array" | "stacked":
                axis, lines = int(rest or 0), list[str]()
                for k, item in enumerate(expr.args):
                    inner = (*shape[:axis], *shape[axis + 1 :])
                    lines += self.loops(partial(_inserted, target, axis, str(k)), item, inner)
                return lines
            case "joined":
                axis, at_, lines = int(rest), 0, list[str]()
                for item in expr.args:
                    inner = self.shapes.of(item)
                    lines += self.loops(partial(_shifted, target, axis, at_), item, inner)
                    at_ += inner[axis]
                return lines
            case "written":
                return self.placed(target, expr, rest, shape)
            case "einsum":
                inner, _, outer = rest.partition("->")
                return self.contracted(target, list(zip(expr.args, inner.split(","), strict=True)), outer, "sum")
            case "conv":
                return self.convolved(target, expr, int(rest or len(shape)))
            case _ if rest.startswith("along "):
                letters = INDICES[: len(self.shapes.of(expr.args[0]))]
                gone = {int(axis) for axis in rest.removeprefix("along ").split(", ")}
                outer = "".join(i for k, i in enumerate(letters) if k not in gone)
                return self.contracted(target, [(expr.args[0], "".join(letters))], outer, kind)
            case _:
                return self.loops(target, expr, shape)

    def loops(self, target: Target, expr: Expr, shape: Shape) -> list[str]:
        """An assignment for every index of the shape."""
        index = INDICES[: len(shape)]
        return nested(dict(zip(index, shape, strict=True)), [f"{target(*index)} = {self.element(expr, index)};"])

    def placed(self, target: Target, expr: Expr, places: str, shape: Shape) -> list[str]:
        """Zeros, and over them each value in its place, a subscript such as `1:4, 0`."""
        index = INDICES[: len(shape)]
        lines = nested(dict(zip(index, shape, strict=True)), [f"{target(*index)} = 0.0;"])
        values = expr.args[len(shape) :]
        for place, value in zip(places.split(" | "), values, strict=True):
            subscripts = place.split(", ")
            sizes: list[int] = []
            for subscript, size in zip(subscripts, shape, strict=False):
                low, colon, high = subscript.partition(":")
                sizes += [int(high or size) - int(low or 0)] if colon else []
            sizes += shape[len(subscripts) :]
            lines += self.loops(partial(_within, target, subscripts), value, tuple(sizes))
        return lines

    def contracted(self, target: Target, factors: Sequence[tuple[Expr, str]], outer: str, kind: str) -> list[str]:
        """For each index of `outer` the sum, or another reduction, over all other letters of a product of elements."""
        sizes: dict[str, int] = {}
        for expr, letters in factors:
            sizes |= dict(zip(letters, self.shapes.of(expr), strict=True))
        index = dict(zip((*outer, *(c for c in sizes if c not in outer)), INDICES, strict=False))
        texts = [self.element(e, [index[c] for c in letters], _SIGN) for e, letters in factors]
        first, change = _CONTRACTIONS[kind]
        if kind in ("min", "max"):
            self.own(kind)
        inner = {index[c]: size for c, size in sizes.items() if c not in outer}
        total = f"total/{math.prod(inner.values())}" if kind == "mean" else "total"
        lines = [f"double total = {first};", *nested(inner, [change.format("*".join(texts))])]
        return nested({index[c]: sizes[c] for c in outer}, [*lines, f"{target(*(index[c] for c in outer))} = {total};"])

    def convolved(self, target: Target, expr: Expr, rank: int) -> list[str]:
        """For each place at which a kernel fits into an image, in the last axes, the sum of products of the two."""
        shape = self.shapes.of(expr)
        index, inner = INDICES[: len(shape)], INDICES[len(shape) : len(shape) + rank]
        factors: list[str] = []
        for operand, last in zip(expr.args, ([*map(added, index[-rank:], inner)], inner), strict=True):
            own = self.shapes.of(operand)
            before = index[len(index) - len(own) : len(index) - rank]
            where = ["0" if size == 1 else i for size, i in zip(own, before, strict=False)]
            factors.append(at(self.held(operand), own, [*where, *last]))
        sizes: dict[str, int] = dict(zip(inner, self.shapes.of(expr.args[1])[-rank:], strict=True))
        lines = ["double total = 0.0;", *nested(sizes, [f"total += {'*'.join(factors)};"])]
        places: dict[str, int] = dict(zip(index, shape, strict=True))
        return nested(places, [*lines, f"{target(*index)} = total;"])

    def product(self, expr: Expr) -> str:
        """The name of the array that holds a matrix product."""
        if expr not in self._arrays:
            left, right = (self.shapes.of(a) for a in expr.args)
            rows, inner, columns = math.prod(left[:-1]), left[-1], math.prod(right[1:])
            a, b = map(self.held, expr.args)
            name = self._arrays[expr] = self.fresh("m")
            self.before += [f"double {name}[{rows * columns}];"]
            self.before += [f"{self.own('matmul')}({rows}, {inner}, {columns}, {a}, {b}, {name});"]
        return self._arrays[expr]

    def fresh(self, wish: str) -> str:
        """A name that nothing in this function has."""
        number = 1
        while f"{wish}{number}" in self._taken:
            number += 1
        self._taken.add(f"{wish}{number}")
        return f"{wish}{number}"

    # ------------------------------------------------------------ networks

    def result(self, call: Expr, position: Expr) -> str:
        ports, offset = self.shapes.ports(call), 0
        name = self.names[call] if call.is_Symbol else self.call(call)
        for port in ports[: int(position)]:
            offset += math.prod(port.shape)
        shape = ports[int(position)].shape
        return f"{name}[{added(flat(shape, self._index), offset)}]"

    def call(self, call: Expr, name: str = "") -> str:
        """The name of the array that holds all outputs of a network."""
        if call not in self._arrays:
            network = self.called[network_path(call) or ""]
            given = zip(network.use.inputs, call.args[1:], strict=True)
            texts = [self.held(a) if p.shape else self.element(a, ()) for p, a in given]
            name = name or self.fresh("n")
            self.before += [f"double {name}[{network.size}];", f"{network.name}({', '.join([*texts, name])});"]
            self._arrays[call] = name
        return self._arrays[call]

    # ------------------------------------------------------------ statements

    def statement(self, found: ir.Statement, given: AbstractSet[str]) -> list[str]:
        """The lines of a statement; what is in `given` is declared already."""
        match found:
            case ir.Assign(target, value):
                lines = self.assigned(target, value, given)
            case ir.Solve(unknowns, rows, right):
                lines = self.solved(unknowns, rows, right)
            case _:
                raise AssertionError(f"a {type(found).__name__} passed the extraction: a bug in DPL")
        return commented([*self.taken_before(), *lines], found.origin)

    def taken_before(self) -> list[str]:
        lines, self.before = self.before, []
        return lines

    def assigned(self, target: Symbol, value: Expr, given: AbstractSet[str]) -> list[str]:
        name, shape = self.names[target], self.shapes.of_symbol(target) or self.shapes.of(value)
        if network_path(value) is not None:
            self.call(value, name)
            return []
        if shape:
            return [f"double {name}[{math.prod(shape)}];", *self.filled(name, value, shape)]
        text = self.element(value, ())
        if name in given:
            return [f"{name} = {text};"] if text != name else []
        return [f"const double {name} = {text};"]

    def solved(self, unknowns: Sequence[Symbol], rows: Sequence[Sequence[Expr]], right: Sequence[Expr]) -> list[str]:
        a, b, n = self.fresh("a"), self.fresh("b"), len(unknowns)
        matrix = ", ".join(self.element(e, ()) for row in rows for e in row)
        lines = [f"double {a}[{n * n}] = {{{matrix}}};"]
        lines += [f"double {b}[{n}] = {{{', '.join(self.element(e, ()) for e in right)}}};"]
        lines += [f"{self.own('linear_solve')}({n}, {a}, {b});"]
        return [*lines, *(f"const double {self.names[s]} = {b}[{i}];" for i, s in enumerate(unknowns))]


_PLACED = ("conv", "joined", "stacked", "written", "einsum")
_CONTRACTIONS = {
    "sum": ("0.0", "total += {};"),
    "mean": ("0.0", "total += {};"),
    "product": ("1.0", "total *= {};"),
    "min": ("INFINITY", "total = minimum({}, total);"),
    "max": ("-INFINITY", "total = maximum({}, total);"),
}
"""What a reduction begins with, and what each element does to it"""
_WHOLE = {
    "sum",
    "mean",
    "product",
    "norm",
    "dot",
    "pick",
    "interpolate",
    "previous",
    "cubic",
    "conv",
    "matmul",
    "least",
    "greatest",
    "linear_solve",
}
"""Functions of `scalars_c.py` that take arrays"""


# ---------------------------------------------------------------- indices and comments


def real(text: str) -> str:
    """The literal of a double."""
    return f"{text}.0" if text.isdigit() else text


def _inserted(target: Target, axis: int, place: str, *index: str) -> str:
    return target(*index[:axis], place, *index[axis:])


def _shifted(target: Target, axis: int, by: int, *index: str) -> str:
    return target(*index[:axis], added(index[axis], by), *index[axis + 1 :])


def _within(target: Target, subscripts: Sequence[str], *index: str) -> str:
    return target(*within(subscripts, index))


def nested(sizes: Mapping[str, int], body: Sequence[str]) -> list[str]:
    """The body in a loop for each index; alone in a block of its own if it has several lines."""
    braces = len(body) > 1
    heads = [f"for (int {i} = 0; {i} < {n}; {i}++)" for i, n in sizes.items()]
    depth = len(heads)
    opened = [*heads[:-1], heads[-1] + " {"] if braces and heads else ["{"] if braces else heads
    lines = ["    " * k + line for k, line in enumerate(opened)]
    lines += ["    " * (depth or int(braces)) + line for line in body]
    return [*lines, "    " * max(depth - 1, 0) + "}"] if braces else lines


def flat(shape: Shape, index: Sequence[str]) -> str:
    """Where the element at an index stands in the flat array."""
    text = "0"
    for size, i in zip(shape, index, strict=True):
        before = str(int(text) * size) if text.isdigit() else f"{text}*{size}" if text.isalpha() else f"({text})*{size}"
        text = added(before, i)
    return text


def at(name: str, shape: Shape, index: Sequence[str]) -> str:
    return f"{name}[{flat(shape, index)}]"


def added(a: str | int, b: str | int) -> str:
    """The sum of two indices."""
    a, b = str(a), str(b)
    if a.isdigit() and b.isdigit():
        return str(int(a) + int(b))
    return a if b == "0" else b if a == "0" else f"{a} + {b}"


def within(subscripts: Sequence[str], index: Sequence[str]) -> list[str]:
    """The index in a whole array of what stands at an index of a part of it: `1, 0:2` and `i` make `1, i`."""
    rest, result = list(index), list[str]()
    for subscript in subscripts:
        low, colon, _ = subscript.partition(":")
        result.append(added(rest.pop(0), low or 0) if colon else low)
    return result + rest


def said(text: str) -> str:
    """Text for a comment, which cannot end or begin one."""
    return plain(text).replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")


def commented(lines: list[str], origin: str) -> list[str]:
    """The lines, the last of which tells where it comes from."""
    if not lines or not origin:
        return lines
    return [*lines[:-1], f"{lines[-1]}  /* {said(origin)} */"]
