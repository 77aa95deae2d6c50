"""What an emergency stops or brings back, as lines: the same on the card and in the dialog that confirms it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from bot.slack import words
from bot.slack.markup import INDENT, code, cut, literal, moment, prose

HEADINGS = (("stops", "What stops working"), ("starts", "What comes back"))
"""Facts of a plan: lists of ``component``, ``text``, ``impact`` and ``optional``."""
_DONE = (("stops", "Taken down"), ("starts", "Brought back"))


def lines(facts: Mapping[str, Any], *, most: int) -> list[str]:
    """At most ``most`` objects of each list; what is left out is counted. The same impact is said once in a row."""
    return [line for fact, heading in HEADINGS for line in _listed(facts.get(fact), heading, most)]


def done(facts: Mapping[str, Any], *, most: int, excepted: Collection[str], at: datetime) -> list[str]:
    """The same afterwards, without what was left alone; ``at`` is since when it is so."""
    found = []
    for fact, heading in _DONE:
        entries = [one for one in facts.get(fact) or () if str(one.get("component")) not in excepted]
        found += _listed(entries, f"{heading} at {moment(at)}", most)
    return found


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
