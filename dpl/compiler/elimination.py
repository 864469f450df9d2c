"""Symmetric linear systems solved by structure: elimination written out, in which structural zeros take no part.

The system is [M -Gᵀ; G 0][a; λ] = [f; c] with M symmetric and positive definite and G of full rank: accelerations and
forces of constraint. It is factored as L D Lᵀ without pivoting; a constraint comes after all coordinates that it reads,
so that its pivot is a Schur complement G M⁻¹ Gᵀ and positive too. The order is that of least fill: an arrow stays one.

Golub and Van Loan (2013), Matrix Computations, 4th edition, section 4.1; George and Liu (1989), The evolution of the
minimum degree ordering algorithm, SIAM Review 31(1), 1.

Coordinates that are measured from one another, as the angle of a sling from its arm, fill M with sums of the same
terms. A unit change of unknowns, a' = a + r b with a number r, takes them out before the elimination (`parted`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from dpl.compiler.algebra import ONE, ZERO, Expr, Symbol, sp, symbol

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


Shift = tuple[int, dict[int, Expr]]
"""An unknown, and in what shares others are added to it"""


def parted(system: Saddle, fixed: Callable[[Expr], bool], tidy: Callable[[Expr], Expr]) -> tuple[Saddle, list[Shift]]:
    """The system in sums of unknowns, in order, in which what is fixed beside a fixed diagonal entry is gone.

    Of [p c+m; c+m q] with c/p a number r, p and c fixed, there is left [p m; m q-2rm-rc] for a + r b and b.
    """
    shifts: dict[int, dict[int, Expr]] = {}
    while True:
        waiting = (v for v in range(system.coordinates) if v not in shifts and fixed(system.entry(v, v)))
        found = ((v, shares) for v in waiting if (shares := _shares(system, v, shifts, fixed)))
        pivot, shares = next(found, (-1, dict[int, Expr]()))
        if not shares:
            return system, list(shifts.items())
        system = _without(system, pivot, shares, tidy)
        shifts[pivot] = shares


def _shares(system: Saddle, pivot: int, done: Collection[int], fixed: Callable[[Expr], bool]) -> dict[int, Expr]:
    """By coordinate, what is fixed beside the pivot as a multiple of it."""
    found: dict[int, Expr] = {}
    for other in range(system.coordinates):
        if other != pivot and other not in done:
            terms = (t for t in sp.Add.make_args(system.entry(pivot, other)) if fixed(t))
            share = sp.Add(*terms) / system.entry(pivot, pivot)
            if share.is_Rational and share != 0:
                found[other] = share
    return found


def _without(system: Saddle, pivot: int, shares: dict[int, Expr], tidy: Callable[[Expr], Expr]) -> Saddle:
    """The system after the pivot's row and column, times their shares, were subtracted from those of the others."""
    diagonal = system.entry(pivot, pivot)
    kept = {w: shares.get(w, ZERO) * diagonal for w in range(system.coordinates)}
    moving = {w: system.entry(pivot, w) - kept[w] for w in kept if w != pivot}
    mass: Matrix = {(pivot, pivot): diagonal}
    for i in moving:
        for j in moving:
            if i <= j:
                r, s = shares.get(i, ZERO), shares.get(j, ZERO)
                entry = system.entry(i, j)
                mass[i, j] = tidy(entry - r * moving[j] - s * moving[i] - s * kept[i]) if r != 0 or s != 0 else entry
        mass[min(i, pivot), max(i, pivot)] = moving[i]
    slopes = dict(system.constraint)
    for (k, w), slope in system.constraint.items():
        if w == pivot:
            for other, share in shares.items():
                slopes[k, other] = tidy(slopes.get((k, other), ZERO) - share * slope)
    return replace(system, mass=_nonzero(mass), constraint=_nonzero(slopes))


def _nonzero(matrix: Matrix) -> Matrix:
    return {key: entry for key, entry in matrix.items() if entry != 0}


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
    names of what moves. With `tidy`, which writes an expression in its cheapest form, the system is solved in `parted`
    unknowns.
    """

    def __init__(
        self,
        system: Saddle,
        names: Sequence[str],
        fixed: Callable[[Expr], bool],
        label: str = "",
        tidy: Callable[[Expr], Expr] | None = None,
    ):
        system, self.shifts = parted(system, fixed, tidy) if tidy else (system, [])
        self._system, self._names, self._fixed, self._label, self._tidy = system, names, fixed, label, tidy
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
        if self._tidy is None:
            return self._solved(right, unknowns)
        loads, sums = list(right), list(unknowns)
        for pivot, shares in self.shifts:
            sums[pivot] = symbol(f"sum {unknowns[pivot].name}")
            for other, share in shares.items():
                loads[other] -= share * loads[pivot]
        for changed in {other for _, shares in self.shifts for other in shares}:
            loads[changed] = self._tidy(loads[changed])
        result = self._solved(loads, sums)
        for pivot, shares in reversed(self.shifts):
            others = (share * unknowns[other] for other, share in shares.items())
            result.append((unknowns[pivot], sums[pivot] - sp.Add(*others)))
        return result

    def _solved(self, right: Sequence[Expr], unknowns: Sequence[Symbol]) -> list[Definition]:
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
