"""How long it takes from the text of a model to the JAX module, imports apart; one fresh process per file.

There is no rival: what an expert writes by hand is the module itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench import machine
from bench.table import quick

ROOT = Path(__file__).parents[1]
TARGET = 1.5
INPUTS = {
    "Cannon": "speed = 5 [m/s], angle = 0.8 [rad]",
    "Compartment": "inflow = 0 [g/L]",
    "DCMotor": "v = 1 [V], load = 0 [N*m]",
    "DoublePendulum": "u = 0 [N*m]",
    "GymnasiumCartPole": "force = 1 [N]",
    "GymnasiumPendulum": "u = 0 [N*m]",
    "MassSpringDamper": "force = 0 [N]",
    "PID": "kp = 1, error = 1",
    "Drone": "thrust = 5 [N]",
    "Pendulum": "u = 0 [N*m]",
    "Trebuchet": "wind = 0 [m/s], release = 45 [deg], weight = 200 [lb]",
}
"""What the inputs of library models are set to"""
PURE = ("GrayScott", "Bodies")
"""Library models without units"""
COMPILE = """
import json, sys
from time import perf_counter
began = perf_counter()
from dpl import language
from dpl.compiler.driver import compile_model
from dpl.language import parser, passes
imported = perf_counter()
source = compile_model(language.load_text(language.Source(*json.load(sys.stdin)))).source
print(json.dumps([imported - began, perf_counter() - imported, len(source.splitlines())]))
"""


def main() -> None:
    print(f"compile: text to JAX source in a fresh process, target <= {TARGET} s")
    print(f"  {machine.described('sympy', 'lark')}")
    worst = 0.0
    for name, text in list(texts().items())[: 4 if quick() else None]:
        imports, seconds, lines = _compiled(name, text)
        worst = max(worst, seconds)
        print(f"  {name:34} {seconds:6.3f} s   {lines:4} lines   (imports {imports:.2f} s)", flush=True)
    print(f"  slowest: {worst:.3f} s")


def texts() -> dict[str, str]:
    """Every example, benchmark problem, and library model in a scenario of its own."""
    files = [*ROOT.glob("examples/*.dpl"), *ROOT.glob("bench/problems/*.dpl"), ROOT / "bench" / "hundred.dpl"]
    found = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in sorted(files)}
    return found | {f"models/{path.name}": _alone(path) for path in sorted(ROOT.glob("models/*.dpl"))}


def _alone(path: Path) -> str:
    """A library model with its inputs set, run for a second or, if static, once."""
    text = path.read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith(("model", "controller")))
    model = line.split()[1]
    run = f"run for 1{'' if model in PURE else ' [s]'}" if "state " in text else ""
    return f"from {path.stem} import {model}\nscenario Alone {{ part one = {model}({INPUTS.get(model, '')}); {run} }}\n"


def _compiled(name: str, text: str) -> tuple[float, float, int]:
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], input=json.dumps([name, text]), capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode:
        raise RuntimeError(f"{name} does not compile:\n{done.stderr}")
    return tuple(json.loads(done.stdout))
