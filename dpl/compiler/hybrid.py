"""A scenario with events: a smooth system for each combination of its modes, and what happens between them.

All modes share one layout of states, of what is held, integrated and recorded. What no mode changes (results, ranges,
what tasks free) is computed once, from the statements that all modes have in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from math import gcd, lcm

from dpl.compiler import ir
from dpl.compiler.algebra import INFINITY, NAN, TIME, ZERO, Expr, Symbol, number
from dpl.compiler.equations import CausalSystem, causal_system
from dpl.compiler.lower import (
    INSTANTS,
    OBSERVE,
    RECORDED,
    RHS,
    Lowered,
    LoweredMode,
    LoweredTransition,
    Measuring,
    Reductions,
    advanced_first,
    reductions,
)
from dpl.compiler.margins import margin
from dpl.compiler.names import identifier
from dpl.compiler.shapes import Shapes
from dpl.compiler.slices import INSTANT
from dpl.compiler.start import beginning
from dpl.compiler.timing import Timing, groups, timing
from dpl.language.depend import reads
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.model import Event, System, Variable
from dpl.language.modes import Configuration, configurations, configured, name, rules


def lower_hybrid(system: System) -> Lowered:
    """The functions of a scenario with events. Raises CompileError where an equation cannot be solved."""
    combinations = configurations(system)
    causals = [causal_system(configured(system, c)) for c in combinations]
    timings = _one_layout([timing(c) for c in causals])
    base = _base(timings)
    unset = _unset(system, combinations)
    modes = [_Mode(system, *each) for each in zip(causals, timings, combinations, unset, strict=True)]
    jumping = {s for t in timings for s in (*t.held, *t.sampled_symbols)}
    read = [m.reductions(jumping) for m in modes]
    rows = read[0].rows
    assert all(r.rows == rows for r in read), "modes differ in what they record: a bug in DPL"
    looked = _lookups(modes, read)
    lowered = [m.lowered(r, base, places) for m, r, places in zip(modes, read, looked, strict=True)]
    begin = beginning(causals[0], timings[0])
    modes[0].start(begin)
    for mode in modes:
        mode.fixed(begin.starts if mode is modes[0] else ())
    common = _common(causals[0], timings[0], causals)
    measured, windows, ranged = _measured(common)
    return Lowered(
        causals[0],
        timings[0],
        measured.functions(),
        measured.raw,
        modes[0].observed,
        begin.starts,
        (),
        (),
        rows,
        ranged,
        begin.defaults,
        False,
        windows,
        base,
        tuple(replace(m, functions=s.functions(), raw=s.raw) for m, s in zip(lowered, modes, strict=True)),
    )


def _lookups(modes: Sequence[_Mode], read: Sequence[Reductions]) -> list[dict[str, Expr]]:
    """By mode the numbers at which something is looked up in any mode; NaN where it is not in this one."""
    found: list[dict[str, Expr]] = []
    for mode, reduced in zip(modes, read, strict=True):
        shapes = Shapes(mode.translator)
        found.append({name: mode.or_nan(x) for name, x in mode.lookups(reduced).items() if not shapes.of(x)})
    names = dict.fromkeys(name for places in found for name in places)
    return [{name: places.get(name, NAN) for name in names} for places in found]


def _one_layout(timings: list[Timing]) -> list[Timing]:
    """The same with what any mode holds between ticks held in all."""
    held = tuple(dict.fromkeys(s for t in timings for s in t.held))
    return [replace(t, held=held) for t in timings]


def _base(timings: list[Timing]) -> Fraction | None:
    """The greatest common divisor of the periods of all modes."""
    bases = {t.base for t in timings if t.base is not None}
    if not bases:
        return None
    over = lcm(*(b.denominator for b in bases))
    return Fraction(gcd(*(int(b * over) for b in bases)), over)


# ---------------------------------------------------------------- what no mode changes


def _common(causal: CausalSystem, first: Timing, causals: list[CausalSystem]) -> Measuring:
    """What is fixed by statements that all modes have in common."""
    shared = set(causal.statements).intersection(*(c.statements for c in causals[1:]))
    statements = tuple(s for s in causal.statements if s in shared)
    known = {*first.inputs, *(t for s in statements for t in ir.targets(s))}
    fixed = frozenset(s for s in first.fixed if s in known)
    return Measuring(replace(causal, statements=statements), replace(first, fixed=fixed))


def _measured(s: Measuring) -> tuple[Measuring, dict[str, tuple[str, int]], frozenset[str]]:
    s.freed()
    windows = s.windows()
    ranged = s.ranges()
    s.reduction_arguments()
    s.results()
    s.fixed((), s.reduced)
    leads = {path: symbol for path, symbol in s.causal.leading if symbol in s.timing.fixed}
    if leads:
        doc = "results of networks that depend neither on time nor on state"
        s.raw["leading"] = s.of_values("leading", doc, leads)
    return s, windows, ranged


# ---------------------------------------------------------------- one combination of modes


class _Mode(Measuring):
    """What the runtime asks of one combination of modes."""

    def __init__(
        self,
        whole: System,
        causal: CausalSystem,
        timing: Timing,
        configuration: Configuration,
        unset: frozenset[Variable],
    ):
        self.mode = name(configuration)
        super().__init__(causal, timing, f"{identifier(self.mode)}_" if self.mode else "")
        self.whole, self.configuration = whole, configuration
        self.unset = frozenset(s for s, (v, _) in zip(timing.state_symbols, timing.states, strict=True) if v in unset)

    def reductions(self, jumping: set[Symbol] = frozenset()) -> Reductions:  # pyright: ignore[reportArgumentType]
        """Told apart by their text, not by what they equal in this mode, so that they are the same in all."""
        return reductions(self.translator, lambda value: bool(self.behind(value) & jumping), lambda value: value)

    def lowered(self, read: Reductions, base: Fraction | None, places: dict[str, Expr]) -> LoweredMode:
        """All but `fixed`, which comes last, and `start`; `places`: where something is looked up."""
        still = self.translator.structure.held
        moved = tuple(i for i, (v, _) in enumerate(self.timing.states) if v not in still)
        rates = tuple(r if i in moved else ZERO for i, r in enumerate(self.timing.rate_symbols))
        right = [*rates, *read.quadratures]
        ticks = self.ticks(groups(self.timing), base)
        self.jumps(right)
        self.instant("rhs", RHS, (rates, self.valued(read.quadratures, "integrates")))
        if read.recorded:
            self.instant("recorded", RECORDED, self.valued(read.recorded, "reads along the run"))
        if read.instants:
            self.instant("instants", INSTANTS, tuple(ZERO if self.lacks(e) else e for e in read.instants))
        valueless = tuple(i for i, e in enumerate(read.instants) if self.lacks(e))
        quantities = {v.path: self.or_nan(self.translator.symbol(v)) for v in self.observed}
        self.instant("observe", OBSERVE, quantities | places)
        self.sensors(self.or_nan)
        transitions = tuple(self.transition(e) for e in self.system.events)
        self.knots([*right, *self.conditions()])
        self.project()
        spans = [a.spans[a.modes.index(m)] for a, m in self.configuration.items()]
        return LoweredMode(
            self.mode,
            self.causal,
            {},
            {},
            ticks,
            moved,
            advanced_first(self),
            transitions,
            valueless,
            TIME in self.between(right),
            spans[0].origin if spans else "",
        )

    # ------------------------------------------------------------ what has no value here

    @cached_property
    def valueless(self) -> frozenset[Symbol]:
        """What no statement of this mode determines, what no one has set yet, and what reads such."""
        known = {*self.timing.instant, *self.timing.fixed, INFINITY} - self.unset
        bad = {*self.unset}
        for statement in self.statements:
            targets = set(ir.targets(statement)) - self.timing.instant
            (known if ir.reads(statement) <= known else bad).update(targets)
        everything = {self.translator.symbol(v) for v in self.observed}
        return frozenset(bad | (everything - known))

    def lacks(self, value: Expr) -> bool:
        """Whether a quantity has no value in this mode."""
        return bool(self.causal.aliased(value).free_symbols & self.valueless)

    def or_nan(self, value: Expr) -> Expr:
        return NAN if self.lacks(value) else value

    def valued(self, values: Sequence[Expr], what: str) -> tuple[Expr, ...]:
        """What must have a value in every mode: that it has none in this one is said, not left out."""
        for value in values:
            found = sorted(value.free_symbols & self.valueless, key=lambda s: s.name)
            if found:
                variable = self.translator.quantities[found[0]][0]
                message = f"`{found[0]}`, which a loss or metric {what}, has no value in mode `{self.mode}`"
                word = "a start" if variable.kind == "state" else "a value there"
                help_text = f"give it {word}: `{variable.kind} {variable.declaration.name} = …`"
                label = Label(variable.span, "declared here")
                raise CompileError([Diagnostic("no-value-in-mode", message, label, help=help_text)])
        return tuple(values)

    # ------------------------------------------------------------ events

    def project(self) -> None:
        """States moved onto the constraints."""
        found = self.causal.projection
        if found is not None:
            states = tuple(found.states.get(s, s) for s in self.timing.state_symbols)
            doc = "the states, moved onto the constraints"
            statements = (*self.statements, *(ir.mapped(s, self.causal.aliased) for s in found.statements))
            self.function("project", doc, INSTANT, states, self.timing.instant, statements)

    def transition(self, event: Event) -> LoweredTransition:
        number_ = self.whole.events.index(event)
        role, states, sampled = None, tuple[int, ...](), tuple[int, ...]()
        if event.assignments:
            role = f"event_{number_ + 1}"
            found = [(a, self.place(a.target, a.order)) for a in event.assignments]
            continuous = [(a, i) for a, (kind, i) in found if kind == "x"]
            at_ticks = [(a, i) for a, (kind, i) in found if kind == "z"]
            values = tuple(tuple(self.translator.scoped(a.value) for a, _ in some) for some in (continuous, at_ticks))
            self.instant(role, f"what {event.path} sets", values)
            states, sampled = tuple(i for _, i in continuous), tuple(i for _, i in at_ticks)
        watch = "tick" if event.sampled else "state" if event.condition is not None else "time"
        return LoweredTransition(number_, watch, event.at_once, role, states, sampled, self.goes(event), event.stop)

    def place(self, variable: Variable, order: int) -> tuple[str, int]:
        """Whether it is a continuous or a sampled state, and which."""
        if variable.clock is not None:
            return "z", self.timing.sampled.index(variable)
        return "x", self.timing.states.index((variable, order))

    def goes(self, event: Event) -> tuple[int, int] | None:
        if event.go is None:
            return None
        automaton, mode = event.go
        return self.whole.automata.index(automaton), automaton.modes.index(mode)

    def conditions(self) -> list[Expr]:
        """Margins of what is watched between ticks, which it returns, and at them; and the alarms."""
        margins: list[Expr] = []
        watched = [e for e in self.system.events if e.condition is not None]
        for role, doc, sampled in (
            ("margins", "positive where an event's condition holds", False),
            ("tests", "the same for events that are looked at at ticks", True),
        ):
            events = [e for e in watched if e.sampled == sampled]
            if events:
                found = [e.condition for e in events if e.condition is not None]
                values = [margin(self.translator.scoped(c)) for c in found]
                self.instant(role, doc, tuple(values))
                margins += [] if sampled else values
        timed = [self.alarm(e) for e in self.system.events if e.condition is None]
        if timed:
            doc = "first time, period and last time of each event that a clock sets off"
            self.function("alarms", doc, ("fixed",), tuple(timed))
        return margins

    def alarm(self, event: Event) -> tuple[Expr, Expr, Expr]:
        if event.at is not None:
            return self.translator.scoped(event.at), ZERO, INFINITY
        run = self.system.run
        assert event.every is not None and run is not None
        first = self.translator.scoped(event.start) if event.start else number(run.start)
        last = self.translator.scoped(event.until) if event.until else INFINITY
        return first, self.translator.scoped(event.every), last


# ---------------------------------------------------------------- what has not been set yet


def _unset(system: System, combinations: Sequence[Configuration]) -> list[frozenset[Variable]]:
    """For each combination the states that no way into it has given a value."""
    initial = {r.what for e in system.equations if e.kind == "initial" for r in (*reads(e.left), *reads(e.right))}
    bare = frozenset(v for v in system.variables if v.kind == "state" and v.value is None and v not in initial)
    found: dict[int, frozenset[Variable]] = {0: bare}
    waiting = [0]
    while waiting:
        i = waiting.pop()
        for event in system.events:
            if event.go is None or not rules(event.during, combinations[i]):
                continue
            after = {**combinations[i], event.go[0]: event.go[1]}
            j = next(k for k, c in enumerate(combinations) if dict(c) == after)
            left = found[i] - {a.target for a in event.assignments}
            both = left if j not in found else found[j] & left
            if j not in found or both != found[j]:
                found[j] = both
                waiting.append(j)
    return [found.get(i, frozenset()) for i in range(len(combinations))]
