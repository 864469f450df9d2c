"""`fit` on hand-written modules: closed forms, certified regressions, SciPy as the judge, and starts that fail."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy import stats

from dpl.runtime.program import Program
from dpl.runtime.spec import (
    Column,
    Data,
    Distribution,
    Given,
    Method,
    Module,
    Observation,
    Observed,
    Param,
    Run,
    Scenario,
    Start,
    Task,
    Unit,
    Varied,
)
from dpl.tasks.fitted import Fitted
from dpl.tasks.result import NumericalFailure
from dpl.tasks.run import run_tasks

Values = Mapping[str, Any]
NAN = float("nan")


def points(model: Callable[[Values, Any], Any], params: tuple[Param, ...], distribution: str = "normal", **more: Any):
    """A scenario in which each row of the data `d` is a run: y is distributed as `model(params, x)` says.

    `model` returns one number, estimated scale left out, or the distribution's arguments (and limits) as a tuple.
    """
    several = isinstance(model({p.name: 1.0 for p in params}, 1.0), tuple)
    pieces = {"unit": Unit(), "estimated": not several and distribution in ("normal", "lognormal")} | more

    def results(reduced: Any, c: Any) -> Any:
        return {f"k{n}": part for n, part in enumerate(c)}

    def fixed(v: Values) -> tuple[Any, ...]:
        told = model(v, v["row.x"])
        return tuple(jnp.asarray(a, float) for a in (told if several else (told,)))

    count = len(model({p.name: 1.0 for p in params}, 1.0)) if several else 1
    keys = tuple(f"k{n}" for n in range(count))
    return Scenario(
        "S",
        "",
        params=params,
        givens=(Given("row.x", None, data="d", column="x"),),
        starts=(),
        networks=(),
        observed=(),
        measures=(),
        fixed=fixed,
        results=results,
        observe=lambda *_: {},
        observations=(Observation("d.y", distribution, "d", "y", keys=keys, **pieces),),
    )


def task(vary: str, **more: Any) -> Task:
    return Task("fit", "f", "", "S", vary=tuple(Varied(name) for name in vary.split()), **more)


def program(scenario: Scenario, x: Any, y: Any, *tasks: Task, unit: Unit | None = None) -> Program:
    columns = (Column("x", tuple(map(float, x))), Column("y", tuple(map(float, y)), unit or Unit()))
    return Program(Module("m", "", (scenario,), tasks, "0", data=(Data("d", columns),)))


def fitted(scenario: Scenario, x: Any, y: Any, **more: Any) -> Fitted:
    vary = " ".join(p.name for p in scenario.params)
    (result,) = run_tasks(program(scenario, x, y, task(vary, **more)))
    assert isinstance(result, Fitted)
    return result


def found(result: Fitted) -> np.ndarray:
    return np.array([e.value for e in result.estimates.values()])


def errors(result: Fitted) -> np.ndarray:
    return np.array([e.se for e in result.estimates.values()])


def line(v: Values, x: Any) -> Any:
    return v["a"] * x + v["b"]


LINE = points(line, (Param("a", 1.0), Param("b", 0.0)))


# ---------------------------------------------------------------- least squares


def test_a_line_is_that_of_linear_regression():
    x, rng = np.linspace(0, 4, 9), np.random.default_rng(1)
    y = 2 * x + 1 + 0.3 * rng.standard_normal(9)
    result, reference = fitted(LINE, x, y), stats.linregress(x, y)
    np.testing.assert_allclose(found(result), [reference.slope, reference.intercept], rtol=1e-9)
    np.testing.assert_allclose(errors(result), [reference.stderr, reference.intercept_stderr], rtol=1e-8)
    t = stats.t.ppf(0.975, 7)
    np.testing.assert_allclose(result.estimates["a"].interval, reference.slope + np.array([-t, t]) * reference.stderr)
    rss = np.sum((y - found(result) @ [x, np.ones(9)]) ** 2)
    assert result.scales["d.y"].value == pytest.approx(np.sqrt(rss / 7), rel=1e-9)
    assert result.rss == pytest.approx(rss)
    likely = stats.norm.logpdf(y, line(dict(zip("ab", found(result), strict=True)), x), np.sqrt(rss / 9)).sum()
    assert result.log_likelihood == pytest.approx(likely)
    assert result.aic == pytest.approx(6 - 2 * likely) and result.free == 3
    assert result.scale == "least squares" and result.status == "done"


def test_a_missing_cell_is_skipped_and_counted():
    whole = fitted(LINE, [1, 2, 4], [1.0, 2.5, 4.0])
    with_gap = fitted(LINE, [1, 2, 3, 4], [1.0, 2.5, NAN, 4.0])
    np.testing.assert_allclose(found(with_gap), found(whole), rtol=1e-9)
    assert (with_gap.count, with_gap.skipped) == (3, 1)


def test_what_was_found_is_what_later_tasks_start_from():
    both = program(LINE, [0, 1, 2], [1, 3, 5.1], task("a b"), replace(task("a b"), name="again"))
    first, second = run_tasks(both)
    assert isinstance(first, Fitted) and isinstance(second, Fitted)
    assert second.estimates["a"].start == pytest.approx(first.estimates["a"].value)
    assert second.iterations <= 1


BOX = (lambda v, x: v["b1"] * (1 - jnp.exp(-v["b2"] * x)), [1, 2, 3, 5, 7, 10], [109, 149, 149, 191, 213, 224])
OSBORNE = [
    0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751, 0.718, 0.685, 0.658, 0.628, 0.603,
    0.580, 0.558, 0.538, 0.522, 0.506, 0.490, 0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420, 0.414, 0.411,
    0.406,
]  # fmt: skip
CERTIFIED = {
    "BoxBOD": (*BOX, (1, 1), (2.1380940889e2, 5.4723748542e-1), (1.2354515176e1, 1.0455993237e-1)),
    "MGH09": (
        lambda v, x: v["b1"] * (x**2 + x * v["b2"]) / (x**2 + x * v["b3"] + v["b4"]),
        [4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625],
        [0.1957, 0.1947, 0.1735, 0.16, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246],
        (25, 39, 41.5, 39),
        (1.9280693458e-1, 1.9128232873e-1, 1.2305650693e-1, 1.3606233068e-1),
        (1.1435312227e-2, 1.9633220911e-1, 8.0842031232e-2, 9.0025542308e-2),
    ),
    "MGH17": (
        lambda v, x: v["b1"] + v["b2"] * jnp.exp(-x * v["b4"]) + v["b3"] * jnp.exp(-x * v["b5"]),
        list(range(0, 330, 10)),
        OSBORNE,
        (50, 150, -100, 1, 2),
        (3.7541005211e-1, 1.9358469127, -1.4646871366, 1.2867534640e-2, 2.2122699662e-2),
        (2.0723153551e-3, 2.2031669222e-1, 2.2175707739e-1, 4.4861358114e-4, 8.9471996575e-4),
    ),
}


@pytest.mark.parametrize("name", CERTIFIED)
def test_certified_values_from_the_hard_start(name):
    """Statistical Reference Datasets, nonlinear regression, of the National Institute of Standards and Technology."""
    model, x, y, start, values, se = CERTIFIED[name]
    params = tuple(Param(f"b{n + 1}", float(b)) for n, b in enumerate(start))
    result = fitted(points(model, params), x, y)
    np.testing.assert_allclose(found(result), values, rtol=1e-7)
    np.testing.assert_allclose(errors(result), se, rtol=1e-5)


def test_an_ill_conditioned_polynomial_keeps_its_digits():
    """Columns of condition 1e9 after scaling: the normal equations would leave no digit."""
    x, degree = np.linspace(-8.78, -3.13, 40), 8
    exact = np.array([-1467.5, -2772.2, -2316.4, -1128.0, -354.5, -75.12, -10.88, -1.062, -0.067])
    y = np.polynomial.polynomial.polyval(x, exact)
    params = tuple(Param(f"c{n}", 0.0) for n in range(degree + 1))
    result = fitted(points(lambda v, x: sum(v[f"c{n}"] * x**n for n in range(degree + 1)), params), x, y)
    np.testing.assert_allclose(found(result), exact, rtol=1e-6)


def test_units_and_sizes_do_not_matter():
    x, y = np.linspace(0, 5e6, 12), 3e-9 * np.exp(-1e-6 * np.linspace(0, 5e6, 12)) + 1e-11 * np.cos(np.arange(12))
    params = (Param("c", 1e-9), Param("k", 1e-7, Unit("1/h", 1 / 3600)))
    result = fitted(points(lambda v, x: v["c"] * jnp.exp(-v["k"] * x), params), x, y)
    there, _ = scipy.optimize.curve_fit(
        lambda x, c, k: c * np.exp(-k * x), x * 1e-6, y * 1e9, (1, 1), xtol=1e-14, ftol=1e-14
    )
    np.testing.assert_allclose(found(result), there * [1e-9, 1e-6 * 3600], rtol=1e-6)


# ---------------------------------------------------------------- other distributions


def test_counts_are_those_of_poisson_regression():
    x, y = np.arange(8.0), np.array([1, 0, 3, 2, 6, 9, 14, 20.0])
    scenario = points(lambda v, x: (jnp.exp(v["a"] * x + v["b"]),), (Param("a", 0.0), Param("b", 0.0)), "poisson")
    X, beta = np.stack([x, np.ones(8)], 1), np.zeros(2)
    for _ in range(50):  # iteratively reweighted least squares
        mean = np.exp(X @ beta)
        beta = beta + np.linalg.solve(X.T @ (mean[:, None] * X), X.T @ (y - mean))
    result = fitted(scenario, x, y)
    np.testing.assert_allclose(found(result), beta, rtol=1e-8)
    expected = np.sqrt(np.diag(np.linalg.inv(X.T @ (np.exp(X @ beta)[:, None] * X))))
    np.testing.assert_allclose(errors(result), expected, rtol=1e-7)
    assert result.log_likelihood == pytest.approx(stats.poisson.logpmf(y, np.exp(X @ beta)).sum())
    assert result.scale == "likelihood"


def test_lognormal_is_least_squares_of_logarithms_and_counts_in_the_declared_unit():
    x, y = np.array([1.0, 2, 3, 4]), np.array([2.0, 3.9, 9.1, 15.2])
    scenario = points(lambda v, x: jnp.exp(v["a"] * x + v["b"]), LINE.params, "lognormal", unit=Unit("km", 1000.0))
    result = fitted(scenario, x, 1000 * y)
    reference = stats.linregress(x, np.log(y))
    np.testing.assert_allclose(found(result), [reference.slope, reference.intercept + np.log(1000)], rtol=1e-8)
    spread = np.sqrt(result.rss / 4)
    mean = reference.slope * x + reference.intercept
    assert result.log_likelihood == pytest.approx((stats.norm.logpdf(np.log(y), mean, spread) - np.log(y)).sum())


def test_a_scale_that_is_a_parameter_is_estimated_with_the_others():
    x, y = np.arange(6.0), np.array([0.1, 2.3, 3.8, 6.2, 7.7, 10.4])
    params = (*LINE.params, Param("s", 1.0, low=0.0))
    result = fitted(points(lambda v, x: (line(v, x), v["s"]), params), x, y)
    least = np.polyfit(x, y, 1)
    sd = np.sqrt(np.mean((y - np.polyval(least, x)) ** 2))
    np.testing.assert_allclose(found(result), [*least, sd], rtol=1e-7)
    assert errors(result)[2] == pytest.approx(sd / np.sqrt(12), rel=1e-6)


def test_censored_data_are_those_of_direct_maximum_likelihood():
    x, y = np.arange(8.0), np.array([0.2, 0.0, 1.1, 1.6, 1.9, 2.7, 3.1, 3.3])
    limit = 0.5
    scenario = points(lambda v, x: (line(v, x), limit), LINE.params, below=True, estimated=True)

    def nll(p: Any) -> Any:
        mean, sd = p[0] * x + p[1], np.exp(p[2])
        return -np.where(y <= limit, stats.norm.logcdf(limit, mean, sd), stats.norm.logpdf(y, mean, sd)).sum()

    best = scipy.optimize.minimize(nll, [1, 0, 0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    result = fitted(scenario, x, y)
    np.testing.assert_allclose(found(result), best.x[:2], rtol=1e-5)
    assert result.scales["d.y"].value == pytest.approx(np.exp(best.x[2]), rel=1e-5)
    assert (result.nll, result.censored) == (pytest.approx(best.fun), 2)


# ---------------------------------------------------------------- priors and bounds


def mean_with(prior: Distribution | None, **more: Any) -> Scenario:
    return points(lambda v, x: (v["a"] + 0 * x, 0.5), (Param("a", 0.0, prior=prior, **more),))


def test_a_normal_prior_gives_the_mean_of_the_conjugate_posterior():
    y = np.array([1.0, 1.4, 2.2])
    result = fitted(mean_with(Distribution("normal", (3.0, 0.2))), np.zeros(3), y)
    precision = 3 / 0.25 + 1 / 0.04
    assert found(result)[0] == pytest.approx((y.sum() / 0.25 + 3 / 0.04) / precision, rel=1e-9)
    assert errors(result)[0] == pytest.approx(1 / np.sqrt(precision), rel=1e-9)
    without = fitted(mean_with(Distribution("normal", (3.0, 0.2))), np.zeros(3), y, priors=False)
    assert found(without)[0] == pytest.approx(y.mean(), rel=1e-9)
    assert without.nll == pytest.approx(-without.log_likelihood)


def test_a_bound_that_holds_the_estimate_is_said():
    params = (Param("a", 1.0), Param("b", 0.5, low=0.0, high=2.0))
    x, y = np.arange(5.0), np.array([-1.0, 1.1, 2.9, 5.2, 7.1])
    result = fitted(points(line, params), x, y)
    assert result.estimates["b"].at_bound and np.isnan(result.estimates["b"].se)
    assert result.estimates["b"].value == pytest.approx(0.0, abs=1e-5)
    slope = (x @ y) / (x @ x)
    assert result.estimates["a"].value == pytest.approx(slope, rel=1e-5)
    assert result.estimates["a"].se == pytest.approx(np.sqrt(np.sum((y - slope * x) ** 2) / 4 / (x @ x)), rel=1e-4)
    free = fitted(points(line, (params[0], replace(params[1], low=-2.0))), x, y)
    assert not free.estimates["b"].at_bound


def test_intervals_of_bounded_numbers_lie_within_their_bounds():
    scenario = points(lambda v, x: (v["a"] + 0 * x, 0.5), (Param("a", 0.5, low=0.0, high=1.0),))
    low, high = fitted(scenario, [0, 0], [0.9, 0.95]).estimates["a"].interval
    assert 0 < low < 0.925 < high < 1


def test_what_data_do_not_determine_is_said():
    scenario = points(lambda v, x: v["a"] * v["b"] * x + v["c"], tuple(Param(n, 1.0) for n in "abc"))
    result = fitted(scenario, np.arange(5.0), [1.0, 3.1, 4.9, 7.2, 9.0])
    assert np.isinf([result.estimates["a"].se, result.estimates["b"].se]).all()
    assert np.isfinite(result.estimates["c"].se)
    assert [{name for name, _ in d.parts} for d in result.directions] == [{"a", "b"}]


def test_a_number_without_effect_leaves_the_errors_of_the_others_as_they_are():
    x, y = np.arange(1.0, 5.0), [1.1, 2.0, 2.8, 4.3]
    alone = fitted(points(lambda v, x: v["a"] * x, (Param("a", 1.0),)), x, y)
    with_idle = fitted(points(lambda v, x: v["a"] * x + 0 * v["z"], (Param("a", 1.0), Param("z", 1.0))), x, y)
    one, other = alone.estimates["a"], with_idle.estimates["a"]
    assert other.se == pytest.approx(one.se) and other.interval == pytest.approx(one.interval)
    assert with_idle.scales["d.y"].value == pytest.approx(alone.scales["d.y"].value)
    assert with_idle.free == alone.free


def test_data_that_are_met_exactly_are_a_result_with_a_note():
    result = fitted(points(lambda v, x: v["a"] * x, (Param("a", 1.0),)), [1, 2], [2, 4])
    assert found(result)[0] == pytest.approx(2) and errors(result)[0] < 1e-12
    assert np.isinf(result.log_likelihood) and any("met exactly" in note for note in result.notes)


def test_as_many_numbers_as_data_leave_nothing_for_a_scale():
    result = fitted(LINE, [1, 2], [2.0, 4.5])
    np.testing.assert_allclose(found(result), [2.5, -0.5], rtol=1e-6)
    assert np.isnan(errors(result)).all() and np.isnan(result.scales["d.y"].value)
    assert np.isinf(result.log_likelihood) and np.isinf(result.aic)
    assert any("2 numbers and a scale from 2 values" in note for note in result.notes)


def test_what_is_all_censored_tells_no_scale():
    scenario = points(lambda v, x: (v["a"] * x, 100.0), (Param("a", 1.0),), estimated=True, below=True)
    result = fitted(scenario, [1, 2, 3], [2.0, 4.5, 5.6])
    assert result.censored == 3 and np.isnan(result.scales["d.y"].value)
    assert any("beyond a limit of detection" in note for note in result.notes)


# ---------------------------------------------------------------- starts


def wave() -> Scenario:
    return points(lambda v, x: jnp.sin(v["w"] * x), (Param("w", 0.3, low=0.1, high=10.0, log=True),))


def test_several_starts_find_what_one_does_not():
    x = np.linspace(0, 6, 40)
    y = np.sin(4.0 * x) + 0.01 * np.cos(17 * x)
    one, many = fitted(wave(), x, y), fitted(wave(), x, y, counts={"starts": 12, "seed": 3})
    assert abs(found(one)[0] - 4.0) > 0.1
    assert found(many)[0] == pytest.approx(4.0, abs=0.01)
    assert many.nll == pytest.approx(min(s.nll for s in many.starts)) and any(s.best for s in many.starts)
    again = fitted(wave(), x, y, counts={"starts": 12, "seed": 3})
    assert [s.nll for s in again.starts] == [s.nll for s in many.starts]


def test_starts_that_fail_do_not_fail_the_fit_unless_all_do():
    root = points(lambda v, x: jnp.sqrt(v["a"] - x), (Param("a", 1.0, low=-4.0, high=8.0),))
    x = np.linspace(0, 3, 8)
    y = np.sqrt(5 - x) + 0.01 * np.cos(9 * x)
    result = fitted(root, x, y, counts={"starts": 6})
    assert result.starts[0].failed and not np.isfinite(result.starts[0].nll)
    assert found(result)[0] == pytest.approx(5.0, abs=0.05)
    with pytest.raises(NumericalFailure, match="likelihood is not finite"):
        fitted(root, x, y)


def test_a_start_without_a_likelihood_is_blamed_on_its_row_and_argument():
    counts = points(lambda v, x: (v["a"] - x,), (Param("a", 1.5),), "poisson")
    with pytest.raises(NumericalFailure, match=r"d\.y in row 2 of the data: the mean of `poisson` is -0\.5"):
        fitted(counts, [0, 2, 3], [1, 2, 3])
    prior = Param("a", 1.0, prior=Distribution("uniform", (6.0, 9.0)))
    with pytest.raises(NumericalFailure, match="a starts where its prior, `uniform`"):
        fitted(points(lambda v, x: (v["a"] * x, 1.0), (prior,)), [1, 2], [7, 15])


def test_other_numbers_do_not_trace_again():
    model = points(lambda v, x: v["a"] * jnp.exp(-v["b"] * x), (Param("a", 1.0), Param("b", 1.0)))
    x = np.linspace(0, 3, 7)
    one = program(model, x, 2 * np.exp(-0.5 * x) + 0.01 * np.cos(9 * x), task("a b"))
    list(run_tasks(one))
    traced = one.scenarios["S"].traces["expected"]
    one.set("a", 30.0)
    columns = (Column("x", tuple(x)), Column("y", tuple(5 * np.exp(-0.7 * x) + 0.01 * np.cos(8 * x))))
    one.data["d"] = Data("d", columns)
    (result,) = run_tasks(one)
    assert isinstance(result, Fitted)
    np.testing.assert_allclose(found(result), [5, 0.7], atol=0.05)
    assert one.scenarios["S"].traces["expected"] == traced


# ---------------------------------------------------------------- along a run


def decay(*tasks: Task, **data: Any) -> Program:
    """x' = -k x from `level`; observed x with an unknown sd."""
    scenario = Scenario(
        "S",
        "",
        params=(Param("k", 0.3 / 3600, Unit("1/h", 1 / 3600), 0.0),),
        givens=(),
        starts=(Start("level", 1.0),),
        networks=(),
        observed=(),
        measures=(),
        fixed=lambda v: (v["k"], v["level"]),
        results=lambda reduced, c: {},
        observe=lambda t, x, z, held, c: {"level": x[0]},
        run=Run(0.0, 7200.0, Method("tsit5", {"rtol": 1e-9, "atol": 1e-12})),
        states=(Observed("level"),),
        start=lambda c: ((c[1],), (), ()),
        rhs=lambda t, x, z, held, c: ((-c[0] * x[0],), ()),
        sensors=lambda t, x, z, held, c, row: ((x[0],),),
        observations=(Observation("d.y", "normal", "d", "y", timed=True, estimated=True),),
    )
    return Program(Module("m", "", (scenario,), tasks, "0", data=(Data("d", **data),)))


def test_a_rate_and_a_start_of_a_run():
    t = np.linspace(0, 2, 9)
    y = 3 * np.exp(-1.2 * t) + 0.02 * np.cos(40 * t)
    columns = (Column("t", tuple(3600 * t), Unit("h", 3600.0), "time"), Column("y", tuple(y)))
    (result,) = run_tasks(decay(task("k level"), columns=columns))
    assert isinstance(result, Fitted)
    there, covariance = scipy.optimize.curve_fit(lambda t, k, a: a * np.exp(-k * t), t, y, (1, 1))
    np.testing.assert_allclose(found(result), there, rtol=1e-6)
    np.testing.assert_allclose(errors(result), np.sqrt(np.diag(covariance)), rtol=1e-4)


def two_groups() -> tuple[tuple[Column, ...], np.ndarray, np.ndarray, np.ndarray]:
    """The columns of ann and bob; group, time [h] and value of each row."""
    t = np.tile(np.linspace(0, 2, 5), 2)
    groups = np.repeat([0.0, 1.0], 5)
    y = np.where(groups == 0, 2.0, 5.0) * np.exp(-1.2 * t) + 0.02 * np.cos(40 * t + groups)
    columns = (
        Column("who", tuple(groups), role="group"),
        Column("t", tuple(3600 * t), Unit("h", 3600.0), "time"),
        Column("y", tuple(y)),
    )
    return columns, groups, t, y


OWN = Task("fit", "f", "", "S", vary=(Varied("k"), Varied("level", each=True)))


def test_each_group_has_its_own_number_where_the_text_says_so():
    columns, groups, t, y = two_groups()
    (result,) = run_tasks(decay(OWN, columns=columns, groups=("ann", "bob")))
    assert isinstance(result, Fitted)

    def off(p: Any) -> Any:
        return np.where(groups == 0, p[1], p[2]) * np.exp(-p[0] * t) - y

    best = scipy.optimize.least_squares(off, [1, 1, 1], xtol=1e-14, ftol=1e-14)
    np.testing.assert_allclose([result.estimates["k"].value, *result.estimates["level"].value], best.x, rtol=1e-6)
    assert result.estimates["level"].runs == ("ann", "bob")
    se = np.sqrt(np.diag(np.linalg.inv(best.jac.T @ best.jac)) * 2 * best.cost / 7)
    np.testing.assert_allclose([result.estimates["k"].se, *result.estimates["level"].se], se, rtol=1e-4)
    assert result.names == ("k", "level[ann]", "level[bob]")


@pytest.mark.long
def test_a_run_that_is_held_out_takes_nothing_from_the_others():
    """What is its own is not fitted, so that it neither counts as free nor is said to be undetermined."""
    columns, groups, _, _ = two_groups()
    (result,) = run_tasks(decay(replace(OWN, hold_out=1), columns=columns, groups=("ann", "bob")))
    assert isinstance(result, Fitted)
    one = tuple(replace(c, values=tuple(v for v, g in zip(c.values, groups, strict=True) if g == 0)) for c in columns)
    (alone,) = run_tasks(decay(OWN, columns=one, groups=("ann",)))
    assert isinstance(alone, Fitted)
    assert (result.free, result.aic) == (alone.free, pytest.approx(alone.aic))
    assert result.estimates["k"].se == pytest.approx(alone.estimates["k"].se)
    assert [n for n in result.notes if "determine" in n or "no step" in n] == []


def test_of_numbers_that_only_their_product_tells_the_fit_ends_at_the_best():
    scenario = points(lambda v, x: v["a"] * v["b"] * x + v["c"], tuple(Param(n, 1.0) for n in "abc"))
    x, y = np.arange(6.0), np.array([1.0, 2.7, 5.4, 7.1, 8.8, 11.3])
    result, plain = fitted(scenario, x, y), fitted(LINE, x, y)
    assert result.nll == pytest.approx(plain.nll, rel=1e-12)
    assert [n for n in result.notes if "no step" in n or "iterations" in n] == [] and result.iterations < 50
    assert any("do not determine" in n for n in result.notes)


def test_each_run_may_be_fitted_by_itself_alone():
    scenario = points(lambda v, x: (v["k"] * x, 0.1), (Param("k", 1.0),))
    own = Task("fit", "f", "", "S", vary=(Varied("k", each=True),))
    (result,) = run_tasks(program(scenario, [1, 2, 4], [3, 4, 20], own))
    assert isinstance(result, Fitted)
    np.testing.assert_allclose(result.estimates["k"].value, [3, 2, 5], rtol=1e-9)
    np.testing.assert_allclose(result.estimates["k"].se, [0.1, 0.05, 0.025], rtol=1e-9)


def test_lbfgs_comes_to_the_same_estimates():
    x, y = np.arange(5.0), np.array([1.0, 3.1, 4.9, 7.2, 9.0])
    plain, other = fitted(LINE, x, y), fitted(LINE, x, y, method=Method("lbfgs"))
    np.testing.assert_allclose(found(other), found(plain), rtol=1e-4)
    assert other.method == "lbfgs" and plain.method == "levenberg_marquardt"
