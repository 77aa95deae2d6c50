"""The workspace refuses what Slack refuses (tokens, scopes, membership, rates) and records every call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.async_handler import AsyncRetryHandler
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from dev.slack import Limits, SlackWorkspace
from dev.slack.methods import Bucket

Clients = Callable[[str | None], AsyncWebClient]


async def refusal(client: AsyncWebClient, method: str, **args: object) -> str:
    """The error name that Slack's client sees."""
    with pytest.raises(SlackApiError) as raised:
        await client.api_call(method, json=args)
    return str(raised.value.response["error"])


async def test_each_kind_of_token_opens_only_its_own_methods(slack: SlackWorkspace, client_with: Clients) -> None:
    bot, app = client_with(slack.bot_token), client_with(slack.app_token)
    assert (await bot.auth_test())["user_id"] == slack.bot_user_id
    assert (await app.apps_connections_open(app_token=slack.app_token))["url"].startswith("ws://127.0.0.1:")
    assert await refusal(bot, "apps.connections.open") == "not_allowed_token_type"
    assert await refusal(app, "auth.test") == "not_allowed_token_type"
    assert await refusal(client_with("xoxb-other"), "auth.test") == "invalid_auth"
    assert await refusal(client_with(None), "auth.test") == "not_authed"


async def test_scopes_stand_in_the_header_and_a_missing_one_is_named(client: AsyncWebClient) -> None:
    answer = await client.auth_test()
    assert "chat:write" in answer.headers["x-oauth-scopes"]
    with pytest.raises(SlackApiError) as raised:
        await client.conversations_history(channel="C0OPS")
    assert raised.value.response["error"] == "missing_scope"
    assert raised.value.response["needed"] == "channels:history"


async def test_the_bot_posts_only_where_it_is_a_member(slack: SlackWorkspace, client: AsyncWebClient) -> None:
    assert await refusal(client, "chat.postMessage", channel="C0NOBOT", text="x") == "not_in_channel"
    assert await refusal(client, "chat.postMessage", channel="C0NOWHERE", text="x") == "channel_not_found"
    assert await refusal(client, "chat.postEphemeral", channel="C0NOBOT", user="U0BOB", text="x") == "not_in_channel"
    assert await refusal(client, "chat.postEphemeral", channel="C0OPS", user="U0WHO", text="x") == "user_not_in_channel"
    assert (await client.chat_postMessage(channel="#ops", text="by name"))["channel"] == "C0OPS"
    assert (await client.conversations_info(channel="C0NOBOT"))["channel"]["is_member"] is False
    assert await slack.messages("no-bot") == []


async def test_an_unknown_method_and_an_unknown_message_are_named(client: AsyncWebClient) -> None:
    assert await refusal(client, "pins.add", channel="C0OPS") == "unknown_method"
    assert await refusal(client, "chat.update", channel="C0OPS", ts="1.1", text="x") == "message_not_found"
    assert await refusal(client, "chat.postMessage", channel="C0OPS") == "no_text"


async def test_ephemerals_cannot_be_updated_and_stay_out_of_history(
    slack: SlackWorkspace, client: AsyncWebClient
) -> None:
    slack.limits = Limits(scopes=False)
    said = await client.chat_postEphemeral(channel="C0OPS", user="U0ALICE", text="only you")
    ts = said["message_ts"]
    assert await refusal(client, "chat.update", channel="C0OPS", ts=ts, text="x") == "message_not_found"
    assert (await client.conversations_history(channel="C0OPS"))["messages"] == []
    assert [m.ephemeral_to for m in await slack.messages("ops")] == ["U0ALICE"]


async def test_user_groups_are_listed(client: AsyncWebClient) -> None:
    groups = (await client.usergroups_list(include_users=True))["usergroups"]
    assert {group["handle"]: group["users"] for group in groups}["approvers"] == ["U0BOB"]
    assert (await client.usergroups_users_list(usergroup="S0ONCALL"))["users"] == ["U0CAROL"]
    assert await refusal(client, "usergroups.users.list", usergroup="S0NONE") == "no_such_subteam"


async def test_posts_beyond_the_burst_get_429_with_retry_after_a_channel(
    slack: SlackWorkspace, client: AsyncWebClient
) -> None:
    slack.limits = Limits(post_every=60.0)
    for _ in range(3):
        await client.chat_postMessage(channel="C0OPS", text="x")
    with pytest.raises(SlackApiError) as raised:
        await client.chat_postMessage(channel="C0OPS", text="one too many")
    assert raised.value.response.status_code == 429
    assert 50 <= int(raised.value.response.headers["Retry-After"]) <= 60
    assert raised.value.response["error"] == "ratelimited"
    await client.chat_postMessage(channel="C0RANDOM", text="another channel has its own")


async def test_the_sdk_waits_as_told_and_then_gets_through(slack: SlackWorkspace) -> None:
    handlers: list[AsyncRetryHandler] = [AsyncRateLimitErrorRetryHandler(max_retry_count=1)]
    client = AsyncWebClient(token=slack.bot_token, base_url=slack.api_url, retry_handlers=handlers)
    slack.limits = Limits(post_every=2.0, post_burst=1)
    for number in range(2):
        await client.chat_postMessage(channel="C0OPS", text=str(number))
    assert [m.text for m in await slack.messages("ops")] == ["0", "1"]
    assert [call.status for call in slack.calls] == [200, 429, 200]


async def test_without_rate_limits_nothing_is_held_up(slack: SlackWorkspace, client: AsyncWebClient) -> None:
    slack.limits = Limits.unhurried()
    for _ in range(20):
        await client.chat_postMessage(channel="C0OPS", text="x")
    assert {call.status for call in slack.calls} == {200}


def test_a_tier_three_method_takes_its_burst_and_then_fifty_a_minute() -> None:
    bucket = Bucket(every=60 / 50, burst=10, now=0.0)
    assert [bucket.take(0.0) for _ in range(10)] == [0.0] * 10
    assert bucket.take(0.0) == pytest.approx(1.2)
    assert bucket.take(1.3) == 0.0
    assert bucket.take(1.3) > 0


async def test_a_repeated_client_msg_id_answers_with_the_first_message(
    slack: SlackWorkspace, client: AsyncWebClient
) -> None:
    first = await client.chat_postMessage(channel="C0OPS", text="once", client_msg_id="id-1")
    again = await client.chat_postMessage(channel="C0OPS", text="once", client_msg_id="id-1")
    assert again["ts"] == first["ts"]
    assert len(await slack.messages("ops")) == 1
    await client.chat_delete(channel="C0OPS", ts=first["ts"])
    error = await refusal(client, "chat.postMessage", channel="C0OPS", text="once", client_msg_id="id-1")
    assert error == "duplicate_message_not_found"


async def test_two_posts_at_once_with_one_client_msg_id_make_one_message(
    slack: SlackWorkspace, client: AsyncWebClient
) -> None:
    answers = await asyncio.gather(
        *(client.chat_postMessage(channel="C0OPS", text="x", client_msg_id="id-1") for _ in range(2))
    )
    assert answers[0]["ts"] == answers[1]["ts"]
    assert len(await slack.messages("ops")) == 1


async def test_every_call_is_recorded_without_its_token(slack: SlackWorkspace, client: AsyncWebClient) -> None:
    before = time.monotonic()
    posted = await client.chat_postMessage(channel="C0OPS", text="hello")
    [call] = slack.calls
    assert (call.method, call.args, call.status) == (
        "chat.postMessage",
        {"channel": "C0OPS", "text": "hello"},
        200,
    )
    assert call.answer is not None
    assert call.answer["ts"] == posted["ts"]
    assert before <= call.time <= time.monotonic()
    async with aiohttp.ClientSession() as session, session.get(f"{slack.url}/_calls") as answer:
        text = await answer.text()
    assert "chat.postMessage" in text
    assert slack.bot_token not in text


async def test_a_file_goes_up_through_the_proxy_and_is_read_back(slack: SlackWorkspace, client: AsyncWebClient) -> None:
    card = await client.chat_postMessage(channel="C0OPS", text="card")
    await client.files_upload_v2(
        channel="C0OPS",
        thread_ts=card["ts"],
        content="whole text",
        filename="log.txt",
        initial_comment="the log",
    )
    [reply] = await slack.thread("ops", card["ts"])
    assert reply.files[0]["permalink"].startswith(slack.url)
    assert await slack.file_text(reply.files[0]) == "whole text"
