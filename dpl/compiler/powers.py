"""Powers of one base from each other, after equal parts have been shared.

x², x³ and x⁴ together take three multiplications, x^1.5 takes a root and one; a general power takes as long as thirty.
Several divisions by powers of one base become one. A product adds half a unit in the last place, so exponents are
bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from dpl.compiler.algebra import ONE, Expr, Symbol, sp
from dpl.compiler.operations import divides

MOST_POWER = 16
"""Beyond which a power is left to itself"""
HALF = ONE / 2

Values = dict[Symbol, Expr]


def reduced(values: Values, exprs: Sequence[Expr], names: Iterator[Symbol]) -> tuple[Values, list[Expr]]:
    """Shared values and expressions, with related powers computed from each other under further names."""
    bases: Values = {}
    products: Values = {}
    replaced: dict[Expr, Expr] = {}
    for base, exponents in _powers((*values.values(), *exprs)).items():
        if len(exponents) > 1 or any(map(_rooted, exponents)):
            name = base if base.is_Symbol else next(names)
            if name is not base:
                bases[name] = base
            chain = _Chain(name, exponents, names)
            replaced |= {sp.Pow(base, e): chain.power(e) for e in exponents}
            products |= chain.values
    if replaced:
        values = {name: value.xreplace(replaced) for name, value in (values | bases).items()}
        same = {name: value for name, value in values.items() if value.is_Symbol}  # a power that had a name of its own
        values = {name: value.xreplace(same) for name, value in values.items() if name not in same}
        values, exprs = _inlined(values, products, [e.xreplace(replaced).xreplace(same) for e in exprs])
    return _divided(values, exprs)


def _powers(exprs: Iterable[Expr]) -> dict[Expr, list[Expr]]:
    """By base, the exponents that can be reduced, the least first."""
    found: dict[Expr, set[Expr]] = {}
    for expr in exprs:
        for node in sp.preorder_traversal(expr):
            if isinstance(node, sp.Pow) and _reducible(node.exp) and node.base.free_symbols:
                found.setdefault(node.base, set()).add(node.exp)
    return {base: sorted(exponents, key=lambda e: (abs(e), e)) for base, exponents in found.items()}


def _reducible(exponent: Expr) -> bool:
    return bool(exponent.is_Rational and (4 * exponent).is_Integer and abs(exponent) <= MOST_POWER)


def _rooted(exponent: Expr) -> bool:
    """Whether it takes a root and more."""
    return not exponent.is_Integer and abs(exponent) != HALF


class _Chain:
    """Powers of one symbol: roots of it, and products of two powers that are there."""

    def __init__(self, base: Symbol, exponents: Sequence[Expr], names: Iterator[Symbol]):
        self.values: Values = {}
        self._base, self._names = base, names
        self._known: dict[Expr, Expr] = {ONE: base}
        below = [-e for e in exponents if e.is_negative]
        self._inverse = _Chain(self._named(ONE / base), below, names) if len(below) > 1 else None
        roots = [e for e in exponents if not e.is_Integer and not (self._inverse and e.is_negative)]
        if roots and (len(roots) > 1 or _rooted(roots[0])):
            self._known[HALF] = self._named(sp.sqrt(base))

    def power(self, exponent: Expr) -> Expr:
        """The base to that power."""
        if exponent.is_negative:
            if self._inverse is None:
                return ONE / self.power(-exponent)
            power = self._inverse.power(-exponent)
            self.values |= self._inverse.values
            return power
        if exponent not in self._known:
            self._known[exponent] = self._made(exponent)
        return self._known[exponent]

    def _made(self, exponent: Expr) -> Expr:
        if exponent == HALF:
            return sp.sqrt(self._base)
        if exponent == HALF / 2:
            return self._named(sp.sqrt(self.power(HALF)))
        return self._named(sp.Mul(*map(self.power, self._split(exponent))))

    def _split(self, exponent: Expr) -> tuple[Expr, Expr]:
        """Two powers that are there, if possible; else what is left of a root, or halves."""
        there = next((e for e in self._known if exponent - e in self._known), None)
        if there is None:
            rest = exponent - int(exponent)
            there = exponent // 2 if rest == 0 else rest if exponent > 1 else HALF
        return there, exponent - there

    def _named(self, value: Expr) -> Symbol:
        name = next(self._names)
        self.values[name] = value
        return name


def _inlined(values: Values, products: Values, exprs: Sequence[Expr]) -> tuple[Values, list[Expr]]:
    """Products that are read once stand where they are read; a root would merge with the powers around it."""
    uses = Counter(
        n for e in (*values.values(), *products.values(), *exprs) for n in sp.preorder_traversal(e) if n in products
    )
    once: dict[Expr, Expr] = {}
    kept = dict(values)
    for name, value in products.items():
        value = value.xreplace(once)
        if uses[name] == 1 and not (isinstance(value, sp.Pow) and not value.exp.is_Integer):
            once[name] = value
        elif uses[name]:
            kept[name] = value
    return {n: v.xreplace(once) for n, v in kept.items()}, [e.xreplace(once) for e in exprs]


def _divided(values: Values, exprs: Sequence[Expr]) -> tuple[Values, list[Expr]]:
    """A shared reciprocal stays one only where it saves a division: what is divided anyway is divided by a product."""
    found = {name: value for name, value in values.items() if isinstance(value, sp.Pow) and value.exp == -1}
    saves: set[Expr] = found.keys() & set(exprs)
    for expr in (*values.values(), *exprs) if found else ():
        for node in sp.preorder_traversal(expr):
            if node.args and not (isinstance(node, sp.Mul) and any(map(divides, node.args))):
                saves |= found.keys() & set(node.args)
    back = {name: value for name, value in found.items() if name not in saves}
    return {n: v.xreplace(back) for n, v in values.items() if n not in back}, [e.xreplace(back) for e in exprs]
