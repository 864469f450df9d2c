"""What varies with what: symbols that are fixed during a run, that move with time, that a clock holds."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import gcd, lcm

from dpl.compiler import ir
from dpl.compiler.algebra import TIME, Symbol, next_of, points_of, weights_of
from dpl.compiler.equations import CausalSystem
from dpl.compiler.noise import RUN_NOISE
from dpl.language.model import Clock, Variable


@dataclass(frozen=True)
class Timing:
    """The symbols of a causal system by when they change."""

    causal: CausalSystem
    inputs: frozenset[Symbol]
    """Params, givens, weights, points, and what tells the noise of a run"""
    fixed: frozenset[Symbol]
    """What depends on nothing but inputs, inputs included"""
    states: tuple[tuple[Variable, int], ...]
    """Continuous states, with the orders of derivatives that are states too"""
    sampled: tuple[Variable, ...]
    """States that move at ticks"""
    clocks: dict[Symbol, Clock]
    """The clock of each symbol that is evaluated at ticks, next values of states included"""
    held: tuple[Symbol, ...]
    """What is evaluated at ticks and read between them"""

    @property
    def state_symbols(self) -> tuple[Symbol, ...]:
        return tuple(self.causal.translator.symbol(v, k) for v, k in self.states)

    @property
    def rate_symbols(self) -> tuple[Symbol, ...]:
        return tuple(self.causal.translator.symbol(v, k + 1) for v, k in self.states)

    @property
    def sampled_symbols(self) -> tuple[Symbol, ...]:
        return tuple(self.causal.translator.symbol(v) for v in self.sampled)

    @cached_property
    def instant(self) -> frozenset[Symbol]:
        """What is given at any instant between ticks."""
        return frozenset((TIME, *self.state_symbols, *self.sampled_symbols, *self.held))

    @cached_property
    def base(self) -> Fraction | None:
        """The greatest common divisor of all periods."""
        periods = {c.period for c in self.clocks.values()}
        if not periods:
            return None
        over = lcm(*(p.denominator for p in periods))
        return Fraction(gcd(*(int(p * over) for p in periods)), over)


def timing(causal: CausalSystem) -> Timing:
    """When each symbol of the system changes."""
    translator, variables = causal.translator, causal.system.variables
    states = tuple((v, k) for v, n in translator.structure.orders.items() for k in range(n))
    sampled = tuple(v for v in variables if v.kind == "state" and v.clock is not None)
    inputs = {translator.symbol(v) for v in variables if v.kind in ("param", "given")}
    inputs |= {weights_of(path) for path in translator.networks}
    inputs |= {points_of(path) for path in (*translator.tables, *translator.signals)}
    inputs |= {points_of(t.path) for t in causal.system.tables} | {points_of(v.path) for v in causal.system.signals}
    inputs |= {RUN_NOISE for v in variables if v.noise}
    moving = {TIME, *(translator.symbol(*s) for s in states), *(translator.symbol(v) for v in sampled)}
    fixed, clocks = set(inputs), dict[Symbol, Clock]()
    owner = {**{s: v.clock for s, (v, _) in translator.quantities.items()}}
    owner |= {next_of(translator.symbol(v)): v.clock for v in sampled}
    for statement in causal.statements:
        targets = ir.targets(statement)
        if not (ir.reads(statement) & moving):
            fixed |= set(targets)
            continue
        moving |= set(targets)
        clocks |= {t: clock for t in targets if (clock := owner.get(t)) is not None}
    determined = {t for s in causal.statements for t in ir.targets(s)}
    for variable in sampled:  # a next value that happens to be fixed still belongs to its clock
        following = next_of(translator.symbol(variable))
        if variable.clock is not None and following in determined:
            clocks.setdefault(following, variable.clock)
    nexts = {next_of(translator.symbol(v)) for v in sampled}
    held = tuple(s for s in clocks if s not in nexts and translator.quantities[s][0].record is None)
    return Timing(causal, frozenset(inputs), frozenset(fixed), states, sampled, clocks, held)


# ---------------------------------------------------------------- the order of clocks within a tick


@dataclass(frozen=True)
class Group:
    """What blocks of one clock compute together at a tick."""

    clock: Clock
    targets: tuple[Symbol, ...]


def groups(found: Timing) -> list[Group]:
    """The work of a tick in an order in which it can be done, with few changes of clock."""
    waiting = _needs(found)
    order = list(waiting)
    result: list[Group] = []
    while order:
        ready = next(s for s in order if not waiting[s])
        clock, done = found.clocks[ready], list[Symbol]()
        while True:
            more = [s for s in order if found.clocks[s] == clock and not (waiting[s] - set(done))]
            if not more:
                break
            done += more
            order = [s for s in order if s not in more]
        waiting = {s: waiting[s] - set(done) for s in order}
        result.append(Group(clock, tuple(done)))
    return result


def _needs(found: Timing) -> dict[Symbol, set[Symbol]]:
    """For each symbol of a clock, those of clocks that it needs in the same tick, through what has no clock."""
    through: dict[Symbol, set[Symbol]] = {}
    result: dict[Symbol, set[Symbol]] = {}
    for statement in found.causal.statements:
        needs: set[Symbol] = set()
        for read in ir.reads(statement):
            needs |= {read} if read in found.clocks else through.get(read, set())
        for target in ir.targets(statement):
            through[target] = needs
            if target in found.clocks:
                result[target] = needs - set(ir.targets(statement))
    for target in found.clocks:  # next values that are fixed
        result.setdefault(target, set())
    return result
