"""`python -m bench` runs all benchmarks, `python -m bench NAME…` those named."""

from __future__ import annotations

import importlib
import sys

NAMES = ("startup", "compile", "simulate", "cannon", "cartpole", "trebuchet", "stiff", "large", "retrace")


def main(names: list[str]) -> int:
    if unknown := [name for name in names if name not in NAMES]:
        print(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for name in names or NAMES:
        importlib.import_module(f"bench.{name}").main()
        print(flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
