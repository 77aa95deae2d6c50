"""Who may be at work on a release that is ``pending-*``, as far as it can be known from here.

Helm writes no heartbeat: a revision is pending while its helm works and stays so when that is killed. What speaks for a helm
that is alive: one of our own processes, a hook that still runs, and that it began a short time ago. A helm on somebody's laptop
or in a pipeline cannot be seen, and that is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.errors import BotError
from bot.helm.models import StoredRelease
from bot.kube.cluster import Cluster
from bot.kube.objects import Json, ObjectRef, moment
from runbooks import evidence, orphans, revisions
from runbooks.proofs import Known
from runbooks.text import lasted, when

YOUNG = timedelta(minutes=5)
"""Helm's own default for each wait: before that has passed, a helm is probably still at work."""
AtWork = Callable[[str, str], bool]


@dataclass(frozen=True)
class Signs:
    """``helm`` is a process of this host; ``hooks`` are those that still run; ``maker`` a sentence on who made the revision."""

    helm: bool
    hooks: Sequence[str]
    age: timedelta | None
    maker: str

    @property
    def young(self) -> bool:
        """Whether it is too young to be taken for dead without a question."""
        return self.age is None or self.age < YOUNG


async def signs(
    cluster: Cluster, current: StoredRelease, known: Known, *, now: datetime, at_work: AtWork = orphans.helm_at_work
) -> Signs:
    """Looks for every sign of life of the helm that made ``current``."""
    helm, hooks = await asyncio.gather(
        asyncio.to_thread(at_work, current.name, current.namespace), _running(cluster, current)
    )
    age = now - current.last_deployed if current.last_deployed else None
    return Signs(helm, hooks, age, _maker(current, known))


def _maker(current: StoredRelease, known: Known) -> str:
    revision = current.as_revision()
    run = revisions.made_by(revision)
    if run is None:
        return "Not by me: it carries no mark of mine, so I cannot tell who began it."
    asker = known.asker(revision)
    return f"By my run `{run}`{f', asked by <@{asker}>' if asker else ''}, which no longer holds the target."


async def _running(cluster: Cluster, current: StoredRelease) -> list[str]:
    """The hooks of the revision whose Job or pod has not ended, each with its age."""
    refs = evidence.unfinished_hooks(current, "")
    found = await asyncio.gather(*(_alive(cluster, ref) for ref in dict.fromkeys((*refs, *_hooks(current)))))
    return [one for one in found if one]


def _hooks(current: StoredRelease) -> list[ObjectRef]:
    """Every hook that could run: a helm that was killed has not written how far it came."""
    versions = {"Job": "batch/v1", "Pod": "v1"}
    return [
        ObjectRef(versions[hook.kind], hook.kind, hook.name, current.namespace)
        for hook in current.hooks
        if hook.kind in versions and "test" not in hook.events
    ]


async def _alive(cluster: Cluster, ref: ObjectRef) -> str:
    try:
        obj = await cluster.get_ref(ref)
    except BotError as error:
        return f"{ref} (could not be read: {error.message})"
    return f"{ref} (since {when(moment(obj['metadata'].get('creationTimestamp')))})" if obj and _under_way(obj) else ""


def _under_way(obj: Json) -> bool:
    status = obj.get("status") or {}
    if obj.get("kind") == "Pod":
        return status.get("phase") in (None, "Pending", "Running")
    ended = {one.get("type") for one in status.get("conditions") or [] if one.get("status") == "True"}
    return not ended & {"Complete", "Failed"}


def spoken(age: timedelta | None) -> str:
    """``for 3 min 5 s``."""
    return f"for {lasted(age)}" if age is not None else "since nobody knows when"
