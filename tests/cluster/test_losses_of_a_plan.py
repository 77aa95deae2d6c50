"""What a plan says of data that an upgrade would delete, and of a cluster that cannot take the new manifest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bot.engine.contract import Level
from bot.kube import Cluster, ObjectRef
from dev.charts import BadVersion, Edit
from dev.controlplane import Running, user_kubeconfig
from tests.cluster.runbook_world import World, blockers, texts, warnings

KEEP = {"metadata": {"annotations": {"helm.sh/resource-policy": "keep"}}}


async def test_backends_that_vanish_are_named_with_their_claims_and_what_protects_them(world: World) -> None:
    await world.install("0.2.1", {})
    world.asking(version=BadVersion.BACKENDS_VANISH)
    database = ObjectRef("postgresql.cnpg.io/v1", "Cluster", "aeterna-cnpg", world.namespace)
    vectors = ObjectRef("apps/v1", "StatefulSet", "aeterna-qdrant", world.namespace)
    cluster = world.clients.cluster

    result = await world.check("data.loss")
    (blocker,) = (one for one in result.findings if one.level is Level.BLOCKER)
    assert (blocker.code, blocker.subject) == ("data.loss", "Cluster/aeterna-cnpg")
    assert "Cluster/aeterna-cnpg would be deleted" in blocker.text
    assert "helm.sh/resource-policy=keep" in blocker.way_out
    (stays,) = warnings(result)
    assert "StatefulSet/aeterna-qdrant would be deleted; its data stays in PersistentVolumeClaim/" in stays
    assert {one["because_of"] for one in result.facts["loses"]} == {"Cluster/aeterna-cnpg"}
    assert result.bindings["data lost"] != "none"
    assert (await world.check("data.loss")).bindings == result.bindings

    policy = {"spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}}}
    await cluster.patch(vectors, policy)
    worse = await world.check("data.loss")
    assert len(blockers(worse)) == 2
    assert any("StatefulSet/aeterna-qdrant" in one and "whenDeleted: Delete" in one for one in blockers(worse))
    assert any(one["name"] == "qdrant-storage-aeterna-qdrant-0" for one in worse.facts["loses"])
    assert worse.bindings != result.bindings, "whoever accepted the first loss did not accept the second"

    for ref in (database, vectors):
        await cluster.patch(ref, KEEP)
    kept = await world.check("data.loss")
    assert not blockers(kept)
    assert [text for text in texts(kept, Level.INFO) if "stays in the cluster" in text]
    assert (kept.facts["loses"], kept.bindings) == ([], {"data lost": "none"})


async def test_an_upgrade_that_deletes_nothing_loses_nothing(world: World) -> None:
    await world.install("0.2.0", settled=False)
    world.asking(version="0.2.1")
    result = await world.check("data.loss")
    assert [one.text for one in result.findings] == ["No data would be lost."]
    assert (await world.check("api.versions")).findings[0].level is Level.INFO


async def test_what_the_cluster_does_not_serve_and_what_the_chart_demands_are_blockers(world: World) -> None:
    await world.install("0.2.1", settled=False)
    service = "{{- if .Values.aeterna.enabled }}\n"
    gone = "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: old}\n---\n"
    world.repository.add("0.2.50", edits=[Edit("templates/aeterna/service.yaml", service, gone + service)])
    world.asking(version="0.2.50")
    (found,) = (one for one in (await world.check("api.versions")).findings if one.level is Level.BLOCKER)
    assert (found.code, found.subject) == ("api.unserved", "PodDisruptionBudget/old")
    assert "Kubernetes removed PodDisruptionBudget of policy/v1beta1 in 1.25" in found.text
    assert "policy/v1" in found.way_out


async def test_a_cluster_that_is_too_old_for_the_chart_is_a_blocker_though_nothing_renders(world: World) -> None:
    await world.install("0.2.1", settled=False)
    world.repository.add(
        "0.2.51", edits=[Edit("Chart.yaml", "type: application", "type: application\nkubeVersion: '>=1.99.0-0'")]
    )
    world.asking(version="0.2.51")
    result = await world.check("api.versions")
    assert any("asks for Kubernetes `>=1.99.0-0`" in text for text in blockers(result))


async def test_what_may_not_be_read_is_said_and_never_taken_for_good(
    world: World, control_plane: Running, tmp_path: Path
) -> None:
    await world.install("0.2.1", {}, settled=False)
    world.asking(version=BadVersion.BACKENDS_VANISH)
    config = user_kubeconfig(control_plane.kubeconfig, tmp_path / "nobody", user="nobody")
    async with await Cluster.connect(kubeconfig=config, context=None) as nobody:
        world.clients = replace(world.clients, cluster=nobody)
        plan = await world.plan("data.loss", "api.versions")
    assert blockers(plan["data.loss"]), "what cannot be looked at counts as what the chart says"
    unseen = [one for one in plan["data.loss"].findings if one.code == "unseen"]
    assert {one.subject for one in unseen} >= {"StatefulSet objects", "PersistentVolumeClaim objects"}
    assert all(one.level is Level.WARNING for one in unseen)
    assert any(one.code == "unseen" and "namespace" in one.subject for one in plan["api.versions"].findings)
