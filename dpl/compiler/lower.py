"""A scenario's equations into the functions of `runtime/spec.py`.

Every function is a slice of one ordered list of statements: what its results need, less what it is given. What depends
neither on time nor on state is computed once per run, in `fixed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dpl.compiler import ir
from dpl.compiler.algebra import (
    INFINITY,
    TIME,
    ZERO,
    Expr,
    Symbol,
    by_name,
    free,
    next_of,
    opaque,
    sp,
    start_of,
    weights_of,
)
from dpl.compiler.equations import CausalSystem, Search, causal_system
from dpl.compiler.jumps import switching_times
from dpl.compiler.simplify import Hoisting, share
from dpl.compiler.start import Beginning, Start, beginning
from dpl.compiler.structure import Relation, causalize
from dpl.compiler.timing import Group, Timing, groups, timing
from dpl.language import syntax
from dpl.language.builtins import TIME_REDUCTIONS
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.model import FreeLet, System, Variable

Statements = Sequence[ir.Statement]


@dataclass(frozen=True)
class Tick:
    """One row of `spec.Clock`: every how many base ticks, the function's role, the sampled states it advances."""

    every: int
    role: str
    states: tuple[int, ...]


@dataclass(frozen=True)
class Reduced:
    """One row of `spec.Reduction`."""

    kind: str
    index: int
    held: bool


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

    @property
    def system(self) -> System:
        return self.causal.system


def lower(system: System) -> Lowered:
    """The functions of one scenario. Raises CompileError where an equation cannot be solved."""
    return _Lowering(causal_system(system)).lowered()


_INSTANT = ("time", "states", "sampled", "held", "fixed")
_STARTING = "the states at the start; the first tick replaces what is held"


class _Lowering:
    """Builds the functions of one scenario; what `fixed` must compute for the others is gathered in `hoisting`."""

    def __init__(self, causal: CausalSystem):
        self.causal, self.translator, self.system = causal, causal.translator, causal.system
        self.timing = timing(causal)
        self.hoisting = Hoisting(self.timing.fixed)
        self.raw: dict[str, ir.Function] = {}

    def lowered(self) -> Lowered:
        begin = beginning(self.causal, self.timing) if self.system.run is not None else Beginning((), (), ())
        work = groups(self.timing) if self.system.run is not None else []
        integrands, reads, reductions = self.reductions()
        rates = self.rates() if self.system.run is not None else ()
        if self.system.run is not None:
            for i, group in enumerate(work):
                self.tick(f"tick_{i + 1}", group)
            values = (self.timing.rate_symbols, tuple(integrands))
            self.jumps([*self.timing.rate_symbols, *integrands])
            self.instant("rhs", "time derivatives of the states, and what is integrated", values)
            for name, doc in (
                ("recorded", "what is recorded along the run"),
                ("instants", "what the ends are read for"),
            ):
                if reads[name]:
                    self.instant(name, doc, tuple(reads[name]))
        self.instant("observe", "every quantity by name", {v.path: self.translator.symbol(v) for v in self.observed})
        self.freed()
        windows = self.windows()
        ranged = self.ranges()
        self.reduction_arguments()
        self.results()
        if self.system.run is not None:
            self.start(begin)
        self.fixed(begin.starts)
        functions = {name: _shared(f) for name, f in self.raw.items()}
        ticks = tuple(self.tick_row(f"tick_{i + 1}", group) for i, group in enumerate(work))
        return Lowered(
            self.causal,
            self.timing,
            functions,
            self.raw,
            self.observed,
            begin.starts,
            ticks,
            rates,
            reductions,
            ranged,
            begin.defaults,
            TIME in self.between([*self.timing.rate_symbols, *integrands]),
            windows,
        )

    @cached_property
    def observed(self) -> tuple[Variable, ...]:
        """What `observe` returns; a name of the file that one of the scenario's hides is left out."""
        kinds = ("state", "input", "output", "let")
        found = [v for v in self.system.variables if v.kind in kinds and v.record is None]
        by_path = {v.path: v for v in reversed([*found, *self.translator.components.values()])}
        return tuple(reversed(by_path.values()))

    # ------------------------------------------------------------ slices

    def function(
        self,
        name: str,
        doc: str,
        arguments: tuple[str, ...],
        returns: Any,
        known: Iterable[Symbol] = (),
        statements: Statements | None = None,
    ) -> None:
        """A function of what `known` and `fixed` hold; of those called at every step the invariants are hoisted."""
        returns = ir.mapped_leaves(returns, self.causal.aliased)
        body = sliced(statements or self.causal.statements, ir.leaves(returns), {*known, *self.timing.fixed})
        if "time" in arguments:
            body = [ir.mapped(s, self.hoisting.hoist) for s in body]
            returns = ir.mapped_leaves(returns, self.hoisting.hoist)
        self.raw[name] = ir.Function(name, doc, arguments, (), (), tuple(body), returns)

    def instant(self, name: str, doc: str, returns: Any) -> None:
        self.function(name, doc, _INSTANT, returns, self.timing.instant)

    def tick(self, name: str, group: Group) -> None:
        """What one group of blocks holds from this tick on, and their states at the next."""
        mine = set(group.targets)
        nexts = ((next_of(s), s) for s in self.timing.sampled_symbols)
        returns = (self.timing.held, tuple(n if n in mine else s for n, s in nexts))
        doc = f"a tick with a period of {float(group.clock.period):g} s: what blocks hold, and their next states"
        self.function(name, doc, _INSTANT, returns, self.timing.instant - mine)

    def tick_row(self, name: str, group: Group) -> Tick:
        assert self.timing.base is not None
        nexts = [next_of(s) for s in self.timing.sampled_symbols]
        states = tuple(i for i, n in enumerate(nexts) if n in group.targets)
        return Tick(int(group.clock.period / self.timing.base), name, states)

    def start(self, begin: Beginning) -> None:
        held = tuple(self.blank(s) for s in self.timing.held)
        returns = (self.timing.state_symbols, self.timing.sampled_symbols, held)
        self.function("start", _STARTING, ("fixed",), returns, statements=begin.statements)

    def blank(self, held: Symbol) -> Expr:
        shape = self.translator.quantities[held][0].shape
        return opaque("zeros")(*map(sp.Integer, shape)) if shape else ZERO

    # ------------------------------------------------------------ losses and metrics

    def reductions(self) -> tuple[list[Expr], dict[str, list[Expr]], tuple[Reduced, ...]]:
        """What is integrated, what is recorded and read at the ends, and which of it each reduction reads."""
        kinds: dict[str, list[Expr]] = {"quadrature": [], "instant": [], "record": []}
        rows: list[Reduced] = []
        jumping = {*self.timing.held, *self.timing.sampled_symbols}
        for reduction in self.translator.reductions:
            exprs = kinds[TIME_REDUCTIONS[reduction.kind].reads]
            value = self.causal.aliased(reduction.value)
            if value not in exprs:
                exprs.append(value)
            rows.append(Reduced(reduction.kind, exprs.index(value), bool(self.behind(value) & jumping)))
        return kinds["quadrature"], {"recorded": kinds["record"], "instants": kinds["instant"]}, tuple(rows)

    def behind(self, value: Expr) -> set[Symbol]:
        """Every symbol that the value depends on, up to what is held."""
        found = set(value.free_symbols)
        held = set(self.timing.held)
        for statement in reversed(self.causal.statements):
            if set(ir.targets(statement)) & (found - held):
                found |= ir.reads(statement)
        return found

    def between(self, values: list[Expr]) -> set[Symbol]:
        """What the right-hand side reads between ticks, itself or through names."""
        body = self.statements_of(values)
        return {s for statement in body for s in ir.reads(statement)} | free(map(self.causal.aliased, values))

    def statements_of(self, values: list[Expr]) -> list[ir.Statement]:
        known = {*self.timing.instant, *self.timing.fixed}
        return sliced(self.causal.statements, map(self.causal.aliased, values), known)

    def jumps(self, values: list[Expr]) -> None:
        """The times at which a comparison of the time with what is fixed changes: a solver begins anew there."""
        exprs = [e for s in self.statements_of(values) for e in ir.expressions(s)] + [*map(self.causal.aliased, values)]
        fixed = self.timing.fixed
        found = dict.fromkeys(t for e in exprs for t in switching_times(e) if fixed.issuperset(t.free_symbols))
        if found:
            self.function("jumps", "times at which the right-hand side jumps or has a kink", ("fixed",), tuple(found))

    def reduction_arguments(self) -> None:
        rows = tuple((r.start, r.until, r.arguments) for r in self.translator.reductions)
        if any(row != (None, None, ()) for row in rows):
            self.function("reduction_arguments", "windows and further arguments of the reductions", ("fixed",), rows)

    def results(self) -> None:
        """Losses and metrics may read each other, in any order."""
        own = {self.translator.measure(m): (m, value) for m, value in self.causal.measures}
        relations = [Relation(s, value, m.item.span, s) for s, (m, value) in own.items()]
        statements = causalize(relations, Search(self.translator, self.causal.aliases))
        returns = {m.item.name: s for s, (m, _) in own.items()} | dict(self.causal.squares)
        known = [r.symbol for r in self.translator.reductions]
        everything = (*self.causal.statements, *statements)
        self.function("results", "every loss and metric by name", ("reduced", "fixed"), returns, known, everything)

    def freed(self) -> None:
        """What tasks free has a value of its own in `fixed`."""
        returns = {path: self.freed_symbol(free_let) for path, free_let in self.system.freed.items()}
        if not self.timing.fixed.issuperset(returns.values()):
            raise AssertionError("a freed let that changes during a run passed the checks: a bug in DPL")
        if returns:
            self.function("freed", "what tasks may free from its equation", ("fixed",), returns)

    def freed_symbol(self, found: FreeLet) -> Symbol:
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
            reductions = [r.symbol for r in self.translator.reductions]
            found[task] = role, reductions.index(self.translator.scoped(window.reduction))
        return found

    # ------------------------------------------------------------ ranges and rates

    def ranges(self) -> frozenset[str]:
        """The ends of invariant ranges and limits; those that move during the run are not checked."""
        returns: dict[str, Any] = {}
        for variable in self.observed:
            item = variable.declaration
            for found in (item.domain, item.limit):
                if isinstance(found, syntax.Range) and variable.path not in self.translator.components:
                    ends = self.ends(variable, found)
                    if self.timing.fixed.issuperset(free(e for e in ends if e is not None)):
                        returns[variable.path] = ends
        if returns:
            self.function("ranges", "the ends of ranges and limits", ("fixed",), returns)
        return frozenset(returns)

    def ends(self, variable: Variable, found: syntax.Range) -> tuple[Expr | None, ...]:
        ends = [self.translator.bound(e, variable, found.unit) for e in (found.low, found.high) if e is not None]
        return tuple(None if e.has(INFINITY) else self.causal.aliased(e) for e in (*ends, INFINITY)[:2])

    def rates(self) -> tuple[int, ...]:
        """For semi-implicit Euler: all but the states whose derivative is another state, up to a fixed factor."""
        values = {s.target: s.value for s in self.causal.statements if isinstance(s, ir.Assign)}
        states = self.timing.state_symbols
        positions: set[int] = set()
        for i, rate in enumerate(map(self.causal.aliased, self.timing.rate_symbols)):
            value = rate if rate in states else values.get(rate, rate)
            moving = [a for a in sp.Mul.make_args(value) if not self.timing.fixed.issuperset(a.free_symbols)]
            if len(moving) == 1 and moving[0] in states and moving[0] != states[i]:
                positions.add(i)
        run = self.system.run
        assert run is not None
        if run.method and run.method.row.name == "semi_implicit" and states and not positions:
            raise CompileError([_no_positions(run.span)])
        return tuple(i for i in range(len(states)) if i not in positions)

    # ------------------------------------------------------------ what is fixed

    def fixed(self, starts: tuple[Start, ...]) -> None:
        """`fixed`, which computes what the others read of what does not move; and what each unpacks."""
        hoisted = [ir.Assign(s, e) for s, e in self.hoisting.named()]
        keys = {start_of(s.path): s.path for s in starts}
        known = {*self.timing.fixed, *(a.target for a in hoisted), *keys}
        wanted = tuple(dict.fromkeys(s for f in self.raw.values() for s in by_name(f.reads() & known)))
        inputs = {*self.timing.inputs, *keys}
        body = sliced((*self.causal.statements, *hoisted), wanted, inputs)
        read = {r for s in body for r in ir.reads(s)} | set(wanted)
        keys |= {self.translator.symbol(v): v.path for v in self.system.variables if v.kind in ("param", "given")}
        keys |= {weights_of(path): path for path in self.translator.networks}
        lookups = tuple((s, "values", keys[s]) for s in by_name(read & inputs))
        doc = "what depends neither on time nor on state"
        layout = {
            "states": self.timing.state_symbols,
            "sampled": self.timing.sampled_symbols,
            "held": self.timing.held,
            "reduced": tuple(r.symbol for r in self.translator.reductions),
            "fixed": wanted,
        }
        for name, f in self.raw.items():
            unpack = tuple((a, layout[a]) for a in f.arguments if a in layout)
            self.raw[name] = ir.Function(f.name, f.doc, f.arguments, unpack, (), f.body, f.returns)
        self.raw = {"fixed": ir.Function("fixed", doc, ("values",), (), lookups, tuple(body), wanted), **self.raw}


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


def _no_positions(span: Any) -> Diagnostic:
    message = "`semi_implicit` advances rates first and then what they move, but no state's derivative is another state"
    help_text = "use `euler` or `rk4`, or write the model with a velocity: `x' = v`"
    return Diagnostic("no-positions", message, Label(span, "asked for here"), help=help_text)
