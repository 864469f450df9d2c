"""Every intermediate form of every good program can be shown, and says what it should."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from dpl import language
from dpl.compiler.diagram import diagrams
from dpl.compiler.drawing import Layout
from dpl.compiler.driver import STAGES, compile_model, stage
from dpl.language.diagnostics import CompileError
from dpl.language.source import Source

ROOT = Path(__file__).parent.parent
FILES = sorted([*ROOT.glob("examples/*.dpl"), *ROOT.glob("models/*.dpl"), *ROOT.glob("tests/corpus/good/*.dpl")])


def shown(name, text):
    return stage(language.load_text(Source("a.dpl", text)), name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_stage_of_every_file(path):
    model = language.load(path)
    for name in STAGES:
        text = compile_model(model).stage(name)
        assert text == "" if name == "ir" and not model.systems else text


def test_unknown_stage():
    with pytest.raises(ValueError, match="there are ast, model"):
        stage(language.load_text(Source("a.dpl", "scenario S { }")), "machine")


def test_ast():
    text = shown("ast", "model M { param k: 1/s = 2; state x = 1; x' = -k*x }")
    assert "Declaration kind=param name=k unit=[1/s]\n      value: Number value=2" in text
    assert "Equation\n      left: Prime\n        operand: Name id=x" in text


def test_model():
    text = shown(
        "model",
        """
        model M { input u: N; state v[2]: m/s = 0; param m: kg = 2; m*v' = u; let p = m*v }
        scenario S { part a = M(u = 3); run for 1 [s] }
        """,
    )
    assert "part a: M" in text and "a.v[2]" in text and "kg*m/s (inferred)" in text
    assert "model M" in text and "scenario S" in text and "run from 0 s for 1 s" in text


UNSOLVABLE = "scenario S { let a = b + 1; let b = a - 1; metric m = a }"


@pytest.mark.parametrize("name", ["ast", "model", "graph", "svg"])
def test_what_needs_no_solution(name):
    assert shown(name, UNSOLVABLE)


def test_what_needs_one():
    with pytest.raises(CompileError):
        shown("system", UNSOLVABLE)


def test_system():
    text = shown(
        "system",
        """
        model M { input u; state x = 1; state y = 1; 2*x' + y' = u; x' - y' = x; let z in 0..9; z^3 = x }
        scenario S { part m = M(u = g); given g = 1; let w = m.u; run for 1; metric k = average(w from 0.5) }
        """,
    )
    assert "linear 2 by 2 for m.x', m.y':" in text
    assert "Newton for m.z in 0..9 from 4.5:" in text
    assert "alias m.u = g" in text
    assert "average#1 = average(g from 0.5)" in text
    assert "solved explicitly, a.dpl:1" in shown("system", "model M { param m = 2; state x = 1; m*x' = -x }")


def test_ir_counts_operations():
    text = shown("ir", "scenario S { param a = 1; metric x = sin(a)*cos(a); metric y = sin(a)*cos(a) + 1 }")
    assert "results: 51 operations, 20 after simplification" in text
    assert text.endswith("in all: 51 operations, 20 after simplification")


def test_latex():
    text = shown(
        "latex",
        "model P { param l_rod = 1; state θ₁ = 1; θ₁'' = -9.81*sin(θ₁)/l_rod; let λ = if θ₁ > 0 then 1 else θ₁² }",
    )
    assert r"\ddot{\theta}_{1} &=" in text
    assert r"l_{\mathrm{rod}}" in text
    assert r"\begin{cases}" in text and r"\lambda" in text


def test_graph():
    text = shown(
        "graph",
        """
        network net(a) -> b { hidden 2 }
        model Inner { input v; output w = v }
        model Outer { input u; part inner = Inner(v = u); output y = inner.w }
        scenario S { given g = 1; part one = Outer(u = net(g)); part two = Outer(u = one.y); metric m = two.y }
        """,
    )
    assert 'subgraph part1["one: Outer"]' in text
    assert '-->|"y"|' in text and '-->|"net"|' in text and '-->|"g"|' in text


MODES = """
model Valve {
  input level
  state count = 0
  mode open, shut { let share = 1 - count/10 }
  mode open { when low: level < 1 { go shut; count := count + 1 } }
  mode shut { when level > 2 { go open }; when worn: share < 0.1 { stop } }
}
model Tank { state h = 3; output level = h; h' = -1; part valve = Valve(level = h); at 9 { h := 3 } }
scenario S {
  part one = Tank()
  part two = Tank()
  run until one.valve.low within 9
  metric t = event_time(one.valve.low)
}
"""


def test_equations_are_shown_in_each_mode():
    text = shown("system", MODES)
    assert all(f"model Valve in {mode}  " in text for mode in ("open", "shut"))
    assert all(f"scenario S in {one}, {two}  " in text for one in ("open", "shut") for two in ("open", "shut"))
    assert r"\paragraph{Valve in shut}" in shown("latex", MODES)


def test_model_tells_of_modes_and_events():
    text = shown("model", MODES)
    assert "modes of one.valve: open, shut" in text
    assert (
        "event one.valve.low: when level < 1 { one.valve.count := count + 1; go shut; stop }  # in open; a.dpl:6"
        in text
    )
    assert "event a.dpl:9: at 9 { one.h := 3 }  # a.dpl:9" in text
    assert "until it is stopped, within 9 s" in text


def test_graph_draws_modes():
    text = shown("graph", MODES)
    assert 'subgraph part2["valve: Valve"]' in text and 'part2mode1("open")' in text
    assert "part2begin --> part2mode1" in text
    assert 'part2mode1 -->|"low"| part2mode2' in text and 'part2mode2 -->|"level > 2"| part2mode1' in text
    assert 'part2mode2 -->|"worn"| part2stop' in text


def test_drawn_boxes_do_not_overlap_and_lie_within_theirs():
    model = language.load_text(Source("a.dpl", MODES))
    (diagram,) = diagrams(model)
    layout = Layout(diagram)
    names = list(layout.places)
    for i, one in enumerate(names):
        for other in names[:i]:
            a, b = layout.places[one], layout.places[other]
            within = [
                p.x <= q.x and p.y <= q.y and q.right <= p.right and q.bottom <= p.bottom for p, q in ((a, b), (b, a))
            ]
            apart = a.right <= b.x or b.right <= a.x or a.bottom <= b.y or b.bottom <= a.y
            nested = bool(layout.lift(one, {other}) or layout.lift(other, {one}))
            assert any(within) if nested else apart
    assert all(p.right <= layout.width and p.bottom <= layout.height for p in layout.places.values())


def test_a_drawing_is_sound_xml_with_every_name():
    root = ElementTree.fromstring(shown("svg", MODES))
    said = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"one: Tank", "valve: Valve", "open", "shut", "low", "level > 2", "worn", "stop"} <= said
