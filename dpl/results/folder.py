"""The folder of a run, and how it is written: each file whole or not at all, whatever happens in between.

A write that fails loses nothing: it is said at once, kept in memory, and tried again with the next one and at the end.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from dpl.results import lock
from dpl.tasks.keeper import State

LEAST_FREE = 50_000_000
"""With less room on the disk [byte] than this a run begins with a warning"""

STATUS, SETTINGS, SUMMARY, LOG, LOCK = "status.json", "settings.json", "summary.json", "log.txt", ".lock"
PARTIAL = ".partial"


def say(text: str) -> None:
    print(f"dpl: {text}", file=sys.stderr)


# ---------------------------------------------------------------- places


def fresh(runs: Path, stem: str, now: datetime) -> Path:
    """A new folder in `runs`, named after the file and the moment. Raises ValueError if it cannot be made."""
    name = f"{stem}-{now:%Y%m%d-%H%M%S}"
    for n in count(1):
        path = runs / (name if n == 1 else f"{name}-{n}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            continue
        except OSError as error:
            raise unwritable(path, error) from None
    raise AssertionError("count ends: a bug in Python")


def exactly(path: Path) -> Path:
    """This folder, made if need be. Raises ValueError if there is anything in it already or it cannot be made."""
    if (path / STATUS).exists():
        raise ValueError(
            f"{path} holds a run already: choose another folder, or go on with that run by --resume {path}"
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        if found := min(path.iterdir(), default=None):
            raise ValueError(
                f"{path} is not empty, there is `{found.name}`: a run overwrites nothing; "
                f"choose a new folder, such as {path / 'run-1'}"
            )
    except OSError as error:
        raise unwritable(path, error) from None
    return path


# ---------------------------------------------------------------- the folder


class Folder:
    """A run's folder while the run lasts; also the keeper of its tasks' states, bound to the program by `source`.

    Only a run that goes on (`resumed`) finds states that were kept.

    Args:
        source: the hash of the generated program.
        say: told when something cannot be written or read.
    Raises:
        ValueError: the folder cannot be written, or another process is writing it.
    """

    def __init__(self, path: Path, source: str, resumed: bool = False, say: Callable[[str], None] = say):
        self.path, self.source, self.resumed, self._say = path, source, resumed, say
        self.unsaved: dict[str, bytes] = {}
        """What could not be written yet, by file name"""
        self._complained = False
        self._lock = self._taken()
        if resumed:
            for left in path.rglob(f"*{PARTIAL}"):
                left.unlink(missing_ok=True)
        log = path / LOG
        self._log = log.read_text(encoding="utf-8") if resumed and log.is_file() else ""

    def _taken(self) -> IO[bytes]:
        """The folder's lock, after a proof that it can be written."""
        try:
            taken = lock.take(self.path / LOCK)
            if taken is not None:
                replace(self.path / f"proof{PARTIAL}", b"\0" * 4096)
                (self.path / f"proof{PARTIAL}").unlink()
                free = shutil.disk_usage(self.path).free
                if free < LEAST_FREE:
                    self._say(f"only {free / 1e6:.0f} MB are free where {self.path} is: what is found may not be saved")
        except OSError as error:
            raise unwritable(self.path, error) from None
        if taken is None:
            raise ValueError(f"another process is writing {self.path}: wait for its end or stop it")
        return taken

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        """Lets go of the folder, after a last attempt at what could not be written."""
        self.retry()
        self._lock.close()

    # -- files

    def write(self, name: str, data: bytes) -> None:
        """Writes a file whole, now or, where that fails, as soon as it can be."""
        self.unsaved[name] = data
        self.retry()

    def retry(self) -> bool:
        """Tries to write all that is not written yet; whether all of it is on the disk now."""
        for name, data in list(self.unsaved.items()):
            try:
                replace(self.path / name, data)
                del self.unsaved[name]
            except OSError as error:
                self._complain(self.path / name, error)
        self._complained = bool(self.unsaved)
        return not self.unsaved

    def _complain(self, path: Path, error: OSError) -> None:
        if not self._complained:
            self._say(f"cannot write {path}: {error.strerror or error}; the run goes on, and tries again")
        self._complained = True

    def write_json(self, name: str, document: Any) -> None:
        """Writes a document of plain values and arrays; null for a number that is not finite."""
        self.write(name, (json.dumps(plain(document), ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """What `write_json` wrote; nothing if it did not or cannot be read."""
        return read_json(self.path / name)

    def log(self, text: str) -> None:
        """Adds lines to what the console showed."""
        self._log += text + "\n"
        self.write(LOG, self._log.encode())

    # -- states of tasks

    def load(self, task: str) -> State | None:
        """The state that a task kept last; None if there is none of this program, said where it cannot be read."""
        if not self.resumed:
            return None
        from dpl.results import tensors

        path = self.path / _checkpoint(task)
        found = tensors.read(path)
        if found is None and path.exists():
            self._say(f"the checkpoint of {task} cannot be read, so that task begins anew: {path}")
        return None if found is None or found.source != self.source else found.arrays

    def save(self, task: str, state: State) -> None:
        """Keeps a state in the place of the one before it."""
        from dpl.results import tensors

        self.write(_checkpoint(task), tensors.encoded({k: np.asarray(v) for k, v in state.items()}, self.source))


def _checkpoint(task: str) -> str:
    return f"checkpoints/{task}.safetensors"


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    match value:
        case Mapping():
            return {str(name): plain(part) for name, part in cast(Mapping[Any, Any], value).items()}
        case list() | tuple():
            return [plain(part) for part in cast(Sequence[Any], value)]
        case np.ndarray() | np.generic():
            return plain(cast(Any, value).tolist())
        case float():
            return value if math.isfinite(value) else None
        case _:
            return value


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; an empty one if there is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast(dict[str, Any], document) if isinstance(document, dict) else {}


def unwritable(path: Path, error: OSError) -> ValueError:
    reason = error.strerror or str(error)
    return ValueError(f"cannot write {path}: {reason}; choose another place by --out DIR, or save nothing by --no-save")


def replace(path: Path, data: bytes) -> None:
    """Puts a file in its place whole: a reader, or whoever comes after a crash, sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
