"""Programs are kept between processes, in the user's cache directory: as they were traced, and as they were compiled.

`dpl run` keeps them, and so does a Python program that calls `dpl.keep()`; DPL_NO_CACHE=1 keeps none.
"""

from __future__ import annotations

import os
import sys
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from dpl import cache

COMPILED = "compiled"
LEAST_SECONDS = 0.0
"""What compiles faster than this is not kept: all is, for reading a small program takes a fifth of compiling it"""
LARGEST = 500_000_000
"""A folder is cut to this size [byte]"""
SPOILT = "Error reading persistent compilation cache"
"""How JAX begins to tell of an entry that it cannot use"""


def keep() -> None:
    """From here on this process keeps the programs that it traces and compiles, and reads those that are kept.

    JAX's own compilation cache is set to the user's cache directory, for all programs of the process, unless it is set
    already. Does nothing where DPL_NO_CACHE is set or the user has no home.
    """
    from dpl.runtime import kept

    place = cache.place(COMPILED)
    if place is None:
        return
    kept.Keeping.place = cache.place(kept.KIND)
    trim(place.parent / kept.KIND)
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    import jax

    configure: Callable[[str, object], None] = cast(Any, jax).config.update
    configure("jax_compilation_cache_dir", str(place))
    configure("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    configure("jax_persistent_cache_min_entry_size_bytes", -1)
    trim(place)
    _healing(place)


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


# ---------------------------------------------------------------- entries that are not whole


def _healing(place: Path) -> None:
    """JAX compiles what it cannot read, but never replaces the entry: such entries are deleted when it tells of one.

    Its warnings about the cache are not shown, for it is done without.
    """
    warnings.filterwarnings("always", message=SPOILT)
    warnings.filterwarnings("ignore", message="Error writing persistent compilation cache")
    show = warnings.showwarning

    def told(message: Any, category: Any, *more: Any, **options: Any) -> None:
        if str(message).startswith(SPOILT):
            heal(place)
        else:
            show(message, category, *more, **options)

    warnings.showwarning = told


def heal(place: Path) -> None:
    """Deletes the entries that are not whole: JAX writes in place, so that a full disk or an end leaves a part.

    Where all look whole, the fault lies deeper, and all are deleted.
    """
    entries = list(place.glob("*-cache")) if place.is_dir() else []
    broken = [entry for entry in entries if not _whole(entry)]
    for entry in broken or entries:
        with suppress(OSError):
            entry.unlink()


def _whole(entry: Path) -> bool:
    if "zstandard" in sys.modules:
        return False  # then JAX compresses otherwise
    try:
        zlib.decompress(entry.read_bytes())
    except (OSError, zlib.error):
        return False
    return True
