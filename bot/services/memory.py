"""One memory through Aeterna and back: add, search, list if need be, delete.

Its result tells a server that answers but has no memory backend (``unwired``: no embedding service, or no
provider registered for the layer) from one that is broken or away. The memory is removed whatever happens.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from bot.errors import Temporary
from bot.services.http import Answer, ServiceHttp, Unreached, retry_after

Outcome = Literal["ok", "unwired", "failed", "unreachable"]
Stage = Literal["add", "search", "list", "delete"]

UNWIRED = ("no provider for layer", "embedding service not configured", "memory backend not configured")
"""What Aeterna's own texts begin with when nothing is wired behind its memory API (sources, 0.8.0-rc.12)."""

T = TypeVar("T")


@dataclass(frozen=True)
class MemoryResult:
    """How the round trip went; ``stage`` and ``said`` (the server's words) name where it failed.

    ``cleaned_up`` is False only when something that was added may still be there.
    """

    outcome: Outcome
    layer: str
    stage: Stage | None = None
    said: str = ""
    seconds: float = 0.0
    cleaned_up: bool = True

    def __str__(self) -> str:
        if self.outcome == "ok":
            return f"memory added, found and deleted in layer {self.layer} ({self.seconds:.1f} s)"
        words = {"unwired": "reached, but memory backend unwired", "failed": "memory failed", "unreachable": "down"}
        return f"{words[self.outcome]} ({self.stage}: {self.said})"


class _Stop(Exception):
    """The result is known; nothing further is asked."""

    def __init__(self, outcome: Outcome, stage: Stage, said: str) -> None:
        super().__init__(said)
        self.outcome = outcome
        self.stage = stage
        self.said = said


async def round_trip(http: ServiceHttp, layer: str, *, patience: float, cleanup_seconds: float) -> MemoryResult:
    """See ``AeternaClient.memory_round_trip``."""
    return await _RoundTrip(http, layer, patience, cleanup_seconds).run()


class _RoundTrip:
    def __init__(self, http: ServiceHttp, layer: str, patience: float, cleanup_seconds: float) -> None:
        self._http = http
        self._layer = layer
        self._patience = patience
        self._cleanup_seconds = cleanup_seconds
        self._content = f"bot-smoke-{uuid.uuid4().hex}"
        self._id: str | None = None
        self._asked = False

    async def run(self) -> MemoryResult:
        began = time.monotonic()
        result = MemoryResult("ok", self._layer)
        try:
            await self._add()
            await self._find()
            await self._delete()
        except _Stop as stop:
            result = MemoryResult(stop.outcome, self._layer, stop.stage, stop.said)
        finally:
            cleaned = await self._clean_up()
        return replace(result, seconds=time.monotonic() - began, cleaned_up=cleaned)

    async def _add(self) -> None:
        """Add it. Cancelled while it is under way, its answer is still waited for, since it names what
        to delete.
        """
        self._asked = True
        answer = await _to_its_end(
            self._ask(
                "add", "POST", "/api/v1/memory/add", {"content": self._content, "layer": self._layer}, self._keep_id
            ),
            self._cleanup_seconds,
        )
        if self._id is None:
            raise _Stop("failed", "add", f"no memoryId in the answer: {answer.said}")

    def _keep_id(self, answer: Answer) -> None:
        if answer.fields.get("memoryId"):
            self._id = str(answer.fields["memoryId"])
        elif not answer.ok and answer.status < 500:
            self._asked = False  # refused: nothing was added

    async def _find(self) -> None:
        """Search until it is found; the API does not promise to find what was just added, so the list
        counts too.
        """
        end = time.monotonic() + self._patience
        delay = 0.1
        while True:
            answer = await self._ask("search", "POST", "/api/v1/memory/search", {"query": self._content, "limit": 10})
            if self._holds(answer):
                return
            if time.monotonic() + delay > end:
                break
            await asyncio.sleep(delay)
            delay = min(delay * 2, 1.0)
        if not self._holds(await self._list()):
            raise _Stop("failed", "search", f"what was added (memory {self._id}) is neither found nor listed")

    async def _list(self) -> Answer:
        return await self._ask("list", "POST", "/api/v1/memory/list", {"layer": self._layer, "limit": 100})

    async def _delete(self) -> None:
        answer = await self._ask("delete", "DELETE", f"/api/v1/memory/{self._id}", {"layer": self._layer})
        if answer.fields.get("success") is False:
            raise _Stop("failed", "delete", answer.said)
        self._id, self._asked = None, False

    def _holds(self, answer: Answer) -> bool:
        return any(item.get("id") == self._id for item in _items(answer))

    async def _clean_up(self) -> bool:
        """Remove what may be left; True when nothing is. Goes on to its end under cancellation."""
        if self._id is None and not self._asked:
            return True
        return await _to_its_end(self._remove(), self._cleanup_seconds)

    async def _remove(self) -> bool:
        try:
            async with asyncio.timeout(self._cleanup_seconds):
                if self._id is None:
                    mine = [item for item in _items(await self._list()) if item.get("content") == self._content]
                    if not mine:
                        return True
                    self._id = str(mine[0].get("id"))
                await self._delete()
        except (_Stop, TimeoutError) as error:
            # A server without a backend cannot have kept anything.
            return isinstance(error, _Stop) and error.outcome == "unwired"
        return True

    async def _ask(
        self, stage: Stage, method: str, path: str, body: object, seen: Callable[[Answer], None] | None = None
    ) -> Answer:
        end = time.monotonic() + self._patience
        while True:
            try:
                answer = await self._http.ask(method, path, body=body)
            except Temporary as error:
                if stage == "add" and isinstance(error, Unreached):
                    self._asked = False
                raise _Stop("unreachable", stage, error.message) from error
            if seen is not None:
                seen(answer)
            if answer.ok:
                return answer
            wait = retry_after(answer) or 0.5
            if answer.fields.get("error") != "tenant_unavailable" or time.monotonic() + wait > end:
                raise self._stop(stage, answer)
            await asyncio.sleep(wait)

    def _stop(self, stage: Stage, answer: Answer) -> _Stop:
        said = f"{answer.said} (HTTP {answer.status})"
        lower = answer.said.lower()
        if answer.status >= 500 and any(text in lower for text in UNWIRED):
            return _Stop("unwired", stage, said)
        if answer.status == 404 and "route not found" in lower:
            return _Stop("unwired", stage, f"this version has no memory API: {said}")
        if answer.status in (502, 504):
            return _Stop("unreachable", stage, said)
        return _Stop("failed", stage, said)


async def _to_its_end(work: Awaitable[T], seconds: float) -> T:
    """Await ``work``; when we are cancelled, let it go on for at most ``seconds`` before the
    cancellation goes on.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen: the cancellation is what is told
        raise


def _items(answer: Answer) -> list[dict[str, object]]:
    items = answer.fields.get("items")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


__all__ = ["MemoryResult", "Outcome", "Stage", "round_trip"]
