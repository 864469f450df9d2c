"""Straight-line functions over scalars and arrays: what the generated module says, before it is text.

Expressions are SymPy trees of a closed set: symbols, numbers, sums, products, powers, the functions of
`language/builtins.py` and the opaque ones that `codegen.py` prints. Each statement knows the line it came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp


@dataclass(frozen=True)
class Assign:
    """`target = value`"""

    target: sp.Symbol
    value: Any
    origin: str = ""


@dataclass(frozen=True)
class Solve:
    """The unknowns of a linear system: `rows` times unknowns equals `right`."""

    targets: tuple[sp.Symbol, ...]
    rows: tuple[tuple[Any, ...], ...]
    right: tuple[Any, ...]
    origin: str = ""


@dataclass(frozen=True)
class Root:
    """Unknowns at which all residuals are zero, by Newton's method from `guess`, within `low` and `high`.

    `body` computes inside the residual what depends on the unknowns.
    """

    targets: tuple[sp.Symbol, ...]
    body: tuple[Assign, ...]
    residuals: tuple[Any, ...]
    guess: tuple[Any, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    origin: str = ""


Statement = Assign | Solve | Root


def targets(statement: Statement) -> tuple[sp.Symbol, ...]:
    """What a statement defines."""
    return (statement.target,) if isinstance(statement, Assign) else statement.targets


def reads(statement: Statement) -> set[sp.Symbol]:
    """The symbols that a statement needs from outside."""
    match statement:
        case Assign(_, value):
            return set(sp.sympify(value).free_symbols)
        case Solve(_, rows, right):
            return {s for row in (*rows, right) for e in row for s in e.free_symbols}
        case Root(unknowns, body, residuals, guess):
            inside = {s for a in body for s in a.value.free_symbols} | {s for r in residuals for s in r.free_symbols}
            own = set(unknowns) | {a.target for a in body}
            return (inside - own) | {s for g in guess for s in sp.sympify(g).free_symbols}


@dataclass(frozen=True)
class Function:
    """A pure function. `unpack` maps each argument that is a tuple to the symbols it holds."""

    name: str
    doc: str
    arguments: tuple[str, ...]
    unpack: tuple[tuple[str, tuple[sp.Symbol, ...]], ...]
    lookups: tuple[tuple[sp.Symbol, str, str], ...]
    """Symbols read by name from a mapping: symbol, mapping, key"""
    body: tuple[Statement, ...]
    returns: Any
    """Nested tuples and dicts (keys are text) of expressions, and None"""

