"""Claims that a rollback leaves: those that were created since, those that grew, and what was written into all of them.

Kubernetes shrinks no claim and Helm deletes none that a StatefulSet made. Nobody can see what is inside; that a pod mounts it
today is the evidence that it was written to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from bot.engine.contract import Level
from bot.errors import Evidence
from bot.helm.models import StoredRelease
from bot.kube.cluster import Cluster
from bot.kube.findings import look
from bot.kube.holdings import ordinal, storage
from bot.kube.objects import Json, moment, name_of, ref_of
from bot.kube.quantities import quantity
from runbooks.checks.objects import told
from runbooks.staying.found import CLAIMS, Stays, is_later, said
from runbooks.text import listed, when
from runbooks.wayback import WayBack

_INSTANCE = "app.kubernetes.io/instance"


async def claims(cluster: Cluster, way: WayBack, before: Sequence[Json], after: Sequence[Json]) -> Stays:
    """The release's claims against the target's manifest. What may not be read is said."""
    namespace = way.current.namespace
    found, pods = await asyncio.gather(
        look(cluster, "v1", "PersistentVolumeClaim", namespace, what="volume claims"),
        look(cluster, "v1", "Pod", namespace, what="pods"),
    )
    users = _users(pods.items)
    mine = [one for one in found.items if _of_release(one, way.current, (*before, *after))]
    findings = list(told((*found.unseen, *pods.unseen)))
    rows = []
    for claim in sorted(mine, key=name_of):
        name, size = f"PersistentVolumeClaim/{name_of(claim)}", storage(claim)
        created = moment((claim.get("metadata") or {}).get("creationTimestamp"))
        wanted = _wanted_size(claim, after, namespace)
        if is_later(created, way.since):
            keeps = "stays as it is" if wanted else "stays, though nothing in that revision uses it"
            level = Level.INFO if wanted else Level.WARNING
            findings.append(
                said(level, CLAIMS, f"{name} ({size}) was created since, at {when(created)}; it {keeps}.", subject=name)
            )
        if wanted and size and quantity(size) > quantity(wanted):
            text = f"{name} has grown to {size} since it was {wanted}: no claim shrinks."
            findings.append(said(Level.WARNING, CLAIMS, text, subject=name))
        used = users.get(name_of(claim), [])
        rows.append(
            f"{name}  {size}  created {when(created)}  {f'mounted by {listed(used)}' if used else 'not mounted'}"
        )
    written = [name_of(claim) for claim in mine if users.get(name_of(claim))]
    if written:
        text = f"What was written since {when(way.since)} stays in {listed(sorted(written))}."
        findings.append(said(Level.INFO, CLAIMS, text))
    return Stays(tuple(findings), (Evidence("Volume claims of the release", "\n".join(rows)),) if rows else ())


def _users(pods: Iterable[Json]) -> dict[str, list[str]]:
    """The pods that mount each claim."""
    found: dict[str, list[str]] = {}
    for pod in pods:
        for volume in (pod.get("spec") or {}).get("volumes") or []:
            if claim := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
                found.setdefault(str(claim), []).append(name_of(pod))
    return found


def _of_release(claim: Json, release: StoredRelease, objects: Iterable[Json]) -> bool:
    """By its label, or because the release's manifests make it."""
    labels = (claim.get("metadata") or {}).get("labels") or {}
    if labels.get(_INSTANCE) == release.name or labels.get("release") == release.name:
        return True
    return any(_size_in(claim, obj, release.namespace) is not None for obj in objects)


def _wanted_size(claim: Json, objects: Iterable[Json], namespace: str) -> str:
    """The size that these objects ask for the claim; empty where they do not make it."""
    return next((size for obj in objects if (size := _size_in(claim, obj, namespace)) is not None), "")


def _size_in(claim: Json, obj: Json, namespace: str) -> str | None:
    if obj.get("kind") == "PersistentVolumeClaim" and name_of(obj) == name_of(claim):
        return storage(obj)
    if obj.get("kind") == "StatefulSet":
        for template in (obj.get("spec") or {}).get("volumeClaimTemplates") or []:
            if ordinal(claim, ref_of(obj, namespace), [name_of(template)]) is not None:
                return storage(template)
    return None
