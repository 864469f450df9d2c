"""Diagrams as SVG: boxes in columns from left to right along the arrows, arrows back below them.

A plain layered layout: a box stands one column after the last of those that lead to it, ways that go round in a circle
left aside (Sugiyama, Tagawa and Toda 1981, IEEE Trans. SMC 11(2), 109, without their ordering within columns).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from html import escape
from itertools import accumulate

from dpl.compiler.diagram import Arrow, Box, Diagram, diagrams
from dpl.language.model import CheckedModel

CHARACTER, LINE, PAD, ROW, DIP = 7.5, 16.0, 14.0, 20.0, 26.0
"""In pixels: a letter's width, a line's height, room around what a box holds, between boxes, and for an arrow back"""

_STYLE = (
    "text{font:13px Helvetica,Arial,DejaVu Sans,sans-serif;fill:#1a1a1a;text-anchor:middle}"
    "rect,circle{fill:#f4f6f9;stroke:#57606a}.mode{fill:#fff4d6}.network{fill:#e3f2e6}.begin{fill:#57606a}"
    "path{fill:none;stroke:#57606a}.steps{stroke:#b26a00}.label{font-size:11px}"
    ".halo{stroke:#fff;stroke-width:3;paint-order:stroke}"
)


@dataclass(frozen=True)
class Place:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def middle(self) -> tuple[float, float]:
        return (self.x + self.width / 2, self.y + self.height / 2)


Places = dict[str, Place]


def show_svg(model: CheckedModel) -> str:
    """The diagrams of all scenarios, one below the other."""
    pieces: list[str] = []
    y, width = PAD, 0.0
    for diagram in diagrams(model):
        drawn = Layout(diagram)
        pieces.append(f'<g transform="translate({PAD:g} {y:g})">{"".join(drawn.shapes())}</g>')
        y, width = y + drawn.height + 2 * PAD, max(width, drawn.width)
    size = f'width="{width + 2 * PAD:g}" height="{y:g}" viewBox="0 0 {width + 2 * PAD:g} {y:g}"'
    tip = '<path d="M0 0L8 4L0 8Z" style="fill:#57606a;stroke:none"/>'
    marker = f'<marker id="tip" markerWidth="9" markerHeight="8" refX="8" refY="4" orient="auto">{tip}</marker>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_STYLE}</style><defs>{marker}</defs>'
    ground = '<rect width="100%" height="100%" style="fill:#fff;stroke:none"/>'
    return "\n".join([head, ground, *pieces, "</svg>"])


class Layout:
    """Where everything of one diagram stands, and how large it is."""

    def __init__(self, diagram: Diagram):
        self.diagram = diagram
        self.arrows = _joined(diagram.arrows)
        self.parents: dict[str, str] = {}
        self.back: set[Arrow] = set()
        """Arrows that are drawn below the boxes"""
        self.dips: dict[Arrow, float] = {}
        self.boxes: dict[str, Box] = {}
        self.note(diagram.boxes, "")
        self.places: Places = {}
        self.sizes: dict[str, tuple[float, float]] = {}
        width, height = self.arrange(diagram.boxes, 0.0, LINE + PAD)
        self.width, self.height = max(width, CHARACTER * len(diagram.title)), height + LINE + PAD

    def note(self, boxes: Iterable[Box], parent: str) -> None:
        for box in boxes:
            self.boxes[box.id], self.parents[box.id] = box, parent
            self.note(box.inner, box.id)

    # ------------------------------------------------------------ places

    def arrange(self, boxes: tuple[Box, ...], x: float, y: float) -> tuple[float, float]:
        """Give the boxes and all within them their places from a corner on; the size that they take."""
        siblings = {b.id for b in boxes}
        lifted = {a: (self.lift(a.source, siblings), self.lift(a.target, siblings)) for a in self.arrows}
        mine = {a: (s, t) for a, (s, t) in lifted.items() if s and t and (s != t or s == a.source == a.target)}
        ranks = _ranks([b.id for b in boxes], list(mine.values()))
        columns = [[b for b in boxes if ranks[b.id] == k] for k in range(max(ranks.values(), default=-1) + 1)]
        gaps = [2 * PAD for _ in columns]
        dips = 0
        for arrow, (source, target) in mine.items():
            if ranks[target] > ranks[source]:
                room = CHARACTER * max(map(len, arrow.label.split("\n"))) * 0.9 + 3 * PAD
                gaps[ranks[target] - 1] = max(gaps[ranks[target] - 1], room)
            else:
                dips += 1
                self.back.add(arrow)
                self.dips[arrow] = DIP * dips
        sizes = [[self.size(b) for b in column] for column in columns]
        heights = [sum(h for _, h in column) + ROW * (len(column) - 1) for column in sizes]
        left, lowest = x, y + max(heights, default=0.0)
        for column, size, height, gap in zip(columns, sizes, heights, gaps, strict=True):
            top = y + (lowest - y - height) / 2
            for box, (_, own) in zip(column, size, strict=True):
                self.settle(box, left, top)
                top += own + ROW
            left += max(w for w, _ in size) + gap
        for arrow in self.back & mine.keys():
            self.dips[arrow] += lowest
        return max(left - (gaps[-1] if gaps else 0.0) - x, 0.0), lowest - y + (DIP * dips + LINE if dips else 0.0)

    def size(self, box: Box) -> tuple[float, float]:
        if box.id not in self.sizes:
            self.sizes[box.id] = self.settle(box, 0.0, 0.0)
        return self.sizes[box.id]

    def settle(self, box: Box, x: float, y: float) -> tuple[float, float]:
        """Give one box and all within it their places; its size."""
        if box.kind == "begin":
            width = height = LINE
        else:
            width, height = CHARACTER * len(box.label) + 2 * PAD, LINE + PAD
        for band in _bands(box):
            inner = self.arrange(band, x + PAD, y + height)
            width, height = max(width, inner[0] + 2 * PAD), height + inner[1] + PAD
        self.places[box.id] = Place(x, y, width, height)
        return width, height

    def lift(self, name: str, siblings: set[str]) -> str:
        """The one of some siblings in which a box is; empty if in none."""
        while name and name not in siblings:
            name = self.parents.get(name, "")
        return name

    # ------------------------------------------------------------ shapes

    def shapes(self) -> list[str]:
        style = "text-anchor:start;font-weight:bold"
        title = f'<text x="0" y="{LINE - 3:g}" style="{style}">{escape(self.diagram.title)}</text>'
        return [title, *(self.shape(b) for b in self.boxes.values()), *map(self.arrow, self.arrows)]

    def shape(self, box: Box) -> str:
        place = self.places[box.id]
        x, y = place.middle
        if box.kind == "begin":
            return f'<circle class="begin" cx="{x:g}" cy="{y:g}" r="5"/>'
        y = place.y + LINE if box.inner else y + 4
        corner = {"mode": 12, "stop": 15, "network": 4}.get(box.kind, 2)
        size = f'x="{place.x:g}" y="{place.y:g}" width="{place.width:g}" height="{place.height:g}" rx="{corner}"'
        return f'<rect class="{box.kind}" {size}/><text x="{x:g}" y="{y:g}">{escape(box.label)}</text>'

    def arrow(self, arrow: Arrow) -> str:
        one, two = self.places[arrow.source], self.places[arrow.target]
        if arrow in self.back:
            low = self.dips[arrow]
            apart = 10 if arrow.source == arrow.target else 0
            x0, x1 = one.middle[0] - apart, two.middle[0] + apart
            y0, y1 = (p.bottom + (low - p.bottom) * 4 / 3 for p in (one, two))  # so that its lowest point is there
            path = f"M{x0:g} {one.bottom:g}C{x0:g} {y0:g} {x1:g} {y1:g} {x1:g} {two.bottom:g}"
            at = ((x0 + x1) / 2, low - 4)
        else:
            inside = arrow.source != arrow.target and bool(self.lift(arrow.target, {arrow.source}))
            start = (two.x - PAD, two.middle[1]) if inside else (one.right, one.middle[1])
            bend = (two.x - start[0]) / 2
            end = (two.x, two.middle[1])
            path = f"M{_at(start)}C{start[0] + bend:g} {start[1]:g} {end[0] - bend:g} {end[1]:g} {_at(end)}"
            at = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 - 4)
        lines = arrow.label.split("\n") if arrow.label else []
        heights = accumulate([at[1] - 12 * (len(lines) - 1), *[12.0] * (len(lines) - 1)])
        text = "".join(
            f'<text class="label halo" x="{at[0]:g}" y="{y:g}">{escape(line)}</text>'
            for line, y in zip(lines, heights, strict=False)
        )
        kind = ' class="steps"' if arrow.steps else ""
        return f'<path{kind} d="{path}" marker-end="url(#tip)"/>{text}'


def _at(point: tuple[float, float]) -> str:
    return f"{point[0]:g} {point[1]:g}"


def _bands(box: Box) -> list[tuple[Box, ...]]:
    """What stands within a box, in bands from top to bottom: parts, then modes."""
    parts = tuple(b for b in box.inner if b.kind == "part")
    modes = tuple(b for b in box.inner if b.kind != "part")
    return [band for band in (parts, modes) if band]


def _joined(arrows: Iterable[Arrow]) -> list[Arrow]:
    """Arrows between the same two boxes as one, with all their labels."""
    found: dict[tuple[str, str, bool], Arrow] = {}
    for arrow in arrows:
        key = (arrow.source, arrow.target, arrow.steps)
        earlier = found.get(key)
        found[key] = replace(arrow, label=f"{earlier.label}\n{arrow.label}") if earlier else arrow
    return list(found.values())


def _ranks(nodes: list[str], ways: list[tuple[str, str]]) -> dict[str, int]:
    """The column of each node: after all that lead to it, ways back aside."""
    following = {n: [t for s, t in ways if s == n and t != n] for n in nodes}
    order: list[str] = []
    state: dict[str, int] = {}
    forward: list[tuple[str, str]] = []
    for root in nodes:
        work = [(root, iter(following[root]))] if root not in state else []
        if work:
            state[root] = 1
        while work:
            node, rest = work[-1]
            child = next(rest, None)
            if child is None:
                state[node] = 2
                order.append(node)
                work.pop()
            elif state.get(child) != 1:  # else it closes a circle
                forward.append((node, child))
                if child not in state:
                    state[child] = 1
                    work.append((child, iter(following[child])))
    ranks = dict.fromkeys(nodes, 0)
    for node in reversed(order):
        for source, target in forward:
            if source == node:
                ranks[target] = max(ranks[target], ranks[node] + 1)
    return ranks
