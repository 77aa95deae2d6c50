"""What a plan says of the objects three ways: changed by the upgrade, changed by somebody, impossible to change in place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from bot.engine.contract import CheckResult, Finding, Level
from bot.kube import Cluster, ObjectRef
from dev.charts import BadVersion
from dev.controlplane import Running, user_kubeconfig
from runbooks.checks.objects import base_of
from tests.cluster.runbook_world import RELEASE, World, blockers, texts, warnings


def coded(result: CheckResult, code: str) -> list[Finding]:
    return [one for one in result.findings if one.code == code]


async def by_hand(world: World, kind: str, name: str, **body: Any) -> None:
    """A change by somebody with kubectl."""
    api_version = {"Deployment": "apps/v1", "StatefulSet": "apps/v1"}.get(kind, "v1")
    meta = {"name": name, "namespace": world.namespace}
    obj = {"apiVersion": api_version, "kind": kind, "metadata": meta, **body}
    await world.clients.cluster.apply(obj, dry_run=False, field_manager="kubectl-edit", force=True)


async def test_a_good_upgrade_of_the_whole_chart_shows_its_changes_and_no_drift(world: World) -> None:
    await world.install("0.1.0", {})
    await by_hand(world, "Deployment", RELEASE, spec={"replicas": 3})  # which belongs to its autoscaler
    world.asking(version="0.2.1")
    result = await world.check("manifests.dry_run")
    assert (blockers(result), warnings(result)) == ([], [])
    assert result.facts["objects_drifted"] == result.facts["objects_removed"] == 0
    assert result.facts["objects_changed"] > 0
    (file,) = result.files
    assert file.title == "manifests.diff"
    assert f"# Deployment/{RELEASE}: changed, restarts its pods" in file.text
    assert "terminationGracePeriodSeconds" in file.text
    assert any("folded" in text and "labels that name the chart" in text for text in texts(result, Level.INFO))
    assert "helm.sh/chart: aeterna" not in [line[1:].strip() for line in file.text.splitlines() if line[:1] in "+-"]


async def test_what_somebody_changed_since_is_a_warning_with_who_and_what_becomes_of_it(world: World) -> None:
    await world.install("0.2.0")
    await by_hand(world, "Deployment", RELEASE, spec={"replicas": 2})
    await by_hand(world, "ConfigMap", RELEASE, data={"ADDED": "by-hand"})
    world.asking(version="0.2.1")
    result = await world.check("manifests.dry_run")
    found = {one.subject: one for one in coded(result, "objects.drifted")}
    scaled = found[f"Deployment/{RELEASE}"]
    assert scaled.level is Level.WARNING
    assert "spec.replicas: 2 instead of 1, by kubectl-edit at 20" in scaled.text
    assert "the upgrade says 1" in scaled.text
    assert "what shall stay into the target's values" in scaled.way_out
    assert 'data.ADDED: "by-hand" was added, by kubectl-edit' in found[f"ConfigMap/{RELEASE}"].text
    assert result.facts["objects_drifted"] == 2
    assert "#   since it was applied: spec.replicas" in result.files[0].text


async def test_an_object_that_somebody_deleted_is_said(world: World) -> None:
    await world.install("0.2.0", settled=False)
    await world.clients.cluster.delete(ObjectRef("v1", "Service", RELEASE, world.namespace))
    world.asking(version="0.2.1")
    result = await world.check("manifests.dry_run")
    assert f"Service/{RELEASE} was deleted by somebody: the upgrade creates it anew." in warnings(result)


async def test_a_field_that_cannot_be_changed_in_place_is_named(world: World) -> None:
    await world.install("0.2.1", {}, settled=False)
    world.asking(version=BadVersion.IMMUTABLE_FIELD)
    result = await world.check("manifests.dry_run")
    found = [one for one in result.findings if one.subject == f"StatefulSet/{RELEASE}-qdrant"]
    assert [(one.level, one.code) for one in found] == [(Level.BLOCKER, "dry_run.immutable")], (
        "told once, by the server"
    )
    assert '"1Gi" → "2Gi" (cannot be changed in place)' in result.files[0].text


async def test_objects_that_may_not_be_read_are_said_and_the_plan_is_not_green(
    world: World, control_plane: Running, tmp_path: Path
) -> None:
    await world.install("0.2.0", settled=False)
    world.asking(version="0.2.1")
    config = user_kubeconfig(control_plane.kubeconfig, tmp_path / "nobody", user="nobody")
    async with await Cluster.connect(kubeconfig=config, context=None) as nobody:
        world.clients = replace(world.clients, cluster=nobody)
        result = await world.check("manifests.dry_run")
    assert {one.subject for one in coded(result, "unseen")} >= {"Deployment objects", "Service objects"}
    assert any(text.startswith("Deployment/aeterna: The cluster does not allow") for text in blockers(result)), (
        blockers(result)
    )
    assert result.facts["objects_drifted"] == 0
    assert "terminationGracePeriodSeconds" in result.files[0].text, "two ways can still be compared"


async def test_after_a_failed_upgrade_helm_compares_with_the_revision_that_is_deployed(world: World) -> None:
    await world.install("0.1.0", settled=False)
    await world.install("0.2.0", settled=False)
    await world.leave_pending("failed")
    releases = await world.clients.releases.all()
    assert [(one.revision, one.status.value) for one in releases][-1] == (3, "failed")
    assert base_of(releases).revision == 2
    assert base_of(releases[-1:]).revision == 3
