"""A run as one page to look at in a browser: what each task tells, its figures, and what it wrote back as DPL.

The figures are the files in `plots/` beside it. All text is escaped: names and labels may come from strangers' files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from dpl.results.table import Block, Table

PAGE = "report.html"

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
body { background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
p { margin: .2rem 0; } code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { background: #f5f5f5; padding: .7rem; overflow-x: auto; }
table { border-collapse: collapse; margin: .7rem 0; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .15rem .8rem; border-bottom: 1px solid #ddd; vertical-align: top; }
th { border-bottom: 1px solid #888; font-weight: 600; } .right { text-align: right; }
img { max-width: 100%; margin: .7rem 0; } .quiet { color: #666; }
"""


@dataclass(frozen=True)
class Section:
    """A task: the blocks that tell it, the names of its figures, and its estimates as DPL if it has any."""

    blocks: Sequence[Block]
    figures: Sequence[str] = ()
    fragment: str = ""


def html(title: str, about: Sequence[str], sections: Iterable[Section]) -> str:
    """The page. `about` are lines under its title."""
    parts = [f"<h1>{escape(title)}</h1>", *(f'<p class="quiet">{escape(line)}</p>' for line in about)]
    parts += [part for section in sections for part in _section(section)]
    head = f'<meta charset="utf-8">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>'
    return "\n".join(["<!doctype html>", '<html lang="en">', head, *parts, "</html>", ""])


def _section(section: Section) -> Iterable[str]:
    heading, *blocks = section.blocks
    yield f"<h2>{escape(str(heading))}</h2>"
    for block in blocks:
        if isinstance(block, Table):
            yield _table(block)
        elif block:
            yield f"<p>{escape(block.strip())}</p>"
    for name in section.figures:
        yield f'<img src="plots/{quote(name)}.svg" alt="{escape(name)}">'
    if section.fragment:
        yield f"<details><summary>as DPL</summary><pre>{escape(section.fragment)}</pre></details>"


def _table(table: Table) -> str:
    head = _row("th", table.header, table.right) if any(table.header) else ""
    return f"<table>{head}{''.join(_row('td', row, table.right) for row in table.rows)}</table>"


def _row(tag: str, cells: Sequence[str], right: frozenset[int]) -> str:
    marked = (f'<{tag} class="right">' if i in right else f"<{tag}>" for i in range(len(cells)))
    return f"<tr>{''.join(f'{mark}{escape(cell)}</{tag}>' for mark, cell in zip(marked, cells, strict=True))}</tr>\n"
