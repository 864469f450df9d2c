"""Results of fits made by hand, with numbers that are easy to check."""

from dataclasses import replace
from typing import Any

import numpy as np

from dpl.tasks.fitted import Curve, Direction, Estimate, FitStart, Fitted, Profile
from dpl.tasks.result import Seconds

KA = Estimate(1.4912345678901234, 0.1823, (1.134, 1.849), "1/h", 1.0, 0.1, 10.0, True, origin="drug.dpl:3")
V = Estimate(31.712, 0.0412, (31.63, 31.79), "L", 20.0, 1.0, 500.0)
KE = Estimate(0.5, np.nan, (np.nan, np.nan), "1/h", 0.1, 0.01, 0.5, at_bound=True)
DOSE = Estimate(
    np.array([4.0123, 5.25]), np.array([0.1, 0.2]), (np.array([3.8, 4.9]), np.array([4.2, 5.6])), "mg", runs=("1", "b")
)
SIGMA = Estimate(0.31, 0.02, (0.27, 0.35), "mg/L")


def fitted(**changes: Any) -> Fitted:
    """A fit of four numbers, one of them in each of two runs."""
    names = ("ka", "body.V", "body.ke", "dose[0]", "dose[1]", "net[0]")
    correlation = np.eye(6)
    correlation[0, 1] = correlation[1, 0] = -0.97
    correlation[2] = correlation[:, 2] = np.nan
    result = Fitted(
        kind="fit",
        name="typical",
        scenario="Drug",
        seed=0,
        seconds=Seconds(0.5, 1.25),
        method="levenberg_marquardt",
        estimates={"ka": KA, "body.V": V, "body.ke": KE, "dose": DOSE},
        scales={"theoph.conc": SIGMA},
        networks=(),
        nll=123.456,
        log_likelihood=-120.5,
        rss=3.25,
        aic=253.0,
        bic=261.5,
        count=26,
        skipped=2,
        censored=1,
        free=6,
        iterations=7,
        starts=(
            FitStart(123.456, 7, {"ka": 1.49}, best=True),
            FitStart(150.0, 9, {"ka": 0.2}),
            FitStart(np.nan, 1, {"ka": 9.0}, failed="a run did not end"),
            FitStart(123.457, 8, {"ka": 1.4913}, best=True),
        ),
        names=names,
        correlation=correlation,
        covariance=correlation * 0.01,
        directions=(Direction((("ka", 0.71), ("body.V", -0.7), ("dose[1]", 0.01)), 12.0),),
        curves=tuple(curve(run, k) for k, run in enumerate(("1", "b"))),
        profiles={
            "ka": Profile(
                "ka", np.linspace(1, 2, 11), 123.456 + 10 * (np.linspace(1, 2, 11) - 1.49) ** 2, (1.1, np.inf), "1/h"
            )
        },
        bootstrap={"ka": np.linspace(1.0, 2.0, 101), "dose": np.linspace([4.0, 5.0], [5.0, 6.0], 101)},
        held_out={"theoph.conc": 1.25},
        history=np.array([200.0, 130.0, 123.456]),
        params={"ka": 1.49, "body.V": 31.7, "body.ke": 0.5},
    )
    return replace(result, **changes)


def curve(run: str, k: int = 0) -> Curve:
    """A fit that is off by a little, whose last three rows are kept aside and whose first is censored."""
    at, grid = np.arange(13.0), np.linspace(0, 12, 49)
    values = (2.0 + k) * np.exp(-0.2 * at)
    line = (2.0 + k) * np.exp(-0.2 * grid)
    residuals = np.sin(1.0 + 3.0 * at)
    data = values + 0.1 * residuals
    data[4] = np.nan
    return Curve(
        observation="theoph.conc",
        run=run,
        unit="mg/L",
        at=at,
        data=data,
        fitted=values,
        residuals=np.where(np.isnan(data), np.nan, residuals),
        held_out=at > 9,
        grid=grid,
        line=line,
        band=(0.95 * line, 1.05 * line),
        spread=(line - 0.2, line + 0.2),
        time_unit="h",
        censored=at == 0,
    )
