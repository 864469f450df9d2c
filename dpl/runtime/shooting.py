"""A run in windows, for multiple shooting: each window begins in a state that it is told, and what is observed beside
the data is how far it ends from where the next one begins.

Bock (1983), Recent advances in parameter identification techniques for ODE, section 3. A long run of which a guess is
soon out of step with the data has many local optima; its windows follow the data from the beginning, and what brings
them together is the continuity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from dpl.runtime import program, spec
from dpl.runtime.observing import Cases
from dpl.runtime.solve import Mode
from dpl.runtime.spec import Observation, Param, Values

NAME, BEGINS, FIRST, LOOSE = "windows", "windows begins", "windows first", "windows loose"
"""The data that the gaps belong to; values of a window: when it begins [s], whether it is a run's first; and the
standard deviation of all gaps, as a share of `scales`"""


class Windows(program.Scenario):
    """A scenario whose runs are windows; `scales` are the sizes of its states, to which gaps are relative.

    Values hold the state at the beginning of every window but the first by the names in `begins` [windows - 1], and
    `LOOSE`. Cases have an axis of windows after that of runs: `cut`.
    """

    def __init__(self, of: program.Scenario, length: float, scales: Mapping[str, float]) -> None:
        self.of, self.length, self.scales = of, length, dict(scales)
        super().__init__(of.program, _windowed(of.spec, length))
        self._chosen = of._method()

    def identity(self) -> str:
        return f"{self.of.identity()} in windows of {self.length!r} s {sorted(self.scales.items())!r}"

    @property
    def states(self) -> tuple[str, ...]:
        return tuple(o.name for o in self.of.spec.states)

    def begins(self, windows: int) -> tuple[Param, ...]:
        """The states at the beginning of every window but the first, as params to be varied."""
        units = {o.name: o.unit for o in self.of.spec.states}
        return tuple(
            Param(begin(name), (self.scales[name],) * (windows - 1), units[name], shape=(windows - 1,))
            for name in self.states
        )

    def expected_si(
        self, values: Values, times: Mapping[str, Any], rows: Mapping[str, Any], mode: Mode = "forward"
    ) -> tuple[dict[str, tuple[Array, ...]], Array]:
        """As of any scenario, each with a leading axis of windows; the gaps have one of windows - 1."""
        own = {begin(name): values[begin(name)] for name in self.states}
        windows = jnp.shape(own[begin(self.states[0])])[0] + 1
        begins = self.length * jnp.arange(float(windows))
        each = {name: jnp.concatenate([jnp.reshape(v[0], (1,)), v]) for name, v in own.items()}
        each |= {BEGINS: begins, FIRST: jnp.arange(windows) == 0}
        shared = {name: value for name, value in values.items() if name not in each}
        over = jnp.full((windows, 1), self.length)

        def one(own: Any, times: Any, rows: Any) -> Any:
            return super(Windows, self).expected_si({**shared, **own}, times, rows, mode)

        told, status = jax.vmap(one)(each, {**times, NAME: over}, dict(rows))
        for name in self.states:
            (end,) = told[_gap(name)]
            gap = (end[:-1, 0] - own[begin(name)]) / self.scales[name]
            told[_gap(name)] = gap, jnp.broadcast_to(values[LOOSE], gap.shape)
        return told, jnp.max(status)


def begin(state: str) -> str:
    """By what name the state at the beginning of windows goes."""
    return f"windows {state}"


def _gap(state: str) -> str:
    return f"{NAME}.{state}"


def hindrance(scenario: program.Scenario) -> str:
    """In words, why a scenario cannot be cut into windows; empty of one that can."""
    s = scenario.spec
    if s.run is None or not any(o.data for o in s.observations):
        return "nothing is observed over time"
    if s.modes or s.clocks:
        return "it has events, modes or sampled blocks"
    if any(not o.timed for o in s.observations if o.data):
        return "something is observed once for each run"
    if any(o.shape for o in s.states) or scenario.grouped:
        return "it has arrays as states"
    return "" if s.states else "it has no state"


def _windowed(s: spec.Scenario, length: float) -> spec.Scenario:
    """The scenario whose run is one window; its constants are those of the run, the time, the state it begins in."""
    run, start, rhs, sensors = s.run, s.start, s.rhs, s.sensors
    assert run is not None and start is not None and rhs is not None and sensors is not None
    states = tuple(o.name for o in s.states)

    def fixed(v: Values) -> tuple[Any, ...]:
        return s.fixed(v), v[BEGINS] + run.start, v[FIRST], tuple(v[begin(name)] for name in states)

    def beginning(c: Any) -> Any:
        x, z, held = start(c[0])
        return tuple(jnp.where(c[2], a, b) for a, b in zip(x, c[3], strict=True)), z, held

    def seen(t: Any, x: Any, z: Any, held: Any, c: Any, row: Any) -> Any:
        return (*sensors(t + c[1], x, z, held, c[0], row), *((a,) for a in x))

    def later(times: Any) -> Any:
        return None if times is None else lambda c: tuple(t - c[1] for t in times(c[0]))

    jacobian = s.jacobian
    if jacobian is not None:
        entries = jacobian.entries
        jacobian = replace(jacobian, entries=lambda t, x, z, held, c: entries(t + c[1], x, z, held, c[0]))
    gaps = tuple(Observation(_gap(name), "normal", NAME, name, timed=True) for name in states)
    return replace(
        s,
        name=f"{s.name} in windows",
        fixed=fixed,
        start=beginning,
        rhs=lambda t, x, z, held, c: rhs(t + c[1], x, z, held, c[0]),
        jacobian=jacobian,
        sensors=seen,
        observations=(*(o for o in s.observations if o.timed and o.data), *gaps),
        jumps=later(s.jumps),
        knots=later(s.knots),
        run=replace(run, start=0.0, duration=length),
        reductions=(),
        measures=(),
        reduction_arguments=None,
    )


def count(scenario: program.Scenario, cases: Cases, length: float) -> int:
    """How many windows [of `length`, s] reach the last of the data."""
    run = scenario.spec.run
    assert run is not None
    last = max(float(np.max(t)) for t in cases.times.values()) - run.start
    return max(1, math.ceil(last / length * (1 - 1e-9)))


def cut(scenario: Windows, cases: Cases) -> Cases:
    """The data by runs and windows: times from the beginning of the window; every gap is 0, and known.

    A row at the end of a window belongs to the next one, but the last.
    """
    run = scenario.of.spec.run
    assert run is not None
    windows = count(scenario.of, cases, scenario.length)
    of = {
        data: np.clip(((times - run.start) / scenario.length + 1e-9).astype(int), 0, windows - 1)
        for data, times in cases.times.items()
    }
    most = {data: max(int(np.sum(w == k, axis=1).max()) for k in range(windows)) for data, w in of.items()}
    data_of = {o.name: o.data for o in scenario.spec.observations}

    def placed(data: str, cells: Any, otherwise: Any) -> np.ndarray:
        """Cells [runs, n] as [runs, windows, most], filled up with the last of the window."""
        cells = np.asarray(cells)
        out = np.zeros((len(cells), windows, most[data]), cells.dtype)
        for r, k in np.ndindex(len(cells), windows):
            own = cells[r][of[data][r] == k]
            out[r, k, : len(own)] = own
            out[r, k, len(own) :] = own[-1] if otherwise is None and len(own) else otherwise or 0
        return out

    begins = scenario.length * np.arange(windows)[None, :, None] + run.start
    times = {data: placed(data, t, None) for data, t in cases.times.items()}
    lengths = {data: np.clip(t - begins, 0.0, scenario.length) for data, t in times.items()}
    runs = len(next(iter(of.values())))
    gaps = {_gap(name): np.zeros((runs, windows - 1)) for name in scenario.states}
    observed = {name: placed(data_of[name], c, 0.0) for name, c in cases.observed.items()}
    known = {name: placed(data_of[name], c, False) for name, c in cases.known.items()}
    return cases._replace(
        times=lengths,
        rows={name: placed(name.partition(".")[0], c, None) for name, c in cases.rows.items()},
        observed=observed | gaps,
        known=known | {name: np.ones_like(gap, bool) for name, gap in gaps.items()},
    )
