"""Whether a new manifest fits: its pods' requests against what nodes and quotas have left. A first form.

It adds up requests and compares; it knows no taints, affinity, topology or priorities. The scheduler has
the last word, and the rollout tells what it said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

from bot.errors import Refused
from bot.kube.cluster import Cluster
from bot.kube.objects import Json, ObjectRef, name_of, ref_of, workload_refs
from bot.kube.workloads import release_pods

Amounts: TypeAlias = dict[str, Decimal]

_SUFFIXES = {
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
}


@dataclass(frozen=True)
class CapacityFinding:
    """One finding of a plan; ``message`` is a sentence."""

    level: Literal["blocker", "warning", "info"]
    subject: str
    message: str


@dataclass(frozen=True)
class PodDemand:
    """``replicas`` pods of one workload and what each requests."""

    ref: ObjectRef
    replicas: int
    each: Mapping[str, Decimal]


async def capacity_findings(cluster: Cluster, objects: Sequence[Json], namespace: str) -> list[CapacityFinding]:
    """What the manifest's workloads would ask of the nodes and quotas, compared with what is free.

    The release's present pods of the same workloads count as free, since they make room one by one. What this
    identity may not read is an ``info`` finding.
    """
    demands = demands_of(objects, namespace)
    refs = workload_refs(objects, namespace)
    present = [pod for pods in (await release_pods(cluster, refs)).values() for pod in pods]
    quotas = await cluster.list("v1", "ResourceQuota", namespace)
    found = check_quotas(demands, present, quotas)
    try:
        nodes, pods = await asyncio.gather(cluster.list("v1", "Node"), cluster.list("v1", "Pod"))
    except Refused as error:
        return [*found, CapacityFinding("info", "nodes", f"Free capacity is not known: {error.message}")]
    return [*found, *check_nodes(demands, present, nodes, pods)]


def demands_of(objects: Iterable[Json], namespace: str) -> list[PodDemand]:
    """What each workload of a manifest asks for. One without ``replicas`` takes its autoscaler's minimum."""
    least = {
        (target.get("kind"), target.get("name")): int(spec.get("minReplicas") or 1)
        for obj in objects
        if obj.get("kind") == "HorizontalPodAutoscaler"
        for spec in [obj.get("spec") or {}]
        for target in [spec.get("scaleTargetRef") or {}]
    }
    demands = []
    for obj in objects:
        if obj.get("kind") not in ("Deployment", "StatefulSet"):
            continue
        spec, ref = obj.get("spec") or {}, ref_of(obj, namespace)
        replicas = spec.get("replicas")
        count = least.get((ref.kind, ref.name), 1) if replicas is None else int(replicas)
        demands.append(PodDemand(ref, count, requests_of((spec.get("template") or {}).get("spec") or {})))
    return demands


def check_nodes(
    demands: Sequence[PodDemand], present: Sequence[Json], nodes: Sequence[Json], pods: Sequence[Json]
) -> list[CapacityFinding]:
    """Blocker: a pod larger than any node. Warning: all together more than is free."""
    usable = [node for node in nodes if not (node.get("spec") or {}).get("unschedulable")]
    capacity = {name_of(node): amounts((node.get("status") or {}).get("allocatable") or {}) for node in usable}
    found = []
    for demand in demands:
        if demand.replicas and not any(_fits(demand.each, room) for room in capacity.values()):
            text = f"One pod of {demand.ref} requests {_said(demand.each)}, more than any node has in all."
            found.append(CapacityFinding("blocker", str(demand.ref), text))
    mine = {pod["metadata"]["uid"] for pod in present}
    used = [
        requests_of(pod["spec"])
        for pod in pods
        if pod["spec"].get("nodeName") in capacity and _live(pod) and pod["metadata"]["uid"] not in mine
    ]
    asked = total(_times(demand) for demand in demands)
    room = total(capacity.values())
    taken = total(used)
    for resource in ("cpu", "memory"):
        free = room.get(resource, Decimal(0)) - taken.get(resource, Decimal(0))
        if asked.get(resource, Decimal(0)) > free:
            needs, left = _amount(resource, asked[resource]), _amount(resource, max(free, Decimal(0)))
            text = f"The release requests {needs} of {resource}; {left} is free on {len(usable)} nodes."
            found.append(CapacityFinding("warning", resource, text))
    return found


def check_quotas(
    demands: Sequence[PodDemand], present: Sequence[Json], quotas: Sequence[Json]
) -> list[CapacityFinding]:
    """Blocker: what the namespace's quota has left, the present pods given back, is less than what is
    asked.
    """
    asked = total(_times(demand) for demand in demands) | {"pods": Decimal(sum(d.replicas for d in demands))}
    given = total(requests_of(pod["spec"]) for pod in present if _live(pod))
    given["pods"] = Decimal(sum(_live(pod) for pod in present))
    found = []
    for quota in quotas:
        status = quota.get("status") or {}
        hard, used = amounts(status.get("hard") or {}), amounts(status.get("used") or {})
        for key, limit in hard.items():
            resource = key.removeprefix("requests.")
            if resource not in ("cpu", "memory", "pods"):
                continue
            after = used.get(key, Decimal(0)) - given.get(resource, Decimal(0)) + asked.get(resource, Decimal(0))
            if after > limit:
                allowed, wanted = _amount(resource, limit), _amount(resource, after)
                text = f"Quota {name_of(quota)} allows {allowed} of {key}; the release would bring it to {wanted}."
                found.append(CapacityFinding("blocker", name_of(quota), text))
    return found


def requests_of(pod_spec: Json) -> Amounts:
    """What the scheduler counts for a pod: all containers together, or its largest init container, and
    overhead.
    """
    running = total(_requests(container) for container in pod_spec.get("containers") or [])
    for container in pod_spec.get("initContainers") or []:
        asked = _requests(container)
        if container.get("restartPolicy") == "Always":
            running = total([running, asked])
        else:
            running = {key: max(running.get(key, Decimal(0)), asked.get(key, Decimal(0))) for key in {*running, *asked}}
    return total([running, amounts(pod_spec.get("overhead") or {})])


def quantity(text: object) -> Decimal:
    """A Kubernetes quantity (``100m``, ``256Mi``, ``1e3``) as a number of its base unit."""
    said = str(text)
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if said.endswith(suffix):
            return Decimal(said.removesuffix(suffix)) * _SUFFIXES[suffix]
    return Decimal(said)


def amounts(said: Mapping[str, object]) -> Amounts:
    """Every quantity of a resource list."""
    return {key: quantity(value) for key, value in said.items()}


def total(lists: Iterable[Mapping[str, Decimal]]) -> Amounts:
    """Resource lists added up."""
    added: Amounts = {}
    for one in lists:
        for key, value in one.items():
            added[key] = added.get(key, Decimal(0)) + value
    return added


def _requests(container: Json) -> Amounts:
    resources = container.get("resources") or {}
    # A limit without a request is the request (the API server's defaulting).
    return amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _times(demand: PodDemand) -> Amounts:
    return {key: value * demand.replicas for key, value in demand.each.items()}


def _fits(asked: Mapping[str, Decimal], room: Mapping[str, Decimal]) -> bool:
    return all(room.get(key, Decimal(0)) >= value for key, value in asked.items())


def _live(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _said(asked: Mapping[str, Decimal]) -> str:
    return ", ".join(f"{_amount(key, value)} of {key}" for key, value in sorted(asked.items()))


def _amount(resource: str, value: Decimal) -> str:
    if "memory" in resource or "storage" in resource:
        return f"{value / Decimal(1024) ** 2:,.0f} MiB"
    return f"{value.normalize():f}"
