"""Programs that are traced once and kept: read back by a later process, which then traces nothing.

What is kept is StableHLO with the structure of its results (`jax.export`), no pickle. A program is named by a digest of
all that shapes it: the generated module, what the task is, the types of its arguments, and the versions and settings of
everything that traces. What cannot be named or exported is traced as ever.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache, partial
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from dpl import cache as files
from dpl.runtime import memory

KIND = "programs"
NONE = b"cannot be exported"
"""Stands for a program that has to be traced each time"""
TRACING = ("jax", "jaxlib", "optax", "diffrax", "equinox", "lineax", "optimistix")
"""Packages whose code shapes a program"""
APART = ("cache", "log", "traceback", "dump", "transfer", "address", "detailed", "_in_locations")
"""Settings of JAX that shape no program have one of these in their names"""
OURS = ("dpl.", "optax.")
"""Where the named tuples of results are declared"""


class Keeping:
    """Whether this process keeps its programs, and where: nowhere, unless it is asked to."""

    place: Path | None = None


class Unnamed(Exception):
    """Something that shapes a program has no name."""


# ---------------------------------------------------------------- names


def named(thing: Any) -> str:
    """A text that is the same for equal things, in every process.

    Raises:
        Unnamed: a thing of an unknown kind.
    """
    told = getattr(thing, "identity", None)
    if told is not None and not isinstance(thing, type):
        return f"{type(thing).__qualname__}<{told()}>"
    match thing:
        case None | bool() | int() | float() | str():
            return repr(thing)
        case tuple() | list():
            return f"({','.join(map(named, thing))})"
        case set() | frozenset():
            return f"{{{','.join(sorted(map(named, thing)))}}}"
        case np.ndarray():
            return f"{thing.dtype}{thing.shape}{thing.tobytes().hex()}"
        case partial():
            return f"partial({named((thing.func, thing.args, thing.keywords))})"
        case FunctionType():
            inner = tuple(cell.cell_contents for cell in thing.__closure__ or ())
            code = thing.__code__
            return f"{thing.__module__}.{thing.__qualname__}:{code.co_firstlineno}:{named((inner, thing.__defaults__))}"
        case type():
            return f"{thing.__module__}.{thing.__qualname__}"
        case _ if isinstance(thing, Mapping):
            return f"{{{','.join(f'{named(k)}:{named(thing[k])}' for k in sorted(thing))}}}"
        case _ if is_dataclass(thing):
            inner = tuple((f.name, getattr(thing, f.name)) for f in fields(thing))
            return f"{type(thing).__module__}.{type(thing).__qualname__}{named(inner)}"
        case _:
            raise Unnamed(type(thing).__qualname__)


@cache
def _versions() -> str:
    return ",".join(f"{name} {metadata.version(name)}" for name in TRACING if find_spec(name))


def _surroundings() -> str:
    """What shapes a program besides itself."""
    settings = {k: str(v) for k, v in jax.config.values.items() if not any(word in k for word in APART)}
    device = jax.devices()[0]
    here = f"{jax.default_backend()} {device.device_kind} {jax.device_count()} {jax.config.read('jax_enable_x64')}"
    return f"{_versions()}\n{here}\n{sorted(settings.items())}"


def answer(question: str, of: Any, ask: Callable[[], Any]) -> Any:
    """What `ask` returns, in JSON; where programs are kept, what it returned before.

    Args:
        of: what it depends on, for `named`; None where nobody knows.
    """
    if Keeping.place is None or of is None:
        return ask()
    try:
        path = Keeping.place / files.key(question, named(of), _surroundings())
        kept = files.read(path)
        if kept is not None:
            return json.loads(kept)
    except (Unnamed, ValueError):
        return ask()
    found = ask()
    files.write(path, json.dumps(found).encode())
    return found


# ---------------------------------------------------------------- the structure of results


def encoded(tree: Any) -> Any:
    """The structure of a tree as JSON; its leaves become their numbers.

    Raises:
        Unnamed: a container of an unknown kind.
    """
    match tree:
        case None | int():
            return tree
        case dict():
            return {"dict": [[_text(name), encoded(value)] for name, value in tree.items()]}
        case tuple() if hasattr(tree, "_fields"):
            kind = type(tree)
            if not kind.__module__.startswith(OURS):
                raise Unnamed(kind.__qualname__)
            return {"named": [kind.__module__, kind.__qualname__, [encoded(value) for value in tree]]}
        case tuple() | list():
            return {type(tree).__name__: [encoded(value) for value in tree]}
        case _:
            raise Unnamed(type(tree).__qualname__)


def _text(name: Any) -> str:
    if not isinstance(name, str):
        raise Unnamed(f"the key {name!r}")
    return name


def decoded(form: Any, leaves: Sequence[Any]) -> Any:
    """The tree of a structure, with these leaves."""
    if form is None:
        return None
    if isinstance(form, int):
        return leaves[form]
    ((kind, inner),) = form.items()
    match kind:
        case "dict":
            return {name: decoded(value, leaves) for name, value in inner}
        case "tuple":
            return tuple(decoded(value, leaves) for value in inner)
        case "list":
            return [decoded(value, leaves) for value in inner]
        case _:
            module, name, values = inner
            return _named_tuple(module, name)(*(decoded(value, leaves) for value in values))


@cache
def _named_tuple(module: str, name: str) -> Any:
    if not module.startswith(OURS):
        raise Unnamed(module)
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    if not (isinstance(found, type) and issubclass(found, tuple) and hasattr(found, "_fields")):
        raise Unnamed(name)
    return found


# ---------------------------------------------------------------- programs


class Program:
    """`jit(function)` of positional arguments; where programs are kept, one that was traced before is read back.

    It is compiled, and its memory looked at, before anything of it runs.

    Args:
        function: pure; of trees of arrays.
        of: what shapes it besides the types of its arguments, for `named`.
        jit: `jax.jit` with the options that the program is to be compiled with.
        donated: whether the first argument is given up.
    """

    def __init__(self, function: Callable[..., Any], of: Any, jit: Callable[..., Any], donated: bool = False):
        self._function, self._of, self._jit, self._donated = function, of, jit, donated
        self._plain = jit(function, donate_argnums=0) if donated else jit(function)
        self._made: dict[Any, Callable[[Sequence[Any]], Any]] = {}
        self.needed = 0
        """What the latest one takes of memory [byte]"""

    @property
    def forms(self) -> int:
        """How many programs were made: one for each form of the arguments."""
        return len(self._made)

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns.

        Raises:
            MemoryNeeded: it takes more memory than there is.
        """
        leaves, tree = jax.tree.flatten(arguments)
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return self._plain(*arguments)
        form = tree, tuple(_type(leaf) for leaf in leaves)
        if form not in self._made:
            self._made[form] = self._program(arguments, leaves, tree, form)
        return self._made[form](leaves)

    def _program(self, arguments: Any, leaves: Sequence[Any], tree: Any, form: Any) -> Callable[[Sequence[Any]], Any]:
        """What takes the leaves and returns the result."""
        kept = (
            None if Keeping.place is None or jax.device_count() > 1 else self._kept(Keeping.place, leaves, tree, form)
        )
        if kept is None:
            compiled = self._plain.lower(*arguments).compile()
            self.needed = memory.check(self._function.__name__, compiled)
            return lambda leaves: compiled(*jax.tree.unflatten(tree, leaves))
        program, structure = kept

        def call(*leaves: Any) -> Any:
            return program.call(*leaves)

        call.__name__ = self._function.__name__
        given = len(jax.tree.leaves(arguments[0])) if self._donated else 0
        compiled = self._jit(call, donate_argnums=tuple(range(given))).lower(*leaves).compile()
        self.needed = memory.check(self._function.__name__, compiled)
        return lambda leaves: decoded(structure, compiled(*leaves))

    def _kept(self, place: Path, leaves: Sequence[Any], tree: Any, form: Any) -> tuple[Any, Any] | None:
        """The traced program, of leaves, and the structure of its results; None where it cannot be kept."""
        if find_spec("flatbuffers") is None:
            return None
        try:
            name = f"{self._function.__qualname__} {named(self._of)}"
            path = place / files.key(name, str(form), _surroundings())
            if files.read(path) == NONE:
                return None
            kept = _read(path)
            if kept is None:
                kept = self._traced(leaves, tree)
                if kept is None:
                    files.write(path, NONE)
                else:
                    _write(path, *kept)
        except Exception:  # whatever it is: traced in the ordinary way it is told, or does no harm
            return None
        return kept

    def _traced(self, leaves: Sequence[Any], tree: Any) -> tuple[Any, Any] | None:
        """None where JAX does not export what the program holds, as a solver's checks on the host; not tried again."""
        try:
            return _exported(self._function, leaves, tree)
        except NotImplementedError:
            return None


def _type(leaf: Any) -> tuple[Any, ...]:
    kind = jax.typeof(leaf)
    place = len(leaf.sharding.device_set) if isinstance(leaf, jax.Array) else 1
    return kind.shape, str(kind.dtype), bool(getattr(kind, "weak_type", False)), place


def _exported(function: Callable[..., Any], leaves: Sequence[Any], tree: Any) -> tuple[Any, Any]:
    """The traced program, of leaves, and the structure of its results."""
    from jax import export  # 0.1 s, and not needed by all

    structures: list[Any] = []

    def flat(*leaves: Any) -> Any:
        results, structure = jax.tree.flatten(function(*jax.tree.unflatten(tree, leaves)))
        structures.append(encoded(jax.tree.unflatten(structure, range(len(results)))))
        return results

    return export.export(jax.jit(flat))(*leaves), structures[-1]


def _write(path: Path, program: Any, structure: Any) -> None:
    files.write(path, json.dumps(structure).encode() + b"\n" + bytes(program.serialize()))


def _read(path: Path) -> tuple[Any, Any] | None:
    data = files.read(path)
    if data is None:
        return None
    from jax import export

    structure, _, program = data.partition(b"\n")
    return export.deserialize(bytearray(program)), json.loads(structure)
