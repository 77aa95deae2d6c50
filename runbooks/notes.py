"""What migration notes add to a plan: a checklist for people, and steps around the upgrade, as facts.

A fact (``migration_steps``) is made into a step of the run by ``runbooks.expansion``, so that a run that is taken up again, or
goes on with another version of the bot, does what was approved.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from bot.diff.changelog import as_version
from bot.diff.migrations import MigrationNote, NoteStep, version_of
from bot.engine.contract import Json

_LONGEST_TITLE = 80  # of a runbook's step
_NOT_IN_AN_ID = re.compile(r"[^a-z0-9]+")


def checklist(notes: Iterable[MigrationNote]) -> list[dict[str, str]]:
    """What a person has to do by hand, in the order of the notes: ``id``, ``when``, ``text``, ``version``."""
    return [
        {"id": name, "when": step.when, "text": str(step.text), "version": note.to}
        for note, step, name in _numbered(notes)
        if step.uses is None
    ]


def steps(notes: Iterable[MigrationNote]) -> list[dict[str, Json]]:
    """What the runbook does, in the order of the notes: ``id``, ``when``, ``uses``, ``with``, ``title``, ``version``."""
    found = []
    for note, step, name in _numbered(notes):
        if step.uses is not None:
            more = {"timeout": step.timeout, "on_failure": step.on_failure, "title": _title(step)}
            found.append(
                {"id": name, "when": step.when, "uses": step.uses, "with": step.with_, "version": note.to}
                | {key: value for key, value in more.items() if value is not None}
            )
    return found


def database_reversible(notes: Sequence[MigrationNote], *, low: str, versions: Sequence[str]) -> bool | None:
    """Whether the database can go back over these ``versions`` to ``low``; None where the notes do not say it of every step.

    That nobody wrote anything down is no promise.
    """
    told = [(note, note.database) for note in notes if note.database is not None]
    if any(not database.reversible for _, database in told):
        return False
    steps = [(as_version(one), as_version(other)) for one, other in pairwise((low, *versions))]
    covered = [
        one is not None
        and other is not None
        and any(version_of(note.from_) <= one and other <= version_of(note.to) for note, _ in told)
        for one, other in steps
    ]
    return True if covered and all(covered) else None


def _numbered(notes: Iterable[MigrationNote]) -> Iterator[tuple[MigrationNote, NoteStep, str]]:
    """Each step with an id that stays the same as long as the note's list does."""
    for note in notes:
        version = _NOT_IN_AN_ID.sub("-", note.to.lower()).strip("-")[:24]
        for number, step in enumerate(note.steps, start=1):
            yield note, step, f"note-{version}-{number}"


def _title(step: NoteStep) -> str | None:
    if step.text is None:
        return None
    return step.text if len(step.text) <= _LONGEST_TITLE else step.text[: _LONGEST_TITLE - 1] + "…"
