"""What an emergency stops or brings back, as lines: the same on the card and in the dialog that confirms it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.slack import words
from bot.slack.markup import INDENT, code, cut, literal, prose

HEADINGS = (("stops", "What stops working"), ("starts", "What comes back"))
"""Facts of a plan: lists of ``component``, ``text``, ``impact`` and ``optional``."""


def lines(facts: Mapping[str, Any], *, most: int) -> list[str]:
    """At most ``most`` objects of each list; what is left out is counted. The same impact is said once in a row."""
    return [line for fact, heading in HEADINGS for line in _listed(facts.get(fact), heading, most)]


def _listed(entries: Any, heading: str, most: int) -> list[str]:
    if not isinstance(entries, list) or not entries:
        return []
    found = [f"*{heading}*"]
    said = ""
    for one in entries[:most]:
        impact = str(one.get("impact") or "")
        more = f"\n{INDENT}{prose(cut(impact, 300))}" if impact and impact != said else ""
        said = impact
        found.append(f"• {code(str(one.get('component')))} {literal(cut(str(one.get('text') or ''), 200))}{more}")
    if len(entries) > most:
        found.append(f"… and {words.count(len(entries) - most, 'more object')}: `plan.json` in the card's thread")
    return found
