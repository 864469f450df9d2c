"""What `record`, `suggest` and `refine` tell: the rows of the territory, formulas for the unknown, the gap closing."""

from __future__ import annotations

import math

import numpy as np

from dpl.results.fits import digits
from dpl.results.table import Block, Table
from dpl.tasks.record import Recorded
from dpl.tasks.refine import Refined, Round, Row
from dpl.tasks.result import Quantity, number
from dpl.tasks.suggest import Suggested

ROWS = 5
"""So many rows of what was recorded are shown"""


# ---------------------------------------------------------------- record


def recorded(result: Recorded) -> list[Block]:
    """How much was recorded, its first rows, and how far the readings are from what they would be without noise."""
    count = rows(result)
    shown = f"  {count:_} row{'s' * (count != 1)} of {result.samples - result.failed:_} runs"
    header = ("row", *(f"{name} [{q.unit}]" if q.unit else name for name, q in result.columns.items()))
    body = [(str(i + 1), *(cell(q.value[i]) for q in result.columns.values())) for i in range(min(count, ROWS))]
    body += [("…", *("" for _ in result.columns))] if count > ROWS else []
    blocks: list[Block] = [shown, Table(header, tuple(body), frozenset(range(len(header))))]
    if noisy := [(name, rms(result, name)) for name in result.sensors if name in result.truth]:
        blocks.append("  noise (root mean square): " + ", ".join(f"{name} {q}" for name, q in noisy))
    return blocks


def rows(result: Recorded) -> int:
    return max((np.size(q.value) for q in result.columns.values()), default=0)


def rms(result: Recorded, sensor: str) -> Quantity:
    """How far a sensor's readings are from the truth."""
    read, truth = result.columns[sensor], result.truth[sensor]
    apart = np.asarray(read.value, float) - np.asarray(truth.value, float)
    known = apart[np.isfinite(apart)]
    return Quantity(float(np.sqrt(np.mean(known**2))) if known.size else math.nan, read.unit)


def cell(value: float) -> str:
    """A number of a column; nothing where it is missing."""
    return "" if math.isnan(value) else number(value)


# ---------------------------------------------------------------- suggest


def suggested(result: Suggested) -> list[Block]:
    """For each output the formulas that nothing simpler beats, the one to take marked."""
    blocks: list[Block] = [f"  network {result.network}, read at {result.points:_} points that its runs visit"]
    for reading in result.readings:
        body = tuple(
            (
                "→" if i == reading.best else "",
                formula.text,
                str(formula.complexity),
                _error(formula.error),
                number(formula.bic),
            )
            for i, formula in enumerate(reading.formulas)
        )
        header = ("", f"{reading.output} =", "complexity", "error", "BIC")
        blocks.append(Table(header, body, frozenset({2, 3, 4}), (4,)))
    return blocks


def _error(share: float) -> str:
    """Relative to how much the network varies."""
    return f"{100 * share:.2g} %" if math.isfinite(share) else "–"


# ---------------------------------------------------------------- refine


def refined(result: Refined) -> list[Block]:
    """A row per round and metric: on the map, on the territory, the gap and how much of it is closed."""
    header = ("round", "metric", "unit", f"map: {result.scenario}", f"territory: {result.territory}", "gap", "closed")
    body = tuple(
        (str(row.round), row.metric, row.unit, number(row.map), number(row.territory), number(row.gap), closed(row))
        for row in result.rows
    )
    blocks: list[Block] = [Table(header, body, frozenset({0, 3, 4, 5, 6}))]
    found = [one for one in result.rounds if one.estimates]
    if found:
        blocks.append(_course(found))
    return blocks


def closed(row: Row) -> str:
    """In percent; nothing of the first round, which is the measure."""
    return "" if row.round == 0 else f"{100 * row.closed:.0f} %" if math.isfinite(row.closed) else "–"


def _course(rounds: list[Round]) -> Table:
    """How the estimates moved from round to round."""
    names = dict.fromkeys(name for one in rounds for name in one.estimates)
    units = {name: estimate.unit for one in rounds for name, estimate in one.estimates.items()}
    body = tuple((name, *(_found(one, name) for one in rounds), units[name]) for name in names)
    header = ("estimate", *(f"round {one.number}" for one in rounds), "unit")
    return Table(header, body, frozenset(range(1, len(rounds) + 1)))


def _found(one: Round, name: str) -> str:
    estimate = one.estimates.get(name)
    if estimate is None:
        return "–"
    if np.ndim(estimate.value):
        return number(estimate.value)
    value, se, _ = digits(estimate)
    return value if se == "–" else f"{value} ± {se}"
