"""`fit`: the params, networks and starts under which the data are most likely, from several starts side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import jax
import numpy as np

from dpl.runtime import observing
from dpl.runtime.likelihood import LIKELIHOODS
from dpl.runtime.observing import Cases
from dpl.runtime.program import Program
from dpl.runtime.spec import Method, Network, Param, Task
from dpl.tasks import descent, engine, methods, spread, uncertainty, vary
from dpl.tasks.context import Context, Setup, setup
from dpl.tasks.engine import RUNNING, Loop, NotFinite
from dpl.tasks.failure import explain_fit
from dpl.tasks.fitted import FitStart, Fitted
from dpl.tasks.fitting import Fitting, Numbers, Term, complete
from dpl.tasks.methods import Chosen
from dpl.tasks.result import Quantity, Seconds, declared, number
from dpl.tasks.scoring import FAILED, STEPS, STEPS_OF_MANY, STUCK, Constants, Scoring
from dpl.tasks.shooting import shot
from dpl.tasks.simulate import pictured
from dpl.tasks.surroundings import Around
from dpl.tasks.uncertainty import Uncertainty

REDRAWS = 4
"""So often a start from which nothing can be computed is drawn again"""
MANY = 600
"""So many free numbers are too many for a dense matrix of rows that nobody asked for"""
SAME = 0.01
"""Starts that end so near to the best nll have reached it"""


@dataclass(frozen=True, eq=False)
class Posed:
    """A fit ready to go. `everything` has all cells of the data, `numbers` those that count."""

    fitting: Fitting
    numbers: Numbers
    everything: Cases
    labels: tuple[str, ...]
    starts: int
    steps: int
    chosen: Chosen | None
    """The method, if it is not Fisher scoring"""

    @property
    def method(self) -> str:
        return "levenberg_marquardt" if self.chosen is None else self.chosen.name

    def loop(self, began: np.ndarray) -> Loop:
        """From the free numbers [starts, p]."""
        limit = np.asarray(self.steps)
        if self.chosen is None:
            constants = Constants(self.numbers, np.zeros(began.shape, bool), limit)
            return Loop(Scoring(self.fitting, self.starts), began, constants, self.steps + 1)
        iteration = descent.Descent(self.fitting, self.chosen.method, self.starts)
        return Loop(iteration, began, descent.Constants(self.numbers, self.chosen.numbers, limit), self.steps + 1)


def fit(program: Program, task: Task, context: Context) -> Fitted:
    """Maximises the likelihood of the data, with the priors, over what the task varies."""
    ready = setup(program, task, context)
    posed = pose(ready, task)
    around = Around(task, context, posed.fitting, posed.numbers, posed.everything, posed.labels, ready.seed)
    loop, interrupted, began, warnings = _descended(ready, task, context, posed, around)
    result, found = _result(ready, task, posed, loop, interrupted, began)
    return around.added(result, found, warnings)


def pose(ready: Setup, task: Task) -> Posed:
    """What is to be fitted to what."""
    if not any(o.data for o in ready.scenario.spec.observations):
        raise ValueError(f"fit {task.name}: {task.scenario} observes no data")
    cases, labels = observing.cases(ready.scenario)
    free = vary.freedoms(ready.scenario, task)
    fitting = Fitting(ready.scenario, free, len(labels), task.priors)
    numbers = Numbers(ready.base, cases._replace(known=counted(task, ready, cases)))
    if not sum(int(known.sum()) for known in numbers.cases.known.values()):
        raise ValueError(f"fit {task.name}: no cell of the data counts")
    starts, chosen = task.counts.get("starts", 1), _chosen(task.method, fitting.size)
    steps = task.counts.get("steps", STEPS_OF_MANY if starts > 1 and chosen is None else STEPS)
    return Posed(fitting, numbers, cases, labels, starts, steps, chosen)


def _chosen(asked: Method, size: int) -> Chosen | None:
    """The method that goes by the gradient alone, if the text asks for one or there are many numbers."""
    if asked.name == "levenberg_marquardt" or (not asked.name and size <= MANY):
        return None
    return methods.choose(asked if asked.name else Method("lbfgs"), False, False, size)


def counted(task: Task, ready: Setup, cases: Cases) -> dict[str, np.ndarray]:
    """Which cells count: those that there are and that are not held out."""
    kept = {name: np.array(known, bool) for name, known in cases.known.items()}
    for o in ready.scenario.spec.observations:
        if not o.data:
            continue
        if task.hold_out:
            kept[o.name][max(len(kept[o.name]) - task.hold_out, 0) :] = False
        if task.hold_after is not None and o.timed:
            kept[o.name] &= np.asarray(cases.times[o.data]) <= task.hold_after
    return kept


# ---------------------------------------------------------------- the loop


def _descended(
    ready: Setup, task: Task, context: Context, posed: Posed, around: Around
) -> tuple[Loop, bool, np.ndarray, tuple[str, ...]]:
    """The loop at its end, whether the user ended it, where its lanes began [starts, p], and what was said before."""
    title = f"fit {task.name}"
    context.progress.begin(title, posed.steps)
    try:
        loop, began = _begun(ready, task, posed)
        warnings = around.warnings(began[0])
        for warning in warnings:
            context.progress.say(f"{title}: {warning}")
        interrupted = engine.descend(loop, engine.Ended(loop), context.progress, context.keeper, task.name, Quantity)
    except NotFinite as failure:
        raise explain_fit(title, posed.fitting, posed.numbers, posed.labels, failure) from None
    finally:
        context.progress.end()
    return loop, interrupted, began, warnings


def _begun(ready: Setup, task: Task, posed: Posed) -> tuple[Loop, np.ndarray]:
    """The loop after a first look; starts from which nothing can be computed are drawn again a few times."""
    fitting, which = posed.fitting, np.arange(posed.starts)
    current = _current(fitting, ready.base)
    began = spread.starts(ready, fitting, current, task.start, which)
    if task.span is not None:
        began = shot(fitting, posed.numbers, began, task.span)
    seconds = Seconds(0.0, 0.0)
    for again in range(REDRAWS + 1):
        loop = posed.loop(began)
        loop.warm()
        seconds = Seconds((seconds.compile or 0.0) + (loop.seconds.compile or 0.0), seconds.run)
        loop.seconds = seconds
        bad: np.ndarray
        failure: NotFinite | None = None
        try:
            loop.advance(1)
            bad = np.asarray(loop.carry.state) == FAILED
        except NotFinite as caught:
            failure, bad = caught, np.ones(posed.starts, bool)
        bad &= (which > 0) | (task.start == "random")  # the text's own start is not for us to change
        if again == REDRAWS or not bad.any():
            if failure is not None:
                raise failure
            break
        later = which[bad] + spread.REDRAWN * (again + 1)
        began = began.copy()
        began[bad] = spread.starts(ready, fitting, current, "random", later)
    return loop, began  # pyright: ignore[reportPossiblyUnboundVariable]


def _current(fitting: Fitting, base: Mapping[str, Any]) -> dict[str, Any]:
    """The SI values that the task goes on from: of what each run has its own the same for all."""

    def repeated(value: Any) -> Any:
        return jax.tree.map(lambda x: np.broadcast_to(x, (fitting.runs, *np.shape(x))), value)

    return {f.name: repeated(base[f.name]) if f.each else base[f.name] for f in fitting.free}


# ---------------------------------------------------------------- what came of it


def _result(
    ready: Setup, task: Task, posed: Posed, loop: Loop, interrupted: bool, began: np.ndarray
) -> tuple[Fitted, Uncertainty]:
    fitting, numbers, carry = posed.fitting, posed.numbers, jax.device_get(loop.carry)
    before = perf_counter()
    nll = np.where(carry.state == FAILED, np.inf, carry.nll)
    best = int(np.argmin(nll))
    x = carry.theta[best]
    found = uncertainty.uncertainty(fitting, x, numbers, posed.labels)
    tally = _tally(posed, found)
    values = fitting.values(x)
    ready.keep({f.name: values[f.name] for f in fitting.free if not f.each and f.name in ready.scenario.keys})
    names, covariance, correlation = uncertainty.covariance(fitting, found, posed.labels)
    free = fitting.size - found.undetermined + len(fitting.estimated)
    first = {f.name: values[f.name][0] if f.each else values[f.name] for f in fitting.free}
    start = fitting.values(began[best])
    initial = {f.name: start[f.name][0] if f.each else start[f.name] for f in fitting.free}
    log_likelihood = math.inf if found.exact else found.log_likelihood
    compiled = (loop.seconds.compile or 0.0) + perf_counter() - before
    result = Fitted(
        kind=task.kind,
        name=task.name,
        scenario=task.scenario,
        seed=ready.seed,
        seconds=Seconds(compiled, loop.seconds.run),
        status="interrupted" if interrupted else "done",
        defaults=_defaults(task, posed),
        notes=_notes(ready, posed, found, carry, best, values),
        plot=task.plot,
        runs=pictured(ready, task, "before", initial) | pictured(ready, task, "after", first),
        method=posed.method,
        estimates=uncertainty.estimates(fitting, found, began[best], posed.labels),
        scales=uncertainty.scales(fitting, found),
        networks=vary.networks(fitting.free),
        nll=-math.inf if found.exact else found.nll,
        log_likelihood=log_likelihood,
        rss=tally.rss,
        aic=2.0 * free - 2.0 * log_likelihood,
        bic=free * float(np.log(max(tally.count, 1))) - 2.0 * log_likelihood,
        count=tally.count,
        skipped=tally.skipped,
        censored=tally.censored,
        free=free,
        iterations=int(carry.count[best]),
        starts=_starts(fitting, carry, nll),
        names=names,
        correlation=correlation,
        covariance=covariance,
        directions=found.directions,
        history=loop.losses[: int(carry.count[best]) + 1, best],
        scale="least squares" if found.squares else "likelihood",
        params=ready.scenario.params,
    )
    return result, found


@dataclass(frozen=True)
class Tally:
    count: int
    skipped: int
    censored: int
    rss: float


def _tally(posed: Posed, found: Uncertainty) -> Tally:
    """What counted, and the sum of squared differences from the mean in declared units (of logarithms: lognormal)."""
    fitting, cases = posed.fitting, posed.numbers.cases
    count = skipped = censored = 0
    rss = 0.0
    for o in fitting.observations:
        known, y = np.asarray(cases.known[o.name]), np.asarray(cases.observed[o.name])
        one = LIKELIHOODS[o.distribution]
        own, below, above = Term(o).split(complete(o, found.arguments[o.name], found.scales.get(o.name)))
        beyond = known & np.asarray(Term(o).beyond(y, below, above))
        seen = known & ~beyond
        centre = np.asarray(one.centre(*own))[seen]
        log = o.distribution == "lognormal"
        off = np.log(y[seen]) - np.log(centre) if log else (y[seen] - centre) / o.unit.scale
        count, censored, rss = count + int(known.sum()), censored + int(beyond.sum()), rss + float(np.sum(off**2))
        data = fitting.scenario.program.data[o.data]
        column = next(c for c in data.columns if c.name == o.column)
        skipped += int(np.isnan(np.asarray(column.values, float)).sum())
    return Tally(count, skipped, censored, rss)


def _starts(fitting: Fitting, carry: Any, nll: np.ndarray) -> tuple[FitStart, ...]:
    told: list[FitStart] = []
    for k in range(len(nll)):
        values = fitting.values(carry.theta[k])
        shown = {
            f.name: declared(values[f.name], f.declaration.unit).value
            for f in fitting.free
            if not isinstance(f.declaration, Network)
        }
        failed = "nothing finite could be computed where it began" if carry.state[k] == FAILED else ""
        told.append(FitStart(float(nll[k]), int(carry.count[k]), shown, failed, bool(nll[k] <= nll.min() + SAME)))
    return tuple(told)


def _defaults(task: Task, posed: Posed) -> tuple[str, ...]:
    told = [] if "starts" in task.counts else ["starts 1"]
    told += [] if "steps" in task.counts else [f"steps {posed.steps:_}"]
    return (*told, *([] if task.method.name else [f"using {posed.method}"]))


def _notes(
    ready: Setup, posed: Posed, found: Uncertainty, carry: Any, best: int, values: Mapping[str, Any]
) -> tuple[str, ...]:
    notes: list[str] = []
    fitting = posed.fitting
    if carry.state[best] == RUNNING:
        notes.append(f"it used up all {posed.steps:_} iterations: what was found may not be the best")
    if carry.state[best] == STUCK:
        notes.append("no step led further, though the gradient is not small: what was found may not be the best")
    if failed := int((carry.state == FAILED).sum()):
        notes.append(f"{failed:_} of {posed.starts:_} starts failed: nothing finite could be computed where they began")
    notes += _scale_notes(posed, found)
    for direction in found.directions:
        said = " ".join(f"{number(w)}·{name}" for name, w in direction.parts)
        notes.append(f"the data do not determine {said}: no standard errors for what takes part in it")
    bounds = {f.name for f, b in zip(fitting.free, _bounds(fitting, found), strict=True) if b}
    notes += [f"{name} lies on a bound: it has no standard error, and those of others hold it there" for name in bounds]
    lost = [f.name for f in fitting.free if f.each or not isinstance(f.declaration, Param | Network)]
    if lost:
        notes.append(f"tasks that follow do not know of {', '.join(lost)}: only params of all runs are kept")
    return tuple(notes)


def _scale_notes(posed: Posed, found: Uncertainty) -> list[str]:
    """Estimated scales that nothing tells."""
    fitting = posed.fitting
    n = sum(int(np.sum(known)) for known in posed.numbers.cases.known.values())
    notes = [f"all of {name} is beyond a limit of detection: nothing tells its scale" for name in found.unseen]
    endless = ", and the likelihood has no end" if found.exact else ""
    if fitting.estimated and found.freedom <= 0 and (found.squares or found.exact):
        told = f"{n - found.freedom:_} numbers and a scale from {n:_} values"
        notes.append(f"{told}: nothing is left to tell the scale{endless}; give the scale, or vary less")
    elif found.exact:
        names = " and ".join(found.exact)
        notes.append(f"{names} is met exactly: what is told as its scale is rounding{endless}")
    return notes


def _bounds(fitting: Fitting, found: Uncertainty) -> list[bool]:
    by_name = fitting.unflat(found.at_bound)
    return [any(np.any(leaf) for leaf in jax.tree.leaves(by_name[f.name])) for f in fitting.free]
