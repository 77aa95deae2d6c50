"""What every version between says about itself, and the migration notes of the steps that are crossed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from bot.diff import values as diff_values
from bot.diff.changelog import ANNOTATION, Entry, most_urgent_first, parse_changes, versions_between
from bot.diff.migrations import MigrationNote, crossed, load_notes
from bot.engine.contract import CheckResult, Finding, PlanContext
from bot.errors import Evidence, Permanent, Temporary
from bot.redaction import redact
from runbooks.checks.findings import info, warning
from runbooks.reading import Reader, chart_version
from runbooks.text import counted, listed

MOST_BREAKING = 8
"""Findings on the card; the file has them all."""


class Changelog:
    """Reads changes and notes; breaking ones are warnings, the whole is a file. ``folders`` hold migration notes."""

    name: ClassVar[str] = "changelog"

    def __init__(self, *, folders: Sequence[Path] = ()) -> None:
        self._notes = tuple(note for folder in folders for note in load_notes(folder))

    async def check(self, context: PlanContext) -> CheckResult:
        """Adds no binding: the chart's digest covers what the chart says."""
        reader = Reader(context)
        chart, release = await reader.chart(), await reader.release()
        low, high = chart_version(release), chart.version
        written = {chart.version: str((chart.metadata.get("annotations") or {}).get(ANNOTATION) or "")}
        listing = ""
        try:
            offered = await reader.offered()
            written |= {one.version: one.annotations.get(ANNOTATION, "") for one in offered}
        except (Temporary, Permanent) as error:
            listing = f"Only the new version's own changes could be read: {error.message}"
        steps = versions_between(written, low, high)
        changes, unreadable = _read({version: written[version] for version in steps})
        notes = crossed(self._notes, chart=chart.name, low=low, high=high)
        findings = [
            *_breaking(changes, notes),
            *_from_notes(notes, (await reader.values()).values),
            *(warning(text) for text in ([listing] if listing else [])),
            *(
                warning(f"The changes of {version} cannot be read: they are written in a form that {why}.")
                for version, why in unreadable
            ),
            *_summary(changes, notes, low, high),
        ]
        count = sum(len(entries) for entries in changes.values())
        return CheckResult(
            findings=tuple(findings),
            facts={
                "changes": count,
                "versions_between": steps,
                "database_reversible": all(note.database.reversible for note in notes if note.database),
            },
            files=(Evidence(f"Changes {low} → {high}", redact(_written_out(changes, notes))),)
            if count or notes
            else (),
        )


def _read(written: dict[str, str]) -> tuple[dict[str, list[Entry]], list[tuple[str, str]]]:
    changes: dict[str, list[Entry]] = {}
    unreadable = []
    for version, annotation in written.items():
        try:
            changes[version] = most_urgent_first(parse_changes(annotation))
        except ValueError as error:
            unreadable.append((version, str(error)))
    return changes, unreadable


def _breaking(changes: dict[str, list[Entry]], notes: Iterable[MigrationNote]) -> list[Finding]:
    lines = [f"{version}: {entry.text}" for version, entries in changes.items() for entry in entries if entry.breaking]
    lines += [f"{note.to}: {text} (migration notes)" for note in notes for text in note.breaking]
    said = [warning(line) for line in lines[:MOST_BREAKING]]
    if len(lines) > MOST_BREAKING:
        said.append(warning(f"{counted(len(lines) - MOST_BREAKING, 'more breaking change')}: see the file of changes."))
    return said


def _from_notes(notes: Iterable[MigrationNote], values: dict[str, object]) -> list[Finding]:
    said = []
    for note in notes:
        if note.database and not note.database.reversible:
            said.append(
                warning(
                    f"{note.to}: the database cannot go back: {note.database.why}",
                    "Only the backup leads back; see that it is made.",
                )
            )
        for need in note.new_required:
            if diff_values.lookup(values, need.key.split(".")) is diff_values.ABSENT:
                said.append(
                    warning(
                        f"{note.to} needs {need.key}, which is not set: {need.text}",
                        f"Set {need.key} in the target's values.",
                    )
                )
        outdated = [(one.key, f"is deprecated: {one.text}") for one in note.deprecated]
        outdated += [(one.old, f"is now {one.new}. {one.text}") for one in note.renamed]
        for key, text in outdated:
            if diff_values.lookup(values, key.split(".")) is not diff_values.ABSENT:
                said.append(warning(f"{note.to}: {key} {text}".strip(), "Change it in the target's values."))
        said += [info(f"Before {note.to}: {text}") for text in note.before]
        said += [info(f"After {note.to}: {text}") for text in note.after]
    return said


def _summary(changes: dict[str, list[Entry]], notes: Sequence[MigrationNote], low: str, high: str) -> list[Finding]:
    said = []
    silent = [version for version, entries in changes.items() if not entries]
    count = sum(len(entries) for entries in changes.values())
    if count:
        said.append(
            info(f"{counted(count, 'change')} in {counted(len(changes) - len(silent), 'version')} (chart annotations).")
        )
    if silent:
        said.append(info(f"{listed(silent)} {'says' if len(silent) == 1 else 'say'} nothing about what changed."))
    if not notes:
        said.append(info(f"No migration notes found for {low} → {high}."))
    return said


def _written_out(changes: dict[str, list[Entry]], notes: Sequence[MigrationNote]) -> str:
    lines: list[str] = []
    for note in notes:
        lines += [f"Migration notes {note.from_} → {note.to} (source: {note.source})"]
        lines += [f"  BREAKING  {text}" for text in note.breaking]
        lines += [f"  required  {need.key}: {need.text}" for need in note.new_required]
        lines += [f"  renamed   {one.old} → {one.new} {one.text}".rstrip() for one in note.renamed]
        lines += [f"  deprecated {one.key}: {one.text}" for one in note.deprecated]
        lines += [f"  before    {text}" for text in note.before]
        lines += [f"  after     {text}" for text in note.after]
        if note.database:
            lines += [f"  database  {'can' if note.database.reversible else 'cannot'} go back: {note.database.why}"]
        lines += [""]
    for version, entries in reversed(changes.items()):
        lines += [f"{version} (source: the chart's {ANNOTATION})"]
        lines += [f"  {entry}" for entry in entries] or ["  (nothing written)"]
        lines += [""]
    return "\n".join(lines).rstrip() + "\n"
