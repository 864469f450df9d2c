"""Right-hand sides by hand, each once for every library: of a tuple of numbers, or of arrays of one number per run.

`m` is where `sin` and `cos` come from: `jax.numpy`, `torch`, `casadi` or `numpy`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

State = tuple[Any, ...]
BODIES, SOFT = 5, 0.05


@dataclass(frozen=True)
class Problem:
    """`text` is DPL's, with the given `z` for what differs between runs; its metric `end` is the sum of all states at
    the end, so that none is left out of the run."""

    text: str
    field: Callable[[State, Any], State]
    start: Callable[[Any], list[Any]]
    """Of `z`"""
    low: float
    high: float
    step: float
    count: int


# ---------------------------------------------------------------- a cart with a pole, without control

CARTPOLE = """
from lagrangian_cartpole import LagrangianCartPole
scenario Bench {
  given z: rad = 0.1
  part plant = LagrangianCartPole(force = 0 [N], θ = z)
  run for 1 [s] using rk4(2 [ms])
  metric end = final(plant.x/1 [m] + plant.x'*1 [s/m] + plant.θ + plant.θ'*1 [s])
}
"""


def cartpole(y: State, m: Any) -> State:
    _, v, angle, speed = y
    sine, cosine = m.sin(angle), m.cos(angle)
    push = 0.05 * speed * speed * sine / 1.1
    turn = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 / 1.1 * cosine * cosine))
    return v, push - 0.05 / 1.1 * turn * cosine, speed, turn


# ---------------------------------------------------------------- two pendulums

DOUBLE_PENDULUM = """
from double_pendulum import DoublePendulum
scenario Bench {
  given z: rad = 1
  part plant = DoublePendulum(u = 0 [N*m], θ₁ = z, θ₂ = 0.5 [rad])
  run for 2.5 [s] using rk4(5 [ms])
  metric end = final(plant.θ₁ + plant.θ₂ + (plant.ω₁ + plant.ω₂)*1 [s])
}
"""


def double_pendulum(y: State, m: Any) -> State:
    a, b, u, v = y
    sine, cosine = m.sin(a - b), m.cos(a - b)
    sin_a, sin_b = m.sin(a), m.sin(b)
    share = 1.0 / (1.0 + sine * sine)
    pull, push = u * u * sine, v * v * sine
    du = (9.81 * sin_b * cosine - pull * cosine - push - 19.62 * sin_a) * share
    dv = (2.0 * (9.81 * sin_a * cosine + pull - 9.81 * sin_b) + push * cosine) * share
    return u, v, du, dv


# ---------------------------------------------------------------- prey and predators: no trigonometry

LOTKA_VOLTERRA = """
from lotka_volterra import LotkaVolterra
scenario Bench {
  given z = 34
  part bay = LotkaVolterra(prey = z, predator = 5.9, birth = 0.5 [1/year], hunt = 0.02 [1/year], death = 0.9 [1/year],
                           growth = 0.03 [1/year])
  run for 20 [year] using rk4(0.04 [year])
  metric end = final(bay.prey + bay.predator)
}
"""


def lotka_volterra(y: State, m: Any) -> State:
    prey, predator = y
    meetings = prey * predator
    return 0.5 * prey - 0.02 * meetings, 0.03 * meetings - 0.9 * predator


# ---------------------------------------------------------------- bodies that attract each other, in the plane


N_BODIES = f"""
model Bodies {{
  const n = {BODIES}
  param z = 0
  const radius[n] = 1 + 0.1*i for i in 0..n-1
  state x[n, 2] = [radius[i]*cos(2*π*i/n) + (if i == 0 then z else 0), radius[i]*sin(2*π*i/n)] for i in 0..n-1
  state v[n, 2] = [-0.5*radius[i]*sin(2*π*i/n), 0.5*radius[i]*cos(2*π*i/n)] for i in 0..n-1
  let near[n, n] = (sum((x[j, c] - x[i, c])² for c in 0..1) + {SOFT})^(-1.5) for i in 0..n-1, j in 0..n-1
  x[i, c]' = v[i, c] for i in 0..n-1, c in 0..1
  v[i, c]' = 0.125*sum(near[i, j]*(x[j, c] - x[i, c]) for j in 0..n-1) for i in 0..n-1, c in 0..1
}}
scenario Bench {{
  given z = 0
  part all = Bodies(z = z)
  run for 2 using rk4(0.01)
  metric end = final(sum(all.x) + sum(all.v))
}}
"""


def _circle(i: int) -> tuple[float, float]:
    """Where the i-th body begins."""
    radius, angle = 1 + 0.1 * i, 2 * math.pi * i / BODIES
    return radius * math.cos(angle), radius * math.sin(angle)


def bodies(y: State, m: Any) -> State:
    n = BODIES
    x, r, u, v = y[:n], y[n : 2 * n], y[2 * n : 3 * n], y[3 * n :]
    du, dv = [0.0] * n, [0.0] * n
    for i in range(n):
        for j in range(i + 1, n):
            dx, dy = x[j] - x[i], r[j] - r[i]
            square = dx * dx + dy * dy + SOFT
            pull = 0.125 / (square * m.sqrt(square))
            du[i], du[j] = du[i] + dx * pull, du[j] - dx * pull
            dv[i], dv[j] = dv[i] + dy * pull, dv[j] - dy * pull
    return (*u, *v, *du, *dv)


def _bodies_start(z: Any) -> list[Any]:
    places = [_circle(i) for i in range(BODIES)]
    x, y = [p[0] for p in places], [p[1] for p in places]
    return [x[0] + z, *x[1:], *y, *(-0.5 * b for b in y), *(0.5 * a for a in x)]


PROBLEMS = {
    "cart with a pole": Problem(CARTPOLE, cartpole, lambda z: [0.0, 0.0, z, 0.0], -0.2, 0.2, 0.002, 500),
    "double pendulum": Problem(DOUBLE_PENDULUM, double_pendulum, lambda z: [z, 0.5, 0.0, 0.0], 0.2, 1.5, 0.005, 500),
    "prey and predators": Problem(LOTKA_VOLTERRA, lotka_volterra, lambda z: [z, 5.9], 20.0, 40.0, 0.04, 500),
    f"{BODIES} bodies": Problem(N_BODIES, bodies, _bodies_start, -0.05, 0.05, 0.01, 200),
}
