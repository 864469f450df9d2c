"""Compiled programs as files of their own: what `dpl emit --compiled` writes and `dpl.load_compiled` reads.

A zip of `header.json` and one serialised function of `jax.export` for each thing that a scenario can do. To call them
nothing of DPL is traced or compiled. No pickles.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from dpl.runtime import kept, noise, rows, trajectory, using
from dpl.runtime.spec import Unit
from dpl.version import __version__

if TYPE_CHECKING:
    from dpl.runtime.program import Program, Scenario

HEADER, FORMAT = "header.json", 1
PLATFORMS = ("cpu", "cuda", "tpu")


# ---------------------------------------------------------------- writing


def encoded(program: Program, platforms: Sequence[str] = PLATFORMS) -> bytes:
    """The scenarios of a program with its current values as defaults, for all of these platforms.

    Raises:
        ValueError: a scenario has a value that only the caller can say.
        ImportError: JAX writes with flatbuffers, which is not installed.
    """
    header: dict[str, Any] = {"format": FORMAT, "dpl": __version__, "jax": jax.__version__, "name": program.name}
    header |= {"doc": program.doc, "platforms": list(platforms), "scenarios": {}}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, scenario in program.scenarios.items():
            header["scenarios"][name] = _written(archive, scenario, platforms)
        archive.writestr(HEADER, json.dumps(header, ensure_ascii=False, indent=1))
    return file.getvalue()


def write(program: Program, path: str | os.PathLike[str]) -> None:
    """Writes `encoded` all or nothing, over an earlier one at most. Raises as that does."""
    target = Path(path)
    if target.exists() and not _ours(target):
        raise ValueError(f"{target} exists and was not written by `dpl emit --compiled`: choose another name")
    if find_spec("flatbuffers") is None:
        raise ImportError("a compiled program needs flatbuffers, which is not installed: pip install flatbuffers")
    data, beside = encoded(program), target.with_name(f".{target.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def _ours(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return HEADER in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def _written(archive: zipfile.ZipFile, scenario: Scenario, platforms: Sequence[str]) -> dict[str, Any]:
    """What the header says of a scenario, whose functions are in the archive."""
    from jax import export

    scenario.method  # noqa: B018  chosen here, outside any trace
    units = _units(scenario)
    every = {n: v for n, v in scenario.values_si().items() if n != rows.NAME}
    values = {n: jax.tree.map(partial(_array, _scale(units, n)), v) for n, v in every.items()}
    times = trajectory.grid(scenario.spec, scenario.method, None)
    unit = scenario.spec.run.unit if scenario.spec.run else None
    told: dict[str, Any] = {
        "doc": scenario.spec.doc,
        "solver": f"{scenario.method.name} ({scenario.explanation})",
        "arguments": [
            _argument(name, value, units[name].text if name in units else "") for name, value in values.items()
        ],
        "units": {q.name: q.unit.text for q in (*scenario.spec.observed, *scenario.spec.measures)},
        "time": {"unit": unit.text if unit else "", "values": (times / (unit.scale if unit else 1.0)).tolist()},
        "functions": {},
    }
    for name, (function, inputs) in _functions(scenario, values, times).items():
        leaves, tree = jax.tree.flatten(inputs)
        structures: list[Any] = []

        def flat(*leaves: Any, function: Any = function, tree: Any = tree, structures: list[Any] = structures) -> Any:
            results, structure = jax.tree.flatten(function(*jax.tree.unflatten(tree, leaves)))
            structures.append(kept.encoded(jax.tree.unflatten(structure, range(len(results)))))
            return results

        shapes = [jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype) for leaf in leaves]
        exported = export.export(jax.jit(flat), platforms=platforms)(*shapes)
        archive.writestr(f"{scenario.name}/{name}", bytes(exported.serialize()))
        results = [{"shape": list(a.shape), "dtype": str(a.dtype)} for a in exported.out_avals]
        told["functions"][name] = {"structure": structures[-1], "results": results}
    return told


def _units(scenario: Scenario) -> dict[str, Unit]:
    spec = scenario.spec
    return {d.name: d.unit for d in (*spec.params, *spec.givens, *spec.starts)}


def _scale(units: Mapping[str, Unit], name: str) -> float:
    return units[name].scale if name in units else 1.0


def _array(scale: float, leaf: Any) -> np.ndarray:
    array = np.asarray(leaf, jnp.result_type(leaf))
    return array if scale == 1.0 else array / np.asarray(scale, array.dtype)


def _argument(name: str, value: Any, unit: str) -> dict[str, Any]:
    leaves, tree = jax.tree.flatten(value)
    structure = kept.encoded(jax.tree.unflatten(tree, range(len(leaves))))
    told = [{"shape": list(a.shape), "dtype": str(a.dtype), "value": _listed(a)} for a in leaves]
    return {"name": name, "unit": unit, "structure": structure, "leaves": told}


def _listed(array: np.ndarray) -> Any:
    """The numbers in order, in which what is not finite is a word: JSON has no number for it."""
    return [x if math.isfinite(x) else str(x) for x in array.ravel().tolist()]


def _functions(
    scenario: Scenario, values: dict[str, Any], times: np.ndarray
) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """By name, what is exported and an example of its arguments: values in declared units first."""
    from dpl.runtime.program import honest

    spec, units = scenario.spec, _units(scenario)
    numbers = {n for n in values if n != noise.NAME and not n.startswith(using.PREFIX)}

    def inward(values: Any) -> dict[str, Any]:
        return {
            n: jax.tree.map(lambda leaf, n=n: leaf * _scale(units, n), v) if n in units else v
            for n, v in values.items()
        }

    def measures(values: Any) -> dict[str, Any]:
        found = honest(*scenario.measures_si(inward(values)))
        return {m.name: found[m.name] / m.unit.scale for m in scenario.spec.measures}

    def losses(moving: Any, still: Any) -> dict[str, Any]:
        found, _ = scenario.measures_si(inward({**moving, **still}))
        wanted = [m for m in scenario.spec.measures if m.kind == "loss"] or scenario.spec.measures
        return {m.name: found[m.name] / m.unit.scale for m in wanted}

    def gradient(values: Any) -> Any:
        moving = {n: v for n, v in values.items() if n in numbers}
        still = {n: v for n, v in values.items() if n not in numbers}
        return jax.jacrev(partial(losses, still=still))(moving)

    def simulate(values: Any) -> dict[str, Any]:
        rows, _, status = trajectory.trajectory(spec, scenario.method, times, inward(values))
        scales = {o.name: o.unit.scale for o in spec.observed}
        return {
            "rows": {n: row / scales[n] if row.dtype != bool else row for n, row in rows.items() if n in scales},
            "measures": measures(values),
            "status": status,
        }

    found: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {"simulate": (simulate, (values,))}
    if scenario.spec.measures:
        found |= {"measures": (measures, (values,)), "gradient": (gradient, (values,))}
    if spec.run is None or spec.clocks or not spec.states or spec.start is None:
        return found
    modes = {f"rhs {m.name}" if m.name else "rhs": m for m in spec.modes} or {"rhs": spec}
    start = spec.start(spec.fixed(inward(values)) if not spec.modes else spec.modes[0].fixed(inward(values)))
    x = {s.name: _array(s.unit.scale, a) for s, a in zip(spec.states, start[0], strict=True)}

    def slopes(values: Any, t: Any, x: Any, rules: Any) -> dict[str, Any]:
        c = rules.fixed(inward(values))
        si = tuple(x[s.name] * s.unit.scale for s in spec.states)
        found, _ = rules.rhs(t, si, start[1], start[2], c)
        return {s.name: jnp.asarray(d, float) / s.unit.scale for s, d in zip(spec.states, found, strict=True)}

    at = np.asarray(spec.run.start, float)
    return found | {name: (partial(slopes, rules=rules), (values, at, x)) for name, rules in modes.items() if rules.rhs}


# ---------------------------------------------------------------- reading


def load(path: str | os.PathLike[str]) -> Compiled:
    """The functions of a compiled program.

    Raises:
        ValueError: the file is none of `dpl emit --compiled`, is not whole, or of a version that this one cannot read.
        OSError: there is no such file.
    """
    data, where = Path(path).read_bytes(), os.fspath(path)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        header = json.loads(archive.read(HEADER))
        form = header["format"]
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError):
        raise ValueError(f"{where} is no compiled program, or not whole: `dpl emit --compiled` writes one") from None
    if form != FORMAT:
        raise ValueError(f"{where} is of format {form}, and DPL {__version__} reads format {FORMAT}: write it anew")
    if jax.default_backend().replace("gpu", "cuda") not in header["platforms"]:
        raise ValueError(f"{where} is for {', '.join(header['platforms'])}, and JAX runs on {jax.default_backend()}")
    return Compiled(where, header, archive)


@dataclass(frozen=True, eq=False)
class Compiled:
    """A compiled program: `scenarios` by name; `header` is what the file says of itself."""

    path: str
    header: Mapping[str, Any]
    archive: zipfile.ZipFile = field(repr=False)

    @cached_property
    def scenarios(self) -> dict[str, CompiledScenario]:
        return {name: CompiledScenario(self, name, told) for name, told in self.header["scenarios"].items()}


class CompiledScenario:
    """What a scenario can do, as functions of values in declared units; those not given are as when it was written."""

    def __init__(self, program: Compiled, name: str, told: Mapping[str, Any]):
        self.name, self.doc, self.units = name, told["doc"], told["units"]
        self.time = np.asarray(told["time"]["values"])
        """The times of what `simulate` returns, in the unit of the run"""
        self.functions: tuple[str, ...] = tuple(told["functions"])
        self._program, self._told = program, told
        self._loaded: dict[str, Callable[..., Any]] = {}

    @cached_property
    def values(self) -> dict[str, Any]:
        """Every value as when the file was written."""
        return {a["name"]: kept.decoded(a["structure"], [_read(leaf) for leaf in a["leaves"]]) for a in self._arguments}

    @property
    def _arguments(self) -> Sequence[Mapping[str, Any]]:
        return self._told["arguments"]

    def simulate(self, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """`rows`: every observed quantity over `time`; `measures`; `status` as in `Run.code`, 0 if all is well."""
        return self.call("simulate", values)

    def measures(self, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Every loss and metric."""
        return self.call("measures", values)

    def gradient(self, values: Mapping[str, Any] | None = None) -> dict[str, dict[str, Any]]:
        """Of each loss (of each metric, without losses) the derivative to every param, given, start and network."""
        return self.call("gradient", values)

    def rhs(
        self, t: Any, x: Mapping[str, Any], values: Mapping[str, Any] | None = None, mode: str = ""
    ) -> dict[str, Any]:
        """The time derivatives [declared unit of the state per second] at time `t` [s] of the states `x` by name."""
        name = f"rhs {mode}" if mode else "rhs"
        states = {n: jnp.asarray(v, float) for n, v in x.items()}
        return self.call(name, values, jnp.asarray(t, float), states)

    def call(self, name: str, values: Mapping[str, Any] | None = None, *more: Any) -> Any:
        """What one of `functions` returns.

        Raises:
            ValueError: no such function or value, or a value of another shape.
        """
        if name not in self.functions:
            raise ValueError(f"{self.name} has no function `{name}`; it has {', '.join(self.functions)}")
        if name not in self._loaded:
            self._loaded[name] = self._read_function(name)
        given = {**self.values}
        for key, value in (values or {}).items():
            if key not in given:
                close = get_close_matches(key, list(given), n=1)
                hint = f"did you mean `{close[0]}`?" if close else f"there are {', '.join(given)}"
                raise ValueError(f"{self.name} has no value `{key}`; {hint}")
            given[key] = jax.tree.map(partial(_like, key), given[key], value)
        leaves = jax.tree.leaves((given, *more))
        return kept.decoded(self._told["functions"][name]["structure"], self._loaded[name](*leaves))

    def _read_function(self, name: str) -> Callable[..., Any]:
        from jax import export

        path, header = self._program.path, self._program.header
        try:
            data = self._program.archive.read(f"{self.name}/{name}")
            return jax.jit(export.deserialize(bytearray(data)).call)
        except (KeyError, zipfile.BadZipFile):
            raise ValueError(f"{path} is not whole: {self.name}/{name} cannot be read; write it anew") from None
        except Exception as error:
            told = f"it was written by JAX {header['jax']}, and this is JAX {jax.__version__}: write it anew"
            raise ValueError(f"{path} holds what JAX cannot read ({error}); {told}") from None


def _read(leaf: Mapping[str, Any]) -> np.ndarray:
    numbers = [float(x) if isinstance(x, str) else x for x in leaf["value"]]
    return np.asarray(numbers, leaf["dtype"]).reshape(leaf["shape"])


def _like(name: str, current: Any, value: Any) -> Any:
    array = jnp.asarray(value, current.dtype)
    if array.shape != np.shape(current):
        raise ValueError(f"`{name}` must be of shape {np.shape(current)}, not {array.shape}")
    return array
