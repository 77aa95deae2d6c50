"""The connection to SQLite or PostgreSQL: transactions, database time, schema version.

SQLite runs in WAL mode with foreign keys and immediate transactions, so that a writer never finds out at commit that it
lost; PostgreSQL runs read committed with row locks taken by the statements themselves. Time is the database's own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, event, inspect, literal_column, make_url, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bot.errors import Permanent, Temporary

_NOW = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
}
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
}
HEAD = "0003"
"""The newest migration; a database at this revision needs none."""
IDLE_SECONDS = 15
"""A replica that froze within a transaction holds its row locks, a lease's too, for so long; then PostgreSQL ends the session."""


class Database:
    """One engine. ``now`` is the SQL expression of the present in milliseconds; tests may hand in a fixed one."""

    def __init__(self, url: str, *, now: Callable[[], ColumnElement[int]] | None = None) -> None:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        if backend not in _NOW:
            raise Permanent(
                f"DATABASE_URL names {backend!r}, which is not supported.",
                way_out="Use sqlite or postgresql.",
            )
        self.url = parsed.set(drivername=_DRIVERS[backend])
        self.backend = backend
        self._now = now
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False
        if backend == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        self.engine = _engine(self.url.render_as_string(hide_password=False), backend)

    def now(self) -> ColumnElement[int]:
        """The database's own time, as an expression to use inside statements."""
        return self._now() if self._now else literal_column(_NOW[self.backend], BigInteger)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed at the end, rolled back on any error. Raises ``Temporary`` when the database is away."""
        if self._closed:  # the pool would open a new connection that nobody closes
            raise Temporary("The bot's own database is closed: the bot is ending.")
        self._open += 1
        self._idle.clear()
        try:
            async with self.engine.begin() as connection:
                yield connection
        except PoolTimeout as error:
            raise Temporary("The bot's own database is too busy.", retry_after=1.0) from error
        except DBAPIError as error:
            if isinstance(error, OperationalError) or error.connection_invalidated:
                raise Temporary("The bot's own database does not answer.", retry_after=1.0) from error
            raise
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    async def time(self) -> datetime:
        """The present by the database's clock."""
        async with self.transaction() as connection:
            milliseconds = (await connection.execute(select(self.now()))).scalar_one()
        return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)

    async def ready(self) -> None:
        """Brings the schema up to date. Alembic is loaded only if there is something to do: it costs memory and a second."""
        async with self.transaction() as connection:
            if await connection.run_sync(lambda sync: inspect(sync).has_table("alembic_version")):
                version = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()
                if version == HEAD:
                    return
        await asyncio.to_thread(self.upgrade)

    def upgrade(self) -> None:
        """Runs the migrations; blocking. Two replicas at once are serialised by the migration itself."""
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["url"] = self.url.render_as_string(hide_password=False).replace("+aiosqlite", "")
        command.upgrade(config, "head")

    async def close(self) -> None:
        """Waits a moment for transactions under way, then closes; whoever comes later gets ``Temporary``."""
        self._closed = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._idle.wait()
        await self.engine.dispose()


def _postgres(url: str) -> AsyncEngine:
    engine = create_async_engine(url, pool_pre_ping=True, pool_size=5, max_overflow=5)

    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'")
        cursor.close()
        connection.commit()

    return engine


def _engine(url: str, backend: str) -> AsyncEngine:
    if backend != "sqlite":
        return _postgres(url)
    # Writers are serial in SQLite anyway. One connection makes them wait in line; several would wait by trying again,
    # and on a busy machine one of them could try in vain for long.
    engine = create_async_engine(url, connect_args={"timeout": 15}, pool_size=1, max_overflow=0, pool_timeout=60)

    @event.listens_for(engine.sync_engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions behind our back
        cursor = connection.cursor()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "busy_timeout = 15000",
            "cache_size = -512",  # KiB; the default of 2 MB is filled by every connection of the pool as the file grows
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    @event.listens_for(engine.sync_engine, "invalidate")
    def _give_up(connection: Any, _record: Any, _error: BaseException | None) -> None:
        # Of a task that was cancelled. SQLite closes a connection, and ends its transaction, only when the last cursor
        # is gone: one that hangs in the cancelled task's traceback would keep everybody else out until it is collected.
        with contextlib.suppress(Exception, asyncio.CancelledError):
            connection.rollback()

    return engine
