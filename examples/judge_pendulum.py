"""Judge the trained swing-up in Gymnasium's own Pendulum-v1: python examples/judge_pendulum.py [RUN]

RUN is the folder of a run of examples/pendulum.dpl; without one, the network is trained first. What plays is the
exported controller, a file that needs NumPy only.
"""

import importlib.util
import sys
import tempfile
from pathlib import Path

import gymnasium
import numpy as np

import dpl

EPISODES = range(1000, 1100)
MODEL = Path(__file__).with_name("pendulum.dpl")


def pilot(run: str | None):
    """The exported controller as a function of the angle [rad] and its rate [rad/s]."""
    program = dpl.load(MODEL)
    if run:
        program.start_from(run)
    else:
        program.run("swing_up", quiet=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pilot.py")
        program.controllers["Pilot"].export(path)
        spec = importlib.util.spec_from_file_location("pilot", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module.pilot


def episode(env: gymnasium.Env, seed: int, decide) -> float:
    """The return of one episode."""
    (c, s, rate), _ = env.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        torque = decide(theta=np.arctan2(s, c), omega=rate)
        (c, s, rate), reward, ended, cut, _ = env.step(np.array([torque], np.float32))
        total, over = total + float(reward), ended or cut
    return total


if __name__ == "__main__":
    decide = pilot(sys.argv[1] if len(sys.argv) > 1 else None)
    env = gymnasium.make("Pendulum-v1")
    returns = np.array([episode(env, seed, decide) for seed in EPISODES])
    print(f"Pendulum-v1, {len(returns)} episodes: mean return {returns.mean():.1f}, worst {returns.min():.1f}")
