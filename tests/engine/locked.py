"""A database that keeps everybody waiting: somebody else holds its locks, as a long backup or a migration would."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

import psycopg


@asynccontextmanager
async def locked(url: str) -> AsyncIterator[None]:
    """While it lasts, nobody else writes into the database; in PostgreSQL nobody reads the runs either."""
    if url.startswith("sqlite"):
        place = url.partition("///")[2]
        with closing(sqlite3.connect(place, timeout=15, isolation_level=None, check_same_thread=False)) as connection:
            # In a thread: who writes now may be a task of this very loop, which has to get on to let go.
            await asyncio.to_thread(connection.execute, "BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")
        return
    plain = url.replace("postgresql+psycopg://", "postgresql://")
    async with await psycopg.AsyncConnection.connect(plain) as connection:
        await connection.execute("LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
        yield
        await connection.rollback()


@asynccontextmanager
async def locked_again_and_again(url: str, *, seconds: float, pause: float) -> AsyncIterator[None]:
    """Locked most of the time, for ``seconds`` each; in the pauses somebody may get through."""

    async def trouble() -> None:
        while True:
            async with locked(url):
                await asyncio.sleep(seconds)
            await asyncio.sleep(pause)

    task = asyncio.create_task(trouble())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
