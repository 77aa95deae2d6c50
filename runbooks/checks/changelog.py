"""What every version between says about itself, and the migration notes of the steps that are crossed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

from bot.diff import values as diff_values
from bot.diff.migrations import MigrationNote
from bot.diff.values import ABSENT, split
from bot.engine.contract import CheckResult, Facts, Finding, PlanContext
from bot.errors import Evidence, Permanent, Temporary
from bot.redaction import redact
from runbooks import notes as migration_notes
from runbooks.changes import Changes, collect, written_out
from runbooks.checks.findings import info, warning
from runbooks.reading import Reader, chart_version
from runbooks.text import counted, listed

MOST_BREAKING = 8
"""Findings on the card; the file has them all."""
MOST_SILENT = 5
_LONGEST = 300  # characters of one breaking change on the card


class Changelog:
    """Reads changes and notes; breaking ones are warnings, the whole is a file. ``notes`` are migration notes."""

    name: ClassVar[str] = "changelog"

    def __init__(self, *, notes: Sequence[MigrationNote] = ()) -> None:
        self._notes = tuple(notes)

    async def check(self, context: PlanContext) -> CheckResult:
        """Binds the approval to the steps and the checklist that notes add; the chart's digest covers what the chart says."""
        reader = Reader(context)
        chart, release = await reader.chart(), await reader.release()
        trouble = []
        try:
            offered = await reader.offered()
        except (Temporary, Permanent) as error:
            offered = ()
            trouble.append(
                f"Only the new chart's own words could be read, not those of the versions between: {error.message}"
            )
        changes = await collect(
            low=chart_version(release),
            high=chart.version,
            chart=chart,
            offered=offered,
            notes=self._notes,
            name=chart.name,
            pages=context.clients.notes,
            trouble=trouble,
        )
        added = {
            "checklist": migration_notes.checklist(changes.notes),
            "migration_steps": migration_notes.steps(changes.notes),
        }
        return CheckResult(
            findings=(
                *_breaking(changes),
                *_from_notes(changes.notes, (await reader.values()).values),
                *(warning(redact(text)) for text in changes.trouble),
                *_summary(changes),
            ),
            facts={**_facts(changes), **added},
            bindings={"migration notes": context.clients.fingerprints.digest(added)} if any(added.values()) else {},
            files=(Evidence(f"changes-{changes.low}-{changes.high}.txt", written_out(changes)),)
            if changes.told or changes.notes
            else (),
        )


def _facts(changes: Changes) -> Facts:
    return {
        "changes": len(changes.told),
        "breaking": len(changes.breaking),
        "versions_between": list(changes.versions),
        "database_reversible": migration_notes.database_reversible(
            changes.notes, low=changes.low, versions=changes.versions
        ),
    }


def _breaking(changes: Changes) -> list[Finding]:
    found = changes.breaking
    said = []
    for one in found[:MOST_BREAKING]:
        text = one.entry.text if len(one.entry.text) <= _LONGEST else one.entry.text[: _LONGEST - 1] + "…"
        told = redact(str(replace(one, entry=replace(one.entry, text=text))))
        said.append(replace(warning(told), code="changes.breaking", subject=one.version))
    if len(found) > MOST_BREAKING:
        rest = counted(len(found) - MOST_BREAKING, "more breaking change")
        said.append(warning(f"{rest}: see the file of changes."))
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
            if diff_values.lookup(values, split(need.key)) is ABSENT:
                said.append(
                    warning(
                        f"{note.to} needs {need.key}, which is not set: {need.text}",
                        f"Set {need.key} in the target's values.",
                    )
                )
        outdated = [(one.key, f"is deprecated: {one.text}") for one in note.deprecated]
        outdated += [(one.old, f"is now {one.new}. {one.text}") for one in note.renamed]
        for key, text in outdated:
            if diff_values.lookup(values, split(key)) is not ABSENT:
                said.append(warning(f"{note.to}: {key} {text}".strip(), "Change it in the target's values."))
        for step in note.steps:
            who = "by the runbook" if step.uses else "by hand"
            said.append(info(f"{step.when.capitalize()} {note.to}, {who}: {step.text or step.uses}"))
    return said


def _summary(changes: Changes) -> list[Finding]:
    said = []
    if changes.told:
        versions = counted(len({one.version for one in changes.told}), "version")
        said.append(info(f"{counted(len(changes.told), 'change')} in {versions} ({listed(changes.sources)})."))
    if changes.security:
        said.append(info(f"Security updates in {listed(changes.security)}."))
    between = [version for version in changes.prereleases if version != changes.high]
    if between:
        said.append(info(f"Pre-releases between: {listed(between)}."))
    silent = changes.silent
    if silent:
        rest = len(silent) - MOST_SILENT
        more = f" and {counted(rest, 'more step')}" if rest > 0 else ""
        said.append(info(f"No notes found for {', '.join(silent[:MOST_SILENT])}{more}."))
    if not changes.notes:
        said.append(info(f"No migration notes found for {changes.low} → {changes.high}."))
    return said
