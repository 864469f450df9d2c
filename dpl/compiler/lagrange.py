"""Equations of motion from Lagrangians: accelerations and forces of constraint as definitions, in order.

d/dt ∂L/∂q' - ∂L/∂q = Q + Σ λ ∂φ/∂q, with the constraints φ = 0 differentiated twice. L is given in names; it is
expanded to coordinates, their rates and what moves without them. The linear system in q'' and λ is eliminated by
structure (`elimination.py`), so every step is a definition like any other: what is fixed is computed once per run, and
where an applied force reads an acceleration or a force of constraint the circle is solved as all circles are.

Goldstein, Poole and Safko (2002), Classical Mechanics, 3rd edition, equations 1.53 and 2.24.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from dpl.compiler import ir
from dpl.compiler.algebra import ZERO, Expr, Symbol, sp, symbol
from dpl.compiler.coordinates import Coordinates
from dpl.compiler.elimination import Definition, Factors, Matrix, Saddle, operations
from dpl.compiler.fourier import Fourier
from dpl.compiler.motion import partial
from dpl.compiler.regular import check_constraints, check_inertia
from dpl.compiler.structure import Relation
from dpl.compiler.symbolic import Translator
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.graph import components
from dpl.language.model import Constraint, Lagrangian, System, Variable
from dpl.language.source import Span

MOST_UNROLLED = 150
"""Multiplications of an elimination beyond which the system is solved as a matrix: seven unknowns without zeros"""


@dataclass(frozen=True)
class Projection:
    """States moved onto the constraints: the statements that compute it, and the states that change."""

    statements: tuple[ir.Statement, ...]
    states: dict[Symbol, Expr]


class Mechanics:
    """What the Lagrangians, applied forces and constraints of one flat system say.

    Raises:
        CompileError: a Lagrangian that has no equations of motion, or one of its derivatives is not known.
    """

    def __init__(self, system: System, translator: Translator):
        self._system, self._translator = system, translator
        self._names = Coordinates(system, translator)
        self._blocks = [_Block(lagrangian, self._names) for lagrangian in system.lagrangians]
        self._owner = {v: block for block in self._blocks for v in block.coordinates}
        self._bodies = self._split()

    @property
    def coordinates(self) -> tuple[Variable, ...]:
        """The states whose accelerations are determined here."""
        return tuple(self._owner)

    def relations(self) -> list[Relation]:
        """What defines accelerations, forces of constraint, energies, and all that they are computed from."""
        found = [r for body in self._bodies for r in body.relations()]
        by_scope = {id(block.lagrangian.scope): block for block in self._blocks}
        for variable in self._system.variables:
            block = by_scope.get(id(variable.scope))
            if block is not None and variable.energy is not None:
                target = self._translator.symbol(variable)
                found.append(Relation(target, block.form.energy, block.lagrangian.span, target))
        return found

    def projection(self) -> Projection | None:
        """States onto the constraints; None where there is none."""
        parts = [body.projection() for body in self._bodies if body.constraints]
        if not parts:
            return None
        statements = tuple(s for p in parts for s in p.statements)
        return Projection(statements, {k: v for p in parts for k, v in p.states.items()})

    def _split(self) -> list[_Body]:
        """The coordinates that move each other, with the constraints among them."""
        constraints = [_Held(c, self._names, self.coordinates) for c in self._system.constraints]
        linked: dict[Variable, set[Variable]] = {v: set(self._owner[v].linked(v)) for v in self._owner}
        for held in constraints:
            for v in held.reads:
                linked[v] |= set(held.reads)
        found: list[_Body] = []
        for group in components(list(self._owner), lambda v: [w for w in self._owner if w in linked[v]]):
            members = [v for v in self._owner if v in group]
            mine = [h for h in constraints if h.reads and h.reads[0] in group]
            found.append(_Body(members, self._owner, mine, self._names))
        return found


# ---------------------------------------------------------------- one Lagrangian


@dataclass(frozen=True)
class _Form:
    """What follows from a Lagrangian: mass matrix (upper half), what else stands in Lagrange's equations, energy."""

    mass: dict[tuple[Variable, Variable], Expr]
    loads: dict[Variable, Expr]
    energy: Expr


class _Block:
    """One Lagrangian and the coordinates that it moves."""

    def __init__(self, lagrangian: Lagrangian, names: Coordinates):
        self.lagrangian, self.names = lagrangian, names
        self.at = lagrangian.value.expr
        self.coordinates = [v for v in lagrangian.coordinates if names.is_coordinate(v)]

    def symbols(self, order: int) -> list[Symbol]:
        return [self.names.translator.symbol(v, order) for v in self.coordinates]

    def linked(self, variable: Variable) -> list[Variable]:
        return [w for pair, entry in self.form.mass.items() if variable in pair and entry != 0 for w in pair]

    @cached_property
    def form(self) -> _Form:
        """In the cheaper of two ways to write it: as the text has it, or with all harmonics in canonical form."""
        names = self.names
        names.fourier = Fourier(names.fixed)
        value = names.expanded(names.translator.in_unit(self.lagrangian.value), self.at)
        accelerations = [s for s, (_, k) in names.orders.items() if k == 2 and s in value.free_symbols]
        if accelerations:
            message = f"a Lagrangian is made of coordinates, their rates and time; this one reads `{accelerations[0]}`"
            raise CompileError([Diagnostic("lagrangian-order", message, Label(self.at.span))])
        forms = [self._derived(value, lambda e: e)]
        canonical = names.canonical(value)
        if canonical != value:
            forms.append(self._derived(canonical, names.tidy))
        return min(forms, key=lambda f: names.cost([*f.mass.values(), *f.loads.values()]))

    def _derived(self, value: Expr, tidy: Callable[[Expr], Expr]) -> _Form:
        at, names, variables = self.at, self.names, self.coordinates
        places, rates = self.symbols(0), self.symbols(1)
        momenta = [partial(value, v, at) for v in rates]
        mass: dict[tuple[Variable, Variable], Expr] = {}
        for i, momentum in enumerate(momenta):
            for j in range(i, len(rates)):
                if rates[j] in momentum.free_symbols:
                    mass[variables[i], variables[j]] = tidy(partial(momentum, rates[j], at))
        loads: dict[Variable, Expr] = {}
        for variable, place, momentum in zip(variables, places, momenta, strict=True):
            loads[variable] = tidy(partial(value, place, at) - names.along(momentum, at))
        return _Form(mass, loads, self._energy(value, momenta, mass, tidy))

    def _energy(
        self,
        value: Expr,
        momenta: list[Expr],
        mass: dict[tuple[Variable, Variable], Expr],
        tidy: Callable[[Expr], Expr],
    ) -> Expr:
        """q' ∂L/∂q' - L; of what is quadratic in the rates ½ q' M q' less what is left at rest."""
        rates = dict(zip(self.coordinates, self.symbols(1), strict=True))
        if any(m.free_symbols & set(rates.values()) for m in mass.values()):
            return tidy(sp.Add(*(v * p for v, p in zip(rates.values(), momenta, strict=True)), -value))
        half = sp.Rational(1, 2)
        kinetic = [(half if v is w else 1) * m * rates[v] * rates[w] for (v, w), m in mass.items()]
        return sp.Add(*kinetic, tidy(-value.xreplace(dict.fromkeys(rates.values(), ZERO))))


# ---------------------------------------------------------------- constraints


class _Held:
    """One constraint: its residual and what its derivatives are made of."""

    def __init__(self, constraint: Constraint, names: Coordinates, coordinates: Sequence[Variable]):
        self.constraint = constraint
        at, translator = constraint.left.expr, names.translator
        residual = translator.scoped(constraint.left) - translator.scoped(constraint.right)
        self.residual = names.expanded(residual, at)
        rates = [s for s, (_, k) in names.orders.items() if k > 0 and s in self.residual.free_symbols]
        if rates:
            message = f"a constraint relates coordinates, not their rates; this one reads `{rates[0]}`"
            raise CompileError([Diagnostic("not-supported", message, Label(constraint.span))])
        slopes = {v: names.tidy(partial(self.residual, translator.symbol(v), at)) for v in coordinates}
        self.slopes = {v: slope for v, slope in slopes.items() if slope != 0}
        self.reads = list(self.slopes)
        if not self.reads:
            message = "this constraint reads no coordinate that a Lagrangian moves"
            raise CompileError([Diagnostic("empty-constraint", message, Label(constraint.span))])
        self.rate = names.tidy(names.along(self.residual, at))
        self.curvature = names.tidy(names.along(self.rate, at))


# ---------------------------------------------------------------- coordinates that move each other


class _Body:
    """The linear system of accelerations and forces of constraint among some coordinates."""

    def __init__(
        self, variables: list[Variable], owner: dict[Variable, _Block], constraints: list[_Held], names: Coordinates
    ):
        self.variables, self.constraints, self._names = variables, constraints, names
        self._owner = owner
        self.mass: Matrix = {}
        for i, v in enumerate(variables):
            for j in range(i, len(variables)):
                pair = owner[v].form.mass.get((v, variables[j]), ZERO)
                if pair != 0:
                    self.mass[i, j] = pair
        self.slopes: Matrix = {
            (k, variables.index(v)): slope for k, held in enumerate(constraints) for v, slope in held.slopes.items()
        }
        self._check()

    @property
    def span(self) -> Span:
        return self._owner[self.variables[0]].lagrangian.span

    def _check(self) -> None:
        spans = [self._owner[v].lagrangian.span for v in self.variables]
        check_inertia(self.mass, [v.path for v in self.variables], spans, self._names.consts)
        held = [h.constraint.span for h in self.constraints]
        check_constraints(self.mass, self.slopes, len(self.variables), held, self._names.consts)

    # ------------------------------------------------------------ motion

    def relations(self) -> list[Relation]:
        if self._large:
            return self._implicit(self._right, self._unknowns)
        return [Relation(s, value, self.span, s) for s, value in self._chosen[1]]

    @property
    def _unknowns(self) -> list[Symbol]:
        forces = (self._names.translator.symbol(h.constraint.force) for h in self.constraints)
        return [*self._symbols(2), *forces]

    @cached_property
    def _right(self) -> tuple[Expr, ...]:
        loads = (self._owner[v].form.loads[v] + self._applied(v) for v in self.variables)
        return (*loads, *(-h.curvature for h in self.constraints))

    @property
    def _saddle(self) -> Saddle:
        return Saddle(self.mass, self.slopes, len(self.variables), len(self.constraints))

    @cached_property
    def _large(self) -> bool:
        return operations(self._saddle, self._names.fixed) > MOST_UNROLLED

    @cached_property
    def _chosen(self) -> tuple[Factors, list[Definition]]:
        """The factors, and the motion from them: of the accelerations, or of sums of them where that is cheaper."""
        found: list[tuple[Factors, list[Definition]]] = []
        for parted in (False, True):
            factors = self._factored(self._saddle, "", parted)
            if factors.shifts or not parted:
                found.append((factors, [*factors.definitions, *factors.solved(self._right, self._unknowns)]))
        return found[0] if len(found) == 1 else min(found, key=lambda f: self._names.cost(e for _, e in f[1]))

    def _factored(self, saddle: Saddle, label: str, parted: bool) -> Factors:
        names = [*self._symbols(0), *(self._names.translator.symbol(h.constraint.force) for h in self.constraints)]
        tidy = self._names.tidy if parted else None
        return Factors(saddle, [s.name for s in names], self._names.fixed, label, tidy)

    def _symbols(self, order: int) -> list[Symbol]:
        return [self._names.translator.symbol(v, order) for v in self.variables]

    def _applied(self, variable: Variable) -> Expr:
        forces = [a for a in self._names.system.applied if a.target is variable]
        return sp.Add(*(self._names.translator.in_unit(a.value) for a in forces))

    def _implicit(self, right: Sequence[Expr], unknowns: list[Symbol]) -> list[Relation]:
        rows = [sp.Add(*(e * u for e, u in zip(row, unknowns, strict=True))) for row in self._saddle.rows()]
        return [Relation(row, r, self.span, None, tuple(unknowns)) for row, r in zip(rows, right, strict=True)]

    # ------------------------------------------------------------ projection

    def projection(self) -> Projection:
        """One Newton step of the positions, then the rates made tangent: both the shortest in the metric of the masses.

        That metric has the unit of an energy whatever the units of the coordinates, does not depend on the choice of
        coordinates, and is that of an impulse of the constraint: what it removes does no work along the motion.
        """
        places, rates = self._symbols(0), self._symbols(1)
        onto = {q: symbol(f"projected {q.name}") for q in places}

        def moved(entries: Matrix) -> Matrix:
            return {key: entry.xreplace(onto) for key, entry in entries.items()}

        statements = self._steps(self._saddle, [h.residual for h in self.constraints], 0)
        for q, new in onto.items():
            statements.append(ir.Assign(new, q + _step(q), self._origin))
        saddle = replace(self._saddle, mass=moved(self.mass), constraint=moved(self.slopes))
        statements += self._steps(saddle, [h.rate.xreplace(onto) for h in self.constraints], 1)
        return Projection(tuple(statements), {**onto, **{v: v + _step(v) for v in rates}})

    @property
    def _origin(self) -> str:
        return ", ".join(h.constraint.span.origin for h in self.constraints)

    def _steps(self, saddle: Saddle, residuals: list[Expr], order: int) -> list[ir.Statement]:
        """What moves the coordinates or their rates so that the residuals, which are linear in them, vanish."""
        right = (*(ZERO for _ in self.variables), *(-r for r in residuals))
        forces = (symbol(h.constraint.force.path + "'" * order) for h in self.constraints)
        unknowns = [_step(s) for s in (*self._symbols(order), *forces)]
        if self._large:
            return [ir.Solve(tuple(unknowns), tuple(map(tuple, saddle.rows())), right, self._origin)]
        factors = self._chosen[0]
        if order:
            factors = self._factored(saddle, "projected ", bool(factors.shifts))
        found = [*(factors.definitions if order else ()), *factors.solved(right, unknowns)]
        return [ir.Assign(target, value, self._origin) for target, value in found]


def _step(found: Symbol) -> Symbol:
    """What projection adds to a coordinate or to its rate."""
    return symbol(f"step {found.name}")
