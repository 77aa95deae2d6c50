"""Bots made with Bolt, to show the workspace from a real client's side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from dev.slack import SlackWorkspace


def bolt_app(slack: SlackWorkspace) -> AsyncApp:
    """An app of this workspace without listeners."""
    client = AsyncWebClient(token=slack.bot_token, base_url=slack.api_url)
    return AsyncApp(client=client, signing_secret=slack.signing_secret)


@asynccontextmanager
async def connected(slack: SlackWorkspace, app: AsyncApp) -> AsyncIterator[AsyncSocketModeHandler]:
    """The app connected by Socket Mode."""
    web_client = AsyncWebClient(token=slack.app_token, base_url=slack.api_url)
    handler = AsyncSocketModeHandler(app, slack.app_token, web_client=web_client, ping_interval=0.5)
    before = slack.connections
    await handler.connect_async()  # type: ignore[no-untyped-call]
    await slack.connected(before + 1)
    try:
        yield handler
    finally:
        await handler.close_async()  # type: ignore[no-untyped-call]


@asynccontextmanager
async def raw_socket(slack: SlackWorkspace) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A WebSocket without a framework, past its hello: the test itself decides about acks."""
    client = AsyncWebClient(token=slack.app_token, base_url=slack.api_url)
    url = (await client.apps_connections_open(app_token=slack.app_token))["url"]
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        assert (await socket.receive_json())["type"] == "hello"
        yield socket


@asynccontextmanager
async def served(app: AsyncApp, runner_port: int) -> AsyncIterator[None]:
    """The app behind its request URL at ``/slack/events``."""
    server = app.web_app(path="/slack/events", port=runner_port)
    runner = web.AppRunner(server, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", runner_port).start()
    try:
        yield
    finally:
        await runner.cleanup()
