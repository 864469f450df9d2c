"""How XLA compiles a program, where its own choice is not ours; and programs that need not be traced again.

A program with events has many small loops that run once, one of a large system in groups has many small kernels.
XLA's newer code generator for CPUs takes about twice the time over them and gains nothing (0042 and 0052 in
docs/decisions), so they get the older one where it can still be had.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax

from dpl.runtime import kept

_OLDER = {"xla_cpu_use_fusion_emitters": False}


@cache
def _options() -> dict[str, Any] | None:
    """What this version of XLA takes of `_OLDER`: all or nothing."""
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda x: x + 1.0, compiler_options=dict(_OLDER))(0.0)
    except jax.errors.JaxRuntimeError:
        return None
    return dict(_OLDER)


def jit(function: Callable[..., Any], pieces: bool, of: Any, donated: bool = False) -> Any:
    """`jax.jit` of a program that is compiled by itself, not within another.

    Args:
        pieces: whether it consists of many small ones: `Scenario.pieces`.
        of: what shapes it besides its arguments, by which it is kept (`runtime/kept.py`).
        donated: whether the first argument is given up.
    """
    options = _options() if pieces else None
    return kept.Program(function, of, partial(jax.jit, compiler_options=options), donated)
