"""The Jacobian of a right-hand side as expressions: only the entries that are not zero whatever the values are.

Forward accumulation over the statements, each differentiated by SymPy. Where a function that SymPy does not know reads
the state (a network, an equation solved by iterations), there is none, and the runtime differentiates the
program instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dpl.compiler import ir
from dpl.compiler.algebra import (
    CONDITIONS,
    ONE,
    SYMPY_FUNCTIONS,
    TIME,
    ZERO,
    Expr,
    Symbol,
    by_name,
    function_name,
    opaque,
    sp,
    symbol,
)
from dpl.compiler.lookups import lookup_of, slope
from dpl.compiler.simplify import cost

MOST_STATES = 300
"""States beyond which no entries are written: the program's own derivatives then have less text"""
INLINE = 4
"""Weighted operations up to which a derivative of something named stands where it is used"""

_BETWEEN = {"min": "less", "max": "greater"}


@dataclass(frozen=True)
class Entries:
    """The entries row by row, and the statements that they need besides those of the right-hand side."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    values: tuple[Expr, ...]
    statements: tuple[ir.Statement, ...]


def jacobian(statements: Sequence[ir.Statement], right: Sequence[Expr], states: Sequence[Symbol]) -> Entries | None:
    """The derivatives of `right` by the states and then the time; None where one is not known as an expression.

    Args:
        statements: those that `right` reads what is named from, in order.
    """
    if len(states) > MOST_STATES:
        return None
    by = {s: {n: ONE} for n, s in enumerate((*states, TIME))}
    named: list[ir.Statement] = []
    try:
        for statement in statements:
            if isinstance(statement, ir.Assign):
                by[statement.target] = _named(statement, _total(statement.value, by), named)
            elif ir.reads(statement) & {s for s, along in by.items() if along}:
                return None
        found = [(i, j, e) for i, value in enumerate(right) for j, e in sorted(_total(value, by).items())]
    except _Unknown:
        return None
    rows, columns, values = (tuple(part) for part in zip(*found, strict=True)) if found else ((), (), ())
    return Entries(rows, columns, values, tuple(named))


class _Unknown(Exception):
    """An expression whose derivative is not known as one."""


Along = dict[int, Expr]
"""Derivatives by column, without those that are zero"""


def _named(statement: ir.Assign, along: Along, named: list[ir.Statement]) -> Along:
    """The derivatives of a statement's target; those worth it get names."""
    kept: Along = {}
    for column, value in along.items():
        if cost([value]) > INLINE:
            name = symbol(f"partial {column} of {statement.target.name}")
            named.append(ir.Assign(name, value, statement.origin))
            value = name
        kept[column] = value
    return kept


def _total(value: Expr, by: dict[Symbol, Along]) -> Along:
    """The derivatives of an expression by each column, through what it reads."""
    total: dict[int, list[Expr]] = {}
    for read in by_name(s for s in value.free_symbols if by.get(s)):
        partial = _partial(value, read)
        for column, inner in by[read].items():
            total.setdefault(column, []).append(partial * inner)
    summed = {column: sp.Add(*terms) for column, terms in total.items()}
    return {column: e for column, e in summed.items() if e != 0}


def _partial(value: Expr, by: Symbol) -> Expr:
    """The derivative of an expression by a symbol, as its operations go: sums and products are not multiplied out."""
    if by not in value.free_symbols:
        return ZERO
    if value == by:
        return ONE
    args = value.args
    name = function_name(value)
    if isinstance(value, sp.Add):
        return sp.Add(*(_partial(a, by) for a in args))
    if isinstance(value, sp.Mul):
        moving = [n for n, a in enumerate(args) if by in a.free_symbols]
        return sp.Add(*(sp.Mul(*args[:n], _partial(args[n], by), *args[n + 1 :]) for n in moving))
    if isinstance(value, sp.Pow):
        # A root's derivative at 0 is infinite here and 0 in the program.
        if not value.exp.is_Integer:
            raise _Unknown
        return value.exp * value.base ** (value.exp - 1) * _partial(value.base, by)
    if name == "choose":
        condition, then, otherwise = args
        return _chosen(condition, _partial(then, by), _partial(otherwise, by))
    if name in _BETWEEN:
        first, *others = args
        rest = value.func(*others) if len(others) > 1 else others[0]
        return _chosen(opaque(_BETWEEN[name])(first, rest), _partial(first, by), _partial(rest, by))
    if lookup_of(value) is not None:
        return slope(value) * _partial(args[1], by)
    if name in SYMPY_FUNCTIONS and len(args) == 1:
        return _outer(value) * _partial(args[0], by)
    raise _Unknown


def _chosen(condition: Expr, then: Expr, otherwise: Expr) -> Expr:
    return then if then == otherwise else opaque("choose")(condition, then, otherwise)


def _outer(value: Expr) -> Expr:
    """The derivative of a function of one argument there."""
    derivative = value.fdiff(1)
    if not _printable(derivative):
        raise _Unknown
    return derivative


def _printable(expr: Expr) -> bool:
    nodes: Iterable[Expr] = sp.preorder_traversal(expr)
    known = (sp.Symbol, sp.Number, sp.NumberSymbol, sp.Add, sp.Mul)
    return all(
        isinstance(e, known)
        or (isinstance(e, sp.Pow) and e.exp.is_number)
        or function_name(e) in SYMPY_FUNCTIONS
        or function_name(e) in CONDITIONS
        for e in nodes
    )
