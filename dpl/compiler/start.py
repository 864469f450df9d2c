"""Where a run starts: each state at its value, or where the `initial` equations put it."""

from __future__ import annotations

from dataclasses import dataclass

from dpl.compiler import ir
from dpl.compiler.algebra import TIME, ZERO, free, number, start_of
from dpl.compiler.equations import CausalSystem, Search
from dpl.compiler.shapes import shaped
from dpl.compiler.structure import Relation, causalize
from dpl.compiler.timing import Timing
from dpl.language import syntax
from dpl.language.constants import BadConstant, NotConstant, constant
from dpl.language.model import Equation, Scoped, Variable
from dpl.language.units import read_unit

Value = float | tuple["Value", ...]


@dataclass(frozen=True)
class Start:
    """The start of a state, or of its derivative of that order, that a caller may change; in SI."""

    path: str
    variable: Variable
    order: int
    value: Value


@dataclass(frozen=True)
class Beginning:
    """The statements that determine the states at the start."""

    statements: tuple[ir.Statement, ...]
    starts: tuple[Start, ...]
    defaults: tuple[str, ...]
    """What was not said and so was chosen, in words"""


def beginning(causal: CausalSystem, timing: Timing) -> Beginning:
    """Raises CompileError where the `initial` equations cannot be solved."""
    assert causal.system.run is not None
    initial = [e for e in causal.system.equations if e.kind == "initial"]
    wanted = _determined(initial, causal, timing)
    unknown = tuple(causal.translator.symbol(*u) for u in timing.states if u in wanted)
    relations = [_with_unknowns(r, unknown) for r in causal.relations]
    everything = tuple(dict.fromkeys((*unknown, *(s for r in relations for s in r.unknowns))))
    relations += [_initial(e, causal, everything) for e in initial]
    starts: list[Start] = []
    defaults: list[str] = []
    for variable, order in (*timing.states, *((v, 0) for v in timing.sampled)):
        if (variable, order) not in wanted:
            if variable.value is None and (variable, 0) not in wanted:
                relations.append(_not_yet(variable, order, causal))
                continue
            start = _literal(variable, order)
            relations.append(_given(start, causal) if start else _computed(variable, causal))
            starts += [start] if start else []
            if order > 0:
                path = variable.path + "'" * order
                defaults.append(f"`{path}` starts at 0: no `initial({path}) = …` says otherwise")
    begin = {TIME: number(causal.system.run.start)}
    solved = causalize([r.renamed(begin) for r in relations], Search(causal.translator, causal.aliases))
    moving = [s for s in solved if not timing.fixed.issuperset(ir.targets(s))]
    statements = shaped(moving, causal.translator)
    return Beginning(statements, tuple(starts), tuple(defaults))


def _determined(initial: list[Equation], causal: CausalSystem, timing: Timing) -> set[tuple[Variable, int]]:
    """The starts that `initial` equations determine: of states without one, of the rates they name, of others."""
    if not initial:
        return set()
    found = {(v, 0) for v, _ in timing.states if v.value is None}
    rates = [(v, k) for v, k in timing.states if k > 0]
    for equation in initial:
        symbols = free((causal.translator.scoped(equation.left), causal.translator.scoped(equation.right)))
        named = [(v, k) for v, k in rates if causal.translator.symbol(v, k) in symbols and (v, k) not in found]
        if len(found) < len(initial):
            found |= set(named[:1])
    return found | set([u for u in rates if u not in found][: max(0, len(initial) - len(found))])


def _with_unknowns(relation: Relation, unknown: tuple[object, ...]) -> Relation:
    """At the start an equation may determine a start instead of a rate."""
    if relation.target is not None:
        return relation
    return Relation(relation.left, relation.right, relation.span, None, (*relation.unknowns, *unknown))


def _initial(equation: Equation, causal: CausalSystem, unknowns: tuple[object, ...]) -> Relation:
    left, right = causal.translator.scoped(equation.left), causal.translator.scoped(equation.right)
    return Relation(left, right, equation.span, None, unknowns).renamed(causal.aliases)


def _given(start: Start, causal: CausalSystem) -> Relation:
    target = causal.translator.symbol(start.variable, start.order)
    value = start.variable.value
    span = value.span if value is not None and start.order == 0 else start.variable.span
    return Relation(target, start_of(start.path), span, target)


def _not_yet(variable: Variable, order: int, causal: CausalSystem) -> Relation:
    """A state that some event will set: until then it stands at 0, and shows as NaN."""
    target = causal.translator.symbol(variable, order)
    return Relation(target, ZERO, variable.span, target)


def _computed(variable: Variable, causal: CausalSystem) -> Relation:
    """A start that depends on params, givens or inputs."""
    assert variable.value is not None
    target, value = causal.translator.symbol(variable), causal.translator.indexed.of_variable(variable, variable.value)
    return Relation(target, value, variable.value.span, target).renamed(causal.aliases)


def _literal(variable: Variable, order: int) -> Start | None:
    path = variable.path + "'" * order
    if order > 0:
        return Start(path, variable, order, 0.0)
    value = literal_value(variable.value) if variable.value is not None else None
    return None if value is None else Start(path, variable, 0, value)


def literal_value(value: Scoped) -> Value | None:
    """The SI value of a constant or of a list of constants; None if it is computed."""
    if isinstance(value.expr, syntax.List):
        unit = read_unit(value.expr.unit, []) if value.expr.unit else value.unit
        items = [literal_value(Scoped(i, value.scope, unit)) for i in value.expr.items]
        return None if None in items else tuple(i for i in items if i is not None)
    try:
        return float(constant(value))
    except (NotConstant, BadConstant):
        return None
