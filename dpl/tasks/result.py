"""What tasks return: numbers and words only, complete enough to print, to save and to compute with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from dpl.runtime.program import Run
from dpl.runtime.spec import Unit

Status = Literal["done", "failed", "unended", "interrupted"]
"""`failed`: an expectation does not hold; `unended`: a simulated run did not end well"""


@dataclass(frozen=True)
class Seconds:
    """`compile` is None where it could not be told from `run`."""

    compile: float | None
    run: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """What every task returns. `defaults` says in words what was chosen because the text does not say."""

    kind: str
    name: str
    scenario: str
    seed: int
    seconds: Seconds
    status: Status = "done"
    defaults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What the user should know of how it went"""
    plot: tuple[str, ...] = ()
    """What is to be drawn of `runs`, by names of what a run observes"""
    runs: Mapping[str, Run] = field(default_factory=dict[str, Run])
    """Nominal runs to be drawn: `before` and `after` of a task that varies something, else one named as the scenario"""


@dataclass(frozen=True)
class Quantity:
    """A number or an array in its declared unit."""

    value: Any
    unit: str = ""

    def __str__(self) -> str:
        return f"{number(self.value)} {self.unit}".rstrip()


@dataclass(frozen=True)
class Sample:
    """One drawn run: its index in its stream and its givens."""

    index: int
    givens: Mapping[str, Quantity]

    def __str__(self) -> str:
        return f"run {self.index}: " + (
            ", ".join(f"{name} = {value}" for name, value in self.givens.items()) or "no givens"
        )


class Progress(Protocol):
    """Who is told how a task gets on: steps done, words, and a `value` to draw over the steps: the loss as declared."""

    def begin(self, title: str, total: int) -> None: ...

    def advance(self, done: int, value: float | None = None, **shown: str) -> None: ...

    def say(self, text: str) -> None:
        """Between `begin` and `end`: what the user should know at once."""
        ...

    def end(self) -> None: ...


class Silent:
    """Tells nobody."""

    def begin(self, title: str, total: int) -> None:
        pass

    def advance(self, done: int, value: float | None = None, **shown: str) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def end(self) -> None:
        pass


@dataclass(eq=False)
class NumericalFailure(Exception):
    """A loss or a gradient that is not finite stopped a task: where, on which sample, and the last good values.

    `values` are in SI units by name, networks included; `blame` names the equation, the line and the time if known.
    """

    task: str
    step: int
    what: str
    sample: Sample | None
    values: Mapping[str, Any]
    params: Mapping[str, Quantity]
    blame: str | None = None

    def __str__(self) -> str:
        lines = [f"{self.task}: {self.what} is not finite at step {self.step:_}"]
        if self.sample is not None:
            lines.append(f"  in {self.sample}")
        if self.params:
            lines.append("  with " + ", ".join(f"{name} = {value}" for name, value in self.params.items()))
        if self.blame:
            lines += [f"  {line}" for line in self.blame.split("\n")]
        return "\n".join(lines)


def declared(si: Any, unit: Unit) -> Quantity:
    """An SI number or array in the unit that its declaration names."""
    value = np.asarray(si, dtype=float) / unit.scale
    return Quantity(float(value) if value.ndim == 0 else value, unit.text)


def number(value: Any) -> str:
    """A number in at most six characters of precision, an array by its ends, an integer in full."""
    array = np.asarray(value)
    if array.ndim:
        flat = array.ravel()
        shown = (
            [number(x) for x in flat] if flat.size <= 4 else [number(flat[0]), number(flat[1]), "…", number(flat[-1])]
        )
        return f"[{', '.join(shown)}]"
    if array.dtype.kind in "biu":
        return str(array.item())
    return f"{float(array) + 0.0:.5g}"  # -0.0 + 0.0 is 0.0
