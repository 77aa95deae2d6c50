"""The Socket Mode connection and the questions to Slack around it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from slack_bolt.async_app import AsyncApp

from bot.errors import Temporary
from bot.slack.calls import SlackRefused, call
from bot.slack.channels import ChannelNames
from bot.slack.client import slack_clients
from bot.slack.connection import SocketConnection
from bot.slack.permissions import UserGroups
from bot.slack.render import SlackMessage
from bot.slack.responder import Responder
from dev.slack import SlackUserGroup, SlackWorkspace
from tests.slack.support import running_bot, settings_for


async def test_a_connection_that_stays_down_is_reported_and_built_anew(slack: SlackWorkspace, tmp_path: Path) -> None:
    async with slack_clients(settings_for(slack, tmp_path)) as clients:
        connection = SocketConnection(
            app=AsyncApp(client=clients.web), clients=clients, ping_interval=0.2, rebuild_after=0.5
        )
        task = asyncio.create_task(connection.run())
        await asyncio.wait_for(connection.wait_connected(), 10)
        assert connection.problem() is None
        slack.faults.add("http_500", "apps.connections.open", times=3)
        slack.faults.add("drop_socket")
        await asyncio.wait_for(connection.wait_lost(), 10)
        assert "not connected to Slack" in (connection.problem() or "")
        assert connection.problem(longer_than=60) is None
        await asyncio.wait_for(connection.wait_connected(), 20)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_bad_app_token_ends_the_start_with_the_reason(slack: SlackWorkspace, tmp_path: Path) -> None:
    async with slack_clients(settings_for(slack, tmp_path)) as clients:
        clients.app.token = "xapp-wrong"
        connection = SocketConnection(app=AsyncApp(client=clients.web), clients=clients)
        with pytest.raises(SlackRefused, match="invalid_auth"):
            await connection.run()


async def test_a_user_group_is_asked_once_in_five_minutes(slack: SlackWorkspace, tmp_path: Path) -> None:
    now = 0.0
    async with slack_clients(settings_for(slack, tmp_path)) as clients:
        groups = UserGroups(clients.web, clock=lambda: now)
        both = await asyncio.gather(groups("S0APPROVE"), groups("S0APPROVE"))
        assert both[0] == both[1] == {"U0BOB"}
        slack.user_groups["S0APPROVE"] = SlackUserGroup("S0APPROVE", "approvers", "Approvers", ("U0CAROL",))
        now = 299.0
        assert await groups("S0APPROVE") == {"U0BOB"}
        now = 301.0
        assert await groups("S0APPROVE") == {"U0CAROL"}
        assert sum(call.method == "usergroups.users.list" for call in slack.calls) == 2


async def test_nobody_may_approve_while_slack_does_not_tell_who_may(slack: SlackWorkspace, tmp_path: Path) -> None:
    async with running_bot(slack, tmp_path) as bot:
        card = await bot.upgrade_waiting()
        slack.faults.add("http_500", "usergroups.users.list", times=9)
        await slack.click("bob", "ops", card.ts, "run_approve")
        await bot.says_to("U0BOB", "does not tell who is in the user group")
        assert not (await bot.desk.runs("prod"))[0].approvals


async def test_slacks_errors_are_told_apart(slack: SlackWorkspace, tmp_path: Path) -> None:
    async with slack_clients(settings_for(slack, tmp_path)) as clients:
        with pytest.raises(SlackRefused) as refused:
            await call("chat.postMessage", clients.web.chat_postMessage(channel="C0NOBOT", text="x"))
        assert refused.value.code == "not_in_channel"
        slack.faults.add("ratelimited", "chat.postMessage", retry_after=7)
        with pytest.raises(Temporary) as limited:
            await call("chat.postMessage", clients.web.chat_postMessage(channel="C0OPS", text="x"))
        assert limited.value.retry_after == 7
        for kind in ("http_500", "answer_lost"):
            slack.faults.add(kind, "chat.postMessage")
            with pytest.raises(Temporary):
                await call("chat.postMessage", clients.web.chat_postMessage(channel="C0OPS", text="x"))
        clients.web.token = "xoxb-wrong"
        with pytest.raises(SlackRefused) as bad:
            await call("auth.test", clients.web.auth_test())
        assert bad.value.token_is_bad


async def test_channel_names_are_asked_once(slack: SlackWorkspace, tmp_path: Path) -> None:
    async with slack_clients(settings_for(slack, tmp_path)) as clients:
        names = ChannelNames(clients.web)
        assert [await names.name("C0INC42") for _ in range(2)] == ["inc-42", "inc-42"]
        assert await names.name("C0NOWHERE") is None
        assert sum(call.method == "conversations.info" for call in slack.calls) == 2


async def test_a_channels_name_is_asked_again_after_a_while_and_kept_when_slack_does_not_tell(
    slack: SlackWorkspace, tmp_path: Path
) -> None:
    now = 0.0
    async with slack_clients(settings_for(slack, tmp_path)) as clients:
        names = ChannelNames(clients.web, ttl=300, clock=lambda: now)
        for moment, asked in ((0.0, 1), (299.0, 1), (301.0, 2)):
            now = moment
            assert await names.name("C0INC42") == "inc-42"
            assert sum(call.method == "conversations.info" for call in slack.calls) == asked
        now = 700.0
        slack.faults.add("ratelimited", "conversations.info", times=3, retry_after=1)
        assert await names.name("C0INC42") == "inc-42", "Slack's bad day holds up no emergency"


async def test_an_answer_to_an_expired_url_is_given_up_at_once(slack: SlackWorkspace, tmp_path: Path) -> None:
    async with slack_clients(settings_for(slack, tmp_path)) as clients:
        assert not await Responder(clients.session).answer(f"{slack.url}/hooks/none", SlackMessage("late"))
