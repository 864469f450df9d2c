"""`dpl export FILE NAME`: a controller, model or network as files of its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpl.cli.codes import DONE, WRONG

if TYPE_CHECKING:
    from dpl.controllers import Controller


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="write a controller, network or model as Python that needs NumPy alone, or as C",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("name", nargs="?", metavar="NAME", help="which one (default: say what there is)")
    parser.add_argument("--from", dest="start", metavar="RUN", help="with the parameters of a run, or of the last")
    parser.add_argument("-o", "--out", metavar="OUT", type=Path, help="where to write it (default: standard output)")
    parser.add_argument("--c", action="store_true", help="write C99 and its header; so does OUT that ends in `.c`")
    parser.add_argument("--float32", action="store_true", help="C in single precision")
    parser.add_argument("--jax", action="store_true", help="write serialised StableHLO for jax.export.deserialize")
    parser.set_defaults(command=export)


def export(arguments: argparse.Namespace) -> int:
    from dpl.cli import diagnose
    from dpl.language.diagnostics import CompileError

    try:
        return _exported(arguments)
    except CompileError as error:
        diagnose.show(error.diagnostics)
        return WRONG


def _exported(arguments: argparse.Namespace) -> int:
    from dpl import api
    from dpl.results import runs

    earlier = runs.find(arguments.start) if arguments.start is not None else None
    program = api.load(arguments.file)
    notes = program.start_from(earlier.path) if earlier else []
    if arguments.name is None:
        print("\n".join(program.controllers))
        return DONE
    controller = program.controllers[arguments.name]
    if earlier is None and controller.networks:
        notes = [f"{', '.join(controller.networks)} untrained: --from RUN takes the weights of a run"]
    for note in notes:
        print(f"dpl: {note}", file=sys.stderr)
    _write(controller, arguments)
    return DONE


def _write(controller: Controller, arguments: argparse.Namespace) -> None:
    out: Path | None = arguments.out
    in_c = arguments.c or (out is not None and out.suffix == ".c")
    if in_c and arguments.jax:
        raise ValueError("an export is either for JAX or in C: leave one of them out")
    if arguments.float32 and not in_c:
        raise ValueError("--float32 is for C: add --c, or write to a file that ends in `.c`")
    if out is None and in_c:
        raise ValueError("--c writes two files: say where to, by --out FILE.c")
    if out is None and arguments.jax:
        raise ValueError("--jax writes no text: say where to, by --out FILE")
    if out is None:
        sys.stdout.write(controller.source())
    elif in_c:
        controller.export_c(out, float32=arguments.float32)
    elif arguments.jax:
        try:
            controller.export_jax(out)
        except ImportError as error:
            raise ValueError(error) from None
    else:
        controller.export(out)
