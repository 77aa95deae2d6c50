"""HTTP mode: payloads signed so that Bolt takes them, repeated with Slack's headers until they are taken."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from slack_sdk.web.async_client import AsyncWebClient

from dev.slack import SlackWorkspace
from tests.slack.bolt import bolt_app, served
from tests.slack.test_workspace_delivery import APPROVE

Json = dict[str, Any]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def slack(local_slack: Path, port: int) -> AsyncIterator[SlackWorkspace]:
    """A workspace that posts to the bot's request URL."""
    url = f"http://127.0.0.1:{port}/slack/events"
    async with SlackWorkspace.running(
        program=local_slack, mode="events", request_url=url, redeliver_after=0.1
    ) as workspace:
        yield workspace


async def test_a_command_and_a_click_make_the_round_trip_signed(slack: SlackWorkspace, port: int) -> None:
    app = bolt_app(slack)

    @app.command("/aeterna")
    async def asked(ack: Any, command: Json, client: AsyncWebClient, respond: Any) -> None:
        await ack("on it")
        await respond("just for you")
        await client.chat_postMessage(channel=command["channel_id"], text="plan", blocks=APPROVE)

    @app.action("approve")
    async def approved(ack: Any, body: Json, client: AsyncWebClient) -> None:
        await ack()
        where = {"channel": body["channel"]["id"], "ts": body["message"]["ts"]}
        await client.chat_update(**where, text=f"approved by {body['user']['id']}", blocks=[])

    async with served(app, port):
        await slack.command("alice", "ops", "upgrade 0.2.1")
        card = await slack.wait_for("ops", lambda m: "Approve" in m.buttons)
        await slack.click("bob", "ops", card.ts, "approve")
        await slack.wait_for("ops", lambda m: m.text == "approved by U0BOB")
        await slack.wait_for("ops", lambda m: m.text == "on it" and m.ephemeral_to == "U0ALICE")
        await slack.wait_for("ops", lambda m: m.text == "just for you" and m.ephemeral_to == "U0ALICE")
    assert [delivery.type for delivery in slack.deliveries] == ["slash_commands", "interactive"]
    assert all(delivery.acked for delivery in slack.deliveries)


async def test_a_wrong_signature_is_refused_by_bolt(slack: SlackWorkspace, port: int) -> None:
    async with served(bolt_app(slack), port), aiohttp.ClientSession() as session:
        headers = {"X-Slack-Request-Timestamp": "1", "X-Slack-Signature": "v0=00"}
        async with session.post(
            f"http://127.0.0.1:{port}/slack/events", data={"command": "/x"}, headers=headers
        ) as answer:
            assert answer.status == 401


async def test_what_the_bot_does_not_take_comes_again_with_slacks_headers(slack: SlackWorkspace, port: int) -> None:
    seen: list[tuple[str | None, str | None]] = []

    async def take(request: web.Request) -> web.Response:
        seen.append((request.headers.get("X-Slack-Retry-Num"), request.headers.get("X-Slack-Retry-Reason")))
        return web.Response(status=200 if len(seen) == 3 else 503)

    server = web.Application()
    server.router.add_post("/slack/events", take)
    runner = web.AppRunner(server, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await slack.command("alice", "ops", "status")
    await runner.cleanup()
    assert seen == [(None, None), ("1", "http_error"), ("2", "http_error")]


async def test_a_bot_that_is_away_is_noted_as_a_failed_connection(slack: SlackWorkspace) -> None:
    await slack.command("alice", "ops", "status")
    assert [delivery.attempt for delivery in slack.deliveries] == [0, 1, 2]
    assert not any(delivery.acked for delivery in slack.deliveries)


async def test_events_mode_needs_a_request_url(local_slack: Path) -> None:
    with pytest.raises(ValueError, match="needs it"):
        async with SlackWorkspace.running(program=local_slack, mode="events"):
            pass
