"""A motor under a PID controller every 10 ms whose reference moves every 30 ms."""

import jax.numpy as jnp

from dpl.runtime import spec


def track_fixed(v):
    return v["pid.kp"], v["pid.ki"], v["pid.kd"], v["motor.ω"], v["motor.i"], v["pid.total"], v["pid.last"], v["goal.n"]


def track_start(c):
    return (c[3], c[4]), (c[5], c[6], c[7]), (0.0, 0.0)


def goal(t, x, z, held, c):
    _, _, n = z
    reference = 1.0 + 0.1 * jnp.sin(n)  # motor.dpl:20
    return (reference, held[1]), (z[0], z[1], n + 1.0)


def pid(t, x, z, held, c):
    omega, _ = x
    total, last, n = z
    reference, _ = held
    error = reference - omega  # motor.dpl:12
    u = c[0] * error + c[1] * total + c[2] * (error - last) / 0.01  # motor.dpl:15
    return (reference, u), (total + 0.01 * error, error, n)


def track_rhs(t, x, z, held, c):
    omega, i = x
    reference, u = held
    omega_rate = 20.0 * i - 2.0 * omega  # motor.dpl:4
    i_rate = (u - i - 0.5 * omega) / 0.05  # motor.dpl:5
    return (omega_rate, i_rate), ((reference - omega) ** 2,)


def track_results(reduced, c):
    average, final_omega, final_u, final_n, overshoot = reduced
    return {"cost": average, "ω": final_omega, "u": final_u, "n": final_n, "overshoot": overshoot}


def track_observe(t, x, z, held, c):
    return {"motor.ω": x[0], "motor.i": x[1], "pid.u": held[1], "goal.r": held[0], "goal.n": z[2]}


TRACK = spec.Scenario(
    name="Track",
    doc="",
    params=(spec.Param("pid.kp", 2.0), spec.Param("pid.ki", 5.0), spec.Param("pid.kd", 0.01)),
    givens=(),
    starts=(
        spec.Start("motor.ω", 0.0),
        spec.Start("motor.i", 0.0),
        spec.Start("pid.total", 0.0),
        spec.Start("pid.last", 0.0),
        spec.Start("goal.n", 0.0),
    ),
    networks=(),
    observed=tuple(spec.Observed(n) for n in ("motor.ω", "motor.i", "pid.u", "goal.r", "goal.n")),
    measures=tuple(spec.Measure(n, "metric") for n in ("cost", "ω", "u", "n", "overshoot")),
    fixed=track_fixed,
    results=track_results,
    observe=track_observe,
    run=spec.Run(0.0, 0.6, spec.Method("rk4", {"step": 0.0025}), base=0.01),
    states=(spec.Observed("motor.ω"), spec.Observed("motor.i")),
    start=track_start,
    rhs=track_rhs,
    clocks=(spec.Clock(3, goal, (2,)), spec.Clock(1, pid, (0, 1))),
    reductions=(
        spec.Reduction("average", 0, True),
        spec.Reduction("final", 0),
        spec.Reduction("final", 1),
        spec.Reduction("final", 2),
        spec.Reduction("peak", 0),
    ),
    recorded=lambda t, x, z, held, c: (x[0] - held[0],),
    instants=lambda t, x, z, held, c: (x[0], held[1], z[2]),
)

MODULE = spec.Module("motor", __doc__, (TRACK,), (), "0")
