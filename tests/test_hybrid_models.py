"""The library's models with events, modes and Lagrangians, against closed forms, SciPy and models written by hand."""

import compiled
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

import dpl

PRECISE = "using dopri8(rtol = 1e-10, atol = 1e-12)"
g = 9.81


def simulate(text):
    return dpl.compile(text).scenarios["S"].simulate()


def stretches(phases, start, end):
    """The motion through phases in turn: `(rhs, border, reset, next)` each, until `end`.

    Returns the instants of the crossings by phase, and a function from times to states.
    """
    t, y, phase, instants, pieces = 0.0, np.asarray(start, float), next(iter(phases)), {p: [] for p in phases}, []
    while t < end:
        rhs, border, reset, following = phases[phase]
        hit = lambda t, y, border=border: border(y)  # noqa: E731
        hit.terminal, hit.direction = True, 1
        found = solve_ivp(rhs, (t, end), y, method="DOP853", rtol=1e-11, atol=1e-13, events=hit, dense_output=True)
        pieces.append((t, found.sol))
        t, y = found.t[-1], found.y[:, -1]
        if found.status == 1:
            instants[phase].append(t)
            y, phase = reset(y), following

    def at(times):
        begins = np.array([b for b, _ in pieces])
        return np.array([pieces[np.searchsorted(begins, t, side="right") - 1][1](t) for t in times]).T

    return instants, at


def away_from(times, instants, width=1e-6):
    """Where a grid is not so near an instant that rounding decides on which side it is."""
    return np.min(np.abs(np.subtract.outer(times, np.asarray(instants))), axis=1) > width


def test_a_ball_bounces_at_its_closed_form_and_comes_to_rest():
    times = "; ".join(f"metric t{k} = event_time(ball.bounces, {k})" for k in range(1, 7))
    run = simulate(f"""
        from bouncing_ball import Ball
        scenario S {{
          part ball = Ball(h = 1, e = 0.8, slow = 1)
          run for 4 [s]
          {times}
          metric end = event_time(ball.rests)
        }}""")
    speed = np.sqrt(2 * g) * 0.8 ** np.arange(7)  # before each impact
    impacts = np.sqrt(2 / g) + np.concatenate([[0], np.cumsum(2 * speed[1:] / g)])  # the seventh leaves at 0.93 m/s
    assert_allclose([run.metrics[f"t{k}"] for k in range(1, 7)], impacts[:6], rtol=1e-9)
    assert run.metrics["end"] == pytest.approx(impacts[6], rel=1e-9)
    last = np.searchsorted(impacts, run.time) - 1
    since = run.time - impacts[last]
    height = np.where(last < 0, 1 - g / 2 * run.time**2, 0.8 * speed[last] * since - g / 2 * since**2)
    height = np.where(run.time < impacts[6], height, 0)
    assert_allclose(run["ball.h"], height, atol=1e-9)


@pytest.fixture(scope="module")
def thermostat():
    program = dpl.compile("""
        from thermostat import Room
        scenario S {
          part room = Room()
          run for 4 [h]
          metric warm1 = event_time(room.warm); metric cold1 = event_time(room.cold)
          metric warm2 = event_time(room.warm, 2); metric cold2 = event_time(room.cold, 2)
          metric switched = count(room.warm)
          metric energy = integral(room.heating)
        }""")
    return program.scenarios["S"]


def test_a_thermostat_switches_at_its_closed_form(thermostat):
    run = thermostat.simulate()
    constant, top, low, high, cold = 2000.0, 273.15 + 30, 291.15, 294.15, 273.15
    up = constant * np.log((top - low) / (top - high))
    down = constant * np.log((high - cold) / (low - cold))
    first = constant * np.log((top - 288.15) / (top - high))
    got = [run.metrics[m] for m in ("warm1", "cold1", "warm2", "cold2")]
    assert_allclose(got, [first, first + down, first + down + up, first + 2 * down + up], rtol=1e-7)
    assert run.metrics["switched"] == 1 + (4 * 3600 - first) // (up + down)
    left = (4 * 3600 - first) % (up + down)
    on = first + up * ((4 * 3600 - first) // (up + down)) + max(left - down, 0)
    assert run.metrics["energy"] == pytest.approx(3000 * on, rel=1e-7)


def test_a_thermostat_that_begins_too_warm_goes_off_at_once(thermostat):
    run = thermostat.simulate(values={"room.T": 300})
    assert run.metrics["warm1"] == 0
    cools = 2000 * np.log(26.85 / 18)
    assert run.metrics["cold1"] == pytest.approx(cools, rel=1e-7)
    off = run.time * 3600 < cools
    assert_allclose(run["room.T"][off], 273.15 + 26.85 * np.exp(-run.time[off] * 3600 / 2000), rtol=1e-9)


def test_stick_and_slip_have_their_closed_form():
    """A straight line while it sticks; an arc of a harmonic motion about drag/k while it slips."""
    run = simulate(f"""
        from stick_slip import StickSlip
        scenario S {{
          part block = StickSlip()
          run for 12 [s] {PRECISE}
          metric first = event_time(block.breaks)
          metric third = event_time(block.breaks, 3)
          metric caught = event_time(block.catches)
        }}""")
    k, belt, grip, drag, ω = 10, 0.2, 4, 3, np.sqrt(10)
    above = (grip - drag) / k
    stick, slip = 2 * above / belt, 2 * (np.pi - np.arctan(above * ω / belt)) / ω
    first = grip / k / belt
    got = [run.metrics[m] for m in ("first", "caught", "third")]
    assert_allclose(got, [first, first + slip, first + 2 * (slip + stick)], rtol=1e-8)
    since = np.maximum(run.time - first, 0) % (slip + stick)
    arc = drag / k + above * np.cos(ω * since) + belt / ω * np.sin(ω * since)
    line = drag / k - above + belt * (since - slip)
    expected = np.where(run.time < first, belt * run.time, np.where(since < slip, arc, line))
    assert_allclose(run["block.x"], expected, atol=1e-8)


def car(ratio, throttle=1.0):
    def rhs(_, y):
        spin = ratio * y[0] / 0.3
        torque = 180 * (1 - 0.6 * (spin / 300 - 1) ** 2)
        return [(throttle * torque * ratio / 0.3 - 0.4 * y[0] ** 2 - 150) / 1200]

    return rhs


def test_a_car_shifts_up_and_down():
    """Full throttle for twelve seconds, then none."""
    run = simulate(f"""
        from gearbox import Car
        scenario S {{
          part car = Car(throttle = if time < 12 [s] then 1 else 0)
          run for 180 [s] {PRECISE}
        }}""")

    def stay(y):
        return y

    up = {
        "first": (car(12), lambda y: y[0] - 9, stay, "second"),
        "second": (car(7), lambda y: y[0] - 18, stay, "third"),
        "third": (car(4.5), lambda y: -1.0, stay, "third"),
    }
    shifts, rising = stretches(up, [0], 12)
    top = rising([12])[:, 0]
    down = {
        "third": (car(4.5, 0), lambda y: 11 - y[0], stay, "second"),
        "second": (car(7, 0), lambda y: 5 - y[0], stay, "first"),
        "first": (car(12, 0), lambda y: -1.0, stay, "first"),
    }
    backs, falling = stretches(down, top, 180 - 12)
    speed = np.where(run.time < 12, rising(np.minimum(run.time, 12))[0], falling(np.maximum(run.time - 12, 0))[0])
    assert_allclose(run["car.v"], speed, rtol=1e-7, atol=1e-8)
    (a,), (b,), (c,), (d,) = shifts["first"], shifts["second"], backs["third"], backs["second"]
    gear = np.select([run.time < a, run.time < b, run.time < 12 + c, run.time < 12 + d], [12, 7, 4.5, 7], 12)
    safe = away_from(run.time, [a, b, 12 + c, 12 + d])
    assert_allclose(run["car.ratio"][safe], gear[safe])


def test_doses_superpose():
    run = simulate(f"""
        from doses import Body
        scenario S {{
          part body = Body(loading = 200)
          run for 2 [day] {PRECISE}
          metric mean: mg/L = average(body.c from 1 [day])
        }}""")
    ka, ke = 1.2, 0.15
    hours = run.time * 24
    since = np.subtract.outer(hours, 8.0 * np.arange(7))
    amount = np.where(np.arange(7) == 0, 500, 300) / 30
    response = np.where(since > 0, np.exp(-ke * since) - np.exp(-ka * since), 0)
    assert_allclose(run["body.c"], ka / (ka - ke) * response @ amount, rtol=1e-8, atol=1e-8)
    gut = np.where(since >= 0, np.exp(-ka * since), 0) @ amount * 30
    safe = away_from(hours, 8.0 * np.arange(7))
    assert_allclose(run["body.gut"][safe], gut[safe], rtol=1e-8, atol=1e-8)


def test_a_leg_hops():
    """Its motor pushes with the motion, as hard as it can soon: first the hops grow."""
    run = simulate(f"""
        from hopper import Hopper
        scenario S {{
          part hopper = Hopper(thrust = 200 [N*s/m]*hopper.v)
          run for 3 [s] {PRECISE}
          metric landings = count(hopper.lands)
          metric landed = event_time(hopper.lands, 4)
        }}""")

    def stance(_, y):
        push = 4000 * (0.5 - y[0]) - 20 * y[1] + np.clip(200 * y[1], -100, 100)
        return [y[1], max(push, 0) / 5 - g]

    phases = {
        "flight": (lambda t, y: [y[1], -g], lambda y: 0.5 - y[0], lambda y: y, "stance"),
        "stance": (stance, lambda y: y[0] - 0.5, lambda y: y, "flight"),
    }
    instants, at = stretches(phases, [0.55, 0], 3)
    assert run.metrics["landings"] == len(instants["flight"])
    assert run.metrics["landed"] == pytest.approx(instants["flight"][3], rel=1e-6)
    y, v = at(run.time)
    assert_allclose(run["hopper.y"], y, atol=1e-6)
    assert_allclose(run["hopper.v"], v, atol=1e-4)


# ---------------------------------------------------------------- from energies


def test_the_lagrangian_double_pendulum_accelerates_as_the_one_by_hand():
    by_energy = """
        from lagrangian_double_pendulum import LagrangianDoublePendulum
        scenario S {
          param w₁: 1/s = 0; param w₂: 1/s = 0
          part p = LagrangianDoublePendulum(m₂ = 0.5, l₁ = 0.8, u = 0.2 [N*m])
          initial(p.θ₁') = w₁; initial(p.θ₂') = w₂
          run for 1 [s]
        }"""
    by_hand = """
        from double_pendulum import DoublePendulum
        scenario S { part p = DoublePendulum(m₂ = 0.5, l₁ = 0.8, u = 0.2 [N*m]); run for 1 [s] }"""
    for one, two, w1, w2 in np.random.default_rng(0).uniform(-3, 3, (5, 4)):
        angles = {"p.θ1": one, "p.θ2": two}
        got = compiled.at(by_energy, changes={**angles, "w1": w1, "w2": w2})
        expected = compiled.at(by_hand, changes={**angles, "p.ω1": w1, "p.ω2": w2})
        for n in "12":
            assert got[f"p.θ{n}''"] == pytest.approx(float(expected[f"p.ω{n}'"]), rel=1e-10)
        assert got["p.energy"] == pytest.approx(float(expected["p.energy"]), rel=1e-12)


def test_friction_in_the_joints_takes_energy_at_its_rate():
    run = simulate(f"""
        from lagrangian_double_pendulum import LagrangianDoublePendulum
        scenario S {{
          part p = LagrangianDoublePendulum(friction = 0.1)
          run for 3 [s] {PRECISE}
          metric gone = integral(p.friction*(p.θ₁'² + (p.θ₂' - p.θ₁')²))
        }}""")
    assert run["p.energy"][0] - run["p.energy"][-1] == pytest.approx(run.metrics["gone"], rel=1e-8)


def test_the_lagrangian_cartpole_accelerates_as_gymnasium_has_it():
    """By the sampled model, one tick of which moves each rate by 20 ms times its acceleration."""
    by_energy = """
        from lagrangian_cartpole import LagrangianCartPole
        scenario S {
          param v: m/s = 0; param ω: 1/s = 0; param force: N = 0
          part p = LagrangianCartPole(force = force)
          initial(p.x') = v; initial(p.θ') = ω
          run for 1 [s]
        }"""
    by_hand = """
        from gymnasium_cartpole import GymnasiumCartPole
        scenario S { param force: N = 0; part p = GymnasiumCartPole(force = force); run for 1 [s] }"""
    for angle, v, ω, force in np.random.default_rng(1).uniform(-3, 3, (5, 4)):
        got = compiled.at(by_energy, changes={"p.θ": angle, "v": v, "ω": ω, "force": force})
        expected = compiled.at(by_hand, changes={"p.θ": angle, "p.v": v, "p.ω": ω, "force": force})
        assert got["p.x''"] == pytest.approx(float(expected["p.a"]), rel=1e-10)
        assert got["p.θ''"] == pytest.approx(float(expected["p.α"]), rel=1e-10)


def test_an_event_assigns_some_elements_and_the_others_go_on():
    text = f"""scenario S {{
      state x[4] = [1, 2, 3, 4]
      state u[2, 3] = 1
      state q[2] = 0
      x' = -x/1 [s]
      u' = -u/1 [s]
      q'' = -q'/1 [s]
      when hit: x[0] < 0.5 {{ x[0] := 2*x[1]; x[2..3] := x[0..1]; u[1, 1] := 7; q[1]' := 1 [1/s] }}
      run for 1 [s] {PRECISE}
    }}"""
    run = simulate(text)
    x, u, q = (run[name][-1] for name in "xuq")
    left = np.exp(-1.0)
    assert_allclose(x, np.array([4, 2, 1, 2]) * left, rtol=1e-7)
    assert_allclose(u, [[left, left, left], [left, 14 * left, left]], rtol=1e-7)
    assert_allclose(q, [0, 1 - 2 * left], rtol=1e-7, atol=1e-12)
