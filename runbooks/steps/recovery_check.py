"""What is in a restored database before anything uses it, looked at from inside the cluster beside the one that it came from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from pydantic import BaseModel

from bot.engine.contract import Facts, Outcome, StepContext
from bot.errors import BotError, Evidence, Permanent, Refused, UserMistake
from bot.kube.failures import Denied
from bot.kube.objects import Json, condition_of, is_true, moment, name_of
from bot.kube.probejob import ProbeNotDone, ProbeSpec, SecretKey
from bot.probe.result import ProbeResult
from bot.services.cnpg import health_of
from bot.services.cnpg_recovery import application_of
from runbooks.databases import PORT
from runbooks.external import Endpoint
from runbooks.restored import Judged, Verdict, judged
from runbooks.steps.backup import RUN_LABEL
from runbooks.steps.common import Params, ReadingStep
from runbooks.steps.recovery import cluster_named, readiness, reasons, standing
from runbooks.text import when

PASSWORD = "password"  # noqa: S105 - the key in the Secrets that the operator makes (kubernetes.io/basic-auth)


@dataclass(frozen=True)
class Looked:
    """What a look at one Cluster gave: a result, or ``why`` there is none."""

    result: ProbeResult | None
    why: str = ""


class DatabaseCheck(ReadingStep):
    """Connects to the new Cluster as the release would, and compares migrations and rows with the old one's."""

    name: ClassVar[str] = "database.check"
    title: ClassVar[str] = "Check the new cluster"
    timeout: ClassVar[timedelta] = timedelta(minutes=5)
    params: ClassVar[type[BaseModel]] = Params

    async def run(self, context: StepContext, params: Params, intent: Facts) -> Outcome:
        """A warning names what differs, or why nobody has looked. Raises ``Permanent`` when it cannot be used."""
        planned: Mapping[str, Any] = context.plan["recovery"]
        name, old = str(planned["name"]), str(planned["from"])
        cluster = await cluster_named(context, name)
        health = health_of(cluster) if cluster is not None else None
        if cluster is None or health is None or not health.healthy:
            state = standing(health) if health else f"Cluster {name} is not there"
            raise Permanent(
                f"{state}.", way_out="Look at its events and pods; retry.", evidence=await reasons(context, name)
            )
        context.progress(f"Looking into {name} and {old}")
        both = (_baseline(context, planned), _look_into(context, cluster, planned))
        looks = await asyncio.gather(*both, return_exceptions=True)  # neither is left alone when the other fails
        for look in looks:
            if isinstance(look, BaseException):
                raise look
        before, new = (look for look in looks if isinstance(look, Looked))
        state = f"Cluster {name}: {readiness(health)}, {_archiving(cluster)}."
        how = (_switch(context, planned), _old(context, planned))
        if new.result is None:
            return Outcome(
                f"{state} Nobody has looked into it yet: {new.why} How to look yourself and how to switch over stands in "
                "the thread. Nothing uses it yet.",
                facts={"cluster": name},
                evidence=(_by_hand(context, planned), *how),
                warning=True,
            )
        found = judged(new.result, before.result, old_name=old, point=when(moment(str(planned["point"]))))
        told = Evidence(f"{name} beside {old}", "\n".join(found.lines) or "No tables.")
        if found.verdict is Verdict.BAD:
            raise Permanent(f"{state} {' '.join(found.said)}", way_out=_other(context, name), evidence=(told,))
        facts = {**_tested(planned, name, found), "migration": _version(new.result), "away": before.result is None}
        alone = f" {old} could not be looked at to compare: {before.why}" if before.result is None else ""
        return Outcome(
            f"{state} {' '.join(found.said)}{alone} Nothing uses it yet.",
            facts=facts,
            evidence=(told, *how),
            warning=found.verdict is not Verdict.SAME or before.result is None,
        )


async def _look_into(context: StepContext, cluster: Json, planned: Mapping[str, Any]) -> Looked:
    """The new one. Raises ``Permanent`` when it cannot be connected to with the password that the release would use."""
    name = name_of(cluster)
    try:
        result = await _probe(context, cluster, planned, "new")
    except ProbeNotDone as error:
        if error.why == "secret":
            raise
        return Looked(None, _sentence(error))
    except (Denied, Refused, UserMistake) as error:
        return Looked(None, _sentence(error))
    if not result.ok:
        text = f"Nobody can connect to {name}: {result.said}"
        raise Permanent(text, way_out=f"Look at Cluster {name} and its Secret; then retry. {_other(context, name)}")
    return Looked(result)


async def _baseline(context: StepContext, planned: Mapping[str, Any]) -> Looked:
    """The old one, which may be what is broken: that it cannot be looked at is no failure."""
    old = await cluster_named(context, str(planned["from"]))
    if old is None:
        return Looked(None, "it is gone.")
    try:
        result = await _probe(context, old, planned, "old")
    except BotError as error:
        return Looked(None, _sentence(error))
    return Looked(result) if result.ok else Looked(None, result.said)


async def _probe(context: StepContext, cluster: Json, planned: Mapping[str, Any], which: str) -> ProbeResult:
    name, namespace = name_of(cluster), context.target.namespace
    spec = ProbeSpec(
        kind="postgres",
        host=f"{name}-rw.{namespace}.svc",
        port=PORT,
        database=str(planned["database"]),
        user=str(planned["owner"]),
        secret=SecretKey(application_of(cluster).secret or f"{name}-app", PASSWORD),
    )
    labels = {RUN_LABEL: context.run.id}
    return await context.clients.probes.run(spec, name=f"probe-{context.run.id}-{which}", labels=labels)


def _tested(planned: Mapping[str, Any], name: str, found: Judged) -> Facts:
    """For the plan of the upgrade that switches over: what was looked at, and what was found."""
    place = Endpoint("postgres", f"{name}-rw", PORT, str(planned["database"]), str(planned["owner"]))
    told, *differs = found.said
    warnings = differs if found.verdict is Verdict.DIFFERS else []
    return {"cluster": name, "endpoint": place.as_facts(), "said": told.rstrip("."), "warnings": warnings}


def _sentence(error: BotError) -> str:
    return " ".join(part for part in (error.message, error.way_out) if part)


def _other(context: StepContext, name: str) -> str:
    delete = f"`kubectl delete cluster {name} -n {context.target.namespace}`"
    return f"Or ask again with another backup, and remove this one: {delete}. The old database is as it was."


def _version(result: ProbeResult) -> str:
    return result.newest_migration.version if result.newest_migration else ""


def _archiving(cluster: Json) -> str:
    spec = cluster.get("spec") or {}
    if not (spec.get("backup") or {}).get("barmanObjectStore") and not spec.get("plugins"):
        return "without an archive, as the old one"
    working = is_true(condition_of(cluster, "ContinuousArchiving"))
    return "archiving works" if working else "its own archiving has not begun to work"


def _by_hand(context: StepContext, planned: Mapping[str, Any]) -> Evidence:
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
