"""Params that a training leads from one value to another, whatever the gradient says.

The path is a pure function of the step, so that a resumed training is on it bit for bit. What decides which values are
kept sees the last value, at which the param stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from dpl.runtime.spec import Task
from dpl.tasks.context import Context, Setup, of_scenario
from dpl.tasks.result import Quantity, declared, number

Paths = Mapping[str, Any]
"""By name of the param, where its path begins and ends [2, SI]"""


def paths(ready: Setup, task: Task, context: Context) -> dict[str, np.ndarray]:
    """What the task anneals; a value that the caller sets stays as it is set."""
    said = of_scenario(context.settings, ready.scenario)
    return {a.name: np.array([a.start, a.end]) for a in task.anneal if a.name not in said}


def at(base: Mapping[str, Any], paths: Paths, share: Any) -> dict[str, Any]:
    """The values [SI] after a share of the steps, from 0 to 1."""
    moved = {name: _between(ends[0], ends[1], share) for name, ends in paths.items()}
    return {**base, **{name: jnp.broadcast_to(value, jnp.shape(base[name])) for name, value in moved.items()}}


def _between(start: Any, end: Any, share: Any) -> Any:
    """Geometric between two positive ends, else linear."""
    positive = (start > 0) & (end > 0)
    ratio = jnp.where(positive, end, 1.0) / jnp.where(positive, start, 1.0)
    return jnp.where(positive, start * ratio**share, start + (end - start) * share)


def last(base: Mapping[str, Any], paths: Paths) -> dict[str, np.ndarray]:
    """Where each of them stays [SI]."""
    return {name: np.full(np.shape(base[name]), ends[1]) for name, ends in paths.items()}


def notes(ready: Setup, paths: Paths) -> tuple[str, ...]:
    """In words, where each of them went."""
    units = {param.name: param.unit for param in ready.scenario.spec.params}
    return tuple(_note(name, declared(ends, units[name])) for name, ends in paths.items())


def _note(name: str, ends: Quantity) -> str:
    return f"{name} went from {number(ends.value[0])} to {number(ends.value[1])} {ends.unit}".rstrip()
