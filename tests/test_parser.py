"""Laws of the surface: what parses, to what tree, with which spans, and how mistakes are told."""

import ast
import dataclasses
import os
import re
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpl.language import syntax, tables
from dpl.language.diagnostics import CompileError, Diagnostic
from dpl.language.parser import parse, read
from dpl.language.source import Source

SNIPPETS = sorted((Path(__file__).parent / "snippets").glob("*.dpl"))


def parsed(text: str) -> syntax.File:
    return parse(Source("test.dpl", text))


def statements(text: str) -> tuple[syntax.Statement, ...]:
    model = parsed(f"model M {{\n{text}\n}}").items[0]
    assert isinstance(model, syntax.Model)
    return model.body


def expression(text: str) -> syntax.Expr:
    declaration = parsed(f"let q = ({text}\n)").items[0]
    assert isinstance(declaration, syntax.Declaration) and declaration.value
    return declaration.value


def problems(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(CompileError) as caught:
        parsed(text)
    return caught.value.diagnostics


def nodes(tree: object) -> Iterator[syntax.Node]:
    if isinstance(tree, syntax.Node):
        yield tree
    if isinstance(tree, (syntax.Node, syntax.File)):
        for field in dataclasses.fields(tree):
            yield from nodes(getattr(tree, field.name))
    elif isinstance(tree, tuple):
        for item in tree:
            yield from nodes(item)


# ---------------------------------------------------------------- what parses


@pytest.mark.parametrize("path", SNIPPETS, ids=lambda path: path.stem)
def test_everything_on_the_language_page_parses(path):
    assert parse(read(path)).items


@pytest.mark.parametrize("path", SNIPPETS, ids=lambda path: path.stem)
def test_comments_blank_lines_and_line_ends_change_nothing(path):
    text = re.sub(r'""".*?"""', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    tree = parsed(text)
    assert parsed(text.replace("\n", "\r\n")) == tree
    assert parsed(text.replace("\n", "   # a comment { ( [ \" '\n\n")) == tree
    assert parsed("\ufeff" + text) == tree


def test_a_semicolon_is_a_newline():
    lines = ["param k = 1", "state x = 0", "x' = -k*x", "when x < 0 { x := 1 }", "mode a { y = 1 }"]
    assert statements("; ".join(lines)) == statements("\n\n".join(lines)) == statements(";\n;;".join(lines) + ";")


@pytest.mark.parametrize("sign", "+ - * / ^ @ and or < >= == !=".split())
def test_a_line_continues_at_an_operator(sign):
    whole = statements(f"let a = b {sign} c\nx = 1")
    assert statements(f"let a = b {sign}\n\n  c\nx = 1") == whole
    assert statements(f"let a = b # why\n  {sign} c\nx = 1") == whole


def test_other_continuations():
    assert expression("f(1,\n2\n,\n3)") == expression("f(1, 2, 3)")
    assert statements("let a = if b\n then 1\n else 2\nx = 1") == statements("let a = if b then 1 else 2\nx = 1")
    assert statements("param k\n in 0..\n ~ normal(0, 1)") == statements("param k in 0.. ~ normal(0, 1)")
    assert parsed("network n(a)\n -> b\n{ hidden 3\n}") == parsed("network n(a) -> b { hidden 3 }")


def test_a_word_is_a_keyword_only_where_a_rule_has_it():
    body = statements("param steps = 1; let window = fit + steps; from' = row.if; let batch = data(model = train)")
    assert [type(s).__name__ for s in body] == ["Declaration", "Declaration", "Equation", "Declaration"]


# ---------------------------------------------------------------- what trees


def test_numbers_are_exact():
    values = [
        node.value for node in nodes(expression("[0.1, 1_000, 1e-3, ½, 9.81 [m]]")) if isinstance(node, syntax.Number)
    ]
    assert values == [Fraction(1, 10), Fraction(1000), Fraction(1, 1000), Fraction(1, 2), Fraction(981, 100)]


def test_names_are_normalised_and_texts_are_not():
    assert expression("ω₀ + µ") == expression("ω0 + μ")
    data = parsed('data d(a) from "ω₀.csv"').items[0]
    assert isinstance(data, syntax.Data) and data.file == "ω₀.csv"


def test_superscripts_are_powers():
    assert expression("x² + f(y)³") == expression("x^2 + f(y)^3")


def test_a_unit_after_a_range_or_list_is_of_all_of_it():
    def domain(text: str) -> syntax.Range | syntax.List | None:
        declaration = statements(f"param k in {text}")[0]
        assert isinstance(declaration, syntax.Declaration)
        return declaration.domain

    whole = domain("15..20 [degC]")
    assert isinstance(whole, syntax.Range) and isinstance(whole.high, syntax.Number)
    assert (whole.unit, whole.high.unit, whole.high.span.text) == (syntax.UnitName("degC", span=whole.span), None, "20")
    negative = domain("-5..-1 [m]")
    assert isinstance(negative, syntax.Range) and negative.unit and negative.high == expression("-1")
    each = domain("1 [m]..2 [m]")
    assert isinstance(each, syntax.Range) and each.unit is None and each.high == expression("2 [m]")
    listed = domain("[1, 2] [m]")
    assert isinstance(listed, syntax.List) and listed.unit == syntax.UnitName("m", span=listed.span)


@pytest.mark.parametrize("form", ["f(e from a until b, 1)", "f(e, from a until b, 1)", "f(e, 1, from a until b)"])
def test_a_window_is_around_the_first_argument(form):
    call = expression(form)
    assert isinstance(call, syntax.Call)
    first, second = call.arguments
    window = syntax.Window(expression("e"), expression("a"), expression("b"), span=call.span)
    assert (first.value, second.value) == (window, expression("1"))


@pytest.mark.parametrize("path", SNIPPETS, ids=lambda path: path.stem)
def test_the_text_of_an_expression_is_the_expression(path):
    exempt = (syntax.Range, syntax.Window, syntax.Comprehension)
    kinds = (syntax.Name, syntax.Number, syntax.Unary, syntax.Binary, syntax.Compare, syntax.If, syntax.Call)
    kinds += (syntax.Member, syntax.Index, syntax.Prime, syntax.List)
    for node in nodes(parse(read(path))):
        assert node.span.text == node.span.text.strip() != ""
        if isinstance(node, kinds) and not isinstance(node, exempt) and node.span.text not in "²³":
            assert expression(node.span.text) == node


def test_spans_of_names():
    source = Source("test.dpl", "model Mω { part  p = Q(a = 1)\n param k: m = 2 }")
    (model,) = parse(source).items
    assert isinstance(model, syntax.Model) and model.name_span.text == "Mω" and model.span.text == source.text
    part, param = model.body
    assert isinstance(part, syntax.Part) and (part.name_span.text, part.model_span.text) == ("p", "Q")
    assert isinstance(param, syntax.Declaration) and param.unit and param.unit.span.text == "m"
    assert param.span.text == "param k: m = 2" and param.span.line == 2


OPERATORS = ["+", "-", "*", "/", "@", "**", "<", "==", "and", "or"]


@settings(max_examples=150)
@given(
    st.recursive(
        st.sampled_from(["a", "b(c)", "d[1]", "2", "e.f"]),
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(OPERATORS), inner).map(" ".join),
            st.tuples(st.sampled_from(["-", "not "]), inner).map("".join),
            inner.map("({})".format),
        ),
        max_leaves=12,
    )
)
def test_precedence_is_that_of_python(text):
    try:
        python = ast.parse(text, mode="eval").body
    except SyntaxError:
        return  # such as `a + not b`, which is wrong here too
    assert shape(expression(text.replace("**", "^"))) == python_shape(python)


def shape(tree: syntax.Expr) -> object:
    match tree:
        case syntax.Binary(op, left, right):
            return (op, shape(left), shape(right))
        case syntax.Unary(op, operand):
            return (op, shape(operand))
        case syntax.Compare(operands, ops):
            return (*ops, *map(shape, operands))
        case _:
            return tree.span.text


def python_shape(tree: ast.expr) -> object:
    signs = {"Add": "+", "Sub": "-", "Mult": "*", "Div": "/", "MatMult": "@", "Pow": "^", "Lt": "<", "Eq": "=="}
    match tree:
        case ast.BinOp(left, op, right):
            return (signs[type(op).__name__], python_shape(left), python_shape(right))
        case ast.BoolOp(op, values):
            sign = "and" if isinstance(op, ast.And) else "or"
            folded = python_shape(values[0])
            for value in values[1:]:
                folded = (sign, folded, python_shape(value))
            return folded
        case ast.UnaryOp(op, operand):
            return ("not" if isinstance(op, ast.Not) else "-", python_shape(operand))
        case ast.Compare(left, ops, comparators):
            return (*(signs[type(op).__name__] for op in ops), *map(python_shape, [left, *comparators]))
        case _:
            return ast.unparse(tree)


# ---------------------------------------------------------------- mistakes

IN_MODEL = """
param k =               | expected-expression |
let a = 1 + * b         | expected-expression | *
param k == 3            | wrong-equals | ==
x == 1                  | wrong-equals | ==
x := 1                  | wrong-equals | :=
when x < 0 { v = 3 }    | wrong-equals | =
when x = 0 { v := 3 }   | wrong-equals | =
let a = (1 + 2          | unclosed | (
let a = [1, 2           | unclosed | [
let a = 1]              | unopened | ]
+ 3 = x                 | statement-start | +
x = 1; - y = 2          | statement-start | -
param state = 1         | reserved-word | state
part loss = M()         | reserved-word | loss
fn f(x, in) = x         | reserved-word | in
state' = 1              | reserved-word | state
param time = 1          | predeclared-name | time
paramm k = 1            | misspelt-keyword | paramm
metrc error = 1         | misspelt-keyword | metrc
loss e = 1              | misplaced-statement | loss
model Q { }             | misplaced-statement | model
def f(x): y             | unknown-statement | def
import numpy            | unknown-statement | import
x y = 3                 | unknown-statement | x
let a = x**2            | unknown-operator | **
let a = b && c          | unknown-operator | &&
let a = 1 − 2           | unknown-operator | −
let a = $x              | stray-character | $
let a = "abc            | unterminated-text | "
let a = 'text'          | misplaced-prime | '
(a + b)' = 3            | misplaced-prime | '
let a = f(1 2)          | missing-comma | 2
let a = b c             | missing-operator | c
let a: N/m*s = 1        | ambiguous-unit | N/m*s
let a = 5 kg            | misplaced-unit | kg
let a: [m] = 1          | misplaced-unit | [
let a = (b + c) [m]     | misplaced-unit | [
let a = 5 [60*s]        | number-in-unit | 60
let a = 1..2            | misplaced-range | ..
let a = .5              | malformed-number | .
let a = 1_000_          | malformed-number | 1_000_
let a = 1e400           | number-too-large | 1e400
let a = 1e999999999     | number-too-large | 1e999999999
let a = 1e-400          | number-too-small | 1e-400
let a = if b then c     | incomplete-if |
let a = 2*if b then c   | bare-operator | if
when x < 0              | missing-block | 0
part 3 = M()            | expected-name | 3
param a ~ b = 1         | clause-order | = 1
param a = 1 = 2         | repeated-clause | = 2
let a = b every 3       | misplaced-clause | every 3
x = 1; \"\"\"doc\"\"\"  | misplaced-docstring | \"\"\"doc\"\"\"
y = f(until 3)          | loose-window | until 3
"""

IN_FILE = """
x = 3                          | misplaced-statement | x
run for 3 [s]                  | misplaced-statement | run
modl M { x = 3 }               | misspelt-keyword | modl
model M: x = 3                 | missing-block | :
train t { on S; minimise c }   | misspelt-keyword | minimise
train t { param x = 3 }        | misplaced-statement | param
train t { seed x }             | unexpected | x
control c { }                  | unknown-statement | control
model A { } model B { }        | missing-operator | model
table t(a) -> b { }            | expected-expression | }
"""


def cases(table: str) -> list[tuple[str, str, str]]:
    rows = [line.split(" | ") for line in table.strip().splitlines()]
    return [(text.strip(), code.strip(" |"), "".join(rest).strip()) for text, code, *rest in rows]


@pytest.mark.parametrize(("text", "code", "caret"), cases(IN_MODEL))
def test_a_mistake_in_a_model(text, code, caret):
    (problem,) = problems(f"model M {{\n{text}\n}}")
    assert problem.label and (problem.code, problem.label.span.text) == (code, caret)
    assert problem.label.span.line == 2


@pytest.mark.parametrize(("text", "code", "caret"), cases(IN_FILE))
def test_a_mistake_in_a_file(text, code, caret):
    problem = problems(text)[0]
    assert problem.label and (problem.code, problem.label.span.text) == (code, caret)


def test_all_mistakes_are_told_once_and_in_order():
    text = (
        "model M {\n let a = 1 * / 2\n b c = 2\n mode x {\n  y = (2\n  z = ]\n }\n param in = 3\n}\nmodl N { q == 1 }\n"
    )
    assert [(p.code, p.label.span.line) for p in problems(text) if p.label] == [
        ("expected-expression", 2),
        ("unknown-statement", 3),
        ("unclosed", 5),
        ("unopened", 6),
        ("reserved-word", 8),
        ("misspelt-keyword", 10),
        ("wrong-equals", 10),
    ]


def test_an_unclosed_brace_is_found_where_the_next_block_begins():
    (problem,) = problems("model A {\n when x < 0 {\n  stop\n\n}\nmodel B {\n y = 1\n}\n")
    assert problem.code == "unclosed" and problem.label and problem.label.span.line == 1
    assert [label.span.line for label in problem.related] == [2]


def test_no_more_than_twenty_mistakes():
    assert len(problems("let let a\n" * 1000)) == 20


def test_a_misspelt_keyword_does_not_hide_the_rest():
    codes = [problem.code for problem in problems("modle M {\n let a =\n}")]
    assert codes == ["misspelt-keyword", "expected-expression"]


# ---------------------------------------------------------------- hostile texts

HOSTILE = {
    "parentheses": "let a = " + "(" * 100_000,
    "matched parentheses": "let a = " + "(" * 100_000 + "1" + ")" * 100_000,
    "closing parentheses": ")" * 100_000,
    "brackets": "[" * 100_000,
    "braces": "{" * 100_000,
    "modes": "model M {\n" + "mode a {\n" * 300 + "}\n" * 301,
    "minus": "let a = " + "- " * 100_000 + "1",
    "not": "let a = " + "not " * 100_000 + "1",
    "if": "let a = " + "if a then b else " * 50_000 + "1",
    "powers": "let a = " + "2^" * 100_000 + "1",
    "sum": "let a = " + "a+" * 100_000 + "1",
    "primes": "let a = x" + "'" * 100_000,
    "members": "let a = x" + ".y" * 100_000,
    "calls": "let a = x" + "()" * 100_000,
    "unit": "let a = 1 [" + "m*" * 100_000 + "m]",
    "digits": "let a = " + "9" * 100_000,
    "stray": "$" * 100_000,
    "nul": "\0" * 1_000,
    "quotes": '"' * 100_001,
    "semicolons": ";" * 1_000_000,
    "pairs": "{};" * 100_000,
    "mistakes": "model { }\n" * 100_000,
    "size": " " * 1_100_000,
    "empty": "",
    "comment": "# nothing\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_is_refused_in_time(text):
    start = time.process_time()
    found = problems(text)
    assert found and len(found) <= 20 and str(CompileError(found))
    assert time.process_time() - start < 5, "too slow"


def test_long_lists_are_fine():
    assert parsed("let a = [" + "-1.5, " * 3_000 + "1]")
    assert parsed("let a = " + "a + " * 1_900 + "1")
    assert parsed("let a = 0e999999999").items


def test_files_that_cannot_be_read(tmp_path):
    def code(path: Path) -> tuple[str, str]:
        with pytest.raises(CompileError) as caught:
            parse(read(path))
        return caught.value.diagnostics[0].code, str(caught.value)

    assert code(tmp_path)[0] == code(tmp_path / "absent.dpl")[0] == "unreadable-file"
    (tmp_path / "latin.dpl").write_bytes("let a = 1\nlet é = 1".encode("latin-1"))
    found, text = code(tmp_path / "latin.dpl")
    assert found == "not-utf8" and "byte 14" in text and "line 2" in text and "latin.dpl:2:5" in text
    (tmp_path / "big.dpl").write_bytes(b" " * 5_000_000)
    assert code(tmp_path / "big.dpl")[0] == "file-too-large"


# ---------------------------------------------------------------- the tables


def test_the_cache_may_be_absent_corrupt_or_unwritable(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fresh = tables.load.__wrapped__()
    (path,) = (tmp_path / "dpl").iterdir()
    assert tables._read(path) == fresh == tables.load.__wrapped__()
    text = path.read_text(encoding="utf-8")
    for wrong in ["", "{}", text[:-5], text.replace("SHIFT", "X") + " ", "\x00" * 10]:
        path.write_text(wrong, encoding="utf-8")
        assert tables._read(path) is None
    path.unlink()
    os.rmdir(tmp_path / "dpl")
    (tmp_path / "dpl").write_text("in the way")
    assert len(tables.load.__wrapped__().states) == len(fresh.states)  # numbered anew


def test_the_grammar_has_no_conflicts():
    lark = pytest.importorskip("lark")
    messages: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lark.logger, "debug", lambda message, *rest: messages.append(str(message)))
        grammar = tables._grammar_path().read_text(encoding="utf-8")
        lark.Lark(grammar, parser="lalr", lexer="basic", maybe_placeholders=True, debug=True)
    assert not [message for message in messages if "conflict" in message.lower()]
