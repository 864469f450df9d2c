"""What examples claim, judged by what others wrote."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import dpl

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def cartpole():
    """What examples/judge_cartpole.py defines."""
    return runpy.run_path(str(EXAMPLES / "judge_cartpole.py"), run_name="judge")


def played(cartpole, seed, task, controller, episodes):
    """The result of a task, and what the controller then gets in the environment."""
    program = dpl.load(EXAMPLES / "cartpole.dpl", seed)
    result = program.run(task, seed=seed)[task]
    return result, cartpole["returns"](cartpole["exported"](program, controller), episodes)


def test_cartpole_is_balanced(cartpole):
    _, returns = played(cartpole, 0, "balance", "Pilot", range(1000, 1020))
    assert returns.tolist() == [500.0] * 20


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_cartpole_is_balanced_from_any_start(cartpole, seed):
    _, returns = played(cartpole, seed, "balance", "Pilot", range(1000, 1100))
    assert returns.min() == 500


def test_cartpole_is_learned_from_seven_runs(cartpole):
    """The environment counts as solved from a mean of 195 on; runs that only judge the values count here too."""
    result, returns = played(cartpole, 0, "one_step", "Gains", range(1000, 1100))
    (steps,), looks = result.losses.shape, 2
    assert steps * dpl.load(EXAMPLES / "cartpole.dpl").tasks["one_step"].counts["batch"] + looks * result.judged_on <= 7
    assert np.mean(returns) >= 195
