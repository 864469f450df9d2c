"""Terms of one element into operations on whole arrays: slices, gathers, reductions. Nothing grows with a size.

While indices are counted, a value has an axis for each index that it depends on, in the order in which they are
counted, and then its own axes. Values of different axes meet as arrays of one rank, with axes of one element where a
value has none; so what depends on one index alone is computed once for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, permutations

from dpl.compiler.algebra import Expr, Symbol, function_name, opaque, sp
from dpl.compiler.arrays import (
    ALL,
    Axis,
    Place,
    bound_axes,
    extent,
    has_terms,
    is_layout,
    is_pieces,
    is_slice,
    offset,
    places,
    reduction,
)
from dpl.compiler.shapes import Shapes

MOST_RUNS = 3
"""Stretches in which a subscript that goes round is put together from slices; beyond, elements are gathered"""
MOST_NEAR = 4
"""Steps to the side, or an eighth of all, up to which neighbours are slices of one array with its ends repeated"""


@dataclass(frozen=True)
class Value:
    """`expr` has the axes of these indices, by their place among those that are counted, and then its own."""

    expr: Expr
    axes: tuple[int, ...] = ()


Context = tuple[Axis, ...]


class Vectors:
    """What terms of one system are as operations on arrays."""

    def __init__(self, shapes: Shapes):
        self._shapes = shapes
        self._known: dict[tuple[Context, Expr], Value] = {}

    def __call__(self, expr: Expr) -> Expr:
        """The same value without terms of one element."""
        return self._value(expr, ()).expr if has_terms(expr) else expr

    def _value(self, expr: Expr, context: Context) -> Value:
        if not has_terms(expr) and not any(axis.index in expr.free_symbols for axis in context):
            return Value(expr)
        key = (context, expr)
        if key not in self._known:
            self._known[key] = self._computed(expr, context)
        return self._known[key]

    def _computed(self, expr: Expr, context: Context) -> Value:
        if expr.is_Symbol:
            position = next(k for k, axis in enumerate(context) if axis.index == expr)
            return Value(opaque("count")(*map(sp.Integer, context[position][1:])), (position,))
        name, kind = function_name(expr), reduction(expr)
        if name == "at":
            return self._element(expr, context)
        if name == "each":
            return self._each(expr, context)
        if kind is not None:
            return self._reduction(kind, expr.args[0], bound_axes(expr), context)
        if is_pieces(expr):
            return self._pieces(expr, context)
        values = [self._value(a, context) for a in expr.args]
        if isinstance(expr, sp.Add | sp.Mul):
            return self._together(expr.func, values)
        return self._function(expr, name, values, context)

    # ------------------------------------------------------------ shapes

    def _own(self, value: Value) -> tuple[int, ...]:
        """The shape of the value's own axes."""
        return self._shapes.of(value.expr)[len(value.axes) :]

    def _aligned(self, value: Value, axes: Sequence[int], own: int) -> Expr:
        """The value with an axis for each of `axes` and with `own` axes of its own, those it lacks of one element."""
        rank = len(self._own(value))
        if (not value.axes and not rank) or (value.axes == tuple(axes) and rank == own):
            return value.expr
        marks = [":" if a in value.axes else "None" for a in axes] + [":" if rank else "None"] * own
        return _marked(marks, value.expr)

    def _spread(self, value: Value, axes: Sequence[int], context: Context, own: tuple[int, ...] | None = None) -> Expr:
        """The value as an array over all these axes, of its own shape or of that which is said."""
        own = self._own(value) if own is None else own
        sizes = (*(context[a].size for a in axes), *own)
        aligned = self._aligned(value, axes, len(own))
        return aligned if self._shapes.of(aligned) == sizes else opaque("full")(aligned, *map(sp.Integer, sizes))

    def _common(self, values: Sequence[Value]) -> tuple[list[Expr], tuple[int, ...]]:
        """The values as arrays that meet element by element, and the axes of what comes out."""
        axes = tuple(sorted({a for v in values for a in v.axes}))
        own = max((len(self._own(v)) for v in values), default=0)
        return [self._aligned(v, axes, own) for v in values], axes

    # ------------------------------------------------------------ arithmetic and functions

    def _together(self, operation: Callable[..., Expr], values: Sequence[Value]) -> Value:
        """A sum or product: first of what has the same axes."""

        def alike(value: Value) -> tuple[tuple[int, ...], int]:
            return value.axes, len(self._own(value))

        ordered = sorted(values, key=alike)
        partial = [Value(operation(*(v.expr for v in group)), axes) for (axes, _), group in groupby(ordered, alike)]
        arguments, axes = self._common(partial)
        return Value(operation(*arguments), axes)

    def _function(self, expr: Expr, name: str, values: Sequence[Value], context: Context) -> Value:
        if not any(v.axes for v in values):
            return Value(expr.func(*(v.expr for v in values)))
        first = values[0]
        count = len(first.axes)
        own = range(count, count + len(self._own(first)))
        match name:
            case "sum" | "mean" | "product" | "array_min" | "array_max" | "norm":
                return Value(self._along(name.removeprefix("array_"), first.expr, own), first.axes)
            case "dot":
                product = self._together(sp.Mul, values)
                return Value(self._along("sum", product.expr, [len(product.axes)]), product.axes)
            case "matmul":
                return self._matmul(values)
            case "transpose":
                order = [*range(count), *reversed(own)]
                return Value(opaque(f"transposed {', '.join(map(str, order))}")(first.expr), first.axes)
            case "array":
                return self._stacked(values, context)
            case "full":
                size = tuple(int(a) for a in expr.args[1:])
                return Value(self._spread(first, first.axes, context, size), first.axes)
            case "result":
                return Value(expr.func(first.expr, expr.args[1]), first.axes)
            case "interpolate":
                axes = tuple(sorted({a for v in values for a in v.axes}))
                columns = [self._aligned(v, axes, 1) if v.axes else v.expr for v in values[1:]]
                return Value(expr.func(self._spread(first, axes, context), *columns), axes)
            case "conv":
                axes = tuple(sorted({a for v in values for a in v.axes}))
                rank = len(self._own(first))
                return Value(opaque(f"conv {rank}")(*(self._aligned(v, axes, rank) for v in values)), axes)
            case _ if name.startswith("network "):
                return self._network(expr, values)
            case _ if name.startswith("element "):
                marks = [":"] * count + name.removeprefix("element ").split(", ")
                return Value(opaque(f"element {', '.join(marks)}")(first.expr), first.axes)
            case _:
                arguments, axes = self._common(values)
                return Value(expr.func(*arguments), axes)

    def _network(self, expr: Expr, values: Sequence[Value]) -> Value:
        """A network applied at every index at once: its weights stand once, its inputs have the axes first."""
        axes = tuple(sorted({a for v in values for a in v.axes}))
        arguments = [self._aligned(v, axes, len(self._own(v))) for v in values[1:]]
        return Value(expr.func(values[0].expr, *arguments), axes)

    def _stacked(self, values: Sequence[Value], context: Context) -> Value:
        axes = tuple(sorted({a for v in values for a in v.axes}))
        own = max((self._own(v) for v in values), key=len)
        items = [self._spread(v, axes, context, own) for v in values]
        return Value(opaque(f"stacked {len(axes)}")(*items), axes)

    def _matmul(self, values: Sequence[Value]) -> Value:
        """`A @ x` for each combination of indices."""
        left, right = values
        axes = tuple(sorted({*left.axes, *right.axes}))
        a, b = ("yz"[2 - len(self._own(left)) :], "zx"[: len(self._own(right))])
        return self._einsum([(left, a), (right, b)], axes, (a + b).replace("z", ""))

    def _einsum(self, factors: Sequence[tuple[Value, str]], axes: Sequence[int], own: str) -> Value:
        """The product of the factors, each with names of its own axes, summed over every axis that is not in `axes`
        nor in `own`."""
        named = ["".join(_letter(a) for a in v.axes) + letters for v, letters in factors]
        outer = "".join(map(_letter, axes)) + own
        arguments = [v.expr for v, _ in factors]
        for (one, a), (two, b) in permutations(zip(named, arguments, strict=True), 2):
            if len(one) == len(two) == 1 and one == two and not outer:
                return Value(opaque("dot")(a, b))
            if len(one) == 2 and len(two) <= 2 and one[1] == two[0] and outer == one[0] + two[1:] and one[0] not in two:
                return Value(opaque("matmul")(a, b), tuple(axes))
        return Value(opaque(f"einsum {','.join(named)}->{outer}")(*arguments), tuple(axes))

    def _along(self, kind: str, expr: Expr, positions: Sequence[int]) -> Expr:
        """A reduction along some axes of an array; along all of them it is one of the whole array."""
        if not positions:
            return opaque("abs")(expr) if kind == "norm" else expr
        if len(positions) == len(self._shapes.of(expr)):
            return opaque(f"array_{kind}" if kind in ("min", "max") else kind)(expr)
        text = ", ".join(map(str, positions))
        if kind == "norm":
            return sp.Pow(opaque(f"sum along {text}")(sp.Pow(expr, 2)), sp.Rational(1, 2))
        return opaque(f"{kind} along {text}")(expr)

    # ------------------------------------------------------------ what binds indices

    def _each(self, expr: Expr, context: Context) -> Value:
        """The bound axes become the value's own, before those that it has."""
        inner = (*context, *bound_axes(expr))
        value = self._value(expr.args[0], inner)
        outer = tuple(a for a in value.axes if a < len(context))
        new = range(len(context), len(inner))
        if set(new) <= set(value.axes):
            return Value(value.expr, outer)
        return Value(self._spread(value, (*outer, *new), inner), outer)

    def _reduction(self, kind: str, body: Expr, axes: Sequence[Axis], context: Context) -> Value:
        inner = (*context, *axes)
        bound = set(range(len(context), len(inner)))
        if kind == "sum":
            return self._sum(body, inner, bound)
        value = self._value(body, inner)
        found = self._reduced(kind, value, bound)
        missing = sp.Mul(*(inner[a].size for a in bound.difference(value.axes)))
        match kind:
            case "product":
                return Value(sp.Pow(found.expr, missing), found.axes)
            case "norm":
                return Value(sp.sqrt(missing) * found.expr, found.axes)
            case _:
                return found

    def _reduced(self, kind: str, value: Value, bound: set[int]) -> Value:
        positions = [k for k, a in enumerate(value.axes) if a in bound]
        kept = tuple(a for a in value.axes if a not in bound)
        return Value(self._along(kind, value.expr, positions), kept)

    def _sum(self, body: Expr, inner: Context, bound: set[int]) -> Value:
        """A sum over indices. A product of arrays that are there is contracted; all else XLA fuses into the sum."""
        if isinstance(body, sp.Add):
            terms = [self._contracted(term, inner, bound) for term in body.args]
            if None not in terms:
                return self._together(sp.Add, [t for t in terms if t is not None])
        found = self._contracted(body, inner, bound)
        if found is not None:
            return found
        factors = [self._value(a, inner) for a in sp.Mul.make_args(body)]
        outside = [f for f in factors if not bound.intersection(f.axes)]
        inside = [f for f in factors if bound.intersection(f.axes)]
        product = self._together(sp.Mul, inside) if inside else Value(sp.Integer(1))
        total = self._reduced("sum", product, bound)
        size = sp.Mul(*(inner[a].size for a in bound.difference(product.axes)))
        return self._together(sp.Mul, [*outside, total, Value(size)])

    def _contracted(self, body: Expr, inner: Context, bound: set[int]) -> Value | None:
        """The sum of a product of numbers as a product of matrices; None where that saves no work."""
        factors = [self._value(a, inner) for a in sp.Mul.make_args(body)]
        if any(self._own(f) for f in factors):
            return None
        outside = [f for f in factors if not bound.intersection(f.axes)]
        grouped: dict[tuple[int, ...], list[Expr]] = {}
        for f in factors:
            if f not in outside:
                grouped.setdefault(f.axes, []).append(f.expr)
        inside = sorted((Value(sp.Mul(*e), axes) for axes, e in grouped.items()), key=lambda v: (-len(v.axes), v.axes))
        together = {a for f in inside for a in f.axes}
        if len(inside) != 2 or not bound <= together or not bound.intersection(*(f.axes for f in inside)):
            return None
        if any(set(f.axes) == together and not _at_hand(f.expr) for f in inside):
            return None
        kept = tuple(sorted(together - bound))
        total = self._einsum([(f, "") for f in inside], kept, "")
        return self._together(sp.Mul, [*outside, total]) if outside else total

    # ------------------------------------------------------------ pieces

    def _pieces(self, expr: Expr, context: Context) -> Value:
        """Pieces side by side where straight cuts part them, else each written into its place."""
        found = list(zip(places(expr), (self._value(a, context) for a in expr.args), strict=True))
        axes = tuple(sorted({a for _, v in found for a in v.axes}))
        own = self._shapes.of(expr)[len(extent([p for p, _ in found])) :]
        blocks = [
            (tuple((p, p + 1) if isinstance(p, int) else p for p in place), self._block(place, v, axes, context, own))
            for place, v in found
        ]
        joined = _joined(blocks, len(axes))
        if joined is None:
            boxes = " | ".join(", ".join([":"] * len(axes) + [f"{a}:{b}" for a, b in box]) for box, _ in blocks)
            sizes = [context[a].size for a in axes] + list(extent([p for p, _ in found])) + list(own)
            joined = opaque(f"written {boxes}")(*map(sp.Integer, sizes), *(b for _, b in blocks))
        return Value(joined, axes)

    def _block(self, place: Place, value: Value, axes: Sequence[int], context: Context, own: tuple[int, ...]) -> Expr:
        """A piece as an array with every axis of the whole."""
        if not value.axes and function_name(value.expr) == "full" and not self._shapes.of(value.expr.args[0]):
            value = Value(value.expr.args[0])
        if not value.axes and not self._own(value):
            sizes = (*(context[a].size for a in axes), *(1 if isinstance(p, int) else p[1] - p[0] for p in place), *own)
            return opaque("full")(value.expr, *map(sp.Integer, sizes))
        sizes = tuple(p[1] - p[0] for p in place if not isinstance(p, int))
        spread = self._spread(value, axes, context, (*sizes, *own))
        marks = [":"] * len(axes) + ["None" if isinstance(p, int) else ":" for p in place]
        return _marked(marks, spread)

    # ------------------------------------------------------------ elements

    def _element(self, expr: Expr, context: Context) -> Value:
        base = self._value(expr.args[0], context)
        subscripts = expr.args[1:]
        indices = {axis.index: k for k, axis in enumerate(context)}
        found = [_Straight.of(s, indices, context) for s in subscripts]
        named = [s.axis for s in found if s is not None and s.axis is not None]
        if None in found or len({*named, *base.axes}) < len(named) + len(base.axes):
            return self._gathered(base, subscripts, context)
        value, dims = base.expr, list[int | None](base.axes)
        marks = [":"] * len(base.axes)
        for s in found:
            assert s is not None
            marks.append(s.mark if s.around is None else ":")
            dims += [s.axis] if s.keeps else []
        value = self._sliced(value, marks)
        for s in found:
            if s is not None and s.around is not None:
                value = self._joined_runs(value, dims.index(s.axis), s)
        rest = len(self._shapes.of(value)) - len(dims)
        return self._ordered(value, [*dims, *[None] * rest])

    def _sliced(self, value: Expr, marks: Sequence[str]) -> Expr:
        """The slice, without what takes all of an axis."""
        shape = self._shapes.of(value)
        kept = [":" if m == f"0:{size}" else m for m, size in zip(marks, shape, strict=False)]
        while kept and kept[-1] == ":":
            kept.pop()
        return opaque(f"element {', '.join(kept)}")(value) if kept else value

    def _joined_runs(self, value: Expr, position: int, s: _Straight) -> Expr:
        """The elements in which a subscript goes round.

        Neighbours to the left and right of all elements are slices of one array with both of its ends repeated
        (measured beside an array for each neighbour: half the time and less).
        """

        def part(low: int, high: int) -> Expr:
            return self._sliced(value, [*[":"] * position, f"{low}:{high}"])

        join = opaque(f"joined {position}")
        size, first = self._shapes.of(value)[position], s.runs[0][0]
        if len(s.runs) == 2 and s.runs[1] == (0, first) and s.runs[0][1] == size:
            width = min(first, size - first)
            if width > max(MOST_NEAR, size // 8):
                return join(*(part(*run) for run in s.runs))
            ends_repeated = join(part(size - width, size), value, part(0, width))
            start = 2 * width if first == width else 0
            return self._sliced(ends_repeated, [*[":"] * position, f"{start}:{start + size}"])
        parts = [part(*run) for run in s.runs]
        return parts[0] if len(parts) == 1 else join(*parts)

    @staticmethod
    def _ordered(value: Expr, dims: Sequence[int | None]) -> Value:
        """The value with the axes of indices in their order, and its own last."""
        order = sorted(range(len(dims)), key=lambda k: (dims[k] is None, dims[k] or 0))
        axes = tuple(a for k in order if (a := dims[k]) is not None)
        moved = order != list(range(len(dims)))
        return Value(opaque(f"transposed {', '.join(map(str, order))}")(value) if moved else value, axes)

    def _gathered(self, base: Value, subscripts: Sequence[Expr], context: Context) -> Value:
        """Elements by tables of their places: `x[neighbour[i]]`, `A[i, i]`."""
        marks = [_mark(s) for s in subscripts]
        sliced = self._sliced(base.expr, [":"] * len(base.axes) + [m or ":" for m in marks])
        places = [Value(opaque("count")(sp.Integer(0), sp.Integer(context[a].size - 1)), (a,)) for a in base.axes]
        by_table = [k for k in range(len(base.axes))]
        position = len(base.axes)
        for s, mark in zip(subscripts, marks, strict=True):
            if mark is None:
                by_table.append(position)
                places.append(self._value(_number(s), context))
            position += mark is None or ":" in mark
        rest = [k for k in range(len(self._shapes.of(sliced))) if k not in by_table]
        order = [*by_table, *rest]
        if order != sorted(order):
            sliced = opaque(f"transposed {', '.join(map(str, order))}")(sliced)
        tables, axes = self._common(places)
        return Value(opaque("gathered")(sliced, *(opaque("whole")(t) for t in tables)), axes)


def _marked(marks: list[str], expr: Expr) -> Expr:
    """The array with an axis of one element at each `None`; a sign stays outside."""
    while marks and marks[-1] == ":":
        marks.pop()
    if not marks:
        return expr
    sign, inner = (-1, -expr) if expr.is_Mul and expr.args[0] == -1 else (1, expr)
    return sign * opaque(f"axes {', '.join(marks)}")(inner)


# ---------------------------------------------------------------- subscripts


@dataclass(frozen=True)
class _Straight:
    """A subscript that is a slice or an element: `mark` as Python writes it. `axis`: of the index that it counts."""

    mark: str
    keeps: bool
    axis: int | None = None
    around: int | None = None
    """What `mod` goes round at"""
    runs: tuple[tuple[int, int], ...] = ()

    @staticmethod
    def of(s: Expr, indices: dict[Symbol, int], context: Context) -> _Straight | None:
        mark = _mark(s)
        if mark is not None:
            return _Straight(mark, ":" in mark)
        round_at = int(s.args[1]) if function_name(s) == "wrapped" else None
        found = offset(s.args[0] if round_at else s)
        if found is None or found[0] not in indices:
            return None
        axis = indices[found[0]]
        low, high = context[axis].low + found[1], context[axis].high + found[1]
        if round_at is None:
            return _Straight(f"{low}:{high + 1}", True, axis)
        runs = _runs(low, high, round_at)
        return _Straight("", True, axis, round_at, runs) if len(runs) <= MOST_RUNS else None


def _mark(s: Expr) -> str | None:
    """A subscript without indices, as Python writes it."""
    if s.is_Integer:
        return str(int(s))
    if s == ALL:
        return ":"
    if is_slice(s):
        low, high = map(int, s.args)
        return f"{low}:{high if high >= 0 else ''}"
    return None


def _number(s: Expr) -> Expr:
    """A subscript as a number."""
    match function_name(s):
        case "table":
            return s.args[0]
        case "wrapped":
            return opaque("mod")(*s.args)
        case _:
            return s


def _runs(low: int, high: int, around: int) -> tuple[tuple[int, int], ...]:
    """The stretches of `k mod around` for k from `low` to `high`: first and one past the last of each."""
    found: list[tuple[int, int]] = []
    k = low
    while k <= high and len(found) <= MOST_RUNS:
        start = k % around
        stop = min(around, start + high - k + 1)
        found.append((start, stop))
        k += stop - start
    return tuple(found)


def _letter(axis: int) -> str:
    return "abcdefghijklmnopqrstuvw"[axis]


def _at_hand(expr: Expr) -> bool:
    """Whether an array is there, and need not be computed first."""
    return expr.is_Symbol or ((is_layout(expr) or function_name(expr) == "gathered") and _at_hand(expr.args[0]))


# ---------------------------------------------------------------- pieces

Box = tuple[tuple[int, int], ...]


def _joined(blocks: Sequence[tuple[Box, Expr]], before: int) -> Expr | None:
    """The blocks put together by straight cuts through all of them; None where there are none."""
    if len(blocks) == 1:
        return blocks[0][1]
    for axis in range(len(blocks[0][0])):
        ordered = sorted(blocks, key=lambda b: b[0][axis])
        groups: list[list[tuple[Box, Expr]]] = []
        end = -1
        for block in ordered:
            low, high = block[0][axis]
            if low >= end:
                groups.append([])
            groups[-1].append(block)
            end = max(end, high)
        if len(groups) > 1:
            parts = [_joined(group, before) for group in groups]
            return None if None in parts else opaque(f"joined {before + axis}")(*parts)
    return None
