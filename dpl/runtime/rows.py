"""What data say to the runs of a scenario: which rows belong to which run, its givens, its input signals.

Data with a group column make a run of each group, ungrouped ones with a time column one run of all rows, others a run
of each row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dpl.runtime.spec import Data, Given, Scenario, Table


def data_of(name: str) -> str:
    """The data that a column (`pelts.hare`) belongs to."""
    return name.partition(".")[0]


def column(data: Data, name: str) -> np.ndarray:
    """The values of a column [rows], SI; NaN where a cell is missing."""
    return np.asarray(next(c.values for c in data.columns if c.name == name.rpartition(".")[2]), float)


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs that some data make: their labels, and of each of the data the rows of each run."""

    labels: tuple[str, ...]
    rows: Mapping[str, tuple[np.ndarray, ...]]


def runs(used: Iterable[Data]) -> Runs:
    """Data that say nothing of runs (ungrouped ones with a time) belong to every run.

    Raises:
        ValueError: there are no rows, or not as many as in other data.
    """
    split = {data.name: _split(data) for data in used}
    grouped = [labels for labels, _, kind in split.values() if kind == "group"]
    each = [labels for labels, _, kind in split.values() if kind == "row"]
    if len({len(labels) for labels in each}) > 1:
        raise ValueError(f"{' and '.join(f'`{name}`' for name in split)} have not the same number of rows")
    labels = tuple(dict.fromkeys(label for some in grouped for label in some)) or (each[0] if each else ("",))
    none = np.zeros(0, int)

    def placed(own: tuple[str, ...], rows: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        if own == ("",):
            return tuple(rows[0] for _ in labels)
        at = dict(zip(own, rows, strict=True))
        return tuple(at.get(label, none) for label in labels)

    return Runs(labels, {name: placed(own, rows) for name, (own, rows, _) in split.items()})


def _split(data: Data) -> tuple[tuple[str, ...], list[np.ndarray], str]:
    count = len(data.columns[0].values) if data.columns else 0
    if count == 0:
        by = f"run `record {data.record}` first" if data.record else "it is empty"
        raise ValueError(f"`{data.name}` has no rows: {by}")
    group = data.column("group")
    if group is not None:
        of = np.asarray(group.values, int)
        return data.groups, [np.flatnonzero(of == n) for n in range(len(data.groups))], "group"
    if data.column("time") is not None:
        return ("",), [np.arange(count)], "time"
    return tuple(str(n + 1) for n in range(count)), [np.asarray([n]) for n in range(count)], "row"


def padded(parts: Sequence[np.ndarray], otherwise: float) -> np.ndarray:
    """Rows of different lengths as one array [runs, n], each filled up with its last number."""
    most = max((len(part) for part in parts), default=0)
    filled = [np.concatenate([part, np.full(most - len(part), part[-1] if len(part) else otherwise)]) for part in parts]
    return np.stack(filled)


# ---------------------------------------------------------------- givens and signals


@dataclass(frozen=True, eq=False)
class Said:
    """What data say to each run."""

    runs: Runs
    givens: Mapping[str, np.ndarray]
    """By the given's name [runs], NaN where the cell is missing"""
    signals: Mapping[str, tuple[np.ndarray, np.ndarray]]
    """By column: times and values [runs, n]; cells that are missing are left out"""

    @property
    def whole(self) -> np.ndarray:
        """The runs that lack nothing, as indices."""
        lacking = np.zeros(len(self.runs.labels), bool)
        for values in self.givens.values():
            lacking |= np.isnan(values)
        return np.flatnonzero(~lacking)


def said(scenario: Scenario, data: Mapping[str, Data], also: Iterable[str] = ()) -> Said:
    """What `data` say to the runs of a scenario; `also` names further data that make runs.

    Raises:
        ValueError: some of them have no rows, or a signal no value in a run.
    """
    names = dict.fromkeys(
        [g.data for g in scenario.givens if g.data] + [data_of(s) for s in scenario.signals] + [*also]
    )
    found = runs(data[name] for name in names)
    givens = {g.name: _firsts(column(data[g.data], g.column), found.rows[g.data]) for g in scenario.givens if g.data}
    return Said(found, givens, {name: _signal(name, data[data_of(name)], found) for name in scenario.signals})


def _firsts(values: np.ndarray, rows: Sequence[np.ndarray]) -> np.ndarray:
    """The first value of each run that is there."""
    known = [values[of][~np.isnan(values[of])] for of in rows]
    return np.asarray([some[0] if len(some) else np.nan for some in known])


def _signal(name: str, data: Data, found: Runs) -> tuple[np.ndarray, np.ndarray]:
    time, values = data.column("time"), column(data, name)
    if time is None:
        raise ValueError(f"`{name}` is read as a function of time, and `{data.name}` has no column of times")
    known = [of[~np.isnan(values[of])] for of in found.rows[data.name]]
    for label, of in zip(found.labels, known, strict=True):
        if not len(of):
            raise ValueError(f"`{name}` has no value{f' in `{label}`' if label else ''}")
    times = np.asarray(time.values, float)
    return padded([times[of] for of in known], 0.0), padded([values[of] for of in known], 0.0)


def listed(given: Given, told: Said) -> Given:
    """A given of data as one that is listed: run i has what row (or group) i says, of those that lack nothing."""
    values = tuple(told.givens[given.name][told.whole].tolist())
    if not values:
        raise ValueError(f"no row of `{given.data}` has all that `{given.name}` and its like need")
    return replace(given, value=values[0], listed=values)


def table_si(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """A table as `functions.lookup` takes it."""
    return np.asarray(table.knots, float), np.asarray(table.values, float)


def first_si(told: Said) -> dict[str, Any]:
    """The signals of the first run."""
    return {name: (times[0], values[0]) for name, (times, values) in told.signals.items()}


NAME = "rows of data"
"""Under which a scenario's values hold what the data say to each run, so that other rows are no other program"""


def told_si(told: Said) -> dict[str, Any]:
    """By the names of givens [runs] and signals (times and values [runs, n]), of the runs that lack nothing."""
    whole = told.whole
    signals = {name: (times[whole], values[whole]) for name, (times, values) in told.signals.items()}
    return {name: values[whole] for name, values in told.givens.items()} | signals


def of_runs(told: Mapping[str, Any], indices: Array) -> dict[str, Any]:
    """What is told to the runs `indices` [n], in turn."""
    return {name: jax.tree.map(lambda leaf: jnp.asarray(leaf)[indices % len(leaf)], of) for name, of in told.items()}
