"""Which claims and volumes belong to a release, whose each is, and what is known of who wrote to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.engine.contract import PlanContext, StepContext
from bot.kube.holding import workload_of
from bot.kube.holdings import ordinal
from bot.kube.objects import Json, ObjectRef, condition_of, controller_of, is_true, moment, name_of, ref_of, uid_of
from bot.kube.snapshots import Snapshot, Storage, claimed_by, kept_for, read_storage
from bot.kube.workloads import release_pods
from runbooks.components import Member, Release
from runbooks.text import when

_CNPG = "cnpg.io/cluster"
_BEFORE = "-before-"
_WITH_PODS = ("Deployment", "StatefulSet", "Rollout")
OPERATED = ("Cluster", "Dragonfly")


@dataclass(frozen=True)
class Claim:
    """A claim of the release. ``obj`` is None for one that a StatefulSet would make and that is not there.

    ``owner`` is the StatefulSet whose claim it is by its name, ``template`` that one's own; ``whose`` says it for people.
    """

    name: str
    obj: Json | None
    whose: str
    pods: tuple[Json, ...] = ()
    owner: Json | None = None
    template: Json | None = None

    @property
    def spec(self) -> Json:
        return dict(((self.obj or self.template or {}).get("spec")) or {})

    @property
    def phase(self) -> str:
        return str(((self.obj or {}).get("status") or {}).get("phase") or "unknown") if self.obj else "missing"

    @property
    def volume(self) -> str:
        return str(self.spec.get("volumeName") or "") if self.obj else ""

    @property
    def storage_class(self) -> str:
        return str(self.spec.get("storageClassName") or "")

    @property
    def size(self) -> str:
        """What it has; else what it asks for."""
        has = ((self.obj or {}).get("status") or {}).get("capacity") or {}
        return str(has.get("storage") or self.asks)

    @property
    def asks(self) -> str:
        return str(((self.spec.get("resources") or {}).get("requests") or {}).get("storage") or "")

    @property
    def written_by(self) -> str:
        """The pod that mounts it; else the one that its name tells; else unknown. With the time where the cluster says one."""
        if self.pods:
            return ", ".join(name_of(pod) for pod in self.pods)
        unused = condition_of(self.obj or {}, "Unused")
        since = f", unused since {when(moment((unused or {}).get('lastTransitionTime')))}" if is_true(unused) else ""
        if self.owner is not None:
            number = self.name.rpartition("-")[2]
            return f"{name_of(self.owner)}-{number} (by its name{since})"
        return f"unknown{since}"


@dataclass(frozen=True)
class Volumes:
    """What there is of one release: its claims, its members, and the storage of the whole namespace."""

    claims: Mapping[str, Claim]
    storage: Storage
    release: Release
    namespace: str

    def snapshots(self, claim: str) -> list[Snapshot]:
        """Those of a claim, newest first."""
        return [one for one in self.storage.snapshots or () if one.claim == claim]

    def released(self, claim: str | None = None) -> list[Json]:
        """Volumes that belonged to a claim of the release and have none now."""
        found = [(one, _first_name(claimed_by(one)[1])) for one in self.storage.released(self.namespace)]
        return [one for one, name in found if name in self.claims and claim in (None, name)]

    def kept(self, claim: str) -> list[Claim]:
        """Claims that were kept when another took this name."""
        return [one for one in self.claims.values() if one.obj is not None and kept_for(one.obj) == claim]

    def member(self, owner: Json) -> Member | None:
        """The StatefulSet as a part of the release; None when an operator runs it."""
        subject = str(ref_of(owner))
        return next((one for one in self.release.members if one.subject == subject), None)


async def read_volumes(context: PlanContext | StepContext) -> Volumes:
    """As it is now."""
    cluster, namespace = context.clients.cluster, context.target.namespace
    release, storage = await Release.read(context), await read_storage(cluster, namespace)
    refs = [one.workload.ref for one in release.members if one.workload.ref.kind in _WITH_PODS]
    pods = await release_pods(cluster, refs)
    return Volumes(_claims(release, storage, pods, namespace), storage, release, namespace)


def kept_name(claim: str, run: str) -> str:
    """The name under which a run keeps what a claim had."""
    return f"{claim}{_BEFORE}{run}"


def _first_name(claim: str) -> str:
    """The claim's own name, for one that is reserved under the other and was never made because the bot was stopped."""
    return claim.partition(_BEFORE)[0]


def _claims(
    release: Release, storage: Storage, pods: Mapping[ObjectRef, Sequence[Json]], namespace: str
) -> dict[str, Claim]:
    found: dict[str, Claim] = {}
    released = {claimed_by(one)[1] for one in storage.released(namespace)}
    subjects = {member.subject for member in release.members}
    for owner in storage.sets:
        controller = controller_of(owner) or {}
        if {str(ref_of(owner)), f"{controller.get('kind')}/{controller.get('name')}"} & subjects:
            found |= _of_set(owner, storage, released, namespace)
    for obj in storage.claims.values():
        cluster = ((obj.get("metadata") or {}).get("labels") or {}).get(_CNPG)
        if f"Cluster/{cluster}" in subjects:
            found.setdefault(name_of(obj), _claim(name_of(obj), storage, f"Cluster/{cluster}"))
    for ref, mine in pods.items():
        for name in sorted({name for pod in mine for name in _named(pod)} - found.keys()):
            found[name] = _claim(name, storage, str(ref))
    for obj in storage.claims.values():
        if kept_for(obj) in found and name_of(obj) not in found:
            found[name_of(obj)] = _claim(name_of(obj), storage, f"kept when {kept_for(obj)} was restored")
    return dict(sorted(found.items()))


def _of_set(owner: Json, storage: Storage, released: set[str], namespace: str) -> dict[str, Claim]:
    ref, spec = ref_of(owner, namespace), owner.get("spec") or {}
    held = workload_of(owner).held
    pods = max(
        int(spec.get("replicas") or 0), held.replicas if held else 0, 1
    )  # at zero it has the claim of its first all the same
    found = {}
    for template in spec.get("volumeClaimTemplates") or []:
        wanted = {f"{name_of(template)}-{ref.name}-{number}" for number in range(pods)}
        there = {name for name in {*storage.claims, *released} if _is_of(name, ref, template)}
        for name in wanted | there:
            claim = _claim(name, storage, str(ref))
            found[name] = Claim(claim.name, claim.obj, claim.whose, claim.pods, owner, template)
    return found


def _is_of(name: str, ref: ObjectRef, template: Json) -> bool:
    return ordinal({"metadata": {"name": name}}, ref, [name_of(template)]) is not None


def _claim(name: str, storage: Storage, whose: str) -> Claim:
    return Claim(name, storage.claims.get(name), whose, storage.mounting(name))


def _named(pod: Json) -> list[str]:
    mounts = [(one.get("persistentVolumeClaim") or {}).get("claimName") for one in _spec(pod).get("volumes") or []]
    return [str(name) for name in mounts if name]


def _spec(obj: Json) -> dict[str, Any]:
    return obj.get("spec") or {}


def runs_it(pod: Json, owner: Json) -> bool:
    """Whether the pod is one of the StatefulSet's own."""
    return (controller_of(pod) or {}).get("uid") == uid_of(owner)
