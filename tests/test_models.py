"""The library, against equations written a second time here (SciPy), closed forms and Gymnasium."""

import gymnasium
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp
from scipy.special import gammainc

import dpl

PRECISE = "using dopri8(rtol = 1e-10, atol = 1e-12)"


def simulate(text):
    return dpl.compile(text).scenarios["S"].simulate()


def integrate(rhs, start, time):
    return solve_ivp(rhs, (0, time[-1]), start, method="DOP853", t_eval=time, rtol=1e-10, atol=1e-12).y


def assert_agree(run, names, expected):
    for name, values in zip(names.split(), expected, strict=True):
        assert_allclose(run[name], values, rtol=1e-6, atol=1e-7, err_msg=name)


def test_pendulum():
    run = simulate(f"""
        from pendulum import Pendulum
        scenario S {{
          part p = Pendulum(m = 0.5, l = 2, b = 0.3, u = 2 [N*m]*sin(3 [1/s]*time), θ = 2, ω = -1)
          run for 5 [s] {PRECISE}
        }}""")

    def rhs(t, y):
        return [y[1], (2 * np.sin(3 * t) - 0.3 * y[1]) / (0.5 * 4) - 9.81 / 2 * np.sin(y[0])]

    angle, speed = integrate(rhs, [2, -1], run.time)
    energy = speed**2 + 0.5 * 9.81 * 2 * (1 - np.cos(angle))
    assert_agree(run, "p.θ p.ω p.energy", [angle, speed, energy])


def test_drone():
    run = simulate(f"""
        from drone import Drone
        scenario S {{
          let push = 8 [N]*sin(3 [1/s]*time)²
          part d = Drone(m = 0.7, lag = 0.1, drag = 0.05, thrust = push, wind = 2 [m/s], h = 5, v = 1)
          run for 3 [s] {PRECISE}
        }}""")

    def rhs(t, y):
        _, v, force = y
        drag = 0.05 * (2 - v) * abs(2 - v)
        return [v, (force + drag) / 0.7 - 9.81, (8 * np.sin(3 * t) ** 2 - force) / 0.1]

    assert_agree(run, "d.h d.v d.F", integrate(rhs, [5, 1, 0.7 * 9.81], run.time))


def test_double_pendulum():
    run = simulate(f"""
        from double_pendulum import DoublePendulum
        scenario S {{
          part p = DoublePendulum(m₂ = 0.5, l₁ = 0.8, u = 0.2 [N*m], θ₁ = 1, θ₂ = -0.5)
          run for 3 [s] {PRECISE}
        }}""")

    def rhs(t, y):
        a, b, da, db = y
        m1, m2, l1, l2, g = 1, 0.5, 0.8, 1, 9.81
        mass = [[(m1 + m2) * l1**2, m2 * l1 * l2 * np.cos(a - b)], [m2 * l1 * l2 * np.cos(a - b), m2 * l2**2]]
        coriolis = m2 * l1 * l2 * np.sin(a - b) * np.array([db**2, -(da**2)])
        gravity = g * np.array([(m1 + m2) * l1 * np.sin(a), m2 * l2 * np.sin(b)])
        return [da, db, *np.linalg.solve(mass, [0.2, 0] - coriolis - gravity)]

    assert_agree(run, "p.θ₁ p.θ₂ p.ω₁ p.ω₂", integrate(rhs, [1, -0.5, 0, 0], run.time))
    work = 0.2 * (run["p.θ₁"] - 1)
    assert_allclose(run["p.energy"] - run["p.energy"][0], work, atol=1e-7)


def test_lotka_volterra():
    run = simulate(f"""
        from lotka_volterra import LotkaVolterra
        scenario S {{ part w = LotkaVolterra(); run for 20 [year] {PRECISE} }}""")

    def rhs(t, y):
        return [0.55 * y[0] - 0.028 * y[0] * y[1], 0.024 * y[0] * y[1] - 0.8 * y[1]]

    assert_agree(run, "w.prey w.predator", integrate(rhs, [34, 5.9], run.time))


def test_sir():
    run = simulate(f"""
        from sir import SIR
        scenario S {{ part e = SIR(recovery = 0.5); run for 14 [day] {PRECISE} }}""")

    def rhs(t, y):
        return [-1.66 * y[0] * y[1] / 763, 1.66 * y[0] * y[1] / 763 - 0.5 * y[1], 0.5 * y[1]]

    assert_agree(run, "e.susceptible e.infected e.recovered", integrate(rhs, [762, 1, 0], run.time))


def test_mass_spring_damper():
    run = simulate(f"""
        from mass_spring_damper import MassSpringDamper
        scenario S {{
          part s = MassSpringDamper(m = 2, k = 8, c = 0.8, v0 = 0.5, x = 0.1)
          run for 10 [s] {PRECISE}
        }}""")
    decay, frequency = 0.2, np.sqrt(4 - 0.2**2)
    angle = frequency * run.time
    expected = np.exp(-decay * run.time) * (0.1 * np.cos(angle) + (0.5 + decay * 0.1) / frequency * np.sin(angle))
    assert_agree(run, "s.x", [expected])


def test_dc_motor():
    run = simulate(f"""
        from dc_motor import DCMotor
        scenario S {{ part m = DCMotor(v = 12 [V], load = 0.05 [N*m]); run for 3 [s] {PRECISE} }}""")

    def rhs(t, y):
        return [(12 - y[0] - 0.01 * y[1]) / 0.5, (0.01 * y[0] - 0.1 * y[1] - 0.05) / 0.01]

    assert_agree(run, "m.i m.ω", integrate(rhs, [0, 0], run.time))


def test_cannon():
    program = dpl.compile("""
        from cannon import Cannon
        scenario S {
          given speed: m/s = 8
          given angle: rad = 0.6
          part cannon = Cannon(speed = speed, angle = angle)
          metric range = cannon.range
        }""")
    flight = 2 * 8 * np.sin(0.6) / 9.81
    assert program.scenarios["S"].simulate().metrics["range"] == pytest.approx(8 * np.cos(0.6) * flight, rel=1e-12)


def test_pid_holds_between_ticks():
    run = simulate("""
        from pid import PID
        scenario S {
          part c = PID(kp = 2 [N/m], ki = 3 [N/(m*s)], kd = 0.1 [N*s/m], error = 1 [m/s]*time)
          run for 0.1 [s]
        }""")
    tick = np.floor(run.time / 0.01 + 1e-6)
    error = 0.01 * tick
    total = 0.01**2 * tick * (tick - 1) / 2  # of the errors before this tick
    derivative = np.where(tick > 0, 1.0, 0.0)
    assert_agree(run, "c.u", [2 * error + 3 * total + 0.1 * derivative])


def test_gymnasium_pendulum():
    """A pseudo-random torque that often leaves the actuator's limits."""
    run = simulate("""
        from gymnasium_pendulum import GymnasiumPendulum
        controller Law every 50 [ms] {
          input θ: rad
          output u = 3 [N*m]*sin(1000 [1/s^2]*time²) + 0.5 [N*m]*sin(θ)
        }
        scenario S {
          part plant = GymnasiumPendulum(u = law.u, θ = 2, ω = 0.5)
          part law = Law(θ = plant.θ)
          run for 10 [s]
          metric cost = average(plant.cost)
        }""")
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    env.state = np.array([2.0, 0.5])
    states, rewards = [env.state], []
    for k in range(200):
        u = 3 * np.sin(1000 * (0.05 * k) ** 2) + 0.5 * np.sin(env.state[0])
        rewards.append(env.step(np.array([u]))[1])
        states.append(env.state)
    ticks = np.floor(run.time / 0.05 + 1e-6).astype(int)
    assert_agree(run, "plant.θ plant.ω", np.array(states)[ticks].T)
    assert run.metrics["cost"] == pytest.approx(-np.mean(rewards), rel=1e-6)


def test_gymnasium_cartpole():
    """A bang-bang law with a pseudo-random part, which keeps the pole up for all 200 steps."""
    run = simulate("""
        from gymnasium_cartpole import GymnasiumCartPole
        controller Law every 20 [ms] {
          input x: m; input v: m/s; input θ: rad; input ω: rad/s
          let lean = θ + 0.4 [s]*ω + 0.02 [1/m]*x + 0.05 [s/m]*v + 0.1*sin(6250 [1/s^2]*time²)
          output force = 10 [N]*sign(lean)
        }
        scenario S {
          part plant = GymnasiumCartPole(force = law.force, x = 0.01, v = -0.02, θ = 0.03, ω = 0.04)
          part law = Law(x = plant.x, v = plant.v, θ = plant.θ, ω = plant.ω)
          run for 4 [s]
        }""")
    env = gymnasium.make("CartPole-v1").unwrapped
    env.reset(seed=0)
    env.state = np.array([0.01, -0.02, 0.03, 0.04])
    states = [env.state]
    for k in range(200):
        x, v, angle, speed = env.state
        lean = angle + 0.4 * speed + 0.02 * x + 0.05 * v + 0.1 * np.sin(6250 * (0.02 * k) ** 2)
        terminated = env.step(int(lean > 0))[2]
        assert not terminated
        states.append(env.state)
    ticks = np.floor(run.time / 0.02 + 1e-6).astype(int)
    assert_agree(run, "plant.x plant.v plant.θ plant.ω", np.array(states)[ticks].T)


# ---------------------------------------------------------------- arrays


def test_chain():
    """The shape in which it starts is kept, and swings at the frequency of the slowest mode."""
    run = simulate(f"""
        from chain import Chain
        scenario S {{ part c = Chain(m = 0.02 [kg]); run for 6 [s] {PRECISE} }}""")
    places = np.arange(1, 101) * np.pi / 101
    frequency = 2 * np.sqrt(100 / 0.02) * np.sin(np.pi / 202)
    assert_agree(run, "c.x", [0.1 * np.cos(frequency * run.time)[:, None] * np.sin(places)])
    assert_allclose(run["c.energy"], run["c.energy"][0], rtol=1e-7)


def test_compartments():
    """A step through n mixed volumes in a row leaves as the distribution function of Erlang's, of order n."""
    run = simulate("""
        from compartments import River
        scenario S {
          part r = River(residence = 100 [s], inflow = 2 [g/L])
          run for 110 [s] using tsit5(rtol = 1e-7, atol = 1e-9)
        }""")
    assert_allclose(run["r.outflow"], 2 * gammainc(1000, 1000 * run.time / 100), rtol=1e-5, atol=1e-6)


def test_n_bodies():
    run = simulate("""
        from n_bodies import Bodies
        scenario S { part b = Bodies(spin = 0.5); run for 1 using dopri8(rtol = 1e-9, atol = 1e-11) }""")

    def rhs(t, y):
        x, v = y.reshape(2, 100, 3)
        away = x[None] - x[:, None]
        return np.stack([v, np.sum(away / (np.sum(away**2, -1) + 0.01)[..., None] ** 1.5, 1) / 100]).ravel()

    start = np.stack([run["b.x"][0], run["b.v"][0]]).ravel()
    found = integrate(rhs, start, run.time).reshape(2, 100, 3, -1)
    assert_agree(run, "b.x b.v", np.moveaxis(found, -1, 1))
    assert_allclose(run["b.energy"], run["b.energy"][0], rtol=1e-8)
    assert_allclose(run["b.v"].sum(1), 0 * run["b.v"][:, 0] + run["b.v"][0].sum(0), atol=1e-9)


def test_gray_scott():
    run = simulate("""
        from gray_scott import GrayScott
        scenario S { part g = GrayScott(feed = 0.03); run for 20 using tsit5(rtol = 1e-8, atol = 1e-10) }""")

    def spread(a):
        return (sum(np.roll(a, step, axis) for step in (1, -1) for axis in (0, 1)) - 4 * a) / 0.01**2

    def rhs(t, y):
        u, v = y.reshape(2, 64, 64)
        gain = u * v**2
        change = [2e-5 * spread(u) - gain + 0.03 * (1 - u), 1e-5 * spread(v) + gain - 0.09 * v]
        return np.stack(change).ravel()

    start = np.stack([run["g.u"][0], run["g.v"][0]]).ravel()
    assert run["g.v"][0].sum() == 0.25 * 19**2
    found = integrate(rhs, start, run.time[[0, -1]]).reshape(2, 64, 64, -1)
    assert_allclose(run["g.u"][-1], found[0, ..., -1], rtol=1e-6)
    assert_allclose(run["g.v"][-1], found[1, ..., -1], rtol=1e-6, atol=1e-9)
