"""The declarations of `runtime/spec.py` that stand beside the generated functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dpl.compiler import data
from dpl.compiler.data import unit as _unit
from dpl.compiler.literals import Code, Make
from dpl.compiler.lower import Lowered, LoweredMode, LoweredTransition
from dpl.compiler.slices import Pattern, Tick
from dpl.compiler.start import Start, Value, literal_value
from dpl.language import syntax
from dpl.language.builtins import DISTRIBUTIONS
from dpl.language.constants import constant
from dpl.language.model import (
    Comparison,
    FreeLet,
    Measure,
    MethodUse,
    NetworkUse,
    Objective,
    PortType,
    RunSettings,
    Scoped,
    TaskUse,
    Variable,
    WindowUse,
)
from dpl.language.reach import array_of, shape_of
from dpl.language.units import Unit
from dpl.language.vary import ends_of, shown_unit

# ---------------------------------------------------------------- scenarios


def scenario(
    lowered: Lowered, functions: dict[str, Code], modes: Sequence[dict[str, Code]], networks: tuple[Code, ...]
) -> Make:
    """`spec.Scenario`; `functions` by role and those of each mode, `networks` by the names of their specs."""
    system = lowered.system
    own, functions = functions, {**(modes[0] if modes else {}), **functions}
    arguments: dict[str, Any] = {
        "name": system.name,
        "doc": clean(system.doc),
        "params": tuple(_param(v) for v in system.variables if v.kind == "param"),
        "givens": tuple(_given(v) for v in system.variables if v.kind == "given"),
        "starts": tuple(_start(s, system.time) for s in lowered.starts),
        "networks": networks,
        "noises": tuple(v.path for v in system.variables if v.noise) or None,
        "observed": tuple(_observed(v, lowered) for v in lowered.observed),
        "measures": tuple(_measure(m) for m in system.measures),
        **{role: functions[role] for role in ("fixed", "results", "observe")},
        "free": tuple(_free(f) for f in system.freed.values()) or None,
        "freed": functions.get("freed"),
    }
    if system.run is not None:
        arguments |= _dynamic(lowered, system.run, functions)
    arguments |= {"ranges": own.get("ranges"), "defaults": lowered.defaults or None}
    arguments |= _measured(lowered, functions)
    if modes:
        arguments |= _hybrid(lowered, own, modes)
    return Make("spec.Scenario", arguments)


def _measured(lowered: Lowered, functions: dict[str, Code]) -> dict[str, Any]:
    """What a scenario says of data and tables."""
    observations = (lowered.system.whole or lowered.system).observations
    return {
        "observations": tuple(map(data.observation, observations)) or None,
        "sensors": functions.get("sensors"),
        "row": tuple(v.path for v in lowered.causal.observed.row) or None,
        "tables": tuple(map(data.table, lowered.tables)) or None,
        "signals": lowered.signals or None,
        "knots": functions.get("knots"),
    }


def _dynamic(lowered: Lowered, run: RunSettings, functions: dict[str, Code]) -> dict[str, Any]:
    """What a scenario with a run has besides."""
    base = lowered.base
    settings = {
        "start": float(run.start),
        "duration": float(run.duration),
        "method": _method(run.method) or Make("spec.Method", {}),
        "base": None if base is None else float(base),
        "unit": _unit(run.unit) or Make("spec.Unit", {}),
        "until_stop": run.until_stop or None,
    }
    clocks = _clocks(lowered.ticks, functions)
    reductions = tuple(
        Make("spec.Reduction", {"kind": r.kind, "index": r.index, "held": r.held or None}) for r in lowered.reductions
    )
    return {
        "run": Make("spec.Run", settings),
        "states": tuple(_state(v, k, lowered.system.time) for v, k in lowered.timing.states) or None,
        "rates": lowered.rates or None,
        "start": functions["start"],
        "rhs": functions["rhs"],
        "jacobian": _jacobian(lowered.pattern, functions),
        "clocks": clocks or None,
        "reductions": reductions or None,
        **{role: functions.get(role) for role in ("reduction_arguments", "jumps", "recorded", "instants")},
        "timed": lowered.timed or None,
    }


def _jacobian(pattern: Pattern | None, functions: dict[str, Code]) -> Make | None:
    if pattern is None:
        return None
    rows, columns = pattern
    return Make("spec.Jacobian", {"rows": rows, "columns": columns, "entries": functions["jacobian"]})


def _hybrid(lowered: Lowered, own: dict[str, Code], modes: Sequence[dict[str, Code]]) -> dict[str, Any]:
    """What a scenario with events has besides."""
    system = lowered.system.whole or lowered.system
    asked = [(r.index, a) for r, a in zip(lowered.reductions, lowered.kept, strict=True) if r.kind == "event_time"]
    events = (
        Make(
            "spec.Event",
            {
                "name": e.path,
                "kept": max((k for index, k in asked if index == i), default=None),
                "named": None if e.named else False,
                "origin": e.span.origin,
            },
        )
        for i, e in enumerate(system.events)
    )
    return {
        "leading": own.get("leading"),
        "events": tuple(events),
        "automata": tuple(a.modes for a in system.automata) or None,
        "modes": tuple(_mode(m, f) for m, f in zip(lowered.modes, modes, strict=True)),
    }


def _mode(mode: LoweredMode, functions: dict[str, Code]) -> Make:
    roles = ("margins", "tests", "alarms", "project", "recorded", "instants", "jumps", "knots", "sensors")
    return Make(
        "spec.Mode",
        {
            "name": mode.name,
            "fixed": functions["fixed"],
            "rhs": functions["rhs"],
            "observe": functions["observe"],
            "moved": mode.moved or None,
            "rates": mode.rates or None,
            "clocks": _clocks(mode.ticks, functions) or None,
            "transitions": tuple(_transition(t, functions) for t in mode.transitions) or None,
            **{role: functions.get(role) for role in roles},
            "valueless": mode.valueless or None,
            "timed": mode.timed or None,
            "origin": mode.origin or None,
        },
    )


def _transition(transition: LoweredTransition, functions: dict[str, Code]) -> Make:
    t = transition
    return Make(
        "spec.Transition",
        {
            "event": t.event,
            "watch": None if t.watch == "state" else t.watch,
            "at_once": t.at_once or None,
            "assign": functions[t.assign] if t.assign else None,
            "states": t.states or None,
            "sampled": t.sampled or None,
            "go": t.go,
            "stop": t.stop or None,
        },
    )


def _clocks(ticks: Sequence[Tick], functions: dict[str, Code]) -> tuple[Make, ...]:
    return tuple(
        Make("spec.Clock", {"every": t.every, "evaluate": functions[t.role], "states": t.states or None}) for t in ticks
    )


def _default(value: Scoped | None) -> Value | None:
    """The default of a param or given; of an array that is given element by element, all of them."""
    shape = shape_of(value) if value is not None else ()
    if value is None or not shape:
        return None if value is None else literal_value(value)
    return _nested([float(number) for number in array_of(value, shape)], shape)


def _nested(values: Sequence[float], shape: tuple[int, ...]) -> Value:
    """The values of an array, row by row."""
    if not shape:
        return values[0]
    size = len(values) // shape[0]
    return tuple(_nested(values[row * size :][:size], shape[1:]) for row in range(shape[0]))


def _param(variable: Variable) -> Make:
    value = _default(variable.value)
    low, high = _ends(variable)
    return Make(
        "spec.Param",
        {
            "name": variable.path,
            "value": Code("None") if value is None else _filled(value, variable.shape),
            "unit": _unit(variable.display),
            "low": low,
            "high": high,
            "log": variable.declaration.log or None,
            "prior": _distribution(variable),
            "shape": variable.shape or None,
            "origin": _origin(variable),
        },
    )


def _given(variable: Variable) -> Make:
    distribution = _distribution(variable)
    domain = variable.declaration.domain
    listed = literal_value(Scoped(domain, variable.scope, variable.unit)) if isinstance(domain, syntax.List) else None
    low, high = (None, None) if listed else _ends(variable)
    value = _default(variable.value)
    if value is None and distribution is None and variable.row is None:
        value = listed[0] if isinstance(listed, tuple) else ((low or 0.0) + (high or 0.0)) / 2
    row = data.given(variable.row) if variable.row is not None else {"value": value}
    return Make(
        "spec.Given",
        {
            "name": variable.path,
            **row,
            "value": Code("None") if row["value"] is None else row["value"],
            "unit": _unit(variable.display),
            "low": low,
            "high": high,
            "distribution": distribution,
            "listed": listed,
            "origin": _origin(variable),
        },
    )


def _free(found: FreeLet) -> Make:
    ends = ends_of(found)
    log = found.port is None and found.variable.declaration.log
    return Make(
        "spec.Free",
        {
            "name": found.path,
            "unit": _unit(shown_unit(found)),
            "low": ends.low if ends else None,
            "high": ends.high if ends else None,
            "log": log or None,
            "shape": found.shape or None,
            "origin": found.span.origin,
        },
    )


def _start(start: Start, time: Unit) -> Make:
    variable = start.variable
    return Make(
        "spec.Start",
        {
            "name": start.path,
            "value": _filled(start.value, variable.shape),
            "unit": _unit(_state_unit(variable, start.order, time)),
            "shape": variable.shape or None,
            "origin": variable.span.origin,
        },
    )


def _filled(value: Value, shape: tuple[int, ...]) -> Value | Code:
    """The value of every element where one number stands for all, or the list of one part for all parts."""
    depth, inner = 0, value
    while isinstance(inner, tuple):
        depth, inner = depth + 1, inner[0]
    if depth == len(shape):
        return value
    text = repr(value)
    for size in reversed(shape[: len(shape) - depth]):
        text = f"({text},) * {size}"
    return Code(text)


def _state(variable: Variable, order: int, time: Unit) -> Make:
    return Make(
        "spec.Observed",
        {
            "name": variable.path + "'" * order,
            "unit": _unit(_state_unit(variable, order, time)),
            "kind": "state",
            "shape": variable.shape or None,
            "origin": _origin(variable),
        },
    )


def _state_unit(variable: Variable, order: int, time: Unit) -> Unit:
    """The unit of a state as declared, of its derivatives in SI."""
    if order == 0:
        return variable.display
    dimension = variable.dimension / time.dimension**order
    return Unit(dimension, text="" if dimension.pure else str(dimension))


def _observed(variable: Variable, lowered: Lowered) -> Make:
    limit = variable.declaration.limit
    ranged = variable.path in lowered.ranged
    return Make(
        "spec.Observed",
        {
            "name": variable.path,
            "unit": _unit(variable.display),
            "kind": None if variable.kind == "let" else variable.kind,
            "shape": variable.shape or None,
            "range": (ranged and limit is None) or None,
            "limit": (ranged and limit is not None) or None,
            "origin": _origin(variable),
        },
    )


def _measure(measure: Measure) -> Make:
    item = measure.item
    arguments = {"name": item.name, "kind": item.kind, "unit": _unit(measure.display), "origin": item.span.origin}
    return Make("spec.Measure", arguments)


# ---------------------------------------------------------------- networks


def network(use: NetworkUse) -> Make:
    """`spec.Network`."""
    options = use.options
    assert options is not None
    return Make(
        "spec.Network",
        {
            "name": use.path,
            "inputs": tuple(_port(p) for p in use.inputs),
            "outputs": tuple(_port(p) for p in use.outputs),
            "hidden": options.hidden,
            "activation": options.activation,
            "start_zero": options.start_zero or None,
            "origin": use.item.span.origin,
        },
    )


def _port(port: PortType) -> Make:
    scale = None if port.scale == 1 else port.scale
    unit = port.display.text
    return Make(
        "spec.Port",
        {
            "name": port.name,
            "low": port.low,
            "high": port.high,
            "shape": port.shape or None,
            "scale": scale,
            "unit": None if unit in ("", "1") else unit,
        },
    )


# ---------------------------------------------------------------- tasks


@dataclass(frozen=True)
class TaskFunctions:
    """The names of a task's functions."""

    objective: Code | None
    residuals: Code | None
    constraints: tuple[Code, ...]
    expectations: tuple[Code, ...]
    until: Code | None
    window: Make | None = None


def task(use: TaskUse, functions: TaskFunctions) -> Make:
    """`spec.Task`."""
    item = use.item
    varied = (
        Make("spec.Varied", {"name": q.path, "low": q.low, "high": q.high, "each": q.each or None}) for q in use.vary
    )
    return Make(
        "spec.Task",
        {
            "kind": item.kind,
            "name": item.name,
            "doc": clean(item.doc),
            "scenario": use.system.name if use.system else "",
            "settings": tuple((path, float(constant(value))) for path, value in use.settings) or None,
            "vary": tuple(varied) or None,
            "objective": _objective(use.objective, functions) if use.objective else None,
            "constraints": tuple(map(_comparison, use.constraints, functions.constraints)) or None,
            "expectations": tuple(map(_comparison, use.expectations, functions.expectations)) or None,
            "until": _comparison(use.until, functions.until) if use.until and functions.until else None,
            "window": functions.window,
            "anneal": tuple(Make("spec.Annealed", {"name": a.path, "start": a.start, "end": a.end}) for a in use.anneal)
            or None,
            "method": _method(use.method),
            "counts": use.counts or None,
            "fixed_samples": use.fixed_samples or None,
            "start": None if use.start == "current" else use.start,
            "plot": use.plot or None,
            "of": use.of or None,
            "show": use.show or None,
            "needs": use.needs or None,
            "priors": None if use.priors else False,
            "hold_out": use.hold_out or None,
            "hold_after": use.hold_after,
            "span": use.span,
            "profile": use.profile or None,
            "every": use.every,
            "network": use.network.path if use.network else None,
            "territory": use.territory.name if use.territory else None,
            "repeat": use.repeat or None,
            "origin": item.span.origin,
        },
    )


def window(use: WindowUse, critic: Code, arguments: Code, reduction: int) -> Make:
    """`spec.Window`; `critic` and `arguments` name the network and the function that gives what it is called with."""
    return Make(
        "spec.Window",
        {
            "duration": float(use.duration),
            "critic": critic,
            "arguments": arguments,
            "reduction": reduction,
            "discount": use.discount,
            "origin": use.span.origin,
        },
    )


def _objective(objective: Objective, functions: TaskFunctions) -> Make:
    goal = objective.goal
    return Make(
        "spec.Objective",
        {
            "text": goal.value.span.text,
            "function": functions.objective,
            "maximize": True if goal.sense == "maximize" else None,
            "unit": _unit(objective.unit),
            "residuals": functions.residuals,
            "origin": goal.span.origin,
        },
    )


def _comparison(comparison: Comparison, function: Code) -> Make:
    return Make(
        "spec.Comparison",
        {
            "text": comparison.span.text,
            "operands": function,
            "ops": comparison.ops,
            "per_run": comparison.per_run or None,
            "unit": _unit(comparison.unit),
            "origin": comparison.span.origin,
        },
    )


# ---------------------------------------------------------------- what they share


def _method(method: MethodUse | None) -> Make | None:
    if method is None:
        return None
    return Make("spec.Method", {"name": method.row.name, "arguments": dict(method.arguments) or None})


def _distribution(variable: Variable) -> Make | None:
    prior = variable.declaration.prior
    if not isinstance(prior, syntax.Call) or not isinstance(prior.function, syntax.Name):
        return None
    row = DISTRIBUTIONS[prior.function.id]
    names = [n for n, _ in row.arguments]
    given = {a.name or names[i]: a.value for i, a in enumerate(prior.arguments)}
    values = tuple(
        float(constant(Scoped(given[name], variable.scope, variable.unit if in_unit else None)))
        for name, in_unit in row.arguments
    )
    return Make("spec.Distribution", {"name": row.name, "arguments": values})


def _ends(variable: Variable) -> tuple[float | None, float | None]:
    ends = ends_of(variable)
    return (ends.low, ends.high) if ends else (None, None)


def _origin(variable: Variable) -> str:
    return (variable.wired or variable.span).origin


def clean(doc: str | None) -> str:
    """A docstring on one line."""
    return " ".join(doc.split()) if doc else ""
