"""The dialogs of a blocked plan and its checklist, from the click to the card; through the real workspace."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.engine.contract import OverrideRule
from bot.errors import Evidence
from bot.store.records import RunState
from dev.slack import Message, SlackWorkspace
from dev.slack.blocks import view_problems
from tests.slack.support import ROLES, Bot, Script, blocker, everything, info, running_bot, upgrade_steps, warning

ALICE, BOB, CAROL = "U0ALICE", "U0BOB", "U0CAROL"
LOSS = blocker(
    "A claim would be deleted, and its data.",
    "Keep it.",
    code="data.loss",
    subject="PersistentVolumeClaim/data-qdrant-0",
)
MISSING = [
    {"path": "opal.replicas", "type": "integer", "why": "The chart has no default.", "minimum": 1, "maximum": 9},
    {"path": "mode", "type": "string", "why": "One of two.", "enum": ["single", "cluster"], "template": "server.yaml"},
    {"path": "server.labels", "type": "object", "why": "Labels of the pods."},
    {
        "path": "opal.masterToken",
        "type": "string",
        "why": "OPAL wants it.",
        "secret": True,
        "reference": {"name": "opal.existingSecret", "key": "opal.masterTokenKey"},
    },
    {"path": "opal.pepper", "type": "string", "why": "OPAL wants it.", "secret": True, "reference": None},
]


def typed(**values: str) -> dict[str, Any]:
    return {block.replace("_", "-"): {"value": {"type": "plain_text_input", "value": v}} for block, v in values.items()}


def chosen(number: int) -> dict[str, Any]:
    option = {"value": str(number), "text": {"type": "plain_text", "text": "…"}}
    return {"value": {"type": "static_select", "selected_option": option}}


def supplied(**changed: str) -> dict[str, Any]:
    given = {"value_0": "3", "value_2": "team: core", "value_3": "opal", "value_3_key": "token", **changed}
    return {**typed(**given), "value-1": chosen(1)}


@pytest.fixture
async def bot(slack: SlackWorkspace, tmp_path: Path) -> AsyncIterator[Bot]:
    script = Script(steps=upgrade_steps(), findings=[LOSS], overrides=(OverrideRule("data.loss", "override"),))
    async with running_bot(slack, tmp_path, script=script) as running:
        yield running


async def blocked(bot: Bot) -> Message:
    await bot.slack.command("alice", "ops", "upgrade 0.2.1")
    return await bot.card("⛔ *Cannot go ahead*: blocked by 1")


async def opened(bot: Bot, user: str, ts: str, action: str) -> dict[str, Any]:
    await bot.slack.click(user, "ops", ts, action)
    await bot.slack.wait_until(lambda workspace: workspace.modal is not None)
    modal = bot.slack.modal
    assert modal is not None
    assert view_problems(modal) == []
    return modal


async def test_a_blocker_is_overridden_by_the_releases_name_and_a_reason(bot: Bot) -> None:
    lost = {
        "kind": "PersistentVolumeClaim",
        "name": "data-qdrant-0",
        "because_of": "it",
        "unsaved": "no step backs it up",
    }
    bot.script.facts = {**bot.script.facts, "loses": [lost]}
    card = await blocked(bot)
    assert card.buttons == ["Override…", "Plan again"]
    modal = await opened(bot, "carol", card.ts, "run_override")
    said = json.dumps(modal, ensure_ascii=False)
    assert "A claim would be deleted, and its data." in said
    assert "`PersistentVolumeClaim/data-qdrant-0`" in said
    assert "*Not backed up*: `PersistentVolumeClaim/data-qdrant-0` (no step backs it up)" in said
    assert "Target `prod`, release `aeterna`" in said
    run = (await bot.desk.runs("prod"))[0]
    assert json.loads(modal["private_metadata"])["mark"].partition(":")[0] == run.id
    await bot.slack.submit_view("carol", typed(release="aeterna ", reason="The data is *copied* already."))
    done = await bot.card("✋ *Ready for approval*: 1 blocker overridden", "🔓 *Overridden* by <@U0CAROL>: `data.loss`")
    assert done.ts == card.ts
    assert "“The data is ∗copied∗ already.”" in everything(done)
    assert done.buttons == ["Approve", "Reject"]
    await bot.slack.wait_until(lambda workspace: workspace.modal is None)
    await bot.slack.click("bob", "ops", card.ts, "run_approve")
    assert "🔓 *Overridden* by <@U0CAROL>" in everything(await bot.card("✅ *Done*"))


async def test_a_wrong_name_and_a_short_reason_are_said_at_their_fields(bot: Bot) -> None:
    card = await blocked(bot)
    await opened(bot, "carol", card.ts, "run_override")
    await bot.slack.submit_view("carol", typed(release="prod", reason="yes"))
    await bot.slack.wait_until(lambda workspace: len(workspace.modal_errors) == 2)
    assert "not the release's name" in bot.slack.modal_errors["release"]
    assert "why it is right" in bot.slack.modal_errors["reason"]
    assert (await bot.desk.runs("prod"))[0].state is RunState.BLOCKED
    await bot.slack.submit_view("carol", typed(release="aeterna", reason="It is copied."))
    await bot.card("Ready for approval")


async def test_overriding_takes_the_permission_at_the_click_and_at_the_end(bot: Bot) -> None:
    card = await blocked(bot)
    await bot.slack.click("alice", "ops", card.ts, "run_override")
    await bot.says_to(ALICE, "You need the permission `override` on prod", "<@U0CAROL> has it")
    assert bot.slack.modal is None
    await opened(bot, "carol", card.ts, "run_override")
    await bot.slack.submit_view("alice", typed(release="aeterna", reason="I want to."))
    await bot.slack.wait_until(lambda workspace: "You need the permission" in json.dumps(workspace.modal))
    assert (await bot.desk.runs("prod"))[0].overrides == ()


async def test_a_blocker_that_nobody_may_override_has_no_button(bot: Bot) -> None:
    bot.script.findings.append(blocker("The cluster is too old."))
    await bot.slack.command("alice", "ops", "upgrade 0.2.1")
    card = await bot.card("⛔ *Cannot go ahead*: blocked by 2")
    assert card.buttons == ["Plan again"]


async def test_missing_values_are_asked_for_checked_and_planned_with(bot: Bot) -> None:
    bot.script.findings[:] = [blocker("4 values are missing.")]
    bot.script.facts = {**bot.script.facts, "missing_values": MISSING}
    card = await blocked(bot)
    assert card.buttons == ["Supply values", "Plan again"]
    modal = await opened(bot, "alice", card.ts, "run_supply")
    inputs = {block["block_id"]: block for block in modal["blocks"] if block["type"] == "input"}
    assert "Not asked for: `opal.pepper`" in str(modal["blocks"])
    assert [block["element"]["type"] for block in inputs.values()] == [
        "number_input", "static_select", "plain_text_input", "plain_text_input", "plain_text_input",
    ]  # fmt: skip
    assert (inputs["value-0"]["element"]["min_value"], inputs["value-0"]["element"]["max_value"]) == ("1", "9")
    assert inputs["value-1"]["hint"]["text"] == "One of two. (server.yaml)"
    wrong = supplied(value_0="12", value_2="- no keys", value_3="Bearer abcdefghijkl", value_3_key="")
    await bot.slack.submit_view("alice", wrong)
    await bot.slack.wait_until(lambda workspace: len(workspace.modal_errors) == 4)
    errors = bot.slack.modal_errors
    assert errors["value-0"] == "The largest that the chart takes is 9."
    assert "no set of keys" in errors["value-2"]
    assert "only that Secret's name and key belong here" in errors["value-3"]
    assert "key inside the Secret is missing" in errors["value-3-key"]
    bot.script.findings[:] = [info("Nothing is missing.")]
    bot.script.facts = {key: value for key, value in bot.script.facts.items() if key != "missing_values"}
    await bot.slack.submit_view("alice", supplied())
    done = await bot.card("✋ *Ready for approval*: no warnings", "*Supplied for this run*", "`opal.replicas` = `3`")
    assert done.ts == card.ts
    assert "`mode` = `cluster`" in everything(done)
    run = (await bot.desk.runs("prod"))[0]
    assert run.supplied == {
        "opal.replicas": 3,
        "mode": "cluster",
        "server.labels": {"team": "core"},
        "opal.existingSecret": "opal",
        "opal.masterTokenKey": "token",
    }


async def test_a_dialog_for_an_older_plan_changes_nothing(bot: Bot) -> None:
    bot.script.findings[:] = [blocker("A value is missing.")]
    bot.script.facts = {**bot.script.facts, "missing_values": MISSING[:1]}
    card = await blocked(bot)
    await opened(bot, "alice", card.ts, "run_supply")
    run = (await bot.desk.runs("prod"))[0]
    await bot.desk.supply(run.id, user=BOB, values={"other": 1})
    await bot.slack.wait_for("ops", lambda m: "`other` = `1`" in everything(m) and "blocked by 1" in everything(m))
    await bot.slack.submit_view("alice", typed(value_0="3"))
    await bot.slack.wait_until(lambda workspace: "The plan has changed" in json.dumps(workspace.modal))
    assert (await bot.desk.run(run.id)).supplied == {"other": 1}


async def test_a_dialog_opens_at_once_even_if_the_permission_takes_long(slack: SlackWorkspace, tmp_path: Path) -> None:
    roles = {**ROLES, "leads": {"groups": ["S0ONCALL"], "permissions": ["override"]}}
    script = Script(findings=[LOSS], steps=upgrade_steps(), overrides=(OverrideRule("data.loss", "override"),))
    async with running_bot(slack, tmp_path, script=script, roles=roles) as bot:
        card = await blocked(bot)
        slack.faults.add("timeout", "usergroups.users.list", delay=1.5, times=2)  # the HTTP library asks twice
        await slack.click("carol", "ops", card.ts, "run_override")
        await slack.wait_until(lambda workspace: "One moment" in json.dumps(workspace.modal))
        await slack.wait_until(lambda workspace: "Slack does not tell who is in" in json.dumps(workspace.modal))


async def test_a_slow_submission_closes_the_dialog_and_its_end_is_told(
    bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = await blocked(bot)
    await opened(bot, "carol", card.ts, "run_override")
    run = (await bot.desk.runs("prod"))[0]
    go, permitted = asyncio.Event(), bot.desk.run

    async def slow(run_id: str) -> Any:
        await go.wait()
        return await permitted(run_id)

    monkeypatch.setattr(bot.desk, "run", slow)
    await bot.slack.submit_view("carol", typed(release="wrong", reason="It is copied."))
    await bot.slack.wait_until(lambda workspace: workspace.modal is None)
    go.set()
    await bot.says_to(CAROL, "That is not the release's name", "Press the button again")
    assert (await permitted(run.id)).overrides == ()


async def test_what_is_done_by_hand_is_ticked_on_the_card_before_approval(bot: Bot) -> None:
    bot.script.findings.clear()
    bot.script.facts = {
        **bot.script.facts,
        "checklist": [
            {"id": "announce", "when": "before", "text": "Announce the downtime"},
            {"id": "export", "when": "before", "text": "Export the policies"},
            {"id": "tell", "when": "after", "text": "Tell the teams"},
        ],
    }
    card = await bot.upgrade_waiting()
    assert card.buttons == ["Done: Announce the downtime", "Done: Export the policies", "Approve", "Reject"]
    assert "◻️ Announce the downtime" in everything(card)
    await bot.slack.click("bob", "ops", card.ts, "run_approve")
    await bot.says_to(BOB, "has to be done first", "Export the policies")
    await bot.slack.click("alice", "ops", card.ts, "run_tick.1")
    card = await bot.card("☑️ Announce the downtime · <@U0ALICE>", "◻️ Export the policies")
    await bot.slack.click("alice", "ops", card.ts, "run_tick.1")
    card = await bot.card("☑️ Export the policies")
    await bot.slack.click("bob", "ops", card.ts, "run_approve")
    done = await bot.card("✅ *Done*", "◻️ Tell the teams")
    assert "Done: Tell the teams" in done.buttons
    await bot.slack.click("alice", "ops", card.ts, "run_tick.1")
    await bot.card("☑️ Tell the teams")


async def test_the_plan_comes_as_files_under_their_names(bot: Bot) -> None:
    bot.script.findings[:] = [warning("a"), warning("b")]
    bot.script.files = (Evidence("values.diff", "- a: 1\n+ a: 2\n"), Evidence("manifests.diff", "+ x\n" * 200))
    card = await bot.upgrade_waiting()
    names: set[str] = set()
    while names != {"plan.json", "values.diff", "manifests.diff"}:
        found = await bot.slack.wait_for(
            "ops", lambda m: m.thread_ts == card.ts and bool({f["name"] for f in m.files} - names)
        )
        for file in found.files:
            names.add(file["name"])
            if file["name"] == "plan.json":
                assert json.loads(await bot.slack.file_text(file))["version"] == 1


async def test_words_of_changelog_and_diff_are_read(bot: Bot) -> None:
    for text, inputs in (
        ("changelog", {}),
        ("changelog 0.1.0..0.2.0", {"range": "0.1.0..0.2.0"}),
        ("diff 0.2.1 Values", {"version": "0.2.1", "part": "values"}),
    ):
        await bot.slack.command("alice", "ops", text)
        await bot.work.drain()
        assert (await bot.desk.runs("prod"))[0].inputs == inputs
    await bot.slack.command("alice", "ops", "diff 0.2.1 valeus")
    await bot.says_to(ALICE, "'valeus' is no part", "Did you mean `values`?", "`/aeterna diff VERSION")
    await bot.slack.command("alice", "ops", "diff manifests")
    await bot.says_to(ALICE, "The version is missing", "`/aeterna diff VERSION [values|schema|manifests]`")
