"""The stages in order, from a checked model to a Python module; every intermediate form can be printed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from dpl.compiler.codegen import generate
from dpl.compiler.equations import causal_system
from dpl.compiler.lower import Lowered, lower
from dpl.compiler.show import CHECKED, show_ir, show_latex, show_system
from dpl.language.diagnostics import CompileError, Diagnostic
from dpl.language.model import CheckedModel
from dpl.version import __version__

STAGES = ("ast", "model", "system", "ir", "jax", "latex", "graph", "svg")


@dataclass(frozen=True)
class Compiled:
    """A model with the functions of its scenarios."""

    model: CheckedModel
    scenarios: tuple[Lowered, ...]

    @cached_property
    def source(self) -> str:
        """The generated module."""
        return generate(self.model, self.scenarios, __version__)

    def stage(self, name: str) -> str:
        """One of `STAGES` as text."""
        if name in CHECKED:
            return CHECKED[name](self.model)
        systems = (*(causal_system(s) for s in self.model.models.values()), *(s.causal for s in self.scenarios))
        match name:
            case "system":
                return show_system(systems)
            case "latex":
                return show_latex(systems)
            case "ir":
                return show_ir(self.scenarios)
            case "jax":
                return self.source
            case _:
                raise ValueError(f"there is no stage `{name}`; there are {', '.join(STAGES)}")


def stage(model: CheckedModel, name: str) -> str:
    """One of `STAGES` as text; of `ast`, `model`, `graph` and `svg` also where equations have no solution."""
    return CHECKED[name](model) if name in CHECKED else compile_model(model).stage(name)


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
