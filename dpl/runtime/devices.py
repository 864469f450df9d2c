"""Several devices share the runs of a batch; with one device nothing here does anything."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec


@cache
def _mesh() -> Mesh | None:
    devices = jax.devices()
    return Mesh(np.array(devices), ("runs",)) if len(devices) > 1 else None


def spread(indices: Array) -> Array:
    """The numbers [runs] of the runs of a batch, and so the runs, in equal parts over all devices.

    Where they cannot be divided evenly, each device does all of them. Only within a compiled program.
    """
    mesh = _mesh()
    if mesh is None or indices.shape[0] % mesh.size:
        return indices
    return lax.with_sharding_constraint(indices, NamedSharding(mesh, PartitionSpec("runs")))


def everywhere(tree: Any) -> Any:
    """A tree of arrays on every device, whole on each."""
    mesh = _mesh()
    return tree if mesh is None else jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shared(runs: int) -> str:
    """In words, how a batch is shared; empty with one device."""
    mesh = _mesh()
    if mesh is None:
        return ""
    return f"{mesh.size} devices" if runs % mesh.size == 0 else f"1 of {mesh.size} devices: {runs} runs are no multiple"
