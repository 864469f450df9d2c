"""Windows with a learned value: pieces make the whole run, and what is learned is the discounted optimum."""

import jax.numpy as jnp
import numpy as np
import pytest

import dpl
from dpl.runtime import networks, solve
from dpl.tasks import engine, optimisers, vary, windows
from dpl.tasks.context import Context, setup
from dpl.tasks.problem import Constants, Problem
from dpl.tasks.run import run_tasks
from tests.test_tasks import Memory, Pressed

# x is driven to 0 by a proportional controller: what is best is known in closed form.
REGULATED = """
model Plant every 100 [ms] { input u; state x = 1; next x = x + 0.1*u }
controller Pilot every 100 [ms] { param k = 0.5 in 0..10; input x; output u = -k*x }
network critic(x in -2..2) -> value in 0.. { hidden 16 }
scenario S {
  given x0 ~ uniform(-2, 2)
  part plant = Plant(u = pilot.u, x = x0)
  part pilot = Pilot(x = plant.x)
  run for 4 [s]
  loss cost = average(plant.x² + 0.2*pilot.u²)
}
train t {
  on S; vary pilot.k; minimize cost
  window 0.3 [s] with value critic(plant.x), discount 0.9
  using adam(rate = 2e-2, decay = cosine); batch 32; steps 1_000
}
"""


@pytest.fixture(scope="module")
def program():
    return dpl.compile(REGULATED)


def riccati(a: float, b: float, q: float, r: float, discount: float, ticks: int = 10_000) -> tuple[float, float]:
    """The gain and the value of x = 1 of the discounted problem: Bertsekas, Dynamic programming, section 4.2."""
    gain = value = 0.0
    for _ in range(ticks):
        gain = discount * a * b * value / (r + discount * b * b * value)
        value = q + r * gain**2 + discount * (a - b * gain) ** 2 * value
    return gain, value


def test_the_gain_and_the_critic_are_those_of_the_discounted_optimum(program):
    task = program.tasks["t"]
    ready = setup(program, task, Context())
    free, (descent, _) = vary.freedoms(ready.scenario, task), optimisers.descent(task.method)
    problem = Problem(ready.scenario, task.objective, free, descent.rule, 32)
    numbers = {**descent.numbers, "discount": task.window.discount}
    constants = Constants(ready.base, np.asarray(0), np.asarray(1000.0), numbers)
    starts = vary.starts(ready, task, free, 1, ready.base)
    starts |= windows.critics(program, ready.scenario, task.window, 0, 1)
    loop = engine.Loop(windows.Windowed(problem, task.window), starts, constants, 1000)
    loop.advance(1000)
    found = loop.values(0)
    gain, value = riccati(1.0, 0.1, 1.0, 0.2, 0.9)
    assert float(found["pilot.k"]) == pytest.approx(gain, rel=0.12)
    assert riccati(1.0, 0.1, 1.0, 0.2, 0.9, ticks=3)[0] < 0.6 * gain, "without the critic a window is short-sighted"
    learned = [float(networks.apply(task.window.critic, found["critic"], x)) for x in (1.0, 0.5)]
    assert learned == pytest.approx([0.1 * value, 0.1 * value / 4], rel=0.25)  # 0.1 = 1 - discount: an average


def test_targets_are_discounted_sums():
    costs, last = np.arange(6.0).reshape(2, 3), np.array([10.0, 20.0])
    found = windows._discounted(jnp.asarray(costs), jnp.asarray(last), 0.5)
    expected = [[c[0] + 0.5 * c[1] + 0.25 * c[2] + v / 8 for c, v in zip(costs, last, strict=True)]]
    np.testing.assert_allclose(found[:, 0], expected[0])
    np.testing.assert_allclose(found[:, 2], costs[:, 2] + 0.5 * last)


PIECES = """
model Slow every 300 [ms] { input y; state n = 0; next n = n + y }
model Fast every 100 [ms] { input x; input n; state m = 1; next m = 0.9*m + 0.1*x - 0.01*n; output y = m + time/1 [s] }
scenario S {
  state x = 1
  part fast = Fast(x = x, n = slow.n)
  part slow = Slow(y = fast.y)
  noise gust ~ normal(0, 0.1) every 100 [ms]
  x' = (fast.y - x + slow.n + gust)/(2 [s])
  run for 2 [s] using rk4(50 [ms])
  loss cost = integral(x²)
}
"""


def test_pieces_make_the_whole_run():
    """With clocks of different periods and continuous states between them."""
    scenario = dpl.compile(PIECES).scenarios["S"]
    values = scenario.values_si()
    p = solve.problem(scenario.spec, scenario.spec.fixed(values), scenario.method)
    plan = solve.plan(scenario.spec, scenario.method)
    whole = solve.solve(p, scenario.method, plan)
    carry, first = solve.beginning(p), 0
    for count in (7, 5, 8):
        carry, begins = solve.piece(p, scenario.method, plan, carry, first, count)
        first += count
        assert begins.status.shape == (count,)
    x, totals = p.layout.unpack(carry.y)
    np.testing.assert_allclose([*x, *totals], [*whole.last.x, *whole.totals], rtol=1e-12)
    np.testing.assert_allclose(p.ticker.due(first, carry.kept), whole.last.z, rtol=1e-12)


def test_a_lost_training_in_windows_goes_on_bit_for_bit():
    text = REGULATED.replace("steps 1_000", "steps 60; starts 2")
    (whole,) = run_tasks(dpl.compile(text))
    memory = Memory()
    (part,) = run_tasks(dpl.compile(text), progress=Pressed(after=10), keeper=memory)
    (rest,) = run_tasks(dpl.compile(text), keeper=memory)
    assert part.status == "interrupted" and rest.status == "done"
    np.testing.assert_array_equal(rest.losses, whole.losses)
    assert rest.found["pilot.k"].value == whole.found["pilot.k"].value


def test_the_best_on_whole_runs_is_kept_and_the_critic_goes_on(program):
    fresh = networks.init(program.tasks["t"].window.critic, 0)
    result = program.run("t")["t"]
    assert result.judged.value < 0.9 * float(np.mean(result.losses[:1])) or result.judged.value < 0.35
    before, after = fresh["w"][0], program.values["critic"]["w"][0]
    assert not np.allclose(before, after)
