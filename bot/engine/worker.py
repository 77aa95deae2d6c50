"""The worker of one replica: claims runs that nobody carries, and carries several at once.

A run that a dead replica left is claimed like any other once its lease has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta

from bot.engine.executor import Executor
from bot.engine.session import Session, Stop
from bot.errors import BotError, Temporary
from bot.store.journal import Carries, Claim, Journal
from bot.store.records import Lane

log = logging.getLogger(__name__)
_TRIES = 50  # of carrying one run on under one claim


class Worker:
    """``serve`` runs until ``stop``. ``owner`` names this process and no other, ever."""

    def __init__(
        self,
        *,
        journal: Journal,
        executor: Executor,
        owner: str,
        lease: timedelta,
        at_once: int = 8,
        look_every: float = 2.0,
    ) -> None:
        self._journal = journal
        self._executor = executor
        self._owner = owner
        self._lease = lease
        self._at_once = at_once
        self._look_every = look_every  # seconds; only other replicas' runs wait for it, ours wake the worker
        self._wake = asyncio.Event()
        self._sessions: dict[str, Session] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._serving = False

    def wake(self, run_id: str) -> None:
        """Something changed about a run: look for work, and let its session see a cancel at once."""
        self._wake.set()
        if session := self._sessions.get(run_id):
            session.nudge()

    @property
    def carries(self) -> Carries | None:
        """Under whose name a run may be claimed for this worker; None when it takes none any more."""
        return None if self._stopping or not self._serving else Carries(self._owner, self._lease)

    def take(self, claim: Claim) -> None:
        """Carries a run on that was claimed in this worker's name."""
        task = asyncio.create_task(self._carry(claim), name=f"run:{claim.run}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def serve(self) -> None:
        """Claims and carries until ``stop`` was called."""
        self._serving = True
        while not self._stopping:
            claim = await self._claim()
            if claim is not None:
                self.take(claim)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_every):
                    await self._wake.wait()
            self._wake.clear()

    async def stop(self, *, grace: timedelta) -> None:
        """Lets every run come to its next safe point and gives it back; after ``grace`` interrupts what may be interrupted."""
        self._stopping = True
        self._wake.set()
        for session in self._sessions.values():
            session.ask(Stop.HANDOVER)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace.total_seconds())
            for session in self._sessions.values():
                session.ask(Stop.NOW)
            if late:
                await asyncio.wait(late)

    async def _claim(self) -> Claim | None:
        only = Lane.EMERGENCY if len(self._tasks) >= self._at_once else None  # those wait for no other target's run
        try:
            return await self._journal.claim(owner=self._owner, lease=self._lease, busy=self._sessions, only=only)
        except Temporary as error:
            log.warning("cannot look for work: %s", error)
            return None

    async def _carry(self, claim: Claim) -> None:
        session = Session(journal=self._journal, claim=claim, lease=self._lease)
        self._sessions[claim.run] = session
        if self._stopping:
            session.ask(Stop.HANDOVER)
        try:
            async with session:
                await self._carry_on(session)
        except BotError as error:
            # The journal did not take a write. The lease ends by itself, and whoever claims the run next looks first.
            log.warning("run %s is let go: %s", claim.run, error)
        except Exception:
            log.exception("run %s is let go after an unexpected error", claim.run)
        finally:
            del self._sessions[claim.run]
            await self._give_back(claim, session)
            self._wake.set()

    async def _carry_on(self, session: Session) -> None:
        """Carries from where the journal has the run, and from there again when the database was away for a moment.

        Letting go would make the run wait for its lease to end, and count as one of its attempts.
        """
        tries = 0
        while True:
            try:
                return await self._executor.carry(session)
            except Temporary as error:
                tries += 1
                if session.stop is not None or tries >= _TRIES:
                    raise
                log.warning("run %s is taken up again: %s", session.claim.run, error)
                await asyncio.sleep(error.retry_after or 1.0)

    async def _give_back(self, claim: Claim, session: Session) -> None:
        """After a handover another replica may go on at once; after an error the lease has to end first (it slows a loop)."""
        if session.stop in (Stop.HANDOVER, Stop.NOW):
            try:
                await self._journal.release(claim)
            except Temporary as error:
                log.warning("run %s is not given back, its lease has to end: %s", claim.run, error)
