"""A fresh Slack workspace for each test, and the real clients that talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from slack_sdk.web.async_client import AsyncWebClient

from dev.slack import SlackWorkspace
from dev.toolchain import Toolchain


@pytest.fixture(scope="session")
def local_slack() -> Path:
    """The local-slack program."""
    return Toolchain().path("local-slack")


@pytest.fixture
async def slack(local_slack: Path) -> AsyncIterator[SlackWorkspace]:
    """A workspace as strict as Slack."""
    async with SlackWorkspace.running(program=local_slack) as workspace:
        yield workspace


@pytest.fixture
def client(slack: SlackWorkspace) -> AsyncWebClient:
    """slack_sdk's client with the bot's token, and without retries."""
    return AsyncWebClient(token=slack.bot_token, base_url=slack.api_url, retry_handlers=[])


@pytest.fixture
def client_with(slack: SlackWorkspace) -> Callable[[str | None], AsyncWebClient]:
    """Makes slack_sdk's client with another token."""
    return lambda token: AsyncWebClient(token=token, base_url=slack.api_url, retry_handlers=[])
