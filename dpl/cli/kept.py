"""Compiled programs are kept between runs, in the user's cache directory; DPL_NO_CACHE=1 keeps none."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from dpl.cache import folder

LEAST_SECONDS = 0.05
"""What compiles faster than this is not kept"""
LARGEST = 500_000_000
"""The folder is cut to this size [byte]"""


def keep() -> None:
    """Makes JAX find what it compiled before; a user's own setting of JAX rules."""
    place = folder()
    if place is None or os.environ.get("DPL_NO_CACHE") or os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    import jax

    configure: Callable[[str, object], None] = cast(Any, jax).config.update
    warnings.filterwarnings("ignore", message=".*persistent compilation cache")  # done without: it compiles
    configure("jax_compilation_cache_dir", str(place / "compiled"))
    configure("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    configure("jax_persistent_cache_min_entry_size_bytes", -1)
    trim(place / "compiled")


def trim(place: Path) -> None:
    """Deletes what was used longest ago, if need be to three quarters of the size; JAX's own limit needs a package."""
    try:
        with os.scandir(place) as entries:
            files = [(entry.path, entry.stat()) for entry in entries if entry.is_file()]
        size = sum(stat.st_size for _, stat in files)
        if size <= LARGEST:
            return
        for path, stat in sorted(files, key=lambda file: max(file[1].st_atime, file[1].st_mtime)):
            if size <= 0.75 * LARGEST:
                return
            os.unlink(path)
            size -= stat.st_size
    except OSError:
        pass  # another process trims too, or there is nothing yet
