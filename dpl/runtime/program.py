"""A compiled file as functions: from the source that the compiler wrote to a `Program` of scenarios to evaluate.

Outside this module's classes all numbers are SI; what a user passes or reads is in declared units. A changed value of
a param, given or start never retraces anything.
"""

from __future__ import annotations

import hashlib
import linecache
import math
import types
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property, partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from dpl.runtime import (
    choice,
    compiling,
    distributions,
    groups,
    hybrid,
    kept,
    measure,
    networks,
    noise,
    observing,
    rows,
    solve,
    trajectory,
    using,
)
from dpl.runtime import spec as declared
from dpl.runtime.solve import ADAPTIVE, STATUS, Company, Mode
from dpl.runtime.spec import Data, Given, Measure, Method, Module, Network, Param, Start, Task, Unit, Values

# ---------------------------------------------------------------- programs


class Program:
    """A compiled file with the current values of its params and networks.

    `values` [SI] is the store that tasks change: by dotted name; where two scenarios declare different things by one
    name, by `Scenario.name`. What is declared once (a network of the file, a part's own net) is shared by the
    scenarios that use it.
    """

    def __init__(
        self, module: Module, source: str = "", seed: int = 0, namespace: Mapping[str, Any] | None = None
    ) -> None:
        self.module = module
        self.name, self.doc, self.source, self.seed = module.name, module.doc, source, seed
        self.namespace: Mapping[str, Any] = namespace or {}
        self.dtype: str = "float64"
        """In which runs are computed: `float64`, or `float32` on request. Optimisers and results are in 64 bits."""
        self.tasks: dict[str, Task] = {task.name: task for task in module.tasks}
        self.data: dict[str, Data] = {data.name: data for data in module.data}
        """The measurements as they are now: `record` replaces those that it makes"""
        self.values: dict[str, Any] = {}
        self._owners: dict[str, Param | Network] = {}
        self.scenarios: dict[str, Scenario] = {s.name: Scenario(self, s) for s in module.scenarios}
        for task in module.tasks:
            if task.window is not None:
                self.register(task.scenario, task.window.critic)

    def register(self, scenario: str, declaration: Param | Network) -> str:
        """The key in `values` of what a scenario declares, with its first value where it is new."""
        key = declaration.name
        if self._owners.get(key, declaration) != declaration:
            key = f"{scenario}.{declaration.name}"
        if key not in self._owners:
            self._owners[key] = declaration
            self.values[key] = self.fresh(declaration)
        return key

    def fresh(self, declaration: Param | Network, seed: int | None = None) -> Any:
        """The declared value of a param (None if it has none), or new weights from the seed and the network's name."""
        if isinstance(declaration, Network):
            return networks.init(declaration, self.seed if seed is None else seed)
        return None if declaration.value is None else np.asarray(declaration.value, float)

    @cached_property
    def anywhere(self) -> Program | None:
        """The same program, with the same values, right for angles of any size; None where it has no sin, cos or tan.

        It is slower, and only what runs that are not finite are repeated with.
        """
        source = self.source.replace(f"from dpl.runtime import {_QUICK}", f"from dpl.runtime import {_ANYWHERE}", 1)
        if source == self.source or not any(f"dpl.{name}(" in source for name in ("sin", "cos", "tan")):
            return None
        other = load(source, self.name)
        other.values, other.data, other.dtype, other.anywhere = self.values, self.data, self.dtype, None
        return other

    def started(self) -> None:
        """From here on what earlier tasks would find is there: tasks need only those they compare, and the records."""
        records = {task.name for task in self.module.tasks if task.kind == "record"}
        needed = [(*task.of, *(name for name in task.needs if name in records)) for task in self.module.tasks]
        tasks = tuple(replace(task, needs=needs) for task, needs in zip(self.module.tasks, needed, strict=True))
        self.module, self.tasks = replace(self.module, tasks=tasks), {task.name: task for task in tasks}

    def set(self, name: str, value: Any) -> None:
        """Gives a param [declared unit] or a network (a pytree) another current value."""
        if name not in self._owners:
            raise _unknown("param or network", name, self._owners, self.name)
        self.values[name] = _checked(self._owners[name], value, self.values[name])


_QUICK, _ANYWHERE = "functions as dpl", "anywhere as dpl"
"""What a generated module imports, and what it is given instead for angles of any size"""


def from_module(module: Module, source: str = "", namespace: Mapping[str, Any] | None = None) -> Program:
    """The program that a generated module declares."""
    return Program(module, source, namespace=namespace)


def load(source: str, name: str) -> Program:
    """The program of a generated source text."""
    namespace = execute(source, name)
    return from_module(namespace["MODULE"], source, namespace)


def execute(source: str, name: str) -> dict[str, Any]:
    """Runs the Python source that the compiler generated; tracebacks show its lines."""
    filename = f"<dpl {name}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    module = types.ModuleType(f"dpl_generated_{name}")
    module.__file__ = filename
    exec(compile(source, filename, "exec"), module.__dict__)
    return module.__dict__


# ---------------------------------------------------------------- scenarios


class Scenario:
    """One scenario of a program: its values in declared units, its measures as pure functions."""

    def __init__(self, program: Program, spec: declared.Scenario) -> None:
        self.program, self.spec, self.name = program, spec, spec.name
        self.keys: dict[str, str] = {d.name: program.register(spec.name, d) for d in (*spec.params, *spec.networks)}
        self._params: dict[str, Param | Network] = {d.name: d for d in (*spec.params, *spec.networks)}
        self._declared: dict[str, Given] = {g.name: _with_nominal(g) for g in spec.givens}
        self._said: tuple[list[Data], rows.Said, dict[str, Given]] | None = None
        self._starts: dict[str, Start] = {s.name: s for s in spec.starts}
        self._chosen: tuple[Method, str] | None = None
        self._choosing = False
        self.traces: Counter[str] = Counter()
        """How often each function was traced; it does not grow when values change"""
        self._noise = np.asarray(noise.keys(0, np.zeros(1, int))[0]) if spec.noises else None
        self._measures = jax.jit(self._trace_measures, static_argnames=("mode", "company"))
        self._expected = jax.jit(self._trace_expected, static_argnames=("mode", "company"))
        self._alone = compiling.jit(self._trace_alone, self.grouped, self)
        self._trajectories: dict[int | None, Callable[[Values], Any]] = {}

    # -- values

    @property
    def params(self) -> dict[str, Any]:
        """Current values of params (declared units; None where there is none yet) and weights of networks."""
        return {name: _outward(d, self.program.values[self.keys[name]]) for name, d in self._params.items()}

    @property
    def givens(self) -> dict[str, float | None]:
        """Nominal values [declared units]; None where only the caller can say."""
        return {name: _outward(g, g.value) for name, g in self._givens.items()}

    @property
    def _givens(self) -> dict[str, Given]:
        """The givens with their nominal values; those of data are listed."""
        return self._declared if self.said is None or self._said is None else self._said[2]

    @property
    def said(self) -> rows.Said | None:
        """What the data, as they are now, say to each run; None where they say nothing, or have no rows yet."""
        spec, data = self.spec, self.program.data
        names = dict.fromkeys([g.data for g in spec.givens if g.data] + [rows.data_of(s) for s in spec.signals])
        used = [data[name] for name in names]
        if not used or not all(any(c.values for c in d.columns) for d in used):
            return None
        if self._said is None or any(a is not b for a, b in zip(self._said[0], used, strict=True)):
            told = rows.said(spec, data)
            listed = {name: rows.listed(g, told) for name, g in self._declared.items() if name in told.givens}
            self._said = used, told, self._declared | listed
        return self._said[1]

    @property
    def waits(self) -> bool:
        """Whether a `record` is still to make the data that say what differs from run to run."""
        return self.said is None and (bool(self.spec.signals) or any(g.data for g in self.spec.givens))

    @property
    def starts(self) -> dict[str, Any]:
        """Literal starts of states [declared units]."""
        return {name: _outward(s, np.asarray(s.value, float)) for name, s in self._starts.items()}

    def values_si(
        self,
        params: Mapping[str, Any] | None = None,
        givens: Mapping[str, Any] | None = None,
        starts: Mapping[str, Any] | None = None,
        numbers: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Every value [SI] that a run reads: those given [declared units], else the current ones. May be traced.

        `numbers` are those of the solver by name, as in `solver`; not traced. The noise is that of run 0 of seed 0.
        """
        stored: dict[str, Any] = {name: self.program.values[key] for name, key in self.keys.items()}
        stored |= {name: None if g.value is None else np.asarray(g.value) for name, g in self._givens.items()}
        stored |= {name: np.asarray(s.value, float) for name, s in self._starts.items()}
        stored |= {table.name: rows.table_si(table) for table in self.spec.tables}
        stored |= {name: None for name in self.spec.signals}
        if self.said is not None:
            stored |= {**rows.first_si(self.said), rows.NAME: rows.told_si(self.said)}
        if self._noise is not None:
            stored[noise.NAME] = self._noise
        tables = (
            ("param or network", self._params, params),
            ("given", self._givens, givens),
            ("start", self._starts, starts),
        )
        for kind, table, changes in tables:
            for name, value in _normalised(changes).items():
                if name not in table:
                    raise _unknown(kind, name, table, self.name)
                stored[name] = _checked(table[name], value, stored[name])
        missing = [name for name, value in stored.items() if value is None]
        if missing:
            raise ValueError(
                f"{self.name}: no value for {', '.join(f'`{n}`' for n in missing)}: give one, or vary it in a task"
            )
        return stored | self.solver_si(numbers or {})

    @property
    def solver(self) -> dict[str, float]:
        """The numbers of the solver that may be set like params: `using.step` [s], or `using.rtol` and `using.atol`.

        A tolerance that nobody says is NaN: 1e-8 and 1e-10, of a run in 32 bits 1e-5 and 1e-6.
        """
        arguments = self.method.arguments
        words = {name: name.removeprefix(using.PREFIX) for name in using.settable(self.method)}
        return {name: float(arguments.get(word, math.nan)) for name, word in words.items()}

    def solver_si(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The solver's numbers as values of a run, with these changed.

        Raises:
            ValueError: a number that this solver does not have, or that is not above 0.
        """
        if self._choosing:
            return {}
        return using.values(self.spec.run, self.method, changes, self.events)

    def draw(self, seed: int | Array, indices: Any, values: Values | None = None) -> dict[str, Any]:
        """The givens [SI] and the noise of the runs `indices` [n]; run i does not depend on which others are drawn.

        `values` are those of `values_si`, which hold the rows of data as arguments; else they are constants here.
        """
        indices = jnp.asarray(indices)
        told = (values or {}).get(rows.NAME) or (rows.told_si(self.said) if self.said is not None else {})
        others = {name: given for name, given in self._givens.items() if name not in told}
        drawn = distributions.draws(others, seed, indices) | rows.of_runs(told, indices)
        givens: dict[str, Any] = {name: drawn[name] for name in (*self._givens, *self.spec.signals) if name in drawn}
        return givens | ({noise.NAME: noise.keys(seed, indices)} if self.spec.noises else {})

    # -- measures

    def evaluate(
        self,
        params: Mapping[str, Any] | None = None,
        givens: Mapping[str, Any] | None = None,
        starts: Mapping[str, Any] | None = None,
        mode: Mode = "reverse",
        numbers: Mapping[str, Any] | None = None,
    ) -> dict[str, Array]:
        """Every loss and metric [declared units] of one run. May be jitted, differentiated and vmapped.

        Args:
            params: values other than the current ones [declared units]; networks as pytrees.
            givens: values other than the nominal ones.
            starts: starts other than the declared ones.
            mode: `forward` where forward-mode derivatives of an adaptive solve are wanted.
            numbers: of the solver, by their names in `solver`; not traced.
        """
        self.method  # noqa: B018  chosen here, outside any trace
        values = self.values_si(params, givens, starts, numbers)
        results, status = self.measures_si(values, mode)
        if not isinstance(status, Tracer) and (other := self._anywhere(int(status))):
            results, status = other.measures_si(values, mode)
        results = honest(results, status)
        return {m.name: _outward(m, results[m.name]) for m in self.spec.measures}

    def measures_si(self, values: Values, mode: Mode = "reverse") -> tuple[dict[str, Array], Array]:
        """Every loss and metric [SI] of one run, and its status (`solve.OK`, …). Pure; tasks map it over runs.

        They are NaN where a run failed. One whose status is in `solve.SOFT` has numbers, which are not for showing: see
        `honest`.
        """
        self.method  # noqa: B018  chosen here, outside any trace
        return self.measured_in(self.program.dtype, values, mode)

    def measured_in(self, dtype: str, values: Values, mode: Mode = "reverse") -> tuple[dict[str, Array], Array]:
        """The same, computed in 64 or in 32 bits, whatever the program's own; results have the type of the values."""
        company = _company(jax.tree.leaves(values))
        if dtype == "float64":
            return self._measures(groups.packed(_strong(values)), mode=mode, company=company)
        results, status = self._measures(groups.packed(_strong(_narrow(values))), mode=mode, company=company)
        return {name: _wide(value) for name, value in results.items()}, status

    def _trace_measures(self, values: Values, mode: Mode, company: Company) -> tuple[dict[str, Array], Array]:
        self.traces["measures"] += 1
        s, c = self.spec, self.spec.fixed(values)
        if s.run is None:
            return _finished({k: jnp.asarray(v) for k, v in s.results((), c).items()}, jnp.asarray(solve.OK, jnp.int32))
        method = using.applied(self.method, values)
        if s.modes:
            return _told_apart(*hybrid.measured(s, values, method, mode))
        arguments = measure.arguments_of(s, c)
        need = measure.needs(s.reductions, arguments)
        plan = solve.plan(s, method, solve.MEASURING if need.series else None)
        record = partial(measure.keep, s, c, need) if need.series else None
        out = solve.solve(solve.problem(s, c, method, company), method, plan, record, need.ends, mode)
        reduced = measure.reduce(s, c, arguments, plan, out)
        return _finished({k: jnp.asarray(v) for k, v in s.results(reduced, c).items()}, out.status)

    # -- observations

    def expected_si(
        self, values: Values, times: Mapping[str, Any], rows: Mapping[str, Any], mode: Mode = "forward"
    ) -> tuple[dict[str, tuple[Array, ...]], Array]:
        """The arguments of every observation's distribution [SI] in one run, and its status. Pure; tasks map it.

        They are [n] where an observation is timed, else single numbers; NaN where a run failed, as in `measures_si`.

        Args:
            values: of one run: `values_si`, with its own of `observing.Cases.values`.
            times: of each of the timed data, ascending [n]; of sensors by the name "". Others are left out.
            rows: of each name in the scenario's `row` [n].
            mode: which derivatives an adaptive run is to have.
        """
        self.method  # noqa: B018  chosen here, outside any trace
        company, times, read = _company(jax.tree.leaves((values, times, rows))), dict(times), dict(rows)
        if self.program.dtype == "float64":
            given = groups.packed(_strong(values)), _strong(times), _strong(read)
            return self._expected(*given, mode=mode, company=company)
        given = groups.packed(_strong(_narrow(values))), _strong(_narrow(times)), _strong(_narrow(read))
        arguments, status = self._expected(*given, mode=mode, company=company)
        return jax.tree.map(_wide, arguments), status

    def _trace_expected(
        self, values: Values, times: Mapping[str, Array], row: Mapping[str, Array], mode: Mode, company: Company
    ) -> tuple[dict[str, tuple[Array, ...]], Array]:
        self.traces["expected"] += 1
        once = [o for o in self.spec.observations if not o.timed]
        found, status = observing.expected(self.spec, values, self.method, times, row, mode)
        if once:
            results, also = self._trace_measures(values, mode, company)
            found |= {o.name: tuple(results[key] for key in o.keys) for o in once}
            status = jnp.where(status == solve.OK, also, status)
        return observing.finished(found, status)

    def _results(self, values: Values) -> tuple[dict[str, Array], Array]:
        """`measures_si` of one run that is not within a trace; by a program of its own where programs are kept."""
        return self._alone(_strong(values)) if kept.Keeping.place else self.measures_si(values)

    def _anywhere(self, status: int) -> Scenario | None:
        """Of a run that is not finite: the scenario to repeat it with, whose functions are right for any angle."""
        other = self.program.anywhere if status == solve.NONFINITE else None
        if other is None:
            return None
        found = other.scenarios[self.name]
        found._chosen = self._method()
        return found

    def _trace_alone(self, values: Values) -> tuple[dict[str, Array], Array]:
        return self.measured_in(self.program.dtype, values)

    def identity(self) -> str:
        """What shapes the programs of this scenario, as text.

        Raises:
            kept.Unnamed: nobody knows where the module came from.
        """
        if not self.program.source:
            raise kept.Unnamed(self.name)
        digest = hashlib.sha256(self.program.source.encode()).hexdigest()
        return f"{digest} {self.name} {self.program.dtype} {kept.named(self.method)}"

    @property
    def events(self) -> bool:
        """Whether anything may happen in a run between ticks."""
        return bool(self.spec.modes)

    @property
    def grouped(self) -> bool:
        """Whether it is of a file with a system so large that its equations are computed in groups."""
        return "groups" in self.program.namespace

    @property
    def pieces(self) -> bool:
        """Whether its programs consist of many small loops or kernels, see `compiling.py`."""
        return self.events or self.grouped

    # -- the method

    @property
    def method(self) -> Method:
        """The solver: the text's, or the one chosen at the nominal values."""
        return self._method()[0]

    @property
    def explanation(self) -> str:
        """Why this solver."""
        return self._method()[1]

    @property
    def passes(self) -> str:
        """In words, how the gradient of a long run is found in little memory; empty of others."""
        if self.spec.run is None or self.events or self.method.name not in solve.FIXED:
            return ""
        return solve.passes(solve.plan(self.spec, self.method))

    def _method(self) -> tuple[Method, str]:
        if self._chosen is None:
            run = self.spec.run
            if run is None:
                self._chosen = Method(), "static: nothing changes with time"
            elif run.method.name:
                words = f", {choice.jacobian(self.spec)}" if run.method.name == "rodas5p" else ""
                self._chosen = run.method, run.explanation or f"as the scenario says{words}"
            else:
                self._chosen = _completed(run.method, *self._choice())
        return self._chosen

    def _choice(self) -> tuple[Method, str]:
        """The solver and the reason for it, judged at the nominal values; or as it was judged before."""
        self._choosing = True
        try:
            values = jax.device_get(self.values_si())
        finally:
            self._choosing = False

        def judged() -> Any:
            method, why = choice.choose(self.spec, values)
            return method.name, dict(method.arguments), why

        digest = hashlib.sha256(self.program.source.encode()).hexdigest() if self.program.source else None
        name, arguments, why = kept.answer("choice", digest and (digest, self.name, values), judged)
        return Method(name, arguments), why

    # -- trajectories

    def simulate(self, points: int | None = None, values: Mapping[str, Any] | None = None, **overrides: Any) -> Run:
        """One run with its trajectories.

        Args:
            points: intervals of the output grid (200 if not given; a sampled run is shown by its ticks).
            values: other values [declared units] of params, networks, givens and starts, by dotted name; and those of
                `solver`.
            overrides: the same for names without dots.
        """
        given = _normalised({**(values or {}), **overrides})
        known = (*self._params, *self._givens, *self._starts)
        numbers = {name: given.pop(name) for name in list(given) if name in self.solver and name not in known}
        for name in given:
            if name not in known:
                raise _unknown("param, network, given or start", name, (*known, *self.solver), self.name)
        si = self.values_si(
            {k: v for k, v in given.items() if k in self._params},
            {k: v for k, v in given.items() if k in self._givens},
            {k: v for k, v in given.items() if k in self._starts},
            numbers,
        )
        return self.simulate_si(si, points)

    def simulate_si(self, values: Values, points: int | None = None) -> Run:
        """One run with its trajectories, from SI values."""
        if points is not None and (points != int(points) or points < 1):
            raise ValueError(f"points must be a positive whole number, not {points!r}")
        times = trajectory.grid(self.spec, self.method, points)
        results, status = self._results(values)
        rows, ranges, also = jax.device_get(self._trajectory(points, times)(groups.packed(_strong(values))))
        told = all(np.isfinite(rows[o.name]).all() for o in self.spec.observed if o.name in rows)
        if other := self._anywhere(max(int(status), int(also)) or (solve.OK if told else solve.NONFINITE)):
            return other.simulate_si(values, points)
        run = Run(
            self,
            times,
            rows,
            jax.device_get(honest(results, status)),
            max(int(status), int(also)),
            ranges,
        )
        advice = choice.advice(self.spec, values, self.method) if run.code == solve.MAX_STEPS else None
        run.notes += [advice] if advice else []
        return run

    def _trajectory(self, points: int | None, times: np.ndarray) -> Callable[[Values], Any]:
        if points not in self._trajectories:

            def traced(values: Values) -> Any:
                self.traces["trajectory"] += 1
                narrow = values if self.program.dtype == "float64" else _narrow(values)
                rows, *more = trajectory.trajectory(self.spec, self.method, times, narrow)
                return {name: _wide(row) for name, row in rows.items()}, *more

            self._trajectories[points] = compiling.jit(traced, self.pieces, (self, points))
        return self._trajectories[points]


def _company(leaves: list[Any]) -> Company:
    """Whether a run is one of many under `jax.vmap`; in a nested `jit` the tracers do not tell."""
    for leaf in leaves:
        value = leaf
        while isinstance(value, Tracer):
            if type(value).__name__ == "BatchTracer":
                return "batch"
            inside = getattr(value, "primal", None)
            value = getattr(value, "val", None) if inside is None else inside
    return "alone"


def _normalised(values: Mapping[str, Any] | None) -> dict[str, Any]:
    """By names as the language knows them: `x₁` is `x1`."""
    return {unicodedata.normalize("NFKC", name): value for name, value in (values or {}).items()}


def _with_nominal(given: Given) -> Given:
    """The given with its nominal value: its own, else the first listed or the median of what it is drawn from."""
    if given.value is not None:
        return given
    if given.listed:
        return replace(given, value=given.listed[0])
    if given.distribution is None:
        return given
    family = distributions.FAMILIES[given.distribution.name]
    return replace(given, value=float(family.median(*given.distribution.arguments)))


def _finished(results: dict[str, Array], status: Array, soft: tuple[int, ...] = ()) -> tuple[dict[str, Array], Array]:
    """A result that is not finite is a failure of the run; a run that failed has no results: they are NaN."""
    known = status == solve.OK
    for also in soft:
        known = known | (status == also)
    ended = {k: jnp.where(known, v, jnp.nan) for k, v in results.items()}
    finite = [jnp.all(jnp.isfinite(v)) for v in results.values()]
    fine = jnp.stack(finite).all() if finite else jnp.asarray(True)
    return ended, jnp.where((status == solve.OK) & ~fine, solve.NONFINITE, status)


def honest(results: Mapping[str, Any], status: Any) -> dict[str, Array]:
    """What a run has to show: NaN for every measure of one that did not come to its end, or lacks what is asked for."""
    fine = jnp.asarray(status) == solve.OK
    return {k: v if k.startswith(hybrid.SAID) else jnp.where(fine, v, jnp.nan) for k, v in results.items()}


def _told_apart(results: dict[str, Array], status: Array) -> tuple[dict[str, Array], Array]:
    """The same where results hold what is told of events, which is so even of a run that failed."""
    said = {k: v for k, v in results.items() if k.startswith(hybrid.SAID)}
    ended, status = _finished({k: v for k, v in results.items() if k not in said}, status, solve.SOFT)
    return ended | said, status


def _completed(asked: Method, chosen: Method, words: str) -> tuple[Method, str]:
    """The chosen method with the tolerances that the text gives."""
    kept = {k: v for k, v in asked.arguments.items() if chosen.name in ADAPTIVE and k in ("rtol", "atol", "max_steps")}
    return Method(chosen.name, {**chosen.arguments, **kept}), words


# ---------------------------------------------------------------- values in and out


def _strong(values: Values) -> Mapping[str, Any]:
    """The values as arrays of a definite type, so that a Python number is no reason to trace again."""

    def strong(leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray) or (isinstance(leaf, Array) and not leaf.weak_type):
            return leaf
        return jnp.asarray(leaf, jnp.result_type(leaf))

    if isinstance(values, groups.Packed):
        return jax.tree.map(strong, values)
    return {name: jax.tree.map(strong, value) for name, value in values.items()}


def _narrow(values: Values) -> dict[str, Any]:
    """Values in 32 bits; counts and keys stay as they are."""

    def narrow(leaf: Any) -> Any:
        smooth = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        return jnp.asarray(leaf, jnp.float32) if smooth and np.size(leaf) else leaf

    return {name: value if name == using.STEP else jax.tree.map(narrow, value) for name, value in values.items()}


def _wide(value: Any) -> Any:
    return value.astype(float) if value.dtype == jnp.float32 else value


def _outward(d: Param | Network | Given | Start | Measure, value: Any) -> Any:
    """From SI to the declared unit."""
    if value is None or isinstance(d, Network):
        return value
    return value / d.unit.scale if d.unit.scale != 1.0 else value


def _checked(d: Param | Network | Given | Start, value: Any, current: Any) -> Any:
    """A user's value in SI, of the shape that is declared."""
    if isinstance(d, Network):
        return _checked_weights(d, value, current)
    shape = () if isinstance(d, Given) else d.shape
    try:
        array = _array(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{d.name}` must be {_words(shape)}, not {value!r}") from error
    if not jnp.issubdtype(array.dtype, jnp.number) or array.shape != shape:
        raise ValueError(f"`{d.name}` must be {_words(shape)}, not {_received(value, array)}")
    array = array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)
    return array * d.unit.scale if d.unit.scale != 1.0 else array


def _array(value: Any) -> Any:
    """A copy of what is a number already in NumPy, so that checking a value compiles and sends nothing; else JAX's."""
    if isinstance(value, int | float | np.number | np.ndarray):
        return np.array(value, jnp.result_type(value))
    if isinstance(value, Array) and not value.weak_type:
        return value
    return jnp.asarray(value)


def _checked_weights(d: Network, value: Any, current: Any) -> Any:
    expected, received = jax.tree.structure(current), jax.tree.structure(value)
    if expected != received:
        raise ValueError(f"the weights of `{d.name}` must be a tree like {expected}, not {received}")
    for a, b in zip(jax.tree.leaves(current), jax.tree.leaves(value), strict=True):
        if jnp.shape(a) != jnp.shape(b):
            raise ValueError(
                f"the weights of `{d.name}` must have arrays of shape {jnp.shape(a)} where they have {jnp.shape(b)}"
            )
    return value


def _words(shape: tuple[int, ...]) -> str:
    return "one number" if shape == () else f"an array of shape {shape}"


def _received(value: Any, array: Array) -> str:
    return f"an array of shape {array.shape}" if array.shape else repr(value)


def _unknown(kind: str, name: str, known: Iterable[str], where: str) -> ValueError:
    names = list(known)
    close = get_close_matches(name, names, n=3)
    hint = (
        f"did you mean {' or '.join(f'`{c}`' for c in close)}?" if close else f"there are {', '.join(names) or 'none'}"
    )
    return ValueError(f"{where} has no {kind} `{name}`; {hint}")


# ---------------------------------------------------------------- runs


class Run:
    """What a simulated run showed, in declared units: `run["cannon.range"]` is an array over `run.time`."""

    def __init__(
        self,
        scenario: Scenario,
        times: np.ndarray,
        rows: Mapping[str, np.ndarray],
        results: Mapping[str, np.ndarray],
        status: int,
        ranges: Mapping[str, Any],
    ) -> None:
        spec = scenario.spec
        observed = {o.name: o for o in spec.observed}
        time = spec.run.unit if spec.run is not None else Unit("s")
        self.scenario, self.code, self.status = scenario.name, status, STATUS[status]
        self.time: np.ndarray = times / time.scale
        self.time_unit = time.text
        self.units: dict[str, str] = {name: observed[name].unit.text for name in rows if name in observed}
        self._rows = {name: np.asarray(rows[name]) / observed[name].unit.scale for name in rows if name in observed}
        measured = {m.name: float(np.asarray(results[m.name])) / m.unit.scale for m in spec.measures}
        self.losses = {m.name: measured[m.name] for m in spec.measures if m.kind == "loss"}
        self.metrics = {m.name: measured[m.name] for m in spec.measures if m.kind == "metric"}
        self.units |= {m.name: m.unit.text for m in spec.measures}
        self.notes: list[str] = [] if status == solve.OK else [self.status]
        self.notes += trajectory.notes(spec, times, rows, ranges)
        self.notes += hybrid.notes(spec, results) if spec.events else []

    @property
    def names(self) -> list[str]:
        """Every observed quantity."""
        return list(self._rows)

    def __getitem__(self, name: str) -> np.ndarray:
        name = unicodedata.normalize("NFKC", name)
        if name not in self._rows:
            raise _unknown("observed quantity", name, self._rows, self.scenario)
        return self._rows[name]

    def to_pandas(self) -> Any:
        """A data frame with one column per observed number (`T[0]`, `T[1]` of arrays), indexed by time."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas needs pandas, which is not installed: pip install pandas") from error
        columns: dict[str, np.ndarray] = {}
        for name, series in self._rows.items():
            if series.ndim == 1:
                columns[name] = series
                continue
            for index in np.ndindex(*series.shape[1:]):
                columns[f"{name}[{', '.join(map(str, index))}]"] = series[(slice(None), *index)]
        index = cast(Any, pandas).Index(self.time, name=f"time [{self.time_unit}]")
        return cast(Any, pandas).DataFrame(columns, index=index)
