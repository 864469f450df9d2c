"""Text to AST: `parse` returns the whole file or raises `CompileError` with all that is wrong with its form.

Nothing is looked up here: names, units and shapes are the business of later stages. Every node has the exact span of
its text.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dpl.language import lexer, mistakes, tables
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.lexer import Token
from dpl.language.source import Source, Span
from dpl.language.syntax import File
from dpl.language.tree import Tree

MOST_PROBLEMS = 20


def read(path: Path) -> Source:
    """The text of a file, named as the file is. Raises `CompileError` where it is not one that can be a program."""
    try:
        if path.exists() and not path.is_file():
            raise CompileError([unreadable(path, "it is not a file")])
        with path.open("rb") as file:
            data = file.read(lexer.MOST_CHARACTERS * 4 + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CompileError([unreadable(path, reason)]) from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CompileError([not_utf8(path, data, error.start)]) from None
    return Source(path.name, text, str(path))


def parse(source: Source) -> File:
    """The tree of a file. Raises `CompileError` with all its problems, up to twenty."""
    tokens, problems = lexer.tokenize(source)
    tree = Tree(source)
    file = _Parser(source, tokens, tree, problems).run()
    problems += tree.problems
    if file is None or problems:
        raise CompileError(sorted(problems, key=_offset)[:MOST_PROBLEMS])
    if not file.items:
        raise CompileError([empty(source)])
    return file


@dataclass(slots=True)
class _Mark:
    """Where a statement began: its first token, and the stacks before it."""

    place: int
    stacks: tuple[tuple[int, ...], tuple[Any, ...], tuple[tuple[int, int], ...]]


class _Parser:
    """The LALR(1) automaton, with a way to go on after a mistake.

    `states`, `values` and `spans` are its stack. `marks` has, for each open brace, where its last statement began: to
    go on, the stack goes back to what it was there and the tokens of the statement are passed over.
    """

    def __init__(self, source: Source, tokens: list[Token], tree: Tree, problems: list[Diagnostic]):
        end = len(source.text)
        self.tables = tables.load()
        self.source = source
        self.tokens = [*tokens, Token("$END", "", end, end)]
        self.problems = problems
        self.actions = [getattr(tree, rule.action) if rule.action else None for rule in self.tables.rules]
        self.states = [self.tables.start]
        self.values: list[Any] = []
        self.spans: list[tuple[int, int]] = []
        self.marks = [self.here(0)]
        self.resumed = -1
        self.terminals = {kind: kind for kind in ("$END", *self.tables.patterns)}
        self.terminals |= {kind: kind if text == ";" else text for text, kind in self.tables.literals.items()}

    def here(self, place: int) -> _Mark:
        return _Mark(place, (tuple(self.states), tuple(self.values), tuple(self.spans)))

    def run(self) -> File | None:
        """The file; None if a mistake was passed over."""
        place, sound = 0, True
        while place < len(self.tokens):
            token = self.tokens[place]
            if self.feed(token):
                self.mark(token, place)
                place += 1
            else:
                sound = False
                place = self.recover(place)
        return self.values[-1] if sound else None

    def feed(self, token: Token) -> bool:
        """Take a token: reduce by all the rules that end before it, then shift. False if no rule has it here."""
        states, values, spans = self.states, self.values, self.spans
        table, rules, actions, source = self.tables.states, self.tables.rules, self.actions, self.source
        while True:
            row = table[states[-1]]
            kind = token.keyword if token.keyword in row else token.kind
            entry = row.get(kind)
            if entry is None:
                return False
            if entry >= 0:
                states.append(entry)
                values.append(token)
                spans.append((token.start, token.end))
                return True
            rule = rules[-1 - entry]
            size = rule.size
            if rule.transparent and size == 1:  # most reductions: an operand passed up the ladder of precedence
                states[-1] = table[states[-2]][rule.origin]
                continue
            span = (spans[-size][0], spans[-1][1]) if size else (token.start, token.start)
            children = _take(rule, values[len(values) - size :])
            del states[len(states) - size :], values[len(values) - size :], spans[len(spans) - size :]
            action = actions[-1 - entry]
            if action is not None:
                value = action(Span(source, *span), *children)
            else:
                value = children[0] if rule.transparent else children
            states.append(table[states[-1]][rule.origin])
            values.append(value)
            spans.append(span)
            if states[-1] == self.tables.end and kind == "$END":
                return True

    def mark(self, token: Token, place: int) -> None:
        """Remember where statements begin."""
        if token.text == "{":
            self.marks.append(self.here(place + 1))
        elif token.text == "}":
            self.marks.pop()
        elif token.kind == "_SEP":
            self.marks[-1] = self.here(place + 1)

    def recover(self, place: int) -> int:
        """Report the mistake at a token, go back to where its statement began, and say at which token to go on."""
        end = self.statement_end(place)
        if place == self.resumed and self.tokens[place].text == "}":  # leaving the statement out will not do:
            self.marks.pop()  # the one around it is at fault, such as a table without points
            end = self.statement_end(place + 1)
        elif place == self.resumed:
            end += 1
        start = self.marks[-1].place
        mistake = mistakes.explain(self.source, self.tokens, start, place, self.accepted())
        states, values, spans = self.marks[-1].stacks
        self.states, self.values, self.spans = list(states), list(values), list(spans)
        if not self.reported_in(start, end):
            self.problems.append(mistake.diagnostic)
            if mistake.word and len(self.problems) < MOST_PROBLEMS:
                self.tokens[start] = replace(self.tokens[start], keyword=self.tables.literals[mistake.word])
                return start
        self.resumed = end
        return end if len(self.problems) < MOST_PROBLEMS else len(self.tokens)

    def statement_end(self, place: int) -> int:
        """The separator, closing brace or end of file after a token."""
        inner = 0
        while (token := self.tokens[place]).kind != "$END":
            if inner == 0 and (token.kind == "_SEP" or token.text == "}"):
                break
            inner += (token.text == "{") - (token.text == "}")
            place += 1
        return place

    def reported_in(self, start: int, end: int) -> bool:
        """Whether something between two tokens is known to be wrong, so that what follows from it need not be said."""
        first = self.tokens[start].start
        last = self.tokens[min(end, len(self.tokens) - 1)].end
        places = [problem.label.span.start for problem in self.problems if problem.label]
        return any(first <= place <= last for place in places)

    def accepted(self) -> set[str]:
        """What could have come next: keywords and signs as written, the other terminals by name."""
        kinds = [kind for kind in self.tables.states[self.states[-1]] if kind in self.terminals]
        return {self.terminals[kind] for kind in kinds if self.leads_on(kind)}

    def leads_on(self, kind: str) -> bool:
        """Whether a terminal can be shifted here, after the reductions that it calls for."""
        states = list(self.states)
        while True:
            entry = self.tables.states[states[-1]].get(kind)
            if entry is None:
                return False
            if entry >= 0:
                return True
            rule = self.tables.rules[-1 - entry]
            del states[len(states) - rule.size :]
            states.append(self.tables.states[states[-1]][rule.origin])
            if states[-1] == self.tables.end:
                return kind == "$END"


def _offset(problem: Diagnostic) -> int:
    return problem.label.span.start if problem.label else 0


def _take(rule: tables.Rule, values: list[Any]) -> list[Any]:
    """The values that a rule keeps. A list at the head grows in place: long bodies stay linear."""
    taken: list[Any] = []
    for number, place in enumerate(rule.take):
        if place == tables.NOTHING:
            taken.append(None)
        elif place < tables.SPLICE:
            taken.append(values[place])
        elif number == 0:
            taken = values[place - tables.SPLICE]
        else:
            taken += values[place - tables.SPLICE]
    return taken


# ---------------------------------------------------------------- what may be wrong with a file


def unreadable(path: Path, reason: str) -> Diagnostic:
    return Diagnostic("unreadable-file", f"cannot read `{path}`: {reason[:1].lower() + reason[1:]}", None)


def not_utf8(path: Path, data: bytes, offset: int) -> Diagnostic:
    source = Source(path.name, data.decode("utf-8", errors="replace"), str(path))
    character = len(data[:offset].decode("utf-8"))
    line = data.count(b"\n", 0, offset) + 1
    message = f"byte {offset} of the file, on line {line}, is not UTF-8"
    return Diagnostic("not-utf8", message, Label(Span(source, character, character + 1)), help="save the file as UTF-8")


def empty(source: Source) -> Diagnostic:
    where = Label(Span(source, 0, 0))
    return Diagnostic("empty-file", "the file declares nothing", where, help="begin with a `model` or a `scenario`")
