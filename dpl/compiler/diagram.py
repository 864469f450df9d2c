"""Parts, wiring and modes of a system as boxes and arrows: what `dpl show --graph` writes and `--svg` draws.

Ids are our own words and numbers; the user's names stand in labels only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from dpl.language.depend import reads
from dpl.language.model import Automaton, CheckedModel, DataUse, Event, NetworkUse, Scope, System, Variable

LONGEST_LABEL = 32


@dataclass(frozen=True)
class Box:
    """A part with what is in it, a network, data, the scenario itself, a mode, or the end of the run."""

    id: str
    label: str
    kind: Literal["part", "network", "data", "scenario", "mode", "begin", "stop"]
    inner: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Arrow:
    source: str
    target: str
    label: str = ""
    steps: bool = False
    """From mode to mode"""


@dataclass(frozen=True)
class Diagram:
    title: str
    boxes: tuple[Box, ...] = ()
    arrows: tuple[Arrow, ...] = field(default=())


def diagrams(model: CheckedModel) -> list[Diagram]:
    """One for each scenario; for each model, where there is no scenario."""
    return [_Drawn(s).diagram() for s in model.systems.values() or model.models.values()]


class _Drawn:
    """What one system looks like."""

    def __init__(self, system: System):
        self.system = system
        self.ids = {id(p): f"part{i + 1}" for i, p in enumerate(system.parts)}
        self.automata = {id(a.scope): a for a in system.automata}

    def diagram(self) -> Diagram:
        arrows = tuple(dict.fromkeys([*self.wiring(), *self.observed(), *self.transitions()]))
        ends = {end for arrow in arrows for end in (arrow.source, arrow.target)}
        boxes: list[Box] = []
        root = self.system.root
        if "outside" in ends or id(root) in self.automata:
            boxes.append(Box("outside", self.system.name, "scenario", self.modes(root)))
        boxes += [Box(self.net(n), n.path, "network") for n in self.system.networks if self.net(n) in ends]
        boxes += [Box(self.of_data(d), d.name, "data") for d in self.system.data if self.of_data(d) in ends]
        boxes += [self.box(p) for p in self.system.parts if "." not in p.path]
        return Diagram(self.system.name, tuple(boxes), arrows)

    def box(self, part: Scope) -> Box:
        inner = [p for p in self.system.parts if p.path.rpartition(".")[0] == part.path]
        label = f"{part.path.rpartition('.')[2]}: {getattr(part.item, 'name', '')}"
        return Box(self.id(part), label, "part", (*(self.box(p) for p in inner), *self.modes(part)))

    def id(self, scope: Scope) -> str:
        return self.ids.get(id(scope), "outside")

    def net(self, use: NetworkUse) -> str:
        return f"network{self.system.networks.index(use) + 1}" if use in self.system.networks else "outside"

    # ------------------------------------------------------------ wiring

    def wiring(self) -> Iterator[Arrow]:
        for variable in self.system.variables:
            if variable.kind == "input" and variable.value is not None:
                for read in reads(variable.value):
                    target = self.id(variable.scope)
                    if isinstance(read.what, Variable) and read.what.data in self.system.data:
                        source, text = self.of_data(read.what.data), read.what.declaration.name
                    elif isinstance(read.what, Variable):
                        source, text = self.id(read.what.scope), read.what.declaration.name
                    elif isinstance(read.what, NetworkUse):
                        source, text = self.net(read.what), read.what.item.name
                    else:
                        continue
                    if source != target:
                        yield Arrow(source, target, text + "'" * read.order)

    def of_data(self, use: DataUse) -> str:
        return f"data{self.system.data.index(use) + 1}"

    def observed(self) -> Iterator[Arrow]:
        """From what is compared with data to the data."""
        for observation in self.system.observations:
            found = (read.what for value in observation.arguments for read in reads(value))
            for what in found:
                if not isinstance(what, Variable) or what.kind not in ("state", "let", "input", "output"):
                    continue
                if observation.data in self.system.data and observation.column is not None:
                    text = f"observe {observation.column.declaration.name}"
                    yield Arrow(self.id(what.scope), self.of_data(observation.data), text)

    # ------------------------------------------------------------ modes

    def modes(self, scope: Scope) -> tuple[Box, ...]:
        automaton = self.automata.get(id(scope))
        if automaton is None:
            return ()
        boxes = [Box(self.mode(automaton, mode), mode, "mode") for mode in automaton.modes]
        stops = any(e.stop and e.scope is scope for e in self.system.events)
        return (Box(f"{self.id(scope)}begin", "", "begin"), *boxes, *([self.stop(scope)] if stops else []))

    def mode(self, automaton: Automaton, mode: str) -> str:
        return f"{self.id(automaton.scope)}mode{automaton.modes.index(mode) + 1}"

    def stop(self, scope: Scope) -> Box:
        return Box(f"{self.id(scope)}stop", "stop", "stop")

    def transitions(self) -> Iterator[Arrow]:
        for automaton in self.system.automata:
            scope = automaton.scope
            yield Arrow(f"{self.id(scope)}begin", self.mode(automaton, automaton.modes[0]), steps=True)
            for event in self.system.events:
                if event.scope is not scope:
                    continue
                inside = event.during is not None and event.during.automaton is automaton
                sources = event.during.modes if event.during is not None and inside else automaton.modes
                for source in (m for m in automaton.modes if m in sources):
                    if event.go is not None and event.go[0] is automaton:
                        yield Arrow(
                            self.mode(automaton, source), self.mode(automaton, event.go[1]), _named(event), True
                        )
                    if event.stop:
                        yield Arrow(self.mode(automaton, source), self.stop(scope).id, _named(event), True)


def _named(event: Event) -> str:
    """An event's name, else what it waits for."""
    if event.named:
        return event.path.rpartition(".")[2]
    word = "every " if event.every else "at " if event.at else ""
    text = word + " ".join(event.span.text.split())
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


# ---------------------------------------------------------------- Mermaid

_SHAPES = {
    "part": ("[", "]"),
    "network": ("{{", "}}"),
    "data": ("[(", ")]"),
    "scenario": ("([", "])"),
    "mode": ("(", ")"),
    "begin": ("((", "))"),
    "stop": ("(((", ")))"),
}


def show_graph(model: CheckedModel) -> str:
    """Parts, wiring and modes of each scenario as a Mermaid flowchart; of models, where there is no scenario."""
    return "\n\n".join("\n".join(_flowchart(d)) for d in diagrams(model))


def _flowchart(diagram: Diagram) -> list[str]:
    boxes = [line for box in diagram.boxes for line in _box(box)]
    arrows = [f"{a.source} -->{f'|{_label(a.label)}|' if a.label else ''} {a.target}" for a in diagram.arrows]
    return ["flowchart LR", *(f"  {line}" for line in (*boxes, *arrows))]


def _box(box: Box) -> list[str]:
    if not box.inner:
        left, right = _SHAPES[box.kind]
        return [f"{box.id}{left}{_label(box.label or ' ')}{right}"]
    inner = [f"  {line}" for b in box.inner for line in _box(b)]
    return [f"subgraph {box.id}[{_label(box.label)}]", *inner, "end"]


def _label(text: str) -> str:
    """Text in a label of Mermaid's."""
    return '"' + text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace("\n", " ") + '"'
