"""Exported controllers: files that need NumPy alone and do what the program does, number for number."""

import json
import subprocess
import sys
from functools import cache

import numpy as np
import pytest

import dpl
from dpl.language.builtins import FUNCTIONS
from tests import compiled

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 3.0, -2.0, 1e200, -1e200, np.inf, -np.inf, np.nan]


@cache
def program(text):
    return dpl.compile(text, "test.dpl")


def loaded(text, name, params=None):
    """The namespace of an exported file."""
    namespace = {}
    exec(compile(program(text).controllers[name].source(params), "exported.py", "exec"), namespace)
    return namespace


def in_jax(text, givens, changes=None):
    """Every quantity of a static scenario [SI] over arrays of its givens, by the program itself."""
    import jax

    (scenario,) = compiled.scenarios(text).values()
    values = {**scenario.values_si(), **(changes or {})}

    def observed(drawn):
        c = scenario.spec.fixed({**values, **drawn})
        return scenario.spec.observe(0.0, (), (), (), c)

    return jax.device_get(jax.jit(jax.vmap(observed))({k: np.asarray(v, float) for k, v in givens.items()}))


def assert_same(ours, theirs, what=""):
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12, err_msg=what)


# ---------------------------------------------------------------- every function of the language

ONE = [n for n, row in FUNCTIONS.items() if row.arity == (1, 1) and row.shape == "elementwise"]
TWO = {
    **{n: f"{n}(x, y)" for n, row in FUNCTIONS.items() if row.arity == (2, 2) and row.shape == "elementwise"},
    "min": "min(x, y)",
    "max": "max(x, y, 0)",
    "clip": "clip(x, -1, y)",
    "quotient": "x/y",
    "inverse": "1/(x*y)",
    "powers": "x^2 + y^3 - x^4",
    "root": "abs(x)^0.3",
    "general": "x^y",
    "sesqui": "x^1.5",
    "chosen": "if x > y then x else if x == y then 0 else 1/y",
    "logic": "if (x > 0 and not y < 0) or x < -2 then 1 else 2",
    "guarded": "if x > 0 then log(x) + 1/x else exp(-x)",
    "through": "straight_through(sign(x)) + surrogate(floor(y), y)",
    "smooth_abs": "smooth(abs(x), 0.1)",
    "smooth_max": "smooth(max(x, y), 0.1)",
    "smooth_min": "smooth(min(x, y), 0.1)",
    "smooth_clip": "smooth(clip(x, -1, 1), 0.1)",
    "smooth_relu": "smooth(relu(x), 0.1)",
    "smooth_sign": "smooth(sign(x) + step(y), 0.1)",
    "smooth_choice": "smooth(if x > y then x else y, 0.1)",
    "smooth_logic": "smooth(if x > y and x > 0 then x else y, 0.1)",
}
NUMBERS = (
    "model Each { input x; input y\n"
    + "".join(f"output {n}_of = {n}(x)\n" for n in ONE)
    + "".join(f"output {n}_2 = {text}\n" for n, text in TWO.items())
    + "}\nscenario S { given x = 0; given y = 0; part all = Each(x = x, y = y) }"
)


def test_every_function_of_numbers_is_the_runtimes_also_where_it_has_no_value():
    draw = np.random.default_rng(0)
    x, y = np.concatenate([draw.uniform(-4, 4, (2, 300)), [g.ravel() for g in np.meshgrid(SPECIAL, SPECIAL)]], axis=1)
    truth = in_jax(NUMBERS, {"x": x, "y": y})
    exported = loaded(NUMBERS, "Each")["each"]
    ours = [exported(a, b) for a, b in zip(x, y, strict=True)]
    for name in ours[0]._fields:
        angle = name in ("wrap_of", "sin_of", "cos_of", "tan_of")
        seen = np.abs(x) < 5e14 if angle else slice(None)  # beyond, an angle is all rounding
        assert_same(np.array([getattr(o, name) for o in ours])[seen], truth[f"all.{name}"][seen], name)


ARRAYS = """
fn squared(z) = z²
table lines(x) -> y { -1: 1, 0: 3, 1.5: -2 }
table bend(x) -> y { -1: 1, 0: 3, 0.5: 3.5, 1: 0, 1.5: -2 } using cubic
table stairs(x) -> y { -1: 1, 0: 3, 1.5: -2 } using previous
model Arrays {
  param gain[3] = [1, 2, 3]
  const A[3, 3] = [[1, 2, 0], [0, 1, 0.5], [0.1, 0, 2]]
  input v[3]
  input s
  let inner[3] = gain*v + s
  output whole[3] = A @ inner
  output same[3] = 1
  output range[2] = v[1..2]
  output total = sum(v)*mean(v) + product(v) + norm(v) + dot(v, inner) + min(v) - max(v)
  output made[4] = [s, v[0], total, 2]
  output lifted[3] = max(min(v, s), -1)
  output looked_up = interpolate(s, [-1, 0, 2], [1, 3, 2])
  output turned[3] = transpose(A) @ v
  output chosen[3] = if v > 0 then sqrt(v) else -v
  output squares[3] = squared(v)/s + 1/v
  output read = lines(s) + bend(s) + stairs(s)
  output swept[2] = conv(v, gain[1..2])
  output spread[2, 2] = conv(A + s, [[1, v[0]], [s, -1]])
  output picked = choose(v*s, gain, temperature = 0.3)
EACH
}
scenario S { SET
  given s = 0.1; part a = Arrays(v = [a0, a1, a2], s = s) }
"""
FEW = [n for n in ONE if n not in ("tan", "gamma", "lgamma", "asin", "acos", "atanh", "acosh", "log", "log2", "log10")]


def test_every_function_of_arrays_is_the_runtimes():
    each = "".join(f"  output {n}_of[3] = {n}(v)\n" for n in FEW)
    text = ARRAYS.replace("EACH", each).replace("SET", "; ".join(f"given a{i} = {i + 1}" for i in range(3)))
    v, s = np.random.default_rng(0).uniform(-4, 4, (50, 3)), np.linspace(-2, 2, 50)
    truth = in_jax(text, {"a0": v[:, 0], "a1": v[:, 1], "a2": v[:, 2], "s": s})
    exported = loaded(text, "Arrays")["arrays"]
    ours = [exported(a, b) for a, b in zip(v, s, strict=True)]
    for name in ours[0]._fields:
        assert_same([getattr(o, name) for o in ours], truth[f"a.{name}"], name)
    with pytest.raises(ValueError, match="shape"):
        exported(np.zeros(4), 1.0)


# ---------------------------------------------------------------- controllers and networks

PILOTS = """
param shared: m = 2
fn square(z) = z²
network aim(wind: km/h in -20..20, target: m in 0..100, h: ft)
     -> (angle: deg in 10..80, weight: lb in 100.., lag: s in ..5, plain: ft) { hidden 7, 5; activation gelu }
network deep(x[3] in -1..1, y) -> (z[2] in 0..1, w) { hidden 4; activation relu }
model Inner { param k = 2; input a; output b = k*square(a) }
controller Pilot {
  \"\"\"Ends in "quotes" and \\\\ no more.\"\"\"
  param top: N = 3
  input θ: deg
  input speed: km/h = 36 limit -50..50
  network net(c in -1..1, s in -1..1, v: m/s in -8..8) -> u: N in -2..2 { hidden 24, 48 }
  part inner = Inner(a = wrap(θ))
  let drive = net(cos(θ), sin(θ), speed)
  output u: N = if abs(wrap(θ)) < 0.5 then clip(drive, -top, top) else top*straight_through(sign(drive/1 [N]))
  output far: ft = shared + inner.b*1 [m]
}
controller Linear { input a; input b; let x; let y; 2*x + a*y = b; x - y = 1; output sum = x + y }
scenario S {
  given θ: rad = 0; given v: m/s = 0; given w: m/s = 0; given t: m = 0; given h: m = 0
  part pilot = Pilot(θ = θ, speed = v, inner.k = 3)
  part linear = Linear(a = wrap(θ), b = v/1 [m/s])
  let aimed = aim(w, t, h)
  let read = deep([cos(θ), sin(θ), 0], w/1 [m/s])
}
"""
PILOTS = PILOTS.replace(", inner.k = 3", "").replace("lag: s in ..5, ", "")


def draws(n=100):
    draw = np.random.default_rng(1)
    ends = {"θ": 9, "v": 30, "w": 5, "t": 100, "h": 3}
    return {name: draw.uniform(-end, end, n) for name, end in ends.items()}


@cache
def truth():
    return in_jax(PILOTS, draws())


def test_a_pilot_with_network_limit_branches_and_units():
    given, exported = draws(), loaded(PILOTS, "Pilot")["pilot"]
    deg, kmh, ft = np.pi / 180, 1 / 3.6, 0.3048
    ours = [exported(θ / deg, v / kmh) for θ, v in zip(given["θ"], given["v"], strict=True)]
    assert_same([o.u for o in ours], truth()["pilot.u"])
    assert_same([o.far * ft for o in ours], truth()["pilot.far"])
    assert exported(theta=10).u == exported(10, speed=36).u  # the declared default
    assert all(type(value) is float for value in exported(np.float32(10)))


def test_linear_unknowns_are_solved():
    given, exported = draws(), loaded(PILOTS, "Linear")["linear"]
    ours = [exported((θ + np.pi) % (2 * np.pi) - np.pi, v) for θ, v in zip(given["θ"], given["v"], strict=True)]
    np.testing.assert_allclose(ours, truth()["linear.sum"], rtol=1e-9)


def test_a_network_by_itself_takes_and_gives_declared_units():
    given, aim, deep = draws(), loaded(PILOTS, "aim")["aim"], loaded(PILOTS, "deep")["deep"]
    for i, (θ, w, t, h) in enumerate(zip(*(given[k] for k in "θwth"), strict=True)):
        shot = aim(w * 3.6, t, h / 0.3048)
        si = {"angle": np.pi / 180, "weight": 0.45359237, "plain": 0.3048}
        for name, scale in si.items():
            assert_same(getattr(shot, name) * scale, truth()[f"aimed.{name}"][i], name)
        found = deep([np.cos(θ), np.sin(θ), 0], w)
        assert_same(found.z, truth()["read.z"][i])
        assert_same(found.w, truth()["read.w"][i])


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "softplus", "gelu", "silu", "sin"])
def test_every_activation(activation):
    text = f"""network f(x) -> y {{ hidden 6, 3; activation {activation} }}
    scenario S {{ given x = 0; let y = f(x) }}"""
    x = np.linspace(-30, 30, 61)
    assert_same([loaded(text, "f")["f"](e) for e in x], in_jax(text, {"x": x})["y"])


def test_exports_hold_the_values_of_their_moment_or_those_given():
    text = "model M { param k: km = 2; input x; output y = k*x }\nscenario S { part m = M(x = 1) }"
    own = dpl.compile(text)
    assert "K = 2000.0" in own.controllers["M"].source()
    own.set("m.k", 3)
    assert "K = 3000.0  # k = 3 [km], in SI" in own.controllers["M"].source()
    assert "K = 5000.0" in own.controllers["M"].source({"m.k": 5})
    assert "K = 5000.0" in own.controllers["M"].source({"k": 5})
    assert "K = 3000.0" in own.controllers["M"].source()
    with pytest.raises(ValueError, match=r"did you mean `m\.k`"):
        own.controllers["M"].source({"m.kk": 5})
    open_ended = dpl.compile(text.replace(" = 2;", ";"))
    with pytest.raises(ValueError, match=r"no value for `m\.k`"):
        open_ended.controllers["M"].source()


# ---------------------------------------------------------------- states

LOOP = """
from pid import PID
controller Filter every 20 [ms] {
  input x: km
  state T[3]: km = 1
  state count = 0
  state worst: ft = 0
  let Δ[3] = T - x
  next T = T - 0.1*Δ
  next count = count + 1
  next worst = max(worst, abs(x))
  output y: km = mean(T) + worst
  output n = count
}
scenario Loop {
  param seen: m = 30
  state h: m = seen; state v: m/s = 0
  h' = v; v' = pid.u - v/1 [s]
  part pid = PID(error = 10 [m] - h, kp = 2 [1/s^2], ki = 0.5 [1/s^3], kd = 0.3 [1/s], total = 2 [m*s])
  part filter = Filter(x = h)
  run for 4 [s] using rk4(10 [ms])
}
"""


@cache
def run():
    return program(LOOP).scenarios["Loop"].simulate(points=400)


def test_states_go_from_tick_to_tick_as_in_a_run():
    exported = loaded(LOOP, "PID")
    assert exported["PERIOD"] == 0.01
    pid, state = exported["pid"], exported["START"]
    assert state.total == 2
    assert len(run().time) == 401
    for error, u in zip(run()["pid.error"][:-1], run()["pid.u"][:-1], strict=True):
        ours, state = pid(error, state)
        assert_same(ours, u)


def test_states_are_arrays_and_numbers_in_declared_units():
    exported = loaded(LOOP, "Filter")
    state, seen = exported["START"], run()
    assert_same(state.T, np.ones(3))
    for i in range(0, len(seen.time) - 1, 2):
        assert_same(state.worst, seen["filter.worst"][i])
        assert_same(state.T, seen["filter.T"][i])
        out, state = exported["filter_"](seen["filter.x"][i], state)
        assert_same(out.y, seen["filter.y"][i])
        assert out.n == i // 2


def test_a_state_does_not_change_with_the_callers_array():
    text = "controller Hold every 1 [s] { input x[2]; state s[2] = 0; next s = x; output y[2] = s }"
    exported = loaded(text, "Hold")
    x = np.ones(2)
    _, state = exported["hold"](x, exported["START"])
    x[:] = 5
    assert_same(state.s, [1, 1])


def test_a_start_that_each_run_says_is_left_to_the_caller():
    text = """controller Hold every 1 [s] { input x; state s = 0; next s = x; output y = s }
    scenario S { given first ~ uniform(0, 1); part hold = Hold(x = 1, s = first); run for 3 [s] }"""
    exported = loaded(text, "Hold")
    assert "START" not in exported
    assert exported["hold"](4, exported["State"](s=7)) == (7, (4,))


# ---------------------------------------------------------------- the file

ALONE = """
import json, sys
class Blocked:
    def find_spec(self, name, *_):
        if name.split(".")[0] in ("dpl", "jax", "jaxlib", "sympy"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
sys.path.insert(0, sys.argv[1])
import pilot
print(json.dumps(pilot.pilot(30, 40)))
"""


def test_an_export_needs_numpy_alone(tmp_path):
    program(PILOTS).controllers["Pilot"].export(tmp_path / "pilot.py")
    found = subprocess.run([sys.executable, "-I", "-c", ALONE, tmp_path], capture_output=True, text=True)
    assert found.stderr == ""
    assert json.loads(found.stdout) == list(loaded(PILOTS, "Pilot")["pilot"](30, 40))


def test_only_an_export_is_written_over(tmp_path):
    pilot, path = program(PILOTS).controllers["Pilot"], tmp_path / "pilot.py"
    pilot.export(path)
    pilot.export(path)
    path.write_text("precious = 1\n")
    with pytest.raises(ValueError, match="no export of DPL"):
        pilot.export(path)
    assert path.read_text() == "precious = 1\n"


def test_equal_programs_export_equal_texts():
    assert (
        dpl.compile(PILOTS, "test.dpl").controllers["Pilot"].source() == program(PILOTS).controllers["Pilot"].source()
    )


def test_no_name_or_word_of_a_text_clashes_with_the_files_own():
    names = [
        "math",
        "np",
        "PERIOD",
        "State",
        "everywhere",
        "divide",
        "float",
        "outputs",
        "START",
        "def",
        "u",
        "h",
        "NET_W1",
    ]
    text = f"""controller Named every 1 {{
      \"\"\"Ends '' here \\ and there.\"\"\"
      {"".join(f"input {n}; " for n in names)}
      state total = 0; next total = total + {"/".join(f"sin({n})" for n in names)}
      network net(z, h) -> W1
      output power = total^2.5 + net(u, h)*0; output gamma = {"+".join(names)}
    }}
    scenario S {{ part named = Named({", ".join(f"{n} = 1" for n in names)}); run for 2 }}"""
    exported = loaded(text, "Named")
    (power, total), state = exported["named"](*range(1, 14), exported["START"])
    assert (power, total) == (0, sum(range(1, 14)))
    assert np.isclose(state.total, np.sin(1) / np.prod(np.sin(np.arange(2, 14))))


# ---------------------------------------------------------------- names

TWO_PARTS = """
network aim(x) -> y
controller C { param k = 2; input e; output u = k*aim(e) }
model Law { input x; output y = 2*aim(x) }
scenario One { part c = C(e = 1) }
scenario Two { part c = C(e = 2); part d = C(e = 2, k = 3) }
scenario Three { part e = C(e = 3) }
"""


def test_what_is_the_same_wherever_it_stands_goes_by_one_name():
    found = program(TWO_PARTS).controllers
    assert list(found) == ["C", "aim", "Law"]
    assert found["c"].source() == found["One.c"].source() == found["Two.c"].source() == found["e"].source()
    assert "K = 3.0" in found["d"].source()
    assert found["aim"].networks == found["Law"].networks == ["aim"]
    assert np.isclose(loaded(TWO_PARTS, "Law")["law"](3), 2 * loaded(TWO_PARTS, "aim")["aim"](3))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("C", "there are `One.c`, `Two.c`, `Two.d`, `Three.e`; say which"),
        ("Lav", "did you mean `Law`"),
        ("?", "C, aim"),
    ],
)
def test_names_that_are_none_or_several(name, words):
    with pytest.raises(ValueError, match=words):
        program(TWO_PARTS).controllers[name]


# ---------------------------------------------------------------- what is refused

REFUSED = {
    "input e; state x = 0; x' = e; output u = x": "its state `x` moves between calls",
    "input e; let d = 2*e; output u = d'": "it reads the time derivative of its input `e`",
    "input e; output u = e*time": "it depends on the time of the run",
    "input e; let z in 0..3; cos(z) + z*z = e + 1; output u = z": "`z` is found by Newton's method",
    "input e; let z = 2*e": "it has no output",
    "input e; part a = A(e = e); part b = B(e = a.y); output u = b.y": "blocks of several periods",
}
SAMPLED = """model A every 1 { input e; state s = 0; next s = e; output y = s }
model B every 2 { input e; state s = 0; next s = e; output y = s }
"""


@pytest.mark.parametrize("body", REFUSED)
def test_what_is_no_function_of_inputs_and_sampled_states_is_refused(body):
    with pytest.raises(dpl.CompileError, match=REFUSED[body]) as error:
        program(SAMPLED + f"controller C {{ {body} }}").controllers["C"].source()
    assert error.value.diagnostics[0].label is not None


def test_what_differs_from_run_to_run_is_refused():
    text = "controller C { param k; input e; output u = k*e }\nscenario S { given g = 1; part c = C(k = g, e = 1) }"
    with pytest.raises(dpl.CompileError, match="depends on `g`, which is neither an input nor a param"):
        program(text).controllers["C"].source()
    settled = text.replace("given g = 1", "param g = 5").replace("k = g", "k = 2*g")
    assert loaded(settled, "C")["c"](3) == 30


# ---------------------------------------------------------------- JAX


def restored(controller, path):
    from jax import export

    controller.export_jax(path)
    return export.deserialize(path.read_bytes())


def test_an_export_for_jax_maps_batches_of_any_size(tmp_path):
    pilot, ours = restored(program(PILOTS).controllers["Pilot"], tmp_path / "pilot"), loaded(PILOTS, "Pilot")["pilot"]
    for n in (1, 7):
        θ, v = np.linspace(-9, 9, n), np.linspace(-30, 30, n)
        found = pilot.call(θ, v)
        assert_same(found["u"], [ours(a, b).u for a, b in zip(θ, v, strict=True)])
        assert_same(found["far"], [ours(a, b).far for a, b in zip(θ, v, strict=True)])


def test_an_export_for_jax_carries_its_states(tmp_path):
    found, ours = restored(program(LOOP).controllers["PID"], tmp_path / "pid"), loaded(LOOP, "PID")
    state, expected = {"total": np.full(2, 2.0), "last": np.zeros(2)}, ours["START"]
    for error in (1.0, -3.0):
        u, state = found.call(np.full(2, error), state)
        v, expected = ours["pid"](error, expected)
        assert_same(u, [v, v])
        assert_same(state["total"], [expected.total] * 2)


# ---------------------------------------------------------------- the command

TRAINED = """
network f(x in 0..1) -> y
scenario S { given x ~ uniform(0, 1); metric m = (f(x) - 3*x)²; }
train fitted { on S; vary f; minimize m; steps 3; batch 2 }
"""


def command(*arguments):
    from dpl.cli.main import main

    return main(["export", *map(str, arguments)])


def test_the_command_writes_what_a_run_found(tmp_path, capsys):
    from dpl.cli.main import main

    file, out, run_ = tmp_path / "fit.dpl", tmp_path / "f.py", tmp_path / "run"
    file.write_text(TRAINED)
    assert main(["run", str(file), "--quiet", "--out", str(run_)]) == 0
    assert command(file, "f", "--from", run_, "--out", out) == 0
    assert "untrained" not in capsys.readouterr().err
    own = dpl.load(file)
    own.run("fitted")
    assert out.read_text() == own.controllers["f"].source()


def test_the_command_lists_warns_and_refuses(tmp_path, capsys):
    file = tmp_path / "fit.dpl"
    file.write_text(TRAINED + "controller C { input e; output u = time }")
    assert command(file) == 0
    assert capsys.readouterr().out == "f\nC\n"
    assert command(file, "f") == 0
    said = capsys.readouterr()
    assert said.out.startswith('"""f of fit.dpl, exported by DPL')
    assert "f untrained: --from RUN" in said.err
    assert command(file, "C") == 2
    assert "error[not-exportable]" in capsys.readouterr().err
    assert command(file, "f", "--jax") == 2
    assert "--out FILE" in capsys.readouterr().err
