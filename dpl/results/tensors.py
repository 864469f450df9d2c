"""Named arrays as safetensors: nothing in such a file is ever executed. Each says which program it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class Tensors:
    """`source` is the hash of the program that the arrays belong to."""

    arrays: dict[str, np.ndarray]
    source: str


def encoded(arrays: Mapping[str, np.ndarray], source: str) -> bytes:
    """The bytes of the file; the same arrays give the same bytes."""
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(a).reshape(a.shape) for name, a in arrays.items()}, {"source": source})


def read(path: Path) -> Tensors | None:
    """What a file holds; None if it is not there or is no such file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        return Tensors(load(data), str(header.get("__metadata__", {}).get("source", "")))
    except (OSError, ValueError, SafetensorError):
        return None
