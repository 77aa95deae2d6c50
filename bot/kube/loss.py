"""Loss of data: what an upgrade removes that holds data, or that takes data with it when it goes.

Pure functions over the old manifest, the live objects and the new manifest. Helm deletes what left the manifest,
in the background, unless the *live* object has ``helm.sh/resource-policy: keep`` (Helm 4.3.1, pkg/kube/client.go);
garbage collection then takes what is owned by it. Data that an application deletes by itself is not seen here.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bot.kube.findings import KubeFinding
from bot.kube.holdings import Holdings, Taken, group_of, key_of, ordinal, owned_claims, owners, storage, taken
from bot.kube.objects import HOOK_ANNOTATION, Json, ObjectRef, annotations_of, name_of, ref_of, uid_of

KEEP = "helm.sh/resource-policy"
CODE = "data.loss"

DATA_KINDS: Mapping[tuple[str, str], str] = {
    ("postgresql.cnpg.io", "Cluster"): "a PostgreSQL database",
    ("acid.zalan.do", "postgresql"): "a PostgreSQL database",
    ("postgres-operator.crunchydata.com", "PostgresCluster"): "a PostgreSQL database",
    ("psmdb.percona.com", "PerconaServerMongoDB"): "a MongoDB database",
    ("mongodbcommunity.mongodb.com", "MongoDBCommunity"): "a MongoDB database",
    ("kafka.strimzi.io", "Kafka"): "a Kafka cluster",
    ("qdrant.io", "QdrantCluster"): "a vector store",
    ("snapshot.storage.k8s.io", "VolumeSnapshot"): "a snapshot of a volume",
}
"""Custom resources whose operators delete their volumes with them (by owner references)."""

_ENCRYPTION = re.compile(r"kms|encrypt|master[-_.]?key|signing|private[-_.]?key|unseal|recovery", re.I)
_GENERATED = re.compile(r"pass(word)?|token|secret|key|credential|salt|cookie", re.I)
_CLUSTER_WIDE = ("PersistentVolume", "Namespace", "CustomResourceDefinition")
_MANAGED_SECRETS = ("helm.sh/", "kubernetes.io/service-account-token", "kubernetes.io/dockerconfigjson")


@dataclass(frozen=True)
class LossFinding(KubeFinding):
    """A finding about data: what ``protected_by`` guards it, and what it ``takes`` (claims with size and volume)."""

    protected_by: tuple[str, ...] = ()
    takes: tuple[Taken, ...] = ()


def loss_findings(
    before: Sequence[Json], holdings: Holdings, after: Sequence[Json], *, namespace: str
) -> list[LossFinding]:
    """Everything that the step from ``before`` to ``after`` takes away or makes unreadable.

    ``blocker``: data would be deleted, or no longer be readable. ``warning``: it stays, but nothing uses it any
    more, or what protects it could not be read. ``info``: kept on purpose, or only a cache.
    """
    told: list[LossFinding] = []
    for obj in removed(before, after, namespace):
        found = _leaving(obj, holdings, namespace)
        if found is not None:
            told.append(found)
    for obj in after:
        if HOOK_ANNOTATION in annotations_of(obj):
            continue
        live = holdings.of(ref_of(obj, namespace))
        if live is None:
            continue
        if obj.get("kind") == "StatefulSet":
            told += _scaled_down(obj, live, holdings, namespace)
        if obj.get("kind") == "Secret":
            told += _rewritten(obj, live)
    return told


def removed(before: Sequence[Json], after: Sequence[Json], namespace: str) -> list[Json]:
    """The objects of ``before`` that ``after`` no longer has, as Helm sees it: by group, kind, namespace and name."""
    staying = {key_of(ref_of(obj, namespace)) for obj in after if HOOK_ANNOTATION not in annotations_of(obj)}
    return [
        obj
        for obj in before
        if HOOK_ANNOTATION not in annotations_of(obj) and key_of(ref_of(obj, namespace)) not in staying
    ]


def _leaving(obj: Json, holdings: Holdings, namespace: str) -> LossFinding | None:
    """What happens to one object that left the manifest."""
    ref = ref_of(obj, namespace)
    live = holdings.of(ref)
    judge = {
        "StatefulSet": _stateful_set,
        "PersistentVolumeClaim": _claim,
        "PersistentVolume": _volume,
        "Secret": _secret,
        "Namespace": _namespace,
        "CustomResourceDefinition": _definition,
        "Deployment": _cache,
    }.get(ref.kind, _custom)
    found = judge(ref, live if live is not None else obj, holdings)
    if found is None:
        return None
    if live is None and ref in holdings.gone:
        text = f"{ref} leaves the release; it is not in the cluster any more."
        return LossFinding("info", CODE, str(ref), text, takes=found.takes)
    kept = annotations_of(live if live is not None else obj).get(KEEP) == "keep"
    if kept:
        text = f"{ref} leaves the release and stays in the cluster, because it is annotated `{KEEP}: keep`."
        return LossFinding("info", CODE, str(ref), text, protected_by=(f"{KEEP}: keep", *found.protected_by))
    if annotations_of(obj).get(KEEP) == "keep":
        text = f"{found.text.rstrip('.')}; the chart's `{KEEP}: keep` was taken off the live object."
        return LossFinding(found.level, CODE, found.subject, text, found.way_out, found.protected_by, found.takes)
    return found


def _stateful_set(ref: ObjectRef, obj: Json, holdings: Holdings) -> LossFinding | None:
    spec = obj.get("spec") or {}
    templates = [name_of(template) for template in spec.get("volumeClaimTemplates") or []]
    if not templates:
        return _cache(ref, obj, holdings)
    policy = (spec.get("persistentVolumeClaimRetentionPolicy") or {}).get("whenDeleted") or "Retain"
    mine = [claim for claim in holdings.claims if ordinal(claim, ref, templates) is not None]
    going = [claim for claim in mine if policy == "Delete" or uid_of(obj) in owners(claim)]
    staying = [claim for claim in mine if claim not in going]
    if going or policy == "Delete":
        return _gone(ref, f"{ref} would be deleted, and its claims with it (whenDeleted: {policy})", going, holdings)
    takes = tuple(taken(claim, holdings, fate="stays") for claim in staying)
    names = _listed([str(one) for one in takes]) or "its claims"
    return LossFinding(
        "warning",
        CODE,
        str(ref),
        f"{ref} would be deleted; its data stays in {names}, which nothing would use any more.",
        _way_out(ref),
        ("whenDeleted: Retain",),
        takes,
    )


def _claim(ref: ObjectRef, obj: Json, holdings: Holdings) -> LossFinding:
    live = next((one for one in holdings.claims if key_of(ref_of(one)) == key_of(ref)), obj)
    return _gone(ref, f"{ref} would be deleted", [live], holdings, itself=True)


def _volume(ref: ObjectRef, obj: Json, holdings: Holdings) -> LossFinding:
    del holdings
    policy = str((obj.get("spec") or {}).get("persistentVolumeReclaimPolicy") or "Retain")
    size = str(((obj.get("spec") or {}).get("capacity") or {}).get("storage", ""))
    fate: Literal["lost", "stays"] = "stays" if policy == "Retain" else "lost"
    taken = Taken(ref, size, name_of(obj), policy, fate)
    text = f"{ref} would be deleted (reclaim policy {policy})."
    if policy == "Retain":
        way_out = "The disk itself stays; a new PersistentVolume can be made for it by hand."
        return LossFinding("warning", CODE, str(ref), text, way_out, ("reclaim policy Retain",), (taken,))
    return LossFinding("blocker", CODE, str(ref), text, _way_out(ref), (), (taken,))


def _secret(ref: ObjectRef, obj: Json, holdings: Holdings) -> LossFinding | None:
    del holdings
    if str(obj.get("type", "")).startswith(_MANAGED_SECRETS):
        return None
    keys = sorted({*(obj.get("data") or {}), *(obj.get("stringData") or {})})
    generated = [key for key in keys if _GENERATED.search(key) or _ENCRYPTION.search(key)]
    if not generated and not _ENCRYPTION.search(ref.name):
        return None
    named = _listed([f"`{key}`" for key in generated]) or "its keys"
    copy = f"Keep a copy of the Secret in a safe place, or annotate it with `{KEEP}: keep` and plan again."
    if _ENCRYPTION.search(ref.name) or any(_ENCRYPTION.search(key) for key in generated):
        text = f"{ref} would be deleted with {named}; what is encrypted with it could not be read any more."
        return LossFinding("blocker", CODE, str(ref), text, copy, (), (Taken(ref),))
    text = f"{ref} would be deleted with {named}; if they were generated, nobody else knows them."
    return LossFinding("warning", CODE, str(ref), text, copy, (), (Taken(ref),))


def _namespace(ref: ObjectRef, obj: Json, holdings: Holdings) -> LossFinding:
    del obj
    inside = [claim for claim in holdings.claims if (claim.get("metadata") or {}).get("namespace") == ref.name]
    takes = tuple(taken(claim, holdings, fate="lost") for claim in inside)
    text = f"{ref} would be deleted, and every object in it{_with(takes)}."
    return LossFinding("blocker", CODE, str(ref), text, _way_out(ref), (), takes)


def _definition(ref: ObjectRef, obj: Json, holdings: Holdings) -> LossFinding:
    spec = obj.get("spec") or {}
    group, kind = str(spec.get("group", "")), str((spec.get("names") or {}).get("kind", ""))
    mine = [one for one in holdings.customs if group_of(one) == group and one.get("kind") == kind]
    claims = [claim for one in mine for claim in owned_claims(uid_of(one), holdings)]
    takes = (*(Taken(ref_of(one)) for one in mine), *(taken(claim, holdings, fate="lost") for claim in claims))
    text = f"The definition of {kind} ({ref.name}) would be deleted, and with it every {kind} in the whole cluster"
    return LossFinding("blocker", CODE, str(ref), f"{text}{_with(takes)}.", _way_out(ref), (), takes)


def _cache(ref: ObjectRef, obj: Json, holdings: Holdings) -> LossFinding | None:
    """A workload without claims of its own that keeps something on its node: a cache, by Kubernetes' own words."""
    del holdings
    volumes = (((obj.get("spec") or {}).get("template") or {}).get("spec") or {}).get("volumes") or []
    passing = [str(one.get("name")) for one in volumes if "emptyDir" in one]
    on_nodes = [str(one.get("name")) for one in volumes if "hostPath" in one]
    if on_nodes:
        text = f"{ref} would be deleted; what it wrote to its nodes ({_listed(on_nodes)}) stays there, unused."
        return LossFinding("warning", CODE, str(ref), text, "Look at the nodes' directories before.", ("hostPath",))
    if not passing:
        return None
    text = (
        f"{ref} would be deleted with what is in {_listed(passing)} (emptyDir): a cache, which is lost at any restart."
    )
    return LossFinding("info", CODE, str(ref), text)


def _custom(ref: ObjectRef, obj: Json, holdings: Holdings) -> LossFinding | None:
    """A custom resource: by what it owns, else by what its kind is known to hold."""
    claims = owned_claims(uid_of(obj), holdings) if uid_of(obj) else []
    what = DATA_KINDS.get((group_of(obj), ref.kind), "")
    if claims:
        secrets = [one for one in holdings.secrets if uid_of(obj) in owners(one)]
        reason = f"{ref} would be deleted, and with it the claims that it owns{f' ({what})' if what else ''}"
        found = _gone(ref, reason, claims, holdings)
        takes = (*found.takes, *(Taken(ref_of(one)) for one in secrets))
        return LossFinding(found.level, CODE, found.subject, found.text, found.way_out, found.protected_by, takes)
    if ref.kind == "Dragonfly":
        snapshot = (obj.get("spec") or {}).get("snapshot") or {}
        if not snapshot.get("persistentVolumeClaimSpec"):
            return LossFinding("info", CODE, str(ref), f"{ref} would be deleted with what it holds in memory: a cache.")
        what = "a store with snapshots on a volume"
    if not what:
        return None
    text = f"{ref} would be deleted, {what}; its operator deletes its volumes with it."
    return LossFinding("blocker", CODE, str(ref), text, _way_out(ref), (), (Taken(ref, storage(obj)),))


def _gone(
    ref: ObjectRef, reason: str, claims: Sequence[Json], holdings: Holdings, *, itself: bool = False
) -> LossFinding:
    """The finding for claims that are deleted: their volumes' reclaim policies decide what is left."""
    takes = tuple(taken(claim, holdings) for claim in claims)
    kept = [one for one in takes if one.reclaim == "Retain"]
    told = [str(one) for one in takes]
    if takes and len(kept) == len(takes):
        volumes = _listed([one.volume for one in kept])
        return LossFinding(
            "warning",
            CODE,
            str(ref),
            f"{reason}; the data stays on {volumes} (reclaim policy Retain), which no claim would use any more.",
            "Note the volumes' names: a new claim can be bound to them by `spec.volumeName` once their `claimRef` is gone.",
            tuple(f"reclaim policy Retain of PersistentVolume/{one.volume}" for one in kept),
            takes,
        )
    lost = "" if itself and not told else f": {_listed(told)}" if told else ""
    if itself and told:
        lost = told[0].removeprefix(str(takes[0].ref))
    unknown = "" if holdings.volumes_known else "; the volumes' reclaim policies could not be read"
    return LossFinding("blocker", CODE, str(ref), f"{reason}{lost}{unknown}.", _way_out(ref), (), takes)


def _scaled_down(obj: Json, live: Json, holdings: Holdings, namespace: str) -> list[LossFinding]:
    """Fewer replicas where ``whenScaled: Delete`` deletes the claims of those that go."""
    new, now = obj.get("spec") or {}, live.get("spec") or {}
    policy = (new.get("persistentVolumeClaimRetentionPolicy") or {}).get("whenScaled")
    wanted, present = new.get("replicas"), int(now.get("replicas") or 0)
    if policy != "Delete" or wanted is None or int(wanted) >= present:
        return []
    ref = ref_of(obj, namespace)
    start = int((new.get("ordinals") or {}).get("start") or 0)
    templates = [name_of(template) for template in now.get("volumeClaimTemplates") or []]
    going = [
        claim
        for claim in holdings.claims
        if (number := ordinal(claim, ref, templates)) is not None and number >= start + int(wanted)
    ]
    if not going:
        return []
    reason = f"{ref} would go from {present} to {wanted} replicas, and the claims of the others with them"
    return [_gone(ref, f"{reason} (whenScaled: Delete)", going, holdings)]


def _rewritten(obj: Json, live: Json) -> list[LossFinding]:
    """Keys of a Secret that encrypt data and would get another value, or vanish. Values are compared, never told."""
    old, new = _values(live), _values(obj)
    whole = bool(_ENCRYPTION.search(name_of(obj)))
    keys = [key for key in old if (whole or _ENCRYPTION.search(key)) and old[key] != new.get(key)]
    if not keys or str(live.get("type", "")).startswith(_MANAGED_SECRETS):
        return []
    gone = [key for key in keys if key not in new]
    ref = ref_of(obj, str((live.get("metadata") or {}).get("namespace", "")))
    named = _listed([f"`{key}`" for key in sorted(keys)])
    happens = "go away" if len(gone) == len(keys) else "change"
    text = f"{named} of {ref} would {happens}; what is encrypted with the present value could not be read any more."
    way_out = (
        "Give the chart the present Secret (its `existingSecret` value), or rotate the key as its application says."
    )
    return [LossFinding("blocker", CODE, str(ref), text, way_out, (), (Taken(ref),))]


def _values(secret: Json) -> dict[str, bytes]:
    """The decoded data of a Secret; what is not base64 stands for itself."""
    found: dict[str, bytes] = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            found[key] = base64.b64decode(str(value), validate=True)
        except (binascii.Error, ValueError):
            found[key] = str(value).encode()
    return found | {key: str(value).encode() for key, value in (secret.get("stringData") or {}).items()}


def _way_out(ref: ObjectRef) -> str:
    where = f" -n {ref.namespace}" if ref.namespace and ref.kind not in _CLUSTER_WIDE else ""
    command = f"kubectl annotate{where} {ref.kind.lower()}/{ref.name} {KEEP}=keep"
    return f"Back it up and move the data first; or keep the object with `{command}` and plan again."


def _with(takes: Sequence[Taken]) -> str:
    return f": {_listed([str(one) for one in takes])}" if takes else ""


def _listed(words: Sequence[str], most: int = 6) -> str:
    """``a, b and c``; beyond ``most`` the rest is counted (``takes`` has them all)."""
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most} more"
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)
