"""The numbers of a solver that a user may change: its step or its tolerances, among the values of a run.

They are arguments of the compiled program. Tolerances always are. A step other than the text's makes another program,
of steps that are masked up to a number that many steps share: a thousand steps of like number are one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dpl.runtime.solve import ADAPTIVE
from dpl.runtime.solve import FIXED as STEPPED
from dpl.runtime.spec import Method, Run

PREFIX = "using."
"""Begins the names of these numbers: `using.rtol`"""
STEP, PLACES = "using.step", "using.places"
"""The step [s]; an array [steps, 0] of no bytes, whose shape says how many steps there is room for"""
FIXED = tuple(name for name in STEPPED if name != "sampled")
TOLERANCES = ("rtol", "atol")
QUARTERS = 4
"""Room is made for 4 numbers of steps in each doubling: 64, 80, 96, 112, 128, …"""
MOST = 10_000_000
"""Steps between two ticks at the most"""


def settable(method: Method) -> tuple[str, ...]:
    """The names of the numbers that a method has."""
    if method.name in FIXED:
        return (STEP,)
    return tuple(PREFIX + word for word in TOLERANCES) if method.name in ADAPTIVE else ()


def values(run: Run | None, method: Method, changes: Mapping[str, Any], events: bool) -> dict[str, Any]:
    """The numbers of a method as values of a run: NaN is what the runtime chooses. A run with events counts no steps.

    Raises:
        ValueError: a number that the method does not have, or that is not positive.
    """
    if run is None or method.name not in (*FIXED, *ADAPTIVE):
        said: dict[str, Any] = {}
    else:
        said = {PREFIX + word: method.arguments.get(word, math.nan) for word in TOLERANCES}
        said = {name: said[name] for name in settable(method) if name != STEP}
    for name, value in changes.items():
        if name not in settable(method):
            known = " and ".join(f"`{n}`" for n in settable(method)) or "nothing"
            raise ValueError(f"`{name}` cannot be set: the solver is {method.name or 'none'}, which has {known}")
        said[name] = _positive(name, value)
    if STEP in said and run is not None and not events:
        said[PLACES] = np.zeros((places(run, float(said[STEP])), 0))
    return {name: value if name == PLACES else np.asarray(value, float) for name, value in said.items()}


def _positive(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"`{name}` must be one number, known before the run is traced, not {value!r}") from None
    if not (0 < number < math.inf):
        raise ValueError(f"`{name}` must be above 0 and finite, not {value!r}")
    return number


def places(run: Run, step: float) -> int:
    """Room for the steps between two ticks, or of the whole run: the next of 4 numbers in each doubling.

    Raises:
        ValueError: so many that none would end.
    """
    ratio = (run.duration if run.base is None else min(run.base, run.duration)) / step
    if ratio > MOST:
        raise ValueError(f"`{STEP}` of {step:g} s makes {ratio:.3g} steps, and {MOST:_} are the most")
    count = max(1, math.ceil(ratio * (1 - 1e-9)))
    size = max(1, 2 ** math.floor(math.log2(count)) // QUARTERS)
    return math.ceil(count / size) * size


def applied(method: Method, values: Mapping[str, Any]) -> Method:
    """The method with its numbers taken from the values of a run, traced or not."""
    said = {name.removeprefix(PREFIX): value for name, value in values.items() if name.startswith(PREFIX)}
    return replace(method, arguments={**method.arguments, **said}) if said else method


def concrete(method: Method, values: Mapping[str, Any]) -> Method:
    """The same with known numbers, and a program of its own for them."""
    said = {n.removeprefix(PREFIX): float(v) for n, v in values.items() if n.startswith(PREFIX) and n != PLACES}
    return replace(method, arguments={**method.arguments, **said})
