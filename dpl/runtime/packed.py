"""Many numbers as text: what data of a generated module are written in. Needs neither JAX nor NumPy."""

from __future__ import annotations

import base64
import struct


def numbers(text: str) -> tuple[float, ...]:
    """The doubles, little-endian, that stand in base64."""
    found = base64.b64decode(text, validate=True)
    return struct.unpack(f"<{len(found) // 8}d", found)
