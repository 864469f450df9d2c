"""`dpl check FILE…`: whether files are right, with neither SymPy nor JAX."""

from __future__ import annotations

import argparse
from typing import Any

from dpl.cli.codes import DONE, WRONG


def add(commands: Any) -> None:
    parser = commands.add_parser("check", help="check files without running them", allow_abbrev=False)
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(command=check)


def check(arguments: argparse.Namespace) -> int:
    from dpl import language
    from dpl.cli import diagnose
    from dpl.language.diagnostics import CompileError

    files: list[dict[str, Any]] = []
    for path in arguments.files:
        try:
            found, right = language.load(path).warnings, True
        except CompileError as error:
            found, right = error.diagnostics, False
        files.append({"file": path, "ok": right, "diagnostics": diagnose.as_json(found)})
        if not arguments.json:
            diagnose.show(found)
            print(f"{path}: {_verdict(right, len(found))}")
    if arguments.json:
        diagnose.write_json({"files": files})
    return DONE if all(file["ok"] for file in files) else WRONG


def _verdict(right: bool, count: int) -> str:
    if right:
        return f"ok, {count} warning{'s' * (count > 1)}" if count else "ok"
    return f"{count} problem{'s' * (count > 1)}"
