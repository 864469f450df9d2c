"""Readable ASCII names for the symbols of a scenario: `θ` becomes `theta`, `cart.x'` becomes `x_dot`.

Nothing of a user's text reaches the generated code except through here; names never clash with each other, with
Python's words or with what the generated module imports.
"""

from __future__ import annotations

import builtins
import keyword
import unicodedata
from collections import Counter
from collections.abc import Iterable

_OURS = (
    "jnp dpl groups networks noise packed roots spec MODULE time states sampled held fixed values reduced row runs "
    "unknowns"
)
RESERVED = frozenset((*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *_OURS.split()))


def identifier(text: str) -> str:
    """A Python identifier that reads like the text."""
    result = "".join(_ascii(c) for c in text)
    while "__" in result:
        result = result.replace("__", "_")
    result = result.strip("_") or "value"
    return f"n{result}" if result[0].isdigit() else result


def _ascii(character: str) -> str:
    if character.isascii():
        return character if character.isalnum() else "_"
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    name = unicodedata.name(character, "")
    if "LETTER" in name or "SYMBOL" in name:
        words = name.split()
        last = next((w for w in reversed(words) if w.isalpha() and w not in ("SYMBOL", "WITH", "FINAL")), "")
        if name.startswith(("GREEK", "MATHEMATICAL")) and last:
            last = last.replace("LAMDA", "LAMBDA")  # as Unicode spells it
            return last.capitalize() if "CAPITAL" in words else last.lower()
    plain = unicodedata.normalize("NFKD", character)
    kept = "".join(c for c in plain if c.isascii() and c.isalnum())
    return kept or f"u{ord(character):x}"


class Names:
    """Unique names, given out in a fixed order."""

    def __init__(self, taken: Iterable[str] = (), reserved: frozenset[str] = RESERVED):
        self._reserved, self._taken = reserved, set(reserved) | set(taken)

    def unique(self, wish: str) -> str:
        """The wish, or the wish with a number where it is taken."""
        name, count = (f"{wish}_" if wish in self._reserved else wish), 2
        while name in self._taken:
            name, count = f"{wish}_{count}", count + 1
        self._taken.add(name)
        return name


def readable(path: str) -> str:
    """An identifier for a path of quantities, primes and all: `cart.x'` becomes `cart_x_dot`."""
    return _wish(path, short=False)


def symbol_names(symbols: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """A Python name for each symbol's text; short where the last part of a path tells it apart."""
    ordered = list(dict.fromkeys(symbols))
    short = Counter(_wish(s, short=True) for s in ordered)
    names = Names(taken)
    result: dict[str, str] = {}
    for symbol in ordered:
        wish = _wish(symbol, short=True)
        result[symbol] = names.unique(wish if short[wish] == 1 else _wish(symbol, short=False))
    return result


def _wish(symbol: str, *, short: bool) -> str:
    word, _, rest = symbol.partition(" ")
    if rest and word in _FORMS:
        return _FORMS[word].format(rest if rest.isdigit() else _wish(rest, short=short))
    path = symbol.rstrip("'")
    order = len(symbol) - len(path)
    base = identifier(path.rsplit(".", 1)[-1] if short else path.replace(".", "_"))
    return f"{base}_{_PRIMES.get(order, f'd{order}')}" if order else base


_PRIMES = {1: "dot", 2: "ddot"}
_FORMS = {
    "next": "next_{}",
    "start": "{}_start",
    "weights": "{}_weights",
    "points": "{}_points",
    "invariant": "k{}",
    "shared": "s{}",
    "inner": "inner_{}",
    "reduced": "{}",
    "measure": "{}",
    "inertia": "{}_inertia",
    "slope": "{}_slope",
    "partial": "partial_{}",
    "mobility": "{}_mobility",
    "factor": "{}_factor",
    "load": "{}_load",
    "sum": "{}_sum",
    "step": "{}_step",
    "projected": "{}_projected",
    "vector": "vector_{}",
    "constants": "{}_constants",
    "operand": "a{}",
    "group": "g{}",
    "sums": "sums_{}",
    "joined": "joined_{}",
    "kept": "kept_{}",
    "result": "r{}",
}
GROUPING_WORDS = ("vector", "constants", "operand", "group", "sums", "joined", "kept", "result")
