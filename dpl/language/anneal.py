"""What a training leads along a path of its own, read and checked: `anneal pilot.temperature from 2 to 0.1`."""

from __future__ import annotations

from dpl.language import syntax
from dpl.language.constants import literal
from dpl.language.diagnostics import Label, with_article
from dpl.language.infer import Inference
from dpl.language.model import Annealed, Scoped, Variable
from dpl.language.vary import ends_of, find


def read_anneal(item: syntax.Anneal, inference: Inference) -> Annealed | None:
    """The param and both ends of its path [SI]; None where they are wrong."""
    found = find(item.path, item.span, inference)
    if not isinstance(found, Variable) or found.kind != "param":
        if found is not None:
            name = ".".join(item.path)
            what = f"is {with_article(found.word)}" if isinstance(found, Variable) else "is no quantity of its own"
            way_out = f"declare it `param {item.path[-1]}`" if isinstance(found, Variable) else None
            related = (Label(found.span, "declared here"),) if isinstance(found, Variable) else ()
            message = f"`{name}` {what}: only a param is led from one value to another"
            inference.report("not-variable", message, item.span, "named here", related=related, help=way_out)
        return None
    if found not in inference.system.variables:
        message = f"nothing in scenario `{inference.system.name}` reads `{found.path}`"
        inference.report("nothing-varies", message, item.span, "would change nothing")
        return None
    start, end = (_end(expr, found, inference) for expr in (item.start, item.end))
    return None if start is None or end is None else Annealed(found.path, item.span, start, end)


def _end(expr: syntax.Expr, param: Variable, inference: Inference) -> float | None:
    """One end of the path; a bare number is in the unit of the param."""
    root = inference.system.root
    if literal(expr) is None:
        found = inference.infer(expr, root)
        inference.same(param.dimension, found.dimension, expr.span, param.span, "value")
    value = inference.constant(Scoped(expr, root, param.display), "an end of `anneal`")
    own = ends_of(param)
    if value is None or own is None:
        return None if value is None else float(value)
    slack = 1e-9 * abs(value)
    if (own.low is not None and value < own.low - slack) or (own.high is not None and value > own.high + slack):
        inference.report(
            "out-of-range",
            f"`{param.path}` would leave its own range",
            expr.span,
            f"is outside {own.span.text}",
            related=(Label(own.span, "its range"),),
        )
    return float(value)
