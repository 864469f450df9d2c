"""What a `fit` fits, as pure functions of its free numbers: arguments of the distributions, likelihood, rows.

The free numbers of one lane are one vector x [p]: first what all runs share, then run by run what each run has its own.
A row belongs to one number that a datum tells or that a prior does; the information matrix is AᵀA, the gradient of the
negative log likelihood is Aᵀz, and |A δ + z|²/2 is, up to a constant, what Fisher scoring takes the likelihood for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from dpl.runtime.program import Scenario
from dpl.tasks.vary import Freedoms

Values = Mapping[str, Any]


class Numbers(NamedTuple):
    """What a fit reads and what does not shape its program: a change of any of it never retraces.

    `base`: SI values of all that is not free. `cases`: `runtime.observing.Cases`, whose `observed` may be replaced (a
    bootstrap) and whose `known` may be narrowed (what is held out, what a window shows): what is not known does not count.
    """

    base: Values
    cases: Any


class Rows(NamedTuple):
    """The nll and its rows at x: A [m, p], z [m]; `fine`: whether all of it is finite."""

    nll: Any
    A: Any
    z: Any
    fine: Any


@dataclass(frozen=True)
class Fitting:
    """What is fitted, without its numbers. Equal ones share one compiled program.

    All functions are pure, of one lane, and may be mapped over lanes, over `numbers.cases.observed`, or both.
    """

    scenario: Scenario
    free: Freedoms
    runs: int
    priors: bool = True
    """Whether the priors of params count"""

    # -- free numbers

    @property
    def size(self) -> int:
        """p: how many free numbers there are, estimated scales not among them."""
        raise NotImplementedError

    @property
    def names(self) -> tuple[str, ...]:
        """Of each free number [p], as a user reads it: `k`, `c[0]`, `V[1]` (each: the run's position from 0)."""
        raise NotImplementedError

    def outward(self, values: Values) -> Any:
        """x [p] from SI values by name; of what each run has its own with a leading axis of runs."""
        raise NotImplementedError

    def inward(self, x: Any) -> dict[str, Any]:
        """SI values by name from x [p]; of what each run has its own with a leading axis of runs."""
        raise NotImplementedError

    # -- what the data say

    def arguments(self, x: Any, numbers: Numbers) -> tuple[dict[str, tuple[Any, ...]], Any]:
        """The distribution's arguments of each observation, shaped like its data [runs, n] or [runs], and the status
        [runs]. An estimated scale stands as the number 1 in its place."""
        raise NotImplementedError

    def scales(self, x: Any, numbers: Numbers) -> dict[str, Any]:
        """The most likely value [SI] of each estimated scale, by observation: RSS/n where it is normal."""
        raise NotImplementedError

    def nll(self, x: Any, numbers: Numbers) -> Any:
        """The negative log likelihood of all that counts in declared units, with the priors, the estimated scales at
        their most likely values; NaN where a run fails."""
        raise NotImplementedError

    def rows(self, x: Any, numbers: Numbers, joint: bool = False) -> Rows:
        """The nll and its rows. `joint`: the logarithms of the estimated scales are free as well: columns after the p
        others, in the order of the observations, for their uncertainty."""
        raise NotImplementedError


class Solved(NamedTuple):
    """What lanes came to, NumPy arrays over lanes."""

    x: Any
    """[lanes, p]"""
    nll: Any
    """[lanes]; infinite of one that failed where it began"""
    state: Any
    """[lanes]: scoring.RUNNING (used up its iterations), SETTLED, STUCK (no step leads on), FAILED (nothing finite where it
    began)"""
    count: Any
    """[lanes]: iterations"""
    history: Any
    """[iterations, lanes]: the nll before each"""


def solve(
    fitting: Fitting,
    x: Any,
    numbers: Numbers,
    *,
    held: Any = None,
    own: bool = False,
    steps: int = 500,
) -> Solved:
    """Fits lanes side by side, without progress: refits, profiles. Calls with equal shapes share a compiled program.

    Args:
        x: where the lanes start [lanes, p].
        held: which free numbers [lanes, p] stay as they are (bool); None: none.
        own: whether `numbers.cases.observed` and `.known` have a leading axis of lanes.
    """
    raise NotImplementedError
