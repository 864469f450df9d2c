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
    fitted, best = results["fitted"], results["best"]
    return {"losses": fitted.losses, "best": best.after, "x": best.found["x"].value, "k": fitted.found["k"].value}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in a)


def test_a_kept_program_does_what_the_traced_one_did_and_is_not_traced(keeping: Path, exports: list[str]):
    with pytest.MonkeyPatch.context() as without:
        without.setattr(kept.Keeping, "place", None)
        plain = outcome()
    first = outcome()
    assert {"run", "begin", "all_lanes"} <= set(exports)
    exports.clear()
    assert same(outcome(), first) and same(first, plain)
    assert exports == []


@pytest.mark.parametrize(
    "changed", [("k*x", "k*x*x"), ("batch 4", "batch 5"), ("steps 5", "steps 5; using adam(decay = linear)")]
)
def test_another_program_is_traced(changed: tuple[str, str], keeping: Path, exports: list[str]):
    before = outcome()
    exports.clear()
    after = outcome(TEXT.replace(*changed))
    assert "run" in exports and not np.array_equal(before["losses"], after["losses"])


def test_other_numbers_are_no_other_program(keeping: Path, exports: list[str]):
    before = outcome()
    exports.clear()
    after = outcome(settings={"k": 3.0}, seed=4)
    assert exports == [] and not np.array_equal(before["losses"], after["losses"])


@pytest.mark.parametrize("spoil", [lambda data: data[: len(data) // 2], lambda data: b"\x00garbage" * 50, lambda _: b""])
def test_what_is_not_whole_is_made_anew(spoil, keeping: Path, exports: list[str]):
    before = outcome()
    files = [path for path in keeping.rglob("*") if path.is_file() and path.parent.name in (kept.KIND, "modules")]
    whole = {path: path.read_bytes() for path in files}
    for path in files:
        path.write_bytes(spoil(path.read_bytes()))
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
    assert {path: path.stat().st_size for path in compiled} == sizes


def test_a_changed_import_is_seen(tmp_path: Path, keeping: Path):
    (tmp_path / "part.dpl").write_text("model Part { output y = 2 }")
    (tmp_path / "a.dpl").write_text("from part import Part\nscenario S { part p = Part(); metric m = p.y }")
    assert dpl.load(tmp_path / "a.dpl").scenarios["S"].evaluate()["m"] == 2
    (tmp_path / "part.dpl").write_text("model Part { output y = 3 }")
    assert dpl.load(tmp_path / "a.dpl").scenarios["S"].evaluate()["m"] == 3
