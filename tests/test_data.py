"""Laws of data: what is read of a file does not depend on how it is written, and what is wrong is shown where it is."""

import math
import os
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpl import language
from dpl.language.constants import scaled
from dpl.language.diagnostics import CompileError
from dpl.language.source import Source
from dpl.language.units import Unit, find_unit

DOSES = 'data doses(who as group, t: h as time, conc "conc [mg/L]": mg/L, wt: kg) from "doses.csv"\n'
RUN = "scenario S { param k: mg/L = 1; observe doses.conc ~ normal(k) }\n"
HEADER = ["who", "t", "conc [mg/L]", "wt", "not read"]
ROWS = [
    ["Ann", "0", "0.74", "79.6", "x"],
    ["Ann", "0.25", "2.84", "79.6", "y"],
    ["Ann", "0.57", "", "79.6", "z"],
    ["Bob", "0", "0", "72.4", ""],
    ["Bob", "0.27", "NA", "72.4", ""],
    ["Bob", "0.27", "1.72", "72.4", ""],
]


@pytest.fixture
def check(tmp_path):
    """The checked model of a text with the files that it reads."""

    def checked(text, **files):
        for name, content in files.items():
            path = tmp_path / name.replace("_", ".")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return language.load_text(Source("m.dpl", text, str(tmp_path / "m.dpl")))

    return checked


@pytest.fixture
def problems(check):
    def found(text, **files):
        with pytest.raises(CompileError) as error:
            check(text, **files)
        return error.value.diagnostics

    return found


def written(rows=ROWS, header=HEADER, separator=",", end="\n"):
    def cell(text):
        return f'"{text}"' if separator in text else text

    return end.join(separator.join(map(cell, row)) for row in [header, *rows]) + end


def told(model, name="doses"):
    """What data say, whatever the order of their groups: rows by label."""
    use = model.data[name]
    values = {n: v for n, v in use.columns.items() if n != use.group}
    labels = [use.groups[int(i)] for i in use.columns[use.group]] if use.group else [""] * use.rows
    found = {label: [] for label in labels}
    for i, label in enumerate(labels):
        found[label].append(tuple(repr(values[n][i]) for n in sorted(values)))
    return found


# ---------------------------------------------------------------- one meaning, however written


def test_numbers_are_those_that_the_text_would_say():
    model = language.load_text(
        Source("m.dpl", "data d(a: mg/L, b: km) { 0.27, 3 [m]; -1.5e-3, _ }\nscenario S { observe d.a ~ normal(1) }")
    )
    assert model.data["d"].columns["a"] == (0.27e-3, -1.5e-6)
    assert model.data["d"].columns["b"][0] == 3
    assert math.isnan(model.data["d"].columns["b"][1])


DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=4)


@given(st.lists(DECIMALS, min_size=1, max_size=5), st.sampled_from(["mg", "h", "km", "year", "mmHg", "kWh"]))
def test_a_file_says_what_the_text_says(tmp_path_factory, numbers, unit):
    folder = tmp_path_factory.mktemp("data")
    (folder / "d.csv").write_text("x\n" + "".join(f"{n}\n" for n in numbers))
    rows = "; ".join(f"{n}" for n in numbers)
    text = f'data a(x: {unit}) from "d.csv"\ndata b(x: {unit}) {{ {rows} }}\n'
    model = language.load_text(Source("m.dpl", text, str(folder / "m.dpl")))
    exact = Unit(*find_unit(unit))
    assert model.data["a"].columns == model.data["b"].columns
    assert model.data["b"].columns["x"] == tuple(float(scaled(Fraction(n), exact)) for n in numbers)


@pytest.mark.parametrize(
    ("unit", "cell", "si"),
    [
        ("km", "1.5", 1500),
        ("deg", "180", math.pi),
        ("%", "25", 0.25),
        ("degC", "-273.15", 0),
        ("degC", "25", 298.15),
        ("degF", "212", 373.15),
        ("year", "1", 365.25 * 86400),
    ],
)
def test_columns_are_kept_in_si(check, unit, cell, si):
    model = check(f'data d(x: {unit}, y) from "d.csv"\n', d_csv=f"x,y\n{cell},1\n,2\n")
    first, second = model.data["d"].columns["x"]
    assert first == pytest.approx(si, abs=1e-9)
    assert math.isnan(second)


@given(st.randoms(use_true_random=False), st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_the_order_of_rows_and_columns_tells_nothing(tmp_path_factory, chance: random.Random, separator, end, bom):
    folder = tmp_path_factory.mktemp("data")
    order, rows = list(range(len(HEADER))), [row for row in ROWS if row[2] != "NA"]  # without replicates
    plain = folder / "doses.csv"
    plain.write_text(written(rows))
    wanted = told(language.load_text(Source("m.dpl", DOSES + RUN, str(folder / "m.dpl"))))
    chance.shuffle(order)
    chance.shuffle(rows)
    text = written([[row[i] for i in order] for row in rows], [HEADER[i] for i in order], separator, end)
    plain.write_bytes(("\ufeff" * bom + text).encode())
    assert told(language.load_text(Source("m.dpl", DOSES + RUN, str(folder / "m.dpl")))) == wanted


def test_rows_of_one_time_stay_in_their_order(check):
    model = check('data d(t as time, y) from "d.csv"\n', d_csv="t,y\n1,5\n0,4\n1,3\n0,2\n1,1\n")
    assert model.data["d"].columns == {"t": (0, 0, 1, 1, 1), "y": (4, 2, 5, 3, 1)}


def test_groups_are_in_the_order_of_their_first_mention(check):
    model = check('data d(g as group, t as time) from "d.csv"\n', d_csv="g,t\n b ,1\na,0\nb,0\n10,2\n")
    assert model.data["d"].groups == ("b", "a", "10")
    assert model.data["d"].columns == {"g": (0, 0, 1, 2), "t": (0, 1, 0, 2)}


@pytest.mark.parametrize("cell", ["", "NA", "nan", "NaN", "  ", '""'])
def test_a_missing_cell_is_not_a_number(check, cell):
    model = check('data d(x, y: deg, n) from "d.csv"\n', d_csv=f"x,y,n\n1,2,3\n{cell},{cell},3\n3,4,3\n")
    for name in ("x", "y"):
        assert [math.isnan(v) for v in model.data["d"].columns[name]] == [False, True, False]


def test_comments_empty_lines_and_what_is_left_over_say_nothing(check):
    text = "# of 1998\n\nx,y\n# later\n1,2,,\n,\n\n 3 , 4\n"
    model = check('data d(x, y) from "d.csv"\n', d_csv=text)
    assert model.data["d"].columns == {"x": (1, 3), "y": (2, 4)}


def test_headers_are_compared_as_names_are(check):
    model = check('data d(ω₀, c "c [µM]") from "d.csv"\n', d_csv="ω₀,c [μM]\n1,2\n")  # two signs for micro
    assert model.data["d"].columns == {"ω0": (1,), "c": (2,)}


def test_parquet_says_what_csv_says(check, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"who": ["A", "A", "B"], "t": [0.1, 1 / 3, 0.0], "conc [mg/L]": [1.0, None, 2e-17], "wt": [80, 80, 72]}
    parquet.write_table(arrow.table(columns), tmp_path / "doses.parquet")
    model = check(DOSES.replace("csv", "parquet"))
    use = model.data["doses"]
    assert use.columns["t"] == tuple(float(Fraction(str(t)) * 3600) for t in (0.1, 1 / 3, 0.0))
    assert use.columns["wt"] == (80, 80, 72)
    assert use.columns["conc"][2] == 2e-20
    assert math.isnan(use.columns["conc"][1])
    assert use.groups == ("A", "B")
    before = model.sources[-1].text
    parquet.write_table(arrow.table(columns | {"wt": [80, 80, 73]}), tmp_path / "doses.parquet")
    assert check(DOSES.replace("csv", "parquet")).sources[-1].text != before


def test_what_a_program_is_made_from_holds_its_data(check):
    model = check(DOSES + RUN, doses_csv=written())
    assert [source.name for source in model.sources] == ["m.dpl", "doses.csv"]
    assert model.sources[1].text == written()


def test_imported_data_are_read_beside_their_file(check, tmp_path):
    (tmp_path / "lab.dpl").write_text(DOSES)
    model = check("from lab import doses\n" + RUN, doses_csv=written())
    assert model.data["doses"].runs == 2
    assert [s.name for s in model.sources] == ["m.dpl", "lab.dpl", "doses.csv"]


# ---------------------------------------------------------------- what is wrong is shown where it is


@given(st.integers(0, 5), st.sampled_from([1, 2, 3]), st.sampled_from(["lost", "1,5", "<0.1", "3 kg", "inf", "1_000"]))
def test_a_wrong_cell_is_shown_in_its_own_line(tmp_path_factory, row, column, cell):
    folder = tmp_path_factory.mktemp("data")
    rows = [list(r) for r in ROWS]
    rows[row][column] = cell
    (folder / "doses.csv").write_text("# a comment\n" + written(rows))
    with pytest.raises(CompileError) as error:
        language.load_text(Source("m.dpl", DOSES + RUN, str(folder / "m.dpl")))
    (found,) = error.value.diagnostics
    assert found.code == "bad-cell"
    assert found.label.span.text.strip('"') == cell
    assert found.label.span.source.name == "doses.csv"
    assert found.label.span.line == row + 3
    assert found.related[0].span.source.name == "m.dpl"


def test_many_wrong_cells_are_not_all_told(problems):
    assert 1 < len(problems('data d(x) from "d.csv"\n', d_csv="x\n" + "no\n" * 5000)) < 20


@pytest.mark.parametrize("cell", ["1e400", "-1e400", "1e300", "9" * 400])
def test_a_number_beyond_all_measure_is_told(problems, cell):
    for text in ('data d(x: km) from "d.csv"\n', f"data d(x: km) {{ {cell} }}\n"):
        (found,) = problems(text, d_csv=f"x\n{cell}\n")
        assert found.code in (
            "bad-cell",
            "number-too-large",
        )  # the text's own numbers are looked at before they are cells


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "../d.csv", "a/../../d.csv", "~/d.csv", "C:/d.csv", "C:\\\\d.csv", "\\\\\\\\host\\\\d.csv",
        "link.csv", "folder.csv", "folder/link.csv", "folder/../d.csv", "loop.csv", "pipe.csv", "", ".", "d.csv/",
        "d.py", "no\0.csv", "n" * 300 + ".csv", "away/d.csv",
    ],
)  # fmt: skip
def test_nothing_outside_the_folder_is_read(problems, tmp_path, path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "d.csv").write_text("x\n1\n")
    home = tmp_path / "home"
    (home / "folder.csv").mkdir(parents=True)
    (home / "folder").mkdir()
    for link, target in (("link.csv", outside / "d.csv"), ("loop.csv", home / "loop.csv"), ("away", outside)):
        (home / link).symlink_to(target)
    (home / "folder" / "link.csv").symlink_to(outside / "d.csv")
    os.mkfifo(home / "pipe.csv")
    source = Source("m.dpl", f'data d(x) from "{path}"\n', str(home / "m.dpl"))
    with pytest.raises(CompileError) as error:
        language.load_text(source)
    (found,) = error.value.diagnostics
    assert found.label.span.source is source


def test_a_link_within_the_folder_is_followed(check, tmp_path):
    (tmp_path / "real.csv").write_text("x\n1\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    assert check('data d(x) from "link.csv"\n').data["d"].columns == {"x": (1,)}


def test_a_text_without_a_file_has_no_folder():
    with pytest.raises(CompileError) as error:
        language.load_text(Source("<text>", 'data d(x) from "d.csv"\n'))
    assert [d.code for d in error.value.diagnostics] == ["no-folder"]


@pytest.mark.parametrize(
    "content", [b"\x00\x01\x02", b"x\n\x00\n", b'"x\n1', b"\xff\xfex\x00", b"x\r1\r", b"PAR1", b","]
)
@pytest.mark.parametrize("name", ["d.csv", "d.tsv", "d.parquet"])
def test_no_file_makes_it_crash(problems, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert problems(f'data d(x) from "{name}"\n')


# ---------------------------------------------------------------- what is observed


def observations(model, scenario="S"):
    return {
        o.name: (o.distribution, [a.span.text for a in o.arguments], o.timed, o.estimated)
        for o in model.systems[scenario].observations
    }


def test_a_column_of_the_row_is_that_of_the_data(check):
    text = "data p(x: m, y: s) { 1, 2; 2, 3 }\nscenario S { given r from p; observe %s ~ normal(r.x/1 [m/s], 0.1) }"
    one, two = check(text % "p.y"), check(text % "r.y")
    assert observations(one) == observations(two) == {"p.y": ("normal", ["r.x/1 [m/s]", "0.1"], False, False)}
    assert [v.path for v in one.systems["S"].variables if v.row] == ["r.x"]


@pytest.mark.parametrize(
    ("call", "arguments", "estimated"),
    [
        ("normal(k)", ["k"], True),
        ("normal(mean = k)", ["k"], True),
        ("normal(sd = 2, mean = k)", ["k", "2"], False),
        ("lognormal(k)", ["k"], True),
        ("student(k, df = 4)", ["k", "4"], True),
        ("student(k, 1, 4)", ["k", "1", "4"], False),
        ("exponential(k)", ["k"], False),
    ],
)
def test_a_scale_that_is_left_out_is_estimated(check, call, arguments, estimated):
    rows = [row for row in ROWS if row[2] != "0"]
    model = check(DOSES + RUN.replace("normal(k)", call), doses_csv=written(rows))
    assert observations(model)["doses.conc"][1::2] == (arguments, estimated)


def test_a_run_is_as_long_as_its_data(check):
    assert (run := check(DOSES + RUN, doses_csv=written()).systems["S"].run)
    assert (run.start, run.duration, run.unit.text) == (0, Fraction(57, 100) * 3600, "h")
    years = "data d(t: year as time, y) { 1900, 1; 1910, 2 }\nscenario S { %s observe d.y ~ normal(1) }"
    for words, start, length in (
        ("from 1900 [year]", 1900, 10),
        ("from 0 [s]", 0, 1910),
        ("for 1_920 [year]", 0, 1920),
    ):
        run = check(years % f"run {words};").systems["S"].run
        year = 31_557_600
        assert (run.start, run.duration, run.unit.text) == (start * year, length * year, "year")


def test_a_run_without_a_beginning_asks_for_one(problems):
    (found,) = problems("data d(t: day as time, y) { 3, 1; 9, 2 }\nscenario S { observe d.y ~ normal(1) }")
    assert found.help == "write `run from 0 [day]` or `run from 3 [day]`"


def test_what_is_read_beside_what_is_observed_and_what_along_the_run(check):
    model = check(
        """
        data d(t as time, y, err, u) { 0, 1, 0.1, 3; 2, 3, 0.2, 4 }
        data w(t as time, temp) { 0, 20; 5, 21 }
        scenario S {
          state x = 0
          let drive = d.u + w.temp
          x' = drive - x
          observe d.y ~ normal(x, d.err)
          loss l = average((x - w.temp)²)
        }
        """
    )
    system = model.systems["S"]
    assert [v.path for v in system.row] == ["d.err"]
    assert {v.path for v in system.signals} == {"d.u", "w.temp"}
    assert system.run.duration == 2  # as long as what is observed
    assert system.variables[0].path == "x"


def test_functions_of_time_without_groups_are_of_every_run(check):
    text = "data w(t: h as time, temp) { 0, 20; 5, 21 }\n" + DOSES
    text += "scenario S { observe doses.conc ~ normal(w.temp*1 [mg/L]) }"
    assert [v.path for v in check(text, doses_csv=written()).systems["S"].signals] == ["w.temp"]


def test_a_scenario_like_another_observes_anew(check):
    text = DOSES + RUN + "scenario T like S { observe doses.conc ~ student(k, df = 3) }"
    model = check(text, doses_csv=written())
    assert observations(model, "T") == {"doses.conc": ("student", ["k", "3"], True, True)}


# ---------------------------------------------------------------- what is recorded

SHOTS = [
    "record shots { on Real }",
    "scenario Real { given angle: deg ~ uniform(10, 60); observe range: m ~ normal(9 [m]*sin(2*angle), 0.2) }",
    "scenario Map { given r from shots; param v: m = 9; observe shots.range ~ normal(v*sin(2*r.angle)) }",
]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (2, 0, 1), (1, 2, 0)])
def test_a_record_is_data_wherever_it_stands(check, order):
    use = check("\n".join(SHOTS[i] for i in order)).data["shots"]
    units = {name: column.display.text for name, column in use.scope.names.items()}
    assert units == {"angle": "deg", "range": "m"}
    assert (use.time, use.group, use.rows) == (None, None, 0)


def test_a_record_along_the_run_has_its_time_and_run(check):
    text = """
        scenario Real { given k: 1/h ~ normal(1, 0.1); state x: mg = 1; x' = -k*x; run for 3 [h]
          observe seen: mg ~ normal(x, 0.1) }
        record rows { on Real }
        scenario Map { given r from rows; state x: mg = 1; x' = -r.k*x; run for 3 [h]; observe rows.seen ~ normal(x) }
        """
    model = check(text)
    use = model.data["rows"]
    units = {name: column.display.text for name, column in use.scope.names.items()}
    assert units == {"run": "", "time": "h", "k": "1/h", "seen": "mg"}
    assert (use.time, use.group) == ("time", "run")
    assert observations(model, "Real")["seen"][2]
    assert observations(model, "Map")["rows.seen"][2]


@pytest.mark.parametrize(
    ("columns", "rows", "runs", "timed"),
    [
        ("x, y", "1, 2; 1, 3; 2, _", 3, False),
        ("t as time, y", "0, 2; 1, 3; 2, _", 1, True),
        ("g as group, x, y", '"A", 1, 2; "A", 1, 3; "B", 2, 5', 2, False),
        ("g as group, t as time, y", '"A", 0, 2; "A", 1, 3; "B", 1, 5', 2, True),
    ],
)
def test_time_and_group_say_what_a_run_is(check, columns, rows, runs, timed):
    model = check(f"data d({columns}) {{ {rows} }}\nscenario S {{ param k = 1; observe d.y ~ normal(k) }}")
    assert model.data["d"].runs == runs
    assert observations(model)["d.y"][2] == timed
    assert (model.systems["S"].run is not None) == timed


def test_a_row_that_says_nothing_of_what_is_given_is_no_error(check):
    model = check("data d(x, y) { 1, 2; _, 3 }\nscenario S { given r from d; observe r.y ~ normal(r.x) }")
    assert not model.warnings
