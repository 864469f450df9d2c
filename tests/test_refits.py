"""Laws of what surrounds an estimate: profiles, refits of drawn data, bands, what is held out; windows of long runs."""

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from dpl.runtime import program, spec
from dpl.tasks import curves, refits
from dpl.tasks.context import Context
from dpl.tasks.fit import fit

X = np.linspace(0.0, 3.0, 20)
DRAWS = np.random.default_rng(1)
Y = 2.0 + 0.5 * X + 0.1 * DRAWS.standard_normal(20)


def module(scenario, data, *tasks):
    return program.from_module(spec.Module("test", "", (scenario,), tasks, "0", data=data))


def line(y=Y, sd=None, params=("a", "b"), mean=lambda v, x: v["a"] + v["b"] * x):
    """y ~ normal(mean, sd) of rows x; the scale is estimated without one."""
    told = {"mean": 0} if sd is None else {"mean": 0, "sd": 1}
    declared = tuple(spec.Param(name, 1.0, origin=f"line.dpl:{i}") for i, name in enumerate(params))
    return spec.Scenario(
        name="Line", doc="", params=declared, givens=(spec.Given("row.x", None, data="points", column="x"),),
        starts=(), networks=(), observed=(), measures=(),
        fixed=lambda v: (mean(v, v["row.x"]), sd), results=lambda reduced, c: {key: c[n] for key, n in told.items()},
        observe=lambda t, x, z, held, c: {},
        observations=(
            spec.Observation("points.y", "normal", "points", "y", estimated=sd is None, keys=tuple(told)),
        ),
    ), (spec.Data("points", (spec.Column("x", tuple(X)), spec.Column("y", tuple(y)))),)  # fmt: skip


def fitted(scenario, data, vary=("a", "b"), **clauses):
    task = spec.Task("fit", "found", "", scenario.name, vary=tuple(spec.Varied(v) for v in vary), **clauses)
    return fit(module(scenario, data, task), task, Context())


@cache
def straight(sd):
    """A fit of a straight line with all that surrounds it, and its ordinary least squares."""
    found = fitted(*line(sd=sd), profile=("a", "b"), counts={"bootstrap": 200})
    design = np.stack([np.ones(20), X], axis=1)
    value, (rss,), *_ = np.linalg.lstsq(design, Y, rcond=None)
    scale = sd or np.sqrt(rss / 18)
    return found, value, scale, np.linalg.inv(design.T @ design)


def test_the_profile_of_a_linear_model_is_a_parabola():
    found, value, sd, inverse = straight(0.1)
    for i, name in enumerate("ab"):
        profile, se = found.profiles[name], sd * np.sqrt(inverse[i, i])
        rise = profile.nll - found.nll
        assert rise == pytest.approx(0.5 * ((profile.values - value[i]) / se) ** 2, abs=1e-6)
        assert rise[[0, -1]].min() >= 3
        assert profile.interval == pytest.approx(value[i] + 1.96 * se * np.array([-1, 1]), abs=0.01 * se)


@pytest.mark.parametrize("low, high", [(0.0, None), (None, 1000.0), (None, None)])
@pytest.mark.parametrize("start", [100.0, -50.0])
def test_a_profile_does_not_depend_on_the_start(low, high, start):
    """The measure of a number with an open end is that of its start, which may lie far from the estimate."""
    if low is not None and start < low:
        start = 5000.0
    ((scenario, data), truth) = line(0.064 * X, sd=0.1, params=("b",), mean=lambda v, x: v["b"] * x), 0.064
    param = spec.Param("b", start, low=low, high=high)
    found = fitted(replace(scenario, params=(param,)), data, vary=("b",), profile=("b",)).profiles["b"]
    half = 1.96 * 0.1 / np.sqrt(X @ X)
    assert np.all(np.diff(found.values) > 0)
    assert found.interval == pytest.approx((truth - half, truth + half), abs=0.02 * half)


def test_with_an_estimated_scale_the_interval_is_that_of_student():
    found, value, sd, inverse = straight(None)
    for i, name in enumerate("ab"):
        se = sd * np.sqrt(inverse[i, i])
        ends = value[i] + 2.1009 * se * np.array([-1, 1])  # the 97.5 % quantile of t with 18 degrees of freedom
        assert found.profiles[name].interval == pytest.approx(ends, abs=0.01 * se)
        assert found.profiles[name].interval == pytest.approx(found.estimates[name].interval, abs=0.01 * se)


@pytest.mark.parametrize("sd", [0.1, None])
def test_refits_of_drawn_data_spread_as_the_standard_errors_say(sd):
    """The standard deviation of 200 normal numbers is known to 5 %."""
    found, _, scale, inverse = straight(sd)
    for i, name in enumerate("ab"):
        drawn = found.bootstrap[name]
        assert drawn.shape == (200,)
        assert drawn.std() == pytest.approx(scale * np.sqrt(inverse[i, i]), rel=0.2)
        assert drawn.mean() == pytest.approx(found.estimates[name].value, abs=4 * drawn.std() / np.sqrt(200))


def test_the_band_is_that_of_linear_regression():
    found, value, sd, inverse = straight(0.1)
    (curve,) = found.curves
    design = np.stack([np.ones(20), X], axis=1)
    half = 1.96 * sd * np.sqrt(np.einsum("ni,ij,nj->n", design, inverse, design))
    assert curve.band is not None and curve.spread is not None
    assert curve.line == pytest.approx(design @ value, abs=1e-6)
    assert curve.band[1] - curve.line == pytest.approx(half, rel=1e-4)
    assert curve.spread[1] - curve.line == pytest.approx(1.96 * sd, rel=1e-4)
    assert curve.residuals == pytest.approx((Y - design @ value) / sd, abs=1e-5)


def test_redundant_params_are_named_with_their_lines_and_have_profiles_without_ends():
    scenario, data = line(sd=0.1, params=("a", "b", "F"), mean=lambda v, x: v["a"] + v["b"] * v["F"] * x)
    found = fitted(scenario, data, vary=("a", "b", "F"), profile=("F",))
    assert "b (line.dpl:1) and F (line.dpl:2) only appear as b*F: fix one of them" in found.notes
    assert found.profiles["F"].interval == (-np.inf, np.inf)


def test_what_is_held_out_is_predicted_and_not_fitted():
    bent = Y + np.where(X > 2.5, 1.0, 0.0)  # the last four
    (curve,), found = (f := fitted(*line(bent, sd=0.1), hold_out=4)).curves, f
    assert found.count == 16
    assert curve.held_out.tolist() == [False] * 16 + [True] * 4
    value = np.polyfit(X[:16], Y[:16], 1)
    assert [found.estimates[n].value for n in "ba"] == pytest.approx(value, abs=1e-6)
    rms = np.sqrt(np.mean(((bent - np.polyval(value, X))[16:] / 0.1) ** 2))
    assert found.held_out["points.y"] == pytest.approx(rms, rel=1e-4)


@pytest.mark.parametrize("apart, told", [([1.0, np.nan], {}), ([1.0, 2.0], {"d.y": 2.0})])
@pytest.mark.filterwarnings("error")
def test_nothing_is_said_of_held_out_data_without_residuals(apart, told, monkeypatch):
    """All of them may be beyond a limit."""
    monkeypatch.setattr(curves, "_said", lambda *_, **__: {"d.y": SimpleNamespace(arguments=())})
    monkeypatch.setattr(curves, "residuals", lambda *_: np.array(apart))
    cases = SimpleNamespace(known={"d.y": np.array([True, True])}, observed={"d.y": np.zeros(2)})
    shown = SimpleNamespace(
        observations=(SimpleNamespace(name="d.y"),),
        numbers=SimpleNamespace(cases=cases),
        fitted={"d.y": np.array([True, False])},
    )
    assert curves.held_out(shown) == told


def test_the_rise_tends_to_that_of_chi_squared():
    assert refits.rise(None) == pytest.approx(3.841459 / 2, abs=1e-3)
    assert refits.rise(10_000, 10_002) == pytest.approx(1.9207, abs=1e-3)
    assert refits.rise(2, 5) > 3


# ---------------------------------------------------------------- windows

TIMES = np.arange(0.0, 20.0, 0.25)


def swing():
    """x'' = -ω² x from x = 1 at rest; x is observed over six periods of ω = 2 /s."""
    truth = np.cos(2.0 * TIMES) + 0.05 * np.random.default_rng(3).standard_normal(TIMES.size)
    data = spec.Data("seen", (spec.Column("t", tuple(TIMES), spec.Unit("s"), "time"), spec.Column("x", tuple(truth))))
    return spec.Scenario(
        name="Swing", doc="", params=(spec.Param("w", 1.3),), givens=(), starts=(), networks=(), observed=(),
        measures=(), fixed=lambda v: (v["w"],), results=lambda reduced, c: {}, observe=lambda t, x, z, held, c: {},
        run=spec.Run(0.0, 20.0, spec.Method("tsit5", {"rtol": 1e-6})),
        states=(spec.Observed("x", kind="state"), spec.Observed("v", kind="state")),
        start=lambda c: ((1.0, 0.0), (), ()), rhs=lambda t, x, z, held, c: ((x[1], -c[0] ** 2 * x[0]), ()),
        sensors=lambda t, x, z, held, c, row: ((x[0], 0.05),),
        observations=(spec.Observation("seen.x", "normal", "seen", "x", timed=True),),
    ), (data,)  # fmt: skip


@pytest.mark.long
def test_windows_find_what_a_single_run_does_not():
    scenario, data = swing()
    alone, cut = (fitted(scenario, data, vary=("w",), span=span).estimates["w"].value for span in (None, 2.0))
    assert abs(alone - 2.0) > 0.1
    assert cut == pytest.approx(2.0, abs=0.005)
