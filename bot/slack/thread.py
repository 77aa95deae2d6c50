"""What goes into the thread of a card: a short text with the end of each piece of evidence, and the whole as files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.slack import words
from bot.slack.markup import cut, literal, preformatted, prose, tail
from bot.slack.render import Page, SlackMessage

_INLINE_CHARACTERS = 1_200
_INLINE_LINES = 15
_INLINE_ESCAPED = 2_000
_PIECES = 6


@dataclass(frozen=True)
class File:
    """A text file for the thread."""

    name: str
    title: str
    content: str


@dataclass(frozen=True)
class Reply:
    """One message for the thread and the files that follow it."""

    message: SlackMessage
    files: tuple[File, ...] = ()


def reply(body: Mapping[str, Any]) -> Reply:
    """From an outbox body ``{"text", "evidence": [{"title", "text"}]}``; what is cut says so and comes as a file."""
    text = str(body.get("text") or "")
    evidence: Sequence[Mapping[str, Any]] = body.get("evidence") or ()
    page = Page(rest="The whole text is in the file below.")
    page.section(prose(text))
    files: list[File] = []
    if len(text) > 2_800:
        files.append(File("message.txt", "The whole message", text))
    for number, piece in enumerate(evidence):
        title, whole = str(piece.get("title") or "Evidence"), str(piece.get("text") or "").rstrip("\n")
        shown = _shown(whole)
        name = _file_name(title, number)
        if shown != whole or number >= _PIECES:
            files.append(File(name, cut(title, 120), whole))
        if number < _PIECES:
            before = words.count(whole.count("\n") - shown.count("\n"), "line")
            note = "" if shown == whole else f" · the end of it, {before} before: {literal(name)}"
            page.section(f"*{literal(cut(title, 150))}*{note}")
            page.section(preformatted(shown) if shown.strip() else "")
    if len(evidence) > _PIECES:
        page.small(f"{words.count(len(evidence) - _PIECES, 'more piece')} of evidence: see the files below.")
    spoken = cut(text, 300) or (str(evidence[0].get("title")) if evidence else "")
    return Reply(page.message(prose(spoken)), tuple(files))


def _shown(text: str) -> str:
    """The end of a text that fits into a block, escaped."""
    shown, _ = tail(text, characters=_INLINE_CHARACTERS, lines=_INLINE_LINES)
    while len(preformatted(shown)) > _INLINE_ESCAPED:
        shown = shown[len(shown) // 10 + 1 :]
    return shown


def _file_name(title: str, number: int) -> str:
    plain = re.sub(r"[^a-z0-9.-]+", "-", title.lower()).strip("-.")[:50]
    return f"{number + 1}-{plain or 'evidence'}.txt"
