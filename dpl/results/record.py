"""What a run leaves behind, written as its results come: whoever looks meets a usable folder at every moment."""

from __future__ import annotations

import csv
import io
import os
import platform
import shlex
import socket
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, Literal, cast

import numpy as np

from dpl.language.resolve import LIBRARY
from dpl.language.source import Source
from dpl.results import cases, files, fit_plots, map_plots, page, params, plots, report, summary, territory, trajectory
from dpl.results.folder import SETTINGS, STATUS, SUMMARY, Folder
from dpl.results.plots import Descended
from dpl.runtime.program import Program, Run
from dpl.tasks.fitted import Fitted
from dpl.tasks.optimize import Optimized
from dpl.tasks.record import Recorded
from dpl.tasks.refine import Refined
from dpl.tasks.result import NumericalFailure, Progress, Result, number
from dpl.tasks.run import AnyResult, order, run_tasks
from dpl.tasks.simulate import Simulated
from dpl.tasks.suggest import Suggested
from dpl.tasks.verify import Verified
from dpl.version import __version__

End = Literal["running", "done", "failed", "interrupted"]
PACKAGES = ("jax", "jaxlib", "numpy", "diffrax", "optax", "sympy")
EVERY = 2.0
"""Seconds between notes of how far a task has come"""


@dataclass(frozen=True)
class Asked:
    """What a run was asked to do: all that is needed to do it again. `settings` are in SI units.

    `file` is as it was given, `path` where that is.
    """

    file: str
    path: str = ""
    tasks: tuple[str, ...] = ()
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    form: str = "csv"
    network_seed: int = 0
    started_from: str | None = None
    case: str | None = None
    """The file of the one run that is repeated in place of the tasks"""
    command: tuple[str, ...] = ()
    dtype: str = "float64"


def asked(document: Mapping[str, Any]) -> Asked:
    """What a settings document says that was asked for. Raises KeyError or TypeError if it is none."""
    said: dict[str, Any] = dict(document["asked"])
    said["tasks"], said["command"] = tuple(said["tasks"]), tuple(said["command"])
    return Asked(**said)


def changed(document: Mapping[str, Any]) -> list[str]:
    """What is installed in another version than a settings document tells of, to be said where bits matter."""
    before = document.get("versions", {})
    others = [f"{name} {before[name]} (now {now})" for name, now in _versions() if before.get(name, now) != now]
    return [f"it began with {', '.join(others)}: numbers may differ in their last digits"] if others else []


class Record:
    """Writes into a folder what a program does.

    Args:
        sources: the texts that the program was read from.
    """

    def __init__(self, folder: Folder, program: Program, asked: Asked, sources: Sequence[Source] = ()):
        self.folder, self.program, self.asked = folder, program, asked
        tasks = [task.name for task in order(program.module.tasks, asked.tasks)] or list(program.scenarios)
        self.planned = tasks if asked.case is None else [Path(asked.case).stem]
        before = folder.read_json(STATUS) if folder.resumed else {}
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        self.began, self.resumed = before.get("began", now), now if folder.resumed else None
        self.clock = perf_counter() - before.get("seconds", 0.0)
        self.results: list[AnyResult] = []
        self.now: dict[str, Any] | None = None
        self.cases: dict[str, list[Path]] = {}
        """The files of failing runs, by task"""
        self.sections: list[page.Section] = []
        self._drawn: list[str] = []
        """The names of the figures of the present task"""
        self._params = b""
        self._settings = self._described()
        self._first(sources)

    def _described(self) -> dict[str, Any]:
        import jax

        return {
            "asked": asdict(self.asked),
            "source": self.folder.source,
            "began": self.began,
            "resumed": self.resumed,
            "versions": dict(_versions()),
            "platform": platform.platform(),
            "device": str(jax.devices()[0].device_kind),
            "dtype": "float64" if jax.config.read("jax_enable_x64") else "float32",
            "tasks": {},
        }

    def _first(self, sources: Sequence[Source]) -> None:
        for name, content in _own(sources):
            self.folder.write(f"source/{name}", content)
        self.folder.write("generated.py", self.program.source.encode())
        if not self.folder.resumed:
            self.folder.write(params.START, params.encoded(self.program))
        self._keep_params()
        self.folder.write_json(SETTINGS, self._settings)
        self.status("running")

    # -- as it goes

    def run(self, progress: Progress) -> Generator[AnyResult]:
        """Does what was asked, as `run_tasks` does; each result is written before it is passed on."""
        asked, progress = self.asked, Followed(progress, self)
        results = run_tasks(
            self.program, asked.tasks, seed=asked.seed, settings=asked.settings, progress=progress, keeper=self.folder
        )
        return self.following(results)

    def following(self, results: Iterable[AnyResult]) -> Generator[AnyResult]:
        """The results, each written before it is passed on; then how it all ended."""
        end: End = "failed"
        failure: NumericalFailure | None = None
        try:
            for result in results:
                self.add(result)
                yield result
            end = _end(self.results)
        except NumericalFailure as found:
            failure = found
            raise
        except (KeyboardInterrupt, GeneratorExit):
            end = "interrupted"
            raise
        finally:
            self.now = None
            self.status(end)
            self._summary(end, failure)

    def _summary(self, end: End, failure: NumericalFailure | None = None) -> None:
        document = summary.document(self.asked.file, __version__, self.results, self.seconds, failure)
        document |= {"status": end} if end in ("running", "interrupted") else {}
        self.folder.write_json(SUMMARY, document)

    def add(self, result: AnyResult) -> None:
        """Writes what a task left."""
        self.results.append(result)
        self.now, self._drawn = None, []
        self._keep_params()
        descended = with_losses(result)
        if descended is not None:
            self.folder.write(f"metrics/{result.name}.csv", _history(descended))
            if descended.losses.size > 1:
                title = f"{result.kind} {result.name} on {result.scenario}"
                self._plot(f"{result.name}-loss", plots.loss(descended, title))
        self._runs(result)
        for name, data in files.of(result):
            self.folder.write(name, data)
        for name, drawing in _figures(result):
            self._plot(name, drawing)
        if isinstance(result, Verified):
            file, settings = self.asked.file, self.asked.settings
            self.cases[result.name] = cases.write(self.folder, self.program, result, file, settings)
        self._settings["tasks"][result.name] = {
            "kind": result.kind,
            "scenario": result.scenario,
            "seed": result.seed,
            "chosen": list(result.defaults),
            "solver": self._solver(result),
        }
        self.folder.write_json(SETTINGS, self._settings)
        self._page(result)
        self._summary("running")
        self.status("running")

    def _page(self, result: AnyResult) -> None:
        fragment = result.fragment if isinstance(result, Fitted) else ""
        self.sections.append(page.Section(report.report(result), tuple(self._drawn), fragment))
        command = shlex.join(self.asked.command) or f"tasks of {self.asked.file}"
        about = (command, f"began {self.began}, dpl {__version__}")
        self.folder.write(page.PAGE, page.html(Path(self.asked.file).name, about, self.sections).encode())

    @property
    def seconds(self) -> float:
        return perf_counter() - self.clock

    def status(self, status: End) -> None:
        """Notes how far the run has come, for `dpl runs`."""
        tasks = [{"name": r.name, "kind": r.kind, "status": r.status, "said": said(r)} for r in self.results]
        self.folder.write_json(
            STATUS,
            {
                "status": status,
                "file": self.asked.path or self.asked.file,
                "began": self.began,
                "seconds": round(self.seconds, 3),
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "planned": self.planned,
                "case": self.asked.case,
                "tasks": tasks,
                "now": self.now,
            },
        )

    def _solver(self, result: AnyResult) -> str | None:
        scenario = self.program.scenarios.get(result.scenario)
        if scenario is None or scenario.spec.run is None or scenario.waits:
            return None
        return f"{scenario.method.name} ({scenario.explanation})"

    def _keep_params(self) -> None:
        data = params.encoded(self.program)
        if data != self._params:
            self._params = data
            self.folder.write(params.ARRAYS, data)
            self.folder.write_json(params.PAGE, params.page(self.program))

    def _runs(self, result: AnyResult) -> None:
        runs: Mapping[str, Run] = result.runs
        names: Sequence[str] = result.plot
        if isinstance(result, Simulated):
            runs = runs or {result.name: result.run}
            names = names or plots.drawable(result.run)
        for word, run in runs.items():
            name = result.name if len(runs) == 1 else f"{result.name}-{word}"
            data = trajectory.encoded(run, self.asked.form)
            self.folder.write(f"trajectories/{name}.{trajectory.ENDINGS[self.asked.form]}", data)
        if runs and names and next(iter(runs.values())).time.size > 1:
            self._plot(result.name, plots.over_time(runs, names, f"{result.name} on {result.scenario}"))

    def _plot(self, name: str, drawing: Mapping[str, bytes]) -> None:
        self._drawn.append(name)
        for ending, data in drawing.items():
            self.folder.write(f"plots/{name}.{ending}", data)


class Followed:
    """Progress that is also noted in the run's folder."""

    def __init__(self, progress: Progress, record: Record):
        self.progress, self.record = progress, record
        self.title, self.total, self.last = "", 0, 0.0

    def begin(self, title: str, total: int) -> None:
        self.title, self.total, self.last = title, total, monotonic()
        self._note(0, {})
        self.progress.begin(title, total)

    def advance(self, done: int, value: float | None = None, **shown: str) -> None:
        if monotonic() - self.last > EVERY:
            self.last = monotonic()
            self._note(done, shown)
        self.progress.advance(done, value, **shown)

    def say(self, text: str) -> None:
        self.progress.say(text)

    def end(self) -> None:
        self.progress.end()

    def _note(self, done: int, shown: Mapping[str, str]) -> None:
        self.record.now = {"title": self.title, "done": done, "total": self.total, **shown}
        self.record.status("running")


# ---------------------------------------------------------------- what results have


def _figures(result: Result) -> Iterator[tuple[str, Mapping[str, bytes]]]:
    """The figures that only its kind has."""
    match result:
        case Fitted():
            yield from fit_plots.all_of(result)
        case Recorded():
            yield from map_plots.of_recorded(result)
        case Suggested():
            yield from map_plots.of_suggested(result)
        case Refined():
            yield from map_plots.of_refined(result)
            for part in result.rounds[-1].results if result.rounds else ():
                yield from ((f"{result.name}-{name}", drawing) for name, drawing in _figures(part))
        case _:
            return


def with_losses(result: AnyResult) -> Descended | None:
    """The result, if it has a loss for each step."""
    losses = getattr(result, "losses", None)
    return cast(Descended, result) if isinstance(losses, np.ndarray) and losses.ndim == 1 else None


def said(result: AnyResult) -> str:
    """A result in a few words: the last loss, or the verdict."""
    if isinstance(result, Verified):
        return "passed" if result.status == "done" else result.status
    if isinstance(result, Optimized):
        return f"{result.objective} {number(np.mean(result.after))} {result.unit}".rstrip()
    if isinstance(result, Fitted):
        return f"nll {number(result.nll)}"
    if isinstance(result, Recorded):
        return f"{territory.rows(result)} rows"
    if isinstance(result, Suggested):
        found = (r.formulas[r.best].text for r in result.readings if r.best is not None)
        return "; ".join(found) or "no formula"
    if isinstance(result, Refined):
        return f"{len(result.rounds)} rounds"
    descended = with_losses(result)
    if descended is not None and descended.losses.size:
        tail = descended.losses[-max(1, descended.losses.size // 20) :]
        return f"{descended.objective} {number(np.mean(tail))} {descended.unit}".rstrip()
    return result.status


def _end(results: Sequence[AnyResult]) -> End:
    statuses = {result.status for result in results}
    return "interrupted" if "interrupted" in statuses else "failed" if statuses & {"failed", "unended"} else "done"


def _history(result: Descended) -> bytes:
    """The loss of each step as CSV, its unit in the header."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["step", f"{result.objective} [{result.unit}]" if result.unit else result.objective])
    writer.writerows(enumerate(result.losses.tolist(), 1))
    return text.getvalue().encode()


def _own(sources: Sequence[Source]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the first, and of those in its folder that are not the library's; data among them."""
    for source in sources[:1]:
        yield Path(source.path).name if source.path else "model.dpl", source.text.encode()
    home = Path(sources[0].path).resolve().parent if sources and sources[0].path else None
    for source in sources[1:]:
        path = Path(source.path or "").resolve()
        if home and path.is_relative_to(home) and not path.is_relative_to(LIBRARY.resolve()):
            yield path.relative_to(home).as_posix(), _content(path, source)


def _content(path: Path, source: Source) -> bytes:
    """What was read; of a file that is no text, whose source is what it was written out as, the file itself."""
    return path.read_bytes() if path.suffix.lower() == ".parquet" and path.is_file() else source.text.encode()


def _versions() -> Iterator[tuple[str, str]]:
    yield "dpl", __version__
    yield "python", platform.python_version()
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, sys.modules[package].__version__ if package in sys.modules else "unknown"
