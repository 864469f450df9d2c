"""What `on Scenario with cart.m = 3 [kg]` holds at a value of its own."""

from __future__ import annotations

from collections.abc import Iterator

from dpl.language import syntax
from dpl.language.constants import literal
from dpl.language.diagnostics import Label, with_article
from dpl.language.infer import Inference
from dpl.language.model import FreeLet, Scoped, Variable
from dpl.language.vary import find


def read_setting(item: syntax.Setting, inference: Inference) -> Iterator[tuple[str, Scoped]]:
    """The path of what is set and its value, if nothing is wrong with it."""
    found = find(item.path, item.span, inference)
    if isinstance(found, FreeLet) or not (isinstance(found, Variable) and found.kind in ("param", "state", "given")):
        if found is not None:
            _not_settable(found, item, inference)
        return
    value = Scoped(item.value, inference.system.root, found.display)
    if literal(item.value) is None:
        type_ = inference.infer(item.value, inference.system.root)
        inference.same(found.dimension, type_.dimension, item.value.span, found.span, "value")
    if inference.constant(value, "a setting") is not None:
        yield found.path, value


def _not_settable(found: object, item: syntax.Setting, inference: Inference) -> None:
    quantity = found if isinstance(found, Variable | FreeLet) else None
    kind = found.kind if isinstance(found, Variable) else "let" if quantity else "no quantity"
    name = item.path[0] if isinstance(found, FreeLet) else ".".join(item.path)
    inherit = f"scenario Other like {inference.system.name} {{ let {name} = … }}"
    inference.report(
        "not-settable",
        f"`{'.'.join(item.path)}` is {with_article(kind) if quantity else kind}: a task sets params, givens and starts",
        item.span,
        "set here",
        related=(Label(quantity.span, "declared here"),) if quantity else (),
        help=f"give it another equation in a scenario of its own: `{inherit}`"
        if kind == "let" and len(item.path) == 1 + isinstance(found, FreeLet)
        else None,
    )
