"""What this package says about Kubernetes objects: a reference, and small readers of the common fields.

Pure functions over JSON; nothing here talks to a cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

WORKLOAD_KINDS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
"""The kinds that run pods and whose rollout can be followed."""

HOOK_ANNOTATION = "helm.sh/hook"


@dataclass(frozen=True, order=True)
class ObjectRef:
    """Which object: ``namespace`` is empty for what is not namespaced."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


def ref_of(obj: Json, namespace: str = "") -> ObjectRef:
    """The reference of ``obj``; ``namespace`` is used when the object names none (as in a chart's
    manifest).
    """
    meta = obj.get("metadata") or {}
    return ObjectRef(
        api_version=str(obj.get("apiVersion", "")),
        kind=str(obj.get("kind", "")),
        name=str(meta.get("name", "")),
        namespace=str(meta.get("namespace") or namespace),
    )


def workload_refs(objects: Iterable[Json], namespace: str) -> list[ObjectRef]:
    """The workloads among a manifest's objects, in order, without Helm hooks (those come and go by
    themselves).
    """
    return [
        ref_of(obj, namespace)
        for obj in objects
        if obj.get("kind") in WORKLOAD_KINDS and HOOK_ANNOTATION not in annotations_of(obj)
    ]


def unmanaged(obj: Json) -> Json:
    """``obj`` itself without its managed fields: they say who set what, and are most of what a live object weighs."""
    (obj.get("metadata") or {}).pop("managedFields", None)
    return obj


def name_of(obj: Json) -> str:
    return str((obj.get("metadata") or {}).get("name", ""))


def uid_of(obj: Json) -> str:
    return str((obj.get("metadata") or {}).get("uid", ""))


def annotations_of(obj: Json) -> dict[str, str]:
    return dict((obj.get("metadata") or {}).get("annotations") or {})


def controller_of(obj: Json) -> Json | None:
    """The owner reference that controls ``obj``, if any."""
    for owner in (obj.get("metadata") or {}).get("ownerReferences") or []:
        if owner.get("controller"):
            return dict(owner)
    return None


def condition_of(obj: Json, kind: str) -> Json | None:
    """The condition of type ``kind`` in the object's status, if it is there."""
    for condition in (obj.get("status") or {}).get("conditions") or []:
        if condition.get("type") == kind:
            return dict(condition)
    return None


def is_true(condition: Json | None) -> bool:
    return condition is not None and condition.get("status") == "True"


def moment(text: str | None) -> datetime | None:
    """An RFC 3339 time of the API server, or None when there is none."""
    return datetime.fromisoformat(text) if text else None
