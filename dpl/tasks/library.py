"""Terms out of which a formula may consist: powers, products and saturations of what a network is given.

Each is a column of numbers over the visited points, with its text in DPL and its unit. Constants inside a term are
tried on a grid relative to the size of what they are compared with, so that no choice of unit matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from math import prod

import numpy as np

from dpl.tasks import units
from dpl.tasks.units import Powers

DEGREE, FEW = 3, 6
"""The greatest of products of powers; of more than `FEW` inputs it is 2"""
GRID = np.geomspace(0.03, 30.0, 13)
"""Constants inside terms, in medians of the size of their input"""
AWAY = 0.05
"""What comes no nearer to 0 than this share of its greatest size may be divided by"""
ANGLES = ("rad", "deg", "°")


@dataclass(frozen=True, eq=False)
class Input:
    """One number that the network is given: its values [points] in its declared unit."""

    name: str
    values: np.ndarray
    unit: str = ""

    @property
    def size(self) -> float:
        """What is large for it: the median of its absolute value."""
        return float(np.median(np.abs(self.values))) or float(np.max(np.abs(self.values)))


@dataclass(frozen=True, eq=False)
class Curve:
    """A function of an input `x` and a constant `k` [unit of x]; `text` has both as `{x}` and `{k}`."""

    text: str
    value: Callable[[np.ndarray, float], np.ndarray]
    of: Input
    complexity: int

    def written(self, k: float) -> str:
        return self.text.format(x=self.of.name, k=quantity(k, units.powers(self.of.unit)))


@dataclass(frozen=True, eq=False)
class Term:
    """`text` times what its `curve` says, if it has one; without its coefficient, whose unit is one over `unit`."""

    text: str
    values: np.ndarray
    unit: Powers
    complexity: int
    """Names, numbers and operations, those of the curve included"""
    curve: Curve | None = None
    degree: int = 0
    """Of a product of powers"""

    def at(self, k: float) -> np.ndarray:
        """Its values [points] with this constant in its curve."""
        return self.values * self.curve.value(self.curve.of.values, k) if self.curve else self.values

    def written(self, k: float) -> str:
        factors = [self.text] if self.text else []
        return "*".join(factors + ([self.curve.written(k)] if self.curve else []))


def quantity(value: float, unit: Powers) -> str:
    """A number as one writes it in the language, with five digits."""
    text = f"{value:.5g}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    return f"{text} [{units.written(unit)}]" if unit else text


def terms(inputs: Sequence[Input]) -> list[Term]:
    """The library, simple terms first."""
    moving = [x for x in inputs if np.ptp(x.values) > 1e-9 * np.max(np.abs(x.values))]
    points = len(inputs[0].values)
    one = Term("", np.ones(points), {}, 0)
    degree = DEGREE if len(moving) <= FEW else 2
    shapes = [shape for x in moving for shape in _shapes(x)]
    products = list(_products(moving, degree))
    found = [one, *products, *shapes]
    for shape in shapes:
        found += [_times(shape, other) for other in products if other.degree < degree]
    found += [_times(a, b) for a, b in combinations(shapes, 2)]
    for curve in (curve for x in moving for curve in _curves(x)):
        bare = Term("", one.values, {}, curve.complexity, curve)
        found += [bare, *(_curved(other, curve) for other in products if other.degree == 1)]
    finite = (term for term in found if np.all(np.isfinite(term.at(1.0 if term.curve is None else term.curve.of.size))))
    return sorted(finite, key=lambda term: term.complexity)


def _products(inputs: Sequence[Input], most: int) -> Iterator[Term]:
    """All products of powers of the inputs up to the greatest degree: x, x², x*y."""
    for degree in range(1, most + 1):
        for chosen in combinations_with_replacement(inputs, degree):
            powers = [(x, chosen.count(x)) for x in dict.fromkeys(chosen)]
            values = prod((x.values**n for x, n in powers), start=np.ones(1))
            unit: Powers = {}
            for x, n in powers:
                unit = units.times(unit, units.raised(units.powers(x.unit), n))
            text = "*".join(x.name + ("", "²", "³")[n - 1] for x, n in powers)
            complexity = 2 * len(powers) - 1 + sum(n > 1 for _, n in powers)
            yield Term(text, values, unit, complexity, degree=degree)


def _shapes(x: Input) -> Iterator[Term]:
    """Functions of one input, without a constant inside."""
    name, values, unit = x.name, x.values, units.powers(x.unit)
    if np.min(values) < 0 < np.max(values):
        yield Term(f"abs({name})", np.abs(values), unit, 2)
        yield Term(f"{name}*abs({name})", values * np.abs(values), units.raised(unit, 2), 4)
    if np.min(values) >= 0:
        yield Term(f"sqrt({name})", np.sqrt(values), {n: p / 2 for n, p in unit.items()}, 2)
    if np.min(np.abs(values)) > AWAY * np.max(np.abs(values)):
        yield Term(f"1/{name}", 1 / values, units.raised(unit, -1), 3)
    if x.unit in ANGLES:
        angle = values * (np.pi / 180 if x.unit != "rad" else 1.0)
        yield Term(f"sin({name})", np.sin(angle), {}, 2)
        yield Term(f"cos({name})", np.cos(angle), {}, 2)
        yield Term(f"sin(2*{name})", np.sin(2 * angle), {}, 4)
        yield Term(f"cos(2*{name})", np.cos(2 * angle), {}, 4)


def _curves(x: Input) -> Iterator[Curve]:
    """Functions of one input that bend at a constant: saturations and decays."""
    if np.min(x.values) >= 0:
        yield Curve("{x}/({k} + {x})", lambda v, k: v / (k + v), x, 5)
        yield Curve("{x}²/(({k})² + {x}²)", lambda v, k: v**2 / (k**2 + v**2), x, 8)
        yield Curve("exp(-{x}/{k})", lambda v, k: np.exp(-v / k), x, 5)
    else:
        yield Curve("{x}/({k} + abs({x}))", lambda v, k: v / (k + np.abs(v)), x, 6)
        yield Curve("tanh({x}/{k})", lambda v, k: np.tanh(v / k), x, 4)


def _times(a: Term, b: Term) -> Term:
    if a.text.startswith("1/"):
        a, b = b, a
    text = f"{a.text}{b.text[1:]}" if b.text.startswith("1/") else f"{a.text}*{b.text}"
    return Term(text, a.values * b.values, units.times(a.unit, b.unit), a.complexity + b.complexity + 1)


def _curved(term: Term, curve: Curve) -> Term:
    return Term(term.text, term.values, term.unit, term.complexity + curve.complexity + 1, curve)
