"""Versions of charts: reading one that a person typed, ordering them, finding the nearest to one that does
not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rapidfuzz import fuzz
from semver import Version

from bot.errors import UserMistake

_LONGEST = 100


def parse_version(text: str) -> Version:
    """Read a version as a person types it: ``0.2.1``, ``v0.2.1``, ``0.8.0-rc.4``.

    Raises `UserMistake` with an example for anything else, an incomplete version included: guessing a patch
    number is not ours.
    """
    cleaned = text.strip().removeprefix("v")
    if not cleaned:
        raise UserMistake("A version is missing.", way_out="Write one like `0.2.1`.")
    shown = cleaned if len(cleaned) <= _LONGEST else cleaned[:_LONGEST] + "…"
    shown = re.sub(r"[`\s\x00-\x1f]+", " ", shown)
    if len(cleaned) > _LONGEST or not Version.is_valid(cleaned):
        example = re.match(r"\d+(\.\d+)?$", cleaned)
        hint = f"{cleaned}{'.0' * (2 - cleaned.count('.'))}" if example and cleaned.isascii() else "0.2.1"
        raise UserMistake(
            f"`{shown}` is not a version.", way_out=f"Write three numbers, like `{hint}` or `0.3.0-rc.1`."
        )
    return Version.parse(cleaned)


def newest_first(versions: Iterable[str]) -> list[str]:
    """The versions by semantic versioning, newest first; what is not a version comes last, by its text."""

    def key(text: str) -> tuple[bool, Version, str]:
        cleaned = text.removeprefix("v")
        valid = Version.is_valid(cleaned)
        return (valid, Version.parse(cleaned) if valid else Version(0), text)

    return sorted(versions, key=key, reverse=True)


def nearest(wanted: str, versions: Iterable[str], *, count: int = 3) -> list[str]:
    """Up to ``count`` of ``versions`` that a person most likely meant, the likeliest first (a newer one
    before an older).
    """
    ordered = newest_first(versions)
    score = {text: fuzz.ratio(wanted.removeprefix("v"), text.removeprefix("v")) for text in ordered}
    return sorted(ordered, key=lambda text: -score[text])[:count]
