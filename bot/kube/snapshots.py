"""What of a namespace is storage: claims, volumes, classes, VolumeSnapshots, and which pods mount what. It only looks.

What is not served or may not be read is left out, and ``unseen`` says why: ``bot.kube.rebinding`` needs more rights than a look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bot.errors import Refused
from bot.kube.cluster import Cluster
from bot.kube.failures import UnknownKind
from bot.kube.objects import Json, annotations_of, moment, name_of, uid_of

API = "snapshot.storage.k8s.io/v1"
GROUP = API.partition("/")[0]
KEPT_FOR = "aeterna-bot.io/kept-for"
"""On a claim that was kept when another took its name: that name."""
_FREE = ("Released", "Available")
_FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Snapshot:
    """A VolumeSnapshot. ``claim`` is empty where its content was there first; ``size`` is the least that a claim of it needs."""

    name: str
    uid: str
    claim: str
    ready: bool
    at: datetime | None
    size: str
    trouble: str
    content: str

    @property
    def state(self) -> str:
        return "ready" if self.ready else self.trouble or "not ready"


def snapshot_of(obj: Json) -> Snapshot:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return Snapshot(
        name=name_of(obj),
        uid=uid_of(obj),
        claim=str((spec.get("source") or {}).get("persistentVolumeClaimName") or ""),
        ready=bool(status.get("readyToUse")),
        at=moment(status.get("creationTime")),
        size=str(status.get("restoreSize") or ""),
        trouble=str((status.get("error") or {}).get("message") or ""),
        content=str(status.get("boundVolumeSnapshotContentName") or ""),
    )


@dataclass(frozen=True)
class Storage:
    """One namespace. A part is None where it could not be read; then ``unseen`` has the reason under the part's name."""

    claims: Mapping[str, Json]
    pods: Sequence[Json]
    sets: Sequence[Json]
    volumes: Mapping[str, Json] | None
    classes: Mapping[str, Json] | None
    snapshots: Sequence[Snapshot] | None
    drivers: frozenset[str] | None
    """Those that some VolumeSnapshotClass names: they can make snapshots."""
    unseen: Mapping[str, str] = field(default_factory=dict)

    def mounting(self, claim: str) -> tuple[Json, ...]:
        """The pods that mount a claim and have not run to their end."""
        return tuple(pod for pod in self.pods if claim in mounted(pod))

    def volume_of(self, claim: Json) -> Json | None:
        return (self.volumes or {}).get(str((claim.get("spec") or {}).get("volumeName") or ""))

    def released(self, namespace: str) -> list[Json]:
        """Volumes that are bound to nothing, and had a claim in this namespace or are reserved for one."""
        return [
            volume
            for volume in (self.volumes or {}).values()
            if (volume.get("status") or {}).get("phase") in _FREE and claimed_by(volume)[0] == namespace
        ]


def mounted(pod: Json) -> frozenset[str]:
    """The claims that a pod keeps from going; none of one that has run to its end."""
    if (pod.get("status") or {}).get("phase") in _FINISHED:
        return frozenset()
    named = ((volume.get("persistentVolumeClaim") or {}) for volume in (pod.get("spec") or {}).get("volumes") or [])
    return frozenset(str(one["claimName"]) for one in named if one.get("claimName"))


def claimed_by(volume: Json) -> tuple[str, str, str]:
    """Namespace, name and uid of the claim that a volume belongs to, each empty where it is not said."""
    ref = (volume.get("spec") or {}).get("claimRef") or {}
    return str(ref.get("namespace") or ""), str(ref.get("name") or ""), str(ref.get("uid") or "")


def waits_for_a_pod(storage_class: Json | None) -> bool:
    """Whether claims of the class get their volume only when a pod that mounts them is scheduled."""
    return bool(storage_class) and (storage_class or {}).get("volumeBindingMode") == "WaitForFirstConsumer"


def kept_for(claim: Json) -> str:
    return annotations_of(claim).get(KEPT_FOR, "")


async def read_storage(cluster: Cluster, namespace: str) -> Storage:
    """Raises what listing claims, pods or StatefulSets raises; everything else may be missing."""
    claims, pods, sets = await asyncio.gather(
        cluster.list("v1", "PersistentVolumeClaim", namespace),
        cluster.list("v1", "Pod", namespace),
        cluster.list("apps/v1", "StatefulSet", namespace),
    )
    unseen: dict[str, str] = {}
    volumes = await _volumes(cluster, claims, unseen)
    classes, kinds, snapshots = await asyncio.gather(
        _listed(cluster, "classes", "storage.k8s.io/v1", "StorageClass", None, unseen),
        _listed(cluster, "drivers", API, "VolumeSnapshotClass", None, unseen),
        _listed(cluster, "snapshots", API, "VolumeSnapshot", namespace, unseen),
    )
    found = None if snapshots is None else [snapshot_of(one) for one in snapshots]
    return Storage(
        claims=_by_name(claims),
        pods=pods,
        sets=sets,
        volumes=volumes,
        classes=None if classes is None else _by_name(classes),
        snapshots=None if found is None else sorted(found, key=_newest, reverse=True),
        drivers=None if kinds is None else frozenset(str(one.get("driver")) for one in kinds),
        unseen=unseen,
    )


async def _volumes(cluster: Cluster, claims: Iterable[Json], unseen: dict[str, str]) -> dict[str, Json] | None:
    """All of the cluster; else those behind the claims; else none. Released ones are found only among all."""
    listed = await _listed(cluster, "volumes", "v1", "PersistentVolume", None, unseen)
    if listed is not None:
        return _by_name(listed)
    names = [str(one["spec"]["volumeName"]) for one in claims if (one.get("spec") or {}).get("volumeName")]
    try:
        found = await asyncio.gather(*(cluster.get("v1", "PersistentVolume", name) for name in names))
    except Refused:
        return None
    return _by_name(one for one in found if one is not None)


async def _listed(
    cluster: Cluster, part: str, api_version: str, kind: str, namespace: str | None, unseen: dict[str, str]
) -> list[Json] | None:
    try:
        return await cluster.list(api_version, kind, namespace)
    except UnknownKind:
        unseen[part] = f"the cluster has no {kind}s: their CustomResourceDefinitions are not installed"
    except Refused:
        unseen[part] = f"the bot may not list {kind}s"
    return None


def _newest(snapshot: Snapshot) -> str:
    return snapshot.at.isoformat() if snapshot.at else ""


def _by_name(objects: Iterable[Json]) -> dict[str, Json]:
    return {name_of(one): one for one in objects}
