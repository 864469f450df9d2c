"""How long `dpl run` takes to its first optimiser step: with empty caches, and again with what the first run kept.

Whole processes, from the shell's view, of every example that optimises; seconds of the wall and of the processor. What
remains of a warm start is Python's imports and XLA's loading of what it compiled.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from time import time

from bench import machine

ROOT = Path(__file__).parents[1]
TARGET = 3.0
RUN = """
import json, os, sys, time
from dpl.tasks import engine

def advance(loop, until):
    print(json.dumps([time.time(), time.process_time(), "sympy" in sys.modules]), file=sys.stderr, flush=True)
    os._exit(0)

engine.Loop.advance = advance
from dpl.cli.main import main
sys.exit(main(["run", sys.argv[1], "--no-save", "--quiet"]))
"""


def main() -> None:
    print(f"warm: process start to the first optimiser step; target <= {TARGET} s warm")
    print(f"  {machine.described('jax', 'jaxlib')}")
    for path in sorted((ROOT / "examples").glob("*.dpl")):
        if re.search(r"^(train|optimize)\b", path.read_text(encoding="utf-8"), re.MULTILINE):
            with tempfile.TemporaryDirectory() as home:
                (cold, busy, _), *warm = (_first_step(path, home) for _ in range(4))
            best = min(warm)
            told = f"warm {best[0]:5.2f} s ({best[1]:.2f} busy){', SymPy imported' * best[2]}"
            print(f"  {path.name:18} cold {cold:6.1f} s ({busy:5.1f} busy)   {told}")


def _first_step(path: Path, home: str) -> tuple[float, float, bool]:
    """Seconds of the wall and of the processor, and whether SymPy was imported."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "DPL_NO_CACHE")}
    kept |= {
        "XDG_CACHE_HOME": home,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    began = time()
    done = subprocess.run([sys.executable, "-c", RUN, str(path)], env=kept, capture_output=True, text=True, check=True)
    ended, busy, sympy = json.loads(done.stderr.splitlines()[-1])
    return ended - began, busy, sympy


if __name__ == "__main__":
    main()
