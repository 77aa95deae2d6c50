"""Bad days of recovering a volume: each is told with the thing, the reason and the way out, and no data is ever in danger."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.engine.contract import CheckResult, Level, NotStarted, Unknown
from bot.errors import Permanent
from bot.kube import Cluster, Json, ObjectRef
from bot.kube.objects import uid_of
from bot.kube.rebinding import Rebinder, Swap, until
from dev.controlplane import Api, Running
from dev.standins import StandinControl, Standins
from runbooks.vectors import node_at
from tests.cluster.emergency_world import autoscaler
from tests.cluster.kube_objects import deployment
from tests.cluster.runbook_world import blockers, texts, warnings
from tests.cluster.volume_world import CLAIM, SPEC, STORE, VolumeWorld


@pytest.fixture
def world(cluster: Cluster, api: Api, namespace: str, tmp_path: Path) -> VolumeWorld:
    return VolumeWorld(cluster=cluster, api=api, namespace=namespace, directory=tmp_path)


@pytest.fixture
async def control(standins: Standins) -> AsyncIterator[StandinControl]:
    async with StandinControl(standins.control_url) as control:
        yield control


def the_blocker(found: CheckResult) -> tuple[str, str, str]:
    """Code, text and way out."""
    (one,) = [one for one in found.findings if one.level is Level.BLOCKER]
    return one.code, one.text, one.way_out


def swap_of(world: VolumeWorld, found: CheckResult) -> Swap:
    told: Json = found.facts["recovery"]
    mark = ("aeterna-bot/run", world.run.id)
    return Swap(
        world.namespace, told["body"], mark, told["volume"], told["kept"], told["source_volume"], told["source_claim"]
    )


# -- what cannot be planned -------------------------------------------------------------------------------------


async def test_an_unknown_claim_or_snapshot_is_told_with_the_nearest(world: VolumeWorld) -> None:
    await world.stored()
    await world.snapshot("nightly")
    code, text, way_out = the_blocker(await world.plan("data-aeterna-qdrnt-0"))
    assert (code, text) == (
        "volumes.unknown",
        "There is no claim or collection `data-aeterna-qdrnt-0` of this release.",
    )
    assert f"Did you mean `{CLAIM}`?" in way_out
    assert "Did you mean `nightly`?" in the_blocker(await world.plan(CLAIM, "nigthly"))[2]


async def test_a_snapshot_that_failed_or_is_not_ready_yet_is_told_with_the_drivers_words(world: VolumeWorld) -> None:
    await world.stored()
    await world.snapshot("today-broken", ready=False)
    failed = world.snapshot_ref("today-broken")
    assert await until(
        world.cluster, failed, lambda obj: bool(((obj or {}).get("status") or {}).get("error")), seconds=30
    )
    code, text, _ = the_blocker(await world.plan(CLAIM, "today-broken"))
    assert (code, "no space left in the pool" in text) == ("volumes.unready", True)
    assert "only today-broken (Failed to create snapshot" in the_blocker(await world.plan(CLAIM))[1]
    await world.snapshot("slow", ready=False, hold="true")
    assert "it is still being made" in the_blocker(await world.plan(CLAIM, "slow"))[1]


async def test_a_snapshot_or_a_volume_of_another_claim_is_refused(world: VolumeWorld) -> None:
    await world.stored(replicas=2)
    await world.snapshot("other", claim="data-aeterna-qdrant-1")
    code, text, _ = the_blocker(await world.plan(CLAIM, "other"))
    assert (code, "is of the claim data-aeterna-qdrant-1" in text) == ("volumes.foreign", True)
    other = str((await world.claim("data-aeterna-qdrant-1"))["spec"]["volumeName"])
    code, text, _ = the_blocker(await world.plan(CLAIM, other))
    assert (code, f"Volume {other} is Bound" in text) == ("volumes.foreign", True)


async def test_a_larger_snapshot_gets_a_larger_claim(world: VolumeWorld) -> None:
    await world.stored()
    await world.snapshot("grown", size="3Gi")
    found = await world.plan(CLAIM)
    assert "The snapshot needs 3Gi, and data-aeterna-qdrant-0 has 1Gi: the new claim gets 3Gi." in warnings(found)
    await world.play(found.facts)
    assert (await world.claim())["spec"]["resources"]["requests"]["storage"] == "3Gi"


async def test_a_storage_class_that_is_gone_is_told(world: VolumeWorld, api: Api) -> None:
    name = f"gone-{secrets.token_hex(4)}"
    storage = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}
    api.apply({**storage, "provisioner": "example.org/none"})
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "storageClassName": name,
            "hostPath": {"path": "/tmp/none"},
        },
    }
    api.apply(volume)
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM, "namespace": world.namespace},
    }
    api.apply({**claim, "spec": {**SPEC, "storageClassName": name}})
    await world.stored()
    await world.snapshot("nightly")
    api.delete(storage)
    code, text, way_out = the_blocker(await world.plan(CLAIM))
    assert (code, text) == ("volumes.class", f"Claim {CLAIM} is of the storage class {name}, which is gone.")
    assert "kwok-volume" in way_out


async def test_a_snapshot_of_another_driver_is_refused(world: VolumeWorld) -> None:
    await world.stored()
    await world.snapshot("nightly")
    snapshot = await world.cluster.get_ref(world.snapshot_ref("nightly"))
    bound = (snapshot or {})["status"]["boundVolumeSnapshotContentName"]
    content = ObjectRef("snapshot.storage.k8s.io/v1", "VolumeSnapshotContent", bound)
    copied = await world.cluster.get_ref(content)
    other = f"other-{secrets.token_hex(4)}"
    spec = {**(copied or {})["spec"], "driver": "example.org/other"}
    body = {"apiVersion": content.api_version, "kind": content.kind, "metadata": {"name": other}, "spec": spec}
    await world.cluster.create(body)
    hold = {"metadata": {"annotations": {"throwaway-world/hold": "true"}}}
    await world.cluster.patch(world.snapshot_ref("nightly"), hold)
    told = {"status": {"boundVolumeSnapshotContentName": other}}
    await world.cluster.patch(world.snapshot_ref("nightly"), told, subresource="status")
    assert the_blocker(await world.plan(CLAIM))[0] == "volumes.driver"


async def test_a_claim_that_a_deployment_mounts_is_not_swapped(world: VolumeWorld, api: Api) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "files", "namespace": world.namespace},
    }
    api.apply({**body, "spec": SPEC})
    volumes = [{"name": "files", "persistentVolumeClaim": {"claimName": "files"}}]
    world.install(deployment(world.namespace, name="aeterna", volumes=volumes))
    pods = world.cluster.watch("v1", "Pod", world.namespace)
    async for event in pods:
        if event.type != "SYNCED" and (event.object.get("spec") or {}).get("nodeName"):
            break
    await pods.aclose()
    code, text, _ = the_blocker(await world.plan("files"))
    assert (code, "files is used by Deployment/aeterna, which is no StatefulSet" in text) == ("volumes.owner", True)


async def test_a_claim_that_somebody_elses_pod_mounts_too_is_not_swapped(world: VolumeWorld, api: Api) -> None:
    await world.stored()
    await world.snapshot("nightly")
    spec = {
        "containers": [{"name": "main", "image": "busybox:1"}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}}],
    }
    api.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "debug", "namespace": world.namespace}, "spec": spec}
    )
    code, text, _ = the_blocker(await world.plan(CLAIM))
    assert (code, "is mounted by debug too" in text) == ("volumes.owner", True)


async def test_a_store_that_an_operator_runs_is_left_to_it(world: VolumeWorld) -> None:
    await world.stored()
    await world.snapshot("nightly")
    meta = {"name": "owner", "namespace": world.namespace}
    owner = await world.cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    refs = [{"apiVersion": "v1", "kind": "Dragonfly", "name": "aeterna", "uid": uid_of(owner), "controller": True}]
    await world.cluster.patch(world.ref(STORE), {"metadata": {"ownerReferences": refs}})
    code, text, _ = the_blocker(await world.plan(CLAIM))
    assert (code, "its operator would start it again at once" in text) == ("volumes.owner", True)


async def test_a_claim_of_a_database_leads_to_the_command_that_restores_that(world: VolumeWorld, api: Api) -> None:
    meta: Json = {"name": "aeterna-cnpg", "namespace": world.namespace}
    spec = {"instances": 1, "storage": {"size": "1Gi"}}
    world.install({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": meta, "spec": spec})
    named: Json = {**meta, "name": "aeterna-cnpg-1", "labels": {"cnpg.io/cluster": "aeterna-cnpg"}}
    api.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": named, "spec": SPEC})
    code, text, _ = the_blocker(await world.plan("aeterna-cnpg-1"))
    assert (code, "`recover database` restores that" in text) == ("volumes.owner", True)


async def test_a_set_that_deletes_its_claims_when_it_is_scaled_down_is_never_scaled_down(world: VolumeWorld) -> None:
    await world.stored(persistentVolumeClaimRetentionPolicy={"whenScaled": "Delete", "whenDeleted": "Retain"})
    await world.snapshot("nightly")
    code, text, _ = the_blocker(await world.plan(CLAIM))
    assert (code, "set whenScaled to Retain first" in text) == ("volumes.owner", True)


async def test_an_autoscaler_is_named_and_brings_nothing_back_at_zero(world: VolumeWorld) -> None:
    await world.stored()
    await world.snapshot("nightly")
    world.install(autoscaler(world.namespace, STORE, least=1, most=3))
    found = await world.plan(CLAIM)
    assert any("is inactive while StatefulSet/aeterna-qdrant is at zero" in text for text in texts(found, Level.INFO))
    await world.play(found.facts)
    assert await world.replicas(STORE) == [1]


async def test_an_empty_claim_in_the_place_of_a_lost_one_is_for_a_person_to_remove(world: VolumeWorld) -> None:
    await world.stored()
    await world.snapshot("nightly")
    volume = str((await world.claim())["spec"]["volumeName"])
    await world.gone()
    ref = ObjectRef("v1", "PersistentVolume", volume)
    await world.cluster.delete(ref)
    await world.cluster.patch(ref, {"metadata": {"finalizers": None}})
    assert await until(
        world.cluster, world.claim_ref(), lambda obj: (obj or {})["status"]["phase"] == "Lost", seconds=30
    )
    code, text, way_out = the_blocker(await world.plan(CLAIM))
    assert (code, "is Lost: its volume" in text) == ("volumes.lost", True)
    assert f"kubectl delete pvc {CLAIM}" in way_out


async def test_without_the_rights_it_says_which_one_is_missing_and_still_shows_what_there_is(
    world: VolumeWorld, api: Api, control_plane: Running
) -> None:
    await world.stored()
    await world.snapshot("nightly")
    user, name = f"U{secrets.token_hex(4)}", f"looks-{secrets.token_hex(4)}"
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]
    meta = {"name": name, "namespace": world.namespace}
    kind = "rbac.authorization.k8s.io"
    api.apply({"apiVersion": f"{kind}/v1", "kind": "Role", "metadata": meta, "rules": rules})
    bound = {
        "roleRef": {"apiGroup": kind, "kind": "Role", "name": name},
        "subjects": [{"kind": "User", "apiGroup": kind, "name": user}],
    }
    api.apply({"apiVersion": f"{kind}/v1", "kind": "RoleBinding", "metadata": meta, **bound})
    async with await Cluster.connect(kubeconfig=control_plane.kubeconfig, context=None, as_user=user) as cluster:
        there = VolumeWorld(cluster=cluster, api=api, namespace=world.namespace, directory=world.directory)
        shown = await there.plan()
        assert "the bot may not list PersistentVolumes" in shown.facts["choices_note"]
        assert any("reclaim policy unknown" in text for text in texts(shown, Level.INFO))
        code, text, way_out = the_blocker(await there.plan(CLAIM))
    assert (code, "The bot may not create persistentvolumeclaims" in text) == ("rbac", True)
    assert "`rbac.volumes: true`" in way_out


# -- what happens meanwhile -------------------------------------------------------------------------------------


async def test_a_pod_that_does_not_end_is_named_and_nothing_is_swapped(world: VolumeWorld) -> None:
    old = await world.stored()
    await world.snapshot("nightly")
    found = await world.plan(CLAIM)
    async with world.stuck_pod():
        with pytest.raises(Permanent, match="Pod aeterna-qdrant-0 has been ending on node-") as stuck:
            await world.play(found.facts, wait={"patience": timedelta(seconds=2)})
    assert "waiting for example.org/stuck" in stuck.value.message
    assert "`emergency restore`" in stuck.value.way_out
    assert (await world.claim())["spec"]["volumeName"] == old


async def test_a_snapshot_that_is_deleted_meanwhile_ends_it_before_the_claim_is_touched(world: VolumeWorld) -> None:
    await world.stored()
    await world.snapshot("nightly")
    before = uid_of(await world.claim())
    found = await world.plan(CLAIM)
    await world.cluster.delete(world.snapshot_ref("nightly"))
    with pytest.raises(Permanent, match=r"VolumeSnapshot nightly is not there any more; claim .* was left as it is"):
        await world.play(found.facts)
    assert uid_of(await world.claim()) == before


async def test_a_quota_that_takes_no_further_claim_is_found_before_the_old_one_goes(
    world: VolumeWorld, api: Api
) -> None:
    await world.stored()
    await world.snapshot("nightly")
    before = uid_of(await world.claim())
    found = await world.plan(CLAIM)
    api.apply(quota(world.namespace))
    await filled(world)
    with pytest.raises(Exception, match="exceeded quota"):
        await world.play(found.facts)
    assert uid_of(await world.claim()) == before


async def test_when_the_new_claim_is_refused_after_all_the_old_volume_gets_its_name_back(
    world: VolumeWorld, api: Api
) -> None:
    old = await world.stored()
    await world.snapshot("big", size="5Gi")
    found = await world.plan(CLAIM)
    await world.play(found.facts, until_step="swap")
    swap, rebinder = swap_of(world, found), Rebinder(world.cluster, seconds=20)
    await rebinder._make_way(swap, old=True)
    limit = quota(world.namespace)
    limit["spec"]["hard"] = {"requests.storage": "2Gi"}
    api.apply(limit)
    await filled(world)
    with pytest.raises(Permanent, match=f"Claim {CLAIM} has its old volume {old} again") as refused:
        await rebinder.swap(swap)
    assert "`emergency restore`" in refused.value.way_out
    assert await until(
        world.cluster, world.claim_ref(), lambda obj: (obj or {})["status"]["phase"] == "Bound", seconds=30
    )
    assert (await world.claim())["spec"]["volumeName"] == old
    api.delete(limit)
    assert await world.reconcile(found.facts, "swap") == NotStarted()
    await rebinder.swap(swap)
    assert (await world.claim(swap.kept))["spec"]["volumeName"] == old


async def test_a_claim_that_somebody_else_made_in_between_is_not_touched(world: VolumeWorld) -> None:
    old = await world.stored()
    await world.snapshot("nightly")
    found = await world.plan(CLAIM)
    await world.play(found.facts, until_step="swap")
    swap, rebinder = swap_of(world, found), Rebinder(world.cluster, seconds=20)
    await rebinder._make_way(swap, old=True)
    meta = {"name": CLAIM, "namespace": world.namespace}
    theirs = await world.cluster.create(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": SPEC}
    )
    seen = await world.reconcile(found.facts, "swap")
    assert isinstance(seen, Unknown)
    assert "this run did not make it" in seen.why
    with pytest.raises(Permanent, match="this run did not make it") as other:
        await rebinder.swap(swap)
    assert f"The data of before is on the volume {old}, which is retained." in other.value.way_out
    assert uid_of(await world.claim()) == uid_of(theirs)
    assert (await world.volume(old))["spec"]["persistentVolumeReclaimPolicy"] == "Retain"


async def test_a_volume_that_somebody_else_bound_meanwhile_is_left_to_them(world: VolumeWorld) -> None:
    await world.stored()
    old = await world.let_go()
    found = await world.plan(CLAIM, old)
    taken = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": world.namespace, "name": "mine"}
    body = {"spec": {"claimRef": {**taken, "uid": None, "resourceVersion": None}}}
    await world.cluster.patch(ObjectRef("v1", "PersistentVolume", old), body)
    with pytest.raises(Permanent, match=f"was bound to the claim {world.namespace}/mine by somebody else meanwhile"):
        await world.play(found.facts)
    assert await world.cluster.get_ref(world.claim_ref()) is None
    assert "foreign" in the_blocker(await world.plan(CLAIM, old))[0]


async def test_a_volume_that_the_storage_does_not_fill_is_told_and_waited_for_again(world: VolumeWorld) -> None:
    old = await world.stored()
    await world.snapshot("nightly-unreadable")
    found = await world.plan(CLAIM)
    with pytest.raises(Permanent, match=f"Claim {CLAIM} does not get its volume") as late:
        await world.play(found.facts, bound={"deadline": timedelta(seconds=2)})
    kept = found.facts["recovery"]["kept"]
    assert f"recover volumes {CLAIM} {kept}" in late.value.way_out
    assert (await world.claim(kept))["spec"]["volumeName"] == old


# -- Qdrant -----------------------------------------------------------------------------------------------------


async def test_a_qdrant_that_does_not_answer_leaves_the_other_ways(world: VolumeWorld, control: StandinControl) -> None:
    await world.stored()
    await world.snapshot("nightly")
    await control.switch(world.namespace, qdrant="down")
    found = await world.plan()
    assert "No snapshot of Qdrant can be restored: Qdrant answered 503" in found.facts["choices_note"]
    assert [one["values"]["from"] for one in found.facts["choices"]] == ["nightly"]
    assert blockers(await world.plan(CLAIM)) == []


async def test_a_snapshot_of_qdrant_that_went_meanwhile_changes_nothing(
    world: VolumeWorld, control: StandinControl
) -> None:
    await world.stored()
    async with node_at(world.clients, world.target, "aeterna-qdrant-0") as node:
        made = await node.create_snapshot("memory_embeddings")
        found = await world.plan("memory_embeddings", made.name)
        await node.delete_snapshot(made)
    with pytest.raises(Permanent, match="is not listed by Qdrant") as gone:
        await world.play(found.facts)
    assert "Nothing was changed." in gone.value.way_out
    assert not [one for one in await control.requests(world.namespace) if one["method"] == "PUT"]


async def test_whether_qdrant_did_it_when_the_bot_died_is_for_a_person_to_decide(world: VolumeWorld) -> None:
    await world.stored()
    async with node_at(world.clients, world.target, "aeterna-qdrant-0") as node:
        await node.create_snapshot("memory_embeddings")
    found = await world.plan("memory_embeddings")
    seen = await world.reconcile(found.facts, "recover")
    assert isinstance(seen, Unknown)
    assert "it does not tell whether it did" in seen.why


async def test_a_collection_without_a_snapshot_is_told(world: VolumeWorld) -> None:
    await world.stored()
    assert the_blocker(await world.plan("memory_embeddings"))[0] == "volumes.none"
    assert the_blocker(await world.plan("memory_embeddngs"))[0] == "volumes.unknown"


def quota(namespace: str) -> dict[str, Any]:
    meta = {"name": "claims", "namespace": namespace}
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": meta,
        "spec": {"hard": {"persistentvolumeclaims": "1"}},
    }


async def filled(world: VolumeWorld) -> None:
    """Waits until the quota has been added up: before that it refuses everything."""
    ref = ObjectRef("v1", "ResourceQuota", "claims", world.namespace)
    assert await until(world.cluster, ref, lambda obj: bool(((obj or {}).get("status") or {}).get("used")), seconds=30)
