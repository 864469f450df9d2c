"""CartPole: training `balance` of examples/cartpole.dpl against a loop by hand, and what learners without a model need.

All that is trained is judged alike: by the mean of 100 episodes of the environment's own equations.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import gymnasium
import jax
import numpy as np

import dpl
from bench import balancing, machine
from bench.model_free import GOALS, PPO, Act, moved, random_search, returns, spent
from bench.timing import interleaved, ratio, shown

ROOT = Path(__file__).parents[1]
FILE = ROOT / "examples" / "cartpole.dpl"
SEEDS = range(10)
GAINS = {"k_x": 2.4, "k_v": 2.0, "k_θ": np.radians(12), "k_ω": 2.0}
"""What each gain's state is divided by"""


def main() -> None:
    print(
        f"cartpole: 100 steps of 8 runs of 1 s, float64\n  {machine.described('jax', 'jaxlib', 'optax', 'gymnasium')}"
    )
    _agreed()
    program = dpl.load(FILE)
    _loops(program)
    _processes()
    _needed(program)


def _agreed() -> None:
    """The environment that judges here is Gymnasium's."""
    env: Any = gymnasium.make("CartPole-v1").unwrapped
    env.reset(seed=0)
    many = np.array(env.state, float)[:, None]
    down = False
    while not down:
        right = env.state[2] + 0.1 * env.state[3] > 0.02  # so that it leans ever more
        down = env.step(int(right))[2]
        many = moved(many, np.array([right]))
    assert np.allclose(many[:, 0], env.state, rtol=1e-9), "not CartPole-v1"


# ---------------------------------------------------------------- against a loop by hand


def _loops(program: Any) -> None:
    run: dict[str, list[float]] = {"DPL": [], "by hand": []}
    played: dict[str, list[float]] = {"DPL": [], "by hand": []}
    compiling = {
        "DPL": program.run("balance")["balance"].seconds.compile,
        "by hand": _seconds(lambda: balancing.train(balancing.fresh(0), jax.random.key(0)))[0],
    }
    for seed in SEEDS:
        for name in list(run)[:: -1 if seed % 2 else 1]:
            if name == "DPL":
                program.set("pilot.net", balancing.fresh(seed))
                result = program.run("balance", seed=seed)["balance"]
                seconds, weights = result.seconds.run, result.params["pilot.net"]
            else:
                start, key = balancing.fresh(seed), jax.random.key(seed)
                seconds, weights = _seconds(lambda start=start, key=key: balancing.train(start, key))
            run[name].append(seconds)
            played[name].append(_mean(_acting(weights), seed))
    for name, values in run.items():
        versus = "" if name == "by hand" else f"   {ratio(np.array(values), np.array(run['by hand']))} of by hand"
        print(f"  {name:8} trains in {shown(float(np.median(values)))}, first call {compiling[name]:.2f} s{versus}")
        print(f"  {'':8} mean return of each seed: {' '.join(f'{value:.0f}' for value in played[name])}")


def _acting(weights: Any) -> Act:
    weights = jax.device_get(weights)
    return lambda state: np.asarray(balancing.wanted(weights, state.T)) > 0


def _mean(act: Act, seed: int) -> float:
    return float(returns(act, np.random.default_rng([seed, 1])).mean())


def _seconds(call: Any) -> tuple[float, Any]:
    began = perf_counter()
    result = jax.block_until_ready(call())
    return perf_counter() - began, result


# ---------------------------------------------------------------- whole processes


def _processes() -> None:
    """From the start of a process to trained weights, with nothing kept from before and with what a first run kept."""
    with tempfile.TemporaryDirectory() as folder:
        kept = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": folder}
        by_hand = [sys.executable, "-m", "bench.balancing"]
        ours = [sys.executable, "-m", "dpl.cli", "run", str(FILE), "balance", "--no-save", "--quiet"]
        _process(ours, kept)
        seconds = interleaved(
            {
                "dpl run": lambda: _process(ours, {**kept, "DPL_NO_CACHE": "1"}),
                "dpl run again": lambda: _process(ours, kept),
                "by hand": lambda: _process(by_hand, kept),
            },
            rounds=3,
        )
    for name, values in seconds.items():
        versus = "" if name == "by hand" else f"   {ratio(values, seconds['by hand'])} of by hand"
        print(f"  whole process, {name:14} {shown(float(np.median(values))):>8}{versus}")


def _process(command: list[str], environment: Mapping[str, str]) -> None:
    subprocess.run(command, env=dict(environment), cwd=ROOT, stdout=subprocess.DEVNULL, check=True)


# ---------------------------------------------------------------- what is needed


def _needed(program: Any) -> None:
    print(f"  episodes (and steps) until the mean of 100 episodes reaches {' and '.join(f'{g:.0f}' for g in GOALS)}:")
    found: list[float] = []
    for seed in SEEDS:
        for name in GAINS:
            program.set(f"pilot.{name}", 0.0)
        params = program.run("one_step", seed=seed)["one_step"].params
        gains = np.array([float(params[f"pilot.{name}"]) / size for name, size in GAINS.items()])
        found.append(_mean(lambda state, gains=gains: gains @ state > 0, seed))
    print(f"    {'DPL, one_step':14} 2 (150), and 4 (300) that judge; then {' '.join(f'{mean:.0f}' for mean in found)}")
    for name, learner in {"PPO": PPO(), "random search": random_search}.items():
        totals = [spent(learner, seed) for seed in SEEDS]
        print(f"    {name:14} " + "; ".join(_told([total.reached.get(goal) for total in totals]) for goal in GOALS))


def _told(spent: list[tuple[int, int] | None]) -> str:
    done = [s for s in spent if s is not None]
    if not done:
        return "never"
    episodes, steps = np.array(done).T
    missing = f", {len(spent) - len(done)} of {len(spent)} seeds never" if len(done) < len(spent) else ""
    return f"{np.median(episodes):.0f} ({np.median(steps):,.0f}), {min(episodes)} to {max(episodes)} episodes{missing}"


if __name__ == "__main__":
    main()
