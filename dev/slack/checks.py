"""Checks of one call's arguments, each a refusal under Slack's own error name."""

from __future__ import annotations

import time
from typing import Any

from dev.slack.blocks import ALL_BLOCKS_TEXT, MESSAGE_TEXT, block_problems, text_length
from dev.slack.inbound import Inbound
from dev.slack.mirror import Mirror
from dev.slack.model import BOT_USER_ID, Json, Limits


class Refusal(Exception):
    """Slack's answer ``{"ok": false, "error": …}`` with what else belongs in it."""

    def __init__(self, error: str, **more: Any) -> None:
        super().__init__(error)
        self.body: Json = {"ok": False, "error": error, **more}


def check_message(method: str, args: Json, limits: Limits, mirror: Mirror) -> None:
    """Text and blocks of a message that is posted or changed, and whether it can be."""
    if not (args.get("text") or args.get("blocks") or args.get("attachments")):
        raise Refusal("no_text")
    if limits.sizes:
        if problems := block_problems(args.get("blocks")):
            plain = [problem.removeprefix("[ERROR] ") for problem in problems]
            raise Refusal("invalid_blocks", errors=plain, response_metadata={"messages": problems})
        if text_length(args.get("blocks")) > ALL_BLOCKS_TEXT:
            raise Refusal("msg_blocks_too_long")
        if len(args.get("text") or "") > MESSAGE_TEXT:
            raise Refusal("msg_too_long")
    channel = mirror.channel_id(str(args.get("channel"))) or ""
    if method == "chat.update":
        message = mirror.message(channel, str(args.get("ts")))
        if message is None or message.ephemeral_to:
            raise Refusal("message_not_found")
        if message.user != BOT_USER_ID:
            raise Refusal("cant_update_message")
    if method == "chat.postEphemeral":
        members = mirror.channels.get(channel, {}).get("members")
        if members is not None and args.get("user") not in members:
            raise Refusal("user_not_in_channel")


def check_trigger(trigger_id: Any, limits: Limits, inbound: Inbound) -> None:
    """A trigger opens one modal within its lifetime."""
    if limits.trigger_lifetime is None:
        return
    trigger = inbound.triggers.get(str(trigger_id))
    if trigger is None:
        raise Refusal("invalid_trigger_id")
    if trigger.used:
        raise Refusal("exchanged_trigger_id")
    if time.monotonic() - trigger.born > limits.trigger_lifetime:
        raise Refusal("expired_trigger_id")
    trigger.used = True


def check_view_hash(method: str, args: Json, mirror: Mirror) -> None:
    """views.update with the hash of an older state is refused."""
    view = mirror.modals.find(args) if method == "views.update" else None
    if view and args.get("hash") and args["hash"] != view["hash"]:
        raise Refusal("hash_conflict")
