"""What a rollback does not take back, with the evidence: claims that grew, Secrets outside; and our own run that was cut off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.engine.contract import Level
from bot.kube.cluster import FIELD_MANAGER, MERGE_PATCH
from bot.kube.objects import ObjectRef
from bot.store.records import PastStep, StepRecord, StepState
from dev.charts import light_values
from tests.cluster.runbook_world import World, warnings
from tests.cluster.test_going_back import change, evidence, of, only

SECRET = "aeterna-postgres"
OUTSIDE: dict[str, Any] = {
    **light_values(),
    "postgresql": {"bundled": False, "external": {"host": "pg.example", "existingSecret": SECRET}},
}
STORING: dict[str, Any] = {
    **light_values(),
    "qdrant": {"enabled": True, "persistence": {"size": "2Gi"}},
    "vectorBackend": {"type": "qdrant"},
}


@pytest.fixture
def world(world: World) -> World:
    world.asking("rollback", revision=None)
    return world


async def test_a_secret_outside_that_was_written_since_is_told_with_its_writer_and_never_its_text(
    world: World,
) -> None:
    await change(world, kind="Secret", name=SECRET, merge={"stringData": {"postgres-password": "one"}})
    await world.install("0.2.0", OUTSIDE, settled=False)
    await world.next_second()
    ref = ObjectRef("v1", "Secret", SECRET, world.namespace)
    await world.clients.cluster.patch(ref, {"stringData": {"postgres-password": "hunter-two"}}, MERGE_PATCH)
    await world.install("0.2.1", OUTSIDE, settled=False)
    found = await world.check("rollback.stays")
    (told,) = [one for one in of(found, "rollback.outside") if one.level is Level.WARNING]
    assert told.subject == f"Secret/{SECRET}"
    assert told.text.startswith(f"Secret/{SECRET} is not part of the release and was written since (20")
    assert told.text.endswith("Deployment/aeterna gets what is in it now.")
    assert f"by {FIELD_MANAGER})" in told.text
    assert "hunter-two" not in str(found)


async def test_a_secret_that_the_old_revision_needs_and_that_is_gone_is_told(world: World) -> None:
    await change(world, kind="Secret", name=SECRET, merge={"stringData": {"postgres-password": "one"}})
    await world.install("0.2.0", OUTSIDE, settled=False)
    await world.install("0.2.1", settled=False)
    await world.clients.cluster.delete(ObjectRef("v1", "Secret", SECRET, world.namespace))
    told = [one for one in of(await world.check("rollback.stays"), "rollback.outside") if one.level is Level.WARNING]
    assert [one.text for one in told] == [
        f"Secret/{SECRET} is not there any more, and Deployment/aeterna of that revision needs it: its pods would not start."
    ]
    assert told[0].way_out == "Create it again before you go back."


async def test_a_claim_that_grew_and_what_is_written_to_it_stay_and_are_told(world: World) -> None:
    await world.install("0.2.0", STORING)
    await world.install("0.2.1", STORING)
    await world.rewrite(1, old="storage: 2Gi", new="storage: 1Gi")
    found = await world.check("rollback.stays")
    (grown,) = [one for one in of(found, "rollback.claims") if one.level is Level.WARNING]
    assert grown.text.endswith("-aeterna-qdrant-0 has grown to 2Gi since it was 1Gi: no claim shrinks.")
    (written,) = [one for one in of(found, "rollback.claims") if one.text.startswith("What was written since 20")]
    assert written.text.endswith("-aeterna-qdrant-0.")
    assert "mounted by aeterna-qdrant-0" in evidence(found, "Volume claims of the release")


async def test_a_release_that_our_own_run_left_pending_is_explained_with_the_run_and_who_asked(world: World) -> None:
    await world.install("0.2.0", settled=False)
    await world.leave_pending("pending-upgrade", description="aeterna-bot run r-abc234: upgrade to 0.2.1")
    step = StepRecord(1, "upgrade", "helm.upgrade", "", StepState.FAILED, intent={}, ended_at=datetime.now(UTC))

    async def past(*_uses: str) -> list[PastStep]:
        return [PastStep("r-abc234", "upgrade", "U0ALICE", step)]

    world.past = past
    world.asking("unlock")
    found = await world.check("unlock.target")
    assert any(
        "By my run `r-abc234`, asked by <@U0ALICE>, which no longer holds the target." in text
        for text in warnings(found)
    ), warnings(found)
    assert only(found, "unlock.stuck").way_out == "`helm rollback` to 1 (0.2.0), the last that was deployed, ends it."


async def test_since_when_it_is_stuck_is_told_in_words_and_is_the_newest_revisions_own_time(world: World) -> None:
    await world.install("0.2.0", settled=False)
    await world.leave_pending("pending-rollback", description="Rollback to 1", begun=timedelta(hours=2))
    world.asking("unlock")
    assert any(
        "has been pending-rollback for 2 h 0 min." in text for text in warnings(await world.check("unlock.target"))
    )
