"""Judge examples/cartpole.dpl in Gymnasium's own CartPole-v1: python examples/judge_cartpole.py [RUN]

RUN is the folder of a run of that file; without one, both controllers are trained first. What plays is what was
exported: files that need NumPy only. Action 1 is a push of +10 N and action 0 one of -10 N. The environment knows no
other, so that a force of 0, which the model would bear, counts as a push to the left.
"""

import importlib.util
import sys
import tempfile
from pathlib import Path

import gymnasium
import numpy as np

import dpl

EPISODES = range(1000, 1100)
MODEL = Path(__file__).with_name("cartpole.dpl")
TRAINED_BY = {"Gains": "one_step", "Pilot": "balance"}


def exported(program: dpl.Program, name: str):
    """A controller as a function of x [m], v [m/s], theta [rad] and omega [rad/s] to the force [N]."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name.lower()}.py")
        program.controllers[name].export(path)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return getattr(module, name.lower())


def episode(env: gymnasium.Env, seed: int, force) -> float:
    """The return of one episode: how many steps it lasts, 500 at the most."""
    observed, _ = env.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        x, v, theta, omega = observed
        observed, reward, ended, cut, _ = env.step(int(force(x=x, v=v, theta=theta, omega=omega) > 0))
        total, over = total + reward, ended or cut
    return total


def returns(force, episodes=EPISODES) -> np.ndarray:
    """Of each episode, by the seeds of their resets."""
    env = gymnasium.make("CartPole-v1")
    return np.array([episode(env, seed, force) for seed in episodes])


if __name__ == "__main__":
    program = dpl.load(MODEL)
    if len(sys.argv) > 1:
        program.start_from(sys.argv[1])
    else:
        program.run(*TRAINED_BY.values(), quiet=False)
    for name, task in TRAINED_BY.items():
        played = returns(exported(program, name))
        print(f"{name}, by {task}: mean return {played.mean():.1f}, worst {played.min():.0f} of {len(played)} episodes")
