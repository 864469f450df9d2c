"""Which runs a task meets, and what a scenario measures on them.

Run `index` of a seed has the same givens in every task; nothing here depends on how many are evaluated at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import compiling, devices, hybrid, noise
from dpl.runtime.memory import MemoryNeeded
from dpl.runtime.program import Scenario, honest
from dpl.tasks.result import Quantity, Sample, Seconds, declared

BATCH = 256
"""Runs evaluated at once where the text does not say."""


def stream(seed: int, word: str) -> int:
    """The seed of another stream of samples, named by a word: verification meets runs that training has not met."""
    return int.from_bytes(hashlib.sha256(f"{seed} {word}".encode()).digest()[:4]) >> 1


def varying(scenario: Scenario, pinned: frozenset[str]) -> frozenset[str]:
    """The givens in which one run differs from another, its input signals, and its noise."""
    drawn = (given.name for given in scenario.spec.givens if given.distribution or given.listed or given.data)
    return frozenset((*drawn, *scenario.spec.signals, *([noise.NAME] if scenario.spec.noises else ()))) - pinned


def drawn(
    scenario: Scenario, pinned: frozenset[str], base: Mapping[str, Any], seed: Any, indices: Any
) -> dict[str, Any]:
    """What differs in some runs [SI]: givens, signals, and noise; those that are pinned keep one value.

    `base` are all SI values of the scenario, of which those of the rows of data are read.
    """
    names = varying(scenario, pinned)
    return {name: value for name, value in scenario.draw(seed, indices, base).items() if name in names}


def rows(scenario: Scenario, pinned: frozenset[str]) -> int | None:
    """How many runs the data make, where these differ in what a row or group of data says; None of others."""
    spec = scenario.spec
    different = {*(given.name for given in spec.givens if given.data), *spec.signals} - pinned
    return len(scenario.said.whole) if different and scenario.said is not None else None


def sample(scenario: Scenario, givens: Mapping[str, Any], index: int, position: int) -> Sample:
    """Run `index`, which stands at `position` of the arrays `givens`, as a user reads it."""
    units = {given.name: given.unit for given in scenario.spec.givens}
    shown: dict[str, Quantity] = {
        name: declared(values[position], units[name]) for name, values in givens.items() if name in units
    }
    return Sample(index, shown)


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What a scenario measures on runs 0, 1, … of a seed [SI], arrays over runs; `status` as in `runtime/solve.py`."""

    givens: Mapping[str, np.ndarray]
    results: Mapping[str, np.ndarray]
    status: np.ndarray
    seconds: Seconds

    def notes(self, scenario: Scenario) -> tuple[str, ...]:
        """What is to be said of the events of these runs."""
        return tuple(hybrid.notes_of_many(scenario.spec, self.results, self.status.size))


def evaluate(
    scenario: Scenario,
    base: Mapping[str, Any],
    pinned: frozenset[str],
    seed: int,
    samples: int,
    told: Callable[[int], None] = lambda done: None,
) -> Evaluated:
    """What the scenario measures on runs 0 to `samples` - 1 of a seed, in batches of one size: one program is compiled.

    The seconds of the first batch count as compiling.
    """
    began = perf_counter()
    compiled = _evaluator(scenario, pinned)
    parts, batch = _first(lambda batch: compiled(base, seed, jnp.arange(batch)), min(samples, BATCH))
    first = perf_counter()
    for done in range(batch, samples, batch):
        told(done)
        parts.append(jax.block_until_ready(compiled(base, seed, done + jnp.arange(batch))))
    givens, results, status = jax.tree.map(lambda *xs: np.concatenate(xs)[:samples], *parts)
    return Evaluated(givens, results, status, Seconds(first - began, perf_counter() - first))


def _first(runs: Callable[[int], Any], batch: int) -> tuple[list[Any], int]:
    """What the first batch measures, of so many runs as memory has room for; and how many these are."""
    while True:
        try:
            return [jax.block_until_ready(runs(batch))], batch
        except MemoryNeeded as error:
            if batch == 1:
                raise
            batch = max(1, min(batch // 2, batch * error.free // (2 * error.needed)))


@lru_cache(maxsize=16)
def _evaluator(scenario: Scenario, pinned: frozenset[str]) -> Callable[..., Any]:
    def run(base: Mapping[str, Any], seed: Any, indices: Any) -> tuple[Any, Any, Any]:
        indices = devices.spread(indices)
        givens = drawn(scenario, pinned, base, seed, indices)
        results, status = jax.vmap(lambda row, _: scenario.measures_si({**base, **row}))(givens, indices)
        return givens, jax.vmap(honest)(results, status), status

    return compiling.jit(run, scenario.pieces, (scenario, pinned))
