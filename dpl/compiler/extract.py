"""One block, or one network, as a function by itself: its inputs in, its outputs out, its states from tick to tick.

The block's equations are taken out of the system it stands in: its inputs are cut from what they are wired to, and
what its params are set to comes along. What such a function cannot know (the scenario's time, states that move
between ticks, what lies outside) is refused here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from typing import Any

from dpl.compiler import ir
from dpl.compiler.algebra import (
    INFINITY,
    ONE,
    TIME,
    ZERO,
    Expr,
    Symbol,
    by_name,
    free,
    function_name,
    is_compound,
    next_of,
    number,
    opaque,
    points_of,
    sp,
    symbol,
    weights_of,
)
from dpl.compiler.equations import CausalSystem, causal_system
from dpl.compiler.shapes import Shapes
from dpl.compiler.simplify import Hoisting, share
from dpl.compiler.slices import sliced
from dpl.compiler.start import Value, literal_value
from dpl.compiler.symbolic import Translator
from dpl.compiler.vectors import Vectors
from dpl.language import syntax
from dpl.language.balance import Structure
from dpl.language.depend import reads
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.model import Equation, NetworkUse, Scope, Scoped, System, TableUse, Variable
from dpl.language.source import Span
from dpl.language.units import Unit


@dataclass(frozen=True)
class Quantity:
    """What goes in or comes out, in its declared unit. `name` is as in the text, within the block."""

    symbol: Symbol
    name: str
    unit: Unit
    shape: tuple[int, ...] = ()
    default: Value | None = None
    """Of an input or param [SI], as declared; None where it must be given"""


@dataclass(frozen=True)
class Extract:
    """A block's function: of `inputs` and `states` [declared units], straight through `body`, to its results.

    `fixed` computes what depends on params and weights alone. Each quantity's symbol is what the caller gives.
    """

    name: str
    doc: str | None
    span: Span
    """Where it is declared"""
    period: Fraction | None
    inputs: tuple[Quantity, ...]
    states: tuple[Quantity, ...]
    outputs: tuple[Quantity, ...]
    params: tuple[Quantity, ...]
    networks: tuple[NetworkUse, ...]
    tables: tuple[TableUse, ...]
    fixed: tuple[ir.Statement, ...]
    body: tuple[ir.Statement, ...]
    results: tuple[Expr, ...]
    """Of `outputs` [declared units]"""
    following: tuple[Expr, ...]
    """Of `states` at the next tick [declared units]"""
    starts: tuple[Expr, ...] | None
    """Of `states` [declared units]; None where each run says where they start"""
    shapes: Shapes
    prefix: str
    """What the paths of the block's own names begin with"""
    moves: bool = False
    """A model's motion: `states` move in continuous time, `following` are their rates [declared units per second], and
    `params` are arguments too"""

    def local(self, path: str) -> str:
        """A path as the block itself has it."""
        return path.removeprefix(self.prefix)

    def symbols(self) -> list[Symbol]:
        """Every symbol of the statements, in a fixed order."""
        found: set[Symbol] = set(free((*self.results, *self.following, *(self.starts or ()))))
        for statement in (*self.fixed, *self.body):
            found |= {*free(ir.expressions(statement)), *ir.targets(statement)}
        return by_name(found - {TIME, INFINITY})


# ---------------------------------------------------------------- a block


def extract_block(system: System, root: Scope) -> Extract:
    """The function of the part `root` of a system, or of a model by itself; of a model that moves its right-hand side.

    Raises:
        CompileError: it is no function of its inputs and states.
    """
    assert isinstance(root.item, syntax.Model)
    cut = _cut(system, root)
    moves = root.item.kind == "model" and any(_moving(v, root) for v in cut.variables)
    _refuse_rates(cut, root, moves)
    period = _period(cut, root)
    causal = causal_system(cut)
    translator = causal.translator
    inputs = _inputs(cut, root)
    orders = translator.structure.orders
    states = [
        (v, k) for v in cut.variables for k in range(orders.get(v, 1)) if v.kind == "state" and _within(v.scope, root)
    ]
    outputs = [v for v in cut.variables if v.kind == "output" and v.scope is root]
    entries: list[ir.Statement] = []
    given = tuple(_given(v, translator, entries) for v in inputs)
    kept = tuple(_kept(v, translator, entries, k) for v, k in states)
    settable = [v for v in cut.variables if v.kind == "param"] if moves else []
    params = tuple(_kept(v, translator, entries) for v in settable)
    symbols = [q.symbol for q in (*given, *kept, *params)]
    found = _Function(causal, entries, [*symbols, TIME] if moves else symbols, params if moves else None)
    for raw, variable in zip(symbols, (*inputs, *(v for v, _ in states), *settable), strict=True):
        found.shapes.learn(raw, translator.symbol(variable))
    results = [found.value(translator.symbol(v), v) for v in outputs]
    following = [
        found.value(translator.symbol(v, k + 1) if moves else next_of(translator.symbol(v)), v) for v, k in states
    ]
    prefix = f"{root.path}." if root.path else ""
    return found.extract(
        results,
        following,
        [found.start(v) if k == 0 else ZERO for v, k in states],
        name=root.item.name,
        doc=root.item.doc,
        span=root.item.name_span,
        period=period,
        inputs=tuple(_local(q, prefix) for q in given),
        states=tuple(_local(q, prefix) for q in kept),
        outputs=tuple(_local(Quantity(translator.symbol(v), v.path, v.display, v.shape), prefix) for v in outputs),
        prefix=prefix,
        moves=moves,
    )


def _moving(variable: Variable, root: Scope) -> bool:
    return variable.kind == "state" and variable.clock is None and _within(variable.scope, root)


def _local(quantity: Quantity, prefix: str) -> Quantity:
    return replace(quantity, name=quantity.name.removeprefix(prefix))


def _inputs(system: System, root: Scope) -> list[Variable]:
    return [v for v in system.variables if v.declaration.kind == "input" and v.scope is root]


def _within(scope: Scope, root: Scope) -> bool:
    return not root.path or scope.path == root.path or scope.path.startswith(f"{root.path}.")


def _cut(system: System, root: Scope) -> System:
    """The block's own equations, and the values of outside names that they read; none for its inputs."""
    assert isinstance(root.item, syntax.Model)
    happens = [(e.span, "events") for e in system.events if _within(e.scope, root)]
    happens += [(a.spans[0], "modes") for a in system.automata if _within(a.scope, root)]
    if happens:
        span, what = happens[0]
        message = f"`{root.item.name}` has {what}, which an exported function cannot have yet"
        raise CompileError([Diagnostic("not-supported", message, Label(span, "one of them"))])
    inputs = set(_inputs(system, root))
    own: list[Equation] = []
    outside: dict[Variable, Equation] = {}
    for equation in system.equations:
        scope = equation.target.scope if equation.target is not None else equation.left.scope
        if equation.target in inputs or equation.kind == "initial":
            continue
        if _within(scope, root):
            own.append(equation)
        elif equation.kind == "definition" and equation.target is not None:
            outside[equation.target] = equation
    mine = [v for v in system.variables if _within(v.scope, root)]
    waiting = [e.right for e in own] + [e.left for e in own] + [v.value for v in mine if v.value and v not in inputs]
    met: dict[Variable, None] = {}
    while waiting:
        for read in reads(waiting.pop()):
            if isinstance(read.what, Variable) and read.what not in met and read.what not in inputs:
                met[read.what] = None
                waiting += [outside[read.what].right] if read.what in outside else []
    variables = [v for v in system.variables if v in met or _within(v.scope, root)]
    needed = [e for v, e in outside.items() if v in met]
    return System(
        root.item.name,
        root.item.doc,
        root.item,
        root,
        variables,
        equations=[*needed, *own],
        lagrangians=[found for found in system.lagrangians if _within(found.scope, root)],
        applied=[a for a in system.applied if a.target in mine],
        constraints=[c for c in system.constraints if _within(c.scope, root)],
        time=system.time,
    )


def _given(variable: Variable, translator: Translator, entries: list[ir.Statement]) -> Quantity:
    """An input as the caller gives it; what the block reads is in SI and within its limit."""
    raw = symbol(f"argument {variable.path}")
    value = opaque("argument")(raw) * _scale(variable.display)
    limit = variable.declaration.limit
    if limit is not None:
        ends = [translator.bound(b, variable, limit.unit) for b in (limit.low, limit.high) if b is not None]
        value = opaque("clip")(value, *(*ends, INFINITY)[:2])
    entries.append(ir.Assign(translator.symbol(variable), value, variable.span.origin))
    declared = variable.declaration.value
    default = literal_value(Scoped(declared, variable.scope, variable.unit)) if declared is not None else None
    return Quantity(raw, variable.path, variable.display, variable.shape, default)


def _kept(variable: Variable, translator: Translator, entries: list[ir.Statement], order: int = 0) -> Quantity:
    """A state as it was returned at the tick before, or what the caller of a right-hand side gives."""
    found = raw = translator.symbol(variable, order)
    path = variable.path + "'" * order
    if variable.display.scale != 1:
        raw = symbol(f"argument {path}")
        entries.append(ir.Assign(found, raw * _scale(variable.display), variable.span.origin))
    return Quantity(raw, path, rate_unit(variable.display, order), variable.shape)


def rate_unit(unit: Unit, order: int = 1) -> Unit:
    """The unit of the derivative, in seconds."""
    if not order:
        return unit
    bracketed = f"({unit.text})" if set(unit.text) & set("/*") else unit.text or "1"
    return rate_unit(Unit(unit.dimension, unit.scale, f"{bracketed}/s"), order - 1)


def _scale(unit: Unit) -> Expr:
    return number(unit.scale)


# ---------------------------------------------------------------- a network


def extract_network(use: NetworkUse, system: System) -> Extract:
    """The function of a network, in the units of its ports."""
    causal = causal_system(System(use.item.name, None, system.item, use.scope))
    causal.translator.networks[use.path] = use
    units = {p.name: p.unit or Unit() for p in (*use.inputs, *use.outputs)}
    inputs = tuple(Quantity(symbol(f"argument {p.name}"), p.name, units[p.name], p.shape) for p in use.inputs)
    given = (opaque("argument")(q.symbol) * _scale(q.unit) for q in inputs)
    call = opaque(f"network {use.path}")(weights_of(use.path), *given)
    found = _Function(causal, [], [q.symbol for q in inputs])
    for quantity in inputs:
        found.shapes.learn(quantity.symbol, opaque("zeros")(*map(sp.Integer, quantity.shape)))
    return found.extract(
        [opaque("result")(call, sp.Integer(i)) / _scale(units[p.name]) for i, p in enumerate(use.outputs)],
        [],
        [],
        name=use.item.name,
        doc=None,
        span=use.item.name_span,
        period=None,
        inputs=inputs,
        states=(),
        outputs=tuple(Quantity(symbol(f"output {p.name}"), p.name, units[p.name], p.shape) for p in use.outputs),
        prefix="",
    )


# ---------------------------------------------------------------- what both have


class _Function:
    """The statements of a function, told apart by what they depend on."""

    def __init__(
        self,
        causal: CausalSystem,
        entries: list[ir.Statement],
        arguments: list[Symbol],
        params: tuple[Quantity, ...] | None = None,
    ):
        self.causal, self.translator = causal, causal.translator
        self.shapes = Shapes(self.translator)
        vectors = Vectors(self.shapes)
        self.statements = [*entries, *(ir.mapped(s, lambda e: exact(vectors(e))) for s in causal.statements)]
        self.arguments = set(arguments)
        declared = [v for v in causal.system.variables if v.kind == "param"]
        self.params = tuple(map(self.param, declared)) if params is None else params
        self.inputs = {q.symbol for q in self.params} if params is None else set[Symbol]()
        self.inputs |= {weights_of(path) for path in self.translator.networks}
        self.inputs |= {points_of(path) for path in self.translator.tables}
        self.fixed = set(self.inputs)
        for statement in self.statements:
            if ir.reads(statement) <= self.fixed:
                self.fixed |= set(ir.targets(statement))

    def value(self, found: Symbol, variable: Variable) -> Expr:
        """What a symbol stands for, in the declared unit of its variable."""
        return exact(self.causal.aliased(found)) / _scale(variable.display)

    def start(self, state: Variable) -> Expr | None:
        """Where a state starts, in its declared unit; None where the run says so."""
        if state.value is None:
            return None
        start = self.causal.aliased(self.translator.indexed.of_variable(state, state.value))
        value = exact(Vectors(self.shapes)(start))
        if not self.fixed.issuperset(free([value])):
            return None
        if state.shape and self.shapes.of(value) != state.shape:
            value = opaque("full")(value, *map(sp.Integer, state.shape))
        return value / _scale(state.display)

    def extract(
        self, results: list[Expr], following: list[Expr], starts: list[Expr | None], *, name: str, **rest: Any
    ) -> Extract:
        """The function that returns `results` and `following`."""
        known = {*self.arguments, *self.fixed}
        body = sliced(self.statements, (*results, *following), known)
        _refuse(body, [*results, *following], known, self.causal, name)
        hoisting = Hoisting(frozenset(self.fixed))
        body = [ir.mapped(s, hoisting.hoist) for s in body]
        returns = [hoisting.hoist(e) for e in (*results, *following)]
        hoisted = [ir.Assign(s, e) for s, e in hoisting.named()]
        begin = [e for e in starts if e is not None]
        wanted = [e for s in body for e in ir.expressions(s)] + returns + begin
        fixed = sliced([*self.statements, *hoisted], wanted, self.inputs | self.targets(body) | self.arguments)
        _refuse(fixed, [], known, self.causal, name)
        body, returns = share(body, returns)
        for assign in (*fixed, *body):
            if isinstance(assign, ir.Assign):
                self.shapes.learn(assign.target, assign.value)
        read = {s for f in (*fixed, *body) for s in ir.reads(f)} | free((*returns, *begin))
        return Extract(
            name,
            params=tuple(q for q in self.params if q.symbol in read),
            networks=tuple(u for p, u in self.translator.networks.items() if weights_of(p) in read),
            tables=tuple(t for p, t in self.translator.tables.items() if points_of(p) in read),
            fixed=tuple(fixed),
            body=tuple(body),
            results=tuple(returns[: len(results)]),
            following=tuple(returns[len(results) :]),
            starts=tuple(begin) if len(begin) == len(starts) else None,
            shapes=self.shapes,
            **rest,
        )

    def param(self, variable: Variable) -> Quantity:
        value = literal_value(variable.value) if variable.value is not None else None
        return Quantity(self.translator.symbol(variable), variable.path, variable.display, variable.shape, value)

    @staticmethod
    def targets(body: Sequence[ir.Statement]) -> set[Symbol]:
        return {t for s in body for t in ir.targets(s)}


def exact(expr: Expr) -> Expr:
    """The expression without what matters to derivatives only: chosen ones, and guards of branches not taken."""
    if not expr.args:
        return expr
    name, args = function_name(expr), [exact(a) for a in expr.args]
    if name == "straight_through":
        return args[0]
    if name == "pick":
        args[2] = ONE
    if name == "choose":
        args = [args[0], _taken(args[1], args[0], 1), _taken(args[2], args[0], 2)]
    return expr.func(*args)


def _taken(expr: Expr, condition: Expr, branch: int) -> Expr:
    """The expression where the condition is known to hold (branch 1), or not to (2)."""
    if not expr.args:
        return expr
    if function_name(expr) == "choose" and expr.args[0] == condition:
        return _taken(expr.args[branch], condition, branch)
    return expr.func(*(_taken(a, condition, branch) for a in expr.args))


# ---------------------------------------------------------------- refusals


def _period(system: System, root: Scope) -> Fraction | None:
    clocks = {v.clock.period: v.clock for v in system.variables if v.clock and _within(v.scope, root)}
    if len(clocks) > 1:
        first, second, *_ = clocks.values()
        message = f"`{system.name}` holds blocks of several periods: one function cannot be called at all of them"
        related = (Label(first.span, "another period"),)
        raise CompileError([Diagnostic("not-exportable", message, Label(second.span, "one period"), related)])
    return next(iter(clocks), None)


def _refuse_rates(system: System, root: Scope, moves: bool) -> None:
    """A function that is called now and then knows no motion in between, and a right-hand side no ticks."""
    problems: list[Diagnostic] = []
    for variable in system.variables:
        if moves and variable.clock is not None and _within(variable.scope, root):
            message = f"`{system.name}` cannot be exported: it holds both states that move and blocks on clocks"
            label = Label(variable.clock.span, "on a clock")
            way_out = "export the plant and the controller, each by its own name"
            raise CompileError([Diagnostic("not-exportable", message, label, help=way_out)])
        if not moves and _moving(variable, root):
            message = f"`{system.name}` cannot be exported: its state `{variable.path}` moves between calls"
            way_out = "put the block on a clock (`every 10 [ms]`) and let its states advance by `next`"
            label = Label(variable.span, "a continuous state")
            problems.append(Diagnostic("not-exportable", message, label, help=way_out))
    for variable in (v for v in system.variables if v.noise and _within(v.scope, root)):
        message = f"`{system.name}` cannot be exported: it draws the noise `{variable.path}`"
        way_out = "make it an `input`, with 0 where it is not wired, and declare the noise in the scenario"
        problems.append(Diagnostic("not-exportable", message, Label(variable.span, "drawn here"), help=way_out))
    inputs = set(_inputs(system, root))
    structure = Structure(system)
    for equation in system.equations:
        for variable in sorted({v for v, n in structure.derivatives(equation) if n and v in inputs}, key=_path):
            message = f"`{system.name}` cannot be exported: it reads the time derivative of its input `{variable.path}`"
            way_out = "put the block on a clock and take a difference: `(x - last)/period`, with `next last = x`"
            related = (Label(variable.span, "the input"),)
            label = Label(equation.span, "differentiates it")
            problems.append(Diagnostic("not-exportable", message, label, related, way_out))
    if not moves and not any(v.kind == "output" and v.scope is root for v in system.variables):
        message = f"`{system.name}` cannot be exported: it has no output"
        label = Label(_name_span(root), "declares none")
        problems.append(Diagnostic("not-exportable", message, label, help="write `output y = …`"))
    if problems:
        raise CompileError(problems)


def _path(variable: Variable) -> str:
    return variable.path


def _name_span(root: Scope) -> Span:
    assert isinstance(root.item, syntax.Model)
    return root.item.name_span


def _refuse(
    statements: Iterable[ir.Statement], results: list[Expr], known: set[Symbol], causal: CausalSystem, name: str
) -> None:
    """What the function would have to know, and how its unknowns are found."""
    body = list(statements)
    for statement in body:
        target = causal.translator.quantities.get(ir.targets(statement)[0])
        arrays = isinstance(statement, ir.Solve) and target is not None and target[0].shape
        if target is not None and (isinstance(statement, ir.Root) or arrays):
            how = "by Newton's method" if isinstance(statement, ir.Root) else "together with another array"
            message = f"`{name}` cannot be exported: `{target[0].path}` is found {how}"
            label = Label(target[0].span, "determined by an equation that was not solved for it")
            raise CompileError([Diagnostic("not-exportable", message, label, help="write a formula for it")])
    read = {s for f in body for s in ir.reads(f)} | free(results)
    lacking = by_name(read - known - {t for s in body for t in ir.targets(s)} - {INFINITY})
    lacking = [s for s in lacking if is_compound(s)] or lacking  # that data are read along time is said once
    if lacking:
        raise CompileError([_unknown(s, causal, name) for s in lacking])


def _unknown(found: Symbol, causal: CausalSystem, name: str) -> Diagnostic:
    system = causal.system
    sides = chain.from_iterable((e.left, e.right) for e in system.equations)
    if found == TIME:
        span = next((s.span for s in sides if any(r.what == "time" for r in reads(s))), _name_span(system.root))
        message = f"`{name}` cannot be exported: it depends on the time of the run"
        way_out = "give it an `input` that says so, or count ticks: `state t: s = 0` and `next t = t + period`"
        return Diagnostic("not-exportable", message, Label(span, "reads `time`"), help=way_out)
    column = next((v for p, v in causal.translator.signals.items() if points_of(p) == found), None)
    variable, order = (column, 0) if column is not None else causal.translator.quantities[found]
    path = variable.path + "'" * order
    message = f"`{name}` cannot be exported: it depends on `{path}`, which is neither an input nor a param of it"
    reader = next((s for s in sides if any(r.what is variable for r in reads(s))), None)
    label = Label(reader.span, "reads it") if reader else Label(variable.span, "declared here")
    related = (Label(variable.span, "declared here"),) if reader else ()
    return Diagnostic("not-exportable", message, label, related, help="make it an `input`")
