"""DPL, a declarative language for differentiable models.

`import dpl` loads neither JAX nor SymPy; its names do when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dpl.version import __version__

if TYPE_CHECKING:
    from dpl.api import CompileError, NumericalFailure, Program, compile, load
    from dpl.runtime.artefact import load as load_compiled
    from dpl.warm import keep

__all__ = ["CompileError", "NumericalFailure", "Program", "__version__", "compile", "keep", "load", "load_compiled"]


def __getattr__(name: str) -> Any:
    if name == "CompileError":
        from dpl.language.diagnostics import CompileError

        return CompileError
    if name == "keep":
        from dpl.warm import keep

        return keep
    if name == "load_compiled":
        from dpl.runtime.artefact import load

        return load
    if name in __all__:
        from dpl import api

        return getattr(api, name)
    raise AttributeError(f"module `dpl` has no attribute `{name}`")


def __dir__() -> list[str]:
    return __all__
