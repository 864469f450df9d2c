"""What `dpl run` is about to do: a compiled program with its values, as the command line or an earlier run says."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpl.api import Program
    from dpl.language.model import CheckedModel
    from dpl.results.record import Asked
    from dpl.tasks.run import AnyResult


@dataclass(frozen=True)
class Ready:
    """`resumed` is the folder of the run to go on with; `case` gives the one run to repeat in place of the tasks."""

    program: Program
    asked: Asked
    notes: tuple[str, ...] = ()
    resumed: Path | None = None
    case: Callable[[], AnyResult] | None = None


def ready(arguments: argparse.Namespace) -> Ready:
    """The program that the command line asks for.

    Raises:
        CompileError: the file or a setting is wrong.
        ValueError: a run, case, task or combination of options that cannot be.
    """
    from dpl.results import runs, trajectory

    if reason := trajectory.missing(arguments.format):
        raise ValueError(reason)
    if arguments.resume is not None:
        return _resumed(arguments)
    earlier = runs.find(arguments.start) if arguments.start is not None else None
    program, settings = compiled(arguments.file, arguments.set, arguments.seed or 0)
    program.dtype = "float32" if arguments.float32 else "float64"

    from dpl.results.record import Asked
    from dpl.tasks.run import order

    order(program.module.tasks, arguments.tasks)
    asked = Asked(
        file=arguments.file,
        path=os.path.abspath(arguments.file),
        tasks=tuple(arguments.tasks),
        seed=arguments.seed,
        settings=settings,
        form=arguments.format,
        network_seed=arguments.seed or 0,
        started_from=str(earlier.path) if earlier else None,
        dtype=program.dtype,
        case=str(arguments.case) if arguments.case else None,
        command=("dpl", *arguments.line),
    )
    if arguments.case is not None:
        return _case(arguments, program, asked)
    notes = program.start_from(earlier.path) if earlier else []
    return Ready(program, asked, tuple(notes))


def compiled(file: str, settings: list[tuple[str, str]], seed: int) -> tuple[Program, dict[str, Any]]:
    """The program of a file, and the settings in SI units."""
    from dpl import language

    model = language.load(file)
    values = _settings(model, settings) if settings else {}

    from dpl import api, warm

    warm.keep()
    return api.program(model, seed=seed), values


def _settings(model: CheckedModel, said: list[tuple[str, str]]) -> dict[str, float]:
    from dpl.language.values import setting

    return {path: setting(model, path, value) for path, value in said}


# ---------------------------------------------------------------- earlier runs


def _resumed(arguments: argparse.Namespace) -> Ready:
    """A run as it was asked for, on the same program, to go on in its own folder."""
    from dpl.results import runs
    from dpl.results.folder import SETTINGS, read_json

    _nothing_new(arguments)
    entry = runs.find(arguments.resume) if arguments.resume else runs.unfinished(Path(arguments.file))
    if entry.status == "running":
        raise ValueError(f"{entry.path} is still running: wait for its end or stop it")
    if not entry.unfinished:
        raise ValueError(
            f"{entry.path} is {entry.status}, there is nothing to go on with: --from starts from what it found"
        )

    from dpl.results import params, record

    described = read_json(entry.path / SETTINGS)
    try:
        asked = record.asked(described)
    except (KeyError, TypeError):
        raise ValueError(f"{entry.path / SETTINGS} does not say what was asked for: start anew") from None
    program, _ = compiled(arguments.file, [], asked.network_seed)
    program.dtype = asked.dtype
    if described.get("source") != params.source_hash(program):
        raise ValueError(
            f"{arguments.file} has changed since {entry.path} began, so that run cannot go on: "
            f"start a new one from what it found by --from {entry.path}"
        )
    params.start_from(program, entry.path / params.START, str(entry.path))
    if asked.started_from is not None:
        program.started()
    notes = [f"going on with {entry.path}", *record.changed(described)]
    return Ready(program, asked, tuple(notes), resumed=entry.path)


def _nothing_new(arguments: argparse.Namespace) -> None:
    given = {"tasks": arguments.tasks, "--set": arguments.set, "--seed": arguments.seed is not None}
    given |= {"--out": arguments.out, "--no-save": not arguments.save, "--float32": arguments.float32}
    if said := [name for name, value in given.items() if value]:
        raise ValueError(f"a run that goes on does what it was asked at first: leave out {', '.join(said)}")


def _case(arguments: argparse.Namespace, program: Program, asked: Asked) -> Ready:
    """One run in place of the tasks."""
    from dpl.results import cases

    if arguments.tasks or arguments.set:
        raise ValueError("--case repeats one run as it was: name no tasks and set nothing")
    if not arguments.case.is_file():
        raise ValueError(f"there is no case {arguments.case}: runs with failing runs have them in cases/")
    return Ready(program, asked, case=lambda: cases.repeat(program, arguments.case))
