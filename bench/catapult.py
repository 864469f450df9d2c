"""The trebuchet of models/trebuchet.dpl by hand in JAX, as an expert writes it, who knows mechanics and XLA.

Angles are absolute, so that the mass matrix is an arrow and four states are left while the projectile slides. The
state is a tuple of arrays of one element per shot; steps are RK4 of fixed length, scaled by each shot's own times; sin
and cos are polynomials. An event is located in the last step and its instant differentiated implicitly. Loops end with
the last shot, so derivatives are of forward mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

FOOT, POUND, DEGREE, G = 0.3048, 0.45359237, math.pi / 180, 9.80665
PIVOT, ARM, SHORT, HANG, SLING = (FOOT * length for length in (5.0, 6.792, 1.75, 2.0, 6.833))
BALL, BEAM, WEIGHT_INERTIA = 0.328 * POUND, 10.65 * POUND, POUND * FOOT**2
CENTRE = (ARM - SHORT) / 2
BEAM_INERTIA = BEAM * (ARM + SHORT) ** 2 / 12 + BEAM * CENTRE**2
DRAG = math.pi * (0.1245 * FOOT) ** 2 / (2 * BALL)

State = tuple[Any, ...]
Steps = tuple[Any, Any, Any]
"""About how many steps each stage takes, of the type of the state; may be traced"""
NEWTON = 2
"""Refinements of an event's instant before the implicit one; the secant that they start from is good to O(h²)"""


@jax.custom_jvp
def sincos(x: Any) -> tuple[Any, Any]:
    """sin and cos of the same angle, |x| < 1000, to a few units in the last place: Taylor within π/4 of a quadrant."""
    quadrant = jnp.round(x * (2 / math.pi))
    high, low = (1.5703125, 4.83826794896619e-4) if x.dtype == jnp.float32 else (math.pi / 2, 6.123233995736766e-17)
    y = (x - quadrant * high) - quadrant * low
    z, top = y * y, 5 if x.dtype == jnp.float32 else 9
    sine, cosine = jnp.zeros_like(z), jnp.zeros_like(z)
    for k in range(top, -1, -1):
        sine = sine * z + (-1) ** k / math.factorial(2 * k + 1)
        cosine = cosine * z + (-1) ** k / math.factorial(2 * k)
    number = quadrant.astype(jnp.int32)
    odd, sine = (number & 1) == 1, sine * y
    s, c = jnp.where(odd, cosine, sine), jnp.where(odd, sine, cosine)
    return jnp.where((number & 2) == 2, -s, s), jnp.where(((number + 1) & 2) == 2, -c, c)


@sincos.defjvp
def _(primals: Any, tangents: Any) -> Any:
    s, c = sincos(*primals)
    return (s, c), (c * tangents[0], -s * tangents[0])


# ---------------------------------------------------------------- the three stages


def sliding(y: State, mass: Any) -> tuple[State, Any, State]:
    """Slope, the ground's force over the ball's mass, and the sling's sin, cos and rate; y = arm, weight, rates."""
    a, b, va, vb = y
    (sa, ca), (sb, cb) = sincos(a), sincos(b)
    c = -(PIVOT + ARM * ca) / SLING  # the sling's direction follows from the ground
    s = -jnp.sqrt(1 - c * c)
    turn = -(ARM / SLING) * sa / s  # d sling / d arm, and once more
    bend = -((ARM / SLING) * ca + c * turn * turn) / s
    reach = -ARM * ca - SLING * c * turn  # d x / d arm, and once more
    reached = ARM * sa + SLING * (s * turn * turn - c * bend)
    cross = mass * SHORT * HANG
    m12, m22 = cross * (ca * cb + sa * sb), mass * HANG**2 + WEIGHT_INERTIA
    m11 = BEAM_INERTIA + mass * SHORT**2 + BALL * reach * reach
    sine = cross * (sa * cb - ca * sb)
    f1 = G * (BEAM * CENTRE - mass * SHORT) * sa - sine * vb * vb - BALL * reach * reached * va * va
    f2 = sine * va * va - G * HANG * mass * sb
    share = m12 / m22
    aa = (f1 - share * f2) / (m11 - share * m12)
    along = reach * aa + reached * va * va
    return (va, vb, aa, (f2 - m12 * aa) / m22), G + along * c / s, (s, c, turn * va)


def swinging(y: State, mass: Any) -> State:
    """y = arm, weight, sling, rates."""
    a, b, c, va, vb, vc = y
    (sa, ca), (sb, cb), (sc, cc) = sincos(a), sincos(b), sincos(c)
    heavy, light = mass * SHORT * HANG, BALL * ARM * SLING
    m22, m33 = mass * HANG**2 + WEIGHT_INERTIA, BALL * SLING**2
    m12, m13 = heavy * (ca * cb + sa * sb), light * (ca * cc + sa * sc)
    s12, s13 = heavy * (sa * cb - ca * sb), light * (sa * cc - ca * sc)
    f1 = G * (BEAM * CENTRE + BALL * ARM - mass * SHORT) * sa - s12 * vb * vb - s13 * vc * vc
    f2 = s12 * va * va - G * HANG * mass * sb
    f3 = s13 * va * va + G * SLING * BALL * sc
    share2, share3 = m12 / m22, m13 * (1 / m33)
    m11 = BEAM_INERTIA + BALL * ARM**2 + mass * SHORT**2
    aa = (f1 - share2 * f2 - share3 * f3) / (m11 - share2 * m12 - share3 * m13)
    return va, vb, vc, aa, (f2 - m12 * aa) / m22, (f3 - m13 * aa) * (1 / m33)


def flying(y: State, wind: Any) -> State:
    _, _, vx, vy = y
    along = vx - wind
    drag = DRAG * jnp.sqrt(along * along + vy * vy)
    return vx, vy, -drag * along, -G - drag * vy


def ball(y: State) -> State:
    """Where the projectile is on its sling, and its velocity."""
    a, _, c, va, _, vc = y
    (sa, ca), (sc, cc) = sincos(a), sincos(c)
    return (
        -ARM * sa - SLING * sc,
        ARM * ca + SLING * cc,
        -ARM * ca * va - SLING * cc * vc,
        -ARM * sa * va - SLING * sc * vc,
    )


# ---------------------------------------------------------------- steps and events


def step(rhs: Callable[[State], State], y: State, h: Any) -> State:
    """RK4 as a scan over its stages: one copy of the right-hand side to compile, none to compute twice."""
    zero = jax.tree.map(jnp.zeros_like, y)
    weights = jnp.array([[0, 1 / 6], [0.5, 1 / 3], [0.5, 1 / 3], [1, 1 / 6]], y[0].dtype)

    def stage(carry: tuple[State, State], weight: Any) -> tuple[tuple[State, State], None]:
        k, total = carry
        k = rhs(tuple(a + weight[0] * h * b for a, b in zip(y, k, strict=True)))
        return (k, tuple(a + weight[1] * b for a, b in zip(total, k, strict=True))), None

    (_, total), _ = lax.scan(stage, (zero, zero), weights)
    return tuple(a + h * b for a, b in zip(y, total, strict=True))


def until(rhs: Callable[[State], State], margin: Callable[[State], Any], y: State, h: Any) -> State:
    """The state where `margin` falls through zero, shot by shot; lengths of steps carry no derivative."""
    stop: Any = lax.stop_gradient
    h = stop(h)

    def march(carry: Any) -> Any:
        y, before, _, live = carry
        new = step(rhs, y, h)
        after = stop(margin(stop(new)))
        on = live & (after > 0)
        y = tuple(jnp.where(on, b, a) for a, b in zip(y, new, strict=True))
        return y, jnp.where(on, after, before), jnp.where(live, after, carry[2]), on

    g = stop(margin(stop(y)))
    y, before, after, _ = lax.while_loop(lambda c: jnp.any(c[3]), march, (y, g, g, jnp.ones_like(h, bool)))
    start = stop(y)

    def refine(part: Any, _: Any) -> tuple[Any, None]:
        at = step(rhs, start, part)
        value, slope = jax.jvp(margin, (at,), (rhs(at),))
        return jnp.clip(part - value / slope, 0, h), None

    part, _ = lax.scan(refine, h * before / (before - after), None, length=NEWTON)
    y = step(rhs, y, stop(part))
    slopes = stop(rhs(y))
    value, slope = jax.jvp(margin, (y,), (slopes,))
    late = value / stop(slope)
    return tuple(a - late * b for a, b in zip(y, slopes, strict=True))


def swung(weight: Any, count: Steps) -> tuple[State, Any]:
    """Lift-off, and about how long a step of the swing is to be. Of weight [lb]."""
    mass = weight * POUND
    pull = G * (mass * SHORT - BEAM * CENTRE - BALL * ARM)
    scale = jnp.sqrt((BEAM_INERTIA + BALL * ARM**2 + mass * SHORT**2) / pull)  # of an arm near the horizontal
    still = jnp.zeros_like(mass)
    begin = (still + (math.pi / 2 + math.asin(PIVOT / ARM)), still, still, still)
    y = until(lambda y: sliding(y, mass)[0], lambda y: sliding(y, mass)[1], begin, 0.92 * scale / count[0])
    a, b, va, vb = y
    _, _, (s, c, vc) = sliding(y, mass)
    return (a, b, jnp.arctan2(s, c) + 2 * math.pi, va, vb, vc), 1.23 * scale / count[1]


def thrown(release: Any, weight: Any, count: Steps) -> State:
    """Position and velocity as the sling lets go. Of release [°] and weight [lb]."""
    sine, cosine = sincos(release * DEGREE)
    y, h = swung(weight, count)

    def above(y: State) -> Any:
        _, _, vx, vy = ball(y)
        return vy * cosine - vx * sine

    return ball(until(lambda y: swinging(y, weight * POUND), above, y, h))


def landed(wind: Any, y: State, count: Steps) -> Any:
    """Where it comes down [m]. Of wind [m/s]."""
    _, height, _, rise = y
    h = (rise + jnp.sqrt(rise * rise + 2 * G * (height + PIVOT))) / (G * count[2])  # as if in vacuum
    return until(lambda y: flying(y, wind), lambda y: y[1] + PIVOT, y, h)[0]


def distance(wind: Any, release: Any, weight: Any, count: Steps) -> Any:
    """How far it goes [m]; wind [m/s], release [°] and weight [lb] of the same shape."""
    return landed(wind, thrown(release, weight, count), count)


def with_tangents(wind: Any, release: Any, weight: Any, count: Steps) -> tuple[Any, Any, Any]:
    """Distance [m], its derivatives by release [m/°] and by weight [m/lb]."""
    whole: Callable[..., Any] = partial(distance, count=count)
    one, none = jnp.ones_like(weight), jnp.zeros_like(weight)
    push = lambda r, w: jax.jvp(partial(whole, wind), (release, weight), (r, w))  # noqa: E731
    value, tangents = jax.vmap(push, out_axes=(None, 0))(jnp.stack([one, none]), jnp.stack([none, one]))
    return value, tangents[0], tangents[1]


# ---------------------------------------------------------------- one aim

LOW, HIGH, START = (5.0, 60.0), (80.0, 660.0), (45.0, 200.0)


def aimed(wind: Any, target: Any, count: Steps) -> tuple[Any, Any, Any]:
    """Release [°], weight [lb] and iterations of Gauss and Newton until the miss is below 1 mm.

    The unknowns are logits of the settings within their bounds; the step is the shortest that solves the linear model.
    """
    low, high, start = (jnp.asarray(values) for values in (LOW, HIGH, START))
    width = high - low

    def setting(z: Any) -> Any:
        return low + width * jax.nn.sigmoid(z)

    def shot(z: Any) -> tuple[Any, Any]:
        value, *slopes = with_tangents(wind, *setting(z), count=count)
        share = jax.nn.sigmoid(z)
        return value - target, jnp.stack(slopes) * width * share * (1 - share)

    def improve(carry: Any) -> Any:
        z, _, n = carry
        miss, slopes = shot(z)
        return jnp.where(jnp.abs(miss) < 1e-3, z, z - miss * slopes / jnp.sum(slopes**2)), miss, n + 1

    z = jax.scipy.special.logit((start - low) / width)
    going: Callable[[Any], Any] = lambda c: (jnp.abs(c[1]) > 1e-3) & (c[2] < 50)  # noqa: E731
    z, _, n = lax.while_loop(going, improve, (z, jnp.asarray(jnp.inf), 0))
    return *setting(z), n - 1
