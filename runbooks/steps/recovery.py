"""Restoring the database into a new CloudNativePG Cluster, and what can be said of that one before anything uses it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from pydantic import BaseModel

from bot.engine.contract import Done, Facts, NotStarted, Outcome, Reconciled, Repeat, StepContext, Unknown
from bot.errors import BotError, Evidence, Permanent
from bot.kube.events import events_of
from bot.kube.loss import KEEP
from bot.kube.objects import Json, ObjectRef, annotations_of, condition_of, is_true, moment, uid_of
from bot.services.cnpg import API, PostgresHealth, health_of
from bot.services.cnpg_recovery import Kept, Recoveries, recovered
from bot.settings import Duration
from runbooks import evidence
from runbooks.databases import is_brought
from runbooks.steps.backup import RUN_LABEL
from runbooks.steps.common import Params, ReadingStep
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
        there = await _cluster(context, name)
        if there is None or not _ours(there, context):
            context.progress(f"Creating Cluster {name}")
            await recoveries.create(await self._body(context, intent), mark=RUN_LABEL)
        await _keep(context, str(intent["from"]))
        try:
            health = await recoveries.wait_ready(
                name,
                deadline=min(params.deadline.total_seconds(), context.timeout.total_seconds() * 0.9),
                on_progress=lambda seen: context.progress(_where(seen)),
            )
        except Permanent as error:
            error.evidence += await _why(context, name)
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
        there = await _cluster(context, name)
        if there is None:
            return NotStarted()
        if not _ours(there, context):
            return Unknown(f"Cluster {name} is there, and this run did not make it.")
        health = health_of(there)
        if not health.healthy:
            return NotStarted(f"{_where(health)}. It goes on by itself; delete it if nobody wants it any more.")
        return Done(_restored(health, intent, timedelta()))

    async def _body(self, context: StepContext, intent: Facts) -> Json:
        old = await _cluster(context, str(intent["from"]))
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
    found = await _cluster(context, old)
    if found is not None and is_brought(found, context.target) and annotations_of(found).get(KEEP) != "keep":
        ref = ObjectRef(API, "Cluster", old, context.target.namespace)
        await context.clients.cluster.patch(ref, {"metadata": {"annotations": {KEEP: "keep"}}})


def _restored(health: PostgresHealth, intent: Facts, took: timedelta) -> Outcome:
    source = f"Backup {intent['backup']}" if intent["backup"] else "the archive"
    point = when(moment(str(intent["point"])))
    lasting = f" in {lasted(took)}" if took else ""
    name = health.ref.name
    summary = f"Cluster {name} has the data of {point}, from {source}, and is healthy{lasting}: {_ready(health)}."
    return Outcome(summary, facts={"cluster": name, "from": intent["from"], "point": intent["point"]})


class DatabaseCheck(ReadingStep):
    """Looks at the new Cluster from outside, and says what was not looked at and how the release is switched over."""

    name: ClassVar[str] = "database.check"
    title: ClassVar[str] = "Check the new cluster"
    timeout: ClassVar[timedelta] = timedelta(minutes=2)
    params: ClassVar[type[BaseModel]] = Params

    async def run(self, context: StepContext, params: Params, intent: Facts) -> Outcome:
        """Always a warning: the bot has no way to ask SQL, so nobody has seen yet what is in the database."""
        planned: Mapping[str, Any] = context.plan["recovery"]
        name = str(planned["name"])
        found = await _cluster(context, name)
        health = health_of(found) if found is not None else None
        if found is None or health is None or not health.healthy:
            state = _where(health) if health else f"Cluster {name} is not there"
            raise Permanent(
                f"{state}.", way_out="Look at its events and pods; retry.", evidence=await _why(context, name)
            )
        summary = (
            f"Cluster {name}: {_ready(health)}, {_archiving(found)}. Not looked at, for I cannot ask SQL: its newest "
            f"migration and its rows. Nothing uses it yet; how to look and how to switch over stands in the thread."
        )
        return Outcome(
            summary,
            facts={"cluster": name},
            evidence=(_look(context, planned), _switch(context, planned), _old(context, planned)),
            warning=True,
        )


def _archiving(cluster: Json) -> str:
    spec = cluster.get("spec") or {}
    if not (spec.get("backup") or {}).get("barmanObjectStore") and not spec.get("plugins"):
        return "without an archive, as the old one"
    working = is_true(condition_of(cluster, "ContinuousArchiving"))
    return "archiving works" if working else "its own archiving has not begun to work"


def _look(context: StepContext, planned: Mapping[str, Any]) -> Evidence:
    """Commands for both Clusters, so that the answers can be compared."""
    newest = "SELECT version, name, applied_at FROM _aeterna_migrations ORDER BY version DESC LIMIT 1"
    rows = (
        "SELECT relname, (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %I.%I', schemaname, "
        "relname), false, true, '')))[1] AS n FROM pg_stat_user_tables ORDER BY 1"
    )
    lines = ["The newest migration and the rows of each table, of the new one and of the old one:", ""]
    for cluster in (planned["name"], planned["from"]):
        pod = f"kubectl exec -n {context.target.namespace} {cluster}-1 -c postgres -- psql -d {planned['database']}"
        lines += [f'{pod} -c "{query}"' for query in (newest, rows)]
    return Evidence("What is in it: look yourself", "\n".join(lines))


def _switch(context: StepContext, planned: Mapping[str, Any]) -> Evidence:
    """By the button of the card; by hand where the bot is not to do it."""
    values, version, target = context.plan["permanent"], context.plan["current_version"], context.target
    name, old = planned["name"], planned["from"]
    settings = [f"--set-json '{path}={json.dumps(value)}'" for path, value in values.items()]
    lines = [
        f"Switch over, on this run's card, asks for an upgrade to {version} with these values, planned and approved as always:",
        "",
        *(f"{path}: {json.dumps(value)}" for path, value in values.items()),
        "",
        "A file of the target's `values` that names one of these keys has to say the same: files win over what the release",
        f"has, so the next upgrade would switch back. A `database.cluster` of the bot's configuration has to be {name} then.",
        f"Whatever runs CloudNativePG's operator (`cnpg.enabled` up to 0.2) stays on: it runs {name} as well.",
        "",
        "By hand it is:",
        "",
        f"helm upgrade {target.release} CHART --version {version} -n {target.namespace} --reset-then-reuse-values \\",
        "  " + " \\\n  ".join(settings),
        "",
        f"The way back is `/aeterna rollback`: {old} is as it was, without what is written to {name} meanwhile.",
    ]
    return Evidence("Switching the release over", "\n".join(lines))


def _old(context: StepContext, planned: Mapping[str, Any]) -> Evidence:
    old, namespace = planned["from"], context.target.namespace
    text = (
        f"Cluster/{old} runs on, and the release uses it until it is switched over. What is written to it after "
        f"{when(moment(str(planned['point'])))} is not in {planned['name']}. When nobody needs it any more:\n\n"
        f"kubectl delete cluster {old} -n {namespace}\n\nThat deletes its volumes too, where their class says so."
    )
    return Evidence("The old cluster", text)


# -- small things -----------------------------------------------------------------------------------------------


def _recoveries(context: StepContext) -> Recoveries:
    return Recoveries(context.clients.cluster, context.target.namespace)


async def _cluster(context: StepContext, name: str) -> Json | None:
    return await context.clients.cluster.get(API, "Cluster", name, context.target.namespace)


def _ours(cluster: Json, context: StepContext) -> bool:
    return bool((cluster["metadata"].get("labels") or {}).get(RUN_LABEL) == context.run.id)


def _ready(health: PostgresHealth) -> str:
    return f"{health.ready_instances} of {counted(health.instances, 'instance')} ready"


def _where(health: PostgresHealth) -> str:
    return f"Cluster {health.ref.name}: {health.phase or 'waiting for the operator'}, {_ready(health)}"


async def _why(context: StepContext, name: str) -> tuple[Evidence, ...]:
    """Events of the Cluster, and what its Jobs say."""
    cluster, ref = context.clients.cluster, ObjectRef(API, "Cluster", name, context.target.namespace)
    try:
        events = await events_of(cluster, [ref])
        found = await evidence.of_workloads(cluster, await _recoveries(context).jobs(name))
    except BotError as error:
        return (Evidence("The reasons could not be read", str(error)),)
    told = (Evidence(f"Events of {ref}", "\n".join(map(str, events))),) if events else ()
    return (*told, *found)
