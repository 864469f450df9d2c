"""The clauses of `fit`, `record`, `suggest` and `refine`, as they are read."""

import pytest

from dpl import language
from dpl.language.diagnostics import CompileError
from dpl.language.source import Source

HOUR = 3600.0

DRUG = """
data theoph(subject as group, t: h as time, conc: mg/L, wt: kg)
  { "a", 0, 1, 60; "a", 5, 2, 60; "b", 0, 1, 70; "b", 24, 0.5, 70; "c", 1, 3, 80; "c", 9, 2, 80 }
param k: 1/h = 0.1 in 0..1
model Gut { param ka: 1/h = 1; network uptake(a) -> b { hidden 2 }
  state amount: mg = 5 in 1..50; amount' = -ka*uptake(1)*amount }
scenario Drug {
  given r from theoph
  part gut = Gut()
  param V: L = 30 ~ lognormal(30, 0.5)
  state blood[2]: mg = [0, 1]
  blood[i]' = gut.ka*gut.amount/(i + 1) - k*blood[i] for i in 0..1
  observe theoph.conc ~ lognormal((blood[0] + 1e-9*r.wt)/V)
}
"""

LOOP = """
model Cannon { param drag: 1/m = 0.001 in 0..1; state x: m = 0; state v: m/s = 10; x' = v; v' = -drag*v² }
scenario Real {
  given speed: m/s ~ uniform(5 [m/s], 20 [m/s])
  part cannon = Cannon(v = speed, drag = 0.003)
  run for 2 [s]
  observe range: m ~ normal(final(cannon.x), 0.2 [m])
  metric error: m = abs(final(cannon.x) - 5 [m])
  metric real = 1
}
scenario Map {
  given shot from shots
  part cannon = Cannon(v = shot.speed)
  run for 2 [s]
  observe shots.range ~ normal(final(cannon.x), 0.2 [m])
  metric error: m = abs(final(cannon.x) - 5 [m])
  metric map = 1
}
scenario Play {
  given speed: m/s ~ uniform(5 [m/s], 20 [m/s])
  part cannon = Cannon(v = speed)
  run for 2 [s]
  metric error: m = abs(final(cannon.x) - 5 [m])
}
"""
SHOTS = "record shots { on Real; samples 20 }\n"
REFIT = "fit refit { on Map; vary cannon.drag }\n"
PRACTISE = "train practise { on Play; vary cannon.drag; minimize error }\n"
REFINE = "refine closing { on Map, Real; repeat practise, shots, refit }\n"
CHECK = "verify check { on Play; expect mean(error) < 1 [m] }\n"


def tasks(text):
    return {task.item.name: task for task in language.load_text(Source("test.dpl", text)).tasks}


def fit(*clauses):
    return tasks(f"{DRUG}\nfit f {{ on Drug; {'; '.join(clauses)} }}")["f"]


def varied(*clauses):
    return {q.path: (q.low, q.high, q.each) for q in fit(*clauses).vary}


def codes(text):
    with pytest.raises(CompileError) as error:
        tasks(text)
    return [d.code for d in error.value.diagnostics]


# ---------------------------------------------------------------- fit


def test_what_is_kept_aside_and_how_long_windows_are_in_si():
    found = fit("vary k", "hold out 2", "hold out after 15 [h]", "window 300 [min]", "without priors")
    assert (found.hold_out, found.hold_after, found.span, found.priors) == (2, 15 * HOUR, 5 * HOUR, False)


def test_what_is_not_said_of_a_fit():
    found = fit("vary k")
    assert (found.hold_out, found.hold_after, found.span, found.priors) == (0, None, None, True)
    assert (found.profile, found.counts, found.method, found.start) == ((), {}, None, "current")


def test_counts_and_the_method_of_a_fit():
    found = fit("vary k", "starts 16", "seed 0", "steps 200", "bootstrap 100", "using lbfgs", "start random")
    assert found.counts == {"starts": 16, "seed": 0, "steps": 200, "bootstrap": 100}
    assert found.method is not None and (found.method.row.name, found.start) == ("lbfgs", "random")


def test_profiles_are_of_what_varies_said_before_or_after():
    assert fit("profile k, gut.ka", "vary k, gut", "profile V", "vary V").profile == ("k", "gut.ka", "V")


def test_a_start_varies_within_the_range_of_its_state():
    assert varied("vary gut.amount, blood") == {"gut.amount": (1e-6, 5e-5, False), "blood": (None, None, False)}
    assert varied("vary gut.amount in 2..9") == {"gut.amount": (2e-6, 9e-6, False)}
    assert varied("vary gut.amount in 2..") == {"gut.amount": (2e-6, 5e-5, False)}


def test_each_run_has_its_own_of_params_starts_and_what_stands_in_the_file():
    found = varied("vary each k, each gut.amount, each V in 10..100")
    assert found == {"k": (None, None, True), "gut.amount": (1e-6, 5e-5, True), "V": (0.01, 0.1, True)}


def test_all_are_params_and_networks_and_no_starts():
    assert set(varied("vary all")) == {"k", "V", "gut.ka", "gut.uptake"}


@pytest.mark.parametrize(
    ("clause", "code"),
    [("hold out 3", "nothing-left"), ("hold out after 24 [h]", "nothing-left"), ("window 24 [h]", "window-too-long")],
)
def test_something_is_left_to_fit_to(clause, code):
    fit("vary k", clause.replace("3", "2").replace("24", "23"))
    assert codes(f"{DRUG}\nfit f {{ on Drug; vary k; {clause} }}") == [code]


@pytest.mark.parametrize("kind", ["train", "optimize"])
def test_starts_vary_in_a_fit_alone(kind):
    text = "scenario S { state x = 1; x' = -x; run for 1; metric e = final(x) }\n"
    assert codes(f"{text}{kind} t {{ on S; vary x; minimize e² }}") == ["not-variable"]


# ---------------------------------------------------------------- record, suggest, refine


def test_a_record_says_how_often_in_si():
    text = "scenario S { state x: m = 1; x' = -x/(1 [s]); run for 1 [min]; observe seen ~ normal(x, 0.1 [m]) }\n"
    assert tasks(text + "record r { on S; every 0.5 [min]; samples 3 }")["r"].every == 30.0
    assert tasks(text + "record r { on S; points 50; seed 3 }")["r"].counts == {"points": 50, "seed": 3}


def test_suggest_names_a_network_that_is_called():
    found = tasks(f"{DRUG}\nsuggest s {{ on Drug; of gut.uptake; terms 3 }}")["s"]
    assert found.network is not None and (found.network.path, found.counts) == ("gut.uptake", {"terms": 3})


def test_refine_has_a_map_a_territory_and_what_both_can_tell():
    found = tasks(LOOP + SHOTS + PRACTISE + REFIT + REFINE)["closing"]
    assert found.system is not None and found.territory is not None
    assert (found.system.name, found.territory.name) == ("Map", "Real")
    assert (found.repeat, found.show) == (("practise", "shots", "refit"), ("error",))


@pytest.mark.parametrize("text", [REFINE + SHOTS + PRACTISE + REFIT, SHOTS + REFINE + REFIT + PRACTISE])
def test_what_is_repeated_may_stand_before_or_after(text):
    found = tasks(LOOP + text)
    assert found["closing"].repeat == ("practise", "shots", "refit") and found["closing"].needs == ()


# ---------------------------------------------------------------- what is needed


def needs(*parts):
    return {name: task.needs for name, task in tasks(LOOP + "".join(parts)).items()}


def test_a_fit_needs_the_record_that_it_reads_and_what_changes_its_start():
    assert needs(SHOTS, PRACTISE, REFIT)["refit"] == ("shots", "practise")
    assert needs(PRACTISE, SHOTS)["shots"] == (), "the drag of the territory is its own"


def test_what_comes_after_a_refine_needs_it_in_place_of_what_it_repeats():
    assert needs(SHOTS, PRACTISE, REFIT, REFINE, CHECK)["check"] == ("closing",)
    assert needs(SHOTS, PRACTISE, REFIT, CHECK, REFINE)["check"] == ("practise", "refit")


def test_a_refine_needs_what_its_tasks_need_from_outside():
    before = "train before { on Play; vary cannon.drag; minimize error }\n"
    found = needs(before, SHOTS, PRACTISE, REFIT, REFINE)
    assert found["closing"] == ("before",) and found["refit"] == ("before", "shots", "practise")


def test_what_differs_from_run_to_run_is_needed_by_none():
    each = "fit refit { on Map; vary each cannon.drag }\n"
    assert needs(SHOTS, each, CHECK)["check"] == ()


@pytest.mark.parametrize(("varied", "needed"), [("gut.ka", ("f",)), ("gut.uptake", ("f",)), ("gut.amount", ())])
def test_what_a_fit_finds_is_needed_but_starts_which_are_not_kept(varied, needed):
    text = f"{DRUG}\nfit f {{ on Drug; vary {varied} }}\nsimulate s {{ on Drug }}"
    assert tasks(text)["s"].needs == needed


def test_data_are_recorded_before_they_are_read():
    assert codes(LOOP + REFIT + SHOTS) == ["order-of-tasks"]
