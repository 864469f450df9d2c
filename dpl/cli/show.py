"""`dpl show FILE`: any intermediate form of a compilation, or its equations and structure."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from dpl.cli.codes import DONE, WRONG

STAGES = ("ast", "model", "system", "ir", "jax")


def add(commands: Any) -> None:
    parser = commands.add_parser("show", help="show what a file becomes on its way to JAX", allow_abbrev=False)
    parser.add_argument("file", metavar="FILE")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--stage", choices=STAGES, default="system", help="which form to show (default: system)")
    what.add_argument("--latex", dest="stage", action="store_const", const="latex", help="the equations in LaTeX")
    what.add_argument(
        "--graph", dest="stage", action="store_const", const="graph", help="parts, wiring and modes, in Mermaid"
    )
    what.add_argument("--svg", dest="stage", action="store_const", const="svg", help="the same, drawn as SVG")
    parser.set_defaults(command=show)


def show(arguments: argparse.Namespace) -> int:
    from dpl import language
    from dpl.cli import diagnose
    from dpl.compiler.driver import stage
    from dpl.language.diagnostics import CompileError

    try:
        text = stage(language.load(arguments.file), arguments.stage)
    except CompileError as error:
        diagnose.show(error.diagnostics)
        return WRONG
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    return DONE
