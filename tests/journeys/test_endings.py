"""Runs that end otherwise: cancelled, expired, handed to the next bot; and runbooks of the users' own."""

from __future__ import annotations

from pathlib import Path

from runbooks.library import SHIPPED
from tests.journeys.conftest import Start
from tests.journeys.journey import ALICE, JOB, Journey, waits_for_image
from tests.slack.support import everything


async def test_a_cancel_while_helm_upgrades_ends_helm_and_says_how_the_release_is(
    start: Start, world: Journey, tmp_path: Path
) -> None:
    values = tmp_path / "stuck.yaml"
    values.write_text("migration: {enabled: true, image: {tag: 1-no-such-image}}\n", encoding="utf-8")
    await start(target={"values": [str(values)]})
    card = await world.under_way("upgrade 0.2.1")
    await world.pod(lambda pod: JOB in pod["metadata"]["labels"] and waits_for_image(pod))
    await world.press(card, "Cancel")
    cancelled = await world.card("⏹️ *Cancelled*", "Cancelled by <@U0ALICE>", ts=card.ts)
    assert await world.statuses() == ["0.2.0 deployed", "0.2.1 failed"]
    assert "failed" in everything(cancelled)
    assert cancelled.buttons == ["Roll back to 1 (0.2.0)", "Plan again"]
    await world.ask("locks")
    await world.private(ALICE, "*prod* is free")
    await world.press(cancelled, "Roll back to 1 (0.2.0)")
    await world.card("↩️ Roll back prod · 0.2.1 → 0.2.0", "✅ *Done*", "server ready at 0.2.0")


async def test_a_cancel_while_it_waits_for_approval_changes_nothing(start: Start) -> None:
    world = await start()
    before = await world.resource_versions()
    card = await world.planned("upgrade 0.2.1")
    await world.ask(f"cancel {world.run_id(card)}", user="carol")
    cancelled = await world.card("⏹️ *Cancelled*", "<@U0CAROL>", ts=card.ts)
    assert cancelled.buttons == ["Plan again"]
    await world.ask("locks")
    await world.private(ALICE, "*prod* is free")
    assert await world.resource_versions() == before


async def test_the_users_own_runbooks_override_ours_and_an_approval_that_comes_too_late_does_nothing(
    start: Start, tmp_path: Path
) -> None:
    folder = tmp_path / "runbooks"
    folder.mkdir()
    ours = (SHIPPED / "upgrade.yaml").read_text(encoding="utf-8")
    assert "expires: 4h" in ours
    (folder / "upgrade.yaml").write_text(
        ours.replace("expires: 4h", "expires: 1s").replace("summary: ", "summary: Our own way. "), encoding="utf-8"
    )
    check = "name: proof\nsummary: Rollout and tests\nsteps:\n  - {id: rollout, uses: rollout.watch}\n"
    (folder / "proof.yaml").write_text(check, encoding="utf-8")
    world = await start(runbooks=str(folder))
    await world.ask("help")
    await world.private(ALICE, "Our own way. Upgrade to a chart version", "`proof`")
    await world.ask("proof")
    await world.card("⚙️ proof prod", "✅ *Done*", "1 workload rolled out")
    await world.ask("upgrade 0.2.1")
    expired = await world.card("⌛ *Nobody approved in time*", "Upgrade prod · 0.2.0 → 0.2.1")
    assert expired.buttons == ["Plan again"]
    await world.ask(f"approve {world.run_id(expired)}", user="bob")
    await world.private("U0BOB", "does not wait for approval: it is expired")
    assert await world.statuses() == ["0.2.0 deployed"]


async def test_a_bot_that_ends_in_the_middle_hands_its_run_to_the_next(start: Start, world: Journey) -> None:
    await start()
    card = await world.under_way("upgrade 0.2.1")
    await world.card("🔄 *Upgrade with Helm*", ts=card.ts)
    await world.stop_bot()
    await world.start_bot()
    done = await world.card("✅ *Done*", "Approved by <@U0BOB>", ts=card.ts)
    assert done.buttons == ["Roll back to 1 (0.2.0)"]
    assert await world.statuses() == ["0.2.0 superseded", "0.2.1 deployed"]
    cards = [m for m in await world.slack.messages("ops") if m.ephemeral_to is None and m.thread_ts in (None, m.ts)]
    assert [one.ts for one in cards] == [card.ts]
