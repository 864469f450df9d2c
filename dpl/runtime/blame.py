"""Which statement first gave a value that is not finite, when, and from what: the run is replayed to find it.

Nothing here runs unless a run has failed, so it may be slow.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import hybrid, measure, solve, using
from dpl.runtime import spec as declared
from dpl.runtime.solve import FIXED, Point, Problem
from dpl.runtime.spec import Method, Values
from dpl.runtime.ticks import Sampled

SUBSTEPS = 100
"""Small steps in which the interval after the last finite point of an adaptive run is retraced"""


@dataclasses.dataclass(frozen=True)
class Blame:
    """The first value that is not finite."""

    quantity: str
    """Its name in the generated program, or the dotted name of a value that was given"""
    line: str
    """The generated statement, without its comment"""
    origin: str
    """Where in the DPL text it comes from (`cannon.dpl:7`), if the statement says so"""
    time: float | None
    """When [s]; None outside of time"""
    inputs: Mapping[str, Any]
    """What the statement read [SI]"""


def blame(source: str, scenario: declared.Scenario, method: Method, values: Values) -> Blame | None:
    """The statement of the generated `source` that spoils a run with these values [SI]; None if all is finite.

    A `Scenario` of a `Program` hands over its `spec`, its `method`, and the program's `source`.
    """
    for name, value in values.items():
        if not _finite(value) and not name.startswith(using.PREFIX):  # there NaN is what the runtime chooses
            return Blame(name, "", "", None, {name: value})
    inspector = _Inspector(source)
    try:
        with np.errstate(all="ignore"):  # what is not finite is what is looked for
            c, method = inspector.call(scenario.fixed, (values,), None), using.concrete(method, values)
            if scenario.modes:
                return _where_it_stands(inspector, scenario, method, values)
            reduced = _run(inspector, scenario, method, c) if scenario.run is not None else ()
            inspector.call(scenario.results, (reduced, c), None)
    except _Found as found:
        return found.blame
    return None


# ---------------------------------------------------------------- the replay


def _run(inspector: _Inspector, scenario: declared.Scenario, method: Method, c: tuple[Any, ...]) -> tuple[Any, ...]:
    """Checks the run from its start to its reductions, which it returns."""
    assert scenario.start is not None
    inspector.call(scenario.start, (c,), None)
    arguments = measure.arguments_of(scenario, c)
    plan = solve.plan(scenario, method, solve.MEASURING)
    p = solve.problem(scenario, c, method)
    need = measure.needs(scenario.reductions, arguments)

    def record(point: Point) -> tuple[Point, measure.Kept]:
        return point, measure.keep(scenario, c, need, point)

    out = jax.jit(lambda: solve.solve(p, method, plan, record, ends=True))()
    points, kept = out.series
    grid = plan.grid()
    _check_points(inspector, p, method, points, grid)
    if scenario.recorded is not None:
        bad = _first_bad(kept.recorded)
        if bad is not None:
            at = _at(points, bad)
            inspector.call(scenario.recorded, (at.t, at.x, at.z, at.held, c), float(grid[bad]))
    return measure.reduce(scenario, c, arguments, plan, out._replace(series=kept))


def _where_it_stands(
    inspector: _Inspector, scenario: declared.Scenario, method: Method, values: Values
) -> Blame | None:
    """Of a run with events: what its mode computes where it could not go on, and a little later."""
    constants = [inspector.call(mode.fixed, (values,), None) for mode in scenario.modes]
    assert scenario.start is not None and scenario.run is not None
    inspector.call(scenario.start, (constants[0],), None)
    m = jax.jit(lambda values: hybrid.ended(scenario, values, method))(dict(values))
    mode, c, t = scenario.modes[int(m.mode)], constants[int(m.mode)], float(m.t)
    bad = [s.name for s, x in zip(scenario.states, m.x, strict=True) if not _finite(x)]
    if bad:  # no step leads there: an event set it
        event = int(np.nanargmax(np.asarray(m.last)))
        return Blame(bad[0], f"set by {scenario.events[event].name}", scenario.events[event].origin, t, {})
    slopes, _ = inspector.call(mode.rhs, (t, m.x, m.sampled.z, m.sampled.held, c), t)
    for j in range(SUBSTEPS):
        h = scenario.run.duration * 2.0 ** (j - SUBSTEPS)
        later = tuple(a + h * d for a, d in zip(m.x, slopes, strict=True))
        inspector.call(mode.rhs, (t + h, later, m.sampled.z, m.sampled.held, c), t + h)
    return None


def _check_points(inspector: _Inspector, p: Problem, method: Method, points: Point, grid: np.ndarray) -> None:
    """Retraces the step that leads to the first point that is not finite, statement by statement."""
    bad = _first_bad((points.x, points.z, points.held, points.totals))
    if bad is None:
        return
    spied = dataclasses.replace(p, scenario=inspector.spied(p.scenario))
    before = _at(points, max(bad - 1, 0))
    _spy_clocks(spied, before)
    if bad > 0:
        _spy_step(spied, method, before, float(grid[bad] - grid[bad - 1]))
    _spy_clocks(spied, _at(points, bad)._replace(held=before.held))


def _spy_clocks(p: Problem, at: Point) -> None:
    held = at.held
    for clock in p.scenario.clocks:
        held, _ = clock.evaluate(at.t, at.x, at.z, held, p.c)


def _spy_step(p: Problem, method: Method, at: Point, length: float) -> None:
    y, s = p.layout.pack(at.x, at.totals), Sampled(at.z, at.z, at.held)
    steps = 1 if method.name in FIXED else SUBSTEPS
    stepper = FIXED[method.name if method.name in FIXED else "rk4"]
    for j in range(steps):
        y = stepper(p, at.t + j * (length / steps), y, s, length / steps)


def _at(points: Point, index: int) -> Point:
    return jax.tree.map(lambda a: a[index], points)


def _first_bad(series: Any) -> int | None:
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(series)]
    bad = [~np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1) for leaf in leaves]
    rows = np.flatnonzero(np.any(bad, axis=0)) if bad else np.zeros(0, int)
    return int(rows[0]) if rows.size else None


# ---------------------------------------------------------------- statement by statement


class _Found(Exception):
    def __init__(self, blame: Blame) -> None:
        self.blame = blame


def _execute(statement: ast.stmt, scope: dict[str, Any]) -> None:
    """One statement of a module that the compiler generated; no text of a user's ever gets here."""
    exec(compile(ast.Module([statement], []), "<replay>", "exec"), scope)


def _value(expression: ast.expr, scope: dict[str, Any]) -> Any:
    """The value of an expression of such a statement."""
    target = ast.copy_location(ast.Name(_RESULT, ast.Store()), expression)
    _execute(ast.copy_location(ast.Assign([target], expression), expression), scope)
    return scope[_RESULT]


_RESULT = "__value__"


class _Inspector:
    """Runs functions of a generated module one statement at a time."""

    def __init__(self, source: str) -> None:
        self._lines = source.splitlines()
        tree = ast.parse(source)
        self._functions = {(n.name, n.lineno): n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}

    def call(self, function: Callable[..., Any], arguments: Sequence[Any], time: float | None) -> Any:
        """The function's value; raises `_Found` at the first statement whose value is not finite."""
        code = function.__code__
        node = self._functions.get((code.co_name, code.co_firstlineno))
        if node is None:  # a lambda, or a function from elsewhere: judged as a whole
            value = function(*arguments)
            if not _finite(value):
                raise _Found(self._blame(code.co_name, None, code.co_firstlineno, time, {}))
            return value
        names = [a.arg for a in node.args.args]
        scope: dict[str, Any] = {**function.__globals__, **dict(zip(names, arguments, strict=True))}
        for statement in node.body:
            if isinstance(statement, ast.Return):
                return self._returned(statement, scope, time)
            _execute(statement, scope)
            for name in _names(statement, ast.Store):
                if not _finite(scope[name]):
                    found = self._blame(name, statement, statement.lineno, time, _read(statement, scope))
                    raise _Found(_element(self._row(found, statement.lineno, scope), scope[name]))
        return None

    def spied(self, scenario: declared.Scenario) -> declared.Scenario:
        """The same scenario with its equations run statement by statement."""
        rhs = scenario.rhs
        clocks = tuple(dataclasses.replace(clock, evaluate=self._spy(clock.evaluate)) for clock in scenario.clocks)
        return dataclasses.replace(scenario, rhs=None if rhs is None else self._spy(rhs), clocks=clocks)

    def _spy(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda t, *rest: self.call(function, (t, *rest), float(t))

    def _returned(self, statement: ast.Return, scope: dict[str, Any], time: float | None) -> Any:
        assert statement.value is not None
        for name, expression in _parts("result", statement.value):
            value = _value(expression, scope)
            if not _finite(value):
                raise _Found(self._blame(name, expression, expression.lineno, time, _read(expression, scope)))
        return _value(statement.value, scope)

    def _blame(
        self, name: str, node: ast.AST | None, line: int, time: float | None, inputs: Mapping[str, Any]
    ) -> Blame:
        last = getattr(node, "end_lineno", line) if node is not None else line
        lines = self._lines[line - 1 : last]
        comment = re.search(r"#\s*(\S+:\d+)", " ".join(lines))
        text = " ".join(part.split("  #")[0].strip() for part in lines)
        return Blame(name, text, comment.group(1) if comment else "", time, inputs)

    def _row(self, found: Blame, line: int, scope: Mapping[str, Any]) -> Blame:
        """Of a group of expressions the first that is spoilt: its line, and what it read."""
        comment = re.search(r"#\s*(\w+_LINES_\d+)$", self._lines[line - 1])
        if comment is None:
            return found
        spoilt = np.asarray(scope[found.quantity])
        row = int(np.flatnonzero(~np.isfinite(spoilt))[0])
        alike = {k: v[row] if isinstance(v, list) and len(v) == len(spoilt) else v for k, v in found.inputs.items()}
        origin: str = scope[comment.group(1)][row]
        return dataclasses.replace(found, quantity=f"{found.quantity}[{row}]", origin=origin, inputs=alike)


def _parts(name: str, expression: ast.expr) -> list[tuple[str, ast.expr]]:
    """The expressions that a returned tuple or dict is made of, each with a name."""
    match expression:
        case ast.Tuple(elts=elements):
            return [part for element in elements for part in _parts(ast.unparse(element), element)]
        case ast.Dict(keys=keys, values=values):
            named = zip(keys, values, strict=True)
            return [part for key, value in named for part in _parts(ast.literal_eval(key) if key else name, value)]
        case _:
            return [(name, expression)]


def _element(found: Blame, value: Any) -> Blame:
    """The first element of an array that is spoilt, and of other arrays of its shape the elements beside it."""
    spoilt = np.asarray(value) if isinstance(value, (np.ndarray, jax.Array)) else np.zeros(())
    if spoilt.ndim == 0 or found.quantity.endswith("]"):
        return found
    where = tuple(int(k) for k in np.argwhere(~np.isfinite(spoilt))[0])
    beside = {k: np.asarray(v)[where].tolist() if np.shape(v) == spoilt.shape else v for k, v in found.inputs.items()}
    return dataclasses.replace(found, quantity=f"{found.quantity}[{', '.join(map(str, where))}]", inputs=beside)


def _names(node: ast.AST, context: type) -> list[str]:
    """Names that a statement sets or reads, in order; those of functions that it defines are their own affair."""
    if isinstance(node, ast.FunctionDef):
        return []
    return [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, context)]


def _read(node: ast.AST, scope: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: scope[name] for name in _names(node, ast.Load) if name in scope}
    return {
        name: jnp.asarray(v).tolist()
        for name, v in values.items()
        if isinstance(v, (int, float, np.ndarray, jax.Array))
    }


def _finite(value: Any) -> bool:
    for leaf in jax.tree.leaves(value):
        if isinstance(leaf, (int, float, np.ndarray, jax.Array)) and not np.all(np.isfinite(np.asarray(leaf))):
            return False
    return True
