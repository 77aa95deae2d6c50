"""The memory API under /api/v1/memory, as in cli/src/server/memory_api.rs of Aeterna.

Search is by words instead of embeddings; everything else, errors included, has the real shapes.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from dev.standins import bodies
from dev.standins.listening import Call, Handler, call_of

LAYERS: Final = ("agent", "user", "session", "project", "team", "org", "company")
_REWARDS: Final = ("helpful", "irrelevant", "outdated", "inaccurate", "duplicate")
_ENDPOINTS: Final = (
    ("/api/v1/memory", "GET", "Memory service discovery"),
    ("/api/v1/memory/search", "POST", "Search memories with optional reasoning"),
    ("/api/v1/memory/add", "POST", "Store a new memory"),
    ("/api/v1/memory/list", "POST", "List memories from a layer"),
    ("/api/v1/memory/feedback", "POST", "Record memory feedback"),
    ("/api/v1/memory/{id}", "DELETE", "Delete a memory from a layer"),
)


class _Body(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class _Add(_Body):
    content: str
    layer: str


class _Search(_Body):
    query: str
    limit: int = 10
    threshold: float = 0.0
    filters: dict[str, Any] = Field(default_factory=dict)


class _List(_Body):
    layer: str
    limit: int = 20


class _Delete(_Body):
    layer: str


class _Feedback(_Body):
    memory_id: str
    layer: str
    reward_type: str
    score: float
    reasoning: str | None = None


class _RefusedError(Exception):
    def __init__(self, response: web.Response) -> None:
        super().__init__()
        self.response = response


def add_routes(app: web.Application, *, version: Callable[[Call], str]) -> None:
    """Put the memory API into ``app``; ``version`` is what discovery reports."""

    async def discover(request: web.Request) -> web.Response:
        endpoints = [{"path": p, "method": m, "description": d} for p, m, d in _ENDPOINTS]
        told = {"service": "aeterna-memory", "version": version(call_of(request)), "endpoints": endpoints}
        return web.json_response(told)

    app.router.add_get("/api/v1/memory", discover)
    app.router.add_post("/api/v1/memory/add", _answering(_add))
    app.router.add_post("/api/v1/memory/search", _answering(_search))
    app.router.add_post("/api/v1/memory/list", _answering(_list))
    app.router.add_post("/api/v1/memory/feedback", _answering(_feedback))
    app.router.add_delete("/api/v1/memory/{id}", _answering(_delete))


def tenant_of(request: web.Request) -> str:
    """The tenant that the request's headers choose. Raises through ``_RefusedError`` for an unknown one."""
    tenant = request.headers.get("X-Tenant-ID", "default")
    if tenant not in call_of(request).state.switches.tenants:
        raise _RefusedError(bodies.error(404, "tenant_not_found", f"Tenant '{tenant}' not found"))
    return tenant


def answering_for_tenants(handler: Handler) -> Handler:
    """Turn what ``tenant_of`` and ``bodies.read`` refuse into its answer."""
    return _answering(handler)


def _answering(handler: Handler) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except (_RefusedError, bodies.RefusedBody) as refused:
            return refused.response

    return answer


async def _add(request: web.Request) -> web.Response:
    state = call_of(request).state
    body = await bodies.read(request, _Add)
    tenant, layer = tenant_of(request), _layer(body.layer)
    _must_work(request, "add", layer=layer, embeds=True)
    now = int(time.time())
    name = str(uuid.uuid4())
    state.memories[tenant, name] = {
        "id": name,
        "content": body.content,
        "embedding": None,
        "layer": layer,
        "summaries": {},
        "contextVector": None,
        "importanceScore": None,
        "metadata": {},
        "createdAt": now,
        "updatedAt": now,
    }
    state.metrics.vector_operations.labels("qdrant", "upsert").inc()
    return web.json_response({"memoryId": name, "layer": body.layer})


async def _search(request: web.Request) -> web.Response:
    state = call_of(request).state
    body = await bodies.read(request, _Search)
    tenant = tenant_of(request)
    state.metrics.searches.inc()
    _must_work(request, "search", embeds=True)
    state.metrics.vector_operations.labels("qdrant", "search").inc()
    words = body.query.lower().split()
    # Without a provider the real search looks nowhere and finds nothing, without an error.
    found = [
        entry
        for (owner, _), entry in state.memories.items()
        if owner == tenant and state.switches.memory == "ok" and any(word in entry["content"].lower() for word in words)
    ]
    return _envelope(found[: body.limit])


async def _list(request: web.Request) -> web.Response:
    body = await bodies.read(request, _List)
    tenant, layer = tenant_of(request), _layer(body.layer)
    _must_work(request, "list", layer=layer)
    entries = call_of(request).state.memories.items()
    found = [entry for (owner, _), entry in entries if owner == tenant and entry["layer"] == layer]
    return _envelope(found[: body.limit])


async def _delete(request: web.Request) -> web.Response:
    body = await bodies.read(request, _Delete)
    tenant, layer = tenant_of(request), _layer(body.layer)
    _must_work(request, "delete", layer=layer)
    call_of(request).state.memories.pop((tenant, request.match_info["id"]), None)
    return web.json_response({"success": True, "message": "Memory deleted successfully"})


async def _feedback(request: web.Request) -> web.Response:
    body = await bodies.read(request, _Feedback)
    tenant_of(request)
    layer = _layer(body.layer)
    if body.reward_type.lower() not in _REWARDS:
        return bodies.error(400, "invalid_feedback_type", "Unknown feedback type")
    _must_work(request, "feedback", layer=layer)
    return web.json_response({"success": True, "message": "Reward recorded successfully"})


def _envelope(items: list[dict[str, Any]]) -> web.Response:
    return web.json_response({"items": items, "total": len(items)})


def _layer(name: str) -> str:
    if name.lower() not in LAYERS:
        raise _RefusedError(bodies.error(400, "invalid_layer", "Unknown memory layer"))
    return name.lower()


def _must_work(request: web.Request, operation: str, *, layer: str | None = None, embeds: bool = False) -> None:
    """Count the operation, and fail as a server does whose memory is not wired (manager.rs:320, 336)."""
    state = call_of(request).state
    state.metrics.operations.labels(operation).inc()
    message = None
    if state.switches.memory == "unwired" and embeds:
        message = "Embedding service not configured"
    elif state.switches.memory != "ok" and layer is not None:
        message = f"No provider for layer {layer.capitalize()}"
    if message is not None:
        state.metrics.operation_errors.labels(operation).inc()
        raise _RefusedError(bodies.error(500, f"memory_{operation}_failed", message))
