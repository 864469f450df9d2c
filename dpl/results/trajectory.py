"""Trajectories as CSV, and in short: both in declared units."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dpl.runtime.program import Run
from dpl.tasks.result import number


def extremes(run: Run) -> Iterator[tuple[str, ...]]:
    """Name, unit, first, last, lowest and highest value of each observed quantity."""
    for name in run.names:
        values = run[name]
        yield name, run.units[name], *map(number, (values[0], values[-1], np.min(values), np.max(values)))


def write(run: Run, path: Path) -> None:
    """A file with one column per observed number, `T[0]`, `T[1]` of arrays; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = dict(_columns(run))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))


def _columns(run: Run) -> Iterator[tuple[str, np.ndarray]]:
    yield _headed("time", run.time_unit), run.time
    for name in run.names:
        rows = run[name]
        for index in np.ndindex(*rows.shape[1:]):
            element = f"{name}[{', '.join(map(str, index))}]" if index else name
            yield _headed(element, run.units[name]), rows[(slice(None), *index)]


def _headed(name: str, unit: str) -> str:
    return f"{name} [{unit}]" if unit else name
