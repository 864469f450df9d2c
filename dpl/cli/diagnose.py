"""Diagnostics on the command line: rendered on standard error, or as JSON on standard output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from dpl.language.diagnostics import Diagnostic, render, to_json

BOLD_RED, BOLD_YELLOW, BLUE, GREEN, PLAIN = "\033[1;31m", "\033[1;33m", "\033[34m", "\033[32m", "\033[0m"


def show(diagnostics: Iterable[Diagnostic]) -> None:
    """Writes each on standard error as a person reads it, with colours if a terminal shows it."""
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    for diagnostic in diagnostics:
        text = render(diagnostic)
        print(painted(text) if coloured else text, end="\n\n", file=sys.stderr)


def painted(text: str) -> str:
    """A rendered diagnostic with its head, arrows and help in colours."""
    return "\n".join(_painted(line) for line in text.split("\n"))


def _painted(line: str) -> str:
    head, colon, rest = line.partition(":")
    if colon and head.startswith(("error[", "warning[")):
        return f"{BOLD_RED if head.startswith('error') else BOLD_YELLOW}{head}{PLAIN}:{rest}"
    if line.lstrip().startswith("help:"):
        return f"{GREEN}{line}{PLAIN}"
    gutter, bar, rest = line.partition("|")
    if bar and (not gutter.strip() or gutter.strip().isdigit()):
        marks = rest.strip()[:1] in ("^", "-") and not gutter.strip()
        return f"{BLUE}{gutter}{bar}{PLAIN}" + (f"{BOLD_RED}{rest}{PLAIN}" if marks else rest)
    if line.lstrip().startswith(("-->", ":::")):
        return f"{BLUE}{line}{PLAIN}"
    return line


def as_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, Any]]:
    return [to_json(d) for d in diagnostics]


def write_json(document: dict[str, Any]) -> None:
    """One document on standard output; a number that is not finite must have become null before."""
    print(json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1))
