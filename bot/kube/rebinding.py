"""Putting another volume behind a claim's name, and keeping the old one under another name. No volume is ever deleted.

A claim cannot be renamed. So the old volume gets the reclaim policy Retain, its claim is deleted, the new claim takes the name at
once, and the volume is reserved for a claim of the other name before that is made: at no moment may anybody else bind it. Every
write is conditional on what is there, so ``swap`` may be run again after a death at any of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from bot.errors import BotError, Permanent, Refused
from bot.kube.cluster import Cluster
from bot.kube.failures import Conflict
from bot.kube.objects import Json, ObjectRef, name_of, uid_of
from bot.kube.snapshots import KEPT_FOR, claimed_by, mounted

EARLIER_POLICY = "aeterna-bot.io/reclaim-policy-before"
"""On a volume that was set to Retain: what it was."""
_BOUND_BY = "pv.kubernetes.io/bound-by-controller"
_CLAIM, _VOLUME = ("v1", "PersistentVolumeClaim"), ("v1", "PersistentVolume")
_TRIES = 6


@dataclass(frozen=True)
class Swap:
    """``body`` is the claim that is to stand under its name, ``mark`` a label of it that only this swap has.

    ``volume`` is what is behind that name now and is kept under the name ``kept`` (both empty: nothing is). ``source`` is the
    volume that ``body`` binds, if it binds one, and ``source_claim`` the claim that has it until then.
    """

    namespace: str
    body: Json
    mark: tuple[str, str]
    volume: str = ""
    kept: str = ""
    source: str = ""
    source_claim: str = ""

    @property
    def claim(self) -> str:
        return name_of(self.body)

    def made(self, obj: Json | None) -> bool:
        """Whether this swap has made the object."""
        key, value = self.mark
        labels = ((obj or {}).get("metadata") or {}).get("labels") or {}
        return bool(labels.get(key) == value)


@dataclass(frozen=True)
class Standing:
    """How far a swap is: what stands under the claim's name, whether the old volume has its other name, what is in the way."""

    new: bool
    kept: bool
    old: bool
    blocked: str = ""


class Rebinder:
    """The writes on one cluster."""

    def __init__(
        self, cluster: Cluster, *, seconds: float = 120.0, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._cluster = cluster
        self._seconds = seconds
        self._say = say

    async def retain(self, volume: str) -> None:
        """From now on the volume outlives its claim. Raises ``Permanent`` when there is no such volume."""
        obj = await self._volume(volume)
        policy = str(obj["spec"].get("persistentVolumeReclaimPolicy") or "")
        if policy != "Retain":
            body = {
                "metadata": {"annotations": {EARLIER_POLICY: policy}},
                "spec": {"persistentVolumeReclaimPolicy": "Retain"},
            }
            await self._cluster.patch(ObjectRef(*_VOLUME, volume), body)

    async def standing(self, swap: Swap) -> Standing:
        """What the cluster shows of a swap. It only looks."""
        claim, kept = await self._claim(swap, swap.claim), await self._claim(swap, swap.kept) if swap.kept else None
        has = _volume_name(claim)
        old = claim is not None and bool(swap.volume) and has == swap.volume
        new = not old and swap.made(claim) and (not swap.source or has == swap.source)
        blocked = ""
        if claim is not None and not old and not new and not self._waits(swap, claim):
            blocked = (
                f"Claim {swap.claim} is there, bound to {has or 'no volume yet'}, and this run did not make it: "
                "somebody else did meanwhile."
            )
        elif kept is not None and not swap.made(kept):
            blocked = f"There is a claim {swap.kept} already, and this run did not make it."
        elif swap.volume and not old:
            blocked = self._taken(swap, await self._volume(swap.volume), swap.kept)
        is_kept = not swap.volume or (swap.made(kept) and _phase(kept) == "Bound")
        return Standing(new=new or self._caught(swap, claim), kept=is_kept, old=old, blocked=blocked)

    async def swap(self, swap: Swap) -> None:
        """Does what is left of it. Raises ``Permanent`` that says what is where; nothing is lost then."""
        seen = await self.standing(swap)
        if seen.blocked:
            raise Permanent(seen.blocked, way_out=self._where(swap))
        if not seen.new:
            await self._make_way(swap, old=seen.old)
            await self._put_new(swap)
        if swap.volume:
            await self._keep(swap)

    # -- its parts, in this order -----------------------------------------------------------------------------

    async def _make_way(self, swap: Swap, *, old: bool) -> None:
        """Everything that may fail is tried before the first deletion."""
        if swap.volume:
            await self.retain(swap.volume)
        if old:
            await self._rehearse(swap)
        if swap.source:
            await self._take_source(swap)
        if old:
            await self._remove(swap, swap.claim, swap.volume)

    async def _rehearse(self, swap: Swap) -> None:
        """The API server's word, its quotas' and its webhooks', on one claim more than there is."""
        trial = {**swap.body, "metadata": {**swap.body["metadata"], "name": swap.kept}}
        trial["spec"] = {key: value for key, value in swap.body["spec"].items() if key != "volumeName"}
        try:
            await self._cluster.create(trial, dry_run=True)
        except Conflict as error:
            if not error.already_exists:
                raise

    async def _take_source(self, swap: Swap) -> None:
        """Reserves the volume for the claim's name, so that nobody else binds it; its claim goes first, if it has one."""
        await self.retain(swap.source)
        if swap.source_claim:
            await self._remove(swap, swap.source_claim, swap.source)
        await self._reserve(swap, swap.source, swap.claim)

    async def _remove(self, swap: Swap, name: str, volume: str) -> None:
        """Deletes a claim object whose volume is retained; its data stays where it is."""
        claim = await self._claim(swap, name)
        if claim is None or _volume_name(claim) != volume:
            return
        users = [name_of(pod) for pod in await self._cluster.list("v1", "Pod", swap.namespace) if name in mounted(pod)]
        if users:
            raise Permanent(
                f"Claim {name} is mounted by {', '.join(users[:3])}: it was left as it is.",
                way_out="Whoever started that pod meanwhile has to stop it; then retry.",
            )
        if (await self._volume(volume))["spec"].get("persistentVolumeReclaimPolicy") != "Retain":
            raise Permanent(
                f"Volume {volume} is not set to Retain any more, so its claim was left as it is.",
                way_out="Somebody set it back: find out who, then retry.",
            )
        self._say(f"Claim {name} makes way; its volume {volume} stays")
        ref = ObjectRef(*_CLAIM, name, swap.namespace)
        await self._cluster.delete(ref, uid=uid_of(claim))
        if not await self._until(ref, lambda obj: obj is None or uid_of(obj) != uid_of(claim)):
            holds = ", ".join(claim["metadata"].get("finalizers") or ()) or "something"
            raise Permanent(
                f"Claim {name} is being deleted and does not go: {holds} holds it. Its volume {volume} is retained.",
                way_out=f"See who uses it: `kubectl describe pvc {name} -n {swap.namespace}`. Then retry.",
            )

    async def _put_new(self, swap: Swap) -> None:
        waiting = await self._claim(swap, swap.claim)
        if waiting is not None and self._waits(swap, waiting):
            return  # it waits for a volume, and gets the reserved one
        self._say(f"Claim {swap.claim} is made anew")
        try:
            await self._cluster.create(swap.body)
        except Conflict as error:
            if not error.already_exists or not swap.made(await self._claim(swap, swap.claim)):
                raise
        except (Permanent, Refused) as error:
            await self._put_back(swap, error)

    async def _put_back(self, swap: Swap, error: BotError) -> None:
        """The new claim cannot be: the old volume gets its name back."""
        if not swap.volume:
            raise error
        await self._reserve(swap, swap.volume, swap.claim)
        await self._cluster.create(_bound_to(swap, swap.claim, await self._volume(swap.volume)))
        then = "Retry when that is settled, or stop here; `emergency restore` starts what stands still."
        raise Permanent(
            f"The new claim was not accepted: {error.message} Claim {swap.claim} has its old volume {swap.volume} again.",
            way_out=f"{error.way_out} {then}".strip(),
            evidence=error.evidence,
        ) from error

    async def _keep(self, swap: Swap) -> None:
        self._say(f"The old volume {swap.volume} gets the claim {swap.kept}")
        await self._reserve(swap, swap.volume, swap.kept)
        if await self._claim(swap, swap.kept) is None:
            await self._cluster.create(
                _bound_to(swap, swap.kept, await self._volume(swap.volume), {KEPT_FOR: swap.claim})
            )
        if not await self._until(ObjectRef(*_CLAIM, swap.kept, swap.namespace), lambda obj: _phase(obj) == "Bound"):
            raise Permanent(
                f"Claim {swap.kept} does not bind to {swap.volume}. The volume is retained and reserved for it.",
                way_out=f"`kubectl describe pvc {swap.kept} -n {swap.namespace}` has the reason; then retry.",
            )

    # -- volumes ----------------------------------------------------------------------------------------------

    async def _reserve(self, swap: Swap, volume: str, claim: str) -> None:
        """Pre-binds the volume to a claim that need not be there yet."""
        for attempt in range(_TRIES):
            obj = await self._volume(volume)
            if taken := self._taken(swap, obj, claim):
                raise Permanent(taken, way_out=self._where(swap))
            there = await self._claim(swap, claim)
            if claimed_by(obj) in ((swap.namespace, claim, ""), (swap.namespace, claim, uid_of(there or {}))):
                return
            ref = {"apiVersion": "v1", "kind": _CLAIM[1], "namespace": swap.namespace, "name": claim}
            body = {
                "metadata": {
                    "resourceVersion": obj["metadata"]["resourceVersion"],
                    "annotations": {_BOUND_BY: None},
                },
                "spec": {"claimRef": {**ref, "uid": None, "resourceVersion": None}},
            }
            try:
                await self._cluster.patch(ObjectRef(*_VOLUME, volume), body)
            except Conflict:  # the binder writes into volumes too
                if attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(0.05 * 2**attempt)
            else:
                return

    def _taken(self, swap: Swap, volume: Json, claim: str) -> str:
        """Why the volume is no longer ours to give; empty when it is."""
        namespace, name, _ = claimed_by(volume)
        ours = {swap.claim, swap.kept, swap.source_claim, claim, ""}
        if not name or (namespace == swap.namespace and name in ours):
            return ""
        return f"Volume {name_of(volume)} was bound to the claim {namespace}/{name} by somebody else meanwhile."

    async def _volume(self, name: str) -> Json:
        obj = await self._cluster.get(*_VOLUME, name)
        if obj is None:
            raise Permanent(
                f"Volume {name} is not there any more: somebody deleted it.",
                way_out="Its data may still be on the storage itself; ask whoever runs that before anything else is done.",
            )
        return obj

    async def _claim(self, swap: Swap, name: str) -> Json | None:
        return await self._cluster.get(*_CLAIM, name, swap.namespace)

    def _waits(self, swap: Swap, claim: Json) -> bool:
        """A claim of that name without any volume, when what is wanted is a certain volume for it."""
        return bool(swap.source) and not _volume_name(claim)

    def _caught(self, swap: Swap, claim: Json | None) -> bool:
        return bool(swap.source) and _volume_name(claim) == swap.source

    async def _until(self, ref: ObjectRef, true: Callable[[Json | None], bool]) -> bool:
        return await until(self._cluster, ref, true, seconds=self._seconds)

    @staticmethod
    def _where(swap: Swap) -> str:
        kept = f"The data of before is on the volume {swap.volume}, which is retained. " if swap.volume else ""
        return f"{kept}Look at what was done, then ask again: `recover volumes` shows what there is."


async def until(cluster: Cluster, ref: ObjectRef, true: Callable[[Json | None], bool], *, seconds: float) -> bool:
    """Whether ``true`` of the object (None while there is none) comes about within ``seconds``."""
    seen: Json | None = None
    watched = cluster.watch(
        ref.api_version, ref.kind, ref.namespace or None, field_selector=f"metadata.name={ref.name}"
    )
    synced = False
    try:
        async with asyncio.timeout(seconds), aclosing(watched) as events:
            async for event in events:
                if event.type == "SYNCED":
                    synced = True
                else:
                    seen = None if event.type == "DELETED" else event.object
                if synced and true(seen):
                    return True
    except TimeoutError:
        return False
    return False


def _bound_to(swap: Swap, name: str, volume: Json, annotations: dict[str, str] | None = None) -> Json:
    """A claim for exactly this volume, with the volume's own size, class and modes."""
    spec = volume["spec"]
    labels: dict[str, Any] = {**(swap.body["metadata"].get("labels") or {})}
    if name == swap.claim:
        labels.pop(swap.mark[0], None)
    return {
        "apiVersion": "v1",
        "kind": _CLAIM[1],
        "metadata": {"name": name, "namespace": swap.namespace, "labels": labels, "annotations": annotations or {}},
        "spec": {
            "accessModes": spec["accessModes"],
            "resources": {"requests": {"storage": spec["capacity"]["storage"]}},
            "storageClassName": spec.get("storageClassName") or "",
            "volumeMode": spec.get("volumeMode") or "Filesystem",
            "volumeName": name_of(volume),
        },
    }


def _volume_name(claim: Json | None) -> str:
    return str(((claim or {}).get("spec") or {}).get("volumeName") or "")


def _phase(claim: Json | None) -> str:
    return str(((claim or {}).get("status") or {}).get("phase") or "")
