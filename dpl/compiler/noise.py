"""What a noise is worth: standard draws of the run and the tick, moved and stretched by its arguments.

So derivatives with respect to the arguments pass through the draws (Kingma and Welling 2014, arXiv:1312.6114, section
2.4), and the draws themselves depend on nothing that a task varies.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from dpl.compiler.algebra import TIME, Expr, Symbol, number, opaque, sp, symbol
from dpl.language.builtins import DISTRIBUTIONS
from dpl.language.model import Clock

RUN_NOISE: Symbol = symbol("run noise")
"""What tells the noise of one run from that of another; looked up in a run's values by `NAME`"""
NAME = "noise"

STANDARD = {f"noise {row.standard}": row.standard for row in DISTRIBUTIONS.values() if row.standard}
"""The opaque functions of (stream, tick, *shape), and their names in `runtime/noise.py`"""
STREAM = "stream "
"""How the name of an opaque function begins that gives a noise its own stream of a run's"""


def drawn(
    family: str, arguments: tuple[Expr, ...], path: str, clock: Clock, start: Fraction, shape: tuple[int, ...]
) -> Expr:
    """The value of the noise `path` at the ticks of its clock in a run from `start` [s]."""
    ticks = (TIME - number(start)) / number(clock.period)
    stream = opaque(f"{STREAM}{path}")(RUN_NOISE)
    standard = opaque(f"noise {DISTRIBUTIONS[family].standard}")(stream, ticks, *map(sp.Integer, shape))
    return _FORMS[family](standard, *arguments)


def _shifted(draw: Expr, location: Expr, scale: Expr) -> Expr:
    return location + scale * draw


def _lognormal(draw: Expr, median: Expr, spread: Expr) -> Expr:
    return median * sp.exp(spread * draw)


def _uniform(draw: Expr, low: Expr, high: Expr) -> Expr:
    return low + (high - low) * draw


def _exponential(draw: Expr, mean: Expr) -> Expr:
    return mean * draw


_FORMS: dict[str, Callable[..., Expr]] = {
    "normal": _shifted,
    "lognormal": _lognormal,
    "uniform": _uniform,
    "exponential": _exponential,
    "gumbel": _shifted,
}
