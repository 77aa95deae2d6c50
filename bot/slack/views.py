"""What a dialog needs of Slack: opened by a click's trigger, changed while it is open, and a word to one person after it."""

from __future__ import annotations

from typing import Any

from slack_sdk.web.async_client import AsyncWebClient

from bot.slack.calls import call
from bot.slack.render import SlackMessage

Json = dict[str, Any]


class Views:
    """Web API calls with wrapped errors (``bot.slack.calls.call``); nothing is repeated here."""

    def __init__(self, client: AsyncWebClient) -> None:
        self._client = client

    async def open(self, trigger: str, view: Json) -> str:
        """The opened view's id. Slack takes a trigger once, within three seconds of the click."""
        body = {"trigger_id": trigger, "view": view}
        answer = await call("views.open", self._client.api_call("views.open", json=body))
        return str(answer["view"]["id"])

    async def change(self, view_id: str, view: Json) -> None:
        """Replaces an open view."""
        body = {"view_id": view_id, "view": view}
        await call("views.update", self._client.api_call("views.update", json=body))

    async def whisper(self, channel: str, user: str, message: SlackMessage) -> None:
        """Says something in a channel that only one person sees."""
        body = {"channel": channel, "user": user, **message.payload()}
        await call("chat.postEphemeral", self._client.api_call("chat.postEphemeral", json=body))
