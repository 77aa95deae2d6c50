"""response_url as in Slack: five uses in thirty minutes, ephemeral by default, replies stay in the thread."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import web

from dev.slack.blocks import MESSAGE_TEXT, block_problems
from dev.slack.inbound import Inbound
from dev.slack.model import Json, Limits


class Hooks:
    """Answers posts to a response_url."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        upstream: str,
        inbound: Inbound,
        limits: Callable[[], Limits],
        post: Callable[[str, Json], Awaitable[Json]],
    ) -> None:
        self._session = session
        self._upstream = upstream
        self._inbound = inbound
        self._limits = limits
        self._post = post

    async def handle(self, request: web.Request) -> web.Response:
        """One use of a response_url."""
        limits = self._limits()
        known = self._inbound.response_urls.get(request.match_info["id"])
        if known is None or time.monotonic() - known.born > limits.response_url_lifetime:
            return _refused("expired_url", 404)
        if known.uses >= limits.response_url_uses:
            return _refused("used_url", 404)
        body: Json = await request.json()
        if error := _body_error(body, limits):
            return _refused(error, 400)
        known.uses += 1
        if body.get("thread_ts") and not (body.get("replace_original") or body.get("delete_original")):
            # local-slack's own hook loses thread_ts.
            method = "chat.postMessage" if body.get("response_type") == "in_channel" else "chat.postEphemeral"
            said: Json = {key: body[key] for key in ("text", "blocks", "thread_ts") if key in body}
            await self._post(method, {**said, "channel": known.channel, "user": known.user})
            return web.Response(text="ok")
        body.setdefault("response_type", "ephemeral")
        url = f"{self._upstream}{request.path}"
        async with self._session.post(url, json=body) as answer:
            return web.Response(status=answer.status, text=await answer.text() or "ok")


def _body_error(body: Json, limits: Limits) -> str | None:
    if body.get("delete_original"):
        return None
    if not (body.get("text") or body.get("blocks") or body.get("attachments")):
        return "no_text"
    if limits.sizes and block_problems(body.get("blocks")):
        return "invalid_blocks"
    if limits.sizes and len(body.get("text") or "") > MESSAGE_TEXT:
        return "msg_too_long"
    return None


def _refused(error: str, status: int) -> web.Response:
    return web.json_response({"ok": False, "error": error}, status=status)
