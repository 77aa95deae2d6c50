"""Qdrant's REST API on port 6333, as far as snapshots need it (Qdrant's OpenAPI document, 1.10).

Snapshots have real bytes: the size and the SHA-256 that are told fit what is downloaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from dev.standins.directory import PodDirectory
from dev.standins.listening import Handler, application, call_of
from dev.standins.state import NamespaceState, Snapshot, World

PORT = 6333
_OPEN = ("/", "/healthz", "/livez", "/readyz")
"""What needs no API key (Qdrant's src/actix/mod.rs)."""


def http(directory: PodDirectory, world: World) -> web.Application:
    """The application for port 6333."""
    app = application(PORT, directory, world)
    route = app.router
    route.add_get("/", _up(_root))
    route.add_get("/healthz", _up(_text("healthz check passed")))
    route.add_get("/livez", _up(_text("healthz check passed")))
    route.add_get("/readyz", _up(_text("all shards are ready")))
    route.add_get("/collections", _up(_collections))
    route.add_get("/collections/{collection}", _up(_collection))
    route.add_post("/collections/{collection}/points/count", _up(_count))
    route.add_put("/collections/{collection}/snapshots/recover", _up(_recover))
    for base in ("/snapshots", "/collections/{collection}/snapshots"):
        route.add_get(base, _up(_list))
        route.add_post(base, _up(_create))
        route.add_get(base + "/{snapshot}", _up(_download))
        route.add_delete(base + "/{snapshot}", _up(_delete))
    return app


class _QdrantError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _up(handler: Callable[[web.Request], Awaitable[web.Response]]) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        if call_of(request).state.switches.qdrant == "down":
            return web.Response(status=503, text="some shards are not ready")
        key = call_of(request).state.switches.qdrant_key
        if key and request.path not in _OPEN and request.headers.get("api-key") != key:
            return web.Response(status=401, text="Must provide an API key or an Authorization bearer token")
        try:
            return await handler(request)
        except _QdrantError as error:
            body = {"status": {"error": str(error)}, "time": 0.0001}
            return web.json_response(body, status=error.status)

    return answer


def _text(text: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text)

    return answer


def _result(result: object) -> web.Response:
    return web.json_response({"result": result, "status": "ok", "time": 0.0001})


async def _root(request: web.Request) -> web.Response:
    version = call_of(request).pod.tags.get(PORT, "").removeprefix("v")
    return web.json_response({"title": "qdrant - vector search engine", "version": version})


async def _collections(request: web.Request) -> web.Response:
    names = call_of(request).state.switches.collections
    return _result({"collections": [{"name": name} for name in names]})


async def _collection(request: web.Request) -> web.Response:
    place = _place(request)
    points = len(call_of(request).state.memories)
    vectors = {"size": 1536, "distance": "Cosine"}
    return _result(
        {
            "status": "green",
            "optimizer_status": "ok",
            "points_count": points,
            "indexed_vectors_count": points,
            "segments_count": 2,
            "config": {"params": {"vectors": vectors, "shard_number": 1}},
            "payload_schema": {},
        }
        if place
        else None
    )


async def _count(request: web.Request) -> web.Response:
    _place(request)
    return _result({"count": len(call_of(request).state.memories)})


async def _list(request: web.Request) -> web.Response:
    snapshots = call_of(request).state.snapshots.get(_place(request), [])
    return _result([_described(snapshot) for snapshot in snapshots])


async def _create(request: web.Request) -> web.Response:
    state, place = call_of(request).state, _place(request)
    if state.switches.qdrant == "failing":
        raise _QdrantError(500, "Service internal error: Can't create snapshot: No space left on device")
    snapshot = _snapshot(state, place)
    state.snapshots.setdefault(place, []).append(snapshot)
    return _result(_described(snapshot))


async def _download(request: web.Request) -> web.Response:
    snapshot = _existing(request)
    return web.Response(body=snapshot.content, content_type="application/octet-stream")


async def _recover(request: web.Request) -> web.Response:
    """A snapshot that lies here, by its URL or its file; the points are those that it was made of."""
    state, place, body = call_of(request).state, _place(request), await request.json()
    if state.switches.qdrant == "failing":
        raise _QdrantError(500, "Service internal error: Can't recover from snapshot: No space left on device")
    name = str(body["location"]).rpartition("/")[2]
    found = next((one for one in state.snapshots.get(place, []) if one.name == name), None)
    if found is None:
        raise _QdrantError(400, f"Bad request: Failed to download snapshot from {body['location']}: 404 Not Found")
    if body.get("checksum") not in (None, found.checksum):
        raise _QdrantError(400, "Bad request: Snapshot checksum mismatch")
    kept = set(json.loads(found.content)["points"]) if found.content else set()
    for key in [key for key, entry in state.memories.items() if entry["content"] not in kept]:
        del state.memories[key]
    return _result(True)


async def _delete(request: web.Request) -> web.Response:
    snapshot = _existing(request)
    call_of(request).state.snapshots[_place(request)].remove(snapshot)
    return _result(True)


def _place(request: web.Request) -> str | None:
    """The collection in the path; None for the full storage."""
    name = request.match_info.get("collection")
    if name is not None and name not in call_of(request).state.switches.collections:
        raise _QdrantError(404, f"Not found: Collection `{name}` doesn't exist!")
    return name


def _existing(request: web.Request) -> Snapshot:
    name = request.match_info["snapshot"]
    for snapshot in call_of(request).state.snapshots.get(_place(request), []):
        if snapshot.name == name:
            return snapshot
    raise _QdrantError(404, f"Not found: Snapshot {name} not found")


def _snapshot(state: NamespaceState, collection: str | None) -> Snapshot:
    now, number = datetime.now(UTC), len(state.snapshots.get(collection, [])) + 1
    content = b"" if state.switches.qdrant == "empty" else _content(state, collection, number)
    stamp = now.strftime("%Y-%m-%d-%H-%M-%S")
    # Two in one second would share a name; the number keeps them apart, as Qdrant's peer id does between nodes.
    name = f"{collection or 'full-snapshot'}-{number}-{stamp}.snapshot"
    checksum = hashlib.sha256(content).hexdigest()
    return Snapshot(name, now.strftime("%Y-%m-%dT%H:%M:%S"), checksum, content)


def _content(state: NamespaceState, collection: str | None, number: int) -> bytes:
    entries = [entry["content"] for entry in state.memories.values()]
    return json.dumps({"collection": collection, "number": number, "points": entries}).encode()


def _described(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "name": snapshot.name,
        "creation_time": snapshot.creation_time,
        "size": len(snapshot.content),
        "checksum": snapshot.checksum,
    }
