"""Sums of few terms of a library that say the same as given numbers: a beam search over sets, then least squares.

Columns are taken at length 1, so that units do not matter. One term of a formula may have a constant inside, which is
then found by least squares too (Golub & Pereyra (1973), SIAM J. Numer. Anal. 10(2), 413: variable projection).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dpl.tasks.library import GRID, Term

BEAM = 60
"""So many sets of terms of each size are kept; all single terms are tried"""
MOST = 4_000
"""So many columns are tried at the most, those of simple terms first"""
REFINED = 25
"""Of so many of each size the constants inside are refined"""
INDEPENDENT = 1e-6
"""A term of which no greater share (squared) is new beside the others is not added to them"""
FLOOR = 1e-6
"""Relative errors below count alike: the rest is rounding"""


@dataclass(frozen=True, eq=False)
class Fit:
    """A sum of terms with its coefficients and the constant inside; `error` is relative to the scale of the values."""

    terms: tuple[Term, ...]
    coefficients: np.ndarray
    constant: float
    predicted: np.ndarray
    error: float
    bic: float

    @property
    def complexity(self) -> int:
        """Names, numbers and operations."""
        return sum(term.complexity + (2 if term.complexity else 1) for term in self.terms) + len(self.terms) - 1


@dataclass(frozen=True, eq=False)
class _Candidate:
    term: Term
    constant: float
    column: np.ndarray
    """[points], of length 1"""


def scale_of(values: np.ndarray) -> float:
    """What errors are relative to: the standard deviation, or a fiftieth of the size of values that hardly vary."""
    return max(float(np.std(values)), 0.02 * float(np.sqrt(np.mean(values**2)))) or 1.0


def select(library: Sequence[Term], values: np.ndarray, most: int) -> list[Fit]:
    """Formulas of at most `most` terms that none of those found beats in both complexity and error, simplest first."""
    search = _Search(library, values)
    fits: dict[frozenset[Term], Fit] = {}
    beam: list[tuple[int, ...]] = [()]
    for size in range(1, most + 1):
        sets = search.extended(beam)
        for chosen in sets if size == 1 else sets[:REFINED]:
            terms = frozenset(search.candidates[i].term for i in chosen)
            if terms not in fits:
                fits[terms] = fitted([search.candidates[i] for i in chosen], values)
        beam = sets if size == 1 else sets[:BEAM]
    return front(list(fits.values()))


def front(fits: Sequence[Fit]) -> list[Fit]:
    """Those that are better than all simpler ones, by a twentieth at least."""
    kept: list[Fit] = []
    for fit in sorted(fits, key=lambda fit: (fit.complexity, fit.error)):
        if not kept or max(fit.error, FLOOR) < 0.95 * max(kept[-1].error, FLOOR):
            kept.append(fit)
    return kept


class _Search:
    """Sets of columns that come near to given values, by their products alone."""

    def __init__(self, library: Sequence[Term], values: np.ndarray):
        self.candidates = _candidates(library)
        columns = np.stack([c.column for c in self.candidates], axis=1)
        self.gram, self.along = columns.T @ columns, columns.T @ values
        self.total = float(values @ values)
        self.least = (FLOOR * scale_of(values)) ** 2 * len(values)
        self.curved = np.array([c.term.curve is not None for c in self.candidates])
        self.complexity = np.array([c.term.complexity for c in self.candidates])
        self.count = min(len(values), 200)

    def extended(self, beam: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Every set with one column more, the best first by Schwarz's criterion."""
        found: dict[tuple[int, ...], float] = {}
        for chosen in beam:
            scores = self._scores(list(chosen))
            keep = np.argsort(scores, kind="stable")[: len(scores) if not chosen else BEAM]
            found |= {tuple(sorted((*chosen, int(i)))): float(scores[i]) for i in keep if np.isfinite(scores[i])}
        return sorted(found, key=lambda chosen: found[chosen])

    def _scores(self, chosen: list[int]) -> np.ndarray:
        """The criterion of a set with each of the columns; infinite where it adds nothing."""
        beside = self.gram[chosen]
        shares = np.linalg.solve(self.gram[np.ix_(chosen, chosen)], beside) if chosen else beside
        new = 1 - np.sum(beside * shares, axis=0)
        fresh = (new > INDEPENDENT) & ~(self.curved & self.curved[chosen].any())
        said = (
            self.along[chosen] @ np.linalg.solve(self.gram[np.ix_(chosen, chosen)], self.along[chosen]) if chosen else 0
        )
        gain = (self.along - self.along[chosen] @ shares) ** 2 / np.where(fresh, new, 1.0)
        rest = np.maximum(self.total - said - gain, self.least)
        complexity = self.complexity + 2 + sum(self.complexity[chosen] + 3)
        return np.where(fresh, self.count * np.log(rest) + complexity * math.log(self.count), np.inf)


def _candidates(library: Sequence[Term]) -> list[_Candidate]:
    """Terms as columns, with each of the constants of the grid; without those that another one is a multiple of."""
    found: list[_Candidate] = []
    plain: list[np.ndarray] = []
    for term in library:
        for k in [1.0] if term.curve is None else list(GRID * term.curve.of.size):
            values = term.at(k)
            length = float(np.linalg.norm(values))
            if not np.isfinite(length) or length == 0:
                continue
            column = values / length
            if term.curve is None:
                if any(abs(abs(column @ other) - 1) < 1e-12 for other in plain):
                    continue
                plain.append(column)
            found.append(_Candidate(term, k, column))
            if len(found) == MOST:
                return found
    return found


def fitted(candidates: Sequence[_Candidate], values: np.ndarray) -> Fit:
    """The coefficients, and the constant inside, by least squares."""
    terms = tuple(c.term for c in candidates)
    start = next((c.constant for c in candidates if c.term.curve is not None), 0.0)
    constant = _least(lambda k: _solved(terms, k, values)[2], start) if start else 0.0
    coefficients, predicted, error = _solved(terms, constant, values)
    numbers = len(terms) + (start != 0)
    count = len(values)
    bic = 2 * count * math.log(max(error, FLOOR)) + numbers * math.log(count)
    return Fit(terms, coefficients, constant, predicted, error, bic)


def _solved(terms: Sequence[Term], k: float, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Coefficients, the sum, and its relative error."""
    columns = np.stack([term.at(k) for term in terms], axis=1)
    lengths = np.linalg.norm(columns, axis=0)
    lengths[lengths == 0] = 1.0
    coefficients = np.linalg.lstsq(columns / lengths, values, rcond=1e-10)[0] / lengths
    predicted = columns @ coefficients
    return coefficients, predicted, float(np.sqrt(np.mean((predicted - values) ** 2))) / scale_of(values)


def _least(error: Callable[[float], float], start: float) -> float:
    """The constant of the least error between the neighbours of `start` on the grid, by golden sections of its log."""
    golden = (math.sqrt(5) - 1) / 2
    ratio = math.log(GRID[1] / GRID[0])
    low, high = math.log(start) - ratio, math.log(start) + ratio
    a, b = high - golden * (high - low), low + golden * (high - low)
    at_a, at_b = error(math.exp(a)), error(math.exp(b))
    for _ in range(36):
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - golden * (high - low)
            at_a = error(math.exp(a))
        else:
            low, a, at_a = a, b, at_b
            b = low + golden * (high - low)
            at_b = error(math.exp(b))
    return math.exp(0.5 * (low + high))
