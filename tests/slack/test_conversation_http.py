"""HTTP mode: signed requests are served, unsigned, forged and old ones are not; health tells the truth."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import pytest

from bot.slack.web import serving, web_app
from dev.slack import SlackWorkspace
from tests.slack.support import Bot, running_bot


@pytest.fixture
async def bot(slack: SlackWorkspace, tmp_path: Path) -> AsyncIterator[Bot]:
    async with running_bot(slack, tmp_path, connect=False, mode="http") as running:
        yield running


@pytest.fixture
async def address(bot: Bot) -> AsyncIterator[str]:
    application = web_app(live={}, ready={}, app=bot.entrance.app)
    async with serving(application, host="127.0.0.1", port=0) as port:
        yield f"http://127.0.0.1:{port}/slack/events"


def signed(body: str, secret: str, *, at: float) -> dict[str, str]:
    stamp = str(int(at))
    digest = hmac.new(secret.encode(), f"v0:{stamp}:{body}".encode(), hashlib.sha256).hexdigest()
    return {
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={digest}",
        "Content-Type": "application/x-www-form-urlencoded",
    }


def command(text: str) -> str:
    fields = {"command": "/aeterna", "text": text, "user_id": "U0ALICE", "channel_id": "C0OPS", "trigger_id": "t.1"}
    return urlencode(fields)


async def post(address: str, body: str, headers: dict[str, str]) -> int:
    async with aiohttp.ClientSession() as session, session.post(address, data=body, headers=headers) as answer:
        return answer.status


async def test_a_signed_command_is_acknowledged_and_done(bot: Bot, address: str) -> None:
    body = command("upgrade 0.2.1")
    assert await post(address, body, signed(body, bot.slack.signing_secret, at=time.time())) == 200
    await bot.card("Waiting for approval")


@pytest.mark.parametrize("why", ["forged", "unsigned", "replayed", "changed"])
async def test_what_slack_did_not_just_sign_is_refused(bot: Bot, address: str, why: str) -> None:
    body = command("upgrade 0.2.1")
    secret = "wrong" if why == "forged" else bot.slack.signing_secret
    headers = signed(body, secret, at=time.time() - (301 if why == "replayed" else 0))
    if why == "unsigned":
        headers.pop("X-Slack-Signature")
    if why == "changed":
        body = command("upgrade 6.6.6")
    assert await post(address, body, headers) == 401
    await bot.work.drain()
    assert not await bot.desk.runs(None)


async def test_health_turns_bad_with_its_probes() -> None:
    problems: dict[str, str | None] = {"slack": None}
    application = web_app(live={"loops": lambda: None}, ready={"slack": lambda: problems["slack"]})
    async with serving(application, host="127.0.0.1", port=0) as port, aiohttp.ClientSession() as session:

        async def ask(path: str) -> tuple[int, str]:
            async with session.get(f"http://127.0.0.1:{port}/{path}") as answer:
                return answer.status, await answer.text()

        assert (await ask("readyz"))[0] == 200
        problems["slack"] = "not connected to Slack for 12 s"
        status, text = await ask("readyz")
        assert status == 503
        assert "not connected to Slack for 12 s" in text
        assert (await ask("healthz"))[0] == 200
