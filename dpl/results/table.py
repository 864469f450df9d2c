"""Tables as text: ruled and coloured on a terminal, aligned columns elsewhere. Colour never carries meaning alone."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TextIO

MARKS = {"holds": "green", "fails": "bold red", "passed": "bold green", "failed": "bold red", "interrupted": "yellow"}
"""How a cell or a heading that is, or ends in, one of these words is shown on a terminal"""


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; `right` are the columns of numbers.

    `spare` are columns to leave out, in this order, as far as a terminal is too narrow for all.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()
    spare: tuple[int, ...] = ()

    @property
    def widths(self) -> list[int]:
        """Of each column, the width of its widest cell."""
        return [
            max((width(cell) for cell in column), default=0) for column in zip(self.header, *self.rows, strict=True)
        ]


Block = str | Table
"""What a report is made of: a line, or a table"""


def show(blocks: Iterable[Block], stream: TextIO) -> None:
    """Writes a report, as suits the stream."""
    if stream.isatty() and "NO_COLOR" not in os.environ:
        return _on_terminal(blocks, stream)
    for line in lines(blocks):
        print(line, file=stream)


def lines(blocks: Iterable[Block]) -> list[str]:
    """A report in plain text."""
    return [line for block in blocks for line in ([block] if isinstance(block, str) else aligned(block))]


def aligned(table: Table) -> list[str]:
    """A table in plain text, indented by two; columns are two spaces apart."""
    table = printable(table)
    lines = [table.header, *table.rows] if any(table.header) else list(table.rows)
    return [("  " + "  ".join(_cells(line, table.widths, table.right))).rstrip() for line in lines]


def printable(table: Table) -> Table:
    """The table without line breaks and control characters, which labels from files may hold."""
    rows = tuple(tuple("".join(c if c.isprintable() else "�" for c in cell) for cell in row) for row in table.rows)
    return replace(table, rows=rows)


def narrowed(table: Table, room: int) -> Table:
    """The table without as many of its spare columns as it takes to fit in `room` characters, ruled."""
    if not table.spare or sum(table.widths) + 3 * len(table.widths) + 1 <= room:
        return table
    left, *spare = table.spare
    kept = [i for i in range(len(table.header)) if i != left]
    place = {old: new for new, old in enumerate(kept)}
    rows = tuple(tuple(row[i] for i in kept) for row in table.rows)
    right = frozenset(place[i] for i in table.right if i != left)
    return narrowed(Table(tuple(table.header[i] for i in kept), rows, right, tuple(place[i] for i in spare)), room)


def _cells(line: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> Iterable[str]:
    for i, (cell, wanted) in enumerate(zip(line, widths, strict=True)):
        space = " " * (wanted - width(cell))
        yield space + cell if i in right else cell + space


def width(text: str) -> int:
    """Columns a terminal takes for a text: combining marks none, wide characters two."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _on_terminal(blocks: Iterable[Block], stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Ruled
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    for block in blocks:
        if isinstance(block, str):
            console.print(Text(block, style=_style(block)), soft_wrap=True)
            continue
        block = narrowed(printable(block), console.width)
        ruled = Ruled(box=box.SIMPLE_HEAD, show_header=any(block.header), pad_edge=True)
        for i, title in enumerate(block.header):
            ruled.add_column(Text(title), justify="right" if i in block.right else "left")
        for row in block.rows:
            ruled.add_row(*[Text(cell, style=_style(cell)) for cell in row])
        console.print(ruled)


def _style(text: str) -> str:
    words = text.split(":")[-1].split()
    heading = "bold" if text and not text.startswith(" ") and ":" in text else ""
    return MARKS.get(words[0], heading) if words else ""
