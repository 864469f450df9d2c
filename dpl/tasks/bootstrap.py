"""How well so many runs tell what reduces over runs: intervals by the bootstrap, the runs drawn again from themselves.

Efron and Tibshirani (1993), An introduction to the bootstrap, section 13.3: percentile intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime.spec import Comparison

Interval = tuple[float, float]

RESAMPLES = 400
FEWEST = 100
WORK = 2e7
"""So many numbers are drawn again at the most, while there are not too few resamples"""
TAIL = 0.025


def intervals(
    comparisons: Sequence[Comparison], results: Mapping[str, np.ndarray], seed: int
) -> list[tuple[Interval | None, ...]]:
    """The 95 % interval [SI] of each operand of each comparison; None of what every run must meet, or is certain.

    Args:
        results: SI, arrays over runs.
    """
    runs = next(iter(results.values())).size if results else 0
    found: list[tuple[Interval | None, ...]] = [(None,) * (len(c.ops) + 1) for c in comparisons]
    reducing = [i for i, c in enumerate(comparisons) if not c.per_run]
    if runs < 2 or not reducing:
        return found
    keys = jax.random.split(jax.random.key(seed), int(max(FEWEST, min(RESAMPLES, WORK // runs))))
    drawn = _resampled(tuple(comparisons[i] for i in reducing))(keys, dict(results))
    for i, operands in zip(reducing, drawn, strict=True):
        found[i] = tuple(_interval(np.asarray(values)) for values in operands)
    return found


@lru_cache(maxsize=16)
def _resampled(comparisons: tuple[Comparison, ...]) -> Callable[..., Any]:
    """(keys [resamples], results [runs]) -> the operands of each comparison [resamples], compiled."""

    def again(key: Any, results: Mapping[str, Any]) -> Any:
        runs = next(iter(results.values())).size
        some = jax.random.randint(key, (runs,), 0, runs)
        met = {name: values[some] for name, values in results.items()}
        return [[jnp.asarray(x, float) for x in c.operands(met)] for c in comparisons]

    return jax.jit(lambda keys, results: jax.lax.map(lambda key: again(key, results), keys))


def _interval(values: np.ndarray) -> Interval | None:
    low, high = np.quantile(values, [TAIL, 1 - TAIL])
    return (float(low), float(high)) if np.isfinite([low, high]).all() and low < high else None
