"""The cluster before the change: whether the new manifest fits, and what is wrong already now."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from bot.engine.contract import CheckResult, Level, PlanContext
from bot.errors import BotError
from bot.kube.capacity import capacity_findings
from bot.kube.metrics import metrics_findings
from bot.kube.objects import workload_refs
from bot.kube.workloads import WorkloadHealth, health
from runbooks.checks.findings import info, not_done, warning
from runbooks.checks.objects import objects_of, told
from runbooks.reading import Reader
from runbooks.text import counted

ROLLING, SICK = "health.rollout", "health.sick"


class Capacity:
    """Whether the new manifest can run here: nodes, quotas, limits, volumes, budgets, autoscalers, priorities."""

    name: ClassVar[str] = "capacity"

    async def check(self, context: PlanContext) -> CheckResult:
        """Says nothing twice: where the chart does not render, ``manifests.dry_run`` says why."""
        try:
            objects = await objects_of(context)
        except BotError:
            return CheckResult((info("Capacity was not looked at, because there is no manifest to add up."),))
        try:
            found = await capacity_findings(
                context.clients.cluster,
                objects.after,
                context.target.namespace,
                before=objects.before,
                hooks=objects.hooks,
            )
            found = [*found, *await metrics_findings(context.clients.cluster, objects.after)]
        except BotError as error:
            return not_done(Level.WARNING, "Looking at the free capacity", error)
        return CheckResult(told(found))


class HealthNow:
    """What is wrong with the release's workloads before anything is changed."""

    name: ClassVar[str] = "health.now"

    async def check(self, context: PlanContext) -> CheckResult:
        """A problem that was there before is a warning: the upgrade may be what mends it."""
        reader = Reader(context)
        refs = workload_refs(await reader.objects(await reader.release()), context.target.namespace)
        try:
            found = await health(context.clients.cluster, refs)
        except BotError as error:
            return not_done(Level.WARNING, "Looking at the release's health", error)
        sick = [one for one in found if not one.healthy]
        findings = [
            replace(warning(f"Already now: {_complaint(one)}", _way_out(one)), code=_code(one), subject=str(one.ref))
            for one in sick
        ]
        if not sick:
            findings.append(info(f"{counted(len(found), 'workload')} healthy before the change."))
        return CheckResult(tuple(findings), facts={"healthy_before": not sick})


def _complaint(one: WorkloadHealth) -> str:
    said = " ".join(problem.message for problem in one.problems)
    if _code(one) == ROLLING:
        return f"{one.ref} is in the middle of a rollout. {said}".strip()
    return said or f"{one.ref} has {one.ready} of {one.desired} pods ready."


def _code(one: WorkloadHealth) -> str:
    """Where enough pods serve and it has not arrived all the same, some of them are still the old ones."""
    return (
        ROLLING if not one.settled and one.desired and (one.updated < one.desired or one.ready >= one.desired) else SICK
    )


def _way_out(one: WorkloadHealth) -> str:
    return "Wait for its end, or find out what holds it up, before another change." if _code(one) == ROLLING else ""
