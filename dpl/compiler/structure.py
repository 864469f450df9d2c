"""Equations into statements that can be computed one after another.

Names with a value define themselves; every other equation is matched with an unknown; what depends on each other in a
circle is solved together: as a linear system where it is linear, else by Newton's method. Tearing: a circle is cut at
the unknowns of its implicit equations, and at one name of each circle that is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dpl.compiler import ir
from dpl.compiler.algebra import ONE, ZERO, Expr, Sizes, Symbol, by_name, free, sp, symbols_in
from dpl.compiler.arrays import elements_in_place, quotient, rebuilt
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.graph import components, cycle, match
from dpl.language.source import Span

MOST_INLINED = 5_000
"""Nodes of a residual, as a tree, beyond which a circle is not examined for being linear"""


@dataclass(frozen=True)
class Relation:
    """`left = right` for whichever of `unknowns` it is matched with; a definition has `target` for its left side."""

    left: Expr
    right: Expr
    span: Span
    target: Symbol | None = None
    unknowns: tuple[Symbol, ...] = ()

    @property
    def origin(self) -> str:
        return self.span.origin

    def renamed(self, names: dict[Symbol, Expr]) -> Relation:
        """The relation in other names; what it defines keeps its own."""
        left = self.left if self.target is not None else self.left.xreplace(names)
        return Relation(left, self.right.xreplace(names), self.span, self.target, self.unknowns)


Search = Callable[[Symbol], ir.Unknown]
"""Where Newton's method looks for an unknown"""


def causalize(relations: Sequence[Relation], search: Search) -> tuple[ir.Statement, ...]:
    """The statements that determine every target and matched unknown, in an order in which they can be computed.

    Raises:
        CompileError: a circle has no solution, or infinitely many.
    """
    definitions = {r.target: r for r in relations if r.target is not None}
    equations = [r for r in relations if r.target is None]
    giver: dict[Symbol, Relation] = {**definitions, **match_unknowns(equations, definitions)}
    sources = {s: [x for x in _sources(s, r) if x in giver] for s, r in giver.items()}
    order = sorted(giver, key=lambda s: (giver[s].span.source.name, giver[s].span.start, s.name))
    statements: list[ir.Statement] = []
    for component in components(order, lambda s: sources[s]):
        statements += _Block([(s, giver[s]) for s in component], sources, search).statements()
    return tuple(statements)


def match_unknowns(equations: list[Relation], definitions: dict[Symbol, Relation]) -> dict[Symbol, Relation]:
    """Each implicit equation with the unknown that it determines."""
    stands_for = _Reach(definitions)
    unknowns = {id(r.unknowns): frozenset(r.unknowns) for r in equations}  # most equations share one tuple of them

    def candidates(index: int) -> list[Symbol]:
        relation = equations[index]
        mine = stands_for(free((relation.left, relation.right))) & unknowns[id(relation.unknowns)]
        return sorted(by_name(mine), key=lambda u: u not in (relation.left, relation.right))

    owner = match(range(len(equations)), candidates)
    left_over = [equations[i] for i in sorted(set(range(len(equations))) - set(owner.values()))]
    if left_over:
        message = "after simplification this equation determines nothing: its unknown cancels"
        label = "holds no unknown that is left to determine"
        raise CompileError([Diagnostic("singular-equation", message, Label(r.span, label)) for r in left_over])
    return {u: equations[i] for u, i in owner.items()}


class _Reach:
    """What symbols stand for: themselves, and all that is within their definitions."""

    def __init__(self, definitions: dict[Symbol, Relation]):
        self._definitions = definitions

    def __call__(self, symbols: Iterable[Symbol]) -> set[Symbol]:
        seen: set[Symbol] = set()
        waiting = list(symbols)
        while waiting:
            found = waiting.pop()
            if found not in seen:
                seen.add(found)
                if found in self._definitions:
                    waiting += self._definitions[found].right.free_symbols
        return seen


def _sources(symbol: Symbol, relation: Relation) -> list[Symbol]:
    """What must be known (or solved together) before the symbol: for an explicit equation its other side."""
    explicit = _explicit(symbol, relation)
    if explicit is not None:
        return by_name(explicit.free_symbols)
    if relation.target is not None:
        return by_name(relation.right.free_symbols)
    return by_name(free((relation.left, relation.right)) - {symbol})


def _explicit(symbol: Symbol, relation: Relation) -> Expr | None:
    """The symbol's value, if one side is the symbol alone."""
    for one, other in ((relation.left, relation.right), (relation.right, relation.left)):
        if one == symbol and symbol not in other.free_symbols:
            return other
        if relation.target is not None:
            return None
    return None


@dataclass
class _Block:
    """One circle (or one single symbol) and what determines each of its members."""

    members: list[tuple[Symbol, Relation]]
    sources: dict[Symbol, list[Symbol]]
    search: Search

    def statements(self) -> list[ir.Statement]:
        if len(self.members) == 1:
            symbol, relation = self.members[0]
            explicit = _explicit(symbol, relation)
            if explicit is not None:
                return [ir.Assign(symbol, explicit, relation.origin)]
        unknowns, body = self.torn()
        residuals = [self.residual(u) for u in unknowns]
        inlined = _inlined(residuals, body)
        linear = linear_system(inlined, unknowns) if inlined is not None else None
        if linear is not None:
            return [self.linear(unknowns, *linear), *body]
        search = tuple(self.search(u) for u in unknowns)
        return [ir.Root(search, tuple(body), tuple(residuals), self.origin), *body]

    @property
    def origin(self) -> str:
        return ", ".join(dict.fromkeys(r.origin for _, r in self.members))

    def torn(self) -> tuple[list[Symbol], list[ir.Assign]]:
        """The unknowns to solve for, and the definitions that follow from them in order."""
        unknowns = [s for s, r in self.members if r.target is None]
        defined = {s: r for s, r in self.members if r.target is not None}
        while True:
            inner = [s for s in defined if s not in unknowns]
            within = {s: [x for x in self.sources[s] if x in inner] for s in inner}
            rings = components(inner, lambda s: within[s])  # noqa: B023  used up before the next round
            circle = next((c for c in rings if len(c) > 1 or c[0] in within[c[0]]), None)
            if circle is None:
                ordered = [s for c in rings for s in c]
                return unknowns, [ir.Assign(s, defined[s].right, defined[s].origin) for s in ordered]
            unknowns.append(circle[0])

    def residual(self, unknown: Symbol) -> Expr:
        relation = dict(self.members)[unknown]
        return (unknown if relation.target is not None else relation.left) - relation.right

    def linear(self, unknowns: list[Symbol], rows: list[list[Expr]], right: list[Expr]) -> ir.Statement:
        if _singular(rows):
            raise CompileError([self.unsolvable()])
        if len(unknowns) == 1:
            return ir.Assign(unknowns[0], quotient(right[0], rows[0][0]), self.origin)
        return ir.Solve(tuple(unknowns), tuple(map(tuple, rows)), tuple(right), self.origin)

    def unsolvable(self) -> Diagnostic:
        givers = dict(self.members)
        names = list(givers)
        ring = cycle(names, lambda s: self.sources[s])
        if len(ring) < 2:
            ring = [names[0], names[0]]
        spans = [givers[s].span for s in ring[:-1]]
        return Diagnostic(
            "unsolvable-cycle",
            "these names wait for each other and nothing decides them: " + " -> ".join(f"`{s.name}`" for s in ring),
            Label(spans[0], f"`{ring[0].name}` depends on itself"),
            related=tuple(Label(span, f"gives `{s.name}`") for s, span in zip(ring[1:-1], spans[1:], strict=True)),
            help="give one of them another equation, or put a state between them",
        )


# ---------------------------------------------------------------- linear systems


def _inlined(exprs: list[Expr], body: list[ir.Assign]) -> list[Expr] | None:
    """Expressions in terms of what the body does not define; None where that grows large."""
    size = Sizes()
    for assign in reversed(body):
        exprs = [e.xreplace({assign.target: assign.value}) for e in exprs]
        if sum(map(size, exprs)) > MOST_INLINED:
            return None
    return exprs


def _singular(rows: list[list[Expr]]) -> bool:
    """Whether the matrix has no inverse whatever the numbers; judged for small systems only."""
    if len(rows) > 4:
        return False
    determinant = sp.Matrix(rows).det(method="berkowitz")
    small = not determinant.is_number and Sizes()(determinant) < 400
    return bool((sp.cancel(determinant) if small else determinant) == 0)


def linear_system(residuals: list[Expr], unknowns: list[Symbol]) -> tuple[list[list[Expr]], list[Expr]] | None:
    """Rows and right side if every residual is linear in the unknowns, else None."""
    rows: list[list[Expr]] = []
    right: list[Expr] = []
    for residual in residuals:
        parts = linear_parts(residual, frozenset(unknowns))
        if parts is None:
            return None
        coefficients, rest = parts
        rows.append([coefficients.get(u, ZERO) for u in unknowns])
        right.append(-rest)
    return rows, right


def linear_parts(expr: Expr, unknowns: frozenset[Symbol]) -> tuple[dict[Symbol, Expr], Expr] | None:
    """Coefficients and rest of an expression that is linear in the unknowns; None where it is not, or not evidently."""
    if not (symbols_in(expr) & unknowns):
        return {}, expr
    if expr in unknowns:
        return {expr: ONE}, ZERO
    if isinstance(expr, sp.Add):
        return _linear_sum(expr, unknowns)
    if isinstance(expr, sp.Mul):
        inside = [a for a in expr.args if symbols_in(a) & unknowns]
        outside = sp.Mul(*(a for a in expr.args if not (symbols_in(a) & unknowns)))
        parts = linear_parts(inside[0], unknowns) if len(inside) == 1 else None
        return None if parts is None else ({s: outside * c for s, c in parts[0].items()}, outside * parts[1])
    opened = elements_in_place(expr, unknowns)
    return _linear_elements(expr, *opened) if opened is not None else None


def _linear_elements(
    expr: Expr, bodies: list[Expr], names: dict[Symbol, Symbol]
) -> tuple[dict[Symbol, Expr], Expr] | None:
    """Of an array in which each element of an unknown stands in its own place: coefficients and rest by element."""
    solved = [linear_parts(body, frozenset(names.values())) for body in bodies]
    found = [parts for parts in solved if parts is not None]
    if len(found) < len(solved):
        return None
    coefficients = {u: rebuilt(expr, [c.get(name, ZERO) for c, _ in found]) for u, name in names.items()}
    return coefficients, rebuilt(expr, [rest for _, rest in found])


def _linear_sum(expr: Expr, unknowns: frozenset[Symbol]) -> tuple[dict[Symbol, Expr], Expr] | None:
    coefficients: dict[Symbol, list[Expr]] = {}
    rest: list[Expr] = []
    for term in expr.args:
        parts = linear_parts(term, unknowns)
        if parts is None:
            return None
        for unknown, coefficient in parts[0].items():
            coefficients.setdefault(unknown, []).append(coefficient)
        rest.append(parts[1])
    return {s: sp.Add(*c) for s, c in coefficients.items()}, sp.Add(*rest)
