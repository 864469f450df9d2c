"""What the README and the pages of `docs/` show is true: models compile, messages and outputs are the real ones.

A fenced block says by its first words what it is:

- `dpl`: a complete file, which compiles without a word; a further word is the name that the file goes by.
- `dpl error`: a wrong file; the `text` block after it is what the compiler says.
- `console`: commands after `$ ` and their output; timings are not compared and numbers need only be close.
- `python`: runs in the repository's root; the `text` block after it is what it prints, compared as loosely.
- `python generated NAME …`: these functions of the module that the last `dpl` block becomes.

The tutorial is followed word by word in an empty folder, from top to bottom. There,

- `dpl NAME` writes this file, and `diff NAME` changes lines of it;
- `console` runs commands, whose dates are not compared; of `console interrupted`, Ctrl-C stops the command.

`pytest --accept` rewrites the outputs; read `git diff` then.
"""

import ast
import io
import re
import runpy
import shlex
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from dpl import language
from dpl.compiler.driver import Compiled, compile_model
from dpl.language.diagnostics import CompileError
from dpl.language.source import Source
from dpl.language.words import RESERVED

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TUTORIAL = ROOT / "docs" / "tutorial.md"
FENCE = re.compile(r"^```(\S[^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    page: Path
    index: int
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.stem}-{self.index}"

    @property
    def next(self) -> "Block":
        return blocks(self.page)[self.index + 1]


def blocks(page: Path) -> list[Block]:
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [Block(page, n, block[1], block[2]) for n, block in enumerate(found)]


def chosen(info: str) -> list[Block]:
    pages = [page for page in PAGES if page != TUTORIAL]
    return [block for page in pages for block in blocks(page) if re.fullmatch(info, block.info)]


def rewrite(block: Block, text: str) -> None:
    """Put another text into a block."""
    page = block.page.read_text(encoding="utf-8")
    place = list(FENCE.finditer(page))[block.index]
    block.page.write_text(page[: place.start(2)] + text + page[place.end(2) :], encoding="utf-8")


def named(block: Block) -> Source:
    words = block.info.split()
    return Source(words[1] if len(words) > 1 and words[1].endswith(".dpl") else "model.dpl", block.text)


# ---------------------------------------------------------------- models and messages


@pytest.mark.parametrize("block", chosen(r"dpl( \S+\.dpl)?"), ids=str)
def test_models_compile(block):
    model = language.load_text(named(block))
    assert model.warnings == ()
    assert compile_model(model).source


@pytest.mark.parametrize("block", chosen(r"dpl error"), ids=str)
def test_messages_are_the_real_ones(block, accept):
    with pytest.raises(CompileError) as error:
        compile_model(language.load_text(named(block)))
    assert block.next.info == "text"
    said = f"{error.value}\n"
    if accept:
        rewrite(block.next, said)
    assert block.next.text == said


@pytest.mark.parametrize("block", chosen(r"python generated .*"), ids=str)
def test_generated_programs_are_the_real_ones(block, accept):
    before = [b for b in blocks(block.page)[: block.index] if b.info.startswith("dpl")][-1]
    source = compile_model(language.load_text(named(before))).source
    functions = {n.name: ast.get_source_segment(source, n) for n in ast.parse(source).body if hasattr(n, "name")}
    shown = "\n\n\n".join(functions[name] for name in block.info.split()[2:]) + "\n"
    if accept:
        rewrite(block, shown)
    assert blocks(block.page)[block.index].text == shown


# ---------------------------------------------------------------- outputs

TIMING = re.compile(r"(compiled in|ran) [\d.]+ s|[\d.]+ [µm]s$", re.MULTILINE)
DATED = re.compile(r"\d{8}-\d{6}|\d{4}-\d\d-\d\d +\d\d:\d\d:\d\d|[\d.]+ s *$", re.MULTILINE)


def said(command: str) -> tuple[int, str]:
    """The exit code of a `dpl` command, and what it writes on standard output and error, progress left out."""
    from dpl.cli.main import main

    program, *arguments = shlex.split(command)
    assert program == "dpl"
    written = io.StringIO()
    with redirect_stdout(written), redirect_stderr(written):
        code = main(arguments)
    lines = written.getvalue().splitlines(keepends=True)
    return code, "".join(line for line in lines if not re.match(r"\w+ \w+: [\d_]+/", line))


@cache
def console(command: str) -> str:
    """What a `dpl` command writes; runs are not saved."""
    return said(f"{command} --no-save" if command.startswith("dpl run ") else command)[1]


@pytest.mark.slow
@pytest.mark.parametrize("block", chosen("console"), ids=str)
def test_outputs_are_those_of_real_runs(block, accept, monkeypatch):
    monkeypatch.chdir(ROOT)
    commands = re.findall(r"^\$ (.*)$", block.text, re.MULTILINE)
    found = "\n\n".join(f"$ {command}\n{console(command).rstrip()}" for command in commands) + "\n"
    compare(block, found, accept)


@pytest.mark.slow
@pytest.mark.parametrize("block", chosen("python"), ids=str)
def test_python_examples_print_what_they_show(block, accept, monkeypatch):
    monkeypatch.chdir(ROOT)
    output = io.StringIO()
    with redirect_stdout(output):
        exec(compile(block.text, str(block), "exec"), {})
    compare(block.next, output.getvalue(), accept)


@pytest.mark.slow
def test_the_tutorial_can_be_followed(accept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for block in blocks(TUTORIAL):
        kind, _, name = block.info.partition(" ")
        match kind, name:
            case "dpl", file:
                Path(file).write_text(block.text, encoding="utf-8")
            case "diff", file:
                Path(file).write_text(changed(Path(file).read_text(encoding="utf-8"), block.text), encoding="utf-8")
            case "console", "":
                commands = re.findall(r"^\$ (.*)$", block.text, re.MULTILINE)
                found = "\n\n".join(f"$ {command}\n{said(command)[1].rstrip()}".rstrip() for command in commands)
                compare(block, f"{found}\n", accept, dated=True)
            case "console", "interrupted":
                interrupt(block.text.removeprefix("$ ").strip())
            case "python", "":
                output = io.StringIO()
                with redirect_stdout(output):
                    exec(compile(block.text, str(block), "exec"), {})
                compare(block.next, output.getvalue(), accept)
    sys.modules.pop("pilot")


def changed(text: str, diff: str) -> str:
    """A text with the lines after `-` replaced by those after `+`."""
    before, after = (
        "".join(line[1:] for line in diff.splitlines(keepends=True) if line[0] == sign) for sign in ("-", "+")
    )
    assert text.count(before) == 1
    return text.replace(before, after)


def interrupt(command: str) -> None:
    """A `dpl` command, with Ctrl-C in its first steps."""
    from dpl.tasks.engine import Loop

    advance = Loop.advance

    def stopped(self, until):
        signal.raise_signal(signal.SIGINT)
        return advance(self, until)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "advance", stopped)
        assert said(command)[0] == 130


def compare(block: Block, found: str, accept: bool, dated: bool = False) -> None:
    """Word by word: numbers by about a percent, timings not at all, nor what is `dated`."""
    there, here = ((DATED.sub("then", text) if dated else text) for text in (block.text, found))
    if accept and loose(there) != loose(here):
        rewrite(block, found)
        return
    assert loose(there) == loose(here)


def loose(text: str) -> list[object]:
    words = TIMING.sub("some time", text).split()
    numbers = [_number(word) for word in words]
    near = [number if number is None else pytest.approx(number, rel=0.01, abs=1e-6, nan_ok=True) for number in numbers]
    return [word if number is None else number for word, number in zip(words, near, strict=True)]


def _number(word: str) -> float | None:
    try:
        return float(word.strip("[],"))
    except ValueError:
        return None


@pytest.mark.skipif(not hasattr(Compiled, "stage"), reason="the compiler shows no stages yet")
@pytest.mark.parametrize("option", ["--stage ast", "--stage model", "--stage system", "--stage ir", "--stage jax"])
def test_stages_that_the_reference_names_are_shown(option, tmp_path):
    file = tmp_path / "still.dpl"
    file.write_text("scenario Still { metric one = 1 }\n")
    assert console(f"dpl show {file} {option}").strip()


# ---------------------------------------------------------------- the pages themselves


def test_the_readme_shows_the_example_as_it_is():
    example = (ROOT / "examples" / "pendulum.dpl").read_text(encoding="utf-8")
    assert any(block.text == example for block in blocks(ROOT / "README.md"))


def test_tables_are_the_compilers_own():
    tables = runpy.run_path(str(ROOT / "docs" / "tables.py"))
    for page in tables["PAGES"]:
        text = page.read_text(encoding="utf-8")
        assert tables["filled"](text) == text, "run `python docs/tables.py`"


def test_reserved_words_are_all_listed():
    page = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    item = page[page.index("- Words that may not be declared") :].split("\n- ")[0]
    listed = {word for quoted in re.findall(r"`([^`]+)`", item) for word in quoted.split()}
    assert listed == RESERVED


def test_counting_by_ticks():
    """The numbers in the comments of the page's example of a clock."""
    import dpl

    block = next(b for b in chosen("dpl") if "scenario Counting" in b.text)
    claimed = re.findall(r"metric (\w+) = .*#.*?([\d.]+)$", block.text, re.MULTILINE)
    metrics = dpl.compile(block.text).scenarios["Counting"].simulate().metrics
    assert metrics == {name: pytest.approx(float(value)) for name, value in claimed}


def test_defaults_that_the_reference_names():
    from dpl.runtime import choice, solve, trajectory

    page = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    assert (trajectory.POINTS, trajectory.TICKS, solve.MEASURING) == (200, 1_000, 1_000)
    assert (choice.STIFF, choice.SPREAD) == (1e4, 100)
    assert f"`max_steps` is {solve.GREATEST_STEPS:,}" in page


def test_defaults_that_the_page_of_tasks_names():
    from dpl.runtime.spec import Method
    from dpl.tasks import (
        bootstrap,
        compare,
        constrained,
        engine,
        judge,
        methods,
        optimisers,
        optimize,
        train,
        vary,
        verify,
        windows,
    )

    assert (train.BATCH, train.STEPS, verify.SAMPLES, optimize.SAMPLES, compare.SAMPLES) == (64, 1_000, 1_000, 100, 100)
    assert (optimize.SECOND_STEPS, optimize.CONSTRAINED_STEPS, optimize.FIRST_STEPS) == (100, 500, 1_000)
    assert (judge.JUDGED, judge.LOOKS, windows.CRITIC_STEPS) == (256, 20, 2)
    assert (engine.CHUNK_SECONDS, engine.KEEP_SECONDS, bootstrap.RESAMPLES, verify.SHOWN) == (0.3, 10, 400, 5)
    assert (methods.MANY, methods.PAIRS, constrained.FINE, constrained.TOLERANCE) == (2_000, 10, 1e-10, 1e-6)
    assert (vary.AT_BOUND, vary.INSIDE, optimisers.FINAL) == (1e-3, 1e-2, {"exponential": 0.01})
    assert str(optimisers.descent(Method())[0]) == "adam(rate = 0.003, decay = cosine)"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        other = page.parent / file if file else page
        assert other.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, target
