"""What the clauses of tasks become: the generated functions say what the text says."""

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from dpl.runtime import program
from tests.compiled import at, gradient, source, static

AIM = "network aim(target in 1..9) -> (speed in 0.5..10, angle in 0.02..1.55) { hidden 4 }\n"
AIMED = AIM + static(
    "given target ~ uniform(1, 9)",
    "param k = 0.5 in 0..1",
    "let setting = aim(target)",
    "let share = k",
    "let same = share",
    "let range = setting.speed*cos(setting.angle)*same",
    "metric error = abs(range - target)",
    "loss both = (range - target)² + 0.1*share² + 3*error*error/4",
    "loss total = 2*both + error²",
)


def tasks(text):
    return program.load(source(text), "test").tasks


def optimize(*clauses, scenario=AIMED):
    return tasks(f"{scenario}\noptimize o {{ on S; {'; '.join(clauses)} }}")["o"]


# ---------------------------------------------------------------- freed lets

FREED = AIMED + "\noptimize o { on S; vary each setting, share, range; minimize error² }"


def test_without_a_value_a_freed_let_is_what_its_equation_says():
    assert {k: float(v) for k, v in at(FREED).items()} == {k: float(v) for k, v in at(AIMED).items()}


@pytest.mark.parametrize(
    ("changes", "range_"),
    [
        ({"setting.speed": 2.0, "setting.angle": 0.0}, 2.0 * 0.5),
        ({"setting.speed": 2.0, "setting.angle": 0.0, "share": 0.25}, 2.0 * 0.25),
        ({"range": 7.0, "share": 0.25}, 7.0),
    ],
)
def test_everything_downstream_reads_the_value_of_a_freed_let(changes, range_):
    found = at(FREED, changes=changes)
    assert found["range"] == pytest.approx(range_)
    assert found["same"] == found["share"]
    assert found["error"] == pytest.approx(abs(range_ - 5.0))


def test_a_freed_let_has_its_own_derivative_and_hides_what_was_behind_it():
    spec = program.load(source(FREED), "test").scenarios["S"].spec
    values = program.load(source(FREED), "test").scenarios["S"].values_si()

    def range_(free, k):
        c = spec.fixed({**values, "k": k, "share": free, "setting.speed": 2.0, "setting.angle": 0.0})
        return spec.observe(0.0, (), (), (), c)["range"]

    assert jax.grad(range_, (0, 1))(0.25, 0.5) == (2.0, 0.0)
    assert gradient(FREED, "k", "range") == gradient(AIMED, "k", "range") != 0


def test_what_is_freed_and_where_it_starts():
    spec = program.load(source(FREED), "test").scenarios["S"].spec
    free = {f.name: (f.low, f.high) for f in spec.free}
    assert free == {
        "setting.speed": (0.5, 10.0),
        "setting.angle": (0.02, 1.55),
        "share": (None, None),
        "range": (None, None),
    }
    values = program.load(source(FREED), "test").scenarios["S"].values_si()
    found = spec.freed(spec.fixed({**values, "share": 0.125}))
    assert set(found) == set(free) and found["share"] == 0.125
    assert found["setting.speed"] == pytest.approx(at(AIMED)["setting.speed"])


def test_each_and_narrowed_ranges_reach_the_task():
    task = optimize("vary each setting, k in 0.2..0.4, share", "minimize error²")
    found = {v.name: (v.low, v.high, v.each) for v in task.vary}
    assert found == {
        "setting.speed": (None, None, True),
        "setting.angle": (None, None, True),
        "k": (0.2, 0.4, False),
        "share": (None, None, False),
    }


def test_each_of_all_params():
    text = static("param a = 1", "param b = 2", "given g ~ normal(0, 1)", "metric error = abs(a + b - g)")
    found = optimize("vary each all", "minimize error²", scenario=text).vary
    assert [(v.name, v.each) for v in found] == [("a", True), ("b", True)]


def test_a_given_is_varied_within_its_range():
    text = static("given g in 0..4 ~ uniform(1, 3)", "metric error = abs(g - 2)")
    found = optimize("vary each g in 1..2", "minimize error²", scenario=text).vary
    assert [(v.name, v.low, v.high, v.each) for v in found] == [("g", 1, 2, True)]


def test_settings_of_params_givens_and_starts():
    text = (
        "scenario S { param k = 1\n given g = 2\n state x = 3\n x' = -k*x\n run for 1\n metric error = final(x) - g }"
    )
    text += "\noptimize o { on S with k = 0.5, g = 1, x = 2*2; vary k; minimize error² }"
    assert tasks(text)["o"].settings == (("k", 0.5), ("g", 1.0), ("x", 4.0))


def test_an_array_is_freed_whole():
    text = static("param k = 2", "let a[3] = k*[1, 2, 3]", "metric y = sum(a)")
    text += "\noptimize o { on S; vary a; minimize y² }"
    spec = program.load(source(text), "test").scenarios["S"].spec
    assert [f.shape for f in spec.free] == [(3,)]
    assert at(text)["y"] == 12 and at(text, changes={"a": np.array([1.0, 0.0, 0.0])})["y"] == 1


def test_of_several_names_of_one_let_all_read_the_value():
    text = static("param k = 2", "let a = b", "let b = k + 1", "let c = 3 + k", "metric y = a + 10*b + 100*c")
    text += "\noptimize o { on S; vary b, c; minimize y² }"
    assert at(text)["y"] == 3 + 30 + 500
    assert at(text, changes={"b": 1.0, "c": 1.0})["y"] == 111


def test_lets_of_parts_of_the_file_and_wired_params_are_freed():
    text = "model A { param gain = 1 in 0..4; input u; let inner = gain*u; output y = inner }\nlet shared = 3\n"
    text += static("param k = 2", "part a = A(u = shared, gain = k + 1)", "metric y = a.y")
    text += "\noptimize o { on S; vary a.inner, a.gain, shared; minimize y² }"
    assert at(text)["y"] == 9
    assert at(text, changes={"shared": 5.0})["y"] == 15
    assert at(text, changes={"a.gain": 2.0})["y"] == 6
    assert at(text, changes={"a.inner": -1.0, "shared": 5.0})["y"] == -1
    spec = program.load(source(text), "test").scenarios["S"].spec
    assert {f.name: (f.low, f.high) for f in spec.free}["a.gain"] == (0, 4)


def test_a_freed_let_of_a_sampled_block_holds_in_all_ticks():
    text = "model C every 0.5 { input x; param k = 3; let gain = 2*k; output u = -gain*x }\n"
    text += "scenario S { part c = C(x = x); state x = 1; x' = c.u; run for 1; metric m = final(x) }"
    text += "\noptimize o { on S; vary c.gain; minimize m² }"
    assert at(text)["c.u"] == -6 and at(text, changes={"c.gain": 1.5})["c.u"] == -1.5


def test_a_freed_let_in_a_circle_of_equations():
    text = static("let a = cos(b)", "let b = a/2", "metric y = a + b") + "\noptimize o { on S; vary b; minimize y² }"
    solved = at(text)
    assert solved["b"] == pytest.approx(solved["a"] / 2) and solved["a"] == pytest.approx(np.cos(solved["b"]))
    assert at(text, changes={"b": 0.0})["y"] == pytest.approx(1.0)


# ---------------------------------------------------------------- objectives as sums of squares

RESULTS = {
    "error": np.array([0.5, 2.0, 1.0]),
    "both": np.array([1.0, 3.0, 2.0]),
    "total": np.array([4.0, 1.0, 1.0]),
    "both square 1": np.array([0.1, 0.2, -0.3]),
    "both square 2": np.array([1.0, 2.0, 3.0]),
    "both square 3": np.array([0.5, 2.0, 1.0]),
    "total square 1": np.array([0.5, 2.0, 1.0]),
}


@pytest.mark.parametrize(
    "goal",
    [
        "error²",
        "error^4",
        "3*error²",
        "error²/2",
        "error*error",
        "(error - both)²",
        "error² + 0.1*both²",
        "mean(error²)",
        "0.5*mean(error² + 2*both²)",
        "mean(error²) + mean(both²)",
    ],
)
def test_the_mean_of_the_squares_is_the_objective(goal):
    found = optimize("vary share", f"minimize {goal}").objective
    squares = sum(np.square(r) for r in found.residuals(RESULTS))
    assert np.mean(squares) == pytest.approx(float(found.function(RESULTS)))


@pytest.mark.parametrize(
    "goal",
    ["error", "error^3", "abs(error)", "error² - both²", "max(error²)", "median(error²)", "mean(error)²", "exp(error²)",
     "-2*error²", "error² + 1", "huber(error, 1)", "mean(error)*error²", "total + error"],
)  # fmt: skip
def test_what_is_no_sum_of_squares_has_no_residuals(goal):
    assert optimize("vary share", f"minimize {goal}").objective.residuals is None


@pytest.mark.parametrize("goal", ["both", "total", "both + 2*error²", "mean(both)"])
def test_a_loss_that_is_a_sum_of_squares_brings_its_residuals(goal):
    text = AIMED + f"\noptimize o {{ on S; vary share; minimize {goal} }}"
    results = {k: np.atleast_1d(v) for k, v in at(text, changes={"k": 0.3}).items()}
    found = tasks(text)["o"].objective
    squares = sum(np.square(r) for r in found.residuals(results))
    assert np.mean(squares) == pytest.approx(float(found.function(results)))


def test_the_residuals_of_a_loss_may_read_the_ends_of_a_run():
    text = "scenario S { param k = 1\n state x = 1\n x' = -k*x\n run for 1\n loss l = (final(x) - 0.2)² }"
    found = tasks(text + "\noptimize o { on S; vary k; minimize l }")["o"].objective
    (residual,) = found.residuals({"l": np.array([0.04]), "l square 1": np.array([0.2])})
    assert residual == 0.2
    text = text.replace("(final(x) - 0.2)²", "average(x²)")
    assert tasks(text + "\noptimize o { on S; vary k; minimize l }")["o"].objective.residuals is None


# ---------------------------------------------------------------- comparisons


def test_constraints_and_until():
    task = optimize("vary share", "minimize error", "subject to error < 3, 0 <= mean(both) < 5", "until max(error) < 1")
    first, second = task.constraints
    assert (first.ops, first.per_run) == (("<",), True) and (second.ops, second.per_run) == (("<=", "<"), False)
    assert_allclose(first.operands(RESULTS)[0], RESULTS["error"])
    assert [float(o) for o in second.operands(RESULTS)] == [0, 2, 5]
    assert task.until.ops == ("<",) and not task.until.per_run
    assert [float(o) for o in task.until.operands(RESULTS)] == [2, 1]


# ---------------------------------------------------------------- reductions over runs


@pytest.mark.parametrize("share", [0, 0.3, 0.5, 0.9, 1])
def test_cvar_is_the_mean_of_the_worst(share):
    e = np.random.default_rng(1).normal(size=101)
    found = optimize("vary share", f"minimize cvar(error, {share})").objective.function
    worst = e[e >= np.quantile(e, share)]
    assert float(found({"error": e})) == pytest.approx(worst.mean())
    slope = jax.grad(lambda x: found({"error": x}))(e)
    assert_allclose(slope, (e >= np.quantile(e, share)) / len(worst), atol=1e-15)


def test_sd_is_that_of_the_runs():
    e = np.random.default_rng(2).normal(size=50)
    found = optimize("vary share", "minimize mean(error) + 2*sd(error)").objective.function
    assert float(found({"error": e})) == pytest.approx(e.mean() + 2 * e.std())
    slope = jax.grad(lambda x: found({"error": x}))(e)
    assert_allclose(slope, 1 / 50 + 2 * (e - e.mean()) / (50 * e.std()), rtol=1e-9)
    assert_allclose(jax.grad(lambda x: found({"error": x}))(np.ones(4)), 1 / 4)


# ---------------------------------------------------------------- compare

COMPARED = AIMED + (
    "\nscenario T { param p = 1\n metric error = p\n metric own = 2*p }"
    "\ntrain a { on S; vary k; minimize error; steps 3 }"
    "\noptimize b { on T; vary p; minimize error² }\n"
)


@pytest.mark.parametrize(
    ("clause", "shown"),
    [
        ("", ("error", "iterations", "wall_time")),
        ("; show own, wall_time", ("own", "wall_time")),
    ],
)
def test_compare_names_tasks_and_shows_what_they_share(clause, shown):
    task = tasks(COMPARED + f"compare c {{ on b, a{clause}; samples 7; seed 2 }}")["c"]
    assert (task.scenario, task.of, task.show) == ("", ("b", "a"), shown)
    assert set(task.needs) == {"a", "b"} and dict(task.counts) == {"samples": 7, "seed": 2}


# ---------------------------------------------------------------- training in windows

WINDOWED = """
network critic(v in -1..1, x in -2..2, m in 0..9) -> value in 0..9 { hidden 4 }
model Cart { param m = 2; input u; state x = 1; state v = 0; let swing = x*v; x' = v; v' = u/m }
controller Pilot every 0.1 { input x; state held = 0; next held = x; output u = -x - held }
scenario S {
  part cart = Cart(u = pilot.u)
  part pilot = Pilot(x = cart.x)
  run for 2
  metric end = final(cart.x)
  loss early = average(cart.x² until 1)
  loss cost = integral(cart.x²)
}
"""


def windowed(more="", vary="cart", critic="critic", text=WINDOWED):
    """The module of a file that trains in windows."""
    value = f"{critic}(x = cart.x + pilot.held, v = cart.swing, m = cart.m)"
    task = f"train t {{ on S; vary {vary}; minimize cost; window 0.5 with value {value}{more} }}"
    return program.load(source(f"{text}\n{task}"), "test").module


def test_a_window_calls_its_critic_with_states():
    module = windowed()
    spec, window = module.scenarios[0], module.tasks[0].window
    c = spec.fixed({"cart.m": 2.0, **{s.name: s.value for s in spec.starts}})
    assert [float(a) for a in window.arguments(0.0, (3.0, 5.0), (7.0,), (0.0, 0.0), c)] == [15.0, 10.0, 2.0]
    assert (window.duration, window.discount) == (0.5, 0.99)
    assert window.critic.name == "critic" and [p.name for p in window.critic.inputs] == ["v", "x", "m"]


def test_a_window_goes_on_with_what_is_minimised():
    module = windowed(", discount 0.9")
    window, rows = module.tasks[0].window, module.scenarios[0].reductions
    assert rows[window.reduction].kind == "integral" and [r.kind for r in rows].count("integral") == 1
    assert window.discount == 0.9


def test_the_critic_is_no_part_of_the_scenario_and_does_not_vary():
    own = "scenario S {\n  network own(v in -1..1, x in -2..2, m in 0..9) -> value"
    module = windowed(vary="all", critic="own", text=WINDOWED.replace("scenario S {", own))
    assert module.scenarios[0].networks == () and [v.name for v in module.tasks[0].vary] == ["cart.m"]
    assert module.tasks[0].window.critic.name == "own"


# ---------------------------------------------------------------- what is drawn


def test_names_to_plot_stand_for_what_is_observed():
    text = AIM + "model A { input u; param p = 1; state x = 0; let y = 2*x; output z = y; x' = u }\n"
    text += (
        "scenario S { let setting = aim(3 + time); part a = A(u = setting.speed); run for 1; metric m = final(a.x) }"
    )
    module = program.load(
        source(text + "\nsimulate s { on S; plot a, setting; plot a.u, setting.angle }"), "test"
    ).module
    assert module.tasks[0].plot == ("a.x", "a.z", "setting.speed", "setting.angle", "a.u")
    assert set(module.tasks[0].plot) <= {o.name for o in module.scenarios[0].observed}
