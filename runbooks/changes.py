"""What happened between two versions of the chart, from every source that there is, and what none of them could say.

Sources: the charts' annotations, the changelogs inside the newer chart, migration notes, release notes behind an address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from semver import Version

from bot.diff.changefiles import entries, from_files
from bot.diff.changelog import (
    ANNOTATION,
    Told,
    as_version,
    entry,
    has_security_updates,
    is_prerelease,
    most_urgent_first,
    parse_changes,
    versions_between,
)
from bot.diff.migrations import MigrationNote, crossed, version_of
from bot.errors import BotError
from bot.helm.charts import ChartVersion, PulledChart
from bot.redaction import redact
from bot.services.release_notes import ReleaseNotes
from runbooks.text import counted, listed

ANNOTATIONS: Final = "chart annotations"
NOTES: Final = "migration notes"
RELEASE_NOTES: Final = "release notes"
MOST_PAGES: Final = 20
"""Release notes that are fetched for one answer, the newest versions first."""
AT_ONCE: Final = 4
SECONDS: Final = 30.0
"""For all release notes together."""


@dataclass(frozen=True)
class Changes:
    """``versions`` above ``low`` up to ``high``, oldest first. ``trouble`` are sentences on what could not be read."""

    low: str
    high: str
    versions: tuple[str, ...]
    told: tuple[Told, ...]
    notes: tuple[MigrationNote, ...]
    trouble: tuple[str, ...] = ()
    security: tuple[str, ...] = ()
    prereleases: tuple[str, ...] = ()

    @property
    def breaking(self) -> list[Told]:
        """Breaking changes, oldest version first; the same words from two sources count once."""
        noted = [Told(note.to, NOTES, entry(text, breaking=True)) for note in self.notes for text in note.breaking]
        found: dict[tuple[Version, str], Told] = {}
        for one in (*self.told, *noted):
            if one.entry.breaking:
                found.setdefault((version_of(one.version), one.entry.text.lower()), one)
        return [one for _, one in sorted(found.items(), key=lambda item: item[0][0])]

    @property
    def silent(self) -> list[str]:
        """The steps about which no source says anything: ``0.4.0 → 0.4.1``."""
        spoken = {as_version(one.version) for one in self.told} | {as_version(note.to) for note in self.notes}
        return [
            f"{one} → {other}" for one, other in pairwise((self.low, *self.versions)) if as_version(other) not in spoken
        ]

    def of(self, version: str) -> list[Told]:
        """What is told of one version, most urgent first, the sources in their order."""
        mine = [one for one in self.told if as_version(one.version) == as_version(version)]
        order = {id(one): number for number, one in enumerate(most_urgent_first(one.entry for one in mine))}
        return sorted(mine, key=lambda one: (one.source, order[id(one.entry)]))

    @property
    def sources(self) -> list[str]:
        """Who said something, in the order of the sources."""
        return list(dict.fromkeys([*(one.source for one in self.told), *([NOTES] if self.notes else [])]))


async def collect(
    *,
    low: str,
    high: str,
    chart: PulledChart | None,
    offered: Sequence[ChartVersion],
    notes: Iterable[MigrationNote],
    name: str,
    pages: ReleaseNotes | None = None,
    trouble: Iterable[str] = (),
) -> Changes:
    """Everything that is known. ``chart`` is that of ``high``, where it could be had; ``trouble`` what went wrong before."""
    annotations: dict[str, Mapping[str, str]] = {one.version: one.annotations for one in offered}
    if chart is not None:
        own = chart.metadata.get("annotations")
        annotations[chart.version] = {str(k): str(v) for k, v in own.items()} if isinstance(own, Mapping) else {}
    written = from_files(chart.files) if chart is not None else {}
    in_files = [str(version) for found in written.values() for version in found]
    between = versions_between([*in_files, high, *annotations], low, high)
    told, said = _annotated(between, annotations)
    for path, found in written.items():
        source = f"{path.rpartition('/')[2]} in the chart"
        told += [Told(version, source, one) for version in between for one in found.get(version_of(version), ())]
    fetched, missed = await _fetched(pages, between)
    marked = {version: annotations.get(version, {}) for version in between}
    return Changes(
        low=low,
        high=high,
        versions=tuple(between),
        told=(*told, *fetched),
        notes=tuple(crossed(notes, chart=name, low=low, high=high)),
        trouble=(*trouble, *said, *missed),
        security=tuple(version for version, given in marked.items() if has_security_updates(given)),
        prereleases=tuple(version for version, given in marked.items() if is_prerelease(version, given)),
    )


def _annotated(between: Sequence[str], annotations: Mapping[str, Mapping[str, str]]) -> tuple[list[Told], list[str]]:
    told: list[Told] = []
    said: list[str] = []
    for version in between:
        try:
            found = parse_changes(annotations.get(version, {}).get(ANNOTATION, ""))
        except ValueError as error:
            said.append(f"The changes of {version} cannot be read: they are written in a form that {error}.")
            continue
        told += [Told(version, ANNOTATIONS, one) for one in most_urgent_first(found)]
    return told, said


async def _fetched(pages: ReleaseNotes | None, versions: Sequence[str]) -> tuple[list[Told], list[str]]:
    if pages is None or pages.template is None:
        return [], []
    wanted, gate = list(versions)[-MOST_PAGES:], asyncio.Semaphore(AT_ONCE)
    left_out = [f"The release notes of {counted(len(versions) - len(wanted), 'older version')} were not fetched."]
    found: dict[str, str | None] = {}
    missed: dict[str, str] = {}

    async def one(version: str) -> None:
        async with gate:
            try:
                found[version] = await pages.of(version)
            except BotError as error:
                missed[version] = error.message

    try:
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*(one(version) for version in wanted))
    except TimeoutError:
        late = f"The release notes could not be read from {pages.host} in {SECONDS:.0f} s."
        missed |= {version: late for version in wanted if version not in found and version not in missed}
    source = f"{RELEASE_NOTES}, {pages.host}"
    told = [Told(version, source, one) for version in wanted for one in entries(found.get(version) or "")]
    said = left_out if len(wanted) < len(versions) else []
    if missed:
        first = next(version for version in wanted if version in missed)
        rest = [version for version in wanted if version in missed and version != first]
        said.append(missed[first] + (f" Nor could those of {listed(rest)}." if rest else ""))
    return told, said


def written_out(changes: Changes) -> str:
    """Everything as one text: breaking changes first, then the migration notes in order, then the versions, newest first."""
    lines: list[str] = [f"Changes {changes.low} → {changes.high}", ""]
    if changes.breaking:
        lines += ["BREAKING", *(f"  {one}" for one in changes.breaking), ""]
    lines += [f"Could not be read: {one}" for one in changes.trouble] + ([""] if changes.trouble else [])
    for note in changes.notes:
        lines += [*_note(note), ""]
    for version in reversed(changes.versions):
        marks = [
            word
            for word, of in (("pre-release", changes.prereleases), ("security updates", changes.security))
            if version in of
        ]
        lines.append(f"{version}{f' ({listed(marks)})' if marks else ''}")
        source = ""
        for one in changes.of(version):
            if one.source != source:
                source = one.source
                lines.append(f"  source: {source}")
            lines.append(f"    {'BREAKING  ' if one.entry.breaking else ''}{one.entry}")
        lines += ["    (no source says anything)"] * (not changes.of(version)) + [""]
    lines += [f"No notes found for {step}." for step in changes.silent]
    return redact("\n".join(lines).rstrip() + "\n")


def _note(note: MigrationNote) -> list[str]:
    lines = [f"{note.named}", f"  source: {NOTES} ({note.source})"]
    lines += [f"    BREAKING    {text}" for text in note.breaking]
    lines += [f"    required    {need.key}: {need.text}" for need in note.new_required]
    lines += [f"    renamed     {one.old} → {one.new} {one.text}".rstrip() for one in note.renamed]
    lines += [f"    deprecated  {one.key}: {one.text}" for one in note.deprecated]
    for step in note.steps:
        done_by = f"the runbook does {step.uses}" if step.uses else "by hand"
        lines.append(f"    {step.when:<10}  {step.text or step.uses} ({done_by})")
    if note.database:
        lines.append(f"    database    {'can' if note.database.reversible else 'cannot'} go back: {note.database.why}")
    return lines
