"""Named leases in the ``locks`` table: one replica at a time is the poster, one the scheduler.

A lease ends by the database's clock. Its fencing number grows with each new owner.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from bot.store.database import Database
from bot.store.tables import locks


class Leases:
    """Takes, renews and gives back leases for one ``owner`` (this process)."""

    def __init__(self, database: Database, *, owner: str, length: timedelta) -> None:
        self._database = database
        self._owner = owner
        self._length = int(length.total_seconds() * 1000)

    async def hold(self, name: str) -> bool:
        """Takes or renews; whether this process has the lease now. Call it at least three times a lease."""
        until = self._database.now() + self._length
        free = or_(locks.c.owner == self._owner, locks.c.until < self._database.now())
        async with self._database.transaction() as connection:
            statement = update(locks).where(locks.c.name == name, free)
            taken = await connection.execute(statement.values(owner=self._owner, until=until, fence=locks.c.fence + 1))
            if taken.rowcount:
                return True
            if (await connection.execute(select(locks.c.name).where(locks.c.name == name))).first():
                return False
        try:
            async with self._database.transaction() as connection:
                await connection.execute(insert(locks).values(name=name, owner=self._owner, until=until, fence=1))
        except IntegrityError:  # another replica was first
            return False
        return True

    async def release(self) -> None:
        """Gives back everything that this process holds."""
        async with self._database.transaction() as connection:
            await connection.execute(delete(locks).where(locks.c.owner == self._owner))
