"""Things that happen at a time, fired by APScheduler on the replica that holds the scheduler's lease.

The rows in the journal are the truth; APScheduler is only told of them. A row fires once: the deed itself is guarded by the
database's clock, and the row is marked afterwards.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger

from bot.errors import Temporary
from bot.store.journal import Journal
from bot.store.leases import Leases
from bot.store.schedules import Schedule, Schedules

log = logging.getLogger(__name__)


class Scheduler:
    """``serve`` runs until cancelled. Approvals expire through it, and ended runs of long ago are removed."""

    def __init__(
        self,
        *,
        journal: Journal,
        schedules: Schedules,
        leases: Leases,
        keep_runs: timedelta,
        look_every: float = 5.0,
    ) -> None:
        self._journal = journal
        self._schedules = schedules
        self._leases = leases
        self._keep_runs = keep_runs
        self._look_every = look_every
        self._wake = asyncio.Event()

    def wake(self, _run_id: str) -> None:
        """A run changed, so there may be a new row."""
        self._wake.set()

    async def serve(self) -> None:
        """Takes the lease when it is free, tells APScheduler of the rows that wait, and stops it when the lease is lost."""
        scheduler: AsyncIOScheduler | None = None
        try:
            while True:
                leader = await self._leader()
                if leader and scheduler is None:
                    scheduler = self._start()
                elif not leader and scheduler is not None:
                    scheduler.shutdown(wait=False)
                    scheduler = None
                if scheduler is not None:
                    await self._tell(scheduler)
                await self._pause()
        finally:
            if scheduler is not None:
                scheduler.shutdown(wait=False)

    async def _leader(self) -> bool:
        try:
            return await self._leases.hold("scheduler")
        except Temporary as error:
            log.warning("the scheduler's lease cannot be renewed: %s", error)
            return False

    def _start(self) -> AsyncIOScheduler:
        scheduler = AsyncIOScheduler(timezone="UTC")
        scheduler.add_job(self._clean, "interval", hours=6, id="clean", max_instances=1)
        scheduler.start()
        return scheduler

    async def _tell(self, scheduler: AsyncIOScheduler) -> None:
        try:
            waiting = await self._schedules.waiting()
        except Temporary as error:
            log.warning("the schedules cannot be read: %s", error)
            return
        for row in waiting:
            if scheduler.get_job(row.id) is None:
                # a grace time of None: one that was missed while nobody was up fires now
                scheduler.add_job(self._fire, DateTrigger(row.due_at), [row], id=row.id, misfire_grace_time=None)

    async def _fire(self, row: Schedule) -> None:
        # APScheduler drops the job once it ran; if the deed fails, the next look adds it again.
        if row.what == "expire":
            await self._journal.expire(row.subject)
        else:
            log.error("the schedule %s asks for %r, which this version does not know", row.id, row.what)
        await self._schedules.fired(row)

    async def _clean(self) -> None:
        gone = await self._schedules.forget_runs(older_than=self._keep_runs)
        if gone:
            log.info("removed %d runs older than %s", gone, self._keep_runs)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._look_every):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()
