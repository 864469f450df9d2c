"""The runs in a folder: what became of each, and which one a name means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dpl.results import lock
from dpl.results.folder import LOCK, STATUS, read_json
from dpl.results.table import Table

RUNS = Path("runs")
LAST = "last"


@dataclass(frozen=True)
class Entry:
    """A run as `dpl runs` shows it. `status`: running, done, failed, interrupted, or killed without a word."""

    path: Path
    began: str
    file: str
    status: str
    planned: tuple[str, ...]
    tasks: tuple[Mapping[str, Any], ...]
    now: Mapping[str, Any]
    seconds: float
    case: str | None = None
    """The file of the one run that was repeated, if that is what it was"""

    @property
    def unfinished(self) -> bool:
        """Whether there is something to go on with."""
        if self.case is not None:
            return False
        return self.status in ("interrupted", "killed") or (self.status == "failed" and self.ended < len(self.planned))

    @property
    def ended(self) -> int:
        """How many tasks came to their end."""
        return sum(task.get("status") != "interrupted" for task in self.tasks)

    @property
    def said(self) -> str:
        """The verdicts and the last loss, or where a task is."""
        if self.status == "running" and self.now:
            loss = f", loss {self.now['loss']}" if "loss" in self.now else ""
            return f"{self.now['title']}: {self.now['done']:_}/{self.now['total']:_}{loss}"
        words = [str(task["said"]) for task in self.tasks]
        verdicts = [f"{words.count(word)} {word}" for word in ("passed", "failed") if word in words]
        losses = [word for word in words if word not in ("passed", "failed", "done")]
        return ", ".join([*losses[-1:], *verdicts])


def read(path: Path) -> Entry | None:
    """The run in a folder; None if there is none."""
    found = read_json(path / STATUS)
    if not found:
        return None
    status = str(found.get("status", ""))
    if status == "running" and not lock.held(path / LOCK):
        status = "killed"
    return Entry(
        path=path,
        began=str(found.get("began", "")),
        file=str(found.get("file", "")),
        status=status,
        planned=tuple(found.get("planned") or ()),
        tasks=tuple(found.get("tasks") or ()),
        now=found.get("now") or {},
        seconds=float(found.get("seconds") or 0.0),
        case=found.get("case"),
    )


def listed(runs: Path) -> list[Entry]:
    """The runs in a folder, the newest last."""
    folders = [path for path in runs.iterdir() if path.is_dir()] if runs.is_dir() else []
    found = [entry for entry in map(read, folders) if entry is not None]
    return sorted(found, key=lambda entry: (entry.began, entry.path.name))


def find(name: str, runs: Path = RUNS) -> Entry:
    """The run in the folder `name`, or of that name in `runs`, or the `last` there.

    Raises:
        ValueError: there is no such run.
    """
    if name == LAST:
        known = listed(runs)
        if not known:
            raise ValueError(f"there are no runs in {runs}: `{LAST}` means the newest there")
        return known[-1]
    for path in (Path(name), runs / name):
        entry = read(path)
        if entry is not None:
            return entry
    close = get_close_matches(Path(name).name, [entry.path.name for entry in listed(runs)], n=1, cutoff=0.5)
    hint = f"did you mean `{close[0]}`?" if close else f"`dpl runs` lists those in {runs}"
    raise ValueError(f"there is no run `{name}`; {hint}")


def unfinished(file: Path, runs: Path = RUNS) -> Entry:
    """The newest run of a file that there is something to go on with. Raises ValueError if there is none."""
    for entry in reversed(listed(runs)):
        if entry.unfinished and Path(entry.file).resolve() == file.resolve():
            return entry
    raise ValueError(f"no run of {file} in {runs} is unfinished; `dpl runs` lists all, and --from starts from one")


def table(entries: list[Entry]) -> Table:
    rows = tuple(
        (
            entry.path.name,
            entry.began[:19].replace("T", " "),
            Path(entry.file).name,
            entry.status,
            f"{entry.ended}/{len(entry.planned)}",
            entry.said,
            f"{entry.seconds:.1f} s",
        )
        for entry in entries
    )
    return Table(("run", "began", "file", "status", "tasks", "result", "took"), rows, frozenset({6}))


def document(runs: Path, entries: list[Entry]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "folder": str(runs),
        "runs": [
            {
                "name": entry.path.name,
                "path": str(entry.path),
                "began": entry.began,
                "file": entry.file,
                "status": entry.status,
                "planned": list(entry.planned),
                "tasks": [dict(task) for task in entry.tasks],
                "now": dict(entry.now) if entry.status == "running" else None,
                "seconds": entry.seconds,
            }
            for entry in entries
        ],
    }
