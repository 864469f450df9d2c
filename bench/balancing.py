"""`balance` of examples/cartpole.dpl as an expert writes it by hand in JAX: `python -m bench.balancing [SEED]`

All steps are one compiled scan. Batches are drawn from one key, and nothing judges the weights: the last ones are kept.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

HIDDEN, STEPS, BATCH, TICKS, RATE = 8, 100, 8, 50, 0.06
STARTS = np.array([1.0, 0.5, 0.1, 0.5])
RANGES = np.array([2.4, 2.0, np.radians(12), 2.0])


def fresh(seed: int) -> Any:
    first, second = jax.random.split(jax.random.key(seed))
    w = jax.random.normal(first, (4, HIDDEN)) / 2, jax.random.normal(second, (HIDDEN, 1)) / np.sqrt(HIDDEN)
    return {"w": w, "b": (jnp.zeros(HIDDEN), jnp.zeros(1))}


def wanted(weights: Any, state: Any) -> Any:
    """What the network wants in each state [..., 4]; its sign is the push."""
    layer = jnp.tanh((state / RANGES) @ weights["w"][0] + weights["b"][0])
    return (layer @ weights["w"][1] + weights["b"][1])[..., 0]


def _moved(weights: Any, state: Any) -> Any:
    x, v, angle, rate = state.T
    want = wanted(weights, state)
    force = 10.0 * (want + lax.stop_gradient(jnp.sign(want) - want))
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    push = (force + 0.05 * rate * rate * sine) / 1.1
    turn = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 * cosine * cosine / 1.1))
    along = push - 0.05 * turn * cosine / 1.1
    return jnp.stack([x + 0.02 * v, v + 0.02 * along, angle + 0.02 * rate, rate + 0.02 * turn], axis=1)


def _cost(weights: Any, state: Any) -> Any:
    share = jnp.array([1 / 2.4, np.sqrt(0.1), 1 / np.radians(12), np.sqrt(0.1)])

    def tick(state: Any, _: Any) -> Any:
        return _moved(weights, state), jnp.mean(jnp.sum((state * share) ** 2, axis=1))

    return jnp.mean(lax.scan(tick, state, None, length=TICKS)[1])


@partial(jax.jit, static_argnames="steps")
def train(weights: Any, key: Any, steps: int = STEPS) -> Any:
    """The weights after so many steps of Adam, whose rate falls by a cosine."""
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(RATE, steps)))

    def step(carry: Any, key: Any) -> Any:
        weights, memory = carry
        state = jax.random.uniform(key, (BATCH, 4), minval=-1.0) * STARTS
        gradient = jax.grad(_cost)(weights, state)
        with jax.numpy_dtype_promotion("standard"):
            change, memory = optimiser.update(gradient, memory, weights)
        return (optax.apply_updates(weights, change), memory), None

    return lax.scan(step, (weights, optimiser.init(weights)), jax.random.split(key, steps))[0][0]


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    jax.block_until_ready(train(fresh(seed), jax.random.key(seed)))
