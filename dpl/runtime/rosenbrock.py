"""One step of Rodas5P: linearly implicit, so that a step costs one Jacobian, one factorisation and eight right-hand
sides, and no iterations.

Steinebach (2023), Construction of Rosenbrock-Wanner method Rodas5P and numerical benchmarks within the Julia
Differential Equations package, BIT Numer. Math. 63, 27: order 5, embedded order 4, stiffly accurate, L-stable, made
not to lose its order where the stiff part depends on time (Prothero-Robinson). Its coefficients are here in the form
that needs no product with the Jacobian (Hairer and Wanner 1996, Solving ODEs II, IV.7):

    (1/(γh) I - J) u_i = f(t + c_i h, y + Σ_j a_ij u_j) + Σ_j C_ij u_j/h + h d_i ∂f/∂t
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

ORDER = 5
STAGES = 8
GAMMA = 0.21193756319429014


def _rows(*rows: Sequence[float]) -> np.ndarray:
    table = np.zeros((STAGES, STAGES))
    for i, row in enumerate(rows, 1):
        table[i, : len(row)] = row
    return table


_SIXTH = [-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946]

A = _rows(
    [3.0],
    [2.849394379747939, 0.45842242204463923],
    [-6.954028509809101, 2.489845061869568, -10.358996098473584],
    [2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641],
    _SIXTH,
    [*_SIXTH, 1],
    [*_SIXTH, 1, 1],
)
"""The new state is that of the last stage and its increment, which is the error's estimate as well"""

C = _rows(
    [-14.155112264123755],
    [-17.97296035885952, -2.859693295451294],
    [147.12150275711716, -1.41221402718213, 71.68940251302358],
    [165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306],
    [24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125, -0.6610691825249471],
    [
        30.91273214028599, -3.1208243349937974, 77.79954646070892, 34.28646028294783, -19.097331116725623,
        -28.087943162872662,
    ],
    [
        37.80277123390563, -3.2571969029072276, 112.26918849496327, 66.9347231244047, -40.06618937091002,
        -54.66780262877968, -9.48861652309627,
    ],
)  # fmt: skip

NODES = np.array([0, 0.6358126895828704, 0.4095798393397535, 0.9769306725060716, 0.4288403609558664, 1, 1, 1])
DRIFT = np.array([GAMMA, -0.42387512638858027, -0.3384627126235924, 1.8046452872882734, 2.325825639765069, 0, 0, 0])

DENSE = np.array(
    [
        [
            25.948786856663858, -2.5579724845846235, 10.433815404888879, -2.3679251022685204, 0.524948541321073,
            1.1241088310450404, 0.4272876194431874, -0.17202221070155493,
        ],
        [
            -9.91568850695171, -0.9689944594115154, 3.0438037242978453, -24.495224566215796, 20.176138334709044,
            15.98066361424651, -6.789040303419874, -6.710236069923372,
        ],
        [
            11.419903575922262, 2.8879645146136994, 72.92137995996029, 80.12511834622643, -52.072871366152654,
            -59.78993625266729, -0.15582684282751913, 4.883087185713722,
        ],
    ]
)  # fmt: skip
"""Weights of the increments in the interpolant of order 4"""


@dataclass(frozen=True)
class System:
    """What a step asks of y' = f(t, y), y one vector [n]."""

    slope: Callable[[Any, Array], Array]
    """f(t, y)"""
    jacobian: Callable[[Any, Array], tuple[Any, Array | None]]
    """(t, y) -> ∂f/∂y in a form of its own, ∂f/∂t (None where f does not read the time)"""
    solver: Callable[[Any, Any], Callable[[Array], Array]]
    """(∂f/∂y, s) -> b -> the solution of (s I - ∂f/∂y) u = b"""


class Step(NamedTuple):
    """The state after a step, the error's estimate, and what lies between."""

    new: Array
    error: Array
    increments: Array
    """[stage, n]"""


def step(system: System, t: Any, y: Array, h: Any, last: Any = None) -> Step:
    """A step of length `h` [s] above 0. The stages share one copy of the right-hand side and of the solve.

    Args:
        last: no stage looks at a later time, so that a jump that begins there is not seen.
    """
    matrix, drift = system.jacobian(t, y)
    solve = system.solver(matrix, 1 / (GAMMA * h))

    def stage(increments: Array, row: Any) -> tuple[Array, None]:
        i, node, a, c, d = row
        at = t + node * h if last is None else jnp.minimum(t + node * h, last)
        right = system.slope(at, y + a @ increments) + (c @ increments) / h
        if drift is not None:
            right = right + (d * h) * drift
        return increments.at[i].set(solve(right)), None

    columns = (jnp.asarray(column, y.dtype) for column in (NODES, A, C, DRIFT))
    none = jnp.zeros((STAGES, *y.shape), y.dtype)
    increments, _ = lax.scan(jax.checkpoint(stage, prevent_cse=False), none, (np.arange(STAGES), *columns))
    new = y + jnp.asarray(A[-1], y.dtype) @ increments + increments[-1]
    return Step(new, increments[-1], increments)


def between(y: Array, new: Array, increments: Array, share: Any) -> Array:
    """The state at a share of a step, by the interpolant of order 4."""
    bends = jnp.asarray(DENSE, y.dtype) @ increments
    inner = bends[0] + share * (bends[1] + share * bends[2])
    return (1 - share) * y + share * (new + (1 - share) * inner)
