"""The names of each file: its own items and what it imports, from beside it or from the library.

An import reads `NAME.dpl` in the importing file's folder, else in the library; never outside the folder tree of the
file that was asked for and the library's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from dpl.language import syntax
from dpl.language.builtins import FUNCTIONS
from dpl.language.diagnostics import CompileError, Diagnostic, Label, did_you_mean
from dpl.language.source import Source, Span

LIBRARY = Path(__file__).resolve().parent.parent / "models"

MOST_IMPORTS = 100

Parse = Callable[[Path], syntax.File]


@dataclass(eq=False)
class Namespace:
    """The file-level names of one file; an imported name maps to the namespace that declares it."""

    file: syntax.File
    names: dict[str, tuple[syntax.Item, Namespace]] = field(default_factory=dict[str, "tuple[syntax.Item, Namespace]"])

    broken: set[str] = field(default_factory=set[str])
    """Names whose import failed: reported where they are imported, not where they are used"""

    def files(self) -> Iterator[syntax.File]:
        """This file and those it uses, each once."""
        seen: set[int] = set()
        waiting = [self]
        while waiting:
            space = waiting.pop()
            if id(space) not in seen:
                seen.add(id(space))
                yield space.file
                waiting += [home for _, home in space.names.values()]


def resolve(file: syntax.File, parse: Parse, problems: list[Diagnostic]) -> Namespace:
    """The namespace of `file`, with every import followed; problems are added to the list."""
    path = Path(file.source.path).resolve() if file.source.path else None
    loader = _Loader(parse, path.parent if path else None, problems)
    return loader.load(file, path, ())


@dataclass
class _Loader:
    parse: Parse
    tree: Path | None
    problems: list[Diagnostic]
    loaded: dict[Path, Namespace] = field(default_factory=dict[Path, Namespace])

    def load(self, file: syntax.File, path: Path | None, chain: tuple[Path, ...]) -> Namespace:
        space = Namespace(file)
        if path:
            self.loaded[path] = space
            chain = (*chain, path)
        for item in file.items:
            match item:
                case syntax.Import():
                    self._import(item, space, path, chain)
                case _:
                    _declare(space, item, space, self.problems)
        return space

    def _import(self, item: syntax.Import, space: Namespace, path: Path | None, chain: tuple[Path, ...]) -> None:
        before = len(self.problems)
        self._follow(item, space, path, chain)
        if len(self.problems) > before:
            space.broken |= {n.name for n in item.names if n.name not in space.names}

    def _follow(self, item: syntax.Import, space: Namespace, path: Path | None, chain: tuple[Path, ...]) -> None:
        target = self._locate(item, path)
        if target is None:
            return
        if len(chain) > MOST_IMPORTS:
            message = f"files import each other more than {MOST_IMPORTS} deep"
            self.problems.append(Diagnostic("too-deep", message, Label(item.module_span, "imported here")))
            return
        if target in chain:
            names = [p.stem for p in chain[chain.index(target) :]]
            cycle = " -> ".join([*names, target.stem])
            self.problems.append(
                Diagnostic(
                    "import-cycle", f"files import each other: {cycle}", Label(item.module_span, "closes the cycle")
                )
            )
            return
        home = self.loaded.get(target)
        if home is None:
            try:
                parsed = self.parse(target)
            except CompileError as error:
                self.problems += error.diagnostics
                self.loaded[target] = Namespace(syntax.File(Source(target.name, ""), None, ()))
                return
            home = self.load(parsed, target, chain)
        if not home.file.items:
            space.broken |= {n.name for n in item.names}
            return  # it did not parse: its own problems are reported, not those of its users
        for name in item.names:
            self._bring(name, item, home, space)

    def _bring(self, name: syntax.ImportedName, item: syntax.Import, home: Namespace, space: Namespace) -> None:
        found = home.names.get(name.name)
        if name.name in home.broken:
            space.broken.add(name.name)
        elif found is None:
            self.problems.append(
                Diagnostic(
                    "unknown-import",
                    f"`{item.module}` declares no `{name.name}`",
                    Label(name.span, "imported here"),
                    help=did_you_mean(name.name, home.names),
                )
            )
        elif isinstance(found[0], syntax.Scenario | syntax.Task):
            self.problems.append(
                Diagnostic(
                    "import-stays",
                    f"`{name.name}` is a {keyword(found[0])}: scenarios and tasks stay in their file",
                    Label(name.span, "imported here"),
                    help="import the models it uses and write the scenario here",
                )
            )
        else:
            _declare(space, found[0], found[1], self.problems, name.span)

    def _locate(self, item: syntax.Import, path: Path | None) -> Path | None:
        sibling = path.parent / f"{item.module}.dpl" if path else None
        library = LIBRARY / f"{item.module}.dpl"
        if sibling and sibling.is_file() and sibling.resolve() != path:
            real = sibling.resolve()
            if any(real.is_relative_to(tree) for tree in (self.tree, LIBRARY.resolve()) if tree):
                return real
            self.problems.append(
                Diagnostic(
                    "import-outside",
                    f"`{item.module}.dpl` leads outside the folder of the file that is compiled",
                    Label(item.module_span, "imported here"),
                    help="copy the file beside this one",
                )
            )
            return None
        if library.is_file():
            return library.resolve()
        names = [p.stem for folder in (path.parent if path else None, LIBRARY) if folder for p in folder.glob("*.dpl")]
        self.problems.append(
            Diagnostic(
                "unknown-module",
                f"there is no `{item.module}.dpl` beside this file or in the library",
                Label(item.module_span, "imported here"),
                help=did_you_mean(item.module, names),
            )
        )
        return None


def _declare(
    space: Namespace, item: syntax.Item, home: Namespace, problems: list[Diagnostic], at: Span | None = None
) -> None:
    name, span = item_name(item)
    span = at or span
    if name in space.names:
        first = space.names[name]
        where = item_name(first[0])[1]
        problems.append(duplicate_name(name, span, where))
        return
    if name in FUNCTIONS and isinstance(item, syntax.Function | syntax.Network | syntax.Table):
        problems.append(
            Diagnostic("duplicate-name", f"`{name}` is a function of the language", Label(span, "declared again here"))
        )
        return
    space.names[name] = (item, home)


def duplicate_name(name: str, span: Span, first: Span) -> Diagnostic:
    return Diagnostic(
        "duplicate-name",
        f"`{name}` is declared twice",
        Label(span, "declared again here"),
        related=(Label(first, "first declared here"),),
    )


def item_name(item: syntax.Item) -> tuple[str, Span]:
    """The name that an item declares, and where."""
    match item:
        case syntax.Import():
            raise AssertionError("an import declares the names it brings: a bug in DPL")
        case (
            syntax.Declaration()
            | syntax.Function()
            | syntax.Table()
            | syntax.Data()
            | syntax.Network()
            | syntax.Model()
            | syntax.Scenario()
            | syntax.Task()
        ):
            return item.name, item.name_span
        case _:
            assert_never(item)


def keyword(item: syntax.Item) -> str:
    """The word that opens the item."""
    match item:
        case syntax.Declaration() | syntax.Model():
            return item.kind
        case syntax.Function():
            return "fn"
        case _:
            return type(item).__name__.lower()
