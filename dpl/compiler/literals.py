"""Declarations as Python text: constructor calls and literals, over as few lines as the width allows."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import Any, cast

WIDTH = 118


@dataclass(frozen=True)
class Make:
    """A constructor call of `runtime/spec.py`; arguments that equal `None` are left out."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Code:
    """A Python expression, such as a function's name."""

    text: str


@dataclass(frozen=True)
class Numbers:
    """A tuple of numbers, as many a line as fit."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class Packed:
    """The call of a function with one long text of letters, digits, `+`, `/` and `=`."""

    function: str
    text: str


def text_of(value: Any) -> str:
    """The literal on one line."""
    match value:
        case Make(name, arguments):
            inner = ", ".join(f"{k}={text_of(v)}" for k, v in arguments.items() if v is not None)
            return f"{name}({inner})"
        case Code(text):
            return text
        case tuple():
            parts = cast("tuple[Any, ...]", value)
            items = [text_of(v) for v in parts]
            return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
        case dict():
            entries = cast("dict[str, Any]", value)
            return "{" + ", ".join(f"{quoted(k)}: {text_of(v)}" for k, v in entries.items()) + "}"
        case Numbers(values):
            return text_of(values)
        case Packed(function, text):
            return f'{function}("{text}")'
        case float() if not math.isfinite(value):
            return f"float({quoted(str(value))})"
        case str():
            return quoted(value)
        case _:
            return repr(value)


def quoted(text: str) -> str:
    """The literal in double quotes, escaped as Python does."""
    body = repr(text + "'")[1:-1]
    return f'"{body[:-1]}"' if '"' not in text else repr(text)


def assigned(name: str, value: Any) -> list[str]:
    """`name = literal`, over as few lines as the width allows."""
    first, *rest = _pretty(value, "")
    return [f"{name} = {first}", *rest]


def _pretty(value: Any, indent: str, spent: int = 20) -> list[str]:
    text = text_of(value)
    if len(indent) + len(text) + spent <= WIDTH:
        return [text]
    match value:
        case Make(name, arguments):
            items = [(f"{key}=", item) for key, item in arguments.items() if item is not None]
            return _bracketed(f"{name}(", items, indent)
        case Numbers(values):
            return ["(", *_filled([text_of(v) for v in values], indent + "    "), f"{indent})"]
        case Packed(function, text):
            width = WIDTH - len(indent) - 6
            pieces = (text[i : i + width] for i in range(0, len(text), width))
            return [f"{function}(", *(f'{indent}    "{piece}"' for piece in pieces), f"{indent})"]
        case tuple() if value:
            parts = cast("tuple[Any, ...]", value)
            return _bracketed("(", [("", item) for item in parts], indent)
        case _:
            return [text]


def _filled(items: list[str], indent: str) -> list[str]:
    """As many items a line as fit."""
    wrapped = textwrap.wrap(", ".join(items) + ",", WIDTH - len(indent), break_long_words=False, break_on_hyphens=False)
    return [indent + line for line in wrapped]


def _bracketed(opening: str, items: list[tuple[str, Any]], indent: str) -> list[str]:
    """One item a line, each after its key."""
    deeper = indent + "    "
    lines = [opening]
    for key, item in items:
        first, *rest = _pretty(item, deeper, len(key) + 1)
        lines += [f"{deeper}{key}{first}", *rest]
        lines[-1] += ","
    return [*lines, f"{indent})"]
