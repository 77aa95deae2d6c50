"""What answers need of Slack: a dialog opened by a click's trigger and changed, a word to one person, a message's address."""

from __future__ import annotations

from typing import Any

from slack_sdk.web.async_client import AsyncWebClient

from bot.errors import Temporary
from bot.slack.calls import SlackRefused, call
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

    async def link(self, channel: str, ts: str) -> str | None:
        """The address of a message; None when Slack does not tell it now."""
        try:
            asked = self._client.api_call(
                "chat.getPermalink", http_verb="GET", params={"channel": channel, "message_ts": ts}
            )
            answer = await call("chat.getPermalink", asked)
        except (SlackRefused, Temporary):
            return None
        return str(answer.get("permalink") or "") or None

    async def whisper(self, channel: str, user: str, message: SlackMessage) -> None:
        """Says something in a channel that only one person sees."""
        body = {"channel": channel, "user": user, **message.payload()}
        await call("chat.postEphemeral", self._client.api_call("chat.postEphemeral", json=body))
