"""What of a cluster may hold data: claims, volumes, who owns them, and where a removed object's data would be.

Pure readers over the API server's JSON; ``bot.kube.loss`` judges, ``bot.kube.loss_reading`` asks the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bot.kube.objects import Json, ObjectRef, name_of, ref_of, uid_of


@dataclass(frozen=True, order=True)
class Taken:
    """Something that goes with a removed object, or stays behind: ``fate`` says which."""

    ref: ObjectRef
    size: str = ""
    volume: str = ""
    reclaim: str = ""
    """The PersistentVolume's reclaim policy; empty where it could not be read."""
    fate: Literal["lost", "stays"] = "lost"

    def __str__(self) -> str:
        known = [
            self.size,
            f"volume {self.volume}" if self.volume else "",
            f"reclaim policy {self.reclaim}" if self.reclaim else "",
        ]
        told = ", ".join(one for one in known if one)
        return f"{self.ref}{f' ({told})' if told else ''}"


@dataclass(frozen=True)
class Holdings:
    """What the cluster has that may hold data. Live objects as the API server gives them.

    ``live`` are the release's own objects and ``gone`` those that were looked for and are not there; ``secrets``
    need only metadata; ``customs`` are the objects of kinds whose definitions leave the release.
    ``volumes_known`` is False where PersistentVolumes could not be read.
    """

    live: Sequence[Json] = ()
    gone: frozenset[ObjectRef] = frozenset()
    claims: Sequence[Json] = ()
    volumes: Sequence[Json] = ()
    volumes_known: bool = True
    sets: Sequence[Json] = ()
    secrets: Sequence[Json] = ()
    customs: Sequence[Json] = ()
    _by_key: dict[tuple[str, str, str, str], Json] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        self._by_key.update({key_of(ref_of(obj)): obj for obj in self.live})

    def of(self, ref: ObjectRef) -> Json | None:
        """The live object, whatever version of its group either of the two names."""
        return self._by_key.get(key_of(ref)) or self._by_key.get(key_of(ref, namespaced=False))


def taken(claim: Json, holdings: Holdings, *, fate: Literal["lost", "stays"] | None = None) -> Taken:
    """A claim with its size and volume. Without ``fate`` the volume's reclaim policy decides."""
    spec = claim.get("spec") or {}
    volume = str(spec.get("volumeName", ""))
    found = next((one for one in holdings.volumes if name_of(one) == volume), None) if volume else None
    reclaim = str((found.get("spec") or {}).get("persistentVolumeReclaimPolicy", "")) if found else ""
    decided = fate or ("stays" if reclaim == "Retain" else "lost")
    return Taken(ref_of(claim), storage(claim), volume, reclaim, decided)


def storage(obj: Json) -> str:
    """The size that a claim has, or asks for; for a database's own resource, of its storage."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    has = (status.get("capacity") or {}).get("storage") if isinstance(status, dict) else None
    asks = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    return str(has or asks or (spec.get("storage") or {}).get("size") or "")


def owned_claims(uid: str, holdings: Holdings) -> list[Json]:
    """Claims that garbage collection takes with the object of ``uid``, through StatefulSets that it owns too."""
    found = [claim for claim in holdings.claims if uid in owners(claim)]
    for one in holdings.sets:
        spec = one.get("spec") or {}
        if uid not in owners(one):
            continue
        deletes = (spec.get("persistentVolumeClaimRetentionPolicy") or {}).get("whenDeleted") == "Delete"
        templates = [name_of(template) for template in spec.get("volumeClaimTemplates") or []]
        for claim in holdings.claims:
            mine = deletes and ordinal(claim, ref_of(one), templates) is not None
            if (mine or uid_of(one) in owners(claim)) and claim not in found:
                found.append(claim)
    return found


def ordinal(claim: Json, ref: ObjectRef, templates: Iterable[str]) -> int | None:
    """Which replica of the StatefulSet ``claim`` belongs to (``TEMPLATE-SET-ORDINAL``), or None."""
    if str((claim.get("metadata") or {}).get("namespace") or ref.namespace) != ref.namespace:
        return None
    for template in templates:
        number = name_of(claim).removeprefix(f"{template}-{ref.name}-")
        if number != name_of(claim) and number.isdecimal():
            return int(number)
    return None


def owners(obj: Json) -> set[str]:
    """The uids of an object's owners; when they are gone, garbage collection takes the object."""
    return {str(owner.get("uid")) for owner in (obj.get("metadata") or {}).get("ownerReferences") or []}


def group_of(obj: Json) -> str:
    """The API group of an object; empty for the core group."""
    return str(obj.get("apiVersion", "")).rpartition("/")[0]


def key_of(ref: ObjectRef, *, namespaced: bool = True) -> tuple[str, str, str, str]:
    """What makes an object the same one for Helm: group, kind, namespace and name, whatever its version."""
    return (ref.api_version.rpartition("/")[0], ref.kind, ref.namespace if namespaced else "", ref.name)
