"""An extracted function as C99 that needs <math.h> alone: a header and a source file.

Nothing is allocated and nothing kept: what a sampled controller remembers stands in a struct that its caller owns.
The text is made of our own words, mangled names and literals; a user's words stand in comments alone.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, cast

from dpl.compiler import declarations, ir
from dpl.compiler.algebra import TIME, Expr, Symbol, is_compound, points_of, symbol, weights_of
from dpl.compiler.c import INDICES, Called, CPrinter, said
from dpl.compiler.codegen import snake
from dpl.compiler.export import MARK, motion_body, unscaled
from dpl.compiler.extract import Extract, Quantity
from dpl.compiler.layers_c import literal_c, network_c, numbers_c, weights_c
from dpl.compiler.names import Names, identifier, readable, symbol_names
from dpl.compiler.plain import NotPlain
from dpl.compiler.points import columns
from dpl.compiler.scalars_c import FUNCTIONS, LIBRARY, functions, single
from dpl.compiler.slices import sliced
from dpl.language.diagnostics import CompileError, Diagnostic, Label
from dpl.language.model import TableUse

_WORDS = (
    "auto break case char const continue default do double else enum extern float for goto if inline int long "
    "register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while "
    "bool class new delete template this operator private public protected virtual friend using namespace try catch "
    "throw typename explicit export mutable typeid and or not xor bitand bitor compl true false nullptr asm typeof "
    "linux unix i386 main NAN INFINITY HUGE_VAL HUGE_VALF HUGE_VALL MAXFLOAT NULL EOF I DOMAIN SING OVERFLOW "
    "UNDERFLOW PLOSS TLOSS errno "
    "acosf j0 j1 jn y0 y1 yn gamma signgam hypot cbrt drem expm1 exp2 exp10 pow10 fdim fmax fmin fma frexp ldexp logb "
    "ilogb modf nan nearbyint nextafter nexttoward remainder remquo round lround llround lrint llrint scalb scalbn "
    "scalbln significand erfc trunc finite isinf isnan isnormal isfinite signbit fpclassify infinity matherr div abs "
    "index float_t double_t exception ddiv dadd"
)
_OF_VECTORS, _OF_NUMBERS = "t x u p dx y", "state outputs"
WIDTH = 116


def c_source(extract: Extract, values: Mapping[str, Any], version: str, header: str, float32: bool) -> tuple[str, str]:
    """The source file and its header, which it includes by the name `header`. `values` as `numpy_source` has them.

    Raises:
        CompileError: it calls what has no form in C.
    """
    file = _CFile(extract, values, version, header, "float" if float32 else "double")
    try:
        source, declared = file.source(), file.header()
    except NotPlain as error:
        message = f"`{extract.name}` cannot be exported to C: it calls `{error}`, which only the runtime has"
        raise CompileError([Diagnostic("not-exportable", message, Label(extract.span, "declared here"))]) from None
    return (single(source), single(declared)) if float32 else (source, declared)


class _CNaming:
    """A C name for everything. Names that the linker sees begin with that of the function."""

    def __init__(self, extract: Extract):
        first = Names((), frozenset())
        matrices = {u.path: first.unique(identifier(extract.local(u.path)).upper()) for u in extract.networks}
        taken = [*_WORDS.split(), *FUNCTIONS, *INDICES]
        taken += [f"{word}{suffix}" for word in LIBRARY for suffix in ("", "f", "l")]
        taken += (_OF_VECTORS if extract.moves else _OF_NUMBERS).split()
        for use in extract.networks:
            assert use.options is not None
            layers = range(1, len(use.options.hidden) + 2)
            taken += [f"{matrices[use.path]}_{kind}{i}" for kind in "WB" for i in layers]
        names = Names(taken, frozenset())
        self.function = names.unique(snake(identifier(extract.name)))
        self.types = {kind: f"{self.function}_{kind}" for kind in ("state", "outputs")}
        for role in ("init", "step", "rhs", "start", "params", "period", *self.types):
            names.unique(f"{self.function}_{role}")
        self.matrices = matrices
        self.networks = {u.path: names.unique(f"{identifier(extract.local(u.path))}_network") for u in extract.networks}
        self.arguments = [names.unique(identifier(q.name)) for q in extract.inputs]
        self.fields = [names.unique(readable(q.name)) for q in extract.states]
        self.results = [names.unique(identifier(q.name)) for q in extract.outputs]
        wishes = [identifier(extract.local(q.name)) for q in extract.params]
        self.params = [names.unique(w if extract.moves else w.upper()) for w in wishes]
        tables = {points_of(t.path): names.unique(identifier(extract.local(t.path)).upper()) for t in extract.tables}
        self.names = names
        self.taken = taken
        rest = [s for s in extract.symbols() if not is_compound(s)]
        texts = symbol_names([s.name for s in rest])
        self.symbols: dict[Symbol, str] = {**dict.fromkeys(rest, ""), **tables}
        self._place(extract)
        for s in rest:
            self.symbols[s] = self.symbols[s] or names.unique(texts[s.name])

    def _place(self, extract: Extract) -> None:
        """What a caller gives, as it stands where it is read, and the quantity that it becomes."""
        given = [(extract.inputs, self.arguments, "u"), (extract.states, self.fields, "x")]
        given += [(extract.params, self.params, "p")]
        for quantities, names, vector in given:
            at = 0
            for q, name in zip(quantities, names, strict=True):
                raw = q.symbol.name.startswith("argument ")
                read = symbol(q.symbol.name.removeprefix("argument "))
                if extract.moves:
                    self.symbols[q.symbol] = _place(vector, at, q) if raw else name
                    at += math.prod(q.shape)
                else:
                    self.symbols[q.symbol] = f"state->{name}" if vector == "x" else name
                if raw and read in self.symbols and not (q.shape and vector == "u" and not extract.moves):
                    self.symbols[read] = name
        for q, name in zip(extract.outputs, self.results, strict=True):
            if q.symbol in self.symbols:
                self.symbols[q.symbol] = self.symbols[q.symbol] or name


def _place(vector: str, at: int, q: Quantity) -> str:
    if q.shape:
        return f"({vector} + {at})" if at else vector
    return f"{vector}[{at}]"


class _CFile:
    def __init__(self, extract: Extract, values: Mapping[str, Any], version: str, header: str, real: str):
        self.extract, self.values, self.version, self.name, self.real = extract, values, version, header, real
        self.naming = _CNaming(extract)
        self.used: set[str] = set()

    def printer(self) -> CPrinter:
        """For one function."""
        networks = {u.path: Called(self.naming.networks[u.path], u) for u in self.extract.networks}
        tables = {points_of(t.path): t for t in self.extract.tables}
        return CPrinter(self.naming.symbols, networks, self.extract.shapes, self.used, tables)

    # ------------------------------------------------------------ the two files

    def source(self) -> str:
        e, n = self.extract, self.naming
        defined = self.motion() if e.moves else self.controller()
        own = [self.network(u.path) for u in e.networks]
        numbers = [line for u in e.networks for line in weights_c(n.matrices[u.path], self.values[u.path])]
        numbers += [line for use in e.tables for line in self.table(use)]
        numbers += [] if e.moves else self.params()
        mathematics = [text.splitlines() for text in functions(self.used)]
        lines = [*self.opening(), "", f'#include "{said(self.name)}"', "", "#include <math.h>"]
        for part in (numbers, *mathematics, *own, *defined):
            lines += ["", *part] if part else []
        return "\n".join(lines) + "\n"

    def header(self) -> str:
        e, n = self.extract, self.naming
        guard = f"{n.function.upper()}_H"
        lines = [*self.opening(), "", f"#ifndef {guard}", f"#define {guard}", "", "#ifdef __cplusplus", 'extern "C" {']
        lines += ["#endif", "", *(self.declared_motion() if e.moves else self.declared()), "", "#ifdef __cplusplus"]
        return "\n".join([*lines, "}", "#endif", "", "#endif"]) + "\n"

    def opening(self) -> list[str]:
        e = self.extract
        doc = declarations.clean(e.doc)
        lines = [f"/* {said(e.name)} of {said(e.span.source.name)}, {MARK} {said(self.version)}."]
        if doc:
            lines += ["", *textwrap.wrap(said(doc), WIDTH)]
        return (
            [lines[0], *(f"   {line}".rstrip() for line in lines[1:-1]), f"   {lines[-1]} */"]
            if doc
            else [lines[0] + " */"]
        )

    def network(self, path: str) -> list[str]:
        use = next(u for u in self.extract.networks if u.path == path)
        return network_c(use, self.naming.networks[path], self.naming.matrices[path], self.naming.taken, self.own)

    def table(self, use: TableUse) -> list[str]:
        name = self.naming.symbols[points_of(use.path)]
        return [line for word, values in columns(use).items() for line in numbers_c(f"{name}_{word}", values)]

    def own(self, name: str) -> str:
        self.used.add(name)
        return name

    def params(self) -> list[str]:
        lines: list[str] = []
        for q, name in zip(self.extract.params, self.naming.params, strict=True):
            in_si = ", in SI" if q.unit.scale != 1 else ""
            comment = f"  /* {said(self.extract.local(q.name))}{_unit(q)}{in_si} */"
            value = self.values[q.name]
            if q.shape:
                first, *rest = numbers_c(name, _flat(value))
                lines += [first + comment, *rest]
            else:
                lines += [f"static const double {name} = {literal_c(value)};{comment}"]
        return lines

    # ------------------------------------------------------------ a function of inputs and sampled states

    def declared(self) -> list[str]:
        e, n = self.extract, self.naming
        lines: list[str] = []
        if e.period is not None:
            lines += [f"#define {n.function.upper()}_PERIOD {float(e.period)!r} /* s between calls */", ""]
        if e.states:
            owner = "Kept from one call to the next; one for each plant."
            lines += _struct(n.types["state"], owner, n.fields, e.states)
        if self.in_struct:
            lines += _struct(n.types["outputs"], "What is returned.", n.results, e.outputs)
        if e.states and e.starts is not None:
            lines += [f"/* Where {said(e.name)} begins. */", f"void {n.function}_init({n.types['state']} *state);", ""]
        elif e.states:
            lines += ["/* Where it begins differs from run to run: set every field before the first call. */", ""]
        return [*lines, *self.explained(), f"{self.signature()};"]

    @property
    def in_struct(self) -> bool:
        return len(self.extract.outputs) != 1 or bool(self.extract.outputs[0].shape)

    def explained(self) -> list[str]:
        e, n = self.extract, self.naming
        rows = [(a, _described(q, a)) for a, q in zip(n.arguments, e.inputs, strict=True)]
        rows += [(r, _described(q, r)) for r, q in zip(n.results, e.outputs, strict=True)] if not self.in_struct else []
        width = max((len(a) for a, _ in rows), default=0)
        every = f", every {float(e.period):g} s" if e.period else ""
        result = "" if self.in_struct else f" Returns {n.results[0]}."
        head = f"/* {said(e.name)}: one call{every}.{result}"
        body = [f"     {a:<{width}}  {text}".rstrip() for a, text in rows]
        return [head, *body[:-1], f"{body[-1]} */"] if body else [f"{head} */"]

    def signature(self) -> str:
        e, n = self.extract, self.naming
        name = f"{n.function}_step" if e.states else n.function
        given = [f"{n.types['state']} *state"] if e.states else []
        given += [_argument(q, a) for q, a in zip(e.inputs, n.arguments, strict=True)]
        given += [f"{n.types['outputs']} *outputs"] if self.in_struct else []
        return f"{'void' if self.in_struct else 'double'} {name}({', '.join(given) or 'void'})"

    def controller(self) -> list[list[str]]:
        e = self.extract
        results = [*e.results, *e.following]
        printer, body = self.printer(), self.statements(results)
        read = self.read(body, results)
        lines = [self.signature(), "{"]
        named = zip(e.inputs, self.naming.arguments, strict=True)
        lines += _indented(f"(void){a};" for q, a in named if q.symbol not in read)
        lines += self.written(
            body, printer, {a for q, a in zip(e.inputs, self.naming.arguments, strict=True) if not q.shape}
        )
        lines += self.given_back(printer)
        start = [self.init()] if e.states and e.starts is not None else []
        return [*start, [*lines, "}"]]

    def given_back(self, printer: CPrinter) -> list[str]:
        """Outputs and next states, all computed before any is kept."""
        e, n = self.extract, self.naming
        lines: list[str] = []
        kept: list[str] = []
        for field, q, value in zip(n.fields, e.states, e.following, strict=True):
            following = n.names.unique(f"next_{field}")
            lines += self.stored(printer, f"{'double' if q.shape else 'const double'} {following}", following, q, value)
            kept += _copied(f"state->{field}", following, q)
        for name, q, value in zip(n.results, e.outputs, e.results, strict=True):
            target = f"outputs->{name}" if self.in_struct else name
            lines += self.stored(printer, target if self.in_struct else f"const double {name}", target, q, value)
        lines += kept
        return _indented(lines if self.in_struct else [*lines, f"return {n.results[0]};"])

    def stored(self, printer: CPrinter, declared: str, name: str, q: Quantity, value: Expr, at: int = 0) -> list[str]:
        """The lines that write a value, a number for every element of an array, from `name[at]` on."""
        if not q.shape:
            text = printer.element(value, ())
            return [*printer.taken_before(), *([f"{declared} = {text};"] if text != name else [])]
        lines = printer.filled(name, value, q.shape, at)
        opening = [f"{declared}[{math.prod(q.shape)}];"] if declared != name else []
        return [*printer.taken_before(), *opening, *lines]

    def init(self) -> list[str]:
        e, n = self.extract, self.naming
        starts = list(e.starts or ())
        printer = self.printer()
        lines = [
            f"void {n.function}_init({n.types['state']} *state)",
            "{",
            *self.written(self.statements(starts), printer),
        ]
        for field, q, value in zip(n.fields, e.states, starts, strict=True):
            lines += _indented(self.stored(printer, f"state->{field}", f"state->{field}", q, value))
        return [*lines, "}"]

    def statements(self, results: Sequence[Expr]) -> list[ir.Statement]:
        """What these results need of all that is computed."""
        e = self.extract
        known = {q.symbol for q in (*e.inputs, *e.states, *e.params)} | {weights_of(u.path) for u in e.networks}
        known |= {points_of(t.path) for t in e.tables}
        return sliced([*e.fixed, *e.body], list(results), known)

    def read(self, body: Iterable[ir.Statement], results: Iterable[Expr]) -> set[Symbol]:
        found: set[Symbol] = {s for r in results for s in r.free_symbols}
        return found.union(*(ir.reads(s) for s in body))

    def written(
        self, body: Iterable[ir.Statement], printer: CPrinter, given: AbstractSet[str] = frozenset()
    ) -> list[str]:
        return _indented(line for s in body for line in printer.statement(s, given))

    # ------------------------------------------------------------ the right-hand side of a model

    def declared_motion(self) -> list[str]:
        e, n = self.extract, self.naming
        lines = ["/* All in declared units; arrays row by row.", "", "     t  [s]"]
        params = [(readable(e.local(q.name)), q) for q in e.params]
        rows = (
            ("x", list(zip(n.fields, e.states, strict=True))),
            ("u", list(zip(n.arguments, e.inputs, strict=True))),
            ("p", params),
            ("y", list(zip(n.results, e.outputs, strict=True))),
        )
        for vector, found in rows:
            at = 0
            for name, q in found:
                size = math.prod(q.shape)
                place = f"{vector}[{at}]" if not q.shape else f"{vector}[{at}..{at + size - 1}]"
                lines.append(f"     {place:<8} {name:<12} {_described(q, '')}".rstrip())
                at += size
        lines += ["", "   dx is the rate of x per second; dx and y may not be the arrays that are read. */"]
        lines += [f"extern const double {name}[{size}];" for name, size, _ in self.constants()]
        lines += ["", f"{self.vector_signature('rhs', 'dx', e.states)};"]
        return [*lines, *([f"{self.vector_signature('outputs', 'y', e.outputs)};"] if e.outputs else [])]

    def constants(self) -> list[tuple[str, int, list[str]]]:
        """The values of params, and where the states start if that is the same in all runs: name, size, texts."""
        e, n = self.extract, self.naming
        values = [v for q in e.params for v in _flat(unscaled(self.values[q.name], float(q.unit.scale)))]
        return [(f"{n.function}_params", len(values), [literal_c(v) for v in values])] if values else []

    def vector_signature(self, role: str, written: str, results: Sequence[Quantity]) -> str:
        e = self.extract
        given = [_vector(v, q) for v, q in (("x", e.states), ("u", e.inputs), ("p", e.params))]
        size = _size(results)
        return f"void {self.naming.function}_{role}(double t, {', '.join(given)}, double {written}[{size}])"

    def motion(self) -> list[list[str]]:
        e = self.extract
        parts = [
            [f"const double {name}[{size}] = {{", *(f"    {text}," for text in texts), "};"]
            for name, size, texts in self.constants()
        ]
        parts += [self.of_vectors("rhs", "dx", e.states, e.following)]
        return parts + ([self.of_vectors("outputs", "y", e.outputs, e.results)] if e.outputs else [])

    def of_vectors(self, role: str, written: str, quantities: Sequence[Quantity], results: Sequence[Expr]) -> list[str]:
        e, printer = self.extract, self.printer()
        body = motion_body(e, results)
        fixed = sliced(e.fixed, [x for s in body for x in ir.expressions(s)] + list(results), set[Symbol]())
        read = self.read((*fixed, *body), results)
        lines = [self.vector_signature(role, written, quantities), "{"]
        lines += [] if TIME in read else ["    (void)t;"]
        for vector, found in (("x", e.states), ("u", e.inputs), ("p", e.params)):
            lines += [] if any(q.symbol in read for q in found) else [f"    (void){vector};"]
            lines += _indented(_unpacked(vector, found, self.naming.symbols, read))
        lines += self.written((*fixed, *body), printer)
        at = 0
        for q, value in zip(quantities, results, strict=True):
            target = written if q.shape else f"{written}[{at}]"
            lines += _indented(self.stored(printer, target, target, q, value, at))
            at += math.prod(q.shape)
        return [*lines, "}"]


# ---------------------------------------------------------------- words


def _unit(q: Quantity) -> str:
    return f" [{said(q.unit.text)}]" if q.unit.text and q.unit.text != "1" else ""


def _described(q: Quantity, name: str) -> str:
    shape = f"array of {' x '.join(map(str, q.shape))}" if q.shape else ""
    spoken = q.name if q.name != name else ""
    return " ".join(filter(None, (said(spoken), _unit(q).strip(), shape)))


def _struct(name: str, doc: str, fields: Sequence[str], quantities: Sequence[Quantity]) -> list[str]:
    lines = [f"/* {doc} */", "typedef struct {"]
    for field, q in zip(fields, quantities, strict=True):
        size = f"[{math.prod(q.shape)}]" if q.shape else ""
        text = _described(q, field)
        lines.append(f"    double {field}{size};" + (f"  /* {text} */" if text else ""))
    return [*lines, f"}} {name};", ""]


def _argument(q: Quantity, name: str) -> str:
    return f"const double {name}[{math.prod(q.shape)}]" if q.shape else f"double {name}"


def _vector(name: str, quantities: Sequence[Quantity]) -> str:
    size = _size(quantities)
    return f"const double {name}[{size}]" if size else f"const double *{name}"


def _size(quantities: Sequence[Quantity]) -> int:
    return sum(math.prod(q.shape) for q in quantities)


def _unpacked(vector: str, quantities: Sequence[Quantity], names: Mapping[Symbol, str], read: set[Symbol]) -> list[str]:
    """The elements that statements read by a name of their own."""
    lines, at = list[str](), 0
    for q in quantities:
        if q.symbol in read and not q.symbol.name.startswith("argument "):
            kind = "const double *" if q.shape else "const double "
            lines.append(f"{kind}{names[q.symbol]} = {_place(vector, at, q)};")
        at += math.prod(q.shape)
    return lines


def _copied(target: str, source: str, q: Quantity) -> list[str]:
    if not q.shape:
        return [f"{target} = {source};"]
    return [f"for (int i = 0; i < {math.prod(q.shape)}; i++)", f"    {target}[i] = {source}[i];"]


def _flat(value: Any) -> list[float]:
    return (
        [v for item in cast("Sequence[Any]", value) for v in _flat(item)]
        if isinstance(value, list | tuple)
        else [value]
    )


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]
