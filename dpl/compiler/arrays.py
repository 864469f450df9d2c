"""Terms of one element: what `for` says as algebra, before `vectors.py` makes operations on whole arrays of it.

    at(T, i + 1)                      an element of an array; one subscript for each of its first axes
    each(e, i, 1, 98)                 the array of e for i in 1..98; further indices are further axes
    sum over(e, i, 1, 98)             a reduction over indices (`REDUCTIONS`)
    pieces 0 | 1:99 | 99 (a, e, b)    an array from its pieces, with the place of each

An index is a symbol. `each` and reductions bind theirs: outside they are no free symbols. Between the indices and
constants of an element, the algebra is that of numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from dpl.compiler.algebra import Expr, Symbol, binding, function_name, opaque, sp, symbol

REDUCTIONS = ("sum", "mean", "product", "min", "max", "norm")

ALL: Expr = opaque("all")()
"""The subscript of an axis that is read whole"""

LAYOUTS = ("axes ", "element ", "joined ", "transposed ", "stacked ", "written ")
"""How names of functions begin that move elements and compute nothing; `full` is another"""


class Axis(NamedTuple):
    """An index and what it counts, both ends included."""

    index: Symbol
    low: int
    high: int

    @property
    def size(self) -> int:
        return self.high - self.low + 1


def index_symbol(name: str, taken: Sequence[Symbol]) -> Symbol:
    """The symbol of an index that differs from those around it."""
    found, count = symbol(f"index {name}"), 2
    while found in taken:
        found, count = symbol(f"index {name}_{count}"), count + 1
    return found


def at(array: Expr, subscripts: Sequence[Expr]) -> Expr:
    """An element, or with whole axes or slices among the subscripts an array of them."""
    subscripts = list(subscripts)
    while subscripts and subscripts[-1] == ALL:
        subscripts.pop()
    if not subscripts:
        return array
    if function_name(array) == "at" and ALL not in array.args and not any(map(is_slice, array.args)):
        return opaque("at")(*array.args, *subscripts)
    texts = [_fixed(s) for s in subscripts]
    fixed = [t for t in texts if t is not None]
    if len(fixed) == len(texts) and not has_terms(array):
        return opaque(f"element {', '.join(fixed)}")(array)
    return opaque("at")(array, *subscripts)


def _fixed(subscript: Expr) -> str | None:
    """A subscript without indices as Python writes it."""
    if subscript.is_Integer:
        return str(int(subscript))
    if subscript == ALL:
        return ":"
    if is_slice(subscript):
        low, high = map(int, subscript.args)
        return f"{low}:{high if high >= 0 else ''}"
    return None


def between(low: int, high: int | None) -> Expr:
    """The subscript `low..high`, to the end of the axis without `high`."""
    return opaque("slice")(sp.Integer(low), sp.Integer(-1 if high is None else high + 1))


def is_slice(subscript: Expr) -> bool:
    return function_name(subscript) == "slice"


def offset(subscript: Expr) -> tuple[Symbol, int] | None:
    """The index and the constant of a subscript `i + c`."""
    constant, rest = subscript.as_coeff_Add()
    return (rest, int(constant)) if rest.is_Symbol and constant.is_Integer else None


def each(expr: Expr, axes: Sequence[Axis]) -> Expr:
    """The array of an expression for every combination of the indices, in their order; its own axes come after."""
    return binding("each")(expr, *_bounds(axes)) if axes else expr


def over(kind: str, expr: Expr, axes: Sequence[Axis]) -> Expr:
    """One of `REDUCTIONS` over the indices."""
    return binding(f"{kind} over")(expr, *_bounds(axes))


def _bounds(axes: Sequence[Axis]) -> list[Expr]:
    return [e for axis in axes for e in (axis.index, sp.Integer(axis.low), sp.Integer(axis.high))]


def bound_axes(expr: Expr) -> tuple[Axis, ...]:
    """The indices that `each` or a reduction binds."""
    rest = expr.args[1:]
    return tuple(Axis(rest[k], int(rest[k + 1]), int(rest[k + 2])) for k in range(0, len(rest), 3))


def reduction(expr: Expr) -> str | None:
    """The kind of reduction over indices that the expression is."""
    name = function_name(expr)
    return name.removesuffix(" over") if name.endswith(" over") else None


Place = tuple[tuple[int, int] | int, ...]
"""Of each of the first axes of an array the element, or the first and one past the last"""


def pieces(places: Sequence[Place], values: Sequence[Expr]) -> Expr:
    """An array from the values of its pieces, which cover it."""
    return opaque(f"pieces {' | '.join(map(_place_text, places))}")(*values)


def _place_text(place: Place) -> str:
    return ", ".join(str(p) if isinstance(p, int) else f"{p[0]}:{p[1]}" for p in place)


def places(expr: Expr) -> list[Place]:
    """Where the pieces of `pieces` are."""
    return [_place(text) for text in function_name(expr).removeprefix("pieces ").split(" | ")]


def _place(text: str) -> Place:
    found: list[tuple[int, int] | int] = []
    for part in text.split(", "):
        low, colon, high = part.partition(":")
        found.append((int(low), int(high)) if colon else int(low))
    return tuple(found)


def extent(found: Sequence[Place]) -> tuple[int, ...]:
    """The sizes of the axes that pieces at these places cover."""
    return tuple(max(p + 1 if isinstance(p, int) else p[1] for p in axis) for axis in zip(*found, strict=True))


def is_pieces(expr: Expr) -> bool:
    return function_name(expr).startswith("pieces ")


# ---------------------------------------------------------------- element by element


def elements_in_place(expr: Expr, unknowns: Iterable[Symbol]) -> tuple[list[Expr], dict[Symbol, Symbol]] | None:
    """The bodies of `each` or of pieces, with a name of its own for the element of each unknown in that very place.

    None where the expression is no such array, or reads the unknowns elsewhere too: their elements then depend on each
    other.
    """
    if function_name(expr) == "each":
        parts = [(expr, tuple((0, axis.size) for axis in bound_axes(expr)))]
    elif is_pieces(expr):
        parts = list(zip(expr.args, places(expr), strict=True))
    else:
        return None
    names = {u: symbol(f"element of {u.name}") for u in unknowns if u in expr.free_symbols}
    bodies: list[Expr] = []
    for part, place in parts:
        inner = part.args[0] if function_name(part) == "each" else part
        subscripts = _place_of(part, place)
        body = inner.xreplace({at(u, subscripts): name for u, name in names.items()}) if subscripts else inner
        if names.keys() & body.free_symbols:
            return None
        bodies.append(body)
    return bodies, names


def _place_of(part: Expr, place: Place) -> list[Expr] | None:
    """The subscripts of the element that a body gives; None where a part of the place has no index."""
    axes = list(bound_axes(part)) if function_name(part) == "each" else []
    found: list[Expr] = []
    for p in place:
        if isinstance(p, int):
            found.append(sp.Integer(p))
        elif axes:
            axis = axes.pop(0)
            found.append(axis.index + (p[0] - axis.low))
        else:
            return None
    return found


def quotient(above: Expr, below: Expr) -> Expr:
    """One array over another, element by element."""
    alike = function_name(above) == function_name(below) == "each" and above.args[1:] == below.args[1:]
    return above.func(above.args[0] / below.args[0], *above.args[1:]) if alike else above / below


def by_element(left: Expr, right: Expr) -> list[tuple[Expr, Expr, tuple[Axis, ...]]]:
    """An equation of arrays as equations of elements, each with its indices; any other as it is."""
    shown = right if is_term(right) else left
    if function_name(shown) == "each":
        found = [(bound_axes(shown), tuple((0, axis.size) for axis in bound_axes(shown)))]
    elif is_pieces(shown):
        found = [
            (bound_axes(e) if function_name(e) == "each" else (), place)
            for e, place in zip(shown.args, places(shown), strict=True)
        ]
    else:
        return [(left, right, ())]
    rows: list[tuple[Expr, Expr, tuple[Axis, ...]]] = []
    for k, (axes, place) in enumerate(found):
        counted = iter(axes)
        subscripts = [_subscript(p, counted) for p in place]
        rows.append((_body(left, k, subscripts), _body(right, k, subscripts), axes))
    return rows


def _subscript(place: int | tuple[int, int], counted: Iterator[Axis]) -> Expr:
    if isinstance(place, int):
        return sp.Integer(place)
    axis = next(counted, None)
    return axis.index + (place[0] - axis.low) if axis is not None else between(place[0], place[1] - 1)


def _body(side: Expr, position: int, subscripts: list[Expr]) -> Expr:
    part = side.args[position] if is_pieces(side) else side
    if function_name(part) == "each":
        return part.args[0]
    return part if is_pieces(side) or side.is_number else at(side, subscripts)


def rebuilt(expr: Expr, bodies: Sequence[Expr]) -> Expr:
    """`each` or pieces with other bodies; one number for all stays that number."""
    if bodies[0].is_number and all(body == bodies[0] for body in bodies):
        return bodies[0]
    if function_name(expr) == "each":
        return expr.func(bodies[0], *expr.args[1:])
    parts = zip(expr.args, bodies, strict=True)
    return expr.func(*(p.func(b, *p.args[1:]) if function_name(p) == "each" else b for p, b in parts))


def is_layout(expr: Expr) -> bool:
    """Whether an expression only moves or repeats elements of arrays; a single element that it reads is a number."""
    name = function_name(expr)
    if name.startswith("element "):
        return ":" in name
    return name == "full" or name.startswith(LAYOUTS)


def is_term(expr: Expr) -> bool:
    return function_name(expr) in ("at", "each") or is_pieces(expr) or reduction(expr) is not None


@lru_cache(maxsize=50_000)
def has_terms(expr: Expr) -> bool:
    """Whether anything in an expression is of one element, and so no operation on arrays yet."""
    return bool(expr.args) and (is_term(expr) or any(map(has_terms, expr.args)))
