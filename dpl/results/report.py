"""A result as a person reads it on the console: a heading, what came out, what was chosen, how long it took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never

import numpy as np

from dpl.results.fits import fitted
from dpl.results.table import Block, Table
from dpl.results.territory import recorded, refined, suggested
from dpl.results.trajectory import extremes
from dpl.runtime.program import Scenario
from dpl.tasks.compare import ITERATIONS, WALL_TIME, Compared, Row
from dpl.tasks.constrained import Constrained
from dpl.tasks.evaluate import Evaluated, Spread
from dpl.tasks.fitted import Fitted
from dpl.tasks.optimize import Optimized
from dpl.tasks.record import Recorded
from dpl.tasks.refine import Refined
from dpl.tasks.result import Quantity, Result, number
from dpl.tasks.run import AnyResult
from dpl.tasks.simulate import Simulated
from dpl.tasks.suggest import Suggested
from dpl.tasks.train import Trained
from dpl.tasks.verify import Checked, Failing, Verified


def report(result: AnyResult, quiet: bool = False) -> list[Block]:
    """The blocks that tell a result; `quiet` leaves out what was chosen."""
    match result:
        case Simulated():
            said, body = ("did not end well" if result.status == "unended" else _seconds(result)), simulated(result)
        case Trained():
            said, body = f"{result.status}, {_seconds(result)}", trained(result)
        case Optimized():
            said, body = f"{result.status}, {_seconds(result)}", optimized(result)
        case Verified():
            word = "passed" if result.status == "done" else "failed"
            said, body = f"{word} on {_runs(result.samples)}, {_seconds(result)}", verified(result)
        case Evaluated():
            said, body = f"{_runs(result.samples)}, {_seconds(result)}", evaluated(result)
        case Compared():
            said, body = _runs(result.samples), compared(result)
        case Fitted():
            said, body = f"{result.status}, {_seconds(result)}", fitted(result)
        case Recorded():
            said, body = f"{result.status}, {_seconds(result)}", recorded(result)
        case Suggested():
            said, body = f"{result.status}, {_seconds(result)}", suggested(result)
        case Refined():
            said, body = f"{result.status}, tested on {_runs(result.samples)}, {_seconds(result)}", refined(result)
        case _:
            assert_never(result)
    chosen = [f"  chosen: {'; '.join(result.defaults)}"] if result.defaults and not quiet else []
    on = f" on {result.scenario}" if result.scenario else ""
    heading = f"{result.kind} {result.name}{on}: {said}"
    return [heading, *body, *[f"  note: {note}" for note in result.notes], *chosen, ""]


def scenario(one: Scenario) -> list[Block]:
    """What was chosen for a scenario because the text does not say."""
    lines = list(one.spec.defaults)
    if one.waits and one.spec.run is not None:
        lines.append("its solver is chosen once its data are recorded")
    elif one.spec.run is not None:
        lines.append(f"solver {one.method.name} ({one.explanation})")
        lines += [one.passes] if one.passes else []
    return [f"{one.spec.name}: {'; '.join(lines)}"] if lines else []


def _seconds(result: Result) -> str:
    compiled = f"compiled in {result.seconds.compile:.1f} s, " if result.seconds.compile is not None else ""
    return f"{compiled}ran {result.seconds.run:.1f} s"


def _runs(count: int) -> str:
    return f"{count:_} run{'s' * (count > 1)}"


# ---------------------------------------------------------------- train


def trained(result: Trained) -> list[Block]:
    """The loss at both ends and the numbers found."""
    lines: list[Block] = []
    if result.losses.size:
        tail = result.losses[-max(1, result.losses.size // 20) :]
        last = Quantity(float(np.mean(tail)), result.unit)
        first = Quantity(float(result.losses[0]), result.unit)
        over = f" (mean of the last {tail.size})" if tail.size > 1 else ""
        name = result.objective + (f" in windows of {number(result.window)} s" if result.window else "")
        lines.append(f"  {name}: {first} at first, {last} after {result.losses.size:_} steps{over}")
        if result.judged_on > 1:
            runs = f"{result.judged_on:_} whole runs" if result.window else _runs(result.judged_on)
            lines.append(f"  with the values that are kept: {result.judged} on {runs}")
    if result.found:
        lines.append(_quantities(result.found))
    return lines


def _quantities(values: Mapping[str, Quantity]) -> Table:
    rows = tuple((name, number(value.value), value.unit) for name, value in values.items())
    return Table(("", "", ""), rows, frozenset({1}))


# ---------------------------------------------------------------- optimize


def optimized(result: Optimized) -> list[Block]:
    """The objective at both ends, how many runs got where they should, what was found, the constraints."""
    known = np.isfinite(result.before) & np.isfinite(result.after)
    first, last = (
        Quantity(part[known].mean() if known.any() else np.nan, result.unit) for part in (result.before, result.after)
    )
    many, count = result.iterations.size > 1, result.iterations
    steps = f"{number(count.mean())} iterations (at most {count.max():_})" if many else f"{int(count[0]):_} iterations"
    head = f"  {result.objective} by {result.method}: {'mean ' * many}{first} at first, {last} after {steps}"
    blocks: list[Block] = [head, *_reached(result), *_infeasible(result.constraints)]
    several = result.by_run if result.samples > 1 else ()
    shared = {n: Quantity(q.value[0], q.unit) if n in result.by_run else q for n, q in result.found.items()}
    if one := {name: quantity for name, quantity in shared.items() if name not in several}:
        blocks.append(_quantities(one))
    if several:
        found, ends = result.found, (np.min, np.median, np.max)
        rows = tuple((n, *(number(end(found[n].value)) for end in ends), found[n].unit) for n in several)
        blocks.append(Table(("over runs", "lowest", "median", "highest", ""), rows, frozenset({1, 2, 3})))
    if result.constraints:
        rows = tuple(_constraint(c, not result.separate) for c in result.constraints)
        header = ("subject to", "found", "limit", "slack", "multiplier", "")
        blocks.append(Table(header, rows, frozenset({1, 2, 3, 4})))
    return blocks


def _reached(result: Optimized) -> list[str]:
    if result.reached is None:
        return []
    if result.reached.size > 1:
        return [f"  {int(result.reached.sum()):_} of {_runs(result.reached.size)} reached `{result.until}`"]
    return [f"  {'reached' if result.reached[0] else 'did not reach'} `{result.until}`"]


def _infeasible(constraints: Sequence[Constrained]) -> list[str]:
    """Which constraints could not be met, and how nearly."""
    words: list[str] = []
    for c in constraints:
        if not c.holds.all():
            many = f" in {int((~c.holds).sum()):_} of {_runs(c.holds.size)}" if c.holds.size > 1 else ""
            closest = Quantity(np.ravel(c.value.value)[np.argmin(c.slack.value)], c.value.unit)
            how = "worst" if many else "closest"
            words.append(f"  the search did not end at values that satisfy `{c.text}`{many}: {how} {closest}")
    return words


def _constraint(one: Constrained, together: bool) -> tuple[str, ...]:
    """The run in which least is left to the limit; where all runs are one problem, what the limit is worth in all."""
    at = int(np.argmin(one.slack.value))
    parts = (Quantity(np.ravel(q.value)[at], q.unit) for q in (one.value, one.limit, one.slack))
    multipliers = np.ravel(one.multiplier.value)
    worth = Quantity(multipliers.sum() if together else multipliers[at], one.multiplier.unit)
    count = int((~one.holds).sum())
    many = f" in {count:_} of {_runs(one.holds.size)}" if one.holds.size > 1 else ""
    verdict = f"violated{many}" if count else "holds"
    return (one.text, *map(str, parts), "–" if count or np.isnan(worth.value) else str(worth), verdict)


# ---------------------------------------------------------------- evaluate and compare

COSTS = {ITERATIONS: "iterations a run", WALL_TIME: "time a run"}
"""What `compare` shows of what a new run costs, in words that say so"""


def evaluated(result: Evaluated) -> list[Block]:
    """The spread of every loss and metric, and the runs that did not end."""
    header = ("", "unit", "mean", "sd", "lowest", "5 %", "median", "95 %", "highest")
    rows = tuple((s.name, s.unit, _sure(s), *map(number, _ends(s))) for s in result.spreads)
    if result.samples == 1:
        header, rows = ("", "unit", ""), tuple((s.name, s.unit, number(s.mean)) for s in result.spreads)
    blocks: list[Block] = [Table(header, rows, frozenset(range(2, len(header))))]
    if result.unended:
        blocks += _failing(_unended(result.unended_count), result.unended, result.unended_count)
    return blocks


def _sure(spread: Spread) -> str:
    return f"{number(spread.mean)} ± {spread.error:.2g}"


def _ends(s: Spread) -> tuple[float, ...]:
    return s.sd, s.lowest, s.low, s.median, s.high, s.highest


def compared(result: Compared) -> list[Block]:
    """One row per task: means over the common runs, the highest in brackets."""
    rows = tuple((row.task, *(_cell(row, name) for name in result.show)) for row in result.rows)
    header = (COSTS.get(name, name) for name in result.show)
    return [Table(("", *header), rows, frozenset(range(1, 1 + len(result.show))))]


def _cell(row: Row, name: str) -> str:
    if name == ITERATIONS:
        return number(row.iterations)
    if name == WALL_TIME:
        return _duration(row.wall_time)
    if name not in row.measures or not np.isfinite(row.measures[name].value).any():
        return "–"
    q = row.measures[name]
    mean, highest = np.nanmean(q.value), np.nanmax(q.value)
    return f"{Quantity(mean, q.unit)}" + (f" (max {number(highest)})" if np.size(q.value) > 1 else "")


def _duration(seconds: float) -> str:
    """In the unit that suits it."""
    scale, unit = next((pair for pair in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")) if seconds >= pair[0]), (1e-9, "ns"))
    return f"{seconds / scale:.3g} {unit}"


# ---------------------------------------------------------------- verify


def verified(result: Verified) -> list[Block]:
    """The table of expectations, and the runs that fail."""
    rows = tuple((c.text, found(c), _holds(c, result.samples)) for c in result.checked)
    blocks: list[Block] = [Table(("expected", "found", ""), rows)]
    for checked in result.checked:
        if checked.failing:
            head = f"  `{checked.text}` fails in {_runs(checked.failing_count)}"
            blocks += _failing(head, checked.failing, checked.failing_count)
    if result.unended:
        blocks += _failing(_unended(result.unended_count), result.unended, result.unended_count)
    return blocks


def _unended(count: int) -> str:
    return f"  {_runs(count)} did not end well"


def found(checked: Checked) -> str:
    """`3.2 < 5 cm (95 %: 3.1 to 3.4)`, of every run `0.1 to 4.3 < 5 cm`; `7 against 5 cm` where it fails."""
    parts = [_range(ends) for ends in checked.operands]
    ops = checked.ops if checked.holds else ["against"] * len(checked.ops)
    text = parts[0] + "".join(f" {op} {part}" for op, part in zip(ops, parts[1:], strict=False))
    sure = ", ".join(_range(interval) for interval in checked.intervals if interval)
    return f"{text} {checked.unit}".rstrip() + (f" (95 %: {sure})" if sure else "")


def _range(ends: tuple[float, float]) -> str:
    return number(ends[0]) if ends[0] == ends[1] or np.isnan(ends).all() else f"{number(ends[0])} to {number(ends[1])}"


def _holds(checked: Checked, samples: int) -> str:
    if checked.holds:
        return "holds"
    return f"fails in {checked.failing_count:_} of {_runs(samples)}" if checked.per_run else "fails"


def _failing(head: str, runs: Iterable[Failing], count: int) -> list[Block]:
    runs = tuple(runs)
    lines: list[Block] = [head + (f", of which {len(runs)}:" if count > len(runs) else ":")]
    for one in runs:
        values = " against ".join(str(value) for value in one.values)
        lines.append(f"    {one.sample}" + "".join(f"; {text}" for text in (values, one.why) if text))
    return lines


# ---------------------------------------------------------------- simulate


def simulated(result: Simulated) -> list[Block]:
    """Losses and metrics of the run, and the ends and extremes of what it observes."""
    blocks: list[Block] = []
    if result.measures:
        blocks.append(_quantities(result.measures))
    rows = tuple(extremes(result.run))
    if rows and result.run.time.size == 1:
        blocks.append(Table(("", "", ""), tuple((name, value, unit) for name, unit, value, *_ in rows), frozenset({1})))
    elif rows:
        points = f"at {result.run.time.size} points"
        blocks.append(Table((points, "unit", "first", "last", "lowest", "highest"), rows, frozenset({2, 3, 4, 5})))
    return blocks
