"""Credentials, errors and the watch's protocol against a small local API server."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from bot.errors import OutcomeUnknown, Refused, Temporary, UserMistake
from bot.kube import Cluster, ObjectRef, UnknownKind
from bot.kube.objects import Json
from bot.kube.watching import WatchEvent

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RESOURCES = [
    {"name": "pods", "kind": "Pod", "namespaced": True},
    {"name": "pods/log", "kind": "Pod", "namespaced": True},
]


def _kubeconfig(path: Path, server: str, user: Json | None = None) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user or {"token": "t"}}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


@asynccontextmanager
async def _api(tmp_path: Path, handler: Handler, user: Json | None = None, **identity: Any) -> AsyncIterator[Cluster]:
    app = web.Application()

    async def discovery(_: web.Request) -> web.Response:
        return web.json_response({"resources": RESOURCES})

    app.router.add_get("/api/v1", discovery)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    config = _kubeconfig(tmp_path / "kubeconfig", f"http://127.0.0.1:{runner.addresses[0][1]}", user)
    try:
        async with await Cluster.connect(kubeconfig=config, context=None, **identity) as cluster:
            yield cluster
    finally:
        await runner.cleanup()


def _pod(name: str, version: int) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "uid": name, "namespace": "prod", "resourceVersion": str(version)},
    }


def _page(*pods: Json, version: int, more: str = "") -> web.Response:
    return web.json_response({"items": list(pods), "metadata": {"resourceVersion": str(version), "continue": more}})


async def _stream(request: web.Request, *events: tuple[str, Json]) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for kind, obj in events:
        await response.write(json.dumps({"type": kind, "object": obj}).encode() + b"\n")
    return response


async def _collect(cluster: Cluster, count: int) -> list[tuple[str, str]]:
    told: list[WatchEvent] = []
    async with asyncio.timeout(20), aclosing(cluster.watch("v1", "Pod", "prod")) as events:
        async for event in events:
            told.append(event)
            if len(told) == count:
                break
    return [(event.type, event.object.get("metadata", {}).get("name", "")) for event in told]


GONE = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}


async def test_a_watch_lists_again_after_410_and_tells_what_it_missed(tmp_path: Path) -> None:
    lists = iter([_page(_pod("a", 1), _pod("b", 2), version=5), _page(_pod("b", 7), _pod("c", 8), version=9)])
    watched: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return next(lists)
        watched.append(request.query["resourceVersion"])
        if len(watched) == 1:
            return await _stream(request, ("ADDED", _pod("d", 6)), ("ERROR", GONE))
        return await _stream(request, ("DELETED", _pod("c", 10)))

    async with _api(tmp_path, handler) as cluster:
        told = await _collect(cluster, 10)
    assert told == [
        *[("ADDED", "a"), ("ADDED", "b"), ("SYNCED", ""), ("ADDED", "d")],
        *[("DELETED", "a"), ("DELETED", "d"), ("MODIFIED", "b"), ("ADDED", "c"), ("SYNCED", "")],
        ("DELETED", "c"),
    ]
    assert watched[:2] == ["5", "9"]


async def test_a_410_as_the_answer_itself_lists_again_too(tmp_path: Path) -> None:
    answers = iter(["list", "gone", "list", "event"])

    async def handler(request: web.Request) -> web.StreamResponse:
        step = next(answers)
        if step == "gone":
            return web.json_response(GONE, status=410)
        return _page(version=5) if step == "list" else await _stream(request, ("ADDED", _pod("a", 6)))

    async with _api(tmp_path, handler) as cluster:
        assert await _collect(cluster, 3) == [("SYNCED", ""), ("SYNCED", ""), ("ADDED", "a")]


async def test_a_broken_watch_is_resumed_where_it_stopped(tmp_path: Path) -> None:
    watched: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return _page(version=1)
        watched.append(request.query["resourceVersion"])
        if len(watched) == 1:
            response = await _stream(request, ("ADDED", _pod("a", 2)), ("BOOKMARK", _pod("", 3)))
            assert request.transport is not None
            request.transport.abort()
            return response
        if len(watched) == 2:
            return web.json_response({"message": "starting"}, status=503)
        return await _stream(request, ("ADDED", _pod("b", 4)))

    async with _api(tmp_path, handler) as cluster:
        assert await _collect(cluster, 3) == [("SYNCED", ""), ("ADDED", "a"), ("ADDED", "b")]
    assert watched == ["1", "3", "3"]


async def test_a_watch_outlives_an_api_server_that_is_away_at_the_start(tmp_path: Path) -> None:
    answers = iter([503, 429, 200])

    async def handler(request: web.Request) -> web.StreamResponse:
        if (status := next(answers)) != 200:
            return web.json_response({}, status=status)
        return _page(_pod("a", 1), version=1)

    async with _api(tmp_path, handler) as cluster:
        assert await _collect(cluster, 2) == [("ADDED", "a"), ("SYNCED", "")]


async def test_a_watch_without_the_right_ends_with_the_missing_rule(tmp_path: Path) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response({"message": "forbidden"}, status=403)

    async with _api(tmp_path, handler) as cluster:
        with pytest.raises(Refused, match=r'resources: \["pods"\], verbs: \["list"\]'):
            await _collect(cluster, 1)


async def test_an_event_longer_than_any_buffer_arrives_whole(tmp_path: Path) -> None:
    big = _pod("a", 2) | {"data": "x" * 3_000_000}

    async def handler(request: web.Request) -> web.StreamResponse:
        return await _stream(request, ("ADDED", big)) if "watch" in request.query else _page(version=1)

    async with _api(tmp_path, handler) as cluster:
        assert await _collect(cluster, 2) == [("SYNCED", ""), ("ADDED", "a")]


async def test_a_list_whose_pages_expire_is_taken_in_one_piece(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if "continue" in request.query:
            return web.json_response(GONE, status=410)
        if "limit" in request.query:
            return _page(_pod("a", 1), version=1, more="next")
        return _page(_pod("a", 1), _pod("b", 2), version=3)

    async with _api(tmp_path, handler) as cluster:
        assert [one["metadata"]["name"] for one in await cluster.list("v1", "Pod", "prod")] == ["a", "b"]


async def test_a_mutation_whose_answer_is_lost_has_an_unknown_outcome(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with _api(tmp_path, handler) as cluster:
        with pytest.raises(OutcomeUnknown):
            await cluster.create(_pod("a", 1))
        with pytest.raises(Temporary):
            await cluster.create(_pod("a", 1), dry_run=True)
        with pytest.raises(Temporary):
            await cluster.get("v1", "Pod", "a", "prod")


async def test_an_api_server_that_is_not_there_is_temporary_for_mutations_too(tmp_path: Path) -> None:
    config = _kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")
    async with await Cluster.connect(kubeconfig=config, context=None) as cluster:
        with pytest.raises(Temporary, match=r"http://127.0.0.1:1 cannot be reached"):
            await cluster.delete(ObjectRef("v1", "Pod", "a", "prod"))


async def test_every_call_carries_the_token_and_the_impersonated_person(tmp_path: Path) -> None:
    seen: list[tuple[str, ...]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        names = request.headers.getall("Impersonate-Group")
        seen.append((request.headers["Authorization"], request.headers["Impersonate-User"], *names))
        return web.json_response({"gitVersion": "v1.37.2"})

    async with _api(tmp_path, handler, as_user="jane@x", as_groups=("a", "b")) as cluster:
        assert await cluster.server_version() == "v1.37.2"
        assert cluster.in_cluster is False
    assert seen == [("Bearer t", "jane@x", "a", "b")]


async def test_warnings_of_the_server_are_handed_on(tmp_path: Path) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response({}, headers={"Warning": '299 - "unknown field \\"spec.x\\""'})

    warnings: list[str] = []
    async with _api(tmp_path, handler) as cluster:
        await cluster.apply(_pod("a", 1), dry_run=True, on_warning=warnings.append)
    assert warnings == ['unknown field "spec.x"']


async def test_a_kind_that_the_cluster_does_not_serve_is_told(tmp_path: Path) -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response({}, status=404)

    async with _api(tmp_path, handler) as cluster:
        with pytest.raises(UnknownKind, match="serves no kind Backup"):
            await cluster.list("postgresql.cnpg.io/v1", "Backup", "prod")


def _plugin(code: str) -> Json:
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", code],
        "interactiveMode": "Never",
    }
    return {"exec": plugin}


async def test_a_credential_plugin_is_run_again_when_its_token_has_run_out(tmp_path: Path) -> None:
    code = (
        "import json, pathlib; p = pathlib.Path(r'%s'); p.write_text(p.read_text() + 'x' if p.exists() else 'x');"
        "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential',"
        " 'status': {'token': p.read_text(), 'expirationTimestamp': '2020-01-01T00:00:00Z'}}))"
    ) % (tmp_path / "count")
    tokens: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        tokens.append(request.headers["Authorization"])
        return web.json_response({})

    async with _api(tmp_path, handler, _plugin(code)) as cluster:
        await cluster.server_version()
    assert tokens == ["Bearer xx"]


async def test_a_credential_plugin_that_fails_says_why(tmp_path: Path) -> None:
    config = _kubeconfig(tmp_path / "k", "http://127.0.0.1:1", _plugin("import sys; sys.exit('log in first')"))
    with pytest.raises(UserMistake, match="log in first"):
        await Cluster.connect(kubeconfig=config, context=None)


async def test_a_context_that_is_not_there_gets_the_list_of_those_that_are(tmp_path: Path) -> None:
    config = _kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")
    with pytest.raises(UserMistake) as caught:
        await Cluster.connect(kubeconfig=config, context="prod")
    assert caught.value.way_out == "Its contexts are: here."


async def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="no kubeconfig at"):
        await Cluster.connect(kubeconfig=tmp_path / "none", context=None)
