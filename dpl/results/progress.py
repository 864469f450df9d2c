"""One live bar with the course of the loss on a terminal, a plain line now and then elsewhere.

Both are on standard error: output stays clean.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from itertools import pairwise
from time import monotonic
from typing import Any, TextIO

from dpl.tasks.result import Progress, Silent

EVERY = 5.0
"""Seconds between plain lines"""


def progress(quiet: bool) -> Progress:
    """What suits standard error."""
    if quiet:
        return Silent()
    return Bar(sys.stderr) if sys.stderr.isatty() else Lines(sys.stderr)


BLOCKS = "▁▂▃▄▅▆▇█"
COLUMNS = 20
"""The width of the course of the loss"""


def sparkline(values: Sequence[float], columns: int = COLUMNS) -> str:
    """Numbers as blocks, lowest to highest, on a log scale if all are positive; long ones by means of equal parts."""
    known = [value for value in values if math.isfinite(value)]
    count = min(columns, len(known))
    borders = [len(known) * i // count for i in range(count + 1)] if count else [0]
    means = [sum(known[a:b]) / (b - a) for a, b in pairwise(borders)]
    if means and min(means) > 0:
        means = [math.log(mean) for mean in means]
    low, high = (min(means), max(means)) if means else (0.0, 0.0)
    span = high - low or 1.0
    return "".join(BLOCKS[round((len(BLOCKS) - 1) * (mean - low) / span)] for mean in means)


def words(shown: dict[str, str]) -> str:
    return ", ".join(f"{name} {text}" for name, text in shown.items())


def left(seconds: float) -> str:
    """A duration as `12 s` or `3:20 min`."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{int(seconds) // 60}:{int(seconds) % 60:02} min"


class Lines:
    """A line at the most every few seconds: task, steps, what is shown, steps a second, time left."""

    def __init__(self, stream: TextIO):
        self.stream, self.title, self.total = stream, "", 0
        self.first: tuple[float, int] | None = None
        self.last = monotonic()

    def begin(self, title: str, total: int) -> None:
        self.title, self.total, self.first, self.last = title, total, None, monotonic()

    def advance(self, done: int, value: float | None = None, **shown: str) -> None:
        now = monotonic()
        if self.first is None:
            self.first = now, done  # what came before was mostly compiling
        if now - self.last < EVERY:
            return
        self.last = now
        parts = [f"{self.title}: {done:_}/{self.total:_}", words(shown), _pace(self.first, now, done, self.total)]
        self.say(", ".join(part for part in parts if part))

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def end(self) -> None:
        pass


def _pace(first: tuple[float, int], now: float, done: int, total: int) -> str:
    seconds, steps = now - first[0], done - first[1]
    if seconds <= 0 or steps <= 0:
        return ""
    return f"{steps / seconds:.4g}/s, {left((total - done) * seconds / steps)} left"


class Bar:
    """A bar that is gone when its task ends: steps, the course of the loss, what is shown, pace and time left."""

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.live: Any = None
        self.task: Any = None
        self.first: tuple[float, int] | None = None
        self.total = 0
        self.values: list[float] = []

    def begin(self, title: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.table import Column

        whole, cut = Column(no_wrap=True), Column(no_wrap=True, overflow="ellipsis", ratio=1)
        columns = (
            TextColumn("{task.description}", table_column=whole),
            BarColumn(bar_width=12),
            TaskProgressColumn(),
            TextColumn("[blue]{task.fields[line]}", table_column=whole),
            TextColumn("{task.fields[shown]}", markup=False, table_column=cut),
        )
        self.live = Progress(
            *columns, console=Console(file=self.stream), transient=True, refresh_per_second=5, expand=True
        )
        self.live.start()
        self.first, self.total, self.values = None, total, []
        self.task = self.live.add_task(title, total=total, shown="compiling", line="")

    def advance(self, done: int, value: float | None = None, **shown: str) -> None:
        now = monotonic()
        if self.first is None:
            self.first = now, done
        if value is not None:
            self.values.append(value)
        parts = [words(shown), _pace(self.first, now, done, self.total)]
        told = ", ".join(part for part in parts if part)
        self.live.update(self.task, completed=done, shown=told, line=sparkline(self.values))

    def say(self, text: str) -> None:
        self.live.console.print(text, markup=False, highlight=False)

    def end(self) -> None:
        self.live.stop()
