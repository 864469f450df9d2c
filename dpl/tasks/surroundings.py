"""What surrounds an estimate: what nothing could tell apart, before it; curves, profiles and refits after it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dpl.runtime.observing import Cases
from dpl.runtime.spec import Network, Task
from dpl.tasks import curves, determined, refits, uncertainty
from dpl.tasks.context import Context
from dpl.tasks.curves import Shown
from dpl.tasks.fitted import Fitted
from dpl.tasks.fitting import Fitting, Numbers
from dpl.tasks.refits import Profiled, Resampled
from dpl.tasks.sampling import stream
from dpl.tasks.uncertainty import Uncertainty

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Around:
    """A fit as its surroundings see it: `numbers` have the cells that count, `everything` has all; labels of `runs`."""

    task: Task
    context: Context
    fitting: Fitting
    numbers: Numbers
    everything: Cases
    runs: tuple[str, ...]
    seed: int

    # -- before

    def warnings(self, x: Array) -> tuple[str, ...]:
        """In words, what the data cannot tell apart, looked for around the start x [p]."""
        seed, held = stream(self.seed, "identify"), self.aside
        return tuple(map(str, determined.undetermined(self.fitting, x, self.numbers, self.labels, seed, held)))

    @property
    def labels(self) -> list[str]:
        """How each free number [p] is called: `V[7]` of the run labelled 7."""
        return list(self.fitting.called(self.runs))

    @property
    def aside(self) -> Array:
        """The free numbers [p] of runs of which no cell counts."""
        return uncertainty.aside(self.fitting, self.numbers)

    # -- after

    def added(self, result: Fitted, found: Uncertainty, warnings: tuple[str, ...]) -> Fitted:
        """The result with what surrounds it; of a fit that was interrupted without what takes refits."""
        fitting, (x, notes) = self.fitting, self._for_runs_aside(found.x)
        numbers = self.numbers._replace(cases=self.everything)
        shown = Shown(
            fitting, x, numbers, self.numbers.cases.known, self._factor(found), found.scales, self.runs, found.quantile
        )
        profiled, resampled = Profiled({}, ()), Resampled({}, ())
        if result.status == "done" and self.task.profile:
            profiled = self._profiled(found)
        if result.status == "done" and "bootstrap" in self.task.counts:
            resampled = self._resampled(found)
        kept = np.flatnonzero(~self._weights & ~found.at_bound & ~self.aside)
        relative = self._factor(found) * determined.shares(fitting, found.x, found.slope)
        hardly = determined.directions([self.labels[i] for i in kept], relative[:, kept])
        return replace(
            result,
            directions=(*result.directions, *hardly),
            curves=curves.Curves(shown),
            held_out=curves.held_out(shown),
            profiles=profiled.profiles,
            bootstrap=resampled.values,
            notes=(*warnings, *result.notes, *notes, *profiled.notes, *resampled.notes),
        )

    @property
    def _weights(self) -> Array:
        """Which free numbers [p] are weights of networks."""
        networks = {f.name for f in self.fitting.free if isinstance(f.declaration, Network)}
        return np.array([name.partition("[")[0] in networks for name in self.fitting.names], bool)

    def _factor(self, found: Uncertainty) -> Array:
        return found.factor[:, : self.fitting.size]

    def _for_runs_aside(self, x: Array) -> tuple[Array, tuple[str, ...]]:
        """The estimate as it predicts runs that were held out: what they have their own is the mean of the others'."""
        size, aside = self.fitting.shared.size, self.aside
        if not aside.any() or aside[size:].all():
            return x, ()
        own = x[size:].reshape((self.fitting.runs, -1)).copy()
        gone = aside[size:].reshape(own.shape)[:, 0]
        own[gone] = own[~gone].mean(axis=0)
        names = ", ".join(self.fitting.own.names())
        note = f"runs that were held out are predicted with the mean {names} of the others, in free numbers"
        return np.concatenate([x[:size], own.ravel()]), (note,)

    def _profiled(self, found: Uncertainty) -> Profiled:
        count = sum(int(np.sum(k)) for k in self.numbers.cases.known.values())
        rise = refits.rise(count - self.fitting.size if found.squares else None, count)
        progress, names = self.context.progress, self.task.profile
        progress.begin(f"fit {self.task.name}: profiles", 1)
        try:
            told = lambda word: progress.advance(0, None, profiles=word)  # noqa: E731
            return refits.profiles(
                self.fitting, self.numbers, found.x, found.nll, names, self.labels, found.se, self.aside, rise, told
            )
        finally:
            progress.end()

    def _resampled(self, found: Uncertainty) -> Resampled:
        count, progress = self.task.counts["bootstrap"], self.context.progress
        progress.begin(f"fit {self.task.name}: bootstrap", count)
        try:
            seed = stream(self.seed, "bootstrap")
            return refits.bootstrap(
                self.fitting, self.numbers, found.x, found.scales, count, seed, self.aside, progress.advance
            )
        finally:
            progress.end()
