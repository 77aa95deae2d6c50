"""The stand-ins for Aeterna's server, Qdrant, OPAL and Cedar, with a fixed table of pods."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from dev.standins import FixedPods, Pod, StandinControl, Standins
from dev.standins.versions import version_of

OLD = Pod("blue", "aeterna-old", "10.0.0.1", {8080: "0.2.0", 9090: "0.2.0"}, created="2026-01-01T00:00:00Z")
NEW = Pod("blue", "aeterna-new", "10.0.0.2", {8080: "v0.2.1", 9090: "v0.2.1"}, created="2026-01-02T00:00:00Z")
SICK = Pod("green", "aeterna-sick", "10.0.0.3", {8080: "0.2.9-not-ready"}, created="2025-01-01T00:00:00Z")
QDRANT = Pod("blue", "aeterna-qdrant-0", "10.0.0.4", {6333: "v1.10.1"}, created="2026-01-01T00:00:00Z")
OPAL = Pod("blue", "aeterna-opal-server-0", "10.0.0.5", {7002: "0.8.0"}, created="2026-01-01T00:00:00Z")

BLUE = "aeterna.blue.svc"
BLUE_QDRANT = "aeterna-qdrant.blue.svc"


class World:
    """Running stand-ins with a client and their control port."""

    def __init__(
        self, standins: Standins, control: StandinControl, session: aiohttp.ClientSession, pods: FixedPods
    ) -> None:
        self.standins, self.control, self.session, self.pods = standins, control, session, pods

    async def ask(
        self,
        method: str,
        path: str,
        *,
        host: str = BLUE,
        port: int = 8080,
        headers: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> tuple[int, Any]:
        """Status, and the body as JSON where it is JSON, else as text."""
        headers = {"Host": f"{host}:{port}", **(headers or {})}
        url = self.standins.url(port) + path
        async with self.session.request(method, url, headers=headers, **kwargs) as response:
            is_json = response.content_type == "application/json"
            return response.status, await (response.json() if is_json else response.text())

    async def add(self, content: str, layer: str = "project") -> str:
        status, body = await self.ask("POST", "/api/v1/memory/add", json={"content": content, "layer": layer})
        assert status == 200
        return str(body["memoryId"])

    async def metric(self, name: str) -> float:
        _, text = await self.ask("GET", "/metrics", port=9090)
        samples = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
        return sum(float(value) for value in samples)


@asynccontextmanager
async def _running() -> AsyncIterator[World]:
    pods = FixedPods([OLD, NEW, SICK, QDRANT, OPAL])
    async with (
        Standins.running(directory=pods) as standins,
        StandinControl(standins.control_url) as control,
        aiohttp.ClientSession() as session,
    ):
        yield World(standins, control, session, pods)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with _running() as running:
        yield running


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ("v0.2.1", "0.2.1"),
        ("0.2.9-not-ready", "0.2.9"),
        ("0.8.0-rc.12", "0.8.0-rc.12"),
        ("0.2.2-no-such-image", "0.2.2"),
    ],
)
def test_the_version_is_the_tag_without_its_marks(tag: str, version: str) -> None:
    assert version_of(tag) == version


async def test_the_host_header_names_the_pod_whose_version_is_told(world: World) -> None:
    assert await world.ask("GET", "/health", host="10.0.0.1") == (200, {"status": "ok", "version": "0.2.0"})
    assert await world.ask("GET", "/health", host="10.0.0.2") == (200, {"status": "ok", "version": "0.2.1"})


async def test_a_service_is_answered_by_its_newest_ready_pod(world: World) -> None:
    assert (await world.ask("GET", "/health"))[1]["version"] == "0.2.1"
    assert (await world.ask("GET", "/health", host="aeterna.blue.svc.cluster.local"))[1]["version"] == "0.2.1"


async def test_localhost_means_the_newest_release_unless_a_header_names_the_namespace(world: World) -> None:
    assert (await world.ask("GET", "/health", host="localhost"))[1]["version"] == "0.2.1"
    headers = {"X-Standin-Namespace": "green"}
    assert (await world.ask("GET", "/health", host="localhost", headers=headers))[1]["version"] == "0.2.9"


async def test_a_pod_that_turns_up_a_moment_later_is_waited_for(world: World) -> None:
    world.pods.add(Pod("red", "late", "10.0.0.9", {8080: "1.0.0"}))
    assert (await world.ask("GET", "/health", host="10.0.0.9"))[1]["version"] == "1.0.0"


async def test_a_server_is_ready_with_every_check_ok(world: World) -> None:
    status, body = await world.ask("GET", "/ready")
    assert (status, body["status"]) == (200, "ready")
    assert {check["status"] for check in body["checks"].values()} == {"ok"}


async def test_an_image_tag_can_ask_for_a_server_that_lives_and_is_not_ready(world: World) -> None:
    status, body = await world.ask("GET", "/ready", host="10.0.0.3")
    assert (status, body["status"], body["checks"]["postgres"]["status"]) == (503, "not_ready", "error")
    assert (await world.ask("GET", "/health", host="10.0.0.3"))[0] == 200
    assert await world.ask("GET", "/live", host="10.0.0.3") == (200, "")


async def test_unknown_paths_have_the_servers_own_error(world: World) -> None:
    expected = {"error": "not_found", "message": "Route not found"}
    assert await world.ask("GET", "/health/ready") == (404, expected)
    assert (await world.ask("POST", "/health"))[0] == 405


async def test_switches_hold_for_one_namespace_until_reset(world: World) -> None:
    await world.control.switch("blue", not_ready=True)
    await world.control.switch("blue", version="9.9.9")
    assert (await world.ask("GET", "/ready"))[0] == 503
    assert (await world.ask("GET", "/health"))[1]["version"] == "9.9.9"
    assert (await world.ask("GET", "/health", host="10.0.0.3"))[1]["version"] == "0.2.9"
    await world.control.reset("blue")
    assert (await world.ask("GET", "/ready"))[0] == 200


async def test_a_switch_that_does_not_exist_is_refused(world: World) -> None:
    with pytest.raises(aiohttp.ClientResponseError) as refused:
        await world.control.switch("blue", not_reddy=True)
    assert refused.value.status == 422


async def test_counters_move_with_requests(world: World) -> None:
    before = await world.metric("http_requests_total")
    searched = await world.metric("memory_searches_total")
    await world.ask("POST", "/api/v1/memory/search", json={"query": "anything"})
    assert await world.metric("http_requests_total") > before
    assert await world.metric("memory_searches_total") == searched + 1


async def test_metrics_can_freeze_be_empty_or_be_absent(world: World) -> None:
    await world.control.switch("blue", metrics="frozen")
    before = await world.metric("http_requests_total")
    await world.ask("GET", "/health")
    assert await world.metric("http_requests_total") == before > 0
    await world.control.switch("blue", metrics="empty")
    assert await world.ask("GET", "/metrics", port=9090) == (200, "")
    await world.control.switch("blue", metrics="absent")
    assert await world.ask("GET", "/metrics", port=9090) == (404, "")


async def test_a_memory_can_be_added_found_listed_and_deleted(world: World) -> None:
    name = await world.add("smoke of the bot", "Project")
    status, found = await world.ask("POST", "/api/v1/memory/search", json={"query": "SMOKE"})
    assert (status, found["total"], found["items"][0]["id"]) == (200, 1, name)
    assert {"content", "embedding", "layer", "createdAt", "importanceScore"} <= set(found["items"][0])
    assert (await world.ask("POST", "/api/v1/memory/list", json={"layer": "project"}))[1]["total"] == 1
    told = {"success": True, "message": "Memory deleted successfully"}
    assert await world.ask("DELETE", f"/api/v1/memory/{name}", json={"layer": "project"}) == (200, told)
    assert await world.control.memories("blue") == []


async def test_memories_of_one_namespace_are_unknown_in_another(world: World) -> None:
    await world.add("here")
    answer = await world.ask("POST", "/api/v1/memory/search", host="10.0.0.3", json={"query": "here"})
    assert answer == (200, {"items": [], "total": 0})


async def test_delete_wants_a_body_as_the_real_server_does(world: World) -> None:
    name = await world.add("kept")
    assert (await world.ask("DELETE", f"/api/v1/memory/{name}"))[0] == 415
    status, text = await world.ask("DELETE", f"/api/v1/memory/{name}", json={})
    assert status == 422
    assert "missing field `layer`" in text
    assert len(await world.control.memories("blue")) == 1


async def test_an_unknown_layer_and_an_unknown_tenant_have_their_own_errors(world: World) -> None:
    memory = {"content": "x", "layer": "galaxy"}
    assert await world.ask("POST", "/api/v1/memory/add", json=memory) == (
        400,
        {"error": "invalid_layer", "message": "Unknown memory layer"},
    )
    headers = {"X-Tenant-ID": "nobody"}
    status, body = await world.ask("POST", "/api/v1/memory/list", headers=headers, json={"layer": "team"})
    assert (status, body["error"]) == (404, "tenant_not_found")


async def test_an_unwired_memory_fails_as_the_real_one_does(world: World) -> None:
    await world.control.switch("blue", memory="unwired")
    memory = {"content": "x", "layer": "project"}
    no_embedding = "Embedding service not configured"
    assert await world.ask("POST", "/api/v1/memory/add", json=memory) == (
        500,
        {"error": "memory_add_failed", "message": no_embedding},
    )
    assert await world.ask("POST", "/api/v1/memory/search", json={"query": "x"}) == (
        500,
        {"error": "memory_search_failed", "message": no_embedding},
    )
    no_provider = {"error": "memory_list_failed", "message": "No provider for layer Project"}
    assert await world.ask("POST", "/api/v1/memory/list", json={"layer": "project"}) == (500, no_provider)
    await world.control.switch("blue", memory="no_provider")
    assert (await world.ask("POST", "/api/v1/memory/search", json={"query": "x"}))[0] == 200


async def test_sync_pushes_pulls_and_deletes_by_tombstone(world: World) -> None:
    bearer = {"Authorization": "Bearer any"}
    entry = {
        "id": "bot-smoke-1",
        "content": "x",
        "layer": "project",
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
        "deleted_at": None,
    }
    push = {"device_id": "bot", "entries": [entry]}
    assert (await world.ask("POST", "/api/v1/sync/push", json=push))[0] == 401
    status, body = await world.ask("POST", "/api/v1/sync/push", json=push, headers=bearer)
    assert (status, body["conflicts"], body["embeddings"]) == (200, [], {})
    _, pulled = await world.ask("GET", "/api/v1/sync/pull?layers=project", headers=bearer)
    assert ([row["id"] for row in pulled["entries"]], pulled["has_more"]) == (["bot-smoke-1"], False)
    later = {**entry, "updated_at": "2026-01-02T00:00:00Z", "deleted_at": "2026-01-02T00:00:00Z"}
    await world.ask("POST", "/api/v1/sync/push", json={"device_id": "bot", "entries": [later]}, headers=bearer)
    assert await world.control.synced("blue") == []
    _, stale = await world.ask("POST", "/api/v1/sync/push", json=push, headers=bearer)
    assert stale["conflicts"][0]["id"] == "bot-smoke-1"


async def test_a_qdrant_snapshot_has_the_size_and_checksum_that_it_tells(world: World) -> None:
    base = "/collections/memory_embeddings/snapshots"
    _, created = await world.ask("POST", base, host=BLUE_QDRANT, port=6333)
    assert (created["status"], set(created["result"])) == ("ok", {"name", "creation_time", "size", "checksum"})
    _, listed = await world.ask("GET", base, host=BLUE_QDRANT, port=6333)
    assert listed["result"] == [created["result"]]
    path = f"{base}/{created['result']['name']}"
    headers = {"Host": f"{BLUE_QDRANT}:6333"}
    async with world.session.get(world.standins.url(6333) + path, headers=headers) as response:
        content = await response.read()
    assert len(content) == created["result"]["size"] > 0
    assert hashlib.sha256(content).hexdigest() == created["result"]["checksum"]
    assert (await world.ask("DELETE", path, host=BLUE_QDRANT, port=6333))[1]["result"] is True
    assert await world.control.snapshots("blue") == []


async def test_the_full_storage_has_snapshots_of_its_own(world: World) -> None:
    await world.ask("POST", "/snapshots", host=BLUE_QDRANT, port=6333)
    assert [entry["collection"] for entry in await world.control.snapshots("blue")] == [None]


async def test_qdrant_tells_its_version_its_readiness_and_its_collections(world: World) -> None:
    assert (await world.ask("GET", "/", host=BLUE_QDRANT, port=6333))[1]["version"] == "1.10.1"
    assert await world.ask("GET", "/readyz", host=BLUE_QDRANT, port=6333) == (200, "all shards are ready")
    _, body = await world.ask("GET", "/collections", host=BLUE_QDRANT, port=6333)
    assert body["result"] == {"collections": [{"name": "memory_embeddings"}]}
    status, body = await world.ask("GET", "/collections/other", host=BLUE_QDRANT, port=6333)
    assert (status, body["status"]["error"]) == (404, "Not found: Collection `other` doesn't exist!")


async def test_qdrant_can_fail_to_snapshot_make_empty_ones_or_be_down(world: World) -> None:
    async def snapshot() -> tuple[int, Any]:
        return await world.ask("POST", "/snapshots", host=BLUE_QDRANT, port=6333)

    await world.control.switch("blue", qdrant="failing")
    status, body = await snapshot()
    assert status == 500
    assert "No space left" in body["status"]["error"]
    await world.control.switch("blue", qdrant="empty")
    assert (await snapshot())[1]["result"]["size"] == 0
    await world.control.switch("blue", qdrant="down")
    assert (await world.ask("GET", "/readyz", host=BLUE_QDRANT, port=6333))[0] == 503


async def test_opal_is_healthy_until_it_is_switched_off(world: World) -> None:
    host = "aeterna-opal-server.blue.svc"
    assert (await world.ask("GET", "/healthcheck", host=host, port=7002))[0] == 200
    await world.control.switch("blue", opal="failing")
    assert (await world.ask("GET", "/healthcheck", host=host, port=7002))[0] == 503


async def test_every_request_can_be_looked_up_afterwards(world: World) -> None:
    await world.add("noted")
    await world.ask("GET", "/ready", host="10.0.0.1")
    told = [(r["pod"], r["method"], r["path"], r["status"], r["body"]) for r in await world.control.requests("blue")]
    assert told == [
        ("aeterna-new", "POST", "/api/v1/memory/add", 200, {"content": "noted", "layer": "project"}),
        ("aeterna-old", "GET", "/ready", 200, None),
    ]
    await world.control.forget_requests("blue")
    assert await world.control.requests("blue") == []


async def test_a_slow_server_outlasts_a_short_patience(world: World) -> None:
    await world.control.switch("blue", slow=30)
    with pytest.raises(TimeoutError):
        await world.ask("GET", "/ready", timeout=aiohttp.ClientTimeout(total=0.2))
