"""What goes into the thread of a card: a short text with the end of each piece of evidence, and the whole as files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.slack import report, words
from bot.slack.markup import code, cut, group, literal, preformatted, prose, tail
from bot.slack.render import Page, SlackMessage

_INLINE_CHARACTERS = 1_200
_INLINE_LINES = 15
_INLINE_ESCAPED = 2_000
_PIECES = 6
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}\.(?:json|diff|patch|ya?ml|md|txt|log|csv)")


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


def reply(body: Mapping[str, Any]) -> Reply | None:
    """From an outbox body ``{"text", "evidence": [{"title", "text"}]}``; what is cut says so and comes as a file.

    ``groups`` are the user groups that the message calls. Evidence whose title is a file's name (``plan.json``) always comes as
    that file. With a ``report`` the whole of it comes as a file when its card cannot show it all; None when the card does, and
    there is nothing else to say.
    """
    text = str(body.get("text") or "")
    evidence: list[Mapping[str, Any]] = list(body.get("evidence") or ())
    if isinstance(parts := body.get("report"), list):
        if (written := report.whole(parts)) is not None:
            evidence.append({"title": report.FILE, "text": written})
        if not evidence:
            return None
    page = Page(rest="The whole text is in the file below.")
    called = " ".join(group(name) for name in body.get("groups") or ())
    page.section(f"{prose(text)} {called}".strip())
    files: list[File] = []
    if len(text) > 2_800:
        files.append(File("message.txt", "The whole message", text))
    pieces: list[tuple[int, str, str]] = []
    for number, piece in enumerate(evidence):
        title, whole = str(piece.get("title") or "Evidence"), str(piece.get("text") or "")
        if _FILE_NAME.fullmatch(title):
            files.append(File(_unused(title, files), title, whole))
        else:
            pieces.append((number, title, whole.rstrip("\n")))
    if named := [file.name for file in files if file.name != "message.txt"]:
        page.small("📎 " + ", ".join(code(name) for name in named))
    for place, (number, title, whole) in enumerate(pieces):
        shown = _shown(whole)
        name = _file_name(title, number)
        if shown != whole or place >= _PIECES:
            files.append(File(name, cut(title, 120), whole))
        if place < _PIECES:
            before = words.count(whole.count("\n") - shown.count("\n"), "line")
            note = "" if shown == whole else f" · the end of it, {before} before: {literal(name)}"
            page.section(f"*{literal(cut(title, 150))}*{note}")
            page.section(preformatted(shown) if shown.strip() else "")
    if len(pieces) > _PIECES:
        page.small(f"{words.count(len(pieces) - _PIECES, 'more piece')} of evidence: see the files below.")
    spoken = cut(text, 300) or (str(evidence[0].get("title")) if evidence else "")
    return Reply(page.message(prose(spoken)), tuple(files))


def _shown(text: str) -> str:
    """The end of a text that fits into a block, escaped."""
    shown, _ = tail(text, characters=_INLINE_CHARACTERS, lines=_INLINE_LINES)
    while len(preformatted(shown)) > _INLINE_ESCAPED:
        shown = shown[len(shown) // 10 + 1 :]
    return shown


def _unused(name: str, files: Sequence[File]) -> str:
    """The name, or with a number where it is taken: the upload knows a file by its name."""
    taken = {file.name for file in files}
    numbered = (f"{number}-{name}" for number in range(2, len(files) + 3))
    return name if name not in taken else next(one for one in numbered if one not in taken)


def _file_name(title: str, number: int) -> str:
    plain = re.sub(r"[^a-z0-9.-]+", "-", title.lower()).strip("-.")[:50]
    return f"{number + 1}-{plain or 'evidence'}.txt"
