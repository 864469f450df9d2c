"""Sums of squares, found in what is written: what Gauss-Newton methods need.

`error² + 0.1*effort²`, `mean(error²)`, `a*a`, and the name of a loss that is such a sum.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from dpl.language import syntax
from dpl.language.builtins import RUN_REDUCTIONS
from dpl.language.constants import BadConstant, NotConstant, constant
from dpl.language.model import Measure, Scope, Scoped, Square
from dpl.language.rules import has_measure

MOST_SQUARES = 100


def squares(goal: syntax.Expr, scope: Scope) -> tuple[Square, ...] | None:
    """The squares whose sum, averaged over runs, an objective is; None if it is not evidently such a sum.

    `scope` is that of the task.
    """
    return _squares(goal, scope, None, ())


Seen = tuple[Measure, ...]


def _squares(expr: syntax.Expr, scope: Scope, measure: Measure | None, seen: Seen) -> tuple[Square, ...] | None:
    match expr:
        case syntax.Binary("+", left, right):
            one = _squares(left, scope, measure, seen)
            two = _squares(right, scope, measure, seen) if one is not None else None
            return None if one is None or two is None or len(one + two) > MOST_SQUARES else one + two
        case syntax.Binary("*" | "/"):
            weight, factors = _factors(expr, scope)
            if weight < 0 or not factors:
                return None
            if len(factors) == 1:
                return _weighted(_squares(factors[0], scope, measure, seen), weight)
            pair = len(factors) == 2 and factors[0] == factors[1]
            return _weighted(_square(factors[0], scope, measure), weight) if pair else None
        case syntax.Binary("^", base, exponent):
            half = _half(exponent, scope)
            if half is None:
                return None
            power = syntax.Binary("^", base, syntax.Number(half, span=exponent.span), span=expr.span)
            return _square(base if half == 1 else power, scope, measure)
        case syntax.Call(syntax.Name("mean"), (argument,)) if measure is None and scope.find("mean") is None:
            return None if _reduces_runs(argument.value) else _squares(argument.value, scope, measure, seen)
        case syntax.Name(name):
            found = scope.find(name)
            return _of_measure(found, seen) if isinstance(found, Measure) and found not in seen else None
        case _:
            return None


def _of_measure(measure: Measure, seen: Seen) -> tuple[Square, ...] | None:
    """The squares of a loss; those of its own text are numbered."""
    found = _squares(measure.item.value, measure.scope, measure, (*seen, measure))
    if found is None:
        return None
    own = [s for s in found if s.measure is measure]
    return tuple(replace(s, number=own.index(s) + 1) if s.measure is measure else s for s in found)


def _square(base: syntax.Expr, scope: Scope, measure: Measure | None) -> tuple[Square, ...] | None:
    """One square; in a task, of what differs from run to run."""
    if measure is None and (_reduces_runs(base) or not has_measure(base, scope)):
        return None
    return (Square(Scoped(base, scope), 1.0, measure),)


def _weighted(found: tuple[Square, ...] | None, weight: float) -> tuple[Square, ...] | None:
    return None if found is None else tuple(replace(s, weight=s.weight * weight) for s in found)


def _factors(expr: syntax.Expr, scope: Scope) -> tuple[float, list[syntax.Expr]]:
    """A product as a constant and the rest; a quotient by what is no constant stays whole, and is no square."""
    try:
        return float(constant(Scoped(expr, scope))), []
    except (NotConstant, BadConstant):
        pass
    match expr:
        case syntax.Binary("*", left, right):
            (one, some), (two, more) = _factors(left, scope), _factors(right, scope)
            return one * two, some + more
        case syntax.Binary("/", left, right):
            (one, some), (two, more) = _factors(left, scope), _factors(right, scope)
            return (one / two, some) if two and not more else (1.0, [])
        case _:
            return 1.0, [expr]


def _half(expr: syntax.Expr, scope: Scope) -> Fraction | None:
    """Half of an even exponent."""
    try:
        value = Fraction(constant(Scoped(expr, scope)))
    except (NotConstant, BadConstant, OverflowError):
        return None
    return value / 2 if value > 0 and (value / 2).denominator == 1 else None


def _reduces_runs(expr: syntax.Expr) -> bool:
    match expr:
        case syntax.Call(syntax.Name(name)) if name in RUN_REDUCTIONS:
            return True
        case _:
            return any(map(_reduces_runs, syntax.children(expr)))
