"""`record`: what the sensors of a scenario read, with their noise, becomes data for another scenario.

A reading depends on the seed, the run and the sensor alone, so that a record can always be made again.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import compiling, distributions
from dpl.runtime.program import Program, Scenario
from dpl.runtime.solve import OK, SOFT
from dpl.runtime.spec import Column, Data, Observation, Task
from dpl.tasks.context import Context, Setup, setup
from dpl.tasks.result import Quantity, Result, Seconds, declared
from dpl.tasks.sampling import BATCH, drawn, stream, varying

SAMPLES, POINTS = 20, 20
"""Runs, and intervals between the times of a run, where the text does not say"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Recorded(Result):
    """The rows that were recorded. `data` are they as the program has them now: SI, sorted by run, then by time."""

    data: Data
    columns: Mapping[str, Quantity]
    """The same in declared units, arrays over rows: `time` and `run` (from 1) if timed, then givens and sensors"""
    sensors: tuple[str, ...]
    """Which of the columns are readings"""
    truth: Mapping[str, Quantity] = field(default_factory=dict[str, Quantity])
    """By sensor, what it would read without noise (the mean or median), over the same rows"""
    samples: int
    """Runs that were simulated"""
    failed: int = 0
    """Of these, the ones that did not end well and are left out"""
    time: str = ""
    """The column of times; empty where every row is a run"""
    run: str = ""
    """The column that says which run a row is of"""


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the runs showed [SI], arrays over runs; timed readings [runs, times]."""

    givens: Mapping[str, np.ndarray]
    readings: Mapping[str, np.ndarray]
    truth: Mapping[str, np.ndarray]
    limited: Mapping[str, np.ndarray]
    """Which readings lie on a limit of detection"""
    ended: np.ndarray
    """Which of the runs ended well"""


def record(program: Program, task: Task, context: Context) -> Recorded:
    """Runs the scenario on fresh givens and reads its sensors; the rows become the program's data of this name."""
    began = perf_counter()
    ready = setup(program, task, context)
    sensors = tuple(o for o in ready.scenario.spec.observations if not o.data)
    if not sensors:
        raise ValueError(f"record {task.name} has nothing to read: {ready.scenario.name} observes no new name")
    if unsaid := [o.name for o in sensors if o.estimated]:
        raise ValueError(f"record {task.name} cannot draw {', '.join(unsaid)}, whose scale is not said")
    samples, defaults = _samples(task, ready)
    times, more = _times(task, ready.scenario, sensors)
    seen = _seen(ready, task, sensors, samples, times, context)
    template = program.data.get(task.name) or _template(task, ready.scenario, sensors)
    data = _data(template, seen, times)
    if seen.ended.any():
        program.data[task.name] = data
    failed = int((~seen.ended).sum())
    return Recorded(
        kind=task.kind,
        name=task.name,
        scenario=task.scenario,
        seed=ready.seed,
        seconds=Seconds(None, perf_counter() - began),
        status="done" if seen.ended.any() else "unended",
        defaults=(*defaults, *more),
        notes=_notes(failed, samples, seen, sensors),
        data=data,
        columns={c.name: _shown(c, data.groups) for c in data.columns},
        sensors=tuple(o.name for o in sensors),
        truth={o.name: declared(_rows(seen.truth[o.name], seen.ended, times), o.unit) for o in sensors},
        samples=samples,
        failed=failed,
        time=next((c.name for c in data.columns if c.role == "time"), ""),
        run=next((c.name for c in data.columns if c.role == "group"), ""),
    )


def _notes(failed: int, samples: int, seen: _Seen, sensors: tuple[Observation, ...]) -> tuple[str, ...]:
    notes = list[str]()
    if failed:
        notes.append(f"{failed:_} of {samples:_} runs did not end well and are left out")
    for o in sensors:
        count = int(seen.limited[o.name][seen.ended].sum())
        if count:
            notes.append(f"{count:_} readings of {o.name} are at its limit")
    return tuple(notes)


def _samples(task: Task, ready: Setup) -> tuple[int, tuple[str, ...]]:
    """How many runs, and what was chosen. Runs that do not differ are repeated: their readings do."""
    samples = task.counts.get("samples")
    if samples is not None:
        return samples, ()
    samples = SAMPLES if varying(ready.scenario, ready.pinned) else 1
    return samples, (f"samples {samples}",)


def _times(task: Task, scenario: Scenario, sensors: tuple[Observation, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """When timed sensors are read [s]: from the start of a run to its end; none if there is no such sensor."""
    run = scenario.spec.run
    if run is None or not any(o.timed for o in sensors):
        return np.zeros(0), ()
    if task.every is not None:
        count = int(np.floor(run.duration / task.every * (1 + 1e-12)))
        return run.start + task.every * np.arange(count + 1), ()
    points = task.counts.get("points", POINTS)
    times = run.start + run.duration * np.arange(points + 1) / points
    return times, () if "points" in task.counts else (f"points {points}",)


# ---------------------------------------------------------------- the runs


def _seen(
    ready: Setup, task: Task, sensors: tuple[Observation, ...], samples: int, times: np.ndarray, context: Context
) -> _Seen:
    read = _reader(ready.scenario, ready.pinned, sensors)
    seed, batch = stream(ready.seed, f"record {task.name}"), min(samples, BATCH)
    parts: list[Any] = []
    context.progress.begin(f"record {task.name}", samples)
    try:
        for done in range(0, samples, batch):
            parts.append(jax.device_get(read(ready.base, seed, done + jnp.arange(batch), jnp.asarray(times))))
            context.progress.advance(min(done + batch, samples))
    finally:
        context.progress.end()
    givens, readings, truth, limited, status = jax.tree.map(lambda *xs: np.concatenate(xs)[:samples], *parts)
    soft = np.isin(status, SOFT) & all(o.timed for o in sensors)  # what was read before counts
    return _Seen(givens, readings, truth, limited, (status == OK) | soft)


@lru_cache(maxsize=16)
def _reader(scenario: Scenario, pinned: frozenset[str], sensors: tuple[Observation, ...]) -> Any:
    """(base, seed, indices [n], times) -> what `_Seen` has of n runs, with their status."""

    def one(base: Mapping[str, Any], row: Mapping[str, Any], seed: Any, index: Any, times: Any) -> Any:
        beside = {name: jnp.ones_like(times) for name in scenario.spec.row}  # of data, which sensors do not read
        arguments, status = scenario.expected_si({**base, **row}, {"": times}, beside)
        told = {o.name: _told(o, arguments[o.name], seed, index) for o in sensors}
        own = {given.name: {**base, **row}[given.name] for given in scenario.spec.givens}
        return own, *({name: parts[i] for name, parts in told.items()} for i in range(3)), status

    def run(base: Mapping[str, Any], seed: Any, indices: Any, times: Any) -> Any:
        rows = drawn(scenario, pinned, base, seed, indices)
        return jax.vmap(lambda row, index: one(base, row, seed, index, times))(rows, indices)

    return compiling.jit(run, scenario.pieces, (scenario, pinned, sensors))


def _told(sensor: Observation, arguments: tuple[Any, ...], seed: Any, index: Any) -> tuple[Any, Any, Any]:
    """A reading, its mean or median, and whether it lies on a limit of detection; of a timed sensor [times]."""
    family = distributions.FAMILIES[sensor.distribution]
    limits = sensor.below + sensor.above
    own, ends = arguments[: len(arguments) - limits], arguments[len(arguments) - limits :]
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(sensor.name.encode()))
    key = jax.random.fold_in(key, index)
    if sensor.timed:
        keys = jax.vmap(lambda n: jax.random.fold_in(key, n))(jnp.arange(len(own[0])))
        reading = jax.vmap(family.sample)(keys, *own)
    else:
        reading = family.sample(key, *own)
    within, truth = reading, own[0]
    for limit, end in zip(_limits(sensor), ends, strict=True):
        within, truth = limit(within, end), limit(truth, end)
    return within, truth, within != reading


def _limits(sensor: Observation) -> list[Any]:
    return [jnp.maximum] * sensor.below + [jnp.minimum] * sensor.above


# ---------------------------------------------------------------- the rows


def _template(task: Task, scenario: Scenario, sensors: tuple[Observation, ...]) -> Data:
    """The columns of the record."""
    run = scenario.spec.run
    timed = run is not None and any(o.timed for o in sensors)
    columns = (
        *([Column("time", unit=run.unit, role="time"), Column("run", role="group")] if timed and run else []),
        *(Column(_plain(given.name), unit=given.unit) for given in scenario.spec.givens),
        *(Column(o.name, unit=o.unit) for o in sensors),
    )
    return Data(task.name, columns, record=task.name, origin=task.origin)


def _data(template: Data, seen: _Seen, times: np.ndarray) -> Data:
    """The template with its rows."""
    runs = np.flatnonzero(seen.ended)
    labels = tuple(str(i + 1) for i in runs) if template.column("group") else ()
    givens = {_plain(name): of for name, of in seen.givens.items()}

    def values(column: Column) -> np.ndarray:
        if column.role == "time":
            return np.tile(times, runs.size)
        if column.role == "group":
            return np.repeat(np.arange(runs.size, dtype=float), max(len(times), 1))
        if column.name in seen.readings:
            return _rows(seen.readings[column.name], seen.ended, times)
        return np.repeat(givens[column.name][seen.ended], max(len(times), 1))

    columns = tuple(replace(c, values=tuple(values(c).tolist())) for c in template.columns)
    return replace(template, columns=columns, groups=labels)


def _plain(name: str) -> str:
    """The column of a given: that of `row.dose` is called `row_dose`, as a name can be."""
    return name.replace(".", "_")


def _rows(values: np.ndarray, ended: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Over the rows of runs that ended: what is read once in a run stands in its last row, where others are timed."""
    kept = values[ended]
    if kept.ndim == 1 and len(times):
        kept = np.concatenate([np.full((len(kept), len(times) - 1), np.nan), kept[:, None]], axis=1)
    return kept.ravel()


def _shown(column: Column, groups: tuple[str, ...]) -> Quantity:
    """As a user reads it; runs count from 1."""
    if column.role == "group":
        return Quantity(np.asarray([float(groups[int(n)]) for n in column.values]))
    return declared(column.values, column.unit)
