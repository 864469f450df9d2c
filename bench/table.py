"""One row of a benchmark: shown as it is measured, and kept for the table of all of them.

`python -m bench` sets `DPL_BENCH_ROWS` to the file that gathers rows, and `DPL_BENCH_QUICK` where little time is given.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from bench.timing import shown

ROWS, QUICK = "DPL_BENCH_ROWS", "DPL_BENCH_QUICK"
HEADINGS = ("what", "DPL", "rival", "time of the rival's", "lowest to highest", "first call: DPL, rival", "rival is")


@dataclass(frozen=True)
class Row:
    """DPL and its fastest rival on one problem; seconds."""

    what: str
    ours: float
    rival: float
    ratio: float
    """Ours over the rival's: the median of neighbouring measurements; below 1, DPL is faster"""
    low: float
    high: float
    by: str
    """Who the rival is"""
    first: float | None = None
    """What the first call takes, tracing and compiling included"""
    first_rival: float | None = None
    note: str = ""

    def cells(self) -> tuple[str, ...]:
        first = "" if self.first is None else f"{self.first:.2f} s"
        first += "" if self.first_rival is None else f", {self.first_rival:.2f} s"
        spread = f"{self.low:.2f} to {self.high:.2f}"
        by = f"{self.by}; {self.note}" if self.note else self.by
        return self.what, shown(self.ours), shown(self.rival), f"{self.ratio:.2f}", spread, first, by


def record(row: Row) -> None:
    """Prints a row, and adds it to those of the run."""
    what, ours, rival, ratio, spread, first, by = row.cells()
    print(f"  {what:42} {ratio:>6} ({spread:14}) {ours:>9} {rival:>9}   {first:16} {by}", flush=True)
    if os.environ.get(ROWS):
        with Path(os.environ[ROWS]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")


def quick() -> bool:
    """Whether a look is enough."""
    return bool(os.environ.get(QUICK))


def missing(*packages: str) -> list[str]:
    """Those that are not installed, said once."""
    found = [p for p in packages if find_spec(p) is None]
    if found:
        print(f"  left out, for they are not installed: {', '.join(found)} (pip install -e '.[bench]')")
    return found
