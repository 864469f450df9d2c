"""First-order optimisers and schedules of their rate, one row each.

A row gives the direction of descent; the rate multiplies it. All their numbers are arguments of the compiled step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dpl.runtime.spec import Method

Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Optimiser:
    """`direction(**options)` scales a gradient; `rate` and `options` are what holds unless the text says otherwise."""

    direction: Callable[..., optax.GradientTransformation]
    rate: float
    options: Mapping[str, float]


def _adamw(b1: Any, b2: Any, eps: Any, weight_decay: Any) -> optax.GradientTransformation:
    return optax.chain(optax.scale_by_adam(b1=b1, b2=b2, eps=eps), optax.add_decayed_weights(weight_decay))


def _nadam(b1: Any, b2: Any, eps: Any) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=b1, b2=b2, eps=eps, nesterov=True)


def _lion(b1: Any, b2: Any, weight_decay: Any) -> optax.GradientTransformation:
    return optax.chain(optax.scale_by_lion(b1=b1, b2=b2), optax.add_decayed_weights(weight_decay))


_ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}

OPTIMISERS: Mapping[str, Optimiser] = {
    # Kingma and Ba (2015), arXiv:1412.6980, algorithm 1
    "adam": Optimiser(optax.scale_by_adam, 3e-3, _ADAM),
    # Loshchilov and Hutter (2019), arXiv:1711.05101
    "adamw": Optimiser(_adamw, 3e-3, _ADAM | {"weight_decay": 1e-4}),
    # Dozat (2016), Incorporating Nesterov momentum into Adam
    "nadam": Optimiser(_nadam, 3e-3, _ADAM),
    # Zhuang et al. (2020), arXiv:2010.07468
    "adabelief": Optimiser(optax.scale_by_belief, 3e-3, _ADAM | {"eps": 1e-16}),
    # Tieleman and Hinton (2012), Neural networks for machine learning, lecture 6.5
    "rmsprop": Optimiser(
        lambda memory, eps: optax.scale_by_rms(decay=memory, eps=eps), 1e-3, {"memory": 0.9, "eps": 1e-8}
    ),
    # Chen et al. (2023), arXiv:2302.06675
    "lion": Optimiser(_lion, 3e-4, {"b1": 0.9, "b2": 0.99, "weight_decay": 1e-3}),
    # Polyak (1964), USSR Comput. Math. Math. Phys. 4(5), 1; without momentum, gradient descent
    "sgd": Optimiser(lambda momentum: optax.trace(decay=momentum), 1e-2, {"momentum": 0.0}),
}

DECAYS: Mapping[str, Callable[[Any, Any], Any]] = {
    "constant": lambda done, final: jnp.ones_like(done),
    "linear": lambda done, final: 1.0 - (1.0 - final) * done,
    "cosine": lambda done, final: final + (1.0 - final) * 0.5 * (1.0 + jnp.cos(jnp.pi * done)),
    "exponential": lambda done, final: final**done,
}
"""The factor on the rate after the share `done` of all steps; `final` is what is left of it at the end."""
FINAL = {"exponential": 0.01}


@dataclass(frozen=True)
class Rule:
    """An optimiser and a schedule without their numbers: what shapes the compiled step."""

    name: str
    decay: str = "constant"
    warmup: bool = False
    clip: bool = False

    def direction(self, numbers: Numbers) -> optax.GradientTransformation:
        """The direction of descent from a gradient."""
        row = OPTIMISERS[self.name]
        direction = row.direction(**{name: numbers[name] for name in row.options})
        return optax.chain(optax.clip_by_global_norm(numbers["clip"]), direction) if self.clip else direction

    def rate(self, numbers: Numbers, step: Any, steps: Any) -> Any:
        """The rate of a step [integer] of all `steps` [float]."""
        rate = numbers["rate"]
        if self.decay != "constant":
            rate = rate * DECAYS[self.decay](step.astype(steps.dtype) / steps, numbers["final"])
        if self.warmup:
            rate = rate * jnp.minimum(1.0, (step + 1.0) / (numbers["warmup"] * steps))
        return rate

    def moved(self, numbers: Numbers, rate: Any, theta: Any, gradient: Any, memory: Any) -> tuple[Any, Any]:
        """The free numbers and the optimiser's memory after a step against the gradient."""
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes integers and floats
            direction, memory = self.direction(numbers).update(gradient, memory, theta)
        return jax.tree.map(lambda x, d: x - rate * d, theta, direction), memory


@dataclass(frozen=True)
class Descent:
    """A rule with its numbers."""

    rule: Rule
    numbers: Mapping[str, float]

    def __str__(self) -> str:
        row = OPTIMISERS[self.rule.name].options
        words = [f"{n} = {v:g}" for n, v in self.numbers.items() if n == "rate" or (n != "final" and v != row.get(n))]
        words += [f"decay = {self.rule.decay}"] * (self.rule.decay != "constant")
        return f"{self.rule.name}({', '.join(words)})"


def descent(method: Method) -> tuple[Descent, tuple[str, ...]]:
    """The descent that `using` asks for, and what was chosen because the text does not say."""
    if not method.name:
        chosen = _descent("adam", {"decay": "cosine"})
        return chosen, (f"using {chosen}",)
    if method.name not in OPTIMISERS:
        raise ValueError(f"no optimiser is called `{method.name}`; there are {', '.join(OPTIMISERS)}")
    chosen = _descent(method.name, dict(method.arguments))
    return chosen, () if "rate" in method.arguments else (f"rate {chosen.numbers['rate']:g} of {method.name}",)


def _descent(name: str, said: dict[str, float | str]) -> Descent:
    row = OPTIMISERS[name]
    decay = str(said.pop("decay", "constant"))
    if decay not in DECAYS:
        raise ValueError(f"no decay is called `{decay}`; there are {', '.join(DECAYS)}")
    if unknown := sorted(said.keys() - row.options.keys() - {"rate", "final", "warmup", "clip"}):
        raise ValueError(
            f"{name} takes rate, decay, final, warmup, clip, {', '.join(row.options)}; not {', '.join(unknown)}"
        )
    numbers = {"rate": row.rate, **row.options, "final": FINAL.get(decay, 0.0)}
    numbers |= {word: float(value) for word, value in said.items()}
    return Descent(Rule(name, decay, bool(numbers.get("warmup")), "clip" in numbers), numbers)
