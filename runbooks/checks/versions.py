"""Whether this cluster and this Helm can take the new manifest at all: API versions, the chart's demands, the namespace."""

from __future__ import annotations

from typing import ClassVar

from bot.engine.contract import CheckResult, Level, PlanContext
from bot.errors import BotError
from bot.helm.failures import RenderFailed, ValuesRefused
from bot.kube.apiversions import api_findings, namespace_findings
from runbooks.checks.findings import info, not_done
from runbooks.checks.objects import Json, objects_of, told
from runbooks.reading import Reader

WHAT = "Looking at the API versions"


class ApiVersions:
    """API versions that this cluster does not serve or will not for long; ``kubeVersion``; a namespace that goes away."""

    name: ClassVar[str] = "api.versions"

    async def check(self, context: PlanContext) -> CheckResult:
        """What the chart itself demands is compared even where there is no manifest: that may be the very reason."""
        clients, namespace = context.clients, context.target.namespace
        try:
            chart, helm = await Reader(context).chart(), await clients.helm.version()
            objects, trouble = await _objects(context)
            found = [
                *await namespace_findings(clients.cluster, namespace),
                *await api_findings(
                    clients.cluster,
                    objects,
                    namespace,
                    kube_version=str(chart.metadata.get("kubeVersion") or ""),
                    chart_api_version=str(chart.metadata.get("apiVersion") or ""),
                    helm_version=str(helm),
                ),
            ]
        except BotError as error:
            return not_done(Level.BLOCKER, WHAT, error)
        said = (*told(found), *trouble.findings)
        return CheckResult(
            said or (info("The cluster serves every API version of the new manifest."),), files=trouble.files
        )


async def _objects(context: PlanContext) -> tuple[tuple[Json, ...], CheckResult]:
    """Everything that the API server would be given; else nothing, and why."""
    try:
        return (await objects_of(context)).new, CheckResult()
    except (RenderFailed, ValuesRefused):
        return (), CheckResult((info("API versions could not be looked at, because the chart does not render."),))
    except BotError as error:
        return (), not_done(Level.BLOCKER, WHAT, error)
