"""The audit trail: append-only rows, each with the hash of the one before, so that tampering shows.

A row is written in the transaction of what it tells of. Nothing here updates or deletes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.store.database import Database
from bot.store.tables import audit

GENESIS = "0" * 64
_LOCK = 7246121  # PostgreSQL's advisory lock for the chain; SQLite's transactions are serial anyway


@dataclass(frozen=True)
class AuditRow:
    """One row: who did what, when, to which run; ``hash`` covers all of it and ``previous``."""

    number: int
    at: datetime
    who: str
    what: str
    target: str | None
    run: str | None
    details: Mapping[str, Any]
    previous: str
    hash: str


async def append(
    connection: AsyncConnection,
    *,
    at: int,
    who: str,
    what: str,
    target: str | None,
    run: str | None,
    details: Mapping[str, Any],
) -> None:
    """Adds a row at the end of the chain, inside the caller's transaction. ``at`` is in milliseconds since 1970."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    last = (
        await connection.execute(select(audit.c.number, audit.c.hash).order_by(audit.c.number.desc()).limit(1))
    ).first()
    number, previous = (last.number + 1, last.hash) if last else (1, GENESIS)
    row = {
        "number": number,
        "at": at,
        "who": who,
        "what": what,
        "target": target,
        "run": run,
        "details": dict(details),
    }
    await connection.execute(insert(audit).values(**row, previous=previous, hash=_hash(row, previous)))


async def rows(database: Database) -> AsyncIterator[AuditRow]:
    """Every row, oldest first."""
    number = 0
    while True:
        async with database.transaction() as connection:
            statement = select(audit).where(audit.c.number > number).order_by(audit.c.number).limit(500)
            page = (await connection.execute(statement)).all()
        if not page:
            return
        for row in page:
            yield AuditRow(**row._mapping)
        number = page[-1].number


async def verify(database: Database) -> tuple[int, str | None]:
    """How many rows hold, and a sentence about the first that does not (changed, removed or reordered), if any."""
    previous, count = GENESIS, 0
    async for row in rows(database):
        if row.number != count + 1:
            return count, f"Row {count + 1} is missing: after {count} comes {row.number}."
        if row.previous != previous:
            return count, f"Row {row.number} does not follow row {count}: the chain is broken there."
        body = {
            "number": row.number,
            "at": int(row.at.timestamp() * 1000),
            "who": row.who,
            "what": row.what,
            "target": row.target,
            "run": row.run,
            "details": dict(row.details),
        }
        if _hash(body, previous) != row.hash:
            return count, f"Row {row.number} ({row.what} by {row.who}) was changed after it was written."
        previous, count = row.hash, row.number
    return count, None


def _hash(row: Mapping[str, Any], previous: str) -> str:
    canonical = json.dumps({**row, "previous": previous}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
