"""An upgrade from the command to a proven, healthy release, and back again by one button; the full chart."""

from __future__ import annotations

import json
from itertools import pairwise

from dev.slack import Limits
from tests.journeys.journey import ALICE, Journey
from tests.slack.support import everything

PACE = 1.5
"""Seconds between two edits of one card, as promised."""
SLACK = 0.05
"""How much earlier Slack may see the second of two edits: the first one may have taken longer to arrive."""


async def test_an_upgrade_is_planned_approved_done_proven_and_taken_back_by_one_button(world: Journey) -> None:
    world.slack.limits = Limits.strict()
    await world.install("0.2.0", {})
    await world.start_bot(slack={"update_interval": f"{PACE}s"})

    await world.ask("upgrade 0.2.1")
    plan = await world.card("Upgrade prod · 0.2.0 → 0.2.1", "Waiting for approval", "0 of 1, needs someone else")
    assert plan.buttons == ["Approve", "Reject"]
    assert "Ready for approval" in everything(plan)
    assert "Back up PostgreSQL → Snapshot Qdrant → Take the baseline → Upgrade with Helm" in everything(plan)
    before = await world.resource_versions()
    await world.press(plan, "Approve", user="alice")
    await world.private(ALICE, "somebody else has to approve it")
    assert await world.resource_versions() == before

    await world.press(plan, "Approve", user="bob")
    await world.card("🔄 *Running*", "Approved by <@U0BOB>", "🟦", ts=plan.ts)
    done = await world.card("✅ *Done*", "7 of 7", "2 of 2 servers ready at 0.2.1", ts=plan.ts, within=120)
    assert done.buttons == ["Roll back to 1 (0.2.0)"]
    run = world.run_id(done)
    assert await world.statuses() == ["0.2.0 superseded", "0.2.1 deployed"]
    assert (await world.revisions())[-1].description == f"aeterna-bot run {run}: upgrade to 0.2.1"
    backups = world.api.get(f"/apis/postgresql.cnpg.io/v1/namespaces/{world.namespace}/backups")["items"]
    assert [(one["metadata"]["name"], one["status"]["phase"]) for one in backups] == [
        (f"aeterna-bot-{run}", "completed")
    ]
    assert [one["collection"] for one in await world.standins.snapshots(world.namespace)] == ["memory_embeddings"]
    assert await world.standins.memories(world.namespace) == []
    assert "OPAL 0.8.0 closes a leak" in await world.file(done, "changes-0.2.0-0.2.1.txt")
    assert "# Objects: 3 changed." in await world.file(done, "manifests.diff")
    await world.in_thread(done, f"Backup aeterna-bot-{run} of aeterna-cnpg completed")
    await world.in_thread(done, "Log of aeterna-test-connection (Succeeded)", "all checks passed")
    await world.in_thread(done, "Healthy: 6 of 6 workloads", "server version: 0.2.0 → 0.2.1")

    await world.press(done, "Roll back to 1 (0.2.0)")
    back = await world.card("↩️ Roll back prod · 0.2.1 → 0.2.0", "takes back <", f"|{run}>")
    back = await world.card("✅ *Done*", "Approved by <@U0ALICE>", "servers ready at 0.2.0", ts=back.ts, within=120)
    assert await world.statuses() == ["0.2.0 superseded", "0.2.1 superseded", "0.2.0 deployed"]
    newest = json.loads(await world.helm("history", "aeterna", "--output=json"))[-1]
    assert newest["description"] == f"aeterna-bot run {world.run_id(back)}: rollback to 1"
    taken = await world.card("↩️ *Taken back*", "taken back by <", f"|{world.run_id(back)}>", ts=plan.ts)
    assert taken.buttons == []
    assert await world.standins.memories(world.namespace) == []

    for card in (plan, back):
        edits = [call.time for call in world.slack.calls if call.method == "chat.update" and call.args["ts"] == card.ts]
        assert all(later - earlier > PACE - SLACK for earlier, later in pairwise(edits)), edits
    assert not [call for call in world.slack.calls if call.status == 429]
