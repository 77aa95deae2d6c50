"""``python -m dev.standins``: play the services of every pod until SIGTERM, Ctrl-C, or the end of the parent.

Prints one line of JSON when all ports are open: the local port by the pod's port, and ``control``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
from pathlib import Path

from dev.standins.lifetime import Lifetime
from dev.standins.running import CONTROL, POD_PORTS, Standins


async def _serve(kubeconfig: Path, ports: dict[str, int]) -> None:
    lifetime = Lifetime()
    async with Standins.running(kubeconfig=kubeconfig, ports=ports) as standins:
        print(json.dumps(standins.ports), flush=True)
        await lifetime.over()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m dev.standins", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    names = [*map(str, POD_PORTS), CONTROL]
    for name in names:
        parser.add_argument(f"--port-{name}", type=int, default=0, metavar="N", help="0: a free port")
    arguments = vars(parser.parse_args())
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(_serve(arguments["kubeconfig"], {name: arguments[f"port_{name}"] for name in names}))


if __name__ == "__main__":
    main()
