"""The memory round trip against a small local server: every outcome, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bot.services.aeterna import AeternaClient

BASE = "/api/v1/memory"


class Memories:
    """A memory API with one layer; the attributes bend what it does."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.calls: list[str] = []
        self.errors: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self.finds = True
        self.lists = True
        self.add_waits: asyncio.Event | None = None
        self.adding = asyncio.Event()
        self.add_breaks = False

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post(f"{BASE}/add", self._add)
        app.router.add_post(f"{BASE}/search", self._search)
        app.router.add_post(f"{BASE}/list", self._list)
        app.router.add_delete(f"{BASE}/{{id}}", self._delete)
        return app

    def _refusal(self, name: str) -> web.Response | None:
        self.calls.append(name)
        if not self.errors.get(name):
            return None
        status, body = self.errors[name].pop(0)
        return web.json_response(body, status=status)

    async def _add(self, request: web.Request) -> web.Response:
        self.adding.set()
        if self.add_waits is not None:
            await self.add_waits.wait()
        if (refusal := self._refusal("add")) is not None:
            return refusal
        body = await request.json()
        identity = f"m{len(self.calls)}"
        self.kept[identity] = body["content"]
        if self.add_breaks and request.transport is not None:
            request.transport.abort()
        return web.json_response({"memoryId": identity, "layer": body["layer"]})

    async def _search(self, request: web.Request) -> web.Response:
        query = (await request.json())["query"]
        return self._refusal("search") or self._found(self.finds, query)

    async def _list(self, _: web.Request) -> web.Response:
        return self._refusal("list") or self._found(self.lists, None)

    def _found(self, really: bool, query: str | None) -> web.Response:
        items = [{"id": i, "content": c} for i, c in self.kept.items() if really and query in (None, c)]
        return web.json_response({"items": items, "total": len(items)})

    async def _delete(self, request: web.Request) -> web.Response:
        if (refusal := self._refusal("delete")) is not None:
            return refusal
        assert (await request.json())["layer"] == "project"
        self.kept.pop(request.match_info["id"])
        return web.json_response({"success": True, "message": "deleted"})


@asynccontextmanager
async def _serving(app: web.Application) -> AsyncIterator[AeternaClient]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as http:
            yield AeternaClient(http)
    finally:
        await runner.cleanup()


@pytest.fixture
def memories() -> Memories:
    return Memories()


@pytest.fixture
async def client(memories: Memories) -> AsyncIterator[AeternaClient]:
    async with _serving(memories.app()) as client:
        yield client


async def test_a_memory_is_added_found_and_deleted(memories: Memories, client: AeternaClient) -> None:
    result = await client.memory_round_trip("project")
    assert (result.outcome, result.cleaned_up, memories.kept) == ("ok", True, {})
    assert memories.calls == ["add", "search", "delete"]


async def test_what_is_only_listed_counts_as_found(memories: Memories, client: AeternaClient) -> None:
    memories.finds = False
    result = await client.memory_round_trip(patience=0.2)
    assert (result.outcome, memories.kept) == ("ok", {})


async def test_what_is_never_found_is_a_failure_and_is_deleted(memories: Memories, client: AeternaClient) -> None:
    memories.finds = memories.lists = False
    result = await client.memory_round_trip(patience=0.2)
    assert (result.outcome, result.stage, result.cleaned_up, memories.kept) == ("failed", "search", True, {})


@pytest.mark.parametrize(
    ("message", "outcome"),
    [
        ("No provider for layer Project", "unwired"),
        ("Embedding service not configured", "unwired"),
        ("connection pool timed out", "failed"),
    ],
)
async def test_a_500_is_read_by_its_text(memories: Memories, client: AeternaClient, message: str, outcome: str) -> None:
    body = {"error": "memory_add_failed", "message": message}
    memories.errors = {"add": [(500, body)], "list": [(500, {"message": "No provider for layer Project"})]}
    result = await client.memory_round_trip()
    assert (result.outcome, result.stage, result.cleaned_up) == (outcome, "add", True)
    assert message in result.said


async def test_a_version_without_memory_api_is_unwired_and_not_down() -> None:
    app = web.Application()

    async def not_found(_: web.Request) -> web.Response:
        return web.json_response({"error": "not_found", "message": "Route not found"}, status=404)

    app.router.add_route("*", "/{path:.*}", not_found)
    async with _serving(app) as client:
        result = await client.memory_round_trip()
    assert (result.outcome, "no memory API" in result.said, result.cleaned_up) == ("unwired", True, True)


async def test_a_server_that_is_away_is_unreachable() -> None:
    async with aiohttp.ClientSession("http://127.0.0.1:1") as http:
        result = await AeternaClient(http).memory_round_trip()
    assert (result.outcome, result.stage, result.cleaned_up) == ("unreachable", "add", True)


async def test_a_tenant_that_is_still_being_wired_is_waited_for(memories: Memories, client: AeternaClient) -> None:
    memories.errors = {"add": [(503, {"error": "tenant_unavailable", "retryAfterSeconds": 0.01})] * 3}
    assert (await client.memory_round_trip()).outcome == "ok"
    assert memories.calls[:4] == ["add"] * 4


async def test_a_tenant_that_stays_away_is_a_failure(memories: Memories, client: AeternaClient) -> None:
    unavailable = {"error": "tenant_unavailable", "message": "tenant loading", "retryAfterSeconds": 60}
    memories.errors = {"add": [(503, unavailable)]}
    assert (await client.memory_round_trip()).said == "tenant loading (HTTP 503)"


async def test_a_delete_that_fails_is_tried_once_more(memories: Memories, client: AeternaClient) -> None:
    memories.errors = {"delete": [(500, {"message": "locked"})]}
    result = await client.memory_round_trip()
    assert (result.outcome, result.stage, result.cleaned_up, memories.kept) == ("failed", "delete", True, {})


async def test_what_cannot_be_deleted_is_said_to_remain(memories: Memories, client: AeternaClient) -> None:
    memories.errors = {"delete": [(500, {"message": "locked"})] * 2}
    assert (await client.memory_round_trip()).cleaned_up is False


async def test_an_add_whose_answer_is_lost_is_found_by_its_content_and_deleted(
    memories: Memories, client: AeternaClient
) -> None:
    memories.add_breaks = True
    result = await client.memory_round_trip()
    assert (result.outcome, result.cleaned_up, memories.kept) == ("unreachable", True, {})


async def test_a_cancelled_round_trip_deletes_what_it_was_just_adding(
    memories: Memories, client: AeternaClient
) -> None:
    memories.add_waits = asyncio.Event()
    task = asyncio.create_task(client.memory_round_trip())
    await memories.adding.wait()
    task.cancel()
    await asyncio.sleep(0)
    memories.add_waits.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (memories.calls, memories.kept) == (["add", "delete"], {})
