"""The clauses of `suggest`: the network that is read for a formula."""

from __future__ import annotations

from dpl.language import syntax
from dpl.language.clauses import Reading
from dpl.language.diagnostics import did_you_mean
from dpl.language.infer import Inference
from dpl.language.model import NetworkUse
from dpl.language.vary import MOST_LISTED


def read_of(clause: syntax.Of, reading: Reading) -> None:
    """`of eaten`"""
    name, known = ".".join(clause.path), called(reading.inference)
    reading.network = known.get(name)
    if reading.network is None:
        message = f"`{name}` is no network that scenario `{reading.system.name}` calls"
        help_text = did_you_mean(name, known) or _listed(known)
        reading.inference.report("unknown-network", message, clause.span, "named here", help=help_text)


def check_suggest(reading: Reading) -> None:
    """A network is named."""
    if "of" not in reading.clauses:
        known = called(reading.inference)
        first = next(iter(known), "NETWORK")
        reading.missing(
            f"the task `{reading.item.name}` does not say which network it reads",
            "declared here",
            f"write `of {first}`" if len(known) == 1 else f"write `of {first}`: {_listed(known)}",
        )


def called(inference: Inference) -> dict[str, NetworkUse]:
    """By path the networks that a scenario calls."""
    return {use.path: use for use in inference.system.networks if use in inference.used}


def _listed(known: dict[str, NetworkUse]) -> str:
    if not known:
        return "it calls none: `network law(x) -> y` declares one"
    rest = ", …" if len(known) > MOST_LISTED else ""
    return f"it calls {', '.join(list(known)[:MOST_LISTED])}{rest}"
