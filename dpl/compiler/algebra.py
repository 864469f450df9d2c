"""What the compiler uses of SymPy, and the symbols and functions it adds.

SymPy has no types that a checker could use, so this is the one module in which its objects are `Any`. Text never
reaches SymPy: only its constructors do.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import lru_cache
from typing import Any

from dpl.language.builtins import FUNCTIONS

os.environ.setdefault("SYMPY_CACHE_SIZE", "20000")  # of each function; the usual 1,000 are soon used up
sp: Any = importlib.import_module("sympy")

Expr = Any
Symbol = Any

ZERO: Expr = sp.Integer(0)
ONE: Expr = sp.Integer(1)


def symbol(name: str) -> Symbol:
    """The real symbol of that name; equal names are one symbol."""
    return sp.Symbol(name, real=True)


TIME = symbol("time")
INFINITY = symbol("inf")


# ---------------------------------------------------------------- opaque functions


class _Opaque(sp.Function):
    """A function that SymPy carries but knows nothing of."""

    is_real = True
    is_commutative = True
    is_number = False


_FUNCTIONS: dict[str, Any] = {}


def opaque(name: str) -> Callable[..., Expr]:
    """The opaque function of that name; equal names are one function."""
    if name not in _FUNCTIONS:
        _FUNCTIONS[name] = type(name, (_Opaque,), {})
    return _FUNCTIONS[name]


class _Binding(_Opaque):
    """One that binds symbols in its first argument: each other third one from the second on, with what it counts."""

    @property
    def free_symbols(self) -> set[Symbol]:
        return self.args[0].free_symbols.difference(self.args[1::3])


def binding(name: str) -> Callable[..., Expr]:
    """The opaque function of that name that binds symbols: of (expression, symbol, low, high, symbol, low, high, …)."""
    if name not in _FUNCTIONS:
        _FUNCTIONS[name] = type(name, (_Binding,), {})
    return _FUNCTIONS[name]


NAN: Expr = opaque("nan")()
"""What has no value"""


def function_name(expr: Expr) -> str:
    """The name of the function that the expression calls, SymPy's own included; empty for all else."""
    return type(expr).__name__ if isinstance(expr, sp.Function) else ""


def network_path(expr: Expr) -> str | None:
    """The path of the network that the expression calls."""
    name = function_name(expr)
    return name.removeprefix("network ") if name.startswith("network ") else None


SYMPY_FUNCTIONS = frozenset(row.sympy for row in FUNCTIONS.values() if row.sympy) | {"cot"}
"""Functions of the language whose algebra and derivatives SymPy knows, and what its algebra may turn them into"""

COMPARE = {"<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal", "==": "equal", "!=": "not_equal"}
CONDITIONS = frozenset((*COMPARE.values(), "and", "or", "not", "true", "false"))
"""Functions whose results are truth values"""


# ---------------------------------------------------------------- symbols of our own making


def weights_of(path: str) -> Symbol:
    """The weights of a network."""
    return symbol(f"weights {path}")


def points_of(path: str) -> Symbol:
    """The points of a table, or of a column of data along time."""
    return symbol(f"points {path}")


def path_of(points: Symbol) -> str:
    """Of which table or column they are."""
    return points.name.removeprefix("points ")


def is_compound(expr: Expr) -> bool:
    """Whether it stands for weights or points, of which nothing is computed by itself."""
    return bool(expr.is_Symbol) and expr.name.startswith(("weights ", "points "))


def start_of(path: str) -> Symbol:
    """The start of a state that a caller may change."""
    return symbol(f"start {path}")


def next_of(state: Symbol) -> Symbol:
    """The value of a sampled state at the next tick."""
    return symbol(f"next {state.name}")


# ---------------------------------------------------------------- numbers and sizes


def number(value: Fraction | float) -> Expr:
    """A number in SymPy: exact where it is, else the same double."""
    if isinstance(value, Fraction):
        return sp.Rational(value.numerator, value.denominator)
    return sp.Float(value) if value != int(value) or abs(value) > 1e15 else sp.Integer(int(value))


def free(exprs: Iterable[Expr]) -> set[Symbol]:
    """The symbols in some expressions."""
    return {s for e in exprs for s in symbols_in(e)}


@lru_cache(maxsize=100_000)
def symbols_in(expr: Expr) -> frozenset[Symbol]:
    """The symbols in an expression; SymPy would look for them anew each time."""
    inner: list[frozenset[Symbol]] = [symbols_in(a) for a in expr.args]
    return frozenset[Symbol]().union(*inner) if inner else frozenset[Symbol](expr.free_symbols)


def by_name(symbols: Iterable[Symbol]) -> list[Symbol]:
    """The symbols in an order that does not depend on hashes."""
    return sorted(symbols, key=lambda s: s.name)


class Sizes:
    """The number of nodes of expressions as trees; a shared part is counted wherever it stands, but visited once."""

    def __init__(self) -> None:
        self._known: dict[Expr, int] = {}

    def __call__(self, expr: Expr) -> int:
        if not expr.args:
            return 1
        if expr not in self._known:
            self._known[expr] = 1 + sum(self(a) for a in expr.args)
        return self._known[expr]
