"""What a scenario takes over from the one it is like."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dpl.language import syntax
from dpl.language.diagnostics import Diagnostic, Label, did_you_mean
from dpl.language.resolve import Namespace

Body = list[syntax.Statement]


def bodies(item: syntax.Scenario | syntax.Model, space: Namespace, problems: list[Diagnostic]) -> tuple[Body, Body]:
    """The statements that a scenario takes over from the one it is like, less what it replaces; and its own."""
    own = list(item.body)
    inherited: Body = []
    replaced = _declared(own)
    chain = [item.name]
    while isinstance(item, syntax.Scenario) and item.like is not None:
        base = _base(item, space, chain, problems)
        if base is None:
            break
        kept = _without(base.body, replaced)
        replaced |= _declared(kept)
        inherited = kept + inherited
        chain.append(base.name)
        item = base
    return inherited, own


def _base(
    item: syntax.Scenario, space: Namespace, chain: list[str], problems: list[Diagnostic]
) -> syntax.Scenario | None:
    assert item.like is not None
    span = item.like_span or item.span
    found = space.names.get(item.like)
    if found is None or not isinstance(found[0], syntax.Scenario):
        known = [n for n, (i, _) in space.names.items() if isinstance(i, syntax.Scenario)]
        close = did_you_mean(item.like, known)
        message = f"there is no scenario `{item.like}`"
        problems.append(Diagnostic("unknown-scenario", message, Label(span, "named here"), help=close))
        return None
    if item.like in chain:
        message = "scenarios are like each other in a circle: " + " -> ".join(f"`{n}`" for n in (*chain, item.like))
        problems.append(Diagnostic("like-cycle", message, Label(span, "closes the circle")))
        return None
    return found[0]


def _declared(body: Iterable[syntax.Statement]) -> set[str]:
    """What a body would replace, in its modes too."""
    return {key for s in body for key in (_declared(s.body) if isinstance(s, syntax.Mode) else _keys(s))}


def _without(body: Iterable[syntax.Statement], replaced: set[str]) -> Body:
    """The statements that are not replaced; of modes, what is left of them."""
    kept: Body = []
    for statement in body:
        if isinstance(statement, syntax.Mode):
            kept.append(replace(statement, body=tuple(_without(statement.body, replaced))))
        elif not _keys(statement) & replaced:
            kept.append(statement)
    return kept


def _keys(statement: syntax.Statement) -> set[str]:
    """What a statement would replace in the scenario that another is like: a name, or the run."""
    match statement:
        case syntax.Run():
            return {"run"}
        case (
            syntax.Declaration()
            | syntax.Function()
            | syntax.Network()
            | syntax.Table()
            | syntax.Part()
            | syntax.Measure()
            | syntax.GivenRow()
        ):
            return {statement.name}
        case syntax.When(name) | syntax.Constraint(name) if name is not None:
            return {name}
        case syntax.Observe(target):
            return {f"observe {target.span.text}"}
        case _:
            return set()
