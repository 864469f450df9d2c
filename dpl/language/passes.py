"""The passes of the language in order: parse, resolve, elaborate, infer, check."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from dpl.language import syntax
from dpl.language.check import check_measures, check_system, check_task
from dpl.language.diagnostics import CompileError, Diagnostic
from dpl.language.elaborate import elaborate
from dpl.language.infer import Inference
from dpl.language.mechanics import find_coordinates
from dpl.language.model import CheckedModel, System, TaskUse
from dpl.language.parser import parse, read
from dpl.language.resolve import Namespace, resolve
from dpl.language.settings import read_run
from dpl.language.source import Source, Span
from dpl.language.tasks import read_task

MOST_PROBLEMS = 100
_OF_SIZES = ("index-out-of-range", "bad-index", "range-upside-down", "too-large", "wrong-shape", "not-covered")
"""What is not said of a system in which the size of an array is wrong: it may follow from that alone"""


def check_source(source: Source) -> CheckedModel:
    """A text through every pass; problems of one pass stop those that need its result."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 20_000))  # the parser bounds the depth of a tree
    file = parse(source)
    problems = Problems()
    space = resolve(file, _parse_file, problems)
    pure = not any(_names_units(f) for f in space.files())
    _file_level(space, pure, problems)
    systems: dict[str, System] = {}
    models: dict[str, System] = {}
    inferences: dict[str, Inference] = {}
    for item in file.items:
        if isinstance(item, syntax.Model | syntax.Scenario):
            inference = _system(item, space, pure, problems)
            (systems if inference.system.closed else models)[item.name] = inference.system
            inferences[item.name] = inference
    tasks: list[TaskUse] = []
    for item in file.items:
        if isinstance(item, syntax.Task):
            task = read_task(item, systems, inferences, tasks, problems)
            if task is not None:
                tasks.append(task)
    if not _errors(problems):
        for i, task in enumerate(tasks):
            check_task(task, tasks[:i], problems)
    if _errors(problems):
        raise CompileError(_once(problems))
    sources = tuple(f.source for f in space.files())
    return CheckedModel(file, systems, models, tuple(tasks), tuple(_once(problems)), sources)


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


def _file_level(space: Namespace, pure: bool, problems: list[Diagnostic]) -> None:
    """What stands outside any block, used or not."""
    start = Span(space.file.source, 0, 0)
    nothing = syntax.Scenario("", start, None, None, None, (), span=start)
    inference = Inference(elaborate(nothing, space, problems), pure, problems)
    inference.run(everything=True)
    check_system(inference.system, problems)


def _once(problems: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Each problem once: what is wrong with a model is wrong with every part made from it."""
    kept: dict[object, Diagnostic] = {}
    for problem in problems:
        labels = (*([problem.label] if problem.label else []), *problem.related)
        places = tuple((label.span.source.name, label.span.start, label.span.end) for label in labels)
        kept.setdefault((problem.code, places), problem)
    return list(kept.values())


def _parse_file(path: Path) -> syntax.File:
    return parse(read(path))


def _system(
    item: syntax.Model | syntax.Scenario, space: Namespace, pure: bool, problems: list[Diagnostic]
) -> Inference:
    found = Problems()
    system = elaborate(item, space, found)
    inference = Inference(system, pure, found)
    inference.run()
    read_run(system, inference)
    if any(p.code == "bad-size" for p in found):
        found = Problems(p for p in found if p.code not in _OF_SIZES)
    if not _errors(found):
        find_coordinates(system)
        check_system(system, found)
        check_measures(system, found)
    problems += found
    return inference


def _errors(problems: list[Diagnostic]) -> bool:
    return any(p.severity == "error" for p in problems)


def _names_units(file: syntax.File) -> bool:
    """Whether any unit is written in the file. `1` and `%` count: who writes them thinks in units."""
    return any(isinstance(node, syntax.UnitName | syntax.UnitOne) for node in _nodes(file.items))


def _nodes(value: object) -> Iterator[syntax.Node]:
    waiting: list[object] = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, tuple):
            waiting += node
        elif isinstance(node, syntax.Node):
            yield node
            waiting += [v for k, v in vars(node).items() if k != "span"]
