"""Gymnasium's Pendulum-v1: a sampled plant under a sampled controller, both every 50 ms."""

import jax.numpy as jnp

from dpl.runtime import functions as fn
from dpl.runtime import networks, spec

NET = spec.Network(
    "pilot.net",
    (spec.Port("c", -1.0, 1.0), spec.Port("s", -1.0, 1.0), spec.Port("ω", -8.0, 8.0)),
    (spec.Port("u", -2.0, 2.0),),
    hidden=(24, 48),
    origin="gym.dpl:19",
)


def swing_fixed(v):
    net, theta0, omega0 = v["pilot.net"], v["θ0"], v["ω0"]
    return net, theta0, omega0


def swing_start(c):
    _, theta0, omega0 = c
    return (), (theta0, omega0), (0.0,)


def pilot(t, x, z, held, c):
    theta, omega = z
    u = networks.apply(NET, c[0], jnp.cos(theta), jnp.sin(theta), omega)  # gym.dpl:20
    return (u,), z


def plant(t, x, z, held, c):
    theta, omega = z
    (u,) = held
    u = fn.clip(u, -2.0, 2.0)  # gym.dpl:5
    omega_next = fn.clip(omega + 0.05 * (15.0 * jnp.sin(theta) + 3.0 * u), -8.0, 8.0)  # gym.dpl:8
    theta_next = theta + 0.05 * omega_next  # gym.dpl:9
    return held, (theta_next, omega_next)


def swing_rhs(t, x, z, held, c):
    theta, omega = z
    (u,) = held
    return (), (fn.wrap(theta) ** 2 + 0.1 * omega**2 + 0.001 * u**2,)


def swing_results(reduced, c):
    average, final, upright = reduced
    return {"cost": average, "last": final, "upright": upright}


def swing_observe(t, x, z, held, c):
    theta, omega = z
    return {"pendulum.θ": theta, "pendulum.ω": omega, "pilot.u": held[0]}


SWINGUP = spec.Scenario(
    name="SwingUp",
    doc="",
    params=(),
    givens=(
        spec.Given(
            "θ0",
            0.0,
            spec.Unit("rad"),
            distribution=spec.Distribution("uniform", (-3.141592653589793, 3.141592653589793)),
        ),
        spec.Given("ω0", 0.0, spec.Unit("rad/s"), distribution=spec.Distribution("uniform", (-1.0, 1.0))),
    ),
    starts=(),
    networks=(NET,),
    observed=(
        spec.Observed("pendulum.θ", spec.Unit("rad"), "state"),
        spec.Observed("pendulum.ω", spec.Unit("rad/s"), "state"),
        spec.Observed("pilot.u", spec.Unit("N*m"), "input", limit=True),
    ),
    measures=(spec.Measure("cost", "loss"), spec.Measure("last", "metric"), spec.Measure("upright", "metric")),
    fixed=swing_fixed,
    results=swing_results,
    observe=swing_observe,
    run=spec.Run(0.0, 10.0, spec.Method(), base=0.05),
    start=swing_start,
    rhs=swing_rhs,
    clocks=(spec.Clock(1, pilot), spec.Clock(1, plant, (0, 1))),
    reductions=(spec.Reduction("average", 0, True), spec.Reduction("final", 0), spec.Reduction("fraction", 0, True)),
    recorded=lambda t, x, z, held, c: (jnp.abs(fn.wrap(z[0])) < 0.1,),
    instants=lambda t, x, z, held, c: (z[0],),
    ranges=lambda c: {"pilot.u": (-2.0, 2.0)},
)

MODULE = spec.Module("gym", __doc__, (SWINGUP,), (), "0")
