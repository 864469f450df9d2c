"""Comparisons of what runs measured: whether they hold, and by how much."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def holds(ops: Sequence[str], operands: Sequence[Any]) -> Any:
    """Whether a chain of comparisons holds, elementwise; one operand alone is a truth value."""
    pairs = zip(ops, operands, operands[1:], strict=False)
    return reduce(operator.and_, [COMPARE[op](a, b) for op, a, b in pairs] or [np.asarray(operands[0]).astype(bool)])


def gaps(ops: Sequence[str], operands: Sequence[Any]) -> list[Any]:
    """One number (or array over runs) per comparison: at most 0 where it holds, 0 where it is `==` and holds."""
    pairs = zip(ops, operands, operands[1:], strict=False)
    return [b - a if op in (">", ">=") else a - b for op, a, b in pairs]
