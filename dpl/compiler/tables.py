"""The statements of grouped functions as Python text, and the tables of places and lines that they refer to."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from dpl.compiler import ir
from dpl.compiler.literals import WIDTH, quoted
from dpl.compiler.printer import Printer


class Tables:
    """Writes such statements; `lines` gathers what must stand before their function."""

    def __init__(self, prefix: str, printer: Printer):
        self.prefix, self.printer = prefix, printer
        self.lines: list[str] = []
        self._count = 0

    def statement(self, statement: ir.Statement) -> list[str]:
        """The lines of a statement on vectors; none for another."""
        symbol = self.printer.symbol
        match statement:
            case ir.Vector(target, argument, ()):
                return [f"    {symbol(target)} = groups.joined({argument})"]
            case ir.Vector(target, argument, keys):
                return [
                    f"    {symbol(target)} = groups.looked_up({argument}, {self.constant('NAMES', map(quoted, keys))})"
                ]
            case ir.Constants(target, numbers, like):
                name = self.constant("NUMBERS", map(repr, numbers))
                return [
                    f"    {symbol(target)} = groups.constants({name}{f', {symbol(like)}' if like is not None else ''})"
                ]
            case ir.Picked():
                return self.picked(statement)
            case ir.Grouped(target, value, origins):
                return [f"    {symbol(target)} = {self.printer.text(value)}  # {self.origins(origins)}"]
            case _:
                return []

    def picked(self, statement: ir.Picked) -> list[str]:
        symbol = self.printer.symbol
        sources = ", ".join(map(symbol, statement.sources))
        whole = len(statement.targets) == 1 and statement.sizes
        form = "" if whole else ".apart" if statement.sizes else ".numbers"
        comment = f"  # {self.origins(statement.origins)}" if any(statement.origins) else ""
        call = f"{self.table(statement)}{form}({sources}){comment}"
        targets = [symbol(t) for t in statement.targets]
        if form:
            targets[-1] += "," if len(targets) == 1 else ""
            return self.wrapped("    (", targets, f") = {call}") if len(targets) > 1 else [f"    {targets[0]} = {call}"]
        return [f"    {targets[0]} = {call}"]

    def table(self, statement: ir.Picked) -> str:
        """The name of the sparse matrix of a statement."""
        rows = statement.rows
        picks = all(len(row) == 1 and row[0][1] == 1.0 for row in rows)
        texts = [str(row[0][0]) for row in rows] if picks else [_tuple(str(i) for i, _ in row) for row in rows]
        weights = any(w != 1.0 for row in rows for _, w in row)
        parts = [str(statement.size), self.constant("ROWS", texts)]
        if weights:
            parts.append("weights=" + self.constant("WEIGHTS", (_tuple(f"{w!r}" for _, w in row) for row in rows)))
        if len(statement.targets) > 1 and statement.sizes:
            parts.append(f"split={_tuple(_tuple(map(str, pair)) for pair in statement.sizes)}")
        name = self.name("TABLE")
        self.lines.append(f"{name} = groups.Table({', '.join(parts)})")
        return name

    def origins(self, origins: Iterable[str]) -> str:
        """The name of the lines that the rows of a statement come from."""
        return self.constant("LINES", map(quoted, origins))

    def constant(self, word: str, items: Iterable[str]) -> str:
        """The name of a tuple."""
        name = self.name(word)
        self.lines += self.wrapped(f"{name} = (", [*items], ")", "")
        return name

    def name(self, word: str) -> str:
        self._count += 1
        return f"{self.prefix}_{word}_{self._count}"

    def wrapped(self, opening: str, items: list[str], closing: str, indent: str = "    ") -> list[str]:
        inner = textwrap.wrap(", ".join(items) + ",", WIDTH - 4, break_long_words=False, break_on_hyphens=False)
        if len(inner) == 1 and len(opening) + len(inner[0]) + len(closing) <= WIDTH:
            return [f"{opening}{inner[0]}{closing}"]
        return [opening, *(f"{indent}    {line}" for line in inner), f"{indent}{closing}"]


def _tuple(items: Iterable[str]) -> str:
    found = list(items)
    return f"({', '.join(found)}{',' if len(found) == 1 else ''})"
