"""Text to tokens: one pass that finds words, numbers and signs, then brackets, lines and sizes made sure of.

What `tokenize` returns has balanced brackets, separators where statements end, and bounded depth, whatever the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from dpl.language import tables, words
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.source import Source, Span

MOST_CHARACTERS = 1 << 21
MOST_NESTED = 200
MOST_OPERATORS = 2_000
LONGEST_NUMBER = 400
LONGEST_NAME = 100


@dataclass(slots=True)
class Token:
    """A piece of the text. `kind` is its terminal in the grammar, `keyword` the one it is where a rule has that."""

    kind: str
    text: str
    start: int
    end: int
    keyword: str | None = None
    opens_line: bool = False


OPENERS = {"(": ")", "[": "]", "{": "}"}
CLOSERS = {")": "(", "]": "[", "}": "{"}
_BINARY = frozenset("+ - * / ^ @ = == != < <= > >= ~ := -> and or".split())
_CONTINUES_AFTER = _BINARY | frozenset("{ , ; not if then else in for".split())
_CONTINUES_BEFORE = _BINARY | frozenset("} { , .. then else in for".split())
_PREFIX = frozenset(("-", "+", "not"))

# signs of other languages and of typography, each with what it is here
_FOREIGN = {
    "**": ("^", "use `^` for powers, not `**`"),
    "&&": ("and", "use `and`, not `&&`"),
    "||": ("or", "use `or`, not `||`"),
    "&": ("and", "use `and`, not `&`"),
    "|": ("or", "use `or`, not `|`"),
    "!": ("not", "use `not`, not `!`"),
    "<>": ("!=", "use `!=`, not `<>`"),
    "===": ("==", "use `==`, not `===`"),
    "=<": ("<=", "use `<=`, not `=<`"),
    "=>": (">=", "use `>=` to compare, `->` before results"),
    "−": ("-", "write `-`"),
    "–": ("-", "write `-`"),
    "—": ("-", "write `-`"),
    "×": ("*", "write `*`"),
    "·": ("*", "write `*`"),
    "⋅": ("*", "write `*`"),
    "÷": ("/", "write `/`"),
    "≤": ("<=", "write `<=`"),
    "≥": (">=", "write `>=`"),
    "≠": ("!=", "write `!=`"),
    "→": ("->", "write `->`"),
    "′": ("'", "write `'` for a time derivative"),
    "’": ("'", 'write `\'` for a time derivative, and text in double quotes: `"…"`'),
    "∞": ("inf", "write `inf`"),
}
_QUOTES = "“”„«»‘`"


def tokenize(source: Source) -> tuple[list[Token], list[Diagnostic]]:
    """The tokens and what is wrong with them. Raises `CompileError` where going on is of no use."""
    if len(source.text) > MOST_CHARACTERS:
        raise CompileError([too_large(source)])
    problems: list[Diagnostic] = []
    tokens = list(_scan(source, problems))
    tokens = _separated(_balanced(source, tokens, problems))
    if excess := _check_sizes(source, tokens):
        raise CompileError([*problems, excess])
    return tokens, problems


# ---------------------------------------------------------------- pieces


@cache
def _master() -> re.Pattern[str]:
    known = tables.load()
    signs = [sign for sign in known.literals if not sign.isidentifier()] + list(_FOREIGN)
    longest_first = sorted(signs, key=len, reverse=True)
    kinds = {
        "BLANK": r"[ \t]+|\r(?=\n)|^\ufeff",
        "COMMENT": r"#[^\n]*",
        "LINE": r"\n",
        **{kind: known.patterns[kind] for kind in ("DOC", "STRING")},
        "OPEN_DOC": r'"""[\s\S]*',
        "OPEN_STRING": r'"[^"\n]*',
        **{kind: known.patterns[kind] for kind in ("NUMBER", "NAME", "SUPERSCRIPT")},
        "_SEP": r";[;\s]*",
        "SIGN": "|".join(re.escape(sign) for sign in longest_first),
        "STRAY": r"[\s\S]",
    }
    return re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in kinds.items()))


def _scan(source: Source, problems: list[Diagnostic]) -> Iterator[Token]:
    """The pieces of the text. Wrong ones are reported and mended, so that the rest is understood."""
    literals = tables.load().literals
    opens_line = True
    previous = Token("", "", 0, 0)
    for match in _master().finditer(source.text):
        kind, text, start, end = str(match.lastgroup), match[0], match.start(), match.end()
        if kind in ("BLANK", "COMMENT"):
            continue
        if kind == "LINE":
            opens_line = True
            continue
        token = Token(kind, text, start, end, None, opens_line)
        span = Span(source, start, end)
        if kind == "NAME":
            if not text.isascii():
                token.text = text = unicodedata.normalize("NFKC", text)
            if len(text) > LONGEST_NAME:
                problems.append(long_name(Span(source, start, start + LONGEST_NAME)))
                token.text = text = text[:LONGEST_NAME]
            if previous.text != ".":
                token.keyword = literals.get(text)
            if previous.kind == "NUMBER" and previous.end == start:
                problems.append(malformed_number(Span(source, previous.start, end), previous.text, text))
                continue
        elif kind == "NUMBER":
            if problem := _number_problem(span):
                problems.append(problem)
                token.text = "1"
            elif _as_float(text) == 0:  # an exact 0e999999999 takes forever to make
                token.text = "0"
        elif kind == "_SEP":
            token.text, token.end = ";", start + 1
        elif kind == "SIGN":
            if text in _FOREIGN:
                mended, help = _FOREIGN[text]
                problems.append(foreign_sign(span, help))
                token.text = text = mended
            if text.isidentifier():
                token.kind, token.keyword = "NAME", literals.get(text)
            else:
                token.kind = literals[text]
        elif kind.startswith("OPEN_"):
            problems.append(unterminated(span, kind == "OPEN_DOC"))
            token.kind = "DOC" if kind == "OPEN_DOC" else "STRING"
        elif kind == "STRAY":
            problems.append(stray_character(span))
            continue
        opens_line = kind == "_SEP" and "\n" in text
        yield token
        previous = token


def _number_problem(span: Span) -> Diagnostic | None:
    """What keeps a number from being a 64-bit float; asked before anything exact is made of it."""
    text = span.text
    if len(text) > LONGEST_NUMBER:
        return Diagnostic("number-too-long", f"a number has at most {LONGEST_NUMBER} characters", Label(span))
    value = _as_float(text)
    if value == float("inf"):
        return Diagnostic("number-too-large", "a number is at most about 1.8e308", Label(span))
    if value == 0 and any(digit in "123456789" for digit in re.split("[eE]", text)[0]):
        return Diagnostic("number-too-small", "a number other than 0 is at least about 5e-324", Label(span))
    return None


def _as_float(number: str) -> float:
    return float(number.replace("_", "")) if number.isascii() else unicodedata.numeric(number)


# ---------------------------------------------------------------- brackets


def _balanced(source: Source, tokens: list[Token], problems: list[Diagnostic]) -> list[Token]:
    """The tokens with every bracket closed: the missing are put in, the surplus left out, and both reported."""
    out: list[Token] = []
    stack: list[Token] = []
    short_of_braces = sum(t.text == "{" for t in tokens) > sum(t.text == "}" for t in tokens)
    opens_line = False
    suspect: Span | None = None

    def close(keep: int) -> None:
        while len(stack) > keep:
            opener = stack.pop()
            problems.append(never_closed(Span(source, opener.start, opener.end), suspect))
            out.append(_sign(OPENERS[opener.text], out[-1].end))

    for place, token in enumerate(tokens):
        token.opens_line |= opens_line
        opens_line = False
        if short_of_braces and token.opens_line and _opens_item(tokens, place):
            close(0)
        elif token.text == "{" or (token.opens_line and _opens_statement(tokens, place)):
            close(_innermost(stack, "{"))
        if token.text in OPENERS:
            stack.append(token)
            if len(stack) > MOST_NESTED:
                raise CompileError([*problems, too_deep(Span(source, token.start, token.end))])
        elif token.text in CLOSERS:
            keep = _innermost(stack, CLOSERS[token.text])
            if not keep or (token.text != "}" and keep < _innermost(stack, "{")):
                problems.append(never_opened(Span(source, token.start, token.end)))
                opens_line = token.opens_line
                continue
            close(keep)
            opener = stack.pop()
            if token.opens_line and suspect is None and _indent(source, opener.start) > _indent(source, token.start):
                suspect = Span(source, opener.start, opener.end)
        out.append(token)
    close(0)
    return out


def _indent(source: Source, offset: int) -> int:
    """How far the line of a place is indented."""
    start = source.text.rfind("\n", 0, offset) + 1
    return len(source.text[start:offset]) - len(source.text[start:offset].lstrip())


def _innermost(stack: list[Token], text: str) -> int:
    """How many brackets are open up to the innermost `text`, itself included."""
    return next((n for n in range(len(stack), 0, -1) if stack[n - 1].text == text), 0)


def _opens_item(tokens: list[Token], place: int) -> bool:
    """Whether something begins here that stands only at the top of a file, so that no brace can be open."""
    first, second, third = (tokens[n].text if n < len(tokens) else "" for n in range(place, place + 3))
    if first == "from":
        return third == "import"
    return first in words.BLOCKS and second.isidentifier() and third in ("{", "every", "like", "(")


def _opens_statement(tokens: list[Token], place: int) -> bool:
    """Whether a statement surely begins here, so that no parenthesis can be open."""
    second = tokens[place + 1].text if place + 1 < len(tokens) else ""
    return tokens[place].text in words.STATEMENTS and second.isidentifier() and second not in words.OPERATORS


def _sign(text: str, place: int) -> Token:
    return Token(tables.load().literals[text], text, place, place)


# ---------------------------------------------------------------- lines


def _separated(tokens: list[Token]) -> list[Token]:
    """The tokens with one `;` wherever a statement ends."""
    out: list[Token] = []
    open_brackets: list[str] = []
    for token in tokens:
        statements = not open_brackets or open_brackets[-1] == "{"
        if token.opens_line and out and statements and _ends_line(out[-1], token):
            out.append(_sign(";", out[-1].end))
        if token.text in OPENERS:
            open_brackets.append(token.text)
        elif token.text in CLOSERS:
            open_brackets.pop()
        if token.kind != "_SEP" or (out and out[-1].kind != "_SEP"):
            out.append(token)
    return out


def _ends_line(last: Token, first: Token) -> bool:
    """Whether a statement ends between the last token of a line and the first of the next."""
    return _word_or_sign(last) not in _CONTINUES_AFTER and _word_or_sign(first) not in _CONTINUES_BEFORE


def _word_or_sign(token: Token) -> str:
    """The text, unless it is a name: after a dot any word is."""
    return "" if token.kind == "NAME" and token.keyword is None else token.text


# ---------------------------------------------------------------- sizes


@dataclass(slots=True)
class _Level:
    """What is open within one bracket, so that the next operand will stand inside it."""

    ifs: int = 0
    tight: int = 0
    """Prefix signs and `^`."""
    chain: int = 0
    """Operators that group to the left: each holds all that is before it."""


def _check_sizes(source: Source, tokens: list[Token]) -> Diagnostic | None:
    """The first place that is nested too deep, or has too many operators in a row. Later passes recurse."""
    levels = [_Level()]
    depth = length = 0
    previous = Token("", "", 0, 0)
    for token in tokens:
        text, level = _word_or_sign(token), levels[-1]
        prefix = text in _PREFIX and not _ends_operand(previous)
        postfix = text in (".", "'") or (text in ("(", "[") and _ends_operand(previous))
        if text in (",", ";") or text in CLOSERS:
            depth -= level.ifs + level.tight
            length -= level.chain
            levels[-1] = _Level()
        elif text == "if":
            depth += 1
            level.ifs += 1
        elif prefix or text == "^":
            depth += 1
            level.tight += 1
        elif text in _BINARY:
            depth -= level.tight
            level.tight = 0
        if (text in _BINARY and not prefix) or postfix:
            length += 1
            level.chain += 1
        if text in OPENERS:
            depth += 1
            levels.append(_Level())
        elif text in CLOSERS:
            depth -= 1
            levels.pop()
        if depth > MOST_NESTED:
            return too_deep(Span(source, token.start, token.end))
        if length > MOST_OPERATORS:
            return too_long(Span(source, token.start, token.end))
        previous = token
    return None


def _ends_operand(token: Token) -> bool:
    kind, text = token.kind, _word_or_sign(token)
    return (
        kind in ("NUMBER", "SUPERSCRIPT")
        or text in (")", "]", "'")
        or (kind == "NAME" and text not in _CONTINUES_AFTER)
    )


# ---------------------------------------------------------------- what may be wrong


def too_large(source: Source) -> Diagnostic:
    at_start = Label(Span(source, 0, 0))
    return Diagnostic("file-too-large", f"a file has at most {MOST_CHARACTERS:,} characters", at_start)


def long_name(span: Span) -> Diagnostic:
    return Diagnostic("name-too-long", f"a name has at most {LONGEST_NAME} letters", Label(span, "is longer"))


def too_deep(span: Span) -> Diagnostic:
    message = f"this is nested more than {MOST_NESTED} levels deep"
    return Diagnostic("too-deep", message, Label(span), help="give the inner part a name with `let`")


def too_long(span: Span) -> Diagnostic:
    message = f"an expression has at most {MOST_OPERATORS:,} operators"
    return Diagnostic("too-long", message, Label(span), help="split it with `let`, or use an array and `sum`")


def never_closed(opener: Span, suspect: Span | None = None) -> Diagnostic:
    """`suspect` is a brace whose partner stands further left than its line: likely it took the one of this."""
    related = (Label(suspect, "perhaps this one: its `}` is indented less"),) if suspect and opener.text == "{" else ()
    label = Label(opener, f"needs a `{OPENERS[opener.text]}`")
    return Diagnostic("unclosed", f"this `{opener.text}` is never closed", label, related)


def never_opened(closer: Span) -> Diagnostic:
    return Diagnostic("unopened", f"this `{closer.text}` has no `{CLOSERS[closer.text]}`", Label(closer))


def unterminated(span: Span, doc: bool) -> Diagnostic:
    end = '"""' if doc else '"'
    what = "docstring" if doc else "text"
    opening = Span(span.source, span.start, span.start + len(end))
    return Diagnostic("unterminated-text", f"this {what} has no closing `{end}`", Label(opening, "begins here"))


def malformed_number(span: Span, number: str, rest: str) -> Diagnostic:
    if rest.startswith("_"):
        help = "`_` stands only between digits: `1_000`"
    elif rest[0] in "eE" and not rest[1:].strip("0123456789_"):
        help = "an exponent is a whole number: `1e-3`"
    else:
        help = f"write `{number}*{rest}` for a product, `{number} [{rest}]` for a unit"
    return Diagnostic("malformed-number", f"`{span.text}` is no number", Label(span), help=help)


def foreign_sign(span: Span, help: str) -> Diagnostic:
    return Diagnostic("unknown-operator", f"`{span.text}` is not an operator of DPL", Label(span), help=help)


def stray_character(span: Span) -> Diagnostic:
    character = span.text
    name = unicodedata.name(character, f"U+{ord(character):04X}").lower()
    shown = (
        f"`{character}`" if character.isprintable() and not character.isspace() else "a character that cannot be seen"
    )
    help = {
        "$": "names have no sign before them",
        "?": "write `if … then … else …`",
        "\\": "lines continue after an operator",
    }
    text = 'text goes in straight double quotes: `"…"`' if character in _QUOTES else help.get(character)
    return Diagnostic("stray-character", f"{shown} ({name}) means nothing here", Label(span), help=text)
