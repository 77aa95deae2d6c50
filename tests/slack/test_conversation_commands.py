"""What the bot answers to what people type, wrong things first; each through the real workspace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.engine.contract import Outcome, Runbook
from bot.errors import UserMistake
from dev.slack import SlackWorkspace
from tests.slack.support import Bot, Script, blocker, everything, running_bot, upgrade_steps, warning

ALICE, MALLORY = "U0ALICE", "U0MALLORY"


@pytest.fixture
async def bot(slack: SlackWorkspace, tmp_path: Path) -> AsyncIterator[Bot]:
    async with running_bot(slack, tmp_path) as running:
        yield running


MISTAKES = [
    ("upgarde 0.2.1", "do not know the word 'upgarde'", "Did you mean `/aeterna upgrade VERSION`?"),
    ("upgrade", "The version is missing.", "The right form: `/aeterna upgrade VERSION`"),
    ("upgrade latest", "'latest' is not a version.", "A version looks like 0.2.1."),
    ("upgrade 0.2.1 now", "do not know what 'now' means here", "`/aeterna upgrade VERSION`"),
    ("upgrade 0.2.1 --colour red", "no input 'colour'", "`/aeterna upgrade VERSION`"),
    ("upgrade 0.2.1 --target mars", "no target 'mars' for you", "`prod`, `staging`"),
    ("run", "run needs the id of a run", "`/aeterna run ID`"),
    ("run r-nothing", "r-nothing", ""),
    ("locks --all yes", "--all does not go with locks", "`/aeterna locks`"),
    ("x" * 10_000, "10,000 characters; I read at most 1,000", "values file"),
    ("<!channel> hello", "do not know the word '&lt;!channel&gt;'", "`/aeterna help` lists all"),
    ("*_~`bold", "do not know the word '∗ˍ∼ˋbold'", "`/aeterna help` lists all"),
    ("%s%d{0}", "do not know the word '%s%d{0}'", "`/aeterna help` lists all"),
]


async def test_mistakes_are_answered_only_to_the_person_with_the_right_form(bot: Bot) -> None:
    for typed, happened, next_ in MISTAKES:
        await bot.slack.command("alice", "ops", typed)
        await bot.says_to(ALICE, happened, next_)
    assert not await bot.desk.runs(None)
    assert not any(call.method.startswith("chat.") for call in bot.slack.calls)


async def test_phone_typography_is_read_as_it_was_meant(bot: Bot) -> None:
    await bot.slack.command("alice", "ops", "Upgrade “0.2.1” —target prod")
    card = await bot.card("Waiting for approval")
    assert "Upgrade prod · 0.2.0 → 0.2.1" in everything(card)


async def test_a_channel_of_no_target_asks_which_one(bot: Bot) -> None:
    await bot.slack.command("alice", "random", "upgrade 0.2.1")
    await bot.says_to(ALICE, "belongs to no target", "Your targets: `prod`, `staging`", channel="random")


async def test_a_foreign_channel_is_told_where_to_ask(bot: Bot) -> None:
    await bot.slack.command("alice", "random", "upgrade 0.2.1 --target prod")
    await bot.says_to(ALICE, "Everybody in this channel would see it", "<#C0OPS>", "`inc-*`", channel="random")


async def test_an_incident_channel_takes_a_named_target(bot: Bot) -> None:
    await bot.slack.command("alice", "inc-42", "upgrade 0.2.1 --target prod")
    await bot.card("Waiting for approval", channel="inc-42")


async def test_a_person_without_a_role_gets_help_and_nothing_else(bot: Bot) -> None:
    for typed in ("upgrade 0.2.1", "status"):
        await bot.slack.command("mallory", "ops", typed)
        await bot.says_to(MALLORY, "You have no permissions here yet")
    await bot.slack.command("mallory", "ops", "runs")
    await bot.says_to(MALLORY, "You need the permission `view` on prod", "<@U0ALICE>")
    await bot.slack.command("mallory", "ops", "help")
    answer = await bot.says_to(MALLORY, "What you can ask for")
    assert "upgrade" not in everything(answer)


async def test_a_permission_that_is_missing_is_named_with_who_has_it(bot: Bot) -> None:
    await bot.slack.command("bob", "ops", "upgrade 0.2.1")
    await bot.says_to("U0BOB", "You need the permission `upgrade` on prod.", "<@U0ALICE> has it.")


async def test_help_lists_what_this_person_may_do(bot: Bot) -> None:
    await bot.slack.command("bob", "ops", "")
    answer = everything(await bot.says_to("U0BOB", "What you can ask for"))
    assert "`approve ID`" in answer
    assert "`status`" in answer
    assert "upgrade VERSION" not in answer


async def test_a_report_is_one_message_with_the_answer(bot: Bot) -> None:
    rows = [["Workload", "Ready"], ["server", "3/3"]]
    bot.script.report = Outcome("All healthy", facts={"report": [{"title": "Workloads", "rows": rows}]})
    await bot.slack.command("alice", "ops", "status")
    card = await bot.card("All healthy", "*server* · 3/3")
    assert card.buttons == []


async def test_a_plan_shows_what_it_found_and_changes_nothing(slack: SlackWorkspace, tmp_path: Path) -> None:
    script = Script(steps=upgrade_steps(), findings=[warning("<!channel> *_~ `quoted` was written by others")])
    async with running_bot(slack, tmp_path, script=script) as bot:
        await slack.command("alice", "ops", "plan 0.2.1")
        card = await bot.card("was written by others")
        assert "⚠️ &lt;!channel&gt; ∗ˍ∼ `quoted` was written" in everything(card)
        assert card.buttons == []


async def test_runs_and_locks_come_straight_from_the_journal(bot: Bot) -> None:
    await bot.slack.command("alice", "ops", "locks")
    await bot.says_to(ALICE, "🔓 *prod* is free")
    card = await bot.upgrade_waiting()
    await bot.slack.command("bob", "ops", "runs")
    await bot.says_to("U0BOB", "Runs of prod", "Waiting for approval", "Upgrade prod")
    run = (await bot.desk.runs("prod"))[0]
    await bot.slack.command("alice", "ops", f"run {run.id}")
    answer = await bot.says_to(ALICE, run.id, "Waiting for approval")
    assert answer.buttons == card.buttons == ["Approve", "Reject"]


async def test_what_can_be_pressed_can_be_typed(bot: Bot) -> None:
    await bot.upgrade_waiting()
    run = (await bot.desk.runs("prod"))[0]
    await bot.slack.command("bob", "ops", f"reject {run.id} it’s <!here> too *late*")
    await bot.says_to("U0BOB", "Noted.", "is rejected")
    card = everything(await bot.card("Rejected"))
    assert "by <@U0BOB>: it's &lt;!here&gt; too ∗late∗" in card


async def test_a_second_upgrade_is_told_who_holds_the_target(bot: Bot) -> None:
    bot.script.steps[1].go = hold = asyncio.Event()
    card = await bot.upgrade_waiting()
    await bot.slack.click("bob", "ops", card.ts, "run_approve")
    await bot.card("🔄 *Running*")
    await bot.slack.command("alice", "ops", "upgrade 0.2.1")
    await bot.says_to(ALICE, "prod is held by run", "<@U0ALICE>")
    await bot.slack.command("alice", "ops", "locks")
    await bot.says_to(ALICE, "🔒 *prod* is held by")
    hold.set()
    await bot.card("✅ *Done*")


async def test_a_mistake_of_ours_gives_a_reference_and_no_details(
    bot: Bot, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("token xoxb-1 leaked")

    monkeypatch.setattr(bot.desk, "holders", broken)
    await bot.slack.command("alice", "ops", "locks")
    answer = everything(await bot.says_to(ALICE, "went wrong in the bot itself"))
    assert "xoxb" not in answer
    assert any("reference" in record.getMessage() and record.exc_info for record in caplog.records)


async def test_one_bad_runbook_takes_no_other_word_away(bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bot.script.parse

    def parse(text: str) -> Runbook:
        if text == "upgrade":
            raise UserMistake("runbooks/upgrade.yaml:7: steps: there is no step kind 'helm.upgade'.")
        return whole(text)

    monkeypatch.setattr(bot.script, "parse", parse)
    await bot.slack.command("alice", "ops", "help")
    await bot.says_to(ALICE, "`upgrade VERSION` cannot be read at the moment", "`status`")
    await bot.slack.command("alice", "ops", "upgrade 0.2.1")
    await bot.says_to(ALICE, "upgrade.yaml:7: steps")


async def test_a_new_run_has_its_card_where_the_old_one_was(bot: Bot) -> None:
    bot.script.findings.append(blocker("Not now."))
    await bot.slack.command("alice", "ops", "upgrade 0.2.1")
    await bot.card("Cannot go ahead")
    bot.script.findings.clear()
    run = (await bot.desk.runs("prod"))[0]
    await bot.slack.command("alice", "random", f"retry {run.id}")
    await bot.says_to(ALICE, "It is the new run", channel="random")
    await bot.card("Waiting for approval")
