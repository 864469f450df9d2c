"""One live bar on a terminal, a plain line now and then elsewhere; both on standard error: output stays clean."""

from __future__ import annotations

import sys
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
        print(", ".join(part for part in parts if part), file=self.stream, flush=True)

    def end(self) -> None:
        pass


def _pace(first: tuple[float, int], now: float, done: int, total: int) -> str:
    seconds, steps = now - first[0], done - first[1]
    if seconds <= 0 or steps <= 0:
        return ""
    return f"{steps / seconds:.4g}/s, {left((total - done) * seconds / steps)} left"


class Bar:
    """A bar that is gone when its task ends."""

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.live: Any = None
        self.task: Any = None
        self.first: tuple[float, int] | None = None
        self.total = 0

    def begin(self, title: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TaskProgressColumn(),
            TextColumn("{task.fields[shown]}"),
        )
        self.live = Progress(*columns, console=Console(file=self.stream), transient=True, refresh_per_second=5)
        self.live.start()
        self.first, self.total = None, total
        self.task = self.live.add_task(title, total=total, shown="compiling")

    def advance(self, done: int, value: float | None = None, **shown: str) -> None:
        now = monotonic()
        if self.first is None:
            self.first = now, done
        parts = [words(shown), _pace(self.first, now, done, self.total)]
        self.live.update(self.task, completed=done, shown=", ".join(part for part in parts if part))

    def end(self) -> None:
        self.live.stop()
