"""Conditions as margins: numbers that are positive where the condition holds."""

from __future__ import annotations

from dpl.compiler.algebra import Expr, function_name, opaque


def margin(condition: Expr) -> Expr:
    """How far a condition holds, in the unit of what is compared.

    It crosses 0 where the condition changes. Of `and` and `or` it is the least and the greatest of theirs.
    """
    args = condition.args
    match function_name(condition):
        case "less" | "less_equal":
            return args[1] - args[0]
        case "greater" | "greater_equal":
            return args[0] - args[1]
        case "not":
            return -margin(args[0])
        case "and":
            return _nested("min", [margin(a) for a in args])
        case "or":
            return _nested("max", [margin(a) for a in args])
        case name:
            raise AssertionError(f"the condition `{name}` of an event passed the checks: a bug in DPL")


def _nested(name: str, margins: list[Expr]) -> Expr:
    result = margins[0]
    for other in margins[1:]:
        result = opaque(name)(result, other)
    return result
