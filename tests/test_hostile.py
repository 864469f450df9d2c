"""Files made to hurt: each is refused in seconds and in little memory, and nothing in it is executed.

Every text is compiled in a process of its own, so that a crash or an endless loop fails one test and no more.
"""

import os
import subprocess
import sys

import pytest

SECONDS = 5
MEMORY = 2 << 30

CHECK = """
import resource
import sys

seconds, memory = int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
from pathlib import Path
from dpl import language
from dpl.language.diagnostics import CompileError

try:
    language.load(Path(sys.argv[1]))
except CompileError as error:
    assert len(str(error)) < 20_000, "the message is as hostile as the file"
    print("refused:", *sorted({d.code for d in error.diagnostics}))
"""


def check(path):
    """What the check of a file prints, and it must end by itself."""
    child = subprocess.run(
        [sys.executable, "-c", CHECK, str(path), str(SECONDS), str(MEMORY)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=10 * SECONDS,  # of the clock, which other processes share; the child's own limit is of processor time
    )
    assert child.returncode == 0, child.stderr[-2_000:]
    return child.stdout


def model(*lines):
    return "\n".join(["model M {", "  input x", *lines, "}"])


def scenario(*lines):
    return "\n".join(["scenario S {", "  state x = 1", "  x' = -x", "  run for 1", *lines, "}"])


def doubling(depth):
    """Functions that call each other twice: 2^depth operations in `depth` lines."""
    chain = [f"fn f{i + 1}(x) = f{i}(x) + f{i}(x)" for i in range(depth)]
    return "\n".join(["fn f0(x) = x + 1", *chain, model(f"let y = f{depth}(x)")])


def nested_parts(depth):
    """Models that hold the previous one twice: 2^depth parts."""
    blocks = [f"model A{i + 1} {{ part l = A{i}(); part r = A{i}() }}" for i in range(depth)]
    return "\n".join(["model A0 { state x = 1; x' = -x }", *blocks, f"scenario S {{ part a = A{depth}(); run for 1 }}"])


N = 100_000

REFUSED = {
    "empty": "",
    "only comments": "# nothing\n" * 10,
    "parentheses": model("let y = " + "(" * N + "x" + ")" * N),
    "open parentheses": model("let y = " + "(" * N),
    "lists": model("let y = " + "[" * N + "1" + "]" * N),
    "braces": "{" * N,
    "minus": model("let y = " + "-" * N + "x"),
    "not": model("let y = if " + "not " * N + "x > 1 then 1 else 2"),
    "derivatives": model("state z = 1", "z" + "'" * N + " = x"),
    "powers": model("let y = x" + "^x" * N),
    "sums": model("let y = x" + " + x" * N),
    "comparisons": model("let y = if x" + " < x" * N + " then 1 else 2"),
    "conditionals": model("let y = " + "if x > 1 then 1 else " * 20_000 + "2"),
    "calls": model("let y = " + "sin(" * N + "x" + ")" * N),
    "members": model("let y = x" + ".x" * N),
    "arguments": model("let y = max(" + ", ".join("x" * N) + ")"),
    "long name": model("let y = " + "a" * 1_000_000),
    "long number": "const a = " + "9" * 1_000_000,
    "long fraction": "const a = 0." + "9" * 1_000_000,
    "large exponent": "const a = 1e999999999999",
    "small exponent": "const a = 1e-999999999999",
    "tower": "const a = 9^9^9^9",
    "chain of squares": "\n".join(["const a0 = 3", *(f"const a{i + 1} = a{i}*a{i}" for i in range(100))]),
    "large power": "const a = 2^1000000000",
    "unit power": "const a = 1 [m^999999999]",
    "unit parentheses": "const a = 1 [" + "(" * N + "m" + ")" * N + "]",
    "unit chain": "const a = 1 [m" + "*m" * N + "]",
    "many problems": model(*(f"let y{i} = z{i}" for i in range(20_000))),
    "functions that double": doubling(60),
    "parts that double": nested_parts(60),
    "array": model("state z[1_000_000_000_000] = 0", "z' = -z"),
    "array of many axes": model("state z[1000, 1000, 1000, 1000, 1000] = 0", "z' = -z"),
    "layer": "network n(a in 0..1) -> b { hidden 1_000_000_000 }\n" + scenario("metric m = n(0.5)"),
    "layers": "network n(a in 0..1) -> b { hidden " + ", ".join(["64"] * N) + " }\n" + scenario("metric m = n(0.5)"),
    "zero bytes": "\0" * 1_000,
    "byte order marks": "\ufeff" * 1_000,
    "right to left": "model M {\n  let y = 1 \u202e} tide{ \u202c\n}",
    "zero width": model("let a\u200b = 1"),
    "python": "import os\nos.system('touch executed')",
    "python in a value": model('let y = __import__("os").system("touch executed")'),
    "python attributes": model("let y = x.__class__.__mro__"),
    "template": model("let y = {{x}}", "let z = ${x}", "let w = %s"),
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_refused(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.dpl"
    path.write_text(text, encoding="utf-8")
    assert check(path).startswith("refused:")
    assert os.listdir(tmp_path) == ["hostile.dpl"]


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\x00m",
        b"model M { let y = \xc3\x28 }",
        b"\x7fELF" + bytes(range(256)) * 100,
        b"# " + b"x" * (30 << 20),
    ],
    ids=["utf-16", "broken utf-8", "binary", "30 MB"],
)
def test_not_a_text(data, tmp_path):
    path = tmp_path / "hostile.dpl"
    path.write_bytes(data)
    assert check(path).startswith("refused:")


class TestPlaces:
    """What an import or a file name may reach: the folder of the file and the library, nothing else."""

    TEXT = "from other import M\nscenario S { part m = M(); metric d = m.y }"
    OTHER = "model M { output y = 1 }"

    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "inside"
        folder.mkdir()
        (folder / "main.dpl").write_text(self.TEXT)
        return folder

    def test_a_sibling_is_read(self, folder):
        (folder / "other.dpl").write_text(self.OTHER)
        assert check(folder / "main.dpl") == ""

    def test_a_link_out_of_the_folder(self, folder):
        (folder.parent / "secret.dpl").write_text(self.OTHER)
        (folder / "other.dpl").symlink_to("../secret.dpl")
        assert check(folder / "main.dpl").startswith("refused:")

    def test_a_link_to_itself(self, folder):
        (folder / "other.dpl").symlink_to("other.dpl")
        assert check(folder / "main.dpl").startswith("refused:")

    def test_a_device(self, folder):
        (folder / "other.dpl").symlink_to("/dev/zero")
        assert check(folder / "main.dpl").startswith("refused:")

    def test_a_pipe(self, folder):
        os.mkfifo(folder / "other.dpl")
        assert check(folder / "main.dpl").startswith("refused:")

    def test_a_folder(self, folder):
        (folder / "other.dpl").mkdir()
        assert check(folder / "main.dpl").startswith("refused:")

    @pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "a.b", '"secret"'])
    def test_a_path_instead_of_a_name(self, folder, name):
        (folder.parent / "secret.dpl").write_text(self.OTHER)
        (folder / "main.dpl").write_text(self.TEXT.replace("other", name))
        assert check(folder / "main.dpl").startswith("refused:")

    def test_a_long_chain_of_imports(self, folder):
        (folder / "main.dpl").write_text("from m0 import M\nscenario S { part m = M(); metric d = m.y }")
        for i in range(3_000):
            (folder / f"m{i}.dpl").write_text(f"from m{i + 1} import M")
        (folder / "m3000.dpl").write_text(self.OTHER)
        assert check(folder / "main.dpl") in ("", "refused: too-deep\n")


NAMES = """
    lambda def class import return yield None True False self cls print exec eval open exit __import__ __builtins__
    jnp jax lax np numpy math dpl sympy E I N O Q S beta gamma zeta re im diff expand solve
    t x y z v c k held values start rhs fixed MODULE spec θ theta theta_ ω omega x_1 x₁
""".split()


def test_names_of_other_languages_are_only_names():
    """Each names a state that decays from its own start: none is shadowed, exchanged or executed."""
    import dpl

    states = [f"state {name} = {i + 1}; {name}' = -{name}" for i, name in enumerate(NAMES)]
    run = dpl.compile("\n".join(["scenario S {", *states, "run for 1", "}"])).scenarios["S"].simulate()
    for i, name in enumerate(NAMES):
        assert run[name][-1] == pytest.approx((i + 1) * 0.36787944117144233, rel=1e-4), name


def test_docstrings_and_file_names_are_only_text(tmp_path, monkeypatch):
    """Both reach the generated module, and neither can leave its string or comment there."""
    import dpl

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "a\nopen('executed', 'w')\r#\u2028open('executed', 'w') '''.dpl"
    attack = "\\\"\"' + open('executed', 'w').name + '''\\N{BULLET}\\\nopen('executed', 'w')\n#"
    path.write_text(
        f'"""{attack} """\nscenario S {{\n"""{attack} """\nstate x = 1\nx\' = -x\nrun for 1\n}}', encoding="utf-8"
    )
    scenario = dpl.load(path).scenarios["S"]
    assert scenario.simulate()["x"][-1] == pytest.approx(0.36787944117144233, rel=1e-4)
    assert os.listdir(tmp_path) == ["folder"]
