"""`dpl run FILE [TASK…]`: compiles a file and does its tasks."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Generator, Iterable
from contextlib import closing, nullcontext
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from dpl.cli.codes import DONE, FAILED, INTERRUPTED, NUMERICAL, UNSAVED, WRONG
from dpl.version import __version__

if TYPE_CHECKING:
    from dpl.api import Program
    from dpl.cli.ready import Ready
    from dpl.results.folder import Folder
    from dpl.results.record import Record
    from dpl.results.table import Block
    from dpl.tasks.precision import Precision
    from dpl.tasks.run import AnyResult

FORMATS = ("csv", "parquet", "netcdf")


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
    parser.add_argument("--float32", action="store_true", help="compute runs in 32 bits, and say how far that is off")
    parser.add_argument("--quiet", action="store_true", help="no progress, no chosen defaults")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument(
        "--from",
        dest="start",
        metavar="RUN",
        help="start from what a run found; tasks that are named are then done alone",
    )
    begin.add_argument("--resume", nargs="?", const="", metavar="RUN", help="go on with a run that was cut short")
    begin.add_argument("--case", metavar="CASE", type=Path, help="repeat one failing run from its file")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--out", metavar="DIR", type=Path, help="save the run in DIR (default: a new folder in runs/)")
    place.add_argument("--no-save", dest="save", action="store_false", help="save nothing")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="of trajectories (default: csv)")
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
    from dpl.cli import diagnose, ready
    from dpl.language.diagnostics import CompileError

    began = perf_counter()
    try:
        prepared = ready.ready(arguments)
    except CompileError as error:
        if arguments.json:
            found = diagnose.as_json(error.diagnostics)
            diagnose.write_json({"file": arguments.file, "status": "wrong", "diagnostics": found})
        else:
            diagnose.show(error.diagnostics)
        return WRONG
    diagnose.show(() if arguments.json else prepared.program.warnings)
    with _folder(arguments, prepared) or nullcontext() as folder:
        return _Run(arguments, prepared, folder, began).perform()


def _folder(arguments: argparse.Namespace, prepared: Ready) -> Folder | None:
    """Where the run is saved, proved to be writable before anything is computed."""
    from dpl.results import folder
    from dpl.results.params import source_hash
    from dpl.results.runs import RUNS

    if not arguments.save:
        return None
    if prepared.resumed is not None:
        place = prepared.resumed
    elif arguments.out is not None:
        place = folder.exactly(arguments.out)
    else:
        place = folder.fresh(RUNS, Path(arguments.file).stem, datetime.now())
    return folder.Folder(place, source_hash(prepared.program), resumed=prepared.resumed is not None)


class _Run:
    """One run on the command line: what is shown of it also goes into its folder's log."""

    def __init__(self, arguments: argparse.Namespace, prepared: Ready, folder: Folder | None, began: float):
        from dpl.results.record import Record

        self.arguments, self.prepared, self.folder, self.began = arguments, prepared, folder, began
        self.program: Program = prepared.program
        self.silent = bool(arguments.quiet or arguments.json)
        self.record: Record | None = None
        self.precision: dict[str, Precision] = {}
        if folder is not None:
            self.record = Record(folder, self.program, prepared.asked, self.program.sources)
            folder.log(f"$ {shlex.join(['dpl', *arguments.line])}")

    def perform(self) -> int:
        """Does the tasks, tells what comes out, and returns the exit code."""
        from dpl.tasks.result import NumericalFailure

        results: list[AnyResult] = []
        failure: NumericalFailure | None = None
        interrupted = False
        for note in self.prepared.notes:
            self._say(note)
        self._introduce()
        try:
            with closing(self._results()) as coming:
                for result in coming:
                    results.append(result)
                    self._tell(result)
        except NumericalFailure as found:
            failure = found
            self._say(str(found))
        except KeyboardInterrupt:  # while compiling: there is nothing of this task to keep
            interrupted = True
            self._say("interrupted")
        self.precision = self._precision(results) if self.program.dtype == "float32" and not failure else {}
        saved = self._saved()
        if self.arguments.json:
            self._document(results, failure, interrupted)
        statuses: set[str] = {result.status for result in results} | ({"interrupted"} if interrupted else set())
        code = NUMERICAL if failure else _code(statuses)
        return UNSAVED if code == DONE and not saved else code

    def _results(self) -> Generator[AnyResult]:
        """The results of the tasks as they come, or of the case."""
        from dpl.results.progress import progress
        from dpl.tasks.run import run_tasks

        asked, shown = self.prepared.asked, progress(self.silent)
        if self.prepared.case is not None:
            case = (case() for case in [self.prepared.case])
            return self.record.following(case) if self.record else case
        if self.record:
            return self.record.run(shown)
        return (
            result
            for result in run_tasks(self.program, asked.tasks, seed=asked.seed, settings=asked.settings, progress=shown)
        )

    def _precision(self, results: list[AnyResult]) -> dict[str, Precision]:
        """What computing in 32 bits costs, in the scenarios that tasks used."""
        used = dict.fromkeys(result.scenario for result in results if result.scenario)
        found = self.program.precision(*used) if used else {}
        if not self.arguments.json:
            self._show([str(one) for one in found.values()])
        return found

    # -- what is shown

    def _introduce(self) -> None:
        """What was chosen for the scenarios that are used."""
        from dpl.results import report
        from dpl.tasks.run import order

        if self.silent or self.prepared.case is not None:
            return
        chosen = order(self.program.module.tasks, self.prepared.asked.tasks)
        used = {task.scenario for task in chosen} or set(self.program.scenarios)
        blocks = [b for name, one in self.program.scenarios.items() if name in used for b in report.scenario(one)]
        self._show([*blocks, ""] if blocks else [])
        if not self.program.tasks:
            self._show([f"{self.arguments.file} has no tasks: one run of each scenario with nominal values", ""])

    def _tell(self, result: AnyResult) -> None:
        from dpl.results import report

        if self.arguments.json:
            return
        self._show(report.report(result, self.arguments.quiet))
        failing = self.record.cases.get(result.name) if self.record else None
        if failing:
            self._say(f"to repeat the first of these runs: dpl run {self.arguments.file} --case {failing[0]}")

    def _show(self, blocks: Iterable[Block]) -> None:
        from dpl.results import table

        blocks = tuple(blocks)
        if self.folder is not None and blocks:
            self.folder.log("\n".join(table.lines(blocks)))
        table.show(blocks, sys.stdout)
        sys.stdout.flush()

    def _say(self, text: str) -> None:
        if self.folder is not None:
            self.folder.log(f"dpl: {text}")
        print(f"dpl: {text}", file=sys.stderr)

    def _saved(self) -> bool:
        """Says where the run is; whether all of it is."""
        if self.folder is None:
            return True
        if not self.folder.retry():
            names = ", ".join(self.folder.unsaved)
            print(f"dpl: not saved in {self.folder.path}, for it cannot be written: {names}", file=sys.stderr)
            return False
        if not self.silent:
            print(f"saved in {self.folder.path}", file=sys.stderr)
        return True

    def _document(self, results: list[AnyResult], failure: Any, interrupted: bool) -> None:
        from dpl.cli.diagnose import as_json, write_json
        from dpl.results import summary

        seconds = perf_counter() - self.began
        document = summary.document(self.arguments.file, __version__, results, seconds, failure)
        more = {"run": os.fspath(self.folder.path) if self.folder else None}
        write_json(
            document
            | more
            | ({"float32": {n: vars(one) for n, one in self.precision.items()}} if self.precision else {})
            | {"diagnostics": as_json(self.program.warnings)}
            | ({"status": "interrupted"} if interrupted else {})
        )


def _code(statuses: set[str]) -> int:
    by_status = {"interrupted": INTERRUPTED, "unended": NUMERICAL, "failed": FAILED}
    return next((code for status, code in by_status.items() if status in statuses), DONE)
