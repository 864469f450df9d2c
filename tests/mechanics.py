"""Texts with a Lagrangian as numbers, without JAX: the statements of the compiler evaluated in order."""

from functools import cache

import numpy as np
import sympy as sp

from dpl import language
from dpl.compiler import ir
from dpl.compiler.equations import causal_system
from dpl.language.source import Source


class Motion:
    """The compiled equations of the lines of a scenario, evaluated at values of its names."""

    def __init__(self, text):
        text = "scenario S {\n" + text + "\nrun for 1\n}"
        self.causal = causal_system(language.load_text(Source("test.dpl", text)).systems["S"])
        self.coordinates = [v.path for v in self.causal.system.lagrangians[0].coordinates]

    def __call__(self, statements=None, **values):
        """Every quantity at `values` (a rate of `x` is `dx`); `statements` beyond those of the equations."""
        known = {}
        for name, value in values.items():
            known[name] = value
            if name.startswith("d") and name[1:] in self.coordinates:
                known[name[1:] + "'"] = value
        run(self.causal.statements, known)
        run(statements or (), known)
        return known

    def project(self, **values):
        known = self(self.causal.projection.statements, **values)
        return {s.name: evaluated(e, known) for s, e in self.causal.projection.states.items()}


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
lagrangian ½*beam*(bx'² + by'²) + ½*Ib*A'² + ½*weight*(wx'² + wy'²) + ½*Iw*(A' + W')²
         + ½*ball*(px'² + py'²) - g*(beam*by + weight*wy + ball*py)
"""
