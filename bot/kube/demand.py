"""What a manifest asks the cluster to run: pods of each workload, at rest and while it rolls out, and of each hook.

Pure functions over JSON. Pods that operators run are known for CloudNativePG's ``Cluster`` and ``Dragonfly`` only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from bot.kube.holdings import key_of
from bot.kube.objects import HOOK_ANNOTATION, Json, ObjectRef, annotations_of, name_of, ref_of
from bot.kube.quantities import Amounts, requests_of, share

Purpose: TypeAlias = Literal["workload", "daemon", "before", "after", "test", "now and then"]
"""What the pods are for: to stay, one on every node, a hook before or after the upgrade, ``helm test``, a CronJob."""

HOOKS: Mapping[str, Purpose] = {"pre-upgrade": "before", "post-upgrade": "after", "test": "test"}


@dataclass(frozen=True)
class Demand:
    """``replicas`` pods of one workload; ``pod`` is their template (metadata and spec), ``each`` what one requests.

    While it rolls out, ``surge`` more exist, and it may be without ``unavailable``. ``scaler`` names the
    autoscaler whose minimum decided ``replicas``.
    """

    ref: ObjectRef
    replicas: int
    pod: Json = field(default_factory=dict)
    each: Amounts = field(default_factory=dict)
    surge: int = 0
    unavailable: int = 0
    purpose: Purpose = "workload"
    scaler: str = ""

    @property
    def spec(self) -> Json:
        """The pods' spec."""
        return dict(self.pod.get("spec") or {})

    @property
    def labels(self) -> dict[str, str]:
        """The pods' labels."""
        return dict((self.pod.get("metadata") or {}).get("labels") or {})

    def pod_name(self, number: int) -> str:
        """How the pod is called, as far as that is known before it exists; ``number`` counts from 0."""
        if self.ref.kind == "StatefulSet":
            return f"{self.ref.name}-{number}"
        return str(self.ref) if self.replicas == 1 and number == 0 else f"{self.ref} pod {number + 1}"


def demands_of(
    objects: Sequence[Json],
    namespace: str,
    *,
    hooks: Iterable[Json] = (),
    before: Iterable[Json] = (),
    live: Iterable[Json] = (),
    scalers: Iterable[Json] = (),
) -> list[Demand]:
    """What each workload of a manifest, and each hook of an upgrade or a test, asks for.

    ``live`` are the workloads as they are: one whose manifest names no replicas keeps its number. ``scalers`` are
    autoscalers that exist beside the manifest's own. Surge is counted where the pods' template changes.
    """
    old = {key_of(ref_of(obj, namespace)): obj for obj in before}
    now = {key_of(ref_of(obj, namespace)): obj for obj in live}
    least = minimums([*objects, *scalers])
    told = []
    for obj in objects:
        ref = ref_of(obj, namespace)
        if HOOK_ANNOTATION in annotations_of(obj):
            continue
        demand = _of(obj, ref, now.get(key_of(ref)), least.get((ref.kind, ref.name)))
        if demand is not None:
            told.append(_rolling(demand, obj, old.get(key_of(ref)), now.get(key_of(ref))))
    return [*told, *_of_hooks(hooks, namespace)]


def minimums(objects: Iterable[Json]) -> dict[tuple[str, str], tuple[int, str]]:
    """The least number of pods that autoscalers keep, and the autoscaler, by kind and name of what they scale."""
    found = {}
    for obj in objects:
        if obj.get("kind") != "HorizontalPodAutoscaler":
            continue
        spec = obj.get("spec") or {}
        target, least = spec.get("scaleTargetRef") or {}, spec.get("minReplicas")
        key = (str(target.get("kind")), str(target.get("name")))
        found[key] = (1 if least is None else int(least), name_of(obj))
    return found


def template_of(obj: Json) -> Json:
    """The pods' template of a workload, CronJob or bare pod."""
    spec = obj.get("spec") or {}
    if obj.get("kind") == "Pod":
        return {"metadata": obj.get("metadata") or {}, "spec": spec}
    if obj.get("kind") == "CronJob":
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    return dict(spec.get("template") or {})


def _of(obj: Json, ref: ObjectRef, live: Json | None, least: tuple[int, str] | None) -> Demand | None:
    spec = obj.get("spec") or {}
    if ref.kind in ("Deployment", "StatefulSet", "ReplicaSet"):
        return _scaled(template_of(obj), ref, spec, live, least)
    if ref.kind == "DaemonSet":
        return _demand(ref, 1, template_of(obj), "daemon")
    if ref.kind == "Job":
        done = live is not None and (live.get("status") or {}).get("completionTime")
        return None if done else _demand(ref, int(spec.get("parallelism") or 1), template_of(obj))
    if ref.kind == "CronJob":
        return None if spec.get("suspend") else _demand(ref, 1, template_of(obj), "now and then")
    if ref.kind == "Pod":
        return _demand(ref, 1, template_of(obj))
    if (ref.api_version.partition("/")[0], ref.kind) in _RUN_BY_OPERATORS:
        count = spec.get(_RUN_BY_OPERATORS[ref.api_version.partition("/")[0], ref.kind])
        return _demand(ref, 1 if count is None else int(count), _operated(spec))
    return None


_RUN_BY_OPERATORS = {("postgresql.cnpg.io", "Cluster"): "instances", ("dragonflydb.io", "Dragonfly"): "replicas"}


def _scaled(pod: Json, ref: ObjectRef, spec: Json, live: Json | None, least: tuple[int, str] | None) -> Demand:
    replicas = spec.get("replicas")
    if replicas is None:
        replicas = ((live or {}).get("spec") or {}).get("replicas")
    count = 1 if replicas is None else int(replicas)
    # An autoscaler leaves alone what was scaled to zero on purpose.
    if least is not None and least[0] > count and count:
        return _demand(ref, least[0], pod, scaler=least[1])
    return _demand(ref, count, pod)


def _demand(ref: ObjectRef, count: int, pod: Json, purpose: Purpose = "workload", scaler: str = "") -> Demand:
    return Demand(ref, count, pod, requests_of(pod.get("spec") or {}), purpose=purpose, scaler=scaler)


def _operated(spec: Json) -> Json:
    """A pod as the operator would make it from its resource, as far as placing it is concerned."""
    affinity = spec.get("affinity") or {}
    return {
        "spec": {
            "containers": [{"name": "main", "resources": spec.get("resources") or {}}],
            "nodeSelector": affinity.get("nodeSelector") or spec.get("nodeSelector") or {},
            "tolerations": affinity.get("tolerations") or spec.get("tolerations") or [],
        }
    }


def _rolling(demand: Demand, obj: Json, old: Json | None, live: Json | None) -> Demand:
    """With the pods that exist besides while it rolls out: only Deployments add before they remove."""
    if demand.ref.kind != "Deployment" or not demand.replicas or (old is None and live is None):
        return demand
    if old is not None and template_of(old) == template_of(obj):
        return demand
    strategy = (obj.get("spec") or {}).get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return demand
    rolling = strategy.get("rollingUpdate") or {}
    surge = share(rolling.get("maxSurge", "25%"), demand.replicas, up=True)
    unavailable = share(rolling.get("maxUnavailable", "25%"), demand.replicas, up=False)
    if not surge and not unavailable:
        unavailable = 1  # as the controller does, which would not move otherwise
    return Demand(
        demand.ref, demand.replicas, demand.pod, demand.each, surge, unavailable, demand.purpose, demand.scaler
    )


def _of_hooks(hooks: Iterable[Json], namespace: str) -> list[Demand]:
    told = []
    for obj in hooks:
        events = {event.strip() for event in annotations_of(obj).get(HOOK_ANNOTATION, "").split(",")}
        purpose = next((what for event, what in HOOKS.items() if event in events), None)
        if purpose is None or obj.get("kind") not in ("Job", "Pod"):
            continue
        count = int((obj.get("spec") or {}).get("parallelism") or 1)
        told.append(_demand(ref_of(obj, namespace), count, template_of(obj), purpose))
    return told
