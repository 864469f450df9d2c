"""The cells of a file of data, as text, and the place of each.

A file is read only from the folder tree of the model file that names it. CSV and TSV are read as they are; a Parquet
file is first written out as CSV, so that a row of it can be shown, and is part of what a program was made from.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

from dpl.language.diagnostics import CompileError, Diagnostic, Label, did_you_mean
from dpl.language.parser import not_utf8
from dpl.language.source import Source, Span

FORMATS = (".csv", ".tsv", ".parquet")
MOST_BYTES = 200_000_000
MOST_ROWS = 1_000_000
MOST_COLUMNS = 10_000


@dataclass(eq=False)
class Sheet:
    """Rows of text under one row of headers, no shorter than that; `starts` says where in the text each row begins."""

    source: Source
    separator: str
    headers: tuple[str, ...] = ()
    header_start: int = 0
    rows: list[list[str]] = field(default_factory=list[list[str]])
    starts: list[int] = field(default_factory=list[int])

    def column(self, number: int) -> list[str]:
        """The cells of a column, without the blanks around them."""
        return [row[number].strip() for row in self.rows]

    def place(self, row: int, column: int) -> Span:
        """The text of a cell."""
        return self._cell(self.starts[row], column)

    def header(self, column: int) -> Span:
        return self._cell(self.header_start, column)

    def _cell(self, start: int, column: int) -> Span:
        text, begin, cell, quoted = self.source.text, start, 0, False
        end = len(text)
        for at in range(start, len(text)):
            if text[at] == '"':
                quoted = not quoted
            elif not quoted and text[at] in (self.separator, "\n"):
                end = at
                if cell == column or text[at] == "\n":
                    break
                cell, begin, end = cell + 1, at + 1, len(text)
        inside = text[begin:end]
        left = len(inside) - len(inside.lstrip())
        return Span(self.source, begin + left, begin + max(left, len(inside.rstrip())))


def read_sheet(file: str, named: Span, problems: list[Diagnostic]) -> Sheet | None:
    """The cells of the file that the text names at `named`; None where it cannot be read, which is reported."""
    try:
        path = _locate(file, named)
        source = Source(file, _text(path, file, named), str(path))
        return _rows(source, "\t" if path.suffix.lower() == ".tsv" else None, named)
    except CompileError as error:
        problems += error.diagnostics
        return None


def file_span(declaration: Span, file: str) -> Span:
    """Where a declaration names its file."""
    place = declaration.text.rfind(file)
    start = declaration.start + max(place - 1, 0)
    return Span(declaration.source, start, start + len(file) + 2) if place > 0 else declaration


# ---------------------------------------------------------------- the file


def _locate(file: str, named: Span) -> Path:
    """The file, in the folder of the text that names it or below."""
    home = named.source.path
    if home is None:
        message = f"where `{file}` would be is not known: this text was not read from a file"
        raise CompileError([_of_file("no-folder", message, named, "write the rows here: `{ 1, 2; 3, 4 }`")])
    folder = Path(home).resolve().parent
    outside = "the file must lie in the folder of the file that names it, or in a folder in that"
    if re.match(r"[/\\~]|[A-Za-z]:", file) or ".." in re.split(r"[/\\]", file):
        message = f"`{file}` is not a path within this folder"
        raise CompileError([_of_file("file-outside", message, named, outside)])
    if Path(file).suffix.lower() not in FORMATS:
        message = f"`{file}` is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file"
        raise CompileError([_of_file("unknown-format", message, named, None)])
    path = folder / file
    try:
        real = path.resolve()
        inside, there = real.is_relative_to(folder), real.is_file()
    except (OSError, ValueError, RuntimeError):
        raise CompileError([_of_file("unreadable-file", f"cannot read `{file}`", named, None)]) from None
    if not inside:
        message = f"`{file}` leads outside the folder of the file that names it"
        raise CompileError([_of_file("file-outside", message, named, outside)])
    if not there:
        message = f"`{file}` is no file that can be read" if real.exists() else f"there is no file `{file}`"
        raise CompileError([_of_file("no-such-file", message, named, _near(path, file))])
    return real


def _near(path: Path, file: str) -> str | None:
    """The file that may be meant."""
    parent = path.parent
    prefix = file[: len(file) - len(path.name)]
    try:
        names = [p.name for p in parent.iterdir() if p.suffix.lower() in FORMATS and p.is_file()][:500]
    except (OSError, ValueError):
        return None
    return did_you_mean(file, [prefix + name for name in names]) or (
        f"there is {', '.join(f'`{prefix}{name}`' for name in sorted(names)[:5])}" if names else None
    )


def _text(path: Path, file: str, named: Span) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            message = f"`{file}` is larger than {MOST_BYTES // 1_000_000} MB"
            raise CompileError([_of_file("too-large", message, named, None)])
        if path.suffix.lower() == ".parquet":
            return _parquet(path, file, named)
        content = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"cannot read `{file}`: {reason[:1].lower() + reason[1:]}"
        raise CompileError([_of_file("unreadable-file", message, named, None)]) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            message = f"`{file}` is UTF-16"
            raise CompileError([_of_file("not-utf8", message, named, "save it as UTF-8")]) from None
        raise CompileError([_named(not_utf8(path, content, _first_bad(content)), named)]) from None


def _first_bad(content: bytes) -> int:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    raise AssertionError("bytes that are UTF-8 after all: a bug in DPL")


def _parquet(path: Path, file: str, named: Span) -> str:
    """A Parquet file as CSV, which loses nothing: numbers are written so that they are read as they were."""
    try:
        csv_files: Any = import_module("pyarrow.csv")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        help_text = "`pip install dpl[parquet]` brings it; or save the data as CSV"
        message = "Parquet files are read with pyarrow, which is not installed"
        raise CompileError([_of_file("not-installed", message, named, help_text)]) from None
    written = BytesIO()
    try:
        shape = parquet.read_metadata(path)
        if shape.num_rows <= MOST_ROWS and shape.num_columns <= MOST_COLUMNS:
            csv_files.write_csv(parquet.read_table(path), written)
    except Exception as error:  # whatever pyarrow says of a file that is none, or of columns that are tables themselves
        reason = str(error).partition("\n")[0][:200]
        message = f"cannot read `{file}` as Parquet: {reason[:1].lower() + reason[1:]}"
        raise CompileError([_of_file("unreadable-file", message, named, None)]) from None
    if not written.tell():
        raise CompileError([_too_many(file, named)])
    return written.getvalue().decode()


# ---------------------------------------------------------------- rows


@dataclass
class _Lines(Iterator[str]):
    """The lines of a text, with the place of the next one."""

    text: str
    at: int = 0

    def __next__(self) -> str:
        if self.at >= len(self.text):
            raise StopIteration
        start, end = self.at, self.text.find("\n", self.at)
        self.at = len(self.text) if end < 0 else end + 1
        return self.text[start : self.at]

    def skip(self) -> None:
        """Go past comments and empty lines."""
        while self.at < len(self.text):
            start = self.at
            line = next(self).strip()
            if line and not line.startswith("#"):
                self.at = start
                return


def _rows(source: Source, separator: str | None, named: Span) -> Sheet:
    lines = _Lines(source.text)
    lines.skip()
    start, first = lines.at, next(lines, "")
    lines.at = start
    sheet = Sheet(source, separator or _separator(first), header_start=start)
    reader = csv.reader(lines, delimiter=sheet.separator, strict=True)
    try:
        sheet.headers = tuple(cell.strip() for cell in next(reader, ()))
        if len(sheet.headers) > MOST_COLUMNS:
            raise CompileError([_too_many(source.name, named)])
        while True:
            lines.skip()
            start = lines.at
            row = next(reader, None)
            if row is None:
                break
            _add(sheet, row, start, named)
    except csv.Error as error:
        line = Span(source, start, start + len(source.line(source.position(start)[0])))
        message = f"this row cannot be read: {error}"
        raise CompileError([_named(Diagnostic("bad-row", message, Label(line, "begins here")), named)]) from None
    if not sheet.rows:
        what = "has a header and no rows" if sheet.headers else "is empty"
        raise CompileError([_of_file("empty-file", f"`{source.name}` {what}", named, None)])
    return sheet


def _add(sheet: Sheet, row: list[str], start: int, named: Span) -> None:
    """One row; cells that are left over are dropped where nothing stands in them, as is a row in which nothing does."""
    wide = len(sheet.headers)
    if not "".join(row).strip():
        return
    if len(row) < wide or "".join(row[wide:]).strip():
        line = sheet.source.line(sheet.source.position(start)[0])
        message = f"this row has {len(row)} cells, and there are {wide} columns"
        place = Span(sheet.source, start, start + len(line))
        related = Label(sheet.header(0).to(sheet.header(wide - 1)), "the columns")
        help_text = "a text with a separator in it stands in quotes" if len(row) > wide else None
        if len(row) > wide and sheet.separator == "," and any(c.strip().isdigit() for c in row):
            help_text = "numbers have a decimal point, not a comma; a text with a comma in it stands in quotes"
        found = Diagnostic("ragged-row", message, Label(place, "is of another length"), (related,), help_text)
        raise CompileError([_named(found, named)])
    if len(sheet.rows) >= MOST_ROWS:
        raise CompileError([_too_many(sheet.source.name, named)])
    sheet.rows.append(row)
    sheet.starts.append(start)


def _separator(header: str) -> str:
    """What stands between the names of the columns."""
    outside = re.sub(r'"[^"]*"', "", header)
    return max(",;\t", key=outside.count)


# ---------------------------------------------------------------- what is said


def _of_file(code: str, message: str, named: Span, help: str | None) -> Diagnostic:
    return Diagnostic(code, message, Label(named, "named here"), help=help)


def _named(found: Diagnostic, named: Span) -> Diagnostic:
    """The problem with the declaration that names the file as its other place."""
    related = (*found.related, Label(named, "named here"))
    return Diagnostic(found.code, found.message, found.label, related, found.help)


def _too_many(file: str, named: Span) -> Diagnostic:
    message = f"`{file}` has more than {MOST_ROWS:,} rows or {MOST_COLUMNS:,} columns"
    return _of_file("too-large", message, named, "keep the rows and columns that the model reads")
