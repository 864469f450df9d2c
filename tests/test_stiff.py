"""Stiff systems: linearly implicit steps, where their Jacobian comes from, and the choice of a solver."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import dpl
from dpl.runtime import implicit, linear, rosenbrock, solve, sparsity, stiffness

STIFF = Path(__file__).parent / "data" / "stiff"
PUBLISHED = json.loads((STIFF / "published.json").read_text())
"""Test Set for IVP Solvers (Mazzia and Magherini 2008, release 2.4): the states at the end, by RADAU5 or RADAU at a
tolerance of 1.1e-18 in quadruple precision"""
LONG = [pytest.mark.long]


def compiled(text: str, name: str = "S") -> Any:
    return dpl.compile(text).scenarios[name]


def problem(name: str) -> Any:
    return next(iter(dpl.compile((STIFF / f"{name}.dpl").read_text()).scenarios.values()))


# ---------------------------------------------------------------- one step


def test_a_step_has_its_order_also_where_the_time_acts() -> None:
    """y' = y v cos t - y², v' = sin 2t - y v against DOP853, with the interpolant at 0.3 of each step."""
    slope = lambda t, y: jnp.stack([y[1] * jnp.cos(t) - y[0] ** 2, jnp.sin(2 * t) - y[0] * y[1]])  # noqa: E731
    entries = implicit.probed(slope, 2, True, (jnp.zeros(()), jnp.zeros(2)))
    assert entries.form.of(jnp.arange(4.0)).shape == (2, 2)
    step = jax.jit(lambda t, y, h: rosenbrock.step(implicit.system(slope, 2, 0, True, (t, y), entries), t, y, h))
    truth = solve_ivp(slope, (0, 2), [1, 0.5], method="DOP853", rtol=1e-13, atol=1e-14, dense_output=True).sol
    errors = []
    for count in (20, 40):
        y, h, inside, estimate = jnp.asarray([1, 0.5]), 2 / count, 0.0, 0.0
        for k in range(count):
            out = step(k * h, y, h)
            middle = rosenbrock.between(y, out.new, out.increments, 0.3)
            inside = max(inside, float(np.max(np.abs(middle - truth((k + 0.3) * h)))))
            estimate = max(estimate, float(np.max(np.abs(out.error))))
            y = out.new
        errors.append([float(np.max(np.abs(y - truth(2.0)))), inside, estimate])
    orders = np.log2(np.divide(*errors))
    assert np.all(orders > [4.6, 4.6, 4.6]), orders


# ---------------------------------------------------------------- published digits


@pytest.mark.parametrize(
    ("name", "within"),
    [
        ("robertson", 1e-7),
        pytest.param("vdpol", 1e-8, marks=LONG),
        pytest.param("hires", 1e-8, marks=LONG),
        pytest.param("orego", 1e-8, marks=LONG),
        pytest.param("pollu", 1e-8, marks=LONG),
    ],
)
def test_published_digits(name: str, within: float) -> None:
    one = problem(name)
    assert one.spec.jacobian is not None
    np.testing.assert_allclose([float(v) for v in one.evaluate().values()], PUBLISHED[name], rtol=within)


@pytest.mark.long
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_digits_are_those_of_another_integrator(name: str) -> None:
    """The text's own equations and Jacobian, with Python's numbers, by SciPy's Radau."""
    spec, values = problem(name).spec, problem(name).values_si()
    c, pattern = tuple(float(v) for v in spec.fixed(values)), spec.jacobian
    start = [float(a) for a in spec.start(c)[0]]
    matrix = np.zeros((len(start), len(start)))

    def jacobian(t: float, y: Any) -> Any:
        matrix[pattern.rows, pattern.columns] = pattern.entries(t, tuple(y.tolist()), (), (), c)
        return matrix

    rhs = lambda t, y: spec.rhs(t, tuple(y.tolist()), (), (), c)[0]  # noqa: E731
    atol = 1e-3 * float(spec.run.method.arguments["atol"])
    out = solve_ivp(rhs, (0, spec.run.duration), start, method="Radau", jac=jacobian, rtol=1e-11, atol=atol)
    np.testing.assert_allclose(out.y[:, -1], PUBLISHED[name], rtol=1e-8)


@pytest.mark.long
def test_gradients_of_a_stiff_run_are_those_of_differences() -> None:
    """Robertson's states and an average at t = 40 by the logarithms of the rates, in both modes."""
    text = (STIFF / "robertson.dpl").read_text()
    text = text.replace("1e11 using rodas5p(rtol = 1e-9, atol = 1e-18)", "40 using rodas5p(rtol = 1e-9, atol = 1e-14)")
    one = compiled(text.replace("metric C = final(r.C)", "metric C = final(r.C); metric M = average(r.B)"), "Rober")
    rates = np.array([0.04, 3e7, 1e4])

    def run(logs: Any, mode: str) -> Any:
        params = {f"r.k{n + 1}": rates[n] * jnp.exp(logs[n]) for n in range(3)}
        return jnp.stack(list(one.evaluate(params, mode=mode).values()))

    def truth(logs: Any) -> Any:
        a, b, d = rates * np.exp(logs)
        f = lambda t, y: [d * y[1] * y[2] - a * y[0], a * y[0] - d * y[1] * y[2] - b * y[1] ** 2, b * y[1] ** 2, y[1]]  # noqa: E731
        y = solve_ivp(f, (0, 40), [1, 0, 0, 0], method="Radau", rtol=1e-12, atol=1e-18).y[:, -1]
        return y / [1, 1, 1, 40]

    step = 1e-4 * np.eye(3)
    differences = [
        (8 * (truth(e) - truth(-e)) - (truth(2 * e) - truth(-2 * e))) / (12 * 1e-4)
        for e in step
    ]  # fmt: skip
    for mode, derive in (("reverse", jax.jacrev), ("forward", jax.jacfwd)):
        found = derive(lambda logs: run(logs, mode))(jnp.zeros(3))  # noqa: B023
        np.testing.assert_allclose(found, np.transpose(differences), rtol=1e-6)


# ---------------------------------------------------------------- the Jacobian as expressions

MANY = """
scenario S {
  param p = 2
  state a = 0.3; state b = 0.7; state d = 1.5
  let q = exp(-a*b)/(1 + d²)
  let w = if a > b*sin(time) then q*d else tanh(b)
  let z = min(a, b, d)*max(w, p*b)
  a' = -p*a^3 + w + time*d
  b' = log(2 + a²) - atan(z) + q
  d' = cos(a*time) - cosh(d)/5
  run for 1 using rodas5p()
  metric m = average(a*z + time²)
}
"""


def test_entries_are_those_of_the_program_itself() -> None:
    one = compiled(MANY)
    jacobian, c = one.spec.jacobian, one.spec.fixed(one.values_si())
    flat = lambda t, x: jnp.stack([jnp.asarray(v) for part in one.spec.rhs(t, tuple(x), (), (), c) for v in part])  # noqa: E731
    derivatives = jax.jit(
        lambda t, x: (*jax.jacfwd(flat, argnums=(1, 0))(t, x), jacobian.entries(t, tuple(x), (), (), c))
    )
    for t, x in ((0.4, [0.3, 0.7, 1.5]), (1.9, [2.0, -0.4, 0.1]), (0.0, [-1.0, 0.2, 0.9])):
        by_x, by_t, entries = derivatives(jnp.asarray(t), jnp.asarray(x))
        found = np.zeros((4, 4))
        found[list(jacobian.rows), list(jacobian.columns)] = entries
        np.testing.assert_allclose(found, np.column_stack([by_x, by_t]), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("term", ["sqrt(x)", "net(x)", "wrap(x)", "z"])
def test_what_has_no_derivative_as_an_expression_has_no_entries(term: str) -> None:
    one = compiled(
        "network net(x in 0..1) -> y { hidden 2 }\n"
        f"scenario S {{ state x = 0.5; let z in 0..1; z + z^3*cos(z) = x; x' = -{term}\n"
        "run for 1 using rodas5p()\nmetric m = final(x + z) }"
    )
    assert one.spec.jacobian is None


# ---------------------------------------------------------------- patterns, colours, bands


def _stencil(y: Any) -> Any:
    """Two fields of neighbours, with a branch, an update in place and a product."""
    n = y.shape[0] // 2
    u, v = y[:n], jnp.flip(y[n:])
    along = jnp.concatenate([u[1:2] - u[:1], u[2:] - 2 * u[1:-1] + u[:-2], u[-2:-1] - u[-1:]])
    return jnp.concatenate([jnp.where(u > v, along * v, jnp.sin(u)), jnp.zeros(n).at[1:].set(v[1:] ** 2)])


@pytest.mark.parametrize("function", [_stencil, lambda y: jnp.cumsum(y) * y, lambda y: y[jnp.asarray([2, 0, 0, 5])]])
def test_a_pattern_holds_for_all_values(function: Any) -> None:
    rng = np.random.default_rng(0)
    found = sparsity.pattern(function, jnp.zeros(12))
    met = np.zeros_like(found)
    derivative = jax.jit(jax.jacfwd(function))
    for _ in range(20):
        met |= np.asarray(derivative(jnp.asarray(rng.standard_normal(12)))) != 0
    assert not np.any(met & ~found)
    given = sparsity.colours(found)
    for colour in range(given.max() + 1):
        assert found[:, given == colour].sum(axis=1).max() <= 1


def test_a_pattern_of_neighbours_is_tight() -> None:
    found = sparsity.pattern(_stencil, jnp.zeros(200))
    assert found.sum() < 6 * 200 and sparsity.colours(found).max() < 8
    order, width = sparsity.banded_order(found)
    assert sorted(order) == list(range(200)) and width <= 4


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("shuffled", [False, True])
def test_solves_in_a_band_are_those_of_the_matrix(width: int, shuffled: bool) -> None:
    rng = np.random.default_rng(width)
    size = 41
    i, j = np.nonzero(np.abs(np.subtract.outer(np.arange(size), np.arange(size))) <= width)
    names = rng.permutation(size) if shuffled else np.arange(size)
    rows, columns = names[i], names[j]
    matrix = np.zeros((size, size))
    matrix[rows, columns] = rng.standard_normal(len(rows))
    b = rng.standard_normal(size)
    order, found = sparsity.banded_order(matrix != 0)
    assert found <= 2 * width
    for form in (linear.Banded.made(rows, columns, order), linear.Dense.made(rows, columns, size)):
        kept = form.of(jnp.asarray(matrix[rows, columns]))
        np.testing.assert_allclose(form.times(kept, jnp.asarray(b)), matrix @ b, rtol=1e-12, atol=1e-12)
        forward, backward = form.factored(kept, 20.0)
        whole = 20 * np.eye(size) - matrix
        np.testing.assert_allclose(forward(jnp.asarray(b)), np.linalg.solve(whole, b), rtol=1e-11)
        np.testing.assert_allclose(backward(jnp.asarray(b)), np.linalg.solve(whole.T, b), rtol=1e-11)


@pytest.mark.parametrize("size", [2, 4, 9])
def test_dense_solves_keep_their_digits_in_very_different_units(size: int) -> None:
    rng = np.random.default_rng(size)
    units = 10.0 ** rng.uniform(-8, 8, size)
    matrix = rng.standard_normal((size, size)) * units[:, None] / units
    truth = rng.standard_normal(size) * units
    rows, columns = np.nonzero(np.ones((size, size)))
    form = linear.Dense.made(rows, columns, size)
    forward, _ = form.factored(form.of(jnp.asarray(matrix.ravel())), 7.0)
    np.testing.assert_allclose(forward(jnp.asarray((7 * np.eye(size) - matrix) @ truth)), truth, rtol=1e-9)


ROD = """scenario S {
  const n = 64
  state T[n] = 0
  T[0]' = n²*(1 - 2*T[0] + T[1])
  T[i]' = n²*(T[i+1] - 2*T[i] + T[i-1]) for i in 1..n-2
  T[n-1]' = n²*(T[n-2] - T[n-1])
  run for 2
  metric middle = final(T[32])
  metric warmth = average(mean(T))
}"""


def test_a_rod_of_cells_is_solved_in_a_band() -> None:
    """Heat from one end against the exponential of the matrix, with the integral of the mean."""
    one, n = compiled(ROD), 64
    assert one.method.name == "rodas5p" and "stiff" in one.explanation
    assert stiffness.banded(solve.problem(one.spec, one.spec.fixed(one.values_si()), one.method))
    whole = np.zeros((n + 2, n + 2))  # cells, the heated end, the integral of the mean
    whole[:n, :n] = (np.eye(n, k=1) - 2 * np.eye(n) + np.eye(n, k=-1)) * n * n
    whole[n - 1, n - 1], whole[0, n], whole[n + 1, :n] = -n * n, n * n, 1 / n
    end = expm(2 * whole) @ np.eye(n + 2)[n]
    result = one.evaluate()
    assert float(result["middle"]) == pytest.approx(end[n // 2], rel=1e-7)
    assert float(result["warmth"]) == pytest.approx(end[n + 1] / 2, rel=1e-7)


# ---------------------------------------------------------------- events

TURNS = """scenario S {
  param level = 0.2
  state x = 1; state y = 0; state n = 0
  x' = -1e6*(x - cos(y))
  y' = x
  when turn: x < level { y := 0.3; n := n + 1 }
  run for 5 using rodas5p(rtol = 1e-8, atol = 1e-10)
  metric first = event_time(turn); metric mean = average(x); metric end = final(y); metric turns = final(n)
}"""


def _turns(level: float) -> list[float]:
    """The same by SciPy's Radau from event to event."""
    rhs = lambda t, y: [-1e6 * (y[0] - np.cos(y[1])), y[0], y[0]]  # noqa: E731
    turn: Any = lambda t, y: y[0] - level  # noqa: E731
    turn.terminal, turn.direction = True, -1
    t, y, times = 0.0, [1.0, 0.0, 0.0], list[float]()
    while True:
        out = solve_ivp(rhs, (t, 5), y, method="Radau", rtol=1e-11, atol=1e-13, events=turn)
        t, y = out.t[-1], [out.y[0, -1], 0.3, out.y[2, -1]]
        if out.status == 0:
            return [times[0], y[2] / 5, out.y[1, -1], len(times)]
        times.append(t)


def test_events_of_a_stiff_run() -> None:
    one = compiled(TURNS)
    np.testing.assert_allclose([float(v) for v in one.evaluate().values()], _turns(0.2), rtol=1e-7)


@pytest.mark.long
def test_gradients_of_events_of_a_stiff_run() -> None:
    one = compiled(TURNS)
    found = jax.jacrev(lambda level: jnp.stack(list(one.evaluate({"level": level}).values())[:3]))(0.2)
    differences = (np.array(_turns(0.201)) - np.array(_turns(0.199)))[:3] / 2e-3
    np.testing.assert_allclose(found, differences, rtol=1e-4)


# ---------------------------------------------------------------- the choice


VDP = "state y = {0}; state v = 0; y' = v; v' = {1}*((1 - y²)*v - y); run for {2}; metric m = final(y)"


@pytest.mark.parametrize(
    ("body", "method"),
    [
        (VDP.format(0.001, "1e6", 2), "rodas5p"),  # not stiff at its start
        (VDP.format(2, 1, 20), "tsit5"),
        ("state x = 0; x' = -1e6*(x - cos(time)); run for 10; metric m = final(x)", "rodas5p"),  # one mode only
        ("const n = 200; state x[n] = 0; x[i]' = 1e6*(cos(time) - x[i]) for i in 0..n-1; run for 10", "rodas5p"),
        ("state x = 0; x' = -1e3*(x - cos(time)); run for 1; metric m = final(x)", "tsit5"),
        ("state x = 1; state v = 0; x' = v; v' = -1e4*x; run for 100; metric m = final(x)", "tsit5"),  # turns fast
    ],
)
def test_the_choice_goes_by_what_the_run_does(body: str, method: str) -> None:
    one = compiled(f"scenario S {{ {body} }}")
    assert one.method.name == method, one.explanation


def test_explicit_steps_that_run_out_are_told_why() -> None:
    run = compiled(
        "scenario S { state x = 0; x' = -1e6*(x - cos(time)); run for 10 using tsit5(); metric m = final(x) }"
    ).simulate(points=2)
    assert "greatest number of steps" in run.status
    assert any("a mode decays within 1e-06" in note and "rodas5p" in note for note in run.notes), run.notes


@pytest.mark.parametrize(
    ("equations", "told"),
    [
        ("state x = 1\n state z = 1\n x' = -z\n z' = sqrt(x - 0.5)", "first not finite: z_dot (<text>:5)"),
        ("state x = 2\n state z = 0\n x' = z\n z' = 1e5*((1 - x^2)*z - x)", "write `using rodas5p()`"),
    ],
    ids=["no value", "stiff"],
)
def test_where_adaptive_steps_end_the_cause_is_told(equations: str, told: str) -> None:
    text = f"scenario S {{\n {equations}\n run for 2 using tsit5()\n metric m = final(x)\n}}\nsimulate s {{ on S }}"
    task = dpl.compile(text).run()["s"]
    notes = "\n".join(task.notes)
    assert task.status == "unended" and told in notes
