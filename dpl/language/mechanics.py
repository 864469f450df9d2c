"""The Lagrangian form as a whole: which states a Lagrangian moves, and whether forces and constraints act on those."""

from __future__ import annotations

from dpl.language import modes
from dpl.language.balance import Structure
from dpl.language.depend import reads
from dpl.language.diagnostics import Diagnostic, Label
from dpl.language.model import Applied, Constraint, Lagrangian, Scope, Scoped, System, Variable


def find_coordinates(system: System) -> None:
    """Give each Lagrangian its coordinates: the states of its block that it reads and that, while it rules in some
    mode, no equation moves."""
    if not system.lagrangians:
        return
    structure = Structure(system)
    for lagrangian in system.lagrangians:
        states = [
            v
            for v in read_through(lagrangian.value, structure)
            if v.kind == "state" and v.clock is None and v.scope is lagrangian.scope
        ]
        free: set[Variable] = set()
        for inner in structure.configurations:
            if lagrangian in inner.system.lagrangians:
                free |= {q for q in states if (q, inner.orders[q]) not in inner.matching}
        lagrangian.coordinates = tuple(q for q in states if q in free)


def read_through(value: Scoped, structure: Structure) -> dict[Variable, int]:
    """Every variable that an expression reads, through the values of names, with its highest derivative."""
    found: dict[Variable, int] = {}
    seen: set[tuple[Variable, int]] = set()
    waiting = [(r.what, r.order) for r in reads(value)]
    while waiting:
        what, order = waiting.pop(0)
        if isinstance(what, Variable) and (what, order) not in seen:
            seen.add((what, order))
            found[what] = max(found.get(what, 0), order)
            waiting += [(r.what, r.order + order) for v in structure.values(what) for r in reads(v)]
    return found


def check_mechanics(system: System, problems: list[Diagnostic]) -> None:
    """Lagrangians have coordinates; forces and constraints act on them, and only while a Lagrangian rules."""
    structure = Structure(system)
    for lagrangian in system.lagrangians:
        if not lagrangian.coordinates:
            problems.append(no_coordinates(lagrangian, structure))
        problems += _too_high(lagrangian.value, 1, "a Lagrangian reads coordinates and their rates", structure)
    for constraint in system.constraints:
        sides = (constraint.left, constraint.right)
        message = "a constraint relates coordinates, not their rates"
        held = {v for side in sides for v in read_through(side, structure)}
        if not held & coordinates_of(system, constraint.scope).keys():
            problems.append(holds_none(constraint, system))
        problems += [p for side in sides for p in _too_high(side, 0, message, structure)]
    for applied in system.applied:
        coordinates = coordinates_of(system, applied.value.scope)
        if applied.target not in coordinates:
            problems.append(not_a_coordinate(applied, coordinates))
    problems += _without_lagrangian(structure)


def coordinates_of(system: System, scope: Scope) -> dict[Variable, None]:
    """The coordinates of the Lagrangians of one block."""
    return dict.fromkeys(q for m in system.lagrangians if m.scope is scope for q in m.coordinates)


def _too_high(value: Scoped, most: int, message: str, structure: Structure) -> list[Diagnostic]:
    """A higher derivative of a state than may stand here."""
    for variable, order in read_through(value, structure).items():
        if variable.kind == "state" and order > most:
            name = variable.path + "'" * order
            related = (Label(variable.span, "declared here"),)
            return [Diagnostic("too-many-derivatives", message, Label(value.span, f"reads `{name}`"), related)]
    return []


def _without_lagrangian(structure: Structure) -> list[Diagnostic]:
    """Constraints and applied forces in a mode in which no Lagrangian of their block rules."""
    found: list[Diagnostic] = []
    for inner in structure.configurations:
        system = inner.system
        ruling = {m.scope for m in system.lagrangians}
        mode = modes.name(system.configuration)
        stray = [("a constraint", c.span, c.scope) for c in system.constraints if c.scope not in ruling]
        stray += [("an applied force", a.span, a.value.scope) for a in system.applied if a.value.scope not in ruling]
        for what, span, scope in stray:
            others = tuple(Label(m.span, "rules elsewhere") for m in structure.system.lagrangians if m.scope is scope)
            message = f"{what} acts on what a Lagrangian moves, and none rules in mode `{mode}`"
            way_out = "put it into the modes of the Lagrangian"
            found.append(Diagnostic("without-lagrangian", message, Label(span, "rules there"), others, way_out))
    return found


# ---------------------------------------------------------------- what may be wrong


def no_coordinates(lagrangian: Lagrangian, structure: Structure) -> Diagnostic:
    states = [v for v in read_through(lagrangian.value, structure) if v.kind == "state"]
    own = [v for v in states if v.scope is lagrangian.scope]
    related = tuple(Label(v.span, "moved by an equation" if v in own else "of another block") for v in states[:3])
    return Diagnostic(
        "no-coordinates",
        "this Lagrangian moves nothing: it reads no state of its block that has no equation",
        Label(lagrangian.value.span, "holds no coordinate"),
        related,
        "declare the coordinates as states, `state θ = 0`, and leave out their equations",
    )


def holds_none(constraint: Constraint, system: System) -> Diagnostic:
    names = ", ".join(f"`{v.path}`" for v in coordinates_of(system, constraint.scope))
    return Diagnostic(
        "no-coordinates",
        "this constraint holds no coordinate of the Lagrangian",
        Label(constraint.left.span.to(constraint.right.span), "no force could keep it"),
        help=f"the coordinates are {names}" if names else None,
    )


def not_a_coordinate(applied: Applied, coordinates: dict[Variable, None]) -> Diagnostic:
    names = ", ".join(f"`{v.declaration.name}`" for v in coordinates)
    return Diagnostic(
        "not-a-coordinate",
        f"`{applied.target.path}` is no coordinate of the Lagrangian: no force can act on it",
        Label(applied.span, "acts on it"),
        (Label(applied.target.span, "declared here"),),
        f"the coordinates are {names}" if names else None,
    )
