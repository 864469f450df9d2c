"""Dimensions, units, and the unification that infers them.

A dimension is a product of base dimensions and of unknowns, each to a rational power. Inference is Gaussian
elimination over the rationals: Kennedy (1996), Programming Languages and Dimensions, ch. 3; rational exponents make
every equation solvable for any of its unknowns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import assert_never

from dpl.language import syntax
from dpl.language.diagnostics import Diagnostic, Label, did_you_mean
from dpl.language.source import Span

Scale = Fraction | float

BASE = ("kg", "m", "s", "A", "K", "mol", "cd")


@dataclass(frozen=True)
class Dimension:
    """`powers` maps base dimensions (and unknowns, written `?3`) to exponents; sorted, without zeros."""

    powers: tuple[tuple[str, Fraction], ...] = ()

    @staticmethod
    def of(powers: dict[str, Fraction]) -> Dimension:
        return Dimension(tuple(sorted((k, v) for k, v in powers.items() if v)))

    def __mul__(self, other: Dimension) -> Dimension:
        powers = dict(self.powers)
        for name, power in other.powers:
            powers[name] = powers.get(name, Fraction(0)) + power
        return Dimension.of(powers)

    def __pow__(self, exponent: Fraction | int) -> Dimension:
        return Dimension.of({k: v * exponent for k, v in self.powers})

    def __truediv__(self, other: Dimension) -> Dimension:
        return self * other**-1

    @property
    def unknowns(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.powers if name.startswith("?"))

    @property
    def pure(self) -> bool:
        return not self.powers

    def __str__(self) -> str:
        """As one would write it in brackets, with as few factors as named units allow: `V*s`; unknowns as `?`."""
        if self.pure:
            return "1"
        best, fewest = self._in_base(), len(self.powers)
        for name, dimension in _NAMED:
            rest = self / dimension
            count = len(rest.powers) + 1
            if count < fewest and (count == 1 or count <= len(self.powers) - 2):
                best, fewest = Dimension((*rest.powers, (name, Fraction(1))))._in_base(), count
        return best

    def _in_base(self) -> str:
        order = {name: i for i, name in enumerate((*(n for n, _ in _NAMED), *BASE))}
        powers = sorted(self.powers, key=lambda p: (order.get(p[0], 99), p[0]))
        above = [_power(n, p) for n, p in powers if p > 0]
        below = [_power(n, -p) for n, p in powers if p < 0]
        text = "*".join(above) or "1"
        if not below:
            return text
        return f"{text}/{below[0]}" if len(below) == 1 else f"{text}/({'*'.join(below)})"


def _power(name: str, power: Fraction) -> str:
    name = "?" if name.startswith("?") else name
    if power == 1:
        return name
    return f"{name}^{power}" if power.denominator == 1 else f"{name}^({power})"


PURE = Dimension()


@dataclass(frozen=True)
class Unit:
    """`text` as written; one of it is `scale` in coherent SI units."""

    dimension: Dimension = PURE
    scale: Scale = Fraction(1)
    text: str = ""


# ---------------------------------------------------------------- the table of units


def _dimension(**powers: int) -> Dimension:
    return Dimension.of({k: Fraction(v) for k, v in powers.items()})


_N = _dimension(kg=1, m=1, s=-2)
_J = _dimension(kg=1, m=2, s=-2)
_W = _dimension(kg=1, m=2, s=-3)
_PA = _dimension(kg=1, m=-1, s=-2)
_V = _dimension(kg=1, m=2, s=-3, A=-1)
_C = _dimension(A=1, s=1)

_PREFIXED: dict[str, tuple[Dimension, Scale]] = {
    "m": (_dimension(m=1), Fraction(1)),
    "g": (_dimension(kg=1), Fraction(1, 1000)),
    "s": (_dimension(s=1), Fraction(1)),
    "A": (_dimension(A=1), Fraction(1)),
    "K": (_dimension(K=1), Fraction(1)),
    "mol": (_dimension(mol=1), Fraction(1)),
    "cd": (_dimension(cd=1), Fraction(1)),
    "Hz": (_dimension(s=-1), Fraction(1)),
    "N": (_N, Fraction(1)),
    "J": (_J, Fraction(1)),
    "W": (_W, Fraction(1)),
    "Pa": (_PA, Fraction(1)),
    "V": (_V, Fraction(1)),
    "C": (_C, Fraction(1)),
    "F": (_C / _V, Fraction(1)),
    "ohm": (_V / _dimension(A=1), Fraction(1)),
    "Ω": (_V / _dimension(A=1), Fraction(1)),
    "S": (_dimension(A=1) / _V, Fraction(1)),
    "H": (_V * _dimension(s=1, A=-1), Fraction(1)),
    "Wb": (_V * _dimension(s=1), Fraction(1)),
    "T": (_V * _dimension(s=1, m=-2), Fraction(1)),
    "L": (_dimension(m=3), Fraction(1, 1000)),
    "l": (_dimension(m=3), Fraction(1, 1000)),
    "M": (_dimension(mol=1, m=-3), Fraction(1000)),
    "eV": (_J, Fraction("1.602176634e-19")),
    "cal": (_J, Fraction("4.184")),
    "bar": (_PA, Fraction(100_000)),
    "Bq": (_dimension(s=-1), Fraction(1)),
    "Gy": (_dimension(m=2, s=-2), Fraction(1)),
    "lm": (_dimension(cd=1), Fraction(1)),
    "lx": (_dimension(cd=1, m=-2), Fraction(1)),
    "rad": (PURE, Fraction(1)),
}
_PLAIN: dict[str, tuple[Dimension, Scale]] = {
    "1": (PURE, Fraction(1)),
    "%": (PURE, Fraction(1, 100)),
    "ppm": (PURE, Fraction(1, 1_000_000)),
    "sr": (PURE, Fraction(1)),
    "deg": (PURE, math.pi / 180),
    "°": (PURE, math.pi / 180),
    "rev": (PURE, 2 * math.pi),
    "rpm": (_dimension(s=-1), 2 * math.pi / 60),
    "min": (_dimension(s=1), Fraction(60)),
    "h": (_dimension(s=1), Fraction(3600)),
    "day": (_dimension(s=1), Fraction(86_400)),
    "week": (_dimension(s=1), Fraction(604_800)),
    "year": (_dimension(s=1), Fraction(31_557_600)),
    "t": (_dimension(kg=1), Fraction(1000)),
    "lb": (_dimension(kg=1), Fraction("0.45359237")),
    "oz": (_dimension(kg=1), Fraction("0.45359237") / 16),
    "u": (_dimension(kg=1), Fraction("1.66053906892e-27")),
    "inch": (_dimension(m=1), Fraction("0.0254")),
    "ft": (_dimension(m=1), Fraction("0.3048")),
    "yd": (_dimension(m=1), Fraction("0.9144")),
    "mile": (_dimension(m=1), Fraction("1609.344")),
    "nmi": (_dimension(m=1), Fraction(1852)),
    "au": (_dimension(m=1), Fraction(149_597_870_700)),
    "ha": (_dimension(m=2), Fraction(10_000)),
    "gal": (_dimension(m=3), Fraction("0.003785411784")),
    "lbf": (_N, Fraction("0.45359237") * Fraction("9.80665")),
    "kgf": (_N, Fraction("9.80665")),
    "psi": (_PA, Fraction("0.45359237") * Fraction("9.80665") / Fraction("0.0254") ** 2),
    "mmHg": (_PA, Fraction("133.322387415")),
    "torr": (_PA, Fraction(101_325, 760)),
    "atm": (_PA, Fraction(101_325)),
    "hp": (_W, Fraction("745.69987158227022")),
    "Wh": (_J, Fraction(3600)),
    "kWh": (_J, Fraction(3_600_000)),
    "MWh": (_J, Fraction(3_600_000_000)),
    "mph": (_dimension(m=1, s=-1), Fraction("0.44704")),
    "kph": (_dimension(m=1, s=-1), Fraction(1000, 3600)),
    "knot": (_dimension(m=1, s=-1), Fraction(1852, 3600)),
}
_PREFIXES = {
    "f": -15, "p": -12, "n": -9, "u": -6, "µ": -6, "μ": -6, "m": -3, "c": -2, "d": -1,
    "da": 1, "h": 2, "k": 3, "M": 6, "G": 9, "T": 12,
}  # fmt: skip
AFFINE = {"degC": "K", "°C": "K", "degF": "K", "°F": "K"}

_NAMED: tuple[tuple[str, Dimension], ...] = (
    ("V", _V),
    ("ohm", _V / _dimension(A=1)),
    ("C", _C),
    ("N", _N),
    ("J", _J),
    ("W", _W),
    ("Pa", _PA),
)
"""Derived units that make a dimension shorter to write"""


def find_unit(name: str) -> tuple[Dimension, Scale] | None:
    """Dimension and scale of a unit's name, with its prefix; None if there is no such unit."""
    if name in _PLAIN:
        return _PLAIN[name]
    if name in _PREFIXED:
        return _PREFIXED[name]
    for prefix, power in _PREFIXES.items():
        rest = name.removeprefix(prefix)
        if rest != name and rest in _PREFIXED:
            dimension, scale = _PREFIXED[rest]
            return dimension, scale * Fraction(10) ** power
    return None


def known_units() -> tuple[str, ...]:
    """Every unit's name without prefixes, and the usual prefixed ones: what `did you mean` chooses from."""
    usual = ("km", "cm", "mm", "kg", "mg", "ms", "kHz", "MHz", "kN", "kJ", "kW", "MW", "kPa", "mL", "mol", "mM", "kcal")
    return (*_PLAIN, *_PREFIXED, *usual)


def read_unit(unit: syntax.Unit | None, problems: list[Diagnostic]) -> Unit:
    """The unit that the text names; what cannot be read is reported and taken as pure."""
    if unit is None:
        return Unit()
    dimension, scale = _read(unit, problems)
    return Unit(dimension, scale, unit_text(unit))


def _read(unit: syntax.Unit, problems: list[Diagnostic]) -> tuple[Dimension, Scale]:
    match unit:
        case syntax.UnitOne():
            return PURE, Fraction(1)
        case syntax.UnitName(name):
            found = find_unit(name)
            if found is None:
                problems.append(affine_unit(unit) if name in AFFINE else unknown_unit(unit))
                return PURE, Fraction(1)
            return found
        case syntax.UnitProduct(op, left, right):
            (d1, s1), (d2, s2) = _read(left, problems), _read(right, problems)
            return (d1 * d2, s1 * s2) if op == "*" else (d1 / d2, s1 / s2)
        case syntax.UnitPower(base, exponent):
            dimension, scale = _read(base, problems)
            if abs(exponent) > 20:
                problems.append(Diagnostic("unit-power", "a unit's power is at most 20", Label(unit.span)))
                return PURE, Fraction(1)
            power = scale**exponent if exponent.denominator == 1 else float(scale) ** float(exponent)
            return dimension**exponent, power
        case _:
            assert_never(unit)


def unit_text(unit: syntax.Unit) -> str:
    """The unit in canonical text: `kg*m/s^2`."""
    match unit:
        case syntax.UnitOne():
            return "1"
        case syntax.UnitName(name):
            return name
        case syntax.UnitProduct(op, left, right):
            right_text = unit_text(right)
            if isinstance(right, syntax.UnitProduct):
                right_text = f"({right_text})"
            return f"{unit_text(left)}{op}{right_text}"
        case syntax.UnitPower(base, exponent):
            base_text = unit_text(base)
            if isinstance(base, syntax.UnitProduct):
                base_text = f"({base_text})"
            return f"{base_text}^{exponent}" if exponent.denominator == 1 else f"{base_text}^({exponent})"
        case _:
            assert_never(unit)


def unknown_unit(unit: syntax.UnitName) -> Diagnostic:
    close = did_you_mean(unit.id, known_units())
    return Diagnostic("unknown-unit", f"there is no unit `{unit.id}`", Label(unit.span, "used here"), help=close)


def affine_unit(unit: syntax.UnitName) -> Diagnostic:
    return Diagnostic(
        "affine-unit",
        f"`{unit.id}` is a point on a scale, not a multiple of a unit: sums and products of it have no meaning",
        Label(unit.span, "used here"),
        help="write temperatures in K: 20 °C is 293.15 [K], a difference of 5 °C is 5 [K]",
    )


# ---------------------------------------------------------------- unification


class Unifier:
    """Solved unknowns, each with the place that decided it. Grows as equations are added."""

    def __init__(self) -> None:
        self._count = 0
        self._solved: dict[str, Dimension] = {}
        self._decided: dict[str, Span | None] = {}

    def fresh(self) -> Dimension:
        self._count += 1
        return Dimension(((f"?{self._count}", Fraction(1)),))

    def resolve(self, dimension: Dimension) -> Dimension:
        """The dimension with every solved unknown replaced."""
        if not dimension.unknowns:
            return dimension
        result = PURE
        for name, power in dimension.powers:
            part = self._solved.get(name)
            if part is None:
                result *= Dimension(((name, power),))
            else:
                part = self._solved[name] = self.resolve(part)
                result *= part**power
        return result

    def unify(self, a: Dimension, b: Dimension, span: Span | None) -> bool:
        """Make both equal, deciding at most one unknown; False if they cannot be."""
        rest = self.resolve(a) / self.resolve(b)
        if rest.pure:
            return True
        if not rest.unknowns:
            return False
        name = rest.unknowns[-1]
        power = dict(rest.powers)[name]
        self._solved[name] = (rest / Dimension(((name, power),))) ** (-1 / power)
        self._decided[name] = span
        return True

    def decided_at(self, dimension: Dimension) -> Span | None:
        """Where the (first) unknown of an unresolved dimension was decided, for the other place in a message."""
        for name in dimension.unknowns:
            if name in self._decided:
                return self._decided[name]
        return None
