"""Slices of one ordered list of statements: each function gets what its results need, less what it is given.

What depends neither on time nor on state is computed once per run, in `fixed`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from dpl.compiler import ir, noise
from dpl.compiler.algebra import (
    ONE,
    ZERO,
    Expr,
    Symbol,
    by_name,
    free,
    next_of,
    opaque,
    points_of,
    sp,
    start_of,
    symbols_in,
    weights_of,
)
from dpl.compiler.equations import CausalSystem
from dpl.compiler.grouping import grouped, large
from dpl.compiler.jacobian import jacobian as entries
from dpl.compiler.jumps import switching_times
from dpl.compiler.lookups import point_times
from dpl.compiler.shapes import Shapes
from dpl.compiler.simplify import Hoisting, changed, share
from dpl.compiler.start import Beginning, Start
from dpl.compiler.timing import Group, Timing
from dpl.compiler.trigonometry import unfolded
from dpl.compiler.vectors import Vectors

Statements = Sequence[ir.Statement]


@dataclass(frozen=True)
class Tick:
    """One row of `spec.Clock`: every how many base ticks, the function's role, the sampled states it advances."""

    every: int
    role: str
    states: tuple[int, ...]


Pattern = tuple[tuple[int, ...], tuple[int, ...]]

INSTANT = ("time", "states", "sampled", "held", "fixed")
JACOBIAN = "the derivatives of `rhs` by the states and the time that are not zero"
SENSORS = "what each observation along the run is distributed by"
_STARTING = "the states at the start; the first tick replaces what is held"


class Slices:
    """The functions of one causal system, by role; what `fixed` must compute for the others gathers in `hoisting`."""

    def __init__(self, causal: CausalSystem, timing: Timing, prefix: str = ""):
        self.causal, self.translator, self.system = causal, causal.translator, causal.system
        self.timing, self.prefix = timing, prefix
        self.hoisting = Hoisting(timing.fixed)
        self.vectors = Vectors(Shapes(causal.translator))
        self.raw: dict[str, ir.Function] = {}

    @property
    def statements(self) -> Statements:
        return self.causal.statements

    def functions(self) -> dict[str, ir.Function]:
        """All of them, with common parts computed once; those of a large system in groups."""
        if self.prefix or "rhs" not in self.raw or not large(self.raw):
            return {role: _shared(f) for role, f in self.raw.items()}
        found = grouped(self.raw, Shapes(self.translator).numbers(self.raw["fixed"].body))
        return {role: f if ir.vectors(f) else _shared(f) for role, f in found.items()}

    def function(
        self,
        role: str,
        doc: str,
        arguments: tuple[str, ...],
        returns: Any,
        known: Iterable[Symbol] = (),
        statements: Statements | None = None,
    ) -> None:
        """A function of what `known` and `fixed` hold; of those called at every step the invariants are hoisted."""
        returns = ir.mapped_leaves(returns, self.causal.aliased)
        given = {*known, *self.timing.fixed}
        body = sliced(statements or self.statements, ir.leaves(returns), given)
        body = [ir.mapped(s, self.vectors) for s in body]
        returns = ir.mapped_leaves(returns, self.vectors)
        if "time" in arguments:
            body, leaves = changed(body, ir.leaves(returns), self._folded)
            body, returns = sliced(body, leaves, given), ir.refilled(returns, leaves)
            body, leaves = changed(body, ir.leaves(returns), lambda exprs: unfolded(exprs, self._stays))
            body = [ir.mapped(s, self.hoisting.hoist) for s in body]
            returns = ir.mapped_leaves(ir.refilled(returns, leaves), self.hoisting.hoist)
        self.raw[role] = ir.Function(self.prefix + role, doc, arguments, (), (), tuple(body), returns)

    def _folded(self, exprs: list[Expr]) -> list[Expr]:
        """With 0, 1 and -1 for the names that are that: terms vanish, factors go. Other numbers stay readable names."""
        folded = [e.xreplace(self._units) for e in exprs]
        return [e if f.has(sp.zoo, sp.nan, sp.oo) else f for e, f in zip(exprs, folded, strict=True)]

    @cached_property
    def _units(self) -> dict[Symbol, Expr]:
        plain = {s for s, (variable, _) in self.translator.quantities.items() if not variable.shape}
        found = [s for s in self.statements if isinstance(s, ir.Assign) and s.target in plain]
        return {s.target: s.value for s in found if s.value in (ZERO, ONE, -ONE)}

    def _stays(self, expr: Expr) -> bool:
        """Whether an expression does not change during a run."""
        return self.timing.fixed.issuperset(symbols_in(expr))

    def instant(self, role: str, doc: str, returns: Any) -> None:
        """A function of an instant between ticks."""
        self.function(role, doc, INSTANT, returns, self.timing.instant)

    # ------------------------------------------------------------ ticks and the start

    def ticks(self, groups: Sequence[Group], base: Fraction | None) -> tuple[Tick, ...]:
        """A function for each group of blocks, `tick_1` and so on; and the rows that tell when each is due."""
        for i, group in enumerate(groups):
            self.tick(f"tick_{i + 1}", group)
        return tuple(self._tick_row(f"tick_{i + 1}", group, base) for i, group in enumerate(groups))

    def tick(self, role: str, group: Group) -> None:
        """What one group of blocks holds from this tick on, and their states at the next."""
        mine = set(group.targets)
        nexts = ((next_of(s), s) for s in self.timing.sampled_symbols)
        returns = (self.timing.held, tuple(n if n in mine else s for n, s in nexts))
        doc = f"a tick with a period of {float(group.clock.period):g} s: what blocks hold, and their next states"
        self.function(role, doc, INSTANT, returns, self.timing.instant - mine)

    def _tick_row(self, role: str, group: Group, base: Fraction | None) -> Tick:
        assert base is not None
        nexts = [next_of(s) for s in self.timing.sampled_symbols]
        states = tuple(i for i, n in enumerate(nexts) if n in group.targets)
        return Tick(int(group.clock.period / base), role, states)

    def start(self, begin: Beginning) -> None:
        held = tuple(self._blank(s) for s in self.timing.held)
        returns = (self.timing.state_symbols, self.timing.sampled_symbols, held)
        self.function("start", _STARTING, ("fixed",), returns, statements=begin.statements)

    def _blank(self, held: Symbol) -> Expr:
        quantity = self.translator.quantities.get(held)
        shape = quantity[0].shape if quantity else ()
        return opaque("zeros")(*map(sp.Integer, shape)) if shape else ZERO

    # ------------------------------------------------------------ what is read

    def behind(self, value: Expr) -> set[Symbol]:
        """Every symbol that the value depends on, up to what is held."""
        found = set(value.free_symbols)
        held = set(self.timing.held)
        for statement in reversed(self.statements):
            if set(ir.targets(statement)) & (found - held):
                found |= ir.reads(statement)
        return found

    def between(self, values: Sequence[Expr]) -> set[Symbol]:
        """What the right-hand side reads between ticks, itself or through names."""
        body = self._body(values)
        return {s for statement in body for s in ir.reads(statement)} | free(map(self.causal.aliased, values))

    def _body(self, values: Sequence[Expr]) -> list[ir.Statement]:
        known = {*self.timing.instant, *self.timing.fixed}
        return sliced(self.statements, map(self.causal.aliased, values), known)

    def jumps(self, values: Sequence[Expr]) -> None:
        """The times at which a comparison of the time with what is fixed changes: a solver begins anew there."""
        exprs = [e for s in self._body(values) for e in ir.expressions(s)] + [*map(self.causal.aliased, values)]
        fixed = self.timing.fixed
        found = dict.fromkeys(t for e in exprs for t in switching_times(e) if fixed.issuperset(t.free_symbols))
        if found:
            self.function("jumps", "times at which the right-hand side jumps or has a kink", ("fixed",), tuple(found))

    def knots(self, values: Sequence[Expr]) -> None:
        """The times at which tables and data that the right-hand side looks up by the time pass their points."""
        if not self.translator.tables and not self.translator.signals:
            return
        shapes = Shapes(self.translator)
        found = point_times(
            self._body(values), map(self.causal.aliased, values), lambda e: self._stays(e) and not shapes.of(e)
        )
        if found:
            doc = "times at which what is looked up by the time passes its points"
            self.function("knots", doc, ("fixed",), tuple(found))

    def positions(self) -> frozenset[int]:
        """The states whose derivative is another state, up to a fixed factor: semi-implicit Euler moves them last."""
        values = {s.target: s.value for s in self.statements if isinstance(s, ir.Assign)}
        states, found = self.timing.state_symbols, set[int]()
        known = frozenset(states)
        for i, rate in enumerate(map(self.causal.aliased, self.timing.rate_symbols)):
            value = rate if rate in known else values.get(rate, rate)
            moving = [a for a in sp.Mul.make_args(value) if not self.timing.fixed.issuperset(a.free_symbols)]
            if len(moving) == 1 and moving[0] in known and moving[0] != states[i]:
                found.add(i)
        return frozenset(found)

    def jacobian(self, right: Sequence[Expr]) -> Pattern | None:
        """The function `jacobian`, where the derivatives of the right-hand side are known; what its entries are."""
        states = self.timing.state_symbols
        if not states or any(self.translator.quantities[s][0].shape for s in states):
            return None
        right = [self.causal.aliased(e) for e in right]
        found = entries(self._body(right), right, states)
        if found is None:
            return None
        self.function(
            "jacobian", JACOBIAN, INSTANT, found.values, self.timing.instant, (*self.statements, *found.statements)
        )
        return found.rows, found.columns

    # ------------------------------------------------------------ what is compared with data

    @property
    def row(self) -> tuple[Symbol, ...]:
        """What `sensors` is told of a row of data."""
        return tuple(map(self.translator.symbol, self.causal.observed.row))

    def sensors(self, change: Callable[[Expr], Expr] = lambda e: e) -> None:
        """The arguments of what is observed along the run."""
        found = self.causal.observed.timed
        if found:
            returns = tuple(tuple(map(change, arguments)) for arguments in found)
            self.function("sensors", SENSORS, (*INSTANT, "row"), returns, {*self.timing.instant, *self.row})

    # ------------------------------------------------------------ what is fixed

    def fixed(self, starts: tuple[Start, ...], reduced: tuple[Symbol, ...] = ()) -> None:
        """`fixed`, which computes what the others read of what does not move; and what each unpacks."""
        hoisted = [ir.Assign(s, e) for s, e in self.hoisting.named()]
        keys = {start_of(s.path): s.path for s in starts}
        known = {*self.timing.fixed, *(a.target for a in hoisted), *keys}
        wanted = tuple(dict.fromkeys(s for f in self.raw.values() for s in by_name(f.reads() & known)))
        doc = "what depends neither on time nor on state"
        fixed = self.of_values("fixed", doc, wanted, keys, hoisted)
        layout = {
            "states": self.timing.state_symbols,
            "sampled": self.timing.sampled_symbols,
            "held": self.timing.held,
            "reduced": reduced,
            "row": self.row,
            "fixed": wanted,
        }
        for role, f in self.raw.items():
            if f.arguments != ("values",):
                unpack = tuple((a, layout[a]) for a in f.arguments if a in layout)
                self.raw[role] = ir.Function(f.name, f.doc, f.arguments, unpack, (), f.body, f.returns)
        self.raw = {"fixed": fixed, **self.raw}

    def of_values(
        self, role: str, doc: str, returns: Any, keys: dict[Symbol, str] | None = None, more: Statements = ()
    ) -> ir.Function:
        """A function of the values that a run is given: params, givens, weights, and the starts that `keys` names."""
        keys = dict(keys or {})
        inputs = {*self.timing.inputs, *keys}
        returns = ir.mapped_leaves(returns, self.vectors)
        wanted = ir.leaves(returns)
        body = [ir.mapped(s, self.vectors) for s in sliced((*self.statements, *more), wanted, inputs)]
        read = {r for s in body for r in ir.reads(s)} | free(wanted)
        keys |= {self.translator.symbol(v): v.path for v in self.system.variables if v.kind in ("param", "given")}
        keys |= {weights_of(path): path for path in self.translator.networks}
        keys |= {points_of(path): path for path in (*self.translator.tables, *self.translator.signals)}
        keys[noise.RUN_NOISE] = noise.NAME
        lookups = tuple((s, "values", keys[s]) for s in by_name(read & inputs))
        return ir.Function(self.prefix + role, doc, ("values",), (), lookups, tuple(body), returns)


def sliced(statements: Statements, exprs: Iterable[Expr], known: set[Symbol]) -> list[ir.Statement]:
    """The statements that the expressions need beyond what is known, in order."""
    needed = free(exprs) - known
    chosen: list[ir.Statement] = []
    for statement in reversed(statements):
        if needed.intersection(ir.targets(statement)):
            chosen.append(statement)
            needed |= ir.reads(statement) - known
    return chosen[::-1]


def _shared(function: ir.Function) -> ir.Function:
    """The function with common parts computed once."""
    body, leaves = share(list(function.body), ir.leaves(function.returns))
    f = function
    return ir.Function(f.name, f.doc, f.arguments, f.unpack, f.lookups, tuple(body), ir.refilled(f.returns, leaves))
