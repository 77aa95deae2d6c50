"""Qdrant over its REST API: collections, and snapshots made, listed, verified and restored one collection at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp

from bot.errors import OutcomeUnknown, Permanent, Temporary
from bot.services.http import ServiceHttp, Unreached
from bot.silence import silence


@dataclass(frozen=True)
class Snapshot:
    """One snapshot; ``size`` in bytes, ``checksum`` the SHA-256 of its file (empty before Qdrant 1.8)."""

    collection: str
    name: str
    size: int
    checksum: str
    created_at: str


class QdrantClient:
    """One Qdrant node. Snapshots are per node: with several, each is asked by itself."""

    def __init__(self, http: aiohttp.ClientSession, *, api_key: str | None = None, seconds: float = 600.0) -> None:
        headers = {"api-key": api_key} if api_key else {}
        self._session = http
        self._headers = headers
        self._seconds = seconds
        self._http = ServiceHttp(http, "Qdrant", headers=headers, seconds=seconds)

    async def collections(self) -> list[str]:
        """The names of all collections, sorted."""
        answer = await self._result("GET", "/collections")
        return sorted(str(one["name"]) for one in answer.get("collections") or [])

    async def create_snapshot(self, collection: str) -> Snapshot:
        """Make a snapshot and wait until it is written. Not repeatable: each call makes another."""
        path = f"{_path(collection)}/snapshots"
        answer = self._http.demand(await self._http.ask("POST", path, params={"wait": "true"}), f"POST {path}")
        return _snapshot(collection, _result_of(answer.fields))

    async def list_snapshots(self, collection: str) -> list[Snapshot]:
        """The snapshots that the node holds of ``collection``, newest first."""
        answer = await self._http.get(f"{_path(collection)}/snapshots")
        found = answer.fields.get("result")
        if not isinstance(found, list):
            raise Permanent(f"Qdrant did not list the snapshots of {collection}: {answer.said}.")
        return sorted((_snapshot(collection, one) for one in found), key=lambda one: one.created_at, reverse=True)

    async def delete_snapshot(self, snapshot: Snapshot) -> None:
        """Delete it; done also when it was gone already."""
        path = f"{_path(snapshot.collection)}/snapshots/{quote(snapshot.name, safe='')}"
        answer = await self._http.ask("DELETE", path, params={"wait": "true"})
        if answer.status != 404:
            self._http.demand(answer, f"DELETE {path}")

    async def recover(self, snapshot: Snapshot, *, port: int) -> None:
        """Put the collection back to ``snapshot`` and wait until that is done: what this node has of it is overwritten.

        The node reads the snapshot from itself at ``port``, so that its folders need not be known, and checks its SHA-256 where
        it told one. Raises ``OutcomeUnknown`` when no answer came: it may go on.
        """
        path = f"{_path(snapshot.collection)}/snapshots/recover"
        location = f"http://127.0.0.1:{port}{_path(snapshot.collection)}/snapshots/{quote(snapshot.name, safe='')}"
        body: dict[str, str] = {"location": location, "priority": "snapshot"}
        if snapshot.checksum:
            body["checksum"] = snapshot.checksum
        if key := self._headers.get("api-key"):
            body["api_key"] = key
        try:
            answer = await self._http.ask("PUT", path, body=body, params={"wait": "true"})
        except Unreached:
            raise
        except Temporary as error:
            raise OutcomeUnknown(
                f"Qdrant was asked to restore {snapshot.collection} and gave no answer: {error.message}",
                way_out="Look whether it serves the collection; restoring it again does no harm but to what was written since.",
            ) from error
        if not self._http.demand(answer, f"PUT {path}").fields.get("result"):
            raise Permanent(f"Qdrant did not restore {snapshot.collection}: {answer.said}.")

    async def points(self, collection: str) -> int | None:
        """How many points the node counts in a collection; None where it does not say."""
        said = (await self._result("GET", _path(collection))).get("points_count")
        return int(said) if said is not None else None

    async def verify(self, snapshot: Snapshot, *, download: bool = False) -> Snapshot:
        """The snapshot as the node lists it. Raises Permanent unless it is there, not empty, and the very
        same.

        With ``download`` its file is read in full and its SHA-256 compared.
        """
        listed = {one.name: one for one in await self.list_snapshots(snapshot.collection)}.get(snapshot.name)
        name = f"Snapshot {snapshot.name} of {snapshot.collection}"
        if listed is None:
            raise Permanent(f"{name} is not listed by Qdrant.")
        if listed.size <= 0:
            raise Permanent(f"{name} is empty.")
        if snapshot.size and listed.size != snapshot.size:
            raise Permanent(f"{name} changed its size from {snapshot.size} to {listed.size} bytes.")
        if snapshot.checksum and listed.checksum != snapshot.checksum:
            raise Permanent(f"{name} changed its checksum.")
        if download:
            size, checksum = await self._read(listed)
            if size != listed.size or (listed.checksum and checksum != listed.checksum):
                raise Permanent(f"{name} does not match its checksum when read back ({size} bytes).")
        return listed

    async def _read(self, snapshot: Snapshot) -> tuple[int, str]:
        path = f"{_path(snapshot.collection)}/snapshots/{quote(snapshot.name, safe='')}"
        digest, size = hashlib.sha256(), 0
        limits = aiohttp.ClientTimeout(total=self._seconds)
        try:
            async with self._session.get(path, headers=self._headers, timeout=limits) as response:
                if response.status != 200:
                    raise Permanent(f"Qdrant answered {response.status} to the download of {snapshot.name}.")
                async for chunk in response.content.iter_chunked(1 << 16):
                    digest.update(chunk)
                    size += len(chunk)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Temporary(f"Qdrant broke off the download of {snapshot.name}: {silence(error).reason}.") from error
        return size, digest.hexdigest()

    async def _result(self, method: str, path: str) -> Mapping[str, Any]:
        answer = self._http.demand(await self._http.ask(method, path), f"{method} {path}")
        return _result_of(answer.fields)


def _path(collection: str) -> str:
    return f"/collections/{quote(collection, safe='')}"


def _result_of(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    result = fields.get("result")
    if not isinstance(result, dict):
        raise Permanent(f"Qdrant gave no result: {fields.get('status')}.")
    return result


def _snapshot(collection: str, said: Mapping[str, Any]) -> Snapshot:
    return Snapshot(
        collection=collection,
        name=str(said["name"]),
        size=int(said.get("size") or 0),
        checksum=str(said.get("checksum") or ""),
        created_at=str(said.get("creation_time") or ""),
    )
