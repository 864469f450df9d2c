"""Tables: what is read of them, and what they are to the equations that call them."""

import pytest
from scipy.interpolate import PchipInterpolator

from dpl import language
from dpl.language.diagnostics import CompileError
from dpl.language.source import Source
from dpl.runtime import program
from tests.compiled import at, gradient, source, static


def checked(text):
    return language.load_text(Source("test.dpl", text))


def table(text, scenario="S"):
    (found,) = checked(text).systems[scenario].tables
    return found


def codes(text):
    with pytest.raises(CompileError) as error:
        checked(text)
    return [d.code for d in error.value.diagnostics]


USED = "\nscenario S { param x: km = 1; metric y: kW = drive(x) }"


@pytest.mark.parametrize(
    "points",
    [
        "{ 1: 2, 3: -4 }",
        "{ 1 [km]: 2 [kW], 3: -4 }",
        "{ 1_000 [m]: 2, 3_000 [m]: -4_000 [W] }",
        "{ 1: 4/2*1 [kW], 2 [km] + 1 [km]: -4 }",
    ],
)
def test_points_are_in_the_units_of_the_ports_or_their_own(points):
    found = table(f"table drive(x: km) -> power: kW {points}{USED}")
    assert (found.knots, found.values, found.using) == ((1000.0, 3000.0), (2000.0, -4000.0), "linear")
    assert (found.input.display.text, found.output.display.text) == ("km", "kW")


def test_temperatures_may_be_points_on_a_scale():
    """As in columns of data; what is computed with is in K."""
    text = "table R(T: degC) -> r: degF { -10: 32, 273.15 [K]: 1 }"
    assert codes(text.replace("1 }", "1 [m] }") + "\nscenario S { metric r: K = R(300 [K]) }") == ["unit-mismatch"]
    found = table(text + "\nscenario S { metric r: K = R(300 [K]) }")
    assert found.knots == pytest.approx((263.15, 273.15)) and found.values == pytest.approx((273.15, 255.928), abs=1e-3)
    assert found.input.display.text == "K"


def test_points_may_name_constants():
    found = table("const far: km = 3\ntable drive(x: km) -> power: kW { 1: 2, far: -4 }" + USED)
    assert found.knots == (1000.0, 3000.0)


def test_a_scenario_has_the_tables_that_it_calls():
    text = """
    table a(x) -> y { 0: 1, 1: 2 }
    table b(x) -> y { 0: 1 } using previous
    model M { input u; output o = c(u); table c(x) -> y { 0: 1, 1: 2 } using cubic; table d(x) -> y { 0: 1, 1: 2 } }
    scenario S { part m = M(u = a(0.5)); part n = M(u = 0.5); metric e = m.o + n.o }
    scenario T { fn f(x) = 2*b(x); metric e = f(1) }
    """
    systems = checked(text).systems
    assert {t.path: t.using for t in systems["S"].tables} == {"a": "linear", "m.c": "cubic", "n.c": "cubic"}
    assert [t.path for t in systems["T"].tables] == ["b"]


def test_the_unit_of_a_call_is_that_of_the_result():
    assert codes("table drive(x: km) -> power: kW { 1: 2, 3: 4 }\nscenario S { metric y: m = drive(1 [km]) }") == [
        "unit-mismatch"
    ]


def test_a_table_of_one_point_is_previous():
    assert table("table f(x) -> y { 2: 5 } using previous\nscenario S { metric y = f(1) }").values == (5.0,)
    assert codes("table f(x) -> y { 2: 5 }") == ["too-few-points"]


def test_what_is_wrong_with_a_table_is_said_whether_or_not_it_is_called():
    assert codes("model M { table f(x) -> y { 2: 5, 1: 4 } }") == ["not-ascending"]
    assert codes("table f(x) -> y { 2: 5, 1: 4 }") == ["not-ascending"]


def test_a_scenario_replaces_a_table_of_the_one_it_is_like():
    text = """
    scenario S { table f(x) -> y { 0: 1, 1: 2 }; metric e = f(0.5) }
    scenario T like S { table f(x) -> y { 0: 5, 1: 6 } }
    """
    assert [table(text, name).values for name in "ST"] == [(1.0, 2.0), (5.0, 6.0)]


@pytest.mark.parametrize(("using", "warned"), [("linear", 0), ("cubic", 0), ("previous", 1)])
def test_a_table_of_steps_has_no_gradient(using, warned):
    text = f"""
    table f(x) -> y {{ 0: 1, 1: 2, 2: 5 }} using {using}
    scenario S {{ param k = 0.5 in 0..2; metric e = f(k) }}
    optimize o {{ on S; vary k; minimize e² }}
    """
    assert [w.code for w in checked(text).warnings] == ["no-gradient"] * warned


# ---------------------------------------------------------------- files


def of_file(tmp_path, rows, declared='table drive(t: min) -> power: kW from "drive.csv"', name="drive.csv"):
    (tmp_path / name).write_text(rows)
    model = tmp_path / "model.dpl"
    model.write_text(declared + "\nscenario S { param x: s = 1; metric y: kW = drive(x) }")
    return language.load(model)


def test_points_of_a_file_are_its_columns_called_as_the_ports(tmp_path):
    model = of_file(tmp_path, "# a drive\npower,note,t\n1,a,0\n-2,b,1\n4,c,3\n")
    (found,) = model.systems["S"].tables
    assert (found.knots, found.values) == ((0.0, 60.0, 180.0), (1000.0, -2000.0, 4000.0))
    assert [s.name for s in model.sources] == ["model.dpl", "drive.csv"]


@pytest.mark.parametrize(
    ("rows", "code", "line"),
    [
        ("t,power\n0,1\n1,\n", "missing-cell", 3),
        ("t,power\n0,1\n2,2\n1,3\n", "not-ascending", 4),
        ("t,power\n0,1\n1,many\n", "bad-cell", 3),
        ("t,strength\n0,1\n1,2\n", "unknown-column", 1),
    ],
)
def test_what_is_wrong_in_a_file_is_shown_there(tmp_path, rows, code, line):
    with pytest.raises(CompileError) as error:
        of_file(tmp_path, rows)
    (found,) = error.value.diagnostics
    labels = [found.label, *found.related]
    assert found.code == code
    assert ("drive.csv", line) in [(label.span.source.name, label.span.line) for label in labels if label]


def test_a_file_lies_in_the_folder_of_the_model(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises(CompileError) as error:
        of_file(inner, "t,power\n0,1\n1,2\n", 'table drive(t: min) -> power: kW from "../drive.csv"')
    assert [d.code for d in error.value.diagnostics] == ["file-outside"]


# ---------------------------------------------------------------- values


PCHIP = PchipInterpolator([0, 1, 2], [1, 2, 4])


@pytest.mark.parametrize(
    ("using", "between", "slope"),
    [("linear", 1.5, 1.0), ("previous", 1.0, 0.0), ("cubic", PCHIP(0.5), PCHIP(0.5, 1))],
)
def test_a_call_is_the_value_of_the_table_and_of_an_array_of_each_element(using, between, slope):
    text = f"table f(x) -> y {{ 0: 1, 1: 2, 2: 4 }} using {using}\n" + static(
        "param k = 0.5 in 0..2", "let y = f(k)", "let all[5] = f([-1, 0, 1, 2, 3])", "metric e = sum(all) + y"
    )
    found = at(text)
    assert found["y"] == pytest.approx(between)
    assert found["all"].tolist() == [1, 1, 2, 4, 4]
    assert gradient(text, "k") == pytest.approx(slope)


# ---------------------------------------------------------------- beyond the ends


def notes(text, **changes):
    return program.load(source(text), "test").scenarios["S"].simulate(**changes).notes


DRIVE = "table drive(t: min) -> power: kW { 0: 1, 1: 2 }\n"


def test_a_run_tells_that_it_reads_a_table_beyond_its_ends():
    text = DRIVE + static("state E: kJ = 0", "E' = drive(time)", "run for %s [s]")
    assert notes(text % 60) == []
    assert notes(text % 120) == [
        "drive is read beyond its ends from 60.6 s on, by up to 1 min: there it holds its last value"
    ]


def test_so_does_one_in_which_nothing_moves_and_one_with_events():
    still = DRIVE + static("param x: s = 10", "metric e: kW = drive(x)")
    assert notes(still) == [] and notes(still, x=90.0) == [
        "drive is read beyond its ends, by up to 0.5 min: there it holds its last value"
    ]
    events = DRIVE + static(
        "state E: kJ = 0", "E' = drive(time + 30 [s])", "when E > 1 [kJ] { stop }", "run for 60 [s]"
    )
    assert not any("beyond" in note for note in notes(events))
    assert "beyond its ends from 30" in notes(events.replace("1 [kJ]", "1 [GJ]"))[0]


def test_what_reads_a_table_inside_a_search_for_a_root_is_told_of_too():
    text = "table f(x) -> y { 0: 0, 1: 1 }\n" + static("param k = 0.5", "let q in 0..5", "q + f(q) = k")
    assert notes(text) == []
    assert notes(text, k=3.0) == ["f is read beyond its ends, by up to 1: there it holds its last value"]


def test_a_run_that_is_longer_than_its_data_tells_so():
    text = "data w(t: s as time, u) { 0, 1; 5, 2 }\n" + static("state x = 0", "x' = w.u", "run for 10 [s]")
    assert notes(text) == ["w.u is read beyond its ends from 5.05 s on, by up to 5 s: there it holds its last value"]
