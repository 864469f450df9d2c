"""Blocks into flat systems: parts are made, inputs wired, every statement given its role.

What a system holds afterwards is complete: each variable knows the scope in which its text is read, each equation its
clock. Constructs that the compiler does not support are refused here, by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import assert_never

from dpl.language import syntax
from dpl.language.assembly import never_wired, not_settable
from dpl.language.constants import BadConstant, NotConstant, is_infinite
from dpl.language.coverage import check_coverage
from dpl.language.data import Datasets
from dpl.language.diagnostics import Diagnostic, Label, unsupported, with_article
from dpl.language.indices import index_scope
from dpl.language.inherit import bodies
from dpl.language.model import (
    Binding,
    During,
    Equation,
    Event,
    FunctionUse,
    Measure,
    NetworkUse,
    Observation,
    Scope,
    Scoped,
    System,
    TableUse,
    Variable,
    target_of,
)
from dpl.language.observe import observation, row_scope
from dpl.language.pieces import Gathering, declared_pieces
from dpl.language.reach import first_value
from dpl.language.resolve import Namespace, duplicate_name
from dpl.language.source import Span
from dpl.language.units import read_unit


def elaborate(
    item: syntax.Scenario | syntax.Model, space: Namespace, datasets: Datasets, problems: list[Diagnostic]
) -> System:
    """The system of a scenario, or of a model by itself."""
    return _Elaborator(item, problems, datasets=datasets).build(space)


@dataclass
class _Elaborator(Gathering):
    datasets: Datasets = field(kw_only=True)
    files: dict[int, Scope] = field(default_factory=dict[int, Scope])
    statements: list[tuple[Scope, syntax.Statement, During | None]] = field(
        default_factory=list["tuple[Scope, syntax.Statement, During | None]"]
    )

    def build(self, space: Namespace) -> System:
        item = self.item
        root = Scope("", item, None)
        self.system = System(item.name, item.doc, item, root)
        root.file = self.file_scope(space)
        if isinstance(item, syntax.Model):
            root.clock = self.clock(item.every, root)
        inherited, own = bodies(item, space, self.problems)
        self.declare(root, inherited, space, None)
        self.declare(root, own, space, None)
        self.finished.append(root)
        self.energies()
        for variable in sorted(self.system.variables, key=lambda v: v.kind != "const"):
            self.complete(variable)
        for outer, part, child in self.wirings:
            for argument in part.arguments:
                self.construct(argument, outer, child, part)
        overriding = {id(statement) for statement in own} if inherited else set[int]()
        for scope, statement, during in self.statements:
            self.state(scope, statement, during, overrides=id(statement) in overriding)
        self.settle_pieces()
        self.settle_events()
        self.check_mechanics()
        for variable in self.system.variables:
            if variable.noise:
                self.noise(variable)
            self.define(variable)
        return self.system

    # ------------------------------------------------------------ names

    def file_scope(self, space: Namespace) -> Scope:
        """The names of a file, as this system sees them: consts, params, networks and functions become its own."""
        if id(space) in self.files:
            return self.files[id(space)]
        scope = self.files[id(space)] = Scope("", space.file, None, broken=frozenset(space.broken))
        variables: list[Variable] = []
        for name, (item, home) in space.names.items():
            if home is not space:
                binding = self.file_scope(home).names.get(name)
                if binding is not None:
                    scope.names[name] = binding
                continue
            match item:
                case syntax.Declaration():
                    if item.kind not in ("const", "param", "let"):
                        self.problems.append(
                            Diagnostic(
                                "misplaced",
                                f"`{item.kind}` belongs in a model or scenario",
                                Label(item.span, "stands outside any block"),
                            )
                        )
                        continue
                    variables.append(self.variable(item, scope))
                case syntax.Function():
                    scope.names[name] = FunctionUse(item, scope)
                case syntax.Network():
                    scope.names[name] = NetworkUse(name, item, scope)
                case syntax.Task() if id(item) in self.datasets.made:
                    scope.names[name] = self.datasets.made[id(item)].scope
                case syntax.Model() | syntax.Scenario() | syntax.Task():
                    scope.names[name] = item
                case syntax.Table():
                    scope.names[name] = TableUse(name, item, scope, self.datasets.of_table(item))
                case syntax.Data():
                    scope.names[name] = self.datasets.use(item).scope
                case syntax.Import():
                    raise AssertionError("an import declares no item: a bug in DPL")
                case _:
                    assert_never(item)
        for variable in sorted(variables, key=lambda v: v.kind != "const"):
            self.complete(variable)
        for variable in variables:
            self.define(variable)
        return scope

    def declare(self, scope: Scope, body: list[syntax.Statement], space: Namespace, during: During | None) -> None:
        """Give every declared name of a block its meaning; keep the other statements for later."""
        if scope.axes:
            alone = [s for s in body if isinstance(s, ALONE)]
            self.problems += [not_in_array(s, scope) for s in alone[:1]]
            body = [s for s in body if s not in alone]
        consts = [s for s in body if isinstance(s, syntax.Declaration) and s.kind == "const"]
        known = {id(s): self.variable(s, scope) for s in consts}  # before the parts, which may be as many as one says
        for statement in body:
            match statement:
                case syntax.Declaration() if id(statement) in known:
                    self.system.variables.append(known[id(statement)])
                case syntax.Declaration():
                    self.declared(statement, scope, during)
                case syntax.Network():
                    use = NetworkUse(scope.join(statement.name), statement, scope)
                    self.bind(scope, statement.name, statement.name_span, use)
                    self.system.networks.append(use)
                case syntax.Table():
                    use = TableUse(scope.join(statement.name), statement, scope, self.datasets.of_table(statement))
                    self.bind(scope, statement.name, statement.name_span, use)
                    self.system.tables.append(use)
                case syntax.Function():
                    self.bind(scope, statement.name, statement.name_span, FunctionUse(statement, scope))
                case syntax.Measure():
                    if not isinstance(scope.item, syntax.Scenario):
                        self.misplaced(f"`{statement.kind}` belongs in a scenario", statement.name_span)
                        continue
                    unit = read_unit(statement.unit, self.problems) if statement.unit else None
                    measure = Measure(statement, scope, unit)
                    self.bind(scope, statement.name, statement.name_span, measure)
                    self.system.measures.append(measure)
                case syntax.Part():
                    if during is not None:
                        way_out = "declare it outside the modes: a part is there all the time"
                        self.misplaced("a part belongs in a block, not in one of its modes", statement.span, way_out)
                    self.part(statement, scope, space)
                case syntax.GivenRow():
                    row = row_scope(statement, scope, self.system, self.problems)
                    self.bind(scope, statement.name, statement.name_span, row)
                case syntax.Mode():
                    self.mode(statement, scope, space, during)
                case syntax.When() | syntax.Timed():
                    self.event(statement, scope, during)
                case syntax.Lagrangian():
                    self.lagrangian(statement, scope, during)
                case syntax.Constraint():
                    self.constraint(statement, scope, during)
                case _:
                    self.statements.append((scope, statement, during))

    def bind(self, scope: Scope, name: str, span: Span, binding: Binding | Scope) -> None:
        if name in scope.names:
            self.problems.append(duplicate_name(name, span, _span_of(scope.names[name])))
        scope.names[name] = binding

    def variable(self, item: syntax.Declaration, scope: Scope) -> Variable:
        kind = "let" if item.kind == "noise" else item.kind
        unit = read_unit(item.unit, self.problems) if item.unit else None
        variable = Variable(scope.join(item.name), kind, item, scope, unit)
        if kind == "const" and item.value is not None and not item.indices:
            variable.value = Scoped(item.value, scope, unit)
        self.bind(scope, item.name, item.name_span, variable)
        self.fits_kind(item, scope)
        return variable

    def fits_kind(self, item: syntax.Declaration, scope: Scope) -> None:
        """Refuse what the keyword does not take: a prior on a state, a limit on a param."""
        kind = item.kind
        if kind == "noise":
            self.problems += misfits_of_noise(item)
            return
        if kind == "given" and item.shape:
            way_out = "declare a given for each number, and an array of them: `let g[2] = [g1, g2]`"
            self.problems.append(unsupported("an array of givens is", item.name_span, way_out))
        if kind == "given" and not isinstance(scope.item, syntax.Scenario):
            self.misplaced("`given` belongs in a scenario", item.span)
        if item.prior is not None and kind not in ("param", "given"):
            self.misplaced(f"a distribution belongs on a param or given, not on {with_article(kind)}", item.prior.span)
        if item.limit is not None and kind != "input":
            self.misplaced(
                f"`limit` saturates an input; {with_article(kind)} has a range: `in low..high`", item.limit.span
            )
        if item.log and kind not in ("param", "given", "let"):
            words = "a param, given or let"
            self.misplaced(f"`log` belongs on the range of {words}, not of {with_article(kind)}", item.span)
        if isinstance(item.domain, syntax.List) and not item.domain.items:
            self.problems.append(
                Diagnostic("empty-list", "a list has at least one item", Label(item.domain.span, "has none"))
            )
        if isinstance(item.domain, syntax.List) and kind != "given":
            self.misplaced(f"a list of values belongs on a given, not on {with_article(kind)}", item.domain.span)
        if item.limit_method not in (None, "straight_through"):
            self.misplaced("after a limit only `straight_through` may stand", item.span)
        if kind in ("const",) and item.value is None:
            self.problems.append(
                Diagnostic(
                    "missing-value",
                    f"the const `{item.name}` has no value",
                    Label(item.name_span, "declared here"),
                    help=f"write `const {item.name} = …`, or `param {item.name}` if it may change",
                )
            )

    # ------------------------------------------------------------ values and equations

    def complete(self, variable: Variable) -> None:
        """Read the shape and the declared value."""
        item = variable.declaration
        axes = tuple(index.size for index in variable.scope.axes)
        variable.shape = (*axes, *self.sizes(item.shape, variable.scope, axes))
        if item.kind == "const" and not item.shape and isinstance(item.value, syntax.List):
            variable.shape = (*axes, *_shape_of_list(item.value))
        value = self.declared_value(item, variable)
        if value is not None and not self.several(variable):
            variable.value = Scoped(value, variable.scope, variable.unit)

    def declared_value(self, item: syntax.Declaration, variable: Variable) -> syntax.Expr | None:
        """The value that a declaration writes, of an array each element's."""
        value = declared_pieces(item)
        if item.indices and not item.shape:
            name = item.name
            sizes = ", ".join("n" for _ in item.indices)
            message = f"`{name}` is declared as one number, and given a value for each `{item.indices[0].name}`"
            help_text = f"declare an array: `{item.kind} {name}[{sizes}] = …`"
            self.problems.append(Diagnostic("not-an-array", message, Label(item.name_span), help=help_text))
            return syntax.Number(Fraction(0), span=item.value.span if item.value else item.span)
        if isinstance(value, syntax.Pieces):
            check_coverage(value.pieces, variable, variable.scope, "{}", self.problems)
        return value

    def noise(self, variable: Variable) -> None:
        """A noise is worth what is drawn at each tick of its own clock, which is also the `period` of its arguments."""
        item, scope = variable.declaration, variable.scope
        variable.drawn = self.clock(item.every, scope)
        inner = Scope(scope.path, scope.item, scope, variable.clock, axes=scope.axes)
        variable.value = Scoped(item.prior or syntax.Number(Fraction(0), span=item.span), inner, variable.unit)

    def define(self, variable: Variable) -> None:
        """The equation that a value implies, if it does."""
        value = variable.value
        if variable.kind == "input" and value is None and self.system.closed:
            if variable.scope not in self.misbuilt and variable.declaration.kind == "input":
                self.problems.append(never_wired(variable))
            value = variable.value = Scoped(syntax.Number(Fraction(0), span=variable.span), variable.scope)
        bound = variable.kind == "param" and value is not None and variable.wired is not None
        if bound and value is not None and not _is_constant(value):
            variable.kind = "let"
        if self.several(variable):
            self.system.equations += self.values_by_mode(variable)
        if value is None or variable.kind in ("param", "given", "state"):
            return
        left = Scoped(syntax.Name(variable.declaration.name, span=variable.span), variable.scope)
        during = variable.during
        self.system.equations.append(Equation("definition", left, value, variable.clock, variable, during))

    def state(self, scope: Scope, statement: syntax.Statement, during: During | None, *, overrides: bool) -> None:
        """A statement that declares nothing."""
        match statement:
            case syntax.Equation(left, right):
                if not self.element_equation(scope, statement, during, overrides=overrides):
                    self.equation(scope, left, right, statement, during, overrides=overrides)
            case syntax.Next(target, value):
                if not self.element_next(scope, statement, during):
                    self.next(scope, target, value, statement, during)
            case syntax.Run():
                self.run(scope, statement)
            case syntax.Applied():
                self.applied(statement, scope, during)
            case syntax.Observe():
                found = observation(statement, scope, self.system, self.problems)
                if found is not None:
                    self.system.observations.append(found)
                    if found.column is None:
                        self.bind(scope, found.name, statement.target.span, found)
            case (
                syntax.Declaration()
                | syntax.Function()
                | syntax.Network()
                | syntax.GivenRow()
                | syntax.Table()
                | syntax.Part()
                | syntax.Measure()
                | syntax.Mode()
                | syntax.When()
                | syntax.Timed()
                | syntax.Lagrangian()
                | syntax.Constraint()
            ):
                raise AssertionError("a declaration among the statements: a bug in DPL")
            case _:
                assert_never(statement)

    def run(self, scope: Scope, statement: syntax.Run) -> None:
        runs = [s for where, s, _ in self.statements if isinstance(s, syntax.Run) and where is scope]
        if not isinstance(scope.item, syntax.Scenario):
            self.misplaced("`run` belongs in a scenario", statement.span)
        elif runs[0] is not statement:
            self.problems.append(
                Diagnostic(
                    "duplicate-run",
                    "a scenario runs once",
                    Label(statement.span, "said again here"),
                    related=(Label(runs[0].span, "first said here"),),
                )
            )
        else:
            self.system.run_item = statement
            if statement.until is not None and not isinstance(statement.until, syntax.Stop):
                self.run_until(statement.until, scope)

    def equation(
        self,
        scope: Scope,
        left: syntax.Expr,
        right: syntax.Expr,
        statement: syntax.Equation,
        during: During | None,
        *,
        overrides: bool,
    ) -> None:
        if isinstance(left, syntax.Call) and left.function == syntax.Name("initial", span=left.span):
            inner = [a.value for a in left.arguments]
            if len(inner) != 1:
                self.problems.append(
                    Diagnostic("wrong-arguments", "`initial(…)` takes one expression", Label(left.span, "called here"))
                )
                return
            if during is not None:
                self.misplaced("a run starts once: `initial` stands outside the modes", statement.span)
            self.system.equations.append(Equation("initial", Scoped(inner[0], scope), Scoped(right, scope), None))
            return
        target = target_of(left, scope)
        outer = isinstance(left, syntax.Member)
        settable = ("param", "const", "state") if overrides else ("param", "const")
        if target and (target.kind == "input" or (outer and target.kind in settable)):
            if during is not None:
                way_out = f"declare a `let` in each mode, and outside them write `{left.span.text} = …` of that"
                self.misplaced(f"`{target.path}` is set once for all modes", statement.span, way_out)
            elif target.kind == "const":
                self.problems.append(not_settable(target, left.span))
            else:
                unit = target.unit if target.kind in ("param", "state") else None
                self.set(target, Scoped(right, scope, unit), statement.span, overrides=overrides)
            return
        equation = Equation("equation", Scoped(left, scope), Scoped(right, scope), scope.clock, None, during)
        self.system.equations.append(equation)

    def next(
        self, scope: Scope, target: syntax.Expr, value: syntax.Expr, statement: syntax.Next, during: During | None
    ) -> None:
        variable = target_of(target, scope)
        if self.advances(variable, statement) and variable is not None:
            left, right = Scoped(target, scope), Scoped(value, scope)
            self.system.equations.append(Equation("next", left, right, variable.clock, variable, during))

    def advances(self, variable: Variable | None, statement: syntax.Next) -> bool:
        """Whether the variable is a state that `next` moves; reported if it is not."""
        if variable is None or variable.kind != "state":
            self.problems.append(
                Diagnostic(
                    "next-target",
                    "`next` sets a state of a sampled block",
                    Label(statement.target.span, "is not a state of this block"),
                )
            )
            return False
        if variable.clock is None:
            self.problems.append(
                Diagnostic(
                    "next-unsampled",
                    f"`{variable.path}` lives in continuous time and has no next value",
                    Label(statement.span, "said here"),
                    help="give the block a clock, as in `model Plant every 10 [ms]`, or write a derivative: "
                    f"`{variable.declaration.name}' = …`",
                )
            )
            return False
        return True


ALONE = syntax.Mode | syntax.When | syntax.Timed | syntax.Lagrangian | syntax.Applied | syntax.Constraint
"""What parts of an array do not have: it would happen to each of them at another time"""


def not_in_array(statement: syntax.Statement, scope: Scope) -> Diagnostic:
    what = "modes" if isinstance(statement, syntax.Mode) else "events"
    if isinstance(statement, syntax.Lagrangian | syntax.Applied | syntax.Constraint):
        what = "a Lagrangian or constraints"
    model = scope.item.name if isinstance(scope.item, syntax.Model) else scope.path
    return Diagnostic(
        "not-in-array",
        f"an array of parts is of models with equations alone, and `{model}` has {what}",
        Label(scope.span or statement.span, "an array of parts"),
        related=(Label(statement.span, "stands here"),),
        help=f"make parts one by one, `part one = {model}(…)`, or leave this out of the model",
    )


def _shape_of_list(expr: syntax.Expr) -> tuple[int, ...]:
    return (len(expr.items), *_shape_of_list(expr.items[0])) if isinstance(expr, syntax.List) and expr.items else ()


def _is_constant(value: Scoped) -> bool:
    if is_infinite(value.expr) or isinstance(value.expr, syntax.List):
        return True
    if isinstance(value.expr, syntax.Pieces):
        inner = [(p, index_scope(value.scope, p.indices)) for p in value.expr.pieces]
        return all(_is_constant(Scoped(piece.value, scope)) for piece, scope in inner)
    found = target_of(value.expr, value.scope)
    if found is not None and found.kind == "const":
        return True
    try:
        first_value(value)
    except NotConstant:
        return False
    except BadConstant:
        return True
    return True


def misfits_of_noise(item: syntax.Declaration) -> Iterator[Diagnostic]:
    """What a noise lacks, and what it does not take."""
    name = item.name
    for clause, word in ((item.value, "value of its own"), (item.domain, "range"), (item.limit, "limit")):
        if clause is not None:
            message = f"a noise takes no {word}: it is what its distribution draws"
            way_out = f"give another name to what you make of it: `let other = clip({name}, low, high)`"
            yield Diagnostic("misplaced", message, Label(clause.span, "stands here"), help=way_out)
    declared = Label(item.name_span, "declared here")
    if item.prior is None:
        message = f"the noise `{name}` does not say what it is drawn from"
        yield Diagnostic("missing-clause", message, declared, help=f"write `noise {name} ~ normal(0, 1) every …`")
    if item.every is None:
        message = f"the noise `{name}` does not say how often it is drawn"
        way_out = "write `every 10 [ms]` at its end; what is drawn once in a run is a `given`"
        yield Diagnostic("missing-clause", message, declared, help=way_out)


def _span_of(binding: object) -> Span:
    match binding:
        case Variable():
            return binding.span
        case NetworkUse() | TableUse() | FunctionUse() | Measure():
            return binding.item.name_span
        case Event():
            return (isinstance(binding.item, syntax.When) and binding.item.name_span) or binding.span
        case Observation():
            return binding.item.target.span
        case Scope(span=Span() as span):
            return span
        case syntax.Model() | syntax.Scenario() | syntax.Task():
            return binding.name_span
        case _:
            raise AssertionError("a binding without a place: a bug in DPL")
