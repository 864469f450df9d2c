"""Expressions of the IR as Python text for `math` and NumPy: numbers stay Python's floats, arrays NumPy's."""

from __future__ import annotations

import ast
import inspect
from functools import cache

from dpl.compiler import scalars
from dpl.compiler.algebra import CONDITIONS, INFINITY, Expr, Symbol, function_name, network_path, sp
from dpl.compiler.lookups import lookup_of
from dpl.compiler.printer import ARRAYS, AXES, Printer
from dpl.compiler.shapes import Shapes

_SUM, _PRODUCT, _SIGN, _ATOM = 0, 1, 2, 4
_MATH = {n: f"math.{n}" for n in ("atan", "atan2", "tanh", "asinh", "erf")}
_SCALAR = {"abs": "abs", "Abs": "abs", "min": "minimum", "max": "maximum", "round": "rint", **_MATH}
"""Functions of numbers by other names than their own; all others are in `scalars.py`"""
_NUMPY = {
    **{n: f"np.{n}" for n in "exp log log10 log2 sqrt cbrt sign floor ceil mod clip hypot sin cos tan".split()},
    **{n: f"np.{n}" for n in "sinh cosh tanh power divide".split()},
    **{n: f"np.arc{n[1:]}" for n in ("asin", "acos", "atan", "atan2", "asinh", "acosh", "atanh")},
    **{"abs": "np.abs", "Abs": "np.abs", "round": "np.rint", "min": "np.minimum", "max": "np.maximum"},
    **{"and": "np.logical_and", "or": "np.logical_or", "not": "np.logical_not", "choose": "np.where"},
}
"""Functions of arrays, element by element; all others are mapped over them"""
_WHOLE = {
    **{n: f"np.{n}" for n in ("sum", "mean", "dot", "transpose")},
    **{"product": "np.prod", "array_min": "np.min", "array_max": "np.max", "norm": "np.linalg.norm"},
    "interpolate": "np.interp",
}
"""Functions of whole arrays"""


class NotPlain(Exception):
    """A function of the language, by its name, that has no form in plain Python yet."""


class PlainPrinter(Printer):
    """Prints expressions; `used` gathers the functions of `scalars.py` that the text calls."""

    np = "np"

    def __init__(self, names: dict[Symbol, str], networks: dict[str, tuple[str, bool]], shapes: Shapes):
        super().__init__(names, networks)
        self.shapes = shapes
        self.used: set[str] = set()

    def symbol(self, symbol: Symbol) -> str:
        return "math.inf" if symbol == INFINITY else super().symbol(symbol)

    def number(self, expr: Expr) -> tuple[str, int]:
        return ("math.pi", _ATOM) if expr is sp.pi else super().number(expr)

    def quotient(self, expr: Expr, top: str, bottom: str) -> tuple[str, int]:
        if self.shapes.of(expr):
            return super().quotient(expr, top, bottom)
        return self.scalar("divide", top, _bare(bottom)), _ATOM

    def power(self, expr: Expr) -> tuple[str, int]:
        base, exponent = expr.base, expr.exp
        if expr.is_number or (exponent.is_number and exponent.is_negative):
            return super().power(expr)
        if exponent == sp.Rational(1, 2):
            return self.each("sqrt", [base], [self.text(base)]), _ATOM
        if base.is_Symbol and exponent == sp.Rational(3, 2):
            name = self.symbol(base)
            return f"{name}*{self.each('sqrt', [base], [name])}", _PRODUCT
        if base.is_Symbol and exponent in (2, 3):
            return "*".join([self.symbol(base)] * int(exponent)), _PRODUCT
        return self.each("power", [base, exponent], [self.text(base), self.text(exponent)]), _ATOM

    def function(self, expr: Expr) -> tuple[str, int]:
        name, args = function_name(expr), expr.args
        path = network_path(expr)
        if path is not None and self.shapes.batch(expr):
            raise NotPlain("a network at each index")
        if path is not None:
            return f"{self.networks[path][0]}({', '.join(map(self.text, args[1:]))})", _ATOM
        if name == "conv":
            return self.conv([self.text(a) for a in args], str(len(self.shapes.of(args[0])))), _ATOM
        if name == "pick":
            self.used.add(name)
            return f"pick({', '.join(map(self.text, args[:2]))})", _ATOM
        if name in _WHOLE:
            return self.number_of(expr, f"{_WHOLE[name]}({', '.join(map(self.text, args))})"), _ATOM
        if name in ("and", "or", "not", "choose", "min", "max") or name in scalars_named():
            return self.elementwise(name, args), _ATOM
        if name in _NUMPY or name in _SCALAR:
            return self.each(name, args, [self.text(a) for a in args]), _ATOM
        if name in ("argument", "matmul", "zeros", "full", "array", "cot") or name.startswith("element "):
            return self.arrays(name, expr), _ATOM
        if name in ARRAYS or name.startswith(AXES):
            return self.number_of(expr, self.array(name, args)), _ATOM
        if name in CONDITIONS or name == "result" or lookup_of(expr) is not None:
            return super().function(expr)
        raise NotPlain(name)

    # ------------------------------------------------------------ functions of numbers, and of each element

    def elementwise(self, name: str, args: tuple[Expr, ...]) -> str:
        texts = [self.text(a) for a in args]
        if name in ("and", "or", "not", "choose") and not any(self.shapes.of(a) for a in args):
            match name, texts:
                case "not", [a]:
                    return f"(not {a})"
                case "choose", [condition, a, b]:
                    return f"({a} if {_bare(condition)} else {b})"
                case _:
                    return f"({f' {name} '.join(texts)})"
        if name in ("and", "or", "min", "max"):
            text = texts[0]
            for other in texts[1:]:
                text = self.each(name, args, [text, other])
            return text
        return self.each(name, args, texts)

    def each(self, name: str, args: tuple[Expr, ...] | list[Expr], texts: list[str]) -> str:
        """The call of a function of numbers, for each element if any argument is an array."""
        if not any(self.shapes.of(a) for a in args):
            return self.scalar(name, *texts)
        if name in _NUMPY:
            return f"{_NUMPY[name]}({', '.join(texts)})"
        function = self.scalar(name).removesuffix("()")
        return f"np.vectorize({function}, otypes=[float])({', '.join(texts)})"

    def scalar(self, name: str, *texts: str) -> str:
        function = _SCALAR.get(name, name)
        if function in scalars_named():
            self.used.add(function)
        elif name not in _SCALAR:
            raise NotPlain(name)
        return f"{function}({', '.join(texts)})"

    # ------------------------------------------------------------ arrays

    def lookup(self, points: Symbol, x: Expr, using: str, order: int) -> str:
        if order:
            raise NotPlain("slope of a table")
        if using != "linear":
            self.used.add(using)
        call = f"{using if using != 'linear' else 'np.interp'}({self.text(x)}, *{self.symbol(points)})"
        return call if self.shapes.of(x) else f"float({call})"

    def along(self, function: str, text: str, axis: str) -> str:
        return f"np.{function}({text}, axis={axis})"

    def conv(self, texts: list[str], rank: str) -> str:
        self.used.add("conv")
        return f"conv({', '.join(texts)}, {rank})"

    def count(self, low: int, high: int) -> str:
        return f"np.arange({low}.0, {high + 1}.0)"

    def whole(self, text: str) -> str:
        return f"np.rint({text}).astype(int)"

    def written(self, shape: str, places: str, texts: list[str]) -> str:
        raise NotPlain("equations of pieces that no straight cuts part")

    def number_of(self, expr: Expr, text: str) -> str:
        """The text, as Python's float if it is a number."""
        return text if self.shapes.of(expr) else f"float({text})"

    def arrays(self, name: str, expr: Expr) -> str:
        args, shape = expr.args, self.shapes.of(expr)
        first = self.text(args[0], _ATOM) if args else ""
        match name:
            case "argument":
                return f"np.array({first}, float).reshape({shape})" if shape else f"float({first})"
            case "matmul":
                return self.number_of(expr, f"({self.text(args[0], _SIGN)} @ {self.text(args[1], _SIGN)})")
            case "zeros":
                return f"np.zeros({shape})"
            case "full":
                return f"np.broadcast_to({self.text(args[0])}, {shape})"
            case "cot":
                return self.quotient(expr, "1.0", self.each("tan", args, [self.text(args[0])]))[0]
            case "array":
                items = ", ".join(map(self.text, args)) + ("," if len(args) == 1 else "")
                same = len({self.shapes.of(a) for a in args}) == 1
                return f"np.array(({items}))" if same else f"np.stack(np.broadcast_arrays({items}))"
            case _:
                return self.number_of(expr, f"{first}[{name.removeprefix('element ')}]")


def _bare(text: str) -> str:
    """The text without parentheses around all of it."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return text[1:-1] if character == ")" and position == len(text) - 1 and text[0] == "(" else text
    return text


# ---------------------------------------------------------------- what is pasted


@cache
def scalars_named() -> dict[str, tuple[str, frozenset[str]]]:
    """Each function of `scalars.py` in order: its text, and the names that it uses."""
    source = inspect.getsource(scalars)
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef(name=name):
                pass
            case ast.Assign(targets=[ast.Name(id=name)]):
                pass
            case _:
                continue
        text = ast.get_source_segment(source, node)
        assert text is not None
        found[name] = text, frozenset(n.id for n in ast.walk(node) if isinstance(n, ast.Name)) - {name}
    return found


def with_needed(used: set[str]) -> set[str]:
    """The functions that are used, and those that they use."""
    known = scalars_named()
    needed: set[str] = set()
    waiting = list(used)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += [n for n in known[name][1] if n in known]
    return needed


def mathematics(used: set[str]) -> list[str]:
    """The lines of the functions that are used, and of those that they use."""
    needed = with_needed(used)
    lines: list[str] = []
    short = True
    for text in (text for name, (text, _) in scalars_named().items() if name in needed):
        lines += ["", ""] if lines and not (short and "\n" not in text) else []
        lines += text.splitlines()
        short = "\n" not in text
    return lines
