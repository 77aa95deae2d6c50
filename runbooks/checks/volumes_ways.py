"""Which ways back to older data this cluster has: snapshots, volumes that were let go or kept, Qdrant's own snapshots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from bot.engine.contract import PlanContext
from bot.errors import BotError
from bot.kube.objects import controller_of, moment, name_of, ref_of
from bot.kube.snapshots import claimed_by
from bot.services.qdrant import Snapshot as VectorSnapshot
from runbooks.text import listed, size, when
from runbooks.vectors import node_at, ready_nodes
from runbooks.volumes import OPERATED, Claim, Volumes, runs_it

_PATIENCE = 20.0  # seconds for one answer of Qdrant: somebody waits for the plan


class Kind(StrEnum):
    """What a claim or a collection is recovered from."""

    SNAPSHOT = "snapshot"
    VOLUME = "volume"
    QDRANT = "qdrant"


@dataclass(frozen=True)
class Way:
    """``claim`` (or collection) gets the data of ``source`` (a VolumeSnapshot, a volume, a kept claim, Qdrant's snapshot).

    ``volume`` and ``source_claim`` are set where the source is a volume; ``node`` where it is Qdrant's.
    """

    kind: Kind
    claim: str
    source: str
    at: datetime | None
    text: str
    volume: str = ""
    source_claim: str = ""
    node: str = ""
    made: VectorSnapshot | None = None


@dataclass(frozen=True)
class Vectors:
    """Qdrant's snapshots by collection, each with its node; ``trouble`` is why there are none to be seen."""

    collections: Mapping[str, Sequence[tuple[str, VectorSnapshot]]] = field(default_factory=dict)
    nodes: int = 0
    trouble: str = ""


async def read_vectors(context: PlanContext) -> Vectors:
    """What every ready node of Qdrant lists. That it does not answer is no error: the other ways are there."""
    if context.target.vector_store.kind != "qdrant":
        return Vectors()
    found: dict[str, list[tuple[str, VectorSnapshot]]] = {}
    try:
        nodes = await ready_nodes(context.clients, context.target)
        for pod in nodes:
            async with node_at(context.clients, context.target, pod, seconds=_PATIENCE) as node:
                for name in await node.collections():
                    found.setdefault(name, []).extend((pod, one) for one in await node.list_snapshots(name))
    except BotError as error:
        return Vectors(trouble=error.message)
    return Vectors(found, len(nodes))


def ways(volumes: Volumes, vectors: Vectors) -> list[Way]:
    """Every way that can be gone, by claim, those of one claim newest first."""
    found = [
        way for claim in volumes.claims.values() if swappable(volumes, claim) is None for way in _of(volumes, claim)
    ]
    for collection, snapshots in vectors.collections.items():
        found += [by_qdrant(collection, node, one) for node, one in snapshots]
    return found


def not_offered(volumes: Volumes, vectors: Vectors) -> list[str]:
    """What this cluster does not offer, each with its reason."""
    storage, found = volumes.storage, []
    if storage.snapshots is None:
        found.append(f"No VolumeSnapshot can be restored: {storage.unseen['snapshots']}.")
    elif not storage.snapshots and volumes.claims:
        classes = storage.classes or {}
        used = sorted({one.storage_class for one in volumes.claims.values() if one.storage_class})
        bare = [
            name
            for name in used
            if name in classes and str(classes[name].get("provisioner")) not in (storage.drivers or ())
        ]
        text = "There is no VolumeSnapshot in the namespace"
        if bare and storage.drivers is not None:
            text += f"; no VolumeSnapshotClass has the driver of {listed(bare)}, so none can be made of it"
        found.append(f"{text}.")
    if "volumes" in storage.unseen:
        found.append(
            f"No volume that was let go can be found: {storage.unseen['volumes']} (`rbac.volumes` of its chart)."
        )
    found += [why for one in volumes.claims.values() if (why := swappable(volumes, one))]
    if vectors.trouble:
        found.append(f"No snapshot of Qdrant can be restored: {vectors.trouble}")
    return found


def swappable(volumes: Volumes, claim: Claim) -> str | None:
    """Why another volume cannot be put behind the claim's name by this bot; None when it can."""
    owner = claim.owner
    if owner is None:
        kind, _, name = claim.whose.partition("/")
        if kind == "Cluster":
            return f"{claim.name} is run by CloudNativePG's {claim.whose}: `recover database` restores that."
        if claim.obj is not None and not name:
            return f"{claim.name} was {claim.whose}."
        return (
            f"{claim.name} is used by {claim.whose}, which is no StatefulSet: restore into a claim of another name, "
            "and name that in the values."
        )
    controller = controller_of(owner) or {}
    if controller.get("kind") in OPERATED or volumes.member(owner) is None:
        by = f"{controller.get('kind', 'somebody')}/{controller.get('name', 'else')}"
        return f"{claim.name} belongs to {ref_of(owner)}, which {by} runs: its operator would start it again at once."
    policy = ((owner.get("spec") or {}).get("persistentVolumeClaimRetentionPolicy")) or {}
    if policy.get("whenScaled") == "Delete":
        return (
            f"{ref_of(owner)} deletes its claims when it is scaled down (persistentVolumeClaimRetentionPolicy): "
            "set whenScaled to Retain first."
        )
    others = [name_of(pod) for pod in claim.pods if not runs_it(pod, owner)]
    if others:
        return f"{claim.name} is mounted by {listed(others)} too, which {ref_of(owner)} does not run: stop that first."
    return None


def _of(volumes: Volumes, claim: Claim) -> list[Way]:
    found = [
        Way(Kind.SNAPSHOT, claim.name, one.name, one.at, f"`{one.name}` of {claim.name}, taken {when(one.at)}")
        for one in volumes.snapshots(claim.name)
        if one.ready
    ]
    for volume in volumes.released(claim.name):
        name = name_of(volume)
        since = moment(str((volume.get("status") or {}).get("lastPhaseTransitionTime") or "") or None)
        text = f"volume `{name}`, which {claim.name} had until {when(since)}"
        had = claimed_by(volume)[1]
        other = had if had != claim.name else ""
        found.append(Way(Kind.VOLUME, claim.name, name, since, text, volume=name, source_claim=other))
    for kept in volumes.kept(claim.name):
        made = moment(str(((kept.obj or {}).get("metadata") or {}).get("creationTimestamp") or "") or None)
        text = f"`{kept.name}`, kept since {when(made)}"
        found.append(Way(Kind.VOLUME, claim.name, kept.name, made, text, volume=kept.volume, source_claim=kept.name))
    return found


def by_qdrant(collection: str, node: str, one: VectorSnapshot) -> Way:
    """A collection back to one of its snapshots."""
    at = _time(one.created_at)
    text = f"Qdrant's `{one.name}` of {collection}, {when(at)}, {size(one.size)}"
    return Way(Kind.QDRANT, collection, one.name, at, text, node=node, made=one)


def _time(text: str) -> datetime | None:
    """Qdrant tells its times in UTC, without saying so."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
