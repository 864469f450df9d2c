"""Large scalar systems in groups: the same numbers as without, and still the line of each equation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bench.cells import cell
from dpl import api
from dpl.compiler import grouping
from dpl.runtime.blame import blame
from dpl.runtime.groups import Joined, Table, joined, looked_up, packed


def program(text: str, monkeypatch: pytest.MonkeyPatch, least: int) -> api.Program:
    monkeypatch.setattr(grouping, "LEAST_NODES", least)
    return api.compile(text, "cell.dpl")


SHORT = "run for 0.2 [s] using euler(50 [ms])"


@pytest.mark.parametrize("seed", [0, 1])
def test_groups_compute_what_the_equations_say(seed: int, monkeypatch: pytest.MonkeyPatch):
    text = cell(8, seed).dpl(SHORT)
    found = []
    for least in (0, 10**9):
        scenario = program(text, monkeypatch, least).scenarios["Cell"]
        spec = scenario.spec
        assert spec.rhs is not None and spec.start is not None

        def everything(values, spec=spec):
            c = spec.fixed(values)
            x = jnp.stack(list(spec.start(c)[0]))
            slopes = lambda x: jnp.stack(list(spec.rhs(0.3, tuple(x), (), (), c)[0]))  # noqa: E731
            return jax.jvp(slopes, (x,), (jnp.cos(x),)), jnp.stack(
                list(spec.observe(0.3, tuple(x), (), (), c).values())
            )

        found.append(jax.tree.leaves(jax.jit(everything)(scenario.values_si())))
    for ours, plain in zip(*found, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-13, atol=1e-14)


def test_gradients_of_a_run_are_differences(monkeypatch: pytest.MonkeyPatch):
    scenario = program(cell(6, 2).dpl(SHORT), monkeypatch, 0).scenarios["Cell"]
    at = {"params": dict(scenario.params), "starts": dict(scenario.starts)}
    loss = lambda at: scenario.evaluate(at["params"], starts=at["starts"])["off"]  # noqa: E731
    gradient = jax.grad(loss)(at)
    along = jax.tree.map(lambda v: 1e-5 * np.cos(20 * v), at)
    up, down = (loss(jax.tree.map(lambda v, d: v + sign * d, at, along)) for sign in (1, -1))  # noqa: B023
    expected = sum(float(np.sum(g * d)) for g, d in zip(*map(jax.tree.leaves, (gradient, along)), strict=True))
    assert float(up - down) / 2 == pytest.approx(expected, rel=1e-6)


def test_what_no_vector_can_hold_stands_between_the_groups(monkeypatch: pytest.MonkeyPatch):
    lines = [f"state x{i} = {0.1 * (i + 1)}" for i in range(9)]
    lines += [
        "state T[3] = 0.5",
        "T' = x0 - T",
        "let total = sum(T)*x1",
        "let z in 0..9",
        "z^3 + z = x2 + total",
    ]
    lines += [f"x{i}' = -x{i}*x{(i + 1) % 9} + z/(1 + x{i}) + (if x{i} > 0.4 then total else T[1])" for i in range(9)]
    text = "scenario S {\n" + "\n".join(lines) + "\nrun for 0.2 using euler(0.1)\nloss l = final(x3 + total)\n}"
    seen = [program(text, monkeypatch, least).scenarios["S"].simulate(2) for least in (0, 10**9)]
    for name in seen[1].names:
        np.testing.assert_allclose(seen[0][name], seen[1][name], rtol=1e-12)


def test_small_systems_are_left_alone():
    assert "groups." not in api.compile(cell(10).dpl(), "cell.dpl").source
    assert "groups." in api.compile(cell(130).dpl(), "cell.dpl").source


def test_the_code_hardly_grows_with_the_system(monkeypatch: pytest.MonkeyPatch):
    """Statements of the right-hand side: a few for each shape of expression, however many equations there are."""

    def statements(species: int) -> int:
        source = program(cell(species).dpl(), monkeypatch, 0).source
        return source.partition("def cell_rhs")[2].partition("return")[0].count("\n")

    assert statements(80) < 1.5 * statements(40)


def test_blame_names_the_line_of_the_equation(monkeypatch: pytest.MonkeyPatch):
    lines = [f"  param k{i} = 1\n  state x{i} = 1\n  x{i}' = log(k{i}*x{i}) - x{i}" for i in range(12)]
    text = "scenario S {\n" + "\n".join(lines) + "\n  run for 1 using euler(0.1)\n  loss l = final(x0)\n}"
    made = program(text, monkeypatch, 0)
    scenario = made.scenarios["S"]
    values = {**scenario.values_si(), "k7": np.asarray(-1.0)}
    found = blame(made.source, scenario.spec, scenario.method, values)
    assert found is not None
    assert found.origin == f"cell.dpl:{text[: text.index('x7' + chr(39))].count(chr(10)) + 1}"
    assert -1.0 in found.inputs.values()


# ---------------------------------------------------------------- tables


def _table(rng: np.random.Generator) -> tuple[Table, np.ndarray]:
    rows = [tuple(map(int, rng.integers(0, 30, n))) for n in (1, 4, 9, 0, 2, 40)] + [tuple(range(30))]
    weights = [tuple(rng.normal(size=len(row))) for row in rows]
    matrix = np.zeros((len(rows), 30))
    for i, (row, given) in enumerate(zip(rows, weights, strict=True)):
        for column, weight in zip(row, given, strict=True):
            matrix[i, column] += weight
    return Table(30, rows, weights), matrix


def test_a_table_is_a_sparse_matrix_with_all_its_derivatives():
    rng = np.random.default_rng(0)
    table, matrix = _table(rng)
    x, many = rng.normal(size=30), rng.normal(size=(5, 30))
    ours, plain = (lambda v: jnp.sum(table(jnp.sin(v)) ** 2)), (lambda v: jnp.sum((matrix @ jnp.sin(v)) ** 2))
    np.testing.assert_allclose(table(x), matrix @ x, atol=1e-13)
    np.testing.assert_allclose(jax.jit(jax.hessian(ours))(x), jax.jit(jax.hessian(plain))(x), atol=1e-11)
    np.testing.assert_allclose(
        jax.jit(jax.vmap(jax.grad(ours)))(many), jax.jit(jax.vmap(jax.grad(plain)))(many), atol=1e-11
    )


def test_what_is_not_finite_spoils_its_own_rows_only():
    x = jnp.asarray([jnp.nan, 1.0, 2.0])
    np.testing.assert_allclose(Table(3, [(1, 2), (1,), (1, 2, 1)])(x), [3.0, 1.0, 4.0])


def test_numbers_travel_in_one_vector_and_come_back_with_their_derivatives():
    values = {f"p{i}": jnp.asarray(float(i)) for i in range(64)} | {"w": jnp.ones(3)}
    found = packed(values)
    assert set(found) == set(values) and all(np.all(found[k] == values[k]) for k in values)
    weights = jnp.arange(64.0)
    weigh = lambda v: jnp.sum(weights * looked_up(packed(v), [f"p{i}" for i in range(64)]) ** 2) + v["w"].sum()  # noqa: E731
    expected = {k: 2.0 * float(v) ** 2 if k != "w" else np.ones(3) for k, v in values.items()}
    jax.tree.map(np.testing.assert_allclose, jax.grad(weigh)(values), expected)
    assert isinstance(packed({"a": jnp.zeros(())}), dict)


def test_joined_numbers_read_like_a_tuple():
    both = Joined(jnp.arange(3.0))
    assert tuple(both) == (0.0, 1.0, 2.0) and len(both) == 3 and joined(both) is both.vector
