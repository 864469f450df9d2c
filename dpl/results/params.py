"""The params and networks of a program in a run's folder: exact arrays to go on from, and a page for people.

`params.safetensors` holds every value in SI by its key in `Program.values`, a network's weights as `aim/w/0`.
`params.json` names them all, with numbers in declared units, shapes, and the hash of the program.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.language.values import dimension
from dpl.results import tensors
from dpl.runtime.program import Program
from dpl.runtime.spec import Network, Param

ARRAYS, PAGE, START = "params.safetensors", "params.json", "start.safetensors"


def source_hash(program: Program) -> str:
    """What tells one program from another: the hash of the generated text."""
    return hashlib.sha256(program.source.encode()).hexdigest()[:16]


def encoded(program: Program) -> bytes:
    """The current values as the bytes of a safetensors file."""
    units = {key: d.unit.text for key, d in _declared(program) if isinstance(d, Param)}
    return tensors.encoded(dict(_arrays(program)), source_hash(program), units)


def page(program: Program) -> dict[str, Any]:
    """What `params.json` says."""
    params: dict[str, Any] = {}
    networks: dict[str, Any] = {}
    for key, declaration in _declared(program):
        value = program.values[key]
        if isinstance(declaration, Network):
            networks[key] = {
                "inputs": [port.name for port in declaration.inputs],
                "outputs": [port.name for port in declaration.outputs],
                "hidden": list(declaration.hidden),
                "activation": declaration.activation,
                "arrays": {name: list(np.shape(leaf)) for name, leaf in _leaves(key, value)},
            }
        else:
            number = None if value is None else _shown(np.asarray(value, float) / declaration.unit.scale)
            params[key] = {"value": number, "unit": declaration.unit.text, "shape": list(declaration.shape)}
    return {"source": source_hash(program), "params": params, "networks": networks}


def start_from(program: Program, path: Path, shown: str) -> list[str]:
    """Makes the values in a file the program's current ones; returns what is to be said of it.

    Args:
        shown: what to call the run in messages.
    Raises:
        ValueError: the file is not there, or lacks a value or has one of another shape or dimension; nothing is
            changed then.
    """
    saved = tensors.read(path)
    if saved is None:
        raise ValueError(f"{shown} has no {path.name}: it ended before there was anything to save")
    wanted = dict(_shapes(program))
    problems = [f"it has no `{name}`" for name in wanted if name not in saved.arrays and not _open(program, name)]
    problems += [
        f"its `{name}` is {_words(saved.arrays[name].shape)}, not {_words(shape)}"
        for name, shape in wanted.items()
        if name in saved.arrays and saved.arrays[name].shape != shape
    ]
    problems += _other_units(program, saved.units)
    if problems:
        shortened = [*problems[:4], f"and {len(problems) - 4} more"] if len(problems) > 4 else problems
        raise ValueError(
            f"{shown} is a run of another model: {'; '.join(shortened)}. "
            "Start from a run of this model (`dpl runs` lists them), or without --from"
        )
    for key in program.values:
        program.values[key] = _filled(key, program.values[key], saved.arrays)
    left = sorted(saved.arrays.keys() - wanted.keys())
    notes = [f"the text of {shown} was another, but all params fit"] if saved.source != source_hash(program) else []
    return notes + ([f"{shown} also has {', '.join(left[:4])}, which nothing here uses"] if left else [])


def _open(program: Program, name: str) -> bool:
    """Whether it is a param without a value, which a run need not have either."""
    return name in program.values and program.values[name] is None


def _other_units(program: Program, before: Mapping[str, str]) -> Iterator[str]:
    """Params whose unit measures something else than before; another unit of the same is none, for values are in SI."""
    for key, declaration in _declared(program):
        if not isinstance(declaration, Param) or key not in before:
            continue
        old, new = before[key], declaration.unit.text
        if old != new and dimension(old) != dimension(new):
            yield f"its `{key}` is in {old or '1'}, not in {new or '1'}"


def _declared(program: Program) -> Iterator[tuple[str, Param | Network]]:
    """Every key of the program's values with its declaration, once."""
    found: dict[str, Param | Network] = {}
    for scenario in program.scenarios.values():
        for declaration in (*scenario.spec.params, *scenario.spec.networks):
            found.setdefault(scenario.keys[declaration.name], declaration)
    yield from found.items()


def _arrays(program: Program) -> Iterator[tuple[str, np.ndarray]]:
    for key, value in program.values.items():
        for name, leaf in _leaves(key, value):
            yield name, np.asarray(leaf)


def _shapes(program: Program) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The name and shape of every array that a whole set of values has."""
    for key, declaration in _declared(program):
        if isinstance(declaration, Network):
            yield from ((name, np.shape(leaf)) for name, leaf in _leaves(key, program.values[key]))
        else:
            yield key, declaration.shape


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The arrays of a value by name: a number's is its key, a tree's that of the path to it. None has none."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(value)[0]:
        yield "/".join([key, *(jax.tree_util.keystr((step,), simple=True) for step in path)]), leaf


def _filled(key: str, value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The value with saved arrays for its own; of the kind of array that it had."""
    names = [name for name, _ in _leaves(key, value)] or [key]
    if value is None or names == [key]:
        return arrays.get(key, value)
    return jax.tree.unflatten(jax.tree.structure(value), [jnp.asarray(arrays[name]) for name in names])


def _words(shape: tuple[int, ...]) -> str:
    return "one number" if shape == () else f"of shape {'x'.join(map(str, shape))}"


def _shown(value: np.ndarray) -> Any:
    """A number or nested lists of numbers; null for what JSON cannot say."""
    if value.ndim:
        return [_shown(part) for part in value]
    return value.item() if math.isfinite(value.item()) else None
