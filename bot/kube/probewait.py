"""How a probe's Job comes to its end: its pod, the Job itself, and what the Job could not create, each by a watch.

The container is what counts, not the Job: a sidecar that somebody's mesh adds may keep the pod alive for ever.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from bot.kube.cluster import Cluster
from bot.kube.diagnose import CONFIGURATION_REASONS, IMAGE_REASONS
from bot.kube.failures import Call, Denied, NotFound, failure_of
from bot.kube.objects import Json, condition_of, is_true, name_of, uid_of

HowItEnded: TypeAlias = Literal["ended", "image", "secret", "configuration", "deadline", "gone", "no_result"]

GRACE: Final = 20.0
"""Seconds after the Job's own deadline in which Kubernetes may still tell about it."""
_POD_MOMENT: Final = 5.0
"""Seconds in which the pod's end is told, when the Job's has been."""


@dataclass(frozen=True)
class Ended:
    """``said`` goes on from "… did not take place: "; ``pod`` is empty where there was none."""

    how: HowItEnded
    said: str
    pod: str = ""


@dataclass
class _Seen:
    """What holds it up, as far as the watches have told."""

    why: str = "its pod has not been created"


async def wait_for_probe(cluster: Cluster, job: Json, *, container: str, deadline: float) -> Ended:
    """How it ended, known ``deadline`` seconds and a grace from now at the latest.

    Raises ``Denied`` when the cluster does not let the pod in (quota, policy, a webhook).
    """
    seen = _Seen()
    pod = asyncio.create_task(_pod(cluster, job, container, seen))
    whole = asyncio.create_task(_job(cluster, job, seen))
    refused = asyncio.create_task(_not_created(cluster, job, seen))
    try:
        done, _ = await asyncio.wait(
            {pod, whole, refused}, timeout=deadline + GRACE, return_when=asyncio.FIRST_COMPLETED
        )
        if whole in done and not whole.exception() and whole.result().how == "gone":
            await asyncio.wait({pod}, timeout=_POD_MOMENT)
        for one in (pod, refused, whole):
            if one.done():
                return one.result()
        return Ended("deadline", f"{seen.why}, and Kubernetes does not end it")
    finally:
        for one in (pod, whole, refused):
            one.cancel()
        await asyncio.gather(pod, whole, refused, return_exceptions=True)


async def _pod(cluster: Cluster, job: Json, container: str, seen: _Seen) -> Ended:
    """The end of the probe's container, or why it cannot begin."""
    mine = f"batch.kubernetes.io/controller-uid={uid_of(job)}"
    async with aclosing(cluster.watch("v1", "Pod", _namespace(job), mine)) as changes:
        async for change in changes:
            if change.type not in ("ADDED", "MODIFIED") or is_going(change.object):
                continue  # killed, at its deadline or by hand: the Job knows which
            if (ended := end_of(change.object, container)) is not None:
                return ended
            seen.why = what_holds(change.object, container)
    raise NotFound("The pods of the probe cannot be watched any more.")


async def _job(cluster: Cluster, job: Json, seen: _Seen) -> Ended:
    """The Job's own word: its deadline, or that it is over."""
    named, there = f"metadata.name={name_of(job)}", False
    async with aclosing(cluster.watch("batch/v1", "Job", _namespace(job), "", named)) as changes:
        async for change in changes:
            there = there or change.type == "ADDED"
            if change.type == "DELETED" or (change.type == "SYNCED" and not there):
                return Ended("gone", "its Job was deleted")
            if change.type == "SYNCED":
                continue
            failed = condition_of(change.object, "Failed")
            if failed is not None and is_true(failed) and failed.get("reason") == "DeadlineExceeded":
                seconds = change.object["spec"]["activeDeadlineSeconds"]
                return Ended("deadline", f"it was not over after {seconds} s, for {seen.why}")
            if is_true(failed) or is_true(condition_of(change.object, "Complete")):
                return Ended("gone", f"its pod was taken away before it ended (last seen: {seen.why})")
    raise NotFound("The probe's Job cannot be watched any more.")


async def _not_created(cluster: Cluster, job: Json, seen: _Seen) -> Ended:
    """Ends only by raising: a Job whose pod is refused says so in an event, and tries on until its deadline."""
    about = f"involvedObject.uid={uid_of(job)}"
    async with aclosing(cluster.watch("v1", "Event", _namespace(job), "", about)) as changes:
        async for change in changes:
            if change.object.get("reason") != "FailedCreate":
                continue
            said = str(change.object.get("message") or "")
            error = failure_of(Call("create", "pods", namespace=_namespace(job)), 403, said)
            if isinstance(error, Denied):
                raise error
            seen.why = f"its pod is not created: {said.rstrip('.')}"
    raise NotFound("The probe's events cannot be watched any more.")


def end_of(pod: Json, container: str) -> Ended | None:
    """What the pod's status says of the end, if it is not being deleted; None while it may still come."""
    name, status, state = name_of(pod), pod.get("status") or {}, _state(pod, container)
    if (ended := state.get("terminated")) is not None:
        about = ", ".join(str(ended[key]) for key in ("reason", "message") if ended.get(key))
        return Ended("ended", f"its program ended with code {ended.get('exitCode')} ({about.rstrip('.')})", name)
    waiting = state.get("waiting") or {}
    reason, said = str(waiting.get("reason") or ""), str(waiting.get("message") or "").rstrip(".")
    if reason in IMAGE_REASONS and reason != "ErrImagePull":  # which may pass: the kubelet tries again
        return Ended("image", f"its image cannot be pulled ({reason}): {said}", name)
    if reason in CONFIGURATION_REASONS:
        about_secret = said.startswith("secret ") or "find key" in said
        return Ended("secret" if about_secret else "configuration", f"its container cannot be made: {said}", name)
    if status.get("phase") == "Failed":
        why = ": ".join(str(status[key]) for key in ("reason", "message") if status.get(key)) or "no reason given"
        return Ended("gone", f"its pod has failed ({why.rstrip('.')})", name)
    return None


def what_holds(pod: Json, container: str) -> str:
    """Why it has not come to its end yet."""
    scheduled = condition_of(pod, "PodScheduled")
    if scheduled is not None and not is_true(scheduled):
        return f"no node takes its pod: {str(scheduled.get('message') or '').rstrip('.')}"
    state = _state(pod, container)
    if "running" in state:
        return "its program is still running"
    waiting = state.get("waiting") or {}
    said = ": ".join(str(waiting[key]) for key in ("reason", "message") if waiting.get(key))
    return f"its container has not started ({said.rstrip('.') or 'no reason given'})"


def is_going(pod: Json) -> bool:
    """Whether it is being deleted."""
    return "deletionTimestamp" in (pod.get("metadata") or {})


def _state(pod: Json, container: str) -> Json:
    for one in (pod.get("status") or {}).get("containerStatuses") or []:
        if one.get("name") == container:
            return dict(one.get("state") or {})
    return {}


def _namespace(job: Json) -> str:
    return str(job["metadata"]["namespace"])
