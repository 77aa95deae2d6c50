"""What to show with a failure: why pods do not arrive, their events, the last lines of their logs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bot.errors import BotError, Evidence
from bot.helm.models import Revision, StoredRelease
from bot.kube.cluster import Cluster
from bot.kube.explain import StuckWorkload, explain
from bot.kube.objects import ObjectRef
from bot.redaction import redact


def of_stuck(stuck: Iterable[StuckWorkload]) -> tuple[Evidence, ...]:
    """One piece for the reasons, then events and logs of each workload."""
    found = list(stuck)
    if not found:
        return ()
    pieces = [Evidence("What is stuck", "\n".join(map(str, found)))]
    for one in found:
        pieces += [piece for problem in one.problems for piece in problem.evidence]
        pieces += one.evidence
    distinct = {piece.text: piece for piece in reversed(pieces)}  # a Job's log is found by its pod and by its container
    return tuple(Evidence(piece.title, redact(piece.text)) for piece in reversed(distinct.values()))


async def of_workloads(cluster: Cluster, refs: Sequence[ObjectRef]) -> tuple[Evidence, ...]:
    """As ``of_stuck``, looked up now; what cannot be read is said instead."""
    if not refs:
        return ()
    try:
        return of_stuck([one for one in await explain(cluster, refs) if one.problems or one.evidence])
    except BotError as error:
        return (Evidence("The reasons could not be read", str(error)),)


def of_history(history: Sequence[Revision]) -> Evidence:
    """The last revisions of a release, one line each."""
    lines = [f"{one.revision}  {one.status.value}  {one.chart}  {one.description}" for one in history[-10:]]
    return Evidence("History", redact("\n".join(lines)))


def unfinished_hooks(release: StoredRelease, event: str) -> list[ObjectRef]:
    """The Jobs and pods of a revision whose hook of this event (empty: of any) began and has not succeeded."""
    versions = {"Job": "batch/v1", "Pod": "v1"}
    return [
        ObjectRef(versions[hook.kind], hook.kind, hook.name, release.namespace)
        for hook in release.hooks
        if hook.kind in versions and hook.phase not in ("Succeeded", "") and (not event or event in hook.events)
    ]
