"""Text to checked model. Needs Lark only."""

from __future__ import annotations

from pathlib import Path

from dpl.language.model import CheckedModel
from dpl.language.source import Source

__all__ = ["CheckedModel", "Source", "load", "load_text"]


def load(path: str | Path) -> CheckedModel:
    """The checked model of a file. Raises `CompileError` with all that is wrong with it."""
    from dpl.language.parser import read

    return load_text(read(Path(path)))


def load_text(source: Source) -> CheckedModel:
    """The checked model of a text. Raises `CompileError` with all that is wrong with it."""
    from dpl.language.passes import check_source

    return check_source(source)
