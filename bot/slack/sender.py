"""The four things that the poster does in Slack: post, edit, upload, and tell one person."""

from __future__ import annotations

from typing import Any

from slack_sdk.web.async_client import AsyncWebClient

from bot.slack.calls import call
from bot.slack.render import SlackMessage
from bot.slack.thread import File


class Sender:
    """Web API calls with wrapped errors (``bot.slack.calls.call``); nothing is repeated here."""

    def __init__(self, client: AsyncWebClient) -> None:
        self._client = client
        self._uploaded: dict[str, set[str]] = {}

    async def post(
        self,
        channel: str,
        message: SlackMessage,
        *,
        client_msg_id: str | None,
        thread_ts: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> str:
        """The new message's ``ts``. The same ``client_msg_id`` again answers with the first message."""
        body: dict[str, Any] = {"channel": channel, "text": message.text, "unfurl_links": False, "unfurl_media": False}
        if message.blocks:
            body["blocks"] = list(message.blocks)
        for name, value in (("client_msg_id", client_msg_id), ("thread_ts", thread_ts), ("metadata", metadata)):
            if value is not None:
                body[name] = value
        answer = await call("chat.postMessage", self._client.api_call("chat.postMessage", json=body))
        return str(answer["ts"])

    async def edit(self, channel: str, ts: str, message: SlackMessage) -> None:
        """Replaces text and blocks of a message of ours."""
        body = {"channel": channel, "ts": ts, "text": message.text, "blocks": list(message.blocks)}
        await call("chat.update", self._client.api_call("chat.update", json=body))

    async def link(self, channel: str, ts: str) -> str:
        """The address of a message."""
        asked = self._client.api_call(
            "chat.getPermalink", http_verb="GET", params={"channel": channel, "message_ts": ts}
        )
        return str((await call("chat.getPermalink", asked)).get("permalink") or "")

    async def upload(self, key: str, file: File, *, channel: str, thread_ts: str) -> None:
        """Puts a text file into a thread; one that this process has put there under ``key`` is not put again."""
        done = self._uploaded.setdefault(key, set())
        if file.name in done:
            return
        upload = self._client.files_upload_v2(
            filename=file.name, title=file.title, content=file.content or " ", channel=channel, thread_ts=thread_ts
        )
        await call("files.completeUploadExternal", upload)
        done.add(file.name)

    def forget(self, key: str) -> None:
        """The message of ``key`` is complete."""
        self._uploaded.pop(key, None)
