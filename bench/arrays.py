"""Arrays given by indices: runs and gradients against JAX written by hand, and what a size costs before they run.

Of the rival's forms the fastest counts, row by row and chosen after the fact. The time from text to a compiled gradient
is measured in one process at two sizes in turns, in processor time, with the rival's own growth beside it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from time import process_time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

import dpl
from bench import machine
from bench.table import Row, quick, record
from bench.timing import fastest, interleaved, ratio

HERE = Path(__file__).parent / "problems"
SIZES = (10, 100_000)
ROUNDS = 7

Rate = Callable[[Any, Mapping[str, Any]], Any]


# ---------------------------------------------------------------- by hand


def _flux(T: Array, p: Mapping[str, Any]) -> Array:
    return -p["α"] * (1 - 0.1 * T[:-1] ** 2) * (T[1:] - T[:-1])


def _heat_side_by_side(T: Array, p: Mapping[str, Any]) -> Array:
    flux, end = _flux(T, p), jnp.zeros(1)
    return jnp.concatenate([end, flux[:-1] - flux[1:], end])


def _heat_padded(T: Array, p: Mapping[str, Any]) -> Array:
    flux = _flux(T, p)
    return jnp.pad(flux[:-1] - flux[1:], 1)


def _heat_written(T: Array, p: Mapping[str, Any]) -> Array:
    flux = _flux(T, p)
    return jnp.zeros_like(T).at[1:-1].set(flux[:-1] - flux[1:])


def _rolled(u: Array) -> Array:
    return jnp.roll(u, 1, 0) + jnp.roll(u, -1, 0) + jnp.roll(u, 1, 1) + jnp.roll(u, -1, 1) - 4 * u


def _wrapped(u: Array) -> Array:
    w = jnp.pad(u, 1, mode="wrap")
    return w[:-2, 1:-1] + w[2:, 1:-1] + w[1:-1, :-2] + w[1:-1, 2:] - 4 * u


def _gray_scott(laplacian: Callable[[Array], Array]) -> Rate:
    def rate(y: Any, p: Mapping[str, Any]) -> Any:
        u, v = y
        reacts = u * v**2
        return (
            0.16 * laplacian(u) - reacts + p["F"] * (1 - u),
            0.08 * laplacian(v) + reacts - (p["F"] + p["k"]) * v,
        )

    return rate


def _run(rate: Rate, start: Any, steps: int, h: float, remat: bool) -> Callable[[Mapping[str, Any]], Any]:
    """params -> the state after `steps` of the classical Runge-Kutta method."""

    def run(p: Mapping[str, Any]) -> Any:
        def moved(y: Any, slope: Any, share: float) -> Any:
            return jax.tree.map(lambda a, b: a + share * b, y, slope)

        def step(y: Any, _: Any) -> tuple[Any, None]:
            k1 = rate(y, p)
            k2 = rate(moved(y, k1, h / 2), p)
            k3 = rate(moved(y, k2, h / 2), p)
            k4 = rate(moved(y, k3, h), p)
            return jax.tree.map(lambda y, a, b, c, d: y + h / 6 * (a + 2 * (b + c) + d), y, k1, k2, k3, k4), None

        body = jax.checkpoint(step, prevent_cse=False) if remat else step
        return lax.scan(body, start(), None, length=steps)[0]

    return run


def _by_hand(problem: str, n: int, steps: int, h: float) -> dict[str, Callable[[Mapping[str, Any]], Array]]:
    if problem == "heat":
        forms = {"side by side": _heat_side_by_side, "padded": _heat_padded, "written": _heat_written}
        rates: dict[str, Rate] = dict(forms)
        start: Callable[[], Any] = lambda: jnp.sin(jnp.pi * jnp.arange(n) / (n - 1))  # noqa: E731
        loss = lambda T: jnp.sum(T**2) / n  # noqa: E731
    else:
        rates = {"rolled": _gray_scott(_rolled), "padded": _gray_scott(_wrapped)}

        def start() -> Any:
            i = jnp.arange(n) - n / 2
            bump = jnp.exp(-(i[:, None] ** 2 + i[None] ** 2) / 40)
            return 1 - bump / 2, bump / 4

        loss = lambda y: jnp.sum(y[1] ** 2) / n**2  # noqa: E731
    found: dict[str, Callable[[Mapping[str, Any]], Array]] = {}
    for name, rate in rates.items():
        for remat in (False, True):
            run = _run(rate, start, steps, h, remat)
            found[f"{name}, {'recomputed' if remat else 'kept'}"] = lambda p, run=run: loss(run(p))
    return found


# ---------------------------------------------------------------- speed


def _text(problem: str, n: int, steps: int) -> str:
    """The problem's text of another size."""
    text = (HERE / f"{problem}.dpl").read_text()
    if problem == "heat":
        return text.replace("const n = 1000", f"const n = {n}").replace("run for 20 ", f"run for {steps * 0.1:g} ")
    return text.replace("const m = 128", f"const m = {n}").replace("run for 100 ", f"run for {steps * 0.5:g} ")


def _problem(problem: str, n: int, steps: int) -> None:
    scenario = next(iter(dpl.compile(_text(problem, n, steps)).scenarios.values()))
    params = jax.tree.map(jnp.asarray, dict(scenario.params))
    measure = next(m.name for m in scenario.spec.measures)
    hand = _by_hand(problem, n, steps, 0.1 if problem == "heat" else 0.5)
    for kind in ("forward", "gradient"):
        made = (lambda f: jax.jit(f)) if kind == "forward" else (lambda f: jax.jit(jax.grad(f)))
        calls = {"DPL": made(lambda p: scenario.evaluate(p)[measure]), **{k: made(f) for k, f in hand.items()}}
        if kind == "forward":  # what a gradient keeps changes nothing here
            calls = {k: f for k, f in calls.items() if not k.endswith("recomputed")}
        due = jax.tree.leaves(calls["DPL"](params))
        for name, call in calls.items():
            for a, b in zip(jax.tree.leaves(call(params)), due, strict=True):
                assert np.allclose(a, b, rtol=1e-9), f"{problem}: {name} disagrees: {a} instead of {b}"
        seconds = interleaved({k: (lambda f=f: jax.block_until_ready(f(params))) for k, f in calls.items()}, ROUNDS)
        best = fastest(seconds, [k for k in calls if k != "DPL"])
        ours, rival = (float(np.median(seconds[k])) for k in ("DPL", best))
        versus = ratio(seconds["DPL"], seconds[best])
        size = f"{n:,}" if problem == "heat" else f"{n} x {n}"
        speeds = f"steps/s: {steps / ours:,.0f}, {steps / rival:,.0f}"
        what = f"{problem}, {size}, {kind}"
        record(Row(what, ours, rival, versus.median, versus.low, versus.high, f"by hand, {best}", note=speeds))


# ---------------------------------------------------------------- what a size costs


def _seconds_to_gradient(n: int) -> tuple[float, float]:
    """Of DPL from the text, and of the rival from its functions."""
    began = process_time()
    scenario = next(iter(dpl.compile(_text("heat", n, 200)).scenarios.values()))
    params = jax.tree.map(jnp.asarray, dict(scenario.params))
    jax.jit(jax.grad(lambda p: scenario.evaluate(p)["energy"])).lower(params).compile()
    between = process_time()
    jax.jit(jax.grad(_by_hand("heat", n, 200, 0.1)["side by side, recomputed"])).lower(params).compile()
    return between - began, process_time() - between


def _growth() -> None:
    _seconds_to_gradient(7)  # what is done once in a process
    seconds = np.array([[_seconds_to_gradient(n + k) for n in SIZES] for k in range(3 if quick() else ROUNDS)])
    for name, rows in (("text to gradient, DPL", seconds[..., 0]), ("functions to gradient, by hand", seconds[..., 1])):
        small, large = np.median(rows, axis=0)
        growth = ratio(rows[:, 1], rows[:, 0])
        by = f"itself at n = {SIZES[0]}"
        record(Row(name, float(large), float(small), growth.median, growth.low, growth.high, by))


def main() -> None:
    os.environ["DPL_NO_CACHE"] = "1"
    print("arrays: steps of rk4, float64; DPL's time over that of the fastest rival, target <= 1.0")
    print(f"  {machine.described('jax', 'jaxlib', 'numpy')}")
    _problem("heat", 1000, 200)
    _problem("heat", 100_000, 50)
    _problem("gray_scott", 128, 50)
    print(f"  processor time before a gradient runs, n = {SIZES[1]:,} over n = {SIZES[0]}, target <= 1.2")
    _growth()


if __name__ == "__main__":
    sys.exit(main())
