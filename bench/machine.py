"""What a figure was measured on and with."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def described(*packages: str) -> str:
    """The processor, its cores and their load, Python and the versions of packages."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{_processor()}, {cores} cores{load}; Python {platform.python_version()}; {versions}"


def _processor() -> str:
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
