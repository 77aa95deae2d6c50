"""Reads what ``bot.kube.loss`` judges: live objects, claims, volumes. Read-only, and only what may be at stake."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bot.errors import BotError, Temporary
from bot.kube.cluster import Cluster
from bot.kube.failures import NotFound
from bot.kube.findings import KubeFinding, Looked, look, ordered, unseen
from bot.kube.holdings import Holdings
from bot.kube.lanes import in_lanes
from bot.kube.loss import loss_findings, removed
from bot.kube.objects import HOOK_ANNOTATION, Json, ObjectRef, annotations_of, name_of, ref_of, unmanaged


async def find_losses(
    cluster: Cluster, before: Sequence[Json], after: Sequence[Json], *, namespace: str
) -> list[KubeFinding]:
    """What the step from ``before`` (the release's manifest) to ``after`` (the new one) would lose.

    Findings about data are ``LossFinding``; what this identity may not read is a warning that names it. Of the
    volumes only those of claims at stake are read.
    """
    leaving = await asyncio.to_thread(removed, before, after, namespace)  # thousands of objects take a while
    watched = [obj for obj in after if obj.get("kind") in ("StatefulSet", "Secret") and not _hook(obj)]
    live = await read_live(cluster, [*leaving, *watched], namespace)
    holdings, blind = await _around(cluster, leaving, watched, live, namespace)
    found = await asyncio.to_thread(loss_findings, before, holdings, after, namespace=namespace)
    names = sorted({one.volume for finding in found for one in finding.takes if one.volume})
    if names:
        volumes = await read_live(cluster, [_volume(name) for name in names], "")
        holdings = replace(holdings, volumes=volumes.objects, volumes_known=not volumes.blind)
        blind += volumes.blind
        found = await asyncio.to_thread(loss_findings, before, holdings, after, namespace=namespace)
    return ordered([*found, *live.blind, *blind])


@dataclass(frozen=True)
class Live:
    """Objects as the cluster has them; ``gone`` are not there, and ``blind`` says what could not be read."""

    objects: tuple[Json, ...]
    gone: frozenset[ObjectRef]
    blind: tuple[KubeFinding, ...]


async def read_live(cluster: Cluster, objects: Iterable[Json], namespace: str, *, managers: bool = False) -> Live:
    """The live form of each of ``objects``, a few at a time. One finding a kind that may not be read.

    Without ``managers`` their managed fields are left out, which are most of what a live object weighs.
    """

    async def one(ref: ObjectRef) -> Json | BotError | None:
        try:
            found = await cluster.get_ref(ref)
            return found if managers or found is None else unmanaged(found)
        except NotFound:  # the kind itself is gone
            return None
        except Temporary:
            raise
        except BotError as error:
            return error

    refs = list(dict.fromkeys(ref_of(obj, namespace) for obj in objects))
    answers = list(zip(refs, await in_lanes(one, refs), strict=True))
    blind: dict[str, KubeFinding] = {}
    for ref, answer in answers:
        if isinstance(answer, BotError):
            blind.setdefault(ref.kind, unseen(f"{ref.kind} objects", answer))
    return Live(
        tuple(answer for _, answer in answers if isinstance(answer, dict)),
        frozenset(ref for ref, answer in answers if answer is None),
        tuple(blind.values()),
    )


async def _around(
    cluster: Cluster, leaving: Sequence[Json], watched: Sequence[Json], live: Live, namespace: str
) -> tuple[Holdings, tuple[KubeFinding, ...]]:
    """Claims, StatefulSets and Secrets of the namespaces concerned, and the objects of definitions that leave."""
    custom = [obj for obj in leaving if "." in str(obj.get("apiVersion")) and obj.get("kind") != "StatefulSet"]
    sets_matter = any(obj.get("kind") == "StatefulSet" for obj in watched)
    if not leaving and not sets_matter:
        return Holdings(live=live.objects, gone=live.gone), ()
    spaces = sorted(
        {namespace}
        | {ref_of(obj, namespace).namespace for obj in leaving}
        | {name_of(obj) for obj in leaving if obj.get("kind") == "Namespace"}
    )
    claims = await _each(cluster, "v1", "PersistentVolumeClaim", spaces)
    sets = await _each(cluster, "apps/v1", "StatefulSet", spaces) if custom else Looked()
    secrets = await _each(cluster, "v1", "Secret", spaces, metadata_only=True) if custom else Looked()
    customs = [await look(cluster, version, kind) for version, kind in _definitions(leaving)]
    holdings = Holdings(
        live=live.objects,
        gone=live.gone,
        claims=claims.items,
        sets=sets.items,
        secrets=secrets.items,
        customs=tuple(one for found in customs for one in found.items),
    )
    blind = (*claims.unseen, *sets.unseen, *secrets.unseen, *(one for found in customs for one in found.unseen))
    return holdings, blind


async def _each(
    cluster: Cluster, api_version: str, kind: str, namespaces: Sequence[str], *, metadata_only: bool = False
) -> Looked:
    found = await asyncio.gather(
        *(look(cluster, api_version, kind, one, metadata_only=metadata_only) for one in namespaces)
    )
    return Looked(
        tuple(item for one in found for item in one.items), tuple(item for one in found for item in one.unseen)
    )


def _definitions(leaving: Iterable[Json]) -> list[tuple[str, str]]:
    """API version and kind of each definition that leaves, by its stored version."""
    told = []
    for obj in leaving:
        if obj.get("kind") != "CustomResourceDefinition":
            continue
        spec = obj.get("spec") or {}
        versions = [one for one in spec.get("versions") or [] if one.get("served")]
        if versions:
            told.append((f"{spec.get('group')}/{versions[0].get('name')}", str((spec.get("names") or {}).get("kind"))))
    return told


def _volume(name: str) -> Json:
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}}


def _hook(obj: Json) -> bool:
    return HOOK_ANNOTATION in annotations_of(obj)
