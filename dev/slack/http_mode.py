"""HTTP mode towards the bot: what local-slack posts is signed anew and posted until the bot answers 2xx.

As in Slack a repeat carries X-Slack-Retry-Num and X-Slack-Retry-Reason; unlike Slack the waits between tries
are short, and commands and clicks are repeated like events.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any
from urllib.parse import parse_qsl, urlencode

import aiohttp
from aiohttp import web
from slack_sdk.signature import SignatureVerifier

from dev.slack.inbound import Inbound, ack_with_default_type
from dev.slack.mirror import Changes
from dev.slack.model import SIGNING_SECRET, Delivery, Json
from dev.slack.sockets import TRIES

_ANSWER_WITHIN = 3.0  # Slack waits three seconds


class HttpMode:
    """Stands between local-slack and the bot's request URL."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        inbound: Inbound,
        changes: Changes,
        request_url: str,
        redeliver_after: float,
        deliveries: list[Delivery],
    ) -> None:
        self._session = session
        self._inbound = inbound
        self._changes = changes
        self._request_url = request_url
        self._redeliver_after = redeliver_after
        self._deliveries = deliveries

    async def handle(self, request: web.Request) -> web.Response:
        """One delivery by local-slack; answers it with what the bot said, or 502 when no try succeeded."""
        kind, payload = _read(request.content_type, await request.text())
        payload = self._inbound.prepare(kind, payload)
        body, content_type = _write(kind, payload)
        envelope_id = str(uuid.uuid4())
        reason = ""
        for attempt in range(TRIES):
            delivery = Delivery(envelope_id, kind, attempt, 0, time.monotonic(), payload)
            self._deliveries.append(delivery)
            answer, reason = await self._post(body, _headers(body, content_type, attempt, reason))
            if not reason:
                delivery.acked = time.monotonic()
                self._changes.report()
                return web.json_response(ack_with_default_type(kind, answer)) if answer else web.Response()
            await asyncio.sleep(self._redeliver_after)
        return web.Response(status=502, text=reason)

    async def _post(self, body: str, headers: dict[str, str]) -> tuple[Any, str]:
        """The bot's answer and no reason, or nothing and Slack's name for what went wrong."""
        timeout = aiohttp.ClientTimeout(total=_ANSWER_WITHIN)
        try:
            async with self._session.post(
                self._request_url, data=body.encode(), headers=headers, timeout=timeout
            ) as answer:
                text = await answer.text()
                if answer.status >= 300:
                    return None, "http_error"
        except TimeoutError:
            return None, "http_timeout"
        except aiohttp.ClientError:
            return None, "connection_failed"
        try:
            return json.loads(text), ""
        except ValueError:
            return text, ""


def _read(content_type: str, body: str) -> tuple[str, Json]:
    if content_type == "application/json":
        return "events_api", json.loads(body)
    form = dict(parse_qsl(body, keep_blank_values=True))
    if "payload" in form:
        return "interactive", json.loads(form["payload"])
    return "slash_commands", form


def _write(kind: str, payload: Json) -> tuple[str, str]:
    if kind == "events_api":
        return json.dumps(payload), "application/json"
    form = {"payload": json.dumps(payload)} if kind == "interactive" else payload
    return urlencode(form), "application/x-www-form-urlencoded"


def _headers(body: str, content_type: str, attempt: int, reason: str) -> dict[str, str]:
    timestamp = str(int(time.time()))
    signature = SignatureVerifier(SIGNING_SECRET).generate_signature(timestamp=timestamp, body=body)
    headers = {
        "Content-Type": content_type,
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": signature or "",
    }
    if attempt:
        headers |= {"X-Slack-Retry-Num": str(attempt), "X-Slack-Retry-Reason": reason}
    return headers
