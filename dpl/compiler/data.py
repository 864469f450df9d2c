"""The declarations of data, tables and observations: `spec.Data`, `spec.Table`, `spec.Observation`."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

from dpl.compiler.literals import Make, Numbers, Packed
from dpl.compiler.observations import keys
from dpl.language import syntax
from dpl.language.model import DataUse, Observation, TableUse, Variable
from dpl.language.units import Unit

MOST_WRITTEN = 500
"""Cells up to which data stand in the text as numbers"""


def data(use: DataUse) -> Make:
    """`spec.Data`, with the values as they were read."""
    columns = [v for v in use.scope.names.values() if isinstance(v, Variable)]
    packed = use.rows * len(columns) > MOST_WRITTEN
    return Make(
        "spec.Data",
        {
            "name": use.name,
            "columns": tuple(_column(v, use, packed) for v in columns),
            "groups": use.groups or None,
            "record": use.name if isinstance(use.item, syntax.Task) else None,
            "origin": use.item.span.origin,
        },
    )


def _column(variable: Variable, use: DataUse, packed: bool) -> Make:
    name = variable.declaration.name
    role = {use.time: "time", use.group: "group"}.get(name)
    return Make(
        "spec.Column",
        {
            "name": name,
            "values": numbers(use.columns[name], packed) if use.columns.get(name) else None,
            "unit": unit(variable.display),
            "role": role,
        },
    )


def numbers(values: Sequence[float], packed: bool) -> Numbers | Packed:
    """Numbers in a row; packed they are little-endian doubles in base64, which `runtime/packed.py` reads."""
    if not packed:
        return Numbers(tuple(map(float, values)))
    return Packed("packed.numbers", base64.b64encode(struct.pack(f"<{len(values)}d", *values)).decode())


def table(use: TableUse) -> Make:
    """`spec.Table`."""
    packed = 2 * len(use.knots) > MOST_WRITTEN
    return Make(
        "spec.Table",
        {
            "name": use.path,
            "knots": numbers(use.knots, packed),
            "values": numbers(use.values, packed),
            "using": None if use.using == "linear" else use.using,
            "input_unit": unit(use.input.display),
            "unit": unit(use.output.display),
            "origin": use.item.span.origin,
        },
    )


def observation(observed: Observation) -> Make:
    """`spec.Observation`."""
    o = observed
    return Make(
        "spec.Observation",
        {
            "name": o.name,
            "distribution": o.distribution,
            "data": o.data.name if o.data else None,
            "column": o.column.declaration.name if o.column else None,
            "unit": unit(o.display),
            "timed": o.timed or None,
            "estimated": o.estimated or None,
            "below": (o.below is not None) or None,
            "above": (o.above is not None) or None,
            "keys": None if o.timed else keys(o),
            "origin": o.span.origin,
        },
    )


def given(column: Variable) -> dict[str, Any]:
    """What `spec.Given` says of a column of the row that a run is given: its nominal value is that of the first run."""
    use = column.data
    assert use is not None
    name = column.declaration.name
    known = [value for value in use.columns.get(name, ()) if value == value]
    return {"value": known[0] if known else None, "data": use.name, "column": name}


def unit(found: Unit) -> Make | None:
    """`spec.Unit`; None of the pure number and of coherent SI without a name."""
    if found.scale == 1 and found.text in ("", "1"):
        return None
    scale = float(found.scale)
    return Make("spec.Unit", {"text": found.text, "scale": None if scale == 1 else scale})
