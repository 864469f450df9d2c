"""The tasks on hand-written modules: known optima, plain Optax as the judge, and everything that can go wrong."""

import signal
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpl.runtime import networks
from dpl.runtime.program import Program
from dpl.runtime.spec import (
    Comparison,
    Distribution,
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
from dpl.tasks import engine, judge, optimisers, vary
from dpl.tasks.context import Context, setup
from dpl.tasks.keeper import State
from dpl.tasks.problem import Constants, Problem
from dpl.tasks.result import NumericalFailure, Silent
from dpl.tasks.run import order, run_tasks
from dpl.tasks.sampling import stream
from dpl.tasks.train import Trained
from dpl.tasks.verify import Verified

CM, M = Unit("cm", 0.01), Unit("m")
AIM = Network("aim", (Port("target", 1.0, 9.0),), (Port("speed", 0.5, 10.0), Port("angle", 0.02, 1.55)), hidden=(8,))


def static(name: str, fixed: Any, losses: tuple[str, ...], **given: Any) -> Scenario:
    """A scenario without time whose measures are what `fixed` returns."""
    measures = tuple(Measure(loss, "loss", M) for loss in losses)
    pieces = {"params": (), "givens": (), "starts": (), "networks": (), "observed": ()} | given
    return Scenario(name, "", measures=measures, fixed=fixed, results=_results(losses), observe=_nothing, **pieces)


def _results(names: tuple[str, ...]) -> Any:
    return lambda reduced, c: dict(zip(names, c, strict=True))


def _nothing(*_: Any) -> dict[str, Any]:
    return {}


def bowl(low: float | None = None, high: float | None = None) -> Scenario:
    """A paraboloid with its lowest point at a = 3, b = -1; a is written in centimetres."""

    def fixed(v: Mapping[str, Any]) -> tuple[Any, ...]:
        return ((v["a"] - 3.0) ** 2 + 4.0 * (v["b"] + 1.0) ** 2,)

    return static("Bowl", fixed, ("height",), params=(Param("a", 0.5, CM, low, high), Param("b", 1.0)))


def aimed() -> Scenario:
    def fixed(v: Mapping[str, Any]) -> tuple[Any, ...]:
        speed, angle = networks.apply(AIM, v["aim"], v["target"])
        return (jnp.abs(speed**2 * jnp.sin(2 * angle) / v["g"] - v["target"]),)

    target = Given("target", 5.0, M, distribution=Distribution("uniform", (1.0, 9.0)))
    return static("Aimed", fixed, ("error",), params=(Param("g", 9.81),), givens=(target,), networks=(AIM,))


def mean_of(name: str, square: bool = False) -> Objective:
    def function(results: Mapping[str, Any]) -> Any:
        return jnp.mean(results[name] ** 2 if square else results[name])

    return Objective(name, function)


def train(scenario: str, vary: str, objective: Objective, **more: Any) -> Task:
    varied = tuple(Varied(name) for name in vary.split())
    return Task(
        **{"kind": "train", "name": "learn", "doc": "", "scenario": scenario, "vary": varied} | more,
        objective=objective,
    )


def descend(rate: float = 0.05, **options: float) -> Method:
    return Method("sgd", {"rate": rate, **options})


def module(scenario: Scenario, *tasks: Task) -> Module:
    return Module("test", "", (scenario,), tasks, "0")


def only(scenario: Scenario, *tasks: Task, **options: Any) -> Any:
    """The result of the last of the tasks."""
    return list(run_tasks(Program(module(scenario, *tasks)), **options))[-1]


DOWN = train("Bowl", "a b", mean_of("height"), method=descend(), counts={"steps": 900})
GUNNER = train("Aimed", "aim", mean_of("error", square=True), method=Method("adam", {"rate": 1e-2}))


# ---------------------------------------------------------------- train


def test_finds_the_lowest_point_and_says_it_in_declared_units():
    result = only(bowl(), DOWN)
    assert result.found["a"].value == pytest.approx(300.0, rel=1e-6) and result.found["a"].unit == "cm"
    assert result.found["b"].value == pytest.approx(-1.0, rel=1e-6)
    assert result.losses.shape == (900,) and result.losses[0] == pytest.approx(2.5**2 + 16.0)


@pytest.mark.parametrize("method", [descend(0.02, momentum=0.8), Method("adam", {"rate": 0.05})])
def test_every_optimiser_gets_there(method: Method):
    result = only(bowl(), replace(DOWN, method=method, counts={"steps": 2000}))
    assert result.losses[-1] < 1e-3


def test_bounds_hold_and_are_approached():
    result = only(bowl(0.0, 2.0), replace(DOWN, method=Method("adam", {"rate": 0.1}), counts={"steps": 500}))
    assert 195.0 < result.found["a"].value < 200.0


def test_a_task_narrows_bounds():
    narrowed = replace(DOWN, vary=(Varied("a", 0.0, 1.0), Varied("b")))
    assert 0.0 < only(bowl(0.0, 2.0), narrowed).found["a"].value < 100.0


def test_maximize_climbs():
    up = Objective("depth", lambda r: -jnp.mean(r["height"]), maximize=True)
    result = only(bowl(), replace(DOWN, objective=up))
    assert result.losses[-1] == pytest.approx(0.0, abs=1e-9) and result.losses[0] < -20


def test_adam_is_optax_adam_on_the_same_draws():
    task = replace(GUNNER, counts={"batch": 8, "steps": 40, "seed": 7})
    ours = Program(module(aimed(), task))
    weights = jax.tree.map(jnp.array, ours.values["aim"])
    scenario = ours.scenarios["Aimed"]
    optimiser = optax.adam(1e-2)
    memory = optimiser.init(weights)

    def loss(weights: Any, target: Any) -> Any:
        speed, angle = jax.vmap(lambda t: networks.apply(AIM, weights, t))(target)
        return jnp.mean((speed**2 * jnp.sin(2 * angle) / 9.81 - target) ** 2)

    @jax.jit
    def step(weights: Any, memory: Any, k: Any) -> tuple[Any, Any, Any]:
        value, gradient = jax.value_and_grad(loss)(weights, scenario.draw(7, k * 8 + jnp.arange(8))["target"])
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = optimiser.update(gradient, memory, weights)
        return optax.apply_updates(weights, updates), memory, value

    history: list[float] = []
    for k in range(40):
        weights, memory, value = step(weights, memory, k)
        history.append(float(value))
    (result,) = run_tasks(ours)
    assert isinstance(result, Trained)
    np.testing.assert_allclose(result.losses, history, rtol=1e-9)


SCHEDULES = [
    ({"decay": "cosine"}, optax.cosine_decay_schedule(0.1, 50)),
    ({"decay": "cosine", "final": 0.2}, optax.cosine_decay_schedule(0.1, 50, alpha=0.2)),
    ({"decay": "linear", "final": 0.5}, optax.linear_schedule(0.1, 0.05, 50)),
    ({"decay": "exponential", "final": 0.1}, optax.exponential_decay(0.1, 50, 0.1)),
]


@pytest.mark.parametrize(("options", "schedule"), SCHEDULES)
def test_decays_are_those_of_optax(options: dict[str, Any], schedule: Any):
    descent, _ = optimisers.descent(Method("adam", {"rate": 0.1, **options}))
    ours = [float(descent.rule.rate(descent.numbers, jnp.asarray(step), jnp.asarray(50.0))) for step in range(50)]
    np.testing.assert_allclose(ours, [float(schedule(step)) for step in range(50)], rtol=1e-12, atol=1e-15)


def test_a_rate_warms_up_over_its_share_of_the_steps():
    descent, _ = optimisers.descent(Method("adam", {"rate": 0.1, "warmup": 0.2}))
    ours = [float(descent.rule.rate(descent.numbers, jnp.asarray(step), jnp.asarray(50.0))) for step in (0, 4, 9, 30)]
    np.testing.assert_allclose(ours, [0.01, 0.05, 0.1, 0.1])


OPTAX = {
    "adam": optax.adam(0.1),
    "adamw": optax.adamw(0.1, weight_decay=1e-4),
    "nadam": optax.nadam(0.1),
    "adabelief": optax.adabelief(0.1, eps=1e-16, eps_root=1e-16),
    "rmsprop": optax.rmsprop(0.1, decay=0.9, eps=1e-8),
    "lion": optax.lion(0.1, weight_decay=1e-3),
    "sgd": optax.sgd(0.1, momentum=0.0),
}


@pytest.mark.parametrize("name", optimisers.OPTIMISERS)
def test_an_optimiser_is_that_of_optax(name: str):
    descent, _ = optimisers.descent(Method(name, {"rate": 0.1}))
    theta = theirs = {"x": jnp.array([1.0, -2.0])}
    memory, state = descent.rule.direction(descent.numbers).init(theta), OPTAX[name].init(theirs)
    for k in range(4):
        gradient = {"x": jnp.array([1.0 + k, -0.5])}
        theta, memory = descent.rule.moved(descent.numbers, 0.1, theta, gradient, memory)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = OPTAX[name].update(gradient, state, theirs)
        theirs = optax.apply_updates(theirs, updates)
    np.testing.assert_allclose(theta["x"], theirs["x"], rtol=1e-9)


def test_a_clipped_gradient_has_the_largest_norm():
    descent, _ = optimisers.descent(Method("sgd", {"rate": 1.0, "clip": 0.5}))
    memory = descent.rule.direction(descent.numbers).init({"x": jnp.zeros(2)})
    theta, _ = descent.rule.moved(descent.numbers, 1.0, {"x": jnp.zeros(2)}, {"x": jnp.array([3.0, 4.0])}, memory)
    np.testing.assert_allclose(theta["x"], [-0.3, -0.4], rtol=1e-12)


def loop_of(task: Task, steps: int, rate: float = 1e-2, seed: int = 3) -> engine.Loop:
    """The loop of a task on `aimed`, in batches of 4."""
    ours = Program(module(aimed(), task))
    ready = setup(ours, task, Context())
    free = vary.freedoms(ready.scenario, task)
    descent, _ = optimisers.descent(task.method)
    problem = Problem(SHARED, task.objective, free, descent.rule, 4, task.counts.get("samples"))
    numbers = dict(descent.numbers) | {"rate": rate}
    constants = Constants(ready.base, np.asarray(seed), np.asarray(steps, float), numbers)
    return engine.Loop(problem, vary.starts(ready, task, free, 1, ready.base), constants, steps)


SHARED = Program(module(aimed())).scenarios["Aimed"]


def test_chunks_change_nothing_and_one_program_serves_all():
    whole, pieces = loop_of(GUNNER, 60), loop_of(GUNNER, 60)
    whole.advance(60)
    for until in (1, 8, 9, 40, 60):
        pieces.advance(until)
    np.testing.assert_array_equal(whole.losses, pieces.losses)
    jax.tree.map(np.testing.assert_array_equal, whole.values(0), pieces.values(0))
    other = loop_of(GUNNER, 21, rate=1e-3, seed=4)
    other.advance(21)
    assert engine.compiled(other.iteration).run.forms == 1


class Memory:
    """Keeps states as a disk would."""

    def __init__(self) -> None:
        self.kept: dict[str, State] = {}

    def load(self, task: str) -> State | None:
        return self.kept.get(task)

    def save(self, task: str, state: State) -> None:
        self.kept[task] = {name: np.array(value) for name, value in state.items()}


def test_a_lost_task_goes_on_bit_for_bit():
    task = replace(GUNNER, counts={"steps": 90, "batch": 4, "starts": 2})
    (whole,) = run_tasks(Program(module(aimed(), task)))
    memory, lost = Memory(), Program(module(aimed(), task))
    (part,) = run_tasks(lost, progress=Pressed(after=20), keeper=memory)
    assert part.status == "interrupted" and part.losses.size < 90
    (rest,) = run_tasks(Program(module(aimed(), task)), keeper=memory)
    np.testing.assert_array_equal(rest.losses, whole.losses)
    jax.tree.map(np.testing.assert_array_equal, rest.params["aim"], whole.params["aim"])
    (again,) = run_tasks(Program(module(aimed(), task)), keeper=memory)  # ended: nothing is left to do
    jax.tree.map(np.testing.assert_array_equal, again.params["aim"], whole.params["aim"])


def test_an_epoch_meets_no_fixed_sample_twice():
    problem = loop_of(replace(GUNNER, counts={"samples": 10}), 1).iteration
    assert isinstance(problem, Problem)
    epochs = [np.concatenate([problem.met(0, 2 * epoch + k) for k in (0, 1)]) for epoch in range(3)]
    assert all(len(set(epoch.tolist())) == 8 and epoch.max() < 10 for epoch in epochs)
    assert epochs[0].tolist() != epochs[1].tolist()


def test_epochs_over_fixed_samples_count_steps():
    task = replace(GUNNER, counts={"samples": 12, "epochs": 3, "batch": 4}, fixed_samples=True)
    assert only(aimed(), task).losses.size == 9


def test_what_is_found_stays_for_later_tasks_unless_they_start_fresh():
    first, again = replace(DOWN, counts={"steps": 30}), replace(DOWN, name="again", counts={"steps": 30})
    ours = Program(module(bowl(), first, again, replace(again, name="anew", start="fresh")))
    one, two, three = run_tasks(ours)
    assert two.losses[0] < one.losses[-1] and three.losses[0] == one.losses[0]


def test_random_starts_are_within_bounds_and_follow_the_seed():
    task = replace(DOWN, start="random", counts={"steps": 1})
    first = [only(bowl(0.0, 2.0), task, seed=seed).losses[0] for seed in (1, 1, 2)]
    assert first[0] == first[1] != first[2]


def test_of_several_starts_the_best_is_kept():
    def fixed(v: Mapping[str, Any]) -> tuple[Any, ...]:
        return (jnp.cos(v["x"]) + 0.1 * v["x"],)

    hills = static("Hills", fixed, ("height",), params=(Param("x", 18.0, Unit(), 0.0, 20.0),))
    task = train(
        "Hills", "x", mean_of("height"), method=Method("adam", {"rate": 0.1}), counts={"steps": 200, "starts": 8}
    )
    result = only(hills, task)
    assert result.found["x"].value == pytest.approx(np.pi, abs=0.3)
    assert any("of 8 was the best" in note for note in result.notes)


def test_a_start_that_fails_leaves_the_others():
    def fixed(v: Mapping[str, Any]) -> tuple[Any, ...]:
        return (jnp.where(v["x"] > 9.9, jnp.nan, (v["x"] - 2.0) ** 2),)

    cliff = static("Cliff", fixed, ("height",), params=(Param("x", 9.95, Unit(), 0.0, 10.0),))
    task = train(
        "Cliff", "x", mean_of("height"), method=Method("adam", {"rate": 0.1}), counts={"steps": 200, "starts": 4}
    )
    result = only(cliff, task)
    assert result.found["x"].value == pytest.approx(2.0, abs=0.01) and np.isfinite(result.losses).all()


def test_a_loss_that_rises_keeps_the_best_values():
    result = only(bowl(), replace(DOWN, method=descend(0.2502), counts={"steps": 2000}, vary=(Varied("b"),)))
    assert result.kept == 0 and any("before the first step" in note for note in result.notes)
    assert result.found["b"].value == 1.0


def test_until_ends_a_training_as_soon_as_it_holds():
    until = Comparison("mean(height) < 1", lambda r: (jnp.mean(r["height"]), 1.0), ("<",))
    result = only(bowl(), replace(DOWN, until=until))
    assert result.losses.size < 900 and result.judged.value < 1.0
    assert result.losses.size % (900 // judge.LOOKS) == 0


def test_what_lies_on_its_bound_is_said():
    result = only(bowl(0.0, 2.0), replace(DOWN, method=Method("adam", {"rate": 0.5}), counts={"steps": 900}))
    assert any("a is within 0.1 % of its upper bound of 200 cm" in note for note in result.notes)


def three(*params: Param) -> Scenario:
    """The squared distance of each param from 3."""

    def fixed(v: Mapping[str, Any]) -> tuple[Any, ...]:
        return (sum((v[p.name] - 3.0) ** 2 for p in params),)

    return static("Three", fixed, ("height",), params=params)


@pytest.mark.parametrize(
    "param",
    [
        Param("x", 0.0, Unit(), 0.0, 10.0),
        Param("x", 10.0, Unit(), 0.0, 10.0),
        Param("x", 0.0, Unit(), 0.0),
        Param("x", 4.0, Unit(), None, 4.0),
        Param("x", 1.0, Unit(), 1.0, 1e6, True),
    ],
)
def test_a_start_on_a_bound_leaves_it_and_that_is_said(param: Param):
    task = train("Three", "x", mean_of("height"), method=Method("adam", {"rate": 0.1}), counts={"steps": 600})
    result = only(three(param), task)
    assert result.found["x"].value == pytest.approx(3.0, rel=1e-3)
    assert any("would start on its bound" in note for note in result.notes)
    assert not any("% of its" in note for note in result.notes)


def test_random_starts_differ_where_one_end_is_open():
    task = replace(train("Three", "x", mean_of("height"), counts={"steps": 1}), start="random")
    first = {only(three(Param("x", 0.0, Unit(), 0.0)), task, seed=seed).losses[0] for seed in range(3)}
    assert len(first) == 3 and max(first) < 9.0


# ---------------------------------------------------------------- what can go wrong in train


def broken(function: Any) -> Scenario:
    given = Given("load", 0.5, CM, distribution=Distribution("uniform", (0.0, 1.0)))
    return static("Broken", function, ("cost",), params=(Param("x", 2.0, CM),), givens=(given,))


def test_a_loss_that_is_not_finite_names_step_sample_and_the_last_good_values():
    scenario = broken(lambda v: (jnp.log(v["x"] - v["load"]) * 10.0,))
    task = train("Broken", "x", mean_of("cost"), method=descend(0.1), counts={"steps": 50, "batch": 4})
    ours = Program(module(scenario, task))
    with pytest.raises(NumericalFailure) as caught:
        list(run_tasks(ours))
    failure = caught.value
    x, load = float(failure.values["x"]), failure.sample.givens["load"]
    assert failure.step > 0 and failure.what == "the loss"
    assert load.unit == "cm" and load.value / 100 >= x
    index = failure.sample.index
    assert index // 4 == failure.step
    drawn = ours.scenarios["Broken"].draw(0, jnp.asarray([index]))["load"][0]
    assert load.value == pytest.approx(100 * float(drawn))
    assert float(ours.values["x"]) == 2.0
    assert f"at step {failure.step}" in str(failure) and "load =" in str(failure)


def test_a_gradient_that_is_not_finite_stops_too():
    scenario = broken(lambda v: (jnp.sqrt(jnp.abs(v["x"] - 2.0)) + v["load"],))
    task = train("Broken", "x", mean_of("cost"), method=descend(), counts={"steps": 5, "batch": 2})
    with pytest.raises(NumericalFailure) as caught:
        only(scenario, task)
    assert caught.value.what == "the gradient" and caught.value.step == 0


class Pressed(Silent):
    """Someone who presses Ctrl-C after some steps."""

    def __init__(self, after: int):
        self.after = after

    def advance(self, done: int, value: float | None = None, **shown: str) -> None:
        if done >= self.after:
            signal.raise_signal(signal.SIGINT)


def test_an_interrupt_ends_the_task_cleanly_and_keeps_what_it_has():
    task = replace(DOWN, counts={"steps": 100_000})
    ours = Program(module(bowl(), task, replace(DOWN, name="later")))
    before = signal.getsignal(signal.SIGINT)
    results = list(run_tasks(ours, progress=Pressed(after=2_000)))
    assert [result.status for result in results] == ["interrupted"]
    assert 2_000 <= results[0].losses.size < 100_000
    assert float(ours.values["a"]) == pytest.approx(3.0)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": Method("newton")}, "no optimiser is called `newton`; there are adam, adamw"),
        ({"method": Method("adam", {"speed": 1.0})}, "not speed"),
        ({"method": Method("adam", {"decay": "slow"})}, "no decay is called `slow`"),
        ({"counts": {"epochs": 2}}, "samples N fixed"),
        ({"vary": (Varied("c"),)}, "learn varies c, which Bowl does not have"),
        ({"kind": "control"}, "of kind control"),
    ],
)
def test_misuse_is_a_value_error(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        only(bowl(), replace(DOWN, **change))


def test_defaults_are_told():
    assert only(bowl(), replace(DOWN, method=Method(), counts={})).defaults == (
        "using adam(rate = 0.003, decay = cosine)",
        "batch 1",
        "steps 1_000",
        "derivatives forward, of 2 numbers",
    )
    chosen = only(aimed(), replace(GUNNER, counts={"steps": 1})).defaults
    assert chosen[0] == "batch 64" and chosen[1].startswith("derivatives reverse, of ") and len(chosen) == 2


# ---------------------------------------------------------------- verify


def expect(*expectations: Comparison, **more: Any) -> Task:
    return Task(**{"kind": "verify", "name": "holds", "doc": "", "scenario": "Aimed"} | more, expectations=expectations)


def below(limit: float) -> Comparison:
    return Comparison("mean(error) < limit", lambda r: (jnp.mean(r["error"]), limit), ("<",), unit=CM)


def in_every_run(limit: float) -> Comparison:
    return Comparison("error < limit", lambda r: (r["error"], limit), ("<",), per_run=True, unit=CM)


def test_training_makes_the_expectation_hold():
    task = replace(GUNNER, counts={"batch": 32, "steps": 600})
    before, _, after = run_tasks(Program(module(aimed(), expect(below(0.2), name="before"), task, expect(below(0.2)))))
    assert (before.status, after.status) == ("failed", "done")


def test_failing_runs_are_given_with_their_givens_in_declared_units():
    result = only(aimed(), expect(in_every_run(0.5), counts={"samples": 300}))
    (checked,) = result.checked
    low, high = checked.operands[0]
    assert result.status == "failed" and checked.failing_count > 5 == len(checked.failing)
    assert low < 50.0 < high and checked.operands[1] == (50.0, 50.0)
    one = checked.failing[0]
    target = one.sample.givens["target"]
    assert target.unit == "m" and 1.0 < target.value < 9.0
    assert one.values[0].value > 50.0 and one.values[0].unit == "cm"


def test_verification_meets_other_runs_than_training():
    ours = Program(module(aimed(), expect(in_every_run(0.0), counts={"samples": 3, "seed": 5})))
    (result,) = run_tasks(ours)
    assert isinstance(result, Verified)
    found = [failing.sample.givens["target"].value for failing in result.checked[0].failing]
    indices = jnp.arange(3)
    draw = ours.scenarios["Aimed"].draw
    np.testing.assert_allclose(found, draw(stream(5, "verify"), indices)["target"])
    assert not np.isclose(found, draw(5, indices)["target"]).any()


def test_batches_change_nothing():
    results = [only(aimed(), expect(in_every_run(0.0), counts={"samples": n})) for n in (5, 300)]
    assert len({r.checked[0].failing[4].values[0].value.__round__(9) for r in results}) == 1


def test_a_number_that_is_not_finite_does_not_hold():
    scenario = static("Nan", lambda v: (v["x"] / 0.0 - v["x"] / 0.0,), ("cost",), params=(Param("x", 1.0),))
    task = expect(Comparison("cost < 1", lambda r: (jnp.mean(r["cost"]), 1.0), ("<",)), scenario="Nan")
    result = only(scenario, task)
    assert result.status == "failed" and result.samples == 1


def test_chained_comparisons():
    def between(low: float, high: float) -> Comparison:
        return Comparison("low <= 2 < high", lambda r: (low, 2.0 + 0.0 * jnp.mean(r["error"]), high), ("<=", "<"))

    result = only(aimed(), expect(between(2.0, 3.0), between(0.0, 2.0), between(3.0, 4.0), counts={"samples": 2}))
    assert [checked.holds for checked in result.checked] == [True, False, False]


# ---------------------------------------------------------------- settings and order


def test_a_setting_of_a_given_holds_it_fixed():
    task = expect(in_every_run(0.0), counts={"samples": 4}, settings=(("target", 3.0),))
    assert only(aimed(), task).samples == 1
    assert only(aimed(), expect(in_every_run(0.0)), settings={"target": 3.0}).samples == 1


def test_the_caller_rules_over_the_text():
    task = expect(in_every_run(0.0), settings=(("target", 3.0), ("g", 5.0)))
    errors = [
        only(aimed(), task, settings=settings).checked[0].operands[0] for settings in ({}, {"g": 5.0}, {"g": 9.81})
    ]
    assert errors[0] == errors[1] != errors[2]


def test_a_setting_of_a_param_is_where_a_task_starts_and_no_more():
    result = only(bowl(), DOWN, settings={"a": 2.0})
    assert result.losses[0] == pytest.approx(1.0 + 16.0) and result.found["a"].value == pytest.approx(300.0)


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="called `targets`; did you mean `target`"):
        only(aimed(), expect(below(1.0)), settings={"targets": 3.0})


def test_named_tasks_bring_what_they_need_in_file_order():
    a, b, c, d = (
        replace(DOWN, name=name, needs=needs) for name, needs in [("a", ()), ("b", ("a",)), ("c", ("b",)), ("d", ())]
    )
    tasks = (a, b, c, d)
    assert [task.name for task in order(tasks, ["c"])] == ["a", "b", "c"]
    assert [task.name for task in order(tasks, ["d", "a"])] == ["a", "d"]
    assert [task.name for task in order(tasks, [])] == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="there is no task `e`"):
        order(tasks, ["e"])
