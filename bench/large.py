"""How long it takes from text to compiled functions of a large system of unlike scalar equations.

The rival is the right-hand side as an expert writes it in JAX, each quantity a scalar of its own; it is asked with
`rival` and takes minutes. Each measurement is a fresh process, without any cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from time import perf_counter
from typing import Any

from bench import machine
from bench.cells import cell
from bench.timing import shown

SIZES = (200, 1_000)
TARGETS = {"right-hand side": 4.0, "Jacobian": 10.0, "gradient of a run": 10.0}


def main(arguments: list[str] | None = None) -> None:
    print("large: text to compiled, unlike scalar equations, targets for 200: <= 4 s, gradients <= 10 s")
    print(f"  {machine.described('jax', 'sympy')}")
    for species in SIZES:
        _show("DPL", species)
    if "rival" in (arguments or sys.argv[1:]):
        _show("rival", SIZES[0])


def _show(form: str, species: int) -> None:
    environment = {**os.environ, "DPL_NO_CACHE": "1", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "bench.large", form, str(species)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{species} equations do not compile:\n{done.stderr}")
    for row in json.loads(done.stdout.splitlines()[-1]):
        print(
            f"  {form:6} {species:6,} {row['what']:20} {row['seconds']:7.2f} s   a call {shown(row['call'])}",
            flush=True,
        )


def _measured(what: str, before: float, function: Any, *arguments: Any) -> dict[str, Any]:
    """Seconds from the text: those `before`, and to trace and compile; and the seconds of a call."""
    import jax

    began = perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    seconds = before + perf_counter() - began
    calls: list[float] = []
    for _ in range(100):
        began = perf_counter()
        jax.block_until_ready(compiled(*arguments))
        calls.append(perf_counter() - began)
    return {"what": what, "seconds": seconds, "call": min(calls)}


def dpl(species: int) -> list[dict[str, Any]]:
    """The right-hand side, its Jacobian, and the gradient of a loss through a run by all params and starts."""
    import jax
    import jax.numpy as jnp

    import dpl.compiler.driver  # noqa: F401  imports take 2 s of their own, here as for the rival
    from dpl import api
    from dpl.runtime import compiling, groups

    jax.config.update("jax_enable_x64", True)
    text = cell(species).dpl("run for 0.5 using rk4(0.005)")  # longer runs leave what is finite
    began = perf_counter()
    scenario = api.compile(text, "cell.dpl").scenarios["Cell"]
    symbolic = perf_counter() - began
    spec = scenario.spec
    assert spec.rhs is not None and spec.start is not None
    c = jax.jit(spec.fixed)(groups.packed(scenario.values_si()))
    fixed = perf_counter() - began
    x = groups.joined(spec.start(c)[0])

    def slopes(x: Any, c: Any) -> Any:
        return groups.joined(spec.rhs(0.3, groups.Joined(x), (), (), c)[0])  # type: ignore[misc]

    rows = [{"what": "text to source", "seconds": symbolic, "call": 0.0}]
    rows.append(_measured("right-hand side", fixed, slopes, x, c))
    rows.append(_measured("1,024 at once", fixed, jax.vmap(slopes, (0, None)), jnp.broadcast_to(x, (1024, species)), c))
    rows.append(_measured("Jacobian", fixed, jax.jacfwd(slopes), x, c))
    values = groups.packed(scenario.values_si())
    assert isinstance(values, groups.Packed)

    def loss(numbers: Any) -> Any:
        return scenario.measures_si(groups.Packed(values.names, numbers, values.others))[0]["off"]

    began = perf_counter()
    gradient = compiling.jit(jax.value_and_grad(loss), scenario.pieces, scenario)
    jax.block_until_ready(gradient(values.numbers))
    first = perf_counter() - began
    began = perf_counter()
    jax.block_until_ready(gradient(values.numbers))
    return [*rows, {"what": "gradient of a run", "seconds": symbolic + first, "call": perf_counter() - began}]


def rival(species: int) -> list[dict[str, Any]]:
    """The same right-hand side and its Jacobian from scalars, each equation a line of Python."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    drawn = cell(species)
    scope: dict[str, Any] = {}
    exec(drawn.jax(), scope)
    x, p = jnp.asarray(list(drawn.starts.values())), jnp.asarray(list(drawn.params.values()))

    def slopes(x: Any, p: Any) -> Any:
        return jnp.stack(scope["rhs"](0.3, tuple(x[i] for i in range(x.size)), tuple(p[i] for i in range(p.size))))

    rows = [_measured("right-hand side", 0.0, slopes, x, p)]
    rows.append(_measured("1,024 at once", 0.0, jax.vmap(slopes, (0, None)), jnp.broadcast_to(x, (1024, species)), p))
    return [*rows, _measured("Jacobian", 0.0, jax.jacfwd(slopes), x, p)]


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps({"DPL": dpl, "rival": rival}[sys.argv[1]](int(sys.argv[2]))))
    else:
        main()
