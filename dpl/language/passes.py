"""The passes of the language in order: parse, resolve, elaborate, infer, check."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from dpl.language import syntax
from dpl.language.check import check_system, check_task
from dpl.language.data import Datasets
from dpl.language.diagnostics import CompileError, Diagnostic
from dpl.language.elaborate import elaborate
from dpl.language.infer import Inference
from dpl.language.model import CheckedModel
from dpl.language.parser import parse, read
from dpl.language.resolve import Namespace, resolve
from dpl.language.scenarios import Problems, Scenarios, errors, nodes
from dpl.language.source import Source, Span
from dpl.language.tasks import read_tasks


def check_source(source: Source) -> CheckedModel:
    """A text through every pass; problems of one pass stop those that need its result."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 20_000))  # the parser bounds the depth of a tree
    file = parse(source)
    problems = Problems()
    space = resolve(file, _parse_file, problems)
    datasets = Datasets(not any(_names_units(f) for f in space.files()), problems)
    _file_level(space, datasets, problems)
    scenarios = Scenarios(space, datasets, problems)
    for item in file.items:
        if isinstance(item, syntax.Model | syntax.Scenario):
            scenarios.make(item)
    data = scenarios.data()
    tasks = read_tasks(file.items, scenarios.inferences, problems)
    if not errors(problems):
        for task in tasks:
            check_task(task, tasks, problems)
    if errors(problems):
        raise CompileError(_once(problems))
    sources = (*(f.source for f in space.files()), *datasets.sources.values())
    warnings = tuple(_once(problems))
    return CheckedModel(file, scenarios.systems, scenarios.models, tasks, warnings, sources, data)


def _file_level(space: Namespace, datasets: Datasets, problems: list[Diagnostic]) -> None:
    """What stands outside any block, used or not."""
    start = Span(space.file.source, 0, 0)
    nothing = syntax.Scenario("", start, None, None, None, (), span=start)
    inference = Inference(elaborate(nothing, space, datasets, problems), datasets.pure, problems)
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


def _names_units(file: syntax.File) -> bool:
    """Whether any unit is written in the file. `1` and `%` count: who writes them thinks in units."""
    return any(isinstance(node, syntax.UnitName | syntax.UnitOne) for node in nodes(file.items))
