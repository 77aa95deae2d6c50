"""The services' clients through the API server: backup, snapshot, memory, and the whole health report."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bot.errors import Permanent, Temporary
from bot.kube import Cluster, Conflict, NotFound, ObjectRef, ServiceAccess, watch_rollout
from bot.kube.objects import Json
from bot.services.aeterna import AeternaClient
from bot.services.checkup import Checkup, take_report
from bot.services.cnpg import BackupResult, CloudNativePG
from bot.services.health import compare, problems
from bot.services.qdrant import QdrantClient
from dev.standins import StandinControl, Standins
from tests.cluster.kube_objects import deployment, ref


@pytest.fixture
async def control(standins: Standins) -> AsyncIterator[StandinControl]:
    async with StandinControl(standins.control_url) as control:
        yield control


@pytest.fixture
async def server(cluster: Cluster, namespace: str) -> ObjectRef:
    """A server of two ready pods."""
    one = ref(await cluster.create(deployment(namespace, replicas=2)))
    assert (await watch_rollout(cluster, [one], deadline=60)).ready
    return one


def _postgres(namespace: str, name: str = "aeterna-cnpg") -> Json:
    spec = {"instances": 1, "storage": {"size": "1Gi"}}
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": meta, "spec": spec}


async def test_a_backup_is_made_once_waited_for_and_read_back(cluster: Cluster, namespace: str) -> None:
    postgres = CloudNativePG(cluster)
    await cluster.create(_postgres(namespace))
    labels = {"aeterna-bot/run": "r1"}
    first = await postgres.create_backup(namespace, "aeterna-cnpg", "before-r1", labels=labels)
    again = await postgres.create_backup(namespace, "aeterna-cnpg", "before-r1", labels=labels)
    assert first.name == again.name
    with pytest.raises(Conflict):
        await postgres.create_backup(namespace, "aeterna-cnpg", "before-r1", labels={"aeterna-bot/run": "r2"})
    seen: list[BackupResult] = []
    done = await postgres.wait_backup(namespace, "before-r1", deadline=60, on_progress=seen.append)
    assert done.completed
    assert (bool(done.backup_id), done.stopped_at is not None, bool(done.end_wal)) == (True, True, True)
    assert seen[-1] == done
    assert await postgres.get_backup(namespace, "before-r1") == done


async def test_a_backup_that_fails_raises_the_operators_error(cluster: Cluster, namespace: str) -> None:
    postgres = CloudNativePG(cluster)
    await postgres.create_backup(namespace, "aeterna-broken", "b")
    with pytest.raises(Permanent, match=r"exit status 4.*was refused"):
        await postgres.wait_backup(namespace, "b", deadline=60)


async def test_a_backup_that_nobody_takes_up_is_still_going_on_at_the_deadline(
    cluster: Cluster, namespace: str
) -> None:
    meta = {"name": "b", "namespace": namespace, "annotations": {"throwaway-world/hold": "true"}}
    spec = {"cluster": {"name": "aeterna-cnpg"}}
    await cluster.create({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Backup", "metadata": meta, "spec": spec})
    with pytest.raises(Temporary, match="not taken up"):
        await CloudNativePG(cluster).wait_backup(namespace, "b", deadline=0.5)


async def test_a_backup_that_is_not_there_is_told(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(NotFound, match="Backup gone"):
        await CloudNativePG(cluster).wait_backup(namespace, "gone", deadline=60)


async def test_the_only_postgres_cluster_is_found_and_several_must_be_named(cluster: Cluster, namespace: str) -> None:
    postgres = CloudNativePG(cluster)
    assert await postgres.find_cluster(namespace) is None
    one = ref(await cluster.create(_postgres(namespace)))
    assert (await watch_rollout(cluster, [one], deadline=5)).ready  # a custom resource is ready when it is there
    found = await postgres.find_cluster(namespace)
    assert found is not None
    assert (found.ref.name, found.instances) == ("aeterna-cnpg", 1)
    await cluster.create(_postgres(namespace, "second"))
    with pytest.raises(Permanent, match="aeterna-cnpg, second"):
        await postgres.find_cluster(namespace)
    named = await postgres.find_cluster(namespace, "second")
    assert named is not None
    assert named.ref.name == "second"


async def test_a_snapshot_is_made_and_verified_through_the_api_server(cluster: Cluster, namespace: str) -> None:
    obj = deployment(namespace, name="qdrant", image="qdrant/qdrant:v1.10.1")
    obj["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": 6333}]
    one = ref(await cluster.create(obj))
    assert (await watch_rollout(cluster, [one], deadline=60)).ready
    (pod,) = await cluster.list("v1", "Pod", namespace)
    access = ServiceAccess(cluster)
    async with access.session(namespace=namespace, pod=pod["metadata"]["name"], port="http") as http:
        qdrant = QdrantClient(http)
        (collection,) = await qdrant.collections()
        made = await qdrant.create_snapshot(collection)
        assert await qdrant.verify(made, download=True) == made


@pytest.mark.parametrize(("switch", "outcome"), [("ok", "ok"), ("unwired", "unwired"), ("no_provider", "unwired")])
async def test_a_memory_goes_round_and_leaves_nothing(
    cluster: Cluster, namespace: str, server: ObjectRef, control: StandinControl, switch: str, outcome: str
) -> None:
    await control.switch(namespace, memory=switch)
    (pod, _) = await cluster.list("v1", "Pod", namespace)
    async with ServiceAccess(cluster).session(namespace=namespace, pod=pod["metadata"]["name"], port=8080) as http:
        result = await AeternaClient(http).memory_round_trip("project")
    assert (result.outcome, result.cleaned_up) == (outcome, True), result
    assert await control.memories(namespace) == []


async def test_a_report_of_a_good_release_has_no_problem_and_a_broken_one_differs(
    cluster: Cluster, namespace: str, server: ObjectRef, control: StandinControl
) -> None:
    checkup = Checkup(
        workloads=(server,),
        servers=(server,),
        metrics_port="metrics",
        required_metrics=("http_requests_total",),
        memory_layer="project",
    )
    access = ServiceAccess(cluster)
    good = await take_report(cluster, access, checkup)
    assert problems(good, expected_version="0.2.1", baseline=good) == []
    assert (len(good.pods), good.versions, len(good.servers)) == (2, ("0.2.1",), 2)

    await control.switch(namespace, not_ready=True, version="0.2.0", metrics="frozen", memory="unwired")
    bad = await take_report(cluster, access, checkup)
    found = {(one.kind, one.subject) for one in problems(bad, expected_version="0.2.1", baseline=good)}
    assert {kind for kind, _ in found} == {"server", "metrics", "memory"}
    assert [one.subject for one in compare(good, bad) if one.worse] == ["servers ready", "memory"]
    assert problems(bad, baseline=bad) != problems(bad, baseline=good)
