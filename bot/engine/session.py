"""One run in the hands of this process: its claim, its heartbeat, and why it should stop.

A stop has three reasons. *cancel*: a person asked; *handover*: this process is ending; *lost*: another replica has the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta
from enum import Enum

from bot.errors import Temporary
from bot.store.journal import Claim, Journal, Stale

log = logging.getLogger(__name__)


class Stop(Enum):
    """Why a run should not go on in this process; a later one is stronger."""

    HANDOVER = 1  # at the next safe point; read-only steps are interrupted
    CANCEL = 2  # interruptible steps are interrupted
    NOW = 3  # the grace time is over: interruptible steps are interrupted, read-only or not
    LOST = 4  # the lease is gone: everything is interrupted


class Session:
    """Holds a claim. Use as an async context manager: the heartbeat runs inside."""

    def __init__(self, *, journal: Journal, claim: Claim, lease: timedelta) -> None:
        self.claim = claim
        self.stop: Stop | None = None
        self.cancelled_by: str | None = None
        self._journal = journal
        self._lease = lease
        self._stopped = asyncio.Event()
        self._beat: asyncio.Task[None] | None = None
        self._nudge = asyncio.Event()

    async def __aenter__(self) -> Session:
        self._beat = asyncio.create_task(self._heartbeat(), name=f"heartbeat:{self.claim.run}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._beat is not None:
            self._beat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._beat

    def ask(self, stop: Stop) -> None:
        """Asks for a stop; a weaker reason does not replace a stronger one."""
        if self.stop is None or stop.value > self.stop.value:
            self.stop = stop
            self._stopped.set()

    def nudge(self) -> None:
        """Looks at once whether somebody asked for a cancel, instead of at the next heartbeat."""
        self._nudge.set()

    async def wait(self, known: Stop | None) -> None:
        """Until the reason to stop is another than ``known``."""
        while self.stop is known:
            self._stopped.clear()
            await self._stopped.wait()

    def interrupts(self, *, mutates: bool, interruptible: bool) -> bool:
        """Whether the step under way must be interrupted now."""
        match self.stop:
            case Stop.LOST:
                return True
            case Stop.NOW | Stop.CANCEL:
                return interruptible
            case Stop.HANDOVER:
                return interruptible and not mutates
            case _:
                return False

    async def _heartbeat(self) -> None:
        try:
            await self._renew_for_ever()
        except Stale:
            log.warning("lost the lease on run %s", self.claim.run)
        except Exception:
            log.exception("the heartbeat of run %s failed; the run is let go", self.claim.run)
        self.ask(Stop.LOST)

    async def _renew_for_ever(self) -> None:
        """Returns when the lease may have ended unseen, because the database did not answer for so long."""
        interval = self._lease.total_seconds() / 3
        loop = asyncio.get_running_loop()
        good_until = loop.time() + self._lease.total_seconds()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._nudge.wait()
            self._nudge.clear()
            began = loop.time()
            try:
                async with asyncio.timeout_at(good_until):  # a connection that hangs must not outlast the lease
                    user = await self._journal.renew(self.claim, lease=self._lease)
            except (Temporary, TimeoutError) as error:
                log.warning("cannot renew the lease on run %s: %r", self.claim.run, error)
                if loop.time() >= good_until:
                    log.warning("lost the lease on run %s, maybe", self.claim.run)
                    return
                continue
            good_until = began + self._lease.total_seconds()
            if user is not None:
                self.cancelled_by = user
                self.ask(Stop.CANCEL)
