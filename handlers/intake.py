"""The door: acknowledges commands and clicks at once, and does the work behind them when the acks are out.

It stands right behind Bolt's signature check. Bolt's own listeners would sleep 10 ms for each ack and ask Slack who we
are. What is delivered again is acknowledged again and done once; after a crash the journal's keys see to that.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Any

from slack_bolt.middleware.async_middleware import AsyncMiddleware
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse

_log = logging.getLogger(__name__)
Body = dict[str, Any]
_BUSY = "I have more to do than I can keep in mind. Nothing was done; please try again in a minute."


class Work:
    """What was acknowledged and waits to be done, by a few workers, oldest first.

    Work starts only when no ack was due for ``quiet`` seconds, so that a burst is acknowledged before anything else; it
    waits ``patience`` seconds at the most. ``limit``: how much may wait.
    """

    def __init__(
        self,
        handle: Callable[[Body], Awaitable[None]],
        *,
        workers: int = 4,
        limit: int = 1_000,
        quiet: float = 0.02,
        patience: float = 1.5,
    ) -> None:
        self._handle = handle
        self._workers = workers
        self._limit = limit
        self._quiet = quiet
        self._patience = patience
        self._waiting: deque[tuple[float, Body]] = deque()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._busy = 0
        self._last = 0.0

    def take(self, body: Body, *, urgent: bool = False) -> bool:
        """Queues it; False when too much waits. ``urgent``: before all others, and without waiting for quiet."""
        if len(self._waiting) >= self._limit:
            return False
        self._last = asyncio.get_running_loop().time()
        if urgent:
            self._waiting.appendleft((-math.inf, body))
        else:
            self._waiting.append((self._last, body))
        self._idle.clear()
        self._arrived.set()
        return True

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(), name=f"slack work {number}")

    async def drain(self) -> None:
        """Waits until everything that was acknowledged is done; for an orderly end, under the caller's deadline."""
        await self._idle.wait()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            since = self._waiting[0][0]
            now = loop.time()
            if now - self._last < self._quiet and now - since < self._patience:
                await asyncio.sleep(self._quiet / 2)
                continue
            _, body = self._waiting.popleft()
            self._busy += 1
            try:
                await self._handle(body)
            except Exception:  # noqa: BLE001 - one bad command must not stop the others
                _log.exception("a command or click was not handled")
            finally:
                self._busy -= 1
                if not self._busy and not self._waiting:
                    self._idle.set()


class Door(AsyncMiddleware):
    """Bolt's first stop behind the signature check. ``command`` is the slash command it listens to.

    ``submitted`` answers a dialog that somebody sent off; ``urgent`` tells the clicks that may not wait.
    """

    _REMEMBERED = 2_000

    def __init__(
        self,
        *,
        work: Work,
        command: str,
        submitted: Callable[[Body], Awaitable[Body]],
        urgent: Callable[[Body], bool] = lambda _: False,
    ) -> None:
        self._work = work
        self._command = command
        self._submitted = submitted
        self._urgent = urgent
        self._seen: OrderedDict[str, None] = OrderedDict()

    async def async_process(
        self,
        *,
        req: AsyncBoltRequest,
        resp: BoltResponse,
        next: Callable[[], Awaitable[BoltResponse]],
    ) -> BoltResponse | None:
        body = req.body
        if body.get("type") == "view_submission":
            return BoltResponse(status=200, body=await self._submitted(body) or "")
        if body.get("command") != self._command and body.get("type") != "block_actions":
            return await next()
        if self._again(str(body.get("trigger_id") or "")) or self._work.take(body, urgent=self._urgent(body)):
            return BoltResponse(status=200, body="")
        self._seen.popitem()
        _log.error("too much waits to be done; a command or click was turned away")
        return BoltResponse(status=200, body={"response_type": "ephemeral", "text": _BUSY})

    def _again(self, trigger: str) -> bool:
        """Whether this very command or click was delivered before."""
        if trigger and trigger in self._seen:
            return True
        self._seen[trigger] = None
        if len(self._seen) > self._REMEMBERED:
            self._seen.popitem(last=False)
        return False
