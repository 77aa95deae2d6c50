"""The control port: switch misbehaviour on and off, and see what was asked and what was left behind."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from dev.standins.directory import PodDirectory
from dev.standins.state import Switches, World


def http(directory: PodDirectory, world: World) -> web.Application:
    """``/switch``, ``/requests``, ``/memories``, ``/snapshots``, ``/pods``; namespace by query or body."""

    async def switch(request: web.Request) -> web.Response:
        wanted: dict[str, Any] = await request.json()
        state = world[wanted.pop("namespace")]
        try:
            state.switches = Switches.model_validate({**state.switches.model_dump(), **wanted})
        except ValidationError as error:
            return web.json_response({"error": str(error)}, status=422)
        return web.json_response(state.switches.model_dump())

    async def switches(request: web.Request) -> web.Response:
        return web.json_response(world[request.query["namespace"]].switches.model_dump())

    async def reset(request: web.Request) -> web.Response:
        world.reset_switches(request.query.get("namespace"))
        return web.json_response({})

    async def requests(request: web.Request) -> web.Response:
        return web.json_response(list(world[request.query["namespace"]].requests))

    async def forget(request: web.Request) -> web.Response:
        world[request.query["namespace"]].requests.clear()
        return web.json_response({})

    async def memories(request: web.Request) -> web.Response:
        state = world[request.query["namespace"]]
        kept = [row for row in state.synced.values() if row["deleted_at"] is None]
        return web.json_response({"memories": list(state.memories.values()), "synced": kept})

    async def snapshots(request: web.Request) -> web.Response:
        kept = world[request.query["namespace"]].snapshots
        return web.json_response(
            [
                {"collection": collection, "name": snapshot.name, "size": len(snapshot.content)}
                for collection, those in kept.items()
                for snapshot in those
            ]
        )

    async def pods(_: web.Request) -> web.Response:
        return web.json_response([asdict(pod) for pod in directory.pods()])

    app = web.Application()
    app.router.add_post("/switch", switch)
    app.router.add_get("/switch", switches)
    app.router.add_delete("/switch", reset)
    app.router.add_get("/requests", requests)
    app.router.add_delete("/requests", forget)
    app.router.add_get("/memories", memories)
    app.router.add_get("/snapshots", snapshots)
    app.router.add_get("/pods", pods)
    return app
