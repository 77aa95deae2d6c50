"""All stand-ins on ports of 127.0.0.1, for as long as a block lasts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from aiohttp import web

from dev.standins import control, opal, qdrant, server
from dev.standins.directory import PodDirectory
from dev.standins.listening import SERVER_PORT
from dev.standins.node import ProbeNode
from dev.standins.state import World
from dev.standins.watch import WatchedPods

HOST: Final = "127.0.0.1"
CONTROL: Final = "control"
POD_PORTS: Final = (
    SERVER_PORT,
    server.METRICS_PORT,
    qdrant.PORT,
    opal.OPAL_SERVER_PORT,
    opal.OPAL_CLIENT_PORT,
    opal.CEDAR_PORT,
)
"""The pods' ports that are played."""


@dataclass(frozen=True)
class Standins:
    """Running stand-ins; ``ports`` is the local port by the pod's port as text, and ``control``."""

    ports: Mapping[str, int]

    @property
    def control_url(self) -> str:
        """Where ``StandinControl`` connects."""
        return f"http://{HOST}:{self.ports[CONTROL]}"

    def url(self, port: int) -> str:
        """Where requests for the pods' ``port`` are answered, with a Host header that says which pod."""
        return f"http://{HOST}:{self.ports[str(port)]}"

    @classmethod
    @asynccontextmanager
    async def running(
        cls,
        *,
        kubeconfig: Path | None = None,
        directory: PodDirectory | None = None,
        ports: Mapping[str, int] | None = None,
    ) -> AsyncIterator[Self]:
        """Serve the pods of ``directory``, or those of the API server of ``kubeconfig``, whose probes are run too.

        ``ports`` asks for certain local ports, in the form of the attribute; the others are free ones.
        """
        async with AsyncExitStack() as stack:
            if directory is None:
                if kubeconfig is None:
                    raise ValueError("running() wants a kubeconfig or a directory of pods")
                directory = await stack.enter_async_context(WatchedPods.watching(kubeconfig))
            taken = {}
            for name, app in _applications(directory, World()).items():
                runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
                await runner.setup()
                stack.push_async_callback(runner.cleanup)
                await web.TCPSite(runner, HOST, (ports or {}).get(name, 0)).start()
                taken[name] = int(runner.addresses[0][1])
            if kubeconfig is not None:
                await stack.enter_async_context(ProbeNode.playing(kubeconfig, taken))
            yield cls(taken)


def _applications(directory: PodDirectory, world: World) -> dict[str, web.Application]:
    apps = {
        SERVER_PORT: server.http(directory, world),
        server.METRICS_PORT: server.metrics(directory, world),
        qdrant.PORT: qdrant.http(directory, world),
        **{port: opal.http(port, directory, world) for port in POD_PORTS[3:]},
    }
    return {**{str(port): app for port, app in apps.items()}, CONTROL: control.http(directory, world)}
