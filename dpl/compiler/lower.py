"""A scenario's equations into the functions of `runtime/spec.py`.

Every function is a slice of one ordered list of statements: what its results need, less what it is given. What depends
neither on time nor on state is computed once per run, in `fixed`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import gcd, lcm
from typing import Any

import sympy as sp

from dpl.compiler import ir
from dpl.compiler.simplify import Hoisting, share
from dpl.compiler.structure import Relation, causalize
from dpl.compiler.symbolic import INFINITY, TIME, Reduction, Translator, number, opaque
from dpl.language import syntax
from dpl.language.builtins import TIME_REDUCTIONS
from dpl.language.check import Structure, varying
from dpl.language.constants import BadConstant, NotConstant, constant
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.model import Clock, Scoped, System, Variable
from dpl.language.settings import bound_of

Expr = Any


@dataclass
class Lowered:
    """One scenario as functions, with the order of what they exchange."""

    system: System
    translator: Translator
    states: tuple[tuple[Variable, int], ...]
    sampled: tuple[Variable, ...]
    observed: tuple[Variable, ...]
    starts: dict[str, tuple[Variable, int, Any]]
    """Path (with primes) -> state, order, SI value, of every start that a caller may change"""
    functions: dict[str, ir.Function] = field(default_factory=dict[str, ir.Function])
    clocks: tuple[tuple[int, str, tuple[int, ...]], ...] = ()
    base: Fraction | None = None
    rates: tuple[int, ...] = ()
    reductions: tuple[tuple[str, int, bool], ...] = ()
    ranged: tuple[str, ...] = ()
    defaults: tuple[str, ...] = ()


def lower(system: System) -> Lowered:
    """The functions of one scenario. Raises CompileError where an equation cannot be solved."""
    return _Lowering(system).run()


class _Lowering:
    def __init__(self, system: System):
        self.system = system
        self.structure = Structure(system)
        self.translator = Translator(system, orders=self.structure.orders)
        self.symbol = self.translator.symbol
        self.changing = varying(system)

    def run(self) -> Lowered:
        relations, aliases = self.relations()
        self.aliases = aliases
        measured = self.measures()
        relations += self.derivative_relations()
        relations = [_renamed(r, aliases) for r in relations]
        self.statements = causalize(relations, self.newton_bounds)
        self.relations_after = relations
        self.classify()
        self.hoisting = Hoisting(self.fixed_symbols)
        functions = self.build(measured)
        return Lowered(
            self.system,
            self.translator,
            self.states,
            self.sampled_states,
            self.observed,
            self.starts,
            functions,
            self.clock_rows(functions),
            self.base,
            self.rates(),
            self.reduction_rows,
            self.ranged,
            tuple(self.defaults),
        )

    # ------------------------------------------------------------ relations

    def relations(self) -> tuple[list[Relation], dict[sp.Symbol, Expr]]:
        """Every equation of the run, and the names that only rename another."""
        system, found = self.system, list[Relation]()
        unknowns: dict[Clock | None, list[sp.Symbol]] = {}
        for variable, order in self.structure.unknowns:
            unknowns.setdefault(variable.clock, []).append(self.symbol(variable, order))
        for equation in system.equations:
            match equation.kind:
                case "definition":
                    assert equation.target is not None
                    target = self.symbol(equation.target)
                    found.append(Relation(target, self.translator.value_of(equation.target), equation.span, target))
                    found += self.components(equation.target)
                case "equation":
                    left, right = self.translator.scoped(equation.left), self.translator.scoped(equation.right)
                    mine = tuple(unknowns.get(equation.clock, ()))
                    found.append(Relation(left, right, equation.span, None, mine))
                case "next":
                    assert equation.target is not None
                    target = _next(self.symbol(equation.target))
                    found.append(Relation(target, self.translator.scoped(equation.right), equation.span, target))
                case "initial":
                    pass
        return found, self.find_aliases(found)

    def components(self, variable: Variable) -> list[Relation]:
        """The several results of a network that a `let` names, each under its own name."""
        if variable.record is None:
            return []
        found: list[Relation] = []
        for position, port in enumerate(variable.record.outputs):
            target = self.translator.component(variable, port)
            value = opaque("result")(self.symbol(variable), sp.Integer(position))
            found.append(Relation(target, value, variable.span, target))
        return found

    def derivative_relations(self) -> list[Relation]:
        """Derivatives of defined names, as the equations asked for them."""
        found: list[Relation] = []
        for symbol, (value, _) in self.translator.derivatives.items():
            span = self.translator.quantities[symbol][0].span
            found.append(Relation(symbol, value, span, symbol))
        return found

    def find_aliases(self, relations: list[Relation]) -> dict[sp.Symbol, Expr]:
        """Names whose value is another name's at every instant. A sampled copy of what moves is not one."""
        aliases: dict[sp.Symbol, Expr] = {}
        for relation in relations:
            other = relation.right
            if relation.target is None or not isinstance(other, sp.Symbol) or other in (TIME, INFINITY):
                continue
            variable = self.translator.quantities.get(relation.target, (None, 0))[0]
            source = self.translator.quantities.get(other, (None, 0))[0]
            if variable is None or source is None or source.record is not None:
                continue
            if variable.clock is None or variable.clock == source.clock or source not in self.changing:
                aliases[relation.target] = other
        return _closed(aliases)

    def newton_bounds(self, unknown: sp.Symbol) -> tuple[Expr, float | None, float | None]:
        """Newton's start and range: the middle of the declared range, else one of the declared unit."""
        variable, order = self.translator.quantities[unknown]
        domain = variable.declaration.domain
        if order == 0 and isinstance(domain, syntax.Range):
            low = bound_of(variable, domain.low, domain)
            high = bound_of(variable, domain.high, domain) if domain.high else None
            if low is not None and high is not None and abs(low) < 1e300 and abs(high) < 1e300:
                return number((low + high) / 2), low, high
            return number((low or 0.0) + float(variable.display.scale)), low, high
        return number(float(variable.display.scale)), None, None

    # ------------------------------------------------------------ what varies with what

    def classify(self) -> None:
        """Which symbols are fixed during a run, which are held by a clock."""
        variables = self.system.variables
        self.states = tuple((v, k) for v, n in self.structure.orders.items() for k in range(n))
        self.sampled_states = tuple(v for v in variables if v.kind == "state" and v.clock is not None)
        values = {self.symbol(v) for v in variables if v.kind in ("param", "given")}
        weights = {_weights(path) for path in self.translator.networks}
        self.inputs = values | weights
        moving = {TIME, *(self.symbol(v, k) for v, k in self.states), *(self.symbol(v) for v in self.sampled_states)}
        self.fixed_symbols = set(self.inputs)
        clocks: dict[sp.Symbol, Clock] = {}
        for statement in self.statements:
            reads = self.reads(statement)
            if not (reads & moving):
                self.fixed_symbols |= set(ir.targets(statement))
                continue
            moving |= set(ir.targets(statement))
            for target in ir.targets(statement):
                clock = self.clock_of(target)
                if clock is not None:
                    clocks[target] = clock
        for variable in self.sampled_states:  # a next value that happens to be fixed still belongs to its clock
            assert variable.clock is not None
            clocks.setdefault(_next(self.symbol(variable)), variable.clock)
        self.clocks = clocks
        self.held = tuple(s for s in clocks if not _is_next(s) and not self.is_record(s))
        self.observed = tuple(self.observed_variables())

    def is_record(self, symbol: sp.Symbol) -> bool:
        found = self.translator.quantities.get(symbol)
        return found is not None and found[0].record is not None

    def clock_of(self, symbol: sp.Symbol) -> Clock | None:
        if _is_next(symbol):
            symbol = _current(symbol)
        found = self.translator.quantities.get(symbol)
        return found[0].clock if found else None

    def reads(self, statement: ir.Statement) -> set[sp.Symbol]:
        """What a statement needs; networks need their weights."""
        found = ir.reads(statement)
        exprs = [statement.value] if isinstance(statement, ir.Assign) else []
        if isinstance(statement, ir.Root):
            exprs = [*(a.value for a in statement.body), *statement.residuals]
        elif isinstance(statement, ir.Solve):
            exprs = [e for row in (*statement.rows, statement.right) for e in row]
        return found | {w for e in exprs for w in _weights_in(e)}

    def observed_variables(self) -> list[Variable]:
        found = [v for v in self.system.variables if v.kind in ("state", "input", "output", "let") and v.record is None]
        components = [v for v in self.translator.component_variables.values()]
        return [*found, *components]

    @cached_property
    def base(self) -> Fraction | None:
        """The greatest common divisor of all periods."""
        periods = sorted({c.period for c in self.clocks.values()})
        if not periods:
            return None
        over = lcm(*(p.denominator for p in periods))
        return Fraction(gcd(*(int(p * over) for p in periods)), over)

    def rates(self) -> tuple[int, ...]:
        """For semi-implicit Euler: all but the states whose derivative is another state, up to a fixed factor."""
        symbols = [self.symbol(v, k) for v, k in self.states]
        values = {t: s.value for s in self.statements if isinstance(s, ir.Assign) for t in ir.targets(s)}
        positions: set[int] = set()
        for i, (variable, k) in enumerate(self.states):
            rate = self.aliased(self.symbol(variable, k + 1))
            rate = rate if rate in symbols else values.get(rate, rate)
            others = [a for a in sp.Mul.make_args(rate) if not (a.free_symbols <= self.fixed_symbols)]
            if len(others) == 1 and others[0] in symbols and others[0] != symbols[i]:
                positions.add(i)
        method = self.system.run.method if self.system.run else None
        if method and method.row.name == "semi_implicit" and self.states and not positions:
            assert self.system.run is not None
            raise CompileError(
                [
                    Diagnostic(
                        "no-positions",
                        "`semi_implicit` advances rates first and then what they move, but no state's derivative is another state",
                        Label(self.system.run.span, "asked for here"),
                        help="use `euler` or `rk4`, or write the model with a velocity: `x' = v`",
                    )
                ]
            )
        return tuple(i for i in range(len(symbols)) if i not in positions)

    def aliased(self, expr: Expr) -> Expr:
        return expr.xreplace(self.aliases)

    # ------------------------------------------------------------ losses and metrics

    def measures(self) -> list[tuple[str, Expr, str]]:
        """Name, value and origin of each measure; reductions stand in it as symbols."""
        found: list[tuple[str, Expr, str]] = []
        for measure in self.system.measures:
            value = self.translator.scoped(Scoped(measure.item.value, measure.scope))
            found.append((measure.item.name, value, measure.item.span.origin))
        return found

    def reduction_plan(self) -> tuple[list[Expr], list[Expr], list[Expr]]:
        """The integrands, instants and recorded expressions that the reductions read; sets `reduction_rows`."""
        kinds: dict[str, list[Expr]] = {"quadrature": [], "instant": [], "record": []}
        rows: list[tuple[str, int, bool]] = []
        jumping = {*self.held, *(self.symbol(v) for v in self.sampled_states)}
        for reduction in self.translator.reductions:
            exprs = kinds[TIME_REDUCTIONS[reduction.kind].reads]
            value = self.aliased(reduction.value)
            if value not in exprs:
                exprs.append(value)
            held = bool(self.closure({value}) & jumping)
            rows.append((reduction.kind, exprs.index(value), held))
        self.reduction_rows = tuple(rows)
        return kinds["quadrature"], kinds["instant"], kinds["record"]

    def closure(self, exprs: set[Expr]) -> set[sp.Symbol]:
        """Every symbol that the expressions depend on, up to what is held."""
        found = {s for e in exprs for s in e.free_symbols}
        for statement in reversed(self.statements):
            if set(ir.targets(statement)) & (found - set(self.held)):
                found |= self.reads(statement)
        return found

    # ------------------------------------------------------------ functions

    def build(self, measured: list[tuple[str, Expr, str]]) -> dict[str, ir.Function]:
        quadratures, instants, recorded = self.reduction_plan()
        functions: dict[str, ir.Function] = {}
        if self.system.run is not None:
            functions |= self.clock_functions()
            functions["rhs"] = self.rhs(quadratures)
            if recorded:
                functions["recorded"] = self.instant("recorded", "what is recorded along the run", recorded)
            if instants:
                functions["instants"] = self.instant("instants", "what is read at the start and at the end", instants)
        functions["observe"] = self.observe()
        ranges = self.ranges()
        if ranges is not None:
            functions["ranges"] = ranges
        if any(r.arguments or r.start is not None or r.until is not None for r in self.translator.reductions):
            functions["reduction_arguments"] = self.reduction_arguments()
        functions["results"] = self.results(measured)
        if self.system.run is not None:
            functions["start"] = self.start()
        else:
            self.starts, self.defaults = {}, []
        return self.with_fixed(functions)

    def slice(self, exprs: list[Expr], known: set[sp.Symbol]) -> list[ir.Statement]:
        """The statements that the expressions need beyond what is known, in order."""
        needed = {s for e in exprs for s in e.free_symbols} - known
        chosen: list[ir.Statement] = []
        for statement in reversed(self.statements):
            if set(ir.targets(statement)) & needed:
                chosen.append(statement)
                needed = (needed | self.reads(statement)) - known
        return chosen[::-1]

    def function(
        self, name: str, doc: str, arguments: tuple[str, ...], returns: Any, known: set[sp.Symbol]
    ) -> ir.Function:
        """A function of the run: invariants hoisted, the rest shared."""
        returns = _mapped(returns, self.aliased)
        statements = self.slice(leaves(returns), known | self.fixed_symbols)
        if "time" in arguments:  # called at every step: what does not move is computed beforehand
            statements = [self.hoisted(s) for s in statements]
            returns = _mapped(returns, self.hoisting.hoist)
        body, shared = share(statements, leaves(returns))
        unpack = tuple((a, self.layout[a]) for a in arguments if a in self.layout)
        return ir.Function(name, doc, arguments, unpack, (), tuple(body), _refilled(returns, shared))

    def hoisted(self, statement: ir.Statement) -> ir.Statement:
        match statement:
            case ir.Assign(target, value, origin):
                return ir.Assign(target, self.hoisting.hoist(value), origin)
            case ir.Solve(targets, rows, right, origin):
                hoist = self.hoisting.hoist
                return ir.Solve(targets, tuple(tuple(map(hoist, r)) for r in rows), tuple(map(hoist, right)), origin)
            case ir.Root():
                return statement

    @cached_property
    def layout(self) -> dict[str, tuple[sp.Symbol, ...]]:
        """What the tuples that functions exchange hold."""
        return {
            "states": tuple(self.symbol(v, k) for v, k in self.states),
            "sampled": tuple(self.symbol(v) for v in self.sampled_states),
            "held": self.held,
        }

    @cached_property
    def instant_known(self) -> set[sp.Symbol]:
        """What is given at any instant between ticks."""
        return {TIME, *self.layout["states"], *self.layout["sampled"], *self.held}

    def rhs(self, quadratures: list[Expr]) -> ir.Function:
        rates = tuple(self.symbol(v, k + 1) for v, k in self.states)
        return self.instant("rhs", "time derivatives of the states, and what is integrated", (rates, tuple(quadratures)))

    def instant(self, name: str, doc: str, returns: Any) -> ir.Function:
        returns = tuple(returns) if isinstance(returns, list) else returns
        return self.function(name, doc, _INSTANT, returns, self.instant_known)

    def observe(self) -> ir.Function:
        returns = {v.path: self.symbol(v) for v in self.observed}
        return self.instant("observe", "every quantity by name", returns)

    def clock_functions(self) -> dict[str, ir.Function]:
        """One function per run of statements of one clock, in the order in which a tick evaluates them."""
        self.groups: list[tuple[Clock, list[sp.Symbol]]] = []
        for statement in self.statements:
            for target in ir.targets(statement):
                clock = self.clocks.get(target)
                if clock is None:
                    continue
                if not self.groups or self.groups[-1][0] != clock:
                    self.groups.append((clock, []))
                self.groups[-1][1].append(target)
        found: dict[str, ir.Function] = {}
        for i, (clock, targets) in enumerate(self.groups):
            known = self.instant_known - set(targets)
            held = tuple(self.held)
            states = tuple(
                _next(s) if _next(s) in targets else s for s in self.layout["sampled"]
            )
            doc = f"a tick of the blocks with a period of {float(clock.period):g} s: what they hold, their states at the next tick"
            found[f"tick_{i + 1}"] = self.function(f"tick_{i + 1}", doc, _INSTANT, (held, states), known)
        return found

    def clock_rows(self, functions: dict[str, ir.Function]) -> tuple[tuple[int, str, tuple[int, ...]], ...]:
        if self.system.run is None or self.base is None:
            return ()
        rows: list[tuple[int, str, tuple[int, ...]]] = []
        for i, (clock, targets) in enumerate(self.groups):
            states = tuple(k for k, v in enumerate(self.sampled_states) if _next(self.symbol(v)) in targets)
            rows.append((int(clock.period / self.base), f"tick_{i + 1}", states))
        return tuple(rows)

    def ranges(self) -> ir.Function | None:
        """The ends of invariant ranges and limits; those that move during the run are not checked."""
        returns: dict[str, Any] = {}
        for variable in self.observed:
            item = variable.declaration
            for range_ in (item.domain, item.limit):
                if not isinstance(range_, syntax.Range) or variable.path.count(".") != variable.scope.join(item.name).count("."):
                    continue
                ends = [range_.low, *([range_.high] if range_.high else [])]
                values = [self.aliased(self.translator.bound(e, variable, range_.unit)) for e in ends]
                if all(v.free_symbols <= self.fixed_symbols | {INFINITY} for v in values):
                    low, high = (*values, INFINITY)[:2]
                    returns[variable.path] = tuple(None if v.has(INFINITY) else v for v in (low, high))
        self.ranged = tuple(returns)
        return self.function("ranges", "the ends of ranges and limits", ("fixed",), returns, set()) if returns else None

    def reduction_arguments(self) -> ir.Function:
        def row(r: Reduction) -> Any:
            return (r.start, r.until, tuple(r.arguments))

        returns = tuple(row(r) for r in self.translator.reductions)
        return self.function("reduction_arguments", "windows and further arguments of the reductions", ("fixed",), returns, set())

    def results(self, measured: list[tuple[str, Expr, str]]) -> ir.Function:
        symbols = tuple(r.symbol for r in self.translator.reductions)
        self.layout["reduced"] = symbols
        names = {sp.Symbol(name, real=True): sp.Symbol(f"measure {name}", real=True) for name, _, _ in measured}
        own = {s: names[s] for s in self.translator.measures}
        before = self.statements
        relations = [
            Relation(names[sp.Symbol(n, real=True)], self.aliased(v).xreplace(own), m.item.span, names[sp.Symbol(n, real=True)])
            for (n, v, _), m in zip(measured, self.system.measures, strict=True)
        ]
        self.statements = [*before, *causalize(relations, self.newton_bounds)]
        returns = {name: names[sp.Symbol(name, real=True)] for name, _, _ in measured}
        found = self.function("results", "every loss and metric by name", ("reduced", "fixed"), returns, set(symbols))
        self.statements = before
        return found

    # ------------------------------------------------------------ the start

    def start(self) -> ir.Function:
        """The states at the start: given, computed, or solved for from the `initial` equations."""
        self.starts = {}
        self.defaults = []
        initial = [e for e in self.system.equations if e.kind == "initial"]
        determined = self.determined_by_initial(initial)
        relations = [r for r in self.relations_after if r.target is None or not self._is_state(r.target)]
        unknown = tuple(self.symbol(v, k) for v, k in self.states if (v, k) in determined)
        for variable, k in [*self.states, *((v, 0) for v in self.sampled_states)]:
            if (variable, k) not in determined:
                relations.append(self.start_relation(variable, k))
        for equation in initial:
            left, right = self.translator.scoped(equation.left), self.translator.scoped(equation.right)
            everything = tuple(s for r in relations if r.target is None for s in r.unknowns)
            relations.append(Relation(left, right, equation.span, None, (*unknown, *everything)))
        if unknown:
            relations = [Relation(r.left, r.right, r.span, r.target, (*r.unknowns, *unknown) if r.target is None else ()) for r in relations]
        assert self.system.run is not None
        begin = {TIME: number(self.system.run.start)}
        relations = [_renamed(_renamed(r, self.aliases), begin) for r in relations]
        before, fixed = self.statements, self.fixed_symbols
        self.statements = [s for s in causalize(relations, self.newton_bounds) if not set(ir.targets(s)) <= fixed]
        returns = (self.layout["states"], self.layout["sampled"], tuple(self.blank(s) for s in self.held))
        found = self.function("start", "the states at the start; the first tick replaces what is held", ("fixed",), returns, set())
        self.statements = before
        return found

    def blank(self, symbol: sp.Symbol) -> Expr:
        shape = self.translator.quantities[symbol][0].shape
        return opaque("zeros")(*map(sp.Integer, shape)) if shape else sp.Integer(0)

    def _is_state(self, symbol: sp.Symbol) -> bool:
        found = self.translator.quantities.get(symbol)
        return found is not None and found in set(self.states)

    def determined_by_initial(self, initial: list[Any]) -> set[tuple[Variable, int]]:
        """The starts that `initial` equations determine: free states first, then the rates they name."""
        if not initial:
            return set()
        found = {(v, 0) for v in self.structure.orders if v.value is None}
        for equation in initial:
            if len(found) < len(initial):
                symbols = self.translator.scoped(equation.left).free_symbols
                named = [(v, k) for v, k in self.states if k > 0 and self.symbol(v, k) in symbols]
                found |= set(named[:1])
        for variable, k in self.states:
            if len(found) < len(initial) and k > 0:
                found.add((variable, k))
        return found

    def start_relation(self, variable: Variable, k: int) -> Relation:
        target = self.symbol(variable, k)
        path = str(target)
        if k > 0:
            self.starts[path] = (variable, k, 0.0)
            self.defaults.append(f"`{path}` starts at 0: no `initial({path}) = …` says otherwise")
            return Relation(target, _start(path), variable.span, target)
        assert variable.value is not None
        value = constant_start(variable.value)
        if value is not None:
            self.starts[path] = (variable, 0, value)
            return Relation(target, _start(path), variable.value.span, target)
        expr = self.translator.in_unit(variable.value)
        if variable.shape and not expr.has(opaque("array")):
            expr = opaque("full")(expr, *map(sp.Integer, variable.shape))
        return Relation(target, expr, variable.value.span, target)

    # ------------------------------------------------------------ what is fixed

    def with_fixed(self, functions: dict[str, ir.Function]) -> dict[str, ir.Function]:
        """All functions, with `fixed` first: it computes what the others read of what does not move."""
        hoisted = {symbol: expr for expr, symbol in self.hoisting.names.items()}
        starts = {_start(p): p for p in self.starts}
        known = self.fixed_symbols | set(hoisted) | set(starts)
        wanted: list[sp.Symbol] = []
        for function in functions.values():
            wanted += sorted((free_symbols(function) & known) - set(wanted), key=str)
        self.layout["fixed"] = tuple(wanted)
        statements = [ir.Assign(s, e) for s, e in hoisted.items()]
        inputs = self.inputs | set(starts)
        before = self.statements
        self.statements = [*before, *statements]
        needed = self.slice(list(wanted), inputs)
        self.statements = before
        body, returns = share(needed, list(wanted))
        read = {s for st in body for s in self.reads(st)} | {s for e in returns for s in e.free_symbols}
        keys = {**{self.symbol(v): v.path for v in self.system.variables}, **{_weights(p): p for p in self.translator.networks}, **starts}
        lookups = tuple((s, "values", keys[s]) for s in sorted(read & inputs, key=str))
        fixed = ir.Function("fixed", "what depends neither on time nor on state", ("values",), (), lookups, tuple(body), tuple(returns))
        done = {"fixed": fixed}
        for name, f in functions.items():
            unpack = (*f.unpack, *((("fixed", self.layout["fixed"]),) if "fixed" in f.arguments else ()))
            if name == "results":
                unpack = (("reduced", self.layout["reduced"]), ("fixed", self.layout["fixed"]))
            done[name] = ir.Function(f.name, f.doc, f.arguments, unpack, f.lookups, f.body, f.returns)
        return done


_INSTANT = ("time", "states", "sampled", "held", "fixed")


def constant_start(value: Scoped) -> Any:
    """The SI value of a start that is a constant (nested lists for arrays); None if it is computed."""
    if isinstance(value.expr, syntax.List):
        from dpl.language.units import read_unit

        unit = read_unit(value.expr.unit, []) if value.expr.unit else value.unit
        items = [constant_start(Scoped(i, value.scope, unit)) for i in value.expr.items]
        return None if any(i is None for i in items) else items
    try:
        return float(constant(value))
    except (NotConstant, BadConstant):
        return None


def free_symbols(function: ir.Function) -> set[sp.Symbol]:
    """The symbols that a function's statements and results read, its own targets excluded."""
    own = {t for s in function.body for t in ir.targets(s)}
    read = {s for st in function.body for s in ir.reads(st)}
    read |= {w for st in function.body for w in _statement_weights(st)}
    for leaf in leaves(function.returns):
        read |= leaf.free_symbols | set(_weights_in(leaf))
    return read - own


def _statement_weights(statement: ir.Statement) -> list[sp.Symbol]:
    match statement:
        case ir.Assign(_, value):
            exprs = [value]
        case ir.Solve(_, rows, right):
            exprs = [e for row in (*rows, right) for e in row]
        case ir.Root(_, body, residuals):
            exprs = [*(a.value for a in body), *residuals]
    return [w for e in exprs for w in _weights_in(e)]


def _weights(path: str) -> sp.Symbol:
    return sp.Symbol(f"weights {path}", real=True)


def _weights_in(expr: Expr) -> list[sp.Symbol]:
    """The weights of the networks that an expression calls."""
    calls = (type(node).__name__ for node in sp.preorder_traversal(expr) if isinstance(node, sp.Function))
    return [_weights(name.removeprefix("network ")) for name in calls if name.startswith("network ")]


def _start(path: str) -> sp.Symbol:
    return sp.Symbol(f"start {path}", real=True)


def _next(symbol: sp.Symbol) -> sp.Symbol:
    return sp.Symbol(f"next {symbol}", real=True)


def _is_next(symbol: sp.Symbol) -> bool:
    return str(symbol).startswith("next ")


def _current(symbol: sp.Symbol) -> sp.Symbol:
    return sp.Symbol(str(symbol).removeprefix("next "), real=True)


def _renamed(relation: Relation, names: dict[sp.Symbol, Expr]) -> Relation:
    left = relation.left if relation.target is not None else relation.left.xreplace(names)
    return Relation(left, relation.right.xreplace(names), relation.span, relation.target, relation.unknowns)


def _closed(aliases: dict[sp.Symbol, Expr]) -> dict[sp.Symbol, Expr]:
    """Each name with what it finally stands for; circles are left to the solver."""
    result: dict[sp.Symbol, Expr] = {}
    for name in aliases:
        end, seen = name, {name}
        while end in aliases:
            end = aliases[end]
            if end in seen:
                break
            seen.add(end)
        else:
            result[name] = end
    return result


def leaves(value: Any) -> list[Expr]:
    """The expressions of nested tuples and dicts, in order."""
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [] if value is None else [value]


def _mapped(value: Any, function: Any) -> Any:
    if isinstance(value, dict):
        return {k: _mapped(v, function) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(_mapped(v, function) for v in value)
    return None if value is None else function(value)


def _refilled(value: Any, leaves: list[Expr]) -> Any:
    rest = iter(leaves)
    return _mapped(value, lambda _: next(rest))
