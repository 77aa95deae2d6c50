"""`python -m dev.controlplane`: starts a control plane, prints one JSON object, and stays until it is told to end.

`--forward 8080=41234` (repeatable) leads pods' port 8080 to 127.0.0.1:41234; `--standins` starts dev.standins and
leads the pods' ports there; `--directory D` is where everything lies; `--follow PID` ends with that process instead
of with the parent.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dev.controlplane.lifetime import Lifetime
from dev.controlplane.plane import ControlPlane, ControlPlaneError
from dev.toolchain import Toolchain, ToolError


def main() -> int:
    """Run until a signal, the end of the process followed, or the death of a part (then 1)."""
    parser = argparse.ArgumentParser(prog="python -m dev.controlplane", description=__doc__)
    parser.add_argument("--directory", type=Path, default=None)
    parser.add_argument("--forward", type=_pair, action="append", default=[], metavar="POD_PORT=LOCAL_PORT")
    parser.add_argument("--follow", type=int, default=None, metavar="PID")
    parser.add_argument("--standins", action="store_true")
    arguments = parser.parse_args()
    lifetime = Lifetime(arguments.follow)
    plane = ControlPlane(
        Toolchain(), arguments.directory, forwards=dict(arguments.forward), standins=arguments.standins
    )
    try:
        with plane as running:
            print(running.to_json(), flush=True)
            trouble = lifetime.stay(plane.ended)
    except (ControlPlaneError, ToolError) as error:
        trouble = str(error)
    if trouble is not None:
        print(f"controlplane: {trouble}", file=sys.stderr)
        return 1
    return 0


def _pair(text: str) -> tuple[int, int]:
    there, _, here = text.partition("=")
    return int(there), int(here)


if __name__ == "__main__":
    sys.exit(main())
