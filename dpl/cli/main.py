"""The `dpl` command: reads the command line and returns an exit code.

A user's mistake is told in a few lines and never as a traceback; set DPL_TRACEBACK=1 to see one all the same.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from dpl.cli import check, emit, export, run, runs, show
from dpl.cli.codes import BROKEN_PIPE, DONE, INTERRUPTED, WRONG
from dpl.version import __version__

EPILOG = """exit codes:
  0    done, and all that was to be verified holds
  1    a `verify` failed, or an `optimize` found nothing that satisfies its constraints
  2    the model or the command line is wrong
  3    a number that is not finite stopped a task, or a run did not end well
  4    done, but not all of it could be saved
  130  interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  a closed one is None
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    try:
        try:
            return _command(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        print("dpl: interrupted", file=sys.stderr)
        return INTERRUPTED


def _command(argv: Sequence[str] | None) -> int:
    arguments = _arguments(argv)
    try:
        return arguments.command(arguments)
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        if os.environ.get("DPL_TRACEBACK"):
            raise
        print(f"dpl: {_sentence(error)}", file=sys.stderr)
        return WRONG


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; tasks may stand after options too, which argparse leaves over."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(arguments, "tasks") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.tasks = [*arguments.tasks, *rest]
    arguments.line = list(sys.argv[1:] if argv is None else argv)
    return arguments


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dpl",
        description="Differentiable models in a declarative language: check, run, train and verify them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (run, runs, check, show, emit, export):
        command.add(commands)
    return parser


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, **_: object):
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"dpl {__version__}")
        parser.exit(DONE)
