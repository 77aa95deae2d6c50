"""Following a collection without a gap: a list, then a watch from where the list ended, for ever.

A broken connection is resumed at the last seen version; when the server no longer has that version (410) the
collection is listed again and the difference is told, deletions included. Only a refusal ends it.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

import aiohttp

from bot.errors import Temporary
from bot.kube.discovery import Discovery, Resource
from bot.kube.failures import Call, Expired, failure_of
from bot.kube.objects import Json, uid_of
from bot.kube.session import Session

EventType = Literal["ADDED", "MODIFIED", "DELETED", "SYNCED"]

SERVER_TIMEOUT = 240
"""Seconds after which the server is asked to end a watch, so that a stuck one never lasts."""
SILENCE = 120.0
"""Seconds without a byte (bookmarks come about once a minute) after which a connection counts as dead."""
FIRST_DELAY, LAST_DELAY = 0.2, 10.0
PAGE = "200"
"""Objects: a page is parsed in one go, and 500 Deployments hold up the event loop for 50 ms."""


@dataclass(frozen=True)
class WatchEvent:
    """One change. ``SYNCED`` (with an empty object) follows every complete list, the first one included."""

    type: EventType
    object: Json


class Watcher:
    """One collection, as it was last told to whoever iterates."""

    def __init__(
        self,
        session: Session,
        discovery: Discovery,
        api_version: str,
        kind: str,
        *,
        namespace: str | None,
        params: dict[str, str],
    ) -> None:
        self._session = session
        self._discovery = discovery
        self._type = {"apiVersion": api_version, "kind": kind}
        self._namespace = namespace
        self._params = params
        self._known: dict[str, Json] = {}
        self._version = ""

    async def events(self) -> AsyncGenerator[WatchEvent, None]:
        """Changes without end; raises Refused when the right to list or watch is missing."""
        delay = FIRST_DELAY
        while True:
            wait = delay
            try:
                resource = await self._discovery.resource(self._type["apiVersion"], self._type["kind"])
                if not self._version:
                    for event in await self._relist(resource):
                        yield event
                async with aclosing(self._stream(resource)) as stream:
                    async for event in stream:
                        wait = delay = FIRST_DELAY
                        yield event
            except Temporary as error:
                if isinstance(error, Expired):
                    self._version = ""
                wait = max(error.retry_after or 0.0, delay)
                delay = min(delay * 2, LAST_DELAY)
            await asyncio.sleep(wait * random.uniform(0.7, 1.3))  # noqa: S311 - spreads watchers, no secret

    async def _relist(self, resource: Resource) -> list[WatchEvent]:
        path, call = resource.path(self._namespace), resource.call("list", self._namespace)
        items, version = await list_all(self._session, call, path, self._params)
        found = {uid_of(item): self._type | item for item in items}
        events = [WatchEvent("DELETED", gone) for uid, gone in self._known.items() if uid not in found]
        for uid, item in found.items():
            before = self._known.get(uid)
            if before is None:
                events.append(WatchEvent("ADDED", item))
            elif _version_of(before) != _version_of(item):
                events.append(WatchEvent("MODIFIED", item))
        self._known = {uid: _slim(item) for uid, item in found.items()}
        self._version = version
        return [*events, WatchEvent("SYNCED", {})]

    async def _stream(self, resource: Resource) -> AsyncGenerator[WatchEvent, None]:
        path, call = resource.path(self._namespace), resource.call("watch", self._namespace)
        params = self._params | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(SERVER_TIMEOUT),
        }
        limits = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE)
        async with self._session.response(call, "GET", path, params=params, limits=limits) as answer:
            async for line in _lines(answer.content):
                event = self._take(call, json.loads(line))
                if event is not None:
                    yield event

    def _take(self, call: Call, raw: Json) -> WatchEvent | None:
        kind, obj = raw["type"], raw["object"]
        if kind == "ERROR":
            raise failure_of(call, int(obj.get("code") or 500), json.dumps(obj))
        self._version = _version_of(obj)
        if kind == "BOOKMARK":
            return None
        if kind == "DELETED":
            self._known.pop(uid_of(obj), None)
        else:
            self._known[uid_of(obj)] = _slim(obj)
        return WatchEvent(kind, obj)


async def list_all(
    session: Session, call: Call, path: str, params: dict[str, str], *, accept: str = "application/json"
) -> tuple[list[Json], str]:
    """Every item of a collection, page by page, and the version to watch from."""
    items: list[Json] = []
    page = params | {"limit": PAGE}
    while True:
        try:
            answer = await session.json(call, "GET", path, params=page, accept=accept)
        except Expired:
            if "continue" not in page:
                raise
            items, page = [], dict(params)  # the pages ran out under us: once more, in one piece
            continue
        items += answer.get("items") or []
        meta = answer.get("metadata") or {}
        if not meta.get("continue"):
            return items, str(meta.get("resourceVersion", ""))
        page = params | {"limit": PAGE, "continue": str(meta["continue"])}


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length (``readline`` gives up at its buffer's size; one Secret can be over a megabyte)."""
    rest = bytearray()
    async for chunk in content.iter_any():
        rest += chunk
        while (end := rest.find(b"\n")) >= 0:
            line = bytes(rest[:end])
            del rest[: end + 1]
            if line.strip():
                yield line


def _version_of(obj: Json) -> str:
    return str((obj.get("metadata") or {}).get("resourceVersion", ""))


def _slim(obj: Json) -> Json:
    """What is kept of an object in order to tell later that it is gone."""
    meta = obj.get("metadata") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "labels", "ownerReferences")
    return {
        "apiVersion": obj.get("apiVersion"),
        "kind": obj.get("kind"),
        "metadata": {key: meta[key] for key in kept if key in meta},
    }
