"""Expressions as a person reads them: in the notation of the language, and in LaTeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from dpl.compiler import ir
from dpl.compiler.algebra import INFINITY, TIME, Expr, Symbol, function_name, network_path, opaque, sp
from dpl.compiler.arrays import ALL, Axis, bound_axes, by_element, is_term, reduction
from dpl.compiler.lookups import lookup_of
from dpl.compiler.printer import Printer
from dpl.language.builtins import FUNCTIONS

# ---------------------------------------------------------------- plain text

_COMPARE = {"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "==", "not_equal": "!="}
_POWERS = {2: "²", 3: "³"}
_LOW, _ATOM = 0, 4


class Notation(Printer):
    """Prints expressions as one would write them in DPL, with the full names of their symbols."""

    def __init__(self) -> None:
        super().__init__({}, {})

    def symbol(self, symbol: Symbol) -> str:
        if symbol in (TIME, INFINITY):
            return symbol.name
        word, _, rest = symbol.name.partition(" ")
        match word:
            case "start":
                return f"start of {rest}"
            case "next" | "shared" | "invariant" | "inner":
                return symbol.name
            case "measure" | "weights" | "index":
                return rest
            case "reduced":
                return rest.replace(" ", "#")
            case _:
                return symbol.name

    def number(self, expr: Expr) -> tuple[str, int]:
        if isinstance(expr, sp.NumberSymbol):
            return ("π" if expr is sp.pi else repr(float(expr))), _ATOM
        text, level = super().number(expr)
        return re.sub(r"(?<=\d)\.0\b(?!e)", "", text), level

    def power(self, expr: Expr) -> tuple[str, int]:
        base, exponent = expr.base, expr.exp
        if exponent == sp.Rational(1, 2):
            return f"sqrt({self.text(base)})", _ATOM
        if exponent.is_number and exponent.is_negative:
            return f"1/{self.text(sp.Pow(base, -exponent), 2)}", 1
        if exponent in _POWERS:
            return f"{self.text(base, _ATOM)}{_POWERS[int(exponent)]}", 3
        return f"{self.text(base, _ATOM)}^{self.text(exponent, _ATOM)}", 3

    def function(self, expr: Expr) -> tuple[str, int]:
        name, args = function_name(expr), expr.args
        if name in _COMPARE:
            return f"{self.text(args[0], 1)} {_COMPARE[name]} {self.text(args[1], 1)}", _LOW
        if name in ("and", "or"):
            return f"({f' {name} '.join(map(self.text, args))})", _ATOM
        if name.startswith("element "):
            return self.subscripted(args[0], _indices(name)), _ATOM
        if name.startswith("freed "):  # a task may give another value
            return self._print(args[0])
        path = network_path(expr)
        if path is not None:
            return f"{path}({', '.join(map(self.text, args[1:]))})", _ATOM
        if is_term(expr):
            return self.term(expr), _ATOM
        found = lookup_of(expr)
        if found is not None:  # `drive'(x)` is its slope
            primes = "'" * found[1]
            return f"{_table(args[0])}{primes}({self.text(args[1])})", _ATOM
        if " " in name and not name.startswith("noise "):
            return self.moved(name, args), _ATOM
        return self._special(name, args)

    def term(self, expr: Expr) -> str:
        """What is written with indices."""
        if function_name(expr) == "at":
            return self.subscripted(expr.args[0], ", ".join(map(self.subscript, expr.args[1:])))
        kind = reduction(expr)
        if kind is not None:
            return f"{kind}({self.text(expr.args[0])} {counted(bound_axes(expr))})"
        if function_name(expr) == "each":
            return f"[{self.text(expr.args[0])} {counted(bound_axes(expr))}]"
        return f"[{'; '.join(map(self.text, expr.args))}]"

    def subscripted(self, array: Expr, subscripts: str) -> str:
        """`T[i]'`: primes come last."""
        text = self.text(array, _ATOM)
        path = text.rstrip("'") if array.is_Symbol else text
        return f"{path}[{subscripts}]{text[len(path) :]}"

    def subscript(self, expr: Expr) -> str:
        if expr == ALL:
            return "0.."
        match function_name(expr):
            case "slice":
                low, high = map(int, expr.args)
                return f"{low}..{high - 1 if high >= 0 else ''}"
            case "table":
                return self.text(expr.args[0])
            case "wrapped":
                return f"mod({', '.join(map(self.text, expr.args))})"
            case _:
                return self.text(expr)

    def moved(self, name: str, args: tuple[Expr, ...]) -> str:
        """Operations on whole arrays, as they are computed."""
        kind, _, rest = name.partition(" ")
        if kind == "axes":
            return f"{self.text(args[0], _ATOM)}[{rest.replace('None', 'new')}]"
        if kind in ("joined", "stacked", "written"):
            return f"[{'; '.join(self.text(a) for a in args if kind != 'written' or not a.is_Integer)}]"
        if kind == "transposed":
            return f"transpose({self.text(args[0])})"
        if kind == "einsum":
            return f"einsum({rest}; {', '.join(map(self.text, args))})"
        return f"{kind}({', '.join(map(self.text, args))}, {rest.replace('along', 'axis')})"

    def _special(self, name: str, args: tuple[Expr, ...]) -> tuple[str, int]:
        match name:
            case "choose":
                condition, then, otherwise = map(self.text, args)
                return f"if {condition} then {then} else {otherwise}", -1
            case "not":
                return f"not {self.text(args[0], _ATOM)}", _LOW
            case "true" | "false":
                return name, _ATOM
            case "matmul":
                return f"{self.text(args[0], 2)} @ {self.text(args[1], 2)}", 1
            case "array":
                return f"[{', '.join(map(self.text, args))}]", _ATOM
            case "count":
                return f"[{args[0]}..{args[1]}]", _ATOM
            case "whole":
                return self.text(args[0]), _LOW
            case "gathered":
                return f"{self.text(args[0], _ATOM)}[{', '.join(map(self.text, args[1:]))}]", _ATOM
            case "full":
                return self.text(args[0]), _LOW
            case "result":
                call, position = args
                single = network_path(call) is not None and position == 0
                return (self.text(call, _ATOM) if single else f"{self.text(call, _ATOM)}.{position}"), _ATOM
            case _:
                shown = name.removeprefix("array_").removeprefix("runs_").replace("Abs", "abs")
                return f"{shown}({', '.join(map(self.text, args))})", _ATOM


def _table(points: Symbol) -> str:
    """The table or column that some points are of."""
    return points.name.removeprefix("points ")


def counted(axes: Sequence[Axis]) -> str:
    """`for i in 0..9, j in 1..3`"""
    text = Notation().text
    sets = [f"{text(axis.index)} in {axis.low}..{axis.high}" for axis in axes]
    return f"for {', '.join(sets)}" if sets else ""


def _indices(name: str) -> str:
    """A subscript as DPL writes it: inclusive ranges."""
    parts: list[str] = []
    for part in name.removeprefix("element ").split(", "):
        low, colon, high = part.partition(":")
        low = low or ("0" if colon else "")
        parts.append(f"{low}..{int(high) - 1 if high else ''}" if colon else part)
    return ", ".join(parts)


def statement_lines(statement: ir.Statement) -> list[str]:
    """A statement in the notation of the language, unknowns marked by how they are found."""
    text = Notation().text
    match statement:
        case ir.Assign(target, value):
            return [
                f"{text(left)} = {text(right)} {counted(axes)}".rstrip()
                for left, right, axes in by_element(target, value)
            ]
        case ir.Solve(targets, rows, right):
            n = len(targets)
            lines = [f"linear {n} by {n} for {', '.join(map(text, targets))}:"]
            for row, value in zip(rows, right, strict=True):
                total = sp.Add(*(c * u for c, u in zip(row, targets, strict=True)))
                lines.append(f"  {text(total)} = {text(value)}")
            return lines
        case ir.Root(unknowns, body, residuals):
            lines = [f"Newton for {'; '.join(_search(u) for u in unknowns)}:"]
            lines += [f"  {line}" for a in body for line in statement_lines(a)]
            return [*lines, *(f"  {text(r)} = 0" for r in residuals)]
        case ir.Vector(target, argument, keys):
            return [f"{text(target)} = all of {argument}" + (f": {', '.join(keys)}" if keys else "")]
        case ir.Constants(target, numbers):
            return [f"{text(target)} = {', '.join(f'{n:g}' for n in numbers)}"]
        case ir.Picked(targets, sources, _, rows, sizes):
            form = "sums" if any(len(row) != 1 for row in rows) else "picks"
            lengths = f" in vectors of {', '.join(str(n) for _, n in sizes)}" if sizes else ""
            return [
                f"{', '.join(map(text, targets))} = {len(rows)} {form}{lengths} from {', '.join(map(text, sources))}"
            ]
        case ir.Grouped(target, value, origins):
            return [f"{text(target)} = {text(value)} for {len(origins)} rows"]


def _search(unknown: ir.Unknown) -> str:
    text = Notation().text
    ends = [text(e) if e is not None else "" for e in (unknown.low, unknown.high)]
    range_ = f" in {'..'.join(ends)}" if any(ends) else ""
    return f"{text(unknown.symbol)}{range_} from {text(unknown.guess)}"


# ---------------------------------------------------------------- LaTeX


def latex(expr: Expr) -> str:
    """The expression in LaTeX."""
    shown = _displayed(expr)
    return sp.latex(shown, symbol_names={s: latex_name(s.name) for s in shown.atoms(sp.Symbol)}, mul_symbol="dot")


def latex_rows(left: Expr, right: Expr) -> list[str]:
    """The rows of an equation: of one between arrays a row for each of their pieces."""
    rows: list[str] = []
    for one, other, axes in by_element(left, right):
        sets = ", ".join(rf"{latex(axis.index)} = {axis.low}, \dots, {axis.high}" for axis in axes)
        rows.append(rf"{latex(one)} &= {latex(other)}" + (rf" \quad {sets}" if sets else ""))
    return rows


def latex_name(name: str) -> str:
    """A quantity's name: `pendulum.θ'` becomes a dotted theta with the part's name below it."""
    if name == INFINITY.name:
        return r"\infty"
    if name == TIME.name:
        return "t"
    word, _, rest = name.partition(" ")
    if rest:
        inner = latex_name(rest)
        return {"next": rf"{inner}^{{+}}", "measure": inner, "index": inner}.get(word, _upright(f"{word} {rest}"))
    path = name.rstrip("'")
    *parts, last = path.split(".")
    letter, subscripts = _letter(last)
    order = len(name) - len(path)
    dotted = {0: letter, 1: rf"\dot{{{letter}}}", 2: rf"\ddot{{{letter}}}"}.get(order, rf"{letter}^{{({order})}}")
    below = [*subscripts, *(_upright(p) for p in parts)]
    return dotted if not below else rf"{dotted}_{{{', '.join(below)}}}"


def _letter(name: str) -> tuple[str, list[str]]:
    """The main letter of a name, or the name upright, and what stands below it."""
    base, _, below = name.partition("_")
    digits = re.search(r"\d+$", base)
    if digits and digits.start():
        base, below = base[: digits.start()], ", ".join(filter(None, (digits[0], below)))
    letter = base if len(base) == 1 and base.isascii() else _greek(base) or _upright(base)
    return letter, [_upright(below) if not below.isdigit() else below] if below else []


def _greek(base: str) -> str | None:
    words = unicodedata.name(base, "").split() if len(base) == 1 else []
    if words[:1] != ["GREEK"] or "LETTER" not in words:
        return None
    last = words[-1].lower().replace("lamda", "lambda").replace("omicron", "o")
    return rf"\{last.capitalize() if 'CAPITAL' in words else last}"


def _upright(text: str) -> str:
    escaped = re.sub(r"([#$%&_{}])", r"\\\1", text.replace("\\", "").replace("^", "").replace("~", ""))
    return rf"\mathrm{{{escaped}}}"


_RELATIONS = {
    "less": "Lt",
    "less_equal": "Le",
    "greater": "Gt",
    "greater_equal": "Ge",
    "equal": "Eq",
    "not_equal": "Ne",
}
_KNOWN = {"abs": "Abs", "min": "Min", "max": "Max", "floor": "floor", "ceil": "ceiling", "erf": "erf", "gamma": "gamma"}


def _displayed(expr: Expr) -> Expr:
    """Our functions as SymPy's, where LaTeX has a notation for them."""
    if not expr.args:
        return sp.true if function_name(expr) == "true" else sp.false if function_name(expr) == "false" else expr
    name, args = function_name(expr), [_displayed(a) for a in expr.args]
    kind = reduction(expr)
    if name == "at" and args[0].is_Symbol:
        subscripts = [a.args[0] if function_name(a) == "table" else a for a in args[1:]]
        return sp.Indexed(sp.IndexedBase(args[0]), *(a for a in subscripts))
    if name.startswith("element ") and ":" not in name and args[0].is_Symbol:
        return sp.Indexed(sp.IndexedBase(args[0]), *map(sp.Integer, name.removeprefix("element ").split(", ")))
    if kind in ("sum", "product"):
        limits = [(axis.index, axis.low, axis.high) for axis in bound_axes(expr)]
        return {"sum": sp.Sum, "product": sp.Product}[kind](args[0], *limits)
    if kind is not None or name == "each":
        return sp.Function(kind or "array")(args[0])
    with sp.evaluate(False):
        if name.startswith("freed "):
            return args[0]
        if name == "wrapped":
            return sp.Function("mod")(*args)
        if name in _RELATIONS:
            return getattr(sp, _RELATIONS[name])(*args)
        if name in ("and", "or", "not"):
            return {"and": sp.And, "or": sp.Or, "not": sp.Not}[name](*args)
        if name == "choose":
            return sp.Piecewise((args[1], args[0]), (args[2], True))
        if name in _KNOWN:
            return getattr(sp, _KNOWN[name])(*args)
        if name == "straight_through":
            return args[0]
        found = lookup_of(expr)
        if found is not None:
            return sp.Function(_table(expr.args[0]).rsplit(".", 1)[-1] + "prime" * found[1])(args[1])
        path = network_path(expr)
        if path is not None:
            return sp.Function(path.rsplit(".", 1)[-1])(*args[1:])
        if name == "result" and args[1] == 0:
            return args[0]
        if name and name not in FUNCTIONS:
            return sp.Function(re.sub(r"\W+", "", name))(*args)
        return opaque(name)(*args) if name and not hasattr(sp, name) else expr.func(*args)
