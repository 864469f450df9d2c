"""`refine`: rounds of recording on the territory, fitting the map to it, and training on the map; tested on both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dpl.tasks.fitted import Estimate
from dpl.tasks.result import Result


@dataclass(frozen=True, eq=False)
class Row:
    """One metric after one round, in its declared unit: the mean over common runs, on the map and on the territory.

    `gap` is the distance between the two; `closed` the share of the first round's gap that is gone (1 - gap/first):
    0 in round 0, negative where the gap has grown, NaN where there was none.
    """

    round: int
    metric: str
    unit: str
    map: float
    territory: float
    gap: float
    closed: float
    map_runs: np.ndarray
    """The metric in each run [samples]; NaN of one that did not end well"""
    territory_runs: np.ndarray


@dataclass(frozen=True, eq=False)
class Round:
    """One round: what its tasks returned, in the order in which they ran, and what the map's params are after it."""

    number: int
    """0 is the round before anything was recorded"""
    results: tuple[Result, ...]
    rows: tuple[Row, ...]
    """One per metric that is shown"""
    estimates: Mapping[str, Estimate]
    """What the fits of this round found; empty in round 0"""
    recorded: int = 0
    """Runs of the territory so far"""
    seconds: float = 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Refined(Result):
    """All rounds. `scenario` is the map."""

    territory: str
    repeat: tuple[str, ...]
    """The tasks of a round, in the order of the text"""
    show: tuple[str, ...]
    samples: int
    """Runs that test each round, the same on both sides"""
    rounds: tuple[Round, ...]
    """Round 0 first; fewer than declared where a task failed or the user ended it"""

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, by round, then by metric."""
        return tuple(row for one in self.rounds for row in one.rows)
