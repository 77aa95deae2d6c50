"""What only looks: status, history, versions, verify, plan; and the answers straight from the journal."""

from __future__ import annotations

from dev.charts import light_values
from tests.journeys.conftest import Start
from tests.journeys.journey import ALICE, MALLORY
from tests.slack.support import everything


async def test_reports_answer_and_change_nothing_in_the_cluster(start: Start) -> None:
    world = await start(version="0.1.0")
    await world.install("0.2.0", light_values())
    before = await world.resource_versions()
    await world.ask("status")
    status = await world.card("📋 Status of prod", "revision 2 deployed, 1 workload healthy", "Newer versions")
    assert status.buttons == []
    await world.ask("history")
    known = "2 revisions of aeterna; a rollback goes to 1 (0.1.0, never verified by me)."
    history = await world.card("🕘 History of prod", known, "`1` 0.1.0 · superseded")
    assert history.buttons == ["Roll back to 1 (0.1.0)"]
    await world.ask("versions")
    await world.card("🏷️ Versions for prod", "0.2.0 runs; newest upgrade 0.3.0.", "removed: BREAKING")
    await world.ask("verify")
    verify = await world.card(
        "🩺 Verify prod", "✅ *Healthy: 1 of 1 workload, 1 of 1 server ready at 0.2.0, memory works.*"
    )
    assert "memory added, found and deleted in layer project" in everything(verify)
    assert await world.standins.memories(world.namespace) == []
    await world.ask("plan 0.3.0")
    plan = await world.card("📝 Plan for prod · 0.2.0 → 0.3.0", "✅ *Done*", "💥 0.3.0: ")
    assert plan.buttons == []
    assert await world.resource_versions() == before
    assert await world.statuses() == ["0.1.0 superseded", "0.2.0 deployed"]


async def test_runs_locks_and_help_are_answered_only_to_who_asked(start: Start) -> None:
    world = await start()
    await world.ask("locks")
    await world.private(ALICE, "*prod* is free")
    card = await world.planned("upgrade 0.2.1")
    run = world.run_id(card)
    await world.ask("runs")
    await world.private(ALICE, "Runs of prod", run, "Waiting for approval")
    await world.ask(f"run {run}")
    shown = await world.private(ALICE, "Upgrade prod · 0.2.0 → 0.2.1", "was published on", run)
    assert shown.buttons == ["Approve", "Reject"]
    await world.ask("run r-nosuch")
    await world.private(ALICE, "no run", "r-nosuch")
    await world.ask("help")
    await world.private(ALICE, "upgrade VERSION", "rollback [REVISION]", "Here `prod` is meant")
    await world.ask("status", user="mallory")
    await world.private(MALLORY, "You have no permissions here yet")
    await world.ask(f"reject {run} not before the weekend", user="bob")
    await world.card("🚫 *Rejected*", "by <@U0BOB>: not before the weekend", ts=card.ts)
    assert await world.statuses() == ["0.2.0 deployed"]
