"""Expressions of the IR as Python text for JAX; a node that is not in our tables is a bug, never text."""

from __future__ import annotations

import math
from fractions import Fraction

from dpl.compiler import noise
from dpl.compiler.algebra import INFINITY, TIME, Expr, Symbol, function_name, network_path, sp
from dpl.compiler.arrays import LAYOUTS
from dpl.compiler.literals import quoted
from dpl.compiler.lookups import lookup_of
from dpl.language.builtins import FUNCTIONS

MOST_ORDERED = 50
"""Terms of a sum that are put in the order of a textbook"""

_SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(5)
_COMPARE = {"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!="}
_PAIRWISE = {"min": "jnp.minimum", "max": "jnp.maximum", "and": "jnp.logical_and", "or": "jnp.logical_or"}
_CALLS = {
    "not": "jnp.logical_not",
    "Abs": "jnp.abs",
    "choose": "dpl.choose",
    "array": "dpl.array",
    "array_min": "jnp.min",
    "array_max": "jnp.max",
    "transpose": "jnp.transpose",
    "joined": "groups.Joined",
    "runs_mean": "jnp.mean",
    "runs_median": "jnp.median",
    "runs_max": "jnp.max",
    "runs_min": "jnp.min",
    "runs_quantile": "jnp.quantile",
    "runs_cvar": "dpl.runs_cvar",
    "runs_sd": "dpl.runs_sd",
    **{f"smooth_{n}": f"dpl.smooth_{n}" for n in ("abs", "sign", "step", "max", "min", "relu", "clip", "choose")},
    **{row.name: row.jax for row in FUNCTIONS.values() if row.name != "choose"},
    "pick": FUNCTIONS["choose"].jax,
}
_ALONG = {"sum": "sum", "mean": "mean", "product": "prod", "min": "min", "max": "max"}
AXES = (*LAYOUTS, "einsum ", "conv ", *(f"{kind} along " for kind in _ALONG))
ARRAYS = ("full", "gathered", "count", "whole")


class Printer:
    """Prints expressions with the given names of symbols and of networks."""

    np = "jnp"
    """What functions of arrays are in"""

    def __init__(self, names: dict[Symbol, str], networks: dict[str, tuple[str, bool]]):
        self.names = names
        self.networks = networks
        """Path -> its spec's name, whether it has several results"""

    def text(self, expr: Expr, outer: int = _SUM) -> str:
        """The expression, in parentheses where what is around it binds tighter."""
        text, level = self._print(expr)
        return f"({text})" if level < outer else text

    def _print(self, expr: Expr) -> tuple[str, int]:
        if isinstance(expr, sp.Symbol):
            return self.symbol(expr), _ATOM
        if isinstance(expr, sp.Number | sp.NumberSymbol):
            return self.number(expr)
        if isinstance(expr, sp.Add):
            return self.add(expr), _SUM
        if isinstance(expr, sp.Mul):
            return self.mul(expr)
        if isinstance(expr, sp.Pow):
            return self.power(expr)
        if isinstance(expr, sp.Function):
            return self.function(expr)
        raise AssertionError(f"cannot print {type(expr).__name__}: a bug in DPL")

    def symbol(self, symbol: Symbol) -> str:
        if symbol == TIME:
            return "time"
        if symbol == INFINITY:
            return "jnp.inf"
        return self.names[symbol]

    def number(self, expr: Expr) -> tuple[str, int]:
        if isinstance(expr, sp.NumberSymbol):
            return ("jnp.pi" if expr is sp.pi else repr(float(expr))), _ATOM
        return _number(expr)

    def unused(self, wish: str) -> str:
        """The wish, or something like it that no symbol is called."""
        while wish in self.names.values():
            wish += "_"
        return wish

    def add(self, expr: Expr) -> str:
        parts: list[str] = []
        for term in expr.as_ordered_terms() if len(expr.args) <= MOST_ORDERED else expr.args:
            minus = _negative(term)
            text = self.text(-term if minus else term, _PRODUCT)
            parts.append(f" {'-' if minus else '+'} {text}" if parts else f"-{text}" if minus else text)
        return "".join(parts)

    def mul(self, expr: Expr) -> tuple[str, int]:
        if _negative(expr):
            text = self.text(-expr, _PRODUCT)
            return f"-{text}", _SIGN if "*" not in text and "/" not in text else _PRODUCT
        above: list[Expr] = []
        below: list[Expr] = []
        coefficient, factors = expr.as_coeff_mul()
        for factor in factors:
            if isinstance(factor, sp.Pow) and _negative(factor.exp):
                below.append(sp.Pow(factor.base, -factor.exp))
            else:
                above.append(factor)
        front = [self.text(coefficient, _PRODUCT)] if coefficient != 1 else []
        top = "*".join([*front, *(self.text(f, _SIGN) for f in sorted(above, key=_factor_order))]) or "1.0"
        if not below:
            return top, _PRODUCT
        bottom = "*".join(self.text(f, _SIGN) for f in sorted(below, key=_factor_order))
        return self.quotient(expr, top, bottom if len(below) == 1 else f"({bottom})")

    def quotient(self, expr: Expr, top: str, bottom: str) -> tuple[str, int]:
        """The text of `expr`, which divides the one by the other."""
        return f"{top}/{bottom}", _PRODUCT

    def power(self, expr: Expr) -> tuple[str, int]:
        base, exponent = expr.base, expr.exp
        if expr.is_number:
            return repr(float(expr)), _ATOM
        if exponent == sp.Rational(1, 2):
            return f"dpl.sqrt({self.text(base)})", _ATOM
        if _negative(exponent):
            return self.quotient(expr, "1", self.text(sp.Pow(base, -exponent), _SIGN))
        if exponent.is_Integer:
            return f"{self.text(base, _ATOM)}**{exponent}", _POWER
        if base.is_Symbol and exponent == sp.Rational(3, 2):
            return f"{self.text(base)}*dpl.sqrt({self.text(base)})", _PRODUCT
        return f"dpl.power({self.text(base)}, {self.text(exponent)})", _ATOM

    def function(self, expr: Expr) -> tuple[str, int]:
        name, args = function_name(expr), expr.args
        if name in _COMPARE:
            a, b = (self.text(x, _PRODUCT) for x in args)
            return f"({a} {_COMPARE[name]} {b})", _ATOM
        if name in _PAIRWISE:
            return self.pairwise(_PAIRWISE[name], [self.text(a) for a in args]), _ATOM
        if name in _CALLS:
            return f"{_CALLS[name]}({', '.join(self.text(a) for a in args)})", _ATOM
        if network_path(expr) is not None:
            return self.network(expr), _ATOM
        if name in ARRAYS or name.startswith(AXES):
            return self.array(name, args), _ATOM
        found = lookup_of(expr)
        if found is not None:
            return self.lookup(args[0], args[1], *found), _ATOM
        if name.startswith(noise.STREAM):
            return f"noise.stream({self.text(args[0])}, {quoted(name.removeprefix(noise.STREAM))})", _ATOM
        if name.startswith("freed "):
            return f"dpl.freed(values, {quoted(name.removeprefix('freed '))}, {self.text(args[0])})", _ATOM
        return self.special(name, args), _ATOM

    def lookup(self, points: Symbol, x: Expr, using: str, order: int) -> str:
        """What a table or a column of data is at x, or its derivative of some order."""
        call = f"({self.symbol(points)}, {self.text(x)}, {quoted(using)}{f', {order}' if order > 1 else ''})"
        return f"dpl.lookup{'_slope' if order else ''}{call}"

    def special(self, name: str, args: tuple[Expr, ...]) -> str:
        """What is not written as a call of the same arguments."""
        match name:
            case "true" | "false":
                return name.capitalize()
            case "nan":
                return "jnp.nan"
            case "matmul":
                return f"({self.text(args[0], _SIGN)} @ {self.text(args[1], _SIGN)})"
            case "cot":
                return f"(1/dpl.tan({self.text(args[0])}))"
            case "zeros":
                return f"jnp.zeros({_shape(args)})"
            case "result":
                return self.result(*args)
            case _ if name in noise.STANDARD:
                shape = f", {_shape(args[2:])}" if args[2:] else ""
                return f"noise.{noise.STANDARD[name]}({self.text(args[0])}, {self.text(args[1])}{shape})"
            case _:
                raise AssertionError(f"cannot print the function {name}: a bug in DPL")

    def array(self, name: str, args: tuple[Expr, ...]) -> str:
        """Axes, slices and places of elements, and reductions along axes."""
        kind, _, rest = name.partition(" ")
        texts = [self.text(a) for a in args if not a.is_Integer or kind in ("full", "written")]
        match kind:
            case "element" | "axes":
                return f"{self.text(args[0], _ATOM)}[{rest}]"
            case "full":
                return f"{self.np}.broadcast_to({texts[0]}, {_shape(args[1:])})"
            case "joined":
                return f"{self.np}.concatenate([{', '.join(texts)}]{_axis(rest)})"
            case "stacked":
                return f"{self.np}.stack([{', '.join(texts)}]{_axis(rest)})"
            case "transposed":
                return f"{self.text(args[0], _ATOM)}.transpose({rest})"
            case "einsum":
                return f"{self.np}.einsum({', '.join([quoted(rest), *texts])})"
            case "conv":
                return self.conv(texts, rest)
            case "gathered":
                return f"{self.text(args[0], _ATOM)}[{', '.join(texts[1:])}]"
            case "written":
                sizes = [a for a in args if a.is_Integer]
                return self.written(_shape(tuple(sizes)), rest, texts[len(sizes) :])
            case "count":
                return self.count(int(args[0]), int(args[1]))
            case "whole":
                return self.whole(texts[0])
            case _:
                along = rest.removeprefix("along ")
                axis = f"({along})" if "," in along else along
                return self.along(_ALONG[kind], texts[0], axis)

    def along(self, function: str, text: str, axis: str) -> str:
        """A reduction along some axes."""
        return f"dpl.total({text}, axis={axis})" if function == "sum" else f"jnp.{function}({text}, axis={axis})"

    def conv(self, texts: list[str], rank: str) -> str:
        """In so many axes, the last ones."""
        return f"dpl.conv({', '.join(texts)}, {rank})"

    def count(self, low: int, high: int) -> str:
        return f"dpl.count({low}, {high})"

    def whole(self, text: str) -> str:
        return f"dpl.whole({text})"

    def written(self, shape: str, places: str, texts: list[str]) -> str:
        writes = (f".at[{place}].set({text})" for place, text in zip(places.split(" | "), texts, strict=True))
        return f"jnp.zeros({shape}){''.join(writes)}"

    @staticmethod
    def pairwise(function: str, args: list[str]) -> str:
        text = args[0]
        for other in args[1:]:
            text = f"{function}({text}, {other})"
        return text

    def network(self, call: Expr) -> str:
        spec, _ = self.networks[network_path(call) or ""]
        return f"networks.apply({', '.join([spec, *map(self.text, call.args)])})"

    def result(self, call: Expr, position: Expr) -> str:
        path = network_path(call)
        single = path is not None and not self.networks[path][1]
        return self.text(call, _ATOM) if single else f"{self.text(call, _ATOM)}[{position}]"


def _negative(expr: Expr) -> bool:
    if isinstance(expr, sp.Number):
        return bool(expr.is_negative)
    return isinstance(expr, sp.Mul) and bool(expr.args[0].is_Number and expr.args[0].is_negative)


def _factor_order(expr: Expr) -> tuple[int, str]:
    """Numbers and plain symbols first, sums and calls last."""
    if expr.is_Symbol:
        return 1, expr.name
    return 0 if expr.is_Number else 2 if isinstance(expr, sp.Pow) else 3, ""


def _number(value: Expr) -> tuple[str, int]:
    if isinstance(value, sp.Rational):
        if value.is_negative:
            return f"-{_number(-value)[0]}", _SIGN
        text = _fraction(value)
        return text, _PRODUCT if "/" in text else _ATOM
    number = float(value)
    if not math.isfinite(number):
        raise AssertionError("a number that is not finite reached the printer: a bug in DPL")
    return repr(number), _ATOM if number >= 0 else _SIGN


def _fraction(value: Expr) -> str:
    """A positive rational: `2.0`, `0.125`, or `3/7`; always a float to Python."""
    exact = Fraction(int(value.p), int(value.q))
    if _decimal(value) or max(exact.numerator, exact.denominator) > 10**6:
        return repr(float(exact))
    return f"{exact.numerator}/{exact.denominator}"


def _decimal(value: Expr) -> bool:
    """Whether the number is short as a decimal."""
    text = repr(float(value))
    return len(text) <= 12 and Fraction(text) == Fraction(int(value.p), int(value.q))


def _axis(text: str) -> str:
    return "" if text == "0" else f", axis={text}"


def _shape(args: tuple[Expr, ...]) -> str:
    return f"({', '.join(str(int(a)) for a in args)}{',' if len(args) == 1 else ''})"
