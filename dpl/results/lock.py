"""Whether the process that writes a folder is still there: it holds a lock, which ends when the process does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def take(path: Path) -> IO[bytes] | None:
    """The file, locked until it is closed; None where another holds it. Raises OSError if it cannot be opened.

    Where the file system knows no locks, nobody ever seems to hold one.
    """
    file = path.open("ab")
    try:
        _lock(file)
    except (BlockingIOError, PermissionError):
        file.close()
        return None
    except OSError:
        pass
    return file


def held(path: Path) -> bool:
    """Whether a process holds the lock now."""
    if not path.is_file():
        return False
    try:
        file = take(path)
    except OSError:
        return False
    if file is None:
        return True
    file.close()
    return False
