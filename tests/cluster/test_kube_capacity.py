"""What a plan finds about room, quota, volumes and API versions, on the real API server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from bot.kube import Cluster, Json
from bot.kube.apiversions import api_findings, namespace_findings
from bot.kube.capacity import capacity_findings
from bot.kube.findings import KubeFinding
from dev.controlplane import Api, Running, user_kubeconfig
from tests.cluster.kube_objects import deployment, stateful_set


@pytest.fixture
async def nobody(control_plane: Running, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Somebody whom the cluster knows and allows nothing."""
    config = user_kubeconfig(control_plane.kubeconfig, tmp_path / "kubeconfig", user="nobody")
    async with await Cluster.connect(kubeconfig=config, context=None) as cluster:
        yield cluster


@pytest.fixture
def tainted(api: Api) -> Iterator[str]:
    """A node for this test's pods only: large, labelled with its name, and tainted."""
    name = f"node-{secrets.token_hex(4)}"
    size = {"cpu": "32", "memory": "64Gi", "pods": "110"}
    document = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"taints": [{"key": "only", "value": name, "effect": "NoSchedule"}]},
        "status": {"capacity": size, "allocatable": size},
    }
    api.apply(document)
    yield name
    api.delete(document)


def codes(found: list[KubeFinding]) -> list[tuple[str, str, str]]:
    return [(one.level, one.code, one.subject) for one in found]


async def until(cluster: Cluster, kind: tuple[str, str], namespace: str, ready: Callable[[Json], bool]) -> Json:
    """Wait for an object of the namespace that is as wanted."""
    async with asyncio.timeout(60), aclosing(cluster.watch(*kind, namespace)) as events:
        async for event in events:
            if event.type != "SYNCED" and ready(event.object):
                return event.object
    raise AssertionError


def meta(namespace: str, name: str) -> Json:
    return {"name": name, "namespace": namespace}


async def quota(cluster: Cluster, namespace: str, **hard: str) -> None:
    said = {key.replace("__", "."): value for key, value in hard.items()}
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta(namespace, "small"), "spec": {"hard": said}}
    await cluster.create(body)
    await until(cluster, ("v1", "ResourceQuota"), namespace, lambda one: bool(one.get("status", {}).get("hard")))


async def test_a_release_too_large_for_its_quota_and_nodes_is_found_before_it_is_applied(
    cluster: Cluster, namespace: str
) -> None:
    await quota(cluster, namespace, requests__cpu="1")
    found = await capacity_findings(cluster, [deployment(namespace, cpu="600m", replicas=2)], namespace)
    assert codes(found) == [("blocker", "quota.exceeded", "ResourceQuota/small")]
    huge = await capacity_findings(cluster, [deployment(namespace, cpu="900")], namespace)
    assert ("blocker", "capacity.unschedulable", "Deployment/aeterna") in codes(huge)


async def test_objects_are_counted_as_the_quota_counts_them(cluster: Cluster, namespace: str) -> None:
    await quota(cluster, namespace, services="1", secrets="1")
    services = [
        {"apiVersion": "v1", "kind": "Service", "metadata": meta(namespace, name), "spec": {"ports": [{"port": 80}]}}
        for name in ("one", "two")
    ]
    found = await capacity_findings(cluster, services, namespace)
    assert [one.text for one in found] == [
        "Quota small allows 1 of services; the release would bring it to 2.",
    ]
    await cluster.create(services[0])
    await until(
        cluster,
        ("v1", "ResourceQuota"),
        namespace,
        lambda one: one.get("status", {}).get("used", {}).get("services") == "1",
    )
    assert await capacity_findings(cluster, services[:1], namespace, before=services[:1]) == []
    assert await capacity_findings(cluster, services[1:], namespace, before=services[:1]) == []


async def test_the_limit_ranges_of_the_namespace_are_obeyed(cluster: Cluster, namespace: str) -> None:
    rule = {"type": "Container", "max": {"cpu": "500m"}}
    body = {"apiVersion": "v1", "kind": "LimitRange", "metadata": meta(namespace, "bounds"), "spec": {"limits": [rule]}}
    await cluster.create(body)
    assert await capacity_findings(cluster, [deployment(namespace, cpu="500m")], namespace) == []
    found = await capacity_findings(cluster, [deployment(namespace, cpu="600m")], namespace)
    assert codes(found) == [("blocker", "limits.broken", "Deployment/aeterna")]


async def test_a_tainted_node_takes_only_pods_that_bear_it(cluster: Cluster, namespace: str, tainted: str) -> None:
    here: dict[str, Any] = {"nodeSelector": {"kubernetes.io/hostname": tainted}}
    (found,) = await capacity_findings(cluster, [deployment(namespace, **here)], namespace)
    assert found.level == "blocker"
    assert f"1 node: taint only={tainted}:NoSchedule is not tolerated" in found.text
    bears = here | {"tolerations": [{"key": "only", "operator": "Exists"}]}
    await until(
        cluster,
        ("v1", "Node"),
        "",
        lambda one: (
            one["metadata"]["name"] == tainted
            and all(taint["key"] == "only" for taint in one["spec"]["taints"])
            and any(c["type"] == "Ready" and c["status"] == "True" for c in one["status"].get("conditions") or [])
        ),
    )
    assert await capacity_findings(cluster, [deployment(namespace, cpu="30", **bears)], namespace) == []
    (full,) = await capacity_findings(cluster, [deployment(namespace, cpu="20", replicas=2, **bears)], namespace)
    assert full.text.startswith(
        "1 of 2 pods of Deployment/aeterna would not fit: 1 node: too little cpu (20 asked, 12 free"
    )


async def test_the_release_does_not_stand_in_its_own_way(cluster: Cluster, namespace: str) -> None:
    running = deployment(namespace, cpu="100m", replicas=2)
    await cluster.create(running)
    await until(
        cluster, ("apps/v1", "Deployment"), namespace, lambda one: one.get("status", {}).get("readyReplicas") == 2
    )
    bigger = deployment(namespace, cpu="200m", replicas=2)
    assert await capacity_findings(cluster, [bigger], namespace, before=[running]) == []
    await quota(cluster, namespace, requests__cpu="450m", pods="3")
    assert await capacity_findings(cluster, [bigger], namespace, before=[running]) == [
        KubeFinding(
            "blocker",
            "quota.surge",
            "Deployment/aeterna",
            "The rollout of Deployment/aeterna cannot begin: it may not be without a pod, and quota small has 50m of "
            "requests.cpu left and one pod counts 200m.",
            "Raise the quota for the time of the upgrade, or allow `maxUnavailable: 1`.",
        )
    ]


async def test_classes_priorities_and_budgets_are_looked_up(cluster: Cluster, namespace: str) -> None:
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "gone",
    }
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": meta(namespace, "strict"),
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "aeterna"}}},
    }
    await cluster.create(budget)
    objects = [deployment(namespace, priorityClassName="urgent"), stateful_set(namespace, claim=claim)]
    found = await capacity_findings(cluster, objects, namespace)
    assert codes(found) == [
        ("blocker", "priority.missing", "Deployment/aeterna"),
        ("blocker", "volume.class", "StatefulSet/opal"),
        ("warning", "budget.blocks", "PodDisruptionBudget/strict"),
    ]
    assert "kwok-volume" in found[1].way_out


async def test_a_set_with_a_default_class_and_a_system_priority_is_fine(cluster: Cluster, namespace: str) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    objects = [deployment(namespace, priorityClassName="system-cluster-critical"), stateful_set(namespace, claim=claim)]
    assert await capacity_findings(cluster, objects, namespace) == []


async def test_what_may_not_be_read_is_told_with_the_missing_rule(nobody: Cluster, namespace: str) -> None:
    found = await capacity_findings(nobody, [deployment(namespace, cpu="900")], namespace)
    assert {(one.level, one.code) for one in found} == {("warning", "unseen")}
    told = {one.subject: one for one in found}
    assert {"nodes", "resource quotas", "limit ranges", "volume claims", "autoscalers", "pods"} <= told.keys()
    assert "list nodes" in told["nodes"].text
    assert 'resources: ["nodes"], verbs: ["list"]' in told["nodes"].way_out


async def test_versions_that_the_cluster_does_not_serve_are_blockers(cluster: Cluster, namespace: str) -> None:
    objects: list[Json] = [
        {"apiVersion": "autoscaling/v2beta2", "kind": "HorizontalPodAutoscaler", "metadata": meta(namespace, "old")},
        {"apiVersion": "psmdb.percona.com/v1", "kind": "PerconaServerMongoDB", "metadata": meta(namespace, "db")},
        {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta(namespace, "hand-made")},
        deployment(namespace),
    ]
    found = await api_findings(cluster, objects, namespace, kube_version=">=1.25.0-0 <1.30.0-0", helm_version="v4.3.1")
    assert codes(found) == [
        ("blocker", "api.kube-version", "Chart.yaml"),
        ("blocker", "api.unserved", "HorizontalPodAutoscaler/old"),
        ("blocker", "api.unserved", "PerconaServerMongoDB/db"),
        ("warning", "api.deprecated", "Endpoints (v1)"),
    ]
    assert found[1].way_out == "The chart must use autoscaling/v2."
    assert "EndpointSlice" in found[3].text


async def test_a_namespace_that_is_being_deleted_is_a_blocker(
    cluster: Cluster, namespace: str, nobody: Cluster
) -> None:
    assert await namespace_findings(cluster, namespace) == []
    held = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta(namespace, "held") | {"finalizers": ["example.com/hold"]},
    }
    await cluster.create(held)
    await cluster.session.json(
        (await cluster.discovery.resource("v1", "Namespace")).call("delete", None, namespace),
        "DELETE",
        f"/api/v1/namespaces/{namespace}",
    )
    (found,) = await namespace_findings(cluster, namespace)
    assert (found.level, found.code) == ("blocker", "namespace.terminating")
    await cluster.session.json(
        (await cluster.discovery.resource("v1", "ConfigMap")).call("patch", namespace, "held"),
        "PATCH",
        f"/api/v1/namespaces/{namespace}/configmaps/held",
        body={"metadata": {"finalizers": None}},
        content_type="application/merge-patch+json",
    )
    assert (await namespace_findings(cluster, f"{namespace}-none"))[0].code == "namespace.missing"
    (blind,) = await namespace_findings(nobody, namespace)
    assert (blind.level, blind.code) == ("warning", "unseen")
