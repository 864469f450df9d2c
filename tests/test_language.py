"""Laws of the language layer: units, unification, matching, values from outside, and no text that crashes it."""

import random
import re
from fractions import Fraction
from itertools import pairwise, permutations
from pathlib import Path

import pytest
import scipy.constants as si
from hypothesis import given
from hypothesis import strategies as st

from dpl import language
from dpl.language.diagnostics import CompileError, render, to_json
from dpl.language.graph import components, cycle, match
from dpl.language.source import Source
from dpl.language.units import PURE, Dimension, Unifier, find_unit
from dpl.language.values import setting

ROOT = Path(__file__).parent.parent


def check(text, name="m.dpl"):
    return language.load_text(Source(name, text))


def codes(text):
    with pytest.raises(CompileError) as error:
        check(text)
    return [d.code for d in error.value.diagnostics]


# ---------------------------------------------------------------- units


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ft", si.foot),
        ("inch", si.inch),
        ("mile", si.mile),
        ("lb", si.pound),
        ("oz", si.ounce),
        ("lbf", si.pound_force),
        ("psi", si.psi),
        ("atm", si.atm),
        ("hp", si.hp),
        ("kcal", 1e3 * si.calorie_th),
        ("eV", si.eV),
        ("knot", si.knot),
        ("mph", si.mph),
        ("day", si.day),
        ("year", si.Julian_year),
        ("au", si.au),
        ("u", si.u),
        ("deg", si.degree),
        ("ha", si.hectare),
        ("gal", si.gallon),
        ("L", si.liter),
        ("km", 1e3),
        ("µm", 1e-6),
        ("dam", 10.0),
    ],
)
def test_units_have_their_published_size(name, value):
    found = find_unit(name)
    assert found is not None
    assert float(found[1]) == pytest.approx(value, rel=1e-9)


def test_prefixes_apply_to_units_that_take_them():
    assert find_unit("kkg") is None
    assert find_unit("mmin") is None
    assert find_unit("mmol") == (Dimension((("mol", Fraction(1)),)), Fraction(1, 1000))


def dimensions(draw, names):
    powers = st.fractions(-3, 3, max_denominator=3)
    return Dimension.of({name: draw(powers) for name in draw(st.lists(st.sampled_from(names), unique=True))})


@st.composite
def equations(draw):
    """Pairs of dimensions over two base dimensions and four unknowns, to be made equal one after another."""
    names = ["m", "s", "?1", "?2", "?3", "?4"]
    return [(dimensions(draw, names), dimensions(draw, names)) for _ in range(draw(st.integers(1, 5)))]


@given(equations())
def test_unification_makes_both_sides_one_and_keeps_them_so(pairs):
    unifier = Unifier()
    for _ in range(4):
        unifier.fresh()
    kept = []
    for a, b in pairs:
        if unifier.unify(a, b, None):
            kept.append((a, b))
        else:
            rest = unifier.resolve(a) / unifier.resolve(b)
            assert not rest.pure and not rest.unknowns
    for a, b in kept:
        assert unifier.resolve(a) == unifier.resolve(b)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_units_are_inferred_in_whatever_order(order):
    lines = ["let force = m*a", "let a = v'", "v' = -k*v/m"]
    text = "model M {\n param m: kg = 1; param k: kg/s = 1; state v: m/s = 1\n"
    model = check(text + "\n".join(lines[i] for i in order) + "\n}")
    found = {v.path: str(v.dimension) for v in model.models["M"].variables}
    assert (found["force"], found["a"]) == ("N", "m/s^2")


def test_a_generic_block_takes_other_units_in_each_part():
    text = """
    model Gain { input u; param k; output y = k*u }
    scenario S {
      part a = Gain(u = 2 [m], k = 3 [1/s])
      part b = Gain(u = 2 [kg], k = 3)
      metric m = a.y
      metric n = b.y
    }"""
    assert {m.item.name: str(m.dimension) for m in check(text).systems["S"].measures} == {"m": "m/s", "n": "kg"}


def test_a_file_without_units_is_pure_and_its_time_too():
    model = check("scenario S { state x = 1; x' = -0.3*x; run for 10; metric t = settling_time(x, 0, 0.1) }")
    assert model.systems["S"].measures[0].dimension == PURE


# ---------------------------------------------------------------- graphs


@given(st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=6))
def test_matching_is_maximum(candidates):
    owner = match(range(len(candidates)), lambda e: candidates[e])
    assert all(unknown in candidates[equation] for unknown, equation in owner.items())
    assert len(set(owner.values())) == len(owner)

    def best(equation, taken):
        if equation == len(candidates):
            return 0
        free = [u for u in candidates[equation] if u not in taken]
        return max([best(equation + 1, taken), *(1 + best(equation + 1, taken | {u}) for u in free)])

    assert len(owner) == best(0, frozenset())


@given(st.lists(st.lists(st.integers(0, 6), max_size=3), min_size=7, max_size=7))
def test_components_come_after_what_they_lead_to_and_hold_circles(edges):
    found = components(range(7), lambda n: edges[n])
    place = {n: i for i, group in enumerate(found) for n in group}
    assert sorted(place) == list(range(7))
    assert all(place[b] <= place[a] for a in range(7) for b in edges[a])
    for group in found:
        if len(group) > 1:
            ring = cycle(group, lambda n: edges[n])
            assert ring[0] == ring[-1] and all(b in edges[a] for a, b in pairwise(ring))


# ---------------------------------------------------------------- values from outside

MASSES = """
model P { param m: kg = 1 in 0..10; param l: m = 1; state x: cm = 0; x' = 1 [cm/s] }
scenario A { part p = P(); given g: deg ~ uniform(0, 90); run for 1 [s] }
"""


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("p.m", "2", 2.0),
        ("p.m", "2[kg]", 2.0),
        ("p.m", "2 [lb]", 2 * si.pound),
        ("p.m", "500 [g]", 0.5),
        ("p.x", "3", 0.03),
        ("p.l", "-2*3 [mm]", -0.006),
        ("g", "45", si.pi / 4),
        ("g", "π/4", si.pi / 4),
        ("A.p.m", "2", 2.0),
    ],
)
def test_settings_are_read_with_their_units(path, text, value):
    assert setting(check(MASSES), path, text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("path", "text", "code"),
    [
        ("p.m", "2 [s]", "unit-mismatch"),
        ("p.m", "11", "out-of-range"),
        ("p.n", "1", "unknown-name"),
        ("p.m", "x", "unknown-name"),
        ("p.m", "1e400", "number-too-large"),
        ("p.m", "9^9^9 [kg]", "number-too-large"),
        ("p.m", "2 kg", "misplaced-unit"),
        ("p.m", "2; const y = 3", "not-a-value"),
        ("p.m", "p.l", "unknown-name"),
    ],
)
def test_wrong_settings_are_refused_at_their_text(path, text, code):
    with pytest.raises(CompileError) as error:
        setting(check(MASSES), path, text)
    (found,) = error.value.diagnostics[:1]
    assert found.code == code
    assert "const value" not in render(found)


# ---------------------------------------------------------------- any text


TOKENS = re.compile(r'\s+|#[^\n]*|"""(?:.|\n)*?"""|[^\W\d]\w*|\d+\.?\d*|.', re.S)
TEXTS = [p.read_text(encoding="utf-8") for d in ("models", "examples") for p in sorted((ROOT / d).glob("*.dpl"))]


@pytest.mark.parametrize("seed", range(6))
def test_mutated_programs_are_read_or_refused_but_never_crash(seed):
    rng = random.Random(seed)
    for _ in range(150):
        tokens = TOKENS.findall(rng.choice(TEXTS))
        for _ in range(rng.choice([1, 1, 2, 4])):
            i, j = rng.randrange(len(tokens)), rng.randrange(len(tokens))
            change = rng.random()
            tokens[i] = tokens[j] if change < 0.6 else "" if change < 0.8 else tokens[i] + " " + tokens[j]
        try:
            language.load_text(Source("m.dpl", "".join(tokens), str(ROOT / "models" / "m.dpl")))
        except CompileError as error:
            for diagnostic in error.diagnostics:
                assert render(diagnostic) and to_json(diagnostic)


@pytest.mark.parametrize("text", ["", " \n", "# nothing\n", '"""only words"""'])
def test_a_file_without_items_is_refused(text):
    assert codes(text) == ["empty-file"]
