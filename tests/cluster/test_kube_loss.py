"""What an upgrade would lose, on real StatefulSets, claims and volumes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from bot.kube import Cluster, Json
from bot.kube.loss import LossFinding
from bot.kube.loss_reading import find_losses
from dev.controlplane import Running, user_kubeconfig
from tests.cluster.kube_objects import ref, stateful_set

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


@pytest.fixture
async def nobody(control_plane: Running, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Somebody whom the cluster knows and allows nothing."""
    config = user_kubeconfig(control_plane.kubeconfig, tmp_path / "kubeconfig", user="nobody")
    async with await Cluster.connect(kubeconfig=config, context=None) as cluster:
        yield cluster


async def until(cluster: Cluster, kind: str, namespace: str, ready: Callable[[Json], bool]) -> Json:
    """Wait for an object of the namespace that is as wanted."""
    async with asyncio.timeout(60), aclosing(cluster.watch("v1", kind, namespace)) as events:
        async for event in events:
            if event.type != "SYNCED" and ready(event.object):
                return event.object
    raise AssertionError


async def bound(cluster: Cluster, namespace: str, *, owned: bool = False) -> Json:
    """The first claim that is bound, and if ``owned`` has an owner."""
    return await until(
        cluster,
        "PersistentVolumeClaim",
        namespace,
        lambda one: (
            one.get("status", {}).get("phase") == "Bound"
            and (not owned or bool(one["metadata"].get("ownerReferences")))
        ),
    )


async def only(cluster: Cluster, before: Json, namespace: str) -> LossFinding:
    (found,) = await find_losses(cluster, [before], [], namespace=namespace)
    assert isinstance(found, LossFinding)
    return found


async def test_a_sets_claims_stay_by_default_and_go_by_when_deleted(cluster: Cluster, namespace: str) -> None:
    before = stateful_set(namespace, name="qdrant", claim=CLAIM)
    await cluster.create(before)
    claim = await bound(cluster, namespace)
    stays = await only(cluster, before, namespace)
    assert (stays.level, stays.protected_by) == ("warning", ("whenDeleted: Retain",))
    (taken,) = stays.takes
    assert (taken.ref.name, taken.size, taken.fate) == ("data-qdrant-0", "1Gi", "stays")
    assert (taken.volume, taken.reclaim) == (claim["spec"]["volumeName"], "Delete")

    policy = {"spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}}}
    await cluster.patch(ref(before), policy)
    await bound(cluster, namespace, owned=True)
    goes = await only(cluster, before, namespace)
    assert (goes.level, goes.code, goes.subject) == ("blocker", "data.loss", "StatefulSet/qdrant")
    assert [one.fate for one in goes.takes] == ["lost"]

    volume = {"spec": {"persistentVolumeReclaimPolicy": "Retain"}}
    await cluster.session.json(
        (await cluster.discovery.resource("v1", "PersistentVolume")).call("patch", None, taken.volume),
        "PATCH",
        f"/api/v1/persistentvolumes/{taken.volume}",
        body=volume,
        content_type="application/merge-patch+json",
    )
    kept = await only(cluster, before, namespace)
    assert (kept.level, kept.protected_by) == (
        "warning",
        (f"reclaim policy Retain of PersistentVolume/{taken.volume}",),
    )

    await cluster.patch(ref(before), {"metadata": {"annotations": {"helm.sh/resource-policy": "keep"}}})
    assert (await only(cluster, before, namespace)).level == "info"


async def test_a_database_that_leaves_takes_its_claims_by_owner_references(cluster: Cluster, namespace: str) -> None:
    database = {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": {"name": "aeterna-cnpg", "namespace": namespace},
        "spec": {"instances": 1, "storage": {"size": "1Gi"}},
    }
    live = await cluster.create(database)
    owner = {
        "apiVersion": live["apiVersion"],
        "kind": "Cluster",
        "name": "aeterna-cnpg",
        "uid": live["metadata"]["uid"],
        "controller": True,
    }
    for kind, name, spec in (
        ("PersistentVolumeClaim", "aeterna-cnpg-1", {"spec": CLAIM}),
        ("Secret", "aeterna-cnpg-app", {"stringData": {"password": "hidden"}}),
    ):
        meta = {"name": name, "namespace": namespace, "ownerReferences": [owner]}
        await cluster.create({"apiVersion": "v1", "kind": kind, "metadata": meta, **spec})
    found = await only(cluster, database, namespace)
    assert found.level == "blocker"
    assert found.text.startswith(
        "Cluster/aeterna-cnpg would be deleted, and with it the claims that it owns (a PostgreSQL database):"
    )
    assert {(one.ref.kind, one.ref.name) for one in found.takes} >= {
        ("PersistentVolumeClaim", "aeterna-cnpg-1"),
        ("Secret", "aeterna-cnpg-app"),
    }
    assert "hidden" not in str(found)


async def test_an_encryption_key_that_the_upgrade_replaces_is_a_blocker(cluster: Cluster, namespace: str) -> None:
    meta = {"name": "aeterna-kms-local", "namespace": namespace}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"key": "first"}}
    await cluster.create(body)
    assert await find_losses(cluster, [body], [body], namespace=namespace) == []
    after = body | {"stringData": {"key": "second"}}
    (found,) = await find_losses(cluster, [body], [after], namespace=namespace)
    assert (found.level, "`key` of Secret/aeterna-kms-local would change" in found.text) == ("blocker", True)


async def test_what_is_gone_already_is_no_loss_and_what_may_not_be_read_is_told(
    cluster: Cluster, nobody: Cluster, namespace: str
) -> None:
    before = stateful_set(namespace, name="qdrant", claim=CLAIM)
    assert (await only(cluster, before, namespace)).level == "info"
    found = await find_losses(nobody, [before], [], namespace=namespace)
    assert [one.code for one in found] == ["data.loss", "unseen", "unseen"]
    assert {one.subject for one in found[1:]} == {"StatefulSet objects", "PersistentVolumeClaim objects"}
