"""What is kept between processes is read back, is right, and is done without where it cannot be had."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dpl
from dpl import cache, warm
from dpl.runtime import kept

TEXT = """
network net(x in -1..1) -> y in -2..2 { hidden 3 }
scenario S {
  given x ~ uniform(-1, 1)
  param k = 2 in 0..10
  loss miss = (net(x) - k*x)²
}
train fitted { on S; vary net, k; minimize miss; batch 4; steps 5 }
"""
MORE = """
optimize best { on S; vary each x; minimize miss; samples 3 }
verify close { on S; samples 8; expect mean(miss) < 100 }
"""


@pytest.fixture
def keeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which this process keeps what it traces."""
    monkeypatch.delenv(cache.NEVER)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kept.Keeping, "place", tmp_path / "dpl" / kept.KIND)
    return tmp_path / "dpl"


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the programs that are traced to be kept."""
    names: list[str] = []
    traced = kept._exported

    def counted(function, leaves, tree):
        names.append(function.__name__)
        return traced(function, leaves, tree)

    monkeypatch.setattr(kept, "_exported", counted)
    return names


def outcome(text: str = TEXT, **options) -> dict[str, np.ndarray]:
    """All numbers that the tasks come to, in a program made anew."""
    results = dpl.compile(text, "a.dpl").run(**options)
    fitted, best = results["fitted"], results.get("best")
    found = {"losses": fitted.losses, "k": fitted.found["k"].value}
    return found | ({"best": best.after, "x": best.found["x"].value} if best else {})


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in a)


def test_a_kept_program_does_what_the_traced_one_did_and_is_not_traced(keeping: Path, exports: list[str]):
    with pytest.MonkeyPatch.context() as without:
        without.setattr(kept.Keeping, "place", None)
        plain = outcome(TEXT + MORE)
    first = outcome(TEXT + MORE)
    assert {"run", "begin", "all_lanes"} <= set(exports)
    exports.clear()
    assert same(outcome(TEXT + MORE), first) and same(first, plain)
    assert exports == []


def test_another_program_is_traced(keeping: Path, exports: list[str]):
    before = outcome()
    for changed in (("k*x", "k*x*x"), ("batch 4", "batch 5"), ("steps 5", "steps 5; using adam(decay = linear)")):
        exports.clear()
        after = outcome(TEXT.replace(*changed))
        assert "run" in exports and not np.array_equal(before["losses"], after["losses"])


def test_other_numbers_are_no_other_program(keeping: Path, exports: list[str]):
    before = outcome()
    exports.clear()
    after = outcome(settings={"k": 3.0}, seed=4)
    assert exports == [] and not np.array_equal(before["losses"], after["losses"])


def test_what_is_not_whole_is_made_anew(keeping: Path, exports: list[str]):
    spoil = [lambda data: data[: len(data) // 2], lambda data: b"\x00garbage" * 50, lambda data: b""]
    before = outcome()
    files = [path for path in keeping.rglob("*") if path.is_file() and path.parent.name in (kept.KIND, "modules")]
    whole = {path: path.read_bytes() for path in files}
    for n, path in enumerate(files):
        path.write_bytes(spoil[n % 3](path.read_bytes()))
    exports.clear()
    assert same(outcome(), before) and "run" in exports
    exports.clear()
    assert same(outcome(), before) and exports == []
    assert all(cache.read(path) is not None for path in whole)


def test_a_folder_that_cannot_be_written_is_done_without(keeping: Path, monkeypatch: pytest.MonkeyPatch):
    before = outcome()
    for path in sorted(keeping.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    keeping.rmdir()
    keeping.write_text("a file where the folder would be")
    assert same(outcome(), before)


def test_a_full_disk_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache.write(tmp_path / "x" / "entry", b"data")
    assert list((tmp_path / "x").iterdir()) == []


def test_only_named_tuples_of_ours_are_made_of_what_is_read():
    for module, name in (("os", "stat_result"), ("subprocess", "Popen"), ("dpl.cache", "write")):
        with pytest.raises(kept.Unnamed):
            kept.decoded({"named": [module, name, [0]]}, [1])


# ---------------------------------------------------------------- whole processes

COMMAND = """
import json, sys
from dpl.cli.main import main
code = main(["run", sys.argv[1], "--no-save", "--json"])
from dpl.runtime import kept
print(json.dumps([code, "sympy" in sys.modules]), file=sys.stderr)
"""


def process(home: Path, file: Path, *flags: str) -> subprocess.Popen[str]:
    surroundings = {k: v for k, v in os.environ.items() if k != cache.NEVER}
    path = os.pathsep.join(filter(None, [str(Path(dpl.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    surroundings |= {"XDG_CACHE_HOME": str(home), "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, *flags, "-c", COMMAND, str(file)],
        env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def numbers(of: subprocess.Popen[str]) -> tuple[str, bool]:
    """What a process found, without how long it took; and whether it imported SymPy."""
    out, told = of.communicate(timeout=300)
    code, sympy = json.loads(told.splitlines()[-1])
    assert code == 0, told
    assert len(told.splitlines()) == 1, told
    tasks = [{k: v for k, v in task.items() if k != "seconds"} for task in json.loads(out)["tasks"]]
    return json.dumps(tasks), sympy


def test_processes_share_what_is_kept_and_heal_what_is_spoilt(tmp_path: Path):
    file = tmp_path / "a.dpl"
    file.write_text(TEXT)
    home = tmp_path / "cache"
    together = [process(home, file) for _ in range(2)]
    (first, cold), (second, _) = map(numbers, together)
    assert cold and first == second
    compiled = sorted((home / "dpl" / warm.COMPILED).glob("*-cache"))
    sizes = {path: path.stat().st_size for path in compiled}
    for n, path in enumerate(compiled):
        path.write_bytes(path.read_bytes()[: sizes[path] // 2] if n % 2 else b"garbage")
    again, sympy = numbers(process(home, file))
    assert again == first and not sympy
    assert all(warm._whole(path) for path in compiled)


def test_a_changed_import_is_seen(tmp_path: Path, keeping: Path):
    (tmp_path / "part.dpl").write_text("model Part { output y = 2 }")
    (tmp_path / "a.dpl").write_text("from part import Part\nscenario S { part p = Part(); metric m = p.y }")
    assert dpl.load(tmp_path / "a.dpl").scenarios["S"].evaluate()["m"] == 2
    (tmp_path / "part.dpl").write_text("model Part { output y = 3 }")
    assert dpl.load(tmp_path / "a.dpl").scenarios["S"].evaluate()["m"] == 3


# ---------------------------------------------------------------- one trace for all numbers

MOVING = """
scenario Decay {
  param k: 1/s = 1 in 0..3
  given x0 = 1 in 0.5..2 ~ uniform(0.5, 2)
  state x = x0
  x' = -k*x
  run for 1 [s] using METHOD
  loss mean_x = average(x)
  loss late = value_at(x, 0.63 [s])
  metric half = settling_time(x, 0, 0.5)
}
"""


def decay(method: str, text: str = MOVING) -> dpl.Program:
    return dpl.compile(text.replace("METHOD", method), "decay.dpl")


def test_tolerances_params_givens_and_starts_share_one_trace():
    scenario = decay("tsit5()").scenarios["Decay"]
    errors: list[float] = []
    for n in range(40):
        rtol = 10.0 ** -(3 + n / 8)
        found = scenario.simulate(values={"using.rtol": rtol, "using.atol": rtol, "k": 1 + n / 100, "x0": 0.6})
        errors.append(abs(found["x"][-1] - 0.6 * np.exp(-1 - n / 100)))
    assert scenario.traces == {"measures": 1, "trajectory": 1}
    assert errors[0] > 100 * errors[-1]


@pytest.mark.parametrize("step", [0.013, 0.3])
def test_a_step_that_is_set_does_what_one_in_the_text_does(step: float):
    said, given = decay(f"rk4({step} [s])").scenarios["Decay"], decay("rk4(0.1 [s])").scenarios["Decay"]
    expected, found = said.evaluate(), given.evaluate(numbers={"using.step": step})
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-13, err_msg=name)
    runs = said.simulate(points=7), given.simulate(7, {"using.step": step})
    np.testing.assert_allclose(runs[1]["x"], runs[0]["x"], rtol=1e-13)


def test_a_thousand_steps_of_like_number_are_one_trace():
    program = decay("rk4(0.1 [s])")
    scenario = program.scenarios["Decay"]
    for step in np.linspace(0.0105, 0.0124, 1000):  # 96 to 81 steps
        scenario.evaluate({"k": step * 100}, numbers={"using.step": step})
    assert scenario.traces == {"measures": 1}


def test_the_step_of_a_clocked_run_divides_its_period():
    text = """
    controller Hold every 100 [ms] { input e; output u = -2*e }
    scenario Decay {
      state x = 1
      part hold = Hold(e = x)
      x' = (hold.u - x)*1 [1/s]
      run for 1.25 [s] using METHOD
      loss mean_x = average(x)
      loss late = value_at(hold.u, 0.63 [s])
      loss most = peak(x, from 0.3 [s])
    }
    """
    expected = decay("rk4(0.02 [s])", text).scenarios["Decay"].evaluate()
    found = decay("rk4(0.1 [s])", text).scenarios["Decay"].evaluate(numbers={"using.step": 0.021})
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-13, err_msg=name)


def test_tasks_take_the_solvers_numbers_as_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from dpl.cli.main import main

    file = tmp_path / "decay.dpl"
    file.write_text(MOVING.replace("METHOD", "rk4(0.5 [s])") + "simulate one { on Decay }\n")
    arguments = ["run", str(file), "--no-save", "--json", "--set"]
    assert main([*arguments, "using.step = 10 [ms]"]) == 0
    fine = json.loads(capsys.readouterr().out)["tasks"][0]
    assert main([*arguments, "Decay.using.step = 0.5"]) == 0
    coarse = json.loads(capsys.readouterr().out)["tasks"][0]
    assert fine["measures"] != coarse["measures"]
    assert main([*arguments, "using.step = 1 [m]"]) == 2 and "is s" in capsys.readouterr().out
    assert main([*arguments, "using.rtol = 1e-3"]) == 2 and "using.step" in capsys.readouterr().err


# ---------------------------------------------------------------- compiled programs as files


ALONE = """
import sys, json, zipfile, jax
jax.config.update("jax_enable_x64", True)
archive = zipfile.ZipFile(sys.argv[1])
told = json.loads(archive.read("header.json"))["scenarios"]["Decay"]
arguments = sorted(told["arguments"], key=lambda argument: argument["name"])
arguments = [float(leaf["value"][0]) for argument in arguments for leaf in argument["leaves"]]
print(jax.export.deserialize(bytearray(archive.read("Decay/measures"))).call(*map(jax.numpy.asarray, arguments)))
"""


def test_a_compiled_program_does_what_the_program_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from dpl.cli.main import main

    file, out = tmp_path / "decay.dpl", tmp_path / "decay.compiled"
    file.write_text(MOVING.replace("METHOD", "rk4(0.1 [s])"))
    assert main(["emit", str(file), "--compiled", str(out)]) == 0
    ours, theirs = dpl.load(file).scenarios["Decay"], dpl.load_compiled(out).scenarios["Decay"]
    run, found = ours.simulate(k=2, x0=1.5), theirs.simulate({"k": 2, "x0": 1.5})
    np.testing.assert_allclose(found["rows"]["x"], run["x"], rtol=1e-14)
    np.testing.assert_allclose(theirs.time, run.time)
    assert found["measures"].keys() == {**run.losses, **run.metrics}.keys()
    for name, value in {**run.losses, **run.metrics}.items():
        np.testing.assert_allclose(found["measures"][name], value, rtol=1e-14)
    slope = theirs.gradient({"k": 2})["mean_x"]["k"]
    near = [float(theirs.measures({"k": k})["mean_x"]) for k in (2 - 1e-5, 2 + 1e-5)]
    np.testing.assert_allclose(slope, (near[1] - near[0]) / 2e-5, rtol=1e-8)
    assert float(theirs.rhs(0, {"x": 3}, {"k": 2})["x"]) == -6
    plain = subprocess.run([sys.executable, "-c", ALONE, str(out)], capture_output=True, text=True, check=True)
    assert f"{float(theirs.measures()['late']):.6f}" in plain.stdout
    with pytest.raises(ValueError, match="did you mean `x0`"):
        theirs.measures({"x00": 1})
    with pytest.raises(ValueError, match="shape"):
        theirs.measures({"k": [1, 2]})


@pytest.mark.parametrize("spoil", [lambda data: data[:-200], lambda data: b"{}", lambda data: b""])
def test_a_file_that_is_no_compiled_program_is_refused(spoil, tmp_path: Path):
    path = tmp_path / "x"
    dpl.compile("scenario S { param k = 1; metric m = 2*k }").emit_compiled(path)
    assert float(dpl.load_compiled(path).scenarios["S"].measures({"k": 3})["m"]) == 6
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match="no compiled program, or not whole"):
        dpl.load_compiled(path)
    with pytest.raises(ValueError, match="was not written by"):
        dpl.compile("scenario S { metric m = 2 }").emit_compiled(path)


def test_the_solver_is_judged_once_for_the_same_numbers(keeping: Path, monkeypatch: pytest.MonkeyPatch):
    from dpl.runtime import choice

    asked: list[str] = []
    choose = choice.choose
    monkeypatch.setattr(choice, "choose", lambda *a: asked.append("") or choose(*a))
    text = MOVING.replace(" using METHOD", "")
    first, again = (dpl.compile(text).scenarios["Decay"] for _ in range(2))
    assert (first.method, first.explanation) == (again.method, again.explanation) and len(asked) == 1
    assert dpl.compile(text.replace("k: 1/s = 1 ", "k: 1/s = 2 ")).scenarios["Decay"].method and len(asked) == 2
