"""The plan of a rollback on a real release: what changes back, what does not and why, and what no rollback can do."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.engine.contract import CheckResult, Finding, Level
from bot.helm.models import Status
from bot.kube import Cluster
from bot.kube.failures import UnknownKind
from bot.kube.objects import ObjectRef
from bot.store.records import PastStep, StepRecord, StepState
from dev.charts import light_values
from tests.cluster.runbook_world import RELEASE, World, blockers, warnings

MIGRATES = {**light_values(), "migration": {"enabled": True}}


@pytest.fixture
def world(world: World) -> World:
    world.asking("rollback", revision=None)
    return world


def of(result: CheckResult, code: str) -> list[Finding]:
    return [one for one in result.findings if one.code == code]


def only(result: CheckResult, code: str) -> Finding:
    (found,) = of(result, code)
    return found


def evidence(result: CheckResult, title: str) -> str:
    return next(file.text for file in result.files if title in file.title)


def verified(revision: int, *, run: str = "r-before") -> Any:
    """A past in which a verification found this revision healthy a moment from now."""
    at = datetime.now(UTC) + timedelta(hours=1)
    step = StepRecord(
        1, "verify", "verify.release", "", StepState.DONE, outcome={"facts": {"revision": revision}}, ended_at=at
    )

    async def past(*_uses: str) -> list[PastStep]:
        return [PastStep(run, "upgrade", "U0ALICE", step)]

    return past


async def change(world: World, *, merge: dict[str, Any], kind: str, name: str, api_version: str = "v1") -> None:
    """Rewrites what is stored of an object, whatever it is, by creating it anew."""
    await world.clients.cluster.create(
        {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": world.namespace}, **merge}
    )


async def served(cluster: Cluster, api_version: str, kind: str) -> None:
    """Wait until the API server serves a kind; it tells nobody when it does."""
    async with asyncio.timeout(30):
        while True:
            try:
                await cluster.discovery.resource(api_version, kind)
            except UnknownKind:
                await asyncio.sleep(0.1)
            else:
                return


# -- where it goes ----------------------------------------------------------------------------------------------


async def test_without_a_number_it_goes_to_the_newest_revision_that_was_seen_healthy(world: World) -> None:
    for version in ("0.1.0", "0.2.0", "0.2.1"):
        await world.install(version, settled=False)
    world.past = verified(1)
    found = await world.check("rollback.target")
    assert found.facts["target_revision"] == 1
    assert "was healthy on" in only(found, "rollback.proven").text
    assert any(
        "Newer, but never verified by me: 2 (0.2.0); `rollback 2` goes there." in one.text for one in found.findings
    )


async def test_a_revision_that_failed_can_only_be_gone_back_to_by_an_override(world: World) -> None:
    await world.install("0.1.0", settled=False)
    number = await world.leave_pending("failed", description='Upgrade "aeterna" failed: boom')
    await world.install("0.2.1", settled=False)
    world.asking("rollback", revision=number)
    found = only(await world.check("rollback.target"), "rollback.failed")
    assert (found.level, found.subject) == (Level.BLOCKER, "2")
    assert (
        found.text
        == 'Revision 2 (0.1.0) was never deployed whole: it is failed. Helm says: Upgrade "aeterna" failed: boom.'
    )
    assert found.way_out == "Good ones are 1 (0.1.0)."


async def test_a_revision_whose_history_is_gone_is_told_from_one_that_never_was(world: World) -> None:
    await world.install("0.1.0", settled=False)
    await world.install("0.2.0", settled=False)
    await world.install("0.2.1", settled=False)
    await world.forget(1)
    world.asking("rollback", revision=1)
    assert blockers(await world.check("rollback.target")) == [
        "Revision 1 is gone: Helm keeps only the newest, and the oldest that is left is 2."
    ]
    world.asking("rollback", revision=9)
    assert blockers(await world.check("rollback.target")) == ["There is no revision 9."]


# -- what changes back ------------------------------------------------------------------------------------------


async def test_objects_values_and_images_that_go_back_are_told(world: World) -> None:
    await world.install("0.2.0", settled=False)
    await world.install("0.2.1", {**light_values(), "llm": {"provider": "openai"}}, settled=False)
    found = await world.check("rollback.changes")
    assert not blockers(found)
    assert found.facts["objects_changed"] >= 2
    assert "Deployment/aeterna" in only(found, "rollback.images").text
    assert only(found, "rollback.values").text == "Values that change back (1): llm.provider."
    assert "-  provider: openai" in evidence(found, "values.diff")
    assert "Deployment/aeterna" in evidence(found, "manifests.diff")
    assert "the upgrade" not in evidence(found, "manifests.diff").lower()


async def test_what_a_newer_version_brought_and_what_becomes_of_its_data_is_told(world: World) -> None:
    await world.install("0.2.0", settled=False)
    await world.next_second()
    qdrant = {"qdrant": {"enabled": True}, "vectorBackend": {"type": "qdrant"}}
    await world.install("0.2.1", {**light_values(), **qdrant})
    found = await world.check("rollback.changes")
    lost = only(found, "data.loss")
    assert lost.text.startswith("StatefulSet/aeterna-qdrant would be deleted; its data stays in PersistentVolumeClaim/")
    assert found.facts["objects_removed"] == 3


async def test_an_api_that_the_cluster_removed_closes_the_way_and_is_told(world: World) -> None:
    await world.install("0.2.0", settled=False)
    await world.install("0.2.1", settled=False)
    await world.rewrite(1, "\n---\napiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: old}\n")
    found = await world.check("rollback.changes")
    (said,) = [one for one in found.findings if one.level is Level.BLOCKER]
    assert (said.code, said.subject) == ("api.unserved", "PodDisruptionBudget/old")
    assert "Kubernetes removed PodDisruptionBudget of policy/v1beta1 in 1.25" in said.text
    assert "The way to revision 1 (0.2.0) is closed" in said.way_out


async def test_a_removed_api_in_what_runs_now_stops_helm_too(world: World) -> None:
    await world.install("0.2.0", settled=False)
    await world.install("0.2.1", settled=False)
    await world.rewrite(2, "\n---\napiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: old}\n")
    found = only(await world.check("rollback.changes"), "rollback.unreadable")
    assert found.text.startswith("PodDisruptionBudget/old of revision 2 stops Helm, which reads that manifest first")


async def test_a_field_that_cannot_be_changed_back_is_told_before_anybody_approves(world: World) -> None:
    await world.install("0.2.0", settled=False)
    await world.install("0.2.1", settled=False)
    await world.rewrite(
        1, old="app.kubernetes.io/name: aeterna\n      app", new="app.kubernetes.io/name: other\n      app"
    )
    said = blockers(await world.check("rollback.changes"))
    assert any(text.startswith("Deployment/aeterna: spec.selector:") for text in said), said


# -- what stays -------------------------------------------------------------------------------------------------


async def test_migrations_that_ran_since_are_told_with_their_time_and_the_notes_word(world: World) -> None:
    await world.install("0.1.0", MIGRATES, settled=False)
    await world.install("0.2.0", MIGRATES, settled=False)
    found = await world.check("rollback.stays")
    ran = only(found, "rollback.migrations")
    assert ran.level is Level.WARNING
    assert ran.text.startswith("Job/aeterna-migration ran for revision 2 (0.2.0) at ")
    assert "succeeded" in ran.text
    note = only(found, "rollback.database")
    assert note.text.startswith("0.1.0 works with the database of 0.2.0, says its migration note: ")
    assert "its log with it" in evidence(found, "Job/aeterna-migration of revision 2")


async def test_a_chart_that_says_that_going_back_needs_the_backup_is_heard(world: World) -> None:
    await world.install("0.2.1", MIGRATES, settled=False)
    await world.install("0.3.0", MIGRATES, settled=False)
    told = of(await world.check("rollback.stays"), "rollback.database")
    assert any("0.3.0 says of itself: " in one.text and "going back needs the backup" in one.text for one in told)
    assert all("Only a backup from before it leads back" in one.way_out for one in told if one.level is Level.WARNING)


async def test_no_migration_is_good_news_and_is_said(world: World) -> None:
    await world.install("0.2.0", settled=False)
    await world.install("0.2.1", settled=False)
    found = only(await world.check("rollback.stays"), "rollback.migrations")
    assert (found.level, found.text) == (
        Level.INFO,
        "No migration hook has run since revision 1 (0.2.0) was deployed.",
    )


async def test_the_plan_does_not_wait_for_a_chart_repository_that_is_away(world: World) -> None:
    await world.install("0.2.0", settled=False)
    await world.install("0.2.1", settled=False)
    await world.repository.offline()
    assert not blockers(await world.check("rollback.stays"))


async def test_a_secret_outside_that_was_written_since_is_a_warning_and_one_that_was_not_is_told(world: World) -> None:
    await change(world, kind="Secret", name="aeterna-postgres", merge={"stringData": {"postgres-password": "one"}})
    values = light_values()
    values["postgresql"] = {"bundled": False, "external": {"host": "pg.example", "existingSecret": "aeterna-postgres"}}
    await world.install("0.2.0", values, settled=False)
    await world.install("0.2.1", values, settled=False)
    found = await world.check("rollback.stays")
    same = [one for one in of(found, "rollback.outside") if "aeterna-postgres" in one.text]
    assert [one.level for one in same] == [Level.INFO]


async def test_other_services_that_the_values_point_to_are_told(world: World) -> None:
    values = light_values()
    await world.install("0.2.0", values, settled=False)
    moved = {**values, "postgresql": {"bundled": False, "external": {"host": "other.example"}}}
    await world.install("0.2.1", moved, settled=False)
    found = await world.check("rollback.stays")
    (moves,) = [one for one in of(found, "rollback.services") if one.level is Level.WARNING]
    assert moves.text == (
        "postgresql.external.host points to postgres.example again (now other.example): what was written there stays there."
    )


async def test_a_definition_that_was_written_since_is_told(world: World) -> None:
    widget = {"apiVersion": "things.example/v1", "kind": "Widget", "metadata": {"name": "one"}}
    await world.install("0.2.0", settled=False)
    await world.install("0.2.1", settled=False)
    await world.rewrite(1, "\n---\n" + json.dumps(widget) + "\n")
    await world.next_second()
    await world.clients.cluster.create(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.things.example"},
            "spec": {
                "group": "things.example",
                "scope": "Namespaced",
                "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
                "versions": [
                    {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
                ],
            },
        }
    )
    try:
        await served(world.clients.cluster, "things.example/v1", "Widget")
        found = only(await world.check("rollback.stays"), "rollback.crds")
    finally:
        await world.clients.cluster.delete(
            ObjectRef("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.things.example")
        )
    assert found.text.startswith("The definition widgets.things.example was written since")
    assert found.subject == "CustomResourceDefinition/widgets.things.example"


async def test_a_claim_that_was_created_since_is_told(world: World) -> None:
    await world.install("0.2.0", settled=False)
    qdrant = {"qdrant": {"enabled": True}, "vectorBackend": {"type": "qdrant"}}
    await world.install("0.2.1", {**light_values(), **qdrant})
    found = await world.check("rollback.stays")
    created = [one for one in of(found, "rollback.claims") if "was created since" in one.text]
    assert created, [one.text for one in found.findings]
    assert created[0].level is Level.WARNING
    assert "nothing in that revision uses it" in created[0].text


async def test_leftovers_are_told_once_more_when_it_is_done(world: World) -> None:
    await world.install("0.1.0", MIGRATES, settled=False)
    await world.install("0.2.0", MIGRATES, settled=False)
    plan = await world.facts("rollback.target")
    context = world.context(plan)
    await world.do("helm.rollback", context)
    outcome = await world.do("rollback.leftovers", context)
    assert outcome.summary.startswith("Left as it was: migrations")
    assert outcome.warning
    assert outcome.facts["left_behind"][0]["subject"] == "Job/aeterna-migration"


# -- what was cut off -------------------------------------------------------------------------------------------


async def test_going_back_past_a_cut_off_rollback_leaves_nothing_of_the_version_between(world: World) -> None:
    await world.install(
        "0.2.0", {**light_values(), "aeterna": {**light_values()["aeterna"], "rbac": {"create": False}}}, settled=False
    )
    await world.install("0.2.1", {**light_values(), "opal": {"enabled": True}}, settled=False)
    await world.leave_pending("pending-rollback", description="Rollback to 1", copy_of=1)
    world.asking("rollback", revision=1)
    plan = await world.facts("rollback.target")
    await world.do("helm.rollback", world.context(plan))
    assert [one.status for one in await world.history()][-1] is Status.DEPLOYED
    cluster = world.clients.cluster
    left = [one["metadata"]["name"] for one in await cluster.list("apps/v1", "StatefulSet", world.namespace)]
    assert left == [], "an object of 0.2.1 is still there, and Helm knows of it no more"


async def test_a_stuck_upgrade_is_explained_and_ended_at_the_last_deployed_revision(world: World) -> None:
    await world.install("0.2.0", settled=False)
    number = await world.leave_pending("pending-upgrade", description="Preparing upgrade", begun=timedelta(minutes=20))
    world.asking("unlock")
    found = await world.check("unlock.target")
    assert not blockers(found)
    assert any(f"Revision {number} (0.2.0) has been pending-upgrade for 20 min" in text for text in warnings(found))
    assert any("Not by me: it carries no mark of mine" in text for text in warnings(found))
    assert found.facts["target_revision"] == 1
    outcome = await world.do("helm.unlock", world.context(found.facts))
    assert outcome.summary == "Back at revision 1 (0.2.0), which is now revision 3."
    assert (await world.statuses()) == ["superseded", "pending-upgrade", "deployed"]


async def test_a_stuck_rollback_is_ended_where_it_came_from_and_the_other_way_is_named(world: World) -> None:
    await world.install("0.2.0", settled=False)
    await world.install("0.2.1", settled=False)
    await world.leave_pending("pending-rollback", description="Rollback to 1", copy_of=1)
    world.asking("unlock")
    found = await world.check("unlock.target")
    assert found.facts["target_revision"] == 2
    (told,) = [one for one in found.findings if "Somebody was going back" in one.text]
    assert told.way_out == "`rollback 1` ends this state too, and finishes that."


async def test_a_release_that_is_not_stuck_is_left_alone(world: World) -> None:
    await world.install("0.2.0", settled=False)
    world.asking("unlock")
    found = await world.plan("unlock.target", "rollback.changes", "rollback.stays")
    assert blockers(found["unlock.target"]) == [
        "Revision 1 is deployed: the release is not stuck, there is nothing to unlock."
    ]
    assert found["rollback.changes"].findings == found["rollback.stays"].findings == ()


async def test_a_first_installation_is_never_taken_away(world: World) -> None:
    await world.install("0.2.0", settled=False)
    await world.leave_pending("pending-install", description="Initial install underway")
    await world.forget(1)
    world.asking("unlock")
    found = await world.check("unlock.target")
    (said,) = [one for one in found.findings if one.level is Level.BLOCKER]
    assert said.text == "It is a first installation: there is nothing to go back to, and I never uninstall."
    assert f"`helm uninstall {RELEASE} --namespace {world.namespace}`" in said.way_out


async def test_a_young_one_and_a_hook_that_still_runs_speak_for_somebody_at_work(world: World) -> None:
    await world.install("0.2.0", MIGRATES, settled=False)
    await world.leave_pending("pending-upgrade", description="Preparing upgrade", begun=timedelta(seconds=40))
    await world.clients.cluster.create(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "aeterna-migration", "namespace": world.namespace},
            "spec": {
                "suspend": True,
                "template": {
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "migration", "image": "migration:held"}]}
                },
            },
        }
    )
    world.asking("unlock")
    said = of(await world.check("unlock.target"), "unlock.at_work")
    assert [one.level for one in said] == [Level.WARNING, Level.WARNING, Level.INFO]
    assert said[0].subject == "Job/aeterna-migration"
    assert "younger than the 5 minutes" in said[1].text


async def test_an_unlock_that_finds_the_release_free_changes_nothing(world: World) -> None:
    await world.install("0.2.0", settled=False)
    await world.leave_pending("pending-upgrade", description="Preparing upgrade")
    world.asking("unlock")
    context = world.context(await world.facts("unlock.target"))
    intent = await world.intent("helm.unlock", context)
    await world.finish(2)
    kind = world.kind("helm.unlock")
    with pytest.raises(Exception, match="it came to its end by itself, and nothing was done"):
        await kind.run(context, kind.params.model_validate({}), intent)
    assert len(await world.history()) == 2
