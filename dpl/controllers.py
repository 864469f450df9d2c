"""Trained controllers, models and networks of a program, each to be written as a file of its own."""

from __future__ import annotations

import copy
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from dpl.language import syntax
from dpl.language.model import CheckedModel, NetworkUse, System
from dpl.runtime import export
from dpl.runtime import program as runtime
from dpl.version import __version__

if TYPE_CHECKING:
    from dpl.compiler.extract import Extract


class Controllers:
    """What a program can export, by name: `controllers["Pilot"]`.

    A name is that of a controller or model, of a part (`pilot`, or `SwingUp.pilot` where scenarios differ) or of a
    network. Iterating gives the names of models and networks.
    """

    def __init__(self, program: runtime.Program, model: CheckedModel):
        self._program, self._model = program, model

    @cached_property
    def _found(self) -> list[Controller]:
        return list(_candidates(self._program, self._model))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(c.name for c in self._found))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return f"Controllers({', '.join(self)})"

    def __getitem__(self, name: str) -> Controller:
        """Raises ValueError where the name means nothing, or several things that are not the same."""
        name = unicodedata.normalize("NFKC", name)
        for kind in ("full", "name", "path"):
            found = [c for c in self._found if getattr(c, kind) == name]
            if found:
                return _one(name, found)
        known = list(dict.fromkeys(n for c in self._found for n in (c.name, c.path, c.full)))
        close = get_close_matches(name, known, n=3)
        listed = f"there are {', '.join(self)}" if self._found else "no scenario has a part or calls a network"
        hint = f"did you mean {' or '.join(f'`{c}`' for c in close)}?" if close else listed
        raise ValueError(f"{self._program.name} has nothing to export by the name `{name}`; {hint}")


class Controller:
    """One part, model or network of a program. It is read when it is exported: with the values of that moment."""

    def __init__(
        self,
        program: runtime.Program,
        name: str,
        path: str,
        scenario: str,
        extract: Callable[[], Extract],
        keys: Mapping[str, str],
    ):
        self._program, self._extracted, self._keys = program, extract, keys
        self.name, self.path = name, path
        self.full = f"{scenario}.{path}" if scenario else path

    def __repr__(self) -> str:
        return f"Controller({self.full}: {self.name})"

    @property
    def networks(self) -> list[str]:
        """The paths of the networks whose weights it holds."""
        return [use.path for use in self._extract.networks]

    @cached_property
    def _extract(self) -> Extract:
        return self._extracted()

    def source(self, params: Mapping[str, Any] | None = None) -> str:
        """The Python file as text; see `export`."""
        from dpl.compiler.export import numpy_source

        listed = {path: _listed(value) for path, value in self._values(params).items()}
        return numpy_source(self._extract, listed, __version__)

    def export(self, path: str | os.PathLike[str], params: Mapping[str, Any] | None = None) -> None:
        """Writes the controller as a Python file that needs NumPy alone and holds its weights and params.

        Args:
            path: where to; an earlier export is replaced.
            params: values other than the current ones [declared units], networks as pytrees, by dotted name.
        Raises:
            CompileError: the block is no function of its inputs and sampled states.
            ValueError: a param has no value, or the path holds a file of another kind.
        """
        _write({Path(path): self.source(params)})

    def c_source(
        self, header: str, params: Mapping[str, Any] | None = None, *, float32: bool = False
    ) -> tuple[str, str]:
        """The C file and its header as texts; see `export_c`."""
        from dpl.compiler.export_c import c_source

        listed = {path: _listed(value) for path, value in self._values(params).items()}
        return c_source(self._extract, listed, __version__, header, float32)

    def export_c(
        self, path: str | os.PathLike[str], params: Mapping[str, Any] | None = None, *, float32: bool = False
    ) -> None:
        """Writes the controller as C99 that needs <math.h> alone, and beside it the header of the same name.

        Args:
            path: where to, ending in `.c`; an earlier export is replaced.
            params: as those of `export`.
            float32: in single precision.
        Raises:
            CompileError: the block is no function of its inputs and states.
            ValueError: a param has no value, or a path holds a file of another kind.
        """
        target = Path(path)
        if target.suffix != ".c":
            raise ValueError(f"C is written to a file that ends in `.c`, not to {target}")
        header = target.with_suffix(".h")
        source, declared = self.c_source(header.name, params, float32=float32)
        _write({target: source, header: declared})

    def function(self, params: Mapping[str, Any] | None = None) -> Callable[..., Any]:
        """The controller as a pure JAX function of one call: of the inputs in order [declared units].

        With states it takes a dict of them last. It returns the output (a dict of several by name), and with states
        also the dict of the next ones.
        """
        from dpl.compiler.export import jax_source

        e = self._extract
        outputs, states = ([q.name for q in quantities] for quantities in (e.outputs, e.states))
        return export.function(jax_source(e), self.name, self._values(params), outputs, states)

    def export_jax(self, path: str | os.PathLike[str], params: Mapping[str, Any] | None = None) -> None:
        """Writes `function` over a leading batch axis as serialised StableHLO, for `jax.export.deserialize`."""
        e = self._extract
        if not e.inputs and not e.states:
            raise ValueError(f"`{self.name}` takes nothing, so there is no batch of it: export it as Python")
        inputs, states = ({q.name: q.shape for q in quantities} for quantities in (e.inputs, e.states))
        Path(path).write_bytes(export.serialized(self.function(params), inputs, states))

    # ------------------------------------------------------------ values

    def _values(self, params: Mapping[str, Any] | None) -> dict[str, Any]:
        """The SI values of every param and network that the function reads, by path."""
        stored = self._changed(params)
        paths = {q.name: q.default for q in self._extract.params} | {u.path: None for u in self._extract.networks}
        values = {p: stored[self._keys[p]] if p in self._keys else declared for p, declared in paths.items()}
        missing = ", ".join(f"`{p}`" for p, value in values.items() if value is None)
        if missing:
            raise ValueError(f"`{self.name}` has no value for {missing}: find one by a task, or give it in `params`")
        return {p: np.asarray(v, float) if isinstance(v, tuple | float) else v for p, v in values.items()}

    def _changed(self, params: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """The program's values [SI], with those given instead of the current ones."""
        if not params:
            return self._program.values
        changed = copy.copy(self._program)
        changed.values = dict(self._program.values)
        for name, value in params.items():
            name = unicodedata.normalize("NFKC", name)
            changed.set(self._keys.get(name) or self._keys.get(f"{self.path}.{name}") or name, value)
        return changed.values


def _write(texts: Mapping[Path, str]) -> None:
    """Each text to its file, where that is free or an earlier export."""
    from dpl.compiler.export import MARK

    for target in texts:
        if target.exists() and MARK not in target.read_text(encoding="utf-8", errors="replace")[:1000]:
            raise ValueError(f"{target} exists and is no export of DPL: choose another name")
    for target, text in texts.items():
        target.write_text(text, encoding="utf-8")


def _listed(value: Any) -> Any:
    """Arrays as nested lists."""
    if isinstance(value, Mapping):
        layers = cast("Mapping[str, tuple[Any, ...]]", value)
        return {kind: [np.asarray(a, float).tolist() for a in arrays] for kind, arrays in layers.items()}
    return np.asarray(value, float).tolist()


# ---------------------------------------------------------------- what there is


def _candidates(program: runtime.Program, model: CheckedModel) -> Iterator[Controller]:
    """Every part and network of every scenario, and the file's models of which nothing is made."""
    from dpl.compiler.extract import extract_block, extract_network

    made: set[str] = set()
    for name, system in model.systems.items():
        keys = program.scenarios[name].keys
        for part in system.parts:
            assert isinstance(part.item, syntax.Model)
            made.add(part.item.name)
            yield Controller(program, part.item.name, part.path, name, partial(extract_block, system, part), keys)
        for use in _networks(system):
            if use.path in keys:
                yield Controller(program, use.path, use.path, name, partial(extract_network, use, system), keys)
    for name, system in model.models.items():
        if name not in made:
            shared = [v.path for v in system.variables if isinstance(v.scope.item, syntax.File)]
            shared += [use.path for use in _networks(system) if isinstance(use.scope.item, syntax.File)]
            keys = {path: path for path in shared if path in program.values}
            yield Controller(program, name, name, "", partial(extract_block, system, system.root), keys)


def _networks(system: System) -> list[NetworkUse]:
    """The networks of a system's blocks, and those of files that they call."""
    scopes = [system.root, *system.parts]
    files = [s.file.names.values() for s in scopes if s.file is not None]
    found = (n for names in files for n in names if isinstance(n, NetworkUse) and n.options is not None)
    return list(dict.fromkeys((*system.networks, *found)))


def _one(name: str, found: list[Controller]) -> Controller:
    """The first of several that export the same text."""
    if len(found) > 1 and len({_text(c) for c in found}) > 1:
        listed = ", ".join(f"`{c.full}`" for c in found)
        raise ValueError(f"`{name}` is not one thing: there are {listed}; say which")
    return found[0]


def _text(controller: Controller) -> str:
    """What would be exported; what has no value yet is like nothing else."""
    try:
        return controller.source()
    except ValueError:
        return controller.full
