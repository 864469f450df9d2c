"""Declared data as they are: every cell read once, in SI, rows sorted by group and then by time.

What is wrong with a cell is told with the cell's own line in view, be it of the model or of the file of data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from unicodedata import normalize

from dpl.language import syntax
from dpl.language.cells import Sheet, file_span, read_sheet
from dpl.language.constants import LARGEST, literal, scaled
from dpl.language.diagnostics import Diagnostic, Label, did_you_mean
from dpl.language.model import DataUse, Scope, Variable
from dpl.language.resolve import duplicate_name
from dpl.language.rules import SECOND
from dpl.language.source import Source, Span
from dpl.language.units import PURE, Dimension, Unit, find_unit, read_unit

MOST_CELL_PROBLEMS = 10
MISSING = ("", "na", "nan")
"""What stands in a cell that says nothing, in small letters"""
KELVIN = Unit(Dimension((("K", Fraction(1)),)), Fraction(1), "K")
_OFFSETS: dict[str, tuple[float, float]] = {
    "degC": (1.0, 273.15),
    "degF": (5 / 9, 459.67 * 5 / 9),
}
"""Points on scales of temperature: factor and offset in K"""

Cells = Sequence[str | float | None]
"""Of one column: texts, or SI values; None where nothing stands"""
_DIGITS = set("0123456789+-.eE")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def on_scale(unit: syntax.Unit | None) -> tuple[float, float] | None:
    """Of a unit that is a point on a scale of temperature its factor and offset in K: `x*factor + offset`."""
    return _OFFSETS.get(unit.id) if isinstance(unit, syntax.UnitName) else None


@dataclass
class Datasets:
    """The data of a file and of those that it imports, each read once; `pure`: no file names any unit."""

    pure: bool
    problems: list[Diagnostic]
    made: dict[int, DataUse] = field(default_factory=dict[int, DataUse])
    sources: dict[str, Source] = field(default_factory=dict[str, Source])

    def use(self, item: syntax.Data) -> DataUse:
        """The data that a declaration names, read when it is first asked for."""
        if id(item) not in self.made:
            self.made[id(item)] = _Reader(item, self).read()
        return self.made[id(item)]

    def of_table(self, item: syntax.Table) -> DataUse | None:
        """The columns of a table's file, named as its ports; None of one whose points stand in the text."""
        if item.file is None or len(item.inputs) != 1:
            return None
        if id(item) not in self.made:
            ports = (*item.inputs, item.output)
            columns = tuple(syntax.Column(port.name, unit=port.unit, span=port.span) for port in ports)
            data = syntax.Data(item.name, item.name_span, columns, item.file, span=item.span)
            self.made[id(item)] = _Reader(data, self).read()
        return self.made[id(item)]


def column(use: DataUse, name: str, unit: Unit, span: Span, declared: syntax.Unit | None = None) -> Variable:
    """The variable that `pelts.hare` names."""
    declaration = syntax.Declaration("given", name, span, unit=declared, span=span)
    variable = Variable(use.scope.join(name), "column", declaration, use.scope, unit, data=use)
    variable.dimension = unit.dimension
    use.scope.names[name] = variable
    return variable


@dataclass
class _Reader:
    """Reads one declaration."""

    item: syntax.Data
    datasets: Datasets
    told: int = 0
    """How many cells were found wrong"""

    def read(self) -> DataUse:
        item, problems = self.item, self.datasets.problems
        self.use = use = DataUse(item, Scope(item.name, item, None, span=item.name_span))
        use.scope.data = use
        before = len(problems)
        for each in item.columns:
            self.declare(each)
        cells = self.from_file(item.file) if item.file is not None else self.from_text()
        if cells is not None and len(problems) == before:
            self.fill(*cells)
        self.use.broken = len(problems) > before
        return self.use

    def report(self, code: str, message: str, label: Label, *related: Label, help: str | None = None) -> None:
        self.datasets.problems.append(Diagnostic(code, message, label, related, help))

    # ------------------------------------------------------------ columns

    def declare(self, each: syntax.Column) -> None:
        use = self.use
        first = use.scope.names.get(each.name)
        if isinstance(first, Variable):
            self.datasets.problems.append(duplicate_name(each.name, each.span, first.span))
            return
        affine = isinstance(each.unit, syntax.UnitName) and each.unit.id in _OFFSETS
        unit = KELVIN if affine else read_unit(each.unit, self.datasets.problems)
        column(use, each.name, unit, each.span, each.unit)
        if each.role == "time":
            self.time(each, unit)
        elif each.role == "group":
            self.once(each, use.group)
            use.group = each.name
            if each.unit is not None:
                message = f"`{each.name}` says which group a row belongs to, and that has no unit"
                self.report("misplaced", message, Label(each.unit.span, "stands here"))
        elif each.role is not None:
            message = f"a column is `as time` or `as group`, not `as {each.role}`"
            help_text = did_you_mean(each.role, ("time", "group"))
            self.report("unknown-role", message, Label(each.span, "declared here"), help=help_text)

    def time(self, each: syntax.Column, unit: Unit) -> None:
        self.once(each, self.use.time)
        self.use.time = each.name
        wanted = PURE if self.datasets.pure else SECOND
        if unit.dimension != wanted:
            message = f"`{each.name}` is the time of each row, and has {_dimension(unit)}"
            help_text = f"say in which unit the times are: `{each.name}: day as time`"
            self.report("unit-mismatch", message, Label(each.span, "declared here"), help=help_text)

    def once(self, each: syntax.Column, first: str | None) -> None:
        if first is not None:
            message = f"one column is the {each.role}, and `{first}` is it already"
            self.report("said-twice", message, Label(each.span, f"said to be the {each.role}, too"))

    # ------------------------------------------------------------ cells

    def from_file(self, file: str) -> tuple[list[Cells], Callable[[int, int], Span]] | None:
        """The cells of each column, and where those of a row and column stand."""
        named = file_span(self.item.span, file)
        sheet = read_sheet(file, named, self.datasets.problems)
        if sheet is None:
            return None
        self.datasets.sources[sheet.source.path or file] = sheet.source
        places = [self.find(each, sheet) for each in self.item.columns]
        if None in places:
            return None
        found = [place for place in places if place is not None]
        return [sheet.column(place) for place in found], lambda row, column: sheet.place(row, found[column])

    def find(self, each: syntax.Column, sheet: Sheet) -> int | None:
        """The place of a declared column among those of the file."""
        header = each.name if each.header is None else each.header.strip()
        found = [i for i, h in enumerate(sheet.headers) if _normal(h) == _normal(header)]
        if len(found) == 1:
            return found[0]
        if found:
            second = found[1]
            message = f"`{sheet.source.name}` has several columns `{header}`"
            again = Label(sheet.header(second), "named again here")
            self.report("duplicate-header", message, again, Label(each.span, "read here"))
            return None
        known = [h for h in sheet.headers if h]
        close = did_you_mean(header, known)
        names = ", ".join(f'"{h}"' if not h.isidentifier() else h for h in known[:12])
        more = f" and {len(known) - 12} more" if len(known) > 12 else ""
        help_text = f"{close}\n" if close else ""
        help_text += f"its columns are {names}{more}"
        if known and all(_NUMBER.fullmatch(h) for h in known):
            help_text = "its first line must name the columns, and has numbers"
        message = f"`{sheet.source.name}` has no column `{header}`"
        place = Label(sheet.header(0).to(sheet.header(len(sheet.headers) - 1)), "the columns")
        self.report("unknown-column", message, Label(each.span, "read here"), place, help=help_text)
        return None

    def from_text(self) -> tuple[list[Cells], Callable[[int, int], Span]] | None:
        item = self.item
        for each in item.columns:
            if each.header is not None:
                message = f'"{each.header}" would be the name of a column in a file'
                self.report("misplaced", message, Label(each.span, "stands here"))
        if not item.rows:
            self.report("empty-data", f"`{item.name}` has no rows", Label(item.name_span, "declared here"))
            return None
        for row in item.rows:
            if len(row) != len(item.columns):
                message = f"this row has {len(row)} cells, and there are {len(item.columns)} columns"
                place = row[0].span.to(row[-1].span)
                columns = item.columns[0].span.to(item.columns[-1].span)
                self.report("ragged-row", message, Label(place, "is of another length"), Label(columns, "the columns"))
                return None
        columns = [[self.written(row[i], each) for row in item.rows] for i, each in enumerate(item.columns)]
        return list(columns), lambda row, column: item.rows[row][column].span

    def written(self, cell: syntax.Cell, each: syntax.Column) -> str | float | None:
        """A cell of the text: of a group its label, else a number in SI."""
        value = cell.value
        if value is None or isinstance(value, str):
            return value
        unit = self.use.scope.names[each.name]
        bare = literal(value)
        if each.role == "group":
            return cell.span.text
        if bare is not None:
            return self.bare(bare, each)
        inner, sign = (value.operand, -1) if isinstance(value, syntax.Unary) and value.op == "-" else (value, 1)
        if not isinstance(inner, syntax.Number) or inner.unit is None:
            self.wrong_cell("a cell holds a number, a label in quotes, or `_`", cell.span, each, None)
            return None
        own = read_unit(inner.unit, self.datasets.problems)
        assert isinstance(unit, Variable)
        if own.dimension != unit.dimension:
            message = f"this cell has {_dimension(own)}, and `{each.name}` {_dimension(unit.display)}"
            self.wrong_cell(message, cell.span, each, None, "unit-mismatch")
        return sign * _float(scaled(inner.value, own))

    def bare(self, number: Fraction, each: syntax.Column) -> float:
        unit = self.use.scope.names[each.name]
        assert isinstance(unit, Variable)
        if isinstance(each.unit, syntax.UnitName) and each.unit.id in _OFFSETS:
            factor, offset = _OFFSETS[each.unit.id]
            return _float(number) * factor + offset
        return _float(scaled(number, unit.display))

    def wrong_cell(
        self, message: str, span: Span, each: syntax.Column, help: str | None, code: str = "bad-cell"
    ) -> None:
        self.told += 1
        if self.told <= MOST_CELL_PROBLEMS:
            self.report(
                code, message, Label(span, f"read as `{each.name}`"), Label(each.span, "declared here"), help=help
            )

    # ------------------------------------------------------------ what they are

    def fill(self, columns: list[Cells], place: Callable[[int, int], Span]) -> None:
        """The columns of sorted rows."""
        use, declared = self.use, self.item.columns
        found: dict[str, list[float]] = {}
        for number, (each, cells) in enumerate(zip(declared, columns, strict=True)):
            at = _Places(place, number)
            found[each.name] = self.labels(cells, each, at) if each.role == "group" else self.numbers(cells, each, at)
        if self.told:
            return
        group, time = (found.get(name or "") for name in (use.group, use.time))
        order = sorted(range(len(columns[0])), key=lambda i: (group[i] if group else 0, time[i] if time else 0))
        use.columns = {name: tuple(values[i] for i in order) for name, values in found.items()}
        numbers = {each.name: number for number, each in enumerate(declared)}
        use.place = lambda row, name: place(order[row], numbers[name])
        self.whole(use)

    def labels(self, cells: Cells, each: syntax.Column, at: _Places) -> list[float]:
        """The groups, as indices in the order of their first mention."""
        known: dict[str, int] = {}
        found: list[float] = []
        for i, cell in enumerate(cells):
            if cell is None or not str(cell).strip():
                self.wrong_cell("this row says no group", at(i), each, "each row belongs to one")
            found.append(known.setdefault(str(cell), len(known)))
        self.use.groups = tuple(known)
        return found

    def numbers(self, cells: Cells, each: syntax.Column, at: _Places) -> list[float]:
        unit = self.use.scope.names[each.name]
        quick = _plain(cells, each, unit)
        if quick is not None and (each.role is None or not any(map(math.isnan, quick))):
            return quick
        found: list[float] = []
        for i, cell in enumerate(cells):
            value = _value(cell, each, unit)
            if value is None:
                self.wrong_cell(*_misread(str(cell), at(i), each))
                value = math.nan
            elif math.isnan(value) and each.role == "time":
                self.wrong_cell("this row says no time", at(i), each, "leave out the row, or say its time")
            elif abs(value) >= LARGEST:
                self.wrong_cell("this number is too large to compute with", at(i), each, None)
            found.append(value)
        return found

    def whole(self, use: DataUse) -> None:
        """What the rows must be together."""
        for each in self.item.columns:
            if all(map(math.isnan, use.columns[each.name])):
                message = f"no row of `{use.name}` says anything of `{each.name}`"
                self.report("empty-column", message, Label(each.span, "declared here"))


@dataclass
class _Places:
    """Where the cells of one column stand."""

    place: Callable[[int, int], Span]
    column: int

    def __call__(self, row: int) -> Span:
        return self.place(row, self.column)


def _plain(cells: Cells, each: syntax.Column, unit: object) -> list[float] | None:
    """The SI values of cells that are plain numbers or empty; None where one is not."""
    texts = [cell for cell in cells if isinstance(cell, str)]
    if len(texts) < len(cells) or not set("".join(texts)) <= _DIGITS:
        return None
    try:
        numbers = [float(text) if text else math.nan for text in texts]
    except ValueError:
        return None
    if any(abs(number) >= LARGEST for number in numbers):
        return None
    convert = _conversion(each, unit)
    return [convert(t, n) for t, n in zip(texts, numbers, strict=True)] if convert else numbers


def _value(cell: str | float | None, each: syntax.Column, unit: object) -> float | None:
    """The SI value of a cell, NaN where it says nothing; None where it is no number."""
    if cell is None:
        return math.nan
    if isinstance(cell, float | int):
        return cell
    if cell.lower() in MISSING:
        return math.nan
    return _in_si(cell, each, unit) if _NUMBER.fullmatch(cell) else None


def _in_si(text: str, each: syntax.Column, unit: object) -> float:
    """The SI value of a number that is written in the unit of its column."""
    number, convert = float(text), _conversion(each, unit)
    return convert(text, number) if convert and abs(number) < LARGEST else number


def _conversion(each: syntax.Column, variable: object) -> Callable[[str, float], float] | None:
    """What makes a number of a column SI, of its text and its value; None where it is that already."""
    assert isinstance(variable, Variable)
    scale = variable.display.scale
    if isinstance(each.unit, syntax.UnitName) and each.unit.id in _OFFSETS:
        factor, offset = _OFFSETS[each.unit.id]
        return lambda text, number: number * factor + offset
    if scale == 1:
        return None
    if not isinstance(scale, Fraction):
        return lambda text, number: number * scale
    above, below = Decimal(scale.numerator), Decimal(scale.denominator)
    return lambda text, number: float(Decimal(text) * above / below) if number == number else number


def _float(number: Fraction | float) -> float:
    """The nearest float; infinite where there is none, which is reported as any number that is too large."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _misread(text: str, span: Span, each: syntax.Column) -> tuple[str, Span, syntax.Column, str | None]:
    """Why a cell is no number, and what to do."""
    message, help_text = f"`{_short(text)}` is no number", "a cell that says nothing stays empty"
    number = re.sub(r"^[<>≤≥]=?\s*", "", text)
    if number != text:
        word = "below" if text[0] in "<≤" else "above"
        help_text = f"write the limit of detection as the value, `{number}`, and observe it `… {word} {number}`"
    elif re.fullmatch(r"[+-]?\d+,\d+", text):
        help_text = f"numbers have a decimal point: `{text.replace(',', '.')}`"
        if re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text):
            whole = text.replace(",", "")
            help_text = (
                f"write `{whole}` if the comma parts thousands, `{text.replace(',', '.')}` if it is a decimal comma"
            )
    elif re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?", text):
        help_text = f"numbers have nothing between their thousands: `{text.replace(',', '')}`"
    elif text.lower().lstrip("+-") in ("inf", "infinity"):
        message = "a measured value is finite"
    elif re.match(r"\d+[-/.:]\d+[-/.:]", text):
        help_text = "a time is a number: how long since a beginning"
    elif text.startswith("−"):
        help_text = "write the minus as `-`"
    else:
        tail = re.fullmatch(r"[+-]?[\d.]+\s*([^\d\s]+)", text)
        if tail and (tail[1] == "%" or find_unit(tail[1])):
            help_text = f"the unit stands once, in the declaration: `{each.name}: {tail[1]}`"
        elif each.role is None and not any(c.isdigit() for c in text):
            help_text += "; labels are read `as group` alone"
    return message, span, each, help_text


def _normal(text: str) -> str:
    """As names are compared: the two signs for µ are one."""
    return normalize("NFKC", text)


def _short(text: str) -> str:
    return text if len(text) <= 30 else text[:29] + "…"


def _dimension(unit: Unit) -> str:
    return "no unit" if unit.dimension.pure else f"the unit {unit.dimension}"


def runs_of(use: DataUse) -> Iterator[tuple[int, range]]:
    """Each run of the data with its rows."""
    if use.group is None:
        if use.time is not None:
            yield 0, range(use.rows)
        else:
            yield from ((row, range(row, row + 1)) for row in range(use.rows))
        return
    groups = use.columns.get(use.group, ())
    start = 0
    for row in range(1, len(groups) + 1):
        if row == len(groups) or groups[row] != groups[start]:
            yield int(groups[start]), range(start, row)
            start = row
