"""Fits that are done again: with a parameter held fixed along a grid (profiles), or to data drawn anew (bootstrap).

All refits of one kind are lanes of one compiled program, and start where a neighbour or the estimate is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime.bounds import Bounds
from dpl.runtime.likelihood import LIKELIHOODS
from dpl.runtime.spec import Network
from dpl.tasks import scoring
from dpl.tasks.curves import complete
from dpl.tasks.fitted import Profile
from dpl.tasks.fitting import Fitting, Numbers
from dpl.tasks.uncertainty import student_quantile
from dpl.tasks.vary import Freedom

Array = np.ndarray

RISE = 1.92
"""Half the 95 % quantile of chi-squared with one degree of freedom"""
BEYOND = 3.0
"""So far above the least value a profile is followed, or a little over its threshold"""
STRIDE = 0.35
"""How far one step of a profile is to lead, in √(2 Δnll): about seven points on each side"""
TOO_FAR = 1.0
"""A step that leads further is tried again with a shorter one"""
GROWTH = 3.0
"""How much longer a step may be than the one before"""
POINTS = 24
"""Steps of one side at the most"""
HALVINGS = 4
"""How often a step that fails or leads too far is tried again with a shorter one"""
AT_END = 1e-3
"""So near to a bound a profile ends: as a share of the interval, and of how far from it the estimate is"""
BETTER = 1e-3
"""A refit that is lower by more says that the estimate was not the least"""
LANES = 64
"""Refits at once"""


# ---------------------------------------------------------------- profiles


@dataclass
class _Side:
    """One free number, followed downwards or upwards; `xs`, `nlls` are from the estimate outwards."""

    index: int
    sign: float
    step: float
    """The next step's length [free number]"""
    xs: list[Array]
    nlls: list[float]
    limit: float
    """Where it ends [free number] at the bound; infinite without one"""
    halved: int = 0
    over: bool = False
    lost: bool = False

    def ahead(self) -> Array:
        """Where the next refit starts: its own number one step on, the others on the line through the last two."""
        here, x = self.xs[-1], self.xs[-1].copy()
        x[self.index] = here[self.index] + self.sign * self.step
        if (x[self.index] - self.limit) * self.sign > 0:
            x[self.index] = self.limit
        if len(self.xs) > 1:
            moved = here - self.xs[-2]
            share = (x[self.index] - here[self.index]) / moved[self.index]
            others = np.arange(len(x)) != self.index
            x[others] += min(share, GROWTH) * moved[others]
        return x

    def met(self, tried: Array, x: Array, nll: float, least: float, highest: float) -> None:
        """After a refit from `tried`."""
        if not math.isfinite(nll):
            self.step, self.halved = self.step / 2, self.halved + 1
            self.over = self.lost = self.halved > HALVINGS
            return
        gained = _root(nll - least) - _root(self.nlls[-1] - least)
        length = abs(x[self.index] - self.xs[-1][self.index])
        if gained > TOO_FAR and self.halved < HALVINGS:
            self.step, self.halved = length * max(STRIDE / gained, 0.1), self.halved + 1
            return
        self.xs.append(x)
        self.nlls.append(nll)
        self.step = length * min(GROWTH, max(STRIDE / gained, 0.2) if gained > 0 else GROWTH)
        self.over = nll - least >= highest or len(self.xs) > POINTS or tried[self.index] == self.limit


def _root(rise: float) -> float:
    return math.sqrt(max(2 * rise, 0.0))


class Profiled(NamedTuple):
    profiles: dict[str, Profile]
    """By the name of each number"""
    notes: tuple[str, ...]


def profiles(
    fitting: Fitting,
    numbers: Numbers,
    x: Array,
    nll: float,
    names: Sequence[str],
    labels: Sequence[str],
    sd: Array,
    aside: Array,
    rise: float = RISE,
    told: Callable[[str], None] = lambda word: None,
) -> Profiled:
    """The profile likelihoods of the named params: of every element or run, where one has several.

    Args:
        x: the estimate [p], free numbers; `nll` there.
        labels: how each free number [p] is called.
        sd: standard errors [p] of the free numbers, for the first steps; 1 is taken where they are not finite.
        aside: which free numbers [p] nothing tells, and so stay as they are.
        rise: how far the nll rises to the ends of the interval: see `rise`.
    """
    sides = [side for index in _of(fitting, names, aside) for side in _both(fitting, x, nll, index, sd[index])]
    highest = max(BEYOND, 1.2 * rise)
    while going := [side for side in sides if not side.over]:
        told(f"{len(sides) - len(going)} of {len(sides)} sides")
        starts = np.stack([s.ahead() if not s.over else s.xs[-1] for s in sides])
        held = np.tile(aside, (len(sides), 1))
        held[np.arange(len(sides)), [s.index for s in sides]] = True
        solved = scoring.solve(fitting, starts, numbers, held=held)
        for side, start, found, value in zip(sides, starts, np.asarray(solved.x), solved.nll, strict=True):
            if not side.over:
                side.met(start, found, float(value), nll, highest)
    pairs = list(zip(sides[::2], sides[1::2], strict=True))
    found = [_profile(fitting, labels[low.index], low, high, nll, rise) for low, high in pairs]
    notes = [word for low, high in pairs for word in _said(labels[low.index], low, high, nll)]
    return Profiled({profile.name: profile for profile in found}, tuple(notes))


def _of(fitting: Fitting, names: Sequence[str], aside: Array) -> list[int]:
    """The free numbers [indices] that params of these names have."""
    return [i for i, name in enumerate(fitting.names) if name.partition("[")[0] in names and not aside[i]]


def _both(fitting: Fitting, x: Array, nll: float, index: int, sd: float) -> list[_Side]:
    """The side on which the value falls, and the one on which it rises: with an upper bound alone the free number
    rises as the value falls."""
    step, limits = STRIDE * (float(sd) if math.isfinite(sd) and sd > 0 else 1.0), _free(fitting, index).bounds
    assert limits is not None
    signs = (1.0, -1.0) if limits.low is None and limits.high is not None else (-1.0, 1.0)
    return [_Side(index, sign, step, [x], [nll], _limit(limits, float(x[index]), sign)) for sign in signs]


def _limit(limits: Bounds, u: float, sign: float) -> float:
    """Where the free number is as near to its bound as a profile goes from the estimate `u`.

    Near a bound the value nears it as exp(-|u|), so the second of the two is `AT_END` of the way that is left. The
    first alone could lie on the other side of the estimate, as its measure is that of the start where one end is open.
    """
    ends = limits.ends
    if not ends or (len(ends) == 1 and sign > 0):
        return sign * math.inf
    near = float(limits.outward(limits.within(AT_END, *ends[0 if sign < 0 else 1])))
    return sign * max(sign * near, sign * u - math.log(AT_END))


def _free(fitting: Fitting, index: int) -> Freedom:
    name = fitting.names[index].partition("[")[0]
    return next(f for f in fitting.free if f.name == name)


def _profile(fitting: Fitting, label: str, low: _Side, high: _Side, nll: float, rise: float) -> Profile:
    free = _free(fitting, low.index)
    assert not isinstance(free.declaration, Network)
    unit = free.declaration.unit
    inward = lambda u: np.asarray(free.inward(u)) / unit.scale  # noqa: E731
    us = np.array([x[low.index] for x in low.xs[:0:-1]] + [x[high.index] for x in high.xs])
    nlls = np.array(low.nlls[:0:-1] + high.nlls)
    ends = [_crossing(side, nll, rise) for side in (low, high)]
    interval = [sign * math.inf if end is None else float(inward(end)) for sign, end in zip((-1, 1), ends, strict=True)]
    return Profile(label, inward(us), nlls, (interval[0], interval[1]), unit.text)


def _crossing(side: _Side, nll: float, rise: float) -> float | None:
    """The free number at which the nll has risen so far: √ of the rise is nearly a straight line."""
    roots = [_root(value - nll) for value in side.nlls]
    wanted = _root(rise)
    for n in range(1, len(roots)):
        if roots[n - 1] < wanted <= roots[n]:
            a, b = side.xs[n - 1][side.index], side.xs[n][side.index]
            return a + (b - a) * (wanted - roots[n - 1]) / (roots[n] - roots[n - 1])
    return None


def _said(name: str, low: _Side, high: _Side, nll: float) -> list[str]:
    """In words, what went otherwise than a profile should."""
    words = list[str]()
    least = min(min(low.nlls), min(high.nlls))
    if least < nll - BETTER:
        words.append(f"the profile of {name} found a lower nll, by {nll - least:.3g}: fit again, with more `starts`")
    for side, word in ((low, "downwards"), (high, "upwards")):
        if side.lost:
            words.append(f"the profile of {name} could not be followed {word}: the refits failed")
    return words


def rise(dof: int | None, count: int = 0) -> float:
    """How far the nll rises to the ends of a 95 % interval: 1.92, or as Student's t has it if one scale is estimated.

    With the scale at its most likely value the nll of least squares is count/2 log(RSS) and a constant; RSS grows to
    RSS₀ (1 + t²/dof) at the ends (Bates and Watts 1988, Nonlinear Regression Analysis, section 6.1.2).

    Args:
        dof: degrees of freedom that are left for the scale: count - p; None where no scale is estimated.
    """
    return RISE if dof is None or dof < 1 else 0.5 * count * math.log1p(student_quantile(dof) ** 2 / dof)


# ---------------------------------------------------------------- bootstrap


class Resampled(NamedTuple):
    values: dict[str, Array]
    """By name, networks left out: the estimates [refits, …] in declared units"""
    notes: tuple[str, ...]


def bootstrap(
    fitting: Fitting,
    numbers: Numbers,
    x: Array,
    scales: Mapping[str, float],
    count: int,
    seed: int,
    aside: Array,
    told: Callable[[int], None] = lambda done: None,
) -> Resampled:
    """Refits of data drawn from what was fitted, from the estimate x [p] on: the parametric bootstrap.

    What is missing stays missing, every run keeps its rows and what is given of it. Efron and Tibshirani (1993), An
    introduction to the bootstrap, section 6.5.

    Args:
        scales: the estimated ones [SI] by observation.
        aside: as of `profiles`.
    """
    estimated = {o.name: scales[o.name] for o in fitting.estimated}
    draw = _drawer(fitting)
    batch = min(count, LANES)
    found, nlls, states = list[Array](), list[Array](), list[Array]()
    for begin in range(0, count, batch):
        observed = draw(jnp.asarray(x), numbers, estimated, seed, begin + jnp.arange(batch))
        known = jax.tree.map(lambda k: np.broadcast_to(k, (batch, *np.shape(k))), dict(numbers.cases.known))
        own = numbers._replace(cases=numbers.cases._replace(observed=observed, known=known))
        solved = scoring.solve(fitting, np.tile(x, (batch, 1)), own, held=np.tile(aside, (batch, 1)), own=True)
        found.append(np.asarray(solved.x))
        nlls.append(np.asarray(solved.nll))
        states.append(np.asarray(solved.state))
        told(min(begin + batch, count))
    fine = np.isfinite(np.concatenate(nlls)[:count])
    unsettled = int((np.concatenate(states)[:count][fine] == scoring.RUNNING).sum())
    return Resampled(_declared(fitting, np.concatenate(found)[:count][fine]), _counted(count, fine, unsettled))


def _drawer(fitting: Fitting) -> Callable[..., dict[str, Any]]:
    """(x, numbers, scales, seed, indices) -> data drawn anew, by observation [indices, …], compiled."""

    def draw(x: Any, numbers: Numbers, scales: Mapping[str, Any], seed: Any, indices: Any) -> dict[str, Any]:
        arguments, _ = fitting.arguments(x, numbers)

        def one(index: Any) -> dict[str, Any]:
            key, drawn = jax.random.fold_in(jax.random.key(seed), index), dict[str, Any]()
            for n, o in enumerate(fitting.observations):
                known = numbers.cases.known[o.name]
                one, own = LIKELIHOODS[o.distribution], complete(o, arguments[o.name], scales.get(o.name))
                each = [jnp.ravel(a) for a in own[: len(one.arguments)]]
                new = jax.vmap(one.sample)(jax.random.split(jax.random.fold_in(key, n), known.size), *each)
                drawn[o.name] = jnp.where(known, new.reshape(known.shape), numbers.cases.observed[o.name])
            return drawn

        return jax.vmap(one)(indices)

    return jax.jit(draw)


def _declared(fitting: Fitting, xs: Array) -> dict[str, Array]:
    """Free numbers [refits, p] as values [refits, …] in declared units, by name."""
    found = jax.device_get(jax.vmap(fitting.inward)(jnp.asarray(xs)))
    free = {f.name: f.declaration for f in fitting.free}
    return {name: found[name] / d.unit.scale for name, d in free.items() if not isinstance(d, Network)}


def _counted(count: int, fine: Array, unsettled: int) -> tuple[str, ...]:
    notes = list[str]()
    if not fine.all():
        notes.append(f"{int((~fine).sum()):_} of {count:_} refits of drawn data failed, and do not count")
    if unsettled:
        notes.append(f"{unsettled:_} of {count:_} refits of drawn data used up their iterations")
    return tuple(notes)
