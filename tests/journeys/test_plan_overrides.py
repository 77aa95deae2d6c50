"""Going on in spite of a loss of data: only whoever may, only by the release's name, and never without a trace."""

from __future__ import annotations

from typing import Any

from bot.store.audit import AuditRow, rows
from bot.store.database import Database
from dev import configuration
from dev.charts import BadVersion, light_values
from tests.journeys.conftest import Start
from tests.journeys.dialogs import closed, opened, typed
from tests.journeys.journey import BOB, CAROL, Journey
from tests.slack.support import everything

WITH_DATABASE: dict[str, Any] = {**light_values(), "postgresql": {"bundled": True}}
ROLES = {**configuration.ROLES, "leads": {"users": [CAROL], "permissions": ["override"]}}
REASON = "The data was copied to the new cluster on Friday."


async def _audited(world: Journey, what: str) -> list[AuditRow]:
    database = Database(f"sqlite+aiosqlite:///{world.directory}/state/aeterna-bot.sqlite")
    try:
        return [row async for row in rows(database) if row.what == what]
    finally:
        await database.close()


async def test_a_loss_of_data_is_overridden_by_name_and_reason_by_nobody_but_whoever_may(start: Start) -> None:
    world = await start(values=WITH_DATABASE, roles=ROLES)
    await world.ask(f"upgrade {BadVersion.BACKENDS_VANISH}")
    blocked = await world.card("⛔ *Cannot go ahead*: blocked by 1", "Cluster/aeterna-cnpg would be deleted")
    assert blocked.buttons == ["Override…", "Plan again"]
    before = await world.resource_versions()

    await world.press(blocked, "Override…", user="bob")
    await world.private(BOB, "You need the permission `override` on prod", f"<@{CAROL}> has it")
    assert world.slack.modal is None

    view = await opened(world, blocked, "Override…", user="carol", part="Cluster/aeterna-cnpg would be deleted")
    await world.slack.submit_view("carol", typed(view, {"release": "prod", "Why": REASON}))
    await world.slack.wait_until(lambda slack: "release" in slack.modal_errors, timeout=20)
    assert "not the release's name" in world.slack.modal_errors["release"]
    still = await world.card("⛔ *Cannot go ahead*: blocked by 1", ts=blocked.ts)
    assert "Overridden" not in everything(still)
    assert await _audited(world, "run.overridden") == []
    assert await world.resource_versions() == before

    await world.slack.submit_view("carol", typed(view, {"release": "aeterna", "Why": REASON}))
    await closed(world)
    ready = await world.card(
        "✋ *Ready for approval*: 1 blocker overridden",
        f"🔓 *Overridden* by <@{CAROL}>: `data.loss`",
        f"“{REASON}”",
        ts=blocked.ts,
    )
    (row,) = await _audited(world, "run.overridden")
    assert (row.who, row.target, row.run) == (CAROL, "prod", world.run_id(ready))
    assert (row.details["codes"], row.details["reason"]) == (["data.loss"], REASON)
    assert await world.resource_versions() == before

    await world.approve(ready)
    done = await world.card("✅ *Done*", ts=blocked.ts)
    assert f"🔓 *Overridden* by <@{CAROL}>" in everything(done)
    assert await world.statuses() == ["0.2.0 superseded", f"{BadVersion.BACKENDS_VANISH} deployed"]
