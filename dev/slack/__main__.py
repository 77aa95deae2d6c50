"""``python -m dev.slack [--port N]``: the workspace alone, until Ctrl-C.

Prints one JSON object with its addresses and tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
from pathlib import Path

from dev.slack.model import DEFAULT_CHANNELS, DEFAULT_USERS, Limits
from dev.slack.workspace import SlackWorkspace
from dev.toolchain import Toolchain


async def _serve(program: Path, port: int, limits: Limits) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    async with SlackWorkspace.running(program=program, port=port, limits=limits) as workspace:
        print(json.dumps(describe(workspace)), flush=True)
        await ended.wait()


def describe(workspace: SlackWorkspace) -> dict[str, object]:
    """What somebody needs to reach the workspace."""
    return {
        "url": workspace.url,
        "api_url": workspace.api_url,
        "control_url": f"{workspace.url}/_control",
        "bot_token": workspace.bot_token,
        "app_token": workspace.app_token,
        "signing_secret": workspace.signing_secret,
        "team_id": workspace.team_id,
        "channels": {channel.name: channel.id for channel in DEFAULT_CHANNELS},
        "users": {user.name: user.id for user in DEFAULT_USERS},
    }


def main() -> None:
    """Reads the options and serves."""
    parser = argparse.ArgumentParser(prog="python -m dev.slack")
    parser.add_argument("--program", type=Path, help="local-slack (default: from the toolchain)")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--kind", action="store_true", help="no limits")
    options = parser.parse_args()
    limits = Limits.off() if options.kind else Limits.strict()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(options.program or Toolchain().path("local-slack"), options.port, limits))


if __name__ == "__main__":
    main()
