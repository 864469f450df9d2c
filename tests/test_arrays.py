"""Laws of arrays given by indices: they mean what the same equations mean element by element."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from dpl import language
from dpl.compiler.export import numpy_source
from dpl.compiler.extract import extract_block
from dpl.language.source import Source
from dpl.runtime import blame
from tests.compiled import at, moving, scenarios, source, static

N, M = 5, 3
R = range(N)


def measured(text, **changes):
    """Every loss and metric after a run, and their derivatives to the numbers that `changes` names."""
    scenario = list(scenarios(text).values())[-1]
    values = scenario.values_si()

    def results(some):
        return scenario.measures_si({**values, **some})[0]

    some = {name: jnp.asarray(values[name] if v is None else v) for name, v in changes.items()}
    return jax.jit(results)(some), jax.jit(jax.jacrev(results))(some)


def run(*lines):
    return static(*lines, "run for 0.2 using rk4(0.02)")


def same(indexed, written_out, *params):
    """Values and derivatives of two texts agree to rounding."""
    mine, slopes = measured(indexed, **dict.fromkeys(params))
    due, due_slopes = measured(written_out, **dict.fromkeys(params))
    for name, number in due.items():
        assert_allclose(mine[name], number, rtol=1e-13, atol=1e-15)
        for param in params:
            assert_allclose(slopes[name][param], due_slopes[name][param], rtol=1e-12, atol=1e-14)


def each(line, indices=R):
    """The line for every index, `{i}` and its neighbours `{p}`, `{q}` put in."""
    return [line.format(i=i, p=(i - 1) % N, q=(i + 1) % N, t=0.1 * i) for i in indices]


# ---------------------------------------------------------------- an equation for each index


def test_an_indexed_equation_is_that_of_each_element():
    indexed = run(
        "param k = 0.7",
        f"state x[{N}] = sin(i) for i in 0..{N - 1}",
        f"let flow[{N - 1}] = k*(x[i+1] - x[i])/(1 + x[i]^2) for i in 0..{N - 2}",
        f"x[0]' = flow[0]; x[{N - 1}]' = -flow[{N - 2}]",
        f"x[i]' = flow[i] - flow[i-1] + 0.1*i for i in 1..{N - 2}",
        f"loss a = average(sum(x[i]^2*i for i in 0..{N - 1})); loss b = final(x[2]*max(x))",
    )
    written_out = run(
        "param k = 0.7",
        *each("state x{i} = sin({i})"),
        *each("let f{i} = k*(x{q} - x{i})/(1 + x{i}^2)", R[:-1]),
        "x0' = f0; x4' = -f3",
        *each("x{i}' = f{i} - f{p} + {t}", R[1:-1]),
        "loss a = average(x1^2 + 2*x2^2 + 3*x3^2 + 4*x4^2); loss b = final(x2*max(x0, x1, x2, x3, x4))",
    )
    same(indexed, written_out, "k")


def test_rows_and_corners_are_pieces_by_themselves():
    """In two axes, cut straight through and not: the pieces in a ring round the middle."""
    common = [
        "param k = 0.5; state u[3,3] = 0.3*i + j^2 for i in 0..2, j in 0..2",
        "loss a = final(sum(u*u)); loss b = final(u[0,2])",
    ]
    ring = run(
        *common,
        "u[0, j]' = k*u[1, j] for j in 0..1; u[i, 2]' = -u[i, 1] for i in 0..1",
        "u[2, j]' = 1 for j in 1..2; u[i, 0]' = u[i, 1]*i for i in 1..2",
        "u[1, 1]' = sum(u[i, j] for i in 0..2, j in 0..2)",
    )
    elements = {
        **{(0, j): f"k*u[1,{j}]" for j in (0, 1)},
        **{(i, 2): f"-u[{i},1]" for i in (0, 1)},
        **{(2, j): "1" for j in (1, 2)},
        **{(i, 0): f"u[{i},1]*{i}" for i in (1, 2)},
        (1, 1): "u[0,0]+u[0,1]+u[0,2]+u[1,0]+u[1,1]+u[1,2]+u[2,0]+u[2,1]+u[2,2]",
    }
    same(ring, run(*common, *(f"u[{i},{j}]' = {e}" for (i, j), e in elements.items())), "k")


def test_the_unknown_may_have_factors_and_terms_around_it():
    indexed = run(
        "param k = 2",
        f"const m[{N}] = 1 + i for i in 0..{N - 1}",
        f"state x[{N}] = 0.5",
        f"m[i]*x[i]' + k*x[i] = x[mod(i+1, {N})]^2 for i in 0..{N - 1}",
        "loss a = final(norm(x))",
    )
    written_out = run(
        "param k = 2",
        *each("state x{i} = 0.5"),
        *each("x{i}' = (x{q}^2 - k*x{i})/(1 + {i})"),
        "loss a = final(sqrt(x0^2 + x1^2 + x2^2 + x3^2 + x4^2))",
    )
    same(indexed, written_out, "k")


def test_a_subscript_goes_round_and_through_a_table():
    """`mod`, a const table of places, a table of two indices, the diagonal."""
    indexed = static(
        f"const place[{N}] = [3, 0, 4, 4, 1]; const A[{N},{N}] = i^2 - j for i in 0..{N - 1}, j in 0..{N - 1}",
        f"param x[{N}] = [2, 3, 5, 7, 11]",
        f"let round[{N}] = x[mod(i-2, {N})] for i in 0..{N - 1}",
        f"let first[3] = x[mod(i+3, {N})] for i in 0..2",
        f"let some[{N}] = x[place[i]]*i for i in 0..{N - 1}",
        f"let both[{N},{N}] = A[place[i], mod(j+1, {N})] for i in 0..{N - 1}, j in 0..{N - 1}",
        "let pairs[2,2] = x[2*i + j] for i in 0..1, j in 0..1",
        f"let trace[{N}] = A[i, i] + A[{N - 1}-i, i] for i in 0..{N - 1}",
        "metric y = 0",
    )
    x, place, i = np.array([2.0, 3, 5, 7, 11]), np.array([3, 0, 4, 4, 1]), np.arange(N)
    A = i[:, None] ** 2.0 - i
    got = at(indexed)
    assert_allclose(got["round"], np.roll(x, 2))
    assert_allclose(got["first"], x[[3, 4, 0]])
    assert_allclose(got["some"], x[place] * i)
    assert_allclose(got["both"], A[place][:, (i + 1) % N])
    assert_allclose(got["pairs"], x[:4].reshape(2, 2))
    assert_allclose(got["trace"], A[i, i] + A[N - 1 - i, i])


def test_axes_meet_whatever_their_order():
    """Transposed, missing and repeated axes, rows of matrices, and reductions of each kind, against NumPy."""
    text = static(
        f"const n = {N}; const m = {M}",
        "param a[n] = [1, -2, 3, -4, 5]; param b[m] = [2, 1, -1]",
        "const A[n,m] = sin(i + 3*j) for i in 0..n-1, j in 0..m-1",
        "const B[m,n] = cos(i*j + 1) for i in 0..m-1, j in 0..n-1",
        "let across[m,n] = A[j, i] + a[j]*b[i] + B[i, j] for i in 0..m-1, j in 0..n-1",
        "let cube[m,n,m] = a[j]*A[j, k] + b[i] + B[k, j]*b[k] for i in 0..m-1, j in 0..n-1, k in 0..m-1",
        "let one[n] = sum(A[i, j]*b[j] for j in 0..m-1) for i in 0..n-1",
        "let two[m] = sum(A[j, i]*a[j] for j in 0..n-1) for i in 0..m-1",
        "let three[n,n] = sum(A[i, k]*B[k, j] for k in 0..m-1) for i in 0..n-1, j in 0..n-1",
        "let four[n] = sum(a[i]*A[i, j]*B[k, i]*b[j] for j in 0..m-1, k in 0..m-1) for i in 0..n-1",
        "let five = sum(a[i]*A[i, j]*b[j] for i in 0..n-1, j in 0..m-1)",
        "let six[n] = sum((a[i] - a[j])*abs(a[j]) for j in 0..n-1) for i in 0..n-1",
        "let spread[n] = max(A[i,j] for j in 0..m-1) - min(A[i,j] for j in 0..m-1) for i in 0..n-1",
        "let grown[n] = product(b[j] + a[i] for j in 0..m-1) for i in 0..n-1",
        "let kinds[n] = spread[i] + mean(A[i,j]*a[i] for j in 0..m-1)*grown[i] for i in 0..n-1",
        "let rows[n] = dot(A[i, 0..m-1], b) + norm(A[i, 0..1]) + sum(B @ A[0..n-1, 1])*i for i in 0..n-1",
        "let spans[m] = sum(3 for j in 0..6) + product(2 for j in 1..3) + i for i in 0..m-1",
        "metric y = 0",
    )
    a, b = np.array([1.0, -2, 3, -4, 5]), np.array([2.0, 1, -1])
    i, j = np.arange(N), np.arange(M)
    A, B = np.sin(i[:, None] + 3 * j), np.cos(j[:, None] * i + 1.0)
    got = at(text)
    assert_allclose(got["across"], A.T + a * b[:, None] + B)
    assert_allclose(got["cube"], (a[:, None] * A)[None] + b[:, None, None] + (B * b[:, None]).T[None])
    assert_allclose(got["one"], A @ b)
    assert_allclose(got["two"], A.T @ a)
    assert_allclose(got["three"], A @ B)
    assert_allclose(got["four"], np.einsum("i,ij,ki,j->i", a, A, B, b))
    assert_allclose(got["five"], a @ A @ b)
    assert_allclose(got["six"], ((a[:, None] - a) * abs(a)).sum(1))
    product = (b + a[:, None]).prod(1)
    assert_allclose(got["kinds"], A.max(1) - A.min(1) + (A * a[:, None]).mean(1) * product)
    assert_allclose(got["rows"], A @ b + np.hypot(A[:, 0], A[:, 1]) + (B @ A[:, 1]).sum() * i)
    assert_allclose(got["spans"], 21 + 8 + j)


def test_functions_lists_and_choices_act_at_each_index():
    text = static(
        f"param a[{N}] = [1, -2, 3, -4, 5]; const g[4] = [0, 1, 4, 9]; const h[4] = [0, 2, 3, 5]",
        f"let y[{N}] = (if a[i] > i then log(a[i]) else squared(a[i], i)) for i in 0..{N - 1}",
        f"let z[{N}] = straight_through(sign(a[i])) + clip(a[i], -i, i) + min(a[i], i) for i in 0..{N - 1}",
        f"let t[{N}] = interpolate(a[i], h, g) + sum([a[i], i, 2]*h[1..3]) for i in 0..{N - 1}",
        "metric y0 = 0",
    )
    text = "fn squared(x, j) = x^2 + sum(j*x for k in 0..1)\n" + text
    a, i = np.array([1.0, -2, 3, -4, 5]), np.arange(N)
    got = at(text)
    assert_allclose(got["y"], np.where(a > i, np.log(np.maximum(a, 1)), a**2 + 2 * i * a))
    assert_allclose(got["z"], np.sign(a) + np.clip(a, -i, i) + np.minimum(a, i))
    assert_allclose(got["t"], np.interp(a, [0, 2, 3, 5], [0, 1, 4, 9]) + 2 * a + 3 * i + 10)


# ---------------------------------------------------------------- arrays of parts


CELL = """
model Cell {
  param C = 1; param R = 2
  input u
  state q = 0.1
  state w[2] = [0.3, 0.2]
  let drop = u - q/C
  const s[2] = [1, 2]
  R*q' = drop + sum(w*s)
  w[0]' = -w[1]*q; w[1]' = w[0]*drop
  output y = q/C + q'
}
"""


def test_an_array_of_parts_is_its_parts_written_one_by_one():
    """With arguments of one value, of an element for each part, and inputs wired by index."""
    array = CELL + run(
        f"param source = 1; param c[{N}] = [1, 2, 3, 4, 5]",
        f"part cell[{N}] = Cell(C = c, R = 1 + source, q = 0.2)",
        f"cell[0].u = source; cell[i].u = cell[i-1].q*i for i in 1..{N - 1}",
        "loss a = average(sum(cell.y)^2); loss b = final(cell[2].w[1]); loss e = final(cell[3].q*cell[1].drop)",
        f"loss d = final(sum(cell[i].w[0]*cell[mod(i+1, {N})].q for i in 0..{N - 1}))",
    )
    written_out = CELL + run(
        f"param source = 1; param c[{N}] = [1, 2, 3, 4, 5]",
        *each("part c{i} = Cell(C = c[{i}], R = 1 + source, q = 0.2, u = (if {i} > 0 then c{p}.q*{i} else source))"),
        "loss a = average((c0.y + c1.y + c2.y + c3.y + c4.y)^2); loss b = final(c2.w[1])",
        "loss e = final(c3.q*c1.drop)",
        "loss d = final(c0.w[0]*c1.q + c1.w[0]*c2.q + c2.w[0]*c3.q + c3.w[0]*c4.q + c4.w[0]*c0.q)",
    )
    same(array, written_out, "source", "c")


def test_parts_within_parts_and_sampled_parts():
    models = """
model Leaf { input u; state x = 0.5; x' = u - x; output y = 2*x }
controller Hand every 0.04 { input e; param gain = 3; state total = 0
  next total = total + e*period; output u = gain*(total + e) }
"""
    tree = """
model Tree { input u; part leaf[2] = Leaf(u = u); let top = leaf[1].y - leaf[0].y*0.5; output y = sum(leaf.y) + top }
"""
    array = (
        models
        + tree
        + run(
            f"param k = 0.3; part tree[{M}] = Tree(u = k)",
            f"part hand[{M}] = Hand(e = tree.y)",
            f"state z[{M}] = i for i in 0..{M - 1}",
            f"z[i]' = hand[i].u - tree[i].leaf[1].x*z[i] for i in 0..{M - 1}",
            "loss a = final(sum(z)); loss b = final(sum(tree.leaf[0].x))",
            "loss c = final(tree[1].leaf[1].y*hand[2].total)",
        )
    )
    written_out = (
        models
        + tree
        + run(
            "param k = 0.3",
            *(f"part t{i} = Tree(u = k); part h{i} = Hand(e = t{i}.y); state z{i} = {i}" for i in range(M)),
            *(f"z{i}' = h{i}.u - t{i}.leaf[1].x*z{i}" for i in range(M)),
            "loss a = final(z0 + z1 + z2); loss b = final(t0.leaf[0].x + t1.leaf[0].x + t2.leaf[0].x)",
            "loss c = final(t1.leaf[1].y*h2.total)",
        )
    )
    same(array, written_out, "k")


# ---------------------------------------------------------------- networks, derivatives, starts, sampled states


def test_a_network_is_applied_at_each_index_with_one_set_of_weights():
    nets = "network net(a, b) -> y { hidden 4 }\nnetwork two(v[2]) -> (p, q in 0..1) { hidden 3 }\n"
    params = f"param k = 0.3; param x[{N}] = [1, -2, 3, -4, 5]"
    indexed = nets + static(
        params,
        f"let y[{N}] = net(x[i], k) + net(i, x[mod(i+1, {N})]) for i in 0..{N - 1}",
        f"let z[{N}] = two([x[i], k]).p*two([x[i], k]).q for i in 0..{N - 1}",
        f"let g[2,{N}] = net(x[j], i) for i in 0..1, j in 0..{N - 1}",
        "loss a = sum(y); loss b = dot(z, x); loss c = sum(g[1])",
    )
    ys = each("let y{i} = net(x[{i}], k) + net({i}, x[{q}]); let z{i} = two([x[{i}], k]).p*two([x[{i}], k]).q")
    written_out = nets + static(
        params,
        *ys,
        "loss a = " + " + ".join(each("y{i}")),
        "loss b = " + " + ".join(each("z{i}*x[{i}]")),
        "loss c = " + " + ".join(each("net(x[{i}], 1)")),
    )
    same(indexed, written_out, "k", "x")
    weights, due = (list(scenarios(t).values())[-1].values_si()["net"]["w"] for t in (indexed, written_out))
    assert [w.shape for w in weights] == [w.shape for w in due]


def test_derivatives_pass_through_what_is_indexed():
    lines = [
        f"state x[{N}] = 1 + i for i in 0..{N - 1}",
        f"let y[{N}] = x[i]^2*i + time for i in 0..{N - 1}",
        f"let total = sum(y[i]*x[0] for i in 0..{N - 1})",
        f"x[i]' = -x[mod(i+1, {N})] for i in 0..{N - 1}",
        f"metric m = 0; let a[{N}] = y'; let b = total'; let c[2] = y[i+1]' for i in 0..1",
    ]
    got = at(moving(*lines))
    i = np.arange(N)
    x = 1.0 + i
    rate = -np.roll(x, -1)
    due = 2 * x * rate * i + 1
    assert_allclose(got["a"], due)
    assert_allclose(got["b"], due.sum() * x[0] + (x**2 * i).sum() * rate[0])
    assert_allclose(got["c"], due[1:3])


def test_sampled_states_starts_and_initial_values():
    text = static(
        "param k = 2",
        "part line = Line(u = time)",
        "loss a = final(sum(line.x)); run for 0.5",
    )
    models = f"""
controller Line every 0.1 {{
  input u
  state x[{N}] = 0.1*i + 1 for i in 0..{N - 1}
  next x[i] = x[i-1] + 0.01 for i in 1..{N - 1}
  next x[0] = u
}}
"""
    x = 0.1 * np.arange(N) + 1
    for k in range(5):
        x = np.concatenate([[0.1 * k], x[:-1] + 0.01])
    # the last tick is at the end of the run, where states show what they were
    assert_allclose(measured(models + text, k=None)[0]["a"], x.sum())


# ---------------------------------------------------------------- laws of nature


def test_a_sine_decays_as_the_heat_equation_says():
    """Each mode sin(kπx) of a rod with cold ends falls by 4α/dx² sin²(kπ/2(n-1)), of the differences themselves."""
    n, k, alpha, end = 41, 3, 0.02, 0.5
    text = static(
        f"param α = {alpha}",
        f"state T[{n}] = sin({k}*π*i/{n - 1}) for i in 0..{n - 1}",
        f"T[0]' = 0; T[{n - 1}]' = 0; T[i]' = α*(T[i+1] - 2*T[i] + T[i-1])*{(n - 1) ** 2} for i in 1..{n - 2}",
        f"loss a = final(T[{n // 4}]); run for {end} using rk4(0.005)",
    )
    rate = 4 * (n - 1) ** 2 * np.sin(k * np.pi / 2 / (n - 1)) ** 2
    mine, slopes = measured(text, **{"α": None})
    due = np.exp(-alpha * rate * end) * np.sin(k * np.pi * (n // 4) / (n - 1))
    assert_allclose(mine["a"], due, rtol=1e-6)
    assert_allclose(slopes["a"]["α"], -rate * end * due, rtol=1e-5)


def test_periodic_advection_keeps_the_sum():
    text = static(
        "param c = 0.8; state u[3,40] = exp(-(j - 10)^2/9)*(i + 1) for i in 0..2, j in 0..39",
        "let next1[3,40] = u[i, mod(j+1, 40)] for i in 0..2, j in 0..39",
        "let f[3,40] = c*(u + next1)/2 + 0.1*(u - next1)",
        "u[i, j]' = f[i, mod(j-1, 40)] - f[i, j] for i in 0..2, j in 0..39",
        "loss a = final(sum(u)) - initial(sum(u)); loss b = final(u[1, 14]); run for 5 using rk4(0.05)",
    )
    got = measured(text, c=None)[0]
    assert abs(got["a"]) < 1e-12 and got["b"] > 1


def test_bodies_keep_their_momentum():
    text = static(
        "const n = 6; param G = 1.5; const m[n] = 1 + i for i in 0..n-1",
        "state x[n,2] = sin(7*i + 3*c) for i in 0..n-1, c in 0..1",
        "state v[n,2] = cos(i*c) for i in 0..n-1, c in 0..1",
        "let d[n,n] = sqrt(0.01 + sum((x[j,c] - x[i,c])^2 for c in 0..1)) for i in 0..n-1, j in 0..n-1",
        "x' = v",
        "m[i]*v[i,c]' = sum(G*m[i]*m[j]*(x[j,c] - x[i,c])/d[i,j]^3 for j in 0..n-1) for i in 0..n-1, c in 0..1",
        "let p[2] = sum(m[i]*v[i,c] for i in 0..n-1) for c in 0..1",
        "let V = -sum(G*m[i]*m[j]/d[i,j]/2 for i in 0..n-1, j in 0..n-1)",
        "let E = sum(m[i]*v[i,c]^2/2 for i in 0..n-1, c in 0..1) + V",
        "loss a = abs(final(p[0]) - initial(p[0])) + abs(final(p[1]) - initial(p[1]))",
        "loss b = final(E)/initial(E); run for 0.2 using rk4(0.001)",
    )
    got = measured(text, G=None)[0]
    assert got["a"] < 1e-12
    assert_allclose(got["b"], 1, rtol=1e-6)


# ---------------------------------------------------------------- sizes


PDE = """
const n = {n}
fn k(T) = 1 + 0.1*T^2
network net(T) -> q {{ hidden 4 }}
model Cell {{ param C = 1; input u; state q = 1; C*q' = u - q }}
scenario Rod {{
  const nb[n] = mod(7*i, n) for i in 0..n-1
  state T[n] = sin(π*i/n) for i in 0..n-1
  state u[n, 4] = 0
  part cell[n] = Cell(u = T)
  let flux[n-1] = -k(T[i])*(T[i+1] - T[i]) for i in 0..n-2
  T[0]' = 0; T[n-1]' = 0
  T[i]' = flux[i-1] - flux[i] + 0.1*net(T[i]) + T[nb[i]] - T[mod(i+1, n)] for i in 1..n-2
  u[i, j]' = cell[i].q*j for i in 0..n-1, j in 0..3
  run for 0.1 using rk4(0.01)
  loss a = average(sum(T[i]*i for i in 0..n-1)) + 0*final(sum(u))
}}
"""


def test_neither_the_text_nor_the_traced_program_grows_with_the_size():
    texts, sizes = set(), set()
    for n in (10, 1000):
        text = PDE.format(n=n)
        texts.add(re.sub(r"source_hash=.*|\d+", "", source(text)))
        scenario = scenarios(text)["Rod"]
        traced = jax.make_jaxpr(jax.grad(lambda v, s=scenario: s.measures_si(v)[0]["a"]))(scenario.values_si())
        sizes.add(count(traced.jaxpr))
    assert len(sizes) == 1 and len(texts) == 1


def count(jaxpr):
    """Operations of a traced program, those within loops included."""
    inner = [
        v
        for e in jaxpr.eqns
        for v in jax.tree.leaves(list(e.params.values()))
        if hasattr(v, "eqns") or hasattr(v, "jaxpr")
    ]
    return len(jaxpr.eqns) + sum(count(getattr(v, "jaxpr", v)) for v in inner)


# ---------------------------------------------------------------- what comes out


def test_a_value_that_is_not_finite_is_told_with_its_index():
    text = run(
        "state x[4] = 1 - 0.3*i for i in 0..3; x' = -0.1*y",
        "let y[4] = sqrt(x[i] - 0.2)*i for i in 0..3",
        "loss a = final(sum(y))",
    )
    scenario = scenarios(text)["S"]
    found = blame.blame(source(text), scenario.spec, scenario.method, scenario.values_si())
    assert found.quantity == "y[3]" and found.origin == "test.dpl:3" and found.inputs["x"] == pytest.approx(0.1)


def test_exported_numpy_computes_what_the_run_does():
    model = """
controller Mean every 0.1 {
  input x[4]
  param g[4] = [1, 2, 3, 4]
  state m[4] = 0.5*i for i in 0..3
  next m[i] = 0.5*m[mod(i+1, 4)] + x[i]*i for i in 0..3
  output u[4] = sum(g[j]*(m[j] - x[i])^2 for j in 0..3) + m[3-i] for i in 0..3
}
"""
    text = model + static("part p = Mean(x = [4, 3, 2, 1]); loss a = final(dot(p.u, [1, 2, 3, 4])); run for 0.3")
    checked = language.load_text(Source("test.dpl", text))
    system = checked.systems["S"]
    extract = extract_block(system, system.parts[0])
    space = {}
    exec(numpy_source(extract, {"p.g": [1.0, 2.0, 3.0, 4.0]}, "1"), space)  # what we generated
    state = space["START"]
    for _ in range(4):
        u, state = space["mean"](np.array([4.0, 3, 2, 1]), state)
    assert_allclose(u @ [1, 2, 3, 4], list(scenarios(text).values())[-1].evaluate()["a"])


def test_elements_that_no_formula_gives_are_solved_together():
    """Each for itself by Newton's method, and neighbours that wait for each other: a straight line between its ends."""
    text = run(
        "param k = 1; state x[3] = 1 + i for i in 0..2; x[i]' + k*x[i]'^3 = -x[i] for i in 0..2",
        "let p[4]; p[0] = x[0]; p[3] = x[2]; p[i] = (p[i-1] + p[i+1])/2 for i in 1..2",
        "loss a = final(x[2]); loss b = final(p[1] - x[0] - (x[2] - x[0])/3)",
    )
    got, slopes = measured(text, k=None)
    due, due_slopes = measured(run("param k = 1; state x = 3; x' + k*x'^3 = -x; loss a = final(x)"), k=None)
    assert_allclose([got["a"], slopes["a"]["k"]], [due["a"], due_slopes["a"]["k"]], rtol=1e-12)
    assert abs(got["b"]) < 1e-12
