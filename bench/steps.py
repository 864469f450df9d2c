"""Steps per second of fixed-step RK4: one run and 1,024 at once, in double and single precision, against all others.

The rival of a row is the fastest of JAX by hand in several forms, diffrax, torchdiffeq and Jaxonomy, chosen after the
fact; one run of CasADi, which the system's C compiler compiles, is told beside them. Every run gives the sum of its
states at the end. `python -m bench steps`, or `python -m bench.steps "double pendulum"`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import dpl
from bench import machine
from bench.fields import PROBLEMS, Problem
from bench.steppers import LIBRARIES, jax_forms
from bench.table import Row, missing, quick, record
from bench.timing import fastest, interleaved, ratio, shown

BATCH = 1024
AGREE = {"float64": 2e-6, "float32": 2e-2}
"""Of the value, or of 1: torchdiffeq's method of order 4 is another one; single precision loses digits in 500 steps"""
SLOW = 3.0
"""Contenders whose calls after compiling take so many times the fastest one's are told and measured no further"""


def main(names: list[str] | None = None) -> None:
    print("steps: RK4; time of DPL over the fastest rival's, target <= 1, <= 0.33 where trigonometry rules")
    print(f"  {machine.described('jax', 'jaxlib', 'numpy')}")
    lacking = missing(*LIBRARIES)
    libraries = [package for package in LIBRARIES if package not in lacking]
    for name in names or (list(PROBLEMS)[1:3] if quick() else PROBLEMS):
        for dtype in ("float64",) if quick() else ("float64", "float32"):
            for batch in (1, BATCH):
                _row(name, PROBLEMS[name], dtype, batch, libraries)


def _row(name: str, problem: Problem, dtype: str, batch: int, libraries: list[str]) -> None:
    ends = (problem.low, problem.high)
    start = np.asarray(np.mean(ends) if batch == 1 else np.linspace(*ends, batch), dtype)
    calls, made, failed = _calls(problem, start, libraries)
    first, kept, expected = {}, {}, np.empty(0)
    for contender, call in calls.items():
        try:
            began = perf_counter()
            found = np.ravel(np.asarray(call(), float))
            first[contender] = perf_counter() - began + made[contender]
        except Exception as error:  # another library's failure is told, not ours to mend
            failed[contender] = _told(error)
            continue
        if contender == "DPL":
            expected = found
        wrong = float(np.max(np.abs(found - expected) / np.maximum(1.0, np.abs(expected))))
        if wrong > AGREE[dtype]:
            failed[contender] = f"another result, by {wrong:.0e}"
            continue
        kept[contender] = call
    if not any(c != "DPL" and not c.startswith("CasADi") for c in kept):
        print(f"  {name}, {batch} x {dtype}: nobody to compare with; {failed}")
        return
    kept, hopeless = _near(kept)
    seconds = interleaved(kept, 3 if quick() else 7, most=200)
    rivals = [c for c in kept if c != "DPL"]
    best = fastest(seconds, [c for c in rivals if not c.startswith("CasADi")])
    compared, middle = ratio(seconds["DPL"], seconds[best]), {c: float(np.median(s)) for c, s in seconds.items()}
    record(
        Row(
            f"{name}, {'1 run' if batch == 1 else f'{batch:,} runs'}, {dtype}",
            middle["DPL"],
            middle[best],
            compared.median,
            compared.low,
            compared.high,
            best,
            first["DPL"],
            first[best],
            f"{batch * problem.count / middle['DPL']:.2g} steps/s",
        )
    )
    for contender in sorted(rivals, key=middle.__getitem__):
        speed = f"{batch * problem.count / middle[contender]:9.3g} steps/s"
        print(f"      {contender:40} {middle['DPL'] / middle[contender]:6.2f}   {speed}")
    for contender, why in (failed | hopeless).items():
        print(f"      {contender:40} {why}", flush=True)


def _calls(
    problem: Problem, start: np.ndarray, libraries: list[str]
) -> tuple[dict[str, Callable[[], Any]], dict[str, float], dict[str, str]]:
    """What there is to measure, the seconds that making it took, and who could not make it."""
    makers: dict[str, Callable[[Problem, np.ndarray], Mapping[str, Callable[[], Any]]]]
    makers = {"DPL": lambda *given: {"DPL": _ours(*given)}, "JAX": jax_forms, **{p: LIBRARIES[p] for p in libraries}}
    calls: dict[str, Callable[[], Any]] = {}
    made: dict[str, float] = {}
    failed: dict[str, str] = {}
    for package, make in makers.items():
        began = perf_counter()
        try:
            found = make(problem, start)
        except Exception as error:
            failed[package] = _told(error)
            continue
        calls |= found
        made |= dict.fromkeys(found, perf_counter() - began)
    return calls, made, failed


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:80]}"


def _ours(problem: Problem, start: np.ndarray) -> Callable[[], Any]:
    """DPL's run in the type of its start; every value that it reads is an argument."""
    scenario = next(iter(dpl.compile(problem.text).scenarios.values()))
    values = jax.tree.map(lambda v: jnp.asarray(v, start.dtype), dict(scenario.values_si()))
    del values["z"]

    def run(values: Mapping[str, Any], z: Any) -> Any:
        return scenario.measures_si({**values, "z": z}, "forward")[0]["end"]

    given = jnp.asarray(start)
    compiled = jax.jit(jax.vmap(run, (None, 0)) if start.ndim else run)
    return lambda: jax.block_until_ready(compiled(values, given))


def _near(calls: Mapping[str, Callable[[], Any]]) -> tuple[dict[str, Callable[[], Any]], dict[str, str]]:
    """DPL, the fastest other and those not far behind it by the better of two calls; what to tell of the rest."""
    lasts = {contender: min(_lasts(call), _lasts(call)) for contender, call in calls.items()}
    most = SLOW * min(seconds for c, seconds in lasts.items() if c != "DPL" and not c.startswith("CasADi"))
    near = {c: call for c, call in calls.items() if c == "DPL" or lasts[c] <= most}
    return near, {c: f"far behind: {shown(lasts[c])} a call" for c in calls if c not in near}


def _lasts(call: Callable[[], Any]) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began


if __name__ == "__main__":
    main(sys.argv[1:])
