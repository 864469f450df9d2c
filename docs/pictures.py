"""Draws the pictures of the README and of the tutorial into `docs/images`: `python docs/pictures.py [RUN]`.

RUN is the folder of a run of examples/pendulum.dpl; without one, the network is trained first. The pictures have no
background, and colours that can be seen on white and on black.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import dpl
from dpl.runtime.program import Run, Scenario

DOCS = Path(__file__).parent
IMAGES = DOCS / "images"
GREY, BLUE, ORANGE = "#808080", "#2f8fd8", "#e0782f"
STARTS = np.linspace(-170, 170, 11)
"""Angles from which the pendulum starts [deg]"""


def swing_up(run: str | None) -> None:
    """The angle over time, before and after training, from several starts."""
    program = dpl.load(DOCS.parent / "examples" / "pendulum.dpl")
    scenario = program.scenarios["SwingUp"]
    figure, (left, right) = _figure(2)
    _angles(left, scenario, "before training", ORANGE)
    if run:
        program.start_from(run)
    else:
        program.run("swing_up", quiet=False)
    _angles(right, scenario, "after training", BLUE)
    left.set_ylabel("angle from upright")
    _save(figure, "swing_up.svg")


def _angles(ax: Axes, scenario: Scenario, title: str, colour: str) -> None:
    for start in np.radians(STARTS):
        run = scenario.simulate(values={"θ0": start})
        angle = np.degrees(np.mod(run["pendulum.θ"] + np.pi, 2 * np.pi) - np.pi)
        broken = np.where(np.abs(np.diff(angle, prepend=angle[0])) > 180, np.nan, angle)  # no line over the top
        ax.plot(run.time, broken, color=colour, linewidth=1.3)
    ax.set_yticks([-180, -90, 0, 90, 180], ["-180°", "-90°", "0°", "90°", "180°"])
    _label(ax, title)


def fall(page: Path = DOCS / "tutorial.md") -> None:
    """The first run of the tutorial."""
    text = page.read_text(encoding="utf-8").split("```dpl pole.dpl\n")[1].split("```")[0]
    run: Run = dpl.compile(text, "pole.dpl").scenarios["Falling"].simulate()
    figure, (ax,) = _figure(1)
    ax.plot(run.time, run["pole.θ"], color=BLUE, linewidth=1.6)
    ax.set_ylabel("pole.θ [rad]")
    _label(ax, "")
    _save(figure, "fall.svg")


def _figure(columns: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    figure.patch.set_alpha(0)
    axes = list(figure.subplots(1, columns, sharey=True, squeeze=False)[0])
    for ax in axes:
        ax.patch.set_alpha(0)
        ax.grid(color=GREY, alpha=0.35, linewidth=0.6)
        ax.tick_params(colors=GREY)
        ax.xaxis.label.set_color(GREY)
        ax.yaxis.label.set_color(GREY)
        ax.title.set_color(GREY)
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(GREY)
    return figure, axes


def _label(ax: Axes, title: str) -> None:
    ax.set_xlabel("time [s]")
    ax.set_title(title, fontsize="medium")


def _save(figure: Figure, name: str) -> None:
    with matplotlib.rc_context({"svg.hashsalt": "dpl", "svg.fonttype": "path"}):
        figure.savefig(IMAGES / name, metadata={"Date": None})
    path = IMAGES / name
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    fall()
    swing_up(sys.argv[1] if len(sys.argv) > 1 else None)
