"""Reports: what runs, what ran before, what could run. Read-only; the outcome is the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar

from pydantic import BaseModel

from bot.diff.changelog import (
    ANNOTATION,
    as_version,
    has_security_updates,
    is_prerelease,
    most_urgent_first,
    parse_changes,
)
from bot.engine.contract import Facts, Outcome, Repeat, StepContext, as_typed
from bot.errors import BotError, Permanent, Temporary
from bot.helm.charts import ChartVersion
from bot.helm.models import StoredRelease
from bot.redaction import redact
from bot.services.checkup import take_report
from bot.services.health import HealthReport
from bot.store.records import RunRecord
from runbooks.components import Release, from_to, held_since, past_of
from runbooks.reading import above, chart_version, newest_upgrade, same_version, stored_releases, workloads
from runbooks.steps.common import Params, ReadingStep
from runbooks.steps.verify import checkup_of
from runbooks.text import Section, counted, listed, section, table, when

LONGEST_LINE = 160


class StatusReport(ReadingStep):
    """The release's revision and state, its workloads, its servers, and whether there is something newer."""

    name: ClassVar[str] = "report.status"
    title: ClassVar[str] = "Status"
    timeout: ClassVar[timedelta] = timedelta(minutes=1)
    params: ClassVar[type[BaseModel]] = Params

    async def run(self, context: StepContext, params: Params, intent: Facts) -> Outcome:
        """What cannot be read, but for the release itself, is said in the report."""
        clients, target = context.clients, context.target
        release = await clients.releases.current()
        refs = tuple(await workloads(release, target.namespace))
        report, newer, (held, names), holders = await asyncio.gather(
            take_report(clients.cluster, clients.access, checkup_of(target, refs, traffic=False)),
            _newer(context, release),
            _held(context),
            context.holders(),
        )
        good = sum(one.healthy for one in report.workloads)
        healthy = good == len(report.workloads) and all(one.ready for one in report.servers)
        state = f"revision {release.revision} {release.status.value}"
        count = counted(len(report.workloads), "workload")
        word = f"{count} healthy" if healthy else f"{len(report.workloads) - good} of {count} not healthy"
        if not healthy and good == len(report.workloads):
            word = (
                f"{sum(not one.ready for one in report.servers)} of {counted(len(report.servers), 'server')} not ready"
            )
        return Outcome(
            summary=f"{target.name}: {chart_version(release)}, {state}, {word}{names}.",
            facts={
                "report": [
                    *_release(release),
                    *_under_way(holders),
                    *held,
                    *_health(report),
                    section("Newer versions", newer),
                ],
                "healthy": healthy,
            },
            warning=not healthy or bool(held) or release.status.value != "deployed",
        )


def _under_way(holders: Sequence[RunRecord]) -> list[Section]:
    """Who holds the target: a change, an emergency, or both."""
    lines = [
        f"`{run.id}` {as_typed(run.runbook)} is {run.state.value.replace('_', ' ')}, asked by <@{run.requested_by}>"
        for run in holders
    ]
    return [section("Under way", "\n".join(lines))] if lines else []


class VersionsReport(ReadingStep):
    """What the chart's source offers, newest first. Somebody waits for the answer and can ask again: it is tried once."""

    name: ClassVar[str] = "report.versions"
    title: ClassVar[str] = "Versions"
    repeat: ClassVar[Repeat] = Repeat.NEVER
    timeout: ClassVar[timedelta] = timedelta(minutes=1)
    params: ClassVar[type[BaseModel]] = Params

    async def run(self, context: StepContext, params: Params, intent: Facts) -> Outcome:
        """Raises ``Permanent`` where a source cannot list its versions (OCI)."""
        offered, releases = await asyncio.gather(
            context.clients.repository.versions(), stored_releases(context.clients)
        )
        current = chart_version(releases[-1]) if releases else ""
        rows = [(one.version, _kind(one, current), when(one.created)[:10], _headline(one)) for one in offered]
        newer = above(offered, current)
        pre = sum(is_prerelease(one.version, one.annotations) for one in newer)
        newest = newest_upgrade(offered, current)
        runs = f"{current} runs; " if current else ""
        name = context.clients.repository.source.name or "the chart"
        told = f"newest upgrade {newest.version}" if newest else "there is no newer one"
        reach = counted(len(newer) - pre, "version") + (f" and {counted(pre, 'pre-release')}" if pre else "")
        return Outcome(
            summary=f"{counted(len(offered), 'version')} of {name}; {runs}{told}."
            + (f" {reach} can be reached from here." if current and newer else ""),
            facts={"report": [table("Versions", ("Version", "", "Published", "Changes"), rows)]},
        )


async def _held(context: StepContext) -> tuple[list[dict[str, object]], str]:
    """What an emergency left down, as a part of the report and as the end of its summary."""
    try:
        components, past = await asyncio.gather(Release.read(context), past_of(context.past))
    except BotError as error:
        return [section("Held down", f"Could not be read: {error.message}")], ""
    down = [one for one in components.down(past) if not one.back]
    lines = [
        f"`{one.member.component}` {from_to(one.member.workload, one.note.replicas, one.level)}, {held_since(one.note)} "
        f"by <@{one.note.by}> (run {one.note.run})"
        for one in down
    ]
    names = listed(list(dict.fromkeys(one.member.component for one in down)))
    return ([section("Held down", "\n".join(lines))], f", held down: {names}") if down else ([], "")


async def _newer(context: StepContext, release: StoredRelease) -> str:
    try:
        newer = above(await context.clients.repository.versions(), chart_version(release))
    except (Temporary, Permanent, BotError) as error:
        return f"Could not be read: {error.message}"
    stable = [one.version for one in newer if not is_prerelease(one.version, one.annotations)]
    return listed(stable) if stable else "None."


def _kind(one: ChartVersion, current: str) -> str:
    """What a version is from here: what runs, an upgrade, or older; and what the chart says of it."""
    found, now = as_version(one.version), as_version(current)
    place = "runs now" if same_version(one.version, current) else ""
    if not place and found and now:
        place = "upgrade" if found > now else "older"
    marks = (
        ("pre-release", is_prerelease(one.version, one.annotations)),
        ("security updates", has_security_updates(one.annotations)),
        ("deprecated", one.deprecated),
    )
    return ", ".join([*([place] if place else []), *(word for word, true in marks if true)])


def _headline(one: ChartVersion) -> str:
    """The most urgent change in one line, and how many there are besides."""
    try:
        entries = most_urgent_first(parse_changes(one.annotations.get(ANNOTATION, "")))
    except ValueError:
        return "(changes cannot be read)"
    if not entries:
        return "–"
    text = redact(str(entries[0]))
    cut = text if len(text) <= LONGEST_LINE else text[: LONGEST_LINE - 1] + "…"
    return cut if len(entries) == 1 else f"{cut} (+{len(entries) - 1})"


def _release(release: StoredRelease) -> list[dict[str, object]]:
    chart = release.chart
    rows = [
        ("Chart", f"{chart.name} {chart.version}" if chart else "–"),
        ("App version", chart.app_version if chart and chart.app_version else "–"),
        ("Revision", f"{release.revision} ({release.status.value})"),
        ("Deployed", when(release.last_deployed)),
        ("Description", redact(release.description) or "–"),
    ]
    return [table("Release", ("", ""), rows)]


def _health(report: HealthReport) -> list[dict[str, object]]:
    rows = [
        (
            one.name,
            f"{one.ready}/{one.desired}",
            "healthy" if one.healthy else redact("; ".join(one.problems)) or "not ready",
        )
        for one in report.workloads
    ]
    sections: list[dict[str, object]] = [table("Workloads", ("Workload", "Pods", "State"), rows)]
    if report.servers:
        told = [
            (
                one.pod,
                "yes" if one.ready else "no",
                one.version or "–",
                redact("; ".join((*one.complaints, one.error)).strip("; ")),
            )
            for one in report.servers
        ]
        sections.append(table("Servers", ("Pod", "Ready", "Version", ""), told))
    return sections
