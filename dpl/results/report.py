"""A result as a person reads it on the console: a heading, what came out, what was chosen, how long it took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import assert_never

import numpy as np

from dpl.results.table import Block, Table
from dpl.results.trajectory import extremes
from dpl.runtime.program import Scenario
from dpl.tasks.result import Quantity, Result, number
from dpl.tasks.run import AnyResult
from dpl.tasks.simulate import Simulated
from dpl.tasks.train import Trained
from dpl.tasks.verify import Checked, Failing, Verified


def report(result: AnyResult, quiet: bool = False) -> list[Block]:
    """The blocks that tell a result; `quiet` leaves out what was chosen."""
    match result:
        case Simulated():
            said, body = ("did not end well" if result.status == "unended" else _seconds(result)), simulated(result)
        case Trained():
            said, body = f"{result.status}, {_seconds(result)}", trained(result)
        case Verified():
            word = "passed" if result.status == "done" else "failed"
            said, body = f"{word} on {_runs(result.samples)}, {_seconds(result)}", verified(result)
        case _:
            assert_never(result)
    chosen = [f"  chosen: {'; '.join(result.defaults)}"] if result.defaults and not quiet else []
    heading = f"{result.kind} {result.name} on {result.scenario}: {said}"
    return [heading, *body, *[f"  note: {note}" for note in result.notes], *chosen, ""]


def scenario(one: Scenario) -> list[Block]:
    """What was chosen for a scenario because the text does not say."""
    lines = list(one.spec.defaults)
    if one.spec.run is not None:
        lines.append(f"solver {one.method.name} ({one.explanation})")
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
        lines.append(f"  {result.objective}: {first} at first, {last} after {result.losses.size:_} steps{over}")
    if result.found:
        lines.append(_quantities(result.found))
    return lines


def _quantities(values: Mapping[str, Quantity]) -> Table:
    rows = tuple((name, number(value.value), value.unit) for name, value in values.items())
    return Table(("", "", ""), rows, frozenset({1}))


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
        head = f"  {_runs(result.unended_count)} did not end well"
        blocks += _failing(head, result.unended, result.unended_count)
    return blocks


def found(checked: Checked) -> str:
    """`3.2 < 5 cm`, and for comparisons of every run `0.1 to 7.3 < 5 cm`."""
    parts = [number(low) if low == high else f"{number(low)} to {number(high)}" for low, high in checked.operands]
    text = parts[0] + "".join(f" {op} {part}" for op, part in zip(checked.ops, parts[1:], strict=False))
    return f"{text} {checked.unit}".rstrip()


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
