"""The whole throwaway world: control plane with stand-ins, Slack workspace, chart repository, a release at 0.2.0.

``python -m dev.world`` starts it, prints one JSON object, and stays until Ctrl-C. Nothing of it survives.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev import configuration, prepare, release
from dev.charts import GOOD_VERSIONS, ChartRepository
from dev.controlplane import ControlPlane, Running
from dev.slack import DEFAULT_CHANNELS, DEFAULT_USERS, Limits, SlackWorkspace
from dev.standins import StandinControl
from dev.toolchain import Toolchain

NAMESPACE = "aeterna"
INSTALLED = "0.2.0"


@dataclass(frozen=True)
class World:
    """Everything that runs, and where the bot finds it."""

    directory: Path
    toolchain: Toolchain
    cluster: Running
    slack: SlackWorkspace
    charts: ChartRepository
    standins: StandinControl
    file: Path

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, *, limits: Limits | None = None) -> AsyncIterator[World]:
        """Starts all of it; removes all of it."""
        toolchain = Toolchain()
        async with contextlib.AsyncExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aeterna-world-")))
            cluster = stack.enter_context(ControlPlane(toolchain, directory / "cluster", standins=True))
            assert cluster.standins is not None
            charts = await stack.enter_async_context(ChartRepository.running(versions=GOOD_VERSIONS))
            slack = await stack.enter_async_context(
                SlackWorkspace.running(program=toolchain.path("local-slack"), limits=limits)
            )
            control = f"http://127.0.0.1:{cluster.standins['control']}"
            standins = await stack.enter_async_context(StandinControl(control))
            await release.install(
                toolchain.path("helm"),
                cluster.kubeconfig,
                namespace=NAMESPACE,
                repository=charts.url,
                version=INSTALLED,
            )
            file = configuration.write(
                directory,
                targets=[configuration.target(namespace=NAMESPACE, repository=charts.url)],
                helm=toolchain.path("helm"),
            )
            yield cls(directory, toolchain, cluster, slack, charts, standins, file)

    def environment(self) -> dict[str, str]:
        """The variables under which ``aeterna-bot serve`` finds this world."""
        return configuration.environment(slack=self.slack, kubeconfig=self.cluster.kubeconfig, file=self.file)

    async def status(self) -> dict[str, Any]:
        """The release's newest revision."""
        return await release.status(self.toolchain.path("helm"), self.cluster.kubeconfig, namespace=NAMESPACE)

    def describe(self) -> dict[str, Any]:
        """What somebody needs to use it."""
        return {
            "kubeconfig": str(self.cluster.kubeconfig),
            "namespace": NAMESPACE,
            "slack_url": self.slack.url,
            "slack_control_url": f"{self.slack.url}/_control",
            "chart_repository": self.charts.url,
            "channels": {channel.name: channel.id for channel in DEFAULT_CHANNELS},
            "users": {user.name: user.id for user in DEFAULT_USERS},
            "configuration": str(self.file),
            "environment": self.environment(),
        }


def ended_by_signal() -> asyncio.Event:
    """Set by Ctrl-C or SIGTERM, so that everything is cleaned up in order."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    return ended


async def _stay() -> None:
    ended = ended_by_signal()
    async with World.running() as world:
        print(json.dumps(world.describe()), flush=True)
        await ended.wait()


def main() -> int:
    """Makes sure that every program is there, then starts the world and stays."""
    if code := prepare.main():
        return code
    asyncio.run(_stay())
    return 0


if __name__ == "__main__":
    sys.exit(main())
