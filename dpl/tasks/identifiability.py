"""Which parameters no data of this kind could tell apart, found from sensitivities before anything is fitted.

A combination of parameters that changes nothing observed is a null vector of the sensitivities, at every point. Where
it is the same at all points in the logarithms of the parameters, they appear as products of powers only (`F/V`); where
it is the same in the parameters themselves, as sums (`a + b`). What is claimed is tried out: the parameters are moved
along it by a third, and nothing observed may change. A sloppy model passes the first test at some points and never the
second. Raue et al. (2009), Bioinformatics 25(15), 1923, call such parameters structurally non-identifiable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, islice
from math import comb
from typing import Any, Literal

import numpy as np

from dpl.tasks.result import number

Array = np.ndarray
Form = Literal["product", "sum", ""]

RANK = 1e-7
"""Singular values so small against the largest, of columns of length 1, are none: solvers tell derivatives no better"""
NOTHING = 1e-11
"""A column so short against the longest says that its parameter does nothing"""
TOUCHING = 1e-3
"""Entries of a null vector so small are 0"""
SAME = 1e-4
"""Null vectors at two points that differ by less are the same"""
MOVE = 0.3
"""How far, in logarithms or as a share, a claim is tried out"""
UNCHANGED = 1e-6
"""Changes of what is observed so small against its largest value are none"""
CHOICES = 200
"""So many ways to write the combinations of one group are compared"""


@dataclass(frozen=True)
class Parameter:
    """One number that is to be estimated: its name as the text has it, where it is declared, the unit's SI value.

    `label` tells the elements of one param apart: `V[1]`.
    """

    name: str
    label: str
    origin: str = ""
    scale: float = 1.0
    prior: bool = False


@dataclass(frozen=True)
class Group:
    """Parameters of which only `combinations` count, or so many unknown ones if they have no simple form.

    `excess`: how many of them must be fixed, so that the others can be estimated. One that changes nothing is a group
    of its own. `priors`: whether enough of them have a prior.
    """

    names: tuple[str, ...]
    origins: tuple[str, ...]
    combinations: tuple[str, ...]
    excess: int
    priors: bool = False

    def __str__(self) -> str:
        named = _listed([f"{n} ({o})" if o else n for n, o in zip(self.names, self.origins, strict=True)])
        which = "it" if len(self.names) == 1 else f"{_count(self.excess)} of them"
        way_out = "only priors tell them apart" if self.priors else f"fix {which}"
        if len(self.names) == 1:
            return f"{named} changes nothing that is observed: {'only its prior tells' if self.priors else 'fix it'}"
        if self.combinations:
            return f"{named} only appear as {_listed(self.combinations)}: {way_out}"
        left = len(self.names) - self.excess
        return f"the data determine only {_count(left)} combination{'s' * (left != 1)} of {named}: {way_out}"


@dataclass(frozen=True)
class Point:
    """Sensitivities [rows, n] of what is observed, whitened, to the parameters [n, SI] at one place."""

    values: Array
    rows: Array


Arguments = Callable[[Array], Sequence[Array]]
"""What is expected at values [n, SI]: arrays, each of one kind; NaN where a run fails or values are out of bounds"""


def groups(parameters: Sequence[Parameter], points: Sequence[Point], arguments: Arguments) -> tuple[Group, ...]:
    """Groups of parameters that the data cannot tell apart, in the order of their first members.

    Args:
        points: where it is looked, first the start; those that are not finite are left out.
        arguments: tries out what the sensitivities claim.
    """
    fine = [p for p in points if np.isfinite(p.rows).all() and np.isfinite(p.values).all()]
    if not fine or not parameters:
        return ()
    idle = np.all([_idle(p) for p in fine], axis=0)
    alone = [i for i in np.flatnonzero(idle) if _unmoved(fine, np.eye(len(idle))[i], arguments)]
    found = [_Found((int(i),), np.ones((1, 1)), "") for i in alone]
    looked = _Look(parameters, fine, np.flatnonzero(~idle), arguments)
    found += looked.found()
    found.sort(key=lambda f: f.members)
    unique = dict.fromkeys(_group(parameters, f, fine[0]) for f in found)
    return tuple(unique)


def enough(parameters: Sequence[Parameter], count: int) -> tuple[str, ...]:
    """In words, that there are fewer observations than parameters."""
    if count >= len(parameters):
        return ()
    return (f"{count} observations cannot determine {len(parameters)} numbers",)


# ---------------------------------------------------------------- null vectors


@dataclass(frozen=True)
class _Found:
    """Null vectors [members, d] of some parameters, in logarithms for a product, in declared units for a sum."""

    members: tuple[int, ...]
    nulls: Array
    form: Form


def _size(values: Array) -> Array:
    """What a relative change is relative to."""
    return np.where(values == 0, 1.0, np.abs(values))


def _idle(point: Point) -> Array:
    lengths = np.linalg.norm(point.rows * _size(point.values), axis=0)
    return lengths <= NOTHING * max(lengths.max(), np.finfo(float).tiny)


def _nulls(point: Point, columns: Array) -> tuple[Array, Array]:
    """Null vectors [columns, d] of relative changes, with columns of length 1; and these lengths."""
    scaled = (point.rows * _size(point.values))[:, columns]
    lengths = np.linalg.norm(scaled, axis=0)
    if not lengths.all():
        return np.zeros((len(columns), len(columns) + 1)), lengths  # more than any other point: it is not looked at
    _, sizes, right = np.linalg.svd(scaled / lengths, full_matrices=True)
    sizes = np.concatenate([sizes, np.zeros(len(columns) - len(sizes))])
    return right[sizes <= RANK * sizes[0]].T, lengths


@dataclass(frozen=True)
class _Look:
    """The search among the parameters `columns` that do something."""

    parameters: Sequence[Parameter]
    points: Sequence[Point]
    columns: Array
    arguments: Arguments

    def found(self) -> list[_Found]:
        if len(self.columns) < 2:
            return []
        each = [_nulls(p, self.columns) for p in self.points]
        least = min(nulls.shape[1] for nulls, _ in each)
        generic = [(p, *found) for p, found in zip(self.points, each, strict=True) if found[0].shape[1] == least]
        if least == 0 or least > len(self.columns):
            return []
        touching = np.any([np.abs(nulls @ nulls.T) > TOUCHING for _, nulls, _ in generic], axis=0)
        found = list[_Found]()
        for part in _components(touching):
            if len(part) > 1:
                found += self._part(part, [(p, nulls[part] / lengths[part, None]) for p, nulls, lengths in generic])
        return found

    def _part(self, part: list[int], generic: list[tuple[Point, Array]]) -> list[_Found]:
        """What is to be said of parameters that hang together; null vectors are relative changes [part, least]."""
        members = self.columns[part]
        narrowed = [(p, _range(nulls)) for p, nulls in generic]
        for form in ("product", "sum"):
            shared = _constant([_in(form, self._scales(members), p.values[members], n) for p, n in narrowed])
            if shared is not None:
                fits = all(self._holds(form, members, null) for null in shared.T)
                return [_Found(tuple(int(i) for i in members), shared, form)] if fits else []
        if len(narrowed) < 2:
            return []
        pair = self._pair(part, narrowed)
        if pair is None:
            return [_Found(tuple(int(i) for i in members), narrowed[0][1], "")]
        rest = _Look(self.parameters, self.points, np.delete(members, pair[1]), self.arguments)
        i, j = (int(members[k]) for k in pair[:2])
        return [_Found((i, j), pair[2], pair[3]), *rest.found()]

    def _pair(self, part: list[int], narrowed: list[tuple[Point, Array]]) -> tuple[int, int, Array, Form] | None:
        """Two that appear together in a simple way within a group that does not: `b + c` in `a*(b + c)`."""
        members = self.columns[part]
        for i, j in combinations(range(len(part)), 2):
            two, others = [i, j], [k for k in range(len(part)) if k not in (i, j)]
            within = [(p, _within(nulls, two, others)) for p, nulls in narrowed]
            if any(null is None for _, null in within):
                continue
            for form in ("product", "sum"):
                scales, places = self._scales(members[two]), members[two]
                shared = _constant([_in(form, scales, p.values[places], n) for p, n in within if n is not None])
                if shared is not None and self._holds(form, places, shared[:, 0]):
                    return i, j, shared, form
        return None

    def _scales(self, members: Array) -> Array:
        return np.array([self.parameters[i].scale for i in members])

    def _holds(self, form: str, members: Array, null: Array) -> bool:
        """Whether nothing observed changes along a null vector."""
        step = np.zeros(len(self.parameters))
        step[members] = null * (self._scales(members) if form == "sum" else 1.0)
        return _unmoved(self.points, step, self.arguments, form == "sum")


def _unmoved(points: Sequence[Point], step: Array, arguments: Arguments, straight: bool = False) -> bool:
    """Whether nothing observed changes where parameters move along `step` [n]: straight, or by factors."""
    tried = list[bool]()
    for point in points:
        before = arguments(point.values)
        share = np.max(np.abs(step) / (_size(point.values) if straight else 1.0))
        for length in (MOVE / share, -MOVE / share):
            zero = point.values == 0
            by_factor = np.where(zero, length * step, point.values * np.exp(length * step))
            after = arguments(point.values + length * step if straight else by_factor)
            change = [
                np.abs(b - a).max(initial=0) / (np.abs(a).max(initial=0) or 1.0)
                for a, b in zip(before, after, strict=True)
            ]
            if np.isfinite(change).all():
                tried.append(max(change, default=0) <= UNCHANGED)
    return bool(tried) and all(tried)


def _components(touching: Array) -> list[list[int]]:
    """Indices that hang together, each set in order."""
    left, parts = list(range(len(touching))), list[list[int]]()
    while left:
        part, front = {left[0]}, [left[0]]
        while front:
            near = {int(j) for j in np.flatnonzero(touching[front.pop()])} - part
            part |= near
            front += sorted(near)
        parts.append(sorted(part))
        left = [i for i in left if i not in part]
    return parts


def _range(vectors: Array) -> Array:
    """An orthonormal basis of what the columns span."""
    left, sizes, _ = np.linalg.svd(vectors, full_matrices=False)
    return left[:, sizes > TOUCHING * sizes[0]]


def _within(nulls: Array, two: list[int], others: list[int]) -> Array | None:
    """The null vector [2, 1] in which two members take part alone."""
    _, sizes, right = np.linalg.svd(nulls[others], full_matrices=True)
    sizes = np.concatenate([sizes, np.zeros(nulls.shape[1] - len(sizes))])
    free = right[sizes <= SAME].T
    return _range(nulls[two] @ free) if free.shape[1] == 1 else None


def _in(form: str, scales: Array, values: Array, nulls: Array) -> Array | None:
    """Null vectors of relative changes in the coordinates of a form; None where these do not exist."""
    if form == "sum":
        return _range(nulls * (_size(values) / scales)[:, None])
    return None if not values.all() else _range(nulls * np.sign(values)[:, None])


def _constant(bases: Sequence[Array | None]) -> Array | None:
    """The space that is the same at all points; None if it is not, or is there nowhere."""
    known = [b for b in bases if b is not None]
    if not known:
        return None
    first = known[0] @ known[0].T
    same = all(b.shape == known[0].shape and np.abs(b @ b.T - first).max() <= SAME for b in known)
    return known[0] if same else None


# ---------------------------------------------------------------- words


def _group(parameters: Sequence[Parameter], found: _Found, at: Point) -> Group:
    """What is found, by the names of the text: the elements of one param that act alike are one."""
    members = [parameters[i] for i in found.members]
    nulls, labels = found.nulls, [p.label for p in members]
    effect = (at.rows * at.values)[:, list(found.members)].sum(axis=0)
    bases = list(dict.fromkeys(p.name for p in members))
    spread = np.array([[float(p.name == base) for base in bases] for p in members])
    outside = spread - nulls @ np.linalg.lstsq(nulls, spread, rcond=None)[0]
    alike = _kernel(outside)
    if len(bases) < len(members) and len(bases) > 1 and alike.shape[1] == nulls.shape[1]:
        first = [next(i for i, p in enumerate(members) if p.name == base) for base in bases]
        nulls, labels, effect, members = alike, bases, spread.T @ effect, [members[i] for i in first]
    elif len(bases) == len(members):
        labels = bases
    written = _combinations(labels, nulls, found.form, effect) if found.form else ()
    excess = nulls.shape[1]
    return Group(
        tuple(labels), tuple(p.origin for p in members), written, excess, sum(p.prior for p in members) >= excess
    )


def _kernel(matrix: Array) -> Array:
    _, sizes, right = np.linalg.svd(matrix, full_matrices=True)
    sizes = np.concatenate([sizes, np.zeros(matrix.shape[1] - len(sizes))])
    return right[sizes <= SAME].T


def _combinations(labels: Sequence[str], nulls: Array, form: Form, effect: Array) -> tuple[str, ...]:
    """The combinations that count, written as shortly as they can be; empty where exponents are not simple."""
    size, rank = len(labels), len(labels) - nulls.shape[1]
    space = _kernel(nulls.T).T
    ways = islice(combinations(range(size), rank), CHOICES if comb(size, rank) > CHOICES else None)
    best: tuple[Any, tuple[str, ...]] | None = None
    for pivots in ways:
        square = space[:, list(pivots)]
        if np.linalg.cond(square) > 1 / TOUCHING:
            continue
        weights = np.linalg.solve(square, space)
        text = [_product(labels, row) if form == "product" else _sum(labels, row) for row in weights]
        known = tuple(t for t in text if t is not None)
        if len(known) < len(text):
            continue
        upright = sum(float(effect[i]) < 0 for i in pivots)
        cost = (sum(map(len, known)) - sum(t.count("/") + t.count("-") for t in known), upright)
        if best is None or cost < best[0]:
            best = cost, known
    return best[1] if best else ()


def _product(labels: Sequence[str], exponents: Array) -> str | None:
    """`a*b/c^2`; None if the exponents are no simple fractions."""
    simple = [Fraction(float(e)).limit_denominator(6) for e in exponents]
    if any(abs(float(s) - e) > 10 * SAME for s, e in zip(simple, exponents, strict=True)):
        return None
    over = [_power(label, e) for label, e in zip(labels, simple, strict=True) if e > 0]
    under = [_power(label, -e) for label, e in zip(labels, simple, strict=True) if e < 0]
    top = "*".join(over) or "1"
    bottom = "*".join(under)
    return f"{top}/({bottom})" if len(under) > 1 else "/".join([top, *under])


def _power(label: str, exponent: Fraction) -> str:
    if exponent == 1:
        return label
    return f"{label}^{exponent}" if exponent.denominator == 1 else f"{label}^({exponent})"


def _sum(labels: Sequence[str], weights: Array) -> str:
    """`a - 2*b`, in declared units."""
    text = ""
    for label, weight in zip(labels, weights, strict=True):
        if abs(weight) > SAME:
            size = "" if abs(abs(weight) - 1) < 10 * SAME else f"{number(abs(weight))}*"
            sign = (" - " if weight < 0 else " + ") if text else ("-" if weight < 0 else "")
            text += f"{sign}{size}{label}"
    return text


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _count(count: int) -> str:
    return ("none", "one", "two", "three", "four", "five", "six")[count] if count <= 6 else str(count)
