"""Straight-line functions over scalars and arrays: what the generated module says, before it is text.

Expressions are SymPy trees of a closed set: symbols, numbers, sums, products, powers, the functions of
`language/builtins.py` and the opaque ones that `printer.py` prints. Each statement knows the line it came from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from dpl.compiler.algebra import Expr, Symbol, free


@dataclass(frozen=True)
class Assign:
    """`target = value`"""

    target: Symbol
    value: Expr
    origin: str = ""


@dataclass(frozen=True)
class Solve:
    """The unknowns of a linear system: `rows` times unknowns equals `right`."""

    targets: tuple[Symbol, ...]
    rows: tuple[tuple[Expr, ...], ...]
    right: tuple[Expr, ...]
    origin: str = ""


@dataclass(frozen=True)
class Unknown:
    """What Newton's method looks for: from `guess`, between `low` and `high` where there are any."""

    symbol: Symbol
    guess: Expr
    low: Expr | None = None
    high: Expr | None = None


@dataclass(frozen=True)
class Root:
    """Unknowns at which all residuals are zero. `body` computes inside the residual what depends on the unknowns."""

    unknowns: tuple[Unknown, ...]
    body: tuple[Assign, ...]
    residuals: tuple[Expr, ...]
    origin: str = ""


@dataclass(frozen=True)
class Vector:
    """The numbers of a tuple in one vector, or those that a mapping holds by `keys`."""

    target: Symbol
    argument: str
    keys: tuple[str, ...] = ()
    origin: str = ""


@dataclass(frozen=True)
class Constants:
    """Numbers in one vector, in the floating type of the vector or number `like`."""

    target: Symbol
    numbers: tuple[float, ...]
    like: Symbol | None
    origin: str = ""


@dataclass(frozen=True)
class Picked:
    """Numbers from the vector that `sources` make together: entry `i` is the sum of weight times place over `rows[i]`.

    They become so many vectors of such a length as each pair of `sizes` says, one for each target, or without sizes
    single numbers.
    """

    targets: tuple[Symbol, ...]
    sources: tuple[Symbol, ...]
    size: int
    """How many numbers the sources hold"""
    rows: tuple[tuple[tuple[int, float], ...], ...]
    sizes: tuple[tuple[int, int], ...] = ()
    origins: tuple[str, ...] = ()
    """Of each row, if it computes something"""
    origin: str = ""


@dataclass(frozen=True)
class Grouped:
    """`target = value` for many expressions of one shape at once: symbols in the value are vectors of equal length."""

    target: Symbol
    value: Expr
    origins: tuple[str, ...]
    """Of each row"""
    origin: str = ""


Statement = Assign | Solve | Root | Vector | Constants | Picked | Grouped


def vectors(function: Function) -> bool:
    """Whether a function computes in groups."""
    return any(isinstance(s, Vector | Constants | Picked | Grouped) for s in function.body)


def targets(statement: Statement) -> tuple[Symbol, ...]:
    """What a statement defines."""
    match statement:
        case Assign(target) | Vector(target) | Constants(target) | Grouped(target):
            return (target,)
        case Solve(unknowns) | Picked(unknowns):
            return unknowns
        case Root(unknowns):
            return tuple(u.symbol for u in unknowns)


def inner_targets(statement: Statement) -> tuple[Symbol, ...]:
    """What a statement defines within itself only."""
    return tuple(a.target for a in statement.body) if isinstance(statement, Root) else ()


def expressions(statement: Statement) -> tuple[Expr, ...]:
    """Every expression of a statement, in a fixed order."""
    match statement:
        case Assign(_, value) | Grouped(_, value):
            return (value,)
        case Vector():
            return ()
        case Constants(_, _, like):
            return () if like is None else (like,)
        case Picked(_, sources):
            return sources
        case Solve(_, rows, right):
            return tuple(e for row in (*rows, right) for e in row)
        case Root(unknowns, body, residuals):
            ends = (e for u in unknowns for e in (u.guess, u.low, u.high) if e is not None)
            return (*ends, *(a.value for a in body), *residuals)


def reads(statement: Statement) -> set[Symbol]:
    """The symbols that a statement needs from outside."""
    found = free(expressions(statement))
    return found - {*targets(statement), *inner_targets(statement)} if isinstance(statement, Root) else found


def mapped(statement: Statement, change: Callable[[Expr], Expr]) -> Statement:
    """The statement with every expression changed, in the order of `expressions`."""

    def end(e: Expr | None) -> Expr | None:
        return None if e is None else change(e)

    match statement:
        case Assign(target, value, origin):
            return Assign(target, change(value), origin)
        case Solve(unknowns, rows, right, origin):
            return Solve(unknowns, tuple(tuple(map(change, row)) for row in rows), tuple(map(change, right)), origin)
        case Root(unknowns, body, residuals, origin):
            new = tuple(Unknown(u.symbol, change(u.guess), end(u.low), end(u.high)) for u in unknowns)
            inner = tuple(Assign(a.target, change(a.value), a.origin) for a in body)
            return Root(new, inner, tuple(map(change, residuals)), origin)
        case Grouped(target, value, origins, origin):
            return Grouped(target, change(value), origins, origin)
        case Vector() | Constants() | Picked():  # what has been grouped is not changed any more
            return statement


@dataclass(frozen=True)
class Function:
    """A pure function. `unpack` maps each argument that is a tuple to the symbols it holds."""

    name: str
    doc: str
    arguments: tuple[str, ...]
    unpack: tuple[tuple[str, tuple[Symbol, ...]], ...]
    lookups: tuple[tuple[Symbol, str, str], ...]
    """Symbols read by name from a mapping: symbol, mapping, key"""
    body: tuple[Statement, ...]
    returns: Any
    """Nested tuples and dicts (keys are text) of expressions, and None"""

    def reads(self) -> set[Symbol]:
        """The symbols that the body and the results read, its own targets excluded."""
        own = {t for s in self.body for t in targets(s)}
        return {r for s in self.body for r in reads(s)}.union(free(leaves(self.returns))) - own


# ---------------------------------------------------------------- nested results


def leaves(value: Any) -> list[Expr]:
    """The expressions of nested tuples and dicts, in order."""
    match value:
        case dict():
            return [leaf for item in cast("dict[str, Any]", value).values() for leaf in leaves(item)]
        case tuple():
            return [leaf for item in cast("tuple[Any, ...]", value) for leaf in leaves(item)]
        case None:
            return []
        case _:
            return [value]


def mapped_leaves(value: Any, change: Callable[[Expr], Expr]) -> Any:
    """Nested tuples and dicts with every expression changed, in the order of `leaves`."""
    match value:
        case dict():
            return {k: mapped_leaves(v, change) for k, v in cast("dict[str, Any]", value).items()}
        case tuple():
            return tuple(mapped_leaves(v, change) for v in cast("tuple[Any, ...]", value))
        case None:
            return None
        case _:
            return change(value)


def refilled(value: Any, new: list[Expr]) -> Any:
    """Nested tuples and dicts with other expressions in the places of theirs."""
    rest = iter(new)
    return mapped_leaves(value, lambda _: next(rest))
