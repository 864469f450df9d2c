"""Tables in exported files: their points as numbers, with the slopes of a cubic one. See `lookup` of the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dpl.language.model import TableUse


def columns(use: TableUse) -> dict[str, Sequence[float]]:
    """What a file holds of a table, by what it is called there."""
    found: dict[str, Sequence[float]] = {"knots": use.knots, "values": use.values}
    return found | ({"slopes": slopes(use.knots, use.values)} if use.using == "cubic" else {})


def slopes(knots: Sequence[float], values: Sequence[float]) -> list[float]:
    """The slopes of a cubic at its knots, which keep it between the values of two neighbours.

    Fritsch and Butland (1984), SIAM J. Sci. Stat. Comput. 5(2), 300.
    """
    widths = [b - a for a, b in pairwise(knots)]
    rises = [(b - a) / h for (a, b), h in zip(pairwise(values), widths, strict=True)]
    if len(rises) < 2:
        return rises * 2
    inner = map(_inner, widths, widths[1:], rises, rises[1:])
    first, last = _end(*widths[:2], *rises[:2]), _end(*widths[:-3:-1], *rises[:-3:-1])
    return [first, *inner, last]


def _inner(h: float, k: float, d: float, e: float) -> float:
    """0 where the values turn, else a harmonic mean of the slopes on both sides."""
    return 3 * (h + k) / ((2 * k + h) / d + (k + 2 * h) / e) if d * e > 0 else 0.0


def _end(h: float, k: float, d: float, e: float) -> float:
    """From the parabola through three points, kept from turning within the piece."""
    slope = ((2 * h + k) * d - h * e) / (h + k)
    if slope * d <= 0:
        return 0.0
    return 3 * d if d * e <= 0 and abs(slope) > 3 * abs(d) else slope
