"""Following a rollout: all workloads at once, by watches, until they are ready, have failed, or time is up.

It only looks. Progress is told whenever it changes; the reasons for what is stuck are read at the end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from bot.errors import BotError, Evidence, Temporary
from bot.kube.cluster import Cluster
from bot.kube.diagnose import HOPELESS, Surroundings, diagnose
from bot.kube.explain import StuckWorkload, explain
from bot.kube.objects import Json, ObjectRef, uid_of
from bot.kube.readiness import WorkloadState, state_of
from bot.kube.watching import WatchEvent
from bot.kube.workloads import family_of

_OF_DEPLOYMENTS = ("apps/v1", "ReplicaSet")
_PODS = ("v1", "Pod")


@dataclass(frozen=True)
class RolloutProgress:
    """Where all the workloads are now, in the order in which they were given."""

    states: tuple[WorkloadState, ...]

    @property
    def ready(self) -> int:
        """How many workloads have arrived."""
        return sum(state.phase == "ready" for state in self.states)

    @property
    def total(self) -> int:
        return len(self.states)

    @property
    def pods_ready(self) -> int:
        return sum(state.ready for state in self.states)

    @property
    def pods_desired(self) -> int:
        return sum(state.desired for state in self.states)

    def __str__(self) -> str:
        waiting = [f"{state.ref}: {state.message}" for state in self.states if state.phase != "ready"]
        return f"{self.ready} of {self.total} workloads ready" + (f" ({'; '.join(waiting)})" if waiting else "")


@dataclass(frozen=True)
class RolloutResult:
    """How it ended. ``stuck`` is empty when ready; ``seconds`` is how long it was followed."""

    ended: Literal["ready", "failed", "hopeless", "deadline"]
    states: tuple[WorkloadState, ...]
    stuck: tuple[StuckWorkload, ...]
    seconds: float

    @property
    def ready(self) -> bool:
        return self.ended == "ready"


async def watch_rollout(
    cluster: Cluster,
    refs: Iterable[ObjectRef],
    *,
    deadline: float,
    on_progress: Callable[[RolloutProgress], None] | None = None,
    give_up_after: float | None = 60.0,
) -> RolloutResult:
    """Follow ``refs`` for at most ``deadline`` seconds.

    A failed Job or a Deployment past its own progress deadline ends it at once. An image that cannot be
    pulled, a crash, an unusable configuration or a full quota ends it when it has lasted ``give_up_after``
    seconds; None waits for the deadline. An API server that is away is waited for. Raises Refused when
    watching is not allowed.
    """
    return await _Rollout(cluster, list(dict.fromkeys(refs)), on_progress, give_up_after).follow(deadline)


class _Rollout:
    def __init__(
        self,
        cluster: Cluster,
        refs: list[ObjectRef],
        on_progress: Callable[[RolloutProgress], None] | None,
        give_up_after: float | None,
    ) -> None:
        self._cluster = cluster
        self._refs = refs
        self._on_progress = on_progress
        self._give_up_after = give_up_after
        self._seen: dict[tuple[str, str], dict[str, Json]] = {}
        self._unsynced = self._collections()
        self._queue: asyncio.Queue[tuple[tuple[str, str, str], WatchEvent | BaseException]] = asyncio.Queue()
        self._told: tuple[WorkloadState, ...] = ()
        self._done: dict[ObjectRef, WorkloadState] = {}
        self._hopeless_since: dict[ObjectRef, float] = {}

    async def follow(self, deadline: float) -> RolloutResult:
        began = time.monotonic()
        if not self._refs:
            return RolloutResult("ready", (), (), 0.0)
        tasks = [
            asyncio.create_task(self._feed(*collection), name=f"watch {collection[1]} in {collection[2]}")
            for collection in sorted(self._unsynced)
        ]
        try:
            ended = await self._until(began + deadline)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        stuck = () if ended == "ready" else await self._explain()
        return RolloutResult(ended, self._states(), stuck, time.monotonic() - began)

    async def _until(self, end: float) -> Literal["ready", "failed", "hopeless", "deadline"]:
        while True:
            now = time.monotonic()
            if not self._unsynced:
                verdict = self._judge(now)
                if verdict is not None:
                    return verdict
            if now >= end:
                return "deadline"
            try:
                async with asyncio.timeout(min(end, self._give_up_at()) - now):
                    self._take(*await self._queue.get())
            except TimeoutError:
                continue
            while not self._queue.empty():
                self._take(*self._queue.get_nowait())

    def _judge(self, now: float) -> Literal["ready", "failed", "hopeless"] | None:
        states = self._states()
        if states != self._told:
            self._told = states
            if self._on_progress is not None:
                self._on_progress(RolloutProgress(states))
        if all(state.phase == "ready" for state in states):
            return "ready"
        if any(state.phase == "failed" for state in states):
            return "failed"
        for state in states:
            if self._is_hopeless(state):
                self._hopeless_since.setdefault(state.ref, now)
            else:
                self._hopeless_since.pop(state.ref, None)
        return "hopeless" if now >= self._give_up_at() else None

    def _is_hopeless(self, state: WorkloadState) -> bool:
        if state.phase == "ready" or self._give_up_after is None:
            return False
        obj = self._object(state.ref)
        family = family_of(state.ref, obj, self._all(_OF_DEPLOYMENTS, state.ref), self._all(_PODS, state.ref))
        around = Surroundings(pods=family.newest, owners=family.replica_sets)
        return any(problem.kind in HOPELESS for problem in diagnose(state.ref, obj, around))

    def _give_up_at(self) -> float:
        if self._give_up_after is None or not self._hopeless_since:
            return float("inf")
        return min(self._hopeless_since.values()) + self._give_up_after

    def _states(self) -> tuple[WorkloadState, ...]:
        states = []
        for ref in self._refs:
            obj = self._object(ref)
            state = state_of(ref, obj)
            if obj is None and ref.kind == "Job" and ref in self._done:
                state = self._done[ref]  # complete, and cleaned up since (ttlSecondsAfterFinished)
            elif state.phase == "ready":
                self._done[ref] = state
            states.append(state)
        return tuple(states)

    async def _explain(self) -> tuple[StuckWorkload, ...]:
        late = [state.ref for state in self._states() if state.phase != "ready"]
        try:
            return tuple(await explain(self._cluster, late))
        except Temporary as error:
            note = Evidence("The reasons could not be read", str(error))
            return tuple(StuckWorkload(ref, (), (note,)) for ref in late)

    # What is watched, and how it comes in

    def _collections(self) -> set[tuple[str, str, str]]:
        found = {(ref.api_version, ref.kind, ref.namespace) for ref in self._refs}
        for ref in self._refs:
            found.add((*_PODS, ref.namespace))
            if ref.kind in ("Deployment", "Rollout"):
                found.add((*_OF_DEPLOYMENTS, ref.namespace))
        return found

    async def _feed(self, api_version: str, kind: str, namespace: str) -> None:
        collection = (api_version, kind, namespace)
        try:
            async with aclosing(self._cluster.watch(api_version, kind, namespace or None)) as events:
                async for event in events:
                    self._queue.put_nowait((collection, event))
        except BotError as error:
            self._queue.put_nowait((collection, error))

    def _take(self, collection: tuple[str, str, str], event: WatchEvent | BaseException) -> None:
        if isinstance(event, BaseException):
            raise event
        kept = self._seen.setdefault(collection[1:], {})
        if event.type == "SYNCED":
            self._unsynced.discard(collection)
        elif event.type == "DELETED":
            kept.pop(uid_of(event.object), None)
        else:
            kept[uid_of(event.object)] = event.object

    def _object(self, ref: ObjectRef) -> Json | None:
        mine = (
            obj
            for obj in self._seen.get((ref.kind, ref.namespace), {}).values()
            if obj["metadata"]["name"] == ref.name and obj.get("apiVersion") == ref.api_version
        )
        return next(mine, None)

    def _all(self, kind: tuple[str, str], ref: ObjectRef) -> Iterable[Json]:
        return self._seen.get((kind[1], ref.namespace), {}).values()
