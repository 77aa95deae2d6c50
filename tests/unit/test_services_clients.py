"""Aeterna's readiness and metrics, Qdrant's snapshots, and health reports compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bot.errors import Permanent, Refused, Temporary
from bot.services.aeterna import AeternaClient
from bot.services.cnpg import backup_of, health_of
from bot.services.health import (
    HealthReport,
    MetricsHealth,
    PodHealth,
    ServerHealth,
    WorkloadReport,
    compare,
    problems,
)
from bot.services.memory import MemoryResult
from bot.services.qdrant import QdrantClient, Snapshot

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def _http(handler: Handler) -> AsyncIterator[aiohttp.ClientSession]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as http:
            yield http
    finally:
        await runner.cleanup()


def _answering(body: Any = None, status: int = 200, text: str | None = None) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(text=json.dumps(body) if text is None else text, status=status)

    return handler


async def test_a_ready_server_says_so_with_its_checks() -> None:
    body = {"status": "ready", "checks": {"postgres": {"status": "ok"}}}
    async with _http(_answering(body)) as http:
        readiness = await AeternaClient(http).ready()
    assert (readiness.ready, readiness.complaints) == (True, [])


async def test_a_server_that_is_not_ready_names_its_complaints() -> None:
    checks = {
        "postgres": {"status": "error", "message": "pool timed out"},
        "tenants": {"status": "degraded", "failedSlugs": ["acme"]},
        "vector_store": {"status": "ok"},
    }
    async with _http(_answering({"status": "not_ready", "checks": checks}, 503)) as http:
        readiness = await AeternaClient(http).ready()
    assert (readiness.ready, readiness.complaints) == (False, ["postgres: pool timed out", "tenants: failed: acme"])


async def test_a_gateway_before_the_server_is_not_its_readiness() -> None:
    async with _http(_answering(None, 503, "no healthy upstream")) as http:
        with pytest.raises(Temporary, match="no healthy upstream"):
            await AeternaClient(http).ready()


async def test_the_version_comes_from_health() -> None:
    async with _http(_answering({"status": "ok", "version": "0.2.1"})) as http:
        assert await AeternaClient(http).version() == "0.2.1"


async def test_metrics_are_found_by_the_name_that_is_written() -> None:
    text = (
        "# TYPE http_requests_total counter\n"
        'http_requests_total{method="GET",path="/ready"} 3\nhttp_requests_total{method="POST",path="/x"} 4\n'
        "# TYPE vector_backend_healthy gauge\nvector_backend_healthy 1\n"
    )
    async with _http(_answering(text=text)) as http:
        metrics = await AeternaClient(http).metrics()
    assert metrics.total("http_requests_total") == 7
    assert metrics.samples["http_requests_total"][0].labels["path"] == "/ready"
    assert ("vector_backend_healthy" in metrics, "memory_searches_total" in metrics) == (True, False)


async def test_a_page_that_is_no_metrics_is_told() -> None:
    async with _http(_answering(text="<html>{</html>")) as http:
        with pytest.raises(Permanent, match="not Prometheus' text"):
            await AeternaClient(http).metrics()


async def test_the_headers_of_the_configuration_go_with_each_call() -> None:
    seen: list[Any] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.extend(request.headers.get(name) for name in ("X-Tenant-ID", "X-User-ID", "X-User-Role", "Authorization"))
        return web.json_response({})

    async with _http(handler) as http:
        await AeternaClient(http, headers={"X-Tenant-ID": "acme", "Authorization": "Bearer s3cret"}).version()
    assert seen == ["acme", None, None, "Bearer s3cret"]


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Refused), (403, Refused), (429, Temporary), (502, Temporary), (500, Permanent)]
)
async def test_an_answer_of_a_service_becomes_an_error_by_meaning(status: int, kind: type[Exception]) -> None:
    async with _http(_answering({"status": {"error": "nope"}}, status)) as http:
        with pytest.raises(kind, match="nope"):
            await QdrantClient(http).collections()


class Qdrant:
    """One collection, `memories`, with snapshots of real bytes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.corrupt = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["api-key"] == "key"
        if request.path == "/collections":
            return self._result({"collections": [{"name": "memories"}, {"name": "a b"}]})
        parts = request.path.split("/")
        if request.method == "POST":
            self.files[f"s{len(self.files)}"] = b"x" * 100_000
            return self._result(self._described(f"s{len(self.files) - 1}"))
        if request.method == "DELETE":
            status = 200 if self.files.pop(parts[-1], None) else 404
            return web.json_response({"result": True}, status=status)
        if parts[-1] == "snapshots":
            return self._result([self._described(name) for name in self.files])
        return web.Response(body=b"y" if self.corrupt else self.files[parts[-1]])

    def _described(self, name: str) -> dict[str, Any]:
        data = self.files[name]
        checksum = hashlib.sha256(data).hexdigest()
        return {"name": name, "size": len(data), "checksum": checksum, "creation_time": f"2026-01-01T00:00:0{name[-1]}"}

    def _result(self, result: object) -> web.Response:
        return web.json_response({"result": result, "status": "ok", "time": 0.1})


@pytest.fixture
def qdrant() -> Qdrant:
    return Qdrant()


@pytest.fixture
async def client(qdrant: Qdrant) -> AsyncIterator[QdrantClient]:
    async with _http(qdrant.handle) as http:
        yield QdrantClient(http, api_key="key")


async def test_a_snapshot_is_made_listed_and_verified_by_reading_it_back(client: QdrantClient) -> None:
    assert await client.collections() == ["a b", "memories"]
    first = await client.create_snapshot("memories")
    second = await client.create_snapshot("memories")
    assert [one.name for one in await client.list_snapshots("memories")] == [second.name, first.name]
    assert await client.verify(first, download=True) == first
    await client.delete_snapshot(first)
    await client.delete_snapshot(first)
    with pytest.raises(Permanent, match="not listed"):
        await client.verify(first)


async def test_a_snapshot_that_changed_or_is_empty_is_refused(client: QdrantClient, qdrant: Qdrant) -> None:
    made = await client.create_snapshot("memories")
    for wrong, text in ((replace(made, size=1), "changed its size"), (replace(made, checksum="0"), "its checksum")):
        with pytest.raises(Permanent, match=text):
            await client.verify(wrong)
    qdrant.corrupt = True
    with pytest.raises(Permanent, match="when read back"):
        await client.verify(made, download=True)
    qdrant.files[made.name] = b""
    with pytest.raises(Permanent, match="is empty"):
        await client.verify(Snapshot("memories", made.name, 0, "", ""))


def test_a_backups_status_is_read_back() -> None:
    status = {
        "phase": "completed",
        "backupId": "20260101T000000",
        "startedAt": "2026-01-01T00:00:00Z",
        "stoppedAt": "2026-01-01T00:01:00Z",
        "beginWal": "000000010000000000000003",
        "endWal": "000000010000000000000004",
        "method": "barmanObjectStore",
    }
    result = backup_of({"metadata": {"name": "b"}, "spec": {}, "status": status})
    assert result.completed
    assert result.started_at is not None
    assert result.stopped_at is not None
    assert (result.stopped_at - result.started_at).seconds == 60
    assert (result.backup_id, result.end_wal[-1]) == ("20260101T000000", "4")


def test_a_postgres_cluster_is_healthy_by_phase_and_instances() -> None:
    obj = {"kind": "Cluster", "metadata": {"name": "c"}, "spec": {"instances": 2}}
    healthy = {"phase": "Cluster in healthy state", "readyInstances": 2, "currentPrimary": "c-1"}
    assert health_of(obj | {"status": healthy}).healthy
    assert not health_of(obj | {"status": healthy | {"readyInstances": 1}}).healthy
    assert not health_of(obj).healthy


OK = MemoryResult("ok", "project")
UNWIRED = MemoryResult("unwired", "project", "add", "No provider for layer Project (HTTP 500)")
DOWN = MemoryResult("unreachable", "project", "add", "refused")
GOOD = HealthReport(
    taken_at="2026-01-01T00:00:00+00:00",
    workloads=(WorkloadReport("Deployment/aeterna", 2, 2, True),),
    pods=(PodHealth("aeterna-1", "Deployment/aeterna", "Running", True, 0, ("ghcr.io/a:0.2.1",)),),
    servers=(ServerHealth("aeterna-1", True, True, "0.2.1"),),
    metrics=MetricsHealth({"http_requests_total": 1.0}, {"http_requests_total": 2.0}),
    memory=OK,
)


def test_a_report_survives_the_journal() -> None:
    bare = HealthReport(taken_at="2026-01-01T00:00:00+00:00")
    for report in (GOOD, replace(GOOD, memory=UNWIRED), bare):
        assert HealthReport.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_a_good_report_has_no_problems_and_does_not_differ_from_itself() -> None:
    assert problems(GOOD, expected_version="v0.2.1", baseline=GOOD) == []
    assert compare(GOOD, GOOD) == []


def test_every_part_that_is_wrong_is_a_problem() -> None:
    bad = HealthReport(
        taken_at="2026-01-01T00:00:00+00:00",
        workloads=(WorkloadReport("Deployment/aeterna", 2, 1, False, ("crashes.",)),),
        pods=(
            PodHealth("aeterna-1", "Deployment/aeterna", "Running", False, 9),
            PodHealth("opal-0", "StatefulSet/opal", "Pending", False, 0),
        ),
        servers=(
            ServerHealth("a", False, False, error="refused"),
            ServerHealth("b", True, False, "0.2.1", ("postgres: down",)),
            ServerHealth("c", True, True, "0.2.0"),
        ),
        metrics=MetricsHealth({"x": 1.0}, {"x": 1.0}, missing=("y",)),
        memory=DOWN,
    )
    assert [(one.kind, one.message) for one in problems(bad, expected_version="0.2.1")] == [
        ("workload", "crashes."),
        ("pod", "is pending and not ready"),
        ("server", "cannot be reached: refused"),
        ("server", "postgres: down"),
        ("version", "says 0.2.0, expected 0.2.1"),
        ("metrics", "is missing"),
        ("metrics", "does not move"),
        ("memory", "down (add: refused)"),
    ]


@pytest.mark.parametrize(
    ("before", "after", "failing"),
    [
        (UNWIRED, UNWIRED, False),
        (None, UNWIRED, False),
        (DOWN, UNWIRED, False),
        (OK, UNWIRED, True),
        (UNWIRED, DOWN, True),
        (OK, OK, False),
    ],
)
def test_unwired_memory_fails_only_when_it_worked_before(
    before: MemoryResult | None, after: MemoryResult, failing: bool
) -> None:
    found = problems(replace(GOOD, memory=after), baseline=replace(GOOD, memory=before))
    assert [one.kind for one in found] == (["memory"] if failing else [])
    if before is not None:
        worse = compare(replace(GOOD, memory=before), replace(GOOD, memory=after))
        assert any(one.worse for one in worse) is failing


def test_differences_tell_the_worse_first() -> None:
    after = replace(
        GOOD,
        servers=(ServerHealth("n", True, False, "0.3.0"),),
        workloads=(WorkloadReport("Deployment/aeterna", 2, 2, True), WorkloadReport("StatefulSet/new", 1, 1, True)),
        metrics=MetricsHealth({}, {}, missing=("http_requests_total",)),
    )
    assert [(str(one), one.worse) for one in compare(GOOD, after)] == [
        ("servers ready: 1 of 1 → 0 of 1", True),
        ("http_requests_total: present → missing", True),
        ("StatefulSet/new: not there → healthy", False),
        ("server version: 0.2.1 → 0.3.0", False),
    ]
