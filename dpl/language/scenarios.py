"""The systems of a file, each made once; a scenario that reads what another records is made after that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from dpl.language import syntax
from dpl.language.check import check_measures, check_system
from dpl.language.data import Datasets, column
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.elaborate import elaborate
from dpl.language.infer import Inference
from dpl.language.mechanics import find_coordinates
from dpl.language.model import DataUse, Scope, System
from dpl.language.resolve import Namespace
from dpl.language.rows import check_rows
from dpl.language.settings import read_run
from dpl.language.units import Unit

MOST_PROBLEMS = 100
_OF_SIZES = ("index-out-of-range", "bad-index", "range-upside-down", "too-large", "wrong-shape", "not-covered")
"""What is not said of a system in which the size of an array is wrong: it may follow from that alone"""


class Problems(list[Diagnostic]):
    """Problems as they are found; past a hundred, a file is given up."""

    def append(self, problem: Diagnostic) -> None:
        super().append(problem)
        if len(self) > MOST_PROBLEMS:
            raise CompileError(self)

    def __iadd__(self, problems: Iterable[Diagnostic]) -> Problems:  # pyright: ignore[reportIncompatibleMethodOverride]
        for problem in problems:
            self.append(problem)
        return self


def errors(problems: Iterable[Diagnostic]) -> bool:
    return any(p.severity == "error" for p in problems)


def nodes(value: object) -> Iterator[syntax.Node]:
    """Every node within a tree."""
    waiting: list[object] = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, tuple):
            waiting += node
        elif isinstance(node, syntax.Node):
            yield node
            waiting += [v for k, v in vars(node).items() if k != "span"]


@dataclass
class Scenarios:
    """The systems as they are made, by name; `inferences` has both kinds."""

    space: Namespace
    datasets: Datasets
    problems: list[Diagnostic]
    systems: dict[str, System] = field(default_factory=dict[str, System])
    models: dict[str, System] = field(default_factory=dict[str, System])
    inferences: dict[str, Inference] = field(default_factory=dict[str, Inference])
    making: list[syntax.Item] = field(default_factory=list[syntax.Item])
    """Scenarios that wait for what others record, and those records"""
    circular: list[syntax.Task] = field(default_factory=list[syntax.Task])

    def make(self, item: syntax.Model | syntax.Scenario) -> Inference:
        """The system of an item, with all that is wrong with it reported."""
        if item.name in self.inferences:
            return self.inferences[item.name]
        self.making.append(item)
        for task in self.read_by(item):
            self.record(task)
        self.making.pop()
        found = Problems()
        system = elaborate(item, self.space, self.datasets, found)
        inference = Inference(system, self.datasets.pure, found)
        inference.run()
        read_run(system, inference)
        if any(p.code == "bad-size" for p in found):
            found = Problems(p for p in found if p.code not in _OF_SIZES)
        if not errors(found):
            find_coordinates(system)
            check_system(system, found)
            check_measures(system, found)
            check_rows(system, found)
        self.problems += found
        self.inferences[item.name] = inference
        (self.systems if system.closed else self.models)[item.name] = system
        return inference

    # ------------------------------------------------------------ what is recorded

    def records(self) -> list[syntax.Task]:
        return [item for item in self.space.file.items if isinstance(item, syntax.Task) and item.kind == "record"]

    def read_by(self, item: syntax.Model | syntax.Scenario) -> list[syntax.Task]:
        """The records that are named in an item, in what it is like, and in the models of its parts."""
        records = {task.name: task for task in self.records()}
        found: dict[str, syntax.Task] = {}
        waiting, seen = [item.name] if records else [], set[str]()
        while waiting:
            name = waiting.pop()
            known, home = self.space.names.get(name, (None, None))
            if name in seen or home is not self.space or not isinstance(known, syntax.Model | syntax.Scenario):
                continue
            seen.add(name)
            waiting += [known.like] if isinstance(known, syntax.Scenario) and known.like else []
            for node in nodes(known.body):
                match node:
                    case syntax.Name(name) | syntax.GivenRow(data=name) if name in records:
                        found[name] = records[name]
                    case syntax.Part():
                        waiting.append(node.model)
                    case _:
                        pass
        return list(found.values())

    def record(self, task: syntax.Task) -> DataUse:
        """The data that a task makes: their columns are what the scenario is given and what its sensors show."""
        if id(task) in self.datasets.made:
            if task in self.making:
                self.in_circle(task)
            return self.datasets.made[id(task)]
        use = DataUse(task, Scope(task.name, task, None, span=task.name_span), broken=True)
        use.scope.data = self.datasets.made[id(task)] = use
        on = next((clause for clause in task.clauses if isinstance(clause, syntax.On)), None)
        item, _ = self.space.names.get(on.names[0], (None, None)) if on else (None, None)
        if not isinstance(item, syntax.Scenario):
            return use  # said where the task is read
        if item in self.making:
            self.in_circle(task)
            return use
        self.making.append(task)
        inference = self.make(item)
        self.making.pop()
        use.broken = errors(inference.problems) or task in self.circular
        if not use.broken:
            self.fill(use, inference.system)
        return use

    def in_circle(self, task: syntax.Task) -> None:
        """A record of what reads it."""
        self.circular.append(task)
        names = [item.name for item in self.making if isinstance(item, syntax.Scenario | syntax.Task)]
        chain = " -> ".join(f"`{name}`" for name in (*names, task.name) if name)
        message = f"a record cannot be read by what it is recorded of: {chain}"
        self.problems.append(Diagnostic("record-cycle", message, Label(task.name_span, "would need itself")))

    def fill(self, use: DataUse, system: System) -> None:
        assert isinstance(use.item, syntax.Task)
        sensors = [o for o in system.observations if o.data is None]
        along = [o for o in sensors if o.timed]
        if along and len(along) < len(sensors):
            once = next(o for o in sensors if not o.timed)
            message = f"`{along[0].name}` is read along the run and `{once.name}` once: one record holds either"
            related = (Label(along[0].span, "along the run"), Label(once.span, "once"))
            label = Label(use.item.name_span, "records both")
            help_text = "give one of them a scenario of its own: `scenario Other like …`"
            self.problems.append(Diagnostic("different-runs", message, label, related, help_text))
            use.broken = True
            return
        if along:
            use.group, use.time = "run", "time"
            column(use, "run", Unit(), use.item.name_span)
            column(use, "time", system.time, use.item.name_span)
        for variable in system.variables:
            if variable.kind == "given":
                column(use, variable.path.replace(".", "_"), variable.display, variable.span)
        for sensor in sensors:
            column(use, sensor.name, sensor.display, sensor.item.target.span)

    # ------------------------------------------------------------ all data

    def data(self) -> dict[str, DataUse]:
        """The data of the file by name: declared, imported and recorded, and what imported models read."""
        found: dict[str, DataUse] = {}
        for name, (item, _) in self.space.names.items():
            if isinstance(item, syntax.Data):
                found[name] = self.datasets.use(item)
        found |= {task.name: self.record(task) for task in self.records()}
        used = [use for system in (*self.systems.values(), *self.models.values()) for use in system.data]
        for use in used:
            other = found.setdefault(use.name, use)
            if other is not use:
                message = f"two data of different files are called `{use.name}`, and both are read"
                related = (Label(use.item.name_span, "and here"),)
                self.problems.append(
                    Diagnostic("duplicate-name", message, Label(other.item.name_span, "declared here"), related)
                )
        for item in self.space.file.items if self.systems and not errors(self.problems) else ():
            if isinstance(item, syntax.Data) and self.datasets.use(item) not in used:
                message = f"nothing reads the data `{item.name}`"
                label = Label(item.name_span, "declared here")
                help_text = f"observe a column in a scenario, `observe {item.name}.{item.columns[-1].name} ~ …`"
                self.problems.append(Diagnostic("unused-data", message, label, help=help_text, severity="warning"))
        return found
