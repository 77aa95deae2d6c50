"""CloudNativePG: what can be restored of a ``Cluster``, and a new ``Cluster`` made of it by ``bootstrap.recovery``.

The operator recovers nothing in place (CloudNativePG's documentation, "Recovery"), and nothing here changes the spec of a
Cluster that is there. What is in a restored database is not looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bot.errors import Permanent
from bot.kube.cluster import Cluster
from bot.kube.failures import Conflict, NotFound, UnknownKind
from bot.kube.objects import Json, ObjectRef, condition_of, is_true, moment, name_of, ref_of
from bot.services.cnpg import API, BackupResult, PostgresHealth, backup_of, health_of

RECOVERED_FROM = "aeterna-bot/recovered-from"
"""The label of a restored Cluster: the name of the one whose data it has."""
OF_CLUSTER = "cnpg.io/cluster"
"""The operator's own label on everything that belongs to a Cluster."""
LONGEST_NAME = 50
"""Characters of a Cluster's name (the operator's webhook)."""
HOPELESS = (
    "Cluster is unrecoverable and needs manual intervention",
    "Cluster is in an unrecoverable state, needs manual intervention",
    "Cluster cannot proceed to reconciliation due to an unknown plugin being required",
    "Cluster has incomplete or invalid image catalog",
    "Unable to create required cluster objects",
)
"""Phases that the operator does not leave by itself (api/v1/cluster_types.go, the words of several versions)."""
_NOT_COPIED = ("bootstrap", "externalClusters", "replica")
_SNAPSHOT = {"kind": "VolumeSnapshot", "apiGroup": "snapshot.storage.k8s.io"}


@dataclass(frozen=True)
class Kept:
    """A ``Backup`` object: its state, its labels, and the volume snapshots that it consists of, if any."""

    result: BackupResult
    labels: Mapping[str, str] = field(default_factory=dict)
    snapshots: tuple[Json, ...] = ()

    @property
    def name(self) -> str:
        return self.result.name

    @property
    def at(self) -> datetime | None:
        """The moment that it holds: when it ended."""
        return self.result.stopped_at

    @property
    def usable(self) -> bool:
        """Completed, and known by what a recovery is told: an id in the object store, or its snapshots."""
        found = bool(self.snapshots) if self.result.method == "volumeSnapshot" else bool(self.result.backup_id)
        return self.result.completed and self.at is not None and found


@dataclass(frozen=True)
class Archive:
    """The WAL archive of a Cluster: the times that can be recovered to.

    ``source`` is how another Cluster names it (an entry of ``externalClusters``); None where nothing is archived.
    ``ends`` is when archiving stopped working; None while it works.
    """

    source: Json | None
    first: datetime | None
    last_backup: datetime | None
    ends: datetime | None
    trouble: str = ""


@dataclass(frozen=True)
class Application:
    """The application's database, its owner, and the Secret with the owner's password that somebody else made, if any."""

    database: str
    owner: str
    secret: str = ""


def archive_of(cluster: Json) -> Archive:
    """What the Cluster's spec and status say about its archive."""
    status = cluster.get("status") or {}
    working = condition_of(cluster, "ContinuousArchiving")
    stopped = working is not None and not is_true(working)
    return Archive(
        source=_source(cluster),
        first=moment(status.get("firstRecoverabilityPoint")),
        last_backup=moment(status.get("lastSuccessfulBackup")),
        ends=moment((working or {}).get("lastTransitionTime")) if stopped else None,
        trouble=str((working or {}).get("message") or "") if stopped else "",
    )


def _source(cluster: Json) -> Json | None:
    """The folder of the archive is called like its Cluster unless a serverName says otherwise."""
    spec, name = cluster.get("spec") or {}, name_of(cluster)
    if store := (spec.get("backup") or {}).get("barmanObjectStore"):
        return {"name": name, "barmanObjectStore": {"serverName": name, **deepcopy(store)}}
    for plugin in spec.get("plugins") or []:
        if plugin.get("isWALArchiver") and plugin.get("enabled", True):
            parameters = {"serverName": name, **(plugin.get("parameters") or {})}
            return {"name": name, "plugin": {"name": plugin["name"], "parameters": parameters}}
    return None


def application_of(cluster: Json) -> Application:
    """As the Cluster was bootstrapped; the operator's own default is ``app``."""
    ways = (cluster.get("spec") or {}).get("bootstrap") or {}
    told: Json = next((ways[way] for way in ("initdb", "recovery", "pg_basebackup") if ways.get(way)), {})
    database = str(told.get("database") or "app")
    return Application(database, str(told.get("owner") or database), str((told.get("secret") or {}).get("name") or ""))


def recovered(
    old: Json, name: str, *, backup: Kept | None, at: datetime | None, labels: Mapping[str, str] | None = None
) -> Json:
    """The new Cluster: the old one's spec, with the data of ``backup`` as it ended, or of the archive as it was ``at``.

    Without a target the operator would replay all that was archived since, so there always is one. WAL and backups go into
    a folder of its own, as the operator demands. At least one of ``backup`` and ``at`` is needed.
    """
    spec = {key: deepcopy(value) for key, value in old["spec"].items() if key not in _NOT_COPIED}
    (spec.get("managed") or {}).pop("services", None)  # their names are taken
    ((spec.get("backup") or {}).get("barmanObjectStore") or {}).pop("serverName", None)
    for plugin in spec.get("plugins") or []:
        (plugin.get("parameters") or {}).pop("serverName", None)
    image = (old.get("status") or {}).get("image")
    if image and "imageName" not in spec and "imageCatalogRef" not in spec:
        spec["imageName"] = image  # a physical backup is read by the same major version only
    application, source = application_of(old), archive_of(old).source
    recovery: Json = {"database": application.database, "owner": application.owner}
    if application.secret:
        recovery["secret"] = {"name": application.secret}
    recovery |= _data(backup, at, source)
    if "source" in recovery:
        spec["externalClusters"] = [source]
    spec["bootstrap"] = {"recovery": recovery}
    namespace = old["metadata"]["namespace"]
    marks = {**(labels or {}), RECOVERED_FROM: name_of(old)}
    meta: Json = {"name": name, "namespace": namespace, "labels": marks}
    return {"apiVersion": API, "kind": "Cluster", "metadata": meta, "spec": spec}


def _data(backup: Kept | None, at: datetime | None, source: Json | None) -> Json:
    """Where the data comes from, and where to stop."""
    until = {"targetTime": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")} if at else {"targetImmediate": True}
    from_archive = {"source": source["name"]} if source else {}
    if backup is None:
        return {**from_archive, "recoveryTarget": until}
    if backup.result.method == "volumeSnapshot":
        # a snapshot is what it is: without a time nothing is replayed
        return {"volumeSnapshots": _snapshots(backup), **({**from_archive, "recoveryTarget": until} if at else {})}
    target = {"backupID": backup.result.backup_id, **until}
    if backup.result.method == "plugin":  # by name, the operator restores only what it backed up itself
        return {**from_archive, "recoveryTarget": target}
    return {"backup": {"name": backup.name}, "recoveryTarget": target}


def _snapshots(backup: Kept) -> Json:
    found: Json = {}
    for element in backup.snapshots:
        reference = {"name": element["name"], **_SNAPSHOT}
        match element.get("type"):
            case "PG_DATA":
                found["storage"] = reference
            case "PG_WAL":
                found["walStorage"] = reference
            case "PG_TABLESPACE":
                found.setdefault("tablespaceStorage", {})[element["tablespaceName"]] = reference
    return found


class Recoveries:
    """Restored Clusters in one namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    async def backups(self, of: str) -> list[Kept]:
        """The Backups of one Cluster in whatever state, the newest first; none where the cluster knows no Backups."""
        try:
            found = await self._cluster.list(API, "Backup", self._namespace)
        except UnknownKind:
            return []
        mine = [_kept(one) for one in found if ((one.get("spec") or {}).get("cluster") or {}).get("name") == of]
        begun = datetime.min.replace(tzinfo=UTC)
        return sorted(mine, key=lambda one: (one.at or one.result.started_at or begun, one.name), reverse=True)

    async def taken(self, name: str) -> str:
        """What is there already of a Cluster of that name, a volume left of an earlier one too; empty when it is free."""
        for api_version, kind, field_selector, label_selector in (
            (API, "Cluster", f"metadata.name={name}", ""),
            ("v1", "PersistentVolumeClaim", "", f"{OF_CLUSTER}={name}"),
            ("v1", "Service", f"metadata.name={name}-rw", ""),
            ("v1", "Secret", f"metadata.name={name}-app", ""),
        ):
            found = await self._cluster.list(
                api_version, kind, self._namespace, label_selector, field_selector, metadata_only=True
            )
            if found:
                return str(ref_of(found[0]))
        return ""

    async def create(self, body: Json, *, mark: str) -> None:
        """Creates the Cluster, unless it is there already with the same label ``mark``.

        Raises ``Permanent`` when the name is anybody else's by now; nothing of that one is changed.
        """
        name = name_of(body)
        there = await self._cluster.get(API, "Cluster", name, self._namespace)
        if there is None:
            if taken := await self.taken(name):
                raise _is_taken(taken)
            try:
                await self._cluster.create(body)
            except Conflict as conflict:
                if not conflict.already_exists:
                    raise
                there = await self._cluster.get(API, "Cluster", name, self._namespace)
        if there is not None and _label(there, mark) != _label(body, mark):
            raise _is_taken(str(ref_of(there)))

    async def wait_ready(
        self, name: str, *, deadline: float, on_progress: Callable[[PostgresHealth], None] | None = None
    ) -> PostgresHealth:
        """The healthy Cluster, waited for by watch for at most ``deadline`` seconds.

        Raises ``Permanent`` with the operator's words when it is hopeless, when a Job of it has failed for good, and when it
        is not healthy in time; NotFound when it is gone. Nothing is deleted.
        """
        waits = [
            asyncio.create_task(self._healthy(name, on_progress)),
            asyncio.create_task(self._failed_job(name)),
        ]
        try:
            done, _ = await asyncio.wait(waits, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                return one.result()
        finally:
            for one in waits:
                one.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        last = await self._cluster.get(API, "Cluster", name, self._namespace)
        raise _not_ready(name, last or {}, f"after {deadline:.0f} s")

    async def _healthy(self, name: str, on_progress: Callable[[PostgresHealth], None] | None) -> PostgresHealth:
        named = f"metadata.name={name}"
        async with aclosing(self._cluster.watch(API, "Cluster", self._namespace, field_selector=named)) as changes:
            last: PostgresHealth | None = None
            async for change in changes:
                if change.type == "DELETED" or (change.type == "SYNCED" and last is None):
                    break
                if change.type == "SYNCED":
                    continue
                seen = health_of(change.object)
                if seen != last and on_progress is not None:
                    on_progress(seen)
                last = seen
                if seen.phase in HOPELESS:
                    raise _not_ready(name, change.object, "for good")
                if seen.healthy:
                    return seen
        raise NotFound(f"Cluster {name} is not in namespace {self._namespace} any more.")

    async def _failed_job(self, name: str) -> PostgresHealth:
        """Ends only by raising: the operator restores in a Job, and makes no second one when it has failed."""
        selector = f"{OF_CLUSTER}={name}"
        async with aclosing(self._cluster.watch("batch/v1", "Job", self._namespace, selector)) as changes:
            async for change in changes:
                failed = condition_of(change.object, "Failed") if change.type != "SYNCED" else None
                if failed is not None and is_true(failed):
                    why = str(failed.get("message") or failed.get("reason") or "no reason given").rstrip(".")
                    raise Permanent(f"Cluster {name} is not restored: {ref_of(change.object)} has failed: {why}.")
        raise NotFound(f"The Jobs of Cluster {name} cannot be watched any more.")

    async def jobs(self, name: str) -> list[ObjectRef]:
        """The operator's Jobs of that Cluster, whose logs say why a restore does not go on."""
        found = await self._cluster.list("batch/v1", "Job", self._namespace, f"{OF_CLUSTER}={name}")
        return [ref_of(one) for one in found]


def _kept(obj: Json) -> Kept:
    elements = (((obj.get("status") or {}).get("snapshotBackupStatus")) or {}).get("elements") or []
    return Kept(backup_of(obj), dict((obj.get("metadata") or {}).get("labels") or {}), tuple(elements))


def _label(obj: Json, mark: str) -> str:
    return str((obj["metadata"].get("labels") or {}).get(mark, ""))


def _is_taken(what: str) -> Permanent:
    return Permanent(
        f"{what} is there by now, and this run did not make it: nothing was restored over it, and nothing was changed.",
        way_out="Ask again: the next plan takes a free name.",
    )


def _not_ready(name: str, cluster: Json, how: str) -> Permanent:
    seen, status = health_of(cluster) if cluster else None, cluster.get("status") or {}
    phase = (seen.phase if seen else "") or "not taken up by the operator"
    reason = f" ({str(status['phaseReason']).rstrip('.')})" if status.get("phaseReason") else ""
    ready = f", {seen.ready_instances} of {seen.instances} instances ready" if seen else ""
    return Permanent(f"Cluster {name} is not ready {how}: {phase}{reason}{ready}.")
