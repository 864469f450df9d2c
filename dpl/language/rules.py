"""The rules that every expression obeys: dimensions that fit, shapes that combine, arguments in their places.

`Rules` is the ground on which the walk over expressions stands: what has been inferred so far, and how a broken rule is
reported. `calls.py`, `expressions.py` and `infer.py` build on it, in that order.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod

from dpl.language import syntax
from dpl.language.constants import BadConstant, NotConstant, constant, whole
from dpl.language.diagnostics import Diagnostic, Label, did_you_mean, with_article
from dpl.language.indices import MOST_CELLS, ends, index_scope, indices_of
from dpl.language.model import Index, Measure, NetworkUse, Scope, Scoped, System, Variable
from dpl.language.source import Span
from dpl.language.units import PURE, Dimension, Unifier

SECOND = Dimension((("s", Fraction(1)),))


@dataclass(frozen=True)
class Type:
    """What an expression is. `record` is set on a call of a network with several results."""

    dimension: Dimension = PURE
    shape: tuple[int, ...] = ()
    truth: bool = False
    record: NetworkUse | None = None


@dataclass
class Rules(ABC):
    """What is known of one system; `pure` says that the file names no unit at all."""

    system: System
    pure: bool
    problems: list[Diagnostic]
    unifier: Unifier = field(default_factory=Unifier)
    used: set[object] = field(default_factory=set[object])

    def __post_init__(self) -> None:
        self.time = PURE if self.pure else SECOND
        self.bound: dict[int, Type] = {}
        self.known: set[Variable] = set()
        self.bare: list[tuple[Variable, syntax.Expr, Dimension, bool]] = []
        self.reductions = False
        self.over_runs = False
        self.along = ""
        """Within the right side of what is observed along the run: its name"""
        self.counted_to: int | None = None
        """Within a subscript the last element of its axis"""
        self.uncounted: set[tuple[str, str]] = set()
        """Unknown names and the lines where they stand: an index without its `for` is said once a line"""
        self.calls: list[syntax.Function] = []
        self.call_scopes: list[Scope] = []  # kept alive: `bound` is keyed by identity
        self.instants: list[Scoped] = []
        """Times that reductions name: they must lie within the run"""
        self.spent = 0

    @abstractmethod
    def infer(self, expr: syntax.Expr, scope: Scope) -> Type:
        """The type of an expression; problems are reported and answered with an open type."""

    @abstractmethod
    def type_of(self, variable: Variable) -> Type:
        """The type of a variable; of a `let` without declared shape, that of its value."""

    def constant(self, value: Scoped, what: str) -> Fraction | float | None:
        try:
            return constant(value)
        except NotConstant as error:
            self.report(
                "not-constant", f"{what} must be known when the model is compiled", error.node.span, "is not a constant"
            )
        except BadConstant as error:
            self.problems.append(error.diagnostic)
        return None

    def counted(self, sets: tuple[syntax.IndexSet, ...], scope: Scope) -> Scope:
        """The scope in which the indices of `for` are bound; what they may not count is reported."""
        for place, index in enumerate(sets):
            misfits = list(misfits_of_index(index, sets[:place], scope))
            self.problems += misfits
            for end in (index.range.low, index.range.high) if not misfits else ():
                if end is not None:
                    self.must_be_pure(self.infer(end, scope), end.span, "the end of an index's range")
        inner = index_scope(scope, sets)
        if prod(index.size for index in indices_of(scope, sets)) > MOST_CELLS:
            self.report("too-large", f"indices count at most {MOST_CELLS:,} elements", sets[0].span, "counts more")
        return inner

    def open(self) -> Type:
        return Type(self.unifier.fresh())

    def constant_in_range(self, expr: syntax.Expr, scope: Scope) -> None:
        try:
            constant(Scoped(expr, scope))
        except NotConstant:
            pass
        except BadConstant as error:
            self.problems.append(error.diagnostic)

    def arranged(
        self, arguments: tuple[syntax.Argument, ...], names: list[str], span: Span, what: str, optional: int
    ) -> dict[str, syntax.Expr]:
        """Arguments by name, positional ones first; wrong ones reported."""
        result: dict[str, syntax.Expr] = {}
        for position, argument in enumerate(arguments):
            name = argument.name
            if name is None:
                if position >= len(names):
                    break
                name = names[position]
            if name not in names:
                self.report(
                    "unknown-argument",
                    f"`{what}` has no argument `{name}`",
                    argument.span,
                    "given here",
                    help=did_you_mean(name, names) or f"it takes {', '.join(names) or 'none'}",
                )
                return {}
            if name in result:
                self.report("set-twice", f"the argument `{name}` is given twice", argument.span, "given again here")
            result[name] = argument.value
        missing = [n for n in names[: len(names) - optional] if n not in result]
        if missing or len(arguments) > len(names):
            self.report("wrong-arguments", f"`{what}` takes {_count(names, optional)}", span, f"{len(arguments)} given")
            return {}
        return result

    def same(self, a: Dimension, b: Dimension, span: Span, other: Span, role: str, unit: str = "") -> bool:
        """Both dimensions must be one; `span` is the text to blame, `other` the place it is compared with.

        `unit` is the unit in which the text declares what has dimension `a`, if it does.
        """
        if self.unifier.unify(a, b, span):
            return True
        one, two = self.unifier.resolve(a), self.unifier.resolve(b)
        message = _MISMATCH.get(role, f"`{role}` needs arguments of one unit")
        decided = self.unifier.decided_at(b) or self.unifier.decided_at(a)
        related = (Label(other, f"is {one}"),) if other != span else ()
        if decided and decided not in (span, other):
            related += (Label(decided, "its unit follows from here"),)
        self.problems.append(
            Diagnostic(
                "unit-mismatch",
                f"{message}: {one} and {two}",
                Label(span, f"is {two}"),
                related,
                self.unit_help(one, two, span, unit) or (computed_help(span, unit) if unit and two.pure else None),
            )
        )
        return False

    def unit_help(self, wanted: Dimension, found: Dimension, span: Span, unit: str = "") -> str | None:
        text = span.text
        if found.pure and text.replace(".", "").replace("_", "").isdigit():
            return f"a bare number is pure: write `{text} [{unit or wanted}]`"
        if found.pure and all(c in "0123456789._+-*/^() " for c in text):
            return f"numbers are pure: write `({text})*1 [{wanted}]`, or the result with its unit"
        if (wanted / found) in (self.time, self.time**-1) and not self.time.pure:
            return f"they differ by a time: {wanted / found}"
        return None

    def must_be_pure(self, found: Type, span: Span, what: str) -> bool:
        if self.unifier.unify(found.dimension, PURE, span):
            return True
        dimension = self.unifier.resolve(found.dimension)
        self.report(
            "not-pure",
            f"{what} must be a pure number",
            span,
            f"is {dimension}",
            help="divide it by a reference quantity",
        )
        return False

    def number_only(self, found: Type, expr: syntax.Expr) -> None:
        if found.truth:
            self.report(
                "truth-as-number",
                "a comparison is not a number",
                expr.span,
                "is true or false",
                help="write `if … then 1 else 0`",
            )
        if found.record is not None:
            names = ", ".join(p.name for p in found.record.outputs)
            self.report(
                "record-as-number",
                f"the network `{found.record.item.name}` has several results: {names}",
                expr.span,
                "is not one number",
                help=f"write `{expr.span.text}.{found.record.outputs[0].name}`" if found.record.outputs else None,
            )

    def truth_only(self, found: Type, expr: syntax.Expr) -> None:
        told = any(p.label and p.label.span == expr.span for p in self.problems)
        if not found.truth and not told:
            self.report("not-a-condition", "a condition is a comparison", expr.span, "is a number")

    def broadcast(self, a: Type, b: Type, span: Span) -> tuple[int, ...]:
        if a.shape == b.shape or not b.shape:
            return a.shape
        if not a.shape:
            return b.shape
        self.report(
            "wrong-shape",
            "arrays of different shapes do not combine",
            span,
            f"{shape_text(a.shape)} and {shape_text(b.shape)}",
        )
        return a.shape

    def matmul(self, a: Type, b: Type, span: Span) -> tuple[int, ...]:
        if len(a.shape) in (1, 2) and len(b.shape) in (1, 2) and a.shape[-1] == b.shape[0]:
            return (*a.shape[:-1], *b.shape[1:])
        self.report(
            "wrong-shape",
            "`@` multiplies a matrix and a vector or matrix that fit",
            span,
            f"{shape_text(a.shape)} and {shape_text(b.shape)}",
        )
        return ()

    def convolved(self, image: Type, kernel: Type, span: Span) -> tuple[int, ...]:
        """The shape of `conv(image, kernel)`: the places at which the kernel fits into the image."""
        sizes = list(zip(image.shape, kernel.shape, strict=False))
        if len(image.shape) == len(kernel.shape) in (1, 2) and all(n >= k for n, k in sizes):
            return tuple(n - k + 1 for n, k in sizes)
        self.report(
            "wrong-shape",
            "`conv(image, kernel)` takes two lists or two matrices, the kernel not larger than the image",
            span,
            f"{shape_text(image.shape)} and {shape_text(kernel.shape)}",
        )
        return ()

    def wrongshape_text(
        self, wanted: tuple[int, ...], found: tuple[int, ...], span: Span, help: str | None = None
    ) -> None:
        message = f"{shape_text(wanted)} expected".capitalize()
        self.report("wrong-shape", message, span, f"is {shape_text(found)}", help=help)

    def report(
        self,
        code: str,
        message: str,
        span: Span,
        label: str,
        *,
        related: tuple[Label, ...] = (),
        help: str | None = None,
    ) -> None:
        self.problems.append(Diagnostic(code, message, Label(span, label), related, help))


_MISMATCH = {
    "sum": "quantities of different units cannot be added",
    "difference": "quantities of different units cannot be subtracted",
    "comparison": "quantities of different units cannot be compared",
    "equation": "the two sides of this equation have different units",
    "if": "the two branches have different units",
    "input": "an input is wired to a quantity of another unit",
    "value": "a value has another unit than its name",
    "start": "a start has another unit than its state",
    "range": "a range has another unit than its name",
    "distribution": "a distribution has another unit than what is drawn",
    "observation": "a distribution has another unit than what is observed",
    "argument": "an argument has another unit than declared",
    "list": "the items of a list have different units",
    "point": "a point of a table has another unit than what it stands for",
    "time": "this must be a time",
    "assignment": "a state is assigned a quantity of another unit",
    "applied": "a generalised force is energy over its coordinate",
    "energy": "the Lagrangians of one block have different units",
    "straight_through": "value and gradient of `straight_through` have different units",
    "smooth": "the width must have the unit of what is smoothed",
}


def misfits_of_index(index: syntax.IndexSet, before: tuple[syntax.IndexSet, ...], scope: Scope) -> Iterator[Diagnostic]:
    """What `for i in low..high` may not say."""
    name, range_ = index.name, index.range
    known = scope.find(name)
    if known is not None or name in (other.name for other in before):
        what = "an index already" if not isinstance(known, Variable) else f"the name of {with_article(known.word)}"
        related = (Label(known.span, "declared here"),) if isinstance(known, Variable | Index) else ()
        way_out = "call the index otherwise, so that what is read is clear"
        yield Diagnostic("index-hides-name", f"`{name}` is {what}", Label(index.span, "counts here"), related, way_out)
    if range_.unit is not None:
        yield Diagnostic("index-with-unit", "an index has no unit", Label(range_.span, "has one"))
    if range_.high is None:
        help_text = f"write `{name} in {range_.low.span.text}..n-1`"
        yield Diagnostic("open-index", "an index counts to an end", Label(range_.span, "has none"), help=help_text)
        return
    found = ends(index, scope)
    if found is None:
        yield _unclear_end(index, before, scope)
    elif found[1] < found[0]:
        message = f"the index `{name}` counts nothing: {found[0]}..{found[1]}"
        yield Diagnostic("range-upside-down", message, Label(range_.span, "ends before it begins"))


def _unclear_end(index: syntax.IndexSet, before: tuple[syntax.IndexSet, ...], scope: Scope) -> Diagnostic:
    """The end of a range that is no whole number known beforehand."""
    for end in (index.range.low, index.range.high):
        if end is None:
            continue
        try:
            value = constant(Scoped(end, scope))
        except BadConstant as error:
            return error.diagnostic
        except NotConstant as error:
            node = error.node
            outer = isinstance(node, syntax.Name) and (
                node.id in (other.name for other in before) or isinstance(scope.find(node.id), Index)
            )
            message = "the ends of an index's range must be known when the model is compiled"
            help_text = "use numbers and `const`s"
            if outer:
                message = "the range of an index does not depend on another index"
                help_text = f"count all, and leave out what is not meant: `(if {index.name} <= … then … else 0)`"
            return Diagnostic("not-constant", message, Label(node.span, "is not a constant"), help=help_text)
        if not whole(value):
            return Diagnostic("bad-index", "an index counts whole numbers", Label(end.span, f"is {float(value):g}"))
    return Diagnostic("bad-index", "an index counts whole numbers", Label(index.range.span, "does not"))


def has_measure(expr: syntax.Expr, scope: Scope) -> bool:
    """Whether a loss or metric is named in the expression."""
    if isinstance(expr, syntax.Name):
        return isinstance(scope.find(expr.id), Measure)
    return any(has_measure(c, scope) for c in syntax.children(expr))


def upside_down(range_: syntax.Range) -> Diagnostic:
    return Diagnostic(
        "range-upside-down",
        "this range is upside down: its low end must be below its high end",
        Label(range_.span, "written here"),
    )


def computed_help(span: Span, unit: str) -> str | None:
    """What to write for `state T[n]: K = 300 + 10*i for i in …`; None where numbers have units already."""
    if re.search(r"\d\s*\[", span.text):
        return None
    text = span.text if span.text.isidentifier() else f"({span.text})"
    written = f"write `{text}*1 [{unit}]`" if "\n" not in text and len(text) < 60 else f"multiply it by `1 [{unit}]`"
    return f"only a number alone is read in the declared unit, and what is computed is pure: {written}"


def derivative_help(word: str) -> str | None:
    """What to write for `dx/dt` and `der(x)`."""
    leibniz = 1 < len(word) < 4 and word[0] == "d" and word[1:].isalpha()
    words = ("der", "ddt", "deriv", "derivative", "diff")
    return "a time derivative is written `x'`" if leibniz or word in words else None


def unknown_name(
    node: syntax.Name, scope: Scope, *, over_runs: bool = False, counted_to: int | None = None
) -> Diagnostic:
    """A name that nothing declares; `counted_to` is set in a subscript, where it may be an index."""
    where = "is no loss or metric of the scenario" if over_runs else "is not declared here"
    known = [*scope.known(), *(() if over_runs else ("time", "π", "pi", "inf"))]
    help_text = derivative_help(node.id) or did_you_mean(node.id, known)
    if over_runs and help_text is None:
        help_text = "declare `metric name = …` in the scenario, and name it here"
    if counted_to is not None and (help_text is None or len(node.id) == 1):
        count = f"for {node.id} in 0..{counted_to}"
        help_text = f"an index is counted: write `{count}` at the end of the equation, or `sum(… {count})`"
    return Diagnostic("unknown-name", f"`{node.id}` {where}", Label(node.span, "used here"), help=help_text)


def shape_text(shape: tuple[int, ...]) -> str:
    return " by ".join(str(n) for n in shape) if shape else "one number"


def _count(names: list[str], optional: int) -> str:
    need = len(names) - optional
    text = f"{need} argument{'' if need == 1 else 's'}" if not optional else f"{need} to {len(names)} arguments"
    return f"{text}: {', '.join(names)}"
