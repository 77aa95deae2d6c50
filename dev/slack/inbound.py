"""What local-slack hands to the bot, made right on its way: addresses, response URLs, triggers, ephemerals.

Both ways to the bot (Socket Mode and HTTP) pass their payloads through here, once each.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from dev.slack.mirror import Mirror
from dev.slack.model import Json


@dataclass
class ResponseUrl:
    """What a response_url belongs to, and how often it was used."""

    channel: str
    user: str
    born: float
    uses: int = 0


@dataclass
class Trigger:
    """A trigger_id: opens one modal, for a short time."""

    born: float
    used: bool = False


class Inbound:
    """Rewrites payloads and remembers the response URLs and triggers in them."""

    def __init__(self, *, upstream: str, public: str, mirror: Mirror) -> None:
        self._upstream = upstream
        self._public = public
        self._mirror = mirror
        self.response_urls: dict[str, ResponseUrl] = {}
        self.triggers: dict[str, Trigger] = {}

    def prepare(self, kind: str, payload: Json) -> Json:
        """The payload as the bot gets it. ``kind`` is the envelope's type."""
        prepared: Json = json.loads(json.dumps(payload).replace(self._upstream, self._public))
        now = time.monotonic()
        user = prepared.get("user", {}).get("id") if kind == "interactive" else prepared.get("user_id")
        channel = prepared.get("channel", {}).get("id") if kind == "interactive" else prepared.get("channel_id")
        if url := prepared.get("response_url"):
            self.response_urls[url.rsplit("/", 1)[1]] = ResponseUrl(channel or "", user or "", now)
        if trigger := prepared.get("trigger_id"):
            self.triggers[trigger] = Trigger(now)
        if prepared.get("type") == "block_actions":
            self._complete_container(prepared)
        if isinstance(prepared.get("view"), dict):
            prepared["view"] = self._mirror.modals.as_kept(prepared["view"])
        if kind != "events_api":
            self._mirror.happened(channel=channel or "", user=user or "", text=_done(kind, prepared))
        return prepared

    def _complete_container(self, payload: Json) -> None:
        """Slack says where the message stands; of an ephemeral one it sends no text."""
        container = payload["container"]
        message = self._mirror.message(container["channel_id"], container["message_ts"])
        if message and message.thread_ts:
            container["thread_ts"] = message.thread_ts
        if message and message.ephemeral_to:
            container["is_ephemeral"] = True
            payload.pop("message", None)


def ack_with_default_type(kind: str, answer: Any) -> Any:
    """An ack's own text is ephemeral unless it says otherwise; local-slack would show it to all."""
    if kind != "slash_commands" or not answer:
        return answer
    said = {"text": answer} if isinstance(answer, str) else dict(answer)
    return {"response_type": "ephemeral", **said}


def _done(kind: str, payload: Json) -> str:
    if kind == "slash_commands":
        return f"{payload['command']} {payload['text']}".strip()
    if payload["type"] == "block_actions":
        action = payload["actions"][0]
        label = (action.get("text") or {}).get("text") or action.get("action_id")
        chosen = (action.get("selected_option") or {}).get("text", {}).get("text")
        return f"presses [{label}]" + (f" → {chosen}" if chosen else "")
    title = payload.get("view", {}).get("title", {}).get("text", "")
    return f"{payload['type'].replace('_', ' ')} “{title}”"
