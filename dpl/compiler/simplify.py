"""Algebra that pays, bounded: invariants hoisted, equal parts shared, factors taken out where that is cheaper.

Cost is counted in weighted operations, after sharing. Nothing here expands an expression or runs without bound, and
nothing depends on hashes or on time, so equal input gives equal output.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from dpl.compiler import ir, powers
from dpl.compiler.algebra import CONDITIONS, Expr, Sizes, Symbol, function_name, network_path, sp, symbol, symbols_in
from dpl.compiler.arrays import is_layout
from dpl.compiler.operations import cost
from dpl.compiler.trigonometry import unfolded

MOST_FACTORED = 400
"""Nodes of an expression beyond which common factors are not looked for"""
MOST_COMPARED = 4_000
"""Nodes of a function beyond which only equal subexpressions are shared, not common parts of sums and products"""


# ---------------------------------------------------------------- what does not change during a run


class Hoisting:
    """Parts of expressions that depend only on what is fixed during a run, each computed once, by name."""

    def __init__(self, fixed: frozenset[Symbol]):
        self._fixed = fixed
        self._names: dict[Expr, Symbol] = {}

    def named(self) -> list[tuple[Symbol, Expr]]:
        """The names given so far and what they stand for."""
        return [(name, expr) for expr, name in self._names.items()]

    def hoist(self, expr: Expr) -> Expr:
        """The expression with every largest invariant part replaced by its name."""
        if not expr.args or not (symbols_in(expr) & self._fixed):
            return expr
        if self._invariant(expr):
            return self._name(expr)
        if isinstance(expr, sp.Add | sp.Mul):
            inside = [a for a in expr.args if self._invariant(a)]
            if len(inside) > 1 and any(a.free_symbols for a in inside):
                rest = [self.hoist(a) for a in expr.args if a not in inside]
                return expr.func(self._name(expr.func(*inside)), *rest)
        return expr.func(*(self.hoist(a) for a in expr.args))

    def _invariant(self, expr: Expr) -> bool:
        """Truth values and the several results of a network are not numbers that could have a name; what only moves or
        repeats elements costs less where it is used."""
        number = function_name(expr) not in CONDITIONS and network_path(expr) is None and not is_layout(expr)
        return number and self._fixed.issuperset(symbols_in(expr))

    def _name(self, expr: Expr) -> Expr:
        """Numbers, symbols and their negatives are not worth a name."""
        if not (-expr).args or not expr.args:
            return expr
        if -expr in self._names:
            return -self._names[-expr]
        if expr not in self._names:
            self._names[expr] = symbol(f"invariant {len(self._names) + 1}")
        return self._names[expr]


# ---------------------------------------------------------------- what is computed twice


Parts = tuple[dict[Symbol, Expr], list[Expr]]
"""What names stand for, and the expressions in terms of them"""


def share(statements: list[ir.Statement], returns: list[Expr]) -> tuple[list[ir.Statement], list[Expr]]:
    """Statements and results with common subexpressions computed once, in names of their own."""
    values: dict[Symbol, Expr] = {}

    def reduced(exprs: list[Expr]) -> list[Expr]:
        found, rest = _reduced(unfolded(exprs))
        values.update(found)
        return rest

    rebuilt, rest = changed([_inside(s) if isinstance(s, ir.Root) else s for s in statements], returns, reduced)
    return _placed(*_named_once(values, rebuilt, rest))


def changed(
    statements: Sequence[ir.Statement], returns: Sequence[Expr], change: Callable[[list[Expr]], list[Expr]]
) -> tuple[list[ir.Statement], list[Expr]]:
    """Statements and results with all expressions changed together, but those inside of roots."""
    outer = [s for s in statements if not isinstance(s, ir.Root)]
    rest = iter(change([*(e for s in outer for e in ir.expressions(s)), *returns]))
    rebuilt = [s if isinstance(s, ir.Root) else ir.mapped(s, lambda _: next(rest)) for s in statements]
    return rebuilt, list(rest)


def _reduced(exprs: list[Expr]) -> Parts:
    """The cheapest way to compute what the expressions have in common, and their powers."""
    size = Sizes()
    if sum(map(size, exprs)) > MOST_COMPARED:
        found = _equal_parts(exprs)
    else:
        factored = [_factored(e) if size(e) <= MOST_FACTORED else e for e in exprs]
        candidates = [_common_parts(exprs), *([_common_parts(factored)] if factored != exprs else [])]
        found = min(candidates, key=_price)
    return min(found, powers.reduced(*found, _names(_last(found[0]) + 1)), key=_price)


def _named_once(
    values: dict[Symbol, Expr], statements: list[ir.Statement], returns: list[Expr]
) -> tuple[dict[Symbol, Expr], list[ir.Statement], list[Expr], dict[Symbol, str]]:
    """A shared part that a statement gives a name of its own goes by that name; also the origins of such names."""
    own: dict[Symbol, Symbol] = {}
    origins: dict[Symbol, str] = {}
    kept: list[ir.Statement] = []
    for s in statements:
        if isinstance(s, ir.Assign) and s.value in values and s.value not in own:
            own[s.value] = s.target
            origins[s.target] = s.origin
        else:
            kept.append(s)
    renamed = {own.get(name, name): value.xreplace(own) for name, value in values.items()}
    changed = [ir.mapped(s, lambda e: e.xreplace(own)) for s in kept]
    return renamed, changed, [e.xreplace(own) for e in returns], origins


def _inside(root: ir.Root) -> ir.Root:
    """The root with the common parts of its residuals computed once."""
    body, residuals = share(list(root.body), list(root.residuals))
    renamed = {t: symbol(f"inner {t.name}") for s in body for t in ir.targets(s) if t.name.startswith("shared ")}

    def change(e: Expr) -> Expr:
        return e.xreplace(renamed)

    inner = tuple(
        ir.Assign(renamed.get(a.target, a.target), change(a.value), a.origin) for a in body if isinstance(a, ir.Assign)
    )
    return ir.Root(root.unknowns, inner, tuple(map(change, residuals)), root.origin)


@lru_cache(maxsize=10_000)
def _factored(expr: Expr) -> Expr:
    """Common factors of sums taken out. The functions of modes and scenarios share most of their expressions."""
    return sp.factor_terms(expr) if expr.has(sp.Add) else expr


def _price(parts: Parts) -> tuple[int, int]:
    """The cost, and of equals the number of signs."""
    exprs = [*parts[0].values(), *parts[1]]
    signs = sum(isinstance(n, sp.Mul) and n.args[0] == -1 for e in exprs for n in sp.preorder_traversal(e))
    return cost(exprs), signs


def _names(start: int = 1) -> Iterator[Symbol]:
    return sp.numbered_symbols("shared ", start=start, real=True)


def _last(values: dict[Symbol, Expr]) -> int:
    return max((int(name.name.removeprefix("shared ")) for name in values), default=0)


def _common_parts(exprs: Sequence[Expr]) -> Parts:
    """Equal subexpressions and common parts of sums and products; the time grows with the square of their number."""
    replacements, reduced = sp.cse(exprs, symbols=_names(), order="canonical", list=True)
    signs = {name: value for name, value in replacements if not (-value).args}  # `-x` is not worth a name
    kept = {name: value.xreplace(signs) for name, value in replacements if name not in signs}
    return kept, [e.xreplace(signs) for e in reduced]


def _equal_parts(exprs: Sequence[Expr]) -> Parts:
    """Equal subexpressions only, in time that grows with the size."""
    seen: Counter[Expr] = Counter()
    waiting = list(exprs)
    while waiting:
        expr = waiting.pop()
        if expr.args and expr.free_symbols and function_name(expr) not in CONDITIONS:
            seen[expr] += 1
            if seen[expr] > 1:
                continue
        waiting += expr.args
    names, done = _names(), dict[Expr, Expr]()
    values: dict[Symbol, Expr] = {}

    def reduced(expr: Expr) -> Expr:
        if not expr.args:
            return expr
        if expr not in done:
            new = expr.func(*map(reduced, expr.args))
            if seen[expr] > 1:
                name = next(names)
                values[name], new = new, name
            done[expr] = new
        return done[expr]

    return values, [reduced(e) for e in exprs]


def _placed(
    values: dict[Symbol, Expr], statements: list[ir.Statement], returns: list[Expr], origins: dict[Symbol, str]
) -> tuple[list[ir.Statement], list[Expr]]:
    """Each shared name just before its first use, with its own origin or that of the statement that uses it first."""
    order = {name: i for i, name in enumerate(values)}
    done: set[Symbol] = set()
    result: list[ir.Statement] = []

    def need(symbols: set[Symbol], origin: str) -> None:
        for name in sorted(symbols & values.keys(), key=order.__getitem__):
            if name not in done:
                done.add(name)
                need(values[name].free_symbols, origin)
                result.append(ir.Assign(name, values[name], origins.get(name, origin)))

    for statement in statements:
        need(ir.reads(statement), statement.origin)
        result.append(statement)
    for expr in returns:
        need(expr.free_symbols, "")
    return result, returns
