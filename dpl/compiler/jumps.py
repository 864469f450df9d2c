"""When a right-hand side jumps by the clock alone: where a comparison of the time with what is fixed changes.

`if` in an equation is not located as an event is; but what depends on the time alone is known beforehand, and a
solver that steps over it unseen would be wrong without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dpl.compiler.algebra import COMPARE, TIME, Expr, function_name, sp
from dpl.compiler.structure import linear_parts


def switching_times(expr: Expr) -> Iterator[Expr]:
    """The times at which a jump or kink of the expression is met, where they follow from a linear equation."""
    for node in sp.preorder_traversal(expr):
        if not isinstance(node, sp.Function) or TIME not in node.free_symbols:
            continue
        margins = _MARGINS.get(function_name(node))
        for margin in margins(*node.args) if margins else ():
            parts = linear_parts(margin, frozenset({TIME}))
            if parts is not None and TIME in parts[0]:
                yield -parts[1] / parts[0][TIME]


def _itself(a: Expr) -> list[Expr]:
    return [a]


def _between(*args: Expr) -> list[Expr]:
    return [a - b for i, a in enumerate(args) for b in args[i + 1 :]]


def _ends(x: Expr, low: Expr, high: Expr) -> list[Expr]:
    return [x - low, x - high]


_MARGINS: dict[str, Callable[..., list[Expr]]] = {
    **dict.fromkeys(COMPARE.values(), _between),
    **dict.fromkeys(("min", "max"), _between),
    **dict.fromkeys(("step", "sign", "abs", "relu"), _itself),
    "clip": _ends,
}
"""What changes sign where a function jumps or has a kink"""
