"""Small pieces of text that checks and steps share: times, ages, lists, report sections."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

Section = dict[str, Any]


def section(title: str, text: str) -> Section:
    """One part of a report: a title and plain text."""
    return {"title": title, "text": text}


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> Section:
    """One part of a report: rows of text, the first of them the header."""
    return {"title": title, "rows": [list(header), *(list(row) for row in rows)]}


def when(moment: datetime | None) -> str:
    """``2026-03-09 09:00 UTC``, or a dash."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if moment else "–"


def lasted(span: timedelta) -> str:
    """``42 s``, ``3 min 5 s``, ``2 h 4 min``, ``5 days``."""
    seconds = max(0, round(span.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return counted(seconds // 86_400, "day")


def counted(number: int, what: str) -> str:
    """``1 pod``, ``3 pods``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def listed(items: Sequence[str], *, most: int = 8) -> str:
    """``a, b, c and 4 more``."""
    shown = ", ".join(items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"


def size(number: int) -> str:
    """``512 B``, ``3.2 MiB``."""
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
