"""Kubernetes' events of given objects, newest first, repeated ones folded into one line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.kube.cluster import Cluster
from bot.kube.objects import Json, ObjectRef, moment

_NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class EventLine:
    """One thing that happened to one object, ``count`` times, last at ``at``. ``type`` is Normal or
    Warning.
    """

    at: datetime
    type: str
    reason: str
    message: str
    count: int
    kind: str
    name: str
    namespace: str

    def __str__(self) -> str:
        times = f" (×{self.count})" if self.count > 1 else ""
        return f"{self.at:%H:%M:%S} {self.type} {self.reason} {self.kind}/{self.name}: {self.message}{times}"


async def events_of(cluster: Cluster, refs: Iterable[ObjectRef]) -> list[EventLine]:
    """The events that the cluster still holds (an hour, usually) about ``refs``."""
    wanted = {(ref.kind, ref.name, ref.namespace) for ref in refs}
    namespaces = sorted({namespace for _, _, namespace in wanted})
    lists = await asyncio.gather(*(cluster.list("v1", "Event", ns or None) for ns in namespaces))
    return fold(event for found in lists for event in found if _about(event) in wanted)


def fold(events: Iterable[Json]) -> list[EventLine]:
    """Events as lines, newest first; the same thing said twice is one line with their sum."""
    lines: dict[tuple[str, ...], EventLine] = {}
    for event in events:
        line = _line(event)
        key = (line.kind, line.name, line.namespace, line.type, line.reason, line.message)
        other = lines.get(key)
        if other is not None:
            newer = max(line, other, key=lambda one: one.at)
            line = EventLine(
                newer.at,
                *key[3:6],
                count=line.count + other.count,
                kind=key[0],
                name=key[1],
                namespace=key[2],
            )
        lines[key] = line
    return sorted(lines.values(), key=lambda one: one.at, reverse=True)


def _about(event: Json) -> tuple[str, str, str]:
    about = event.get("involvedObject") or {}
    return str(about.get("kind", "")), str(about.get("name", "")), str(about.get("namespace") or "")


def _line(event: Json) -> EventLine:
    kind, name, namespace = _about(event)
    series = event.get("series") or {}
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return EventLine(
        at=moment(last) or moment((event.get("metadata") or {}).get("creationTimestamp")) or _NEVER,
        type=str(event.get("type") or "Normal"),
        reason=str(event.get("reason") or ""),
        message=str(event.get("message") or "").strip(),
        count=int(series.get("count") or event.get("count") or 1),
        kind=kind,
        name=name,
        namespace=namespace,
    )
