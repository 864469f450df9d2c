"""Work and precision on stiff problems with published digits: `rodas5p` beside diffrax's Kvaerno5 with Newton's method
and its own derivatives, and SciPy's Radau and BDF on the same equations with the same Jacobian.

An error is the greatest of a state relative to its published value. SciPy calls the generated functions with Python's
own numbers. `python -m bench.stiff NAME…` measures the problems named.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import jax
import numpy as np
from scipy.integrate import solve_ivp

import dpl
from bench import machine
from bench.timing import shown

STIFF = Path(__file__).parent.parent / "tests" / "data" / "stiff"
PUBLISHED = json.loads((STIFF / "published.json").read_text())
TOLERANCES = (1e-4, 1e-6, 1e-8)
ROUNDS = 5


def main(names: list[str] | None = None) -> None:
    print("stiff: error and process time of one run, in brackets that of the first call with tracing and compiling")
    print(f"  {machine.described('jax', 'jaxlib', 'diffrax', 'scipy')}")
    print(f"  {'':16}" + "".join(f"{name:>31}" for name in ("rodas5p", "kvaerno5", "Radau", "BDF")))
    for name in names or PUBLISHED:
        for rtol in TOLERANCES:
            ours = [_ours(name, method, rtol) for method in ("rodas5p", "kvaerno5")]
            theirs = [_theirs(name, method, rtol) for method in ("Radau", "BDF")]
            print(f"  {name:10} {rtol:.0e}" + "".join(f"{row:>31}" for row in (*ours, *theirs)), flush=True)


def _text(name: str, method: str, rtol: float) -> tuple[str, float]:
    """The problem with a method and tolerances: the absolute one in the ratio to the relative one that the file has."""
    text = (STIFF / f"{name}.dpl").read_text(encoding="utf-8")
    found = re.search(r"rodas5p\(rtol = (\S+), atol = (\S+)\)", text)
    assert found, f"{name}.dpl names no tolerances"
    atol = rtol * float(found[2]) / float(found[1])
    return text.replace(found[0], f"{method}(rtol = {rtol!r}, atol = {atol!r}, max_steps = 100_000)"), atol


def _ours(name: str, method: str, rtol: float) -> str:
    scenario = _scenario(_text(name, method, rtol)[0])
    first, values = _timed(lambda: jax.block_until_ready(scenario.evaluate()))
    seconds = min(_timed(lambda: jax.block_until_ready(scenario.evaluate()))[0] for _ in range(ROUNDS))
    return f"{_error(name, list(values.values()))} {shown(seconds)} [{shown(first)}]"


def _theirs(name: str, method: str, rtol: float) -> str:
    text, atol = _text(name, "rodas5p", rtol)
    spec, values = _scenario(text).spec, _scenario(text).values_si()
    c = tuple(float(v) for v in spec.fixed(values))
    start = [float(a) for a in spec.start(c)[0]]
    size, pattern = len(start), spec.jacobian
    matrix = np.zeros((size, size))

    def rhs(t: float, y: Any) -> Any:
        return spec.rhs(t, tuple(y.tolist()), (), (), c)[0]

    def jacobian(t: float, y: Any) -> Any:
        matrix[pattern.rows, pattern.columns] = pattern.entries(t, tuple(y.tolist()), (), (), c)
        return matrix

    def run() -> Any:
        return solve_ivp(rhs, (0, spec.run.duration), start, method=method, jac=jacobian, rtol=rtol, atol=atol)

    seconds, out = _timed(run)
    return f"{_error(name, out.y[:, -1])} {shown(seconds)}"


def _scenario(text: str) -> Any:
    return next(iter(dpl.compile(text).scenarios.values()))


def _error(name: str, values: Any) -> str:
    error = np.max(np.abs(np.asarray([float(v) for v in values]) / PUBLISHED[name] - 1))
    return f"{error:.0e}" if np.isfinite(error) else "failed"


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    began = process_time()
    result = call()
    return process_time() - began, result


if __name__ == "__main__":
    main(sys.argv[1:])
