"""The examples of data: published values, and SciPy as the judge of what fits and refinements find."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares, minimize

import dpl

EXAMPLES = Path(__file__).parents[1] / "examples"


def done(name, *tasks):
    """The program of an example after its tasks (all, if none is named), and their results."""
    program = dpl.load(EXAMPLES / f"{name}.dpl", 0)
    return program, program.run(*tasks)


def rows(name, start=2):
    """The numbers of a data file of the examples."""
    return np.loadtxt(EXAMPLES / name, delimiter=",", skiprows=start)


def found(result):
    return {name: estimate.value for name, estimate in result.estimates.items()}


def motion(slope, start, times):
    """States [states, times] of x' = slope(t, x)."""
    return solve_ivp(slope, (times[0], times[-1]), start, "DOP853", times, rtol=1e-9, atol=1e-9).y


def is_the_best(nll, values, tolerance):
    """Whether no search from here, on logarithmic scales, finds a smaller negative log likelihood."""
    start = np.log(list(values.values()))
    searched = minimize(lambda x: nll(dict(zip(values, np.exp(x), strict=True))), start, method="Nelder-Mead")
    return searched.fun > nll(values) - tolerance


# ---------------------------------------------------------------- data


def test_the_enzyme_is_that_of_the_book():
    """Bates and Watts (1988), Nonlinear Regression Analysis and Its Applications, table 2.1."""
    _, results = done("enzyme")
    fit = results["kinetics"]
    assert fit.estimates["Vmax"].value == pytest.approx(212.7, abs=0.05)
    assert fit.estimates["Vmax"].se == pytest.approx(6.95, abs=0.005)
    assert fit.estimates["Km"].value == pytest.approx(0.06412, abs=5e-6)
    assert fit.estimates["Km"].se == pytest.approx(0.00828, abs=5e-6)
    assert fit.scales["rates.rate"].value == pytest.approx(10.93, abs=0.005)


def test_hares_and_lynxes_are_most_likely_so():
    _, results = done("hare_lynx", "likely")
    year, *seen = rows("hare_lynx.csv").T

    def nll(v):
        hare, lynx = motion(
            lambda _, x: [
                v["birth"] * x[0] - v["hunted"] * x[0] * x[1],
                v["fed"] * x[0] * x[1] - v["death"] * x[1],
            ],
            [v["hare0"], v["lynx0"]],
            year,
        )
        return -sum(
            stats.lognorm.logpdf(y, v["spread"], scale=x).sum() for x, y in zip((hare, lynx), seen, strict=True)
        )

    fit = results["likely"]
    assert fit.log_likelihood == pytest.approx(-122.926, abs=1e-3)
    assert nll(found(fit)) == pytest.approx(fit.nll, abs=1e-4)
    assert is_the_best(nll, found(fit), 1e-3)


@pytest.mark.long
def test_an_outbreak_is_most_likely_so():
    program, results = done("influenza")
    day, in_bed = rows("influenza_school.csv").T

    def nll(v):
        ill = motion(
            lambda _, x: np.array([[-1, 0], [1, -1]]) @ [v["contacts"] * x[0] * x[1] / 763, v["recovery"] * x[1]],
            [763 - v["first"], v["first"]],
            np.append(0.0, day),
        )[1, 1:]
        return -stats.nbinom.logpmf(in_bed, v["size"], v["size"] / (v["size"] + ill)).sum()

    fit = results["outbreak"]
    assert nll(found(fit)) == pytest.approx(fit.nll, abs=1e-4)
    assert is_the_best(nll, found(fit), 1e-3)
    assert program.scenarios["Outbreak"].params["contacts"] == fit.estimates["contacts"].value


def test_a_house_is_known_from_its_log():
    """Held against the numbers it was made with, and against least squares of an integrator of others."""
    _, results = done("house")
    hours, outside, setting, inside = rows("house.csv").T

    def off(x):
        leak, store, start = x
        gives = lambda t: np.interp(np.interp(t, hours, setting), [0, 1, 2, 3], [0, 1.5, 3.2, 5.5])  # noqa: E731
        slope = lambda t, T: (gives(t) - leak * (T - np.interp(t, hours, outside))) / store  # noqa: E731
        times = hours[hours <= 96]
        T = solve_ivp(slope, (0, 96), [start], t_eval=times, rtol=1e-8, atol=1e-8, max_step=1).y[0]
        return T - inside[hours <= 96]

    fit = results["house"]
    for name, truth in {"leak": 180, "store": 6, "T": 18.5 + 273.15}.items():
        assert abs(fit.estimates[name].value - truth) < 3 * fit.estimates[name].se
    leak, store, start = least_squares(off, [0.2, 5, 18]).x
    assert list(found(fit).values()) == pytest.approx([1000 * leak, store, start + 273.15], rel=1e-4)
    assert next(iter(fit.held_out.values())) < 1.5


def test_a_filter_is_learned_from_an_image_and_its_edges():
    program, _ = done("filter")
    kernel = program.scenarios["Filter"].params["kernel"]
    np.testing.assert_allclose(kernel, [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], atol=1e-4)


# ---------------------------------------------------------------- the map and the territory


@pytest.mark.long
def test_twenty_shots_close_the_gap_between_map_and_territory():
    _, results = done("cannon_drag")
    first, last = results["closing"].rows
    assert first.gap > 1 and last.closed > 0.95
    drag = results["closing"].rounds[1].estimates["cannon.drag"]
    assert abs(drag.value - 0.005) < 3 * drag.se
