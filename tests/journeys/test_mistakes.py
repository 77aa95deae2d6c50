"""What people and others get wrong: versions, releases that are not there, two at once, changes behind the bot's back."""

from __future__ import annotations

import base64
import gzip
import json

from dev import configuration
from dev.charts import light_values
from tests.journeys.conftest import Start
from tests.journeys.journey import ALICE, CAROL, Journey
from tests.slack.support import everything


async def test_versions_that_make_no_sense_are_answered_with_those_that_do(start: Start) -> None:
    world = await start()
    before = await world.resource_versions()
    await world.ask("upgrade")
    await world.private(ALICE, "Which version?", "/aeterna upgrade 0.2.1")
    await world.ask("upgrade newest")
    await world.private(ALICE, "newest", "The right form: `/aeterna upgrade VERSION`")
    await world.ask("upgrade 0.2.99")
    await world.card(
        "⛔ *Cannot go ahead*",
        "There is no version `0.2.99` of aeterna.",
        "Nearest: `0.2.9`",
        "`versions` lists them all",
    )
    await world.ask("upgrade v0.2.0")
    await world.card("⛔ *Cannot go ahead*", "0.2.0 is what runs now")
    await world.ask("upgrade 0.1.0")
    await world.card("⛔ *Cannot go ahead*", "0.1.0 is older than 0.2.0: this is a downgrade.", "Use `rollback`")
    await world.ask("upgade 0.2.1")
    await world.private(ALICE, "I do not know the word 'upgade'", "/aeterna upgrade VERSION")
    assert await world.resource_versions() == before


async def test_a_release_that_is_not_there_is_said_by_every_runbook(world: Journey) -> None:
    world.target = configuration.LIGHT
    await world.start_bot()
    for text in ("upgrade 0.2.1", "rollback"):
        await world.ask(text)
        await world.card("⛔ *Cannot go ahead*", "There is no release `aeterna`", "Install it first")
    for text in ("status", "history", "verify"):
        await world.ask(text)
        await world.card(f"{text.capitalize()} ", "❌ *Failed*", "There is no release `aeterna`")
    await world.ask("versions")
    await world.card("🏷️ Versions for prod", "newest upgrade")


async def test_a_release_that_somebody_left_pending_is_explained_and_mended_by_a_rollback(start: Start) -> None:
    world = await start()
    await _leave_pending(world)
    await world.ask("upgrade 0.2.1")
    known = "`unlock` says who may be, and ends it"
    blocked = await world.card("⛔ *Cannot go ahead*", "Revision 2 is pending-upgrade since", known)
    assert blocked.buttons == ["Plan again"]
    card = await world.planned("rollback 1")
    await world.card("pending-upgrade", "`unlock` says who may be at work; the rollback ends it.", ts=card.ts)
    await world.press(card, "Approve")
    await world.card("✅ *Done*", "Back at revision 1 (0.2.0), which is now revision 3.", ts=card.ts)
    card = await world.under_way("upgrade 0.2.1")
    await world.card("✅ *Done*", "server ready at 0.2.1", ts=card.ts)
    assert (await world.statuses())[2:] == ["0.2.0 superseded", "0.2.1 deployed"]


async def _leave_pending(world: Journey) -> None:
    """A second revision, as a Helm leaves it that was killed in the middle of an upgrade."""
    path = f"/api/v1/namespaces/{world.namespace}/secrets/sh.helm.release.v1.aeterna.v1"
    secret = world.api.get(path)
    stored = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(secret["data"]["release"]))))
    stored["version"] = 2
    stored["info"] |= {"status": "pending-upgrade", "description": "Preparing upgrade"}
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(stored).encode()))).decode()
    labels = {**secret["metadata"]["labels"], "status": "pending-upgrade", "version": "2"}
    name = "sh.helm.release.v1.aeterna.v2"
    world.api.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": secret["type"],
            "metadata": {"name": name, "namespace": world.namespace, "labels": labels},
            "data": {"release": packed},
        }
    )


async def test_a_second_upgrade_is_told_who_holds_the_target(start: Start) -> None:
    world = await start()
    card = await world.under_way("upgrade 0.2.1")
    await world.card("🔄 *Running*", ts=card.ts)
    await world.ask("upgrade 0.3.0", user="carol")
    held = await world.private(CAROL, f"prod is held by run {world.run_id(card)}", "asked by <@U0ALICE>")
    assert "since <!date^" in everything(held)
    await world.ask("locks")
    await world.private(ALICE, f"*prod* is held by `{world.run_id(card)}`", "is running")
    await world.card("✅ *Done*", ts=card.ts)
    assert await world.statuses() == ["0.2.0 superseded", "0.2.1 deployed"]


async def test_a_release_that_changes_between_plan_and_approval_voids_the_approval(start: Start) -> None:
    world = await start()
    card = await world.planned("upgrade 0.2.1")
    await world.install("0.2.0", {**light_values(), "llm": {"provider": "openai"}})
    await world.approve(card)
    void = await world.card("Waiting for approval", "The approval is void", "1 (deployed) → 2 (deployed)", ts=card.ts)
    assert void.buttons == ["Approve", "Reject"]
    assert "0 of 1" in everything(void)
    await world.approve(card, user="carol")
    done = await world.card("✅ *Done*", "Approved by <@U0CAROL>", ts=card.ts)
    assert "void" not in everything(done)
    assert await world.statuses() == ["0.2.0 superseded", "0.2.0 superseded", "0.2.1 deployed"]
    values = json.loads(await world.helm("get", "values", "aeterna", "--output=json"))
    assert values["llm"] == {"provider": "openai"}
