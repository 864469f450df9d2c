"""Figures of a fit: data and curve with its residuals, the starts, profile likelihoods, correlations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from statistics import NormalDist
from typing import Any

import numpy as np

from dpl.results.plots import BLUE, GREY, ORANGE, drawn, headed, label, on_log_scale, plain, sheet
from dpl.tasks.fitted import Curve, FitStart, Fitted, Profile

PANELS, ACROSS = 12, 4
"""So many runs have a panel each, so many of them side by side"""
NAMES = 30
"""Of more numbers the correlations are drawn without names"""
FIGURES = 12
"""Of more numbers the correlations are drawn without figures"""
MANY = 2000
"""More points than this, or cells of a matrix, are pixels in an SVG too"""
MOST = 100
"""More numbers than this have no picture of their correlations"""
CHANCE = 1.92
"""Half the 95 % quantile of chi-squared with one degree of freedom: Venzon and Moolgavkar (1988), Appl. Stat. 37, 87"""
NEAR = 0.01
"""Below this difference of the nll the axis of the starts is linear"""


def all_of(result: Fitted) -> Iterator[tuple[str, Mapping[str, bytes]]]:
    """Every figure that the result has something for, by name."""
    title = f"{result.kind} {result.name} on {result.scenario}"
    for name, group in groupby(sorted(result.curves, key=lambda c: c.observation), key=lambda c: c.observation):
        yield f"{result.name}-{name}", curves(list(group), title)
    if len(result.starts) > 1:
        yield f"{result.name}-starts", starts(result.starts, title)
    if result.profiles:
        values = {label: one.value for name, whole in result.estimates.items() for label, one in whole.singles(name)}
        yield f"{result.name}-profiles", profiles(result.profiles, values, title)
    if 1 < len(result.names) <= MOST:
        yield f"{result.name}-correlation", correlation(result.names, result.correlation, title)


# ---------------------------------------------------------------- data and curve


def curves(runs: Sequence[Curve], title: str) -> Mapping[str, bytes]:
    """One observation: a panel per run with data, line, band and spread; below the residuals of all runs."""
    runs = [_merged(runs)] if len(runs) > 1 and all(map(static, runs)) else runs
    shown = runs[:PANELS]
    across = min(len(shown), ACROSS)
    down = -(-len(shown) // across)
    drawing = sheet(max(7.0, 2.6 * across), (3.2 if down == 1 else 2.0 * down) + 2.4)
    upper, lower = drawing.subfigures(2, 1, height_ratios=(3.2 if down == 1 else 2.0 * down, 2.2))
    panels = np.ravel(upper.subplots(down, across, sharex=True, sharey=True, squeeze=False))
    for ax, curve in zip(panels, shown, strict=False):
        _fit(plain(ax), curve)
        ax.set_title(curve.run if len(runs) > 1 else "", fontsize="small", parse_math=False)
    for ax in panels[len(shown) :]:
        ax.set_visible(False)
    values = np.concatenate([np.concatenate((c.data, c.line)) for c in shown])
    known = values[np.isfinite(values)]
    if known.size and known.min() > 0 and known.max() > 1000 * known.min():
        panels[0].set_yscale("log")
    first = runs[0]
    upper.supylabel(headed(first.observation, first.unit), fontsize="medium", parse_math=False)
    more = f"; and {len(runs) - PANELS} more runs" if len(runs) > PANELS else ""
    upper.suptitle(f"{title}{more}", fontsize="medium", parse_math=False)
    _legend(upper, panels[: len(shown)])
    _residuals(lower, runs)
    return drawn(drawing)


def _legend(figure: Any, panels: Any) -> None:
    """One for all panels, below them."""
    known: dict[str, Any] = {}
    for ax in panels:
        for handle, word in zip(*ax.get_legend_handles_labels(), strict=True):
            known.setdefault(word, handle)
    where = "outside lower center"
    figure.legend(known.values(), known.keys(), loc=where, ncols=6, fontsize="x-small", frameon=False)


def static(curve: Curve) -> bool:
    """Whether each point is a run of its own, so that nothing lies between them."""
    return not curve.time_unit and np.array_equal(curve.grid, curve.at)


def _merged(runs: Sequence[Curve]) -> Curve:
    """Runs without time as one curve over the runs."""

    def joined(name: str) -> Any:
        return np.concatenate([getattr(one, name) for one in runs])

    def ends(name: str) -> Any:
        pairs = [getattr(one, name) for one in runs]
        return None if None in pairs else tuple(np.concatenate(side) for side in zip(*pairs, strict=True))

    names = ("at", "data", "fitted", "residuals", "held_out", "grid", "line", "censored")
    arrays: dict[str, Any] = {name: joined(name) for name in names}
    return replace(runs[0], run="", band=ends("band"), spread=ends("spread"), **arrays)


def across(curve: Curve) -> str:
    return "run" if static(curve) else headed("time", curve.time_unit)


def _fit(ax: Any, c: Curve) -> None:
    """Line, band and spread behind the data; what was kept aside is hollow, and shaded where the fit extrapolates."""
    if static(c):
        apart = c.spread or c.band
        if apart is not None:
            ax.vlines(
                c.grid,
                *apart,
                color=BLUE,
                alpha=0.3,
                linewidth=2.5,
                label="95 % of measurements" if c.spread else "95 % of fit",
            )
        ax.plot(c.grid, c.line, "_", color=BLUE, markersize=7, label="fit")
    else:
        if c.spread is not None:
            ax.fill_between(c.grid, *c.spread, color=GREY, alpha=0.18, linewidth=0, label="95 % of measurements")
        if c.band is not None:
            ax.fill_between(c.grid, *c.band, color=BLUE, alpha=0.3, linewidth=0, label="95 % of fit")
        ax.plot(c.grid, c.line, color=BLUE, linewidth=1.3, label="fit")
        _shade(ax, c)
    used, kept, limited = _kinds(c)
    pixels = c.at.size > MANY
    if used.any():
        ax.plot(c.at[used], c.data[used], "o", rasterized=pixels, color=ORANGE, markersize=3.5, label="data")
    if limited.any():
        ax.plot(c.at[limited], c.data[limited], "v", rasterized=pixels, color=ORANGE, markersize=4.5, label="censored")
    if kept.any():
        ax.plot(
            c.at[kept],
            c.data[kept],
            "o",
            rasterized=pixels,
            color=ORANGE,
            markersize=4,
            markerfacecolor="none",
            label="held out",
        )
    ax.set_xlabel(across(c) if ax.get_subplotspec().is_last_row() else "", fontsize="small", parse_math=False)
    ax.tick_params(labelsize="small")
    if static(c):
        ax.xaxis.get_major_locator().set_params(integer=True)


def _kinds(c: Curve) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which points were fitted, kept aside, and censored."""
    censored = c.censored if c.censored.size else np.zeros(c.at.shape, bool)
    return ~c.held_out & ~censored, c.held_out & ~censored, censored


def _shade(ax: Any, c: Curve) -> None:
    """Where time goes on after the last point that was fitted."""
    fitted = c.at[~c.held_out & np.isfinite(c.data)]
    if c.held_out.any() and fitted.size and c.at[c.held_out].min() >= fitted.max():
        ax.axvspan(fitted.max(), max(c.at.max(), c.grid.max()), color=GREY, alpha=0.12, linewidth=0)


def _residuals(figure: Any, runs: Sequence[Curve]) -> None:
    """Standardised residuals over time, and in order against what a normal distribution would give."""
    over, normal = (plain(ax) for ax in figure.subplots(1, 2, width_ratios=(3, 1), sharey=True))
    for kept, style in ((False, {"color": BLUE}), (True, {"color": BLUE, "markerfacecolor": "none"})):
        chosen = [c.held_out == kept for c in runs]
        at = np.concatenate([c.at[k] for c, k in zip(runs, chosen, strict=True)])
        apart = np.concatenate([c.residuals[k] for c, k in zip(runs, chosen, strict=True)])
        over.plot(at, apart, "o", markersize=3, rasterized=at.size > MANY, **style)
        if not kept:
            ordered = np.sort(apart[np.isfinite(apart)])
            quantiles = [NormalDist().inv_cdf((i + 0.5) / ordered.size) for i in range(ordered.size)]
            normal.plot(quantiles, ordered, "o", markersize=3, color=BLUE, rasterized=ordered.size > MANY)
            normal.axline((0, 0), slope=1, color=GREY, linewidth=0.8)
    over.axhline(0, color=GREY, linewidth=0.8)
    over.axhspan(-1.96, 1.96, color=GREY, alpha=0.12, linewidth=0)
    label(over, across(runs[0]), "residual / sd")
    label(normal, "normal quantile", "")


# ---------------------------------------------------------------- how it was found, and how sure it is


def starts(found: Sequence[FitStart], title: str) -> Mapping[str, bytes]:
    """How far each start ended above the best, in order: the waterfall of Raue et al. (2013), PLoS ONE 8, e74335."""
    ended = sorted((one for one in found if np.isfinite(one.nll) and not one.failed), key=lambda one: one.nll)
    drawing = sheet(7.0, 4.0)
    ax = plain(drawing.subplots())
    above = np.array([one.nll - ended[0].nll for one in ended])
    best = np.array([one.best for one in ended], bool)
    order = np.arange(1, len(ended) + 1)
    ax.plot(order, above, color=GREY, linewidth=0.8)
    if best.any():
        ax.plot(order[best], above[best], "o", color=BLUE, markersize=5, label=f"{best.sum()} at the best value")
    if not best.all():
        ax.plot(order[~best], above[~best], "s", color=ORANGE, markersize=4.5, label=f"{(~best).sum()} elsewhere")
    if failed := len(found) - len(ended):
        ax.plot([], [], "x", color=GREY, label=f"{failed} failed")
    ax.set_yscale("symlog", linthresh=NEAR)
    ax.set_ylim(-0.3 * NEAR, 2.0 * above.max(initial=5 * NEAR))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize="small", loc="best", frameon=False)
    label(ax, "start, the best first", "nll above the best")
    ax.set_title(title, parse_math=False)
    return drawn(drawing)


def profiles(found: Mapping[str, Profile], values: Mapping[str, float], title: str) -> Mapping[str, bytes]:
    """A panel per profile: where it stays below the threshold is the 95 % interval."""
    across = min(len(found), 3)
    down = -(-len(found) // across)
    drawing = sheet(max(4.5, 2.9 * across), 0.6 + 2.7 * down)
    panels = np.ravel(drawing.subplots(down, across, squeeze=False, sharey=True))
    for ax, (name, profile) in zip(panels, found.items(), strict=False):
        _profile(plain(ax), profile, values.get(name))
    for ax in panels[len(found) :]:
        ax.set_visible(False)
    for ax in panels[: len(found) : across]:
        label(ax, ax.get_xlabel(), "nll above the least")
    drawing.suptitle(title, fontsize="medium", parse_math=False)
    return drawn(drawing)


def _profile(ax: Any, profile: Profile, value: float | None) -> None:
    above = profile.nll - np.nanmin(profile.nll)
    ax.plot(profile.values, above, ".-", color=BLUE, linewidth=1.3, markersize=4)
    ax.axhline(CHANCE, color=ORANGE, linewidth=1, linestyle="--")
    for end in profile.interval:
        if np.isfinite(end):
            ax.axvline(end, color=ORANGE, linewidth=1, linestyle=":")
    if value is not None:
        ax.axvline(value, color=GREY, linewidth=1)
    ax.set_ylim(-0.1, 3 * CHANCE)
    if on_log_scale(profile.values):
        ax.set_xscale("log")
    label(ax, headed(profile.name, profile.unit), "")


def correlation(names: Sequence[str], matrix: np.ndarray, title: str) -> Mapping[str, bytes]:
    """The correlations of the estimates as colours, of a few as figures too."""
    count = len(names)
    side = min(3.2 + 0.35 * count, 11.0)
    drawing = sheet(side + 1.0, side)
    ax = drawing.subplots()
    drawing_of = ax.pcolormesh(np.asarray(matrix, float), cmap="PuOr", vmin=-1, vmax=1, rasterized=count**2 > MANY)
    ax.set_facecolor("#bbbbbb")  # of what is not determined
    ax.invert_yaxis()
    ax.set_aspect("equal")
    ticks = np.arange(count) + 0.5 if count <= NAMES else []
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(ticks, list(names) if count <= NAMES else [], fontsize="small", parse_math=False)
    ax.tick_params(axis="x", labelrotation=90)
    if count <= FIGURES:
        for i, j in np.ndindex(count, count):
            if np.isfinite(matrix[i, j]):
                colour = "white" if abs(matrix[i, j]) > 0.7 else "black"
                ax.text(
                    j + 0.5, i + 0.5, f"{matrix[i, j]:.2f}", ha="center", va="center", fontsize="x-small", color=colour
                )
    drawing.colorbar(drawing_of, ax=ax, label="correlation")
    ax.set_title(title, fontsize="medium", parse_math=False)
    return drawn(drawing)
