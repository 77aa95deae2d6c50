"""Things that happen at a time, fired by APScheduler on the replica that holds the scheduler's lease.

The rows in the journal are the truth; APScheduler is only told of them. A row fires once: the deed itself is guarded by
the database's clock, and the row is marked afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger

from bot.errors import Temporary
from bot.store.journal import Journal
from bot.store.schedules import Schedule, Schedules

log = logging.getLogger(__name__)


class Scheduler:
    """Approvals expire through it, and ended runs of long ago are removed. One replica at a time runs ``serve``."""

    def __init__(
        self, *, journal: Journal, schedules: Schedules, keep_runs: timedelta, look_every: float = 5.0
    ) -> None:
        self._journal = journal
        self._schedules = schedules
        self._keep_runs = keep_runs
        self._look_every = look_every
        self._wake = asyncio.Event()

    def wake(self, _run_id: str) -> None:
        """A run changed, so there may be a new row."""
        self._wake.set()

    async def serve(self) -> None:
        """Tells APScheduler of the rows that wait, until cancelled."""
        scheduler = AsyncIOScheduler(timezone="UTC")
        scheduler.add_job(self._clean, "interval", hours=6, id="clean", max_instances=1)
        scheduler.start()
        try:
            while True:
                await self._tell(scheduler)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._look_every):
                        await self._wake.wait()
                self._wake.clear()
        finally:
            scheduler.shutdown(wait=False)

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
