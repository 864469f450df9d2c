"""Random models: what is generated computes what the text says, as a direct walk over the AST has it."""

import math
import sys
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpl import language
from dpl.compiler.driver import compile_model
from dpl.language import syntax
from dpl.language.diagnostics import CompileError
from dpl.language.source import Source
from dpl.runtime import program
from tests.compiled import moving, source, static

# ---------------------------------------------------------------- texts

NUMBERS = st.sampled_from("0 1 2 3 0.5 1.5 10 0.1 1e-3".split())
ONE = st.sampled_from("sin cos tanh abs exp sqrt sign floor relu sigmoid wrap atan asinh cbrt step".split())
TWO = st.sampled_from("max min hypot atan2".split())


def grown(inner):
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from(["2", "3", "0.5", "-1"])).map(lambda t: f"({t[0]})^{t[1]}"),
        st.tuples(ONE, inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(TWO, inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
        st.tuples(inner, st.sampled_from(["<", ">="]), inner, inner, inner).map(
            lambda t: f"(if {t[0]} {t[1]} {t[2]} then {t[3]} else {t[4]})"
        ),
        inner.map(lambda e: f"-({e})"),
        inner.map(lambda e: f"f({e})"),
    )


def expressions(names):
    return st.recursive(st.one_of(NUMBERS, st.sampled_from(names)), grown, max_leaves=8)


MODELS = st.tuples(
    expressions(["p", "q", "x"]),
    expressions(["p", "x", "a", "time"]),
    expressions(["a", "b", "v"]),
    expressions(["b", "p", "a"]),
)


def text_of(parts):
    a, b, c, d = parts
    return "fn f(z) = z*z - 1\n" + moving(
        "param p = 0.7", "param q = -1.3", "state x = 0.4", "state v = 2",
        f"let a = {a}", f"let b = {b}", f"x' = {c}", f"v' = {d}",
    )  # fmt: skip


# ---------------------------------------------------------------- their meaning

FUNCTIONS = {
    "abs": abs, "sign": np.sign, "floor": math.floor, "relu": lambda x: max(x, 0.0), "step": lambda x: float(x > 0),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "wrap": lambda x: x - 2 * math.pi * math.ceil((x - math.pi) / (2 * math.pi)),
    "max": max, "min": min, "cbrt": np.cbrt, "hypot": math.hypot, "atan2": math.atan2,
    **{n: getattr(math, n) for n in ("sin", "cos", "tanh", "exp", "sqrt", "atan", "asinh")},
}  # fmt: skip


def arithmetic(op, a, b):
    match op:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "/":
            return a / b
        case "^":
            return math.pow(a, b)  # refuses roots of negative numbers


def evaluate(expr, names):
    """The value of an expression, straight from its tree. Raises ArithmeticError or ValueError where it has none."""
    match expr:
        case syntax.Number(number):
            return float(number)
        case syntax.Name(name):
            return names[name]
        case syntax.Unary("-", operand):
            return -evaluate(operand, names)
        case syntax.Binary(op, left, right):
            a, b = evaluate(left, names), evaluate(right, names)
            return arithmetic(op, a, b)
        case syntax.If(syntax.Compare((left, right), (op,)), then, otherwise):
            a, b = evaluate(left, names), evaluate(right, names)
            return evaluate(then if (a < b if op == "<" else a >= b) else otherwise, names)
        case syntax.Call(syntax.Name("f"), arguments):
            return evaluate(arguments[0].value, names) ** 2 - 1
        case syntax.Call(syntax.Name(name), arguments):
            return float(FUNCTIONS[name](*(evaluate(a.value, names) for a in arguments)))
        case _:
            raise AssertionError(expr)


def meaning(model):
    body = model.systems["S"].item.body
    values = {s.name: s.value for s in body if isinstance(s, syntax.Declaration) and s.kind == "let"}
    equations = [s.right for s in body if isinstance(s, syntax.Equation)]
    names = {"p": 0.7, "q": -1.3, "x": 0.4, "v": 2.0, "time": 0.25}
    names["a"] = evaluate(values["a"], names)
    names["b"] = evaluate(values["b"], names)
    return names["a"], names["b"], *(evaluate(e, names) for e in equations)


def is_tame(values):
    return all(isinstance(v, int | float) and math.isfinite(v) and abs(v) < 1e12 for v in values)


@pytest.mark.slow
@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(MODELS)
def test_random_models(parts):
    text = text_of(parts)
    try:
        model = language.load_text(Source("random.dpl", text))
        made = compile_model(model).source
    except CompileError:
        return  # a constant without a value, say; anything else would be a bug
    try:
        expected = meaning(model)
    except (ArithmeticError, ValueError):
        return
    if not is_tame(expected):
        return
    spec = program.load(made, "random").scenarios["S"].spec
    values = {"p": np.float64(0.7), "q": np.float64(-1.3), "x": np.float64(0.4), "v": np.float64(2)}
    with np.errstate(all="ignore"):
        c = spec.fixed(values)
        x, z, held = spec.start(c)
        found = spec.observe(0.25, x, z, held, c)
        rates, _ = spec.rhs(0.25, x, z, held, c)
    nearby = [np.asarray(v) for v in (found["a"], found["b"], *rates)]
    np.testing.assert_allclose(nearby, expected, rtol=1e-7, atol=1e-7, err_msg=text)


# ---------------------------------------------------------------- sizes


def seconds(text):
    before = time.perf_counter()
    source(text)
    return time.perf_counter() - before


def nested(depth):
    return "sin(" * depth + "p" + ")" * depth


def ring(i):
    return f"s{i}' = s{(i + 1) % 300} - 2*s{i} + s{(i - 1) % 300}"


LARGE = {
    "a long sum": static("param p = 1", "metric y = " + " + ".join(f"p^{i}" for i in range(2, 600))),
    "a long product": static("param p = 1", "metric y = " + "*".join(f"(p + {i})" for i in range(600))),
    "deep calls": static("param p = 1", f"metric y = {nested(190)}"),
    "deep powers": static("param p = 1", "metric y = " + "(" * 150 + "p" + " + 1)^2" * 150),
    "a chain of lets": moving(
        "state x0 = 1", "x0' = -x400", *(f"let x{i} = x{i - 1}*x{i - 1} + 1" for i in range(1, 401))
    ),
    "300 states": moving(*(f"state s{i} = {i}" for i in range(300)), *map(ring, range(300))),
    "40 unknowns": static(
        "param p = 1",
        *(f"let u{i}" for i in range(40)),
        *(f"u{i} + 0.1*u{(i + 1) % 40} = p" for i in range(40)),
        "metric y = u0",
    ),
}


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE)
def test_large_models_compile_soon(text):
    assert seconds(text) < 10


CHAIN = ["fn f0(z) = z*z + 1", *(f"fn f{i + 1}(z) = f{i}(z)*f{i}(z) + z" for i in range(20))]
REFUSED = {
    "functions that double": "\n".join([*CHAIN, static("param p = 1", "metric y = f20(p)")]),
    "arguments that double": "fn f(z) = z*z + z\n" + static("param p = 1", f"metric y = {'f(' * 25}p{')' * 25}"),
    "a derivative that doubles": "fn f(z) = sin(z)*z + z\n"
    + moving("state x = 1", "x' = 1", f"let e = {'f(' * 22}x{')' * 22}", "let d = e'"),
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_explodes_is_refused_soon(text):
    before = time.perf_counter()
    with pytest.raises(CompileError):
        source(text)
    assert time.perf_counter() - before < 5
    assert sys.getrecursionlimit() < 100_000


HOSTILE = (
    """
9^9^9^9; 2^(10^9); x^(10^9); (1/3)^(1/7); (-8)^(1/3); 0^-1; 1/0; log(0); log(-1); acosh(0); exp(1000); exp(exp(10))
gamma(1e9); (0.1 + x)^0.123456789; 0/0*x; tan(π/2 + x); tan(π/2); inf - inf; x^0^0; sqrt(-x²); max(1, 2)^0.5
""".strip()
    .replace("\n", "; ")
    .split("; ")
)


@pytest.mark.parametrize("expression", HOSTILE)
def test_numbers_at_the_edge(expression):
    before = time.perf_counter()
    here = moving("state x = 1", "x' = 0*x", f"let y = {expression}")
    there = static("param x = 1", f"metric y = {expression} + x")
    for text in (here, there):
        try:
            source(text)
        except CompileError as error:
            assert len(str(error)) < 5_000
    assert time.perf_counter() - before < 2
