"""Loops with stored carries: values and gradients as those of the same iterations written out."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from dpl.runtime.hybrid import loops
from dpl.runtime.hybrid.loops import stored


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few iterations fill segments and the store."""
    monkeypatch.setattr(loops, "CAPACITY", 4)
    monkeypatch.setattr(loops, "SEGMENT", 3)


def spiral(weights: Any, x: Any, times: Any) -> Any:
    """x after some iterations of x := tanh(W x) + 0.1 x², with a count in the carry."""
    body = lambda c: (c[0] + 1, jnp.tanh(weights @ c[1]) + 0.1 * c[1] ** 2)  # noqa: E731
    return stored(lambda c: c[0] < times, body, (jnp.asarray(0), x))[1].sum()


def written_out(weights: Any, x: Any, times: int) -> Any:
    for _ in range(times):
        x = jnp.tanh(weights @ x) + 0.1 * x**2
    return x.sum()


W, X = jnp.asarray([[0.9, -0.5], [0.4, 0.8]]), jnp.asarray([0.3, -0.7])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_value_and_gradient_are_those_of_the_iterations_written_out(dtype: Any) -> None:
    """None, a part of a segment, whole segments, a full store, one that was thinned twice."""
    w, x = W.astype(dtype), X.astype(dtype)
    mine = jax.jit(jax.value_and_grad(spiral, (0, 1)))
    for times in (0, 1, 3, 7, 12, 13, 40):
        got, due = mine(w, x, times), jax.value_and_grad(written_out, (0, 1))(w, x, times)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(due), strict=True):
            assert a.dtype == dtype
            assert np.allclose(a, b, rtol=1e-5 if dtype == jnp.float32 else 1e-12, atol=1e-6), times


@pytest.mark.parametrize("outside", [True, False])
def test_members_of_a_batch_end_when_they_end(outside: bool) -> None:
    """Weights are shared by all, or each has its own."""
    times = np.array([5, 0, 17, 3])
    xs = X[None] + 0.1 * jnp.arange(4.0)[:, None]
    if outside:
        whole = lambda w, xs: jax.vmap(partial(spiral, w))(xs, jnp.asarray(times)).sum()  # noqa: E731
        got = jax.jit(jax.grad(whole, (0, 1)))(W, xs)
    else:
        each = jax.vmap(jax.grad(spiral, (0, 1)), (None, 0, 0))(W, xs, jnp.asarray(times))
        got = each[0].sum(0), each[1]
    due = [jax.grad(written_out, (0, 1))(W, x, int(n)) for x, n in zip(xs, times, strict=True)]
    assert np.allclose(got[0], sum(d[0] for d in due), rtol=1e-12)
    assert np.allclose(got[1], np.stack([d[1] for d in due]), rtol=1e-12)


def nested(loop: Any, w: Any, x: Any, lengths: Any) -> Any:
    """Loops within a branch within a loop within a scan; what each reads comes from every level."""

    def outer(c: Any) -> Any:
        n, x = c
        scaled = w * (1 + 0.1 * n.astype(w.dtype))
        inner = lambda x: loop(lambda c: c[0] > 0, lambda c: (c[0] - 1, jnp.sin(scaled * c[1])), (n, x))[1]  # noqa: E731
        return n - 1, lax.cond(n % 2 == 0, inner, lambda x: scaled * x, x)

    def row(x: Any, length: Any) -> Any:
        return loop(lambda c: c[0] > 0, outer, (length, x))[1] + w, None

    return lax.scan(row, x, lengths)[0]


def test_loops_within_loops_branches_and_scans() -> None:
    def forward(going: Any, body: Any, first: Any) -> Any:
        def step(c: Any, _: Any) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(going(c), a, b), body(c), c), None

        return lax.scan(step, first, length=6)[0]

    w, x, lengths = jnp.asarray([0.7, 0.9, 1.3]), jnp.asarray([0.2, 1.0, -0.4]), jnp.asarray([[6, 1], [0, 4], [5, 5]])

    def found(loop: Any) -> Any:
        whole = lambda w, x: jax.vmap(partial(nested, loop))(w, x, lengths).sum()  # noqa: E731
        return jax.tree.leaves(jax.jit(jax.value_and_grad(whole, (0, 1)))(w, x))

    for ours, due in zip(found(stored), found(forward), strict=True):
        assert np.allclose(ours, due, rtol=1e-12)


def test_derivatives_by_one_thing_and_by_another_stay_apart() -> None:
    """Of one traced loop: differentiated by both, then by each alone, and only then walked back."""

    @jax.jit
    def powers(a: Any, b: Any) -> Any:
        body = lambda c: (c[0] + 1, c[1] * a, c[2] * b)  # noqa: E731
        return stored(lambda c: c[0] < 3, body, (jnp.asarray(0), 0 * a + 1, 0 * b + 1))[1:]

    both, first, second = (
        jax.vjp(f, *at)[1] for f, at in (
            (powers, (2.0, 3.0)), (lambda a: powers(a, 3.0), (2.0,)), (lambda b: powers(2.0, b), (3.0,)),
        )
    )  # fmt: skip
    for pull, due in ((both, (12, 27)), (first, (12,)), (second, (27,))):
        assert pull((1.0, 1.0)) == due


def test_what_is_reached_only_later_in_a_scan_has_its_derivative() -> None:
    """x := w·x, three times in each row; and before it, in the second row alone, x := x + dose, from within a loop."""

    def whole(loop: Any, w: Any, dose: Any, x: Any) -> Any:
        def row(x: Any, second: Any) -> Any:
            def body(c: Any) -> Any:
                n, x = c
                x = lax.cond(second & (n == 0), lambda x: x + dose, lambda x: x, x)
                return n + 1, loop(lambda c: c[0] < 1, lambda c: (c[0] + 1, w * c[1]), (jnp.asarray(0), x))[1]

            x = loop(lambda c: c[0] < 3, body, (jnp.asarray(0), x))[1]
            return x, x

        return jax.jit(lambda x: lax.scan(row, x, jnp.asarray([False, True, False]))[1].sum())(x)

    at = 0.5, 2.0, 1.5
    for n, due in enumerate((3.333984375, 0.140625, 0.142578125)):
        by = lambda v, n=n: whole(stored, *at[:n], v, *at[n + 1 :])  # noqa: E731
        assert jax.grad(by)(at[n]) == due


def test_what_never_changes_is_one_for_all_of_a_batch() -> None:
    def last(scale: Any, times: Any) -> Any:
        body = lambda c: (c[0] - 1, c[1] * c[2], c[2])  # noqa: E731
        _, y, kept = stored(lambda c: c[0] > 0, body, (times, jnp.ones(()), scale))
        return y + kept

    whole = jax.vmap(jax.jit(last), (None, 0))
    assert jax.grad(lambda s: whole(s, jnp.asarray([3, 0, 1])).sum())(2.0) == 12 + 0 + 1 + 3


def test_what_is_stopped_needs_no_derivative() -> None:
    """`nextafter` has none; the root of zero has one that is no number."""

    def last(x: Any) -> Any:
        still = lax.stop_gradient(x)
        body = lambda c: (c[0] * x, jnp.nextafter(c[1], still), jnp.sqrt(lax.stop_gradient(c[2])))  # noqa: E731
        return stored(lambda c: c[0] < 20, body, (x, still, 0 * x))[0]

    assert jax.grad(last)(3.0) == 27.0


def test_what_is_no_number_stays_where_it_is() -> None:
    """NaN in the carry, a slope that is none once the loop has ended, empty arrays and flags."""

    def last(x: Any, y: Any) -> Any:
        first = {"x": x, "y": y, "never": jnp.full(2, jnp.nan), "none": jnp.zeros(0), "flag": jnp.asarray(False)}
        root = lambda c: {  # noqa: E731
            **c, "x": c["x"] - 1, "y": c["y"] * jnp.sqrt(c["x"]), "flag": ~c["flag"], "never": c["never"].at[0].set(1.0)
        }  # fmt: skip
        return stored(lambda c: c["x"] > 0, root, first)

    value, gradient = jax.vmap(jax.value_and_grad(lambda x, y: last(x, y)["y"], (0, 1)))(
        jnp.asarray([3.0, 1.0, 0.0]), jnp.full(3, 2.0)
    )
    assert np.allclose(value, [2 * np.sqrt(6.0), 2.0, 2.0])
    assert np.allclose(gradient[0], [np.sqrt(6.0) * (1 / 3 + 1 / 2 + 1), 1.0, 0.0])
    assert np.allclose(gradient[1], [np.sqrt(6.0), 1.0, 1.0])
    assert bool(last(3.0, 1.0)["flag"]) and np.isnan(last(3.0, 1.0)["never"][1])


def test_memory_does_not_grow_with_the_iterations() -> None:
    """One program for any number of them; the store holds few carries."""
    compiled = jax.jit(jax.grad(spiral)).lower(W, jnp.zeros(2), 5).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 8192
    assert np.allclose(compiled(W, X, 60), jax.grad(written_out)(W, X, 60), rtol=1e-12)
