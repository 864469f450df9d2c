"""Symmetric linear systems solved by structure: elimination written out, in which structural zeros take no part.

The system is [M -Gᵀ; G 0][a; λ] = [f; c] with M symmetric and positive definite and G of full rank: accelerations and
forces of constraint. It is factored as L D Lᵀ without pivoting; a constraint comes after all coordinates that it reads,
so that its pivot is a Schur complement G M⁻¹ Gᵀ and positive too. The order is that of least fill: an arrow stays one.

Golub and Van Loan (2013), Matrix Computations, 4th edition, section 4.1; George and Liu (1989), The evolution of the
minimum degree ordering algorithm, SIAM Review 31(1), 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dpl.compiler.algebra import ONE, ZERO, Expr, Symbol, symbol

Matrix = dict[tuple[int, int], Expr]
"""Entries that are not zero"""
Definition = tuple[Symbol, Expr]


@dataclass(frozen=True)
class Saddle:
    """The matrix above. `mass` is the upper half of M, `constraint` is G, both by row and column."""

    mass: Matrix
    constraint: Matrix
    coordinates: int
    constraints: int

    @property
    def size(self) -> int:
        return self.coordinates + self.constraints

    def entry(self, row: int, column: int) -> Expr:
        """Of the symmetric matrix [M Gᵀ; G 0]."""
        low, high = sorted((row, column))
        if high < self.coordinates:
            return self.mass.get((low, high), ZERO)
        return self.constraint.get((high - self.coordinates, low), ZERO) if low < self.coordinates else ZERO

    def rows(self) -> list[list[Expr]]:
        """The matrix [M -Gᵀ; G 0] in full."""
        n = self.coordinates
        return [
            [-self.entry(i, j) if i < n <= j else self.entry(i, j) for j in range(self.size)] for i in range(self.size)
        ]


def operations(system: Saddle, fixed: Callable[[Expr], bool]) -> int:
    """Multiplications and divisions of factors and one solution."""
    links = _links(system)
    total = 0
    for v in elimination_order(system, fixed):
        mine = links.pop(v)
        for w in mine:
            links[w] = (links[w] | mine) - {v, w}
        total += 2 + len(mine) * (len(mine) + 7) // 2
    return total


def _links(system: Saddle) -> dict[int, set[int]]:
    """Which unknowns stand together in an equation."""
    return {v: {w for w in range(system.size) if w != v and system.entry(v, w) != 0} for v in range(system.size)}


def elimination_order(system: Saddle, fixed: Callable[[Expr], bool]) -> list[int]:
    """The order of elimination by least fill; of equals, those with a fixed pivot, then those with few neighbours."""
    size = system.size
    links = _links(system)
    needs = {v: set(links[v]) if v >= system.coordinates else set[int]() for v in range(size)}
    moving = {v for v in range(size) if v >= system.coordinates or not fixed(system.entry(v, v))}
    loose = {(v, w) for v in range(size) for w in links[v] if not fixed(system.entry(v, w))}
    order: list[int] = []
    while len(order) < size:
        waiting = [v for v in range(size) if v not in order and not (needs[v] - set(order))]

        def rank(v: int) -> tuple[int, bool, int, int]:
            fill = sum(1 for a in links[v] for b in links[v] if a < b and b not in links[a])
            return fill, v in moving, len(links[v]), v

        best = min(waiting, key=rank)
        order.append(best)
        for v in links[best]:
            links[v] = (links[v] | links[best]) - {v, best}
            if best in moving or (best, v) in loose:
                moving.add(v)
                loose |= {pair for w in links[best] - {v} for pair in ((v, w), (w, v))}
    return order


class Factors:
    """The factors of a system, as definitions in order, and what solves it with them.

    `names` tell the unknowns apart in the names of what is made on the way; `fixed` says whether an expression stays
    during a run: a pivot that does is chosen first, since its reciprocal is computed once. `label` stands before the
    names of what moves.
    """

    def __init__(self, system: Saddle, names: Sequence[str], fixed: Callable[[Expr], bool], label: str = ""):
        self._system, self._names, self._fixed, self._label = system, names, fixed, label
        pairs = [(i, j) for i in range(system.size) for j in range(system.size)]
        self._entries: Matrix = {pair: entry for pair in pairs if (entry := system.entry(*pair)) != 0}
        self._lower: Matrix = {}
        self._reciprocals: dict[int, Expr] = {}
        self._stays: dict[Symbol, bool] = {}
        self._order = elimination_order(system, fixed)
        self.definitions: list[Definition] = []
        for position, pivot in enumerate(self._order):
            self._eliminate(pivot, [v for v in self._order[position + 1 :] if (pivot, v) in self._entries])

    def _eliminate(self, pivot: int, others: Sequence[int]) -> None:
        """Subtracts multiples of the pivot's row from those of the others."""
        sign = -1 if self._holds(pivot) else 1  # the pivot of a constraint is negative
        reciprocal = ONE / (sign * self._entries[pivot, pivot])
        self._reciprocals[pivot] = sign * (self._named("mobility", reciprocal, pivot) if others else reciprocal)
        for other in others:
            what = "slope" if self._holds(other) and not self._holds(pivot) else "inertia"
            entry = self._named(what, self._entries[pivot, other], pivot, other)
            self._entries[pivot, other] = self._entries[other, pivot] = entry
            self._lower[other, pivot] = self._named("factor", entry * self._reciprocals[pivot], pivot, other)
        for i, one in enumerate(others):
            for other in others[i:]:
                changed = self._entries.get((one, other), ZERO) - self._lower[one, pivot] * self._entries[pivot, other]
                self._entries[one, other] = self._entries[other, one] = changed

    def _holds(self, unknown: int) -> bool:
        """Whether it is the force of a constraint."""
        return unknown >= self._system.coordinates

    def _named(self, what: str, value: Expr, pivot: int, *others: int) -> Expr:
        """The value by name; numbers, symbols and their negatives need none."""
        if not value.args or not (-value).args:
            return value
        stays = all(self._stays[s] if s in self._stays else self._fixed(s) for s in value.free_symbols)
        label = "" if stays else self._label
        inside = self._names[pivot].rpartition(".")[0] + "."
        path = "_".join([self._names[pivot], *(self._names[o].removeprefix(inside).replace(".", "_") for o in others)])
        name = symbol(f"{what} {label}{path}")
        self._stays[name] = stays
        if label == self._label:  # what is fixed is the same under every label
            self.definitions.append((name, value))
        return name

    def solved(self, right: Sequence[Expr], unknowns: Sequence[Symbol]) -> list[Definition]:
        """The unknowns for a right side f, c, and what they are computed from."""
        result: list[Definition] = []
        loads = list(right)
        for pivot in self._order:
            below = [(other, factor) for (other, p), factor in self._lower.items() if p == pivot]
            if below and loads[pivot].args and (-loads[pivot]).args:
                result.append((symbol(f"load {unknowns[pivot].name}"), loads[pivot]))
                loads[pivot] = result[-1][0]
            for other, factor in below:
                loads[other] -= factor * loads[pivot]
        for pivot in reversed(self._order):
            value = loads[pivot] * self._reciprocals[pivot]
            for (other, p), factor in self._lower.items():
                if p == pivot:  # the force of a constraint has the other sign
                    value -= factor * (-unknowns[other] if self._holds(other) else unknowns[other])
            result.append((unknowns[pivot], -value if self._holds(pivot) else value))
        return result
