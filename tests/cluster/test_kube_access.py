"""The way to a pod's port from outside: through the API server, with the URL and Host of the inside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.errors import Refused, Temporary
from bot.kube import Cluster, NotFound, ServiceAccess, watch_rollout
from bot.kube.workloads import release_pods
from dev.controlplane import Running, user_kubeconfig
from dev.standins import StandinControl, Standins
from tests.cluster.kube_objects import deployment, ref, service


@pytest.fixture
async def pod(cluster: Cluster, namespace: str) -> str:
    """A ready pod of a server, behind the Service `aeterna`."""
    one = ref(await cluster.create(deployment(namespace)))
    await cluster.create(service(namespace))
    assert (await watch_rollout(cluster, [one], deadline=60)).ready
    return str((await release_pods(cluster, [one]))[one][0]["metadata"]["name"])


@pytest.fixture
async def control(standins: Standins) -> AsyncIterator[StandinControl]:
    async with StandinControl(standins.control_url) as control:
        yield control


async def test_a_pods_port_answers_with_its_own_host(cluster: Cluster, namespace: str, pod: str) -> None:
    access = ServiceAccess(cluster)
    async with access.session(namespace=namespace, pod=pod, port=8080) as http, http.get("/health") as response:
        assert (await response.json())["version"] == "0.2.1"
        found = await cluster.get("v1", "Pod", pod, namespace)
        assert found is not None
        assert str(response.url) == f"http://{found['status']['podIP']}:8080/health"


async def test_a_port_may_be_named(cluster: Cluster, namespace: str, pod: str) -> None:
    access = ServiceAccess(cluster)
    async with access.session(namespace=namespace, pod=pod, port="metrics") as http, http.get("/metrics") as response:
        assert "http_requests_total" in await response.text()
    with pytest.raises(NotFound, match="no port named other"):
        async with access.session(namespace=namespace, pod=pod, port="other"):
            pass


async def test_a_service_leads_to_a_ready_pod_and_its_target_port(cluster: Cluster, namespace: str, pod: str) -> None:
    async with asyncio.timeout(30):
        while True:  # the endpoints follow the pod's readiness a moment later
            try:
                async with ServiceAccess(cluster).session(namespace=namespace, service="aeterna", port=80) as http:
                    async with http.get("/ready") as response:
                        assert (await response.json())["status"] == "ready"
                        assert str(response.url) == f"http://aeterna.{namespace}.svc/ready"
                    return
            except Temporary:
                await asyncio.sleep(0.1)


async def test_many_requests_at_once_and_one_after_another_each_get_their_answer(
    cluster: Cluster, namespace: str, pod: str
) -> None:
    async with ServiceAccess(cluster).session(namespace=namespace, pod=pod, port=8080) as http:

        async def ask() -> str:
            async with http.get("/health") as response:
                return str((await response.json())["version"])

        for _ in range(3):
            assert await asyncio.gather(*(ask() for _ in range(8))) == ["0.2.1"] * 8


async def test_large_bodies_pass_both_ways(cluster: Cluster, namespace: str, pod: str, control: StandinControl) -> None:
    content = "x" * 400_000
    async with ServiceAccess(cluster).session(namespace=namespace, pod=pod, port=8080) as http:
        body = {"content": content, "layer": "project"}
        async with http.post("/api/v1/memory/add", json=body) as response:
            assert response.status == 200
        async with http.post("/api/v1/memory/list", json={"layer": "project"}) as response:
            items = (await response.json())["items"]
    assert [item["content"] == content for item in items] == [True]


async def test_a_port_where_nobody_listens_answers_like_a_gateway(cluster: Cluster, namespace: str, pod: str) -> None:
    access = ServiceAccess(cluster)
    async with access.session(namespace=namespace, pod=pod, port=4444) as http, http.get("/") as response:
        assert response.status == 502
        assert (await response.json())["error"] == "port_forward_failed"


async def test_a_service_without_a_ready_pod_is_temporary(cluster: Cluster, namespace: str) -> None:
    await cluster.create(service(namespace))
    with pytest.raises(Temporary, match="No pod behind Service aeterna"):
        async with ServiceAccess(cluster).session(namespace=namespace, service="aeterna", port="http"):
            pass


async def test_what_is_not_there_is_named(cluster: Cluster, namespace: str) -> None:
    access = ServiceAccess(cluster)
    with pytest.raises(NotFound, match="no pod gone"):
        async with access.session(namespace=namespace, pod="gone", port=1):
            pass
    await cluster.create(service(namespace))
    with pytest.raises(NotFound, match="no port 8081") as caught:
        async with access.session(namespace=namespace, service="aeterna", port=8081):
            pass
    assert caught.value.way_out == "It has: http (80), metrics (9090)."


async def test_who_may_not_forward_is_told_when_the_session_is_opened(
    cluster: Cluster, control_plane: Running, namespace: str, pod: str, tmp_path: Path
) -> None:
    about = {"name": "reader", "namespace": namespace}
    rbac = "rbac.authorization.k8s.io/v1"
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    await cluster.create({"apiVersion": rbac, "kind": "Role", "metadata": about, "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}]
    binding = {"apiVersion": rbac, "kind": "RoleBinding", "metadata": about, "roleRef": role, "subjects": subjects}
    await cluster.create(binding)
    config = user_kubeconfig(control_plane.kubeconfig, tmp_path / "kubeconfig", user="reader")
    async with await Cluster.connect(kubeconfig=config, context=None) as reader:
        with pytest.raises(Refused, match=r'resources: \["pods/portforward"\], verbs: \["create", "get"\]'):
            async with ServiceAccess(reader).session(namespace=namespace, pod=pod, port=8080):
                pass
