"""Large functions of many unlike scalar equations as few operations on vectors: expressions grouped by their shape.

XLA compiles in a time that grows with the number of operations, and for gradients faster than that. Expressions that
differ only in the names and numbers at their leaves have one shape, and are computed together: `V*x/(K + x)` for all
the enzymes at once. A shape that is rare is taken apart until what is left is not; sums are taken apart always. What
one group computes others pick by place (`ir.Picked`), and a sum is a row of a constant sparse matrix.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from dpl.compiler import ir
from dpl.compiler.algebra import (
    COMPARE,
    CONDITIONS,
    INFINITY,
    TIME,
    Expr,
    Sizes,
    Symbol,
    by_name,
    function_name,
    opaque,
    sp,
    symbol,
)
from dpl.language.builtins import FUNCTIONS

LEAST_NODES = 6_000
"""Nodes of the functions of a scenario from which they are grouped"""
LEAST_ROWS = 4
"""Rows from which a shape is worth a group of its own"""
MOST_NODES = 60
"""Nodes of a shape, beyond which it is cut"""
LEAST_JOINED = 8
"""Results from which they are given back as one vector"""

ELEMENTWISE = (
    {n for r in FUNCTIONS.values() if r.shape == "elementwise" for n in (r.name, r.sympy) if n}
    | set(COMPARE.values())
    | {"and", "or", "not", "choose", "cot", "Abs", "true", "false"}
)
"""Functions that give the same for each row of a vector as for a number"""

Row = tuple[tuple[int, float], ...]
Is = Callable[[Expr], bool]


def large(functions: Mapping[str, ir.Function]) -> bool:
    """Whether a scenario's functions have so many nodes that it pays to group them."""
    size = Sizes()
    return sum(size(e) for f in functions.values() for e in _expressions(f)) >= LEAST_NODES


def grouped(functions: Mapping[str, ir.Function], is_number: Is) -> dict[str, ir.Function]:
    """The functions of a scenario, those of the state and of the values grouped; the others as they are.

    Args:
        functions: by role; `fixed` and what it returns for the others among them.
        is_number: whether an expression is one number, not an array.
    """
    fixed = functions["fixed"]
    constant = frozenset(s for s in fixed.returns)
    found: dict[str, ir.Function] = {}
    vectors: dict[Symbol, tuple[Expr, ...]] = {}
    for role, f in functions.items():
        found[role] = f
        if role != "fixed" and ("states" in f.arguments or role == "start"):
            made = _Grouping(f, is_number, constant)
            found[role] = made.function()
            if constant and made.constants:
                vectors[made.vector] = made.constants
    numbers = by_name({s for role, f in found.items() if role != "fixed" for s in f.reads()} & constant)
    layout = (*vectors, *numbers)
    found["fixed"] = _Grouping(replace(fixed, returns=tuple(numbers)), is_number, frozenset()).function(vectors)
    return {role: _unpacking(f, layout) for role, f in found.items()}


def _unpacking(f: ir.Function, fixed: tuple[Symbol, ...]) -> ir.Function:
    return replace(f, unpack=tuple((a, fixed if a == "fixed" else s) for a, s in f.unpack))


def _expressions(f: ir.Function) -> list[Expr]:
    return [*(e for s in f.body for e in ir.expressions(s)), *ir.leaves(f.returns)]


# ---------------------------------------------------------------- shapes


@dataclass(frozen=True)
class Shape:
    """An expression without its leaves: equal keys, equal shapes. Leaves are in the order of the key."""

    key: int
    leaves: tuple[Expr, ...]
    size: int
    make: Callable[..., Expr] | Expr | None
    """Of its operands the expression; without any, a literal, or None for a leaf"""
    operands: tuple[Shape, ...] = ()

    def of(self, leaves: Iterator[Expr]) -> Expr:
        """The expression with other leaves."""
        if self.operands:
            return cast("Callable[..., Expr]", self.make)(*(o.of(leaves) for o in self.operands))
        return next(leaves) if self.make is None else self.make


@dataclass
class _Part:
    """What is computed by itself: a sum of other parts and leaves, or a row of a group."""

    expr: Expr
    origin: str
    shape: Shape
    terms: tuple[tuple[float, Expr], ...] | None = None
    """Of a sum; None of a row of a group"""
    level: int = 0

    @property
    def reads(self) -> tuple[Expr, ...]:
        return self.shape.leaves if self.terms is None else tuple(e for _, e in self.terms)


@dataclass
class _Kept:
    """A statement that is not grouped, and the numbers and arrays that it needs."""

    statement: ir.Statement
    reads: tuple[Symbol, ...]
    level: int = 0


class _Grouping:
    """One function on its way to groups."""

    def __init__(self, function: ir.Function, is_number: Is, constant: frozenset[Symbol]):
        self.f, self.is_number, self.constant = function, is_number, constant
        self.vector = symbol(f"constants {function.name}")
        self.constants: tuple[Expr, ...] = ()
        self.values: dict[Symbol, Expr] = {}
        self.origins: dict[Expr, str] = {}
        self.kept: dict[Symbol, _Kept] = {}
        self.uses: Counter[Expr] = Counter()
        self.parts: dict[Expr, _Part] = {}
        self._keys: dict[Any, int] = {}
        self._shapes: dict[Expr, Shape] = {}
        self._plain: dict[Expr, Expr] = {}
        self._cut: set[Expr] = set()
        self._waiting: list[tuple[int, int, Expr]] = []
        self._made = 0

    # ------------------------------------------------------------ what can be grouped

    def read(self) -> Any:
        """Sorts the statements into those to be grouped and those that are kept; returns the results to be computed."""
        for statement in self.f.body:
            if isinstance(statement, ir.Assign) and self.is_number(statement.target):
                value = self.plain(statement.value, statement.origin)
                self.values[statement.target] = value
                self.origins.setdefault(value, statement.origin)
            else:
                self.keep(statement)
        return ir.mapped_leaves(self.f.returns, lambda e: self.plain(e, "") if self.is_number(e) else e)

    def keep(self, statement: ir.Statement) -> None:
        kept = _Kept(statement, tuple(by_name(ir.reads(statement))))
        for target in ir.targets(statement):
            self.kept[target] = kept

    def plain(self, expr: Expr, origin: str) -> Expr:
        """The expression with names for what no vector can hold: elements of arrays, results of networks and such."""
        if not expr.args and not isinstance(expr, sp.Function):
            return expr
        if expr not in self._plain:
            name = function_name(expr)
            if (name and name not in ELEMENTWISE) or (name in ("min", "max") and len(expr.args) == 1):
                made = self.new("kept")
                self.keep(ir.Assign(made, expr, origin))
                self._plain[expr] = made
            elif all(self.is_number(a) for a in expr.args):
                inner = [self.plain(a, origin) for a in expr.args]
                self._plain[expr] = expr if inner == list(expr.args) else expr.func(*inner)
            else:
                raise AssertionError("an operation on arrays is taken for one number: a bug in DPL")
        return self._plain[expr]

    def new(self, word: str) -> Symbol:
        self._made += 1
        return symbol(f"{word} {self._made}")

    def value(self, expr: Expr) -> Expr:
        """What a name stands for, through other names."""
        while expr in self.values:
            expr = self.values[expr]
        return expr

    def count(self, roots: Iterable[Expr]) -> None:
        """How often each expression is used."""
        waiting = list(roots)
        while waiting:
            expr = self.value(waiting.pop())
            self.uses[expr] += 1
            if self.uses[expr] == 1:
                waiting += self.kept[expr].reads if expr in self.kept else expr.args

    # ------------------------------------------------------------ shapes

    def shape(self, expr: Expr, cutting: bool = False) -> Shape:
        """The shape of an expression; with `cutting`, its operands are leaves."""
        expr = self.value(expr)
        if not cutting and expr in self._shapes:
            return self._shapes[expr]
        name, make, operands = _operation(expr)
        shapes = [self.inner(a, cutting) for a in operands]
        if isinstance(expr, sp.Add | sp.Mul):
            shapes.sort(key=lambda s: (s.key, not all(map(self.is_constant, s.leaves))))
        key = self.key((name, *(s.key for s in shapes)))
        leaves = tuple(leaf for s in shapes for leaf in s.leaves)
        found = Shape(key, leaves, 1 + sum(s.size for s in shapes), make, tuple(shapes))
        if not cutting:
            self._shapes[expr] = found
        return found

    def inner(self, expr: Expr, cutting: bool) -> Shape:
        """The shape of an operand: a leaf, a literal, or what it is itself."""
        expr = self.value(expr)
        if _literal(expr):
            return Shape(self.key(("literal", expr)), (), 1, expr)
        leaf = Shape(self.key("leaf"), (expr,), 1, None)
        if self.is_constant(expr) or expr.is_Symbol or expr in self._cut:
            return leaf
        through = _transparent(expr)
        if cutting and not through:
            return leaf
        found = self.shape(expr, cutting)
        if not cutting and not through and (found.size > MOST_NODES or (self.uses[expr] > 1 and _heavy(expr))):
            self._cut.add(expr)
            return leaf
        return found

    def is_constant(self, expr: Expr) -> bool:
        return expr.is_number or (expr in self.constant and self.is_number(expr))

    def key(self, what: Any) -> int:
        return self._keys.setdefault(what, len(self._keys))

    # ------------------------------------------------------------ parts

    def need(self, expr: Expr, origin: str) -> Expr:
        """Has an expression computed by itself; returns it, or what its name stands for."""
        expr = self.value(expr)
        if expr.is_Symbol or expr.is_number or expr in self.parts:
            return expr
        shape = self.shape(expr)
        self._cut.add(expr)
        part = self.parts[expr] = _Part(expr, self.origins.get(expr, origin), shape)
        if expr.is_Add:
            part.terms = tuple(self.term(t, part.origin) for t in expr.args)
        else:
            heapq.heappush(self._waiting, (-shape.size, len(self.parts), expr))
        return expr

    def term(self, expr: Expr, origin: str) -> tuple[float, Expr]:
        """A term of a sum: its numeric factor, and the rest, which is computed by itself."""
        expr = self.value(expr)
        factor, rest = expr.as_coeff_Mul()
        if rest == 1:
            return 1.0, expr
        if isinstance(expr, sp.Add):
            return 1.0, self.need(expr, origin)
        self.uses[rest] = max(self.uses[rest], self.uses[expr])
        return float(factor), self.need(rest, origin)

    def settle(self) -> None:
        """Takes rare shapes apart, the largest first."""
        while self._waiting:
            size = self._waiting[0][0]
            alike: dict[int, list[_Part]] = {}
            while self._waiting and self._waiting[0][0] == size:
                part = self.parts[heapq.heappop(self._waiting)[2]]
                alike.setdefault(part.shape.key, []).append(part)
            for parts in alike.values():
                for part in parts:
                    if len(parts) < LEAST_ROWS:
                        part.shape = self.shape(part.expr, cutting=True)
                    for leaf in part.shape.leaves:
                        self.need(leaf, part.origin)

    def level(self, wanted: Sequence[Expr]) -> None:
        """After how many others each part and kept statement can be computed."""
        levels: dict[Expr, int] = {}
        waiting = list(wanted)
        while waiting:
            expr = waiting[-1]
            item = self.parts.get(expr) or self.kept.get(expr)
            if expr in levels or item is None:
                levels.setdefault(expr, 0)
                waiting.pop()
                continue
            reads = [self.value(r) for r in item.reads]
            missing = [r for r in reads if r not in levels]
            if missing:
                waiting += missing
                continue
            item.level = levels[expr] = 1 + max((levels[r] for r in reads), default=0)
            waiting.pop()

    # ------------------------------------------------------------ the result

    def function(self, vectors: Mapping[Symbol, tuple[Expr, ...]] | None = None) -> ir.Function:
        """The function in groups; `vectors` are what it returns first."""
        vectors = vectors or {}
        returns = self.read()
        ends = [*(e for entries in vectors.values() for e in entries), *ir.leaves(returns)]
        numbers = [e for e in ends if self.is_number(e)]
        arrays = [s for e in ends if not self.is_number(e) for s in by_name(e.free_symbols)]
        self.count([*numbers, *arrays, *(r for k in self.kept.values() for r in k.reads)])
        wanted = [self.need(e, "") for e in (*numbers, *arrays)]
        for kept in self.kept.values():
            wanted += [self.need(r, kept.statement.origin) for r in kept.reads if r not in self.kept]
        self.settle()
        self.level([*wanted, *self.kept])
        read = [*wanted, *(e for p in self.parts.values() for e in p.reads)]
        self.constants = tuple(dict.fromkeys(e for e in map(self.value, read) if self.is_constant(e)))
        writer = _Writer(self)
        body, results = writer.written(vectors, returns)
        looked_up = set(writer.looked_up)
        lookups = tuple(row for row in self.f.lookups if row[0] not in looked_up)
        unpack = tuple((a, s) for a, s in self.f.unpack if a not in writer.joined)
        return ir.Function(self.f.name, self.f.doc, self.f.arguments, unpack, lookups, tuple(body), results)


def _operation(expr: Expr) -> tuple[Any, Callable[..., Expr], tuple[Expr, ...]]:
    """What is done, how to do it to others, and to what; small powers are operations of their own."""
    if isinstance(expr, sp.Pow) and expr.exp.is_Rational and abs(expr.exp) <= 4 and (2 * expr.exp).is_Integer:
        exponent = expr.exp

        def power(base: Expr) -> Expr:
            return sp.Pow(base, exponent)

        return ("power", exponent), power, (expr.base,)
    return expr.func.__name__, expr.func, expr.args


def _literal(expr: Expr) -> bool:
    """What a shape holds as it is: the time, 1, and functions without arguments."""
    if isinstance(expr, sp.Function):
        return not expr.args
    return expr in (TIME, INFINITY, sp.S.One, sp.S.NegativeOne)


def _transparent(expr: Expr) -> bool:
    """Whether an operand is not worth a part of its own, or cannot be one: reciprocals and truth values."""
    return (isinstance(expr, sp.Pow) and expr.exp.is_number) or function_name(expr) in CONDITIONS


def _heavy(expr: Expr) -> bool:
    """Whether what is used twice should be computed once: not if that takes about as long as to pick it."""
    if isinstance(expr, sp.Mul | sp.Add) and len(expr.args) <= 3:
        return any(a.args for a in expr.args if not a.is_number)
    return not (isinstance(expr, sp.Pow) and expr.exp.is_Integer and expr.base.is_Symbol)


# ---------------------------------------------------------------- statements


class _Writer:
    """The statements of a grouped function, level by level."""

    def __init__(self, grouping: _Grouping):
        self.g, self.f = grouping, grouping.f
        self.body: list[ir.Statement] = []
        self.places: dict[Expr, tuple[Symbol, int]] = {}
        self.sizes: dict[Symbol, int] = {}
        self.named: set[Symbol] = set()
        self.looked_up: list[Symbol] = []
        self.joined: set[str] = set()
        self.results: dict[Expr, Symbol] = {}

    def written(self, vectors: Mapping[Symbol, tuple[Expr, ...]], returns: Any) -> tuple[list[ir.Statement], Any]:
        """All statements, and the results in terms of them."""
        self.arguments()
        joined: tuple[Expr, ...] = returns[0] if self.joins(returns) else ()
        others = returns[1:] if joined else returns
        ends = [e for e in ir.leaves(others) if self.g.is_number(e)]
        inlined = self.inlined(joined, [*ends, *(e for entries in vectors.values() for e in entries)])
        self.levels(inlined)
        for name, entries in vectors.items():
            self.pick((name,), [((1.0, e),) for e in entries], ((1, len(entries)),))
        front: tuple[Expr, ...] = tuple(vectors)
        if joined:
            vector = self.g.new("joined")
            rows = [self.row(e, inlined) for e in joined]
            self.pick((vector,), rows, ((1, len(joined)),), tuple(map(self.origin, joined)))
            front = (opaque("joined")(vector),)
        found = dict.fromkeys(e for e in map(self.g.value, ends) if e in self.places)
        self.results = {e: self.g.new("result") for e in found}
        if found:
            self.pick(tuple(self.results.values()), [((1.0, e),) for e in found])
        results = ir.mapped_leaves(others, self.result)
        return self.body, (*front, *results) if front else results

    def joins(self, returns: Any) -> bool:
        """Whether the first results are states or their derivatives, enough to be given as one vector."""
        if self.f.name not in ("rhs", "start"):
            return False
        first = cast("tuple[Expr, ...]", returns[0])
        return len(first) >= LEAST_JOINED and all(map(self.g.is_number, first))

    # ------------------------------------------------------------ where things are

    def arguments(self) -> None:
        """States, what is looked up, and constants, each as a vector."""
        for argument, symbols in self.f.unpack:
            if argument == "states" and symbols and all(map(self.g.is_number, symbols)):
                vector = self.hold(self.g.new("vector"), symbols)
                self.body.append(ir.Vector(vector, "states"))
                self.joined.add("states")
        found = [(s, key) for s, _, key in self.f.lookups if self.g.is_number(s)]
        like = None
        if found:
            self.looked_up = [s for s, _ in found]
            like = self.hold(self.g.new("vector"), self.looked_up)
            self.body.append(ir.Vector(like, "values", tuple(key for _, key in found)))
        if self.g.constants:
            self.hold(self.g.vector, self.g.constants)
            if not self.g.constant:
                self.body.append(ir.Constants(self.g.vector, tuple(map(float, self.g.constants)), like))

    def hold(self, vector: Symbol, numbers: Sequence[Expr]) -> Symbol:
        self.sizes[vector] = len(numbers)
        for i, e in enumerate(numbers):
            self.places.setdefault(e, (vector, i))
        return vector

    def place(self, expr: Expr) -> tuple[Symbol, int]:
        """The vector that holds a number, and where; a number with a name of its own is a vector of one."""
        expr = self.g.value(expr)
        if expr not in self.places:
            self.hold(expr, [expr])
        return self.places[expr]

    # ------------------------------------------------------------ levels

    def inlined(self, joined: Sequence[Expr], others: Iterable[Expr]) -> set[Expr]:
        """Sums that nothing but the joined results reads."""
        read = {self.g.value(r) for p in self.g.parts.values() for r in p.reads}
        read |= {self.g.value(r) for k in self.g.kept.values() for r in k.reads} | set(map(self.g.value, others))
        sums = (e for e in map(self.g.value, joined) if e in self.g.parts and self.g.parts[e].terms is not None)
        return {e for e in sums if e not in read}

    def levels(self, inlined: set[Expr]) -> None:
        parts: dict[int, list[_Part]] = {}
        for part in self.g.parts.values():
            if part.expr not in inlined:
                parts.setdefault(part.level, []).append(part)
        kept: dict[int, list[_Kept]] = {}
        for item in {id(k): k for k in self.g.kept.values()}.values():
            kept.setdefault(item.level, []).append(item)
        for level in range(max((*parts, *kept), default=0) + 1):
            now = parts.get(level, [])
            self.groups([p for p in now if p.terms is None])
            self.sums([p for p in now if p.terms is not None])
            self.keep(kept.get(level, []))

    def groups(self, parts: Sequence[_Part]) -> None:
        """The rows of one shape at once; what all groups of a level read is picked at once, too."""
        alike: dict[int, list[_Part]] = {}
        for part in parts:
            alike.setdefault(part.shape.key, []).append(part)
        operands: list[dict[tuple[Expr, ...], Symbol]] = []
        made = [self.group(members, operands) for members in alike.values()]
        rows = [((1.0, e),) for group in operands for entries in group for e in entries]
        if rows:
            sizes = tuple((len(group), len(next(iter(group)))) for group in operands if group)
            self.pick(tuple(s for group in operands for s in group.values()), rows, sizes)
        self.body += made

    def group(self, members: Sequence[_Part], operands: list[dict[tuple[Expr, ...], Symbol]]) -> ir.Grouped:
        mine: dict[tuple[Expr, ...], Symbol] = {}
        leaves: list[Expr] = []
        for entries in zip(*(p.shape.leaves for p in members), strict=True):
            entries = tuple(map(self.g.value, entries))
            same = entries[0].is_number and len(set(entries)) == 1
            leaves.append(entries[0] if same else mine.setdefault(entries, self.g.new("operand")))
        operands.append(mine)
        target = self.hold(self.g.new("group"), [p.expr for p in members])
        return ir.Grouped(target, members[0].shape.of(iter(leaves)), tuple(p.origin for p in members))

    def sums(self, parts: Sequence[_Part]) -> None:
        if parts:
            target = self.g.new("sums")
            self.pick((target,), [p.terms or () for p in parts], ((1, len(parts)),), tuple(p.origin for p in parts))
            self.hold(target, [p.expr for p in parts])

    def keep(self, items: Sequence[_Kept]) -> None:
        """Statements that are not grouped, after the numbers that they read."""
        self.name([r for item in items for r in item.reads])
        self.body += [item.statement for item in items]

    # ------------------------------------------------------------ results

    def row(self, expr: Expr, inlined: set[Expr]) -> tuple[tuple[float, Expr], ...]:
        expr = self.g.value(expr)
        return (self.g.parts[expr].terms or ()) if expr in inlined else ((1.0, expr),)

    def origin(self, expr: Expr) -> str:
        part = self.g.parts.get(self.g.value(expr))
        return part.origin if part else ""

    def result(self, expr: Expr) -> Expr:
        if not self.g.is_number(expr):
            self.name(by_name(expr.free_symbols))
            return expr
        expr = self.g.value(expr)
        return self.results.get(expr, expr)

    def name(self, symbols: Sequence[Symbol]) -> None:
        """The symbols as single numbers, where they are in vectors."""
        wanted = [s for s in dict.fromkeys(symbols) if s not in self.named and s not in self.g.constant]
        found = [s for s in wanted if self.place(s)[0] != self.g.value(s)] if wanted else []
        if found:
            self.pick(tuple(found), [((1.0, s),) for s in found])
        others = [s for s in wanted if s in self.g.values and s not in found]
        self.body += [ir.Assign(s, self.g.value(s), self.g.origins.get(self.g.value(s), "")) for s in others]
        self.named |= set(wanted)

    def pick(
        self,
        targets: tuple[Symbol, ...],
        rows: Sequence[Sequence[tuple[float, Expr]]],
        sizes: tuple[tuple[int, int], ...] = (),
        origins: tuple[str, ...] = (),
    ) -> None:
        places = [[(w, *self.place(e)) for w, e in row] for row in rows]
        starts: dict[Symbol, int] = {}
        total = 0
        for source in dict.fromkeys(s for row in places for _, s, _ in row):
            starts[source], total = total, total + self.sizes[source]
        if len(sizes) == 1 and len(targets) == 1:
            self.sizes[targets[0]] = sizes[0][1]
        entries = tuple(tuple((starts[s] + i, w) for w, s, i in row) for row in places)
        self.body.append(ir.Picked(targets, tuple(starts), total, entries, sizes, origins))
