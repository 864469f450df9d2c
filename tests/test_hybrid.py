"""Laws of runs with events and modes: closed forms, derivatives across instants, order of what happens."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpl.runtime import program, solve, spec
from dpl.runtime.hybrid import directions
from dpl.runtime.hybrid.course import straight

ADAPTIVE = spec.Method("tsit5", {"rtol": 1e-11, "atol": 1e-12})


def mode(name: str, fixed: Any, rhs: Any, moved: tuple[int, ...], *transitions: spec.Transition, **entries: Any):
    """A mode that observes nothing; `instants` are the states unless said otherwise."""
    entries.setdefault("instants", lambda t, x, z, held, c: x)
    return spec.Mode(name, fixed, rhs, lambda t, x, z, held, c: {}, moved, transitions=transitions, **entries)


def scenario(
    params: dict[str, float],
    states: tuple[str, ...],
    start: Callable[..., Any],
    modes: tuple[spec.Mode, ...],
    events: tuple[spec.Event, ...],
    duration: float,
    reductions: tuple[tuple[Any, ...], ...] = (),
    method: spec.Method = ADAPTIVE,
    **entries: Any,
) -> program.Scenario:
    """A scenario whose metrics are `final` of each state, then the given reductions as `r0`, `r1`, …

    A reduction is its kind, its index, its further arguments, and perhaps a window.
    """
    every = (*(("final", n, ()) for n in range(len(states))), *(r[:3] for r in reductions))
    windows = (*((None, None) for _ in states), *((*r[3:], None, None)[:2] for r in reductions))
    names = (*states, *(f"r{n}" for n in range(len(reductions))))
    first = modes[0]
    run = entries.pop("run", spec.Run(0.0, duration, method))
    one = spec.Scenario(
        "S", "", tuple(spec.Param(n, v) for n, v in params.items()), (), (), (), (),
        tuple(spec.Measure(n, "metric") for n in names), first.fixed, lambda r, c: dict(zip(names, r, strict=True)),
        first.observe, run=run, states=tuple(spec.Observed(n) for n in states), start=start, rhs=first.rhs,
        reductions=tuple(spec.Reduction(kind, n) for kind, n, _ in every),
        reduction_arguments=lambda c: tuple((*w, a) for w, (_, _, a) in zip(windows, every, strict=True)),
        events=events, automata=entries.pop("automata", (tuple(m.name for m in modes),)), modes=modes, **entries,
    )  # fmt: skip
    return next(iter(program.from_module(spec.Module("m", "", (one,), (), "0")).scenarios.values()))


def changed(one: program.Scenario, **entries: Any) -> program.Scenario:
    """The same scenario with other entries."""
    module = spec.Module("m", "", (replace(one.spec, **entries),), (), "0")
    return next(iter(program.from_module(module).scenarios.values()))


def derivative(one: program.Scenario, measure: str, name: str, forward: bool = True, **params: float) -> float:
    at = {**one.params, **params}
    take, mode = (jax.jacfwd, "forward") if forward else (jax.grad, "reverse")
    return float(take(lambda v: one.evaluate({**at, name: v}, mode=mode)[measure])(jnp.asarray(float(at[name]))))


# ---------------------------------------------------------------- a bouncing ball


def ball(duration: float, kept: int = 6, method: spec.Method = ADAPTIVE, **entries: Any) -> program.Scenario:
    """h'' = -g from h0, v -> -e·v on the ground; metrics h, v and the first impacts' times."""
    fly = mode(
        "fly", lambda v: (v["g"], v["e"], v["h0"]),
        lambda t, x, z, held, c: ((x[1], -c[0]), ()), (0, 1),
        spec.Transition(0, assign=lambda t, x, z, held, c: ((-c[1] * x[1],), ()), states=(1,)),
        margins=lambda t, x, z, held, c: (-x[0],),
    )  # fmt: skip
    times = tuple(("event_time", 0, (k,)) for k in range(1, kept + 1))
    return scenario(
        {"g": 9.81, "e": 0.8, "h0": 1.0}, ("h", "v"), lambda c: ((c[2], 0.0), (), ()), (fly,),
        (spec.Event("landed", kept),), duration, (*times, ("count", 0, ())), method, **entries,
    )  # fmt: skip


def impact(k: int, g: float, e: float, h0: float) -> float:
    fall = np.sqrt(2 * h0 / g)
    return fall * (1 + 2 * sum(e**i for i in range(1, k)))


def height(t: float, g: float, e: float, h0: float) -> float:
    k = sum(impact(k, g, e, h0) <= t for k in range(1, 50))
    if k == 0:
        return h0 - 0.5 * g * t * t
    since = t - impact(k, g, e, h0)
    return e**k * np.sqrt(2 * g * h0) * since - 0.5 * g * since**2


def test_a_ball_bounces_at_its_closed_form() -> None:
    got = ball(2.5, kept=4).evaluate()
    for k in range(1, 5):
        assert got[f"r{k - 1}"] == pytest.approx(impact(k, 9.81, 0.8, 1.0), rel=1e-11)
    assert got["h"] == pytest.approx(height(2.5, 9.81, 0.8, 1.0), abs=1e-10)
    assert float(got["r4"]) == sum(impact(k, 9.81, 0.8, 1.0) <= 2.5 for k in range(1, 30))


@pytest.mark.parametrize("name", ["g", "e", "h0"])
def test_derivatives_go_through_four_bounces(name: str) -> None:
    at, one = {"g": 9.81, "e": 0.8, "h0": 1.0}, ball(2.5, kept=4)

    def slope(f: Callable[..., float]) -> float:
        d = 1e-5
        return (f(**{**at, name: at[name] + d}) - f(**{**at, name: at[name] - d})) / (2 * d)

    assert derivative(one, "h", name) == pytest.approx(slope(lambda **p: height(2.5, **p)), rel=1e-7)
    assert derivative(one, "r3", name) == pytest.approx(slope(lambda **p: impact(4, **p)), rel=1e-7, abs=1e-9)


def test_impacts_that_pile_up_end_the_run_as_chattering() -> None:
    one = ball(10.0, kept=1)
    results, status = one.measures_si(one.values_si())
    assert int(status) == solve.CHATTERING
    assert 50 < results["event landed"] < 200
    results, status = ball(10.0, kept=1).measures_si({**one.values_si(), "e": np.asarray(0.3)})
    assert int(status) == solve.CHATTERING


def test_members_of_a_batch_bounce_as_they_do_alone() -> None:
    one = ball(2.0, kept=1)
    starts = jnp.linspace(0.3, 3.0, 7)
    together = jax.vmap(lambda h0: one.evaluate({"h0": h0}))(starts)
    for n, h0 in enumerate(starts):
        alone = one.evaluate({"h0": float(h0)})
        assert together["h"][n] == pytest.approx(float(alone["h"]), abs=1e-12)
        assert together["h"][n] == pytest.approx(height(2.0, 9.81, 0.8, float(h0)), abs=1e-9)
    assert one.traces["measures"] == 2


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_fixed_steps_keep_their_order_through_an_impact(method: str, order: int) -> None:
    def error(step: float) -> float:
        got = drag(spec.Method(method, {"step": step})).evaluate()
        return abs(float(got["x"]) - exact)

    exact = float(drag(spec.Method("dopri8", {"rtol": 1e-13, "atol": 1e-14})).evaluate()["x"])
    coarse, fine = (0.05, 0.025) if order > 1 else (0.002, 0.001)
    assert np.log2(error(coarse) / error(fine)) == pytest.approx(order, abs=0.35)


def drag(method: spec.Method) -> program.Scenario:
    """x'' = -x - 0.3·v², elastic at x = 0.5; smooth but not a polynomial."""
    fly = mode(
        "fly", lambda v: (v["k"],), lambda t, x, z, held, c: ((x[1], -c[0] * x[0] - 0.3 * x[1] * x[1]), ()), (0, 1),
        spec.Transition(0, assign=lambda t, x, z, held, c: ((-x[1],), ()), states=(1,)),
        margins=lambda t, x, z, held, c: (x[0] - 0.5,),
    )  # fmt: skip
    start = lambda c: ((0.0, 1.0), (), ())  # noqa: E731
    return scenario({"k": 1.0}, ("x", "v"), start, (fly,), (spec.Event("wall"),), 1.3, method=method)


# ---------------------------------------------------------------- where a parameter acts, and when


def test_a_parameter_counts_only_where_it_acts() -> None:
    """x' = 1 until x > a, then x' = b: the end is at a + b·(T - a), and b acts after the event alone."""
    one = switch()
    assert one.evaluate()["x"] == pytest.approx(0.7 + 3.0 * (2.0 - 0.7), rel=1e-12)
    assert derivative(one, "x", "a") == pytest.approx(1 - 3.0, rel=1e-12)
    assert derivative(one, "x", "b") == pytest.approx(2.0 - 0.7, rel=1e-12)
    assert derivative(one, "r0", "a") == pytest.approx(1.0, rel=1e-12)
    assert derivative(one, "r0", "b") == 0


def switch(method: spec.Method = ADAPTIVE) -> program.Scenario:
    before = mode(
        "before", lambda v: (v["a"],), lambda t, x, z, held, c: ((1.0 + 0 * x[0],), ()), (0,),
        spec.Transition(0, go=(0, 1)), margins=lambda t, x, z, held, c: (x[0] - c[0],),
    )  # fmt: skip
    after = mode("after", lambda v: (v["b"],), lambda t, x, z, held, c: ((c[0] + 0 * x[0],), ()), (0,))
    return scenario(
        {"a": 0.7, "b": 3.0}, ("x",), lambda c: ((0.0,), (), ()), (before, after), (spec.Event("e", 1),), 2.0,
        (("event_time", 0, ()),), method,
    )  # fmt: skip


@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_borders_in_one_step_the_first_one_met_acts_first(swapped: bool) -> None:
    """x' = 1; at x > 0.3 the sum s := 2·s + 1, at x > 0.2 it is s := 3·s + 1: only one order gives 3."""
    transitions = (
        spec.Transition(0, assign=lambda t, x, z, held, c: ((2 * x[1] + 1,), ()), states=(1,)),
        spec.Transition(1, assign=lambda t, x, z, held, c: ((3 * x[1] + 1,), ()), states=(1,)),
    )
    order = (1, 0) if swapped else (0, 1)
    only = mode(
        "only", lambda v: (), lambda t, x, z, held, c: ((1.0 + 0 * x[0], 0), ()), (0,),
        *(transitions[n] for n in order),
        margins=lambda t, x, z, held, c: tuple((x[0] - 0.3, x[0] - 0.2)[n] for n in order),
    )  # fmt: skip
    one = scenario({}, ("x", "s"), lambda c: ((0.0, 0.0), (), ()), (only,), (spec.Event("a"), spec.Event("b")), 1.0)
    got = one.evaluate()
    assert got["s"] == 3
    assert got["x"] == pytest.approx(1.0)


def test_simultaneous_events_read_what_was_before_and_the_later_wins() -> None:
    only = mode(
        "only", lambda v: (), lambda t, x, z, held, c: ((1.0 + 0 * x[0], 0, 0), ()), (0,),
        spec.Transition(0, assign=lambda t, x, z, held, c: ((x[2] + 5, 1.0), ()), states=(1, 2)),
        spec.Transition(1, assign=lambda t, x, z, held, c: ((x[2] + 7,), ()), states=(1,)),
        margins=lambda t, x, z, held, c: (x[0] - 0.3, 3 * x[0] - 0.9),
    )  # fmt: skip
    start = lambda c: ((0.0, 0.0, 0.0), (), ())  # noqa: E731
    got = scenario({}, ("x", "p", "q"), start, (only,), (spec.Event("a"), spec.Event("b")), 1.0).evaluate()
    assert (got["p"], got["q"]) == (7, 1)


def test_an_assignment_that_makes_another_condition_true_fires_it_at_the_same_instant() -> None:
    only = mode(
        "only", lambda v: (), lambda t, x, z, held, c: ((1.0 + 0 * x[0], 0, 0), ()), (0,),
        spec.Transition(0, assign=lambda t, x, z, held, c: ((1.0,), ()), states=(1,)),
        spec.Transition(1, assign=lambda t, x, z, held, c: ((x[0],), ()), states=(2,)),
        margins=lambda t, x, z, held, c: (x[0] - 0.3, x[1] - 0.5),
    )  # fmt: skip
    start = lambda c: ((0.0, 0.0, 0.0), (), ())  # noqa: E731
    one = scenario(
        {}, ("x", "p", "q"), start, (only,), (spec.Event("a"), spec.Event("b", 1)), 1.0, (("event_time", 1, ()),)
    )
    got = one.evaluate()
    assert got["q"] == pytest.approx(0.3, rel=1e-12) and got["r0"] == pytest.approx(0.3, rel=1e-12)


def test_alarms_ring_on_time_and_their_times_have_derivatives() -> None:
    """x' = -x; x := x + 1 at first, first + period, … ≤ last: a sum of exponentials."""
    only = mode(
        "only", lambda v: (v["first"], v["period"]), lambda t, x, z, held, c: ((-x[0],), ()), (0,),
        spec.Transition(0, "time", assign=lambda t, x, z, held, c: ((x[0] + 1,), ()), states=(0,)),
        alarms=lambda c: ((c[0], c[1], 0.95),),
    )  # fmt: skip
    at = {"first": 0.2, "period": 0.25}
    one = scenario(at, ("x",), lambda c: ((0.0,), (), ()), (only,), (spec.Event("dose"),), 1.5, (("count", 0, ()),))
    exact = lambda first, period: sum(np.exp(-(1.5 - first - k * period)) for k in range(4))  # noqa: E731
    got = one.evaluate()
    assert got["r0"] == 4
    assert got["x"] == pytest.approx(exact(**at), rel=1e-10)
    assert derivative(one, "x", "first") == pytest.approx(exact(**at), rel=1e-9)
    by_period = sum(k * np.exp(-(1.5 - 0.2 - k * 0.25)) for k in range(4))
    assert derivative(one, "x", "period") == pytest.approx(by_period, rel=1e-9)
    assert one.evaluate({"first": 0.0})["r0"] == 4  # one at the very start, the last at 0.75


# ---------------------------------------------------------------- how a condition begins


def ramp(
    start: float, at_once: bool, duration: float = 1.0, until_stop: bool = False, **entries: Any
) -> program.Scenario:
    """x' = 1 from `start`; where x > 0.5 the run stops."""
    only = mode(
        "only", lambda v: (v["start"],), lambda t, x, z, held, c: ((1.0 + 0 * x[0],), ()), (0,),
        spec.Transition(0, at_once=at_once, stop=True), margins=lambda t, x, z, held, c: (x[0] - 0.5,),
    )  # fmt: skip
    return scenario(
        {"start": start}, ("x",), lambda c: ((c[0],), (), ()), (only,), (spec.Event("e", 1),), duration,
        run=spec.Run(0.0, duration, ADAPTIVE, until_stop=until_stop), **entries,
    )  # fmt: skip


def test_what_is_true_already_fires_only_at_once() -> None:
    results, status = ramp(0.8, False).measures_si({"start": np.asarray(0.8)})
    assert (int(status), results["event e"], results["told e"]) == (solve.OK, 0, 1)
    assert results["x"] == pytest.approx(1.8)
    results, _ = ramp(0.8, True).measures_si({"start": np.asarray(0.8)})
    assert (results["event e"], results["told e"], results["x"]) == (1, 0, 0.8)


def test_a_start_on_the_border_counts_as_false_and_so_fires() -> None:
    results, _ = ramp(0.5, False).measures_si({"start": np.asarray(0.5)})
    assert (results["event e"], results["told e"]) == (1, 0)
    assert results["x"] == pytest.approx(0.5, abs=1e-12)


def test_a_run_that_must_stop_says_where_it_does_not() -> None:
    _, status = ramp(0.0, False, 0.4, until_stop=True).measures_si({"start": np.asarray(0.0)})
    assert int(status) == solve.NOT_ENDED
    one = ramp(0.0, False, 4.0, until_stop=True, reductions=(("average", 0, ()),)[:0])
    results, status = one.measures_si(one.values_si())
    assert (int(status), float(results["x"])) == (solve.OK, pytest.approx(0.5, rel=1e-12))


def test_the_time_of_what_never_happens_is_a_failure_of_the_run() -> None:
    one = ramp(0.0, False, 0.4, reductions=(("event_time", 0, ()),))
    results, status = one.measures_si(one.values_si())
    assert int(status) == solve.NEVER
    assert np.isnan(results["r0"])
    assert np.isfinite(results["x"]), "a training goes on with it"
    assert np.isnan(one.evaluate()["x"]), "a user is shown nothing of such a run"


def test_a_touch_is_told_as_grazing() -> None:
    """x = 1 - (t - 1)² touches 1 and, a little higher, crosses it twice."""
    only = mode(
        "only", lambda v: (v["top"],), lambda t, x, z, held, c: ((-2 * (t - 1),), ()), (0,),
        spec.Transition(0), margins=lambda t, x, z, held, c: (x[0] - 1,),
    )  # fmt: skip
    one = scenario({"top": 1.0}, ("x",), lambda c: ((c[0] - 1,), (), ()), (only,), (spec.Event("e"),), 2.0)
    assert one.measures_si({"top": np.asarray(1 + 1e-10)})[0]["told e"] == 2
    assert one.measures_si({"top": np.asarray(0.99)})[0]["event e"] == 0
    results, _ = one.measures_si({"top": np.asarray(1.0001)})
    assert (results["event e"], results["told e"]) == (1, 0)


# ---------------------------------------------------------------- modes


def thermostat(method: spec.Method = ADAPTIVE) -> program.Scenario:
    """T' = -T + 2·heating between 0.5 and 1.5; each way takes ln 3. A quadrature counts the heating."""
    heat = mode(
        "heat", lambda v: (v["high"],), lambda t, x, z, held, c: ((2 - x[0],), (1.0 + 0 * t,)), (0,),
        spec.Transition(0, go=(0, 1)), margins=lambda t, x, z, held, c: (x[0] - c[0],),
    )  # fmt: skip
    cool = mode(
        "cool", lambda v: (v["low"],), lambda t, x, z, held, c: ((-x[0],), (0 * t,)), (0,),
        spec.Transition(1, go=(0, 0)), margins=lambda t, x, z, held, c: (c[0] - x[0],),
    )  # fmt: skip
    return scenario(
        {"low": 0.5, "high": 1.5}, ("T",), lambda c: ((0.5, ), (), ()), (heat, cool),
        (spec.Event("hot", 3), spec.Event("cold", 3)), 7 * np.log(3.0) - 0.5,
        (("event_time", 0, (3,)), ("event_time", 1, (3,)), ("integral", 0, ()), ("average", 0, ()), ("count", 0, ())),
        method,
    )  # fmt: skip


def test_a_thermostat_cycles() -> None:
    got = thermostat().evaluate()
    way = np.log(3.0)
    assert got["r0"] == pytest.approx(5 * way, rel=1e-10)
    assert got["r1"] == pytest.approx(6 * way, rel=1e-10)
    assert got["r2"] == pytest.approx(4 * way - 0.5, rel=1e-10)
    assert got["r3"] == pytest.approx((4 * way - 0.5) / (7 * way - 0.5), rel=1e-10)
    assert got["r4"] == 3


def test_derivatives_go_round_the_cycle() -> None:
    """Each heating takes ln((2 - low)/(2 - high)), each cooling ln(high/low), the first one from 0.5."""
    by_high = 3 / (2 - 1.5) + 2 / 1.5
    by_low = -2 / (2 - 0.5) - 2 / 0.5
    assert derivative(thermostat(), "r0", "high") == pytest.approx(by_high, rel=1e-9)
    assert derivative(thermostat(), "r0", "low") == pytest.approx(by_low, rel=1e-9)


def test_a_run_is_shown_by_the_mode_that_it_is_in() -> None:
    one = thermostat()
    seen = tuple(
        replace(m, observe=lambda t, x, z, held, c, on=on: {"T": x[0], "on": on})
        for m, on in zip(one.spec.modes, (1.0, float("nan")), strict=True)
    )
    shown = changed(one, modes=seen, observed=(spec.Observed("T"), spec.Observed("on"))).simulate(50)
    since = shown.time % (2 * np.log(3.0))
    heating = since < np.log(3.0)
    assert np.array_equal(np.isfinite(shown["on"]), heating)
    exact = np.where(heating, 2 - 1.5 * np.exp(-since), 1.5 * np.exp(-(since - np.log(3.0))))
    assert np.max(np.abs(shown["T"] - exact)) < 1e-9
    assert "`hot` happened 3 times, first at 1.099 s, last at 5.493 s" in shown.notes


def test_events_and_ticks_share_a_run() -> None:
    """x' = held; each tick holds z, which counts ticks, and x > 1 halves x and says so to z at the next tick."""
    clock = spec.Clock(1, lambda t, x, z, held, c: ((z[0],), (z[0] + 1,)), (0,))
    only = mode(
        "only", lambda v: (), lambda t, x, z, held, c: ((held[0],), ()), (0,),
        spec.Transition(0, assign=lambda t, x, z, held, c: ((0.5 * x[0],), ()), states=(0,)),
        spec.Transition(1, "tick", assign=lambda t, x, z, held, c: ((), (1.0,)), sampled=(0,)),
        margins=lambda t, x, z, held, c: (x[0] - 1,), tests=lambda t, x, z, held, c: (z[0] - 3.5,), clocks=(clock,),
    )  # fmt: skip
    one = scenario(
        {}, ("x",), lambda c: ((0.0,), (0.0,), (0.0,)), (only,), (spec.Event("high", 2), spec.Event("many")), 0.8,
        (("event_time", 0, (1,)), ("count", 1, ())), run=spec.Run(0.0, 0.8, ADAPTIVE, base=0.1), clocks=(clock,),
    )  # fmt: skip
    # Held: 0, 1, 2, 3, then z = 4 becomes 1: 1, 2, 3, then 4 becomes 1.
    got = one.evaluate()
    assert got["r1"] == 2
    assert got["r0"] == pytest.approx(0.6 + 0.1 / 3, rel=1e-9)


# ---------------------------------------------------------------- reverse mode


@pytest.mark.parametrize("name", ["e", "h0"])
def test_reverse_mode_agrees_with_forward_mode(name: str) -> None:
    one = ball(2.5, kept=4)
    forward = derivative(one, "h", name)
    assert derivative(one, "h", name, forward=False) == pytest.approx(forward, rel=1e-12)


def test_a_batch_has_the_gradient_of_its_members() -> None:
    one = ball(2.0, kept=1)
    starts = jnp.linspace(0.5, 2.0, 3)
    loss = lambda e: jnp.mean(jax.vmap(lambda h0: one.evaluate({"h0": h0, "e": e})["h"] ** 2)(starts))  # noqa: E731
    descend = lambda e, _: (e - 0.01 * jax.grad(loss)(e), loss(e))  # noqa: E731
    _, losses = jax.lax.scan(descend, jnp.asarray(0.8), None, length=3)
    d = 1e-6
    slope = (loss(jnp.asarray(0.8 + d)) - loss(jnp.asarray(0.8 - d))) / (2 * d)
    assert losses[2] < losses[1] < losses[0]
    first, _ = descend(jnp.asarray(0.8), None)
    assert first == pytest.approx(0.8 - 0.01 * float(slope), rel=1e-7)


# ---------------------------------------------------------------- what is recorded


def test_reductions_look_at_both_sides_of_an_instant_and_not_across() -> None:
    """The ball's height and speed: v jumps from -√(2·g·h0) to e·√(2·g·h0) at the impact."""
    up = lambda t, x, z, held, c: (x[0], x[1], x[1] > 0)  # noqa: E731
    reductions = (
        ("peak", 1, ()), ("lowest", 1, ()), ("value_at", 0, (0.8,)), ("peak", 0, (), 0.5, 1.0), ("fraction", 2, ()),
        ("integral", 0, (), 0.2, 1.0), ("settling_time", 0, (0.0, 0.9)), ("average", 0, (), None, 0.4),
    )  # fmt: skip
    one = ball(1.1)
    fly = replace(
        one.spec.modes[0], recorded=up, rhs=lambda t, x, z, held, c: ((x[1], -c[0] + 0 * x[0]), (x[0],)),
        margins=lambda t, x, z, held, c: (-x[0],),
    )  # fmt: skip
    got = scenario(
        {"g": 9.81, "e": 0.8, "h0": 1.0}, ("h", "v"), one.spec.start, (fly,), one.spec.events, 1.1, reductions
    )
    g, e, t1 = 9.81, 0.8, impact(1, 9.81, 0.8, 1.0)
    fast = np.sqrt(2 * g)
    top = t1 + e * fast / g
    flown = lambda a, b: e * fast * (b * b - a * a) / 2 - g * (b**3 - a**3) / 6  # noqa: E731
    fallen = lambda a, b: (b - a) - g * (b**3 - a**3) / 6  # noqa: E731
    found = got.evaluate()
    assert found["r0"] == pytest.approx(e * fast, rel=1e-9)
    assert found["r1"] == pytest.approx(-fast, rel=1e-9)
    assert found["r2"] == pytest.approx(height(0.8, g, e, 1.0), rel=1e-9)
    assert found["r3"] == pytest.approx(e * e, rel=1e-5)
    assert found["r4"] == pytest.approx((top - t1) / 1.1, rel=2e-3)
    assert found["r5"] == pytest.approx(fallen(0.2, t1) + flown(0.0, 1.0 - t1), rel=1e-9)
    assert found["r6"] == pytest.approx(np.sqrt(0.2 / g), rel=1e-4)
    assert found["r7"] == pytest.approx(fallen(0.0, 0.4) / 0.4, rel=1e-9)
    slope = (height(0.8, g, 0.8 + 1e-6, 1.0) - height(0.8, g, 0.8 - 1e-6, 1.0)) / 2e-6
    assert derivative(got, "r2", "e") == pytest.approx(slope, rel=1e-6)


def test_large_arrays_are_differentiated_by_stored_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a network within the dynamics has them; here two numbers count as many."""
    monkeypatch.setattr(directions, "FEW", 1)
    one = switch()
    apart = lambda v: {"a": v["w"][0], "b": v["w"][1]}  # noqa: E731
    modes = tuple(replace(m, fixed=lambda v, f=m.fixed: f(apart(v))) for m in one.spec.modes)
    got = changed(one, modes=modes, params=(spec.Param("w", (0.7, 3.0), shape=(2,)),), fixed=modes[0].fixed)
    gradient = jax.grad(lambda w: got.evaluate({"w": w})["x"])(jnp.asarray([0.7, 3.0]))
    assert np.allclose(gradient, [-2.0, 1.3], rtol=1e-10)


@pytest.mark.long
def test_stored_states_serve_one_derivative_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one program, by the start, by what only the event reads, and by the slope; then by one of them in a batch."""
    monkeypatch.setattr(directions, "FEW", 0)
    one = ball(1.1, kept=1)
    due = {name: derivative(one, "h", name) for name in ("h0", "e", "g")}
    got = {name: derivative(one, "h", name, forward=False) for name in due}
    assert got == pytest.approx(due, rel=1e-9)
    by_start = jax.grad(lambda h0: one.evaluate({"h0": h0}, mode="reverse")["h"])
    assert jax.vmap(by_start)(jnp.ones(2)) == pytest.approx([due["h0"]] * 2, rel=1e-9)


def test_a_network_that_is_fixed_in_a_run_counts_by_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three weights give one number before the run: one direction, not three."""
    monkeypatch.setattr(directions, "FEW", 1)
    one = switch()
    led = lambda v: {"b": v["w"][0] * v["w"][1] + v["w"][2]}  # noqa: E731
    modes = tuple(
        replace(m, fixed=lambda v, f=m.fixed: f({**v, "b": v["b"] if "b" in v else led(v)["b"]}))
        for m in one.spec.modes
    )
    params = (spec.Param("a", 0.7), spec.Param("w", (1.0, 2.0, 1.0), shape=(3,)))
    got = changed(one, modes=modes, params=params, leading=led, fixed=modes[0].fixed)
    assert directions.read(lambda v: [m.fixed(v) for m in modes], {"a": 0.7, "b": 3.0, "w": jnp.ones(3)}) == [
        True, True, False,
    ]  # fmt: skip
    gradient = jax.grad(lambda w: got.evaluate({"w": w})["x"])(jnp.asarray([1.0, 2.0, 1.0]))
    assert np.allclose(gradient, 1.3 * np.array([2.0, 1.0, 1.0]), rtol=1e-10)


# ---------------------------------------------------------------- forms of the program


def test_a_chain_of_modes_runs_as_any_other_modes_do() -> None:
    """An event that only counts makes the general path of what is one straight pass."""
    chain = switch()
    first = chain.spec.modes[0]
    counts = replace(
        first, transitions=(*first.transitions, spec.Transition(1)),
        margins=lambda t, x, z, held, c: (x[0] - c[0], x[0] - 0.4),
    )  # fmt: skip
    general = changed(chain, modes=(counts, chain.spec.modes[1]), events=(*chain.spec.events, spec.Event("passed")))
    assert straight(chain.spec) and not straight(general.spec)
    assert general.evaluate()["x"] == pytest.approx(float(chain.evaluate()["x"]), rel=1e-13)
    assert general.measures_si(general.values_si())[0]["event passed"] == 1


def test_single_precision_keeps_its_digits() -> None:
    one = ball(2.0, kept=2, method=spec.Method("tsit5"))
    single = {k: jnp.asarray(v, jnp.float32) for k, v in one.values_si().items()}
    fly = replace(one.spec.modes[0], fixed=lambda v: tuple(jnp.asarray(v[k]) for k in ("g", "e", "h0")))
    small = changed(one, modes=(fly,), start=lambda c: ((c[2], 0 * c[2]), (), ()))
    results, status = small.measures_si(single)
    assert int(status) == solve.OK and results["h"].dtype == jnp.float32
    assert results["h"] == pytest.approx(height(2.0, 9.81, 0.8, 1.0), abs=2e-5)
    assert results["r1"] == pytest.approx(impact(2, 9.81, 0.8, 1.0), rel=1e-5)


def test_other_values_trace_nothing_anew_and_an_unknown_method_is_told() -> None:
    one = switch()
    for a in (0.7, 0.9, 1.1):
        assert one.evaluate({"a": a})["x"] == pytest.approx(a + 3 * (2 - a))
    assert one.traces["measures"] == 1
    with pytest.raises(ValueError, match="kvaerno5"):
        switch(spec.Method("kvaerno5")).evaluate()


def test_a_margin_that_first_falls_does_not_happen_in_place_of_another() -> None:
    """Two coordinates between walls at 0 and 1: where one is reflected, the other goes on, though both end beyond."""
    between = lambda a: jnp.maximum(-a, a - 1.0)  # noqa: E731
    box = mode(
        "box", lambda v: (v["x0"],),
        lambda t, x, z, held, c: ((x[2], x[3], 0.0, 0.0), ()), (0, 1, 2, 3),
        spec.Transition(0, assign=lambda t, x, z, held, c: ((-x[2],), ()), states=(2,)),
        spec.Transition(1, assign=lambda t, x, z, held, c: ((-x[3],), ()), states=(3,)),
        margins=lambda t, x, z, held, c: (between(x[0]), between(x[1])),
    )  # fmt: skip
    one = scenario(
        {"x0": 0.3}, ("x", "y", "u", "w"), lambda c: ((c[0], 0.5, 0.7, -0.4), (), ()), (box,),
        (spec.Event("side", 2), spec.Event("end", 2)), 10.0,
        (("event_time", 0, (2,)), ("count", 0, ()), ("count", 1, ())),
    )  # fmt: skip
    found = one.evaluate(one.params)
    assert [float(found[name]) for name in ("r1", "r2")] == [7, 4]
    np.testing.assert_allclose([found["x"], found["y"], found["r0"]], [0.7, 0.5, 1.7 / 0.7], atol=1e-9)
