"""Exported C: it compiles without a warning and does what the exported Python does, most of it to the last bit."""

import ctypes
import shutil
import subprocess
from functools import cache

import numpy as np
import pytest

import dpl
from tests.test_export import ARRAYS, FEW, LOOP, NUMBERS, PILOTS, SPECIAL, draws, in_jax, loaded, program
from tests.test_export import run as loop_run

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler here")
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-ffp-contract=off", "-O2"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Compiles the export of one name of a text; gives the library."""

    @cache
    def build(text, name, float32=False):
        folder = tmp_path_factory.mktemp("c")
        program(text).controllers[name].export_c(folder / "made.c", float32=float32)
        done = subprocess.run(
            [COMPILER, *STRICT, "-shared", "-fPIC", "made.c", "-o", "made.so", "-lm"],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert done.stderr == "" and done.returncode == 0
        return ctypes.CDLL(str(folder / "made.so"))

    return build


def vector(values, real=ctypes.c_double):
    return (real * max(len(values), 1))(*values)


def called(function, given, sizes, real=ctypes.c_double):
    """What a function writes into `outputs`, as arrays of these sizes; its inputs are numbers or arrays."""
    out = vector([0.0] * sum(sizes), real)
    function(*(vector(g, real) if np.ndim(g) else real(g) for g in given), out)
    return np.split(np.array(out), np.cumsum(sizes)[:-1])


def same_bits(ours, theirs):
    """Equal, NaN for NaN, but for the sign of a zero: Python rounds to whole numbers, which have one zero."""
    return np.array_equal(np.asarray(ours, float), np.asarray(theirs, float), equal_nan=True)


# ---------------------------------------------------------------- every function of the language


def points():
    draw = np.random.default_rng(0)
    return np.concatenate([draw.uniform(-4, 4, (2, 300)), [g.ravel() for g in np.meshgrid(SPECIAL, SPECIAL)]], axis=1)


OTHERS = ("gamma_of", "lgamma_of")
"""Python has its own"""


def test_every_function_of_numbers_is_pythons_to_the_last_bit(built):
    x, y = points()
    python, c = loaded(NUMBERS, "Each")["each"], built(NUMBERS, "Each").each
    fields = python(1.0, 1.0)._fields
    theirs = np.array([python(a, b) for a, b in zip(x, y, strict=True)])
    ours = np.array([called(c, (a, b), [len(fields)])[0] for a, b in zip(x, y, strict=True)])
    for name, a, b in zip(fields, ours.T, theirs.T, strict=True):
        if name in OTHERS:
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12, err_msg=name)
        else:
            assert same_bits(a, b), name


def test_single_precision_is_the_same_to_its_digits(built):
    draw = np.random.default_rng(0)
    x, y = draw.uniform(0.1, 0.9, (2, 50))
    python, c = loaded(NUMBERS, "Each")["each"], built(NUMBERS, "Each", float32=True).each
    fields = python(1.0, 1.0)._fields
    theirs = np.array([python(float(a), float(b)) for a, b in zip(np.float32(x), np.float32(y), strict=True)])
    ours = np.array([called(c, (a, b), [len(fields)], ctypes.c_float)[0] for a, b in zip(x, y, strict=True)])
    np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


def test_every_function_of_arrays_is_pythons(built):
    each = "".join(f"  output {n}_of[3] = {n}(v)\n" for n in FEW)
    text = ARRAYS.replace("EACH", each).replace("SET", "; ".join(f"given a{i} = {i + 1}" for i in range(3)))
    python, c = loaded(text, "Arrays")["arrays"], built(text, "Arrays").arrays
    v, s = np.random.default_rng(0).uniform(-4, 4, (50, 3)), np.linspace(-2, 2, 50)
    fields, sizes = python(v[0], 1.0)._fields, [np.size(o) for o in python(v[0], 1.0)]
    for a, b in zip(v, s, strict=True):
        for name, ours, theirs in zip(fields, called(c, (a, b), sizes), python(a, b), strict=True):
            np.testing.assert_allclose(ours, np.ravel(theirs), rtol=1e-12, atol=1e-13, err_msg=name)


# ---------------------------------------------------------------- networks


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "softplus", "gelu", "silu", "sin"])
def test_every_activation(built, activation):
    text = f"""network f(x in -30..30) -> y {{ hidden 7, 3; activation {activation} }}
    scenario S {{ given x = 0; let y = f(x) }}"""
    x = np.linspace(-900, 900, 61)
    library, single = built(text, "f").f, built(text, "f", float32=True).f
    library.argtypes, library.restype = [ctypes.c_double], ctypes.c_double
    single.argtypes, single.restype = [ctypes.c_float], ctypes.c_float
    theirs = in_jax(text, {"x": x})["y"]
    np.testing.assert_allclose([library(e) for e in x], theirs, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose([single(e) for e in x], theirs, rtol=3e-5, atol=3e-5)


def test_a_pilot_and_networks_of_several_results(built):
    given = draws()
    deg, kmh = np.pi / 180, 1 / 3.6
    pilot, python = built(PILOTS, "Pilot").pilot, loaded(PILOTS, "Pilot")["pilot"]
    aim, aim_python = built(PILOTS, "aim").aim, loaded(PILOTS, "aim")["aim"]
    deep, deep_python = built(PILOTS, "deep").deep, loaded(PILOTS, "deep")["deep"]
    for θ, v, w, t, h in zip(*(given[k] for k in ("θ", "v", "w", "t", "h")), strict=True):
        for ours, theirs in (
            (called(pilot, (θ / deg, v / kmh), [1, 1]), python(θ / deg, v / kmh)),
            (called(aim, (w, t, h), [1, 1, 1]), aim_python(w, t, h)),
            (called(deep, ([np.cos(θ), np.sin(θ), 0], w), [2, 1]), deep_python([np.cos(θ), np.sin(θ), 0], w)),
        ):
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(a, np.ravel(b), rtol=1e-13, atol=1e-13)


def test_linear_unknowns_are_pythons_to_the_last_bit(built):
    given, python, c = draws(), loaded(PILOTS, "Linear")["linear"], built(PILOTS, "Linear").linear
    c.argtypes, c.restype = [ctypes.c_double] * 2, ctypes.c_double
    assert same_bits(*zip(*((c(θ, v), python(θ, v)) for θ, v in zip(given["θ"], given["v"], strict=True)), strict=True))
    assert np.isnan(c(-2.0, 1.0)) and np.isnan(python(-2.0, 1.0))


# ---------------------------------------------------------------- states


def test_a_controller_keeps_its_state_where_its_caller_says(built):
    library, python = built(LOOP, "PID"), loaded(LOOP, "PID")
    library.pid_step.restype = ctypes.c_double
    one, other = (vector([np.nan] * 2) for _ in range(2))
    for kept in (one, other):
        library.pid_init(kept)
    state = python["START"]
    assert list(one) == list(state)
    for error in loop_run()["pid.error"][:200]:
        expected, state = python["pid"](error, state)
        assert same_bits(library.pid_step(one, ctypes.c_double(error)), expected)
        assert same_bits(list(one), state)
    assert list(other) == list(python["START"])


def test_states_that_are_arrays(built):
    library, python = built(LOOP, "Filter"), loaded(LOOP, "Filter")
    kept, out, state = vector([0.0] * 5), vector([0.0] * 2), python["START"]
    library.filter_init(kept)
    for x in np.linspace(-3, 3, 20):
        expected, state = python["filter_"](x, state)
        library.filter_step(kept, ctypes.c_double(x), out)
        np.testing.assert_allclose(list(out), expected, rtol=1e-14)
        np.testing.assert_allclose(list(kept), [*state.T, state.count, state.worst], rtol=1e-14)


def test_states_are_all_read_before_any_is_written(built):
    text = "controller Swap every 1 [s] { input e; state a = 1; state b = 2; next a = b; next b = a + e; output y = a }"
    library = built(text, "Swap")
    library.swap_step.restype = ctypes.c_double
    kept = vector([0.0, 0.0])
    library.swap_init(kept)
    assert library.swap_step(kept, ctypes.c_double(5)) == 1
    assert list(kept) == [2, 6]


# ---------------------------------------------------------------- a model's right-hand side

MOTION = """
network drag(v in -5..5) -> f in 0..
model Plant {
  param k[3]: 1/s = [1, 2, 3]
  param m: lb = 2
  input w: km = 1 limit -3..3
  state v[3]: m = 1
  state a: deg = 10
  state f = 0.5
  v' = -k*v + w*1 [1/s] - dot(v, v)*1 [1/(m*s)]
  a'' = -sin(a)*1 [1/s^2] - m/1 [kg]*a'*1 [1/s]
  f' = (time/1 [s] - drag(f))*1 [1/s]
  output e: m = sum(v)
  output twice[3]: km = 2*v
  output lost: lb = m*cos(a)
}
scenario S { given g: km = 2; part plant = Plant(w = g, m = 3); run for 1 [s] using rk4(0.1 [s]) }
"""


def right_hand_side(library, name, t, x, u, p, count):
    out = vector([0.0] * count)
    getattr(library, name)(ctypes.c_double(t), vector(x), vector(u), vector(p), out)
    return list(out)


def test_a_right_hand_side_is_the_programs(built):
    from tests import compiled

    (scenario,) = compiled.scenarios(MOTION).values()
    spec, python, library = scenario.spec, loaded(MOTION, "plant"), built(MOTION, "plant")
    assert python["START"] == (1, 1, 1, 10, 0, 0.5)
    assert np.allclose(python["P"], [1, 2, 3, 3])
    assert np.allclose(list((ctypes.c_double * 4).in_dll(library, "plant_params")), python["P"])
    c = spec.fixed(scenario.values_si())
    deg, lb = np.pi / 180, 0.45359237
    draw = np.random.default_rng(0)
    for t in (0.0, 0.7):
        x = draw.uniform(-2, 2, 6)
        given = dict(zip((s.name for s in spec.states), (x[:3], x[3] * deg, x[4] * deg, x[5]), strict=True))
        states = tuple(given[s.name] for s in spec.states)
        rates, _ = spec.rhs(t, states, (), (), c)
        seen = spec.observe(t, states, (), (), c)
        dx = python["plant_rhs"](t, x, [2.0])
        expected = np.concatenate([np.ravel(r) for r in rates]) / [1, 1, 1, deg, deg, 1]
        np.testing.assert_allclose(dx, expected, rtol=1e-12)
        y = python["plant_outputs"](t, x, [2.0])
        told = [np.ravel(seen["plant.e"]), np.ravel(seen["plant.twice"]) / 1000, np.ravel(seen["plant.lost"]) / lb]
        np.testing.assert_allclose(y, np.concatenate(told), rtol=1e-12)
        for role, result in (("rhs", dx), ("outputs", y)):
            ours = right_hand_side(library, f"plant_{role}", t, x, [2.0], python["P"], len(result))
            np.testing.assert_allclose(ours, result, rtol=1e-14)


LIBRARY = """
from double_pendulum import DoublePendulum
from lagrangian_cartpole import LagrangianCartPole
from lotka_volterra import LotkaVolterra
from pendulum import Pendulum
scenario S {
  part a = DoublePendulum(); part b = LagrangianCartPole(); part c = LotkaVolterra(); part d = Pendulum(); run for 1 [s]
}
"""


@pytest.mark.parametrize("name", ["DoublePendulum", "LagrangianCartPole", "LotkaVolterra", "Pendulum"])
def test_models_of_numbers_are_pythons_to_the_last_bit(built, name):
    python, library = loaded(LIBRARY, name), built(LIBRARY, name)
    (rhs,) = (n for n in python if n.endswith("_rhs"))
    draw = np.random.default_rng(0)
    for _ in range(50):
        x, u = draw.uniform(0.1, 2, len(python["START"])), draw.uniform(-1, 1, 1)
        takes_input = "In `u`" in python["__doc__"]
        u = u if takes_input else u[:0]
        dx = python[rhs](0.0, x, u)
        assert same_bits(right_hand_side(library, rhs, 0.0, x, u, python["P"], len(dx)), dx)


def test_a_right_hand_side_is_what_solve_ivp_takes():
    from scipy.integrate import solve_ivp

    python = loaded(LIBRARY, "Pendulum")
    found = solve_ivp(python["pendulum_rhs"], (0, 2), [0.01, 0.0], rtol=1e-10, atol=1e-12, args=((0.0,), (1, 1, 0)))
    np.testing.assert_allclose(found.y[0, -1], 0.01 * np.cos(2 * np.sqrt(9.81)), rtol=1e-3)


# ---------------------------------------------------------------- the files


def test_no_word_of_a_text_ends_a_comment_or_clashes(built):
    names = ["exp", "double", "states", "odd_step", "I", "linux", "sum", "x", "h1", "out", "gamma", "y0", "INFINITY"]
    text = f"""controller Odd every 1 {{
      \"\"\"Ends */ int here; /* and ??/ there.\"\"\"
      {"".join(f"input {n}; " for n in names)}
      state total = 0; next total = total + {"/".join(f"sin({n})" for n in names)}
      network net(z, h) -> W1
      output power = total^2.5 + net(y0, exp)*0; output rint = {"+".join(names)}
    }}
    scenario S {{ part odd = Odd({", ".join(f"{n} = 1" for n in names)}); run for 2 }}"""
    library, python = built(text, "Odd"), loaded(text, "Odd")
    kept, out = vector([0.0]), vector([0.0, 0.0])
    library.odd_step(kept, *(ctypes.c_double(n) for n in range(1, 14)), out)
    outputs, state = python["odd"](*range(1, 14), python["START"])
    assert same_bits(list(out), outputs) and same_bits(list(kept), state)


def test_both_files_are_written_and_only_exports_written_over(tmp_path):
    pilot = program(PILOTS).controllers["Pilot"]
    pilot.export_c(tmp_path / "pilot.c")
    first = (tmp_path / "pilot.c").read_text(), (tmp_path / "pilot.h").read_text()
    pilot.export_c(tmp_path / "pilot.c")
    assert first == ((tmp_path / "pilot.c").read_text(), (tmp_path / "pilot.h").read_text())
    (tmp_path / "pilot.h").write_text("int precious;\n")
    with pytest.raises(ValueError, match="no export of DPL"):
        pilot.export_c(tmp_path / "pilot.c")
    with pytest.raises(ValueError, match=r"ends in `\.c`"):
        pilot.export_c(tmp_path / "pilot.cpp")


REFUSED = {
    "state a = 1; a' = -a; part b = B(e = a); output y = b.y": "both states that move and blocks on clocks",
    "state a = 1; a' = -a; when low: a < 0.5 { a := 1 }; output y = a": "has events",
    "state a = 1; a' = -a + n; noise n ~ normal(0, 1) every 1; output y = a": "draws the noise `n`|blocks on clocks",
    "state a = 1; let z in 0..3; cos(z) + z*z = a; a' = -z; output y = z": "`z` is found by Newton's method",
    "input e; state a = 1; a' = e'; output y = a": "reads the time derivative of its input `e`",
}


@pytest.mark.parametrize("body", REFUSED)
def test_what_is_no_right_hand_side_is_refused(body):
    text = f"model B every 1 {{ input e; state s = 0; next s = e; output y = s }}\nmodel M {{ {body} }}"
    for written in ("source", "c_source"):
        with pytest.raises(dpl.CompileError, match=REFUSED[body]) as error:
            getattr(program(text).controllers["M"], written)(*(["m.h"] if written == "c_source" else []))
        assert error.value.diagnostics[0].label is not None


def test_a_right_hand_side_has_no_form_for_jax():
    with pytest.raises(dpl.CompileError, match="no form for JAX"):
        program(MOTION).controllers["Plant"].function()


def test_the_command_writes_c(tmp_path, capsys):
    from dpl.cli.main import main

    file, out = tmp_path / "plant.dpl", tmp_path / "plant.c"
    file.write_text(MOTION)
    assert main(["export", str(file), "Plant", "-o", str(out), "--float32"]) == 0
    assert "void plant_rhs(float t" in out.with_suffix(".h").read_text()
    assert main(["export", str(file), "Plant", "--c"]) == 2
    assert "--out FILE.c" in capsys.readouterr().err
    assert main(["export", str(file), "Plant", "--float32"]) == 2
    assert "--float32 is for C" in capsys.readouterr().err
