"""Training `gunner` of examples/cannon.dpl against a jitted Optax loop by hand; time per step, and how well it aims.

Between them stands a loop by hand over DPL's own scenario: the first minus it is what the engine costs, it minus the
last what the scenario costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import dpl
from bench import machine
from bench.timing import ratio

FILE = Path(__file__).parents[1] / "examples" / "cannon.dpl"
ROUNDS, TARGETS = 7, 1000
TARGET = 1.8
"""Mean error [cm] to reach"""

Error = Callable[[Any, Any], Any]
"""(weights, targets) -> error [m] of each"""


def main() -> None:
    program = dpl.load(FILE)
    task, scenario = program.tasks["gunner"], program.scenarios["Aimed"]
    steps, batch, rate = task.counts["steps"], task.counts["batch"], float(task.method.arguments["rate"])
    assert dict(task.method.arguments) == {"rate": rate, "decay": "cosine"}, "the loop by hand decays by a cosine"
    print(f"cannon: train gunner, {steps:,} steps of {batch}, float64\n  {machine.described('jax', 'jaxlib', 'optax')}")
    errors_of = {"loop over DPL's scenario": _scenario_error(scenario), "by hand": _error}
    loops = {name: _loop(error, steps, batch, rate) for name, error in errors_of.items()}
    compiling = {name: _seconds(lambda loop=loop: loop(_fresh(0), _key(0)))[0] for name, loop in loops.items()}
    engine = program.run("gunner", seed=0)["gunner"]
    compiling["DPL"] = engine.seconds.compile
    run: dict[str, list[float]] = {name: [] for name in ("DPL", *loops)}
    errors: dict[str, list[float]] = {"DPL": [], "by hand": []}
    for seed in range(1, ROUNDS + 1):
        _round(program, loops, seed, run, errors)
    _report({name: 1e6 * np.asarray(values) / steps for name, values in run.items()}, compiling, errors)


def _round(
    program: Any, loops: dict[str, Any], seed: int, run: dict[str, list[float]], errors: dict[str, list[float]]
) -> None:
    """Each contender once, from fresh weights, in an order that turns with the seed."""
    targets = 1.0 + 8.0 * jax.random.uniform(jax.random.key(1_000 + seed), (TARGETS,))
    for name in list(run)[:: -1 if seed % 2 else 1]:
        if name == "DPL":
            program.set("aim", _fresh(seed))
            result = program.run("gunner", seed=seed)["gunner"]
            run[name].append(result.seconds.run)
            weights = result.params["aim"]
        else:
            seconds, weights = _seconds(lambda name=name: loops[name](_fresh(seed), _key(seed)))
            run[name].append(seconds)
        if name in errors:
            errors[name].append(100 * float(jnp.mean(_error(weights, targets))))


def _report(run: dict[str, np.ndarray], compiling: dict[str, float], errors: dict[str, list[float]]) -> None:
    for name, values in run.items():
        versus = "" if name == "by hand" else f"   {ratio(values, run['by hand'])} of by hand, target <= 1.0"
        print(f"  {name:26} {np.median(values):6.1f} µs a step   first call {compiling[name]:.2f} s{versus}")
    overhead = np.median(run["DPL"] - run["loop over DPL's scenario"])
    print(f"  engine overhead            {overhead:6.1f} µs a step (median of differences)")
    for name, values in errors.items():
        shown = f"{np.median(values):.2f} cm ({min(values):.2f}..{max(values):.2f})"
        print(f"  {name:26} mean true error {shown} over {TARGETS:,} targets, {ROUNDS} seeds; target <= {TARGET} cm")


# ---------------------------------------------------------------- by hand


def _loop(error: Error, steps: int, batch: int, rate: float) -> Callable[[Any, Any], Any]:
    """All steps as one compiled scan: fresh targets, mean squared error, Adam with a cosine decay."""
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def loss(weights: Any, targets: Any) -> Any:
        return jnp.mean(error(weights, targets) ** 2)

    def step(carry: Any, key: Any) -> tuple[Any, Any]:
        weights, memory = carry
        targets = jax.random.uniform(key, (batch,), minval=1.0, maxval=9.0)
        value, gradient = jax.value_and_grad(loss)(weights, targets)
        with jax.numpy_dtype_promotion("standard"):
            change, memory = optimiser.update(gradient, memory, weights)
        return (optax.apply_updates(weights, change), memory), value

    def train(weights: Any, key: Any) -> Any:
        (weights, _), _ = lax.scan(step, (weights, optimiser.init(weights)), jax.random.split(key, steps))
        return weights

    return jax.jit(train)


def _error(weights: Any, targets: Any) -> Any:
    """How far the shots miss, as a whole batch at once."""
    layer = ((targets - 5.0) / 4.0)[:, None]
    *hidden, (w, b) = zip(weights["w"], weights["b"], strict=True)
    for matrix, bias in hidden:
        layer = jnp.tanh(layer @ matrix + bias)
    share = jax.nn.sigmoid(2.0 * (layer @ w + b))
    speed, angle = 0.5 + 9.5 * share[:, 0], 0.02 + 1.53 * share[:, 1]
    return jnp.abs(speed**2 * jnp.sin(2.0 * angle) / 9.81 - targets)


def _scenario_error(scenario: Any) -> Error:
    one = lambda weights, target: scenario.evaluate({"aim": weights}, {"target": target})["error"]  # noqa: E731
    return jax.vmap(one, (None, 0))


def _fresh(seed: int) -> Any:
    sizes = (1, 32, 32, 2)
    keys = jax.random.split(_key(seed), len(sizes) - 1)
    pairs = zip(keys, sizes, sizes[1:], strict=False)
    return {
        "w": tuple(jax.random.normal(key, (m, n)) / math.sqrt(m) for key, m, n in pairs),
        "b": tuple(jnp.zeros(n) for n in sizes[1:]),
    }


def _key(seed: int) -> Any:
    return jax.random.key(seed)


def _seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    began = perf_counter()
    result = jax.block_until_ready(call())
    return perf_counter() - began, result


if __name__ == "__main__":
    main()
