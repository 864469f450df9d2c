"""Wrong programs with what is said of them, good ones with what is generated.

`pytest --accept` rewrites what is expected; read `git diff` then.
"""

from pathlib import Path

import pytest

from dpl import language
from dpl.compiler.driver import compile_model
from dpl.language.diagnostics import CompileError, Diagnostic, render

BAD = Path(__file__).parent / "corpus" / "bad"
GOOD = BAD.parent / "good"
PROGRAMS = sorted(BAD.glob("[!_]*.dpl"))  # those with a leading underscore are imported by the others


def diagnostics(path: Path) -> tuple[Diagnostic, ...]:
    try:
        model = language.load(path)
        compile_model(model)
        return model.warnings
    except CompileError as error:
        return error.diagnostics


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_bad(path, accept):
    found = diagnostics(path)
    assert found, "nothing is said of this program"
    severity = "warning" if path.stem.startswith("warning_") else "error"
    assert {d.severity for d in found} == {severity}
    expect("\n\n".join(render(d) for d in found) + "\n", path.with_suffix(".txt"), accept)


@pytest.mark.parametrize("path", sorted(GOOD.glob("*.dpl")), ids=lambda path: path.stem)
def test_good(path, accept):
    expect(compile_model(language.load(path)).source, path.with_suffix(".py"), accept)


def expect(text: str, golden: Path, accept: bool) -> None:
    if accept:
        golden.write_text(text, encoding="utf-8")
    assert golden.exists(), "`pytest --accept` writes what is expected"
    assert text == golden.read_text(encoding="utf-8")


def test_every_expectation_has_its_program():
    expectations = [*BAD.glob("*.txt"), *GOOD.glob("*.py")]
    assert [path for path in expectations if not path.with_suffix(".dpl").exists()] == []
