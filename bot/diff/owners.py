"""Who owns a field of a live object, read from ``metadata.managedFields`` (Kubernetes' FieldsV1).

The API server's own defaults belong to whoever wrote the object; what a webhook changed, to the one whose request it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.diff.fields import Step, Steps, trail
from bot.diff.values import ABSENT, Json


@dataclass(frozen=True)
class Owner:
    """A field manager, when it last wrote (RFC 3339, empty when unknown), and through which subresource."""

    name: str
    time: str = ""
    subresource: str = ""

    @property
    def helm(self) -> bool:
        return self.name == "helm" or self.name.startswith("helm-") or self.name == "Helm"

    @property
    def controller(self) -> bool:
        """One of the cluster's own controllers, rather than a person or somebody's program."""
        return self.name in _CONTROLLERS or self.subresource == "status"

    def __str__(self) -> str:
        return self.name + (f" at {self.time}" if self.time else "")


_CONTROLLERS = frozenset({
    "kube-controller-manager", "kube-scheduler", "kubelet", "kube-apiserver", "cloud-controller-manager", "cluster-autoscaler",
    "vpa-recommender", "vpa-updater", "pvc-protection-controller", "before-first-apply",
})  # fmt: skip


class Ownership:
    """The managed fields of one live object, parsed once."""

    def __init__(self, live: Json) -> None:
        self._live = live
        meta = live.get("metadata") if isinstance(live, dict) else None
        entries = (meta or {}).get("managedFields") if isinstance(meta, dict) else None
        self._entries = [entry for entry in entries or [] if isinstance(entry, dict) and entry.get("fieldsV1")]

    def __bool__(self) -> bool:
        return bool(self._entries)

    def of(self, steps: Steps) -> tuple[Owner, ...]:
        """Who owns what stands at ``steps``, newest first; empty when nobody does, or it is not told."""
        way = list(trail(self._live, steps))
        found = [_owner(entry) for entry in self._entries if _owns(entry["fieldsV1"], way)]
        return tuple(sorted(found, key=lambda owner: owner.time, reverse=True))


def _owner(entry: Mapping[str, Any]) -> Owner:
    return Owner(str(entry.get("manager", "")), str(entry.get("time", "")), str(entry.get("subresource", "")))


def _owns(fields: Json, way: list[tuple[Step, Json]]) -> bool:
    """Whether these fields reach the last step, or a whole (atomic) value on the way to it."""
    for number, (step, value) in enumerate(way):
        below = _below(fields, step, value)
        if below is None:
            return False
        if below == {} and number < len(way) - 1:
            return True
        fields = below
    return True


def _below(fields: Json, step: Step, value: Json) -> Json:
    if not isinstance(fields, dict):
        return None
    if isinstance(step, str):
        return fields.get(f"f:{step}")
    if not step.by:
        return fields.get(f"i:{step.at[0]}")
    if value is ABSENT:
        return None
    for name, below in fields.items():
        if name.startswith("k:") and _fits(name[2:], value):
            return below
    return None


def _fits(key: str, item: Json) -> bool:
    try:
        wanted = json.loads(key)
    except ValueError:
        return False
    return isinstance(wanted, dict) and all(item.get(name) == value for name, value in wanted.items())
