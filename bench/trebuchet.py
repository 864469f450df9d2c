"""The trebuchet: shots and their derivatives, one aim and one question to the network, against JAX by hand.

Both sides are also compared with a tight solve, for speed counts at equal accuracy alone. Derivatives are of forward
mode, by release and by weight.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dpl
from bench import catapult, machine
from bench.timing import interleaved, ratio, shown

FILE = Path(__file__).parents[1] / "examples" / "trebuchet.dpl"
BATCH, ROUNDS = 1024, 5
TIGHT, LOOSE = "using tsit5(rtol = 1e-11, atol = 1e-13)", "using tsit5(rtol = 1e-5, atol = 1e-6)"
COUNT = (24, 128, 40)
FINER = {"by hand": 1, "by hand, half the step": 2, "by hand, a quarter": 4}
WIND, TARGET = 2.0, 80.0

SHOT = """
from trebuchet import Trebuchet
scenario Shot {{
  given wind: m/s = -2; given release: deg = 45; given weight: lb = 200
  part trebuchet = Trebuchet(wind = wind, release = release, weight = weight)
  run until stop within 30 [s] {method}
  metric range = final(trebuchet.range)
}}
"""
AIM = f"""
from trebuchet import Trebuchet
scenario Direct {{
  param release: deg = 45 in 5..80; param weight: lb = 200 in 60..660
  part trebuchet = Trebuchet(wind = {WIND} [m/s], release = release, weight = weight)
  run until stop within 30 [s]
  metric error = abs(final(trebuchet.range) - {TARGET} [m])
}}
optimize aim {{ on Direct; vary release, weight; minimize error²; until error < 1 [mm] }}
"""
Shot = Callable[[Any, Any, Any], Any]
"""(wind [m/s], release [°], weight [lb]) -> distance [m], or it and both derivatives"""


def main() -> None:
    print(f"trebuchet: DPL and by hand, {BATCH:,} shots at once\n  {machine.described('jax', 'jaxlib', 'numpy')}")
    _once()
    shots = _settings()
    exact = np.asarray(jax.jit(jax.vmap(_ours(TIGHT)))(*shots))
    slopes = np.asarray(jax.jit(partial(_by_hand, catapult.with_tangents))(8.0, *shots))
    assert np.max(np.abs(slopes[0] - exact)) < 1e-5, "both tight solves do not agree"
    for dtype in (jnp.float32, jnp.float64):
        for tangents in (False, True):
            _many(dtype, tangents, [jnp.asarray(x, dtype) for x in shots], np.vstack([exact, slopes[1:]]))
    _aim()
    _asked()


def _settings() -> list[Any]:
    low, high = np.array([[-10.0, 10.0], [20.0, 70.0], [60.0, 660.0]]).T
    return list(jnp.asarray(np.random.default_rng(0).uniform(low, high, (BATCH, 3)).T))


# ---------------------------------------------------------------- shots


def _ours(method: str) -> Shot:
    """DPL's run in the type of its arguments: every value that it reads is of it."""
    scenario = dpl.compile(SHOT.format(method=method)).scenarios["Shot"]
    values = scenario.values_si()

    def shot(wind: Any, release: Any, weight: Any) -> Any:
        given = {"wind": wind, "release": release * catapult.DEGREE, "weight": weight * catapult.POUND}
        stored = jax.tree.map(lambda v: jnp.asarray(v, wind.dtype), values)
        return scenario.measures_si(stored | given, "forward")[0]["range"]

    return shot


def _tangents(shot: Shot) -> Shot:
    """One run with its two derivatives."""

    def pushed(wind: Any, release: Any, weight: Any) -> Any:
        one, none = jnp.ones_like(release), jnp.zeros_like(release)
        push = lambda r, w: jax.jvp(partial(shot, wind), (release, weight), (r, w))  # noqa: E731
        value, (by_release, by_weight) = jax.vmap(push, out_axes=(None, 0))(
            jnp.stack([one, none]), jnp.stack([none, one])
        )
        return value, by_release, by_weight

    return pushed


def _by_hand(function: Callable[..., Any], finer: Any, *shot: Any) -> Any:
    return function(*shot, count=tuple(jnp.asarray(n * finer, shot[0].dtype) for n in COUNT))


def _once() -> None:
    """What one shot costs before it is fired."""
    one = [jnp.asarray(value) for value in (-2.0, 45.0, 200.0)]
    ours, hand = _ours(""), {False: catapult.distance, True: catapult.with_tangents}
    for tangents, name in ((False, "forward"), (True, "with two tangents")):
        dpl_s, _ = _compiled(_tangents(ours) if tangents else ours, one)
        hand_s, _ = _compiled(partial(_by_hand, hand[tangents], 1.0), one)
        print(
            f"  one shot, {name:18} trace + compile: DPL {dpl_s:5.1f} s, by hand {hand_s:5.1f} s, {dpl_s / hand_s:.2f}"
        )


def _compiled(function: Callable[..., Any], arguments: list[Any]) -> tuple[float, Any]:
    began = perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    return perf_counter() - began, compiled


def _many(dtype: Any, tangents: bool, shots: list[Any], exact: np.ndarray) -> None:
    """One block of the table: every contender, its speed, and how far it is from a tight solve."""
    ours = {"DPL": ""} if dtype == jnp.float32 else {"DPL": "", "DPL, rtol 1e-5": LOOSE}
    first: dict[str, float] = {}
    calls: dict[str, Callable[[], Any]] = {}
    for name, method in ours.items():
        shot = _ours(method)
        first[name], compiled = _compiled(jax.vmap(_tangents(shot) if tangents else shot), shots)
        calls[name] = partial(compiled, *shots)
    hand = partial(_by_hand, catapult.with_tangents if tangents else catapult.distance)
    seconds, compiled = _compiled(hand, [jnp.asarray(1.0, dtype), *shots])
    for name, finer in FINER.items():
        first[name], calls[name] = seconds, partial(compiled, jnp.asarray(finer, dtype), *shots)
    found = {name: np.atleast_2d(np.asarray(call(), float)) for name, call in calls.items()}
    taken = interleaved({n: lambda c=c: jax.block_until_ready(c()) for n, c in calls.items()}, ROUNDS)
    print(f"  {BATCH:,} shots, {'with two tangents' if tangents else 'forward'}, {np.dtype(dtype).name}")
    for name, values in taken.items():
        error = np.abs(found[name] - exact[: len(found[name])])
        print(f"    {name:24}{_row(values, taken['by hand'], first[name], error, exact)}", flush=True)


def _row(values: np.ndarray, rival: np.ndarray, first: float, error: np.ndarray, exact: np.ndarray) -> str:
    slopes = f", slopes {np.max(error[1:] / np.max(np.abs(exact[1:]), axis=1)[:, None]):.0e}" if len(error) > 1 else ""
    return (
        f"{BATCH / np.median(values):9,.0f} shots/s   time {ratio(values, rival)} of by hand   compile {first:5.1f} s"
        f"   error median {np.median(error[0]):.0e}, worst {np.max(error[0]):.0e} m{slopes}"
    )


# ---------------------------------------------------------------- one aim, one question


def _aim() -> None:
    """From 45° and 200 lb until the miss is below 1 mm: each settles the settings in its own way.

    DPL's task is run once, for a task compiles anew.
    """
    program = dpl.compile(AIM)
    result: Any = program.run("aim")["aim"]
    where = [jnp.asarray(WIND), jnp.asarray(TARGET)]
    hand_s, compiled = _compiled(lambda *a: catapult.aimed(*a, count=tuple(map(float, COUNT))), where)
    iterations = int(jax.block_until_ready(compiled(*where))[2])
    taken = interleaved({"by hand": lambda: jax.block_until_ready(compiled(*where))}, ROUNDS)
    times = {"DPL": result.seconds.run, "by hand": float(np.median(taken["by hand"]))}
    counted = {"DPL": (int(result.iterations[0]), result.seconds.compile), "by hand": (iterations, hand_s)}
    print(f"  one aim at {TARGET:.0f} m to 1 mm, float64")
    for name, (number, compiling) in counted.items():
        print(f"    {name:8} {number} iterations, {shown(times[name])}, compile {compiling:.1f} s", flush=True)


def _asked() -> None:
    """The network of the example as it is exported, beside NumPy by hand with the same weights."""
    program = dpl.load(FILE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "aim.py"
        program.controllers["aim"].export(path)
        spec: Any = importlib.util.spec_from_file_location("aim", path)
        module: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    hand = _network(next(program.values[key] for key in program.scenarios["Shot"].keys.values() if key == "aim"))
    assert np.allclose(module.aim(WIND, TARGET), hand(WIND, TARGET), rtol=1e-9)
    taken = interleaved({"DPL": lambda: module.aim(WIND, TARGET), "by hand": lambda: hand(WIND, TARGET)}, 15)
    told = ", ".join(f"{name} {shown(float(np.median(values)))}" for name, values in taken.items())
    print(
        f"  one question to the network in NumPy, float64: {told}, {ratio(taken['DPL'], taken['by hand'])} of by hand"
    )


def _network(weights: Mapping[str, Any]) -> Callable[[float, float], Any]:
    *hidden, (last, bias) = [
        (np.ascontiguousarray(np.asarray(w).T), np.asarray(b)) for w, b in zip(weights["w"], weights["b"], strict=True)
    ]
    low, width = np.array(catapult.LOW), np.subtract(catapult.HIGH, catapult.LOW)

    def aim(wind: float, target: float) -> Any:
        layer = np.array([wind / 12, (target - 60) / 40])
        for w, b in hidden:
            layer = np.tanh(w @ layer + b)
        return low + width / (1 + np.exp(-2 * (last @ layer + bias)))

    return aim


if __name__ == "__main__":
    main()
