"""A plan that nobody approves in time is over; the same question makes a new one."""

from __future__ import annotations

from pathlib import Path

from dev.slack import Message
from runbooks.library import SHIPPED
from tests.journeys.conftest import Start
from tests.journeys.journey import BOB
from tests.slack.support import everything


async def test_a_plan_that_nobody_approves_in_time_ends_and_is_planned_anew(start: Start, tmp_path: Path) -> None:
    text = (SHIPPED / "upgrade.yaml").read_text(encoding="utf-8")
    assert "expires: 4h" in text
    folder = tmp_path / "runbooks"
    folder.mkdir()
    (folder / "upgrade.yaml").write_text(text.replace("expires: 4h", "expires: 5s"), encoding="utf-8")
    world = await start(runbooks=str(folder))
    await world.ask("upgrade 0.2.1")
    late = await world.card("⌛ *Nobody approved in time*", "Upgrade prod · 0.2.0 → 0.2.1")
    assert late.buttons == ["Plan again"]
    await world.ask(f"approve {world.run_id(late)}", user="bob")
    await world.private(BOB, "does not wait for approval: it is expired")
    await world.press(late, "Plan again")

    def anew(message: Message) -> bool:
        return message.ts != late.ts and "Upgrade prod · 0.2.0 → 0.2.1" in everything(message)

    again = await world.slack.wait_for("ops", lambda m: anew(m) and "Waiting for approval" in everything(m), 30)
    assert world.run_id(again) != world.run_id(late)
    assert await world.statuses() == ["0.2.0 deployed"]
