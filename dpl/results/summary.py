"""Results as one JSON document, for programs: plain numbers in declared units, null for what is not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, assert_never

import numpy as np

from dpl.results import fits, territory
from dpl.tasks.compare import Compared
from dpl.tasks.constrained import Constrained
from dpl.tasks.evaluate import Evaluated
from dpl.tasks.fitted import Estimate, FitStart, Fitted, Profile
from dpl.tasks.optimize import Optimized
from dpl.tasks.record import Recorded
from dpl.tasks.refine import Refined
from dpl.tasks.result import NumericalFailure, Quantity, Sample
from dpl.tasks.run import AnyResult
from dpl.tasks.simulate import Simulated
from dpl.tasks.suggest import Reading, Suggested
from dpl.tasks.train import Trained
from dpl.tasks.verify import Checked, Failing, Verified

LONGEST_HISTORY = 200
"""A longer loss history is given by the means of so many parts"""


def document(
    file: str, version: str, results: Sequence[AnyResult], seconds: float, failure: NumericalFailure | None = None
) -> dict[str, Any]:
    """What a whole run did: `status` is done, failed (a `verify`), interrupted or numerical failure."""
    statuses = {result.status for result in results}
    status = next((word for word in ("interrupted", "unended", "failed") if word in statuses), "done")
    return {
        "dpl": version,
        "file": file,
        "status": "numerical failure" if failure else status,
        "seconds": seconds,
        "tasks": [task(result) for result in results],
        "failure": _failure(failure) if failure else None,
    }


def task(result: AnyResult) -> dict[str, Any]:
    """One result: what all kinds have, then what its own kind adds."""
    common = {
        "kind": result.kind,
        "name": result.name,
        "scenario": result.scenario,
        "status": result.status,
        "seed": result.seed,
        "seconds": {"compile": result.seconds.compile, "run": result.seconds.run},
        "defaults": list(result.defaults),
        "notes": list(result.notes),
    }
    match result:
        case Simulated():
            return common | {"measures": _quantities(result.measures)}
        case Trained():
            return common | _trained(result)
        case Optimized():
            return common | _optimized(result)
        case Verified():
            return common | _verified(result)
        case Evaluated():
            return common | _evaluated(result)
        case Compared():
            return common | _compared(result)
        case Fitted():
            return common | _fitted(result)
        case Recorded():
            return common | _recorded(result)
        case Suggested():
            return common | _suggested(result)
        case Refined():
            return common | _refined(result)
        case _:
            assert_never(result)


def _trained(result: Trained) -> dict[str, Any]:
    losses = result.losses
    if losses.size > LONGEST_HISTORY:
        losses = np.array([part.mean() for part in np.array_split(losses, LONGEST_HISTORY)])
    return {
        "steps": int(result.losses.size),
        "kept": result.kept,
        "judged": _quantity(result.judged) | {"runs": result.judged_on},
        "objective": result.objective,
        "loss": {"unit": result.unit, "last": _number(losses[-1]) if losses.size else None, "history": _number(losses)},
        "params": _quantities(result.found),
        "networks": list(result.networks),
    }


def _optimized(result: Optimized) -> dict[str, Any]:
    return {
        "method": result.method,
        "samples": result.samples,
        "separate": result.separate,
        "objective": result.objective,
        "loss": {"unit": result.unit, "before": _number(result.before), "after": _number(result.after)},
        "iterations": result.iterations.tolist(),
        "until": {"text": result.until, "holds": result.reached.tolist()} if result.reached is not None else None,
        "found": _quantities(result.found),
        "networks": list(result.networks),
        "measures": _quantities(result.measures),
        "constraints": [_constrained(c) for c in result.constraints],
    }


def _constrained(one: Constrained) -> dict[str, Any]:
    parts = {"value": one.value, "limit": one.limit, "slack": one.slack, "multiplier": one.multiplier}
    return {"text": one.text, "holds": one.holds.tolist()} | _quantities(parts)


def _evaluated(result: Evaluated) -> dict[str, Any]:
    return {
        "samples": result.samples,
        "measures": [
            {k: _number(v) if isinstance(v, float) else v for k, v in asdict(s).items()} for s in result.spreads
        ],
        "unended": {"count": result.unended_count, "runs": [_failing(f) for f in result.unended]},
    }


def _compared(result: Compared) -> dict[str, Any]:
    rows = [
        {
            "task": row.task,
            "measures": _quantities(row.measures),
            "iterations": row.iterations,
            "wall_time": row.wall_time,
        }
        for row in result.rows
    ]
    return {"samples": result.samples, "show": list(result.show), "rows": rows}


QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)
"""Of the refits of a bootstrap"""


def _fitted(result: Fitted) -> dict[str, Any]:
    """All that was found but the curves, which are in the run's folder."""
    return {
        "method": result.method,
        "estimates": {name: _estimate(one) for name, one in result.estimates.items()},
        "scales": {name: _estimate(one) for name, one in result.scales.items()},
        "networks": list(result.networks),
        "nll": _number(result.nll),
        "log_likelihood": _number(result.log_likelihood),
        "rss": _number(result.rss),
        "aic": _number(result.aic),
        "bic": _number(result.bic),
        "count": result.count,
        "skipped": result.skipped,
        "censored": result.censored,
        "free": result.free,
        "iterations": result.iterations,
        "starts": [_start(one) for one in result.starts],
        "correlation": {"names": list(result.names), "matrix": _number(result.correlation)},
        "covariance": {"names": list(result.names), "matrix": _number(result.covariance)},
        "directions": [{"parts": dict(one.parts), "sd": _number(one.sd)} for one in result.directions],
        "profiles": {name: _profile(one) for name, one in result.profiles.items()},
        "bootstrap": {
            name: dict(zip(map(str, QUANTILES), map(_number, ends), strict=True))
            for name, ends in fits.bootstrapped(result, QUANTILES)
        },
        "held_out": {name: _number(rms) for name, rms in result.held_out.items()},
        "history": _number(result.history),
        "scale": result.scale,
    }


def _estimate(one: Estimate) -> dict[str, Any]:
    return {
        "value": _number(one.value),
        "se": _number(one.se),
        "interval": [_number(end) for end in one.interval],
        "unit": one.unit,
        "start": None if one.start is None else _number(one.start),
        "bounds": {
            "low": None if one.low is None else _number(one.low),
            "high": None if one.high is None else _number(one.high),
            "log": one.log,
            "reached": one.at_bound,
        },
        "runs": list(one.runs),
        "origin": one.origin,
    }


def _start(one: FitStart) -> dict[str, Any]:
    values = {name: _number(value) for name, value in one.values.items()}
    figures = {"nll": _number(one.nll), "iterations": one.iterations, "best": one.best}
    return figures | {"failed": one.failed or None, "values": values}


def _profile(one: Profile) -> dict[str, Any]:
    ends = [_number(end) for end in one.interval]
    return {"values": _number(one.values), "nll": _number(one.nll), "interval": ends, "unit": one.unit}


def _recorded(result: Recorded) -> dict[str, Any]:
    """What there is; the rows are in the run's folder."""
    return {
        "rows": territory.rows(result),
        "samples": result.samples,
        "failed": result.failed,
        "columns": {name: quantity.unit for name, quantity in result.columns.items()},
        "time": result.time or None,
        "run": result.run or None,
        "sensors": list(result.sensors),
        "noise": _quantities({name: territory.rms(result, name) for name in result.sensors if name in result.truth}),
    }


def _suggested(result: Suggested) -> dict[str, Any]:
    return {
        "network": result.network,
        "points": result.points,
        "inputs": {name: quantity.unit for name, quantity in result.inputs.items()},
        "outputs": [_reading(reading) for reading in result.readings],
    }


def _reading(reading: Reading) -> dict[str, Any]:
    formulas = [
        {
            "text": one.text,
            "terms": one.terms,
            "complexity": one.complexity,
            "error": _number(one.error),
            "bic": _number(one.bic),
        }
        for one in reading.formulas
    ]
    return {"output": reading.output, "unit": reading.values.unit, "formulas": formulas, "best": reading.best}


def _refined(result: Refined) -> dict[str, Any]:
    return {
        "territory": result.territory,
        "repeat": list(result.repeat),
        "samples": result.samples,
        "rounds": [
            {
                "round": one.number,
                "recorded": one.recorded,
                "seconds": one.seconds,
                "metrics": [
                    {
                        "metric": row.metric,
                        "unit": row.unit,
                        "map": _number(row.map),
                        "territory": _number(row.territory),
                        "gap": _number(row.gap),
                        "closed": _number(row.closed),
                    }
                    for row in one.rows
                ],
                "estimates": {name: _estimate(estimate) for name, estimate in one.estimates.items()},
            }
            for one in result.rounds
        ],
    }


def _verified(result: Verified) -> dict[str, Any]:
    return {
        "samples": result.samples,
        "expectations": [_checked(c) for c in result.checked],
        "unended": {"count": result.unended_count, "runs": [_failing(f) for f in result.unended]},
    }


def _checked(checked: Checked) -> dict[str, Any]:
    return {
        "text": checked.text,
        "holds": checked.holds,
        "ops": list(checked.ops),
        "operands": [{"lowest": _number(low), "highest": _number(high)} for low, high in checked.operands],
        "intervals": [_number(interval) if interval else None for interval in checked.intervals],
        "unit": checked.unit,
        "per_run": checked.per_run,
        "failing": {"count": checked.failing_count, "runs": [_failing(f) for f in checked.failing]},
    }


def _failing(failing: Failing) -> dict[str, Any]:
    return _sample(failing.sample) | {"values": [_quantity(value) for value in failing.values], "why": failing.why}


def _sample(sample: Sample) -> dict[str, Any]:
    return {"run": sample.index, "givens": _quantities(sample.givens)}


def _failure(failure: NumericalFailure) -> dict[str, Any]:
    return {
        "task": failure.task,
        "what": failure.what,
        "step": failure.step,
        "sample": _sample(failure.sample) if failure.sample else None,
        "params": _quantities(failure.params),
        "blame": failure.blame,
    }


def _quantities(values: Mapping[str, Quantity]) -> dict[str, Any]:
    return {name: _quantity(value) for name, value in values.items()}


def _quantity(value: Quantity) -> dict[str, Any]:
    return {"value": _number(value.value), "unit": value.unit}


def _number(value: Any) -> Any:
    """Floats and nested lists of floats; null for what JSON cannot say."""
    array = np.asarray(value)
    if array.ndim:
        return [_number(part) for part in array]
    return array.item() if math.isfinite(array.item()) else None
