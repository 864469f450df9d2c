"""Laws of running a generated program: solvers, clocks, measures and their derivatives against others' work."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from dpl.runtime import distributions, program, solve, spec
from dpl.runtime.blame import blame

GENERATED = Path(__file__).parent / "generated"
STEPS = (("euler", 1), ("semi_implicit", 1), ("midpoint", 2), ("rk4", 4))


@cache
def source(name: str) -> str:
    return (GENERATED / f"{name}.py").read_text(encoding="utf-8")


def scenario(name: str, **changes: Any) -> program.Scenario:
    """The first scenario of a generated module, with other entries."""
    module = program.load(source(name), name).module
    return next(
        iter(
            program.from_module(
                replace(module, scenarios=(replace(module.scenarios[0], **changes),)), source(name)
            ).scenarios.values()
        )
    )


def swing(method: str, duration: float = 2.0, **arguments: float) -> program.Scenario:
    return scenario("pendulum", run=spec.Run(0.0, duration, spec.Method(method, arguments)), **averages())


def averages() -> dict[str, Any]:
    """Replaces the measures of the pendulum by two that need no series."""
    return {
        "measures": (spec.Measure("cost", "loss"), spec.Measure("end", "metric")),
        "reductions": (spec.Reduction("average", 0), spec.Reduction("final", 0)),
        "reduction_arguments": None,
        "results": lambda reduced, c: {"cost": reduced[0], "end": reduced[1]},
    }


def truth(duration: float, at: Any = None, start: float = np.pi / 3) -> Any:
    rhs = lambda t, y: [y[1], -9.81 * np.sin(y[0]) - 0.5 * y[1], y[0] ** 2, y[1] ** 2]  # noqa: E731
    return solve_ivp(rhs, (0, duration), [start, 0, 0, 0], "DOP853", at, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- solvers


@pytest.mark.parametrize(("method", "order"), STEPS)
def test_a_fixed_step_method_has_its_order(method: str, order: int) -> None:
    end = truth(1.2).y[:, -1]
    errors = []
    for step in (0.01, 0.005):
        result = swing(method, 1.2, step=step).evaluate()
        errors.append([abs(float(result["end"]) - end[0]), abs(float(result["cost"]) - end[2] / 1.2)])
    coarse, fine = np.linalg.norm(errors, axis=1)
    assert np.log2(coarse / fine) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("method", ["tsit5", "dopri8", "kvaerno5", "rodas5p"])
def test_an_adaptive_method_meets_its_tolerance(method: str) -> None:
    end = truth(2.0).y[:, -1]
    result = swing(method).evaluate()
    assert float(result["end"]) == pytest.approx(end[0], abs=2e-7)
    assert float(result["cost"]) == pytest.approx(end[2] / 2, abs=2e-7)


def test_the_last_step_is_shortened() -> None:
    end = truth(1.0).y[0, -1]
    assert float(swing("rk4", 1.0, step=0.03).evaluate()["end"]) == pytest.approx(end, abs=1e-5)


def test_a_large_right_hand_side_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    small = swing("rk4", step=0.02).evaluate()
    monkeypatch.setattr(solve, "LARGE", 0)
    large = swing("rk4", step=0.02).evaluate()
    assert float(large["end"]) == pytest.approx(float(small["end"]), rel=1e-13)


@pytest.mark.parametrize(
    ("method", "arguments"), [("rk4", {"step": 0.02}), ("semi_implicit", {"step": 0.02}), ("tsit5", {})]
)
def test_gradients_agree_with_finite_differences(method: str, arguments: dict[str, float]) -> None:
    one = swing(method, **arguments)

    def cost(b: Any) -> Any:
        return one.evaluate({"pendulum.b": b})["cost"]

    difference = (cost(0.5 + 1e-4) - cost(0.5 - 1e-4)) / 2e-4
    assert float(jax.grad(cost)(0.5)) == pytest.approx(float(difference), rel=1e-5)


def test_forward_derivatives_of_an_adaptive_solve() -> None:
    one = swing("tsit5")
    cost = lambda b, mode: one.evaluate({"pendulum.b": b}, mode=mode)["cost"]  # noqa: E731
    forward = jax.jacfwd(lambda b: cost(b, "forward"))(0.5)
    assert float(forward) == pytest.approx(float(jax.grad(lambda b: cost(b, "reverse"))(0.5)), rel=1e-6)


def test_a_run_in_single_precision() -> None:
    one = swing("rk4", step=0.02)
    values = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), one.values_si())
    results, status = one.measures_si(values)
    assert results["end"].dtype == jnp.float32
    assert int(status) == solve.OK
    assert float(results["end"]) == pytest.approx(float(one.evaluate()["end"]), abs=1e-5)


def test_the_solver_is_chosen_by_stiffness() -> None:
    assert scenario("pendulum").method.name == "tsit5"
    stiff = scenario(
        "pendulum", rhs=lambda t, x, z, held, c: ((-1e6 * (x[0] - x[1]), -x[1]), (x[0], x[1])), **averages()
    )
    assert stiff.method.name == "rodas5p"
    assert "stiff" in stiff.explanation
    result = stiff.evaluate(starts={"pendulum.θ": 0.0, "pendulum.ω": 1.0})
    assert float(result["end"]) == pytest.approx(np.exp(-10), rel=1e-3)
    assert scenario("gym").method.name == "sampled"


# ---------------------------------------------------------------- measures


def test_time_reductions() -> None:
    run = scenario("pendulum").simulate()
    grid = np.linspace(0, 10, 20_001)
    theta, _, cost, energy = truth(10.0, grid).y
    windowed = np.interp(3.0, grid, energy) - np.interp(1.0, grid, energy)
    outside = grid[np.flatnonzero(np.abs(theta) > np.deg2rad(5.0))[-1]]
    m = run.metrics
    assert run.losses["cost"] == pytest.approx(cost[-1] / 10, abs=1e-8)
    assert m["late"] == pytest.approx(windowed, abs=1e-6)
    assert m["gained"] == pytest.approx(np.rad2deg(theta[-1] - theta[0]), abs=1e-5)
    assert m["below"] == pytest.approx(np.mean(theta < 0), abs=2e-3)
    assert m["at"] == pytest.approx(np.interp(2.5, grid, theta), abs=1e-6)
    assert m["settled"] == pytest.approx(outside, abs=2e-3)
    assert m["lowest"] == pytest.approx(theta.min(), abs=1e-4)
    assert m["peak"] == pytest.approx(theta[grid >= 4].max(), abs=1e-4)


def test_trajectories_do_not_depend_on_steps_or_points() -> None:
    grid = np.linspace(0, 2, 38)
    expected = np.rad2deg(truth(2.0, grid).y[0])
    for one in (swing("rk4", step=0.01), swing("tsit5")):
        run = one.simulate(points=37)
        assert run.time == pytest.approx(grid)
        assert run["pendulum.θ"] == pytest.approx(expected, abs=1e-4)
        assert run.losses == pytest.approx(one.simulate(points=5).losses)


def test_a_run_says_where_a_range_is_left() -> None:
    (note,) = scenario("pendulum").simulate().notes
    assert "pendulum.θ leaves its range from 0.8 s on" in note


def test_a_static_scenario_is_one_row() -> None:
    one = program.load(source("cannon"), "cannon").scenarios["Descent"]
    run = one.simulate(angle=30.0)
    assert run["cannon.range"] == pytest.approx([25 * np.sin(np.pi / 3) / 9810])
    assert run.units["cannon.range"] == "km"


# ---------------------------------------------------------------- clocks


def test_gymnasium_pendulum_exactly() -> None:
    one = scenario("gym")
    run = one.simulate(θ0=2.5, ω0=0.3)
    environment = gymnasium.make("Pendulum-v1").unwrapped
    environment.reset(seed=0)
    environment.state = np.array([2.5, 0.3])
    rewards = [environment.step(np.array([u]))[1] for u in run["pilot.u"][:-1]]
    assert -200 * run.losses["cost"] == pytest.approx(sum(rewards), rel=1e-12)
    assert run.metrics["last"] == pytest.approx(environment.state[0], rel=1e-12)
    assert len(run.time) == 201


def motor_by_hand(steps: int) -> dict[str, float]:
    """The motor's run as a plain loop: at a tick the states take what is pending, then the blocks read them."""
    kp, ki, kd, h = 2.0, 5.0, 0.01, 0.0025
    x, cost, peak = np.zeros(2), 0.0, -np.inf
    total = last = n = reference = u = 0.0
    pending = (0.0, 0.0, 0.0)
    rate = lambda x: np.array([20 * x[1] - 2 * x[0], (u - x[1] - 0.5 * x[0]) / 0.05, (reference - x[0]) ** 2])  # noqa: E731
    for i in range(steps + 1):
        total, last = pending[:2]
        if i % 3 == 0:
            n = pending[2]
            reference = 1 + 0.1 * np.sin(n)
        error = reference - x[0]
        u = kp * error + ki * total + kd * (error - last) / 0.01
        pending = (total + 0.01 * error, error, n + 1 if i % 3 == 0 else pending[2])
        for _ in range(4 if i < steps else 0):
            peak = max(peak, x[0] - reference)
            y = np.array([*x, cost])
            k1 = rate(y)
            k2 = rate(y + h / 2 * k1)
            k3 = rate(y + h / 2 * k2)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + rate(y + h * k3))
            x, cost = y[:2], y[2]
    return {"cost": cost / 0.6, "ω": x[0], "u": u, "n": n, "overshoot": max(peak, x[0] - reference)}


@pytest.mark.parametrize(("method", "accuracy"), [(None, 1e-12), ("tsit5", 1e-4)])
def test_two_clocks_around_a_continuous_motor(method: str | None, accuracy: float) -> None:
    changes = {} if method is None else {"run": spec.Run(0.0, 0.6, spec.Method(method), base=0.01)}
    result = {name: float(v) for name, v in scenario("motor", **changes).evaluate().items()}
    assert result == pytest.approx(motor_by_hand(60), rel=accuracy)


def test_gradients_through_clocks() -> None:
    one = scenario("motor")
    cost = lambda kp: one.evaluate({"pid.kp": kp})["cost"]  # noqa: E731
    difference = (cost(2.0 + 1e-5) - cost(2.0 - 1e-5)) / 2e-5
    assert float(jax.jit(jax.grad(cost))(2.0)) == pytest.approx(float(difference), rel=1e-6)


def test_sampled_values_are_held_between_ticks() -> None:
    run = scenario("motor").simulate(points=240)
    assert np.all(run["pid.u"][:-1].reshape(-1, 4) == run["pid.u"][:-1:4, None])
    assert np.all(run["goal.n"][:-1].reshape(-1, 12) == np.arange(20.0)[:, None])


# ---------------------------------------------------------------- values


def test_values_do_not_retrace() -> None:
    one = swing("rk4", step=0.02)
    for b in (0.1, 0.2):
        one.evaluate({"pendulum.b": b}, starts={"pendulum.θ": 10 * b})
        one.simulate(values={"pendulum.b": b, "pendulum.ω": b})
    one.program.set("pendulum.l", 2)
    one.simulate()
    assert one.traces == {"measures": 1, "trajectory": 1}


def test_draws_depend_on_seed_name_and_index_alone() -> None:
    one = scenario("gym")
    many, few = one.draw(3, np.arange(100)), one.draw(3, [7, 42])
    assert many["θ0"][jnp.asarray([7, 42])] == pytest.approx(few["θ0"], abs=0)
    assert not np.allclose(many["θ0"] / np.pi, many["ω0"])
    assert not np.allclose(many["θ0"], one.draw(4, np.arange(100))["θ0"])


def test_a_given_is_drawn_as_if_it_were_alone() -> None:
    one = scenario("gym")
    for given in one.spec.givens:
        alone = distributions.draws({given.name: given}, 3, jnp.arange(5))[given.name]
        assert alone.tolist() == one.draw(3, jnp.arange(5))[given.name].tolist()


def test_a_batch_is_its_runs() -> None:
    one = scenario("gym")
    givens = one.draw(0, np.arange(3))
    base = one.values_si()
    results, status = jax.vmap(lambda g: one.measures_si({**base, **g}))(givens)
    alone = one.measures_si({**base, **{k: v[1] for k, v in givens.items()}})[0]
    assert float(results["cost"][1]) == pytest.approx(float(alone["cost"]), rel=1e-12)
    assert list(status) == [solve.OK] * 3


def test_what_is_declared_once_is_shared() -> None:
    first, second = program.load(source("cannon"), "cannon").module.scenarios
    real = replace(first, name="Real", params=(spec.Param("k", 6.0),))
    aimed = replace(first, params=(spec.Param("k", 5.0),))
    shared = program.from_module(spec.Module("m", "", (aimed, real, second), (), "0"))
    assert shared.scenarios["Real"].keys == {"k": "Real.k", "aim": "aim"}
    assert shared.scenarios["Real"].params["k"] == 6.0


def test_misuse_is_told() -> None:
    one = program.load(source("cannon"), "cannon").scenarios["Descent"]
    with pytest.raises(ValueError, match="no value for `angle`"):
        one.evaluate()
    with pytest.raises(ValueError, match="did you mean `angle`"):
        one.evaluate({"angel": 3.0})
    with pytest.raises(ValueError, match=r"`angle` must be one number, not an array of shape \(2,\)"):
        one.evaluate({"angle": [1.0, 2.0]})


def test_a_failed_run_has_a_status_and_a_culprit() -> None:
    one = swing("rk4", step=0.02)
    values = one.values_si({"pendulum.l": 0.0})
    assert int(one.measures_si(values)[1]) == solve.NONFINITE
    found = blame(source("pendulum"), one.spec, one.method, values)
    assert found is not None
    assert (found.quantity, found.origin) == ("stiffness", "pendulum.dpl:8")


def test_a_run_that_blows_up_is_traced_to_its_time() -> None:
    growing = source("pendulum").replace("- b * omega  #", "+ jnp.sqrt(1.5 - t)  #")
    one = program.load(growing, "growing").scenarios["Swing"]
    one.spec = replace(one.spec, run=spec.Run(0.0, 2.0, spec.Method("rk4", {"step": 0.02})), **averages())
    found = blame(growing, one.spec, one.method, one.values_si())
    assert found is not None
    assert (found.quantity, found.origin) == ("omega_rate", "pendulum.dpl:8")
    assert found.time == pytest.approx(1.51)


def test_too_many_steps_is_a_status() -> None:
    one = swing("tsit5", max_steps=3)
    assert int(one.measures_si(one.values_si())[1]) == solve.MAX_STEPS
    assert "number of steps" in one.simulate().status


def test_a_run_without_states_integrates() -> None:
    one = scenario(
        "pendulum",
        **averages() | {"reductions": (spec.Reduction("average", 0), spec.Reduction("average", 1))},
        run=spec.Run(1.0, 2.0, spec.Method()),
        states=(),
        start=lambda c: ((), (), ()),
        instants=None,
        rhs=lambda t, x, z, held, c: ((), (jnp.exp(-t), t)),
    )
    assert float(one.evaluate()["cost"]) == pytest.approx(quad(lambda t: np.exp(-t), 1, 3)[0] / 2, rel=1e-10)
    assert float(one.evaluate()["end"]) == pytest.approx(2.0)
