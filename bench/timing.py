"""Measures several ways to do the same thing side by side, so that what disturbs one disturbs all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

Seconds = Mapping[str, np.ndarray]
"""Seconds per call of each contender, one entry per round"""


@dataclass(frozen=True)
class Ratio:
    """Paired ratios of two contenders: the median over rounds and the extremes."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}..{self.high:.2f})"


def interleaved(
    calls: Mapping[str, Callable[[], Any]], rounds: int = 15, least: float = 0.01, most: int = 1000
) -> Seconds:
    """Seconds per call: in each round all contenders in turn, every other round in reverse order.

    Args:
        rounds: how often each contender is measured.
        least: a measurement repeats its call until it lasts about so long [s].
        most: repetitions at the most.
    """
    repeats = {name: min(most, max(1, round(least / max(_lasts(call, 1), 1e-7)))) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in list(calls)[:: -1 if number % 2 else 1]:
            seconds[name].append(_lasts(calls[name], repeats[name]))
    return {name: np.asarray(values) for name, values in seconds.items()}


def _lasts(call: Callable[[], Any], times: int) -> float:
    began = perf_counter()
    for _ in range(times):
        call()
    return (perf_counter() - began) / times


def ratio(ours: np.ndarray, rival: np.ndarray) -> Ratio:
    """Ours over the rival's, round by round."""
    paired = ours / rival
    return Ratio(float(np.median(paired)), float(paired.min()), float(paired.max()))


def fastest(seconds: Seconds, names: list[str]) -> str:
    """The contender with the lowest median."""
    return min(names, key=lambda name: float(np.median(seconds[name])))


def shown(seconds: float) -> str:
    """A duration in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
