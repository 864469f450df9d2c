"""What generated programs import and what runs them. Needs JAX; knows no DPL text.

Importing this package switches JAX to 64-bit numbers (`jax_enable_x64`): physics is computed in double precision
unless all values that a program receives are 32-bit.
"""

import jax

jax.config.update("jax_enable_x64", True)
