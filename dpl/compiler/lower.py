"""A scenario's equations into the functions of `runtime/spec.py`.

A smooth scenario is one system; one with events is a smooth system for each combination of its modes (`hybrid.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from dpl.compiler import ir
from dpl.compiler.algebra import INFINITY, TIME, Expr, Symbol, free, path_of
from dpl.compiler.equations import CausalSystem, Search, causal_system
from dpl.compiler.lookups import places
from dpl.compiler.slices import Pattern, Slices, Tick
from dpl.compiler.start import Beginning, Start, beginning
from dpl.compiler.structure import Relation, causalize
from dpl.compiler.symbolic import Translator
from dpl.compiler.timing import Timing, groups, timing
from dpl.language import syntax
from dpl.language.builtins import TIME_REDUCTIONS
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.model import FreeLet, System, TableUse, Variable


@dataclass(frozen=True)
class Reduced:
    """One row of `spec.Reduction`."""

    kind: str
    index: int
    held: bool


@dataclass(frozen=True)
class LoweredTransition:
    """One row of `spec.Transition`: an event as one mode knows it."""

    event: int
    watch: str
    at_once: bool
    assign: str | None
    states: tuple[int, ...]
    sampled: tuple[int, ...]
    go: tuple[int, int] | None
    stop: bool


@dataclass(frozen=True)
class LoweredMode:
    """One combination of modes as functions, by role."""

    name: str
    causal: CausalSystem
    functions: dict[str, ir.Function]
    raw: dict[str, ir.Function]
    ticks: tuple[Tick, ...]
    moved: tuple[int, ...]
    rates: tuple[int, ...]
    transitions: tuple[LoweredTransition, ...]
    valueless: tuple[int, ...]
    timed: bool
    origin: str


@dataclass(frozen=True)
class Lowered:
    """One scenario as functions, with the order of what they exchange."""

    causal: CausalSystem
    timing: Timing
    functions: dict[str, ir.Function]
    raw: dict[str, ir.Function]
    """The same before common parts were shared"""
    observed: tuple[Variable, ...]
    starts: tuple[Start, ...]
    ticks: tuple[Tick, ...]
    rates: tuple[int, ...]
    reductions: tuple[Reduced, ...]
    ranged: frozenset[str]
    """Paths of the observed quantities that have a range or a limit"""
    defaults: tuple[str, ...]
    timed: bool
    """Whether the right-hand side reads the time itself"""
    windows: dict[str, tuple[str, int]]
    """By task, the role of the function that its critic is called with, and the index of what is minimised"""
    base: Fraction | None = None
    """The greatest common divisor of all periods"""
    modes: tuple[LoweredMode, ...] = ()
    pattern: Pattern | None = None
    """Rows and columns of the entries of the function `jacobian`, where there is one"""

    @property
    def kept(self) -> tuple[int, ...]:
        """Of each reduction, of how many first times of its event it asks; 0 where it asks for none."""
        found = self.causal.translator.reductions
        return tuple(int(r.arguments[0]) if r.kind == "event_time" else 0 for r in found)

    @property
    def system(self) -> System:
        return self.causal.system

    @property
    def tables(self) -> tuple[TableUse, ...]:
        """Those that it looks something up in, in any mode."""
        found = {path: use for t in self._translators() for path, use in t.tables.items()}
        return tuple(found.values())

    @property
    def signals(self) -> tuple[str, ...]:
        """The columns of data that it reads as functions of time."""
        return tuple(dict.fromkeys(path for t in self._translators() for path in t.signals))

    def _translators(self) -> tuple[Translator, ...]:
        return (self.causal.translator, *(m.causal.translator for m in self.modes))

    def all_functions(self) -> Iterator[tuple[str, ir.Function, ir.Function]]:
        """Every function, those of modes included: its name, itself, and what it was before parts were shared."""
        for functions, raw in ((self.functions, self.raw), *((m.functions, m.raw) for m in self.modes)):
            for role, function in functions.items():
                yield function.name, function, raw[role]


def lower(system: System) -> Lowered:
    """The functions of one scenario. Raises CompileError where an equation cannot be solved."""
    if system.hybrid:
        from dpl.compiler.hybrid import lower_hybrid  # builds on this module

        return lower_hybrid(system)
    causal = causal_system(system)
    return _lower_smooth(Measuring(causal, timing(causal)))


# ---------------------------------------------------------------- losses, metrics and what they read


@dataclass(frozen=True)
class Reductions:
    """What a run's reductions over time read at each instant, and which of it each of them does."""

    quadratures: tuple[Expr, ...]
    recorded: tuple[Expr, ...]
    instants: tuple[Expr, ...]
    rows: tuple[Reduced, ...]


def reductions(translator: Translator, jumps: Callable[[Expr], bool], same: Callable[[Expr], Expr]) -> Reductions:
    """The reductions that the measures of a system ask for.

    Args:
        translator: of the system; it has met them.
        jumps: whether a quantity jumps at ticks.
        same: quantities for which this is equal are recorded once.
    """
    kinds: dict[str, list[Expr]] = {"quadrature": [], "instant": [], "record": []}
    rows: list[Reduced] = []
    for reduction in translator.reductions:
        reads = TIME_REDUCTIONS[reduction.kind].reads
        if reads == "event":
            rows.append(Reduced(reduction.kind, int(reduction.value), False))
            continue
        value = same(reduction.value)
        if value not in kinds[reads]:
            kinds[reads].append(value)
        rows.append(Reduced(reduction.kind, kinds[reads].index(value), jumps(value)))
    return Reductions(tuple(kinds["quadrature"]), tuple(kinds["record"]), tuple(kinds["instant"]), tuple(rows))


class Measuring(Slices):
    """What a scenario has besides its motion: measures, ranges, what tasks free, what their critics read."""

    @cached_property
    def observed(self) -> tuple[Variable, ...]:
        """What `observe` returns; a name of the file that one of the scenario's hides is left out."""
        kinds = ("state", "input", "output", "let")
        found = [v for v in self.system.variables if v.kind in kinds and v.record is None]
        by_path = {v.path: v for v in reversed([*found, *self.translator.components.values()])}
        return tuple(reversed(by_path.values()))

    def lookups(self, read: Reductions) -> dict[str, Expr]:
        """Where tables and columns of data are read: `drive 1`, `drive 2` for the table `drive`.

        `observe` returns it too, so that a run can tell that it was beyond the ends of their points.
        """
        timing, values = self.timing, [value for _, value in self.causal.measures]
        values += [*timing.rate_symbols, *read.quadratures, *read.recorded, *read.instants]
        found = places(self.statements, map(self.causal.aliased, values))
        known = {*timing.instant, *timing.fixed, *(t for s in self.statements for t in ir.targets(s))}
        known -= timing.clocks.keys() - set(timing.held)
        counts: Counter[str] = Counter()
        told: dict[str, Expr] = {}
        for x, points in found.items():
            if known.issuperset(x.free_symbols):
                counts[path_of(points)] += 1
                told[f"{path_of(points)} {counts[path_of(points)]}"] = x
        return told

    def reductions(self) -> Reductions:
        jumping = {*self.timing.held, *self.timing.sampled_symbols}
        return reductions(self.translator, lambda value: bool(self.behind(value) & jumping), self.causal.aliased)

    def reduction_arguments(self) -> None:
        rows = tuple((r.start, r.until, r.arguments) for r in self.translator.reductions)
        if any(row != (None, None, ()) for row in rows):
            self.function("reduction_arguments", "windows and further arguments of the reductions", ("fixed",), rows)

    @property
    def reduced(self) -> tuple[Symbol, ...]:
        return tuple(r.symbol for r in self.translator.reductions)

    def results(self) -> None:
        """Losses and metrics may read each other, in any order."""
        own = {self.translator.measure(m): (m, value) for m, value in self.causal.measures}
        relations = [Relation(s, value, m.item.span, s) for s, (m, value) in own.items()]
        statements = causalize(relations, Search(self.translator, self.causal.aliases))
        returns = {m.item.name: s for s, (m, _) in own.items()} | dict(self.causal.squares)
        returns |= dict(self.causal.observed.once)
        everything = (*self.statements, *statements)
        self.function(
            "results", "every loss and metric by name", ("reduced", "fixed"), returns, self.reduced, everything
        )

    def freed(self) -> None:
        """What tasks free has a value of its own in `fixed`."""
        returns = {path: self._freed_symbol(free_let) for path, free_let in self.system.freed.items()}
        if not self.timing.fixed.issuperset(returns.values()):
            raise AssertionError("a freed let that changes during a run passed the checks: a bug in DPL")
        if returns:
            self.function("freed", "what tasks may free from its equation", ("fixed",), returns)

    def _freed_symbol(self, found: FreeLet) -> Symbol:
        return (
            self.translator.component(found.variable, found.port)
            if found.port
            else self.translator.symbol(found.variable)
        )

    def windows(self) -> dict[str, tuple[str, int]]:
        """What the critics of tasks are called with, and which reductions they go on with."""
        found: dict[str, tuple[str, int]] = {}
        for i, (task, window) in enumerate(self.system.windows.items()):
            role = f"critic_{i + 1}"
            arguments = tuple(map(self.translator.scoped, window.arguments))
            self.instant(role, f"what the critic of {task} is called with", arguments)
            found[task] = role, self.reduced.index(self.translator.scoped(window.reduction))
        return found

    def ranges(self) -> frozenset[str]:
        """The ends of invariant ranges and limits; those that move during the run are not checked."""
        returns: dict[str, Any] = {}
        for variable in self.observed:
            item = variable.declaration
            for found in (item.domain, item.limit):
                if isinstance(found, syntax.Range) and variable.path not in self.translator.components:
                    ends = self._ends(variable, found)
                    if self.timing.fixed.issuperset(free(e for e in ends if e is not None)):
                        returns[variable.path] = ends
        if returns:
            self.function("ranges", "the ends of ranges and limits", ("fixed",), returns)
        return frozenset(returns)

    def _ends(self, variable: Variable, found: syntax.Range) -> tuple[Expr | None, ...]:
        ends = [self.translator.bound(e, variable, found.unit) for e in (found.low, found.high) if e is not None]
        return tuple(None if e.has(INFINITY) else self.causal.aliased(e) for e in (*ends, INFINITY)[:2])


# ---------------------------------------------------------------- a smooth scenario


def _lower_smooth(s: Measuring) -> Lowered:
    moving = s.system.run is not None
    begin = beginning(s.causal, s.timing) if moving else Beginning((), (), ())
    read = s.reductions()
    right = [*s.timing.rate_symbols, *read.quadratures]
    rates = advanced_first(s) if moving else ()
    ticks = s.ticks(groups(s.timing), s.timing.base) if moving else ()
    pattern = None
    if moving:
        s.jumps(right)
        s.knots(right)
        s.instant("rhs", RHS, (s.timing.rate_symbols, read.quadratures))
        pattern = s.jacobian(right) if implicit(s.system) else None
        if read.recorded:
            s.instant("recorded", RECORDED, read.recorded)
        if read.instants:
            s.instant("instants", INSTANTS, read.instants)
    s.instant("observe", OBSERVE, {v.path: s.translator.symbol(v) for v in s.observed} | s.lookups(read))
    s.sensors()
    s.freed()
    windows = s.windows()
    ranged = s.ranges()
    s.reduction_arguments()
    s.results()
    if moving:
        s.start(begin)
    s.fixed(begin.starts, s.reduced)
    return Lowered(
        s.causal,
        s.timing,
        s.functions(),
        s.raw,
        s.observed,
        begin.starts,
        ticks,
        rates,
        read.rows,
        ranged,
        begin.defaults,
        TIME in s.between(right),
        windows,
        s.timing.base,
        pattern=pattern,
    )


def implicit(system: System) -> bool:
    """Whether the run's method is linearly implicit, or may be chosen to be."""
    return system.run is not None and (system.run.method is None or system.run.method.row.name == "rodas5p")


RHS = "time derivatives of the states, and what is integrated"
RECORDED = "what is recorded along the run"
INSTANTS = "what the ends are read for"
OBSERVE = "every quantity by name"


def advanced_first(s: Slices) -> tuple[int, ...]:
    """For semi-implicit Euler: all but the states whose derivative is another state, up to a fixed factor."""
    states, positions, run = s.timing.state_symbols, s.positions(), s.system.run
    assert run is not None
    if run.method and run.method.row.name == "semi_implicit" and states and not positions:
        raise CompileError([_no_positions(run.span)])
    return tuple(i for i in range(len(states)) if i not in positions)


def _no_positions(span: Any) -> Diagnostic:
    message = "`semi_implicit` advances rates first and then what they move, but no state's derivative is another state"
    help_text = "use `euler` or `rk4`, or write the model with a velocity: `x' = v`"
    return Diagnostic("no-positions", message, Label(span, "asked for here"), help=help_text)
