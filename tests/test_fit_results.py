"""Fits as people and programs meet them: tables, JSON, figures, files, and DPL that is read back."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dpl
from dpl.cli.codes import DONE
from dpl.cli.main import main
from dpl.language import syntax
from dpl.language.parser import parse
from dpl.language.source import Source
from dpl.results import files, fit_plots, fits, map_plots, page, params, report, summary, table
from dpl.results.folder import Folder
from dpl.results.record import Asked, Record
from dpl.runtime.spec import Data
from dpl.tasks.fitted import Estimate
from dpl.tasks.record import Recorded
from dpl.tasks.refine import Refined, Round, Row
from dpl.tasks.result import Quantity, Seconds
from dpl.tasks.suggest import Formula, Reading, Suggested
from tests.fitted import KA, curve, fitted

SECONDS = Seconds(None, 2.0)
SHOTS = Recorded(
    kind="record",
    name="shots",
    scenario="Real",
    seed=3,
    seconds=SECONDS,
    data=Data("shots", ()),
    columns={
        "run": Quantity(np.array([1.0, 1.0, 2.0])),
        "time": Quantity(np.array([0.0, 0.1, 0.0]), "s"),
        "angle": Quantity(np.array([0.1, 0.1, 1 / 3]), "rad"),
        "range": Quantity(np.array([1.5, np.nan, 2.0]), "m"),
    },
    sensors=("range",),
    truth={"range": Quantity(np.array([1.25, 1.0, 2.25]), "m")},
    samples=3,
    failed=1,
    time="time",
    run="run",
)
POINTS = np.linspace(1.0, 3.0, 9)
LAW = Suggested(
    kind="suggest",
    name="law",
    scenario="Hudson",
    seed=0,
    seconds=SECONDS,
    network="eaten",
    inputs={"hare": Quantity(POINTS), "lynx": Quantity(POINTS**2)},
    readings=(
        Reading(
            "rate",
            Quantity(POINTS**3, "1/year"),
            (
                Formula("0.9 [1/year]*hare", 1, 3, 0.5, 12.0, 0.9 * POINTS),
                Formula("1.01 [1/year]*hare*lynx", 1, 5, 0.01, -30.0, 1.01 * POINTS**3),
            ),
            1,
        ),
    ),
    points=9,
)


def rounds() -> Refined:
    runs = np.zeros(4)
    rows = [
        Row(0, "error", "m", 0.5, 2.0, 1.5, 0.0, runs, runs),
        Row(1, "error", "m", 0.25, 0.4, 0.15, 0.9, runs, runs),
    ]
    return Refined(
        kind="refine",
        name="closing",
        scenario="Map",
        seed=0,
        seconds=SECONDS,
        territory="Real",
        repeat=("shots", "refit"),
        show=("error",),
        samples=4,
        rounds=(
            Round(0, (), (rows[0],), {}),
            Round(1, (SHOTS, fitted(name="refit")), (rows[1],), {"drag": KA}, recorded=3),
        ),
    )


# ---------------------------------------------------------------- for people

REPORT = """\
fit typical on Drug: done, compiled in 0.5 s, ran 1.2 s
  estimate                       ± se  95 % interval     unit  start  bounds
  ka                      1.49   0.18  1.13 to 1.85      1/h       1  0.1..10 log
  body.V                31.712  0.041  31.630 to 31.790  L        20  1..500
  body.ke                  0.5      –  –                 1/h     0.1  on its upper bound
  dose[1]                 4.01   0.10  3.80 to 4.20      mg
  dose[b]                 5.25   0.20  4.90 to 5.60      mg
  scale of theoph.conc   0.310  0.020  0.270 to 0.350    mg/L
  nll 123.46, log likelihood -120.50, rss 3.25, AIC 253.00, BIC 261.50
  n 26, 2 skipped, 1 censored; 6 free numbers; 7 iterations by levenberg_marquardt
  held out: theoph.conc 1.25 (rms of residual / sd: about 1 if the fit predicts well)
  2 of 4 starts reached the best value, 1 failed
  95 % interval  by profile likelihood  by bootstrap (101 refits)
  ka             1.1 to ∞               1.025 to 1.975
  dose[1]                               4.025 to 4.975
  dose[b]                               5.025 to 5.975
  strongly correlated: ka and body.V (-0.970)
  hardly determined: 0.71 log ka - 0.70 body.V (sd 12)
"""


def test_a_fit_is_told_in_full():
    assert "\n".join(table.lines(report.report(fitted()))) == REPORT


@given(st.floats(-1e9, 1e9), st.floats(-12, 3), st.floats(1, 9.99))
def test_a_value_has_the_digits_that_its_standard_error_supports(value: float, power: float, lead: float):
    se = lead * 10 ** int(power)
    shown, error, interval = fits.digits(Estimate(value, se, (value - 2 * se, value + 2 * se)))
    assert abs(float(shown) - value) <= 0.0501 * se + 1e-15 * abs(value)
    assert abs(float(error) - se) <= 0.0501 * se
    low, high = map(float, interval.split(" to "))
    assert abs(high - low - 4 * se) <= 0.11 * se + 1e-14 * abs(value)


def test_of_many_runs_some_are_shown_and_the_others_counted():
    many = Estimate(
        np.arange(40.0), np.full(40, 0.1), (np.zeros(40), np.ones(40)), "mg", runs=tuple(map(str, range(40)))
    )
    rows = fits.estimates(fitted(estimates={"dose": many}, scales={})).rows
    assert len(rows) == fits.RUNS + 1
    assert rows[-1][:2] == (f"and {40 - fits.RUNS} more of dose", f"{fits.RUNS} to 39")


def test_a_narrow_terminal_leaves_out_what_can_be_spared():
    whole = fits.estimates(fitted(estimates={"ka": KA}, scales={}))
    for room in range(40, 120):
        shown = table.narrowed(whole, room)
        assert set(whole.header[:5]) <= set(shown.header)
        assert not shown.spare or sum(shown.widths) + 3 * len(shown.header) + 1 <= room
    assert table.narrowed(whole, 120) == whole and "start" not in table.narrowed(whole, 60).header
    assert "bounds" in fits.estimates(fitted()).header and 6 not in fits.estimates(fitted()).spare


def test_pairs_are_named_where_the_correlation_is_strong():
    matrix = np.array([[1.0, 0.96, -0.2], [0.96, 1.0, -0.99], [-0.2, -0.99, 1.0]])
    pairs = list(fits.correlated(("a", "b", "c"), matrix))
    assert pairs == [("b", "c", -0.99), ("a", "b", 0.96)]


def test_records_suggestions_and_rounds_are_told():
    told = "\n".join(line for result in (SHOTS, LAW, rounds()) for line in table.lines(report.report(result)))
    assert (
        told
        == """\
record shots on Real: done, ran 2.0 s
  3 rows of 2 runs
  row  run  time [s]  angle [rad]  range [m]
    1    1         0          0.1        1.5
    2    1       0.1          0.1
    3    2         0      0.33333          2
  noise (root mean square): range 0.25 m

suggest law on Hudson: done, ran 2.0 s
  network eaten, read at 9 points that its runs visit
     rate =                   complexity  error  BIC
     0.9 [1/year]*hare                 3   50 %   12
  →  1.01 [1/year]*hare*lynx           5    1 %  -30

refine closing on Map: done, tested on 4 runs, ran 2.0 s
  round  metric  unit  map: Map  territory: Real   gap  closed
      0  error   m          0.5                2   1.5
      1  error   m         0.25              0.4  0.15    90 %
  estimate      round 1  unit
  drag      1.49 ± 0.18  1/h
"""
    )


# ---------------------------------------------------------------- for programs


def test_json_holds_what_was_found_and_null_where_there_is_nothing():
    result = fitted()
    found = json.loads(json.dumps(summary.task(result), allow_nan=False))
    assert found["estimates"]["ka"] == {
        "value": KA.value,
        "se": KA.se,
        "interval": list(KA.interval),
        "unit": "1/h",
        "start": 1.0,
        "bounds": {"low": 0.1, "high": 10.0, "log": True, "reached": False},
        "runs": [],
        "origin": "drug.dpl:3",
    }
    assert found["estimates"]["body.ke"]["se"] is None and found["estimates"]["dose"]["runs"] == ["1", "b"]
    figures = {"nll", "log_likelihood", "rss", "aic", "bic", "count", "skipped", "censored", "free", "iterations"}
    assert {name: found[name] for name in figures} == {name: getattr(result, name) for name in figures}
    assert found["starts"][2] == {
        "nll": None,
        "iterations": 1,
        "best": False,
        "failed": "a run did not end",
        "values": {"ka": 9.0},
    }
    assert found["correlation"]["matrix"][0][1] == -0.97 and found["correlation"]["matrix"][2][0] is None
    assert found["profiles"]["ka"]["interval"] == [1.1, None]
    assert found["bootstrap"]["dose[b]"]["0.5"] == 5.5 and found["directions"][0]["parts"]["ka"] == 0.71


def test_json_of_the_other_tasks_is_json():
    shots, law, closing = (json.loads(json.dumps(summary.task(one), allow_nan=False)) for one in (SHOTS, LAW, rounds()))
    assert shots["rows"] == 3 and shots["noise"]["range"] == {"value": 0.25, "unit": "m"}
    assert law["outputs"][0]["formulas"][1]["text"] == "1.01 [1/year]*hare*lynx" and law["outputs"][0]["best"] == 1
    assert [one["metrics"][0]["closed"] for one in closing["rounds"]] == [0.0, 0.9]


def test_a_data_frame_has_a_row_per_number():
    pytest.importorskip("pandas")
    frame = fitted().to_pandas()
    assert list(frame.index) == ["ka", "body.V", "body.ke", "dose[1]", "dose[b]", "scale of theoph.conc"]
    assert frame.loc["dose[b]", "value"] == 5.25 and frame.loc["body.ke", "bound"] == "upper"


# ---------------------------------------------------------------- written back as DPL


def declarations(text: str) -> dict[str, syntax.Declaration]:
    file = parse(Source("fragment.dpl", text))
    return {item.name: item for item in file.items if isinstance(item, syntax.Declaration)}


def value(expr: syntax.Expr) -> float:
    match expr:
        case syntax.Unary("-", operand):
            return -value(operand)
        case syntax.Number():
            return float(expr.value)
        case _:
            raise AssertionError(expr)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1e300), st.booleans())
def test_a_fragment_is_read_back_as_the_same_numbers(x: float, low: float, log: bool):
    one = Estimate(x, 0.1, (x, x), "kg*m/s^2", None, low, 2 * low + 1, log)
    (found,) = declarations(fitted(estimates={"part.x": one}, params={"part.x": x}).fragment).values()
    assert found.kind == "param" and value(found.value) == x and found.log == log
    assert isinstance(found.domain, syntax.Range)
    assert value(found.domain.low) == low and value(found.domain.high) == 2 * low + 1


def test_a_fragment_declares_params_and_tells_the_rest():
    text = fitted().fragment
    assert declarations(text).keys() == {"ka", "V", "ke"}
    assert f"param ka: 1/h = {KA.value!r} in 0.1..10 log  # ± 0.18, drug.dpl:3" in text
    assert "# in body\nparam V: L = 31.712 in 1..500  # ± 0.041\n" in text
    assert "param ke: 1/h = 0.5 in 0.01..0.5  # on its upper bound" in text
    assert "# dose: mg = [4.0123, 5.25]  # 1, b" in text and "# theoph.conc: 0.31 [mg/L]  # ± 0.02" in text


def test_an_array_is_a_list():
    array = Estimate(np.array([0.1, -2.0, 1e-30]), np.full(3, 0.1), (np.zeros(3), np.ones(3)))
    (found,) = declarations(fitted(estimates={"k": array}, params={"k": array.value}).fragment).values()
    assert isinstance(found.value, syntax.List) and [value(x) for x in found.value.items] == array.value.tolist()


# ---------------------------------------------------------------- what is left in the folder


LINE = """
data points(x, y) { 0, 1; 1, 3; 2, 5.5; 3, _; 4, 8 }
scenario Line { given row from points; param a = 1 in 0..10; param b = 0; observe points.y ~ normal(a*row.x + b) }
fit line { on Line; vary a, b }
"""


def test_a_fit_is_told_written_and_put_back(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    file = tmp_path / "line.dpl"
    file.write_text(LINE)
    assert main(["run", str(file), "--out", str(tmp_path / "run"), "--json"]) == DONE
    (found,) = json.loads(capsys.readouterr().out)["tasks"]
    x, y = np.array([0.0, 1, 2, 4]), np.array([1.0, 3, 5.5, 8])
    (a, b), covariance = np.polyfit(x, y, 1, cov=True)
    for name, value_, se in (("a", a, covariance[0, 0] ** 0.5), ("b", b, covariance[1, 1] ** 0.5)):
        assert found["estimates"][name]["value"] == pytest.approx(value_)
        assert found["estimates"][name]["se"] == pytest.approx(se)
    assert found["count"] == 4 and found["skipped"] == 1
    put_back = declarations((tmp_path / "run" / "line.dpl").read_text())
    assert {name: value(one.value) for name, one in put_back.items()} == {
        name: found["estimates"][name]["value"] for name in ("a", "b")
    }


def test_what_was_recorded_is_read_as_its_own_first_line_says():
    said, *lines = files.recorded(SHOTS).decode().splitlines()
    assert said == '# data shots(run as group, time: s as time, angle: rad, range: m) from "shots.csv"'
    (data,) = parse(Source("data.dpl", said.removeprefix("# "))).items
    assert isinstance(data, syntax.Data)
    header, *rows = csv.reader(lines)
    assert header == [column.name for column in data.columns]
    assert rows[1] == ["1", "0.1", "0.1", ""] and float(rows[2][2]) == 1 / 3


REAL = """
scenario Real {
  given x: m ~ uniform(1 [m], 2 [m])
  observe y: cm ~ normal(3*x, 1 [cm])
  observe z ~ normal(2, 1)
}
record rows { on Real; samples 5 }
"""
MAP = """
scenario Map { given row from rows; param a = 1; observe rows.y ~ normal(a*row.x, 1 [cm]); loss l = (row.x/1 [m])²; }
evaluate all { on Map; samples 3 }
"""


def test_recorded_rows_are_data_for_another_file_and_kept_with_its_source(tmp_path: Path):
    result = dpl.compile(REAL, "real.dpl").run(out=tmp_path / "real")["rows"]
    assert isinstance(result, Recorded)
    place = tmp_path / "real" / "data"
    file = place / "map.dpl"
    file.write_text((place / "rows.csv").read_text().splitlines()[0].removeprefix("# ") + MAP)
    program = dpl.load(file)
    (data,) = program.data.values()
    assert [column.unit for column in data.columns] == [column.unit for column in result.data.columns]
    for read, made in zip(data.columns, result.data.columns, strict=True):
        assert read.values == pytest.approx(made.values, rel=1e-15)  # declared units and back
    program.run(out=tmp_path / "map")
    assert (tmp_path / "map" / "source" / "rows.csv").read_bytes() == (place / "rows.csv").read_bytes()


def test_a_column_of_a_part_has_a_name_that_data_can_have():
    result = replace(SHOTS, columns={"cannon.speed": Quantity(np.array([1.0]), "m/s")}, time="", run="")
    said, header, _ = files.recorded(result).decode().splitlines()
    (data,) = parse(Source("data.dpl", said.removeprefix("# "))).items
    assert isinstance(data, syntax.Data)
    assert header == "cannon.speed" == data.columns[0].header and data.columns[0].name == "cannon_speed"


def test_the_same_fit_gives_the_same_figures():
    one = fitted(curves=(curve("1"),))
    first, again = (dict(fit_plots.all_of(one)) for _ in range(2))
    assert first == again
    assert first.keys() == {f"typical-{name}" for name in ("theoph.conc", "starts", "profiles", "correlation")}
    assert all(
        drawing["svg"].startswith(b"<?xml") and drawing["png"].startswith(b"\x89PNG") for drawing in first.values()
    )


def test_a_fit_without_rows_or_ended_starts_is_drawn():
    bare = replace(curve("1"), band=None, spread=None, censored=np.zeros(0, bool), data=np.full(13, np.nan))
    failed = tuple(replace(one, failed="no", nll=np.nan) for one in fitted().starts)
    drawn = dict(fit_plots.all_of(fitted(curves=(bare,), starts=failed, profiles={}, names=())))
    assert drawn.keys() == {"typical-theoph.conc", "typical-starts"}


def test_a_folder_has_all_that_a_fit_left(tmp_path: Path):
    program = dpl.compile("scenario S { param a = 1; loss l = a²; }", "s.dpl")
    with Folder(tmp_path, params.source_hash(program)) as folder:
        record = Record(folder, program, Asked("s.dpl"))
        for result in (fitted(curves=(curve("1"),)), SHOTS, LAW, rounds()):
            record.add(result)
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert names >= {
        "typical.dpl",
        "metrics/typical.csv",
        "curves/typical-theoph.conc.csv",
        "plots/typical-theoph.conc.svg",
        "plots/typical-starts.png",
        "data/shots.csv",
        "plots/law.svg",
        "plots/shots.svg",
        "plots/closing.svg",
        "metrics/closing.csv",
        "rounds/closing-1/data/shots.csv",
        "rounds/closing-1/refit.dpl",
        "plots/closing-refit-starts.svg",
        "report.html",
    }
    header, first, *rows = (tmp_path / "curves" / "typical-theoph.conc.csv").read_text().splitlines()
    assert header == "run,at [h],data [mg/L],fitted [mg/L],residual,held_out,censored" and len(rows) == 12
    assert first.endswith(",0,1") and rows[3].split(",")[2] == ""
    text = (tmp_path / "report.html").read_text()
    pictures = re.findall(r'src="([^"]*)"', text)
    assert len(pictures) > 5 and all((tmp_path / picture).is_file() for picture in pictures)
    assert "<td>body.V</td>" in text and "param V: L = 31.712" in text
    said = [task["said"] for task in json.loads((tmp_path / "status.json").read_text())["tasks"]]
    assert said == ["nll 123.46", "3 rows", "1.01 [1/year]*hare*lynx", "2 rounds"]


def test_the_page_takes_no_markup_from_names():
    label = "<script>alert(1)</script>"
    result = fitted(estimates={"dose": replace(fitted().estimates["dose"], runs=(label, '"&'))})
    text = page.html(label, (label,), [page.Section(report.report(result), ('a"b',), result.fragment)])
    assert "<script" not in text and text.count("&lt;script") >= 5 and 'src="plots/a%22b.svg"' in text


def test_runs_without_time_are_drawn_as_one():
    """Whether a fit has a curve for each run, or one for all."""
    whole = replace(curve("1"), grid=np.arange(13.0), line=np.arange(13.0), time_unit="", band=None, spread=None)
    arrays = ("at", "data", "fitted", "residuals", "held_out", "grid", "line", "censored")
    parts = [replace(whole, run=str(i), **{n: getattr(whole, n)[i : i + 1] for n in arrays}) for i in range(13)]
    assert fit_plots.curves(parts, "fit") == fit_plots.curves([whole], "fit")


def test_labels_break_no_table():
    rows = table.Table(("", ""), (("a\n\x1b[31m", "b"),))
    assert table.aligned(rows) == ["  a��[31m  b"]


def test_what_a_network_of_one_input_learned_is_a_line():
    one = replace(LAW, inputs={"hare": LAW.inputs["hare"]})
    assert dict(map_plots.of_suggested(one)).keys() == {"law"}
    assert not dict(map_plots.of_suggested(replace(LAW, inputs={**LAW.inputs, "sun": LAW.inputs["hare"]})))
