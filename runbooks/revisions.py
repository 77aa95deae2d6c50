"""What a release's history tells: which revision is good to go back to, and which one is our own.

Judged by Helm's statuses and by what came after: a revision that somebody rolled back from was not good, whatever
Helm called it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bot.engine.contract import RunInfo
from bot.helm.models import Revision, Status
from bot.helm.releases import went_well

LABEL = "aeterna-bot-intent"
_ROLLBACK = re.compile(r"rollback to (\d+)", re.IGNORECASE)
_MARK = re.compile(r"aeterna-bot run (?P<run>[\w-]+): (?P<what>.*)", re.DOTALL)
_GOOD = (Status.DEPLOYED, Status.SUPERSEDED)


def mark(run: RunInfo, what: str) -> str:
    """The description that a revision of ours carries: ``aeterna-bot run r-1a2b: upgrade to 0.2.1``."""
    return f"aeterna-bot run {run.id}: {what}"


def labels(run: RunInfo, before: int) -> dict[str, str]:
    """The label of an upgrade of ours that saw ``before`` as the newest revision.

    Helm keeps it when an upgrade fails (the description it replaces), and copies it into later revisions; so it names the
    number that comes before its own, and proves nothing on any other revision.
    """
    return {LABEL: f"{run.id}.{before}"}


def is_ours(revision: Revision, run: RunInfo) -> bool:
    """Whether this revision was made by ``run``, by any of its attempts."""
    if revision.description.startswith(mark(run, "")):
        return True
    return revision.labels.get(LABEL) == f"{run.id}.{revision.revision - 1}"


def made_by(revision: Revision) -> str | None:
    """The run whose mark the revision carries; None where somebody else made it."""
    if match := _MARK.match(revision.description):
        return match["run"]
    run, _, before = revision.labels.get(LABEL, "").rpartition(".")
    return run if run and before == str(revision.revision - 1) else None


def purpose(revision: Revision) -> str:
    """Why it was made: our own words without the mark, else Helm's description."""
    match = _MARK.match(revision.description)
    return match["what"] if match else revision.description


def newest(history: Sequence[Revision]) -> Revision | None:
    """The revision with the highest number; only this one says how the release is."""
    return max(history, key=lambda revision: revision.revision, default=None)


def rolled_back_to(revision: Revision) -> int | None:
    """The revision that this one is a copy of, if it came from a rollback."""
    if revision.rollback_to:
        return revision.rollback_to
    match = _ROLLBACK.search(revision.description)
    return int(match[1]) if match else None


def good_revisions(history: Sequence[Revision]) -> list[Revision]:
    """The revisions worth going back to, newest first: good in Helm's eyes, never rolled back from, not what runs now."""
    by_number = {revision.revision: revision for revision in history}
    now = newest(history)
    if now is None:
        return []
    abandoned = {
        number
        for revision in history
        if (target := rolled_back_to(revision)) is not None
        for number in range(target + 1, revision.revision)
    }
    same = _origin(now.revision, by_number)
    return [
        by_number[number]
        for number in sorted(by_number, reverse=True)
        if number < now.revision
        and went_well(by_number[number])
        and number not in abandoned
        and (_origin(number, by_number) != same or now.status not in _GOOD)
    ]


def _origin(number: int, by_number: Mapping[int, Revision]) -> int:
    """The revision whose content this one has: itself, or through rollbacks an earlier one."""
    seen: set[int] = set()
    while number in by_number and number not in seen:
        seen.add(number)
        number = rolled_back_to(by_number[number]) or number
    return number
