"""Inside the cluster: the ServiceAccount's credentials, and pods and Services reached directly."""

from __future__ import annotations

import importlib
from pathlib import Path

import certifi
import pytest
import yaml
from aiohttp import web

from bot.kube import Cluster, ServiceAccess, session


async def test_a_pod_uses_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    loader = importlib.import_module("kubernetes.aio.config.incluster_config")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(session, "SERVICE_ACCOUNT_TOKEN", token)
    monkeypatch.setattr(loader, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(loader, "SERVICE_CERT_FILENAME", certifi.where())
    async with await Cluster.connect(kubeconfig=None, context=None) as cluster:
        assert (cluster.in_cluster, cluster.server) == (True, "https://10.0.0.1:443")
        assert (await cluster.session.headers())["Authorization"] == "bearer first"


async def test_pods_are_reached_directly_and_services_by_name(tmp_path: Path) -> None:
    port = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/api/v1":
            kinds = {"pods": "Pod", "services": "Service"}
            found = [{"name": name, "kind": kind, "namespaced": True} for name, kind in kinds.items()]
            return web.json_response({"resources": found})
        if "/pods/" in request.path:
            return web.json_response({"metadata": {"name": "a"}, "status": {"podIP": "127.0.0.1"}})
        if "/services/" in request.path:
            return web.json_response({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "http", "port": 80}]}})
        return web.json_response({"host": request.host})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    try:
        async with await Cluster.connect(kubeconfig=path, context=None) as cluster:
            cluster.session.in_cluster = True
            access = ServiceAccess(cluster)
            async with access.session(namespace="prod", pod="a", port=port) as http, http.get("/ready") as response:
                assert (await response.json())["host"] == f"127.0.0.1:{port}"
            async with access.session(namespace="prod", service="s", port="http") as http:
                assert str(http._build_url("/ready")) == "http://s.prod.svc/ready"
    finally:
        await runner.cleanup()
