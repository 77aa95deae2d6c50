"""What every write of the journal is made of: a guard, an audit row and the card's renewal, in one transaction.

Secrets are redacted here, before anything is stored. A guard that does not hold raises ``Stale`` and changes nothing. Who
writes what stands in ``bot.store.people`` and ``bot.store.carrier``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Update, and_, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.errors import Refused
from bot.redaction import redact_values
from bot.store import audit, reading
from bot.store.database import Database
from bot.store.outbox import Outbox, OutboxKind, enqueue
from bot.store.records import HOLDING, TRANSITIONS, Decision, Json, Lane, RunRecord, RunState
from bot.store.tables import approvals, outbox, runs, schedules, steps

_LANES = 7246122  # PostgreSQL's advisory locks for who may start on a target


class Stale(Refused):
    """The run is no longer in the state (or in the hands) that the write expected; nothing was changed."""


class TargetHeld(Refused):
    """Another mutating run holds the target. ``holder`` is that run's id, when it is still there."""

    def __init__(self, message: str, *, holder: str | None, way_out: str = "Wait for it, or cancel it.") -> None:
        super().__init__(message, way_out=way_out)
        self.holder = holder


class Occupied(Exception):
    """Inside a transaction: another run holds the target. It becomes ``TargetHeld`` once the holder can be read."""


@dataclass(frozen=True)
class Place:
    """What a run holds, and how: its target, and its lane there."""

    target: str
    lane: Lane
    mutates: bool


@dataclass(frozen=True)
class NewRun:
    """What a run is made of. ``key`` is unique: the same key twice is the same run.

    ``incident`` is the permission with which one person may confirm it alone, decided by the place where it was asked.
    """

    id: str
    key: str
    target: str
    runbook: str
    runbook_text: str
    inputs: Mapping[str, Json]
    mutates: bool
    requested_by: str
    channel: str
    approvals_needed: int = 0
    exclude_requester: bool = True
    parent: str | None = None
    pre_approved: bool = False
    lane: Lane = Lane.CHANGE
    dry_run: bool = False
    incident: str | None = None
    supplied: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Carries:
    """Who would carry a run on at once: a worker's name, and for how long its claim holds."""

    owner: str
    lease: timedelta


@dataclass(frozen=True)
class Claim:
    """The right to carry one run on: every write of the carrier stands under it."""

    run: str
    owner: str
    fence: int


class Writer:
    """What people's writes and the carrier's have in common."""

    def __init__(
        self, database: Database, outbox: Outbox, *, changed: Callable[[str], None] = lambda _run: None
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._changed = changed

    async def run(self, run_id: str) -> RunRecord:
        """The run, whole. Raises ``UserMistake`` for an id that does not exist."""
        return await reading.run(self._database, run_id)

    # -- inside ---------------------------------------------------------------------------------------------

    async def _schedule_expiry(self, connection: AsyncConnection, run_id: str, due_at: ColumnElement[int]) -> None:
        row = {"id": f"expire:{run_id}:{uuid.uuid4().hex[:12]}", "what": "expire", "subject": run_id}
        await connection.execute(insert(schedules).values(**row, due_at=due_at))

    async def _insert(self, connection: AsyncConnection, new: NewRun) -> None:
        values = {
            **asdict(new),
            "lane": new.lane.value,
            "state": RunState.PLANNING.value,
            "fence": 0,
            "attempts": 0,
            "note": "",
        }
        now = self._database.now()
        await connection.execute(insert(runs).values(**values, created_at=now, updated_at=now))
        details: dict[str, Json] = {"runbook": new.runbook, "inputs": dict(new.inputs), "parent": new.parent}
        details |= {"dry_run": True} if new.dry_run else {}
        details |= {"supplied": dict(new.supplied)} if new.supplied else {}
        await self._tell(connection, new.id, who=new.requested_by, what="run.asked", details=details)

    def _wake(self, *run_ids: str) -> None:
        self._outbox.wake()
        for run_id in run_ids:
            self._changed(run_id)

    # -- lanes ----------------------------------------------------------------------------------------------

    @staticmethod
    async def _in_line(connection: AsyncConnection, place: Place) -> Place:
        """Comes after everybody else who is about to hold the target or to start on it.

        Whether a change runs and whether an emergency waits are two rows: on PostgreSQL two transactions could each miss
        the other's. SQLite's are serial anyway. Called with a lock on the run's own row and on no other.
        """
        if connection.dialect.name == "postgresql":
            await connection.execute(
                text("SELECT pg_advisory_xact_lock(:lanes, hashtext(:target))"),
                {"lanes": _LANES, "target": place.target},
            )
        return place

    async def _must_be_free(self, connection: AsyncConnection, place: Place) -> None:
        """Raises ``Occupied`` for a change while an emergency holds the target; the index sees to the rest."""
        if place.mutates and place.lane is Lane.CHANGE:
            found = await connection.execute(select(emergency_holds(place.target)))
            if found.scalar():
                raise Occupied

    async def _preempt(self, connection: AsyncConnection, run_id: str, place: Place, *, user: str) -> list[str]:
        """If the run is an emergency that has become queued: asks the change that runs to stop. Its id, to be woken."""
        if place.lane is not Lane.EMERGENCY:
            return []
        mine = runs.alias("mine")
        queued = select(mine.c.id).where(mine.c.id == run_id, mine.c.state == RunState.QUEUED.value).exists()
        statement = update(runs).where(
            runs.c.target == place.target,
            runs.c.lane == Lane.CHANGE.value,
            runs.c.mutates,
            runs.c.state == RunState.RUNNING.value,
            runs.c.cancel_requested_by.is_(None),
            queued,
        )
        stopped = statement.values(cancel_requested_by=user, preempted_by=run_id, updated_at=self._database.now())
        found = list((await connection.execute(stopped.returning(runs.c.id))).scalars())
        for one in found:
            await self._tell(connection, one, who=user, what="run.preempted", details={"by": run_id})
        return found

    async def _start(self, connection: AsyncConnection, run_id: str, place: Place, by: Carries) -> Claim | None:
        """Claims an emergency that has become queued, if nothing has to come to a safe point first."""
        if place.lane is not Lane.EMERGENCY:
            return None
        now = self._database.now()
        queued = and_(runs.c.id == run_id, runs.c.state == RunState.QUEUED.value, ~change_runs(runs.c.target))
        statement = update(runs).where(queued, runs.c.lease_owner.is_(None))
        taken = statement.values(
            state=RunState.RUNNING.value,
            started_at=func.coalesce(runs.c.started_at, now),
            attempts=0,
            lease_owner=by.owner,
            lease_until=now + int(by.lease.total_seconds() * 1000),
            fence=runs.c.fence + 1,
        )
        fence = (await connection.execute(taken.returning(runs.c.fence))).scalar()
        return Claim(run_id, by.owner, fence) if fence is not None else None

    # -- guards and rows ------------------------------------------------------------------------------------

    def _held_by(self, claim: Claim) -> ColumnElement[bool]:
        return and_(
            runs.c.id == claim.run,
            runs.c.lease_owner == claim.owner,
            runs.c.fence == claim.fence,
            runs.c.lease_until > self._database.now(),
        )

    async def _guarded(
        self, connection: AsyncConnection, run_id: str, guard: ColumnElement[bool], **values: Any
    ) -> Place:
        statement: Update = update(runs).where(runs.c.id == run_id, guard)
        changed = statement.values(updated_at=self._database.now(), **values)
        row = (await connection.execute(changed.returning(runs.c.target, runs.c.lane, runs.c.mutates))).first()
        if row is None:
            raise Stale(f"Run {run_id} has moved on meanwhile; nothing was changed.")
        return Place(row.target, Lane(row.lane), row.mutates)

    async def _move(
        self, connection: AsyncConnection, claim: Claim, source: RunState, to: RunState, **values: Any
    ) -> Place:
        assert to in TRANSITIONS[source], f"{source} → {to} is no transition"  # noqa: S101 - ours, not a user's
        guard = and_(self._held_by(claim), runs.c.state == source.value)
        ended = {"lease_owner": None, "lease_until": None}
        return await self._guarded(connection, claim.run, guard, state=to.value, **ended, **values)

    async def _write_step(
        self,
        claim: Claim,
        number: int,
        what: str,
        values: Mapping[str, Any],
        *,
        details: Mapping[str, Json],
        redacted: Mapping[str, Json] | None = None,
        message: Mapping[str, Any] | None = None,
    ) -> None:
        """``redacted`` are details that are redacted already: to look for secrets in a large intent takes a while."""
        async with self._database.transaction() as connection:
            await self._guarded(connection, claim.run, self._held_by(claim))
            statement = update(steps).where(steps.c.run == claim.run, steps.c.number == number).values(**values)
            row = (await connection.execute(statement.returning(steps.c.id, steps.c.attempt))).one()
            told = {"step": row.id, "attempt": row.attempt, **details}
            run = await self._tell(connection, claim.run, who=claim.owner, what=what, details=told, redacted=redacted)
            if message is not None:
                key = f"step:{number}:{row.attempt}"
                await self._into_thread(connection, claim.run, run.channel, key=key, body=message)
        self._outbox.wake()

    async def _voice(
        self,
        connection: AsyncConnection,
        run_id: str,
        *,
        user: str,
        decision: Decision,
        digest: str,
        reason: str = "",
        alone: bool = False,
    ) -> None:
        said = {"run": run_id, "user": user, "decision": decision.value, "digest": digest}
        same = [approvals.c[name] == value for name, value in said.items()]
        if (await connection.execute(select(approvals.c.id).where(*same))).first() is None:
            await connection.execute(
                insert(approvals).values(**said, at=self._database.now(), reason=reason, alone=alone)
            )

    async def _tell(
        self,
        connection: AsyncConnection,
        run_id: str,
        *,
        who: str,
        what: str,
        details: Mapping[str, Json],
        redacted: Mapping[str, Json] | None = None,
    ) -> Any:
        """Audit row and card, in the transaction of what they tell of; gives back target and channel."""
        statement = select(runs.c.target, runs.c.channel, self._database.now().label("now")).where(runs.c.id == run_id)
        row = (await connection.execute(statement)).one()
        kept = {**redact_values(details), **(redacted or {})}
        await audit.append(connection, at=row.now, who=who, what=what, target=row.target, run=run_id, details=kept)
        await enqueue(connection, key=f"run:{run_id}:card", kind=OutboxKind.CARD, channel=row.channel, run=run_id)
        return row

    async def _into_thread(
        self, connection: AsyncConnection, run_id: str, channel: str, *, key: str, body: Mapping[str, Any]
    ) -> None:
        """A message into the thread of the run's card, once for each ``key``."""
        await self._redacted_into_thread(connection, run_id, channel, key=key, body=redact_values(body))

    async def _redacted_into_thread(
        self, connection: AsyncConnection, run_id: str, channel: str, *, key: str, body: Mapping[str, Any]
    ) -> None:
        """As ``_into_thread``, with a body that was redacted already."""
        whole = f"run:{run_id}:{key}"
        await enqueue(connection, key=whole, kind=OutboxKind.THREAD, channel=channel, run=run_id, body=body)

    async def _renew_card(self, connection: AsyncConnection, run_id: str) -> None:
        key = f"run:{run_id}:card"
        await connection.execute(update(outbox).where(outbox.c.key == key).values(wanted=outbox.c.wanted + 1))

    async def _held(self, run_id: str) -> TargetHeld:
        run = await self.run(run_id)
        found = await reading.holders(self._database, run.target)
        holder = next((one for one in found if one.lane is run.lane or one.emergency), None)
        if holder is None:
            return TargetHeld(f"{run.target} was held by another run a moment ago.", holder=None)
        return TargetHeld(
            f"{run.target} is held by run {holder.id} ({holder.runbook}, asked by <@{holder.requested_by}>).",
            holder=holder.id,
        )


def emergency_holds(target: ColumnElement[Any] | str) -> ColumnElement[bool]:
    """Whether an emergency holds the target."""
    return _one_of(target, Lane.EMERGENCY, *HOLDING)


def change_runs(target: ColumnElement[Any] | str) -> ColumnElement[bool]:
    """Whether a change is between two safe points of the target; one that is queued or needs a person is at one."""
    return _one_of(target, Lane.CHANGE, RunState.RUNNING)


def _one_of(target: ColumnElement[Any] | str, lane: Lane, *states: RunState) -> ColumnElement[bool]:
    other = runs.alias(f"{lane.value}_run")
    held = other.c.state.in_([state.value for state in states])
    found = select(other.c.id).where(other.c.target == target, other.c.lane == lane.value, other.c.mutates, held)
    return found.correlate(runs).exists()
