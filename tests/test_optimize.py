"""`optimize` on hand-written modules: closed forms, SciPy as the judge, and runs that are problems of their own."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import dpl
from dpl.results import report, summary
from dpl.results.table import Table
from dpl.runtime import networks
from dpl.runtime.program import Program
from dpl.runtime.spec import (
    Comparison,
    Distribution,
    Free,
    Given,
    Measure,
    Method,
    Module,
    Network,
    Objective,
    Param,
    Port,
    Scenario,
    Task,
    Unit,
    Varied,
)
from dpl.tasks.methods import LeastSquares, Merit
from dpl.tasks.optimize import Optimized
from dpl.tasks.result import NumericalFailure, Silent
from dpl.tasks.run import run_tasks
from dpl.tasks.sampling import stream

EXAMPLES = Path(__file__).parents[1] / "examples"
M, CM = Unit("m"), Unit("cm", 0.01)
AIM = Network("aim", (Port("target", 1.0, 9.0),), (Port("speed", 0.5, 10.0), Port("angle", 0.02, 1.55)), hidden=(4,))
TARGET = Given("target", 5.0, M, distribution=Distribution("uniform", (1.0, 9.0)))
SPEED = Param("speed", 5.0, Unit("m/s"), 0.5, 10.0)
ANGLE = Param("angle", 0.8, Unit("rad"), 0.02, 1.55)
Values = Mapping[str, Any]


def scenario(fixed: Callable[[Values], tuple[Any, ...]], measures: str, **more: Any) -> Scenario:
    """A scenario without time whose measures are what `fixed` returns."""
    names = measures.split()
    pieces = {"params": (), "givens": (), "starts": (), "networks": (), "observed": ()} | more
    return Scenario(
        "S",
        "",
        measures=tuple(Measure(name, "metric", M) for name in names),
        fixed=fixed,
        results=lambda reduced, c: dict(zip(names, c, strict=False)),
        observe=lambda *_: {},
        **pieces,
    )


def miss(speed: Any, angle: Any, target: Any) -> Any:
    return jnp.abs(speed**2 * jnp.sin(2 * angle) / 9.81 - target)


def descent() -> Scenario:
    fixed = lambda v: (miss(v["speed"], v["angle"], v["target"]),)  # noqa: E731
    return scenario(fixed, "error", params=(SPEED, ANGLE), givens=(TARGET,))


def aimed() -> Scenario:
    """The settings are what a network says, unless a task frees them."""

    def fixed(v: Values) -> tuple[Any, ...]:
        guess = networks.apply(AIM, v["aim"], v["target"])
        speed, angle = v.get("setting.speed", guess[0]), v.get("setting.angle", guess[1])
        return miss(speed, angle, v["target"]), speed, angle

    free = (Free("setting.speed", Unit("m/s"), 0.5, 10.0), Free("setting.angle", Unit("rad"), 0.02, 1.55))
    freed = lambda c: {"setting.speed": c[1], "setting.angle": c[2]}  # noqa: E731
    return scenario(fixed, "error", givens=(TARGET,), networks=(AIM,), free=free, freed=freed)


def mean(name: str) -> Objective:
    return Objective(name, lambda r: jnp.mean(r[name]), unit=M)


def squares(*names: str) -> Objective:
    def function(results: Values) -> Any:
        return jnp.mean(sum(results[name] ** 2 for name in names))

    return Objective("squares", function, unit=Unit("m^2"), residuals=lambda r: tuple(r[name] for name in names))


def below(name: str, limit: float) -> Comparison:
    return Comparison(f"{name} < {limit}", lambda r: (r[name], limit), ("<",), per_run=True, unit=M)


def task(vary: str, objective: Objective, each: bool = False, **more: Any) -> Task:
    varied = tuple(Varied(name, each=each) for name in vary.split())
    pieces = {"kind": "optimize", "name": "best", "doc": "", "scenario": "S"} | more
    return Task(**pieces, vary=varied, objective=objective)


def program(one: Scenario, *tasks: Task) -> Program:
    return Program(Module("test", "", (one,), tasks, "0"))


def only(one: Scenario, *tasks: Task, **options: Any) -> Any:
    return list(run_tasks(program(one, *tasks), **options))[-1]


PHYSICS = task(
    "speed angle", squares("error"), each=True, until=below("error", 1e-3), start="random", counts={"samples": 40}
)


# ---------------------------------------------------------------- runs that are problems of their own


@pytest.mark.parametrize(("method", "most"), [("gauss_newton", 5), ("levenberg_marquardt", 6), ("lbfgs", 30)])
def test_the_cannon_is_aimed_from_anywhere(method: str, most: int):
    result = only(descent(), replace(PHYSICS, method=Method(method)))
    assert result.reached.all() and result.iterations.max() <= most and result.status == "done"
    speed, angle = result.found["speed"].value, result.found["angle"].value
    target = program(descent()).scenarios["S"].draw(stream(0, "verify"), jnp.arange(40))["target"]
    np.testing.assert_allclose(speed**2 * np.sin(2 * angle) / 9.81, target, atol=1e-3)
    np.testing.assert_allclose(result.measures["error"].value ** 2, result.after, rtol=1e-12)


def test_plain_descent_needs_many_iterations():
    result = only(descent(), replace(PHYSICS, method=Method("sgd", {"rate": 0.1})))
    assert result.reached.all() and result.iterations.mean() >= 20


def test_a_run_does_not_depend_on_the_others():
    few, many = (only(descent(), replace(PHYSICS, counts={"samples": n}, start="current")) for n in (3, 7))
    np.testing.assert_array_equal(few.iterations, many.iterations[:3])
    np.testing.assert_allclose(few.found["speed"].value, many.found["speed"].value[:3], rtol=1e-9)


def test_gradient_descent_is_gradient_descent():
    bowl = scenario(lambda v: ((v["x"] - 1.0) ** 2,), "height", params=(Param("x", 4.0),))
    result = only(bowl, task("x", mean("height"), method=Method("sgd", {"rate": 0.05}), counts={"steps": 7}))
    # x is varied in units of its start: u = x/4
    u = 1.0
    for _ in range(7):
        u -= 0.05 * 2 * (4 * u - 1) * 4
    assert result.found["x"].value == pytest.approx(4 * u, rel=1e-12) and result.iterations == [7]


def test_where_until_holds_at_the_start_nothing_moves():
    result = only(descent(), replace(PHYSICS, until=below("error", 100.0), start="current"))
    assert (result.iterations == 0).all() and result.reached.all()
    np.testing.assert_allclose(result.found["speed"].value, 5.0, rtol=1e-9)
    np.testing.assert_array_equal(result.before, result.after)


def test_runs_that_cannot_get_there_are_counted():
    near = replace(PHYSICS, vary=(Varied("speed", 0.5, 7.0, each=True), Varied("angle", each=True)))
    result = only(descent(), near)
    target = program(descent()).scenarios["S"].draw(stream(0, "verify"), jnp.arange(40))["target"]
    np.testing.assert_array_equal(result.reached, np.asarray(target) < 49 / 9.81 + 1e-3)
    text = "\n".join(str(block) for block in report.report(result))
    assert f"{result.reached.sum()} of 40 runs reached `error < 0.001`" in text
    assert any("upper bound of 7 m/s" in note for note in result.notes)


def test_freed_lets_start_at_what_their_equation_says():
    tuned = task("setting.speed setting.angle", squares("error"), each=True, counts={"samples": 5, "steps": 0})
    ours = program(aimed(), tuned)
    (result,) = run_tasks(ours)
    assert isinstance(result, Optimized)
    target = ours.scenarios["S"].draw(stream(0, "verify"), jnp.arange(5))["target"]
    guess = [networks.apply(AIM, ours.values["aim"], t) for t in target]
    np.testing.assert_allclose(result.found["setting.speed"].value, [g[0] for g in guess], rtol=1e-9)
    np.testing.assert_allclose(result.found["setting.angle"].value, [g[1] for g in guess], rtol=1e-9)


def test_freed_lets_leave_the_network_alone():
    tuned = task(
        "setting.speed setting.angle", squares("error"), each=True, until=below("error", 1e-3), counts={"samples": 9}
    )
    ours = program(aimed(), tuned)
    before = [np.array(leaf) for leaf in ours.values["aim"]["weights"]] if "weights" in ours.values["aim"] else None
    (result,) = run_tasks(ours)
    assert result.reached.all() and result.found["setting.speed"].value.shape == (9,)
    assert before is None or all((a == b).all() for a, b in zip(before, ours.values["aim"]["weights"], strict=True))


def test_of_several_starts_each_run_keeps_its_best():
    hills = scenario(
        lambda v: (jnp.cos(v["x"]) + 0.1 * v["x"] * v["tilt"],),
        "height",
        params=(Param("x", 19.0, Unit(), 0.0, 20.0),),
        givens=(Given("tilt", 1.0, listed=(1.0, -1.0)),),
    )
    one = task("x", mean("height"), each=True, counts={"samples": 2, "starts": 12})
    result = only(hills, one)
    np.testing.assert_allclose(np.cos(result.found["x"].value) + [0.1, -0.1] * result.found["x"].value, result.after)
    np.testing.assert_allclose(result.found["x"].value, [np.pi - 0.1, 5 * np.pi + 0.1], atol=0.01)


# ---------------------------------------------------------------- one problem over all runs


def line(each_offset: bool = False) -> Scenario:
    """y = slope*x + offset against what another line says, with noise that is a given."""
    fixed = lambda v: (v["slope"] * v["x"] + v["offset"] - 2.0 * v["x"] - v["e"], v["offset"])  # noqa: E731
    drawn = Given("x", 0.0, distribution=Distribution("uniform", (0.0, 1.0)))
    noise = Given("e", 0.0, distribution=Distribution("normal", (0.0, 1.0)))
    params = Param("slope", 0.5), Param("offset", 1.0)
    return scenario(fixed, "residual offset", params=params, givens=(drawn, noise))


@pytest.mark.parametrize("method", ["levenberg_marquardt", "gauss_newton", "lbfgs"])
def test_linear_least_squares_is_that_of_numpy(method: str):
    ours = program(line(), task("slope offset", squares("residual"), method=Method(method), counts={"samples": 50}))
    (result,) = run_tasks(ours)
    drawn = ours.scenarios["S"].draw(0, jnp.arange(50))
    design = np.stack([drawn["x"], np.ones(50)], axis=1)
    best, rest, *_ = np.linalg.lstsq(design, 2.0 * drawn["x"] + drawn["e"])
    np.testing.assert_allclose([result.found[n].value for n in ("slope", "offset")], best, rtol=1e-5)
    assert result.after[0] == pytest.approx(rest[0] / 50, rel=1e-9) and not result.separate
    assert float(ours.values["slope"]) == pytest.approx(best[0], rel=1e-5)


def test_a_mixture_finds_one_slope_and_an_offset_for_each_run():
    varied = (Varied("slope"), Varied("offset", each=True))
    one = replace(task("slope", squares("residual", "offset"), counts={"samples": 20}), vary=varied)
    ours = program(line(), one)
    (result,) = run_tasks(ours)
    drawn = ours.scenarios["S"].draw(0, jnp.arange(20))
    x, wanted = np.asarray(drawn["x"]), np.asarray(2.0 * drawn["x"] + drawn["e"])
    slope = (x @ wanted) / (x @ x)  # offsets halve what is left
    assert result.found["slope"].value == pytest.approx(slope, rel=1e-6)
    np.testing.assert_allclose(result.found["offset"].value, (wanted - slope * x) / 2, atol=1e-6)
    assert float(ours.values["offset"]) == 1.0


@pytest.mark.parametrize("method", ["levenberg_marquardt", "lbfgs"])
def test_the_banana_valley(method: str):
    valley = scenario(
        lambda v: (10.0 * (v["y"] - v["x"] ** 2), 1.0 - v["x"]), "a b", params=(Param("x", -1.2), Param("y", 1.0))
    )
    result = only(valley, task("x y", squares("a", "b"), method=Method(method)))
    np.testing.assert_allclose([result.found["x"].value, result.found["y"].value], 1.0, atol=1e-4)


def test_a_step_that_the_damping_made_short_is_not_the_last():
    """min (x - 1)² from 3, damped so much that a step is far shorter than what counts as a step."""
    looked = lambda x, forward: (x - 1.0, ())  # noqa: E731
    merit = Merit(looked, looked, jnp.asarray(1e-10), jnp.full(1, jnp.inf))
    one, x = LeastSquares(damped=True), jnp.array([3.0])
    moved = one.step(merit, x, jnp.asarray(1e9), {}, 0, True)
    assert 0 < float(x[0] - moved.x[0]) < 1e-8 and not moved.still and moved.memory < 1e9
    assert one.step(merit, jnp.array([1.0 + 1e-12]), jnp.asarray(1e-9), {}, 1, True).still


def test_maximize_climbs():
    hill = scenario(lambda v: (3.0 - (v["x"] - 2.0) ** 2,), "height", params=(Param("x", 0.5),))
    result = only(hill, task("x", replace(mean("height"), maximize=True)))
    assert result.after[0] == pytest.approx(3.0) and result.before[0] == pytest.approx(0.75)


# ---------------------------------------------------------------- what can go wrong


def test_a_run_that_is_not_finite_leaves_the_others():
    rooted = scenario(
        lambda v: (jnp.where(v["target"] > 5.0, jnp.nan, (v["x"] - v["target"]) ** 2),),
        "height",
        params=(Param("x", 4.0),),
        givens=(TARGET,),
    )
    result = only(rooted, task("x", mean("height"), each=True, counts={"samples": 10}))
    bad = np.isnan(result.after)
    assert 0 < bad.sum() < 10 and (result.after[~bad] < 1e-12).all()
    np.testing.assert_allclose(result.found["x"].value[bad], 4.0)
    assert any(f"{bad.sum()} of 10 runs met what is not finite" in note for note in result.notes)


def test_where_all_runs_fail_one_is_named():
    broken = scenario(lambda v: (jnp.log(v["x"] - v["target"]),), "height", params=(Param("x", 0.5),), givens=(TARGET,))
    for each in (True, False):
        with pytest.raises(NumericalFailure) as caught:
            only(broken, task("x", mean("height"), each=each, counts={"samples": 4}))
        failure = caught.value
        assert failure.what == "the loss" and failure.step == 0 and failure.sample is not None
        drawn = program(broken).scenarios["S"].draw(stream(0, "verify") if each else 0, jnp.arange(4))["target"]
        assert failure.sample.givens["target"].value == pytest.approx(float(drawn[failure.sample.index]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": Method("newton")}, "no method is called `newton`; there are levenberg_marquardt"),
        ({"method": Method("gauss_newton"), "objective": mean("error")}, "minimises a mean of squares"),
        ({"method": Method("lbfgs", {"rate": 1.0})}, "takes no numbers, not rate"),
        ({"method": Method("adam"), "constraints": (below("error", 1.0),)}, "not with adam"),
        ({"objective": None}, "says nothing to minimize"),
    ],
)
def test_misuse_is_a_value_error(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        only(descent(), replace(PHYSICS, **change))


class Kept(dict[str, Any]):
    """Keeps the first state only, as if the run had been lost soon after."""

    def load(self, task: str) -> Any:
        return self.get(task)

    def save(self, task: str, state: Any) -> None:
        self.setdefault(task, dict(state))


class Pressed(Silent):
    """Someone who presses Ctrl-C at once."""

    def advance(self, done: int, value: float | None = None, **shown: str) -> None:
        import signal

        signal.raise_signal(signal.SIGINT)


def test_a_lost_run_goes_on_where_it_was():
    one = replace(PHYSICS, method=Method("sgd", {"rate": 0.1}))
    whole, keeper = only(descent(), one), Kept()
    cut = only(descent(), one, keeper=keeper, progress=Pressed())
    assert cut.status == "interrupted" and cut.iterations.max() < whole.iterations.max()
    resumed = only(descent(), one, keeper=keeper)
    np.testing.assert_array_equal(resumed.iterations, whole.iterations)
    np.testing.assert_array_equal(resumed.found["speed"].value, whole.found["speed"].value)


# ---------------------------------------------------------------- subject to


def compare(text: str, name: str, op: str, limit: float, unit: Unit = M) -> Comparison:
    return Comparison(text, lambda r: (jnp.mean(r[name]), limit), (op,), unit=unit)


def plane(*measures: Callable[[Any, Any], Any], names: str) -> Scenario:
    def fixed(v: Values) -> tuple[Any, ...]:
        return tuple(measure(v["x"], v["y"]) for measure in measures)

    return scenario(fixed, names, params=(Param("x", 3.0), Param("y", -2.0)))


def at(result: Any) -> list[float]:
    return [result.found["x"].value, result.found["y"].value]


@pytest.mark.parametrize("least_squares", [True, False])
def test_the_nearest_point_of_a_half_plane(least_squares: bool):
    near = plane(lambda x, y: x, lambda x, y: y, lambda x, y: x + y, names="x y sum")
    limit = compare("sum >= 100", "sum", ">=", 1.0, CM)
    objective = squares("x", "y")
    objective = objective if least_squares else replace(objective, residuals=None)
    result = only(near, task("x y", objective, constraints=(limit,)))
    (found,) = result.constraints
    np.testing.assert_allclose(at(result), 0.5, atol=1e-5)
    assert result.status == "done" and found.holds.all()
    assert found.value.value[0] == pytest.approx(100.0, rel=1e-5) and found.limit.value[0] == pytest.approx(100.0)
    assert found.multiplier.value[0] == pytest.approx(0.01, rel=1e-3) and found.multiplier.unit == "m^2/cm"
    assert 0 <= found.slack.value[0] < 1e-3


def test_a_corner_of_a_box_and_a_limit_that_does_not_matter():
    corner = plane(lambda x, y: -x - 2 * y, lambda x, y: x, lambda x, y: y, names="f x y")
    limits = compare("x <= 1", "x", "<=", 1.0), compare("y <= 2", "y", "<=", 2.0), compare("f > -99", "f", ">", -99.0)
    result = only(corner, task("x y", mean("f"), constraints=limits))
    np.testing.assert_allclose(at(result), [1.0, 2.0], atol=1e-5)
    np.testing.assert_allclose([c.multiplier.value[0] for c in result.constraints], [1.0, 2.0, 0.0], rtol=1e-4)


def test_the_lowest_point_of_a_circle():
    circle = plane(lambda x, y: x + y, lambda x, y: x**2 + y**2, names="f r")
    result = only(circle, task("x y", mean("f"), constraints=(compare("r == 2", "r", "==", 2.0),)))
    np.testing.assert_allclose(at(result), -1.0, atol=1e-4)
    assert abs(result.constraints[0].multiplier.value[0]) == pytest.approx(0.5, rel=1e-5)
    assert result.constraints[0].holds.all()


def test_what_cannot_be_satisfied_is_said():
    torn = plane(lambda x, y: x**2 + y**2, lambda x, y: x, names="f x")
    limits = compare("x >= 1", "x", ">=", 1.0), compare("x <= 0.5", "x", "<=", 0.5)
    result = only(torn, task("x y", mean("f"), constraints=limits))
    assert result.status == "failed" and not all(c.holds.all() for c in result.constraints)
    text = "\n".join(str(block) for block in report.report(result))
    assert "the search did not end at values that satisfy `x <= 0.5`: closest 0." in text
    assert summary.task(result)["status"] == "failed"


KINKED = plane(lambda x, y: (x - 2.0) ** 2 + (y - 1.0) ** 2, lambda x, y: jnp.abs(x) + jnp.abs(y), names="f kink")
KINKED = replace(KINKED, params=(Param("x", 0.1), Param("y", 0.3)))


@pytest.mark.parametrize(("method", "most"), [("levenberg_marquardt", 2.05), ("lbfgs", 3.0)])
def test_where_a_search_ends_outside_it_goes_back(method: str, most: float):
    """The lowest point lies at a kink, where no multiplier makes a gradient vanish; the start complies."""
    squared = replace(mean("f"), residuals=lambda r: (jnp.sqrt(r["f"]),))
    limit = compare("kink <= 1", "kink", "<=", 1.0)
    result = only(KINKED, task("x y", squared, constraints=(limit,), method=Method(method)))
    assert result.status == "done" and result.constraints[0].holds.all() and result.after[0] < most < result.before[0]
    text = "\n".join(str(block) for block in report.report(result))
    assert "went back to where they do" in text and "–" in text


def test_values_that_do_not_comply_are_not_gone_on_from():
    torn = plane(lambda x, y: x**2 + y**2, lambda x, y: x, names="f x")
    limits = compare("x >= 1", "x", ">=", 1.0), compare("x <= 0.5", "x", "<=", 0.5)
    ours = program(torn, task("x y", mean("f"), constraints=limits))
    (result,) = run_tasks(ours)
    assert result.status == "failed" and float(ours.values["x"]) == 3.0
    assert "tasks that follow go on from the values before this one, not from these of x, y" in result.notes


def test_constraints_on_the_way_of_a_run_against_slsqp():
    """Rosenbrock's function in a disc and under a cubic, from a start that violates both."""

    def f(x: Any, y: Any) -> Any:
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2

    disc, cubic = (lambda x, y: x**2 + y**2), (lambda x, y: y - (x - 1) ** 3)
    both = plane(f, disc, cubic, names="f disc cubic")
    limits = compare("disc < 1.5", "disc", "<", 1.5), compare("cubic < 0.4", "cubic", "<", 0.4)
    result = only(both, task("x y", mean("f"), constraints=limits))
    theirs = scipy.optimize.minimize(
        lambda p: f(*p),
        [3.0, -2.0],
        method="SLSQP",
        constraints=[
            {"type": "ineq", "fun": lambda p: 1.5 - disc(*p)},
            {"type": "ineq", "fun": lambda p: 0.4 - cubic(*p)},
        ],
        options={"ftol": 1e-12},
    )
    assert result.after[0] == pytest.approx(theirs.fun, rel=1e-3, abs=1e-6)
    np.testing.assert_allclose(at(result), theirs.x, atol=1e-3)


def test_a_limit_in_every_run_has_a_multiplier_for_each():
    """Largest slope that keeps slope*x below 1 in every run: only the largest x matters."""
    rows = Given("x", 1.0, listed=(0.5, 1.0, 2.0))
    one = scenario(
        lambda v: (v["slope"], v["slope"] * v["x"]), "slope y", params=(Param("slope", 0.1),), givens=(rows,)
    )
    most = task("slope", replace(mean("slope"), maximize=True), constraints=(below("y", 1.0),), counts={"samples": 3})
    result = only(one, most)
    assert result.found["slope"].value == pytest.approx(0.5, rel=1e-5)
    np.testing.assert_allclose(result.constraints[0].multiplier.value, [0.0, 0.0, 0.5], atol=1e-5)


def test_the_multiplier_of_a_limit_that_all_runs_share_is_that_of_all():
    """min u² + u where u > 0.05 in each of 20 runs: what the limit is worth is 2u + 1, however many runs share it."""
    one = scenario(
        lambda v: (v["u"] ** 2 + v["u"], v["u"]), "area u", params=(Param("u", 0.2, CM, 0.0, 1.0),), givens=(TARGET,)
    )
    limit = Comparison("u > 5", lambda r: (r["u"], 0.05), (">",), per_run=True, unit=CM)
    result = only(one, task("u", mean("area"), constraints=(limit,), counts={"samples": 20}))
    (table,) = [block for block in report.report(result) if isinstance(block, Table) and "multiplier" in block.header]
    worth, unit = table.rows[0][4].split()
    assert float(worth) == pytest.approx(0.011, rel=1e-3) and unit == "m/cm"


def test_each_run_has_constraints_of_its_own():
    bounded = scenario(
        lambda v: ((v["x"] - v["target"]) ** 2, v["x"]), "f x", params=(Param("x", 1.0),), givens=(TARGET,)
    )
    one = task("x", mean("f"), each=True, constraints=(compare("x < 4", "x", "<", 4.0),), counts={"samples": 6})
    result = only(bounded, one)
    target = np.asarray(program(bounded).scenarios["S"].draw(stream(0, "verify"), jnp.arange(6))["target"])
    np.testing.assert_allclose(result.found["x"].value, np.minimum(target, 4.0), atol=1e-4)
    (found,) = result.constraints
    np.testing.assert_allclose(found.multiplier.value, np.maximum(2 * (target - 4.0), 0.0), atol=0.05)
    assert found.holds.all() and found.holds.shape == (6,)


def test_one_program_serves_all_iterations():
    def traced(steps: int) -> int:
        calls: list[int] = []

        def counted(results: Values) -> Any:
            calls.append(1)
            return jnp.mean(results["f"])

        pit = plane(lambda x, y: (x - 1) ** 2 + y**4, lambda x, y: x, names="f x")
        limit = compare("x < 0.5", "x", "<", 0.5)
        objective = Objective("f", counted)
        only(pit, task("x y", objective, constraints=(limit,), counts={"steps": steps}))
        return len(calls)

    assert traced(0) == traced(60)


# ---------------------------------------------------------------- the whole way, from the text


@pytest.mark.slow
def test_the_cannon_is_aimed_three_ways():
    """What the example tells: belief is not truth, curvature beats descent, a trained guess saves the search."""
    results = dpl.load(EXAMPLES / "cannon.dpl").run()
    belief, down, curved, tuned = (results[n] for n in ("by_belief", "by_descent", "by_physics", "sharpened"))
    assert all(each.reached.all() for each in (belief, down, curved, tuned))
    assert curved.iterations.max() <= 5 and down.iterations.mean() >= 20 and tuned.iterations.mean() <= 1
    rows = {row.task: row for row in results["three_ways"].rows}
    error = {name: row.measures["error"].value for name, row in rows.items()}
    assert error["by_belief"].mean() > 0.05 > error["gunner"].mean() > error["sharpened"].mean()
    assert error["by_physics"].max() < 1e-3 and error["sharpened"].max() < 1e-3
    assert rows["gunner"].iterations == 0 and results["gunner_hits"].status == "done"


def test_a_differential_equation_under_a_constraint_against_slsqp():
    """The damping that moves least while its speed stays low: forward derivatives through an adaptive solver."""
    text = """
        scenario Released {
          param c: N*s/m = 0.5 in 0.1..20
          state x: m = 0.1
          state v: m/s = 0
          x' = v
          1 [kg]*v' = -10 [N/m]*x - c*v
          run for 10 [s] using tsit5(rtol = 1e-9, atol = 1e-12)
          loss motion = integral(x²)
          metric speed = peak(abs(v))
        }
        optimize damped { on Released; vary c; minimize motion; subject to speed < 0.15 [m/s] }"""
    result = dpl.compile(text).run()["damped"]
    one = dpl.compile(text).scenarios["Released"]

    def measured(c: Any) -> Any:
        return one.evaluate({"c": float(c[0])})

    limit = {"type": "ineq", "fun": lambda c: 0.15 - float(measured(c)["speed"])}
    motion = lambda c: 1e3 * float(measured(c)["motion"])  # noqa: E731
    theirs = scipy.optimize.minimize(motion, [2.0], method="SLSQP", constraints=[limit], options={"ftol": 1e-9})
    assert result.status == "done" and result.constraints[0].holds.all()
    assert result.found["c"].value == pytest.approx(theirs.x[0], rel=1e-3)
