"""Reads what ``bot.kube.capacity`` judges, side by side and read-only; what may not be read is told, not skipped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from bot.errors import BotError, Temporary
from bot.kube.cluster import Cluster
from bot.kube.findings import KubeFinding, Looked, look, unseen
from bot.kube.holdings import key_of
from bot.kube.loss import removed
from bot.kube.loss_reading import read_live
from bot.kube.objects import Json, ObjectRef, controller_of, name_of, ref_of
from bot.kube.quantities import NOTHING
from bot.kube.standing import Standing, owned_by, read_standing

_SHORT = {
    ("", "Service"): "services",
    ("", "Secret"): "secrets",
    ("", "ConfigMap"): "configmaps",
    ("", "ReplicationController"): "replicationcontrollers",
    ("", "ResourceQuota"): "resourcequotas",
}


@dataclass(frozen=True)
class Surroundings:
    """What was read of the cluster. ``nodes`` is None where nodes, or the pods on them, could not be read."""

    nodes: tuple[Json, ...] | None = None
    pods: tuple[Standing, ...] = ()
    tops: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Each pod's uid with the kind and name of the workload that it belongs to in the end."""
    live: tuple[Json, ...] = ()
    quotas: tuple[Json, ...] = ()
    limits: tuple[Json, ...] = ()
    claims: tuple[Json, ...] = ()
    classes: tuple[Json, ...] | None = None
    priorities: tuple[Json, ...] | None = None
    budgets: tuple[Json, ...] = ()
    scalers: tuple[Json, ...] = ()
    added: Mapping[str, Decimal] = field(default_factory=dict)


async def read_surroundings(
    cluster: Cluster,
    objects: Sequence[Json],
    namespace: str,
    *,
    before: Sequence[Json] = (),
) -> tuple[Surroundings, tuple[KubeFinding, ...]]:
    """Everything that ``judge`` needs, side by side, and what could not be read."""
    wanted = [
        look(cluster, "v1", "Node", what="nodes"),
        _owners(cluster, namespace),
        look(cluster, "v1", "ResourceQuota", namespace, what="resource quotas"),
        look(cluster, "v1", "LimitRange", namespace, what="limit ranges"),
        look(cluster, "v1", "PersistentVolumeClaim", namespace, what="volume claims"),
        look(cluster, "policy/v1", "PodDisruptionBudget", namespace, what="disruption budgets"),
        look(cluster, "autoscaling/v2", "HorizontalPodAutoscaler", namespace, what="autoscalers"),
        _if(_mounts(objects), cluster, "storage.k8s.io/v1", "StorageClass", "storage classes"),
        _if(_prioritised(objects), cluster, "scheduling.k8s.io/v1", "PriorityClass", "priority classes"),
    ]
    (standing, blind), live, looked = await asyncio.gather(
        _pods(cluster, namespace),
        read_live(cluster, [obj for obj in objects if obj.get("kind") in _LIVE], namespace),
        asyncio.gather(*wanted),
    )
    nodes, owners, quotas, limits, claims, budgets, scalers, classes, priorities = looked
    counted = any(_counts_objects(quota) for quota in quotas.items)
    added, unread = await _added(cluster, objects, before, namespace) if counted else ({}, ())
    around = Surroundings(
        nodes=nodes.items if nodes.known and not blind else None,
        pods=tuple(standing),
        tops=owned_by((pod for pod in standing if pod.namespace == namespace), _chains(owners.items)),
        live=live.objects,
        quotas=quotas.items,
        limits=limits.items,
        claims=claims.items,
        classes=classes.items if classes.known else None,
        priorities=priorities.items if priorities.known else None,
        budgets=budgets.items,
        scalers=scalers.items,
        added=added,
    )
    return around, (*blind, *(one for each in looked for one in each.unseen), *live.blind, *unread)


_LIVE = ("Deployment", "StatefulSet", "DaemonSet", "Job", "Cluster")


async def _pods(cluster: Cluster, namespace: str) -> tuple[list[Standing], tuple[KubeFinding, ...]]:
    """The cluster's pods; where only the namespace's may be read, those, and the finding that says so."""
    try:
        return await read_standing(cluster, namespace, everywhere=True), ()
    except Temporary:
        raise
    except BotError as error:
        blind = unseen("the pods of other namespaces, and so what is free on the nodes", error)
    try:
        return await read_standing(cluster, namespace, everywhere=False), (blind,)
    except Temporary:
        raise
    except BotError as error:
        return [], (blind, unseen("pods", error))


async def _owners(cluster: Cluster, namespace: str) -> Looked:
    """What stands between pods and their workloads."""
    sets, stateful = await asyncio.gather(
        look(cluster, "apps/v1", "ReplicaSet", namespace, what="replica sets", metadata_only=True),
        look(cluster, "apps/v1", "StatefulSet", namespace, what="stateful sets", metadata_only=True),
    )
    return Looked((*sets.items, *stateful.items), (*sets.unseen, *stateful.unseen))


def _chains(objects: Iterable[Json]) -> dict[tuple[str, str], tuple[str, str]]:
    found = {}
    for obj in objects:
        owner = controller_of(obj)
        if owner is not None:
            found[str(obj.get("kind")), name_of(obj)] = (str(owner.get("kind")), str(owner.get("name")))
    return found


async def _if(wanted: bool, cluster: Cluster, api_version: str, kind: str, what: str) -> Looked:
    """A list of the whole cluster's, asked for only where the manifest makes it matter."""
    return await look(cluster, api_version, kind, what=what) if wanted else Looked()


def _mounts(objects: Iterable[Json]) -> bool:
    return any(
        obj.get("kind") == "PersistentVolumeClaim" or (obj.get("spec") or {}).get("volumeClaimTemplates")
        for obj in objects
    )


def _prioritised(objects: Iterable[Json]) -> bool:
    return any(
        (((obj.get("spec") or {}).get("template") or {}).get("spec") or {}).get("priorityClassName") for obj in objects
    )


def _counts_objects(quota: Json) -> bool:
    hard = (quota.get("spec") or {}).get("hard") or {}
    return any(key.startswith(("count/", "services")) or key in _SHORT.values() for key in hard)


async def _added(
    cluster: Cluster, objects: Sequence[Json], before: Sequence[Json], namespace: str
) -> tuple[dict[str, Decimal], tuple[KubeFinding, ...]]:
    """By quota key, how many objects of the namespace the upgrade creates, less those that it removes first.

    One Secret more than the manifest has: Helm's own record of the new revision.
    """
    there = await read_live(cluster, objects, namespace)
    known = {key_of(ref_of(obj)) for obj in there.objects}
    told: dict[str, Decimal] = {"secrets": Decimal(1), "count/secrets": Decimal(1)}
    for obj in objects:
        ref = ref_of(obj, namespace)
        if ref.namespace != namespace or {key_of(ref), key_of(ref, namespaced=False)} & known:
            continue
        for key in await _count_keys(cluster, ref, obj):
            told[key] = told.get(key, NOTHING) + 1
    for obj in removed(before, objects, namespace):
        for key in await _count_keys(cluster, ref_of(obj, namespace), obj):
            told[key] = told.get(key, NOTHING) - 1
    return told, there.blind


async def _count_keys(cluster: Cluster, ref: ObjectRef, obj: Json) -> list[str]:
    """Under which keys a quota counts an object; pods and claims are counted elsewhere."""
    try:
        resource = await cluster.discovery.resource(ref.api_version, ref.kind)
    except BotError:
        return []  # a kind that is not served is the dry run's finding
    if not resource.namespaced or ref.kind in ("Pod", "PersistentVolumeClaim"):
        return []
    keys = [f"count/{resource.plural}.{resource.group}" if resource.group else f"count/{resource.plural}"]
    short = _SHORT.get((resource.group, ref.kind))
    if short:
        keys.append(short)
    kind = (obj.get("spec") or {}).get("type")
    if short == "services" and kind in ("LoadBalancer", "NodePort"):
        keys.append("services.nodeports")
        keys += ["services.loadbalancers"] if kind == "LoadBalancer" else []
    return keys
