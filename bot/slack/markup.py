"""Other people's text made safe for Slack's mrkdwn, and texts cut without breaking it.

Two ways in: ``literal`` shows a text as it was written and lets nothing in it act; ``prose`` is for the bot's own
sentences, which may quote others, name people (``<@U1>``), give times (``<!date^…>``) and have code spans.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

# Slack has no escape for these, so they are replaced by signs that look alike. Zero-width characters would not do:
# Slack takes them as the word boundary that formatting needs.
_ACTING = str.maketrans({"*": "∗", "~": "∼", "`": "ˋ"})
_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # inside a word it formats nothing
_QUOTE = re.compile(r"^(\s*)>+", re.MULTILINE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b\u200c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_OURS = re.compile(r"<@[UW][A-Z0-9]{1,20}>|<!date\^\d{1,12}\^[^<>|^]{1,80}\|[^<>|]{1,60}>|<#C[A-Z0-9]{1,20}>|`[^`\n]+`")
_GROUP = re.compile(r"S[A-Z0-9]{1,20}")
INDENT = "\u2003\u2002"
"""The width of a sign and a space at the start of a line; plain spaces would collapse."""
_ENTITY_TAIL = re.compile(r"&[a-z]{0,3}$|<[^<>]*$")


def entities(text: str) -> str:
    """The three characters that Slack wants as entities; control and direction characters go."""
    clean = _CONTROL.sub("", text)
    return clean.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def literal(text: str) -> str:
    """Others' text, shown as it is: no mention, link, format, code or quotation in it takes effect."""
    quoted = _QUOTE.sub(r"\1›", _CONTROL.sub("", text))
    return entities(_UNDERSCORE.sub("ˍ", quoted.translate(_ACTING)))


def group(name: str) -> str:
    """Calls everybody of a user group, by its id; nothing for what is none. Text never does, whoever wrote it."""
    return f"<!subteam^{name}>" if _GROUP.fullmatch(name) else ""


def prose(text: str) -> str:
    """The bot's own sentence: as ``literal``, but naming people and channels, times and code spans work."""
    parts: list[str] = []
    end = 0
    for match in _OURS.finditer(text):
        parts.append(literal(text[end : match.start()]))
        found = match[0]
        parts.append(f"`{entities(found[1:-1])}`" if found[0] == "`" else found)
        end = match.end()
    return "".join([*parts, literal(text[end:])])


def code(text: str) -> str:
    """A code span on one line."""
    inside = " ".join(entities(text).replace("`", "ˋ").split())
    return f"`{inside}`" if inside else "` `"


def cut(text: str, limit: int, *, end: str = "…") -> str:
    """At most ``limit`` characters; what is cut ends in ``end``, never inside an entity or a mention."""
    if len(text) <= limit:
        return text
    kept = _ENTITY_TAIL.sub("", text[: max(0, limit - len(end))])
    if kept.count("`") % 2:
        kept = kept[: kept.rindex("`")]
    return (kept.rstrip() + end)[:limit]


def one_line(text: str, limit: int) -> str:
    """The text's first line with something in it (not yet escaped), cut to ``limit``."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return cut(" ".join(first.split()), limit)


def tail(text: str, *, characters: int, lines: int) -> tuple[str, int]:
    """The last whole lines that fit, and how many lines stand before them."""
    every = text.rstrip("\n").split("\n")
    kept: list[str] = []
    used = 0
    for line in reversed(every[-lines:]):
        used += len(line) + 1
        if used > characters:
            break
        kept.append(line)
    if not kept:
        kept = [every[-1][-characters:]]
    return "\n".join(reversed(kept)), len(every) - len(kept)


def preformatted(text: str) -> str:
    """A block of code. Slack ends one at the first three backticks, so there are none inside."""
    return f"```\n{entities(text).replace('`', 'ˋ')}\n```"


def moment(at: datetime, *, form: str = "{time}") -> str:
    """A time in the reader's own zone; the fallback for screen readers is UTC."""
    return f"<!date^{int(at.timestamp())}^{form}|{at:%Y-%m-%d %H:%M} UTC>"


def duration(span: timedelta) -> str:
    """``0.4 s``, ``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    seconds = max(0.0, span.total_seconds())
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    hours, rest = divmod(whole // 60, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
