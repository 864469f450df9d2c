"""`verify`, `evaluate` and `compare` on hand-written modules: statistics against NumPy, the same runs for all."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import dpl
from dpl.results import report, summary
from dpl.results.table import Table
from dpl.runtime.program import Program
from dpl.runtime.spec import (
    Comparison,
    Distribution,
    Given,
    Measure,
    Method,
    Module,
    Objective,
    Param,
    Scenario,
    Task,
    Unit,
    Varied,
)
from dpl.tasks.bootstrap import intervals
from dpl.tasks.run import run_tasks
from dpl.tasks.sampling import stream
from dpl.tasks.verify import Checked, Verified

CM = Unit("cm", 0.01)
NONE = (np.nan, np.nan)
LOAD = Given("load", 0.5, CM, distribution=Distribution("uniform", (0.0, 1.0)))


def pressed() -> Scenario:
    """|x - load|, and in another measure whether that is all; runs with the largest loads do not end well."""

    def fixed(v: Mapping[str, Any]) -> tuple[Any, ...]:
        return (jnp.abs(v["x"] - v["load"]),)

    return Scenario(
        "Pressed",
        "",
        params=(Param("x", 0.9, CM, 0.0, 2.0),),
        givens=(LOAD,),
        starts=(),
        networks=(),
        observed=(),
        measures=(Measure("error", "metric", CM),),
        fixed=fixed,
        results=lambda reduced, c: {"error": jnp.where(c[0] > 0.899, jnp.nan, c[0])},
        observe=lambda *_: {},
    )


def task(kind: str, name: str = "", **more: Any) -> Task:
    return Task(**{"kind": kind, "name": name or kind, "doc": "", "scenario": "Pressed"} | more)


def squared(results: Mapping[str, Any]) -> Any:
    return jnp.mean(results["error"] ** 2)


SQUARES = Objective("error²", squared, unit=Unit("cm^2", 1e-4), residuals=lambda r: (r["error"],))
NEAR = Comparison("error < 1 [mm]", lambda r: (r["error"], 1e-3), ("<",), per_run=True, unit=CM)
TUNE = task("optimize", "tune", vary=(Varied("x", each=True),), objective=SQUARES, until=NEAR, counts={"samples": 20})
TRAIN = task(
    "train", "learn", vary=(Varied("x"),), objective=SQUARES, method=Method("sgd", {"rate": 0.1}), counts={"steps": 50}
)


def results_of(*tasks: Task, **options: Any) -> list[Any]:
    return list(run_tasks(Program(Module("test", "", (pressed(),), tasks, "0")), **options))


def loads(count: int, seed: int = 0) -> np.ndarray:
    scenario = Program(Module("test", "", (pressed(),), (), "0")).scenarios["Pressed"]
    return np.asarray(scenario.draw(stream(seed, "verify"), jnp.arange(count))["load"])


# ---------------------------------------------------------------- verify


def mean_below(limit: float) -> Comparison:
    return Comparison("mean(error) < limit", lambda r: (jnp.mean(r["error"]), limit), ("<",), unit=CM)


def test_the_interval_of_a_mean_is_that_of_the_central_limit():
    values = np.random.default_rng(3).normal(5.0, 2.0, 400)
    ((found, limit),) = intervals([mean_below(1.0)], {"error": values}, 0)
    assert limit is None and found is not None
    half = 1.96 * values.std() / 20
    np.testing.assert_allclose(found, [values.mean() - half, values.mean() + half], atol=0.2 * half)


def test_intervals_hold_the_truth_nearly_always():
    generator = np.random.default_rng(5)
    held, one = 0, mean_below(1.0)
    for k in range(40):
        ((found, _),) = intervals([one], {"error": generator.exponential(1.0, 200)}, k)
        assert found is not None
        held += found[0] < 1.0 < found[1]
    assert held >= 34


def test_an_expectation_says_how_sure_it_is():
    (result,) = results_of(task("verify", expectations=(mean_below(0.5), NEAR), counts={"samples": 300}))
    over_runs, in_each = result.checked
    value, (low, high) = over_runs.operands[0][0], over_runs.intervals[0]
    assert low < value < high and high - low < 0.2 * value and in_each.intervals == (None, None)
    assert f"(95 %: {report.number(low)} to {report.number(high)})" in report.found(over_runs)
    assert summary.task(result)["expectations"][0]["intervals"] == [[low, high], None]


# ---------------------------------------------------------------- evaluate


def test_evaluate_is_numpy_on_the_runs_that_verify_meets():
    result = results_of(task("evaluate", counts={"samples": 500}))[0]
    (found,) = result.spreads
    error = 100 * np.abs(0.9 - loads(500))
    error = error[error <= 89.9]
    assert result.unended_count == 500 - error.size and found.runs == error.size and result.status == "done"
    assert [found.mean, found.sd, found.lowest, found.highest] == pytest.approx(
        [error.mean(), error.std(ddof=1), error.min(), error.max()]
    )
    assert [found.low, found.median, found.high] == pytest.approx(np.quantile(error, [0.05, 0.5, 0.95]).tolist())
    assert found.error == pytest.approx(1.96 * error.std(ddof=1) / np.sqrt(error.size)) and found.unit == "cm"
    text = "\n".join(str(block) for block in report.report(result))
    assert ("did not end well" in text) == bool(result.unended_count)


def test_one_run_has_no_spread():
    result = results_of(task("evaluate", settings=(("load", 0.3),)))[0]
    assert result.samples == 1 and result.spreads[0].mean == pytest.approx(60.0)
    assert summary.task(result)["measures"][0]["sd"] is None


@pytest.mark.parametrize(
    ("holds", "ends", "words"),
    [
        (True, (1.0, 4.0), "1 to 4 < 5 cm"),
        (False, (1.0, 7.0), "1 to 7 against 5 cm"),
        (False, NONE, "nan against 5 cm"),
    ],
)
def test_what_does_not_hold_is_not_said_as_if_it_did(holds: bool, ends: tuple[float, float], words: str):
    assert report.found(Checked("error < 5", holds, ("<",), (ends, (5.0, 5.0)), "cm", per_run=True)) == words


# ---------------------------------------------------------------- compare


def test_all_are_compared_on_the_same_runs():
    show = ("error", "iterations", "wall_time", "doubt")
    both = task("compare", scenario="", of=("learn", "tune"), show=show)
    *_, tuned, compared = results_of(TRAIN, TUNE, both)
    learned, each = compared.rows
    assert compared.samples == 20 and learned.iterations == 0.0
    np.testing.assert_array_equal(each.measures["error"].value, tuned.measures["error"].value)
    assert each.iterations == tuned.iterations.mean() and (each.measures["error"].value < 0.1).all()
    assert learned.wall_time > 0 and each.wall_time == tuned.seconds.run / 20
    (table,) = [block for block in report.report(compared) if isinstance(block, Table)]
    assert table.header == ("", "error", "iterations a run", "time a run", "doubt") and [
        row[-1] for row in table.rows
    ] == ["–", "–"]
    assert summary.task(compared)["rows"][0]["measures"]["error"]["unit"] == "cm"


def test_a_task_is_compared_as_it_was_when_it_ended():
    later = task("train", "later", vary=TRAIN.vary, objective=SQUARES, method=TRAIN.method, counts={"steps": 1})
    shifted = task("optimize", "far", vary=(Varied("x", 0.0, 0.4),), objective=SQUARES, counts={"samples": 30})
    both = task("compare", scenario="", of=("learn", "later"), counts={"samples": 30})
    first, _, _, compared = results_of(TRAIN, shifted, later, both)
    x = first.found["x"].value / 100
    np.testing.assert_allclose(compared.rows[0].measures["error"].value, 100 * np.abs(x - loads(30)), rtol=1e-9)
    assert not np.allclose(compared.rows[1].measures["error"].value, compared.rows[0].measures["error"].value)


def test_an_optimisation_of_fewer_runs_is_done_again():
    both = task("compare", scenario="", of=("tune",), counts={"samples": 33})
    tuned, compared = results_of(TUNE, both)
    error = compared.rows[0].measures["error"].value
    assert error.size == 33 and (error < 0.1).all() and "done again" in compared.notes[0]
    np.testing.assert_allclose(error[:20], tuned.measures["error"].value, atol=1e-9)


def test_values_for_each_run_are_found_again_beside_those_for_all():
    """With the slope found, the best offset of each run has a closed form."""
    text = """
        scenario Line {
          given x ~ uniform(-1, 1)
          param a = 0.5
          param b = 0 in -5..5
          loss f = (a*x + b - 2*x - 1)^2 + 0.1*b^2
        }
        optimize both { on Line; samples 10; vary a, each b; minimize f }
        compare c { on both; samples 14 }"""
    results = dpl.compile(text).run()
    (row,) = results["c"].rows
    x = np.asarray(dpl.compile(text).scenarios["Line"].draw(stream(0, "verify"), jnp.arange(14))["x"])
    rest = (results["both"].found["a"].value - 2.0) * x - 1.0
    np.testing.assert_allclose(row.measures["f"].value, rest**2 * 0.1 / 1.1, rtol=1e-6)
    assert row.iterations > 0 and results["c"].notes == ("both found b again for the runs that are compared",)


def test_what_was_not_done_cannot_be_compared():
    with pytest.raises(ValueError, match="needs the results of tune"):
        results_of(task("compare", scenario="", of=("tune",)))


def test_events_that_never_happened_are_told_with_the_number_of_runs() -> None:
    text = """
        scenario Filling {
          given flow ~ uniform(0, 2)
          state level = 0
          level' = flow
          when full: level > 1 { level := 0 }
          run for 1 using rk4(0.5)
          metric times = count(full)
        }
        verify v { on Filling; samples 20; expect times < 2 }
    """
    result = dpl.compile(text).run()["v"]
    assert isinstance(result, Verified)
    (note,) = result.notes
    never = int(note.split(" in ")[1].split()[0])
    assert note == f"`full` never happened in {never} of 20 runs"
    shown = next(c for c in result.checked)
    assert 0 < never < 20
    assert shown.operands[0] == (0, 1)
