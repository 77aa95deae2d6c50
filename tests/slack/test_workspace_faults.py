"""Every fault on demand, seen through slack_sdk and Bolt."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.async_handler import AsyncRetryHandler
from slack_sdk.http_retry.builtin_async_handlers import (
    AsyncConnectionErrorRetryHandler,
    AsyncServerErrorRetryHandler,
)
from slack_sdk.web.async_client import AsyncWebClient

from dev.slack import SlackWorkspace
from tests.slack.bolt import bolt_app, connected


def retrying(slack: SlackWorkspace, handler: AsyncRetryHandler) -> AsyncWebClient:
    return AsyncWebClient(token=slack.bot_token, base_url=slack.api_url, retry_handlers=[handler])


async def test_ratelimited_answers_429_with_the_asked_retry_after(
    slack: SlackWorkspace, client: AsyncWebClient
) -> None:
    slack.faults.add("ratelimited", "chat.update", retry_after=7)
    card = await client.chat_postMessage(channel="C0OPS", text="card")
    with pytest.raises(SlackApiError) as raised:
        await client.chat_update(channel="C0OPS", ts=card["ts"], text="x")
    assert raised.value.response.headers["Retry-After"] == "7"
    await client.chat_update(channel="C0OPS", ts=card["ts"], text="only once")
    assert [call.fault for call in slack.calls] == [None, "ratelimited", None]


async def test_http_500_has_no_effect_and_the_sdks_retry_gets_through(slack: SlackWorkspace) -> None:
    slack.faults.add("http_500", "chat.postMessage")
    client = retrying(slack, AsyncServerErrorRetryHandler(max_retry_count=1))
    await client.chat_postMessage(channel="C0OPS", text="x")
    assert [call.status for call in slack.calls] == [500, 200]
    assert len(await slack.messages("ops")) == 1


async def test_timeout_never_answers_and_has_no_effect(slack: SlackWorkspace) -> None:
    slack.faults.add("timeout", "chat.postMessage")
    client = AsyncWebClient(token=slack.bot_token, base_url=slack.api_url, timeout=1, retry_handlers=[])
    with pytest.raises(TimeoutError):
        await client.chat_postMessage(channel="C0OPS", text="x")
    assert await slack.messages("ops") == []


async def test_timeout_with_a_delay_hangs_up_after_it(slack: SlackWorkspace, client: AsyncWebClient) -> None:
    slack.faults.add("timeout", "auth.test", delay=0.1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.auth_test()


async def test_a_lost_answer_and_a_blind_retry_make_two_messages(slack: SlackWorkspace) -> None:
    slack.faults.add("answer_lost", "chat.postMessage")
    await retrying(slack, AsyncConnectionErrorRetryHandler()).chat_postMessage(channel="C0OPS", text="x")
    assert len(await slack.messages("ops")) == 2


async def test_a_lost_answer_retried_with_client_msg_id_makes_one_message(slack: SlackWorkspace) -> None:
    slack.faults.add("answer_lost", "chat.postMessage")
    client = retrying(slack, AsyncConnectionErrorRetryHandler())
    posted = await client.chat_postMessage(channel="C0OPS", text="x", client_msg_id="run-1-card")
    [message] = await slack.messages("ops")
    assert message.ts == posted["ts"]
    assert [call.fault for call in slack.calls] == ["answer_lost", None]


async def test_faults_can_wait_for_a_later_call_and_be_cleared(slack: SlackWorkspace, client: AsyncWebClient) -> None:
    slack.faults.add("http_500", "api.test", after=1, times=2)
    await client.api_test()
    for _ in range(2):
        with pytest.raises(SlackApiError):
            await client.api_test()
    await client.api_test()
    slack.faults.add("http_500", "api.test", times=100)
    slack.faults.clear()
    await client.api_test()


async def test_faults_are_armed_over_http_too(slack: SlackWorkspace, client: AsyncWebClient) -> None:
    async with aiohttp.ClientSession() as session:
        fault = {"method": "api.test", "kind": "ratelimited", "retry_after": 3}
        async with session.post(f"{slack.url}/_faults", json=fault) as answer:
            assert answer.status == 200
    with pytest.raises(SlackApiError, match="ratelimited"):
        await client.api_test()


async def test_a_dropped_socket_comes_back_and_the_next_command_arrives(slack: SlackWorkspace) -> None:
    app = bolt_app(slack)

    @app.command("/aeterna")
    async def asked(ack: Any, command: dict[str, str], client: AsyncWebClient) -> None:
        await ack()
        await client.chat_postMessage(channel=command["channel_id"], text=f"got {command['text']}")

    async with connected(slack, app):
        slack.faults.add("drop_socket")
        await slack.wait_until(lambda workspace: workspace.connections == 0)
        await slack.connected(timeout=20)
        await slack.command("alice", "ops", "status")
        await slack.wait_for("ops", lambda m: m.text == "got status")


async def test_a_socket_can_drop_in_the_middle_of_a_run_of_calls(slack: SlackWorkspace, client: AsyncWebClient) -> None:
    async with connected(slack, bolt_app(slack)):
        slack.faults.add("drop_socket", "chat.postMessage")
        await client.chat_postMessage(channel="C0OPS", text="the call itself goes well")
        await slack.wait_until(lambda workspace: workspace.connections == 0)
        await slack.connected(timeout=20)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
async def test_local_slack_ends_with_a_parent_that_is_killed(local_slack: Path, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dev.slack", "--program", str(local_slack)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},  # a killed process cannot clean up
    )
    assert process.stdout is not None
    assert b'"api_url"' in await asyncio.wait_for(process.stdout.readline(), 30)
    [child] = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    await asyncio.to_thread(psutil.wait_procs, [child], 10)
    assert not child.is_running()
