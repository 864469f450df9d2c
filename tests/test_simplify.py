"""Laws of the algebra: what is simplified has the same value, costs no more, and does not depend on chance."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpl import language
from dpl.compiler import ir
from dpl.compiler.algebra import sp, symbol
from dpl.compiler.driver import compile_model
from dpl.compiler.elimination import Factors, Saddle
from dpl.compiler.fourier import Fourier
from dpl.compiler.operations import cost, multiplications
from dpl.compiler.simplify import share
from dpl.compiler.trigonometry import unfolded
from dpl.language.source import Source
from tests.compiled import at, scenarios, source

X = x, y, z = symbol("x"), symbol("y"), symbol("z")
EPSILON = 2.0**-53
quarters = st.integers(-24, 24).map(lambda n: sp.Rational(n, 4))


def worth(exprs, values, number=float):
    """Expressions at a point, operation by operation in the arithmetic of `number`."""
    module = math if number is float else mpmath

    def value(e):
        if e.is_Symbol:
            return values[e]
        if e.is_Rational:
            return number(int(e.p)) / number(int(e.q))
        args = [value(a) for a in e.args]
        if isinstance(e, sp.Add):
            return sum(args[1:], args[0])
        if isinstance(e, sp.Mul):
            return math.prod(args[1:], start=args[0])
        if isinstance(e, sp.Pow):
            return power(args[0], e.exp, args[1])
        return getattr(module, type(e).__name__)(*args)

    def power(base, exact, exponent):
        if exact == sp.Rational(1, 2):
            return module.sqrt(base)
        return (
            base ** int(exact)
            if exact.is_Integer and exact > 0
            else number(1) / value_of(base, -exact)
            if (exact < 0)
            else base**exponent
        )

    def value_of(base, exact):
        return power(base, exact, number(int(exact.p)) / number(int(exact.q)))

    return [value(e) for e in exprs]


def shared(exprs, values, number=float):
    """The same after equal parts were shared."""
    body, returns = share([], list(exprs))
    known = dict(values)
    for s in body:
        known[s.target] = worth([s.value], known, number)[0]
    return worth(returns, known, number)


def shared_cost(exprs):
    body, returns = share([], list(exprs))
    return cost([*(e for s in body for e in ir.expressions(s)), *returns])


def points(count, low=0.1, high=3.0):
    rng = np.random.default_rng(0)
    return [{s: float(v) for s, v in zip(X, rng.uniform(low, high, 3), strict=True)} for _ in range(count)]


def assert_as_exact(exprs, least=1e-14, sizes=None):
    """Rounding takes no more from what is shared than 1e-14, relative to the values (or to `sizes`)."""
    for values in points(5):
        with mpmath.workdps(40):
            exact = worth(exprs, {s: mpmath.mpf(v) for s, v in values.items()}, mpmath.mpf)
        for found, true, size in zip(shared(exprs, values), exact, sizes or exact, strict=True):
            assert abs(found - true) <= least * abs(size), (exprs, found, true)


# ---------------------------------------------------------------- powers and divisions


@given(st.lists(quarters, min_size=1, max_size=5), st.sampled_from([x, x + y, x * y]))
@settings(max_examples=80)
def test_powers_of_a_base_keep_their_value_and_cost_no_more(exponents, base):
    exprs = [z * sp.Pow(base, e) for e in exponents]
    assert_as_exact(exprs)
    assert shared_cost(exprs) <= cost(exprs)


@pytest.mark.parametrize(
    ("exprs", "operations"),
    [
        ([x**2, x**4], 2),
        ([x**2, x**3, x**4], 3),
        ([x**8], 3),
        ([x ** sp.Rational(3, 2)], 5),
        ([x ** sp.Rational(5, 2)], 6),
        ([sp.sqrt(x), x ** sp.Rational(3, 2)], 5),
        ([1 / x, x**-2, x**-3], 6),
        ([x**2, x**-2], 5),
        ([y / x, z / x], 6),
        ([y / (x + 1), z / (x + 1)], 7),
    ],
)
def test_powers_take_so_many_operations(exprs, operations):
    assert shared_cost(exprs) == operations


def test_a_reciprocal_is_shared_only_where_it_saves_a_division():
    exprs = [x / (y * z), z / (y * (x + 1))]
    assert share([], exprs) == ([], exprs)


@given(st.integers(1, 64))
def test_repeated_squaring(n):
    def least(n):
        return 0 if n == 1 else least(n // 2) + 1 + n % 2

    assert multiplications(n) == least(n)


@pytest.mark.parametrize("exponent", ["0.5", "1.5", "2.5", "-0.5", "-2", "0.25", "0.75"])
def test_roots_and_powers_in_a_program(exponent):
    e = float(exponent)
    text = f"scenario S {{ param a = 2; let b = a + 1; metric p = b^({exponent}) + b^2; metric q = a^({exponent}) }}"
    found = at(text)
    assert float(found["p"]) == pytest.approx(3**e + 9, rel=1e-14)
    assert float(found["q"]) == pytest.approx(2**e, rel=1e-14)
    if e > 1:
        zero = at(text, changes={"a": 0.0})
        assert float(zero["q"]) == 0


# ---------------------------------------------------------------- sines and cosines

ANGLES = (x, y, x + y, x - y, x + y + z, 2 * x, 3 * x, x / 2, 2 * x + y, 4 * x)


@given(st.lists(st.sampled_from([f(e) for f in (sp.sin, sp.cos) for e in ANGLES]), min_size=1, max_size=6))
@settings(max_examples=60)
def test_angles_taken_apart_keep_their_value_and_cost_no_more(calls):
    assert_as_exact(calls, sizes=[1.0] * len(calls))
    assert shared_cost(calls) <= cost(set(calls))
    assert [*map(str, unfolded(calls))] == [*map(str, unfolded(calls))]


@pytest.mark.parametrize(
    ("calls", "angles"),
    [
        ([sp.sin(x), sp.cos(y), sp.sin(x + y)], {x, y}),
        ([sp.sin(x), sp.cos(2 * x)], {x}),
        ([sp.sin(x), sp.sin(x / 2)], {x / 2}),
        ([sp.sin(x), sp.cos(3 * x), sp.sin(2 * x)], {x}),
        ([f(e) for f in (sp.sin, sp.cos) for e in (x, y, 2 * x + y)], {x, y}),
        ([sp.sin(x + y)], {x + y}),
        ([sp.sin(2 * x)], {2 * x}),
    ],
)
def test_angles_that_are_left(calls, angles):
    assert {c.args[0] for e in unfolded(calls) for c in e.atoms(sp.sin, sp.cos)} == angles


def test_an_angle_that_is_fixed_costs_nothing_during_a_run():
    text = """scenario S {
      param φ = 2.1
      state x: rad = 0; state a = 0; state b = 0
      x' = 5 [rad/s]; a' = 1 [1/s]*sin(x) + 1 [1/s]*sin(x + φ); b' = 1 [1/s]*sin(x - φ)
      run for 1 [s]
    }"""
    rhs = source(text).split("_rhs(")[1].split("\ndef ")[0]
    assert rhs.count("dpl.sin(") == 1 and rhs.count("dpl.cos(") == 1
    rates = at(text, changes={"x": 0.3})
    assert float(rates["a'"]) == pytest.approx(math.sin(0.3) + math.sin(2.4), abs=1e-15)
    assert float(rates["b'"]) == pytest.approx(math.sin(0.3 - 2.1), abs=1e-15)


# ---------------------------------------------------------------- sums and products


@st.composite
def expressions(draw, depth=3):
    if depth == 0:
        return draw(st.sampled_from([x, y, z, sp.Integer(2), sp.Rational(1, 3)]))
    a, b = draw(expressions(depth=depth - 1)), draw(expressions(depth=depth - 1))
    make = draw(st.sampled_from(["+", "*", "/", "power", "sin", "leaf"]))
    match make:
        case "+":
            return a + b
        case "*":
            return a * b
        case "/":
            return a / (1 + b**2)
        case "power":
            return sp.sqrt(1 + a**2) ** draw(st.integers(1, 3))
        case "sin":
            return sp.cos(a)
        case _:
            return a


@given(st.lists(expressions(), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_shared_expressions_are_as_accurate_as_written(exprs):
    exprs = [sp.sympify(e) for e in exprs]
    for values in points(2):
        with mpmath.workdps(40):
            exact = worth(exprs, {s: mpmath.mpf(v) for s, v in values.items()}, mpmath.mpf)
        plain = worth(exprs, values)
        for found, true, written in zip(shared(exprs, values), exact, plain, strict=True):
            assert abs(found - true) <= 1e-14 * max(1.0, abs(true)) + 4 * abs(written - true)


@given(st.lists(expressions(), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_sharing_costs_no_more_and_has_one_result(exprs):
    exprs = [sp.sympify(e) for e in exprs]
    assert shared_cost(exprs) <= cost(exprs)
    assert repr(share([], exprs)) == repr(share([], exprs))


def test_perfect_squares_are_written_as_squares():
    fourier = Fourier(lambda _: False)
    assert fourier.canonical(x**2 + 4 * x * y + 4 * y**2) == (x + 2 * y) ** 2
    assert fourier.canonical(4 * x**2 - 4 * x * z + z**2) in ((2 * x - z) ** 2, (z - 2 * x) ** 2)
    assert fourier.canonical(x**2 + x * y + y**2) == x**2 + x * y + y**2


# ---------------------------------------------------------------- linear systems


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("held", [0, 1])
def test_a_system_in_sums_of_unknowns_has_the_same_solution(count, held):
    """A mass matrix as a chain of relative angles has it: fixed numbers besides what moves."""
    moving = [[symbol(f"m{min(i, j)}{max(i, j)}") for j in range(count)] for i in range(count)]
    absolute = sp.Matrix(count, count, lambda i, j: moving[i][j] if i != j else sp.Integer(10 + i))
    change = sp.Matrix(count, count, lambda i, j: 1 if j <= i else 0)
    mass = (change.T * absolute * change).expand()
    slopes = {(0, j): symbol(f"g{j}") for j in range(count)} if held else {}
    upper = {(i, j): mass[i, j] for i in range(count) for j in range(i, count)}
    saddle = Saddle(upper, slopes, count, held)
    right = [symbol(f"f{i}") for i in range(count + held)]
    unknowns = [symbol(f"a{i}") for i in range(count + held)]
    fixed = lambda e: not e.free_symbols  # noqa: E731
    factors = Factors(saddle, [u.name for u in unknowns], fixed, tidy=sp.expand)
    assert factors.shifts
    rng = np.random.default_rng(count)
    values = {s: float(v) for s, v in zip(sorted(free(saddle, right), key=str), rng.uniform(-1, 1, 99), strict=False)}
    full = np.array([[float(e.subs(values)) for e in row] for row in saddle.rows()])
    expected = np.linalg.solve(full, [values[r] for r in right])
    known = dict(values)
    for target, value in [*factors.definitions, *factors.solved(right, unknowns)]:
        known[target] = worth([sp.sympify(value)], known)[0]
    assert [known[u] for u in unknowns] == pytest.approx(list(expected), rel=1e-12, abs=1e-12)


def free(saddle, right):
    return {s for row in saddle.rows() for e in row for s in sp.sympify(e).free_symbols} | set(right)


def chain(count, relative):
    """Masses on rods, with the angle of each from the vertical or from the rod before."""
    lines = ["param m: kg = 1; param l: m = 0.5; const g = 9.81 [m/s^2]"]
    for i in range(count):
        angle = " + ".join(f"q{j}" for j in range(i + 1)) if relative else f"q{i}"
        before = (f"x{i - 1} + ", f"y{i - 1} ") if i else ("", "")
        lines.append(f"state q{i}: rad = {0.3 + 0.2 * i:g}")
        lines.append(f"let x{i} = {before[0]}l*sin({angle}); let y{i} = {before[1]}-l*cos({angle})")
    energy = " + ".join(f"½*m*(x{i}'² + y{i}'²) - m*g*y{i}" for i in range(count))
    return "scenario S {\n" + "\n".join([*lines, f"lagrangian {energy}", "run for 1 [s]"]) + "\n}"


def rhs_cost(text):
    (scenario,) = compile_model(language.load_text(Source("test.dpl", text))).scenarios
    function = scenario.functions["rhs"]
    return cost([*(e for s in function.body for e in ir.expressions(s)), *ir.leaves(function.returns)])


def test_relative_angles_take_as_many_operations_as_absolute_ones():
    assert rhs_cost(chain(3, True)) <= rhs_cost(chain(3, False)) + 6


def test_relative_angles_move_as_absolute_ones():
    relative = at(chain(3, True))
    angles = np.cumsum([0.3, 0.5, 0.7])
    absolute = at(chain(3, False), changes={f"q{i}": float(a) for i, a in enumerate(angles)})
    found = np.cumsum([float(relative[f"q{i}''"]) for i in range(3)])
    assert found == pytest.approx([float(absolute[f"q{i}''"]) for i in range(3)], rel=1e-12)
    assert len(scenarios(chain(3, True))) == 1
