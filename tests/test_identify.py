"""Laws of what data can tell apart: redundant parameters are named before a fit, sloppy ones are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dpl
from dpl.runtime.bounds import Bounds
from dpl.runtime.spec import Param
from dpl.tasks import determined
from dpl.tasks.identifiability import Group, Parameter, Point, groups
from dpl.tasks.result import Silent
from dpl.tasks.run import run_tasks
from dpl.tasks.vary import Freedom

T = np.linspace(0.1, 8.0, 25)
decay = lambda k: jnp.exp(-k * T)  # noqa: E731


def found(model, failing=(), **values):
    """The groups of `model(**parameters)`, looked at around these values; `failing` of the points are not finite."""
    names = [f"{n}[{i}]" for n, v in values.items() for i in range(np.size(v))]
    labels = [name if np.size(values[name[:-3]]) > 1 else name[:-3] for name in names]
    start = np.concatenate([np.atleast_1d(np.asarray(v, float)) for v in values.values()])

    def expected(p):
        parts = np.split(np.arange(len(start)), np.cumsum([np.size(v) for v in values.values()])[:-1])
        return jnp.ravel(
            model(**{n: p[i] if np.ndim(v) else p[i[0]] for (n, v), i in zip(values.items(), parts, strict=True)})
        )

    slopes, told, draws = jax.jit(jax.jacfwd(expected)), jax.jit(expected), np.random.default_rng(0)
    at = [start, *(start * np.exp(0.4 * draws.standard_normal(len(start))) for _ in range(2))]
    points = [Point(p, np.asarray(slopes(p)) / 0.1) for p in at]
    points = [Point(p.values, np.nan * p.rows) if i in failing else p for i, p in enumerate(points)]
    parameters = [
        Parameter(n[:-3], label, f"pk.dpl:{i + 4}") for i, (n, label) in enumerate(zip(names, labels, strict=True))
    ]
    return groups(parameters, points, lambda p: [np.asarray(told(p))])


SIMPLE = {
    "F/V": (lambda V, F, k: F / V * decay(k), {"V": 2.0, "F": 0.5, "k": 0.3}),
    "a*b": (lambda a, b, k: a * b * decay(k), {"a": 2.0, "b": 0.5, "k": 0.3}),
    "a*b*c": (lambda a, b, c, k: a * b * c * decay(k), {"a": 2.0, "b": 0.5, "c": 0.7, "k": 0.3}),
    "a*b^2": (lambda a, b, k: a * b**2 * decay(k), {"a": 2.0, "b": 0.5, "k": 0.3}),
    "a + b": (lambda a, b, k: (a + b) * decay(k), {"a": 2.0, "b": 0.5, "k": 0.3}),
    "a - b": (lambda a, b, k: (a - b) * decay(k), {"a": 2.0, "b": 0.5, "k": 0.3}),
    "a + 2*b": (lambda a, b, k: (a + 2 * b) * decay(k), {"a": 2.0, "b": 0.5, "k": 0.3}),
}


@pytest.mark.parametrize("form", SIMPLE)
def test_what_only_appears_together_is_named(form):
    model, values = SIMPLE[form]
    (group,) = found(model, **values)
    assert group.combinations == (form,)
    assert set(group.names) == set(values) - {"k"}
    assert group.excess == len(group.names) - 1


def test_the_words_name_the_lines_and_a_way_out():
    (group,) = found(*SIMPLE["F/V"][:1], **SIMPLE["F/V"][1])
    assert str(group) == "V (pk.dpl:4) and F (pk.dpl:5) only appear as F/V: fix one of them"
    assert "priors" in str(Group(group.names, group.origins, group.combinations, 1, priors=True))


def test_two_combinations_of_three():
    def oral(F, V, CL, ka):
        k = CL / V
        return F * ka / (V * (ka - k)) * (decay(k) - decay(ka))

    (group,) = found(oral, F=0.8, V=20.0, CL=3.0, ka=1.1)
    assert (group.names, group.excess) == (("F", "V", "CL"), 1)
    assert set(group.combinations) == {"F/V", "CL/V"}


def test_what_does_nothing_is_named():
    (group,) = found(lambda a, b: a * decay(0.3) + 0 * b, a=1.0, b=2.0)
    assert "b (pk.dpl:5) changes nothing that is observed" in str(group)


def test_a_sum_within_a_product():
    words = {str(g) for g in found(lambda a, b, c, k: a * (b + c) * decay(k), a=2.0, b=0.5, c=0.3, k=0.2)}
    assert "b (pk.dpl:5) and c (pk.dpl:6) only appear as b + c: fix one of them" in words
    assert any("one combination of a (pk.dpl:4) and b (pk.dpl:5)" in w for w in words) and len(words) == 2


def test_what_each_run_has_its_own_is_named_once():
    model = lambda F, V, k: jnp.outer(F * V, decay(k))  # noqa: E731
    (group,) = found(model, F=0.8, V=[1.0, 2.0, 3.0], k=0.4)
    assert (group.names, group.combinations) == (("F", "V"), ("F*V",))


def exponentials(a, k):
    return a @ jnp.exp(-jnp.outer(k, T))


@pytest.mark.parametrize("rates", [[0.5, 1.0], [0.5, 1.0, 2.0], [0.3, 0.6, 1.2, 2.4], [1.0, 1.0], [1.0, 1.1, 1.2]])
def test_sloppy_is_not_redundant(rates):
    """Nor are equal rates at the start, where the sensitivities of two terms are the same by accident."""
    assert found(exponentials, a=np.ones(len(rates)), k=np.array(rates)) == ()


def test_points_that_fail_do_not_count():
    model, values = SIMPLE["F/V"]
    assert found(model, failing=(1,), **values) == found(model, **values)
    assert found(model, failing=(0, 1, 2), **values) == ()


def test_an_accident_of_the_start_alone_is_tried_out():
    """One point is left, where both rates are the same: the claim does not hold a little further on."""
    assert found(exponentials, failing=(1, 2), a=np.ones(2), k=np.ones(2)) == ()


def test_directions_are_the_axes_of_the_covariance():
    factor = np.diag([0.5, 10.0]) @ np.array([[0.6, 0.8], [0.8, -0.6]])
    (direction,) = determined.directions(("a", "b"), factor)
    assert direction.sd == pytest.approx(10.0)
    assert dict(direction.parts) == pytest.approx({"a": 0.8, "b": -0.6})
    assert determined.directions(("a", "b"), 0.09 * factor) == ()


@pytest.mark.parametrize(
    "limits, value, share",
    [
        (Bounds(), 212.7, 1 / 212.7),
        (Bounds(), 0.0, 1.0),
        (Bounds(0.0, None), 212.7, 1 / 212.7),
        (Bounds(0.0, None, scale=5000.0), 212.7, 1 / 212.7),
        (Bounds(None, 1000.0), -3.0, 1 / 1003.0),
        (Bounds(0.1, 10.0, log=True), 2.0, 1 / 2.0),
        (Bounds(-1.0, 1.0), 0.0, 2.0),
    ],
)
def test_well_known_numbers_are_not_hardly_determined(limits, value, share):
    """A standard error of 1, as a share; within an interval never more than in the free number."""

    class One:
        def each(self, of, x):
            return of(Freedom(Param("a", value), limits), x)

    u = limits.outward(np.array([value]))
    slope = np.asarray(jax.vmap(jax.grad(limits.inward))(u))
    assert determined.shares(One(), u, slope) / np.abs(slope) == pytest.approx([share], rel=1e-6)
    assert bool(determined.directions(("a",), determined.shares(One(), u, slope)[None] / slope)) == (share > 1)


class Heard(Silent):
    """Keeps the order in which things are told."""

    def __init__(self):
        self.told: list[str] = []

    def advance(self, done: int, value: float | None = None, **shown: str) -> None:
        self.told.append("step")

    def say(self, text: str) -> None:
        self.told.append(text)


def test_what_data_cannot_tell_apart_is_said_before_the_first_step():
    program = dpl.compile(
        """
data d(x, y) { 1, 2; 2, 4.1; 3, 6.2 }
scenario S { given r from d; param a = 1; param b = 2; observe r.y ~ normal(a*b*r.x, 0.1) }
fit f { on S; vary all }
""",
        "ab.dpl",
    )
    heard = Heard()
    (result,) = run_tasks(program, progress=heard)
    assert heard.told[0] == "fit f: a (ab.dpl:3) and b (ab.dpl:3) only appear as a*b: fix one of them"
    assert "step" in heard.told and any("only appear as a*b" in note for note in result.notes)
