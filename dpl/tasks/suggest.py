"""`suggest`: formulas for what a network has learned, read off where the runs of its scenario visit it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dpl.tasks.result import Quantity, Result


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
