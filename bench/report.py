"""The outcomes of a run of all benchmarks as one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bench import machine
from bench.table import HEADINGS, Row
from dpl.version import __version__

PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "diffrax", "torch", "torchdiffeq", "casadi", "jaxonomy")


@dataclass(frozen=True)
class Outcome:
    """What one benchmark printed, and the rows that it recorded."""

    name: str
    what: str
    text: str
    rows: Sequence[dict[str, Any]]
    failure: str = ""


def written(outcomes: Sequence[Outcome]) -> str:
    """The page, in Markdown."""
    found = [Row(**row) for outcome in outcomes for row in outcome.rows]
    parts = [OPENING.format(version=__version__, date=date.today().isoformat(), machine=_machine())]
    parts += [HOW, _slower(found)]
    parts += [_section(outcome) for outcome in outcomes]
    return "\n".join(parts)


OPENING = """# How fast it is

DPL {version} beside what others offer for the same problem, measured on {date} by `python -m bench`, which writes this
page anew. Machine and versions: {machine}.
"""

HOW = """## How to read it

- "Time of the rival's" is DPL's time over that of its fastest rival: below 1, DPL is faster. It is the median over
  neighbouring measurements, contenders taking turns, every other round in reverse order; then the lowest and highest.
- The rival of a row is the fastest of all that could be made to do it, chosen after the fact. Those that are not
  installed are named in the section of the benchmark.
- The first call includes tracing and compiling, in a process that has done nothing else; later calls stand apart.
- Results agree before anything is timed. Numbers are in double precision where nothing else is said.
- On few and shared cores single ratios scatter by tens of percent: believe a median whose range excludes 1. The load
  above is that at the end; above the number of cores, times are too long, ratios less so.
"""


def _machine() -> str:
    installed: list[str] = []
    absent: list[str] = []
    for package in PACKAGES:
        try:
            version(package)
            installed.append(package)
        except PackageNotFoundError:
            absent.append(package)
    return machine.described(*installed) + (f"; not installed: {', '.join(absent)}" if absent else "")


def _slower(rows: Sequence[Row]) -> str:
    """What is worse than another's comes first: nobody should have to search for it."""
    slower = sorted((r for r in rows if r.ratio > 1), key=lambda r: -r.ratio)
    if not slower:
        return "## What is slower\n\nIn no row that was measured.\n"
    return "\n".join(["## What is slower", "", *_table(slower), ""])


def _section(outcome: Outcome) -> str:
    lines = [f"## {outcome.name}", "", f"{outcome.what[:1].upper()}{outcome.what[1:]}.", ""]
    if outcome.failure:
        lines += [f"This benchmark {outcome.failure}.", ""]
    if outcome.rows:
        lines += [*_table([Row(**row) for row in outcome.rows]), ""]
    return "\n".join([*lines, "```text", outcome.text.rstrip(), "```", ""])


def _table(rows: Sequence[Row]) -> list[str]:
    width = len(HEADINGS)
    lines = [f"| {' | '.join(HEADINGS)} |", "|" + "---|" * width]
    return [*lines, *(f"| {' | '.join(row.cells())} |" for row in rows)]
