"""What `plot` draws: names of a scenario that change with time."""

from __future__ import annotations

from collections.abc import Iterator

from dpl.language import syntax
from dpl.language.diagnostics import Label, did_you_mean, with_article
from dpl.language.infer import Inference
from dpl.language.model import Scope, Variable, named


def plotted(expr: syntax.Expr, inference: Inference) -> Iterator[str]:
    """The observed quantities that a name stands for: itself, several results, or all that a part is seen by."""
    system, report = inference.system, inference.report
    if not system.runs:
        report(
            "no-run",
            f"nothing changes with time in scenario `{system.name}`: there is nothing to draw",
            expr.span,
            "drawn here",
            help="say how long it runs, `run for 10 [s]`, or leave `plot` out",
        )
        return
    found = named(expr, system.root)
    if isinstance(expr, syntax.Member) and found is None:
        record = named(expr.object, system.root)
        ports = record.record.outputs if isinstance(record, Variable) and record.record else ()
        if isinstance(record, Variable) and expr.name in [p.name for p in ports]:
            yield f"{record.path}.{expr.name}"
            return
    match found:
        case Variable(record=record) if record is not None:
            yield from (f"{found.path}.{port.name}" for port in record.outputs)
        case Variable(kind="state" | "input" | "output" | "let"):
            yield found.path
        case Variable(kind="const" | "param" | "given"):
            message = f"`{found.path}` is {with_article(found.kind)}, which stays as it is"
            report("not-plottable", message, expr.span, "does not change", help="draw what depends on it")
        case Scope():
            kinds = ("let",) if isinstance(found.item, syntax.Constraint) else ("state", "output")
            seen = [v.path for v in system.variables if v.scope is found and v.kind in kinds]
            yield from seen
        case _:
            _not_plottable(expr, inference)


def _not_plottable(expr: syntax.Expr, inference: Inference) -> None:
    system, report = inference.system, inference.report
    measures = {measure.item.name: measure.item for measure in system.measures}
    if isinstance(expr, syntax.Name) and (measure := measures.get(expr.id)):
        report(
            "not-plottable",
            f"`{expr.id}` is a {measure.kind}: one number per run, which has no course to draw",
            expr.span,
            "is one number",
            related=(Label(measure.name_span, "declared here"),),
            help="plot what it is computed from; `evaluate` tells its values",
        )
        return
    close = None
    if isinstance(expr, syntax.Name | syntax.Member):
        holder = named(expr.object, system.root) if isinstance(expr, syntax.Member) else system.root
        word = expr.name if isinstance(expr, syntax.Member) else expr.id
        names = holder.names if isinstance(holder, Scope) else ()
        close = did_you_mean(word, names)
    report(
        "not-plottable",
        "`plot` takes names of the scenario and its parts that change with time",
        expr.span,
        "is not one",
        help=close or "give it a name in the scenario, `let name = …`, and plot that",
    )
