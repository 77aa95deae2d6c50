"""Restoring the database into a new CloudNativePG Cluster beside the old one, which stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from pydantic import BaseModel

from bot.engine.contract import Done, Facts, NotStarted, Outcome, Reconciled, Repeat, StepContext, Unknown
from bot.errors import BotError, Evidence, Permanent
from bot.kube.events import events_of
from bot.kube.loss import KEEP
from bot.kube.objects import Json, ObjectRef, annotations_of, moment, uid_of
from bot.services.cnpg import API, PostgresHealth, health_of
from bot.services.cnpg_recovery import Kept, Recoveries, recovered
from bot.settings import Duration
from runbooks import evidence
from runbooks.databases import is_brought
from runbooks.steps.backup import RUN_LABEL
from runbooks.steps.common import Params
from runbooks.text import counted, lasted, when


class RecoveryParams(Params):
    """``deadline`` is for the new cluster to become healthy; what is hopeless is given up sooner."""

    deadline: Duration = timedelta(hours=5)


class DatabaseRestore:
    """Creates the Cluster that the plan's ``recovery`` names, with the old one's spec and the backup's data.

    It carries the run's label, by which it is known after a crash; one of that name without it is never touched.
    """

    name: ClassVar[str] = "database.restore"
    title: ClassVar[str] = "Restore into a new cluster"
    repeat: ClassVar[Repeat] = Repeat.SAFE
    timeout: ClassVar[timedelta] = timedelta(hours=6)
    mutates: ClassVar[bool] = True
    interruptible: ClassVar[bool] = True
    params: ClassVar[type[BaseModel]] = RecoveryParams

    async def intend(self, context: StepContext, params: RecoveryParams) -> Facts:
        """What the plan says: names and times, nothing of the spec."""
        planned: Mapping[str, Any] = context.plan["recovery"]
        return dict(planned)

    async def run(self, context: StepContext, params: RecoveryParams, intent: Facts) -> Outcome:
        """Raises ``Permanent`` with the operator's words, events and logs; what was created stays for a look at it."""
        name, recoveries, began = str(intent["name"]), _recoveries(context), datetime.now(UTC)
        there = await cluster_named(context, name)
        if there is None or not _ours(there, context):
            context.progress(f"Creating Cluster {name}")
            await recoveries.create(await self._body(context, intent), mark=RUN_LABEL)
        await _keep(context, str(intent["from"]))
        try:
            health = await recoveries.wait_ready(
                name,
                deadline=min(params.deadline.total_seconds(), context.timeout.total_seconds() * 0.9),
                on_progress=lambda seen: context.progress(standing(seen)),
            )
        except Permanent as error:
            error.evidence += await reasons(context, name)
            delete = f"`kubectl delete cluster {name} -n {context.target.namespace}`"
            error.way_out = (
                f"The old database is as it was. Retry waits on; or remove the cause, delete what was made ({delete}) and "
                "retry, or ask again with another backup."
            )
            raise
        return _restored(health, intent, datetime.now(UTC) - began)

    async def reconcile(self, context: StepContext, params: RecoveryParams, intent: Facts) -> Reconciled:
        """By the run's label on the new Cluster; one that is not healthy yet is waited for by ``run``."""
        name = str(intent["name"])
        there = await cluster_named(context, name)
        if there is None:
            return NotStarted()
        if not _ours(there, context):
            return Unknown(f"Cluster {name} is there, and this run did not make it.")
        health = health_of(there)
        if not health.healthy:
            return NotStarted(f"{standing(health)}. It goes on by itself; delete it if nobody wants it any more.")
        return Done(_restored(health, intent, timedelta()))

    async def _body(self, context: StepContext, intent: Facts) -> Json:
        old = await cluster_named(context, str(intent["from"]))
        if old is None or uid_of(old) != intent["uid"]:
            raise Permanent(
                f"Cluster {intent['from']} is not there any more as it was planned; nothing was changed.",
                way_out="Ask again.",
            )
        backup = await _backup(context, intent)
        at = moment(str(intent["to"]))
        return recovered(old, str(intent["name"]), backup=backup, at=at, labels={RUN_LABEL: context.run.id})


async def _backup(context: StepContext, intent: Facts) -> Kept | None:
    if not intent["backup"]:
        return None
    found = await _recoveries(context).backups(str(intent["from"]))
    backup = next((one for one in found if one.name == intent["backup"] and one.usable), None)
    if backup is None:
        raise Permanent(
            f"Backup {intent['backup']} is not there any more; nothing was changed.",
            way_out="Ask again for another one.",
        )
    return backup


async def _keep(context: StepContext, old: str) -> None:
    """A Cluster that leaves the release's manifest is deleted by Helm, unless the live object says otherwise."""
    found = await cluster_named(context, old)
    if found is not None and is_brought(found, context.target) and annotations_of(found).get(KEEP) != "keep":
        ref = ObjectRef(API, "Cluster", old, context.target.namespace)
        await context.clients.cluster.patch(ref, {"metadata": {"annotations": {KEEP: "keep"}}})


def _restored(health: PostgresHealth, intent: Facts, took: timedelta) -> Outcome:
    source = f"Backup {intent['backup']}" if intent["backup"] else "the archive"
    point = when(moment(str(intent["point"])))
    lasting = f" in {lasted(took)}" if took else ""
    name = health.ref.name
    summary = f"Cluster {name} has the data of {point}, from {source}, and is healthy{lasting}: {readiness(health)}."
    return Outcome(summary, facts={"cluster": name, "from": intent["from"], "point": intent["point"]})


# -- what the check of it needs too -----------------------------------------------------------------------------


def _recoveries(context: StepContext) -> Recoveries:
    return Recoveries(context.clients.cluster, context.target.namespace)


async def cluster_named(context: StepContext, name: str) -> Json | None:
    """The Cluster of that name in the target's namespace."""
    return await context.clients.cluster.get(API, "Cluster", name, context.target.namespace)


def _ours(cluster: Json, context: StepContext) -> bool:
    return bool((cluster["metadata"].get("labels") or {}).get(RUN_LABEL) == context.run.id)


def readiness(health: PostgresHealth) -> str:
    """``1 of 1 instance ready``."""
    return f"{health.ready_instances} of {counted(health.instances, 'instance')} ready"


def standing(health: PostgresHealth) -> str:
    """Its phase in the operator's words, and how much of it is ready."""
    return f"Cluster {health.ref.name}: {health.phase or 'waiting for the operator'}, {readiness(health)}"


async def reasons(context: StepContext, name: str) -> tuple[Evidence, ...]:
    """Events of the Cluster, and what its Jobs say."""
    cluster, ref = context.clients.cluster, ObjectRef(API, "Cluster", name, context.target.namespace)
    try:
        events = await events_of(cluster, [ref])
        found = await evidence.of_workloads(cluster, await _recoveries(context).jobs(name))
    except BotError as error:
        return (Evidence("The reasons could not be read", str(error)),)
    told = (Evidence(f"Events of {ref}", "\n".join(map(str, events))),) if events else ()
    return (*told, *found)
