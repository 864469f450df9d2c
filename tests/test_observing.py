"""Laws of looking at runs at the times of data: closed forms, derivatives, rows and runs."""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from dpl.runtime import functions, observing, program, solve, spec
from dpl.runtime.hybrid import directions
from tests.test_hybrid import ball, changed, height

GENERATED = Path(__file__).parent / "generated"
TIMES = np.asarray([0.0, 0.013, 0.3, 0.3, 1.7, 2.0, 2.0])


@cache
def source(name: str) -> str:
    return (GENERATED / f"{name}.py").read_text(encoding="utf-8")


def scenario(name: str, file: str = "decay") -> program.Scenario:
    return program.load(source(file), file).scenarios[name]


def decay(method: str, **arguments: Any) -> program.Scenario:
    return changed_in(scenario("Decay"), run=spec.Run(0.0, 2.0, spec.Method(method, arguments)))


def changed_in(one: program.Scenario, **entries: Any) -> program.Scenario:
    """The same scenario of the same module, with other entries."""
    new = replace(one.spec, **entries)
    module = replace(one.program.module, scenarios=(new,))
    return program.from_module(module).scenarios[one.name]


def looked(one: program.Scenario, times: Any = TIMES, mode: solve.Mode = "forward", **values: Any) -> Any:
    rows = {"plain.err": np.zeros(len(times))}
    return one.expected_si({**one.values_si(), **values}, {"plain": times}, rows, mode)


# ---------------------------------------------------------------- adaptive steps


@pytest.mark.parametrize("method", ["tsit5", "dopri8", "rodas5p", "kvaerno5"])
def test_a_decay_has_its_closed_form_at_the_times_of_data(method: str) -> None:
    arguments, status = looked(decay(method))
    assert int(status) == solve.OK
    assert arguments["plain.level"][0] == pytest.approx(
        3 * np.exp(-0.7 * TIMES), rel=1e-7 if method == "kvaerno5" else 2e-9
    )


@pytest.mark.parametrize("mode", ["forward", "reverse"])
@pytest.mark.parametrize("method", ["tsit5", "rodas5p"])
def test_derivatives_have_their_closed_form(method: str, mode: solve.Mode) -> None:
    one = decay(method)
    take = jax.jacfwd if mode == "forward" else jax.jacrev
    slopes = take(lambda k: looked(one, mode=mode, k=k)[0]["plain.level"][0])(0.7)
    assert slopes == pytest.approx(-TIMES * 3 * np.exp(-0.7 * TIMES), abs=3e-8)


def test_other_times_and_values_do_not_retrace() -> None:
    one = decay("tsit5")
    for k in (0.5, 0.7):
        looked(one, TIMES * k, k=k)
    assert one.traces["expected"] == 1


def test_of_two_data_each_has_its_own_times_and_rows() -> None:
    one = scenario("Decay")
    cases, labels = observing.cases(one)
    assert labels == ("",)
    assert cases.known["plain.level"].tolist() == [[True, True, True, False, False, True]]  # a cell, and one of `err`
    values, times, rows = jax.tree.map(lambda a: a[0], (cases.values, cases.times, cases.rows))
    arguments, _ = one.expected_si({**one.values_si(), **values}, times, rows)
    level, err = arguments["plain.level"]
    assert level == pytest.approx(3 * np.exp(-0.7 * times["plain"]), rel=1e-8)
    assert err.tolist() == rows["plain.err"].tolist()
    t = times["other"]
    assert arguments["other.rate"][0] == pytest.approx(2.1 * np.exp(-0.7 * t) + t, rel=1e-8)


def test_a_batch_is_its_runs() -> None:
    one = decay("tsit5")
    k = np.asarray([0.1, 0.7, 30.0])
    many, status = jax.vmap(lambda k: looked(one, k=k))(k)
    assert status.tolist() == [solve.OK] * 3
    assert many["plain.level"][0] == pytest.approx(3 * np.exp(-k[:, None] * TIMES), rel=1e-7, abs=1e-9)


def test_a_run_that_fails_has_no_arguments() -> None:
    for one, status in ((decay("tsit5", max_steps=3), solve.MAX_STEPS), (decay("tsit5"), solve.NONFINITE)):
        values = {"k": np.nan} if status == solve.NONFINITE else {}
        arguments, got = looked(one, **values)
        assert int(got) == status
        assert np.isnan(arguments["plain.level"][0]).all()


def test_single_precision() -> None:
    one = decay("tsit5")
    one.program.dtype = "float32"
    level = looked(one)[0]["plain.level"][0]
    assert level.dtype == jnp.float64
    assert level == pytest.approx(3 * np.exp(-0.7 * TIMES), rel=1e-4)


# ---------------------------------------------------------------- fixed steps, clocks, events


def test_fixed_steps_are_met_exactly_and_hermite_lies_between() -> None:
    one = decay("rk4", step=0.1)
    level = looked(one)[0]["plain.level"][0]
    assert level == pytest.approx(3 * np.exp(-0.7 * TIMES), rel=1e-6)
    x, h = 3.0, 0.07
    for _ in range(3):
        x *= 1 - h + h**2 / 2 - h**3 / 6 + h**4 / 24
    assert float(level[2]) == pytest.approx(x, rel=1e-14)
    stepped = one.expected_si(one.values_si(numbers={"using.step": 0.05}), {"plain": TIMES}, {"plain.err": TIMES})
    assert stepped[0]["plain.level"][0] == pytest.approx(3 * np.exp(-0.7 * TIMES), rel=1e-7)


@pytest.mark.parametrize("method", [None, "tsit5", "rodas5p"])
def test_between_ticks_a_clock_holds(method: str | None) -> None:
    one = scenario("Track", "motor")
    run = one.spec.run
    assert run is not None
    chosen = run.method if method is None else spec.Method(method)
    observations = (spec.Observation("d.u", "normal", "d", "u", timed=True),)
    entries = {"run": replace(run, method=chosen), "observations": observations}
    one = changed_in(one, **entries, sensors=lambda t, x, z, held, c, row: ((held[-1], x[0]),))
    times = np.asarray([0.0, 0.004, 0.0099, 0.01, 0.01, 0.0237, 0.3, run.duration])
    arguments, status = one.expected_si(one.values_si(), {"d": times}, {})
    held, x = arguments["d.u"]
    shown = one.simulate(points=240)
    for n in (0, 3, 4, 6, 7):  # those that the output grid has
        place = int(np.argmin(np.abs(shown.time - times[n])))
        assert float(x[n]) == pytest.approx(rows_of(one, shown)[place], rel=1e-6, abs=1e-9)
    assert float(held[1]) == float(held[0]) == float(held[2]) != float(held[3]) == float(held[4])
    assert int(status) == solve.OK


def rows_of(one: program.Scenario, run: program.Run) -> np.ndarray:
    name = one.spec.states[0].name
    unit = next(o.unit for o in one.spec.observed if o.name == name)
    return run[name] * unit.scale


def bouncing() -> program.Scenario:
    observations = (spec.Observation("seen.h", "normal", "seen", "h", timed=True),)
    return changed(
        ball(2.5, kept=1), sensors=lambda t, x, z, held, c, row: ((x[0], row[0]),), row=("seen.err",),
        observations=observations,
    )  # fmt: skip


def test_a_ball_is_observed_between_its_bounces() -> None:
    one, times = bouncing(), np.asarray([0.0, 0.3, 0.5, 0.5, 1.1, 2.2, 2.4999])
    at = {"g": 9.81, "e": 0.8, "h0": 1.0}

    def seen(mode: solve.Mode, **values: Any) -> Any:
        arguments, status = one.expected_si({**one.values_si(), **values}, {"seen": times}, {"seen.err": times}, mode)
        return arguments["seen.h"][0], status

    heights, status = seen("forward")
    assert int(status) == solve.OK
    assert heights == pytest.approx([height(t, **at) for t in times], abs=1e-9)
    slopes = jax.jacfwd(lambda v: seen("forward", h0=v)[0])(1.0)
    back = jax.jacrev(lambda v: seen("reverse", h0=v)[0])(1.0)
    up, down = ([height(t, 9.81, 0.8, 1.0 + d) for t in times] for d in (1e-6, -1e-6))
    assert slopes == pytest.approx((np.asarray(up) - np.asarray(down)) / 2e-6, abs=1e-6)
    assert back == pytest.approx(np.asarray(slopes), abs=1e-9)


@pytest.mark.long
def test_loops_that_store_have_the_same_derivatives(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a network within the dynamics, of one program by one number after another: `e` is read by the event."""
    monkeypatch.setattr(directions, "FEW", 0)
    one, times = bouncing(), np.asarray([0.3, 0.5, 1.1, 2.2])

    def seen(at: Any, mode: solve.Mode = "reverse") -> Any:
        return one.expected_si({**one.values_si(), **at}, {"seen": times}, {"seen.err": times}, mode)[0]["seen.h"][0]

    at = {"h0": 1.0, "e": 0.8, "g": 9.81}
    due = jax.jacfwd(partial(seen, mode="forward"))(at)
    for name, value in at.items():
        assert jax.jacrev(lambda v, n=name: seen({n: v}))(value) == pytest.approx(np.asarray(due[name]), abs=1e-9)


# ---------------------------------------------------------------- what data say to runs


def test_a_group_is_a_run_with_its_givens_and_signals() -> None:
    one = scenario("Driven")
    cases, labels = observing.cases(one)
    assert labels == ("ann", "bob")
    assert cases.values["dose"].tolist() == [2.0, 5.0]
    assert cases.known["grouped.level"].tolist() == [[True] * 3, [True, True, False]]
    base = one.values_si()
    many, status = jax.vmap(lambda v, t: one.expected_si({**base, **v}, t, {}))(cases.values, cases.times)
    assert status.tolist() == [solve.OK] * 2
    # Bob's input is constant: x' = -k x + 2 from 5.
    bob = 2 / 0.7 + (5 - 2 / 0.7) * np.exp(-0.7 * cases.times["grouped"][1])
    assert many["grouped.level"][0][1] == pytest.approx(bob, rel=1e-8)
    # Ann's input is t/0.5 up to 0.5, then 1 + 2 (t - 0.5), which no step may round off.
    exact = np.exp(-0.35) * 2 + (2 * (0.5 / 0.7 - (1 - np.exp(-0.35)) / 0.49))
    assert float(many["grouped.level"][0][0, 1]) == pytest.approx(exact, rel=1e-8)


def test_other_tasks_meet_the_rows_in_turn() -> None:
    one = scenario("Driven")
    assert one.givens == {"dose": 2.0}
    drawn = one.draw(7, np.arange(3))
    assert drawn["dose"].tolist() == [2.0, 5.0, 2.0]
    results, _ = jax.vmap(lambda v: one.measures_si({**one.values_si(), **v}))(drawn)
    assert float(results["end"][0]) == pytest.approx(float(one.evaluate()["end"]), rel=1e-12)
    assert float(results["end"][1]) == pytest.approx(2 / 0.7 + (5 - 2 / 0.7) * np.exp(-1.4), rel=1e-8)


def test_without_time_each_row_is_a_run() -> None:
    one = scenario("Line")
    cases, labels = observing.cases(one)
    assert labels == ("1", "2", "3", "4")
    assert cases.known["points.y"].tolist() == [True, False, False, True]  # no y; no x
    many, _ = jax.vmap(lambda v: one.expected_si({**one.values_si(), **v}, {}, {}))(cases.values)
    mean, sd = many["points.y"]
    assert mean[jnp.asarray([0, 1, 3])].tolist() == [2.0, 4.0, 16.0]
    assert sd.tolist() == [0.1] * 4
    assert one.draw(0, np.arange(4))["row.x"].tolist() == [1.0, 2.0, 4.0, 1.0]


def test_data_that_are_recorded_replace_those_before() -> None:
    one = scenario("Aimed")
    with pytest.raises(ValueError, match="`shots` has no rows: run `record practise` first"):
        observing.cases(one)
    columns = (spec.Column("x", (5.0, 6.0)), spec.Column("y", (1.0, 2.0)))
    for shift in (0.0, 1.0):
        shifted = replace(columns[0], values=(5.0 + shift, 6.0))
        one.program.data["shots"] = spec.Data("shots", (shifted, columns[1]), record="practise")
        assert one.givens == {"shot.x": 5.0 + shift}
        assert observing.cases(one)[0].values["shot.x"].tolist() == [5.0 + shift, 6.0]


def test_rows_outside_the_run_are_told() -> None:
    one = changed_in(scenario("Decay"), run=spec.Run(0.0, 1.5, spec.Method("tsit5")))
    with pytest.raises(ValueError, match=r"`plain` has a row at 1\.7 s, after the run of Decay ends at 1\.5 s"):
        observing.cases(one)


# ---------------------------------------------------------------- tables


def test_lookups() -> None:
    knots, values = np.asarray([0, 1, 2.5, 3, 4.0]), np.asarray([1, 3, 2, 2.5, 7.0])
    x = np.linspace(-1, 5, 61)
    inside = np.clip(x, 0, 4)
    cubic = PchipInterpolator(knots, values)
    look = lambda x, using: functions.lookup((knots, values), x, using)  # noqa: E731
    assert look(x, "linear") == pytest.approx(np.interp(x, knots, values))
    assert look(x, "cubic") == pytest.approx(cubic(inside))
    assert look(x, "previous").tolist() == values[np.clip(np.searchsorted(knots, x, "right") - 1, 0, 4)].tolist()
    slopes = jax.vmap(jax.grad(lambda x: look(x, "cubic")))(x)
    assert slopes == pytest.approx(np.where((x < 0) | (x > 4), 0, cubic(inside, 1)), abs=1e-12)


def test_a_table_has_derivatives_by_its_values() -> None:
    knots = np.asarray([0.0, 1.0, 3.0])
    weights = jax.grad(lambda values: functions.lookup((knots, values), 1.5, "linear"))(np.asarray([1.0, 2.0, 4.0]))
    assert weights == pytest.approx([0.0, 0.75, 0.25])
