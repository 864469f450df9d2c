"""Expressions as a person reads them: in the notation of the language, and in LaTeX."""

from __future__ import annotations

import re
import unicodedata

from dpl.compiler import ir
from dpl.compiler.algebra import INFINITY, TIME, Expr, Symbol, function_name, network_path, opaque, sp
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
            case "measure" | "weights":
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
            return f"{self.text(args[0], _ATOM)}[{_indices(name)}]", _ATOM
        if name.startswith("freed "):  # a task may give another value
            return self._print(args[0])
        path = network_path(expr)
        if path is not None:
            return f"{path}({', '.join(map(self.text, args[1:]))})", _ATOM
        return self._special(name, args)

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
            case "full":
                return self.text(args[0]), _LOW
            case "result":
                call, position = args
                single = network_path(call) is not None and position == 0
                return (self.text(call, _ATOM) if single else f"{self.text(call, _ATOM)}.{position}"), _ATOM
            case _:
                shown = name.removeprefix("array_").removeprefix("runs_").replace("Abs", "abs")
                return f"{shown}({', '.join(map(self.text, args))})", _ATOM


def _indices(name: str) -> str:
    """A subscript as DPL writes it: inclusive ranges."""
    parts: list[str] = []
    for part in name.removeprefix("element ").split(", "):
        low, colon, high = part.partition(":")
        parts.append(f"{low}..{int(high) - 1 if high else ''}" if colon else part)
    return ", ".join(parts)


def statement_lines(statement: ir.Statement) -> list[str]:
    """A statement in the notation of the language, unknowns marked by how they are found."""
    text = Notation().text
    match statement:
        case ir.Assign(target, value):
            return [f"{text(target)} = {text(value)}"]
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
    return sp.latex(shown, symbol_names={s: latex_name(s.name) for s in shown.free_symbols}, mul_symbol="dot")


def latex_name(name: str) -> str:
    """A quantity's name: `pendulum.θ'` becomes a dotted theta with the part's name below it."""
    if name == INFINITY.name:
        return r"\infty"
    if name == TIME.name:
        return "t"
    word, _, rest = name.partition(" ")
    if rest:
        inner = latex_name(rest)
        return {"next": rf"{inner}^{{+}}", "measure": inner}.get(word, _upright(f"{word} {rest}"))
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
    with sp.evaluate(False):
        if name.startswith("freed "):
            return args[0]
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
        path = network_path(expr)
        if path is not None:
            return sp.Function(path.rsplit(".", 1)[-1])(*args[1:])
        if name == "result" and args[1] == 0:
            return args[0]
        if name and name not in FUNCTIONS:
            return sp.Function(re.sub(r"\W+", "", name))(*args)
        return opaque(name)(*args) if name and not hasattr(sp, name) else expr.func(*args)
