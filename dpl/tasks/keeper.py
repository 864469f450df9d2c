"""Where a task's state is kept while it runs, so that a lost run goes on where it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

State = Mapping[str, np.ndarray]
"""Everything that a task needs to go on bit for bit: named arrays, nothing else"""


class Keeper(Protocol):
    """Keeps the latest state of each task; the one kept last is found again, whole, whatever happens in between."""

    def load(self, task: str) -> State | None: ...

    def save(self, task: str, state: State) -> None: ...


class Nowhere:
    """Keeps nothing."""

    def load(self, task: str) -> State | None:
        return None

    def save(self, task: str, state: State) -> None:
        pass
