"""What a network is given along the runs of a scenario: where it is called at all, and so where it knows anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import networks, trajectory
from dpl.runtime.program import Scenario
from dpl.runtime.spec import Mode, Network
from dpl.runtime.spec import Scenario as Spec

POINTS = 2_000
"""So many points at the most, evenly among those that were visited"""


def visited(scenario: Scenario, network: Network, base: Mapping[str, Any], runs: Mapping[str, Any]) -> list[np.ndarray]:
    """The inputs [points, …] [SI] of a network, port by port.

    Args:
        base: all SI values of the scenario.
        runs: what differs from run to run, arrays over runs; empty of a single one.
    Raises:
        ValueError: it is not called where that can be seen.
    """
    times = trajectory.grid(scenario.spec, scenario.method, None)
    compiled = jax.jit(lambda rows: _along(scenario, network, {**base, **rows}, times))
    try:
        found = jax.vmap(compiled)(dict(runs)) if runs else compiled({})
    except jax.errors.UnexpectedTracerError:
        raise ValueError(
            f"`{network.name}` is called inside a search for a root, where nobody sees its inputs"
        ) from None
    if not found:
        raise ValueError(f"`{network.name}` is not called along the runs of {scenario.name}")
    ports = [
        np.concatenate([_points(call[i], len(port.shape)) for call in found]) for i, port in enumerate(network.inputs)
    ]
    known = np.all([np.isfinite(p.reshape(len(p), -1)).all(axis=1) for p in ports], axis=0)
    kept = np.flatnonzero(known)
    kept = kept[np.unique(np.linspace(0, kept.size - 1, min(POINTS, kept.size)).astype(int))] if kept.size else kept
    return [port[kept] for port in ports]


def _points(values: Any, own: int) -> np.ndarray:
    """All axes before those of the port as one."""
    array = np.asarray(values, float)
    return array.reshape(-1, *array.shape[array.ndim - own :])


def _along(scenario: Scenario, network: Network, values: Mapping[str, Any], times: np.ndarray) -> list[tuple[Any, ...]]:
    """Of each call the inputs; those in a run with a leading axis over the times. Traced."""
    spec = scenario.spec
    with networks.heard() as calls:
        c = spec.fixed(values)
        if spec.run is None:
            spec.observe(0.0, (), (), (), c)
            spec.results((), c)
    once = _of(network, calls)
    if spec.run is None:
        return once
    most = _Most()
    jax.eval_shape(lambda: trajectory.trajectory(_watched(spec, network, most), scenario.method, times, values)[0])
    rows, _, _ = trajectory.trajectory(_watched(spec, network, most), scenario.method, times, values)
    ports = range(len(network.inputs))
    return once + [tuple(rows[f"{call} {i}"] for i in ports) for call in range(most.calls)]


class _Most:
    """How many calls any mode makes at one instant, as far as is known."""

    calls = 0


def _watched(spec: Spec, network: Network, most: _Most) -> Spec:
    """The scenario, which observes nothing but what the network is given."""
    modes = tuple(replace(mode, observe=_watching(mode, network, most)) for mode in spec.modes)
    return replace(spec, observe=_watching(spec, network, most), modes=modes)


def _watching(of: Spec | Mode, network: Network, most: _Most) -> Callable[..., dict[str, Any]]:
    def observe(t: Any, x: Any, z: Any, held: Any, c: Any) -> dict[str, Any]:
        with networks.heard() as calls:
            of.observe(t, x, z, held, c)
            if of.rhs is not None:
                of.rhs(t, x, z, held, c)
            for clock in of.clocks:
                clock.evaluate(t, x, z, held, c)
        found = _of(network, calls)
        most.calls = max(most.calls, len(found))
        missing = [tuple(jnp.full(port.shape, jnp.nan) for port in network.inputs)] * (most.calls - len(found))
        return {f"{n} {i}": value for n, call in enumerate(found + missing) for i, value in enumerate(call)}

    return observe


def _of(network: Network, calls: list[tuple[str, tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    """Of the calls of this network the inputs, all with the axes of a batch that they share."""
    found = [inputs for name, inputs in calls if name == network.name]
    return [_together(network, inputs) for inputs in found]


def _together(network: Network, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    shapes = [jnp.shape(v)[: jnp.ndim(v) - len(p.shape)] for v, p in zip(inputs, network.inputs, strict=True)]
    batch = jnp.broadcast_shapes(*shapes)
    return tuple(
        jnp.broadcast_to(jnp.asarray(v, float), (*batch, *p.shape)) for v, p in zip(inputs, network.inputs, strict=True)
    )
