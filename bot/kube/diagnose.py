"""Why a workload does not arrive: its pods, conditions and events read as a person would. Pure functions.

Nothing here asks the cluster; ``rollout`` gathers the JSON and adds log lines to what is found here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from bot.errors import Evidence
from bot.kube.events import EventLine
from bot.kube.objects import Json, ObjectRef, condition_of, is_true, name_of

ProblemKind = Literal[
    "image_pull",
    "crash",
    "configuration",
    "not_ready",
    "unschedulable",
    "volume",
    "pvc_pending",
    "quota",
    "create_failed",
    "evicted",
    "failed_job",
    "deadline",
    "paused",
    "terminating",
    "missing",
    "starting",
]

HOPELESS: frozenset[ProblemKind] = frozenset({"image_pull", "crash", "configuration", "quota", "create_failed"})
"""What seldom mends itself: a rollout with one of these for its grace time may be given up."""

IMAGE_REASONS = {  # why a container waits
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
CONFIGURATION_REASONS = {"CreateContainerConfigError"}
_CRASH = {"CrashLoopBackOff", "RunContainerError", "CreateContainerError", "StartError", "PostStartHookError"}
_VOLUME_EVENTS = {"FailedMount", "FailedAttachVolume", "FailedMapVolume"}


@dataclass(frozen=True)
class Problem:
    """One reason. ``message`` is one sentence; ``pod`` and ``container`` are empty when it is about
    neither.
    """

    kind: ProblemKind
    message: str
    pod: str = ""
    container: str = ""
    image: str = ""
    exit_code: int | None = None
    restarts: int = 0
    evidence: tuple[Evidence, ...] = ()

    @property
    def wants_log(self) -> bool:
        """Whether the container's last words help."""
        return self.kind in {"crash", "not_ready", "failed_job"} and bool(self.pod)


@dataclass(frozen=True)
class Surroundings:
    """What belongs to a workload: its newest pods, the sets between it and them, claims, and events of
    them all.
    """

    pods: Sequence[Json] = ()
    owners: Sequence[Json] = ()
    claims: Sequence[Json] = ()
    events: Sequence[EventLine] = field(default_factory=tuple)

    def about(self, kind: str, name: str) -> list[EventLine]:
        """Events of one object, newest first."""
        return [event for event in self.events if event.kind == kind and event.name == name]


def diagnose(ref: ObjectRef, obj: Json | None, around: Surroundings) -> list[Problem]:
    """Every reason for which ``obj`` is not ready, the most telling first; empty when none can be seen."""
    if obj is None:
        return [Problem("missing", f"{ref} is not in the cluster.")]
    found = [*_of_workload(ref, obj), *_creation(ref, obj, around)]
    for pod in around.pods:
        found += diagnose_pod(pod, around)
    return _distinct(found)


def diagnose_pod(pod: Json, around: Surroundings) -> list[Problem]:
    """Why one pod is not ready; empty when it is, or has completed."""
    name, status = name_of(pod), pod.get("status") or {}
    if status.get("phase") == "Succeeded" or is_true(condition_of(pod, "Ready")):
        return []
    if pod["metadata"].get("deletionTimestamp"):
        return [Problem("terminating", f"Pod {name} is still ending.", pod=name)]
    if status.get("phase") == "Failed" and status.get("reason"):
        said = status.get("message") or ""
        return [Problem("evicted", f"Pod {name} was ended: {status['reason']}. {said}".strip(), pod=name)]
    scheduled = condition_of(pod, "PodScheduled")
    if scheduled is not None and scheduled.get("status") == "False":
        return _unscheduled(pod, str(scheduled.get("message") or scheduled.get("reason") or ""), around)
    containers = _containers(pod, around)
    return containers or _waiting_for_node(pod, around)


def _of_workload(ref: ObjectRef, obj: Json) -> list[Problem]:
    if ref.kind == "Job":
        failed = condition_of(obj, "Failed")
        if failed is not None and is_true(failed):
            said = f"{failed.get('reason', '')}: {failed.get('message', '')}".strip(": ")
            return [Problem("failed_job", f"{ref} failed: {said}.".replace("..", "."))]
        return []
    if ref.kind == "Deployment" and (obj.get("spec") or {}).get("paused"):
        return [Problem("paused", f"{ref} is paused, so nothing rolls out.")]
    progressing = condition_of(obj, "Progressing")
    if progressing is not None and progressing.get("reason") == "ProgressDeadlineExceeded":
        seconds = (obj.get("spec") or {}).get("progressDeadlineSeconds", 600)
        return [Problem("deadline", f"{ref} made no progress for {seconds} s (its own deadline).")]
    return []


def _creation(ref: ObjectRef, obj: Json, around: Surroundings) -> list[Problem]:
    """Pods that could not even be created: quota, admission, limits."""
    names = {(ref.kind, ref.name), *((str(owner.get("kind")), name_of(owner)) for owner in around.owners)}
    said = [e.message for e in around.events if e.reason == "FailedCreate" and (e.kind, e.name) in names]
    failure = condition_of(obj, "ReplicaFailure")
    if failure is not None and is_true(failure):
        said.insert(0, str(failure.get("message") or ""))
    # An old event of a set that has all its pods by now proves nothing.
    if not said or _has_all_pods(obj, around):
        return []
    quota = "exceeded quota" in said[0]
    reason = "the namespace's quota is used up" if quota else "its pods cannot be created"
    return [Problem("quota" if quota else "create_failed", f"{ref}: {reason}: {said[0]}.".replace("..", "."))]


def _has_all_pods(obj: Json, around: Surroundings) -> bool:
    if obj.get("kind") == "Job":
        return bool(around.pods)
    wanted = (obj.get("status") or {}).get("desiredNumberScheduled") or (obj.get("spec") or {}).get("replicas", 1)
    return len(around.pods) >= int(wanted or 0)


def _unscheduled(pod: Json, message: str, around: Surroundings) -> list[Problem]:
    name = name_of(pod)
    found = [Problem("unschedulable", f"Pod {name} fits on no node: {message}.".replace("..", "."), pod=name)]
    if "PersistentVolumeClaim" in message or "persistentvolumeclaim" in message:
        claimed = {
            (volume.get("persistentVolumeClaim") or {}).get("claimName")
            for volume in (pod.get("spec") or {}).get("volumes") or []
        }
        waiting = [claim for claim in around.claims if name_of(claim) in claimed]
        found = [problem for claim in waiting for problem in diagnose_claim(claim, around)] + found
    return found


def diagnose_claim(claim: Json, around: Surroundings) -> list[Problem]:
    """Why a PersistentVolumeClaim is not bound; empty when it is."""
    phase = (claim.get("status") or {}).get("phase")
    if phase == "Bound":
        return []
    spec, name = claim.get("spec") or {}, name_of(claim)
    said = next((e.message for e in around.about("PersistentVolumeClaim", name)), "")
    kind = spec.get("storageClassName") or "the default"
    text = f"PersistentVolumeClaim {name} is {phase or 'not bound'} (storage class {kind})"
    return [Problem("pvc_pending", f"{text}: {said}." if said else f"{text}.")]


def _containers(pod: Json, around: Surroundings) -> list[Problem]:
    status = pod.get("status") or {}
    found: list[Problem] = []
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        problem = _container(pod, container, around)
        if problem is not None:
            found.append(problem)
    return found


def _container(pod: Json, container: Json, around: Surroundings) -> Problem | None:
    pod_name, name = name_of(pod), str(container.get("name", ""))
    image, restarts = str(container.get("image", "")), int(container.get("restartCount") or 0)
    state = container.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    reason = str(waiting.get("reason") or "")
    base = Problem("starting", "", pod=pod_name, container=name, image=image, restarts=restarts)
    if reason in IMAGE_REASONS:
        said = waiting.get("message") or _newest(around, pod_name, {"Failed"}) or reason
        return replace(base, kind="image_pull", message=f"Image {image} cannot be pulled ({pod_name}): {said}.")
    if reason in CONFIGURATION_REASONS:
        said = waiting.get("message") or reason
        return replace(base, kind="configuration", message=f"Container {name} of {pod_name} cannot be made: {said}.")
    last = ended or (container.get("lastState") or {}).get("terminated") or {}
    if reason in _CRASH or (int(last.get("exitCode") or 0) != 0 and not container.get("ready")):
        return _crash(base, reason, last, str(waiting.get("message") or ""))
    if state.get("running") is not None and not container.get("ready"):
        said = _newest(around, pod_name, {"Unhealthy"}) or _gate(pod)
        text = f"Container {name} of {pod_name} runs but is not ready"
        return replace(base, kind="not_ready", message=f"{text}: {said}." if said else f"{text}.")
    return None


def _crash(base: Problem, reason: str, last: Json, said: str) -> Problem:
    code = last.get("exitCode")
    how = f"exit code {code}" if code is not None else (said or reason)
    if last.get("reason") not in (None, "Error", "Completed"):
        how += f", {last['reason']}"
    times = "" if base.restarts == 0 else f", {base.restarts} restart" + ("s" if base.restarts > 1 else "")
    return replace(
        base,
        kind="crash",
        message=f"Container {base.container} of {base.pod} crashes ({how}{times}).",
        exit_code=int(code) if code is not None else None,
    )


def _gate(pod: Json) -> str:
    """What else holds the pod back when no probe has spoken: a readiness gate, or the Ready condition's
    own words.
    """
    for gate in (pod.get("spec") or {}).get("readinessGates") or []:
        condition = condition_of(pod, str(gate.get("conditionType")))
        if not is_true(condition):
            return f"readiness gate {gate.get('conditionType')} is not met"
    return str((condition_of(pod, "Ready") or {}).get("message") or "")


def _waiting_for_node(pod: Json, around: Surroundings) -> list[Problem]:
    name = name_of(pod)
    volume = _newest(around, name, _VOLUME_EVENTS)
    if volume:
        return [Problem("volume", f"Pod {name} waits for a volume: {volume}.", pod=name)]
    sandbox = _newest(around, name, {"FailedCreatePodSandBox"})
    if sandbox:
        return [Problem("starting", f"Pod {name} gets no network or sandbox: {sandbox}.", pod=name)]
    phase = str((pod.get("status") or {}).get("phase") or "Pending")
    return [Problem("starting", f"Pod {name} is still {phase.lower()}.", pod=name)]


def _newest(around: Surroundings, pod: str, reasons: set[str]) -> str:
    return next((e.message.rstrip(".") for e in around.about("Pod", pod) if e.reason in reasons), "")


def _distinct(problems: Iterable[Problem]) -> list[Problem]:
    """The telling ones first; those that many pods share are told once, with how many there are."""
    order = {kind: place for place, kind in enumerate(_ORDER)}
    groups: dict[tuple[str, str, str, int | None], list[Problem]] = {}
    for problem in problems:
        alone = "" if problem.pod else problem.message
        key = (problem.kind, problem.container + alone, problem.image, problem.exit_code)
        groups.setdefault(key, []).append(problem)
    told = [
        replace(group[0], message=f"{group[0].message} ({len(group)} pods alike)") if len(group) > 1 else group[0]
        for group in groups.values()
    ]
    return sorted(told, key=lambda one: order[one.kind])


_ORDER: tuple[ProblemKind, ...] = (
    "image_pull",
    "crash",
    "configuration",
    "failed_job",
    "quota",
    "create_failed",
    "pvc_pending",
    "unschedulable",
    "volume",
    "evicted",
    "not_ready",
    "paused",
    "missing",
    "starting",
    "terminating",
    "deadline",
)
