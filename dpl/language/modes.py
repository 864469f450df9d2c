"""A system in one combination of its modes: flat and smooth, as if nothing ever happened.

A configuration picks one mode of each automaton. The first of `configurations` is where a run begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from math import prod

from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.model import Automaton, During, System

MOST_CONFIGURATIONS = 64

Configuration = Mapping[Automaton, str]
"""The mode that each automaton is in"""


def configurations(system: System) -> tuple[Configuration, ...]:
    """Every combination of modes, the last automaton's changing fastest; one without any where there are no modes.

    Raises:
        CompileError: there are more than `MOST_CONFIGURATIONS`.
    """
    automata = system.automata
    if prod(len(a.modes) for a in automata) > MOST_CONFIGURATIONS:
        message = f"the modes of these parts combine in more than {MOST_CONFIGURATIONS} ways"
        first, *others = (Label(a.scope.span or a.spans[0], f"has {len(a.modes)} modes") for a in automata)
        raise CompileError([Diagnostic("too-many-modes", message, first, tuple(others))])
    return tuple(dict(zip(automata, modes, strict=True)) for modes in product(*(a.modes for a in automata)))


def name(configuration: Configuration) -> str:
    """`swing`; of several automata `swing, closed`; empty without modes."""
    return ", ".join(configuration.values())


def rules(during: During | None, configuration: Configuration) -> bool:
    """Whether what is declared for these modes rules in the configuration."""
    return during is None or configuration[during.automaton] in during.modes


def overlap(one: During | None, other: During | None) -> bool:
    """Whether both may rule at one time."""
    if one is None or other is None or one.automaton is not other.automaton:
        return True
    return bool(one.modes & other.modes)


def union(one: During | None, other: During | None) -> During | None:
    """When one of two of the same block rules."""
    if one is None or other is None:
        return None
    return During(one.automaton, one.modes | other.modes)


def configured(system: System, configuration: Configuration) -> System:
    """What rules in one configuration. Variables are those of the whole system: what they are does not depend on it."""
    return replace(
        system,
        whole=system,
        equations=[e for e in system.equations if rules(e.during or (e.target and e.target.during), configuration)],
        events=[e for e in system.events if rules(e.during, configuration)],
        lagrangians=[e for e in system.lagrangians if rules(e.during, configuration)],
        applied=[e for e in system.applied if rules(e.during, configuration)],
        constraints=[e for e in system.constraints if rules(e.during, configuration)],
        configuration=dict(configuration),
    )
