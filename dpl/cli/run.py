"""`dpl run FILE [TASK…]`: compiles a file and does its tasks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from dpl.cli.codes import DONE, FAILED, INTERRUPTED, NUMERICAL, WRONG
from dpl.version import __version__

if TYPE_CHECKING:
    from dpl.api import Program
    from dpl.language.model import CheckedModel
    from dpl.tasks.run import AnyResult


def add(commands: Any) -> None:
    parser = commands.add_parser("run", help="do the tasks of a file", allow_abbrev=False)
    parser.add_argument("file", metavar="FILE")
    parser.add_argument(
        "tasks", nargs="*", metavar="TASK", help="these and what they need (default: all, in file order)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        type=_setting,
        help="give a parameter, given or start another value: --set 'pendulum.m=2 [kg]'",
    )
    parser.add_argument("--seed", type=_seed, metavar="N", help="rules over the seeds of the file")
    parser.add_argument("--quiet", action="store_true", help="no progress, no chosen defaults")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--out", metavar="DIR", type=Path, help="write the trajectories of `simulate` there, as CSV")
    parser.set_defaults(command=run)


def _setting(text: str) -> tuple[str, str]:
    path, equals, value = (part.strip() for part in text.partition("="))
    if not (path and equals and value):
        raise argparse.ArgumentTypeError(f"`{text}` is not PATH=VALUE")
    return path, value


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"`{text}` is not a whole number from 0 to 2_147_483_647")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    from dpl.cli import diagnose
    from dpl.language.diagnostics import CompileError

    began = perf_counter()
    try:
        program, settings, warnings = _compiled(arguments)
    except CompileError as error:
        if arguments.json:
            found = diagnose.as_json(error.diagnostics)
            diagnose.write_json({"file": arguments.file, "status": "wrong", "diagnostics": found})
        else:
            diagnose.show(error.diagnostics)
        return WRONG
    diagnose.show(() if arguments.json else warnings)
    return _perform(arguments, program, settings, began, diagnose.as_json(warnings))


def _compiled(arguments: argparse.Namespace) -> tuple[Program, dict[str, float], Any]:
    """The program, the settings in SI and the warnings."""
    from dpl import language

    model = language.load(arguments.file)
    settings = _settings(model, arguments.set) if arguments.set else {}

    from dpl import api

    return api.program(model, seed=arguments.seed or 0), settings, model.warnings


def _settings(model: CheckedModel, said: list[tuple[str, str]]) -> dict[str, float]:
    from dpl.language.values import setting

    return {path: setting(model, path, value) for path, value in said}


def _perform(
    arguments: argparse.Namespace, program: Program, settings: dict[str, float], began: float, warnings: list[Any]
) -> int:
    from dpl.cli.diagnose import write_json
    from dpl.results import summary
    from dpl.tasks.result import NumericalFailure

    results: list[AnyResult] = []
    failure: NumericalFailure | None = None
    interrupted = False
    try:
        for result in _results(arguments, program, settings):
            results.append(result)
            _tell(arguments, result)
    except NumericalFailure as found:
        failure = found
        print(f"dpl: {found}", file=sys.stderr)
    except KeyboardInterrupt:  # while compiling: there is nothing of this task to keep
        interrupted = True
        print("dpl: interrupted", file=sys.stderr)
    if arguments.json:
        document = summary.document(arguments.file, __version__, results, perf_counter() - began, failure)
        write_json(document | {"diagnostics": warnings} | ({"status": "interrupted"} if interrupted else {}))
    statuses: set[str] = {result.status for result in results}
    if interrupted:
        statuses.add("interrupted")
    return NUMERICAL if failure else _code(statuses)


def _code(statuses: set[str]) -> int:
    by_status = {"interrupted": INTERRUPTED, "unended": NUMERICAL, "failed": FAILED}
    return next((code for status, code in by_status.items() if status in statuses), DONE)


def _results(arguments: argparse.Namespace, program: Program, settings: dict[str, float]) -> Any:
    """The results of the tasks as they come; of a file without tasks, one nominal run of each scenario."""
    from dpl.results import report, table
    from dpl.results.progress import progress
    from dpl.tasks.run import order, run_tasks

    chosen = order(program.module.tasks, arguments.tasks)
    quiet = arguments.quiet or arguments.json
    if not quiet:
        used = {task.scenario for task in chosen} or set(program.scenarios)
        blocks = [b for name, one in program.scenarios.items() if name in used for b in report.scenario(one)]
        table.show([*blocks, ""] if blocks else [], sys.stdout)
        if not program.tasks:
            print(f"{arguments.file} has no tasks: one run of each scenario with nominal values\n")
    return run_tasks(program, arguments.tasks, seed=arguments.seed, settings=settings, progress=progress(quiet))


def _tell(arguments: argparse.Namespace, result: AnyResult) -> None:
    from dpl.results import report, table, trajectory
    from dpl.tasks.simulate import Simulated

    if not arguments.json:
        table.show(report.report(result, arguments.quiet), sys.stdout)
        sys.stdout.flush()
    if arguments.out and isinstance(result, Simulated):
        path = arguments.out / f"{result.name}.csv"
        trajectory.write(result.run, path)
        print(f"wrote {path}", file=sys.stderr)
