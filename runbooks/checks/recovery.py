"""What `recover database` would do: from which backup, to which moment, what is lost by it, and into which new cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import ClassVar

from bot.diff.migrations import MigrationNote
from bot.engine.contract import CheckResult, Finding, Level, PlanContext
from bot.errors import BotError, Evidence, Temporary
from bot.helm.models import StoredRelease
from bot.kube.capacity import capacity_findings
from bot.kube.objects import Json, name_of, uid_of
from bot.services.cnpg import health_of
from bot.services.cnpg_recovery import LONGEST_NAME, Recoveries, application_of, archive_of, recovered
from runbooks.checks.findings import info
from runbooks.checks.objects import told
from runbooks.checks.recovery_choice import CODE, Blocked, Choice, Seen, choose, offered
from runbooks.checks.recovery_schema import schema_of
from runbooks.checks.release import as_it_is
from runbooks.databases import cluster_in_use, host_of, is_brought, switched_to
from runbooks.reading import Reader, chart_version
from runbooks.steps.backup import RUN_LABEL
from runbooks.text import counted, lasted, listed, when

MOST_NAMES = 9
"""Restores of one day: a name for each, then somebody has to clear up."""


class DatabaseRecovery:
    """The release's CloudNativePG Cluster, its backups and its archive; ``notes`` are migration notes."""

    name: ClassVar[str] = "database.recovery"

    def __init__(
        self, *, notes: Sequence[MigrationNote] = (), now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._notes = tuple(notes)
        self._now = now

    async def check(self, context: PlanContext) -> CheckResult:
        """``recovery`` is what will be done. Binds to the Cluster's spec, the moment and the new name."""
        releases = await Reader(context).releases()
        release = await Reader(context).release()
        files: tuple[Evidence, ...] = ()
        facts: Json = {}
        try:
            seen = await self._look(context, release)
            files = (_table(seen),)
            facts = await offered(context, seen, None)
            choice = await choose(context, seen)
            name = await _free_name(Recoveries(context.clients.cluster, context.target.namespace), seen)
            facts = await offered(context, seen, choice, into=name)
            body = recovered(seen.cluster, name, backup=choice.backup, at=choice.at)
            await _rehearse(context, body)
        except Blocked as blocked:
            return CheckResult((blocked.finding,), facts, files=files)
        room = await capacity_findings(context.clients.cluster, [body], context.target.namespace)
        schema = await schema_of(context, releases, choice.point, notes=self._notes)
        findings = (*_told(seen, choice, name), *schema.findings, *_beside(context, seen, name), *told(room))
        bindings = {**as_it_is(releases, context)[1], **_bindings(seen, choice, name)}
        facts = {**facts, **_facts(release, seen, choice, body)}
        return CheckResult(findings, facts, bindings, files=(*files, *schema.evidence))

    async def _look(self, context: PlanContext, release: StoredRelease) -> Seen:
        target = context.target
        if target.database.kind == "none":
            text = "The configuration says that the target has no database that I look after."
            raise Blocked("external", text, "Restore it where it is run, or correct the target's `database`.")
        cluster = await cluster_in_use(context.clients.cluster, target, release)
        if cluster is None:
            raise _not_there(context, release)
        backups = await Recoveries(context.clients.cluster, target.namespace).backups(name_of(cluster))
        return Seen(cluster, backups, archive_of(cluster), self._now())


def _not_there(context: PlanContext, release: StoredRelease) -> Blocked:
    target = context.target
    host = host_of(release)
    if target.database.cluster is None and host is not None:
        where = f"at `{host}`" if host else "that its values do not name"
        text = f"The release uses a database {where}, which is no CloudNativePG Cluster in {target.namespace}."
        return Blocked("external", text, "Restore it where it is run; I restore CloudNativePG's Clusters only.")
    named = f" `{target.database.cluster}`" if target.database.cluster else ""
    text = f"There is no CloudNativePG Cluster{named} of the release in {target.namespace}: its spec is gone with it."
    way_out = (
        "Make it anew with `bootstrap.recovery` by hand, or name the right one in the target's `database.cluster`."
    )
    return Blocked("gone", text, way_out)


async def _free_name(recoveries: Recoveries, seen: Seen) -> str:
    """``NAME-rDATE``, and a number behind it when that is taken. A restored one's own date is replaced, not added to."""
    base, _, date = seen.name.rpartition("-r")
    stem = base if base and date[:8].isdigit() and len(date[:8]) == 8 else seen.name
    taken = []
    for number in range(1, MOST_NAMES + 1):
        mark = f"-r{seen.now:%Y%m%d}" + (f"-{number}" if number > 1 else "")
        name = stem[: LONGEST_NAME - len(mark)].rstrip("-") + mark
        what = await recoveries.taken(name)
        if not what:
            return name
        taken.append(what)
    text = f"Every name for a Cluster restored today is taken: {listed(taken, most=3)}."
    raise Blocked(
        "name", text, "Remove those that nobody needs (`kubectl delete cluster`, and what is left of their volumes)."
    )


async def _rehearse(context: PlanContext, body: Json) -> None:
    """The API server's word, and its webhooks', on the new Cluster."""
    try:
        await context.clients.cluster.create(body, dry_run=True)
    except Temporary:
        raise
    except BotError as error:
        text = f"The cluster does not take Cluster {name_of(body)}: {error.message}"
        raise Blocked("refused", text, error.way_out) from error


def _told(seen: Seen, choice: Choice, name: str) -> list[Finding]:
    backup, point = choice.backup, choice.point
    what = f"Backup {backup.name} of {when(backup.at)}" if backup else f"The archive of {seen.name}"
    until = f", replayed to {when(point)}" if choice.at else ""
    ago = lasted(seen.now - point)
    found = [
        info(f"{what}{until} is restored into the new Cluster {name}: {choice.why}."),
        _warning(
            "loss", f"Everything written after {when(point)} ({ago} ago) is not in it, and stays in the old one only."
        ),
    ]
    if seen.archive.ends:
        trouble = seen.archive.trouble.rstrip(".") or "no reason given"
        found.append(_warning("archive", f"Archiving has not worked since {when(seen.archive.ends)}: {trouble}."))
    return found


def _beside(context: PlanContext, seen: Seen, name: str) -> list[Finding]:
    spec, health = seen.cluster["spec"], health_of(seen.cluster)
    storage = spec.get("storage") or {}
    of_class = f" of class {storage['storageClass']}" if storage.get("storageClass") else ""
    size = storage.get("size") or "as much storage as the old one"
    text = (
        f"{name} gets {counted(health.instances, 'instance')} with {size}{of_class} each, beside those of {seen.name}."
    )
    found = [info(text)]
    if is_brought(seen.cluster, context.target):
        text = (
            f"Cluster/{seen.name} stays as it is, and is annotated `helm.sh/resource-policy: keep`, "
            "or the switch-over would delete it."
        )
        found.append(info(text))
    else:
        found.append(info(f"Cluster/{seen.name} stays as it is."))
    return found


def _facts(release: StoredRelease, seen: Seen, choice: Choice, body: Json) -> Json:
    name, application = name_of(body), application_of(body)
    secret = application.secret or f"{name}-app"
    recovery = {
        "from": seen.name,
        "uid": uid_of(seen.cluster),
        "name": name,
        "backup": choice.backup.name if choice.backup else "",
        "to": choice.at.isoformat() if choice.at else "",
        "point": choice.point.isoformat(),
        "database": application.database,
        "owner": application.owner,
    }
    return {
        "recovery": recovery,
        "current_version": chart_version(release),
        "permanent": switched_to(release, f"{name}-rw", application, secret),
    }


def _bindings(seen: Seen, choice: Choice, name: str) -> dict[str, str]:
    generation = (seen.cluster.get("metadata") or {}).get("generation")
    source = choice.backup.name if choice.backup else "archive"
    return {
        "database cluster": f"{seen.name} (generation {generation})",
        "database recovery": f"{source} of {choice.point.isoformat()} into {name}",
    }


def _table(seen: Seen) -> Evidence:
    lines = [
        f"{one.name}  {one.result.phase or 'not taken up'}  {when(one.at)}  {one.result.method or '–'}"
        + (f"  run {one.labels[RUN_LABEL]}" if RUN_LABEL in one.labels else "")
        for one in seen.backups
    ]
    archive = f"{when(seen.first)} to {when(seen.last)}" if seen.archive.source else "none"
    last = f"last successful backup, by the Cluster's status: {when(seen.archive.last_backup)}"
    return Evidence(f"Backups of {seen.name}", "\n".join([*(lines or ["none"]), "", f"archive: {archive}", last]))


def _warning(code: str, text: str, way_out: str = "") -> Finding:
    return Finding(Level.WARNING, text, way_out, f"{CODE}.{code}")
