"""What a task varies (params, networks, givens, freed lets, starts of states), with its bounds and where it starts."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import bounds
from dpl.runtime.bounds import Bounds
from dpl.runtime.program import Scenario
from dpl.runtime.spec import Free, Given, Network, Param, Start, Task
from dpl.tasks.context import Setup
from dpl.tasks.result import Quantity, declared
from dpl.tasks.sampling import stream

Declaration = Param | Network | Given | Free | Start

AT_BOUND, ON_BOUND = 1e-3, 1e-4
"""So near to a bound, as a share of the interval, a solution is said to be; and a start counts as lying on it"""
INSIDE = 1e-2
"""So far inside, as a share of the interval, starts what lies on its bound, where the bijection is all but flat"""


@dataclass(frozen=True)
class Freedom:
    """One thing that varies. `bounds` is None for a network, whose weights have none; `each`: one value per run."""

    declaration: Declaration
    bounds: Bounds | None
    each: bool = False

    @property
    def name(self) -> str:
        return self.declaration.name

    def outward(self, value: Any) -> Any:
        """Free numbers from SI values."""
        return self.bounds.outward(value) if self.bounds else value

    def inward(self, free: Any) -> Any:
        """SI values from free numbers."""
        return self.bounds.inward(free) if self.bounds else free


Freedoms = tuple[Freedom, ...]


def freedoms(scenario: Scenario, task: Task) -> Freedoms:
    """What the task varies, within the bounds of the declarations, narrowed by the task's own."""
    spec = scenario.spec
    known: dict[str, Declaration] = {
        d.name: d for d in (*spec.params, *spec.networks, *spec.givens, *spec.free, *spec.starts)
    }
    if unknown := [v.name for v in task.vary if v.name not in known]:
        raise ValueError(f"{task.name} varies {', '.join(unknown)}, which {scenario.spec.name} does not have")
    return tuple(Freedom(known[v.name], _bounds(known[v.name], v.low, v.high), v.each) for v in task.vary)


def _bounds(declaration: Declaration, low: float | None, high: float | None) -> Bounds | None:
    return None if isinstance(declaration, Network) else bounds.of(declaration, low, high)


def inward(free: Freedoms, theta: Mapping[str, Any]) -> dict[str, Any]:
    """SI values from free numbers."""
    return {f.name: f.inward(theta[f.name]) for f in free}


def outward(free: Freedoms, values: Mapping[str, Any]) -> dict[str, Any]:
    """Free numbers from SI values."""
    return {f.name: f.outward(values[f.name]) for f in free}


# ---------------------------------------------------------------- where it starts


def off_bound(free: Freedom, value: Any) -> Any:
    """A value [SI] to start from: what lies on a bound is moved inside, else no step could take it away from there."""
    if free.bounds is None:
        return value
    for ends in free.bounds.ends:
        value = jnp.where(free.bounds.share(value, *ends) <= ON_BOUND, free.bounds.within(INSIDE, *ends), value)
    return value


def on_bounds(free: Freedoms, values: Mapping[str, Any]) -> tuple[str, ...]:
    """In words, what would start on a bound and so starts inside it."""
    return tuple(
        f"{f.name} would start on its bound, which no step could leave: it started {100 * INSIDE:.0f} % inside"
        for f in free
        if f.bounds and any(np.any(f.bounds.share(values[f.name], *ends) <= ON_BOUND) for ends in f.bounds.ends)
    )


def starts(ready: Setup, task: Task, free: Freedoms, count: int, current: Mapping[str, Any]) -> Any:
    """The SI values at which `count` starts begin, stacked: the first where the task says, the others at random."""
    each = [start(ready, task, free, k, current) for k in range(count)]
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf, float) for leaf in leaves]), *each)


def start(ready: Setup, task: Task, free: Freedoms, k: int, current: Mapping[str, Any]) -> dict[str, Any]:
    """Where start `k` begins; `current` [SI] is where the task goes on from."""
    how = task.start if k == 0 else "random"
    if how == "current":
        return {f.name: off_bound(f, current[f.name]) for f in free}
    seed = stream(ready.seed, f"start {k}")
    return {f.name: _started(ready, f, how, seed, current[f.name]) for f in free}


def _started(ready: Setup, free: Freedom, how: str, seed: int, current: Any) -> Any:
    value = current
    if isinstance(free.declaration, Param | Network):
        fresh = ready.program.fresh(free.declaration, ready.seed if how == "fresh" else seed)
        if fresh is not None:
            value = jax.tree.map(lambda new, old: jnp.broadcast_to(new, jnp.shape(old)), fresh, current)
    if how == "random" and free.bounds is not None:
        key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(free.name.encode()))
        return anywhere(free.bounds, value, key)
    return off_bound(free, value)


def anywhere(limit: Bounds, value: Any, key: Any) -> Any:
    """A value drawn evenly between both bounds (on a log scale if it has one).

    If one is open, some typical change from the other; if both are, from the present value.
    """
    shape = jnp.shape(value)
    match limit.ends:
        case [both, _]:
            return limit.within(jax.random.uniform(key, shape), *both)
        case [one] if not limit.log:
            return limit.within(jnp.abs(jax.random.normal(key, shape)), *one)
        case _:
            return limit.inward(limit.outward(value) + jax.random.normal(key, shape))


# ---------------------------------------------------------------- what was found


def quantities(free: Freedoms, values: Mapping[str, Any]) -> dict[str, Quantity]:
    """The numbers found, in declared units."""
    numbers = (f.declaration for f in free)
    return {d.name: declared(values[d.name], d.unit) for d in numbers if not isinstance(d, Network)}


def networks(free: Freedoms) -> tuple[str, ...]:
    """The names of the networks among what varies."""
    return tuple(f.name for f in free if isinstance(f.declaration, Network))


def at_bounds(free: Freedoms, values: Mapping[str, Any]) -> tuple[str, ...]:
    """In words, what lies on a bound."""
    return tuple(word for f in free if f.bounds for word in _at_bound(f, f.bounds, np.asarray(values[f.name])))


def _at_bound(free: Freedom, limit: Bounds, value: np.ndarray) -> Sequence[str]:
    assert not isinstance(free.declaration, Network)
    words: list[str] = []
    for end, other in limit.ends:
        side, near = "lower" if end == limit.low else "upper", np.asarray(limit.share(value, end, other)) <= AT_BOUND
        if near.any():
            where = f" in {int(near.sum()):_} of {near.size:_} places" if near.size > 1 else ""
            bound = declared(end, free.declaration.unit)
            words.append(f"{free.name} is within {100 * AT_BOUND:.1f} % of its {side} bound of {bound}{where}")
    return words
