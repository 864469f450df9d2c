"""Laws of `suggest`: it finds what the numbers were made by, in any units, and says when there is nothing to find."""

import re
from functools import cache
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest

from dpl import language
from dpl.compiler.driver import compile_model
from dpl.language.diagnostics import CompileError
from dpl.language.source import Source
from dpl.runtime import networks, program, spec
from dpl.tasks import units
from dpl.tasks.context import Context
from dpl.tasks.library import Input
from dpl.tasks.suggest import Reading, reading, suggest

POINTS, NOISE = 300, 0.01


def drawn(low: float, high: float, name: str, unit: str = "", seed: int = 0) -> Input:
    return Input(name, np.random.default_rng([seed, *name.encode()]).uniform(low, high, POINTS), unit)


HARE, LYNX = drawn(5, 80, "hare"), drawn(3, 60, "lynx")
CONC, V = drawn(0, 20, "conc", "mg/L"), drawn(-5, 3, "v", "m/s")
SPEED, ANGLE = drawn(0, 10, "speed", "m/s"), drawn(0, 1.5, "angle", "rad")

LAWS = {
    "product": ((HARE, LYNX), "1/year", lambda h, y: 0.0254 * h * y, "0.0254 [1/year]*hare*lynx"),
    "saturation": ((CONC,), "mg/h", lambda c: 2.1 * c / (4.2 + c), "2.1 [mg/h]*conc/(4.2 [mg/L] + conc)"),
    "drag": ((V,), "m/s^2", lambda v: -0.3 * v * np.abs(v), "-0.3 [1/m]*v*abs(v)"),
    "range": ((SPEED, ANGLE), "m", lambda s, a: s**2 * np.sin(2 * a) / 9.81, "0.10194 [s^2/m]*sin(2*angle)*speed²"),
    "response": ((HARE, LYNX), "", lambda h, y: 2.1 * y * h / (20 + h), "2.1*lynx*hare/(20 + hare)"),
    "decay": ((CONC,), "", lambda c: 5 * np.exp(-c / 3), "5*exp(-conc/3 [mg/L])"),
    "affine": ((CONC,), "kg", lambda c: 2 - 0.5 * c, "2 [kg] - 0.5 [kg*L/mg]*conc"),
}


def read(law: str, noise: float = 0.0) -> Reading:
    inputs, unit, function, _ = LAWS[law]
    values = function(*(one.values for one in inputs))
    values = values + noise * np.std(values) * np.random.default_rng(1).standard_normal(POINTS)
    return reading(inputs, Input("y", values, unit))


def best(found: Reading) -> str:
    assert found.best is not None
    return found.formulas[found.best].text


@pytest.mark.parametrize("law", LAWS)
def test_what_the_numbers_were_made_by_is_found(law: str) -> None:
    found = read(law)
    assert best(found) == LAWS[law][3]
    assert found.formulas[found.best or 0].error < 1e-6


@pytest.mark.parametrize("law", LAWS)
def test_and_found_under_noise(law: str) -> None:
    found = read(law, NOISE)
    chosen = found.formulas[found.best or 0]
    assert shape(chosen.text) == shape(LAWS[law][3])
    assert chosen.error == pytest.approx(NOISE, rel=0.2)


def shape(text: str) -> str:
    """A formula without its numbers, but for that of `sin(2*angle)`."""
    return re.sub(r"(?<![\w.])\d[\d.]*(e[+-]?\d+)?(?!\*angle)", "#", text)


@pytest.mark.parametrize("law", ["product", "saturation", "drag", "response"])
def test_units_do_not_matter(law: str) -> None:
    inputs, unit, function, _ = LAWS[law]
    values = function(*(one.values for one in inputs))
    scaled = [Input(one.name, one.values * 1e6, one.unit) for one in inputs]
    here, there = read(law), reading(scaled, Input("y", values * 1e-8, unit))
    assert [shape(f.text) for f in here.formulas] == [shape(f.text) for f in there.formulas]
    assert [f.error for f in here.formulas] == pytest.approx([f.error for f in there.formulas], abs=1e-6)


@pytest.mark.parametrize("teeth", [4, 7])
def test_a_sawtooth_is_none_of_them(teeth: int) -> None:
    x = drawn(0, 1, "x")
    found = reading((x,), Input("y", (teeth * x.values) % 1.0))
    assert found.best is None
    assert found.formulas


def test_proposals_get_better_as_they_get_longer() -> None:
    found = read("response", NOISE).formulas
    assert len(found) > 2
    assert all(a.complexity < b.complexity and a.error > b.error for a, b in pairwise(found))
    assert all(f.terms <= 3 for f in found)


def test_a_constant_is_a_constant() -> None:
    found = reading((HARE,), Input("y", np.full(POINTS, 3.0), "m"))
    assert best(found) == "3 [m]"


@pytest.mark.parametrize("law", LAWS)
def test_a_proposal_is_an_expression_of_the_language(law: str) -> None:
    """Of the unit of the output, which the compiler checks."""
    inputs, unit, _, _ = LAWS[law]
    texts = [formula.text for formula in read(law, NOISE).formulas]
    assert len(texts) > 1
    for text in texts[1:]:  # the first is a number, which fits any unit
        givens = "\n".join(f"  param {one.name}: {one.unit or 1} = 1" for one in inputs)
        language.load_text(Source("test.dpl", f"scenario S {{\n{givens}\n  metric y: {unit or 1} = {text}\n}}"))
        with pytest.raises(CompileError):
            language.load_text(Source("test.dpl", f"scenario S {{\n{givens}\n  metric y: cd = {text}\n}}"))


@pytest.mark.parametrize("text", ["m/s^2", "1/(N*m)^2", "kg*m^2/(s^2*A)", "m^(1/2)", "%", "", "mg/L", "s^-1"])
def test_a_unit_is_the_product_of_its_powers(text: str) -> None:
    once = units.powers(text)
    assert units.powers(units.written(once)) == once
    assert units.times(once, units.raised(once, -1)) == {}


# ---------------------------------------------------------------- a network in a scenario

HUDSON = """
network eaten(hare in 0..100, lynx in 0..100) -> rate: 1/year { hidden 24 }
scenario Hudson {
  param birth: 1/year = 0.5
  state hare = 30
  state lynx = 4
  hare' = birth*hare - eaten(hare, lynx)
  lynx' = 0.8*eaten(hare, lynx) - 0.9 [1/year]*lynx
  run for 20 [year]
}
"""
MODES = """
network net(x: m in 0..10) -> rate: m/s in -20..20 { hidden 4 }
model Ball {
  state x: m = 10
  mode fall { x' = 0.01*net(x) - 1 [m/s]
    when low: x < 5 [m] { go rise } }
  mode rise { x' = 1 [m/s]
    when high: x > 8 [m] { go fall } }
}
scenario S { part ball = Ball()
  run for 10 [s] }
"""


@cache
def compiled(text: str) -> program.Program:
    return program.load(compile_model(language.load_text(Source("test.dpl", text))).source, "test")


def taught(network: spec.Network, inputs: list[np.ndarray], values: np.ndarray) -> networks.Weights:
    """Weights of a network of one hidden layer that come near to some values [SI]: the last layer by least squares."""
    weights = networks.init(network, 0)
    first = 1.5 * weights["w"][0]
    bias = jnp.asarray(np.random.default_rng(3).standard_normal(first.shape[1]))
    scaled = [2 * x / port.high - 1 for x, port in zip(inputs, network.inputs, strict=True) if port.high]
    features = np.tanh(np.stack(scaled, axis=1) @ np.asarray(first) + np.asarray(bias)[None])
    columns = np.column_stack([features, np.ones(len(values))])
    last = np.linalg.lstsq(columns, values / network.outputs[0].scale)[0]
    return {"w": (first, jnp.asarray(last[:-1, None])), "b": (bias, jnp.asarray(last[-1:]))}


def suggested(found: program.Program, scenario: str, network: str):
    task = spec.Task("suggest", "law", "", scenario, network=network)
    return suggest(found, task, Context())


def test_a_network_is_read_where_its_runs_go() -> None:
    found = compiled(HUDSON)
    network = found.scenarios["Hudson"].spec.networks[0]
    year = network.outputs[0].scale
    grid = [np.random.default_rng(i).uniform(0, high, 800) for i, high in enumerate((90.0, 60.0))]
    found.values["eaten"] = taught(network, grid, 0.025 * grid[0] * grid[1] * year)
    result = suggested(found, "Hudson", "eaten")
    run = found.scenarios["Hudson"].simulate()
    assert result.inputs["hare"].value == pytest.approx(run["hare"][np.isin(run["hare"], result.inputs["hare"].value)])
    assert np.ptp(result.inputs["hare"].value) == pytest.approx(np.ptp(run["hare"]))
    (one,) = result.readings
    assert shape(best(one)) == "# [#/year]*hare*lynx"
    assert float(best(one).split()[0]) == pytest.approx(0.025, rel=0.05)


@pytest.mark.long
def test_a_mode_that_does_not_call_it_says_nothing() -> None:
    result = suggested(compiled(MODES), "S", "ball.net" if "ball.net" in compiled(MODES).values else "net")
    assert result.inputs["x"].value.min() >= 5 - 1e-6
    run = compiled(MODES).scenarios["S"].simulate()
    assert result.points < len(run.time)


def test_many_inputs_are_no_endless_search() -> None:
    inputs = [drawn(0.5, 2, f"x{n}", seed=n) for n in range(12)]
    found = reading(inputs, Input("y", 3 * inputs[4].values * inputs[7].values))
    assert best(found) == "3*x4*x7"
