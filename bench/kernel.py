"""The step of the trebuchet's sling, over and over: 1,024 machines on one core, against SIMD C and plain JAX.

DPL's program is what it generates from problems/sling.dpl, once under plain `jax.jit` and once with vectors of 512
bits, which XLA takes where it is asked to. The C kernel is kernel.c, compiled on the spot; without a compiler its row
is left out. Times are of the processor, so that what else runs disturbs less.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import process_time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import dpl
from bench import machine
from bench.table import Row, quick, record
from bench.timing import ratio

HERE = Path(__file__).parent
LANES, STEPS, H, ROUNDS = 1024, 64, 0.005, 15
BLOCK = 16
START = (1.9214087739326664, -2.144967816537233, 2.389989239993319, -3.530511776210772, 2.54835624002911,
         -0.0492860231582495)  # fmt: skip
ARM, COUNTER, HANG, SLING, CENTRE = 2.0702016, 0.5334, 0.6096, 2.0826984, 0.7684008
BALL, BEAM, WEIGHT_INERTIA, BEAM_INERTIA, G = (
    0.14877829736,
    4.8307587405,
    0.0421401100938048,
    2.7288719786342384,
    9.80665,
)
WIDE = {"xla_cpu_prefer_vector_width": 512}
NEAR = {"float32": 2e-5, "float64": 1e-8}
"""How far the angles of two contenders may lie apart [rad]"""

Call = Callable[[], Any]
"""-> the three angles of all machines at the end"""


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"kernel: the sling's RK4 step, {LANES:,} machines at once, one core, ns per machine and step")
    print(f"  {machine.described('jax', 'jaxlib', 'numpy')}")
    for dtype in ("float32", "float64"):
        _measure(dtype)


def _measure(dtype: str) -> None:
    masses = np.linspace(40, 200, LANES).astype(dtype)
    calls: dict[str, Call] = {
        "DPL": _ours(masses, {}),
        "DPL, 512 bits": _ours(masses, WIDE),
        "plain JAX": _plain(masses),
    }
    if kernel := _in_c(masses):
        calls["C"] = kernel
    ends = {name: np.asarray(call(), float) for name, call in calls.items()}
    apart = {name: float(np.max(np.abs(end - ends["DPL"]))) for name, end in ends.items()}
    assert max(apart.values()) < NEAR[dtype], f"{dtype}: ends differ: {apart}"
    seconds = _interleaved(calls)
    for name, other in (("DPL", "C"), ("DPL, 512 bits", "C"), ("DPL", "plain JAX"), ("plain JAX", "C")):
        if other in seconds:
            ours, rival = (float(np.median(seconds[n])) / LANES / STEPS for n in (name, other))
            between = ratio(seconds[name], seconds[other])
            note = f"angles {apart[other]:.0e} rad from DPL's"
            what = f"sling step, {dtype}, {name}"
            record(Row(what, ours, rival, between.median, between.low, between.high, other, note=note))


def _interleaved(calls: Mapping[str, Call]) -> dict[str, np.ndarray]:
    """Seconds of the processor, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(5 if quick() else ROUNDS):
        for name in list(calls)[:: -1 if number % 2 else 1]:
            began = process_time()
            calls[name]()
            seconds[name].append(process_time() - began)
    return {name: np.asarray(values) for name, values in seconds.items()}


# ---------------------------------------------------------------- DPL


def _ours(masses: np.ndarray, options: dict[str, Any]) -> Call:
    scenario = dpl.load(HERE / "problems" / "sling.dpl").scenarios["Bench"]
    values = {name: jnp.asarray(value, masses.dtype) for name, value in scenario.values_si().items()}

    def one(mass: Any) -> Any:
        measured, _ = scenario.measures_si(values | {"weight": mass})
        return measured["a"], measured["w"], measured["s"]

    compiled = jax.jit(jax.vmap(one)).lower(masses).compile(compiler_options=options)
    return lambda: jax.block_until_ready(compiled(masses))


# ---------------------------------------------------------------- by hand


def _plain(masses: np.ndarray) -> Call:
    """Tuples of arrays and jnp.sin, as one writes it."""

    def slope(y: tuple[Any, ...], mass: Any) -> tuple[Any, ...]:
        a, w, s, va, vw, vs = y
        heavy, light = mass * COUNTER * HANG, BALL * ARM * SLING
        m22, m33 = WEIGHT_INERTIA + mass * HANG**2, BALL * SLING**2
        m12, m13 = m22 + heavy * jnp.cos(w), m33 + light * jnp.cos(s)
        fixed = BEAM_INERTIA + BEAM * CENTRE**2 + mass * COUNTER**2 + BALL * ARM**2
        m11 = fixed + m22 + m33 + 2 * (heavy * jnp.cos(w) + light * jnp.cos(s))
        f2 = -heavy * jnp.sin(w) * va**2 - G * mass * HANG * jnp.sin(a + w)
        f3 = -light * jnp.sin(s) * va**2 + G * BALL * SLING * jnp.sin(a + s)
        f1 = G * (BEAM * CENTRE + BALL * ARM - mass * COUNTER) * jnp.sin(a) - G * mass * HANG * jnp.sin(a + w)
        f1 += G * BALL * SLING * jnp.sin(a + s) + heavy * jnp.sin(w) * vw * (vw + 2 * va)
        f1 += light * jnp.sin(s) * vs * (vs + 2 * va)
        aa = (f1 - m12 / m22 * f2 - m13 / m33 * f3) / (m11 - m12**2 / m22 - m13**2 / m33)
        return va, vw, vs, aa, (f2 - m12 * aa) / m22, (f3 - m13 * aa) / m33

    def run(mass: Any) -> Any:
        along = lambda y, k, h: tuple(p + h * q for p, q in zip(y, k, strict=True))  # noqa: E731

        def step(y: tuple[Any, ...], _: None) -> tuple[tuple[Any, ...], None]:
            k1 = slope(y, mass)
            k2 = slope(along(y, k1, H / 2), mass)
            k3 = slope(along(y, k2, H / 2), mass)
            k4 = slope(along(y, k3, H), mass)
            mean = tuple((p + 2 * (q + r) + s) / 6 for p, q, r, s in zip(k1, k2, k3, k4, strict=True))
            return along(y, mean, H), None

        return lax.scan(step, tuple(jnp.full_like(mass, x) for x in START), None, length=STEPS)[0][:3]

    function = jax.jit(run)
    return lambda: jax.block_until_ready(function(masses))


# ---------------------------------------------------------------- C


def _in_c(masses: np.ndarray) -> Call | None:
    """The kernel of kernel.c, or None where there is no compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        print("  no C compiler: the row of C is left out")
        return None
    real, number = ("float", ctypes.c_float) if masses.dtype == np.float32 else ("double", ctypes.c_double)
    library = Path(tempfile.mkdtemp()) / f"kernel_{real}.so"
    flags = ["-O3", "-march=native", "-ffast-math", f"-DREAL={real}", f"-DLANES={BLOCK}", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, str(HERE / "kernel.c"), "-o", str(library)], check=True)
    run = ctypes.CDLL(str(library)).run
    start = np.repeat(np.asarray(START, masses.dtype)[:, None], LANES, axis=1)
    state = np.empty_like(start)
    pointer = ctypes.c_void_p

    def call() -> Any:
        state[:] = start
        run(state.ctypes.data_as(pointer), masses.ctypes.data_as(pointer), number(H), LANES, STEPS)
        return state[:3]

    return call


if __name__ == "__main__":
    main()
