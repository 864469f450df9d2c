"""The passes of the language in order: parse, resolve, elaborate, infer, check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dpl.language import syntax
from dpl.language.check import check_measures, check_system, check_task
from dpl.language.diagnostics import CompileError, Diagnostic
from dpl.language.elaborate import elaborate
from dpl.language.infer import Inference
from dpl.language.model import CheckedModel, System, TaskUse
from dpl.language.parser import parse, read
from dpl.language.resolve import Namespace, resolve
from dpl.language.settings import read_run, read_task
from dpl.language.source import Source


def check_source(source: Source) -> CheckedModel:
    """A text through every pass; problems of one pass stop those that need its result."""
    file = parse(source)
    problems: list[Diagnostic] = []
    space = resolve(file, _parse_file, problems)
    pure = not any(_names_units(f) for f in space.files())
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
        for task in tasks:
            check_task(task, problems)
    if _errors(problems):
        raise CompileError(problems)
    return CheckedModel(file, systems, models, tuple(tasks), tuple(dict.fromkeys(problems)))


def _parse_file(path: Path) -> syntax.File:
    return parse(read(path))


def _system(item: syntax.Model | syntax.Scenario, space: Namespace, pure: bool, problems: list[Diagnostic]) -> Inference:
    found: list[Diagnostic] = []
    system = elaborate(item, space, found)
    inference = Inference(system, pure, found)
    inference.run()
    read_run(system, inference)
    if not _errors(found):
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
