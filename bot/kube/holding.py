"""What can be taken down and brought back: which kinds, how much of each runs, and the note about it on the object itself.

Every kind has a *level*: pods of what is scaled; 1 or 0 of what is suspended or hibernated. The note is an annotation, so that
whoever finds a workload at zero can read what it was, and so that it can be restored without our database. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from bot.kube.objects import Json, ObjectRef, annotations_of, ref_of, uid_of

ANNOTATION = "aeterna-bot.io/held"
HIBERNATION = "cnpg.io/hibernation"
"""CloudNativePG's declarative hibernation: ``on`` removes the pods and keeps the claims, ``off`` rehydrates."""
HPA = ("autoscaling/v2", "HorizontalPodAutoscaler")
_RELEASE = "meta.helm.sh/release-name"
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_LONGEST = 100


class Way(StrEnum):
    """How the level of a kind is set."""

    SCALE = "scale"  # the scale subresource
    REPLICAS = "replicas"  # spec.replicas of a kind that has no scale subresource
    SUSPEND = "suspend"  # spec.suspend
    HIBERNATE = "hibernate"  # CloudNativePG's annotation


@dataclass(frozen=True)
class Kind:
    """One kind that can be held. Kinds that not every cluster serves may be missing."""

    name: str
    api_version: str
    way: Way
    everywhere: bool = False

    def ref(self, name: str, namespace: str) -> ObjectRef:
        return ObjectRef(self.api_version, self.name, name, namespace)


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("Deployment", "apps/v1", Way.SCALE, everywhere=True),
        Kind("StatefulSet", "apps/v1", Way.SCALE, everywhere=True),
        Kind("CronJob", "batch/v1", Way.SUSPEND, everywhere=True),
        Kind("Rollout", "argoproj.io/v1alpha1", Way.SCALE),
        Kind("Canary", "flagger.app/v1beta1", Way.SUSPEND),
        Kind("Cluster", "postgresql.cnpg.io/v1", Way.HIBERNATE),
        Kind("Dragonfly", "dragonflydb.io/v1alpha1", Way.REPLICAS),
    )
}


@dataclass(frozen=True)
class Autoscaler:
    """A HorizontalPodAutoscaler's bounds."""

    name: str
    minimum: int
    maximum: int

    def pinned(self, to: int) -> Autoscaler | None:
        """The bounds with which it leaves a workload at ``to``; None where it does so by itself.

        At zero an autoscaler is inactive, unless its own minimum is zero (the feature gate HPAScaleToZero).
        """
        if to == 0:
            return replace(self, minimum=1) if self.minimum == 0 else None
        wanted = replace(self, minimum=to, maximum=to)
        return None if wanted == self else wanted

    def __str__(self) -> str:
        return f"{self.minimum}–{self.maximum}"


@dataclass(frozen=True)
class Held:
    """The note on a workload: what it was (``replicas``), where it was left (``to``), and by whom. Times are ISO 8601 in UTC."""

    replicas: int
    to: int
    run: str
    by: str
    at: str
    component: str = ""
    hpa: Autoscaler | None = None
    pinned: Autoscaler | None = None
    """The autoscaler as it was, and the bounds that it got; none where it was left alone."""

    def parts(self) -> dict[str, Any]:
        """What it says, as JSON; what is not there is left out."""
        bounds = {"hpa": self.hpa and vars(self.hpa), "pinned": self.pinned and vars(self.pinned)}
        return {key: value for key, value in (vars(self) | bounds).items() if value is not None}

    def text(self) -> str:
        """As it stands in the annotation."""
        return json.dumps(self.parts())

    @classmethod
    def read(cls, text: str) -> Held | None:
        """From the annotation; None where there is none, or nothing that could be read."""
        try:
            found = json.loads(text) if text else None
            return cls.of(found) if isinstance(found, dict) else None
        except (ValueError, TypeError, KeyError):
            return None

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Held:
        """From its parts, as the journal has them. Raises ``KeyError``, ``TypeError`` or ``ValueError``."""
        hpa, replicas, to = _autoscaler(found.get("hpa")), int(found["replicas"]), int(found["to"])
        if min(replicas, to) < 0:
            raise ValueError("there are no fewer pods than none")
        return cls(
            replicas=replicas,
            to=to,
            run=_line(found["run"]),
            by=_line(found["by"]),
            at=_line(found["at"]),
            component=_line(found.get("component", "")),
            hpa=hpa,
            pinned=_autoscaler(found.get("pinned")) or (hpa.pinned(to) if hpa else None),
        )


@dataclass(frozen=True)
class Workload:
    """One object that can be held, as it was seen. ``note`` is the annotation as it stands there."""

    ref: ObjectRef
    uid: str
    level: int
    note: str = ""
    release: str = ""
    paused: bool = False
    stores: bool = False
    """It makes claims of its own: a StatefulSet with volumes."""
    version: str = ""
    annotated: bool = True
    """It has annotations at all: a JSON patch cannot add to a map that is not there."""
    counted: bool = True
    """It says its number, so that a JSON patch can test it; what does not is tested by its version."""

    @property
    def held(self) -> Held | None:
        return Held.read(self.note)

    @property
    def kind(self) -> Kind:
        return KINDS[self.ref.kind]


def _line(text: object) -> str:
    """Whoever may change a workload may have written anything into its note; people read this."""
    return " ".join(str(text).split())[:_LONGEST]


def _autoscaler(found: Mapping[str, Any] | None) -> Autoscaler | None:
    if not found:
        return None
    name = str(found["name"])
    if not _NAME.fullmatch(name):
        raise ValueError("this is no object's name")
    return Autoscaler(name, int(found["minimum"]), int(found["maximum"]))


def bounds_of(autoscaler: Json) -> Autoscaler:
    """The bounds of a HorizontalPodAutoscaler, with the API's default of one pod at least."""
    spec = autoscaler["spec"]
    minimum = spec.get("minReplicas")
    name = str(autoscaler["metadata"]["name"])
    return Autoscaler(name, 1 if minimum is None else int(minimum), int(spec["maxReplicas"]))


def workload_of(obj: Json) -> Workload:
    """What matters of an object of one of ``KINDS``."""
    spec, annotations = obj.get("spec") or {}, annotations_of(obj)
    return Workload(
        ref=ref_of(obj),
        uid=uid_of(obj),
        level=_level(KINDS[str(obj.get("kind"))].way, spec, annotations),
        note=annotations.get(ANNOTATION, ""),
        release=annotations.get(_RELEASE, ""),
        paused=bool(spec.get("paused")),
        stores=bool(spec.get("volumeClaimTemplates")),
        version=str((obj.get("metadata") or {}).get("resourceVersion", "")),
        annotated=bool(annotations),
        counted="replicas" in spec,
    )


def _level(way: Way, spec: Json, annotations: Mapping[str, str]) -> int:
    match way:
        case Way.SUSPEND:
            return int(not spec.get("suspend"))
        case Way.HIBERNATE:
            return int(annotations.get(HIBERNATION) != "on")
        case _:
            replicas = spec.get("replicas")
            return 1 if replicas is None else int(replicas)


def change(way: Way, level: int) -> list[Json]:
    """The JSON patch operations that set the level on the object itself; none for what is scaled."""
    match way:
        case Way.REPLICAS:
            return [{"op": "add", "path": "/spec/replicas", "value": level}]
        case Way.SUSPEND:
            return [{"op": "add", "path": "/spec/suspend", "value": level == 0}]
        case Way.HIBERNATE:
            return [{"op": "add", "path": pointer(HIBERNATION), "value": "off" if level else "on"}]
        case _:
            return []


def pointer(annotation: str) -> str:
    """The JSON pointer to an annotation."""
    return f"/metadata/annotations/{annotation.replace('~', '~0').replace('/', '~1')}"
