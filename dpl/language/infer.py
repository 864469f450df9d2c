"""What every quantity of a system is: its dimension, its shape; and what does not fit.

One walk over each expression, in its scope, finds unknown names, wrong arguments, shapes and dimensions that do not
fit. Afterwards every variable has its dimension; what nothing determines is pure.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from dpl.language import syntax, words
from dpl.language.constants import is_infinite, literal
from dpl.language.depend import Read, reads
from dpl.language.diagnostics import Diagnostic, Label, did_you_mean
from dpl.language.distributions import Distributions
from dpl.language.indices import own_shape, read_shape, shared
from dpl.language.lookup import Lookups
from dpl.language.model import (
    Bound,
    Equation,
    Event,
    FunctionUse,
    Lagrangian,
    Measure,
    NetworkUse,
    Scope,
    Scoped,
    System,
    TableUse,
    Variable,
)
from dpl.language.rules import Type, shape_text
from dpl.language.source import Span
from dpl.language.units import PURE, Dimension, read_unit


@dataclass
class Inference(Distributions, Lookups):
    """The walk over one system."""

    by_mode: dict[Variable, list[Equation]] = field(default_factory=dict[Variable, "list[Equation]"])
    """What a `let` that several modes declare equals in each"""

    def run(self, *, everything: bool = False) -> None:
        """Infer the whole system; with `everything`, what stands at file level too, used or not."""
        system = self.system
        for equation in system.equations:
            if equation.kind == "equation" and equation.target is not None:
                self.by_mode.setdefault(equation.target, []).append(equation)
        file_level = [v for v in _file_variables(system) if v not in system.variables]
        for variable in (*system.variables, *file_level):
            variable.dimension = variable.unit.dimension if variable.unit else self.unifier.fresh()
        for use in (*system.networks, *_file_networks(system)):
            self.network(use)
        for use in (*system.tables, *_file_tables(system)):
            self.table(use)
        for variable in system.variables:
            self.declaration(variable)
        for equation in system.equations:
            if equation.target in file_level and equation.kind == "definition":
                continue
            if equation.kind in ("definition", "equation") and equation.target is not None:
                self.type_of(equation.target)
            else:
                self.equation(equation.left, equation.right)
        for period in system.periods:
            self.time_only(period)
        self.dynamics()
        with self.reducing():
            for measure in system.measures:
                self.measure(measure)
        for observation in system.observations:
            self.observation(observation)
        if everything:
            self.functions()
        for variable in file_level:
            if everything or variable in self.used:
                self.declaration(variable)
                self.type_of(variable)
        self.keep_used(file_level)
        self.settle()

    def time_only(self, value: Scoped) -> None:
        self.same(self.time, self.infer(value.expr, value.scope).dimension, value.span, value.span, "time")

    def dynamics(self) -> None:
        """Lagrangians and events."""
        system = self.system
        for lagrangian in system.lagrangians:
            self.number(lagrangian.value)
            energy = next((v for v in system.variables if v.energy and v.scope is lagrangian.scope), None)
            if energy is not None:
                first = energy.span
                self.same(energy.dimension, self.unit_of(lagrangian), lagrangian.value.span, first, "energy")
        for applied in system.applied:
            lagrangian = next((m for m in system.lagrangians if m.scope is applied.value.scope), None)
            found = self.number(applied.value)
            if lagrangian is not None:
                wanted = self.unit_of(lagrangian) / self.type_of(applied.target).dimension
                self.same(wanted, found, applied.value.span, lagrangian.span, "applied")
        for constraint in system.constraints:
            self.number(constraint.left)
            self.number(constraint.right)
            self.equation(constraint.left, constraint.right)
            lagrangian = next((m for m in system.lagrangians if m.scope is constraint.scope), None)
            if lagrangian is not None:
                length = self.infer(constraint.left.expr, constraint.left.scope).dimension
                self.unifier.unify(constraint.force.dimension, self.unit_of(lagrangian) / length, constraint.span)
        for event in system.events:
            self.event(event)

    def unit_of(self, lagrangian: Lagrangian) -> Dimension:
        return self.infer(lagrangian.value.expr, lagrangian.value.scope).dimension

    def number(self, value: Scoped) -> Dimension:
        """The dimension of what must be one number."""
        found = self.infer(value.expr, value.scope)
        self.number_only(found, value.expr)
        if found.shape:
            self.wrongshape_text((), found.shape, value.span)
        return found.dimension

    def event(self, event: Event) -> None:
        if event.condition is not None:
            found = self.infer(event.condition.expr, event.condition.scope)
            self.truth_only(found, event.condition.expr)
            if found.shape:
                self.wrongshape_text((), found.shape, event.condition.span)
        for time in (event.every, event.start, event.until, event.at):
            if time is not None:
                self.time_only(time)
        for assignment in event.assignments:
            target, value = assignment.target, assignment.value
            if isinstance(value.expr, syntax.Pieces):
                self.equation(value, value)
                continue
            one, two = self.type_of(target), self.infer(value.expr, value.scope)
            self.number_only(two, value.expr)
            if two.shape not in ((), one.shape):
                self.wrongshape_text(one.shape, two.shape, value.span)
            wanted = one.dimension / self.time**assignment.order
            self.same(wanted, two.dimension, value.span, target.span, "assignment")

    def functions(self) -> None:
        """The bodies of file-level functions, whatever their arguments are."""
        for binding in _file_bindings(self.system):
            if isinstance(binding, FunctionUse):
                scope = Scope("", binding.item, binding.scope)
                for name in binding.item.parameters:
                    nothing = Scope("", binding.item, None)  # known by its type only
                    bound = Bound(Scoped(syntax.Name(name, span=binding.item.name_span), nothing))
                    scope.names[name], self.bound[id(bound)] = bound, self.open()
                self.call_scopes.append(scope)
                self.calls.append(binding.item)
                self.infer(binding.item.value, scope)
                self.calls.pop()

    def keep_used(self, file_level: list[Variable]) -> None:
        """Of what stands at file level, a system holds only what it uses."""
        system = self.system
        system.variables += [v for v in file_level if v in self.used]
        system.networks += [n for n in _file_networks(system) if n in self.used]
        system.variables = [v for v in system.variables if v.row is None or v in self.used]
        system.tables = [t for t in (*system.tables, *_file_tables(system)) if t in self.used]
        unused = {v for v in file_level if v not in self.used}
        system.equations = [e for e in system.equations if e.target not in unused]

    def declaration(self, variable: Variable) -> None:
        """Start or default, range, limit and prior of a variable."""
        item, scope = variable.declaration, variable.scope
        unit = variable.unit
        if variable.value is not None and variable.kind in ("param", "given", "state", "const"):
            self.fits(variable, variable.value, "start" if variable.kind == "state" else "value")
        for domain in (item.domain, item.limit):
            if domain is None:
                continue
            if isinstance(domain, syntax.List):
                bounds: list[syntax.Expr] = list(domain.items)
            else:
                bounds = [domain.low, *([domain.high] if domain.high else [])]
            own = read_unit(domain.unit, self.problems) if domain.unit else unit
            if domain.unit and own:
                self.same(variable.dimension, own.dimension, domain.span, variable.span, "range")
            for bound in bounds:
                self.fits(variable, Scoped(bound, scope, own), "range")
        if item.prior is not None:
            self.prior(variable, item.prior)

    def fits(self, variable: Variable, value: Scoped, role: str) -> None:
        """`value` must be of the variable's dimension; a bare literal is in its declared unit."""
        expr = value.expr
        if isinstance(expr, syntax.List):
            self.list_fits(variable, value, expr, role)
            return
        bare = literal(expr)
        if bare is not None or is_infinite(expr):
            if value.unit is None and bare:
                wired = variable.wired is not None and role in ("value", "start")
                self.bare.append((variable, expr, variable.dimension, wired))
            return
        if isinstance(expr, syntax.Pieces):
            self.pieces_fit(variable, value, expr, role)
            return
        found = self.infer(expr, value.scope)
        self.number_only(found, expr)
        self.fits_shape(variable, found.shape, value.scope, expr.span)
        unit = variable.unit.text if variable.unit else ""
        self.same(variable.dimension, found.dimension, expr.span, variable.span, role, unit)

    def fits_shape(self, variable: Variable, shape: tuple[int, ...], scope: Scope, span: Span) -> None:
        """A value is of its variable's shape, or one number for all of it; of an array of parts it may be one value for
        all parts."""
        whole, own = read_shape(variable, scope), own_shape(variable)
        if shape in ((), whole, own):
            return
        if whole == own:
            self.wrongshape_text(whole, shape, span, "give a number for each, or one for all" if whole else None)
        else:
            message = f"{shape_text(own)} expected for all parts, or {shape_text(whole)} for each its own".capitalize()
            self.report("wrong-shape", message, span, f"is {shape_text(shape)}")

    def takes_shape(self, variable: Variable, shape: tuple[int, ...], scope: Scope) -> None:
        """A variable without declared shape is shaped as its value."""
        axes = tuple(index.size for index in variable.scope.axes)
        outside = axes[shared(scope, variable.scope) :]
        of_parts = shape[: len(outside)] == outside
        variable.shape = (*axes, *(shape[len(outside) :] if of_parts else () if outside else shape))

    def pieces_fit(self, variable: Variable, value: Scoped, expr: syntax.Pieces, role: str) -> None:
        """Each piece of a declared array, or of what it is wired to."""
        for piece in expr.pieces:
            inner = self.counted(piece.indices, value.scope)
            element = replaceshape_text(variable)
            element.shape = self.infer(piece.left, inner).shape
            self.fits(element, Scoped(piece.value, inner, value.unit), role)

    def list_fits(self, variable: Variable, value: Scoped, expr: syntax.List, role: str) -> None:
        unit = read_unit(expr.unit, self.problems) if expr.unit else value.unit
        if expr.unit and unit:
            self.same(variable.dimension, unit.dimension, expr.span, variable.span, role)
        if role != "range":
            shape = self.shape_of_list(expr)
            if shape is not None and not variable.declaration.shape and variable.kind == "const":
                self.takes_shape(variable, shape, value.scope)
            if shape is not None:
                self.fits_shape(variable, shape, value.scope, expr.span)
        for item in expr.items:
            if isinstance(item, syntax.List):
                self.list_fits(variable, Scoped(item, value.scope, unit), item, "range")
            else:
                self.fits(replaceshape_text(variable), Scoped(item, value.scope, unit), role)

    def shape_of_list(self, expr: syntax.List) -> tuple[int, ...] | None:
        if not expr.items:
            return (0,)
        inner = [self.shape_of_list(i) if isinstance(i, syntax.List) else () for i in expr.items]
        if len(set(inner)) != 1 or inner[0] is None:
            self.report("ragged-list", "the rows of a list must be of one length", expr.span, "are not")
            return None
        return (len(expr.items), *inner[0])

    def type_of(self, variable: Variable) -> Type:
        """The type of a variable; of a `let` without declared shape, that of its value."""
        self.used.add(variable)
        if variable not in self.known and variable.kind in ("let", "output", "input", "param", "const"):
            self.known.add(variable)
            if variable.value is not None and variable.kind != "param":
                self.definition(variable, variable.value)
            for equation in self.by_mode.get(variable, ()):
                self.definition(variable, equation.right)
        return Type(variable.dimension, variable.shape, record=variable.record)

    def definition(self, variable: Variable, value: Scoped) -> None:
        expr = value.expr
        if variable.noise:  # its distribution is looked at where it is declared
            return
        if literal(expr) is not None or is_infinite(expr) or isinstance(expr, syntax.List):
            if isinstance(expr, syntax.List) and not variable.declaration.shape:
                self.takes_shape(variable, self.shape_of_list(expr) or (), value.scope)
            self.fits(variable, value, "value")
            return
        outside = self.reductions
        self.reductions = False
        if isinstance(expr, syntax.Pieces):
            self.pieces_fit(variable, value, expr, "input" if variable.kind == "input" else "value")
            self.reductions = outside
            return
        found = self.infer(expr, value.scope)
        self.reductions = outside
        if found.record is not None:
            variable.record = found.record
            if variable in self.by_mode:
                way_out = "name one result in each mode, or call the network outside them"
                self.report("record-in-modes", "modes name one result each", expr.span, "has several", help=way_out)
            if variable.unit is not None:
                self.report("record-unit", "several results have no one unit", variable.span, "declared with one")
            return
        self.number_only(found, expr)
        if not variable.declaration.shape:
            self.takes_shape(variable, found.shape, value.scope)
        self.fits_shape(variable, found.shape, value.scope, expr.span)
        role = "input" if variable.kind == "input" else "value"
        unit = variable.unit.text if variable.unit else ""
        self.same(variable.dimension, found.dimension, expr.span, variable.span, role, unit)

    def equation(self, left: Scoped, right: Scoped, *, element: bool = False) -> None:
        """Both sides are of one dimension and shape; a number may stand for an array, but not for an `element`."""
        if isinstance(left.expr, syntax.Name) and self.undeclared(left.expr, left.scope):
            return
        if isinstance(right.expr, syntax.Pieces):
            for piece in right.expr.pieces:
                inner = self.counted(piece.indices, right.scope)
                self.equation(Scoped(piece.left, inner), Scoped(piece.value, inner), element=True)
            return
        one, two = self.infer(left.expr, left.scope), self.infer(right.expr, right.scope)
        self.number_only(one, left.expr)
        self.number_only(two, right.expr)
        alone = not one.shape and any(map(_is_one_unknown, reads(left)))
        if one.shape != two.shape and (two.shape if element or alone else () not in (one.shape, two.shape)):
            self.wrongshape_text(one.shape, two.shape, right.span)
        self.same(one.dimension, two.dimension, right.span, left.span, "equation")

    def undeclared(self, name: syntax.Name, scope: Scope) -> bool:
        """`a = 3` where nothing declares `a`."""
        if scope.find(name.id) is not None or name.id in words.PREDECLARED or scope.is_broken(name.id):
            return False
        close = did_you_mean(name.id, scope.known())
        help_text = close or f"an equation holds between declared names: write `let {name.id} = …` to name a value"
        self.report("unknown-name", f"`{name.id}` is not declared here", name.span, "used here", help=help_text)
        return True

    def measure(self, measure: Measure) -> None:
        item = measure.item
        if measure.unit and literal(item.value) is not None:
            measure.dimension = measure.unit.dimension
            return
        found = self.infer(item.value, measure.scope)
        self.number_only(found, item.value)
        if found.shape:
            self.report(
                "not-a-number",
                f"the {item.kind} `{item.name}` is one number per run",
                item.value.span,
                f"is an array of {shape_text(found.shape)}",
                help="take its `sum`, `mean` or `norm`",
            )
        measure.dimension = measure.unit.dimension if measure.unit else found.dimension
        if measure.unit:
            self.same(measure.dimension, found.dimension, item.value.span, item.name_span, "value")

    @contextmanager
    def reducing(self) -> Generator[None]:
        """Within, reductions over time are in their place."""
        self.reductions = True
        yield
        self.reductions = False

    def settle(self) -> None:
        """Resolve every dimension; report bare numbers whose dimension turned out not to be pure."""
        for variable, expr, dimension, wired in self.bare:
            found = self.unifier.resolve(dimension)
            if found.unknowns:
                if self.system.closed:  # a model by itself stays generic
                    self.unifier.unify(found, PURE, expr.span)
            elif not found.pure:
                self.missing_unit(variable, found, dimension, expr, wired)
        told = {id(variable) for variable, *_ in self.bare}
        for variable in self.system.variables:
            own = variable.scope is self.system.root
            unresolved = variable.dimension
            variable.dimension = self.final(variable.dimension)
            judged = variable.unit is None and own and variable.kind in ("param", "given") and id(variable) not in told
            if judged and not variable.dimension.pure and not self.unifier.resolve(unresolved).unknowns:
                self.missing_unit(variable, variable.dimension, unresolved, None, False)
        for measure in self.system.measures:
            measure.dimension = self.final(measure.dimension)
        for observation in self.system.observations:
            observation.dimension = self.final(observation.dimension)
        for use in self.system.networks:
            use.inputs = tuple(replace(p, dimension=self.final(p.dimension)) for p in use.inputs)
            use.outputs = tuple(replace(p, dimension=self.final(p.dimension)) for p in use.outputs)

    def final(self, dimension: Dimension) -> Dimension:
        found = self.unifier.resolve(dimension)
        return Dimension(tuple((n, p) for n, p in found.powers if not n.startswith("?")))

    def missing_unit(
        self, variable: Variable, found: Dimension, unresolved: Dimension, expr: syntax.Expr | None, wired: bool
    ) -> None:
        item = variable.declaration
        if wired and expr is not None:
            help_text = f"write `{item.name} = {expr.span.text} [{found}]`"
        elif variable.kind == "column":
            help_text = f"write `observe {item.name}: {found} ~ …`, if that is its unit"
        else:
            value = f" = {item.value.span.text}" if item.value is not None else ""
            help_text = f"write `{item.kind} {item.name}: {found}{value}`, if that is its unit"
        decided = self.unifier.decided_at(unresolved)
        self.problems.append(
            Diagnostic(
                "missing-unit",
                f"`{variable.path}` needs a unit: its equations make it {found}",
                Label(
                    expr.span if wired and expr else variable.span, "a bare number is pure" if expr else "has no unit"
                ),
                related=(Label(decided, "decided here"),) if decided else (),
                help=help_text,
            )
        )


def _is_one_unknown(read: Read) -> bool:
    """Whether an equation may give what is read, one number: an array on its other side would give it several times."""
    found = read.what
    if not isinstance(found, Variable) or found.shape:
        return False
    return found.kind == "state" or (found.kind in ("let", "output") and found.value is None)


def replaceshape_text(variable: Variable) -> Variable:
    """The variable as one of its elements, for the items of a list."""
    element = Variable(variable.path, variable.kind, variable.declaration, variable.scope, variable.unit)
    element.dimension, element.wired = variable.dimension, variable.wired
    return element


def _file_variables(system: System) -> list[Variable]:
    return [b for b in _file_bindings(system) if isinstance(b, Variable)]


def _file_networks(system: System) -> list[NetworkUse]:
    return [b for b in _file_bindings(system) if isinstance(b, NetworkUse) and b not in system.networks]


def _file_tables(system: System) -> list[TableUse]:
    return [b for b in _file_bindings(system) if isinstance(b, TableUse)]


def _file_bindings(system: System) -> list[object]:
    seen: dict[int, object] = {}
    scopes = [system.root, *system.parts]
    for scope in scopes:
        if scope.file is not None:
            for binding in scope.file.names.values():
                seen.setdefault(id(binding), binding)
    return list(seen.values())
