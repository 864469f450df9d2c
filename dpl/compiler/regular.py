"""Whether accelerations and forces of constraint are determined, judged at a few points before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random

from dpl.compiler.algebra import Expr, Symbol, by_name, free, sp
from dpl.compiler.elimination import Matrix
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.source import Span

POINTS = 2
TINY = 1e-9
"""Of a pivot against the entry that it began as: what rounding leaves of zero"""
MOST_JUDGED = 12
"""Unknowns beyond which a system is not judged"""


Numbers = list[list[float]]


def check_inertia(mass: Matrix, names: Sequence[str], spans: Sequence[Span], consts: Mapping[Symbol, Expr]) -> None:
    """Raises CompileError where the mass matrix is singular, with the coordinate that has no inertia."""
    size = len(names)
    for i in range(size):
        if (i, i) not in mass:
            raise CompileError([_no_inertia(names[i], spans[i], [])])
    lost = _lost([_numbers(mass, size, point) for point in _points(mass.values(), consts)], range(size))
    if lost is not None:
        others = [names[j] for j in range(lost) if (j, lost) in mass]
        raise CompileError([_no_inertia(names[lost], spans[lost], others)])


def check_constraints(
    mass: Matrix, slopes: Matrix, size: int, spans: Sequence[Span], consts: Mapping[Symbol, Expr]
) -> None:
    """Raises CompileError where a constraint holds what others hold already."""
    whole = {**mass, **{(i, size + k): e for (k, i), e in slopes.items()}}
    total = size + len(spans)
    lost = _lost([_numbers(whole, total, point) for point in _points(whole.values(), consts)], range(size, total))
    if lost is None:
        return
    related = tuple(Label(span, "and this") for span in spans[: lost - size])
    message = "this constraint leaves no freedom, or holds what others hold already"
    label = Label(spans[lost - size], "its force cannot be determined")
    raise CompileError([Diagnostic("redundant-constraint", message, label, related, help="leave it out")])


def _no_inertia(name: str, span: Span, others: Sequence[str]) -> Diagnostic:
    if not others:
        label = Label(span, f"does not read `{name}'` in a square")
        help_text = f"give it kinetic energy, or an equation of its own: `{name}' = …`"
        return Diagnostic("no-inertia", f"the coordinate `{name}` has no inertia", label, help=help_text)
    rates = ", ".join(f"`{other}'`" for other in others)
    message = f"the coordinate `{name}` has no inertia of its own: it only moves together with {rates}"
    help_text = "give it kinetic energy of its own, or leave one of these coordinates out"
    return Diagnostic("no-inertia", message, Label(span, f"`{name}''` is not determined"), help=help_text)


def _points(exprs: Iterable[Expr], consts: Mapping[Symbol, Expr]) -> list[dict[Symbol, Expr]]:
    """Values of all symbols; the same whenever the names are."""
    random = Random(1)
    symbols = [s for s in by_name(free(exprs)) if s not in consts]
    return [{**consts, **{s: sp.Float(random.uniform(0.5, 1.5)) for s in symbols}} for _ in range(POINTS)]


def _numbers(entries: Matrix, size: int, point: Mapping[Symbol, Expr]) -> Numbers | None:
    """The symmetric matrix at a point; None where it has no value there."""
    if size > MOST_JUDGED:
        return None
    result = [[0.0] * size for _ in range(size)]
    try:
        for (i, j), entry in entries.items():
            result[i][j] = result[j][i] = float(entry.xreplace(point))
    except (TypeError, ValueError, OverflowError):  # a network or a table, the root of a negative number
        return None
    return result


def _lost(points: Iterable[Numbers | None], judged: range) -> int | None:
    """The first unknown whose pivot vanishes at every point."""
    found = [None if numbers is None else _vanishing(numbers, judged) for numbers in points]
    return found[0] if found and len(set(found)) == 1 else None


def _vanishing(matrix: Numbers, judged: range) -> int | None:
    """Where elimination in the order of the rows meets a pivot that is nothing but rounding."""
    rows, size = [row[:] for row in matrix], len(matrix)
    largest = [abs(matrix[i][i]) for i in range(size)]
    for p in range(size):
        if abs(rows[p][p]) <= TINY * largest[p]:
            return p if p in judged else None
        for i in range(p + 1, size):
            factor = rows[i][p] / rows[p][p]
            largest[i] = max(largest[i], abs(factor * rows[p][i]))
            for j in range(p + 1, size):
                rows[i][j] -= factor * rows[p][j]
    return None
