"""Whether a new manifest can run here: nodes, quotas, limits, volumes, budgets, autoscalers, priorities.

Reads what it needs, read-only, and judges in a thread, so that a large release does not hold up the event loop. What
this identity may not read becomes a warning that names it; the other questions are answered all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from bot.kube.cluster import Cluster
from bot.kube.demand import Demand, demands_of
from bot.kube.disruption import budget_findings, priority_findings, scaler_findings
from bot.kube.findings import KubeFinding, ordered
from bot.kube.holdings import Holdings, key_of
from bot.kube.loss import removed
from bot.kube.objects import HOOK_ANNOTATION, Json, annotations_of, name_of, ref_of
from bot.kube.quota import Counts, claim_limit_findings, limit_findings, quota_findings, with_defaults
from bot.kube.room import room_findings
from bot.kube.surroundings import Surroundings, read_surroundings
from bot.kube.volumes import added_storage, claims_of, volume_findings


async def capacity_findings(
    cluster: Cluster,
    objects: Sequence[Json],
    namespace: str,
    *,
    before: Sequence[Json] = (),
    hooks: Sequence[Json] = (),
) -> list[KubeFinding]:
    """What of the new manifest (``objects``, ``hooks``) would not fit, or not work, in this cluster.

    ``before`` is the release's present manifest: what is in it and not in ``objects`` goes away and makes room.
    Blockers first. A read that failed is a warning with code ``unseen``.
    """
    around, blind = await read_surroundings(cluster, objects, namespace, before=before)
    found = await asyncio.to_thread(judge, around, objects, namespace, before=before, hooks=hooks)
    return ordered([*blind, *found])


def judge(
    around: Surroundings,
    objects: Sequence[Json],
    namespace: str,
    *,
    before: Sequence[Json] = (),
    hooks: Sequence[Json] = (),
) -> list[KubeFinding]:
    """The pure part of ``capacity_findings``."""
    leaving = {key_of(ref_of(obj, namespace)) for obj in removed(before, objects, namespace)}
    plain = [obj for obj in objects if HOOK_ANNOTATION not in annotations_of(obj)]
    own = {key_of(ref_of(obj, namespace)) for obj in plain}
    scalers = [one for one in around.scalers if key_of(ref_of(one)) not in own | leaving]
    budgets = [one for one in plain if one.get("kind") == "PodDisruptionBudget"]
    budgets += [one for one in around.budgets if key_of(ref_of(one)) not in own | leaving]
    demands = [
        with_defaults(one, around.limits)
        for one in demands_of(plain, namespace, hooks=hooks, before=before, live=around.live, scalers=scalers)
    ]
    mine = _mine(around, [*before, *plain], namespace)
    claims = claims_of(plain, demands, namespace)
    storage = added_storage(claims, around.claims)
    new_claims = {one.name: one.size for one in claims if one.name not in {name_of(c) for c in around.claims}}
    counts = Counts({**around.added, **storage})
    present = [pod.spec for pod in around.pods if pod.uid in mine and pod.namespace == namespace]
    return [
        *([] if around.nodes is None else room_findings(demands, around.nodes, around.pods, mine, around.tops)),
        *quota_findings(around.quotas, [one for one in demands if _in(one, namespace)], present, counts),
        *limit_findings([one for one in demands if _in(one, namespace)], around.limits),
        *claim_limit_findings(new_claims, around.limits),
        *volume_findings(
            plain, claims, around.claims, Holdings(live=around.live), classes=around.classes, namespace=namespace
        ),
        *budget_findings(budgets, demands, before=before, namespace=namespace),
        *scaler_findings(plain, before=before, others=scalers, namespace=namespace),
        *([] if around.priorities is None else priority_findings(demands, around.priorities, objects)),
    ]


def _mine(around: Surroundings, objects: Iterable[Json], namespace: str) -> frozenset[str]:
    """The uids of the pods that belong to workloads of the old or new manifest."""
    owners = {(ref.kind, ref.name) for ref in (ref_of(obj, namespace) for obj in objects)}
    return frozenset(uid for uid, top in around.tops.items() if top in owners)


def _in(demand: Demand, namespace: str) -> bool:
    return demand.ref.namespace == namespace
