"""What a scenario says of its data: the arguments of each observation's distribution, in every run of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dpl.runtime import hybrid, landing, rows, solve, using
from dpl.runtime.solve import OK, SOFT, Mode
from dpl.runtime.spec import Data, Method, Scenario, Values
from dpl.runtime.spec import Mode as OneMode

if TYPE_CHECKING:
    from dpl.runtime.program import Scenario as Loaded

Arguments = dict[str, tuple[Array, ...]]
"""By observation: the arguments of its distribution"""


class Cases(NamedTuple):
    """The data of a scenario as arrays, run by run: the leading axis is that of the runs. SI."""

    values: dict[str, Any]
    """What differs from run to run: givens [runs]; signals as (times, values), each [runs, n]"""
    times: dict[str, Any]
    """Of each of the timed data [runs, n], filled up with the last time"""
    rows: dict[str, Any]
    """Of each column in the scenario's `row` [runs, n]"""
    observed: dict[str, Any]
    """Of each observation, [runs, n] if it is timed or a run has several rows, else [runs]; 0 where it is not known"""
    known: dict[str, Any]
    """Which cells there are and can be used; as `observed`"""


def cases(scenario: Loaded, data: Mapping[str, Data] | None = None) -> tuple[Cases, tuple[str, ...]]:
    """The data that a scenario observes, in NumPy, and the labels of the runs.

    A cell that is missing is not `known`, nor is what stands beside a missing given or row.

    Raises:
        ValueError: data without rows, or of times at which there is no run.
    """
    spec, data = scenario.spec, scenario.program.data if data is None else data
    seen = [o for o in spec.observations if o.data]
    told = rows.said(spec, data, [o.data for o in seen])
    found = told.runs
    complete = np.zeros(len(found.labels), bool)
    complete[told.whole] = True
    values: dict[str, Any] = {name: _filled(of, ~np.isnan(of)) for name, of in told.givens.items()}
    times = {o.data: _times(spec, data[o.data], found) for o in seen if o.timed}
    read = {name: _cells(data[rows.data_of(name)], name, found) for name in spec.row}
    observed, known = dict[str, Any](), dict[str, Any]()
    for o in seen:
        cells, there = _cells(data[o.data], o.column, found)
        there &= complete[:, None]
        for name, (_, beside) in read.items():
            there &= beside if rows.data_of(name) == o.data else True
        single = not o.timed and cells.shape[1] == 1
        observed[o.name], known[o.name] = (a[:, 0] if single else a for a in (np.where(there, cells, 0.0), there))
    told_rows = {name: _filled(cells, there) for name, (cells, there) in read.items()}
    return Cases(values | dict(told.signals), times, told_rows, observed, known), found.labels


def _cells(data: Data, name: str, found: rows.Runs) -> tuple[np.ndarray, np.ndarray]:
    """The cells of a column by runs [runs, n], and which of them there are."""
    values, of = rows.column(data, name), found.rows[data.name]
    cells = rows.padded([values[at] for at in of], np.nan)
    real = np.arange(cells.shape[1]) < np.asarray([len(at) for at in of])[:, None]
    return cells, real & np.isfinite(cells)


def _filled(cells: np.ndarray, there: np.ndarray) -> np.ndarray:
    """What is missing replaced by what is somewhere, so that a run with it has numbers."""
    return np.where(there, cells, cells[there][0] if there.any() else 1.0)


def _times(spec: Scenario, data: Data, found: rows.Runs) -> np.ndarray:
    time, run = data.column("time"), spec.run
    assert time is not None and run is not None, "timed observations are of runs; this is a bug in DPL"
    every = np.asarray(time.values, float)
    end, slack = run.start + run.duration, 1e-9 * run.duration
    for word, outside, there in (("before", every < run.start - slack, run.start), ("after", every > end + slack, end)):
        if outside.any():
            far = every[outside.argmax()]
            raise ValueError(
                f"`{data.name}` has a row at {far / run.unit.scale:g} {run.unit.text}, {word} the run of {spec.name} "
                f"{'begins' if word == 'before' else 'ends'} at {there / run.unit.scale:g} {run.unit.text}"
            )
    return np.clip(rows.padded([every[of] for of in found.rows[data.name]], run.start), run.start, end)


# ---------------------------------------------------------------- the run


def expected(
    spec: Scenario, values: Values, method: Method, times: Mapping[str, Array], row: Mapping[str, Array], mode: Mode
) -> tuple[Arguments, Array]:
    """The arguments [n] of every timed observation whose data are among `times`, and the status of the run.

    Args:
        times: by the name of data (empty for sensors), ascending [n], within the run [s].
        row: what right sides read of the data at these times, by the names in `spec.row` [n].
        mode: which derivatives an adaptive run is to have.
    """
    named = [o for o in spec.observations if o.timed]
    parts = {name: jnp.asarray(times[name]) for name in dict.fromkeys(o.data for o in named) if name in times}
    if not parts:
        return {}, jnp.asarray(OK, jnp.int32)
    every = jnp.concatenate(list(parts.values())) if len(parts) > 1 else next(iter(parts.values()))
    read = tuple(_beside(row[name], rows.data_of(name), parts) for name in spec.row)
    order = None
    if len(parts) > 1:
        order = jnp.argsort(every, stable=True)
        every, read = every[order], tuple(a[order] for a in read)
    told, status = _sensed(spec, values, method, every, read, mode)
    back = None if order is None else jnp.argsort(order)
    ends = dict(zip(parts, np.cumsum([len(part) for part in parts.values()]).tolist(), strict=True))
    arguments: Arguments = {}
    for o, own in zip(named, told, strict=True):
        if o.data in parts:
            span = slice(ends[o.data] - len(parts[o.data]), ends[o.data])
            arguments[o.name] = tuple((a if back is None else a[back])[span] for a in own)
    return arguments, status


def _beside(cells: Array, data: str, parts: Mapping[str, Array]) -> Array:
    """A column at the times of all data; 1 at those of others, where nothing reads it."""
    return jnp.concatenate([cells if name == data else jnp.ones_like(part) for name, part in parts.items()])


def _sensed(
    spec: Scenario, values: Values, method: Method, times: Array, read: tuple[Array, ...], mode: Mode
) -> tuple[tuple[tuple[Array, ...], ...], Array]:
    """The arguments of every timed observation at all `times` [n]."""
    method = using.applied(method, values)
    assert spec.run is not None and spec.sensors is not None
    clocked = bool(spec.clocks) and method.name in solve.ADAPTIVE
    if spec.modes or clocked:
        return hybrid.sensed(spec if spec.modes else _as_mode(spec), values, method, times, read, mode)
    sensors, c = spec.sensors, spec.fixed(values)
    point, status = landing.landed(spec, c, method, times, mode)
    broad = lambda v: jnp.asarray(v, times.dtype)  # noqa: E731
    look = lambda q, row: jax.tree.map(broad, sensors(q.t, q.x, q.z, q.held, c, row))  # noqa: E731
    return jax.vmap(look)(point, read), status


def _as_mode(spec: Scenario) -> Scenario:
    """A scenario without modes as one with a single mode, in which nothing happens."""
    assert spec.rhs is not None
    only = OneMode(
        "", spec.fixed, spec.rhs, spec.observe, moved=tuple(range(len(spec.states))), rates=spec.rates,
        clocks=spec.clocks, jumps=spec.jumps, knots=spec.knots, timed=spec.timed,
    )  # fmt: skip
    return replace(spec, modes=(only,))


def finished(arguments: Arguments, status: Array) -> tuple[Arguments, Array]:
    """An argument that is not finite is a failure of the run; the arguments of a run that failed are NaN."""
    known = status == OK
    for also in SOFT:
        known = known | (status == also)
    finite = [jnp.all(jnp.isfinite(a)) for a in jax.tree.leaves(arguments)]
    fine = jnp.stack(finite).all() if finite else jnp.asarray(True)
    ended = jax.tree.map(lambda a: jnp.where(known, a, jnp.nan), arguments)
    return ended, jnp.where((status == OK) & ~fine, solve.NONFINITE, status).astype(jnp.int32)
