"""Observations, tables and data as generated functions: what a right side says is what `sensors` and `results` say."""

import base64
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import source

from dpl import language
from dpl.compiler.driver import compile_model
from dpl.compiler.points import slopes
from dpl.language.source import Source
from dpl.runtime import observing, packed, program
from dpl.runtime.functions import lookup, lookup_slope


def loaded(text):
    return program.load(source(text), "test")


def first(tree):
    return jax.tree.map(lambda a: a[0], tree)


def expected(text, name="S", **changed):
    """The arguments of every observation of the first run, in SI."""
    scenario = loaded(text).scenarios[name]
    cases, _ = observing.cases(scenario)
    values = {**scenario.values_si(), **first(cases.values), **changed}
    found, status = scenario.expected_si(values, first(cases.times), first(cases.rows))
    assert status == 0
    return found


PELTS = "data pelts(t as time, hare, lynx, err) { 0, 3, 4, 0.1; 1, 5, 6, 0.2; 2, _, 9, 0.4 }\n"
ALONG = (
    PELTS
    + """
scenario S {
    param k = 0.5
    state hare = 3
    hare' = k*hare
    let twice = 2*hare
    observe pelts.hare ~ lognormal(hare, 0.3) below 1
    observe pelts.lynx ~ normal(twice + pelts.err, 10*pelts.err)
    run for 2
}
"""
)


def test_observed_along_the_run_arguments_are_functions_of_state_and_row():
    spec = loaded(ALONG).scenarios["S"].spec
    assert spec.row == ("pelts.err",)
    c = spec.fixed({"k": 0.5, "hare": 3.0})
    found = spec.sensors(1.0, (7.0,), (), (), c, (0.2,))
    assert found == ((7.0, 0.3, 1.0), (pytest.approx(14.2), pytest.approx(2.0)))
    assert [(o.name, o.distribution, o.timed, o.below, o.keys) for o in spec.observations] == [
        ("pelts.hare", "lognormal", True, True, ()),
        ("pelts.lynx", "normal", True, False, ()),
    ]


def test_they_follow_the_exact_solution_at_the_times_of_the_rows():
    mean, spread, limit = expected(ALONG)["pelts.hare"]
    np.testing.assert_allclose(mean, 3 * np.exp([0, 0.5, 1]), rtol=1e-6)
    np.testing.assert_array_equal(spread, [0.3] * 3)
    np.testing.assert_array_equal(limit, [1] * 3)


def test_in_a_scenario_with_modes_each_mode_has_its_own():
    text = """
    data ball(t as time, v) { 0, 1; 0.5, 2; 2, 3 }
    scenario S {
        state x = 0
        mode slow { x' = 1; let pull = 1 + time; when time > 1 { go fast } }
        mode fast { x' = 3; let pull = 5 }
        observe ball.v ~ normal(x + pull, 1)
        run for 2
    }
    """
    modes = loaded(text).scenarios["S"].spec.modes
    found = [m.sensors(0.5, (2.0,), (), (), m.fixed({"x": 0.0}), ())[0][0] for m in modes]
    assert found == [3.5, 7.0]
    np.testing.assert_allclose(expected(text)["ball.v"][0], [1, 2, 9], rtol=1e-6)


ONCE = """
data shots(x, far, high) { 1, 2, 3; 2, 4, _ }
scenario S {
    given shot from shots
    param g = 2
    state y = 0
    y' = shot.x - g*time
    observe shots.far ~ normal(final(y) + g, 0.5) above 9
    observe shots.high ~ student(peak(y), df = 3)
    run for 1
}
"""


def test_observed_once_arguments_are_among_the_results_of_a_run():
    spec = loaded(ONCE).scenarios["S"].spec
    keys = [key for o in spec.observations for key in o.keys]
    results = spec.results((10.0, 20.0), spec.fixed({"g": 2.0, "shot.x": 1.0, "y": 0.0}))
    assert [float(results[key]) for key in keys] == [12, 0.5, 9, 20, 3]
    assert [o.estimated for o in spec.observations] == [False, True]
    assert [(g.name, g.data, g.column, g.value) for g in spec.givens] == [("shot.x", "shots", "x", 1.0)]
    found = expected(ONCE)
    assert float(found["shots.far"][0]) == pytest.approx(1 - 1 + 2)
    assert float(found["shots.high"][0]) == pytest.approx(0.25, rel=1e-4)


def test_and_in_a_scenario_without_a_run():
    text = """data d(x, y) { 1, 2; 2, 3 }
    scenario S { given r from d; param a = 4; let z = a*r.x; observe r.y ~ normal(z) }"""
    assert [float(a) for a in expected(text)["d.y"]] == [4]


def test_sensors_of_many_equations_in_groups_are_the_same(monkeypatch):
    lines = [f"param k{i} = {0.1 * (i + 1):.1f}; state x{i} = {1 + 0.1 * i:.1f}" for i in range(9)]
    lines += [
        f"x{i}' = -k{i}*x{i}/(1 + x{i}) + k{(i + 1) % 9}*x{(i + 1) % 9}^2 + ocv(x{i}) - d.u*k{i}" for i in range(9)
    ]
    lines += ["observe d.s ~ normal(x0 + ocv(x1)*k2 + net(x3), d.e*k1 + 0.1)", "run for 1"]
    text = "table ocv(s) -> v { 0: 1, 1: 2, 3: 2.5 } using cubic\nnetwork net(x) -> y { hidden 2 }\n"
    text += "data d(t as time, u, s, e) { 0, 1, 1, 0.1; 0.5, 2, 1.1, 0.2 }\nscenario S {\n" + "\n".join(lines) + "\n}"
    plain = expected(text)
    monkeypatch.setattr("dpl.compiler.grouping.LEAST_NODES", 10)
    grouped = expected(text + "\n")
    assert "groups." in source(text + "\n")
    np.testing.assert_allclose(np.array(plain["d.s"]), np.array(grouped["d.s"]), rtol=1e-12)


# ---------------------------------------------------------------- what is looked up

TABLES = """
table grow(x) -> y { 0: 1, 1: 3, 2: 2.5, 4: 7 } using USING
scenario S {
    param a = 1
    state x = 0.3 * a
    let y = grow(2*x + time)
    x' = 1 + 0.1*y' - 0.2*y
    run for 1 using rodas5p
}
"""


@pytest.mark.parametrize("using", ["linear", "cubic", "previous"])
def test_derivatives_of_tables_are_those_of_finite_differences(using):
    spec = loaded(TABLES.replace("USING", using)).scenarios["S"].spec
    points = tuple(map(jnp.asarray, (spec.tables[0].knots, spec.tables[0].values)))
    c = spec.fixed({"a": 1.0, "grow": points})

    def rate(t, x):
        return spec.rhs(t, (x,), (), (), c)[0][0]

    def along(t, x):
        """y' with x' from the equation: y' = s (2 x' + 1)."""
        s = lookup_slope(points, 2 * x + t, using)
        y = lookup(points, 2 * x + t, using)
        return (1 + 0.1 * s - 0.2 * y) / (1 - 0.2 * s)

    for t, x in ((0.1, 0.3), (0.7, 0.31), (0.2, -1.0), (0.0, 5.0)):
        assert rate(t, x) == pytest.approx(float(along(t, x)), rel=1e-12)
        entries = dict(zip(spec.jacobian.columns, spec.jacobian.entries(t, (x,), (), (), c), strict=True))
        for column, step in ((0, (0, 1e-6)), (1, (1e-6, 0))):
            ends = [rate(t + s * step[0], x + s * step[1]) for s in (1, -1)]
            assert float(entries.get(column, 0.0)) == pytest.approx(float(ends[0] - ends[1]) / 2e-6, abs=1e-6)


def test_the_points_that_the_time_passes_are_known_beforehand():
    text = """
    table drive(x) -> y { 0: 1, 1: 3, 2: 2.5 } using previous
    data w(t as time, temp) { 0, 1; 0.4, 2; 1, 0 }
    scenario S {
        param slow = 2 
        state x = 0
        let clock = (time - 0.1)/slow
        let later = clock + 1
        x' = drive(later) + w.temp + drive(x) + drive(time^2)
        run for 1
    }
    """
    spec = loaded(text).scenarios["S"].spec
    points = (jnp.array([0.0, 1.0, 2.0]), jnp.array([1.0, 3.0, 2.5]))
    c = spec.fixed({"slow": 2.0, "drive": points, "w.temp": (jnp.array([0.0, 0.4, 1.0]), jnp.zeros(3)), "x": 0.0})
    found = sorted(spec.knots(c), key=lambda k: float(k[0]))
    np.testing.assert_allclose(found, [[-1.9, 0.1, 2.1], [0.0, 0.4, 1.0]], atol=1e-12)


@pytest.mark.parametrize("using", ["linear", "previous"])
def test_a_run_meets_kinks_and_jumps_where_they_are(using):
    """The integral of a narrow pulse is right to the last digits, though nothing before it tells of it."""
    text = f"""
    table pulse(t) -> y {{ 0: 0, 3.3331: 0, 3.3332: 1000, 3.3333: 0, 3.4: 0, 10: 0 }} using {using}
    scenario S {{ state x = 0; x' = pulse(time); run for 10; metric total = final(x) }}
    """
    run = loaded(text).scenarios["S"].simulate()
    assert float(run.metrics["total"]) == pytest.approx(0.1, rel=1e-9)


def test_data_read_in_equations_is_linear_between_its_rows():
    text = """
    data w(t as time, temp) { 0, 1; 1, 3; 4, 0 }
    scenario S { state x = 0; x' = w.temp; run for 4 }
    """
    spec = loaded(text).scenarios["S"].spec
    values = {"x": 0.0, "w.temp": (jnp.array([0.0, 1.0, 4.0]), jnp.array([1.0, 3.0, 0.0]))}
    c = spec.fixed(values)
    assert spec.signals == ("w.temp",)
    assert [float(spec.rhs(t, (0.0,), (), (), c)[0][0]) for t in (0.5, 2.0, 9.0)] == [2, 2, 0]


def test_slopes_of_exported_tables_are_those_of_the_runtime():
    knots, values = [0.0, 1.0, 3.0, 3.5, 6.0], [1.0, 4.0, 2.0, 1.9, 0.0]
    points = (jnp.array(knots), jnp.array(values))
    np.testing.assert_allclose(slopes(knots, values)[:-1], lookup_slope(points, points[0], "cubic")[:-1], atol=1e-12)


# ---------------------------------------------------------------- data as text


def test_data_stand_in_the_module_as_they_were_read():
    (data,) = loaded(ALONG).module.data
    assert [(c.name, c.role) for c in data.columns] == [
        ("t", "time"), ("hare", "value"), ("lynx", "value"), ("err", "value")
    ]  # fmt: skip
    np.testing.assert_array_equal(data.columns[1].values, [3, 5, np.nan])


def test_many_cells_are_packed_to_the_last_digit():
    values = np.random.default_rng(1).normal(size=400) * 10.0 ** np.linspace(-90, 90, 400)
    rows = "; ".join(f"{i}, {v!r}" for i, v in enumerate(values.tolist()))
    text = f"data d(t as time, y) {{ {rows} }}\nscenario S {{ state x = 1; x' = -x; observe d.y ~ normal(x) }}"
    written = source(text)
    assert "packed.numbers(" in written and max(map(len, written.splitlines())) < 130
    (data,) = loaded(text).module.data
    assert data.columns[1].values == tuple(values.tolist())


def test_packed_numbers_are_little_endian_doubles():
    assert packed.numbers(base64.b64encode(struct.pack("<3d", 1.5, -0.0, float("inf"))).decode()) == (
        1.5,
        0,
        float("inf"),
    )


# ---------------------------------------------------------------- what people read


def shown(text, stage):
    return compile_model(language.load_text(Source("test.dpl", text))).stage(stage)


def test_tables_data_and_observations_are_shown_as_they_are_written():
    text = (
        TABLES.replace("USING", "cubic").replace("y' - 0.2*y", "y'")
        + PELTS
        + """
    scenario T { state x = 1; x' = pelts.hare; observe pelts.lynx ~ normal(x) }
    """
    )
    model, ir, tex, graph = (shown(text, stage) for stage in ("model", "ir", "latex", "graph"))
    assert "table grow(x) -> y { 4 points, 0 to 4; cubic }" in model
    assert "observe pelts.lynx ~ normal(x)  # along the run, of unknown scale; test.dpl" in model
    assert "grow'(" in ir and "pelts.hare(time)" in ir
    assert r"\operatorname{grow}{\left(t + 2 \cdot x \right)}" in tex
    assert 'outside -->|"observe lynx"| data1' in graph
