"""What `observe` compares with data, as expressions: along the run at the times of rows, or once from its results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dpl.compiler.algebra import Expr
from dpl.compiler.symbolic import Translator
from dpl.language.model import Observation, Scoped, Variable


@dataclass(frozen=True)
class Observed:
    """The arguments of the distributions of one system, each with the limits of detection after them."""

    timed: tuple[tuple[Expr, ...], ...] = ()
    """Of each observation along the run"""
    row: tuple[Variable, ...] = ()
    """The columns that these read of the row"""
    once: tuple[tuple[str, Expr], ...] = ()
    """By their keys among the results of a run, those of the others"""

    def mapped(self, change: Callable[[Expr], Expr]) -> Observed:
        """The same with every expression changed."""
        timed = tuple(tuple(map(change, some)) for some in self.timed)
        return Observed(timed, self.row, tuple((key, change(e)) for key, e in self.once))


def observed(translator: Translator) -> Observed:
    """The right sides of a system's observations."""
    system = translator.system
    row = {v.path: v for v in system.row}
    translator.row = row
    timed = tuple(tuple(e for _, e in arguments(o, translator)) for o in system.observations if o.timed)
    translator.row = None
    once = tuple(found for o in system.observations if not o.timed for found in arguments(o, translator))
    return Observed(timed, tuple(row.values()), once)


def arguments(observation: Observation, translator: Translator) -> Iterator[tuple[str, Expr]]:
    """What its right side computes, by key."""
    for key, value in zip(keys(observation), _scoped(observation), strict=True):
        yield key, translator.in_unit(value)


def keys(observation: Observation) -> tuple[str, ...]:
    """The names of its arguments and limits, which no loss can have."""
    o = observation
    words = [f"argument {i + 1}" for i in range(len(o.arguments))]
    words += [word for word, end in (("below", o.below), ("above", o.above)) if end is not None]
    return tuple(f"{o.name} {word}" for word in words)


def _scoped(o: Observation) -> tuple[Scoped, ...]:
    return (*o.arguments, *(end for end in (o.below, o.above) if end is not None))
