"""A thousand different values of params, givens and starts: how often anything is traced, and µs per call.

The rival is a jitted function by hand that takes the same numbers. `evaluate` checks what it gets and converts units
each time; within a jitted function of the user's it does so once, while that is traced.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dpl
from bench import machine
from bench.rivals import Form, pendulum
from bench.timing import interleaved, ratio, shown

FILE = Path(__file__).parent / "problems" / "pendulum.dpl"
CALLS = 1000


def main() -> None:
    print(f"retrace: the pendulum, {CALLS:,} different values, float64; target 1 trace")
    print(f"  {machine.described('jax', 'jaxlib')}")
    scenario = dpl.load(FILE).scenarios["Bench"]
    traces = [0]

    @jax.jit
    def hand(params: Any, start: Any) -> Any:
        traces[0] += 1
        return pendulum({"pendulum.m": 1.0, "pendulum.l": 1.0, **params}, start, Form(stacked=False, remat=False))

    @jax.jit
    def within(params: Any, start: Any) -> Any:
        return scenario.evaluate(params, {"θ0": start})

    ways: dict[str, Callable[[Any, Any], Any]] = {
        "evaluate": lambda params, start: scenario.evaluate(params, {"θ0": start}),
        "within a user's jit": within,
        "by hand": hand,
    }
    seconds = interleaved({name: _changing(call) for name, call in ways.items()}, 9, most=CALLS // 9 + 1)
    _starts(scenario)
    for name, values in seconds.items():
        versus = "" if name == "by hand" else f"   {ratio(values, seconds['by hand'])} of by hand"
        print(f"  {name:20} {shown(float(np.median(values))):>8} a call{versus}")
    floor = float(np.median(seconds["evaluate"] - seconds["by hand"]))
    print(f"  what `evaluate` adds: {shown(max(floor, 0.0))} a call")
    print(f"  traces: DPL {dict(scenario.traces)} of the run, by hand {traces[0]}")


def _changing(call: Callable[[Any, Any], Any]) -> Callable[[], Any]:
    """The call with another friction and start each time, as Python numbers."""
    numbers = count()

    def once() -> Any:
        n = next(numbers)
        return jax.block_until_ready(call({"pendulum.b": 0.1 + 1e-4 * n}, 0.5 + 1e-4 * n))

    for _ in range(3):
        once()
    return once


def _starts(scenario: Any) -> None:
    """The rest of the thousand: every kind of value, as Python numbers, NumPy and JAX scalars."""
    kinds: list[Callable[[float], Any]] = [float, np.float64, np.asarray, jnp.asarray]
    for n in range(CALLS):
        value = kinds[n % 4](0.5 + 1e-4 * n)
        scenario.evaluate({"pendulum.l": value}, {"θ0": value}, {"pendulum.ω": value})


if __name__ == "__main__":
    main()
