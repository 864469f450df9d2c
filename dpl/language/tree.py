"""The AST, made bottom-up: one method for each rule or alias of the grammar that leaves something.

A method takes the span of its text and what its symbols left, and returns a node of `syntax`. What the grammar cannot
say without a conflict, or only with an unhelpful message, is checked here and collected in `problems`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from textwrap import dedent
from typing import Literal, cast

from dpl.language import syntax, words
from dpl.language.diagnostics import Diagnostic, Label
from dpl.language.lexer import Token
from dpl.language.mistakes import statement_start
from dpl.language.source import Source, Span
from dpl.language.syntax import Expr, IndexSet, Unit

_VULGAR = {
    "½": Fraction(1, 2),
    "⅓": Fraction(1, 3),
    "⅔": Fraction(2, 3),
    "¼": Fraction(1, 4),
    "¾": Fraction(3, 4),
}
_SUPERSCRIPTS = {"²": Fraction(2), "³": Fraction(3)}


@dataclass(frozen=True)
class _Clause:
    """A clause of a declaration or of `run`: the word or sign it begins with, and what follows."""

    opener: str
    span: Span
    value: object
    flag: bool = False


_CLAUSES = (":", "=", "in", "limit", "~", "for", "every")
_OPTIONAL_CLAUSES = {"for": ("const", "param", "state", "let", "output"), "every": ("noise",)}


_Row = tuple[syntax.Cell, ...]


@dataclass(frozen=True)
class _Window:
    """`from a until b` in a call, before it is known what of."""

    span: Span
    start: Expr | None
    until: Expr | None


class Tree:
    def __init__(self, source: Source):
        self.source = source
        self.problems: list[Diagnostic] = []

    def span(self, token: Token) -> Span:
        return Span(self.source, token.start, token.end)

    def declared(self, token: Token) -> str:
        """The name, which must be one that may be declared."""
        if token.text in words.RESERVED:
            self.problems.append(reserved_word(self.span(token), token.text))
        elif token.text in words.PREDECLARED:
            self.problems.append(predeclared_name(self.span(token), token.text))
        return token.text

    # ------------------------------------------------------------ the file and its items

    def start(self, span: Span, doc: Token | None, *items: syntax.Item) -> syntax.File:
        return syntax.File(self.source, _doc(doc), items)

    def imported(self, span: Span, name: Token) -> syntax.ImportedName:
        return syntax.ImportedName(name.text, span=span)

    def imports(self, span: Span, module: Token, *names: syntax.ImportedName) -> syntax.Import:
        return syntax.Import(module.text, self.span(module), names, span=span)

    def declaration(
        self, span: Span, keyword: Token, name: Token, shape: tuple[Expr, ...] | None, *clauses: _Clause
    ) -> syntax.Declaration:
        found = self.in_order(keyword.text, clauses)
        bounds, limit = found.get("in"), found.get("limit")
        return syntax.Declaration(
            cast(syntax.DeclarationKind, keyword.text),
            self.declared(name),
            self.span(name),
            shape or (),
            cast("Unit | None", _value(found, ":")),
            cast("Expr | None", _value(found, "=")),
            cast("syntax.Range | syntax.List | None", _value(found, "in")),
            bool(bounds and bounds.flag),
            cast("syntax.Range | None", _value(found, "limit")),
            "straight_through" if limit and limit.flag else None,
            cast("Expr | None", _value(found, "~")),
            cast("tuple[IndexSet, ...] | None", _value(found, "for")) or (),
            cast("Expr | None", _value(found, "every")),
            span=span,
        )

    def in_order(self, keyword: str, clauses: Sequence[_Clause]) -> dict[str, _Clause]:
        """The clauses of a declaration by their openers, each once, in order, and where it belongs."""
        found: dict[str, _Clause] = {}
        for clause in clauses:
            opener = clause.opener
            if opener in found:
                self.problems.append(repeated_clause(clause.span, found[opener].span, opener))
            elif keyword not in _OPTIONAL_CLAUSES.get(opener, (keyword,)):
                self.problems.append(misplaced_clause(clause.span, opener, keyword))
            elif found and _CLAUSES.index(opener) < max(map(_CLAUSES.index, found)):
                after = next(other for other in found if _CLAUSES.index(other) > _CLAUSES.index(opener))
                self.problems.append(clause_order(clause.span, found[after].span, opener, after))
            found.setdefault(opener, clause)
        return found

    def typed(self, span: Span, unit: Unit) -> _Clause:
        return _Clause(":", span, unit)

    def valued(self, span: Span, value: Expr) -> _Clause:
        return _Clause("=", span, value)

    def bounded(self, span: Span, domain: syntax.Range | syntax.List, log: bool | None) -> _Clause:
        return _Clause("in", span, domain, bool(log))

    def limited(self, span: Span, range: syntax.Range, straight_through: bool | None) -> _Clause:
        return _Clause("limit", span, range, bool(straight_through))

    def drawn(self, span: Span, distribution: Expr) -> _Clause:
        return _Clause("~", span, distribution)

    def for_each(self, span: Span, indices: tuple[IndexSet, ...]) -> _Clause:
        return _Clause("for", span, indices)

    def held(self, span: Span, period: Expr) -> _Clause:
        return _Clause("every", span, period)

    def every(self, span: Span, period: Expr) -> Expr:
        return period

    def log(self, span: Span) -> bool:
        return True

    def straight_through(self, span: Span) -> bool:
        return True

    def given_row(self, span: Span, name: Token, data: Token) -> syntax.GivenRow:
        return syntax.GivenRow(self.declared(name), self.span(name), data.text, span=span)

    def shape(self, span: Span, *sizes: Expr) -> tuple[Expr, ...]:
        return sizes

    def range(self, span: Span, low: Expr, high: Expr | None) -> syntax.Range:
        """A unit on the last bound alone is the range's."""
        unit = None if "[" in low.span.text else _unit_of(high)
        return syntax.Range(low, _without_unit(high) if unit else high, unit, span=span)

    def function(self, span: Span, name: Token, parameters: tuple[Token, ...] | None, value: Expr) -> syntax.Function:
        declared = tuple(self.declared(parameter) for parameter in parameters or ())
        return syntax.Function(self.declared(name), self.span(name), declared, value, span=span)

    def table(
        self,
        span: Span,
        name: Token,
        inputs: tuple[syntax.Port, ...],
        output: syntax.Port,
        content: Token | tuple[syntax.Point, ...],
        using: Token | None,
    ) -> syntax.Table:
        file, points = (_text(content), ()) if isinstance(content, Token) else (None, content)
        method = using.text if using else None
        return syntax.Table(self.declared(name), self.span(name), inputs, output, file, points, method, span=span)

    def points(self, span: Span, *points: syntax.Point) -> tuple[syntax.Point, ...]:
        return points

    def point(self, span: Span, at: Expr, value: Expr) -> syntax.Point:
        return syntax.Point(at, value, span=span)

    def data(self, span: Span, name: Token, *rest: syntax.Column | Token | tuple[_Row, ...]) -> syntax.Data:
        *columns, content = rest
        columns = tuple(cast("list[syntax.Column]", columns))
        if isinstance(content, Token):
            return syntax.Data(self.declared(name), self.span(name), columns, _text(content), span=span)
        rows = cast("tuple[_Row, ...]", content)
        return syntax.Data(self.declared(name), self.span(name), columns, rows=rows, span=span)

    def column(
        self, span: Span, name: Token, header: Token | None, unit: Unit | None, role: Token | None
    ) -> syntax.Column:
        header_text = _text(header) if header else None
        return syntax.Column(name.text, header_text, unit, role.text if role else None, span=span)

    def rows(self, span: Span, *rows: _Row) -> tuple[_Row, ...]:
        return rows

    def row(self, span: Span, *cells: syntax.Cell) -> _Row:
        return cells

    def number_cell(self, span: Span, value: Expr) -> syntax.Cell:
        missing = isinstance(value, syntax.Name) and value.id == "_"
        return syntax.Cell(None if missing else value, span=span)

    def text_cell(self, span: Span, text: Token) -> syntax.Cell:
        return syntax.Cell(_text(text), span=span)

    def network(
        self,
        span: Span,
        name: Token,
        inputs: tuple[syntax.Port, ...],
        outputs: tuple[syntax.Port, ...] | syntax.Port,
        options: tuple[syntax.Option, ...] | None,
    ) -> syntax.Network:
        results = (outputs,) if isinstance(outputs, syntax.Port) else outputs
        return syntax.Network(self.declared(name), self.span(name), inputs, results, options or (), span=span)

    def ports(self, span: Span, *ports: syntax.Port | None) -> tuple[syntax.Port, ...]:
        return tuple(port for port in ports if port)

    def port(
        self,
        span: Span,
        name: Token,
        shape: tuple[Expr, ...] | None,
        unit: Unit | None,
        range: syntax.Range | None,
    ) -> syntax.Port:
        return syntax.Port(self.declared(name), shape or (), unit, range, span=span)

    def options(self, span: Span, *options: syntax.Option) -> tuple[syntax.Option, ...]:
        return options

    def option(self, span: Span, name: Token, *values: Token) -> syntax.Option:
        settings = tuple(_exact(value.text) if value.kind == "NUMBER" else value.text for value in values)
        return syntax.Option(name.text, settings, span=span)

    # ------------------------------------------------------------ blocks

    def model(self, span: Span, keyword: Token, name: Token, every: Expr | None, body: _Body) -> syntax.Model:
        kind = cast(Literal["model", "controller"], keyword.text)
        return syntax.Model(kind, self.declared(name), self.span(name), every, body.doc, body.statements, span=span)

    def body(self, span: Span, doc: Token | None, *statements: syntax.Statement) -> _Body:
        return _Body(_doc(doc), statements)

    def scenario(self, span: Span, name: Token, like: Token | None, body: _Body) -> syntax.Scenario:
        base, base_span = (like.text, self.span(like)) if like else (None, None)
        return syntax.Scenario(
            self.declared(name), self.span(name), base, base_span, body.doc, body.statements, span=span
        )

    def part(
        self,
        span: Span,
        name: Token,
        shape: tuple[Expr, ...] | None,
        model: Token,
        arguments: tuple[syntax.Argument, ...] | None,
    ) -> syntax.Part:
        return syntax.Part(
            self.declared(name), self.span(name), shape or (), model.text, self.span(model), arguments or (), span=span
        )

    def equation(self, span: Span, left: Expr, right: Expr, indices: tuple[IndexSet, ...] | None) -> syntax.Equation:
        if span.text[0] in "+-":
            self.problems.append(statement_start(Span(span.source, span.start, span.start + 1)))
        return syntax.Equation(left, right, indices or (), span=span)

    def next(self, span: Span, target: Expr, value: Expr, indices: tuple[IndexSet, ...] | None) -> syntax.Next:
        return syntax.Next(target, value, indices or (), span=span)

    def lagrangian(self, span: Span, value: Expr) -> syntax.Lagrangian:
        return syntax.Lagrangian(value, span=span)

    def applied(self, span: Span, target: Expr, value: Expr) -> syntax.Applied:
        return syntax.Applied(target, value, span=span)

    def constraint(self, span: Span, name: Token | None, left: Expr, right: Expr) -> syntax.Constraint:
        declared = (self.declared(name), self.span(name)) if name else (None, None)
        return syntax.Constraint(declared[0], left, right, declared[1], span=span)

    def mode(self, span: Span, names: tuple[Token, ...], body: _Body) -> syntax.Mode:
        spans = tuple(self.span(name) for name in names)
        return syntax.Mode(tuple(self.declared(n) for n in names), body.doc, body.statements, spans, span=span)

    def quantifier(self, span: Span, *indices: IndexSet) -> tuple[IndexSet, ...]:
        return indices

    def index_set(self, span: Span, name: Token, range: syntax.Range) -> IndexSet:
        return IndexSet(self.declared(name), range, span=span)

    def when(
        self,
        span: Span,
        name: Token | None,
        condition: Expr,
        at_once: bool | None,
        actions: tuple[syntax.Action, ...],
    ) -> syntax.When:
        declared = (self.declared(name), self.span(name)) if name else (None, None)
        return syntax.When(declared[0], condition, bool(at_once), actions, declared[1], span=span)

    def at_once(self, span: Span) -> bool:
        return True

    def repeated(
        self, span: Span, time: Expr, start: Expr | None, until: Expr | None, actions: tuple[syntax.Action, ...]
    ) -> syntax.Timed:
        return syntax.Timed(True, time, start, until, actions, span=span)

    def once(self, span: Span, time: Expr, actions: tuple[syntax.Action, ...]) -> syntax.Timed:
        return syntax.Timed(False, time, None, None, actions, span=span)

    def actions(self, span: Span, *actions: syntax.Action) -> tuple[syntax.Action, ...]:
        return actions

    def assign(self, span: Span, target: Expr, value: Expr) -> syntax.Assign:
        return syntax.Assign(target, value, span=span)

    def go(self, span: Span, mode: Token) -> syntax.Go:
        return syntax.Go(mode.text, span=span)

    def stop(self, span: Span) -> syntax.Stop:
        return syntax.Stop(span=span)

    def run(self, span: Span, *clauses: _Clause) -> syntax.Run:
        found: dict[str, _Clause] = {}
        for clause in clauses:
            if clause.opener in found:
                self.problems.append(repeated_clause(clause.span, found[clause.opener].span, clause.opener))
            found.setdefault(clause.opener, clause)
        duration, within, start = (cast("Expr | None", _value(found, word)) for word in ("for", "within", "from"))
        until = cast("Expr | syntax.Stop | None", _value(found, "until"))
        using = cast("syntax.Method | None", _value(found, "using"))
        return syntax.Run(duration, until, within, start, using, span=span)

    def run_for(self, span: Span, duration: Expr) -> _Clause:
        return _Clause("for", span, duration)

    def run_from(self, span: Span, start: Expr) -> _Clause:
        return _Clause("from", span, start)

    def run_until(self, span: Span, condition: Expr | syntax.Stop) -> _Clause:
        return _Clause("until", span, condition)

    def run_within(self, span: Span, longest: Expr) -> _Clause:
        return _Clause("within", span, longest)

    def run_using(self, span: Span, method: syntax.Method) -> _Clause:
        return _Clause("using", span, method)

    def measure(
        self, span: Span, keyword: Token, name: Token, unit: _Clause | None, *rest: Expr | Token
    ) -> syntax.Measure:
        kind = cast(Literal["loss", "metric"], keyword.text)
        value = cast(Expr, rest[-1])
        return syntax.Measure(
            kind, self.declared(name), self.span(name), cast("Unit | None", unit and unit.value), value, span=span
        )

    def observe(
        self,
        span: Span,
        target: Expr,
        typed: _Clause | None,
        distribution: Expr,
        below: Expr | None,
        above: Expr | None,
    ) -> syntax.Observe:
        unit = cast("Unit | None", typed and typed.value)
        return syntax.Observe(target, distribution, unit, below, above, span=span)

    # ------------------------------------------------------------ tasks

    def task(self, span: Span, keyword: Token, name: Token, clauses: _Clauses) -> syntax.Task:
        return syntax.Task(keyword.text, self.declared(name), self.span(name), clauses.doc, clauses.clauses, span=span)

    def clauses(self, span: Span, doc: Token | None, *clauses: syntax.Clause) -> _Clauses:
        return _Clauses(_doc(doc), clauses)

    def on(self, span: Span, names: tuple[Token, ...], *settings: syntax.Setting | None) -> syntax.On:
        return syntax.On(tuple(name.text for name in names), tuple(s for s in settings if s), span=span)

    def setting(self, span: Span, path: tuple[str, ...], value: Expr) -> syntax.Setting:
        return syntax.Setting(path, value, span=span)

    def dotted(self, span: Span, *names: Token) -> tuple[str, ...]:
        return tuple(name.text for name in names)

    def vary(self, span: Span, *items: syntax.Varied) -> syntax.Vary:
        return syntax.Vary(items, span=span)

    def vary_all(self, span: Span) -> syntax.Varied:
        return syntax.Varied((), span=span)

    def varied_name(
        self, span: Span, each: bool | None, path: tuple[str, ...], range: syntax.Range | None
    ) -> syntax.Varied:
        return syntax.Varied(path, bool(each), range, span=span)

    def each(self, span: Span) -> bool:
        return True

    def goal(self, span: Span, keyword: Token, value: Expr) -> syntax.Goal:
        return syntax.Goal(cast(Literal["minimize", "maximize"], keyword.text), value, span=span)

    def using(self, span: Span, method: syntax.Method) -> syntax.Using:
        return syntax.Using(method, span=span)

    def until(self, span: Span, condition: Expr) -> syntax.Until:
        return syntax.Until(condition, span=span)

    def count(self, span: Span, keyword: Token, number: Token, modifier: Token | None) -> syntax.Count:
        return syntax.Count(keyword.text, _exact(number.text), modifier.text if modifier else None, span=span)

    def start_from(self, span: Span, word: Token) -> syntax.Start:
        return syntax.Start(word.text, span=span)

    def expect(self, span: Span, condition: Expr) -> syntax.Expect:
        return syntax.Expect(condition, span=span)

    def subject(self, span: Span, *conditions: Expr) -> syntax.Subject:
        return syntax.Subject(conditions, span=span)

    def plot(self, span: Span, *values: Expr) -> syntax.Plot:
        return syntax.Plot(values, span=span)

    def show(self, span: Span, names: tuple[Token, ...]) -> syntax.Show:
        return syntax.Show(tuple(name.text for name in names), span=span)

    def training_window(
        self, span: Span, length: Expr, value: Expr | None, discount: Expr | None
    ) -> syntax.TrainingWindow:
        return syntax.TrainingWindow(length, value, discount, span=span)

    def without(self, span: Span, word: Token) -> syntax.Without:
        return syntax.Without(word.text, span=span)

    def hold_out(self, span: Span, count: Token) -> syntax.HoldOut:
        return syntax.HoldOut(count=_exact(count.text), span=span)

    def hold_after(self, span: Span, after: Expr) -> syntax.HoldOut:
        return syntax.HoldOut(after=after, span=span)

    def profile(self, span: Span, *paths: tuple[str, ...]) -> syntax.Profile:
        return syntax.Profile(paths, span=span)

    def sampled(self, span: Span, period: Expr) -> syntax.Sampled:
        return syntax.Sampled(period, span=span)

    def of(self, span: Span, path: tuple[str, ...]) -> syntax.Of:
        return syntax.Of(path, span=span)

    def repeat(self, span: Span, names: tuple[Token, ...]) -> syntax.Repeat:
        return syntax.Repeat(tuple(name.text for name in names), span=span)

    def anneal(self, span: Span, path: tuple[str, ...], start: Expr, end: Expr) -> syntax.Anneal:
        return syntax.Anneal(path, start, end, span=span)

    def method(self, span: Span, name: Token, arguments: tuple[syntax.Argument, ...] | None) -> syntax.Method:
        return syntax.Method(name.text, arguments or (), span=span)

    def names(self, span: Span, *names: Token) -> tuple[Token, ...]:
        return names

    # ------------------------------------------------------------ units

    def unit_name(self, span: Span, name: Token) -> Unit:
        return syntax.UnitName(name.text, span=span)

    def unit_percent(self, span: Span) -> Unit:
        return syntax.UnitName("%", span=span)

    def unit_one(self, span: Span, number: Token) -> Unit:
        if number.text != "1":
            self.problems.append(number_in_unit(span))
        return syntax.UnitOne(span=span)

    def unit_times(self, span: Span, left: Unit, right: Unit) -> Unit:
        return syntax.UnitProduct("*", left, right, span=span)

    def unit_over(self, span: Span, left: Unit, right: Unit) -> Unit:
        return syntax.UnitProduct("/", left, right, span=span)

    def unit_ambiguous(self, span: Span, left: syntax.UnitProduct, right: Unit) -> Unit:
        self.problems.append(ambiguous_unit(span, left, right))
        return syntax.UnitProduct("*", left, right, span=span)

    def unit_power(self, span: Span, base: Unit, exponent: Fraction) -> Unit:
        return syntax.UnitPower(base, exponent, span=span)

    def unit_superscript(self, span: Span, base: Unit, exponent: Token) -> Unit:
        return syntax.UnitPower(base, _SUPERSCRIPTS[exponent.text], span=span)

    def ratio(self, span: Span, over: Token, under: Token | None = None) -> Fraction:
        divisor = _exact(under.text) if under else Fraction(1)
        if divisor == 0:
            self.problems.append(zero_divisor(span))
            return Fraction(1)
        return _exact(over.text) / divisor

    def negative_ratio(self, span: Span, over: Token, under: Token | None = None) -> Fraction:
        return -self.ratio(span, over, under)

    # ------------------------------------------------------------ expressions

    def conditional(self, span: Span, condition: Expr, then: Expr, otherwise: Expr) -> Expr:
        return syntax.If(condition, then, otherwise, span=span)

    def binary(self, span: Span, left: Expr, sign: Token, right: Expr) -> Expr:
        op = cast(Literal["+", "-", "*", "/", "^", "@", "and", "or"], sign.text)
        return syntax.Binary(op, left, right, span=span)

    def negation(self, span: Span, operand: Expr) -> Expr:
        return syntax.Unary("not", operand, span=span)

    def minus(self, span: Span, operand: Expr) -> Expr:
        return syntax.Unary("-", operand, span=span)

    def plus(self, span: Span, operand: Expr) -> Expr:
        return operand

    def compare(self, span: Span, *chain: Expr | Token) -> Expr:
        operands = cast("tuple[Expr, ...]", chain[::2])
        signs = cast("tuple[Token, ...]", chain[1::2])
        return syntax.Compare(operands, tuple(sign.text for sign in signs), span=span)

    def superscript(self, span: Span, base: Expr, exponent: Token) -> Expr:
        number = syntax.Number(_SUPERSCRIPTS[exponent.text], span=self.span(exponent))
        return syntax.Binary("^", base, number, span=span)

    def number(self, span: Span, number: Token, unit: Unit | None) -> Expr:
        return syntax.Number(_exact(number.text), unit, span=span)

    def list(self, span: Span, *content: Expr | Unit | None) -> Expr:
        *items, unit = content
        return syntax.List(tuple(cast(Expr, item) for item in items if item), cast("Unit | None", unit), span=span)

    def name(self, span: Span, name: Token) -> Expr:
        return syntax.Name(name.text, span=span)

    def member(self, span: Span, object: Expr, name: Token) -> Expr:
        return syntax.Member(object, name.text, span=span)

    def call(self, span: Span, function: Expr, arguments: tuple[syntax.Argument, ...] | None) -> Expr:
        return syntax.Call(function, arguments or (), span=span)

    def index(self, span: Span, object: Expr, *subscripts: Expr) -> Expr:
        return syntax.Index(object, subscripts, span=span)

    def prime(self, span: Span, operand: Expr) -> Expr:
        return syntax.Prime(operand, span=span)

    def arguments(self, span: Span, *arguments: syntax.Argument | _Window) -> tuple[syntax.Argument, ...]:
        """The arguments; a window is put around the first."""
        values = [argument for argument in arguments if isinstance(argument, syntax.Argument)]
        windows = [argument for argument in arguments if isinstance(argument, _Window)]
        if windows and (not values or isinstance(values[0].value, syntax.Window) or len(windows) > 1):
            self.problems.append(loose_window(windows[-1].span))
        elif windows:
            values[0] = _windowed(values[0], windows[0])
        return tuple(values)

    def comprehension(self, span: Span, value: Expr, indices: tuple[IndexSet, ...]) -> syntax.Argument:
        return syntax.Argument(syntax.Comprehension(value, indices, span=span), span=span)

    def plain_argument(self, span: Span, value: Expr) -> syntax.Argument:
        return syntax.Argument(value, span=span)

    def named_argument(self, span: Span, name: Token, value: Expr) -> syntax.Argument:
        return syntax.Argument(value, name.text, span=span)

    def windowed_argument(self, span: Span, value: Expr, window: _Window) -> syntax.Argument:
        return _windowed(syntax.Argument(value, span=span), window)

    def window(self, span: Span, start: Expr, until: Expr | None) -> _Window:
        return _Window(span, start, until)

    def window_until(self, span: Span, until: Expr) -> _Window:
        return _Window(span, None, until)


@dataclass(frozen=True)
class _Body:
    doc: str | None
    statements: tuple[syntax.Statement, ...]


@dataclass(frozen=True)
class _Clauses:
    doc: str | None
    clauses: tuple[syntax.Clause, ...]


# ---------------------------------------------------------------- small readings


def _value(found: dict[str, _Clause], opener: str) -> object:
    return found[opener].value if opener in found else None


def _exact(number: str) -> Fraction:
    return _VULGAR[number] if number in _VULGAR else Fraction(number)


def _text(string: Token) -> str:
    return string.text[1:-1]


def _doc(token: Token | None) -> str | None:
    if token is None:
        return None
    first, _, rest = token.text[3:-3].partition("\n")
    return f"{first.strip()}\n{dedent(rest)}".strip()


def _windowed(argument: syntax.Argument, window: _Window) -> syntax.Argument:
    span = argument.span if argument.span.end >= window.span.end else argument.span.to(window.span)
    value = syntax.Window(argument.value, window.start, window.until, span=span)
    return replace(argument, value=value, span=span)


def _unit_of(bound: Expr | None) -> Unit | None:
    """The unit of a literal, signed or not."""
    literal = bound.operand if isinstance(bound, syntax.Unary) else bound
    return literal.unit if isinstance(literal, syntax.Number) else None


def _without_unit(bound: Expr | None) -> Expr | None:
    """The literal with its number alone, in span as in value."""
    match bound:
        case syntax.Number(span=span):
            number = span.text.partition("[")[0].rstrip()
            return replace(bound, unit=None, span=Span(span.source, span.start, span.start + len(number)))
        case syntax.Unary(_, operand):
            inner = cast(syntax.Number, _without_unit(operand))
            return replace(bound, operand=inner, span=bound.span.to(inner.span))
        case _:
            return bound


# ---------------------------------------------------------------- what may be wrong


def reserved_word(span: Span, word: str) -> Diagnostic:
    what = "an operator" if word in words.OPERATORS else "the beginning of a statement"
    message = f"`{word}` is a reserved word: choose another name"
    return Diagnostic("reserved-word", message, Label(span, f"elsewhere {what}"))


def predeclared_name(span: Span, name: str) -> Diagnostic:
    message = f"`{name}` is declared by the language: choose another name"
    return Diagnostic("predeclared-name", message, Label(span))


def repeated_clause(span: Span, first: Span, opener: str) -> Diagnostic:
    message = f"`{opener}` is given twice in one statement"
    sign = span.source.line(span.line).lstrip()[:1]
    help = (
        f"a line that begins with `{sign}` continues the one before: put the sign on the other side, or in parentheses"
    )
    glued = opener == "=" and span.line > first.line and sign in "+-*/^"
    related = (Label(first, "first here"),)
    return Diagnostic("repeated-clause", message, Label(span, "again here"), related, help if glued else None)


def clause_order(span: Span, after: Span, opener: str, other: str) -> Diagnostic:
    message = f"`{opener}` comes before `{other}`"
    order = "`param name[shape]: unit = value in bounds limit range ~ prior`"
    return Diagnostic("clause-order", message, Label(span, "too late here"), (Label(after),), f"the order is {order}")


def misplaced_clause(span: Span, opener: str, keyword: str) -> Diagnostic:
    kinds = " and ".join(f"`{kind}`" for kind in _OPTIONAL_CLAUSES[opener])
    return Diagnostic("misplaced-clause", f"`{opener}` does not go with `{keyword}`", Label(span, f"only with {kinds}"))


def number_in_unit(span: Span) -> Diagnostic:
    message = "the only number in a unit is `1`, the pure number"
    return Diagnostic("number-in-unit", message, Label(span), help="put the factor before the unit: `60 [s]`")


def zero_divisor(span: Span) -> Diagnostic:
    return Diagnostic("zero-divisor", "this exponent divides by 0", Label(span))


def ambiguous_unit(span: Span, left: syntax.UnitProduct, right: Unit) -> Diagnostic:
    over, under, times = left.left.span.text, left.right.span.text, right.span.text
    message = "a `*` after a `/` in a unit can be read two ways"
    help = f"write `{over}/({under}*{times})` or `{over}*{times}/{under}`"
    return Diagnostic("ambiguous-unit", message, Label(span), help=help)


def loose_window(span: Span) -> Diagnostic:
    message = "`from` and `until` follow what a time reduction reduces, once"
    return Diagnostic("loose-window", message, Label(span), help="`average(x, from 2 [s] until 5 [s])`")
