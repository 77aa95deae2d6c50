"""Slack's bad days: 429, 500, no answer, a lost answer, a dropped socket, deliveries again, a channel without the bot."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dev.slack import Limits, SlackWorkspace
from tests.slack.support import Bot, Script, everything, posted, running_bot, upgrade_steps

ALICE = "U0ALICE"


@pytest.fixture
async def bot(slack: SlackWorkspace, tmp_path: Path) -> AsyncIterator[Bot]:
    async with running_bot(slack, tmp_path) as running:
        yield running


def cards(slack: SlackWorkspace) -> int:
    return sum(
        call.method == "chat.postMessage" and "metadata" in call.args and bool((call.answer or {}).get("ok"))
        for call in slack.calls
    )


async def one_card_to_the_end(bot: Bot) -> None:
    """Approves the waiting upgrade; in the end there is one message and it shows the end."""
    card = await bot.upgrade_waiting()
    await bot.slack.click("bob", "ops", card.ts, "run_approve")
    done = await bot.card("✅ *Done*", within=30)
    assert done.ts == card.ts
    assert len(await posted(bot.slack)) == 1


@pytest.mark.parametrize("method", ["chat.postMessage", "chat.update"])
@pytest.mark.parametrize("kind", ["ratelimited", "http_500", "answer_lost"])
async def test_a_failing_call_is_repeated_without_a_second_card(bot: Bot, kind: str, method: str) -> None:
    bot.slack.faults.add(kind, method, times=2)  # type: ignore[arg-type]
    await one_card_to_the_end(bot)
    assert any(call.fault == kind for call in bot.slack.calls)


async def test_a_call_without_an_answer_is_given_up_and_repeated(bot: Bot) -> None:
    bot.slack.faults.add("timeout", "chat.postMessage", delay=0.2)
    await one_card_to_the_end(bot)


async def test_429_is_waited_out_as_told(bot: Bot) -> None:
    bot.slack.faults.add("ratelimited", "chat.postMessage", retry_after=2)
    await bot.upgrade_waiting()
    posts = [call for call in bot.slack.calls if call.method == "chat.postMessage"]
    assert [call.fault for call in posts] == ["ratelimited", None]
    assert posts[1].time - posts[0].time >= 2


async def test_a_dropped_socket_is_opened_again_and_nothing_is_lost(bot: Bot) -> None:
    bot.script.steps[1].go = hold = asyncio.Event()
    card = await bot.upgrade_waiting()
    await bot.slack.click("bob", "ops", card.ts, "run_approve")
    await bot.card("🔄 *Running*")
    bot.slack.faults.add("drop_socket")
    await bot.slack.wait_until(lambda slack: slack.connections == 0)
    await bot.slack.command("alice", "ops", "locks", wait_for_ack=False)
    await bot.slack.connected(timeout=20)
    await bot.says_to(ALICE, "prod", "is held by")
    hold.set()
    await bot.card("✅ *Done*")


async def test_the_same_envelope_twice_is_one_run(slack: SlackWorkspace, tmp_path: Path) -> None:
    async with running_bot(slack, tmp_path) as bot:
        await bot.upgrade_waiting()
        body = slack.deliveries[0].payload
        for _ in range(3):
            assert bot.work.take(body)  # past the door's memory, as after a restart
        await bot.work.drain()
        assert len(await bot.desk.runs(None)) == 1
        assert cards(slack) == 1


async def test_an_update_comes_at_most_every_interval_and_the_last_state_is_shown(bot: Bot) -> None:
    bot.script.steps[1].progress = [f"{n} of 50" for n in range(50)]
    await one_card_to_the_end(bot)
    times = [call.time for call in bot.slack.calls if call.method == "chat.update" and call.status == 200]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(gap >= 1.49 for gap in gaps), gaps


async def test_posts_in_one_channel_keep_slacks_pace(slack: SlackWorkspace, tmp_path: Path) -> None:
    async with running_bot(slack, tmp_path):
        for _ in range(5):
            await slack.command("alice", "ops", "plan 0.2.1")
        await slack.wait_until(lambda s: cards(s) == 5, timeout=20)
        assert not any(call.status == 429 for call in slack.calls)


async def test_a_deleted_card_is_posted_anew(bot: Bot) -> None:
    card = await bot.upgrade_waiting()
    await bot.clients.web.chat_delete(channel="C0OPS", ts=card.ts)
    run = (await bot.desk.runs("prod"))[0]
    await bot.slack.command("bob", "ops", f"approve {run.id}")
    again = await bot.card("✅ *Done*")
    assert again.ts != card.ts


async def test_a_channel_without_the_bot_is_said_to_who_asked(slack: SlackWorkspace, tmp_path: Path) -> None:
    script = Script(steps=upgrade_steps())
    async with running_bot(slack, tmp_path, script=script) as bot:
        target = bot.settings.config.targets[0]
        object.__setattr__(target, "channels", ("C0OPS", "C0NOBOT"))
        await slack.command("alice", "no-bot", "upgrade 0.2.1")
        await slack.wait_until(
            lambda s: any(call.method == "chat.postMessage" and call.args["channel"] == ALICE for call in s.calls)
        )
        said = next(call for call in slack.calls if call.args.get("channel") == ALICE)
        assert "not_in_channel" in said.args["text"]
        assert "/invite @aeterna" in said.args["text"]

        def refusals(s: SlackWorkspace) -> int:
            return sum((call.answer or {}).get("error") == "not_in_channel" for call in s.calls)

        await slack.wait_until(lambda s: refusals(s) >= 1)
        assert sum(call.args.get("channel") == ALICE for call in slack.calls) == 1


async def test_a_burst_is_acknowledged_and_answered_whole(slack: SlackWorkspace, tmp_path: Path) -> None:
    slack.limits = Limits.unhurried()
    async with running_bot(slack, tmp_path) as bot:
        await asyncio.gather(*(slack.command("alice", "ops", "locks") for _ in range(50)))
        await bot.work.drain()
        answers = [m for m in await slack.messages("ops") if m.ephemeral_to == ALICE and "is free" in everything(m)]
        assert len(answers) == 50
        assert Counter(d.attempt for d in slack.deliveries) == {0: 50}


async def test_a_card_posted_right_before_a_crash_is_the_same_card_afterwards(
    slack: SlackWorkspace, tmp_path: Path
) -> None:
    async with running_bot(slack, tmp_path) as bot:
        slack.faults.add("answer_lost", "chat.postMessage")
        await slack.command("alice", "ops", "upgrade 0.2.1")
        await slack.wait_until(lambda s: any(call.fault == "answer_lost" for call in s.calls))
    async with running_bot(slack, tmp_path) as bot:
        card = await bot.card("Waiting for approval")
        assert len(await posted(slack)) == 1
        await slack.click("bob", "ops", card.ts, "run_approve")
        assert (await bot.card("✅ *Done*")).ts == card.ts
