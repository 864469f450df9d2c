"""Lagrange's equations against derivations by others, and the laws that mechanics and linear algebra give."""

import math
from itertools import permutations
from random import Random

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy.physics.mechanics import LagrangesMethod, dynamicsymbols

from dpl.compiler import ir, lagrange
from dpl.compiler.elimination import Factors, Saddle
from dpl.compiler.fourier import Fourier
from dpl.compiler.start import beginning
from dpl.compiler.timing import timing
from dpl.compiler.trigonometry import unfolded
from dpl.language.diagnostics import CompileError
from tests.mechanics import TREBUCHET, Motion, evaluated, run

CART = """
param M = 1; param m = 0.1; param l = 0.5; param g = 9.8; param push = 3
state x = 0; state θ = 0.1
let px = x + l*sin(θ); let py = l*cos(θ)
lagrangian ½*M*x'² + ½*m*(px'² + py'²) + ½*(m*l²/3)*θ'² - m*g*py
applied x = push
"""
ROD = """
param m = 2; param l = 1.5; const g = 9.81
state x = 0; state y = -1
lagrangian ½*m*(x'² + y'²) - m*g*y
constraint rod: x² + y² = l²
"""
SPHERE = """
param m = 2; param l = 1.5; const g = 9.81; param c = 0.3
state θ = 1; state φ = 0
let x = l*sin(θ)*cos(φ); let y = l*sin(θ)*sin(φ); let z = -l*cos(θ)
lagrangian ½*m*(x'² + y'² + z'²) - m*g*z
applied φ = -c*φ'; applied θ = c*time - c*θ'
"""


SLIDING = TREBUCHET + "constraint ground: py = -pivot"


def chain(n):
    """n links, each angle from the one before it."""
    lines = ["const g = 9.81"]
    for i in range(1, n + 1):
        angles = [" + ".join(f"q{k}" for k in range(1, j + 1)) for j in range(1, i + 1)]
        lines += [f"param m{i} = {1 / i}; param l{i} = 1; state q{i} = 0.1"]
        lines += [f"let x{i} = " + " + ".join(f"l{j}*sin({a})" for j, a in enumerate(angles, 1))]
        lines += [f"let y{i} = -(" + " + ".join(f"l{j}*cos({a})" for j, a in enumerate(angles, 1)) + ")"]
    energies = [f"½*m{i}*(x{i}'² + y{i}'²) - m{i}*g*y{i}" for i in range(1, n + 1)]
    return "\n".join([*lines, "lagrangian " + " + ".join(energies)])


CONSTS = {"g": 9.81}


def point(motion, random, **known):
    """Random values of params, coordinates and rates."""
    values = {v.path: random.uniform(0.5, 1.5) for v in motion.causal.system.variables if v.kind == "param"}
    for q in motion.coordinates:
        values |= {q: random.uniform(-2, 2), f"d{q}": random.uniform(-2, 2)}
    return {"time": random.uniform(0, 3), **values, **known}


def accelerations(motion, values):
    found = motion(**values)
    return np.array([found[f"{q}''"] for q in motion.coordinates])


# ---------------------------------------------------------------- against other derivations


def by_sympy(lagrangian, coordinates):
    """The accelerations by SymPy's own mechanics, as a function of a dict of values."""
    t = dynamicsymbols._t
    q = {name: dynamicsymbols(name) for name in coordinates}
    rates = {name: x.diff(t) for name, x in q.items()}
    value, work = lagrangian(q, rates, t)
    method = LagrangesMethod(value, list(q.values()))
    method.form_lagranges_equations()
    rate_names = {x: sp.Symbol(f"d{name}") for name, x in rates.items()}
    names = {x: sp.Symbol(name) for name, x in q.items()}
    mass, right = (m.xreplace(rate_names).xreplace(names) for m in (method.mass_matrix, method.forcing))
    push = sp.Matrix([work.get(n, 0) for n in coordinates])
    symbols = sorted((mass.free_symbols | right.free_symbols | push.free_symbols), key=str)
    both = sp.lambdify(symbols, (mass, right + push), "numpy", dummify=True)

    def function(values):
        m, f = both(*(values["time" if str(s) == "t" else str(s)] for s in symbols))
        return np.linalg.solve(np.array(m, float), np.array(f, float).ravel())

    return function


def s(names):
    return sp.symbols(names)


def spherical(q, v, t):
    m, length, g, c = s("m l g c")
    θ = q["θ"]
    value = m * length**2 * (v["θ"] ** 2 + sp.sin(θ) ** 2 * v["φ"] ** 2) / 2 + m * g * length * sp.cos(θ)
    return value, {"φ": -c * sp.Symbol("dφ"), "θ": c * sp.Symbol("time") - c * sp.Symbol("dθ")}


def driven(q, v, t):
    m, length, a, w, g = s("m l a w g")
    x, y = a * sp.sin(w * t) + length * sp.sin(q["θ"]), -length * sp.cos(q["θ"])
    return m * (x.diff(t) ** 2 + y.diff(t) ** 2) / 2 - m * g * y, {}


def links(n):
    def value(q, v, t):
        total = 0
        x = y = angle = 0
        for i in range(1, n + 1):
            m, length = s(f"m{i} l{i}")
            angle += q[f"q{i}"]
            x, y = x + length * sp.sin(angle), y - length * sp.cos(angle)
            total += m * (x.diff(t) ** 2 + y.diff(t) ** 2) / 2 - m * s("g") * y
        return total, {}

    return value


DRIVEN = """
param m = 1; param l = 1; param a = 0.3; param w = 5; const g = 9.81
state θ = 0.1
let pivot = a*sin(w*time)
let x = pivot + l*sin(θ); let y = -l*cos(θ)
lagrangian ½*m*(x'² + y'²) - m*g*y
"""


@pytest.mark.parametrize(
    ("text", "theirs"),
    [(SPHERE, spherical), (DRIVEN, driven), (chain(2), links(2)), (chain(3), links(3))],
    ids=["spherical", "driven", "double", "triple"],
)
def test_sympys_own_mechanics_gives_the_same_accelerations(text, theirs):
    motion = Motion(text)
    other, random = by_sympy(theirs, motion.coordinates), Random(2)
    for _ in range(5):
        values = point(motion, random, **CONSTS)
        expected = other(values)
        assert accelerations(motion, values) == pytest.approx(expected, rel=1e-10, abs=1e-10 * max(abs(expected)))


def test_the_cart_pole_is_gymnasiums():
    """Barto, Sutton and Anderson (1983) as corrected by Florian (2007), the equations of CartPole-v1."""
    motion, random = Motion(CART), Random(3)
    for _ in range(5):
        v = point(motion, random)
        total, sine, cosine = v["M"] + v["m"], math.sin(v["θ"]), math.cos(v["θ"])
        temp = (v["push"] + v["m"] * v["l"] * v["dθ"] ** 2 * sine) / total
        angular = (v["g"] * sine - cosine * temp) / (v["l"] * (4 / 3 - v["m"] * cosine**2 / total))
        linear = temp - v["m"] * v["l"] * angular * cosine / total
        assert accelerations(motion, v) == pytest.approx([linear, angular], rel=1e-12)


def test_the_trebuchet_is_the_one_simplified_by_hand():
    """Its swing: the Schur complement of the arrow-shaped mass matrix, written out by an expert."""
    motion, random = Motion(TREBUCHET), Random(4)
    for _ in range(5):
        v = point(motion, random, **CONSTS)
        assert accelerations(motion, v) == pytest.approx(hand_swing(v, motion(**v)["Ib"]), rel=1e-11)


def hand_swing(v, beam_inertia):
    sin, cos, g = math.sin, math.cos, v["g"]
    b, c, d, e, m, w, iw = (v[n] for n in ("arm", "short", "hang", "sling", "ball", "weight", "Iw"))
    centre = (b - c) / 2
    A, W, S, a2, V, U = v["A"], v["W"], v["S"], v["dA"] ** 2, v["dA"] + v["dW"], v["dA"] + v["dS"]
    m11 = beam_inertia + iw + v["beam"] * centre**2
    m11 += m * (b**2 + e**2 + 2 * b * e * cos(S)) + w * (c**2 + d**2 + 2 * c * d * cos(W))
    m12, m13 = iw + d * w * (d + c * cos(W)), e * m * (e + b * cos(S))
    m22, m33 = iw + w * d**2, m * e**2
    r1 = g * centre * v["beam"] * sin(A) + g * m * (b * sin(A) + e * sin(A + S)) - b * e * m * sin(S) * (a2 - U**2)
    r1 -= w * (g * (c * sin(A) + d * sin(A + W)) + c * d * sin(W) * (a2 - V**2))
    r2, r3 = -d * w * (g * sin(A + W) + c * sin(W) * a2), e * m * (g * sin(A + S) - b * sin(S) * a2)
    first = (r1 - m12 / m22 * r2 - m13 / m33 * r3) / (m11 - m12**2 / m22 - m13**2 / m33)
    return first, (r2 - m12 * first) / m22, (r3 - m13 * first) / m33


def on_the_ground(v):
    """Values with the sling on the ground, at a rate that keeps it there."""
    b, e = v["arm"], v["sling"]
    cosine = (-v["pivot"] - b * math.cos(v["A"])) / e
    if abs(cosine) > 0.9:
        return None
    angle = math.acos(cosine)
    rate = -b * math.sin(v["A"]) * v["dA"] / (e * math.sin(angle)) - v["dA"]
    return v | {"S": angle - v["A"], "dS": rate}


def test_the_force_of_the_ground_is_that_of_the_string():
    """The projectile obeys Newton: what the ground and the string give is its mass times its acceleration."""
    motion, random, met = Motion(SLIDING), Random(5), 0
    while met < 3:
        v = on_the_ground(point(motion, random, **CONSTS))
        if v is None:
            continue
        met, found = met + 1, motion(**v)
        b, e, B, U = v["arm"], v["sling"], v["A"] + v["S"], v["dA"] + v["dS"]
        a = [found["A''"], found["A''"] + found["S''"]]
        ax = -e * (a[1] * math.cos(B) - U**2 * math.sin(B)) - b * (
            a[0] * math.cos(v["A"]) - v["dA"] ** 2 * math.sin(v["A"])
        )
        ay = -e * (a[1] * math.sin(B) + U**2 * math.cos(B)) - b * (
            a[0] * math.sin(v["A"]) + v["dA"] ** 2 * math.cos(v["A"])
        )
        assert ay == pytest.approx(0, abs=1e-10 * abs(ax))
        # The string pulls along itself: horizontally with m ax, so vertically with m ax cot B
        assert found["ground.force"] == pytest.approx(v["ball"] * (v["g"] + ax * math.cos(B) / math.sin(B)), rel=1e-9)


def test_a_rod_in_cartesian_coordinates_is_a_pendulum():
    motion, random = Motion(ROD), Random(6)
    for _ in range(5):
        v = point(motion, random, **CONSTS)
        θ, rate, r = random.uniform(-3, 3), random.uniform(-2, 2), v["l"]
        v |= {"x": r * math.sin(θ), "y": -r * math.cos(θ), "dx": r * math.cos(θ) * rate, "dy": r * math.sin(θ) * rate}
        found, angular = motion(**v), -9.81 / r * math.sin(θ)
        expected = (math.cos(θ) * angular - math.sin(θ) * rate**2, math.sin(θ) * angular + math.cos(θ) * rate**2)
        assert (found["x''"], found["y''"]) == pytest.approx([r * a for a in expected], rel=1e-11)
        # 2 r λ is the pull of the rod, inwards where λ is negative
        assert -2 * r * found["rod.force"] == pytest.approx(v["m"] * (r * rate**2 + 9.81 * math.cos(θ)), rel=1e-11)


# ---------------------------------------------------------------- laws of mechanics


def travelled(motion, values, duration, steps, project=False):
    """The values at the end of classical Runge-Kutta steps."""
    names = [*motion.coordinates, *(f"d{q}" for q in motion.coordinates)]
    wanted = [*(f"{q}'" for q in motion.coordinates), *(f"{q}''" for q in motion.coordinates)]
    h = duration / steps

    def rates(t, x):
        found = motion(**{**values, "time": t, **dict(zip(names, x, strict=True))})
        return np.array([found[n] for n in wanted])

    x, t = np.array([values[n] for n in names]), 0.0
    for _ in range(steps):
        k1 = rates(t, x)
        k2 = rates(t + h / 2, x + h / 2 * k1)
        k3 = rates(t + h / 2, x + h / 2 * k2)
        k4 = rates(t + h, x + h * k3)
        x, t = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), t + h
        if project:
            moved = motion.project(**{**values, "time": t, **dict(zip(names, x, strict=True))})
            x = np.array([moved[q] for q in motion.coordinates] + [moved[f"{q}'"] for q in motion.coordinates])
    return {**values, "time": t, **dict(zip(names, x, strict=True))}


def test_energy_is_kept_to_the_order_of_the_method():
    motion = Motion(chain(4))
    values = point(motion, Random(7), **CONSTS)
    before = motion(**values)["energy"]
    errors = [abs(motion(**travelled(motion, values, 0.2, n))["energy"] - before) for n in (10, 20, 40)]
    assert errors[0] > 8 * errors[1] > 64 * errors[2]


@pytest.mark.parametrize(
    ("text", "power"),
    [(SPHERE, lambda v: -v["c"] * (v["dφ"] ** 2 + v["dθ"] ** 2)), (CART, lambda v: v["push"] * v["dx"])],
)
def test_energy_changes_by_the_power_of_what_is_applied(text, power):
    motion, h = Motion(text), 1e-5
    v = point(motion, Random(8), **CONSTS) | {"time": 0.0}
    ends = [motion(**travelled(motion, v, sign * h, 1))["energy"] for sign in (-1, 1)]
    assert (ends[1] - ends[0]) / (2 * h) == pytest.approx(power(v), rel=1e-7, abs=1e-8)


def test_projection_keeps_what_drifts():
    motion = Motion(ROD)
    start = {"m": 2.0, "l": 1.0, "g": 9.81, "time": 0.0, "x": 0.6, "y": -0.8, "dx": 1.6, "dy": 1.2}

    def off(v):
        return abs(v["x"] ** 2 + v["y"] ** 2 - 1) + abs(v["x"] * v["dx"] + v["y"] * v["dy"])

    drifted, kept = (travelled(motion, start, 2.0, 60, project) for project in (False, True))
    assert off(drifted) > 1e-6 > 1e-8 > off(kept)
    energies = [motion(**v)["energy"] for v in (start, kept)]
    assert energies[1] == pytest.approx(energies[0], rel=1e-4)


def test_projection_is_newtons_and_gives_momentum_along_the_constraint_only():
    motion = Motion(SLIDING)
    random = Random(9)
    v = next(found for _ in range(99) if (found := on_the_ground(point(motion, random, **CONSTS))))
    drift = [1e-2, 1e-3]
    left = []
    for size in drift:
        away = v | {"S": v["S"] + size, "dS": v["dS"] + size}
        moved = motion.project(**away)
        new = {**away, **{q: moved[q] for q in "AWS"}, **{f"d{q}": moved[f"{q}'"] for q in "AWS"}}
        left.append(abs(motion(**new)["py"] + v["pivot"]))
        again = motion.project(**new)
        assert [again[f"{q}'"] for q in "AWS"] == pytest.approx([moved[f"{q}'"] for q in "AWS"], abs=30 * size**2)
        # momentum given: M Δq' is along the slopes of the constraint, of which that of W is 0
        mass = momentum(motion, new)
        given_ = mass @ np.array([moved[f"{q}'"] - away[f"d{q}"] for q in "AWS"])
        b, e = v["arm"], v["sling"]
        both = e * math.sin(new["A"] + new["S"])
        slopes = np.array([-b * math.sin(new["A"]) - both, 0, -both])
        assert np.cross(given_, slopes) == pytest.approx([0, 0, 0], abs=1e-12 * np.linalg.norm(given_))
    assert left[0] > 50 * left[1] > 0  # squares: ten times as near is a hundred times as good


def momentum(motion, v):
    """The mass matrix of the trebuchet by second differences of its energy, which is quadratic in the rates."""

    def energy(*rates):
        return motion(**{**v, **dict(zip(("dA", "dW", "dS"), rates, strict=True))})["energy"]

    basis, rest = np.eye(3), energy(0, 0, 0)
    return np.array([[energy(*(a + b)) - energy(*a) - energy(*b) + rest for b in basis] for a in basis])


def test_friction_that_reads_the_force_of_its_constraint():
    """A circle: the force needs the accelerations, which need friction, which needs the force."""
    text = """
    param m = 2; param μ = 0.3; param slope = 0.5; const g = 9.81
    state x = 0; state y = 0
    lagrangian ½*m*(x'² + y'²) - m*g*(y*cos(slope) - x*sin(slope))
    constraint ground: y = 0
    applied x = μ*ground.force
    """
    found = Motion(text)(m=2.0, μ=0.3, slope=0.5, g=9.81, x=0.0, y=0.0, dx=-1.0, dy=0.0, time=0.0)
    assert found["ground.force"] == pytest.approx(2 * 9.81 * math.cos(0.5))
    assert found["x''"] == pytest.approx(9.81 * (0.3 * math.cos(0.5) + math.sin(0.5)))


def test_a_pivot_that_another_equation_moves():
    text = """
    param l = 1; param k = 2; const g = 9.81
    state c = 0; state v = 1; state θ = 0.1
    c' = v; v' = -k*c
    let x = c + l*sin(θ); let y = -l*cos(θ)
    lagrangian ½*(x'² + y'²) - g*y
    """
    found = Motion(text)(l=1.5, k=2.0, g=9.81, c=0.3, v=1.0, θ=0.4, dθ=0.7, time=0.0)
    assert found["θ''"] == pytest.approx((2 * 0.3 * math.cos(0.4) - 9.81 * math.sin(0.4)) / 1.5)


def test_a_name_that_its_equation_alone_gives_is_expanded():
    text = ROD.replace("lagrangian", "let z\nz = y\nlagrangian").replace("m*g*y", "m*g*z").replace("y'²", "y'*z'")
    values = point(Motion(ROD), Random(13), **CONSTS)
    assert accelerations(Motion(text), values) == pytest.approx(accelerations(Motion(ROD), values), rel=1e-12)


def test_a_run_may_begin_where_nothing_accelerates():
    text = """
    param u = 1
    state θ in 0..1.5
    lagrangian ½*θ'² + 9.81*cos(θ)
    applied θ = u
    initial(θ'') = 0; initial(θ') = 0
    """
    causal = Motion(text).causal
    (root,) = (s for s in beginning(causal, timing(causal)).statements if isinstance(s, ir.Root))
    known = {"u": 1.0, "θ": math.asin(1 / 9.81), "θ'": 0.0}
    run(root.body, known)
    assert [evaluated(r, known) for r in root.residuals] == pytest.approx([0.0], abs=1e-12)


# ---------------------------------------------------------------- laws of the language


def test_the_order_of_coordinates_and_their_names_do_not_matter():
    states = ["state A = 2", "state W = -2", "state S = 2"]
    values, results = point(Motion(TREBUCHET), Random(10), **CONSTS), []
    for order in permutations(states):
        found = Motion(TREBUCHET.replace("; ".join(states), "; ".join(order)))(**values)
        results.append([found[f"{q}''"] for q in "AWS"])
    renamed = TREBUCHET.replace("A", "zeta").replace("W", "alpha")
    motion = Motion(renamed)
    other = {k.replace("A", "zeta").replace("W", "alpha"): x for k, x in values.items()}
    results.append([motion(**other)[f"{q}''"] for q in ("zeta", "alpha", "S")])
    for result in results[1:]:
        assert result == pytest.approx(results[0], rel=1e-11)


def test_structural_zeros_take_no_part():
    def factors(text):
        return [s.target.name for s in Motion(text).causal.statements if s.target.name.startswith("factor")]

    assert sorted(factors(TREBUCHET)) == ["factor S_A", "factor W_A"]
    springs = " + ".join(f"½*x{i}'² - ½*x{i}²" for i in range(20))
    assert factors("\n".join([*(f"state x{i} = 0" for i in range(20)), f"lagrangian {springs}"])) == []


def test_what_is_fixed_is_computed_from_what_is_fixed():
    motion = Motion(TREBUCHET)
    moving = {"A", "W", "S", "A'", "W'", "S'"}
    pivots = {x.target.name: x.value.free_symbols for x in motion.causal.statements if "mobility" in x.target.name}
    assert all(not moving & {s.name for s in pivots[f"mobility {q}"]} for q in "WS")


def test_a_large_system_is_solved_as_a_matrix(monkeypatch):
    small = [Motion(text) for text in (chain(3), ROD)]
    monkeypatch.setattr(lagrange, "MOST_UNROLLED", 0)
    large = [Motion(text) for text in (chain(3), ROD)]
    for one, other in zip(small, large, strict=True):
        assert any(isinstance(s, ir.Solve) for s in other.causal.statements)
        values = point(one, Random(11), **CONSTS)
        assert accelerations(other, values) == pytest.approx(accelerations(one, values), rel=1e-10)
    assert large[1].project(**values) == pytest.approx(small[1].project(**values), rel=1e-10)


MASS = "param m = 1; state x = 0\n"
MASSES = "param m = 1; state x = 0; state y = 0\n"


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (MASSES + "lagrangian ½*m*x'² - y²", "no-inertia", "`y` has no inertia"),
        (MASSES + "lagrangian ½*m*(x' + y')² - y²", "no-inertia", "only moves together with `x'`"),
        (MASSES + "lagrangian ½*m*(x'² + y'²); constraint a: x = y; constraint b: 2*x = 2*y", "redundant-constraint",
         "holds what others hold"),
        (MASS + "let z\nz + z^3 = x\nlagrangian ½*m*x'² - z", "no-derivative", "`z` depends"),
        (MASS + "network f(a) -> b { hidden 2 }\nlagrangian ½*m*x'² - f(x)", "no-derivative", "of a network"),
        (MASS + "lagrangian ½*m*x'² - x; let jerk = x'''", "no-derivative", "time derivative of `x''`"),
    ],
)  # fmt: skip
def test_what_has_no_equations_of_motion_is_said(text, code, words):
    with pytest.raises(CompileError) as error:
        Motion(text)
    found = error.value.diagnostics[0]
    assert found.code == code and words in found.message


# ---------------------------------------------------------------- algebra

a, b, c, d = (sp.Symbol(n, real=True) for n in "abcd")
_ATOMS = st.sampled_from(
    [a, b, d, sp.Integer(2), sp.Rational(1, 3), sp.sin(a), sp.cos(a), sp.sin(a + b), sp.cos(2 * a - b)]
)
_FORMS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.builds(lambda x, y: x + y, inner, inner),
        st.builds(lambda x, y: x * y, inner, inner),
        st.builds(lambda x: x**2, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=60)
@given(_FORMS)
def test_the_canonical_form_has_the_same_value_and_is_its_own(expr):
    form = Fourier(lambda s: s == d).canonical
    value = {a: 0.7, b: -1.3, d: 0.4}
    canonical = form(expr)
    assert float(canonical.subs(value)) == pytest.approx(float(sp.sympify(expr).subs(value)), rel=1e-9, abs=1e-9)
    assert form(canonical) == canonical
    assert form(expr - canonical) == 0


@settings(max_examples=40)
@given(st.lists(st.sampled_from([f(x) for f in (sp.sin, sp.cos) for x in (a, b, c, a + b, a - c, a + b + c, 2 * a)])))
def test_unfolded_angles_have_the_same_value_and_are_fewer(calls):
    value = {a: 0.7, b: -1.3, c: 2.1}
    new = unfolded(calls)
    assert [float(e.subs(value)) for e in new] == pytest.approx([float(e.subs(value)) for e in calls], abs=1e-12)
    before, left = ({x.args[0] for e in found for x in e.atoms(sp.sin, sp.cos)} for found in (calls, new))
    assert len(left) < len(before) or new == calls


def test_angles_are_taken_apart_where_that_saves_calls():
    wanted = [sp.sin(a), sp.sin(b), sp.cos(b), sp.sin(c), sp.cos(c), sp.sin(a + b), sp.sin(a + c)]
    assert {x for e in unfolded(wanted) for x in e.atoms(sp.sin, sp.cos)} == {
        f(x) for f in (sp.sin, sp.cos) for x in (a, b, c)
    }
    assert unfolded([sp.sin(a), sp.sin(a + b)]) == [sp.sin(a), sp.sin(a + b)]


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(0, 2), st.integers(0, 10**6))
def test_factors_solve_what_numpy_solves(n, k, seed):
    random = np.random.default_rng(seed)
    k = min(k, n)
    root = random.normal(size=(n, n)) * (random.random((n, n)) < 0.5) + np.eye(n)
    mass, slopes, right = root @ root.T, random.normal(size=(k, n)), random.normal(size=n + k)
    entries = {(i, j): sp.Float(mass[i, j]) for i in range(n) for j in range(i, n) if mass[i, j]}
    held = {(i, j): sp.Float(slopes[i, j]) for i in range(k) for j in range(n)}
    unknowns = sp.symbols(f"u:{n + k}")
    factors = Factors(Saddle(entries, held, n, k), [str(u) for u in unknowns], lambda e: False)
    known = {}
    for target, value in [*factors.definitions, *factors.solved([sp.Float(x) for x in right], unknowns)]:
        known[target] = value.xreplace(known)
    whole = np.block([[mass, -slopes.T], [slopes, np.zeros((k, k))]])
    residual = whole @ [float(known[u]) for u in unknowns] - right
    assert residual == pytest.approx(np.zeros(n + k), abs=1e-6 * np.linalg.cond(whole))
