"""The rollback on a real release in all its branches, and the reports."""

from __future__ import annotations

import pytest

from bot.engine.contract import Done, NotStarted, Unknown
from bot.errors import UserMistake
from tests.cluster.runbook_world import World


@pytest.fixture
async def upgraded(world: World) -> World:
    """A release that went from 0.1.0 to 0.2.1, and a person who wants to go back."""
    await world.install("0.1.0", settled=False)
    await world.install("0.2.1", settled=False)
    world.asking("rollback", revision=None)
    return world


async def test_a_rollback_goes_to_the_planned_revision_and_is_proven(upgraded: World) -> None:
    world = upgraded
    plan = await world.facts("rollback.target")
    context = world.context(plan)
    outcome = await world.do("helm.rollback", context, revision=plan["target_revision"])
    assert outcome.summary == "Back at revision 1 (0.1.0), which is now revision 3."
    await world.do("rollout.watch", context)
    verified = await world.do("verify.release", context)
    assert "ready at 0.1.0" in verified.summary
    assert (await world.history())[-1].description == f"aeterna-bot run {world.run.id}: rollback to 1"


async def test_a_rollback_is_reconciled_by_the_newest_revision(upgraded: World) -> None:
    world = upgraded
    context = world.context(await world.facts("rollback.target"))
    intent = await world.intent("helm.rollback", context)
    assert isinstance(await world.reconcile("helm.rollback", context, intent), NotStarted)
    await world.do("helm.rollback", context)
    done = await world.reconcile("helm.rollback", context, intent)
    assert isinstance(done, Done)
    assert done.outcome.facts == {"revision": 3, "target_revision": 1, "version": "0.1.0"}
    await world.install("0.2.0", settled=False, description="by hand")
    unclear = await world.reconcile("helm.rollback", context, intent)
    assert isinstance(unclear, Unknown)
    assert "Revision 4 (0.2.0) is deployed and not a finished rollback to 1: by hand." in unclear.why


async def test_a_rollback_that_was_cut_off_is_completed_by_doing_it_again(upgraded: World) -> None:
    world = upgraded
    context = world.context(await world.facts("rollback.target"))
    intent = await world.intent("helm.rollback", context)
    await world.leave_pending("pending-rollback", description="Rollback to 1")
    assert isinstance(await world.reconcile("helm.rollback", context, intent), NotStarted)
    outcome = await world.do("helm.rollback", context)
    assert outcome.summary == "Back at revision 1 (0.1.0), which is now revision 4."
    assert (await world.statuses())[-1] == "deployed"


async def test_a_rollback_ends_somebodys_pending_upgrade(upgraded: World) -> None:
    world = upgraded
    await world.leave_pending("pending-upgrade", description="Preparing upgrade")
    plan = await world.facts("rollback.target")
    assert plan["target_revision"] == 2
    outcome = await world.do("helm.rollback", world.context(plan))
    assert outcome.facts == {"revision": 4, "target_revision": 2, "version": "0.2.1"}


async def test_a_revision_that_was_rolled_back_from_is_not_offered_again(upgraded: World) -> None:
    world = upgraded
    await world.do("helm.rollback", world.context(await world.facts("rollback.target")))
    await world.install("0.3.0", settled=False)
    assert (await world.facts("rollback.target"))["target_revision"] == 3


async def test_status_tells_revision_workloads_servers_and_what_is_newer(world: World) -> None:
    await world.install("0.2.0")
    outcome = await world.do("report.status")
    assert outcome.summary == "prod: 0.2.0, revision 1 deployed, 1 workload healthy."
    sections = {section["title"]: section for section in outcome.facts["report"]}
    assert ["Deployment/aeterna", "1/1", "healthy"] in [list(row) for row in sections["Workloads"]["rows"]]
    assert sections["Servers"]["rows"][1][1:3] == ["yes", "0.2.0"]
    assert "0.3.0" in sections["Newer versions"]["text"]


async def test_status_says_when_the_repository_is_away(world: World) -> None:
    await world.install("0.2.0")
    await world.repository.offline()
    outcome = await world.do("report.status")
    assert outcome.facts["report"][-1]["text"].startswith("Could not be read")


async def test_a_report_about_no_release_says_so(world: World) -> None:
    for name in ("report.status", "report.history"):
        with pytest.raises(UserMistake, match="There is no release `aeterna`"):
            await world.do(name)


async def test_history_lists_the_revisions_newest_first_and_where_a_rollback_goes(upgraded: World) -> None:
    outcome = await upgraded.do("report.history")
    assert outcome.summary == "2 revisions of aeterna; a rollback goes to 1 (0.1.0, never verified by me)."
    newest, why, oldest, _ = outcome.facts["report"][0]["text"].splitlines()
    assert (newest, oldest) == ("`2` 0.2.1 · runs now", "`1` 0.1.0 · superseded")
    assert "Upgrade complete · <!date^" in why
    (offer,) = outcome.facts["offers"]
    assert offer == {"runbook": "rollback", "inputs": {"revision": "1"}, "label": "Roll back to 1 (0.1.0)"}


async def test_versions_lists_what_can_be_reached_newest_first(world: World) -> None:
    await world.install("0.2.0", settled=False)
    outcome = await world.do("report.versions")
    assert "0.2.0 runs; newest upgrade 0.3.0." in outcome.summary
    rows = outcome.facts["report"][0]["rows"]
    assert rows[1][0] == "0.3.0"
    assert rows[1][3].startswith("removed: BREAKING")
    (now,) = [row for row in rows if row[0] == "0.2.0"]
    assert now[1] == "runs now"
