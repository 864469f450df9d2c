"""The `dpl` command: exit codes, what goes to which stream, and that nothing heavy is imported for nothing."""

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dpl.cli import diagnose, ready
from dpl.cli.codes import BROKEN_PIPE, DONE, FAILED, INTERRUPTED, NUMERICAL, WRONG
from dpl.cli.main import main
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.source import Source, Span

HEAVY = ("jax", "sympy", "rich", "lark", "numpy", "optax", "diffrax", "matplotlib", "safetensors")


@pytest.fixture(autouse=True)
def somewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """Runs are saved under the working directory."""
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))


compiler = pytest.mark.skipif(find_spec("dpl.compiler.driver") is None, reason="the compiler is not there yet")


# ---------------------------------------------------------------- light


def imported(*statements: str) -> set[str]:
    """Which heavy packages a fresh interpreter has loaded after some statements."""
    code = "\n".join([*statements, "import sys", f"print(*[name for name in {HEAVY!r} if name in sys.modules])"])
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_help_and_import_load_nothing_heavy():
    helped = "try:\n main(['run', '--help'])\nexcept SystemExit: pass"
    hidden = "import sys, io; sys.stdout = io.StringIO()"
    shown = "sys.stdout = sys.__stdout__"
    assert imported("import dpl; dpl.CompileError") == set()
    assert imported("from dpl.cli.main import main", hidden, helped, shown) == set()


def test_check_loads_neither_sympy_nor_jax(tmp_path: Path):
    file = tmp_path / "one.dpl"
    file.write_text("scenario Still { param x = 1\n loss cost = x² }\n")
    checked = f"from dpl.cli.main import main\nmain(['check', '--json', {str(file)!r}])"
    hidden = "import sys, io; sys.stdout = io.StringIO()"
    assert imported(hidden, checked, "sys.stdout = sys.__stdout__") <= {"lark"}


@compiler
def test_a_run_with_fixed_steps_loads_no_adaptive_solvers(tmp_path: Path):
    file = tmp_path / "one.dpl"
    file.write_text(
        "scenario Falling { state x = 1\n x' = -x\n run for 1 [s] using rk4(0.1 [s])\n loss end = final(x) }\n"
    )
    ran = f"from dpl.cli.main import main\nmain(['run', '--no-save', '--json', {str(file)!r}])"
    hidden = "import sys, io; sys.stdout = io.StringIO()"
    assert "diffrax" not in imported(hidden, ran, "sys.stdout = sys.__stdout__")


def test_the_lazy_names_are_the_public_ones():
    import dpl

    assert {name for name in dir(dpl) if name[0] != "_"} == {
        "CompileError",
        "NumericalFailure",
        "Program",
        "compile",
        "keep",
        "load",
        "load_compiled",
    }
    with pytest.raises(AttributeError):
        _ = dpl.run


# ---------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    "line",
    [
        "",
        "fly",
        "run",
        "run a.dpl --set pendulum.m",
        "run a.dpl --set =2",
        "run a.dpl --seed -1",
        "run a.dpl --seed 1.5",
        "show a.dpl --stage machine",
        "show a.dpl --latex --graph",
    ],
)
def test_a_wrong_command_line_is_2(line: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == WRONG
    assert "Traceback" not in capsys.readouterr().err


def test_a_missing_file_is_2_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for command in ("check", "run"):
        assert main([command, str(tmp_path / "none.dpl")]) == WRONG
        assert "none.dpl" in capsys.readouterr().err


def test_check_says_what_is_wrong_on_stderr_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    right, wrong = tmp_path / "right.dpl", tmp_path / "wrong.dpl"
    right.write_text("scenario Still { param x = 1\n loss cost = x² }\n")
    wrong.write_text("scenario Still { loss cost = y }\n")
    assert main(["check", str(right)]) == DONE
    assert main(["check", str(right), str(wrong)]) == WRONG
    shown = capsys.readouterr()
    assert "right.dpl: ok" in shown.out and "wrong.dpl: 1 problem" in shown.out and "error[" in shown.err
    assert main(["check", "--json", str(right), str(wrong)]) == WRONG
    document = json.loads(capsys.readouterr().out)
    assert [file["ok"] for file in document["files"]] == [True, False]
    assert document["files"][1]["diagnostics"][0]["place"]["line"] == 1


def problem() -> CompileError:
    source = Source("spring.dpl", "x' = v\nv' = -k*x\n")
    return CompileError([Diagnostic("unknown-name", "`k` is not declared", Label(Span(source, 13, 14), "here"))])


def test_painted_diagnostics_are_the_plain_ones_with_colours():
    import re

    plain = str(problem())
    painted = diagnose.painted(plain)
    assert painted != plain and re.sub("\033\\[[0-9;]*m", "", painted) == plain


# ---------------------------------------------------------------- run, on a hand-written module


def hand_written(monkeypatch: pytest.MonkeyPatch, *tasks: Any, **pieces: Any) -> None:
    """Makes `dpl run` find a program with one static scenario: a bowl with its lowest point at x = 3 m."""
    import jax.numpy as jnp

    from dpl.api import Program
    from dpl.runtime.spec import Distribution, Given, Measure, Module, Param, Scenario, Unit

    load = Given("load", 0.5, Unit("kg"), distribution=Distribution("uniform", (0.0, 1.0)))
    given = {"fixed": lambda v: (jnp.square(v["x"] - 3.0) + v["load"],)} | pieces
    bowl = Scenario(
        "Bowl",
        "",
        (Param("x", 1.0, Unit("m")),),
        (load,),
        (),
        (),
        (),
        (Measure("height", "loss"),),
        results=lambda reduced, c: {"height": c[0]},
        observe=lambda *_: {},
        **given,
    )
    program = Program(Module("bowl", "", (bowl,), tasks, "0"))
    monkeypatch.setattr(ready, "compiled", lambda file, settings, seed: (program, {}))


def learn(steps: int = 300, rate: float = 0.2) -> Any:
    import jax.numpy as jnp

    from dpl.runtime.spec import Method, Objective, Task, Varied

    return Task(
        "train",
        "learn",
        "",
        "Bowl",
        vary=(Varied("x"),),
        objective=Objective("height", lambda r: jnp.mean(r["height"])),
        method=Method("sgd", {"rate": rate}),
        counts={"steps": steps, "batch": 4},
    )


def holds(limit: float) -> Any:
    from dpl.runtime.spec import Comparison, Task

    every = Comparison(f"height < {limit}", lambda r: (r["height"], limit), ("<",), per_run=True)
    return Task("verify", "holds", "", "Bowl", expectations=(every,), counts={"samples": 50})


def test_training_and_a_verification_that_holds_is_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    hand_written(monkeypatch, learn(), holds(1.1))
    assert main(["run", "bowl.dpl"]) == DONE
    out = capsys.readouterr().out
    assert "train learn on Bowl: done" in out and "x  3  m" in out
    assert "verify holds on Bowl: passed on 50 runs" in out and "height < 1.1" in out


def test_a_verification_that_fails_is_1_and_shows_five_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    hand_written(monkeypatch, learn(), holds(0.5))
    assert main(["run", "bowl.dpl", "--quiet"]) == FAILED
    out = capsys.readouterr().out
    assert out.count("load = ") == 5 and "kg" in out and "of which 5" in out
    assert "Traceback" not in out


def test_json_is_one_document(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    hand_written(monkeypatch, learn(), holds(0.5))
    assert main(["run", "bowl.dpl", "--json"]) == FAILED
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    train, verify = document["tasks"]
    assert document["status"] == "failed" and shown.err == ""
    assert train["params"]["x"]["unit"] == "m" and train["params"]["x"]["value"] == pytest.approx(3.0)
    assert train["loss"]["history"][0] > train["loss"]["history"][-1] and train["steps"] == 300
    assert verify["expectations"][0]["failing"]["runs"][0]["givens"]["load"]["unit"] == "kg"


def test_a_number_that_is_not_finite_is_3(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    import jax.numpy as jnp

    hand_written(monkeypatch, learn(), fixed=lambda v: (jnp.log(v["x"] - v["load"]),))
    assert main(["run", "bowl.dpl"]) == NUMERICAL
    err = capsys.readouterr().err
    assert "train learn: the loss is not finite at step" in err and "load = " in err and "Traceback" not in err
    hand_written(monkeypatch, learn(), fixed=lambda v: (jnp.log(v["x"] - v["load"]),))
    assert main(["run", "bowl.dpl", "--json"]) == NUMERICAL
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "numerical failure" and document["failure"]["sample"]["givens"]["load"]["unit"] == "kg"


def test_an_interrupt_is_130_and_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    from dpl.results import progress
    from dpl.tasks.result import Silent

    class Pressed(Silent):
        def advance(self, done: int, value: float | None = None, **shown: str) -> None:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(progress, "progress", lambda quiet: Pressed())
    hand_written(monkeypatch, learn(steps=1_000_000), holds(1.0))
    assert main(["run", "bowl.dpl"]) == INTERRUPTED
    out = capsys.readouterr().out
    assert "learn on Bowl: interrupted" in out and "verify" not in out


def test_a_task_that_is_not_there_is_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    hand_written(monkeypatch, learn())
    assert main(["run", "bowl.dpl", "lern"]) == WRONG
    assert capsys.readouterr().err == "dpl: there is no task `lern`; did you mean `learn`?\n"


def test_a_file_without_tasks_gets_one_nominal_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    hand_written(monkeypatch)
    assert main(["run", "bowl.dpl"]) == DONE
    out = capsys.readouterr().out
    assert "bowl.dpl has no tasks" in out and "height  4.5" in out


def test_what_was_chosen_is_said_unless_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    from dataclasses import replace

    hand_written(monkeypatch, replace(learn(), counts={}))
    assert main(["run", "bowl.dpl"]) == DONE
    assert "chosen: batch 64; steps 1_000" in capsys.readouterr().out
    assert main(["run", "bowl.dpl", "--quiet"]) == DONE
    assert "chosen" not in capsys.readouterr().out


def test_a_wrong_model_is_2_on_stderr_or_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def wrong(*_: Any) -> Any:
        raise problem()

    monkeypatch.setattr(ready, "compiled", wrong)
    assert main(["run", "spring.dpl"]) == WRONG
    shown = capsys.readouterr()
    assert shown.out == "" and "error[unknown-name]" in shown.err and "spring.dpl:2:7" in shown.err
    assert main(["run", "spring.dpl", "--json"]) == WRONG
    assert json.loads(capsys.readouterr().out)["diagnostics"][0]["code"] == "unknown-name"


def test_a_reader_that_leaves_is_no_error(tmp_path: Path):
    file = tmp_path / "one.dpl"
    file.write_text("scenario Still { param x = 1\n loss cost = x² }\n")
    read, write = os.pipe()
    command = [sys.executable, "-m", "dpl.cli", "check", "--json", str(file)]
    started = subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    os.close(read)
    _, err = started.communicate(timeout=60)
    assert started.returncode == BROKEN_PIPE and err == b""


# ---------------------------------------------------------------- reports


def test_lines_come_now_and_then(monkeypatch: pytest.MonkeyPatch):
    from io import StringIO

    from dpl.results import progress

    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress, "monotonic", lambda: clock.now)
    stream = StringIO()
    lines = progress.Lines(stream)
    lines.begin("train learn", 1000)
    for step in range(0, 1000, 10):
        clock.now += 0.125
        lines.advance(step, 0.5, loss="0.5")
    assert stream.getvalue().splitlines() == [
        "train learn: 390/1_000, loss 0.5, 80/s, 8 s left",
        "train learn: 790/1_000, loss 0.5, 80/s, 3 s left",
    ]


def test_the_bar_runs_where_there_is_a_terminal():
    from io import StringIO

    from dpl.results.progress import Bar

    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    bar = Bar(stream)
    bar.begin("train learn", 10)
    bar.advance(5, loss="0.5")
    bar.end()


def test_tables_align_on_what_is_seen():
    from dpl.results.table import Table, aligned

    table = Table(("name", "value"), (("θ", "1"), ("ωₘ", "10.5")), frozenset({1}))
    assert aligned(table) == ["  name  value", "  θ         1", "  ωₘ     10.5"]


# ---------------------------------------------------------------- the whole way


TEXT = """
scenario Bowl {
  param x: m = 1 in 0..10
  given load: m ~ uniform(0, 1)
  loss height = (x - 3 [m])² + load²
}
simulate look { on Bowl }
train learn { on Bowl; vary x; minimize height; using adam(rate = 0.1); steps 300; batch 8 }
verify deep { on Bowl; samples 20; expect height < 1.1 [m^2] }
verify deeper { on Bowl; samples 20; expect mean(height) < 10 [cm^2] }
"""


@compiler
def test_a_text_runs_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "bowl.dpl"
    file.write_text(TEXT)
    assert main(["run", str(file), "deep", "--json"]) == DONE
    train, verify = json.loads(capsys.readouterr().out)["tasks"]
    assert train["params"]["x"]["value"] == pytest.approx(3.0, abs=0.05) and verify["status"] == "done"
    assert main(["run", str(file), "deeper"]) == FAILED
    assert main(["run", str(file), "look", "--out", str(tmp_path / "out")]) == DONE
    assert (tmp_path / "out" / "trajectories" / "look.csv").read_text().startswith("time")


@compiler
def test_settings_are_read_as_the_language_reads_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "bowl.dpl"
    file.write_text(TEXT)
    assert main(["run", str(file), "look", "--json", "--set", "x=200 [cm]", "--set", "load=0"]) == DONE
    assert json.loads(capsys.readouterr().out)["tasks"][0]["measures"]["height"]["value"] == pytest.approx(1.0)
    assert main(["run", str(file), "--set", "y=2"]) == WRONG
    assert main(["run", str(file), "--set", "x=2 [s]"]) == WRONG


@compiler
def test_a_failure_is_traced_to_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "bowl.dpl"
    learning = TEXT.split("verify")[0]
    file.write_text(
        learning.replace("(x - 3 [m])² + load²", "log(x/(1 [m]) - 1 - load/(1 [m]))").replace(" in 0..10", "")
    )
    assert main(["run", str(file), "learn"]) == NUMERICAL
    err = capsys.readouterr().err
    assert "the loss is not finite at step 0" in err and "bowl.dpl:5" in err


@compiler
def test_the_module_goes_to_a_file_or_to_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file, out = tmp_path / "bowl.dpl", tmp_path / "bowl.py"
    file.write_text(TEXT)
    assert main(["emit", str(file), "-o", str(out)]) == DONE
    capsys.readouterr()
    assert main(["emit", str(file)]) == DONE
    assert capsys.readouterr().out == out.read_text()


@compiler
def test_python_sees_the_same():
    import dpl

    program = dpl.compile(TEXT)
    results = program.run("learn")
    assert list(results) == ["learn"] and results["learn"].params["x"] == pytest.approx(3.0, abs=0.05)
    with pytest.raises(dpl.CompileError):
        dpl.compile("scenario Bowl { loss height = y }")


@compiler
def test_emit_writes_over_nothing_that_it_did_not_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file, out = tmp_path / "one.dpl", tmp_path / "one.py"
    file.write_text("scenario Still { param x = 1\n loss cost = x² }\n")
    assert main(["emit", str(file), "-o", str(file)]) == WRONG
    assert "choose another name" in capsys.readouterr().err and "scenario" in file.read_text()
    assert main(["emit", str(file), "-o", str(out)]) == main(["emit", str(file), "-o", str(out)]) == DONE


@compiler
def test_training_on_runs_that_fail_is_3_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "blow.dpl"
    text = "scenario S { param a = 2 in 1..3; state x = 1; x' = a*x²; run for 2; loss l = final(x) }"
    file.write_text(f"{text}\ntrain t {{ on S; vary a; minimize l; steps 5 }}\n")
    assert main(["run", str(file), "--quiet"]) == NUMERICAL
    assert "greatest number of steps" in capsys.readouterr().err


UNITS = """
network aim(height: m in 0..1) -> twist: N*m in -1..1 { hidden 2 }
scenario S {
  param x: m = 1
  given height: m ~ uniform(0, 1)
  let early = aim(height)
  let same = early
  loss far: cm^2 = (x - height)² + same²/(1 [N^2])
  metric gap: cm = x - height
}
optimize bare { on S; vary x; minimize far }
optimize reduced { on S; vary x; maximize cvar(gap, 0.9) }
optimize squared { on S; vary x; minimize gap² }
optimize several { on S; vary x; minimize far + mean(far) }
optimize freed { on S; vary each early; minimize far }
"""


@compiler
def test_what_is_minimised_and_freed_is_shown_in_declared_units():
    import dpl

    module = dpl.compile(UNITS).module
    objectives = {task.name: task.objective.unit for task in module.tasks if task.objective}
    shown = {name: (unit.text, unit.scale) for name, unit in objectives.items()}
    assert shown == {
        "bare": ("cm^2", pytest.approx(1e-4)),
        "reduced": ("cm", pytest.approx(1e-2)),
        "squared": ("m^2", 1),
        "several": ("m^2", 1),
        "freed": ("cm^2", pytest.approx(1e-4)),
    }
    (free,) = module.scenarios[0].free
    assert (free.name, free.unit.text) == ("early", "N*m")


def test_help_and_reference_say_the_same_of_exit_codes():
    from dpl.cli.main import EPILOG

    page = (Path(__file__).parent.parent / "docs" / "tasks.md").read_text(encoding="utf-8")
    codes = [line.split(maxsplit=1) for line in EPILOG.splitlines()[1:]]
    assert len(codes) == 6 and all(f"| {code} | {meaning}" in page for code, meaning in codes)
