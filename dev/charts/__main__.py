"""``python -m dev.charts``: serve the chart repository until Ctrl-C, SIGTERM, or the end of its parent.

Prints one line of JSON when it answers: ``{"url": …, "versions": […]}``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from dev.charts import GOOD_VERSIONS, ChartRepository
from dev.standins.lifetime import Lifetime


async def _serve(arguments: argparse.Namespace) -> None:
    lifetime = Lifetime()
    versions = None
    if arguments.good_only:
        versions = [*GOOD_VERSIONS, *arguments.also]
    async with ChartRepository.running(arguments.write_to, port=arguments.port, versions=versions) as repository:
        print(json.dumps({"url": repository.url, "versions": repository.versions}), flush=True)
        await lifetime.over()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m dev.charts", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: a free port")
    parser.add_argument("--write-to", type=Path, help="write archives and index into this directory too")
    parser.add_argument("--good-only", action="store_true", help="leave out the versions meant to fail")
    parser.add_argument("--also", action="append", default=[], metavar="VERSION", help="with --good-only: this one too")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
