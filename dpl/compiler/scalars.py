"""The mathematics of exported files: functions of numbers as the runtime has them, with `math` and NumPy alone.

The exporter pastes what a file uses from here as it stands. Where `math` raises, these answer as IEEE 754 does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np


def everywhere(function: Callable[[float], float], ieee: Callable[[float], Any]) -> Callable[[float], float]:
    """The function, and NumPy's infinity or NaN where it raises."""

    def answer(x: float) -> float:
        try:
            return function(x)
        except (ValueError, OverflowError):
            with np.errstate(all="ignore"):
                return float(ieee(float(x)))

    return answer


sqrt = everywhere(math.sqrt, np.sqrt)
exp = everywhere(math.exp, np.exp)
log = everywhere(math.log, np.log)
log10 = everywhere(math.log10, np.log10)
log2 = everywhere(math.log2, np.log2)
sin = everywhere(math.sin, np.sin)
cos = everywhere(math.cos, np.cos)
tan = everywhere(math.tan, np.tan)
asin = everywhere(math.asin, np.arcsin)
acos = everywhere(math.acos, np.arccos)
sinh = everywhere(math.sinh, np.sinh)
cosh = everywhere(math.cosh, np.cosh)
acosh = everywhere(math.acosh, np.arccosh)
atanh = everywhere(math.atanh, np.arctanh)
floor = everywhere(lambda x: float(math.floor(x)), np.floor)
ceil = everywhere(lambda x: float(math.ceil(x)), np.ceil)
rint = everywhere(lambda x: float(round(x)), np.rint)
gamma = everywhere(math.gamma, lambda x: math.copysign(math.inf, x) if x >= 0 else math.nan)
lgamma = everywhere(math.lgamma, lambda x: math.inf)


def divide(a: float, b: float) -> float:
    try:
        return a / b
    except ZeroDivisionError:
        return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)


def power(x: float, y: float) -> float:
    try:
        return math.pow(x, y)
    except (ValueError, OverflowError):
        with np.errstate(all="ignore"):
            return float(np.power(float(x), float(y)))


def mod(x: float, y: float) -> float:
    """The remainder, with the sign of the divisor."""
    try:
        return x % y
    except ZeroDivisionError:
        return math.nan


def cbrt(x: float) -> float:
    return math.copysign(abs(x) ** (1 / 3), x)


def hypot(x: float, y: float) -> float:
    return math.sqrt(x * x + y * y)


def wrap(angle: float) -> float:
    """The same angle in (-π, π]."""
    return angle - 2 * math.pi * ceil((angle - math.pi) / (2 * math.pi))


def sign(x: float) -> float:
    return x if x != x else float((x > 0) - (x < 0))


def step(x: float) -> float:
    return 1.0 if x > 0 else 0.0


def maximum(a: float, b: float) -> float:
    """The greater; NaN if one is."""
    return a if a > b or a != a else b


def minimum(a: float, b: float) -> float:
    """The lesser; NaN if one is."""
    return a if a < b or a != a else b


def clip(x: float, low: float, high: float) -> float:
    """x kept between low and high; NaN if one is."""
    x = x if x >= low or x != x else low
    return x if x <= high or x != x else high


def relu(x: float) -> float:
    return 0.0 if x < 0 else x


def sigmoid(x: float) -> float:
    """1/(1 + exp(-x)), without overflow."""
    e = math.exp(-abs(x))
    return 1 / (1 + e) if x >= 0 else e / (1 + e)


def softplus(x: float) -> float:
    """log(1 + exp(x)), without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def huber(e: float, scale: float) -> float:
    """½e² within the scale, linear beyond."""
    within = minimum(abs(e), scale)
    return within * (abs(e) - 0.5 * within)


def smooth_abs(x: float, width: float) -> float:
    return math.sqrt(x * x + width * width)


def smooth_sign(x: float, width: float) -> float:
    return math.tanh(divide(x, width))


def smooth_step(x: float, width: float) -> float:
    return sigmoid(divide(x, width))


def smooth_max(a: float, b: float, width: float) -> float:
    return 0.5 * (a + b + smooth_abs(a - b, width))


def smooth_min(a: float, b: float, width: float) -> float:
    return 0.5 * (a + b - smooth_abs(a - b, width))


def smooth_relu(x: float, width: float) -> float:
    return 0.5 * (x + smooth_abs(x, width))


def smooth_clip(x: float, low: float, high: float, width: float) -> float:
    return smooth_min(smooth_max(x, low, width), high, width)


def smooth_choose(margin: float, a: float, b: float, width: float) -> float:
    """Blends from b (margin well below 0) to a (well above)."""
    share = smooth_step(margin, width)
    return share * a + (1.0 - share) * b


def pick(scores: Any, values: Any) -> float:
    """The value whose score is greatest, the first of several."""
    return float(values[int(np.argmax(scores))])


def previous(x: Any, knots: Any, values: Any) -> Any:
    """The value of the knot at or before x."""
    return values[np.maximum(knots.searchsorted(x, side="right") - 1, 0)]


def cubic(x: Any, knots: Any, values: Any, slopes: Any) -> Any:
    """The cubic through two knots with their slopes; beyond the knots their value."""
    i = np.minimum(np.maximum(knots.searchsorted(x, side="right") - 1, 0), len(knots) - 2)
    h, rise = knots[i + 1] - knots[i], values[i + 1] - values[i]
    s = (np.clip(x, knots[0], knots[-1]) - knots[i]) / h
    return values[i] + s * s * (3 - 2 * s) * rise + h * s * (1 - s) * ((1 - s) * slopes[i] - s * slopes[i + 1])


def conv(image: Any, kernel: Any, rank: int) -> Any:
    """The sums of products of a kernel with the parts of an image that it fits into, in the last axes."""
    axes = tuple(range(-rank, 0))
    parts = np.lib.stride_tricks.sliding_window_view(image, np.shape(kernel)[-rank:], axes)
    return (parts * np.expand_dims(kernel, tuple(range(-2 * rank, -rank)))).sum(axes)


def linear_solve(rows: tuple[Any, ...], right: tuple[Any, ...]) -> list[Any]:
    """The unknowns x of `rows @ x = right`, by elimination with pivots; NaN where there is no one solution."""
    a, b, n = [list(row) for row in rows], list(right), len(right)
    for k in range(n):
        best = max(range(k, n), key=lambda i: abs(a[i][k]))
        a[k], a[best], b[k], b[best] = a[best], a[k], b[best], b[k]
        if a[k][k] == 0:
            return [math.nan] * n
        for i in range(k + 1, n):
            factor = a[i][k] / a[k][k]
            for j in range(k + 1, n):
                a[i][j] -= factor * a[k][j]
            b[i] -= factor * b[k]
    for i in reversed(range(n)):
        for j in range(i + 1, n):
            b[i] -= a[i][j] * b[j]
        b[i] /= a[i][i]
    return b
