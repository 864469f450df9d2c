"""The checked model: every scenario as one flat system of equations over named variables, still as AST.

A `Scope` is one block as it stands in one scenario (a part, the scenario itself, or the names of a file); an
expression means something only together with the scope in which its names are looked up: a `Scoped`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from dpl.language import syntax
from dpl.language.builtins import MethodRow
from dpl.language.diagnostics import Diagnostic
from dpl.language.source import Source, Span
from dpl.language.units import PURE, Dimension, Unit


@dataclass(frozen=True)
class Scoped:
    """An expression and where its names are looked up.

    `unit`: the declared unit in which bare literals of a declaration or construction are read; None elsewhere.
    """

    expr: syntax.Expr
    scope: Scope
    unit: Unit | None = None

    @property
    def span(self) -> Span:
        return self.expr.span


def si_unit(dimension: Dimension) -> Unit:
    """The coherent SI unit of a dimension."""
    return Unit(dimension, Fraction(1), "" if dimension.pure else str(dimension))


@dataclass(frozen=True)
class Clock:
    """A sampled block's period [s] (or a pure number in a file without units), and who declared it."""

    period: Fraction
    span: Span = field(compare=False, repr=False)


@dataclass(eq=False)
class Automaton:
    """The modes of one part (or of the scenario), in the order of their first mention: it begins in the first."""

    path: str
    scope: Scope
    modes: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    """Where each is first named"""

    def __repr__(self) -> str:
        return f"Automaton({self.path or 'scenario'}: {', '.join(self.modes)})"


@dataclass(frozen=True)
class During:
    """While an automaton is in one of these modes."""

    automaton: Automaton
    modes: frozenset[str]


@dataclass(eq=False)
class Variable:
    """One quantity of one part. What a variable equals, if the text says so, is its `value`."""

    path: str
    kind: Literal["const", "param", "given", "state", "input", "output", "let", "column"]
    """A `column` of data is known at the times of its rows; in equations it is a function of time through them"""
    declaration: syntax.Declaration
    scope: Scope
    unit: Unit | None
    value: Scoped | None = None
    """const, let, output: what it equals; param, given: its default; input: what it is wired to; state: its start"""
    folded: Fraction | float | None = None
    """The SI value of a const, once computed"""
    elements: tuple[Fraction | float, ...] | None = None
    """The SI values of a const array, once computed: flat, the last axis fastest"""
    wired: Span | None = None
    """Where construction or an equation set it, if anything did"""
    dimension: Dimension = PURE
    shape: tuple[int, ...] = ()
    record: NetworkUse | None = None
    """The network whose several results this `let` names"""
    during: During | None = None
    """The modes that declare it, if modes do: elsewhere it has no value. A `let` that several blocks of modes declare
    has no `value` but an equation in each of them."""
    energy: Lagrangian | None = None
    """Of the `energy` that comes with a Lagrangian"""
    drawn: Clock | None = None
    """When a noise is drawn anew; its `value` is the call of its distribution"""
    row: Variable | None = None
    """Of a given that is one of `given row from shots`: the column that it is read from"""
    data: DataUse | None = None
    """Of a column: the data that it is of"""

    @property
    def clock(self) -> Clock | None:
        return self.drawn or self.scope.clock

    @property
    def noise(self) -> bool:
        return self.declaration.kind == "noise"

    @property
    def word(self) -> str:
        """What the text calls it."""
        return "noise" if self.noise else self.kind

    @property
    def span(self) -> Span:
        return self.declaration.name_span

    @property
    def display(self) -> Unit:
        """The unit in which the user meets the value: as declared, else coherent SI."""
        return self.unit or si_unit(self.dimension)

    def __repr__(self) -> str:
        return f"Variable({self.kind} {self.path})"


@dataclass(eq=False)
class NetworkUse:
    """A network as one scope owns it; `path` names its weights."""

    path: str
    item: syntax.Network
    scope: Scope
    inputs: tuple[PortType, ...] = ()
    outputs: tuple[PortType, ...] = ()
    options: NetworkOptions | None = None


@dataclass(frozen=True)
class PortType:
    """`low` and `high` are SI values; None where open, infinite allowed for `high`."""

    name: str
    dimension: Dimension
    shape: tuple[int, ...] = ()
    low: float | None = None
    high: float | None = None
    unit: Unit | None = None
    """As declared"""

    @property
    def display(self) -> Unit:
        return self.unit or si_unit(self.dimension)

    @property
    def scale(self) -> float:
        """The SI value of one declared unit."""
        return float(self.unit.scale) if self.unit else 1.0


@dataclass(frozen=True)
class FreeLet:
    """A `let` that a task frees from its equation, or the one of a network's several results that it names."""

    variable: Variable
    port: PortType | None = None

    @property
    def path(self) -> str:
        return f"{self.variable.path}.{self.port.name}" if self.port else self.variable.path

    @property
    def dimension(self) -> Dimension:
        return (self.port or self.variable).dimension

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.port or self.variable).shape

    @property
    def display(self) -> Unit:
        return (self.port or self.variable).display

    @property
    def span(self) -> Span:
        return self.variable.span


@dataclass(frozen=True)
class NetworkOptions:
    hidden: tuple[int, ...] = (32, 32)
    activation: str = "tanh"
    start_zero: bool = False


@dataclass(eq=False)
class FunctionUse:
    """A user's `fn` and the scope in which its body is read."""

    item: syntax.Function
    scope: Scope


@dataclass(eq=False)
class DataUse:
    """Data as they were read: from a file, from the text, or (`item` a task) still to be made by a `record`.

    `scope` has a variable of kind `column` for every column: what `pelts.hare` means.
    """

    item: syntax.Data | syntax.Task
    scope: Scope
    time: str | None = None
    """The name of the column that holds it, as that of the group"""
    group: str | None = None
    groups: tuple[str, ...] = ()
    """The labels of the groups in the order of their first mention"""
    columns: dict[str, tuple[float, ...]] = field(default_factory=dict[str, "tuple[float, ...]"])
    """SI values by column, NaN where missing; of the group column indices in `groups`. Rows are sorted by group, then
    by time."""
    place: Callable[[int, str], Span] | None = field(default=None, repr=False)
    """place(row, column) -> where the cell stands; None of what is still to be made"""
    broken: bool = False
    """Whether something is wrong with them, which is told already"""

    @property
    def name(self) -> str:
        return self.item.name

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    @property
    def runs(self) -> int:
        """How many runs of a scenario it is of."""
        return len(self.groups) if self.group else 1 if self.time else self.rows


@dataclass(eq=False)
class TableUse:
    """A table as one scope owns it: SI values at ascending knots."""

    path: str
    item: syntax.Table
    scope: Scope
    data: DataUse | None = None
    """Of points that are read from a file"""
    input: PortType = PortType("", PURE)
    output: PortType = PortType("", PURE)
    knots: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    using: str = "linear"


@dataclass(eq=False)
class Observation:
    """`observe pelts.hare ~ lognormal(hare, σ) below 0.1`; `data` and `column` are None of a sensor.

    `arguments` follow the distribution's row; `estimated`: its scale is left out.
    """

    item: syntax.Observe
    scope: Scope
    name: str
    distribution: str
    arguments: tuple[Scoped, ...]
    data: DataUse | None = None
    column: Variable | None = None
    unit: Unit | None = None
    dimension: Dimension = PURE
    timed: bool = False
    """Whether it is observed along the run; else once in a run, as losses are"""
    estimated: bool = False
    below: Scoped | None = None
    above: Scoped | None = None

    @property
    def display(self) -> Unit:
        return self.unit or si_unit(self.dimension)

    @property
    def span(self) -> Span:
        return self.item.span


@dataclass(eq=False)
class Measure:
    """A loss or metric of a scenario."""

    item: syntax.Measure
    scope: Scope
    unit: Unit | None
    dimension: Dimension = PURE

    @property
    def display(self) -> Unit:
        return self.unit or si_unit(self.dimension)


@dataclass(frozen=True)
class Square:
    """`weight` times the square of `base`: one term of an objective.

    `measure`: the loss in whose text it stands, as its `number`-th square; None in the task's own.
    """

    base: Scoped
    weight: float = 1.0
    measure: Measure | None = None
    number: int = 0

    @property
    def key(self) -> str:
        """The name of a loss's square among the results of a run."""
        return f"{self.measure.item.name} square {self.number}" if self.measure else ""


@dataclass(eq=False)
class Bound:
    """A parameter of a `fn`, standing for the argument of one call."""

    value: Scoped


@dataclass(eq=False)
class Index:
    """An index while what it counts is read: every whole number from `low` to `high`."""

    name: str
    low: int
    high: int
    span: Span = field(repr=False)

    @property
    def size(self) -> int:
        return self.high - self.low + 1


@dataclass(eq=False)
class Scope:
    """The names of one block in one place. `file` holds the file-level names; None in a file's own scope.

    The names of a constraint are one: its `force`. Those of data, and of a row of them, are its columns.
    """

    path: str
    item: (
        syntax.Model | syntax.Scenario | syntax.File | syntax.Function | syntax.Constraint
        | syntax.Data | syntax.GivenRow | syntax.Task
    )  # fmt: skip
    file: Scope | None
    clock: Clock | None = None
    span: Span | None = None
    """Where a part is made"""
    names: dict[str, Binding | Scope] = field(default_factory=dict[str, "Binding | Scope"])
    broken: frozenset[str] = frozenset()
    """Names that a failed import should have brought"""
    data: DataUse | None = field(default=None, repr=False)
    """Of the names of data, and of a row of them"""

    axes: tuple[Index, ...] = ()
    """Of an array of parts, or what is in one: the index of each axis, outermost first. Every quantity of the scope has
    these axes before its own, and every expression in it means one part at a time."""
    within: dict[int, tuple[tuple[syntax.IndexSet, ...], Scope]] = field(
        default_factory=dict[int, "tuple[tuple[syntax.IndexSet, ...], Scope]"], repr=False
    )
    """The scopes inside this one in which indices are bound, by the identity of what binds them"""

    def is_broken(self, name: str) -> bool:
        return name in self.broken or (self.file is not None and self.file.is_broken(name))

    def find(self, name: str) -> Binding | Scope | None:
        """What `name` means here: in the block, then in the file."""
        if name in self.names:
            return self.names[name]
        return self.file.find(name) if self.file else None

    def known(self) -> Iterator[str]:
        yield from self.names
        if self.file:
            yield from self.file.known()

    def join(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def __repr__(self) -> str:
        return f"Scope({self.path or type(self.item).__name__})"


def named(expr: syntax.Expr, scope: Scope) -> Binding | Scope | None:
    """What a plain path means: `x`, `cart`, `cart.x`."""
    match expr:
        case syntax.Name(name):
            return scope.find(name)
        case syntax.Member(inner, name):
            holder = named(inner, scope)
            return holder.names.get(name) if isinstance(holder, Scope) else None
        case _:
            return None


def target_of(expr: syntax.Expr, scope: Scope) -> Variable | None:
    """The variable that a plain path names."""
    found = named(expr, scope)
    return found if isinstance(found, Variable) else None


def part_of(expr: syntax.Expr, scope: Scope) -> Scope | None:
    """The part that a plain path names."""
    found = named(expr, scope)
    return found if isinstance(found, Scope) else None


@dataclass(frozen=True)
class Equation:
    """`left = right`, as written or as wiring and values imply.

    `definition` gives `target` its value; `next` the value of the state `target` at the next tick; `equation` is
    solved for whatever unknown it is matched with; `initial` holds at the start only.
    """

    kind: Literal["definition", "equation", "next", "initial"]
    left: Scoped
    right: Scoped
    clock: Clock | None
    target: Variable | None = None
    during: During | None = None

    @property
    def span(self) -> Span:
        return self.right.span if self.kind == "definition" else self.left.span.to(self.right.span)


# ---------------------------------------------------------------- what happens at an instant


@dataclass(frozen=True)
class Assignment:
    """`x := value`, or `x' := value` (`order` 1) where `x'` is a state too. The value is read before the instant."""

    target: Variable
    order: int
    value: Scoped
    span: Span


@dataclass(eq=False)
class Event:
    """What may happen at an instant.

    Exactly one of `condition` (`when`), `every` (`every 12 [h] from a until b`) and `at` says when.
    """

    path: str
    """Dotted name; of one without a name its line: `ball.dpl:7`"""
    scope: Scope
    span: Span
    """Of the condition or time"""
    during: During | None = None
    condition: Scoped | None = None
    at_once: bool = False
    every: Scoped | None = None
    start: Scoped | None = None
    until: Scoped | None = None
    at: Scoped | None = None
    assignments: tuple[Assignment, ...] = ()
    go: tuple[Automaton, str] | None = None
    """The mode that begins"""
    stop: bool = False
    sampled: bool = False
    """Its condition reads only what changes at ticks (and what is fixed): it is tested at ticks"""
    named: bool = False
    item: syntax.When | syntax.Timed | None = None
    """The statement; None of what `run until` waits for"""

    def __repr__(self) -> str:
        return f"Event({self.path})"


Binding = (
    Variable
    | NetworkUse
    | TableUse
    | FunctionUse
    | Measure
    | Event
    | Observation
    | Bound
    | Index
    | syntax.Model
    | syntax.Scenario
    | syntax.Task
)
"""What a name can mean; parts are `Scope`s."""


# ---------------------------------------------------------------- the Lagrangian form


@dataclass(eq=False)
class Lagrangian:
    """`lagrangian T - V`: gives the equations of motion of those coordinates that no other equation moves."""

    value: Scoped
    scope: Scope
    span: Span
    during: During | None = None
    coordinates: tuple[Variable, ...] = ()
    """The states of its block that it reads (through the values of names) and that nothing else moves"""


@dataclass(eq=False)
class Applied:
    """`applied θ = u - b*θ'`: a generalised force on a coordinate."""

    target: Variable
    value: Scoped
    span: Span
    during: During | None = None


@dataclass(eq=False)
class Constraint:
    """`constraint ground: left = right`, a relation among coordinates that a force keeps.

    `force` is positive where it pushes towards a greater `left - right`; where the constraint does not rule it is 0.
    """

    left: Scoped
    right: Scoped
    force: Variable
    scope: Scope
    span: Span
    during: During | None = None


@dataclass(frozen=True)
class MethodUse:
    """A solver or optimiser with its arguments: times in SI seconds, words as they are."""

    row: MethodRow
    arguments: dict[str, float | str]


@dataclass(frozen=True)
class RunSettings:
    """`until_stop`: the run ends at a `stop`; that none comes within `duration` is a failure of the run."""

    start: Fraction
    duration: Fraction
    unit: Unit
    method: MethodUse | None
    span: Span
    until_stop: bool = False


@dataclass(eq=False)
class System:
    """One scenario (or, for checking, one model by itself), flattened."""

    name: str
    doc: str | None
    item: syntax.Scenario | syntax.Model
    root: Scope
    variables: list[Variable] = field(default_factory=list["Variable"])
    networks: list[NetworkUse] = field(default_factory=list["NetworkUse"])
    equations: list[Equation] = field(default_factory=list["Equation"])
    measures: list[Measure] = field(default_factory=list["Measure"])
    parts: list[Scope] = field(default_factory=list["Scope"])
    periods: list[Scoped] = field(default_factory=list["Scoped"])
    automata: list[Automaton] = field(default_factory=list["Automaton"])
    events: list[Event] = field(default_factory=list["Event"])
    """In the order of the text, parts before the block that makes them"""
    lagrangians: list[Lagrangian] = field(default_factory=list["Lagrangian"])
    applied: list[Applied] = field(default_factory=list["Applied"])
    constraints: list[Constraint] = field(default_factory=list["Constraint"])
    observations: list[Observation] = field(default_factory=list["Observation"])
    tables: list[TableUse] = field(default_factory=list["TableUse"])
    """Those that it calls"""
    row: tuple[Variable, ...] = ()
    """The columns that right sides of timed observations read"""
    signals: tuple[Variable, ...] = ()
    """The columns that equations read as functions of time"""
    data: list[DataUse] = field(default_factory=list["DataUse"])
    """All data that it reads or observes, each once"""
    run_item: syntax.Run | None = None
    run: RunSettings | None = None
    configuration: dict[Automaton, str] = field(default_factory=dict[Automaton, str])
    """The mode that each automaton is in; empty in a whole system, whatever its modes"""
    freed: dict[str, FreeLet] = field(default_factory=dict[str, "FreeLet"])
    """By path, what the tasks of the file free"""
    squares: dict[str, Square] = field(default_factory=dict[str, "Square"])
    """By key, what is squared in losses that tasks minimise as sums of squares"""
    windows: dict[str, WindowUse] = field(default_factory=dict[str, "WindowUse"])
    """By name of the task that learns in them"""
    whole: System | None = None
    """Of what rules in one combination of modes: the system in all of them"""
    time: Unit = field(default_factory=Unit)
    """The unit of `time`: seconds, the unit of `run`, or pure in a file without units"""

    @property
    def hybrid(self) -> bool:
        """Whether anything happens at an instant that is not a tick, or states are kept on constraints."""
        return bool(self.automata or self.events or self.constraints)

    @property
    def runs(self) -> bool:
        """Whether time goes by: it says so, or its data have a time."""
        return self.run_item is not None or any(use.time is not None for use in self.data)

    def reads(self, use: DataUse) -> None:
        """Adds to the data that it reads."""
        if use not in self.data:
            self.data.append(use)

    @property
    def clocks(self) -> tuple[Clock, ...]:
        """Of its parts and of its noises, each once."""
        found = (*(part.clock for part in self.parts), *(variable.drawn for variable in self.variables))
        return tuple(dict.fromkeys(clock for clock in found if clock is not None))

    @property
    def closed(self) -> bool:
        """A scenario; a model by itself has inputs that nothing sets."""
        return isinstance(self.item, syntax.Scenario)


@dataclass(frozen=True)
class VariedQuantity:
    """`low` and `high` narrow the bounds (SI); None where the task says nothing. `each`: every run has its own."""

    path: str
    span: Span
    low: float | None = None
    high: float | None = None
    each: bool = False


@dataclass(frozen=True)
class Annealed:
    """A param that goes from `start` to `end` (SI) over the steps of a training."""

    path: str
    span: Span
    start: float
    end: float


@dataclass(frozen=True)
class Comparison:
    """An `expect`, `subject to` or `until`: operands over all runs; `per_run` where it must hold in every run."""

    operands: tuple[syntax.Expr, ...]
    ops: tuple[str, ...]
    per_run: bool
    unit: Unit
    span: Span


@dataclass(frozen=True)
class Objective:
    """What is minimised or maximised; `squares` where it is the mean over runs of their sum."""

    goal: syntax.Goal
    unit: Unit
    squares: tuple[Square, ...] | None = None


@dataclass(frozen=True)
class WindowUse:
    """Training in windows: the critic, what it is called with at a window's end; `reduction` is what is minimised."""

    duration: Fraction
    critic: NetworkUse
    arguments: tuple[Scoped, ...]
    reduction: Scoped
    discount: float
    span: Span


@dataclass(frozen=True)
class TaskUse:
    """A task with its clauses read. `system` is None for `compare`, which is `of` other tasks and shows names."""

    item: syntax.Task
    system: System | None
    settings: tuple[tuple[str, Scoped], ...] = ()
    vary: tuple[VariedQuantity, ...] = ()
    objective: Objective | None = None
    constraints: tuple[Comparison, ...] = ()
    expectations: tuple[Comparison, ...] = ()
    until: Comparison | None = None
    window: WindowUse | None = None
    anneal: tuple[Annealed, ...] = ()
    method: MethodUse | None = None
    counts: dict[str, int] = field(default_factory=dict[str, int])
    fixed_samples: bool = False
    start: str = "current"
    plot: tuple[str, ...] = ()
    of: tuple[str, ...] = ()
    show: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    priors: bool = True
    hold_out: int = 0
    hold_after: float | None = None
    """[s], as `span` and `every`"""
    span: float | None = None
    profile: tuple[str, ...] = ()
    every: float | None = None
    network: NetworkUse | None = None
    territory: System | None = None
    repeat: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckedModel:
    """A file that passed every check, with the systems of its scenarios and its tasks."""

    file: syntax.File
    systems: dict[str, System]
    models: dict[str, System]
    """Each model of the file by itself, for `show`"""
    tasks: tuple[TaskUse, ...]
    warnings: tuple[Diagnostic, ...] = ()
    sources: tuple[Source, ...] = ()
    """Every text that it was read from, the file's own first, files of data last"""
    data: dict[str, DataUse] = field(default_factory=dict[str, "DataUse"])
