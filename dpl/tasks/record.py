"""`record`: what the sensors of a scenario read, with their noise, becomes data for another scenario."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dpl.runtime.spec import Data
from dpl.tasks.result import Quantity, Result


@dataclass(frozen=True, eq=False, kw_only=True)
class Recorded(Result):
    """The rows that were recorded. `data` are they as the program has them now: SI, sorted by run, then by time."""

    data: Data
    columns: Mapping[str, Quantity]
    """The same in declared units, arrays over rows: `time` and `run` (from 1) if timed, then givens and sensors"""
    sensors: tuple[str, ...]
    """Which of the columns are readings"""
    truth: Mapping[str, Quantity] = field(default_factory=dict[str, Quantity])
    """By sensor, what it would read without noise (the median), over the same rows"""
    samples: int
    """Runs that were simulated"""
    failed: int = 0
    """Of these, the ones that did not end well and are left out"""
    time: str = ""
    """The column of times; empty where every row is a run"""
    run: str = ""
    """The column that says which run a row is of"""
