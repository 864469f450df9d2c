"""A damped pendulum in continuous time."""

import jax.numpy as jnp

from dpl.runtime import spec

DEG = 0.017453292519943295


def swing_fixed(v):
    g, length, b = v["pendulum.g"], v["pendulum.l"], v["pendulum.b"]
    theta_start, omega_start = v["pendulum.θ"], v["pendulum.ω"]
    stiffness = g / length  # pendulum.dpl:8
    return stiffness, b, theta_start, omega_start


def swing_start(c):
    _, _, theta_start, omega_start = c
    return (theta_start, omega_start), (), ()


def swing_rhs(t, x, z, held, c):
    theta, omega = x
    stiffness, b, _, _ = c
    theta_rate = omega  # pendulum.dpl:7
    omega_rate = -stiffness * jnp.sin(theta) - b * omega  # pendulum.dpl:8
    return (theta_rate, omega_rate), (theta**2, omega**2)


def swing_recorded(t, x, z, held, c):
    theta, omega = x
    return theta, omega, theta < 0.0


def swing_instants(t, x, z, held, c):
    return x


def swing_arguments(c):
    return (
        (None, None, ()),
        (1.0, 3.0, ()),
        (None, None, ()),
        (None, None, ()),
        (None, None, ()),
        (None, None, (2.5,)),
        (None, None, (0.0, 5.0 * DEG)),
        (None, None, ()),
        (4.0, None, ()),
    )


def swing_results(reduced, c):
    average, late, initial, final, below, value, settled, lowest, peak = reduced
    return {
        "cost": average,  # pendulum.dpl:14
        "late": late,
        "gained": final - initial,
        "below": below,
        "at": value,
        "settled": settled,
        "lowest": lowest,
        "peak": peak,
    }


def swing_observe(t, x, z, held, c):
    theta, omega = x
    return {"pendulum.θ": theta, "pendulum.ω": omega}


SWING = spec.Scenario(
    name="Swing",
    doc="",
    params=(
        spec.Param("pendulum.g", 9.81, spec.Unit("m/s^2")),
        spec.Param("pendulum.l", 1.0, spec.Unit("m"), 0.0),
        spec.Param("pendulum.b", 0.5, spec.Unit("1/s"), 0.0, 10.0),
    ),
    givens=(),
    starts=(
        spec.Start("pendulum.θ", 60.0 * DEG, spec.Unit("deg", DEG)),
        spec.Start("pendulum.ω", 0.0, spec.Unit("rad/s")),
    ),
    networks=(),
    observed=(
        spec.Observed("pendulum.θ", spec.Unit("deg", DEG), "state", range=True),
        spec.Observed("pendulum.ω", spec.Unit("rad/s"), "state"),
    ),
    measures=(
        spec.Measure("cost", "loss"),
        spec.Measure("late", "metric"),
        spec.Measure("gained", "metric", spec.Unit("deg", DEG)),
        spec.Measure("below", "metric"),
        spec.Measure("at", "metric"),
        spec.Measure("settled", "metric", spec.Unit("s")),
        spec.Measure("lowest", "metric"),
        spec.Measure("peak", "metric"),
    ),
    fixed=swing_fixed,
    results=swing_results,
    observe=swing_observe,
    run=spec.Run(0.0, 10.0, spec.Method()),
    states=(
        spec.Observed("pendulum.θ", spec.Unit("deg", DEG), "state"),
        spec.Observed("pendulum.ω", spec.Unit("rad/s"), "state"),
    ),
    rates=(1,),
    start=swing_start,
    rhs=swing_rhs,
    reductions=(
        spec.Reduction("average", 0),
        spec.Reduction("integral", 1),
        spec.Reduction("initial", 0),
        spec.Reduction("final", 0),
        spec.Reduction("fraction", 2),
        spec.Reduction("value_at", 0),
        spec.Reduction("settling_time", 0),
        spec.Reduction("lowest", 0),
        spec.Reduction("peak", 0),
    ),
    reduction_arguments=swing_arguments,
    recorded=swing_recorded,
    instants=swing_instants,
    ranges=lambda c: {"pendulum.θ": (-0.5, None)},
)

MODULE = spec.Module("pendulum", __doc__, (SWING,), (), "0")
