"""A network in C: as `layers.py` has it, with the loops over neurons innermost, which compilers vectorise."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from dpl.compiler.layers import described, ends, scaled, unit_scale
from dpl.compiler.names import Names, identifier
from dpl.language.model import NetworkUse, PortType

Own = Callable[[str], str]
"""A function of `scalars_c.py` by its name, which the file then holds"""

_TANH = "{h} = {h} > 20.0 ? 20.0 : {h};", "{h} = {h} < -20.0 ? -20.0 : {h};", "{h} = bounded_tanh({h});"
_ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "tanh": _TANH,
    "relu": ("{h} = relu({h});",),
    "sigmoid": ("{h} = sigmoid({h});",),
    "softplus": ("{h} = softplus({h});",),
    "sin": ("{h} = sin({h});",),
    "silu": ("{h} = {h}*sigmoid({h});",),
    "gelu": (
        "{g} = 0.7978845608028654*({h} + 0.044715*{h}*{h}*{h});",
        *(step.replace("{h}", "{g}") for step in _TANH),
        "{h} = 0.5*{h}*(1.0 + {g});",
    ),
}
"""Statements, each in a loop of its own: a choice and arithmetic in one loop would keep it from being vectorised"""
_USES = {"tanh": ["bounded_tanh"], "gelu": ["bounded_tanh"], "silu": ["sigmoid"], "sin": []}


def network_c(use: NetworkUse, name: str, weights: str, taken: Sequence[str], own: Own) -> list[str]:
    """The lines of `static void name(inputs…, double *out)`. `weights` begins the matrices' names."""
    assert use.options is not None
    names = Names((*taken, "out", "i", "j"))
    arguments = [names.unique(identifier(p.name)) for p in use.inputs]
    sizes = [sum(math.prod(p.shape) for p in use.inputs), *use.options.hidden]
    typed = [f"const double *{a}" if p.shape else f"double {a}" for a, p in zip(arguments, use.inputs, strict=True)]
    layers = [names.unique(f"h{i}") for i in range(len(sizes))]
    lines = [f"/* A network with {described(use.options.hidden)}; in SI units. */"]
    lines += [f"static void {name}({', '.join([*typed, 'double *out'])})", "{"]
    held = [f"{layer}[{max(size, 1)}]" for layer, size in zip(layers, sizes, strict=True)]
    lines += [f"    double {', '.join(held)};"]
    lines += _gathered(use.inputs, arguments, layers[0])
    for used in _USES.get(use.options.activation, [use.options.activation]):
        own(used)
    for i, (m, n) in enumerate(pairwise(sizes), 1):
        lines += _layer(weights, i, m, n, layers[i - 1], layers[i])
        lines += _activated(use.options.activation, n, layers[i], names)
    outputs = sum(math.prod(p.shape) for p in use.outputs)
    lines += _layer(weights, len(sizes), sizes[-1], outputs, layers[-1], "out")
    at = 0
    for port in use.outputs:
        size = math.prod(port.shape)
        lines += _each(at, size, "out[{}] = " + _squashed(port, "out[{}]", own) + ";")
        at += size
    return [*lines, "}"]


def _gathered(ports: Sequence[PortType], arguments: Sequence[str], layer: str) -> list[str]:
    """All inputs, scaled, one after the other."""
    lines: list[str] = []
    at = 0
    for port, argument in zip(ports, arguments, strict=True):
        size = math.prod(port.shape)
        if port.shape:
            lines += [f"    for (int i = 0; i < {size}; i++)"]
            lines += [f"        {layer}[{at} + i] = {scaled(port, f'{argument}[i]')};"]
        else:
            lines += [f"    {layer}[{at}] = {scaled(port, argument)};"]
        at += size
    return lines


def _layer(weights: str, i: int, m: int, n: int, before: str, after: str) -> list[str]:
    """`after = before W + B`, four rows of W at a time: fewer would spend their time on loading and storing `after`."""

    def terms(rows: Sequence[str]) -> str:
        return "".join(f" + {before}[{r}]*{weights}_W{i}[{r}][j]" for r in rows)

    first = [str(r) for r in range(m % 4)]
    lines = [f"    for (int j = 0; j < {n}; j++)", f"        {after}[j] = {weights}_B{i}[j]{terms(first)};"]
    if m < 4:
        return lines
    lines += [f"    for (int i = {m % 4}; i < {m}; i += 4)", f"        for (int j = 0; j < {n}; j++)"]
    return [*lines, f"            {after}[j] = {after}[j]{terms(['i', 'i + 1', 'i + 2', 'i + 3'])};"]


def _activated(activation: str, n: int, layer: str, names: Names) -> list[str]:
    other = names.unique("g") if activation == "gelu" else ""
    lines = [f"    double {other}[{n}];"] if other else []
    for text in _ACTIVATIONS[activation]:
        lines += _each(0, n, text.format(h=f"{layer}[{{0}}]", g=f"{other}[{{0}}]"))
    return lines


def _each(start: int, size: int, text: str) -> list[str]:
    """The statement for every index from `start` on."""
    if size == 1:
        return ["    " + text.replace("{0}", "{}").replace("{}", str(start))]
    body = text.replace("{0}", "{}").replace("{}", "j")
    return [f"    for (int j = {start}; j < {start + size}; j++)", f"        {body}"]


def _squashed(port: PortType, z: str, own: Own) -> str:
    """From any number to the port's range."""
    low, high = ends(port)
    scale = "" if unit_scale(port) == 1 else f"{unit_scale(port)!r}*"
    if low is not None and high is not None:
        return f"{low!r} + {high - low!r}*{own('sigmoid')}(2.0*{z})"
    if low is not None:
        return f"{low!r} + {scale}{own('softplus')}({z})"
    return f"{high!r} - {scale}{own('softplus')}({z})" if high is not None else f"{scale}{z}"


# ---------------------------------------------------------------- weights


def weights_c(name: str, values: Mapping[str, Any]) -> list[str]:
    """The matrices and vectors; `values` holds `w`, one [inputs][outputs] list a layer, and `b`."""
    lines: list[str] = []
    for i, (w, b) in enumerate(zip(values["w"], values["b"], strict=True), 1):
        if w:
            rows = [line for row in w for line in ["    {", *_wrapped(row, "        "), "    },"]]
            lines += [f"static const double {name}_W{i}[{len(w)}][{len(b)}] = {{", *rows, "};"]
        lines += [f"static const double {name}_B{i}[{len(b)}] = {{", *_wrapped(b, "    "), "};"]
    return lines


def numbers_c(name: str, values: Sequence[Any]) -> list[str]:
    """`static const double name[] = {…};`"""
    return [f"static const double {name}[{len(values)}] = {{", *_wrapped(values, "    "), "};"]


def _wrapped(values: Sequence[Any], indent: str) -> list[str]:
    text = ", ".join(map(literal_c, values)) + ","
    wrapped = textwrap.wrap(text, 116 - len(indent), break_long_words=False, break_on_hyphens=False)
    return [indent + line for line in wrapped]


def literal_c(value: Any) -> str:
    """The double that it is."""
    number = float(value)
    if math.isfinite(number):
        return repr(number)
    return "NAN" if math.isnan(number) else "INFINITY" if number > 0 else "-INFINITY"
