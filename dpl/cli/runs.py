"""`dpl runs [DIR]`: the runs in a folder and what became of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dpl.cli.codes import DONE


def add(commands: Any) -> None:
    parser = commands.add_parser("runs", help="list runs and what became of them", allow_abbrev=False)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs"), metavar="DIR", help="default: runs")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(command=runs)


def runs(arguments: argparse.Namespace) -> int:
    from dpl.cli.diagnose import write_json
    from dpl.results import runs, table

    found = runs.listed(arguments.folder)
    if arguments.json:
        write_json(runs.document(arguments.folder, found))
    elif found:
        table.show([runs.table(found)], sys.stdout)
    else:
        print(f"no runs in {arguments.folder}")
    return DONE
