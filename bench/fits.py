"""`fit` beside SciPy: one fit, many starts side by side, and an interaction that nobody knows.

The rival is `scipy.optimize.least_squares` with finite differences around `solve_ivp` at the same tolerances, started
where DPL starts, in free numbers of the same kind (logarithms). All times are of the processor, which other processes
disturb less than a clock. DPL's first call is a fit with all that surrounds it, traced and compiled; later ones fit
again, with what they have compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from typing import Any

import numpy as np

import dpl
from bench import machine
from bench.table import Row, missing, quick, record
from bench.timing import ratio, shown

STARTS, TOLERANCE, SD = 64, 1e-8, 0.05
TRUE, START = np.array([1.1, 0.5, 0.4, 0.9]), np.array([0.8, 0.3, 0.3, 0.6])
LOW, HIGH = 0.1, 5.0
TIMES = np.linspace(0.0, 10.0, 21)
MODEL = """
data seen(t: s as time, prey, hunters) {{ {rows} }}
scenario Wild {{
  param a: 1/s = 0.8 in 0.1..5 log; param b: 1/s = 0.3 in 0.1..5 log
  param c: 1/s = 0.3 in 0.1..5 log; param d: 1/s = 0.6 in 0.1..5 log
  state prey = 2; state hunters = 1
  prey' = a*prey - b*prey*hunters
  hunters' = c*prey*hunters - d*hunters
  run for 10 [s] using tsit5(rtol = 1e-8, atol = 1e-8)
  observe seen.prey ~ normal(prey, 0.05)
  observe seen.hunters ~ normal(hunters, 0.05)
}}
fit likely {{ on Wild; vary all; start fresh; starts {starts}; seed 1 }}
"""
UNKNOWN = """
data seen(t: s as time, prey, hunters) {{ {rows} }}
network eaten(prey in 0..6, hunters in 0..6) -> rate: 1/s in 0.. {{ hidden 8, 8 }}
scenario Wild {{
  state prey = 2; state hunters = 1
  prey' = 1.1 [1/s]*prey - eaten(prey, hunters)
  hunters' = 0.8*eaten(prey, hunters) - 0.9 [1/s]*hunters
  run for 10 [s]
  observe seen.prey ~ normal(prey, 0.05)
  observe seen.hunters ~ normal(hunters, 0.05)
}}
fit learned {{ on Wild; vary all; seed 1 }}
"""


def main() -> None:
    print(
        "fits: Lotka-Volterra, 21 times, 2 observables, float64, seconds of the processor; targets: 64 starts <= 10 s"
    )
    print("  on two idle cores, compiling included; one fit <= 1/10 of SciPy's; an unknown interaction <= 60 s, to 5 %")
    print(f"  {machine.described('numpy', 'jax', 'jaxlib')}")
    if missing("scipy"):
        return
    data = _observed()
    one, many = (dpl.compile(MODEL.format(rows=_text(data), starts=n), "fits.dpl") for n in (1, STARTS))
    first = [_spent(lambda program=program: program.run("likely")) for program in (many, one)]
    found = one.run("likely")["likely"]
    same = [found.estimates[name].value for name in "abcd"]
    theirs = _scipy(data, np.log(START))
    assert np.allclose(same, np.exp(theirs), rtol=1e-4), (same, np.exp(theirs))
    starts = _starts()
    _compared("one fit, run again", lambda: one.run("likely"), lambda: _scipy(data, np.log(START)), first[1], 7)
    rival = lambda: [_scipy(data, start) for start in starts]  # noqa: E731
    _compared(f"{STARTS} starts, run again", lambda: many.run("likely"), rival, first[0], 1 if quick() else 3)
    if not quick():
        _interaction()


def _spent(call: Callable[[], Any]) -> float:
    began = process_time()
    call()
    return process_time() - began


def _compared(what: str, ours: Callable[[], Any], theirs: Callable[[], Any], first: float, rounds: int) -> None:
    """In turns, every other round in reverse order."""
    spent: dict[str, list[float]] = {"ours": [], "theirs": []}
    calls = [("ours", ours), ("theirs", theirs)]
    for number in range(rounds):
        for name, call in calls[:: -1 if number % 2 else 1]:
            spent[name].append(_spent(call))
    mine, other = np.asarray(spent["ours"]), np.asarray(spent["theirs"])
    found = ratio(mine, other)
    by = "SciPy least_squares"
    row = Row(what, float(np.median(mine)), float(np.median(other)), found.median, found.low, found.high, by, first)
    record(row)


# ---------------------------------------------------------------- the problem


def _slope(_: float, y: Any, a: float, b: float, c: float, d: float) -> list[float]:
    return [a * y[0] - b * y[0] * y[1], c * y[0] * y[1] - d * y[1]]


def _run(params: Any, tolerance: float = TOLERANCE) -> np.ndarray:
    from scipy.integrate import solve_ivp

    span = (TIMES[0], TIMES[-1])
    told = solve_ivp(_slope, span, [2.0, 1.0], args=tuple(params), t_eval=TIMES, rtol=tolerance, atol=tolerance)
    return told.y if told.success else np.full((2, len(TIMES)), 1e3)


def _observed() -> np.ndarray:
    return _run(TRUE, 1e-10) + SD * np.random.default_rng(0).normal(size=(2, len(TIMES)))


def _text(data: np.ndarray) -> str:
    return "; ".join(f"{t:.12g}, {a:.12g}, {b:.12g}" for t, (a, b) in zip(TIMES, data.T, strict=True))


def _starts() -> np.ndarray:
    """As many as DPL has, drawn evenly between the bounds of the logarithms."""
    random = np.random.default_rng(1).uniform(np.log(LOW), np.log(HIGH), (STARTS - 1, 4))
    return np.concatenate([np.log(START)[None], random])


def _scipy(data: np.ndarray, start: np.ndarray) -> np.ndarray:
    from scipy.optimize import least_squares

    bounds = np.log(LOW), np.log(HIGH)
    return least_squares(lambda x: ((_run(np.exp(x)) - data) / SD).ravel(), start, bounds=bounds).x


# ---------------------------------------------------------------- an interaction that nobody knows


def _interaction() -> None:
    """A network of 2, 8, 8 and 1 stands where b*prey*hunters is; it is compared with that where the run has been."""
    data = _run(TRUE, 1e-10) + 0.01 * np.random.default_rng(0).normal(size=(2, len(TIMES)))
    text = UNKNOWN.format(rows=_text(data)).replace("0.05)", "0.01)")
    program = dpl.compile(text, "unknown.dpl")
    began = process_time()
    found = program.run("learned")["learned"]
    spent = process_time() - began
    prey, hunters = _run(TRUE, 1e-10)
    eaten = program.controllers["eaten"].function()
    off = np.array([float(np.asarray(eaten(a, b)).ravel()[0]) for a, b in zip(prey, hunters, strict=True)])
    wanted = TRUE[1] * prey * hunters
    worst = np.abs(off - wanted).max() / wanted.max()
    rms = np.sqrt(np.mean((off - wanted) ** 2)) / np.sqrt(np.mean(wanted**2))
    print(
        f"  unknown interaction, {found.free} free numbers: {shown(spent)} of the processor, compiling included; nll "
        f"{found.nll:.4g} after {found.iterations} iterations; off by {100 * worst:.1f} % of its largest value, "
        f"{100 * rms:.1f} % in the mean square"
    )


if __name__ == "__main__":
    main()
