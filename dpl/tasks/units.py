"""Units as products of powers of their names, so that those of coefficients can be written: `m/s^2` over `m^2/s^2`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

Powers = Mapping[str, Fraction]
"""`m/s^2` is {m: 1, s: -2}; a pure number is {}"""

_TOKEN = re.compile(r"\s*(\d+|[*/^()-]|[²³½]|[^\s\d*/^()²³½-]+)")
_RAISED = {"²": Fraction(2), "³": Fraction(3), "½": Fraction(1, 2)}
_POINTS = {"degC": "K", "°C": "K", "degF": "K"}
"""Points on a scale: a coefficient is of the distance between them"""


def powers(text: str) -> Powers:
    """What a unit consists of, as the language writes it."""
    tokens = [token for token in _TOKEN.findall(text) if token]
    found, rest = _product(tokens)
    assert not rest, f"a unit that is none is a bug in DPL: {text}"
    return found


def _product(tokens: list[str]) -> tuple[Powers, list[str]]:
    found, tokens = _power(tokens)
    while tokens and tokens[0] in "*/":
        sign = 1 if tokens[0] == "*" else -1
        factor, tokens = _power(tokens[1:])
        found = times(found, raised(factor, sign))
    return found, tokens


def _power(tokens: list[str]) -> tuple[Powers, list[str]]:
    if not tokens:
        return {}, []
    if tokens[0] == "(":
        found, tokens = _product(tokens[1:])
        tokens = tokens[1:]
    else:
        name = _POINTS.get(tokens[0], tokens[0])
        found, tokens = ({} if name == "1" else {name: Fraction(1)}), tokens[1:]
    if tokens and tokens[0] in _RAISED:
        return raised(found, _RAISED[tokens[0]]), tokens[1:]
    if tokens and tokens[0] == "^":
        exponent, tokens = _exponent(tokens[1:])
        return raised(found, exponent), tokens
    return found, tokens


def _exponent(tokens: list[str]) -> tuple[Fraction, list[str]]:
    if tokens[0] == "(":
        end = tokens.index(")")
        return Fraction("".join(tokens[1:end])), tokens[end + 1 :]
    sign, tokens = (-1, tokens[1:]) if tokens[0] == "-" else (1, tokens)
    return sign * Fraction(tokens[0]), tokens[1:]


def times(a: Powers, b: Powers) -> Powers:
    """The product of two units."""
    both = {name: a.get(name, Fraction(0)) + b.get(name, Fraction(0)) for name in (*a, *b)}
    return {name: power for name, power in both.items() if power}


def raised(unit: Powers, exponent: Fraction | int) -> Powers:
    """A unit to a power."""
    return {name: power * exponent for name, power in unit.items() if power * exponent}


def written(unit: Powers) -> str:
    """As the language writes it; empty of a pure number."""
    above = [_factor(name, power) for name, power in unit.items() if power > 0]
    below = [_factor(name, -power) for name, power in unit.items() if power < 0]
    text = "*".join(above) or ("1" if below else "")
    if not below:
        return text
    return f"{text}/{below[0]}" if len(below) == 1 else f"{text}/({'*'.join(below)})"


def _factor(name: str, power: Fraction) -> str:
    if power == 1:
        return name
    return f"{name}^{power}" if power.denominator == 1 else f"{name}^({power})"
