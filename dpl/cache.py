"""Where DPL keeps what it can make again: the parser's tables, generated modules, traced and compiled programs.

A file that is not whole, cannot be read or cannot be written is as if it were not there: each carries a digest.
"""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from dpl.version import __version__

NEVER = "DPL_NO_CACHE"
"""The environment variable that turns keeping off"""


def folder() -> Path | None:
    """`dpl` in the user's cache directory, as the platform has it; None if this user has no home. May not exist yet."""
    root = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    try:
        default = "Library/Caches" if sys.platform == "darwin" else ".cache"
        return (Path(root) if root else Path.home() / default) / "dpl"
    except RuntimeError:
        return None


def place(kind: str) -> Path | None:
    """The folder for files of a kind; None where nothing is to be kept."""
    root = None if os.environ.get(NEVER) else folder()
    return root / kind if root else None


def read(path: Path) -> bytes | None:
    """What `write` kept there; None if it is not there or not whole."""
    try:
        digest, _, data = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    return data if digest == _digest(data) else None


def write(path: Path, data: bytes) -> None:
    """Keeps it, all or nothing: other processes see the old file or the new one. What cannot be written is not kept."""
    import tempfile  # 4 ms, and needed once

    name = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            name = file.name
            file.write(_digest(data) + b"\n" + data)
        os.replace(name, path)
    except OSError:
        if name is not None:
            with suppress(OSError):
                os.unlink(name)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def key(*parts: str) -> str:
    """A name for what these parts and this DPL determine."""
    return hashlib.sha256("\0".join((_package(), *parts)).encode()).hexdigest()[:32]


@cache
def _package() -> str:
    """The version, and size and time of every module: an edited checkout is another DPL."""
    root = Path(__file__).parent
    files: list[str] = []
    for where, folders, names in os.walk(root):
        folders[:] = [f for f in folders if f != "__pycache__"]
        stats = ((name, os.stat(os.path.join(where, name))) for name in names if name.endswith(".py"))
        files += [f"{where}/{name} {s.st_size} {s.st_mtime_ns}" for name, s in stats]
    return "\n".join([__version__, str(sys.version_info[:2]), *sorted(files)])
