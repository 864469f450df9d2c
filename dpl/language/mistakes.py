"""A token that no rule has a place for, said in words.

`explain` tries what people do write, most telling first, and ends in what was expected; it always has an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from dpl.language import words
from dpl.language.diagnostics import Diagnostic, Label
from dpl.language.lexer import CLOSERS, OPENERS, Token
from dpl.language.source import Source, Span


@dataclass(frozen=True)
class Mistake:
    """What is wrong, and the keyword that the statement should have begun with if that is all."""

    diagnostic: Diagnostic
    word: str | None = None


@dataclass(frozen=True)
class _Place:
    """The token that does not fit, its statement, and what would have fitted: words, signs and kinds of terminals."""

    source: Source
    tokens: list[Token]
    start: int
    place: int
    accepted: set[str]

    def at(self, offset: int) -> Token:
        place = self.place + offset
        return self.tokens[place] if 0 <= place < len(self.tokens) else Token("", "", 0, 0)

    @property
    def token(self) -> Token:
        return self.at(0)

    @property
    def before(self) -> Token:
        return self.at(-1)

    @property
    def first(self) -> Token:
        return self.tokens[self.start]

    @property
    def opens(self) -> bool:
        """Whether this token begins its statement."""
        return self.place == self.start

    @property
    def ends(self) -> bool:
        """Whether the statement ends here: a line's end, a brace, the end of the file."""
        return self.token.kind in ("_SEP", "$END") or self.token.text == "}"

    @property
    def bracket(self) -> str:
        """The innermost bracket that the statement has open here."""
        stack: list[str] = []
        for token in self.tokens[self.start : self.place]:
            if token.text in OPENERS:
                stack.append(token.text)
            elif token.text in CLOSERS and stack:
                stack.pop()
        return stack[-1] if stack else ""

    @property
    def wants_expression(self) -> bool:
        return {"NAME", "NUMBER", "("} <= self.accepted

    def span(self, token: Token) -> Span:
        return Span(self.source, token.start, token.end)

    def wrong(self, code: str, message: str, help: str | None = None, token: Token | None = None) -> Diagnostic:
        return Diagnostic(code, message, Label(self.span(token or self.token)), help=help)


def explain(source: Source, tokens: list[Token], start: int, place: int, accepted: set[str]) -> Mistake:
    """The mistake at `tokens[place]` of the statement that begins at `tokens[start]`."""
    here = _Place(source, tokens, start, place, accepted)
    if opening := _opening_word(here):
        return opening
    found = (check(here) for check in _CHECKS)
    return Mistake(next((diagnostic for diagnostic in found if diagnostic), None) or _unexpected(here))


# ---------------------------------------------------------------- how statements begin

_ELSEWHERE = {
    "def": "a function is `fn name(x) = …`",
    "function": "a function is `fn name(x) = …`",
    "class": "a block of equations is `model Name { … }`",
    "import": "write `from file import Name`",
    "var": "declare with `state`, `let` or `param`",
    "variable": "declare with `state`, `let` or `param`",
    "real": "declare with `state`, `let` or `param`, the unit after a `:`",
    "return": "what the outside may read is an `output`",
    "equation": "an equation needs no word before it",
    "while": "there are no loops: write equations, or `for i in 0..n` after one",
    "if": "write `let a = if c then x else y`; what happens at an instant is `when c { … }`",
    "for": "`for i in 0..n` comes at the end of an equation",
    "print": "ask a task to `show` or `plot` it",
    "control": "this task is not part of the language yet",
    "posterior": "this task is not part of the language yet",
    "sweep": "this task is not part of the language yet",
    "linearize": "this task is not part of the language yet",
}


def _opening_word(here: _Place) -> Mistake | None:
    """A statement that begins with a word that begins none here: nothing else of it was understood."""
    follows = here.token.kind == "NAME" or here.token.text in words.RESERVED
    read_as_name = here.place == here.start + 1 and {"'", "="} & here.accepted and follows
    if here.first.kind != "NAME" or not (here.opens or read_as_name):
        return None
    word = here.first.text
    in_actions, in_task, in_file = ":=" in here.accepted, "on" in here.accepted, "scenario" in here.accepted

    def wrong(code: str, message: str, help: str | None = None, meant: str | None = None) -> Mistake:
        return Mistake(here.wrong(code, message, help, here.first), meant)

    if word in _ELSEWHERE:
        return wrong("unknown-statement", f"`{word}` begins no statement", _ELSEWHERE[word])
    if place := _where(word, in_task, in_file):
        return wrong("misplaced-statement", f"`{word}` stands only {place}")
    if in_file and any(token.text in ("=", "'") for token in here.tokens[here.start + 1 : here.start + 3]):
        return wrong("misplaced-statement", "an equation stands only in a model or scenario")
    if here.opens:
        known = {text for text in here.accepted if text.isidentifier() and text.islower()}
    else:
        known = {"go", "stop"} if in_actions else words.STATEMENTS - {"go", "stop"}
    if close := get_close_matches(word, sorted(known), n=1, cutoff=0.65):
        return wrong("misspelt-keyword", f"`{word}` begins no statement", f"did you mean `{close[0]}`?", close[0])
    what = "clause of a task" if in_task else "item of a file" if in_file else "statement"
    help = None if in_task or in_file else "a statement is an equation, or begins with its keyword"
    return wrong("unknown-statement", f"`{word}` begins no {what}", help)


def _where(word: str, in_task: bool, in_file: bool) -> str | None:
    """Where a word that begins statements may do so, if that is not here."""
    if word in ("loss", "metric", "given", "run", "observe"):
        return "in a scenario"
    if word in ("go", "stop"):
        return "in the actions of an event, `when … { … }`"
    if in_file or in_task:
        if word in words.STATEMENTS - words.ITEMS:
            return "in a model or scenario"
        if in_task and word in words.ITEMS:
            return "outside tasks"
        return "in a task" if in_file and word in words.CLAUSES else None
    if word in words.ITEMS - words.STATEMENTS:
        return "at the top of a file"
    return "in a task" if word in words.CLAUSES else None


# ---------------------------------------------------------------- what people do write


def _docstring(here: _Place) -> Diagnostic | None:
    if here.token.kind == "DOC":
        return here.wrong("misplaced-docstring", "a docstring comes first in a file or block", "use `#` for comments")
    return None


def _statement_start(here: _Place) -> Diagnostic | None:
    if here.opens and not here.ends and not here.token.text[0].isalnum():
        return statement_start(here.span(here.token))
    return None


def _equality(here: _Place) -> Diagnostic | None:
    sign, accepted = here.token.text, here.accepted
    if sign == "==" and ("=" in accepted or ":=" in accepted):
        meant = "=" if "=" in accepted else ":="
        return here.wrong("wrong-equals", f"`==` compares; this needs `{meant}`", f"did you mean `{meant}`?")
    if sign in ("=", "==", ":=") and "~" in accepted and here.first.text in ("observe", "noise"):
        message = f"`{here.first.text}` says how a value is distributed, with `~`"
        return here.wrong("wrong-equals", message, "did you mean `~`?")
    if sign == "=" and ":=" in accepted:
        return here.wrong("wrong-equals", "an event assigns with `:=`", "did you mean `:=`?")
    if sign == ":=" and "=" in accepted:
        return here.wrong("wrong-equals", "`:=` stands only in the actions of an event", "did you mean `=`?")
    if sign in ("+", "-", "*", "/") and ":=" in accepted and here.at(1).text == "=":
        state = here.before.text
        return here.wrong("wrong-equals", f"`{sign}=` is no operator", f"write `{state} := {state} {sign} …`")
    if sign == "=" and "==" in accepted:
        return here.wrong("wrong-equals", "equality is `==`; `=` here can only name an argument", "did you mean `==`?")
    return None


def _second_equals(here: _Place) -> Diagnostic | None:
    """An `=` too many: mostly a line that its first sign made part of the one before."""
    if here.token.text not in ("=", ":="):
        return None
    inside = here.tokens[here.start + 1 : here.place]
    if not any(token.text in ("=", ":=") for token in inside):
        return None
    glued = next((token for token in reversed(inside) if token.opens_line), None)
    if any(token.text == "if" for token in inside):
        return here.wrong("wrong-equals", "equality is `==`", "did you mean `==`?")
    help = f"a line that begins with `{glued.text}` continues the one before" if glued else "write two equations"
    return here.wrong("second-equals", f"this statement has a `{here.token.text}` already", help)


def _reserved(here: _Place) -> Diagnostic | None:
    """`state' = …`: a keyword where a name of one's own was meant."""
    word = here.before.text
    if (
        here.place == here.start + 1
        and word in words.RESERVED
        and here.token.text in ("=", "'", ".", "[", "^", "*", "/")
    ):
        message = f"`{word}` is a reserved word: choose another name"
        return here.wrong("reserved-word", message, None, here.before)
    return None


def _unit(here: _Place) -> Diagnostic | None:
    help = "units go in brackets directly after a number: `5 [m]`; a name never takes a unit"
    token, before = here.token, here.before
    if token.text == "[" and before.text == ":":
        return here.wrong("misplaced-unit", "the unit of a declaration has no brackets", "`param m: kg = 1`")
    if token.text == "[" and before.kind == "NAME" and here.at(-2).text in (":", "/", "*"):
        return here.wrong("misplaced-shape", "the shape of an array stands after its name", "`param up[2]: m/s = 9`")
    if token.text == "[" and (before.text in (")", "'") or before.kind == "SUPERSCRIPT"):
        return here.wrong("misplaced-unit", "a unit cannot follow an expression", help)
    if token.text == "%" and before.text == "[":
        return here.wrong("misplaced-unit", f"a unit cannot follow `{here.at(-2).text}`", help)
    if token.text in words.RESERVED - words.OPERATORS | words.ITEMS | words.CLAUSES and before.kind in (
        "NUMBER",
        "NAME",
    ):
        message = f"`{token.text}` begins a statement, but the one before it has not ended"
        return here.wrong("missing-separator", message, "begin a new line, or write `;` between them")
    if before.kind == "NUMBER" and token.kind == "NAME" and here.at(1).text in (":=", "=", "'"):
        message = f"a statement begins with `{token.text}`, but the one before it has not ended"
        return here.wrong("missing-separator", message, "begin a new line, or write `;` between them")
    if before.kind == "NUMBER" and (token.kind == "NAME" or token.text == "%") and token.text not in words.OPERATORS:
        message = f"`{token.text}` cannot follow a number"
        number = before.text
        return here.wrong("misplaced-unit", message, f"write `{number} [{token.text}]` or `{number}*{token.text}`")
    return None


def _range(here: _Place) -> Diagnostic | None:
    if here.token.text == "..":
        return here.wrong("misplaced-range", "`..` stands only after `in`, after `limit` and in an index")
    return None


def _point(here: _Place) -> Diagnostic | None:
    numbers = "NUMBER" in (here.before.kind, here.at(1).kind)
    if here.token.text == "." and numbers and "." not in here.accepted:
        message = "a number has digits on both sides of its point"
        return here.wrong("malformed-number", message, "`0.5`, not `.5`; `1.0` or `1`, not `1.`")
    return None


def _quote(here: _Place) -> Diagnostic | None:
    if here.token.text != "'":
        return None
    if here.before.text == ")":
        help = "give it a name with `let`, or write the derivative of each term"
        return here.wrong("misplaced-prime", "`'` follows a name, a member, a call or an index", help)
    if here.at(1).kind == "NAME":
        return here.wrong("misplaced-prime", "text goes in double quotes", "`'` is a time derivative: `x'`")
    return here.wrong("misplaced-prime", "`'` is a time derivative and follows what it is of", "`x' = v`")


def _block(here: _Place) -> Diagnostic | None:
    if "{" not in here.accepted or here.token.text == "{":
        return None
    if here.token.text == ":" or here.ends:
        place = here.token if here.token.text == ":" else here.before
        return here.wrong("missing-block", "the block of this statement is missing", "it goes in `{ }`", place)
    return None


def _comma(here: _Place) -> Diagnostic | None:
    if here.token.text == "for" and here.bracket == "(" and "," in here.accepted:
        help = "name the array, `const each[n] = … for i in 0..n-1`, and give that: `r = each`"
        return here.wrong("misplaced-for", "a named argument has no `for`", help)
    begins = here.token.kind in ("NAME", "NUMBER", "STRING") or here.token.text in ("(", "[")
    if begins and "," in here.accepted and here.bracket in ("(", "["):
        message = f"a comma or an operator is missing before `{here.token.text}`"
        return here.wrong("missing-comma", message)
    return None


def _condition(here: _Place) -> Diagnostic | None:
    for word in ("then", "else"):
        if word in here.accepted:
            message = f"this `if` has no `{word}`"
            return _gap(here, "incomplete-if", message, "`if c then a else b`; all three parts are needed")
    return None


def _operator_word(here: _Place) -> Diagnostic | None:
    """`2*if b then …`, `1 + not c`: read as a name, for want of a rule."""
    word = here.before
    if word.text not in words.OPERATORS or here.wants_expression or "'" not in here.accepted:
        return None
    if word.text in ("if", "not"):
        message = f"`{word.text}` within an expression needs parentheses"
        return here.wrong("bare-operator", message, "`2*(if c then a else b)`", word)
    return here.wrong("bare-operator", f"`{word.text}` does not fit here", None, word)


def _expression(here: _Place) -> Diagnostic | None:
    if not here.wants_expression:
        return None
    after = f" after `{here.before.text}`" if here.before.text else ""
    return _gap(here, "expected-expression", f"expected an expression{after}", _foreign_word(here.token))


def _name(here: _Place) -> Diagnostic | None:
    if "NAME" not in here.accepted or "=" in here.accepted:
        return None
    help = "a name begins with a letter" if here.token.kind == "NUMBER" else None
    return _gap(here, "expected-name", f"expected a name after `{here.before.text}`", help)


def _operator(here: _Place) -> Diagnostic | None:
    """Two things in a row."""
    if here.token.kind not in ("NAME", "NUMBER", "STRING") and here.token.text not in ("(", "{"):
        return None
    if not here.accepted & {"_SEP", "$END"}:
        return None
    what = "an operator or " if "*" in here.accepted else ""
    message = f"{what}the end of the statement is missing before `{here.token.text}`"
    return here.wrong("missing-operator", message, "a statement ends with its line or with `;`")


_CHECKS: tuple[Callable[[_Place], Diagnostic | None], ...] = (
    _docstring,
    _equality,
    _reserved,
    _second_equals,
    _statement_start,
    _point,
    _unit,
    _range,
    _quote,
    _operator_word,
    _condition,
    _block,
    _expression,
    _comma,
    _name,
    _operator,
)


def statement_start(sign: Span) -> Diagnostic:
    help = "a line continues with an operator at its end, or at the beginning of the next"
    return Diagnostic("statement-start", f"a statement cannot begin with `{sign.text}`", Label(sign), help=help)


# ---------------------------------------------------------------- what was expected

_KINDS = {"NAME": "a name", "NUMBER": "a number", "STRING": 'a text in `"…"`', "DOC": "a docstring"}


def _unexpected(here: _Place) -> Diagnostic:
    """What else could have come, in a few words."""
    kinds = [words for kind, words in _KINDS.items() if kind in here.accepted]
    signs = sorted(f"`{text}`" for text in here.accepted if not text.isupper() and text not in ("_SEP", "$END"))
    expected = kinds + signs
    after = f" after `{here.before.text}`" if here.before.text and not here.opens else ""
    if len(expected) > 5 or here.accepted & {"_SEP", "$END"}:
        return _gap(here, "unexpected", f"`{here.token.text}` does not fit{after}", None)
    listed = " or ".join(filter(None, [", ".join(expected[:-1]), expected[-1]]))
    return _gap(here, "unexpected", f"expected {listed}{after}", None)


def _gap(here: _Place, code: str, message: str, help: str | None) -> Diagnostic:
    """At the token, or just after the one before where the statement ends too early."""
    end = here.before.end if here.ends and here.place > here.start else None
    span = here.span(here.token) if end is None else Span(here.source, end, end)
    return Diagnostic(code, message, Label(span), help=help)


def _foreign_word(token: Token) -> str | None:
    known = {"*": "use `^` for powers, not `**`", "{": "sets are written `[a, b]`"}
    return known.get(token.text)
