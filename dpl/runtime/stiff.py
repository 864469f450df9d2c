"""Rodas5P as a solver of diffrax, which takes longer to import than JAX and is imported where a run needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import jax
import jax.numpy as jnp
from jax import Array

from dpl.runtime import implicit, rosenbrock
from dpl.runtime.solve import Problem
from dpl.runtime.ticks import Sampled


class Between(diffrax.AbstractLocalInterpolation):
    """The interpolant of a step."""

    t0: Any
    t1: Any
    y0: Any
    y1: Any
    increments: Any

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        if t1 is not None:
            return jax.tree.map(lambda b, a: b - a, self.evaluate(t1), self.evaluate(t0))
        share = (t0 - self.t0) / jnp.where(self.t1 > self.t0, self.t1 - self.t0, 1)
        return (rosenbrock.between(self.y0[0], self.y1[0], self.increments, share),)


class Rodas5P(diffrax.AbstractAdaptiveSolver[None]):
    """Of a state that is a tuple of one vector."""

    system: rosenbrock.System

    term_structure: ClassVar = diffrax.AbstractTerm
    interpolation_cls: ClassVar[Callable[..., Between]] = Between

    def order(self, terms: Any) -> int:
        return rosenbrock.ORDER

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> None:
        return None

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return terms.vf(t0, y0, args)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: tuple[Array], args: Any, solver_state: None, made_jump: Any
    ) -> tuple[Any, Any, dict[str, Any], None, Any]:
        (y,) = y0
        out = rosenbrock.step(self.system, t0, y, t1 - t0)
        between = {"y0": y0, "y1": (out.new,), "increments": out.increments}
        return (out.new,), (out.error,), between, None, diffrax.RESULTS.successful


def rodas5p(p: Problem, t: Any, y: tuple[Array, ...], s: Sampled) -> Rodas5P:
    """The solver of a problem between two ticks, of which `t` and `s` are the first; its own time begins there."""

    def slope(within: Any, y: Array) -> Array:
        return p.derivative(t + within, (y,), s)[0]

    x, totals = p.layout.unpack(p.y)
    size, integrals = sum(a.size for a in x), sum(a.size for a in totals)
    start = jnp.zeros_like(t), y[0]
    declared = p.scenario.jacobian
    entries = None
    if declared is not None:
        states = declared.entries

        def evaluate(within: Any, y: Array) -> tuple[Any, ...]:
            return states(t + within, p.layout.unpack((y,))[0], s.z, s.held, p.c)

        entries = implicit.written(declared, evaluate, size, integrals)
    return Rodas5P(implicit.system(slope, size, integrals, p.scenario.timed, start, entries))
