"""A person can open the proxy's address: page, its websocket and the control API pass through; and the transcript."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from slack_sdk.web.async_client import AsyncWebClient

from dev.slack import SlackWorkspace


async def test_the_page_and_its_websocket_pass_through(slack: SlackWorkspace, client: AsyncWebClient) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(slack.url) as page:
            assert "<title>local-slack</title>" in await page.text()
        async with session.ws_connect(f"{slack.url}/ui") as socket:
            first = await socket.receive_json()
            assert [channel["name"] for channel in first["state"]["channels"]] == ["ops", "inc-42", "random", "no-bot"]
            await socket.send_json(
                {"t": "post_message", "channel": "C0OPS", "user": "U0BOB", "text": "typed in the page"}
            )
            await slack.wait_for("ops", lambda m: m.text == "typed in the page")
            await client.chat_postMessage(channel="C0OPS", text="from the bot")
            frames = [await socket.receive_json() for _ in range(4)]
    assert "from the bot" in [frame.get("message", {}).get("text") for frame in frames]


async def test_the_control_api_passes_through(slack: SlackWorkspace) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{slack.url}/_control/state") as answer:
        assert (await answer.json())["workspace"]["teamId"] == slack.team_id


async def test_waiting_for_a_message_that_never_comes_shows_the_channel(
    slack: SlackWorkspace, client: AsyncWebClient
) -> None:
    await client.chat_postMessage(channel="C0OPS", text="something else")
    with pytest.raises(TimeoutError, match="aeterna: something else"):
        await slack.wait_for("ops", lambda m: m.text == "never", timeout=0.05)


async def test_the_transcript_reads_like_the_channel(slack: SlackWorkspace, client: AsyncWebClient) -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": "Upgrade 0.2.1"}},
        {"type": "section", "text": {"type": "mrkdwn", "text": "asked by <@U0ALICE> &amp; <https://a.example|notes>"}},
        {"type": "section", "fields": [{"type": "mrkdwn", "text": "*from*\n0.2.0"}]},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": "1 of 6"}, {"type": "mrkdwn", "text": "12 s"}]},
        {
            "type": "actions",
            "elements": [
                {"type": "button", "action_id": "a", "text": {"type": "plain_text", "text": "Approve"}},
                {"type": "button", "action_id": "r", "text": {"type": "plain_text", "text": "Reject"}},
            ],
        },
    ]
    card = await client.chat_postMessage(channel="C0OPS", text="plan", blocks=blocks)
    await client.chat_postMessage(channel="C0OPS", text="backup: 3 s", thread_ts=card["ts"])
    await client.chat_postEphemeral(channel="C0OPS", user="U0BOB", text="not you")
    await slack.wait_for("ops", lambda m: m.ephemeral_to is not None)
    assert slack.transcript("ops") == (
        "aeterna:\n"
        "  ── Upgrade 0.2.1 ──\n"
        "  asked by @alice & notes\n"
        "  *from*: 0.2.0\n"
        "  1 of 6 · 12 s\n"
        "  [Approve] [Reject]\n"
        "    ↳ aeterna: backup: 3 s\n"
        "aeterna (only to bob): not you"
    )
