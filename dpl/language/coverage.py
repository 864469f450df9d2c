"""Whether the pieces of an array cover it, each element once.

A piece covers a box: along each axis of the array one element, or a run of them. Boxes are compared as boxes, so that
the work depends on the text and not on the size of the array.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import prod

from dpl.language import syntax
from dpl.language.constants import BadConstant, NotConstant
from dpl.language.diagnostics import Diagnostic, Label
from dpl.language.indices import (
    Constant,
    Offset,
    Slice,
    ends,
    index_scope,
    indices_of,
    located,
    primed,
    read_shape,
    subscript,
    without_subscripts,
)
from dpl.language.model import Index, Scope, Variable
from dpl.language.source import Span

Interval = tuple[int, int]
"""The first and last element along an axis"""


@dataclass(frozen=True)
class Box:
    """The elements that one piece gives."""

    intervals: tuple[Interval, ...]
    piece: syntax.Piece

    @property
    def size(self) -> int:
        return prod(high - low + 1 for low, high in self.intervals)


def check_coverage(
    pieces: Sequence[syntax.Piece], variable: Variable, scope: Scope, form: str, problems: list[Diagnostic]
) -> None:
    """Report an element that is given twice, or never. What is wrong with one piece is reported first, and alone.

    `form` is how the text gives an element: `{}'`, `next {}`.
    """
    shape = read_shape(variable, scope)
    before = len(problems)
    boxes: list[Box] = []
    for piece in pieces:
        box = box_of(piece, shape, scope, problems)
        if box is None:
            return  # its subscripts or indices are wrong, which is said where they are read
        boxes.append(box)
    if len(problems) > before:
        return
    rivals = list(overlapping(boxes))
    problems += [_given_twice(one, two, corner, form) for one, two, corner in rivals]
    if rivals or sum(box.size for box in boxes) == prod(shape):
        return
    missing = first_missing([b.intervals for b in boxes], shape)
    if missing is not None:
        problems.append(_never_given(boxes, missing, variable, form))


def box_of(piece: syntax.Piece, shape: tuple[int, ...], scope: Scope, problems: list[Diagnostic]) -> Box | None:
    """The box of a piece; None if its subscripts are no usable ones."""
    inner = index_scope(scope, piece.indices)
    found = located(piece.target, inner)
    if None in (ends(index, scope) for index in piece.indices):
        return None
    if found is None or len(found.subscripts) > len(shape):
        return None
    intervals: list[Interval] = []
    used: list[Index] = []
    for expr, size in zip(found.subscripts, shape, strict=False):
        try:
            match None if expr is None else subscript(expr, inner):
                case None:
                    interval = (0, size - 1)
                case Constant(value):
                    interval = (value, value)
                case Slice(low, high):
                    interval = (low, size - 1 if high is None else high)
                case Offset(index, constant):
                    interval = (index.low + constant, index.high + constant)
                    if index in used:
                        problems.append(_twice_on_the_left(piece, index))
                    used.append(index)
                case _:
                    problems.append(_no_box(piece, expr or piece.target))
                    return None
        except (NotConstant, BadConstant):
            return None
        if not 0 <= interval[0] <= interval[1] < size:
            return None
        intervals.append(interval)
    for index in indices_of(scope, piece.indices):
        if index not in used:
            problems.append(_not_on_the_left(piece, index))
    return Box((*intervals, *((0, size - 1) for size in shape[len(intervals) :])), piece)


def overlapping(boxes: Sequence[Box]) -> Iterator[tuple[Box, Box, tuple[int, ...]]]:
    """The boxes that have elements in common, as the text orders them, each pair with its first such element."""
    ordered = sorted(boxes, key=lambda b: b.intervals)
    for place, one in enumerate(ordered):
        for two in ordered[place + 1 :]:
            if one.intervals and two.intervals[0][0] > one.intervals[0][1]:
                break
            corner = common(one, two)
            if corner is not None:
                first, second = sorted((one, two), key=lambda b: b.piece.span.start)
                yield first, second, corner


def common(one: Box, two: Box) -> tuple[int, ...] | None:
    """The first element that both boxes hold."""
    pairs = list(zip(one.intervals, two.intervals, strict=True))
    if all(max(a[0], b[0]) <= min(a[1], b[1]) for a, b in pairs):
        return tuple(max(a[0], b[0]) for a, b in pairs)
    return None


def first_missing(boxes: Sequence[tuple[Interval, ...]], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The first element, in the order of the array, that no box holds."""
    gap = next(gaps(boxes, shape), None)
    return None if gap is None else tuple(low for low, _ in gap)


def gaps(boxes: Sequence[tuple[Interval, ...]], shape: tuple[int, ...]) -> Iterator[tuple[Interval, ...]]:
    """What no box holds, itself in boxes, in the order of the array."""
    if not shape:
        if not boxes:
            yield ()
        return
    cuts = sorted({0, shape[0], *(b[0][0] for b in boxes), *(b[0][1] + 1 for b in boxes)})
    for start, after in pairwise(cuts):
        inside = [b[1:] for b in boxes if b[0][0] <= start <= b[0][1]]
        for rest in gaps(inside, shape[1:]):
            yield ((start, after - 1), *rest)


def completed(
    given: Sequence[syntax.Piece], variable: Variable, order: int, scope: Scope, problems: list[Diagnostic]
) -> tuple[syntax.Piece, ...]:
    """The pieces of an array of which only some are assigned: the other elements stay as they are."""
    shape = read_shape(variable, scope)
    boxes = [box for piece in given if (box := box_of(piece, shape, scope, problems)) is not None]
    rivals = list(overlapping(boxes))
    problems += [_given_twice(one, two, corner, "{}" + "'" * order) for one, two, corner in rivals]
    if rivals or len(boxes) < len(given):
        return tuple(given)
    whole, span = without_subscripts(given[0].target), given[0].target.span
    pieces = list(given)
    for gap in gaps([box.intervals for box in boxes], shape):
        ends = [(syntax.Number(Fraction(a), span=span), syntax.Number(Fraction(b), span=span)) for a, b in gap]
        rest = syntax.Index(whole, tuple(syntax.Range(low, high, span=span) for low, high in ends), span=span)
        left = primed(rest, order)
        pieces.append(syntax.Piece(rest, left, left, (), span=span))
    return tuple(pieces)


# ---------------------------------------------------------------- what is said


def element_text(target: syntax.Expr, at: Sequence[int]) -> str:
    """An element as a text names it: `T[3]`, `cell[3].u`."""
    text, rest = _written(target, list(at))
    return text + (f"[{', '.join(map(str, rest))}]" if rest else "")


def _written(target: syntax.Expr, at: list[int]) -> tuple[str, list[int]]:
    match target:
        case syntax.Index(inner, subscripts):
            text, rest = _written(inner, at)
            mine = rest[: len(subscripts)]
            return f"{text}[{', '.join(map(str, mine))}]", rest[len(subscripts) :]
        case syntax.Member(inner, name):
            text, rest = _written(inner, at)
            return f"{text}.{name}", rest
        case _:
            return target.span.text, at


def _given_twice(one: Box, two: Box, corner: tuple[int, ...], form: str) -> Diagnostic:
    name = form.format(element_text(two.piece.target, corner))
    return Diagnostic(
        "set-twice",
        f"`{name}` is given twice",
        Label(_place(two.piece), "given again here"),
        related=(Label(_place(one.piece), "first given here"),),
    )


def _never_given(boxes: Sequence[Box], missing: tuple[int, ...], variable: Variable, form: str) -> Diagnostic:
    name = form.format(element_text(boxes[0].piece.target, missing))
    help_text = f"write `{name} = …`, or widen the range of an index"
    if variable.kind in ("input", "param", "state") and form == "{}" and variable.value is not None:
        help_text = f"once one element is set, each is, whatever value the model gives: {help_text}"
    return Diagnostic(
        "not-covered",
        f"`{name}` is never given",
        Label(variable.span, "declared here"),
        related=tuple(Label(_place(b.piece), f"gives {_run(b, form)}") for b in boxes[:3]),
        help=help_text,
    )


def _run(box: Box, form: str) -> str:
    ends = [low for low, _ in box.intervals], [high for _, high in box.intervals]
    first, last = (form.format(element_text(box.piece.target, end)) for end in ends)
    return f"`{first}`" if first == last else f"`{first}` to `{last}`"


def _place(piece: syntax.Piece) -> Span:
    return piece.left.span.to(piece.indices[-1].span) if piece.indices else piece.left.span


def _not_on_the_left(piece: syntax.Piece, index: Index) -> Diagnostic:
    name = piece.target.span.text
    return Diagnostic(
        "unused-index",
        f"`{name}` does not depend on the index `{index.name}`: it would be given for each `{index.name}`",
        Label(index.span, "counted here"),
        related=(Label(piece.target.span, "given here"),),
        help=f"to add up over `{index.name}` write `sum(… for {index.name} in …)`",
    )


def _twice_on_the_left(piece: syntax.Piece, index: Index) -> Diagnostic:
    name = piece.target.span.text
    return Diagnostic(
        "index-twice",
        f"the index `{index.name}` stands twice in `{name}`",
        Label(piece.target.span, "given here"),
        help="write an equation for all elements, and choose between them: `if i == j then … else …`",
    )


def _no_box(piece: syntax.Piece, subscript: syntax.Expr) -> Diagnostic:
    return Diagnostic(
        "scattered",
        "on the left of an equation a subscript is an index, with a constant added or not",
        Label(subscript.span, "is another expression"),
        related=(Label(piece.target.span, "given here"),),
        help="count the elements that are given with the index, and read the others by a table: "
        "`x[i] = y[table[i]] for i in …`",
    )
