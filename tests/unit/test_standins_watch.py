"""The stand-ins' table of pods, against a small server that lists and watches as an API server does."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from dev.standins.directory import NobodyMeantError, find_pod
from dev.standins.watch import WatchedPods


def pod(name: str, ip: str, tag: str, *, phase: str = "Running") -> dict[str, Any]:
    return {
        "metadata": {
            "uid": name,
            "name": name,
            "namespace": "blue",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"containers": [{"image": f"ghcr.io/kikokikok/aeterna:{tag}", "ports": [{"containerPort": 8080}]}]},
        "status": {"podIP": ip, "phase": phase, "conditions": [{"type": "Ready", "status": "True"}]},
    }


class ApiServer:
    """Lists ``pods``; sends what is put into ``events`` to whoever watches. None ends the watch."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.pods: list[dict[str, Any]] = []
        self.events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": self.pods})
        stream = web.StreamResponse()
        await stream.prepare(request)
        while (event := await self.events.get()) is not None:
            await stream.write(json.dumps(event).encode() + b"\n")
        return stream


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ApiServer]:
    server = ApiServer(tmp_path / "kubeconfig")
    app = web.Application()
    app.router.add_get("/api/v1/pods", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    server.kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")
    yield server
    for _ in ("the table of pods", "the node that runs probes"):
        server.events.put_nowait(None)
    await runner.cleanup()


async def tag_at(pods: WatchedPods, ip: str) -> str:
    return (await find_pod(pods, port=8080, host=f"{ip}:8080", namespace=None, patience=10)).tags[8080]


async def test_pods_that_were_there_before_and_pods_that_come_later_are_known(api: ApiServer) -> None:
    api.pods = [pod("first", "10.0.0.1", "0.2.0")]
    async with WatchedPods.watching(api.kubeconfig) as pods:
        assert await tag_at(pods, "10.0.0.1") == "0.2.0"
        api.events.put_nowait({"type": "ADDED", "object": pod("second", "10.0.0.2", "0.2.1")})
        assert await tag_at(pods, "10.0.0.2") == "0.2.1"


async def test_a_deleted_pod_is_forgotten(api: ApiServer) -> None:
    api.pods = [pod("first", "10.0.0.1", "0.2.0")]
    async with WatchedPods.watching(api.kubeconfig) as pods:
        await tag_at(pods, "10.0.0.1")
        change = asyncio.create_task(pods.changed())
        await asyncio.sleep(0)
        api.events.put_nowait({"type": "DELETED", "object": api.pods[0]})
        await change
        with pytest.raises(NobodyMeantError):
            await find_pod(pods, port=8080, host="10.0.0.1", namespace=None, patience=0.01)


async def test_an_address_given_out_again_means_the_pod_that_lives(api: ApiServer) -> None:
    ended = pod("ended", "10.0.0.1", "0.2.0", phase="Failed")
    api.pods = [ended, pod("lives", "10.0.0.1", "0.2.1")]
    async with WatchedPods.watching(api.kubeconfig) as pods:
        assert await tag_at(pods, "10.0.0.1") == "0.2.1"


@pytest.mark.parametrize("end", [None, {"type": "ERROR", "object": {"code": 410, "message": "too old"}}])
async def test_a_watch_that_ends_or_is_gone_is_begun_anew_from_a_list(
    api: ApiServer, end: dict[str, Any] | None
) -> None:
    async with WatchedPods.watching(api.kubeconfig) as pods:
        api.pods = [pod("later", "10.0.0.3", "0.3.0")]
        api.events.put_nowait(end)
        assert await tag_at(pods, "10.0.0.3") == "0.3.0"


async def test_the_process_plays_the_pods_and_ends_on_sigterm(api: ApiServer) -> None:
    api.pods = [pod("first", "10.0.0.1", "0.2.0")]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dev.standins", "--kubeconfig", str(api.kubeconfig), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    ports = json.loads(await process.stdout.readline())
    assert set(ports) == {"8080", "9090", "6333", "7000", "7002", "8180", "control"}
    url, headers = f"http://127.0.0.1:{ports['8080']}/health", {"Host": "10.0.0.1:8080"}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        assert (await response.json())["version"] == "0.2.0"
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
