"""Trajectories as files and in short: both in declared units."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, cast

import numpy as np

from dpl.runtime.program import Run
from dpl.tasks.result import number


def extremes(run: Run) -> Iterator[tuple[str, ...]]:
    """Name, unit, first, last, lowest and highest value of each observed quantity."""
    for name in run.names:
        values = run[name]
        yield name, run.units[name], *map(number, (values[0], values[-1], np.min(values), np.max(values)))


# ---------------------------------------------------------------- files


def encoded(run: Run, form: str) -> bytes:
    """The bytes of a file of one of `FORMATS`."""
    return FORMATS[form](run)


def missing(form: str) -> str | None:
    """What has to be installed for a format; None if nothing."""
    lacking = [name for name in NEEDS.get(form, ()) if find_spec(name) is None]
    return f"--format {form} needs {' and '.join(lacking)}: pip install 'dpl[{form}]'" if lacking else None


def as_csv(run: Run) -> bytes:
    """One column per observed number, `T[0]`, `T[1]` of arrays, headed `name [unit]`."""
    columns = {headed(name, unit): values for name, unit, values in _columns(run)}
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))
    return text.getvalue().encode()


def as_parquet(run: Run) -> bytes:
    """Columns as in CSV but named without units, which are in each field's metadata."""
    import pyarrow
    from pyarrow import parquet

    arrow, writer = cast(Any, pyarrow), cast(Any, parquet)
    columns = [(name, unit, np.ascontiguousarray(values)) for name, unit, values in _columns(run)]
    fields = [arrow.field(name, arrow.float64(), metadata={"unit": unit}) for name, unit, _ in columns]
    file = io.BytesIO()
    writer.write_table(arrow.table([values for *_, values in columns], schema=arrow.schema(fields)), file)
    return file.getvalue()


def as_netcdf(run: Run) -> bytes:
    """NetCDF-4: a variable per quantity over `time`, arrays with axes of their own, each with its `units`."""
    import h5netcdf

    file = io.BytesIO()
    with cast(Any, h5netcdf).File(file, "w") as data:
        data.dimensions = {"time": run.time.size}
        _variable(data, "time", ("time",), run.time, run.time_unit)
        for name in run.names:
            values = run[name]
            axes = tuple(f"{name}.axis{i}" for i in range(values.ndim - 1))
            for axis, size in zip(axes, values.shape[1:], strict=True):
                data.dimensions[axis] = size
            _variable(data, name, ("time", *axes), values, run.units[name])
    return file.getvalue()


def _variable(data: Any, name: str, axes: tuple[str, ...], values: np.ndarray, unit: str) -> None:
    variable = data.create_variable(name, axes, float)
    variable[...] = values
    variable.attrs["units"] = unit or "1"


FORMATS: Mapping[str, Callable[[Run], bytes]] = {"csv": as_csv, "parquet": as_parquet, "netcdf": as_netcdf}
ENDINGS: Mapping[str, str] = {"csv": "csv", "parquet": "parquet", "netcdf": "nc"}
NEEDS: Mapping[str, tuple[str, ...]] = {"parquet": ("pyarrow",), "netcdf": ("h5netcdf", "h5py")}


def _columns(run: Run) -> Iterator[tuple[str, str, np.ndarray]]:
    """Name, unit and values of each observed number."""
    yield "time", run.time_unit, run.time
    for name in run.names:
        rows = run[name]
        for index in np.ndindex(*rows.shape[1:]):
            element = f"{name}[{', '.join(map(str, index))}]" if index else name
            yield element, run.units[name], rows[(slice(None), *index)]


def headed(name: str, unit: str) -> str:
    return f"{name} [{unit}]" if unit else name
