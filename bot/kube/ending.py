"""Whether the pods of workloads that were taken to zero are gone, and what is known of those that are not. It only looks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass

from bot.kube.cluster import Cluster
from bot.kube.objects import Json, ObjectRef, name_of, uid_of
from bot.kube.workloads import release_pods


@dataclass(frozen=True)
class LeftPod:
    """A pod that is still there. ``since`` is when its deletion began, as the API server writes times; empty if it did not."""

    name: str
    owner: str
    since: str
    finalizers: tuple[str, ...]
    node: str

    def __str__(self) -> str:
        if not self.since:
            return f"{self.name} of {self.owner} is not being deleted yet."
        waits = f", waiting for {', '.join(self.finalizers)}" if self.finalizers else ""
        where = f" on {self.node}" if self.node else ""
        return f"{self.name} of {self.owner} has been ending{where} since {self.since}{waits}."


async def pods_left(
    cluster: Cluster, namespace: str, refs: Iterable[ObjectRef], *, within: float, on_progress: Callable[[int], None]
) -> list[LeftPod]:
    """The pods of ``refs`` that are still there when they are all gone or ``within`` seconds are over."""
    wanted = list(refs)
    left = {uid_of(pod) for pods in (await release_pods(cluster, wanted)).values() for pod in pods}
    try:
        async with asyncio.timeout(within):
            await _gone(cluster, namespace, left, on_progress)
    except TimeoutError:
        found = await release_pods(cluster, wanted)
        return [_left(ref, pod) for ref, pods in found.items() for pod in pods if uid_of(pod) in left]
    return []


async def _gone(cluster: Cluster, namespace: str, left: set[str], on_progress: Callable[[int], None]) -> None:
    there: set[str] = set()
    synced = False
    async with aclosing(cluster.watch("v1", "Pod", namespace)) as events:
        async for event in events:
            if event.type == "SYNCED":
                left &= there
                synced = True
            elif event.type == "DELETED":
                left.discard(uid_of(event.object))
            else:
                there.add(uid_of(event.object))
            if synced:
                on_progress(len(left))
            if synced and not left:
                return


def _left(ref: ObjectRef, pod: Json) -> LeftPod:
    meta = pod["metadata"]
    return LeftPod(
        name=name_of(pod),
        owner=str(ref),
        since=str(meta.get("deletionTimestamp") or ""),
        finalizers=tuple(meta.get("finalizers") or ()),
        node=str((pod.get("spec") or {}).get("nodeName") or ""),
    )
