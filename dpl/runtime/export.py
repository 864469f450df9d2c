"""A generated function of one call, with its values in it, and its serialised form for many calls at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from dpl.runtime.program import execute
from dpl.runtime.spec import Values

PLATFORMS = ("cpu", "cuda", "tpu")

Shapes = Mapping[str, tuple[int, ...]]


def function(
    source: str, name: str, values: Values, outputs: Sequence[str], states: Sequence[str]
) -> Callable[..., Any]:
    """The module's `step` with these values [SI] in it, as a pure function of the inputs and a dict of states.

    It returns the output (a dict of several by name), and with states also the dict of the next ones.
    """
    step = execute(source, f"export of {name}")["step"]

    def call(*given: Any) -> Any:
        inputs, state = (given[:-1], given[-1]) if states else (given, {})
        results, following = step(values, tuple(map(jnp.asarray, inputs)), tuple(state[n] for n in states))
        returned = dict(zip(outputs, results, strict=True)) if len(outputs) > 1 else results[0]
        return (returned, dict(zip(states, following, strict=True))) if states else returned

    return call


def serialized(call: Callable[..., Any], inputs: Shapes, states: Shapes) -> bytes:
    """The function over a leading batch axis of any size, as `jax.export.deserialize` reads it.

    Raises:
        ImportError: JAX writes with flatbuffers, which is not installed.
    """
    if find_spec("flatbuffers") is None:
        raise ImportError("an export for JAX needs flatbuffers, which is not installed: pip install flatbuffers")
    (batch,) = export.symbolic_shape("b")
    dtype = jnp.result_type(float)

    def argument(shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((batch, *shape), dtype)

    given: list[Any] = [argument(shape) for shape in inputs.values()]
    given += [{name: argument(shape) for name, shape in states.items()}] if states else []
    return bytes(export.export(jax.jit(jax.vmap(call)), platforms=PLATFORMS)(*given).serialize())
