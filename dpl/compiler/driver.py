"""The stages in order, from a checked model to a Python module; every intermediate form can be printed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from dpl.compiler.codegen import generate
from dpl.compiler.equations import CausalSystem, causal_system
from dpl.compiler.lower import Lowered, lower
from dpl.compiler.show import CHECKED, show_ir, show_latex, show_system
from dpl.language.diagnostics import CompileError, Diagnostic
from dpl.language.model import CheckedModel, System
from dpl.language.modes import configurations, configured
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

    def systems(self) -> Iterator[CausalSystem]:
        """Models and scenarios with their equations solved, in each combination of their modes."""
        for system in self.model.models.values():
            yield from solved(system)
        for scenario in self.scenarios:
            yield from solved(scenario.system.whole or scenario.system)

    def stage(self, name: str) -> str:
        """One of `STAGES` as text."""
        if name in CHECKED:
            return CHECKED[name](self.model)
        match name:
            case "system":
                return show_system(self.systems())
            case "latex":
                return show_latex(self.systems())
            case "ir":
                return show_ir(self.scenarios)
            case "jax":
                return self.source
            case _:
                raise ValueError(f"there is no stage `{name}`; there are {', '.join(STAGES)}")


def solved(system: System) -> Iterator[CausalSystem]:
    """A system's equations, solved: of one with modes, in each combination of them."""
    for configuration in configurations(system):
        yield causal_system(configured(system, configuration) if configuration else system)


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
