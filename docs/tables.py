"""Writes the tables of the pages beside it from the code: `python docs/tables.py`.

What stands between `<!-- table NAME -->` and `<!-- end -->` is replaced; all else stays. `tests/test_docs.py` holds
that nothing would change.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import partial
from pathlib import Path

from dpl.language.builtins import (
    ACTIVATIONS,
    DECAYS,
    DISTRIBUTIONS,
    FUNCTIONS,
    OPTIMISERS,
    RUN_REDUCTIONS,
    SOLVERS,
    TIME_REDUCTIONS,
    Builtin,
    MethodRow,
    TimeReduction,
)
from dpl.language.clauses import CLAUSES
from dpl.language.units import _PLAIN, _PREFIXED, _PREFIXES
from dpl.tasks import optimisers as first_order

DOCS = Path(__file__).parent
PAGES = (DOCS / "language.md", DOCS / "tasks.md", DOCS / "how-it-works.md")
_PLACE = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

_RULES = {
    "pure": "all pure",
    "same": "all of one unit, which is the result's",
    "ratio": "all of one unit; the result is pure",
    "sqrt": "the result's unit is the square root",
    "cbrt": "the result's unit is the cube root",
    "square": "all of one unit; the result's unit is its square",
    "product": "the product of the units",
    "table": "`x` as `xs`; the result as `ys`",
    "choice": "`scores` and `temperature` pure; the result as `values`",
}
_SPECIAL = {
    "straight_through": "`f(z)` and `z` of one unit",
    "smooth": "`width` in the unit of what jumps or bends; the result as `e`",
}
_RESULTS = {"same": "as `e`", "times time": "`e` times time", "pure": "pure", "time": "time"}


def filled(page: str) -> str:
    """The page with its tables as the compiler's are now."""
    return _PLACE.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[3]}", page)


def _table(head: str, rows: Iterable[tuple[str, ...]]) -> str:
    columns = head.count("|") + 1
    return "\n".join([f"| {head} |", "|---" * columns + "|", *(f"| {' | '.join(row)} |" for row in rows)])


def functions() -> str:
    rows = ((f"`{row.name}`", _arity(row), _rule(row), row.smoothness, row.doc) for row in FUNCTIONS.values())
    return _table("function | arguments | units | smoothness | value", rows)


def _arity(row: Builtin) -> str:
    least, most = row.arity
    return f"{least} or more" if most is None else str(least) if least == most else f"{least} to {most}"


def _rule(row: Builtin) -> str:
    return _SPECIAL[row.name] if row.rule == "special" else _RULES[row.rule]


def reductions() -> str:
    def first(row: TimeReduction) -> str:
        return "event" if row.reads == "event" else "condition" if row.condition else "e"

    rows = (
        (
            f"`{row.name}({', '.join((first(row), *row.arguments))})`",
            _RESULTS[row.result],
            row.smoothness,
            row.doc,
        )
        for row in TIME_REDUCTIONS.values()
    )
    return _table("reduction | unit | smoothness | value", rows)


def runs() -> str:
    rows = ((f"`{name}({', '.join(('e', *more))})`", doc) for name, (more, doc) in RUN_REDUCTIONS.items())
    return _table("reduction | value", rows)


def distributions() -> str:
    rows = (
        (
            f"`{row.name}({', '.join(name for name, _ in row.arguments)})`",
            ", ".join(f"`{name}`" for name, own in row.arguments if own) or "none",
            ", ".join(f"`{name}`" for name in row.positive) or "none",
            "x" if row.standard else "",
            row.doc,
        )
        for row in DISTRIBUTIONS.values()
    )
    return _table("distribution | in the unit of what is drawn | above 0 | of noise | what it is", rows)


def solvers() -> str:
    rows = ((f"`{row.name}({', '.join(name for name, _ in row.arguments)})`", row.doc) for row in SOLVERS.values())
    return _table("solver | what it is", rows)


def optimisers() -> str:
    rows = ((f"`{row.name}`", _order(row), _options(row), row.doc) for row in OPTIMISERS.values())
    return _table("optimiser | for | options and their defaults | what it is", rows)


def _order(row: MethodRow) -> str:
    return "`train`, `optimize`" if row.stochastic else "`optimize`, sums of squares" if row.squares else "`optimize`"


def _options(row: MethodRow) -> str:
    own = first_order.OPTIMISERS.get(row.name)
    return ", ".join(f"`{n} = {v:g}`" for n, v in {"rate": own.rate, **own.options}.items()) if own else "none"


def clauses() -> str:
    """Which task takes which clause."""
    words = dict.fromkeys(word for taken in CLAUSES.values() for word in taken)
    rows = ((f"`{word}`", *("x" if word in taken else "" for taken in CLAUSES.values())) for word in words)
    return _table(f"clause | {' | '.join(f'`{kind}`' for kind in CLAUSES)}", rows)


def words() -> str:
    rows = (("`activation`", _listed(ACTIVATIONS)), ("`decay`", _listed(DECAYS)))
    return _table("option | one of", rows)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def units() -> str:
    """Every unit by what it measures, with its size in SI; those that take prefixes come first."""
    groups: dict[str, list[list[str]]] = {}
    for table, place in ((_PREFIXED, 0), (_PLAIN, 1)):
        for name, (dimension, scale) in table.items():
            written = "the pure number" if dimension.pure else f"`{dimension}`"
            groups.setdefault(written, [[], []])[place].append(f"`{name}`{_scale(scale)}")
    rows = ((written, ", ".join(first), ", ".join(rest)) for written, (first, rest) in groups.items())
    return _table("in SI | with prefixes | without", rows)


def prefixes() -> str:
    """In the order of their powers of ten."""
    rows = sorted(_PREFIXES.items(), key=lambda row: row[1])
    return _table("prefix | power of ten", ((f"`{name}`", str(power)) for name, power in rows))


def _scale(scale: Fraction | float) -> str:
    return "" if scale == 1 else f" = {float(scale):.12g}"


def modules(folder: str) -> str:
    """The modules of a folder of `dpl/`, each with the first paragraph of its docstring."""
    rows: list[tuple[str, str]] = []
    for path in sorted((DOCS.parent / "dpl" / folder).glob("[!_]*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        rows.append((f"`{path.name}`", " ".join(doc.split("\n\n")[0].split()).replace("|", "\\|")))
    return _table("module | what it does", rows)


TABLES: dict[str, Callable[[], str]] = {
    "functions": functions,
    "reductions": reductions,
    "runs": runs,
    "distributions": distributions,
    "solvers": solvers,
    "optimisers": optimisers,
    "clauses": clauses,
    "words": words,
    "units": units,
    "prefixes": prefixes,
    **{folder: partial(modules, folder) for folder in ("language", "compiler", "runtime", "tasks", "results", "cli")},
}

if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
