"""What a fit found, as a person reads it: estimates with their uncertainty, the likelihood, and what to doubt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from dpl.results.table import Block, Table
from dpl.tasks.fitted import Direction, Estimate, Fitted
from dpl.tasks.result import number

RUNS = 12
"""Of what each run has its own, so many are shown"""
STRONG = 0.95
"""Estimates correlated above this are named"""
PAIRS = 8
WEIGHT = 0.1
"""Of a direction, parts with a smaller weight are left out"""


def fitted(result: Fitted) -> list[Block]:
    """The table of estimates, how good the fit is, how it was found, and what to doubt."""
    blocks: list[Block] = [estimates(result)] if result.estimates or result.scales else []
    if result.networks:
        blocks.append(f"  networks: {', '.join(result.networks)}")
    return [*blocks, *_figures(result), *_starts(result), *_intervals(result), *_doubts(result)]


# ---------------------------------------------------------------- estimates


def estimates(result: Fitted) -> Table:
    """A row per number: its value to the digits that its standard error supports."""
    scales = {f"scale of {name}": scale for name, scale in result.scales.items()}
    rows = tuple(row for name, one in {**result.estimates, **scales}.items() for row in _rows(name, one))
    header = ("estimate", "", "± se", "95 % interval", "unit", "start", "bounds")
    spare = (5,) if any("on its" in row[-1] for row in rows) else (5, 6)
    return Table(header, rows, frozenset({1, 2, 5}), spare)


def _rows(name: str, one: Estimate) -> Iterator[tuple[str, ...]]:
    singles = list(one.singles(name))
    shown = singles if len(singles) <= RUNS + 1 else singles[:RUNS]
    for label, single in shown:
        value, se, interval = digits(single)
        start = "" if single.start is None else number(single.start)
        yield label, value, se, interval, single.unit, start, _bounds(single)
    if len(singles) > len(shown):
        left = np.array([single.value for _, single in singles[len(shown) :]])
        ends = f"{number(np.min(left))} to {number(np.max(left))}"
        yield f"and {left.size:_} more of {name}", ends, "", "", one.unit, "", ""


def digits(one: Estimate) -> tuple[str, str, str]:
    """Value, standard error and interval of a number, down to the second digit of the standard error."""
    low, high = one.interval
    if not (math.isfinite(one.se) and one.se > 0):
        return number(one.value), "–", _interval(number(low), number(high))
    places = 1 - math.floor(math.log10(float(f"{one.se:.1e}")))
    size = max(abs(one.value), one.se)
    plain = 1e-4 <= size < 1e7
    value, se, low, high = (_rounded(x, places, plain) for x in (one.value, one.se, low, high))
    return value, se, _interval(low, high)


def _rounded(x: float, places: int, plain: bool) -> str:
    if not math.isfinite(x):
        return number(x)
    x = round(x, places) + 0.0  # -0.0 + 0.0 is 0.0
    if plain:
        return f"{x:.{max(places, 0)}f}"
    return f"{x:.{max(places + math.floor(math.log10(abs(x))), 0) if x else 0}e}"


def _interval(low: str, high: str) -> str:
    return "–" if low == high == "nan" else f"{low} to {high}".replace("nan", "–")


def _bounds(one: Estimate) -> str:
    if one.bound:
        return f"on its {one.bound} bound"
    low, high = ("" if end is None or not math.isfinite(end) else number(end) for end in (one.low, one.high))
    return f"{low}..{high}{' log' * one.log}" if low or high else ""


# ---------------------------------------------------------------- how good, and how found


def _figures(result: Fitted) -> Iterator[str]:
    words = {"nll": result.nll, "log likelihood": result.log_likelihood, "rss": result.rss}
    words |= {"AIC": result.aic, "BIC": result.bic}
    yield "  " + ", ".join(f"{word} {_figure(value, word == 'rss')}" for word, value in words.items())
    cells = [f"n {result.count:_}"]
    cells += [
        f"{count:_} {word}" for count, word in ((result.skipped, "skipped"), (result.censored, "censored")) if count
    ]
    steps = f"{result.iterations:_} iterations" if result.iterations != 1 else "1 iteration"
    yield f"  {', '.join(cells)}; {result.free:_} free numbers; {steps} by {result.method}"
    if result.held_out:
        kept = ", ".join(f"{name} {number(rms)}" for name, rms in result.held_out.items())
        yield f"  held out: {kept} (rms of residual / sd: about 1 if the fit predicts well)"


def _figure(value: float, relative: bool = False) -> str:
    """Likelihoods are compared by differences of order 1, sums of squares by ratios."""
    return number(value) if relative or not 0.01 <= abs(value) < 1e9 else f"{value:.2f}"


def _starts(result: Fitted) -> Iterator[str]:
    if len(result.starts) < 2:
        return
    best, failed = sum(one.best for one in result.starts), sum(bool(one.failed) for one in result.starts)
    ended = f"{best:_} of {len(result.starts):_} starts reached the best value"
    yield f"  {ended}{f', {failed:_} failed' if failed else ''}"


def _intervals(result: Fitted) -> Iterator[Table]:
    """The intervals by profile likelihood and by bootstrap, side by side."""
    refits = next(iter(result.bootstrap.values())).shape[0] if result.bootstrap else 0
    drawn = dict(bootstrapped(result))
    rows = [
        (name, _ends(result.profiles[name].interval) if name in result.profiles else "", _ends(drawn.get(name)))
        for name in dict.fromkeys((*result.profiles, *drawn))
    ]
    used = [0, *([1] if result.profiles else []), *([2] if refits else [])]
    header = ("95 % interval", "by profile likelihood", f"by bootstrap ({refits:_} refits)")
    if rows:
        yield Table(tuple(header[i] for i in used), tuple(tuple(row[i] for i in used) for row in rows))


def bootstrapped(result: Fitted, ends: tuple[float, ...] = (0.025, 0.975)) -> Iterator[tuple[str, tuple[float, ...]]]:
    """By name, the quantiles of each number over the refits."""
    for name, values in result.bootstrap.items():
        one = result.estimates.get(name)
        labels = [label for label, _ in one.singles(name)] if one is not None else [name]
        for label, column in zip(labels, values.reshape(len(values), -1).T, strict=True):
            known = column[np.isfinite(column)]
            yield label, tuple(np.quantile(known, ends).tolist()) if known.size else (math.nan,) * len(ends)


def _ends(ends: tuple[float, ...] | None) -> str:
    return "" if ends is None else _interval(number(ends[0]), number(ends[1])).replace("inf", "∞")


# ---------------------------------------------------------------- what to doubt


def _doubts(result: Fitted) -> Iterator[str]:
    pairs = list(correlated(result.names, result.correlation))
    if pairs:
        told = "; ".join(f"{a} and {b} ({r:+.3f})" for a, b, r in pairs[:PAIRS])
        more = f"; and {len(pairs) - PAIRS:_} more" if len(pairs) > PAIRS else ""
        yield f"  strongly correlated: {told}{more}"
    for direction in result.directions:  # of those not determined at all a note tells
        if math.isfinite(direction.sd):
            yield f"  hardly determined: {combination(direction, result.estimates)}"


def correlated(names: tuple[str, ...], matrix: np.ndarray) -> Iterator[tuple[str, str, float]]:
    """Pairs with a correlation above `STRONG`, the strongest first."""
    rows, columns = np.triu_indices(len(names), 1)
    found = np.abs(matrix[rows, columns]) if rows.size else np.zeros(0)
    for k in np.argsort(-found, kind="stable"):
        if found[k] > STRONG:
            yield names[rows[k]], names[columns[k]], float(matrix[rows[k], columns[k]])


def combination(direction: Direction, estimates: Mapping[str, Estimate]) -> str:
    """`0.71 log ka - 0.70 V (sd 12)`"""
    text = ""
    for name, weight in direction.parts:
        if abs(weight) >= WEIGHT or not text:
            one = estimates.get(name.partition("[")[0])
            sign = ("+ " if weight > 0 else "- ") if text else ("-" if weight < 0 else "")
            text += f"{' ' * bool(text)}{sign}{abs(weight):.2f} {'log ' * bool(one and one.log)}{name}"
    return f"{text} (sd {number(direction.sd)})"
