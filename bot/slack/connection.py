"""The Socket Mode connection, watched: ``slack_sdk`` reconnects by itself, and what stays down is built anew.

``slack_sdk`` tries a WebSocket address again that Slack takes only once, so after a while only a new client helps.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from bot.errors import Temporary
from bot.slack.calls import call
from bot.slack.client import SlackClients

if TYPE_CHECKING:
    from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
    from slack_bolt.async_app import AsyncApp

_log = logging.getLogger(__name__)


class SocketConnection:
    """Keeps one connection open while ``run`` runs.

    ``ping_interval``: seconds within which a lost connection is noticed. ``rebuild_after``: seconds of silence after
    which the client is replaced.
    """

    def __init__(
        self, *, app: AsyncApp, clients: SlackClients, ping_interval: float = 2.0, rebuild_after: float = 15.0
    ) -> None:
        self._app = app
        self._clients = clients
        self._ping_interval = ping_interval
        self._rebuild_after = rebuild_after
        self._down_since: float | None = None
        self._connected = asyncio.Event()
        self._lost = asyncio.Event()

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    async def wait_connected(self) -> None:
        """Until Slack is connected."""
        await self._connected.wait()

    async def wait_lost(self) -> None:
        """Until it is found out that Slack is not connected."""
        await self._lost.wait()

    def problem(self, *, longer_than: float = 0.0) -> str | None:
        """None, or since when Slack is not connected, if that is longer than so many seconds."""
        if self.connected:
            return None
        down = asyncio.get_running_loop().time() - (self._down_since or 0.0) if self._down_since else 0.0
        return f"not connected to Slack for {down:.0f} s" if down >= longer_than else None

    async def run(self) -> None:
        """Connects and stays connected until cancelled. Raises ``SlackRefused`` when Slack does not take the token."""
        loop = asyncio.get_running_loop()
        self._down_since = loop.time()
        while True:
            handler = await self._open()
            try:
                await self._watch(handler)
            finally:
                self._connected.clear()
                self._down_since = loop.time()
                await handler.close_async()  # type: ignore[no-untyped-call]
            _log.warning("the connection to Slack stayed down for %.0f s; building it anew", self._rebuild_after)

    async def _open(self) -> AsyncSocketModeHandler:
        from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler  # half a second, socket mode only

        wait = 0.5
        while True:
            try:
                answer = await call("apps.connections.open", self._clients.app.api_call("apps.connections.open"))
                break
            except Temporary as error:
                _log.warning("cannot connect to Slack yet: %s", error)
                await asyncio.sleep(error.retry_after or wait)
                wait = min(10.0, wait * 2)
        handler = AsyncSocketModeHandler(
            self._app,
            app_token=self._clients.app.token or "",
            web_client=self._clients.app,
            ping_interval=self._ping_interval,
        )
        handler.client.wss_uri = answer["url"]
        return handler

    async def _watch(self, handler: AsyncSocketModeHandler) -> None:
        """Returns when the connection has been down too long."""
        loop = asyncio.get_running_loop()
        connecting = asyncio.create_task(handler.client.connect(), name="slack connect")  # type: ignore[no-untyped-call]
        try:
            while True:
                # the first look comes soon, later ones cost nothing worth saving
                await asyncio.sleep(0.05 if not self.connected else 0.5)
                session = handler.client.current_session
                if session is not None and await handler.client.is_connected():
                    if not self.connected:
                        _log.info("connected to Slack")
                    self._down_since = None
                    self._lost.clear()
                    self._connected.set()
                    continue
                if self._down_since is None:
                    self._down_since = loop.time()
                    _log.warning("the connection to Slack is lost")
                self._connected.clear()
                self._lost.set()
                if loop.time() - self._down_since > self._rebuild_after:
                    return
        finally:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
