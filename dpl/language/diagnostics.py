"""A problem as data, and how it is rendered."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from dpl.language.source import Span


@dataclass(frozen=True)
class Label:
    """A span and what is to be said of it, in a few words."""

    span: Span
    text: str = ""


@dataclass(frozen=True)
class Diagnostic:
    """One problem: a stable kebab-case code, one sentence, the exact text, the other places, a way out."""

    code: str
    message: str
    label: Label | None
    related: tuple[Label, ...] = ()
    help: str | None = None
    severity: Literal["error", "warning"] = "error"


class CompileError(Exception):
    """Wrong DPL text. `diagnostics` holds all that was found, errors and warnings, in the order of the text."""

    def __init__(self, diagnostics: Iterable[Diagnostic]):
        self.diagnostics = tuple(sorted(dict.fromkeys(diagnostics), key=_position))
        super().__init__("\n\n".join(render(d) for d in self.diagnostics))


def _position(diagnostic: Diagnostic) -> tuple[str, int, str]:
    label = diagnostic.label
    return (label.span.source.name, label.span.start, diagnostic.code) if label else ("", -1, diagnostic.code)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A help text naming the closest known word, if one is close."""
    near = sorted({k for k in known if abs(len(k) - len(word)) <= 4})[:500]
    close = [k for k in near if k.casefold() == word.casefold()] or get_close_matches(word, near, n=1)
    return f"did you mean `{close[0]}`?" if close else None


def unsupported(what: str, span: Span, help: str | None = None) -> Diagnostic:
    message = f"{what} not supported by this version of DPL"
    return Diagnostic("not-supported", message, Label(span, "used here"), help=help)


def with_article(word: str) -> str:
    """`a state`, `an input`"""
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def render(diagnostic: Diagnostic) -> str:
    """The diagnostic as a person reads it: message, place, the line with a caret, other places, help."""
    lines = [f"{diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}"]
    if diagnostic.label is not None:
        lines += _excerpt(diagnostic.label, "^", "-->")
    for label in diagnostic.related:
        lines += _excerpt(label, "-", ":::")
    if diagnostic.help:
        first, *rest = diagnostic.help.split("\n")
        lines.append(f"  help: {first}")
        lines += [f"        {line}" for line in rest]
    return "\n".join(lines)


def _excerpt(label: Label, mark: str, arrow: str) -> list[str]:
    span = label.span
    number, column = span.source.position(span.start)
    text = span.source.line(number)
    gutter = " " * len(str(number))
    before, under = text[: column - 1], text[column - 1 : column - 1 + max(1, span.end - span.start)]
    if len(text) > 200:  # a machine's line: show the neighbourhood of the place only
        cut = max(0, column - 61)
        before, text = text[cut : column - 1], text[cut : cut + 120]
        under = under[: max(1, len(text) - len(before))]
    carets = mark * max(1, _width(under))
    return [
        f"{gutter}{arrow} {span.source.name}:{number}:{column}",
        f"{gutter} |",
        f"{number} | {_printable(text)}",
        f"{gutter} | {' ' * _width(before)}{carets} {label.text}".rstrip(),
    ]


def _printable(text: str) -> str:
    """The text as a terminal may be given it: control characters do nothing."""
    return "".join(" " if c == "\t" else "\ufffd" if unicodedata.category(c) == "Cc" else c for c in text)


def _width(text: str) -> int:
    """Columns a terminal takes for `text`: combining marks none, wide characters two."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def to_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """The diagnostic for programs: lines and columns count from 1."""

    def place(label: Label) -> dict[str, Any]:
        line, column = label.span.source.position(label.span.start)
        end_line, end_column = label.span.source.position(label.span.end)
        return {
            "file": label.span.source.path or label.span.source.name,
            "line": line,
            "column": column,
            "end_line": end_line,
            "end_column": end_column,
            "text": label.text,
        }

    return {
        "severity": diagnostic.severity,
        "code": diagnostic.code,
        "message": diagnostic.message,
        "place": place(diagnostic.label) if diagnostic.label else None,
        "related": [place(label) for label in diagnostic.related],
        "help": diagnostic.help,
    }
