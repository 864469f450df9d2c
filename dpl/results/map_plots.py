"""Figures of what was recorded, of what a network has learned, and of the gap between map and territory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dpl.results.plots import BLUE, CYCLE, GREY, ORANGE, drawn, figure, headed, label, plain, sheet
from dpl.tasks.record import Recorded
from dpl.tasks.refine import Refined
from dpl.tasks.suggest import Reading, Suggested


def of_recorded(result: Recorded) -> Iterator[tuple[str, Mapping[str, bytes]]]:
    """A panel per sensor: readings and the truth over time, or against each other where a run has one row."""
    if not result.sensors:
        return
    drawing, axes = figure(len(result.sensors), sharex=bool(result.time))
    for ax, name in zip(axes, result.sensors, strict=True):
        read, truth = result.columns[name], result.truth.get(name)
        if result.time:
            _readings(ax, result, name)
        elif truth is not None:
            ax.plot(truth.value, read.value, "o", color=ORANGE, markersize=3.5)
            ax.axline((float(np.nanmean(truth.value)),) * 2, slope=1, color=GREY, linewidth=0.8)
        else:
            ax.plot(np.arange(1, np.size(read.value) + 1), read.value, "o", color=ORANGE, markersize=3.5)
        x = "without noise" if truth is not None else "row"
        label(ax, "" if result.time else headed(x, read.unit * (truth is not None)), headed(name, read.unit))
    if result.time:
        label(axes[-1], headed(result.time, result.columns[result.time].unit), axes[-1].get_ylabel())
    axes[0].set_title(f"record {result.name} on {result.scenario}", parse_math=False)
    yield result.name, drawn(drawing)


def _readings(ax: Any, result: Recorded, name: str) -> None:
    """Of the first runs, one colour each."""
    time = result.columns[result.time].value
    run = result.columns[result.run].value if result.run else np.zeros(np.shape(time))
    for colour, one in zip(CYCLE, np.unique(run), strict=False):
        rows = run == one
        if name in result.truth:
            ax.plot(time[rows], result.truth[name].value[rows], color=colour, linewidth=0.9)
        ax.plot(time[rows], result.columns[name].value[rows], ".", color=colour, markersize=4)


def of_suggested(result: Suggested) -> Iterator[tuple[str, Mapping[str, bytes]]]:
    """What the network says where its runs visit it, with the formula to take; of one or two inputs."""
    if len(result.inputs) not in (1, 2):
        return
    for reading in result.readings:
        draw = _line if len(result.inputs) == 1 else _plane
        name = result.name if len(result.readings) == 1 else f"{result.name}-{reading.output}"
        yield name, draw(result, reading)


def _title(result: Suggested, reading: Reading) -> str:
    best = "" if reading.best is None else f": {reading.formulas[reading.best].text}"
    return f"{reading.output} of {result.network}{best}"


def _line(result: Suggested, reading: Reading) -> Mapping[str, bytes]:
    ((name, visited),) = result.inputs.items()
    order = np.argsort(visited.value, kind="stable")
    drawing, (ax,) = figure(1)
    ax.plot(visited.value[order], reading.values.value[order], ".", color=GREY, markersize=4, label="network")
    if reading.best is not None:
        best = reading.formulas[reading.best].predicted
        ax.plot(visited.value[order], best[order], color=BLUE, linewidth=1.3, label="formula")
    label(ax, headed(name, visited.unit), headed(reading.output, reading.values.unit))
    ax.legend(fontsize="small", loc="best", frameon=False)
    ax.set_title(_title(result, reading), fontsize="medium", parse_math=False)
    return drawn(drawing)


def _plane(result: Suggested, reading: Reading) -> Mapping[str, bytes]:
    """The network as colours over both inputs; beside it what the formula says less."""
    shown: list[tuple[str, np.ndarray, Any]] = [("network", reading.values.value, "viridis")]
    if reading.best is not None:
        shown.append(("formula minus network", reading.formulas[reading.best].predicted - reading.values.value, "PuOr"))
    drawing = sheet(4.2 * len(shown) + 0.6, 4.0)
    (x, first), (y, second) = result.inputs.items()
    for ax, (word, values, colours) in zip(drawing.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        ends = {"vmin": -np.nanmax(np.abs(values)), "vmax": np.nanmax(np.abs(values))} if colours == "PuOr" else {}
        points = plain(ax).scatter(
            first.value, second.value, c=values, cmap=colours, s=14, edgecolors=GREY, linewidths=0.3, **ends
        )
        drawing.colorbar(points, ax=ax).set_label(headed(reading.output, reading.values.unit), parse_math=False)
        label(ax, headed(x, first.unit), headed(y, second.unit))
        ax.set_title(word, fontsize="small")
    drawing.suptitle(_title(result, reading), fontsize="medium", parse_math=False)
    return drawn(drawing)


def of_refined(result: Refined) -> Iterator[tuple[str, Mapping[str, bytes]]]:
    """A panel per metric: on the map and on the territory, round by round."""
    metrics = dict.fromkeys(row.metric for row in result.rows)
    if not metrics:
        return
    drawing, axes = figure(len(metrics))
    for ax, metric in zip(axes, metrics, strict=True):
        rows = [row for row in result.rows if row.metric == metric]
        rounds = [row.round for row in rows]
        ax.plot(rounds, [row.map for row in rows], "o-", color=BLUE, label=f"map: {result.scenario}")
        ax.plot(rounds, [row.territory for row in rows], "s-", color=ORANGE, label=f"territory: {result.territory}")
        label(ax, "", headed(metric, rows[0].unit))
    axes[0].legend(fontsize="small", loc="best", frameon=False)
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    label(axes[-1], "round", axes[-1].get_ylabel())
    axes[0].set_title(f"refine {result.name}", parse_math=False)
    yield result.name, drawn(drawing)
