"""The workloads of a release and their pods, found by ownership.

Not by labels: in Aeterna's charts the migration, backup and test pods carry the server's own labels.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from bot.kube.cluster import Cluster
from bot.kube.diagnose import Problem, Surroundings, diagnose
from bot.kube.lanes import in_lanes
from bot.kube.objects import Json, ObjectRef, annotations_of, controller_of, name_of, uid_of, unmanaged
from bot.kube.readiness import WorkloadState, state_of

REVISION = "deployment.kubernetes.io/revision"
_OWNED = (("apps/v1", "ReplicaSet"), ("v1", "Pod"))


@dataclass(frozen=True)
class Family:
    """A workload and what it owns. ``newest`` are the pods of its newest revision (all of them where
    that is unknown).
    """

    ref: ObjectRef
    obj: Json | None
    replica_sets: tuple[Json, ...]
    pods: tuple[Json, ...]
    newest: tuple[Json, ...]

    @property
    def state(self) -> WorkloadState:
        return state_of(self.ref, self.obj)


@dataclass(frozen=True)
class WorkloadHealth:
    """One workload as it is now; counts are pods, ``images`` are those of its running pods."""

    ref: ObjectRef
    desired: int
    ready: int
    updated: int
    images: tuple[str, ...]
    problems: tuple[Problem, ...]
    settled: bool

    @property
    def healthy(self) -> bool:
        """Rolled out, and nothing to complain about."""
        return self.settled and not self.problems


async def families(cluster: Cluster, refs: Iterable[ObjectRef]) -> dict[ObjectRef, Family]:
    """Each of ``refs`` with what it owns, by one list of pods and ReplicaSets a namespace.

    ``refs`` may be of any kind that owns pods, custom resources included.
    """
    wanted = list(dict.fromkeys(refs))
    namespaces = sorted({ref.namespace for ref in wanted})
    lists = [partial(cluster.list, *kind, ns) for kind in _OWNED for ns in namespaces]
    reads: list[Callable[[], Awaitable[Any]]] = [*lists, *(partial(cluster.get_ref, ref) for ref in wanted)]
    answers = await in_lanes(lambda read: read(), reads)
    sets, pods = answers[: len(namespaces)], answers[len(namespaces) : len(lists)]
    found = [(ref, obj and unmanaged(obj)) for ref, obj in zip(wanted, answers[len(lists) :], strict=True)]
    return await asyncio.to_thread(
        _families, found, dict(zip(namespaces, sets, strict=True)), dict(zip(namespaces, pods, strict=True))
    )


Owned: TypeAlias = "dict[tuple[str, str], list[Json]]"
"""Objects by kind and name of what controls them."""


def _by_controller(objects: Iterable[Json]) -> Owned:
    found: Owned = {}
    for obj in objects:
        if owner := controller_of(obj):
            found.setdefault((str(owner.get("kind")), str(owner.get("name"))), []).append(obj)
    return found


def _families(
    found: Iterable[tuple[ObjectRef, Json | None]], sets: Mapping[str, list[Json]], pods: Mapping[str, list[Json]]
) -> dict[ObjectRef, Family]:
    """``sets`` and ``pods`` by namespace. Hundreds of each may be there: looked up by what controls them, not searched."""
    sets_of, pods_of = ({space: _by_controller(some) for space, some in one.items()} for one in (sets, pods))
    return {ref: _family(ref, obj, sets_of[ref.namespace], pods_of[ref.namespace]) for ref, obj in found}


def _family(ref: ObjectRef, obj: Json | None, sets_of: Owned, pods_of: Owned) -> Family:
    sets = sets_of.get((ref.kind, ref.name), [])
    pods = [obj] if obj is not None and ref.kind == "Pod" else []
    for kind, name in [(ref.kind, ref.name), *(("ReplicaSet", name_of(one)) for one in sets)]:
        pods += pods_of.get((kind, name), [])
    return family_of(ref, obj, sets, pods)


def family_of(ref: ObjectRef, obj: Json | None, replica_sets: Iterable[Json], pods: Iterable[Json]) -> Family:
    """What ``ref`` owns among a namespace's ReplicaSets and pods."""
    sets = tuple(one for one in replica_sets if _owned_by(one, ref, obj))
    owners = {uid_of(one) for one in sets}
    mine = tuple(
        pod
        for pod in pods
        if (ref.kind == "Pod" and name_of(pod) == ref.name)
        or _owned_by(pod, ref, obj)
        or (controller_of(pod) or {}).get("uid") in owners
    )
    return Family(ref, obj, sets, mine, _newest(obj, sets, mine))


async def release_pods(cluster: Cluster, refs: Iterable[ObjectRef]) -> dict[ObjectRef, list[Json]]:
    """The pods of each workload, also those that are ending."""
    return {ref: list(family.pods) for ref, family in (await families(cluster, refs)).items()}


async def health(cluster: Cluster, refs: Iterable[ObjectRef]) -> list[WorkloadHealth]:
    """How each workload is now, in the order of ``refs``."""
    found = await families(cluster, refs)
    return await asyncio.to_thread(lambda: [health_of(family) for family in found.values()])


def health_of(family: Family) -> WorkloadHealth:
    """A family's health by its objects alone (events are not asked for)."""
    state = family.state
    problems = diagnose(family.ref, family.obj, Surroundings(pods=family.newest, owners=family.replica_sets))
    return WorkloadHealth(
        ref=family.ref,
        desired=state.desired,
        ready=state.ready,
        updated=state.updated,
        images=images_of(family.pods),
        problems=tuple(problems),
        settled=state.phase == "ready",
    )


def images_of(pods: Iterable[Json]) -> tuple[str, ...]:
    """The images that ``pods`` are to run, each once, init containers left out."""
    return tuple(
        sorted({str(c["image"]) for pod in pods for c in pod["spec"].get("containers") or [] if c.get("image")})
    )


def _owned_by(child: Json, ref: ObjectRef, obj: Json | None) -> bool:
    owner = controller_of(child)
    if owner is None or (owner.get("kind"), owner.get("name")) != (ref.kind, ref.name):
        return False
    # A Job that was made anew under its old name does not own its predecessor's pods.
    return obj is None or owner.get("uid") == uid_of(obj)


def _newest(obj: Json | None, sets: Sequence[Json], pods: tuple[Json, ...]) -> tuple[Json, ...]:
    revision = annotations_of(obj).get(REVISION) if obj is not None else None
    newest = {uid_of(one) for one in sets if annotations_of(one).get(REVISION) == revision}
    if revision is None or not newest:
        return pods
    return tuple(pod for pod in pods if (controller_of(pod) or {}).get("uid") in newest)
