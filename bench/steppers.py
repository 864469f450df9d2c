"""Fixed-step RK4 by other hands: each makes a call that takes all runs from their starts to the sums of last states.

`start` is one number or an array of them; what a call returns is read by `numpy.asarray`. A library that steps one run
at a time is mapped over them by its own means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from bench.fields import Problem

Call = Callable[[], Any]


def _along(y: Any, k: Any, h: float) -> Any:
    import jax

    return jax.tree.map(lambda a, b: a + h * b, y, k)


# ---------------------------------------------------------------- JAX by hand


def jax_forms(problem: Problem, start: np.ndarray) -> Mapping[str, Call]:
    """As an expert writes it, in the forms among which only measuring tells: the fastest counts."""
    forms = {"tuple": False, "stacked": True}
    made = {f"JAX by hand, {name}": _jax(problem, start, stacked, 1) for name, stacked in forms.items()}
    if len(problem.start(0.0)) <= 4:  # else it takes long to compile, and loses
        made["JAX by hand, tuple, 4 steps a turn"] = _jax(problem, start, False, 4)
    if start.ndim:
        made["JAX by hand, arrays of runs"] = _jax(problem, start, False, 1, mapped=False)
        made["JAX by hand, one array"] = _jax(problem, start, True, 1, mapped=False)
    return made


def _jax(problem: Problem, start: np.ndarray, stacked: bool, unroll: int, mapped: bool = True) -> Call:
    import jax
    import jax.numpy as jnp
    from jax import lax

    h = problem.step

    def field(y: Any) -> Any:
        rates = problem.field(tuple(y), jnp)
        return jnp.stack(rates) if stacked else rates

    def step(y: Any) -> Any:
        k1 = field(y)
        k2 = field(_along(y, k1, 0.5 * h))
        k3 = field(_along(y, k2, 0.5 * h))
        k4 = field(_along(y, k3, h))
        return jax.tree.map(lambda y, a, b, c, d: y + h / 6 * (a + 2 * (b + c) + d), y, k1, k2, k3, k4)

    def run(z: Any) -> Any:
        y: Any = tuple(jnp.broadcast_to(jnp.asarray(v, z.dtype), z.shape) for v in problem.start(z))
        y = jnp.stack(y) if stacked else y
        last, _ = lax.scan(lambda y, _: (step(y), None), y, None, length=problem.count, unroll=unroll)
        return last.sum(0) if stacked else sum(last)

    given = jnp.asarray(start)
    compiled = jax.jit(jax.vmap(run) if start.ndim and mapped else run)
    return lambda: jax.block_until_ready(compiled(given))


# ---------------------------------------------------------------- diffrax


def diffrax(problem: Problem, start: np.ndarray) -> Mapping[str, Call]:
    import diffrax
    import jax
    import jax.numpy as jnp

    rule = diffrax.ButcherTableau(
        c=np.array([0.5, 0.5, 1.0]),
        b_sol=np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6]),
        b_error=np.array([-5 / 6, 1 / 3, 1 / 3, 1 / 6]),
        a_lower=(np.array([0.5]), np.array([0.0, 0.5]), np.array([0.0, 0.0, 1.0])),
    )

    class RK4(diffrax.AbstractERK):
        tableau: ClassVar[Any] = rule
        interpolation_cls: ClassVar[Any] = diffrax.ThirdOrderHermitePolynomialInterpolation.from_k

        def order(self, terms: Any) -> int:
            return 4

    term = diffrax.ODETerm(lambda t, y, _: jnp.stack(problem.field(tuple(y), jnp)))

    def run(z: Any) -> Any:
        y = jnp.stack([jnp.asarray(v, z.dtype) for v in problem.start(z)])
        span = jnp.asarray(problem.count * problem.step, z.dtype)
        found = diffrax.diffeqsolve(
            term, RK4(), jnp.zeros_like(span), span, jnp.asarray(problem.step, z.dtype), y, max_steps=problem.count + 2
        )
        return found.ys[-1].sum()

    given = jnp.asarray(start)
    compiled = jax.jit(jax.vmap(run) if start.ndim else run)
    return {"diffrax": lambda: jax.block_until_ready(compiled(given))}


# ---------------------------------------------------------------- torchdiffeq


def torchdiffeq(problem: Problem, start: np.ndarray) -> Mapping[str, Call]:
    """Its `rk4` is Kutta's 3/8 rule: as many evaluations, not the same digits."""
    import torch
    import torchdiffeq as ode

    z = torch.as_tensor(start)
    y = torch.stack([torch.broadcast_to(torch.as_tensor(v, dtype=z.dtype), z.shape) for v in problem.start(z)])
    times = torch.tensor([0.0, problem.count * problem.step], dtype=z.dtype)

    def field(_: Any, y: Any) -> Any:
        return torch.stack([torch.as_tensor(r) for r in problem.field(tuple(y), torch)])

    def run() -> Any:
        with torch.no_grad():
            return ode.odeint(field, y, times, method="rk4", options={"step_size": problem.step})[-1].sum(0)

    return {"torchdiffeq": run}


# ---------------------------------------------------------------- CasADi


def casadi(problem: Problem, start: np.ndarray) -> Mapping[str, Call]:
    """One step as an expression, folded over all; in its virtual machine, and compiled by the system's compiler."""
    import shutil

    import casadi as ca

    if start.dtype != np.float64 or start.ndim:
        return {}
    y = ca.SX.sym("y", len(problem.start(0.0)))
    h = problem.step

    def field(y: Any) -> Any:
        return ca.vertcat(*problem.field(tuple(ca.vertsplit(y)), ca))

    k1 = field(y)
    k2 = field(y + 0.5 * h * k1)
    k3 = field(y + 0.5 * h * k2)
    k4 = field(y + h * k3)
    step = ca.Function("step", [y], [y + h / 6 * (k1 + 2 * (k2 + k3) + k4)])
    values = np.stack([np.broadcast_to(v, start.shape) for v in problem.start(start)]).reshape(y.shape[0], -1)
    made: dict[str, Call] = {}
    options = {"CasADi": {}}
    if shutil.which("gcc"):
        flags = {"flags": ["-O3", "-march=native"], "compiler": "gcc"}
        options["CasADi, compiled"] = {"jit": True, "compiler": "shell", "jit_options": flags}
    for name, chosen in options.items():
        whole = step.fold(problem.count)
        many = whole.map(start.size) if start.ndim else whole
        x = ca.MX.sym("x", *values.shape)
        call = ca.Function("run", [x], [ca.sum1(many(x))], chosen)
        made[name] = lambda call=call: call(values)
    return made


# ---------------------------------------------------------------- Jaxonomy


def jaxonomy(problem: Problem, start: np.ndarray) -> Mapping[str, Call]:
    import jax
    import jax.numpy as jnp
    import jaxonomy
    from jaxonomy.simulation import SimulatorOptions

    class Plant(jaxonomy.LeafSystem):
        def __init__(self) -> None:
            super().__init__(name="plant")
            first = jnp.asarray(problem.start(float(np.ravel(start)[0])), start.dtype)
            self.declare_continuous_state(default_value=first, ode=self.rates)

        def rates(self, time: Any, state: Any, **_: Any) -> Any:
            return jnp.stack(problem.field(tuple(state.continuous_state), jnp))

    plant = Plant()
    context = plant.create_context()
    options = SimulatorOptions(
        math_backend="jax", ode_solver_method="rk4", max_minor_step_size=problem.step, save_time_series=False
    )
    simulator = jaxonomy.Simulator(plant, options=options)
    span = problem.count * problem.step

    def run(z: Any) -> Any:
        y = jnp.stack([jnp.asarray(v, z.dtype) for v in problem.start(z)])
        return simulator.advance_to(span, context.with_continuous_state(y)).context.continuous_state.sum()

    given = jnp.asarray(start)
    compiled = jax.jit(jax.vmap(run) if start.ndim else run)
    return {"Jaxonomy": lambda: jax.block_until_ready(compiled(given))}


LIBRARIES: Mapping[str, Callable[[Problem, np.ndarray], Mapping[str, Call]]] = {
    "diffrax": diffrax,
    "torchdiffeq": torchdiffeq,
    "casadi": casadi,
    "jaxonomy": jaxonomy,
}
"""By package"""
