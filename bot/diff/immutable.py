"""Fields that the API server does not let anybody change in place (Kubernetes 1.36's validation), kind by kind.

Only what charts do change is listed; the dry run against the API server is the judge of the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bot.diff.differences import FieldChange
from bot.diff.fields import Steps
from bot.diff.values import ABSENT, Json
from bot.kube.objects import ObjectRef

_FIELDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("apps", "Deployment"): ("spec.selector",),
    ("apps", "DaemonSet"): ("spec.selector",),
    ("apps", "ReplicaSet"): ("spec.selector",),
    ("batch", "Job"): (
        "spec.selector",
        "spec.template",
        "spec.completionMode",
        "spec.podFailurePolicy",
        "spec.managedBy",
    ),
    ("", "Secret"): ("type",),
    ("rbac.authorization.k8s.io", "RoleBinding"): ("roleRef",),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): ("roleRef",),
    ("storage.k8s.io", "StorageClass"): ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"),
    ("scheduling.k8s.io", "PriorityClass"): ("value", "preemptionPolicy"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): (
        "spec.group",
        "spec.scope",
        "spec.names.plural",
        "spec.names.kind",
    ),
}
_ALL_OF_SPEC_BUT: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("apps", "StatefulSet"): (
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ),
    ("", "PersistentVolumeClaim"): ("resources", "volumeAttributesClassName"),
    ("", "Pod"): ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"),
}
_FROZEN = ("data", "stringData", "binaryData", "immutable")


def replacing(ref: ObjectRef, old: Json, fields: Iterable[FieldChange], more: Iterable[str] = ()) -> tuple[str, ...]:
    """The paths among ``fields`` that can only change by deleting the object and creating it again."""
    what = (ref.api_version.rpartition("/")[0], ref.kind)
    fixed = [tuple(path.split(".")) for path in (*_FIELDS.get(what, ()), *more)]
    if ref.kind in ("ConfigMap", "Secret") and not what[0] and old.get("immutable") is True:
        fixed += [(name,) for name in _FROZEN]
    return tuple(one.path for one in fields if _under(one.steps, fixed) or _spec(what, one) or _address(what, one))


def _under(steps: Steps, fixed: Iterable[tuple[str, ...]]) -> bool:
    names = tuple(step for step in steps if isinstance(step, str))
    return any(names[: len(path)] == path for path in fixed)


def _spec(what: tuple[str, str], one: FieldChange) -> bool:
    free = _ALL_OF_SPEC_BUT.get(what)
    if free is None or len(one.steps) < 2 or one.steps[0] != "spec" or one.steps[1] in free:
        return False
    if what[1] == "Pod":
        return one.steps[-1] != "image"
    return True


def _address(what: tuple[str, str], one: FieldChange) -> bool:
    """A Service keeps its address: another one is refused, none at all means the old one."""
    if what != ("", "Service") or one.steps not in (("spec", "clusterIP"), ("spec", "clusterIPs")):
        return False
    return one.new not in (ABSENT, None, "", [])  # what was not named before has one by now
