"""One question at a time to what was exported: as Python with NumPy, as C, and as a jitted function.

C is compiled on the spot by the system's compiler and timed in a loop of its own, where each question differs from the
last; NumPy and JAX are called from Python. The network has fresh weights, for a question costs the same with any.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dpl
from bench import machine
from bench.table import Row, quick, record
from bench.timing import interleaved, ratio, shown

ROOT = Path(__file__).parent.parent
FLAGS = ("-std=c99", "-O3", "-march=native", "-ffp-contract=off")
WIND, TARGET = -3.0, 65.0
TIMED = """
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "{name}.h"
int main(void)
{{
    double total = 0.0;
    for (int round = 0; round < {rounds}; round++) {{
        struct timespec began, ended;
        clock_gettime(CLOCK_MONOTONIC, &began);
        for (int k = 0; k < {calls}; k++) {{ {call} }}
        clock_gettime(CLOCK_MONOTONIC, &ended);
        const double spent = (double)(ended.tv_sec - began.tv_sec) + 1e-9*(double)(ended.tv_nsec - began.tv_nsec);
        printf("%.9g\\n", spent/{calls});
    }}
    return total != total;
}}
"""
PID = """
from pid import PID
scenario Loop {
  state h: m = 0
  h' = pid.u - h/1 [s]
  part pid = PID(error = 1 [m] - h, kp = 2 [1/s], ki = 0.5 [1/s^2], kd = 0.3)
  run for 1 [s] using rk4(10 [ms])
}
"""


def main() -> None:
    print("inference: one question, float64; targets: a network of 32 and 32 <= 5 µs in NumPy, <= 0.5 µs in C")
    print(f"  {machine.described('numpy', 'jax', 'jaxlib')}")
    _network()
    _pid()


def _network() -> None:
    program = dpl.load(ROOT / "examples" / "trebuchet.dpl")
    aim = program.controllers["aim"]
    weights = next(program.values[k] for k in program.scenarios["Shot"].keys.values() if k == "aim")
    ours, hand = _exported(aim, "aim"), _by_hand(weights)
    jitted, hand_jitted = jax.jit(aim.function()), jax.jit(_by_hand_jax(weights))
    assert np.allclose(ours(WIND, TARGET), hand(WIND, TARGET), rtol=1e-9)
    assert np.allclose(hand_jitted(WIND, TARGET), hand(WIND, TARGET), rtol=1e-9)
    calls = {
        "NumPy": lambda: ours(WIND, TARGET),
        "NumPy by hand": lambda: hand(WIND, TARGET),
        "jit": lambda: jax.block_until_ready(jitted(WIND, TARGET)),
        "jit by hand": lambda: jax.block_until_ready(hand_jitted(WIND, TARGET)),
    }
    seconds = interleaved(calls, 5 if quick() else 25)
    _compared("network of 32 and 32, NumPy", seconds, "NumPy", "NumPy by hand")
    call = "aim_outputs o; aim(-3.0 + 1e-6*k, 65.0, &o); total += o.release;"
    c = _in_c(aim, "aim", call)
    if c is not None:
        _compared("network of 32 and 32, C", {**seconds, "C": c}, "C", "NumPy by hand")
    _compared("network of 32 and 32, jit", seconds, "jit", "jit by hand")


def _pid() -> None:
    pid = dpl.compile(PID, "loop.dpl").controllers["PID"]
    module = _module(pid, "pid")
    state = [module.START]
    kp, ki, kd, h = 2.0, 0.5, 0.3, 0.01
    kept = [0.0, 0.0]

    def ours() -> None:
        _, state[0] = module.pid(1e-3, state[0])

    def hand() -> float:
        total, last = kept
        kept[:] = total + 1e-3 * h, 1e-3
        return kp * 1e-3 + ki * total + kd * (1e-3 - last) / h

    seconds = interleaved({"Python": ours, "by hand": hand}, 5 if quick() else 25)
    _compared("PID, Python (limits and windup included)", seconds, "Python", "by hand")
    call = "total += pid_step(&state, 1e-3);"
    c = _in_c(pid, "pid", call, "pid_state state; pid_init(&state);")
    if c is not None:
        _compared("PID, C", {**seconds, "C": c}, "C", "by hand")


def _compared(what: str, seconds: Mapping[str, np.ndarray], ours: str, rival: str) -> None:
    mine, other = seconds[ours], seconds[rival]
    n = min(len(mine), len(other))
    found = ratio(mine[:n], other[:n])
    record(
        Row(what, float(np.median(mine)), float(np.median(other)), found.median, found.low, found.high, rival, note="")
    )


# ---------------------------------------------------------------- what is exported


def _exported(controller: Any, name: str) -> Callable[..., Any]:
    return getattr(_module(controller, name), name)


def _module(controller: Any, name: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.py"
        controller.export(path)
        spec: Any = importlib.util.spec_from_file_location(name, path)
        module: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def _in_c(controller: Any, name: str, call: str, before: str = "") -> np.ndarray | None:
    """Seconds per call in a loop of C; None where nothing compiles it."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        print("  C left out: there is no compiler")
        return None
    text = TIMED.format(name=name, rounds=5 if quick() else 25, calls=20000, call=call)
    text = text.replace("double total = 0.0;", f"double total = 0.0; {before}")
    with tempfile.TemporaryDirectory() as folder:
        controller.export_c(Path(folder) / f"{name}.c")
        Path(folder, "main.c").write_text(text)
        build = [compiler, *FLAGS, "main.c", f"{name}.c", "-o", "timed", "-lm"]
        subprocess.run(build, cwd=folder, check=True)
        done = subprocess.run(["./timed"], cwd=folder, check=True, capture_output=True, text=True)
    seconds = np.array([float(line) for line in done.stdout.split()])
    print(f"  in C ({' '.join(FLAGS)}): {shown(float(np.median(seconds)))} a call")
    return seconds


# ---------------------------------------------------------------- by hand


def _parts(weights: Mapping[str, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (np.ascontiguousarray(np.asarray(w).T), np.asarray(b)) for w, b in zip(weights["w"], weights["b"], strict=True)
    ]


LOW, HIGH = np.array([5.0, 60.0]), np.array([80.0, 660.0])
"""Of release [deg] and weight [lb]"""


def _by_hand(weights: Mapping[str, Any]) -> Callable[[float, float], Any]:
    *hidden, (last, bias) = _parts(weights)
    width = HIGH - LOW

    def aim(wind: float, target: float) -> Any:
        layer = np.array([wind / 12, (target - 60) / 40])
        for w, b in hidden:
            layer = np.tanh(w @ layer + b)
        return LOW + width / (1 + np.exp(-2 * (last @ layer + bias)))

    return aim


def _by_hand_jax(weights: Mapping[str, Any]) -> Callable[[Any, Any], Any]:
    *hidden, (last, bias) = _parts(weights)

    def aim(wind: Any, target: Any) -> Any:
        layer = jnp.stack([wind / 12, (target - 60) / 40])
        for w, b in hidden:
            layer = jnp.tanh(w @ layer + b)
        return LOW + (HIGH - LOW) * jax.nn.sigmoid(2 * (last @ layer + bias))

    return aim


if __name__ == "__main__":
    main()
