"""Systems with a Lagrangian as numbers, without JAX: the definitions of the compiler evaluated in order."""

from dataclasses import replace
from functools import cache

import numpy as np
import sympy as sp

from dpl import language
from dpl.compiler import ir
from dpl.compiler.equations import Search
from dpl.compiler.lagrange import Mechanics
from dpl.compiler.structure import Relation, causalize
from dpl.compiler.symbolic import Translator
from dpl.language import syntax
from dpl.language.balance import Structure
from dpl.language.model import Applied, Constraint, Lagrangian, Scoped, Variable
from dpl.language.source import Source


def system(text, coordinates, applied=None, constraints=None):
    """The system of a text in which `let L` is the Lagrangian, and each coordinate has the equation `q'' = 0`.

    `applied` names the lets that are forces, by coordinate; `constraints` those that stand for the forces which hold
    other lets at 0, by the names of these.
    """
    text = "scenario S {\n" + "\n".join([text, *(f"{q}'' = 0" for q in coordinates), "run for 1", "}"])
    found = language.load_text(Source("test.dpl", text)).systems["S"]
    structure = Structure(found)
    named = {v.path: v for v in found.variables}
    forces = [named[f] for f in (constraints or {}).values()]
    dropped = [
        *(structure.matching[named[q], 2] for q in coordinates),
        *(e for e in found.equations if e.target in forces),
    ]

    def let(name):
        return named[name].value

    value = let("L")
    item = Lagrangian(value, value.scope, value.span, coordinates=tuple(named[q] for q in coordinates))
    zero = Scoped(syntax.Number(0, None, span=value.span), value.scope)
    held = []
    for name, force in (constraints or {}).items():
        held.append(Constraint(let(name), zero, named[force], value.scope, let(name).span))
        named[force].value = None
    new = replace(
        found,
        variables=[*found.variables, _energy(named["L"], item)],
        equations=[e for e in found.equations if e not in dropped],
        lagrangians=[item],
        applied=[Applied(named[q], let(f), let(f).span) for q, f in (applied or {}).items()],
        constraints=held,
    )
    new_structure = Structure(new)
    new_structure.__dict__["orders"] = structure.orders
    return new, Translator(new, new_structure)


def _energy(like, item):
    return Variable("energy", "let", like.declaration, like.scope, like.unit, energy=item)


class Motion:
    """The compiled equations of a text, evaluated at values of its names."""

    def __init__(self, text, coordinates, **keywords):
        self.system, self.translator = system(text, coordinates, **keywords)
        self.coordinates = coordinates
        found = []
        for e in self.system.equations:
            left, right = self.translator.scoped(e.left), self.translator.scoped(e.right)
            if e.kind == "definition":
                target = self.translator.symbol(e.target)
                found.append(Relation(target, self.translator.value_of(e.target), e.span, target))
            else:
                mine = tuple(self.translator.symbol(*u) for u in self.translator.structure.unknowns)
                found.append(Relation(left, right, e.span, None, mine))
        self.mechanics = Mechanics(self.system, self.translator)
        self.own = self.mechanics.relations()
        self.projection = self.mechanics.projection()
        relations = [*found, *self.own, *self.translator.motion.relations()]
        self.statements = causalize(relations, Search(self.translator, {}))

    def __call__(self, statements=None, **values):
        """Every quantity at `values` (a rate of `x` is `dx`); `statements` beyond those of the equations."""
        known = {}
        for name, value in values.items():
            known[name] = value
            if name.startswith("d") and name[1:] in self.coordinates:
                known[name[1:] + "'"] = value
        run(self.statements, known)
        run(statements or (), known)
        return known

    def project(self, **values):
        known = self(self.projection.statements, **values)
        return {s.name: evaluated(e, known) for s, e in self.projection.states.items()}


def run(statements, known):
    for s in statements:
        match s:
            case ir.Assign(target, value):
                if target.name not in known:
                    known[target.name] = evaluated(value, known)
            case ir.Solve(targets, rows, right):
                matrix = np.array([[evaluated(e, known) for e in row] for row in rows], float)
                for t, x in zip(targets, np.linalg.solve(matrix, [evaluated(e, known) for e in right]), strict=True):
                    known[t.name] = x
            case _:
                raise AssertionError("a root")


def evaluated(expr, known):
    """An expression of the compiler in doubles."""
    symbols, function = _function(expr)
    return function(*(known[s.name] for s in symbols))


@cache
def _function(expr):
    symbols = sorted(expr.free_symbols, key=lambda s: s.name)
    return symbols, sp.lambdify(symbols, expr, "math", dummify=True)


TREBUCHET = """
const ft = 0.3048; const lb = 0.45359237
param pivot = 1.524; param arm = 2.0702016; param short = 0.5334; param hang = 0.6096; param sling = 2.0826984
param ball = 0.14877829736; param beam = 4.8307587; param Iw = 0.04214011; param weight = 90.718474
const g = 9.80665
let Ib = beam*(arm + short)²/12
state A = 2; state W = -2; state S = 2
let bx = -(arm - short)/2*sin(A);         let by = (arm - short)/2*cos(A)
let wx = short*sin(A) + hang*sin(A + W);  let wy = -short*cos(A) - hang*cos(A + W)
let px = -arm*sin(A) - sling*sin(A + S);  let py = arm*cos(A) + sling*cos(A + S)
let L = ½*beam*(bx'² + by'²) + ½*Ib*A'² + ½*weight*(wx'² + wy'²) + ½*Iw*(A' + W')²
      + ½*ball*(px'² + py'²) - g*(beam*by + weight*wy + ball*py)
let ground = py + pivot
let force = 0
"""
