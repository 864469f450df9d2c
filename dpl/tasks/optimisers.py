"""First-order optimisers and decays of their rate, one row each.

A row gives the direction of descent only; the engine multiplies it by the rate: changing a rate compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import optax

from dpl.runtime.spec import Method


@dataclass(frozen=True)
class Optimiser:
    """`direction(**options)` scales a gradient; `rate` and `options` are what holds unless the text says otherwise."""

    direction: Callable[..., optax.GradientTransformation]
    rate: float
    options: Mapping[str, float]


def _sgd(momentum: float) -> optax.GradientTransformation:
    return optax.trace(decay=momentum) if momentum else optax.identity()


def _adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=b1, b2=b2, eps=eps)


OPTIMISERS: Mapping[str, Optimiser] = {
    # Kingma and Ba (2015), arXiv:1412.6980, algorithm 1
    "adam": Optimiser(_adam, 3e-3, {"b1": 0.9, "b2": 0.999, "eps": 1e-8}),
    # Polyak (1964), USSR Comput. Math. Math. Phys. 4(5), 1; without momentum, gradient descent
    "sgd": Optimiser(_sgd, 1e-2, {"momentum": 0.0}),
}

DECAYS: Mapping[str, Callable[[Any], Any]] = {
    "constant": lambda done: jnp.ones_like(done),
    "cosine": lambda done: 0.5 * (1.0 + jnp.cos(jnp.pi * done)),
}
"""The factor on the rate after the share `done` of all steps."""


@dataclass(frozen=True)
class Descent:
    """An optimiser with its numbers; `options` in the order of its row, so that equal descents compare equal."""

    name: str
    options: tuple[tuple[str, float], ...]
    rate: float
    decay: str

    def direction(self) -> optax.GradientTransformation:
        return OPTIMISERS[self.name].direction(**dict(self.options))

    def __str__(self) -> str:
        row = OPTIMISERS[self.name].options
        said = {"rate": self.rate} | {name: value for name, value in self.options if value != row[name]}
        words = [f"{name} = {value:g}" for name, value in said.items()]
        return f"{self.name}({', '.join(words + [f'decay = {self.decay}'] * (self.decay != 'constant'))})"


def descent(method: Method) -> tuple[Descent, tuple[str, ...]]:
    """The descent that `using` asks for, and what was chosen because the text does not say."""
    if not method.name:
        chosen = Descent("adam", tuple(OPTIMISERS["adam"].options.items()), OPTIMISERS["adam"].rate, "cosine")
        return chosen, (f"using {chosen}",)
    row = OPTIMISERS.get(method.name)
    if row is None:
        raise ValueError(f"no optimiser is called `{method.name}`; there are {', '.join(OPTIMISERS)}")
    given = dict(method.arguments)
    decay = str(given.pop("decay", "constant"))
    if decay not in DECAYS:
        raise ValueError(f"no decay is called `{decay}`; there are {', '.join(DECAYS)}")
    if unknown := sorted(given.keys() - row.options.keys() - {"rate"}):
        raise ValueError(f"{method.name} takes rate, decay, {', '.join(row.options)}; not {', '.join(unknown)}")
    numbers = {name: float(given.get(name, value)) for name, value in {"rate": row.rate, **row.options}.items()}
    chosen = Descent(method.name, tuple((name, numbers[name]) for name in row.options), numbers["rate"], decay)
    return chosen, () if "rate" in given else (f"rate {row.rate:g} of {method.name}",)
