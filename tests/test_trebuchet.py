"""The library's trebuchet and its derivatives, against SciPy with located events and the article that published it."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import dpl

HERE = Path(__file__).parent
KNOWN = json.loads((HERE / "data" / "trebuchet.json").read_text())
MODEL = (HERE.parent / "models" / "trebuchet.dpl").read_text()
SCENARIO = """
scenario S {{
  given wind: m/s = -2; given release: deg = 45; given weight: lb = 200
  part trebuchet = Trebuchet(wind = wind, release = release, weight = weight)
  run until stop within 30 [s] {method}
  metric range = final(trebuchet.range)
}}
"""


def shots(model, settings, method=""):
    """Distance [m] and its derivatives by wind [m/s], release [°] and weight [lb], one row per setting."""
    scenario = dpl.compile(model + SCENARIO.format(method=method)).scenarios["S"]

    def distance(setting):
        givens = dict(zip(("wind", "release", "weight"), setting, strict=True))
        value = scenario.evaluate(givens=givens, mode="forward")["range"]
        return value, value

    slopes, values = jax.jit(jax.vmap(jax.jacfwd(distance, has_aux=True)))(jnp.asarray(settings))
    return np.column_stack([values, slopes])


def exchanged():
    """The model with the arm's moment of inertia given to the weight, and the weight's to the arm."""
    text = MODEL
    for right, wrong in (("½*Ib*A'²", "½*Iw*A'²"), ("½*Iw*(A' + W')²", "½*Ib*(A' + W')²")):
        assert text.count(right) == 1
        text = text.replace(right, wrong)
    return text


def test_distances_and_gradients_are_those_of_the_reference():
    known = np.array(KNOWN["shots"])
    found = shots("from trebuchet import Trebuchet\n", known[:, :3])
    assert_allclose(found[0], [71.122916, 3.82566, -0.95027, 0.077177], rtol=5e-6)  # as it is published
    assert_allclose(found[:, 0], known[:, 3], rtol=0, atol=1e-4)
    assert_allclose(found[:, 1:], known[:, 4:], rtol=1e-5)


@pytest.mark.long
def test_with_exchanged_inertias_it_is_the_julia_model():
    known = np.array(KNOWN["exchanged"])
    assert_allclose(known[0, 3:], [74.3515, 4.0130, -1.0024, 0.0674], rtol=5e-4)
    assert_allclose(shots(exchanged(), known[:, :3]), known[:, 3:], rtol=1e-5)


@pytest.mark.long
def test_with_its_euler_steps_too_it_has_the_published_gradient():
    euler = "using euler(16.666666666666667 [ms])"  # 1/60 s
    _, by_wind, by_release, by_weight = shots(exchanged(), [[-2.0, 45.0, 200.0]], euler)[0]
    assert (by_wind, by_release) == pytest.approx((4.02, -0.99), rel=0.01)
    assert 0.05 < by_weight < 0.07
