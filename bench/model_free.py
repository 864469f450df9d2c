"""CartPole-v1 for learners that see no equations: what they spend until the pole stays up.

Spent are episodes of the environment and its steps. After each change of what a learner would play, that is judged in
100 other episodes, which count for nothing; where it gets a mean of 195 and of 475, what was spent is noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

GOALS = (195.0, 475.0)
LONGEST = 500
"""Steps of an episode at the most"""

Act = Callable[[np.ndarray], np.ndarray]
"""(state [4, n]: x, v, angle, its rate) -> whether to push to the right [n]"""


# ---------------------------------------------------------------- the environment


def moved(state: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The state [4, n] one step later; gymnasium/envs/classic_control/cartpole.py, many at once."""
    x, v, angle, rate = state
    force = np.where(right, 10.0, -10.0)
    sine, cosine = np.sin(angle), np.cos(angle)
    push = (force + 0.05 * rate**2 * sine) / 1.1
    turn = (9.8 * sine - cosine * push) / (0.5 * (4.0 / 3.0 - 0.1 * cosine**2 / 1.1))
    along = push - 0.05 * turn * cosine / 1.1
    return np.stack([x + 0.02 * v, v + 0.02 * along, angle + 0.02 * rate, rate + 0.02 * turn])


def fallen(state: np.ndarray) -> np.ndarray:
    return (np.abs(state[0]) > 2.4) | (np.abs(state[2]) > 12 * 2 * np.pi / 360)


def begun(random: np.random.Generator, count: int) -> np.ndarray:
    return random.uniform(-0.05, 0.05, (4, count))


def returns(act: Act, random: np.random.Generator, count: int = 100) -> np.ndarray:
    """Of so many episodes, side by side."""
    state, lasted, up = begun(random, count), np.zeros(count), np.ones(count, bool)
    for _ in range(LONGEST):
        state = np.where(up, moved(state, act(state)), state)
        lasted += up
        up &= ~fallen(state)
        if not up.any():
            break
    return lasted


# ---------------------------------------------------------------- what is spent


@dataclass
class Spent:
    """Episodes and steps so far, and what had been spent when each goal was reached."""

    episodes: int = 0
    steps: int = 0
    reached: dict[float, tuple[int, int]] = field(default_factory=dict[float, tuple[int, int]])

    def judged(self, act: Act, seed: int) -> bool:
        """Whether all goals are reached; notes those that are for the first time."""
        mean = returns(act, np.random.default_rng([seed, 1])).mean()
        for goal in GOALS:
            if mean >= goal:
                self.reached.setdefault(goal, (self.episodes, self.steps))
        return len(self.reached) == len(GOALS)


def spent(learner: Callable[[Spent, int], Iterator[Act]], seed: int, most: int = 200_000) -> Spent:
    """Until all goals are reached, or most steps are spent."""
    total = Spent()
    for act in learner(total, seed):
        if total.judged(act, seed) or total.steps > most:
            break
    return total


# ---------------------------------------------------------------- random search


def random_search(total: Spent, seed: int) -> Iterator[Act]:
    """Linear laws at random, each for an episode, and for two more if that was as good as the best so far."""
    random, best = np.random.default_rng(seed), -1.0
    while True:
        gains = random.uniform(-1.0, 1.0, 4)
        act: Act = lambda state, gains=gains: gains @ state > 0  # noqa: E731
        score = _played(act, random, 1, total)
        if score >= best:
            score = (score + 2 * _played(act, random, 2, total)) / 3
        if score >= best:  # as good will do: three whole episodes may be luck
            best = score
            yield act


def _played(act: Act, random: np.random.Generator, count: int, total: Spent) -> float:
    lasted = returns(act, random, count)
    total.episodes += count
    total.steps += int(lasted.sum())
    return float(lasted.mean())


# ---------------------------------------------------------------- PPO


@dataclass(frozen=True)
class PPO:
    """Proximal policy optimisation, Schulman et al. (2017), arXiv:1707.06347; advantages by GAE, arXiv:1506.02438."""

    carts: int = 1
    length: int = 128
    epochs: int = 20
    rate: float = 3e-3
    discount: float = 0.98
    decay: float = 0.8
    clip: float = 0.2
    hidden: int = 64

    def __call__(self, total: Spent, seed: int) -> Iterator[Act]:
        random = np.random.default_rng(seed)
        weights = {name: _fresh(random, self.hidden) for name in ("policy", "value")}
        optimiser = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(self.rate))
        memory = optimiser.init(weights)
        improve = jax.jit(partial(self._improved, optimiser))
        state, age = begun(random, self.carts), np.zeros(self.carts, int)
        total.episodes += self.carts
        while True:
            batch, state, age = self._collected(weights, state, age, random, total)
            weights, memory = improve(weights, memory, batch)
            weights = jax.device_get(weights)
            yield lambda state, policy=weights["policy"]: _network(policy, state.T, np) > 0

    def _collected(
        self, weights: Any, state: np.ndarray, age: np.ndarray, random: np.random.Generator, total: Spent
    ) -> tuple[Any, np.ndarray, np.ndarray]:
        """States, actions, their log odds and probabilities, advantages and targets of the value [length, carts]."""
        rows: list[tuple[Any, ...]] = []
        for _ in range(self.length):
            logit, value = (_network(weights[name], state.T, np) for name in ("policy", "value"))
            right = random.uniform(size=self.carts) < 1 / (1 + np.exp(-logit))
            after, age = moved(state, right), age + 1
            down, over = fallen(after), fallen(after) | (age >= LONGEST)
            ahead = np.where(down, 0.0, _network(weights["value"], after.T, np))  # an episode cut short has a future
            rows.append((state.T, right, _log_probability(logit, right, np), value, ahead, over))
            state = np.where(over, begun(random, self.carts), after)
            age = np.where(over, 0, age)
            total.episodes += int(over.sum())
            total.steps += self.carts
        seen, right, old, value, ahead, over = (np.stack(column) for column in zip(*rows, strict=True))
        surprise = 1.0 + self.discount * ahead - value
        advantage, later = np.zeros_like(value), np.zeros(self.carts)
        for t in reversed(range(self.length)):
            later = surprise[t] + self.discount * self.decay * np.where(over[t], 0.0, later)
            advantage[t] = later
        return (seen, right, old, advantage, advantage + value), state, age

    def _improved(self, optimiser: Any, weights: Any, memory: Any, batch: Any) -> tuple[Any, Any]:
        """Some epochs of the whole batch at once."""
        seen, right, old, advantage, target = batch
        scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-8)

        def loss(weights: Any) -> Any:
            ratio = jnp.exp(_log_probability(_network(weights["policy"], seen, jnp), right, jnp) - old)
            gain = jnp.minimum(ratio * scaled, jnp.clip(ratio, 1 - self.clip, 1 + self.clip) * scaled)
            return 0.5 * jnp.mean((_network(weights["value"], seen, jnp) - target) ** 2) - jnp.mean(gain)

        def epoch(carry: Any, _: Any) -> Any:
            weights, memory = carry
            change, memory = optimiser.update(jax.grad(loss)(weights), memory, weights)
            return (optax.apply_updates(weights, change), memory), None

        with jax.numpy_dtype_promotion("standard"):
            return jax.lax.scan(epoch, (weights, memory), None, length=self.epochs)[0]


def _fresh(random: np.random.Generator, hidden: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two hidden layers; the last one small, so that nothing is believed at first."""
    sizes = [(4, hidden), (hidden, hidden), (hidden, 1)]
    scales = (np.sqrt(2), np.sqrt(2), 0.01)
    return [(s * random.standard_normal(n) / np.sqrt(n[0]), np.zeros(n[1])) for n, s in zip(sizes, scales, strict=True)]


def _network(weights: Any, seen: Any, xp: Any) -> Any:
    *hidden, (w, b) = weights
    for matrix, bias in hidden:
        seen = xp.tanh(seen @ matrix + bias)
    return (seen @ w + b)[..., 0]


def _log_probability(logit: Any, right: Any, xp: Any) -> Any:
    return -xp.logaddexp(0.0, xp.where(right, -logit, logit))
