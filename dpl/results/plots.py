"""Figures by matplotlib, as SVG and PNG: the loss over the steps, and observed quantities over time."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from dpl.runtime.program import Run

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#888888"
"""Of the colours by Okabe and Ito, which everyone tells apart"""
CYCLE = (BLUE, ORANGE, "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#f0e442", "#000000")

BUCKETS = 400
"""A longer history is drawn by the means of so many parts, with what they span"""
LINES = 8
"""Of an array so many numbers are drawn at the most"""
QUANTITIES = 8
"""Where nothing says what to draw, so many quantities are"""


class Descended(Protocol):
    """A result with a loss (in `unit`) for each step."""

    @property
    def objective(self) -> str: ...

    @property
    def losses(self) -> np.ndarray: ...

    @property
    def unit(self) -> str: ...


# ---------------------------------------------------------------- figures


def loss(result: Descended, title: str) -> Mapping[str, bytes]:
    """The loss over the steps; where the result has `histories` [steps, starts], those of all starts behind it."""
    drawing, axes = figure(1)
    ax = axes[0]
    others = getattr(result, "histories", None)
    if others is not None and np.ndim(others) == 2 and np.shape(others)[1] > 1:
        for history in np.asarray(others).T:
            steps, mean, *_ = bucketed(history)
            ax.plot(steps, mean, color=GREY, linewidth=0.7, alpha=0.6)
    steps, mean, low, high = bucketed(np.asarray(result.losses))
    ax.fill_between(steps, low, high, color=BLUE, alpha=0.2, linewidth=0)
    ax.plot(steps, mean, color=BLUE, linewidth=1.3)
    ax.set_yscale("log" if on_log_scale(mean) else "linear")
    label(ax, "step", headed(result.objective, result.unit))
    ax.set_title(title, parse_math=False)
    return drawn(drawing)


def over_time(runs: Mapping[str, Run], names: Sequence[str], title: str) -> Mapping[str, bytes]:
    """A panel per quantity over time, with all runs in each; the last of several runs stands out."""
    drawing, axes = figure(len(names))
    for ax, name in zip(axes, names, strict=True):
        for i, (word, run) in enumerate(runs.items()):
            _curves(ax, run, name, word, behind=i < len(runs) - 1)
        last = list(runs.values())[-1]
        label(ax, "", headed(name, last.units[name]))
        if len(runs) > 1 or last[name].ndim > 1:
            ax.legend(fontsize="small", loc="best", frameon=False)
    label(axes[-1], headed("time", next(iter(runs.values())).time_unit), axes[-1].get_ylabel())
    axes[0].set_title(title, parse_math=False)
    return drawn(drawing)


def drawable(run: Run) -> list[str]:
    """What to draw of a run where nothing says so: its first quantities; nothing of a static one."""
    return run.names[:QUANTITIES] if run.time.size > 1 else []


def bucketed(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Last step, mean, lowest and highest of each of at most `BUCKETS` equal parts of a history."""
    parts = np.array_split(values, min(BUCKETS, values.size) or 1)
    steps = np.cumsum([part.size for part in parts])
    mean, low, high = (
        np.array([f(part) if part.size else np.nan for part in parts]) for f in (np.mean, np.min, np.max)
    )
    return steps, mean, low, high


def on_log_scale(values: np.ndarray) -> bool:
    """Whether all are positive and some are much larger than others."""
    known = values[np.isfinite(values)]
    return known.size > 0 and float(known.min()) > 0 and float(known.max()) > 10 * float(known.min())


# ---------------------------------------------------------------- matplotlib, whose types are unknown


def figure(rows: int, sharex: bool = True) -> tuple[Any, Sequence[Any]]:
    """A figure with so many panels, one below the other, as a rule over the same x."""
    drawing = sheet(7.0, 1.2 + 2.2 * rows if rows > 1 else 4.0)
    axes = drawing.subplots(rows, 1, sharex=sharex, squeeze=False)[:, 0]
    return drawing, [plain(ax) for ax in axes]


def sheet(width: float, height: float) -> Any:
    """An empty figure [inch]."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def plain(ax: Any) -> Any:
    """The panel with a faint grid and without a frame."""
    ax.grid(True, color="#dddddd", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _curves(ax: Any, run: Run, name: str, word: str, behind: bool) -> None:
    values = run[name].reshape(run.time.size, -1)
    chosen = np.unique(np.linspace(0, values.shape[1] - 1, min(LINES, values.shape[1])).astype(int))
    for k, column in enumerate(chosen):
        index = ", ".join(map(str, np.unravel_index(column, run[name].shape[1:])))
        label = f"{word} [{index}]" if index else word
        colour = GREY if behind else CYCLE[k % len(CYCLE)]
        ax.plot(
            run.time, values[:, column], color=colour, linestyle="--" if behind else "-", linewidth=1.3, label=label
        )


def label(ax: Any, x: str, y: str) -> None:
    ax.set_xlabel(x, parse_math=False)
    ax.set_ylabel(y, parse_math=False)


def headed(name: str, unit: str) -> str:
    """`name [unit]`"""
    return f"{name} [{unit}]" if unit else name


def drawn(figure: Any) -> Mapping[str, bytes]:
    """The bytes of the files by ending; the same figure gives the same bytes."""
    import matplotlib

    same: Any = {"svg.hashsalt": "dpl", "svg.fonttype": "path"}
    with matplotlib.rc_context(same):
        return {ending: _saved(figure, ending, metadata) for ending, metadata in _UNDATED}


_UNDATED: Iterable[tuple[str, dict[str, Any]]] = (("svg", {"Date": None}), ("png", {"Software": None}))


def _saved(figure: Any, ending: str, metadata: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=ending, dpi=150, metadata=metadata)
    figure.set_layout_engine("none")  # it is laid out now, which takes as long as to draw it
    return file.getvalue()
