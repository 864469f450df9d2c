"""Rewriting of expressions as the text asks: kinks rounded, and branches that are not taken made harmless."""

from __future__ import annotations

from collections.abc import Callable

from dpl.compiler.algebra import COMPARE, ONE, ZERO, Expr, function_name, opaque, sp

# ---------------------------------------------------------------- smooth(e, width)


def smoothed(expr: Expr, width: Expr) -> Expr:
    """The expression with its jumps and kinks rounded over `width`."""
    if not expr.args:
        return expr
    name, args = function_name(expr), [smoothed(a, width) for a in expr.args]
    if name == "choose":
        condition, then, otherwise = args
        return _smooth_choice(condition, then, otherwise, width)
    if name in ("min", "max"):
        result = args[0]
        for other in args[1:]:
            result = opaque(f"smooth_{name}")(result, other, width)
        return result
    if name in ("abs", "sign", "step", "relu", "clip"):
        return opaque(f"smooth_{name}")(*args, width)
    if name == "Abs":
        return opaque("smooth_abs")(*args, width)
    return expr.func(*args)


def _smooth_choice(condition: Expr, then: Expr, otherwise: Expr, width: Expr) -> Expr:
    margin = _margin(condition)
    if margin is not None:
        return opaque("smooth_choose")(margin, then, otherwise, width)
    share = _share(condition, width)
    return share * then + (1 - share) * otherwise


def _margin(condition: Expr) -> Expr | None:
    """How far a comparison holds: positive where it does."""
    match function_name(condition):
        case "less" | "less_equal":
            return condition.args[1] - condition.args[0]
        case "greater" | "greater_equal":
            return condition.args[0] - condition.args[1]
        case _:
            return None


def _share(condition: Expr, width: Expr) -> Expr:
    """How true a condition is, between 0 and 1; what has no margin stays as sharp as it is."""
    margin = _margin(condition)
    if margin is not None:
        return opaque("smooth_step")(margin, width)
    match function_name(condition):
        case "and":
            return sp.Mul(*(_share(c, width) for c in condition.args))
        case "or":
            return 1 - sp.Mul(*(1 - _share(c, width) for c in condition.args))
        case "not":
            return 1 - _share(condition.args[0], width)
        case _:
            return opaque("choose")(condition, ONE, ZERO)


# ---------------------------------------------------------------- if c then a else b


def choice(condition: Expr, then: Expr, otherwise: Expr) -> Expr:
    """The value of a conditional, whose branches are harmless where they are not taken.

    JAX multiplies the derivative of a branch that is not taken by zero, and zero times infinity is NaN. So what may
    fail there (a division, a logarithm) reads a harmless argument instead. A `let` of its own is not reached by this.
    """
    guarded_then = _guarded(then, lambda e, safe: opaque("choose")(condition, e, safe))
    guarded_otherwise = _guarded(otherwise, lambda e, safe: opaque("choose")(condition, safe, e))
    return opaque("choose")(condition, guarded_then, guarded_otherwise)


def _guarded(expr: Expr, guard: Callable[[Expr, Expr], Expr]) -> Expr:
    if not expr.args or not expr.free_symbols:
        return expr
    name = function_name(expr)
    if name in COMPARE.values():
        return expr  # has no derivative
    args = [_guarded(a, guard) for a in expr.args]
    safe = _safe_arguments(expr)
    return expr.func(*(_kept(a, s, guard) for a, s in zip(args, safe, strict=True)))


def _kept(argument: Expr, safe: Expr | None, guard: Callable[[Expr, Expr], Expr]) -> Expr:
    return argument if safe is None or not argument.free_symbols else guard(argument, safe)


def _safe_arguments(expr: Expr) -> list[Expr | None]:
    """For each argument a value at which neither the function nor its derivative fails; None where none does."""
    if isinstance(expr, sp.Pow):
        exponent = expr.exp
        harmless = exponent.is_Rational and exponent > 0 and (exponent.is_Integer or exponent == sp.Rational(1, 2))
        return [None if harmless else ONE, None]
    return _SAFE.get(function_name(expr), [None] * len(expr.args))


_SAFE: dict[str, list[Expr | None]] = {
    "exp": [ZERO],
    "sinh": [ZERO],
    "cosh": [ZERO],
    "tan": [ZERO],
    "asin": [ZERO],
    "acos": [ZERO],
    "atanh": [ZERO],
    "acosh": [sp.Integer(2)],
    "log": [ONE],
    "log10": [ONE],
    "log2": [ONE],
    "gamma": [ONE],
    "lgamma": [ONE],
    "mod": [None, ONE],
    "atan2": [ZERO, ONE],
}
