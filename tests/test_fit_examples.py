"""The examples of data: published values, and SciPy as the judge of what fits and refinements find."""

import re
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
    leak, store, start = least_squares(off, [0.2, 5, 18], diff_step=1e-4, x_scale=[0.1, 1, 10], xtol=1e-12).x
    assert list(found(fit).values()) == pytest.approx([1000 * leak, store, start + 273.15], rel=5e-4)
    assert next(iter(fit.held_out.values())) < 1.5


def test_a_filter_is_learned_from_an_image_and_its_edges():
    program, _ = done("filter")
    kernel = program.scenarios["Filter"].params["kernel"]
    np.testing.assert_allclose(kernel, [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], atol=1e-4)


def test_what_a_gene_settles_at():
    """The file of the reference, where the steady state is the root of a quadratic equation."""
    page = (EXAMPLES.parent / "docs" / "language.md").read_text(encoding="utf-8")
    program = dpl.compile(re.findall(r"^```dpl settled.dpl\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[0])
    fit = program.run("gene")["gene"]
    dose, seen = (np.array(column.values) / column.unit.scale for column in program.data["levels"].columns)

    def off(x):
        most, half, blocks = np.exp(x)
        made = most * dose**2 / (half**2 + dose**2)
        return np.log(seen / (blocks / 2 * (np.sqrt(1 + 4 * made / (0.5 * blocks)) - 1)))

    best = least_squares(off, np.log([50, 1, 100]), xtol=1e-12)
    assert list(found(fit).values()) == pytest.approx(np.exp(best.x), rel=1e-4)
    assert fit.scales["levels.protein"].value == pytest.approx(np.sqrt(2 * best.cost / (len(seen) - 3)), rel=1e-4)


# ---------------------------------------------------------------- the map and the territory


@pytest.mark.long
def test_twenty_shots_close_the_gap_between_map_and_territory():
    _, results = done("cannon_drag")
    first, last = results["closing"].rows
    assert first.gap > 1 and last.closed > 0.95
    drag = results["closing"].rounds[1].estimates["cannon.drag"]
    assert abs(drag.value - 0.005) < 3 * drag.se


@pytest.mark.long
def test_an_interaction_that_nobody_told_is_found():
    """Over all that the runs visit; and its formula, too."""
    _, results = done("unknown_interaction")
    read = results["law"]
    prey, hunters = (read.inputs[name].value for name in ("prey", "hunters"))
    (eaten,) = read.readings
    truth = 0.9 * prey * hunters
    assert np.abs(eaten.values.value - truth).max() < 0.05 * np.ptp(truth)
    best = eaten.formulas[eaten.best]
    assert best.text.endswith("*prey*hunters")
    assert float(best.text.split("*")[0]) == pytest.approx(0.9, rel=0.05)
    assert results["learned"].estimates["share"].value == pytest.approx(0.8 / 0.9, rel=0.05)


@pytest.mark.long
def test_friction_is_learned_read_and_foretells():
    _, results = done("pendulum_friction")
    assert next(iter(results["learned"].held_out.values())) < 1.3
    (lost,) = results["law"].readings
    best = lost.formulas[lost.best]
    assert best.text.endswith("*ω*abs(ω)")
    assert float(best.text.split()[0]) == pytest.approx(0.1, rel=0.02)


@pytest.mark.long
def test_a_drone_that_foresees_holds_better_in_gusts():
    _, results = done("surprise")
    alone, helped = ({s.name: s for s in results[name].spreads}["error"] for name in ("law_alone", "with_network"))
    assert helped.mean < 0.7 * alone.mean


# ---------------------------------------------------------------- subjects


@pytest.mark.long
def test_a_drug_in_twelve_subjects():
    """By the closed form of one compartment with absorption (Bateman 1910), for all together and one by one."""
    _, results = done("theophylline")
    subject, _, dose, hours, seen = rows("theophylline.csv").T

    def off(x, of):
        ka, V, CL = np.exp(x)
        k = CL / V
        level = dose[of] * ka / V / (ka - k) * (np.exp(-k * hours[of]) - np.exp(-ka * hours[of]))
        return level - seen[of]

    start = np.log([1.5, 0.5, 0.04])
    typical, each = results["typical"], results["each_subject"]
    everyone = least_squares(off, start, args=(subject > 0,), xtol=1e-12)
    assert [typical.estimates[n].value for n in ("ka", "V", "CL")] == pytest.approx(np.exp(everyone.x), rel=1e-4)
    assert typical.estimates["error"].value == pytest.approx(np.sqrt(2 * everyone.cost / len(seen)), rel=1e-4)
    alone = [least_squares(off, start, args=(subject == n,), xtol=1e-12) for n in range(1, 13)]
    assert each.estimates["error"].value == pytest.approx(np.sqrt(2 * sum(a.cost for a in alone) / len(seen)), rel=1e-3)
    for at, name in enumerate(("ka", "V", "CL")):
        np.testing.assert_allclose(each.estimates[name].value, [np.exp(a.x[at]) for a in alone], rtol=1e-3)
