"""`dpl emit FILE -o out.py`: the generated JAX module."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dpl.cli.codes import DONE, WRONG


def add(commands: Any) -> None:
    parser = commands.add_parser("emit", help="write the generated JAX module", allow_abbrev=False)
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("-o", "--output", metavar="OUT", help="where to write it (default: standard output)")
    parser.set_defaults(command=emit)


def emit(arguments: argparse.Namespace) -> int:
    from dpl import language
    from dpl.cli import diagnose
    from dpl.compiler.driver import compile_model
    from dpl.language.diagnostics import CompileError

    try:
        model = language.load(arguments.file)
        source = compile_model(model).source
    except CompileError as error:
        diagnose.show(error.diagnostics)
        return WRONG
    diagnose.show(model.warnings)
    if arguments.output and arguments.output != "-":
        Path(arguments.output).write_text(source, encoding="utf-8")
    else:
        sys.stdout.write(source)
    return DONE
