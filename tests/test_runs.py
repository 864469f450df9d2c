"""What a run leaves behind: whole at every moment, enough to go on from bit for bit, and to repeat what failed."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpl.cli.codes import DONE, FAILED, UNSAVED, WRONG
from dpl.cli.main import main
from dpl.results import folder, lock, runs, tensors
from dpl.results.folder import Folder

MODEL = """
model Spring {
  param k: N/m = 10 in 1..100
  param c: N*s/m = 0.5 in 0.1..20
  state x: m = 0.1
  state v: m/s = 0
  x' = v
  1 [kg]*v' = -k*x - c*v
}
"""
TEXT = """
from spring import Spring
network push(load: N in 0..1) -> extra: m in -1..1 { hidden 4 }
scenario Released {
  given load: N ~ uniform(0, 1)
  part spring = Spring()
  run for 2 [s] using semi_implicit(50 [ms])
  loss motion = integral(spring.x²) + 1e-2 [m^2*s]*(push(load) - 0.3 [m])²/(1 [m^2])
  metric last = final(spring.x)
}
simulate look { on Released }
train damped { on Released; vary spring.c, push; minimize motion; using adam(rate = 0.05); steps 40; batch 4 }
verify still { on Released; samples 8; expect last > 1 [m] }
"""


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every test has a working directory of its own."""
    monkeypatch.chdir(tmp_path)


def written(text: str = TEXT, name: str = "released.dpl") -> str:
    Path("spring.dpl").write_text(MODEL, encoding="utf-8")
    Path(name).write_text(text, encoding="utf-8")
    return name


def only(place: str = "runs") -> Path:
    (path,) = Path(place).iterdir()
    return path


def params(path: Path) -> bytes:
    return (path / "params.safetensors").read_bytes()


# ---------------------------------------------------------------- the folder


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of the whole text: where the text is, and the folder."""
    home = tmp_path_factory.mktemp("ran")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert main(["run", written(), "--quiet"]) == FAILED
        return home, home / only()


def test_a_run_leaves_everything(ran: tuple[Path, Path]):
    _, path = ran
    files = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    assert files >= {
        "source/released.dpl",
        "source/spring.dpl",
        "generated.py",
        "settings.json",
        "params.safetensors",
        "params.json",
        "metrics/damped.csv",
        "trajectories/look.csv",
        "plots/damped-loss.svg",
        "plots/damped-loss.png",
        "plots/look.svg",
        "summary.json",
        "checkpoints/damped.safetensors",
        "log.txt",
        "status.json",
    }
    assert not [file for file in files if file.endswith(folder.PARTIAL)]
    header, *rows = (path / "metrics" / "damped.csv").read_text().splitlines()
    assert header == "step,motion [m^2*s]" and len(rows) == 40
    settings = json.loads((path / "settings.json").read_text())
    assert settings["dtype"] == "float64" and settings["tasks"]["damped"]["seed"] == 0
    assert settings["versions"].keys() >= {"dpl", "python", "jax", "numpy", "diffrax", "optax"}
    assert json.loads((path / "summary.json").read_text())["status"] == "failed"
    log = (path / "log.txt").read_text()
    assert log.startswith("$ dpl run released.dpl --quiet\n") and "train damped on Released: done" in log


def test_params_are_exact_and_named_in_their_units(ran: tuple[Path, Path]):
    _, path = ran
    page = json.loads((path / "params.json").read_text())
    saved = tensors.read(path / "params.safetensors")
    assert saved is not None and saved.source == page["source"]
    c = page["params"]["spring.c"]
    assert c["unit"] == "N*s/m" and c["value"] == saved.arrays["spring.c"] != 0.5
    assert page["networks"]["push"]["arrays"] == {
        name: list(array.shape) for name, array in saved.arrays.items() if name.startswith("push/")
    }


def test_its_source_gives_the_same_again(ran: tuple[Path, Path]):
    _, path = ran
    assert main(["run", str(path / "source" / "released.dpl"), "damped", "--quiet"]) == DONE
    assert params(only()) == params(path)


def test_nothing_is_saved_where_nothing_is_wanted(capsys: pytest.CaptureFixture[str]):
    file = written()
    assert main(["run", file, "look", "--no-save", "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["run"] is None and not Path("runs").exists()


def test_a_folder_of_ones_own_is_written_once(capsys: pytest.CaptureFixture[str]):
    file = written()
    assert main(["run", file, "look", "--out", "mine", "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["run"] == "mine" and not Path("runs").exists()
    assert main(["run", file, "look", "--out", "mine"]) == WRONG
    assert "holds a run already" in capsys.readouterr().err


def test_a_run_overwrites_no_file_of_ones_own(capsys: pytest.CaptureFixture[str]):
    file = written()
    Path("settings.json").write_text("my own")
    Path("runs/earlier").mkdir(parents=True)
    for place in (".", "runs"):
        assert main(["run", file, "look", "--out", place]) == WRONG
        shown = capsys.readouterr()
        assert "is not empty" in shown.err and "choose a new folder" in shown.err and not shown.out
    assert Path("settings.json").read_text() == "my own" and not Path("status.json").exists()
    Path("empty").mkdir()
    assert main(["run", file, "look", "--out", "empty", "--quiet"]) == DONE


def test_runs_of_the_same_second_have_folders_of_their_own():
    now = datetime(2030, 1, 2, 3, 4, 5)
    names = [folder.fresh(Path("runs"), "cannon", now).name for _ in range(3)]
    assert names == ["cannon-20300102-030405", "cannon-20300102-030405-2", "cannon-20300102-030405-3"]


@pytest.mark.parametrize("form", ["parquet", "netcdf"])
def test_trajectories_in_other_formats_are_the_same(ran: tuple[Path, Path], form: str):
    pandas, home = pytest.importorskip("pandas"), ran[0]
    pytest.importorskip({"parquet": "pyarrow", "netcdf": "h5netcdf"}[form])
    assert main(["run", str(home / "released.dpl"), "look", "--out", "mine", "--format", form]) == DONE
    expected = pandas.read_csv(ran[1] / "trajectories" / "look.csv")
    if form == "parquet":
        import pyarrow.parquet

        table = pyarrow.parquet.read_table("mine/trajectories/look.parquet")
        found = {
            name: (table[name].to_numpy(), table.field(name).metadata[b"unit"].decode()) for name in table.schema.names
        }
    else:
        import h5netcdf

        with h5netcdf.File("mine/trajectories/look.nc") as file:
            found = {name: (variable[...], variable.attrs["units"]) for name, variable in file.variables.items()}
    assert {f"{name} [{unit}]" for name, (_, unit) in found.items()} == set(expected.columns)
    for name, (values, unit) in found.items():
        assert np.array_equal(values, expected[f"{name} [{unit}]"])


# ---------------------------------------------------------------- crash safety


STATE = {"loop/carry/0": np.array([[1.5, np.nan]]), "step": np.asarray(7), "over": np.asarray(False)}


def same(a: Any, b: Any) -> bool:
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes() for k in a
    )


def test_a_state_is_found_again_by_the_run_that_goes_on_and_by_no_other():
    path = folder.exactly(Path("mine"))
    with Folder(path, "a") as first:
        first.save("learn", STATE)
        assert first.load("learn") is None
    with Folder(path, "a", resumed=True) as again:
        found = again.load("learn")
        assert found is not None and same(found, STATE) and again.load("other") is None
    with Folder(path, "b", resumed=True) as changed:
        assert changed.load("learn") is None


def test_a_state_that_cannot_be_read_is_said():
    path, said = folder.exactly(Path("mine")), list[str]()
    with Folder(path, "a") as first:
        first.save("learn", STATE)
    (file,) = (path / "checkpoints").iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    with Folder(path, "a", resumed=True, say=said.append) as again:
        assert again.load("never_begun") is None and not said
        assert again.load("learn") is None
    (told,) = said
    assert "checkpoint of learn cannot be read" in told and "begins anew" in told


def test_a_write_cut_short_leaves_the_one_before(monkeypatch: pytest.MonkeyPatch):
    def killed(*_: Any) -> None:
        raise SystemExit("as if killed")

    path = folder.exactly(Path("mine"))
    first = Folder(path, "a")
    first.save("learn", STATE)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(os, "replace", killed)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        first.save("learn", {**STATE, "step": np.asarray(8)})
    first._lock.close()  # as the end of the process does
    assert list(path.rglob(f"*{folder.PARTIAL}"))
    with Folder(path, "a", resumed=True) as again:
        found = again.load("learn")
        assert found is not None and same(found, STATE)
    assert not list(path.rglob(f"*{folder.PARTIAL}"))


def test_a_folder_belongs_to_one_process_at_a_time():
    path = folder.exactly(Path("mine"))
    with Folder(path, "a"):
        assert lock.held(path / folder.LOCK)
        with pytest.raises(ValueError, match="another process"):
            Folder(path, "a", resumed=True)
    assert not lock.held(path / folder.LOCK)


LONG = TEXT.split("verify")[0].replace("steps 40", "steps 60_000")
STARTED = "from dpl.tasks import engine; engine.KEEP_SECONDS = 0.2; from dpl.cli.main import main; import sys; "


def start(file: str) -> "subprocess.Popen[str]":
    """A run of its own that keeps its state often."""
    command = [sys.executable, "-c", f"{STARTED}sys.exit(main(['run', {file!r}, 'damped']))"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kept(place: Path) -> list[Path]:
    return list(place.glob("*/checkpoints/damped.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize(("with_signal", "status"), [(signal.SIGKILL, "killed"), (signal.SIGINT, "interrupted")])
def test_a_run_cut_short_goes_on_bit_for_bit(
    with_signal: int, status: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    file = written(LONG)
    process = start(file)
    while not kept(Path("runs")) and process.poll() is None:
        time.sleep(0.02)
    assert runs.listed(Path("runs"))[-1].status == "running"
    process.send_signal(with_signal)
    process.communicate(timeout=60)
    (entry,) = runs.listed(Path("runs"))
    state = tensors.read(kept(Path("runs"))[0])
    assert entry.status == status and entry.unfinished
    assert state is not None and 0 < state.arrays["loop/step"] < 60_000
    assert main(["run", file, "--resume", "--quiet"]) == DONE
    assert only() == entry.path and runs.listed(Path("runs"))[-1].status == "done"
    assert main(["run", file, "damped", "--quiet", "--out", "straight"]) == DONE
    assert params(entry.path) == params(Path("straight"))
    losses = Path("metrics/damped.csv")
    assert (entry.path / losses).read_bytes() == (Path("straight") / losses).read_bytes()
    capsys.readouterr()
    assert main(["run", file, "--resume", str(entry.path)]) == WRONG
    assert "is done" in capsys.readouterr().err


def interrupted(path: Path) -> None:
    """Makes a finished run one that was interrupted."""
    status = json.loads((path / "status.json").read_text())
    (path / "status.json").write_text(json.dumps(status | {"status": "interrupted"}))


def test_a_run_goes_on_only_with_the_text_and_the_wishes_it_began_with(capsys: pytest.CaptureFixture[str]):
    file = written()
    assert main(["run", file, "--resume"]) == WRONG
    assert "no run of released.dpl in runs is unfinished" in capsys.readouterr().err
    assert main(["run", file, "look", "--set", "spring.k=20", "--quiet"]) == DONE
    interrupted(only())
    before = (only() / "trajectories" / "look.csv").read_bytes()
    assert main(["run", file, "--resume", "--seed", "3"]) == WRONG
    assert "leave out --seed" in capsys.readouterr().err
    assert main(["run", file, "--resume"]) == DONE
    assert (only() / "trajectories" / "look.csv").read_bytes() == before
    interrupted(only())
    written(TEXT.replace("2 [s]", "3 [s]"))
    assert main(["run", file, "--resume"]) == WRONG
    said = capsys.readouterr().err
    assert "has changed since" in said and "--from" in said


# ---------------------------------------------------------------- starting from a run


def test_a_run_starts_from_the_params_of_another(ran: tuple[Path, Path], capsys: pytest.CaptureFixture[str]):
    home, path = ran
    assert main(["run", str(home / "released.dpl"), "look", "--from", str(path), "--out", "mine"]) == DONE
    assert params(Path("mine")) == params(path) and "another" not in capsys.readouterr().err
    file = written(TEXT.replace("2 [s]", "3 [s]"))
    assert main(["run", file, "look", "--from", str(path), "--out", "longer"]) == DONE
    assert params(Path("longer"))[-8:] == params(path)[-8:] and "all params fit" in capsys.readouterr().err


def test_a_task_that_is_named_after_from_is_done_alone(ran: tuple[Path, Path], capsys: pytest.CaptureFixture[str]):
    """What it needs has been found; without `--from` that is done first."""
    home, path = ran
    assert main(["run", str(home / "released.dpl"), "still", "--from", str(path), "--no-save"]) == FAILED
    alone = capsys.readouterr().out
    assert "verify still" in alone and "train" not in alone
    assert main(["run", str(home / "released.dpl"), "still", "--no-save"]) == FAILED
    assert "train damped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (TEXT.replace("hidden 4", "hidden 5"), "its `push/b/0` is of shape 4, not of shape 5"),
        (TEXT.replace("push", "shove"), "it has no `shove/b/0`"),
    ],
)
def test_a_run_of_another_model_is_refused_before_anything_is_done(
    ran: tuple[Path, Path], changed: str, said: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["run", written(changed), "look", "--from", str(ran[1])]) == WRONG
    told = capsys.readouterr().err
    assert "is a run of another model" in told and said in told and "dpl runs" in told
    assert not Path("runs").exists()


UNITS = "scenario S {\n  param x: m = 3\n  metric m = x\n}\nevaluate look { on S }\n"


def test_a_run_in_other_units_is_refused_and_one_in_other_multiples_is_not(capsys: pytest.CaptureFixture[str]):
    assert main(["run", written(UNITS), "--quiet", "--out", "before"]) == DONE
    assert main(["run", written(UNITS.replace("m =", "s =", 1)), "--from", "before", "--out", "other"]) == WRONG
    assert "its `x` is in m, not in s" in capsys.readouterr().err and not Path("other").exists()
    for unit, length in (("cm", 3), ("N*s^2/kg", 3)):
        file = written(UNITS.replace("x: m = 3", f"x: {unit} = 7"))
        assert main(["run", file, "--from", "before", "--out", unit[:2], "--json"]) == DONE
        (task,) = json.loads(capsys.readouterr().out)["tasks"]
        assert task["measures"][0]["mean"] == pytest.approx(length)


def test_the_last_run_is_the_newest_and_an_unknown_one_is_said(capsys: pytest.CaptureFixture[str]):
    for name in ("a-20300101-000000", "b-20200101-000000"):
        path = Path("runs") / name
        path.mkdir(parents=True)
        (path / "status.json").write_text(json.dumps({"status": "done", "began": name[2:], "planned": ["x"]}))
    assert runs.find("last").path.name == "a-20300101-000000"
    assert runs.find("b-20200101-000000") == runs.find("runs/b-20200101-000000")
    assert main(["run", written(), "--from", "a-20300101"]) == WRONG
    assert "did you mean `a-20300101-000000`?" in capsys.readouterr().err


def test_runs_are_listed_the_newest_last(ran: tuple[Path, Path], capsys: pytest.CaptureFixture[str]):
    assert main(["runs", str(ran[0] / "runs")]) == DONE
    line = capsys.readouterr().out.splitlines()[-1].split()
    assert line[0] == ran[1].name and line[4:6] == ["failed", "3/3"] and "1 failed" in " ".join(line)
    assert main(["runs", str(ran[0] / "runs"), "--json"]) == DONE
    (entry,) = json.loads(capsys.readouterr().out)["runs"]
    assert entry["status"] == "failed" and entry["planned"] == ["look", "damped", "still"]
    assert main(["runs"]) == DONE and "no runs in runs" in capsys.readouterr().out


# ---------------------------------------------------------------- failing runs


def test_a_failing_run_is_repeated_from_its_file(ran: tuple[Path, Path], capsys: pytest.CaptureFixture[str]):
    home, path = ran
    (case, *_) = sorted((path / "cases").glob("still-run*.json"))
    told = json.loads(case.read_text())
    reported = json.loads((path / "summary.json").read_text())["tasks"][-1]["expectations"][0]["failing"]["runs"]
    value = next(run for run in reported if run["run"] == told["index"])["values"][0]["value"]
    assert main(["run", str(home / "released.dpl"), "--case", str(case), "--json"]) == DONE
    (task,) = json.loads(capsys.readouterr().out)["tasks"]
    assert task["measures"]["last"]["value"] == pytest.approx(value, rel=1e-9)
    assert (only() / "trajectories" / f"still-run{told['index']}.csv").is_file()
    assert runs.listed(Path("runs"))[-1].planned == (f"still-run{told['index']}",)
    Path(case.name).write_text(case.read_text())
    capsys.readouterr()
    assert main(["run", str(home / "released.dpl"), "--case", case.name, "--out", "copied"]) == WRONG
    said = capsys.readouterr().err
    assert "still.safetensors is not beside it" in said and str(path / "cases") in said
    assert main(["run", written(TEXT.replace("still", "calm")), "--case", str(case)]) == WRONG
    assert main(["run", written(), "--case", "none.json"]) == WRONG
    assert "Traceback" not in capsys.readouterr().err


# ---------------------------------------------------------------- disks


def test_an_unwritable_place_is_said_before_anything_is_computed(capsys: pytest.CaptureFixture[str]):
    Path("runs").write_text("a file where the folder should be")
    assert main(["run", written()]) == WRONG
    shown = capsys.readouterr()
    assert "--no-save" in shown.err and "--out" in shown.err and "simulate" not in shown.out


def test_a_disk_that_is_nearly_full_is_said_at_first(monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    monkeypatch.setattr(folder, "LEAST_FREE", 10**18)
    with Folder(folder.exactly(Path("mine")), "a", say=said.append):
        assert len(said) == 1 and "MB are free" in said[0]


class Full:
    """A disk that is full from the tenth file on; for as many writes as asked."""

    def __init__(self, writes: float):
        self.really, self.count, self.writes = folder.replace, 0, writes

    def __call__(self, path: Path, data: bytes) -> None:
        self.count += 1
        if 10 <= self.count < 10 + self.writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        self.really(path, data)


def test_a_full_disk_stops_no_run_and_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(folder, "replace", Full(float("inf")))
    assert main(["run", written(), "damped", "--out", "mine"]) == UNSAVED
    shown = capsys.readouterr()
    assert "train damped on Released: done" in shown.out
    assert shown.err.count("No space left on device") == 1 and "not saved in mine" in shown.err


def test_a_disk_that_has_room_again_gets_everything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(folder, "replace", Full(12))
    assert main(["run", written(), "damped", "--out", "mine"]) == DONE
    assert "saved in mine" in capsys.readouterr().err
    for name in ("metrics/damped.csv", "params.safetensors", "plots/damped-loss.png", "log.txt"):
        assert (Path("mine") / name).stat().st_size > 0
    assert json.loads(Path("mine/status.json").read_text())["status"] == "done"


# ---------------------------------------------------------------- what is seen


def test_the_course_of_a_loss_shows_how_it_goes():
    from dpl.results.progress import BLOCKS, COLUMNS, sparkline

    falling = sparkline([0.5**i for i in range(500)])
    assert len(falling) == COLUMNS and (falling[0], falling[-1]) == (BLOCKS[-1], BLOCKS[0])
    assert list(falling) == sorted(falling, reverse=True)
    assert sparkline([3.0] * 5) == BLOCKS[0] * 5
    assert sparkline([float("nan"), -1.0, 1.0]) == BLOCKS[0] + BLOCKS[-1]


def test_a_long_history_is_drawn_whole():
    from dpl.results.plots import BUCKETS, bucketed, on_log_scale

    losses = np.random.default_rng(0).lognormal(size=12_345)
    steps, mean, low, high = bucketed(losses)
    assert len(steps) == BUCKETS and steps[-1] == losses.size
    assert low.min() == losses.min() and high.max() == losses.max() and ((low <= mean) & (mean <= high)).all()
    assert on_log_scale(np.array([1.0, 100.0])) and not on_log_scale(np.array([0.0, 100.0]))


def test_plots_are_the_same_for_the_same_run(ran: tuple[Path, Path]):
    home, path = ran
    assert main(["run", str(home / "released.dpl"), "look", "--quiet", "--out", "mine"]) == DONE
    for name in ("look.svg", "look.png"):
        assert (Path("mine/plots") / name).read_bytes() == (path / "plots" / name).read_bytes()


def test_what_compiled_programs_take_is_bounded(monkeypatch: pytest.MonkeyPatch):
    from dpl import warm

    monkeypatch.setattr(warm, "LARGEST", 1_000)
    for i in range(10):
        Path(f"{i}-cache").write_bytes(b"x" * 200)
        os.utime(f"{i}-cache", (i, i))
    warm.trim(Path())
    assert sorted(p.name for p in Path().iterdir()) == ["7-cache", "8-cache", "9-cache"]


def test_python_leaves_the_same_folder(ran: tuple[Path, Path]):
    import dpl

    program = dpl.load(ran[0] / "released.dpl")
    program.run("damped", out="mine")
    assert params(Path("mine")) == params(ran[1])
    again = dpl.load(ran[0] / "released.dpl")
    assert again.run("look", start_from="mine")["look"].measures == program.run("look")["look"].measures
    with pytest.raises(ValueError, match="holds a run already"):
        program.run("look", out="mine")


def test_a_log_holds_what_was_shown(capsys: pytest.CaptureFixture[str]):
    assert main(["run", written(), "look", "--out", "mine"]) == DONE
    shown = capsys.readouterr().out
    assert Path("mine/log.txt").read_text() == f"$ dpl run released.dpl look --out mine\n{shown}"
