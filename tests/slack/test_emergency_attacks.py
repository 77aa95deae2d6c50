"""People who should not: forged and replayed dialogs, the wrong channel, the wrong person, names that want to be more."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from slack_bolt.request.async_request import AsyncBoltRequest

from bot.engine.offers import plan_mark
from bot.store.records import RunRecord, RunState
from dev.slack import SlackWorkspace
from dev.slack.blocks import view_problems
from tests.slack.support import Bot, everything
from tests.slack.test_conversation_emergencies import (
    ALICE,
    BOB,
    INCIDENT_ROLES,
    MALLORY,
    QUICK,
    Emergency,
    asked,
    bad_day,
    filled,
    ticked,
)

TO_STAGING = {
    **INCIDENT_ROLES,
    "staging": {"users": [MALLORY], "targets": ["staging"], "permissions": ["view", "emergency"]},
}


@pytest.fixture
async def day(slack: SlackWorkspace, tmp_path: Path) -> AsyncIterator[tuple[Bot, Emergency]]:
    async with bad_day(slack, tmp_path) as started:
        yield started


async def waiting(bot: Bot, text: str = "emergency scale-down", *, user: str = "alice") -> RunRecord:
    await bot.slack.command(user, "inc-42", f"{text} --target prod")
    await filled(bot)
    return (await bot.desk.runs("prod"))[0]


async def submit(bot: Bot, mark: str, *, user: str, trigger: str = "", **more: Any) -> str:
    """A submission that no dialog of ours sent off. What the person would see."""
    metadata = more.pop("metadata", None) or json.dumps({"mark": mark, "channel": "C0INC42"})
    view = {
        "id": "V0FORGED",
        "callback_id": "confirm",
        "private_metadata": metadata,
        "state": {"values": more.pop("values", {})},
        **more,
    }
    body = {
        "type": "view_submission",
        "trigger_id": trigger or secrets.token_hex(8),
        "user": {"id": user},
        "team": {"id": "T0"},
        "view": view,
    }
    request = AsyncBoltRequest(mode="socket_mode", body=json.dumps(body))
    answer = await bot.entrance.app.async_dispatch(request)
    await bot.work.drain()
    return str(answer.body)


async def test_a_submission_counts_for_who_sent_it_and_not_for_whom_the_dialog_was_opened(
    day: tuple[Bot, Emergency],
) -> None:
    bot, script = day
    run = await waiting(bot)
    assert "You need the permission `emergency`" in await submit(bot, plan_mark(run), user=MALLORY)
    assert script.seen == []
    await submit(bot, plan_mark(run), user=BOB)
    await bot.card("✅ *Done*", f"Approved by <@{BOB}>", channel="inc-42")


async def test_changed_ids_confirm_nothing(day: tuple[Bot, Emergency]) -> None:
    bot, script = day
    run = await waiting(bot)
    for mark in (run.id, f"{run.id}:", f"{run.id}:{'0' * 12}", "r-none:x", "", "a" * 5_000, f"{plan_mark(run)}:x"):
        assert "Not done" in await submit(bot, mark, user=ALICE), mark
    for metadata in ("", "{", "[]", "5", '{"mark": {"a": 1}}', "null"):
        assert "Not done" in await submit(bot, "", user=ALICE, metadata=metadata or " "), metadata
    assert (await bot.desk.run(run.id)).state is RunState.AWAITING_APPROVAL
    assert script.seen == []


async def test_a_submission_with_a_runs_id_of_another_target_takes_that_targets_permission(
    slack: SlackWorkspace, tmp_path: Path
) -> None:
    async with bad_day(slack, tmp_path, roles=TO_STAGING) as (bot, script):
        prod = await waiting(bot)
        assert "You need the permission `emergency` on prod" in await submit(bot, plan_mark(prod), user=MALLORY)
        await bot.slack.command("mallory", "ops", "emergency scale-down --target prod")
        await bot.says_to(MALLORY, "There is no target 'prod' for you")
        assert script.seen == []


async def test_the_same_submission_again_is_done_once_and_another_one_is_told(day: tuple[Bot, Emergency]) -> None:
    bot, script = day
    run = await waiting(bot)
    await asyncio.gather(*(submit(bot, plan_mark(run), user=ALICE, trigger="one") for _ in range(3)))
    await bot.card("✅ *Done*", channel="inc-42")
    assert "You have approved run" in await submit(bot, plan_mark(run), user=ALICE)
    assert "does not wait for approval" in await submit(bot, plan_mark(run), user=BOB)
    assert script.seen == [()]
    assert len((await bot.desk.run(run.id)).approvals) == 1


async def test_a_submission_after_the_expiry_or_after_a_no_changes_nothing(
    slack: SlackWorkspace, tmp_path: Path
) -> None:
    brief = replace(QUICK, expires=timedelta(milliseconds=300))
    async with bad_day(slack, tmp_path, policy=brief) as (bot, script):
        run = await waiting(bot)
        await asyncio.sleep(0.4)  # the database's clock decides, not ours
        assert "Not done" in await submit(bot, plan_mark(run), user=ALICE)
        assert script.seen == []


async def test_components_that_the_dialog_did_not_offer_cannot_be_left_out(day: tuple[Bot, Emergency]) -> None:
    bot, script = day
    script.stops[2]["optional"] = False
    run = await waiting(bot)
    for values in (ticked(2), ticked(99), {"excepted": {"value": {"selected_options": [{"value": "server"}]}}}):
        assert "The plan has changed since this dialog was opened" in await submit(
            bot, plan_mark(run), user=ALICE, values=values
        )
    assert script.seen == []


async def test_a_dialog_of_another_kind_is_no_confirmation(day: tuple[Bot, Emergency]) -> None:
    bot, script = day
    run = await waiting(bot)
    for kind in ("emergency", "override", "supply", "permanent", "confirm_", ""):
        assert "Not done" in await submit(bot, plan_mark(run), user=ALICE, callback_id=kind), kind
    assert (await bot.desk.run(run.id)).state is RunState.AWAITING_APPROVAL
    assert script.seen == []


async def test_a_channel_that_is_only_called_like_an_incident_gives_no_target_to_who_has_none(
    slack: SlackWorkspace, tmp_path: Path
) -> None:
    async with bad_day(slack, tmp_path, roles=TO_STAGING) as (bot, script):
        await bot.slack.command("mallory", "inc-42", "emergency scale-down --target staging")
        said = await bot.says_to(MALLORY, "the channel belongs to no target", channel="inc-42")
        assert "inc-*" not in everything(said), "staging has no incident channels, whatever the channel's name is"
        await bot.slack.command("mallory", "inc-42", "emergency scale-down")
        await bot.says_to(MALLORY, "This channel belongs to no target.", "Your targets: `staging`", channel="inc-42")
        await bot.slack.command("alice", "random", "emergency scale-down --target prod")
        await bot.says_to(ALICE, "Everybody in this channel would see it", channel="random")
        assert bot.slack.modal is None
        assert await bot.desk.runs(None) == []
        assert script.seen == []


async def test_outside_an_incident_channel_the_permission_alone_confirms_nothing(day: tuple[Bot, Emergency]) -> None:
    bot, script = day
    await bot.slack.command("alice", "ops", "emergency scale-down")
    await bot.card("Ready for approval", "needs someone else than <@U0ALICE>")
    run = (await bot.desk.runs("prod"))[0]
    assert "somebody else has to approve it" in await submit(bot, plan_mark(run), user=ALICE)
    await bot.slack.command("alice", "inc-42", f"approve {run.id}")  # from the incident channel, about a run elsewhere
    await bot.says_to(ALICE, "somebody else has to approve it", channel="inc-42")
    assert script.seen == []


async def test_a_name_with_markup_calls_nobody_and_breaks_nothing(day: tuple[Bot, Emergency]) -> None:
    bot, script = day
    evil = "<!channel> *x* `y` <@U0BOB> <http://evil|go> & _z_"
    for one in script.stops:
        one |= {"component": evil, "text": f"Deployment {evil} 1 → 0", "impact": f"{evil}\n> {evil}"}
    modal = await asked(bot, "emergency scale-down")
    assert view_problems(modal) == []
    card = await bot.card("Ready to be confirmed", channel="inc-42")
    for shown in (json.dumps(modal["blocks"][:-1], ensure_ascii=False), everything(card)):
        text = re.sub(r"`[^`\n]*`", "", shown.replace("<@U0ALICE>", ""))  # in a code span nothing acts
        for live in ("<!channel>", "<http", "*x*", "_z_"):
            assert live not in text
    await bot.slack.submit_view("alice", ticked())
    done = await bot.card("✅ *Done*", channel="inc-42")
    assert "<!channel>" not in everything(done)


async def test_an_unknown_component_is_told_as_plain_text(day: tuple[Bot, Emergency]) -> None:
    bot, _ = day
    await bot.slack.command("alice", "inc-42", "emergency disable <!channel>*x* --target prod")
    said = await bot.says_to(ALICE, "There is no component", channel="inc-42")
    assert "<!channel>" not in everything(said)
    assert "*x*" not in everything(said)
