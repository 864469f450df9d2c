"""Named arrays as safetensors: nothing in such a file is ever executed. Each says which program it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Tensors:
    """`source` is the hash of the program that the arrays belong to; `units` are those it declares, by name."""

    arrays: dict[str, np.ndarray]
    source: str
    units: Mapping[str, str] = field(default_factory=dict[str, str])


def encoded(arrays: Mapping[str, np.ndarray], source: str, units: Mapping[str, str] | None = None) -> bytes:
    """The bytes of the file; the same arrays give the same bytes."""
    from safetensors.numpy import save

    said = json.dumps({"source": source, "units": dict(units or {})}, ensure_ascii=False, sort_keys=True)
    plain = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in arrays.items()}
    return save(plain, {"dpl": said})  # one entry: safetensors writes several in no fixed order


def read(path: Path) -> Tensors | None:
    """What a file holds; None if it is not there or is no such file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        said: dict[str, Any] = json.loads(header.get("__metadata__", {}).get("dpl", "{}"))
        return Tensors(load(data), str(said.get("source", "")), dict(said.get("units", {})))
    except (OSError, ValueError, AttributeError, TypeError, SafetensorError):
        return None
