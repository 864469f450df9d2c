"""What an expression reads: variables, their derivatives and networks, and whether a derivative passes through.

`flat` marks what is read only where the derivative is zero, by the text that makes it so: sign, floor, round, step, or
a comparison.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dpl.language import syntax
from dpl.language.builtins import FUNCTIONS, TIME_REDUCTIONS
from dpl.language.calls import function_scope
from dpl.language.indices import index_scope, located
from dpl.language.model import Bound, Event, FunctionUse, Measure, NetworkUse, Scope, Scoped, TableUse, Variable
from dpl.language.source import Span


@dataclass(frozen=True)
class Read:
    """`order` derivatives of `what` are read; `reduced`: inside a reduction over time."""

    what: Variable | NetworkUse | Measure | Event | str
    order: int = 0
    flat: Span | None = None
    reduced: bool = False


def reads(value: Scoped) -> Iterator[Read]:
    """Everything that the expression reads; `time` is read as the word."""
    yield from _reads(value.expr, value.scope, 0, None, False, set())


Seen = set[tuple[Bound, int, bool, bool]]
"""Arguments of functions that were read already: a function may name one often, and so may what it calls"""


def _reads(expr: syntax.Expr, scope: Scope, order: int, flat: Span | None, reduced: bool, seen: Seen) -> Iterator[Read]:
    match expr:
        case syntax.Name(name):
            found = scope.find(name)
            match found:
                case Bound(value):
                    key = (found, order, flat is not None, reduced)
                    if key in seen:
                        return
                    seen.add(key)
                    yield from _reads(value.expr, value.scope, order, flat, reduced, seen)
                case Variable() | Measure() | Event():
                    yield Read(found, order, flat, reduced)
                case None if name == "time":
                    yield Read("time", order, flat, reduced)
                case _:
                    pass
        case syntax.Member(inner):
            found = located(expr, scope)
            if found is not None and isinstance(found.binding, Variable | Event):
                yield Read(found.binding, order, flat, reduced)
            else:
                yield from _reads(inner, scope, order, flat, reduced, seen)
        case syntax.Comprehension(value, indices):
            yield from _reads(value, index_scope(scope, indices), order, flat, reduced, seen)
        case syntax.Pieces(pieces):
            for piece in pieces:
                inner = index_scope(scope, piece.indices)
                if piece.left != piece.target:
                    yield from _reads(piece.left, inner, order, flat, reduced, seen)
                yield from _reads(piece.value, inner, order, flat, reduced, seen)
        case syntax.Prime(operand):
            yield from _reads(operand, scope, order + 1, flat, reduced, seen)
        case syntax.Compare(operands):
            for operand in operands:
                yield from _reads(operand, scope, order, flat or expr.span, reduced, seen)
        case syntax.Call(syntax.Name(name), arguments):
            yield from _call(name, arguments, expr.span, scope, order, flat, reduced, seen)
        case _:
            for child in syntax.children(expr):
                yield from _reads(child, scope, order, flat, reduced, seen)


def _call(
    name: str,
    arguments: tuple[syntax.Argument, ...],
    span: Span,
    scope: Scope,
    order: int,
    flat: Span | None,
    reduced: bool,
    seen: Seen,
) -> Iterator[Read]:
    found = scope.find(name)
    values = [a.value for a in arguments]
    if isinstance(found, FunctionUse):
        named = {a.name or p: Scoped(a.value, scope) for a, p in zip(arguments, found.item.parameters, strict=False)}
        inner = function_scope(found, named, scope)
        yield from _reads(found.item.value, inner, order, flat, reduced, seen)
        return
    if isinstance(found, NetworkUse):
        yield Read(found, order, flat, reduced)
    elif isinstance(found, TableUse):
        flat = flat or (span if found.item.using == "previous" else None)
    elif found is None and name in TIME_REDUCTIONS:
        flat, reduced = flat or (span if TIME_REDUCTIONS[name].smoothness == "flat" else None), True
    elif found is None and name == "straight_through" and isinstance(values[0], syntax.Call):
        # Value of f(z), derivative of z: the first argument is read smoothly, the others not at all.
        first, *rest = [a.value for a in values[0].arguments]
        yield from _reads(first, scope, order, flat, reduced, seen)
        for other in rest:
            yield from _reads(other, scope, order, flat or span, reduced, seen)
        return
    elif found is None and name == "surrogate":
        yield from _reads(values[0], scope, order, flat or span, reduced, seen)
        yield from _reads(values[1], scope, order, flat, reduced, seen)
        return
    elif found is None and name == "smooth":
        for read in _reads(values[0], scope, order, flat, reduced, seen):
            yield Read(read.what, read.order, flat, read.reduced)
        return
    elif found is None and name in FUNCTIONS:
        flat = flat or (span if FUNCTIONS[name].smoothness == "flat" else None)
    for value in values:
        yield from _reads(value, scope, order, flat, reduced, seen)
