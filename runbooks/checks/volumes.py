"""What `recover volumes` would do: which claim gets which data, what is lost by it, what stops meanwhile, and the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import ClassVar

from bot.engine.contract import CheckResult, Finding, Level, PlanContext
from bot.errors import BotError, Refused
from bot.kube.failures import UnknownKind
from bot.kube.objects import Json, uid_of
from bot.kube.quantities import quantity
from bot.kube.snapshots import API, GROUP, claimed_by, waits_for_a_pod
from runbooks.checks.findings import info
from runbooks.checks.volumes_choice import CODE, Asked, Blocked, choose
from runbooks.checks.volumes_shown import choices, lines_of, table_of
from runbooks.checks.volumes_ways import Kind, Vectors, Way, read_vectors
from runbooks.components import Member, from_to
from runbooks.reading import place_of
from runbooks.steps.backup import RUN_LABEL
from runbooks.text import counted, lasted, listed, size, when
from runbooks.volumes import Claim, Volumes, kept_name, read_volumes

RESTORED_FROM = "aeterna-bot.io/restored-from"
_RIGHTS = (
    ("create", "persistentvolumeclaims", "", True),
    ("delete", "persistentvolumeclaims", "", True),
    ("patch", "persistentvolumes", "", False),
    ("patch", "statefulsets/scale", "apps", True),
)
"""Verb, resource, group, and whether it lives in a namespace."""


class VolumesRecovery:
    """The release's claims, their volumes and snapshots, and Qdrant's. Inputs: ``claim`` (or a collection) and ``from``."""

    name: ClassVar[str] = "volumes.recovery"

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now

    async def check(self, context: PlanContext) -> CheckResult:
        """``recovery`` is what will be done. Binds to the claim, its volume and what it is recovered from."""
        volumes, vectors = await asyncio.gather(read_volumes(context), read_vectors(context))
        asked, files = Asked.of(context), (table_of(volumes, vectors),)
        try:
            way = choose(asked, volumes, vectors)
            planned = _Planned(context, volumes, way, self._now())
            result = planned.of_qdrant(vectors) if way.kind is Kind.QDRANT else await planned.of_claim()
        except Blocked as blocked:
            shown = () if asked.claim else lines_of(volumes)
            return CheckResult((blocked.finding, *shown), choices(asked, None, volumes, vectors), files=files)
        return CheckResult(
            result.findings, {**result.facts, **choices(asked, way, volumes, vectors)}, result.bindings, files=files
        )


class _Planned:
    """One way, worked out. Every method raises ``Blocked``."""

    def __init__(self, context: PlanContext, volumes: Volumes, way: Way, now: datetime) -> None:
        self._context = context
        self._volumes = volumes
        self._way = way
        self._now = now
        self._run = context.run.id

    async def of_claim(self) -> CheckResult:
        """Another volume behind the claim's name; what is behind it now is kept under another."""
        way, claim = self._way, self._volumes.claims[self._way.claim]
        _whole(claim, self._volumes)
        await self._allowed()
        body = await (self._from_snapshot(claim) if way.kind is Kind.SNAPSHOT else self._from_volume(claim))
        member = self._volumes.member(claim.owner or {})
        assert member is not None  # noqa: S101 - ``swappable`` has seen to it
        kept = kept_name(claim.name, self._run) if claim.volume else ""
        down = bool(claim.volume) and member.workload.level > 0
        storage_class = (self._volumes.storage.classes or {}).get(claim.storage_class)
        recovery = {
            "kind": way.kind.value,
            "claim": claim.name,
            "source": way.source,
            "volume": claim.volume,
            "kept": kept,
            "source_volume": way.volume,
            "source_claim": way.source_claim,
            "body": body,
            "waits": way.kind is Kind.SNAPSHOT and waits_for_a_pod(storage_class),
            "subject": member.subject,
            "point": way.at.isoformat() if way.at else "",
        }
        facts = {
            "recovery": recovery,
            "way": way.kind.value,
            "stands_still": member.workload.level == 0,
            "holds": [_hold(self._volumes, member)] if down else [],
            "stops": [_stop(self._volumes, member)] if down else [],
        }
        findings = (*self._order(claim, member, kept, down=down), *self._lost(claim, kept), *self._about(claim, member))
        uid = uid_of(claim.obj or {}) or "not there"
        bindings = {
            "cluster": place_of(self._context.clients, self._context.target),
            "claim": f"{claim.name} {uid} on {claim.volume or 'no volume'} of {member.subject} {member.workload.uid}",
            "recovered from": self._bound(),
        }
        return CheckResult(findings, facts, bindings)

    def of_qdrant(self, vectors: Vectors) -> CheckResult:
        """A collection back to a snapshot of its own, by Qdrant itself."""
        way, made = self._way, self._way.made
        assert made is not None  # noqa: S101 - every way of this kind has one
        recovery = {
            "kind": way.kind.value,
            "claim": way.claim,
            "source": way.source,
            "node": way.node,
            "made": asdict(made),
        }
        facts: Json = {"recovery": recovery, "way": way.kind.value, "stands_still": False, "holds": [], "stops": []}
        text = f"Collection {way.claim} on {way.node} goes back to {way.source} ({size(made.size)})."
        back = "Every collection is snapshotted first, so that this can be undone: `recover volumes` then offers that one too."
        findings = [
            info(text),
            self._loss(f"collection {way.claim}", "only the snapshot that is made first has it"),
            info(back),
        ]
        if vectors.nodes > 1:
            findings.append(
                _warning(
                    "nodes",
                    f"Qdrant has {vectors.nodes} nodes, and a snapshot holds what {way.node} had of the collection.",
                    "Restore the others' snapshots of the same time too, node by node, or they differ.",
                )
            )
        bindings = {
            "cluster": place_of(self._context.clients, self._context.target),
            "claim": f"collection {way.claim} on {way.node}",
            "recovered from": f"{way.source} {made.checksum or made.size}",
        }
        return CheckResult(tuple(findings), facts, bindings)

    # -- what is made -----------------------------------------------------------------------------------------

    async def _from_snapshot(self, claim: Claim) -> Json:
        classes = self._volumes.storage.classes
        if classes is None:
            raise _forbidden("list", "storageclasses.storage.k8s.io", namespaced=False)
        if claim.storage_class and claim.storage_class not in classes:
            there = f"There are {listed(sorted(classes))}." if classes else "There is none."
            text = f"Claim {claim.name} is of the storage class {claim.storage_class}, which is gone."
            raise Blocked("class", text, f"Make that class again with the same driver. {there}")
        snapshot = next(one for one in self._volumes.snapshots(claim.name) if one.name == self._way.source)
        driver = await self._driver(snapshot.content)
        provisioner = str((classes.get(claim.storage_class) or {}).get("provisioner") or "")
        if driver and provisioner and driver != provisioner:
            text = f"VolumeSnapshot {snapshot.name} was made by the driver {driver}, and {claim.storage_class} has {provisioner}."
            raise Blocked(
                "driver", text, "Choose a snapshot of the same driver, or restore it into another claim by hand."
            )
        wants = claim.asks
        if snapshot.size and quantity(snapshot.size) > quantity(claim.asks or 0):
            wants = snapshot.size
        source = {"apiGroup": GROUP, "kind": "VolumeSnapshot", "name": snapshot.name}
        return self._body(claim, wants, {"dataSource": source}, f"VolumeSnapshot/{snapshot.name}")

    async def _from_volume(self, claim: Claim) -> Json:
        volume = (self._volumes.storage.volumes or {}).get(self._way.volume)
        if volume is None:
            raise Blocked("gone", f"Volume {self._way.volume} is not there.", "`recover volumes` shows what there is.")
        spec = volume["spec"]
        more = {
            "volumeName": self._way.volume,
            "storageClassName": spec.get("storageClassName") or "",
            "accessModes": spec["accessModes"],
        }
        return self._body(claim, spec["capacity"]["storage"], more, f"PersistentVolume/{self._way.volume}")

    def _body(self, claim: Claim, wants: str, more: Json, source: str) -> Json:
        owner = ((claim.owner or {}).get("spec") or {}).get("selector") or {}
        given = (
            ((claim.obj or claim.template or {}).get("metadata") or {}).get("labels") or owner.get("matchLabels") or {}
        )
        spec = {
            key: value for key, value in claim.spec.items() if key in ("accessModes", "storageClassName", "volumeMode")
        }
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": claim.name,
                "namespace": self._volumes.namespace,
                "labels": {**given, RUN_LABEL: self._run},
                "annotations": {RESTORED_FROM: source},
            },
            "spec": {**spec, "resources": {"requests": {"storage": wants}}, **more},
        }

    async def _driver(self, content: str) -> str:
        try:
            found = await self._context.clients.cluster.get(API, "VolumeSnapshotContent", content) if content else None
        except (Refused, UnknownKind):
            return ""
        return str(((found or {}).get("spec") or {}).get("driver") or "")

    async def _allowed(self) -> None:
        """The rights that the steps need. That it cannot be asked stops nobody."""
        cluster, namespace = self._context.clients.cluster, self._volumes.namespace
        for verb, resource, group, namespaced in _RIGHTS:
            whole, _, part = resource.partition("/")
            place = namespace if namespaced else None
            try:
                may = await cluster.can_i(verb, whole, group, place, subresource=part)
            except BotError:
                return
            if not may:
                raise _forbidden(verb, resource, namespaced=namespaced)

    # -- what is said -----------------------------------------------------------------------------------------

    def _order(self, claim: Claim, member: Member, kept: str, *, down: bool) -> list[Finding]:
        way, found = self._way, []
        what = f"VolumeSnapshot {way.source}" if way.kind is Kind.SNAPSHOT else f"volume {way.volume}"
        steps = [f"{claim.name} gets the data of {what}"]
        if down:
            steps = [
                f"{member.subject} goes to zero",
                *steps,
                f"it comes back with {counted(member.workload.level, 'pod')}",
            ]
        found.append(info(f"{', then '.join(steps)}."))
        if kept:
            found.append(
                info(
                    f"Its volume of now, {claim.volume}, is set to Retain and stays as the claim {kept}. "
                    f"The way back is `recover volumes {claim.name} {kept}`."
                )
            )
        if way.source_claim in self._volumes.storage.claims:
            found.append(info(f"The claim {way.source_claim} goes, and its volume takes the name {claim.name}."))
        return found

    def _lost(self, claim: Claim, kept: str) -> list[Finding]:
        if not kept:
            return [info(f"{claim.name} has no volume now, so nothing is replaced.")]
        return [self._loss(claim.name, f"it stays in {kept} only")]

    def _loss(self, what: str, where: str) -> Finding:
        point = f"after {when(self._way.at)} ({lasted(self._now - self._way.at)} ago)" if self._way.at else "since then"
        return _warning("loss", f"Everything written to {what} {point} is not in it: {where}.")

    def _about(self, claim: Claim, member: Member) -> list[Finding]:
        found = []
        snapshot = next((one for one in self._volumes.snapshots(claim.name) if one.name == self._way.source), None)
        if snapshot is not None and snapshot.size and quantity(snapshot.size) > quantity(claim.asks or 0):
            text = f"The snapshot needs {snapshot.size}, and {claim.name} has {claim.asks}: the new claim gets {snapshot.size}."
            found.append(_warning("size", text))
        if claim.volume and member.workload.level == 0:
            held = f" (held down by <@{member.workload.held.by}>)" if member.workload.held else ""
            found.append(
                info(f"{member.subject} is at zero already{held}, and stays so: `emergency restore` starts it.")
            )
        elif claim.volume and member.workload.level > 1:
            pods = counted(member.workload.level, "pod")
            found.append(
                info(f"All {pods} of {member.subject} stop: a StatefulSet cannot be without one in the middle.")
            )
        scaler = self._volumes.release.seen.autoscalers.get(member.subject)
        if scaler is not None and member.subject in self._volumes.release.seen.keda:
            text = f"{member.subject} is scaled by a ScaledObject, which may start it in the middle of this."
            found.append(_warning("scaled", text, "Annotate it with autoscaling.keda.sh/paused: true first."))
        elif scaler is not None:
            found.append(
                info(f"HorizontalPodAutoscaler/{scaler.name} ({scaler}) is inactive while {member.subject} is at zero.")
            )
        return found

    def _bound(self) -> str:
        way = self._way
        if way.kind is Kind.SNAPSHOT:
            snapshot = next(one for one in self._volumes.snapshots(way.claim) if one.name == way.source)
            return f"VolumeSnapshot/{way.source} {snapshot.uid} of {way.at.isoformat() if way.at else 'no time'}"
        volume = (self._volumes.storage.volumes or {}).get(way.volume) or {}
        return f"PersistentVolume/{way.volume} {uid_of(volume)} of {'/'.join(claimed_by(volume)[:2])}"


def _whole(claim: Claim, volumes: Volumes) -> None:
    """A claim that is there has its volume. An empty one is for a person to remove: this deletes nothing that it did not keep."""
    if claim.obj is None:
        return
    remove = f"`kubectl delete pvc {claim.name} -n {volumes.namespace}`, then ask again"
    if claim.obj["metadata"].get("deletionTimestamp"):
        held = listed(list(claim.obj["metadata"].get("finalizers") or ["something"]))
        text = f"Claim {claim.name} is being deleted, and {held} still holds it."
        raise Blocked("ending", text, "Stop the pods that mount it, wait until it is gone, then ask again.")
    known = volumes.storage.volumes
    if claim.volume and known is not None and claim.volume not in known:
        text = f"Claim {claim.name} is {claim.phase}: its volume {claim.volume} is gone, so there is nothing to keep."
        raise Blocked("lost", text, f"Remove the empty claim by hand: {remove}.")
    if not claim.volume and claim.phase != "Bound" and not volumes.released(claim.name):
        text = f"Claim {claim.name} is {claim.phase} and has no volume yet."
        raise Blocked("unbound", text, f"Remove the empty claim by hand: {remove}.")


def _hold(volumes: Volumes, member: Member) -> Json:
    """One row for `components.hold`: the StatefulSet to zero, with the note that emergencies leave."""
    seen = member.workload
    row: Json = {
        "component": member.component,
        "subject": member.subject,
        "uid": seen.uid,
        "replicas": seen.level,
        "to": 0,
        "version": seen.version,
    }
    hpa = volumes.release.seen.autoscalers.get(member.subject)
    if seen.note:
        row["note"] = seen.note
    if not (seen.annotated and seen.counted):
        row |= {"annotated": seen.annotated, "counted": seen.counted}
    if hpa is not None and hpa.pinned(0):
        row["hpa"] = asdict(hpa)
    return row


def _stop(volumes: Volumes, member: Member) -> Json:
    component = volumes.release.components[member.component]
    return {
        "component": member.component,
        "text": from_to(member.workload, member.workload.level, 0),
        "impact": component.stops or "Nobody has described what stops working without it.",
        "optional": False,
    }


def _forbidden(verb: str, resource: str, *, namespaced: bool) -> Blocked:
    where = "this namespace" if namespaced else "the cluster"
    text = f"The bot may not {verb} {resource} in {where}, which putting another volume behind a claim needs."
    return Blocked("rbac", text, "Set `rbac.volumes: true` for the bot's chart, or grant that rule by hand.")


def _warning(code: str, text: str, way_out: str = "") -> Finding:
    return Finding(Level.WARNING, text, way_out, f"{CODE}.{code}")
