"""The client against a real API server: objects, errors, watches, rights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from bot.errors import Refused
from bot.kube import Cluster, Conflict, Invalid, NotFound, ObjectRef, UnknownKind
from bot.kube.cluster import JSON_PATCH
from bot.kube.objects import Json
from dev.controlplane import Running, user_kubeconfig
from tests.cluster.kube_objects import deployment, ref


def _config_map(namespace: str, name: str = "settings", **data: str) -> Json:
    meta = {"name": name, "namespace": namespace, "labels": {"of": "test"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


@pytest.fixture
async def nobody(control_plane: Running, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Somebody whom the cluster knows and allows nothing."""
    config = user_kubeconfig(control_plane.kubeconfig, tmp_path / "kubeconfig", user="nobody")
    async with await Cluster.connect(kubeconfig=config, context=None) as cluster:
        yield cluster


async def test_an_object_is_created_read_patched_and_deleted(cluster: Cluster, namespace: str) -> None:
    created = await cluster.create(_config_map(namespace, a="1"))
    one = ref(created)
    await cluster.patch(one, {"data": {"b": "2"}})
    await cluster.patch(one, [{"op": "remove", "path": "/data/a"}], JSON_PATCH)
    found = await cluster.get_ref(one)
    assert found is not None
    assert found["data"] == {"b": "2"}
    with pytest.raises(Conflict):
        await cluster.delete(one, uid="00000000-0000-0000-0000-000000000000")
    assert await cluster.delete(one, uid=found["metadata"]["uid"]) is True
    assert await cluster.delete(one) is False
    assert await cluster.get_ref(one) is None


async def test_creating_what_is_there_already_is_a_conflict_that_says_so(cluster: Cluster, namespace: str) -> None:
    await cluster.create(_config_map(namespace))
    with pytest.raises(Conflict) as caught:
        await cluster.create(_config_map(namespace))
    assert caught.value.already_exists


async def test_a_dry_run_of_server_side_apply_names_the_field_and_changes_nothing(
    cluster: Cluster, namespace: str
) -> None:
    bad = deployment(namespace, replicas=-1)
    with pytest.raises(Invalid) as caught:
        await cluster.apply(bad, dry_run=True)
    assert [cause.field for cause in caught.value.causes] == ["spec.replicas"]
    shown = await cluster.apply(deployment(namespace), dry_run=True)
    assert shown["spec"]["strategy"]["type"] == "RollingUpdate"
    assert await cluster.get("apps/v1", "Deployment", "aeterna", namespace) is None


async def test_a_field_of_another_manager_is_a_conflict_unless_forced(cluster: Cluster, namespace: str) -> None:
    await cluster.apply(_config_map(namespace, a="1"), dry_run=False, field_manager="helm")
    with pytest.raises(Conflict, match="helm"):
        await cluster.apply(_config_map(namespace, a="2"), dry_run=False)
    done = await cluster.apply(_config_map(namespace, a="2"), dry_run=False, force=True)
    assert done["data"] == {"a": "2"}


async def test_lists_have_kinds_and_may_be_of_metadata_alone(cluster: Cluster, namespace: str) -> None:
    await cluster.create(_config_map(namespace, "one", a="1"))
    await cluster.create(_config_map(namespace, "two"))
    full = await cluster.list("v1", "ConfigMap", namespace, "of=test")
    bare = await cluster.list("v1", "ConfigMap", namespace, "of=test", metadata_only=True)
    assert [one["metadata"]["name"] for one in full] == [one["metadata"]["name"] for one in bare] == ["one", "two"]
    assert {(one["kind"], "data" in one) for one in bare} == {("ConfigMap", False)}
    only = await cluster.list("v1", "ConfigMap", namespace, field_selector="metadata.name=two")
    assert len(only) == 1


async def test_more_objects_than_a_page_are_all_listed(cluster: Cluster, namespace: str) -> None:
    names = [f"c{number:04}" for number in range(520)]
    for start in range(0, len(names), 40):
        batch = names[start : start + 40]
        await asyncio.gather(*(cluster.create(_config_map(namespace, name)) for name in batch))
    listed = await cluster.list("v1", "ConfigMap", namespace, "of=test", metadata_only=True)
    assert [one["metadata"]["name"] for one in listed] == names


async def test_scaling_reaches_the_deployment(cluster: Cluster, namespace: str) -> None:
    one = ref(await cluster.create(deployment(namespace, replicas=1)))
    await cluster.scale(one, 0)
    found = await cluster.get_ref(one)
    assert found is not None
    assert found["spec"]["replicas"] == 0
    with pytest.raises(NotFound):
        await cluster.scale(ObjectRef("apps/v1", "Deployment", "other", namespace), 1)


async def test_a_kind_without_a_definition_is_told(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(UnknownKind, match="serves no kind PerconaServerMongoDB"):
        await cluster.get("psmdb.percona.com/v1", "PerconaServerMongoDB", "a", namespace)


async def test_the_servers_version_is_kubernetes_own(cluster: Cluster) -> None:
    assert (await cluster.server_version()).startswith("v1.")


async def test_a_watch_tells_what_is_there_and_then_every_change(cluster: Cluster, namespace: str) -> None:
    await cluster.create(_config_map(namespace, "first"))
    told: list[tuple[str, str]] = []
    async with asyncio.timeout(30), aclosing(cluster.watch("v1", "ConfigMap", namespace, "of=test")) as events:
        async for event in events:
            told.append((event.type, event.object.get("metadata", {}).get("name", "")))
            if event.type == "SYNCED":
                one = ref(await cluster.create(_config_map(namespace, "second")))
                await cluster.patch(one, {"data": {"x": "y"}})
                await cluster.delete(one)
            if event.type == "DELETED":
                break
    assert told == [
        *[("ADDED", "first"), ("SYNCED", ""), ("ADDED", "second"), ("MODIFIED", "second")],
        ("DELETED", "second"),
    ]


async def test_who_may_do_nothing_is_told_which_rule_is_missing(nobody: Cluster, namespace: str) -> None:
    with pytest.raises(Refused) as caught:
        await nobody.list("v1", "Pod", namespace)
    assert "list pods" in caught.value.message
    assert 'resources: ["pods"], verbs: ["list"]' in caught.value.way_out
    assert namespace in caught.value.way_out


async def test_rights_can_be_asked_for(cluster: Cluster, nobody: Cluster, namespace: str) -> None:
    assert await cluster.can_i("patch", "deployments", "apps", namespace) is True
    assert await nobody.can_i("patch", "deployments", "apps", namespace, subresource="scale") is False


async def test_the_mapped_person_is_who_the_cluster_sees(control_plane: Running, namespace: str) -> None:
    connecting = Cluster.connect(kubeconfig=control_plane.kubeconfig, context=None, as_user="jane@example.com")
    async with await connecting as jane:
        with pytest.raises(Refused, match=r"jane@example\.com"):
            await jane.list("v1", "Secret", namespace)
