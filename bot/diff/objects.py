"""Objects three ways: the old manifest, the cluster, the new manifest; one object at a time, so that a caller can yield.

Pure functions over JSON. Values are kept in what they return, for a text that masks them (``bot.diff.unified``), and never
stand in a ``repr``.
"""

from __future__ import annotations

import base64
import enum
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from bot.diff.differences import Difference, FieldChange, differences
from bot.diff.drift import drifted
from bot.diff.fields import Item, Steps, find
from bot.diff.immutable import replacing
from bot.diff.noise import Folded, Noise
from bot.diff.values import ABSENT, Json
from bot.kube.objects import ObjectRef, annotations_of, ref_of

KEEP: Final = "helm.sh/resource-policy"
_SERVERS_OWN = frozenset({
    "managedFields", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink", "deletionTimestamp",
    "deletionGracePeriodSeconds",
})  # fmt: skip
_CORE_SUFFIX = ".k8s.io"
_HARMLESS = frozenset({Noise.ORDER, Noise.SPELLING})


class Kind(enum.StrEnum):
    """What an upgrade does to one object."""

    CREATED = "created"
    REMOVED = "removed"
    CHANGED = "changed"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


class Live(enum.StrEnum):
    """What is known of the object in the cluster."""

    PRESENT = "present"
    MISSING = "missing"
    UNREAD = "unread"


@dataclass(frozen=True)
class Pair:
    """One object of two manifests; None where a manifest does not have it. ``ref`` is the new one's, if there is one."""

    ref: ObjectRef
    old: dict[str, Any] | None = field(repr=False)
    new: dict[str, Any] | None = field(repr=False)


@dataclass(frozen=True)
class ObjectChange:
    """What happens to one object.

    ``replaced`` are the fields that cannot be changed in place (the object would have to be deleted and created again).
    ``kept``: the upgrade leaves it in the cluster though the new manifest has it no more. ``restarts_pods``: something in
    its pod template differs, noise included.
    """

    ref: ObjectRef
    change: Kind
    live: Live = Live.UNREAD
    fields: tuple[FieldChange, ...] = ()
    drift: tuple[FieldChange, ...] = ()
    noise: tuple[Folded, ...] = ()
    replaced: tuple[str, ...] = ()
    kept: bool = False
    restarts_pods: bool = False

    @property
    def quiet(self) -> bool:
        """Nothing that a person has to read: neither changed nor drifted, nor gone from the cluster."""
        return self.change is Kind.UNCHANGED and not self.drift and self.live is not Live.MISSING


class _Unread:
    def __repr__(self) -> str:
        return "(not read)"


UNREAD: Final = _Unread()
"""For ``live``: nobody looked, or nobody was allowed to. None means that somebody looked and it is not there."""


def pairs(old: Iterable[Json], new: Iterable[Json], *, namespace: str) -> list[Pair]:
    """The objects of two manifests, matched as Helm does it: by group, kind, namespace and name, whatever the API version."""
    before = {key_of(obj, namespace): obj for obj in old}
    after = {key_of(obj, namespace): obj for obj in new}
    return [
        Pair(ref_of(after.get(key) or before[key], namespace), before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
    ]


def key_of(obj: Json, namespace: str) -> tuple[str, str, str, str]:
    """Group, kind, namespace, name."""
    ref = ref_of(obj, namespace)
    return ref.api_version.rpartition("/")[0], ref.kind, ref.namespace, ref.name


def autoscaled(objects: Iterable[Json]) -> frozenset[tuple[str, str]]:
    """Kind and name of whatever a HorizontalPodAutoscaler (or KEDA's ScaledObject) among these objects scales."""
    found = set()
    for obj in objects:
        if obj.get("kind") in ("HorizontalPodAutoscaler", "ScaledObject"):
            target = (obj.get("spec") or {}).get("scaleTargetRef") or {}
            found.add((str(target.get("kind") or "Deployment"), str(target.get("name", ""))))
    return frozenset(found)


def compare_object(
    pair: Pair,
    live: Json | _Unread | None = UNREAD,
    *,
    autoscaled: bool = False,
    generated: Collection[Steps] = (),
    immutable: Collection[str] = (),
) -> ObjectChange:
    """What happens to one object, and what happened to it since.

    ``live`` is the object as the API server has it. ``generated`` are paths that the chart draws anew at each rendering (see
    ``bot.diff.drawn``), ``immutable`` dotted paths beyond those that Kubernetes' own kinds have.
    """
    old, new = plain(pair.old), plain(pair.new)
    seen = plain(live, keep_managers=True) if isinstance(live, Mapping) else None
    state = Live.UNREAD if isinstance(live, _Unread) else Live.PRESENT if seen is not None else Live.MISSING
    drift = drifted(old, seen, ABSENT if new is None else new, autoscaled=autoscaled) if old and seen else None
    change = ObjectChange(
        pair.ref,
        Kind.UNCHANGED,
        state,
        drift=drift.fields if drift else (),
        noise=drift.folded if drift else (),
    )
    if old is None or new is None:
        created = old is None
        keeping = seen if seen is not None else old
        kept = not created and keeping is not None and annotations_of(keeping).get(KEEP) == "keep"
        return replace(change, change=Kind.CREATED if created else Kind.REMOVED, kept=kept)
    return _compared(change, old, new, seen, tuple(generated), tuple(immutable))


def _compared(
    change: ObjectChange,
    old: Json,
    new: Json,
    seen: Json | None,
    generated: tuple[Steps, ...],
    immutable: tuple[str, ...],
) -> ObjectChange:
    template = _template(change.ref.kind)
    fields: list[FieldChange] = []
    folded = list(change.noise)
    restarts = False
    for one in differences(old, new, ordered=_custom(change.ref)):
        noise = one.noise or (Noise.GENERATED if _drawn(one, generated) else None)
        inside = bool(template) and one.steps[: len(template)] == template and noise is not Noise.SPELLING
        restarts |= inside
        field_change = FieldChange(one.steps, one.old, one.new, ABSENT if seen is None else find(seen, one.steps))
        if noise in _HARMLESS or (noise and not replacing(change.ref, old, [field_change], immutable)):
            folded.append(Folded(one.steps, noise, inside))
        else:
            fields.append(
                field_change
            )  # a mere label is no noise where it cannot be changed: in a claim template, a Job
    stuck = replacing(change.ref, old, fields, immutable)
    kind = Kind.REPLACED if stuck else Kind.CHANGED if fields else Kind.UNCHANGED
    return replace(
        change, change=kind, fields=tuple(fields), noise=tuple(folded), replaced=stuck, restarts_pods=restarts
    )


def compare(
    old: Iterable[Json],
    new: Iterable[Json],
    *,
    namespace: str,
    live: Mapping[ObjectRef, Json | None] | None = None,
    generated: Mapping[ObjectRef, Collection[Steps]] | None = None,
) -> Iterator[ObjectChange]:
    """Every object, one at a time. ``live`` by the references that ``pairs`` gives; one that is left out was not read."""
    known, drawn = live or {}, generated or {}
    before, after = list(old), list(new)
    scaled = autoscaled([*before, *after, *(obj for obj in known.values() if obj)])
    for pair in pairs(before, after, namespace=namespace):
        yield compare_object(
            pair,
            known.get(pair.ref, UNREAD),
            autoscaled=(pair.ref.kind, pair.ref.name) in scaled,
            generated=drawn.get(pair.ref, ()),
        )


def plain(obj: Json | None, *, keep_managers: bool = False) -> Json | None:
    """Without status and what the server alone writes; a Secret's ``stringData`` as the ``data`` that it becomes."""
    if not obj:
        return None
    shown = {key: value for key, value in obj.items() if key != "status"}
    meta = shown.get("metadata")
    if isinstance(meta, Mapping):
        kept = {"managedFields"} if keep_managers else set()
        shown["metadata"] = {key: value for key, value in meta.items() if key not in _SERVERS_OWN or key in kept}
    if shown.get("kind") == "Secret" and isinstance(shown.get("stringData"), Mapping):
        text = {key: base64.b64encode(str(value).encode()).decode() for key, value in shown.pop("stringData").items()}
        shown["data"] = {**(shown.get("data") or {}), **text}
    return shown


def counts(changes: Iterable[ObjectChange]) -> dict[str, int]:
    """How many objects of each kind of change, and under ``drifted`` how many drifted."""
    found = dict.fromkeys([*(str(kind) for kind in Kind), "drifted"], 0)
    for one in changes:
        found[str(one.change)] += 1
        found["drifted"] += bool(one.drift) or (one.live is Live.MISSING and one.change is not Kind.CREATED)
    return found


def _drawn(one: Difference, generated: tuple[Steps, ...]) -> bool:
    """Whether it was drawn before and is drawn again; one that comes for the first time is a change."""
    return one.old is not ABSENT and any(one.steps[: len(steps)] == steps for steps in generated)


def _template(kind: str) -> Steps:
    if kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"):
        return ("spec", "template")
    return ("spec",) if kind == "Pod" else ()


def _custom(ref: ObjectRef) -> bool:
    group = ref.api_version.rpartition("/")[0]
    return "." in group and not group.endswith(_CORE_SUFFIX)


__all__ = [
    "KEEP",
    "UNREAD",
    "FieldChange",
    "Item",
    "Kind",
    "Live",
    "ObjectChange",
    "Pair",
    "autoscaled",
    "compare",
    "compare_object",
    "counts",
    "key_of",
    "pairs",
    "plain",
]
