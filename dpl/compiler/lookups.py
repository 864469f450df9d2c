"""Functions that are given by points: tables, and columns of data along time.

`lookup linear`, `lookup cubic`, `lookup previous` are opaque functions of (points, x), as a network is one of its
weights; `lookup cubic 1` is a slope.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from dpl.compiler import ir
from dpl.compiler.algebra import TIME, ZERO, Expr, Symbol, function_name, opaque, sp
from dpl.compiler.structure import linear_parts

_DEGREES = {"previous": 0, "linear": 1, "cubic": 3}
_WORD = "lookup"


def looked_up(points: Symbol, x: Expr, using: str, order: int = 0) -> Expr:
    """The value at x, or the derivative of that order."""
    if order > _DEGREES[using]:
        return ZERO
    return opaque(f"{_WORD} {using}" + (f" {order}" if order else ""))(points, x)


def lookup_of(expr: Expr) -> tuple[str, int] | None:
    """Of a call that looks something up how it does, and the order of the derivative."""
    word, *rest = function_name(expr).split(" ")
    return (rest[0], int(rest[1]) if len(rest) > 1 else 0) if word == _WORD else None


def slope(call: Expr) -> Expr:
    """The derivative of such a call to where it looks."""
    found = lookup_of(call)
    assert found is not None
    points, x = call.args
    return looked_up(points, x, found[0], found[1] + 1)


def places(body: Sequence[ir.Statement], values: Iterable[Expr]) -> dict[Expr, Symbol]:
    """Everywhere that something is looked up by `values` and what they are computed with, and in which points."""
    exprs = list(values)
    for statement in body:
        inner: dict[Symbol, Expr] = {}
        for assign in statement.body if isinstance(statement, ir.Root) else ():
            inner[assign.target] = assign.value.xreplace(inner)
        exprs += [e.xreplace(inner) for e in ir.expressions(statement)]
    calls = (node for e in exprs for node in sp.preorder_traversal(e) if lookup_of(node) is not None)
    return {node.args[1]: node.args[0] for node in calls}


def point_times(body: Sequence[ir.Statement], values: Iterable[Expr], fixed: Callable[[Expr], bool]) -> list[Expr]:
    """The times, as arrays, at which what is looked up by the time passes its points.

    Args:
        body: what `values` are computed with, in order.
        fixed: whether an expression is a number that stays during a run: by such the time is shifted and stretched.
    """
    clocks: dict[Symbol, Expr] = {}
    found: dict[Expr, None] = {}
    for statement in body:
        for e in ir.expressions(statement):
            found |= dict.fromkeys(_times(e, clocks, fixed))
        if isinstance(statement, ir.Assign):
            value = statement.value.xreplace(clocks)
            if _affine(value, fixed) is not None:
                clocks[statement.target] = value
    for e in values:
        found |= dict.fromkeys(_times(e, clocks, fixed))
    return list(found)


def _times(expr: Expr, clocks: dict[Symbol, Expr], fixed: Callable[[Expr], bool]) -> Iterator[Expr]:
    for node in sp.preorder_traversal(expr):
        if lookup_of(node) is not None:
            parts = _affine(node.args[1].xreplace(clocks), fixed)
            if parts is not None:
                yield (opaque("element 0")(node.args[0]) - parts[1]) / parts[0]


def _affine(expr: Expr, fixed: Callable[[Expr], bool]) -> tuple[Expr, Expr] | None:
    """Factor and rest of an expression that is linear in the time, else fixed."""
    parts = linear_parts(expr, frozenset({TIME})) if TIME in expr.free_symbols else None
    if parts is None or TIME not in parts[0] or not (fixed(parts[0][TIME]) and fixed(parts[1])):
        return None
    return parts[0][TIME], parts[1]
