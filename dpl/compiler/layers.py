"""A network as plain Python: scaled, through its layers, squashed onto its ranges, in SI; see `runtime/networks.py`.

One row of a weight matrix belongs to one neuron, so that a layer is `W.dot(h) + B`. Every call of NumPy costs half as
much as a layer of 32: the biases of the first layer are the weights of an input that is always 1, and those of outputs
that are numbers are added as such.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from dpl.compiler.literals import WIDTH
from dpl.compiler.names import Names, identifier
from dpl.language.model import NetworkUse, PortType

Scalar = Callable[..., str]
"""The call of a function of numbers: name, arguments"""

_ACTIVATIONS = {
    "tanh": "np.tanh({})",
    "relu": "np.maximum({}, 0.0)",
    "sigmoid": "np.exp(-np.logaddexp(0.0, -({})))",
    "softplus": "np.logaddexp(0.0, {})",
    "sin": "np.sin({})",
    "gelu": "0.5*h*(1.0 + np.tanh(0.7978845608028654*(h + 0.044715*h**3)))",
    "silu": "h*np.exp(-np.logaddexp(0.0, -h))",
}


def network_function(use: NetworkUse, name: str, weights: str, taken: Sequence[str], scalar: Scalar) -> list[str]:
    """The lines after `def name(`…: a number or an array, several as a tuple. `weights` begins the matrices' names."""
    assert use.options is not None
    names = Names((*taken, "h", "z"))
    arguments = [names.unique(identifier(p.name)) for p in use.inputs]
    typed = ", ".join(f"{a}: {_type(p)}" for a, p in zip(arguments, use.inputs, strict=True))
    kind = _type(use.outputs[0]) if len(use.outputs) == 1 else "tuple[Any, ...]"
    lines = [f"def {name}({typed}) -> {kind}:"]
    if len(lines[0]) > WIDTH:
        lines = [f"def {name}(", *(f"    {t}," for t in typed.split(", ")), f") -> {kind}:"]
    lines += [f'    """A network with {described(use.options.hidden)}; in SI units."""']
    given = [scaled(p, a) for p, a in zip(use.inputs, arguments, strict=True)]
    product, bias = f"{weights}_W1.dot({_gathered(given, use.inputs)})", ""
    activation = _ACTIVATIONS[use.options.activation]
    for layer in range(2, len(use.options.hidden) + 2):
        once = "{}" in activation
        value = product + bias
        lines += [f"    h = {activation.format(value)}"] if once else [f"    h = {value}", f"    h = {activation}"]
        product, bias = f"{weights}_W{layer}.dot(h)", f" + {weights}_B{layer}"
    return lines + _results(use.outputs, product, bias, scalar)


def matrix_names(use: NetworkUse, name: str) -> list[str]:
    """What `weight_lines` defines."""
    assert use.options is not None
    last = len(use.options.hidden) + 1
    return [f"{name}_W1", *(f"{name}_{kind}{i}" for i in range(2, last + 1) for kind in "WB")]


def weight_lines(use: NetworkUse, name: str, values: Mapping[str, Any]) -> list[str]:
    """The matrices and vectors; `values` holds `w`, one [inputs][outputs] list a layer, and `b`."""
    lines: list[str] = []
    for i, (w, b) in enumerate(zip(values["w"], values["b"], strict=True), 1):
        rows: Any = [list(column) for column in zip(*([*w, b] if i == 1 else w), strict=True)]
        last = i == len(values["w"])
        if last and _single(use.outputs):
            rows, b = rows[0], b[0]
        lines += array(f"{name}_W{i}", rows)
        if i > 1:
            lines += [f"{name}_B{i} = {literal(b)}"] if last and _numbers(use.outputs) else array(f"{name}_B{i}", b)
    return lines


def array(name: str, value: Any) -> list[str]:
    """`name = np.array([...])`, or `name = 1.0` of a number."""
    if not isinstance(value, list):
        return [f"{name} = {literal(value)}"]
    text = literal(value)
    if len(name) + len(text) + 12 <= WIDTH:
        return [f"{name} = np.array({text})"]
    rows = cast("list[Any]", value)
    if not isinstance(rows[0], list):
        return [f"{name} = np.array(", *_wrapped(text), ")"]
    return [f"{name} = np.array([", *(line for row in rows for line in _wrapped(literal(row))), "])"]


def _wrapped(text: str) -> list[str]:
    wrapped = textwrap.wrap(f"{text},", WIDTH - 4, break_long_words=False, break_on_hyphens=False)
    return [f"    {line}" for line in wrapped]


def literal(value: Any) -> str:
    """Nested lists of numbers, each as the double that it is."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, cast('Sequence[Any]', value)))}]"
    number = float(value)
    return repr(number) if math.isfinite(number) else f"float({str(number)!r})"


# ---------------------------------------------------------------- in and out


def _type(port: PortType) -> str:
    return "np.ndarray" if port.shape else "float"


def _single(outputs: Sequence[PortType]) -> bool:
    return [p.shape for p in outputs] == [()]


def described(sizes: Sequence[int]) -> str:
    if not sizes:
        return "no hidden layer"
    return f"{'a hidden layer' if len(sizes) == 1 else 'hidden layers'} of {' and '.join(map(str, sizes))}"


def ends(port: PortType) -> tuple[float | None, float | None]:
    low, high = (None if b is None or not math.isfinite(b) else b for b in (port.low, port.high))
    return low, high


def unit_scale(port: PortType) -> float:
    return 1.0 if port.unit is None else float(port.unit.scale)


def scaled(port: PortType, name: str) -> str:
    """An input on the way into the first layer, as text that Python and C both read."""
    low, high = ends(port)
    if low is None or high is None:
        return name if unit_scale(port) == 1 else f"{name}/{unit_scale(port)!r}"
    middle, factor = 0.5 * (low + high), 2.0 / (high - low)
    shifted = name if middle == 0 else f"({name} {'-' if middle > 0 else '+'} {abs(middle)!r})"
    return shifted if factor == 1 else f"{shifted}*{factor!r}"


def _gathered(values: list[str], ports: Sequence[PortType]) -> str:
    """What goes into the first layer, and 1."""
    if any(p.shape for p in ports):
        return f"np.concatenate(({', '.join(f'np.ravel({v})' for v in values)}, (1.0,)))"
    return f"({', '.join([*values, '1.0'])})" if values else "(1.0,)"


def _numbers(outputs: Sequence[PortType]) -> bool:
    return not any(p.shape for p in outputs)


def _results(outputs: Sequence[PortType], product: str, bias: str, scalar: Scalar) -> list[str]:
    """The last layer, and what it says of each output."""
    if _single(outputs):
        return [f"    z = float({product}){bias}", f"    return {_squashed(outputs[0], 'z', scalar)}"]
    if _numbers(outputs):
        terms = [f"z[{i}]{bias}[{i}]" if bias else f"z[{i}]" for i in range(len(outputs))]
        parts = [_squashed(p, f"({t})" if bias else t, scalar) for p, t in zip(outputs, terms, strict=True)]
        return [f"    z = {product}.tolist()", f"    return {', '.join(parts)}"]
    parts: list[str] = []
    at = 0
    for port in outputs:
        size = math.prod(port.shape)
        z = f"z[{at}:{at + size}].reshape({port.shape})" if port.shape else f"z[{at}]"
        parts.append(_squashed(port, z, scalar) if port.shape else f"float({_squashed(port, z, scalar)})")
        at += size
    return [f"    z = {product}{bias}", f"    return {', '.join(parts)}"]


def _squashed(port: PortType, z: str, scalar: Scalar) -> str:
    """From any number to the port's range."""
    low, high = ends(port)
    scale = "" if unit_scale(port) == 1 else f"{unit_scale(port)!r}*"
    if low is not None and high is not None:
        squashed = f"np.exp(-np.logaddexp(0.0, -2.0*{z}))" if port.shape else scalar("sigmoid", f"2.0*{z}")
        return f"{low!r} + {high - low!r}*{squashed}"
    squashed = f"np.logaddexp(0.0, {z})" if port.shape else scalar("softplus", z)
    if low is not None:
        return f"{low!r} + {scale}{squashed}"
    return f"{high!r} - {scale}{squashed}" if high is not None else f"{scale}{z}"
