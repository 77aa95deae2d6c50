"""Why given workloads are stuck, with evidence: their objects read anew, diagnosed, and their last log
lines fetched.

For the end of a rollout that did not arrive, and for a hook Job or an upgrade that failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace

from bot.errors import BotError, Evidence, Refused
from bot.kube.cluster import Cluster
from bot.kube.diagnose import Problem, Surroundings, diagnose
from bot.kube.events import EventLine, events_of
from bot.kube.objects import Json, ObjectRef, name_of, ref_of
from bot.kube.workloads import Family, families

LOG_LINES = 30
EVENT_LINES = 15


@dataclass(frozen=True)
class StuckWorkload:
    """A workload that has not arrived, its reasons (the most telling first), and what to show with them."""

    ref: ObjectRef
    problems: tuple[Problem, ...]
    evidence: tuple[Evidence, ...] = ()

    def __str__(self) -> str:
        reasons = "; ".join(problem.message.rstrip(".") for problem in self.problems[:3])
        return f"{self.ref}: {reasons or 'not ready, and no reason can be seen'}."


async def explain(cluster: Cluster, refs: Iterable[ObjectRef]) -> list[StuckWorkload]:
    """The reasons for each of ``refs``; one without any reason has an empty tuple.

    Raises Temporary when the API server is away. What this identity may not read (events, logs) is said in
    the evidence instead of failing.
    """
    found = await families(cluster, refs)
    related = [ref for family in found.values() for ref in _related(family)]
    claims, notes = await _claims(cluster, found.values())
    events: list[EventLine] = []
    try:
        events = await events_of(cluster, [*related, *(ref_of(claim) for claim in claims)])
    except Refused as error:
        notes.append(Evidence("Events could not be read", str(error)))
    return list(await asyncio.gather(*(_one(cluster, family, claims, events, notes) for family in found.values())))


async def _one(
    cluster: Cluster, family: Family, claims: list[Json], events: list[EventLine], notes: list[Evidence]
) -> StuckWorkload:
    around = Surroundings(pods=family.newest, owners=family.replica_sets, claims=claims, events=events)
    problems = [_with_pod(problem, family) for problem in diagnose(family.ref, family.obj, around)]
    told = await asyncio.gather(*(_with_log(cluster, family.ref.namespace, problem) for problem in problems))
    mine = {(ref.kind, ref.name) for ref in _related(family)}
    lines = [str(event) for event in events if (event.kind, event.name) in mine]
    shown = [Evidence(f"Events of {family.ref} and its pods", _cut(lines))] if lines else []
    return StuckWorkload(family.ref, tuple(told), (*shown, *notes))


def _related(family: Family) -> list[ObjectRef]:
    return [family.ref, *(ref_of(one) for one in (*family.replica_sets, *family.pods))]


async def _claims(cluster: Cluster, found: Iterable[Family]) -> tuple[list[Json], list[Evidence]]:
    """The claims that the pods mount."""
    wanted = {
        (family.ref.namespace, str(claim["claimName"]))
        for family in found
        for pod in family.pods
        for volume in pod["spec"].get("volumes") or []
        if (claim := volume.get("persistentVolumeClaim"))
    }
    try:
        got = await asyncio.gather(
            *(cluster.get("v1", "PersistentVolumeClaim", name, ns) for ns, name in sorted(wanted))
        )
    except Refused as error:
        return [], [Evidence("Volume claims could not be read", str(error))]
    return [claim for claim in got if claim is not None], []


def _with_pod(problem: Problem, family: Family) -> Problem:
    """A failed Job's problem, led to the pod whose log says why: its newest."""
    if problem.kind != "failed_job" or not family.pods:
        return problem
    newest = max(family.pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
    return replace(problem, pod=name_of(newest))


async def _with_log(cluster: Cluster, namespace: str, problem: Problem) -> Problem:
    """The problem with the last words of its container; those of the one before when it has restarted."""
    if not problem.wants_log:
        return problem
    previous = problem.kind == "crash" and problem.restarts > 0
    try:
        text = await _tail(cluster, namespace, problem, previous=previous)
    except BotError as error:
        return replace(problem, evidence=(Evidence(f"The log of {problem.pod} could not be read", str(error)),))
    if not text.strip():
        return problem
    of = f"{problem.pod}/{problem.container}" if problem.container else problem.pod
    return replace(problem, evidence=(Evidence(f"Last log lines of {of}", text.rstrip()),))


async def _tail(cluster: Cluster, namespace: str, problem: Problem, *, previous: bool) -> str:
    container = problem.container or None
    if previous:
        try:
            text = await cluster.pod_logs(namespace, problem.pod, container, tail_lines=LOG_LINES, previous=True)
            if text.strip():
                return text
        except BotError:
            pass  # the one before is not kept everywhere; the present one is asked for below
    return await cluster.pod_logs(namespace, problem.pod, container, tail_lines=LOG_LINES)


def _cut(lines: list[str]) -> str:
    more = len(lines) - EVENT_LINES
    return "\n".join(lines[:EVENT_LINES]) + (f"\n… and {more} older ones" if more > 0 else "")
