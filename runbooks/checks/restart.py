"""A restart before it happens: which workloads, in which order, each in which way, and what will not be restarted."""

from __future__ import annotations

from typing import Any, ClassVar

from bot.engine.contract import CheckResult, Finding, Level, PlanContext
from bot.kube.objects import Json
from bot.kube.restart import rolls
from runbooks.checks.findings import info, warning
from runbooks.checks.release import settings_facts
from runbooks.components import Member, Release
from runbooks.reading import place_of
from runbooks.text import counted, listed

RESTARTABLE = ("Deployment", "StatefulSet")
_BY_OTHERS = {
    "Cluster": "its operator restarts it: `kubectl cnpg restart {name}`",
    "Dragonfly": "its operator restarts it",
    "Rollout": "Argo restarts it: `kubectl argo rollouts restart {name}`",
}


class RestartPlan:
    """What `recover restart` would restart: one component, or all of the release, in the order of dependence."""

    name: ClassVar[str] = "components.restart"

    async def check(self, context: PlanContext) -> CheckResult:
        """``restarts`` is what will be done, in that order."""
        release = await Release.read(context)
        asked = context.run.inputs.get("component")
        names = release.present() if asked is None else [str(asked)]
        ordered = [name for stage in release.coming_back(names) for name in stage]
        members = [member for name in ordered for member in release.of(name)]
        findings: list[Finding] = []
        rows: list[dict[str, Any]] = []
        for member in members:
            if member.workload.ref.kind not in RESTARTABLE:
                findings += _by_others(member)
            elif member.workload.level == 0:
                findings.append(info(f"{member.subject} is at zero; there is nothing to restart."))
            else:
                obj = await context.clients.cluster.get_ref(member.workload.ref)
                findings += _hindrances(member, obj or {})
                rows.append(_row(member, obj or {}))
        if rows:
            findings.insert(0, info(_told(rows)))
        else:
            there = listed(release.present())
            way_out = f"There are {there}." if there else "Look at `status`."
            findings.append(
                Finding(Level.BLOCKER, "There is nothing that could be restarted.", way_out, "restart.nothing")
            )
        bound = [f"{row['subject']} {row['uid']} {row['way']}" for row in rows]
        bindings = {"cluster": place_of(context.clients, context.target), "restarts": ", ".join(bound) or "none"}
        return CheckResult(tuple(findings), {**settings_facts(context.target), "restarts": rows}, bindings)


def _row(member: Member, obj: Json) -> dict[str, Any]:
    return {
        "component": member.component,
        "subject": member.subject,
        "uid": member.workload.uid,
        "pods": member.workload.level,
        "way": "roll" if rolls(obj) else "evict",
    }


def _told(rows: list[dict[str, Any]]) -> str:
    order = listed([f"{row['subject']} ({counted(row['pods'], 'pod')})" for row in rows])
    return f"Restarted one after the other, each only when the one before is ready: {order}."


def _by_others(member: Member) -> list[Finding]:
    how = _BY_OTHERS.get(member.workload.ref.kind)
    named = how.format(name=member.workload.ref.name) if how else ""
    return [info(f"{member.subject} is not restarted by this run; {named}.")] if how else []


def _hindrances(member: Member, obj: Json) -> list[Finding]:
    spec = obj.get("spec") or {}
    found = []
    if spec.get("paused"):
        text = f"The rollout of {member.subject} is paused, so it would not restart."
        way_out = (
            f"`kubectl rollout resume {member.subject.lower()} -n {member.workload.ref.namespace}`, then plan again."
        )
        found.append(Finding(Level.BLOCKER, text, way_out, "restart.paused", member.subject))
    if (spec.get("strategy") or {}).get("type") == "Recreate" or member.workload.level == 1:
        surge = member.workload.ref.kind == "Deployment" and (spec.get("strategy") or {}).get("type") != "Recreate"
        if not surge:
            text = f"{member.subject} is away while it restarts: no other pod of it serves meanwhile."
            found.append(warning(text))
    if not rolls(obj):
        text = f"{member.subject} updates on delete: its pods are evicted one at a time, under its PodDisruptionBudget."
        found.append(info(text))
    return found
