"""What a generated module declares: plain data and pure functions, one `Module` per file.

Every number here is in coherent SI units; `unit` and `scale` say how a user writes it (`value_in_unit * scale` is
the SI value). Names are the dotted paths of the DPL text (`pendulum.θ`). Nothing here needs JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Value = float | tuple["Value", ...]
"""A number, or nested tuples of numbers for an array."""

Values = Mapping[str, Any]
"""SI values by dotted name; a network's value is its pytree of weights."""


# ---------------------------------------------------------------- quantities


@dataclass(frozen=True)
class Unit:
    """How a user writes the quantity: `Unit("km", 1000.0)`; `Unit()` is the pure number."""

    text: str = ""
    scale: float = 1.0


@dataclass(frozen=True)
class Distribution:
    """`name` is a row of `runtime/distributions.py`; arguments in the order of the language reference."""

    name: str
    arguments: tuple[float, ...]


@dataclass(frozen=True)
class Param:
    """A number that a user may change and a task may vary. `value` is None where the model gives none."""

    name: str
    value: Value | None
    unit: Unit = Unit()
    low: float | None = None
    high: float | None = None
    log: bool = False
    prior: Distribution | None = None
    shape: tuple[int, ...] = ()
    origin: str = ""


@dataclass(frozen=True)
class Given:
    """What differs from run to run: drawn, listed, or set by the caller. `value` is nominal; None: the median."""

    name: str
    value: float | None
    unit: Unit = Unit()
    low: float | None = None
    high: float | None = None
    distribution: Distribution | None = None
    listed: tuple[float, ...] = ()
    data: str = ""
    column: str = ""
    """Of `given row from shots`: run i has what row (or group) i of the data says; after the last comes the first"""
    origin: str = ""


@dataclass(frozen=True)
class Start:
    """The literal start of a state, which a caller may change like a param."""

    name: str
    value: Value
    unit: Unit = Unit()
    shape: tuple[int, ...] = ()
    origin: str = ""


@dataclass(frozen=True)
class Free:
    """A `let` that depends on neither time nor state, and that a task frees from its equation.

    Its ends are those of its own `in`, else those of the output of the network whose value it is.
    """

    name: str
    unit: Unit = Unit()
    low: float | None = None
    high: float | None = None
    log: bool = False
    shape: tuple[int, ...] = ()
    origin: str = ""


@dataclass(frozen=True)
class Observed:
    """A quantity that `observe` returns. `range` is an invariant to report on, `limit` an actuator's limits."""

    name: str
    unit: Unit = Unit()
    kind: Literal["state", "input", "output", "let"] = "let"
    shape: tuple[int, ...] = ()
    range: bool = False
    limit: bool = False
    origin: str = ""


@dataclass(frozen=True)
class Measure:
    """A loss or metric: one number per run."""

    name: str
    kind: Literal["loss", "metric"]
    unit: Unit = Unit()
    origin: str = ""


# ---------------------------------------------------------------- networks


@dataclass(frozen=True)
class Port:
    """An argument or result of a network with its declared range, if any; `high` may be infinite (`in 0..`).

    `scale` is that of the declared unit: where no range says how large values are, they are of order one in it.
    """

    name: str
    low: float | None = None
    high: float | None = None
    shape: tuple[int, ...] = ()
    scale: float = 1.0
    unit: str = ""
    """As one writes it"""


@dataclass(frozen=True)
class Network:
    """A learnable function. `name` is the dotted path of its weights in `Values`."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    hidden: tuple[int, ...] = (32, 32)
    activation: str = "tanh"
    start_zero: bool = False
    origin: str = ""


# ---------------------------------------------------------------- data


@dataclass(frozen=True)
class Column:
    """One column of data: SI values, one per row, NaN where a cell is missing.

    `role`: the time of each row, the group that it belongs to (`values` are then indices in `Data.groups`), or a value.
    """

    name: str
    values: tuple[float, ...] = ()
    unit: Unit = Unit()
    role: Literal["value", "time", "group"] = "value"


@dataclass(frozen=True)
class Data:
    """Measurements. With a `group` column each group is a run of its own, else all rows are of one run; without a
    `time` column each row is a run.

    Rows are sorted by group, in the order of their first mention, then by time. `record` is the task that makes them,
    empty of what is read from a file or stands in the text; until it ran there are no rows.
    """

    name: str
    columns: tuple[Column, ...]
    groups: tuple[str, ...] = ()
    """The labels of the groups"""
    record: str = ""
    origin: str = ""

    def column(self, role: str) -> Column | None:
        """The column of a role that is there once at the most: `time` or `group`."""
        return next((column for column in self.columns if column.role == role), None)


@dataclass(frozen=True)
class Table:
    """A function of one number by its values at `knots` (ascending); beyond them it holds the last value."""

    name: str
    knots: tuple[float, ...]
    values: tuple[float, ...]
    using: Literal["linear", "cubic", "previous"] = "linear"
    input_unit: Unit = Unit()
    unit: Unit = Unit()
    origin: str = ""


@dataclass(frozen=True)
class Observation:
    """`observe`: a column of data (`shots.range`) is distributed as the run says; or a sensor, which `record` reads.

    Its arguments are numbers in SI in the order of the distribution's row. Of a `timed` one they are what `sensors`
    returns, at the times of the data; else they are among `results`, by the names of `keys`. A limit of detection
    (`below`, `above`) comes after them, in that order. `estimated`: the scale (sd, spread) is left out, and with it is
    the last of the distribution's arguments up to `student`'s df: it is one number for all data, to be estimated.
    """

    name: str
    """`pelts.hare`; of a sensor its own name"""
    distribution: str
    data: str = ""
    """Empty of a sensor"""
    column: str = ""
    unit: Unit = Unit()
    timed: bool = False
    estimated: bool = False
    below: bool = False
    above: bool = False
    keys: tuple[str, ...] = ()
    origin: str = ""


# ---------------------------------------------------------------- scenarios


@dataclass(frozen=True)
class Method:
    """A solver or an optimiser by name, with its numbers; empty name: the runtime chooses."""

    name: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Numbers and words; numbers of a solver may be traced (`runtime/using.py`)"""


@dataclass(frozen=True)
class Clock:
    """A period of sampled blocks: it ticks at every `every`-th base tick, from the first.

    `evaluate(t, x, z, held, c)` returns `(held, next)`: the full tuple of held values with this clock's replaced, and
    the full tuple of sampled states as they will be at this clock's next tick (others as they were in `z`).
    A clock's blocks may be split in several groups, ordered among those of other clocks by what reads what; each
    group replaces what it computes.
    """

    every: int
    evaluate: Callable[..., tuple[tuple[Any, ...], tuple[Any, ...]]]
    states: tuple[int, ...] = ()
    """Indices in `z` of the states that this group advances."""


@dataclass(frozen=True)
class Run:
    """How long and how. A scenario without `run` has none and is static."""

    start: float
    duration: float
    """The longest, where `until_stop`: the run ends at a `stop`, and that none comes is a failure of the run"""
    method: Method
    base: float | None = None
    """The greatest common divisor of all clock periods [s]; None without clocks."""
    unit: Unit = Unit("s")
    explanation: str = ""
    until_stop: bool = False


@dataclass(frozen=True)
class Jacobian:
    """The derivatives of `rhs`, as expressions: only those that are not zero whatever the values are.

    Entry n of what `entries(t, x, z, held, c)` returns is the derivative of `rows[n]` (states, then integrands) by
    `columns[n]` (states, then the time). All states are single numbers.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    entries: Callable[..., tuple[Any, ...]]


@dataclass(frozen=True)
class Reduction:
    """A reduction over time, named as in the language: average, integral, initial, final, value_at, peak, lowest,
    fraction, settling_time.

    `index` counts within the tuple that its kind reads: `quadratures` (second result of `rhs`) for average and
    integral; `instants` for initial and final; the scenario's `events` for event_time and count; `recorded` for the
    rest. `held` says that the quantity jumps at ticks
    (so that interpolation between grid points is by the last value).
    """

    kind: str
    index: int
    held: bool = False


# ---------------------------------------------------------------- events and modes


@dataclass(frozen=True)
class Event:
    """What may happen at an instant. `kept`: of so many of its first times a measure may ask (`event_time(e, 2)`)."""

    name: str
    kept: int = 0
    named: bool = True
    """Whether the user gave it its name; else that is its line"""
    origin: str = ""


@dataclass(frozen=True)
class Transition:
    """An event as one mode knows it: how it is noticed, and what happens then.

    `state`: when its margin becomes positive, at the located instant. `tick`: the same, looked at at ticks only, after
    the sampled states have moved and before blocks are evaluated. `time`: when an alarm rings.
    """

    event: int
    """Index in the scenario's `events`"""
    watch: Literal["state", "tick", "time"] = "state"
    at_once: bool = False
    """Fires also where its condition holds already when the mode begins"""
    assign: Callable[..., tuple[tuple[Any, ...], tuple[Any, ...]]] | None = None
    """assign(t, x, z, held, c) -> new values of `states`, new values of `sampled`, from what was before the instant"""
    states: tuple[int, ...] = ()
    """Indices in `x`"""
    sampled: tuple[int, ...] = ()
    """Indices in `z`"""
    go: tuple[int, int] | None = None
    """Automaton and its mode that begins, as indices in `Scenario.automata`"""
    stop: bool = False


@dataclass(frozen=True)
class Mode:
    """One combination of the modes of a scenario: a smooth system of its own, with its own constants `c`.

    All functions are as those of the same name of a scenario, but read the mode's own `c`.
    """

    name: str
    fixed: Callable[[Values], tuple[Any, ...]]
    rhs: Callable[..., tuple[tuple[Any, ...], tuple[Any, ...]]]
    """Of states that nothing moves in this mode the derivative is the number 0"""
    observe: Callable[..., dict[str, Any]]
    """NaN for what has no value in this mode"""
    moved: tuple[int, ...] = ()
    """Indices in `x` of the states that move"""
    rates: tuple[int, ...] = ()
    clocks: tuple[Clock, ...] = ()
    transitions: tuple[Transition, ...] = ()
    """In the order of the text: of two that assign one state at one instant the later wins"""
    margins: Callable[..., tuple[Any, ...]] | None = None
    """margins(t, x, z, held, c) -> one per transition that watches the state: positive where its condition holds"""
    tests: Callable[..., tuple[Any, ...]] | None = None
    """tests(t, x, z, held, c) -> the same for those that are tested at ticks"""
    alarms: Callable[..., tuple[tuple[Any, Any, Any], ...]] | None = None
    """alarms(c) -> first time, period and last time [s] of each that watches the time; the period of a single one is 0,
    the last time infinite where none is given. An alarm that rings at the last time still rings."""
    project: Callable[..., tuple[Any, ...]] | None = None
    """project(t, x, z, held, c) -> x moved onto the constraints of the mode, positions and rates; None without any"""
    recorded: Callable[..., tuple[Any, ...]] | None = None
    instants: Callable[..., tuple[Any, ...]] | None = None
    valueless: tuple[int, ...] = ()
    """Those of `instants` that have no value in this mode, and so are 0"""
    jumps: Callable[..., tuple[Any, ...]] | None = None
    sensors: Callable[..., tuple[tuple[Any, ...], ...]] | None = None
    """None: those of the scenario, which then read what no mode changes"""
    knots: Callable[..., tuple[Any, ...]] | None = None
    timed: bool = False
    origin: str = ""


@dataclass(frozen=True)
class Scenario:
    """One run: its values, and pure functions of them.

    `c` below is what `fixed(v)` returns: all that depends neither on time nor on state. `x` is the tuple of
    continuous states, `z` of sampled states (as of the latest tick), `held` of what sampled blocks hold.
    """

    name: str
    doc: str
    params: tuple[Param, ...]
    givens: tuple[Given, ...]
    starts: tuple[Start, ...]
    networks: tuple[Network, ...]
    observed: tuple[Observed, ...]
    measures: tuple[Measure, ...]
    fixed: Callable[[Values], tuple[Any, ...]]
    """fixed(v) -> c; one of `free` has the value that `v` gives it, if `v` does, else that of its equation"""
    results: Callable[..., dict[str, Any]]
    """results(reduced, c) -> every measure by name; `reduced` follows `reductions`"""
    observe: Callable[..., dict[str, Any]]
    """observe(t, x, z, held, c) -> every observed quantity by name, and as `drive 1`, `drive 2` where the table or
    signal `drive` is read"""
    free: tuple[Free, ...] = ()
    freed: Callable[..., dict[str, Any]] | None = None
    """freed(c) -> the value of each of `free` by name"""
    noises: tuple[str, ...] = ()
    """What is drawn at ticks. Where there is any, `Values` holds the run's key (`runtime/noise.py`) as `noise`"""
    run: Run | None = None
    states: tuple[Observed, ...] = ()
    """One per continuous state, in the order of `x`"""
    rates: tuple[int, ...] = ()
    """Indices in `x` of the states that semi-implicit Euler advances first; the others then read their new values"""
    start: Callable[..., tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]] | None = None
    """start(c) -> x, z, held at the run's start (`held` of the right shapes: the first tick replaces it)"""
    rhs: Callable[..., tuple[tuple[Any, ...], tuple[Any, ...]]] | None = None
    """rhs(t, x, z, held, c) -> time derivatives of x, integrands of the quadratures"""
    jacobian: Jacobian | None = None
    """For implicit methods; None where it is not known as expressions"""
    clocks: tuple[Clock, ...] = ()
    """In the order in which they are evaluated at a tick"""
    reductions: tuple[Reduction, ...] = ()
    reduction_arguments: Callable[..., tuple[tuple[Any, Any, tuple[Any, ...]], ...]] | None = None
    """reduction_arguments(c) -> per reduction: `from` and `until` (None where not given), further arguments"""
    timed: bool = False
    """Whether the right-hand side reads the time itself, so that a solver's steps must not pass over what it does"""
    jumps: Callable[..., tuple[Any, ...]] | None = None
    """jumps(c) -> known times [s] at which the right-hand side jumps or has a kink"""
    recorded: Callable[..., tuple[Any, ...]] | None = None
    """recorded(t, x, z, held, c) -> what peak, lowest, fraction, value_at, settling_time read"""
    instants: Callable[..., tuple[Any, ...]] | None = None
    """instants(t, x, z, held, c) -> what initial and final read"""
    ranges: Callable[..., dict[str, tuple[Any, Any]]] | None = None
    """ranges(c) -> (low, high) of each observed quantity that has a range or limit; None where open"""
    defaults: tuple[str, ...] = ()
    """What was not said and so was chosen, in words for the user"""
    leading: Callable[[Values], dict[str, Any]] | None = None
    """leading(v) -> by name, results of networks that depend on neither time nor state. Where `v` holds one by that
    name, `fixed` takes it instead of calling the network."""
    observations: tuple[Observation, ...] = ()
    sensors: Callable[..., tuple[tuple[Any, ...], ...]] | None = None
    """sensors(t, x, z, held, c, row) -> the arguments of every timed observation, in the order of `observations`"""
    row: tuple[str, ...] = ()
    """The columns of data (`pelts.error`) that `row` of `sensors` holds: what their right sides read at each time"""
    tables: tuple[Table, ...] = ()
    """`Values` holds (knots, values) of each by its name"""
    signals: tuple[str, ...] = ()
    """Columns of data (`weather.temperature`) that the equations read as functions of time, linear between rows;
    `Values` holds (times, values) of each by its name"""
    knots: Callable[..., tuple[Any, ...]] | None = None
    """knots(c) -> arrays of times [s] at which tables and signals of the time have a kink or jump"""
    events: tuple[Event, ...] = ()
    automata: tuple[tuple[str, ...], ...] = ()
    """Of each part that has modes their names; a run begins in the first of each"""
    modes: tuple[Mode, ...] = ()
    """Every combination of the modes of `automata`, the last one's changing fastest; a run begins in the first.

    A scenario with events has at least one. Then `start` reads the first mode's `c`; `fixed`, `results`, `freed`,
    `ranges` and `reduction_arguments` work on what no mode changes; `rhs`, `observe`, `clocks`, `recorded`, `instants`,
    `jumps` and `rates` are those of the first mode, and a run looks at each mode's own instead. `states`, `z`, `held`,
    the quadratures and what is recorded have one layout in all modes.
    """


# ---------------------------------------------------------------- tasks


@dataclass(frozen=True)
class Varied:
    """What a task varies: a param, network, given or freed let by dotted name; its bounds where the task narrows them.

    `each`: every run has its own value.
    """

    name: str
    low: float | None = None
    high: float | None = None
    each: bool = False


@dataclass(frozen=True)
class Annealed:
    """A param that goes from `start` to `end` over the steps of a training: geometrically if both are above 0."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Objective:
    """`function(results)` maps the results of all runs (arrays over runs) to one number, to be minimised."""

    text: str
    function: Callable[[Mapping[str, Any]], Any]
    maximize: bool = False
    unit: Unit = Unit()
    residuals: Callable[[Mapping[str, Any]], tuple[Any, ...]] | None = None
    """residuals(results) -> arrays over runs: the mean over runs of the sum of their squares is the objective.

    None where it is not a sum of squares."""
    origin: str = ""


@dataclass(frozen=True)
class Comparison:
    """What `expect`, `subject to` and `until` say. `operands(results)` returns its operands, one more than `ops`:

    numbers, or with `per_run` arrays over runs, of which every run must comply.
    """

    text: str
    operands: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    ops: tuple[str, ...]
    per_run: bool = False
    unit: Unit = Unit()
    origin: str = ""


@dataclass(frozen=True)
class Window:
    """Training in windows of a long run, whose remaining value is that of a network at the window's end.

    The objective is one `average` or `integral`: row `reduction` of the scenario's `reductions`. The critic's value is
    the discounted average (of an `average`) or integral of the same integrand from there on.
    """

    duration: float
    critic: Network
    arguments: Callable[..., tuple[Any, ...]]
    """arguments(t, x, z, held, c) -> what the critic is called with"""
    reduction: int
    discount: float = 0.99
    """Per step of the run: of the fastest clock, or of the solver if nothing is sampled"""
    origin: str = ""


@dataclass(frozen=True)
class Task:
    """`scenario` is empty for `compare`, which is `of` earlier tasks."""

    kind: str
    name: str
    doc: str
    scenario: str
    settings: tuple[tuple[str, Value], ...] = ()
    vary: tuple[Varied, ...] = ()
    objective: Objective | None = None
    constraints: tuple[Comparison, ...] = ()
    """`subject to`: none of their `ops` is `!=`"""
    expectations: tuple[Comparison, ...] = ()
    until: Comparison | None = None
    window: Window | None = None
    anneal: tuple[Annealed, ...] = ()
    method: Method = Method()
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """points, batch, steps, starts, seed, samples, epochs, bootstrap, rounds: those that the text gives"""
    fixed_samples: bool = False
    start: str = "current"
    """`current` (what earlier tasks left), `fresh` or `random`"""
    plot: tuple[str, ...] = ()
    """Names of `observed`, to be drawn over time"""
    of: tuple[str, ...] = ()
    show: tuple[str, ...] = ()
    """Names of losses and metrics, `iterations`, `wall_time`"""
    needs: tuple[str, ...] = ()
    """Earlier tasks that change what this one starts from, or that it compares"""
    priors: bool = True
    """Of `fit`: whether the priors of params count (`without priors`)"""
    hold_out: int = 0
    """Of `fit`: so many runs of the data, the last ones, are kept aside"""
    hold_after: float | None = None
    """Of `fit`: what was observed after this time [s] is kept aside"""
    span: float | None = None
    """Of `fit`: the length [s] of the windows of multiple shooting"""
    profile: tuple[str, ...] = ()
    """Of `fit`: whose profile likelihoods are wanted"""
    every: float | None = None
    """Of `record`: the time [s] between two rows of a run"""
    network: str = ""
    """Of `suggest`: the network to be read"""
    territory: str = ""
    """Of `refine`: the scenario that stands for the truth; `scenario` is its map"""
    repeat: tuple[str, ...] = ()
    """Of `refine`: the tasks of each round, in order"""
    origin: str = ""


@dataclass(frozen=True)
class Module:
    """A compiled file: what `MODULE` of a generated Python module holds."""

    name: str
    doc: str
    scenarios: tuple[Scenario, ...]
    tasks: tuple[Task, ...]
    version: str
    source_hash: str = ""
    data: tuple[Data, ...] = ()
