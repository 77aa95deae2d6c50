"""CloudNativePG: the health of a ``Cluster``, and a ``Backup`` made on demand, waited for and read back.

The operator does the work; this creates its custom resources and reads their status (postgresql.cnpg.io/v1).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from bot.errors import Permanent, Temporary
from bot.kube.cluster import Cluster
from bot.kube.failures import Conflict, NotFound, UnknownKind
from bot.kube.objects import Json, ObjectRef, moment, name_of, ref_of
from bot.kube.readiness import POSTGRES_HEALTHY

API = "postgresql.cnpg.io/v1"
BackupMethod: TypeAlias = Literal["barmanObjectStore", "volumeSnapshot", "plugin"]


@dataclass(frozen=True)
class PostgresHealth:
    """A CloudNativePG cluster as its operator sees it."""

    ref: ObjectRef
    phase: str
    instances: int
    ready_instances: int
    primary: str
    image: str

    @property
    def healthy(self) -> bool:
        return self.phase == POSTGRES_HEALTHY and self.ready_instances >= self.instances


@dataclass(frozen=True)
class BackupResult:
    """A backup as its status says; times are the operator's. ``phase`` is empty until the operator has
    seen it.
    """

    name: str
    phase: str
    backup_id: str = ""
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    begin_wal: str = ""
    end_wal: str = ""
    method: str = ""
    error: str = ""

    @property
    def completed(self) -> bool:
        return self.phase == "completed"


class CloudNativePG:
    """Backups and health of the PostgreSQL clusters in one Kubernetes cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def find_cluster(self, namespace: str, name: str | None = None) -> PostgresHealth | None:
        """The cluster of that name, or the only one of the namespace; None when there is none.

        Raises Permanent when there are several and no name was given.
        """
        try:
            if name is not None:
                one = await self._cluster.get(API, "Cluster", name, namespace)
                return None if one is None else health_of(one)
            found = await self._cluster.list(API, "Cluster", namespace)
        except UnknownKind:
            return None
        if len(found) > 1:
            names = ", ".join(sorted(map(name_of, found)))
            raise Permanent(
                f"Namespace {namespace} has several PostgreSQL clusters: {names}.",
                way_out="Name the one to back up in the target's configuration.",
            )
        return health_of(found[0]) if found else None

    async def create_backup(
        self,
        namespace: str,
        cluster_name: str,
        backup_name: str,
        *,
        method: BackupMethod = "barmanObjectStore",
        plugin: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> BackupResult:
        """Ask for a backup of ``cluster_name``. Done once: one of that name with the same labels is taken
        as ours.

        Raises Conflict when a backup of that name belongs to somebody else.
        """
        wanted = dict(labels or {})
        spec: Json = {"cluster": {"name": cluster_name}, "method": method}
        if plugin is not None:
            spec["pluginConfiguration"] = {"name": plugin}
        body: Json = {
            "apiVersion": API,
            "kind": "Backup",
            "metadata": {"name": backup_name, "namespace": namespace, "labels": wanted},
            "spec": spec,
        }
        try:
            return backup_of(await self._cluster.create(body))
        except Conflict as conflict:
            if not conflict.already_exists:
                raise
            found = await self._cluster.get(API, "Backup", backup_name, namespace)
            if found is None:
                raise Temporary(f"Backup {backup_name} was deleted while it was looked at.") from conflict
            has = found["metadata"].get("labels") or {}
            same = {key: has.get(key) for key in wanted} == wanted
            if not same or (found["spec"].get("cluster") or {}).get("name") != cluster_name:
                raise
            return backup_of(found)

    async def get_backup(self, namespace: str, name: str) -> BackupResult | None:
        """The backup as it is now, or None."""
        found = await self._cluster.get(API, "Backup", name, namespace)
        return None if found is None else backup_of(found)

    async def wait_backup(
        self,
        namespace: str,
        name: str,
        *,
        deadline: float,
        on_progress: Callable[[BackupResult], None] | None = None,
    ) -> BackupResult:
        """The completed backup, waited for by watch for at most ``deadline`` seconds.

        Raises Permanent with the operator's error when it failed, NotFound when it is gone, and Temporary
        when it is still going on at the deadline (nothing is cancelled).
        """
        last = BackupResult(name, "")
        try:
            async with asyncio.timeout(deadline):
                events = self._cluster.watch(API, "Backup", namespace, field_selector=f"metadata.name={name}")
                async with aclosing(events) as changes:
                    there = False
                    async for change in changes:
                        if change.type == "DELETED" or (change.type == "SYNCED" and not there):
                            raise NotFound(f"Backup {name} is not in namespace {namespace} any more.")
                        if change.type == "SYNCED":
                            continue
                        there, seen = True, backup_of(change.object)
                        if seen != last and on_progress is not None:
                            on_progress(seen)
                        last = seen
                        if _ended(seen):
                            break
        except TimeoutError as error:
            raise Temporary(
                f"Backup {name} is {last.phase or 'not taken up'} after {deadline:.0f} s.",
                way_out="Look at the CloudNativePG operator and at the backup's events.",
            ) from error
        return last


def _ended(backup: BackupResult) -> bool:
    if backup.phase == "failed":
        raise Permanent(
            f"Backup {backup.name} failed: {backup.error or 'the operator gave no reason'}.",
            way_out="Check the cluster's backup configuration (object store, credentials, volume snapshots).",
        )
    return backup.completed


def backup_of(obj: Json) -> BackupResult:
    """A Backup object as a result."""
    status = obj.get("status") or {}
    return BackupResult(
        name=name_of(obj),
        phase=str(status.get("phase") or ""),
        backup_id=str(status.get("backupId") or status.get("backupName") or ""),
        started_at=moment(status.get("startedAt")),
        stopped_at=moment(status.get("stoppedAt")),
        begin_wal=str(status.get("beginWal") or ""),
        end_wal=str(status.get("endWal") or ""),
        method=str(status.get("method") or (obj.get("spec") or {}).get("method") or ""),
        error=": ".join(str(status[key]) for key in ("error", "commandError") if status.get(key)),
    )


def health_of(obj: Json) -> PostgresHealth:
    """A Cluster object's health."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return PostgresHealth(
        ref=ref_of(obj),
        phase=str(status.get("phase") or ""),
        instances=int(spec.get("instances") or status.get("instances") or 0),
        ready_instances=int(status.get("readyInstances") or 0),
        primary=str(status.get("currentPrimary") or ""),
        image=str(status.get("image") or spec.get("imageName") or ""),
    )
