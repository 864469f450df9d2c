"""Sums of products of sines and cosines in one canonical form, in which what cancels is gone.

Every product of harmonics becomes a sum of harmonics, `cos a cos b = ½ cos(a - b) + ½ cos(a + b)`, and equal terms
are collected: `sin² + cos²` is 1 without being looked for. Everything that is no number is an atom with an exponent,
so coefficients are exact. The number of terms is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from math import isqrt
from typing import TypeVar

from dpl.compiler.algebra import Expr, Symbol, sp

MOST_TERMS = 2_000
"""Terms of one expression beyond which it stays as it is"""
MOST_PRODUCTS = 100_000
"""Products of two terms that all expressions together may take"""
MOST_POWER = 6

Powers = tuple[tuple[int, Fraction], ...]
"""Atoms by number, in order, with exponents in a product or factors in an angle; none of them is 0"""
Harmonic = tuple[bool, Powers]
"""Whether it is a sine, and its angle, whose first factor is positive; `(False, ())` is 1"""
Terms = dict[tuple[Powers, Harmonic], Fraction]

K = TypeVar("K")
T = TypeVar("T")

_UNIT: Harmonic = (False, ())


class _TooMany(Exception):
    """The form is larger than allowed."""


class Fourier:
    """Canonical forms over common atoms. `fixed` says which symbols do not move: they are written as coefficients."""

    def __init__(self, fixed: Callable[[Symbol], bool]):
        self._fixed = fixed
        self._numbers: dict[Expr, int] = {}
        self._atoms: list[Expr] = []
        self._moving: list[bool] = []
        self._products = 0

    def canonical(self, expr: Expr) -> Expr:
        """The expression in canonical form, or itself where that grows too large."""
        try:
            return self._written(self._terms(expr))
        except _TooMany:
            return expr

    # ------------------------------------------------------------ reading

    def _atom(self, expr: Expr) -> int:
        if expr not in self._numbers:
            self._numbers[expr] = len(self._atoms)
            self._atoms.append(expr)
            self._moving.append(not all(map(self._fixed, expr.free_symbols)))
        return self._numbers[expr]

    def _terms(self, expr: Expr) -> Terms:
        if expr.is_Rational:
            return {((), _UNIT): Fraction(int(expr.p), int(expr.q))} if expr != 0 else {}
        if isinstance(expr, sp.Add):
            return self._sum(map(self._terms, expr.args))
        if isinstance(expr, sp.Mul):
            result = self._terms(expr.args[0])
            for factor in expr.args[1:]:
                result = self._product(result, self._terms(factor))
            return result
        if isinstance(expr, sp.Pow) and expr.exp.is_Rational:
            return self._power(expr)
        if isinstance(expr, sp.sin | sp.cos) and not all(map(self._fixed, expr.free_symbols)):
            return self._harmonic(isinstance(expr, sp.sin), expr.args[0])
        return {(((self._atom(expr), Fraction(1)),), _UNIT): Fraction(1)}

    def _power(self, expr: Expr) -> Terms:
        exponent = Fraction(int(expr.exp.p), int(expr.exp.q))
        if exponent.denominator == 1 and 0 < exponent <= MOST_POWER:
            base = result = self._terms(expr.base)
            for _ in range(int(exponent) - 1):
                result = self._product(result, base)
            return result
        return {(((self._atom(expr.base), exponent),), _UNIT): Fraction(1)}

    def _harmonic(self, sine: bool, argument: Expr) -> Terms:
        factors: dict[int, Fraction] = {}
        for term, factor in argument.as_coefficients_dict().items():
            exact = factor if factor.is_Rational else None
            number = self._atom(term if exact is not None else factor * term)
            factors[number] = factors.get(number, Fraction(0)) + (Fraction(int(exact.p), int(exact.q)) if exact else 1)
        sign, harmonic = _signed(sine, _ordered(factors))
        return {((), harmonic): Fraction(sign)} if sign else {}

    # ------------------------------------------------------------ arithmetic

    def _sum(self, parts: Iterable[Terms]) -> Terms:
        result: Terms = {}
        for part in parts:
            for key, value in part.items():
                _add(result, key, value)
        if len(result) > MOST_TERMS:
            raise _TooMany
        return result

    def _product(self, left: Terms, right: Terms) -> Terms:
        self._products += len(left) * len(right)
        if self._products > MOST_PRODUCTS:
            raise _TooMany
        result: Terms = {}
        for (powers, harmonic), factor in left.items():
            for (others, other), second in right.items():
                monomial = _merged(powers, others, 1)
                for share, both in _products(harmonic, other):
                    _add(result, (monomial, both), share * factor * second)
        if len(result) > MOST_TERMS:
            raise _TooMany
        return result

    # ------------------------------------------------------------ writing

    def _written(self, terms: Terms) -> Expr:
        """Harmonic by harmonic, each with a polynomial in what moves, whose coefficients are fixed."""
        by_harmonic: dict[Harmonic, dict[Powers, dict[Powers, Fraction]]] = {}
        for (powers, harmonic), factor in terms.items():
            moving = tuple(p for p in powers if self._moving[p[0]])
            rest = tuple(p for p in powers if not self._moving[p[0]])
            by_harmonic.setdefault(harmonic, {}).setdefault(moving, {})[rest] = factor
        return sp.Add(*(self._wave(h) * self._polynomial(p) for h, p in by_harmonic.items()))

    def _wave(self, harmonic: Harmonic) -> Expr:
        sine, angle = harmonic
        argument = sp.Add(*(self._atoms[i] * _number(f) for i, f in angle))
        return sp.sin(argument) if sine else sp.cos(argument)

    def _monomial(self, powers: Powers) -> Expr:
        return sp.Mul(*(sp.Pow(self._atoms[i], _number(e)) for i, e in powers))

    def _polynomial(self, coefficients: dict[Powers, dict[Powers, Fraction]]) -> Expr:
        """Common powers taken out, and coefficients that are multiples of each other written once."""
        common, reduced = _common(coefficients)
        alike: dict[Expr, dict[Powers, Fraction]] = {}
        for powers, coefficient in reduced.items():
            number, rest = self._factored(coefficient)
            alike.setdefault(rest, {})[powers] = number
        parts = [self._multiples(rest, numbers) for rest, numbers in alike.items()]
        return self._monomial(common) * sp.Add(*parts)

    def _multiples(self, rest: Expr, numbers: dict[Powers, Fraction]) -> Expr:
        common, reduced = _common(numbers)
        unit, inner = self._factored(reduced)
        return self._monomial(common) * (_number(unit) * rest) * inner

    def _factored(self, terms: dict[Powers, Fraction]) -> tuple[Fraction, Expr]:
        """A sum of monomials as a number times an expression, the same for all sums that are multiples of it."""
        common, reduced = _common(terms)
        first = reduced[min(reduced)]
        unit = min(map(abs, reduced.values())) * (1 if first > 0 else -1)
        for signed in (unit, -unit):
            root = _root({p: f / signed for p, f in reduced.items()})
            if root is not None:
                return signed, self._monomial(common) * self._sum_of(root) ** 2
        return unit, self._monomial(common) * self._sum_of({p: f / unit for p, f in reduced.items()})

    def _sum_of(self, terms: dict[Powers, Fraction]) -> Expr:
        return sp.Add(*(_number(f) * self._monomial(p) for p, f in terms.items()))


def _number(value: Fraction) -> Expr:
    return sp.Rational(value.numerator, value.denominator)


def _add(terms: dict[K, Fraction], key: K, value: Fraction) -> None:
    total = terms.get(key, 0) + value
    if total:
        terms[key] = total
    else:
        terms.pop(key, None)


def _root(terms: dict[Powers, Fraction]) -> dict[Powers, Fraction] | None:
    """The sum of atoms, with factors, whose square this is; None where it is no such square."""
    root: dict[Powers, Fraction] = {}
    for powers, factor in terms.items():
        if len(powers) == 1 and powers[0][1] == 2 and factor > 0:
            size = Fraction(isqrt(factor.numerator), isqrt(factor.denominator))
            atom = (powers[0][0], Fraction(1))
            first = next(iter(root), None)
            sign = -1 if first and terms.get(tuple(sorted((first[0], atom))), 0) < 0 else 1
            root[(atom,)] = sign * size
    square: dict[Powers, Fraction] = {}
    for one, factor in root.items():
        for other, second in root.items():
            _add(square, _merged(one, other, 1), factor * second)
    return root if len(root) > 1 and square == terms else None


def _ordered(powers: dict[int, Fraction]) -> Powers:
    return tuple(sorted((i, e) for i, e in powers.items() if e))


def _merged(left: Powers, right: Powers, sign: int) -> Powers:
    """Exponents or factors added, or subtracted where `sign` is -1."""
    if not right:
        return left
    result = dict(left)
    for i, e in right:
        result[i] = result.get(i, Fraction(0)) + sign * e
    return _ordered(result)


def _signed(sine: bool, angle: Powers) -> tuple[int, Harmonic]:
    """The harmonic with its sign: 0 for the sine of nothing."""
    if not angle:
        return (0, _UNIT) if sine else (1, _UNIT)
    if angle[0][1] > 0:
        return 1, (sine, angle)
    return (-1 if sine else 1), (sine, tuple((i, -f) for i, f in angle))


def _products(left: Harmonic, right: Harmonic) -> list[tuple[Fraction, Harmonic]]:
    """The product of two harmonics as a sum of harmonics."""
    (one, a), (two, b) = left, right
    if not a or not b:
        return [(Fraction(1), right if not a else left)]
    # sin a sin b = ½ cos(a - b) - ½ cos(a + b);  sin a cos b = ½ sin(a - b) + ½ sin(a + b), and so on
    sine = one != two
    signs = (-1 if two and not one else 1, -1 if one and two else 1)
    result: list[tuple[Fraction, Harmonic]] = []
    for sign, direction in zip(signs, (-1, 1), strict=True):
        turned, harmonic = _signed(sine, _merged(a, b, direction))
        if turned:
            result.append((Fraction(sign * turned, 2), harmonic))
    return result


def _common(coefficients: dict[Powers, T]) -> tuple[Powers, dict[Powers, T]]:
    """The greatest monomial in all terms, and the terms without it."""
    if len(coefficients) < 2:
        return (), coefficients
    first, *others = map(dict, coefficients)
    least = {i: min([e, *(o.get(i, Fraction(0)) for o in others)]) for i, e in first.items()}
    common = _ordered({i: e for i, e in least.items() if e > 0})
    return common, {_merged(p, common, -1): c for p, c in coefficients.items()}
