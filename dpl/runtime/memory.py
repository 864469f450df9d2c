"""What a compiled program takes of memory, known before it runs, and what there is of it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax

WAYS_OUT = "a smaller `batch` or fewer `samples`, fewer steps or recorded quantities, or --float32 take less"


class MemoryNeeded(ValueError):
    """A program needs more memory [byte] than there is."""

    def __init__(self, name: str, needed: int, free: int):
        self.needed, self.free = needed, free
        super().__init__(f"{name} needs {_shown(needed)} at once, and {_shown(free)} are free: {WAYS_OUT}")


def check(name: str, compiled: Any) -> int:
    """What it needs [byte]; 0 where XLA does not say.

    Raises:
        MemoryNeeded: more than there is.
    """
    try:
        found = compiled.memory_analysis()
        needed = int(found.temp_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes)
    except (AttributeError, NotImplementedError, jax.errors.JaxRuntimeError):
        return 0
    free = available()
    if free is not None and needed > free:
        raise MemoryNeeded(name, needed, free)
    return needed


def available() -> int | None:
    """Free memory [byte] of the device that computes; None where nobody says."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        return stats["bytes_limit"] - stats["bytes_in_use"] if "bytes_limit" in stats else None
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _shown(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"
