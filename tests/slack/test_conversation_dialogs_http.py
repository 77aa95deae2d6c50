"""The dialogs of a blocked plan in HTTP mode: Slack posts signed requests, and the acknowledgement is the answer to them."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from bot.engine.contract import OverrideRule
from bot.slack.web import serving, web_app
from dev.slack import SlackWorkspace
from tests.slack.support import Bot, Script, blocker, everything, info, running_bot, upgrade_steps

LOSS = blocker("A claim would be deleted, and its data.", "Keep it.", code="data.loss")
MISSING = [{"path": "opal.replicas", "type": "integer", "why": "The chart has no default.", "minimum": 1}]


@pytest.fixture
async def bot(local_slack: Path, tmp_path: Path) -> AsyncIterator[Bot]:
    """The bot behind its own web server, and a workspace that posts there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}/slack/events"
    script = Script(steps=upgrade_steps(), findings=[LOSS], overrides=(OverrideRule("data.loss", "override"),))
    async with AsyncExitStack() as stack:
        slack = await stack.enter_async_context(
            SlackWorkspace.running(program=local_slack, mode="events", request_url=url)
        )
        running = await stack.enter_async_context(
            running_bot(slack, tmp_path, script=script, connect=False, mode="http")
        )
        application = web_app(live={}, ready={}, app=running.entrance.app)
        await stack.enter_async_context(serving(application, host="127.0.0.1", port=port))
        yield running


def typed(**values: str) -> dict[str, Any]:
    return {block.replace("_", "-"): {"value": {"type": "plain_text_input", "value": v}} for block, v in values.items()}


async def test_an_override_is_refused_at_its_field_and_then_taken(bot: Bot) -> None:
    await bot.slack.command("alice", "ops", "upgrade 0.2.1")
    card = await bot.card("⛔ *Cannot go ahead*: blocked by 1")
    await bot.slack.click("carol", "ops", card.ts, "run_override")
    await bot.slack.wait_until(lambda slack: "A claim would be deleted" in json.dumps(slack.modal))
    await bot.slack.submit_view("carol", typed(release="prod", reason="It is copied."))
    await bot.slack.wait_until(lambda slack: "release" in slack.modal_errors)
    assert "not the release's name" in bot.slack.modal_errors["release"]
    assert (await bot.desk.runs("prod"))[0].overrides == ()
    await bot.slack.submit_view("carol", typed(release="aeterna", reason="It is copied."))
    done = await bot.card("✋ *Ready for approval*: 1 blocker overridden", "🔓 *Overridden* by <@U0CAROL>")
    assert done.ts == card.ts
    await bot.slack.wait_until(lambda slack: slack.modal is None)


async def test_a_missing_value_is_supplied_and_planned_with(bot: Bot) -> None:
    bot.script.findings[:] = [blocker("A value is missing.")]
    bot.script.facts = {**bot.script.facts, "missing_values": MISSING}
    await bot.slack.command("alice", "ops", "upgrade 0.2.1")
    card = await bot.card("⛔ *Cannot go ahead*: blocked by 1")
    await bot.slack.click("alice", "ops", card.ts, "run_supply")
    await bot.slack.wait_until(lambda slack: "opal.replicas" in json.dumps(slack.modal))
    await bot.slack.submit_view("alice", typed(value_0="0"))
    await bot.slack.wait_until(lambda slack: "value-0" in slack.modal_errors)
    bot.script.findings[:] = [info("Nothing is missing.")]
    bot.script.facts = {key: value for key, value in bot.script.facts.items() if key != "missing_values"}
    await bot.slack.submit_view("alice", typed(value_0="3"))
    done = await bot.card("✋ *Ready for approval*: no warnings", "`opal.replicas` = `3`")
    assert done.ts == card.ts
    assert "Approve" in done.buttons
    assert everything(done).count("opal.replicas") == 1
