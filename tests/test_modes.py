"""Laws of events, modes, Lagrangians and `run until` in the language: names, order, units, what has a value where."""

from itertools import permutations

import pytest

from dpl import language
from dpl.language.balance import Structure
from dpl.language.change import varying
from dpl.language.diagnostics import CompileError
from dpl.language.source import Source

THERMOSTAT = """
model Room {
  state T: K = 290
  param outside: K = 280
  param τ: h = 2
  mode off { let heat: K/h = 0; when cold: T < 288 [K] { go on } }
  mode on { let heat: K/h = 10 [K/h]; when warm: T > 294 [K] { go off } }
  T' = (outside - T)/τ + heat
}
scenario Day {
  part room = Room()
  run for 1 [day]
}
"""
BALL = """
  state h: m = 5
  state v: m/s = 0
  h' = v
  v' = -9.81 [m/s^2]
"""
PENDULUM = """
  param m: kg = 2
  param l: m = 3
  state θ: rad = 1
  lagrangian ½*m*l²*θ'² + m*9.81 [m/s^2]*l*cos(θ)
"""


def check(text):
    return language.load_text(Source("m.dpl", text))


def system(text):
    (found,) = check(text).systems.values()
    return found


def scenario(*lines, run="run for 5 [s]"):
    return "\n".join(["scenario S {", *lines, run, "}"])


def codes(text):
    with pytest.raises(CompileError) as error:
        check(text)
    return [d.code for d in error.value.diagnostics]


def variable(found, path):
    return next(v for v in found.variables if v.path == path)


def paths(variables):
    return {v.path for v in variables}


# ---------------------------------------------------------------- events


def test_events_are_found_by_their_names_from_outside():
    text = "model Ball {" + BALL + "when landing: h < 0 { v := -v } }\n"
    found = system(text + scenario("part ball = Ball()", "metric t = event_time(ball.landing, 2)"))
    (event,) = found.events
    assert (event.path, event.named, event.condition is not None) == ("ball.landing", True, True)


def test_events_without_names_go_by_their_line_and_are_told_apart():
    text = "model Ball {" + BALL + "when h < 0 { v := -v } }\n"
    found = system(text + scenario("part one = Ball()", "part two = Ball()", "at 1 [s] { stop }; at 2 [s] { stop }"))
    assert [e.path for e in found.events] == ["m.dpl:6", "m.dpl:6#2", "m.dpl:10", "m.dpl:10#2"]


def test_events_stand_in_the_order_of_the_text_with_parts_before_what_makes_them():
    inner = "model Inner { state x = 0; x' = 1; when inner: x > 1 { x := 0 } }\n"
    outer = "model Outer { when before: inner.x > 2 { inner.x := 0 }; part inner = Inner() }\n"
    body = ("when first: time > 1 { stop }", "part outer = Outer()", "when last: time > 2 { stop }", "run for 5")
    found = system(inner + outer + "scenario S {" + "\n".join(body) + "}")
    assert [e.path for e in found.events] == ["outer.inner.inner", "outer.before", "first", "last"]


def test_a_run_waits_for_an_event_a_condition_or_any_stop():
    landing = BALL + "when landing: h < 0 { v := -v }"
    named = system(scenario(landing, run="run until landing within 9 [s]"))
    assert [(e.path, e.stop) for e in named.events] == [("landing", True)]
    condition = system(scenario(landing, run="run until v < -3 [m/s] within 9 [s]"))
    assert [(e.path, e.stop) for e in condition.events] == [("landing", False), ("m.dpl:8", True)]
    stopped = system(scenario(landing, "at 2 [s] { stop }", run="run until stop within 9 [s]"))
    assert [e.stop for e in stopped.events] == [False, True]
    for found in (named, condition, stopped):
        assert found.run.until_stop and found.run.duration == 9


def test_a_part_stops_a_run():
    text = "model Ball {" + BALL + "when landing: h < 0 { } }\n"
    found = system(text + scenario("part ball = Ball()", run="run until ball.landing within 9 [s]"))
    assert [(e.path, e.stop) for e in found.events] == [("ball.landing", True)]


@pytest.mark.parametrize(
    ("condition", "sampled"),
    [
        ("counter.n > 3", True),
        ("counter.n > 3 and counter.half > limit", True),
        ("twice == 4", True),
        ("counter.n > x", False),
        ("counter.n > 3 or time > 2 [s]", False),
        ("x > 3", False),
    ],
)
def test_what_changes_at_ticks_only_is_tested_at_ticks(condition, sampled):
    counter = "model Counter every 1 [s] { state n = 0; let half = n/2; next n = n + 1 }\n"
    lines = ("part counter = Counter()", "param limit = 2", "let twice = 2*counter.n", "state x = 0", "x' = 1 [1/s]")
    found = system(counter + scenario(*lines, f"when full: {condition} {{ x := 0 }}"))
    assert found.events[0].sampled == sampled


def test_a_state_that_only_events_assign_holds_and_varies():
    found = system(scenario(BALL, "state bounces = 0", "when landing: h < 0 { bounces := bounces + 1; v := -v }"))
    assert paths(Structure(found).held) == {"bounces"}
    assert paths(Structure(found).moved) == {"h", "v"}
    assert "bounces" in paths(varying(found))


def test_a_rate_is_assigned_where_it_is_a_state():
    event = "when landing: x < 0 { x' := -x' }"
    found = system(scenario("state x: m = 1", "x'' = -9.81 [m/s^2]", event))
    assert [(a.target.path, a.order) for a in found.events[0].assignments] == [("x", 1)]
    assert codes(scenario("state x: m = 1", "x' = -9.81 [m/s]", event)) == ["not-assignable"]


def test_a_rate_is_assigned_in_its_own_unit():
    lines = ("state x: m = 1", "x'' = -9.81 [m/s^2]")
    check(scenario(*lines, "when landing: x < 0 { x' := 3 [m/s] }"))
    assert codes(scenario(*lines, "when landing: x < 0 { x' := 3 [m] }")) == ["unit-mismatch"]


def test_states_of_parts_are_assigned_from_outside():
    found = system("model Ball {" + BALL + "}\n" + scenario("part ball = Ball()", "at 1 [s] { ball.h := 9 [m] }"))
    assert [a.target.path for a in found.events[0].assignments] == ["ball.h"]


def test_an_event_that_is_true_at_the_start_is_warned_of_unless_it_is_meant():
    def said(condition):
        return [w.code for w in check(scenario(BALL, "let twice = 2*h", f"when e: {condition} {{ v := 0 }}")).warnings]

    assert said("h < 10 [m]") == ["true-already"]
    assert said("twice > 9 [m] and not h > 6 [m]") == ["true-already"]
    assert said("h < 10 [m] at once") == []
    assert said("h < 5 [m]") == []
    assert said("h <= 5 [m]") == []  # the border counts as false


@pytest.mark.parametrize("low", ["T < set", "below(T)", "not (T > set and T > 0 [K])"])
def test_a_loss_depends_on_the_thresholds_of_what_switches(low):
    text = """
    model Switch {
      input T: K
      param set: K = 288 in 280..300
      fn below(z) = z < set
      mode off { output heat = 0 [K/h]; when cold: LOW { go on } }
      mode on { output heat = 10 [K/h]; when warm: T > 294 [K] { go off } }
    }
    scenario Day {
      state T: K = 290
      part switch = Switch(T = T)
      T' = (280 [K] - T)/2 [h] + switch.heat
      run for 1 [day]
      loss used = average(switch.heat)
      loss late = event_time(switch.warm)
    }
    optimize one { on Day; vary switch.set; minimize used }
    optimize two { on Day; vary switch.set; minimize late }
    """
    assert check(text.replace("LOW", low)).warnings == ()


# ---------------------------------------------------------------- modes


def test_a_part_begins_in_the_mode_that_is_named_first():
    found = system(THERMOSTAT)
    (automaton,) = found.automata
    assert (automaton.path, automaton.modes) == ("room", ("off", "on"))


def test_the_order_of_blocks_of_modes_decides_only_where_it_begins():
    blocks = (
        "mode a { when e: x > 1 { go b } }",
        "mode a, b { let r = 1 + x }",
        "mode b { x' = r; when f: x > 2 { go a } }",
        "mode a { x' = 2*r }",
    )
    seen = set()
    for order in permutations(blocks):
        found = system("scenario S { state x = 0\n" + "\n".join(order) + "\nrun for 5 }")
        moved = [(e.during.modes, e.right.span.text) for e in found.equations if e.kind == "equation"]
        seen.add((frozenset(moved), frozenset(found.automata[0].modes)))
        first = order[0].split()[1].rstrip(",")
        assert found.automata[0].modes[0] == first
    assert len(seen) == 1


def test_a_let_of_several_modes_has_an_equation_in_each():
    found = system(THERMOSTAT)
    heat = variable(found, "room.heat")
    assert heat.value is None and heat.during.modes == {"off", "on"}
    assert str(heat.display.text) == "K/h"
    values = {m: e.right.span.text for e in found.equations if e.target is heat for m in e.during.modes}
    assert values == {"off": "0", "on": "10 [K/h]"}
    assert {"room.heat", "room.T"} <= paths(varying(found))
    for structure in Structure(found).configurations:
        assert set(structure.matching) == {(heat, 0), (variable(found, "room.T"), 1)}


def test_a_let_of_one_block_of_modes_keeps_its_value():
    found = system("scenario S { state x = 0; x' = r; mode a, b { let r = 1 }; at 1 { go b }; run for 5 }")
    assert variable(found, "r").value is not None
    assert variable(found, "r").during.modes == {"a", "b"}


def test_bare_numbers_are_in_the_declared_unit_in_every_mode():
    text = scenario(
        "state x: m = 0",
        "mode a { let r: km/h = 36; when e: x > 5 [m] { go b } }",
        "mode b { let r = -18 }",
        "x' = r",
    )
    found = system(text)
    rates = [e.right.expr for e in found.equations if e.target is variable(found, "r")]
    assert [n.unit is None for n in (rates[0], rates[1].operand)] == [False, False]


def test_a_name_that_a_mode_forgets_does_not_turn_an_equation_of_motion_around():
    """Without `heat = 0` the one equation left could give `heat`, with T at rest: nobody means that."""
    lines = ["param c = 2; state T = 1; output heat; c*T' = heat - T", "mode on { heat = 3; when T > 2 { go off } }"]
    assert codes(scenario(*lines, "mode off { when T < 1 { go on } }", run="run for 1")) == ["missing-equation"]
    for said in ("heat = 0", "T' = 0"):
        check(scenario(*lines, f"mode off {{ {said}; when T < 1 {{ go on }} }}", run="run for 1"))


def test_what_no_equation_moves_in_a_mode_holds_there():
    lines = (
        "state x = 1",
        "state y = 0",
        "mode a { x' = -x; when e: x < 0.5 { go b } }",
        "mode b { y' = 1 }",
        "run for 5",
    )
    found = system("scenario S {" + "\n".join(lines) + "}")
    assert [paths(s.held) for s in Structure(found).configurations] == [{"y"}, {"x"}]
    assert paths(Structure(found).moved) == {"x", "y"}


def test_orders_are_the_same_in_all_modes():
    lines = ("state x = 1", "mode a { x'' = -x; when e: x < 0 { go b } }", "mode b { }", "run for 5")
    found = system("scenario S {" + "\n".join(lines) + "}")
    assert [list(s.orders.values()) for s in Structure(found).configurations] == [[2], [2]]


def test_modes_of_several_parts_combine():
    found = system(THERMOSTAT.replace("part room = Room()", "part one = Room()\npart two = Room()"))
    structures = Structure(found).configurations
    assert [tuple(s.system.configuration.values()) for s in structures] == [
        ("off", "off"), ("off", "on"), ("on", "off"), ("on", "on"),
    ]  # fmt: skip


def test_a_sampled_state_may_have_a_next_value_in_each_mode():
    text = """
    model Counter every 1 [s] {
      state n = 0
      mode up { next n = n + 1; when top: n > 3 { go down } }
      mode down { next n = n - 1; when bottom: n < 0 { go up } }
    }
    scenario S { part counter = Counter(); run for 9 [s] }
    """
    found = system(text)
    assert all(e.sampled for e in found.events)
    assert [e.during.modes for e in found.equations if e.kind == "next"] == [{"up"}, {"down"}]
    assert codes(text.replace("mode down { next", "mode down { next n = 0; next")) == ["set-twice"]


FALL = """
scenario S {{
  state x = 1
  mode a {{ x' = -x; when low: x < 0.5 {{ go b; y := x }}; {early} }}
  mode b {{ x' = -x; when lower: x < 0.2 {{ {late} }} }}
  mode c {{ state y; y' = 1; when far: y > 3 {{ go c }} }}
  run for 5
}}
"""


@pytest.mark.parametrize(
    ("early", "late", "said"),
    [
        ("", "go c", []),
        ("", "go c; y := 0", []),
        ("when x < 0.1 { go c; y := 1 }", "go c", []),
        ("when x < 0.1 { go c }", "go c", ["missing-entry"]),
        ("when x < 0.1 { go b }", "go c", ["missing-entry"]),
        ("when x < 0.1 { go b }", "go c; y := 0", []),
    ],
)
def test_a_state_without_a_start_is_set_on_every_way_into_what_moves_it(early, late, said):
    text = FALL.format(early=early, late=late)
    if said:
        assert codes(text) == said
    else:
        check(text)


def test_what_a_scenario_is_like_keeps_its_modes_and_may_replace_an_event():
    modes = "state n = 0; mode wait { when hot: room.T > 293 [K] { go done } }; mode done { n' = 1 [1/h] }\n"
    like = THERMOSTAT.replace("run for", f"{modes}run for")
    like += "scenario Other like Day { mode wait { when hot: room.T > 292 [K] { go done; n := 5 } } }"
    model = check(like)
    events = {n: [e for e in s.events if e.path == "hot"] for n, s in model.systems.items()}
    assert [len(found) for found in events.values()] == [1, 1]
    assert [len(found[0].assignments) for found in events.values()] == [0, 1]
    assert [s.automata[-1].modes for s in model.systems.values()] == [("wait", "done")] * 2


# ---------------------------------------------------------------- the Lagrangian form


def test_a_lagrangian_moves_the_states_that_no_equation_moves():
    found = system(scenario(PENDULUM, "state x: m = 0", "x' = l*θ'*1"))
    (lagrangian,) = found.lagrangians
    assert paths(lagrangian.coordinates) == {"θ"}
    assert {v.path: n for v, n in Structure(found).orders.items()} == {"θ": 2, "x": 1}


def test_a_prescribed_coordinate_keeps_the_order_of_its_equation():
    lines = ("state p: m = 0", "state q: m = 0", "param m: kg = 1", "lagrangian ½*m*(p' + q')²")
    found = system(scenario(*lines, "p' = 3 [m/s]"))
    assert paths(found.lagrangians[0].coordinates) == {"q"}
    assert {v.path: n for v, n in Structure(found).orders.items()} == {"p": 1, "q": 2}


def test_an_equation_that_names_a_load_leaves_the_coordinate_to_the_lagrangian():
    for equation in ("load = m*l²*θ''", "m*l²*θ'' = load"):
        found = system(scenario(PENDULUM, "let load: N*m", equation))
        assert set(Structure(found).matching) == {(variable(found, "load"), 0)}
        assert paths(found.lagrangians[0].coordinates) == {"θ"}


def test_energies_and_forces_have_the_units_of_their_lagrangian():
    found = system(scenario(PENDULUM, "let x = l*sin(θ)", "constraint wall: x = 1 [m]"))
    assert variable(found, "energy").display.text == "J"
    assert variable(found, "wall.force").display.text == "N"
    assert {"energy", "wall.force"} <= paths(varying(found))


def test_a_declared_energy_is_its_own():
    found = system(scenario(PENDULUM, "let energy = ½*m*l²*θ'²"))
    assert variable(found, "energy").energy is None


@pytest.mark.parametrize(("unit", "right"), [("N*m", True), ("J", True), ("N", False), ("m", False)])
def test_a_generalised_force_is_energy_over_its_coordinate(unit, right):
    text = scenario(PENDULUM, f"applied θ = 1 [{unit}]")
    if right:
        check(text)
    else:
        assert codes(text) == ["unit-mismatch"]


def test_a_force_is_idle_where_its_constraint_does_not_rule():
    lines = ("mode held { constraint stuck: θ = 1; when off: stuck.force < 0 { go free } }", "mode free { }")
    found = system(scenario(PENDULUM, *lines))
    held, free = Structure(found).configurations
    force = variable(found, "stuck.force")
    assert (force, 0) in held.unknowns and not held.idle
    assert (force, 0) not in free.unknowns and set(free.idle) == {force}


def test_constraints_without_names_are_told_apart():
    two = PENDULUM.replace("cos(θ)", "cos(θ) + ½*m*x'²")
    found = system(scenario(two, "state x: m = 0", "constraint θ = 1", "constraint x = 2 [m]"))
    assert len({c.force.path for c in found.constraints}) == 2
