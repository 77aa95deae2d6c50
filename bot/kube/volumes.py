"""Claims of a manifest against the cluster's classes and what is there: a volume may grow where its class allows it,
never shrink, and a StatefulSet's claim templates never change.

Pure functions over JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from bot.kube.demand import Demand
from bot.kube.findings import KubeFinding
from bot.kube.holdings import Holdings
from bot.kube.objects import Json, ObjectRef, annotations_of, name_of, ref_of
from bot.kube.quantities import NOTHING, quantity

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
ADOPTED = "postgresql.cnpg.io"


@dataclass(frozen=True)
class Claim:
    """A claim that the manifest brings about; ``storage_class`` is None for the cluster's default, "" for none."""

    name: str
    owner: ObjectRef
    size: str
    storage_class: str | None


def claims_of(objects: Iterable[Json], demands: Iterable[Demand], namespace: str) -> list[Claim]:
    """The claims by name: written out, or made for each replica of a StatefulSet."""
    replicas = {demand.ref: demand.replicas for demand in demands}
    told = []
    for obj in objects:
        ref, spec = ref_of(obj, namespace), obj.get("spec") or {}
        if ref.kind == "PersistentVolumeClaim":
            told.append(_claim(ref.name, ref, spec))
        if ref.kind == "StatefulSet":
            start = int((spec.get("ordinals") or {}).get("start") or 0)
            told += [
                _claim(f"{name_of(template)}-{ref.name}-{start + number}", ref, template.get("spec") or {})
                for template in spec.get("volumeClaimTemplates") or []
                for number in range(replicas.get(ref, 0))
            ]
    return told


def volume_findings(
    objects: Sequence[Json],
    claims: Sequence[Claim],
    present: Sequence[Json],
    holdings: Holdings,
    *,
    classes: Sequence[Json] | None,
    namespace: str,
) -> list[KubeFinding]:
    """``present`` are the namespace's claims, ``holdings`` has the live StatefulSets and databases.

    ``classes`` is None where they could not be read: growth and new claims are not judged then.
    """
    there = {name_of(claim): claim for claim in present}
    known = None if classes is None else {name_of(one): one for one in [*classes, *_of_kind(objects, "StorageClass")]}
    found = []
    for claim in claims:
        live = there.get(claim.name)
        if live is None:
            found += _new(claim, known)
        elif claim.owner.kind == "PersistentVolumeClaim":
            found += _changed(claim, live, known)
    for obj in objects:
        ref = ref_of(obj, namespace)
        live = holdings.of(ref)
        if live is None:
            continue
        if ref.kind == "StatefulSet":
            found += _templates(ref, obj, live, known)
        elif ref.kind == "Cluster" and ref.api_version.startswith(ADOPTED):
            found += _database(ref, obj, live)
    return found + _dangling(objects, {*there, *(claim.name for claim in claims)}, namespace)


def added_storage(claims: Iterable[Claim], present: Iterable[Json]) -> dict[str, Decimal]:
    """What new claims count against quotas: ``persistentvolumeclaims``, ``requests.storage`` and those by class."""
    there = {name_of(claim) for claim in present}
    told: dict[str, Decimal] = {}
    for claim in claims:
        if claim.name in there:
            continue
        keys = {"persistentvolumeclaims": Decimal(1), "requests.storage": quantity(claim.size or 0)}
        keys["count/persistentvolumeclaims"] = Decimal(1)
        if claim.storage_class:
            prefix = f"{claim.storage_class}.storageclass.storage.k8s.io/"
            keys |= {
                f"{prefix}requests.storage": keys["requests.storage"],
                f"{prefix}persistentvolumeclaims": Decimal(1),
            }
        for key, value in keys.items():
            told[key] = told.get(key, NOTHING) + value
    return told


def _claim(name: str, owner: ObjectRef, spec: Json) -> Claim:
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage", "")
    return Claim(name, owner, str(size), spec.get("storageClassName"))


def _new(claim: Claim, classes: Mapping[str, Json] | None) -> list[KubeFinding]:
    if classes is None or claim.storage_class == "":
        return []
    if claim.storage_class is None:
        if any(annotations_of(one).get(DEFAULT_CLASS) == "true" for one in classes.values()):
            return []
        text = (
            f"{claim.owner} needs the claim {claim.name}, which names no storage class, and the cluster has no default."
        )
    elif claim.storage_class in classes:
        return []
    else:
        text = (
            f"{claim.owner} needs the claim {claim.name} of storage class {claim.storage_class}, which does not exist."
        )
    known = ", ".join(sorted(classes)) or "none"
    way_out = f"Name an existing storage class in the values (there are: {known})."
    return [KubeFinding("blocker", "volume.class", str(claim.owner), text, way_out)]


def _changed(claim: Claim, live: Json, classes: Mapping[str, Json] | None) -> list[KubeFinding]:
    spec = live.get("spec") or {}
    has = str(((spec.get("resources") or {}).get("requests") or {}).get("storage", ""))
    subject = f"PersistentVolumeClaim/{claim.name}"
    found = []
    now = spec.get("storageClassName")
    if claim.storage_class is not None and now is not None and claim.storage_class != now:
        text = f"{subject} is of storage class {now}, and the manifest says {claim.storage_class}; a claim cannot change it."
        way_out = f"Keep {now} in the values, or move the data to a claim of another name."
        found.append(KubeFinding("blocker", "volume.class", subject, text, way_out))
    if claim.size and has and (wanted := quantity(claim.size)) != (present := quantity(has)):
        if wanted < present:
            text = f"{subject} would shrink from {has} to {claim.size}, which Kubernetes refuses."
            found.append(KubeFinding("blocker", "volume.shrink", subject, text, f"Set the size to {has} or more."))
        else:
            found += _grown(subject, has, claim.size, now, classes)
    return found


def _grown(
    subject: str, has: str, wanted: str, name: str | None, classes: Mapping[str, Json] | None
) -> list[KubeFinding]:
    if classes is None:
        text = f"{subject} would grow from {has} to {wanted}; whether its storage class allows that could not be read."
        return [KubeFinding("warning", "volume.growth", subject, text)]
    if (classes.get(str(name)) or {}).get("allowVolumeExpansion"):
        return [KubeFinding("info", "volume.growth", subject, f"{subject} grows from {has} to {wanted}.")]
    text = f"{subject} would grow from {has} to {wanted}, and its storage class {name} does not allow that."
    way_out = f"Keep {has}, or set `allowVolumeExpansion: true` on the storage class if its driver can do it."
    return [KubeFinding("blocker", "volume.growth", subject, text, way_out)]


def _templates(ref: ObjectRef, obj: Json, live: Json, classes: Mapping[str, Json] | None) -> list[KubeFinding]:
    """Changes of claim templates, which the API server refuses (``updates to statefulset spec … are forbidden``)."""
    new = {name_of(one): one.get("spec") or {} for one in (obj.get("spec") or {}).get("volumeClaimTemplates") or []}
    old = {name_of(one): one.get("spec") or {} for one in (live.get("spec") or {}).get("volumeClaimTemplates") or []}
    told = [f"template {name} is new" for name in sorted(new.keys() - old.keys())]
    told += [f"template {name} goes away" for name in sorted(old.keys() - new.keys())]
    growing = []
    for name in sorted(new.keys() & old.keys()):
        size, has = _size(new[name]), _size(old[name])
        if quantity(size or 0) != quantity(has or 0):
            told.append(f"{name} from {has} to {size}")
            growing.append(quantity(size or 0) > quantity(has or 0))
        wanted, present = new[name].get("storageClassName"), old[name].get("storageClassName")
        if wanted is not None and wanted != present:
            told.append(f"{name} from storage class {present} to {wanted}")
            growing.append(False)
        modes, had = new[name].get("accessModes"), old[name].get("accessModes")
        if modes and had and sorted(modes) != sorted(had):
            told.append(f"{name} from {'+'.join(had)} to {'+'.join(modes)}")
            growing.append(False)
    if not told:
        return []
    text = f"{ref}: a StatefulSet's claim templates cannot change ({', '.join(told)})."
    way_out = "Keep the old values."
    if growing and all(growing) and len(growing) == len(told):
        allowed = [(classes or {}).get(str(one.get("storageClassName"))) or {} for one in old.values()]
        may = all(one.get("allowVolumeExpansion") for one in allowed)
        way_out = (
            "Keep the old size; or enlarge its claims by hand, then remove the set with "
            f"`kubectl delete statefulset {ref.name} --cascade=orphan` (its pods and data stay) and plan again."
            if may
            else "Keep the old size: its storage class does not allow volumes to grow."
        )
    return [KubeFinding("blocker", "volume.template", str(ref), text, way_out)]


def _database(ref: ObjectRef, obj: Json, live: Json) -> list[KubeFinding]:
    """CloudNativePG refuses a smaller ``spec.storage.size`` by its webhook; without the webhook it does nothing."""
    size, has = (str((((one.get("spec") or {}).get("storage")) or {}).get("size") or "") for one in (obj, live))
    if not size or not has or quantity(size) >= quantity(has):
        return []
    text = f"{ref} would shrink its storage from {has} to {size}, which is not possible."
    return [KubeFinding("blocker", "volume.shrink", str(ref), text, f"Set the size to {has} or more.")]


def _dangling(objects: Iterable[Json], known: set[str], namespace: str) -> list[KubeFinding]:
    """Pods that mount a claim which neither exists nor comes with the manifest."""
    found = []
    for obj in objects:
        template = ((obj.get("spec") or {}).get("template") or {}).get("spec") or {}
        for volume in template.get("volumes") or []:
            name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
            if name and name not in known:
                ref = ref_of(obj, namespace)
                text = f"{ref} mounts the claim {name}, which does not exist and does not come with the chart."
                found.append(
                    KubeFinding(
                        "blocker", "volume.missing", str(ref), text, "Create the claim first, or correct its name."
                    )
                )
    return found


def _size(spec: Json) -> str:
    return str(((spec.get("resources") or {}).get("requests") or {}).get("storage", ""))


def _of_kind(objects: Iterable[Json], kind: str) -> list[Json]:
    return [obj for obj in objects if obj.get("kind") == kind]
