"""A token that no rule has a place for, said in words."""

from __future__ import annotations

from dataclasses import dataclass

from dpl.language.diagnostics import Diagnostic, Label
from dpl.language.lexer import Token
from dpl.language.source import Source, Span


@dataclass(frozen=True)
class Mistake:
    """What is wrong, and the keyword that the statement should have begun with if that is all."""

    diagnostic: Diagnostic
    word: str | None = None


def explain(source: Source, tokens: list[Token], start: int, place: int, accepted: set[str]) -> Mistake:
    """The mistake at `tokens[place]` of the statement that begins at `tokens[start]`."""
    token = tokens[place]
    return Mistake(Diagnostic("syntax", f"`{token.text}` unexpected; {sorted(accepted)}", Label(Span(source, token.start, token.end))))
