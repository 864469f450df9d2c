"""The optimisation loop under every task: many steps of a pure update as one compiled call.

Python returns between chunks of steps, only to show progress, to keep the state and to look for an interrupt. Results
do not depend on the chunks: a loop that is restored from a kept state goes on bit for bit.

The compiled steps look for no failure, which would cost time at each of them. A chunk that ends badly is done again
from a copy of its beginning, up to the step that spoilt it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic, perf_counter
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import compiling, devices
from dpl.tasks.keeper import Keeper, State
from dpl.tasks.result import Progress, Quantity, Seconds, number

CHUNK_SECONDS = 0.3
LONGEST_CHUNK, LARGEST_BUFFER = 4096, 1_000_000
"""Steps of one compiled call at the most, and the losses that it returns"""
KEEP_SECONDS = 10.0
"""The state of a loop is kept so often"""


RUNNING = 0
"""The state of a lane that goes on; others say why it ended"""


class Carry(Protocol):
    """What goes from step to step: a pytree of arrays, whose `theta` has a leading axis of lanes in every leaf."""

    @property
    def theta(self) -> Any: ...


class Iteration(Protocol):
    """A pure step of several lanes side by side: starts, or runs of their own. Equal ones share a compiled program."""

    @property
    def lanes(self) -> int: ...

    @property
    def pieces(self) -> bool:
        """Whether its programs consist of many small loops or kernels, see `runtime/compiling.py`."""
        ...

    def begin(self, starts: Any, constants: Any) -> Carry:
        """The first carry, from the SI values of the lanes (stacked)."""
        ...

    def step(self, carry: Any, constants: Any, step: Any) -> tuple[Any, Any]:
        """The carry after a step, and the loss of each lane [lanes] at the values before it."""
        ...

    def ended(self, carry: Any) -> Any:
        """Whether nothing is left to do in any lane."""
        ...

    def values(self, theta: Any) -> dict[str, Any]:
        """The SI values of one lane."""
        ...


class Compiled(NamedTuple):
    """The programs of an iteration, compiled when first called."""

    begin: Callable[[Any, Any], Any]
    run: Callable[[Any, Any, Any, Any], tuple[Any, Any, Any, Any, Any]]
    """(carry, constants, step, until) -> carry, step, losses, whether each lane is finite, whether all have ended"""
    values: Callable[[Any, Any], dict[str, Any]]


@lru_cache(maxsize=16)
def compiled(iteration: Iteration) -> Compiled:
    """The programs of an iteration; the carry that `run` receives is given up."""

    def run(carry: Any, constants: Any, step: Any, until: Any) -> tuple[Any, Any, Any, Any, Any]:
        losses = jnp.zeros((longest(iteration), iteration.lanes))

        def body(state: Any) -> Any:
            carry, now, losses = state
            carry, loss = iteration.step(carry, constants, now)
            return carry, now + 1, losses.at[now - step].set(loss)

        def more(state: Any) -> Any:
            return (state[1] < until) & ~iteration.ended(state[0])

        carry, now, losses = jax.lax.while_loop(more, body, (carry, step, losses))
        return carry, now, losses, _finite(carry.theta, iteration.lanes), iteration.ended(carry)

    def values(theta: Any, lane: Any) -> dict[str, Any]:
        return iteration.values(jax.tree.map(lambda leaf: leaf[lane], theta))

    def begin(starts: Any, constants: Any) -> Any:
        """A carry of definite types, which the steps return as they are: a weak type would compile `run` twice."""
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), iteration.begin(starts, constants))

    def program(function: Callable[..., Any], pieces: bool = False, donated: bool = False) -> Any:
        return compiling.jit(function, pieces, iteration, donated)

    return Compiled(program(begin), program(run, iteration.pieces, donated=True), program(values))


@jax.jit
def copied(carry: Any) -> Any:
    """A carry that outlives the one that is given up, in one call (one for each leaf took 2 ms)."""
    return jax.tree.map(jnp.copy, carry)


def longest(iteration: Iteration) -> int:
    """The steps of one compiled call at the most."""
    return max(1, min(LONGEST_CHUNK, LARGEST_BUFFER // iteration.lanes))


def _finite(theta: Any, lanes: int) -> Any:
    rows = [jnp.all(jnp.isfinite(leaf.reshape((lanes, -1))), axis=1) for leaf in jax.tree.leaves(theta)]
    return jnp.stack(rows).all(axis=0)


@dataclass(eq=False)
class NotFinite(Exception):
    """No lane has a finite loss and gradient at `step`; `values` are the last good ones of the lane that lasted."""

    step: int
    values: dict[str, Any]
    losses: np.ndarray
    lane: int


class Watch(Protocol):
    """Who looks at a loop now and then: before the first step, at every `every`-th step and at the end."""

    every: int

    def begin(self, loop: Loop) -> bool:
        """Looks at the lanes where they start, also those of a loop that then goes on from a kept state."""
        ...

    def look(self, loop: Loop) -> bool:
        """Looks at the lanes as they are; True ends the loop."""
        ...

    def words(self) -> dict[str, str]:
        """What to show beside the loss."""
        ...

    def state(self) -> State: ...

    def restore(self, state: State, loop: Loop) -> None: ...


class Ended:
    """Watches how many lanes have ended, by the `state` [lanes] of the carry; ends nothing itself."""

    def __init__(self, loop: Loop):
        self.every, self.loop = loop.steps, loop

    def begin(self, loop: Loop) -> bool:
        return False

    def look(self, loop: Loop) -> bool:
        return False

    def words(self) -> dict[str, str]:
        state = np.asarray(self.loop.carry.state)
        return {"ended": f"{int((state != RUNNING).sum()):_} of {state.size:_}"} if state.size > 1 else {}

    def state(self) -> State:
        return {}

    def restore(self, state: State, loop: Loop) -> None:
        pass


class Loop:
    """The state of a descent on Python's side: its carry, its losses [steps, lanes] and its pace."""

    def __init__(self, iteration: Iteration, starts: Any, constants: Any, steps: int):
        began = perf_counter()
        self.iteration, self.constants, self.steps = iteration, jax.device_put(constants), steps
        self.programs = compiled(iteration)
        self.carry = devices.everywhere(self.programs.begin(starts, self.constants))
        self.step, self.count = 0, 1
        self.parts: list[np.ndarray] = []
        self.all_ended = steps == 0
        self.seconds = Seconds(perf_counter() - began, 0.0)

    @property
    def losses(self) -> np.ndarray:
        """The losses of all steps so far [steps, lanes]."""
        self.parts = [np.concatenate([np.empty((0, self.iteration.lanes)), *self.parts])]
        return self.parts[0]

    @property
    def ended(self) -> bool:
        return self.all_ended or self.step >= self.steps

    def values(self, lane: int) -> dict[str, Any]:
        """The SI values of one lane, in arrays that outlive the carry."""
        return self.programs.values(self.carry.theta, lane)

    def warm(self) -> None:
        """Compiles the steps, without doing one."""
        began = perf_counter()
        copied(self.carry)  # so is what `advance` does before them
        zero = self._index(self.step)
        self.carry = jax.block_until_ready(self.programs.run(self.carry, self.constants, zero, zero))[0]
        self.seconds = Seconds((self.seconds.compile or 0.0) + perf_counter() - began, self.seconds.run)

    def advance(self, until: int) -> np.ndarray:
        """One compiled call, up to step `until`; the new losses."""
        began, before = perf_counter(), copied(self.carry)
        until = min(until, self.step + longest(self.iteration), self.steps)
        carry, now, losses, finite, ended = self._run(self.carry, until)
        fresh = np.asarray(losses)[: int(now) - self.step]
        good = np.isfinite(fresh).all(axis=0) & np.asarray(finite)
        if not good.any():
            raise self._failure(before, fresh, np.asarray(finite))
        self.parts.append(fresh)
        self.carry, self.step, self.all_ended = carry, int(now), bool(ended)
        self._pace(len(fresh), perf_counter() - began)
        return fresh

    def _run(self, carry: Any, until: int) -> tuple[Any, Any, Any, Any, Any]:
        result = self.programs.run(carry, self.constants, self._index(self.step), self._index(until))
        return jax.block_until_ready(result)

    @staticmethod
    def _index(step: int) -> Any:
        return np.asarray(step, int)

    def _pace(self, steps: int, seconds: float) -> None:
        self.seconds = Seconds(self.seconds.compile, self.seconds.run + seconds)
        wanted = max(steps, 1) * CHUNK_SECONDS / max(seconds, 1e-6)
        self.count = int(min(max(wanted, 1), 8 * self.count, LONGEST_CHUNK))

    def _failure(self, before: Any, fresh: np.ndarray, finite: np.ndarray) -> NotFinite:
        """The step at which the lane that lasted longest was spoilt, and its values before it."""
        lasted = np.where(np.isfinite(fresh).all(axis=0), len(fresh), np.isfinite(fresh).argmin(axis=0))
        lane = int(np.argmax(lasted))
        bad = min(int(lasted[lane]), len(fresh) - 1)
        for at in (bad, bad - 1):  # a gradient that is not finite shows in the loss of the next step
            if at >= 0:
                carry, *_ = self._run(copied(before), self.step + at)
                values = self.programs.values(carry.theta, lane)
                if all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(values))):
                    return NotFinite(self.step + at, values, np.concatenate([self.losses, fresh[: at + 1]]), lane)
        return NotFinite(self.step, self.programs.values(before.theta, lane), self.losses, lane)

    # -- kept states

    def state(self) -> dict[str, np.ndarray]:
        """All that a loop needs to go on."""
        leaves, _ = jax.tree.flatten(jax.device_get(self.carry))
        kept = {f"carry/{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        seconds = np.array([self.seconds.compile or 0.0, self.seconds.run])
        ended = np.asarray(self.all_ended)
        return kept | {"losses": self.losses, "step": np.asarray(self.step), "ended": ended, "seconds": seconds}

    def restore(self, state: State) -> None:
        """Goes on from a kept state."""
        leaves, tree = jax.tree.flatten(self.carry)
        kept = [jnp.asarray(state[f"carry/{i}"]) for i in range(len(leaves))]
        self.carry = devices.everywhere(jax.tree.unflatten(tree, kept))
        self.parts, self.step = [np.array(state["losses"])], int(state["step"])
        self.all_ended = bool(state["ended"])
        self.seconds = Seconds(*(float(s) for s in state["seconds"]))


def descend(
    loop: Loop, watch: Watch, progress: Progress, keeper: Keeper, task: str, declared: Callable[[float], Quantity]
) -> bool:
    """Goes on until all lanes have ended, the watch says so or the user does; True if the user did.

    Args:
        declared: a loss as the user reads it.
    Raises:
        NotFinite: no lane has a finite loss and gradient any more.
    """
    over = watch.begin(loop)
    kept = keeper.load(task)
    if kept is not None:
        loop.restore(_part(kept, "loop"))
        watch.restore(_part(kept, "watch"), loop)
        over = bool(kept["over"])
    if not over and not loop.ended:
        loop.warm()
    saved, lowest = monotonic(), float("inf")
    with interrupts() as interrupted:
        while not over and not loop.ended and not interrupted():
            border = (loop.step // watch.every + 1) * watch.every
            fresh = loop.advance(min(loop.step + loop.count, border))
            if loop.step == border or loop.ended:
                over = watch.look(loop)
            with np.errstate(invalid="ignore"):
                mean = float(np.nanmin(fresh.mean(axis=0))) if fresh.size else lowest
            lowest = min(lowest, mean)
            shown = {"loss": str(declared(mean)), "best": number(declared(lowest).value), **watch.words()}
            progress.advance(loop.step, declared(mean).value, **shown)
            if monotonic() - saved > KEEP_SECONDS:
                keeper.save(task, _kept(loop, watch, over))
                saved = monotonic()
    keeper.save(task, _kept(loop, watch, over))
    stopped = not over and not loop.ended
    if stopped:  # what was reached so far counts; a resumed loop does not look here, as if it had never stopped
        watch.look(loop)
    return stopped


def _kept(loop: Loop, watch: Watch, over: bool) -> dict[str, np.ndarray]:
    parts = {"loop": loop.state(), "watch": watch.state()}
    named = {f"{part}/{name}": value for part, state in parts.items() for name, value in state.items()}
    return named | {"over": np.asarray(over)}


def _part(state: State, part: str) -> Mapping[str, np.ndarray]:
    return {name.removeprefix(f"{part}/"): value for name, value in state.items() if name.startswith(f"{part}/")}


# ---------------------------------------------------------------- interrupts


@contextmanager
def interrupts() -> Generator[Callable[[], bool]]:
    """Within it, a first Ctrl-C sets a flag to be seen between chunks; a second one interrupts at once."""
    seen: list[int] = []
    before = signal.getsignal(signal.SIGINT) or signal.SIG_DFL

    def first(number: int, frame: Any) -> None:
        seen.append(number)
        signal.signal(signal.SIGINT, before)

    try:
        signal.signal(signal.SIGINT, first)
    except ValueError:  # only the main thread may
        yield lambda: False
        return
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, before)
