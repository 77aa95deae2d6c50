"""What has to happen at a time: rows that are fired once, by the replica that holds the scheduler's lease."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update

from bot.store.database import Database
from bot.store.records import RunState
from bot.store.tables import runs, schedules


@dataclass(frozen=True)
class Schedule:
    """``what`` names the deed, ``subject`` whom it is about (a run's id)."""

    id: str
    due_at: datetime
    what: str
    subject: str


class Schedules:
    """The rows that wait, and the mark that one has fired."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def waiting(self) -> list[Schedule]:
        """Everything not fired yet, the earliest first; the past included (it was missed while nobody was up)."""
        statement = select(schedules).where(schedules.c.fired_at.is_(None)).order_by(schedules.c.due_at)
        async with self._database.transaction() as connection:
            found = (await connection.execute(statement)).all()
        return [Schedule(id=row.id, due_at=row.due_at, what=row.what, subject=row.subject) for row in found]

    async def fired(self, schedule: Schedule) -> None:
        """Marks it, so that it never fires again."""
        async with self._database.transaction() as connection:
            statement = update(schedules).where(schedules.c.id == schedule.id)
            await connection.execute(statement.values(fired_at=self._database.now()))

    async def forget_runs(self, *, older_than: timedelta) -> int:
        """Removes ended runs (with steps, approvals, outbox rows) of long ago; the audit trail stays. How many."""
        limit = self._database.now() - int(older_than.total_seconds() * 1000)
        ended = [state.value for state in RunState if state.over]
        async with self._database.transaction() as connection:
            old = select(runs.c.id).where(runs.c.state.in_(ended), runs.c.ended_at < limit)
            await connection.execute(update(runs).where(runs.c.parent.in_(old)).values(parent=None))
            await connection.execute(delete(schedules).where(schedules.c.fired_at < limit))
            gone = await connection.execute(delete(runs).where(runs.c.state.in_(ended), runs.c.ended_at < limit))
        return gone.rowcount
