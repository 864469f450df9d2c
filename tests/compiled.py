"""Texts as numbers, without a solver: what the semantic tests look at. Everything in SI."""

from functools import cache

import jax
import numpy as np

from dpl import language
from dpl.compiler.driver import compile_model
from dpl.language.source import Source
from dpl.runtime import program


@cache
def source(text):
    """The generated module."""
    return compile_model(language.load_text(Source("test.dpl", text))).source


@cache
def scenarios(text):
    return program.load(source(text), "test").scenarios


def at(text, time=0.0, changes=None, scenario=None):
    """Every quantity and measure (static) at the start of a run, `x'` of every state included.

    `changes` by dotted name replace values of params, givens and starts.
    """
    found = scenarios(text)[scenario or list(scenarios(text))[-1]]
    spec, values = found.spec, {**found.values_si(), **(changes or {})}
    c = spec.fixed(values)
    if spec.run is None:
        return {**spec.observe(0.0, (), (), (), c), **spec.results((), c)}
    x, z, held = spec.start(c)
    following = z
    for clock in spec.clocks:
        held, new = clock.evaluate(time, x, z, held, c)
        following = tuple(n if i in clock.states else f for i, (f, n) in enumerate(zip(following, new, strict=True)))
    rates, _ = spec.rhs(time, x, z, held, c)
    sampled = [o.name for o in spec.observed if o.kind == "state"]
    sampled = [n for n in sampled if n not in {s.name for s in spec.states}]
    return {
        **{s.name: v for s, v in zip(spec.states, x, strict=True)},
        **spec.observe(time, x, z, held, c),
        **{f"{s.name}'": rate for s, rate in zip(spec.states, rates, strict=True)},
        **{f"next {name}": value for name, value in zip(sampled, following, strict=True)},
    }


def value(text, name="y", **keywords):
    """One of them, as NumPy has it."""
    return np.asarray(at(text, **keywords)[name])


def gradient(text, wrt, name="y"):
    """The derivative of one of them to a param, given or start."""
    found = scenarios(text)
    first = float(list(found.values())[-1].values_si()[wrt])
    return float(jax.grad(lambda p: at(text, changes={wrt: p})[name])(first))


def static(*lines):
    """A scenario without a run."""
    return "scenario S {\n" + "\n".join(lines) + "\n}"


def moving(*lines):
    """A scenario with one."""
    return static(*lines, "run for 1")
