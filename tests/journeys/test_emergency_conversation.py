"""Emergencies on the real API server, by the fewest taps: a command in an incident channel, one dialog, the way back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from bot.kube.holding import ANNOTATION
from dev.charts import light_values
from dev.slack import Message
from dev.slack.blocks import view_problems
from tests.engine.locked import locked, locked_again_and_again
from tests.journeys.conftest import Start
from tests.journeys.journey import JOB, PATIENCE, Journey, waits_for_image
from tests.slack.support import everything

CAROL, ALICE = "U0CAROL", "U0ALICE"


async def in_incident(world: Journey, text: str, *, user: str = "carol") -> dict[str, Any]:
    """Somebody types a command in #inc-42; the dialog, once the plan is in it."""
    await world.slack.command(user, "inc-42", f"{text} --target prod")
    return await dialog(world)


async def dialog(world: Journey) -> dict[str, Any]:
    await world.slack.wait_until(lambda w: (w.modal or {}).get("callback_id") == "confirm", timeout=PATIENCE)
    modal = world.slack.modal
    assert modal is not None
    assert view_problems(modal) == []
    return modal


async def confirm(world: Journey, *, user: str = "carol") -> None:
    await world.slack.submit_view(user, {})
    await world.slack.wait_until(lambda w: w.modal is None, timeout=PATIENCE)


async def incident_card(world: Journey, *parts: str) -> Message:
    def fits(message: Message) -> bool:
        root = message.ephemeral_to is None and message.thread_ts in (None, message.ts)
        return root and all(part in everything(message) for part in parts)

    return await world.slack.wait_for("inc-42", fits, PATIENCE)


async def replicas(world: Journey, name: str = "aeterna") -> int:
    path = f"/apis/apps/v1/namespaces/{world.namespace}/deployments/{name}"
    found = await asyncio.to_thread(world.api.get, path)
    return int(found["spec"]["replicas"])


async def press(world: Journey, card: Message, button: str, *, user: str = "carol") -> None:
    element = next(one for one in card.elements if one["text"]["text"] == button)
    await world.slack.click(user, "inc-42", card.ts, element["action_id"])


async def test_a_component_is_disabled_by_one_command_and_one_tap_and_enabled_by_a_button(start: Start) -> None:
    world = await start()
    modal = await in_incident(world, "emergency disable server")
    said = json.dumps(modal, ensure_ascii=False)
    for part in (f"Namespace `{world.namespace}`", "Release `aeterna`", "every memory function stop answering"):
        assert part in said
    assert await replicas(world) == 1, "nothing is done before the tap"
    await confirm(world)
    done = await incident_card(world, "🚨 Disable in prod · server", "✅ *Done*", f"Confirmed by <@{CAROL}> alone")
    assert await replicas(world) == 0
    assert done.buttons == ["Enable server…", "Make it permanent"]
    told = await world.slack.wait_for(
        "inc-42", lambda m: m.thread_ts == done.ts and "For the approvers" in everything(m)
    )
    assert f"<@{ALICE}>" in everything(told)
    await press(world, done, "Enable server…")
    await dialog(world)
    await confirm(world)
    await incident_card(world, "🟢 Enable in prod · server", "✅ *Done*")
    assert await replicas(world) == 1


async def test_what_is_made_permanent_is_an_upgrade_to_the_same_version_with_the_component_switched_off(
    start: Start,
) -> None:
    world = await start()
    await in_incident(world, "emergency disable server")
    await confirm(world)
    done = await incident_card(world, "🚨 Disable in prod · server", "✅ *Done*")
    await press(world, done, "Make it permanent")
    card = await incident_card(world, "Upgrade prod", "*Supplied for this run*", "`aeterna.enabled` = `false`")
    assert card.buttons == ["Approve", "Reject"], "nothing of what is held down stands in the way of this one"


async def test_without_the_permission_nothing_happens_and_elsewhere_a_second_person_is_needed(start: Start) -> None:
    world = await start()
    await world.slack.command("alice", "inc-42", "emergency disable server --target prod")
    await world.slack.wait_for(
        "inc-42", lambda m: m.ephemeral_to == ALICE and "`emergency` on prod" in everything(m), 20
    )
    await world.ask("emergency disable server", user="carol")
    card = await world.card("Ready for approval", "needs someone else than <@U0CAROL>")
    assert card.buttons == ["Approve…", "Reject"]
    await world.press(card, "Approve…", user="alice")
    await dialog(world)
    await confirm(world, user="alice")
    await world.card("✅ *Done*", f"Approved by <@{ALICE}>", ts=card.ts)
    assert await replicas(world) == 0


async def test_an_emergency_ends_a_stuck_upgrade_and_both_cards_say_so(
    start: Start, world: Journey, tmp_path: Path
) -> None:
    values = tmp_path / "stuck.yaml"
    values.write_text("migration: {enabled: true, image: {tag: 1-no-such-image}}\n", encoding="utf-8")
    await start(target={"values": [str(values)]})
    upgrade = await world.under_way("upgrade 0.2.1")
    await world.pod(lambda pod: JOB in pod["metadata"]["labels"] and waits_for_image(pod))
    await in_incident(world, "emergency disable server")
    await confirm(world)
    done = await incident_card(world, "🚨 Disable in prod", "✅ *Done*", f"|{world.run_id(upgrade)}>", "goes before <")
    stopped = await world.card("⏹️ *Cancelled*", f"|{world.run_id(done)}> of <@{CAROL}>", ts=upgrade.ts)
    assert "Roll back to 1 (0.2.0)" in stopped.buttons
    assert await world.statuses() == ["0.2.0 deployed", "0.2.1 failed"]
    assert await replicas(world) == 0


async def test_a_dry_run_of_a_scale_down_shows_its_plan_and_scales_nothing(start: Start) -> None:
    world = await start(values={**light_values(), "aeterna": {**light_values()["aeterna"], "replicaCount": 2}})
    await world.ask("emergency scale-down —dry-run", user="carol")
    card = await world.card("🚨 Scale down prod", "Dry run: nothing was changed.", "`server`")
    assert card.buttons == []
    assert await replicas(world) == 2
    await in_incident(world, "emergency scale-down")
    await confirm(world)
    done = await incident_card(world, "🚨 Scale down prod", "✅ *Done*")
    assert await replicas(world) == 1
    await press(world, done, "Restore…")
    await dialog(world)
    await confirm(world)
    await incident_card(world, "🟢 Restore prod", "✅ *Done*")
    assert await replicas(world) == 2


async def test_a_database_of_ours_that_is_locked_for_seconds_holds_an_emergency_up_and_loses_nothing(
    start: Start,
) -> None:
    world = await start(values={**light_values(), "aeterna": {**light_values()["aeterna"], "replicaCount": 2}})
    await in_incident(world, "emergency scale-down")
    async with locked(journal(world)):
        await world.slack.submit_view("carol", {})
        await world.slack.wait_until(lambda w: w.modal is None, timeout=10)
        await asyncio.sleep(4)  # longer than a lease
        assert await replicas(world) == 2, "nothing is done that the journal does not know"
    async with locked_again_and_again(journal(world), seconds=1.5, pause=0.3):
        done = await incident_card(world, "🚨 Scale down prod", "✅ *Done*", "Deployment aeterna 2 → 1")
        assert await replicas(world) == 1
        await press(world, done, "Restore…")
        await dialog(world)
        await confirm(world)
        await incident_card(world, "🟢 Restore prod", "✅ *Done*")
    assert await replicas(world) == 2
    found = await asyncio.to_thread(world.api.get, f"/apis/apps/v1/namespaces/{world.namespace}/deployments/aeterna")
    assert ANNOTATION not in found["metadata"]["annotations"]


def journal(world: Journey) -> str:
    (file,) = world.directory.rglob("*.sqlite")
    return f"sqlite:///{file}"
