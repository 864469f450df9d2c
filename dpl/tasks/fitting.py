"""What a `fit` fits, as pure functions of its free numbers: arguments of the distributions, likelihood, rows.

The free numbers of one lane are one vector x [p]: first what all runs share, then run by run what each run has its own.
A row belongs to one number that a datum tells or that a prior does: the information matrix is AᵀA, the gradient of the
negative log likelihood is Aᵀz, and |A δ + z|²/2 is, up to a constant, what Fisher scoring takes the likelihood for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import distributions, likelihood
from dpl.runtime.likelihood import LIKELIHOODS, Likelihood
from dpl.runtime.observing import Cases
from dpl.runtime.program import Scenario
from dpl.runtime.solve import Mode
from dpl.runtime.spec import Network, Observation, Param
from dpl.tasks.vary import Freedom, Freedoms, inward

Values = Mapping[str, Any]

FEW = 8
"""So few free numbers of a run are differentiated forward, however few data it has"""
REACH = 2.0
"""How far one step may take a bounded number from where its bijection is steepest"""
HALVINGS = 60
"""Steps of the search for the most likely scale, which starts between e^-30 and e^30 of a first guess"""

ROUNDING = 1e-16
"""A scale is estimated to be at least this share of the data, so that what is met exactly has finite rows"""


class Numbers(NamedTuple):
    """What a fit reads and what does not shape its program: a change of any of it never retraces.

    `base`: SI values of all that is not free. `cases.observed` may be replaced (a bootstrap), `cases.known` narrowed
    (what is held out, what a window shows): what is not known does not count.
    """

    base: Values
    cases: Cases


class Rows(NamedTuple):
    """The nll and its rows at x: A [m, p], z [m]; `fine`: whether all of it is finite."""

    nll: Any
    A: Any
    z: Any
    fine: Any


class Told(NamedTuple):
    """All that is known at a point: the rows, `Fitting.arguments`, `Fitting.scales`, and the log likelihood without
    priors."""

    rows: Rows
    arguments: dict[str, Any]
    scales: dict[str, Any]
    log_likelihood: Any


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

    @cached_property
    def shared(self) -> Layout:
        """Of what all runs share."""
        return Layout.of(self.scenario, [f for f in self.free if not f.each])

    @cached_property
    def own(self) -> Layout:
        """Of what one run has its own."""
        return Layout.of(self.scenario, [f for f in self.free if f.each])

    @property
    def size(self) -> int:
        """p: how many free numbers there are, estimated scales not among them."""
        return self.shared.size + self.runs * self.own.size

    @property
    def names(self) -> tuple[str, ...]:
        """Of each free number [p]: `k`, `c[0]`, `V[1]` (of what each run has its own: the run)."""
        return self.called([str(run) for run in range(self.runs)])

    def called(self, runs: Sequence[str]) -> tuple[str, ...]:
        """As a user reads them, `V[7]` and `c[7, 0]` of the run labelled 7."""
        return (*self.shared.names(), *(name for run in runs for name in self.own.names(run)))

    def outward(self, values: Values) -> Any:
        """x [p] from SI values by name; of what each run has its own with a leading axis of runs."""
        free = {f.name: f.outward(values[f.name]) for f in self.free}
        own = jax.vmap(self.own.flat)({f.name: free[f.name] for f in self.own.free}) if self.own.free else jnp.zeros(0)
        return jnp.concatenate([self.shared.flat(free), jnp.ravel(own)])

    def inward(self, x: Any) -> dict[str, Any]:
        """SI values by name from x [p]; of what each run has its own with a leading axis of runs."""
        return inward(self.free, self.unflat(x))

    def values(self, x: Any) -> dict[str, Any]:
        """`inward` in NumPy, by one small program: operation by operation each would be compiled by itself."""
        return jax.device_get(_changing(self)[0](np.asarray(x)))

    def numbers(self, values: Values) -> np.ndarray:
        """`outward` in NumPy, by one small program."""
        return np.asarray(_changing(self)[1]({f.name: jax.tree.map(_float, values[f.name]) for f in self.free}))

    def unflat(self, x: Any) -> dict[str, Any]:
        """The free numbers by name."""
        shared, own = self._parts(x)
        return self.shared.tree(shared) | (jax.vmap(self.own.tree)(own) if self.own.free else {})

    def _parts(self, x: Any) -> tuple[Any, Any]:
        """What all runs share [s], and what each has its own [runs, o]."""
        return x[: self.shared.size], x[self.shared.size :].reshape((self.runs, self.own.size))

    def each(self, of: Callable[[Freedom, Any], Any], x: Any) -> Any:
        """A number for each free number [p]."""
        by_name = self.unflat(x)
        told = {f.name: jax.tree.map(lambda u, f=f: of(f, u), by_name[f.name]) for f in self.free}
        own = jax.vmap(self.own.flat)({f.name: told[f.name] for f in self.own.free}) if self.own.free else jnp.zeros(0)
        return jnp.concatenate([self.shared.flat(told), jnp.ravel(own)])

    def reach(self, x: Any) -> Any:
        """How far one step may take each free number [p]; infinite where nothing bounds it."""
        return self.each(lambda f, u: REACH + jnp.abs(u) if _bounded(f) else jnp.full_like(u, jnp.inf), x)

    def extent(self, x: Any) -> Any:
        """How large each free number [p] is, where a share of it is meant; one that a bijection bends at least 1."""
        return self.each(lambda f, u: jnp.maximum(jnp.abs(u), 1.0) if _bent(f) else jnp.abs(u), x)

    def bend(self, x: Any) -> Any:
        """w″/w′ of each free number [p], where w is the value, or its logarithm if it has a scale of logarithms."""

        def of(f: Freedom, u: Any) -> Any:
            limit = f.bounds
            if limit is None or not _bounded(f):
                return jnp.zeros_like(u)
            natural = (lambda u: jnp.log(limit.inward(u))) if limit.log else limit.inward
            slope = lambda u: jax.jvp(natural, (u,), (jnp.ones_like(u),))[1]  # noqa: E731
            first, second = jax.jvp(slope, (u,), (jnp.ones_like(u),))
            return jnp.where(first != 0, second / jnp.where(first != 0, first, 1.0), 0.0)

        return self.each(of, x)

    def slope(self, x: Any) -> Any:
        """The derivative of each value [SI] by its free number [p]."""

        def of(f: Freedom, u: Any) -> Any:
            return jax.jvp(f.inward, (u,), (jnp.ones_like(u),))[1]

        return self.each(of, x)

    # -- what the data say

    @property
    def observations(self) -> tuple[Observation, ...]:
        """Those of data, without sensors."""
        return tuple(o for o in self.scenario.spec.observations if o.data)

    @property
    def estimated(self) -> tuple[Observation, ...]:
        """Those whose scale is estimated."""
        return tuple(o for o in self.observations if o.estimated)

    def arguments(self, x: Any, numbers: Numbers, mode: Mode = "forward") -> tuple[dict[str, tuple[Any, ...]], Any]:
        """What each observation says at its data, shaped like these [runs, n] or [runs]; and the status [runs].

        The arguments of its distribution, without a scale that is estimated, then its limits of detection.
        """
        shared, own = self._parts(x)
        one = lambda own, case: self._run(shared, own, case, numbers.base, mode)  # noqa: E731
        return jax.vmap(one)(own, numbers.cases._replace(known={}))

    def _run(self, shared: Any, own: Any, case: Cases, base: Values, mode: Mode) -> tuple[dict[str, Any], Any]:
        """What one run says at its data, broadcast to their shape."""
        values = {**base, **case.values, **inward(self.shared.free, self.shared.tree(shared))}
        values |= inward(self.own.free, self.own.tree(own))
        found, status = self.scenario.expected_si(values, case.times, case.rows, mode)
        shapes = {o.name: jnp.shape(case.observed[o.name]) for o in self.observations}
        return {n: tuple(jnp.broadcast_to(a, s) for a in found[n]) for n, s in shapes.items()}, status

    def _derived(self, x: Any, numbers: Numbers) -> tuple[dict[str, Any], Any, dict[str, Any]]:
        """The arguments, the status, and of each argument the derivatives by what is shared and by what is own."""
        shared, own = self._parts(x)
        cases = numbers.cases._replace(known={})
        data = sum(int(np.prod(jnp.shape(a)[1:])) for a in cases.observed.values())
        forward = self.shared.size + self.own.size <= max(FEW, data)
        mode: Mode = "forward" if forward else "reverse"

        def run(own: Any, case: Cases) -> Any:
            def told(shared: Any, own: Any) -> Any:
                found, status = self._run(shared, own, case, numbers.base, mode)
                return found, (found, status)

            derive = jax.jacfwd if forward else jax.jacrev
            slopes, (found, status) = derive(told, argnums=(0, 1), has_aux=True)(shared, own)
            return found, status, slopes

        return jax.vmap(run)(own, cases)

    def scales(self, x: Any, numbers: Numbers) -> dict[str, Any]:
        """The most likely value [SI] of each estimated scale, by observation: √(RSS/n) where it is normal."""
        return self._scales(self.arguments(x, numbers)[0], numbers.cases)

    def _scales(self, found: Mapping[str, Any], cases: Cases) -> dict[str, Any]:
        told = {}
        for o in self.estimated:
            y, known = jnp.asarray(cases.observed[o.name]), jnp.asarray(cases.known[o.name])
            told[o.name] = most_likely_scale(o, y, known, found[o.name])
        return told

    def nll(self, x: Any, numbers: Numbers, mode: Mode = "forward") -> Any:
        """The negative log likelihood of all that counts in declared units, with the priors; NaN where a run fails.

        The estimated scales are at their most likely values, so that they take no part in the derivative.
        """
        found, _ = self.arguments(x, numbers, mode)
        scales = jax.lax.stop_gradient(self._scales(jax.lax.stop_gradient(found), numbers.cases))
        return self._nll(found, scales, numbers.cases) + self._prior(x)

    def _nll(self, found: Mapping[str, Any], scales: Mapping[str, Any], cases: Cases) -> Any:
        total: Any = jnp.zeros(())
        for o in self.observations:
            term = jax.vmap(Term.of(o))
            y, known = jnp.ravel(cases.observed[o.name]), jnp.ravel(cases.known[o.name])
            arguments = complete(o, found[o.name], scales.get(o.name))
            density = term(y, *(jnp.ravel(a) for a in arguments))
            total = total - jnp.sum(jnp.where(known, density, 0.0))
        return total

    def rows(self, x: Any, numbers: Numbers, joint: bool = False) -> Rows:
        """The nll and its rows.

        Args:
            joint: the logarithms of the estimated scales are free as well: columns after the p others, in the order of
                the observations, for their uncertainty.
        """
        return self.told(x, numbers, joint).rows

    def told(self, x: Any, numbers: Numbers, joint: bool = False) -> Told:
        """All that is known at a point, by one pass through the model."""
        found, _, derived = self._derived(x, numbers)
        cases = numbers.cases
        scales = self._scales(found, cases)
        data = self._nll(found, scales, cases)
        nll, wide = data + self._prior(x), len(self.estimated) if joint else 0
        parts = [self._prior_rows(x, wide)]
        for o in self.observations:
            slopes = [self._slopes(*by) for by in derived[o.name]]  # of each argument [data, p]
            column = self.estimated.index(o) if joint and o.estimated else None
            parts.append(_rows_of(o, found[o.name], slopes, scales.get(o.name), cases, wide, column))
        A, z = (jnp.concatenate(part) for part in zip(*parts, strict=True))
        fine = jnp.isfinite(nll) & jnp.all(jnp.isfinite(A)) & jnp.all(jnp.isfinite(z))
        return Told(Rows(nll, A, z, fine), found, scales, -data)

    def _slopes(self, by_shared: Any, by_own: Any) -> Any:
        """The derivatives of one argument at all data by all free numbers [data, p]."""
        s, o = self.shared.size, self.own.size
        shared = by_shared.reshape((int(np.prod(by_shared.shape[:-1])), s))  # s may be 0: no -1
        if not o:
            return shared
        own = by_own.reshape((self.runs, -1, o))
        blocks = own[:, :, None, :] * jnp.eye(self.runs)[:, None, :, None]
        return jnp.concatenate([shared, blocks.reshape((-1, self.runs * o))], axis=1)

    # -- what the priors say

    @property
    def with_prior(self) -> Freedoms:
        """Whose priors count."""
        priors = self.priors
        return tuple(f for f in self.free if priors and isinstance(f.declaration, Param) and f.declaration.prior)

    def _prior(self, x: Any) -> Any:
        """The negative log density of the priors in declared units."""
        values, total = self.inward(x), jnp.zeros(())
        for f in self.with_prior:
            total = total + jnp.sum(prior_nll(f, values[f.name]))
        return total

    def _prior_rows(self, x: Any, wide: int) -> tuple[Any, Any]:
        """Rows for the density of each prior, exact where it is normal in the value or its logarithm."""
        counts = {f.name for f in self.with_prior}

        def of(f: Freedom, u: Any) -> tuple[Any, Any]:
            if f.name not in counts:
                return jnp.zeros_like(u), jnp.zeros_like(u)
            return _prior_row(f, u)

        if not counts:
            return jnp.zeros((0, self.size + wide)), jnp.zeros(0)
        size, z = (self.each(lambda f, u, n=n: of(f, u)[n], x) for n in (0, 1))
        return jnp.concatenate([jnp.diag(size), jnp.zeros((self.size, wide))], axis=1), z


@lru_cache(maxsize=16)
def _changing(fitting: Fitting) -> tuple[Any, Any]:
    """`inward` and `outward`, compiled."""
    return jax.jit(fitting.inward), jax.jit(fitting.outward)


@dataclass(frozen=True)
class Layout:
    """Where the free numbers of some freedoms stand in a vector."""

    free: Freedoms
    shapes: tuple[Any, ...]
    """Of each freedom a pytree of zeros"""

    @staticmethod
    def of(scenario: Scenario, free: list[Freedom]) -> Layout:
        return Layout(tuple(free), tuple(_zeros(scenario, f) for f in free))

    @property
    def size(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.shapes))

    def flat(self, by_name: Mapping[str, Any]) -> Any:
        leaves = jax.tree.leaves([by_name[f.name] for f in self.free])
        return jnp.concatenate([jnp.zeros(0), *(jnp.ravel(jnp.asarray(leaf, float)) for leaf in leaves)])

    def tree(self, flat: Any) -> dict[str, Any]:
        leaves, tree = jax.tree.flatten(list(self.shapes))
        ends = np.cumsum([leaf.size for leaf in leaves]).tolist()
        parts = [flat[end - leaf.size : end].reshape(leaf.shape) for leaf, end in zip(leaves, ends, strict=True)]
        return {f.name: part for f, part in zip(self.free, jax.tree.unflatten(tree, parts), strict=True)}

    def names(self, run: str | None = None) -> list[str]:
        """As a user reads them; `c[0]` of an array, `c[7, 0]` of the run labelled 7."""
        first = [] if run is None else [run]
        told: list[str] = []
        for f, shape in zip(self.free, self.shapes, strict=True):
            if isinstance(f.declaration, Network):
                places = [(n,) for n in range(sum(leaf.size for leaf in jax.tree.leaves(shape)))]
            else:
                places = list(np.ndindex(shape.shape))
            at = [[*first, *map(str, place)] for place in places]
            told += [f"{f.name}[{', '.join(place)}]" if place else f.name for place in at]
        return told


def _zeros(scenario: Scenario, f: Freedom) -> Any:
    if isinstance(f.declaration, Network):
        weights = scenario.program.values[scenario.keys[f.name]]
        return jax.tree.map(lambda leaf: np.zeros(np.shape(leaf)), weights)
    return np.zeros(getattr(f.declaration, "shape", ()))


def _float(value: Any) -> np.ndarray:
    return np.asarray(value, float)


def _bounded(f: Freedom) -> bool:
    return f.bounds is not None and (f.bounds.low is not None or f.bounds.high is not None)


def _bent(f: Freedom) -> bool:
    return f.bounds is not None and (f.bounds.log or _bounded(f))


# ---------------------------------------------------------------- one observation


class Term(NamedTuple):
    """The log likelihood of one datum in its declared unit, as a function of it and its arguments, then its limits."""

    observation: Observation

    @staticmethod
    def of(o: Observation) -> Callable[..., Any]:
        return Term(o).value

    @property
    def likelihood(self) -> Likelihood:
        return LIKELIHOODS[self.observation.distribution]

    def split(self, arguments: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any, Any]:
        """The arguments of the distribution, and the limits of detection; None where there is none."""
        k = len(self.likelihood.arguments)
        limits = list(arguments[k:])
        below = limits.pop(0) if self.observation.below else None
        return arguments[:k], below, limits.pop(0) if self.observation.above else None

    def value(self, y: Any, *arguments: Any) -> Any:
        own, below, above = self.split(arguments)
        density = likelihood.log_likelihood(self.likelihood, y, own, below, above)
        if self.likelihood.count:
            return density
        return density + jnp.where(self.beyond(y, below, above), 0.0, np.log(self.observation.unit.scale))

    def beyond(self, y: Any, below: Any, above: Any) -> Any:
        """Whether it is at or beyond a limit of detection."""
        low = jnp.zeros(jnp.shape(y), bool) if below is None else y <= below
        return low if above is None else low | (y >= above)

    def scored(self, y: Any, *arguments: Any) -> tuple[Any, Any]:
        """The derivative of the negative value by the k arguments [k], and the information on them [k, k]."""
        k = len(self.likelihood.arguments)
        own, below, above = self.split(arguments)
        score = jax.grad(lambda own: -self.value(y, *own, *arguments[k:]))(own)
        return jnp.stack(score), likelihood.information(self.likelihood, y, own, below, above)


def complete(o: Observation, arguments: tuple[Any, ...], scale: Any) -> tuple[Any, ...]:
    """All arguments of the distribution and the limits, of the same shape."""
    if scale is None:
        return arguments
    where = LIKELIHOODS[o.distribution].scale
    assert where is not None, f"{o.distribution} has no scale; this is a bug in DPL"
    return (*arguments[:where], jnp.broadcast_to(scale, jnp.shape(arguments[0])), *arguments[where:])


def _rows_of(
    o: Observation, found: tuple[Any, ...], slopes: list[Any], scale: Any, cases: Cases, wide: int, column: int | None
) -> tuple[Any, Any]:
    """The rows of one observation: of each of its data as many as its distribution has arguments."""
    arguments = [jnp.ravel(a) for a in complete(o, found, scale)]
    y, known = jnp.ravel(cases.observed[o.name]), jnp.ravel(cases.known[o.name])
    term = Term(o)
    score, told = jax.vmap(term.scored)(y, *arguments)  # [data, k], [data, k, k]
    k, where = len(term.likelihood.arguments), term.likelihood.scale
    p = slopes[0].shape[1]
    every = [jnp.concatenate([s, jnp.zeros((len(y), wide))], axis=1) for s in slopes]
    counted = list(range(k))
    if scale is not None:
        assert where is not None
        by_scale = jnp.zeros((len(y), p + wide))
        if column is not None:
            by_scale = by_scale.at[:, p + column].set(scale)
        else:
            counted.remove(where)
        every.insert(where, by_scale)
    L = _triangle([[told[:, i, j] for j in counted] for i in counted])
    z = _forward(L, [score[:, i] for i in counted])
    A = [sum(L[i][j][:, None] * every[counted[i]] for i in range(j, len(counted))) for j in range(len(counted))]
    safe = known[:, None]
    return (
        jnp.concatenate([jnp.where(safe, a, 0.0) for a in A]),
        jnp.concatenate([jnp.where(known, part, 0.0) for part in z]),
    )


def _triangle(W: list[list[Any]]) -> list[list[Any]]:
    """L of W = L Lᵀ, entry by entry over all data; 0 in a direction without information."""
    k = len(W)
    L = [[jnp.zeros_like(W[0][0]) for _ in range(k)] for _ in range(k)]
    for j in range(k):
        left = W[j][j] - sum(L[j][m] ** 2 for m in range(j))
        some = left > 1e-14 * W[j][j]
        L[j][j] = jnp.sqrt(jnp.where(some, left, 0.0))
        for i in range(j + 1, k):
            rest = W[i][j] - sum(L[i][m] * L[j][m] for m in range(j))
            L[i][j] = jnp.where(some, rest / jnp.where(some, L[j][j], 1.0), 0.0)
    return L


def _forward(L: list[list[Any]], s: list[Any]) -> list[Any]:
    """z of L z = s."""
    z: list[Any] = []
    for i in range(len(s)):
        rest = s[i] - sum(L[i][m] * z[m] for m in range(i))
        some = L[i][i] > 0
        z.append(jnp.where(some, rest / jnp.where(some, L[i][i], 1.0), 0.0))
    return z


# ---------------------------------------------------------------- estimated scales


def most_likely_scale(o: Observation, y: Any, known: Any, found: tuple[Any, ...]) -> Any:
    """The scale [SI] of greatest likelihood at given arguments: in closed form where nothing is censored, else found
    by bisection of the derivative of the likelihood by its logarithm."""
    y, known = jnp.ravel(y), jnp.ravel(known)
    found = tuple(jnp.ravel(a) for a in found)
    count = jnp.maximum(jnp.sum(known), 1).astype(y.dtype)
    off = jnp.log(jnp.where(y > 0, y, 1.0)) - jnp.log(found[0]) if o.distribution == "lognormal" else y - found[0]
    square = jnp.sum(jnp.where(known, off**2, 0.0)) / count
    size = jnp.mean(jnp.where(known, 1.0 if o.distribution == "lognormal" else y**2, 0.0)) * y.size / count
    scale = jnp.sqrt(square) + ROUNDING * jnp.sqrt(size) + 1e-150  # data that are met exactly: likelihood without end
    if o.distribution in ("normal", "lognormal") and not (o.below or o.above):
        return scale

    def nll(way: Any) -> Any:
        every = complete(o, found, scale * jnp.exp(way))
        return -jnp.sum(jnp.where(known, jax.vmap(Term.of(o))(y, *every), 0.0))

    def halve(_: Any, ends: tuple[Any, Any]) -> tuple[Any, Any]:
        middle = 0.5 * (ends[0] + ends[1])
        rising = jax.grad(nll)(middle) > 0
        return jnp.where(rising, ends[0], middle), jnp.where(rising, middle, ends[1])

    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (jnp.full_like(scale, -30.0), jnp.full_like(scale, 30.0)))
    return scale * jnp.exp(0.5 * (low + high))


# ---------------------------------------------------------------- priors


def prior_nll(f: Freedom, value: Any) -> Any:
    """Of each number of a param, in its declared unit."""
    declaration = f.declaration
    assert isinstance(declaration, Param) and declaration.prior is not None
    return -distributions.log_density(declaration.prior, value) - np.log(declaration.unit.scale)


def _prior_row(f: Freedom, u: Any) -> tuple[Any, Any]:
    """A and z of each number's own row: its curvature in the value, or in its logarithm where that is convex there."""
    limit = f.bounds
    assert limit is not None
    log = limit.log or (f.declaration.prior is not None and f.declaration.prior.name == "lognormal")  # type: ignore[union-attr]
    to = (lambda u: jnp.log(limit.inward(u))) if log else limit.inward
    back = jnp.exp if log else lambda w: w
    ones = jnp.ones_like(u)
    w, slope = jax.jvp(to, (u,), (ones,))
    first = lambda w: jax.jvp(lambda w: prior_nll(f, back(w)), (w,), (ones,))[1]  # noqa: E731
    gradient, curvature = jax.jvp(first, (w,), (ones,))
    curvature = jnp.where(curvature > 0, curvature, gradient**2)
    size = jnp.sqrt(curvature)
    return size * slope, jnp.where(size > 0, gradient / jnp.where(size > 0, size, 1.0), 0.0)
