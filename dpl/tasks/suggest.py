"""`suggest`: formulas for what a network has learned, read off where the runs of its scenario visit it.

A formula is a sum of few terms of `library.py`. None of this changes the model: a proposal is text for its author.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from dpl.runtime import networks
from dpl.runtime.program import Program
from dpl.runtime.spec import Port, Task
from dpl.tasks import library, selection, units
from dpl.tasks.context import Context, Setup, setup
from dpl.tasks.library import Input
from dpl.tasks.result import Quantity, Result, Seconds
from dpl.tasks.sampling import drawn, rows, stream, varying
from dpl.tasks.selection import Fit
from dpl.tasks.visited import visited

TERMS, SAMPLES, STATIC_SAMPLES = 3, 20, 500
GOOD = 0.1
"""The greatest relative error of a formula to take"""
PRICE, EXACT = 0.15, 1e-3
"""One more name, number or operation must make the error smaller by this share; errors below the second count alike"""


@dataclass(frozen=True, eq=False)
class Formula:
    """A proposal for one output: `text` is DPL, with units: `0.0254 [1/year]*hare*lynx`."""

    text: str
    terms: int
    complexity: int
    """Names, numbers and operations in it"""
    error: float
    """Root mean square difference from the network on the visited points, relative to the network's own variation
    there (its standard deviation)"""
    bic: float
    """Schwarz's criterion; lower is better"""
    predicted: np.ndarray
    """What it says on the visited points [points], declared unit of the output"""


@dataclass(frozen=True, eq=False)
class Reading:
    """What was found for one output of the network: proposals that nothing simpler beats, the simplest first."""

    output: str
    values: Quantity
    """What the network says on the visited points [points]"""
    formulas: tuple[Formula, ...]
    best: int | None
    """Index of the proposal to take; None where none is good"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Suggested(Result):
    """Proposals for each output of a network."""

    network: str
    inputs: Mapping[str, Quantity]
    """The visited points, arrays [points] by the names of the network's inputs"""
    readings: tuple[Reading, ...]
    points: int


def suggest(program: Program, task: Task, context: Context) -> Suggested:
    """Reads the network that the task names, as its scenario calls it now."""
    began = perf_counter()
    ready = setup(program, task, context)
    network = next(n for n in ready.scenario.spec.networks if n.name == task.network)
    context.progress.begin(f"suggest {task.name}", 1)
    try:
        points = visited(ready.scenario, network, ready.base, _runs(ready, task))
        values = networks.apply(network, ready.base[network.name], *points)
        inputs = [one for port, value in zip(network.inputs, points, strict=True) for one in _parts(port, value)]
        several = values if len(network.outputs) > 1 else (values,)
        outputs = [one for port, value in zip(network.outputs, several, strict=True) for one in _parts(port, value)]
        readings = tuple(reading(inputs, output, task.counts.get("terms", TERMS)) for output in outputs)
        context.progress.advance(1)
    finally:
        context.progress.end()
    return Suggested(
        kind=task.kind,
        name=task.name,
        scenario=task.scenario,
        seed=ready.seed,
        seconds=Seconds(None, perf_counter() - began),
        defaults=() if "terms" in task.counts else (f"terms {TERMS}",),
        notes=tuple(note for one in readings for note in _notes(one)),
        network=network.name,
        inputs={one.name: Quantity(one.values, one.unit) for one in inputs},
        readings=readings,
        points=len(points[0]),
    )


def reading(inputs: Sequence[Input], output: Input, terms: int = TERMS) -> Reading:
    """Formulas for the values of `output`, of those of the inputs at the same points."""
    fits = selection.select(library.terms(inputs), output.values, terms)
    unit = units.powers(output.unit)
    formulas = tuple(
        Formula(_text(fit, unit), len(fit.terms), fit.complexity, fit.error, fit.bic, fit.predicted) for fit in fits
    )
    return Reading(output.name, Quantity(output.values, output.unit), formulas, _best(formulas))


def _best(formulas: Sequence[Formula]) -> int | None:
    """The one whose length pays best, of those that come near; None where none does.

    Schwarz's criterion does not decide: a network's own errors are no noise, so that it would always take the longest.
    """
    costs = [math.log(max(f.error, EXACT)) + PRICE * f.complexity if f.error <= GOOD else math.inf for f in formulas]
    best = min(range(len(costs)), key=costs.__getitem__)
    return best if math.isfinite(costs[best]) else None


def _notes(found: Reading) -> list[str]:
    if found.best is not None:
        return []
    nearest = min(found.formulas, key=lambda formula: formula.error)
    return [
        f"no formula of these terms says what {found.output} is: the nearest, `{nearest.text}`, is off by "
        f"{100 * nearest.error:.2g} % of its variation"
    ]


def _text(fit: Fit, unit: units.Powers) -> str:
    """The sum as the language writes it."""
    text = ""
    for coefficient, term in zip(fit.coefficients, fit.terms, strict=True):
        size = library.quantity(abs(coefficient), units.times(unit, units.raised(term.unit, -1)))
        body = term.written(fit.constant)
        part = size if not body else f"{size}{body[1:]}" if body.startswith("1/") else f"{size}*{body}"
        sign = "-" if coefficient < 0 else "+"
        text = f"{text} {sign} {part}" if text else f"-{part}" if coefficient < 0 else part
    return text


def _runs(ready: Setup, task: Task) -> Mapping[str, Any]:
    """What differs among the runs that are looked at: nothing, if they are all the same."""
    if not varying(ready.scenario, ready.pinned):
        return {}
    samples = task.counts.get("samples", SAMPLES if ready.scenario.spec.run else STATIC_SAMPLES)
    samples = rows(ready.scenario, ready.pinned) or samples
    return drawn(ready.scenario, ready.pinned, ready.base, stream(ready.seed, "verify"), np.arange(samples))


def _parts(port: Port, values: Any) -> list[Input]:
    """The numbers of a port [points], in its declared unit: `x[0]`, `x[1]` of an array."""
    flat = np.asarray(values, float).reshape(len(values), math.prod(port.shape)) / port.scale
    names = (
        [port.name] if not port.shape else [f"{port.name}[{', '.join(map(str, i))}]" for i in np.ndindex(*port.shape)]
    )
    return [Input(name, flat[:, i], port.unit) for i, name in enumerate(names)]
