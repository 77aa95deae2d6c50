"""A PostgreSQL: version, size, rows of each table, the newest migration. Only reads, in read-only transactions of their own.

libpq tells a failed login by words alone, so the reasons are known from a server that speaks English; another's sentence
is passed on as ``other``.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any, LiteralString, TypeAlias

import psycopg
from psycopg import sql

from bot.probe.asking import (
    ANSWER_SECONDS,
    COUNT_SECONDS,
    Question,
    Unanswered,
    broke_off,
    late,
    no_tls,
    reached,
    roots,
    said,
)
from bot.probe.result import MOST_COUNTS, Count, Migration, ProbeResult, Reason, emptiness

MIGRATIONS = "_aeterna_migrations"
"""Aeterna's table of applied migrations (storage/src/migrations.rs)."""
STATEMENT_SECONDS = 3.0

Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]

_SAID: tuple[tuple[re.Pattern[str], Reason], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), reason)
    for pattern, reason in (
        (r"certificate|\bSSL\b(?!, but| off| on)|\bTLS\b|sslmode", Reason.TLS),
        (r"authentication failed|no password supplied|role \".*\" does not exist", Reason.WRONG_PASSWORD),
        (r"database \".*\" does not exist", Reason.NO_DATABASE),
        (r"pg_hba\.conf|permission denied|not permitted to log in|not currently accepting", Reason.FORBIDDEN),
        (r"connection refused|timeout expired|no route to host|unreachable", Reason.NO_ANSWER),
    )
)
# Tables that hold rows: partitions, not what they are partitions of; nobody's temporary ones, nothing of the server's own.
_TABLES: LiteralString = """
    SELECT n.nspname, c.relname, pg_catalog.pg_table_is_visible(c.oid),
           CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint ELSE nullif(pg_catalog.pg_stat_get_live_tuples(c.oid), 0) END,
           pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'),
           pg_catalog.row_security_active(c.oid)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ORDER BY c.relpages, n.nspname, c.relname"""


async def look(asked: Question) -> ProbeResult:
    """What is there. Raises ``Unanswered``."""
    try:
        connection = await asyncio.wait_for(_connect(asked), ANSWER_SECONDS)
    except (TimeoutError, psycopg.errors.ConnectionTimeout) as error:
        raise late(asked) from error
    except psycopg.OperationalError as error:
        raise refused(asked, str(error)) from error
    try:
        async with connection:
            return await _Look(asked, connection).result()
    except psycopg.Error as error:
        reason = Reason.FORBIDDEN if isinstance(error, psycopg.errors.InsufficientPrivilege) else Reason.OTHER
        raise Unanswered(reason, f"{asked.place} let us in and then said: {said(asked, str(error))}") from error


async def _connect(asked: Question) -> Connection:
    found = await reached(asked)
    settings = {
        "host": asked.host,
        "hostaddr": found.ip,
        "port": str(found.port),
        "dbname": asked.database,
        "user": asked.user or "postgres",  # libpq would ask who the container runs as, and nobody is called 10001
        "password": asked.password,
        "sslmode": asked.tls,
        "sslrootcert": roots() if asked.tls.startswith("verify") else None,
        "gssencmode": "disable",
        "application_name": "aeterna-bot probe",
    }
    given = {key: value for key, value in settings.items() if value}
    connection = await psycopg.AsyncConnection.connect(autocommit=True, prepare_threshold=None, **given)  # type: ignore[arg-type]
    await connection.set_read_only(True)
    return connection


def refused(asked: Question, words: str) -> Unanswered:
    """What libpq's words about a failed connection mean."""
    if "server closed the connection unexpectedly" in words or "received invalid response" in words:
        return broke_off(asked)
    plain = said(asked, re.sub(r"^.*?( failed|FATAL):\s+(?=\S)(?!connection to)", "", words, flags=re.DOTALL))
    plain = plain.removeprefix("FATAL: ")
    reason = next((reason for pattern, reason in _SAID if pattern.search(plain)), Reason.OTHER)
    return no_tls(asked, plain) if reason is Reason.TLS else Unanswered(reason, f"{asked.place} says: {plain}")


class _Look:
    """One look through an open connection."""

    def __init__(self, asked: Question, connection: Connection) -> None:
        self._asked = asked
        self._connection = connection
        self._notes: list[str] = []
        self._until = time.monotonic() + COUNT_SECONDS

    async def result(self) -> ProbeResult:
        version = self._connection.info.parameter_status("server_version") or ""
        size, standby = (
            await self._read(
                "SELECT pg_database_size(current_database()), pg_is_in_recovery()", seconds=STATEMENT_SECONDS
            )
        )[0]
        tables = await self._read(_TABLES, seconds=STATEMENT_SECONDS)
        counts = tuple([await self._count(*table) for table in tables])
        shown = counts[-MOST_COUNTS:]  # the largest
        home = next((str(schema) for schema, name, *_ in tables if name == MIGRATIONS), None)
        return ProbeResult(
            "postgres",
            product="PostgreSQL",
            version=version.split()[0] if version else "",
            size=int(size),
            counts=tuple(sorted(shown, key=lambda count: count.name)),
            left_out=len(counts) - len(shown),
            empty=emptiness(counts, apart_from=MIGRATIONS),
            newest_migration=await self._newest_migration(home) if home is not None else None,
            read_only=bool(standby),
            notes=tuple(self._notes),
        )

    async def _count(
        self, schema: str, table: str, visible: bool, estimate: int | None, readable: bool, rows_hidden: bool
    ) -> Count:
        """By counting, unless that takes too long or would not see every row."""
        name = table if visible else f"{schema}.{table}"
        left = min(STATEMENT_SECONDS, self._until - time.monotonic())
        if readable and not rows_hidden and left > 0:
            asked = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table))
            try:
                return Count(name, int((await self._read(asked, seconds=left))[0][0]))
            except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable):
                pass  # the estimate, which is told as one
            except psycopg.Error as error:
                self._notes.append(f"{name} could not be counted: {said(self._asked, str(error))}")
                return Count(name, None, exact=False)
        return Count(name, estimate, exact=False)

    async def _newest_migration(self, schema: str) -> Migration | None:
        asked = sql.SQL("SELECT version::text, name::text, applied_at::text FROM {} ORDER BY version DESC LIMIT 1")
        try:
            found = await self._read(asked.format(sql.Identifier(schema, MIGRATIONS)), seconds=STATEMENT_SECONDS)
        except psycopg.Error as error:
            self._notes.append(f"{MIGRATIONS} could not be read: {said(self._asked, str(error))}")
            return None
        return Migration(*(str(value or "") for value in found[0])) if found else None

    async def _read(self, asked: LiteralString | sql.Composed, *, seconds: float) -> list[tuple[Any, ...]]:
        """The rows of one statement, which may take and wait no longer than that."""
        limit = max(1, int(seconds * 1000))
        async with self._connection.transaction():
            # SET takes no parameters.
            await self._connection.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(limit)))
            await self._connection.execute("SET LOCAL lock_timeout = 1000")
            return await (await self._connection.execute(asked)).fetchall()
