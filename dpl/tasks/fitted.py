"""What a `fit` returns: estimates with their uncertainty, the likelihood, the starts, and curves to draw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from dpl.tasks import fragment
from dpl.tasks.result import Result


@dataclass(frozen=True, eq=False)
class Estimate:
    """A number or an array that was estimated, in its declared unit; an array over `runs` of what each run has its own.

    `se` is the standard error, `interval` the ends of the 95 % interval; NaN where the data do not determine it or
    where it lies on a bound.
    """

    value: Any
    se: Any
    interval: tuple[Any, Any]
    unit: str = ""
    start: Any = None
    low: float | None = None
    high: float | None = None
    log: bool = False
    at_bound: bool = False
    runs: tuple[str, ...] = ()
    origin: str = ""
    """`file.dpl:7`"""

    @property
    def bound(self) -> str:
        """`lower` or `upper`: which bound a single number lies on; empty if on none."""
        ends = {"lower": self.low, "upper": self.high}
        reached = [(abs(self.value - end), word) for word, end in ends.items() if end is not None and self.at_bound]
        return min(reached)[1] if reached else ""

    def singles(self, name: str) -> Iterator[tuple[str, Estimate]]:
        """Each of its numbers as an estimate of its own, by name: `k[2]` of an array, `V[7]` of the run labelled 7."""
        shape = np.shape(self.value)
        if not shape:
            yield name, self
        for index in np.ndindex(*shape) if shape else ():
            at = [self.runs[index[0]], *map(str, index[1:])] if self.runs else list(map(str, index))
            se, (low, high) = (float(_at(self.se, index)), self.interval)
            yield (
                f"{name}[{', '.join(at)}]",
                replace(
                    self,
                    value=float(_at(self.value, index)),
                    se=se,
                    interval=(float(_at(low, index)), float(_at(high, index))),
                    start=None if self.start is None else float(_at(self.start, index)),
                    at_bound=self.at_bound and not np.isfinite(se),
                    runs=(),
                ),
            )


def _at(values: Any, index: tuple[int, ...]) -> Any:
    """One of an array; a single number stands for all of them."""
    return np.asarray(values)[index] if np.ndim(values) else values


@dataclass(frozen=True)
class FitStart:
    """One of several starts. `failed`: in words, why it came to nothing; empty of one that ended well."""

    nll: float
    iterations: int
    values: Mapping[str, Any]
    """Declared units; networks left out"""
    failed: str = ""
    best: bool = False
    """Whether it reached the best value (within 0.01 of it)"""


@dataclass(frozen=True, eq=False)
class Curve:
    """One observable in one run: what was measured and what the fit says of it, in declared units.

    `at` is the time, or the number of the run where there is no time; `points` belong to data, `band` and `line` to
    the fine grid `grid` (the same as `at` where there is no time).
    """

    observation: str
    run: str
    unit: str
    at: np.ndarray
    data: np.ndarray
    """NaN where missing"""
    fitted: np.ndarray
    """The mean or median at the data"""
    residuals: np.ndarray
    """Standardised: of variance 1 if the model is right"""
    held_out: np.ndarray
    """Which rows were kept aside"""
    grid: np.ndarray
    line: np.ndarray
    band: tuple[np.ndarray, np.ndarray] | None = None
    """The 95 % band of the line, from the uncertainty of the estimates"""
    spread: tuple[np.ndarray, np.ndarray] | None = None
    """Where 95 % of new measurements would lie"""
    time_unit: str = ""
    censored: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))


@dataclass(frozen=True, eq=False)
class Profile:
    """The least nll over all other parameters at fixed values of one [declared unit].

    `interval`: where it stays within 1.92 of the least (95 %); an infinite end was not found within the bounds.
    """

    name: str
    values: np.ndarray
    nll: np.ndarray
    interval: tuple[float, float]
    unit: str = ""


@dataclass(frozen=True)
class Direction:
    """A combination of parameters that the data hardly determine; `sd` as a share of the values, as of logarithms."""

    parts: tuple[tuple[str, float], ...]
    """Names and weights, the largest first"""
    sd: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Fitted(Result):
    """What was estimated. `nll` is the negative log likelihood with the priors, in declared units; at the estimates."""

    method: str
    estimates: Mapping[str, Estimate]
    scales: Mapping[str, Estimate]
    """Scales that the observations leave out, by observation"""
    networks: tuple[str, ...]
    nll: float
    log_likelihood: float
    """Without priors"""
    rss: float
    """Sum of squared differences from the mean, in declared units (of logarithms where lognormal)"""
    aic: float
    bic: float
    count: int
    """Cells that counted"""
    skipped: int
    censored: int
    free: int
    """Free numbers that the data tell, estimated scales among them"""
    iterations: int
    starts: tuple[FitStart, ...]
    names: tuple[str, ...]
    """Of the rows of `correlation`: `k`, `V[1]`"""
    correlation: np.ndarray
    covariance: np.ndarray
    """In declared units"""
    directions: tuple[Direction, ...] = ()
    curves: Sequence[Curve] = ()
    """Drawn when they are first asked for"""
    profiles: Mapping[str, Profile] = field(default_factory=dict[str, Profile])
    bootstrap: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    """By name, the estimates [refits] of resampled data; declared units"""
    held_out: Mapping[str, float] = field(default_factory=dict[str, float])
    """By observation, the root mean square of standardised residuals on what was kept aside"""
    history: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """The nll of the best start before each iteration"""
    scale: Literal["least squares", "likelihood"] = "likelihood"
    """Whether an estimated scale is that of least squares (n - p)"""
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """All params [declared units] and networks of the scenario as they are now"""

    @property
    def fragment(self) -> str:
        """The estimates as DPL: declarations with all their digits, to be put in the place of the old ones."""
        return fragment.text(self)

    def to_pandas(self) -> Any:
        """A data frame with a row per estimated number, scales among them: value, se, low, high, unit, start, bound."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas needs pandas, which is not installed: pip install pandas") from error
        scales = {f"scale of {name}": scale for name, scale in self.scales.items()}
        singles = [pair for name, one in {**self.estimates, **scales}.items() for pair in one.singles(name)]
        rows = [
            (one.value, one.se, *one.interval, one.unit, np.nan if one.start is None else one.start, one.bound)
            for _, one in singles
        ]
        index = pandas.Index([name for name, _ in singles], name="name")
        return pandas.DataFrame(rows, index, ["value", "se", "low", "high", "unit", "start", "bound"])
