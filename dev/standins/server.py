"""Aeterna's server: health, readiness, version, metrics (ports 8080 and 9090).

Shapes as in cli/src/server/{health,metrics,router}.rs of Aeterna.
"""

from __future__ import annotations

from aiohttp import web

from dev.standins import bodies, memory, sync
from dev.standins.directory import PodDirectory
from dev.standins.listening import SERVER_PORT, Call, application, call_of
from dev.standins.state import World
from dev.standins.versions import says_not_ready, version_of

METRICS_PORT = 9090


def http(directory: PodDirectory, world: World) -> web.Application:
    """The API on port 8080."""
    app = application(SERVER_PORT, directory, world, not_found=_not_found)
    app.router.add_get("/health", _health)
    app.router.add_get("/live", _live)
    app.router.add_get("/ready", _ready)
    memory.add_routes(app, version=_version)
    sync.add_routes(app)
    return app


def metrics(directory: PodDirectory, world: World) -> web.Application:
    """Prometheus text on port 9090."""
    app = application(METRICS_PORT, directory, world)
    app.router.add_get("/metrics", _metrics)
    return app


def _not_found() -> web.Response:
    return bodies.error(404, "not_found", "Route not found")


def _version(call: Call) -> str:
    return call.state.switches.version or version_of(call.pod.tags.get(SERVER_PORT, ""))


async def _health(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok", "version": _version(call_of(request))})


async def _live(_: web.Request) -> web.Response:
    return web.Response()


async def _ready(request: web.Request) -> web.Response:
    call = call_of(request)
    broken = call.state.switches.not_ready or says_not_ready(call.pod.tags.get(SERVER_PORT, ""))
    postgres = {"status": "error", "message": "pool timed out while waiting for an open connection"}
    checks = {
        "postgres": postgres if broken else {"status": "ok"},
        "vector_store": {"status": "ok"},
        "tenants": {
            "status": "ok",
            "total": 1,
            "available": 1,
            "loading": 0,
            "failed": 0,
            "strictMode": False,
        },
    }
    body = {"status": "not_ready" if broken else "ready", "checks": checks}
    return web.json_response(body, status=503 if broken else 200)


async def _metrics(request: web.Request) -> web.Response:
    state = call_of(request).state
    mode = state.switches.metrics
    if mode == "absent":
        return web.Response(status=404)
    text = b"" if mode == "empty" else state.metrics.text(frozen=mode == "frozen")
    return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
