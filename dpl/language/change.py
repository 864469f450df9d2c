"""What changes during a run, and what makes it do so."""

from __future__ import annotations

from dpl.language import syntax
from dpl.language.balance import Structure
from dpl.language.depend import reads
from dpl.language.model import Scoped, System, Variable

Cause = Variable | str | None
"""What changes and is read: a variable, `time`, or the `mode`; None for a state or a noise, which move by themselves"""


def causes(system: System) -> dict[Variable, Cause]:
    """The variables that change during a run: all that depend on time, on a state, on a mode, or on an unknown that
    does."""
    structure = Structure(system)
    readers: dict[Variable, list[Variable]] = {}
    found: dict[Variable, Cause] = {}
    for variable in system.variables:
        if variable.kind == "state" or variable.noise:
            found[variable] = None
            continue
        if variable.during is not None:
            found[variable] = "mode"
        for source in made_of(variable, structure):
            for read in reads(source):
                column = isinstance(read.what, Variable) and read.what.kind == "column"
                if read.what == "time" or column or read.order > 0:
                    found.setdefault(variable, read.what if isinstance(read.what, Variable) else "time")
                elif isinstance(read.what, Variable) and read.what is not variable:
                    readers.setdefault(read.what, []).append(variable)
    waiting = list(found)
    while waiting:
        changing = waiting.pop()
        for reader in readers.get(changing, ()):
            if reader not in found:
                found[reader] = changing
                waiting.append(reader)
    return found


def made_of(variable: Variable, structure: Structure) -> list[Scoped]:
    """All that the text says a variable follows from: its own value, the equations that determine it in any mode, and
    of energies and forces what they come from."""
    system = structure.system
    found = sources(variable)
    for equation in structure.givers.get((variable, 0), ()):
        found += [equation.left, equation.right]
    if variable.energy is not None:
        found += [m.value for m in system.lagrangians if m.scope is variable.scope]
    for constraint in system.constraints:
        if constraint.force is variable:
            found += [constraint.left, constraint.right]
            found += [m.value for m in system.lagrangians if m.scope is constraint.scope]
    return found


def sources(variable: Variable) -> list[Scoped]:
    """What the text says that a variable is made of: its value or start, and the ends that saturate it."""
    found = [variable.value] if variable.value and variable.kind not in ("param", "given") else []
    limit = variable.declaration.limit
    return found + ([Scoped(limit, variable.scope)] if isinstance(limit, syntax.Range) else [])


def varying(system: System) -> set[Variable]:
    """The variables that change during a run."""
    return set(causes(system))


def chain(variable: Variable, found: dict[Variable, Cause]) -> list[Variable | str]:
    """From a variable that changes to the state, or to `time`, that makes it do so."""
    result: list[Variable | str] = [variable]
    following: Cause = found.get(variable)
    while following is not None and following not in result:
        result.append(following)
        following = found.get(following) if isinstance(following, Variable) else None
    return result
