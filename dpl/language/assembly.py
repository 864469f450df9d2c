"""Parts: made from models, clocked, and set where they are made."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod

from dpl.language import syntax
from dpl.language.constants import BadConstant, NotConstant, constant
from dpl.language.diagnostics import CompileError, Diagnostic, Label, did_you_mean, with_article
from dpl.language.dynamics import Dynamics
from dpl.language.indices import MOST_CELLS
from dpl.language.model import Clock, Index, Scope, Scoped, Variable
from dpl.language.resolve import Namespace, keyword
from dpl.language.source import Span

MOST_PARTS = 1_000


@dataclass
class Assembly(Dynamics):
    """Blocks within blocks."""

    wirings: list[tuple[Scope, syntax.Part, Scope]] = field(default_factory=list["tuple[Scope, syntax.Part, Scope]"])
    building: tuple[str, ...] = ()
    misbuilt: list[Scope] = field(default_factory=list[Scope])
    """Parts with a wrong argument: what they lack is not said as well"""

    @abstractmethod
    def file_scope(self, space: Namespace) -> Scope:
        """The names of a file, as this system sees them."""

    def part(self, item: syntax.Part, scope: Scope, space: Namespace) -> None:
        found = space.names.get(item.model)
        model, home = found or (None, space)
        if item.model in space.broken:
            self.stub(item, scope)
            return
        if not isinstance(model, syntax.Model):
            known = [n for n, (i, _) in space.names.items() if isinstance(i, syntax.Model)]
            what = "no model or controller" if model is None else f"a {keyword(model)}, not a model or controller:"
            message = f"there is {what} `{item.model}`" if model is None else f"`{item.model}` is {what[:-1]}"
            self.problems.append(
                Diagnostic(
                    "unknown-model", message, Label(item.model_span, "named here"), help=did_you_mean(item.model, known)
                )
            )
            self.stub(item, scope)
            return
        if len(self.system.parts) >= MOST_PARTS:
            self.problems.append(
                Diagnostic("too-large", f"a system has at most {MOST_PARTS:,} parts", Label(item.model_span))
            )
            raise CompileError(self.problems)
        if item.model in self.building:
            chain = " -> ".join([*self.building[self.building.index(item.model) :], item.model])
            self.problems.append(
                Diagnostic(
                    "part-cycle", f"a model cannot be a part of itself: {chain}", Label(item.model_span, "named here")
                )
            )
            return
        child = Scope(scope.join(item.name), model, self.file_scope(home), scope.clock, item.name_span)
        sizes = self.sizes(item.shape, scope, tuple(index.size for index in scope.axes))
        child.axes = (*scope.axes, *(Index(item.name, 0, size - 1, item.name_span) for size in sizes))
        if model.every is not None:
            child.clock = self.clock(model.every, child)
        self.bind(scope, item.name, item.name_span, child)
        self.system.parts.append(child)
        outside, self.building = self.building, (*self.building, item.model)
        self.declare(child, list(model.body), home, None)
        self.building = outside
        self.finished.append(child)
        self.wirings.append((scope, item, child))

    def stub(self, item: syntax.Part, scope: Scope) -> None:
        """A part of which nothing is known, so that its name at least is."""
        nothing = syntax.File(item.span.source, None, ())
        scope.names[item.name] = Scope(scope.join(item.name), nothing, None, span=item.name_span)

    def clock(self, every: syntax.Expr | None, scope: Scope) -> Clock | None:
        if every is None:
            return None
        self.system.periods.append(Scoped(every, scope))
        period = self.number(Scoped(every, scope), "a period")
        if period is None:
            return None
        if period <= 0:
            self.problems.append(
                Diagnostic("not-positive", "a period must be above 0", Label(every.span, "is not above 0"))
            )
            return None
        return Clock(period, every.span)

    def sizes(self, shape: tuple[syntax.Expr, ...], scope: Scope, outer: tuple[int, ...]) -> tuple[int, ...]:
        """The lengths of the axes that a declaration writes; `outer` are those of the parts that it is in."""
        sizes = list(outer)
        for expr in shape:
            size = self.number(Scoped(expr, scope), "an array's size")
            if size is not None and (size.denominator != 1 or size < 1):
                self.problems.append(
                    Diagnostic(
                        "bad-size", "an array's size is a whole number from 1", Label(expr.span, f"is {float(size):g}")
                    )
                )
            sizes.append(int(size) if size is not None and size.denominator == 1 and size > 1 else 1)
            if prod(sizes) > MOST_CELLS:
                sizes[-1] = 1
                message = f"an array holds at most {MOST_CELLS:,} numbers"
                self.problems.append(Diagnostic("bad-size", message, Label(expr.span, "makes it larger")))
        return tuple(sizes[len(outer) :])

    def number(self, value: Scoped, what: str) -> Fraction | None:
        """The exact value of what must be known before anything runs."""
        try:
            return Fraction(constant(value))
        except NotConstant as error:
            self.problems.append(
                Diagnostic(
                    "not-constant",
                    f"{what} must be known when the model is compiled",
                    Label(error.node.span, "is not a constant"),
                    help="use a number or a `const`",
                )
            )
        except (BadConstant, OverflowError, ValueError) as error:
            if isinstance(error, BadConstant):
                self.problems.append(error.diagnostic)
        return None

    def construct(self, argument: syntax.Argument, outer: Scope, child: Scope, part: syntax.Part) -> None:
        """One argument of a construction: an input is wired, a param or a start set."""
        before = len(self.problems)
        self.argument(argument, outer, child, part)
        if len(self.problems) > before:
            self.misbuilt.append(child)

    def argument(self, argument: syntax.Argument, outer: Scope, child: Scope, part: syntax.Part) -> None:
        if argument.name is None:
            self.problems.append(
                Diagnostic(
                    "unnamed-argument",
                    f"the arguments of a part are named: `{part.model}(name = …)`",
                    Label(argument.span, "has no name"),
                )
            )
            return
        target = child.names.get(argument.name)
        if not isinstance(target, Variable):
            known = [
                n for n, v in child.names.items() if isinstance(v, Variable) and v.kind in ("input", "param", "state")
            ]
            self.problems.append(
                Diagnostic(
                    "unknown-argument",
                    f"`{part.model}` has no input, param or state `{argument.name}`",
                    Label(argument.span, "set here"),
                    help=did_you_mean(argument.name, known) or (f"it has {', '.join(known)}" if known else None),
                )
            )
        elif target.kind not in ("input", "param", "state"):
            self.problems.append(not_settable(target, argument.span))
        else:
            self.set(target, Scoped(argument.value, outer, target.unit), argument.span, overrides=False)

    def set(self, target: Variable, value: Scoped, span: Span, *, overrides: bool) -> None:
        if target.wired is not None and not overrides:
            self.problems.append(
                Diagnostic(
                    "set-twice",
                    f"`{target.path}` is set twice",
                    Label(span, "set again here"),
                    related=(Label(target.wired, "first set here"),),
                )
            )
            return
        target.value, target.wired = value, span


def not_settable(target: Variable, span: Span) -> Diagnostic:
    way_out = {"const": f"declare it `param {target.declaration.name}`", "given": None}
    return Diagnostic(
        "not-settable",
        f"`{target.path}` is {with_article(target.word)}: only inputs, params and starts can be set from outside",
        Label(span, "set here"),
        related=(Label(target.span, "declared here"),),
        help=way_out.get(target.kind, "declare it `input` to set it from outside"),
    )


def never_wired(variable: Variable) -> Diagnostic:
    name, part = variable.declaration.name, variable.scope
    declared = Label(variable.span, "declared here")
    wire = f"wire it where its part is made, `{name} = …`, or " if part.span else ""
    return Diagnostic(
        "never-wired",
        f"nothing sets the input `{variable.path}`",
        Label(part.span, "made here") if part.span else declared,
        related=(declared,) if part.span else (),
        help=f"{wire}give it a default: `input {name} = 0`",
    )
