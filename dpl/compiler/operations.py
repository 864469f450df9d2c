"""Weighted operations: one for an addition or a multiplication, more for what takes a processor longer.

The weights are rounded from timings of vector code; they decide which of two forms of an expression stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dpl.compiler import ir
from dpl.compiler.algebra import CONDITIONS, Expr, function_name, sp
from dpl.compiler.arrays import is_layout

DIVISION, ROOT, CALL, PAIR = 4, 4, 15, 3
"""A sine beside a cosine of the same angle, or the other way round, is a `PAIR`: one reduction serves both"""
SIMPLE = CONDITIONS | frozenset(
    "Abs Max Min abs array choose clip element floor ceil max min pick relu sign step straight_through".split()
)
"""Functions of a few comparisons and choices"""


def cost(exprs: Iterable[Expr]) -> int:
    """Weighted operations of some expressions, each counted as written."""
    total, angles = 0, dict[Expr, set[str]]()
    for expr in exprs:
        for node in sp.preorder_traversal(expr):
            total += _own_cost(node) if node.args else 0
            if isinstance(node, sp.Mul):  # `a*b**-1*c**-1` is one division and one product
                below = sum(map(divides, node.args))
                total -= max(below - 1, 0) * DIVISION + (0 < below < len(node.args))
            elif isinstance(node, sp.sin | sp.cos):
                kinds = angles.setdefault(node.args[0], set())
                total -= CALL - PAIR if kinds and function_name(node) not in kinds else 0
                kinds.add(function_name(node))
    return total


def distinct_cost(exprs: Iterable[Expr], fixed: Callable[[Expr], bool]) -> int:
    """Weighted operations of some expressions, each part counted once, and what is fixed during a run not at all."""
    seen: set[Expr] = set()
    waiting, total = list(exprs), 0
    while waiting:
        expr = waiting.pop()
        if expr in seen or not expr.args or fixed(expr):
            continue
        seen.add(expr)
        args = expr.args
        if isinstance(expr, sp.Add | sp.Mul):
            moving = [a for a in args if not fixed(a)]
            signs = isinstance(expr, sp.Mul) and -1 in args
            total += len(moving) - 1 + (len(moving) + signs < len(args))
        elif isinstance(expr, sp.sin | sp.cos):
            total += PAIR if _other(expr) in seen else CALL
        else:
            total += _own_cost(expr)
        waiting += args
    return total


def operations(function: ir.Function) -> int:
    """The cost of a function's body and results."""
    return cost([*(e for s in function.body for e in ir.expressions(s)), *ir.leaves(function.returns)])


def multiplications(exponent: int) -> int:
    """Of a whole power by repeated squaring."""
    return exponent.bit_length() + exponent.bit_count() - 2


def _own_cost(expr: Expr) -> int:
    """Of what stands at the root of an expression. What a sum subtracts needs no sign of its own."""
    if isinstance(expr, sp.Add):
        signs = sum(isinstance(a, sp.Mul) and a.args[0] == -1 for a in expr.args)
        return max(len(expr.args) - 1 - signs, 0)
    if isinstance(expr, sp.Mul):
        return len(expr.args) - 1
    if isinstance(expr, sp.Pow):
        return _power_cost(expr)
    if is_layout(expr):
        return 0
    return 1 if function_name(expr).partition(" ")[0] in SIMPLE else CALL


def _power_cost(expr: Expr) -> int:
    exponent = abs(expr.exp) if expr.exp.is_Rational else expr.exp
    division = DIVISION if divides(expr) else 0
    if exponent.is_Integer:
        return division + multiplications(int(exponent))
    if (2 * exponent).is_Integer:
        whole = int(exponent)
        return division + ROOT + (multiplications(whole) + 1 if whole else 0)
    return division + 2 * CALL


def divides(expr: Expr) -> bool:
    """Whether it stands below a fraction bar."""
    return isinstance(expr, sp.Pow) and bool(expr.exp.is_Rational and expr.exp.is_negative)


def _other(call: Expr) -> Expr:
    """The cosine of a sine's angle, the sine of a cosine's."""
    return sp.cos(call.args[0]) if isinstance(call, sp.sin) else sp.sin(call.args[0])
