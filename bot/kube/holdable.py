"""Everything of a namespace that can be held, as it is now: workloads, their autoscalers, and who else moves them.

One list a kind, all at once. What may not be seen, or is not served, is left out; ``unseen`` says which kinds were refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bot.errors import Refused
from bot.kube.cluster import Cluster
from bot.kube.failures import UnknownKind
from bot.kube.holding import HPA, KINDS, Autoscaler, Kind, Workload, bounds_of, workload_of
from bot.kube.objects import Json, controller_of, name_of


@dataclass(frozen=True)
class Holdable:
    """What there is, by ``Kind/name``."""

    workloads: Mapping[str, Workload]
    autoscalers: Mapping[str, Autoscaler] = field(default_factory=dict)
    """By the workload that they scale."""
    keda: Mapping[str, str] = field(default_factory=dict)
    """The ScaledObject that an autoscaler belongs to, by the workload: KEDA sets the autoscaler back, and scales from zero."""
    rollouts: Mapping[str, str] = field(default_factory=dict)
    """Argo Rollouts by the Deployment that they refer to."""
    canaries: Mapping[str, str] = field(default_factory=dict)
    """Flagger Canaries by the Deployment that they target."""
    unseen: tuple[str, ...] = ()

    def moved_with(self, subject: str) -> tuple[str, ...]:
        """What has to be taken down with a workload, first what would bring it back; ``subject`` itself is the last.

        An Argo Rollout runs the pods of the Deployment that it refers to. Flagger runs them in a Deployment of its own, which
        ends in ``-primary``, and does nothing while its Canary is suspended.
        """
        named = [subject]
        if subject in self.rollouts:
            named = [self.rollouts[subject], subject]
        if subject in self.canaries:
            named = [self.canaries[subject], f"{subject}-primary", *named]
        return tuple(one for one in named if one in self.workloads)


async def read_holdable(cluster: Cluster, namespace: str, *, kinds: Iterable[str] = KINDS) -> Holdable:
    """Raises ``Refused`` when even Deployments may not be listed, and what listing raises."""
    wanted = [KINDS[name] for name in dict.fromkeys(kinds)]
    *found, scalers = await asyncio.gather(
        *(_listed(cluster, namespace, kind) for kind in wanted), _or_refused(cluster, namespace, *HPA)
    )
    unseen = [kind.name for kind, objects in zip(wanted, found, strict=True) if objects is None]
    objects = {f"{obj['kind']}/{name_of(obj)}": obj for listed in found for obj in listed or ()}
    return Holdable(
        workloads={subject: workload_of(obj) for subject, obj in objects.items()},
        autoscalers={_scaled(one): bounds_of(one) for one in scalers or ()},
        keda={
            _scaled(one): str(owner.get("name"))
            for one in scalers or ()
            if (owner := controller_of(one) or {}).get("kind") == "ScaledObject"
        },
        rollouts=_refers(objects, "Rollout", "workloadRef"),
        canaries=_refers(objects, "Canary", "targetRef"),
        unseen=(*unseen, *([HPA[1]] if scalers is None else [])),
    )


async def _listed(cluster: Cluster, namespace: str, kind: Kind) -> list[Json] | None:
    try:
        if kind.everywhere:
            return await cluster.list(kind.api_version, kind.name, namespace)
        return await _or_refused(cluster, namespace, kind.api_version, kind.name)
    except UnknownKind:
        return []


async def _or_refused(cluster: Cluster, namespace: str, api_version: str, kind: str) -> list[Json] | None:
    try:
        return await cluster.list(api_version, kind, namespace)
    except Refused:
        return None


def _refers(objects: Mapping[str, Json], kind: str, key: str) -> dict[str, str]:
    found = {}
    for subject, obj in objects.items():
        target = (obj.get("spec") or {}).get(key) or {}
        if subject.startswith(f"{kind}/") and target.get("name"):
            found[f"{target.get('kind', 'Deployment')}/{target['name']}"] = subject
    return found


def _scaled(autoscaler: Json) -> str:
    target = autoscaler["spec"]["scaleTargetRef"]
    return f"{target['kind']}/{target['name']}"
