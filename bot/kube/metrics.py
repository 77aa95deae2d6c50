"""Whether autoscalers of a manifest can see anything: resource metrics come from an API that not every cluster serves."""

from __future__ import annotations

from collections.abc import Iterable

from bot.errors import BotError, Temporary
from bot.kube.cluster import Cluster
from bot.kube.failures import UnknownKind
from bot.kube.findings import KubeFinding, unseen
from bot.kube.objects import Json, ref_of

_METRICS = ("metrics.k8s.io/v1beta1", "PodMetrics")


async def metrics_findings(cluster: Cluster, objects: Iterable[Json]) -> list[KubeFinding]:
    """The autoscalers that would see no use of CPU or memory. Raises Temporary when the API server is away."""
    blind = [ref_of(obj) for obj in objects if obj.get("kind") == "HorizontalPodAutoscaler" and _by_resource(obj)]
    if not blind:
        return []
    try:
        await cluster.discovery.resource(*_METRICS)
    except UnknownKind:
        way_out = "Install a metrics server, or set the number of replicas in the values."
        return [
            KubeFinding(
                "warning",
                "capacity.metrics",
                str(ref),
                f"{ref} scales by the use of CPU or memory, and this cluster serves no metrics.k8s.io: it would not scale.",
                way_out,
            )
            for ref in blind
        ]
    except Temporary:
        raise
    except BotError as error:
        return [unseen("whether the cluster serves metrics", error)]
    return []


def _by_resource(autoscaler: Json) -> bool:
    """By ``spec.metrics`` of autoscaling/v2 or the one number of v1; without any, Kubernetes means CPU."""
    metrics = (autoscaler.get("spec") or {}).get("metrics")
    return not metrics or any(one.get("type") in ("Resource", "ContainerResource") for one in metrics)
