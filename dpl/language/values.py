"""A value given from outside the text, as after `--set`: read, and checked against what it sets."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from dpl.language import syntax
from dpl.language.constants import BadConstant, NotConstant, constant, literal
from dpl.language.diagnostics import CompileError, Diagnostic, Label, did_you_mean, with_article
from dpl.language.infer import Inference
from dpl.language.model import CheckedModel, Scope, Scoped, System, Variable
from dpl.language.parser import parse
from dpl.language.settings import bound_of
from dpl.language.source import Source, Span
from dpl.language.units import PURE, Dimension, Unit, read_unit

SETTABLE = ("param", "given", "state")
SOLVER = ("using.step", "using.rtol", "using.atol")
"""The numbers of a scenario's solver, which can be set like params"""
TIME = Dimension((("s", Fraction(1)),))


def setting(model: CheckedModel, path: str, text: str) -> float:
    """The SI value of `path=text`; a bare number is in the declared unit of what it sets.

    Raises:
        CompileError: there is no such param, given or start; the text is no constant of its unit, or out of its range.
    """
    found = _named(model, path)
    settable = [v for v in found if v.kind in SETTABLE]
    source = Source("--set", f"{path}={text}")
    solver = path if path in SOLVER else path.partition(".")[2]
    own = not found and solver in SOLVER and (solver == path or path.partition(".")[0] in model.systems)
    if not settable and not own:
        raise CompileError([_unknown(model, path, found, source)])
    try:
        value = _expression(text)
        if own:
            return _of_solver(solver, value, source)
        numbers = [_in_unit(value, variable, source) for variable in settable]
    except CompileError as error:
        raise CompileError(_shown(d, source) for d in error.diagnostics) from None
    if len(set(numbers)) > 1:
        units = ", ".join(dict.fromkeys(f"`{v.display.text}`" for v in settable))
        label = Label(Span(source, len(path) + 1, len(source.text)), "has no unit")
        raise CompileError(
            [Diagnostic("ambiguous-unit", f"scenarios declare `{path}` in {units}: write the unit", label)]
        )
    return numbers[0]


def dimension(unit: str) -> Dimension | None:
    """The dimension of a unit's text, "" for a pure number; None if it is no unit."""
    if not unit:
        return PURE
    problems: list[Diagnostic] = []
    try:
        file = parse(Source("unit", f"const value: {unit} = 1"))
    except CompileError:
        return None
    match file.items:
        case (syntax.Declaration(kind="const", unit=written),) if written is not None:
            found = read_unit(written, problems).dimension
            return None if problems else found
        case _:
            return None


def _named(model: CheckedModel, path: str) -> list[Variable]:
    """The variables of that path in any scenario; `Scenario.path` names one scenario's."""
    found = [v for s in model.systems.values() for v in s.variables if v.path == path]
    name, _, rest = path.partition(".")
    own = [v for v in model.systems[name].variables if v.path == rest] if name in model.systems else []
    return found or own


_PREFIX = "const value = "


def _shown(diagnostic: Diagnostic, source: Source) -> Diagnostic:
    """The diagnostic with its places in what the user wrote, not in the statement that it was read as."""
    shift = source.text.index("=") + 1 - len(_PREFIX)

    def moved(label: Label) -> Label:
        span = label.span
        inside = span.source.name == "--set" and span.source.text.startswith(_PREFIX)
        return Label(Span(source, span.start + shift, span.end + shift), label.text) if inside else label

    label = moved(diagnostic.label) if diagnostic.label else None
    return replace(diagnostic, label=label, related=tuple(map(moved, diagnostic.related)))


def _unknown(model: CheckedModel, path: str, found: list[Variable], source: Source) -> Diagnostic:
    label = Label(Span(source, 0, len(path)))
    if found:
        variable = found[0]
        message = f"`{path}` is {with_article(variable.word)}: only params, givens and starts of states can be set"
        return Diagnostic("not-settable", message, label, (Label(variable.span, "declared here"),))
    known = [v.path for s in model.systems.values() for v in s.variables if v.kind in SETTABLE]
    whole = re.sub(r"\[[^]]*\]", "", path)
    if whole != path and whole in known:
        message = f"an array is set as a whole, and `{path}` names elements of it"
        help_text = f"write `--set {whole}=…`, which sets them all, or change the file"
        return Diagnostic("not-settable", message, label, help=help_text)
    message = f"no scenario has a param, given or state `{path}`"
    return Diagnostic("unknown-name", message, label, help=did_you_mean(path, known))


def _expression(text: str) -> syntax.Expr:
    file = parse(Source("--set", f"{_PREFIX}{text}"))
    match file.items:
        case (syntax.Declaration(kind="const", value=value, unit=None),) if value is not None:
            return value
        case _:
            label = Label(Span(Source("--set", text), 0, len(text)))
            raise CompileError(
                [Diagnostic("not-a-value", "this is not one value", label, help="write `--set pendulum.m=2[kg]`")]
            )


def _in_unit(value: syntax.Expr, variable: Variable, source: Source) -> float:
    number = _number(value, variable.dimension, variable.display, variable.span)
    _inside(number, variable, source)
    return number


def _of_solver(name: str, value: syntax.Expr, source: Source) -> float:
    """A step, of which a bare number is in seconds, or a tolerance."""
    span = Span(source, 0, len(source.text))
    number = _number(value, TIME if name == "using.step" else PURE, None, span)
    if not 0 < number < float("inf"):
        raise CompileError([Diagnostic("not-positive", f"`{name}` must be above 0", Label(span, "is not above 0"))])
    return number


def _number(value: syntax.Expr, dimension: Dimension, unit: Unit | None, declared: Span) -> float:
    """The SI value of a constant; a bare number is in `unit`."""
    problems: list[Diagnostic] = []
    system = _alone()
    if isinstance(value, syntax.List):
        help_text = "one number sets all elements of an array; what differs between them is written in the file"
        raise CompileError([Diagnostic("not-a-number", "a setting is one number", Label(value.span), help=help_text)])
    if literal(value) is None:
        inference = Inference(system, pure=False, problems=problems)
        found = inference.infer(value, system.root)
        inference.same(dimension, found.dimension, value.span, declared, "value")
    if problems:
        raise CompileError(problems)
    try:
        number = float(constant(Scoped(value, system.root, unit)))
    except NotConstant as error:
        problems.append(
            Diagnostic(
                "not-constant", "a setting is a number with its unit", Label(error.node.span, "is not a constant")
            )
        )
        number = 0.0
    except BadConstant as error:
        problems.append(error.diagnostic)
        number = 0.0
    if problems:
        raise CompileError(problems)
    return number


def _alone() -> System:
    """A system of nothing, in which a value is read that names nothing."""
    start = Span(Source("--set", ""), 0, 0)
    item = syntax.Scenario("", start, None, None, None, (), span=start)
    return System("", None, item, Scope("", item, None))


def _inside(number: float, variable: Variable, source: Source) -> None:
    domain = variable.declaration.domain
    if not isinstance(domain, syntax.Range) or variable.kind == "state":
        return
    low = bound_of(variable, domain.low, domain)
    high = bound_of(variable, domain.high, domain) if domain.high else None
    if (low is not None and number < low) or (high is not None and number > high):
        message = f"this sets `{variable.path}` outside its range"
        label = Label(Span(source, 0, len(source.text)), f"is outside {domain.span.text}")
        raise CompileError([Diagnostic("out-of-range", message, label, (Label(domain.span, "its range"),))])
