"""A system's text as relations between symbols, and what is known of the symbols.

Names that only rename another are replaced by it (`pendulum.u` by `pilot.u`), so that no equation is solved for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dpl.compiler import ir
from dpl.compiler.algebra import INFINITY, ONE, TIME, ZERO, Expr, Symbol, next_of, number, opaque, sp
from dpl.compiler.lagrange import Mechanics, Projection
from dpl.compiler.observations import Observed, observed
from dpl.compiler.shapes import shaped
from dpl.compiler.structure import Relation, causalize
from dpl.compiler.symbolic import Translator
from dpl.language import syntax
from dpl.language.balance import Structure
from dpl.language.change import varying
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.model import Clock, Equation, Measure, NetworkUse, Scoped, System, Variable


@dataclass(frozen=True)
class CausalSystem:
    """A system's equations, and the statements that solve them in order."""

    translator: Translator
    relations: tuple[Relation, ...]
    """All but those that only rename; in the names that stand for all others"""
    aliases: dict[Symbol, Expr]
    statements: tuple[ir.Statement, ...]
    measures: tuple[tuple[Measure, Expr], ...]
    """Losses and metrics; reductions over time stand in them as symbols"""
    squares: tuple[tuple[str, Expr], ...]
    """By key, what is squared in those of them that are minimised as sums of squares"""
    observed: Observed = field(default_factory=Observed)
    leading: tuple[tuple[str, Symbol], ...] = ()
    """By path, results of networks that are fixed during a run with events"""
    projection: Projection | None = None
    """States onto the constraints"""

    @property
    def system(self) -> System:
        return self.translator.system

    def aliased(self, expr: Expr) -> Expr:
        return expr.xreplace(self.aliases)


def causal_system(system: System) -> CausalSystem:
    """The equations of a system, solved. Raises CompileError where they cannot be."""
    translator = Translator(system, Structure(system, Structure(system.whole) if system.whole is not None else None))
    _refuse_shadowed(system)
    changing = varying(system.whole or system)
    leads = leading(translator, changing)
    translator.leads = frozenset(path for path, _ in leads)
    found = [r for e in system.equations for r in _relations(e, translator)]
    aliases = _aliases(found, translator, changing)
    measures = tuple(
        (m, translator.in_unit(Scoped(m.item.value, m.scope, m.unit)).xreplace(aliases)) for m in system.measures
    )
    squares = tuple((key, translator.scoped(s.base).xreplace(aliases)) for key, s in system.squares.items())
    compared = observed(translator).mapped(lambda e: e.xreplace(aliases))
    for equation in system.equations:
        if equation.kind == "initial":  # may ask for derivatives
            translator.scoped(equation.left), translator.scoped(equation.right)  # pyright: ignore[reportUnusedExpression]
    mechanics = Mechanics(system, translator) if system.lagrangians else None
    moved = mechanics.relations() if mechanics is not None else []
    still = [*(_still(v, translator) for v in translator.structure.held), *_idle(translator)]
    projection = mechanics.projection() if mechanics is not None else None
    relations = tuple(r.renamed(aliases) for r in (*found, *moved, *still, *translator.motion.relations()))
    try:
        statements = causalize(relations, Search(translator, aliases))
    except CompileError:
        causalize(found, Search(translator, {}))  # says the same with every name of the text
        raise
    solved = shaped(statements, translator)
    return CausalSystem(translator, relations, aliases, solved, measures, squares, compared, tuple(leads), projection)


def _still(variable: Variable, translator: Translator) -> Relation:
    rate = translator.symbol(variable, translator.structure.orders[variable])
    return Relation(rate, ZERO, variable.span, rate)


def _idle(translator: Translator) -> list[Relation]:
    """Forces of constraints that do not rule are 0."""
    found = ((v, translator.symbol(v)) for v in translator.structure.idle)
    return [Relation(s, ZERO, v.span, s) for v, s in sorted(found, key=lambda f: f[1].name)]


def leading(translator: Translator, changing: set[Variable]) -> list[tuple[str, Symbol]]:
    """By path, results of networks that a `let` names and that do not change during a run with events.

    They are computed before it: a gradient through the run need only reach these few numbers, and goes on to the
    weights from there.
    """
    found: list[tuple[str, Symbol]] = []
    for variable in translator.system.variables if translator.system.hybrid else ():
        if variable.kind != "let" or variable in changing or not _calls_network(variable):
            continue
        if variable.record is None:
            found.append((variable.path, translator.symbol(variable)))
        else:
            found += [(f"{variable.path}.{p.name}", translator.component(variable, p)) for p in variable.record.outputs]
    return found


def _calls_network(variable: Variable) -> bool:
    value = variable.value
    if value is None or not isinstance(value.expr, syntax.Call) or not isinstance(value.expr.function, syntax.Name):
        return False
    return isinstance(value.scope.find(value.expr.function.id), NetworkUse)


def _refuse_shadowed(system: System) -> None:
    """What a user may set needs a name of its own."""
    known: dict[str, Variable] = {}
    problems: list[Diagnostic] = []
    for variable in system.variables:
        other = known.setdefault(variable.path, variable)
        if other is not variable and {"param", "given"} & {variable.kind, other.kind}:
            message = f"this scenario reads both its own `{variable.path}` and the `{variable.path}` of the file"
            label, related = Label(other.span, "declared here"), (Label(variable.span, "and here"),)
            problems.append(Diagnostic("shadowed", message, label, related, help="give one of them another name"))
    if problems:
        raise CompileError(problems)


# ---------------------------------------------------------------- relations


def _relations(equation: Equation, translator: Translator) -> list[Relation]:
    span = equation.span
    match equation.kind:
        case "definition":
            assert equation.target is not None
            target = translator.symbol(equation.target)
            value = freed(equation.target.path, translator.value_of(equation.target), translator)
            return [Relation(target, value, span, target), *_components(equation.target, translator)]
        case "equation":
            left, right = translator.indexed.sides(equation)
            return [Relation(left, right, span, None, translator.unknowns(equation.clock))]
        case "next":
            assert equation.target is not None
            target = next_of(translator.symbol(equation.target))
            return [Relation(target, translator.indexed.of_variable(equation.target, equation.right), span, target)]
        case "initial":
            return []


def _components(record: Variable, translator: Translator) -> list[Relation]:
    """The several results of a network that a `let` names, each under its own name."""
    if record.record is None:
        return []
    found: list[Relation] = []
    for position, port in enumerate(record.record.outputs):
        target = translator.component(record, port)
        value = opaque("result")(translator.symbol(record), sp.Integer(position))
        path = translator.quantities[target][0].path
        found.append(Relation(target, freed(path, value, translator), record.span, target))
    return found


def freed(path: str, value: Expr, translator: Translator) -> Expr:
    """The value, where some task frees the name or it may come first: whatever a caller gives, else the value."""
    free = path in translator.system.freed or path in translator.leads
    return opaque(f"freed {path}")(value) if free else value


# ---------------------------------------------------------------- aliases


def _aliases(relations: Iterable[Relation], translator: Translator, changing: set[Variable]) -> dict[Symbol, Expr]:
    """Names whose value is another name's at every instant. A sampled copy of what moves is not one."""
    aliases: dict[Symbol, Expr] = {}
    for relation in relations:
        other = relation.right
        if relation.target is None or not other.is_Symbol or other in (TIME, INFINITY):
            continue
        quantity, source = translator.quantities.get(relation.target), translator.quantities.get(other)
        if quantity is None or source is None or source[0].record is not None:
            continue
        clock = quantity[0].clock
        if quantity[0].shape == source[0].shape and _same_instants(clock, source[0], changing):
            aliases[relation.target] = other
    return _ends(aliases)


def _same_instants(clock: Clock | None, source: Variable, changing: set[Variable]) -> bool:
    return clock is None or clock == source.clock or source not in changing


def _ends(aliases: dict[Symbol, Expr]) -> dict[Symbol, Expr]:
    """Each name with what it finally stands for; circles are left to the solver."""
    result: dict[Symbol, Expr] = {}
    for name in aliases:
        end, seen = name, {name}
        while end in aliases:
            end = aliases[end]
            if end in seen:
                break
            seen.add(end)
        else:
            result[name] = end
    return result


# ---------------------------------------------------------------- where Newton begins


@dataclass(frozen=True)
class Search:
    """Where Newton's method looks for an unknown: in its declared range, else from one of its declared unit."""

    translator: Translator
    aliases: dict[Symbol, Expr]

    def __call__(self, unknown: Symbol) -> ir.Unknown:
        if unknown not in self.translator.quantities:  # of our own making: it has no unit
            return ir.Unknown(unknown, ONE)
        variable, order = self.translator.quantities[unknown]
        low, high = self._range(variable) if order == 0 else (None, None)
        unit = number(float(variable.display.scale))
        if low is not None and high is not None:
            return ir.Unknown(unknown, self._shaped((low + high) / 2, variable), low, high)
        guess = low + unit if low is not None else high - unit if high is not None else unit
        return ir.Unknown(unknown, self._shaped(guess, variable), low, high)

    def _range(self, variable: Variable) -> tuple[Expr | None, Expr | None]:
        domain = variable.declaration.domain
        if not isinstance(domain, syntax.Range) or variable.path in self.translator.components:
            return None, None
        ends = [self.translator.bound(e, variable, domain.unit) for e in (domain.low, domain.high) if e is not None]
        low, high = (None if e.has(INFINITY) else e.xreplace(self.aliases) for e in (*ends, INFINITY)[:2])
        return low, high

    @staticmethod
    def _shaped(guess: Expr, variable: Variable) -> Expr:
        return opaque("full")(guess, *map(sp.Integer, variable.shape)) if variable.shape else guess
