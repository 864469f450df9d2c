"""Aim a cannon through its physics."""

import jax.numpy as jnp

from dpl.runtime import functions as fn
from dpl.runtime import networks, spec

AIM = spec.Network(
    "aim",
    (spec.Port("target", 1.0, 9.0),),
    (spec.Port("speed", 0.5, 10.0), spec.Port("angle", 0.02, 1.55)),
    hidden=(32, 32),
    origin="cannon.dpl:10",
)


def aimed_fixed(v):
    target = v["target"]
    setting_speed, setting_angle = networks.apply(AIM, v["aim"], target)  # cannon.dpl:14
    cannon_range = setting_speed**2 * jnp.sin(2.0 * setting_angle) / 9.81  # cannon.dpl:7
    return target, setting_speed, setting_angle, cannon_range


def aimed_results(reduced, c):
    target, _, _, cannon_range = c
    error = jnp.abs(cannon_range - target)  # cannon.dpl:16
    return {"error": error}


def aimed_observe(t, x, z, held, c):
    _, setting_speed, setting_angle, cannon_range = c
    return {"setting.speed": setting_speed, "setting.angle": setting_angle, "cannon.range": cannon_range}


AIMED = spec.Scenario(
    name="Aimed",
    doc="",
    params=(),
    givens=(spec.Given("target", 5.0, spec.Unit("m"), distribution=spec.Distribution("uniform", (1.0, 9.0))),),
    starts=(),
    networks=(AIM,),
    observed=(
        spec.Observed("setting.speed", spec.Unit("m/s")),
        spec.Observed("setting.angle", spec.Unit("rad")),
        spec.Observed("cannon.range", spec.Unit("m"), "output", origin="cannon.dpl:7"),
    ),
    measures=(spec.Measure("error", "metric", spec.Unit("m"), "cannon.dpl:16"),),
    fixed=aimed_fixed,
    results=aimed_results,
    observe=aimed_observe,
)


def descent_fixed(v):
    target, speed, angle = v["target"], v["speed"], v["angle"]
    cannon_range = speed**2 * jnp.sin(2.0 * angle) / 9.81  # cannon.dpl:7
    return target, speed, angle, cannon_range


def descent_results(reduced, c):
    target, _, _, cannon_range = c
    return {
        "error": jnp.abs(cannon_range - target),  # cannon.dpl:24
        "cost": fn.huber(cannon_range - target, 1.0),  # cannon.dpl:25
    }


def descent_observe(t, x, z, held, c):
    return {"cannon.range": c[3]}


DESCENT = spec.Scenario(
    name="Descent",
    doc="",
    params=(
        spec.Param("speed", 5.0, spec.Unit("m/s"), 0.5, 10.0),
        spec.Param("angle", None, spec.Unit("deg", 0.017453292519943295), 0.02, 1.55),
    ),
    givens=(spec.Given("target", 5.0, spec.Unit("m"), distribution=spec.Distribution("uniform", (1.0, 9.0))),),
    starts=(),
    networks=(),
    observed=(spec.Observed("cannon.range", spec.Unit("km", 1000.0), "output"),),
    measures=(spec.Measure("error", "metric", spec.Unit("m")), spec.Measure("cost", "loss")),
    fixed=descent_fixed,
    results=descent_results,
    observe=descent_observe,
)

MODULE = spec.Module("cannon", __doc__, (AIMED, DESCENT), (), "0")
