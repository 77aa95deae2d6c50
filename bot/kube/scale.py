"""Taking workloads down and bringing them back, many at once, each on its own: one that fails does not stop the others.

Every write is conditional on what was seen, so that it can be made twice and no number is lost: the note on the object comes
first, then the autoscaler, then the scale; on the way back it is the other way round. What changed meanwhile is read again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from bot.errors import BotError, OutcomeUnknown, Temporary
from bot.kube.cluster import FIELD_MANAGER, JSON_PATCH, MERGE_PATCH, METADATA, Cluster
from bot.kube.failures import Conflict, Invalid, NotFound
from bot.kube.holding import ANNOTATION, HPA, Autoscaler, Held, Way, Workload, bounds_of, change, pointer, workload_of
from bot.kube.objects import Json, ObjectRef

AT_ONCE = 32
"""Requests under way; beyond that only each one's latency grows."""
TRIES = 12
_FIRST_PAUSE, _LAST_PAUSE, _LONGEST_WISH = 0.02, 1.0, 5.0  # seconds
_AGAIN = (Conflict, Invalid, OutcomeUnknown, Temporary)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Hold:
    """One workload that is to go down: as it was seen, and the note that it gets if it has none yet.

    ``hpa`` is its autoscaler as it was seen, where it would bring the workload back.
    """

    seen: Workload
    note: Held
    hpa: Autoscaler | None = None


@dataclass(frozen=True)
class Return:
    """One workload that is to come back to what ``note`` says. ``now`` is what the plan saw; anything else is left alone.

    ``written`` is the annotation as it stands there, where that says something else than ``note``.
    """

    ref: ObjectRef
    uid: str
    note: Held
    now: int
    written: str = ""


@dataclass(frozen=True)
class Result:
    """How it went with one workload. ``note`` is what it was and where it is; ``remark`` is worth saying.

    ``paused``: it was scaled, and its rollout is paused, so that nobody can follow that.
    """

    subject: str
    state: Literal["done", "already", "gone", "failed"]
    note: Held | None = None
    error: BotError | None = None
    remark: str = ""
    paused: bool = False


class Changed(Conflict):
    """Somebody else changed the workload since the plan; nothing was done to it."""


async def each(
    items: Sequence[Item], work: Callable[[Item], Awaitable[Result]], *, on_done: Callable[[Result], None]
) -> list[Result]:
    """``work`` for each item, ``AT_ONCE`` at a time; the results in the order of the items."""
    results: dict[int, Result] = {}
    waiting = iter(enumerate(items))

    async def worker() -> None:
        for number, item in waiting:
            results[number] = await work(item)
            on_done(results[number])

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, len(items))):
            group.create_task(worker())
    return [results[number] for number in sorted(results)]


class Scaler:
    """The writes on one cluster. None of its methods raises a ``BotError``: the result has it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def hold(self, item: Hold) -> Result:
        """Takes one workload down. ``already`` means that it was down, and not by us."""
        return await self._persistently(
            item.seen.ref, item.seen, lambda seen: self._take_down(replace(item, seen=seen))
        )

    async def bring_back(self, item: Return) -> Result:
        """Makes one workload what it was, and leaves the note on what is scaled until ``let_go``."""
        return await self._persistently(item.ref, None, lambda seen: self._raise(item, seen))

    async def hand_over(self, ref: ObjectRef) -> Result:
        """Takes our name from what we set, for a server-side apply that sets it to something else would end with a conflict."""
        for attempt in range(TRIES):
            try:
                return await self._disowned(ref)
            except _AGAIN as error:  # an autoscaler writes into its own status all the time
                if attempt == TRIES - 1:
                    return Result(str(ref), "failed", error=error)
                await asyncio.sleep(_pause(attempt, error))
            except BotError as error:
                return Result(str(ref), "failed", error=error)
        raise AssertionError("the last try gives a result")

    async def let_go(self, item: Return) -> Result:
        """Takes the note away, and with it our name from the fields that we set: they are Helm's again."""
        return await self._persistently(item.ref, None, lambda seen: self._forget(item, seen))

    # -- each of these may be made again ----------------------------------------------------------------------

    async def _take_down(self, item: Hold) -> Result:
        seen, to, held = item.seen, item.note.to, item.seen.held
        if seen.level <= to:
            return Result(str(seen.ref), "done" if held else "already", held)
        hpa = await self._autoscaler(seen.ref.namespace, item.hpa.name) if item.hpa else None
        pinned = hpa.pinned(to) if hpa else None
        note = replace(held, to=to) if held else replace(item.note, replicas=seen.level)
        if note.hpa is None and pinned is not None:
            note = replace(note, hpa=hpa)
        if note.hpa is not None and pinned is not None:
            note = replace(note, pinned=pinned)
        way = seen.kind.way
        operations, text = change(way, to), note.text()
        if text != seen.note:
            operations = [_write_note(seen, text), *operations]
        if operations:
            await self._patch(seen.ref, [*_as_seen(seen), *operations])
        if hpa is not None and pinned is not None:
            await self._bound(seen.ref.namespace, hpa, pinned)
        if way is Way.SCALE:
            await self._scale(seen.ref, {"spec": {"replicas": to}})
        return Result(str(seen.ref), "done", note)

    async def _raise(self, item: Return, seen: Workload) -> Result:
        note, subject, way = item.note, str(item.ref), seen.kind.way
        # Between its bounds an autoscaler sets the number itself: that is nobody else's change.
        moved = note.hpa is not None and note.to <= seen.level <= note.hpa.maximum
        if seen.uid != item.uid or not (moved or seen.level in (note.replicas, item.now)):
            what = f"has {seen.level}" if seen.uid == item.uid else "was made anew"
            raise Changed(
                f"{subject} {what} since the plan, which saw {item.now}: it is left alone.",
                reason="Changed",
                way_out="Ask for `emergency restore` again: it shows what there is now.",
            )
        if seen.level != note.replicas and way is Way.SCALE:
            wanted = {"metadata": {"resourceVersion": seen.version}, "spec": {"replicas": note.replicas}}
            await self._scale(seen.ref, wanted)
        elif seen.level != note.replicas:
            await self._patch(seen.ref, [_version(seen.version), *change(way, note.replicas)])
        # After the scale: with its own minimum back an autoscaler would set a number of its own first.
        return Result(subject, "done", note, remark=await self._unpin(item), paused=seen.paused)

    async def _forget(self, item: Return, seen: Workload) -> Result:
        remark = await self._unpin(item)
        obj = await self._cluster.get_ref(item.ref)
        there = workload_of(obj) if obj is not None else None
        if obj is not None and there is not None and (there.held == item.note or there.note == item.written != ""):
            version = str(obj["metadata"]["resourceVersion"])
            remove: Json = {"op": "remove", "path": pointer(ANNOTATION)}
            await self._patch(item.ref, [_version(version), remove, *_disown(obj)])
        return Result(str(item.ref), "done", item.note, remark=remark)

    async def _disowned(self, ref: ObjectRef) -> Result:
        obj = await self._cluster.get_ref(ref)
        if obj is not None and (disown := _disown(obj)):
            await self._patch(ref, [_version(str(obj["metadata"]["resourceVersion"])), *disown])
        return Result(str(ref), "gone" if obj is None else "done")

    # -- autoscalers ------------------------------------------------------------------------------------------

    async def _autoscaler(self, namespace: str, name: str) -> Autoscaler | None:
        obj = await self._cluster.get(*HPA, name, namespace)
        return bounds_of(obj) if obj is not None else None

    async def _bound(self, namespace: str, before: Autoscaler, after: Autoscaler) -> None:
        operations: list[Json] = []
        for field, old, new in (
            ("minReplicas", before.minimum, after.minimum),
            ("maxReplicas", before.maximum, after.maximum),
        ):
            path = f"/spec/{field}"
            operations += [{"op": "test", "path": path, "value": old}, {"op": "replace", "path": path, "value": new}]
        await self._patch(ObjectRef(*HPA, after.name, namespace), operations)

    async def _unpin(self, item: Return) -> str:
        """Gives the autoscaler its bounds back; what somebody else made of them is left, and said."""
        note = item.note
        if note.hpa is None or note.pinned is None:
            return ""
        obj = await self._cluster.get(*HPA, note.hpa.name, item.ref.namespace)
        if obj is None:
            return f"HorizontalPodAutoscaler/{note.hpa.name} is no longer there."
        scaled = obj["spec"].get("scaleTargetRef") or {}
        if (scaled.get("kind"), scaled.get("name")) != (item.ref.kind, item.ref.name):
            return f"HorizontalPodAutoscaler/{note.hpa.name} does not scale {item.ref}: it is left alone."
        now = bounds_of(obj)
        if now == note.pinned:
            await self._bound(item.ref.namespace, now, note.hpa)
            await self._disowned(ObjectRef(*HPA, note.hpa.name, item.ref.namespace))
        elif now != note.hpa:
            return f"HorizontalPodAutoscaler/{now.name} was set to {now} by somebody else and is left so (it was {note.hpa})."
        return ""

    # -- requests ---------------------------------------------------------------------------------------------

    async def _persistently(
        self, ref: ObjectRef, seen: Workload | None, work: Callable[[Workload], Awaitable[Result]]
    ) -> Result:
        """``work`` with what is there, read again after each failure that another try may mend."""
        subject, refused = str(ref), None
        for attempt in range(TRIES):
            try:
                if seen is None:
                    obj = await self._cluster.get_ref(ref)
                    if obj is None:
                        return Result(subject, "gone")
                    seen = workload_of(obj)
                return await work(seen)
            except NotFound:
                return Result(subject, "gone")
            except _AGAIN as error:
                same = isinstance(error, Invalid) and seen is not None and seen == refused
                if attempt == TRIES - 1 or same or isinstance(error, Changed):
                    return Result(subject, "failed", error=error)
                refused, seen = seen, None
                await asyncio.sleep(_pause(attempt, error))
            except BotError as error:
                return Result(subject, "failed", error=error)
        raise AssertionError("the last try gives a result")

    async def _patch(self, ref: ObjectRef, operations: list[Json]) -> None:
        await self._send(ref, operations, JSON_PATCH)

    async def _scale(self, ref: ObjectRef, scale: Json) -> None:
        await self._send(ref, scale, MERGE_PATCH, "scale")

    async def _send(self, ref: ObjectRef, body: object, content_type: str, subresource: str | None = None) -> None:
        """A patch whose answer is not needed: the server is asked for as little of it as it gives."""
        resource = await self._cluster.discovery.resource(ref.api_version, ref.kind)
        await self._cluster.session.text(
            resource.call("patch", ref.namespace, ref.name, subresource or ""),
            "PATCH",
            resource.path(ref.namespace, ref.name, subresource),
            params={"fieldManager": FIELD_MANAGER},
            body=body,
            content_type=content_type,
            accept="application/json" if subresource else METADATA.format(""),
        )


def _as_seen(seen: Workload) -> list[Json]:
    """The tests without which a number could be lost: this very object, with the number that was seen."""
    tests: list[Json] = [{"op": "test", "path": "/metadata/uid", "value": seen.uid}]
    if not seen.annotated or not seen.counted:
        return [*tests, _version(seen.version)]
    tests.append({"op": "test", "path": "/spec/replicas", "value": seen.level})
    if seen.note:
        tests.append({"op": "test", "path": pointer(ANNOTATION), "value": seen.note})
    return tests


def _version(version: str) -> Json:
    return {"op": "test", "path": "/metadata/resourceVersion", "value": version}


def _write_note(seen: Workload, text: str) -> Json:
    if not seen.annotated:
        return {"op": "add", "path": "/metadata/annotations", "value": {ANNOTATION: text}}
    return {"op": "add", "path": pointer(ANNOTATION), "value": text}


def _disown(obj: Json) -> list[Json]:
    """Takes our name from the scale and the bounds that we set, or Helm's next server-side apply of them would conflict."""
    entries = obj["metadata"].get("managedFields") or []
    others = [entry for entry in entries if not _ours(entry)]
    return [{"op": "replace", "path": "/metadata/managedFields", "value": others}] if others != entries else []


def _ours(entry: Json) -> bool:
    owned = (entry.get("fieldsV1") or {}).get("f:spec") or {}
    numbers = {"f:replicas", "f:minReplicas", "f:maxReplicas", "f:suspend"}
    return entry.get("manager") == FIELD_MANAGER and bool(owned) and set(owned) <= numbers


def _pause(attempt: int, error: BotError) -> float:
    wish = error.retry_after if isinstance(error, Temporary) else None
    if wish:
        return min(wish, _LONGEST_WISH)
    return float(min(_FIRST_PAUSE * 2**attempt, _LAST_PAUSE) * random.uniform(0.7, 1.3))  # noqa: S311 - no secret
