"""A channel as readable plain text: who said and did what, cards with their [Buttons], threads indented.

What is shown is the last state of every message; commands and clicks stand where they happened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from dev.slack.mirror import Mirror
from dev.slack.model import BOT_NAME, BOT_USER_ID, Json, Message

_MENTION = re.compile(r"<@([A-Z0-9]+)>")
_DATE = re.compile(r"<!date\^[^|>]+\|([^>]+)>")
_LINK = re.compile(r"<(https?://[^|>]+)(?:\|([^>]+))?>")


def transcript(mirror: Mirror, channel: str) -> str:
    """The channel from its first message on."""
    messages = mirror.messages(channel)
    known = {message.ts for message in messages}
    lines: list[tuple[int, str]] = [
        (done.order, f"{_name(mirror, done.user)}: {done.text}")
        for done in mirror.happenings
        if done.channel == channel
    ]
    for message in messages:
        if message.thread_ts in known and message.thread_ts != message.ts:
            continue
        replies = [m for m in messages if m.thread_ts == message.ts and m.ts != message.ts]
        parts = [
            _message(mirror, message),
            *(_indent(_message(mirror, reply), "    ↳ ") for reply in replies),
        ]
        lines.append((mirror.order(message), "\n".join(parts)))
    return "\n".join(text for _, text in sorted(lines))


def shown(mirror: Mirror, blocks: Iterable[Json]) -> str:
    """What a message or a modal shows as it is now, without who said it."""
    return _plain("\n".join(_blocks(blocks)), mirror)


def _message(mirror: Mirror, message: Message) -> str:
    who = _name(mirror, message.user)
    if message.ephemeral_to:
        who += f" (only to {_name(mirror, message.ephemeral_to)})"
    body = "\n".join(_blocks(message.blocks)) or message.text
    files = [f"[file {file.get('name', file['id'])}, {file.get('size', '?')} bytes]" for file in message.files]
    said = _plain("\n".join([body, *files] if body else files), mirror)
    if "\n" in said:
        return f"{who}:\n{_indent(said, '  ')}"
    return f"{who}: {said}"


def _blocks(blocks: Iterable[Json]) -> Iterable[str]:
    for block in blocks:
        match block["type"]:
            case "header":
                yield f"── {block['text']['text']} ──"
            case "section":
                if "text" in block:
                    yield block["text"]["text"]
                yield from (field["text"].replace("\n", ": ") for field in block.get("fields", ()))
                if "accessory" in block:
                    yield _element(block["accessory"])
            case "context":
                yield " · ".join(part.get("text", "(image)") for part in block["elements"])
            case "actions":
                yield " ".join(_element(element) for element in block["elements"])
            case "divider":
                yield "─" * 12
            case "input":
                yield f"{block['label']['text']}: {_element(block['element'])}"
            case other:
                yield f"({other})"


def _element(element: Json) -> str:
    if element["type"] == "button":
        return f"[{element['text']['text']}]"
    choices = " | ".join(option["text"]["text"] for option in element.get("options", ()))
    return f"[{choices} ▾]" if choices else f"({element['type']})"


def _plain(text: str, mirror: Mirror) -> str:
    text = _MENTION.sub(lambda match: f"@{_name(mirror, match[1])}", text)
    text = _LINK.sub(lambda match: match[2] or match[1], text)
    text = _DATE.sub(lambda match: match[1], text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _indent(text: str, first: str) -> str:
    return first + text.replace("\n", "\n" + " " * len(first))


def _name(mirror: Mirror, user: str) -> str:
    if user == BOT_USER_ID:
        return BOT_NAME
    return str(mirror.users.get(user, {}).get("name", user))
