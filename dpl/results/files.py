"""What fits, records and refinements leave in the folder of a run besides figures: tables and DPL."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from dpl.results import trajectory
from dpl.tasks.fitted import Curve, Fitted
from dpl.tasks.record import Recorded
from dpl.tasks.refine import Refined
from dpl.tasks.result import Result


def of(result: Result) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file."""
    match result:
        case Fitted():
            yield f"{result.name}.dpl", result.fragment.encode()
            yield f"metrics/{result.name}.csv", _table(["iteration", "nll"], enumerate(result.history.tolist()))
            for name, group in groupby(sorted(result.curves, key=_observation), key=_observation):
                yield f"curves/{result.name}-{name}.csv", curves(list(group))
        case Recorded():
            yield f"data/{result.name}.csv", recorded(result)
        case Refined():
            yield f"metrics/{result.name}.csv", rounds(result)
            for one in result.rounds:
                for part in one.results:
                    yield from ((f"rounds/{result.name}-{one.number}/{name}", data) for name, data in of(part))
        case _:
            return


def _observation(curve: Curve) -> str:
    return curve.observation


def curves(runs: Sequence[Curve]) -> bytes:
    """An observation at the data of all runs: what was measured, what the fit says, and how far apart they are."""
    unit, time = runs[0].unit, runs[0].time_unit
    header = [trajectory.headed(word, u) for word, u in (("at", time), ("data", unit), ("fitted", unit))]
    rows = (
        (
            c.run,
            *_known((c.at[i], c.data[i], c.fitted[i], c.residuals[i])),
            int(c.held_out[i]),
            int(c.censored[i : i + 1].any()),
        )
        for c in runs
        for i in range(c.at.size)
    )
    return _table(["run", *header, "residual", "held_out", "censored"], rows)


def recorded(result: Recorded) -> bytes:
    """Rows in declared units under the names of the columns; the comment before them is how DPL reads this file."""
    numbers = {name: np.asarray(quantity.value).tolist() for name, quantity in result.columns.items()}
    if result.run:
        numbers[result.run] = list(map(int, numbers[result.run]))
    rows = zip(*numbers.values(), strict=True)
    return f"# {declaration(result)}\n".encode() + _table(numbers, map(_known, rows))


def declaration(result: Recorded) -> str:
    """`data shots(run as group, time: s as time, range: m) from "shots.csv"`"""
    roles = {result.time: " as time", result.run: " as group"}
    columns = (
        _column(name) + (f": {quantity.unit}" if quantity.unit else "") + roles.get(name, "")
        for name, quantity in result.columns.items()
    )
    return f'data {result.name}({", ".join(columns)}) from "{result.name}.csv"'


def _column(name: str) -> str:
    """`speed`; of a part's `cannon.speed`, which is no name, `cannon_speed "cannon.speed"`."""
    plain = re.sub(r"[.\[\], ]+", "_", name).strip("_")
    return name if plain == name else f'{plain} "{name}"'


def rounds(result: Refined) -> bytes:
    """A row per round and metric."""
    header = ["round", "metric", "unit", "map", "territory", "gap", "closed"]
    rows = ((r.round, r.metric, r.unit, *_known((r.map, r.territory, r.gap, r.closed))) for r in result.rows)
    return _table(header, rows)


def _known(cells: Iterable[Any]) -> tuple[Any, ...]:
    """Nothing where a number is missing."""
    return tuple("" if cell != cell else cell for cell in cells)


def _table(header: Iterable[str], rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()
