"""What an image's tag says about the server in it."""

from __future__ import annotations

import re
from typing import Final

_MARKS: Final = re.compile(r"-(no-such-image|crash|hook-fails|test-fails|never-ready|not-ready)\b.*")
"""Marks by which the charts tell the throwaway cluster and the stand-ins what goes wrong."""


def version_of(tag: str) -> str:
    """The version that a server with this image tag reports: ``v0.2.9-not-ready`` is 0.2.9."""
    return _MARKS.sub("", tag.removeprefix("v"))


def says_not_ready(tag: str) -> bool:
    """Whether the tag asks for a server whose /ready answers 503 in a Ready pod."""
    return "not-ready" in tag
