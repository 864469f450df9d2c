"""`dpl export FILE NAME`: a controller, model or network as a file of its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dpl.cli.codes import DONE, WRONG


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "export", help="write a controller or network as Python that needs NumPy alone", allow_abbrev=False
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("name", nargs="?", metavar="NAME", help="which one (default: say what there is)")
    parser.add_argument("--from", dest="start", metavar="RUN", help="with the parameters of a run, or of the last")
    parser.add_argument("--out", metavar="OUT", type=Path, help="where to write it (default: standard output)")
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
    if arguments.jax and arguments.out is None:
        raise ValueError("--jax writes no text: say where to, by --out FILE")
    if arguments.jax:
        try:
            controller.export_jax(arguments.out)
        except ImportError as error:
            raise ValueError(error) from None
    elif arguments.out is not None:
        controller.export(arguments.out)
    else:
        sys.stdout.write(controller.source())
    return DONE
