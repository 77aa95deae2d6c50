"""The sync API, /api/v1/sync/push and /pull, as in cli/src/server/sync.rs of Aeterna.

A row is deleted by pushing it again with ``deleted_at``. A Bearer header is demanded, any value will do.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from pydantic import BaseModel, Field

from dev.standins import bodies
from dev.standins.listening import call_of
from dev.standins.memory import answering_for_tenants, tenant_of


class _Entry(BaseModel):
    id: str
    content: str
    layer: str
    tags: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] | None = None
    importance: float = 0.0
    created_at: str
    updated_at: str
    deleted_at: str | None = None


class _Push(BaseModel):
    device_id: str
    entries: list[_Entry]


def add_routes(app: web.Application) -> None:
    """Put the sync API into ``app``."""
    app.router.add_post("/api/v1/sync/push", answering_for_tenants(_push))
    app.router.add_get("/api/v1/sync/pull", answering_for_tenants(_pull))


async def _push(request: web.Request) -> web.Response:
    if not _has_token(request):
        return _no_token()
    rows = call_of(request).state.synced
    body, tenant = await bodies.read(request, _Push), tenant_of(request)
    conflicts = []
    for entry in body.entries:
        row, updated = rows.get((tenant, entry.id)), _milliseconds(entry.updated_at)
        if row is not None and row["updated_at"] > updated:
            conflicts.append(
                {
                    "id": entry.id,
                    "remote_content": row["content"],
                    "remote_updated_at": _rfc3339(row["updated_at"]),
                }
            )
        elif entry.deleted_at is None:
            rows[tenant, entry.id] = {
                **entry.model_dump(),
                "created_at": _milliseconds(entry.created_at),
                "updated_at": updated,
            }
        elif row is not None:
            row.update(deleted_at=_milliseconds(entry.deleted_at), updated_at=updated)
    return web.json_response({"cursor": str(int(time.time() * 1000)), "conflicts": conflicts, "embeddings": {}})


async def _pull(request: web.Request) -> web.Response:
    if not _has_token(request):
        return _no_token()
    tenant, query = tenant_of(request), request.query
    since = query.get("since_cursor", "0")
    layers = query.get("layers", "project,team,org,company").split(",")
    limit = max(1, int(query.get("limit", "100")))
    rows = [
        row
        for (owner, _), row in call_of(request).state.synced.items()
        if owner == tenant
        and row["deleted_at"] is None
        and row["updated_at"] > (int(since) if since.isdigit() else 0)
        and row["layer"] in [layer.strip() for layer in layers]
    ]
    rows.sort(key=lambda row: (row["updated_at"], row["id"]))
    entries = [_shown(row) for row in rows[:limit]]
    cursor = str(rows[:limit][-1]["updated_at"]) if entries else since
    return web.json_response({"entries": entries, "cursor": cursor, "has_more": len(rows) > limit})


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name != "deleted_at"}
    times = {name: _rfc3339(row[name]) for name in ("created_at", "updated_at")}
    return {**shown, **times, "embedding": None}


def _has_token(request: web.Request) -> bool:
    return request.headers.get("Authorization", "").startswith("Bearer ")


def _no_token() -> web.Response:
    return bodies.error(401, "auth_required", "Bearer token required")


def _milliseconds(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return 0


def _rfc3339(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
