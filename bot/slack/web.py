"""The HTTP side: health for Kubernetes, and in HTTP mode Slack's requests (signature and age checked by Bolt)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Probe = Callable[[], str | None]
"""None when all is well, else what is wrong."""


def web_app(
    *, live: Mapping[str, Probe], ready: Mapping[str, Probe], app: AsyncApp | None = None, path: str = "/slack/events"
) -> web.Application:
    """``/healthz`` answers 503 when a restart would help, ``/readyz`` when people cannot use the bot now.

    With ``app`` also ``path``, where Slack posts commands and clicks in HTTP mode.
    """
    application = web.Application()
    application.router.add_get("/healthz", _health(live))
    application.router.add_get("/readyz", _health(ready))
    if app is not None:
        application.router.add_post(path, _slack(app))
    return application


@asynccontextmanager
async def serving(application: web.Application, *, host: str, port: int) -> AsyncIterator[int]:
    """Serves until left; the port that was taken (``port`` 0 takes a free one)."""
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _health(probes: Mapping[str, Probe]) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        problems = {name: problem for name, probe in probes.items() if (problem := probe()) is not None}
        body = {"status": "bad" if problems else "ok", **problems}
        return web.json_response(body, status=503 if problems else 200)

    return handle


def _slack(app: AsyncApp) -> Handler:
    from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request  # HTTP mode only

    async def handle(request: web.Request) -> web.Response:
        return await to_aiohttp_response(await app.async_dispatch(await to_bolt_request(request)))

    return handle
