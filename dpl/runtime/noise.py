"""The draws of noise: those of tick n of run i depend on the seed, i, the noise's name and n alone.

Each is one hash of a key and a counter, so that no state of a generator goes from tick to tick: Salmon et al. (2011),
Parallel random numbers: as easy as 1, 2, 3.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend import random
from jax.scipy import special

NAME = "noise"
"""Under which a run's key is found among its values"""


def words(key: Any, high: Any, low: Any) -> tuple[Array, Array]:
    """Two random words for each of the counters (`high`, `low`) [n] under a key [2]; all of 32 bits."""
    found = random.threefry_2x32(key, jnp.concatenate([high, low]))
    first, second = jnp.split(found, 2)
    return first, second


def shares(first: Any, second: Any, dtype: Any) -> Array:
    """Two random words each as an even draw from (0, 1), both ends excluded."""
    if dtype == jnp.float32:
        return ((first >> 9).astype(dtype) + 0.5) * 2.0**-23
    return ((first >> 6).astype(dtype) * 2.0**26 + (second >> 6).astype(dtype) + 0.5) * 2.0**-52


def keys(seed: Any, indices: Any) -> Array:
    """The keys [n, 2] of the runs `indices` [n]."""
    key = jax.random.key_data(jax.random.fold_in(jax.random.key(seed), _hash(NAME)))
    counts = jnp.asarray(indices).astype(jnp.uint32)
    return jnp.stack(words(key, counts, jnp.zeros_like(counts)), axis=1)


def stream(key: Any, name: str) -> Array:
    """The key [2] of the noise `name` in the run with that key."""
    mine, zero = jnp.full(1, _hash(name), jnp.uint32), jnp.zeros(1, jnp.uint32)
    return jnp.concatenate(words(jnp.asarray(key), mine, zero))


def _hash(name: str) -> int:
    return zlib.crc32(name.encode())


# ---------------------------------------------------------------- standard draws


def uniform(key: Any, tick: Any, shape: tuple[int, ...] = ()) -> Array:
    """Even draws from (0, 1).

    Args:
        key: of a `stream`.
        tick: how many periods have passed, as a floating number of the type that the draws are to have.
    """
    size = math.prod(shape)
    count = jnp.round(tick).astype(jnp.uint32)
    first, second = words(key, jnp.broadcast_to(count, size), jnp.arange(size, dtype=jnp.uint32))
    return shares(first, second, jnp.result_type(tick)).reshape(shape)


def normal(key: Any, tick: Any, shape: tuple[int, ...] = ()) -> Array:
    """Mean 0, standard deviation 1."""
    return special.ndtri(uniform(key, tick, shape))


def exponential(key: Any, tick: Any, shape: tuple[int, ...] = ()) -> Array:
    """Mean 1."""
    return -jnp.log1p(-uniform(key, tick, shape))


def gumbel(key: Any, tick: Any, shape: tuple[int, ...] = ()) -> Array:
    """Location 0, scale 1."""
    return -jnp.log(-jnp.log(uniform(key, tick, shape)))
