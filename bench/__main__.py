"""`python -m bench` runs all benchmarks and writes docs/performance.md; `python -m bench NAME…` runs those named.

`--quick` looks at the most important in less than five minutes and writes nothing; `--write` writes a table of the
named, too. Each benchmark is a process of its own: none warms another up, and one that fails does not stop the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from bench.report import Outcome, written
from bench.table import QUICK, ROWS

BENCHES = {
    "startup": "`dpl --help` and `dpl check`, whole processes",
    "warm": "`dpl run` again: from the start of the process to the first optimiser step",
    "compile": "text to JAX source, a fresh process per file",
    "large": "systems of many scalar equations: compiled, traced and run",
    "kernel": "the inner loop of a mechanical model against C compiled on the spot",
    "steps": "fixed-step RK4 against JAX by hand, diffrax, torchdiffeq, CasADi and Jaxonomy",
    "arrays": "equations over indices against arrays by hand",
    "stiff": "stiff systems against diffrax, SciPy and CasADi",
    "simulate": "runs and gradients against JAX by hand",
    "inference": "one question to an exported network or controller: NumPy, C, jit",
    "retrace": "a thousand changed values",
    "fits": "one fit, many starts, an unknown interaction, against SciPy",
    "cannon": "training against a jitted Optax loop",
    "cartpole": "training against a jitted loop, PPO and random search",
    "trebuchet": "shots with events against JAX by hand",
}
"""The module of each, in the order in which they run, and what it measures. A module has `main()`; those whose rows go
into one table call `bench.table.record`, and where little time is given `bench.table.quick()` is true."""
BRIEF = {"compile": 60, "inference": 45, "steps": 100, "retrace": 30, "kernel": 40}
"""What `--quick` runs, and after how many seconds it is cut off"""
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--quick", action="store_true", help="a look in less than five minutes")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}, as a run of all does")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in BENCHES]:
        print(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    names = asked.names or (list(BRIEF) if asked.quick else list(BENCHES))
    outcomes = [_run(name, asked.quick) for name in names if _there(name)]
    if asked.write or not (asked.names or asked.quick):
        PAGE.write_text(written(outcomes), encoding="utf-8")
        print(f"written: {PAGE}")
    return int(any(o.failure for o in outcomes))


def _there(name: str) -> bool:
    found = find_spec(f"bench.{name}") is not None
    if not found:
        print(f"{name}: left out, there is no bench/{name}.py\n")
    return found


def _run(name: str, brief: bool) -> Outcome:
    """One benchmark, shown as it goes."""
    began, text, failure = time.monotonic(), list[str](), ""
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows"
        environment = {**os.environ, ROWS: str(rows), "PYTHONUNBUFFERED": "1", **({QUICK: "1"} if brief else {})}
        with subprocess.Popen(
            _command(name, brief), stdout=subprocess.PIPE, text=True, env=environment, encoding="utf-8"
        ) as process:
            for line in process.stdout or ():
                print(line, end="", flush=True)
                text.append(line)
        if process.returncode == CUT:
            failure = f"cut off after {BRIEF.get(name, 60)} s"
        elif process.returncode:
            failure = f"failed with exit code {process.returncode}"
        found = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()] if rows.exists() else []
    print(f"  {failure or 'done'}, {time.monotonic() - began:.0f} s\n", flush=True)
    return Outcome(name, BENCHES[name], "".join(text), found, failure)


CUT = 124
"""The exit code of a process that ended itself in time"""


def _command(name: str, brief: bool) -> list[str]:
    code = f"import importlib; importlib.import_module('bench.{name}').main()"
    if brief:
        limit = BRIEF.get(name, 60)
        code = f"import os, threading; threading.Timer({limit}, os._exit, [{CUT}]).start(); {code}; os._exit(0)"
    return [sys.executable, "-c", code]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
