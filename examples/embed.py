"""Use a DPL file from Python: simulate, differentiate, run its tasks. `python examples/embed.py`"""

from pathlib import Path

import jax
import jax.numpy as jnp

import dpl

program = dpl.load(Path(__file__).parent / "cannon.dpl")
aimed = program.scenarios["Aimed"]

# One run, as a person reads it: numbers in the units of the text.
run = aimed.simulate(target=4.0)
print(f"an untrained network misses 4 m by {run.metrics['error']:.2f} m")

# The same as a pure function of pytrees, in declared units: it may be compiled, differentiated and batched.
params, givens = aimed.params, aimed.givens
targets = jnp.linspace(1.0, 9.0, 17)


def squared_error(params, target):
    return aimed.evaluate(params, {**givens, "target": target})["error"] ** 2


def mean_squared_error(params):
    return jnp.mean(jax.vmap(squared_error, in_axes=(None, 0))(params, targets))


value, gradient = jax.jit(jax.value_and_grad(mean_squared_error))(params)
size = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient)))
print(f"mean squared error {value:.3f} m², length of its gradient {size:.3f}")

# The tasks of the file. What a task finds is a value like `params`.
results = program.run("gunner")
trained = results["gunner"].params
print(f"after training: {jax.jit(mean_squared_error)(trained):.2e} m²")
