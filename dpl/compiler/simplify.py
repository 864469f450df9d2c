"""Algebra that pays, bounded: invariants hoisted, common subexpressions shared, factors taken out where that is cheaper.

Cost is counted in weighted operations, after sharing. Nothing here expands an expression or runs without bound, and
nothing depends on hashes or on time, so equal input gives equal output.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy as sp

from dpl.compiler import ir

Expr = Any

_WEIGHTS = {"Add": 1, "Mul": 1}
_POWER, _DIVISION, _FUNCTION = 2, 4, 15
_LARGEST = 150
"""Operations beyond which an expression is left as it is"""


def cost(exprs: list[Expr]) -> int:
    """Weighted operations of some expressions, each counted as written."""
    total = 0
    for expr in exprs:
        for node in sp.preorder_traversal(expr):
            if isinstance(node, sp.Add | sp.Mul):
                total += len(node.args) - 1
            elif isinstance(node, sp.Pow):
                total += _DIVISION if node.exp.is_negative else _POWER
            elif isinstance(node, sp.Function):
                total += _FUNCTION
    return total


class Hoisting:
    """Parts of expressions that depend only on what is fixed during a run, each computed once, by name."""

    def __init__(self, fixed: set[sp.Symbol]):
        self.fixed = fixed
        self.names: dict[Expr, sp.Symbol] = {}

    def hoist(self, expr: Expr) -> Expr:
        """The expression with every largest invariant part replaced by its name."""
        if not expr.args or not (expr.free_symbols & self.fixed):
            return expr
        if expr.free_symbols <= self.fixed and not _carries_record(expr):
            return self._name(expr)
        if isinstance(expr, sp.Add | sp.Mul):
            inside = [a for a in expr.args if a.free_symbols <= self.fixed and not _carries_record(a)]
            if len(inside) > 1 and any(a.free_symbols for a in inside):
                rest = [self.hoist(a) for a in expr.args if a not in inside]
                return expr.func(self._name(expr.func(*inside)), *rest)
        return expr.func(*(self.hoist(a) for a in expr.args))

    def _name(self, expr: Expr) -> Expr:
        """Numbers, symbols and their negatives are not worth a name."""
        if not expr.args or (isinstance(expr, sp.Mul) and len(expr.args) == 2 and expr.args[0] == -1 and not expr.args[1].args):
            return expr
        if expr not in self.names:
            self.names[expr] = sp.Symbol(f"invariant {len(self.names) + 1}", real=True)
        return self.names[expr]


def _carries_record(expr: Expr) -> bool:
    """A network's several results are a tuple, not a number; conditions are not numbers either."""
    name = type(expr).__name__
    return name.startswith("network ") or name in ("and", "or", "not", "less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "slice", "true", "false")


def share(statements: list[ir.Statement], returns: list[Expr]) -> tuple[list[ir.Statement], list[Expr]]:
    """Statements and results with common subexpressions computed once, in names of their own."""
    flat = [e for s in statements for e in _expressions(s)]
    exprs = [*flat, *returns]
    if not exprs:
        return statements, returns
    best = min((_shared(candidate) for candidate in (exprs, [_factored(e) for e in exprs])), key=lambda r: r[2])
    replacements, reduced, _ = best
    rest = iter(reduced[: len(flat)])
    rebuilt = [_rebuilt(s, rest) for s in statements]
    return _placed(replacements, rebuilt, reduced[len(flat) :]), reduced[len(flat) :]


def _shared(exprs: list[Expr]) -> tuple[list[tuple[sp.Symbol, Expr]], list[Expr], int]:
    names = sp.numbered_symbols("shared ", start=1, real=True)
    replacements, reduced = sp.cse(exprs, symbols=names, order="canonical", list=True)
    return replacements, reduced, cost([e for _, e in replacements] + reduced)


def _factored(expr: Expr) -> Expr:
    """The expression with common factors of sums taken out, if it is small enough to try."""
    if not expr.has(sp.Add) or sp.count_ops(expr) > _LARGEST:
        return expr
    return sp.factor_terms(expr)


def _expressions(statement: ir.Statement) -> Iterator[Expr]:
    match statement:
        case ir.Assign(_, value):
            yield value
        case ir.Solve(_, rows, right):
            for row in (*rows, right):
                yield from row
        case ir.Root():
            return


def _rebuilt(statement: ir.Statement, rest: Iterator[Expr]) -> ir.Statement:
    match statement:
        case ir.Assign(target, _, origin):
            return ir.Assign(target, next(rest), origin)
        case ir.Solve(targets, rows, right, origin):
            new = tuple(tuple(next(rest) for _ in row) for row in rows)
            return ir.Solve(targets, new, tuple(next(rest) for _ in right), origin)
        case ir.Root():
            return statement


def _placed(
    replacements: list[tuple[sp.Symbol, Expr]], statements: list[ir.Statement], returns: list[Expr]
) -> list[ir.Statement]:
    """Each shared name just before its first use, with the origin of the statement that uses it first."""
    values = dict(replacements)
    done: set[sp.Symbol] = set()
    result: list[ir.Statement] = []

    def need(symbols: set[sp.Symbol], origin: str) -> None:
        for symbol in sorted(symbols & values.keys() - done, key=lambda s: int(str(s).split()[1])):
            if symbol not in done:
                done.add(symbol)
                need(values[symbol].free_symbols, origin)
                result.append(ir.Assign(symbol, values[symbol], origin))

    for statement in statements:
        need(ir.reads(statement), statement.origin)
        result.append(statement)
    for expr in returns:
        need(expr.free_symbols, "")
    return result
