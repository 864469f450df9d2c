"""Models of cells: large systems of unlike scalar equations, drawn from a seed, as DPL text and as JAX by hand.

Each species has an equation of its own: sums of one to eight terms of mass action of different orders, enzymes with
and without inhibition, Hill curves with various exponents, exchange, rhythms in time, saturation by `exp`. What one
reaction takes from a species it often gives to another. The exact mix depends on the seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """Starts by species, values by parameter, rates by name, and the right side of each species' equation.

    Expressions are in the syntax of both languages but for powers, which are `^`.
    """

    starts: dict[str, float]
    params: dict[str, float]
    rates: dict[str, str]
    equations: dict[str, str]

    def dpl(self, run: str = "run for 5 [s] using rk4(50 [ms])") -> str:
        """The model as text, with a scenario `Cell` and a loss `off`."""
        lines = [f"  param {name} = {value!r} in 0..100" for name, value in self.params.items()]
        lines += [f"  state {name} = {value!r}" for name, value in self.starts.items()]
        lines += [f"  let {name} = {value}" for name, value in self.rates.items()]
        lines += [f"  {name}' = {value}" for name, value in self.equations.items()]
        some = [f"({name} - 1)^2" for name in list(self.starts)[::10]]
        lines += [f"  {run.replace(' [s]', '').replace('50 [ms]', '0.05')}", f"  loss off = final({' + '.join(some)})"]
        return "\n".join(["scenario Cell {", *lines, "}"]) + "\n"

    def jax(self) -> str:
        """The right-hand side as an expert writes it down: `rhs(t, x, p)` of tuples of scalars, which it returns."""
        lines = ["from jax import numpy as jnp", "", "", "def rhs(t, x, p):"]
        lines += [f"    ({', '.join(self.starts)},) = x", f"    ({', '.join(self.params)},) = p"]
        lines += [f"    {name} = {_python(value)}" for name, value in self.rates.items()]
        lines += [f"    {name}_dot = {_python(value)}" for name, value in self.equations.items()]
        return "\n".join([*lines, f"    return ({', '.join(f'{s}_dot' for s in self.starts)},)"]) + "\n"


def _python(text: str) -> str:
    for name in ("exp", "sin", "sqrt"):
        text = text.replace(f"{name}(", f"jnp.{name}(")
    return text.replace("^", "**").replace("time", "t")


def cell(species: int, seed: int = 0) -> Cell:
    """A cell of so many species; the same one for the same seed."""
    return _Drawing(species, random.Random(seed)).cell()


class _Drawing:
    def __init__(self, species: int, rng: random.Random):
        self.rng = rng
        self.species = [f"x{i + 1}" for i in range(species)]
        self.params: dict[str, float] = {}
        self.rates: dict[str, str] = {}
        self.terms: dict[str, list[str]] = {s: [] for s in self.species}

    def cell(self) -> Cell:
        for name in self.species:
            self.terms[name].append(f"-{self.param('d')}*{name}")
            for _ in range(self.rng.choice((0, 1, 1, 2, 2, 3, 5))):
                self.reaction(name)
        starts = {s: round(self.rng.uniform(0.2, 2.0), 3) for s in self.species}
        equations = {s: self.total(terms) for s, terms in self.terms.items()}
        return Cell(starts, self.params, self.rates, equations)

    def total(self, terms: list[str]) -> str:
        self.rng.shuffle(terms)
        return " + ".join(terms).replace("+ -", "- ")

    def reaction(self, name: str) -> None:
        """A term of the species' own, or a named rate that it shares with one or two others."""
        kind = self.rng.choice(KINDS)
        text = kind(self, name)
        if self.rng.random() < 0.6:
            self.terms[name].append(text)
            return
        rate = f"v{len(self.rates) + 1}"
        self.rates[rate] = text
        self.terms[name].append(rate)
        for other in self.others(self.rng.choice((1, 1, 2))):
            sign = "-" if text.startswith("-") else ""  # what is taken from one is given to others: all stay positive
            self.terms[other].append(f"{sign}{self.rng.choice(('', '', '2*', '0.5*'))}{rate}")

    def others(self, count: int) -> list[str]:
        """A few species, some of which are in many reactions."""
        hubs = max(4, len(self.species) // 50)
        from_all = [self.rng.choice(self.species) for _ in range(count)]
        return [self.rng.choice(self.species[:hubs]) if self.rng.random() < 0.1 else s for s in from_all]

    def param(self, letter: str) -> str:
        name = f"{letter}{len(self.params) + 1}"
        self.params[name] = round(self.rng.uniform(0.1, 1.0), 3)
        return name

    # ------------------------------------------------------------ kinds of reactions

    def production(self, _: str) -> str:
        return self.param("k")

    def conversion(self, _: str) -> str:
        return f"0.3*{self.param('k')}*{self.others(1)[0]}"

    def binding(self, name: str) -> str:
        return f"-{self.param('k')}*{name}*{self.others(1)[0]}"

    def dimer(self, name: str) -> str:
        return f"-{self.param('k')}*{name}^2"

    def triple(self, name: str) -> str:
        a, b = self.others(2)
        return f"-0.1*{self.param('k')}*{name}*{a}*{b}"

    def reversible(self, name: str) -> str:
        return f"0.3*{self.param('k')}*({self.others(1)[0]} - {name}/{self.param('q')})"

    def enzyme(self, _: str) -> str:
        a = self.others(1)[0]
        return f"{self.param('V')}*{a}/({self.param('K')} + {a})"

    def inhibited(self, name: str) -> str:
        a, b = name, self.others(1)[0]
        return f"-{self.param('V')}*{a}/({self.param('K')}*(1 + {b}/{self.param('I')}) + {a})"

    def two_substrates(self, _: str) -> str:
        a, b = self.others(2)
        return f"{self.param('V')}*{a}*{b}/(({self.param('K')} + {a})*({self.param('K')} + {b}))"

    def hill(self, _: str) -> str:
        a, k, n = self.others(1)[0], self.param("K"), self.rng.choice(("2", "3", "4", "1.5", "2.5"))
        return f"{self.param('V')}*{a}^{n}/({k}^{n} + {a}^{n})"

    def repressed(self, _: str) -> str:
        a, n = self.others(1)[0], self.rng.choice(("", "^2", "^3", "^4"))
        return f"{self.param('V')}/(1 + ({a}/{self.param('K')}){n})"

    def activated_and_repressed(self, _: str) -> str:
        a, b = self.others(2)
        n, m = self.rng.choice(("2", "3")), self.rng.choice(("", "^2"))
        k = self.param("K")
        return f"{self.param('V')}*{a}^{n}/({k}^{n} + {a}^{n})/(1 + {b}{m}/{self.param('I')})"

    def rhythm(self, _: str) -> str:
        return f"{self.param('A')}*(1 + sin({self.param('w')}*time + {self.param('f')}))"

    def saturated(self, _: str) -> str:
        a = self.others(1)[0]
        return f"{self.param('k')}*(1 - exp(-{a}/{self.param('K')}))"

    def heated(self, name: str) -> str:
        return f"-{self.param('k')}*{name}*exp(-{self.param('E')}/(1 + 0.1*{self.others(1)[0]}))"

    def diffusive(self, name: str) -> str:
        a, b = self.others(2)
        return f"0.3*{self.param('D')}*sqrt(1 + {a}/(1 + {a}))*({b} - {name})"


_COMMON = (_Drawing.conversion, _Drawing.binding, _Drawing.enzyme, _Drawing.hill)
KINDS: tuple[Callable[[_Drawing, str], str], ...] = (
    *_COMMON, *_COMMON, _Drawing.production, _Drawing.dimer, _Drawing.triple, _Drawing.reversible, _Drawing.inhibited,
    _Drawing.two_substrates, _Drawing.repressed, _Drawing.activated_and_repressed, _Drawing.rhythm,
    _Drawing.saturated, _Drawing.heated, _Drawing.diffusive,
)  # fmt: skip
