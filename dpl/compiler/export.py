"""An extracted function as a Python file that needs NumPy alone, or as a JAX function; its numbers are in the text.

What a reader calls stands first, then networks, then mathematics, then numbers. The text is made of our own words,
mangled names and literals; same input, same bytes.
"""

from __future__ import annotations

import keyword
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dpl.compiler import declarations, ir
from dpl.compiler.algebra import TIME, Expr, Symbol, opaque, points_of, sp, symbol, weights_of
from dpl.compiler.codegen import plain, snake
from dpl.compiler.extract import Extract, Quantity
from dpl.compiler.layers import array, literal, matrix_names, network_function, weight_lines
from dpl.compiler.literals import WIDTH, Numbers, assigned, quoted
from dpl.compiler.names import Names, identifier, readable, symbol_names
from dpl.compiler.plain import NotPlain, PlainPrinter, mathematics, scalars_named, with_needed
from dpl.compiler.points import columns
from dpl.compiler.printer import Printer
from dpl.compiler.slices import sliced
from dpl.compiler.start import Value
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.model import NetworkUse

MARK = "exported by DPL"
"""Stands in the first line of every file that this module writes"""

_OURS = "np math annotations Any Callable NamedTuple Sequence State Outputs START PERIOD state outputs"
_OF_MOTION = "time x u p P"
"""What a right-hand side is called with"""


def numpy_source(extract: Extract, values: Mapping[str, Any], version: str) -> str:
    """The file. `values` [SI] by path: numbers, nested lists, and of networks `{"w": [...], "b": [...]}`.

    Raises:
        CompileError: it calls what has no form in plain Python.
    """
    kind = _Motion if extract.moves else _File
    first = kind(extract, values, version, set(scalars_named()))
    try:
        first.text()  # says which functions it uses: names clash with those alone
    except NotPlain as error:
        message = f"`{extract.name}` cannot be exported: it calls `{error}`, which only the runtime has"
        raise CompileError([Diagnostic("not-exportable", message, Label(extract.span, "declared here"))]) from None
    return kind(extract, values, version, with_needed(first.printer.used)).text()


class _Naming:
    """A Python name for everything in the text: those that a caller writes are given out first."""

    def __init__(self, extract: Extract, taken: Iterable[str]):
        wishes = {u.path: identifier(extract.local(u.path)) for u in extract.networks}
        matrices = [m for u in extract.networks for m in matrix_names(u, wishes[u.path].upper())]
        self.taken = [*_OURS.split(), *(_OF_MOTION.split() if extract.moves else ()), *taken, *matrices]
        names = Names(self.taken)
        self.function = names.unique(snake(identifier(extract.name)))
        self.arguments = [names.unique(identifier(q.name)) for q in extract.inputs]
        self.fields = [names.unique(readable(q.name)) for q in extract.states]
        self.results = _fields([identifier(q.name) for q in extract.outputs])
        wished = [identifier(extract.local(q.name)) for q in extract.params]
        self.params = [names.unique(wish if extract.moves else wish.upper()) for wish in wished]
        quantities = (*extract.inputs, *extract.states, *extract.params)
        given = zip(quantities, (*self.arguments, *self.fields, *self.params), strict=True)
        self.symbols: dict[Symbol, str] = {q.symbol: name for q, name in given}
        self.networks: dict[str, str] = {}
        for path, wish in wishes.items():
            self.networks[path] = names.unique(f"{wish}_network" if wish == self.function else wish)
            self.symbols[weights_of(path)] = names.unique(wish.upper())
        for use in extract.tables:
            self.symbols[points_of(use.path)] = names.unique(identifier(extract.local(use.path)).upper())
        fixed = {t for s in extract.fixed for t in ir.targets(s)}
        rest = [s for s in extract.symbols() if s not in self.symbols]
        texts = symbol_names([s.name for s in rest])
        for s in rest:  # what is read of an argument goes by the argument's name
            given, wish = self.symbols.get(symbol(f"argument {s.name}")), texts[s.name]
            self.symbols[s] = given or names.unique(wish.upper() if s in fixed else wish)

    def called(self, extract: Extract) -> dict[str, tuple[str, bool]]:
        """Of each network its function, and whether that has several results."""
        return {u.path: (self.networks[u.path], len(u.outputs) > 1) for u in extract.networks}


def _fields(wishes: Sequence[str]) -> list[str]:
    """Names of attributes, which clash with Python's words and with each other alone."""
    names: list[str] = []
    for wish in wishes:
        name, n = f"{wish}_" if keyword.iskeyword(wish) else wish, 2
        while name in names:
            name, n = f"{wish}_{n}", n + 1
        names.append(name)
    return names


class _File:
    def __init__(self, extract: Extract, values: Mapping[str, Any], version: str, taken: set[str]):
        self.extract, self.values, self.version = extract, values, version
        self.naming = _Naming(extract, sorted(taken))
        self.printer = PlainPrinter(self.naming.symbols, self.naming.called(extract), extract.shapes)
        values_of = [s.value for s in extract.body if isinstance(s, ir.Assign)] + [*extract.results]
        self.arrays = any(map(extract.shapes.of, values_of))

    def text(self) -> str:
        e = self.extract
        function = self.function()
        networks = [line for use in e.networks for line in ("", "", *self.network(use))]
        fixed = [line for s in e.fixed for line in statement(s, self.printer, "")]
        starts = [self.printer.text(s) for s in e.starts or ()]
        numbers = [*self.params_lines(), *self.weights(), *self.tables(), *fixed]
        if e.states and e.starts is not None:
            numbers += self.start(starts)
        body = [*self.types(), *function, *networks]
        for lines in (mathematics(self.printer.used), numbers):
            body += ["", "", *lines] if lines else []
        return "\n".join([*self.opening("\n".join(body)), *body]) + "\n"

    def start(self, texts: list[str]) -> list[str]:
        given = [f"{name}={text}" for name, text in zip(self.naming.fields, texts, strict=True)]
        return [f"START = State({', '.join(given)})"]

    def network(self, use: NetworkUse) -> list[str]:
        name, weights = self.naming.networks[use.path], self.naming.symbols[weights_of(use.path)]
        return network_function(use, name, weights, self.naming.taken, self.printer.scalar)

    # ------------------------------------------------------------ what it says of itself

    def opening(self, body: str) -> list[str]:
        e = self.extract
        title = f"{plain(e.name)} of {plain(e.span.source.name)}, {MARK} {self.version}."
        doc = declarations.clean(e.doc)
        lines = [f'"""{title}', *(["", *textwrap.wrap(plain(doc), WIDTH)] if doc else []), "", *self.usage(), ""]
        for title, names, quantities in self.sections():
            if quantities:
                width = max(map(len, names))
                said = [f"    {n:<{width}}  {_described(q, n)}" for n, q in zip(names, quantities, strict=True)]
                lines += [f"{title}:", *(line.rstrip() for line in said)]
        lines += ['"""', "", "from __future__ import annotations"]
        lines += [*self.imports(body), *(["", f"PERIOD = {float(e.period)!r}  # s between calls"] if e.period else [])]
        return lines

    def sections(self) -> list[tuple[str, Sequence[str], Sequence[Quantity]]]:
        e, n = self.extract, self.naming
        return [("Takes", n.arguments, e.inputs), ("Returns", n.results, e.outputs), ("State", n.fields, e.states)]

    @staticmethod
    def imports(body: str) -> list[str]:
        lines = ["import math"] if "math." in body else []
        needed = [w for w in ("Callable", "Sequence") if f"{w}[" in body]
        lines += [f"from collections.abc import {', '.join(needed)}"] if needed else []
        typing = [w for w in ("Any", "NamedTuple") if re.search(rf"\b{w}\b", body)]
        lines += [f"from typing import {', '.join(typing)}"] if typing else []
        numpy = ["", "import numpy as np"] if "np." in body else []
        return [*([""] if lines else []), *lines, *numpy]

    def usage(self) -> list[str]:
        """How to call it."""
        e, n = self.extract, self.naming
        result = "outputs" if len(e.outputs) > 1 else n.results[0]
        call = f"{n.function}({', '.join([*self.required(), *(['state'] if e.states else []), *self.optional()])})"
        every = f"  # every PERIOD = {float(e.period):g} s" if e.period else ""
        if not e.states:
            return [f"    {result} = {call}{every}"]
        start = "START" if e.starts is not None else f"State({', '.join(f'{f}=…' for f in n.fields)})"
        return [f"    state = {start}", f"    {result}, state = {call}{every}"]

    def required(self) -> list[str]:
        return [n for n, q in zip(self.naming.arguments, self.extract.inputs, strict=True) if q.default is None]

    def optional(self) -> list[str]:
        return [n for n, q in zip(self.naming.arguments, self.extract.inputs, strict=True) if q.default is not None]

    # ------------------------------------------------------------ what it defines

    def types(self) -> list[str]:
        e, n = self.extract, self.naming
        lines: list[str] = []
        if len(e.outputs) > 1:
            lines += _named_tuple("Outputs", "What is returned.", n.results, e.outputs)
        if e.states:
            lines += _named_tuple("State", "What is kept from one call to the next.", n.fields, e.states)
        return lines

    def function(self) -> list[str]:
        e, n, printer = self.extract, self.naming, self.printer
        arguments = [f"{name}: {_type(q)}" for name, q in zip(n.arguments, e.inputs, strict=True) if q.default is None]
        arguments += ["state: State"] if e.states else []
        for name, q in zip(n.arguments, e.inputs, strict=True):
            if q.default is not None:
                arguments.append(f"{name}: {_type(q)} = {_default(q)}")
        kinds = [_type(q) for q in e.outputs]
        returned = "Outputs" if len(kinds) > 1 else kinds[0]
        kind = f"tuple[{returned}, State]" if e.states else returned
        lines = ["", ""]
        if self.arrays:
            lines += ['@np.errstate(all="ignore")']
        lines += _called(f"def {n.function}", arguments, f" -> {kind}:")
        lines += [f'    """{_signature(n, e)}"""']
        lines += _unpacked(n.fields, "state")
        for s in e.body:
            lines += statement(s, printer, "    ")
        results = [self.returned(r, q) for r, q in zip(e.results, e.outputs, strict=True)]
        result = f"Outputs({', '.join(results)})" if len(results) > 1 else results[0]
        if not e.states:
            return [*lines, f"    return {result}"]
        return [*lines, f"    return {result}, State({', '.join(map(printer.text, e.following))})"]

    def returned(self, value: Expr, quantity: Quantity) -> str:
        """A number for every element, where the value of an array is one number."""
        if quantity.shape and self.extract.shapes.of(value) != quantity.shape:
            value = opaque("full")(value, *map(sp.Integer, quantity.shape))
        return self.printer.text(value)

    # ------------------------------------------------------------ numbers

    def weights(self) -> list[str]:
        found = [(u, self.naming.symbols[weights_of(u.path)]) for u in self.extract.networks]
        return [line for use, name in found for line in weight_lines(use, name, self.values[use.path])]

    def tables(self) -> list[str]:
        """Of each the arrays that it is looked up in."""
        lines: list[str] = []
        for use in self.extract.tables:
            found = columns(use)
            lines += [f"{self.naming.symbols[points_of(use.path)]} = (  # {', '.join(found)}, in SI"]
            for values in found.values():
                text = "\n".join(array("_", list(values))).removeprefix("_ = ")
                lines += _indented(f"{text},".splitlines())
            lines += [")"]
        return lines

    def params_lines(self) -> list[str]:
        lines: list[str] = []
        for q in self.extract.params:
            value = self.values[q.name]
            text = f"np.array({literal(value)})" if q.shape else literal(value)
            scaled = f" = {value / float(q.unit.scale):.12g}" if q.unit.scale != 1 and not q.shape else ""
            said = f"{self.extract.local(q.name)}{scaled} {_unit(q)}".rstrip() + (
                ", in SI" if q.unit.scale != 1 else ""
            )
            lines.append(f"{self.naming.symbols[q.symbol]} = {text}  # {plain(said)}")
        return lines


# ---------------------------------------------------------------- the right-hand side of a model


class _Motion(_File):
    """Functions of vectors: `name_rhs(time, x, u, p)`, and of the same `name_outputs`."""

    def usage(self) -> list[str]:
        call = f"{self.naming.function}_{{}}(time, x, u, p)"
        lines = [f"    dx = {call.format('rhs')}  # per second"]
        return [*lines, *([f"    y = {call.format('outputs')}"] if self.extract.outputs else [])]

    def sections(self) -> list[tuple[str, Sequence[str], Sequence[Quantity]]]:
        e, n = self.extract, self.naming
        params = [replace(q, name=e.local(q.name)) for q in e.params]
        rows = (("x", n.fields, e.states), ("u", n.arguments, e.inputs), ("p", n.params, params))
        return [*((f"In `{title}`", names, found) for title, names, found in rows), ("In `y`", n.results, e.outputs)]

    def types(self) -> list[str]:
        return []

    def function(self) -> list[str]:
        e = self.extract
        lines = self.of_vectors("rhs", "Time derivatives of x, per second.", e.following)
        return lines + (self.of_vectors("outputs", "What the model tells of itself.", e.results) if e.outputs else [])

    def of_vectors(self, role: str, doc: str, results: Sequence[Expr]) -> list[str]:
        e, n = self.extract, self.naming
        lines = ["", "", *(['@np.errstate(all="ignore")'] if self.arrays else [])]
        arguments = ["time: float", "x: Sequence[float]", self.given(), "p: Sequence[float] | None = None"]
        lines += _called(f"def {n.function}_{role}", arguments, " -> np.ndarray:")
        lines += [f'    """{doc}"""']
        lines += _from_vector("x", n.fields, e.states, "x")
        lines += _from_vector("u", n.arguments, e.inputs, "u")
        lines += _from_vector("p", n.params, e.params, "P if p is None else p")
        for s in motion_body(e, results):
            lines += statement(s, self.printer, "    ")
        texts = list(map(self.printer.text, results))
        if any(map(e.shapes.of, results)):
            flat = "".join(f"np.ravel({t}), " for t in texts)
            return [*lines, f"    return np.concatenate(({flat.rstrip()}))"]
        return [*lines, f"    return np.array(({''.join(f'{t}, ' for t in texts).rstrip()}))"]

    def given(self) -> str:
        """The argument `u`, with its default where every input has one."""
        defaults = [unscaled(q.default, float(q.unit.scale)) for q in self.extract.inputs if q.default is not None]
        every = len(defaults) == len(self.extract.inputs) and not any(q.shape for q in self.extract.inputs)
        return f"u: Sequence[float] = {tuple(defaults)!r}" if every else "u: Sequence[float]"

    def start(self, texts: list[str]) -> list[str]:
        return _vector("START", zip(texts, self.extract.states, strict=True), self.naming.fields)

    def params_lines(self) -> list[str]:
        quantities = self.extract.params
        scaled = [unscaled(self.values[q.name], float(q.unit.scale)) for q in quantities]
        return _vector("P", zip(map(literal, scaled), quantities, strict=True), self.naming.params)


def motion_body(extract: Extract, results: Sequence[Expr]) -> list[ir.Statement]:
    """The statements of a right-hand side, or of its outputs, that these results need."""
    known = {q.symbol for q in (*extract.states, *extract.inputs, *extract.params)} | {TIME}
    known |= {weights_of(u.path) for u in extract.networks} | {t for s in extract.fixed for t in ir.targets(s)}
    known |= {points_of(t.path) for t in extract.tables}
    return sliced(extract.body, results, known)


def _from_vector(name: str, fields: Sequence[str], quantities: Sequence[Quantity], given: str) -> list[str]:
    """The quantities that a vector holds, one after the other, each in the order of its rows."""
    if not fields:
        return []
    if not any(q.shape for q in quantities):
        return _unpacked(fields, f"np.asarray({given}, float).tolist()")
    lines, at = [f"    {name} = np.asarray({given}, float)"], 0
    for field, q in zip(fields, quantities, strict=True):
        size = math.prod(q.shape)
        part = f"{name}[{at}:{at + size}].reshape({q.shape})" if q.shape else f"float({name}[{at}])"
        lines.append(f"    {field} = {part}")
        at += size
    return lines


def _vector(name: str, values: Iterable[tuple[str, Quantity]], fields: Sequence[str]) -> list[str]:
    """`name = (…)`, a quantity a line."""
    found = [(f"*np.ravel({text})," if q.shape else f"{text},", q) for text, q in values]
    lines = [f"    {text}  # {f} {_unit(q)}".rstrip() for (text, q), f in zip(found, fields, strict=True)]
    return [f"{name} = (", *map(plain, lines), ")"] if lines else [f"{name} = ()"]


# ---------------------------------------------------------------- a function for JAX


def jax_source(extract: Extract) -> str:
    """A module whose `step(values, inputs, states)` returns the tuples of outputs and of next states.

    `values` [SI] by path; `inputs`, `states` and what is returned are tuples in declared units.

    Raises:
        CompileError: it moves.
    """
    if extract.moves:
        message = f"`{extract.name}` has no form for JAX of its own: its states move between calls"
        help_text = "export it as Python or C, or simulate a scenario with it"
        raise CompileError(
            [Diagnostic("not-exportable", message, Label(extract.span, "declared here"), help=help_text)]
        )
    naming = _Naming(extract, ["step", "values", "inputs", "states"])
    specs = {u.path: naming.symbols[weights_of(u.path)] + "_SPEC" for u in extract.networks}
    printer = _JaxPrinter(naming.symbols, {u.path: (specs[u.path], len(u.outputs) > 1) for u in extract.networks})
    lines = ["from jax import numpy as jnp", "", "from dpl.runtime import functions as dpl"]
    lines += ["from dpl.runtime import networks, roots, spec", ""]
    for use in extract.networks:
        lines += [*assigned(specs[use.path], declarations.network(use)), ""]
    for use in extract.tables:
        points = (Numbers(tuple(use.knots)), Numbers(tuple(use.values)))
        lines += [*assigned(naming.symbols[points_of(use.path)], points), ""]
    lines += ["", "def step(values, inputs, states):"]
    for kind, names in (("inputs", naming.arguments), ("states", naming.fields)):
        lines += _unpacked(names, kind)
    looked_up = [(q.symbol, q.name) for q in extract.params] + [(weights_of(u.path), u.path) for u in extract.networks]
    lines += [f"    {naming.symbols[s]} = values[{quoted(path)}]" for s, path in looked_up]
    for s in (*extract.fixed, *extract.body):
        lines += statement(s, printer, "    ")
    results, following = (
        "(" + "".join(f"{printer.text(e)}, " for e in exprs) + ")" for exprs in (extract.results, extract.following)
    )
    return "\n".join([*lines, f"    return {results}, {following}"]) + "\n"


class _JaxPrinter(Printer):
    def special(self, name: str, args: tuple[Expr, ...]) -> str:
        return self.text(args[0]) if name == "argument" else super().special(name, args)


# ---------------------------------------------------------------- statements


def statement(found: ir.Statement, printer: Printer, indent: str) -> list[str]:
    """A statement with its origin."""
    comment = f"  # {plain(found.origin)}" if found.origin else ""
    solver = "linear_solve" if isinstance(printer, PlainPrinter) else "roots.linear_solve"
    match found:
        case ir.Assign(target, value):
            return [f"{indent}{printer.symbol(target)} = {printer.text(value)}{comment}"]
        case ir.Solve(unknowns, rows, right):
            if isinstance(printer, PlainPrinter):
                printer.used.add(solver)
            left = ", ".join(map(printer.symbol, unknowns))
            matrix = ", ".join(f"({', '.join(map(printer.text, row))},)" for row in rows)
            return [f"{indent}({left},) = {solver}(({matrix},), ({', '.join(map(printer.text, right))},)){comment}"]
        case _:
            raise AssertionError(f"a {type(found).__name__} passed the extraction: a bug in DPL")


# ---------------------------------------------------------------- words


def _unit(q: Quantity) -> str:
    return f"[{q.unit.text}]" if q.unit.text and q.unit.text != "1" else ""


def _described(q: Quantity, name: str) -> str:
    shape = f"array of {' x '.join(map(str, q.shape))}" if q.shape else ""
    return plain(" ".join(filter(None, (q.name if q.name != name else "", _unit(q), shape))))


def _signature(naming: _Naming, extract: Extract) -> str:
    """`theta [rad], omega [rad/s] -> u [N*m]`"""
    sides: list[str] = []
    for names, quantities in ((naming.arguments, extract.inputs), (naming.results, extract.outputs)):
        sides.append(", ".join(f"{n} {_unit(q)}".rstrip() for n, q in zip(names, quantities, strict=True)))
    return plain(" -> ".join(filter(None, sides)) + ".")


def _type(q: Quantity) -> str:
    return "np.ndarray" if q.shape else "float"


def _default(q: Quantity) -> str:
    assert q.default is not None
    return repr(unscaled(q.default, float(q.unit.scale)))


def unscaled(value: Value, scale: float) -> Value:
    return tuple(unscaled(v, scale) for v in value) if isinstance(value, tuple | list) else value / scale


def _named_tuple(name: str, doc: str, fields: Sequence[str], quantities: Sequence[Quantity]) -> list[str]:
    lines = ["", "", f"class {name}(NamedTuple):", f'    """{doc}"""', ""]
    for field, q in zip(fields, quantities, strict=True):
        said = _described(q, field)
        lines.append(f"    {field}: {_type(q)}" + (f"  # {said}" if said else ""))
    return lines


def _called(opening: str, arguments: Sequence[str], closing: str) -> list[str]:
    """`opening(arguments)closing`, one argument a line if they do not fit."""
    line = f"{opening}({', '.join(arguments)}){closing}"
    return [line] if len(line) <= WIDTH else [f"{opening}(", *(f"    {a}," for a in arguments), f"){closing}"]


def _unpacked(names: Sequence[str], source: str) -> list[str]:
    if not names:
        return []
    return _indented(_called("", [f"{n}," if len(names) == 1 else n for n in names], f" = {source}"))


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]
