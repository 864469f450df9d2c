"""How stiff a run is: decay rates along it, found by a cheap implicit run in NumPy, at loose tolerance.

Steps of that run are as long as accuracy alone asks for. Where a mode decays many times within one of them, an explicit
method would be held to short steps by stability.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from dpl.runtime import implicit, linear
from dpl.runtime.solve import Problem
from dpl.runtime.ticks import Sampled

MOST_STEPS = 200
"""Steps of the run along which stiffness is judged; it is judged on the part that they reach"""
ROUGH = 1e-2
"""Error that a step of that run may make, of the greatest value so far"""
MULTIPLICATIONS = 40
"""Products with the Jacobian by which the fastest mode of a large system is found"""


@dataclass(frozen=True)
class Rates:
    """What a run showed. `turns` are decay times of the fastest mode over the run, where a step of the rough run is
    longer than `apart` of them; `decay` [1/s] and `step` [s] are those of the stiffest step, at `time` [s]."""

    turns: float
    decay: float
    step: float
    time: float


Field = Callable[[float, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(t, y) -> f, ∂f/∂y"""


def field(p: Problem) -> tuple[Field, np.ndarray, np.ndarray]:
    """The right-hand side on one vector of states as it is before the first tick, the start, and typical sizes."""
    slopes, _, flat, restore, s = _slopes(p)
    x = restore(flat)
    units = [o.unit.scale for o, leaf in zip(p.scenario.states, x, strict=True) for _ in range(leaf.size)]
    declared, size = p.scenario.jacobian, flat.size

    def both(t: Any, flat: Any) -> tuple[Any, Any]:
        if declared is None:
            return slopes(t, flat), jax.jacfwd(slopes, argnums=1)(t, flat)
        entries = declared.entries(t, restore(flat), s.z, s.held, p.c)
        matrix = jnp.zeros((size, size), flat.dtype)
        inner = [n for n, (i, j) in enumerate(zip(declared.rows, declared.columns, strict=True)) if i < size > j]
        if not inner:
            return slopes(t, flat), matrix
        places = np.asarray(declared.rows)[inner], np.asarray(declared.columns)[inner]
        return slopes(t, flat), matrix.at[places].set(jnp.stack([jnp.asarray(entries[n], flat.dtype) for n in inner]))

    compiled = jax.jit(both)

    def evaluated(t: float, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = compiled(jnp.asarray(t, p.dtype), jnp.asarray(y, p.dtype))
        return np.asarray(found[0], float), np.asarray(found[1], float)

    return evaluated, np.asarray(flat, float), np.asarray(units, float)


def _slopes(p: Problem) -> tuple[Callable[[Any, Any], Any], Any, Any, Any, Sampled]:
    """f(t, states), the time and the states at the start, what gives them their shapes, and what is sampled there."""
    assert p.scenario.run is not None
    start = jnp.asarray(p.scenario.run.start, p.dtype)
    x, totals = p.layout.unpack(p.y)
    s = p.ticker.tick(0, start, x, p.sampled, p.c)
    flat, restore = ravel_pytree(x)

    def slopes(t: Any, flat: Any) -> Any:
        return ravel_pytree(p.layout.unpack(p.derivative(t, p.layout.pack(restore(flat), totals), s))[0])[0]

    return slopes, start, flat, restore, s


def banded(p: Problem) -> bool:
    """Whether the Jacobian has a narrow band."""
    slopes, start, flat, _, _ = _slopes(p)
    found = implicit.probed(slopes, flat.size, False, (start, flat))
    return isinstance(found.form, linear.Banded)


def along(evaluated: Field, y: np.ndarray, units: np.ndarray, start: float, duration: float, apart: float) -> Rates:
    """The rates of a run; those of a run that breaks off are of the part before, and NaN where that is nothing."""
    worst, turns, reached = (0.0, 0.0, start), 0.0, 0.0
    with np.errstate(all="ignore"):  # what is not finite ends the run
        for t, h, matrix in _rough(evaluated, y, units, start, duration):
            reached += h
            decay = max(0.0, float(np.max(-np.linalg.eigvals(matrix).real)))
            if decay * h > apart:
                turns += decay * h
            if decay * h > worst[0] * worst[1]:
                worst = (decay, h, t)
    if reached == 0:
        return Rates(np.nan, np.nan, np.nan, start)
    return Rates(turns * duration / reached, *worst)


def _rough(
    evaluated: Field, y: np.ndarray, units: np.ndarray, start: float, duration: float
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Accepted steps of ode23s (Shampine and Reichelt 1997, SIAM J. Sci. Comput. 18, 1): time, length, Jacobian."""
    d, e = 1 / (2 + np.sqrt(2)), 6 + np.sqrt(2)
    t, end, unit = start, start + duration, np.eye(y.size)
    size = np.maximum(np.abs(y), 1e-6 * units)
    f, matrix = evaluated(t, y)
    h = min(duration, ROUGH * float(np.min(size / np.maximum(np.abs(f), 1e-300), initial=duration)))
    h = max(h, 1e-12 * duration)
    for _ in range(MOST_STEPS):
        if not (np.all(np.isfinite(f)) and np.all(np.isfinite(matrix))):
            return
        h = min(h, end - t)
        try:
            inverse = np.linalg.inv(unit - h * d * matrix)
        except np.linalg.LinAlgError:
            return
        k1 = inverse @ f
        middle = evaluated(t + h / 2, y + h / 2 * k1)[0]
        k2 = inverse @ (middle - k1) + k1
        new = y + h * k2
        later, after = evaluated(t + h, new)
        k3 = inverse @ (later - e * (k2 - middle) - 2 * (k1 - f))
        scale = ROUGH * np.maximum(size, np.abs(new))
        error = float(np.max(np.abs(h / 6 * (k1 - 2 * k2 + k3)) / scale))
        if error <= 1:
            yield t, h, matrix
            t, y, f, matrix = t + h, new, later, after
            size = np.maximum(size, np.abs(y))
            if t >= end * (1 - 1e-12) if end > 0 else t >= end:
                return
        elif not np.isfinite(error):
            error = 1e3
        h *= min(5.0, max(0.1, 0.8 * max(error, 1e-6) ** (-1 / 3)))


def fastest(p: Problem) -> float:
    """The decay rate [1/s] of the fastest mode of a large system at its start, by powers of its Jacobian; 0 where that
    mode does not decay."""
    slopes, start, flat, _, _ = _slopes(p)
    multiplied = jax.jit(lambda v: jax.jvp(lambda y: slopes(start, y), (flat,), (v,))[1])
    v = np.random.default_rng(0).standard_normal(flat.size)
    rate = 0.0
    for _ in range(MULTIPLICATIONS):
        v = v / max(float(np.linalg.norm(v)), 1e-300)
        new = np.asarray(multiplied(jnp.asarray(v, p.dtype)), float)
        rate, v = float(v @ new), new
    return max(0.0, -rate)
