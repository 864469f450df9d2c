"""Learnable functions: weights from a key, and values from weights. Inputs and outputs in SI.

A declared range is scaled to [-1, 1] on the way in and kept by a squash on the way out; without a range, values are
taken in the declared unit. Under `vmap` each layer is one matrix product.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dpl.runtime.spec import Network, Port

Weights = Mapping[str, tuple[Array, ...]]
"""`{"w": one [inputs, outputs] matrix per layer, "b": one [outputs] vector per layer}`"""

ACTIVATIONS: dict[str, Callable[[Any], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "sin": jnp.sin,
}

INSIDE = 0.01
"""How far inside its range, as a share of it, an output starts that is to begin at a border."""


def widths(network: Network) -> tuple[int, ...]:
    """The size of every layer, inputs first."""
    return (sum(map(_size, network.inputs)), *network.hidden, sum(map(_size, network.outputs)))


def init(network: Network, seed: int) -> Weights:
    """Fresh weights: normal with variance 1/inputs (LeCun et al. 1998, Efficient BackProp), biases zero.

    They depend on the seed and the network's name alone; drawn by NumPy, which needs nothing compiled.
    With `start_zero` the last layer is zero but for biases that give the value nearest to 0 in each output's range.
    """
    sizes = widths(network)
    draw = np.random.default_rng([seed, zlib.crc32(network.name.encode())])
    w = [draw.standard_normal((m, n)) / math.sqrt(max(m, 1)) for m, n in pairwise(sizes)]
    b = [np.zeros(n) for n in sizes[1:]]
    if network.start_zero:
        w[-1] = np.zeros_like(w[-1])
        b[-1] = np.concatenate([np.full(_size(port), _start(port)) for port in network.outputs])
    return {"w": tuple(map(jnp.asarray, w)), "b": tuple(map(jnp.asarray, b))}


def apply(network: Network, weights: Weights, *inputs: Any) -> Any:
    """The network's value: one output as it is, several as a tuple in their order.

    Axes of the inputs before those of their ports are one batch: the network is applied at each of its elements. They
    meet as arrays do, and an input without them is the same for all.
    """
    for calls in _LISTENING:
        calls.append((network.name, inputs))
    dtype = weights["w"][0].dtype
    scaled = [_scaled(port, value) for port, value in zip(network.inputs, inputs, strict=True)]
    h = _gather(network.inputs, scaled, dtype)
    activation = ACTIVATIONS[network.activation]
    last = len(weights["w"]) - 1
    for layer, (w, b) in enumerate(zip(weights["w"], weights["b"], strict=True)):
        h = h @ w + (b if h.ndim == 1 else jnp.expand_dims(b, tuple(range(h.ndim - 1))))
        if layer < last:
            h = activation(h)
    outputs = _split(network.outputs, h)
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


_LISTENING: list[list[tuple[str, tuple[Any, ...]]]] = []


@contextmanager
def heard() -> Generator[list[tuple[str, tuple[Any, ...]]]]:
    """The calls of networks meanwhile, in their order: the name, and what it is given; in a trace these are tracers."""
    calls: list[tuple[str, tuple[Any, ...]]] = []
    _LISTENING.append(calls)
    try:
        yield calls
    finally:
        _LISTENING.pop()


def _size(port: Port) -> int:
    return math.prod(port.shape)


def _finite(bound: float | None) -> bool:
    return bound is not None and math.isfinite(bound)


def _scaled(port: Port, value: Any) -> Any:
    low, high = port.low, port.high
    if low is not None and high is not None and _finite(low) and _finite(high):
        return (value - 0.5 * (low + high)) * (2.0 / (high - low))
    return value / port.scale if port.scale != 1.0 else value


def _gather(ports: tuple[Port, ...], values: list[Any], dtype: Any) -> Array:
    """All inputs side by side along the last axis."""
    if all(jnp.ndim(v) == 0 for v in values):
        return jnp.stack([jnp.asarray(v, dtype) for v in values])
    batches = [jnp.shape(v)[: jnp.ndim(v) - len(port.shape)] for port, v in zip(ports, values, strict=True)]
    batch = jnp.broadcast_shapes(*batches)
    return jnp.concatenate(
        [_side(port, jnp.asarray(v, dtype), batch) for port, v in zip(ports, values, strict=True)], -1
    )


def _side(port: Port, value: Array, batch: tuple[int, ...]) -> Array:
    missing = len(batch) + len(port.shape) - value.ndim
    value = jnp.expand_dims(value, tuple(range(missing)))
    return jnp.broadcast_to(value, (*batch, *port.shape)).reshape(*batch, _size(port))


def _split(ports: tuple[Port, ...], h: Array) -> list[Array]:
    outputs: list[Array] = []
    at = 0
    for port in ports:
        size = _size(port)
        part = h[..., at] if port.shape == () else h[..., at : at + size].reshape(*h.shape[:-1], *port.shape)
        outputs.append(_squash(port, part))
        at += size
    return outputs


def _squash(port: Port, z: Array) -> Array:
    """From any number to the port's range."""
    low, high = port.low, port.high
    if low is not None and high is not None and _finite(low) and _finite(high):
        return low + (high - low) * jax.nn.sigmoid(2.0 * z)
    if low is not None and _finite(low):
        return low + port.scale * jax.nn.softplus(z)
    if high is not None and _finite(high):
        return high - port.scale * jax.nn.softplus(z)
    return port.scale * z


def _start(port: Port) -> float:
    """The number that `_squash` maps to the value nearest to 0 in the range, or slightly inside it."""
    low, high = port.low, port.high
    if low is not None and high is not None and _finite(low) and _finite(high):
        share = min(max(-low / (high - low), INSIDE), 1 - INSIDE)
        return 0.5 * math.log(share / (1 - share))
    if low is not None and _finite(low):
        return _inverse_softplus(max(-low / port.scale, INSIDE))
    if high is not None and _finite(high):
        return _inverse_softplus(max(high / port.scale, INSIDE))
    return 0.0


def _inverse_softplus(y: float) -> float:
    return y + math.log(-math.expm1(-y))
