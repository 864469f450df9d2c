"""How long the `dpl` command takes to start and to check a model of a hundred lines; whole processes, caches warm.

The rivals are bare Python, which nothing written in Python undercuts, and the imports that a script in JAX pays
before its first line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from bench import machine
from bench.timing import interleaved, ratio, shown

HERE = Path(__file__).parent
HEAVY = ("diffrax", "jax", "lark", "numpy", "optax", "rich", "sympy")
TARGETS = {"dpl --help": 0.25, "dpl check": 0.4}
COMMAND = "import sys; from dpl.cli.main import main; sys.exit(main())"
LOADED = f"""
import json, sys
from dpl.cli.main import main
try:
    main()
except SystemExit:
    pass
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]), file=sys.stderr)
"""
RUNS = {
    "python": ["-c", "pass"],
    "dpl --help": ["-c", COMMAND, "--help"],
    "dpl check": ["-c", COMMAND, "check", str(HERE / "hundred.dpl")],
    "import jax, optax": ["-c", "import jax, optax"],
}


def main() -> None:
    print(f"startup: whole processes, from the shell's view\n  {machine.described('lark')}")
    seconds = interleaved({name: lambda arguments=arguments: _run(arguments) for name, arguments in RUNS.items()}, 9)
    for name, values in seconds.items():
        target = f"   target <= {TARGETS[name]} s" if name in TARGETS else ""
        versus = f"   {ratio(values, seconds['import jax, optax'])} of import jax, optax" if name in TARGETS else ""
        spread = f"{shown(float(np.median(values))):>8} ({values.min():.3f}..{values.max():.3f})"
        print(f"  {name:18} {spread}{versus}{target}")
    for name in TARGETS:
        print(f"  {name:18} imports of {', '.join(HEAVY)}: {', '.join(_heavy(RUNS[name][2:])) or 'none'}")


def _run(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], env=_environment(), stdout=subprocess.DEVNULL, check=True)


def _heavy(arguments: list[str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments], env=_environment(), capture_output=True, text=True, check=True
    )
    return json.loads(done.stderr.splitlines()[-1])


def _environment() -> dict[str, str]:
    """Ours, with compiled modules kept between processes as they are on a user's machine."""
    path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPATH": path}
