"""Constant expressions: what can be computed before anything runs.

Values are exact fractions as long as arithmetic allows, else floats; all in SI. Numbers that are too large, undefined
or not real are reported at the text that makes them, so nothing later can run without bound on a number.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from dpl.language import syntax
from dpl.language.builtins import FUNCTIONS
from dpl.language.diagnostics import Diagnostic, Label
from dpl.language.model import Bound, Scope, Scoped, Variable
from dpl.language.units import Unit, read_unit

Number = Fraction | float

LARGEST = 1e150
"""Beyond this magnitude squares overflow; no quantity of a model is that large."""


class NotConstant(Exception):
    """The expression depends on something that is known only when the program runs."""

    def __init__(self, node: syntax.Expr):
        self.node = node


class BadConstant(Exception):
    """The expression is constant but has no usable value."""

    def __init__(self, diagnostic: Diagnostic):
        self.diagnostic = diagnostic


def literal(expr: syntax.Expr) -> Fraction | None:
    """The value of a bare literal, `-` included: `0.3`, `-5`; None for anything else."""
    match expr:
        case syntax.Number(value, None):
            return value
        case syntax.Unary("-", syntax.Number(value, None)):
            return -value
        case _:
            return None


def is_infinite(expr: syntax.Expr) -> bool:
    """`inf` or `-inf`, which fit any unit."""
    match expr:
        case syntax.Name("inf") | syntax.Unary("-", syntax.Name("inf")):
            return True
        case _:
            return False


def whole(number: Number) -> bool:
    """Whether a number is whole; infinity is not."""
    return number.is_integer() if isinstance(number, float) else number.denominator == 1


def scaled(number: Number, unit: Unit | None) -> Number:
    """A bare literal read in its declared unit, in SI."""
    if unit is None:
        return number
    return number * unit.scale if isinstance(unit.scale, Fraction) else float(number) * unit.scale


def constant(value: Scoped) -> Number:
    """The SI value of a constant expression.

    Raises:
        NotConstant: it depends on a param, given, state or on time.
        BadConstant: it is too large, or not a real number.
    """
    bare = literal(value.expr)
    if bare is None:
        return _evaluate(value.expr, value.scope, ())
    number = scaled(bare, value.unit)
    if abs(number) >= LARGEST:
        raise BadConstant(too_large(value.expr))
    return number


Chain = tuple[Variable, ...]
"""The consts whose values are being computed"""


def _evaluate(expr: syntax.Expr, scope: Scope, chain: Chain) -> Number:
    try:
        result = _compute(expr, scope, chain)
    except OverflowError:
        raise BadConstant(too_large(expr)) from None
    except (ZeroDivisionError, ValueError):
        raise BadConstant(no_value(expr)) from None
    if not isinstance(expr, syntax.Name) and not _usable(result):
        raise BadConstant(too_large(expr))
    return result


def _usable(value: Number) -> bool:
    return math.isfinite(value) and abs(value) < LARGEST


def _compute(expr: syntax.Expr, scope: Scope, chain: Chain) -> Number:
    match expr:
        case syntax.Number(value, unit):
            return scaled(value, read_unit(unit, [])) if unit else value
        case syntax.Name("π" | "pi"):
            return math.pi
        case syntax.Name("inf"):
            return math.inf
        case syntax.Name("period") if scope.clock:
            return scope.clock.period
        case syntax.Name(name):
            return _named(expr, scope.find(name), chain)
        case syntax.Unary("-", operand):
            return -_evaluate(operand, scope, chain)
        case syntax.Binary("/", left, right):
            above, below = _evaluate(left, scope, chain), _evaluate(right, scope, chain)
            if below == 0:
                raise BadConstant(division_by_zero(right))
            return above / below
        case syntax.Binary(op, left, right) if op in _ARITHMETIC:
            return _ARITHMETIC[op](_evaluate(left, scope, chain), _evaluate(right, scope, chain))
        case syntax.Call(syntax.Name(name), arguments) if name in MATH and scope.find(name) is None:
            least, most = (2, len(arguments)) if name in ("min", "max") else FUNCTIONS[name].arity
            if not least <= len(arguments) <= (most or least):
                raise NotConstant(expr)
            return MATH[name](*(float(_evaluate(a.value, scope, chain)) for a in arguments))
        case syntax.Member(syntax.Name(name), member):
            part = scope.find(name)
            if isinstance(part, Scope):
                return _named(expr, part.names.get(member), chain)
            raise NotConstant(expr)
        case syntax.Index():
            from dpl.language.reach import element  # which computes with constants itself

            return element(expr, scope)
        case _:
            raise NotConstant(expr)


def _named(expr: syntax.Expr, binding: object, chain: Chain) -> Number:
    match binding:
        case Variable(kind="const", value=Scoped() as value):
            if binding in chain:
                raise BadConstant(_circular(binding, chain))
            if binding.folded is None:
                bare = literal(value.expr)
                found = (
                    scaled(bare, value.unit)
                    if bare is not None
                    else _evaluate(value.expr, value.scope, (*chain, binding))
                )
                binding.folded = found
            return binding.folded
        case Bound(value):
            bare = literal(value.expr)
            return scaled(bare, value.unit) if bare is not None else _evaluate(value.expr, value.scope, chain)
        case _:
            raise NotConstant(expr)


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if abs(exponent) * bits <= 512:
            return base ** int(exponent)
    result = float(base) ** float(exponent)
    if isinstance(result, complex):
        raise ValueError
    return result


_ARITHMETIC: dict[str, Callable[[Number, Number], Number]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "^": _power,
}
MATH: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(math, name)
        for name in (
            "exp", "log", "log10", "log2", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan", "atan2",
            "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "floor", "ceil", "hypot",
        )
    },
    "cbrt": math.cbrt,
    "abs": abs,
    "min": min,
    "max": max,
    "mod": operator.mod,
}  # fmt: skip


def too_large(expr: syntax.Expr) -> Diagnostic:
    return Diagnostic(
        "number-too-large",
        "this number is too large to compute with",
        Label(expr.span, "has a magnitude above 1e150, in SI units"),
    )


def division_by_zero(expr: syntax.Expr) -> Diagnostic:
    return Diagnostic("no-value", "a division by 0 has no value", Label(expr.span, "is 0"))


def _circular(variable: Variable, chain: Chain) -> Diagnostic:
    ring = [*chain[chain.index(variable) :], variable]
    assert variable.value is not None
    return Diagnostic(
        "constant-cycle",
        "these constants define each other: " + " -> ".join(f"`{v.path}`" for v in ring),
        Label(variable.value.span, f"`{variable.path}` waits for itself"),
    )


def no_value(expr: syntax.Expr) -> Diagnostic:
    return Diagnostic("no-value", "this constant has no finite real value", Label(expr.span, "has no value"))
