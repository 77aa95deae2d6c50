"""Rollbacks by command: to the newest good revision or to a named one, always named before they are done."""

from __future__ import annotations

from dev.charts import light_values
from tests.journeys.conftest import Start
from tests.journeys.journey import ALICE


async def test_a_rollback_without_a_number_names_the_newest_good_revision_and_goes_there(start: Start) -> None:
    world = await start()
    await world.install("0.2.1", light_values())
    card = await world.planned("rollback")
    await world.card("Roll back prod · 0.2.1 → 0.2.0", "0 of 1", ts=card.ts)
    await world.press(card, "Approve", user="alice")  # a rollback may be approved by who asked for it
    await world.card("✅ *Done*", "1 of 1 server ready at 0.2.0", ts=card.ts)
    assert await world.statuses() == ["0.2.0 superseded", "0.2.1 superseded", "0.2.0 deployed"]
    assert (await world.revisions())[-1].description == f"aeterna-bot run {world.run_id(card)}: rollback to 1"


async def test_a_rollback_with_a_number_goes_to_that_revision_and_wrong_numbers_are_answered(start: Start) -> None:
    world = await start(version="0.1.0")
    await world.install("0.2.0", light_values(), wait=False)
    await world.install("0.2.1", light_values())
    await world.ask("rollback 99")
    refused = await world.card(
        "⛔ *Cannot go ahead*", "There is no revision 99.", "Good ones are 2 (0.2.0), 1 (0.1.0)."
    )
    assert refused.buttons == ["Plan again"]
    await world.ask("rollback 3")
    await world.card("⛔ *Cannot go ahead*", "Revision 3 is what runs now.")
    await world.ask("rollback yesterday")
    await world.private(ALICE, "`yesterday` is not a revision", "rollback [12]")
    card = await world.planned("rollback 1")
    await world.press(card, "Approve")
    await world.card("✅ *Done*", "Back at revision 1 (0.1.0), which is now revision 4.", ts=card.ts)
    assert (await world.statuses())[-1] == "0.1.0 deployed"
    assert len(await world.revisions()) == 4
