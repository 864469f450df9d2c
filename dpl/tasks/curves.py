"""What a fit looks like beside its data: fitted values, residuals, fine lines with their bands; what was held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special

from dpl.runtime.likelihood import LIKELIHOODS, Likelihood
from dpl.runtime.spec import Observation
from dpl.tasks.fitted import Curve
from dpl.tasks.fitting import Fitting, Numbers
from dpl.tasks.uncertainty import look

Array = np.ndarray

GRID = 200
"""Intervals of the fine line"""
TWO_SIDED = 1.959963984540054


@dataclass(frozen=True)
class Shown:
    """A fit as its curves read it.

    `numbers` have all data as known, what was held out too; `fitted` are the cells [as `known`] that counted.
    The squares of `factor` [r, p] add up to the covariance of the free numbers; None where that is not known. `scales`
    [SI] are the estimated ones by observation; `quantile` is how many standard errors a band is wide on each side.
    """

    fitting: Fitting
    x: Array
    numbers: Numbers
    fitted: Mapping[str, Array]
    factor: Array | None
    scales: Mapping[str, float]
    runs: tuple[str, ...]
    quantile: float = TWO_SIDED

    @property
    def observations(self) -> tuple[Observation, ...]:
        return self.fitting.observations


# ---------------------------------------------------------------- what the fit says


class _Link(NamedTuple):
    """In which scale the line of a distribution is about normal: there its band is symmetric."""

    out: Callable[[Any], Any]
    back: Callable[[Any], Any]


_PLAIN = _Link(lambda m: m, lambda u: u)
_LOG = _Link(jnp.log, np.exp)
_LOGIT = _Link(special.logit, lambda u: 1 / (1 + np.exp(-u)))
_LINKS = {
    "lognormal": _LOG, "poisson": _LOG, "negative_binomial": _LOG, "exponential": _LOG,
    "bernoulli": _LOGIT, "beta": _LOGIT,
}  # fmt: skip


class _Said(NamedTuple):
    """What the fit says of one observation [SI], arrays [runs] or [runs, n]."""

    arguments: tuple[Array, ...]
    line: Array
    band: tuple[Array, Array] | None


def _said(shown: Shown, numbers: Numbers, band: bool) -> dict[str, _Said]:
    """By observation; a band by the delta method, one direction of the covariance at a time."""
    fitting, of = shown.fitting, {o.name: o for o in shown.observations}
    if not band:
        return {name: _plainly(shown, of[name], a) for name, a in look(fitting, shown.x, numbers).arguments.items()}
    link = {name: _LINKS.get(o.distribution, _PLAIN) for name, o in of.items()}

    def linked(x: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        told, _ = fitting.arguments(x, numbers)
        told = {name: complete(of[name], a, shown.scales.get(name)) for name, a in told.items()}
        return {
            name: link[name].out(_each(_row(of[name]).centre, a[: _size(of[name])])) for name, a in told.items()
        }, told

    def said(x: Any, factor: Any) -> Any:
        def along(total: Any, direction: Any) -> tuple[Any, None]:
            _, moved, _ = jax.jvp(linked, (x,), (direction,), has_aux=True)
            return jax.tree.map(lambda t, m: t + m**2, total, moved), None

        line, told = linked(x)
        return line, told, jax.lax.scan(along, jax.tree.map(jnp.zeros_like, line), factor)[0]

    factor = shown.factor if shown.factor is not None else np.zeros((0, len(shown.x)))
    lines, told, variances = jax.device_get(jax.jit(said)(jnp.asarray(shown.x), factor))
    found = dict[str, _Said]()
    for name, line in lines.items():
        half = shown.quantile * np.sqrt(variances[name])
        ends = (link[name].back(line - half), link[name].back(line + half)) if len(factor) else None
        found[name] = _Said(told[name], link[name].back(line), ends)
    return found


def _plainly(shown: Shown, o: Observation, found: tuple[Any, ...]) -> _Said:
    """What a look tells, without a band."""
    told = jax.device_get(complete(o, found, shown.scales.get(o.name)))
    return _Said(told, np.asarray(_each(_row(o).centre, told[: _size(o)])), None)


def complete(o: Observation, arguments: tuple[Any, ...], scale: Any) -> tuple[Any, ...]:
    """The arguments with the scale that is left out, if one is estimated; limits of detection come after them."""
    return _row(o).complete(arguments, jnp.broadcast_to(scale, jnp.shape(arguments[0]))) if o.estimated else arguments


def _row(o: Observation) -> Likelihood:
    return LIKELIHOODS[o.distribution]


def _size(o: Observation) -> int:
    """How many arguments the distribution itself has."""
    return len(_row(o).arguments)


def _each(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """A function of one datum over arrays of them."""
    spread = jnp.broadcast_arrays(*(jnp.asarray(a, float) for a in arguments))
    flat = jax.vmap(function)(*(a.ravel() for a in spread))
    return flat.reshape(spread[0].shape)


def residuals(o: Observation, arguments: Sequence[Any], observed: Array) -> Array:
    """Standardised: the normal number that is as improbable; of counts Pearson's, (y - mean)/sd; NaN of what is beyond
    a limit of detection."""
    one, own = _row(o), arguments[: _size(o)]
    values = np.asarray(jax.jit(lambda y, a: _each(partial(_residual, one), (y, *a)))(observed, tuple(own)))
    return np.where(_beyond(o, arguments, observed), np.nan, values)


def _residual(one: Likelihood, y: Any, *arguments: Any) -> Any:
    if one.count:
        return (y - one.mean(*arguments)) * jnp.sqrt(one.information(*arguments)[0, 0])
    if one.name in ("normal", "lognormal"):
        scale = _LINKS.get(one.name, _PLAIN).out
        return (scale(y) - scale(arguments[0])) / arguments[1]
    low, high = one.log_cdf(y, *arguments), one.log_survival(y, *arguments)
    tail = special.ndtri(jnp.exp(jnp.maximum(jnp.minimum(low, high), -690.0)))
    return jnp.where(low < high, tail, -tail)


def _beyond(o: Observation, arguments: Sequence[Any], observed: Array) -> Array:
    """Which were not measured, for they are beyond a limit of detection."""
    limits = [np.asarray(a) for a in arguments[_size(o) :]]
    low = observed <= limits[0] if o.below else np.zeros(np.shape(observed), bool)
    return low | (observed >= limits[-1]) if o.above else low


# ---------------------------------------------------------------- curves


class Curves(Sequence[Curve]):
    """The curves of a fit, which are drawn when they are first asked for: their fine lines take a program of their own,
    and not everybody looks at them."""

    def __init__(self, shown: Shown):
        self._shown = shown

    @cached_property
    def _drawn(self) -> tuple[Curve, ...]:
        return curves(self._shown)

    def __len__(self) -> int:
        return len(self._drawn)

    def __getitem__(self, which: Any) -> Any:
        return self._drawn[which]


def curves(shown: Shown) -> tuple[Curve, ...]:
    """One curve for each observation and run; where rows are runs without time, one for each observation."""
    timed = [o for o in shown.observations if o.timed]
    at_data = _said(shown, shown.numbers, band=len(timed) < len(shown.observations))
    fine, grids = _fine(shown) if timed else ({}, {})
    found = list[Curve]()
    for o in shown.observations:
        if o.timed:
            each = range(len(shown.runs))
            found += [_over_time(shown, o, at_data[o.name], fine[o.name], grids[o.data], run) for run in each]
        else:
            found.append(_by_run(shown, o, at_data[o.name]))
    return tuple(found)


def held_out(shown: Shown) -> dict[str, float]:
    """By observation, the root mean square of standardised residuals of what was known and did not count.

    Observations without any are left out: all is beyond a limit, or there is no scale to standardise them with.
    """
    known, found = shown.numbers.cases.known, dict[str, float]()
    if not any(np.any(known[o.name] & ~shown.fitted[o.name]) for o in shown.observations):
        return {}
    said = _said(shown, shown.numbers, band=False)
    for o in shown.observations:
        aside = known[o.name] & ~shown.fitted[o.name]
        apart = residuals(o, said[o.name].arguments, shown.numbers.cases.observed[o.name])[aside]
        told = apart[~np.isnan(apart)]
        if told.size:
            found[o.name] = float(np.sqrt(np.mean(told**2)))
    return found


def _fine(shown: Shown) -> tuple[dict[str, _Said], dict[str, Array]]:
    """The fit on even times over each run, and these times [runs, n] by data."""
    cases, run = shown.numbers.cases, shown.fitting.scenario.spec.run
    assert run is not None
    grid = run.start + np.linspace(0.0, 1.0, GRID + 1) * run.duration
    grids = {name: np.broadcast_to(grid, (len(shown.runs), GRID + 1)) for name in cases.times}
    beside = {name: _between(cases.times[name.rsplit(".", 1)[0]], cells, grid) for name, cells in cases.rows.items()}
    still = {o.name: np.zeros(grids[o.data].shape) for o in shown.observations if o.timed}
    over = cases._replace(times=grids, rows=beside, observed={**cases.observed, **still})
    numbers = shown.numbers._replace(cases=over)
    return _said(shown, numbers, band=True), grids


def _between(times: Array, cells: Array, grid: Array) -> Array:
    """A column that right sides read, between its rows."""
    return np.stack([np.interp(grid, t, c) for t, c in zip(times, cells, strict=True)])


def _over_time(shown: Shown, o: Observation, at: _Said, fine: _Said, grid: Array, run: int) -> Curve:
    spec = shown.fitting.scenario.spec.run
    assert spec is not None
    cells = _Cells(run, shown.numbers.cases.known[o.name][run])
    times = shown.numbers.cases.times[o.data][run][cells.known] / spec.unit.scale
    return _curve(shown, o, at, cells, times, fine, run, grid[run] / spec.unit.scale, spec.unit.text)


def _by_run(shown: Shown, o: Observation, at: _Said) -> Curve:
    known = shown.numbers.cases.known[o.name]
    numbers = np.broadcast_to(np.arange(len(shown.runs)).reshape((-1, *[1] * (known.ndim - 1))), known.shape)
    cells = _Cells(slice(None), known)
    return _curve(shown, o, at, cells, numbers[known].astype(float), at, known, numbers[known].astype(float), "")


class _Cells(NamedTuple):
    """Which cells of an observation's arrays a curve shows: a run or all, and what is known of it."""

    run: Any
    known: Array

    def of(self, cells: Any, shape: Any) -> Array:
        return np.broadcast_to(np.asarray(cells), shape)[self.run][self.known]


def _curve(
    shown: Shown,
    o: Observation,
    at: _Said,
    cells: _Cells,
    times: Array,
    line: _Said,
    places: Any,
    grid: Array,
    unit: str,
) -> Curve:
    """A curve in declared units; `places`: the run or cells of `line` on the grid."""
    shape = shown.numbers.cases.observed[o.name].shape
    own = tuple(cells.of(a, shape) for a in at.arguments)
    data = cells.of(shown.numbers.cases.observed[o.name], shape)
    over = np.asarray(line.line).shape
    spot = lambda a: np.broadcast_to(np.asarray(a), over)[places] / o.unit.scale  # noqa: E731
    quantile, told = _row(o).quantile, line.arguments[: _size(o)]
    ends = [np.asarray(_each(partial(quantile, p), told)) for p in (0.025, 0.975)]
    return Curve(
        observation=o.name,
        run=shown.runs[places] if isinstance(places, int) and len(shown.runs) > 1 else "",
        unit=o.unit.text,
        at=times,
        data=data / o.unit.scale,
        fitted=cells.of(at.line, shape) / o.unit.scale,
        residuals=residuals(o, own, data),
        held_out=~cells.of(shown.fitted[o.name], shape),
        grid=grid,
        line=spot(line.line),
        band=(spot(line.band[0]), spot(line.band[1])) if line.band else None,
        spread=(spot(ends[0]), spot(ends[1])),
        time_unit=unit,
        censored=_beyond(o, own, data),
    )
