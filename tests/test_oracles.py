"""Whole runs against closed forms: values, convergence orders, gradients, reductions over time."""

import math

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import ellipk

import dpl

PRECISE = "dopri8(rtol = 1e-11, atol = 1e-12)"


def evaluate(text, **keywords):
    return next(iter(dpl.compile(text).scenarios.values())).evaluate(**keywords)


def gradients(text, kind, names, measure="y"):
    """The derivative of a measure to params, givens or starts, and that by central differences."""
    scenario = next(iter(dpl.compile(text).scenarios.values()))
    first = {n: float(getattr(scenario, kind)[n]) for n in names}
    function = jax.jit(lambda v: scenario.evaluate(**{kind: v})[measure])
    found = jax.grad(function)(first)
    steps = {n: 1e-5 * max(1, abs(v)) for n, v in first.items()}
    by_hand = {
        n: (function({**first, n: first[n] + h}) - function({**first, n: first[n] - h})) / (2 * h)
        for n, h in steps.items()
    }
    return [float(found[n]) for n in names], [float(by_hand[n]) for n in names]


# ---------------------------------------------------------------- closed forms

OSCILLATOR = """
model Oscillator {{ param ω = 2; state x = 1; x'' = -ω²*x; initial(x') = v0; param v0 = 0.5 }}
scenario S {{ part o = Oscillator(); run for 3 using {method}; loss y = final(o.x) }}
"""


def oscillation(w=2.0, x0=1.0, v0=0.5, t=3.0):
    return x0 * math.cos(w * t) + v0 / w * math.sin(w * t)


def test_harmonic_oscillator():
    text = OSCILLATOR.format(method="rk4(0.002)")
    assert evaluate(text)["y"] == pytest.approx(oscillation(), abs=1e-10)
    found, by_hand = gradients(text, "params", ["o.ω", "o.v0"])
    h = 1e-6
    closed = [(oscillation(w=2 + h) - oscillation(w=2 - h)) / (2 * h), math.sin(6) / 2]
    assert_allclose(found, closed, rtol=1e-7)
    assert_allclose(found, by_hand, rtol=1e-6)
    found, _ = gradients(text, "starts", ["o.x"])
    assert_allclose(found, [math.cos(6)], rtol=1e-9)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("semi_implicit", 1), ("midpoint", 2), ("rk4", 4)])
def test_order_of_convergence(method, order):
    errors = [
        abs(float(evaluate(OSCILLATOR.format(method=f"{method}({step})"))["y"]) - oscillation())
        for step in (0.02, 0.01)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_exponential_decay():
    text = """
    scenario S {
      given k = 0.7; param x0 = 3
      state x = x0
      x' = -k*x
      run for 2 using rk4(0.002)
      loss y = integral(x²)
    }"""
    closed = 9 * (1 - math.exp(-2.8)) / 1.4
    assert evaluate(text)["y"] == pytest.approx(closed, rel=1e-9)
    found, by_hand = gradients(text, "givens", ["k"])
    slope = 9 * (2.8 * math.exp(-2.8) - (1 - math.exp(-2.8))) / (2 * 0.49)
    assert_allclose(found, [slope], rtol=1e-7)
    assert_allclose(found, by_hand, rtol=1e-6)
    assert_allclose(gradients(text, "params", ["x0"])[0], [2 * closed / 3], rtol=1e-8)


def test_period_of_a_pendulum():
    """T = 4*sqrt(l/g)*K(sin²(θ₀/2))."""
    period = float(4 * math.sqrt(2 / 9.81) * ellipk(math.sin(1.2 / 2) ** 2))
    text = f"""
    from pendulum import Pendulum
    scenario S {{
      part p = Pendulum(l = 2, b = 0, θ = 1.2)
      run for {period!r} [s] using {PRECISE}
      metric y = final(p.θ)
      metric z = value_at(p.θ, {period / 4!r} [s])
    }}"""
    found = evaluate(text)
    assert found["y"] == pytest.approx(1.2, abs=1e-9)
    assert found["z"] == pytest.approx(0, abs=1e-6)


def test_rlc_circuit():
    text = f"""
    model RLC {{
      param R: ohm = 20; param L: mH = 50; param C: uF = 10
      input v: V
      state q: uC = 0
      state i: mA = 0
      q' = i
      L*i' + R*i + q/C = v
    }}
    scenario S {{ part c = RLC(v = 5 [V]); run for 4 [ms] using {PRECISE}; metric y = final(c.i) }}"""
    a, w0 = 20 / (2 * 50e-3), 1 / math.sqrt(50e-3 * 10e-6)
    w = math.sqrt(w0**2 - a**2)
    closed = 5 / (w * 50e-3) * math.exp(-a * 4e-3) * math.sin(w * 4e-3)
    assert evaluate(text)["y"] == pytest.approx(closed, rel=1e-8)


def test_units_change_nothing():
    template = """
    model Fall {{ param k: {k} ; input g: {g}; state h: {h} = {h0}; state v: {v} = 0; h' = v; v' = -g - k*v }}
    scenario S {{ part f = Fall(k = {k0}, g = {g0}); run for {t} using rk4({step}); metric y: m = final(f.h) }}"""
    si = dict(k="1/s", g="m/s^2", h="m", v="m/s", h0=3000, k0=0.01, g0=9.81, t="20 [s]", step="100 [ms]")
    field = dict(k="1/h", g="km/h^2", h="km", v="km/h", h0=3, k0=36, g0=9.81 * 12960, t="20_000 [ms]", step="0.1 [s]")
    assert_allclose(evaluate(template.format(**si))["y"], evaluate(template.format(**field))["y"], rtol=1e-13)


# ---------------------------------------------------------------- reductions over time

REDUCTIONS = """
scenario S {{
  state x = 0
  x' = cos(time)
  run for 3 using {method}
  metric initial_ = initial(x + 1)
  metric final_ = final(x)
  metric middle = value_at(x, 0.75)
  metric average_ = average(x)
  metric average_part = average(x from 0.5 until 1.5)
  metric integral_ = integral(x²)
  metric integral_part = integral(x from 1)
  metric peak_ = peak(x)
  metric peak_part = peak(x from 2)
  metric lowest_ = lowest(x)
  metric lowest_part = lowest(x from 1 until 2)
  metric share = fraction(x > 0.5)
  metric settled = settling_time(x, 0.1411200080598672, 0.2)
}}"""

CLOSED = {
    "initial_": 1.0,
    "final_": math.sin(3),
    "middle": math.sin(0.75),
    "average_": (1 - math.cos(3)) / 3,
    "average_part": math.cos(0.5) - math.cos(1.5),
    "integral_": 1.5 - math.sin(6) / 4,
    "integral_part": math.cos(1) - math.cos(3),
    "peak_": 1.0,
    "peak_part": math.sin(2),
    "lowest_": 0.0,
    "lowest_part": math.sin(1),
    "share": (math.pi * 5 / 6 - math.pi / 6) / 3,
    "settled": math.pi - math.asin(math.sin(3) + 0.2),
}


@pytest.mark.parametrize("method", ["rk4(0.01)", PRECISE])
def test_reductions_over_time(method):
    found = evaluate(REDUCTIONS.format(method=method))
    for name, closed in CLOSED.items():
        coarse = {"peak_": 1e-4, "share": 5e-3, "settled": 1e-4}.get(name, 1e-8)
        assert found[name] == pytest.approx(closed, abs=coarse), name


def test_reductions_of_sampled_runs():
    text = """
    model M every 0.1 { state n = 1; next n = 2*n; output y = n + 0 }
    scenario S { part m = M(); run for 1; metric y = average(m.y); metric z = final(m.n); metric w = peak(m.y) }"""
    found = evaluate(text)
    assert found["y"] == pytest.approx(sum(2**i for i in range(10)) / 10)
    assert found["z"] == found["w"] == 1024


# ---------------------------------------------------------------- gradients through what is solved


def test_gradient_through_newton_in_a_run():
    text = """
    scenario S {
      param p = 2
      state x = 1
      let z in 0..10
      z^3 + z = p + x²
      x' = -z
      run for 1 using rk4(0.02)
      loss y = final(x) + 2*average(z)
    }"""
    found, by_hand = gradients(text, "params", ["p"])
    assert_allclose(found, by_hand, rtol=1e-7)


def test_gradient_through_a_linear_solve_and_clocks():
    text = """
    model Plant { param a = 2; input u; state x = 1; state w = 0; 2*x' + w' = u - a*x; x' - 3*w' = w }
    controller C every 0.1 { param k = 0.5; input y; state s = 0; next s = s + y; output u = -k*y - 0.1*s }
    scenario S {
      part p = Plant(u = c.u); part c = C(y = p.x + p.w)
      run for 2 using rk4(0.05); loss y = integral(p.x² + p.w²)
    }
    """
    found, by_hand = gradients(text, "params", ["p.a", "c.k"])
    assert_allclose(found, by_hand, rtol=1e-6)


def test_a_steady_start_has_a_gradient():
    text = """
    scenario S {
      param p = 8
      state x in 0..5
      x' = p - x^3
      initial(x') = 0
      run for 1 using rk4(0.1)
      loss y = final(x)
    }"""
    assert evaluate(text)["y"] == pytest.approx(2)
    assert_allclose(gradients(text, "params", ["p"])[0], [1 / 12], rtol=1e-9)


def test_a_sampled_plant_is_gymnasiums_step():
    text = """
    from gymnasium_pendulum import GymnasiumPendulum
    scenario S { part p = GymnasiumPendulum(u = 1.5 [N*m], θ = 1, ω = 0.5); run for 0.15 [s]; metric y = final(p.θ) }"""
    angle, speed = 1.0, 0.5
    for _ in range(3):
        speed = np.clip(speed + (15 * np.sin(angle) + 4.5) * 0.05, -8, 8)
        angle = angle + speed * 0.05
    assert evaluate(text)["y"] == pytest.approx(angle, rel=1e-12)


# ---------------------------------------------------------------- inputs that act by the clock

PULSES = """
scenario S {
  param width: s = 0.1
  state x = 0
  x' = if time > 1 [s] and time < 1 [s] + width then 1 [1/s] else 0
  state E: J = 0
  E' = if mod(time, 4 [s]) < 0.5 [s] then 8 [kW] else 0
  run for 10 [s]
  metric short = final(x)
  metric energy: kJ = final(E)
  metric area: s = integral(if time > 5 [s] and time < 5.2 [s] then 1 else 0)
  metric bump: s = integral(exp(-((time - 7 [s])/(0.05 [s]))²))
}
"""


@pytest.fixture(scope="module")
def pulses():
    return next(iter(dpl.compile(PULSES).scenarios.values()))


def test_an_adaptive_solver_does_not_step_over_what_happens_by_the_clock(pulses):
    found = pulses.evaluate()
    assert found["short"] == pytest.approx(0.1, rel=1e-9)
    assert found["area"] == pytest.approx(0.2, rel=1e-9)
    assert found["energy"] == pytest.approx(8 * 0.5 * 3, rel=1e-5)  # through `mod`: found by the error alone
    assert found["bump"] == pytest.approx(0.05 * math.sqrt(math.pi), rel=1e-7)


def test_switching_times_may_depend_on_params(pulses):
    assert pulses.evaluate({"width": 0.03})["short"] == pytest.approx(0.03, rel=1e-9)
    assert pulses.traces["measures"] == 1


def test_a_run_that_fails_has_no_results():
    text = "scenario S { state x = 1; x' = x²; run for 2; loss l = final(x) }"
    scenario = dpl.compile(text).scenarios["S"]
    assert math.isnan(scenario.evaluate()["l"])
    run = scenario.simulate(points=4)
    assert run.status != "ok" and math.isnan(run.losses["l"])
