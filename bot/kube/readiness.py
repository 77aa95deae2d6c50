"""Whether a workload has arrived, as ``kubectl rollout status`` and kstatus judge it. Pure functions over
JSON.

A workload is ``ready``, ``progressing``, or ``failed`` (which no waiting will change). Why it is stuck is
the business of ``diagnose``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bot.kube.holding import HIBERNATION
from bot.kube.objects import Json, ObjectRef, annotations_of, condition_of, is_true

Phase = Literal["ready", "progressing", "failed"]
POSTGRES_HEALTHY = "Cluster in healthy state"
"""CloudNativePG's own word in ``status.phase``."""
_POSTGRES_LOST = "Cluster is unrecoverable and needs manual intervention"
_BUILT_IN = ("Deployment", "StatefulSet", "DaemonSet", "Job", "Pod")
_ROLLOUT_FAILURES = ("ProgressDeadlineExceeded", "InvalidSpec")


@dataclass(frozen=True)
class WorkloadState:
    """Where one workload is. ``message`` is a half sentence for people; counts are pods."""

    ref: ObjectRef
    phase: Phase
    message: str
    desired: int = 0
    updated: int = 0
    ready: int = 0
    available: int = 0


def state_of(ref: ObjectRef, obj: Json | None) -> WorkloadState:
    """The state of ``obj``; None means that it is not there (yet)."""
    if obj is None:
        return WorkloadState(ref, "progressing", "not there yet")
    if (obj.get("metadata") or {}).get("deletionTimestamp"):
        return WorkloadState(ref, "progressing", "being deleted")
    judge = {
        "Deployment": _deployment,
        "StatefulSet": _stateful_set,
        "DaemonSet": _daemon_set,
        "Job": _job,
        "Pod": _pod,
        "Rollout.argoproj.io": _argo_rollout,
        "Cluster.postgresql.cnpg.io": _postgres,
    }.get(ref.kind if ref.kind in _BUILT_IN else f"{ref.kind}.{ref.api_version.rpartition('/')[0]}")
    if judge is None:
        return WorkloadState(ref, "ready", "is there")
    return judge(ref, obj)


def _unseen(obj: Json) -> bool:
    """Whether the controller has not yet looked at the newest specification."""
    return int(obj["metadata"].get("generation") or 0) > int((obj.get("status") or {}).get("observedGeneration") or 0)


def _count(obj: Json, key: str) -> int:
    return int((obj.get("status") or {}).get(key) or 0)


def _desired(obj: Json) -> int:
    replicas = (obj.get("spec") or {}).get("replicas")
    return 1 if replicas is None else int(replicas)


def _deployment(ref: ObjectRef, obj: Json) -> WorkloadState:
    desired, existing = _desired(obj), _count(obj, "replicas")
    updated, ready, available = (_count(obj, key) for key in ("updatedReplicas", "readyReplicas", "availableReplicas"))

    def state(phase: Phase, message: str) -> WorkloadState:
        return WorkloadState(ref, phase, message, desired, updated, ready, available)

    if _unseen(obj):
        return state("progressing", "waiting for the controller to see the change")
    progressing = condition_of(obj, "Progressing")
    if progressing is not None and progressing.get("reason") == "ProgressDeadlineExceeded":
        return state("failed", "exceeded its progress deadline")
    if (obj.get("spec") or {}).get("paused"):
        return state("failed", "is paused")
    if updated < desired:
        return state("progressing", f"{updated} of {desired} pods updated")
    if existing > updated:
        return state("progressing", f"{existing - updated} old pods still ending")
    if available < updated:
        return state("progressing", f"{available} of {updated} updated pods available")
    return state("ready", f"{available} of {desired} pods ready")


def _stateful_set(ref: ObjectRef, obj: Json) -> WorkloadState:
    desired, status = _desired(obj), obj.get("status") or {}
    updated, ready = _count(obj, "updatedReplicas"), _count(obj, "readyReplicas")
    available = int(status.get("availableReplicas", ready) or 0)

    def state(phase: Phase, message: str) -> WorkloadState:
        return WorkloadState(ref, phase, message, desired, updated, ready, available)

    if _unseen(obj):
        return state("progressing", "waiting for the controller to see the change")
    strategy = (obj.get("spec") or {}).get("updateStrategy") or {}
    if available < desired:
        return state("progressing", f"{ready} of {desired} pods ready")
    if _count(obj, "replicas") > desired:
        return state("progressing", f"{_count(obj, 'replicas') - desired} surplus pods still ending")
    if strategy.get("type") == "OnDelete":
        return state("ready", f"{ready} of {desired} pods ready; updates when its pods are deleted")
    partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    if partition:
        wanted = max(desired - partition, 0)
        if updated < wanted:
            return state("progressing", f"{updated} of {wanted} pods updated (partition {partition})")
        return state("ready", f"{ready} of {desired} pods ready, {updated} updated (partition {partition})")
    if desired and status.get("updateRevision") != status.get("currentRevision"):
        return state("progressing", f"{updated} of {desired} pods updated")
    return state("ready", f"{ready} of {desired} pods ready")


def _daemon_set(ref: ObjectRef, obj: Json) -> WorkloadState:
    desired, updated = _count(obj, "desiredNumberScheduled"), _count(obj, "updatedNumberScheduled")
    ready, available = _count(obj, "numberReady"), _count(obj, "numberAvailable")

    def state(phase: Phase, message: str) -> WorkloadState:
        return WorkloadState(ref, phase, message, desired, updated, ready, available)

    if _unseen(obj):
        return state("progressing", "waiting for the controller to see the change")
    on_delete = ((obj.get("spec") or {}).get("updateStrategy") or {}).get("type") == "OnDelete"
    if updated < desired and not on_delete:
        return state("progressing", f"{updated} of {desired} pods updated")
    if available < desired:
        return state("progressing", f"{available} of {desired} pods available")
    return state("ready", f"{available} of {desired} pods ready")


def _job(ref: ObjectRef, obj: Json) -> WorkloadState:
    spec = obj.get("spec") or {}
    completions = spec.get("completions")
    desired = int(1 if completions is None else completions)
    done, ready = _count(obj, "succeeded"), _count(obj, "ready")

    def state(phase: Phase, message: str) -> WorkloadState:
        return WorkloadState(ref, phase, message, desired, done, ready, done)

    failed = condition_of(obj, "Failed")
    if failed is not None and is_true(failed):
        return state("failed", f"failed: {failed.get('reason', '')} {failed.get('message', '')}".strip())
    if is_true(condition_of(obj, "Complete")):
        return state("ready", "complete")
    if spec.get("suspend"):
        return state("ready", "suspended")
    return state("progressing", f"{done} of {desired} completed")


def _pod(ref: ObjectRef, obj: Json) -> WorkloadState:
    phase = (obj.get("status") or {}).get("phase")
    ready = is_true(condition_of(obj, "Ready"))
    if phase == "Succeeded":
        return WorkloadState(ref, "ready", "completed", 1, 1, 0, 0)
    if phase == "Failed":
        return WorkloadState(ref, "failed", str(obj["status"].get("message") or "failed"), 1, 1)
    if ready:
        return WorkloadState(ref, "ready", "ready", 1, 1, 1, 1)
    return WorkloadState(ref, "progressing", str(phase or "Pending").lower(), 1, 1)


def _argo_rollout(ref: ObjectRef, obj: Json) -> WorkloadState:
    """By its number of available pods: how far a canary has come, or that it was aborted, is another question.

    ``observedGeneration`` is a string there; before Argo Rollouts 1.0 it was a hash, which tells nothing.
    """
    desired, seen = _desired(obj), str((obj.get("status") or {}).get("observedGeneration") or "0")
    updated, ready, available = (_count(obj, key) for key in ("updatedReplicas", "readyReplicas", "availableReplicas"))

    def state(phase: Phase, message: str) -> WorkloadState:
        return WorkloadState(ref, phase, message, desired, updated, ready, available)

    if seen.isdecimal() and int(seen) < int(obj["metadata"].get("generation") or 0):
        return state("progressing", "waiting for the controller to see the change")
    if available >= desired:
        return state("ready", f"{available} of {desired} pods ready")
    for one in (obj.get("status") or {}).get("conditions") or []:
        if one.get("reason") in _ROLLOUT_FAILURES:
            return state("failed", f"{one['reason']}: {one.get('message') or 'no reason given'}")
    return state("progressing", f"{available} of {desired} pods available")


def _postgres(ref: ObjectRef, obj: Json) -> WorkloadState:
    """CloudNativePG's Cluster. Awake, its condition ``cnpg.io/hibernation`` is gone, and the phase speaks of the instances."""
    status, instances = obj.get("status") or {}, (obj.get("spec") or {}).get("instances")
    desired, ready, phase = int(instances or 1), _count(obj, "readyInstances"), str(status.get("phase") or "")
    if annotations_of(obj).get(HIBERNATION) == "on":
        return WorkloadState(ref, "ready", "hibernated")

    def state(verdict: Phase, message: str) -> WorkloadState:
        return WorkloadState(ref, verdict, message, desired, ready, ready, ready)

    if phase == _POSTGRES_LOST:
        return state("failed", phase)
    if is_true(condition_of(obj, HIBERNATION)):
        return state("progressing", "waiting for the operator to wake it")
    if ready < desired or phase != POSTGRES_HEALTHY:
        said = f": {phase}" if phase and phase != POSTGRES_HEALTHY else ""
        return state("progressing", f"{ready} of {desired} instances ready{said}")
    return state("ready", f"{ready} of {desired} instances ready")
