"""The stages in order, from a checked model to a Python module; every intermediate form can be printed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from dpl.compiler.codegen import generate
from dpl.compiler.lower import Lowered, lower
from dpl.language.diagnostics import CompileError, Diagnostic
from dpl.language.model import CheckedModel
from dpl.version import __version__


@dataclass(frozen=True)
class Compiled:
    """A model with the functions of its scenarios."""

    model: CheckedModel
    scenarios: tuple[Lowered, ...]

    @cached_property
    def source(self) -> str:
        """The generated module."""
        return generate(self.model, self.scenarios, __version__)


def compile_model(model: CheckedModel) -> Compiled:
    """The compiled form of a checked model.

    Raises:
        CompileError: equations that cannot be solved or have no value; of every scenario at once.
    """
    scenarios: list[Lowered] = []
    problems: list[Diagnostic] = []
    for system in model.systems.values():
        try:
            scenarios.append(lower(system))
        except CompileError as error:
            problems += error.diagnostics
    if problems:
        raise CompileError(problems)
    return Compiled(model, tuple(scenarios))
