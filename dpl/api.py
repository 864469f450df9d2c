"""DPL from Python: a text or a file becomes a `Program`, whose tasks run and whose scenarios are pure functions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpl import cache, language
from dpl.controllers import Controllers
from dpl.language.diagnostics import CompileError, Diagnostic
from dpl.language.source import Source
from dpl.results import params
from dpl.results.folder import Folder, exactly
from dpl.results.progress import progress
from dpl.results.record import Asked, Record
from dpl.runtime import program as runtime
from dpl.tasks.result import NumericalFailure
from dpl.tasks.run import AnyResult, run_tasks

if TYPE_CHECKING:
    from dpl.language.model import CheckedModel
    from dpl.tasks.precision import Precision

__all__ = ["CompileError", "NumericalFailure", "Program", "compile", "load", "program"]


class Program(runtime.Program):
    """A compiled file: `scenarios`, `tasks` and the current `values`, which tasks change."""

    sources: tuple[Source, ...] = ()
    """The texts that it was read from"""
    warnings: tuple[Diagnostic, ...] = ()
    controllers: Controllers
    """What can be exported, by name: `program.controllers["Pilot"].export("pilot.py")`"""

    def start_from(self, run: str | os.PathLike[str]) -> list[str]:
        """Makes the params and networks of a run's folder the current values; notes on what differs.

        Tasks that are named then are done alone: what they need has been found.

        Raises:
            ValueError: no such run, or a run of another model.
        """
        notes = params.start_from(self, Path(run) / params.ARRAYS, os.fspath(run))
        self.started()
        return notes

    def run(
        self,
        *names: str,
        quiet: bool = True,
        seed: int | None = None,
        settings: dict[str, Any] | None = None,
        out: str | os.PathLike[str] | None = None,
        start_from: str | os.PathLike[str] | None = None,
    ) -> dict[str, AnyResult]:
        """The results of all tasks by name, or of the named ones and what they need.

        Args:
            quiet: show no progress.
            seed: rules over the seeds of the text.
            settings: SI values by dotted name that rule over those of the text.
            out: a folder for what `dpl run` leaves behind; nothing is written without one.
            start_from: the folder of a run whose params and networks to start from.
        Raises:
            ValueError: no such task or setting; a folder that cannot be written, or a run of another model.
            NumericalFailure: a loss or gradient is not finite; the values are as before that task.
        """
        if start_from is not None:
            self.start_from(start_from)
        if out is None:
            results = run_tasks(self, names, seed=seed, settings=settings, progress=progress(quiet))
            return {result.name: result for result in results}
        file = (self.sources[0].path or "") if self.sources else ""
        asked = Asked(self.name, file, names, seed, settings or {}, network_seed=self.seed)
        with Folder(exactly(Path(out)), params.source_hash(self)) as folder:
            record = Record(folder, self, asked, self.sources)
            return {result.name: result for result in record.run(progress(quiet))}

    def precision(self, *scenarios: str) -> dict[str, Precision]:
        """How far runs in 32 bits are from those in 64, with the current values: of all scenarios, or of the named."""
        from dpl.tasks.precision import precision

        return {name: precision(self, self.scenarios[name]) for name in scenarios or self.scenarios}

    def emit_compiled(self, path: str | os.PathLike[str]) -> None:
        """Writes the functions of every scenario, traced and with the current values, for `dpl.load_compiled`.

        Raises:
            ValueError: the path holds a file of another kind, or a value is missing that only the caller can say.
            ImportError: JAX writes with flatbuffers, which is not installed.
        """
        from dpl.runtime import artefact

        artefact.write(self, path)


def load(path: str | os.PathLike[str], seed: int = 0, dtype: str = "float64") -> Program:
    """The program of a file, whose runs are computed in `dtype`. Raises `CompileError` where its text is wrong."""
    return program(language.load(os.fspath(path)), seed, dtype)


def compile(text: str, name: str = "<text>", seed: int = 0, dtype: str = "float64") -> Program:
    """The program of a text; `name` stands for it in messages. Raises `CompileError` where it is wrong."""
    return program(language.load_text(Source(name, text)), seed, dtype)


def program(model: CheckedModel, seed: int = 0, dtype: str = "float64") -> Program:
    """The program of a checked model; `seed` draws its networks' first weights.

    Raises:
        ValueError: `dtype` is neither float64 nor float32.
        CompileError: equations that cannot be solved.
    """
    if dtype not in ("float64", "float32"):
        raise ValueError(f"dtype must be float64 or float32, not {dtype!r}")
    source = generated(model)
    namespace = runtime.execute(source, model.file.source.name)
    made = Program(namespace["MODULE"], source, seed, namespace)
    made.sources, made.warnings, made.dtype = model.sources, model.warnings, dtype
    made.controllers = Controllers(made, model)
    return made


def generated(model: CheckedModel) -> str:
    """The module that the compiler makes of a model; of texts that it has seen before, as it was kept.

    Raises:
        CompileError: equations that cannot be solved.
    """
    place = cache.place("modules")
    texts = (text for source in model.sources for text in (source.name, source.text))
    path = place / cache.key(*texts) if place else None
    kept = cache.read(path) if path else None
    if kept is not None:
        return kept.decode()

    from dpl.compiler.driver import compile_model  # brings SymPy

    source = compile_model(model).source
    if path:
        cache.write(path, source.encode())
    return source
