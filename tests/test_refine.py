"""Laws of `refine`: it closes the gap, tests both sides on the same runs, and keeps what it had."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from dpl import language
from dpl.compiler.driver import compile_model
from dpl.language.source import Source
from dpl.runtime import program, spec
from dpl.tasks.context import Context
from dpl.tasks.record import Recorded
from dpl.tasks.refine import Refined, refine
from dpl.tasks.result import NumericalFailure, Result, Seconds, Silent
from dpl.tasks.run import TASKS, order, run_tasks

TRUE, BELIEVED = 0.7, 1.0


def scenario(name: str, k: float | None) -> spec.Scenario:
    """A shot lands at k*gain*target; k is believed, or known to the territory alone."""
    return spec.Scenario(
        name=name,
        doc="",
        params=(spec.Param("gain", 0.5, low=0.0, high=5.0), *([] if k else [spec.Param("k", BELIEVED)])),
        givens=(spec.Given("target", None, distribution=spec.Distribution("uniform", (1.0, 5.0))),),
        starts=(),
        networks=(),
        observed=(),
        measures=(spec.Measure("error", "metric", spec.Unit("cm", 0.01)),),
        fixed=lambda v: ((k or v["k"]) * v["gain"] * v["target"], v["target"]),
        results=lambda reduced, c: {"error": jnp.abs(c[0] - c[1]), "range": c[0], "sd": 0.01},
        observe=lambda t, x, z, held, c: {},
        observations=() if k is None else (spec.Observation("range", "normal", keys=("range", "sd")),),
    )


ERROR = spec.Objective("error²", lambda r: jnp.mean(r["error"] ** 2), residuals=lambda r: (r["error"],))
PRACTISE = spec.Task("optimize", "practise", "", "Map", vary=(spec.Varied("gain"),), objective=ERROR)
SHOTS = spec.Task("record", "shots", "", "Real", counts={"samples": 30, "seed": 4})
REFIT = spec.Task("fit", "refit", "", "Map", needs=("shots",))
LOOP = spec.Task(
    "refine",
    "closing",
    "",
    "Map",
    territory="Real",
    repeat=("practise", "shots", "refit"),
    counts={"rounds": 2, "samples": 50},
    show=("error",),
)
LAST = spec.Task("evaluate", "last", "", "Real", needs=("practise", "closing"))


def loaded(*tasks: spec.Task) -> program.Program:
    scenarios = scenario("Map", None), scenario("Real", TRUE)
    return program.from_module(spec.Module("test", "", scenarios, tasks or (PRACTISE, SHOTS, REFIT, LOOP, LAST), "0"))


def do(found: program.Program, fail: int = 0) -> Any:
    """Tasks as they are, with a fit in closed form; its call `fail` fails."""
    calls: list[int] = []

    def one(task: spec.Task, context: Context) -> Result:
        if task.kind != "fit":
            return TASKS[task.kind](found, task, context)
        calls.append(1)
        if len(calls) == fail:
            raise NumericalFailure(task.name, 3, "the loss", None, {}, {})
        rows = {c.name: np.asarray(c.values) for c in found.data["shots"].columns}
        shot = float(found.values["gain"]) * rows["target"]
        found.values["k"] = np.asarray(rows["range"] @ shot / (shot @ shot))
        return Result(kind="fit", name=task.name, scenario=task.scenario, seed=0, seconds=Seconds(None, 0.0))

    return one


def refined(fail: int = 0, **changes: Any) -> tuple[program.Program, Refined]:
    found = loaded()
    return found, refine(found, replace(LOOP, **changes), Context(), do(found, fail))


def test_the_gap_closes_once_the_map_is_fitted() -> None:
    found, result = refined()
    first, *later = result.rows
    assert [row.round for row in result.rows] == [0, 1, 2]
    assert first.map == pytest.approx(0, abs=1e-4)
    assert first.territory == pytest.approx(100 * (1 - TRUE) * _targets(found).mean())
    assert first.closed == 0
    assert all(row.closed > 0.97 and row.unit == "cm" for row in later)
    assert float(found.values["k"]) == pytest.approx(TRUE, rel=0.01)
    assert float(found.values["gain"]) == pytest.approx(1 / TRUE, rel=0.01)
    assert [r.name for r in result.rounds[1].results] == ["shots", "refit", "practise"]
    assert [r.name for r in result.rounds[0].results] == ["practise"]
    assert [one.recorded for one in result.rounds] == [0, 30, 60]


def _targets(found: program.Program) -> np.ndarray:
    from dpl.tasks.sampling import stream

    return np.asarray(found.scenarios["Real"].draw(stream(0, "verify"), np.arange(50))["target"])


def test_both_sides_meet_the_same_runs() -> None:
    found, result = refined()
    first = result.rows[0]
    assert first.territory_runs == pytest.approx(100 * (1 - TRUE) * _targets(found), rel=1e-4)
    assert first.gap == pytest.approx(abs(first.territory_runs.mean() - first.map_runs.mean()))
    assert result.rows[2].closed == pytest.approx(1 - result.rows[2].gap / first.gap)


def test_each_round_records_other_runs() -> None:
    _, result = refined()
    records = [r for one in result.rounds for r in one.results if isinstance(r, Recorded)]
    assert records[0].seed == 4  # as the task by itself
    a, b = (r.columns["target"].value for r in records)
    assert len(a) == len(b) == 30
    assert not np.isin(a, b).any()


@pytest.mark.parametrize(("fail", "rounds"), [(1, 1), (2, 2)])
def test_a_task_that_fails_ends_the_loop_with_what_was_reached(fail: int, rounds: int) -> None:
    _, result = refined(fail)
    assert result.status == "unended"
    assert len(result.rounds) == rounds
    assert any("refit" in note and f"round {fail}" in note for note in result.notes)


def test_who_ends_a_task_ends_the_loop() -> None:
    found = loaded()
    plain = do(found)

    def one(task: spec.Task, context: Context) -> Result:
        result = plain(task, context)
        return replace(result, status="interrupted") if task.kind == "record" else result

    result = refine(found, LOOP, Context(), one)
    assert result.status == "interrupted"
    assert len(result.rounds) == 1


def test_progress_and_kept_states_tell_the_rounds_apart() -> None:
    titles: list[str] = []
    kept: dict[str, Any] = {}

    class Told(Silent):
        def begin(self, title: str, total: int) -> None:
            titles.append(title)

    class Kept:
        def load(self, task: str) -> Any:
            return kept.get(task)

        def save(self, task: str, state: Any) -> None:
            kept[task] = state

    found = loaded()
    once = refine(found, LOOP, Context(progress=Told(), keeper=Kept()), do(found))
    assert titles[0] == "closing, round 0: optimize practise"
    assert "closing, round 2: record shots" in titles
    assert len(kept) == 3
    found = loaded()
    again = refine(found, LOOP, Context(keeper=Kept()), do(found))
    assert [row.territory for row in again.rows] == [row.territory for row in once.rows]


def test_what_is_repeated_is_not_done_by_itself() -> None:
    tasks = PRACTISE, SHOTS, REFIT, LOOP, LAST
    assert [t.name for t in order([t for t in tasks if t.kind != "fit"], ())] == ["closing", "last"]
    names = lambda *wanted: [t.name for t in order([PRACTISE, SHOTS, LOOP, LAST], wanted)]  # noqa: E731
    assert names("last") == ["closing", "last"]
    assert names("practise", "last") == ["practise", "closing", "last"]
    assert names("shots") == ["shots"]
    early = replace(LAST, name="early", needs=("practise",))
    assert [t.name for t in order([PRACTISE, SHOTS, early, LOOP], ())] == ["practise", "early", "closing"]


# ---------------------------------------------------------------- a file

LOOP_FILE = """
network aim(target: m in 1..9) -> angle: rad in 0.02..0.8 { hidden 8 }
model Gun {
  param speed: m/s = 10 in 5..15
  input angle: rad
  output range: m = speed²*sin(2*angle)/(9.81 [m/s^2])
}
scenario Believed {
  given target: m ~ uniform(2, 7)
  part gun = Gun(angle = aim(target))
  metric error = abs(gun.range - target)
}
scenario Real {
  given target: m ~ uniform(2, 7)
  let angle = aim(target)
  part gun = Gun(angle = angle, speed = 9 [m/s])
  metric error = abs(gun.range - target)
  observe range: m ~ normal(gun.range, 5 [cm])
  observe tilt: rad ~ normal(angle, 1e-4)
}
scenario Fitting {
  given shot from shots
  part gun = Gun(angle = shot.tilt)
  observe shots.range ~ normal(gun.range, 5 [cm])
}
train practise { on Believed; vary aim; minimize error²; using adam(rate = 1e-2); batch 32; steps 400 }
record shots { on Real; samples 20; seed 3 }
fit refit { on Fitting; vary gun.speed }
refine closing { on Believed, Real; repeat practise, shots, refit; rounds 1; show error; samples 60 }
"""


@pytest.mark.long
def test_a_file_closes_the_gap_between_its_map_and_its_territory() -> None:
    module = compile_model(language.load_text(Source("test.dpl", LOOP_FILE)))
    found = program.load(module.source, "test")
    (result,) = run_tasks(found)
    assert isinstance(result, Refined)
    first, last = result.rows
    assert first.gap > 0.4
    assert last.closed > 0.9
    speed = result.rounds[1].estimates["gun.speed"]
    assert abs(speed.value - 9) < 4 * speed.se
    assert speed.se < 0.05
    assert float(found.values["gun.speed"]) == pytest.approx(speed.value)
