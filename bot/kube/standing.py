"""The pods that are there, as small as the questions allow: a large cluster has tens of thousands of them.

Read page by page; what is not needed of a page is dropped before the next one is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bot.kube.cluster import Cluster
from bot.kube.failures import Expired
from bot.kube.objects import Json, controller_of, uid_of
from bot.kube.quantities import Amounts, requests_of

PAGE = 250
"""Pods a page: what is parsed in one go holds up the event loop for that long."""
_SPEC = ("containers", "initContainers", "overhead", "activeDeadlineSeconds", "priorityClassName", "affinity")
_UNFINISHED = "status.phase!=Succeeded,status.phase!=Failed"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True)
class Standing:
    """One pod that has not ended: where it is, what it requests, whom it refuses. ``spec`` is kept for pods of the
    target's namespace only.
    """

    uid: str
    namespace: str
    node: str
    labels: Mapping[str, str]
    asked: Amounts
    refuses: tuple[Json, ...] = ()
    owner: tuple[str, str] = ("", "")
    """Kind and name of its controller."""
    spec: Json = field(default_factory=dict)


def standing(pod: Json, *, keep_spec: bool) -> Standing:
    """A pod's JSON, made small."""
    meta, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    owner = controller_of(pod) or {}
    anti = ((spec.get("affinity") or {}).get("podAntiAffinity") or {}).get(_REQUIRED) or ()
    return Standing(
        uid=uid_of(pod),
        namespace=str(meta.get("namespace", "")),
        node=str(spec.get("nodeName") or ""),
        labels=dict(meta.get("labels") or {}),
        asked=requests_of(spec),
        refuses=tuple(anti),
        owner=(str(owner.get("kind", "")), str(owner.get("name", ""))),
        spec={key: spec[key] for key in _SPEC if key in spec} if keep_spec else {},
    )


async def read_standing(cluster: Cluster, namespace: str, *, everywhere: bool) -> list[Standing]:
    """The pods of ``namespace``, or of the whole cluster, that have not ended. Raises as ``Cluster.list`` does."""
    resource = await cluster.discovery.resource("v1", "Pod")
    space = None if everywhere else namespace
    first = {"limit": str(PAGE), "fieldSelector": _UNFINISHED}
    found: list[Standing] = []
    page = first
    while True:
        try:
            answer = await cluster.session.json(resource.call("list", space), "GET", resource.path(space), params=page)
        except Expired:
            if "continue" not in page:
                raise
            found, page = [], {"fieldSelector": _UNFINISHED}  # the pages ran out under us: once more, in one piece
            continue
        for pod in answer.get("items") or []:
            found.append(standing(pod, keep_spec=(pod.get("metadata") or {}).get("namespace") == namespace))
        token = (answer.get("metadata") or {}).get("continue")
        if not token:
            return found
        page = first | {"continue": str(token)}


def owned_by(pods: Iterable[Standing], chains: Mapping[tuple[str, str], tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Each pod's uid with the workload at the top of its chain of owners (pod → ReplicaSet → Deployment).

    ``chains`` leads from an owner's kind and name to its own owner's.
    """
    found = {}
    for pod in pods:
        owner = pod.owner
        for _ in range(4):  # deeper chains do not exist; a circle would be a broken cluster
            if owner not in chains:
                break
            owner = chains[owner]
        found[pod.uid] = owner
    return found
