"""What the README and the pages of `docs/` show is true: models compile, messages and outputs are the real ones.

A fenced block says by its first words what it is:

- `dpl`: a complete file, which compiles without a word; a further word is the name that the file goes by.
- `dpl error`: a wrong file; the `text` block after it is what the compiler says.
- `console`: commands after `$ ` and their output; timings are not compared and numbers need only be close.
- `python`: runs in the repository's root; the `text` block after it is what it prints, compared as loosely.
- `python generated NAME …`: these functions of the module that the last `dpl` block becomes.

`pytest --accept` rewrites the outputs; read `git diff` then.
"""

import ast
import io
import re
import runpy
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
    return [block for page in PAGES for block in blocks(page) if re.fullmatch(info, block.info)]


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

TIMING = re.compile(r"(compiled in|ran) [\d.]+ s")


@cache
def console(command: str) -> str:
    """What a `dpl` command writes on standard output and standard error, progress left out; runs are not saved."""
    from dpl.cli.main import main

    program, *arguments = command.split()
    assert program == "dpl"
    arguments += ["--no-save"] if arguments[:1] == ["run"] else []
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        main(arguments)
    told = [line for line in errors.getvalue().splitlines(keepends=True) if not re.match(r"\w+ \w+: [\d_]+/", line)]
    return "".join(told) + output.getvalue()


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


def compare(block: Block, found: str, accept: bool) -> None:
    """Word by word: numbers by about a percent, timings not at all."""
    if accept and loose(block.text) != loose(found):
        rewrite(block, found)
        return
    assert loose(block.text) == loose(found)


def loose(text: str) -> list[object]:
    words = TIMING.sub(r"\1 some time", text).split()
    return [word if (number := _number(word)) is None else pytest.approx(number, rel=0.01, abs=1e-6) for word in words]


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
    example = (ROOT / "examples" / "oscillator.dpl").read_text(encoding="utf-8")
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
    from dpl.tasks import optimisers, train, verify

    page = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    assert (optimisers.OPTIMISERS["adam"].rate, optimisers.OPTIMISERS["sgd"].rate) == (3e-3, 1e-2)
    assert "`rate` is 3e-3 for `adam` and 1e-2 for `sgd`" in page
    assert (train.BATCH, train.STEPS, verify.SAMPLES) == (64, 1_000, 1_000)
    assert (trajectory.POINTS, trajectory.TICKS, solve.MEASURING) == (200, 1_000, 1_000)
    assert (choice.STIFF, choice.SPREAD) == (1e4, 100)
    assert f"`max_steps` is {solve.GREATEST_STEPS:,}" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        other = page.parent / file if file else page
        assert other.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}, target
