"""Reports about a version that does not run yet: what changed up to it, and what it would change here. Read-only."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from bot.diff.migrations import MigrationNote
from bot.diff.schema_changes import compare_schemas
from bot.engine.contract import Check, Facts, Finding, Outcome, PlanContext, Shared, StepContext
from bot.errors import BotError, Evidence, Permanent
from bot.helm.charts import ChartVersion, PulledChart
from bot.redaction import redact
from runbooks.changes import Changes, collect, written_out
from runbooks.reading import Reader, chart_version, newest_upgrade, offer_of, stored_releases
from runbooks.steps.common import Params, ReadingStep
from runbooks.text import Section, counted, listed, section, table

MOST_LINES = 12
"""Of one part on the card; the file has them all."""
PARTS = ("values", "schema", "manifests")


class ChangelogParams(Params):
    """``range`` is ``FROM..TO``; without one, from what runs to the newest upgrade."""

    range: str | None = None


class ChangelogReport(ReadingStep):
    """What changed between two versions, from every source; breaking changes first, the whole as a file."""

    name: ClassVar[str] = "report.changelog"
    title: ClassVar[str] = "Changelog"
    timeout: ClassVar[timedelta] = timedelta(minutes=2)
    params: ClassVar[type[BaseModel]] = ChangelogParams

    def __init__(self, *, notes: Sequence[MigrationNote] = ()) -> None:
        self._notes = tuple(notes)

    async def run(self, context: StepContext, params: ChangelogParams, intent: Facts) -> Outcome:
        """Raises ``Permanent`` when there is no range to tell about."""
        offered, trouble = await _listed(context)
        low, high = await _range(context, params.range, offered)
        chart: PulledChart | None = None
        try:
            chart = await context.clients.repository.pull(offer_of(offered, high) or high, context.clients.charts)
        except BotError as error:
            trouble.append(f"The chart {high} itself could not be read: {error.message}")
        changes = await collect(
            low=low,
            high=high,
            chart=chart,
            offered=offered,
            notes=self._notes,
            name=chart.name if chart else context.clients.repository.source.name,
            pages=context.clients.notes,
            trouble=trouble,
        )
        count = counted(len(changes.versions), "version")
        breaking = counted(len(changes.breaking), "breaking change") if changes.breaking else "none of them breaking"
        return Outcome(
            summary=f"{low} → {high}: {count}, {counted(len(changes.told), 'change')}, {breaking}.",
            facts={"report": _changelog(changes)},
            evidence=(Evidence(f"Changes {low} → {high}", written_out(changes)),),
            warning=bool(changes.trouble),
        )


def _changelog(changes: Changes) -> list[Section]:
    said: list[Section] = []
    if changes.breaking:
        lines = [f"{one}" for one in changes.breaking]
        said.append(section("Breaking", _shortened(lines)))
    if changes.notes:
        rows = [(note.named, _note_in_short(note), note.source) for note in changes.notes]
        said.append(table("Migration notes", ("Step", "What", "Source"), rows))
    rows = [(version, *_version_in_short(changes, version)) for version in reversed(changes.versions)]
    said.append(table("Versions", ("Version", "Source", "Changes"), rows))
    if changes.trouble:
        said.append(section("Could not be read", _shortened(list(changes.trouble))))
    if changes.silent:
        said.append(section("No notes", _shortened([f"No notes found for {step}." for step in changes.silent])))
    return said


def _version_in_short(changes: Changes, version: str) -> tuple[str, str]:
    told = changes.of(version)
    if not told:
        return "", "no source says anything"
    urgent = sorted(told, key=lambda one: not one.entry.breaking)
    more = f" (+{len(told) - 1})" if len(told) > 1 else ""
    return listed(list(dict.fromkeys(one.source for one in told))), redact(str(urgent[0].entry))[:100] + more


def _note_in_short(note: MigrationNote) -> str:
    words = [
        counted(len(found), word)
        for found, word in (
            (note.breaking, "breaking change"),
            (note.new_required, "new required value"),
            (note.renamed, "renamed value"),
            (note.deprecated, "deprecated value"),
            (note.steps, "step"),
        )
        if found
    ]
    if note.database:
        words.append(f"the database {'can' if note.database.reversible else 'cannot'} go back")
    return ", ".join(words) or "nothing to do"


class DiffParams(Params):
    """``part`` is one of the three; without it, all of them."""

    part: Literal["values", "schema", "manifests"] | None = None


class DiffReport(ReadingStep):
    """What the version of the run's input would change: in the values, in their schema, in the manifests.

    ``values`` and ``manifests`` are the checks of a plan that compare these; what they find is the answer.
    """

    name: ClassVar[str] = "report.diff"
    title: ClassVar[str] = "Differences"
    timeout: ClassVar[timedelta] = timedelta(minutes=4)
    params: ClassVar[type[BaseModel]] = DiffParams

    def __init__(self, *, values: Check, manifests: Check) -> None:
        self._checks = {"values": values, "manifests": manifests}

    async def run(self, context: StepContext, params: DiffParams, intent: Facts) -> Outcome:
        """Raises what fetching the chart raises; what cannot be compared for another reason is said in the answer."""
        shared = Shared()
        workdir = Path(context.workdir) / "diff"
        await asyncio.to_thread(workdir.mkdir, exist_ok=True)
        plan = PlanContext(context.run, context.target, context.clients, workdir, shared)
        try:
            reader = Reader(plan)
            chart, release = await reader.chart(), await reader.release()
            wanted = [params.part] if params.part else list(PARTS)
            parts = [await self._part(name, plan, reader) for name in wanted]
        finally:
            await shared.close()
        return Outcome(
            summary=f"{chart_version(release)} → {chart.version}: {'; '.join(said for said, _, _ in parts)}.",
            facts={"report": [one for _, sections, _ in parts for one in sections]},
            evidence=tuple(file for _, _, files in parts for file in files),
        )

    async def _part(
        self, name: str, plan: PlanContext, reader: Reader
    ) -> tuple[str, list[Section], tuple[Evidence, ...]]:
        try:
            if name == "schema":
                return await _schema(reader)
            found = await self._checks[name].check(plan)
        except BotError as error:
            return f"{name} could not be compared", [section(name.capitalize(), error.message)], error.evidence
        text = _shortened([_finding(one) for one in found.findings]) or "Nothing to say."
        changed = [file for file in found.files if file.title == f"{name}.diff"]
        lines = sum(file.text.count("\n+") + file.text.count("\n-") for file in changed)
        said = f"{name}: {counted(lines, 'line')} of difference" if changed else f"{name}: no difference"
        return said, [section(name.capitalize(), text)], found.files


async def _schema(reader: Reader) -> tuple[str, list[Section], tuple[Evidence, ...]]:
    release, chart, given = await reader.release(), await reader.chart(), await reader.given()
    found = compare_schemas(
        release.chart_schema, chart.schema, old_defaults=release.chart_values, new_defaults=given.kept
    )
    if not found:
        return "schema: no difference", [section("Schema", "Neither the schema nor the defaults differ.")], ()
    breaking = sum(one.breaking for one in found)
    lines = [f"{'BREAKING: ' if one.breaking else ''}{one.sentence} ({_where(one.source)})" for one in found]
    said = f"schema: {counted(len(found), 'difference')}" + (f", {breaking} breaking" if breaking else "")
    evidence = Evidence("schema.diff", redact("\n".join(lines) + "\n"))
    return said, [section("Schema and defaults", redact(_shortened(lines)))], (evidence,)


def _where(source: str) -> str:
    return "the chart's schema" if source == "schema" else "the chart's values.yaml"


def _finding(one: Finding) -> str:
    sign = {"blocker": "⛔ ", "warning": "⚠️ "}.get(one.level.value, "")
    return f"{sign}{one.text}" + (f" {one.way_out}" if one.way_out else "")


def _shortened(lines: Sequence[str]) -> str:
    shown = [f"• {line}" for line in lines[:MOST_LINES]]
    if len(lines) > MOST_LINES:
        shown.append(f"… and {len(lines) - MOST_LINES} more, in the file in the thread.")
    return "\n".join(shown)


async def _listed(context: StepContext) -> tuple[list[ChartVersion], list[str]]:
    try:
        return await context.clients.repository.versions(), []
    except BotError as error:
        return [], [f"The versions between are not known: {error.message}"]


async def _range(context: StepContext, text: str | None, offered: Sequence[ChartVersion]) -> tuple[str, str]:
    if text:
        low, _, high = text.partition("..")
        return low, high
    releases: list[Any] = await stored_releases(context.clients)
    current = chart_version(releases[-1]) if releases else ""
    newest = newest_upgrade(offered, current)
    if not current or newest is None:
        what = "There is no release, so there is nothing to start from." if not current else f"{current} is the newest."
        raise Permanent(what, way_out="Name a range, like `changelog 0.1.0..0.2.1`.")
    return current, newest.version
