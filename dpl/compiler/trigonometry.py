"""Sines and cosines of sums of angles from those of their parts, where that takes fewer operations.

`sin(a + b) = sin a cos b + cos a sin b` costs three operations where the four on the right are at hand; a call costs
about fifteen. Which angles to take apart is found by a short search that ends where no single change helps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dpl.compiler.algebra import ONE, Expr, sp

CALL, THEOREM = 15, 3
"""Weighted operations of a sine or cosine, and of one from an addition theorem"""
MOST_MULTIPLE = 4
"""Of an angle"""
MOST_ANGLES = 40
"""Different angles beyond which none is taken apart"""


def unfolded(exprs: Sequence[Expr]) -> list[Expr]:
    """The expressions with angles taken apart where it pays."""
    calls = sorted({c for e in exprs for c in e.atoms(sp.sin, sp.cos)}, key=sp.default_sort_key)
    angles = list(dict.fromkeys(c.args[0] for c in calls))
    if len(angles) > MOST_ANGLES:
        return list(exprs)
    sums = {a: split for a in angles if (split := _split(a, angles)) is not None}
    if not sums:
        return list(exprs)
    wanted = _Calls(calls, sums)
    chosen = min((wanted.search(frozenset()), wanted.search(frozenset(sums))), key=wanted.cost)
    return [wanted.rewritten(e, chosen) for e in exprs] if chosen else list(exprs)


def _split(angle: Expr, angles: Iterable[Expr]) -> tuple[Expr, Expr] | None:
    """The angle as the sum of two simpler ones, of others that are there if possible."""
    if not isinstance(angle, sp.Add):
        factor, rest = angle.as_coeff_Mul()
        return ((factor - 1) * rest, rest) if factor.is_Integer and 1 < factor <= MOST_MULTIPLE else None
    terms: list[Expr] = angle.as_ordered_terms()
    for one in (*angles, *terms):
        other = angle - one
        simpler = max(_parts(one), _parts(other)) < len(terms)
        if simpler and (other in angles or -other in angles or _parts(other) == 1):
            return one, other
    return terms[0], angle - terms[0]


def _parts(angle: Expr) -> int:
    return len(sp.Add.make_args(angle))


class _Calls:
    """The sines and cosines that are wanted, and the sums among their angles."""

    def __init__(self, calls: Sequence[Expr], sums: dict[Expr, tuple[Expr, Expr]]):
        self._calls, self._sums = calls, sums
        self._reads: dict[Expr, set[Expr]] = {}

    def search(self, chosen: frozenset[Expr]) -> frozenset[Expr]:
        """From a choice of angles to take apart to one that no single change makes cheaper."""
        while True:
            others = [chosen ^ {angle} for angle in self._sums]
            best = min(others, key=self.cost)
            if self.cost(best) >= self.cost(chosen):
                return chosen
            chosen = best

    def cost(self, chosen: frozenset[Expr]) -> int:
        """Weighted operations of all calls if these angles are taken apart."""
        waiting, seen, total = list(self._calls), set[Expr](), 0
        while waiting:
            call = waiting.pop()
            if call in seen or not call.args:
                continue
            seen.add(call)
            parts = self._parts(call, chosen)
            total += THEOREM if parts else CALL
            waiting += parts
        return total

    def _parts(self, call: Expr, chosen: frozenset[Expr]) -> set[Expr]:
        """What the addition theorem reads; nothing for an angle that is not taken apart."""
        if call.args[0] not in chosen:
            return set()
        if call not in self._reads:
            self._reads[call] = _theorem(call, self._sums[call.args[0]]).atoms(sp.sin, sp.cos)
        return self._reads[call]

    def rewritten(self, expr: Expr, chosen: frozenset[Expr]) -> Expr:
        """The expression with these angles taken apart."""
        while True:
            found = {c: _theorem(c, self._sums[c.args[0]]) for c in expr.atoms(sp.sin, sp.cos) if c.args[0] in chosen}
            if not found:
                return expr
            expr = expr.xreplace(found)


def _theorem(call: Expr, split: tuple[Expr, Expr]) -> Expr:
    """The sine or cosine of a sum, in those of its parts."""
    one, other = split
    if isinstance(call, sp.sin):
        return sp.sin(one) * sp.cos(other) + sp.cos(one) * sp.sin(other)
    return ONE - 2 * sp.sin(one) ** 2 if one == other else sp.cos(one) * sp.cos(other) - sp.sin(one) * sp.sin(other)
