"""The outbox: what Slack still has to be told. Rows are written in the transaction of what they tell of.

A card's row has no body: it is rendered from the journal when it is sent, so that only the newest state goes out. Its
``ts`` is remembered, so that a crash edits the same message again instead of posting a second one.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.store.database import Database
from bot.store.tables import outbox

_NAMESPACE = uuid.UUID("5f0c9f9e-6a53-4a35-9f0a-6d3d3f1f7c11")


class OutboxKind(StrEnum):
    """A run's card, a message in the thread of one, or a message of its own."""

    CARD = "card"
    THREAD = "thread"
    NOTICE = "notice"


@dataclass(frozen=True)
class OutboxItem:
    """One row that is due. ``wanted`` is the version that was asked for when it was read."""

    id: int
    key: str
    kind: OutboxKind
    run_id: str | None
    channel: str
    body: Mapping[str, Any]
    wanted: int
    sent: int
    ts: str | None
    client_msg_id: str
    attempts: int


async def enqueue(
    connection: AsyncConnection,
    *,
    key: str,
    kind: OutboxKind,
    channel: str,
    run: str | None = None,
    body: Mapping[str, Any] | None = None,
) -> None:
    """Asks for a message, once for each ``key``; a card that exists is asked for anew instead."""
    changed = await connection.execute(
        update(outbox).where(outbox.c.key == key).values(wanted=outbox.c.wanted + int(kind is OutboxKind.CARD))
    )
    if changed.rowcount:
        return
    await connection.execute(
        insert(outbox).values(
            key=key,
            kind=kind.value,
            channel=channel,
            run=run,
            body=dict(body or {}),
            client_msg_id=str(uuid.uuid5(_NAMESPACE, key)),
        )
    )


async def card_of(database: Database, run_id: str) -> tuple[str, str] | None:
    """Channel and ``ts`` of the run's card, once it has been posted."""
    statement = select(outbox.c.channel, outbox.c.ts).where(
        and_(outbox.c.run == run_id, outbox.c.kind == OutboxKind.CARD.value, outbox.c.ts.is_not(None))
    )
    async with database.transaction() as connection:
        row = (await connection.execute(statement)).first()
    return (row.channel, row.ts) if row else None


class Outbox:
    """The poster's side. One replica posts at a time (a lock outside), so reads need no claim."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Says that something may be due now."""
        self._wake.set()

    async def wait(self, seconds: float) -> None:
        """Until something was enqueued in this process, or ``seconds`` passed (another replica may have enqueued)."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def due(self, limit: int = 20) -> list[OutboxItem]:
        """What should go out now, oldest first; a thread's messages wait until their card has been posted."""
        card = outbox.alias("card")
        posted = (
            select(card.c.id)
            .where(card.c.run == outbox.c.run, card.c.kind == OutboxKind.CARD.value, card.c.ts.is_not(None))
            .exists()
        )
        statement = (
            select(outbox)
            .where(
                outbox.c.sent < outbox.c.wanted,
                or_(outbox.c.not_before.is_(None), outbox.c.not_before <= self._database.now()),
                or_(outbox.c.kind != OutboxKind.THREAD.value, posted),
            )
            .order_by(outbox.c.id)
            .limit(limit)
        )
        async with self._database.transaction() as connection:
            found = (await connection.execute(statement)).all()
        return [
            OutboxItem(
                id=row.id,
                key=row.key,
                kind=OutboxKind(row.kind),
                run_id=row.run,
                channel=row.channel,
                body=row.body,
                wanted=row.wanted,
                sent=row.sent,
                ts=row.ts,
                client_msg_id=row.client_msg_id,
                attempts=row.attempts,
            )
            for row in found
        ]

    async def delivered(self, item: OutboxItem, *, ts: str) -> None:
        """Remembers that ``item.wanted`` is what Slack shows, under ``ts``. A newer version stays due."""
        await self._set(item, sent=item.wanted, ts=ts, attempts=0, not_before=None, error=None)

    async def postpone(self, item: OutboxItem, *, seconds: float, error: str) -> None:
        """Not before ``seconds`` from now."""
        later = self._database.now() + int(seconds * 1000)
        await self._set(item, attempts=item.attempts + 1, not_before=later, error=error)

    async def give_up(self, item: OutboxItem, *, error: str) -> None:
        """Slack will never take it; the reason stays in the row."""
        await self._set(item, sent=item.wanted, error=error)

    async def again(self, items: Collection[int]) -> None:
        """Makes the cards among these (by ``id``) due once more, whatever was sent of them."""
        async with self._database.transaction() as connection:
            cards = update(outbox).where(outbox.c.id.in_(items), outbox.c.kind == OutboxKind.CARD.value)
            await connection.execute(cards.values(wanted=outbox.c.wanted + 1))

    async def forget(self, item: OutboxItem) -> None:
        """The message is gone from Slack: post it anew, as another one."""
        await self._set(item, ts=None, client_msg_id=str(uuid.uuid4()))

    async def card(self, run_id: str) -> tuple[str, str] | None:
        """Channel and ``ts`` of the run's card, once it has been posted."""
        return await card_of(self._database, run_id)

    async def undelivered(self) -> int:
        """How many messages still wait."""
        statement = select(func.count()).select_from(outbox).where(outbox.c.sent < outbox.c.wanted)
        async with self._database.transaction() as connection:
            return (await connection.execute(statement)).scalar_one()

    async def _set(self, item: OutboxItem, **values: Any) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(update(outbox).where(outbox.c.id == item.id).values(**values))
