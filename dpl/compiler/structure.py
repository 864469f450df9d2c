"""Equations into statements that can be computed one after another.

Names with a value define themselves; every other equation is matched with an unknown; what depends on each other in a
circle is solved together: as a linear system where it is linear, else by Newton's method. Tearing: a circle is cut at
the unknowns of its implicit equations, and at one name of each circle that is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import sympy as sp

from dpl.compiler import ir
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.graph import components, cycle, match
from dpl.language.source import Span

Expr = Any


@dataclass(frozen=True)
class Relation:
    """`left = right` for whichever of `unknowns` it is matched with; a definition has `target` for its left side."""

    left: Expr
    right: Expr
    span: Span
    target: sp.Symbol | None = None
    unknowns: tuple[sp.Symbol, ...] = ()

    @property
    def origin(self) -> str:
        return self.span.origin


Bounds = Callable[[sp.Symbol], tuple[Expr, float | None, float | None]]
"""Where Newton's method begins for an unknown, and its range, in SI"""


def causalize(relations: list[Relation], bounds: Bounds) -> list[ir.Statement]:
    """The statements that determine every target and matched unknown, in an order in which they can be computed.

    Raises:
        CompileError: a circle has no solution, or infinitely many.
    """
    definitions = {r.target: r for r in relations if r.target is not None}
    equations = [r for r in relations if r.target is None]
    owner = match_unknowns(equations, definitions)
    giver: dict[sp.Symbol, Relation] = {**definitions, **owner}
    sources = {s: _sources(s, r) for s, r in giver.items()}

    def successors(symbol: sp.Symbol) -> list[sp.Symbol]:
        return [s for s in sources[symbol] if s in giver]

    order = sorted(giver, key=lambda s: (giver[s].span.source.name, giver[s].span.start, str(s)))
    statements: list[ir.Statement] = []
    for component in components(order, successors):
        block = _Block([(s, giver[s]) for s in component], successors, bounds)
        statements += block.statements()
    return statements


def match_unknowns(
    equations: list[Relation], definitions: dict[sp.Symbol, Relation]
) -> dict[sp.Symbol, Relation]:
    """Each implicit equation with the unknown that it determines."""
    reach = _reach(definitions)
    wanted = {u for r in equations for u in r.unknowns}

    def candidates(index: int) -> list[sp.Symbol]:
        relation = equations[index]
        found = {u for s in (relation.left.free_symbols | relation.right.free_symbols) for u in reach(s)} & wanted
        mine = sorted((u for u in found if u in relation.unknowns), key=str)
        return sorted(mine, key=lambda u: u != relation.left)

    owner = match(range(len(equations)), candidates)
    if len(owner) < len(equations):
        matched = set(owner.values())
        left_over = [equations[i] for i in range(len(equations)) if i not in matched]
        message = "after simplification this equation determines nothing: its unknown cancels"
        raise CompileError([Diagnostic("singular-equation", message, Label(r.span, "holds no unknown")) for r in left_over])
    return {u: equations[i] for u, i in owner.items()}


def _reach(definitions: dict[sp.Symbol, Relation]) -> Callable[[sp.Symbol], frozenset[sp.Symbol]]:
    """What a symbol stands for, through definitions: itself, or the unknowns within its value."""
    known: dict[sp.Symbol, frozenset[sp.Symbol]] = {}

    def reach(symbol: sp.Symbol) -> frozenset[sp.Symbol]:
        if symbol not in known:
            seen: set[sp.Symbol] = set()
            ends: set[sp.Symbol] = set()
            waiting = [symbol]
            while waiting:
                s = waiting.pop()
                if s not in seen:
                    seen.add(s)
                    if s in definitions:
                        waiting += sorted(definitions[s].right.free_symbols, key=str)
                    ends.add(s)
            known[symbol] = frozenset(ends)
        return known[symbol]

    return reach


def _sources(symbol: sp.Symbol, relation: Relation) -> list[sp.Symbol]:
    """What must be known (or solved together) before the symbol: for an explicit equation its other side."""
    if relation.target is not None:
        found = relation.right.free_symbols
    else:
        found = relation.left.free_symbols | relation.right.free_symbols
        if relation.left == symbol and symbol not in relation.right.free_symbols:
            found = relation.right.free_symbols
        elif relation.right == symbol and symbol not in relation.left.free_symbols:
            found = relation.left.free_symbols
        else:
            found = found - {symbol}
    return sorted(found, key=str)


@dataclass
class _Block:
    """One circle (or one single symbol) and what determines each of its members."""

    members: list[tuple[sp.Symbol, Relation]]
    successors: Callable[[sp.Symbol], Iterable[sp.Symbol]]
    bounds: Bounds

    def statements(self) -> list[ir.Statement]:
        if len(self.members) == 1:
            symbol, relation = self.members[0]
            explicit = _explicit(symbol, relation)
            if explicit is not None:
                return [ir.Assign(symbol, explicit, relation.origin)]
        unknowns, body = self.torn()
        residuals = [self.residual(u, body) for u in unknowns]
        linear = linear_system([_inlined(r, body) for r in residuals], unknowns)
        solved = self.linear(unknowns, linear) if linear is not None else self.newton(unknowns, residuals, body)
        return [*solved, *body]

    @property
    def origin(self) -> str:
        return ", ".join(dict.fromkeys(r.origin for _, r in self.members))

    def torn(self) -> tuple[list[sp.Symbol], list[ir.Assign]]:
        """The unknowns to solve for, and the definitions that follow from them in order."""
        unknowns = [s for s, r in self.members if r.target is None]
        free = {s: r for s, r in self.members if r.target is not None}
        while True:
            inner = [s for s in free if s not in unknowns]

            def within(symbol: sp.Symbol, inner: list[sp.Symbol] = inner) -> list[sp.Symbol]:
                return [s for s in self.successors(symbol) if s in inner]

            rings = components(inner, within)
            circle = next((c for c in rings if len(c) > 1 or c[0] in within(c[0])), None)
            if circle is None:
                ordered = [s for c in rings for s in c]
                return unknowns, [ir.Assign(s, free[s].right, free[s].origin) for s in ordered]
            unknowns.append(circle[0])

    def residual(self, unknown: sp.Symbol, body: list[ir.Assign]) -> Expr:
        relation = dict(self.members)[unknown]
        return (unknown if relation.target is not None else relation.left) - relation.right

    def linear(self, unknowns: list[sp.Symbol], system: tuple[list[list[Expr]], list[Expr]]) -> list[ir.Statement]:
        rows, right = system
        if _singular(rows):
            raise CompileError([self.unsolvable()])
        if len(unknowns) == 1:
            return [ir.Assign(unknowns[0], right[0] / rows[0][0], self.origin)]
        return [ir.Solve(tuple(unknowns), tuple(map(tuple, rows)), tuple(right), self.origin)]

    def newton(self, unknowns: list[sp.Symbol], residuals: list[Expr], body: list[ir.Assign]) -> list[ir.Statement]:
        starts = [self.bounds(u) for u in unknowns]
        guess, low, high = zip(*starts, strict=True)
        return [ir.Root(tuple(unknowns), tuple(body), tuple(residuals), guess, low, high, self.origin)]

    def unsolvable(self) -> Diagnostic:
        names = [s for s, _ in self.members]
        ring = cycle(names, self.successors)
        if len(ring) < 2:
            ring = [names[0], names[0]]
        spans = [dict(self.members)[s].span for s in ring[:-1]]
        return Diagnostic(
            "unsolvable-cycle",
            "these names wait for each other and nothing decides them: " + " -> ".join(f"`{s}`" for s in ring),
            Label(spans[0], f"`{ring[0]}` depends on itself"),
            related=tuple(Label(span, f"gives `{s}`") for s, span in zip(ring[1:-1], spans[1:], strict=True)),
            help="give one of them another equation, or put a state between them",
        )


def _explicit(symbol: sp.Symbol, relation: Relation) -> Expr | None:
    """The symbol's value, if one side is the symbol alone."""
    if relation.target is not None:
        return None if symbol in relation.right.free_symbols else relation.right
    for one, other in ((relation.left, relation.right), (relation.right, relation.left)):
        if one == symbol and symbol not in other.free_symbols:
            return other
    return None


def _inlined(expr: Expr, body: list[ir.Assign]) -> Expr:
    for assign in reversed(body):
        expr = expr.xreplace({assign.target: assign.value})
    return expr


def _singular(rows: list[list[Expr]]) -> bool:
    """Whether the matrix has no inverse whatever the numbers; judged for small systems only."""
    if len(rows) > 4:
        return False
    determinant = sp.Matrix(rows).det(method="berkowitz")
    return sp.cancel(determinant) == 0 if sp.count_ops(determinant) < 200 else determinant == 0


def linear_system(residuals: list[Expr], unknowns: list[sp.Symbol]) -> tuple[list[list[Expr]], list[Expr]] | None:
    """Rows and right side if every residual is linear in the unknowns, else None."""
    rows: list[list[Expr]] = []
    right: list[Expr] = []
    for residual in residuals:
        parts = linear_parts(residual, frozenset(unknowns))
        if parts is None:
            return None
        coefficients, rest = parts
        rows.append([coefficients.get(u, sp.Integer(0)) for u in unknowns])
        right.append(-rest)
    return rows, right


def linear_parts(expr: Expr, unknowns: frozenset[sp.Symbol]) -> tuple[dict[sp.Symbol, Expr], Expr] | None:
    """Coefficients and rest of an expression that is linear in the unknowns; None where it is not, or not evidently."""
    if not (expr.free_symbols & unknowns):
        return {}, expr
    if expr in unknowns:
        return {expr: sp.Integer(1)}, sp.Integer(0)
    if isinstance(expr, sp.Add):
        total: dict[sp.Symbol, Expr] = {}
        rest: Expr = sp.Integer(0)
        for term in expr.args:
            parts = linear_parts(term, unknowns)
            if parts is None:
                return None
            for symbol, coefficient in parts[0].items():
                total[symbol] = total.get(symbol, sp.Integer(0)) + coefficient
            rest += parts[1]
        return total, rest
    if isinstance(expr, sp.Mul):
        inside = [a for a in expr.args if a.free_symbols & unknowns]
        outside = sp.Mul(*(a for a in expr.args if not (a.free_symbols & unknowns)))
        parts = linear_parts(inside[0], unknowns) if len(inside) == 1 else None
        if parts is None:
            return None
        return {s: outside * c for s, c in parts[0].items()}, outside * parts[1]
    return None
