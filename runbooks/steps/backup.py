"""Backups before a change: a CloudNativePG ``Backup``, and a snapshot of every Qdrant collection on every node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from pydantic import BaseModel

from bot.engine.contract import Done, Facts, NotStarted, Outcome, Reconciled, Repeat, StepContext
from bot.errors import BotError, Evidence, Permanent, Temporary
from bot.kube.events import events_of
from bot.kube.objects import ObjectRef
from bot.services.cnpg import API, BackupResult, CloudNativePG
from bot.services.qdrant import QdrantClient, Snapshot
from bot.settings import Target
from runbooks.databases import name_in_use
from runbooks.steps.common import Params
from runbooks.text import counted, lasted, listed, size
from runbooks.vectors import node_at, ready_nodes, service_of

RUN_LABEL = "aeterna-bot/run"
MOST_ATTEMPTS = 20


def saved_by(lost: Mapping[str, Any], target: Target) -> tuple[str, str]:
    """The step kind whose backup holds the data of something that a plan ``loses``; or, without one, why no backup does.

    Qdrant writes its snapshots beside its data (its ``storage.snapshots_path``), so they go with the claim.
    """
    cause, _, name = str(lost["because_of"]).partition("/")
    if lost["kind"] == "Secret":
        return "", "no backup holds a Secret"
    if cause == "Cluster" and target.database.kind == "cnpg" and target.database.cluster in (None, name):
        return PostgresBackup.name, ""
    if cause == "StatefulSet" and target.vector_store.kind == "qdrant" and name == service_of(target):
        return "", "Qdrant's snapshots lie on the volume that goes"
    return "", "no step backs it up"


def _saved(context: StepContext, kind: str) -> list[str]:
    """What this run deletes, and the backup of this kind of step holds."""
    lost = [one for one in context.plan.get("loses") or () if saved_by(one, context.target)[0] == kind]
    return list(dict.fromkeys(f"{one['kind']}/{one['name']}" for one in lost))


class PostgresBackup:
    """Makes a CloudNativePG ``Backup`` on demand, waits for it and reads it back."""

    name: ClassVar[str] = "postgres.backup"
    title: ClassVar[str] = "Back up PostgreSQL"
    repeat: ClassVar[Repeat] = Repeat.SAFE
    timeout: ClassVar[timedelta] = timedelta(hours=2)
    mutates: ClassVar[bool] = True
    interruptible: ClassVar[bool] = True
    params: ClassVar[type[BaseModel]] = Params

    async def intend(self, context: StepContext, params: Params) -> Facts:
        """The backup's name, which is the same however often the step is begun, unless one of that name failed."""
        operator, target = CloudNativePG(context.clients.cluster), context.target
        named_one = target.database.cluster or await name_in_use(context.clients, target)
        postgres = await operator.find_cluster(target.namespace, named_one)
        if postgres is None:
            named = f" called {target.database.cluster}" if target.database.cluster else ""
            raise Permanent(
                f"There is no CloudNativePG cluster{named} in namespace {target.namespace}, so there is nothing to back up.",
                way_out="Correct the target's database, or say `database: {kind: none}` if it has none.",
            )
        for attempt in range(1, MOST_ATTEMPTS):
            name = f"aeterna-bot-{context.run.id.lower()}" + (f"-{attempt}" if attempt > 1 else "")
            found = await operator.get_backup(target.namespace, name)
            if found is None or found.phase != "failed":
                return {"backup": name, "cluster": postgres.ref.name}
        raise Permanent(
            f"{MOST_ATTEMPTS - 1} backups of this run failed.", way_out="Look at the CloudNativePG operator."
        )

    async def run(self, context: StepContext, params: Params, intent: Facts) -> Outcome:
        """Raises ``Permanent`` with the operator's words and the backup's events."""
        operator, database = CloudNativePG(context.clients.cluster), context.target.database
        namespace, name = context.target.namespace, str(intent["backup"])
        end = asyncio.get_running_loop().time() + database.timeout.total_seconds()
        try:
            await operator.create_backup(
                namespace, str(intent["cluster"]), name, method=database.method, labels={RUN_LABEL: context.run.id}
            )
            await operator.wait_backup(
                namespace,
                name,
                deadline=database.timeout.total_seconds(),
                on_progress=lambda seen: context.progress(f"Backup {name}: {seen.phase or 'waiting for the operator'}"),
            )
            # read back, because a watch tells what was said, not what is there
            found = await operator.get_backup(namespace, name)
        except Temporary as error:
            if asyncio.get_running_loop().time() >= end:  # it is still going on; asking again would only wait again
                evidence = await _events(context, name)
                raise Permanent(error.message, way_out=error.way_out, evidence=evidence) from error
            raise
        except Permanent as error:
            error.evidence += await _events(context, name)
            error.way_out = f"{error.way_out} Nothing was changed; retry when it works.".strip()
            raise
        if found is None or not found.completed:
            raise Permanent(f"Backup {name} is not there in full after it was reported as completed.")
        return _made(found, str(intent["cluster"]), _saved(context, self.name))

    async def reconcile(self, context: StepContext, params: Params, intent: Facts) -> Reconciled:
        """A backup that goes on is waited for by ``run``, which makes no second one."""
        found = await CloudNativePG(context.clients.cluster).get_backup(context.target.namespace, str(intent["backup"]))
        if found is None or not found.completed:
            return NotStarted()
        return Done(_made(found, str(intent["cluster"]), _saved(context, self.name)))


def _made(found: BackupResult, cluster: str, saved: list[str]) -> Outcome:
    took = f" in {lasted(found.stopped_at - found.started_at)}" if found.started_at and found.stopped_at else ""
    holds = f" It holds the data of what this run deletes: {listed(saved)}." if saved else ""
    lines = [
        f"cluster   {cluster}",
        f"method    {found.method}",
        f"id        {found.backup_id or '–'}",
        f"started   {found.started_at or '–'}",
        f"ended     {found.stopped_at or '–'}",
        f"WAL       {found.begin_wal or '–'} to {found.end_wal or '–'}",
    ]
    return Outcome(
        summary=f"Backup {found.name} of {cluster} completed{took}.{holds}",
        facts={
            "backup": found.name,
            "backup_id": found.backup_id,
            "end_wal": found.end_wal,
            "cluster": cluster,
            "saved": saved,
        },
        evidence=(Evidence(f"Backup {found.name}", "\n".join(lines)),),
    )


async def _events(context: StepContext, name: str) -> tuple[Evidence, ...]:
    ref = ObjectRef(API, "Backup", name, context.target.namespace)
    try:
        found = await events_of(context.clients.cluster, [ref])
    except BotError as error:
        return (Evidence("The backup's events could not be read", str(error)),)
    return (Evidence(f"Events of {ref}", "\n".join(map(str, found))),) if found else ()


class QdrantSnapshot:
    """Makes a snapshot of every collection on every node of Qdrant, and verifies each."""

    name: ClassVar[str] = "qdrant.snapshot"
    title: ClassVar[str] = "Snapshot Qdrant"
    repeat: ClassVar[Repeat] = Repeat.CHECK_FIRST
    timeout: ClassVar[timedelta] = timedelta(minutes=30)
    mutates: ClassVar[bool] = True
    interruptible: ClassVar[bool] = True
    params: ClassVar[type[BaseModel]] = Params

    async def intend(self, context: StepContext, params: Params) -> Facts:
        """The snapshots that were there before, by node and collection."""
        before: dict[str, dict[str, list[str]]] = {}
        for pod in await ready_nodes(context.clients, context.target):
            async with node_at(context.clients, context.target, pod) as node:
                before[pod] = {
                    collection: [one.name for one in await node.list_snapshots(collection)]
                    for collection in await node.collections()
                }
        return {"before": before}

    async def run(self, context: StepContext, params: Params, intent: Facts) -> Outcome:
        """Makes what is not there yet, so that a second start makes no second snapshot."""
        made: list[tuple[str, Snapshot]] = []
        for pod, collections in _before(intent).items():
            async with node_at(context.clients, context.target, pod) as node:
                for collection, names in collections.items():
                    context.progress(f"Snapshot of {collection} on {pod}")
                    new = await self._new(node, collection, names) or await node.create_snapshot(collection)
                    made.append((pod, await node.verify(new)))
        return _snapshots(made)

    async def reconcile(self, context: StepContext, params: Params, intent: Facts) -> Reconciled:
        """Done when every collection of every node has a new snapshot; otherwise ``run`` makes the rest."""
        made: list[tuple[str, Snapshot]] = []
        for pod, collections in _before(intent).items():
            async with node_at(context.clients, context.target, pod) as node:
                for collection, names in collections.items():
                    new = await self._new(node, collection, names)
                    if new is None:
                        return NotStarted()
                    made.append((pod, await node.verify(new)))
        return Done(_snapshots(made)) if made else NotStarted()

    async def _new(self, node: QdrantClient, collection: str, before: list[str]) -> Snapshot | None:
        found = await node.list_snapshots(collection)
        return next((one for one in found if one.name not in before), None)


def _before(intent: Facts) -> Mapping[str, Mapping[str, list[str]]]:
    before: Any = intent["before"]
    return before  # type: ignore[no-any-return]


def _snapshots(made: list[tuple[str, Snapshot]]) -> Outcome:
    if not made:
        return Outcome("Qdrant has no collections, so there is nothing to snapshot.", {"snapshots": []})
    lines = [
        f"{pod}  {one.collection}  {one.name}  {size(one.size)}  sha256 {one.checksum or '–'}" for pod, one in made
    ]
    total = size(sum(one.size for _, one in made))
    return Outcome(
        summary=f"{counted(len(made), 'snapshot')} of Qdrant made and verified ({total}).",
        facts={"snapshots": [{"node": pod, "collection": one.collection, "name": one.name} for pod, one in made]},
        evidence=(Evidence("Snapshots", "\n".join(lines)),),
    )
