"""The same models by hand in JAX, as an expert writes them: what does not change hoisted, one `lax.scan` per run.

Each is written twice, for no one knows beforehand which is faster: the state as one stacked vector, or as a tuple of
scalars; each with and without recomputation of the step in the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Params = Mapping[str, Any]
State = tuple[Any, ...]


@dataclass(frozen=True)
class Form:
    """How a rival is written."""

    stacked: bool
    remat: bool

    def __str__(self) -> str:
        return ("stacked" if self.stacked else "tuple") + (", remat" if self.remat else "")


FORMS = tuple(Form(stacked, remat) for stacked in (True, False) for remat in (False, True))


def _scan(step: Callable[[Any], Any], start: State, count: int, form: Form) -> State:
    """The state after so many steps of `step`, which maps one tuple of scalars to the next."""
    if form.stacked:
        whole: Callable[[Any], Any] = lambda y: jnp.stack(step(tuple(y)))  # noqa: E731
        y: Any = jnp.stack(start)
    else:
        whole, y = step, start
    body = jax.checkpoint(whole, prevent_cse=False) if form.remat else whole
    last, _ = lax.scan(lambda y, _: (body(y), None), y, None, length=count)
    return tuple(last)


def _rk4(rhs: Callable[[State], State], start: State, h: float, count: int, form: Form) -> State:
    """The classical method on an autonomous system, in either form."""
    if form.stacked:
        f: Callable[[Any], Any] = lambda y: jnp.stack(rhs(tuple(y)))  # noqa: E731
        y: Any = jnp.stack(start)
    else:
        f, y = rhs, start

    def step(y: Any) -> Any:
        k1 = f(y)
        k2 = f(_along(y, k1, 0.5 * h))
        k3 = f(_along(y, k2, 0.5 * h))
        k4 = f(_along(y, k3, h))
        return jax.tree.map(lambda y, a, b, c, d: y + h / 6 * (a + 2 * (b + c) + d), y, k1, k2, k3, k4)

    body = jax.checkpoint(step, prevent_cse=False) if form.remat else step
    last, _ = lax.scan(lambda y, _: (body(y), None), y, None, length=count)
    return tuple(last)


def _along(y: Any, k: Any, h: float) -> Any:
    return jax.tree.map(lambda a, b: a + h * b, y, k)


def pendulum(p: Params, start: Any, form: Form) -> tuple[Any, Any]:
    inertia = p["pendulum.m"] * p["pendulum.l"] ** 2
    pull, friction = 9.81 / p["pendulum.l"], p["pendulum.b"] / inertia

    def rhs(y: State) -> State:
        angle, speed, _ = y
        return speed, -pull * jnp.sin(angle) - friction * speed, angle * angle

    zero = jnp.zeros_like(start)
    angle, _, total = _rk4(rhs, (start, zero, zero), 0.01, 500, form)
    return total / 5.0, angle


def double_pendulum(p: Params, start: Any, form: Form) -> tuple[Any, Any]:
    m1, m2, l1, l2 = (p[f"pendulum.{name}"] for name in ("m1", "m2", "l1", "l2"))
    g, m = 9.81, m1 + m2

    def rhs(y: State) -> State:
        a, b, u, v, _ = y
        sine, cosine = jnp.sin(a - b), jnp.cos(a - b)
        sin_a, sin_b = jnp.sin(a), jnp.sin(b)
        mass = 1.0 / (m1 + m2 * sine * sine)
        pull, push = l1 * u * u * sine, l2 * v * v * sine
        du = (m2 * (g * sin_b * cosine - pull * cosine - push) - m * g * sin_a) * mass / l1
        dv = (m * (g * sin_a * cosine + pull - g * sin_b) + m2 * push * cosine) * mass / l2
        return u, v, du, dv, a * a + b * b

    zero = jnp.zeros_like(start)
    _, b, _, _, total = _rk4(rhs, (start, zero + 0.5, zero, zero, zero), 0.005, 500, form)
    return total / 2.5, b


def cart_pole(p: Params, start: Any, form: Form) -> tuple[Any, Any]:
    weights = p["pilot"]
    cart, pole, half = p["cart.cart"], p["cart.pole"], p["cart.half"]
    h, scale = 0.02, jnp.asarray([1 / 2.4, 1 / 3.0, 1 / 0.21, 1 / 3.0])
    share, arm = 1.0 / (cart + pole), pole * half

    def force(*state: Any) -> Any:
        layer = jnp.stack(state) * scale
        *hidden, (w, b) = zip(weights["w"], weights["b"], strict=True)
        for matrix, bias in hidden:
            layer = jnp.tanh(layer @ matrix + bias)
        return 10.0 * jnp.tanh((layer @ w + b)[0])

    def step(y: State) -> State:
        x, v, angle, speed, total = y
        sine, cosine = jnp.sin(angle), jnp.cos(angle)
        push = (force(x, v, angle, speed) + arm * speed * speed * sine) * share
        turn = (9.8 * sine - cosine * push) / (half * (4 / 3 - pole * share * cosine * cosine))
        along = push - arm * share * turn * cosine
        total = total + h * (x * x + angle * angle)
        return x + h * v, v + h * along, angle + h * speed, speed + h * turn, total

    zero = jnp.zeros_like(start)
    _, _, angle, _, total = _scan(step, (zero, zero, start, zero, zero), 250, form)
    return total / 5.0, angle


def lotka_volterra(p: Params, start: Any, form: Form) -> tuple[Any, Any]:
    birth, hunt, death, growth = (p[f"bay.{name}"] for name in ("birth", "hunt", "death", "growth"))

    def rhs(y: State) -> State:
        prey, predator, _ = y
        meetings = prey * predator
        return birth * prey - hunt * meetings, growth * meetings - death * predator, prey

    zero = jnp.zeros_like(start)
    _, predator, total = _rk4(rhs, (start, zero + 5.9, zero), 0.04, 500, form)
    return total / 20.0, predator


def mass_spring_damper(p: Params, start: Any, form: Form) -> tuple[Any, Any]:
    stiffness, damping = p["spring.k"] / p["spring.m"], p["spring.c"] / p["spring.m"]

    def rhs(y: State) -> State:
        x, v, _ = y
        return v, -stiffness * x - damping * v, x * x

    zero = jnp.zeros_like(start)
    x, _, total = _rk4(rhs, (start, zero + p["spring.v0"], zero), 0.01, 500, form)
    return total / 5.0, x


RIVALS: Mapping[str, Callable[[Params, Any, Form], tuple[Any, Any]]] = {
    "pendulum": pendulum,
    "double_pendulum": double_pendulum,
    "cart_pole": cart_pole,
    "lotka_volterra": lotka_volterra,
    "mass_spring_damper": mass_spring_damper,
}
