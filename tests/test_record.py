"""Laws of `record`: what sensors read is what the run says, with the noise that is declared, and nothing else."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dpl.runtime import program, spec
from dpl.tasks.context import Context
from dpl.tasks.record import Recorded, record
from dpl.tasks.run import order, run_tasks

HOUR, MG = spec.Unit("h", 3600.0), spec.Unit("mg", 1e-6)
RATE, SD, LIMIT = 0.5 / 3600, 0.05, 0.8e-6

DRUG = spec.Scenario(
    name="Drug",
    doc="",
    params=(spec.Param("k", RATE, spec.Unit("1/h", 1 / 3600)),),
    givens=(spec.Given("dose", None, MG, distribution=spec.Distribution("uniform", (1e-6, 3e-6))),),
    starts=(),
    networks=(),
    observed=(),
    measures=(spec.Measure("left", "metric", MG),),
    fixed=lambda v: (v["k"], v["dose"]),
    results=lambda reduced, c: {"left": reduced[0], "middle": reduced[0], "sd": 1e-8},
    observe=lambda t, x, z, held, c: {"gut": x[0]},
    run=spec.Run(0.0, 4 * 3600.0, spec.Method("tsit5"), unit=HOUR),
    states=(spec.Observed("gut"),),
    start=lambda c: ((c[1],), (), ()),
    rhs=lambda t, x, z, held, c: ((-c[0] * x[0],), ()),
    reductions=(spec.Reduction("final", 0),),
    instants=lambda t, x, z, held, c: x,
    sensors=lambda t, x, z, held, c, row: ((x[0], SD), (x[0], SD * 1e-6, LIMIT)),
    observations=(
        spec.Observation("conc", "lognormal", unit=MG, timed=True),
        spec.Observation("cut", "normal", unit=MG, timed=True, below=True),
    ),
)
STATIC = spec.Scenario(
    name="Line",
    doc="",
    params=(spec.Param("a", 2.0),),
    givens=(spec.Given("x", None, distribution=spec.Distribution("uniform", (0.0, 1.0))),),
    starts=(),
    networks=(),
    observed=(),
    measures=(),
    fixed=lambda v: (v["a"] * v["x"], v["x"]),
    results=lambda reduced, c: {"y mean": c[0], "n mean": 3 + 0 * c[1]},
    observe=lambda t, x, z, held, c: {},
    observations=(
        spec.Observation("y", "exponential", keys=("y mean",)),
        spec.Observation("n", "poisson", keys=("n mean",)),
    ),
)


def recorded(scenario: spec.Scenario, seed: int | None = None, **counts: Any) -> tuple[program.Program, Recorded]:
    every = counts.pop("every", None)
    found = program.from_module(spec.Module("test", "", (scenario,), (), "0"))
    task = spec.Task("record", "shots", "", scenario.name, counts=counts, every=every)
    return found, record(found, task, Context(seed))


def test_a_run_is_read_from_its_start_to_its_end() -> None:
    found, result = recorded(DRUG, samples=3, every=1800.0)
    time, run, dose = (result.columns[name].value for name in ("time", "run", "dose"))
    assert time == pytest.approx(np.tile(np.arange(9) / 2, 3))
    assert run == pytest.approx(np.repeat([1, 2, 3], 9))
    assert len(set(dose)) == 3
    truth = dose * np.exp(-0.5 * time)
    assert result.truth["conc"].value == pytest.approx(truth, rel=1e-6)
    assert result.columns["conc"].unit == "mg"
    data = found.data["shots"]
    assert data is result.data
    assert data.groups == ("1", "2", "3")
    assert [c.role for c in data.columns] == ["time", "group", "value", "value", "value"]
    assert np.asarray(data.column("time").values) == pytest.approx(time * 3600)  # type: ignore[union-attr]


def test_readings_are_distributed_as_declared() -> None:
    _, result = recorded(DRUG, samples=100, points=10)
    z = np.log(result.columns["conc"].value / result.truth["conc"].value) / SD
    assert stats.kstest(z, "norm").pvalue > 1e-3
    _, line = recorded(STATIC, samples=400)
    assert stats.kstest(line.columns["y"].value / (2 * line.columns["x"].value), "expon").pvalue > 1e-3
    assert line.columns["n"].value == pytest.approx(np.round(line.columns["n"].value))
    assert np.mean(line.columns["n"].value) == pytest.approx(3, abs=0.4)
    assert abs(np.corrcoef(line.columns["y"].value / line.columns["x"].value, line.columns["n"].value)[0, 1]) < 0.2


def test_a_limit_is_what_is_recorded() -> None:
    _, result = recorded(DRUG, samples=50, points=10)
    cut = result.columns["cut"].value
    assert cut.min() == pytest.approx(LIMIT * 1e6)
    count = int((cut == cut.min()).sum())
    assert 0 < count < cut.size
    assert any(f"{count} readings of cut are at its limit" in note for note in result.notes)


def test_a_reading_depends_on_seed_run_and_sensor_alone() -> None:
    _, few = recorded(DRUG, samples=2, points=5)
    _, many = recorded(DRUG, samples=300, points=5)
    _, other = recorded(DRUG, seed=1, samples=2, points=5)
    for name in ("dose", "conc", "cut"):
        assert few.columns[name].value == pytest.approx(many.columns[name].value[:12], rel=1e-12)
    assert not np.allclose(few.columns["conc"].value, other.columns["conc"].value)
    assert not np.allclose(few.columns["dose"].value, other.columns["dose"].value)


def test_without_a_time_every_row_is_a_run() -> None:
    _, result = recorded(STATIC, samples=7)
    assert list(result.columns) == ["x", "y", "n"]
    assert result.time == result.run == ""
    assert result.columns["y"].value.shape == (7,)


def test_runs_that_fail_are_left_out() -> None:
    bad = replace(DRUG, rhs=lambda t, x, z, held, c: ((jnp.where(c[1] > 2e-6, jnp.nan, -c[0] * x[0]),), ()))
    found, result = recorded(bad, samples=20, points=4)
    dose = result.columns["dose"].value
    assert 0 < result.failed < 20
    assert dose.max() <= 2
    assert len(dose) == 5 * (20 - result.failed)
    assert any("did not end well" in note for note in result.notes)
    assert [int(label) for label in found.data["shots"].groups] == sorted({int(n) for n in result.columns["run"].value})


def test_another_scenario_reads_the_rows() -> None:
    """Once more after another record, of another seed."""
    map = replace(
        STATIC,
        name="Map",
        givens=(spec.Given("shot.x", None, data="shots", column="x"),),
        observations=(spec.Observation("shots.y", "exponential", "shots", "y", keys=("y mean",)),),
        fixed=lambda v: (v["a"] * v["shot.x"], v["shot.x"]),
        measures=(spec.Measure("y mean", "metric"),),
    )
    empty = spec.Data("shots", (spec.Column("x"), spec.Column("y"), spec.Column("n")), record="shots")
    shots = spec.Task("record", "shots", "", "Line", counts={"samples": 8})
    all_rows = spec.Task("evaluate", "rows", "", "Map", needs=("shots",))
    found = program.from_module(spec.Module("test", "", (STATIC, map), (shots, all_rows), "0", data=(empty,)))
    assert found.scenarios["Map"].waits
    for seed in (0, 1):
        first, second = run_tasks(found, seed=seed)
        assert isinstance(first, Recorded)
        assert not found.scenarios["Map"].waits
        assert second.samples == 8  # type: ignore[union-attr]
        assert second.spreads[0].mean == pytest.approx(2 * first.columns["x"].value.mean())  # type: ignore[union-attr]


def regression(n: int, seed: int) -> tuple[spec.Data, float]:
    """Rows, and the slope that least squares gives."""
    draw = np.random.default_rng(seed)
    x = draw.uniform(1, 2, n)
    y = 3 * x + draw.normal(0, 0.1, n)
    columns = (spec.Column("x", tuple(x)), spec.Column("y", tuple(y)))
    return spec.Data("points", columns), float(x @ y / (x @ x))


LINE = replace(
    STATIC,
    givens=tuple(spec.Given(f"row.{name}", None, data="points", column=name) for name in "xy"),
    measures=(spec.Measure("misfit", "loss"),),
    fixed=lambda v: ((v["a"] * v["row.x"] - v["row.y"]) ** 2,),
    results=lambda reduced, c: {"misfit": c[0]},
    observations=(),
)


def test_rows_are_what_training_meets_and_other_rows_are_no_other_program() -> None:
    mean = spec.Objective("misfit", lambda results: jnp.mean(results["misfit"]))
    task = {"doc": "", "scenario": "Line", "vary": (spec.Varied("a"),), "objective": mean}
    epochs, sgd = {"epochs": 60, "batch": 8}, spec.Method("sgd", {"rate": 0.05, "decay": "cosine"})
    tasks = (
        spec.Task("train", "learn", counts=epochs, method=sgd, **task),  # type: ignore[arg-type]
        spec.Task("optimize", "exact", **task),  # type: ignore[arg-type]
        spec.Task("evaluate", "left", "", "Line"),
    )
    data, slope = regression(24, 0)
    found = program.from_module(spec.Module("test", "", (LINE,), tasks, "0", data=(data,)))
    trained, exact, left = run_tasks(found)
    assert trained.judged_on == exact.samples == left.samples == 24  # type: ignore[union-attr]
    assert len(trained.losses) == 60 * 3  # type: ignore[union-attr]
    assert trained.params["a"] == pytest.approx(slope, rel=1e-3)  # type: ignore[union-attr]
    assert exact.params["a"] == pytest.approx(slope, rel=1e-9)  # type: ignore[union-attr]
    traces = dict(found.scenarios["Line"].traces)
    found.data["points"], slope = regression(24, 1)
    _, again, left = run_tasks(found)
    assert again.params["a"] == pytest.approx(slope, rel=1e-9)  # type: ignore[union-attr]
    x, y = (np.asarray(c.values) for c in found.data["points"].columns)
    assert left.spreads[0].mean == pytest.approx(np.mean((slope * x - y) ** 2))  # type: ignore[union-attr]
    assert dict(found.scenarios["Line"].traces) == traces


def test_what_a_record_made_is_needed_wherever_tasks_start() -> None:
    """Params may be those of an earlier run; rows are not among them."""
    learn = spec.Task("optimize", "learn", "", "Line")
    shots = spec.Task("record", "shots", "", "Line", needs=("learn",))
    rest = spec.Task("evaluate", "rest", "", "Line", needs=("learn", "shots"))
    found = program.from_module(spec.Module("test", "", (STATIC,), (learn, shots, rest), "0"))
    assert [t.name for t in order(found.module.tasks, ("rest",))] == ["learn", "shots", "rest"]
    found.started()
    assert [t.name for t in order(found.module.tasks, ("rest",))] == ["shots", "rest"]
