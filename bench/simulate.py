"""Fixed-step runs and their gradients with respect to params, one and 1,024 at once, against JAX written by hand.

A gradient is that of the mean loss over the runs. Of the rival's forms the fastest counts, by its median, chosen per
row after the fact. `python -m bench simulate` measures all problems, `python -m bench.simulate NAME…` those named.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dpl
from bench import machine
from bench.rivals import FORMS, RIVALS, Form
from bench.table import Row, record
from bench.timing import fastest, interleaved, ratio

HERE = Path(__file__).parent
BATCH, ROUNDS = 1024, 15
STARTS = {
    "pendulum": ("θ0", 0.2, 2.0),
    "double_pendulum": ("θ0", 0.2, 1.5),
    "cart_pole": ("θ0", -0.1, 0.1),
    "lotka_volterra": ("prey0", 20.0, 40.0),
    "mass_spring_damper": ("x0", 0.05, 0.2),
}
"""The given that differs from run to run, and between which values"""

Run = Callable[[Any, Any], tuple[Any, Any]]
"""(params, start) -> loss, final value"""


@dataclass(frozen=True)
class Task:
    """What is timed: a function of params and of one start or an array of them."""

    name: str
    start: Any
    made: Callable[[Run], Callable[[Any, Any], Any]]
    forms: tuple[Form, ...]


def main(names: list[str] | None = None) -> None:
    print("simulate: 500 steps (cart-pole: 250 ticks), float64; DPL over the fastest rival, target <= 1.0")
    print(f"  {machine.described('jax', 'jaxlib', 'numpy')}")
    print(f"  {'':42} {'DPL/rival':>23} {'DPL':>9} {'rival':>9}   first calls      rival's form")
    for name in names or RIVALS:
        _problem(name)


def _problem(name: str) -> None:
    scenario = next(iter(dpl.load(HERE / "problems" / f"{name}.dpl").scenarios.values()))
    params = jax.tree.map(jnp.asarray, scenario.params)
    given, low, high = STARTS[name]

    def ours(params: Any, start: Any) -> tuple[Any, Any]:
        measured = scenario.evaluate(params, {given: start})
        return measured["cost"], measured["end"]

    rivals: dict[Form, Run] = {
        form: lambda params, start, form=form: RIVALS[name](params, start, form) for form in FORMS
    }
    for task in _tasks(jnp.asarray(0.5 * (low + high)), jnp.linspace(low, high, BATCH)):
        _measure(name, task, ours, rivals, params)


def _tasks(one: Any, many: Any) -> list[Task]:
    def mean(run: Run) -> Callable[[Any, Any], Any]:
        return lambda params, starts: jnp.mean(jax.vmap(run, (None, 0))(params, starts)[0])

    plain = tuple(form for form in FORMS if not form.remat)
    return [
        Task("1 run", one, lambda run: run, plain),
        Task("1 run, gradient", one, lambda run: jax.grad(lambda *a: run(*a)[0]), FORMS),
        Task(f"{BATCH:,} runs", many, lambda run: jax.vmap(run, (None, 0)), plain),
        Task(f"{BATCH:,} runs, gradient", many, lambda run: jax.grad(mean(run)), FORMS),
    ]


def _measure(name: str, task: Task, ours: Run, rivals: Mapping[Form, Run], params: Any) -> None:
    functions = {str(form): jax.jit(task.made(rivals[form])) for form in task.forms}
    functions["DPL"] = jax.jit(task.made(ours))
    first: dict[str, float] = {}
    values: dict[str, Any] = {}
    for contender, function in functions.items():
        began = perf_counter()
        values[contender] = jax.block_until_ready(function(params, task.start))
        first[contender] = perf_counter() - began
    for contender, value in values.items():
        _assert_same(f"{name}, {task.name}: {contender}", value, values["DPL"])
    seconds = interleaved(
        {c: lambda f=f: jax.block_until_ready(f(params, task.start)) for c, f in functions.items()}, ROUNDS
    )
    best = fastest(seconds, [str(form) for form in task.forms])
    compared, ours, rival = ratio(seconds["DPL"], seconds[best]), *(np.median(seconds[c]) for c in ("DPL", best))
    spread = compared.median, compared.low, compared.high
    record(Row(f"{name}, {task.name}", float(ours), float(rival), *spread, best, first["DPL"], first[best]))


def _assert_same(what: str, value: Any, expected: Any) -> None:
    """Both to 1e-9 of the size of the whole array, or of 1."""
    for a, b in zip(jax.tree.leaves(value), jax.tree.leaves(expected), strict=True):
        scale = max(1.0, float(jnp.max(jnp.abs(b))))
        worst = float(jnp.max(jnp.abs(a - b)))
        assert worst <= 1e-9 * scale, f"{what} differs from DPL by {worst:.2e} (of {scale:.2e})"


if __name__ == "__main__":
    main(sys.argv[1:])
