"""Networks as they are declared: their inputs, results and options."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from dpl.language import syntax
from dpl.language.builtins import ACTIVATIONS
from dpl.language.constants import is_infinite, literal, whole
from dpl.language.diagnostics import did_you_mean
from dpl.language.expressions import Expressions
from dpl.language.model import NetworkOptions, NetworkUse, PortType, Scoped
from dpl.language.resolve import duplicate_name
from dpl.language.rules import upside_down
from dpl.language.source import Span
from dpl.language.units import PURE, Unit, read_unit


class Networks(Expressions):
    """The declarations of networks, checked."""

    def network(self, use: NetworkUse) -> None:
        use.inputs = tuple(self.port(p, use) for p in use.item.inputs)
        use.outputs = tuple(self.port(p, use) for p in use.item.outputs)
        use.options = self.options(use.item)
        for ports, what in ((use.item.inputs, "inputs"), (use.item.outputs, "results")):
            if not ports:
                self.report(
                    "empty-network", f"the network `{use.item.name}` has no {what}", use.item.name_span, "declared here"
                )
            seen: dict[str, Span] = {}
            for port in ports:
                if port.name in seen:
                    self.problems.append(duplicate_name(port.name, port.span, seen[port.name]))
                seen.setdefault(port.name, port.span)

    def options(self, item: syntax.Network) -> NetworkOptions:
        """`hidden`, `activation` and `start zero`, with their defaults."""
        found = NetworkOptions()
        said: set[str] = set()
        for option in item.options:
            if option.name in said:
                self.report("said-twice", f"`{option.name}` is said twice", option.span, "said again here")
            said.add(option.name)
            match option.name, option.values:
                case "hidden", sizes if (
                    all(isinstance(n, Fraction) and n.denominator == 1 and 1 <= n <= 10_000 for n in sizes)
                    and len(sizes) <= 50
                ):
                    found = replace(found, hidden=tuple(int(n) for n in sizes if isinstance(n, Fraction)))
                case "hidden", _:
                    self.report(
                        "bad-option",
                        "`hidden` takes the sizes of at most 50 layers, whole numbers from 1 to 10,000",
                        option.span,
                        "is not that",
                        help="write `hidden 32, 32`",
                    )
                case "activation", (str() as name,) if name in ACTIVATIONS:
                    found = replace(found, activation=name)
                case "activation", values:
                    close = did_you_mean(str(values[0]), ACTIVATIONS) if values else None
                    self.report(
                        "bad-option",
                        "there is no such activation",
                        option.span,
                        "named here",
                        help=close or f"there are {', '.join(ACTIVATIONS)}",
                    )
                case "start", ("zero",):
                    found = replace(found, start_zero=True)
                case "start", _:
                    self.report(
                        "bad-option",
                        "a network starts at random, or near zero with `start zero`",
                        option.span,
                        "says something else",
                    )
                case name, _:
                    self.report(
                        "bad-option",
                        f"a network has no option `{name}`",
                        option.span,
                        "said here",
                        help=did_you_mean(name, ("hidden", "activation", "start"))
                        or "it has `hidden`, `activation` and `start zero`",
                    )
        return found

    def port(self, port: syntax.Port, use: NetworkUse) -> PortType:
        unit = read_unit(port.unit, self.problems) if port.unit else None
        shape: list[int] = []
        for size in port.shape:
            value = self.constant(Scoped(size, use.scope), "an array's size")
            if value is not None and (not whole(value) or value < 1):
                self.report("bad-size", "an array's size is a whole number from 1", size.span, "is not")
            elif value is not None:
                shape.append(int(value))
        low = high = None
        dimension = unit.dimension if unit else PURE if port.range else self.unifier.fresh()
        if port.range is not None:
            own = read_unit(port.range.unit, self.problems) if port.range.unit else unit
            if own and unit:
                self.same(unit.dimension, own.dimension, port.range.span, port.span, "range")
            low = self.bound_value(port.range.low, use, own)
            high = self.bound_value(port.range.high, use, own) if port.range.high else float("inf")
            if low is not None and high is not None and not low < high:
                self.problems.append(upside_down(port.range))
        return PortType(port.name, dimension, tuple(shape), low, high, unit)

    def bound_value(self, expr: syntax.Expr, use: NetworkUse, unit: Unit | None) -> float | None:
        if is_infinite(expr):
            return float("-inf" if isinstance(expr, syntax.Unary) else "inf")
        if literal(expr) is None:
            found = self.infer(expr, use.scope)
            self.same(unit.dimension if unit else PURE, found.dimension, expr.span, expr.span, "range")
        value = self.constant(Scoped(expr, use.scope, unit), "a network's range")
        return None if value is None else float(value)
