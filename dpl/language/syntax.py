"""The AST: frozen dataclasses with spans.

Spans take no part in equality, so trees compare by meaning. The unions at the end of each section are
closed: a pass matches over them and ends in `assert_never`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, assert_never

from dpl.language.source import Source, Span


@dataclass(frozen=True)
class Node:
    span: Span = field(compare=False, kw_only=True, repr=False)


# ---------------------------------------------------------------- units


@dataclass(frozen=True)
class UnitName(Node):
    """A unit as written, prefix included: `m`, `km`, `mmHg`, `%`."""

    id: str


@dataclass(frozen=True)
class UnitOne(Node):
    """`1`, the pure number."""


@dataclass(frozen=True)
class UnitProduct(Node):
    op: Literal["*", "/"]
    left: Unit
    right: Unit


@dataclass(frozen=True)
class UnitPower(Node):
    base: Unit
    exponent: Fraction


Unit = UnitName | UnitOne | UnitProduct | UnitPower


# ---------------------------------------------------------------- expressions


@dataclass(frozen=True)
class Number(Node):
    """A literal; `value` is exact."""

    value: Fraction
    unit: Unit | None = None


@dataclass(frozen=True)
class Name(Node):
    id: str


@dataclass(frozen=True)
class Unary(Node):
    """`-x`, `not x`. A leading `+` leaves no node."""

    op: Literal["-", "not"]
    operand: Expr


@dataclass(frozen=True)
class Binary(Node):
    op: Literal["+", "-", "*", "/", "^", "@", "and", "or"]
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Compare(Node):
    """`a < b <= c`: one more operand than operators."""

    operands: tuple[Expr, ...]
    ops: tuple[str, ...]


@dataclass(frozen=True)
class If(Node):
    condition: Expr
    then: Expr
    otherwise: Expr


@dataclass(frozen=True)
class Argument(Node):
    value: Expr
    name: str | None = None


@dataclass(frozen=True)
class Call(Node):
    function: Expr
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Member(Node):
    """`object.name`"""

    object: Expr
    name: str


@dataclass(frozen=True)
class Index(Node):
    object: Expr
    subscripts: tuple[Expr, ...]


@dataclass(frozen=True)
class Range(Node):
    """`low..high`; `high` is None in `0..`. After `in`, after `limit`, and as a subscript."""

    low: Expr
    high: Expr | None
    unit: Unit | None = None
    """A unit after a range applies to all of it: `15..20 [m]`."""


@dataclass(frozen=True)
class Prime(Node):
    """`operand'`, its time derivative."""

    operand: Expr


@dataclass(frozen=True)
class List(Node):
    items: tuple[Expr, ...]
    unit: Unit | None = None


@dataclass(frozen=True)
class IndexSet(Node):
    """`i in 1..n-2`"""

    name: str
    range: Range


@dataclass(frozen=True)
class Comprehension(Node):
    """`e for j in 0..4`, as an argument."""

    value: Expr
    indices: tuple[IndexSet, ...]


@dataclass(frozen=True)
class Piece(Node):
    """Some elements of an array: `left = value` for each index of `indices`, or for the one element without any.

    `target` is the element as the text writes it, `T[i]`, `T[0]` or `cell[i].u`, without primes; `left` holds it.
    """

    target: Expr
    left: Expr
    value: Expr
    indices: tuple[IndexSet, ...]


@dataclass(frozen=True)
class Pieces(Node):
    """A whole array, given piece by piece; no text writes it: the equations of one array are gathered in it."""

    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Window(Node):
    """`e from a until b`, as the first argument of a time reduction."""

    value: Expr
    start: Expr | None
    until: Expr | None


Expr = (
    Number
    | Name
    | Unary
    | Binary
    | Compare
    | If
    | Call
    | Member
    | Index
    | Range
    | Prime
    | List
    | Comprehension
    | Pieces
    | Window
)


def children(expr: Expr) -> tuple[Expr, ...]:
    """The expressions directly within an expression."""
    match expr:
        case Number() | Name():
            return ()
        case Unary(_, operand) | Prime(operand):
            return (operand,)
        case Binary(_, left, right):
            return (left, right)
        case Compare(operands):
            return operands
        case If(condition, then, otherwise):
            return (condition, then, otherwise)
        case Call(_, arguments):
            return tuple(a.value for a in arguments)
        case Member(inner):
            return (inner,)
        case Index(inner, subscripts):
            return (inner, *subscripts)
        case Range(low, high):
            return (low, *([high] if high else []))
        case List(items):
            return items
        case Comprehension(value):
            return (value,)
        case Pieces(pieces):
            return tuple(e for p in pieces for e in (p.left, p.value))
        case Window(value, start, until):
            return (value, *([start] if start else []), *([until] if until else []))
        case _:
            assert_never(expr)


# ---------------------------------------------------------------- declarations

DeclarationKind = Literal["const", "param", "state", "input", "output", "let", "given", "noise"]


@dataclass(frozen=True)
class Declaration(Node):
    """`param k[n]: unit = value in domain limit range ~ prior`, whichever the keyword."""

    kind: DeclarationKind
    name: str
    name_span: Span = field(compare=False, repr=False)
    shape: tuple[Expr, ...] = ()
    unit: Unit | None = None
    value: Expr | None = None
    domain: Range | List | None = None
    log: bool = False
    limit: Range | None = None
    limit_method: str | None = None
    prior: Expr | None = None
    indices: tuple[IndexSet, ...] = ()
    every: Expr | None = None


@dataclass(frozen=True)
class GivenRow(Node):
    """`given r from shots`"""

    name: str
    name_span: Span = field(compare=False, repr=False)
    data: str


@dataclass(frozen=True)
class Function(Node):
    """`fn cap(z) = max(z, 0)²`"""

    name: str
    name_span: Span = field(compare=False, repr=False)
    parameters: tuple[str, ...]
    value: Expr


@dataclass(frozen=True)
class Port(Node):
    """An argument or result of a network or table."""

    name: str
    shape: tuple[Expr, ...] = ()
    unit: Unit | None = None
    range: Range | None = None


@dataclass(frozen=True)
class Option(Node):
    """`hidden 32, 32`, `activation tanh`, `start zero`"""

    name: str
    values: tuple[str | Fraction, ...]


@dataclass(frozen=True)
class Network(Node):
    """Also `single`: declared with one unparenthesised result, or one in parentheses."""

    name: str
    name_span: Span = field(compare=False, repr=False)
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    options: tuple[Option, ...] = ()


@dataclass(frozen=True)
class Point(Node):
    at: Expr
    value: Expr


@dataclass(frozen=True)
class Table(Node):
    name: str
    name_span: Span = field(compare=False, repr=False)
    inputs: tuple[Port, ...]
    output: Port
    file: str | None = None
    points: tuple[Point, ...] = ()
    using: str | None = None


@dataclass(frozen=True)
class Cell(Node):
    """A number, a label, or nothing: `_`"""

    value: Expr | str | None


@dataclass(frozen=True)
class Column(Node):
    """`conc "Conc. [mg/L]": mg/L`, `year: year as time`; `header` is its name in the file, if that is another"""

    name: str
    header: str | None = None
    unit: Unit | None = None
    role: str | None = None


@dataclass(frozen=True)
class Data(Node):
    """`data pelts(year as time, hare, lynx) from "pelts.csv"`, or with its rows: `{ 1900, 30, 4; 1901, _, 6.1 }`"""

    name: str
    name_span: Span = field(compare=False, repr=False)
    columns: tuple[Column, ...]
    file: str | None = None
    rows: tuple[tuple[Cell, ...], ...] = ()


@dataclass(frozen=True)
class ImportedName(Node):
    name: str


@dataclass(frozen=True)
class Import(Node):
    """`from pendulum import Pendulum`"""

    module: str
    module_span: Span = field(compare=False, repr=False)
    names: tuple[ImportedName, ...]


# ---------------------------------------------------------------- statements of blocks


@dataclass(frozen=True)
class Part(Node):
    """`part motor = DCMotor(v = pid.u)`"""

    name: str
    name_span: Span = field(compare=False, repr=False)
    shape: tuple[Expr, ...]
    model: str
    model_span: Span = field(compare=False, repr=False)
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Equation(Node):
    left: Expr
    right: Expr
    indices: tuple[IndexSet, ...] = ()


@dataclass(frozen=True)
class Next(Node):
    target: Expr
    value: Expr
    indices: tuple[IndexSet, ...] = ()


@dataclass(frozen=True)
class Lagrangian(Node):
    value: Expr


@dataclass(frozen=True)
class Applied(Node):
    target: Expr
    value: Expr


@dataclass(frozen=True)
class Constraint(Node):
    name: str | None
    left: Expr
    right: Expr
    name_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Assign(Node):
    target: Expr
    value: Expr


@dataclass(frozen=True)
class Go(Node):
    mode: str


@dataclass(frozen=True)
class Stop(Node):
    pass


Action = Assign | Go | Stop


@dataclass(frozen=True)
class When(Node):
    name: str | None
    condition: Expr
    at_once: bool
    actions: tuple[Action, ...]
    name_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Timed(Node):
    """`every 12 [h] from a until b { … }` (`repeated`) or `at 5 [min] { … }`"""

    repeated: bool
    time: Expr
    start: Expr | None
    until: Expr | None
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Mode(Node):
    names: tuple[str, ...]
    doc: str | None
    body: tuple[Statement, ...]
    name_spans: tuple[Span, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class Method(Node):
    """`adam(rate = 1e-2)`, `semi_implicit(50 [ms])`"""

    name: str
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True)
class Run(Node):
    """`run for 10 [s] from 0 using METHOD`, `run until landed within 30 [s]`, `run until stop within 30 [s]`"""

    duration: Expr | None = None
    until: Expr | Stop | None = None
    within: Expr | None = None
    start: Expr | None = None
    using: Method | None = None


@dataclass(frozen=True)
class Measure(Node):
    """`loss cost: unit = …` or `metric error = …`: one number per run."""

    kind: Literal["loss", "metric"]
    name: str
    name_span: Span = field(compare=False, repr=False)
    unit: Unit | None
    value: Expr


@dataclass(frozen=True)
class Observe(Node):
    """`observe pelts.hare ~ lognormal(hare, σ) below 0.1`; of a sensor `observe range: m ~ normal(x, 0.1 [m])`"""

    target: Expr
    distribution: Expr
    unit: Unit | None = None
    below: Expr | None = None
    above: Expr | None = None


Statement = (
    Declaration
    | GivenRow
    | Function
    | Network
    | Table
    | Part
    | Equation
    | Next
    | Lagrangian
    | Applied
    | Constraint
    | When
    | Timed
    | Mode
    | Run
    | Measure
    | Observe
)


@dataclass(frozen=True)
class Model(Node):
    """A model or a controller; `every` makes it sampled."""

    kind: Literal["model", "controller"]
    name: str
    name_span: Span = field(compare=False, repr=False)
    every: Expr | None
    doc: str | None
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Scenario(Node):
    name: str
    name_span: Span = field(compare=False, repr=False)
    like: str | None
    like_span: Span | None = field(compare=False, repr=False)
    doc: str | None
    body: tuple[Statement, ...]


# ---------------------------------------------------------------- tasks


@dataclass(frozen=True)
class Setting(Node):
    """`cannon.k = 0.006 [1/m]` after `with`"""

    path: tuple[str, ...]
    value: Expr


@dataclass(frozen=True)
class On(Node):
    """Of a task: one scenario, with settings. Of `compare`: the names of tasks."""

    names: tuple[str, ...]
    settings: tuple[Setting, ...] = ()


@dataclass(frozen=True)
class Varied(Node):
    """`each setting`, `pid.kp in 0..200`; an empty path is `all`."""

    path: tuple[str, ...]
    each: bool = False
    range: Range | None = None


@dataclass(frozen=True)
class Vary(Node):
    items: tuple[Varied, ...]


@dataclass(frozen=True)
class Goal(Node):
    sense: Literal["minimize", "maximize"]
    value: Expr


@dataclass(frozen=True)
class Using(Node):
    method: Method


@dataclass(frozen=True)
class Until(Node):
    condition: Expr


@dataclass(frozen=True)
class Count(Node):
    """`steps 2_000`, `samples 1_000 fixed`"""

    word: str
    value: Fraction
    modifier: str | None = None


@dataclass(frozen=True)
class Start(Node):
    """`start random`"""

    word: str


@dataclass(frozen=True)
class Expect(Node):
    condition: Expr


@dataclass(frozen=True)
class Subject(Node):
    conditions: tuple[Expr, ...]


@dataclass(frozen=True)
class Plot(Node):
    values: tuple[Expr, ...]


@dataclass(frozen=True)
class TrainingWindow(Node):
    """`window 0.8 [s] with value critic(…), discount 0.98`; of `fit` the length alone"""

    length: Expr
    value: Expr | None
    discount: Expr | None


@dataclass(frozen=True)
class Anneal(Node):
    """`anneal pilot.temperature from 2 to 0.1`"""

    path: tuple[str, ...]
    start: Expr
    end: Expr


@dataclass(frozen=True)
class Show(Node):
    names: tuple[str, ...]


@dataclass(frozen=True)
class Without(Node):
    """`without priors`"""

    word: str


@dataclass(frozen=True)
class HoldOut(Node):
    """`hold out 3`: so many runs; or `hold out after 15 [day]`"""

    count: Fraction | None = None
    after: Expr | None = None


@dataclass(frozen=True)
class Profile(Node):
    """`profile V, body.ka`"""

    paths: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Sampled(Node):
    """`every 0.1 [s]`, of `record`"""

    period: Expr


@dataclass(frozen=True)
class Of(Node):
    """`of eaten`, of `suggest`"""

    path: tuple[str, ...]


@dataclass(frozen=True)
class Repeat(Node):
    """`repeat practise, shots, refit`, of `refine`"""

    names: tuple[str, ...]


Clause = (
    On
    | Vary
    | Goal
    | Using
    | Until
    | Count
    | Start
    | Expect
    | Subject
    | Plot
    | TrainingWindow
    | Anneal
    | Show
    | Without
    | HoldOut
    | Profile
    | Sampled
    | Of
    | Repeat
)


@dataclass(frozen=True)
class Task(Node):
    """Any task, `compare` included; `kind` is its keyword."""

    kind: str
    name: str
    name_span: Span = field(compare=False, repr=False)
    doc: str | None
    clauses: tuple[Clause, ...]


# ---------------------------------------------------------------- the file

Item = Import | Declaration | Function | Table | Data | Network | Model | Scenario | Task


@dataclass(frozen=True)
class File:
    source: Source = field(compare=False, repr=False)
    doc: str | None
    items: tuple[Item, ...]
