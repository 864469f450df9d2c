"""Tables as they are declared: their ports, and their points in ascending order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import isfinite, isnan

from dpl.language import syntax
from dpl.language.constants import LARGEST, literal
from dpl.language.data import KELVIN, on_scale
from dpl.language.diagnostics import Label, did_you_mean
from dpl.language.model import DataUse, PortType, Scoped, TableUse
from dpl.language.networks import Networks
from dpl.language.resolve import duplicate_name
from dpl.language.source import Span
from dpl.language.units import PURE, read_unit

FEWEST_POINTS = {"linear": 2, "cubic": 2, "previous": 1}
"""By how a table goes from point to point, how many it needs"""


class Lookups(Networks):
    """The declarations of tables, checked."""

    def table(self, use: TableUse) -> None:
        item = use.item
        if len(item.inputs) != 1:
            self.one_input(item)
            return
        (given,) = item.inputs
        use.input, use.output = self.table_port(given), self.table_port(item.output)
        if given.name == item.output.name:
            self.problems.append(duplicate_name(given.name, item.output.span, given.span))
        use.using = item.using or "linear"
        if use.using not in FEWEST_POINTS:
            message = (
                f"a table is {', '.join(list(FEWEST_POINTS)[:-1])} or {list(FEWEST_POINTS)[-1]} between its points"
            )
            close = did_you_mean(use.using, FEWEST_POINTS)
            place = Span(item.span.source, item.span.end - len(use.using), item.span.end)
            self.report("unknown-option", message, place, "is none of them", help=close)
            use.using = "linear"
        if use.data is not None:
            self.of_file(use, use.data)
            return
        points = self.points(use)
        if points is not None:
            self.in_order(use, points, lambda i: item.points[i].at.span)

    def one_input(self, item: syntax.Table) -> None:
        if not item.inputs:
            message = f"the table `{item.name}` has no input"
            way_out = f"name what it is looked up by: `table {item.name}(x) -> {item.output.name}`"
            self.report("no-input", message, item.name_span, "declared here", help=way_out)
            return
        self.report(
            "not-supported",
            "a table of several inputs is not supported by this version of DPL",
            item.inputs[1].span,
            "a second input",
            help="a table for each value of one of them, and `interpolate` between these, says the same",
        )

    def table_port(self, port: syntax.Port) -> PortType:
        """One number in its unit, of a temperature on a scale in K; without a unit it is pure."""
        unit = read_unit(port.unit, self.problems) if port.unit and not on_scale(port.unit) else None
        unit = KELVIN if on_scale(port.unit) else unit
        if port.shape:
            message = f"a table has one number in and one out: `{port.name}` is an array"
            self.report("not-a-number", message, port.span, "declared here", help="declare a table for each element")
        if port.range is not None:
            message = "a table ends at its first and last point, and keeps their values beyond them"
            self.report("misplaced-range", message, port.range.span, "stands here", help="leave the range out")
        return PortType(port.name, unit.dimension if unit else PURE, unit=unit)

    # ------------------------------------------------------------ points

    def points(self, use: TableUse) -> list[tuple[float, float]] | None:
        """The points in SI, as they are written; None if one of them is wrong."""
        item, found = use.item, list[tuple[float, float]]()
        for point in item.points:
            at = self.coordinate(point.at, use, use.input, item.inputs[0])
            value = self.coordinate(point.value, use, use.output, item.output)
            if at is not None and value is not None:
                found.append((at, value))
        return found if len(found) == len(item.points) else None

    def coordinate(self, expr: syntax.Expr, use: TableUse, port: PortType, declared: syntax.Port) -> float | None:
        """A constant, a bare number in the unit of its port."""
        bare, scale = literal(expr), on_scale(declared.unit)
        if bare is None:
            found = self.infer(expr, use.scope)
            self.number_only(found, expr)
            if not self.same(port.dimension, found.dimension, expr.span, declared.span, "point"):
                return None
        elif scale is not None and abs(bare) < LARGEST:
            return float(bare) * scale[0] + scale[1]
        value = self.constant(Scoped(expr, use.scope, port.unit), "a point of a table")
        if value is not None and not isfinite(value):
            message = "a table keeps the value of its last point beyond it, and its points are finite"
            self.report("no-value", message, expr.span, "is not finite")
            return None
        return None if value is None else float(value)

    def of_file(self, use: TableUse, data: DataUse) -> None:
        """The points of a file, whose columns are called as the ports."""
        if data.broken or data.place is None:
            return
        names, place = (use.input.name, use.output.name), data.place
        points = list(zip(*(data.columns[name] for name in names), strict=True))
        missing = next(((i, n) for i, p in enumerate(points) for n, x in zip(names, p, strict=True) if isnan(x)), None)
        if missing is None:
            self.in_order(use, points, lambda i: place(i, names[0]))
            return
        message, related = (
            f"each point of `{use.item.name}` has both numbers",
            Label(use.item.name_span, "declared here"),
        )
        self.report(
            "missing-cell", message, place(*missing), "is missing", related=(related,), help="leave out the row"
        )

    def in_order(self, use: TableUse, points: Sequence[tuple[float, float]], place: Callable[[int], Span]) -> None:
        """Keeps the points, if there are enough of them and each is after the one before."""
        item, fewest = use.item, FEWEST_POINTS[use.using]
        if len(points) < fewest:
            what = "no point" if not points else "one point"
            message = f"a table has at least {fewest} point{'s' if fewest > 1 else ''}, and `{item.name}` has {what}"
            way_out = f"write `{{ 0: 1, 1: 2 }}`: {use.input.name}, a colon, {use.output.name}"
            self.report("too-few-points", message, item.name_span, "declared here", help=way_out)
            return
        for i, ((before, _), (at, _)) in enumerate(pairwise(points), 1):
            if at > before:
                continue
            name, twice = use.input.name, at == before
            way_out = "a jump is `using previous`, at the point from which the new value holds"
            way_out = "leave one of them out" if use.using == "previous" else way_out
            self.report(
                "not-ascending",
                f"two points of a table have one `{name}`"
                if twice
                else f"the points of a table stand by rising `{name}`",
                place(i),
                "said again here" if twice else "is below the one before",
                related=(Label(place(i - 1), "the one before"),),
                help=way_out if twice else None,
            )
            return
        use.knots, use.values = (tuple(column) for column in zip(*points, strict=True))
