"""Migrations that ran since the target was deployed, and the word of notes and charts on whether the old version works with them.

``helm rollback`` runs no upgrade hooks, so what a migration did to the database stays. Helm writes into each revision when its
hooks ran and how they ended; their logs are there only as long as their pods are.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bot.diff.changelog import ANNOTATION, as_version, parse_changes, versions_between
from bot.diff.migrations import MigrationNote, crossed
from bot.engine.contract import Finding, Level, Past
from bot.errors import BotError, Evidence
from bot.helm.charts import ChartVersion
from bot.helm.models import Hook, StoredRelease
from bot.kube.cluster import Cluster
from bot.kube.objects import Json, moment, name_of
from bot.redaction import redact
from bot.store.records import PastStep, StepState
from runbooks.reading import chart_version
from runbooks.staying.found import DATABASE, MIGRATIONS, Stays, is_later, said
from runbooks.text import counted, lasted, when
from runbooks.wayback import WayBack

LOG_LINES = 20
MOST = 6
_EVENTS = {"pre-install", "post-install", "pre-upgrade", "post-upgrade"}
_JOB_NAME = "batch.kubernetes.io/job-name"
_ABOUT_DATA = re.compile(r"migrat|schema|database|going back|roll(ed|ing)? ?back|downgrade|restore", re.IGNORECASE)


@dataclass(frozen=True)
class Ran:
    """A hook that ran, and the revision that it ran for."""

    hook: Hook
    release: StoredRelease

    @property
    def subject(self) -> str:
        return f"{self.hook.kind}/{self.hook.name}"

    def __str__(self) -> str:
        hook, number = self.hook, self.release.revision
        took = f" after {lasted(hook.completed - hook.started)}" if hook.completed and hook.started else ""
        ended = {"Succeeded": f"succeeded{took}", "Failed": f"failed{took}"}.get(
            hook.phase, "has not ended, as far as Helm knows"
        )
        return f"{self.subject} ran for revision {number} ({chart_version(self.release)}) at {when(hook.started)} and {ended}"


def hooks_since(way: WayBack) -> list[Ran]:
    """Jobs and pods that ran as hooks of installs and upgrades after the target was deployed, oldest first; each run once.

    A revision made by a rollback carries its target's hooks with their old times, which do not count.
    """
    found: dict[tuple[str, object], Ran] = {}
    for release in way.later:
        for hook in release.hooks:
            if hook.kind in ("Job", "Pod") and set(hook.events) & _EVENTS and is_later(hook.started, way.since):
                found.setdefault((hook.name, hook.started), Ran(hook, release))
    return sorted(found.values(), key=lambda one: str(one.hook.started))


async def migrations(
    cluster: Cluster,
    way: WayBack,
    *,
    notes: Sequence[MigrationNote],
    past: Past,
    offered: Sequence[ChartVersion] = (),
) -> Stays:
    """What ran, with the tail of its log where a pod is left, and what notes and charts say about it."""
    ran = hooks_since(way)
    evidence, backups = await asyncio.gather(evidence_of(cluster, ran), past("postgres.backup"))
    back = _backup(backups, way)
    findings = [
        said(Level.WARNING, MIGRATIONS, f"{one}; what it changed stays.", subject=one.subject) for one in ran[:MOST]
    ]
    if len(ran) > MOST:
        findings.append(said(Level.WARNING, MIGRATIONS, f"And {counted(len(ran) - MOST, 'more hook')} ran since."))
    if not ran:
        findings.append(said(Level.INFO, MIGRATIONS, f"No migration hook has run since {way.named} was deployed."))
    findings += _words(way, notes, offered, back, migrated=bool(ran))
    return Stays(tuple(findings), evidence)


async def evidence_of(cluster: Cluster, ran: Sequence[Ran]) -> tuple[Evidence, ...]:
    """When each ran, how it ended, and the tail of its log where a pod is left."""
    logs = await asyncio.gather(*(_log(cluster, one) for one in ran))
    return tuple(
        Evidence(f"{one.subject} of revision {one.release.revision}", f"{one}.\n\n{log}")
        for one, log in zip(ran, logs, strict=True)
    )


def _words(
    way: WayBack, notes: Sequence[MigrationNote], offered: Sequence[ChartVersion], back: str, *, migrated: bool
) -> Iterable[Finding]:
    """The migration notes' word on the database, then the charts' own; that nobody says anything is said too."""
    low, high = chart_version(way.target), _highest(way)
    name = way.target.chart.name if way.target.chart else ""
    spoken = False
    for note in crossed(notes, chart=name, low=low, high=high):
        if note.database is None:
            continue
        spoken = True
        if note.database.reversible:
            text = f"{low} works with the database of {note.to}, says its migration note: {note.database.why}"
            yield said(Level.INFO, DATABASE, text, subject=note.to)
        else:
            text = f"The database cannot go back from {note.to}, says its migration note: {note.database.why}"
            yield said(Level.WARNING, DATABASE, text, subject=note.to, way_out=back)
    for version, text in _told_by_charts(offered, low, high):
        spoken = True
        yield said(Level.WARNING, DATABASE, f"{version} says of itself: {text}", subject=version, way_out=back)
    if migrated and not spoken and low != high:
        text = f"No note says whether {low} works with the database that {high} has migrated."
        yield said(Level.WARNING, DATABASE, text, subject=high, way_out=back)


def _highest(way: WayBack) -> str:
    """The newest chart version that ran since: its schema is the one that is there."""
    ours = [(found, chart_version(one)) for one in way.later if (found := as_version(chart_version(one)))]
    return max(ours)[1] if ours else chart_version(way.current)


def _told_by_charts(offered: Sequence[ChartVersion], low: str, high: str) -> list[tuple[str, str]]:
    """Breaking changes of the versions between that speak of data or of going back."""
    annotations = {one.version: one.annotations for one in offered}
    found = []
    for version in versions_between(list(annotations), low, high):
        try:
            entries = parse_changes(annotations[version].get(ANNOTATION, ""))
        except ValueError:
            continue  # an upgrade's plan says so; here it is only a missing word
        found += [(version, redact(one.text)) for one in entries if one.breaking and _ABOUT_DATA.search(one.text)]
    return found[:MOST]


def _backup(steps: Sequence[PastStep], way: WayBack) -> str:
    """The newest backup of ours from before the migrations: the way out that leads all the way back."""
    for one in steps:
        facts = (one.step.outcome or {}).get("facts") or {}
        ended = one.step.ended_at
        if one.step.state is not StepState.DONE or ended is None or not facts.get("backup"):
            continue
        later = [release.last_deployed for release in way.later if release.last_deployed]
        if later and ended <= min(later) + timedelta(minutes=1):
            return f"The backup {facts['backup']} of {when(ended)} is from before it (run `{one.run}`)."
    return "Only a backup from before it leads back, and I have made none since."


async def _log(cluster: Cluster, one: Ran) -> str:
    """The last lines of the hook's newest pod, or why there are none."""
    namespace = one.release.namespace
    try:
        if one.hook.kind == "Pod":
            return await cluster.pod_logs(namespace, one.hook.name, tail_lines=LOG_LINES) or "Its log is empty."
        pods = await cluster.list("v1", "Pod", namespace, f"{_JOB_NAME}={one.hook.name}", metadata_only=True)
        mine = [pod for pod in pods if _born(pod) >= (one.hook.started or _born(pod)).replace(microsecond=0)]
        if not mine:
            return "Its pod is gone, and its log with it."
        newest = max(mine, key=_born)
        text = await cluster.pod_logs(namespace, name_of(newest), tail_lines=LOG_LINES)
        return redact(text.rstrip()) or "Its log is empty."
    except BotError as error:
        return f"Its log could not be read: {error.message}"


def _born(pod: Json) -> datetime:
    return moment(pod["metadata"].get("creationTimestamp")) or datetime.min.replace(tzinfo=UTC)
