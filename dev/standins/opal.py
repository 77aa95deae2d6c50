"""OPAL server (7002), OPAL client (7000) and Cedar agent (8180), as far as their health is asked for."""

from __future__ import annotations

from aiohttp import web

from dev.standins.directory import PodDirectory
from dev.standins.listening import application, call_of
from dev.standins.state import World

OPAL_SERVER_PORT, OPAL_CLIENT_PORT, CEDAR_PORT = 7002, 7000, 8180


def http(port: int, directory: PodDirectory, world: World) -> web.Application:
    """The application for one of the three ports."""
    app = application(port, directory, world)
    for path in ("/", "/healthcheck", "/health"):
        app.router.add_get(path, _healthy)
    return app


async def _healthy(request: web.Request) -> web.Response:
    if call_of(request).state.switches.opal == "failing":
        return web.json_response({"status": "unavailable"}, status=503)
    return web.json_response({"status": "ok"})
