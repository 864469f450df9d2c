"""Sines and cosines of sums of angles from those of their parts, where that takes fewer operations.

`sin(a + b) = sin a cos b + cos a sin b` costs three operations where the four on the right are at hand; a call costs
about fifteen, and three more for the sine and the cosine of one angle; of an angle that is fixed it costs nothing.
Which angles to take apart is found by a short search that ends where no single change helps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from dpl.compiler.algebra import ONE, Expr, sp
from dpl.compiler.operations import CALL, PAIR

THEOREM = 3
"""Operations of an addition theorem"""
MOST_MULTIPLE = 4
"""Of an angle"""
MOST_ANGLES = 40
"""Different angles beyond which none is taken apart"""


def unfolded(exprs: Sequence[Expr], fixed: Callable[[Expr], bool] = lambda _: False) -> list[Expr]:
    """The expressions with angles taken apart where it pays; `fixed` says what does not change during a run."""
    calls = sorted({c for e in exprs for c in e.atoms(sp.sin, sp.cos) if not fixed(c)}, key=sp.default_sort_key)
    sums = _sums(list(dict.fromkeys(c.args[0] for c in calls)))
    if not sums:
        return list(exprs)
    wanted = _Calls(calls, sums, fixed)
    chosen = min((wanted.search(frozenset()), wanted.search(frozenset(sums))), key=wanted.cost)
    return [wanted.rewritten(e, chosen) for e in exprs] if chosen else list(exprs)


def _sums(angles: list[Expr]) -> dict[Expr, tuple[Expr, Expr]]:
    """The angles that are sums of two simpler ones, and those among the simpler ones that are."""
    if len(angles) > MOST_ANGLES:
        return {}
    found: dict[Expr, tuple[Expr, Expr]] = {}
    waiting = list(angles)
    while waiting:
        angle = waiting.pop(0)
        split = _split(angle, angles)
        if split is not None and len(found) < MOST_ANGLES:
            found[angle] = split
            waiting += [part for part in dict.fromkeys(split) if part not in found and part not in waiting]
    return found


def _split(angle: Expr, angles: Iterable[Expr]) -> tuple[Expr, Expr] | None:
    """The angle as the sum of two simpler ones, of others that are there if possible."""
    if not isinstance(angle, sp.Add):
        factor, rest = angle.as_coeff_Mul()
        there = (o.as_coeff_Mul()[0] for o in angles if o.as_coeff_Mul()[1] == rest)
        unit = max((u for u in (*there, ONE) if _divides(u, factor)), default=None)
        return None if unit is None else ((factor - unit) * rest, unit * rest)
    terms: list[Expr] = angle.as_ordered_terms()
    for one in (*angles, *terms):
        other = angle - one
        simpler = max(_parts(one), _parts(other)) < len(terms)
        if simpler and (other in angles or -other in angles or _parts(other) == 1):
            return one, other
    return terms[0], angle - terms[0]


def _divides(unit: Expr, factor: Expr) -> bool:
    ratio = factor / unit
    return bool(ratio.is_Integer and 1 < ratio <= MOST_MULTIPLE)


def _parts(angle: Expr) -> int:
    return len(sp.Add.make_args(angle))


class _Calls:
    """The sines and cosines that are wanted, and the sums among their angles."""

    def __init__(self, calls: Sequence[Expr], sums: dict[Expr, tuple[Expr, Expr]], fixed: Callable[[Expr], bool]):
        self._calls, self._sums, self._fixed = calls, sums, fixed
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
        angles: set[Expr] = set()
        while waiting:
            call = waiting.pop()
            if call in seen or not call.args or self._fixed(call):
                continue
            seen.add(call)
            parts = self._parts(call, chosen)
            total += THEOREM if parts else PAIR if call.args[0] in angles else CALL
            if not parts:
                angles.add(call.args[0])
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
