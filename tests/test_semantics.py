"""Laws of the language: what a text means does not depend on order, names or units, and agrees with NumPy."""

import ast
import math
import os
import re
import subprocess
import sys
import unicodedata
from itertools import permutations
from pathlib import Path

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import signal, special

from dpl import language
from dpl.compiler.driver import compile_model
from dpl.language.builtins import FUNCTIONS
from dpl.language.diagnostics import CompileError
from dpl.language.source import Source
from tests.compiled import at, gradient, moving, scenarios, source, static, value

ROOT = Path(__file__).parent.parent
FILES = sorted([*ROOT.glob("examples/*.dpl"), *ROOT.glob("models/*.dpl")])


def codes(text):
    with pytest.raises(CompileError) as error:
        source(text)
    return {d.code for d in error.value.diagnostics}


# ---------------------------------------------------------------- order and names


@pytest.mark.parametrize("lines", list(permutations(["state x = 3", "let a = 2*x", "let b = a + 1", "x' = -b"])))
def test_order_does_not_matter(lines):
    assert value(moving(*lines), "x'") == -7


def test_order_of_parts_and_wiring_does_not_matter():
    lines = ["part a = A(u = b.y)", "part b = B(u = 3)", "metric y = a.y"]
    models = "model A { input u; output y = u + 1 }\nmodel B { input u; output y = 2*u }\n"
    assert {float(value(models + static(*order))) for order in permutations(lines)} == {7.0}


LEGAL = (
    "lambda jnp time_ x t fixed θ₀ theta θ theta_dot k1 s1 print None_ spec dpl held states values E I S N Q O beta "
    "MODULE runs unknowns residual_z self cls __init__ π_ pi_ sin_ v x_2 x_dot inner_s1 def class import os exec eval "
    "gamma_ zoo oo nan Symbol data ß ﬁ Å ж 変数 _ a__b"
).split()


@pytest.mark.parametrize("name", LEGAL)
def test_any_legal_name(name):
    text = moving(f"state {name} = 2", "param p = 3", f"{name}' = p*{name}", f"let double = 2*{name}")
    assert value(text, unicodedata.normalize("NFKC", name) + "'") == 6
    assert value(text, "double") == 4


def test_all_names_at_once():
    names = LEGAL
    lines = [f"param {n} = {i + 1}" for i, n in enumerate(names)]
    total = " + ".join(f"{(i + 1) ** 2}*{n}" for i, n in enumerate(names))
    expected = sum((i + 1) ** 3 for i in range(len(names)))
    assert value(static(*lines, f"metric y = {total}")) == expected


def test_names_of_parts_are_apart():
    text = """
    model A { param k = 1; input u; let x = k*u; output y = x }
    scenario S { param k = 5; let x = 7; part a = A(u = x); part a_k = A(u = k, k = 2); metric y = a.y + 100*a_k.y + k }
    """
    assert value(text) == 7 + 100 * 10 + 5


def test_a_name_of_the_file_and_one_of_the_scenario():
    assert value("const k = 2\nlet q = 3*k\n" + static("const k = 5", "metric y = k + 10*q")) == 65
    assert codes("param k = 2\nlet q = 3*k\n" + static("param k = 5", "metric y = k + 10*q")) == {"shadowed"}


def test_renaming_changes_nothing_else():
    text = moving("state a = 2", "param b = 3", "a' = sin(b*a) - a^3/b", "let c = a'", "let d = a*b")
    new = {"a": "ζ", "b": "aaa", "c": "Z", "d": "_d"}
    renamed = re.sub(r"\b[abcd]\b", lambda m: new[m[0]], text)
    assert value(renamed, "ζ'") == value(text, "a'")


# ---------------------------------------------------------------- literals and units

EXACT = {
    "0.1": 0.1,
    "1e-3": 1e-3,
    "½": 0.5,
    "1_000.5": 1000.5,
    "0.3 [km]": 300.0,
    "1.1 [h]": 3960.0,
    "0.328 [lb]": 0.328 * 0.45359237,
    "90 [deg]": 90 * (math.pi / 180),
    "7 [mg/L]": 7e-3,
    "12 [%]": 0.12,
    "5 [ms]": 0.005,
    "3 [km/h]": 5 / 6,
    "1.3e-20": 1.3e-20,
    "1e22": 1e22,
    "123456789012345678": 123456789012345678.0,
    "1/3": 1 / 3,
    "0.1 + 0.2": 0.3,
    "2^0.5": math.sqrt(2),
    "π": math.pi,
    "sin(1)": math.sin(1),
    "exp(-0.5)": math.exp(-0.5),
}


@pytest.mark.parametrize("text", EXACT)
def test_literals_are_exact(text):
    assert value(static(f"metric y = {text}")) == EXACT[text]


def test_bare_literals_are_in_the_declared_unit():
    text = static("param a: km = 2", "param b: h = 3 in 1..5", "metric y = a/b", "metric z = a*(1 + 1)")
    assert value(text) == 2000 / 10800
    assert value(text, "z") == 4000


# ---------------------------------------------------------------- functions of the language

POINTS = {
    "acosh": (1.7,), "clip": (0.3, -0.5, 1.2), "huber": (0.7, 1.1), "mod": (5.3, 1.7), "wrap": (4.0,),
    "atan2": (0.7, -1.2), "interpolate": (0.3, [0, 1, 2], [1, 5, 4]), "dot": ([1, 2, 3], [4, -5, 6]),
    "sum": ([1, 2.5, -3],), "mean": ([1, 2.5, -3],), "product": ([1, 2.5, -3],), "norm": ([3, -4],),
    "transpose": ([[1, 2], [3, 4]],), "min": (0.4, 1.3, 0.9), "max": (0.4, 1.3, 0.9), "hypot": (0.6, -1.1),
    "surrogate": (0.3, 0.5), "conv": ([[1, 2, 0.5], [3, -1, 2]], [[1, -2], [0.5, 3]]),
}  # fmt: skip


def numpy_function(name):
    ours = {
        "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "asinh": np.arcsinh,
        "acosh": np.arccosh, "atanh": np.arctanh, "product": np.prod, "norm": np.linalg.norm, "mod": np.mod,
        "min": lambda *a: np.min(a), "max": lambda *a: np.max(a), "clip": np.clip, "interpolate": np.interp,
        "wrap": lambda x: np.arctan2(np.sin(x), np.cos(x)), "sigmoid": special.expit,
        "softplus": lambda x: np.logaddexp(0, x), "relu": lambda x: max(x, 0.0), "erf": special.erf,
        "gamma": special.gamma, "lgamma": special.gammaln, "step": lambda x: float(x > 0),
        "huber": lambda e, s: special.huber(s, e), "surrogate": lambda exact, smooth: exact,
        "conv": lambda image, kernel: signal.correlate2d(image, kernel, "valid"),
    }  # fmt: skip
    return ours.get(name) or getattr(np, name)


def arguments_of(row):
    return POINTS.get(row.name, (0.37, 0.81, 1.2)[: row.arity[0]])


def _shape(value):
    return "".join(f"[{n}]" for n in np.shape(value)).replace("][", ", ")


ROWS = [row for row in FUNCTIONS.values() if row.name not in ("straight_through", "smooth", "choose")]


def call(row):
    """A scenario in which the function is called on params."""
    arguments = arguments_of(row)
    lines = [f"param a{i}{_shape(v)} = {v}" for i, v in enumerate(arguments)]
    if row.name in ("interpolate",):
        lines = [line if i == 0 else line.replace("param", "const") for i, line in enumerate(lines)]
    text = f"{row.name}({', '.join(f'a{i}' for i in range(len(arguments)))})"
    return static(*lines, f"let r{_shape(numpy_function(row.name)(*arguments))} = {text}")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_builtin_value(row):
    assert_allclose(value(call(row), "r"), numpy_function(row.name)(*arguments_of(row)), rtol=1e-13)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_builtin_gradient(row):
    arguments, text = [np.asarray(a, float) for a in arguments_of(row)], call(row)
    found = jax.grad(lambda a: at(text, changes={"a0": a})["r"].sum())(arguments[0])
    function = numpy_function(row.name)
    expected, h = np.zeros_like(arguments[0]), 1e-6
    if row.name == "surrogate":
        assert found == 0
        return
    for index in np.ndindex(arguments[0].shape):
        step = np.zeros_like(arguments[0])
        step[index] = h
        ahead, behind = (np.sum(function(arguments[0] + s, *arguments[1:])) for s in (step, -step))
        expected[index] = (ahead - behind) / (2 * h)
    assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_straight_through():
    text = static("param x = 0.3", "metric y = 5*straight_through(sign(x))")
    assert value(text) == 5
    assert gradient(text, "x") == 5


def test_surrogate():
    text = static("param x = 0.3", "metric y = surrogate(step(x), sigmoid(x))")
    share = 1 / (1 + math.exp(-0.3))
    assert value(text) == 1
    assert gradient(text, "x") == pytest.approx(share * (1 - share))


@pytest.mark.parametrize(
    "hard",
    ["abs(x)", "sign(x)", "step(x)", "relu(x)", "min(x, 0)", "max(0, x, -9)", "clip(x, -3, 0)",
     "if x > 0 then 2 else 1", "if 0 < x < 5 then 2 else 1"],
)  # fmt: skip
def test_smooth(hard):
    text = static("param x = 0", "param width = 0.1", f"metric y = smooth({hard}, width)", f"metric z = {hard}")
    for x in (-2.0, 2.0):
        assert value(text, changes={"x": x}) == pytest.approx(float(value(text, "z", changes={"x": x})), abs=0.01)
    slope = jax.grad(lambda x: at(text, changes={"x": x})["y"])(0.01)
    assert np.isfinite(slope) and slope != 0
    sharp = value(text, changes={"x": 0.5, "width": 1e-6})
    assert sharp == pytest.approx(float(value(text, "z", changes={"x": 0.5})), abs=1e-5)


# ---------------------------------------------------------------- conditionals


@pytest.mark.parametrize(
    "inner",
    ["sqrt(x)", "log(x)", "1/x", "x^0.3", "x^-2", "log10(x)/x", "1/sqrt(x)", "x*log(x)", "atan2(x, x)", "lgamma(x)"],
)
def test_a_branch_not_taken_leaves_no_trace(inner):
    text = static(
        "param x = 0", f"metric y = if x > 0 then {inner} else 3*x", f"metric z = if x <= 0 then 3*x else {inner}"
    )
    for name in ("y", "z"):
        assert value(text, name) == 0
        assert gradient(text, "x", name) == 3
        inside = float(jax.grad(lambda x, name=name: at(text, changes={"x": x})[name])(0.5))
        plain = static("param x = 0.5", f"metric y = {inner}")
        assert inside == pytest.approx(gradient(plain, "x"))


def test_overflow_in_a_branch_not_taken():
    assert gradient(static("param x = 1000", "metric y = if x < 10 then exp(x) else x"), "x") == 1


def test_logic():
    text = static(
        "param x = 2",
        "metric a = if x > 1 and x < 3 then 1 else 0",
        "metric b = if not (x == 2) or x > 5 then 1 else 0",
        "metric c = if 1 < x <= 2 != 7 then 1 else 0",
        "metric d = if true then x else 1/0.5",
    )
    assert [float(value(text, n)) for n in "abcd"] == [1, 0, 1, 2]


# ---------------------------------------------------------------- equations


def test_implicit_derivative():
    text = moving("param m = 2", "param F = 6", "state x = 1", "state v = 5", "x' = v", "m*v' = F*x - v")
    assert value(text, "v'") == 0.5


def test_second_and_third_order():
    text = moving("param m = 2", "state x = 1", "m*x''' = 6*x + x''", "initial(x') = 4", "initial(x'') = 3*x")
    assert [float(value(text, n)) for n in ("x", "x'", "x''", "x'''")] == [1, 4, 3, 4.5]


def test_newton():
    text = static("param p = 10", "let x in 0..5", "x^3 + x = p", "metric y = x²")
    assert value(text) == pytest.approx(4)
    assert gradient(text, "p") == pytest.approx(2 * 2 / (3 * 4 + 1))
    by_hand = (value(text, changes={"p": 10.001}) - value(text, changes={"p": 9.999})) / 0.002
    assert gradient(text, "p") == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("range_, root", [("0..10", 3), ("-10..0", -3), ("0..inf", 3), ("-inf..0", -3), ("0..2*p", 3)])
def test_the_range_of_an_unknown_chooses_its_root(range_, root):
    text = static("param p = 9", f"let z in {range_}", "z² = p", "metric y = z")
    assert value(text) == pytest.approx(root)
    assert gradient(text, "p") == pytest.approx(1 / (2 * root))


def test_newton_with_units():
    text = static("param p: km^2 = 9", "let z: km in 0..10", "z² = p", "metric y: m = z")
    assert value(text) == pytest.approx(3000)


def test_newton_of_two_and_of_an_array():
    text = static("let x in 0..3", "let y in 0..3", "x² + y² = 5", "x*y = 2 + 0*x", "x - y = (x - y)^3", "metric z = x")
    assert codes(text) == {"surplus-equation"}
    text = static("let x in 1.5..3", "let w in 0..1.4", "x² + w² = 5", "x*w = 2", "metric y = x + 10*w")
    assert value(text) == pytest.approx(12)
    text = static("param p[2] = [4, 9]", "let z[2] in 0..10", "z^2 = p", "metric y = z[0] + 10*z[1]")
    assert value(text) == pytest.approx(32)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_linear_systems(n):
    rng = np.random.default_rng(n)
    matrix, right = rng.normal(size=(n, n)).round(3), rng.normal(size=n).round(3)
    equations = [
        " + ".join(f"{matrix[i, j]}*x{j}" for j in range(n)).replace("+ -", "- ") + f" - p = {right[i]}"
        for i in range(n)
    ]
    equations = [e.removeprefix("-") if not e.startswith("-") else "0 " + e for e in equations]
    text = static(
        "param p = 0.5", *(f"let x{j}" for j in range(n)), *equations, *(f"metric y{j} = x{j}" for j in range(n))
    )
    expected = np.linalg.solve(matrix, right + 0.5)
    assert_allclose([value(text, f"y{j}") for j in range(n)], expected, rtol=1e-11)
    slope = np.linalg.solve(matrix, np.ones(n))
    assert_allclose([gradient(text, "p", f"y{j}") for j in range(n)], slope, rtol=1e-10)


def test_a_loop_through_parts():
    text = """
    model Gain { input u; param k = 2; output y = k*u }
    scenario S { part g = Gain(u = e); part h = Gain(u = g.y, k = -3); let e = 1 + h.y; metric y = g.y }
    """
    assert value(text) == pytest.approx(2 / 7)


def test_a_nonlinear_loop_through_lets():
    text = static("let a = cos(b)", "let b = a", "metric y = a")
    assert value(text) == pytest.approx(0.7390851332151607)


def test_linear_circles_of_lets():
    assert value(static("let a = 2*b", "let b = 3 - a", "metric y = a + 10*b")) == 12


def test_unsolvable_circle():
    text = static("let a = b + 1", "let b = c", "let c = a - 1", "metric y = a")
    with pytest.raises(CompileError, match=r"`a` -> `b` -> `c` -> `a`"):
        source(text)
    assert codes(text) == {"unsolvable-cycle"}


def test_an_unknown_that_cancels():
    assert codes(static("let z", "z - z = 1", "metric y = z")) == {"singular-equation"}


# ---------------------------------------------------------------- starts


def test_starts():
    text = moving("param p = 4", "state x = p + 1", "state w = 2", "x' = -x", "w' = x - w", "let y = x*w")
    assert value(text) == 10
    assert gradient(text, "p") == 2
    assert value(text, changes={"w": 7}) == 35


def test_steady_start():
    text = moving("param p = 4", "state x", "x' = p - 2*x", "initial(x') = 0")
    assert value(text, "x") == 2
    assert value(text, "x'") == 0
    text = moving("param p = 8", "state x in 0..5", "x' = p - x^3", "initial(x') = 0")
    assert value(text, "x") == pytest.approx(2)


def test_initial_equation_for_a_rate():
    text = moving("param v0 = 3", "state x = 1", "x'' = -x", "initial(x') = 2*v0", "let y = x'")
    assert value(text) == 6
    assert gradient(text, "v0") == 2
    assert scenarios(moving("state x = 1", "x'' = -x"))["S"].spec.defaults


def test_start_at_another_time():
    text = static("state x = time", "x' = time", "run from 2 for 1")
    assert value(text, "x", time=2.0) == 2
    assert value(text, "x'", time=2.0) == 2


# ---------------------------------------------------------------- derivatives of names


def test_derivatives_of_names():
    text = moving(
        "state x = 2", "state v = 3", "x' = v", "v' = -x",
        "let e = x*v", "let a = e'", "let b = x''", "let c = e''", "let d = sin(x)*time", "let f = d'", "let g = x'*x'",
    )  # fmt: skip
    assert value(text, "a") == 3 * 3 - 2 * 2
    assert value(text, "b") == -2
    assert value(text, "c") == 2 * 3 * -2 + 2 * -2 * 3
    assert value(text, "f", time=0.5) == pytest.approx(math.sin(2) + 0.5 * math.cos(2) * 3)
    assert value(text, "g") == 9


def test_derivatives_of_parts():
    text = "model C { state x = 1; x' = -2*x; output y = x² }\n" + moving(
        "part c = C()", "let a = c.x'", "let b = c.y'", "let d = c.x''"
    )
    assert [float(value(text, n)) for n in "abd"] == [-2, -4, 4]


def test_derivative_beyond_an_implicit_equation():
    text = moving("param m = 2", "state x = 3", "m*x' = -x", "let y = x''")
    assert value(text) == pytest.approx(3 / 4)
    text = moving("state x = 3", "state w = 1", "2*x' + w' = x", "x' - w' = 0*x", "let y = x''")
    assert value(text) == pytest.approx(1 / 3)


def test_derivative_of_an_unknown():
    text = moving("let z in 0..5", "z^3 + z = 10 + 26*time", "let y = z'")
    assert value(text) == pytest.approx(26 / (3 * 4 + 1))


@pytest.mark.parametrize("name", [r.name for r in ROWS if r.smoothness == "smooth" and r.shape == "elementwise"])
def test_time_derivative_of_a_builtin(name):
    row = FUNCTIONS[name]
    if name in ("gamma", "lgamma"):
        return
    arguments = arguments_of(row)
    rest = "".join(f", {a}" for a in arguments[1:])
    text = moving(f"state x = {arguments[0]}", "x' = 2", f"let e = {name}(x{rest})", "let y = e'")
    assert value(text) == pytest.approx(2 * gradient(text, "x", "e"), rel=1e-12)


# ---------------------------------------------------------------- limits, functions


def test_limits():
    text = """
    model M {
      input a limit -2..2; input b limit -1..1 straight_through; input c limit 0..
      output y = a; output z = b; output w = c
    }
    scenario S { param p = 5; part m = M(a = p, b = -p, c = -p); metric y = m.y; metric z = m.z; metric w = m.w }
    """
    assert [float(value(text, n)) for n in "yzw"] == [2, -1, 0]
    assert [gradient(text, "p", n) for n in "yzw"] == [0, -1, 0]


def test_functions():
    text = "fn f(z) = max(z, 0)²\nfn g(z, w) = f(z) + 10*f(w)\n" + static(
        "param q = 3", "metric y = g(q, w = 2) + f(z = -q)"
    )
    assert value(text) == 49
    assert gradient(text, "q") == 6


def test_function_reads_its_own_file_scope():
    assert value("const k = 2\nfn f(z) = k*z\n" + static("const z = 5", "metric y = f(z + 1)")) == 12


# ---------------------------------------------------------------- arrays


def test_arrays():
    text = moving(
        "const n = 3", "const w[n] = [1, 2, 3]", "param A[2, 3] = [[1, 2, 3], [4, 5, 6]]",
        "state T[3] = 300", "state q[n] = [1, 2, 4]", "let s[n] = q*w + T", "let e = sum(T)", "let d = dot(q, w)",
        "let m = mean(q)", "let l = norm(w)", "let i = q[1]", "let j = sum(q[0..1])", "let b[2] = A @ q",
        "let t[3, 2] = transpose(A)", "let r[2] = q[1..2]", "let o = A[1, 0]*w[2]", "let k = max(q)",
        "let g = sum(A[1, 1..2])", "T' = -T + q", "q' = 2*w", "let h[n] = T'", "let v = e'",
    )  # fmt: skip
    found, q, w, t = at(text), np.array([1, 2, 4.0]), np.array([1, 2, 3.0]), np.full(3, 300.0)
    a = np.array([[1, 2, 3], [4, 5, 6.0]])
    expected = {
        "s": q * w + t, "e": 900, "d": q @ w, "m": q.mean(), "l": np.sqrt(14), "i": 2, "j": 3, "b": a @ q, "t": a.T,
        "r": q[1:], "o": 12, "k": 4, "g": 11, "T'": q - t, "q'": 2 * w, "h": q - t, "v": np.sum(q - t),
    }  # fmt: skip
    for name, wanted in expected.items():
        assert_allclose(found[name], wanted, err_msg=name)


def test_arrays_in_implicit_equations():
    text = moving("state T[3] = [1, 2, 3]", "param c = 2", "c*T' = -T")
    assert_allclose(value(text, "T'"), [-0.5, -1, -1.5])
    text = static(
        "param p[2] = [4, 9]", "let z[2]", "let w[2]", "z + w = p", "z - w = 2*p", "metric y = z[0] + 10*w[1]"
    )
    assert value(text) == 6 - 45
    text = static("let a[2]", "let b[2]", "a^2 + b = 3", "b^2 - a = 0", "metric y = a[0]")
    assert codes(text) == {"not-supported"}
    text = static(
        "param A[2, 2] = [[1, 2], [3, 5]]", "param p[2] = [4, 9]", "let z[2]", "A @ z = p", "metric y = z[0] + 10*z[1]"
    )
    assert value(text) == pytest.approx(-2 + 30)


def test_one_number_for_every_element():
    assert_allclose(value(moving("state T[2]", "T' = 3 - T", "initial(T') = 0"), "T"), [3, 3])
    assert_allclose(value(moving("given g = 2", "state T[2] = g", "T' = -T"), "T'"), [-2, -2])
    assert_allclose(value(static("let a[2]", "let b", "a + b = 3", "b - 1 = 0", "let c = a[0]"), "a"), [2, 2])
    assert codes(static("let z[2]", "sum(z) = 3", "metric y = z[0]")) <= {"wrong-shape", "singular-equation"}


def test_array_ports_of_a_network():
    text = "network f(q[3] in -1..1, a) -> (y[2], z in 0..1) { hidden 4 }\n" + static(
        "const q[3] = [1, 2, 3]", "let o = f(q, 2)", "let u[2] = o.y", "metric y = sum(u) + o.z - f(a = 2, q = q).z"
    )
    assert value(text) == pytest.approx(float(np.sum(value(text, "u"))))


# ---------------------------------------------------------------- parts, scenarios, params


def test_like():
    text = """
    model C { param k = 1; input u; output y = k*u }
    scenario A { part c = C(u = g); given g = 3; metric e = c.y; metric y = e² + e }
    scenario B like A { c.k = 5; given g = 4; metric z = y + 1 }
    """
    assert value(text, scenario="A") == 12
    assert value(text, "z", scenario="B") == 421


def test_params():
    text = """
    param k = 2
    model M { param a; param b = 2; output y = k*a*b }
    scenario S { param q = 3; part m = M(a = 2*q); part n = M(a = 4, b = m.y); metric y = m.y; metric z = n.y }
    """
    assert value(text) == 24
    assert value(text, "z") == 2 * 4 * 24
    assert gradient(text, "k", "z") == 2 * 2 * 4 * 12
    assert gradient(text, "q", "z") == 64


def test_networks_of_parts_are_their_own():
    text = """
    network shared(a) -> b { hidden 3 }
    model M { input u; network own(a) -> b { hidden 3 }; output y = own(u); output z = shared(u) }
    scenario S { part m = M(u = 1); part n = M(u = 1); metric y = m.y - n.y; metric z = m.z - n.z }
    """
    assert value(text, "z") == 0
    assert value(text) != 0
    assert {n.name for n in scenarios(text)["S"].spec.networks} == {"m.own", "n.own", "shared"}


def test_a_network_in_an_equation():
    text = "network f(x in 0..1) -> y { hidden 4; start zero }\n" + moving("state x = 0.5", "x' = -x + f(x)")
    assert value(text, "x'") == -0.5


def test_inputs_may_depend_on_time():
    text = "model M { input u; state x = 0; x' = u - x }\n" + moving("part m = M(u = sin(2*time))")
    assert value(text, "m.x'", time=0.3) == pytest.approx(math.sin(0.6))


def test_metrics_read_metrics_in_any_order():
    assert value(static("param p = 3", "metric y = 2*z + w", "metric w = z²", "metric z = p + 1")) == 24


# ---------------------------------------------------------------- clocks


CLOCKS = """
model Plant every 10 [ms] { input u; state x = 1; next x = x + 1 [1/s]*period*(u - x); output y = x + 0 }
controller Fast every 20 [ms] { input e; state n = 0; next n = n + 1 [1/s]*period; output u = 2*e + n }
controller Slow every 50 [ms] { input y; part inner = Fast(e = y); output r = 3*inner.u }
scenario S { part p = Plant(u = f.u); part f = Fast(e = s.r - p.y); part s = Slow(y = p.y); run for 1 [s] }
"""


def test_clocks():
    found = at(CLOCKS)
    assert found["s.inner.u"] == 2
    assert found["s.r"] == 6
    assert found["f.u"] == 10
    assert found["next p.x"] == pytest.approx(1.09)
    assert found["next f.n"] == pytest.approx(0.02)
    spec = scenarios(CLOCKS)["S"].spec
    assert spec.run.base == 0.01
    assert sorted(c.every for c in spec.clocks) == [1, 2, 2, 5, 5]


def test_a_sampled_copy_holds_its_value():
    text = """
    model P { input u; state x = 1; x' = u - x }
    controller C every 0.1 { input y; output u = 2*y }
    scenario S { part p = P(u = c.u); part c = C(y = p.x); run for 1 }
    """
    spec = scenarios(text)["S"].spec
    assert [o for o in at(text).items() if o[0] == "p.x'"] == [("p.x'", 1.0)]
    c = spec.fixed(scenarios(text)["S"].values_si())
    rates, _ = spec.rhs(0.05, (5.0,), (), (1.0, 2.0), c)  # the state has moved on, what is held has not
    assert rates == (-3.0,)


# ---------------------------------------------------------------- the generated module


def test_the_same_bytes_in_every_process():
    script = (
        "import sys, hashlib\nfrom dpl import language\nfrom dpl.compiler.driver import compile_model\n"
        "for f in sys.argv[1:]: print(hashlib.sha256(compile_model(language.load(f)).source.encode()).hexdigest())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script, *map(str, FILES)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=True, cwd=ROOT,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(outputs) == 1


def test_nothing_of_the_text_but_literals():
    text = static("param ξ_exec = 1", "metric y = ξ_exec", "metric import_os = 2*y")
    tree = ast.parse(source(text))
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {
        n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)
    }
    assert all(n.isascii() and not n.startswith("__") for n in names)
    comments = [line.split("#", 1)[1] for line in source(text).splitlines() if "#" in line]
    assert comments and all(re.fullmatch(r" (-+ scenario \w+|test\.dpl:\d+)", c) for c in comments)


def test_hostile_docstrings_and_names_of_files():
    text = '"""quote \' \\" back\\\\ end"""\nscenario S { param p = 1; metric y = p }'
    made = compile_model(language.load_text(Source('a"""\nimport os\n#.dpl', text))).source
    assert not any(isinstance(n, ast.Import) for n in ast.walk(ast.parse(made)))
