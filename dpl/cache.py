"""Where DPL keeps what it can make again: the parser's tables and compiled programs."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def folder() -> Path | None:
    """`dpl` in the user's cache directory, as the platform has it; None if this user has no home. May not exist yet."""
    root = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    try:
        default = "Library/Caches" if sys.platform == "darwin" else ".cache"
        return (Path(root) if root else Path.home() / default) / "dpl"
    except RuntimeError:
        return None
