"""`refine`: rounds of recording on the territory, fitting the map to it, and training on the map; tested on both.

Round 0 is what comes before the first record: what training on the map alone reaches. Each round after it records,
does what comes after the record, and then again what came before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import compiling
from dpl.runtime.program import Program, Scenario, honest
from dpl.runtime.spec import Task
from dpl.tasks.context import Context, of_scenario
from dpl.tasks.fitted import Estimate, Fitted
from dpl.tasks.keeper import Keeper, State
from dpl.tasks.record import Recorded
from dpl.tasks.result import NumericalFailure, Progress, Result, Seconds
from dpl.tasks.sampling import BATCH, drawn, stream, varying

ROUNDS, SAMPLES = 3, 200


@dataclass(frozen=True, eq=False)
class Row:
    """One metric after one round, in its declared unit: the mean over common runs, on the map and on the territory.

    `gap` is the distance between the two; `closed` the share of the first round's gap that is gone (1 - gap/first):
    0 in round 0, negative where the gap has grown, NaN where there was none.
    """

    round: int
    metric: str
    unit: str
    map: float
    territory: float
    gap: float
    closed: float
    map_runs: np.ndarray
    """The metric in each run [samples]; NaN of one that did not end well"""
    territory_runs: np.ndarray


@dataclass(frozen=True, eq=False)
class Round:
    """One round: what its tasks returned, in the order in which they ran, and what the map's params are after it."""

    number: int
    """0 is the round before anything was recorded"""
    results: tuple[Result, ...]
    rows: tuple[Row, ...]
    """One per metric that is shown"""
    estimates: Mapping[str, Estimate]
    """What the fits of this round found; empty in round 0"""
    recorded: int = 0
    """Runs of the territory so far"""
    seconds: float = 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Refined(Result):
    """All rounds. `scenario` is the map."""

    territory: str
    repeat: tuple[str, ...]
    """The tasks of a round, in the order of the text"""
    show: tuple[str, ...]
    samples: int
    """Runs that test each round, the same on both sides"""
    rounds: tuple[Round, ...]
    """Round 0 first; fewer than declared where a task failed or the user ended it"""

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, by round, then by metric."""
        return tuple(row for one in self.rounds for row in one.rows)

    @property
    def latest(self) -> dict[str, Result]:
        """By name, what each task of the rounds returned last."""
        return {result.name: result for one in self.rounds for result in one.results}


Do = Callable[[Task, Context], Result]
"""Does a task, whatever its kind"""


class _Ended(Exception):
    """A task of a round came to nothing, or the user ended it."""

    def __init__(self, words: str, interrupted: bool = False):
        super().__init__(words)
        self.interrupted = interrupted


def refine(program: Program, task: Task, context: Context, do: Do) -> Refined:
    """Rounds of the tasks in `repeat`; a task that fails ends them with what was reached.

    Raises:
        NumericalFailure: a task failed before the first test.
    """
    began = perf_counter()
    test = _Test(program, task, context)
    before, after = _split(program, task)
    rounds: list[Round] = []
    notes: list[str] = []
    status = "done"
    for number in range(task.counts.get("rounds", ROUNDS) + 1):
        chosen = (*after, *before) if number else before
        since = perf_counter()
        results: list[Result] = []
        try:
            for one in chosen:
                results.append(_done(one, number, task, context, rounds, results, do))
            rows = test.rows(number, rounds)
        except (_Ended, NumericalFailure) as failure:
            if not rounds and isinstance(failure, NumericalFailure):
                raise
            notes.append(f"round {number} ended before its test: {str(failure).splitlines()[0]}")
            status = "interrupted" if isinstance(failure, _Ended) and failure.interrupted else "unended"
            break
        recorded = sum(r.samples for r in results if isinstance(r, Recorded))
        so_far = rounds[-1].recorded if rounds else 0
        found = {name: e for r in results if isinstance(r, Fitted) for name, e in r.estimates.items()}
        rounds.append(Round(number, tuple(results), rows, found, so_far + recorded, perf_counter() - since))
    return Refined(
        kind=task.kind,
        name=task.name,
        scenario=task.scenario,
        seed=test.seed,
        seconds=Seconds(None, perf_counter() - began),
        status=status,
        defaults=tuple(f"{k} {v}" for k, v in (("rounds", ROUNDS), ("samples", SAMPLES)) if k not in task.counts),
        notes=(*notes, *test.notes),
        territory=task.territory,
        repeat=task.repeat,
        show=test.show,
        samples=test.samples,
        rounds=tuple(rounds),
    )


def _split(program: Program, task: Task) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
    """The tasks of a round that come before the first record, and that record with all after it."""
    tasks = tuple(program.tasks[name] for name in task.repeat)
    first = next((i for i, one in enumerate(tasks) if one.kind == "record"), 0)
    return tasks[:first], tasks[first:]


def _done(
    one: Task, number: int, task: Task, context: Context, rounds: list[Round], results: list[Result], do: Do
) -> Result:
    """What a task of a round returns. A record meets other runs in each round."""
    known = {r.name: r for r in (*(r for round in rounds for r in round.results), *results)}
    seed = context.seed
    if one.kind == "record" and number > 1:
        own = one.counts.get("seed", 0) if seed is None else seed
        seed = stream(own, f"round {number}")
    words = f"{task.name}, round {number}: "
    inner = replace(
        context,
        seed=seed,
        progress=_Under(context.progress, words),
        keeper=_Within(context.keeper, f"{task.name}.{number}."),
        results={**context.results, **known},
    )
    result = do(one, inner)
    if result.status in ("interrupted", "unended"):
        raise _Ended(f"{one.name} was {result.status}", result.status == "interrupted")
    return result


@dataclass(frozen=True)
class _Under:
    """Tells of a task under the name of the round."""

    progress: Progress
    words: str

    def begin(self, title: str, total: int) -> None:
        self.progress.begin(self.words + title, total)

    def advance(self, done: int, value: float | None = None, **shown: str) -> None:
        self.progress.advance(done, value, **shown)

    def say(self, text: str) -> None:
        self.progress.say(self.words + text)

    def end(self) -> None:
        self.progress.end()


@dataclass(frozen=True)
class _Within:
    """Keeps the states of a round's tasks apart from those of other rounds."""

    keeper: Keeper
    words: str

    def load(self, task: str) -> State | None:
        return self.keeper.load(self.words + task)

    def save(self, task: str, state: State) -> None:
        self.keeper.save(self.words + task, state)


# ---------------------------------------------------------------- the test


class _Test:
    """The same runs on the map and on the territory: givens of one name have one value."""

    def __init__(self, program: Program, task: Task, context: Context):
        self.map, self.territory = program.scenarios[task.scenario], program.scenarios[task.territory]
        self.settings = context.settings
        self.seed = task.counts.get("seed", program.seed) if context.seed is None else context.seed
        there = {m.name: m for m in self.territory.spec.measures}
        self.measures = {m.name: m for m in self.map.spec.measures if m.name in there}
        self.show = task.show or tuple(m.name for m in self.measures.values() if m.kind == "metric")
        self.pinned = frozenset(of_scenario(context.settings, self.territory))
        different = varying(self.territory, self.pinned)
        self.samples = task.counts.get("samples", SAMPLES) if different else 1
        self.notes: tuple[str, ...] = ()

    def rows(self, number: int, rounds: list[Round]) -> tuple[Row, ...]:
        """One per metric."""
        theirs = drawn(self.territory, self.pinned, {}, stream(self.seed, "verify"), jnp.arange(self.samples))
        mine = self._mapped(theirs)
        on_map = self._measured(self.map, mine)
        on_territory = self._measured(self.territory, theirs)
        unended = [int((~_ended(found, self.show)).sum()) for found in (on_map, on_territory)]
        if any(unended):
            where = f"{unended[0]} of {self.samples} runs on the map and {unended[1]} on the territory"
            self.notes = (*self.notes, f"round {number}: {where} did not end well and are left out")
        return tuple(self._row(name, number, on_map[name], on_territory[name], rounds) for name in self.show)

    def _mapped(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        """What differs from run to run on the map: as on the territory, where it has the same."""
        own = drawn(self.map, self.pinned, {}, stream(self.seed, "verify"), jnp.arange(self.samples))
        same = {name: theirs[name] for name in own if name in theirs}
        columns = {g.name: theirs[g.column] for g in self.map.spec.givens if g.data and g.column in theirs}
        return own | columns | same

    def _measured(self, scenario: Scenario, rows: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Every measure [samples] [SI], NaN where a run did not end well."""
        units = {given.name: given.unit.scale for given in scenario.spec.givens}
        base = scenario.values_si(givens={name: v[0] / units[name] for name, v in rows.items() if name in units})
        base |= {name: np.asarray(v, float) for name, v in of_scenario(self.settings, scenario).items() if name in base}
        batch = min(BATCH, self.samples)
        parts: list[Any] = []
        for done in range(0, self.samples, batch):
            at = np.minimum(done + np.arange(batch), self.samples - 1)
            some = jax.tree.map(lambda leaf, at=at: jnp.asarray(leaf)[at], dict(rows))
            parts.append(jax.device_get(_evaluator(scenario)(base, some, jnp.arange(batch))))
        return jax.tree.map(lambda *xs: np.concatenate(xs)[: self.samples], *parts)

    def _row(self, name: str, number: int, here: np.ndarray, there: np.ndarray, rounds: list[Round]) -> Row:
        unit = self.measures[name].unit
        here, there = here / unit.scale, there / unit.scale
        both = np.isfinite(here) & np.isfinite(there)
        means = [float(values[both].mean()) if both.any() else float("nan") for values in (here, there)]
        gap = abs(means[1] - means[0])
        first = next((row.gap for row in rounds[0].rows if row.metric == name), gap) if rounds else gap
        closed = 1 - gap / first if first > 0 else float("nan")
        return Row(number, name, unit.text, means[0], means[1], gap, closed, here, there)


def _ended(found: Mapping[str, np.ndarray], show: tuple[str, ...]) -> np.ndarray:
    return np.all([np.isfinite(found[name]) for name in show], axis=0)


@lru_cache(maxsize=16)
def _evaluator(scenario: Scenario) -> Any:
    def run(base: Mapping[str, Any], rows: Mapping[str, Any], indices: Any) -> Any:
        results, status = jax.vmap(lambda row, _: scenario.measures_si({**base, **row}))(rows, indices)
        return jax.vmap(honest)(results, status)

    return compiling.jit(run, scenario.pieces, (scenario, "paired"))
