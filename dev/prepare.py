"""Makes sure that every program of the throwaway world is there: `python -m dev.prepare`."""

from __future__ import annotations

import sys
import time

from dev.toolchain import Toolchain, ToolError


def main() -> int:
    """Find or make everything and say in a line each what is used."""
    started = time.monotonic()
    try:
        found = Toolchain().need()
    except ToolError as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 1
    for name, tool in found.items():
        print(f"prepare: {name:24}{tool.where}: {tool.path}", file=sys.stderr)
    print(f"prepare: everything is there ({time.monotonic() - started:.1f} s)", file=sys.stderr)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
