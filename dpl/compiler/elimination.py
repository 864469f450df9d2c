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
    """The system above. `mass` holds both halves of M, `constraint` is G by row and column."""

    mass: Matrix
    constraint: Matrix
    right: tuple[Expr, ...]
    """f, then c"""
    coordinates: int

    @property
    def size(self) -> int:
        return len(self.right)

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


def solved(
    system: Saddle, unknowns: Sequence[Symbol], names: Sequence[str], label: str, fixed: Callable[[Expr], bool]
) -> list[Definition]:
    """The unknowns, and what they are computed from, each defined by those before it.

    `names` tell the unknowns apart in the names of what is made on the way, after `label`; `fixed` says whether an
    expression stays during a run: a pivot that does is chosen first, since its reciprocal is computed once.
    """
    work = _Elimination(system, names, label, fixed)
    order = work.order()
    for position, pivot in enumerate(order):
        work.eliminate(pivot, [v for v in order[position + 1 :] if work.coupled(pivot, v)])
    for position in range(len(order) - 1, -1, -1):
        work.substitute(order[position], unknowns, order[position + 1 :])
    return work.definitions


def operations(system: Saddle, fixed: Callable[[Expr], bool]) -> int:
    """Multiplications and divisions of `solved`."""
    links = _links(system)
    total = 0
    for v in pattern_order(system, fixed):
        mine = links.pop(v)
        for w in mine:
            links[w] = (links[w] | mine) - {v, w}
        total += 2 + len(mine) * (len(mine) + 7) // 2
    return total


def _links(system: Saddle) -> dict[int, set[int]]:
    """Which unknowns stand together in an equation."""
    return {v: {w for w in range(system.size) if w != v and system.entry(v, w) != 0} for v in range(system.size)}


def pattern_order(system: Saddle, fixed: Callable[[Expr], bool]) -> list[int]:
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


class _Elimination:
    """The matrix and right side as far as they are eliminated, and the definitions made so far."""

    def __init__(self, system: Saddle, names: Sequence[str], label: str, fixed: Callable[[Expr], bool]):
        self._system, self._names, self._label, self._fixed = system, names, label, fixed
        self._entries: Matrix = {}
        for i in range(system.size):
            for j in range(system.size):
                if (entry := system.entry(i, j)) != 0:
                    self._entries[i, j] = entry
        self._right = list(system.right)
        self._factors: Matrix = {}
        self._reciprocals: dict[int, Expr] = {}
        self.definitions: list[Definition] = []

    def order(self) -> list[int]:
        return pattern_order(self._system, self._fixed)

    def coupled(self, one: int, other: int) -> bool:
        return (one, other) in self._entries

    def eliminate(self, pivot: int, others: Sequence[int]) -> None:
        """Subtracts the pivot's row from those of the others."""
        sign = -1 if pivot >= self._system.coordinates else 1  # the pivot of a constraint is negative
        reciprocal = ONE / (sign * self._entries[pivot, pivot])
        mobility = self._named("mobility", (pivot,), reciprocal) if others else reciprocal
        self._reciprocals[pivot] = sign * mobility
        if self._right[pivot] != 0 and others:
            self._right[pivot] = self._named("load", (pivot,), self._right[pivot])
        for other in others:
            entry = self._named("inertia", (pivot, other), self._entries[pivot, other])
            self._entries[pivot, other] = self._entries[other, pivot] = entry
            self._factors[other, pivot] = self._named("factor", (pivot, other), entry * self._reciprocals[pivot])
        for i, one in enumerate(others):
            factor = self._factors[one, pivot]
            self._right[one] -= factor * self._right[pivot]
            for other in others[i:]:
                changed = self._entries.get((one, other), ZERO) - factor * self._entries[pivot, other]
                self._entries[one, other] = self._entries[other, one] = changed

    def substitute(self, pivot: int, unknowns: Sequence[Symbol], later: Sequence[int]) -> None:
        """The pivot's unknown from those of later pivots; the force of a constraint has the other sign."""
        n = self._system.coordinates
        value = self._right[pivot] * self._reciprocals[pivot]
        for other in later:
            if (other, pivot) in self._factors:
                value -= self._factors[other, pivot] * (unknowns[other] if other < n else -unknowns[other])
        self.definitions.append((unknowns[pivot], value if pivot < n else -value))

    def _named(self, what: str, unknowns: tuple[int, ...], value: Expr) -> Expr:
        """The value by name; numbers, symbols and their negatives need none."""
        if not value.args or not (-value).args:
            return value
        path, *others = (self._names[u] for u in unknowns)
        inside = path.rpartition(".")[0] + "."
        joint = "_".join([path, *(o.removeprefix(inside).replace(".", "_") for o in others)])
        name = symbol(f"{what} {self._label}{joint}")
        self.definitions.append((name, value))
        return name
