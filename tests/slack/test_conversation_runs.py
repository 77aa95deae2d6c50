"""The life of a run as people see it: card, approval, buttons, bad clicks; through the real workspace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.errors import Evidence, Permanent
from dev.slack import SlackWorkspace
from tests.slack.support import Bot, Script, blocker, everything, info, posted, running_bot, upgrade_steps, warning

ALICE, BOB, CAROL = "U0ALICE", "U0BOB", "U0CAROL"


@pytest.fixture
async def bot(slack: SlackWorkspace, tmp_path: Path) -> AsyncIterator[Bot]:
    async with running_bot(slack, tmp_path) as running:
        yield running


async def test_an_upgrade_from_the_command_to_done_is_one_message(slack: SlackWorkspace, tmp_path: Path) -> None:
    script = Script(steps=upgrade_steps(), findings=[warning("`image.tag` is deprecated"), info("2 values differ")])
    async with running_bot(slack, tmp_path, script=script) as bot:
        card = await bot.upgrade_waiting()
        assert card.buttons == ["Approve", "Reject"]
        assert "0 of 1, needs someone else than <@U0ALICE>" in everything(card)
        await slack.click("bob", "ops", card.ts, "run_approve")
        done = await bot.card("✅ *Done*", "Approved by <@U0BOB>", "🟩🟩🟩  3 of 3")
        assert done.ts == card.ts
        assert done.buttons == ["Roll back to 3 (0.2.0)"]
        assert "all 3 server pods ready, version 0.2.1" in everything(done)
        assert len(await posted(slack)) == 1
        run = (await bot.desk.runs("prod"))[0]
        assert [element["value"].partition(":")[0] for element in card.elements] == [run.id, run.id]


async def test_a_blocked_plan_says_what_to_put_right(slack: SlackWorkspace, tmp_path: Path) -> None:
    missing = blocker("Version 0.9.9 does not exist.", "The nearest are 0.2.1 and 0.2.0.")
    async with running_bot(slack, tmp_path, script=Script(steps=upgrade_steps(), findings=[missing])) as bot:
        await slack.command("alice", "ops", "upgrade 0.9.9")
        card = await bot.card("⛔ *Cannot go ahead*", "Version 0.9.9 does not exist.", "↳ The nearest are")
        assert card.buttons == ["Plan again"]


async def test_a_failure_shows_why_and_the_whole_log_in_the_thread(slack: SlackWorkspace, tmp_path: Path) -> None:
    log = "\n".join(f"line {number} <!channel>" for number in range(300))
    failure = Permanent(
        "Pod aeterna-1 crashes.", way_out="Look at its log.", evidence=[Evidence("Log of aeterna-1", log)]
    )
    async with running_bot(slack, tmp_path, script=Script(steps=upgrade_steps(failure=failure))) as bot:
        waiting = await bot.upgrade_waiting()
        await slack.click("bob", "ops", waiting.ts, "run_approve")
        card = await bot.card("🆘 *Needs a decision*", "*Why* Pod aeterna-1 crashes.", "*What now* Look at its log.")
        emergencies = ["Scale down…", "Disable a component…"]
        assert card.buttons == ["Retry", "Roll back to 3 (0.2.0)", "Stop here", *emergencies]
        reply = await slack.wait_for("ops", lambda m: m.thread_ts == card.ts and "line 299" in everything(m))
        assert "&lt;!channel&gt;" in everything(reply)
        with_file = await slack.wait_for(
            "ops", lambda m: m.thread_ts == card.ts and any("log" in file["name"] for file in m.files)
        )
        assert await slack.file_text(with_file.files[0]) == log
        bot.script.steps[1].failure = None
        await slack.click("alice", "ops", card.ts, "run_retry")
        done = await bot.card("✅ *Done*")
        assert done.ts == card.ts


async def test_one_click_takes_an_upgrade_back(bot: Bot) -> None:
    card = await bot.upgrade_waiting()
    await bot.slack.click("bob", "ops", card.ts, "run_approve")
    card = await bot.card("✅ *Done*")
    await bot.slack.click("alice", "ops", card.ts, "run_roll_back")
    back = await bot.card("↩️ Roll back prod · revision 3", "✅ *Done*", f"takes back <{bot.slack.url}")
    old = await bot.slack.wait_for("ops", lambda m: m.ts == card.ts and "Taken back" in everything(m))
    assert old.buttons == []
    for one, other in ((back, old), (old, back)):
        assert f"p{other.ts.replace('.', '')}|r-" in everything(one), "a tap leads from the one card to the other"
    await bot.slack.command("alice", "ops", "runs")
    await bot.says_to(ALICE, "Taken back")


async def test_the_requester_cannot_approve_their_own_upgrade(bot: Bot) -> None:
    card = await bot.upgrade_waiting()
    await bot.slack.click("alice", "ops", card.ts, "run_approve")
    await bot.says_to(ALICE, "somebody else has to approve it")
    assert await bot.card("Waiting for approval", "0 of 1") == card


async def test_somebody_without_the_permission_cannot_approve(bot: Bot) -> None:
    card = await bot.upgrade_waiting()
    await bot.slack.click("mallory", "ops", card.ts, "run_approve")
    await bot.says_to("U0MALLORY", "You need the permission `approve` on prod")


async def test_second_click_on_approve_changes_nothing(bot: Bot) -> None:
    bot.script.steps[0].go = hold = asyncio.Event()
    card = await bot.upgrade_waiting()
    await asyncio.gather(*(bot.slack.click("bob", "ops", card.ts, "run_approve") for _ in range(2)))
    await bot.says_to(BOB, "You have approved run", "Nothing is left to press")
    hold.set()
    await bot.card("✅ *Done*")
    run = (await bot.desk.runs("prod"))[0]
    assert [voice.user for voice in run.approvals] == [BOB]


async def test_approve_and_reject_at_once_have_one_winner(bot: Bot) -> None:
    card = await bot.upgrade_waiting()
    await asyncio.gather(
        bot.slack.click("bob", "ops", card.ts, "run_approve"),
        bot.slack.click("carol", "ops", card.ts, "run_reject"),
    )
    loser = await bot.slack.wait_for("ops", lambda m: m.ephemeral_to in (BOB, CAROL))
    run = (await bot.desk.runs("prod"))[0]
    if loser.ephemeral_to == CAROL:
        assert [voice.user for voice in run.approvals] == [BOB]
        await bot.card("✅ *Done*")
    else:
        assert [voice.user for voice in run.approvals] == [CAROL]
        await bot.card("🚫 *Rejected*", "by <@U0CAROL>")


async def test_a_click_on_an_old_card_is_answered_politely(bot: Bot) -> None:
    card = await bot.upgrade_waiting()
    run = (await bot.desk.runs("prod"))[0]
    await bot.slack.command("alice", "ops", f"run {run.id}")
    old = await bot.says_to(ALICE, run.id)
    await bot.slack.click("bob", "ops", card.ts, "run_reject")
    await bot.card("Rejected")
    await bot.slack.click("alice", "ops", old.ts, "run_approve")
    await bot.says_to(ALICE, "does not wait for approval: it is rejected")


async def test_a_button_of_an_older_version_is_answered_politely(bot: Bot) -> None:
    button = {"type": "button", "action_id": "gone", "value": "x", "text": {"type": "plain_text", "text": "Old"}}
    blocks = [{"type": "actions", "elements": [button]}]
    posted = await bot.clients.web.chat_postMessage(channel="C0OPS", text="old", blocks=blocks)
    await bot.slack.click("alice", "ops", str(posted["ts"]), "gone")
    await bot.says_to(ALICE, "older version of the bot")


async def test_cancel_stops_at_the_next_safe_point_and_says_so(bot: Bot) -> None:
    bot.script.steps[0].go = asyncio.Event()
    card = await bot.upgrade_waiting()
    await bot.slack.click("bob", "ops", card.ts, "run_approve")
    card = await bot.card("🔄 *Running*")
    await bot.slack.click("alice", "ops", card.ts, "run_cancel")
    done = await bot.card("⏹️ *Cancelled*", "<@U0ALICE>")
    assert done.ts == card.ts


async def test_planning_anew_twice_from_one_card_is_one_run(bot: Bot) -> None:
    bot.script.findings.append(blocker("Not now."))
    await bot.slack.command("alice", "ops", "upgrade 0.2.1")
    card = await bot.card("Cannot go ahead")
    bot.script.findings.clear()
    for _ in range(2):
        await bot.slack.click("alice", "ops", card.ts, "run_retry")
    await bot.card("Waiting for approval")
    await bot.says_to(ALICE, "planned anew as run")
    await bot.work.drain()
    assert len(await bot.desk.runs("prod")) == 2
