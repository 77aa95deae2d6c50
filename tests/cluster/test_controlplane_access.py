"""Ways into the throwaway cluster: other people's kubeconfigs, port-forwards, and its end."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import psycopg
import pytest
import yaml
from aiohttp import web

from dev.controlplane import Api, ApiError, Running, user_kubeconfig
from dev.standins import Standins
from dev.toolchain import Toolchain

CHECKOUT = Path(__file__).resolve().parents[2]


def make_ready_pod(api: Api, namespace: str, toolchain: Toolchain, kubeconfig: Path) -> None:
    ports = [{"containerPort": 6333}]
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "it", "namespace": namespace},
            "spec": {"containers": [{"name": "main", "image": "registry.example/qdrant:1", "ports": ports}]},
        }
    )
    kubectl = [str(toolchain.path("kubectl")), f"--kubeconfig={kubeconfig}", f"--namespace={namespace}"]
    subprocess.run([*kubectl, "wait", "pod/it", "--for=condition=Ready", "--timeout=45s"], check=True)


def test_minted_user_is_nobody_until_a_role_is_bound(
    api: Api, control_plane: Running, namespace: str, tmp_path: Path
) -> None:
    path = tmp_path / "kubeconfig"
    user_kubeconfig(control_plane.kubeconfig, path, user="jo", group="on-call", namespace=namespace)
    theirs = Api(path)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    with pytest.raises(ApiError) as refused:
        theirs.get(pods)
    assert refused.value.status == 403
    assert '\\"jo\\"' in str(refused.value)
    api.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "on-call", "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "on-call"}],
        }
    )
    assert _as_soon_as_the_server_knows_the_role(theirs, pods)["items"] == []


def test_kubectl_port_forward_leads_to_the_stand_in(
    api: Api, control_plane: Running, standins: Standins, namespace: str, toolchain: Toolchain
) -> None:
    make_ready_pod(api, namespace, toolchain, control_plane.kubeconfig)
    command = [str(toolchain.path("kubectl")), f"--kubeconfig={control_plane.kubeconfig}"]
    command += [f"--namespace={namespace}", "port-forward", "pod/it", ":6333"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = re.search(r"127\.0\.0\.1:(\d+) -> 6333", process.stdout.readline())
            assert said is not None
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"http://127.0.0.1:{said[1]}/healthz", timeout=20) as answer:
                assert answer.status == 200
        finally:
            process.terminate()


async def test_websocket_port_forward_leads_to_a_process_of_this_machine(toolchain: Toolchain, tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="here I am")

    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    here = runner.addresses[0][1]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dev.controlplane", f"--forward=8080={here}", cwd=CHECKOUT, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        running = Running.from_json((await process.stdout.readline()).decode())
        api = Api(running.kubeconfig)
        await asyncio.to_thread(make_ready_pod, api, "default", toolchain, running.kubeconfig)
        assert "here I am" in await through_websocket(running, "default", 8080, tmp_path)
    finally:
        process.terminate()
        await process.wait()
        await runner.cleanup()
    assert process.returncode == 0
    assert not any(psutil.pid_exists(one) for one in running.process_ids.values())
    assert not running.directory.exists()


async def through_websocket(running: Running, namespace: str, port: int, tmp_path: Path) -> str:
    """GET / through the API server's port-forward; the first frames of the answer."""
    path = user_kubeconfig(running.kubeconfig, tmp_path / "kubeconfig", user="root", group="system:masters")
    context = tls_context(path, tmp_path)
    url = f"{running.server}/api/v1/namespaces/{namespace}/pods/it/portforward?ports={port}"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, protocols=["v4.channel.k8s.io"], ssl=context) as socket,
    ):
        await socket.send_bytes(b"\x00GET / HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n")
        frames: list[bytes] = []
        while b"here I am" not in b"".join(frames):
            frames.append((await socket.receive_bytes(timeout=20))[1:])
    return b"".join(frames).decode(errors="replace")


def tls_context(kubeconfig: Path, tmp_path: Path) -> ssl.SSLContext:
    content = yaml.safe_load(kubeconfig.read_text())
    user, cluster = content["users"][0]["user"], content["clusters"][0]["cluster"]
    both = tmp_path / "client.pem"
    both.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    context.load_cert_chain(both)
    return context


def test_killed_control_plane_leaves_no_process(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "dev.controlplane", f"--directory={tmp_path / 'plane'}"],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        children = [psutil.Process(one) for one in json.loads(process.stdout.readline())["process_ids"].values()]
        os.kill(process.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []


def test_postgres_answers_and_each_test_has_an_empty_database(postgresql_database: str) -> None:
    with psycopg.connect(postgresql_database.replace("+psycopg", "")) as connection:
        row = connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone()
    assert row == (0,)


def _as_soon_as_the_server_knows_the_role(api: Api, path: str) -> dict[str, Any]:
    """The API server's authoriser learns of a binding by a watch, a moment after it was made."""
    until = time.monotonic() + 20
    while True:
        try:
            return api.get(path)
        except ApiError as error:
            if error.status != 403 or time.monotonic() > until:
                raise
            time.sleep(0.1)
