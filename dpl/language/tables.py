"""The parser's tables, made by Lark from `grammar/dpl.lark` and kept in the user's cache directory.

The only module that imports Lark, and it does so only where the cache has no tables for this grammar.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from dpl.cache import folder as cache_folder

FORMAT = 1  # of the cached file: count up when `Tables` or `_generate` change


@dataclass(frozen=True)
class Rule:
    """A production: how many symbols it takes off the stack, which of them it keeps, and what becomes of them."""

    origin: str
    size: int
    take: tuple[int, ...]
    """Places of the symbols to keep, in order; `NOTHING` stands for an optional one that is absent, and
    `SPLICE + place` for a list whose items are taken."""
    action: str | None
    """The method of the tree to call with what is kept; None leaves a list, or what a transparent rule keeps."""
    transparent: bool
    """The single symbol kept stands for itself."""


NOTHING = -1
SPLICE = 1_000


@dataclass(frozen=True)
class Tables:
    """LALR(1) tables. An entry of a state is the next state, or `-1 - rule` to reduce by that rule."""

    literals: dict[str, str]
    """Keywords and operators as written, each with the name of its terminal."""
    patterns: dict[str, str]
    """The other terminals, each with its regular expression."""
    start: int
    end: int
    states: tuple[dict[str, int], ...]
    rules: tuple[Rule, ...]


@cache
def load() -> Tables:
    """The tables of the grammar, from the cache if they are there."""
    grammar = _grammar_path().read_text(encoding="utf-8")
    path = _cache_path(grammar)
    tables = _read(path) if path else None
    if tables is None:
        tables = _generate(grammar)
        if path:
            _write(path, tables)
    return tables


def _grammar_path() -> Path:
    """In an installed package `dpl/grammar`; in a checkout that is a link, which not every file system can hold."""
    package = Path(__file__).resolve().parent.parent
    places = [root / "grammar" / "dpl.lark" for root in (package, package.parent)]
    return next((place for place in places if place.is_file()), places[0])


# ---------------------------------------------------------------- the cache


def _cache_path(grammar: str) -> Path | None:
    """Where the tables of this grammar are kept; None if this user has no home."""
    key = hashlib.sha256(f"{FORMAT}\n{sys.version_info[:2]}\n{grammar}".encode()).hexdigest()[:24]
    folder = cache_folder()
    return folder / f"grammar-{key}.json" if folder else None


def _read(path: Path) -> Tables | None:
    """The tables in a file that `_write` made; None if it is not there or not whole."""
    try:
        digest, _, text = path.read_text(encoding="utf-8").partition("\n")
        if digest != _digest(text):
            return None
        data = json.loads(text)
        rules = tuple(Rule(origin, size, tuple(take), *rest) for origin, size, take, *rest in data.pop("rules"))
        return Tables(rules=rules, states=tuple(data.pop("states")), **data)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _write(path: Path, tables: Tables) -> None:
    """Keep the tables, all or nothing; a cache that cannot be written is done without."""
    import tempfile  # 4 ms, and needed once

    data = asdict(tables) | {"rules": [tuple(asdict(rule).values()) for rule in tables.rules]}
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            file.write(f"{_digest(text)}\n{text}")
        try:
            os.replace(file.name, path)
        except OSError:
            os.unlink(file.name)
    except OSError:
        pass


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# ---------------------------------------------------------------- Lark


def _generate(grammar: str) -> Tables:
    """The tables, from Lark's analysis of the grammar. Everything untyped of Lark's stays in this function."""
    from lark import Lark  # 50 ms, and needed once per user and version

    lark = cast(Any, Lark(grammar, parser="lalr", lexer="basic", maybe_placeholders=True))
    table = lark.parser.parser._parse_table
    number = {rule: n for n, rule in enumerate(lark.rules)}
    states: list[dict[str, int]] = [{} for _ in table.states]
    for state, entries in table.states.items():
        for symbol, (action, argument) in entries.items():
            states[state][symbol] = argument if action.name == "Shift" else -1 - number[argument]
    terminals = [(t.name, t.pattern.type, t.pattern.value) for t in lark.terminals]
    return Tables(
        literals={value: name for name, kind, value in terminals if kind == "str"},
        patterns={name: value for name, kind, value in terminals if kind == "re"},
        start=table.start_states["start"],
        end=table.end_states["start"],
        states=tuple(states),
        rules=tuple(_rule(rule) for rule in lark.rules),
    )


def _rule(rule: Any) -> Rule:
    """A rule as Lark's own tree builder reads it: what is filtered, spliced and put in for absent options."""
    options = rule.options
    origin = str(rule.origin.name)
    absent = [len(run) for run in "".join("01"[flag] for flag in options.empty_indices).split("0")]
    absent = absent if options.empty_indices else [0] * (len(rule.expansion) + 1)
    take: list[int] = []
    for place, symbol in enumerate(rule.expansion):
        take += [NOTHING] * absent[place]
        if options.keep_all_tokens or not (symbol.is_term and symbol.filter_out):
            spliced = not symbol.is_term and symbol.name.startswith("_")
            take.append(SPLICE + place if spliced else place)
    take += [NOTHING] * absent[-1]
    transparent = bool(options.expand1) and not rule.alias and len(take) == 1
    action = None if transparent or origin.startswith("_") else str(rule.alias or origin)
    return Rule(origin, len(rule.expansion), tuple(take), action, transparent)
