"""Laws of indices: what covers an array, which elements a subscript names, and that checking does not count them."""

import sys
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpl import language
from dpl.language.coverage import Box, first_missing, gaps, overlapping
from dpl.language.diagnostics import CompileError
from dpl.language.source import Source, Span
from dpl.language.syntax import Name, Piece

NOWHERE = Span(Source("m.dpl", ""), 0, 0)
NAME = Name("x", span=NOWHERE)
PIECE = Piece(NAME, NAME, NAME, (), span=NOWHERE)


def said(text):
    try:
        language.load_text(Source("m.dpl", text))
    except CompileError as error:
        return [(d.code, d.message, d.label.text) for d in error.diagnostics]
    return []


@st.composite
def pieces(draw):
    """Some boxes in an array."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    ends = st.tuples(*(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).map(sorted).map(tuple) for n in shape))
    return shape, draw(st.lists(ends, max_size=6))


@given(pieces())
def test_boxes_are_told_apart_as_their_elements_are(drawn):
    shape, boxes = drawn
    held = [list(product(*(range(a, b + 1) for a, b in box))) for box in boxes]
    missing = [at for at in product(*map(range, shape)) if not any(at in h for h in held)]
    assert first_missing(boxes, shape) == (missing[0] if missing else None)
    free = sorted(at for gap in gaps(boxes, shape) for at in product(*(range(a, b + 1) for a, b in gap)))
    assert free == missing
    common = [sorted(set(a) & set(b)) for n, a in enumerate(held) for b in held[n + 1 :]]
    found = [corner for *_, corner in overlapping([Box(box, PIECE) for box in boxes])]
    assert sorted(found) == sorted(c[0] for c in common if c)


EXPRESSIONS = st.recursive(
    st.sampled_from(["i", "j", "1", "2", "3"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map("({0[0]} {0[1]} {0[2]})".format),
        st.tuples(st.sampled_from(["mod", "min", "max"]), inner, inner).map("{0[0]}({0[1]}, {0[2]})".format),
        inner.map("floor({}/2)".format),
        inner.map("pick[min(max({}, 0), 3)]".format),
    ),
    max_leaves=5,
)
MEANING = {"mod": lambda a, b: a % b, "min": min, "max": max, "floor": lambda a: a // 1, "pick": [3, 0, 2, 1]}


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS)
def test_a_subscript_is_refused_if_and_only_if_some_element_is_not_there(expression):
    """Bounds and tables against every combination of indices, computed in Python."""
    text = f"""
        const pick[4] = [3, 0, 2, 1]
        model M {{
          param x[5] = 1
          let y[3, 4] = x[{expression}] for i in 0..2, j in 0..3
        }}"""
    python = compile(expression.replace("/2", "//2"), "", "eval")
    try:
        values = [eval(python, MEANING, {"i": i, "j": j}) for i in range(3) for j in range(4)]
    except ZeroDivisionError:
        return
    outside = any(not 0 <= value < 5 for value in values)
    assert [code for code, *_ in said(text)] == (["index-out-of-range"] if outside else [])


@pytest.mark.parametrize(("n", "steps"), [(10, 2), (1_000_000, 3)])
def test_what_is_said_names_the_first_index_that_leads_outside(n, steps):
    text = f"""
        const n = {n}
        model M {{
          state T[n] = 0
          T[i]' = T[i+{steps}] - T[i] for i in 0..n-1
        }}"""
    ((code, _, label),) = said(text)
    assert code == "index-out-of-range"
    assert label == f"is {n + steps - 1:g} for i = {n - 1}"


BIG = """
const n = {n}
const previous[n] = mod(i - 1, n) for i in 0..n-1
model Cell {{ input u; state x = 0; x' = u - x }}
scenario S {{
  state T[n, n] = i*j for i in 0..n-1, j in 0..n-1
  T[i, j]' = T[i-1, j] - T[i, j] for i in 1..n-1, j in 0..n-1
  T[0, j]' = T[0, mod(j + 1, n)] - T[0, j] for j in 0..n-1
  let y[n] = sum(T[i, j] for j in 0..n-1)*T[previous[i], 0] for i in 0..n-1
  part cell[n] = Cell()
  cell[i].u = y[i] for i in 0..n-1
  run for 1
  loss total = final(sum(cell.x))
}}
"""


def calls(text):
    """How many Python functions a check calls."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        language.load_text(Source("m.dpl", text))
    finally:
        sys.setprofile(None)
    return count


def test_the_work_of_a_check_does_not_depend_on_the_size_of_arrays():
    language.load_text(Source("m.dpl", BIG.format(n=10)))  # what is read once is read now
    assert calls(BIG.format(n=3000)) == calls(BIG.format(n=11))
