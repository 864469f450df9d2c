"""Noise on a clock, hard decisions and annealing: what is drawn, what depends on it, and what can be learned in it."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import dpl
from dpl.cli.main import main
from dpl.runtime import noise
from dpl.tasks.run import run_tasks
from dpl.tasks.sampling import stream
from tests.compiled import at, gradient, static, value
from tests.test_tasks import Memory, Pressed

ROOT = Path(__file__).parent.parent

# A walk: x(1) is 0.1 s times the sum of ten gusts, each normal(mean, sd).
WALK = """
scenario Walk {
  param mean: m/s = 0.5
  param sd: m/s = 2
  noise gust: m/s ~ normal(mean, sd) every 100 [ms]
  noise other: m/s ~ normal(mean, sd) every 100 [ms]
  state x: m = 0
  x' = gust
  run for 1 [s] using euler(50 [ms])
  metric far = final(x)
  metric power = average(gust²)
  metric both = average(gust*other)
}
evaluate walks { on Walk; samples 4_000 }
optimize least { on Walk; vary mean; minimize far²; samples 50 }
verify near { on Walk; samples 30; expect far < 1 [m] }
"""


@pytest.fixture(scope="module")
def walk():
    return dpl.compile(WALK).scenarios["Walk"]


@pytest.fixture(scope="module")
def measured(walk):
    """Every measure of the runs `indices` of a seed, with other values of params."""

    @jax.jit
    def found(seed, indices, changes):
        rows = walk.draw(seed, indices)
        return jax.vmap(lambda row: walk.measures_si({**walk.values_si(), **changes, **row})[0])(rows)

    return lambda indices, seed=0, **changes: found(seed, jnp.asarray(indices), changes)


def test_mean_and_sd_over_runs_and_ticks(measured):
    found = measured(range(4000))
    # Ten independent draws in each run: sd(x) is 0.1 s * √10 * 2 m/s. Within four standard errors.
    assert np.mean(found["far"]) == pytest.approx(0.5, abs=4 * 0.6325 / 63)
    assert np.std(found["far"]) == pytest.approx(0.1 * np.sqrt(10) * 2, rel=4 / np.sqrt(8000))
    assert np.mean(found["power"]) == pytest.approx(2**2 + 0.5**2, rel=0.03)
    assert np.mean(found["both"]) == pytest.approx(0.5**2, abs=4 * 4.25 / np.sqrt(40_000))  # two noises share nothing


def test_a_noise_is_held_between_its_ticks_and_drawn_at_them(walk):
    run = walk.simulate(points=20)
    gust = run["gust"]
    assert_array_equal(gust[:-1:2], gust[1::2])
    assert np.unique(gust).size == 11  # ten in the run, and the one at its end


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("normal", stats.norm()),
        ("uniform", stats.uniform()),
        ("exponential", stats.expon()),
        ("gumbel", stats.gumbel_r()),
    ],
)
def test_standard_draws_are_those_of_scipy(name, reference):
    key = noise.stream(noise.keys(3, jnp.arange(8))[5], "gust")
    draws = jax.vmap(lambda tick: getattr(noise, name)(key, tick, (5,)))(jnp.arange(800.0))
    assert stats.kstest(np.ravel(draws), reference.cdf).pvalue > 1e-3
    assert np.unique(draws).size == draws.size


def test_a_draw_depends_on_seed_run_name_and_tick_alone(walk, measured):
    batch = measured(range(50))["far"]
    assert_array_equal(measured(range(50))["far"], batch)
    assert_allclose(measured([7, 31])["far"], np.asarray(batch)[[7, 31]], rtol=1e-12)
    assert np.unique(np.concatenate([batch, measured(range(50), seed=1)["far"]])).size == 100
    another = "noise a[3]: m/s ~ normal(0, 1) every 50 [ms]\n  noise other"
    text = WALK.replace("run for 1 [s]", "run from 2 [s] for 3 [s]").replace("noise other", another)
    longer = dpl.compile(text).scenarios["Walk"]
    assert_array_equal(longer.simulate(points=60)["gust"][:20], walk.simulate(points=20)["gust"][:20])


def test_the_derivative_through_a_noise_is_that_of_common_draws(measured):
    for name in ("mean", "sd"):
        loss = lambda p, name=name: jnp.mean(measured(range(20), **{name: p})["far"] ** 2)  # noqa: E731
        h = 1e-5
        assert_allclose(jax.grad(loss)(1.3), (loss(1.3 + h) - loss(1.3 - h)) / (2 * h), rtol=1e-7)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("normal(a, b)", lambda a, b, u: a + b * stats.norm.ppf(u)),
        ("lognormal(a, b)", lambda a, b, u: a * np.exp(b * stats.norm.ppf(u))),
        ("uniform(a, a + b)", lambda a, b, u: a + b * u),
        ("exponential(a)", lambda a, b, u: -a * np.log1p(-u)),
        ("gumbel(a, b)", lambda a, b, u: a - b * np.log(-np.log(u))),
    ],
)
def test_every_family_by_its_quantile(family, expected):
    text = f"scenario S {{ param a = 1.5; param b = 0.4; noise n ~ {family} every 1; state x = 0; x' = n; run for 1 }}"
    share = float(noise.uniform(noise.stream(noise.keys(0, jnp.arange(1))[0], "n"), jnp.asarray(0.0)))
    assert value(text, "n") == pytest.approx(expected(1.5, 0.4, share))
    h = 1e-6
    slope = (expected(1.5 + h, 0.4, share) - expected(1.5 - h, 0.4, share)) / (2 * h)
    assert gradient(text, "a", "n") == pytest.approx(slope, rel=1e-6)


def test_arguments_may_be_states_and_noise_may_be_an_array():
    text = """
    scenario S {
      state x = 3
      noise n[2] ~ normal(x, 1e-9) every 2
      noise m[2] ~ normal([10, 20], period*x) every 1
      x' = sum(n) + sum(m)
      run for 4
    }"""
    found = at(text)
    assert_allclose(found["n"], [3.0, 3.0], atol=1e-7)
    key = noise.stream(noise.keys(0, jnp.arange(1))[0], "m")
    assert_allclose(found["m"], np.array([10.0, 20.0]) + 3 * noise.normal(key, jnp.asarray(0.0), (2,)))


def test_tasks_meet_the_noise_of_their_runs(measured):
    results = {r.name: r for r in run_tasks(dpl.compile(WALK))}
    found = np.asarray(measured(range(4000), seed=stream(0, "verify"))["far"])
    (far, *_) = results["walks"].spreads
    assert [far.mean, far.sd, far.lowest] == pytest.approx([found.mean(), found.std(ddof=1), found.min()])
    # The best drift is against the mean of the gusts that these runs met.
    drift = np.mean(measured(range(50), seed=0, mean=0.0)["far"])
    assert_allclose(results["least"].found["mean"].value, -drift, rtol=1e-6)


def test_a_failing_run_is_repeated_with_its_noise(tmp_path, capsys):
    file, out = tmp_path / "walk.dpl", tmp_path / "out"
    file.write_text(WALK[: WALK.index("evaluate")] + WALK[WALK.index("verify") :])
    assert main(["run", str(file), "--out", str(out), "--json"]) == 1
    (task,) = json.loads(capsys.readouterr().out)["tasks"]
    (failing, *_) = task["expectations"][0]["failing"]["runs"]
    case = str(out / "cases" / f"near-run{failing['run']}.json")
    assert main(["run", str(file), "--case", case, "--out", str(tmp_path / "again"), "--json"]) == 0
    (again,) = json.loads(capsys.readouterr().out)["tasks"]
    assert again["measures"]["far"]["value"] == pytest.approx(failing["values"][0]["value"], rel=1e-9)


# ---------------------------------------------------------------- hard decisions


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()


@pytest.mark.parametrize(("argument", "temperature"), [("", 1.0), (", 0.3", 0.3), (", temperature = 2", 2.0)])
def test_choose_has_the_value_of_the_greatest_and_the_derivative_of_the_softmax(argument, temperature):
    text = static(
        "param s[3] = [0.3, 0.9, -1]", "param v[3]: N = [-10, 4, 7]", f"metric y = choose(s, v{argument})",
        f"metric listed = choose(s, [-10, 4, 7] [N]{argument})",
    )  # fmt: skip
    s, v = np.array([0.3, 0.9, -1.0]), np.array([-10.0, 4.0, 7.0])
    weights = softmax(s / temperature)
    assert value(text) == value(text, "listed") == 4
    found = {p: jax.grad(lambda x, p=p: at(text, changes={p: x})["y"])({"s": s, "v": v}[p]) for p in "sv"}
    assert_allclose(found["v"], weights, rtol=1e-12)
    assert_allclose(found["s"], weights * (v - weights @ v) / temperature, rtol=1e-12)


def test_choose_moves_with_its_values_between_decisions():
    text = "scenario S { state x = 2; x' = 3*x; let y = choose([-x, x], [x², x^3]); metric r = final(y'); run for 1 }"
    run = dpl.compile(text).scenarios["S"].simulate()
    assert run.metrics["r"] == pytest.approx(9 * (2 * np.exp(3.0)) ** 3, rel=1e-5)


def test_gumbel_noise_on_scores_draws_by_the_softmax():
    text = """
    scenario S {
      param scores[3] = [0, 1, -0.5]
      noise g[3] ~ gumbel(0, 1) every 1
      let pick = choose(scores + g, [0, 1, 2])
      state n[3] = [0, 0, 0]
      n' = [if pick == 0 then 1 else 0, if pick == 1 then 1 else 0, if pick == 2 then 1 else 0]
      run for 4_000 using euler(1)
      metric first = final(n[0]); metric second = final(n[1]); metric third = final(n[2])
    }"""
    metrics = dpl.compile(text).scenarios["S"].simulate(points=1).metrics
    shares = np.array([metrics[name] for name in ("first", "second", "third")]) / 4_000
    assert_allclose(shares, softmax(np.array([0, 1, -0.5])), atol=4 * 0.5 / np.sqrt(4_000))


# ---------------------------------------------------------------- annealing

HEATED = """
scenario S {
  given x ~ uniform(-1, 1)
  param heat: km = 1
  param k = 0.3
  loss miss = (k - x - heat/(1 [m]))²
}
train t {
  on S; vary all; minimize miss; anneal heat from 8 [m] to 2 [m]
  using sgd(rate = 1e-12); batch 1; steps 4; seed 0
}
train after { on S; vary k; minimize miss; using sgd(rate = 1e-12); batch 1; steps 1 }
"""


def losses(text):
    return [np.asarray(r.losses) for r in run_tasks(dpl.compile(text))]


def test_annealing_follows_its_path_and_stays_at_its_end():
    program = dpl.compile(HEATED)
    results = list(run_tasks(program))
    x = np.asarray(program.scenarios["S"].draw(0, jnp.arange(4))["x"])
    path = 8 * (1 / 4) ** (np.arange(4) / 3)
    assert_allclose(results[0].losses, (0.3 - x - path) ** 2, rtol=1e-6)
    assert_allclose(results[1].losses, (0.3 - x[:1] - 2) ** 2, rtol=1e-6)
    assert program.values["heat"] == 2.0
    assert "heat went from 0.008 to 0.002 km" in results[0].notes
    straight = losses(HEATED.replace("from 8 [m] to 2 [m]", "from 6 [m] to 0"))[0]
    assert_allclose(straight, (0.3 - x - 6 * (1 - np.arange(4) / 3)) ** 2, rtol=1e-6)


def test_a_lost_annealing_goes_on_bit_for_bit():
    text = HEATED.replace("steps 4", "steps 400; starts 2").replace("rate = 1e-12", "rate = 1e-2")
    text = text[: text.index("train after")]
    (whole,), memory = run_tasks(dpl.compile(text)), Memory()
    (part,) = run_tasks(dpl.compile(text), progress=Pressed(after=10), keeper=memory)
    lost = dpl.compile(text)
    (rest,) = run_tasks(lost, keeper=memory)
    assert part.status == "interrupted" and rest.status == "done"
    assert_array_equal(rest.losses, whole.losses)
    assert rest.found["k"].value == whole.found["k"].value
    assert max(lost.scenarios["S"].traces.values()) <= 3  # once for the steps, once for the judge, once for a start


def test_a_value_of_the_callers_is_not_annealed():
    (found, _) = run_tasks(dpl.compile(HEATED), settings={"heat": 3.0})
    assert not any("went from" in note for note in found.notes)


# ---------------------------------------------------------------- learning in noise

GUSTY = """
scenario S {
  noise gust ~ normal(0, 1) every 0.1
  state v = 0
  param k = 0 in 0..20
  v' = 5*gust - k*v
  run for 2 using euler(0.1)
  loss cost = average(v² + 0.02*(k*v)²)
}
train calm { on S; vary k; minimize cost; batch 64; steps 150; using adam(rate = 0.1) }
"""


def test_what_is_trained_in_gusts_is_the_best_gain():
    """Of the linear system v[n+1] = (1 - 0.1 k) v[n] + 0.5 ε the mean cost over 20 ticks is known."""
    (result,) = run_tasks(dpl.compile(GUSTY))
    gains = np.linspace(0, 15, 1501)
    decay = (1 - 0.1 * gains) ** 2
    variance, total = np.zeros_like(gains), np.zeros_like(gains)
    for _ in range(20):
        total += variance * (1 + 0.02 * gains**2) / 20
        variance = decay * variance + 0.25
    assert result.found["k"].value == pytest.approx(gains[np.argmin(total)], rel=0.15)
    assert result.judged.value == pytest.approx(total.min(), rel=0.1)


def test_the_drone_learns_to_hold_its_height_better_than_the_law_alone():
    *_, verified = run_tasks(dpl.load(ROOT / "examples" / "gusts.dpl"))
    assert verified.status == "done"
    assert verified.checked[0].operands[0][0] < 0.55
