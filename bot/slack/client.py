"""Builds the Slack clients. The settings decide where Slack is; one HTTP session serves all calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from slack_sdk.web.async_client import AsyncWebClient

from bot.settings import Settings

_ANSWER_WITHIN = 10  # seconds


@dataclass(frozen=True)
class SlackClients:
    """``web`` acts under the bot's token; ``app`` only opens Socket Mode connections; ``session`` for response URLs."""

    web: AsyncWebClient
    app: AsyncWebClient
    session: aiohttp.ClientSession


@asynccontextmanager
async def slack_clients(settings: Settings) -> AsyncIterator[SlackClients]:
    """The clients, closed on the way out. They repeat nothing by themselves: see ``bot.slack.calls``."""
    secrets = settings.secrets
    timeout = aiohttp.ClientTimeout(
        total=_ANSWER_WITHIN
    )  # with a session of its own, slack_sdk's timeout does not count
    async with aiohttp.ClientSession(timeout=timeout) as session:

        def client(token: str | None) -> AsyncWebClient:
            return AsyncWebClient(
                token=token,
                base_url=settings.slack_api_url,
                timeout=_ANSWER_WITHIN,
                session=session,
                retry_handlers=[],
                user_agent_prefix="aeterna-bot",
            )

        app_token = secrets.app_token.get_secret_value() if secrets.app_token else None
        yield SlackClients(client(secrets.bot_token.get_secret_value()), client(app_token), session)
