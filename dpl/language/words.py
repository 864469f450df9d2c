"""Words that may not be declared, and words that open things: known to the parser, the formatter and the editor."""

from __future__ import annotations

DECLARATIONS = frozenset("const param state input output let given noise".split())

STATEMENTS = DECLARATIONS | frozenset(
    "fn table network part mode when every at next lagrangian applied constraint "
    "run loss metric observe go stop".split()
)
"""Words that open a statement in a block."""

OPERATORS = frozenset("and or not if then else in for".split())

RESERVED = STATEMENTS | OPERATORS
"""Words that nothing may be called."""

PREDECLARED = frozenset("time period π pi inf true false".split())
"""Names that the language declares in every block."""

TASKS = frozenset("simulate train fit optimize verify evaluate compare record suggest refine".split())

ITEMS = (
    frozenset("const param state input output let fn table data network model controller scenario from".split()) | TASKS
)
"""Words that open an item of a file."""

BLOCKS = frozenset("model controller scenario data".split()) | TASKS
"""Those of them that stand nowhere else."""

CLAUSES = frozenset(
    "on vary minimize maximize using until start expect subject plot window anneal show "
    "points batch steps starts seed samples epochs without hold profile every of repeat bootstrap rounds terms".split()
)
"""Words that open a clause of a task."""
