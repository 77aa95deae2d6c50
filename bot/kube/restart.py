"""Restarting a workload as ``kubectl rollout restart`` does it, and pod by pod where it does not roll by itself.

The mark of the run stands in the pod template beside kubectl's annotation. So it can be seen on every pod whether it was made by
this restart, and repeating a restart that was cut off changes nothing that is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from bot.errors import Permanent
from bot.kube.cluster import Cluster
from bot.kube.failures import Call, Conflict, NotFound, ServerAway
from bot.kube.objects import Json, ObjectRef, annotations_of, condition_of, controller_of, is_true, name_of, uid_of

RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
RESTARTED_BY = "aeterna-bot.io/restarted-by"
_PAUSE = 2.0  # seconds before an eviction that a budget forbids is asked for again


@dataclass(frozen=True)
class Budget:
    """Evicts under PodDisruptionBudgets: waits at most ``seconds`` in all for one to allow it."""

    seconds: float
    on_wait: Callable[[str], None] = lambda _: None


def rolls(obj: Json) -> bool:
    """Whether its controller replaces pods when the template changes; with ``OnDelete`` somebody has to remove each."""
    strategy = ((obj.get("spec") or {}).get("updateStrategy")) or {}
    return strategy.get("type") != "OnDelete"


def marked(obj: Json, run: str) -> bool:
    """Whether this run has marked the workload's template."""
    template = (obj.get("spec") or {}).get("template") or {}
    return annotations_of(template).get(RESTARTED_BY) == run


async def mark(cluster: Cluster, ref: ObjectRef, *, run: str, at: str) -> None:
    """Marks the pod template: what rolls begins to roll. ``at`` is ISO 8601. Doing it twice changes nothing more."""
    obj = await cluster.get_ref(ref)
    if obj is None:
        raise Permanent(f"{ref} is gone.", way_out="Look at what became of it, then retry.")
    if not marked(obj, run):
        annotations = {RESTARTED_AT: at, RESTARTED_BY: run}
        await cluster.patch(ref, {"spec": {"template": {"metadata": {"annotations": annotations}}}})


async def old_pods(cluster: Cluster, ref: ObjectRef, *, run: str) -> list[Json]:
    """The pods of the workload that were there before this restart, the highest ordinal first as a StatefulSet goes."""
    obj = await cluster.get_ref(ref)
    mine = [pod for pod in await cluster.list("v1", "Pod", ref.namespace) if _owned(pod, uid_of(obj or {}))]
    old = [pod for pod in mine if annotations_of(pod).get(RESTARTED_BY) != run]
    return sorted(old, key=lambda pod: (len(name_of(pod)), name_of(pod)), reverse=True)


async def evict(cluster: Cluster, pod: Json, *, budget: Budget) -> None:
    """Evicts exactly this pod by the Eviction API, so that its PodDisruptionBudget is asked. One that is gone is no error.

    Raises ``Permanent`` when the budget allows it not within its time.
    """
    namespace, name = pod["metadata"]["namespace"], name_of(pod)
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
        "deleteOptions": {"preconditions": {"uid": uid_of(pod)}},
    }
    call = Call("create", "pods/eviction", "", namespace, name)
    loop = asyncio.get_running_loop()
    end = loop.time() + budget.seconds
    while True:
        try:
            await cluster.session.json(call, "POST", f"/api/v1/namespaces/{namespace}/pods/{name}/eviction", body=body)
        except (NotFound, Conflict):
            return  # it went by itself, or another one of its name is there already
        except ServerAway as error:
            wait = error.retry_after or _PAUSE
            if loop.time() + wait > end:
                raise Permanent(
                    f"Pod {name} may not be evicted: {error.message}",
                    way_out="Let its PodDisruptionBudget allow one pod to be away, by more pods or a wider budget; then retry.",
                ) from error
            budget.on_wait(f"waiting until a PodDisruptionBudget lets {name} go")
            await asyncio.sleep(wait)
        else:
            return


async def replaced(cluster: Cluster, ref: ObjectRef, *, gone: str, pods: int, seconds: float) -> bool:
    """Whether, within ``seconds``, the pod with the uid ``gone`` has gone and ``pods`` of the workload's pods are ready."""
    owner = uid_of(await cluster.get_ref(ref) or {})
    seen: dict[str, Json] = {}
    synced = False
    try:
        async with asyncio.timeout(seconds), aclosing(cluster.watch("v1", "Pod", ref.namespace)) as events:
            async for event in events:
                if event.type == "SYNCED":
                    synced = True
                elif event.type == "DELETED":
                    seen.pop(uid_of(event.object), None)
                elif _owned(event.object, owner):
                    seen[uid_of(event.object)] = event.object
                ready = sum(is_true(condition_of(pod, "Ready")) for pod in seen.values())
                if synced and gone not in seen and ready >= pods:
                    return True
    except TimeoutError:
        return False
    return False


def _owned(pod: Json, owner: str) -> bool:
    return bool(owner) and (controller_of(pod) or {}).get("uid") == owner
