"""Estimates as a piece of DPL, to be put in the place of the declarations that they came from.

Numbers have all their digits: read back, they are the same. What no declaration of a param can say is a comment.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from dpl.tasks.fitted import Estimate, Fitted


def text(result: Fitted) -> str:
    """A declaration per param, under a heading per part; then, as comments, what is no param of the text."""
    on = f" on {result.scenario}" if result.scenario else ""
    lines = [
        f"# {result.kind} {result.name}{on}: nll {result.nll:.6g} from {result.count:_} cells",
        "# Each may take the place of its declaration; priors and comments of that are not repeated.",
    ]
    known = {name: one for name, one in result.estimates.items() if name in result.params and _declarable(one)}
    for part, group in groupby(sorted(known, key=_part), key=_part):
        lines += ["", *([f"# in {part}"] if part else [])]
        lines += [_declaration(name.rpartition(".")[2], known[name]) for name in group]
    lines += _others("starts, givens and what each run has its own:", result, known.keys())
    if result.scales:
        lines += ["", "# scales of the observations:"]
        lines += [
            f"# {name}: {_number(one.value)}{_unit(one, ' [{}]')}{_sure(one)}" for name, one in result.scales.items()
        ]
    if result.networks:
        lines += ["", f"# networks, whose weights are in params.safetensors: {', '.join(result.networks)}"]
    return "\n".join(lines) + "\n"


def _part(name: str) -> str:
    return name.rpartition(".")[0]


def _declarable(one: Estimate) -> bool:
    return not one.runs and bool(np.isfinite(one.value).all())


def _declaration(name: str, one: Estimate) -> str:
    shape = f"[{', '.join(map(str, np.shape(one.value)))}]" if np.ndim(one.value) else ""
    return f"param {name}{shape}{_unit(one, ': {}')} = {_number(one.value)}{_bounds(one)}{_sure(one)}{_origin(one)}"


def _others(heading: str, result: Fitted, known: Any) -> Iterator[str]:
    others = {name: one for name, one in result.estimates.items() if name not in known}
    if others:
        yield from ("", f"# {heading}")
    for name, one in others.items():
        labels = f"  # {', '.join(' '.join(label.split()) for label in one.runs)}" if one.runs else _sure(one)
        yield f"# {name}{_unit(one, ': {}')} = {_number(one.value)}{labels}"


def _unit(one: Estimate, form: str) -> str:
    return form.format(one.unit) if one.unit else ""


def _bounds(one: Estimate) -> str:
    """`in 0.1..10 log`; DPL has no range without a lower end."""
    if one.low is None or not math.isfinite(one.low):
        return ""
    high = "" if one.high is None or not math.isfinite(one.high) else _number(one.high)
    return f" in {_number(one.low)}..{high}{' log' * one.log}"


def _sure(one: Estimate) -> str:
    if np.ndim(one.value):
        return f"  # ± {', '.join(f'{se:.2g}' for se in np.ravel(one.se))}" if np.isfinite(one.se).all() else ""
    return f"  # on its {one.bound} bound" if one.bound else f"  # ± {one.se:.2g}" if math.isfinite(one.se) else ""


def _origin(one: Estimate) -> str:
    return "" if not one.origin else f", {one.origin}" if _sure(one) else f"  # {one.origin}"


def _number(value: Any) -> str:
    """The shortest text that is read back as the same number; nested lists of arrays."""
    if np.ndim(value):
        return f"[{', '.join(_number(part) for part in np.asarray(value))}]"
    return repr(float(value)).removesuffix(".0")
